//! The ledger of a session: what is committed, one checksummed line of JSON a commit.
//!
//! It lies under `.state/sessions/{ID}/{PROJECT}.ledger`, is appended to and synced, and is
//! rewritten when it has outgrown what it says. A line counts only when its checksum matches; a
//! torn last line is a commit that never happened. A bad line before the last one means that the
//! ledger itself was damaged: what the remaining lines say is then only a claim, to be compared
//! with the bytes again.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::paths::{LEDGER_ENDING, ledger_name, session_folder};
use super::store::Archive;
use super::tree_hash::TreeHasher;
use super::types::{ArchiveError, Formatted, SessionKey, Verification};
use crate::Hash;
use crate::claude::mark::{Mark, mark_of, put_bytes, put_number};
use crate::claude::transcripts::Identity;
use crate::fs::{self, Dir};
use crate::log::now_ms;
use crate::names::{FileName, GENERATION_MAX, ProjectName, SessionId, StoredName};
use crate::wire::outbox_receipt::FileEntry;

/// The format that this version writes. A ledger of another format is not touched.
const FORMAT: u32 = 1;
/// A ledger longer than this, and than [`REWRITE_FACTOR`] times what it needs, is rewritten.
const REWRITE_BYTES_MIN: u64 = 64 * 1024;
const REWRITE_FACTOR: u64 = 4;
/// A ledger is never longer, in bytes: that is more than thirty thousand contents of one session. Nor is it read further.
const LEDGER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What a line can say of a content at most. What says more is damaged.
const CONTENT_BYTES_MAX: u64 = 1 << 44;
const TREE_DIGITS_MAX: usize = 64 * 64;
const WINDOW_DIGITS_MAX: usize = 64;
const SOURCE_BYTES_MAX: usize = 4096;
/// The end of the year 9999, in milliseconds since 1970.
const TIME_MS_MAX: u64 = 253_402_300_799_999;
/// Enough of a ledger for its first line, which says whose it is.
const FIRST_LINE_BYTES: usize = 1024;
/// Generations that are nowhere are named up to so many of each file.
const GAPS_MAX: usize = 100;
/// Length of the head and of the tail window, in bytes.
pub(super) const WINDOW_BYTES: u64 = 4096;
/// Hexadecimal digits of a line's checksum.
const CHECKSUM_DIGITS: usize = 16;

/// What is committed of one content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Committed length.
    pub(super) bytes: u64,
    /// Plain BLAKE3 of these bytes.
    pub(super) blake3: Hash,
    /// State from which the hash goes on: see [`super::tree_hash`]. Empty where it was not kept.
    pub(super) tree: String,
    /// BLAKE3 of the head and the tail window, 16 digits each.
    pub(super) windows: Windows,
    /// The source as it was when this was committed, if there was one.
    pub(super) source: Option<Identity>,
    /// What the hash is worth.
    pub(super) verification: Verification,
    /// Milliseconds since 1970.
    pub(super) committed_ms: u64,
    /// The compressed file that it lies in, if it does. All of the above is said of the plain bytes.
    pub(super) compressed: Option<CompressedFile>,
}

impl Record {
    /// The record of a plain content that ends where `tree` stands.
    pub(super) fn of(
        tree: &TreeHasher,
        windows: Windows,
        source: Option<Identity>,
        verification: Verification,
    ) -> Record {
        let (bytes, blake3, tree) = (tree.bytes(), tree.root(), tree.stack_as_hex());
        Record { bytes, blake3, tree, windows, source, verification, committed_ms: now_ms(), compressed: None }
    }

    /// Whether it says more than what was found where the bookkeeping was lost.
    pub(super) fn is_proven(&self) -> bool {
        self.verification != Verification::Unverified
    }
}

/// A compressed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CompressedFile {
    /// Its length.
    pub(super) bytes: u64,
    /// Its own plain BLAKE3.
    pub(super) blake3: Hash,
}

/// Short hashes of the first and of the last bytes of a committed content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Windows {
    pub(super) head: String,
    pub(super) tail: String,
}

/// One committed content of a session: a file in one of its generations.
#[derive(Debug, Clone)]
pub struct StoredFile {
    /// Which file, which generation.
    pub name: StoredName,
    /// [`StoredName::to_text`]: relative to the project's folder.
    pub path: String,
    /// Committed length.
    pub bytes: u64,
    /// Plain BLAKE3 of the first `bytes` bytes.
    pub blake3: Hash,
    /// What that hash is worth.
    pub verification: Verification,
    /// When it was committed, in milliseconds since 1970.
    pub committed_ms: u64,
    /// What it takes on the disk: less than `bytes` where it is compressed.
    pub disk_bytes: u64,
}

impl StoredFile {
    pub(super) fn of(name: &StoredName, record: &Record, key: &SessionKey) -> StoredFile {
        StoredFile {
            name: name.clone(),
            path: name.to_text(&key.id),
            bytes: record.bytes,
            blake3: record.blake3,
            verification: record.verification,
            committed_ms: record.committed_ms,
            disk_bytes: record.compressed.map_or(record.bytes, |file| file.bytes),
        }
    }
}

impl From<&StoredFile> for FileEntry {
    fn from(file: &StoredFile) -> FileEntry {
        FileEntry {
            path: file.path.clone(),
            generation: file.name.generation,
            bytes: file.bytes,
            blake3: file.blake3.to_hex().to_string(),
        }
    }
}

/// Something that was begun, so that the next run can finish or undo it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// The newest content of a file is being renamed to generation `to`.
    Rotate { to: u32 },
    /// An older content of a file is being put in place as generation `to`.
    Add { to: u32 },
}

/// How far the removal of a content has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removal {
    /// It counts as gone; its file may still be there.
    Begun,
    /// Its file was unlinked, and that was synced.
    Done,
}

/// The ledger in memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    records: BTreeMap<StoredName, Record>,
    intents: BTreeMap<FileName, Intent>,
    /// What the user had removed, and whether it is done: a gap that `verify` does not ask about.
    pruned: BTreeMap<StoredName, Removal>,
    /// The user had the whole session removed; whoever opens it next finishes that.
    pub(super) is_going: bool,
    /// The transcript that was last copied from.
    pub(super) source: Option<PathBuf>,
    /// A line before the last one was bad, or the ledger was not there although contents are.
    pub(super) is_damaged: bool,
    /// It says which session it is of.
    says_whose: bool,
    /// The last line was torn.
    has_torn_tail: bool,
    bytes: u64,
    /// Length at which it is looked at again whether the ledger has outgrown what it says.
    look_at: u64,
}

/// One line.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<u64>,
    /// Project and id of the session that the ledger is of: a copy of it under another name is no ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blake3: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tree: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tail: Option<String>,
    /// Device, inode, bytes, mtime and ctime of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<(u64, u64, u64, i64, i64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<Verification>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotate_to: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    add_to: Option<u32>,
    /// The content is no longer there under this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    gone: Option<bool>,
    /// Length and hash of the compressed file.
    #[serde(skip_serializing_if = "Option::is_none")]
    packed: Option<(u64, String)>,
    /// The path of a content that the user had removed, which is still to be unlinked.
    #[serde(skip_serializing_if = "Option::is_none")]
    prune: Option<String>,
    /// The same, unlinked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pruned: Option<String>,
    /// The user had all of the session removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    prune_all: Option<bool>,
}

/// A change of the ledger, to be written in one go with others.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    Commit(StoredName, Box<Record>),
    Begin(FileName, Intent),
    Gone(StoredName),
    Source(PathBuf),
    /// The user has this content removed: from here on it counts as gone.
    Prune(StoredName),
    /// It was unlinked.
    Pruned(StoredName),
    /// The user has the whole session removed: from here on all of it counts as gone.
    PruneAll,
}

/// The sessions that have a ledger in `state` ([`session_folder`] of `id`), by the names of the files alone.
pub(super) fn keys_in(state: &Dir, id: &SessionId) -> Result<Vec<SessionKey>, ArchiveError> {
    let project = |name: &OsStr| ProjectName::parse(name.to_str()?.strip_suffix(LEDGER_ENDING)?).ok();
    let projects = state.entries()?.into_iter().filter_map(|(name, _)| project(&name));
    Ok(projects.map(|project| SessionKey { project, id: id.clone() }).collect())
}

impl Archive {
    /// The folder of a session's bookkeeping; `None` where there is none, or something else stands in its place.
    pub(super) fn state_of(&self, id: &SessionId) -> Result<Option<Dir>, ArchiveError> {
        match self.root.open_beneath(&session_folder(id)) {
            Err(error) if error.is_not_ours() => Ok(None),
            state => Ok(state?),
        }
    }

    /// The ledger of a session; an absent one is empty.
    pub(super) fn ledger(&self, key: &SessionKey) -> Result<Ledger, ArchiveError> {
        match self.state_of(&key.id)? {
            Some(state) => Ledger::read(&state, key),
            None => Ok(Ledger::default()),
        }
    }
}

impl Ledger {
    /// Reads the ledger of `key` in `state` ([`session_folder`]); an absent one is empty. One that looks
    /// damaged is read again before that is believed.
    pub(super) fn read(state: &Dir, key: &SessionKey) -> Result<Ledger, ArchiveError> {
        let first = Ledger::read_once(state, key)?;
        if first.is_damaged || first.has_torn_tail { Ledger::read_once(state, key) } else { Ok(first) }
    }

    fn read_once(state: &Dir, key: &SessionKey) -> Result<Ledger, ArchiveError> {
        let name = ledger_name(key);
        let path = state.path().join(&name);
        let text = match Ledger::text(state, key) {
            // Whatever it holds is not believed. Whoever writes next puts it aside.
            Err(ArchiveError::Durable(error)) if error.is_not_ours() => {
                return Ok(Ledger { is_damaged: true, ..Ledger::default() });
            }
            text => text?.unwrap_or_default(),
        };
        Ledger::parse(&text, key).map_err(|refused| match refused {
            Refused::Newer(format) => ArchiveError::NewerFormat { path, format },
            Refused::SpelledAlike(other) => ArchiveError::SpelledAlike { path, other },
        })
    }

    /// The bytes of the ledger; `None` if there is none.
    pub(super) fn text(state: &Dir, key: &SessionKey) -> Result<Option<Vec<u8>>, ArchiveError> {
        let name = ledger_name(key);
        // Each of its lines proves itself, and it says whose it is.
        let Some(file) = state.open_own_file_under_any_names(&name)? else { return Ok(None) };
        let path = state.path().join(&name);
        let bytes = fs::stat_of(&file, &path)?.st_size as u64;
        let text = fs::read_bounded(&file, LEDGER_BYTES_MAX, &path)?;
        // Another writer may have cut a failed commit off; then the rest of it is not there.
        let came = text.len() as u64;
        if came < bytes && came != fs::stat_of(&file, &path)?.st_size as u64 {
            return Err(ArchiveError::damaged(path, format!("{came} bytes came of {bytes}")));
        }
        Ok(Some(text))
    }

    /// The session that a ledger says it is of; `None` where it does not say, as those of the version before, or is none.
    pub(super) fn said_to_be_of(state: &Dir, key: &SessionKey) -> Option<SessionKey> {
        let name = ledger_name(key);
        // One that cannot be read is found when its session is.
        let file = state.open_own_file_under_any_names(&name).ok()??;
        let mut text = vec![0; FIRST_LINE_BYTES];
        let came = fs::read_at(&file, 0, &mut text, &state.path().join(&name)).ok()?;
        let first = text[..came].split(|byte| *byte == b'\n').next()?;
        let (project, id) = checked_line(first)?.of?;
        SessionKey::parse(&project, &id).ok()
    }

    fn parse(text: &[u8], key: &SessionKey) -> Result<Ledger, Refused> {
        let mut ledger = Ledger { bytes: text.len() as u64, ..Ledger::default() };
        let mut lines = text.split_inclusive(|byte| *byte == b'\n').peekable();
        while let Some(raw) = lines.next() {
            let json = raw.strip_suffix(b"\n").and_then(checked_json);
            let line = json.and_then(|json| serde_json::from_slice::<Line>(json).ok());
            let format = match &line {
                Some(line) => line.format,
                // Another version's line may say nothing else that is understood.
                None => json.and_then(|json| serde_json::from_slice(json).ok()).map(|Formatted { format }| format),
            };
            let of = line.as_ref().and_then(|line| line.of.as_ref()).map(|(_, id)| id.as_str());
            let other = of.filter(|id| *id != key.id.as_str() && id.eq_ignore_ascii_case(key.id.as_str()));
            if let Some(other) = other.or_else(|| line.as_ref().and_then(|line| spelled_alike(line, key))) {
                return Err(Refused::SpelledAlike(other.to_owned()));
            }
            // A folder may have been renamed, and the ledger with it. No session is.
            let is_anothers = |(_, id): &(String, String)| id != key.id.as_str();
            match line {
                // A copy of another session's ledger: nothing that it says is of this one.
                Some(Line { of: Some(of), .. }) if is_anothers(&of) => {
                    return Ok(Ledger { is_damaged: true, ..Ledger::default() });
                }
                _ if format.is_some_and(|format| format > u64::from(FORMAT)) => {
                    return Err(Refused::Newer(format.unwrap_or_default()));
                }
                Some(line) if ledger.take(&line, key).is_some() => {}
                _ if lines.peek().is_none() && !raw.ends_with(b"\n") => ledger.has_torn_tail = true,
                _ => ledger.is_damaged = true,
            }
        }
        Ok(ledger)
    }

    /// What is committed under a name.
    pub(super) fn record(&self, name: &StoredName) -> Option<&Record> {
        self.records.get(name)
    }

    /// Everything committed, transcript first.
    pub(super) fn records(&self) -> impl Iterator<Item = (&StoredName, &Record)> {
        self.records.iter()
    }

    /// What was begun and not finished.
    pub(super) fn intents(&self) -> Vec<(FileName, Intent)> {
        self.intents.iter().map(|(file, intent)| (file.clone(), *intent)).collect()
    }

    /// The highest generation of `file` that was ever recorded, removed ones included.
    pub(super) fn generation_max(&self, file: &FileName) -> u32 {
        let (from, to) = all_of(file);
        let pruned = self.pruned.range(from..=to).map(|(name, _)| name.generation);
        self.records_of(file).map(|(name, _)| name.generation).chain(pruned).max().unwrap_or(0)
    }

    /// Whether the user had this content removed.
    pub(super) fn is_pruned(&self, name: &StoredName) -> bool {
        self.is_going || self.pruned.contains_key(name)
    }

    /// What counts as removed and may still be there.
    pub(super) fn to_unlink(&self) -> Vec<StoredName> {
        let begun = self.pruned.iter().filter(|(_, removal)| **removal == Removal::Begun);
        begun.map(|(name, _)| name.clone()).collect()
    }

    /// Everything committed of `file`, the newest content first, then from the oldest on.
    pub(super) fn records_of(&self, file: &FileName) -> impl Iterator<Item = (&StoredName, &Record)> {
        let (from, to) = all_of(file);
        self.records.range(from..=to)
    }

    /// Generations below the highest one of a file that are nowhere, although nobody had them removed; of each file
    /// the first [`GAPS_MAX`].
    pub(super) fn gaps(&self) -> Vec<StoredName> {
        let older = |file: &FileName| {
            let of = |generation| StoredName { file: file.clone(), generation };
            let is_gap = |name: &StoredName| self.record(name).is_none() && !self.is_pruned(name);
            (1..self.generation_max(file)).map(of).filter(is_gap).take(GAPS_MAX).collect::<Vec<_>>()
        };
        self.files().into_iter().flat_map(older).collect()
    }

    /// The files of which something is committed, transcript first.
    pub(super) fn files(&self) -> Vec<&FileName> {
        let mut files: Vec<&FileName> = self.records.keys().map(|name| &name.file).collect();
        files.dedup();
        files
    }

    /// Everything committed, as it is told outside.
    pub(super) fn stored_files(&self, key: &SessionKey) -> Vec<StoredFile> {
        self.records.iter().map(|(name, record)| StoredFile::of(name, record, key)).collect()
    }

    /// Whether there is no file of it yet, or an empty one.
    pub(super) fn is_unwritten(&self) -> bool {
        self.bytes == 0
    }

    /// Whether nothing is recorded, no removal either.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.pruned.is_empty() && !self.is_going
    }

    /// Whether nothing of it was begun, torn or damaged, and it says whose it is.
    pub(super) fn is_settled(&self) -> bool {
        let is_whole = self.says_whose && !self.is_damaged && !self.has_torn_tail && !self.is_going;
        is_whole && self.intents.is_empty() && self.to_unlink().is_empty()
    }

    /// The mark of all that is committed, where all of it is proven: another store with the same has all of this one's.
    pub(super) fn contents(&self, key: &SessionKey) -> Option<Mark> {
        let mut said = Vec::new();
        for (name, record) in self.records().filter(|(_, record)| record.bytes > 0) {
            if !record.is_proven() {
                return None;
            }
            put_bytes(&mut said, name.to_text(&key.id).as_bytes());
            put_number(&mut said, record.bytes);
            said.extend(record.blake3.as_bytes());
        }
        Some(mark_of(&said))
    }

    /// Takes a rebuilt record into memory. It is written with the next commit.
    pub(super) fn insert_unwritten(&mut self, name: StoredName, record: Record) {
        self.records.insert(name, record);
    }

    /// Takes a record out of memory: the next commit that writes the ledger anew leaves it out.
    pub(super) fn leave_out(&mut self, name: &StoredName) {
        self.records.remove(name);
    }

    /// After damage the remaining lines are claims: nothing says that a later one did not replace them.
    pub(super) fn distrust_all(&mut self) {
        for record in self.records.values_mut() {
            record.verification = Verification::Unverified;
        }
    }

    /// Appends the entries, syncs, reads them back, and only then takes them over in memory. On
    /// an error the file is cut back to what it was, so that nobody reads an unsynced commit.
    pub(super) fn write(&mut self, state: &Dir, key: &SessionKey, entries: &[Entry]) -> Result<(), ArchiveError> {
        // One of the version before does not say first of all whose it is.
        if self.bytes == 0 || self.is_damaged || self.has_torn_tail || !self.says_whose || self.has_outgrown(key) {
            return self.rewrite(state, key, entries);
        }
        let text = encoded(entries, key);
        let name = ledger_name(key);
        let path = state.path().join(&name);
        // Written anew it may fit again, however little it has outgrown.
        if self.bytes + text.len() as u64 > LEDGER_BYTES_MAX {
            return self.rewrite(state, key, entries);
        }
        let file = match state.open_own_file_for_writing(&name) {
            Ok(Some(file)) => file,
            // It is not written to under its other name too.
            Err(error) if !error.is_not_ours() => return Err(error.into()),
            _ => return self.rewrite(state, key, entries),
        };
        let appended = append_synced(&file, self.bytes, &text, &path).and_then(|()| {
            let again = state.open_own_file(&name)?.ok_or_else(|| not_read_back(&path))?;
            let mut came = vec![0; text.len()];
            let read = fs::read_at(&again, self.bytes, &mut came, &path)?;
            if is_as_written(&came[..read], &text) { Ok(()) } else { Err(not_read_back(&path)) }
        });
        if let Err(error) = appended {
            // The first error is the one to report. If cutting back fails too, the line's bytes
            // are either complete, and then true, or torn, and then ignored.
            let _ = fs::truncate(&file, self.bytes, &path);
            return Err(error);
        }
        self.bytes += text.len() as u64;
        self.apply(entries);
        Ok(())
    }

    fn rewrite(&mut self, state: &Dir, key: &SessionKey, entries: &[Entry]) -> Result<(), ArchiveError> {
        let mut next = self.clone();
        next.apply(entries);
        let text = next.as_text(key);
        make_sure_it_fits(text.len() as u64, &state.path().join(ledger_name(key)))?;
        state.replace_file(&ledger_name(key), &text)?;
        let bytes = text.len() as u64;
        *self = Ledger { bytes, look_at: 0, is_damaged: false, says_whose: true, has_torn_tail: false, ..next };
        Ok(())
    }

    fn apply(&mut self, entries: &[Entry]) {
        for entry in entries {
            match entry {
                Entry::Commit(name, record) => {
                    // Somebody stores something here again: nothing of that may be unlinked.
                    self.is_going = false;
                    self.pruned.remove(name);
                    self.intents.remove(&name.file);
                    self.records.insert(name.clone(), (**record).clone());
                }
                Entry::Begin(file, intent) => {
                    self.intents.insert(file.clone(), *intent);
                }
                Entry::Gone(name) => {
                    self.intents.remove(&name.file);
                    self.records.remove(name);
                }
                Entry::Source(path) => self.source = Some(path.clone()),
                Entry::Prune(name) => {
                    self.records.remove(name);
                    self.pruned.insert(name.clone(), Removal::Begun);
                }
                Entry::Pruned(name) => {
                    self.records.remove(name);
                    self.pruned.insert(name.clone(), Removal::Done);
                }
                Entry::PruneAll => {
                    self.records.clear();
                    self.intents.clear();
                    self.pruned.clear();
                    self.source = None;
                    self.is_going = true;
                }
            }
        }
    }

    fn take(&mut self, line: &Line, key: &SessionKey) -> Option<()> {
        self.says_whose |= line.of.is_some();
        if let Some(source) = &line.source {
            let is_plain = |source: &PathBuf| source.is_absolute() && source.as_os_str().len() <= SOURCE_BYTES_MAX;
            self.source = Some(path_from_text(source).filter(is_plain)?);
        }
        if line.prune_all == Some(true) {
            self.apply(&[Entry::PruneAll]);
        }
        let removed = line.prune.iter().map(|path| (path, true)).chain(line.pruned.iter().map(|path| (path, false)));
        for (path, is_begun) in removed {
            let name = StoredName::parse(&key.id, path).ok()?;
            self.apply(&[if is_begun { Entry::Prune(name) } else { Entry::Pruned(name) }]);
        }
        let Some(path) = &line.path else { return Some(()) };
        let name = StoredName::parse(&key.id, path).ok()?;
        let is_one = |to: u32| (1..=GENERATION_MAX).contains(&to);
        if !line.rotate_to.is_none_or(is_one) || !line.add_to.is_none_or(is_one) {
            return None;
        }
        let entry = if let Some(to) = line.rotate_to {
            Entry::Begin(name.file, Intent::Rotate { to })
        } else if let Some(to) = line.add_to {
            Entry::Begin(name.file, Intent::Add { to })
        } else if line.gone == Some(true) {
            Entry::Gone(name)
        } else {
            Entry::Commit(name, Box::new(record_of(line)?))
        };
        self.apply(&[entry]);
        Some(())
    }

    fn as_text(&self, key: &SessionKey) -> Vec<u8> {
        let of = Some((key.project.to_string(), key.id.to_string()));
        let mut text = with_checksum(&Line { format: Some(u64::from(FORMAT)), of, ..Line::default() });
        let source = self.source.clone().map(Entry::Source);
        let records = self.records.iter().map(|(name, record)| Entry::Commit(name.clone(), Box::new(record.clone())));
        let intents = self.intents.iter().map(|(file, intent)| Entry::Begin(file.clone(), *intent));
        let all = self.is_going.then_some(Entry::PruneAll);
        let pruned = self.pruned.iter().map(|(name, removal)| match removal {
            Removal::Begun => Entry::Prune(name.clone()),
            Removal::Done => Entry::Pruned(name.clone()),
        });
        let entries: Vec<Entry> = source.into_iter().chain(records).chain(intents).chain(pruned).chain(all).collect();
        text.extend(encoded(&entries, key));
        text
    }

    /// Looking costs as much as the ledger is long, so it is done only each time that has doubled.
    fn has_outgrown(&mut self, key: &SessionKey) -> bool {
        if self.bytes <= REWRITE_BYTES_MIN.max(self.look_at) {
            return false;
        }
        self.look_at = 2 * self.bytes;
        self.bytes > REWRITE_FACTOR * self.as_text(key).len() as u64
    }
}

fn make_sure_it_fits(bytes: u64, path: &Path) -> Result<(), ArchiveError> {
    if bytes <= LEDGER_BYTES_MAX {
        return Ok(());
    }
    let what = format!("it would get longer than {LEDGER_BYTES_MAX} bytes: one conversation has too many side files");
    Err(ArchiveError::damaged(path, what))
}

/// The names of all generations of a file.
fn all_of(file: &FileName) -> (StoredName, StoredName) {
    (StoredName::newest(file.clone()), StoredName { file: file.clone(), generation: u32::MAX })
}

fn append_synced(file: &File, offset: u64, text: &[u8], path: &Path) -> Result<(), ArchiveError> {
    fs::write_at(file, offset, text, path)?;
    fs::sync_data(file, path)?;
    Ok(())
}

/// The id in a line that is this session's in all but the case of its letters: the file system took
/// one's name for the other's.
fn spelled_alike<'a>(line: &'a Line, key: &SessionKey) -> Option<&'a str> {
    let (ours, other) = (key.id.as_str(), line.path.as_deref()?.get(..key.id.as_str().len())?);
    (other != ours && other.eq_ignore_ascii_case(ours)).then_some(other)
}

/// Whether what was read back is what was to be written. The checksums too: bytes that were changed in memory
/// before the write compare equal.
fn is_as_written(came: &[u8], text: &[u8]) -> bool {
    let mut lines = came.split_inclusive(|byte| *byte == b'\n');
    lines.all(|line| line.strip_suffix(b"\n").and_then(checked_line).is_some()) && came == text
}

fn not_read_back(path: &Path) -> ArchiveError {
    ArchiveError::damaged(path, "a commit did not read back as it was written")
}

fn encoded(entries: &[Entry], key: &SessionKey) -> Vec<u8> {
    entries.iter().flat_map(|entry| with_checksum(&line_of(entry, key))).collect()
}

fn line_of(entry: &Entry, key: &SessionKey) -> Line {
    let path = |name: &StoredName| Some(name.to_text(&key.id));
    let newest = |file: &FileName| path(&StoredName::newest(file.clone()));
    match entry {
        Entry::Source(source) => Line { source: Some(path_to_text(source)), ..Line::default() },
        Entry::Gone(name) => Line { path: path(name), gone: Some(true), ..Line::default() },
        Entry::Prune(name) => Line { prune: path(name), ..Line::default() },
        Entry::Pruned(name) => Line { pruned: path(name), ..Line::default() },
        Entry::PruneAll => Line { prune_all: Some(true), ..Line::default() },
        Entry::Begin(file, Intent::Rotate { to }) => {
            Line { path: newest(file), rotate_to: Some(*to), ..Line::default() }
        }
        Entry::Begin(file, Intent::Add { to }) => Line { path: newest(file), add_to: Some(*to), ..Line::default() },
        Entry::Commit(name, record) => Line {
            path: path(name),
            bytes: Some(record.bytes),
            blake3: Some(record.blake3.to_hex().to_string()),
            tree: (!record.tree.is_empty()).then(|| record.tree.clone()),
            head: Some(record.windows.head.clone()),
            tail: Some(record.windows.tail.clone()),
            identity: record.source.map(|id| (id.dev, id.ino, id.bytes, id.mtime_ns as i64, id.ctime_ns as i64)),
            proof: Some(record.verification),
            at: Some(record.committed_ms),
            packed: record.compressed.map(|file| (file.bytes, file.blake3.to_hex().to_string())),
            ..Line::default()
        },
    }
}

fn record_of(line: &Line) -> Option<Record> {
    let (dev, ino, bytes, mtime_ns, ctime_ns) = line.identity.unwrap_or_default();
    let compressed = match &line.packed {
        Some((bytes, blake3)) => Some(CompressedFile { bytes: *bytes, blake3: Hash::from_hex(blake3).ok()? }),
        None => None,
    };
    let identity = Identity { dev, ino, bytes, mtime_ns: mtime_ns.into(), ctime_ns: ctime_ns.into() };
    let is_short = |text: &Option<String>, digits_max: usize| text.as_ref().is_none_or(|text| text.len() <= digits_max);
    let can_be = line.bytes.is_none_or(|bytes| bytes <= CONTENT_BYTES_MAX)
        && compressed.is_none_or(|file| file.bytes <= CONTENT_BYTES_MAX)
        && is_short(&line.tree, TREE_DIGITS_MAX)
        && is_short(&line.head, WINDOW_DIGITS_MAX)
        && is_short(&line.tail, WINDOW_DIGITS_MAX)
        && line.at.is_none_or(|at| at <= TIME_MS_MAX);
    if !can_be {
        return None;
    }
    Some(Record {
        bytes: line.bytes?,
        blake3: Hash::from_hex(line.blake3.as_deref()?).ok()?,
        tree: line.tree.clone().unwrap_or_default(),
        windows: Windows { head: line.head.clone()?, tail: line.tail.clone()? },
        source: line.identity.map(|_| identity),
        verification: line.proof?,
        committed_ms: line.at?,
        compressed,
    })
}

fn with_checksum(line: &Line) -> Vec<u8> {
    let json = serde_json::to_vec(line).expect("a line of plain fields always serialises");
    let mut text = checksum(&json).into_bytes();
    text.push(b' ');
    text.extend(json);
    text.push(b'\n');
    text
}

fn checked_line(raw: &[u8]) -> Option<Line> {
    serde_json::from_slice(checked_json(raw)?).ok()
}

fn checked_json(raw: &[u8]) -> Option<&[u8]> {
    let (sum, json) = raw.split_at_checked(CHECKSUM_DIGITS)?;
    let json = json.strip_prefix(b" ")?;
    (checksum(json).as_bytes() == sum).then_some(json)
}

fn checksum(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..CHECKSUM_DIGITS].to_owned()
}

/// Why a ledger is left alone.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// A line of this format, which is newer than ours.
    Newer(u64),
    /// Lines of this session.
    SpelledAlike(String),
}

/// Paths are text in the ledger; bytes that are not UTF-8 are escaped as in receipts.
fn path_to_text(path: &Path) -> String {
    crate::names::escaped(path.as_os_str())
}

fn path_from_text(text: &str) -> Option<PathBuf> {
    crate::names::unescaped(text).map(PathBuf::from)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn key() -> SessionKey {
        SessionKey { project: ProjectName::from_cwd("/p"), id: SessionId::parse("a").unwrap() }
    }

    fn record(bytes: u64) -> Record {
        Record {
            bytes,
            blake3: blake3::hash(&bytes.to_le_bytes()),
            tree: "ab".to_owned(),
            windows: Windows { head: "h".into(), tail: "t".into() },
            source: Some(Identity { dev: 1, ino: 2, bytes: 3, mtime_ns: 4, ctime_ns: 5 }),
            verification: Verification::Written,
            committed_ms: 7,
            compressed: Some(CompressedFile { bytes: 8, blake3: blake3::hash(b"packed") }),
        }
    }

    fn newest() -> StoredName {
        StoredName::newest(FileName::Transcript)
    }

    fn commit(bytes: u64) -> Entry {
        Entry::Commit(newest(), Box::new(record(bytes)))
    }

    fn written(entries: &[Entry]) -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::create(temp.path()).unwrap();
        let mut ledger = Ledger::default();
        for entry in entries {
            ledger.write(&dir, &key(), std::slice::from_ref(entry)).unwrap();
        }
        (temp, dir)
    }

    #[test]
    fn what_was_written_is_read_again() {
        let odd = FileName::Side(Path::new("x/100%\n").to_owned());
        let gone = StoredName::newest(FileName::Side(Path::new("gone").to_owned()));
        let entries = [
            commit(1),
            Entry::Source(PathBuf::from("/h/é.jsonl")),
            Entry::Commit(StoredName { file: odd.clone(), generation: 2 }, Box::new(record(9))),
            Entry::Begin(odd.clone(), Intent::Rotate { to: 3 }),
            Entry::Commit(StoredName { generation: 1, ..newest() }, Box::new(record(4))),
            commit(5),
            Entry::Begin(FileName::Transcript, Intent::Add { to: 7 }),
            Entry::Commit(gone.clone(), Box::new(record(4))),
            Entry::Gone(gone.clone()),
        ];
        let (_temp, dir) = written(&entries);
        let ledger = Ledger::read(&dir, &key()).unwrap();
        assert_eq!(ledger.record(&newest()), Some(&record(5)));
        assert_eq!(ledger.source.as_deref(), Some(Path::new("/h/é.jsonl")));
        assert_eq!(ledger.generation_max(&odd), 2);
        assert_eq!(ledger.record(&gone), None);
        assert_eq!(ledger.intents(), [(FileName::Transcript, Intent::Add { to: 7 }), (odd, Intent::Rotate { to: 3 })]);
        assert!(!ledger.is_damaged);
    }

    #[test]
    fn whatever_a_record_lacks_it_is_read_as_it_was_and_every_file_begins_with_its_format() {
        let bare = Record { tree: String::new(), source: None, compressed: None, ..record(3) };
        let (temp, dir) = written(&[Entry::Commit(newest(), Box::new(bare.clone()))]);
        assert_eq!(Ledger::read(&dir, &key()).unwrap().record(&newest()), Some(&bare));
        let text = std::fs::read_to_string(temp.path().join("p.ledger")).unwrap();
        let first = text.lines().next().unwrap();
        assert_eq!(first[CHECKSUM_DIGITS..], *" {\"format\":1,\"of\":[\"p\",\"a\"]}");
        // So does one that was made by a killed run and never written to.
        std::fs::write(temp.path().join("p.ledger"), "").unwrap();
        Ledger::read(&dir, &key()).unwrap().write(&dir, &key(), &[commit(1)]).unwrap();
        assert!(std::fs::read_to_string(temp.path().join("p.ledger")).unwrap().starts_with(first));
    }

    #[test]
    fn a_torn_last_line_never_happened_and_a_bad_line_before_it_is_damage() {
        let (temp, dir) = written(&[commit(1), commit(2)]);
        let path = temp.path().join("p.ledger");
        let whole = std::fs::read(&path).unwrap();
        let last = whole[..whole.len() - 1].iter().rposition(|b| *b == b'\n').unwrap() + 1;
        for cut in last + 1..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let ledger = Ledger::read(&dir, &key()).unwrap();
            assert_eq!(ledger.record(&newest()), Some(&record(1)), "{cut}");
            assert!(!ledger.is_damaged, "{cut}");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            std::fs::write(&path, &flipped).unwrap();
            let ledger = Ledger::read(&dir, &key()).unwrap();
            // Without its end the last line is one that was being written.
            let is_torn = at == whole.len() - 1;
            assert_eq!((ledger.is_damaged, ledger.has_torn_tail), (!is_torn, is_torn), "{at}");
        }
    }

    #[test]
    fn after_a_torn_line_the_next_commit_is_whole() {
        let (temp, dir) = written(&[commit(1), commit(2)]);
        let path = temp.path().join("p.ledger");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let mut ledger = Ledger::read(&dir, &key()).unwrap();
        ledger.write(&dir, &key(), &[commit(3)]).unwrap();
        let again = Ledger::read(&dir, &key()).unwrap();
        assert_eq!(again.record(&newest()), Some(&record(3)));
        assert!(!again.is_damaged && !again.has_torn_tail);
    }

    #[test]
    fn a_bad_ledger_is_written_anew_once_and_appended_to_from_then_on() {
        type Spoil = fn(&mut Vec<u8>);
        let spoils: [Spoil; 2] = [|text| text.truncate(text.len() - 5), |text| text[30] ^= 1];
        for spoil in spoils {
            let (temp, dir) = written(&[commit(1), commit(2)]);
            let path = temp.path().join("p.ledger");
            let mut text = std::fs::read(&path).unwrap();
            spoil(&mut text);
            std::fs::write(&path, text).unwrap();
            let mut ledger = Ledger::read(&dir, &key()).unwrap();
            ledger.write(&dir, &key(), &[commit(3)]).unwrap();
            assert!(!ledger.is_damaged && !ledger.has_torn_tail);
            let anew = std::fs::read(&path).unwrap();
            ledger.write(&dir, &key(), &[commit(4)]).unwrap();
            let after = std::fs::read(&path).unwrap();
            assert!(after.len() > anew.len() && after.starts_with(&anew));
            assert_eq!(ledger.bytes, after.len() as u64);
        }
    }

    #[test]
    fn removals_are_read_again_and_a_commit_takes_them_back() {
        let older = StoredName { file: FileName::Transcript, generation: 3 };
        let (_temp, dir) = written(&[commit(1), Entry::Prune(older.clone())]);
        let mut ledger = Ledger::read(&dir, &key()).unwrap();
        assert_eq!((ledger.to_unlink(), ledger.generation_max(&FileName::Transcript)), (vec![older.clone()], 3));
        ledger.write(&dir, &key(), &[Entry::Pruned(older.clone())]).unwrap();
        let mut ledger = Ledger::read(&dir, &key()).unwrap();
        assert!(ledger.is_pruned(&older) && ledger.to_unlink().is_empty() && !ledger.is_damaged);
        assert_eq!(Ledger::parse(&ledger.as_text(&key()), &key()).unwrap().pruned, ledger.pruned);
        // Whatever another version stores there afterwards must not be unlinked.
        ledger.write(&dir, &key(), &[Entry::Commit(older.clone(), Box::new(record(2)))]).unwrap();
        assert!(!Ledger::read(&dir, &key()).unwrap().is_pruned(&older));
        ledger.write(&dir, &key(), &[Entry::PruneAll]).unwrap();
        let mut ledger = Ledger::read(&dir, &key()).unwrap();
        assert!(ledger.is_going && ledger.records().next().is_none() && !ledger.is_empty());
        assert!(Ledger::parse(&ledger.as_text(&key()), &key()).unwrap().is_going);
        ledger.write(&dir, &key(), &[commit(4)]).unwrap();
        let ledger = Ledger::read(&dir, &key()).unwrap();
        assert!(!ledger.is_going && ledger.record(&newest()) == Some(&record(4)));
    }

    #[test]
    fn one_that_says_anything_is_not_empty_a_removal_too() {
        let older = StoredName { generation: 3, ..newest() };
        for (entries, expected) in [
            (vec![], true),
            (vec![Entry::Source(PathBuf::from("/h"))], true),
            (vec![commit(1), Entry::Gone(newest())], true),
            (vec![commit(1)], false),
            (vec![Entry::Prune(older.clone())], false),
            (vec![commit(1), Entry::Pruned(older)], false),
            (vec![Entry::PruneAll], false),
        ] {
            let (_temp, dir) = written(&entries);
            assert_eq!(Ledger::read(&dir, &key()).unwrap().is_empty(), expected, "{entries:?}");
        }
    }

    #[test]
    fn a_commit_that_reads_back_otherwise_or_was_changed_before_it_was_written_is_none() {
        let text = encoded(&[commit(1), commit(2)], &key());
        let mut flipped = text.clone();
        flipped[40] ^= 1;
        for (came, written, expected) in [
            (&text[..], &text[..], true),
            (&flipped, &text, false),
            (&flipped, &flipped, false),
            (&encoded(&[commit(3)], &key()), &text, false),
            (&text[..text.len() - 1], &text, false),
            (b"", &text, false),
        ] {
            assert_eq!(is_as_written(came, written), expected);
        }
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let (temp, dir) = written(&[commit(0)]);
        let mut ledger = Ledger::read(&dir, &key()).unwrap();
        let length = || std::fs::metadata(temp.path().join("p.ledger")).unwrap().len();
        let mut longest = 0;
        for bytes in 0..600 {
            ledger.write(&dir, &key(), &[commit(bytes)]).unwrap();
            longest = longest.max(length());
        }
        assert!((REWRITE_BYTES_MIN..REWRITE_BYTES_MIN + 1000).contains(&longest), "{longest}");
        assert_eq!(Ledger::read(&dir, &key()).unwrap().record(&newest()), Some(&record(599)));
    }

    #[test]
    fn one_that_says_much_is_looked_at_each_time_it_has_doubled_and_rewritten_at_four_times_what_it_says() {
        let (temp, dir) = written(&[commit(0)]);
        let mut ledger = Ledger::read(&dir, &key()).unwrap();
        let side = |n: u64| StoredName::newest(FileName::Side(Path::new("x").join(n.to_string())));
        let many: Vec<Entry> = (0..150).map(|n| Entry::Commit(side(n), Box::new(record(n)))).collect();
        ledger.write(&dir, &key(), &many).unwrap();
        let needed = ledger.as_text(&key()).len() as u64;
        // It is looked at behind 64 KiB and behind twice that in vain, and outgrown at the third look.
        assert!((REWRITE_BYTES_MIN / 2 + 1..REWRITE_BYTES_MIN).contains(&needed), "{needed}");
        let mut lengths = vec![ledger.bytes];
        while lengths.len() < 2 || lengths[lengths.len() - 2] < lengths[lengths.len() - 1] {
            ledger.write(&dir, &key(), &vec![commit(1); 5]).unwrap();
            lengths.push(std::fs::metadata(temp.path().join("p.ledger")).unwrap().len());
            assert!(lengths.len() < 1000);
        }
        let longest = lengths[lengths.len() - 2];
        assert!((4 * REWRITE_BYTES_MIN..4 * REWRITE_BYTES_MIN + 8000).contains(&longest), "{longest}");
        assert!(lengths[lengths.len() - 1] < needed + 4000);
        assert_eq!(Ledger::read(&dir, &key()).unwrap().records().count(), 151);
    }

    #[test]
    fn one_of_very_many_files_is_rewritten_before_it_is_full() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap().unwrap();
        let mut ledger = Ledger::default();
        let Entry::Commit(_, record) = commit(1) else { unreachable!() };
        let side = |n: u32| FileName::Side(format!("tool-results/{n:0200}.txt").into());
        let all: Vec<Entry> = (0..12_000).map(|n| Entry::Commit(StoredName::newest(side(n)), record.clone())).collect();
        ledger.write(&dir, &key(), &all).unwrap();
        let needed = ledger.bytes;
        assert!((LEDGER_BYTES_MAX / REWRITE_FACTOR + 1..LEDGER_BYTES_MAX / 2).contains(&needed), "{needed}");
        for _ in 0..LEDGER_BYTES_MAX / needed {
            ledger.write(&dir, &key(), &all).unwrap();
        }
        assert_eq!(std::fs::metadata(temp.path().join("p.ledger")).unwrap().len(), needed);
        assert_eq!(Ledger::read(&dir, &key()).unwrap().records().count(), all.len());
    }

    #[test]
    fn a_newer_format_is_refused() {
        let (temp, dir) = written(&[commit(1)]);
        let line = with_checksum(&Line { format: Some(u64::from(FORMAT) + 1), ..Line::default() });
        std::fs::write(temp.path().join("p.ledger"), line).unwrap();
        assert!(matches!(Ledger::read(&dir, &key()), Err(ArchiveError::NewerFormat { .. })));
    }

    fn line(json: serde_json::Value) -> Vec<u8> {
        let json = json.to_string().into_bytes();
        [checksum(&json).as_bytes(), b" ", &json, b"\n"].concat()
    }

    /// A line of its own behind a good one.
    fn read_with(line: &[u8]) -> Ledger {
        let (temp, dir) = written(&[commit(1)]);
        let path = temp.path().join("p.ledger");
        let text = [&std::fs::read(&path).unwrap(), line].concat();
        std::fs::write(&path, text).unwrap();
        Ledger::read(&dir, &key()).unwrap()
    }

    #[test]
    fn what_no_line_of_ours_says_is_damage_and_costs_what_the_line_costs() {
        let content = |more: serde_json::Value| {
            let mut line = serde_json::json!({
                "path": "a.jsonl", "bytes": 5, "blake3": "0".repeat(64), "head": "", "tail": "", "proof": "written", "at": 1
            });
            line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            line
        };
        for said in [
            content(serde_json::json!({ "bytes": u64::MAX })),
            content(serde_json::json!({ "bytes": 1_u64 << 63 })),
            content(serde_json::json!({ "packed": [u64::MAX, "0".repeat(64)] })),
            content(serde_json::json!({ "tree": "0".repeat(1 << 20) })),
            content(serde_json::json!({ "head": "0".repeat(1 << 20) })),
            content(serde_json::json!({ "at": u64::MAX })),
            content(serde_json::json!({ "path": "a.gen-4294967295.jsonl" })),
            content(serde_json::json!({ "path": "a/../../../etc/passwd" })),
            content(serde_json::json!({ "path": "/etc/passwd" })),
            content(serde_json::json!({ "path": "b.jsonl" })),
            serde_json::json!({ "path": "a.jsonl", "rotate_to": u32::MAX }),
            serde_json::json!({ "path": "a.jsonl", "add_to": 0 }),
            serde_json::json!({ "prune": "../x" }),
            serde_json::json!({ "source": "relative" }),
            serde_json::json!({ "source": format!("/{}", "x".repeat(10_000)) }),
        ] {
            let ledger = read_with(&line(said.clone()));
            assert!(ledger.is_damaged, "{said}");
            assert_eq!((ledger.record(&newest()), &ledger.source), (Some(&record(1)), &None), "{said}");
        }
        // Many numbers that are nowhere are not all named.
        let far = read_with(&line(content(serde_json::json!({ "path": "a.gen-99999.jsonl" }))));
        assert_eq!((far.is_damaged, far.gaps().len()), (false, GAPS_MAX));
    }

    #[test]
    fn a_ledger_is_of_the_session_that_it_says_and_of_no_other() {
        let (temp, dir) = written(&[commit(1)]);
        let whole = std::fs::read(temp.path().join("p.ledger")).unwrap();
        let other = SessionKey { project: ProjectName::parse("p 2").unwrap(), ..key() };
        std::fs::write(temp.path().join("p 2.ledger"), &whole).unwrap();
        assert_eq!(Ledger::said_to_be_of(&dir, &key()), Some(key()));
        assert_eq!(Ledger::said_to_be_of(&dir, &other), Some(key()));
        // Of another session nothing that it says is believed.
        let another = SessionKey { id: SessionId::parse("b").unwrap(), ..key() };
        let copied = Ledger::read(&dir, &another).unwrap();
        assert!(copied.is_damaged && copied.is_empty());
        // One of the version before says so with its next commit.
        let before = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        std::fs::write(
            temp.path().join("p.ledger"),
            [line(serde_json::json!({ "format": 1 })), whole[before..].to_vec()].concat(),
        )
        .unwrap();
        let mut ledger = Ledger::read(&dir, &key()).unwrap();
        assert_eq!((Ledger::said_to_be_of(&dir, &key()), ledger.record(&newest())), (None, Some(&record(1))));
        ledger.write(&dir, &key(), &[commit(2)]).unwrap();
        std::fs::copy(temp.path().join("p.ledger"), temp.path().join("p 2.ledger")).unwrap();
        assert!(!Ledger::read(&dir, &key()).unwrap().is_damaged && Ledger::read(&dir, &another).unwrap().is_damaged);
        assert_eq!(Ledger::said_to_be_of(&dir, &other), Some(key()));
    }

    #[test]
    fn what_is_no_ledger_is_not_read_whatever_its_length_and_ours_takes_its_place() {
        for bytes in [LEDGER_BYTES_MAX + 1, 1 << 40] {
            let (temp, dir) = written(&[commit(1)]);
            let path = temp.path().join("p.ledger");
            std::fs::File::create(&path).unwrap().set_len(bytes).unwrap();
            let mut ledger = Ledger::read(&dir, &key()).unwrap();
            assert!(ledger.is_damaged && ledger.is_empty(), "{bytes}");
            ledger.write(&dir, &key(), &[commit(2)]).unwrap();
            assert_eq!(Ledger::read(&dir, &key()).unwrap().record(&newest()), Some(&record(2)), "{bytes}");
        }
    }
}
