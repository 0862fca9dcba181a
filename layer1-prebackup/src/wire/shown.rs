//! Text that others wrote, made fit to be seen: on a terminal, in a message, by a model.
//!
//! Transcripts, paths, names and errors hold whatever somebody put there. Raw on a terminal they could move its cursor or
//! set its title; characters that cannot be seen, or that reorder others, make one text look like another to a person and
//! carry words to a model that no person reads. So they are shown: `·` for a control character, `⟨U+200B⟩` for the rest.

use std::borrow::Cow;
use std::io::{self, Write};

/// What stands for a control character.
const CONTROL: char = '·';

/// Whether a character, behind `before`, cannot be seen, reorders others, or steers a terminal. Line breaks and tabs do
/// none of it. What joins letters and emoji, or chooses their form, is hidden where it has nothing to join or choose.
pub fn is_hidden(before: Option<char>, c: char) -> bool {
    let behind = |is_meant: fn(char) -> bool| before.is_some_and(|before| is_meant(before) && !is_format(before));
    match c {
        ' '..='~' | '\n' | '\t' => false,
        c if c.is_control() => true,
        '\u{200c}' => !behind(|c| !c.is_ascii()),
        '\u{200d}' => before != Some('\u{fe0f}') && !behind(|c| !c.is_ascii()),
        '\u{fe0e}' | '\u{fe0f}' => !behind(|c| !c.is_ascii() || matches!(c, '0'..='9' | '#' | '*')),
        c => is_format(c),
    }
}

/// Unicode's formats, fillers, variation selectors, tags, line separators, and what is no character.
fn is_format(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fdd0}'..='\u{fdef}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
        || u32::from(c) & 0xfffe == 0xfffe
}

/// What is written in place of a hidden character.
fn sign(c: char) -> Cow<'static, str> {
    if c.is_control() { Cow::Owned(CONTROL.to_string()) } else { Cow::Owned(format!("⟨U+{:04X}⟩", u32::from(c))) }
}

/// The text with what is hidden in it shown; line breaks and tabs stay.
pub fn shown(text: &str) -> Cow<'_, str> {
    replacing(text, |_| false, sign)
}

/// [`shown`] on one line: a line break or a tab is a blank.
pub fn shown_on_a_line(text: &str) -> Cow<'_, str> {
    match shown(text) {
        text if !text.contains(['\n', '\t']) => text,
        text => Cow::Owned(text.replace(['\n', '\t'], " ")),
    }
}

/// JSON with what is hidden in it escaped, as JSON allows and does not ask for. The value is the same.
pub fn in_json(text: String) -> String {
    let escape = |c: char| {
        let mut units = [0; 2];
        c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
    };
    // Outside of its strings there is nothing hidden.
    match replacing(&text, |_| false, escape) {
        Cow::Owned(escaped) => escaped,
        Cow::Borrowed(_) => text,
    }
}

/// [`shown`], but for the codes of colours that begin where `is_ours` says so of the rest of the text.
pub fn shown_but(text: &str, is_ours: impl Fn(&str) -> bool) -> Cow<'_, str> {
    replacing(text, is_ours, sign)
}

fn replacing(text: &str, is_kept: impl Fn(&str) -> bool, sign: impl Fn(char) -> Cow<'static, str>) -> Cow<'_, str> {
    if text.bytes().all(|b| matches!(b, b' '..=b'~' | b'\n' | b'\t')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let (mut copied, mut before) = (0, None);
    for (at, c) in text.char_indices() {
        if is_hidden(before, c) && !is_kept(&text[at..]) {
            out.push_str(&text[copied..at]);
            out.push_str(&sign(c));
            copied = at + c.len_utf8();
        }
        before = Some(c);
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// A stream that people read: what is written to it is [`shown`].
#[derive(Debug)]
pub struct Screen<W>(pub W);

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(shown(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_or_steers_a_terminal_is_shown() {
        for (text, expected) in [
            ("plain\n\tñ 日本 עברית", "plain\n\tñ 日本 עברית"),
            ("a\u{1b}[31m\u{7}\u{7f}\u{9b}2J\rb\u{b}\u{85}", "a·[31m···2J·b··"),
            ("a\u{202e}b\u{2066}\u{200e}\u{200f}\u{61c}", "a⟨U+202E⟩b⟨U+2066⟩⟨U+200E⟩⟨U+200F⟩⟨U+061C⟩"),
            ("a\u{200b}b\u{feff}\u{2028}\u{ad}", "a⟨U+200B⟩b⟨U+FEFF⟩⟨U+2028⟩⟨U+00AD⟩"),
            ("\u{e0041}\u{e007f}", "⟨U+E0041⟩⟨U+E007F⟩"),
            // Emoji and letters that are joined stay as they are; the same characters between others carry something.
            (
                "👩\u{200d}👧 ❤\u{fe0f}\u{200d}🔥 ⚠\u{fe0f} 1\u{fe0f} می\u{200c}خواهم",
                "👩\u{200d}👧 ❤\u{fe0f}\u{200d}🔥 ⚠\u{fe0f} 1\u{fe0f} می\u{200c}خواهم",
            ),
            ("a\u{200d}b\u{fe0f}\u{fe0f}", "a⟨U+200D⟩b⟨U+FE0F⟩⟨U+FE0F⟩"),
            ("😀\u{fe0f}\u{fe0f}\u{fe01}\u{e0101}", "😀\u{fe0f}⟨U+FE0F⟩⟨U+FE01⟩⟨U+E0101⟩"),
        ] {
            assert_eq!(shown(text), expected);
            // What was shown is as it should be seen.
            assert_eq!(shown(&shown(text)), expected);
        }
        assert_eq!(shown_on_a_line("a\nb\tc\u{7}"), "a b c·");
        assert_eq!(shown_but("\u{1b}[1mx\u{1b}[2J", |rest| rest.starts_with("\u{1b}[1m")), "\u{1b}[1mx·[2J");
        let mut screen = Screen(Vec::new());
        screen.write_all("a\u{202e}\u{1b}c".as_bytes()).unwrap();
        assert_eq!(screen.0, "a⟨U+202E⟩·c".as_bytes());
    }

    #[test]
    fn json_keeps_its_value() {
        let value = "a\u{7f}\u{9b}31m\u{202e}\u{e0041}\n\"é👩\u{200d}👧";
        let text = in_json(serde_json::to_string(value).unwrap());
        assert_eq!(text, "\"a\\u007f\\u009b31m\\u202e\\udb40\\udc41\\n\\\"é👩\u{200d}👧\"");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
    }
}
