//! What a loss of power could take, and what was acknowledged before it was safe.

use std::fmt;
use std::path::{Path, PathBuf};

/// Something was acknowledged too early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What was acknowledged, and how.
    pub acknowledged: String,
    /// What was not synced by then.
    pub unsynced: Vec<Unsynced>,
}

/// What a loss of power could take.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unsynced {
    /// The bytes of this file.
    Bytes(PathBuf),
    /// This name in its directory.
    Name(PathBuf),
}

impl fmt::Display for Unsynced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsynced::Bytes(path) => write!(f, "bytes of {}", path.display()),
            Unsynced::Name(path) => write!(f, "name of {}", path.display()),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} while unsynced:", self.acknowledged)?;
        self.unsynced.iter().try_for_each(|unsynced| write!(f, " {unsynced};"))
    }
}

impl Unsynced {
    /// The file or the name.
    pub(super) fn path(&self) -> &Path {
        match self {
            Unsynced::Bytes(path) | Unsynced::Name(path) => path,
        }
    }

    /// Nobody speaks of a temporary file before it bears another name.
    pub(super) fn is_temporary(&self) -> bool {
        let name = self.path().file_name().unwrap_or_default().to_string_lossy();
        name == "new" || name.ends_with(".tmp")
    }
}
