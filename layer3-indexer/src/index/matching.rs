//! Where in a text the words and phrases of a query stand.

use std::borrow::Cow;
use std::collections::HashMap;

use super::fold::{Folded, folded, is_own_word, is_word_char, word_length, words};

/// Matches of one term that are looked at: a snippet shows a few.
const MATCHES_MAX: usize = 200;

/// A word, a phrase or any piece of text that is searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// As typed, without quotes.
    pub(crate) text: String,
    /// Whether a word that begins with it will do.
    pub(crate) is_prefix: bool,
}

/// Whether a match must begin and end with words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// As the index of words finds it.
    Words,
    /// Anywhere in a word.
    Substrings,
}

/// A range of the text that a term matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Match {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) term: usize,
}

/// What is looked for in a text, each with the number of what it stands for: the forms of a word stand for one.
#[derive(Debug, Default)]
pub(super) struct Sought<'q> {
    /// Folded words that are found as they stand.
    pub(crate) words: HashMap<String, usize>,
    pub(crate) terms: Vec<(Cow<'q, Term>, usize)>,
    /// How many things that are.
    pub(crate) count: usize,
}

/// All matches, in the order of the text.
pub(super) fn matches(text: &str, sought: &Sought<'_>, by: By) -> Vec<Match> {
    let folded_text = Folded::of(text);
    let text = folded_text.text.as_str();
    let mut matches = Vec::new();
    let mut add = |(start, end): (usize, usize), term: usize| {
        let (start, end) = folded_text.original(start, end);
        matches.push(Match { start, end, term });
    };
    for (term, n) in &sought.terms {
        let found: Vec<(usize, usize)> = match by {
            By::Substrings => {
                let needle = folded(&term.text);
                text.match_indices(&needle).map(|(at, m)| (at, at + m.len())).take(MATCHES_MAX).collect()
            }
            By::Words => word_matches(text, term),
        };
        found.into_iter().filter(|(start, end)| start < end).for_each(|found| add(found, *n));
    }
    if !sought.words.is_empty() {
        // One look at each word, however many are looked for.
        let mut left = vec![MATCHES_MAX; sought.count];
        for word in words(text) {
            if let Some(n) = sought.words.get(word).filter(|n| left[**n] > 0) {
                left[*n] -= 1;
                let start = word.as_ptr() as usize - text.as_ptr() as usize;
                add((start, start + word.len()), *n);
            }
        }
    }
    // Of those that begin at one place that of the first term is marked.
    matches.sort_unstable_by_key(|found| (found.start, found.term, found.end));
    matches
}

/// Whether a text holds the words of a term side by side. Of a term without words: no.
pub(crate) fn holds_words(text: &str, term: &Term) -> bool {
    !word_matches(&folded(text), term).is_empty()
}

/// Where the words of a term stand side by side, whatever is between them.
fn word_matches(text: &str, term: &Term) -> Vec<(usize, usize)> {
    let needle = folded(&term.text);
    let words: Vec<&str> = words(&needle).collect();
    let Some(first) = words.first() else { return Vec::new() };
    let mut found = Vec::new();
    let mut after = 0;
    for (start, _) in text.match_indices(first) {
        let begins = text[..start].chars().next_back().is_none_or(|c| !is_word_char(c) || is_own_word(c))
            || first.starts_with(is_own_word);
        if start < after || !begins {
            continue;
        }
        if let Some(end) = words_end(text, start, &words, term.is_prefix) {
            found.push((start, end));
            after = end;
            if found.len() == MATCHES_MAX {
                break;
            }
        }
    }
    found
}

fn words_end(text: &str, start: usize, words: &[&str], is_prefix: bool) -> Option<usize> {
    let mut at = start;
    for (n, word) in words.iter().enumerate() {
        at += text[at..].find(is_word_char)?;
        let length = word_length(&text[at..]);
        let is_last = n + 1 == words.len();
        let here = &text[at..at + length];
        if here != *word && !(is_prefix && is_last && here.starts_with(word)) {
            return None;
        }
        at += length;
    }
    Some(at)
}
