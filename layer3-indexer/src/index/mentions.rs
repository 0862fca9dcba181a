//! Which messages hold which words of a query, and what each of them is worth.
//!
//! SQLite says which messages hold a word; what that is worth is found here: the rarer the words that a message holds, the
//! more, and the less the longer it is. A word that the message before or the one behind holds says a part of what it says
//! in the message itself: people answer each other without repeating what it is about. How often a message holds a word says
//! nothing.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::question::Question;
use super::ranking::{Ranking, Scored, rare};
use super::text::{SAID, Speaker};

/// What the length of a message takes from its worth, of one that says several words of a question and of any other; and
/// what of it is by how much it is longer than others.
const LONG: f64 = 0.5;
const LONG_ANYWHERE: f64 = 1.2;
const LONGER: f64 = 0.75;
/// What a word of a question says in the message beside.
const BESIDE: f64 = 0.5;
/// Messages of a conversation that are looked at more closely …
const CLOSELY: usize = 12;
/// … and of those that are worth the same as the last one beside so many, the first ones and the last ones in the order in
/// which they were indexed. A rebuilt index may have another order: of fewer alike ones its answer is the same.
const ALIKE: usize = 64;

/// Messages, by their numbers, in the order of these.
pub(super) type Messages = Vec<i64>;

/// The messages that hold the words of a query.
pub(super) struct Mentions {
    /// Of each word, and of each two that stand side by side.
    words: Vec<Messages>,
    pairs: Vec<Messages>,
    /// All words, be it in the output of tools.
    all: Messages,
    /// Whether the words are looked for in what people and the model wrote alone.
    is_said: bool,
    echoes: HashSet<i64>,
}

impl Mentions {
    /// Of a question's words, in what people and the model wrote.
    pub(crate) fn of(ranking: &Ranking<'_>, question: &Question) -> rusqlite::Result<Mentions> {
        let echoes = ranking.echoes()?;
        let said = |expression: &String, range| {
            let mut messages = ranking.messages_between(&said(expression), range)?;
            messages.retain(|message| !echoes.contains(message));
            Ok(messages)
        };
        let words = question.words.iter().map(|word| said(&word.matches, None));
        let words = words.collect::<rusqlite::Result<Vec<Messages>>>()?;
        let pairs = question.pairs.iter().map(|pair| {
            let words = pair.words.iter().flatten().map(|word| words[*word].clone());
            match words.reduce(|a, b| both(&a, &b)) {
                Some(together) if together.is_empty() => Ok(together),
                together => said(&pair.matches, together.as_ref().and_then(range_of)),
            }
        });
        let pairs = pairs.collect::<rusqlite::Result<_>>()?;
        let all = ranking.messages_holding(&question.all())?;
        Ok(Mentions { words, pairs, all, is_said: true, echoes })
    }

    /// Of what expressions of FTS5 say, in whatever a message has.
    pub(crate) fn anywhere(ranking: &Ranking<'_>, expressions: &[String]) -> rusqlite::Result<Mentions> {
        let words = expressions.iter().map(|expression| ranking.messages_holding(expression));
        let words = words.collect::<rusqlite::Result<Vec<Messages>>>()?;
        let all = words.iter().cloned().reduce(|all, one| both(&all, &one)).unwrap_or_default();
        Ok(Mentions { words, pairs: Vec::new(), all, is_said: false, echoes: ranking.echoes()? })
    }

    /// The same in the messages of some sessions.
    pub(crate) fn anywhere_in(
        ranking: &Ranking<'_>,
        expressions: &[String],
        sessions: &BTreeSet<i64>,
    ) -> rusqlite::Result<Mentions> {
        let of_all = |expression: &String| {
            let mut all = Vec::new();
            for range in ranking.sessions.ranges_of(sessions) {
                all.extend(ranking.messages_between(expression, Some(range))?);
            }
            all.sort_unstable();
            all.dedup();
            Ok(all)
        };
        let words = expressions.iter().map(of_all).collect::<rusqlite::Result<Vec<Messages>>>()?;
        let (pairs, all) = (Vec::new(), Vec::new());
        Ok(Mentions { words, pairs, all, is_said: false, echoes: ranking.echoes()? })
    }

    /// Adds messages that hold something else of the query.
    pub(crate) fn add(&mut self, messages: Messages) {
        self.words.push(messages);
    }

    /// The messages that say an expression, which holds all words.
    pub(crate) fn saying(&self, ranking: &Ranking<'_>, expression: &str) -> rusqlite::Result<Messages> {
        let together = self.words.iter().cloned().reduce(|a, b| both(&a, &b)).unwrap_or_default();
        match range_of(&together) {
            Some(range) => ranking.messages_between(&said(expression), Some(range)),
            None => Ok(Vec::new()),
        }
    }

    /// Whether a message holds all words.
    pub(crate) fn holds_all(&self, message: i64) -> bool {
        self.all.binary_search(&message).is_ok()
    }

    /// The sessions in which each word stands.
    pub(crate) fn sessions_of_words(&self, ranking: &Ranking<'_>) -> rusqlite::Result<Vec<BTreeSet<i64>>> {
        self.words.iter().map(|messages| ranking.sessions_of(messages)).collect()
    }

    /// For each two words side by side, how many messages of each session hold them.
    pub(crate) fn pairs_of_sessions(&self, ranking: &Ranking<'_>) -> rusqlite::Result<Vec<HashMap<i64, f64>>> {
        let counts = |messages: &Messages| {
            let counts = ranking.counts_of(messages)?;
            Ok(counts.into_iter().map(|(session, count)| (session, count as f64)).collect())
        };
        self.pairs.iter().map(counts).collect()
    }

    /// The sessions with messages that hold all words, and how many they are.
    pub(crate) fn all_of_sessions(&self, ranking: &Ranking<'_>) -> rusqlite::Result<HashMap<i64, usize>> {
        let mut counts = ranking.counts_of(&self.all)?;
        counts.retain(|session, _| ranking.sessions.get(*session).is_some());
        Ok(counts)
    }

    /// The messages of sessions, each with its worth. Of a session that is not in `whole` only the best.
    pub(crate) fn worth(
        &self,
        ranking: &Ranking<'_>,
        sessions: &BTreeSet<i64>,
        whole: &HashSet<i64>,
    ) -> rusqlite::Result<Vec<Scored>> {
        let mut looked_at = Vec::new();
        for (session, mut messages) in self.of_sessions(ranking, sessions)? {
            if !whole.contains(&session) {
                self.keep_best(&mut messages);
            }
            looked_at.append(&mut messages);
        }
        // Neighbours lie on one page.
        looked_at.sort_unstable_by_key(|(message, _)| *message);
        let factor = if self.is_said { "1.0".to_owned() } else { Speaker::sql_factor() };
        let sql = format!(
            "SELECT {}, d.sz, {factor} FROM messages m JOIN words_docsize d ON d.id = m.id WHERE m.id = ?1",
            Scored::sql()
        );
        let mut statement = ranking.connection.prepare_cached(&sql)?;
        let mean = ranking.sessions.mean_words_of_message();
        let (columns, long) = match self.is_said {
            true => (SAID.split(' ').count(), LONG),
            false => (usize::MAX, LONG_ANYWHERE),
        };
        let mut found = Vec::with_capacity(looked_at.len());
        for (message, worth) in looked_at {
            found.push(statement.query_row([message], |row| {
                let words = words_of(row.get_ref(5)?.as_blob().unwrap_or_default(), columns);
                let worth = worth * row.get::<_, f64>(6)?;
                Scored::of(row, worth / (1.0 + long * (1.0 - LONGER + LONGER * words / mean)))
            })?);
        }
        Ok(found)
    }

    /// Keeps the messages of a session that are worth the most. Of very many that are worth the same, the first ones tell
    /// what was asked for and the last ones what became of it.
    fn keep_best(&self, messages: &mut Vec<(i64, f64)>) {
        let is_echo = |message: &i64| !self.echoes.is_empty() && self.echoes.contains(message);
        if messages.iter().any(|(message, _)| !is_echo(message)) {
            messages.retain(|(message, _)| !is_echo(message));
        }
        if messages.len() <= CLOSELY {
            return;
        }
        messages.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let least = messages[CLOSELY].1;
        messages.truncate(messages.iter().rposition(|(_, worth)| *worth >= least).map_or(0, |last| last + 1));
        let alike = messages.iter().rposition(|(_, worth)| *worth > least).map_or(0, |last| last + 1);
        if messages.len() - alike > ALIKE {
            messages.drain(alike + ALIKE / 2..messages.len() - ALIKE / 2);
        }
    }

    /// The messages of sessions, and what their words are worth.
    fn of_sessions(
        &self,
        ranking: &Ranking<'_>,
        sessions: &BTreeSet<i64>,
    ) -> rusqlite::Result<HashMap<i64, Vec<(i64, f64)>>> {
        let ranges: Vec<(i64, i64)> = ranking.sessions.ranges_of(sessions).collect();
        let mut all = Messages::new();
        for messages in self.words.iter().chain(&self.pairs) {
            for (first, last) in &ranges {
                let messages = &messages[messages.partition_point(|message| message < first)..];
                all.extend(messages.iter().take_while(|message| *message <= last));
            }
        }
        all.sort_unstable();
        all.dedup();
        let mut held = ranking.sessions.owners(ranking.connection, &all)?;
        held.retain(|(_, session)| sessions.contains(session));
        let mut worth = vec![0.0; held.len()];
        let [_, of_pair, _] = ranking.query.weights;
        let beside = if self.is_said { BESIDE } else { 0.0 };
        let words = self.words.iter().map(|messages| (messages, 1.0, beside));
        let pairs = self.pairs.iter().map(|messages| (messages, of_pair, 0.0));
        let mut holds = Vec::with_capacity(held.len());
        for (messages, weight, beside) in words.chain(pairs) {
            let rare = weight * rare(messages.len() as f64, ranking.sessions.messages);
            let mut messages = messages.iter().peekable();
            holds.clear();
            holds.extend(held.iter().map(|(message, _)| {
                while messages.next_if(|known| *known < message).is_some() {}
                messages.next_if_eq(&message).is_some()
            }));
            let is_beside = |at: usize, other: usize| {
                let (here, there) = (held[at], held[other]);
                holds[other] && here.1 == there.1 && here.0.abs_diff(there.0) == 1
            };
            for at in 0..held.len() {
                if holds[at] {
                    worth[at] += rare;
                } else if (at > 0 && is_beside(at, at - 1)) || (at + 1 < held.len() && is_beside(at, at + 1)) {
                    worth[at] += rare * beside;
                }
            }
        }
        let mut of_sessions: HashMap<i64, Vec<(i64, f64)>> = HashMap::new();
        let held: Vec<(i64, (i64, f64))> =
            held.into_iter().zip(worth).map(|((message, session), worth)| (session, (message, worth))).collect();
        for run in held.chunk_by(|a, b| a.0 == b.0) {
            of_sessions.entry(run[0].0).or_default().extend(run.iter().map(|(_, worth)| *worth));
        }
        Ok(of_sessions)
    }
}

/// First and last of them.
fn range_of(messages: &Messages) -> Option<(i64, i64)> {
    Some((*messages.first()?, *messages.last()?))
}

/// What stands in both.
fn both(a: &Messages, b: &Messages) -> Messages {
    let mut b = b.iter().peekable();
    let is_in_b = |message: &&i64| {
        while b.next_if(|other| other < message).is_some() {}
        b.peek() == Some(message)
    };
    a.iter().filter(is_in_b).copied().collect()
}

/// An expression of FTS5, asked of what people and the model wrote.
fn said(expression: &str) -> String {
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

/// Words of a message in its first columns, from what FTS5 keeps of the length of each: numbers of seven bits a byte, the
/// highest bit of each but the last one set.
fn words_of(sizes: &[u8], first_columns: usize) -> f64 {
    let (mut words, mut columns, mut number) = (0_u64, 0, 0_u64);
    for byte in sizes {
        number = number << 7 | u64::from(byte & 0x7f);
        if *byte < 0x80 {
            words += number;
            (columns, number) = (columns + 1, 0);
            if columns == first_columns {
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
        assert_eq!(words_of(&[1, 2, 3, 4, 100], 4), 10.0);
        assert_eq!(words_of(&[0x81, 0x00, 0, 0, 5, 9], 4), 133.0);
        assert_eq!(words_of(&[1, 2, 3, 4, 100], usize::MAX), 110.0);
        assert_eq!(words_of(&[], 4), 0.0);
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
