//! Opening a store, and making one: its id and its format.

use std::ffi::OsStr;
use std::path::Path;

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use super::paths::{COMPRESSED_ENDING, STATE, STORE_FILE, STORE_LOCK, session_of_entry};
use super::store::{Archive, gone, holds_a_project};
use super::types::{ArchiveError, Formatted};
use crate::fs::{self, Dir, DurableError, Lock, platform};

/// `.state/store.json`.
#[derive(Debug, Serialize, Deserialize)]
struct StoreFile {
    format: u32,
    store_id: String,
}

/// The format of a whole store. A newer one is refused before anything in it is touched, so what
/// an older version must not misread (a ledger, a job, a receipt) raises this one too.
const STORE_FORMAT: u32 = 2;
/// What a new store has. It is raised when a newest content is compressed for the first time: who knows
/// of plain ones alone would call it missing.
const STORE_FORMAT_PLAIN: u32 = 1;
/// Longer than any version will make it.
const STORE_FILE_BYTES_MAX: u64 = 64 * 1024;
/// Ours have 32 digits.
const ID_BYTES_MAX: usize = 64;

impl Archive {
    /// Opens the store for writing; makes it (0700, with a random id) where there is none.
    pub fn create(root: &Path) -> Result<Archive, ArchiveError> {
        Archive::create_adopting(root, |_| Ok(()))
    }

    /// [`Archive::create`]; `adopt` is given a store that is about to be made, to take in what lies
    /// there already. If it fails or is killed, the store is not made, and the next run adopts again.
    pub fn create_adopting(
        root: &Path,
        adopt: impl FnOnce(&Archive) -> Result<(), ArchiveError>,
    ) -> Result<Archive, ArchiveError> {
        if let Some(archive) = Archive::open(root)? {
            return Ok(archive);
        }
        let lock = Lock::wait_in(&Dir::create(root)?.create_own_beneath(Path::new(STATE))?, name_of(STORE_LOCK))?;
        if let Some(archive) = Archive::open(root)? {
            return Ok(archive);
        }
        let archive = Archive::at(root, random_id(root)?)?.ok_or_else(|| gone(root))?;
        // One whose bookkeeping was lost may be of the newer form.
        let format = if archive.has_compressed_newest()? { STORE_FORMAT } else { STORE_FORMAT_PLAIN };
        lock.mark_unknown()?;
        archive.sync_store()?;
        adopt(&archive)?;
        archive.write_store_file(format)?;
        // Without the mark the next run makes sure of it again.
        let _ = lock.mark_clean();
        Ok(archive)
    }

    fn write_store_file(&self, format: u32) -> Result<(), ArchiveError> {
        let store = StoreFile { format, store_id: self.store_id().to_owned() };
        let text = serde_json::to_string(&store).expect("two plain fields always serialise") + "\n";
        Ok(self.state()?.replace_file(name_of(STORE_FILE), text.as_bytes())?)
    }

    /// Makes sure, on the disk, that a version which knows of no compressed newest contents refuses the store.
    pub(super) fn raise_format(&self) -> Result<(), ArchiveError> {
        let is_raised = || -> Result<bool, ArchiveError> {
            Ok(store_text(self.root())?.is_some_and(|text| format_of(&text) >= u64::from(STORE_FORMAT)))
        };
        if is_raised()? {
            // A run that was killed may have put it there and no more.
            return self.sync_store();
        }
        let lock = Lock::wait_in(&self.state()?, name_of(STORE_LOCK))?;
        if !is_raised()? {
            lock.mark_unknown()?;
            self.write_store_file(STORE_FORMAT)?;
            // Without the mark the next runs make sure of it again.
            let _ = lock.mark_clean();
        }
        Ok(())
    }

    /// Whether a compressed newest content lies in some project's folder.
    fn has_compressed_newest(&self) -> Result<bool, ArchiveError> {
        for (_, dir) in self.project_folders()? {
            let is_compressed_newest = |(entry, kind): &(std::ffi::OsString, FileType)| {
                let plain = entry.to_str().and_then(|text| text.strip_suffix(COMPRESSED_ENDING));
                plain.is_some_and(|plain| !plain.contains(".gen-")) && session_of_entry(entry, *kind).is_some()
            };
            if dir.entries()?.iter().any(is_compressed_newest) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Opens an existing store for reading; `None` where there is none. Writes nothing.
    pub fn open(root: &Path) -> Result<Option<Archive>, ArchiveError> {
        let Some(text) = store_text(root)? else { return Ok(None) };
        // First of all, whatever else a newer version writes there.
        let format = format_of(&text);
        if format > u64::from(STORE_FORMAT) {
            return Err(ArchiveError::NewerFormat { path: root.join(STORE_FILE), format });
        }
        match serde_json::from_slice::<StoreFile>(&text) {
            Ok(store) if is_an_id(&store.store_id) => Archive::at(root, store.store_id),
            // Bookkeeping, and rebuildable: a store without a readable id gets a new one.
            _ => Ok(None),
        }
    }

    /// [`Archive::open`]; a store that has lost its bookkeeping, or was written by a program that
    /// kept none, gets a new id. `None` where nothing is stored.
    pub fn open_or_adopt(root: &Path) -> Result<Option<Archive>, ArchiveError> {
        match Archive::open(root)? {
            Some(archive) => Ok(Some(archive)),
            None if holds_a_project(root)? => Archive::create(root).map(Some),
            None => Ok(None),
        }
    }

    /// [`Archive::open`] for looking only: a store without bookkeeping is shown as it stands, with
    /// an empty id, and nothing is written. `None` where nothing is stored.
    pub fn open_as_found(root: &Path) -> Result<Option<Archive>, ArchiveError> {
        match Archive::open(root)? {
            Some(archive) => Ok(Some(archive)),
            None if holds_a_project(root)? => Archive::at(root, String::new()),
            None => Ok(None),
        }
    }
}

/// What can be no file of ours says nothing, and another takes its place.
fn store_text(root: &Path) -> Result<Option<Vec<u8>>, ArchiveError> {
    match fs::read_own(root, Path::new(STORE_FILE), STORE_FILE_BYTES_MAX) {
        Err(error) if error.is_not_ours() => Ok(Some(Vec::new())),
        text => Ok(text?),
    }
}

/// Whether it can be a store's id: it is told to people and compared with what was told.
fn is_an_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

fn name_of(path: &'static str) -> &'static OsStr {
    Path::new(path).file_name().unwrap_or(OsStr::new(path))
}

/// 0 where that cannot be read: another id is then made.
fn format_of(text: &[u8]) -> u64 {
    serde_json::from_slice(text).map_or(0, |Formatted { format }| format)
}

fn random_id(root: &Path) -> Result<String, DurableError> {
    let mut bytes = [0; 16];
    platform::random(&mut bytes).map_err(|source| DurableError {
        operation: "draw a random id for",
        path: root.to_owned(),
        source,
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
