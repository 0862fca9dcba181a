//! Secrets that are known by their form: the table `tokens.txt`, read once, and what it matches.

use std::ops::Range;

/// Where a row begins that goes on in the next line of a terminal: what may stand before the rest.
const WRAP: &[char] = &[' ', '\t', '│', '|', '>', '+'];
/// Least characters of a token before it is broken, and of one whose rest was cut off.
const BROKEN_MIN: usize = 4;
/// Longest token.
const TOKEN_BYTES_MAX: usize = 4096;

/// From so many of the same few characters on, nothing else is looked for within.
const FILLED_BYTES_MIN: usize = 200;
/// Characters of base64 in a row, behind which nothing begins.
const BASE64_BYTES: usize = 20;

const TABLE: &str = include_str!("tokens.txt");

/// A row of the table.
#[derive(Debug)]
pub(super) struct Rule {
    /// What the secret is.
    pub(super) kind: &'static str,
    /// How it begins.
    pub(super) prefixes: Vec<&'static str>,
    pieces: Vec<Piece>,
    before: Option<Run>,
    left: Left,
    mix: Mix,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Any,
    NoLetter,
    Apart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mix {
    Any,
    Digits,
    Cases,
}

#[derive(Debug)]
enum Piece {
    Run(Run),
    Text(&'static str),
}

/// So many characters of a set.
#[derive(Debug, Clone, Copy)]
struct Run {
    set: u8,
    least: usize,
    /// As many as there commonly are.
    usual: usize,
    /// Whether there are never more.
    exact: bool,
}

impl Run {
    fn holds(self, b: u8) -> bool {
        match self.set {
            b'd' => b.is_ascii_digit(),
            b'h' => b.is_ascii_hexdigit(),
            b'u' => b.is_ascii_uppercase() || b.is_ascii_digit(),
            b'l' => b.is_ascii_lowercase() || b.is_ascii_digit(),
            b'a' => b.is_ascii_alphanumeric(),
            b'w' => b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'),
            b'p' => b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'~'),
            b'b' => b.is_ascii_alphanumeric() || b"_-+/=".contains(&b),
            b'c' => b.is_ascii_alphanumeric() || b"+/".contains(&b),
            _ => b.is_ascii_graphic() && !b"\"'`<>\\,;()[]{}&|".contains(&b),
        }
    }

    fn length(self, bytes: &[u8]) -> usize {
        bytes.iter().take(TOKEN_BYTES_MAX).take_while(|b| self.holds(**b)).count()
    }
}

/// All rows.
pub(super) fn rules() -> Vec<Rule> {
    TABLE.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(rule).collect()
}

fn rule(line: &'static str) -> Rule {
    let mut parts = line.split(" ; ").map(|part| part.trim_end_matches(" ;").trim());
    let mut part = || parts.next().unwrap_or("");
    let (kind, prefixes, pieces, more) = (part(), part(), part(), part());
    let word = |word: &str| more.split(' ').any(|one| one == word);
    let before = more.split(' ').find_map(|one| one.strip_prefix('<')).map(|before| {
        let (least, most) = before[1..].split_once('-').expect("two numbers");
        let number = |text: &str| text.parse().expect("a number");
        Run { set: before.as_bytes()[0], least: number(least), usual: number(most), exact: true }
    });
    Rule {
        kind,
        prefixes: prefixes.split(' ').collect(),
        pieces: pieces.split(' ').filter(|piece| !piece.is_empty()).map(piece).collect(),
        before,
        left: if word("any") {
            Left::Any
        } else if word("apart") {
            Left::Apart
        } else {
            Left::NoLetter
        },
        mix: if word("Mix") {
            Mix::Cases
        } else if word("mix") {
            Mix::Digits
        } else {
            Mix::Any
        },
    }
}

fn piece(text: &'static str) -> Piece {
    if let Some(text) = text.strip_prefix('\'') {
        return Piece::Text(text.trim_end_matches('\''));
    }
    let numbers = text[1..].trim_end_matches('!');
    let (least, usual) = numbers.split_once('/').unwrap_or((numbers, numbers));
    let number = |text: &str| text.parse().expect("a number");
    Piece::Run(Run { set: text.as_bytes()[0], least: number(least), usual: number(usual), exact: text.ends_with('!') })
}

impl Rule {
    /// The token whose beginning stands there, in the parts that it was broken into. What only fills a place moves
    /// `passed` to its end: no other begins within.
    pub(super) fn find(&self, text: &str, prefix: Range<usize>, passed: &mut usize) -> Option<Vec<Range<usize>>> {
        let bytes = text.as_bytes();
        let start = match self.before {
            None => prefix.start,
            Some(run) => {
                let before = bytes[..prefix.start].iter().rev().take(run.usual + 1);
                let mut length = before.take_while(|b| run.holds(**b)).count();
                // The mark of a diff is none of it.
                length -= usize::from(length > 0 && bytes[prefix.start - length] == b'+');
                if length < run.least || length > run.usual {
                    return None;
                }
                prefix.start - length
            }
        };
        let is_free = match self.left {
            Left::Any => true,
            Left::NoLetter => is_apart(bytes, start, u8::is_ascii_alphabetic),
            Left::Apart => {
                is_apart(bytes, start, |b| b.is_ascii_alphanumeric() || b"_-".contains(b))
                    && !is_in_base64(&bytes[..start])
            }
        };
        if !is_free {
            return None;
        }
        let (end, more) = self.rest(text, prefix.end)?;
        let secret = &bytes[if self.before.is_some() { start } else { prefix.end }..end];
        let is_enough = match self.mix {
            _ if !more.is_empty() => true,
            Mix::Any => true,
            Mix::Digits => secret.iter().any(u8::is_ascii_digit) && secret.iter().any(u8::is_ascii_alphabetic),
            Mix::Cases => {
                secret.iter().any(u8::is_ascii_digit)
                    && secret.iter().any(u8::is_ascii_lowercase)
                    && secret.iter().any(u8::is_ascii_uppercase)
            }
        };
        let is_filled_in = secret.len() < 8 || different(secret) >= 5;
        if !is_filled_in && secret.len() > FILLED_BYTES_MIN {
            *passed = end;
        }
        (is_enough && is_filled_in).then(|| std::iter::once(start..end).chain(more).collect())
    }

    /// Where the token ends, and the parts of it that a terminal put into the next lines.
    fn rest(&self, text: &str, from: usize) -> Option<(usize, Vec<Range<usize>>)> {
        let bytes = text.as_bytes();
        let mut at = from;
        for (n, piece) in self.pieces.iter().enumerate() {
            let run = match piece {
                Piece::Text(text) if bytes[at..].starts_with(text.as_bytes()) => {
                    at += text.len();
                    continue;
                }
                Piece::Text(_) => return None,
                Piece::Run(run) => *run,
            };
            let mut length = run.length(&bytes[at..]);
            if let Some(Piece::Text(next)) = self.pieces.get(n + 1) {
                // What comes next may consist of the same characters.
                let most = (at + length + next.len()).min(bytes.len());
                let next = memchr::memmem::find(bytes.get(at + run.least..most)?, next.as_bytes())?;
                at += run.least + next;
                continue;
            }
            if length >= run.least && !(run.exact && length > run.usual) {
                // The point at the end of a sentence.
                while length > run.least && matches!(bytes[at + length - 1], b'.' | b'-' | b':' | b'!' | b'?') {
                    length -= 1;
                }
                let end = at + length;
                let is_whole = run.least == run.usual;
                let more = if is_whole { Vec::new() } else { self.wrapped(text, end, run, length)? };
                return Some((end, more));
            }
            if length > run.least || length < BROKEN_MIN.min(run.least) {
                return None;
            }
            let end = at + length;
            let is_cut =
                text[end..].starts_with('…') || (text[end..].starts_with("...") && from > at - BROKEN_MIN.min(at));
            if is_cut && different(&bytes[at..end]) >= 3 {
                return Some((end, Vec::new()));
            }
            let more = self.wrapped(text, end, run, length)?;
            return (!more.is_empty()).then_some((end, more));
        }
        Some((at, Vec::new()))
    }

    /// What the next lines hold of a token of which so much stands at the end of a line.
    fn wrapped(&self, text: &str, end: usize, run: Run, mut length: usize) -> Option<Vec<Range<usize>>> {
        let mut parts = Vec::new();
        let mut at = end;
        while length < run.usual {
            let Some(next) = text[at..].strip_prefix("\r\n").or_else(|| text[at..].strip_prefix('\n')) else { break };
            let line = next.trim_start_matches(WRAP);
            let from = text.len() - line.len();
            let more = run.length(&line.as_bytes()[..line.len().min(run.usual - length + 1)]);
            let part = &text.as_bytes()[from..from + more];
            let is_odd = more >= 12 || part.iter().any(u8::is_ascii_digit);
            let is_rest = (length + more == run.usual && is_odd)
                || (length + more < run.usual
                    && more >= 16
                    && part.iter().any(u8::is_ascii_digit)
                    && different(part) > 8);
            if !is_rest {
                break;
            }
            parts.push(from..from + more);
            length += more;
            at = from + more;
        }
        (length >= run.least || !parts.is_empty()).then_some(parts)
    }

    /// One of each beginning, made of these numbers.
    #[cfg(test)]
    pub(super) fn examples(&self, random: &mut impl FnMut() -> usize) -> Vec<String> {
        let mut text_of = |run: Run| -> String {
            let all: Vec<char> =
                (b'-'..=b'z').filter(|b| run.holds(*b) && b.is_ascii_alphanumeric()).map(char::from).collect();
            let lower = |c: &char| c.is_ascii_lowercase();
            // A digit, a small letter and a capital at least, where there are such.
            let first: Vec<char> = [
                all.iter().find(|c| c.is_ascii_digit()),
                all.iter().find(|c| lower(c)),
                all.iter().find(|c| c.is_ascii_uppercase()),
            ]
            .into_iter()
            .flatten()
            .copied()
            .collect();
            let small = |c: char| if run.set == b'h' { c.to_ascii_lowercase() } else { c };
            (0..run.usual)
                .map(|n| small(if n < 3 && run.usual > 8 { first[n % first.len()] } else { all[random() % all.len()] }))
                .collect()
        };
        let of = |prefix: &&'static str| {
            let mut token = self.before.map(&mut text_of).unwrap_or_default();
            token.push_str(prefix);
            for piece in &self.pieces {
                match piece {
                    Piece::Text(text) => token.push_str(text),
                    Piece::Run(run) => token.push_str(&text_of(*run)),
                }
            }
            token
        };
        self.prefixes.iter().map(of).collect()
    }
}

/// Whether nothing of this kind stands before a token. What is left of a colour code (`[1m`, its control character
/// gone) is no part of it.
fn is_apart(bytes: &[u8], at: usize, joins: impl Fn(&u8) -> bool) -> bool {
    let before = &bytes[..at];
    if !before.last().is_some_and(joins) {
        return true;
    }
    let Some(code) = before.strip_suffix(b"m") else { return false };
    let digits = code.iter().rev().take(12).take_while(|b| b.is_ascii_digit() || **b == b';').count();
    code[..code.len() - digits].ends_with(b"[")
}

/// Whether what stands before is base64 that goes on, rather than a path.
fn is_in_base64(before: &[u8]) -> bool {
    let near = &before[before.len().saturating_sub(BASE64_BYTES)..];
    (before.ends_with(b"+") && near.len() > 1 && near[near.len() - 2].is_ascii_alphanumeric())
        || (before.ends_with(b"/")
            && near.len() == BASE64_BYTES
            && near.iter().all(|b| b.is_ascii_alphanumeric() || b"+/".contains(b)))
}

/// How many different characters there are.
pub(super) fn different(bytes: &[u8]) -> u32 {
    let mut seen = [0u64; 4];
    bytes.iter().for_each(|b| seen[usize::from(b >> 6)] |= 1 << (b & 63));
    seen.iter().map(|part| part.count_ones()).sum()
}
