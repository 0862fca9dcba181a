//! Configuration directories in which a hook has copied a conversation: nobody has to name them again.
//!
//! One file a directory, `.state/claude-dirs/{16 digits}` in layer 1's store, that holds its path.

use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::fs::{self, DurableError};

const FOLDER: &str = ".state/claude-dirs";
const NAME_DIGITS: usize = 16;
const BYTES_MAX: u64 = 8 * 1024;

/// Remembers a directory, and forgets those that were temporary and are gone.
pub(crate) fn remember(store: &Path, claude_dir: &Path, temp_dir: &Path) -> Result<(), DurableError> {
    let digits = blake3::hash(claude_dir.as_os_str().as_bytes()).to_hex();
    let path = store.join(FOLDER).join(&digits[..NAME_DIGITS]);
    if path.is_file() {
        return Ok(());
    }
    for (note, dir) in notes(store) {
        if dir.starts_with(temp_dir) && !dir.exists() {
            fs::remove_file(&note)?;
        }
    }
    fs::replace_own(store, &Path::new(FOLDER).join(&digits[..NAME_DIGITS]), claude_dir.as_os_str().as_bytes())
}

/// Those that are remembered; one that is gone may come back, and its conversations with it. Sorted.
pub(crate) fn remembered(store: &Path) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = notes(store).into_iter().map(|(_, dir)| dir).collect();
    dirs.sort();
    dirs
}

/// Each file, and what it says. What cannot be read is remembered again by the next hook of that directory.
fn notes(store: &Path) -> Vec<(PathBuf, PathBuf)> {
    let entries = std::fs::read_dir(store.join(FOLDER)).into_iter().flatten().flatten();
    let note = |entry: std::fs::DirEntry| {
        let path = entry.path();
        let is_plain = |meta: Metadata| meta.is_file() && meta.len() <= BYTES_MAX;
        let is_ours = entry.file_name().len() == NAME_DIGITS && entry.metadata().is_ok_and(is_plain);
        let dir = is_ours.then(|| std::fs::read(&path).ok())?.map(|bytes| PathBuf::from(OsString::from_vec(bytes)))?;
        dir.is_absolute().then_some((path, dir))
    };
    entries.filter_map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_remembered_once_and_a_temporary_one_while_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (store, temp) = (dir.path().join("store"), dir.path().join("tmp"));
        assert!(remembered(&store).is_empty());
        let (gone, passing) = (dir.path().join("gone"), temp.join("passing"));
        for claude_dir in [&gone, &passing, &gone] {
            remember(&store, claude_dir, &temp).unwrap();
        }
        std::fs::write(store.join(FOLDER).join("0123456789abcdef"), "relative").unwrap();
        // Whoever read it would wait for a writer.
        let fifo = store.join(FOLDER).join("fedcba9876543210");
        assert!(std::process::Command::new("mkfifo").arg(fifo).status().unwrap().success());
        assert_eq!(remembered(&store), [gone.clone(), passing]);
        remember(&store, &temp.join("next"), &temp).unwrap();
        assert_eq!(remembered(&store), [gone, temp.join("next")]);
    }
}
