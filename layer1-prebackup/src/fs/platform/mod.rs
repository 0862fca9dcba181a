//! Everything in which one Unix differs from another: the workspace asks here.
//!
//! What all of them do alike (modes, links, descriptors) is asked of std and rustix where it is
//! needed. What only some have (`/proc`, the numbers of file systems, launchd) stands here, each
//! with what is done where it is missing. One thing stands in `fs/`, because nothing else
//! may sync: that a sync reaches the drive on Apple's systems only by `F_FULLFSYNC`.

pub mod disk;
pub(crate) mod mounts;
pub mod process;
mod substitute_lock;

pub(crate) use substitute_lock::SubstituteLock;

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags, RawMode, Stat};

/// Whether this is macOS: launchd instead of systemd, and file systems that fold letters' case.
pub const IS_MACOS: bool = cfg!(target_os = "macos");
/// Where administrators put Claude Code's settings.
pub const MANAGED_SETTINGS_DIR: &str =
    if IS_MACOS { "/Library/Application Support/ClaudeCode" } else { "/etc/claude-code" };

/// How a directory is opened that is only entered: where it may not be read, that is enough for the names in it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) const ENTER: OFlags = OFlags::PATH;
/// How a directory is opened that is only entered: as any other.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) const ENTER: OFlags = OFlags::RDONLY;

/// The target that this program was built for, as rustc calls it.
pub fn target() -> String {
    let system = match std::env::consts::OS {
        "linux" if cfg!(target_env = "musl") => "unknown-linux-musl",
        "linux" => "unknown-linux-gnu",
        "macos" => "apple-darwin",
        other => other,
    };
    format!("{}-{system}", std::env::consts::ARCH)
}

/// Fills `bytes` with random ones of the system's.
#[cfg(target_os = "linux")]
pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        let drawn = crate::fs::syscall::uninterrupted(|| {
            rustix::rand::getrandom(&mut *rest, rustix::rand::GetRandomFlags::empty())
        });
        match drawn {
            Ok(came) => filled += came,
            // An old kernel, or a sandbox that does not know of it.
            Err(_) => return random_of_device(rest),
        }
    }
    Ok(())
}

/// Fills `bytes` with random ones of the system's: every other Unix has this device.
#[cfg(not(target_os = "linux"))]
pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    random_of_device(bytes)
}

fn random_of_device(bytes: &mut [u8]) -> io::Result<()> {
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, bytes)
}

/// Permission bits as the system's calls take them; their type has 16 bits on some.
pub(crate) fn mode(bits: u32) -> Mode {
    // The lower twelve fit everywhere, and no more are asked for.
    Mode::from_raw_mode((bits & 0o7777) as RawMode)
}

/// The permission bits of a file's status.
pub(crate) fn mode_of(stat: &Stat) -> u32 {
    // The field has 16 bits on some.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
    let bits = u32::from(stat.st_mode);
    bits & 0o7777
}

/// Whether it is a regular file that somebody may execute.
pub fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Whether this process may make files in a directory.
pub(crate) fn may_write_in(dir: &Path) -> bool {
    use rustix::fs::Access;
    rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Makes a FIFO, for tests of what must never wait for one: not every system has a call for it that
/// can be made here, but all have the program.
#[doc(hidden)]
pub fn make_fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.is_ok_and(|status| status.success()), "make the FIFO {}", path.display());
}

/// Opens a new file without a name on the disk of `dir`; `None` where the system or that disk cannot.
pub(crate) fn unlinked_file(dir: &Path, bits: u32) -> Option<rustix::io::Result<File>> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::io::Errno;
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        match crate::fs::syscall::uninterrupted(|| rustix::fs::open(dir, flags, mode(bits))) {
            // The kernel or the file system of the directory does not know of such files.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => None,
            opened => Some(opened.map(File::from)),
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = (dir, bits);
        None
    }
}

/// Asks for what was written there to be on its way to the disk, so that a sync later waits for less.
/// A wish: where it is not known or not granted, the sync does it all.
pub(crate) fn begin_writing_back(file: &File, range: std::ops::Range<u64>) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // Said of pages that were changed, this makes Linux write them; those on their way stay in memory.
        let bytes = std::num::NonZeroU64::new(range.end.saturating_sub(range.start));
        let _ = rustix::fs::fadvise(file, range.start, bytes, rustix::fs::Advice::DontNeed);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = (file, range);
    }
}

/// Whether a long file is next to empty: the disk holds less than a part in 512 of it, and the rest is holes, which read
/// as zeros for as long as anybody likes. No compression that file systems do comes near that.
pub(crate) fn is_hollow(file: &File, stat: &Stat) -> bool {
    const HOLLOW_BYTES_MIN: u64 = 64 * 1024 * 1024;
    // The types of the fields differ between platforms.
    #[allow(clippy::unnecessary_cast)]
    let (bytes, on_disk) = (stat.st_size as u64, stat.st_blocks as u64 * 512);
    bytes >= HOLLOW_BYTES_MIN && on_disk < bytes / 512 && has_hole(file, bytes)
}

/// Where it is not known whether there are holes, there is none. The file is then read from its beginning on.
fn has_hole(file: &File, bytes: u64) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd"))]
    {
        let hole = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(0)).unwrap_or(bytes);
        hole < bytes && rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0)).is_ok()
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd")))]
    {
        let _ = (file, bytes);
        false
    }
}

/// A file in memory, for where the disk is full or read-only; `None` where the system has no such files.
pub(crate) fn memory_file() -> Option<File> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // The disk's refusal is what is told then.
        let made =
            crate::fs::syscall::uninterrupted(|| rustix::fs::memfd_create("unpacked", rustix::fs::MemfdFlags::CLOEXEC));
        made.ok().map(File::from)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_differ() {
        let mut drawn = [[0; 16]; 2];
        drawn.iter_mut().for_each(|bytes| random(bytes).unwrap());
        assert!(drawn[0] != drawn[1] && drawn[0] != [0; 16], "{drawn:?}");
    }

    #[test]
    fn a_mode_comes_back_as_it_was_set() {
        let dir = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(dir.path().join("f")).unwrap();
        for bits in [0o600, 0o700, 0o444] {
            rustix::fs::fchmod(&file, mode(bits)).unwrap();
            assert_eq!(mode_of(&rustix::fs::fstat(&file).unwrap()), bits);
        }
    }

    #[test]
    fn a_program_is_a_file_that_may_be_executed() {
        assert!(is_program(Path::new("/bin/sh")));
        assert!(!is_program(Path::new("/bin")) && !is_program(Path::new("/etc/passwd")));
    }
}
