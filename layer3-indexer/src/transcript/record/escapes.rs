//! Control sequences of terminals in what programs printed: colours, places of the cursor, titles of windows. Nobody reads
//! or searches for them, and a word that follows one is a word.

use std::borrow::Cow;

/// The text without them; where a link leads stands behind its words. What only begins like one stays.
pub(super) fn without_escapes(text: Cow<'_, str>) -> Cow<'_, str> {
    if memchr::memchr2(0x1b, 0xc2, text.as_bytes()).is_none() || !text.contains(['\u{1b}', '\u{9b}']) {
        return text;
    }
    let (mut kept, mut rest) = (String::with_capacity(text.len()), &*text);
    let mut link: Option<(&str, usize)> = None;
    while let Some(at) = rest.find(['\u{1b}', '\u{9b}']) {
        kept.push_str(&rest[..at]);
        rest = &rest[at..];
        match sequence(rest) {
            Some(bytes) => {
                if let Some(address) = address(&rest[..bytes]) {
                    end_link(&mut kept, link);
                    link = (!address.is_empty()).then_some((address, kept.len()));
                }
                rest = &rest[bytes..];
            }
            None => {
                let first = rest.chars().next().map_or(0, char::len_utf8);
                kept.push_str(&rest[..first]);
                rest = &rest[first..];
            }
        }
    }
    kept.push_str(rest);
    end_link(&mut kept, link);
    Cow::Owned(kept)
}

/// Where the link leads that a sequence begins; empty where it ends one, `None` of any other sequence.
fn address(sequence: &str) -> Option<&str> {
    let (_, address) = sequence.strip_prefix("\u{1b}]8;")?.split_once(';')?;
    Some(address.trim_end_matches(['\u{7}', '\u{1b}', '\\']))
}

/// Adds where a link leads, behind its words; they may say it themselves.
fn end_link(kept: &mut String, link: Option<(&str, usize)>) {
    if let Some((address, _)) = link.filter(|(address, from)| !kept[*from..].contains(address)) {
        kept.push_str(&format!(" ({address})"));
    }
}

/// How many bytes the sequence has that the text begins with (ECMA-48).
fn sequence(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let control = |from: usize| {
        let parameters = bytes[from..].iter().take_while(|byte| (0x20..=0x3f).contains(*byte)).count();
        let end = from + parameters;
        bytes.get(end).filter(|byte| (0x40..=0x7e).contains(*byte)).map(|_| end + 1)
    };
    match *bytes {
        [0x1b, b'[', ..] => control(2),
        // One character for both.
        [0xc2, 0x9b, ..] => control(2),
        // A text that a bell or `ESC \` ends: a title, where a link leads.
        [0x1b, b']' | b'P' | b'_' | b'^' | b'X', ..] => {
            let end = text[2..].find(['\u{7}', '\u{1b}'])? + 2;
            match &bytes[end..] {
                [7, ..] => Some(end + 1),
                [0x1b, b'\\', ..] => Some(end + 2),
                _ => None,
            }
        }
        [0x1b, b'(' | b')' | b'#', _, ..] => Some(3).filter(|bytes| text.is_char_boundary(*bytes)),
        [0x1b, b'0'..=b'~', ..] => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_words_are_left() {
        for (text, expected) in [
            ("plain é", "plain é"),
            ("\u{1b}[1mbold\u{1b}[22m and \u{1b}[38;5;196mred\u{1b}[39m.", "bold and red."),
            ("a\u{9b}31mb", "ab"),
            ("\u{1b}[2K\u{1b}[1Gline", "line"),
            ("\u{1b}]0;title\u{7}shown", "shown"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\, b", "link (http://x), b"),
            ("\u{1b}]8;id=1;http://x\u{7}a\u{1b}]8;;http://y\u{7}b", "a (http://x)b (http://y)"),
            ("\u{1b}]8;;http://x\u{7}\u{1b}[1mhttp://x/\u{1b}]8;;\u{7}", "http://x/"),
            ("\u{1b}(Bx\u{1b}7y\u{1b}=z", "xyz"),
            ("\u{1b}[1m\u{1b}[mé\u{1b}[?25l", "é"),
            // What is cut off, or none.
            ("end\u{1b}", "end\u{1b}"),
            ("end\u{1b}[1;", "end\u{1b}[1;"),
            ("a\u{1b}]0;no end", "a\u{1b}]0;no end"),
            ("a\u{1b}\u{e9}b", "a\u{1b}\u{e9}b"),
            ("a\u{1b}(\u{e9}b", "a\u{1b}(\u{e9}b"),
        ] {
            assert_eq!(without_escapes(Cow::Borrowed(text)), expected, "{text:?}");
        }
    }
}
