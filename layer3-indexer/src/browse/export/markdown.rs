//! Markdown that renders alike everywhere and in which nothing of a transcript is live.
//!
//! What was written in Markdown stays so as far as it is harmless: code, bold, lists, links to the
//! web. What could break out is escaped: HTML, headings and rules (they could forge a message),
//! pictures (they load), links to anywhere else, code spans and fences that do not close. Code is
//! fenced by more backticks than stand in it.

use std::io::{self, Write};

use super::renderer::{Header, MessageHeader, Part, Renderer, Speaker};
use super::text::{Parts, Piece, Sanitized, Sanitizer, code_span, pieces, visible};

/// Longest argument that stands on its name's line, in characters.
const SHORT_CHARS_MAX: usize = 100;

/// Writes Markdown.
pub(super) struct Markdown<W: Write> {
    out: W,
    /// Within how many subagents.
    depth: usize,
}

impl<W: Write> Markdown<W> {
    pub(crate) fn new(out: W) -> Markdown<W> {
        Markdown { out, depth: 0 }
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        self.out.write_all(line.as_bytes())?;
        self.out.write_all(b"\n")
    }

    /// A line, and an empty one behind it.
    fn block(&mut self, line: &str) -> io::Result<()> {
        self.line(line)?;
        self.line("")
    }

    fn heading(&mut self, level: usize, words: &str) -> io::Result<()> {
        self.block(&format!("{} {words}", "#".repeat(level.min(6))))
    }

    /// Lines between fences that nothing in them closes.
    fn fenced<'l>(&mut self, language: &str, lines: impl Iterator<Item = &'l str> + Clone) -> io::Result<()> {
        let longest = lines.clone().map(longest_backticks).max().unwrap_or(0);
        let fence = "`".repeat(longest.max(2) + 1);
        self.line(&format!("{fence}{language}"))?;
        for line in lines {
            self.line(&shown(line))?;
        }
        self.block(&fence)
    }

    fn parts(&mut self, parts: &Parts<'_>) -> io::Result<()> {
        self.fenced("", parts.head.trim_end_matches('\n').split('\n'))?;
        if parts.left_out > 0 {
            self.block(&format!("*… {} characters are left out here; `--full` exports them …*", parts.left_out))?;
            self.fenced("", parts.tail.trim_end_matches('\n').split('\n'))?;
        }
        Ok(())
    }

    /// What was not said.
    fn quoted(&mut self, what: &str, text: &Sanitized<'_>) -> io::Result<()> {
        self.block(&format!("*{what}:*"))?;
        for line in text.as_str().trim().split('\n') {
            self.line(&format!("> {}", harmless_outside_code(line)))?;
        }
        self.line("")
    }

    fn marked_up(&mut self, text: &Sanitized<'_>) -> io::Result<()> {
        for piece in pieces(text.as_str()) {
            match piece {
                Piece::Code { language, lines } => self.fenced(language, lines.iter().copied())?,
                Piece::Prose(lines) => {
                    for line in lines {
                        self.line(&harmless(line))?;
                    }
                    self.line("")?;
                }
            }
        }
        Ok(())
    }
}

impl<W: Write> Renderer for Markdown<W> {
    fn begin(&mut self, header: &Header) -> io::Result<()> {
        self.heading(1, &plain(header.title.as_str()))?;
        for warning in &header.warnings {
            self.remark(warning)?;
        }
        self.line("| | |")?;
        self.line("|---|---|")?;
        for (name, values) in &header.rows {
            let values: Vec<String> = values.iter().map(|value| plain(value.as_str())).collect();
            self.line(&format!("| {name} | {} |", values.join(", ")))?;
        }
        self.line("")
    }

    fn begin_message(&mut self, message: &MessageHeader) -> io::Result<()> {
        if message.goes_on && message.speaker == Speaker::Tool {
            return Ok(());
        }
        let time = message.time.as_ref().map_or(String::new(), |(seconds, _)| format!(" · {seconds}"));
        let rewound = if message.is_rewound { " · rewound" } else { "" };
        self.heading(2 + self.depth, &format!("{}{time}{rewound}", message.speaker.name()))
    }

    fn part(&mut self, part: &Part<'_>, sanitizer: &mut Sanitizer) -> io::Result<()> {
        match part {
            Part::Prose(text) => self.marked_up(text),
            Part::Output(text) => {
                self.block("**Output**")?;
                self.parts(&sanitizer.parts(text))
            }
            Part::Summary(text) => {
                self.block("*What came before, as the compaction summed it up:*")?;
                self.marked_up(text)
            }
            Part::Thinking(text) => self.quoted("Thinking", text),
            Part::Notice { kind, text } => self.quoted(&plain(kind.as_str()), text),
            Part::Call { tool, arguments } => {
                self.block(&format!("**Call of {}**", plain(tool.as_str())))?;
                for argument in *arguments {
                    let value = argument.value.as_str();
                    let name = plain(argument.name.as_str());
                    if value.chars().count() <= SHORT_CHARS_MAX && !value.contains('\n') && !value.trim().is_empty() {
                        self.block(&format!("{name}: {}", span(value)))?;
                    } else {
                        self.block(&format!("{name}:"))?;
                        self.parts(&sanitizer.parts(&argument.value))?;
                    }
                }
                Ok(())
            }
            Part::Result { tool, text, is_error } => {
                let what = if *is_error { "Error" } else { "Result" };
                let of = tool.as_ref().map(|tool| format!(" of {}", plain(tool.as_str()))).unwrap_or_default();
                self.block(&format!("**{what}{of}**"))?;
                self.parts(&sanitizer.parts(text))
            }
            Part::Other(kind) => self.block(&format!("*({}, not exported)*", plain(kind.as_str()))),
        }
    }

    fn end_message(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn begin_subagent(&mut self, title: &Sanitized<'_>) -> io::Result<()> {
        self.heading(2, &format!("Subagent {}", plain(title.as_str())))?;
        self.depth = 1;
        Ok(())
    }

    fn end_subagent(&mut self) -> io::Result<()> {
        self.depth = 0;
        Ok(())
    }

    fn remark(&mut self, text: &Sanitized<'_>) -> io::Result<()> {
        self.block(&format!("**{}**", plain(text.as_str())))
    }

    fn end(&mut self, remarks: &[Sanitized<'_>]) -> io::Result<()> {
        self.block("---")?;
        for remark in remarks {
            self.block(&format!("*{}*", plain(remark.as_str())))?;
        }
        self.out.flush()
    }

    /// A call is followed by its result; what the subagent did in between comes at the end.
    fn nests(&self) -> bool {
        false
    }
}

/// The text with what cannot be seen made visible.
fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push_shown(&mut out, c));
    out
}

fn push_shown(out: &mut String, c: char) {
    match visible(c) {
        Some(shown) => out.push_str(&shown),
        None => out.push(c),
    }
}

/// On one line, with nothing in it that means anything in Markdown.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in shown(text).split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        if c.is_ascii_punctuation() && !".,:;/'()=@%?-".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A code span, whatever stands in it.
fn span(text: &str) -> String {
    let ticks = "`".repeat(longest_backticks(text) + 1);
    let room = if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) { " " } else { "" };
    format!("{ticks}{room}{}{room}{ticks}", shown(text))
}

fn longest_backticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// A line of prose, with all that could be live in it escaped; code spans that close on it stay.
fn harmless(line: &str) -> String {
    escaped(line, code_span)
}

/// [`harmless`] without code spans: nothing at all is code here.
fn harmless_outside_code(line: &str) -> String {
    escaped(line, |_| None)
}

fn escaped(line: &str, code_span: fn(&str) -> Option<(usize, usize)>) -> String {
    let mut out = String::with_capacity(line.len() + 8);
    let mut rest = escape_start(line, &mut out);
    while let Some(at) = rest.find('`') {
        // Backslashes before a backtick would make it another one.
        escape(&rest[..at], &mut out);
        rest = &rest[at..];
        // A bar within one would end a cell of a table, and the code with it.
        match code_span(rest).filter(|(_, close)| !rest[..*close].contains('|')) {
            Some((length, close)) => {
                out.push_str(&shown(&rest[..close + length]));
                rest = &rest[close + length..];
            }
            None => {
                let run = rest.len() - rest.trim_start_matches('`').len();
                out.push_str(&"\\`".repeat(run));
                rest = &rest[run..];
            }
        }
    }
    escape(rest, &mut out);
    out
}

/// What means something at the beginning of a line only: headings, rules and underlines, names of
/// links. Gives the rest of the line.
fn escape_start<'l>(line: &'l str, out: &mut String) -> &'l str {
    let bare = line.trim_start_matches([' ', '\t', '>']);
    let mark = bare.chars().next().unwrap_or(' ');
    let is_rule = "=-_*".contains(mark) && bare.trim_end().chars().all(|c| c == mark || c == ' ');
    // Also within lists.
    let in_list = bare.trim_start_matches(|c: char| c.is_ascii_digit() || " \t>-+*.)".contains(c));
    let marked = if is_rule { bare } else { in_list };
    if !is_rule && !in_list.starts_with('#') {
        return line;
    }
    let (start, rest) = line.split_at(line.len() - marked.len());
    out.push_str(start);
    out.push('\\');
    out.push_str(&rest[..1]);
    &rest[1..]
}

/// Text outside of code. A backslash is doubled where what follows it gets one of its own.
fn escape(text: &str, out: &mut String) {
    let mut slashes = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            slashes += 1;
            if chars.peek().is_none() {
                out.push_str(&"\\\\".repeat(slashes));
            }
            continue;
        }
        let rest = &text[at..];
        let is_live = match c {
            '<' => true,
            '&' => rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '#'),
            '!' => rest[1..].starts_with('['),
            '[' => !is_web_link(rest),
            '~' => rest.starts_with("~~~") || text[..at].ends_with("~~"),
            _ => false,
        };
        out.push_str(&"\\".repeat(if is_live { 2 * slashes } else { slashes }));
        slashes = 0;
        if is_live {
            out.push('\\');
        }
        push_shown(out, c);
    }
}

/// `[text](https://…)`.
fn is_web_link(text: &str) -> bool {
    let Some((words, target)) = text.split_once("](") else { return false };
    !words[1..].contains(['[', ']', '`']) && (target.starts_with("https://") || target.starts_with("http://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        assert_eq!(harmless(line), expected, "{line}");
    }

    #[test]
    fn html_is_never_live() {
        check("a <script> & <b>", "a \\<script> & \\<b>");
        check("`<b>` <b>", "`<b>` \\<b>");
        check("`<b> <i>", "\\`\\<b> \\<i>");
        check("\\<b>", "\\\\\\<b>");
        check("\\`<b>`", "\\\\`<b>`");
        check("a\\", "a\\\\");
        check("&lt;script&gt;", "\\&lt;script\\&gt;");
        check("| `a|<b>` |", "| \\`a|\\<b>\\` |");
        check("``<b>` <i>", "\\`\\`\\<b>\\` \\<i>");
    }

    #[test]
    fn nothing_forges_structure() {
        check("## User", "\\## User");
        check("  # x", "  \\# x");
        check("> # x", "> \\# x");
        check("---", "\\---");
        check("===", "\\===");
        check("* * *", "\\* * *");
        check("- item", "- item");
        check("- ```js", "- \\`\\`\\`js");
        check("~~~", "\\~~\\~");
        check("- # x", "- \\# x");
        check("1. ## x", "1. \\## x");
        check("**bold** stays", "**bold** stays");
    }

    #[test]
    fn only_web_links_are_links() {
        check("[a](https://b.c)", "[a](https://b.c)");
        check("[a](javascript:alert(1))", "\\[a](javascript:alert(1))");
        check("![a](https://b.c)", "\\![a](https://b.c)");
        check("[a]: javascript:x", "\\[a]: javascript:x");
        check("<javascript:x>", "\\<javascript:x>");
    }

    #[test]
    fn code_is_fenced_by_more_than_is_in_it() {
        assert_eq!(span("a"), "`a`");
        assert_eq!(span("`a``b"), "``` `a``b ```");
        let mut page = Markdown::new(Vec::new());
        page.fenced("rust", "x\n````\ny".split('\n')).unwrap();
        assert_eq!(String::from_utf8(page.out).unwrap(), "`````rust\nx\n````\ny\n`````\n\n");
    }
}
