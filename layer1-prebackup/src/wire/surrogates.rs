//! Half a character in JSON text: `\ud83d` without its other half. Claude Code writes it where it
//! cuts a text in the middle of an emoji. JavaScript reads it, serde_json refuses the whole value.

use std::borrow::Cow;

const ESCAPE_BYTES: usize = 6;
const REPLACEMENT: &[u8; ESCAPE_BYTES] = b"\\ufffd";

/// Whether there is an escape that [`replace_lone`] would have to look at; quick, and true for
/// whole pairs too.
pub fn may_be_in(json: &str) -> bool {
    // Most texts have no escape of this kind at all.
    json.contains("\\u") && (json.contains("\\ud") || json.contains("\\uD"))
}

/// The text with [`replace_lone`] done to it.
pub(crate) fn without_lone(json: Cow<'_, str>) -> Cow<'_, str> {
    if !may_be_in(&json) {
        return json;
    }
    let mut bytes = json.into_owned().into_bytes();
    replace_lone(&mut bytes);
    // ASCII was put for ASCII, so it is text still.
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// Replaces every surrogate escape that has no other half by that of U+FFFD, which is as long, so
/// that no offset changes. Whole pairs and escaped backslashes stay.
pub fn replace_lone(json: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = json[at..].iter().position(|byte| *byte == b'\\') {
        at += found;
        at += match (unit_at(json, at), unit_at(json, at + ESCAPE_BYTES)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 2 * ESCAPE_BYTES,
            (Some(0xd800..=0xdfff), _) => {
                json[at..at + ESCAPE_BYTES].copy_from_slice(REPLACEMENT);
                ESCAPE_BYTES
            }
            (Some(_), _) => ESCAPE_BYTES,
            // Another escape: what follows the backslash is not the start of one.
            (None, _) => 2,
        };
        at = at.min(json.len());
    }
}

/// The UTF-16 unit of the `\uXXXX` that begins at `at`.
fn unit_at(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + ESCAPE_BYTES)?.strip_prefix(b"\\u")?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: &str) {
        let mut bytes = json.as_bytes().to_vec();
        replace_lone(&mut bytes);
        assert_eq!(std::str::from_utf8(&bytes).unwrap(), expected);
        assert!(json == expected || may_be_in(json));
    }

    #[test]
    fn only_halves_without_their_other_half_are_replaced() {
        check(r#""\ud83d""#, r#""\ufffd""#);
        check(r#""\uD83Dx\udc00""#, r#""\ufffdx\ufffd""#);
        check(r#""\ud83d\ud83d\ude00\ude00""#, r#""\ufffd\ud83d\ude00\ufffd""#);
        check(r#""a\\ud83d \u00e9 \n\\""#, r#""a\\ud83d \u00e9 \n\\""#);
        for torn in [r"\", r"\u", r"\ud8", r"\ud83g", r"\\", r"\ud83d\", ""] {
            let mut bytes = torn.as_bytes().to_vec();
            replace_lone(&mut bytes);
            assert_eq!(bytes.len(), torn.len());
        }
    }
}
