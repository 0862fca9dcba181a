//! What every text of a transcript passes before it is written anywhere: a transcript is hostile
//! input. Renderers only take [`Sanitized`] text, and only [`Sanitizer`] makes it.

use std::borrow::Cow;
use std::collections::HashMap;

use layer1_prebackup::wire::shown::is_hidden;

use crate::transcript::redact::Redactor;

/// Longest tool output or argument that is written whole, in characters, unless all is asked for.
pub(crate) const OUTPUT_CHARS_MAX: usize = 20_000;
/// Of a longer one, so many at its beginning,
const OUTPUT_CHARS_HEAD: usize = 14_000;
/// and so many at its end.
const OUTPUT_CHARS_TAIL: usize = 4_000;

/// Text without colour codes and, where that was asked for, without secrets. Not yet escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sanitized<'a>(Cow<'a, str>);

impl Sanitized<'_> {
    /// The text; to be escaped by whoever writes it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// On one line, cut to so many characters.
    pub(crate) fn headline(&self, chars_max: usize) -> Sanitized<'static> {
        let mut line = String::new();
        for (words, word) in self.0.split_whitespace().enumerate() {
            if words > 0 {
                line.push(' ');
            }
            line.push_str(word);
            if line.len() > 4 * chars_max {
                break;
            }
        }
        if line.chars().count() > chars_max {
            line = line.chars().take(chars_max.saturating_sub(1)).collect();
            line.push('…');
        }
        Sanitized(Cow::Owned(line))
    }

    /// A part of this text: what was cleaned as a whole is clean.
    pub(crate) fn part<'p>(&self, part: &'p str) -> Sanitized<'p> {
        debug_assert!(self.0.contains(part));
        Sanitized(Cow::Borrowed(part))
    }

    /// What stands before the last line that begins so, and from it on.
    pub(crate) fn split_at_line(&self, beginning: &str) -> (Sanitized<'_>, Sanitized<'_>) {
        let mut places = self.0.rmatch_indices(beginning).map(|(at, _)| at);
        let at = places.find(|at| *at == 0 || self.0[..*at].ends_with('\n')).unwrap_or(self.0.len());
        (self.part(&self.0[..at]), self.part(&self.0[at..]))
    }

    /// [`Sanitized::headline`] without backticks.
    pub(crate) fn words(&self, chars_max: usize) -> Sanitized<'static> {
        let line = self.headline(chars_max);
        let words = line.0.replace('`', "");
        if words.trim().is_empty() { line } else { Sanitized(Cow::Owned(words)) }
    }

    /// The same text, owned.
    pub(crate) fn into_owned(self) -> Sanitized<'static> {
        Sanitized(Cow::Owned(self.0.into_owned()))
    }
}

/// A text that may be too long: its beginning, how many characters are left out, its end.
pub(super) struct Parts<'a> {
    pub(crate) head: &'a str,
    pub(crate) left_out: usize,
    pub(crate) tail: &'a str,
}

/// Cleans texts and counts what was done to them.
#[derive(Debug, Default)]
pub(super) struct Sanitizer {
    /// Masks secrets, where that was asked for.
    pub(crate) redactor: Option<Redactor>,
    /// Whether long outputs are written whole.
    pub(crate) full: bool,
    /// Texts that were cut.
    pub(crate) cut: u64,
}

impl Sanitizer {
    pub(crate) fn clean<'t>(&mut self, text: &'t str) -> Sanitized<'t> {
        self.clean_named("", text)
    }

    /// Cleans a text that stands under a name: `password` and the like are masked whole.
    pub(crate) fn clean_named<'t>(&mut self, name: &str, text: &'t str) -> Sanitized<'t> {
        let plain = without_colours(text);
        let Some(redactor) = &mut self.redactor else { return Sanitized(plain) };
        match plain {
            Cow::Borrowed(plain) => Sanitized(redactor.mask_named(name, plain)),
            Cow::Owned(plain) => Sanitized(Cow::Owned(redactor.mask_named(name, &plain).into_owned())),
        }
    }

    /// The parts of an output that are written.
    pub(crate) fn parts<'t>(&mut self, text: &'t Sanitized<'_>) -> Parts<'t> {
        let text = text.as_str();
        let whole = Parts { head: text, left_out: 0, tail: "" };
        if self.full || text.len() <= OUTPUT_CHARS_MAX {
            return whole;
        }
        let chars = text.chars().count();
        if chars <= OUTPUT_CHARS_MAX {
            return whole;
        }
        self.cut += 1;
        let at = |nth: usize| text.char_indices().nth(nth).map_or(text.len(), |(at, _)| at);
        let (head, tail) = (at(OUTPUT_CHARS_HEAD), at(chars - OUTPUT_CHARS_TAIL));
        Parts { head: &text[..head], left_out: chars - OUTPUT_CHARS_HEAD - OUTPUT_CHARS_TAIL, tail: &text[tail..] }
    }
}

/// Without the codes that set colours, which are all that programs mostly print of such; other
/// control sequences stay and become visible. CRLF is a line break.
fn without_colours(text: &str) -> Cow<'_, str> {
    if !text.contains(['\u{1b}', '\r']) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\u{1b}', '\r']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let code = rest.strip_prefix("\u{1b}[").map_or(0, |code| {
            let digits = code.len() - code.trim_start_matches(|c: char| c.is_ascii_digit() || ";:".contains(c)).len();
            if code[digits..].starts_with('m') { digits + 3 } else { 0 }
        });
        if code == 0 && !rest.starts_with("\r\n") {
            plain.extend(rest.chars().next());
        }
        rest = &rest[code.max(1)..];
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// The text with what cannot be seen, or makes others look like something else, made visible.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    let mut last = None;
    let is_first = |(_, c): &(usize, char)| is_hidden(last.replace(*c), *c);
    let Some((first, _)) = text.char_indices().find(is_first) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len() + 8);
    out.push_str(&text[..first]);
    let mut before = text[..first].chars().next_back();
    for c in text[first..].chars() {
        let code = u32::from(c);
        match c {
            '\n' | '\t' => out.push(c),
            '\0'..='\u{1f}' => out.extend(char::from_u32(0x2400 + code)),
            '\u{7f}' => out.push('\u{2421}'),
            c if is_hidden(before, c) => out.push_str(&format!("⟨U+{code:04X}⟩")),
            c => out.push(c),
        }
        before = Some(c);
    }
    Cow::Owned(out)
}

/// A piece of a message that was written in Markdown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Lines of text.
    Prose(Vec<&'a str>),
    /// Lines between fences, and the word behind the opening one; what else stands there is the first line.
    Code { language: &'a str, lines: Vec<&'a str> },
}

/// The text in pieces. A fence that is not closed reaches to the end.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut prose = Vec::new();
    let mut lines = text.split('\n');
    while let Some(line) = lines.next() {
        let Some(fence) = Fence::opening(line) else {
            prose.push(line);
            continue;
        };
        if !prose.is_empty() {
            pieces.push(Piece::Prose(std::mem::take(&mut prose)));
        }
        let code = lines.by_ref().take_while(|line| !fence.closes(line));
        let lines = fence.words.into_iter().chain(code.map(|line| fence.unindented(line))).collect();
        pieces.push(Piece::Code { language: fence.language, lines });
    }
    if !prose.is_empty() {
        pieces.push(Piece::Prose(prose));
    }
    pieces
}

struct Fence<'a> {
    indent: usize,
    mark: char,
    length: usize,
    language: &'a str,
    /// What stands behind it and is no language: a model may go on in the line of a fence.
    words: Option<&'a str>,
}

impl<'a> Fence<'a> {
    fn opening(line: &'a str) -> Option<Fence<'a>> {
        let bare = line.trim_start_matches(' ');
        let mark = bare.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let info = bare.trim_start_matches(mark);
        let length = bare.len() - info.len();
        if length < 3 || info.contains('`') {
            return None;
        }
        let (language, words) = language_of(info).map_or(("", Some(info.trim())), |language| (language, None));
        Some(Fence { indent: line.len() - bare.len(), mark, length, language, words })
    }

    fn closes(&self, line: &str) -> bool {
        let bare = line.trim();
        bare.len() >= self.length && bare.chars().all(|c| c == self.mark)
    }

    fn unindented<'l>(&self, line: &'l str) -> &'l str {
        let blanks = line.len() - line.trim_start_matches(' ').len();
        &line[blanks.min(self.indent)..]
    }
}

/// The language that stands behind the opening of a fence, empty if nothing does; `None` for anything else.
pub(super) fn language_of(info: &str) -> Option<&str> {
    let word = info.trim();
    let fits = word.len() <= 30 && word.chars().all(|c| c.is_ascii_alphanumeric() || "_+#.-".contains(c));
    fits.then_some(word)
}

/// The runs of backticks of a line, and which of them closes which: found once, however many there are.
pub(super) struct Backticks {
    /// Where each begins, its length, and where the next one of that length begins.
    runs: Vec<(usize, usize, Option<usize>)>,
}

impl Backticks {
    pub(crate) fn of(line: &str) -> Backticks {
        let mut runs: Vec<(usize, usize, Option<usize>)> = Vec::new();
        for (at, _) in line.match_indices('`') {
            match runs.last_mut() {
                Some((start, length, _)) if *start + *length == at => *length += 1,
                _ => runs.push((at, 1, None)),
            }
        }
        let mut last = HashMap::new();
        for (start, length, next) in runs.iter_mut().rev() {
            *next = last.insert(*length, *start);
        }
        Backticks { runs }
    }

    /// The length of the run that begins here, and where the one begins that closes it.
    pub(crate) fn span_at(&self, at: usize) -> Option<(usize, usize)> {
        let run = self.runs.binary_search_by_key(&at, |(start, ..)| *start).ok()?;
        let (_, length, close) = self.runs[run];
        Some((length, close?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_go_and_other_control_characters_show() {
        let mut sanitizer = Sanitizer::default();
        let clean = sanitizer.clean("a\u{1b}[1;31mred\u{1b}[0m\r\nb\u{1b}]0;t\u{7}\r\u{1b}[2J\u{1b}");
        assert_eq!(clean.as_str(), "ared\nb\u{1b}]0;t\u{7}\r\u{1b}[2J\u{1b}");
        assert_eq!(visible(clean.as_str()), "ared\nb␛]0;t␇␍␛[2J␛");
        let shown = visible("é\0\u{202e}\u{9b}\u{feff}\u{e0041}\u{200b}👩\u{200d}👧");
        assert_eq!(shown, "é␀⟨U+202E⟩⟨U+009B⟩⟨U+FEFF⟩⟨U+E0041⟩⟨U+200B⟩👩\u{200d}👧");
    }

    #[test]
    fn what_stands_behind_a_fence_is_not_lost() {
        let of = |text: &'static str| match pieces(text).remove(0) {
            Piece::Code { language, lines } => (language, lines.join("|")),
            Piece::Prose(lines) => ("prose", lines.join("|")),
        };
        assert_eq!(of("```rust\nx\n```"), ("rust", "x".to_owned()));
        assert_eq!(of("```Wait, I misread!\nx\n```"), ("", "Wait, I misread!|x".to_owned()));
        assert_eq!(of("~~~ js title=\"a.js\"\nx\n~~~"), ("", "js title=\"a.js\"|x".to_owned()));
        assert_eq!(of("```\nx\n```So there is"), ("", "x|```So there is".to_owned()));
    }

    #[test]
    fn a_secret_among_colours_is_masked() {
        let mut sanitizer = Sanitizer { redactor: Some(Redactor::default()), ..Sanitizer::default() };
        assert_eq!(
            sanitizer.clean("x \u{1b}[1mghp_0123456789\u{1b}[0mabcdefghijklmnop").as_str(),
            "x [masked: GitHub token]"
        );
    }

    #[test]
    fn long_outputs_lose_their_middle() {
        let mut sanitizer = Sanitizer::default();
        let text = Sanitized(Cow::Owned("é".repeat(OUTPUT_CHARS_MAX + 1)));
        let parts = sanitizer.parts(&text);
        let kept = parts.head.chars().count() + parts.tail.chars().count();
        assert_eq!((kept + parts.left_out, parts.left_out, sanitizer.cut), (OUTPUT_CHARS_MAX + 1, 2001, 1));
        let text = Sanitized(Cow::Owned("é".repeat(OUTPUT_CHARS_MAX)));
        assert_eq!(sanitizer.parts(&text).left_out, 0);
    }

    #[test]
    fn fences_are_found_as_markdown_has_them() {
        let text = "a\n```rust ignore\nfn x() {}\n```\nb\n  ~~~~\n  ```\n  c\n~~~~\n````\nopen\n```";
        let code = |language, lines: &[&'static str]| Piece::Code { language, lines: lines.to_vec() };
        let expected = [
            Piece::Prose(vec!["a"]),
            code("", &["rust ignore", "fn x() {}"]),
            Piece::Prose(vec!["b"]),
            code("", &["```", "c"]),
            code("", &["open", "```"]),
        ];
        assert_eq!(pieces(text), expected);
        assert_eq!(pieces("``` a ` b"), [Piece::Prose(vec!["``` a ` b"])]);
    }

    #[test]
    fn code_spans_close_with_as_many() {
        let span = |text, at| Backticks::of(text).span_at(at);
        assert_eq!(span("`a` b", 0), Some((1, 2)));
        assert_eq!(span("x ``a`b`` c", 2), Some((2, 7)));
        assert_eq!(span("``a`b`` c", 1), None);
        assert_eq!(span("`a", 0), None);
        assert_eq!(span("``a`", 0), None);
        assert_eq!(span("`a``b`", 0), Some((1, 5)));
    }
}
