//! Markdown as HTML: what models write, and much of what people type.
//!
//! HTML in it is text, pictures in it are links, and links lead to web addresses alone. Every line break stays one. What is
//! readable in the text is in the page, also where Markdown would take it away: what defines a link (`[ERROR]: timed-out` does),
//! cells without a column, titles, numbers, and the marks that `marks` tells of.

use std::io::{self, Write};
use std::ops::Range;

use pulldown_cmark::{Alignment, CodeBlockKind, CowStr, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd};

use super::marks::{Backslashes, Voice, ends_in_word, literal, surplus};
use super::page::{Page, is_address};
use super::text::{language_of, visible};

/// Lists and quotations within each other; what is deeper stands as if it were not.
const DEPTH_MAX: usize = 24;
/// Stands within what would define a link, so that it does not. It is not shown, and as a control character it cannot be of the
/// text, in which those are visible.
const APART: &str = "\u{1}";

/// Writes the text.
pub(super) fn prose<W: Write>(page: &mut Page<W>, text: &str, voice: Voice) -> io::Result<()> {
    // Before it is taken apart: what cannot be seen means nothing to Markdown either.
    let text = visible(text).replace("]:", &format!("]{APART}:"));
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    page.raw("<div class=\"text\" dir=\"auto\">")?;
    let mut prose = Prose {
        page,
        text: &text,
        voice,
        at: 0,
        pending: String::new(),
        backslashes: Backslashes::default(),
        open: Vec::new(),
        links: Vec::new(),
        numbers: Vec::new(),
        alignments: Vec::new(),
        cell: 0,
        is_code: false,
    };
    for (event, span) in Parser::new_ext(&text, options).into_offset_iter() {
        prose.event(event, span)?;
    }
    page.raw("</div>\n")
}

struct Prose<'p, W: Write> {
    page: &'p mut Page<W>,
    text: &'p str,
    voice: Voice,
    /// Where what came last ends in the text.
    at: usize,
    /// Words that more may follow: an address among them can come in pieces.
    pending: String,
    backslashes: Backslashes,
    open: Vec<Closing>,
    /// A picture can stand within a link; only the outer one leads anywhere.
    links: Vec<Link>,
    /// The next numbers of the lists that are open.
    numbers: Vec<Option<u64>>,
    alignments: Vec<Alignment>,
    /// The cell of a table; 0 outside.
    cell: usize,
    is_code: bool,
}

/// What ends something that began.
#[derive(Clone, Copy)]
enum Closing {
    Tag(&'static str),
    /// A mark that stands in the page as in the text.
    Mark(&'static str),
    /// The rest of a link that stands in the page as in the text.
    Tail,
    Link,
}

/// Where a link leads, and what was shown of it.
struct Link {
    to: String,
    words: String,
    is_live: bool,
}

impl<'p, W: Write> Prose<'p, W> {
    fn event(&mut self, event: Event<'_>, span: Range<usize>) -> io::Result<()> {
        let is_end = matches!(event, Event::End(_));
        if !is_end && self.at < span.start && self.text[..span.start].ends_with('\\') {
            self.backslash(span.start - 1);
        }
        let mut end = span.end;
        match event {
            Event::Text(text) if self.is_code => self.page.fill("{}", &[&text.replace(APART, "")])?,
            Event::Text(text) => {
                let typed = &self.text[span];
                // A reference such as `&lt;`.
                let is_typed = self.voice == Voice::Other && typed.starts_with('&');
                self.pending.push_str(if is_typed { typed } else { &text });
            }
            Event::InlineHtml(text) => self.pending.push_str(&text),
            Event::Html(text) => {
                for line in text.split_inclusive('\n') {
                    self.pending.push_str(line.trim_end_matches('\n'));
                    if line.ends_with('\n') {
                        self.end_line()?;
                    }
                }
            }
            Event::SoftBreak => self.end_line()?,
            Event::HardBreak => {
                self.pending.push_str(if self.text[span].starts_with('\\') { "\\" } else { "" });
                self.end_line()?;
            }
            Event::Code(code) => {
                self.say()?;
                let code = code.replace(APART, "");
                self.shown(&code);
                self.page.fill("<code>{}</code>", &[&code])?;
            }
            Event::Rule => {
                self.say()?;
                self.page.raw("<hr>\n")?;
            }
            Event::TaskListMarker(is_done) => self.page.raw(if is_done { "☑ " } else { "☐ " })?,
            // Of what is not asked for there is none; as text it would still be there.
            Event::InlineMath(text) | Event::DisplayMath(text) | Event::FootnoteReference(text) => {
                self.pending.push_str(&text);
            }
            Event::Start(tag) => {
                end = span.start;
                match tag {
                    Tag::Link { link_type, dest_url, .. } => end = self.start_link(link_type, dest_url, false, span)?,
                    Tag::Image { link_type, dest_url, .. } => end = self.start_link(link_type, dest_url, true, span)?,
                    tag => self.start(tag, span)?,
                }
            }
            Event::End(tag) => self.end(tag, span)?,
        }
        self.at = self.at.max(end);
        Ok(())
    }

    fn end(&mut self, tag: TagEnd, span: Range<usize>) -> io::Result<()> {
        self.is_code = false;
        let closing = self.open.pop().unwrap_or(Closing::Tag(""));
        match closing {
            Closing::Mark(mark) => self.pending.push_str(mark),
            Closing::Tail => self.pending.push_str(self.tail(&span)),
            Closing::Link => self.end_link(&span)?,
            Closing::Tag(closing) => {
                self.say()?;
                match tag {
                    TagEnd::TableRow => self.surplus(&span, closing.is_empty())?,
                    TagEnd::Table => self.cell = 0,
                    TagEnd::List(_) => self.numbers.truncate(self.numbers.len().saturating_sub(1)),
                    _ => {}
                }
                self.backslashes.end_line();
                self.page.raw(closing)?;
            }
        }
        Ok(())
    }

    /// Writes the words that wait.
    fn say(&mut self) -> io::Result<()> {
        let text = std::mem::take(&mut self.pending).replace(APART, "");
        self.shown(&text);
        if self.links.iter().any(|link| link.is_live) {
            self.page.fill("{}", &[&text])
        } else {
            self.page.linked(&text)
        }
    }

    fn end_line(&mut self) -> io::Result<()> {
        self.say()?;
        self.backslashes.end_line();
        self.page.raw("<br>\n")
    }

    fn backslash(&mut self, at: usize) {
        if self.voice == Voice::Other || !self.backslashes.goes(self.text, at, self.cell > 0) {
            self.pending.push('\\');
        }
    }

    /// Of a row, what stands behind the last cell that has a column.
    fn surplus(&mut self, row: &Range<usize>, is_too_deep: bool) -> io::Result<()> {
        for cell in surplus(&self.text[self.at.min(row.end)..row.end]) {
            self.page.raw(if is_too_deep { " " } else { "<td>" })?;
            self.pending.push_str(cell);
            self.say()?;
            self.page.raw(if is_too_deep { "" } else { "</td>" })?;
        }
        Ok(())
    }

    fn start(&mut self, tag: Tag<'_>, span: Range<usize>) -> io::Result<()> {
        if let Tag::Emphasis | Tag::Strong | Tag::Strikethrough = tag
            && let Some(mark) = literal(self.text, span.clone(), self.voice)
        {
            self.pending.push_str(mark);
            self.open.push(Closing::Mark(mark));
            return Ok(());
        }
        self.say()?;
        let is_too_deep = self.open.len() >= DEPTH_MAX;
        let (opening, closing) = match tag {
            Tag::CodeBlock(kind) => return self.start_code(&kind, span),
            Tag::List(Some(first)) if first != 1 && !is_too_deep => {
                self.numbers.push(Some(first));
                self.open.push(Closing::Tag("</ol>\n"));
                return self.page.fill("<ol start=\"{}\">\n", &[&first.to_string()]);
            }
            Tag::Table(alignments) => {
                self.alignments = alignments;
                ("<div class=\"wide\"><table>\n", "</tbody></table></div>\n")
            }
            Tag::TableHead => {
                self.cell = 0;
                ("<thead><tr>", "</tr></thead><tbody>\n")
            }
            Tag::TableRow => {
                self.cell = 0;
                ("<tr>", "</tr>\n")
            }
            Tag::TableCell => {
                self.cell += 1;
                match self.alignments.get(self.cell - 1) {
                    Some(Alignment::Right) => ("<td class=\"right\">", "</td>"),
                    Some(Alignment::Center) => ("<td class=\"center\">", "</td>"),
                    _ => ("<td>", "</td>"),
                }
            }
            Tag::Paragraph | Tag::HtmlBlock => ("<p>", "</p>\n"),
            // Those of the page stand above them.
            Tag::Heading { level: HeadingLevel::H1, .. } => ("<h3>", "</h3>\n"),
            Tag::Heading { level: HeadingLevel::H2, .. } => ("<h4>", "</h4>\n"),
            Tag::Heading { level: HeadingLevel::H3, .. } => ("<h5>", "</h5>\n"),
            Tag::Heading { .. } => ("<h6>", "</h6>\n"),
            Tag::BlockQuote(_) => ("<blockquote>\n", "</blockquote>\n"),
            Tag::List(first) => {
                self.numbers.push(first);
                if first.is_some() { ("<ol>\n", "</ol>\n") } else { ("<ul>\n", "</ul>\n") }
            }
            Tag::Item => match self.other_number(&span).filter(|_| !is_too_deep) {
                Some(number) => {
                    self.open.push(Closing::Tag("</li>\n"));
                    return self.page.fill("<li value=\"{}\">", &[&number.to_string()]);
                }
                None => ("<li>", "</li>\n"),
            },
            Tag::Emphasis => ("<em>", "</em>"),
            Tag::Strong => ("<strong>", "</strong>"),
            Tag::Strikethrough => ("<del>", "</del>"),
            _ => ("", ""),
        };
        self.open.push(Closing::Tag(if is_too_deep { "" } else { closing }));
        if is_too_deep { Ok(()) } else { self.page.raw(opening) }
    }

    /// The number of an item where it is not the next one.
    fn other_number(&mut self, item: &Range<usize>) -> Option<u64> {
        let next = self.numbers.last_mut()?.as_mut()?;
        let typed = self.text[item.clone()].trim_start();
        let digits = typed.len() - typed.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number = typed[..digits].parse().ok()?;
        let is_other = std::mem::replace(next, number + 1) != number;
        is_other.then_some(number)
    }

    fn start_code(&mut self, kind: &CodeBlockKind<'_>, span: Range<usize>) -> io::Result<()> {
        self.is_code = true;
        self.open.push(Closing::Tag("</pre>\n"));
        let info = match kind {
            // As it was typed.
            CodeBlockKind::Fenced(_) => self.text[span].split('\n').next().unwrap_or_default(),
            CodeBlockKind::Indented => "",
        };
        let info = info.trim_start_matches(['`', '~']).trim();
        match language_of(info) {
            Some("") => self.page.raw("<pre>"),
            Some(language) => self.page.fill("<pre class=\"code\" data-language=\"{}\">", &[language]),
            // What stands behind a fence and is no language: a model may go on in its line.
            None => self.page.fill("<pre>{}\n", &[&info.replace(APART, "")]),
        }
    }

    /// Gives where the words of the link begin in the text.
    fn start_link(
        &mut self,
        kind: LinkType,
        to: CowStr<'_>,
        is_picture: bool,
        span: Range<usize>,
    ) -> io::Result<usize> {
        let is_live = self.links.is_empty() && is_address(&to);
        let is_typed = self.voice == Voice::Other;
        let mark = match kind {
            // A name of C++ has the form of an address too.
            LinkType::Autolink | LinkType::Email => "<",
            _ if is_picture => "![",
            _ => "[",
        };
        let is_literal = match kind {
            LinkType::Autolink | LinkType::Email => is_typed || !is_live,
            _ => !is_live && (is_typed || ends_in_word(&self.text[..span.start])),
        };
        if is_literal {
            self.pending.push_str(mark);
            self.open.push(if mark == "<" { Closing::Mark(">") } else { Closing::Tail });
            return Ok(span.start + mark.len());
        }
        self.say()?;
        self.open.push(Closing::Link);
        self.page.raw(if is_picture { "picture: " } else { "" })?;
        if is_live {
            self.page.fill("<a rel=\"noopener noreferrer nofollow\" href=\"{}\">", &[&to])?;
        }
        self.links.push(Link { to: to.into_string(), words: String::new(), is_live });
        Ok(span.start + mark.len())
    }

    /// What stands behind the words of a link: `](address "title")`.
    fn tail(&self, link: &Range<usize>) -> &'p str {
        &self.text[self.at.clamp(link.start, link.end)..link.end]
    }

    /// Says what its title is; and where it leads, where that could be taken for something else, or where it is no link.
    fn end_link(&mut self, span: &Range<usize>) -> io::Result<()> {
        self.say()?;
        let Some(Link { to, words, is_live }) = self.links.pop() else { return Ok(()) };
        self.page.raw(if is_live { "</a>" } else { "" })?;
        let inner = self.tail(span).strip_prefix("](").and_then(|tail| tail.strip_suffix(')')).map(str::trim);
        let inner = inner.unwrap_or(&to);
        let seems_another = ["://", "www.", "@"].iter().any(|part| words.contains(part));
        let told = match is_live && (!seems_another || words == to) {
            true => inner.split_once(char::is_whitespace).map_or("", |(_, title)| title.trim()),
            false if words == inner => "",
            false => inner,
        };
        let told = told.replace(APART, "");
        if told.is_empty() { Ok(()) } else { self.page.fill(" ({})", &[&told]) }
    }

    fn shown(&mut self, text: &str) {
        if let Some(link) = self.links.last_mut() {
            link.words.push_str(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn html(text: &str, voice: Voice) -> String {
        let mut out = Vec::new();
        let mut page = Page::new(&mut out);
        prose(&mut page, text, voice).unwrap();
        page.finish("").unwrap();
        String::from_utf8(out).unwrap()
    }

    /// What a reader of the page sees, and a search in it finds.
    fn seen(html: &str) -> String {
        let mut seen = String::new();
        for (n, piece) in html.split('<').enumerate() {
            let (tag, text) = if n == 0 { ("", piece) } else { piece.split_once('>').unwrap() };
            // The style of the page shows it.
            let language = tag.split_once("data-language=\"").map_or("", |(_, rest)| rest.trim_end_matches('"'));
            seen.push_str(if tag == "/td" { " " } else { language });
            seen.push_str(text);
        }
        let plain = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
        plain.iter().fold(seen, |seen, (escaped, c)| seen.replace(escaped, c)).trim().to_owned()
    }

    fn check(voice: Voice, text: &str, expected: &str) {
        let html = html(text, voice);
        assert_eq!(seen(&html), expected, "{text} of {voice:?}: {html}");
    }

    #[test]
    fn what_is_no_markdown_stands_in_the_page_as_it_is() {
        for text in [
            "[ERROR]: timeout-reached\n[ERROR]: timeout-reached\n[WARN]: beta\n\nand [ERROR] again",
            "[1]: https://example.com/gamma\n[2]: https://example.com/delta 'a title'\n[3]:\nx",
            "[^1]: a-footnote\nhttp://[::1]:80/x",
            "vector<std::string> of <mail@example.com>",
            "`handlers[name](event)` or handlers[name](event)",
            "__init__, __main__.py, src/__tests__/a.rs, 2*3*4, 2**3**4, a_b_c, /*x*/ and 1~2, 3~4",
            "SELECT *, t.* FROM t; src/*.rs, src/*.toml; *.rs and foo.*",
            r"C:\Users\me\.claude D:\_work\[x]\-y \\server\.share src\(a)",
            "a \\\nb",
        ] {
            let expected = text.replace('`', "").replace("\n\n", "\n");
            check(Voice::Other, text, &expected);
            check(Voice::Model, text, &expected);
        }
        for text in [
            "__two words__, _one_ and ~one~, \\*not\\* \\_so\\_ \\# \\`",
            "&lt;b&gt; &copy; &#65;",
            "[words](javascript:x 'title') ![alt](a.png)",
            "<https://a.b/c>",
            "**/*.rs, **/*.toml and f(*args, **kwargs)",
            "/**bold**",
        ] {
            check(Voice::Other, text, text);
        }
    }

    #[test]
    fn what_is_markdown_is_shown_as_what_it_means() {
        for voice in [Voice::Other, Voice::Model] {
            check(
                voice,
                "**bold**, *so*: 这是**重点**内容, **중요**합니다 ~~gone~~.",
                "bold, so: 这是重点内容, 중요합니다 gone.",
            );
            check(voice, "[a](https://b.c) ![d](https://e.f \"chi\")", "a picture: d (\"chi\")");
            check(voice, "[www.bank.example](https://b.c 'phi')", "www.bank.example (https://b.c 'phi')");
            check(
                voice,
                "| a | b |\n|---|---|\n| 1 | 2 | three | `4` |\n| 5 |\n| 6 | 7 ||",
                "a b \n1 2 three `4` \n5  \n6 7  ".trim(),
            );
            check(voice, "```rust\n[a]: b\n```\n~~~ C:\\.x &lt;\ny\n~~~", "rust[a]: b\n\nC:\\.x &lt;\ny");
            check(voice, "<div>\n  <p>\n</div>", "<div>\n  <p>\n</div>");
        }
        for (text, expected) in [
            ("[words](a\\.png 'title') ![alt](b)", "words (a\\.png 'title') picture: alt (b)"),
            ("**Note**s, *un*do, __two words__ and **.env**", "Notes, undo, two words and .env"),
            ("\\*\\*not bold\\*\\*, \\_\\_init\\_\\_, 2\\*3", "**not bold**, __init__, 2*3"),
            ("2\\*3 and snake\\_case", "2\\*3 and snake\\_case"),
            ("1\\. one\n\\# two\n\\- three \\- \\#", "1. one\n# two\n- three \\- \\#"),
            ("\\(x\\) \\[y\\] \\<div> \\&lt; \\`", "\\(x\\) \\[y\\] <div> &lt; `"),
            ("| a |\n|---|\n| b \\| c |\n\nb \\| c", "a \nb | c \n\nb \\| c"),
            ("<https://a.b/c> &lt;b&gt;", "https://a.b/c <b>"),
        ] {
            check(Voice::Model, text, expected);
        }
    }

    #[test]
    fn lists_keep_their_numbers() {
        let html = html("2. a\n4. b\n5. c\n   1. d\n   3. e\n9. f", Voice::Other);
        let tags: Vec<&str> =
            html.split(['<', '>']).filter(|tag| tag.starts_with("ol") || tag.starts_with("li")).collect();
        assert_eq!(
            tags,
            ["ol start=\"2\"", "li", "li value=\"4\"", "li", "ol", "li", "li value=\"3\"", "li value=\"9\""]
        );
    }

    /// Whether these characters of the text stand in the page, in the same order.
    fn stands(text: &str, page: &str, is_meant: impl Fn(char) -> bool) -> bool {
        let mut seen = page.chars();
        text.chars().filter(|c| is_meant(*c)).all(|c| seen.any(|other| other == c))
    }

    proptest! {
        #[test]
        fn no_letter_is_lost(
            text in "([a-e]|[a-e]|[a-e]| |\n|\\\\|\\*|_|~|`|\\||#|>|-|\\[|\\]|\\]:|\\]\\(|\\)|!|<|&|\"|'|:|/|=|\n\n|\n\\| a \\|\n\\|---\\|\n){1,40}"
        ) {
            for voice in [Voice::Other, Voice::Model] {
                let page = seen(&html(&text, voice));
                prop_assert!(stands(&text, &page, char::is_alphanumeric), "{text:?} of {voice:?}: {page:?}");
            }
        }

        #[test]
        fn what_no_person_means_as_markdown_loses_nothing(
            words in proptest::collection::vec("(\\[[A-Z]{1,3}\\]: )?[a-e]([a-e]|\\\\|\\*|_|~|\\[|\\]|\\]:|\\]\\(|\\)|!|<|>|&|\"|'|:|/|=|#|-|\\.){0,12}[a-e]", 1..8),
            blank in prop_oneof![Just(" "), Just("\n"), Just("\n\n")],
        ) {
            let text = words.join(blank);
            let page = seen(&html(&text, Voice::Other));
            prop_assert!(stands(&text, &page, |c| !c.is_whitespace()), "{text:?}: {page:?}");
        }
    }
}
