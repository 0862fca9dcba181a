//! Markdown as HTML: what models write, and much of what people type.
//!
//! HTML in it is text, pictures in it are links, and links lead to web addresses alone. Every line break stays one.

use std::io::{self, Write};

use pulldown_cmark::{Alignment, CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TextMergeStream};

use super::page::{Page, is_address};
use super::text::{language_of, visible};

/// Lists and quotations within each other; what is deeper stands as if it were not.
const DEPTH_MAX: usize = 24;

/// Writes the text.
pub(super) fn prose<W: Write>(page: &mut Page<W>, text: &str) -> io::Result<()> {
    // Before it is taken apart: what cannot be seen means nothing to Markdown either.
    let text = visible(text);
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    page.raw("<div class=\"text\" dir=\"auto\">")?;
    let mut prose =
        Prose { page, open: Vec::new(), links: Vec::new(), alignments: Vec::new(), cell: 0, is_code: false };
    for event in TextMergeStream::new(Parser::new_ext(&text, options)) {
        prose.event(event)?;
    }
    page.raw("</div>\n")
}

struct Prose<'p, W: Write> {
    page: &'p mut Page<W>,
    /// What closes the tags that are open.
    open: Vec<&'static str>,
    /// A picture can stand within a link; only the outer one leads anywhere.
    links: Vec<Link>,
    alignments: Vec<Alignment>,
    cell: usize,
    is_code: bool,
}

/// Where a link leads, and what was shown of it.
struct Link {
    to: String,
    words: String,
    is_live: bool,
}

impl<W: Write> Prose<'_, W> {
    fn event(&mut self, event: Event<'_>) -> io::Result<()> {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(_) => {
                self.is_code = false;
                match self.open.pop().unwrap_or_default() {
                    "link" => self.end_link(),
                    closing => self.page.raw(closing),
                }
            }
            Event::Text(text) if self.is_code => self.page.fill("{}", &[&text]),
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.text(&text),
            Event::Code(code) => {
                self.shown(&code);
                self.page.fill("<code>{}</code>", &[&code])
            }
            Event::SoftBreak | Event::HardBreak => self.page.raw("<br>\n"),
            Event::Rule => self.page.raw("<hr>\n"),
            Event::TaskListMarker(is_done) => self.page.raw(if is_done { "☑ " } else { "☐ " }),
            // Of what is not asked for there is none; as text it would still be there.
            Event::InlineMath(text) | Event::DisplayMath(text) | Event::FootnoteReference(text) => self.text(&text),
        }
    }

    fn start(&mut self, tag: Tag<'_>) -> io::Result<()> {
        let (opening, closing) = match tag {
            Tag::CodeBlock(kind) => return self.start_code(&kind),
            Tag::Link { dest_url, .. } => return self.start_link(dest_url, ""),
            Tag::Image { dest_url, .. } => return self.start_link(dest_url, "picture: "),
            Tag::List(Some(first)) if first != 1 && self.open.len() < DEPTH_MAX => {
                self.open.push("</ol>\n");
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
            Tag::List(None) => ("<ul>\n", "</ul>\n"),
            Tag::List(Some(_)) => ("<ol>\n", "</ol>\n"),
            Tag::Item => ("<li>", "</li>\n"),
            Tag::Emphasis => ("<em>", "</em>"),
            Tag::Strong => ("<strong>", "</strong>"),
            Tag::Strikethrough => ("<del>", "</del>"),
            _ => ("", ""),
        };
        let is_too_deep = self.open.len() >= DEPTH_MAX;
        self.open.push(if is_too_deep { "" } else { closing });
        if is_too_deep { Ok(()) } else { self.page.raw(opening) }
    }

    fn start_code(&mut self, kind: &CodeBlockKind<'_>) -> io::Result<()> {
        self.is_code = true;
        self.open.push("</pre>\n");
        let info = match kind {
            CodeBlockKind::Fenced(info) => info.trim(),
            CodeBlockKind::Indented => "",
        };
        match language_of(info) {
            Some("") => self.page.raw("<pre>"),
            Some(language) => self.page.fill("<pre class=\"code\" data-language=\"{}\">", &[language]),
            // What stands behind a fence and is no language: a model may go on in its line.
            None => self.page.fill("<pre>{}\n", &[info]),
        }
    }

    fn start_link(&mut self, to: CowStr<'_>, what: &'static str) -> io::Result<()> {
        self.open.push("link");
        self.page.raw(what)?;
        let is_live = self.links.is_empty() && is_address(&to);
        if is_live {
            self.page.fill("<a rel=\"noopener noreferrer nofollow\" href=\"{}\">", &[&to])?;
        }
        self.links.push(Link { to: to.into_string(), words: String::new(), is_live });
        Ok(())
    }

    /// Says where it leads, where that could be taken for something else, or where it is no link.
    fn end_link(&mut self) -> io::Result<()> {
        let Some(Link { to, words, is_live }) = self.links.pop() else { return Ok(()) };
        self.page.raw(if is_live { "</a>" } else { "" })?;
        let seems_another = ["://", "www.", "@"].iter().any(|part| words.contains(part));
        match words != to && !to.is_empty() && (!is_live || seems_another) {
            true => self.page.fill(" ({})", &[&to]),
            false => Ok(()),
        }
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        self.shown(text);
        if self.links.iter().any(|link| link.is_live) { self.page.fill("{}", &[text]) } else { self.page.linked(text) }
    }

    fn shown(&mut self, text: &str) {
        if let Some(link) = self.links.last_mut() {
            link.words.push_str(text);
        }
    }
}
