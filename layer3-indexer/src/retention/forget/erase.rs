//! Removing all that the stores hold of one id, and the id from the logs.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::path::Path;

use layer1_prebackup::archive::{Archive, Seen, SessionKey};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs::{empty_dir, read_own, remove_file, replace_own, sync_data, write_at};
use layer1_prebackup::names::{ProjectName, SessionId};
use layer1_prebackup::wire::offsite::{
    DRILLS, DRILLS_BYTES_MAX, FETCHED, FOLDER, PEERS, ROTATING, SEALS, State, folders,
};
use memchr::memmem;

use crate::failure::{Context, Failure};
use crate::retention::pending_delivery::{forget_all_jobs, is_there};
use crate::save;
use crate::stores::{Stores, acknowledged, loss};

/// Where repairs put what they replaced.
const DAMAGED: &str = ".state/damaged";
/// Where turns without a transcript wait.
const JOURNALS: &str = ".state/journal";
/// Of a conversation of which no folder is known.
const NO_PROJECT: &str = "unknown";

/// Removes it from both stores, and what layer 2 has of it. Can be taken twice.
pub(super) fn erase(places: &Places, stores: &Stores, id: &SessionId) -> Result<(), Failure> {
    if let Some(archive) = &stores.layer1 {
        for key in keys_of(archive, id)? {
            archive.forget_session::<Failure, ()>(&key, || Ok(()))?;
        }
    }
    for archive in stores.layer1.iter().chain(&stores.layer3) {
        archive.remove_labels(id)?;
    }
    forget_all_jobs(places, id)?;
    Seen::forget(&places.layer1_store).context("delete what was seen of the stores")?;
    erase_of_place(places, id)?;
    let Some(archive) = &stores.layer3 else { return Ok(()) };
    for key in keys_of(archive, id)? {
        archive.forget_session::<Failure, _>(&key, || {
            // Held until the last file is gone: a save that is still under way writes no metadata meanwhile.
            let metadata = save::lock_metadata(archive)?;
            loss::forget(archive, &key)?;
            acknowledged::forget(archive, &key)?;
            Ok(metadata)
        })?;
    }
    Ok(())
}

/// Removes what is kept here of an id for the third place, and for further ones: the seals, which the next push writes anew, what is noted of how
/// it came back, and what was fetched and pulled of computers that have it too, which comes again without it.
fn erase_of_place(places: &Places, id: &SessionId) -> Result<(), Failure> {
    for folder in folders(&places.layer1_store) {
        for folder in [folder.join(ROTATING), folder] {
            erase_in(places, &folder, id)?;
        }
    }
    drop_copies_of_others(places, &|host| bears(host, id.as_str()))
}

/// The same of what is known of one place, by its folder in the store.
fn erase_in(places: &Places, folder: &Path, id: &SessionId) -> Result<(), Failure> {
    for seal in SEALS.map(|name| places.layer1_store.join(folder).join(name)) {
        remove_file(&seal).context(format_args!("delete {}", seal.display()))?;
    }
    let drills = folder.join(DRILLS);
    let known = read_own(&places.layer1_store, &drills, DRILLS_BYTES_MAX).context("read what came back")?;
    if let Some(known) = known {
        let of_others = |line: &&[u8]| memmem::find(line, id.as_str().as_bytes()).is_none();
        let kept: Vec<&[u8]> = known.split_inclusive(|byte| *byte == b'\n').filter(of_others).collect();
        replace_own(&places.layer1_store, &drills, &kept.concat()).context("write what came back")?;
    }
    // What cannot be read is told by `status`, and what is in it still by the check.
    if let Ok(Some(mut state)) = State::read_in(&places.layer1_store, folder)
        && state.forget(id.as_str())
    {
        state.write(&places.layer1_store).context("write the state of the third place")?;
    }
    Ok(())
}

/// Removes what was fetched and pulled of the computers that are meant, by the folder of each.
pub(super) fn drop_copies_of_others(places: &Places, is_meant: &dyn Fn(&Path) -> bool) -> Result<(), Failure> {
    for kind in [FETCHED, PEERS] {
        let folder = places.layer1_store.join(FOLDER).join(kind);
        for host in names_in(&folder)?.into_iter().map(|host| folder.join(host)).filter(|host| is_meant(host)) {
            empty_dir(&host).context(format_args!("empty {}", host.display()))?;
        }
    }
    Ok(())
}

/// Whether a name below a folder begins so.
fn bears(folder: &Path, beginning: &str) -> bool {
    let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.any(|entry| {
        entry.file_name().to_string_lossy().starts_with(beginning)
            || entry.file_type().is_ok_and(|kind| kind.is_dir()) && bears(&entry.path(), beginning)
    })
}

/// The sessions of an id in a store, with those of which only something beside a transcript is there.
pub(super) fn keys_of(archive: &Archive, id: &SessionId) -> Result<BTreeSet<SessionKey>, Failure> {
    let mut keys: BTreeSet<SessionKey> = archive.sessions()?.into_iter().filter(|key| key.id == *id).collect();
    for top in [archive.root().to_owned(), archive.root().join(DAMAGED)] {
        for project in names_in(&top)? {
            let Ok(named) = ProjectName::parse(&project) else { continue };
            let begins = |name: &String| name.strip_prefix(id.as_str()).is_some_and(|rest| rest.starts_with('.'));
            if top.join(&project).is_dir() && names_in(&top.join(&project))?.iter().any(begins) {
                keys.insert(SessionKey { project: named, id: id.clone() });
            }
        }
    }
    if keys.is_empty() && is_there(&archive.root().join(JOURNALS).join(format!("{id}.jsonl")))? {
        keys.extend(SessionKey::parse(NO_PROJECT, id.as_str()).ok());
    }
    Ok(keys)
}

fn names_in(folder: &Path) -> Result<Vec<String>, Failure> {
    if !is_there(folder)? {
        return Ok(Vec::new());
    }
    let reading = || format!("list {}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).context(reading())? {
        // Names that are no text are not ours.
        names.extend(entry.context(reading())?.file_name().into_string().ok());
    }
    Ok(names)
}

/// Writes as many `x` over each of these texts in the logs of both stores. In place: whoever has a log open goes on in it.
/// A folder that is a link leads to what is not ours, and is left alone; gives what to know of that.
pub(super) fn scrub_logs(places: &Places, texts: &[Vec<u8>]) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    for store in [&places.layer1_store, &places.layer3_store] {
        let folder = store.join(".log");
        if folder.is_symlink() {
            notes.push(format!("{} is a link; the logs that it leads to were not changed", folder.display()));
            continue;
        }
        for name in names_in(&folder)? {
            let path = folder.join(name);
            if path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
                scrub(&path, texts)?;
            }
        }
    }
    Ok(notes)
}

fn scrub(path: &Path, texts: &[Vec<u8>]) -> Result<(), Failure> {
    let log = fs::read(path).context(format_args!("read {}", path.display()))?;
    let file = OpenOptions::new().write(true).open(path).context(format_args!("open {}", path.display()))?;
    let mut is_changed = false;
    for text in texts.iter().filter(|text| !text.is_empty()) {
        for at in memmem::find_iter(&log, text) {
            write_at(&file, at as u64, &vec![b'x'; text.len()], path)?;
            is_changed = true;
        }
    }
    if is_changed {
        sync_data(&file, path)?;
    }
    Ok(())
}
