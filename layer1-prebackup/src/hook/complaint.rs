//! What hooks had to say of their settings, for `status`: they go on, and print nothing that a person would see later.
//!
//! One file a folder of transcripts, `.state/complaints/{16 digits}`: the environment of hooks differs from project to
//! project. A hook of that folder that has nothing to say removes it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::fs::{self, DurableError};

const FOLDER: &str = ".state/complaints";
const NAME_DIGITS: usize = 16;
/// Nobody has had a reason to repeat it for so long, so its project is not used any more.
const AGE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const BYTES_MAX: u64 = 16 * 1024;

/// Keeps what is to be said of the hooks of these transcripts' folder, or removes what was said.
pub(super) fn keep(store: &Path, transcript: &Path, complaint: Option<&str>) -> Result<(), DurableError> {
    let folder = transcript.parent().unwrap_or(transcript);
    let digits = blake3::hash(folder.as_os_str().as_encoded_bytes()).to_hex();
    let path = store.join(FOLDER).join(&digits[..NAME_DIGITS]);
    let rel = Path::new(FOLDER).join(&digits[..NAME_DIGITS]);
    let Some(complaint) = complaint else { return fs::remove_own(store, &rel).map(|_| ()) };
    let text = format!("{complaint} (in hooks of {})\n", folder.display());
    // It is written once, not with every turn, but for its age.
    let is_kept = read(&path).is_some_and(|(kept, age)| kept == text.trim_end() && age < AGE_MAX / 2);
    if is_kept { Ok(()) } else { fs::replace_own(store, &rel, text.as_bytes()) }
}

/// What hooks said of their settings lately, each with the file that says so.
pub fn complaints(store: &Path) -> Vec<(PathBuf, String)> {
    // What cannot be read here cannot be told either; a store that cannot be read is told by others.
    let Ok(entries) = std::fs::read_dir(store.join(FOLDER)) else { return Vec::new() };
    let mut kept: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let (text, age) = read(&path)?;
            (age < AGE_MAX).then_some((path, text))
        })
        .collect();
    kept.sort();
    kept
}

fn read(path: &Path) -> Option<(String, Duration)> {
    let meta = std::fs::symlink_metadata(path).ok().filter(|meta| meta.is_file() && meta.len() <= BYTES_MAX)?;
    let name = path.file_name()?.to_str()?;
    if name.starts_with('.') {
        return None;
    }
    let age = SystemTime::now().duration_since(meta.modified().ok()?).unwrap_or_default();
    Some((std::fs::read_to_string(path).ok()?.trim_end().to_owned(), age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folders_complaint_stays_until_a_hook_of_that_folder_has_none() {
        let store = tempfile::tempdir().unwrap();
        let told = || complaints(store.path()).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        let (a, b) = (Path::new("/p/-a/s1.jsonl"), Path::new("/p/-b/s2.jsonl"));
        keep(store.path(), b, None).unwrap();
        assert!(!store.path().join(FOLDER).exists());
        keep(store.path(), a, Some("set HOME")).unwrap();
        keep(store.path(), a, Some("set HOME")).unwrap();
        keep(store.path(), b, None).unwrap();
        assert_eq!(told(), ["set HOME (in hooks of /p/-a)"]);
        keep(store.path(), &a.with_file_name("s3.jsonl"), None).unwrap();
        assert_eq!(told(), [""; 0]);
    }
}
