//! Which directory a folder of transcripts is of.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::claude::side_files::is_transcript_like;
use crate::claude::slug::{is_slug_of, slug_of_cwd};
use crate::claude::transcripts::{first_cwd_within, open_transcript};
use crate::claude::worktrees::project_of_worktree;

/// So many transcripts are asked, each for so much of its beginning.
const ASKED_MAX: usize = 20;
const ASKED_BYTES: u64 = 256 * 1024;
/// So many directories are looked into for one that bears the name.
const LOOKED_INTO_MAX: usize = 200;

/// The directory that the sessions of a folder work in: the one that a transcript in it names and that the folder is
/// named after, else the one of that name which is there, else what another transcript names; else the folder's name,
/// which says little and more than nothing.
pub(crate) fn cwd_of_folder(folder: &Path) -> Option<String> {
    let slug = folder.file_name()?.to_str()?;
    let named = named_in(folder);
    let fitting = named.iter().find(|cwd| is_slug_of(slug, cwd)).cloned();
    let found = || directory_of_slug(slug).map(|found| found.to_string_lossy().into_owned());
    let left = || Some(slug.trim_matches('-').to_owned()).filter(|left| !left.is_empty());
    fitting.or_else(found).or_else(|| named.first().cloned()).or_else(left)
}

/// What some transcripts of the folder name, in the order of their names. One that cannot be read names nothing here.
fn named_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.file_name().is_some_and(is_transcript_like));
    paths.sort();
    let first = |path: &PathBuf| {
        let file = open_transcript(path).ok().flatten()?;
        first_cwd_within(file.take(ASKED_BYTES), path).ok().flatten()
    };
    let named = paths.iter().take(ASKED_MAX).filter_map(first);
    named.map(|cwd| project_of_worktree(&cwd).to_owned()).collect()
}

/// The directory that is there and that Claude Code made this name from; of several the first.
fn directory_of_slug(slug: &str) -> Option<PathBuf> {
    let mut pending = vec![PathBuf::from("/")];
    let mut left = LOOKED_INTO_MAX;
    while let Some(folder) = pending.pop().filter(|_| left > 0) {
        left -= 1;
        // What cannot be listed leads nowhere.
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let Some(made) = path.to_str().map(slug_of_cwd) else { continue };
            let leads_on =
                slug.strip_prefix(made.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
            if !leads_on || !path.is_dir() {
                continue;
            }
            if made == slug {
                return Some(path);
            }
            pending.push(path);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_of_the_directory_that_it_is_named_after_as_far_as_that_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().join("my.app/sub-folder");
        fs::create_dir_all(&there).unwrap();
        let there = there.to_str().unwrap();
        let folder = |slug: &str, cwds: &[&str]| {
            let folder = dir.path().join("projects").join(slug);
            fs::create_dir_all(&folder).unwrap();
            for (n, cwd) in cwds.iter().enumerate() {
                fs::write(folder.join(format!("{n}.jsonl")), format!("{{\"cwd\":{cwd:?}}}\n")).unwrap();
            }
            cwd_of_folder(&folder)
        };
        for (slug, cwds, expected) in [
            ("-h-my-app", &["/h/other", "/h/my.app"][..], "/h/my.app"),
            ("-h-moved", &["/h/other"], "/h/other"),
            ("-h-app", &["/h/app/.claude/worktrees/x"], "/h/app"),
            (&slug_of_cwd(there), &["/h/other"], there),
            ("-h-gone-app", &[], "h-gone-app"),
        ] {
            assert_eq!(folder(slug, cwds).as_deref(), Some(expected), "{slug}");
        }
        assert_eq!(folder("---", &[]), None);
    }
}
