//! What a file system was found to lack, where that is no reason to copy nothing: told once by whoever writes a log.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::io::Errno;

/// Something that a file system does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shortcoming {
    /// The sync of a directory: after a loss of power a name may be missing that was there before.
    DirectorySync,
    /// The sync of a file: after a loss of power what was written last may be missing.
    FileSync,
    /// Rights: who else may read a file is the file system's to say.
    Modes,
    /// Locks: programs of this machine keep each other out in another way, those of other machines do not.
    Locks,
}

/// Where each was met first by this process.
static MET: [OnceLock<PathBuf>; 4] = [const { OnceLock::new() }; 4];

impl Shortcoming {
    /// All of them.
    pub(crate) const ALL: [Shortcoming; 4] =
        [Shortcoming::DirectorySync, Shortcoming::FileSync, Shortcoming::Modes, Shortcoming::Locks];

    /// The directory or file where this process met it first.
    pub(crate) fn met_at(self) -> Option<&'static Path> {
        MET[self as usize].get().map(PathBuf::as_path)
    }

    /// Whether an error says that the file system does not know of a thing, and not that it failed at it.
    pub(super) fn is_said_by(self, error: Errno) -> bool {
        // Linux has one number for the two of them, others have two.
        let is_unknown =
            error == Errno::INVAL || error == Errno::NOSYS || error == Errno::NOTSUP || error == Errno::OPNOTSUPP;
        // Where every file has the rights of the mount, they cannot be changed, whoever asks.
        is_unknown
            || self == Shortcoming::Locks && error == Errno::NOLCK
            || self == Shortcoming::Modes && error == Errno::PERM
    }

    /// Notes it. Only the first place is kept.
    pub(super) fn note(self, path: &Path) {
        MET[self as usize].get_or_init(|| path.to_owned());
    }
}
