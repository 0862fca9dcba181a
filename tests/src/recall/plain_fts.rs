//! What anybody can do with SQLite in an afternoon: each message a row of FTS5, the words of the question joined by OR.

use std::fs;
use std::io;
use std::path::Path;

use rusqlite::{Connection, params};
use serde_json::Value;

use super::types::Question;

/// Messages in memory.
#[derive(Debug)]
pub(super) struct PlainFts(Connection);

impl PlainFts {
    pub(super) fn of(projects: &Path) -> io::Result<PlainFts> {
        let database = Connection::open_in_memory().map_err(io::Error::other)?;
        let table = "CREATE VIRTUAL TABLE messages USING fts5(project UNINDEXED, session UNINDEXED, text); BEGIN";
        database.execute_batch(table).map_err(io::Error::other)?;
        for project in fs::read_dir(projects)? {
            let project = project?.path();
            for transcript in fs::read_dir(&project)? {
                let transcript = transcript?.path();
                let (project, session) = (project.file_name(), transcript.file_stem());
                let name = |name: Option<&std::ffi::OsStr>| name.unwrap_or_default().to_string_lossy().into_owned();
                let row = [name(project), name(session)];
                for line in fs::read(&transcript)?.split(|byte| *byte == b'\n') {
                    let record: Value = serde_json::from_slice(line).unwrap_or_default();
                    let mut text = String::new();
                    if matches!(record["type"].as_str(), Some("user" | "assistant")) {
                        said(&record["message"]["content"], &mut text);
                    }
                    if !text.is_empty() {
                        let insert = "INSERT INTO messages VALUES (?1, ?2, ?3)";
                        let mut insert = database.prepare_cached(insert).map_err(io::Error::other)?;
                        insert.execute(params![row[0], row[1], text]).map_err(io::Error::other)?;
                    }
                }
            }
        }
        database.execute_batch("COMMIT").map_err(io::Error::other)?;
        Ok(PlainFts(database))
    }

    pub(super) fn sessions(&self, question: &Question, limit: usize) -> io::Result<Vec<String>> {
        let words = question.text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let any = words.map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" OR ");
        let sql = "SELECT session FROM messages WHERE messages MATCH ?1 AND (?2 IS NULL OR project = ?2) ORDER BY rank";
        let mut statement = self.0.prepare_cached(sql).map_err(io::Error::other)?;
        let rows = statement.query_map(params![any, question.project], |row| row.get::<_, String>(0));
        let mut sessions: Vec<String> = Vec::new();
        for session in rows.map_err(io::Error::other)? {
            let session = session.map_err(io::Error::other)?;
            if !sessions.contains(&session) {
                sessions.push(session);
            }
            if sessions.len() == limit {
                break;
            }
        }
        Ok(sessions)
    }
}

/// Texts and what tools are asked, not what they give.
fn said(content: &Value, text: &mut String) {
    let mut push = |value: &Value| {
        if let Some(value) = value.as_str() {
            text.push_str(value);
            text.push('\n');
        }
    };
    push(content);
    for block in content.as_array().into_iter().flatten() {
        push(&block["text"]);
        for value in block["input"].as_object().into_iter().flatten().map(|(_, value)| value) {
            push(value);
        }
    }
}
