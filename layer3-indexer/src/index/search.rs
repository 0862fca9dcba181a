//! Finding messages: by words, best first; then conversations that hold all words in different
//! messages; then by parts of words, newest first.
//!
//! **What comes first.** FTS5's bm25 saturates: a tool output that repeats a word forty times gets the
//! most that a message can get, whatever its column weighs. So the weights of the columns
//! ([`WEIGHTS`]) tell where in a message a word stands, and a factor for who speaks
//! ([`Speaker::sql_factor`]) puts people and the model before the noise of tools. A message of the
//! newest day of the index is worth a little more than an old one; measured from the newest message
//! and not from now, so that the pages of one answer fit together however slowly they are read.
//! The choices were measured on the judged queries of `tests/fixtures/judged`: see ARCHITECTURE.md.
//!
//! **Pages.** The order depends on what is stored and asked alone, never on limit and offset.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::Path;

use layer1_prebackup::archive::{Ranges, SessionKey};
use layer1_prebackup::names::StoredName;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params_from_iter};

use super::read::Conditions;
use super::text::{Column, Speaker, WEIGHTS, sections};
use super::{Contents, Hit, IndexError, SearchQuery, SearchResults, Sqlite};
use crate::index::fold::folded;
use crate::index::query::Query;
use crate::index::snippet::{By, Snippet, beginning, snippet};
use crate::terminal::time::format_rfc3339_ms;
use crate::transcript::record::{Record, with_record};

/// Messages that are looked at when parts of words are searched for, newest first.
const CANDIDATES_MAX: usize = 20_000;
/// Bytes of records that are read to compare them.
const COMPARE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Messages that are ranked. More hold only a word that says little by itself, and ranking costs
/// microseconds each. Then those in which a person or the model wrote it are ranked, and …
const RANKED_MAX: usize = 600;
/// … behind them stand so many of all others, newest first.
const RANKED_OTHERS_MAX: usize = 150;
/// Messages that are shown where only filters are given.
const FILTERED_MAX: usize = 2000;
/// Compressed contents whose last frame is kept unpacked, an eighth of a MiB each.
const WARM_MAX: usize = 64;
/// Sessions found by words below which those that hold the words apart are looked for.
const SPREAD_BELOW: usize = 20;
/// How much better a message of the newest moment is than an old one of the same words …
const RECENT_WEIGHT: f64 = 0.25;
/// … and the age at which half of that is left.
const RECENT_HALF_MS: f64 = 30.0 * 24.0 * 60.0 * 60.0 * 1000.0;

pub(super) const COLUMNS: &str = "m.offset, m.length, m.time_ms, m.speaker, b.name, c.id, c.path, c.generation,
    t.project, t.session, t.title, t.id";
pub(super) const JOINS: &str = "JOIN contents c ON c.id = m.content
    JOIN tracked t ON t.id = m.session AND t.listed = 1
    LEFT JOIN branches b ON b.id = m.branch";

/// Searches by words, and where these are too few, by parts.
pub(super) fn search(
    connection: &Connection,
    path: &Path,
    contents: &dyn Contents,
    asked: &SearchQuery,
) -> Result<SearchResults, IndexError> {
    let query = Query::parse(&asked.text);
    if query.is_none() && !asked.has_filter() {
        let notes = vec!["there was nothing to search for".to_owned()];
        return Ok(SearchResults { notes, ..SearchResults::default() });
    }
    // One view of the index for all of it; each statement by itself would also lock and unlock the file.
    let _view = connection.unchecked_transaction().doing("search", path)?;
    let newest_ms = newest_ms(connection, asked.now_ms).doing("search", path)?;
    let texts = Texts::new(contents);
    let mut search = Search { connection, path, asked, newest_ms, texts, results: SearchResults::default() };
    let entries = match &query {
        None => search.by_filters()?,
        Some(query) => search.by_text(query)?,
    };
    search.results.more = entries.len() > asked.offset.saturating_add(asked.limit);
    for (n, entry) in entries.iter().enumerate().skip(asked.offset).take(asked.limit) {
        search.show(n + 1, entry, query.as_ref())?;
    }
    if search.texts.unreadable > 0 {
        let n = search.texts.unreadable;
        search.note(&format!(
            "the text of {n} messages could not be read from the store; `layer3-indexer verify` says why"
        ));
    }
    Ok(search.results)
}

/// The time of the newest message, times that are still to come left out: a wrong clock must not
/// make all others old.
fn newest_ms(connection: &Connection, now_ms: i64) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(max(end_ms), 0) FROM tracked WHERE end_ms <= ?1";
    connection.prepare_cached(sql)?.query_row([now_ms], |row| row.get(0))
}

/// A message that matches; the larger the score, the better.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scored {
    pub(crate) message: i64,
    pub(crate) session: i64,
    pub(crate) time_ms: i64,
    pub(crate) score: f64,
}

/// A hit before its text is read.
struct Entry {
    message: i64,
    session: i64,
    by: By,
    score: f64,
    others: usize,
}

/// Where the record of a message lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(crate) content: i64,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// A row of the index that may be a hit.
pub(super) struct Found {
    pub(crate) place: Place,
    pub(crate) time_ms: i64,
    pub(crate) speaker: Speaker,
    branch: Option<String>,
    path: String,
    generation: u32,
    project: String,
    session: String,
    title: Option<String>,
    pub(crate) session_row: i64,
}

pub(super) struct Search<'s> {
    pub(crate) connection: &'s Connection,
    pub(crate) path: &'s Path,
    pub(crate) asked: &'s SearchQuery,
    newest_ms: i64,
    pub(crate) texts: Texts<'s>,
    results: SearchResults,
}

impl Search<'_> {
    fn by_text(&mut self, query: &Query) -> Result<Vec<Entry>, IndexError> {
        if query.is_cut {
            self.note("the query was too long; only its beginning was searched for");
        }
        let words = self.by_words(query)?;
        let known: BTreeSet<i64> = words.iter().map(|found| found.message).collect();
        let mut entries = self.entries(&words);
        if !self.asked.each && entries.len() < SPREAD_BELOW {
            let apart = self.by_sessions(query, &words)?;
            add_sessions(&mut entries, &apart);
        }
        if entries.len() <= self.asked.offset.saturating_add(self.asked.limit) && !query.is_words_alone() {
            self.by_parts(query, &known, &mut entries)?;
        }
        Ok(entries)
    }

    /// One for each message, or the best of each session and the number of its others.
    fn entries(&self, scored: &[Scored]) -> Vec<Entry> {
        let entry =
            |s: &Scored| Entry { message: s.message, session: s.session, by: By::Words, score: s.score, others: 0 };
        if self.asked.each {
            return scored.iter().map(entry).collect();
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: HashMap<i64, usize> = HashMap::new();
        for found in scored {
            match places.get(&found.session) {
                Some(at) => entries[*at].others += 1,
                None => {
                    places.insert(found.session, entries.len());
                    entries.push(entry(found));
                }
            }
        }
        entries
    }

    fn by_words(&mut self, query: &Query) -> Result<Vec<Scored>, IndexError> {
        let Some(expression) = query.words_match() else { return Ok(Vec::new()) };
        match self.ranked(&expression) {
            // SQLite bounds the size of an expression by rules of its own. What it does not take
            // as words is still searched for by parts; no text of a user is an error.
            Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == ErrorCode::Unknown => Ok(Vec::new()),
            Err(error) => Err(error).doing("search", self.path),
            Ok(ranked) => Ok(ranked),
        }
    }

    fn ranked(&mut self, expression: &str) -> rusqlite::Result<Vec<Scored>> {
        if !self.has_more(expression, RANKED_MAX)? {
            return Ok(sorted(self.scored(expression, RANKED_MAX)?));
        }
        let written = format!("{{user assistant}} : {expression}");
        let mut all = sorted(self.scored(&written, RANKED_MAX - RANKED_OTHERS_MAX)?);
        let known: BTreeSet<i64> = all.iter().map(|found| found.message).collect();
        let others = self.worth(expression, RANKED_OTHERS_MAX, "0.0")?;
        all.extend(sorted(others).into_iter().filter(|found| !known.contains(&found.message)));
        self.note(&format!(
            "more than {RANKED_MAX} messages match; those that a person or the model wrote are shown, and of the \
             output of tools what was indexed last"
        ));
        Ok(all)
    }

    /// Whether more than so many messages match.
    fn has_more(&self, expression: &str, count: usize) -> rusqlite::Result<bool> {
        let conditions = self.conditions(Some(expression.to_owned()), false);
        let sql = format!(
            "SELECT 1 FROM words {} WHERE words MATCH ?1 {} LIMIT 1 OFFSET {count}",
            if conditions.sql.is_empty() { "" } else { "JOIN messages m ON m.id = words.rowid" },
            conditions.sql,
        );
        self.connection.prepare_cached(&sql)?.exists(params_from_iter(&conditions.values))
    }

    /// What matches, and of that the last so many.
    pub(super) fn scored(&self, expression: &str, last: usize) -> rusqlite::Result<Vec<Scored>> {
        self.worth(expression, last, &self.score())
    }

    /// What matches, and of that the last so many, each worth what the SQL says.
    fn worth(&self, expression: &str, last: usize, score: &str) -> rusqlite::Result<Vec<Scored>> {
        let mut conditions = self.conditions(Some(expression.to_owned()), false);
        // One statement for any number, or each would be prepared by itself.
        conditions.values.push(Value::from(last as i64));
        let sql = format!(
            "SELECT words.rowid, m.session, m.time_ms, {score} FROM words
             JOIN messages m ON m.id = words.rowid
             WHERE words MATCH ?1 AND m.session NOT IN (SELECT id FROM tracked WHERE listed = 0) {}
             ORDER BY words.rowid DESC LIMIT ?{}",
            conditions.sql,
            conditions.values.len(),
        );
        self.query_scored(&sql, conditions.values)
    }

    pub(super) fn query_scored(&self, sql: &str, values: Vec<Value>) -> rusqlite::Result<Vec<Scored>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params_from_iter(values), |row| {
            Ok(Scored { message: row.get(0)?, session: row.get(1)?, time_ms: row.get(2)?, score: row.get(3)? })
        })?;
        rows.collect()
    }

    /// SQL of what a message is worth.
    pub(super) fn score(&self) -> String {
        let weights = WEIGHTS.map(|weight| weight.to_string()).join(", ");
        let factor = Speaker::sql_factor();
        let newest = self.newest_ms;
        format!(
            "-bm25(words, {weights}) * {factor}
             * (1 + {RECENT_WEIGHT:?} / (1 + max(0, {newest} - m.time_ms) / {RECENT_HALF_MS:?}))"
        )
    }

    /// Without a text: all messages that the filters leave, newest first.
    fn by_filters(&mut self) -> Result<Vec<Entry>, IndexError> {
        let conditions = self.conditions(None, true);
        let sql = format!(
            "SELECT m.id, m.session, m.time_ms, 0.0 FROM messages m
             JOIN tracked t ON t.id = m.session AND t.listed = 1
             WHERE 1 {} ORDER BY m.time_ms DESC, m.id DESC LIMIT {}",
            conditions.sql,
            FILTERED_MAX + 1,
        );
        let mut found = self.query_scored(&sql, conditions.values).doing("search", self.path)?;
        if found.len() > FILTERED_MAX {
            found.truncate(FILTERED_MAX);
            self.note(&format!("more than {FILTERED_MAX} messages match; only the newest are shown"));
        }
        Ok(self.entries(&found))
    }

    /// Compares the text of messages that hold all trigrams of the query, or of all messages
    /// where it has none, newest first, until there are enough hits for the page; then only those
    /// of the sessions among them, which are counted.
    fn by_parts(&mut self, query: &Query, known: &BTreeSet<i64>, entries: &mut Vec<Entry>) -> Result<(), IndexError> {
        let enough = self.asked.offset.saturating_add(self.asked.limit);
        let each = self.asked.each;
        let by_words: BTreeSet<i64> = entries.iter().filter(|_| !each).map(|entry| entry.session).collect();
        let mut places: HashMap<i64, usize> = HashMap::new();
        let trigrams = query.trigrams_match();
        let is_scan = trigrams.is_none();
        let (from, condition) = match is_scan {
            true => ("messages m", Speaker::sql_with_parts()),
            false => (
                "parts CROSS JOIN spans s ON s.id = parts.rowid CROSS JOIN messages m ON m.id BETWEEN s.first AND s.last",
                format!("parts MATCH ?1 AND {}", Speaker::sql_with_parts()),
            ),
        };
        let conditions = self.conditions(trigrams, false);
        let sql = format!(
            "SELECT m.id, m.session, m.content, m.offset, m.length FROM {from} CROSS JOIN tracked t ON t.id = m.session AND t.listed = 1
             WHERE {condition} {} ORDER BY m.time_ms DESC, m.id DESC LIMIT {}",
            conditions.sql,
            if is_scan { -1 } else { CANDIDATES_MAX as i64 },
        );
        let mut statement = self.connection.prepare_cached(&sql).doing("search", self.path)?;
        let mut rows = statement.query(params_from_iter(conditions.values)).doing("search", self.path)?;
        let (mut candidates, mut bytes) = (0, 0);
        while let Some(row) = rows.next().doing("search", self.path)? {
            let (message, session, place) = candidate(row).doing("search", self.path)?;
            candidates += 1;
            if known.contains(&message) || by_words.contains(&session) {
                continue;
            }
            let entry = places.get(&session).filter(|_| !each).copied();
            if entry.is_none() && entries.len() > enough {
                if each {
                    return Ok(());
                }
                continue;
            }
            bytes += place.length;
            if bytes > COMPARE_BYTES_MAX {
                self.note("only the newest messages were compared; a longer query, a project or a period finds more");
                return Ok(());
            }
            // Messages of one content come by the dozen, and its name is needed once.
            if !self.texts.knows(place.content) {
                let Some(found) = self.found(message)? else { continue };
                self.texts.open(&found);
            }
            if !self.texts.holds(place, query) {
                continue;
            }
            match entry {
                Some(at) => entries[at].others += 1,
                None => {
                    places.insert(session, entries.len());
                    entries.push(Entry { message, session, by: By::Substrings, score: 0.0, others: 0 });
                }
            }
        }
        if !is_scan && candidates == CANDIDATES_MAX {
            self.note("only the newest messages were compared; a longer query, a project or a period finds more");
        }
        Ok(())
    }

    /// The filters, behind the expression that is matched, if there is one. `calls`: a file means
    /// the calls that touch it, not the sessions.
    pub(super) fn conditions(&self, expression: Option<String>, calls: bool) -> Conditions {
        let asked = self.asked;
        let mut sessions = Conditions::default();
        sessions.values.extend(expression.map(Value::from));
        sessions.add_project("project", asked.project.as_deref());
        sessions.add("session = ?", asked.session_id.clone().map(Value::from));
        let mut conditions = Conditions { sql: String::new(), values: sessions.values };
        if !sessions.sql.is_empty() {
            conditions.sql = format!(" AND m.session IN (SELECT id FROM tracked WHERE listed = 1 {})", sessions.sql);
        }
        conditions.add("m.time_ms >= ?", asked.since_ms.map(Value::from));
        conditions.add("m.time_ms <= ?", asked.until_ms.map(Value::from));
        let branch = asked.branch.clone().map(Value::from);
        conditions.add("m.branch = (SELECT id FROM branches WHERE name = ?)", branch);
        if let Some(role) = asked.role {
            conditions.sql.push_str(&format!(" AND {}", Speaker::sql_of(role)));
        }
        self.add_uses(&mut conditions, calls);
        conditions
    }

    /// The filters by tool and file.
    fn add_uses(&self, conditions: &mut Conditions, calls: bool) {
        // `bash` for Bash, `search` for mcp__server__search.
        const TOOL: &str = "u.tool IN (SELECT id FROM tools
            WHERE lower(name) = lower(?) OR substr(lower(name), -length(?) - 2) = '__' || lower(?))";
        // Whole components: `src/a.rs` is in `/w/src/a.rs` and not in `/w/src/a.rs.bak`.
        const FILE: &str = "u.file != 0 AND u.file IN (SELECT id FROM files
            WHERE instr('/' || path || '/', '/' || ? || '/') > 0)";
        let asked = self.asked;
        let tool = asked.tool.clone().map(Value::from);
        let file = asked.file.as_deref().map(|file| Value::from(components(file)));
        let (has_tool, has_file) = (tool.is_some(), file.is_some());
        let of_calls = has_tool || calls;
        if has_file && !of_calls {
            let sessions = "SELECT x.session FROM uses u JOIN messages x ON x.id = u.message";
            conditions.add(&format!("m.session IN ({sessions} WHERE {FILE})"), file);
        } else if has_tool || has_file {
            conditions.sql.push_str(" AND EXISTS (SELECT 1 FROM uses u WHERE u.message = m.id");
            conditions.add(TOOL, tool);
            conditions.add(FILE, file);
            conditions.sql.push(')');
        }
    }

    pub(super) fn found(&self, message: i64) -> Result<Option<Found>, IndexError> {
        let sql = format!("SELECT {COLUMNS} FROM messages m {JOINS} WHERE m.id = ?1");
        let find = || self.connection.prepare_cached(&sql)?.query_row([message], found).optional();
        find().doing("search", self.path)
    }

    fn show(&mut self, rank: usize, entry: &Entry, query: Option<&Query>) -> Result<(), IndexError> {
        let Some(found) = self.found(entry.message)? else { return Ok(()) };
        let (uuid, snippet) = self.texts.show(&found, query, entry.by, self.asked);
        let time_ms = (found.time_ms != 0).then_some(found.time_ms);
        let (before, after) = self.nearby(&found)?;
        let path = found.path_text();
        self.results.hits.push(Hit {
            rank,
            message: uuid.clone().unwrap_or_else(|| format!("{path}:{}", found.place.offset)),
            session_id: found.session,
            project: found.project,
            title: found.title,
            time: time_ms.map(format_rfc3339_ms),
            role: found.speaker.role(),
            is_sidechain: found.speaker.is_sidechain(),
            branch: found.branch,
            uuid,
            others_in_session: entry.others,
            // The index knows nothing of sources; whoever asks looks.
            source_gone: false,
            snippet,
            path,
            offset: found.place.offset,
            before,
            after,
        });
        Ok(())
    }

    fn note(&mut self, text: &str) {
        self.results.notes.push(text.to_owned());
    }
}

/// Best first; of equals the newer one, then the one indexed last.
pub(super) fn sorted(mut scored: Vec<Scored>) -> Vec<Scored> {
    scored.sort_unstable_by(|a, b| by_worth(b, a));
    scored
}

pub(super) fn by_worth(a: &Scored, b: &Scored) -> Ordering {
    a.score.total_cmp(&b.score).then((a.time_ms, a.message).cmp(&(b.time_ms, b.message)))
}

/// Sessions that hold the words apart, among those with a message that holds them all.
fn add_sessions(entries: &mut Vec<Entry>, apart: &[Scored]) {
    for found in apart {
        match entries.iter_mut().find(|entry| entry.session == found.session) {
            Some(entry) => entry.score = entry.score.max(found.score),
            None => entries.push(Entry {
                message: found.message,
                session: found.session,
                by: By::Words,
                score: found.score,
                others: 0,
            }),
        }
    }
    // Stable: of equals, the order before.
    entries.sort_by(|a, b| b.score.total_cmp(&a.score));
}

/// A path or the end of one, as it stands between the slashes of stored paths.
fn components(file: &str) -> String {
    let file = file.trim().replace('\\', "/");
    let file = file.trim_start_matches("./").trim_matches('/');
    file.to_owned()
}

/// Of a row: a message, its session and its place.
fn candidate(row: &Row<'_>) -> rusqlite::Result<(i64, i64, Place)> {
    Ok((row.get(0)?, row.get(1)?, place(row, [2, 3, 4])?))
}

/// From the columns of content, offset and length.
fn place(row: &Row<'_>, [content, offset, length]: [usize; 3]) -> rusqlite::Result<Place> {
    let (offset, length): (i64, i64) = (row.get(offset)?, row.get(length)?);
    Ok(Place { content: row.get(content)?, offset: offset.unsigned_abs(), length: length.unsigned_abs() })
}

pub(super) fn found(row: &Row<'_>) -> rusqlite::Result<Found> {
    Ok(Found {
        place: place(row, [5, 0, 1])?,
        time_ms: row.get(2)?,
        speaker: Speaker(row.get(3)?),
        branch: row.get(4)?,
        path: row.get(6)?,
        generation: row.get(7)?,
        project: row.get(8)?,
        session: row.get(9)?,
        title: row.get(10)?,
        session_row: row.get(11)?,
    })
}

impl Found {
    /// The stored file, relative to the project's folder.
    pub(crate) fn path_text(&self) -> String {
        self.stored().map_or_else(|| self.path.clone(), |(key, name)| name.to_text(&key.id))
    }

    /// Where its text lies. The names were checked when they were indexed.
    fn stored(&self) -> Option<(SessionKey, StoredName)> {
        let key = SessionKey::parse(&self.project, &self.session).ok()?;
        let file = StoredName::parse(&key.id, &self.path).ok()?.file;
        Some((key, StoredName { file, generation: self.generation }))
    }
}

/// Reads texts from the store again, each file opened once. Of a compressed one the frames that hold what is
/// read are unpacked, and nothing else.
pub(super) struct Texts<'s> {
    contents: &'s dyn Contents,
    files: BTreeMap<i64, Option<Ranges>>,
    /// Contents that keep a frame, the one that was read last at the end.
    warm: VecDeque<i64>,
    unreadable: usize,
}

impl<'s> Texts<'s> {
    fn new(contents: &'s dyn Contents) -> Texts<'s> {
        Texts { contents, files: BTreeMap::new(), warm: VecDeque::new(), unreadable: 0 }
    }

    /// Whether it was tried to open a content.
    fn knows(&self, content: i64) -> bool {
        self.files.contains_key(&content)
    }

    fn open(&mut self, found: &Found) {
        let contents = self.contents;
        let open = || found.stored().and_then(|(key, name)| contents.open_ranges(&key, &name).ok());
        self.files.entry(found.place.content).or_insert_with(open);
    }

    /// Whether the message holds the query, in a content that was opened.
    fn holds(&mut self, place: Place, query: &Query) -> bool {
        let Some(line) = self.read_at(place) else {
            self.unreadable += 1;
            return false;
        };
        // Most lines are ruled out without being understood, which costs ten times as much.
        if std::str::from_utf8(&line).is_ok_and(|line| !query.may_be_in_line(line)) {
            return false;
        }
        let holds = with_record(&line, |record| {
            let parts: Vec<_> = sections(record).into_iter().filter(|(column, _)| column.has_parts()).collect();
            let texts: Vec<&str> = parts.iter().map(|(_, text)| &**text).collect();
            query.is_in(&folded(&texts.join("\n")))
        });
        self.unreadable += usize::from(holds.is_none());
        holds.unwrap_or(false)
    }

    /// The record's id and a snippet of the section that shows most of the query.
    fn show(&mut self, found: &Found, query: Option<&Query>, by: By, asked: &SearchQuery) -> (Option<String>, String) {
        let shown = self.with_record(found, |record| {
            let mut best: Option<(usize, Column, Snippet)> = None;
            for (column, text) in sections(record) {
                if by == By::Substrings && !column.has_parts() {
                    continue;
                }
                let snippet = match query {
                    Some(query) => snippet(&text, query, by, &asked.marks),
                    None => Snippet { text: beginning(&text), terms_shown: 0 },
                };
                let is_better = best
                    .as_ref()
                    .is_none_or(|(shown, of, _)| (snippet.terms_shown, -(column as i32)) > (*shown, -(*of as i32)));
                if is_better {
                    best = Some((snippet.terms_shown, column, snippet));
                }
            }
            (record.uuid.as_deref().map(str::to_owned), best.map(|(_, _, snippet)| snippet.text).unwrap_or_default())
        });
        shown.unwrap_or_default()
    }

    /// A message that cannot be read is counted; it stays a hit without words.
    pub(super) fn with_record<T>(&mut self, found: &Found, each: impl FnOnce(&Record<'_>) -> T) -> Option<T> {
        let bytes = self.read(found);
        let value = bytes.and_then(|bytes| with_record(&bytes, each));
        self.unreadable += usize::from(value.is_none());
        value
    }

    fn read(&mut self, found: &Found) -> Option<Vec<u8>> {
        self.open(found);
        self.read_at(found.place)
    }

    fn read_at(&mut self, place: Place) -> Option<Vec<u8>> {
        let file = self.files.get_mut(&place.content)?.as_mut()?;
        let mut bytes = vec![0; place.length as usize];
        file.read_exact_at(place.offset, &mut bytes).ok()?;
        self.keep_warm(place.content);
        Some(bytes)
    }

    /// Many sessions are read from, in turns: not all of them keep what was unpacked.
    fn keep_warm(&mut self, content: i64) {
        if self.warm.back() == Some(&content) {
            return;
        }
        self.warm.retain(|other| *other != content);
        self.warm.push_back(content);
        if self.warm.len() > WARM_MAX
            && let Some(Some(coldest)) = self.warm.pop_front().and_then(|cold| self.files.get_mut(&cold))
        {
            coldest.forget();
        }
    }
}
