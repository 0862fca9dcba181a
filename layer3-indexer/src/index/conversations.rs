//! Which conversations answer, best first: by what they are about, then by their best messages.
//!
//! What a conversation is about, the index of topics says of all of them at once. Of the first some dozens the
//! messages are looked at too; the rest stands behind these in the order of their topics, and its messages are
//! looked at when they are shown. So a common word costs no more than a rare one, and all that matches can be paged to.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use super::families::{family, shared};
use super::mentions::{Mentions, said};
use super::query::{Close, Query};
use super::question::{Question, Word};
use super::ranking::{Ranking, Scored, rare};
use super::text::is_same_everywhere;
use super::topics::sessions_with;

/// Words that say something, from which on a query is taken for a question: what holds only some of them is shown too.
pub(super) const QUESTION_WORDS: usize = 4;
/// Conversations whose messages are looked at to rank them.
const HEAD: usize = 24;
/// Most parts of a query that conversations may hold in different messages.
const PARTS_MAX: usize = 12;

/// BM25's: how often a word says half of what it can say, and what a conversation that is longer than others takes from it.
const K: f64 = 1.2;
const B: f64 = 0.75;
/// Of long conversations a word says half when it comes oftener, for in these all words come again: as often as this times the
/// root of how many words one of them has.
const K_OF_LONG: f64 = 0.06;
/// What a part of a word says of it.
const PART: f64 = 0.5;
/// How often a word counts that only the output of tools holds.
const IN_OUTPUT: f64 = 0.5;
/// What of being in a row is worth that all parts of an expression stand in a message.
const TOGETHER: f64 = 0.5;
/// Messages of a conversation that say what it is worth, and what each says beside the one before.
const BEST: usize = 5;
const NEXT_BEST: f64 = 0.5;

/// A conversation that matches.
pub(super) struct Conversation {
    pub(crate) session: i64,
    /// What stands before any score: a whole sentence in front, an echo of our own search behind.
    pub(crate) class: (bool, bool),
    score: f64,
    /// `None` until it was looked at.
    pub(crate) shown: Option<Shown>,
}

/// The message that shows a conversation.
#[derive(Clone, Copy)]
pub(super) struct Shown {
    pub(crate) message: i64,
    /// Other messages of it that hold all that is searched for.
    pub(crate) others: usize,
    /// Other conversations that hold the same message.
    pub(crate) copies: usize,
}

/// Conversations by how much they are about something, and what the messages of theirs are searched for.
pub(super) struct Candidates {
    sessions: HashMap<i64, f64>,
    /// Any part of it, the more the better.
    any: String,
    /// All of it.
    all: Option<String>,
    close: Option<Close>,
    /// Whether a fork has to hold all of it in a message of its own, where what it has copied from matches too.
    is_all: bool,
    /// Of a question, whose messages are looked for in the output of tools only where nothing else holds anything.
    mentions: Option<Rc<Mentions>>,
}

impl Candidates {
    pub(crate) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    pub(crate) fn sessions(&self) -> impl Iterator<Item = i64> {
        self.sessions.keys().copied()
    }

    /// All of it as it was typed. Where a question stands in the output of tools, it is mostly what somebody did later about
    /// what is looked for: a log, or a list of commits.
    fn in_a_row(&self, close: &Close) -> String {
        if self.mentions.is_some() { said(&close.in_a_row) } else { close.in_a_row.clone() }
    }
}

/// Of each conversation what it is worth, and the words that it holds.
type About = HashMap<i64, (f64, u32)>;

/// What the words of a question are found in.
pub(super) struct Answers {
    sessions: About,
    /// Words that none of them holds.
    pub(crate) missing: Vec<usize>,
    mentions: Rc<Mentions>,
}

impl Ranking<'_> {
    /// Where the words of a question stand.
    pub(super) fn answers(&self, question: &Question) -> rusqlite::Result<Answers> {
        let (mut sessions, mut missing) = self.about(&question.words)?;
        for n in std::mem::take(&mut missing) {
            let found = self.holding(&question.words[n].matches)?;
            if found.is_empty() {
                missing.push(n);
            }
            let of_output = found.into_iter().map(|session| (session, IN_OUTPUT)).collect();
            self.add(&mut sessions, &of_output, 1.0, 1 << n);
        }
        let mentions = Mentions::of(self, question)?;
        let [_, of_pair, _] = self.query.weights;
        for pair in mentions.pairs_of_sessions(self)? {
            self.add(&mut sessions, &pair, of_pair, 0);
        }
        // Who says it all in one message holds it, wherever.
        let all = (1 << question.words.len()) - 1;
        for session in mentions.all_of_sessions(self)? {
            sessions.entry(session).or_default().1 = all;
        }
        let mut answers = Answers { sessions, missing, mentions: Rc::new(mentions) };
        let is_held = answers.sessions.values().any(|(_, held)| *held == all);
        if self.has_message_filter() || (!is_held && question.words.len() < QUESTION_WORDS) {
            self.add_held(question, &mut answers)?;
        }
        Ok(answers)
    }

    /// What is held is what the messages hold that the filters leave, the output of tools too.
    fn add_held(&self, question: &Question, answers: &mut Answers) -> rusqlite::Result<()> {
        let mut held: HashMap<i64, u32> = HashMap::new();
        for (n, word) in question.words.iter().enumerate() {
            for session in self.holding(&word.matches)? {
                *held.entry(session).or_default() |= 1 << n;
            }
        }
        if self.has_message_filter() {
            answers.sessions.retain(|session, _| held.contains_key(session));
            answers.sessions.values_mut().for_each(|(_, held)| *held = 0);
        }
        for (session, held) in held {
            answers.sessions.entry(session).or_default().1 |= held;
        }
        Ok(())
    }

    /// Of each conversation what these words are worth, and which it holds; and those that none of the ones that are meant holds.
    fn about(&self, words: &[Word]) -> rusqlite::Result<(About, Vec<usize>)> {
        let (mut sessions, mut missing) = (HashMap::new(), Vec::new());
        for (n, word) in words.iter().enumerate() {
            let mut found: Option<HashMap<i64, f64>> = None;
            for topic in &word.topics {
                let with = sessions_with(self.connection, topic)?;
                found = Some(match found {
                    None => with,
                    Some(found) => found
                        .into_iter()
                        .filter_map(|(session, count)| Some((session, count.min(*with.get(&session)?))))
                        .collect(),
                });
            }
            let found = found.unwrap_or_default();
            if !found.keys().any(|session| self.sessions.get(*session).is_some()) {
                missing.push(n);
            }
            self.add(&mut sessions, &found, 1.0, 1 << n);
            for part in &word.parts {
                self.add(&mut sessions, &sessions_with(self.connection, part)?, PART, 0);
            }
        }
        Ok((sessions, missing))
    }

    /// Adds what a word that stands in these sessions so often says of each.
    fn add(&self, sessions: &mut About, found: &HashMap<i64, f64>, weight: f64, word: u32) {
        let rare = rare(found.len() as f64, self.sessions.count) * weight;
        let k = f64::max(K, K_OF_LONG * self.sessions.mean_words.sqrt());
        for (session, count) in found {
            let Some(known) = self.sessions.get(*session) else { continue };
            let length = 1.0 - B + B * known.words / self.sessions.mean_words.max(1.0);
            let (score, held) = sessions.entry(*session).or_default();
            *score += rare * count * (k + 1.0) / (count + k * length);
            *held |= word;
        }
    }

    /// The conversations that hold all of a question's words but for so many, in whatever message; `None` for any of them.
    pub(super) fn of_question(
        &self,
        query: &Query,
        question: &Question,
        answers: &Answers,
        is_all: bool,
    ) -> Candidates {
        let all = (1 << question.words.len()) - 1;
        let sessions = answers.sessions.iter().filter(|(_, (_, held))| !is_all || *held == all);
        Candidates {
            sessions: sessions.map(|(session, (score, _))| (*session, *score)).collect(),
            any: question.any(),
            all: Some(question.all()),
            close: query.close_together(),
            is_all,
            mentions: Some(Rc::clone(&answers.mentions)),
        }
    }

    /// The conversations that hold what a query of one word or with operators says: in one message or, where it asks for all
    /// of several parts, in several.
    pub(super) fn of_expression(&self, query: &Query) -> rusqlite::Result<Candidates> {
        let parts = query.parts_match();
        let whole = query.words_match();
        let mut found = match &whole {
            Some(whole) => self.holding(whole)?,
            None => BTreeSet::new(),
        };
        if !parts.is_empty() && parts.len() <= PARTS_MAX {
            let titles = self.titles()?;
            let mut apart: Option<BTreeSet<i64>> = None;
            for (part, expression) in &parts {
                let mut with = if parts.len() == 1 { found.clone() } else { self.holding(expression)? };
                let titled = titles.iter().filter(|(_, title)| part.is_in_words_of(title));
                with.extend(titled.map(|(session, _)| *session));
                apart = Some(match apart {
                    None => with,
                    Some(apart) => &apart & &with,
                });
            }
            found.extend(apart.unwrap_or_default());
        }
        let close = query.close_together();
        if let Some(close) = close.as_ref().filter(|close| close.is_sentence) {
            found.extend(self.holding(&close.in_a_row)?);
        }
        let words: Vec<Word> = query.positive_terms().into_iter().filter_map(|term| Word::of(&term.text)).collect();
        let words = &words[..words.len().min(PARTS_MAX)];
        let (about, _) = self.about(words)?;
        let worth = |session: &i64| about.get(session).map_or(0.0, |(score, _)| *score);
        let any = match parts.len() {
            0 | 1 => whole.clone().unwrap_or_default(),
            _ => parts.iter().map(|(_, part)| part.as_str()).collect::<Vec<_>>().join(" OR "),
        };
        Ok(Candidates {
            sessions: found.into_iter().map(|session| (session, worth(&session))).collect(),
            any: close
                .as_ref()
                .filter(|close| close.is_sentence)
                .map_or(any.clone(), |close| format!("{any} OR {}", close.in_a_row)),
            all: whole.filter(|_| parts.len() > 1),
            close,
            is_all: false,
            mentions: None,
        })
    }

    /// The conversations in their order; those that only repeat what others hold are left out.
    pub(super) fn in_order(&self, candidates: &Candidates) -> rusqlite::Result<Vec<Conversation>> {
        let mut sessions: Vec<(f64, i64, i64)> = candidates
            .sessions
            .iter()
            .filter_map(|(session, score)| Some((*score, self.sessions.get(*session)?.end_ms, *session)))
            .collect();
        sessions.sort_by(|a, b| b.0.total_cmp(&a.0).then((b.1, b.2).cmp(&(a.1, a.2))));
        let best = sessions.first().map_or(1.0, |(score, ..)| score.max(f64::MIN_POSITIVE));
        let mut head: BTreeSet<i64> = sessions.iter().take(HEAD).map(|(.., session)| *session).collect();
        if let Some(close) = candidates.close.as_ref().filter(|close| close.is_sentence) {
            head.extend(self.holding(&candidates.in_a_row(close))?);
        }
        // Whether a copy is all that a fork has to say is to be known of every one.
        let shared = shared(self.connection)?;
        head.extend(candidates.sessions.keys().filter(|session| shared.contains(session)));
        let (looked, behind) = self.look(candidates, &head, Some(&shared))?;
        let mut conversations: Vec<Conversation> = Vec::with_capacity(sessions.len());
        for (score, _, session) in sessions {
            if !head.contains(&session) {
                let class = (false, true);
                conversations.push(Conversation { session, class, score: score / best - 2.0, shown: None });
                continue;
            }
            if let Some(Looked { class, score: of_message, shown, .. }) = looked.get(&session) {
                let score = score / best + of_message;
                conversations.push(Conversation { session, class: *class, score, shown: Some(*shown) });
            } else if behind.contains(&session) {
                conversations.push(Conversation { session, class: (false, true), score: score / best, shown: None });
            }
        }
        let time = |conversation: &Conversation| {
            let looked = looked.get(&conversation.session);
            looked.map_or((0, 0), |looked| (looked.time_ms, looked.shown.message))
        };
        // Stable: of equals the order before.
        conversations.sort_by(|a, b| {
            b.class.cmp(&a.class).then(b.score.total_cmp(&a.score)).then_with(|| time(b).cmp(&time(a)))
        });
        Ok(conversations)
    }

    /// Looks at conversations that were not looked at to rank them.
    pub(super) fn show(
        &self,
        candidates: &Candidates,
        sessions: &BTreeSet<i64>,
    ) -> rusqlite::Result<HashMap<i64, Shown>> {
        let (looked, _) = self.look(candidates, sessions, None)?;
        Ok(looked.into_iter().map(|(session, looked)| (session, looked.shown)).collect())
    }

    /// Looks at the messages of conversations, to rank them where those are told that have copied from each other, else to
    /// show them. The second answer is of those that need no look to be ranked: where some say what a question asks for, those
    /// in which only tools print it are worth what the conversation as a whole is.
    fn look(
        &self,
        candidates: &Candidates,
        sessions: &BTreeSet<i64>,
        ranked: Option<&HashSet<i64>>,
    ) -> rusqlite::Result<(HashMap<i64, Looked>, BTreeSet<i64>)> {
        let none = HashSet::new();
        let shared = ranked.unwrap_or(&none);
        let mut sessions = sessions.clone();
        // A message is shown in the oldest of those that hold it, which has to be among them.
        for session in sessions.clone().iter().filter(|session| shared.contains(session)) {
            sessions
                .extend(family(self.connection, *session)?.iter().filter(|other| self.sessions.get(**other).is_some()));
        }
        let mut found = match &candidates.mentions {
            Some(mentions) => mentions.worth(self, &sessions, shared)?,
            None => Vec::new(),
        };
        let with: BTreeSet<i64> = found.iter().filter(|found| !found.is_echo).map(|found| found.session).collect();
        let mut without: BTreeSet<i64> = &sessions - &with;
        let mut behind = BTreeSet::new();
        if ranked.is_some() && !with.is_empty() {
            behind = without.iter().filter(|session| !shared.contains(session)).copied().collect();
            without.retain(|session| !behind.contains(session));
        }
        if !without.is_empty() {
            found.retain(|found| with.contains(&found.session));
            found.extend(self.messages(&candidates.any, &without)?);
        }
        let ids = |expression: &str| self.messages_with(expression, &sessions);
        let close = candidates.close.as_ref();
        let in_a_row = close.map_or(Ok(HashSet::new()), |close| ids(&candidates.in_a_row(close)))?;
        let all_here;
        let all = match (&candidates.mentions, &candidates.all) {
            (Some(mentions), _) => Some(&mentions.all),
            (None, Some(all)) => {
                all_here = ids(all)?;
                Some(&all_here)
            }
            (None, None) => None,
        };
        let [of_messages, _, together] = self.query.weights;
        let mut of_session: BTreeMap<i64, Vec<(Scored, usize)>> = BTreeMap::new();
        for (scored, copies) in self.one_of_each(found)? {
            of_session.entry(scored.session).or_default().push((scored, copies));
        }
        let worth_of_session = |found: &Vec<(Scored, usize)>| {
            let mut scores: Vec<f64> =
                found.iter().filter(|(scored, _)| !scored.is_echo).map(|(scored, _)| scored.score).collect();
            scores.sort_unstable_by(|a, b| b.total_cmp(a));
            scores.iter().take(BEST).rev().fold(0.0, |worse, score| score + NEXT_BEST * worse)
        };
        let best = of_session.values().map(worth_of_session).fold(f64::MIN_POSITIVE, f64::max);
        let mut looked = HashMap::new();
        for (session, found) in of_session {
            let holds_all = |scored: &Scored| all.is_none_or(|all| all.contains(&scored.message));
            let bonus = |scored: &Scored| {
                let is_row = in_a_row.contains(&scored.message);
                let is_all = candidates.mentions.is_none() && all.is_some() && holds_all(scored);
                together * (f64::from(u8::from(is_row)) + TOGETHER * f64::from(u8::from(is_all)))
            };
            let worth = |scored: &Scored| of_messages * scored.score / best + bonus(scored);
            let rank = |scored: &Scored| (!scored.is_echo, worth(scored), scored.time_ms, scored.key);
            let by_rank = |a: &Scored, b: &Scored| {
                let (a, b) = (rank(a), rank(b));
                a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then((a.2, a.3).cmp(&(b.2, b.3)))
            };
            if candidates.is_all
                && shared.contains(&session)
                && !found.iter().any(|(scored, _)| holds_all(scored))
                && self.has_older(candidates, session)?
            {
                continue;
            }
            let Some((top, copies)) = found.iter().max_by(|a, b| by_rank(&a.0, &b.0)) else { continue };
            let others = found.iter().filter(|(scored, _)| scored.message != top.message && holds_all(scored)).count();
            let is_sentence = close.is_some_and(|close| close.is_sentence) && in_a_row.contains(&top.message);
            let shown = Shown { message: top.message, others, copies: *copies };
            let class = (is_sentence, !top.is_echo);
            let score = of_messages * worth_of_session(&found) / best + bonus(top);
            looked.insert(session, Looked { class, score, time_ms: top.time_ms, shown });
        }
        // Of what only its title says, how it began.
        for session in sessions.iter().filter(|session| candidates.sessions.contains_key(session)) {
            if looked.contains_key(session) || behind.contains(session) {
                continue;
            }
            let is_copy = shared.contains(session) && self.has_older(candidates, *session)?;
            if !is_copy && let Some(first) = self.first_message(*session)? {
                let shown = Shown { message: first.message, others: 0, copies: 0 };
                looked.insert(*session, Looked { class: (false, true), score: 0.0, time_ms: first.time_ms, shown });
            }
        }
        Ok((looked, behind))
    }

    /// Whether a conversation that this one has copied from, or shares its beginning with, matches too.
    fn has_older(&self, candidates: &Candidates, session: i64) -> rusqlite::Result<bool> {
        let family = family(self.connection, session)?;
        Ok(family.iter().take_while(|other| **other != session).any(|other| candidates.sessions.contains_key(other)))
    }

    /// Each message once, in the session that it was written in rather than in a fork or a continuation of it, and in how
    /// many others it stands.
    pub(super) fn one_of_each(&self, scored: Vec<Scored>) -> rusqlite::Result<Vec<(Scored, usize)>> {
        let mut sessions: HashMap<i64, Vec<i64>> = HashMap::new();
        for found in scored.iter().filter(|found| is_same_everywhere(found.key)) {
            sessions.entry(found.key).or_default().push(found.session);
        }
        let shared: BTreeSet<i64> = sessions.values().filter(|all| all.len() > 1).flatten().copied().collect();
        let ages = self.ages(&shared)?;
        let mut once = Vec::new();
        for found in scored {
            let Some(all) = sessions.get(&found.key) else {
                once.push((found, 0));
                continue;
            };
            if all.iter().min_by_key(|session| ages.get(session)) == Some(&found.session) {
                once.push((found, all.len() - 1));
            }
        }
        Ok(once)
    }
}

/// What a conversation's messages say.
struct Looked {
    class: (bool, bool),
    score: f64,
    time_ms: i64,
    shown: Shown,
}
