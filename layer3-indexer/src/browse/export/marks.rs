//! Which marks of Markdown stay in a page as they were typed.
//!
//! A person, a hook or a program means `C:\Users\.claude`, `__init__` and `2*3*4` as they stand: of what these say, no backslash
//! and no reference is taken away, `_` and a single `~` emphasize nothing, and neither does what touches a word. Of what a model
//! writes, a backslash goes where it takes a meaning from what stands behind it: before `*`, `_`, a backtick, `~` or `|`, before
//! `<` and `&` where a tag or a reference would begin, and at the beginning of a line before what would begin a heading, a list or
//! a quotation there. Behind a letter, a digit, `:` or another backslash it may be of a path and stays, unless it belongs to one
//! that went before: `\*so\*`. Everywhere `__name__` is a name, and `*` between words multiplies or matches.

use std::ops::Range;

use unicode_width::UnicodeWidthChar;

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 80;

/// Who wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// Markdown is meant.
    Model,
    /// It may be.
    Other,
}

/// The mark of an emphasis that is none: `span` is where it stands in the text, marks and all.
pub(super) fn literal(text: &str, span: Range<usize>, voice: Voice) -> Option<&'static str> {
    let (before, inside, behind) = (&text[..span.start], &text[span.clone()], &text[span.end..]);
    let first = inside.chars().next()?;
    let is_double = inside[1..].starts_with(first);
    let mark = match (first, is_double) {
        ('*', false) => "*",
        ('*', true) => "**",
        ('_', false) => "_",
        ('_', true) => "__",
        ('~', false) => "~",
        _ => "~~",
    };
    let is_other = voice == Voice::Other;
    let one = ends_in_word(before) || begins_in_word(behind);
    let both = ends_in_word(before) && begins_in_word(behind);
    // Between blanks, all is one word to a person.
    let is_within = is_other && (one || has_word(before.chars().rev()) || has_word(behind.chars()));
    let starts_with = |marks: &str| inside[mark.len()..].starts_with(|c| marks.contains(c));
    let is_literal = match mark {
        "_" | "__" => is_other || one || (is_double && is_name(inside)),
        "~" => true,
        "~~" => is_within,
        _ => both || is_within || starts_with(",;:)]}") || ((is_other || !is_double) && starts_with("./\\")),
    };
    is_literal.then_some(mark)
}

fn has_word(chars: impl Iterator<Item = char>) -> bool {
    chars.take(NAME_BYTES_MAX).take_while(|c| !c.is_whitespace()).any(is_of_word)
}

fn is_name(inside: &str) -> bool {
    inside.len() <= NAME_BYTES_MAX && !inside.contains(char::is_whitespace)
}

/// A letter or a digit, but not of a script that puts no blanks between words.
fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() && c.width() == Some(1)
}

/// Whether what follows would stand in a word.
pub(super) fn ends_in_word(before: &str) -> bool {
    before.ends_with(|c| is_of_word(c) || "/\\_.$".contains(c))
}

fn begins_in_word(behind: &str) -> bool {
    behind.strip_prefix('.').unwrap_or(behind).starts_with(is_of_word) || behind.starts_with(['/', '\\', '_', '('])
}

/// The backslashes of what a model writes.
#[derive(Debug, Default)]
pub(super) struct Backslashes {
    /// Before what they went on this line.
    went_before: String,
}

impl Backslashes {
    /// A line ends.
    pub(super) fn end_line(&mut self) {
        self.went_before.clear();
    }

    /// Whether the one that stands at `at` of the text means nothing itself.
    pub(super) fn goes(&mut self, text: &str, at: usize, is_in_table: bool) -> bool {
        let mut behind = text[at + 1..].chars();
        let Some(escaped) = behind.next() else { return false };
        let behind = behind.as_str();
        let could_mean = match escaped {
            '*' | '_' | '`' | '~' => true,
            '|' => is_in_table,
            '<' => behind.starts_with(|c: char| c.is_ascii_alphabetic() || "/!?".contains(c)),
            '&' => behind.starts_with(|c: char| c.is_ascii_alphabetic() || c == '#'),
            '#' | '+' | '-' | '=' | '>' => begins_line(&text[..at]),
            '.' | ')' => text[..at].ends_with(|c: char| c.is_ascii_digit()) && begins_line(&text[..at]),
            _ => false,
        };
        let may_be_of_path = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == ':' || c == '\\');
        let goes = could_mean && (!may_be_of_path || ".)".contains(escaped) || self.went_before.contains(escaped));
        if goes && !self.went_before.contains(escaped) {
            self.went_before.push(escaped);
        }
        goes
    }
}

/// Whether nothing but what begins a line stands before it on its line.
fn begins_line(before: &str) -> bool {
    let line = before.trim_end_matches(|c: char| c.is_ascii_digit() || " \t>#*+-".contains(c));
    line.is_empty() || line.ends_with('\n')
}

/// The cells of a row of a table that its head has no column for: what stands behind those that have one.
pub(super) fn surplus(row: &str) -> Vec<&str> {
    let row = row.trim();
    let row = row.strip_prefix('|').unwrap_or(row);
    if row.is_empty() {
        return Vec::new();
    }
    let mut cells = Vec::new();
    let mut from = 0;
    for (at, _) in row.match_indices('|').filter(|(at, _)| !row[..*at].ends_with('\\')) {
        cells.push(row[from..at].trim());
        from = at + 1;
    }
    cells.push(row[from..].trim());
    if cells.last().is_some_and(|cell| cell.is_empty()) {
        cells.pop();
    }
    cells
}
