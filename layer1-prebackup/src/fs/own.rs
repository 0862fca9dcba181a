//! Files of ours below a store, by their paths in it. A store may come from anywhere: below its root no link is
//! followed, nothing but a regular file under one name is read or written, and nothing longer than ours can be.

use std::ffi::OsStr;
use std::path::Path;

use rustix::io::Errno;

use super::dir::Dir;
use super::error::{DurableError, Result};

/// All of the file `rel` of a store; `None` where there is nothing. See [`Dir::read_own_file`].
pub fn read_own(store: &Path, rel: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
    let (folder, name) = parts(rel)?;
    match Dir::open(store)? {
        Some(root) => root.open_beneath(folder)?.map_or(Ok(None), |dir| dir.read_own_file(name, bytes_max)),
        None => Ok(None),
    }
}

/// Makes the file `rel` of a store hold exactly `content`, as [`super::replace_file`] does.
pub fn replace_own(store: &Path, rel: &Path, content: &[u8]) -> Result<()> {
    let (folder, name) = parts(rel)?;
    Dir::create(store)?.create_own_beneath(folder)?.replace_file(name, content)
}

/// Unlinks the file `rel` of a store and syncs its folder; true if it was there.
pub(crate) fn remove_own(store: &Path, rel: &Path) -> Result<bool> {
    let (folder, name) = parts(rel)?;
    match Dir::open(store)? {
        Some(root) => root.open_beneath(folder)?.map_or(Ok(false), |dir| dir.remove(name)),
        None => Ok(false),
    }
}

fn parts(rel: &Path) -> Result<(&Path, &OsStr)> {
    let invalid = || DurableError::new("use", rel, Errno::INVAL);
    Ok((rel.parent().ok_or_else(invalid)?, rel.file_name().ok_or_else(invalid)?))
}

#[cfg(test)]
// A test plays the part of whoever plants what is not ours.
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::super::{Lock, platform};
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    const SECRET: &str = "somebody's";

    /// Puts something in a place.
    type Plant = Box<dyn Fn(&Path)>;

    /// Everything that can stand in the place of a file of ours.
    fn planted(outside: &Path) -> Vec<(&'static str, Plant)> {
        let secret = outside.join("secret");
        let linked = secret.clone();
        vec![
            ("a link", Box::new(move |at: &Path| symlink(&secret, at).unwrap()) as Plant),
            ("a link to a device", Box::new(|at: &Path| symlink("/dev/zero", at).unwrap())),
            ("a link to nothing", Box::new(|at: &Path| symlink("nothing", at).unwrap())),
            ("a second name", Box::new(move |at: &Path| fs::hard_link(&linked, at).unwrap())),
            ("a FIFO", Box::new(platform::make_fifo)),
            ("a folder", Box::new(|at: &Path| fs::create_dir(at).unwrap())),
            ("a socket", Box::new(|at: &Path| drop(std::os::unix::net::UnixListener::bind(at).unwrap()))),
            ("a huge file", Box::new(|at: &Path| fs::File::create(at).unwrap().set_len(1 << 40).unwrap())),
        ]
    }

    fn scene(plant: &dyn Fn(&Path), outside: &Path) -> (tempfile::TempDir, PathBuf) {
        let store = tempfile::tempdir().unwrap();
        fs::create_dir(store.path().join(".state")).unwrap();
        fs::write(outside.join("secret"), SECRET).unwrap();
        let at = store.path().join(".state/file");
        plant(&at);
        (store, at)
    }

    #[test]
    fn what_is_no_file_of_ours_is_neither_read_nor_written_and_ours_takes_its_place() {
        let outside = tempfile::tempdir().unwrap();
        let rel = Path::new(".state/file");
        for (what, plant) in planted(outside.path()) {
            let (store, _) = scene(&plant, outside.path());
            match read_own(store.path(), rel, 100) {
                Ok(read) => assert_eq!((what, read.as_deref()), ("a second name", Some(SECRET.as_bytes()))),
                Err(error) => assert!(error.is_not_ours(), "{what}: {error}"),
            }
            replace_own(store.path(), rel, b"ours").unwrap();
            assert_eq!(read_own(store.path(), rel, 100).unwrap().as_deref(), Some(&b"ours"[..]), "{what}");
            assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), SECRET, "{what}");
        }
    }

    #[test]
    fn a_lock_is_taken_whatever_stands_in_its_place() {
        let outside = tempfile::tempdir().unwrap();
        for (what, plant) in planted(outside.path()) {
            let (store, at) = scene(&plant, outside.path());
            let lock = Lock::wait(&at).unwrap_or_else(|error| panic!("{what}: {error}"));
            lock.mark_clean().unwrap();
            assert!(Lock::try_now(&at).unwrap().is_none(), "{what}");
            assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), SECRET, "{what}");
            drop((lock, store));
        }
    }

    #[test]
    fn no_folder_of_a_store_is_a_link() {
        let (store, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("file"), SECRET).unwrap();
        symlink(outside.path(), store.path().join(".log")).unwrap();
        let rel = Path::new(".log/file");
        assert!(read_own(store.path(), rel, 100).unwrap_err().is_not_ours());
        assert!(remove_own(store.path(), rel).unwrap_err().is_not_ours());
        replace_own(store.path(), rel, b"ours").unwrap();
        assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), SECRET);
        assert!(remove_own(store.path(), rel).unwrap());
        // The root is the user's to choose.
        symlink(store.path(), outside.path().join("root")).unwrap();
        replace_own(&outside.path().join("root"), rel, b"ours").unwrap();
        assert_eq!(read_own(store.path(), rel, 4).unwrap().as_deref(), Some(&b"ours"[..]));
    }
}
