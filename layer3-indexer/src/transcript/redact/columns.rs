//! Secrets that stand below the heading of a column: CSV and its kin, tables of Markdown, what a database prints, and
//! what is put into one.

use std::ops::Range;

use super::found::Found;
use super::named::is_sentence;
use super::names::{Sure, is_hash_or_id, is_no_value, is_random, is_words};

/// Longest line of headings, and longest list of columns in a statement.
const HEADINGS_BYTES_MAX: usize = 4096;
/// Most columns of a table.
const COLUMNS_MAX: usize = 256;
/// Longest heading.
const HEADING_BYTES_MAX: usize = 40;
/// How far behind the beginning of a statement its columns stand.
const NEAR_BYTES_MAX: usize = 256;
/// Longest row of values in a statement.
const ROW_BYTES_MAX: usize = 16 * 1024;
/// Shortest value that is masked.
const VALUE_BYTES_MIN: usize = 4;
/// Shortest value under a heading that is not sure.
const RANDOM_BYTES_MIN: usize = 12;
/// What stands between columns. The first two are drawn, and a line is drawn below their headings.
const BETWEEN: [char; 5] = ['|', '│', '\t', ';', ','];
/// What a drawn line consists of.
const RULE: &str = "-+|:= \t─═━┼┤├│╪╬┬┴╋";

/// How sure a heading is, and what stands below it.
type Heading = (Sure, &'static str);

/// What the columns of a table hold; `None` where nobody minds.
struct Table {
    headings: Vec<Option<Heading>>,
    between: char,
    look: Look,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// A line is drawn below the headings.
    Drawn,
    /// Nothing but headings stands in their line, joined without blanks: a file.
    Plain,
    /// It may be no table at all.
    Loose,
}

/// What stands in the rows below the headings in the line of this place. `done` is moved behind all that was looked at:
/// each line is looked at once for headings, and once as a row.
pub(super) fn below(
    text: &str,
    at: usize,
    heading: impl Fn(&str) -> Option<Heading>,
    done: &mut usize,
    found: &mut Vec<Found>,
) {
    let line = line_of(text, at);
    *done = line.end;
    if line.len() > HEADINGS_BYTES_MAX {
        return;
    }
    let Some((table, mut from)) = BETWEEN.iter().find_map(|between| table(text, line.clone(), *between, &heading))
    else {
        return;
    };
    while from < text.len() {
        let row = line_from(text, from);
        let this = &text[row.clone()];
        if table.look == Look::Drawn && is_rule(this) {
            (*done, from) = (row.end, row.end + 1);
            continue;
        }
        let cells = cells(this, table.between);
        let is_other = table.look == Look::Plain && [", ", "; "].iter().any(|sign| this.contains(*sign));
        if cells.len() < table.headings.len() || is_other {
            break;
        }
        for (n, cell) in cells.iter().enumerate() {
            let Some(Some(heading)) = table.headings.get(n) else { continue };
            // What holds the sign itself, without quotes, goes to the end of its line.
            let is_last = n + 1 == table.headings.len() && table.look != Look::Drawn;
            let value = trimmed(this, cell.start..if is_last { this.len() } else { cell.end });
            if is_secret(&this[value.clone()], *heading, table.look) {
                found.push(Found::named(heading.1, row.start + value.start..row.start + value.end));
            }
        }
        (*done, from) = (row.end, row.end + 1);
    }
}

/// The table whose headings this line is, and where its rows begin.
fn table(
    text: &str,
    line: Range<usize>,
    between: char,
    heading: &impl Fn(&str) -> Option<Heading>,
) -> Option<(Table, usize)> {
    let this = &text[line.clone()];
    if !this.contains(between) {
        return None;
    }
    let cells = cells(this, between);
    let names: Vec<&str> = cells.iter().map(|cell| &this[trimmed(this, cell.clone())]).collect();
    if cells.len() < 2 || cells.len() > COLUMNS_MAX || between == '\t' && names.iter().any(|name| name.is_empty()) {
        return None;
    }
    let is_heading = |name: &str| name.chars().all(|c| c.is_alphanumeric() || "_-. /()".contains(c));
    let of = |name: &&str| (name.len() <= HEADING_BYTES_MAX && is_heading(name)).then(|| heading(name)).flatten();
    let headings: Vec<Option<Heading>> = names.iter().map(of).collect();
    if headings.iter().all(Option::is_none) {
        return None;
    }
    let next = line.end + 1;
    let below = (next < text.len()).then(|| line_from(text, next))?;
    let is_drawn = matches!(between, '|' | '│') && is_rule(&text[below.clone()]);
    if matches!(between, '|' | '│') && !is_drawn {
        return None;
    }
    // A line in the middle of rows is none of headings.
    let above = text[..line.start].strip_suffix('\n').map(|above| &text[line_of(above, above.len())]);
    if !is_drawn && above.is_some_and(|above| self::cells(above, between).len() == cells.len()) {
        return None;
    }
    let is_one = between == ';' || between == ',' && !names[0].contains(' ');
    let is_plain = is_one && names.iter().all(|name| is_heading(name)) && !this.contains(", ") && !this.contains("; ");
    let (look, from) = match is_drawn {
        true => (Look::Drawn, below.end + 1),
        false => (if is_plain { Look::Plain } else { Look::Loose }, next),
    };
    Some((Table { headings, between, look }, from))
}

fn is_secret(value: &str, (sure, kind): Heading, look: Look) -> bool {
    let is_number = value.bytes().all(|b| b.is_ascii_digit() || b".,_%".contains(&b));
    let has = |is: fn(&u8) -> bool| value.bytes().any(|b| is(&b));
    // Words of a sentence are about a secret.
    let is_phrase = value.split('-').filter(|word| word.len() > 2).count() > 2;
    let is_odd = match look {
        Look::Loose => is_random(value),
        _ => !is_words(value) || has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic) || is_phrase,
    };
    value.len() >= VALUE_BYTES_MIN
        && !is_no_value(value)
        && !is_sentence(value)
        && !value.contains("://")
        && !(is_number && (kind != "password" || value.contains(['.', '%'])))
        && match sure {
            Sure::Certain if look == Look::Plain => kind == "password" || is_odd,
            Sure::Certain => is_odd && !value.contains(' '),
            Sure::Likely => !is_words(value) && !value.contains(' ') && value.len() >= 6,
            Sure::Maybe => is_random(value) && !is_hash_or_id(value) && value.len() >= RANDOM_BYTES_MIN,
        }
}

/// What `INSERT INTO t (name, password) VALUES ('bob', '…'), (…)` puts into the columns of secrets.
pub(super) fn inserted(
    text: &str,
    at: usize,
    heading: impl Fn(&str) -> Option<Heading>,
    done: &mut usize,
    found: &mut Vec<Found>,
) -> Option<()> {
    let bytes = text.as_bytes();
    let near = bytes[at..].iter().take(NEAR_BYTES_MAX);
    let open = at + near.take_while(|b| !b";'".contains(b)).position(|b| *b == b'(')?;
    let close = open + bytes[open..].iter().take(HEADINGS_BYTES_MAX).position(|b| *b == b')')?;
    let names = text[open + 1..close].split(',').map(|name| name.trim().trim_matches(['"', '`', '[', ']', '\\', '\'']));
    let headings: Vec<Option<Heading>> = names.take(COLUMNS_MAX).map(heading).collect();
    if headings.iter().all(Option::is_none) {
        return None;
    }
    let rest = text[close + 1..].trim_start();
    let begin = text.len() - rest.len();
    let values = ["values", "value"].iter().find(|word| {
        rest.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word))
            && !rest.as_bytes().get(word.len()).is_some_and(u8::is_ascii_alphanumeric)
    })?;
    let mut from = begin + values.len();
    loop {
        let rest = text[from..].trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        let open = text.len() - rest.len();
        if !rest.starts_with('(') {
            return Some(());
        }
        let (mut at, mut column, mut quote, mut start) = (open + 1, 0, None, open + 1);
        loop {
            let b = *bytes.get(at).filter(|_| at - open < ROW_BYTES_MAX)?;
            match (quote, b) {
                (Some(_), b'\\') => at += 1,
                // A quote that is written twice is one in the text.
                (Some(open), b) if b == open && bytes.get(at + 1) == Some(&open) => at += 1,
                (Some(open), b) if b == open => quote = None,
                (None, b'\'' | b'"') => quote = Some(b),
                (None, b',' | b')') => {
                    if let Some(Some(heading)) = headings.get(column) {
                        let value = unquoted(text, start..at);
                        if is_secret(&text[value.clone()], *heading, Look::Plain) {
                            found.push(Found::named(heading.1, value));
                        }
                    }
                    (column, start) = (column + 1, at + 1);
                }
                _ => {}
            }
            at += 1;
            if quote.is_none() && b == b')' {
                break;
            }
        }
        (*done, from) = (at, at);
    }
}

/// The text of a value between its quotes, `N'…'` and `E'…'` too. What is no text is nothing: a number, an expression.
fn unquoted(text: &str, at: Range<usize>) -> Range<usize> {
    let quotes = ['\'', '"'];
    let this = &text[at.clone()];
    let ends = this.find(quotes).filter(|open| *open < 8).zip(this.rfind(quotes));
    ends.filter(|(open, close)| open < close)
        .map_or(at.end..at.end, |(open, close)| at.start + open + 1..at.start + close)
}

/// Where a line goes that this place is in, without its end.
fn line_of(text: &str, at: usize) -> Range<usize> {
    let start = memchr::memrchr(b'\n', &text.as_bytes()[..at]).map_or(0, |newline| newline + 1);
    start..line_from(text, at).end
}

fn line_from(text: &str, from: usize) -> Range<usize> {
    from..memchr::memchr(b'\n', &text.as_bytes()[from..]).map_or(text.len(), |length| from + length)
}

fn is_rule(line: &str) -> bool {
    let line = line.trim_end().trim_start_matches(|c: char| c.is_ascii_digit() || " →>+".contains(c));
    (line.contains("--") || line.contains('─') || line.contains('━') || line.contains("==") || line.contains('═'))
        && line.chars().all(|c| RULE.contains(c))
}

/// The cells of a line. A quoted one may hold what stands between them.
fn cells(line: &str, between: char) -> Vec<Range<usize>> {
    let (mut cells, mut start, mut is_quoted, mut is_begun) = (Vec::new(), 0, false, false);
    let mut all = line.char_indices();
    while let Some((at, c)) = all.next() {
        if c == between && !is_quoted {
            cells.push(start..at);
            (start, is_begun) = (at + c.len_utf8(), false);
        } else if c == '"' && (is_quoted || !is_begun) && matches!(between, ',' | ';' | '\t') {
            // One that is written twice is one in the text.
            if is_quoted && line[at..].starts_with("\"\"") {
                all.next();
            } else {
                is_quoted = !is_quoted;
            }
            is_begun = true;
        } else if !c.is_whitespace() {
            is_begun = true;
        }
        if cells.len() > COLUMNS_MAX {
            break;
        }
    }
    // A quote that nobody closed is a character like another.
    match is_quoted {
        true => line
            .split(between)
            .scan(0, |from, cell| {
                let at = *from;
                *from += cell.len() + between.len_utf8();
                Some(at..at + cell.len())
            })
            .take(COLUMNS_MAX)
            .collect(),
        false => {
            cells.push(start..line.len());
            cells
        }
    }
}

/// A cell without what stands around its text: blanks, quotes, marks of Markdown, of a diff, and numbers of lines.
fn trimmed(line: &str, cell: Range<usize>) -> Range<usize> {
    let mut this = &line[cell.clone()];
    if cell.start == 0 {
        let bare = this.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
        this = bare.strip_prefix('→').or_else(|| this.strip_prefix(['+', '>'])).unwrap_or(this);
    }
    let around = |c: char| c.is_whitespace() || "\"`*'".contains(c);
    let begun = this.trim_start_matches(around);
    let start = cell.end - begun.len();
    start..start + begun.trim_end_matches(around).len()
}
