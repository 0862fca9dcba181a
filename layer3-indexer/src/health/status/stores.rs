//! The two stores: their figures, and what a quick look finds wrong in them.

use std::fs;
use std::path::{Path, PathBuf};

use layer1_prebackup::archive::{Archive, QuickCheck, SessionKey};
use layer1_prebackup::names::FileName;
use serde::Serialize;

use super::Finding;
use crate::failure::chain;
use crate::terminal::time::format_rfc3339_ms;

/// The figures of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct StoreStatus {
    /// Its directory.
    pub(crate) store: PathBuf,
    /// Its random id; `None` while nothing was ever saved, and where it cannot be read.
    pub(crate) store_id: Option<String>,
    /// Sessions stored.
    pub(crate) sessions: u64,
    /// Contents stored: transcripts, side files and older generations.
    pub(crate) files: u64,
    /// Those of them that are older contents of a transcript.
    pub(crate) generations: u64,
    /// The bytes of all.
    pub(crate) bytes: u64,
    /// When something was last committed, RFC 3339.
    pub(crate) last_save: Option<String>,
    /// How long ago that was.
    pub(crate) last_save_age_seconds: Option<u64>,
}

/// A store as it was found.
#[derive(Debug)]
pub(super) struct Held {
    store: PathBuf,
    /// `None` where there is none, or it cannot be read.
    pub(crate) archive: Option<Archive>,
    /// Its sessions.
    pub(crate) sessions: Vec<(SessionKey, QuickCheck)>,
}

/// Looks at a store. `program` is the one that keeps it, `save` its command that makes a store whole.
pub(super) fn look(store: &Path, program: &str, save: &str, findings: &mut Vec<Finding>) -> Held {
    let mut held = Held { store: store.to_owned(), archive: None, sessions: Vec::new() };
    let unreadable =
        |what: String| Finding::new("store-unreadable", true, what, store).mend(format!("{program} verify"));
    match Archive::open(store) {
        Ok(Some(archive)) => held.archive = Some(archive),
        Ok(None) => findings.extend(why_none(store).map(|what| unreadable(what).mend(save))),
        Err(error) => findings.push(unreadable(format!("failed to {}", chain(&error)))),
    }
    let Some(archive) = &held.archive else { return held };
    let keys = archive.sessions().unwrap_or_else(|error| {
        findings.push(unreadable(format!("failed to {}", chain(&error))));
        Vec::new()
    });
    for key in keys {
        match archive.quick_check(&key) {
            Ok(glance) => {
                findings.extend(glance.findings.iter().map(|found| damaged(archive, found, program)));
                held.sessions.push((key, glance));
            }
            Err(error) => findings
                .push(unreadable(format!("failed to {}", chain(&error))).of(&key.id, Some(key.project.as_str()))),
        }
    }
    findings.extend(set_aside(&store.join(".state/damaged")));
    held
}

/// Why there is no store although something is there.
fn why_none(store: &Path) -> Option<String> {
    let examined = match fs::metadata(store) {
        Ok(meta) if meta.is_dir() => fs::read_dir(store),
        Ok(_) => return Some("this is no directory, so nothing can be saved here".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => Err(error),
    };
    if let Err(error) = examined {
        return Some(format!("failed to read it: {error}"));
    }
    match Archive::open_as_found(store).and_then(|found| found.map_or(Ok(0), |found| Ok(found.sessions()?.len()))) {
        Ok(0) => None,
        Ok(sessions) => {
            let sessions = crate::terminal::count(sessions as u64, "session");
            let why = "the bookkeeping is lost, or the first version wrote them";
            Some(format!("{sessions} without bookkeeping: {why}; the next save takes them over as they are"))
        }
        Err(error) => Some(format!("failed to {}", chain(&error))),
    }
}

fn damaged(archive: &Archive, found: &layer1_prebackup::archive::Finding, program: &str) -> Finding {
    let project = found.key.project.as_str();
    let place = archive.root().join(project).join(&found.path);
    Finding::new("damaged-copy", true, format!("{}: {}", found.kind.as_str(), found.detail), &place)
        .mend(format!("{program} verify --repair"))
        .of(&found.key.id, Some(project))
}

fn set_aside(folder: &Path) -> Option<Finding> {
    let (mut files, mut folders) = (0, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        // A folder that is not there or cannot be read holds nothing that this could name.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => files += 1,
            }
        }
    }
    let files = (files > 0).then(|| crate::terminal::count(files, "damaged file"))?;
    Some(Finding::new("set-aside", false, format!("{files} set aside by a repair, to be looked at or deleted"), folder))
}

impl Held {
    /// The figures.
    pub(crate) fn status(&self, now_ms: u64) -> StoreStatus {
        let files = || self.sessions.iter().flat_map(|(_, glance)| &glance.files);
        let last_ms = files().map(|file| file.committed_ms).max();
        let is_older =
            |name: &layer1_prebackup::names::StoredName| name.generation > 0 && name.file == FileName::Transcript;
        StoreStatus {
            store: self.store.clone(),
            store_id: self.archive.as_ref().map(|archive| archive.store_id().to_owned()),
            sessions: self.sessions.len() as u64,
            files: files().count() as u64,
            generations: files().filter(|file| is_older(&file.name)).count() as u64,
            bytes: files().map(|file| file.disk_bytes).sum(),
            last_save: last_ms.map(|ms| format_rfc3339_ms(ms as i64)),
            last_save_age_seconds: last_ms.map(|ms| now_ms.saturating_sub(ms) / 1000),
        }
    }
}
