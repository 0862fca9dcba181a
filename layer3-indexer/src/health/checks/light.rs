//! Claude Code's own limits for resuming, as a light: how much lies in the folder of the current
//! directory's transcripts. It says nothing about the copies.

use std::fs;
use std::path::{Path, PathBuf};

use layer1_prebackup::claude::slug::{is_slug_of, slug_of_cwd};
use layer1_prebackup::names::SessionId;

use crate::health::examination::Examination;
use crate::health::figures::{Colour, Light};
use crate::terminal::{HUGE_BYTES, LARGE_BYTES};

const MB: u64 = 1_000_000;
/// From so many sessions the light is no longer green, over [`SESSIONS_RED`] it is red.
const SESSIONS_YELLOW: u64 = 15;
const SESSIONS_RED: u64 = 25;
/// From so many bytes in all the light is no longer green, over [`BYTES_RED`] it is red.
const BYTES_YELLOW: u64 = 5 * MB;
const BYTES_RED: u64 = 10 * MB;

/// The light of the folder that belongs to the current directory.
pub(super) fn of_this_folder(examination: &mut Examination<'_>) {
    let context = examination.context;
    examination.figures.light = of(&context.places.projects(), context.cwd.as_deref());
}

fn of(projects: &Path, cwd: Option<&Path>) -> Light {
    let folder = cwd.and_then(|cwd| folder_of(projects, cwd));
    let entries = folder.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let transcripts = entries.filter(|entry| SessionId::of_transcript(&entry.path()).is_ok());
    let sizes = transcripts.filter_map(|entry| entry.metadata().ok()).filter(fs::Metadata::is_file);
    let sizes: Vec<u64> = sizes.map(|meta| meta.len()).collect();
    of_sizes(folder, &sizes)
}

fn of_sizes(folder: Option<PathBuf>, sizes: &[u64]) -> Light {
    let (sessions, bytes) = (sizes.len() as u64, sizes.iter().sum());
    let largest_bytes = sizes.iter().copied().max().unwrap_or(0);
    let colour = if sessions > SESSIONS_RED || bytes > BYTES_RED || largest_bytes > HUGE_BYTES {
        Colour::Red
    } else if sessions >= SESSIONS_YELLOW || bytes >= BYTES_YELLOW || largest_bytes > LARGE_BYTES {
        Colour::Yellow
    } else {
        Colour::Green
    };
    Light { colour, folder, sessions, bytes, largest_bytes }
}

/// Claude Code names the folder by the directory's real path.
fn folder_of(projects: &Path, cwd: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(cwd).unwrap_or_else(|_| cwd.to_owned());
    [real.as_path(), cwd].into_iter().find_map(|dir| {
        let cwd = dir.to_string_lossy();
        let plain = projects.join(slug_of_cwd(&cwd));
        if plain.is_dir() {
            return Some(plain);
        }
        // The name of a long path goes on with a hash.
        let is_of_it = |path: &PathBuf| path.file_name().is_some_and(|name| is_slug_of(&name.to_string_lossy(), &cwd));
        let entries = fs::read_dir(projects).ok()?.flatten().map(|entry| entry.path());
        entries.filter(|path| is_of_it(path) && path.is_dir()).min()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_those_of_the_first_version() {
        let check = |sizes: &[u64], colour| assert_eq!(of_sizes(None, sizes).colour, colour, "{sizes:?}");
        check(&[], Colour::Green);
        check(&[1; 14], Colour::Green);
        check(&[1; 15], Colour::Yellow);
        check(&[1; 25], Colour::Yellow);
        check(&[1; 26], Colour::Red);
        check(&[2 * MB, 2 * MB, MB - 1], Colour::Green);
        check(&[2 * MB, 2 * MB, MB], Colour::Yellow);
        check(&[2 * MB + 1], Colour::Yellow);
        check(&[2 * MB; 5], Colour::Yellow);
        check(&[2 * MB, 2 * MB, 2 * MB, 2 * MB, 2 * MB, 1], Colour::Red);
        check(&[5 * MB], Colour::Yellow);
        check(&[5 * MB + 1], Colour::Red);
    }

    #[test]
    fn the_folder_is_found_by_the_directorys_path() {
        let dir = tempfile::tempdir().unwrap();
        let cwd = fs::canonicalize(dir.path()).unwrap().join("my proj.ect_1");
        fs::create_dir(&cwd).unwrap();
        let slug = slug_of_cwd(cwd.to_str().unwrap());
        let projects = dir.path().join("projects");
        assert_eq!(of(&projects, Some(&cwd)).folder, None);
        fs::create_dir_all(projects.join(&slug)).unwrap();
        fs::write(projects.join(&slug).join("a.jsonl"), "12345").unwrap();
        fs::write(projects.join(&slug).join("notes.txt"), "12345").unwrap();
        let light = of(&projects, Some(&cwd));
        assert_eq!((light.sessions, light.bytes, light.largest_bytes), (1, 5, 5));
        assert_eq!(light.folder, Some(projects.join(slug)));
        let long = cwd.join("x".repeat(220));
        let cut = slug_of_cwd(long.to_str().unwrap());
        fs::create_dir_all(projects.join(format!("{cut}-1a2b3c"))).unwrap();
        assert_eq!(of(&projects, Some(&long)).folder, Some(projects.join(format!("{cut}-1a2b3c"))));
    }
}
