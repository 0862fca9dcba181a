//! One HTML page with everything in it: no scripts, no network, tool calls folded with `<details>`
//! (which browsers open by themselves for a search in the page and for a link to a message).
//!
//! Nothing of a transcript is markup here. Tags are constants of this file, `raw` takes no other,
//! and every text goes through [`escape`]. Addresses become links only for http and https. A policy
//! in the page forbids scripts and loads, should something slip through all the same.

use std::io::{self, Write};

use super::text::{Clean, Ink, Parts, Piece, code_span, pieces, visible};
use super::{Argument, Frame, Head, Page, Speaker};

/// Longest glimpse of a call or a result in its folded line, in characters.
const GLIMPSE_CHARS_MAX: usize = 140;
/// Arguments that tell most of a call, best first.
const TELLING: [&str; 9] =
    ["command", "file_path", "notebook_path", "pattern", "query", "url", "path", "description", "prompt"];

const HEAD: &str = concat!(
    "<!doctype html>\n<html>\n<head>\n<meta charset=\"utf-8\">\n",
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:; ",
    "base-uri 'none'; form-action 'none'\">\n",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
    "<meta name=\"color-scheme\" content=\"light dark\">\n",
    "<meta name=\"referrer\" content=\"no-referrer\">\n",
    "<meta name=\"robots\" content=\"noindex\">\n",
    "<meta name=\"generator\" content=\"Threefold\">\n<style>\n",
    include_str!("page.css"),
    "</style>\n<title>"
);

/// Writes the page.
pub(super) struct Html<W: Write> {
    out: W,
}

impl<W: Write> Html<W> {
    pub(crate) fn new(out: W) -> Html<W> {
        Html { out }
    }

    /// Markup: only what stands in this file.
    fn raw(&mut self, markup: &'static str) -> io::Result<()> {
        self.out.write_all(markup.as_bytes())
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        escape(&mut self.out, text)
    }

    /// Prose with line breaks kept, code spans, bold words and addresses.
    fn line(&mut self, line: &str) -> io::Result<()> {
        let mut rest = line;
        while let Some(at) = rest.find(['`', '*', 'h']) {
            // The part before it, unless it belongs to what begins here.
            let (before, from) = rest.split_at(at);
            let starts_word = !before.chars().next_back().is_some_and(char::is_alphanumeric);
            if let Some((length, close)) = code_span(from).filter(|_| from.starts_with('`')) {
                self.text(before)?;
                self.raw("<code>")?;
                self.text(from[length..close].trim_matches(|c| c == ' ' && length > 1))?;
                self.raw("</code>")?;
                rest = &from[close + length..];
            } else if let Some(bold) = bold(from) {
                self.text(before)?;
                self.raw("<strong>")?;
                self.line(bold)?;
                self.raw("</strong>")?;
                rest = &from[bold.len() + 4..];
            } else if let Some(address) = address(from).filter(|_| starts_word) {
                self.text(before)?;
                self.raw("<a rel=\"noopener noreferrer nofollow\" href=\"")?;
                self.text(address)?;
                self.raw("\">")?;
                self.text(address)?;
                self.raw("</a>")?;
                rest = &from[address.len()..];
            } else {
                let run = from.len() - from.trim_start_matches(['`', '*']).len();
                let end = at + run.max(1);
                self.text(&rest[..end])?;
                rest = &rest[end..];
            }
        }
        self.text(rest)
    }

    fn pre(&mut self, parts: &Parts<'_>) -> io::Result<()> {
        self.raw("<pre>")?;
        self.text(parts.head)?;
        self.raw("</pre>")?;
        if parts.left_out > 0 {
            self.raw("<p class=\"cut\">… ")?;
            self.text(&parts.left_out.to_string())?;
            self.raw(" characters are left out here; <code>--full</code> exports them …</p><pre>")?;
            self.text(parts.tail)?;
            self.raw("</pre>")?;
        }
        Ok(())
    }

    fn paragraph(&mut self, lines: &[&str]) -> io::Result<()> {
        let lines = trimmed(lines);
        let mut at = 0;
        while at < lines.len() {
            let is_table = |line: &&&str| line.trim_start().starts_with('|');
            let table = lines[at..].iter().take_while(is_table).count();
            if table > 1 {
                self.raw("<pre class=\"table\">")?;
                self.text(&lines[at..at + table].join("\n"))?;
                self.raw("</pre>")?;
                at += table;
                continue;
            }
            let next = lines[at + 1..].windows(2).position(|two| two.iter().all(|line| is_table(&line)));
            let end = next.map_or(lines.len(), |next| at + 1 + next);
            self.raw("<div class=\"text\" dir=\"auto\">")?;
            for (n, line) in trimmed(&lines[at..end]).iter().enumerate() {
                self.raw(if n > 0 { "\n" } else { "" })?;
                match heading(line) {
                    Some(words) => {
                        self.raw("<strong class=\"heading\">")?;
                        self.line(words)?;
                        self.raw("</strong>")?;
                    }
                    None => self.line(line)?,
                }
            }
            self.raw("</div>\n")?;
            at = end;
        }
        Ok(())
    }

    fn marked_up(&mut self, text: &Clean<'_>) -> io::Result<()> {
        for piece in pieces(text.as_str()) {
            match piece {
                Piece::Prose(lines) => self.paragraph(&lines)?,
                Piece::Code { lines, .. } => {
                    self.raw("<pre>")?;
                    for (n, line) in lines.iter().enumerate() {
                        self.raw(if n > 0 { "\n" } else { "" })?;
                        self.text(line)?;
                    }
                    self.raw("</pre>\n")?;
                }
            }
        }
        Ok(())
    }

    fn glimpse(&mut self, text: &Clean<'_>) -> io::Result<()> {
        self.raw("<span class=\"glimpse\">")?;
        self.text(text.headline(GLIMPSE_CHARS_MAX).as_str())?;
        self.raw("</span>")
    }

    fn size(&mut self, text: &Clean<'_>) -> io::Result<()> {
        let text = text.as_str().trim_end();
        let lines = text.lines().count();
        let size = match lines {
            0 => "empty".to_owned(),
            1 => crate::terminal::count(text.chars().count() as u64, "character"),
            lines => crate::terminal::count(lines as u64, "line"),
        };
        self.raw(" <span class=\"size\">")?;
        self.text(&size)?;
        self.raw("</span>")
    }
}

impl<W: Write> Page for Html<W> {
    fn begin(&mut self, frame: &Frame) -> io::Result<()> {
        self.raw(HEAD)?;
        self.text(frame.title.as_str())?;
        self.raw("</title>\n</head>\n<body>\n<header>\n<h1 dir=\"auto\">")?;
        self.text(frame.title.as_str())?;
        self.raw("</h1>\n")?;
        for warning in &frame.warnings {
            self.raw("<p class=\"warning\">")?;
            self.text(warning.as_str())?;
            self.raw("</p>\n")?;
        }
        self.raw("<table>\n")?;
        for (name, values) in &frame.rows {
            self.raw("<tr><th scope=\"row\">")?;
            self.text(name)?;
            self.raw("</th><td dir=\"auto\">")?;
            for (n, value) in values.iter().enumerate() {
                self.raw(if n > 0 { "<br>" } else { "" })?;
                self.text(value.as_str())?;
            }
            self.raw("</td></tr>\n")?;
        }
        self.raw("</table>\n</header>\n<main>\n")
    }

    fn message(&mut self, head: &Head) -> io::Result<()> {
        self.raw("<article class=\"")?;
        self.raw(match head.speaker {
            Speaker::User => "user",
            Speaker::Claude => "claude",
            Speaker::Tool => "tool",
            Speaker::Summary => "summary",
            Speaker::System => "system",
        })?;
        self.raw(if head.goes_on { " on\" id=\"" } else { "\" id=\"" })?;
        self.text(&head.anchor)?;
        self.raw("\">\n<h2>")?;
        if !head.goes_on {
            self.text(head.speaker.name())?;
            self.raw(" ")?;
        }
        self.raw("<a href=\"#")?;
        self.text(&head.anchor)?;
        match &head.time {
            Some((seconds, _)) if head.goes_on => {
                self.raw("\" title=\"")?;
                self.text(seconds)?;
                self.raw("\">#")?;
            }
            Some((seconds, exact)) => {
                self.raw("\">")?;
                self.raw("<time datetime=\"")?;
                self.text(exact)?;
                self.raw("\">")?;
                self.text(seconds)?;
                self.raw("</time>")?;
            }
            None => self.raw("\">#")?,
        }
        self.raw("</a></h2>\n")
    }

    fn prose(&mut self, text: &Clean<'_>) -> io::Result<()> {
        self.marked_up(text)
    }

    fn output(&mut self, text: &Clean<'_>, ink: &mut Ink) -> io::Result<()> {
        self.raw("<details class=\"result\"><summary>output")?;
        self.size(text)?;
        self.glimpse(text)?;
        self.raw("</summary>")?;
        self.pre(&ink.parts(text))?;
        self.raw("</details>\n")
    }

    fn summary(&mut self, text: &Clean<'_>) -> io::Result<()> {
        self.raw("<details class=\"summary\"><summary>what came before, as the compaction summed it up")?;
        self.size(text)?;
        self.raw("</summary>\n")?;
        self.marked_up(text)?;
        self.raw("</details>\n")
    }

    fn thinking(&mut self, text: &Clean<'_>) -> io::Result<()> {
        self.raw("<details class=\"thinking\"><summary>thinking")?;
        self.size(text)?;
        self.glimpse(text)?;
        self.raw("</summary>\n")?;
        self.marked_up(text)?;
        self.raw("</details>\n")
    }

    fn call(&mut self, tool: &Clean<'_>, arguments: &[Argument], ink: &mut Ink) -> io::Result<()> {
        self.raw("<details class=\"call\"><summary><b>")?;
        self.text(tool.headline(GLIMPSE_CHARS_MAX).as_str())?;
        self.raw("</b> ")?;
        let named = |name: &&str| arguments.iter().find(|argument| argument.name.as_str() == *name);
        if let Some(telling) = TELLING.iter().find_map(named).or(arguments.first()) {
            self.glimpse(&telling.value)?;
        }
        self.raw("</summary>\n")?;
        for argument in arguments {
            self.raw(match argument.name.as_str() {
                "old_string" => "<div class=\"old\"><span class=\"name\">",
                "new_string" => "<div class=\"new\"><span class=\"name\">",
                _ => "<div><span class=\"name\">",
            })?;
            self.text(argument.name.as_str())?;
            self.raw("</span>")?;
            self.pre(&ink.parts(&argument.value))?;
            self.raw("</div>\n")?;
        }
        self.raw("</details>\n")
    }

    fn result(&mut self, tool: Option<&Clean<'_>>, text: &Clean<'_>, is_error: bool, ink: &mut Ink) -> io::Result<()> {
        self.raw(if is_error {
            "<details class=\"result error\"><summary>"
        } else {
            "<details class=\"result\"><summary>"
        })?;
        self.raw(if is_error { "error" } else { "result" })?;
        if let Some(tool) = tool {
            self.raw(" of ")?;
            self.text(tool.headline(GLIMPSE_CHARS_MAX).as_str())?;
        }
        self.size(text)?;
        self.glimpse(text)?;
        self.raw("</summary>")?;
        self.pre(&ink.parts(text))?;
        self.raw("</details>\n")
    }

    fn other(&mut self, kind: &Clean<'_>) -> io::Result<()> {
        self.raw("<p class=\"other\">[")?;
        self.text(kind.headline(GLIMPSE_CHARS_MAX).as_str())?;
        self.raw(", not exported]</p>\n")
    }

    fn end_message(&mut self) -> io::Result<()> {
        self.raw("</article>\n")
    }

    fn begin_subagent(&mut self, title: &Clean<'_>) -> io::Result<()> {
        self.raw("<details class=\"subagent\"><summary>subagent <span class=\"glimpse\">")?;
        self.text(title.as_str())?;
        self.raw("</span></summary>\n")
    }

    fn end_subagent(&mut self) -> io::Result<()> {
        self.raw("</details>\n")
    }

    fn remark(&mut self, text: &Clean<'_>) -> io::Result<()> {
        self.raw("<p class=\"warning\">")?;
        self.text(text.as_str())?;
        self.raw("</p>\n")
    }

    fn end(&mut self, remarks: &[Clean<'_>]) -> io::Result<()> {
        self.raw("</main>\n<footer>\n")?;
        for remark in remarks {
            self.raw("<p>")?;
            self.text(remark.as_str())?;
            self.raw("</p>\n")?;
        }
        self.raw("</footer>\n</body>\n</html>\n")?;
        self.out.flush()
    }

    fn nests(&self) -> bool {
        true
    }
}

/// The only way of a text into the page, in content and in attributes alike.
fn escape(out: &mut impl Write, text: &str) -> io::Result<()> {
    let mut from = 0;
    for (at, c) in text.char_indices() {
        let entity = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\'' => "&#39;",
            ' '..='~' | '\n' | '\t' => continue,
            c => match visible(c) {
                None => continue,
                Some(shown) => {
                    out.write_all(&text.as_bytes()[from..at])?;
                    out.write_all(shown.as_bytes())?;
                    from = at + c.len_utf8();
                    continue;
                }
            },
        };
        out.write_all(&text.as_bytes()[from..at])?;
        out.write_all(entity.as_bytes())?;
        from = at + c.len_utf8();
    }
    out.write_all(&text.as_bytes()[from..])
}

/// Without the empty lines at both ends.
fn trimmed<'l, 't>(lines: &'l [&'t str]) -> &'l [&'t str] {
    let is_blank = |line: &&str| line.trim().is_empty();
    let Some(first) = lines.iter().position(|line| !is_blank(line)) else { return &[] };
    let last = lines.iter().rposition(|line| !is_blank(line)).unwrap_or(first);
    &lines[first..=last]
}

/// The words of `## A heading`.
fn heading(line: &str) -> Option<&str> {
    let words = line.trim_start_matches('#');
    let level = line.len() - words.len();
    words.strip_prefix(' ').filter(|words| (1..=6).contains(&level) && !words.trim().is_empty())
}

/// What stands between the asterisks that the text begins with.
fn bold(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("**")?;
    let end = inner.find("**")?;
    let inner = &inner[..end];
    (!inner.is_empty() && !inner.starts_with([' ', '*']) && !inner.ends_with(' ')).then_some(inner)
}

/// The http or https address that the text begins with; never one with a user, who could look
/// like the host.
fn address(text: &str) -> Option<&str> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let fits = |c: char| c.is_alphanumeric() || "-._~:/?#[]@!$&()*+,;=%".contains(c);
    let length = host.find(|c| !fits(c)).unwrap_or(host.len());
    let host = host[..length].trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '*']);
    let authority = host.split(['/', '?', '#']).next()?;
    let is_host = authority.chars().next().is_some_and(char::is_alphanumeric) && !authority.contains('@');
    let start = text.len() - text.trim_start_matches("http").trim_start_matches('s').trim_start_matches("://").len();
    is_host.then(|| &text[..start + host.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        let mut page = Html::new(Vec::new());
        page.line(text).unwrap();
        String::from_utf8(page.out).unwrap()
    }

    #[test]
    fn text_is_never_markup() {
        assert_eq!(line("<b>&\"' \u{202e}\0"), "&lt;b&gt;&amp;&quot;&#39; ⟨U+202E⟩␀");
        assert_eq!(line("`<i>` and **a <b> c**"), "<code>&lt;i&gt;</code> and <strong>a &lt;b&gt; c</strong>");
        assert_eq!(line("``a ` b`` ` c"), "<code>a ` b</code> ` c");
        assert_eq!(line("2 ** 3 ** 4, **, ***x***"), "2 ** 3 ** 4, **, ***x***");
        assert_eq!(line("h ` * hh"), "h ` * hh");
    }

    #[test]
    fn only_web_addresses_are_links() {
        let link = |url: &str| format!("<a rel=\"noopener noreferrer nofollow\" href=\"{url}\">{url}</a>");
        assert_eq!(line("see https://a.b/c?d=1&e, ok"), format!("see {}, ok", link("https://a.b/c?d=1&amp;e")));
        assert_eq!(line("(http://a.b/ñ)."), format!("({}).", link("http://a.b/ñ")));
        assert_eq!(line("https://a.b/\"onx=\"1"), format!("{}&quot;onx=&quot;1", link("https://a.b/")));
        for text in [
            "javascript:alert(1)",
            "data:text/html,x",
            "https://",
            "xhttps://a.b",
            "https://bank.com@evil.test/",
            "http:/a",
        ] {
            assert_eq!(line(text), text, "{text}");
        }
    }
}
