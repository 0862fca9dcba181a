//! Messages that hold a text go from the contents of both stores, and the text from whatever else lies there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use layer1_prebackup::archive::{Archive, Compare, Needle, SaveRequest, SessionKey};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs::{Lock, remove_file, replace_file};
use layer1_prebackup::log::now_ms;

use super::erase::keys_of;
use super::types::Item;
use crate::failure::{Context, Failure};
use crate::retention::pending_delivery::forget_all_jobs;
use crate::stores::{Stores, loss};

/// What is made again, or was set aside.
const GOES: [&str; 5] = [".state/damaged", ".state/losses", ".state/complaints", ".state/seen", ".outbox"];
/// Turns without a transcript.
const JOURNALS: &str = ".state/journal";
const PUBLISHED: &str = ".events.jsonl";

/// Replaces what is marked of one conversation in both stores. Can be taken twice.
pub(super) fn rewrite(places: &Places, stores: &Stores, item: &Item) -> Result<(), Failure> {
    for archive in stores.layer1.iter().chain(&stores.layer3) {
        for key in keys_of(archive, &item.id)? {
            archive.redact(&key)?;
            save_again(places, archive, &key)?;
        }
    }
    if let (Some(archive), false) = (&stores.layer3, item.is_memory) {
        for key in keys_of(archive, &item.id)? {
            loss::forget(archive, &key)?;
        }
        // They speak of the contents that were; the next start of Claude Code makes them again.
        forget_all_jobs(places, &item.id)?;
    }
    Ok(())
}

/// The copy is now as long as what is to be kept of its source: recorded, so that it is not called behind.
fn save_again(places: &Places, archive: &Archive, key: &SessionKey) -> Result<(), Failure> {
    let Some(source) = archive.source_of(key)? else { return Ok(()) };
    let is_ours = [&places.layer1_store, &places.layer3_store].iter().any(|store| source.starts_with(store));
    if is_ours || source.symlink_metadata().is_err() || places.policy.exclude.is_excluded(&source, None) {
        return Ok(());
    }
    let (id, transcript, project, progress) = (&key.id, &*source, Some(&key.project), &|_| {});
    archive.save(&SaveRequest { id, transcript, project, cwd: None, compare: Compare::Whole, progress })?;
    Ok(())
}

/// Removes the text from what the user calls conversations.
pub(super) fn clear_labels(stores: &Stores, needle: &Needle) -> Result<(), Failure> {
    for archive in stores.layer1.iter().chain(&stores.layer3) {
        for (id, labels) in archive.all_labels()? {
            // What cannot be read is removed if it holds the text.
            let Ok(mut labels) = labels else { continue };
            if labels.remove_texts(|text| needle.is_in(text.as_bytes()), now_ms()) {
                archive.replace_labels(&id, &labels)?;
            }
        }
    }
    Ok(())
}

/// Removes the text from files that are no contents: what can be made again goes, of what waits the lines that hold it.
/// A file that is nobody's stays, and is named.
pub(super) fn clear_others(
    places: &Places,
    stores: &Stores,
    needle: &Needle,
    holding: &[PathBuf],
) -> Result<(), Failure> {
    let metadata: BTreeSet<PathBuf> =
        stores.sessions()?.iter().map(|key| Path::new(key.project.as_str()).join(format!("{}.json", key.id))).collect();
    for store in [&places.layer1_store, &places.layer3_store] {
        for (path, rel) in holding.iter().filter_map(|path| Some((path, path.strip_prefix(store).ok()?))) {
            let rel = rel.strip_prefix(".memory").unwrap_or(rel);
            let name = rel.to_string_lossy();
            if GOES.iter().any(|folder| rel.starts_with(folder))
                || metadata.contains(rel)
                || Archive::labels_of_path(rel).is_some()
            {
                remove_file(path)?;
            } else if rel.starts_with(JOURNALS) || name.ends_with(PUBLISHED) {
                // Where there is one, there is its folder.
                let _lock = Lock::wait(&store.join(JOURNALS).join("lock"))?;
                without_lines(path, needle)?;
            }
        }
    }
    Ok(())
}

fn without_lines(path: &Path, needle: &Needle) -> Result<(), Failure> {
    let bytes = fs::read(path).context(format_args!("read {}", path.display()))?;
    let kept: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| !needle.is_in(line)).collect();
    Ok(replace_file(path, &kept.concat())?)
}
