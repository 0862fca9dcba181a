//! Finding conversations, or each message: by words, best first; then by parts of words, newest first; of a question, and
//! where nothing holds all words, those that hold the most of them.
//!
//! **Pages.** The order depends on what is stored and asked alone, never on limit and offset.

use layer1_prebackup::names::{LAYER3, typed};
use layer1_prebackup::wire::offsite::counted;
use std::collections::{BTreeSet, HashMap};

use rusqlite::{OptionalExtension, Row, params_from_iter};

use super::contents::Contents;
use super::context::{Side, context};
use super::conversations::{Answers, Candidates, Conversation};
use super::error::{IndexError, Sqlite, none_if_refused};
use super::families::Families;
use super::listed::is_only_listed;
use super::matching::By;
use super::open::Index;
use super::query::{Query, quoted};
use super::question::{Question, Word};
use super::ranking::{Ranking, Scored, sorted};
use super::read::beginning;
use super::spelling::{LOOKED_UP_MAX, SPELLED_MAX, is_known, may_be_wrong, nearest};
use super::stop_words::is_stop_word;
use super::text::{Column, Speaker, is_same_everywhere, sections};
use super::texts::{COLUMNS, Found, JOINS, Place, Texts, found, place};
use super::types::{Hit, SearchQuery, SearchResults};

/// Messages that are looked at when parts of words are searched for, newest first.
const CANDIDATES_MAX: usize = 20_000;
/// Bytes of records that are read to compare them.
const COMPARE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Messages that are ranked one by one where every one is a hit. Of more, those in which a person or the model wrote it
/// are ranked, and behind them stand all others, newest first: ranking costs microseconds each.
const RANKED_MAX: usize = 2000;
/// Messages that hold a sentence and are looked at for how; what more of them hold is said everywhere.
const LISTED_MAX: usize = 64;
/// Bytes of such a message at most: a longer one is more than a list.
const LISTED_BYTES_MAX: u64 = 64 * 1024;
/// Messages that are shown where only filters are given.
const FILTERED_MAX: usize = 2000;
impl Index {
    /// Searches by words, and where these are too few, by parts. No text is an error; an empty one finds nothing.
    pub fn search(&self, contents: &dyn Contents, query: &SearchQuery) -> Result<SearchResults, IndexError> {
        self.search_in_both(contents, None, query)
    }

    /// [`Index::search`]; a text that cannot be read in the contents that are indexed is read in their other copy.
    pub(crate) fn search_in_both(
        &self,
        contents: &dyn Contents,
        other: Option<&dyn Contents>,
        query: &SearchQuery,
    ) -> Result<SearchResults, IndexError> {
        let parsed = Query::parse(&query.text);
        if parsed.is_none() && !query.has_filter() {
            let notes = vec!["there was nothing to search for".to_owned()];
            return Ok(SearchResults { notes, ..SearchResults::default() });
        }
        let search = || {
            // One view of the index for all of it; each statement by itself would also lock and unlock the file.
            let _view = self.connection.unchecked_transaction()?;
            let ranking = Ranking::new(&self.connection, query)?;
            let results = SearchResults::default();
            let texts = Texts::masking(contents, other, query.redact);
            let mut search = Search { ranking, texts, results, candidates: None };
            search.run(parsed.as_ref())?;
            Ok(search.results)
        };
        search().doing("search", &self.path)
    }
}

/// A hit before its text is read.
struct Entry {
    session: i64,
    /// `None` where it is to be looked for in [`Search::candidates`].
    message: Option<i64>,
    by: By,
    others: usize,
    /// Other sessions that hold the same message.
    copies: usize,
}

impl Entry {
    fn of(found: &Scored, copies: usize) -> Entry {
        Entry { session: found.session, message: Some(found.message), by: By::Words, others: 0, copies }
    }
}

/// What was found by words.
#[derive(Default)]
struct Known {
    keys: BTreeSet<i64>,
    /// Its sessions, where one hit of each is enough.
    sessions: BTreeSet<i64>,
}

struct Search<'s> {
    ranking: Ranking<'s>,
    texts: Texts<'s>,
    results: SearchResults,
    candidates: Option<Candidates>,
}

impl Search<'_> {
    fn run(&mut self, parsed: Option<&Query>) -> rusqlite::Result<()> {
        let query = self.ranking.query;
        let spelled = match parsed {
            Some(parsed) => self.spelled(parsed)?,
            None => None,
        };
        let parsed = spelled.as_ref().or(parsed);
        let entries = match parsed {
            None => self.by_filters()?,
            Some(parsed) => self.by_text(parsed)?,
        };
        self.results.more = entries.len() > query.offset.saturating_add(query.limit);
        let mut page: Vec<Entry> = entries.into_iter().skip(query.offset).take(query.limit).collect();
        self.look_up(&mut page)?;
        for (n, entry) in page.iter().enumerate() {
            self.show(query.offset + n + 1, entry, parsed)?;
        }
        if self.texts.unreadable > 0 {
            let messages = counted(self.texts.unreadable as u64, "message");
            let verify = typed(LAYER3, "verify");
            self.note(&format!("the text of {messages} could not be read from the store; `{verify}` says why"));
        }
        Ok(())
    }

    /// The query with the words that no conversation has, whole or as parts of words, as they were meant; `None` where
    /// there are none.
    fn spelled(&mut self, query: &Query) -> rusqlite::Result<Option<Query>> {
        let mut spelled = HashMap::new();
        for term in query.plain_words().unwrap_or_default().into_iter().take(LOOKED_UP_MAX) {
            if spelled.len() == SPELLED_MAX {
                break;
            }
            if let Some(word) = self.meant_by(&term.text)? {
                self.note(&format!("{word} instead of {}, which no conversation has", term.text));
                spelled.insert(term.text.clone(), word);
            }
        }
        Ok((!spelled.is_empty()).then(|| query.spelled(&spelled)))
    }

    /// Of the words that are nearest to one that no conversation has, the one that most of those have that are meant.
    fn meant_by(&mut self, typed: &str) -> rusqlite::Result<Option<String>> {
        let connection = self.ranking.connection;
        let Some(word) = may_be_wrong(typed) else { return Ok(None) };
        let Some(asked) = Word::of(&word) else { return Ok(None) };
        // Its other forms cost more to look up than the word itself, which mostly is there.
        if is_stop_word(&word) || is_known(connection, &quoted(&word))? || is_known(connection, &asked.matches)? {
            return Ok(None);
        }
        let mut best = None;
        for known in nearest(connection, &word)? {
            let sessions = self.ranking.holding(&quoted(&known))?.len();
            if sessions > best.as_ref().map_or(0, |(most, _)| *most) {
                best = Some((sessions, known));
            }
        }
        let mut parts = Vec::new();
        if let (Some(_), Some(word)) = (&best, Query::parse(&word)) {
            // What is said of this trial is nothing about the answer.
            let notes = self.results.notes.len();
            self.by_parts(&word, &Known::default(), &mut parts)?;
            self.results.notes.truncate(notes);
        }
        Ok(best.filter(|_| parts.is_empty()).map(|(_, known)| known))
    }

    fn by_text(&mut self, query: &Query) -> rusqlite::Result<Vec<Entry>> {
        if query.is_cut {
            self.note("the query was too long; only its beginning was searched for");
        }
        if self.ranking.query.each { self.by_messages(query) } else { self.by_conversations(query) }
    }

    /// The conversations that hold all words, wherever in them; of a question, and where no other does, those that hold the most.
    fn by_conversations(&mut self, query: &Query) -> rusqlite::Result<Vec<Entry>> {
        let Some(question) = Question::of(query) else {
            let candidates = self.ranking.of_expression(query)?;
            let known = Known { sessions: candidates.sessions().collect(), ..Known::default() };
            let mut entries = self.conversations(candidates)?;
            self.add_parts(query, &known, &mut entries)?;
            return Ok(entries);
        };
        let mut answers = self.ranking.answers(query, &question)?;
        self.drop_listed(&mut answers)?;
        let all = self.ranking.of_question(&question, &answers, true);
        let has_all = !all.is_empty();
        let known = Known { sessions: all.sessions().collect(), ..Known::default() };
        let mut entries = Vec::new();
        if !question.is_sentence {
            entries = self.conversations(all)?;
            self.add_parts(query, &known, &mut entries)?;
        }
        if !entries.is_empty() {
            return Ok(entries);
        }
        let kept = question.without(|n| answers.missing.contains(&n));
        let any = self.ranking.of_question(&kept, &answers, false);
        let known = Known { sessions: any.sessions().collect(), ..Known::default() };
        if !any.is_empty() {
            if !has_all {
                self.note_dropped(&question, &answers.missing, &kept)?;
            }
            entries = self.conversations(any)?;
        }
        if question.is_sentence {
            self.add_parts(query, &known, &mut entries)?;
        }
        Ok(entries)
    }

    /// A sentence that a message lists as the subject of a commit was said elsewhere: this message is one that has its words.
    fn drop_listed(&mut self, answers: &mut Answers) -> rusqlite::Result<()> {
        if !answers.is_sentence || answers.in_a_row.len() > LISTED_MAX {
            return Ok(());
        }
        // What cannot be read is told when it is shown.
        let unreadable = self.texts.unreadable;
        for message in answers.in_a_row.clone() {
            let Some(found) = self.found(message)?.filter(|found| found.place.length <= LISTED_BYTES_MAX) else {
                continue;
            };
            let sentence = &self.ranking.query.text;
            let is_listed = self.texts.with_record(&found, |record| {
                let said = sections(record).into_iter().filter(|(column, _)| *column != Column::ToolOutput);
                is_only_listed(sentence, &said.map(|(_, text)| text).collect::<Vec<_>>().join("\n"))
            });
            if is_listed == Some(true) {
                answers.in_a_row.remove(&message);
            }
        }
        self.texts.unreadable = unreadable;
        Ok(())
    }

    fn conversations(&mut self, candidates: Candidates) -> rusqlite::Result<Vec<Entry>> {
        let found = self.ranking.in_order(&candidates)?;
        let entry = |found: &Conversation| Entry {
            session: found.session,
            message: found.shown.map(|shown| shown.message),
            by: By::Words,
            others: found.shown.map_or(0, |shown| shown.others),
            copies: found.shown.map_or(0, |shown| shown.copies),
        };
        let entries = found.iter().map(entry).collect();
        self.candidates = Some(candidates);
        Ok(entries)
    }

    /// Looks for the messages of conversations that were ranked without them.
    fn look_up(&mut self, page: &mut [Entry]) -> rusqlite::Result<()> {
        let Some(candidates) = &self.candidates else { return Ok(()) };
        let unknown: BTreeSet<i64> =
            page.iter().filter(|entry| entry.message.is_none()).map(|entry| entry.session).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let shown = self.ranking.show(candidates, &unknown)?;
        for entry in page.iter_mut().filter(|entry| entry.message.is_none()) {
            if let Some(shown) = shown.get(&entry.session) {
                (entry.message, entry.others, entry.copies) = (Some(shown.message), shown.others, shown.copies);
            }
        }
        Ok(())
    }

    /// What is found by parts of words, where whole ones leave room on the page.
    fn add_parts(&mut self, query: &Query, known: &Known, entries: &mut Vec<Entry>) -> rusqlite::Result<()> {
        let page = self.ranking.query.offset.saturating_add(self.ranking.query.limit);
        if entries.len() <= page && !query.is_words_alone() { self.by_parts(query, known, entries) } else { Ok(()) }
    }

    /// Says which words are nowhere, and that no conversation holds all that are somewhere, where that is so.
    fn note_dropped(&mut self, question: &Question, dropped: &[usize], kept: &Question) -> rusqlite::Result<()> {
        let mut with_all: Option<BTreeSet<i64>> = None;
        for word in &kept.words {
            let with = self.ranking.holding(&word.matches)?;
            with_all = Some(with_all.map_or_else(|| with.clone(), |all| &all & &with));
        }
        let is_apart = with_all.is_some_and(|all| all.is_empty());
        let words = |is_meant: &dyn Fn(&usize) -> bool| {
            let meant = (0..question.words.len()).filter(is_meant).map(|n| question.words[n].typed.as_str());
            let bare = meant.map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
            bare.collect::<Vec<_>>().join(", ")
        };
        let (none, some) = (words(&|n| dropped.contains(n)), words(&|n| !dropped.contains(n)));
        match (dropped.is_empty(), is_apart) {
            (true, true) => {
                self.note("no conversation holds all of these words: those that hold the most of them are shown")
            }
            (true, false) => {}
            (false, true) => {
                self.note(&format!("not found: {none}; searched for: {some}, which no conversation holds all of"))
            }
            (false, false) => self.note(&format!("not found: {none}; searched for: {some}")),
        }
        Ok(())
    }

    /// Every message that holds all words; where none does, those that hold the most.
    fn by_messages(&mut self, query: &Query) -> rusqlite::Result<Vec<Entry>> {
        let found = match query.words_match() {
            Some(expression) => self.ranked(query, &expression)?,
            None => Vec::new(),
        };
        let known = Known { keys: found.iter().map(|found| found.key).collect(), sessions: BTreeSet::new() };
        let found = self.ranking.one_of_each(found)?;
        let mut entries = each_entry(&found);
        self.add_parts(query, &known, &mut entries)?;
        if let Some(question) = Question::of(query)
            && (entries.is_empty() || question.is_sentence)
        {
            let known: BTreeSet<i64> = entries.iter().filter_map(|entry| entry.message).collect();
            let any = self.ranking.worth(&question.any(), &self.ranking.score())?;
            let any = any.into_iter().filter(|found| !known.contains(&found.message)).collect();
            let more = self.ranking.one_of_each(sorted(any))?;
            let is_apart = || Ok::<_, rusqlite::Error>(self.ranking.messages_holding(&question.all())?.is_empty());
            if !more.is_empty() && entries.is_empty() && is_apart()? {
                self.note("no message holds all of these words: those that hold the most of them are shown");
            }
            entries.extend(each_entry(&more));
        }
        Ok(entries)
    }

    fn ranked(&self, query: &Query, expression: &str) -> rusqlite::Result<Vec<Scored>> {
        let ranking = &self.ranking;
        if !none_if_refused(ranking.has_more(expression, RANKED_MAX))? {
            return ranking.close_together(query, ranking.worth(expression, &ranking.score())?);
        }
        let written = format!("{{user assistant}} : {expression}");
        let mut all = match none_if_refused(ranking.has_more(&written, RANKED_MAX))? {
            true => sorted(ranking.worth(&written, "0.0")?),
            false => ranking.close_together(query, ranking.worth(&written, &ranking.score())?)?,
        };
        let known: BTreeSet<i64> = all.iter().map(|found| found.message).collect();
        let others = ranking.worth(expression, "0.0")?;
        all.extend(sorted(others).into_iter().filter(|found| !known.contains(&found.message)));
        Ok(all)
    }

    /// Without a text: all messages that the filters leave, newest first.
    fn by_filters(&mut self) -> rusqlite::Result<Vec<Entry>> {
        let conditions = self.ranking.conditions(None, true);
        let sql = format!(
            "SELECT {}, 0.0 FROM messages m
             JOIN tracked t ON t.id = m.session AND t.listed = 1
             WHERE 1 {} ORDER BY m.time_ms DESC, m.id DESC LIMIT {}",
            Scored::sql(),
            conditions.sql,
            FILTERED_MAX + 1,
        );
        let mut found = self.ranking.query_scored(&sql, conditions.values)?;
        if found.len() > FILTERED_MAX {
            found.truncate(FILTERED_MAX);
            self.note(&format!("more than {FILTERED_MAX} messages match; only the newest are shown"));
        }
        let found = self.ranking.one_of_each(found)?;
        if self.ranking.query.each {
            return Ok(each_entry(&found));
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: HashMap<i64, usize> = HashMap::new();
        for (scored, copies) in &found {
            match places.get(&scored.session) {
                Some(at) => entries[*at].others += 1,
                None => {
                    places.insert(scored.session, entries.len());
                    entries.push(Entry::of(scored, *copies));
                }
            }
        }
        Ok(entries)
    }

    /// Compares the text of messages that hold all trigrams of the query, or of all messages
    /// where it has none, newest first, until there are enough hits for the page; then only those
    /// of the sessions among them, which are counted.
    fn by_parts(&mut self, query: &Query, known: &Known, entries: &mut Vec<Entry>) -> rusqlite::Result<()> {
        let enough = self.ranking.query.offset.saturating_add(self.ranking.query.limit);
        let each = self.ranking.query.each;
        let shown: BTreeSet<i64> = entries.iter().filter(|_| !each).map(|entry| entry.session).collect();
        let mut places: HashMap<i64, usize> = HashMap::new();
        let mut families = Families::new(self.ranking.conditions(None, false));
        let trigrams = query.trigrams_match();
        let is_scan = trigrams.is_none();
        let (from, condition) = match is_scan {
            true => ("messages m", Speaker::sql_with_parts()),
            false => (
                "parts CROSS JOIN spans s ON s.id = parts.rowid CROSS JOIN messages m ON m.id BETWEEN s.first AND s.last",
                format!("parts MATCH ?1 AND {}", Speaker::sql_with_parts()),
            ),
        };
        let conditions = self.ranking.conditions(trigrams, false);
        let sql = format!(
            "SELECT m.id, m.session, m.key, m.content, m.offset, m.length FROM {from} CROSS JOIN tracked t ON t.id = m.session AND t.listed = 1
             WHERE {condition} {} ORDER BY m.time_ms DESC, m.id DESC LIMIT {}",
            conditions.sql,
            if is_scan { -1 } else { CANDIDATES_MAX as i64 },
        );
        let mut statement = self.ranking.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(conditions.values))?;
        let (mut candidates, mut bytes) = (0, 0);
        while let Some(row) = rows.next()? {
            let (message, session, key, place) = candidate(row)?;
            candidates += 1;
            if known.keys.contains(&key) || known.sessions.contains(&session) || shown.contains(&session) {
                continue;
            }
            let entry = places.get(&session).filter(|_| !each).copied();
            if entry.is_none() && entries.len() > enough {
                if each {
                    return Ok(());
                }
                continue;
            }
            bytes += place.length;
            if bytes > COMPARE_BYTES_MAX {
                self.note("only the newest messages were compared; a longer query, a project or a period finds more");
                return Ok(());
            }
            // Messages of one content come by the dozen, and its name is needed once.
            if !self.texts.knows(place.content) {
                let Some(found) = self.found(message)? else { continue };
                self.texts.open(&found);
            }
            if !self.texts.holds(place, query) {
                continue;
            }
            let copies = match is_same_everywhere(key) {
                true => families.copies(self.ranking.connection, session, key)?,
                false => Some(0),
            };
            let Some(copies) = copies else { continue };
            match entry {
                Some(at) => entries[at].others += 1,
                None => {
                    places.insert(session, entries.len());
                    entries.push(Entry { session, message: Some(message), by: By::Substrings, others: 0, copies });
                }
            }
        }
        if !is_scan && candidates == CANDIDATES_MAX {
            self.note("only the newest messages were compared; a longer query, a project or a period finds more");
        }
        Ok(())
    }

    fn found(&self, message: i64) -> rusqlite::Result<Option<Found>> {
        let sql = format!("SELECT {COLUMNS} FROM messages m {JOINS} WHERE m.id = ?1");
        self.ranking.connection.prepare_cached(&sql)?.query_row([message], found).optional()
    }

    fn show(&mut self, rank: usize, entry: &Entry, query: Option<&Query>) -> rusqlite::Result<()> {
        let Some(message) = entry.message else { return Ok(()) };
        let Some(found) = self.found(message)? else { return Ok(()) };
        let SearchQuery { marks, before, after, .. } = self.ranking.query;
        let (uuid, snippet, at) = self.texts.show(&found, query, entry.by, marks);
        let mut context = |side, count| context(self.ranking.connection, &mut self.texts, &found, side, count);
        let (before, after) = (context(Side::Before, *before)?, context(Side::After, *after)?);
        let first_topic = match found.title {
            Some(_) => None,
            None => beginning(self.ranking.connection, found.session_row)?,
        };
        self.results.hits.push(Hit {
            directory: None,
            label: String::new(),
            rank,
            message: found.message(uuid.as_deref(), at),
            path: found.path_text(),
            time: found.time(),
            session_id: found.session,
            project: found.project,
            first_topic,
            title: found.title,
            name: None,
            tags: Vec::new(),
            pinned: false,
            role: found.speaker.role(),
            is_sidechain: found.speaker.is_sidechain(),
            branch: found.branch,
            uuid,
            others_in_session: entry.others,
            other_sessions: entry.copies,
            // The index knows nothing of sources; whoever asks looks.
            source_gone: false,
            lost_messages: 0,
            snippet,
            offset: found.place.offset,
            before,
            after,
        });
        Ok(())
    }

    fn note(&mut self, text: &str) {
        self.results.notes.push(text.to_owned());
    }
}

fn each_entry(found: &[(Scored, usize)]) -> Vec<Entry> {
    found.iter().map(|(scored, copies)| Entry::of(scored, *copies)).collect()
}

/// Of a row: a message, its session, its key and its place.
fn candidate(row: &Row<'_>) -> rusqlite::Result<(i64, i64, i64, Place)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, place(row, [3, 4, 5])?))
}
