//! What a file system says of itself: room, and its name.

use std::io;
use std::path::Path;

/// Room of a file system, in bytes. Some tell no sizes at all: then both are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What this user may still write.
    pub free: u64,
    /// Its size.
    pub total: u64,
}

/// The room of the file system that `path` lies on.
pub fn room(path: &Path) -> io::Result<Room> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(Room { free: disk.f_bavail.saturating_mul(disk.f_frsize), total: disk.f_blocks.saturating_mul(disk.f_frsize) })
}

/// A number that tells the file system that `path` lies on from others, and stays the same while it is mounted.
pub(crate) fn file_system(path: &Path) -> io::Result<u64> {
    Ok(rustix::fs::statvfs(path)?.f_fsid)
}

/// The name of the file system that `path` lies on, as people call it.
pub fn kind(path: &Path) -> String {
    rustix::fs::statfs(path).map_or_else(|_| UNKNOWN.to_owned(), |found| name_of(&found))
}

const UNKNOWN: &str = "unknown file system";

#[cfg(target_os = "linux")]
fn name_of(found: &rustix::fs::StatFs) -> String {
    // From linux/magic.h; each file system of today has a number of its own there.
    let name = match found.f_type as u32 {
        0xef53 => "ext4",
        0x9123_683e => "btrfs",
        0x5846_5342 => "xfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0xca45_1a4e => "bcachefs",
        0x0102_1994 => "tmpfs (emptied by a restart)",
        0x794c_7630 => "overlay",
        0xf15f => "ecryptfs",
        0x6969 => "nfs",
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => "smb",
        0x0102_1997 => "9p",
        0x6573_5546 => "fuse",
        0x4d44 => "fat",
        0x2011_bab0 => "exfat",
        0x7366_746e | 0x5346_544e => "ntfs",
        other => return format!("file system {other:#x}"),
    };
    name.to_owned()
}

#[cfg(target_vendor = "apple")]
fn name_of(found: &rustix::fs::StatFs) -> String {
    found.f_fstypename.iter().take_while(|c| **c != 0).map(|c| char::from(*c as u8)).collect()
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn name_of(_found: &rustix::fs::StatFs) -> String {
    UNKNOWN.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_room_and_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).unwrap();
        assert!(room.total > 0 && room.free <= room.total, "{room:?}");
        assert!(!kind(dir.path()).is_empty());
        assert!(super::room(Path::new("/no/such/place")).is_err());
        assert_eq!(kind(Path::new("/no/such/place")), UNKNOWN);
    }
}
