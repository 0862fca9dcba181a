//! Messages that the user had forgotten: the strings that hold a text are replaced, and stay so.
//!
//! What is forgotten is a line, by its hash, and which strings of it go: the text itself is kept nowhere. Whatever is
//! copied into a store of such a conversation is copied as if the source had the replaced lines ([`Marks::view`]), so the
//! copy goes on growing, is compared, and is restored as any other. The records keep their form, their ids and their
//! parents: a client resumes from them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::path::Path;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::types::ArchiveError;
use crate::fs;

/// What stands in the place of a string.
const REMOVED: &str = "[removed by threefold forget]";
/// Fields by which Claude Code finds and orders its records: without their values it does not resume.
const STRUCTURE: [&str; 12] = [
    "type",
    "subtype",
    "uuid",
    "parentUuid",
    "logicalParentUuid",
    "leafUuid",
    "sessionId",
    "timestamp",
    "role",
    "id",
    "tool_use_id",
    "messageId",
];
/// So deep lie the fields of a block in a message's content; what lies deeper is what tools were given.
const STRUCTURE_DEPTH_MAX: usize = 4;
/// JSON lies in JSON so deep: what a tool gave, in a record, in what another tool read.
const ESCAPED_TIMES_MAX: usize = 3;
/// So many bytes may stand for one of a text: `\\u0041`, in JSON in JSON.
const ESCAPED_BYTES_MAX: usize = 7;
/// Between the hash and the length of the beginning of a line.
const TORN: char = '+';
/// Bytes that are copied at once.
const COPY_BYTES: u64 = fs::COPY_BYTES as u64;

/// Lines that were forgotten: the first half of the BLAKE3 of each, and which of its strings and numbers are replaced;
/// none where the whole line is. A last line that was not written to its end is known by its beginning: behind the hash of
/// that stand `+` and its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Marks(BTreeMap<String, Vec<u32>>);

impl Marks {
    /// Whether nothing is marked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many lines are marked.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Marks these too: of a line that both know, what either says.
    pub fn add(&mut self, other: Marks) {
        for (line, which) in other.0 {
            match self.0.entry(line) {
                Entry::Vacant(place) => {
                    place.insert(which);
                }
                // No string means all of the line.
                Entry::Occupied(known) if known.get().is_empty() => {}
                Entry::Occupied(mut known) if which.is_empty() => known.get_mut().clear(),
                Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    known.extend(which);
                    known.sort_unstable();
                    known.dedup();
                }
            }
        }
    }

    /// The content as it is to be stored, and its length, in a file without a name on the disk of `dir`; `None` where no
    /// line of it is marked. The lines before the last one are whole in the same bytes, whatever follows.
    pub(super) fn view(&self, file: &File, path: &Path, dir: &Path) -> Result<Option<(File, u64)>, ArchiveError> {
        if self.is_empty() {
            return Ok(None);
        }
        let torn = self.lengths_of_torn();
        let mut marked: Vec<(Range<u64>, Vec<u32>)> = Vec::new();
        // What comes meanwhile is the next look's.
        let end = each_line(file, path, |at, line, _| {
            if let Some(which) = self.of(line, &torn) {
                marked.push((at..at + line.len() as u64, which));
            }
        })?;
        if marked.is_empty() {
            return Ok(None);
        }
        let view = fs::nameless_file(dir)?;
        let (mut from, mut to) = (0, 0);
        for (range, which) in marked {
            to = copy(file, from..range.start, &view, to, path)?;
            let mut line = vec![0; (range.end - range.start) as usize];
            fs::read_exact_at(file, range.start, &mut line, path)?;
            let line = redacted(&line, &which);
            fs::write_at(&view, to, &line, path)?;
            (from, to) = (range.end, to + line.len() as u64);
        }
        to = copy(file, from..end, &view, to, path)?;
        Ok(Some((view, to)))
    }

    /// How long the lines were of which only the beginning is known.
    fn lengths_of_torn(&self) -> BTreeSet<usize> {
        self.0.keys().filter_map(|line| line.split_once(TORN)?.1.parse().ok()).collect()
    }

    /// What is replaced of a line, if it or its beginning is marked.
    fn of(&self, line: &[u8], torn: &BTreeSet<usize>) -> Option<Vec<u32>> {
        let of_whole = self.0.get(&hash_of(line));
        let of_torn = |bytes: &usize| self.0.get(&hash_of_torn(&line[..*bytes]));
        let known: Vec<&Vec<u32>> = of_whole.into_iter().chain(torn.range(..=line.len()).filter_map(of_torn)).collect();
        // No string means all of the line.
        let is_all = known.iter().any(|which| which.is_empty());
        let which = || known.iter().flat_map(|which| which.iter().copied()).collect();
        (!known.is_empty()).then(|| if is_all { Vec::new() } else { which() })
    }
}

/// A text that is to be forgotten.
#[derive(Debug, Clone)]
pub struct Needle {
    text: String,
    /// The text, and as it stands in JSON, and in JSON in JSON.
    forms: Vec<Vec<u8>>,
}

/// Lines that hold a text.
#[derive(Debug, Clone, Default)]
pub struct HeldBy {
    /// The lines.
    pub marks: Marks,
    /// How many they are, each content's counted.
    pub lines: u64,
    /// How many of them hold it in a field that Claude Code needs to resume, or as a field's name.
    pub structural: u64,
}

impl HeldBy {
    /// Those of both.
    pub fn add(&mut self, other: HeldBy) {
        self.marks.add(other.marks);
        self.lines += other.lines;
        self.structural += other.structural;
    }
}

impl Needle {
    /// To be looked for as it is typed.
    pub fn new(text: &str) -> Needle {
        let escaped = |text: &str| {
            // A string: this cannot fail.
            let json = serde_json::to_string(text).expect("it serialises");
            json[1..json.len() - 1].to_owned()
        };
        let (once, twice) = (escaped(text), escaped(&escaped(text)));
        let mut forms = vec![text.to_owned(), once, twice];
        forms.dedup();
        Needle { text: text.to_owned(), forms: forms.into_iter().map(String::into_bytes).collect() }
    }

    /// The bytes that it mostly stands in files as; see [`Needle::is_escaped_in`].
    pub fn forms(&self) -> &[Vec<u8>] {
        &self.forms
    }

    /// Whether it stands there in any way that JSON knows.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.is_plain_in(bytes) || self.is_escaped_in(bytes)
    }

    /// Whether it stands there in another way than [`Needle::forms`]: JSON may write any character as `\u0041`, and a
    /// slash as `\/`.
    pub fn is_escaped_in(&self, bytes: &[u8]) -> bool {
        let first = unescaped(bytes);
        let levels = std::iter::successors(first, |bytes| unescaped(bytes)).take(ESCAPED_TIMES_MAX);
        levels.into_iter().any(|bytes| self.is_plain_in(&bytes))
    }

    /// In how many bytes it stands at most.
    pub fn bytes_max(&self) -> usize {
        let longest = self.forms.iter().map(Vec::len).max().unwrap_or(0);
        longest.max(self.text.len() * ESCAPED_BYTES_MAX)
    }

    /// The lines of a file that hold it.
    pub(super) fn lines_of(&self, file: &File, path: &Path) -> Result<HeldBy, ArchiveError> {
        let mut held = HeldBy::default();
        each_line(file, path, |_, line, is_ended| {
            if let Some((which, is_structural)) = self.look(line, is_ended) {
                let is_whole = is_ended || serde_json::from_slice::<IgnoredAny>(line).is_ok();
                held.marks.0.insert(if is_whole { hash_of(line) } else { hash_of_torn(line) }, which);
                held.lines += 1;
                held.structural += u64::from(is_structural);
            }
        })?;
        Ok(held)
    }

    fn is_plain_in(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| bytes.windows(form.len()).any(|window| window == form))
    }

    /// Where it stands in a line as it is.
    fn places_in(&self, line: &[u8]) -> Vec<Range<usize>> {
        let of = |form: &Vec<u8>| {
            let (bytes, windows) = (form.len(), line.windows(form.len()).enumerate());
            windows.filter(|(_, window)| window == form).map(|(at, _)| at..at + bytes).collect::<Vec<_>>()
        };
        self.forms.iter().flat_map(of).collect()
    }

    /// Which strings of a line hold it or a part of it, or none for all of it, and whether Claude Code needs one of them.
    fn look(&self, line: &[u8], is_ended: bool) -> Option<(Vec<u32>, bool)> {
        let places = self.places_in(line);
        if places.is_empty() && !self.is_escaped_in(line) {
            return None;
        }
        let parsed = serde_json::from_slice::<IgnoredAny>(line);
        // A record that is still being written: of it too only the strings go that hold it, and what comes goes on from there.
        let is_begun = |error: &serde_json::Error| !is_ended && error.is_eof() && line.starts_with(b"{");
        if parsed.is_err_and(|error| !is_begun(&error)) {
            // What stands in the place of the line must not hold it.
            return Some((Vec::new(), self.is_in(REMOVED.as_bytes())));
        }
        let (mut which, mut is_structural, mut key) = (Vec::new(), false, None);
        for (at, token) in tokens(line).into_iter().enumerate() {
            let bytes = &line[token.range.clone()];
            // It may stand across several strings.
            let holds = places.iter().any(|place| place.start < token.range.end && token.range.start < place.end)
                || self.is_escaped_in(bytes);
            let is_needed = token.is_key || key.as_deref().is_some_and(|key| STRUCTURE.contains(&key));
            let is_needed = is_needed && token.depth <= STRUCTURE_DEPTH_MAX;
            if holds {
                is_structural |= is_needed;
                which.push(at as u32);
            }
            if token.is_key {
                key = serde_json::from_slice::<String>(bytes).ok();
            }
        }
        // In no string, or in what would stand in its place: a whole record is nothing that Claude Code can do without.
        if self.is_in(&redacted(line, &which)) {
            which.clear();
        }
        is_structural |= which.is_empty();
        Some((which, is_structural))
    }
}

/// A string, a field's name or a number in a line of JSON.
struct Token {
    range: Range<usize>,
    is_key: bool,
    /// Whether the line ends before it does.
    is_open: bool,
    /// In how many objects and lists it lies.
    depth: usize,
}

/// Of a line that is valid JSON or the beginning of such, in their order.
fn tokens(line: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut at, mut depth) = (0, 0);
    while let Some(byte) = line.get(at) {
        let from = at;
        at += 1;
        match byte {
            b'"' => {
                while line.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if line[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
                let is_open = at > line.len();
                let is_key = line[at.min(line.len())..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
                tokens.push(Token { range: from..at.min(line.len()), is_key, is_open, depth });
            }
            b'-' | b'0'..=b'9' => {
                let is_digit = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                while line.get(at).is_some_and(is_digit) {
                    at += 1;
                }
                tokens.push(Token { range: from..at, is_key: false, is_open: false, depth });
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    tokens
}

/// The line with these of its strings and numbers replaced, or all of it.
fn redacted(line: &[u8], which: &[u32]) -> Vec<u8> {
    if which.is_empty() {
        return REMOVED.as_bytes().to_vec();
    }
    let (mut made, mut from) = (Vec::with_capacity(line.len()), 0);
    for (at, token) in tokens(line).into_iter().enumerate() {
        if !which.contains(&(at as u32)) {
            continue;
        }
        made.extend_from_slice(&line[from..token.range.start]);
        if line[token.range.start] == b'"' {
            let end = if token.is_open { "" } else { "\"" };
            made.extend_from_slice(format!("\"{REMOVED}{end}").as_bytes());
        } else {
            made.push(b'0');
        }
        from = token.range.end;
    }
    made.extend_from_slice(&line[from..]);
    made
}

/// What stands there where JSON's escapes are taken for what they mean, whatever is none left as it is; `None` where there
/// is none that a character need not be written as.
fn unescaped(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.windows(2).any(|pair| pair == b"\\u" || pair == b"\\/") {
        return None;
    }
    let (mut plain, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        plain.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let (meant, taken) = match rest.get(1) {
            Some(byte @ (b'"' | b'\\' | b'/')) => (char::from(*byte), 2),
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            _ => match utf16_unit(rest) {
                Some(first) => {
                    let both = [first].into_iter().chain(utf16_unit(&rest[6..]));
                    let meant = char::decode_utf16(both).next().and_then(Result::ok);
                    meant.map_or((char::REPLACEMENT_CHARACTER, 6), |meant| (meant, 6 * meant.len_utf16()))
                }
                None => ('\\', 1),
            },
        };
        plain.extend_from_slice(meant.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &rest[taken..];
    }
    plain.extend_from_slice(rest);
    Some(plain)
}

/// Of `\u0041` at the beginning.
fn utf16_unit(bytes: &[u8]) -> Option<u16> {
    let digits = std::str::from_utf8(bytes.get(..6)?.strip_prefix(b"\\u")?).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

fn hash_of(line: &[u8]) -> String {
    blake3::hash(line).to_hex()[..32].to_owned()
}

/// As [`hash_of`], of the beginning of a line.
fn hash_of_torn(line: &[u8]) -> String {
    format!("{}{TORN}{}", hash_of(line), line.len())
}

/// Each line without its end, where it begins, and whether it has an end; gives where the last one ends.
fn each_line(file: &File, path: &Path, mut each: impl FnMut(u64, &[u8], bool)) -> Result<u64, ArchiveError> {
    let mut reader = BufReader::with_capacity(fs::COPY_BYTES, From { file, at: 0, path });
    let (mut line, mut at) = (Vec::new(), 0);
    loop {
        line.clear();
        let came = reader.read_until(b'\n', &mut line).map_err(|source| fs::DurableError {
            operation: "read",
            path: path.to_owned(),
            source,
        })?;
        if came == 0 {
            return Ok(at);
        }
        let ended = line.strip_suffix(b"\n");
        each(at, ended.unwrap_or(&line), ended.is_some());
        at += came as u64;
    }
}

/// Reads a file from its beginning, wherever others stand in it.
struct From<'f> {
    file: &'f File,
    at: u64,
    path: &'f Path,
}

impl Read for From<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let came = fs::read_at(self.file, self.at, buffer, self.path).map_err(|error| error.source)?;
        self.at += came as u64;
        Ok(came)
    }
}

/// Copies a range to the place `to`; gives the place behind it.
fn copy(from: &File, range: Range<u64>, view: &File, mut to: u64, path: &Path) -> Result<u64, ArchiveError> {
    let mut buffer = vec![0; COPY_BYTES as usize];
    let mut at = range.start;
    while at < range.end {
        let bytes = (range.end - at).min(COPY_BYTES) as usize;
        fs::read_exact_at(from, at, &mut buffer[..bytes], path)?;
        fs::write_at(view, to, &buffer[..bytes], path)?;
        (at, to) = (at + bytes as u64, to + bytes as u64);
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file_of(text: &str) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn text_of(file: &File, bytes: u64) -> String {
        let mut text = vec![0; bytes as usize];
        fs::read_exact_at(file, 0, &mut text, Path::new("x")).unwrap();
        String::from_utf8(text).unwrap()
    }

    /// What becomes of a line when a text is forgotten, and whether Claude Code needs a part of it.
    #[test]
    fn the_strings_that_hold_a_text_go_and_the_record_stays() {
        let removed = format!("\"{REMOVED}\"");
        for (text, line, expected, is_structural) in [
            (
                "hush",
                r#"{"uuid":"u1","message":{"content":"say hush now"}}"#,
                r#"{"uuid":"u1","message":{"content":REMOVED}}"#,
                false,
            ),
            (
                "hush",
                r#"{"message":{"content":[{"type":"text","text":"no"},{"type":"text","text":"hush"}]}}"#,
                r#"{"message":{"content":[{"type":"text","text":"no"},{"type":"text","text":REMOVED}]}}"#,
                false,
            ),
            ("two\nlines", r#"{"a":"x two\nlines y"}"#, r#"{"a":REMOVED}"#, false),
            ("say \"hi\"", r#"{"a":"{\"b\":\"say \\\"hi\\\"\"}"}"#, r#"{"a":REMOVED}"#, false),
            ("é-secret", r#"{"a":"\u00e9-secret","b":1}"#, r#"{"a":REMOVED,"b":1}"#, false),
            ("a/b/c", r#"{"a":"x a\/b/c\n","b":"a\/b"}"#, r#"{"a":REMOVED,"b":"a\/b"}"#, false),
            ("a/b", r#"{"a":"{\"b\":\"a\\/b\"}","b":"{\"b\":\"a\\\/b\"}"}"#, r#"{"a":REMOVED,"b":REMOVED}"#, false),
            (
                "sun 🌞",
                r#"{"a":"sun \ud83c\udf1e","b":"sun \ud83c","c":"\\u0073un 🌞"}"#,
                r#"{"a":REMOVED,"b":"sun \ud83c","c":REMOVED}"#,
                false,
            ),
            ("a/b", r#"{"uuid":"a\/b","x":2}"#, r#"{"uuid":REMOVED,"x":2}"#, true),
            ("a/b", r"say a\/b", "ALL", false),
            ("a/b", r#"{"a":"a\\b \users \u12"}"#, r#"{"a":"a\\b \users \u12"}"#, false),
            (
                "4711",
                r#"{"message":{"content":[{"input":{"pin":47110,"x":4}}]}}"#,
                r#"{"message":{"content":[{"input":{"pin":0,"x":4}}]}}"#,
                false,
            ),
            (
                "hush",
                r#"{"message":{"content":[{"input":{"hush":1}}]}}"#,
                r#"{"message":{"content":[{"input":{REMOVED:1}}]}}"#,
                false,
            ),
            (
                "hush",
                r#"{"message":{"content":[{"input":{"id":"hush"}}]}}"#,
                r#"{"message":{"content":[{"input":{"id":REMOVED}}]}}"#,
                false,
            ),
            ("hush", r#"{"uuid":"hush-1","x":2}"#, r#"{"uuid":REMOVED,"x":2}"#, true),
            ("hush", r#"{"hush":2}"#, r#"{REMOVED:2}"#, true),
            // Across strings: those that hold a part of it.
            (r#"x":"y"#, r#"{"x":"y","z":"y"}"#, r#"{REMOVED:REMOVED,"z":"y"}"#, true),
            (
                r#""pin":"4711""#,
                r#"{"uuid":"u1","message":{"content":[{"text":"no"},{"input":{"pin":"4711","x":"4711"}}]}}"#,
                r#"{"uuid":"u1","message":{"content":[{"text":"no"},{"input":{REMOVED:REMOVED,"x":"4711"}}]}}"#,
                false,
            ),
            (r#""role":"user""#, r#"{"message":{"role":"user"}}"#, r#"{"message":{REMOVED:REMOVED}}"#, true),
            // Of a record that cannot be told from the rest.
            (
                ":true",
                r#"{"uuid":"u1","x":[true],"y":{"z":[0,1]}}"#,
                r#"{"uuid":"u1","x":[true],"y":{"z":[0,1]}}"#,
                false,
            ),
            ("true]", r#"{"uuid":"u1","x":[true]}"#, "ALL", true),
            // In what is no record.
            ("hush", "say hush", "ALL", false),
            ("hush", r#"{"a":"hush""#, "ALL", false),
            ("hush", r#"{"a":"hus"}"#, r#"{"a":"hus"}"#, false),
        ] {
            let expected = expected.replace("REMOVED", &removed).replace("ALL", REMOVED);
            let needle = Needle::new(text);
            let held = needle.lines_of(&file_of(&format!("{line}\n")), Path::new("x")).unwrap();
            let (before, after) = ("before\n", "\nafter");
            let file = file_of(&[before, line, after].concat());
            let view = held.marks.view(&file, Path::new("x"), &std::env::temp_dir()).unwrap();
            let seen = view.map_or(line.to_owned(), |(view, bytes)| {
                let text = text_of(&view, bytes);
                text.strip_prefix(before).unwrap().strip_suffix(after).unwrap().to_owned()
            });
            assert_eq!((seen.as_str(), held.structural > 0), (expected.as_str(), is_structural), "{text:?} in {line}");
            assert!(!needle.is_in(seen.as_bytes()), "{seen}");
            let is_json = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
            assert!(!is_json(line) || is_json(&seen) || seen == REMOVED, "{seen}");
            // Once more, nothing is left to be replaced.
            assert!(needle.lines_of(&file_of(&seen), Path::new("x")).unwrap().marks.is_empty());
        }
    }

    /// Claude Code's own line still has both texts when the second is forgotten.
    #[test]
    fn what_is_forgotten_of_a_line_later_brings_nothing_back_that_was_forgotten_before() {
        for (line, texts, expected) in [
            (r#"{"a":"one hush","b":"two","c":"calm"}"#, ["hush", "calm"], r#"{"a":REMOVED,"b":"two","c":REMOVED}"#),
            (r#"{"a":"hush and calm","b":1}"#, ["hush", "calm"], r#"{"a":REMOVED,"b":1}"#),
            (r#"{"a":17,"b":"calm"}"#, ["17", "calm"], r#"{"a":0,"b":REMOVED}"#),
            (r#"{"x":"y","b":"calm"}"#, [r#"x":"y"#, "calm"], r#"{REMOVED:REMOVED,"b":REMOVED}"#),
            (r#"{"x":[true],"b":"calm"}"#, ["true]", "calm"], "ALL"),
            (r#"{"x":[true],"b":"calm"}"#, ["calm", "true]"], "ALL"),
        ] {
            let expected = expected.replace("REMOVED", &format!("\"{REMOVED}\"")).replace("ALL", REMOVED);
            let mut marks = Marks::default();
            for text in texts {
                marks.add(Needle::new(text).lines_of(&file_of(line), Path::new("x")).unwrap().marks);
            }
            let (view, bytes) = marks.view(&file_of(line), Path::new("x"), &std::env::temp_dir()).unwrap().unwrap();
            assert_eq!(text_of(&view, bytes), expected, "{texts:?} in {line}");
        }
    }

    #[test]
    fn a_text_of_what_stands_in_its_place_is_refused() {
        for line in [r#"{"uuid":"u1","a":"run threefold forget"}"#, "run threefold forget"] {
            let held = Needle::new("threefold").lines_of(&file_of(line), Path::new("x")).unwrap();
            assert_eq!((held.lines, held.structural), (1, 1), "{line}");
        }
    }

    /// What was copied of it meanwhile is a beginning of what is copied then.
    #[test]
    fn a_line_that_is_written_to_its_end_afterwards_does_not_bring_the_text_back() {
        let record =
            r#"{"uuid":"u1","n":47,"message":{"content":[{"text":"say hush \"now\" \u00e9"},{"text":"calm"}]}}"#;
        let plain = "say hush \"now\", and go on";
        for line in [record, plain] {
            let first = line.find("hush").unwrap() + "hush".len();
            let mut seen = String::new();
            for cut in first..=line.len() {
                let marks = Needle::new("hush").lines_of(&file_of(&line[..cut]), Path::new("x")).unwrap().marks;
                let view = |text: &str| {
                    let (view, bytes) =
                        marks.view(&file_of(text), Path::new("x"), &std::env::temp_dir()).unwrap().unwrap();
                    text_of(&view, bytes)
                };
                let (torn, whole) = (view(&line[..cut]), view(&format!("{line}\nnext\n")));
                assert!(
                    whole.starts_with(&torn) && !whole.contains("hush") && whole.ends_with("\nnext\n"),
                    "{torn} {whole}"
                );
                let is_json = serde_json::from_str::<IgnoredAny>(whole.lines().next().unwrap()).is_ok();
                assert_eq!((is_json, whole.contains("calm")), (line == record, line == record), "{whole}");
                assert!(seen.is_empty() || seen == whole, "{seen} {whole}");
                seen = whole;
                // Nothing is left to be replaced, and another line that begins so is another line.
                assert!(Needle::new("hush").lines_of(&file_of(&torn), Path::new("x")).unwrap().marks.is_empty());
                assert!(marks.view(&file_of("say more\n"), Path::new("x"), &std::env::temp_dir()).unwrap().is_none());
            }
        }
    }

    #[test]
    fn what_a_source_goes_on_with_comes_behind_the_same_bytes() {
        let needle = Needle::new("hush");
        let (one, two, three) = ("{\"a\":\"one\"}\n", "{\"a\":\"hush\"}\n", "{\"a\":\"three\"}\n");
        let marks = needle.lines_of(&file_of(two), Path::new("x")).unwrap().marks;
        let view = |text: &str| {
            let view = marks.view(&file_of(text), Path::new("x"), &std::env::temp_dir()).unwrap();
            view.map(|(view, bytes)| text_of(&view, bytes))
        };
        assert_eq!(view(one), None);
        let first = view(&[one, two].concat()).unwrap();
        assert!(first.starts_with(one) && first.contains(REMOVED) && !first.contains("hush"));
        assert_eq!(view(&[one, two, three, "torn"].concat()).unwrap(), [&first, three, "torn"].concat());
        // Typed once more it is another line.
        assert_eq!(view(&[two, "{\"b\":\"hush\"}\n"].concat()).unwrap().matches("hush").count(), 1);
    }
}
