//! Records of many megabytes, read in memory that does not grow with them: what is long in one is left where it stands,
//! and read from there in pieces.
//!
//! A record that is read so has each text but for its beginning, and a mark behind that. What the record means is decided
//! as of any other; where the mark then stands, says what the rest of the text belongs to.

use std::io;
use std::ops::{ControlFlow, Range};

use layer1_prebackup::wire::surrogates;

/// A line that is longer is read so.
pub(super) const LONG_BYTES: usize = 1024 * 1024;
/// What stays of a text in its record.
const KEPT_BYTES: usize = 64 * 1024;
/// A piece of the rest.
const PIECE_BYTES: usize = 1024 * 1024;
/// Between these stands how long the rest is. They stand for nothing in Unicode.
const MARKS: [char; 2] = ['\u{e0f3}', '\u{e0f4}'];

/// Reads bytes of a file from an offset on, all that are asked for.
pub(crate) type ReadAt<'f> = &'f dyn Fn(u64, &mut [u8]) -> io::Result<()>;

/// A line without what is long in it, made as it is read.
pub(super) struct Skeleton {
    text: Vec<u8>,
    at: At,
    /// Where the next byte stands in the file.
    offset: u64,
    cuts: Vec<Range<u64>>,
    longer: i64,
}

/// Where in a line of JSON.
#[derive(Clone, Copy)]
enum At {
    Outside,
    /// In a text that begins here.
    Text(usize),
    /// In the rest of one.
    Rest,
    /// Behind a backslash there, or in the text that begins here.
    Escape(Option<usize>),
}

impl Skeleton {
    pub(super) fn at(offset: u64) -> Skeleton {
        Skeleton { text: Vec::new(), at: At::Outside, offset, cuts: Vec::new(), longer: 0 }
    }

    /// Adds bytes of the line.
    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        while let [first, ..] = *bytes {
            let used = match self.at {
                At::Outside => {
                    let quote = memchr::memchr(b'"', bytes).map(|at| at + 1);
                    let used = quote.unwrap_or(bytes.len());
                    self.text.extend_from_slice(&bytes[..used]);
                    if quote.is_some() {
                        self.at = At::Text(self.text.len());
                    }
                    used
                }
                At::Text(start) => {
                    let room = KEPT_BYTES.saturating_sub(self.text.len() - start).max(1).min(bytes.len());
                    let special = memchr::memchr2(b'"', b'\\', &bytes[..room]);
                    let used = special.map_or(room, |at| at + 1);
                    self.text.extend_from_slice(&bytes[..used]);
                    match special.map(|at| bytes[at]) {
                        Some(b'"') => self.at = At::Outside,
                        Some(_) => self.at = At::Escape(Some(start)),
                        None if self.text.len() - start >= KEPT_BYTES => self.cut(start, used),
                        None => {}
                    }
                    used
                }
                At::Rest => {
                    let special = memchr::memchr2(b'"', b'\\', bytes);
                    match special.map(|at| bytes[at]) {
                        Some(b'"') => self.end_cut(special.unwrap_or(0)),
                        Some(_) => self.at = At::Escape(None),
                        None => {}
                    }
                    special.map_or(bytes.len(), |at| at + 1)
                }
                At::Escape(start) => {
                    if start.is_some() {
                        self.text.push(first);
                    }
                    self.at = start.map_or(At::Rest, At::Text);
                    1
                }
            };
            self.offset += used as u64;
            bytes = &bytes[used..];
        }
    }

    /// Ends what is kept of a text, of which `used` bytes are being added.
    fn cut(&mut self, start: usize, used: usize) {
        let kept = end_of_piece(&self.text[start..]);
        let over = self.text.len() - start - kept;
        self.text.truncate(start + kept);
        let from = self.offset + used as u64 - over as u64;
        self.cuts.push(from..from);
        self.at = At::Rest;
    }

    /// The text ends with the byte that is so many behind the next one.
    fn end_cut(&mut self, behind: usize) {
        let end = self.offset + behind as u64;
        if let Some(cut) = self.cuts.pop_if(|cut| cut.start < end) {
            let (cut, before) = (cut.start..end, self.text.len());
            let [begin, end] = MARKS;
            self.text.extend_from_slice(format!(" {begin}{}{end} ", cut.end - cut.start).as_bytes());
            self.longer += (cut.end - cut.start) as i64 - (self.text.len() - before) as i64;
            self.cuts.push(cut);
        } else {
            // All of it was kept.
            self.cuts.pop();
        }
        self.text.push(b'"');
        self.at = At::Outside;
    }

    /// The line, what was left out of it, and how much longer it is in the file.
    pub(super) fn ended(self) -> (Vec<u8>, Vec<Range<u64>>, i64) {
        (self.text, self.cuts, self.longer)
    }
}

/// Takes the marks out of a text; `take` is given the place in `cuts` of what each stands for, and says whether that was
/// not taken before. `None` where there are none.
pub(crate) fn without_marks(text: &str, cuts: &[Range<u64>], take: &mut dyn FnMut(usize) -> bool) -> Option<String> {
    let [begin, end] = MARKS;
    let (mut kept, marked) = text.split_once(begin).map(|(kept, marked)| (kept.to_owned(), marked))?;
    for part in marked.split(begin) {
        let (length, after) = part.split_once(end).unwrap_or(("", part));
        kept.push_str(after);
        // Two may be as long.
        let of_length = |cut: &Range<u64>| length.parse() == Ok(cut.end - cut.start);
        let _ = cuts.iter().enumerate().any(|(n, cut)| of_length(cut) && take(n));
    }
    Some(kept)
}

/// Reads what was left out of a record, in pieces that end between words where they can.
pub(crate) fn read_cut(
    read_at: ReadAt<'_>,
    cut: &Range<u64>,
    each: &mut dyn FnMut(String) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let mut at = cut.start;
    let mut raw = Vec::new();
    while at < cut.end {
        raw.resize((cut.end - at).min(PIECE_BYTES as u64) as usize, 0);
        read_at(at, &mut raw)?;
        let is_last = at + raw.len() as u64 == cut.end;
        let end = if is_last { raw.len() } else { end_of_piece(&raw) };
        at += end as u64;
        if let Some(text) = text_of(&raw[..end])
            && each(text).is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The text that stands so between quotes; `None` where that is none.
fn text_of(raw: &[u8]) -> Option<String> {
    let mut quoted = Vec::with_capacity(raw.len() + 2);
    quoted.push(b'"');
    for chunk in raw.utf8_chunks() {
        quoted.extend(chunk.valid().bytes().map(|byte| if byte < b' ' { b' ' } else { byte }));
        quoted.extend(chunk.invalid().iter().map(|_| b'?'));
    }
    quoted.push(b'"');
    surrogates::replace_lone(&mut quoted);
    serde_json::from_slice(&quoted).ok()
}

/// Where a piece of a text may end that begins with these bytes: behind the last space in its second half or, where none
/// is, wherever no character is cut. At least one character, and all of the bytes at most.
fn end_of_piece(raw: &[u8]) -> usize {
    let (mut end, mut space, mut at) = (0, 0, 0);
    while at < raw.len() {
        let length = character(&raw[at..]);
        if at + length > raw.len() {
            break;
        }
        let is_space = raw[at] == b' ' || matches!(raw[at..], [b'\\', b'n' | b't' | b'r', ..]);
        at += length;
        end = at;
        if is_space {
            space = at;
        }
    }
    match end {
        // Less than a character: nothing is to be waited for.
        0 => raw.len(),
        _ if space > raw.len() / 2 => space,
        end => end,
    }
}

/// How many bytes the first character has, which may be an escape, or two that are one.
fn character(raw: &[u8]) -> usize {
    let is_half = |raw: &[u8], first: &[u8]| matches!(raw, [b'\\', b'u', b'd' | b'D', half, ..] if first.contains(&half.to_ascii_lowercase()));
    match *raw {
        [b'\\', b'u', ..]
            if is_half(raw, b"89ab") && raw.get(6..).is_none_or(|rest| rest.len() < 6 || is_half(rest, b"cdef")) =>
        {
            12
        }
        [b'\\', b'u', ..] => 6,
        [b'\\', ..] => 2,
        [0xc0..=0xdf, ..] => 2,
        [0xe0..=0xef, ..] => 3,
        [0xf0..=0xff, ..] => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skeleton(line: &str, step: usize) -> (String, Vec<Range<u64>>, i64) {
        let mut skeleton = Skeleton::at(100);
        line.as_bytes().chunks(step).for_each(|bytes| skeleton.add(bytes));
        let (text, cuts, longer) = skeleton.ended();
        (String::from_utf8(text).unwrap(), cuts, longer)
    }

    /// The text of a line's one field as it was cut and put together again.
    fn joined(text: &str, step: usize) -> String {
        let line = format!("{{\"a\":\"short \\\" one\",\"b\":{},\"c\":7}}", serde_json::to_string(text).unwrap());
        let (left, cuts, longer) = skeleton(&line, step);
        assert_eq!(left.len() as i64 + longer, line.len() as i64);
        let value: serde_json::Value = serde_json::from_str(&left).unwrap();
        assert_eq!((&value["a"], &value["c"]), (&"short \" one".into(), &7.into()));
        let mut found = Vec::new();
        let cut = value["b"].as_str().unwrap();
        let mut all = without_marks(cut, &cuts, &mut |n| {
            found.push(n);
            true
        })
        .unwrap_or_else(|| cut.to_owned());
        assert_eq!(found, (0..cuts.len()).collect::<Vec<_>>());
        if let Some(cut) = cuts.first() {
            // Beside the mark stand two spaces.
            all.truncate(all.len() - 2);
            let read_at = |at: u64, bytes: &mut [u8]| {
                let at = at as usize - 100;
                bytes.copy_from_slice(&line.as_bytes()[at..at + bytes.len()]);
                Ok(())
            };
            let each = &mut |piece: String| {
                assert!(piece.len() <= 2 * PIECE_BYTES);
                all.push_str(&piece);
                ControlFlow::Continue(())
            };
            assert!(read_cut(&read_at, cut, each).unwrap().is_continue());
        }
        all
    }

    #[test]
    fn a_long_text_is_cut_and_comes_back_whole() {
        let big = |piece: &str| piece.repeat(2 * PIECE_BYTES / piece.len());
        for text in [
            "short".to_owned(),
            "x".repeat(KEPT_BYTES - 1),
            "x".repeat(KEPT_BYTES),
            "x".repeat(KEPT_BYTES + 1),
            big("words and \n lines \\ \" "),
            big("日本語"),
            big("\u{1}\u{1f600}\t"),
            format!("{}\\", "y".repeat(KEPT_BYTES - 2)),
        ] {
            // Byte by byte only what is short: it takes a while.
            for step in [if text.len() < 2 * KEPT_BYTES { 7 } else { 4095 }, usize::MAX] {
                assert!(joined(&text, step.min(text.len() + 100)) == text, "{} bytes by {step}", text.len());
            }
        }
    }

    #[test]
    fn a_piece_ends_between_characters_and_better_between_words() {
        for (raw, end) in [
            ("one two three four", 14),
            ("onetwothree", 11),
            ("one two\\nthree\\nfo", 16),
            ("ab\\", 2),
            ("ab\\ud83d\\ude00", 14),
            ("ab\\ud83d\\ude0", 2),
            ("ab\\ud83d\\u0041", 14),
            ("ab\\u00e", 2),
            ("é", 2),
        ] {
            assert_eq!(end_of_piece(raw.as_bytes()), end, "{raw}");
        }
        assert_eq!(end_of_piece("aé".as_bytes().split_last().unwrap().1), 1);
    }

    #[test]
    fn a_torn_line_and_marks_of_others_are_no_harm() {
        let torn = format!("{{\"a\":\"{}", "z".repeat(2 * KEPT_BYTES));
        let (left, ..) = skeleton(&torn, 4096);
        assert!(serde_json::from_str::<serde_json::Value>(&left).is_err());
        let [begin, end] = MARKS;
        for (text, expected) in [
            (format!("a {begin}12{end} b"), Some("a  b")),
            (format!("a {begin}x"), Some("a x")),
            (format!("a {end}x"), None),
            ("plain".to_owned(), None),
        ] {
            let kept = without_marks(&text, &[], &mut |_| panic!("it stands for nothing"));
            assert_eq!(kept.as_deref(), expected, "{text:?}");
        }
    }
}
