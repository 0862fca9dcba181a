//! A quick look at a stored session: its ledger, the lengths of its files, a few windows.
//! What it calls wrong is wrong; what it does not see, `verify` does.

use std::path::PathBuf;

use super::compress;
use super::ledger::{Ledger, Record};
use super::session::{contents_on_disk, windows_of};
use super::{Archive, ArchiveError, Finding, FindingKind, SessionKey, StoredFile};
use crate::names::{FileName, StoredName};

/// What a quick look at a session tells. No content was read beyond the windows of its transcripts.
#[derive(Debug)]
pub struct Glance {
    /// Everything committed, transcript first; empty where the ledger is lost.
    pub files: Vec<StoredFile>,
    /// The transcript that the session was last copied from.
    pub source: Option<PathBuf>,
    /// When that transcript was last modified as its newest content was committed, in milliseconds since 1970.
    pub source_modified_ms: Option<u64>,
    /// Files that are missing or too short, windows that differ, a ledger that is lost or damaged.
    pub findings: Vec<Finding>,
}

pub(super) fn glance(archive: &Archive, key: &SessionKey) -> Result<Glance, ArchiveError> {
    let first = look(archive, key)?;
    // Another process may have been writing between the two halves of the look.
    if first.findings.is_empty() { Ok(first) } else { look(archive, key) }
}

fn look(archive: &Archive, key: &SessionKey) -> Result<Glance, ArchiveError> {
    let ledger = archive.ledger(key)?;
    let newest = ledger.record(&StoredName::newest(FileName::Transcript));
    let modified_ns = newest.and_then(|record| record.source).map(|source| source.mtime_ns);
    let stored = |(name, record): (&StoredName, &Record)| StoredFile::of(name, record, key);
    Ok(Glance {
        files: ledger.records().map(stored).collect(),
        source: ledger.source.clone(),
        source_modified_ms: modified_ns.and_then(|ns| u64::try_from(ns / 1_000_000).ok()),
        findings: findings(archive, key, &ledger),
    })
}

fn findings(archive: &Archive, key: &SessionKey, ledger: &Ledger) -> Vec<Finding> {
    let finding = |name: &StoredName, kind, detail| {
        let (key, path) = (key.clone(), name.to_text(&key.id));
        Finding { key, path, kind, detail, save: None }
    };
    let transcript = StoredName::newest(FileName::Transcript);
    let mut findings = Vec::new();
    if ledger.is_damaged {
        let detail = "the ledger has a damaged line; what it says is to be proven again".to_owned();
        findings.push(finding(&transcript, FindingKind::BookkeepingLost, detail));
    }
    if ledger.is_empty() {
        match contents_on_disk(archive, key) {
            Ok(names) => findings.extend(names.first().map(|name| {
                finding(name, FindingKind::BookkeepingLost, "no commit is recorded of this session".to_owned())
            })),
            Err(error) => findings.push(finding(&transcript, FindingKind::Damaged, format!("failed to {error}"))),
        }
    }
    for (name, record) in ledger.records() {
        let checked = check(archive, key, name, record)
            .unwrap_or_else(|error| Some((FindingKind::Damaged, format!("failed to {error}"))));
        findings.extend(checked.map(|(kind, detail)| finding(name, kind, detail)));
    }
    findings
}

fn check(
    archive: &Archive,
    key: &SessionKey,
    name: &StoredName,
    record: &Record,
) -> Result<Option<(FindingKind, String)>, ArchiveError> {
    let Some(stat) = archive.stat(key, name)? else {
        if let (Some(packed), Some(stat)) = (&record.packed, compress::stat(archive, key, name)?) {
            let bytes = stat.st_size as u64;
            let detail = format!("{bytes} compressed bytes are there of {} recorded", packed.bytes);
            return Ok((bytes != packed.bytes).then_some((FindingKind::Damaged, detail)));
        }
        let detail = format!("{} bytes were recorded; the file is not there", record.bytes);
        return Ok(Some((FindingKind::Missing, detail)));
    };
    let bytes = stat.st_size as u64;
    if bytes < record.bytes {
        let detail = format!("{bytes} bytes are there of {} recorded", record.bytes);
        return Ok(Some((FindingKind::Damaged, detail)));
    }
    if name.file != FileName::Transcript {
        return Ok(None);
    }
    let file = archive.open_file(key, name)?;
    let differs = windows_of(&file, record.bytes, &archive.path_of(key, name))? != record.windows;
    Ok(differs.then(|| (FindingKind::Damaged, "its beginning or its end is not what was recorded".to_owned())))
}
