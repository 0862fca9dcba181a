//! Secrets that stand behind words that are no name: the table `phrases.txt`, read once, and what it matches.

use std::ops::Range;

use super::found::Found;
use super::names::{is_no_value, is_random, is_words};

/// Longest secret, and longest line.
const SECRET_BYTES_MAX: usize = 1024;
/// Most lines of a block, and between what it is and where its values begin.
const LINES_MAX: usize = 400;
/// How far a block is looked for and through.
const BLOCK_BYTES_MAX: usize = 16 * 1024;
/// How far above what is typed its prompt stands, and how far before a secret its statement begins.
const PROMPT_BYTES_MAX: usize = 300;
/// Statements of databases in which a word is a secret too.
const STATEMENTS: [&str; 5] = ["create user", "alter user", "grant ", "create role", "alter role"];
/// What a prompt for a secret says.
const PROMPTS: [&str; 5] = ["assword", "assphrase", "asswort", "PIN", "asscode"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Word,
    Field(char),
    Block,
    Sent,
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Phrase {
    pub(super) kind: &'static str,
    pub(super) words: Vec<&'static str>,
    ends: Ends,
}

/// All rows.
pub(super) fn phrases() -> Vec<Phrase> {
    let lines = include_str!("phrases.txt").lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut parts = line.splitn(3, " ; ");
            let (kind, ends, words) = (parts.next()?, parts.next()?, parts.next()?);
            let ends = match ends {
                "block" => Ends::Block,
                "sent" => Ends::Sent,
                field if field.starts_with("field ") => Ends::Field(field.chars().next_back()?),
                _ => Ends::Word,
            };
            Some(Phrase { kind, words: words.split('|').collect(), ends })
        })
        .collect()
}

impl Phrase {
    /// The secrets behind the words that stand there. A block that was gone through moves `done` behind it.
    pub(super) fn find(&self, text: &str, words: Range<usize>, done: &mut usize, found: &mut Vec<Found>) {
        let value = match self.ends {
            Ends::Word => word(text, words),
            Ends::Field(name) => field(text, words.end, name),
            Ends::Sent => sent(text, words),
            Ends::Block if words.start < *done => None,
            Ends::Block => {
                *done = block(text, words, self.kind, found);
                None
            }
        };
        let is_one = |value: &Range<usize>| {
            let value = &text[value.clone()];
            !is_no_value(value) && !value.starts_with(['$', '<', '{', '(', ':', '@', '?']) && value.len() > 2
        };
        found.extend(value.filter(is_one).map(|value| Found::named(self.kind, value)));
    }
}

fn length_until(text: &str, from: usize, is_end: impl Fn(char) -> bool) -> usize {
    text[from..]
        .char_indices()
        .take(SECRET_BYTES_MAX)
        .find(|(_, c)| is_end(*c))
        .map_or_else(|| text[from..].chars().take(SECRET_BYTES_MAX).map(char::len_utf8).sum(), |(length, _)| length)
}

/// The next word: between quotes, or random; a word of a language only in a statement.
fn word(text: &str, words: Range<usize>) -> Option<Range<usize>> {
    let from = text.len() - text[words.end..].trim_start_matches([' ', '\\']).len();
    let quote = text[from..].chars().next()?;
    if matches!(quote, '\'' | '"' | '`') {
        let value = from + 1..from + 1 + length_until(text, from + 1, |c| c == quote || c == '\n' || c == '\\');
        let before = before(text, words.start).to_ascii_lowercase();
        let is_stated = STATEMENTS.iter().any(|statement| before.contains(statement));
        return (is_stated || !is_words(&text[value.clone()])).then_some(value);
    }
    let length = length_until(text, from, |c| c.is_whitespace() || ";,\"'`\\<>)".contains(c));
    is_random(&text[from..from + length]).then_some(from..from + length)
}

/// `WIFI:T:WPA;S:net;P:secret;;`: what is behind `;P:`, up to the next sign without a backslash before it.
fn field(text: &str, from: usize, name: char) -> Option<Range<usize>> {
    let all = &text[from..from + length_until(text, from, |c| c.is_control() || "\"'`<>".contains(c))];
    let mut at = 0;
    loop {
        let is_it = all[at..].starts_with(name) && all[at + name.len_utf8()..].starts_with(':');
        let is_end = |(at, c): &(usize, char)| *c == ';' && !all[..*at].ends_with('\\');
        let end = all.char_indices().skip_while(|(n, _)| *n < at).find(is_end).map(|(end, _)| end);
        if is_it {
            return Some(from + at + 2..from + end.unwrap_or(all.len()));
        }
        at = end? + 1;
    }
}

/// What stands before a place, as far as one looks.
fn before(text: &str, at: usize) -> &str {
    let from = (at.saturating_sub(PROMPT_BYTES_MAX)..=at).find(|from| text.is_char_boundary(*from)).unwrap_or(at);
    &text[from..at]
}

/// What is typed behind a prompt for a secret, or looks random, up to the end of its line.
fn sent(text: &str, words: Range<usize>) -> Option<Range<usize>> {
    let from = words.end;
    let length = length_until(text, from, |c| c.is_control() || "\"'}\\".contains(c));
    let value = &text[from..from + length];
    let is_typed =
        ["\\r", "\\n", "\r", "\n", "\\\\r", "\"", "'"].iter().any(|end| text[from + length..].starts_with(end));
    let asked = before(text, words.start).rsplit_once("expect").map_or("", |(_, asked)| asked);
    let is_asked = PROMPTS.iter().any(|prompt| asked.contains(prompt));
    let is_one = is_typed && !value.contains(' ') && (is_random(value) || is_asked && value.len() > 3);
    is_one.then_some(from..from + length)
}

/// Every value of a block of YAML or JSON; where it ends.
fn block(text: &str, words: Range<usize>, kind: &'static str, found: &mut Vec<Found>) -> usize {
    let mut from = words.end;
    if !text[words].eq_ignore_ascii_case("stringData") {
        // Its data stand below, of one document.
        let is_whole = !text.as_bytes().get(from).is_some_and(u8::is_ascii_alphanumeric);
        let Some(data) = is_whole.then(|| data_below(text, from).or_else(|| data_above(text, from))).flatten() else {
            return from;
        };
        from = data;
    }
    let rest = text[from..].trim_start_matches(['"', '\'', ':', ' ']);
    if rest.starts_with('{') {
        return braces(text, text.len() - rest.len(), kind, found);
    }
    let start = memchr::memrchr(b'\n', &text.as_bytes()[..from]).map_or(0, |newline| newline + 1);
    let base = indent(&text[start..from]).1;
    let Some(mut at) = memchr::memchr(b'\n', &text.as_bytes()[from..]).map(|length| from + length + 1) else {
        return from;
    };
    // Lines of a value that goes on are indented further than its name.
    let mut goes_on: Option<usize> = None;
    for line in near(text, at).split_inclusive('\n').take(LINES_MAX) {
        let (marks, deep) = indent(line);
        let this = line[marks..].trim_end();
        let value = match goes_on {
            Some(name) if deep > name => Some(this),
            _ if deep <= base || this.is_empty() => break,
            _ => {
                let Some((_, value)) = this.split_once(':') else { break };
                let value = value.trim_start();
                let is_more = value.is_empty() || value.starts_with(['|', '>']) && value.len() < 4;
                goes_on = is_more.then_some(deep);
                (!is_more).then(|| value.trim_start_matches(['"', '\'']).trim_end_matches(['"', '\'']))
            }
        };
        if let Some(value) = value.filter(|value| !is_no_value(value) && value.len() > 2) {
            let start = at + (value.as_ptr() as usize - line.as_ptr() as usize);
            found.push(Found::named(kind, start..start + value.len()));
        }
        at += line.len();
    }
    at
}

/// Behind the `data:` of the document that goes on here.
fn data_below(text: &str, from: usize) -> Option<usize> {
    let mut at = from;
    for line in near(text, from).split_inclusive('\n').take(LINES_MAX) {
        let this = &line[indent(line).0..];
        if this.starts_with("---") || this.starts_with("kind:") {
            return None;
        }
        if let Some(data) = ["data:", "\"data\":", "\"data\" :"].iter().find_map(|data| {
            let is_key = this.starts_with(data) || data.starts_with('"') && this.contains(data);
            is_key.then(|| this.find(data).map(|found| found + data.len())).flatten()
        }) {
            return Some(at + (line.len() - this.len()) + data);
        }
        at += line.len();
    }
    None
}

/// Behind the `data:` of the document that ends here, as `kubectl get` prints it.
fn data_above(text: &str, at: usize) -> Option<usize> {
    let from = (at.saturating_sub(BLOCK_BYTES_MAX)..=at).find(|from| text.is_char_boundary(*from))?;
    let above = text[from..at].rsplit("---").next()?;
    let lines = above.split_inclusive('\n').scan(at - above.len(), |end, line| {
        *end += line.len();
        Some((*end, &line[indent(line).0..]))
    });
    let data = lines.filter(|(_, line)| line.starts_with("data:")).last();
    data.map(|(end, line)| end - line.len() + "data:".len())
}

fn near(text: &str, from: usize) -> &str {
    let most = text.len().min(from + BLOCK_BYTES_MAX);
    &text[from..(from..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(from)]
}

/// The values between braces, each in quotes.
fn braces(text: &str, open: usize, kind: &'static str, found: &mut Vec<Found>) -> usize {
    let bytes = &text.as_bytes()[..open + near(text, open).len()];
    let (mut at, mut is_value) = (open + 1, false);
    for _ in 0..LINES_MAX {
        let Some(next) = bytes[at..].iter().position(|b| b"\"':},".contains(b)).map(|next| at + next) else { break };
        match bytes[next] {
            b'}' => return next,
            b':' => is_value = true,
            b',' => is_value = false,
            quote => {
                let length = length_until(text, next + 1, |c| c == char::from(quote) || c.is_control());
                let value = next + 1..next + 1 + length;
                if is_value && length > 2 && !is_no_value(&text[value.clone()]) {
                    found.push(Found::named(kind, value));
                }
                at = (next + 2 + length).min(bytes.len());
                continue;
            }
        }
        at = next + 1;
    }
    at
}

/// How far the text of a line is indented behind marks of a diff or numbers of lines: where it begins, and how deep.
fn indent(line: &str) -> (usize, usize) {
    let numbered = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix('→');
    let bare = numbered.or_else(|| line.strip_prefix(['+', '>'])).unwrap_or(line);
    let text = bare.trim_start_matches(' ');
    (line.len() - text.len(), bare.len() - text.len())
}
