//! Markdown that renders alike everywhere and in which nothing of a transcript is live.
//!
//! What was written in Markdown stays so as far as it is harmless: code, bold, lists, links to the
//! web. What could break out is written as references: HTML, headings and rules (they could forge a message),
//! pictures (they load), links to anywhere else, code spans and fences that do not close. Code is
//! fenced by more backticks than stand in it.

use std::io::{self, Write};

use super::call::{Body, Call};
use super::diff::{self, Fate};
use super::pictures::Picture;
use super::renderer::{Header, MessageHeader, Part, Renderer, Row, Speaker};
use super::text::{Backticks, Parts, Piece, Sanitized, Sanitizer, pieces, visible};

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
            self.line(&visible(line))?;
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

impl<W: Write> Markdown<W> {
    fn picture(&mut self, picture: &Picture<'_>) -> io::Result<()> {
        // Here it would load, or be a line of megabytes that nobody can read around.
        match picture {
            Picture::Data { media_type, .. } => self.block(&format!("*(a picture, {media_type}, not exported)*")),
            Picture::LeftOut(why) => self.block(&format!("*({})*", plain(why))),
        }
    }

    fn call(&mut self, call: &Call, sanitizer: &mut Sanitizer) -> io::Result<()> {
        let server =
            call.server.as_ref().map_or(String::new(), |server| format!(" (MCP server {})", plain(server.as_str())));
        let telling = call.telling.as_ref().map_or(String::new(), |telling| format!(": {}", span(telling.as_str())));
        self.block(&format!("**Call of {}**{server}{telling}", plain(call.tool.as_str())))?;
        match &call.body {
            Body::Nothing => {}
            Body::Command(text) | Body::Written(text) => self.parts(&sanitizer.parts(text))?,
            Body::Task(text) => self.quoted("Task", text)?,
            Body::Plan(text) => self.quoted("Plan", text)?,
            Body::Changes(changes) => changes.iter().try_for_each(|(old, new)| self.change(old, new, sanitizer))?,
            Body::Todos(todos) => {
                for (progress, todo) in todos {
                    self.line(&format!("- {} {}", progress.mark(), plain(todo.as_str())))?;
                }
                self.line("")?;
            }
            Body::Questions(questions) => {
                for question in questions {
                    self.block(&format!("**{}**", plain(question.question.as_str())))?;
                    for (label, description) in &question.options {
                        self.line(&format!("- {}: {}", plain(label.as_str()), plain(description.as_str())))?;
                    }
                    self.line("")?;
                }
            }
        }
        for argument in &call.arguments {
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

    fn change(&mut self, old: &Sanitized<'_>, new: &Sanitized<'_>, sanitizer: &mut Sanitizer) -> io::Result<()> {
        let (old, new) = (sanitizer.parts(old), sanitizer.parts(new));
        if old.left_out + new.left_out > 0 {
            self.parts(&old)?;
            return self.parts(&new);
        }
        let shown = |line: &diff::Line| {
            let mark = match line.fate {
                Fate::Kept => "  ",
                Fate::Removed => "- ",
                Fate::Added => "+ ",
                Fate::Skipped(lines) => return format!("@@ {lines} unchanged @@"),
            };
            line.pieces.iter().fold(mark.to_owned(), |line, (_, piece)| line + piece)
        };
        let lines: Vec<String> = diff::lines(old.head, new.head).iter().map(shown).collect();
        self.fenced("diff", lines.iter().map(String::as_str))
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
        for Row { name, values, .. } in &header.rows {
            let values: Vec<String> = values.iter().map(|value| plain(value.as_str())).collect();
            self.line(&format!("| {name} | {} |", values.join(", ")))?;
        }
        self.line("")
    }

    fn begin_message(&mut self, message: &MessageHeader) -> io::Result<()> {
        if message.goes_on && message.speaker == Speaker::Tool {
            return Ok(());
        }
        let time = message.time.as_ref().map_or(String::new(), |time| format!(" · {} {}", time.day, time.clock));
        let rewound = if message.is_rewound { " · rewound" } else { "" };
        self.heading(2 + self.depth, &format!("{}{time}{rewound}", message.speaker.name()))
    }

    fn part(&mut self, part: &Part<'_>, sanitizer: &mut Sanitizer) -> io::Result<()> {
        match part {
            Part::Prose(text) => self.marked_up(text),
            Part::Answers(answers) => answers.iter().try_for_each(|(question, answer)| {
                self.line(&format!("{}  ", plain(question.headline(usize::MAX / 4).as_str())))?;
                self.block(&format!("**{}**", plain(answer.headline(usize::MAX / 4).as_str())))
            }),
            Part::Output(text) => {
                self.block("**Output**")?;
                self.parts(&sanitizer.parts(text))
            }
            Part::Summary(text) => {
                self.block("*Summary of the conversation so far (compaction):*")?;
                self.marked_up(text)
            }
            Part::Thinking(text) => self.quoted("Thinking", text),
            Part::Notice { kind, text } => self.quoted(&plain(kind.as_str()), text),
            Part::Call(call) => self.call(call, sanitizer),
            Part::Result { is_answered: true, .. } => Ok(()),
            Part::Result { tool, text, is_error, pictures, .. } => {
                let what = if *is_error { "Error" } else { "Result" };
                let of = tool.as_ref().map(|tool| format!(" of {}", plain(tool.as_str()))).unwrap_or_default();
                self.block(&format!("**{what}{of}**"))?;
                if pictures.is_empty() || !text.as_str().trim().is_empty() {
                    self.parts(&sanitizer.parts(text))?;
                }
                pictures.iter().try_for_each(|picture| self.picture(picture))
            }
            Part::Picture(picture) => self.picture(picture),
            Part::Other(kind) => self.block(&format!("*({}, not exported)*", plain(kind.as_str()))),
        }
    }

    fn end_call(&mut self, _: &Call) -> io::Result<()> {
        Ok(())
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

/// A character as a reference to it. No dialect of Markdown takes that for anything but the character, while a backslash or
/// a backtick before it may be taken for the end of a bare address.
fn push_reference(out: &mut String, c: char) {
    match c {
        '<' => out.push_str("&lt;"),
        '&' => out.push_str("&amp;"),
        c => out.push_str(&format!("&#{};", u32::from(c))),
    }
}

/// On one line, with nothing in it that means anything in Markdown.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in visible(text).split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match c {
            '<' | '&' | '`' | '[' | '|' | '\\' => push_reference(&mut out, c),
            c if c.is_ascii_punctuation() && !".,:;/'()=@%?->\"".contains(c) => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// A code span, whatever stands in it.
fn span(text: &str) -> String {
    let ticks = "`".repeat(longest_backticks(text) + 1);
    let room = if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) { " " } else { "" };
    format!("{ticks}{room}{}{room}{ticks}", visible(text))
}

fn longest_backticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// A line of prose, with all that could be live in it written as references; code spans that close on it stay.
fn harmless(line: &str) -> String {
    let line = visible(line);
    escaped(&line, &Backticks::of(&line))
}

/// [`harmless`] without code spans: nothing at all is code here.
fn harmless_outside_code(line: &str) -> String {
    escaped(&visible(line), &Backticks::of(""))
}

fn escaped(line: &str, ticks: &Backticks) -> String {
    let mut out = String::with_capacity(line.len() + 8);
    let mut from = start(line, &mut out);
    let (mut may_be_swallowed, mut seen) = (false, 0);
    while let Some(at) = line[from..].find('`').map(|at| from + at) {
        escape(&line[from..at], &mut out);
        // Behind a bare address the backtick may belong to that, and close no span.
        may_be_swallowed &= !line[seen..at].contains([' ', '\t']);
        let word = line[seen..at].rsplit([' ', '\t']).next().unwrap_or("");
        may_be_swallowed |= word.contains(['.', ':', '@', '\\']);
        seen = at;
        // A bar within a span would end a cell of a table, and the code with it.
        let is_code = |code: &str| !code.contains('|') && !may_be_swallowed;
        match ticks.span_at(at) {
            Some((length, close)) if is_code(&line[at..close]) => {
                out.push_str(&line[at..close + length]);
                from = close + length;
            }
            // Each in it, or one of them would begin another.
            Some((length, close)) => {
                for (n, part) in line[at..close + length].split('`').enumerate() {
                    (0..n.min(1)).for_each(|_| push_reference(&mut out, '`'));
                    escape(part, &mut out);
                }
                (from, seen) = (close + length, close);
            }
            None => {
                let run = line[at..].len() - line[at..].trim_start_matches('`').len();
                (0..run).for_each(|_| push_reference(&mut out, '`'));
                from = at + run;
            }
        }
    }
    escape(&line[from..], &mut out);
    out
}

/// What means something at the beginning of a line only: headings, rules and underlines. Gives where the rest begins.
fn start(line: &str, out: &mut String) -> usize {
    let bare = line.trim_start_matches([' ', '\t', '>']);
    let mark = bare.chars().next().unwrap_or(' ');
    let is_rule = "=-_*".contains(mark) && bare.trim_end().chars().all(|c| c == mark || c == ' ');
    // Also within lists.
    let in_list = bare.trim_start_matches(|c: char| c.is_ascii_digit() || " \t>-+*.)".contains(c));
    let marked = if is_rule { bare } else { in_list };
    if !is_rule && !in_list.starts_with('#') {
        return 0;
    }
    let at = line.len() - marked.len();
    out.push_str(&line[..at]);
    push_reference(out, if is_rule { mark } else { '#' });
    at + 1
}

/// Text outside of code.
fn escape(text: &str, out: &mut String) {
    let tildes = |from: usize| text[from..].bytes().take_while(|b| *b == b'~').count();
    let mut run = 0;
    for (at, c) in text.char_indices() {
        let rest = &text[at..];
        if c == '~' && run == 0 {
            run = tildes(at);
        }
        let is_live = match c {
            '<' => true,
            '&' => rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '#'),
            '[' => text[..at].ends_with(['!', '\\']) || !is_harmless_bracket(rest),
            '~' => run >= 3,
            // It would take the meaning of the reference behind it, or of what stands behind this text.
            '\\' => rest[1..].starts_with(['<', '&', '[', '~']) || rest.len() == 1,
            _ => false,
        };
        if c != '~' {
            run = 0;
        }
        if is_live { push_reference(out, c) } else { out.push(c) }
    }
}

/// `[text](https://…)`, or `[text]` with nothing behind it: no definition of a link is left that could make one of that.
fn is_harmless_bracket(text: &str) -> bool {
    let words = &text[1..];
    let behind = words.find(['[', ']', '`', '\\']).and_then(|end| words[end..].strip_prefix(']'));
    behind.is_some_and(|behind| match behind.strip_prefix('(') {
        Some(target) => target.starts_with("https://") || target.starts_with("http://"),
        None => !behind.starts_with(['[', ':']),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        assert_eq!(harmless(line), expected, "{line}");
    }

    #[test]
    fn html_is_never_live() {
        check("a <script> & <b>", "a &lt;script> & &lt;b>");
        check("`<b>` <b>", "`<b>` &lt;b>");
        check("(**`<b>`**)", "(**`<b>`**)");
        check("`<b> <i>", "&#96;&lt;b> &lt;i>");
        check("\\<b>", "&#92;&lt;b>");
        check("\\`<b>`", "&#92;&#96;&lt;b>&#96;");
        check("http://e/`<b>` http://e/<b>", "http://e/&#96;&lt;b>&#96; http://e/&lt;b>");
        check("http://e/`a b` `<c>`", "http://e/&#96;a b&#96; `<c>`");
        check("a\\", "a&#92;");
        check("C:\\a *b*", "C:\\a *b*");
        check("&lt;script&gt;", "&amp;lt;script&amp;gt;");
        check("| `a|<b>` |", "| &#96;a|&lt;b>&#96; |");
        check("the `a|<b>` or `<c>` and `d|``e`", "the &#96;a|&lt;b>&#96; or `<c>` and &#96;d|&#96;&#96;e&#96;");
        check("`a|``b` ``<c>``", "&#96;a|&#96;&#96;b&#96; ``<c>``");
        check("``<b>` <i>", "&#96;&#96;&lt;b>&#96; &lt;i>");
    }

    #[test]
    fn nothing_forges_structure() {
        check("## User", "&#35;# User");
        check("  # x", "  &#35; x");
        check("> # x", "> &#35; x");
        check("---", "&#45;--");
        check("===", "&#61;==");
        check("* * *", "&#42; * *");
        check("- item", "- item");
        check("- ```js", "- &#96;&#96;&#96;js");
        check("~~~ ~~x~~", "&#126;&#126;&#126; ~~x~~");
        check("- # x", "- &#35; x");
        check("1. ## x", "1. &#35;# x");
        check("**bold** stays", "**bold** stays");
    }

    #[test]
    fn only_web_links_are_links() {
        check("[a](https://b.c)", "[a](https://b.c)");
        check("[a](javascript:alert(1))", "&#91;a](javascript:alert(1))");
        check("![a](https://b.c)", "!&#91;a](https://b.c)");
        check("- [x] [masked], \\[a]", "- [x] [masked], &#92;&#91;a]");
        check("[a\\] b](javascript:x)", "&#91;a\\] b](javascript:x)");
        check("[a [b] c](javascript:x)", "&#91;a [b] c](javascript:x)");
        check("[a]: javascript:x", "&#91;a]: javascript:x");
        check("<javascript:x>", "&lt;javascript:x>");
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
