//! `verify`: re-reads and re-hashes everything that is recorded, looks for what is not, and
//! compares the newest contents with the files that they were copied from, where those still exist.

use std::path::Path;

use super::append::{SECOND_LOOK, Source};
use super::ledger::Record;
use super::paths::Form;
use super::quick_check::{findings_of_records, unlisted};
use super::rebuild_ledger::{unrecorded, windows_of};
use super::session::was_left_by_killed;
use super::slot::{ONE_FILE, Slot};
use super::store::Archive;
use super::types::{ArchiveError, Finding, FindingKind, SessionKey};
use crate::claude::memory::is_memory;
use crate::claude::side_files::{open_source, source_path};
use crate::claude::transcripts::Identity;
use crate::fs;
use crate::names::StoredName;

const NOT_ACKNOWLEDGED: &str =
    "a run that was killed left it before anything was said to be saved; the next save takes it over";

impl Archive {
    /// Re-reads and re-hashes everything, or one session. An empty list means all is well.
    pub fn verify(&self, only: Option<&SessionKey>) -> Result<Vec<Finding>, ArchiveError> {
        self.verify_with(only, true)
    }

    /// The same without a look at the sources: for who compares them with another store's copy of the same.
    pub fn verify_alone(&self, only: Option<&SessionKey>) -> Result<Vec<Finding>, ArchiveError> {
        self.verify_with(only, false)
    }

    fn verify_with(&self, only: Option<&SessionKey>, sources: bool) -> Result<Vec<Finding>, ArchiveError> {
        let mut findings = Vec::new();
        for key in self.those_or_all(only)? {
            if let Err(error) = verify_session(self, &key, sources, &mut findings) {
                findings.push(unlisted(&key, &error));
            }
        }
        Ok(findings)
    }
}

fn verify_session(
    archive: &Archive,
    key: &SessionKey,
    sources: bool,
    findings: &mut Vec<Finding>,
) -> Result<(), ArchiveError> {
    let ledger = archive.ledger(key)?;
    findings.extend(findings_of_records(archive, key, &ledger, check));
    match unrecorded(archive, key, &ledger) {
        // What the user had removed is on its way, should a run have been killed.
        Ok(names) => {
            let is_left = was_left_by_killed(archive, &key.id, &ledger)?;
            findings.extend(names.iter().map(|name| match is_left && name.generation == 0 {
                true => Finding::of(key, name, FindingKind::NotAcknowledged, NOT_ACKNOWLEDGED),
                false => Finding::of(key, name, FindingKind::BookkeepingLost, "no commit is recorded for it"),
            }));
        }
        Err(error) => findings.push(unlisted(key, &error)),
    }
    let gap = "neither the file nor its record is there";
    findings.extend(ledger.gaps().iter().map(|name| Finding::of(key, name, FindingKind::GenerationGap, gap)));
    if let Some(transcript) = ledger.source.as_ref().filter(|source| sources && archive.may_open(source)) {
        let newest = ledger.records().filter(|(name, _)| name.generation == 0);
        findings
            .extend(newest.filter_map(|(name, record)| compare_with_source(archive, key, name, record, transcript)));
    }
    Ok(())
}

/// Looks whether the source still begins with what was saved of it. An absent one is no finding,
/// nor is one that holds an older content which is stored too, as after a `restore` of that.
fn compare_with_source(
    archive: &Archive,
    key: &SessionKey,
    name: &StoredName,
    record: &Record,
    transcript: &Path,
) -> Option<Finding> {
    let finding =
        |detail: String, save| Some(Finding { save, ..Finding::of(key, name, FindingKind::SourceDiverged, detail) });
    let path = source_path(transcript, &key.id, &name.file);
    let open = || Ok(open_source(transcript, &key.id, &name.file)?);
    // One that cannot be read is told where anything is saved.
    let marks = archive.forgotten(&key.id).ok().flatten().map(|forgotten| forgotten.marks).unwrap_or_default();
    let source =
        Source { path: &path, open: &open, may_lag: false, in_versions: false, marks: &marks, dir: archive.root() };
    let looked = diverges(record, &source).and_then(|first| match first {
        None => Ok(None),
        // Claude Code truncates and rewrites within milliseconds.
        Some(_) => {
            std::thread::sleep(SECOND_LOOK);
            diverges(record, &source)
        }
    });
    let file = path.display();
    let is_stored = |identity: Identity| -> Result<bool, ArchiveError> {
        let Some(opened) = source.look()? else { return Ok(true) };
        let hash = opened.hash_of_prefix(identity.bytes)?;
        archive.covers(key, &name.file, identity.bytes, &hash)
    };
    let looked = looked.and_then(|diverged| match diverged {
        Some(identity) if record.source != Some(identity) && is_stored(identity)? => Ok(None),
        diverged => Ok(diverged),
    });
    match looked {
        Ok(None) => None,
        Ok(Some(identity)) if record.source == Some(identity) => finding(
            format!(
                "{file} has other bytes than were copied from it, although nobody wrote it since: the copy is right"
            ),
            None,
        ),
        // A memory is edited between two saves.
        Ok(Some(_)) if is_memory(transcript) => None,
        Ok(Some(_)) => finding(
            format!("{file} no longer begins with what was saved; the next save keeps both"),
            Some(transcript.to_owned()),
        ),
        Err(error) => finding(format!("it cannot be compared with its source: failed to {error}"), None),
    }
}

/// What the source is now, if it does not begin with the recorded bytes.
fn diverges(record: &Record, source: &Source<'_>) -> Result<Option<Identity>, ArchiveError> {
    let Some(opened) = source.look()? else { return Ok(None) };
    let identity = opened.identity;
    let begins = identity.bytes >= record.bytes && opened.begins_with(record, &|_| {})?;
    Ok((!begins).then_some(identity))
}

fn check(slot: Slot<'_>, record: &Record) -> Result<Option<(FindingKind, String)>, ArchiveError> {
    if slot.form()?.is_none() {
        return Ok(Some((
            FindingKind::Missing,
            format!("{} bytes were recorded; the file is not there", record.bytes),
        )));
    }
    let path = slot.path();
    let damaged = |detail: String| Ok(Some((FindingKind::Damaged, detail)));
    let file = match slot.open() {
        Ok(file) => file,
        Err(error) => return damaged(format!("failed to {error}")),
    };
    let bytes = fs::stat_of(&file, &path)?.st_size as u64;
    if bytes < record.bytes {
        return damaged(format!("{bytes} bytes are there of {} recorded", record.bytes));
    }
    match fs::hash_of_prefix(&file, record.bytes, &path) {
        Ok(hash) if hash == record.blake3 => {}
        Ok(hash) => return damaged(format!("its hash is {}, recorded was {}", hash.to_hex(), record.blake3.to_hex())),
        Err(error) => return damaged(format!("failed to {error}")),
    }
    if windows_of(&file, record.bytes, &path)? != record.windows {
        return Ok(Some((FindingKind::BookkeepingLost, "the recorded windows do not match the bytes".to_owned())));
    }
    if let Some(compressed) = &record.compressed
        && !slot.has(Form::Plain)?
        && !slot.is_as_recorded(compressed)?
        // A writer may be bringing the plain one back.
        && !slot.has(Form::Plain)?
    {
        return damaged(format!("the compressed file is not the {} bytes that were recorded", compressed.bytes));
    }
    if slot.is_one_with(record, None)? {
        return damaged(ONE_FILE.to_owned());
    }
    if bytes > record.bytes {
        let detail = format!("{} bytes after the recorded end are covered by no commit", bytes - record.bytes);
        return Ok(Some((FindingKind::BookkeepingLost, detail)));
    }
    if !record.is_proven() {
        let detail = "its record was rebuilt and never compared with the source or another copy";
        return Ok(Some((FindingKind::Unverified, detail.to_owned())));
    }
    Ok(None)
}
