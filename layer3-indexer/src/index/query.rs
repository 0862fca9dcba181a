//! What a user typed into the search, and what it means. Any text is a valid query.
//!
//! A text that reads as FTS5 syntax (AND, OR, NOT, "a phrase", prefix*, NEAR(a b, 5), parentheses)
//! means that; every other text means all of its words. Either way SQLite is only ever given
//! quoted words joined by operators of ours, so no text can be an SQL error or reach a column by
//! its name.

use std::borrow::Cow;
use std::collections::HashMap;

use super::blobs::beginning_of_blob;
use super::fold::{folded, indexed, is_own_word, is_word_char, words as words_of};
use super::matching::{self, Term};
use super::trigram;

/// Longest query that is looked at, in characters; the rest is dropped.
pub(crate) const QUERY_CHARS_MAX: usize = 2000;
/// Most words and phrases of a query that are looked at.
pub const QUERY_TERMS_MAX: usize = 64;
/// Trigrams of a word or phrase that are looked up. Each costs a look into every segment of the index; a few tell
/// nearly all texts apart that more would, and what is left is compared anyway.
const TRIGRAMS_MAX: usize = 6;
/// Deepest nesting of parentheses; a deeper query is searched as plain words.
const DEPTH_MAX: usize = 32;
/// Distance of NEAR where none is given, as in FTS5.
const NEAR_DEFAULT: u32 = 10;

/// Words from which on those of a query are taken for a sentence that somebody copied.
const SENTENCE_WORDS: usize = 4;
/// Words between the first and the last of a query that stand close together.
const NEAR_WORDS: usize = 12;

/// The words of a query close together, for the index of words, in FTS5's syntax.
#[derive(Debug)]
pub(crate) struct Close {
    /// As they were typed.
    pub(crate) in_a_row: String,
    /// In any order.
    pub(crate) near: String,
    /// Whether they are as many as a sentence has.
    pub(crate) is_sentence: bool,
}

/// What a query means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expression {
    /// The text holds this.
    Term(Term),
    /// The text holds all of these at most so many words apart.
    Near(Vec<Term>, u32),
    /// All hold.
    And(Vec<Expression>),
    /// One holds.
    Or(Vec<Expression>),
    /// The first holds and the second does not.
    Not(Box<Expression>, Box<Expression>),
}

/// A query that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Its meaning.
    pub(crate) expression: Expression,
    /// Whether some of it was dropped because it was too long.
    pub(crate) is_cut: bool,
    /// Whether it says nothing about how its words stand: no quotes, no operators.
    is_plain: bool,
    /// All of it, where it has operators and may be a sentence all the same: "you should NOT use it here".
    sentence: Option<Term>,
}

impl Expression {
    /// Whether a short text, such as a title, holds this: its terms as whole words.
    pub(crate) fn is_in_words_of(&self, text: &str) -> bool {
        let holds = |term: &Term| matching::holds_words(text, term);
        match self {
            Expression::Term(term) => holds(term),
            Expression::Near(terms, _) => terms.iter().all(holds),
            Expression::And(parts) => parts.iter().all(|part| part.is_in_words_of(text)),
            Expression::Or(parts) => parts.iter().any(|part| part.is_in_words_of(text)),
            Expression::Not(keep, drop) => keep.is_in_words_of(text) && !drop.is_in_words_of(text),
        }
    }
}

impl Query {
    /// Understands any text; `None` when it holds nothing to search for.
    pub fn parse(text: &str) -> Option<Query> {
        let is_cut = text.chars().nth(QUERY_CHARS_MAX).is_some();
        let text: String = text.chars().take(QUERY_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if let Some(mut expression) = syntax(&text) {
            cut_blobs(&mut expression);
            return Some(Query { expression, is_cut, is_plain: is_plain(&text), sentence: sentence(&text) });
        }
        let mut words: Vec<_> = plain_words(&text).collect();
        let is_cut = is_cut || words.len() > QUERY_TERMS_MAX;
        words.truncate(QUERY_TERMS_MAX);
        let mut expression = joined(words, Expression::And)?;
        cut_blobs(&mut expression);
        // Quotes that are none of a syntax are those of a title in a question.
        Some(Query { expression, is_cut, is_plain: is_plain(&text.replace('"', " ")), sentence: None })
    }

    /// The same for the index of words, in FTS5's syntax; `None` when no part of it is a word.
    pub(crate) fn words_match(&self) -> Option<String> {
        words_match(&self.expression)
    }

    /// The same for each part of a query that asks for all of several; one for any other query.
    /// Parts that are no words are left out.
    pub(crate) fn parts_match(&self) -> Vec<(&Expression, String)> {
        let parts = match &self.expression {
            Expression::And(parts) => parts.iter().collect(),
            other => vec![other],
        };
        parts.into_iter().filter_map(|part| Some((part, words_match(part)?))).collect()
    }

    /// The same with all words of the query side by side; `None` where it has fewer than two, or says itself how
    /// they stand. Of what has operators and may be a sentence, a message that holds it as it was typed is found whatever
    /// the operators mean.
    pub(crate) fn close_together(&self) -> Option<Close> {
        if let Some(sentence) = &self.sentence {
            let in_a_row = quoted(&indexed(Cow::Borrowed(&sentence.text)));
            return Some(Close { near: in_a_row.clone(), in_a_row, is_sentence: true });
        }
        let mut words = Vec::new();
        plain_terms(&self.expression, &mut words)?;
        let texts: Vec<&str> = words.iter().map(|term| term.text.as_str()).collect();
        let in_a_row = indexed(Cow::Owned(texts.join(" "))).into_owned();
        let count = words_of(&folded(&in_a_row)).count();
        let near: Vec<String> = words.iter().filter_map(|term| word_term(term)).collect();
        (near.len() > 1).then(|| Close {
            in_a_row: quoted(&in_a_row),
            near: format!("NEAR({}, {})", near.join(" "), NEAR_WORDS.max(count)),
            is_sentence: count >= SENTENCE_WORDS,
        })
    }

    /// Its words, where it says nothing about how they stand.
    pub(crate) fn plain_words(&self) -> Option<Vec<&Term>> {
        let mut terms = Vec::new();
        (self.is_plain && plain_terms(&self.expression, &mut terms).is_some()).then_some(terms)
    }

    /// The same query with some of its words spelled otherwise.
    pub(crate) fn spelled(&self, spelled: &HashMap<String, String>) -> Query {
        let mut query = self.clone();
        let spell = |part: &mut Expression| {
            if let Expression::Term(term) = part
                && let Some(word) = spelled.get(&term.text)
            {
                term.text.clone_from(word);
            }
        };
        match &mut query.expression {
            Expression::And(parts) => parts.iter_mut().for_each(spell),
            word => spell(word),
        }
        query
    }

    /// The words that a text must hold, for whatever reason: not those that it must not.
    pub(crate) fn positive_terms(&self) -> Vec<&Term> {
        let mut terms = Vec::new();
        collect_terms(&self.expression, &mut terms);
        terms
    }

    /// Trigrams that a text must hold, in FTS5's syntax for an index without positions; `None`
    /// when the query is too short to tell.
    pub(crate) fn trigrams_match(&self) -> Option<String> {
        trigrams_match(&self.expression)
    }

    /// Whether a text, folded ([`folded`]), holds what is searched for, anywhere in its words.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        is_in(&self.expression, text)
    }

    /// Whether a record may hold what is searched for, by its line of JSON as it is stored. A text
    /// stands in its line letter by letter but for what JSON escapes; whatever may be written with other
    /// letters is answered with yes.
    pub(crate) fn may_be_in_line(&self, line: &str) -> bool {
        let may_be_escaped = || ["\\u", "\\/"].into_iter().any(|escape| is_within(escape, line));
        may_be_in_line(&self.expression, &folded(line)) || may_be_escaped()
    }

    /// Whether the index of words finds every text that holds this: each of its characters is a
    /// word by itself, so there are no parts of words to look for.
    pub(crate) fn is_words_alone(&self) -> bool {
        self.terms().iter().all(|term| term.text.chars().all(is_own_word))
    }

    /// What is to be marked in a hit.
    pub fn terms(&self) -> Vec<&Term> {
        let mut terms = Vec::from_iter(&self.sentence);
        collect_terms(&self.expression, &mut terms);
        terms
    }
}

fn is_plain(text: &str) -> bool {
    !text.contains('"') && !text.split_whitespace().any(is_operator)
}

/// A text of words and operators, of as many beside what stands in quotes as a sentence has.
fn sentence(text: &str) -> Option<Term> {
    let unquoted: String = text.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let is_sentence = !text.contains(['(', '*'])
        && unquoted.split_whitespace().any(is_operator)
        && words_of(&folded(&unquoted)).count() >= SENTENCE_WORDS;
    is_sentence.then(|| Term { text: text.trim().to_owned(), is_prefix: false })
}

fn is_operator(word: &str) -> bool {
    matches!(word, "AND" | "OR" | "NOT")
}

/// What was pasted of bytes is searched for by its beginning, which is what is indexed of them.
fn cut_blobs(expression: &mut Expression) {
    let cut = |term: &mut Term| {
        if let Some(beginning) = beginning_of_blob(&term.text) {
            *term = Term { text: beginning.to_owned(), is_prefix: true };
        }
    };
    match expression {
        Expression::Term(term) => cut(term),
        Expression::Near(terms, _) => terms.iter_mut().for_each(cut),
        Expression::And(parts) | Expression::Or(parts) => parts.iter_mut().for_each(cut_blobs),
        Expression::Not(keep, drop) => {
            cut_blobs(keep);
            cut_blobs(drop);
        }
    }
}

/// The terms of a query that asks for all of them; `None` for any other.
fn plain_terms<'e>(expression: &'e Expression, terms: &mut Vec<&'e Term>) -> Option<()> {
    match expression {
        Expression::Term(term) if !term.is_prefix => terms.push(term),
        Expression::And(parts) => parts.iter().try_for_each(|part| plain_terms(part, terms))?,
        _ => return None,
    }
    Some(())
}

fn plain_words(text: &str) -> impl Iterator<Item = Expression> {
    let words = text.split_whitespace().map(|word| word.trim_matches('"')).filter(|word| !word.is_empty());
    words.map(|word| Expression::Term(Term { text: word.to_owned(), is_prefix: false }))
}

fn joined(mut parts: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Option<Expression> {
    match parts.len() {
        0 => None,
        1 => parts.pop(),
        _ => Some(join(parts)),
    }
}

fn words_match(expression: &Expression) -> Option<String> {
    match expression {
        Expression::Term(term) => word_term(term),
        Expression::Near(terms, distance) => {
            let words: Vec<_> = terms.iter().filter_map(word_term).collect();
            (!words.is_empty()).then(|| format!("NEAR({}, {distance})", words.join(" ")))
        }
        // A part without any word, such as `->`, cannot be asked of an index of words: the rest can.
        Expression::And(parts) => together(parts.iter().filter_map(words_match), " AND "),
        Expression::Or(parts) => together(parts.iter().filter_map(words_match), " OR "),
        Expression::Not(keep, drop) => match (words_match(keep), words_match(drop)) {
            (Some(keep), Some(drop)) => Some(format!("({keep} NOT {drop})")),
            (keep, _) => keep,
        },
    }
}

pub(super) fn word_term(term: &Term) -> Option<String> {
    let has_word = term.text.chars().any(is_word_char);
    has_word.then(|| quoted(&indexed(Cow::Borrowed(&term.text))) + if term.is_prefix { " *" } else { "" })
}

pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

fn together(parts: impl Iterator<Item = String>, operator: &str) -> Option<String> {
    let parts: Vec<_> = parts.collect();
    match parts.len() {
        0 => None,
        1 => parts.into_iter().next(),
        _ => Some(format!("({})", parts.join(operator))),
    }
}

fn trigrams_match(expression: &Expression) -> Option<String> {
    match expression {
        Expression::Term(term) => term_trigrams(term),
        Expression::Near(terms, _) => together(terms.iter().filter_map(term_trigrams), " AND "),
        Expression::And(parts) => together(parts.iter().filter_map(trigrams_match), " AND "),
        // One branch that cannot be told leaves the whole untold.
        Expression::Or(parts) => {
            let parts: Option<Vec<_>> = parts.iter().map(trigrams_match).collect();
            together(parts?.into_iter(), " OR ")
        }
        Expression::Not(keep, _) => trigrams_match(keep),
    }
}

fn term_trigrams(term: &Term) -> Option<String> {
    let mut tokens = trigram::tokens(&term.text);
    // In the order of their hashes, so these are from all over the text.
    tokens.truncate(TRIGRAMS_MAX);
    together(tokens.into_iter().map(|token| quoted(&token)), " AND ")
}

fn is_in(expression: &Expression, text: &str) -> bool {
    match expression {
        Expression::Term(term) => text.contains(&folded(&term.text)),
        Expression::Near(terms, _) => terms.iter().all(|term| text.contains(&folded(&term.text))),
        Expression::And(parts) => parts.iter().all(|part| is_in(part, text)),
        Expression::Or(parts) => parts.iter().any(|part| is_in(part, text)),
        Expression::Not(keep, drop) => is_in(keep, text) && !is_in(drop, text),
    }
}

/// As [`is_in`], for a folded line of JSON: what such a line writes otherwise is taken to be there.
fn may_be_in_line(expression: &Expression, line: &str) -> bool {
    let may_be = |term: &Term| {
        let is_escaped = |c: char| c.is_control() || matches!(c, '"' | '\\');
        term.text.contains(is_escaped) || is_within(&folded(&term.text), line)
    };
    match expression {
        Expression::Term(term) => may_be(term),
        Expression::Near(terms, _) => terms.iter().all(may_be),
        Expression::And(parts) => parts.iter().all(|part| may_be_in_line(part, line)),
        Expression::Or(parts) => parts.iter().any(|part| may_be_in_line(part, line)),
        Expression::Not(keep, _) => may_be_in_line(keep, line),
    }
}

/// Several times as fast as the standard library for what is mostly not there.
fn is_within(text: &str, line: &str) -> bool {
    memchr::memmem::find(line.as_bytes(), text.as_bytes()).is_some()
}

fn collect_terms<'e>(expression: &'e Expression, terms: &mut Vec<&'e Term>) {
    match expression {
        Expression::Term(term) => terms.push(term),
        Expression::Near(near, _) => terms.extend(near),
        Expression::And(parts) | Expression::Or(parts) => parts.iter().for_each(|part| collect_terms(part, terms)),
        Expression::Not(keep, _) => collect_terms(keep, terms),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    Comma,
    And,
    Or,
    Not,
    Near,
    Term(Term),
}

/// The query as FTS5 syntax, when it is that.
fn syntax(text: &str) -> Option<Expression> {
    let tokens = tokens(text)?;
    let terms = tokens.iter().filter(|token| matches!(token, Token::Term(_))).count();
    if terms > QUERY_TERMS_MAX {
        return None;
    }
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
    let expression = parser.any_of()?;
    (parser.at == tokens.len()).then_some(expression)
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        let (token, used) = match c {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            '"' => phrase_token(rest)?,
            _ => word_token(rest)?,
        };
        tokens.push(token);
        rest = rest[used..].trim_start();
    }
    Some(tokens)
}

/// A phrase in quotes, in which a quote is written twice, and the star behind it.
fn phrase_token(rest: &str) -> Option<(Token, usize)> {
    let mut text = String::new();
    let mut at = 1;
    loop {
        let end = at + rest[at..].find('"')?;
        text.push_str(&rest[at..end]);
        at = end + 1;
        if !rest[at..].starts_with('"') {
            break;
        }
        text.push('"');
        at += 1;
    }
    let is_prefix = rest[at..].starts_with('*');
    (!text.trim().is_empty()).then(|| (Token::Term(Term { text, is_prefix }), at + usize::from(is_prefix)))
}

/// What FTS5 takes for a word without quotes.
fn word_token(rest: &str) -> Option<(Token, usize)> {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || (!c.is_ascii() && !c.is_whitespace());
    let length = rest.find(|c| !is_bare(c)).unwrap_or(rest.len());
    let word = &rest[..length];
    let next = rest[length..].chars().next();
    let token = match word {
        "" => return None,
        "AND" => Token::And,
        "OR" => Token::Or,
        "NOT" => Token::Not,
        "NEAR" if next == Some('(') => Token::Near,
        _ => {
            let is_prefix = next == Some('*');
            return Some((Token::Term(Term { text: word.to_owned(), is_prefix }), length + usize::from(is_prefix)));
        }
    };
    Some((token, length))
}

/// Recursive descent; as in FTS5, words side by side bind tightest, then NOT, AND, OR.
struct Parser<'t> {
    tokens: &'t [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn any_of(&mut self) -> Option<Expression> {
        let mut parts = vec![self.all_of()?];
        while self.take(&Token::Or) {
            parts.push(self.all_of()?);
        }
        joined(parts, Expression::Or)
    }

    fn all_of(&mut self) -> Option<Expression> {
        let mut parts = vec![self.without()?];
        while self.take(&Token::And) {
            parts.push(self.without()?);
        }
        joined(parts, Expression::And)
    }

    fn without(&mut self) -> Option<Expression> {
        let mut expression = self.side_by_side()?;
        while self.take(&Token::Not) {
            expression = Expression::Not(Box::new(expression), Box::new(self.side_by_side()?));
        }
        Some(expression)
    }

    fn side_by_side(&mut self) -> Option<Expression> {
        let mut parts = vec![self.single()?];
        while matches!(self.tokens.get(self.at), Some(Token::Term(_) | Token::Near | Token::Open)) {
            parts.push(self.single()?);
        }
        joined(parts, Expression::And)
    }

    fn single(&mut self) -> Option<Expression> {
        if let Some(term) = self.term() {
            return Some(Expression::Term(term));
        }
        if self.take(&Token::Near) {
            return self.near();
        }
        if !self.take(&Token::Open) || self.depth == DEPTH_MAX {
            return None;
        }
        self.depth += 1;
        let expression = self.any_of()?;
        self.depth -= 1;
        self.take(&Token::Close).then_some(expression)
    }

    fn near(&mut self) -> Option<Expression> {
        if !self.take(&Token::Open) {
            return None;
        }
        let mut terms = Vec::new();
        while let Some(term) = self.term() {
            terms.push(term);
        }
        let mut distance = NEAR_DEFAULT;
        if self.take(&Token::Comma) {
            distance = self.term().filter(|term| !term.is_prefix)?.text.parse().ok().filter(|n| *n <= 1_000_000)?;
        }
        (self.take(&Token::Close) && !terms.is_empty()).then_some(Expression::Near(terms, distance))
    }

    fn term(&mut self) -> Option<Term> {
        let Some(Token::Term(term)) = self.tokens.get(self.at) else { return None };
        self.at += 1;
        Some(term.clone())
    }

    fn take(&mut self, token: &Token) -> bool {
        let is_next = self.tokens.get(self.at) == Some(token);
        self.at += usize::from(is_next);
        is_next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Trigrams are written with their letters.
    fn check(text: &str, words: Option<&str>, trigrams: Option<&str>) {
        let query = Query::parse(text);
        assert_eq!(query.as_ref().and_then(Query::words_match).as_deref(), words, "words of {text:?}");
        let expected = trigrams.map(|trigrams| in_order(trigrams, |letters| trigram::tokens(letters).concat()));
        let found = query.as_ref().and_then(Query::trigrams_match).map(|found| in_order(&found, str::to_owned));
        assert_eq!(found, expected, "trigrams of {text:?}: {trigrams:?}");
    }

    /// An expression whose quoted words are replaced, those that are joined by AND in order.
    fn in_order(expression: &str, replaced: impl Fn(&str) -> String) -> String {
        let pieces = expression.split('"').enumerate();
        let pieces = pieces.map(|(n, piece)| if n % 2 == 1 { replaced(piece) } else { piece.to_owned() });
        let text: String = pieces.collect();
        let groups = text.split('(').map(|group| {
            let (inside, after) = group.split_once(')').unwrap_or((group, ""));
            let mut words: Vec<&str> = inside.split(" AND ").collect();
            if !inside.contains(" OR ") {
                words.sort_unstable();
            }
            format!("{}){after}", words.join(" AND "))
        });
        groups.collect::<Vec<_>>().join("(")
    }

    #[test]
    fn syntax_is_understood() {
        check("one", Some(r#""one""#), Some(r#""one""#));
        check("one two", Some(r#"("one" AND "two")"#), Some(r#"("one" AND "two")"#));
        check("one AND four", Some(r#"("one" AND "four")"#), Some(r#"("one" AND ("fou" AND "our"))"#));
        check("one OR two NOT six", Some(r#"("one" OR ("two" NOT "six"))"#), Some(r#"("one" OR "two")"#));
        check("one OR a", Some(r#"("one" OR "a")"#), None);
        check("\"one two\"*", Some(r#""one two" *"#), Some(r#"("one" AND "two")"#));
        check("conf*", Some(r#""conf" *"#), Some(r#"("con" AND "onf")"#));
        check("NEAR(one two, 5)", Some(r#"NEAR("one" "two", 5)"#), Some(r#"("one" AND "two")"#));
        check("NEAR(one two)", Some(r#"NEAR("one" "two", 10)"#), Some(r#"("one" AND "two")"#));
        check("one (two OR six)", Some(r#"("one" AND ("two" OR "six"))"#), Some(r#"("one" AND ("two" OR "six"))"#));
        let quotes = Query::parse(r#""say ""hi""""#).unwrap();
        assert_eq!(quotes.words_match().unwrap(), r#""say ""hi""""#);
        let tokens = [trigram::tokens("say"), trigram::tokens("\"hi\"")].concat();
        assert!(tokens.len() == 3 && tokens.iter().all(|token| quotes.trigrams_match().unwrap().contains(token)));
        check("parse_co", Some(r#""parse_co""#), Some(r#"("_co" AND "ars" AND "e_c" AND "par" AND "rse" AND "se_")"#));
        let long = Query::parse("parse_configuration_of").and_then(|query| query.trigrams_match()).unwrap();
        assert_eq!(long.matches(" AND ").count() + 1, TRIGRAMS_MAX, "{long}");
    }

    #[test]
    fn everything_else_is_plain_words() {
        check("foo-bar", Some(r#""foo-bar""#), Some(r#"("-ba" AND "bar" AND "foo" AND "o-b" AND "oo-")"#));
        check("don't", Some(r#""don't""#), Some(r#"("don" AND "n't" AND "on'")"#));
        check(
            "\"open quote",
            Some(r#"("open" AND "quote")"#),
            Some(r#"(("ope" AND "pen") AND ("ote" AND "quo" AND "uot"))"#),
        );
        check("user:xyz", Some(r#""user:xyz""#), Some(r#"(":xy" AND "er:" AND "r:x" AND "ser" AND "use" AND "xyz")"#));
        check(
            "{user tool}: x",
            Some(r#"("{user" AND "tool}:" AND "x")"#),
            Some(r#"(("ser" AND "use" AND "{us") AND ("l}:" AND "ol}" AND "ool" AND "too"))"#),
        );
        check("^one", Some(r#""^one""#), Some(r#"("^on" AND "one")"#));
        check("AND", Some(r#""AND""#), Some(r#""AND""#));
        check("one AND", Some(r#"("one" AND "AND")"#), Some(r#"("one" AND "AND")"#));
        check("NOT one", Some(r#"("NOT" AND "one")"#), Some(r#"("NOT" AND "one")"#));
        check("(one", Some(r#""(one""#), Some(r#"("(on" AND "one")"#));
        check("*", None, None);
        check("->", None, None);
        check("🎉", None, None);
        check("日本", Some(r#"" 日  本 ""#), None);
        check("日本語", Some(r#"" 日  本  語 ""#), Some(r#""日本語""#));
        check("one\0two", Some(r#"("one" AND "two")"#), Some(r#"("one" AND "two")"#));
    }

    #[test]
    fn only_characters_that_are_words_leave_no_parts_to_look_for() {
        for (text, expected) in [("日本", true), ("日本 中国", true), ("日本a", false), ("->", false), ("abc", false)]
        {
            assert_eq!(Query::parse(text).unwrap().is_words_alone(), expected, "{text}");
        }
    }

    #[test]
    fn nothing_is_nothing() {
        for text in ["", "  \t\n", "\0", "\"", "\"\"", "\" \""] {
            assert_eq!(Query::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn long_and_deep_queries_are_bounded() {
        let many = "word ".repeat(200);
        let query = Query::parse(&many).unwrap();
        assert_eq!((query.terms().len(), query.is_cut), (QUERY_TERMS_MAX, true));
        assert!(Query::parse(&"x".repeat(QUERY_CHARS_MAX + 1)).unwrap().is_cut);
        let deep = format!("{}x{}", "(".repeat(200), ")".repeat(200));
        assert!(matches!(Query::parse(&deep).unwrap().expression, Expression::Term(_)));
    }

    #[test]
    fn a_line_that_cannot_hold_a_text_is_told_from_one_that_may() {
        for (query, line, expected) in [
            ("Backoff_wi", r#"{"text":"retry_BACKOFF_window"}"#, true),
            ("backoff_wi", r#"{"text":"retry_back"}"#, false),
            ("sesion", r#"{"text":"la sesión"}"#, true),
            ("sesion", r#"{"text":"la ses\u00edon"}"#, true),
            ("sesion", r#"{"text":"lección"}"#, false),
            ("src/a", r#"{"text":"src\/a"}"#, true),
            ("src/a", r#"{"text":"src/b"}"#, false),
            (r#""say ""x""""#, r#"{"text":"say \"x\""}"#, true),
            (r"a\b", r#"{"text":"a\\b"}"#, true),
            ("one two", r#"{"text":"two\none"}"#, true),
            ("\"one two\"", r#"{"text":"two one"}"#, false),
            ("one OR two", r#"{"text":"two"}"#, true),
            ("one NOT two", r#"{"text":"one two"}"#, true),
        ] {
            assert_eq!(Query::parse(query).unwrap().may_be_in_line(line), expected, "{query} in {line}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_never_missed_in_its_line(before in any::<String>(), part in "\\PC{1,6}", after in any::<String>()) {
            let text = format!("{before}{part}{after}");
            let line = serde_json::json!({"text": text}).to_string();
            if let Some(query) = Query::parse(&part)
                && query.is_in(&folded(&text))
            {
                prop_assert!(query.may_be_in_line(&line), "{line}");
            }
        }
    }

    fn database() -> rusqlite::Connection {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE VIRTUAL TABLE words USING fts5(user, assistant, content='', tokenize='unicode61 remove_diacritics 2');
             CREATE VIRTUAL TABLE parts USING fts5(tokens, content='', detail=none, tokenize='ascii');
             INSERT INTO words(rowid, user, assistant) VALUES (1, 'one two three', 'foo bar sesión');
             INSERT INTO parts(rowid, tokens) VALUES (1, 'aaaa bbbb');",
        )
        .unwrap();
        db
    }

    fn run(db: &rusqlite::Connection, text: &str) {
        let Some(query) = Query::parse(text) else { return };
        for (sql, expression) in [
            ("SELECT count(*) FROM words WHERE words MATCH ?1", query.words_match()),
            ("SELECT count(*) FROM parts WHERE parts MATCH ?1", query.trigrams_match()),
        ] {
            let Some(expression) = expression else { continue };
            let found = db.prepare_cached(sql).unwrap().query_row([&expression], |row| row.get::<_, i64>(0));
            assert!(found.is_ok(), "{text:?} became {expression:?}: {found:?}");
        }
        let _ = query.is_in("fn parse_config_file 日本語");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_is_an_sql_error(text in any::<String>()) {
            thread_local!(static DB: rusqlite::Connection = database());
            DB.with(|db| run(db, &text));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_near_syntax_is_an_sql_error(
            text in r#"((AND|OR|NOT|NEAR|NEAR\(|user|one|[a-c]{1,4}|日本語|é|\(|\)|"|\*|,|, 5|\^|:|\+|-|\{|\}|'|\\|;|🎉|_) ?){0,12}"#
        ) {
            thread_local!(static DB: rusqlite::Connection = database());
            DB.with(|db| run(db, &text));
        }
    }
}
