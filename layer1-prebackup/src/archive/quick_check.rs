//! A quick look at a stored session: its ledger, the lengths of its files, a few windows.
//! What it calls wrong is wrong; what it does not see, `verify` does.

use std::path::PathBuf;

use super::ledger::{Ledger, Record, StoredFile};
use super::paths::Form;
use super::rebuild_ledger::{unrecorded, windows_of};
use super::session::was_left_by_killed;
use super::slot::{ONE_FILE, Slot};
use super::store::Archive;
use super::types::{ArchiveError, Finding, FindingKind, SessionKey};
use crate::claude::mark::Mark;
use crate::fs;
use crate::names::{FileName, StoredName};

/// What a quick look at a session tells. No content was read beyond the windows of its transcripts.
#[derive(Debug)]
pub struct QuickCheck {
    /// Everything committed, transcript first; empty where the ledger is lost.
    pub files: Vec<StoredFile>,
    /// The transcript that the session was last copied from.
    pub source: Option<PathBuf>,
    /// When that transcript was last modified as its newest content was committed, in milliseconds since 1970.
    pub source_modified_ms: Option<u64>,
    /// All that is committed, for a comparison with what another store has of the session; `None` where some of it is not
    /// proven.
    pub contents: Option<Mark>,
    /// Whether any content has further names: then it may be one file with the other store's.
    pub has_other_names: bool,
    /// Files that are missing or too short, windows that differ, a ledger that is lost or damaged.
    pub findings: Vec<Finding>,
}

impl Archive {
    /// A quick look, for a status: what is committed and what can be seen to be wrong without
    /// reading the contents. Nothing is hashed again, whatever state the bookkeeping is in.
    pub fn quick_check(&self, key: &SessionKey) -> Result<QuickCheck, ArchiveError> {
        let first = look(self, key)?;
        // Another process may have been writing between the two halves of the look.
        if first.findings.is_empty() { Ok(first) } else { look(self, key) }
    }
}

impl Archive {
    /// The contents of a session that are one file with the same content of another store.
    pub fn one_file_with(&self, other: &Archive, key: &SessionKey) -> Result<Vec<Finding>, ArchiveError> {
        let mut findings = Vec::new();
        for (name, record) in self.ledger(key)?.records() {
            if self.slot(key, name).is_one_with(record, Some(other))? {
                findings.push(Finding::of(key, name, FindingKind::Damaged, ONE_FILE));
            }
        }
        Ok(findings)
    }
}

fn look(archive: &Archive, key: &SessionKey) -> Result<QuickCheck, ArchiveError> {
    let ledger = archive.ledger(key)?;
    let newest = ledger.record(&StoredName::newest(FileName::Transcript));
    let modified_ns = newest.and_then(|record| record.source).map(|source| source.mtime_ns);
    Ok(QuickCheck {
        files: ledger.stored_files(key),
        source: ledger.source.clone(),
        source_modified_ms: modified_ns.and_then(|ns| u64::try_from(ns / 1_000_000).ok()),
        contents: ledger.contents(key).filter(|_| ledger.is_settled()),
        // What cannot be looked at is a finding.
        has_other_names: ledger
            .records()
            .any(|(name, _)| archive.slot(key, name).shared().is_ok_and(|it| it.is_some())),
        findings: findings(archive, key, &ledger),
    })
}

fn findings(archive: &Archive, key: &SessionKey, ledger: &Ledger) -> Vec<Finding> {
    let mut findings = findings_of_records(archive, key, ledger, check);
    // What cannot be looked at is told below.
    if ledger.is_empty() && !was_left_by_killed(archive, &key.id, ledger).unwrap_or(false) {
        let lost = |name: &StoredName| {
            Finding::of(key, name, FindingKind::BookkeepingLost, "no commit is recorded of this session")
        };
        match unrecorded(archive, key, ledger) {
            Ok(names) => findings.extend(names.first().map(lost)),
            Err(error) => findings.push(unlisted(key, &error)),
        }
    }
    findings
}

/// Looks at one content that was recorded: what is wrong with it, in words, if anything is.
pub(super) type Check = fn(Slot<'_>, &Record) -> Result<Option<(FindingKind, String)>, ArchiveError>;

/// What is wrong with the ledger itself, and what `check` finds of each content that it records.
pub(super) fn findings_of_records(archive: &Archive, key: &SessionKey, ledger: &Ledger, check: Check) -> Vec<Finding> {
    let mut findings = Vec::new();
    if ledger.is_damaged {
        let detail = "the ledger has a damaged line; what it says is to be proven again";
        let transcript = StoredName::newest(FileName::Transcript);
        findings.push(Finding::of(key, &transcript, FindingKind::BookkeepingLost, detail));
    }
    for (name, record) in ledger.records() {
        // What keeps one content from being read must not keep the others from being checked.
        let checked = check(archive.slot(key, name), record)
            .unwrap_or_else(|error| Some((FindingKind::Damaged, format!("failed to {error}"))));
        findings.extend(checked.map(|(kind, detail)| Finding::of(key, name, kind, detail)));
    }
    findings
}

/// The finding of a session whose folder cannot be listed.
pub(super) fn unlisted(key: &SessionKey, error: &ArchiveError) -> Finding {
    Finding::of(key, &StoredName::newest(FileName::Transcript), FindingKind::Damaged, format!("failed to {error}"))
}

fn check(slot: Slot<'_>, record: &Record) -> Result<Option<(FindingKind, String)>, ArchiveError> {
    let Some(stat) = slot.stat(Form::Plain)? else {
        if let (Some(compressed), Some(stat)) = (&record.compressed, slot.stat(Form::Compressed)?) {
            let bytes = stat.st_size as u64;
            let detail = format!("{bytes} compressed bytes are there of {} recorded", compressed.bytes);
            return Ok((bytes != compressed.bytes).then_some((FindingKind::Damaged, detail)));
        }
        let detail = format!("{} bytes were recorded; the file is not there", record.bytes);
        return Ok(Some((FindingKind::Missing, detail)));
    };
    let bytes = stat.st_size as u64;
    if bytes < record.bytes {
        let detail = format!("{bytes} bytes are there of {} recorded", record.bytes);
        return Ok(Some((FindingKind::Damaged, detail)));
    }
    if slot.is_one_with(record, None)? {
        return Ok(Some((FindingKind::Damaged, ONE_FILE.to_owned())));
    }
    if !fs::may_be_ours(&stat) && !fs::has_other_names(&stat) {
        let detail = "it is no file of Threefold's: a link or a device";
        return Ok(Some((FindingKind::Damaged, detail.to_owned())));
    }
    if slot.name.file != FileName::Transcript {
        return Ok(None);
    }
    let differs = windows_of(&slot.open()?, record.bytes, &slot.path())? != record.windows;
    Ok(differs.then(|| (FindingKind::Damaged, "its beginning or its end is not what was recorded".to_owned())))
}
