//! What `restic` itself cannot repair: files without which nothing opens a repository, and snapshots that nobody can
//! read. In a directory of this machine that is done here; elsewhere a person is told which files it is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use layer1_prebackup::fs::{self, remove_file};
use layer1_prebackup::wire::offsite::{FOLDER, Kind};

use super::engine::Engine;
use super::site::{SetUp, Site};
use super::snapshots::stored_snapshots;
use super::trouble::Trouble;
use crate::error::{Error, failed};

/// Where the copies lie, in [`FOLDER`]; laid out as they are in a repository.
const KEPT: &str = "keys";
const CONFIG: &str = "config";
const KEYS: &str = "keys";
const SNAPSHOTS: &str = "snapshots";
/// None of these files is longer, in bytes.
const BYTES_MAX: u64 = 64 * 1024;

/// Puts a repository's key files and configuration back from their copies, where they are lost or damaged. Only in one
/// that is known to be ours, by its configuration or by a key file: another one is left as it is.
pub(crate) fn put_back(site: &Site<'_>, set_up: &SetUp) -> Result<usize, Error> {
    let Some(place) = set_up.place.directory() else { return Ok(0) };
    let repository = place.join(&set_up.state.name);
    let copies = copies(site.store())?;
    let there = |rel: &Path| fs::read_own(&repository, rel, BYTES_MAX).unwrap_or_default();
    // A key file is named by its hash, and salted: no other repository has one of this name.
    let is_ours = |(rel, bytes): &(PathBuf, Vec<u8>)| match rel.starts_with(KEYS) {
        true => repository.join(rel).exists(),
        false => there(rel).as_ref() == Some(bytes),
    };
    if !repository.join(SNAPSHOTS).is_dir() || !copies.iter().any(is_ours) {
        return Ok(0);
    }
    let lost: Vec<_> = copies.iter().filter(|(rel, bytes)| there(rel).as_ref() != Some(bytes)).collect();
    for (rel, bytes) in &lost {
        fs::replace_file(&repository.join(rel), bytes)?;
        site.report.line_with_time(&format!("[offsite] put back {}", repository.join(rel).display()));
    }
    Ok(lost.len())
}

/// The copies, by the paths that they have in a repository.
fn copies(store: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, Error> {
    let folder = store.join(FOLDER).join(KEPT);
    let mut names = vec![PathBuf::from(CONFIG)];
    // Where it cannot be read there are none.
    for entry in std::fs::read_dir(folder.join(KEYS)).into_iter().flatten() {
        let entry = entry.map_err(failed("list the copies of the key files"))?;
        names.push(Path::new(KEYS).join(entry.file_name()));
    }
    let read = |rel: PathBuf| match fs::read_own(store, &Path::new(FOLDER).join(KEPT).join(&rel), BYTES_MAX) {
        Ok(bytes) => Ok(bytes.map(|bytes| (rel, bytes))),
        Err(error) => Err(error.into()),
    };
    names.into_iter().filter_map(|rel| read(rel).transpose()).collect()
}

/// Adds to an error that nothing opens the repository where the copies are and where they belong.
pub(crate) fn with_copies(error: Error, site: &Site<'_>, set_up: &SetUp) -> Error {
    match error.downcast::<Trouble>() {
        Ok(trouble) if set_up.place.directory().is_none() && trouble.kind == Kind::WrongKey => {
            let (copies, repository) = (site.store().join(FOLDER).join(KEPT).join(KEYS), &set_up.state.name);
            let what = format!(
                "{}; if the place lost its key files, put those of {} into the folder {repository}/{KEYS} there",
                trouble.what,
                copies.display()
            );
            Trouble { what, ..*trouble }.into()
        }
        Ok(trouble) => (*trouble).into(),
        Err(error) => error,
    }
}

/// The files of snapshots that cannot be read, relative to the repository: what is in them is lost, and as long as they
/// are there every check fails.
pub(crate) fn unreadable_snapshots(engine: &Engine<'_>, repository: &str) -> Result<Vec<String>, Error> {
    let listed = engine.text(repository, &["list", "snapshots", "--no-lock"])?;
    let read: BTreeSet<String> =
        stored_snapshots(engine, repository)?.into_iter().map(|snapshot| snapshot.id).collect();
    let is_id = |word: &&str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let ids = listed.split_whitespace().filter(is_id).filter(|id| !read.contains(*id));
    Ok(ids.map(|id| format!("{SNAPSHOTS}/{id}")).collect())
}

/// Removes such files, where the repository is a directory of this machine. Gives those that a person has to delete.
pub(crate) fn drop_unreadable(set_up: &SetUp, files: Vec<String>) -> Result<Vec<String>, Error> {
    let Some(place) = set_up.place.directory() else { return Ok(files) };
    for file in &files {
        remove_file(&place.join(&set_up.state.name).join(file))?;
    }
    Ok(Vec::new())
}
