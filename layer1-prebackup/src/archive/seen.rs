//! What was seen of each session of a store at the last full look, kept in a file, so that the next look costs the status
//! of a few files a session and reads none of them.
//!
//! Nothing of it is believed but of a ledger, a content or a source that still is the file that was looked at: the same
//! device, inode, length, time of modification and time of change, which had rested then; of two changes within one
//! tick of a file system's clock the second would not be seen. So it does not matter who wrote to the store meanwhile,
//! or whether the store or this file was put back to an older state: another file is looked at as if nothing was kept.
//! What no status tells (a bit that flipped on the disk, a second ledger beside the first) a full look finds: after
//! [`FULL_LOOK_EVERY`] nothing of it is believed.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::hash::BuildHasher;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ledger::{Ledger, Record};
use super::paths::{LEDGER_ENDING, SESSIONS, SESSIONS_BEFORE, ledger_name};
use super::session::was_left_clean;
use super::store::Archive;
use super::types::{ArchiveError, SessionKey};
use crate::claude::mark::{Mark, mark_of, put_bytes, put_identity, put_number};
use crate::claude::side_files::{is_of_subagent, is_tool_result};
use crate::claude::survey::{FoundTranscript, SourceStatus};
use crate::claude::transcripts::Identity;
use crate::fs::{self, Dir, DurableError};
use crate::log::now_ms;
use crate::names::{FileName, StoredName};

/// Where layer 1 keeps what it saw of its store.
pub const SEEN: &str = ".state/seen";
/// Where, in layer 1's store too, layer 2 keeps what it saw of layer 3's.
pub const SEEN_SECOND: &str = ".outbox/.seen";
/// After that all is looked at again.
const FULL_LOOK_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// So long nothing may have changed of a file before its status says that it is the same; some file systems count two
/// seconds as one.
const REST: Duration = Duration::from_secs(3);
/// So many sessions are looked at each time without anything being kept of them.
const NEW_MAX: u64 = 200;
/// Enough for half a million sessions.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Another one begins a file of another form.
const MAGIC: &[u8] = b"threefold seen 1\n";
const SUM_BYTES: usize = 32;

/// What was seen of the sessions of one store.
#[derive(Debug, Default)]
pub struct Seen {
    bytes: Vec<u8>,
    /// How many sessions there were, whether anything is kept of them or not.
    sessions: u64,
    /// Where the entry of each begins, by id and project.
    entries: Vec<u32>,
    /// Which entry is that of an id, by its hash; `None` where several have it.
    by_hash: HashMap<u64, Option<u32>>,
    /// The entry behind the one that was asked for last: whoever goes through all of them asks for that one next.
    next: Cell<usize>,
}

/// What was seen of one session.
#[derive(Debug, Clone, Copy)]
pub struct SeenSession<'a> {
    id: &'a str,
    project: &'a str,
    ledger: Identity,
    source: &'a [u8],
    /// When the transcript was last modified as its newest content was committed, in milliseconds since 1970.
    pub source_modified_ms: Option<u64>,
    /// How many contents are stored.
    pub files: u64,
    /// Those of them that are older contents of the transcript.
    pub versions: u64,
    /// What they take on the disk.
    pub disk_bytes: u64,
    /// When something was last committed, in milliseconds since 1970.
    pub committed_ms: u64,
    /// Whether there is an older content of the transcript or of a subagent's file: a newer one may have lost something.
    pub has_older: bool,
    /// Whether there is a subagent's file.
    pub has_subagents: bool,
    /// As [`super::QuickCheck::contents`].
    pub contents: Option<Mark>,
    well: Option<Mark>,
    saved: Option<Mark>,
    /// The plans that the transcript names.
    slugs: &'a [u8],
    /// Paths in the store.
    stored: &'a [u8],
}

impl Seen {
    /// Reads what is kept in the file `rel` of layer 1's store, of the store with this id; nothing where it is damaged, of
    /// another store, or too old.
    pub fn read(layer1: &Path, rel: &str, store_id: &str) -> Seen {
        // What cannot be read is looked at.
        let bytes = fs::read_own(layer1, Path::new(rel), BYTES_MAX).ok().flatten();
        bytes.and_then(|bytes| Seen::of(bytes, store_id, now_ms())).unwrap_or_default()
    }

    pub(super) fn of(bytes: Vec<u8>, store_id: &str, now_ms: u64) -> Option<Seen> {
        let (sum, said) = bytes.strip_prefix(MAGIC)?.split_at_checked(SUM_BYTES)?;
        if blake3::hash(said).as_bytes() != sum {
            return None;
        }
        let mut reader = Reader(said);
        let (made_ms, sessions) = (reader.number()?, reader.number()?);
        let is_recent = (made_ms..made_ms.saturating_add(FULL_LOOK_EVERY.as_millis() as u64)).contains(&now_ms);
        if reader.text()? != store_id || !is_recent {
            return None;
        }
        let (mut entries, mut by_hash) = (Vec::new(), HashMap::new());
        while !reader.0.is_empty() {
            let n = u32::try_from(entries.len()).ok()?;
            entries.push(u32::try_from(bytes.len() - reader.0.len()).ok()?);
            let hash = by_hash.hasher().hash_one(Reader(reader.bytes()?).text()?);
            by_hash.entry(hash).and_modify(|known| *known = None).or_insert(Some(n));
        }
        Some(Seen { bytes, sessions, entries, by_hash, next: Cell::default() })
    }

    /// Keeps what [`Archive::see_all`] gave in the file `rel` of layer 1's store. What cannot be kept is looked at once more
    /// the next time.
    pub fn keep(layer1: &Path, rel: &str, seen: Result<Vec<u8>, ArchiveError>) {
        let _ = seen.map(|seen| fs::replace_own(layer1, Path::new(rel), &seen));
    }

    /// Removes all that is kept, for it names conversations.
    pub fn forget(layer1: &Path) -> Result<(), DurableError> {
        [SEEN, SEEN_SECOND].iter().try_for_each(|rel| fs::remove_own(layer1, Path::new(rel)).map(drop))
    }

    /// Whether a full look is due: many sessions were never looked at, or long ago. Not where they cannot be listed.
    pub fn is_due(&self, archive: &Archive) -> bool {
        let mut there = 0;
        if let Ok(Some(sessions)) = archive.root.open_beneath(Path::new(SESSIONS))
            && sessions.each_entry(&mut |_, _| there += 1).is_ok()
        {
            return self.lacks_many_of(there);
        }
        false
    }

    /// Whether that is due where there are so many sessions.
    pub(super) fn lacks_many_of(&self, sessions: u64) -> bool {
        sessions > self.sessions + NEW_MAX
    }

    /// How many sessions anything is kept of.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What was seen of one of them.
    pub(super) fn get(&self, n: usize) -> Option<SeenSession<'_>> {
        let mut reader = Reader(self.bytes.get(*self.entries.get(n)? as usize..)?);
        SeenSession::read(&mut Reader(reader.bytes()?))
    }

    /// What was seen of the one session with this id, if its ledger is the same; nothing where several bear it.
    pub fn find(&self, archive: &Archive, id: &str) -> Option<SeenSession<'_>> {
        let seen = self.get(self.only(id)?)?;
        seen.is_its_ledger(&archive.root, SESSIONS_BEFORE).then_some(seen)
    }

    /// The folder of one of the sessions, if its ledger, below the folder of all sessions' bookkeeping, is the same.
    pub(super) fn holding(&self, n: usize, sessions: &Dir) -> Option<&str> {
        let seen = self.get(n)?;
        seen.is_its_ledger(sessions, "").then_some(seen.project)
    }

    /// The one session with this id.
    pub(super) fn only(&self, id: &str) -> Option<usize> {
        let is_it = |n: usize| self.id(n) == Some(id);
        let next = self.next.get();
        let n = match is_it(next) && !is_it(next + 1) && !next.checked_sub(1).is_some_and(is_it) {
            true => next,
            false => (*self.by_hash.get(&self.by_hash.hasher().hash_one(id))?)? as usize,
        };
        self.next.set(n + 1);
        is_it(n).then_some(n)
    }

    fn id(&self, n: usize) -> Option<&str> {
        let mut reader = Reader(self.bytes.get(*self.entries.get(n)? as usize..)?);
        Reader(reader.bytes()?).text()
    }
}

impl<'a> SeenSession<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<SeenSession<'a>> {
        Some(SeenSession {
            id: reader.text()?,
            project: reader.text()?,
            ledger: reader.identity()?,
            source: reader.bytes()?,
            source_modified_ms: Some(reader.number()?).filter(|ms| *ms > 0),
            files: reader.number()?,
            versions: reader.number()?,
            disk_bytes: reader.number()?,
            committed_ms: reader.number()?,
            has_older: reader.number()? != 0,
            has_subagents: reader.number()? != 0,
            contents: reader.mark()?,
            well: reader.mark()?,
            saved: reader.mark()?,
            slugs: reader.bytes()?,
            stored: reader.bytes()?,
        })
    }

    fn write(&self, writer: &mut Vec<u8>) {
        let mut entry = Vec::new();
        put_bytes(&mut entry, self.id.as_bytes());
        put_bytes(&mut entry, self.project.as_bytes());
        put_identity(&mut entry, &self.ledger);
        put_bytes(&mut entry, self.source);
        let flags = [self.has_older, self.has_subagents].map(u64::from);
        let figures = [self.source_modified_ms.unwrap_or(0), self.files, self.versions, self.disk_bytes];
        figures.into_iter().chain([self.committed_ms]).chain(flags).for_each(|number| put_number(&mut entry, number));
        for mark in [self.contents, self.well, self.saved] {
            put_bytes(&mut entry, mark.as_ref().map_or(&[][..], |mark| mark));
        }
        put_bytes(&mut entry, self.slugs);
        put_bytes(&mut entry, self.stored);
        put_bytes(writer, &entry);
    }

    /// Its folder.
    pub fn project(&self) -> &'a str {
        self.project
    }

    /// The transcript that the session was last copied from.
    pub fn source(&self) -> Option<PathBuf> {
        (!self.source.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(self.source)))
    }

    /// Whether both have the same contents, proven in each, as sessions of two stores. False also where that is not known.
    pub fn has_the_same_as(&self, other: &SeenSession<'_>) -> bool {
        self.project == other.project && self.contents.is_some() && self.contents == other.contents
    }

    /// Whether this source, recorded by the path `source`, is as it was when all of it was saved, and had all subagents'
    /// files that are stored.
    pub fn is_saved(&self, found: &FoundTranscript, source: &Path) -> bool {
        self.saved_status(found, source).is_some()
    }

    /// Its status where [`SeenSession::is_saved`].
    pub fn saved_status(&self, found: &FoundTranscript, source: &Path) -> Option<SourceStatus> {
        let saved = self.saved.filter(|_| self.source == source.as_os_str().as_bytes())?;
        let slugs: Vec<String> = parts(self.slugs).map(|slug| String::from_utf8_lossy(slug).into_owned()).collect();
        found.status(Some(slugs)).filter(|status| status.mark == saved)
    }

    /// Whether all of its contents are the files that a quick look found well.
    pub fn is_well(&self, archive: &Archive) -> bool {
        let Some(well) = self.well else { return false };
        let mut statuses = Vec::new();
        for path in parts(self.stored) {
            let Ok(Some(stat)) = archive.root.stat(OsStr::from_bytes(path)) else { return false };
            put_identity(&mut statuses, &Identity::of(&stat));
        }
        mark_of(&statuses) == well
    }

    /// Whether its ledger is the one that was seen; the path of all ledgers from `dir` begins with `before`.
    fn is_its_ledger(&self, dir: &Dir, before: &str) -> bool {
        let path = [before, self.id, "/", self.project, LEDGER_ENDING].concat();
        dir.stat(OsStr::new(&path)).is_ok_and(|stat| stat.is_some_and(|stat| Identity::of(&stat) == self.ledger))
    }
}

impl Archive {
    /// Looks at all sessions, and makes of it what [`Seen::read`] reads. `saved` gives the status of a session's source,
    /// where all of it is known to be saved. One that fails is looked at the next time.
    pub fn see_all<'s>(
        &self,
        saved: &dyn Fn(&SessionKey) -> Option<&'s SourceStatus>,
    ) -> Result<Vec<u8>, ArchiveError> {
        self.see_all_rested(saved, REST)
    }

    pub(super) fn see_all_rested<'s>(
        &self,
        saved: &dyn Fn(&SessionKey) -> Option<&'s SourceStatus>,
        rest: Duration,
    ) -> Result<Vec<u8>, ArchiveError> {
        let (made_ms, mut keys) = (now_ms(), self.sessions()?);
        keys.sort_by(|a, b| (&a.id, &a.project).cmp(&(&b.id, &b.project)));
        let mut said = Vec::new();
        put_number(&mut said, made_ms);
        put_number(&mut said, keys.len() as u64);
        put_bytes(&mut said, self.store_id().as_bytes());
        for key in &keys {
            let rested_ns = (i128::from(now_ms()) - rest.as_millis() as i128) * 1_000_000;
            // What fails is told by whoever looks next.
            let _ = see(self, key, saved(key), rested_ns, &mut said);
        }
        let sum = blake3::hash(&said);
        Ok([MAGIC, sum.as_bytes(), &said].concat())
    }
}

/// Adds the entry of a session, where all of what is recorded of it is clear and has rested.
fn see(
    archive: &Archive,
    key: &SessionKey,
    saved: Option<&SourceStatus>,
    rested_ns: i128,
    said: &mut Vec<u8>,
) -> Result<(), ArchiveError> {
    let Some(state) = archive.state_of(&key.id)? else { return Ok(()) };
    let has_rested = |identity: &Identity| identity.mtime_ns.max(identity.ctime_ns) < rested_ns;
    let looked_up = state.stat(&ledger_name(key))?.map(|stat| Identity::of(&stat));
    let Some(identity) = looked_up.filter(has_rested) else { return Ok(()) };
    let ledger = Ledger::read(&state, key)?;
    if ledger.is_empty() || !ledger.is_settled() || !was_left_clean(&state)? {
        return Ok(());
    }
    let records = || ledger.records();
    let is_agents = |name: &StoredName| matches!(&name.file, FileName::Side(rel) if is_of_subagent(rel));
    let agents = records().filter(|(name, record)| name.generation == 0 && record.bytes > 0 && is_agents(name)).count();
    let is_result = |name: &StoredName| matches!(&name.file, FileName::Side(rel) if is_tool_result(rel));
    let may_lose = |name: &StoredName| name.file == FileName::Transcript || is_agents(name) || is_result(name);
    let is_older_of = |name: &StoredName| name.generation > 0 && may_lose(name);
    let (well, stored) = seen_well(archive, key, &ledger, &has_rested)?;
    let modified_ns = ledger.record(&StoredName::newest(FileName::Transcript)).and_then(|record| record.source);
    let is_its_source = |saved: &&SourceStatus| ledger.source.as_deref() == Some(&saved.source);
    let saved = saved.filter(is_its_source).filter(|saved| saved.subagents == agents);
    let slugs = saved.map(|saved| joined(saved.slugs.iter().map(String::as_bytes)));
    let is_version = |name: &StoredName| name.generation > 0 && name.file == FileName::Transcript;
    let disk_bytes = |record: &Record| record.compressed.map_or(record.bytes, |file| file.bytes);
    SeenSession {
        id: key.id.as_str(),
        project: key.project.as_str(),
        ledger: identity,
        source: ledger.source.as_ref().map_or(&[][..], |source| source.as_os_str().as_bytes()),
        source_modified_ms: modified_ns.and_then(|source| u64::try_from(source.mtime_ns / 1_000_000).ok()),
        files: records().count() as u64,
        versions: records().filter(|(name, _)| is_version(name)).count() as u64,
        disk_bytes: records().map(|(_, record)| disk_bytes(record)).sum(),
        committed_ms: records().map(|(_, record)| record.committed_ms).max().unwrap_or(0),
        has_older: records().any(|(name, _)| is_older_of(name)),
        has_subagents: records().any(|(name, _)| is_agents(name)),
        contents: ledger.contents(key),
        well,
        saved: saved.map(|saved| saved.mark),
        slugs: slugs.as_deref().unwrap_or_default(),
        stored: &stored,
    }
    .write(said);
    Ok(())
}

/// The mark of the statuses of all contents, if they have rested and a quick look finds nothing wrong, and their paths.
fn seen_well(
    archive: &Archive,
    key: &SessionKey,
    ledger: &Ledger,
    has_rested: &dyn Fn(&Identity) -> bool,
) -> Result<(Option<Mark>, Vec<u8>), ArchiveError> {
    let (mut statuses, mut paths, mut is_clear) = (Vec::new(), Vec::new(), true);
    for (name, _) in ledger.records() {
        let slot = archive.slot(key, name);
        let Some(form) = slot.form()? else { return Ok((None, Vec::new())) };
        let stat = slot.stat(form)?;
        let path = slot.path_as(form);
        is_clear &= stat.is_some_and(|stat| {
            put_identity(&mut statuses, &Identity::of(&stat));
            has_rested(&Identity::of(&stat))
        });
        paths.push(path.strip_prefix(archive.root()).unwrap_or(&path).to_owned());
    }
    // Statuses first: what changes meanwhile is another file.
    let quick = archive.quick_check(key)?;
    // What another store may have too is compared each time.
    is_clear = is_clear && quick.findings.is_empty() && !quick.has_other_names;
    let stored = joined(paths.iter().map(|path| path.as_os_str().as_bytes()));
    Ok((is_clear.then(|| mark_of(&statuses)), stored))
}

fn joined<'b>(all: impl Iterator<Item = &'b [u8]>) -> Vec<u8> {
    let mut said = Vec::new();
    all.for_each(|bytes| put_bytes(&mut said, bytes));
    said
}

fn parts(joined: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader(joined);
    std::iter::from_fn(move || reader.bytes())
}

/// Reads what was put together above.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        self.take(usize::try_from(length).ok()?)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn identity(&mut self) -> Option<Identity> {
        let (dev, ino, bytes) = (self.number()?, self.number()?, self.number()?);
        // They are nanoseconds since 1970, or before.
        let mut time = || Some(i128::from(self.number()? as i64));
        Some(Identity { dev, ino, bytes, mtime_ns: time()?, ctime_ns: time()? })
    }

    fn mark(&mut self) -> Option<Option<Mark>> {
        match self.bytes()? {
            [] => Some(None),
            bytes => Some(Some(bytes.try_into().ok()?)),
        }
    }
}
