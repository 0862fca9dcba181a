//! One HTML page with everything in it: no scripts, no network, tool calls folded with `<details>`
//! (which browsers open by themselves for a search in the page and for a link to a message).
//!
//! Nothing of a transcript is markup here. Tags are constants of this file, `raw` and `fill` take no
//! other, and every text goes through [`escape`]. Addresses become links only for http and https. A policy
//! in the page forbids scripts and loads, should something slip through all the same.

use std::io::{self, Write};

use super::renderer::{Argument, Header, MessageHeader, Part, Renderer};
use super::text::{Backticks, Parts, Piece, Sanitized, Sanitizer, pieces, visible};

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

    /// Markup with a text, escaped, in place of each `{}`.
    fn fill(&mut self, markup: &'static str, texts: &[&str]) -> io::Result<()> {
        let mut texts = texts.iter();
        for (n, markup) in markup.split("{}").enumerate() {
            if n > 0 {
                escape(&mut self.out, texts.next().expect("a text for each place"))?;
            }
            self.raw(markup)?;
        }
        Ok(())
    }

    /// Prose with line breaks kept, code spans, bold words and addresses.
    fn line(&mut self, line: &str) -> io::Result<()> {
        let ticks = Backticks::of(line);
        let last_stars = line.rfind("**");
        let mut rest = line;
        while let Some(at) = rest.find(['`', '*', 'h']) {
            // The part before it, unless it belongs to what begins here.
            let (before, from) = rest.split_at(at);
            let here = line.len() - from.len();
            let starts_word = !before.chars().next_back().is_some_and(char::is_alphanumeric);
            if let Some((length, close)) = ticks.span_at(here).map(|(length, close)| (length, close - here)) {
                let code = from[length..close].trim_matches(|c| c == ' ' && length > 1);
                self.fill("{}<code>{}</code>", &[before, code])?;
                rest = &from[close + length..];
            } else if let Some(bold) = (last_stars > Some(here + 1)).then(|| bold(from)).flatten() {
                self.fill("{}<strong>", &[before])?;
                self.line(bold)?;
                self.raw("</strong>")?;
                rest = &from[bold.len() + 4..];
            } else if let Some(address) = starts_word.then(|| address(from)).flatten() {
                let link = "{}<a rel=\"noopener noreferrer nofollow\" href=\"{}\">{}</a>";
                self.fill(link, &[before, address, address])?;
                rest = &from[address.len()..];
            } else {
                let run = from.len() - from.trim_start_matches(['`', '*']).len();
                let end = at + run.max(1);
                self.fill("{}", &[&rest[..end]])?;
                rest = &rest[end..];
            }
        }
        self.fill("{}", &[rest])
    }

    fn pre(&mut self, parts: &Parts<'_>) -> io::Result<()> {
        self.fill("<pre>{}</pre>", &[parts.head])?;
        if parts.left_out > 0 {
            let cut = "<p class=\"cut\">… {} characters are left out here; <code>--full</code> exports them …</p><pre>{}</pre>";
            self.fill(cut, &[&parts.left_out.to_string(), parts.tail])?;
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
                self.fill("<pre class=\"table\">{}</pre>", &[&lines[at..at + table].join("\n")])?;
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

    fn marked_up(&mut self, text: &Sanitized<'_>) -> io::Result<()> {
        for piece in pieces(text.as_str()) {
            match piece {
                Piece::Prose(lines) => self.paragraph(&lines)?,
                Piece::Code { lines, .. } => self.fill("<pre>{}</pre>\n", &[&lines.join("\n")])?,
            }
        }
        Ok(())
    }

    /// What a folded text is shown as: its size and its beginning.
    fn glimpse(&mut self, text: &Sanitized<'_>) -> io::Result<()> {
        let beginning = text.headline(GLIMPSE_CHARS_MAX);
        let markup = " <span class=\"size\">{}</span><span class=\"glimpse\">{}</span></summary>";
        self.fill(markup, &[&size(text), beginning.as_str()])
    }
}

impl<W: Write> Renderer for Html<W> {
    fn begin(&mut self, header: &Header) -> io::Result<()> {
        let title = header.title.as_str();
        self.raw(HEAD)?;
        self.fill("{}</title>\n</head>\n<body>\n<header>\n<h1 dir=\"auto\">{}</h1>\n", &[title, title])?;
        for warning in &header.warnings {
            self.remark(warning)?;
        }
        self.raw("<table>\n")?;
        for (name, values) in &header.rows {
            self.fill("<tr><th scope=\"row\">{}</th><td dir=\"auto\">", &[name])?;
            for (n, value) in values.iter().enumerate() {
                self.fill(if n > 0 { "<br>{}" } else { "{}" }, &[value.as_str()])?;
            }
            self.raw("</td></tr>\n")?;
        }
        self.raw("</table>\n</header>\n<main>\n")
    }

    fn begin_message(&mut self, message: &MessageHeader) -> io::Result<()> {
        let (speaker, anchor) = (message.speaker.name(), &message.anchor);
        let (mut class, mut name) = match message.goes_on {
            true => (format!("{} on", speaker.to_lowercase()), String::new()),
            false => (speaker.to_lowercase(), format!("{speaker} ")),
        };
        if message.is_rewound {
            class.push_str(" rewound");
            name.push_str(if message.goes_on { "" } else { "(rewound) " });
        }
        let markup = "<article class=\"{}\" id=\"{}\">\n<h2>{}<a href=\"#{}\"";
        self.fill(markup, &[&class, anchor, &name, anchor])?;
        match &message.time {
            Some((seconds, _)) if message.goes_on => self.fill(" title=\"{}\">#", &[seconds])?,
            Some((seconds, exact)) => self.fill("><time datetime=\"{}\">{}</time>", &[exact, seconds])?,
            None => self.raw(">#")?,
        }
        self.raw("</a></h2>\n")
    }

    fn part(&mut self, part: &Part<'_>, sanitizer: &mut Sanitizer) -> io::Result<()> {
        match part {
            Part::Prose(text) => return self.marked_up(text),
            Part::Other(kind) => {
                return self
                    .fill("<p class=\"other\">[{}, not exported]</p>\n", &[kind.headline(GLIMPSE_CHARS_MAX).as_str()]);
            }
            Part::Output(text) => {
                self.raw("<details class=\"result\"><summary>output")?;
                self.glimpse(text)?;
                self.pre(&sanitizer.parts(text))?;
            }
            Part::Summary(text) => {
                let markup = "<details class=\"summary\"><summary>Summary of the conversation so far (compaction) <span class=\"size\">{}</span></summary>\n";
                self.fill(markup, &[&size(text)])?;
                self.marked_up(text)?;
            }
            Part::Thinking(text) => {
                self.raw("<details class=\"thinking\"><summary>thinking")?;
                self.glimpse(text)?;
                self.raw("\n")?;
                self.marked_up(text)?;
            }
            Part::Notice { kind, text } => {
                let kind = kind.headline(GLIMPSE_CHARS_MAX);
                self.fill("<details class=\"thinking\"><summary>{}", &[kind.as_str()])?;
                self.glimpse(text)?;
                self.raw("\n")?;
                self.marked_up(text)?;
            }
            Part::Call { tool, arguments } => self.call(tool, arguments, sanitizer)?,
            Part::Result { tool, text, is_error } => {
                let of = tool
                    .as_ref()
                    .map_or(String::new(), |tool| format!(" of {}", tool.headline(GLIMPSE_CHARS_MAX).as_str()));
                let markup = match is_error {
                    true => "<details class=\"result error\"><summary>error{}",
                    false => "<details class=\"result\"><summary>result{}",
                };
                self.fill(markup, &[&of])?;
                self.glimpse(text)?;
                self.pre(&sanitizer.parts(text))?;
            }
        }
        self.raw("</details>\n")
    }

    fn end_message(&mut self) -> io::Result<()> {
        self.raw("</article>\n")
    }

    fn begin_subagent(&mut self, title: &Sanitized<'_>) -> io::Result<()> {
        let markup = "<details class=\"subagent\"><summary>subagent <span class=\"glimpse\">{}</span></summary>\n";
        self.fill(markup, &[title.as_str()])
    }

    fn end_subagent(&mut self) -> io::Result<()> {
        self.raw("</details>\n")
    }

    fn remark(&mut self, text: &Sanitized<'_>) -> io::Result<()> {
        self.fill("<p class=\"warning\">{}</p>\n", &[text.as_str()])
    }

    fn end(&mut self, remarks: &[Sanitized<'_>]) -> io::Result<()> {
        self.raw("</main>\n<footer>\n")?;
        for remark in remarks {
            self.fill("<p>{}</p>\n", &[remark.as_str()])?;
        }
        self.raw("</footer>\n</body>\n</html>\n")?;
        self.out.flush()
    }

    fn nests(&self) -> bool {
        true
    }
}

impl<W: Write> Html<W> {
    fn call(&mut self, tool: &Sanitized<'_>, arguments: &[Argument], sanitizer: &mut Sanitizer) -> io::Result<()> {
        let headline = tool.headline(GLIMPSE_CHARS_MAX);
        self.fill("<details class=\"call\"><summary><b>{}</b> ", &[headline.as_str()])?;
        let named = |name: &&str| arguments.iter().find(|argument| argument.name.as_str() == *name);
        if let Some(telling) = TELLING.iter().find_map(named).or(arguments.first()) {
            let beginning = telling.value.headline(GLIMPSE_CHARS_MAX);
            self.fill("<span class=\"glimpse\">{}</span>", &[beginning.as_str()])?;
        }
        self.raw("</summary>\n")?;
        for argument in arguments {
            let name = argument.name.as_str();
            let markup = match name {
                "old_string" => "<div class=\"old\"><span class=\"name\">{}</span>",
                "new_string" => "<div class=\"new\"><span class=\"name\">{}</span>",
                _ => "<div><span class=\"name\">{}</span>",
            };
            self.fill(markup, &[name])?;
            self.pre(&sanitizer.parts(&argument.value))?;
            self.raw("</div>\n")?;
        }
        Ok(())
    }
}

fn size(text: &Sanitized<'_>) -> String {
    let text = text.as_str().trim_end();
    match text.lines().count() {
        0 => "empty".to_owned(),
        1 => crate::terminal::count(text.chars().count() as u64, "character"),
        lines => crate::terminal::count(lines as u64, "line"),
    }
}

/// The only way of a text into the page, in content and in attributes alike.
fn escape(out: &mut impl Write, text: &str) -> io::Result<()> {
    let text = visible(text);
    let mut from = 0;
    for (at, b) in text.bytes().enumerate() {
        let escaped = match b {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            b'\'' => "&#39;",
            _ => continue,
        };
        out.write_all(&text.as_bytes()[from..at])?;
        out.write_all(escaped.as_bytes())?;
        from = at + 1;
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
