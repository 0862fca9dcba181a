//! The few words around a hit, with the matched ones marked.

use super::matching::{By, Match, matches};
use super::query::Query;
use super::question::sought;
use super::types::Marks;

/// Length of a snippet, in characters, without the marks.
pub(crate) const SNIPPET_CHARS: usize = 200;
/// Characters shown before the first match.
const LEAD_CHARS: usize = 60;
/// Text that is looked through at once.
const PIECE_BYTES: usize = 512 * 1024;

/// A snippet and how much of the query it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snippet {
    /// On one line, marked.
    pub(crate) text: String,
    /// How many of the query's terms are marked in it.
    pub(crate) terms_shown: usize,
    /// Where in the text it begins, in bytes.
    pub(crate) at: usize,
}

/// The part of `text` that shows most of the query. Where nothing of it is found, its beginning.
/// A long text is looked through piece by piece, so that memory does not grow with it.
pub(crate) fn snippet(text: &str, query: &Query, by: By, marks: &Marks) -> Snippet {
    let sought = sought(query, by);
    let mut best: Option<Snippet> = None;
    let mut piece_at = 0;
    for piece in pieces(text) {
        let matches = matches(piece, &sought, by);
        let (start, terms_shown) = best_window(piece, &matches);
        if best.as_ref().is_none_or(|best| best.terms_shown < terms_shown) {
            best = Some(Snippet { text: render(piece, start, &matches, marks), terms_shown, at: piece_at + start });
        }
        if terms_shown == sought.count {
            break;
        }
        piece_at += piece.len();
    }
    best.unwrap_or(Snippet { text: String::new(), terms_shown: 0, at: 0 })
}

/// How a text begins, on one line, in the length of a snippet.
pub(crate) fn beginning(text: &str) -> String {
    render(text, 0, &[], &Marks::default())
}

fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = (0..=PIECE_BYTES.min(rest.len())).rev().find(|end| rest.is_char_boundary(*end)).unwrap_or(0);
        let (piece, tail) = rest.split_at(end);
        rest = tail;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The match to begin with, so that most different terms fit, and how many do.
fn best_window(text: &str, matches: &[Match]) -> (usize, usize) {
    let mut best = (0, 0);
    for (n, first) in matches.iter().enumerate() {
        // Bytes for characters: exact for ASCII and close enough to choose by.
        let inside = matches[n..].iter().take_while(|m| m.end <= first.start + SNIPPET_CHARS - LEAD_CHARS);
        let mut terms: Vec<usize> = inside.map(|m| m.term).collect();
        terms.sort_unstable();
        terms.dedup();
        // A match longer than a snippet is still one.
        let shown = terms.len().max(1);
        if shown > best.1 {
            best = (first.start, shown);
        }
    }
    let (start, shown) = best;
    (window_start(text, start), shown)
}

/// Some words before a match, from the beginning of a word where one is near.
fn window_start(text: &str, first: usize) -> usize {
    let before = |end: usize, chars: usize| text[..end].char_indices().rev().nth(chars - 1).map_or(0, |(at, _)| at);
    // Near the end of the text there is room for more in front.
    let at = before(first, LEAD_CHARS).min(before(text.len(), SNIPPET_CHARS));
    if at == 0 {
        return 0;
    }
    let word = text[at..first].find(char::is_whitespace).map(|space| at + space);
    word.filter(|word| *word < first).unwrap_or(at)
}

fn render(text: &str, start: usize, matches: &[Match], marks: &Marks) -> String {
    let end = text[start..].char_indices().nth(SNIPPET_CHARS).map_or(text.len(), |(at, _)| start + at);
    let mut line = Line { text: String::new(), space: false };
    if start > 0 {
        line.text.push('…');
    }
    let mut at = start;
    for m in matches.iter().filter(|m| m.start >= start && m.start < end) {
        if m.start < at {
            continue;
        }
        line.push(&text[at..m.start]);
        line.mark(&marks.start);
        line.push(&text[m.start..m.end.min(end)]);
        line.text.push_str(&marks.end);
        at = m.end.min(end);
    }
    line.push(&text[at..end]);
    if end < text.len() {
        line.text.push('…');
    }
    line.text
}

/// Text put on one line: runs of white space and control characters become one space.
struct Line {
    text: String,
    space: bool,
}

impl Line {
    fn push(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_whitespace() || c.is_control() {
                self.space = true;
                continue;
            }
            self.flush();
            self.text.push(c);
        }
    }

    fn mark(&mut self, mark: &str) {
        self.flush();
        self.text.push_str(mark);
    }

    fn flush(&mut self) {
        if std::mem::take(&mut self.space) && !self.text.is_empty() {
            self.text.push(' ');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, query: &str, by: By, expected: &str) {
        let query = Query::parse(query).unwrap();
        assert_eq!(snippet(text, &query, by, &Marks::default()).text, expected);
    }

    #[test]
    fn words_are_marked_as_the_index_finds_them() {
        check("the quick brown fox", "quick fox", By::Words, "the [quick] brown [fox]");
        check("La Sesión\n\tempezó", "sesion empezo", By::Words, "La [Sesión] [empezó]");
        check("foo bar, foo-bar, foobar", "foo-bar", By::Words, "[foo bar], [foo-bar], foobar");
        check("configure the config", "conf*", By::Words, "[configure] the [config]");
        check("configure the config", "config", By::Words, "configure the [config]");
        check("one two NOT three", "\"one two\" NOT three", By::Words, "[one two] NOT three");
        check("昨日は日本語abcを勉強した", "日本 abc", By::Words, "昨日は[日本]語[abc]を勉強した");
        check("nothing of it", "else", By::Words, "nothing of it");
        check("", "else", By::Words, "");
        check("a\u{1b}[31mred", "red", By::Words, "a [31mred");
    }

    #[test]
    fn of_a_question_the_words_that_say_what_is_looked_for_are_marked_in_whatever_form() {
        let asked = "how did we change the backoff?";
        check("we changed the Backoffs, how", asked, By::Words, "we [changed] the [Backoffs], how");
        check("the exchange of a backoffice", asked, By::Words, "the exchange of a backoffice");
        check("retries of net/retry.rs", "why retry net/retry.rs", By::Words, "[retries] of [net/retry.rs]");
        // Of fewer, all are looked for; who says how they stand has them so.
        check("what is it", "what is it", By::Words, "[what] [is] [it]");
        check("we fixed the fix", "\"the fix\" OR how", By::Words, "we fixed [the fix]");
        let far = format!("how did we do it, and why did we? {} so it was changed by a backoff", "and ".repeat(300));
        let query = Query::parse(asked).unwrap();
        let found = snippet(&far, &query, By::Words, &Marks::default());
        assert!(found.terms_shown == 2 && found.text.contains("[changed] by a [backoff]"), "{found:?}");
    }

    #[test]
    fn substrings_are_marked_inside_words() {
        check("fn parse_config_file()", "parse_conf", By::Substrings, "fn [parse_conf]ig_file()");
        check("昨日は日本語を勉強した", "日本語", By::Substrings, "昨日は[日本語]を勉強した");
        check("aaaa", "aa aaa", By::Substrings, "[aa][aa]");
    }

    #[test]
    fn a_long_text_is_cut_around_the_densest_place() {
        let text = format!("alpha {} alpha beta {}", "x ".repeat(200), "y ".repeat(200));
        let query = Query::parse("alpha beta").unwrap();
        let found = snippet(&text, &query, By::Words, &Marks::default());
        assert_eq!(found.terms_shown, 2);
        assert!(found.text.contains("[alpha] [beta]") && found.text.starts_with('…') && found.text.ends_with('…'));
        let plain = found.text.chars().filter(|c| !"[]…".contains(*c)).count();
        assert!((SNIPPET_CHARS - 10..=SNIPPET_CHARS).contains(&plain), "{plain}");
    }

    #[test]
    fn long_matches_and_wide_letters_are_cut_at_characters() {
        let text = "日".repeat(1000);
        let query = Query::parse(&"日".repeat(500)).unwrap();
        let found = snippet(&text, &query, By::Substrings, &Marks::default());
        assert_eq!(found.text.chars().filter(|c| *c == '日').count(), SNIPPET_CHARS);
    }
}
