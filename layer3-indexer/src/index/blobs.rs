//! What stands in a text and nobody reads or searches for: pictures and programs in base64, dumps in
//! hexadecimal, minified code. Of such bytes nearly every word is new, so the index of one was larger
//! than itself. Only the index does without them: what is shown is always the text as it is.
//!
//! Of bytes that look random in so long a row the beginning is indexed, by which a whole one that is
//! pasted is found. Ids, hashes and paths are shorter, or look like words.

use std::borrow::Cow;
use std::collections::HashSet;

/// A row of letters and digits that is worth a look. Wrapped base64 has at least so many in a line.
const PIECE_BYTES: usize = 60;
/// A row, over several lines where it is wrapped, that is no text if it looks random.
const BLOB_BYTES: usize = 200;
/// What is indexed of it.
const KEPT_BYTES: usize = 64;
/// Bytes of one line that make it worth looking whether anybody wrote it.
const DENSE_LINE_BYTES: usize = 4096;
/// Bytes from one space to the next, on average, from which on nobody did.
const DENSE_RUN_BYTES: usize = 24;
/// Words of such a line that are indexed, in bytes.
const DENSE_WORD_BYTES: std::ops::RangeInclusive<usize> = 3..=64;

/// A text without what nobody searches for.
pub(super) fn without_blobs(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.len() < BLOB_BYTES {
        return text;
    }
    let mut kept = Kept { text: String::new(), upto: 0 };
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some((start, end)) = next_piece(bytes, at) {
        let (blob_end, blob_bytes) = random_lines(bytes, start, end);
        if blob_bytes >= BLOB_BYTES {
            kept.replace(&text, start + KEPT_BYTES..blob_end, " ");
        }
        at = blob_end.max(end);
    }
    let text = kept.ended(text);
    if text.len() < DENSE_LINE_BYTES {
        return text;
    }
    let mut kept = Kept { text: String::new(), upto: 0 };
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]) {
        if end - start >= DENSE_LINE_BYTES && is_dense(&text[start..end]) {
            kept.replace(&text, start..end, &words_once(&text[start..end]));
        }
        start = end + 1;
    }
    kept.ended(text)
}

/// Of a word that is searched for, what is indexed of it; `None` where that is all of it.
pub(super) fn beginning_of_blob(word: &str) -> Option<&str> {
    let (start, end) = next_piece(word.as_bytes(), 0)?;
    let is_blob = end - start > KEPT_BYTES && looks_random(&word.as_bytes()[start..end]);
    is_blob.then(|| &word[..start + KEPT_BYTES])
}

/// A text of which parts are replaced, made only if there are any.
struct Kept {
    text: String,
    upto: usize,
}

impl Kept {
    fn replace(&mut self, text: &str, range: std::ops::Range<usize>, with: &str) {
        self.text.push_str(&text[self.upto..range.start]);
        self.text.push_str(with);
        self.upto = range.end;
    }

    fn ended(mut self, text: Cow<'_, str>) -> Cow<'_, str> {
        if self.upto == 0 {
            return text;
        }
        self.text.push_str(&text[self.upto..]);
        Cow::Owned(self.text)
    }
}

fn is_of_piece(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'-' | b'%')
}

/// The next row of at least [`PIECE_BYTES`] that base64 and hexadecimal are written with. Most of a text is
/// jumped over: where one byte is none of them, no row holds it.
fn next_piece(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    while at + PIECE_BYTES <= bytes.len() {
        match (at..at + PIECE_BYTES).rev().find(|n| !is_of_piece(bytes[*n])) {
            Some(other) => at = other + 1,
            None => {
                let end = (at + PIECE_BYTES..bytes.len()).find(|n| !is_of_piece(bytes[*n])).unwrap_or(bytes.len());
                return Some((at, end));
            }
        }
    }
    None
}

/// Where bytes that look random end, and how many they are: a row, and those on the next lines.
fn random_lines(bytes: &[u8], start: usize, end: usize) -> (usize, usize) {
    let (mut from, mut upto, mut count) = (start, end, 0);
    let mut ended = start;
    while looks_random(&bytes[from..upto]) {
        count += upto - from;
        ended = upto;
        // A hash a line is a list of hashes.
        if is_hash(&bytes[from..upto]) {
            break;
        }
        let Some((next, next_end)) = next_piece(bytes, upto) else { break };
        if !is_line_break(&bytes[upto..next]) {
            break;
        }
        (from, upto) = (next, next_end);
    }
    (ended, count)
}

fn is_hash(bytes: &[u8]) -> bool {
    matches!(bytes.len(), 64 | 96 | 128) && bytes.iter().all(u8::is_ascii_hexdigit)
}

/// A line's end, as it is or as it is written inside a string (its last letter is taken for the next line's), and what a next line is set in with.
fn is_line_break(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or("?");
    let rest = ["\r\n", "\n", "\\r\\", "\\"].iter().find_map(|end| text.strip_prefix(end));
    rest.is_some_and(|rest| rest.len() <= 16 && rest.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'|' | b'"')))
}

/// Whether letters and digits follow each other as in no word: by how often their kind changes, where a capital
/// letter before a small one is no change. In base64 and hexadecimal it does after every second, in
/// `aPathOf/CamelCase` after every seventh.
fn looks_random(bytes: &[u8]) -> bool {
    let kind = |byte: u8| match byte {
        b'a'..=b'z' => 1,
        b'A'..=b'Z' => 2,
        b'0'..=b'9' => 3,
        _ => 0,
    };
    let (mut changes, mut separators, mut before) = (0, 0, 0);
    for kind in bytes.iter().map(|byte| kind(*byte)) {
        changes += usize::from(before != 0 && kind != 0 && before != kind && (before, kind) != (2, 1));
        separators += usize::from(kind == 0);
        before = kind;
    }
    // Bytes that are all zero look like one letter.
    let has_no_words = bytes.len() >= 1000 && separators * 48 < bytes.len();
    changes * 4 >= bytes.len() || has_no_words
}

fn is_dense(line: &str) -> bool {
    let spaces = line.bytes().filter(|byte| byte.is_ascii_whitespace()).count();
    let others = line.bytes().filter(|byte| !byte.is_ascii()).count();
    // Chinese and Japanese do without spaces.
    line.len() / (spaces + 1) >= DENSE_RUN_BYTES && others * 8 < line.len()
}

fn words_once(line: &str) -> String {
    let mut seen = HashSet::new();
    let mut words = String::new();
    for word in line.split(|c: char| !c.is_alphanumeric() && c != '_') {
        if DENSE_WORD_BYTES.contains(&word.len()) && seen.insert(word) {
            words.push_str(word);
            words.push(' ');
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes as a picture has them, in base64 or hexadecimal.
    fn random(bytes: usize, alphabet: &str) -> String {
        let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
        let alphabet = alphabet.as_bytes();
        let mut letter = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(alphabet[(seed >> 33) as usize % alphabet.len()])
        };
        (0..bytes).map(|_| letter()).collect()
    }

    const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const HEX: &str = "0123456789abcdef";

    fn indexed(text: &str) -> String {
        without_blobs(Cow::Borrowed(text)).into_owned()
    }

    fn wrapped(text: &str, columns: usize, end: &str) -> String {
        text.as_bytes().chunks(columns).map(|line| String::from_utf8_lossy(line).into_owned() + end).collect()
    }

    #[test]
    fn of_bytes_the_beginning_is_kept() {
        for blob in [
            random(5000, BASE64),
            random(5000, HEX),
            random(300, HEX),
            "A".repeat(5000),
            random(5000, "0123456789ABCDEF"),
        ] {
            for (before, after) in
                [("look: ", " done"), ("data:image/png;base64,", ""), ("{\"data\":\"", "\"}"), ("été ", "é")]
            {
                let text = format!("{before}{blob}{after}");
                assert_eq!(indexed(&text), format!("{before}{} {after}", &blob[..KEPT_BYTES]), "{before}");
                assert_eq!(beginning_of_blob(&blob), Some(&blob[..KEPT_BYTES]));
            }
        }
        for end in ["\n", "\r\n", "\\n", "\n    "] {
            for columns in [60, 64, 76] {
                let text = format!("-----BEGIN-----\n{}-----END-----", wrapped(&random(4000, BASE64), columns, end));
                let kept = indexed(&text);
                assert!(kept.len() < 300 && kept.ends_with("-----END-----"), "{columns} {end:?}: {kept}");
            }
        }
    }

    #[test]
    fn what_people_search_for_is_kept() {
        let hash = random(64, HEX);
        let hashes = vec![hash.clone(); 40];
        let path =
            "/home/dev/projects/threefold/node_modules/some-package/dist/lib/components/UserProfileCard/".repeat(4);
        for text in [
            hashes.join("\n"),
            hashes.iter().map(|hash| format!("{hash}  src/lib.rs\n")).collect(),
            vec!["3fa85f64-5717-4562-b3fc-2c963f66afa6"; 40].join("\n"),
            format!("git commit {} and {}", random(40, HEX), random(128, HEX)),
            format!("eyJhbGciOiJIUzI1NiJ9.{}.{}", random(120, BASE64), random(43, BASE64)),
            path.clone(),
            vec![path.as_str(); 30].join("\n"),
            "=".repeat(80) + "\n" + &"-".repeat(80) + "\n" + &"a_long_name_of_a_function_".repeat(20),
            "words of people, in a long line without an end; ".repeat(200),
            "日本語の文章は空白を使わない。".repeat(300),
            format!("{{\"rows\":[{}]}}", "{\"name\":\"a value of some words\",\"id\":12},".repeat(200)),
        ] {
            assert_eq!(indexed(&text), text);
        }
        for word in ["src/index/blobs.rs", "3fa85f64-5717-4562-b3fc-2c963f66afa6", hash.as_str(), path.as_str()] {
            assert_eq!(beginning_of_blob(word), None, "{word}");
        }
    }

    #[test]
    fn of_minified_code_each_word_is_kept_once() {
        let line = "function e(t){return t&&t.quarklet(a,b),window.renderPage}".repeat(100);
        let text = format!("before\n{line}\nafter");
        assert_eq!(indexed(&text), "before\nfunction return quarklet window renderPage \nafter");
    }
}
