//! What `restic` itself cannot repair: files without which nothing opens a repository, and snapshots that nobody can
//! read. In a directory of this machine that is done here; elsewhere a person is told which files it is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cryptoxide::hashing::sha2::Context256;
use layer1_prebackup::fs::{self, remove_file};
use layer1_prebackup::wire::offsite::{FOLDER, Kind};

use super::engine::Engine;
use super::site::{SMALL_BYTES_MAX, SetUp, Site};
use super::snapshots::{repository_id, stored_snapshots};
use super::trouble::Trouble;
use crate::error::{Error, failed};

/// Where the copies lie, in the folder of the place; laid out as they are in a repository.
const KEPT: &str = "keys";
const CONFIG: &str = "config";
const KEYS: &str = "keys";
const SNAPSHOTS: &str = "snapshots";
/// A repository in which a copy is tried, in [`KEPT`]: that is never sent.
const TRIAL: &str = "trial";
/// Where broken packs are left until everything came back without them, and unreadable snapshots for good; in [`FOLDER`].
pub(crate) const SALVAGE: &str = "salvage";
/// No snapshot's file is longer, in bytes.
const SNAPSHOT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Puts a repository's configuration back from its copy, where it is lost or damaged, and its key files where the key
/// opens nothing: only those that it opens, for one that was taken away is to open nothing any more. Only in a repository
/// that is known to be ours, by its configuration or by a key file: another one is left as it is.
pub(crate) fn put_back(site: &Site<'_>, set_up: &SetUp, engine: &Engine<'_>) -> Result<(), Error> {
    let Some(place) = set_up.place.directory() else { return Ok(()) };
    let repository = place.join(set_up.state.repository_name());
    let copies = copies(site)?;
    let there = |rel: &Path| fs::read_own(&repository, rel, SMALL_BYTES_MAX).unwrap_or_default();
    // A key file is named by its hash, and salted: no other repository has one of this name.
    let is_ours = |(rel, bytes): &(PathBuf, Vec<u8>)| match rel.starts_with(KEYS) {
        true => repository.join(rel).exists(),
        false => there(rel).as_ref() == Some(bytes),
    };
    if !repository.join(SNAPSHOTS).is_dir() || !copies.iter().any(is_ours) {
        return Ok(());
    }
    let lost = copies.iter().filter(|(rel, bytes)| there(rel).as_ref() != Some(bytes));
    let (keys, config): (Vec<_>, Vec<_>) = lost.partition(|(rel, _)| rel.starts_with(KEYS));
    let put = |(rel, bytes): &(PathBuf, Vec<u8>)| -> Result<(), Error> {
        fs::replace_file(&repository.join(rel), bytes)?;
        site.report.line_with_time(&format!("[offsite] put back {}", repository.join(rel).display()));
        Ok(())
    };
    config.into_iter().try_for_each(put)?;
    if keys.is_empty() || opens(engine, &repository)? {
        return Ok(());
    }
    let config = copies.iter().find(|(rel, _)| !rel.starts_with(KEYS));
    for key in keys {
        if is_of_our_key(site, engine, config.into_iter().chain([key]))? {
            put(key)?;
        }
    }
    Ok(())
}

/// Whether the key opens a repository.
fn opens(engine: &Engine<'_>, repository: &Path) -> Result<bool, Error> {
    let repository = repository.to_str().ok_or("open a repository: its path is not UTF-8")?;
    match repository_id(engine, repository).map_err(|error| error.downcast::<Trouble>()) {
        Err(Ok(trouble)) if trouble.kind == Kind::WrongKey || trouble.is_of_content => Ok(false),
        Err(Ok(trouble)) => Err(trouble),
        Err(Err(error)) => Err(error),
        Ok(_) => Ok(true),
    }
}

/// Whether the key opens a repository of these files alone: a configuration and a key file.
fn is_of_our_key<'c>(
    site: &Site<'_>,
    engine: &Engine<'_>,
    files: impl Iterator<Item = &'c (PathBuf, Vec<u8>)>,
) -> Result<bool, Error> {
    let trial = site.folder.join(KEPT).join(TRIAL);
    let files: Vec<_> = files.map(|(rel, bytes)| (trial.join(rel), bytes)).collect();
    for (rel, bytes) in &files {
        fs::replace_own(site.store(), rel, bytes)?;
    }
    let opens = opens(engine, &site.store().join(trial));
    for (rel, _) in &files {
        remove_file(&site.store().join(rel))?;
    }
    opens
}

/// The copies, by the paths that they have in a repository.
fn copies(site: &Site<'_>) -> Result<Vec<(PathBuf, Vec<u8>)>, Error> {
    let kept = site.folder.join(KEPT);
    let folder = site.store().join(&kept);
    let mut names = vec![PathBuf::from(CONFIG)];
    // Where it cannot be read there are none.
    for entry in std::fs::read_dir(folder.join(KEYS)).into_iter().flatten() {
        let entry = entry.map_err(failed("list the copies of the key files"))?;
        names.push(Path::new(KEYS).join(entry.file_name()));
    }
    let read = |rel: PathBuf| match fs::read_own(site.store(), &kept.join(&rel), SMALL_BYTES_MAX) {
        Ok(bytes) => Ok(bytes.map(|bytes| (rel, bytes))),
        Err(error) => Err(error.into()),
    };
    names.into_iter().filter_map(|rel| read(rel).transpose()).collect()
}

/// Adds to an error that nothing opens the repository where the copies are and where they belong.
pub(crate) fn with_copies(error: Error, site: &Site<'_>, set_up: &SetUp) -> Error {
    match error.downcast::<Trouble>() {
        Ok(trouble) if set_up.place.directory().is_none() && trouble.kind == Kind::WrongKey => {
            let (copies, repository) =
                (site.store().join(site.folder).join(KEPT).join(KEYS), set_up.state.repository_name());
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

/// The files of snapshots that nobody can read, relative to the repository: what is in them is lost, and as long as they
/// are there every check fails.
pub(crate) fn unreadable_snapshots(
    set_up: &SetUp,
    engine: &Engine<'_>,
    repository: &str,
) -> Result<Vec<String>, Error> {
    let listed = engine.text(repository, &["list", "snapshots", "--no-lock"])?;
    let read: BTreeSet<String> =
        stored_snapshots(engine, repository)?.into_iter().map(|snapshot| snapshot.id).collect();
    let is_id = |word: &&str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let ids = listed.split_whitespace().filter(is_id).filter(|id| !read.contains(*id));
    let files: Vec<String> = ids.map(|id| format!("{SNAPSHOTS}/{id}")).collect();
    for file in &files {
        // Its name is the hash of what is in it: where that is so, or it cannot be read just now, it is not damaged.
        let Some(bytes) = read_file(set_up, file)? else { continue };
        if is_whole(file, &bytes) {
            let what = format!("restic could not read {file}, which is whole; nothing was taken out, try again");
            return Err(Trouble::new(Kind::OffsiteFailed, what).into());
        }
    }
    Ok(files)
}

/// Whether these are the bytes of a file of a repository: `restic` names most of them by their SHA-256.
pub(crate) fn is_whole(path: &str, bytes: &[u8]) -> bool {
    let hash = Context256::new().update(bytes).finalize();
    path.ends_with(&hash.iter().fold(String::new(), |hash, byte| format!("{hash}{byte:02x}")))
}

/// A file of the repository, where that is a directory of this machine, and it is there.
fn read_file(set_up: &SetUp, file: &str) -> Result<Option<Vec<u8>>, Error> {
    let Some(place) = set_up.place.directory() else { return Ok(None) };
    let read = fs::read_own(&place.join(set_up.state.repository_name()), Path::new(file), SNAPSHOT_BYTES_MAX);
    read.map_err(|error| {
        let what = format!("{file} cannot be read now, so nothing was taken out: {error}");
        Trouble::new(Kind::OffsiteFailed, what).into()
    })
}

/// Moves such files into [`SALVAGE`], where the repository is a directory of this machine. Gives those that a person has
/// to delete.
pub(crate) fn set_aside(site: &Site<'_>, set_up: &SetUp, files: Vec<String>) -> Result<Vec<String>, Error> {
    let Some(place) = set_up.place.directory() else { return Ok(files) };
    for file in &files {
        if let Some(bytes) = read_file(set_up, file)? {
            fs::replace_own(site.store(), &Path::new(FOLDER).join(SALVAGE).join(file), &bytes)?;
            remove_file(&place.join(set_up.state.repository_name()).join(file))?;
        }
    }
    Ok(Vec::new())
}
