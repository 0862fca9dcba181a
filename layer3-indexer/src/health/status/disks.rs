//! Room for the stores, and whether one broken disk would take both.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Finding;
use crate::terminal;

/// Below this a store may not take the next conversation.
const FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;

/// The file system of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DiskStatus {
    /// The store.
    pub(crate) store: PathBuf,
    /// Bytes that this user may still write.
    pub(crate) free_bytes: u64,
    /// Its size.
    pub(crate) total_bytes: u64,
}

/// The file systems of the stores, and whether they are one. A store that is not there yet is
/// looked for where it will be made.
pub(super) fn look(stores: &[&Path], findings: &mut Vec<Finding>) -> (Vec<DiskStatus>, bool) {
    let mut disks = Vec::new();
    let mut devices = Vec::new();
    for store in stores {
        let existing = store.ancestors().find_map(|path| Some((path, path.metadata().ok()?)));
        let Some((path, meta)) = existing else { continue };
        devices.push(meta.dev());
        // A file system that cannot be asked is not said to be full.
        let Ok(room) = layer1_prebackup::fs::platform::disk::room(path) else { continue };
        disks.push(DiskStatus { store: store.to_path_buf(), free_bytes: room.free, total_bytes: room.total });
    }
    findings.extend(disks.iter().filter_map(too_full));
    let one_disk = devices.len() == stores.len() && devices.windows(2).all(|pair| pair[0] == pair[1]);
    (disks, one_disk)
}

fn too_full(disk: &DiskStatus) -> Option<Finding> {
    // Some file systems tell no sizes at all.
    if disk.total_bytes == 0 || disk.free_bytes >= FREE_BYTES_MIN {
        return None;
    }
    let what = format!("only {} of {} are free", terminal::size(disk.free_bytes), terminal::size(disk.total_bytes));
    let mend = format!("df -h {}", terminal::shell_quoted(&disk.store.to_string_lossy()));
    Some(Finding::new("disk-low", true, what, &disk.store).mend(mend))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_low_below_the_floor() {
        let disk = |free_bytes, total_bytes| DiskStatus { store: "/s".into(), free_bytes, total_bytes };
        assert_eq!(too_full(&disk(FREE_BYTES_MIN, u64::MAX)), None);
        assert_eq!(too_full(&disk(0, 0)), None);
        let found = too_full(&disk(12 << 20, 100 << 30)).unwrap();
        assert_eq!((found.kind, found.needs_person), ("disk-low", true));
        assert_eq!((found.what.as_str(), found.mend.as_deref()), ("only 12 MB of 100 GB are free", Some("df -h /s")));
    }

    #[test]
    fn absent_stores_are_asked_about_where_they_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let (disks, one_disk) = look(&[&dir.path().join("a/b"), &dir.path().join("c")], &mut Vec::new());
        assert!(one_disk && disks.len() == 2 && disks[0].total_bytes > 0, "{disks:?}");
    }
}
