//! A word that no conversation has, and the word of some conversation that was meant.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::error::none_if_refused;
use super::fold::{folded, is_own_word};

/// Letters of a word from which on one of them may be wrong, and from which on two may.
const ONE_WRONG_FROM: usize = 4;
const TWO_WRONG_FROM: usize = 8;
/// Letters of a word that anybody types; what is longer is no word, and comparing takes longer.
const WORD_CHARS_MAX: usize = 40;
/// Words of a query whose spelling is looked at.
pub(super) const LOOKED_UP_MAX: usize = 16;
/// Words of a query that are spelled otherwise at most, and words of the index that are looked at for each.
pub(super) const SPELLED_MAX: usize = 4;
const LOOKED_AT_MAX: usize = 20_000;
/// The nearest words of which the one that most conversations have is taken.
const NEAREST_MAX: usize = 32;

/// A word as it is typed in a sentence, folded, if its spelling can be wrong: not what stands in code, which is exact.
pub(super) fn may_be_wrong(typed: &str) -> Option<String> {
    let word = typed.trim_matches(|c: char| c.is_ascii_punctuation() && !matches!(c, '_' | '/' | '-' | '.' | '$'));
    let word = word.trim_end_matches('.');
    let is_name = word.chars().skip(1).any(char::is_uppercase);
    let word = folded(word);
    let is_word = word.chars().all(|c| c.is_alphabetic() && !is_own_word(c));
    let is_long = (ONE_WRONG_FROM..=WORD_CHARS_MAX).contains(&word.chars().count());
    (is_word && is_long && !is_name).then_some(word)
}

/// Whether any message holds what this expression of FTS5 says.
pub(super) fn is_known(connection: &Connection, expression: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM words WHERE words MATCH ?1 LIMIT 1";
    none_if_refused(connection.prepare_cached(sql).and_then(|mut known| known.exists([expression])))
}

/// The words of the index that are nearest to one that it lacks, and begin as it does but for two letters that changed places;
/// none where it is the beginning of one.
pub(super) fn nearest(connection: &Connection, word: &str) -> rusqlite::Result<Vec<String>> {
    open_vocabulary(connection)?;
    let mut beginning = connection.prepare("SELECT term FROM temp.vocabulary WHERE term BETWEEN ?1 AND ?2 LIMIT ?3")?;
    let letters: Vec<char> = word.chars().collect();
    let mut farthest = if letters.len() < TWO_WRONG_FROM { 1 } else { 2 };
    let mut found = Vec::new();
    let begins = [[0, 1], [0, 2], [1, 0]].map(|[a, b]| String::from_iter([letters[a], letters[b]]));
    for begin in BTreeSet::from(begins) {
        let mut rows = beginning.query((&begin, format!("{begin}{}", char::MAX), LOOKED_AT_MAX as i64))?;
        while let Some(row) = rows.next()? {
            let known: String = row.get(0)?;
            if known.starts_with(word) {
                return Ok(Vec::new());
            }
            if known.chars().count().abs_diff(letters.len()) <= farthest {
                let distance = strsim::osa_distance(word, &known);
                if distance < farthest {
                    found.clear();
                    farthest = distance;
                }
                if distance == farthest && found.len() < NEAREST_MAX {
                    found.push(known);
                }
            }
        }
    }
    Ok(found)
}

/// All words of the index, in their order. A table of this connection's own, which is no change of the index.
fn open_vocabulary(connection: &Connection) -> rusqlite::Result<()> {
    let is_read_only: bool = connection.pragma_query_value(None, "query_only", |row| row.get(0))?;
    connection.pragma_update(None, "query_only", false)?;
    let made = connection
        .execute_batch("CREATE VIRTUAL TABLE IF NOT EXISTS temp.vocabulary USING fts5vocab(main, words, row)");
    connection.pragma_update(None, "query_only", is_read_only)?;
    made
}
