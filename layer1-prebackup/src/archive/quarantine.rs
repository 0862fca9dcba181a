//! Quarantine: what is replaced, or cannot be believed, moves to `.state/damaged/` and is never dropped.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::paths::{Form, QUARANTINE};
use super::session::OpenSession;
use super::types::ArchiveError;
use crate::names::StoredName;

/// Moves one form of `name` to `.state/damaged/{PROJECT}/{path}`, with a number if that is taken. `None`
/// where nothing stands there.
pub(super) fn quarantine(
    session: &OpenSession<'_>,
    name: &StoredName,
    form: Form,
) -> Result<Option<PathBuf>, ArchiveError> {
    let slot = session.slot(name);
    let folder = Path::new(QUARANTINE).join(slot.folder());
    if !slot.has(form)? {
        // A run that was killed, or whose sync failed, may have moved it there already.
        if session.archive.root.open_beneath(&folder)?.is_some() {
            session.archive.synced_dir(&folder, &|_| Ok(false))?.sync()?;
        }
        return Ok(None);
    }
    session.begin_writing()?;
    let quarantine = session.archive.synced_dir(&folder, &|_| Ok(false))?;
    let file_name = slot.file_name(form);
    let mut free = file_name.clone();
    let mut n = 2;
    while quarantine.stat(&free)?.is_some() {
        free = OsString::from(format!("{}.{n}", file_name.to_string_lossy()));
        n += 1;
    }
    if let Some(dir) = slot.dir()? {
        dir.rename_new(&file_name, &quarantine, &free)?;
    }
    Ok(Some(quarantine.path().join(free)))
}
