//! Lists and numbers.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::names::{FileName, StoredName};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::conditions::Conditions;
use super::error::{IndexError, Sqlite};
use super::families;
use super::files::beside;
use super::open::Index;
use super::texts::check_names;
use super::types::{Counts, Glance, SessionFilter, SessionRow, SessionTotals, Whereabouts};
use crate::transcript::metadata::{Metadata, SessionStats};

const SESSION_COLUMNS: &str = "t.project, t.session, coalesce(c.shown, t.messages), t.save_trigger,
    (SELECT tally FROM tallies WHERE session = t.id),
    c.seen_bytes, c.seen_blake3,
    (SELECT count(DISTINCT s.path) FROM contents s WHERE s.session = t.id
        AND (s.path LIKE t.session || '/subagents/%' OR s.path LIKE t.session || '/.beside/agent-%')),
    t.id";
const NEWEST: &str = "LEFT JOIN contents c ON c.session = t.id AND c.generation = 0 AND c.path = t.session || '.jsonl'";

impl Index {
    /// Listed sessions, newest first by their last message.
    pub(crate) fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionRow>, IndexError> {
        let conditions = conditions(filter);
        let limit = filter.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let sql = format!(
            "SELECT {SESSION_COLUMNS} FROM tracked t {NEWEST} WHERE t.listed = 1 {}
             ORDER BY t.end_ms DESC NULLS LAST, t.id DESC LIMIT {limit} OFFSET {}",
            conditions.sql, filter.offset
        );
        let list = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let row = |row: &Row<'_>| Ok((row.get(8)?, session_row(row)?));
            let rows = statement.query_map(params_from_iter(conditions.values), row)?;
            self.with_forks(rows.collect::<rusqlite::Result<_>>()?)
        };
        list().doing("list sessions", &self.path)
    }

    /// Listed sessions, newest first by their last message, without what takes time to read.
    pub(crate) fn glances(&self) -> Result<Vec<Glance>, IndexError> {
        let read = || {
            let sql = format!(
                "SELECT t.id, t.project, t.session, t.title, t.end_ms, coalesce(c.shown, t.messages), coalesce(c.seen_bytes, 0)
                 FROM tracked t {NEWEST} WHERE t.listed = 1 ORDER BY +t.end_ms DESC NULLS LAST, t.id DESC"
            );
            // Read in the order in which they lie, and sorted then: in that of the times each would cost a few pages.
            let mut statement = self.connection.prepare_cached(&sql)?;
            let glances = statement.query_map([], |row| {
                Ok(Glance {
                    row: row.get(0)?,
                    project: row.get(1)?,
                    session: row.get(2)?,
                    title: row.get(3)?,
                    end_ms: row.get(4)?,
                    messages: number(row, 5)?,
                    bytes: number(row, 6)?,
                })
            })?;
            glances.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().doing("list sessions", &self.path)
    }

    /// How many of these sessions it knows nothing of.
    pub(crate) fn lacks<'k>(&self, keys: impl Iterator<Item = &'k SessionKey>) -> Result<usize, IndexError> {
        let mut lacking: HashMap<&str, HashSet<&str, RandomState>, RandomState> = HashMap::default();
        for key in keys {
            lacking.entry(key.project.as_str()).or_default().insert(key.id.as_str());
        }
        let mut look = || {
            let mut statement = self.connection.prepare_cached("SELECT project, session FROM tracked")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if let Some(of_project) = lacking.get_mut(row.get_ref(0)?.as_str()?) {
                    of_project.remove(row.get_ref(1)?.as_str()?);
                }
            }
            Ok(())
        };
        look().doing("list sessions", &self.path)?;
        Ok(lacking.values().map(HashSet::len).sum())
    }

    /// How these sessions began, by their rows; those of which nothing is known are left out.
    pub(crate) fn beginnings(&self, rows: &[i64]) -> Result<Vec<(i64, String)>, IndexError> {
        let read = || {
            let begun = |row: &i64| beginning(&self.connection, *row).map(|text| Some((*row, text?))).transpose();
            rows.iter().filter_map(begun).collect::<rusqlite::Result<_>>()
        };
        read().doing("list beginnings", &self.path)
    }

    /// What the sessions are called: project, id and title.
    pub(crate) fn titles(&self) -> Result<Vec<(String, String, String)>, IndexError> {
        let read = || {
            let sql = "SELECT project, session, title FROM tracked WHERE title IS NOT NULL";
            let mut statement = self.connection.prepare_cached(sql)?;
            let titles = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            titles.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().doing("list titles", &self.path)
    }

    /// Every session, and the directories that its records name.
    pub(crate) fn whereabouts(&self) -> Result<Vec<Whereabouts>, IndexError> {
        let read = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT t.id, t.project, t.session, d.path FROM tracked t
                 LEFT JOIN directories d ON d.session = t.id ORDER BY t.id, d.rank",
            )?;
            let mut rows = statement.query([])?;
            let mut all: Vec<Whereabouts> = Vec::new();
            while let Some(row) = rows.next()? {
                let id = row.get(0)?;
                if all.last().is_none_or(|last| last.row != id) {
                    let (project, session_id) = (row.get(1)?, row.get(2)?);
                    all.push(Whereabouts { row: id, project, session_id, directories: Vec::new() });
                }
                let directories = &mut all.last_mut().expect("just pushed").directories;
                directories.extend(row.get::<_, Option<String>>(3)?);
                directories.dedup();
            }
            Ok(all)
        };
        read().doing("list directories", &self.path)
    }

    /// Sessions and what they were forked from, also where only the messages that they share say so.
    fn with_forks(&self, rows: Vec<(i64, SessionRow)>) -> rusqlite::Result<Vec<SessionRow>> {
        let shared = families::shared(&self.connection)?;
        let with_forks = |(id, mut row): (i64, SessionRow)| {
            if !shared.contains(&id) {
                return Ok(row);
            }
            let family = families::family(&self.connection, id)?;
            match family.first() {
                Some(first) if *first == id => row.forks = family.len() as u64 - 1,
                Some(first) if row.metadata.forked_from.is_none() => {
                    let sql = "SELECT session FROM tracked WHERE id = ?1";
                    row.metadata.forked_from = self.connection.query_row(sql, [first], |row| row.get(0)).optional()?;
                }
                _ => {}
            }
            Ok(row)
        };
        rows.into_iter().map(with_forks).collect()
    }

    /// How many sessions that is without a limit, and their sizes.
    pub(crate) fn totals(&self, filter: &SessionFilter) -> Result<SessionTotals, IndexError> {
        let conditions = conditions(filter);
        let sql = format!(
            "SELECT count(*), coalesce(sum(c.seen_bytes), 0),
                coalesce(sum(coalesce(c.shown, t.messages)), 0)
             FROM tracked t {NEWEST} WHERE t.listed = 1 {}",
            conditions.sql
        );
        let total = |row: &Row<'_>| {
            Ok(SessionTotals { sessions: number(row, 0)?, bytes: number(row, 1)?, messages: number(row, 2)? })
        };
        self.connection.query_row(&sql, params_from_iter(conditions.values), total).doing("count sessions", &self.path)
    }

    /// One session, listed or not; `None` if the index does not know it.
    pub(crate) fn session(&self, key: &SessionKey) -> Result<Option<SessionRow>, IndexError> {
        let transcript = StoredName::newest(FileName::Transcript).to_text(&key.id);
        let sql = format!(
            "SELECT {SESSION_COLUMNS} FROM tracked t
             LEFT JOIN contents c ON c.session = t.id AND c.generation = 0 AND c.path = ?3
             WHERE t.project = ?1 AND t.session = ?2"
        );
        let find = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            statement.query_row([key.project.as_str(), key.id.as_str(), &transcript], session_row).optional()
        };
        find().doing("look up a session", &self.path)
    }

    /// Counts everything.
    pub fn counts(&self) -> Result<Counts, IndexError> {
        let count = || {
            let mut counts = self.connection.query_row(
                "SELECT coalesce(sum(listed), 0), coalesce(sum(NOT listed), 0), coalesce(sum(messages), 0),
                    coalesce(sum(unparsable), 0) FROM tracked",
                [],
                |row| {
                    Ok(Counts {
                        sessions: number(row, 0)?,
                        sessions_unlisted: number(row, 1)?,
                        messages: number(row, 2)?,
                        unparsable: number(row, 3)?,
                        ..Counts::default()
                    })
                },
            )?;
            let mut statement = self.connection.prepare("SELECT kind, sum(records) FROM unknown GROUP BY kind")?;
            let kinds = statement.query_map([], |row| Ok((row.get(0)?, number(row, 1)?)))?;
            counts.unknown = kinds.collect::<rusqlite::Result<_>>()?;
            Ok(counts)
        };
        let mut counts = count().doing("count", &self.path)?;
        for suffix in ["", "-wal"] {
            // A log that is not there has no bytes.
            counts.bytes += beside(&self.path, suffix, "").metadata().map_or(0, |metadata| metadata.len());
        }
        Ok(counts)
    }
}

fn conditions(filter: &SessionFilter) -> Conditions {
    let mut conditions = Conditions::default();
    conditions.add_project("t.project", filter.project.as_deref());
    conditions.add_rows("t.id", filter.within.as_deref());
    conditions.add("t.end_ms >= ?", filter.since_ms.map(Value::from));
    conditions.add("t.start_ms <= ?", filter.until_ms.map(Value::from));
    conditions.add("t.branch = ?", filter.branch.clone().map(Value::from));
    conditions
}

fn session_row(row: &Row<'_>) -> rusqlite::Result<SessionRow> {
    let tally: Option<String> = row.get(4)?;
    let tally: SessionStats = tally.and_then(|tally| serde_json::from_str(&tally).ok()).unwrap_or_default();
    let blake3: Option<[u8; 32]> = row.get(6)?;
    let metadata = Metadata {
        project: row.get(0)?,
        session_id: row.get(1)?,
        messages: number(row, 2)?,
        trigger: row.get(3)?,
        bytes: row.get::<_, Option<i64>>(5)?.unwrap_or(0).unsigned_abs(),
        blake3: blake3.map(|bytes| layer1_prebackup::Hash::from_bytes(bytes).to_hex().to_string()),
        ..tally.to_metadata()
    };
    check_names(&metadata.project, &metadata.session_id)?;
    // The index knows nothing of sources; whoever asks looks.
    Ok(SessionRow {
        metadata,
        subagents: number(row, 7)?,
        forks: 0,
        source_gone: false,
        lost_messages: 0,
        label: String::new(),
    })
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}
/// How a session began, by its row.
pub(super) fn beginning(connection: &Connection, row: i64) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare_cached("SELECT tally FROM tallies WHERE session = ?1")?;
    let text = statement.query_row([row], |row| Ok(SessionStats::beginning(row.get_ref(0)?.as_str()?))).optional()?;
    Ok(text.flatten())
}
