//! The text of messages that were found, read from the store again.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use layer1_prebackup::archive::{Ranges, SessionKey};
use layer1_prebackup::names::{NameError, StoredName};
use rusqlite::Row;
use rusqlite::types::Type;

use super::contents::Contents;
use super::fold::folded;
use super::matching::By;
use super::query::Query;
use super::snippet::{Snippet, beginning, snippet};
use super::text::{Column, Speaker, sections};
use super::types::{CHARACTER, Marks};
use crate::terminal::time::format_rfc3339_ms;
use crate::transcript::record::{LINE_BYTES_MAX, Record, is_output, with_piece, with_record};
use crate::transcript::redact::Redactor;

/// Characters of a message that every window on it shows.
const FAR_CHARS: usize = 2_000;
/// Compressed contents whose last frame is kept unpacked, an eighth of a MiB each.
const WARM_MAX: usize = 64;

/// What [`found`] reads …
pub(super) const COLUMNS: &str = "m.offset, m.length, m.time_ms, m.speaker, b.name, c.id, c.path, c.generation,
    t.project, t.session, t.title, t.id";
/// … from messages `m`.
pub(super) const JOINS: &str = "JOIN contents c ON c.id = m.content
    JOIN tracked t ON t.id = m.session AND t.listed = 1
    LEFT JOIN branches b ON b.id = m.branch";

/// Where the record of a message lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(crate) content: i64,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// A row of the index that may be a hit.
pub(super) struct Found {
    pub(crate) place: Place,
    pub(crate) time_ms: i64,
    pub(crate) speaker: Speaker,
    pub(crate) branch: Option<String>,
    path: String,
    generation: u32,
    pub(crate) project: String,
    pub(crate) session: String,
    pub(crate) title: Option<String>,
    pub(crate) session_row: i64,
}

pub(super) fn found(row: &Row<'_>) -> rusqlite::Result<Found> {
    let found = Found {
        place: place(row, [5, 0, 1])?,
        time_ms: row.get(2)?,
        speaker: Speaker(row.get(3)?),
        branch: row.get(4)?,
        path: row.get(6)?,
        generation: row.get(7)?,
        project: row.get(8)?,
        session: row.get(9)?,
        title: row.get(10)?,
        session_row: row.get(11)?,
    };
    check_names(&found.project, &found.session)?;
    Ok(found)
}

/// Fails as a row does that we never wrote, where no session of ours can be called so.
pub(super) fn check_names(project: &str, session: &str) -> rusqlite::Result<()> {
    let wrong = |error: NameError| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error));
    SessionKey::parse(project, session).map(drop).map_err(wrong)
}

/// From the columns of content, offset and length.
pub(super) fn place(row: &Row<'_>, [content, offset, length]: [usize; 3]) -> rusqlite::Result<Place> {
    let (offset, length): (i64, i64) = (row.get(offset)?, row.get(length)?);
    Ok(Place { content: row.get(content)?, offset: offset.unsigned_abs(), length: length.unsigned_abs() })
}

impl Found {
    /// When, RFC 3339.
    pub(crate) fn time(&self) -> Option<String> {
        (self.time_ms != 0).then(|| format_rfc3339_ms(self.time_ms))
    }

    /// What names the message: its id or, where it has none, `PATH:OFFSET`; and the character in it that was found,
    /// where that is far behind its beginning.
    pub(crate) fn message(&self, uuid: Option<&str>, at: usize) -> String {
        let message = uuid.map_or_else(|| format!("{}:{}", self.path_text(), self.place.offset), str::to_owned);
        if at < FAR_CHARS { message } else { format!("{message}{CHARACTER}{at}") }
    }

    /// The stored file, relative to the project's folder.
    pub(crate) fn path_text(&self) -> String {
        self.stored().map_or_else(|| self.path.clone(), |(key, name)| name.to_text(&key.id))
    }

    /// Where its text lies. The names were checked when they were indexed.
    fn stored(&self) -> Option<(SessionKey, StoredName)> {
        let key = SessionKey::parse(&self.project, &self.session).ok()?;
        let file = StoredName::parse(&key.id, &self.path).ok()?.file;
        Some((key, StoredName { file, generation: self.generation }))
    }
}

/// Reads texts from the store again, each file opened once. Of a compressed one the frames that hold what is
/// read are unpacked, and nothing else.
pub(super) struct Texts<'s> {
    contents: &'s dyn Contents,
    /// Another copy of them.
    other: Option<&'s dyn Contents>,
    files: BTreeMap<i64, Option<Ranges>>,
    /// Contents that keep a frame, the one that was read last at the end.
    warm: VecDeque<i64>,
    /// Messages that could not be read.
    pub(crate) unreadable: usize,
    redactor: Option<Redactor>,
}

impl<'s> Texts<'s> {
    pub(crate) fn new(contents: &'s dyn Contents) -> Texts<'s> {
        Texts::masking(contents, None, false)
    }

    /// Texts in which secrets are masked, if that is asked for.
    pub(crate) fn masking(contents: &'s dyn Contents, other: Option<&'s dyn Contents>, redact: bool) -> Texts<'s> {
        let redactor = redact.then(Redactor::default);
        Texts { contents, other, files: BTreeMap::new(), warm: VecDeque::new(), unreadable: 0, redactor }
    }

    /// The sections of a record as they may be shown: masked whole, before a snippet is cut out of one.
    fn shown<'t>(redactor: &mut Option<Redactor>, record: &'t Record<'_>) -> Vec<(Column, Cow<'t, str>)> {
        let mut sections = sections(record);
        if let Some(redactor) = redactor {
            record.each_text(|text| redactor.learn(text));
            for (_, text) in &mut sections {
                *text = Cow::Owned(redactor.mask(text).into_owned());
            }
        }
        sections
    }

    /// Whether it was tried to open a content.
    pub(crate) fn knows(&self, content: i64) -> bool {
        self.files.contains_key(&content)
    }

    pub(crate) fn open(&mut self, found: &Found) {
        let contents = self.contents;
        let open = || found.stored().and_then(|(key, name)| contents.open_ranges(&key, &name).ok());
        self.files.entry(found.place.content).or_insert_with(open);
    }

    /// Whether the message holds the query, in a content that was opened.
    pub(crate) fn holds(&mut self, place: Place, query: &Query) -> bool {
        let Some(line) = self.read_at(place) else {
            self.unreadable += 1;
            return false;
        };
        // Most lines are ruled out without being understood, which costs ten times as much.
        if std::str::from_utf8(&line).is_ok_and(|line| !query.may_be_in_line(line)) {
            return false;
        }
        let holds = with_record(&line, |record| {
            let parts: Vec<_> = sections(record).into_iter().filter(|(column, _)| column.has_parts()).collect();
            let texts: Vec<&str> = parts.iter().map(|(_, text)| &**text).collect();
            query.is_in(&folded(&texts.join("\n")))
        });
        self.unreadable += usize::from(holds.is_none());
        holds.unwrap_or(false)
    }

    /// The record's id, a snippet of the section that shows most of the query, and which character of the message it is from.
    pub(crate) fn show(
        &mut self,
        found: &Found,
        query: Option<&Query>,
        by: By,
        marks: &Marks,
    ) -> (Option<String>, String, usize) {
        let shown = self.with_sections(found, |uuid, sections| {
            let mut best: Option<(usize, Column, Snippet, usize)> = None;
            let mut before = 0;
            for (column, text) in sections {
                let section_at = before;
                // And the line break behind it.
                before += text.chars().count() + 1;
                if by == By::Substrings && !column.has_parts() {
                    continue;
                }
                let snippet = match query {
                    Some(query) => snippet(&text, query, by, marks),
                    None => Snippet { text: beginning(&text), terms_shown: 0, at: 0 },
                };
                let is_better = best
                    .as_ref()
                    .is_none_or(|(shown, of, ..)| (snippet.terms_shown, -(column as i32)) > (*shown, -(*of as i32)));
                if is_better {
                    let at = section_at + text[..snippet.at].chars().count();
                    best = Some((snippet.terms_shown, column, snippet, at));
                }
            }
            let (snippet, at) = best.map(|(_, _, snippet, at)| (snippet.text, at)).unwrap_or_default();
            (uuid, snippet, at)
        });
        shown.unwrap_or_default()
    }

    /// The id of the record, and its sections as they may be shown.
    pub(crate) fn with_sections<T>(
        &mut self,
        found: &Found,
        each: impl FnOnce(Option<String>, Vec<(Column, Cow<'_, str>)>) -> T,
    ) -> Option<T> {
        let mut redactor = self.redactor.take();
        let read = self.with_record(found, |record| {
            each(record.uuid.as_deref().map(str::to_owned), Texts::shown(&mut redactor, record))
        });
        self.redactor = redactor;
        read
    }

    /// A message that cannot be read is counted; it stays a hit without words.
    pub(crate) fn with_record<T>(&mut self, found: &Found, each: impl FnOnce(&Record<'_>) -> T) -> Option<T> {
        let is_output = found.stored().is_some_and(|(_, name)| is_output(&name.file));
        let mut each = Some(each);
        let mut read = |bytes: Vec<u8>| {
            let once = |record: &Record<'_>| each.take().map(|each| each(record));
            if is_output { with_piece(&bytes, once) } else { with_record(&bytes, once) }.flatten()
        };
        let mut value = self.read(found).and_then(&mut read);
        if value.is_none() {
            value = self.read_other(found).and_then(read);
        }
        self.unreadable += usize::from(value.is_none());
        value
    }

    /// The record as it stands in the other copy.
    fn read_other(&self, found: &Found) -> Option<Vec<u8>> {
        let (other, (key, name)) = self.other.zip(found.stored())?;
        let mut bytes = vec![0; found.place.length.min(LINE_BYTES_MAX as u64) as usize];
        other.open_ranges(&key, &name).ok()?.read_exact_at(found.place.offset, &mut bytes).ok()?;
        Some(bytes)
    }

    /// The record as it stands in the transcript.
    pub(crate) fn read(&mut self, found: &Found) -> Option<Vec<u8>> {
        self.open(found);
        self.read_at(found.place)
    }

    fn read_at(&mut self, place: Place) -> Option<Vec<u8>> {
        // The index says where; no record is longer, whatever it says.
        if place.length > LINE_BYTES_MAX as u64 {
            return None;
        }
        let file = self.files.get_mut(&place.content)?.as_mut()?;
        let mut bytes = vec![0; place.length as usize];
        file.read_exact_at(place.offset, &mut bytes).ok()?;
        self.keep_warm(place.content);
        Some(bytes)
    }

    /// Many sessions are read from, in turns: not all of them keep what was unpacked.
    fn keep_warm(&mut self, content: i64) {
        if self.warm.back() == Some(&content) {
            return;
        }
        self.warm.retain(|other| *other != content);
        self.warm.push_back(content);
        if self.warm.len() > WARM_MAX
            && let Some(Some(coldest)) = self.warm.pop_front().and_then(|cold| self.files.get_mut(&cold))
        {
            coldest.forget();
        }
    }
}
