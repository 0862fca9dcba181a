//! Secrets that were put into base64 or into hexadecimal digits: decoded, and looked through.

use std::ops::Range;

/// Shortest and longest run that is decoded; pictures are longer, and no text.
const RUN_BYTES_MIN: usize = 20;
const RUN_BYTES_MAX: usize = 256 * 1024;
/// What is decoded first, to see whether it is a text.
const SAMPLE_BYTES: usize = 32;
/// Lengths of lines that base64 is broken into.
const LINES: [usize; 3] = [60, 64, 76];

/// A run of characters that may be base64 or digits, and the text that it stands for.
pub(super) struct Encoded {
    pub(super) at: Range<usize>,
    pub(super) text: String,
}

/// Every run of it that is a text.
pub(super) fn texts(text: &str, each: &mut dyn FnMut(Encoded)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !IS_IN[usize::from(bytes[at])] {
            at += 1;
            continue;
        }
        let start = at;
        let mut line = at;
        while at < bytes.len() {
            if IS_IN[usize::from(bytes[at])] {
                at += 1;
                continue;
            }
            let next = at + 1 + usize::from(bytes[at..].starts_with(b"\r\n"));
            let goes_on = matches!(bytes[at], b'\n' | b'\r')
                && LINES.contains(&(at - line))
                && bytes.get(next).is_some_and(|b| IS_IN[usize::from(*b)]);
            if !goes_on {
                break;
            }
            at = next;
            line = next;
        }
        if (RUN_BYTES_MIN..=RUN_BYTES_MAX).contains(&(at - start))
            && let Some((behind, text)) = decoded(&bytes[start..at])
        {
            each(Encoded { at: start + behind..at, text });
        }
    }
}

static IS_IN: [bool; 256] = {
    let mut is_in = [false; 256];
    let mut b = 0;
    while b < 256 {
        let c = b as u8;
        is_in[b] = c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'_' | b'-' | b'=');
        b += 1;
    }
    is_in
};

/// The text, if it is one, and where it begins in the run: a name may stand before it.
fn decoded(run: &[u8]) -> Option<(usize, String)> {
    let behind = run.iter().position(|b| *b == b'=').filter(|at| run.len() - at > 4).map_or(0, |equals| equals + 1);
    let run = &run[behind..];
    let is_hex = run.iter().take(SAMPLE_BYTES).all(u8::is_ascii_hexdigit);
    let unit = if is_hex { 2 } else { 4 };
    let of = |run| if is_hex { from_hex(run) } else { from_base64(run) };
    let sample = &run[..run.len().min(SAMPLE_BYTES) / unit * unit];
    if sample.len() < RUN_BYTES_MIN / unit * unit || !is_text(&of(sample)?) {
        return None;
    }
    let bytes = of(run)?;
    // PowerShell's is in UTF-16.
    let text = || String::from_utf8(bytes.iter().copied().filter(|b| *b != 0).collect()).ok();
    is_text(&bytes).then(|| Some((behind, text()?)))?
}

fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| b.is_ascii_graphic() || matches!(b, b' ' | b'\n' | b'\r' | b'\t' | 0) || *b >= 0x80)
        && bytes.iter().filter(|b| **b >= 0x80).count() * 4 <= bytes.len()
}

fn from_hex(run: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let digits: Vec<u32> = run.iter().filter(|b| !b.is_ascii_whitespace()).map(|b| digit(*b)).collect::<Option<_>>()?;
    Some(digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

fn from_base64(run: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(run.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0);
    for b in run {
        let value = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'\n' | b'\r' => continue,
            _ => break,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
pub(super) fn to_base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = (0..3).fold(0u32, |bits, n| bits << 8 | u32::from(chunk.get(n).copied().unwrap_or(0)));
        for n in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * n) & 63) as usize];
            out.push(if n <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}
