//! A text as it reads once its escapes are undone, and where each piece of it stands in the text itself.
//!
//! Escapes of JSON, of Markdown and of most languages, percent encoding, character references of HTML, colour codes,
//! characters without width, lines that go on behind a backslash, marks of Markdown within a word. Undone once for
//! each level: a JSON text within a JSON text within a log has three.

use std::ops::Range;

use layer1_prebackup::wire::shown::is_hidden;

/// Longest name between `&` and `;`.
const REFERENCE_BYTES_MAX: usize = 8;
/// Longest control sequence of a terminal: a link holds its address.
const SEQUENCE_BYTES_MAX: usize = 2048;

/// A text with its escapes undone.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) text: String,
    /// What was undone, in order: where it stands here, and where there.
    escapes: Vec<(Range<usize>, Range<usize>)>,
}

impl Decoded {
    /// The text one level down; `None` where nothing is escaped.
    pub(super) fn of(text: &str) -> Option<Decoded> {
        let bytes = text.as_bytes();
        let mut decoded = Decoded { text: String::new(), escapes: Vec::new() };
        let mut from = 0;
        let mut at = 0;
        while at < bytes.len() {
            if !STARTS[usize::from(bytes[at])] {
                at += 1;
                continue;
            }
            let Some((length, character)) = escape(text, at) else {
                at += 1;
                continue;
            };
            if decoded.text.capacity() == 0 {
                decoded.text.reserve(text.len());
            }
            decoded.text.push_str(&text[from..at]);
            let start = decoded.text.len();
            decoded.text.extend(character);
            decoded.escapes.push((start..decoded.text.len(), at..at + length));
            at += length;
            from = at;
        }
        if decoded.escapes.is_empty() {
            return None;
        }
        decoded.text.push_str(&text[from..]);
        Some(decoded)
    }

    /// Where a part of this text stands in the one that it was made of.
    pub(super) fn origin(&self, part: &Range<usize>) -> Range<usize> {
        // Codes before the part are none of it, and codes behind it neither.
        let before = self.escapes.partition_point(|(here, _)| here.end <= part.start);
        let start = match self.escapes.get(before) {
            Some((here, there)) if here.start < part.start => there.start,
            _ => from_end(&self.escapes[..before], part.start),
        };
        let before = self.escapes.partition_point(|(here, _)| here.start < part.end);
        let end = match self.escapes[..before].last() {
            Some((here, there)) if part.end <= here.end => there.end,
            _ => from_end(&self.escapes[..before], part.end),
        };
        start..end
    }
}

/// Where it stands that comes behind these escapes.
fn from_end(escapes: &[(Range<usize>, Range<usize>)], at: usize) -> usize {
    escapes.last().map_or(at, |(here, there)| there.end + (at - here.end))
}

/// Bytes that an escape may begin with.
static STARTS: [bool; 256] = {
    let mut starts = [false; 256];
    let some = b"\\%&=*~\x1b\xc2\xd8\xe1\xe2\xef";
    let mut n = 0;
    while n < some.len() {
        starts[some[n] as usize] = true;
        n += 1;
    }
    starts
};

/// How long the escape is that stands here, and the character that it is, if it is one.
fn escape(text: &str, at: usize) -> Option<(usize, Option<char>)> {
    let rest = &text.as_bytes()[at..];
    let one = |length, character| Some((length, Some(character)));
    match rest[0] {
        b'\\' => backslash(rest),
        b'%' => percent(rest),
        b'=' => {
            // Mail: `=3D`, and lines that go on.
            if rest.starts_with(b"=3D") || rest.starts_with(b"=3d") {
                return one(3, '=');
            }
            let end = if rest.starts_with(b"=\r\n") { 3 } else { 2 };
            let is_broken = rest.starts_with(b"=\r\n") || rest.starts_with(b"=\n");
            let line = text.as_bytes()[..at].iter().rev().take(80).take_while(|b| **b != b'\n').count();
            (is_broken && (70..=76).contains(&line)).then_some((end, None))
        }
        b'&' => {
            let end = rest.iter().take(REFERENCE_BYTES_MAX + 2).position(|b| *b == b';')?;
            let name = std::str::from_utf8(&rest[1..end]).ok()?;
            let character = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                "nbsp" => ' ',
                "equals" => '=',
                "colon" => ':',
                "sol" => '/',
                "plus" => '+',
                "commat" => '@',
                "lowbar" | "UnderBar" => '_',
                "period" => '.',
                "hyphen" => '-',
                "percnt" => '%',
                "dollar" => '$',
                "NewLine" => '\n',
                _ => {
                    let number = name.strip_prefix('#')?;
                    let code = match number.strip_prefix(['x', 'X']) {
                        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                        None => number.parse().ok()?,
                    };
                    char::from_u32(code)?
                }
            };
            one(end + 1, character)
        }
        b'*' | b'~' => Some((emphasis(text.as_bytes(), at)?, None)),
        0x1b => Some((sequence(rest)?, None)),
        _ => {
            let c = text.get(at..)?.chars().next()?;
            (is_hidden(None, c)).then_some((c.len_utf8(), None))
        }
    }
}

/// How long a mark of Markdown is that a word goes on behind: up to three of one character. A single `~` is a part of
/// tokens.
fn emphasis(bytes: &[u8], at: usize) -> Option<usize> {
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let length = bytes[at..].iter().take(4).take_while(|b| **b == bytes[at]).count();
    let is_within = bytes[..at].last().is_some_and(is_word) && bytes.get(at + length).is_some_and(is_word);
    (is_within && length <= 3 && (length, bytes[at]) != (1, b'~')).then_some(length)
}

fn percent(rest: &[u8]) -> Option<(usize, Option<char>)> {
    let byte = |n: usize| rest.get(3 * n..3 * n + 3).filter(|code| code[0] == b'%').and_then(|code| hex(&code[1..]));
    let first = byte(0)?;
    if is_text(first) {
        return Some((3, char::from_u32(first)));
    }
    let length = match first {
        0xc2..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf5 => 4,
        _ => return None,
    };
    let bytes: Vec<u8> = (0..length).map(|n| byte(n).map(|byte| byte as u8)).collect::<Option<_>>()?;
    let c = std::str::from_utf8(&bytes).ok()?.chars().next()?;
    Some((3 * length, Some(c)))
}

fn backslash(rest: &[u8]) -> Option<(usize, Option<char>)> {
    let character = match *rest.get(1)? {
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' | b'f' | b'v' => ' ',
        b'e' => '\u{1b}',
        // Any of these, as Markdown has it: its pages show the character alone.
        mark if mark.is_ascii_punctuation() => char::from(mark),
        b'\n' => return Some((2, None)),
        b'\r' if rest.get(2) == Some(&b'\n') => return Some((3, None)),
        b'x' => return Some((4, char::from_u32(hex(rest.get(2..4)?)?))),
        b'u' if rest.get(2) == Some(&b'{') => {
            let end = rest.iter().take(10).position(|b| *b == b'}')?;
            return Some((end + 1, Some(char::from_u32(hex(&rest[3..end])?)?)));
        }
        b'u' => {
            let code = hex(rest.get(2..6)?)?;
            // Half of a character: no secret has such.
            return Some((6, Some(char::from_u32(code)?)));
        }
        b'0'..=b'3' => {
            let digits = std::str::from_utf8(rest.get(1..4)?).ok()?;
            return Some((4, Some(char::from_u32(u32::from_str_radix(digits, 8).ok()?)?)));
        }
        _ => return None,
    };
    Some((2, Some(character)))
}

fn hex(digits: &[u8]) -> Option<u32> {
    let is_hex = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    is_hex.then(|| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())?
}

fn is_text(code: u32) -> bool {
    (0x20..0x7f).contains(&code) || matches!(code, 0x09 | 0x0a | 0x0d)
}

/// The length of a control sequence.
fn sequence(rest: &[u8]) -> Option<usize> {
    match rest.get(1)? {
        b'[' => {
            let end = rest[2..].iter().take(32).position(|b| (0x40..=0x7e).contains(b))?;
            Some(end + 3)
        }
        b']' => {
            let most = rest.len().min(SEQUENCE_BYTES_MAX);
            let end = rest[..most].iter().position(|b| *b == 0x07 || *b == b'\\')?;
            Some(end + 1)
        }
        _ => Some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_found_again() {
        for (text, expected) in [
            (r#"a\nb\"c"#, "a\nb\"c"),
            (r"\u0022x\u{41}\x41\075", "\"xAA="),
            ("a%3Db%zz%2", "a=b%zz%2"),
            ("&quot;&#39;&#x41;&amp;&nope;", "\"'A&&nope;"),
            ("\u{1b}[1;31mred\u{1b}[0m\u{200b}!", "red!"),
            ("one \\\n two", "one  two"),
            ("k=3Dv", "k=v"),
            (r"\*a\_b\-c\.\\\_", r"*a_b-c.\_"),
            ("gh**p_**a~~b~c*d* e", "ghp_ab~cd* e"),
        ] {
            let decoded = Decoded::of(text).unwrap();
            assert_eq!(decoded.text, expected);
            assert_eq!(
                decoded.origin(&(0..expected.len())).end,
                text.trim_end_matches("\u{1b}[0m").len().max(1),
                "{text}"
            );
        }
        assert!(Decoded::of("nothing of it, 50 % & more = \\q, 2 * 3 **x** a****b ~c").is_none());
    }

    #[test]
    fn a_part_stands_where_it_stood() {
        let text = "\u{1b}[1mab\u{1b}[0m \\\"cd\\\" %65f";
        let decoded = Decoded::of(text).unwrap();
        assert_eq!(decoded.text, "ab \"cd\" ef");
        for (part, expected) in [("ab", "ab"), ("cd", "cd"), ("\"cd\"", "\\\"cd\\\""), ("ef", "%65f")] {
            let at = decoded.text.find(part).unwrap();
            assert_eq!(&text[decoded.origin(&(at..at + part.len()))], expected);
        }
    }
}
