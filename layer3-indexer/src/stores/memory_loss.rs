//! What a project's memory no longer has where Claude Code keeps it: files that were deleted, and those that are shorter
//! than an earlier version. Claude Code rewrites its memory all the time, so this is told, and needs nobody.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use layer1_prebackup::archive::{Archive, SessionKey, StoredFile};
use layer1_prebackup::names::FileName;

use crate::stores::acknowledged::Acknowledged;

/// What one project's memory lost that nobody acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemoryLoss {
    pub(crate) key: SessionKey,
    /// Where Claude Code keeps it.
    pub(crate) folder: PathBuf,
    /// Files that are saved and no longer there.
    pub(crate) deleted: u64,
    /// Files that are shorter than a version of them that is saved.
    pub(crate) shorter: u64,
    /// What there is to be acknowledged.
    pub(crate) marks: Vec<String>,
}

/// What the memories lost that these stores of memories hold; `conversations` is layer 3's store, which has what was
/// acknowledged. What cannot be read is told by others.
pub(crate) fn memory_losses(memories: [Option<&Archive>; 2], conversations: Option<&Archive>) -> Vec<MemoryLoss> {
    let seen = Acknowledged::read(conversations);
    let mut losses: Vec<MemoryLoss> = Vec::new();
    let mut looked = Vec::new();
    for archive in memories.into_iter().flatten() {
        for key in archive.sessions().unwrap_or_default() {
            if looked.contains(&key.id) {
                continue;
            }
            looked.push(key.id.clone());
            let read = archive.source_of(&key).and_then(|source| Ok((source, archive.files(&key)?)));
            let Ok((Some(folder), files)) = read else { continue };
            let stored = |path: &Path| archive.stored_bytes(&key.id, path).ok().flatten();
            let loss = loss_of(key.clone(), folder, &files, &seen, &stored);
            losses.extend(Some(loss).filter(|loss| !loss.marks.is_empty()));
        }
    }
    losses
}

/// `stored` gives how long a file would be in the store, where that is not its own length.
fn loss_of(
    key: SessionKey,
    folder: PathBuf,
    files: &[StoredFile],
    seen: &Acknowledged,
    stored: &dyn Fn(&Path) -> Option<u64>,
) -> MemoryLoss {
    let mut versions = BTreeMap::<&Path, Vec<&StoredFile>>::new();
    for file in files {
        if let FileName::Side(rel) = &file.name.file {
            versions.entry(rel).or_default().push(file);
        }
    }
    let mut loss = MemoryLoss { key, folder, deleted: 0, shorter: 0, marks: Vec::new() };
    for (rel, versions) in versions {
        let Some(longest) = versions.iter().max_by_key(|file| file.bytes) else { continue };
        let newest = versions.iter().find(|file| file.name.generation == 0).unwrap_or(longest);
        let path = loss.folder.join(rel);
        let (count, what, lost) = match path.symlink_metadata().map(|there| there.len()) {
            Err(_) => (&mut loss.deleted, "deleted", newest),
            Ok(bytes) if bytes < longest.bytes && stored(&path).unwrap_or(bytes) < longest.bytes => {
                (&mut loss.shorter, "shorter", longest)
            }
            Ok(_) => continue,
        };
        let mark = format!("{what} {} {}:{}", rel.display(), lost.bytes, lost.blake3.to_hex());
        if !seen.has_seen_one(&loss.key, &mark) {
            *count += 1;
            loss.marks.push(mark);
        }
    }
    loss
}
