//! Which messages match, and what each is worth.
//!
//! FTS5's bm25 saturates: a tool output that repeats a word forty times gets the
//! most that a message can get, whatever its column weighs. So the weights of the columns
//! ([`WEIGHTS`]) tell where in a message a word stands, and a factor for who speaks
//! ([`Speaker::sql_factor`]) puts people and the model before the noise of tools. A message of the
//! newest day of the index is worth a little more than an old one; measured from the newest message
//! and not from now, so that the pages of one answer fit together however slowly they are read.
//! The choices were measured on the judged queries of `tests/fixtures/judged`: see docs/performance.md.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, HashSet};

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::conditions::Conditions;
use super::error::none_if_refused;
use super::families::{AGE, Age, age};
use super::labels;
use super::query::Query;
use super::sessions::Sessions;
use super::text::{Speaker, WEIGHTS};
use super::types::SearchQuery;

/// How much better a message of the newest moment is than an old one of the same words …
const RECENT_WEIGHT: f64 = 0.25;
/// … and the age at which half of that is left.
const RECENT_HALF_MS: f64 = 30.0 * 24.0 * 60.0 * 60.0 * 1000.0;

/// What a message is worth that holds the words of a query in a row, and near each other, beside one that holds them apart.
const IN_A_ROW_WEIGHT: f64 = 2.0;
const NEAR_WEIGHT: f64 = 1.3;
/// Messages that are looked at for it.
const NEAR_MAX: usize = 5000;

/// A message that matches; the larger the score, the better.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scored {
    pub(crate) message: i64,
    pub(crate) session: i64,
    /// What tells the message apart from all others, also where another session has copied it.
    pub(crate) key: i64,
    /// Whether it is what our own search was asked or answered.
    pub(crate) is_echo: bool,
    pub(crate) time_ms: i64,
    pub(crate) score: f64,
    /// Whether it holds a whole sentence of the query as it was typed.
    pub(crate) is_in_a_row: bool,
}

impl Scored {
    /// SQL of all but the score, of messages `m`.
    pub(crate) fn sql() -> String {
        format!("m.id, m.session, m.key, {}, m.time_ms", Speaker::sql_is_echo())
    }

    /// From a row that begins so.
    pub(crate) fn of(row: &Row<'_>, score: f64) -> rusqlite::Result<Scored> {
        Ok(Scored {
            message: row.get(0)?,
            session: row.get(1)?,
            key: row.get(2)?,
            is_echo: row.get(3)?,
            time_ms: row.get(4)?,
            score,
            is_in_a_row: false,
        })
    }
}

/// One view of the index, and what is searched for in it.
pub(super) struct Ranking<'s> {
    pub(crate) connection: &'s Connection,
    pub(crate) query: &'s SearchQuery,
    pub(crate) sessions: Sessions,
    newest_ms: i64,
}

impl<'s> Ranking<'s> {
    pub(crate) fn new(connection: &'s Connection, query: &'s SearchQuery) -> rusqlite::Result<Ranking<'s>> {
        let sessions = Sessions::read(connection, query)?;
        Ok(Ranking { connection, query, sessions, newest_ms: newest_ms(connection, query.now_ms)? })
    }

    /// Whether more than so many messages match.
    pub(crate) fn has_more(&self, expression: &str, count: usize) -> rusqlite::Result<bool> {
        let conditions = self.conditions(Some(expression.to_owned()), false);
        let sql = format!(
            "SELECT 1 FROM words {} WHERE words MATCH ?1 {} LIMIT 1 OFFSET {count}",
            if conditions.sql.is_empty() { "" } else { "JOIN messages m ON m.id = words.rowid" },
            conditions.sql,
        );
        self.connection.prepare_cached(&sql)?.exists(params_from_iter(&conditions.values))
    }

    /// All that matches; each worth what the SQL says.
    pub(crate) fn worth(&self, expression: &str, score: &str) -> rusqlite::Result<Vec<Scored>> {
        let conditions = self.conditions(Some(expression.to_owned()), false);
        let sql = format!(
            "SELECT {}, {score} FROM words
             JOIN messages m ON m.id = words.rowid
             WHERE words MATCH ?1 AND m.session NOT IN (SELECT id FROM tracked WHERE listed = 0) {}
             ORDER BY words.rowid DESC",
            Scored::sql(),
            conditions.sql,
        );
        none_if_refused(self.query_scored(&sql, conditions.values))
    }

    pub(crate) fn query_scored(&self, sql: &str, values: Vec<Value>) -> rusqlite::Result<Vec<Scored>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params_from_iter(values), |row| Scored::of(row, row.get(5)?))?;
        rows.collect()
    }

    /// What matches, and holds the query's words in a row or close together, before all that holds them apart. `None`
    /// where the query says itself how they stand.
    pub(crate) fn close_together(&self, query: &Query, mut found: Vec<Scored>) -> rusqlite::Result<Vec<Scored>> {
        let Some(close) = query.close_together() else { return Ok(sorted(found)) };
        let near: HashSet<i64> = self.near(&close.near)?.into_iter().collect();
        let row = self.worth(&close.in_a_row, &self.score())?;
        let in_a_row: HashSet<i64> = row.iter().map(|found| found.message).collect();
        found.retain(|found| !in_a_row.contains(&found.message));
        for found in found.iter_mut().filter(|found| near.contains(&found.message)) {
            found.score *= NEAR_WEIGHT;
        }
        found.extend(row.into_iter().map(|found| Scored {
            is_in_a_row: close.is_sentence,
            score: found.score * IN_A_ROW_WEIGHT,
            ..found
        }));
        Ok(sorted(found))
    }

    /// Of sessions, which is the first to show a message that several of them hold.
    pub(crate) fn ages(&self, sessions: &BTreeSet<i64>) -> rusqlite::Result<HashMap<i64, Age>> {
        if sessions.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<String> = sessions.iter().map(i64::to_string).collect();
        let sql = format!("SELECT {AGE} FROM tracked t WHERE id IN ({})", ids.join(", "));
        let mut statement = self.connection.prepare(&sql)?;
        statement.query_map([], age)?.collect()
    }

    fn near(&self, expression: &str) -> rusqlite::Result<Vec<i64>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT rowid FROM words WHERE words MATCH ?1 ORDER BY rowid DESC LIMIT ?2")?;
        let rows = statement.query_map(params![expression, NEAR_MAX as i64], |row| row.get(0))?;
        rows.collect()
    }

    /// SQL of what a message is worth.
    pub(crate) fn score(&self) -> String {
        let weights = WEIGHTS.map(|weight| weight.to_string()).join(", ");
        let factor = Speaker::sql_factor();
        let newest = self.newest_ms;
        format!(
            "-bm25(words, {weights}) * {factor}
             * (1 + {RECENT_WEIGHT:?} / (1 + max(0, {newest} - m.time_ms) / {RECENT_HALF_MS:?}))"
        )
    }

    /// The sessions that the filters leave and of which a message that they leave holds an expression.
    pub(crate) fn holding(&self, expression: &str) -> rusqlite::Result<BTreeSet<i64>> {
        self.sessions_of(&self.messages_holding(expression)?)
    }

    /// The sessions of messages, in the order of these, that the filters leave.
    pub(crate) fn sessions_of(&self, messages: &[i64]) -> rusqlite::Result<BTreeSet<i64>> {
        let counts = self.counts_of(messages)?;
        Ok(counts.into_keys().filter(|session| self.sessions.get(*session).is_some()).collect())
    }

    /// How many of messages, in the order of their numbers, each session has.
    pub(crate) fn counts_of(&self, messages: &[i64]) -> rusqlite::Result<HashMap<i64, usize>> {
        let mut counts = HashMap::new();
        for run in self.sessions.owners(self.connection, messages)?.chunk_by(|a, b| a.1 == b.1) {
            *counts.entry(run[0].1).or_insert(0) += run.len();
        }
        Ok(counts)
    }

    /// The messages that the filters leave and that hold an expression, in the order of their numbers.
    pub(crate) fn messages_holding(&self, expression: &str) -> rusqlite::Result<Vec<i64>> {
        self.messages_between(expression, None)
    }

    /// The same of those from one number to another, if they are given.
    pub(crate) fn messages_between(&self, expression: &str, range: Option<(i64, i64)>) -> rusqlite::Result<Vec<i64>> {
        let mut filters = self.filters(1, false);
        filters.values[0] = Value::from(expression.to_owned());
        // Not where it holds for all: SQLite compares each.
        filters.add("words.rowid >= ?", range.map(|(first, _)| Value::from(first)));
        filters.add("words.rowid <= ?", range.map(|(_, last)| Value::from(last)));
        // As one text: a row for each would cost twice as much as finding it.
        let sql = format!(
            "SELECT group_concat(words.rowid) FROM words {} WHERE words MATCH ?1 {}",
            if self.has_message_filter() { "CROSS JOIN messages m ON m.id = words.rowid" } else { "" },
            filters.sql
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let found = statement.query_row(params_from_iter(&filters.values), |row| row.get(0));
        let found: Option<String> = none_if_refused(found)?;
        let mut messages: Vec<i64> =
            found.as_deref().unwrap_or_default().split(',').filter_map(|number| number.parse().ok()).collect();
        // They come so; nothing promises it.
        messages.sort_unstable();
        Ok(messages)
    }

    /// The first message of a session that the filters leave.
    pub(crate) fn first_message(&self, session: i64) -> rusqlite::Result<Option<Scored>> {
        let mut conditions = self.filters(0, false);
        conditions.add("m.session = ?", Some(Value::from(session)));
        let sql = format!(
            "SELECT {}, 0.0 FROM messages m WHERE m.speaker = 0 {} ORDER BY m.id LIMIT 1",
            Scored::sql(),
            conditions.sql
        );
        Ok(self.query_scored(&sql, conditions.values)?.first().copied())
    }

    /// Titles of sessions that the filters leave. A title is nobody's message: a filter that asks
    /// for certain messages leaves none.
    pub(crate) fn titles(&self) -> rusqlite::Result<Vec<(i64, String)>> {
        if self.has_message_filter() {
            return Ok(Vec::new());
        }
        let sql = "SELECT id, title FROM tracked WHERE listed = 1 AND title IS NOT NULL";
        let mut statement = self.connection.prepare_cached(sql)?;
        let titles = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let is_meant = |title: &rusqlite::Result<(i64, String)>| {
            title.as_ref().map_or(true, |(session, _)| self.sessions.get(*session).is_some())
        };
        let titles: Vec<(i64, String)> = titles.filter(is_meant).collect::<rusqlite::Result<_>>()?;
        let mut called = labels::all(self.connection)?;
        called.retain(|(session, _)| self.sessions.get(*session).is_some());
        Ok(titles.into_iter().chain(called).collect())
    }

    /// Whether messages are asked for by something else than what they say.
    pub(crate) fn has_message_filter(&self) -> bool {
        !self.filters(0, false).sql.is_empty()
    }

    /// The filters, behind the expression that is matched, if there is one. `calls`: a file means
    /// the calls that touch it, not the sessions.
    pub(crate) fn conditions(&self, expression: Option<String>, calls: bool) -> Conditions {
        let query = self.query;
        let mut sessions = Conditions::default();
        sessions.values.extend(expression.map(Value::from));
        sessions.add_project("project", query.project.as_deref());
        sessions.add_rows("id", query.within.as_deref());
        sessions.add("session = ?", query.session_id.clone().map(Value::from));
        let mut conditions = Conditions { sql: String::new(), values: sessions.values };
        if !sessions.sql.is_empty() {
            conditions.sql = format!(" AND m.session IN (SELECT id FROM tracked WHERE listed = 1 {})", sessions.sql);
        }
        self.add_filters(&mut conditions, calls);
        conditions
    }

    /// Those that ask for certain messages, behind so many other values.
    fn filters(&self, before: usize, calls: bool) -> Conditions {
        let mut filters = Conditions { sql: String::new(), values: vec![Value::Null; before] };
        self.add_filters(&mut filters, calls);
        filters
    }

    fn add_filters(&self, conditions: &mut Conditions, calls: bool) {
        let query = self.query;
        conditions.add("m.time_ms >= ?", query.since_ms.map(Value::from));
        conditions.add("m.time_ms <= ?", query.until_ms.map(Value::from));
        let branch = query.branch.clone().map(Value::from);
        conditions.add("m.branch = (SELECT id FROM branches WHERE name = ?)", branch);
        if let Some(role) = query.role {
            conditions.sql.push_str(&format!(" AND {}", Speaker::sql_of(role)));
        }
        self.add_uses(conditions, calls);
    }

    /// The filters by tool and file.
    fn add_uses(&self, conditions: &mut Conditions, calls: bool) {
        // `bash` for Bash, `search` for mcp__server__search.
        const TOOL: &str = "u.tool IN (SELECT id FROM tools
            WHERE lower(name) = lower(?) OR substr(lower(name), -length(?) - 2) = '__' || lower(?))";
        // Whole components: `src/a.rs` is in `/w/src/a.rs` and not in `/w/src/a.rs.bak`.
        const FILE: &str = "u.file != 0 AND u.file IN (SELECT id FROM files
            WHERE instr('/' || path || '/', '/' || ? || '/') > 0)";
        let query = self.query;
        let tool = query.tool.clone().map(Value::from);
        let file = query.file.as_deref().map(|file| Value::from(components(file)));
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
}

/// The time of the newest message, times that are still to come left out: a wrong clock must not
/// make all others old.
fn newest_ms(connection: &Connection, now_ms: i64) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(max(end_ms), 0) FROM tracked WHERE end_ms <= ?1";
    connection.prepare_cached(sql)?.query_row([now_ms], |row| row.get(0))
}

/// What a word says that so many of all hold: the fewer, the more.
pub(super) fn rare(with: f64, all: f64) -> f64 {
    (1.0 + (all - with + 0.5).max(0.0) / (with + 0.5)).ln()
}

/// Best first, echoes of our own search behind all others; of equals the newer one, then the one indexed last.
pub(super) fn sorted(mut scored: Vec<Scored>) -> Vec<Scored> {
    scored.sort_unstable_by(|a, b| by_worth(b, a));
    scored
}

pub(super) fn by_worth(a: &Scored, b: &Scored) -> Ordering {
    b.is_echo
        .cmp(&a.is_echo)
        .then(a.is_in_a_row.cmp(&b.is_in_a_row))
        .then(a.score.total_cmp(&b.score))
        .then((a.time_ms, a.message).cmp(&(b.time_ms, b.message)))
}

/// A path or the end of one, as it stands between the slashes of stored paths.
fn components(file: &str) -> String {
    let file = file.trim().replace('\\', "/");
    let file = file.trim_start_matches("./").trim_matches('/');
    file.to_owned()
}
