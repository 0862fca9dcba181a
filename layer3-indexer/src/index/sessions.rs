//! The sessions that a search is about, and which messages are theirs.

use std::collections::{BTreeSet, HashMap};

use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, params_from_iter};

use super::conditions::Conditions;
use super::types::SearchQuery;

const OWNER: &str = "SELECT session FROM messages WHERE id = ?1";

/// What is known of a session without looking at its messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Its words, each as often as it stands.
    pub(crate) words: f64,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

/// The messages of a session, first and last.
struct Block {
    first: i64,
    last: i64,
    session: i64,
    /// Whether no other session's lie between them.
    is_alone: bool,
}

/// The sessions that the filters leave, among all.
pub(super) struct Sessions {
    meant: HashMap<i64, Known>,
    blocks: Vec<Block>,
    /// How many there are, whatever the filters leave.
    pub(crate) count: f64,
    /// Their words, in the middle.
    pub(crate) mean_words: f64,
    /// All their messages.
    pub(crate) messages: f64,
}

impl Sessions {
    /// Reads what is known of all.
    pub(super) fn read(connection: &Connection, query: &SearchQuery) -> rusqlite::Result<Sessions> {
        let mut filters = Conditions::default();
        filters.add_project("project", query.project.as_deref());
        filters.add_rows("id", query.within.as_deref());
        filters.add("session = ?", query.session_id.clone().map(Value::from));
        let sql = format!(
            "SELECT id, first_message, last_message, topic_words, coalesce(end_ms, 0), listed, (listed = 1 {}), messages,
                    coalesce(start_ms, 0) FROM tracked
             WHERE first_message IS NOT NULL ORDER BY first_message",
            filters.sql
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(filters.values))?;
        let (mut meant, mut blocks) = (HashMap::new(), Vec::<Block>::new());
        let (mut count, mut words, mut messages, mut end) = (0.0, 0.0, 0.0, 0);
        while let Some(row) = rows.next()? {
            let session = row.get(0)?;
            let known = Known { words: row.get(3)?, start_ms: row.get(8)?, end_ms: row.get(4)? };
            let block = Block { first: row.get(1)?, last: row.get(2)?, session, is_alone: true };
            let is_apart = block.first > end;
            if !is_apart && let Some(before) = blocks.last_mut() {
                before.is_alone = false;
            }
            end = end.max(block.last);
            blocks.push(Block { is_alone: is_apart, ..block });
            if row.get(5)? {
                count += 1.0;
                words += known.words;
                messages += row.get::<_, f64>(7)?;
            }
            if row.get(6)? {
                meant.insert(session, known);
            }
        }
        Ok(Sessions { meant, blocks, count, mean_words: words / f64::max(count, 1.0), messages })
    }

    /// One that the filters leave.
    pub(crate) fn get(&self, session: i64) -> Option<&Known> {
        self.meant.get(&session)
    }

    /// Those that the filters leave and that were going on between two moments.
    pub(crate) fn between(&self, first_ms: i64, last_ms: i64) -> BTreeSet<i64> {
        let is_then = |known: &Known| known.start_ms <= last_ms && known.end_ms >= first_ms;
        self.meant.iter().filter(|(_, known)| is_then(known)).map(|(session, _)| *session).collect()
    }

    /// The words of a message, in the middle.
    pub(crate) fn mean_words_of_message(&self) -> f64 {
        (self.mean_words * self.count / self.messages.max(1.0)).max(1.0)
    }

    /// First and last message of each.
    pub(crate) fn ranges_of(&self, sessions: &BTreeSet<i64>) -> impl Iterator<Item = (i64, i64)> {
        self.blocks.iter().filter(|block| sessions.contains(&block.session)).map(|block| (block.first, block.last))
    }

    /// Of messages in the order of their numbers, with the session of each.
    pub(crate) fn owners(&self, connection: &Connection, messages: &[i64]) -> rusqlite::Result<Vec<(i64, i64)>> {
        let mut owner = connection.prepare_cached(OWNER)?;
        let mut owners = Vec::with_capacity(messages.len());
        let mut at = 0;
        for message in messages {
            while self.blocks.get(at).is_some_and(|block| block.first <= *message) {
                at += 1;
            }
            owners.push((*message, self.owner(at, *message, &mut owner)?));
        }
        Ok(owners)
    }

    /// Whose a message is that stands before so many blocks.
    fn owner(&self, blocks: usize, message: i64, owner: &mut CachedStatement<'_>) -> rusqlite::Result<i64> {
        let block = blocks.checked_sub(1).map(|at| &self.blocks[at]);
        match block.filter(|block| block.is_alone && message <= block.last) {
            Some(block) => Ok(block.session),
            None => owner.query_row([message], |row| row.get(0)),
        }
    }
}
