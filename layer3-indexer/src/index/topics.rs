//! What each session is about: its words and how often it holds them, by which sessions are ranked before
//! their messages are.
//!
//! How often an update holds a word is written in binary digits: a row of the index of topics has the words that have
//! this digit, and its number says of which session it is and which digit. So a word costs an update a few entries,
//! however often it stands; nothing is ever written again; and how often a word stands in a session is the sum of its
//! rows, into however many updates it came apart.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use rusqlite::{Connection, Transaction, params};

use super::error::none_if_refused;
use super::fold::{folded, is_own_word, word_length, words};

/// Longest word that says what a session is about; longer ones are hashes and encoded bytes.
const WORD_BYTES_MAX: usize = 40;
/// What people ask for says the most: each of its words counts as so many.
const ASKED_COUNTS: u32 = 2;
/// Digits of how often, in an update; what stands more often than they say counts as that.
const DIGITS: usize = 15;
/// In place of a digit: the row of a session's title and branches …
const NAMES: i64 = 15;
/// … each of whose words counts as so many.
const NAME_COUNTS: f64 = 4.0;
/// Bits of a row's number that are its digit, and its digit with the number of its update.
const DIGIT_BITS: u32 = 4;
const UPDATE_BITS: u32 = 28;
/// Words that are counted in memory; more of them are several updates.
const WORDS_MAX: usize = 32_000;

/// Gives each of the words of a text for the index of topics: folded, each followed by its parts if it has capitals within,
/// and of what is written without spaces each character and each two side by side.
fn topic_words(text: &str, each: &mut dyn FnMut(&str)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        at += bytes[start..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        if bytes.get(at).is_some_and(|byte| !byte.is_ascii()) {
            // Only where letters of other scripts stand are they looked at one by one.
            let rest = &text[start..];
            at = start + rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        }
        match start < at {
            true => topic_word(&text[start..at], each),
            false => at += text[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
}

fn topic_word(word: &str, each: &mut dyn FnMut(&str)) {
    if !word.is_ascii() {
        return each_topic_word(&folded(word), each);
    }
    if word.len() > WORD_BYTES_MAX {
        return;
    }
    let mut room = [0; WORD_BYTES_MAX];
    let mut lower = |word: &str| {
        let lower = &mut room[..word.len()];
        lower.copy_from_slice(word.as_bytes());
        lower.make_ascii_lowercase();
        each(std::str::from_utf8(lower).unwrap_or_default());
    };
    lower(word);
    camel_parts(word).for_each(lower);
}

/// Words, each with a number: that of how many came before it.
#[derive(Default)]
struct Words {
    /// By their hash. Where two words have one, the second has the next one that is free.
    numbers: HashMap<u32, u32, RandomState>,
    hasher: RandomState,
    /// All of them, each followed by a space, and where each ends.
    text: String,
    ends: Vec<u32>,
}

impl Words {
    /// The number of a word, which is the highest if it came for the first time.
    fn number(&mut self, word: &str) -> u32 {
        let mut hash = self.hasher.hash_one(word) as u32;
        while let Some(number) = self.numbers.get(&hash) {
            if self.word(*number) == word {
                return *number;
            }
            hash = hash.wrapping_add(1);
        }
        let number = self.ends.len() as u32;
        self.numbers.insert(hash, number);
        self.text.push_str(word);
        self.ends.push(self.text.len() as u32);
        self.text.push(' ');
        number
    }

    fn word(&self, number: u32) -> &str {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before as usize] + 1);
        &self.text[start as usize..self.ends[number as usize] as usize]
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn clear(&mut self) {
        self.numbers.clear();
        self.text.clear();
        self.ends.clear();
    }
}

/// The words that a reader came across. Who writes rows knows them by their numbers: looking up a word costs
/// more than counting it, and the two are done in two threads.
#[derive(Default)]
pub(super) struct WordBook {
    words: Words,
    /// Where the part begins that no message has yet.
    told: usize,
}

/// The words of a message, in as many parts as there were books.
#[derive(Default)]
pub(super) struct TopicWords(Vec<Part>);

#[derive(Default)]
struct Part {
    /// By their numbers, as often as they stand: what it says of its session, …
    said: Vec<u32>,
    /// … and what people ask for in it.
    asked: Vec<u32>,
    /// The words of the numbers that come for the first time, each followed by a space.
    new: Box<str>,
    /// Whether these are the first of a book: numbers before mean nothing any more.
    is_begin: bool,
}

impl WordBook {
    /// Adds the words of a text to those of a message.
    pub(crate) fn read(&mut self, text: &str, is_asked: bool, into: &mut TopicWords) {
        if into.0.is_empty() {
            into.0.push(Part::default());
        }
        topic_words(text, &mut |word| {
            let number = self.words.number(word);
            let part = into.0.last_mut().expect("there is one");
            if is_asked {
                part.asked.push(number)
            } else {
                part.said.push(number)
            }
            if self.words.len() >= WORDS_MAX {
                self.end(into);
                into.0.push(Part::default());
                self.words.clear();
                self.told = 0;
            }
        });
    }

    /// Nothing more comes to the last part of these, which are handed over now.
    pub(crate) fn end(&mut self, words: &mut TopicWords) {
        let Some(part) = words.0.last_mut() else { return };
        part.is_begin = self.told == 0;
        part.new = self.words.text[self.told..].into();
        // Many of these wait at a time.
        part.said.shrink_to_fit();
        part.asked.shrink_to_fit();
        self.told = self.words.text.len();
    }
}

/// The words of a folded text as the index of topics has them.
pub(super) fn each_topic_word(text: &str, each: &mut dyn FnMut(&str)) {
    for word in words(text) {
        if word.len() <= WORD_BYTES_MAX {
            each(word);
        }
        let at = word.as_ptr() as usize - text.as_ptr() as usize;
        let after = &text[at + word.len()..];
        if word.starts_with(is_own_word) && after.starts_with(is_own_word) {
            each(&text[at..at + word.len() + word_length(after)]);
        }
    }
}

/// `retry`, `Policy` of `retryPolicy`; none of a word that is one.
pub(super) fn camel_parts(word: &str) -> impl Iterator<Item = &str> {
    let bytes = word.as_bytes();
    let begins = |at: usize| {
        let (last, this) = (bytes[at - 1], bytes[at]);
        let next_is_lower = bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase);
        this.is_ascii_uppercase() && (last.is_ascii_lowercase() || (last.is_ascii_uppercase() && next_is_lower))
    };
    let mut at = 0;
    // Almost no word has any.
    let has_capitals = bytes.iter().skip(1).any(u8::is_ascii_uppercase);
    let has_parts = has_capitals && word.is_ascii() && (1..bytes.len()).any(begins);
    std::iter::from_fn(move || {
        if !has_parts || at == bytes.len() {
            return None;
        }
        let end = (at + 1..bytes.len()).find(|at| begins(*at)).unwrap_or(bytes.len());
        let part = &word[at..end];
        at = end;
        Some(part)
    })
}

/// The words of an update, counted.
#[derive(Default)]
pub(super) struct Topics {
    words: Words,
    /// How often each of them stands, by its number.
    counts: Vec<u32>,
    /// What number has here each that has one with the reader.
    of_reader: Vec<u32>,
    /// All of them, those that were written included, each as often as it stands.
    pub(crate) all: u64,
}

impl Topics {
    /// Has to be told of every message, in their order; counts the words of one that is `wanted`.
    pub(crate) fn add(
        &mut self,
        words: &TopicWords,
        is_wanted: bool,
        transaction: &Transaction<'_>,
        session: i64,
    ) -> rusqlite::Result<()> {
        for part in &words.0 {
            if part.is_begin {
                self.of_reader.clear();
                if self.words.len() >= WORDS_MAX {
                    self.write(transaction, session)?;
                }
            }
            for word in part.new.split_terminator(' ') {
                self.of_reader.push(self.words.number(word));
            }
            self.counts.resize(self.words.len(), 0);
            for (numbers, times) in [(&part.said, 1), (&part.asked, ASKED_COUNTS)].into_iter().filter(|_| is_wanted) {
                self.all += numbers.len() as u64 * u64::from(times);
                numbers.iter().for_each(|number| self.counts[self.of_reader[*number as usize] as usize] += times);
            }
        }
        Ok(())
    }

    /// Writes them as rows of the session.
    pub(crate) fn write(&mut self, transaction: &Transaction<'_>, session: i64) -> rusqlite::Result<()> {
        let mut words: Vec<u32> =
            (0..).zip(&self.counts).filter(|(_, count)| **count > 0).map(|(word, _)| word).collect();
        // Sorted, they cost the index less.
        words.sort_unstable_by_key(|word| self.words.word(*word));
        let mut texts = [const { String::new() }; DIGITS];
        for number in words {
            let count = self.counts[number as usize].min((1 << DIGITS) - 1);
            for (_, text) in texts.iter_mut().enumerate().filter(|(digit, _)| count >> digit & 1 == 1) {
                text.push_str(self.words.word(number));
                text.push(' ');
            }
        }
        self.words.clear();
        self.counts.clear();
        if texts.iter().all(String::is_empty) {
            return Ok(());
        }
        let last = "SELECT rowid FROM topics WHERE rowid BETWEEN ?1 AND ?2 ORDER BY rowid DESC LIMIT 1";
        let (first, end) = rows_of(session);
        let mut last = transaction.prepare_cached(last)?;
        let last: Option<i64> = last.query_map([first, end], |row| row.get(0))?.next().transpose()?;
        let update = last.map_or(first, |last| ((last >> DIGIT_BITS) + 1) << DIGIT_BITS);
        let mut insert = transaction.prepare_cached("INSERT INTO topics (rowid, words) VALUES (?1, ?2)")?;
        for (digit, text) in texts.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
            insert.execute(params![update + digit as i64, text])?;
        }
        Ok(())
    }
}

/// Writes what a session is called, in place of what it was called before.
pub(super) fn write_names(transaction: &Transaction<'_>, session: i64, names: &str) -> rusqlite::Result<()> {
    let mut words = String::new();
    topic_words(names, &mut |word| words.extend([word, " "]));
    let row = rows_of(session).0 + NAMES;
    transaction.prepare_cached("DELETE FROM topics WHERE rowid = ?1")?.execute([row])?;
    transaction.prepare_cached("INSERT INTO topics (rowid, words) VALUES (?1, ?2)")?.execute(params![row, words])?;
    Ok(())
}

/// Removes what is known of a session.
pub(super) fn remove(transaction: &Transaction<'_>, session: i64) -> rusqlite::Result<()> {
    let (first, end) = rows_of(session);
    transaction.execute("DELETE FROM topics WHERE rowid BETWEEN ?1 AND ?2", [first, end])?;
    Ok(())
}

/// In which sessions a word stands, in whatever form, and how often; of several joined by OR, as if of one: at least how
/// often the most frequent does.
pub(super) fn sessions_with(connection: &Connection, word: &str) -> rusqlite::Result<HashMap<i64, f64>> {
    // What SQLite takes for several words, it was given as such: there is no row of it.
    none_if_refused(read_sessions_with(connection, word))
}

fn read_sessions_with(connection: &Connection, word: &str) -> rusqlite::Result<HashMap<i64, f64>> {
    let mut statement = connection.prepare_cached("SELECT rowid FROM topics WHERE topics MATCH ?1")?;
    let mut rows = statement.query([word])?;
    let mut sessions = HashMap::new();
    while let Some(row) = rows.next()? {
        let row: i64 = row.get(0)?;
        let digit = row & ((1 << DIGIT_BITS) - 1);
        let count = if digit == NAMES { NAME_COUNTS } else { f64::from(1 << digit) };
        *sessions.entry(row >> UPDATE_BITS).or_insert(0.0) += count;
    }
    Ok(sessions)
}

fn rows_of(session: i64) -> (i64, i64) {
    (session << UPDATE_BITS, ((session + 1) << UPDATE_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_of(text: &str) -> String {
        let mut words = String::new();
        topic_words(text, &mut |word| words.extend([word, " "]));
        words
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(words_of(text).trim_end(), expected, "{text}");
    }

    proptest::proptest! {
        #[test]
        fn words_are_what_stands_between_what_is_no_letter(text in "([a-zA-Z0-9]{0,9}|[ ._/é日ßÉ٣—\u{301}\u{1F600}]{0,3}){0,9}") {
            let mut expected = String::new();
            for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
                topic_word(word, &mut |word| expected.extend([word, " "]));
            }
            proptest::prop_assert_eq!(words_of(&text), expected);
        }
    }

    #[test]
    fn words_come_with_their_parts() {
        check("parse_config(retryPolicy)", "parse config retrypolicy retry policy");
        check("HTTPServer x2y Łódź isOK", "httpserver http server x2y lodz isok is ok");
        check("日本語a", "日 日本 本 本語 語 a");
        check(&"f".repeat(WORD_BYTES_MAX + 1), "");
    }

    #[test]
    fn how_often_a_word_stands_is_known_however_it_came() {
        let mut connection = Connection::open_in_memory().unwrap();
        let table =
            "CREATE VIRTUAL TABLE topics USING fts5 (words, content = '', contentless_delete = 1, detail = none)";
        connection.execute_batch(table).unwrap();
        let transaction = connection.transaction().unwrap();
        let many: String = (0..3 * WORDS_MAX + 9).map(|n| format!("w{n} ")).collect();
        let (once, often) = ("often rare ".to_owned(), "often ".repeat(1 + 4 + 64));
        for (session, updates) in [(1, vec![format!("{often}{once}{many}")]), (2, vec![once, many, often])] {
            let mut all = 0;
            for update in updates {
                let (mut topics, mut book) = (Topics::default(), WordBook::default());
                // Message by message, and some of another one that is not counted.
                let parts = [9, usize::MAX][usize::from(session == 2)];
                for (n, part) in update.split_inclusive(' ').collect::<Vec<_>>().chunks(parts).enumerate() {
                    let mut words = TopicWords::default();
                    book.read(&part.concat(), false, &mut words);
                    book.end(&mut words);
                    topics.add(&words, true, &transaction, session).unwrap();
                    let mut others = TopicWords::default();
                    book.read(&format!("often other{n}"), true, &mut others);
                    book.end(&mut others);
                    topics.add(&others, false, &transaction, session).unwrap();
                    assert!(book.words.len() < WORDS_MAX && topics.counts.len() < 2 * WORDS_MAX);
                }
                topics.write(&transaction, session).unwrap();
                all += topics.all;
            }
            write_names(&transaction, session, "rare name").unwrap();
            assert_eq!(all, 70 + 1 + 3 * WORDS_MAX as u64 + 9);
        }
        for (word, count) in [("often", 70.0), ("rare", 1.0 + NAME_COUNTS), ("w7", 1.0), ("name", NAME_COUNTS)] {
            let expected = HashMap::from([(1, count), (2, count)]);
            assert_eq!(sessions_with(&transaction, word).unwrap(), expected, "{word}");
        }
        remove(&transaction, 1).unwrap();
        assert_eq!(sessions_with(&transaction, "often").unwrap(), HashMap::from([(2, 70.0)]));
    }
}
