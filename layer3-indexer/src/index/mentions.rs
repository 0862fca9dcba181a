//! Which messages hold which words of a question, and what each of them is worth.
//!
//! Of what people and the model wrote, not of the output of tools. SQLite says which messages hold a word; what that is
//! worth is found here: the rarer the words that a message holds, the more, and the less the longer it is. How often
//! it holds them says nothing.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::question::Question;
use super::ranking::{Ranking, Scored, rare};
use super::text::{SAID, Speaker};

/// What the length of a message takes from its worth: all of it, and by how much it is longer than others.
const LONG: f64 = 0.3;
const LONGER: f64 = 0.75;
/// Messages of a conversation that are looked at more closely, those that are worth the same as the last one beside.
const CLOSELY: usize = 12;

/// Messages, by their numbers.
type Messages = Vec<i64>;

/// The messages that hold a question's words.
pub(super) struct Mentions {
    /// Of each word, and of each two that stand side by side.
    words: Vec<Messages>,
    pairs: Vec<Messages>,
    /// All words, be it in the output of tools.
    pub(crate) all: HashSet<i64>,
}

impl Mentions {
    pub(crate) fn of(ranking: &Ranking<'_>, question: &Question) -> rusqlite::Result<Mentions> {
        let echoes = ranking.echoes()?;
        let said = |expression: &String| {
            let mut messages = ranking.messages_holding(&said(expression))?;
            messages.retain(|message| !echoes.contains(message));
            Ok(messages)
        };
        let words = question.words.iter().map(|word| said(&word.matches)).collect::<rusqlite::Result<_>>()?;
        let pairs = question.pairs.iter().map(said).collect::<rusqlite::Result<_>>()?;
        let all = ranking.messages_holding(&question.all())?.into_iter().collect();
        Ok(Mentions { words, pairs, all })
    }

    /// For each two words side by side, how many messages of each session hold them.
    pub(crate) fn pairs_of_sessions(&self, ranking: &Ranking<'_>) -> rusqlite::Result<Vec<HashMap<i64, f64>>> {
        let count = |messages: &Messages| {
            let mut counts = HashMap::new();
            for (_, session) in ranking.sessions.owners(ranking.connection, messages)? {
                *counts.entry(session).or_insert(0.0) += 1.0;
            }
            Ok(counts)
        };
        self.pairs.iter().map(count).collect()
    }

    /// The sessions with a message that holds all words.
    pub(crate) fn all_of_sessions(&self, ranking: &Ranking<'_>) -> rusqlite::Result<BTreeSet<i64>> {
        let mut all: Messages = self.all.iter().copied().collect();
        all.sort_unstable();
        let owners = ranking.sessions.owners(ranking.connection, &all)?;
        let sessions = owners.into_iter().map(|(_, session)| session);
        Ok(sessions.filter(|session| ranking.sessions.get(*session).is_some()).collect())
    }

    /// The messages of sessions, each with its worth. Of a session that is not in `whole` only the best.
    pub(crate) fn worth(
        &self,
        ranking: &Ranking<'_>,
        sessions: &BTreeSet<i64>,
        whole: &HashSet<i64>,
    ) -> rusqlite::Result<Vec<Scored>> {
        let mut best = Vec::new();
        for (session, mut messages) in self.of_sessions(ranking, sessions)? {
            messages.sort_unstable_by(|a, b| b.1.total_cmp(&a.1));
            let least = messages.get(CLOSELY).map_or(0.0, |(_, worth)| *worth);
            let is_best = |worth: f64| worth >= least || whole.contains(&session);
            best.extend(messages.into_iter().filter(|(_, worth)| is_best(*worth)));
        }
        let sql = format!(
            "SELECT {}, d.sz FROM messages m JOIN words_docsize d ON d.id = m.id WHERE m.id = ?1",
            Scored::sql()
        );
        let mut statement = ranking.connection.prepare_cached(&sql)?;
        let mean = ranking.sessions.mean_words_of_message();
        let mut found = Vec::with_capacity(best.len());
        for (message, worth) in best {
            found.push(statement.query_row([message], |row| {
                let words = said_words(row.get_ref(5)?.as_blob().unwrap_or_default());
                let score = worth / (1.0 + LONG * (1.0 - LONGER + LONGER * words / mean));
                Scored::of(row, score)
            })?);
        }
        Ok(found)
    }

    /// The messages of sessions, and what their words are worth.
    fn of_sessions(
        &self,
        ranking: &Ranking<'_>,
        sessions: &BTreeSet<i64>,
    ) -> rusqlite::Result<HashMap<i64, Vec<(i64, f64)>>> {
        let (first, last) = ranking.sessions.range_of(sessions);
        let [_, of_pair, _] = ranking.query.weights;
        let words = self.words.iter().map(|messages| (messages, 1.0));
        let pairs = self.pairs.iter().map(|messages| (messages, of_pair));
        let mut worth: Vec<(i64, f64)> = Vec::new();
        for (messages, weight) in words.chain(pairs) {
            let rare = weight * rare(messages.len() as f64, ranking.sessions.messages);
            let from = messages.partition_point(|message| *message < first);
            worth.extend(
                messages[from..].iter().take_while(|message| **message <= last).map(|message| (*message, rare)),
            );
        }
        // Stable, so that the sum does not depend on the order either.
        worth.sort_by_key(|(message, _)| *message);
        worth.dedup_by(|next, sum| {
            let is_same = next.0 == sum.0;
            if is_same {
                sum.1 += next.1;
            }
            is_same
        });
        let messages: Messages = worth.iter().map(|(message, _)| *message).collect();
        let mut of_sessions: HashMap<i64, Vec<(i64, f64)>> = HashMap::new();
        for ((message, session), (_, worth)) in
            ranking.sessions.owners(ranking.connection, &messages)?.iter().zip(worth)
        {
            if sessions.contains(session) {
                of_sessions.entry(*session).or_default().push((*message, worth));
            }
        }
        Ok(of_sessions)
    }
}

/// An expression of FTS5, asked of what people and the model wrote.
pub(super) fn said(expression: &str) -> String {
    format!("{{{SAID}}} : ({expression})")
}

impl Ranking<'_> {
    /// What our own search was asked and answered.
    fn echoes(&self) -> rusqlite::Result<HashSet<i64>> {
        let sql = format!("SELECT m.id FROM messages m WHERE {}", Speaker::sql_is_echo());
        let mut statement = self.connection.prepare_cached(&sql)?;
        statement.query_map([], |row| row.get(0))?.collect()
    }
}

/// Words of a message that people and the model wrote, from what FTS5 keeps of the length of each column: numbers of
/// seven bits a byte, the highest bit of each but the last one set.
fn said_words(sizes: &[u8]) -> f64 {
    let (mut words, mut columns, mut number) = (0_u64, 0, 0_u64);
    for byte in sizes {
        number = number << 7 | u64::from(byte & 0x7f);
        if *byte < 0x80 {
            words += number;
            (columns, number) = (columns + 1, 0);
            if columns == SAID.split(' ').count() {
                break;
            }
        }
    }
    words as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_columns_are_read() {
        assert_eq!(said_words(&[1, 2, 3, 4, 100]), 10.0);
        assert_eq!(said_words(&[0x81, 0x00, 0, 0, 5, 9]), 133.0);
        assert_eq!(said_words(&[]), 0.0);
    }

    #[test]
    fn echoes_are_looked_up_without_reading_all_messages() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection.execute_batch(super::super::schema::SCHEMA).unwrap();
        let sql = format!("EXPLAIN QUERY PLAN SELECT m.id FROM messages m WHERE {}", Speaker::sql_is_echo());
        let plan: String = connection.query_row(&sql, [], |row| row.get(3)).unwrap();
        assert!(plan.contains("messages_echo"), "{plan}");
    }
}
