//! Finding messages: by words, best first, then by parts of words, newest first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::names::{ProjectName, SessionId, StoredName};
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params_from_iter};

use super::read::Conditions;
use super::text::{Column, Speaker, WEIGHTS, sections};
use super::{Contents, Hit, IndexError, SearchQuery, SearchResults, Sqlite};
use crate::fold::Folded;
use crate::query::Query;
use crate::record::{Record, with_record};
use crate::snippet::{By, Snippet, snippet};
use crate::time::format_rfc3339_ms;

/// Messages whose text is compared when parts of words are searched for, newest first.
const CANDIDATES_MAX: usize = 2000;
/// Bytes of records that are read to compare them.
const COMPARE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Messages that are ranked, those indexed last. More hold only a word that says little by itself,
/// and ranking costs microseconds each.
const RANKED_MAX: i64 = 3000;
/// How much better a message of this moment is than an old one of the same words …
const RECENT_WEIGHT: f64 = 0.25;
/// … and the age at which half of that is left.
const RECENT_HALF_MS: f64 = 30.0 * 24.0 * 60.0 * 60.0 * 1000.0;
/// Hits looked up beyond the limit, because some may belong to sessions that are not listed.
const SPARE_HITS: usize = 50;

const COLUMNS: &str = "m.id, m.offset, m.length, m.time_ms, m.speaker, b.name, c.id, c.path, c.generation,
    t.project, t.session, t.title";
const JOINS: &str = "JOIN contents c ON c.id = m.content
    JOIN tracked t ON t.id = m.session AND t.listed = 1
    LEFT JOIN branches b ON b.id = m.branch";

/// Searches by words, and where these are too few, by parts.
pub(super) fn search(
    connection: &Connection,
    path: &Path,
    contents: &dyn Contents,
    asked: &SearchQuery,
) -> Result<SearchResults, IndexError> {
    let Some(query) = Query::parse(&asked.text) else {
        return Ok(SearchResults { hits: Vec::new(), notes: vec!["there was nothing to search for".to_owned()] });
    };
    let mut search =
        Search { connection, path, asked, query, texts: Texts::new(contents), results: SearchResults::default() };
    if search.query.is_cut {
        search.note("the query was too long; only its beginning was searched for");
    }
    let by_words = search.by_words()?;
    let known: BTreeSet<i64> = by_words.iter().map(|found| found.message).collect();
    for found in by_words {
        search.show(&found, By::Words);
    }
    if search.results.hits.len() < asked.limit && !search.query.is_words_alone() {
        search.by_parts(&known)?;
    }
    if search.texts.unreadable > 0 {
        let n = search.texts.unreadable;
        search.note(&format!(
            "the text of {n} messages could not be read from the store; `layer3-indexer verify` says why"
        ));
    }
    Ok(search.results)
}

/// A row of the index that may be a hit.
struct Found {
    message: i64,
    offset: u64,
    length: u64,
    time_ms: i64,
    speaker: Speaker,
    branch: Option<String>,
    content: i64,
    path: String,
    generation: u32,
    project: String,
    session: String,
    title: Option<String>,
}

struct Search<'s> {
    connection: &'s Connection,
    path: &'s Path,
    asked: &'s SearchQuery,
    query: Query,
    texts: Texts<'s>,
    results: SearchResults,
}

impl Search<'_> {
    fn by_words(&mut self) -> Result<Vec<Found>, IndexError> {
        let Some(expression) = self.query.words_match() else { return Ok(Vec::new()) };
        let mut conditions = self.conditions(Some(expression));
        match self.first_ranked(&conditions) {
            // SQLite bounds the size of an expression by rules of its own. What it does not take
            // as words is still searched for by parts; no text of a user is an error.
            Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == ErrorCode::Unknown => return Ok(Vec::new()),
            Err(error) => return Err(error).doing("search", self.path),
            Ok(None) => {}
            Ok(Some(first)) => {
                conditions.add("m.id > ?", Some(Value::from(first)));
                self.note(&format!(
                    "more than {RANKED_MAX} messages match; only those indexed last are shown, best first"
                ));
            }
        }
        let weights = WEIGHTS.map(|weight| weight.to_string()).join(", ");
        let (now, limit) = (self.asked.now_ms, self.asked.limit);
        let sql = format!(
            "SELECT {COLUMNS} FROM (
                 SELECT words.rowid AS id, bm25(words, {weights})
                     * (1 + {RECENT_WEIGHT} / (1 + max(0, {now} - m.time_ms) / {RECENT_HALF_MS:.1})) AS score
                 FROM words JOIN messages m ON m.id = words.rowid
                 WHERE words MATCH ?1 {} ORDER BY score LIMIT {}
             ) best JOIN messages m ON m.id = best.id {JOINS} ORDER BY best.score LIMIT {limit}",
            conditions.sql,
            limit.saturating_add(SPARE_HITS),
        );
        self.rows(&sql, conditions.values).doing("search", self.path)
    }

    /// The message after which ranking begins, where there are too many.
    fn first_ranked(&self, conditions: &Conditions) -> rusqlite::Result<Option<i64>> {
        let sql = format!(
            "SELECT words.rowid FROM words {} WHERE words MATCH ?1 {} ORDER BY words.rowid DESC LIMIT 1 OFFSET {RANKED_MAX}",
            if conditions.sql.is_empty() { "" } else { "JOIN messages m ON m.id = words.rowid" },
            conditions.sql,
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        statement.query_row(params_from_iter(&conditions.values), |row| row.get(0)).optional()
    }

    /// Compares the text of messages that hold all trigrams of the query, or of all messages
    /// where it has none, newest first.
    fn by_parts(&mut self, known: &BTreeSet<i64>) -> Result<(), IndexError> {
        let trigrams = self.query.trigrams_match();
        let is_scan = trigrams.is_none();
        let (from, condition) = match is_scan {
            true => ("messages m", Speaker::sql_with_parts()),
            false => ("parts JOIN messages m ON m.id = parts.rowid", "parts MATCH ?1".to_owned()),
        };
        let conditions = self.conditions(trigrams);
        let sql = format!(
            "SELECT {COLUMNS} FROM {from} {JOINS} WHERE {condition} {} ORDER BY m.time_ms DESC, m.id DESC LIMIT {}",
            conditions.sql,
            if is_scan { -1 } else { CANDIDATES_MAX as i64 },
        );
        let mut statement = self.connection.prepare_cached(&sql).doing("search", self.path)?;
        let mut rows = statement.query(params_from_iter(conditions.values)).doing("search", self.path)?;
        let (mut candidates, mut bytes) = (0, 0);
        while let Some(row) = rows.next().doing("search", self.path)? {
            let found = found(row).doing("search", self.path)?;
            candidates += 1;
            if known.contains(&found.message) {
                continue;
            }
            bytes += found.length;
            if bytes > COMPARE_BYTES_MAX {
                self.note("only the newest messages were compared; a longer query, a project or a period finds more");
                return Ok(());
            }
            if self.texts.holds(&found, &self.query) {
                self.show(&found, By::Substrings);
                if self.results.hits.len() >= self.asked.limit {
                    return Ok(());
                }
            }
        }
        if !is_scan && candidates == CANDIDATES_MAX {
            self.note("only the newest messages were compared; a longer query, a project or a period finds more");
        }
        Ok(())
    }

    /// The filters, behind the expression that is matched, if there is one.
    fn conditions(&self, expression: Option<String>) -> Conditions {
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
        conditions
    }

    fn rows(&self, sql: &str, values: Vec<Value>) -> rusqlite::Result<Vec<Found>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.query_map(params_from_iter(values), found)?.collect()
    }

    fn show(&mut self, found: &Found, by: By) {
        let (uuid, snippet) = self.texts.show(found, &self.query, by, self.asked);
        let (time_ms, rank) = ((found.time_ms != 0).then_some(found.time_ms), self.results.hits.len() + 1);
        self.results.hits.push(Hit {
            rank,
            session_id: found.session.clone(),
            project: found.project.clone(),
            title: found.title.clone(),
            time: time_ms.map(format_rfc3339_ms),
            time_ms,
            role: found.speaker.role(),
            is_sidechain: found.speaker.is_sidechain(),
            branch: found.branch.clone(),
            uuid,
            snippet,
            path: found.stored().map_or_else(|| found.path.clone(), |(key, name)| name.to_text(&key.id)),
            offset: found.offset,
        });
    }

    fn note(&mut self, text: &str) {
        self.results.notes.push(text.to_owned());
    }
}

fn found(row: &Row<'_>) -> rusqlite::Result<Found> {
    Ok(Found {
        message: row.get(0)?,
        offset: row.get::<_, i64>(1)?.unsigned_abs(),
        length: row.get::<_, i64>(2)?.unsigned_abs(),
        time_ms: row.get(3)?,
        speaker: Speaker(row.get(4)?),
        branch: row.get(5)?,
        content: row.get(6)?,
        path: row.get(7)?,
        generation: row.get(8)?,
        project: row.get(9)?,
        session: row.get(10)?,
        title: row.get(11)?,
    })
}

impl Found {
    /// Where its text lies. The names were checked when they were indexed.
    fn stored(&self) -> Option<(SessionKey, StoredName)> {
        let key =
            SessionKey { project: ProjectName::parse(&self.project).ok()?, id: SessionId::parse(&self.session).ok()? };
        let file = StoredName::parse(&key.id, &self.path).ok()?.file;
        Some((key, StoredName { file, generation: self.generation }))
    }
}

/// Reads texts from the store again, each file opened once.
struct Texts<'s> {
    contents: &'s dyn Contents,
    files: BTreeMap<i64, Option<File>>,
    unreadable: usize,
}

impl<'s> Texts<'s> {
    fn new(contents: &'s dyn Contents) -> Texts<'s> {
        Texts { contents, files: BTreeMap::new(), unreadable: 0 }
    }

    fn holds(&mut self, found: &Found, query: &Query) -> bool {
        let holds = self.with_record(found, |record| {
            let parts: Vec<_> = sections(record).into_iter().filter(|(column, _)| column.has_parts()).collect();
            let texts: Vec<&str> = parts.iter().map(|(_, text)| &**text).collect();
            query.is_in(&Folded::of(&texts.join("\n")))
        });
        holds.unwrap_or(false)
    }

    /// The record's id and a snippet of the section that shows most of the query.
    fn show(&mut self, found: &Found, query: &Query, by: By, asked: &SearchQuery) -> (Option<String>, String) {
        let shown = self.with_record(found, |record| {
            let mut best: Option<(usize, Column, Snippet)> = None;
            for (column, text) in sections(record) {
                if by == By::Substrings && !column.has_parts() {
                    continue;
                }
                let snippet = snippet(&text, query, by, &asked.marks);
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
    fn with_record<T>(&mut self, found: &Found, each: impl FnOnce(&Record<'_>) -> T) -> Option<T> {
        let bytes = self.read(found);
        let value = bytes.and_then(|bytes| with_record(&bytes, each));
        self.unreadable += usize::from(value.is_none());
        value
    }

    fn read(&mut self, found: &Found) -> Option<Vec<u8>> {
        let contents = self.contents;
        let open = || found.stored().and_then(|(key, name)| contents.open_file(&key, &name).ok());
        let file = self.files.entry(found.content).or_insert_with(open).as_mut()?;
        let mut bytes = Vec::with_capacity(found.length as usize);
        let read: io::Result<usize> =
            file.seek(SeekFrom::Start(found.offset)).and_then(|_| file.take(found.length).read_to_end(&mut bytes));
        (read.ok()? as u64 == found.length).then_some(bytes)
    }
}
