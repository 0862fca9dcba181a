//! The metadata beside a session's copy.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use layer1_prebackup::archive::{Archive, SessionKey};
use layer1_prebackup::fs::{Dir, DurableError, Lock};

use crate::index::{Index, IndexError};
use crate::save::adopt_v1;

/// See [`lock_metadata`].
const METADATA_LOCK: &str = ".state/metadata.lock";

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
