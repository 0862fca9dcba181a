//! Records made anew from the contents as they stand, where the bookkeeping is lost or says nothing of them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;

use rustix::fs::FileType;

use super::ledger::{Ledger, Record, WINDOW_BYTES, Windows};
use super::paths::{content_name, is_side_folder_of, project_folder};
use super::slot::Slot;
use super::store::Archive;
use super::tree_hash::TreeHasher;
use super::types::{ArchiveError, SessionKey, Verification};
use crate::fs;
use crate::names::{FileName, StoredName, is_a_copy};

/// Fills `ledger` in memory with an unverified record for each content on the disk that has none,
/// and marks the records that there are as unverified.
pub(super) fn rebuild(archive: &Archive, key: &SessionKey, ledger: &mut Ledger) -> Result<(), ArchiveError> {
    ledger.distrust_all();
    for name in unrecorded(archive, key, ledger)? {
        let slot = archive.slot(key, &name);
        match record_of_slot(slot, Verification::Unverified) {
            Ok(record) => ledger.insert_unwritten(name, record),
            // It must not keep the others from being read and the source from being saved; `verify` names it.
            Err(error) if slot.is_unreadable(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The contents of a session on the disk of which the ledger says nothing, without those that another program made of
/// a recorded one ([`is_a_copy`]). Of a damaged ledger nobody knows what it said, so there any of them may be ours.
pub(super) fn unrecorded(
    archive: &Archive,
    key: &SessionKey,
    ledger: &Ledger,
) -> Result<Vec<StoredName>, ArchiveError> {
    let mut names = contents_on_disk(archive, key)?;
    names.retain(|name| ledger.record(name).is_none() && !ledger.is_pruned(name));
    if names.is_empty() || ledger.is_damaged {
        return Ok(names);
    }
    let recorded: BTreeSet<&StoredName> = ledger.records().map(|(name, _)| name).collect();
    names.retain(|name| !is_anothers_copy(name, &recorded));
    Ok(names)
}

/// Whether it is a side file that another program made of a recorded one beside it.
fn is_anothers_copy(name: &StoredName, recorded: &BTreeSet<&StoredName>) -> bool {
    let FileName::Side(rel) = &name.file else { return false };
    let Some(last) = rel.file_name().and_then(OsStr::to_str) else { return false };
    is_a_copy(last, &|other| {
        let file = FileName::Side(rel.with_file_name(other));
        recorded.contains(&StoredName { file, generation: name.generation })
    })
}

/// Every content of a session that lies in the store, whether recorded or not.
pub(super) fn contents_on_disk(archive: &Archive, key: &SessionKey) -> Result<Vec<StoredName>, ArchiveError> {
    let Some(project) = archive.root.open_beneath(project_folder(key))? else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for (entry, kind) in archive.listings.entries_of(&project, key)? {
        let text = entry.to_string_lossy();
        match kind {
            FileType::RegularFile => names.extend(content_name(&key.id, &text)),
            FileType::Directory if is_side_folder_of(&key.id, &text) => {
                project.walk(Path::new(&entry), &mut |_, rel, kind| {
                    if rel.file_name().is_some_and(fs::was_put_aside) {
                        return Ok(false);
                    }
                    if kind == FileType::RegularFile {
                        names.extend(StoredName::parse(&key.id, &crate::names::escaped(rel.as_os_str())));
                    }
                    Ok(true)
                })?
            }
            _ => {}
        }
    }
    names.sort();
    // One that a killed run was compressing lies there in both forms.
    names.dedup();
    Ok(names)
}

/// The record of a content as it stands, from two readings that agree: a byte that was once read
/// wrongly must not become what is believed of it.
pub(super) fn record_of_slot(slot: Slot<'_>, verification: Verification) -> Result<Record, ArchiveError> {
    let first = record_once(slot, verification)?;
    let second = record_once(slot, verification)?;
    if (first.bytes, first.blake3, &first.windows) != (second.bytes, second.blake3, &second.windows) {
        return Err(ArchiveError::damaged(slot.path(), "two readings of it differ; the next run tries again"));
    }
    Ok(second)
}

fn record_once(slot: Slot<'_>, verification: Verification) -> Result<Record, ArchiveError> {
    let path = slot.path();
    let file = slot.open()?;
    let bytes = fs::stat_of(&file, &path)?.st_size as u64;
    let mut tree = TreeHasher::default();
    feed(&mut tree, &file, 0, bytes, &path, &mut |_| {})?;
    let compressed = slot.described(&tree.root())?;
    Ok(Record { compressed, ..Record::of(&tree, windows_of(&file, bytes, &path)?, None, verification) })
}

/// Hashes `from..to` of a file into `tree`; an error if the file ends before.
pub(super) fn feed(
    tree: &mut TreeHasher,
    file: &File,
    from: u64,
    to: u64,
    path: &Path,
    each: &mut dyn FnMut(&[u8]),
) -> Result<(), ArchiveError> {
    let mut buffer = vec![0; fs::COPY_BYTES.min((to - from).max(1) as usize)];
    let mut offset = from;
    while offset < to {
        let want = buffer.len().min((to - offset) as usize);
        let came = fs::read_at(file, offset, &mut buffer[..want], path)?;
        if came < want {
            return Err(ArchiveError::Shrank { path: path.to_owned() });
        }
        tree.update(&buffer[..want]);
        each(&buffer[..want]);
        offset += want as u64;
    }
    Ok(())
}

/// Hashes of the first and the last [`WINDOW_BYTES`] of the first `bytes` bytes of a file.
pub(super) fn windows_of(file: &File, bytes: u64, path: &Path) -> Result<Windows, ArchiveError> {
    let length = bytes.min(WINDOW_BYTES);
    let mut buffer = vec![0; length as usize];
    let mut window = |offset| -> Result<String, ArchiveError> {
        let came = fs::read_at(file, offset, &mut buffer, path)?;
        if came < buffer.len() {
            return Err(ArchiveError::Shrank { path: path.to_owned() });
        }
        Ok(blake3::hash(&buffer[..came]).to_hex()[..16].to_owned())
    };
    let head = window(0)?;
    let tail = if bytes <= WINDOW_BYTES { head.clone() } else { window(bytes - length)? };
    Ok(Windows { head, tail })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|n| (n / 3 % 251) as u8).collect()
    }

    #[test]
    fn the_windows_are_the_first_and_the_last_bytes() {
        let window = WINDOW_BYTES as usize;
        for count in [0, 1, window - 1, window, window + 1, 3 * window] {
            // More may follow that is not theirs.
            let (all, path) = (bytes(count + 10), Path::new("x"));
            let windows = windows_of(&file_of(&all), count as u64, path).unwrap();
            let short = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..16].to_owned();
            let length = window.min(count);
            let expected = Windows { head: short(&all[..length]), tail: short(&all[count - length..count]) };
            assert_eq!(windows, expected, "{count}");
        }
    }

    #[test]
    fn a_file_that_ends_before_was_cut_off_meanwhile() {
        let path = Path::new("x");
        for (count, asked) in [(0, 1), (9, 10), (5000, 5001), (fs::COPY_BYTES, 2 * fs::COPY_BYTES)] {
            let file = file_of(&bytes(count));
            let windows = windows_of(&file, asked as u64, path);
            assert!(matches!(windows, Err(ArchiveError::Shrank { .. })), "{count} {windows:?}");
            let mut tree = TreeHasher::default();
            let fed = feed(&mut tree, &file, 0, asked as u64, path, &mut |_| {});
            assert!(matches!(fed, Err(ArchiveError::Shrank { .. })), "{count} {fed:?}");
        }
    }

    #[test]
    fn a_range_is_hashed_on_from_where_it_begins() {
        let all = bytes(2 * fs::COPY_BYTES + 100);
        let (file, path) = (file_of(&all), Path::new("x"));
        let (mut tree, mut seen) = (TreeHasher::default(), Vec::new());
        for (from, to) in [(0, 0), (0, 10), (10, 10 + fs::COPY_BYTES), (10 + fs::COPY_BYTES, all.len())] {
            feed(&mut tree, &file, from as u64, to as u64, path, &mut |bytes| seen.extend_from_slice(bytes)).unwrap();
            assert_eq!(tree.root(), blake3::hash(&all[..to]));
            assert!(seen == all[..to], "{from}..{to}");
        }
    }
}
