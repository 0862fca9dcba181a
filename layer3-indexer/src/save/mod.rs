//! Saving one session: the verified copy, its metadata, its rows in the index, the receipt.
//!
//! The copy comes first and alone decides about the receipt. What layer 1 saw and the source no
//! longer has is taken over from layer 1's store before the source's present content is saved,
//! so that it becomes an older generation and never the newest content.

pub mod adopt_v1;
pub(crate) mod import;
pub(crate) mod rebuild;
pub(crate) mod roots;
pub(crate) mod sources;
#[cfg(test)]
mod tests;
pub(crate) mod verify;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use layer1_prebackup::Hash;
use layer1_prebackup::archive::{
    Archive, ArchiveError, Compare, SaveReport, SaveRequest, SessionKey, StoredFile, TranscriptState,
};
use layer1_prebackup::claude::transcripts;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs::{self, Dir, DurableError, Lock};
use layer1_prebackup::log::Log;
use layer1_prebackup::names::{FileName, ProjectName, SessionId, StoredName};
use rmcp::schemars;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Kind, chain};
use crate::index::{Index, IndexError};
use crate::save::roots::RootKind;
use crate::terminal::one_line;

/// The file name of this layer's log.
pub(crate) const LOG_NAME: &str = "layer3.log";
/// See [`lock_metadata`].
const METADATA_LOCK: &str = ".state/metadata.lock";
/// The trigger of a save that nobody named one for.
pub(crate) const TRIGGER_UNKNOWN: &str = "manual";
/// The trigger of the save of what `restore --force` is about to replace.
pub(crate) const TRIGGER_BEFORE_RESTORE: &str = "before-restore";

/// A content that the caller holds and wants to see covered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Which file, which generation there.
    pub(crate) name: StoredName,
    /// Its length.
    pub(crate) bytes: u64,
    /// Plain BLAKE3 of its first `bytes` bytes.
    pub(crate) blake3: Hash,
}

/// One entry of `expected` as it stands in the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct ExpectedEntry {
    /// Relative to the project's folder in the caller's store: SESSION.jsonl, SESSION/side/file, SESSION.gen-0001.jsonl.
    pub(crate) path: String,
    /// 0 for the newest content, 1 for the oldest, then 2, …
    #[serde(default)]
    pub(crate) generation: u32,
    /// Length in bytes.
    pub(crate) bytes: u64,
    /// BLAKE3 of those bytes, 64 hexadecimal digits.
    pub(crate) blake3: String,
}

impl ExpectedEntry {
    /// Checks that the entry is one of session `id`.
    pub(crate) fn parse(&self, id: &SessionId) -> Result<Expected, Failure> {
        let name = StoredName::parse(id, &self.path)?;
        if name.generation != self.generation {
            let (of_path, given) = (name.generation, self.generation);
            let why = format!("its path is of generation {of_path}, the entry says {given}");
            return Err(self.refused(&why));
        }
        let blake3 =
            Hash::from_hex(&self.blake3).map_err(|_| self.refused("its blake3 must be 64 hexadecimal digits"))?;
        Ok(Expected { name, bytes: self.bytes, blake3 })
    }

    fn refused(&self, why: &str) -> Failure {
        Failure::new(format!("use the expected entry {:?}: {why}", self.path)).of(Kind::InvalidInput)
    }
}

/// What is to be saved. The transcript's path was checked by the caller.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// The session.
    pub(crate) id: &'a SessionId,
    /// `<root>/<slug>/<session id>.jsonl`.
    pub(crate) transcript: &'a Path,
    /// What kind of root that is; layer 1's store is a place to take over from, not a source.
    pub(crate) root: RootKind,
    /// The event's working directory.
    pub(crate) cwd: Option<&'a str>,
    /// What caused the save: `pre-compact`, `session-end`, …
    pub(crate) trigger: Option<&'a str>,
    /// The project as the job says it.
    pub(crate) project: Option<&'a ProjectName>,
    /// What the caller holds; `None` for "all that is there".
    pub(crate) expected: Option<&'a [Expected]>,
}

/// The answer to a save.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    /// It is stored; the receipt says what.
    Receipt(Receipt),
    /// There was nothing to store.
    Skipped(Skipped),
}

/// What is stored and whether it covers what the caller holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct Receipt {
    /// The session.
    pub(crate) session_id: String,
    /// Its folder in the store.
    pub(crate) project: String,
    /// The store's random id; another id means another store.
    pub(crate) store_id: String,
    /// With `expected`: the same list. Without: everything stored for the session.
    pub(crate) files: Vec<ReceiptFile>,
    /// Messages of the session in the search index.
    pub(crate) messages_indexed: u64,
    /// What caused the save.
    pub(crate) trigger: String,
    /// What did not work although the copy is stored, for example indexing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) warning: Option<String>,
}

/// One content in a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct ReceiptFile {
    /// Relative to the project's folder in the store.
    pub(crate) path: String,
    /// 0 for the newest content, 1 for the oldest, then 2, …
    pub(crate) generation: u32,
    /// Length in bytes.
    pub(crate) bytes: u64,
    /// BLAKE3 of those bytes, 64 hexadecimal digits.
    pub(crate) blake3: String,
    /// Whether the store holds a content that begins with exactly these bytes, read back.
    pub(crate) covered: bool,
}

/// Nothing was stored, and that settles it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct Skipped {
    /// Always true.
    pub(crate) skipped: bool,
    /// Why nothing was stored.
    pub(crate) reason: String,
}

impl Answer {
    fn skipped(reason: String) -> Answer {
        Answer::Skipped(Skipped { skipped: true, reason })
    }
}

/// Where the lines about saves go: the log, and stderr unless something else is drawn there.
#[derive(Debug)]
pub(crate) struct Journal {
    log: Log,
    echo: bool,
}

impl Journal {
    /// The log of layer 3's store; `echo` to write each line to stderr too.
    pub(crate) fn new(places: &Places, echo: bool) -> Journal {
        Journal { log: Log::of_store(&places.layer3_store, LOG_NAME).at(places.policy.log_level), echo }
    }

    /// Writes one line, control characters made harmless.
    pub(crate) fn line(&self, text: &str) {
        let text = one_line(text);
        self.log.line(&text);
        if self.echo {
            // The line is in the log; a stderr that nobody reads must not end a save.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
}

/// The answer for a session that the user excluded. What the caller holds a copy of already is saved
/// all the same: it waits for a receipt.
pub(crate) fn refused_by_settings(places: &Places, request: &Request<'_>) -> Option<Answer> {
    let waits = request.expected.is_some_and(|expected| !expected.is_empty());
    if waits || !places.policy.exclude.is_excluded(request.transcript, request.cwd) {
        return None;
    }
    Some(Answer::skipped(format!("the settings exclude {}", one_line(&request.transcript.display().to_string()))))
}

/// Saves the session and says what is stored. `progress` is told the bytes handled so far, at
/// least once per 8 MiB, ever growing. Safe to kill at any instruction, and to repeat.
pub(crate) fn save(
    places: &Places,
    journal: &Journal,
    request: &Request<'_>,
    progress: &dyn Fn(u64),
) -> Result<Answer, Failure> {
    save_and(places, journal, None, request, progress, &|archive, key, trigger, steps, warnings| {
        index_or_warn(places, journal, archive, key, trigger, steps, warnings)
    })
}

/// [`save`] without index and metadata: for one of many sessions, which are indexed together
/// afterwards ([`Index::expect_more`] before, [`Index::catch_up`] and [`write_all_metadata`] after). `archive`
/// is layer 3's store, if it is open already: what was seen to of its folders is not seen to again.
pub(crate) fn store(
    places: &Places,
    journal: &Journal,
    archive: Option<&Archive>,
    request: &Request<'_>,
    progress: &dyn Fn(u64),
) -> Result<Answer, Failure> {
    save_and(places, journal, archive, request, progress, &|_, _, _, _, _| 0)
}

/// Indexes what is stored of a session; how many messages it has then.
type Indexer<'a> = dyn Fn(&Archive, &SessionKey, &str, &Steps<'_>, &mut Vec<String>) -> u64 + 'a;

fn save_and(
    places: &Places,
    journal: &Journal,
    archive: Option<&Archive>,
    request: &Request<'_>,
    progress: &dyn Fn(u64),
    index: &Indexer<'_>,
) -> Result<Answer, Failure> {
    let steps = Steps::new(progress);
    let mut warnings = Vec::new();
    let layer1 = open_layer1(places, request, &mut warnings)?;
    let bytes = source_bytes(request)?;
    if bytes.is_none_or(|bytes| bytes == 0) && layer1.is_none() && request.expected.is_none_or(<[_]>::is_empty) {
        let what = if bytes.is_none() { "does not exist" } else { "is empty" };
        let path = one_line(&request.transcript.display().to_string());
        return Ok(Answer::skipped(format!("the transcript {path} {what}, and layer 1 has no copy of it")));
    }
    let opened;
    let archive = match archive {
        Some(archive) => archive,
        None => {
            opened = adopt_v1::create(places)?;
            &opened
        }
    };
    let wanted = wanted(request, layer1.as_ref());
    let key = destination(archive, request, layer1.as_ref())?;
    if let (Some(key), Some(layer1)) = (&key, &layer1) {
        let unchanged = is_unchanged_since(request, layer1);
        let gone = |want: &Expected| want.name.generation > 0 || !source_has(request, layer1, unchanged, want);
        take_over(archive, key, layer1, wanted.iter().filter(|want| gone(want)), &steps, &mut warnings)?;
    }
    let report = copy(archive, request, key.as_ref(), &steps)?;
    warnings
        .extend(report.problems.iter().map(|problem| format!("not everything could be stored: {}", chain(problem))));
    let Some(key) = stored_key(archive, key, &report)? else {
        return Err(unproven(request.id, "the store has no transcript of it"));
    };
    steps.know_as_covered(&key, &report.written);
    if let Some(layer1) = &layer1 {
        take_over(archive, &key, layer1, wanted.iter(), &steps, &mut warnings)?;
    }
    let files = archive.files(&key)?;
    let bytes = verify_copy(archive, &key, &report, &files, &steps)?;
    let trigger = request.trigger.map(one_line).filter(|t| !t.is_empty()).unwrap_or(TRIGGER_UNKNOWN.to_owned());
    let receipt = receipt(archive, &key, request, &files, &steps)?;
    let messages_indexed = index(archive, &key, &trigger, &steps, &mut warnings);
    // Last, for whoever reads it may rely on the metadata beside the copy too.
    if let Some(bytes) = bytes {
        journal.line(&format!("[session-save] ✅ JSONL backed up ({bytes} bytes) - trigger: {trigger}"));
    }
    for warning in &warnings {
        journal.line(&format!("[session-save] ⚠️ {}: {warning}", request.id));
    }
    let warning = (!warnings.is_empty()).then(|| warnings.join("; "));
    Ok(Answer::Receipt(Receipt { messages_indexed, trigger, warning, ..receipt }))
}

/// Layer 1's copy of the session.
struct Layer1 {
    archive: Archive,
    key: SessionKey,
    files: Vec<StoredFile>,
}

/// Reports the bytes of several steps as one ever growing number, and remembers what was found
/// covered: what was read back once in this save is not read again.
struct Steps<'a> {
    report: &'a dyn Fn(u64),
    covered: RefCell<HashSet<(SessionKey, FileName, u64, Hash)>>,
    /// Highest number reported.
    done: Cell<u64>,
    /// Where the present step began.
    base: Cell<u64>,
}

impl Steps<'_> {
    fn new(report: &dyn Fn(u64)) -> Steps<'_> {
        Steps { report, covered: RefCell::default(), done: Cell::new(0), base: Cell::new(0) }
    }

    /// [`Archive::covers_all`]: one answer each. Only a yes is remembered: nothing stored ever goes away.
    fn are_covered(
        &self,
        archive: &Archive,
        key: &SessionKey,
        wanted: &[&Expected],
    ) -> Result<Vec<bool>, ArchiveError> {
        let content = |want: &Expected| (key.clone(), want.name.file.clone(), want.bytes, want.blake3);
        let is_known = |want: &Expected| self.covered.borrow().contains(&content(want));
        let asked: Vec<&Expected> = wanted.iter().copied().filter(|want| !is_known(want)).collect();
        let contents: Vec<_> = asked.iter().map(|want| (&want.name.file, want.bytes, want.blake3)).collect();
        let answers = self.run(|progress| archive.covers_all(key, &contents, progress))?;
        let covered = asked.iter().zip(answers).filter(|(_, covered)| *covered);
        self.covered.borrow_mut().extend(covered.map(|(want, _)| content(want)));
        Ok(wanted.iter().map(|want| is_known(want)).collect())
    }

    /// What the archive wrote and read back just now need not be read once more.
    fn know_as_covered(&self, key: &SessionKey, written: &[(FileName, u64, Hash)]) {
        let contents = written.iter().map(|(file, bytes, blake3)| (key.clone(), file.clone(), *bytes, *blake3));
        self.covered.borrow_mut().extend(contents);
    }

    /// Runs one step. Its numbers are added to what was done before, so that the sum grows with
    /// every report: a client may take a number that stands still for a server that hangs.
    fn run<T>(&self, step: impl FnOnce(&dyn Fn(u64)) -> T) -> T {
        self.base.set(self.done.get() + 1);
        step(&|bytes| {
            self.done.set(self.done.get().max(self.base.get().saturating_add(bytes)));
            (self.report)(self.done.get());
        })
    }
}

/// What layer 1 holds of the session. A layer 1 that cannot be read is a warning: the source is
/// there to be saved without it.
fn open_layer1(places: &Places, request: &Request<'_>, warnings: &mut Vec<String>) -> Result<Option<Layer1>, Failure> {
    let open = || -> Result<Option<Layer1>, ArchiveError> {
        let Some(archive) = Archive::open_as_found(&places.layer1_store)? else { return Ok(None) };
        let Some(key) = key_in_layer1(&archive, request)? else { return Ok(None) };
        let files = archive.files(&key)?;
        Ok((!files.is_empty()).then_some(Layer1 { archive, key, files }))
    };
    match open() {
        Ok(layer1) => Ok(layer1),
        Err(error) if request.root == RootKind::Layer1Store => Err(error.into()),
        Err(error) => {
            warnings.push(format!("layer 1's store could not be asked: {}", chain(&error)));
            Ok(None)
        }
    }
}

fn key_in_layer1(archive: &Archive, request: &Request<'_>) -> Result<Option<SessionKey>, ArchiveError> {
    let folder = request.transcript.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let project = match (request.root, folder) {
        (RootKind::Layer1Store, Some(folder)) => ProjectName::parse(folder).ok(),
        _ => request.project.cloned(),
    };
    let known = archive.find(request.id)?;
    if let Some(key) = known.iter().find(|key| Some(&key.project) == project.as_ref()) {
        return Ok(Some(key.clone()));
    }
    // Two projects can bear the same id. A copy of another source that still exists is not this
    // session's, although it may be the only one of that id.
    let mut free = Vec::new();
    for key in known {
        match archive.source_of(&key)? {
            Some(source) if is_same_path(&source, request.transcript) => return Ok(Some(key)),
            Some(source) if std::fs::symlink_metadata(&source).is_ok() => {}
            _ => free.push(key),
        }
    }
    Ok(if free.len() == 1 { free.pop() } else { None })
}

/// Whether both lead to one file: layer 1 records paths as the events spell them, this layer as
/// they resolve.
fn is_same_path(a: &Path, b: &Path) -> bool {
    a == b || std::fs::canonicalize(a).is_ok_and(|a| std::fs::canonicalize(b).is_ok_and(|b| a == b))
}

/// Length of the source's transcript now; `None` where there is none.
fn source_bytes(request: &Request<'_>) -> Result<Option<u64>, Failure> {
    if request.root == RootKind::Layer1Store {
        return Ok(None);
    }
    let Some(file) = transcripts::open_regular(request.transcript)? else { return Ok(None) };
    Ok(Some(fs::stat_of(&file, request.transcript)?.st_size as u64))
}

/// What the receipt is about: what the caller holds, else what layer 1 holds; older generations
/// first, in their order.
fn wanted(request: &Request<'_>, layer1: Option<&Layer1>) -> Vec<Expected> {
    let mut wanted = match (request.expected, layer1) {
        (Some(expected), _) => expected.to_vec(),
        (None, Some(layer1)) => layer1.files.iter().map(Expected::of).collect(),
        (None, None) => Vec::new(),
    };
    wanted.sort_by_key(|want| if want.name.generation == 0 { u32::MAX } else { want.name.generation });
    wanted
}

impl Expected {
    fn of(file: &StoredFile) -> Expected {
        Expected { name: file.name.clone(), bytes: file.bytes, blake3: file.blake3 }
    }
}

/// The session's folder in this store, as far as it is certain before the source is read: the
/// store's own word for this very source, else the job's, else layer 1's. `None` where that folder
/// holds the copy of another source that still exists: then the archive compares and decides.
fn destination(
    archive: &Archive,
    request: &Request<'_>,
    layer1: Option<&Layer1>,
) -> Result<Option<SessionKey>, Failure> {
    let source = match layer1 {
        Some(layer1) if request.root == RootKind::Layer1Store => layer1.archive.source_of(&layer1.key)?,
        _ => Some(request.transcript.to_owned()),
    };
    let is_source = |other: &Path| source.as_deref().is_some_and(|source| is_same_path(source, other));
    let mut taken = Vec::new();
    for key in archive.recorded(request.id)? {
        match archive.source_of(&key)? {
            Some(other) if is_source(&other) => return Ok(Some(key)),
            Some(other) if std::fs::symlink_metadata(&other).is_ok() => taken.push(key.project),
            _ => {}
        }
    }
    let project = request.project.or(layer1.map(|layer1| &layer1.key.project));
    let free = project.filter(|project| source.is_none() || !taken.contains(project));
    Ok(free.map(|project| SessionKey { project: project.clone(), id: request.id.clone() }))
}

/// Whether the source, side files included, is as layer 1 copied it; in doubt it is not. It looks
/// at every file of the session, so it is asked once a save.
fn is_unchanged_since(request: &Request<'_>, layer1: &Layer1) -> bool {
    request.root != RootKind::Layer1Store
        && layer1.archive.is_behind(request.id, request.transcript).is_ok_and(|behind| !behind)
}

/// Whether the source still begins with what layer 1 copied from it. In doubt it does not: then
/// the content is taken over, which costs space and loses nothing.
fn source_has(request: &Request<'_>, layer1: &Layer1, unchanged: bool, want: &Expected) -> bool {
    if request.root == RootKind::Layer1Store {
        return false;
    }
    let opened = match &want.name.file {
        FileName::Transcript => transcripts::open_regular(request.transcript),
        FileName::Side(rel) => transcripts::open_side_file(request.transcript, request.id, rel),
    };
    let Ok(Some(file)) = opened else { return false };
    if unchanged && layer1.files.iter().any(|file| file.name == want.name && Expected::of(file) == *want) {
        return true;
    }
    fs::hash_of_prefix(&file, want.bytes, request.transcript).is_ok_and(|hash| hash == want.blake3)
}

/// Takes over from layer 1 what is wanted and not yet covered. What layer 1 does not hold, or
/// holds damaged, is a warning: the receipt will say that it is not covered.
fn take_over<'a>(
    archive: &Archive,
    key: &SessionKey,
    layer1: &Layer1,
    wanted: impl Iterator<Item = &'a Expected>,
    steps: &Steps<'_>,
    warnings: &mut Vec<String>,
) -> Result<(), Failure> {
    let wanted: Vec<&Expected> = wanted.collect();
    let covered = steps.are_covered(archive, key, &wanted)?;
    let held: HashMap<&StoredName, &StoredFile> = layer1.files.iter().map(|file| (&file.name, file)).collect();
    let content_for = |want: &Expected| {
        let same_name = held.get(&want.name).copied().filter(|file| has(file, want));
        same_name.or_else(|| layer1.files.iter().find(|file| has(file, want))).cloned()
    };
    let missing = wanted.iter().zip(covered).filter(|(_, covered)| !covered);
    let contents: Vec<StoredFile> = missing.filter_map(|(want, _)| content_for(want)).collect();
    if contents.is_empty() {
        return Ok(());
    }
    let taken = steps.run(|progress| archive.replicate(key, &layer1.archive, &layer1.key, &contents, progress))?;
    for (content, taken) in contents.iter().zip(taken) {
        let Err(error) = taken else { continue };
        let path = &content.path;
        let warning = format!("{path} could not be taken over from layer 1's store: {}", chain(&error));
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    Ok(())
}

/// Whether the stored content is what is wanted; the caller's list may be a moment older than
/// the store, whose content then is longer.
fn has(file: &StoredFile, want: &Expected) -> bool {
    file.name == want.name && file.bytes >= want.bytes
        || file.name.file == want.name.file && file.bytes == want.bytes && file.blake3 == want.blake3
}

fn copy(
    archive: &Archive,
    request: &Request<'_>,
    key: Option<&SessionKey>,
    steps: &Steps<'_>,
) -> Result<SaveReport, Failure> {
    if request.root == RootKind::Layer1Store {
        return Ok(SaveReport {
            key: key.cloned(),
            transcript: TranscriptState::Absent,
            source_bytes: 0,
            bytes_added: 0,
            generations_begun: 0,
            written: Vec::new(),
            problems: Vec::new(),
        });
    }
    let compare = match request.trigger {
        None | Some("pre-compact" | "session-end" | TRIGGER_BEFORE_RESTORE) => Compare::Whole,
        Some(_) => Compare::Windows,
    };
    let project = key.map(|key| &key.project);
    let (id, transcript, cwd) = (request.id, request.transcript, request.cwd);
    Ok(steps.run(|progress| archive.save(&SaveRequest { id, transcript, project, cwd, compare, progress }))?)
}

/// Under which key the session now stands in the store, if it does.
fn stored_key(archive: &Archive, key: Option<SessionKey>, report: &SaveReport) -> Result<Option<SessionKey>, Failure> {
    let Some(key) = report.key.clone().or(key) else { return Ok(None) };
    Ok((!archive.files(&key)?.is_empty()).then_some(key))
}

/// srcSize === dstSize, and the bytes read back hash to their record. The copy may be longer: a
/// save that ran at the same time saw more. Returns the transcript's length, if one is stored.
fn verify_copy(
    archive: &Archive,
    key: &SessionKey,
    report: &SaveReport,
    files: &[StoredFile],
    steps: &Steps<'_>,
) -> Result<Option<u64>, Failure> {
    let newest = StoredName::newest(FileName::Transcript);
    let Some(stored) = files.iter().find(|file| file.name == newest) else {
        return match report.transcript {
            TranscriptState::Stored => Err(unproven(&key.id, "the store has no transcript of it")),
            TranscriptState::Absent | TranscriptState::Empty => Ok(None),
        };
    };
    if report.transcript == TranscriptState::Stored && stored.bytes < report.source_bytes {
        let why = format!(
            "the transcript had {} bytes when it was opened, the copy has {}",
            report.source_bytes, stored.bytes
        );
        return Err(unproven(&key.id, &why).hint("save it again"));
    }
    if steps.are_covered(archive, key, &[&Expected::of(stored)])? != [true] {
        let (path, bytes) = (&stored.path, stored.bytes);
        let why = format!("{path} does not hash to what was recorded ({bytes} bytes)");
        return Err(unproven(&key.id, &why).hint(format!("`layer3-indexer verify {}` tells more", key.id)));
    }
    Ok(Some(stored.bytes))
}

/// The copy is not what it should be. What was stored before is untouched.
fn unproven(id: &SessionId, why: &str) -> Failure {
    Failure::new(format!("verify the copy of session {id}: {why}"))
}

fn receipt(
    archive: &Archive,
    key: &SessionKey,
    request: &Request<'_>,
    files: &[StoredFile],
    steps: &Steps<'_>,
) -> Result<Receipt, Failure> {
    let stored: Vec<Expected> = files.iter().map(Expected::of).collect();
    let entries: Vec<&Expected> = request.expected.unwrap_or(&stored).iter().collect();
    let covered = steps.are_covered(archive, key, &entries)?;
    let entries = entries.iter().zip(covered).map(|(entry, covered)| ReceiptFile {
        path: entry.name.to_text(&key.id),
        generation: entry.name.generation,
        bytes: entry.bytes,
        blake3: entry.blake3.to_hex().to_string(),
        covered,
    });
    Ok(Receipt {
        session_id: key.id.to_string(),
        project: key.project.to_string(),
        store_id: archive.store_id().to_owned(),
        files: entries.collect(),
        messages_indexed: 0,
        trigger: String::new(),
        warning: None,
    })
}

/// [`index`], with a panic as one more warning: no record, however odd, makes a stored session
/// unacknowledged.
fn index_or_warn(
    places: &Places,
    journal: &Journal,
    archive: &Archive,
    key: &SessionKey,
    trigger: &str,
    steps: &Steps<'_>,
    warnings: &mut Vec<String>,
) -> u64 {
    let run = AssertUnwindSafe(|| index(places, journal, archive, key, trigger, steps, warnings));
    match panic::catch_unwind(run) {
        Ok(messages) => messages,
        Err(_) => {
            warnings.push("stored but not indexed: the indexer failed on this transcript".to_owned());
            0
        }
    }
}

/// Indexes the session and writes its metadata. The copy is stored already, so whatever fails
/// here is a warning, made good by the next save or by `rebuild`.
fn index(
    places: &Places,
    journal: &Journal,
    archive: &Archive,
    key: &SessionKey,
    trigger: &str,
    steps: &Steps<'_>,
    warnings: &mut Vec<String>,
) -> u64 {
    let mut index = match Index::open(&places.index) {
        Ok(index) => index,
        Err(error) => {
            warnings.push(format!("stored but not indexed: {}", chain(&error)));
            return 0;
        }
    };
    if let Some(aside) = index.set_aside() {
        // Said, but no failure: what was lost with it is made again below.
        journal.line(&format!(
            "[session-save] note: the index could not be used and was set aside as {}",
            aside.display()
        ));
    }
    let messages = match steps.run(|progress| index.update_session(archive, key, trigger, progress)) {
        Ok(messages) => {
            if let Err(error) = write_metadata(&index, archive, key) {
                warnings.push(format!("stored but its metadata could not be written: {}", chain(&error)));
            }
            messages
        }
        Err(error) => {
            warnings.push(format!("stored but not indexed: {}", chain(&error)));
            0
        }
    };
    fill_if_incomplete(&mut index, archive, steps, warnings);
    messages
}

/// An index that is fresh, or was interrupted, lacks other sessions of the store: they are added.
fn fill_if_incomplete(index: &mut Index, archive: &Archive, steps: &Steps<'_>, warnings: &mut Vec<String>) {
    let fill = |index: &mut Index| steps.run(|progress| index.fill(archive, &|done, _| progress(done as u64)));
    let filled = match index.is_incomplete(archive) {
        Ok(false) => return,
        Ok(true) => fill(index),
        Err(error) if error.is_damage() => index.renew().and_then(|()| fill(index)),
        Err(error) => Err(error),
    };
    match filled {
        Ok(failed) => warnings.extend(
            failed
                .iter()
                .map(|(key, error)| format!("{}/{} could not be indexed: {}", key.project, key.id, chain(error))),
        ),
        Err(error) => warnings.push(format!("other sessions could not be indexed: {}", chain(&error))),
    }
}

/// The metadata file of a session.
pub(crate) fn metadata_path(archive: &Archive, key: &SessionKey) -> PathBuf {
    archive.root().join(key.project.as_str()).join(format!("{}.json", key.id))
}

/// Writes what the index knows of a session as a whole to its metadata file, unless that stands
/// there already. Of several writers the last one writes the newest: each asks the index again.
pub(crate) fn write_metadata(index: &Index, archive: &Archive, key: &SessionKey) -> Result<(), IndexError> {
    match put_metadata(index, archive, key)? {
        Some(folder) => Ok(folder.sync()?),
        None => Ok(()),
    }
}

/// [`write_metadata`] of many sessions, each folder synced once; what failed, and of which session.
pub(crate) fn write_all_metadata(
    index: &Index,
    archive: &Archive,
    keys: &[SessionKey],
) -> Vec<(SessionKey, IndexError)> {
    let mut failed = Vec::new();
    let mut unsynced = BTreeMap::new();
    for key in keys {
        match put_metadata(index, archive, key) {
            Ok(Some(folder)) => drop(unsynced.insert(&key.project, (key, folder))),
            Ok(None) => {}
            Err(error) => failed.push((key.clone(), error)),
        }
    }
    for (key, folder) in unsynced.into_values() {
        failed.extend(folder.sync().err().map(|error| (key.clone(), error.into())));
    }
    failed
}

/// Held by whoever writes metadata, and by whoever removes a session while its files go. It is taken after
/// the session's own lock and before those of the index; who holds it takes no session's.
pub(crate) fn lock_metadata(archive: &Archive) -> Result<Lock, DurableError> {
    Lock::wait(&archive.root().join(METADATA_LOCK))
}

/// Puts the metadata file in its place; nothing where the store has nothing of the session any more; its folder, where that is still to be synced.
fn put_metadata(index: &Index, archive: &Archive, key: &SessionKey) -> Result<Option<Dir>, IndexError> {
    let _lock = lock_metadata(archive)?;
    let Some(row) = index.session(key)? else { return Ok(None) };
    // The user may have had it removed since it was saved; its row may still be there, or be there again.
    if archive.files(key)?.is_empty() {
        return Ok(None);
    }
    let path = metadata_path(archive, key);
    let (folder, name) = (archive.folder_of(key)?, OsString::from(format!("{}.json", key.id)));
    // Strings, numbers and lists of them: this cannot fail.
    let mut text = serde_json::to_string_pretty(&row.metadata).expect("metadata serialises");
    text.push('\n');
    // Whatever keeps the old one from being read, it is replaced; another program's is kept aside.
    if std::fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(folder.sync_bytes_if_recent(&name)?.then_some(folder));
    }
    adopt_v1::keep_foreign_metadata(&path)?;
    folder.replace_file_unsynced(&name, text.as_bytes())?;
    Ok(Some(folder))
}
