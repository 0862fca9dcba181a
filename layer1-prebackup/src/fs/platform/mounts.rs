//! What is mounted where: a folder that is mounted elsewhere too (a bind mount) has two paths, and going up from one leads
//! nowhere near the other.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Where a directory lies on its file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OnDisk {
    disk: String,
    path: PathBuf,
}

impl OnDisk {
    /// Whether it is the other one, or lies in it.
    pub(crate) fn is_within(&self, other: &OnDisk) -> bool {
        self.disk == other.disk && self.path.starts_with(&other.path)
    }
}

/// One mount: its file system, the folder of that, and where it is seen.
#[derive(Debug)]
struct Mount {
    disk: String,
    root: PathBuf,
    point: PathBuf,
}

/// All mounts that this process sees; none where the system does not tell.
#[derive(Debug)]
pub(crate) struct Mounts(Vec<Mount>);

impl Mounts {
    pub(crate) fn now() -> Mounts {
        #[cfg(target_os = "linux")]
        let table = std::fs::read("/proc/self/mountinfo");
        // No other system mounts a folder of one that is mounted already.
        #[cfg(not(target_os = "linux"))]
        let table = Ok::<_, std::io::Error>(Vec::new());
        // Without the table device and inode have to do.
        Mounts::parse(&table.unwrap_or_default())
    }

    /// See proc_pid_mountinfo(5): `36 35 98:0 /root /point options …`.
    fn parse(table: &[u8]) -> Mounts {
        let mount = |line: &[u8]| {
            let mut fields = line.split(|byte| *byte == b' ').skip(2);
            let disk = String::from_utf8_lossy(fields.next()?).into_owned();
            Some(Mount { disk, root: unescaped(fields.next()?), point: unescaped(fields.next()?) })
        };
        Mounts(table.split(|byte| *byte == b'\n').filter_map(mount).collect())
    }

    /// Where `rest` below an existing directory lies, and what is mounted in there.
    pub(crate) fn on_disk(&self, dir: &Path, rest: &Path) -> Vec<OnDisk> {
        // Whoever opens it says why that cannot be.
        std::fs::canonicalize(dir).map(|real| self.of_real(&real, rest)).unwrap_or_default()
    }

    fn of_real(&self, real: &Path, rest: &Path) -> Vec<OnDisk> {
        // What was mounted last over a place is what is seen there.
        let above = self.0.iter().filter(|mount| real.starts_with(&mount.point));
        let nearest = above.max_by_key(|mount| mount.point.components().count());
        let own = nearest.map(|mount| {
            let below = real.strip_prefix(&mount.point).unwrap_or(Path::new(""));
            OnDisk { disk: mount.disk.clone(), path: mount.root.join(below).join(rest) }
        });
        let whole = real.join(rest);
        let inside = self.0.iter().filter(|mount| mount.point != whole && mount.point.starts_with(&whole));
        let of_mount = |mount: &Mount| OnDisk { disk: mount.disk.clone(), path: mount.root.clone() };
        own.into_iter().chain(inside.map(of_mount)).collect()
    }
}

/// Blanks and the like are written as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::new(), field);
    while let [first, after @ ..] = rest {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mounts_of_one_folder_are_one_place() {
        let table = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            30 22 8:1 /home/a/my\\040store/sub /home/a/.claude/projects rw - ext4 /dev/sda1 rw\n\
            31 22 8:2 / /mnt rw - ext4 /dev/sdb1 rw\n\
            32 22 0:9 / /mnt rw - tmpfs tmpfs rw\n";
        let mounts = Mounts::parse(table.as_bytes());
        let places = |path: &str, rest: &str| mounts.of_real(Path::new(path), Path::new(rest));
        let place = |path: &str, rest: &str| places(path, rest).remove(0);
        let (projects, store) = (place("/home/a/.claude/projects", "slug"), place("/home/a", "my store"));
        assert_eq!(projects, place("/home/a/my store/sub/slug", ""));
        assert!(projects.is_within(&store) && projects.is_within(&place("/home/a/my store/sub", "")));
        assert!(!store.is_within(&projects) && !projects.is_within(&place("/home/a/my store", "other")));
        // What is mounted in a folder lies in it too.
        let [own, inside] = &places("/home/a/.claude", "")[..] else { panic!("two places") };
        assert!(projects.is_within(inside) && !projects.is_within(own));
        // The one that was mounted last, on another disk.
        assert_eq!(place("/mnt/x", "").disk, "0:9");
        assert!(!place("/mnt/home/a/my store", "").is_within(&store));
        assert!(Mounts::parse(b"").of_real(Path::new("/"), Path::new("")).is_empty());
    }
}
