//! A query of plain words as a question: the words that say what is looked for, each with its forms. What holds all of
//! them answers it, and so does what holds the most of them.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::fold::{folded, indexed, is_own_word, is_word_char, word_length, words};
use super::matching::{By, Sought, Term};
use super::query::{Query, quoted, word_term};
use super::stop_words::{forms, irregular, is_stop_word};
use super::topics::{camel_parts, each_topic_word};

/// Words from which on a query is taken for a question, those that say nothing included: what holds only some of the
/// others is shown too.
const QUESTION_WORDS: usize = 4;
/// Words of a question that stay at least: of fewer, all are looked for.
const CONTENT_WORDS_MIN: usize = 2;
/// Words of a question that are looked for.
const CONTENT_WORDS_MAX: usize = 24;
/// Characters without spaces between words from which on they are a sentence, and each two of them are a word.
const OWN_WORDS_MIN: usize = 5;

/// A word of a question.
#[derive(Debug, Clone)]
pub(super) struct Word {
    /// As it was typed.
    pub(crate) typed: String,
    /// The same and its other forms, for the index of words in FTS5's syntax.
    pub(crate) matches: String,
    /// What a session that holds it has in the index of topics, in FTS5's syntax.
    pub(crate) topics: Vec<String>,
    /// Its parts, which say a little of it.
    pub(crate) parts: Vec<String>,
}

/// The words of a question, and each two of them that stand side by side.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(crate) words: Vec<Word>,
    pub(crate) pairs: Vec<Pair>,
    /// Whether it has the words of one, rather than the few that a search is mostly typed with.
    pub(crate) is_sentence: bool,
}

/// Two words side by side.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// In the syntax of FTS5, for the index of words.
    pub(crate) matches: String,
    /// Which words of the whole question they are, so far as they are looked for.
    pub(crate) words: [Option<usize>; 2],
}

impl Question {
    /// `None` where the query says itself how its words stand, or has but one.
    pub(super) fn of(query: &Query) -> Option<Question> {
        let typed: Vec<Cow<'_, str>> = query.plain_words()?.into_iter().flat_map(pieces).collect();
        let says_something =
            |word: &Cow<'_, str>| !is_stop_word(folded(word).trim_matches(|c: char| !c.is_alphanumeric()));
        let content = typed.iter().filter(|word| says_something(word)).count();
        let is_asked = |word: &Cow<'_, str>| content < CONTENT_WORDS_MIN || says_something(word);
        let mut all: Vec<Word> = Vec::new();
        for word in typed.iter().filter(|word| is_asked(word)).filter_map(|word| Word::of(word)) {
            if all.len() < CONTENT_WORDS_MAX
                && !all.iter().any(|known| {
                    (&known.topics, &known.parts) == (&word.topics, &word.parts)
                        && (!word.topics.is_empty() || known.matches == word.matches)
                })
            {
                all.push(word);
            }
        }
        let pairs = typed.windows(2).filter(|pair| is_asked(&pair[0]) || is_asked(&pair[1]));
        let place = |typed: &str| all.iter().position(|word| word.typed == typed);
        let pairs = pairs.map(|pair| Pair {
            matches: quoted(&indexed(Cow::Owned(format!("{} {}", pair[0], pair[1])))),
            words: [place(&pair[0]), place(&pair[1])],
        });
        let pairs = pairs.take(CONTENT_WORDS_MAX).collect();
        let is_sentence = typed.iter().filter(|word| word.contains(is_word_char)).count() >= QUESTION_WORDS;
        (all.len() > 1).then_some(Question { words: all, pairs, is_sentence })
    }

    /// Any of the words, the more the better, for the index of words.
    pub(crate) fn any(&self) -> String {
        let words = self.words.iter().map(|word| word.matches.as_str());
        words.chain(self.pairs.iter().map(|pair| pair.matches.as_str())).collect::<Vec<_>>().join(" OR ")
    }

    /// All of the words.
    pub(crate) fn all(&self) -> String {
        self.words.iter().map(|word| word.matches.as_str()).collect::<Vec<_>>().join(" AND ")
    }

    /// The question without some of its words.
    pub(crate) fn without(&self, is_dropped: impl Fn(usize) -> bool) -> Question {
        let kept = self.words.iter().enumerate().filter(|(n, _)| !is_dropped(*n));
        Question { words: kept.map(|(_, word)| word.clone()).collect(), pairs: self.pairs.clone(), ..*self }
    }
}

/// What a snippet of a hit is to show of a query: of a question the words that say what is looked for, in whatever form.
pub(super) fn sought(query: &Query, by: By) -> Sought<'_> {
    let question = Question::of(query).filter(|_| by == By::Words);
    let Some(question) = question else {
        let terms: Vec<_> = query.terms().into_iter().map(Cow::Borrowed).zip(0..).collect();
        return Sought { count: terms.len(), terms, ..Sought::default() };
    };
    let mut sought = Sought { count: question.words.len(), ..Sought::default() };
    for (n, word) in question.words.into_iter().enumerate() {
        let text = folded(&word.typed);
        let mut alone = words(&text);
        match (alone.next(), alone.next()) {
            (Some(word), None) => {
                let all = forms(word).into_iter().chain([word.to_owned()]);
                sought.words.extend(all.map(|form| (form, n)));
            }
            _ => sought.terms.push((Cow::Owned(Term { text: word.typed, is_prefix: false }), n)),
        }
    }
    sought
}

impl Word {
    /// A word as it is typed; `None` if there is no word in it.
    pub(super) fn of(typed: &str) -> Option<Word> {
        let text = folded(typed);
        let mut topics = Vec::new();
        each_topic_word(&text, &mut |word| topics.push(word.to_owned()));
        if topics.len() > 1 && text.contains(is_own_word) {
            // Two side by side say more than each of them.
            topics.retain(|word| word.chars().count() > 1 || !word.starts_with(is_own_word));
        }
        let exact = word_term(&Term { text: typed.to_owned(), is_prefix: false })?;
        let apart = typed.split(|c: char| !c.is_ascii_alphanumeric());
        let mut parts: Vec<String> = apart.flat_map(camel_parts).map(str::to_lowercase).collect();
        parts.retain(|part| part.len() > 1);
        let mut alone = words(&text);
        let forms = match (alone.next(), alone.next()) {
            (Some(word), None) => {
                topics.iter_mut().for_each(|all| *all = [vec![all.as_str()], irregular(word)].concat().join(" OR "));
                forms(word)
            }
            _ => BTreeSet::new(),
        };
        let matches = match forms.is_empty() {
            true => exact,
            false => format!("({exact} OR {})", forms.iter().map(|form| quoted(form)).collect::<Vec<_>>().join(" OR ")),
        };
        Some(Word { typed: typed.to_owned(), matches, topics, parts })
    }
}

/// A word as it is; of a sentence without spaces each two characters, but for those that only join others.
fn pieces(term: &Term) -> Vec<Cow<'_, str>> {
    let text = folded(&term.text);
    if text.chars().filter(|c| is_own_word(*c)).count() < OWN_WORDS_MIN {
        return vec![Cow::Borrowed(&term.text)];
    }
    let mut pieces = Vec::new();
    let is_kana = |c: char| ('\u{3040}'..='\u{309f}').contains(&c);
    let mut rest = text.as_str();
    while let Some(word) = words(rest).next() {
        let at = word.as_ptr() as usize - rest.as_ptr() as usize;
        let after = &rest[at + word.len()..];
        if word.starts_with(is_own_word) {
            let two = &rest[at..at + word.len() + word_length(after)];
            if after.starts_with(is_own_word) && !two.chars().all(is_kana) {
                pieces.push(Cow::Owned(two.to_owned()));
            }
        } else {
            pieces.push(Cow::Owned(word.to_owned()));
        }
        rest = after;
    }
    pieces
}
