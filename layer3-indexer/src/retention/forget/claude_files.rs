//! What Claude Code itself has of a conversation: told, and left alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use layer1_prebackup::claude::survey::FoundTranscript;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::SessionId;

/// Its transcripts, and whatever bears its id one level below Claude Code's folders (`file-history/`, `tasks/`, …). What
/// cannot be listed is not named.
pub(super) fn claude_files(places: &Places, found: &[FoundTranscript], id: &SessionId) -> Vec<PathBuf> {
    let mut files: BTreeSet<PathBuf> = BTreeSet::new();
    let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
    for found in found.iter().filter(|found| found.id == *id) {
        folders.extend(found.path.parent().map(Path::to_owned));
    }
    for claude_dir in places.all_claude_dirs() {
        folders.extend(entries(claude_dir).into_iter().filter(|path| path.is_dir()));
    }
    for path in folders.iter().flat_map(|folder| entries(folder)) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // An id that goes on is another conversation's.
        let is_its = |rest: &str| rest.is_empty() || rest.starts_with('.') || rest.starts_with('-');
        if name.strip_prefix(id.as_str()).is_some_and(is_its) {
            files.insert(path);
        }
    }
    files.into_iter().collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
