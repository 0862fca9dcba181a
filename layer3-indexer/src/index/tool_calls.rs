//! Which tools and files messages have to do with. A call names its tool; its result names the
//! call alone, so the calls of a content are remembered until their result is read.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Transaction, params};

use super::own::is_own_call;
use crate::transcript::metadata::{NAME_CHARS_MAX, shortened, touched_file};
use crate::transcript::record::{Block, Record};

/// A tool and the file that it touches, by their numbers; no file is 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    tool: i64,
    file: i64,
    /// Whether it is our own search.
    pub(crate) is_own: bool,
}

/// The calls of the content that is being read, and numbers that were looked up.
#[derive(Default)]
pub(super) struct ToolCalls {
    pending: BTreeMap<i64, Use>,
    tools: HashMap<String, i64>,
    files: HashMap<String, i64>,
}

impl ToolCalls {
    /// Goes on with the calls that had no result when reading the content ended last.
    pub(crate) fn begin_content(&mut self, transaction: &Transaction<'_>, content: i64) -> rusqlite::Result<()> {
        let mut statement = transaction.prepare_cached("SELECT call, tool, file, own FROM calls WHERE content = ?1")?;
        let rows = statement.query_map([content], |row| {
            Ok((row.get(0)?, Use { tool: row.get(1)?, file: row.get(2)?, is_own: row.get(3)? }))
        })?;
        self.pending = rows.collect::<rusqlite::Result<_>>()?;
        Ok(())
    }

    /// What a message uses. Every record of a content passes here, also one that comes again, so
    /// that the same calls are open wherever reading was interrupted.
    pub(crate) fn of(&mut self, transaction: &Transaction<'_>, named: &[Named]) -> rusqlite::Result<Vec<Use>> {
        let mut uses = Vec::new();
        for named in named {
            match named {
                Named::Call { tool, file, call, is_own } => {
                    let tool = self.tool(transaction, tool)?;
                    let file = match file {
                        Some(path) => self.file(transaction, path)?,
                        None => 0,
                    };
                    let used = Use { tool, file, is_own: *is_own };
                    uses.push(used);
                    if let Some(call) = call {
                        self.pending.insert(*call, used);
                    }
                }
                Named::Result { call } => uses.extend(self.pending.remove(call)),
            }
        }
        Ok(uses)
    }

    /// Writes the calls that have no result yet.
    pub(crate) fn end_content(&mut self, transaction: &Transaction<'_>, content: i64) -> rusqlite::Result<()> {
        transaction.prepare_cached("DELETE FROM calls WHERE content = ?1")?.execute([content])?;
        let mut insert = transaction
            .prepare_cached("INSERT INTO calls (content, call, tool, file, own) VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for (call, Use { tool, file, is_own }) in std::mem::take(&mut self.pending) {
            insert.execute(params![content, call, tool, file, is_own])?;
        }
        Ok(())
    }

    fn tool(&mut self, transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<i64> {
        number(transaction, &mut self.tools, name, ("tools", "name"))
    }

    fn file(&mut self, transaction: &Transaction<'_>, path: &str) -> rusqlite::Result<i64> {
        number(transaction, &mut self.files, path, ("files", "path"))
    }
}

/// A use as the record says it.
pub(super) enum Named {
    /// A tool is called, with the file that it touches.
    Call { tool: String, file: Option<String>, call: Option<i64>, is_own: bool },
    /// What a call gave.
    Result { call: i64 },
}

impl Named {
    /// Those of a record, in its order.
    pub(crate) fn all_of(record: &Record<'_>) -> Vec<Named> {
        let named = |block: &Block<'_>| match block {
            Block::ToolUse { name, id, input } => Some(Named::Call {
                tool: shortened(name, NAME_CHARS_MAX),
                file: input.and_then(touched_file),
                call: id.as_deref().map(call_of),
                is_own: is_own_call(name, *input),
            }),
            Block::ToolResult { id: Some(id), .. } => Some(Named::Result { call: call_of(id) }),
            _ => None,
        };
        record.blocks.iter().filter_map(named).collect()
    }
}

/// Adds what a new message uses.
pub(super) fn add(transaction: &Transaction<'_>, message: i64, uses: &[Use]) -> rusqlite::Result<()> {
    for Use { tool, file, .. } in uses {
        transaction
            .prepare_cached("INSERT OR IGNORE INTO uses (message, tool, file) VALUES (?1, ?2, ?3)")?
            .execute([message, *tool, *file])?;
    }
    Ok(())
}

fn number(
    transaction: &Transaction<'_>,
    known: &mut HashMap<String, i64>,
    text: &str,
    (table, column): (&str, &str),
) -> rusqlite::Result<i64> {
    if let Some(id) = known.get(text) {
        return Ok(*id);
    }
    transaction
        .prepare_cached(&format!("INSERT OR IGNORE INTO {table} ({column}) VALUES (?1)"))?
        .execute(params![text])?;
    let id = transaction
        .prepare_cached(&format!("SELECT id FROM {table} WHERE {column} = ?1"))?
        .query_row(params![text], |row| row.get(0))?;
    known.insert(text.to_owned(), id);
    Ok(id)
}

fn call_of(id: &str) -> i64 {
    let bytes = *blake3::hash(id.as_bytes()).as_bytes();
    i64::from_le_bytes(bytes[..8].try_into().unwrap_or_default())
}
