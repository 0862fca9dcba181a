//! Lines of stored transcripts as they stand there, found by what they have to do with.

use std::ops::ControlFlow;

use rusqlite::params_from_iter;
use rusqlite::types::Value;

use super::conditions::Conditions;
use super::contents::Contents;
use super::error::{IndexError, Sqlite};
use super::families::Age;
use super::open::Index;
use super::text::Speaker;
use super::texts::{COLUMNS, Found, JOINS, Texts, found};
use crate::transcript::record::Role;

/// The columns behind [`COLUMNS`]: what makes the age of its session.
const MORE: &str = "t.is_fork, coalesce(t.start_ms, 0), coalesce(t.end_ms, 0)";
const MORE_AT: usize = 12;

/// Of the number of a file: whether its path ends so, between two slashes.
const IS_FILE: &str = "{FILE} IN (SELECT id FROM files WHERE path = ? OR substr(path, -length(?) - 1) = '/' || ?)";

/// Which lines are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// Calls of these tools on a file of this name in whatever folder, and their results; newest first.
    File { name: &'a str, tools: &'a [&'a str] },
    /// What matches an expression of FTS5 and is a call of a tool or its result; newest first, so many.
    Words { expression: &'a str, tool: Option<&'a str>, limit: usize },
    /// What comes behind a line in its transcript, so many.
    After { line: &'a Line, limit: usize },
    /// What comes before it, the nearest first.
    Before { line: &'a Line, limit: usize },
    /// What the user said before it last; of a subagent's transcript, its task.
    Asked { line: &'a Line },
}

/// A line of a stored transcript.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// The session's row in this index.
    pub(crate) session: i64,
    /// Its folder and its id.
    pub(crate) project: String,
    pub(crate) session_id: String,
    pub(crate) title: Option<String>,
    /// In milliseconds since 1970; 0 where nothing says so.
    pub(crate) time_ms: i64,
    pub(crate) branch: Option<String>,
    pub(crate) is_sidechain: bool,
    /// Whether it is what our own search was asked or answered.
    pub(crate) is_echo: bool,
    /// What `PATH:OFFSET` a reader goes on from, where the record has no id.
    pub(crate) place: String,
    /// Of sessions that have copied from each other, the least one is the first.
    pub(crate) age: Age,
    content: i64,
    offset: u64,
    /// The record, as it stands in the transcript.
    pub(crate) bytes: Vec<u8>,
}

impl Line {
    /// Whether both stand in one file.
    pub(crate) fn is_in_file_of(&self, other: &Line) -> bool {
        self.content == other.content
    }
}

impl Index {
    /// The sessions, of these or of all, that read or changed a file whose path ends so.
    pub(crate) fn sessions_of_file(&self, end: &str, within: Option<&[i64]>) -> Result<Vec<i64>, IndexError> {
        let mut conditions = Conditions::default();
        conditions.add(IS_FILE, Some(Value::from(end.to_owned())));
        conditions.add_rows("m.session", within);
        let sql = format!(
            "SELECT DISTINCT m.session FROM uses u JOIN messages m ON m.id = u.message WHERE 1 {}",
            conditions.sql.replace("{FILE}", "u.file")
        );
        let read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            statement
                .query_map(params_from_iter(conditions.values.iter()), |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()
        };
        read().doing("find the sessions of a file", &self.path)
    }

    /// Hands over the lines, each read from the store, until it is enough: those of these sessions, or of all. How many
    /// could not be read.
    pub(crate) fn lines(
        &self,
        contents: &dyn Contents,
        wanted: Wanted<'_>,
        within: Option<&[i64]>,
        each: &mut dyn FnMut(Line) -> ControlFlow<()>,
    ) -> Result<usize, IndexError> {
        let (sql, values) = select(wanted, within);
        let mut texts = Texts::new(contents);
        let mut read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params_from_iter(values.iter()))?;
            while let Some(row) = rows.next()? {
                let found = found(row)?;
                let age = (row.get(MORE_AT)?, row.get(MORE_AT + 1)?, row.get(MORE_AT + 2)?, found.session_row);
                let Some(bytes) = texts.read(&found) else {
                    texts.unreadable += 1;
                    continue;
                };
                if each(line_of(found, age, bytes)).is_break() {
                    break;
                }
            }
            Ok(())
        };
        read().doing("find lines of transcripts", &self.path)?;
        Ok(texts.unreadable)
    }
}

fn line_of(found: Found, age: Age, bytes: Vec<u8>) -> Line {
    Line {
        place: found.message(None, 0),
        session: found.session_row,
        time_ms: found.time_ms,
        is_sidechain: found.speaker.is_sidechain(),
        is_echo: found.speaker.is_echo(),
        content: found.place.content,
        offset: found.place.offset,
        project: found.project,
        session_id: found.session,
        title: found.title,
        branch: found.branch,
        age,
        bytes,
    }
}

fn select(wanted: Wanted<'_>, within: Option<&[i64]>) -> (String, Vec<Value>) {
    let mut conditions = Conditions::default();
    let (mut from, mut order) = (format!("messages m {JOINS}"), "m.time_ms DESC, m.id DESC".to_owned());
    match wanted {
        Wanted::File { name, tools } => {
            let names: Vec<String> = tools.iter().map(|tool| format!("'{tool}'")).collect();
            let uses = format!(
                "m.id IN (SELECT message FROM uses
                 WHERE {} AND tool IN (SELECT id FROM tools WHERE name IN ({})))",
                IS_FILE.replace("{FILE}", "file"),
                names.join(", ")
            );
            conditions.add(&uses, Some(Value::from(name.to_owned())));
        }
        Wanted::Words { expression, tool, limit } => {
            from = format!("words CROSS JOIN messages m ON m.id = words.rowid {JOINS}");
            conditions.add("words MATCH ?", Some(Value::from(expression.to_owned())));
            let is_of = "m.id IN (SELECT u.message FROM uses u JOIN tools ON tools.id = u.tool WHERE tools.name = ?)";
            conditions.add(is_of, tool.map(|tool| Value::from(tool.to_owned())));
            order = format!("words.rowid DESC LIMIT {limit}");
        }
        Wanted::After { line, limit } => {
            conditions.add("m.content = ?", Some(Value::from(line.content)));
            conditions.add("m.offset > ?", Some(Value::from(line.offset as i64)));
            order = format!("m.offset LIMIT {limit}");
        }
        Wanted::Before { line, limit } => {
            conditions.add("m.content = ?", Some(Value::from(line.content)));
            conditions.add("m.offset < ?", Some(Value::from(line.offset as i64)));
            order = format!("m.offset DESC LIMIT {limit}");
        }
        Wanted::Asked { line } => {
            conditions.add("m.content = ?", Some(Value::from(line.content)));
            conditions.add("m.offset < ?", Some(Value::from(line.offset as i64)));
            conditions.sql.push_str(&format!(" AND {}", Speaker::sql_of(Role::User)));
            order = "m.offset DESC LIMIT 1".to_owned();
        }
    }
    conditions.add_rows("m.session", within);
    (format!("SELECT {COLUMNS}, {MORE} FROM {from} WHERE 1 {} ORDER BY {order}", conditions.sql), conditions.values)
}
