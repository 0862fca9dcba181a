//! The metadata beside a session's copy.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use layer1_prebackup::archive::{Archive, SessionKey};
use layer1_prebackup::fs::{Dir, DurableError, Lock};

use crate::index::{Index, IndexError};
use crate::save::adopt_v1;
use crate::stores::called::describe;
use crate::transcript::metadata::{Metadata, metadata_text};

/// Metadata files that are written under one lock: nobody waits for more of them.
const METADATA_BATCH: usize = 64;
/// See [`lock_metadata`].
const METADATA_LOCK: &str = "metadata.lock";

/// The metadata file of a session.
pub(crate) fn metadata_path(archive: &Archive, key: &SessionKey) -> PathBuf {
    archive.root().join(key.project.as_str()).join(format!("{}.json", key.id))
}

/// What is written of a session; nothing where that is not there, cannot be read, or is not ours.
pub(crate) fn read_metadata(archive: &Archive, key: &SessionKey) -> Option<Metadata> {
    serde_json::from_slice(&metadata_text(archive, key)?).ok()
}

/// Writes what the index knows of a session as a whole to its metadata file, unless that stands
/// there already. Of several writers the last one writes the newest: each asks the index again.
pub(crate) fn write_metadata(index: &Index, archive: &Archive, key: &SessionKey) -> Result<(), IndexError> {
    let failed = write_all_metadata(index, archive, std::slice::from_ref(key));
    failed.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
}

/// [`write_metadata`] of many sessions, a few under one lock; what failed, and of which session.
pub(crate) fn write_all_metadata(
    index: &Index,
    archive: &Archive,
    keys: &[SessionKey],
) -> Vec<(SessionKey, IndexError)> {
    let mut failed = Vec::new();
    for batch in keys.chunks(METADATA_BATCH) {
        let written = write_batch(index, archive, batch, &mut failed);
        failed.extend(written.err().map(|error| (batch[0].clone(), error)));
    }
    failed
}

/// The lock's clean mark says that the names of all metadata files are synced, so a file that stands there as
/// it should costs no sync. (Its bytes were synced before it got its name.)
fn write_batch(
    index: &Index,
    archive: &Archive,
    keys: &[SessionKey],
    failed: &mut Vec<(SessionKey, IndexError)>,
) -> Result<(), IndexError> {
    let lock = lock_metadata(archive)?;
    if !lock.is_clean()? {
        archive.sync_project_folders()?;
    }
    let failed_before = failed.len();
    let mut unsynced = BTreeMap::new();
    for key in keys {
        match put_metadata(index, archive, key, &lock) {
            Ok(Some(folder)) => drop(unsynced.insert(&key.project, folder)),
            Ok(None) => {}
            Err(error) => failed.push((key.clone(), error)),
        }
    }
    unsynced.values().try_for_each(Dir::sync)?;
    if failed.len() == failed_before && !lock.is_clean()? {
        // Without the mark the next run syncs the folders again.
        let _ = lock.mark_clean();
    }
    Ok(())
}

/// Held by whoever writes metadata, and by whoever removes a session while its files go. It is taken after
/// the session's own lock and before those of the index; who holds it takes no session's.
pub(crate) fn lock_metadata(archive: &Archive) -> Result<Lock, DurableError> {
    Lock::wait_in(&archive.state()?, OsStr::new(METADATA_LOCK))
}

/// Puts the metadata file in its place; nothing where the store has nothing of the session any more; its folder, where that is still to be synced.
fn put_metadata(index: &Index, archive: &Archive, key: &SessionKey, lock: &Lock) -> Result<Option<Dir>, IndexError> {
    let Some(mut row) = index.session(key)? else { return Ok(None) };
    // The user may have had it removed since it was saved; its row may still be there, or be there again.
    if archive.files(key)?.is_empty() {
        return Ok(None);
    }
    if let Ok(Some(labels)) = archive.labels(&key.id) {
        describe(&mut row.metadata, &labels);
    }
    let path = metadata_path(archive, key);
    let (folder, name) = (archive.folder_of(key)?, OsString::from(format!("{}.json", key.id)));
    // Strings, numbers and lists of them: this cannot fail.
    let mut text = serde_json::to_string_pretty(&row.metadata).expect("metadata serialises");
    text.push('\n');
    // Whatever keeps the old one from being read, it is replaced; another program's is kept aside.
    if metadata_text(archive, key).is_some_and(|old| old == text.as_bytes()) {
        return Ok(None);
    }
    lock.mark_unknown()?;
    adopt_v1::keep_foreign_metadata(&path)?;
    folder.replace_file_unsynced(&name, text.as_bytes())?;
    Ok(Some(folder))
}
