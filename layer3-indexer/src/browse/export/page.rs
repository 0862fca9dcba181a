//! Markup on its way into a page.
//!
//! Nothing of a transcript is markup. [`Page::raw`] and [`Page::fill`] take constants of this program alone, and every text goes
//! through `escape`. What comes later but belongs further up, the result of a call, has a place kept free for it: what stands
//! behind the place waits in memory until it is filled, and no more than [`HELD_BYTES_MAX`] of it.

use std::collections::VecDeque;
use std::io::{self, Write};

use super::text::visible;

/// So much waits for results at most; then the call that waits longest gets none at its place.
const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// So many calls likewise.
const PLACES_MAX: usize = 1000;

/// A page that is being written.
pub(crate) struct Page<W: Write> {
    out: W,
    places: VecDeque<Place>,
    /// The place that is being filled.
    filling: Option<usize>,
    held: usize,
}

struct Place {
    call: String,
    filled: Option<Vec<u8>>,
    behind: Vec<u8>,
}

impl<W: Write> Page<W> {
    pub(crate) fn new(out: W) -> Page<W> {
        Page { out, places: VecDeque::new(), filling: None, held: 0 }
    }

    /// Markup: only what stands in this program.
    pub(crate) fn raw(&mut self, markup: &'static str) -> io::Result<()> {
        self.write_all(markup.as_bytes())
    }

    /// Markup with a text, escaped, in place of each `{}`.
    pub(crate) fn fill(&mut self, markup: &'static str, texts: &[&str]) -> io::Result<()> {
        let mut texts = texts.iter();
        for (n, markup) in markup.split("{}").enumerate() {
            if n > 0 {
                escape(self, texts.next().expect("a text for each place"))?;
            }
            self.raw(markup)?;
        }
        Ok(())
    }

    /// A text in which web addresses are links.
    pub(super) fn linked(&mut self, text: &str) -> io::Result<()> {
        let mut rest = text;
        let mut from = 0;
        while let Some(at) = rest[from..].find("http").map(|at| from + at) {
            let (before, here) = rest.split_at(at);
            let starts_word = !before.chars().next_back().is_some_and(char::is_alphanumeric);
            match starts_word.then(|| address(here)).flatten() {
                Some(address) => {
                    self.fill("{}", &[before])?;
                    self.link(address, address)?;
                    rest = &here[address.len()..];
                    from = 0;
                }
                None => from = at + 4,
            }
        }
        self.fill("{}", &[rest])
    }

    /// A link to a web address.
    pub(super) fn link(&mut self, address: &str, words: &str) -> io::Result<()> {
        self.fill("<a rel=\"noopener noreferrer nofollow\" href=\"{}\">{}</a>", &[address, words])
    }

    /// Keeps a place for the result of the call.
    pub(super) fn keep_place(&mut self, call: &str) {
        self.places.push_back(Place { call: call.to_owned(), filled: None, behind: Vec::new() });
    }

    /// Goes on at the place of this call, if one is kept, until [`Page::leave_place`].
    pub(super) fn go_to_place(&mut self, call: &str) -> bool {
        let place = self.places.iter().position(|place| place.filled.is_none() && place.call == call);
        if let Some(place) = place {
            self.places[place].filled = Some(Vec::new());
        }
        self.filling = place;
        place.is_some()
    }

    /// Goes on at the end.
    pub(super) fn leave_place(&mut self) -> io::Result<()> {
        if let Some(filled) = self.filling.take().and_then(|place| self.places[place].filled.as_ref()) {
            self.held += filled.len();
        }
        self.write_what_is_whole()
    }

    /// Writes everything; a place that nothing came for gets this.
    pub(crate) fn finish(&mut self, missing: &'static str) -> io::Result<()> {
        for place in &mut self.places {
            place.filled.get_or_insert_with(|| missing.as_bytes().to_vec());
        }
        self.write_what_is_whole()?;
        self.out.flush()
    }

    fn write_what_is_whole(&mut self) -> io::Result<()> {
        while self.places.front().is_some_and(|place| place.filled.is_some()) {
            let Some(Place { filled, behind, .. }) = self.places.pop_front() else { break };
            let filled = filled.unwrap_or_default();
            self.out.write_all(&filled)?;
            self.out.write_all(&behind)?;
            self.held = self.held.saturating_sub(filled.len() + behind.len());
        }
        Ok(())
    }
}

impl<W: Write> Write for Page<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let buffer = match self.filling {
            Some(place) => self.places[place].filled.as_mut(),
            None => self.places.back_mut().map(|place| &mut place.behind),
        };
        let Some(buffer) = buffer else {
            self.out.write_all(bytes)?;
            return Ok(bytes.len());
        };
        buffer.extend_from_slice(bytes);
        if self.filling.is_none() {
            self.held += bytes.len();
        }
        let is_too_much = |page: &Self| page.held > HELD_BYTES_MAX || page.places.len() > PLACES_MAX;
        while self.filling.is_none() && is_too_much(self) && !self.places.is_empty() {
            self.places[0].filled.get_or_insert_default();
            self.write_what_is_whole()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
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

/// Whether this is a web address through and through, and fit to be a link.
pub(super) fn is_address(text: &str) -> bool {
    host_of(text).is_some_and(|rest| rest.chars().all(is_of_address))
}

/// The http or https address that the text begins with; never one with a user, who could look
/// like the host.
fn address(text: &str) -> Option<&str> {
    let rest = host_of(text)?;
    let length = rest.find(|c| !is_of_address(c)).unwrap_or(rest.len());
    let end = rest[..length].trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '*']).len();
    Some(&text[..text.len() - rest.len() + end])
}

/// What stands behind `https://`, where a host does that is nobody's at somebody's.
fn host_of(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let authority = rest.split(|c| !is_of_address(c) || "/?#".contains(c)).next()?;
    let is_host = authority.chars().next().is_some_and(char::is_alphanumeric) && !authority.contains('@');
    is_host.then_some(rest)
}

fn is_of_address(c: char) -> bool {
    c.is_alphanumeric() || "-._~:/?#[]@!$&()*+,;=%".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linked(text: &str) -> String {
        let mut page = Page::new(Vec::new());
        page.linked(text).unwrap();
        String::from_utf8(page.out).unwrap()
    }

    #[test]
    fn text_is_never_markup() {
        assert_eq!(linked("<b>&\"' \u{202e}\0"), "&lt;b&gt;&amp;&quot;&#39; ⟨U+202E⟩␀");
    }

    #[test]
    fn only_web_addresses_are_links() {
        let link = |url: &str| format!("<a rel=\"noopener noreferrer nofollow\" href=\"{url}\">{url}</a>");
        assert_eq!(linked("see https://a.b/c?d=1&e, ok"), format!("see {}, ok", link("https://a.b/c?d=1&amp;e")));
        assert_eq!(linked("(http://a.b/ñ)."), format!("({}).", link("http://a.b/ñ")));
        assert_eq!(linked("https://a.b/\"onx=\"1"), format!("{}&quot;onx=&quot;1", link("https://a.b/")));
        for text in [
            "javascript:alert(1)",
            "data:text/html,x",
            "https://",
            "xhttps://a.b",
            "https://bank.com@evil.test/",
            "http:/a",
        ] {
            assert_eq!(linked(text), text, "{text}");
            assert!(!is_address(text), "{text}");
        }
        assert!(is_address("https://a.b/c?d=1&e") && !is_address("https://a.b/ c") && !is_address("https://a.b/<x>"));
    }

    #[test]
    fn a_place_is_filled_later_and_what_stands_behind_it_waits() {
        let mut page = Page::new(Vec::new());
        page.raw("a(").unwrap();
        page.keep_place("1");
        page.raw(")b(").unwrap();
        page.keep_place("2");
        page.raw(")c").unwrap();
        assert!(page.go_to_place("2") && !page.go_to_place("2") && !page.go_to_place("3"));
        assert!(page.go_to_place("1"));
        page.raw("one").unwrap();
        page.leave_place().unwrap();
        assert_eq!(page.out, b"a(one)b()c");
        page.keep_place("4");
        page.raw("d").unwrap();
        assert_eq!(page.out, b"a(one)b()c");
        page.finish("none").unwrap();
        assert_eq!(page.out, b"a(one)b()cnoned");
    }

    #[test]
    fn no_more_than_so_much_waits() {
        let mut page = Page::new(Vec::new());
        page.keep_place("never");
        let piece = "x".repeat(1024);
        for _ in 0..3 * HELD_BYTES_MAX / piece.len() {
            page.fill("{}", &[&piece]).unwrap();
            assert!(page.held <= HELD_BYTES_MAX);
        }
        assert!(page.out.len() > 2 * HELD_BYTES_MAX, "it was written");
        assert!(!page.go_to_place("never"));
    }
}
