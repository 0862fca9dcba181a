//! Room for the stores, and whether one broken disk would take both.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use layer1_prebackup::config::size::Size;
use layer1_prebackup::log::shortcomings_of;

use crate::health::examination::Examination;
use crate::health::figures::DiskStatus;
use crate::health::finding::Kind;

/// Below this a store may not take the next conversation.
const FREE_BYTES_MIN: u64 = 256_000_000;

/// The file systems of the stores, and whether they are one. A store that is not there yet is
/// looked for where it will be made.
pub(super) fn room(examination: &mut Examination<'_>) {
    let places = &examination.context.places;
    let stores = [places.layer1_store.as_path(), &places.layer3_store];
    let there: Vec<&Path> = stores.into_iter().filter(|store| places.away(store).is_none()).collect();
    let (disks, one_disk) = of_stores(&there);
    let one_disk = one_disk && there.len() == stores.len();
    for disk in disks.iter().filter(|disk| is_low(disk)) {
        let (free, total) = (Size(disk.free_bytes), Size(disk.total_bytes));
        examination.found(Kind::DiskLow, format!("only {free} of {total} are free"), &disk.store);
    }
    for store in [&places.layer1_store, &places.layer3_store] {
        for lack in shortcomings_of(store) {
            examination.found(Kind::FileSystem, lack, store);
        }
    }
    examination.figures.disks = disks;
    examination.figures.one_disk = one_disk;
}

fn of_stores(stores: &[&Path]) -> (Vec<DiskStatus>, bool) {
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
    let one_disk = devices.len() == stores.len() && devices.windows(2).all(|pair| pair[0] == pair[1]);
    (disks, one_disk)
}

/// Some file systems tell no sizes at all.
fn is_low(disk: &DiskStatus) -> bool {
    disk.total_bytes > 0 && disk.free_bytes < FREE_BYTES_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_low_below_the_floor() {
        let disk = |free_bytes, total_bytes| DiskStatus { store: "/s".into(), free_bytes, total_bytes };
        assert!(!is_low(&disk(FREE_BYTES_MIN, u64::MAX)) && !is_low(&disk(0, 0)));
        assert!(is_low(&disk(12 << 20, 100 << 30)));
    }

    #[test]
    fn absent_stores_are_asked_about_where_they_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let (disks, one_disk) = of_stores(&[&dir.path().join("a/b"), &dir.path().join("c")]);
        assert!(one_disk && disks.len() == 2 && disks[0].total_bytes > 0, "{disks:?}");
    }
}
