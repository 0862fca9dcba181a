//! Text for a terminal: columns by display width, colours, and nothing raw from a transcript.
//!
//! A transcript holds whatever a program printed, escape sequences included. Written raw to a
//! terminal they could move the cursor, set its title, or worse; so every text from a transcript
//! passes through [`one_line`] or [`lines`] before it is printed.

pub(crate) mod time;

use std::borrow::Cow;
use std::path::Path;

use layer1_prebackup::claude::shell::quoted_if_needed;
use layer1_prebackup::wire::shown::{is_hidden, shown, shown_but};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use self::time::{Clock, parse_rfc3339_ms};

/// Columns of a terminal that does not tell.
pub(crate) const COLUMNS_DEFAULT: usize = 100;
/// Into a pipe or a file every field is written whole.
pub(crate) const COLUMNS_WHOLE: usize = usize::MAX;
/// Least columns that a layout is made for; a narrower terminal wraps.
pub(crate) const COLUMNS_MIN: usize = 40;
/// More bytes than any character of one column has, with all that joins it.
const COLUMN_BYTES_MAX: usize = 64;
/// From this size a session is marked ⚠️.
pub(crate) const LARGE_BYTES: u64 = 2_000_000;
/// From this size a session is marked 🔴.
pub(crate) const HUGE_BYTES: u64 = 5_000_000;

/// What standard output can show. Decided in `cli.rs` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// Columns of a line.
    pub(crate) columns: usize,
    /// Whether colours are wanted: a terminal, and `NO_COLOR` unset.
    pub(crate) colour: bool,
    /// Whether somebody watches: progress bars and control sequences make sense.
    pub(crate) interactive: bool,
    /// How points in time are told.
    pub(crate) clock: Clock,
}

impl Terminal {
    /// No terminal: no colours, [`COLUMNS_DEFAULT`], times in UTC.
    pub(crate) const PLAIN: Terminal =
        Terminal { columns: COLUMNS_DEFAULT, colour: false, interactive: false, clock: Clock::UTC };
    /// [`Terminal::PLAIN`] for a reader with a clock on the wall.
    pub(crate) const PAGE: Terminal = Terminal { clock: Clock::LOCAL, ..Terminal::PLAIN };

    /// `text` in the style, if there are colours.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        let code = style.code();
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}{PLAIN_AGAIN}") } else { text.to_owned() }
    }

    /// `2026-11-22T10:17:51.992Z` as `2026-11-22 10:17` of this clock; what is no such time comes back cleaned.
    pub(crate) fn minute(&self, timestamp: &str) -> String {
        parse_rfc3339_ms(timestamp).map_or_else(|| one_line(timestamp), |ms| self.clock.minute(ms))
    }

    /// `2026-11-22 10:17→10:19`, or both days where they differ.
    pub(crate) fn period(&self, start: Option<&str>, end: Option<&str>) -> String {
        match (start.and_then(parse_rfc3339_ms), end.and_then(parse_rfc3339_ms)) {
            (Some(start), Some(end)) => self.clock.period(start, end),
            _ => start.or(end).map_or("–".to_owned(), |time| self.minute(time)),
        }
    }

    /// [`Terminal::period`] as it gives way to what needs room more: the day alone at its end, its beginning, its first day.
    pub(crate) fn shorter_periods(&self, start: Option<&str>, end: Option<&str>) -> [String; 3] {
        let minute = start.or(end).map_or("–".to_owned(), |time| self.minute(time));
        let short = match (start.and_then(parse_rfc3339_ms), end.and_then(parse_rfc3339_ms)) {
            (Some(start), Some(end)) => self.clock.short_period(start, end),
            _ => minute.clone(),
        };
        let day = minute.split(' ').next().unwrap_or_default().to_owned();
        [short, minute, day]
    }

    /// The text with nothing in it that a terminal obeys but the colours of [`Terminal::paint`]: the last line of defence,
    /// whatever was forgotten where the text was made.
    pub(crate) fn only_colours<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let is_ours = |rest: &str| {
            let code = rest.strip_prefix("\u{1b}[").and_then(|code| code.split_once('m'));
            code.is_some_and(|(code, _)| code == "0" || Style::ALL.iter().any(|style| style.code() == code))
        };
        if self.colour { shown_but(text, is_ours) } else { shown(text) }
    }

    /// The text with each line that is too long for a terminal broken at blanks: below it stands the rest, behind the mark
    /// or the blanks that the line begins with. A word stays whole, and so does what is to be typed, behind an arrow.
    pub(crate) fn at_blanks(&self, text: &str) -> String {
        if !self.interactive {
            return text.to_owned();
        }
        text.split_inclusive('\n').map(|line| line_at_blanks(line, self.columns)).collect()
    }

    /// [`Terminal::paint`] of a line, and its end.
    pub(crate) fn line(&self, style: Style, text: &str) -> String {
        self.paint(style, text) + "\n"
    }
}

/// How a piece of text stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Headings, hits.
    Bold,
    /// What is secondary.
    Dim,
    /// What is wrong.
    Red,
    /// What is well.
    Green,
    /// What needs attention.
    Yellow,
    /// Names: session ids.
    Cyan,
    /// What a search matched.
    Match,
}

/// Ends a style.
pub(crate) const PLAIN_AGAIN: &str = "\x1b[0m";

impl Style {
    const ALL: [Style; 7] =
        [Style::Bold, Style::Dim, Style::Red, Style::Green, Style::Yellow, Style::Cyan, Style::Match];

    fn code(self) -> &'static str {
        match self {
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Red => "31",
            Style::Green => "32",
            Style::Yellow => "33",
            Style::Cyan => "36",
            Style::Match => "1;33",
        }
    }

    /// What begins it on a terminal with colours.
    pub(crate) fn beginning(self) -> String {
        format!("\x1b[{}m", self.code())
    }
}

/// The text on one line: white space of any kind becomes one blank, other control characters
/// become `·`, and what cannot be seen or reorders text is named.
pub(crate) fn one_line(text: &str) -> String {
    beginning_on_one_line(text, usize::MAX)
}

/// The first group of a uuid names a session well enough to type it; other ids stay whole.
pub(crate) fn short_id(id: &str) -> String {
    let is_uuid = id.len() == 36 && id.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    fit(if is_uuid { &id[..8] } else { id }, 20).into_owned()
}

/// [`one_line`] of a text that may be long, cut to at most `columns` ([`fit`]): what is not shown is not looked at.
pub(crate) fn fit_one_line(text: &str, columns: usize) -> String {
    fit(&beginning_on_one_line(text, columns.saturating_mul(COLUMN_BYTES_MAX)), columns).into_owned()
}

fn beginning_on_one_line(text: &str, bytes_max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(bytes_max));
    let mut before = None;
    for c in text.chars() {
        if line.len() > bytes_max {
            break;
        }
        if c.is_whitespace() {
            if !line.ends_with(' ') && !line.is_empty() {
                line.push(' ');
            }
        } else {
            if is_hidden(before, c) { line.push_str(&shown(c.encode_utf8(&mut [0; 4]))) } else { line.push(c) }
        }
        before = Some(c);
    }
    line.truncate(line.trim_end().len());
    line
}

/// The text with its line breaks and tabs kept, other control characters as `·`, what else cannot be seen named.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    // CRLF is a line break, not damage.
    if text.contains("\r\n") { Cow::Owned(shown(&text.replace("\r\n", "\n")).into_owned()) } else { shown(text) }
}

/// Columns that the text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The text cut to at most `columns`, with `…` where something was cut.
pub(crate) fn fit(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let mut cut = String::new();
    let mut used = 0;
    for c in text.chars() {
        let next = c.width().unwrap_or(0);
        if used + next + 1 > columns {
            break;
        }
        used += next;
        cut.push(c);
    }
    // A character may be wider with what follows it (an emoji and its variation selector).
    while width(&cut) + 1 > columns && cut.pop().is_some() {}
    if columns > 0 {
        cut.push('…');
    }
    Cow::Owned(cut)
}

/// The text cut to at most `columns` in its middle: of a path both ends tell more.
pub(crate) fn fit_middle(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns || columns < 3 {
        return fit(text, columns);
    }
    let head = fit(text, columns / 2 + 1).into_owned();
    let room = columns - width(&head);
    let mut starts = text.char_indices().map(|(at, _)| &text[at..]);
    let tail = starts.find(|tail| width(tail) <= room).unwrap_or_default();
    Cow::Owned(head + tail)
}

/// The text in lines of at most `columns`, broken at blanks where there are any.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text;
    while width(rest) > columns {
        let mut used = 0;
        let fits = rest.char_indices().find(|(_, c)| {
            used += c.width().unwrap_or(0);
            used > columns
        });
        let hard = fits.map_or(rest.len(), |(at, c)| if at == 0 { c.len_utf8() } else { at });
        // A blank just behind what fits is as good a place.
        let soft = rest[..hard + usize::from(rest[hard..].starts_with(' '))].rfind(' ').filter(|at| *at > 0);
        let end = soft.unwrap_or(hard);
        lines.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    if !rest.is_empty() || lines.is_empty() {
        lines.push(rest.to_owned());
    }
    lines
}

/// Marks that lines begin with, in front of the blanks that do.
const LINE_MARKS: [&str; 2] = ["│", "┆"];
/// What stands before something to type.
const ARROW: &str = "→";
/// What stands between backticks is not broken up to so many columns.
const TYPED_COLUMNS_MAX: usize = 60;

fn line_at_blanks(line: &str, columns: usize) -> String {
    if line.len() <= columns {
        return line.to_owned();
    }
    let mut head = String::new();
    let mut rest = line;
    while let Some(next) = rest.chars().next().filter(|c| *c == ' ' || LINE_MARKS.contains(&c.to_string().as_str())) {
        head.push(next);
        rest = &rest[next.len_utf8()..];
    }
    let (typed_at, end) = (rest.find(&format!("{ARROW} ")).unwrap_or(rest.len()), rest.trim_end_matches('\n').len());
    let is_marked = LINE_MARKS.iter().any(|mark| head.contains(mark));
    // What is indented deeply would have no room below.
    let is_deep = width(&head) > columns / 2;
    let below = match (is_marked, is_deep) {
        (true, true) => format!("{} ", head.trim_end()),
        (true, false) => head.clone(),
        (false, true) => "  ".to_owned(),
        (false, false) => format!("{head}  "),
    };
    let mut text = head.clone();
    let (mut used, mut style) = (width(&head), "");
    for word in words(&rest[..typed_at.min(end)]).into_iter().chain([&rest[typed_at.min(end)..end]]) {
        let (shown, last_style) = bare(word);
        // A blank at the end of a line needs no column.
        if used > width(&head) && !word.is_empty() && used + width(shown.trim_end()) > columns {
            text.truncate(text.trim_end_matches(' ').len());
            let (again, begun) = if style.is_empty() { ("", "") } else { (PLAIN_AGAIN, style) };
            text.push_str(&format!("{again}\n{below}{begun}"));
            used = width(&below);
        }
        text.push_str(word);
        used += width(&shown);
        style = last_style.unwrap_or(style);
    }
    text + &rest[end..]
}

/// The words, each with the blank behind it; what stands between two backticks is one, if it is short enough to be typed.
fn words(text: &str) -> Vec<&str> {
    let is_tick = |word: &str| word.matches('`').count() % 2 == 1;
    let (mut words, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let end = |from: usize| rest[from..].find(' ').map_or(rest.len(), |at| from + at + 1);
        let mut at = end(0);
        if is_tick(&rest[..at]) {
            let mut until = at;
            while until < rest.len() && width(&rest[..until]) <= TYPED_COLUMNS_MAX {
                let next = end(until);
                if is_tick(&rest[until..next]) {
                    at = next;
                    break;
                }
                until = next;
            }
        }
        words.push(&rest[..at]);
        rest = &rest[at..];
    }
    words
}

/// A word without what begins and ends styles, and which style holds behind it, if there was one of either.
fn bare(word: &str) -> (String, Option<&str>) {
    let (mut shown, mut style, mut rest) = (String::new(), None, word);
    while let Some(at) = rest.find('\x1b') {
        shown.push_str(&rest[..at]);
        let end = rest[at..].find('m').map_or(rest.len(), |end| at + end + 1);
        style = Some(if &rest[at..end] == PLAIN_AGAIN { "" } else { &rest[at..end] });
        rest = &rest[end..];
    }
    (shown + rest, style)
}

/// The text filled with blanks on the right to `columns`.
pub(crate) fn left(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// The text filled with blanks on the left to `columns`.
pub(crate) fn right(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

/// The mark of a large session: nothing, ⚠️ or 🔴.
pub(crate) fn size_mark(bytes: u64) -> &'static str {
    match bytes {
        _ if bytes > HUGE_BYTES => "🔴",
        _ if bytes > LARGE_BYTES => "⚠️",
        _ => "",
    }
}

/// `[main]`; nothing for no branch and for `HEAD`, which stands in transcripts for no repository too.
pub(crate) fn branch(name: Option<&str>) -> Option<String> {
    name.filter(|name| !name.is_empty() && *name != "HEAD").map(|name| format!("[{}]", one_line(name)))
}

/// `1 session`, `2 sessions`.
pub(crate) fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// A path quoted for `sh`.
pub(crate) fn path_quoted(path: &Path) -> String {
    shell_quoted(&path.to_string_lossy())
}

/// The text quoted for `sh`, so that pasting it gives exactly the text. Control characters are
/// written as `$'\xNN'`, which bash and zsh read.
pub(crate) fn shell_quoted(text: &str) -> String {
    let is_escaped = |c: char| c.is_control() || is_hidden(None, c);
    if !text.chars().any(is_escaped) {
        return quoted_if_needed(text);
    }
    let mut quoted = String::from("$'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => quoted.extend(['\\', c]),
            c if is_escaped(c) => {
                let mut utf8 = [0; 4];
                for byte in c.encode_utf8(&mut utf8).bytes() {
                    quoted.push_str(&format!("\\x{byte:02x}"));
                }
            }
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_raw_reaches_the_terminal() {
        assert_eq!(one_line("a\u{1b}[31mred\u{7}\n\tb \u{202e}c "), "a·[31mred· b ⟨U+202E⟩c");
        for text in
            ["a\u{7}\n b", " ", "abcde\n", &"long\n ".repeat(9999), &"👩🏽\u{200d}🚒".repeat(999), &"e\u{301}".repeat(99)]
        {
            assert_eq!(fit_one_line(text, 5), fit(&one_line(text), 5));
        }
        assert_eq!(lines("a\r\nb\u{1b}]0;title\u{7}\tc\u{9b}"), "a\nb·]0;title·\tc·");
        assert_eq!(one_line(""), "");
        let painted = Terminal { colour: true, ..Terminal::PLAIN }.paint(Style::Red, "a") + "\u{1b}[2J\u{202e}";
        let colours = Terminal { colour: true, ..Terminal::PLAIN };
        assert_eq!(colours.only_colours(&painted), "\u{1b}[31ma\u{1b}[0m·[2J⟨U+202E⟩");
        assert_eq!(Terminal::PLAIN.only_colours(&painted), "·[31ma·[0m·[2J⟨U+202E⟩");
    }

    #[test]
    fn a_long_line_is_broken_at_blanks_where_somebody_watches() {
        let terminal = Terminal { columns: 20, colour: true, interactive: true, ..Terminal::PLAIN };
        let check = |text: &str, broken: &str| assert_eq!(terminal.at_blanks(text), broken, "{text:?}");
        check("short\n\n", "short\n\n");
        check("just twenty columns!\n", "just twenty columns!\n");
        check("just twenty columns! and more", "just twenty columns!\n  and more");
        check("  a name  and what is said of it\nx\n", "  a name  and what\n    is said of it\nx\n");
        check("│     let it = be.what_it_is(so);\n", "│     let it =\n│     be.what_it_is(so);\n");
        check("  ┆ one two three four five", "  ┆ one two three\n  ┆ four five");
        // What cannot be broken is the terminal's to break, and what is typed must be one line.
        check("/a/path/that/is/longer/than/any/line b", "/a/path/that/is/longer/than/any/line\n  b");
        check("it is late → threefold sweep --all now", "it is late\n  → threefold sweep --all now");
        check("say `it is late` and `so is she`!", "say `it is late` and\n  `so is she`!");
        check("a tick ` is no command", "a tick ` is no\n  command");
        check("│                let it = be;", "│                let\n│ it = be;");
        check("日本語 日本語 日本語 x", "日本語 日本語 日本語\n  x");
        let dim = terminal.paint(Style::Dim, "one two three four five");
        check(&dim, "\u{1b}[2mone two three four\u{1b}[0m\n  \u{1b}[2mfive\u{1b}[0m");
        let text = "one two three four five six seven";
        assert_eq!(Terminal { interactive: false, ..terminal }.at_blanks(text), text);
    }

    #[test]
    fn columns_are_display_columns() {
        assert_eq!(fit("日本語のテキスト", 7), "日本語…");
        assert_eq!(width(&fit("日本語のテキスト", 8)), 7);
        assert_eq!(fit("plain", 5), "plain");
        assert_eq!(fit("plains", 5), "plai…");
        assert_eq!(fit("x", 0), "");
        assert_eq!(fit_middle("work/some/where/client", 12), "work/s…lient");
        assert_eq!(fit_middle("日本語のテキスト", 8), "日本…ト");
        assert_eq!(left("日本", 6), "日本  ");
        assert_eq!(right("🔴", 4), "  🔴");
        for columns in 0..12 {
            assert!(width(&fit("⚠️ a🔴b日c👩‍👩‍👧d", columns)) <= columns);
            assert!(width(&fit_middle("⚠️ a🔴b日c👩‍👩‍👧d", columns)) <= columns);
        }
    }

    #[test]
    fn long_texts_wrap_at_blanks_or_anywhere() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("日本語のテキスト", 6), ["日本語", "のテキ", "スト"]);
        assert_eq!(wrap("", 6), [""]);
        assert_eq!(wrap("wide日", 1), ["w", "i", "d", "e", "日"]);
    }

    #[test]
    fn times_are_short_and_large_sessions_marked() {
        assert_eq!((size_mark(LARGE_BYTES), size_mark(LARGE_BYTES + 1), size_mark(HUGE_BYTES + 1)), ("", "⚠️", "🔴"));
        let a = Some("2026-11-22T10:17:51.992Z");
        let period = |start, end| Terminal::PLAIN.period(start, end);
        assert_eq!(period(a, Some("2026-11-22T10:19:00Z")), "2026-11-22 10:17→10:19");
        assert_eq!(period(a, Some("2026-11-23T10:19:00Z")), "2026-11-22 10:17→2026-11-23 10:19");
        assert_eq!(period(a, a), "2026-11-22 10:17");
        let shorter = |start, end| Terminal::PLAIN.shorter_periods(start, end).join(" | ");
        assert_eq!(shorter(a, Some("2026-11-22T10:19:00Z")), "2026-11-22 10:17→10:19 | 2026-11-22 10:17 | 2026-11-22");
        assert_eq!(shorter(a, Some("2026-11-23T10:19:00Z")), "2026-11-22 10:17→11-23 | 2026-11-22 10:17 | 2026-11-22");
        assert_eq!(
            shorter(a, Some("2027-11-22T10:19:00Z")),
            "2026-11-22 10:17→2027-11-22 | 2026-11-22 10:17 | 2026-11-22"
        );
        assert_eq!(shorter(None, None), "– | – | –");
        assert_eq!(period(None, None), "–");
        assert_eq!(Terminal::PLAIN.minute("odd\u{1b}"), "odd·");
    }

    #[test]
    fn shell_quoting_survives_a_paste() {
        assert_eq!(shell_quoted("/home/dev/proj"), "/home/dev/proj");
        assert_eq!(shell_quoted("/home/dev/it's mine"), r"'/home/dev/it'\''s mine'");
        assert_eq!(shell_quoted("$(rm -rf ~)"), "'$(rm -rf ~)'");
        assert_eq!(shell_quoted("a\u{1b}'b"), r"$'a\x1b\'b'");
        assert_eq!(shell_quoted(""), "''");
    }
}
