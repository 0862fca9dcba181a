//! Which conversations answer, best first: by what they are about, then by their best messages.
//!
//! What a conversation is about, the index of topics says of all of them at once. Of the first some dozens the
//! messages are looked at too; the rest stands behind these in the order of their topics, and its messages are
//! looked at when they are shown. So a common word costs no more than a rare one, and all that matches can be paged to.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use super::dates::dates_of;
use super::families::{family, shared};
use super::mentions::Mentions;
use super::query::Query;
use super::question::{Question, Word};
use super::ranking::{Ranking, Scored, rare};
use super::text::is_same_everywhere;
use super::topics::sessions_with;

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

/// Conversations by how much they are about something, and the messages in which they say it.
pub(super) struct Candidates {
    sessions: HashMap<i64, f64>,
    mentions: Rc<Mentions>,
    /// Of a question, which is looked for in the output of tools only where nothing else holds anything: its words.
    in_output: Vec<String>,
    /// Whether all of several parts are searched for, of which a message that holds them all is worth more.
    is_together: bool,
    /// All of it as it was typed, and whether that is a sentence.
    in_a_row: HashSet<i64>,
    is_sentence: bool,
    /// Whether a fork has to hold all of it in a message of its own, where what it has copied from matches too.
    is_all: bool,
}

impl Candidates {
    pub(crate) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    pub(crate) fn sessions(&self) -> impl Iterator<Item = i64> {
        self.sessions.keys().copied()
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
    /// Messages that say it as it was typed, and whether that is a sentence.
    pub(crate) in_a_row: HashSet<i64>,
    pub(crate) is_sentence: bool,
}

impl Ranking<'_> {
    /// Where the words of a question stand.
    pub(super) fn answers(&self, query: &Query, question: &Question) -> rusqlite::Result<Answers> {
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
        self.add_dates(&mut sessions);
        // Who says it all in one message holds it, wherever.
        let all = (1 << question.words.len()) - 1;
        for session in mentions.all_of_sessions(self)?.into_keys() {
            sessions.entry(session).or_default().1 = all;
        }
        // Where a question stands in the output of tools, it is mostly what somebody did later about what is looked for: a
        // log, or a list of commits.
        let close = query.close_together();
        let in_a_row = close.as_ref().map_or(Ok(Vec::new()), |close| mentions.saying(self, &close.in_a_row))?;
        let in_a_row = in_a_row.into_iter().collect();
        let is_sentence = close.is_some_and(|close| close.is_sentence);
        let mut answers = Answers { sessions, missing, mentions: Rc::new(mentions), in_a_row, is_sentence };
        let is_held = answers.sessions.values().any(|(_, held)| *held == all);
        if self.has_message_filter() || (!is_held && !question.is_sentence) {
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

    /// Adds what the days that a question names say of the conversations of then: as much as a word that these alone hold,
    /// for the conversation as a whole and for its messages.
    fn add_dates(&self, sessions: &mut About) {
        let [of_messages, ..] = self.query.weights;
        for (first_ms, last_ms) in dates_of(&self.query.text, self.query.now_ms) {
            let then = self.sessions.between(first_ms, last_ms);
            let rare = rare(then.len() as f64, self.sessions.count) * (1.0 + of_messages);
            for (_, (score, _)) in sessions.iter_mut().filter(|(session, _)| then.contains(session)) {
                *score += rare;
            }
        }
    }

    /// The conversations that hold all of a question's words but for so many, in whatever message; `None` for any of them.
    pub(super) fn of_question(&self, question: &Question, answers: &Answers, is_all: bool) -> Candidates {
        let all = (1 << question.words.len()) - 1;
        let sessions = answers.sessions.iter().filter(|(_, (_, held))| !is_all || *held == all);
        Candidates {
            sessions: sessions.map(|(session, (score, _))| (*session, *score)).collect(),
            mentions: Rc::clone(&answers.mentions),
            in_output: question.words.iter().map(|word| word.matches.clone()).collect(),
            is_together: false,
            in_a_row: answers.in_a_row.clone(),
            is_sentence: answers.is_sentence,
            is_all,
        }
    }

    /// The conversations that hold what a query of one word or with operators says: in one message or, where it asks for all
    /// of several parts, in several.
    pub(super) fn of_expression(&self, query: &Query) -> rusqlite::Result<Candidates> {
        let close = query.close_together();
        let parts = query.parts_match();
        let expressions: Vec<String> = parts.iter().map(|(_, part)| part.clone()).collect();
        let mut mentions = Mentions::anywhere(self, &expressions)?;
        let mut found: BTreeSet<i64> = mentions.all_of_sessions(self)?.into_keys().collect();
        if !parts.is_empty() && parts.len() <= PARTS_MAX {
            let titles = self.titles()?;
            let mut apart: Option<BTreeSet<i64>> = None;
            for ((part, _), mut with) in parts.iter().zip(mentions.sessions_of_words(self)?) {
                let titled = titles.iter().filter(|(_, title)| part.is_in_words_of(title));
                with.extend(titled.map(|(session, _)| *session));
                apart = Some(match apart {
                    None => with,
                    Some(apart) => &apart & &with,
                });
            }
            found.extend(apart.unwrap_or_default());
        }
        let in_a_row = close.as_ref().map_or(Ok(Vec::new()), |close| self.messages_holding(&close.in_a_row))?;
        let is_sentence = close.is_some_and(|close| close.is_sentence);
        if is_sentence {
            found.extend(self.sessions_of(&in_a_row)?);
            mentions.add(in_a_row.clone());
        }
        let words: Vec<Word> = query.positive_terms().into_iter().filter_map(|term| Word::of(&term.text)).collect();
        let words = &words[..words.len().min(PARTS_MAX)];
        let (about, _) = self.about(words)?;
        let worth = |session: &i64| about.get(session).map_or(0.0, |(score, _)| *score);
        Ok(Candidates {
            sessions: found.into_iter().map(|session| (session, worth(&session))).collect(),
            mentions: Rc::new(mentions),
            in_output: Vec::new(),
            is_together: parts.len() > 1,
            in_a_row: in_a_row.into_iter().collect(),
            is_sentence,
            is_all: false,
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
        if candidates.is_sentence {
            let mut in_a_row: Vec<i64> = candidates.in_a_row.iter().copied().collect();
            in_a_row.sort_unstable();
            head.extend(self.sessions_of(&in_a_row)?);
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
        let mentions = &candidates.mentions;
        let mut found = mentions.worth(self, &sessions, shared)?;
        let mut behind = BTreeSet::new();
        if !candidates.in_output.is_empty() {
            let with: BTreeSet<i64> = found.iter().map(|found| found.session).collect();
            let mut without: BTreeSet<i64> = &sessions - &with;
            if ranked.is_some() && !with.is_empty() {
                behind = without.iter().filter(|session| !shared.contains(session)).copied().collect();
                without.retain(|session| !behind.contains(session));
            }
            if !without.is_empty() {
                let printed = Mentions::anywhere_in(self, &candidates.in_output, &without)?;
                found.extend(printed.worth(self, &without, shared)?);
            }
        }
        let with_all = mentions.all_of_sessions(self)?;
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
            let holds_all = |scored: &Scored| mentions.holds_all(scored.message);
            let bonus = |scored: &Scored| {
                let is_row = candidates.in_a_row.contains(&scored.message);
                let is_all = candidates.is_together && holds_all(scored);
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
            // Of others than those that were looked at it is known that they are copies of nothing.
            let all = match shared.contains(&session) {
                true => found.iter().filter(|(scored, _)| holds_all(scored)).count(),
                false => with_all.get(&session).copied().unwrap_or_default(),
            };
            let others = all.saturating_sub(usize::from(holds_all(top)));
            let is_sentence = candidates.is_sentence && candidates.in_a_row.contains(&top.message);
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
