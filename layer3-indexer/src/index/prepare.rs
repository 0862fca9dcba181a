//! What the rows of a record are made of, found in the record alone: another thread can do it while
//! SQLite writes the rows of the one before.

use std::borrow::Cow;
use std::ops::Range;

use super::blobs::without_blobs;
use super::fold::indexed;
use super::text::{Column, Speaker, is_message, is_same_everywhere, key_of, sections};
use super::tool_calls::Named;
use super::topics::{TopicWords, WordBook};
use super::trigram::Tokens;
use crate::transcript::metadata::SessionStats;
use crate::transcript::queue::may_be_sent;
use crate::transcript::record::{Located, Record, without_marks};

/// Columns of the index of words.
const COLUMNS: usize = 5;

/// A record as its rows need it.
pub(super) struct Prepared<'a> {
    /// Where the record stands in its content.
    pub(crate) offset: u64,
    /// Its length there.
    pub(crate) length: u64,
    /// Its time, or that of the record before it.
    pub(crate) time_ms: i64,
    /// What it adds to the session's metadata.
    pub(crate) tally: SessionStats,
    /// `None` where it makes no row.
    pub(crate) message: Option<Message<'a>>,
}

/// What is written of a message.
pub(super) struct Message<'a> {
    /// See [`Record::is_aside`].
    pub(crate) is_aside: bool,
    pub(crate) speaker: Speaker,
    pub(crate) branch: Option<Cow<'a, str>>,
    pub(crate) key: i64,
    /// The text in each column of the index of words.
    pub(crate) columns: [Option<Cow<'a, str>>; COLUMNS],
    /// The tokens of its parts, each once.
    pub(crate) parts: Vec<u32>,
    /// Length of the text that has them.
    pub(crate) parts_bytes: usize,
    pub(crate) topics: TopicWords,
    pub(crate) uses: Vec<Named>,
    pub(crate) queued: Queued,
    /// The [`Record::fingerprints`] of one that counts as a message: see [`Record::is_shown`].
    pub(crate) shown: Option<Vec<u64>>,
    /// Whether it is the rest of a long text of the message before it.
    pub(crate) is_rest: bool,
}

/// What a message is to the queue of prompts, and what was said in it.
pub(super) enum Queued {
    /// Nothing.
    No,
    /// It waits there.
    Waits(String),
    /// It may be one that waited.
    MayBeSent(String),
}

impl Queued {
    fn of(record: &Record<'_>) -> Queued {
        if record.is_queued {
            return Queued::Waits(record.said());
        }
        // A subagent's task comes from nobody's queue.
        if may_be_sent(record) && !record.is_sidechain { Queued::MayBeSent(record.said()) } else { Queued::No }
    }
}

/// What a reader keeps from record to record.
pub(super) struct Known {
    words: WordBook,
    /// Empty between two of them.
    tokens: Tokens,
}

impl Known {
    pub(crate) fn new() -> Known {
        Known { words: WordBook::default(), tokens: Tokens::new() }
    }

    /// Takes the words and the tokens of a text; gives the bytes that have tokens.
    fn read(&mut self, column: Column, text: &str, topics: &mut TopicWords) -> usize {
        if column != Column::ToolOutput {
            self.words.read(text, column == Column::User, topics);
        }
        if !column.has_parts() {
            return 0;
        }
        self.tokens.add(text);
        text.len()
    }
}

/// Which of a record's long texts is the rest of what stands in a column.
pub(super) type Rest = (Range<u64>, Column);

impl<'a> Prepared<'a> {
    /// `ordered_ms` is its time in the order of its file. `rests` gets the long texts that
    /// were left in the file: each piece of them is a [`Prepared::rest`].
    pub(crate) fn of(
        located: &'a Located<'_>,
        ordered_ms: i64,
        known: &mut Known,
        rests: &mut Vec<Rest>,
    ) -> Prepared<'a> {
        let record = &located.record;
        let time_ms = record.timestamp_ms.unwrap_or(ordered_ms);
        let mut tally = SessionStats::default();
        tally.add(record, ordered_ms);
        let message = is_message(record).then(|| {
            let sections = sections(record);
            let key = key_of(record, &sections);
            let (mut parts_bytes, mut topics) = (0, TopicWords::default());
            let mut columns = [const { None }; COLUMNS];
            for (column, text) in sections {
                let text = without_blobs(without_rests(text, located, column, rests));
                parts_bytes += known.read(column, &text, &mut topics);
                let column = &mut columns[column as usize];
                *column = Some(joined(column.take(), text));
            }
            known.words.end(&mut topics);
            Message {
                is_aside: record.is_aside(),
                speaker: Speaker::of(record),
                branch: record.git_branch.as_deref().map(Cow::Borrowed),
                key,
                columns: columns.map(|text| text.map(indexed)),
                parts: known.tokens.take(),
                parts_bytes,
                topics,
                uses: Named::all_of(record),
                queued: Queued::of(record),
                shown: record.is_shown().then(|| record.fingerprints()),
                is_rest: false,
            }
        });
        Prepared { offset: located.offset, length: located.length, time_ms, tally, message }
    }

    /// What is the same in all pieces of it: all but its texts.
    pub(crate) fn without_texts(&self) -> Prepared<'a> {
        let message = self.message.as_ref().map(|message| Message {
            is_aside: true,
            speaker: message.speaker,
            branch: message.branch.clone(),
            key: message.key,
            columns: [const { None }; COLUMNS],
            parts: Vec::new(),
            parts_bytes: 0,
            topics: TopicWords::default(),
            uses: Vec::new(),
            queued: Queued::No,
            shown: None,
            is_rest: true,
        });
        Prepared { message, tally: SessionStats::default(), ..*self }
    }

    /// A piece of a text that this record has not all of, as a message of its own. `None` where this one makes no row.
    pub(crate) fn rest(&self, text: String, column: Column, number: u64, known: &mut Known) -> Option<Prepared<'a>> {
        let mut piece = self.without_texts();
        let message = piece.message.as_mut()?;
        let text = without_blobs(Cow::Owned(text.replace('\0', " ")));
        message.parts_bytes = known.read(column, &text, &mut message.topics);
        message.parts = known.tokens.take();
        known.words.end(&mut message.topics);
        message.columns[column as usize] = Some(indexed(text));
        let key = blake3::hash(&[message.key.to_le_bytes(), number.to_le_bytes()].concat());
        let key = i64::from_le_bytes(key.as_bytes()[..8].try_into().unwrap_or_default());
        // The same in whatever session the message itself is.
        message.key = if is_same_everywhere(message.key) { key | 1 } else { key & !1 };
        Some(piece)
    }

    /// The same without the record.
    pub(crate) fn into_owned(self) -> Prepared<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let message = self.message.map(|message| Message {
            branch: message.branch.map(owned),
            columns: message.columns.map(|text| text.map(owned)),
            ..message
        });
        Prepared { message, ..self }
    }
}

/// A text without the marks of what was left of it in the file, which `rests` gets.
fn without_rests<'a>(text: Cow<'a, str>, located: &Located<'_>, column: Column, rests: &mut Vec<Rest>) -> Cow<'a, str> {
    if located.cuts.is_empty() {
        return text;
    }
    let mut take = |n: usize| {
        let is_new = !rests.iter().any(|(cut, _)| *cut == located.cuts[n]);
        rests.extend(is_new.then(|| (located.cuts[n].clone(), column)));
        is_new
    };
    without_marks(&text, &located.cuts, &mut take).map_or(text, Cow::Owned)
}

/// A text below another one.
fn joined<'a>(above: Option<Cow<'a, str>>, text: Cow<'a, str>) -> Cow<'a, str> {
    let Some(above) = above else { return text };
    let mut all = above.into_owned();
    all.push('\n');
    all.push_str(&text);
    Cow::Owned(all)
}
