//! Whether a store is on a disk that is not there. Where a disk was, its mount point is left, empty; a store that is made
//! there is made on another disk, and hides behind the one that is meant as soon as that is back.
//!
//! Of a store that does not lie on the disk of the home directory a note is kept in the home: its id, and its file
//! system's. Who finds neither a store of that id in its place nor that file system has lost the disk, not the store.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::claude::transcripts::open_regular;
use crate::fs::{self, DurableError, platform::disk};

/// Below the home: one file a store.
const FOLDER: &str = ".local/state/threefold/disks";
const NAME_DIGITS: usize = 16;
/// What says in a store which one it is.
const STORE_FILE: &str = ".state/store.json";
/// Longer than either file is ever made.
const BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    store: String,
    store_id: String,
    file_system: u64,
}

#[derive(Deserialize)]
struct StoreFile {
    store_id: String,
}

/// Why there is no store in its place, where its disk is not there.
pub(crate) fn away(home: &Path, store: &Path) -> Option<String> {
    let path = note_path(home, store);
    let note: Note = read(&path)?;
    if id_of(store).is_some_and(|id| id == note.store_id) {
        return None;
    }
    let nearest = store.ancestors().find(|folder| folder.is_dir())?;
    let is_its_disk = disk::file_system(nearest).is_ok_and(|id| id == note.file_system) && !is_one(home, nearest);
    (!is_its_disk).then(|| {
        format!(
            "its disk is not there; connect it, and everything goes on (to begin a new store on another disk, delete {})",
            path.display()
        )
    })
}

/// Notes on which disk a store lies, that was opened to be written.
pub(crate) fn note(home: &Path, store: &Path) -> Result<(), DurableError> {
    let path = note_path(home, store);
    if is_one(home, store) {
        // It was moved here.
        return if path.exists() { fs::remove_file(&path).map(|_| ()) } else { Ok(()) };
    }
    let (Some(store_id), Ok(file_system)) = (id_of(store), disk::file_system(store)) else { return Ok(()) };
    let note = Note { store: store.to_string_lossy().into_owned(), store_id, file_system };
    if read(&path).is_some_and(|kept: Note| kept == note) {
        return Ok(());
    }
    let text = serde_json::to_string(&note).expect("plain fields always serialise") + "\n";
    fs::replace_file(&path, text.as_bytes())
}

fn note_path(home: &Path, store: &Path) -> PathBuf {
    let digits = blake3::hash(store.as_os_str().as_encoded_bytes()).to_hex();
    home.join(FOLDER).join(&digits[..NAME_DIGITS])
}

fn id_of(store: &Path) -> Option<String> {
    read(&store.join(STORE_FILE)).map(|StoreFile { store_id }| store_id)
}

/// What cannot be read says nothing; whoever needs the store tells what is wrong with it.
fn read<T: for<'d> Deserialize<'d>>(path: &Path) -> Option<T> {
    let file = open_regular(path).ok().flatten()?;
    serde_json::from_slice(&fs::read_bounded(&file, BYTES_MAX, path).ok()?).ok()
}

/// Whether two directories lie on one disk. One that cannot be looked at lies on none.
fn is_one(a: &Path, b: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev()).ok();
    device(a).is_some_and(|of_a| device(b) == Some(of_a))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    /// A directory on another disk than `home`, where there is one.
    fn elsewhere(home: &Path) -> Option<tempfile::TempDir> {
        let dir = tempfile::tempdir_in("/dev/shm").ok()?;
        (!is_one(home, dir.path())).then_some(dir)
    }

    fn make_store(store: &Path, id: &str) {
        fs::replace_file(&store.join(STORE_FILE), format!("{{\"format\":1,\"store_id\":\"{id}\"}}").as_bytes())
            .unwrap();
    }

    #[test]
    fn a_store_on_the_disk_of_the_home_leaves_no_note_and_is_never_away() {
        let home = tempfile::tempdir().unwrap();
        let store = home.path().join("store");
        make_store(&store, "a");
        note(home.path(), &store).unwrap();
        assert!(!home.path().join(".local").exists());
        std::fs::remove_dir_all(&store).unwrap();
        assert_eq!(away(home.path(), &store), None);
    }

    /// What may stand in the place of the store or of its mount point, and whether the disk is away then. The disk is
    /// reached through a link here, which is led elsewhere to take it away.
    #[test]
    fn a_store_is_away_with_its_disk_whatever_stands_in_its_place() {
        let home = tempfile::tempdir().unwrap();
        let Some(disk) = elsewhere(home.path()) else { return };
        let mount = home.path().join("mnt");
        let store = mount.join("claude");
        std::os::unix::fs::symlink(disk.path(), &mount).unwrap();
        make_store(&store, "a");
        assert_eq!(away(home.path(), &store), None, "it was never noted");
        note(home.path(), &store).unwrap();
        assert_eq!(away(home.path(), &store), None);
        let other = home.path().join("other");
        std::fs::create_dir(&other).unwrap();
        let is_away = || away(home.path(), &store).is_some_and(|why| why.contains("its disk is not there"));
        let stands: [(&str, &dyn Fn()); 6] = [
            ("nothing", &|| {}),
            ("an empty directory", &|| std::fs::create_dir(&mount).unwrap()),
            ("a file", &|| std::fs::write(&mount, "").unwrap()),
            ("a link", &|| std::os::unix::fs::symlink(&other, &mount).unwrap()),
            ("a broken link", &|| std::os::unix::fs::symlink("/nowhere", &mount).unwrap()),
            ("another store", &|| make_store(&store, "b")),
        ];
        let clear = || {
            if mount.is_symlink() || mount.is_file() {
                std::fs::remove_file(&mount).unwrap();
            } else if mount.is_dir() {
                std::fs::remove_dir_all(&mount).unwrap();
            }
        };
        for (what, stand) in stands {
            clear();
            stand();
            assert!(is_away(), "{what}");
        }
        clear();
        std::os::unix::fs::symlink(disk.path(), &mount).unwrap();
        assert!(!is_away(), "the disk is back");
        std::fs::remove_dir_all(&store).unwrap();
        assert!(!is_away(), "the disk is there, and the store was removed from it");
        clear();
        make_store(&store, "a");
        assert!(!is_away(), "it was moved to another disk");
        note(home.path(), &store).unwrap();
        std::fs::remove_dir_all(&store).unwrap();
        assert!(!is_away(), "it was removed from there");
    }
}
