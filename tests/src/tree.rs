//! What stands in a directory: for comparing before with after, and for snapshots.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory with its mode.
    Directory(u32),
    /// A regular file with mode, length and BLAKE3.
    File(u32, u64, blake3::Hash),
    /// A symlink and where it points.
    Link(PathBuf),
    /// A FIFO, socket or device.
    Other,
}

/// Everything below `root`, by relative path; an absent root gives nothing.
pub fn all(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut entries = BTreeMap::new();
    walk(root, Path::new(""), &mut entries);
    entries
}

/// [`all`] without what lies under a hidden name: the data files, as a user sees them.
pub fn visible(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let hidden = |path: &Path| path.iter().any(|part| part.to_string_lossy().starts_with('.'));
    all(root).into_iter().filter(|(path, _)| !hidden(path)).collect()
}

/// The visible regular files below `root`, as text, sorted.
pub fn visible_files(root: &Path) -> Vec<String> {
    let is_file = |entry: &Entry| matches!(entry, Entry::File(..));
    let files = visible(root).into_iter().filter(|(_, entry)| is_file(entry));
    files.map(|(path, _)| path.to_string_lossy().into_owned()).collect()
}

/// [`visible_files`] without the index: sessions and their metadata.
pub fn session_files(store: &Path) -> Vec<String> {
    visible_files(store).into_iter().filter(|path| !path.starts_with("sessions.db")).collect()
}

fn walk(root: &Path, relative: &Path, entries: &mut BTreeMap<PathBuf, Entry>) {
    let Ok(children) = fs::read_dir(root.join(relative)) else { return };
    for child in children.flatten() {
        let path = relative.join(child.file_name());
        // A temporary file may vanish between listing and looking.
        let Ok(metadata) = child.metadata() else { continue };
        let mode = metadata.permissions().mode() & 0o7777;
        let entry = if metadata.is_dir() {
            walk(root, &path, entries);
            Entry::Directory(mode)
        } else if metadata.is_symlink() {
            Entry::Link(fs::read_link(child.path()).unwrap_or_default())
        } else if metadata.is_file() {
            let Ok(bytes) = fs::read(child.path()) else { continue };
            Entry::File(mode, bytes.len() as u64, blake3::hash(&bytes))
        } else {
            Entry::Other
        };
        entries.insert(path, entry);
    }
}
