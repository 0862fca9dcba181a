//! Finding messages: by words, best first; then conversations that hold all words in different
//! messages; then by parts of words, newest first; where that is nothing or little, those that hold the most words.
//!
//! **Pages.** The order depends on what is stored and asked alone, never on limit and offset.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{ErrorCode, OptionalExtension, Row, params_from_iter};

use super::contents::Contents;
use super::context::{Side, context};
use super::error::{IndexError, Sqlite};
use super::families::Families;
use super::matching::By;
use super::open::Index;
use super::query::Query;
use super::ranking::{Ranking, Scored, sorted};
use super::text::{Speaker, is_same_everywhere};
use super::texts::{COLUMNS, Found, JOINS, Place, Texts, found, place};
use super::types::{Hit, SearchQuery, SearchResults};

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
/// Words that say something, from which on a query is taken for a question …
const QUESTION_WORDS: usize = 4;
/// … and hits below which those that hold only most of the words of one are shown too; of any other query, where there is none.
const MOST_WORDS_BELOW: usize = 3;
/// Sessions found by words below which those that hold the words apart are looked for.
const ACROSS_MESSAGES_BELOW: usize = 20;

impl Index {
    /// Searches by words, and where these are too few, by parts. No text is an error; an empty one finds nothing.
    pub fn search(&self, contents: &dyn Contents, query: &SearchQuery) -> Result<SearchResults, IndexError> {
        let parsed = Query::parse(&query.text);
        if parsed.is_none() && !query.has_filter() {
            let notes = vec!["there was nothing to search for".to_owned()];
            return Ok(SearchResults { notes, ..SearchResults::default() });
        }
        let search = || {
            // One view of the index for all of it; each statement by itself would also lock and unlock the file.
            let _view = self.connection.unchecked_transaction()?;
            let ranking = Ranking::new(&self.connection, query)?;
            let mut search = Search { ranking, texts: Texts::new(contents), results: SearchResults::default() };
            search.run(parsed.as_ref())?;
            Ok(search.results)
        };
        search().doing("search", &self.path)
    }
}

/// A hit before its text is read.
struct Entry {
    message: i64,
    session: i64,
    by: By,
    /// What comes before any score: an echo of our own search stands behind, a whole sentence in front.
    class: (bool, bool),
    score: f64,
    others: usize,
    /// Other sessions that hold the same message.
    copies: usize,
}

impl Entry {
    fn of(found: &Scored) -> Entry {
        let Scored { message, session, score, .. } = *found;
        let class = (!found.is_echo, found.is_in_a_row);
        Entry { message, session, by: By::Words, class, score, others: 0, copies: 0 }
    }
}

/// What was found by words.
struct Known {
    keys: BTreeSet<i64>,
    /// Its sessions, where one hit of each is enough.
    sessions: BTreeSet<i64>,
}

/// A message that matches, and how many other sessions hold it too.
struct Copied {
    found: Scored,
    copies: usize,
}

struct Search<'s> {
    ranking: Ranking<'s>,
    texts: Texts<'s>,
    results: SearchResults,
}

impl Search<'_> {
    fn run(&mut self, parsed: Option<&Query>) -> rusqlite::Result<()> {
        let query = self.ranking.query;
        let entries = match parsed {
            None => self.by_filters()?,
            Some(parsed) => self.by_text(parsed)?,
        };
        self.results.more = entries.len() > query.offset.saturating_add(query.limit);
        for (n, entry) in entries.iter().enumerate().skip(query.offset).take(query.limit) {
            self.show(n + 1, entry, parsed)?;
        }
        if self.texts.unreadable > 0 {
            let n = self.texts.unreadable;
            self.note(&format!(
                "the text of {n} messages could not be read from the store; `layer3-indexer verify` says why"
            ));
        }
        Ok(())
    }

    fn by_text(&mut self, query: &Query) -> rusqlite::Result<Vec<Entry>> {
        if query.is_cut {
            self.note("the query was too long; only its beginning was searched for");
        }
        let words = self.by_words(query)?;
        let known = Known {
            keys: words.iter().map(|found| found.key).collect(),
            sessions: words.iter().filter(|_| !self.ranking.query.each).map(|found| found.session).collect(),
        };
        let words = self.one_of_each(words)?;
        let mut entries = self.entries(&words);
        if !self.ranking.query.each && entries.len() < ACROSS_MESSAGES_BELOW {
            let words: Vec<Scored> = words.iter().map(|found| found.found).filter(|found| !found.is_echo).collect();
            let apart = none_if_refused(self.ranking.sessions_across(query, &words))?;
            add_sessions(&mut entries, &self.one_of_each(apart)?);
        }
        if entries.len() <= self.ranking.query.offset.saturating_add(self.ranking.query.limit)
            && !query.is_words_alone()
        {
            self.by_parts(query, &known, &mut entries)?;
        }
        self.by_most_words(query, &mut entries)?;
        Ok(entries)
    }

    /// Each message once, in the session that it was written in rather than in a fork or a continuation of it, and in how
    /// many others it stands.
    fn one_of_each(&self, scored: Vec<Scored>) -> rusqlite::Result<Vec<Copied>> {
        let mut sessions: HashMap<i64, Vec<i64>> = HashMap::new();
        for found in scored.iter().filter(|found| is_same_everywhere(found.key)) {
            sessions.entry(found.key).or_default().push(found.session);
        }
        let shared: BTreeSet<i64> = sessions.values().filter(|all| all.len() > 1).flatten().copied().collect();
        let ages = self.ranking.ages(&shared)?;
        let mut once = Vec::new();
        for found in scored {
            let Some(all) = sessions.get(&found.key) else {
                once.push(Copied { found, copies: 0 });
                continue;
            };
            if all.iter().min_by_key(|session| ages.get(session)) == Some(&found.session) {
                once.push(Copied { found, copies: all.len() - 1 });
            }
        }
        Ok(once)
    }

    /// One for each message, or the best of each session and the number of its others.
    fn entries(&self, scored: &[Copied]) -> Vec<Entry> {
        let entry = |s: &Copied| Entry { copies: s.copies, ..Entry::of(&s.found) };
        if self.ranking.query.each {
            return scored.iter().map(entry).collect();
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: HashMap<i64, usize> = HashMap::new();
        for found in scored {
            match places.get(&found.found.session) {
                Some(at) => entries[*at].others += 1,
                None => {
                    places.insert(found.found.session, entries.len());
                    entries.push(entry(found));
                }
            }
        }
        entries
    }

    /// Where few or none hold all words: those that hold the most of those that say something.
    fn by_most_words(&mut self, query: &Query, entries: &mut Vec<Entry>) -> rusqlite::Result<()> {
        let words = query.content_words();
        let is_question = words.len() >= QUESTION_WORDS;
        if words.is_empty() || entries.len() >= if is_question { MOST_WORDS_BELOW } else { 1 } {
            return Ok(());
        }
        let each = self.ranking.query.each;
        let shown: BTreeSet<i64> =
            entries.iter().map(|entry| if each { entry.message } else { entry.session }).collect();
        let (found, missing) = match each {
            true => (sorted(self.ranking.best_of(&words.join(" OR "), RANKED_MAX)?), 0),
            false => self.ranking.sessions_by_words(&words)?,
        };
        let found = self.one_of_each(found)?;
        let is_new = |found: &&Copied| !shown.contains(if each { &found.found.message } else { &found.found.session });
        let before = entries.len();
        entries
            .extend(found.iter().filter(is_new).map(|found| Entry { copies: found.copies, ..Entry::of(&found.found) }));
        if entries.len() > before {
            let held = match missing {
                0 => String::new(),
                n => format!("; {n} of {} words that were looked for stand nowhere", words.len()),
            };
            let few = if before == 0 { "no message holds" } else { "few messages hold" };
            self.note(&format!(
                "{few} all of the words: what holds the most of them is shown{}{held}",
                if before == 0 { "" } else { " too" }
            ));
        }
        Ok(())
    }

    fn by_words(&mut self, query: &Query) -> rusqlite::Result<Vec<Scored>> {
        match query.words_match() {
            Some(expression) => none_if_refused(self.ranked(query, &expression)),
            None => Ok(Vec::new()),
        }
    }

    fn ranked(&mut self, query: &Query, expression: &str) -> rusqlite::Result<Vec<Scored>> {
        if !self.ranking.has_more(expression, RANKED_MAX)? {
            return self.ranking.close_together(query, self.ranking.scored(expression, RANKED_MAX)?);
        }
        let written = format!("{{user assistant}} : {expression}");
        let mut all =
            self.ranking.close_together(query, self.ranking.scored(&written, RANKED_MAX - RANKED_OTHERS_MAX)?)?;
        let known: BTreeSet<i64> = all.iter().map(|found| found.message).collect();
        let others = self.ranking.worth(expression, RANKED_OTHERS_MAX, "0.0")?;
        all.extend(sorted(others).into_iter().filter(|found| !known.contains(&found.message)));
        self.note(&format!(
            "more than {RANKED_MAX} messages match; those that a person or the model wrote are shown, and of the \
             output of tools what was indexed last"
        ));
        Ok(all)
    }

    /// Without a text: all messages that the filters leave, newest first.
    fn by_filters(&mut self) -> rusqlite::Result<Vec<Entry>> {
        let conditions = self.ranking.conditions(None, true);
        let sql = format!(
            "SELECT {}, 0.0 FROM messages m
             JOIN tracked t ON t.id = m.session AND t.listed = 1
             WHERE 1 {} ORDER BY m.time_ms DESC, m.id DESC LIMIT {}",
            Scored::sql(),
            conditions.sql,
            FILTERED_MAX + 1,
        );
        let mut found = self.ranking.query_scored(&sql, conditions.values)?;
        if found.len() > FILTERED_MAX {
            found.truncate(FILTERED_MAX);
            self.note(&format!("more than {FILTERED_MAX} messages match; only the newest are shown"));
        }
        let found = self.one_of_each(found)?;
        Ok(self.entries(&found))
    }

    /// Compares the text of messages that hold all trigrams of the query, or of all messages
    /// where it has none, newest first, until there are enough hits for the page; then only those
    /// of the sessions among them, which are counted.
    fn by_parts(&mut self, query: &Query, known: &Known, entries: &mut Vec<Entry>) -> rusqlite::Result<()> {
        let enough = self.ranking.query.offset.saturating_add(self.ranking.query.limit);
        let each = self.ranking.query.each;
        let shown: BTreeSet<i64> = entries.iter().filter(|_| !each).map(|entry| entry.session).collect();
        let mut places: HashMap<i64, usize> = HashMap::new();
        let mut families = Families::new(self.ranking.conditions(None, false));
        let trigrams = query.trigrams_match();
        let is_scan = trigrams.is_none();
        let (from, condition) = match is_scan {
            true => ("messages m", Speaker::sql_with_parts()),
            false => (
                "parts CROSS JOIN spans s ON s.id = parts.rowid CROSS JOIN messages m ON m.id BETWEEN s.first AND s.last",
                format!("parts MATCH ?1 AND {}", Speaker::sql_with_parts()),
            ),
        };
        let conditions = self.ranking.conditions(trigrams, false);
        let sql = format!(
            "SELECT m.id, m.session, m.key, m.content, m.offset, m.length FROM {from} CROSS JOIN tracked t ON t.id = m.session AND t.listed = 1
             WHERE {condition} {} ORDER BY m.time_ms DESC, m.id DESC LIMIT {}",
            conditions.sql,
            if is_scan { -1 } else { CANDIDATES_MAX as i64 },
        );
        let mut statement = self.ranking.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(conditions.values))?;
        let (mut candidates, mut bytes) = (0, 0);
        while let Some(row) = rows.next()? {
            let (message, session, key, place) = candidate(row)?;
            candidates += 1;
            if known.keys.contains(&key) || known.sessions.contains(&session) || shown.contains(&session) {
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
            let copies = match is_same_everywhere(key) {
                true => families.copies(self.ranking.connection, session, key)?,
                false => Some(0),
            };
            let Some(copies) = copies else { continue };
            match entry {
                Some(at) => entries[at].others += 1,
                None => {
                    places.insert(session, entries.len());
                    entries.push(Entry {
                        message,
                        session,
                        by: By::Substrings,
                        class: (true, false),
                        score: 0.0,
                        others: 0,
                        copies,
                    });
                }
            }
        }
        if !is_scan && candidates == CANDIDATES_MAX {
            self.note("only the newest messages were compared; a longer query, a project or a period finds more");
        }
        Ok(())
    }

    fn found(&self, message: i64) -> rusqlite::Result<Option<Found>> {
        let sql = format!("SELECT {COLUMNS} FROM messages m {JOINS} WHERE m.id = ?1");
        self.ranking.connection.prepare_cached(&sql)?.query_row([message], found).optional()
    }

    fn show(&mut self, rank: usize, entry: &Entry, query: Option<&Query>) -> rusqlite::Result<()> {
        let Some(found) = self.found(entry.message)? else { return Ok(()) };
        let SearchQuery { marks, before, after, .. } = self.ranking.query;
        let (uuid, snippet, at) = self.texts.show(&found, query, entry.by, marks);
        let mut context = |side, count| context(self.ranking.connection, &mut self.texts, &found, side, count);
        let (before, after) = (context(Side::Before, *before)?, context(Side::After, *after)?);
        self.results.hits.push(Hit {
            directory: None,
            label: String::new(),
            rank,
            message: found.message(uuid.as_deref(), at),
            path: found.path_text(),
            time: found.time(),
            session_id: found.session,
            project: found.project,
            title: found.title,
            role: found.speaker.role(),
            is_sidechain: found.speaker.is_sidechain(),
            branch: found.branch,
            uuid,
            others_in_session: entry.others,
            other_sessions: entry.copies,
            // The index knows nothing of sources; whoever asks looks.
            source_gone: false,
            lost_messages: 0,
            snippet,
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

/// SQLite bounds the size of an expression by rules of its own. What it does not take as words is still
/// searched for by parts; no text of a user is an error.
fn none_if_refused(found: rusqlite::Result<Vec<Scored>>) -> rusqlite::Result<Vec<Scored>> {
    match found {
        Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == ErrorCode::Unknown => Ok(Vec::new()),
        found => found,
    }
}

/// Sessions that hold the words apart, among those with a message that holds them all.
fn add_sessions(entries: &mut Vec<Entry>, apart: &[Copied]) {
    for Copied { found, copies } in apart {
        match entries.iter_mut().find(|entry| entry.session == found.session) {
            Some(entry) if !entry.class.0 => *entry = Entry { others: entry.others, ..Entry::of(found) },
            Some(entry) => entry.score = entry.score.max(found.score),
            None => entries.push(Entry { copies: *copies, ..Entry::of(found) }),
        }
    }
    // Stable: of equals, the order before.
    entries.sort_by(|a, b| b.class.cmp(&a.class).then(b.score.total_cmp(&a.score)));
}

/// Of a row: a message, its session, its key and its place.
fn candidate(row: &Row<'_>) -> rusqlite::Result<(i64, i64, i64, Place)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, place(row, [3, 4, 5])?))
}
