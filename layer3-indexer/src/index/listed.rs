//! Commits that a message lists: the subject of each stands behind its hash. Whoever pastes one looks for where it was made.

use std::ops::RangeInclusive;

use super::fold::{folded, words};

/// Characters of a commit's hash, as git shortens it or whole.
const HASH_CHARS: RangeInclusive<usize> = 7..=40;

/// Whether a text holds a sentence behind the hash of a commit and nowhere else.
pub(super) fn is_only_listed(sentence: &str, text: &str) -> bool {
    let (sentence, text) = (folded(sentence), folded(text));
    let (sentence, words): (Vec<&str>, Vec<&str>) = (words(&sentence).collect(), words(&text).collect());
    let mut places = (0..words.len()).filter(|at| words[*at..].starts_with(&sentence)).peekable();
    places.peek().is_some() && places.all(|at| at > 0 && is_hash(words[at - 1]))
}

fn is_hash(word: &str) -> bool {
    let is_hexadecimal = word.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hexadecimal && HASH_CHARS.contains(&word.len()) && word.bytes().any(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_behind_a_hash_is_listed() {
        for (text, expected) in [
            ("7ab7d8b Add some tests for chunks\neb6269d handle long lines", true),
            ("fixed in `7ab7d8b` (\"add some tests for chunks\")", true),
            ("git commit -m 'Add some tests for chunks'", false),
            ("7ab7d8b add some tests for chunks: I shall add some tests for chunks", false),
            ("defaced add some tests for chunks", false),
            ("7ab7d8b add some tests", false),
        ] {
            assert_eq!(is_only_listed("Add some tests for chunks", text), expected, "{text}");
        }
    }
}
