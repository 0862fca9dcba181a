//! Messages that have one row together in the index of parts of words.
//!
//! A row of FTS5 costs by its tokens, and the messages of a conversation share most of theirs. So each
//! row stands for some in a row; which of them holds what is searched for, their texts tell.

use rusqlite::{Transaction, params};

use super::trigram::{Tokens, written};

/// Text after which a row ends. More makes the index smaller, and more messages to compare for each hit.
const ROW_BYTES: usize = 4 * 1024;
/// Messages, whatever they hold, after which a row ends.
const ROW_MESSAGES: i64 = 64;

/// The row that is being gathered.
pub(super) struct TrigramRow {
    /// First and last message; none yet.
    messages: Option<(i64, i64)>,
    bytes: usize,
    tokens: Tokens,
}

impl TrigramRow {
    pub(crate) fn new() -> TrigramRow {
        TrigramRow { messages: None, bytes: 0, tokens: Tokens::new() }
    }

    /// What is added from now on is of this message of the session.
    pub(crate) fn begin_message(
        &mut self,
        transaction: &Transaction<'_>,
        session: i64,
        message: i64,
    ) -> rusqlite::Result<()> {
        self.messages = match self.messages {
            Some((first, last)) if last + 1 == message && message - first < ROW_MESSAGES && self.bytes < ROW_BYTES => {
                Some((first, message))
            }
            _ => {
                self.end(transaction, session)?;
                Some((message, message))
            }
        };
        Ok(())
    }

    /// Tokens of a text of so many bytes.
    pub(crate) fn add(&mut self, tokens: &[u32], bytes: usize) {
        self.bytes += bytes;
        self.tokens.add_all(tokens);
    }

    /// Writes what was gathered; the next message begins another one.
    pub(crate) fn end(&mut self, transaction: &Transaction<'_>, session: i64) -> rusqlite::Result<()> {
        self.bytes = 0;
        let Some((first, last)) = self.messages.take() else { return Ok(()) };
        let sql = "INSERT INTO spans (session, first, last) VALUES (?1, ?2, ?3)";
        transaction.prepare_cached(sql)?.execute(params![session, first, last])?;
        let span = transaction.last_insert_rowid();
        if let Some(tokens) = written(&self.tokens.take()) {
            let sql = "INSERT INTO parts (rowid, tokens) VALUES (?1, ?2)";
            transaction.prepare_cached(sql)?.execute(params![span, tokens])?;
        }
        Ok(())
    }
}
