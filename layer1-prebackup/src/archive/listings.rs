//! What lies in the projects' folders, listed once for as long as nothing changes there. Whoever looks at every session
//! of a store would else list each folder once for each of its sessions.
//!
//! A listing counts as long as the folder's status is the same, and only if the folder had rested when it was listed:
//! of two changes within one tick of a file system's clock, the second would not be seen.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::FileType;

use super::types::{ArchiveError, SessionKey};
use crate::claude::transcripts::Identity;
use crate::fs::Dir;
use crate::names::ProjectName;

/// So long nothing may have changed in a folder before its listing is kept; some file systems count two seconds as one.
const REST: Duration = Duration::from_secs(3);
/// Names that are kept at most, of all folders; the newest listing is kept whatever its length.
const NAMES_MAX: usize = 400_000;

#[derive(Debug)]
pub(super) struct Listings {
    kept: RefCell<BTreeMap<ProjectName, Listing>>,
    pub(super) rest: Cell<Duration>,
    #[cfg(test)]
    pub(super) made: Cell<u32>,
}

impl Default for Listings {
    fn default() -> Listings {
        Listings {
            kept: RefCell::default(),
            rest: REST.into(),
            #[cfg(test)]
            made: Cell::default(),
        }
    }
}

#[derive(Debug)]
struct Listing {
    folder: Identity,
    /// Sorted by name.
    entries: Vec<(OsString, FileType)>,
}

impl Listings {
    /// The files and folders in the folder of a session's project whose names begin with the session's id.
    pub(super) fn entries_of(&self, dir: &Dir, key: &SessionKey) -> Result<Vec<(OsString, FileType)>, ArchiveError> {
        let folder = Identity::of(&dir.stat_itself()?);
        let mut kept = self.kept.borrow_mut();
        if let Some(listing) = kept.get(&key.project).filter(|listing| listing.folder == folder) {
            return Ok(listing.of(key));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut entries = dir.entries()?;
        #[cfg(test)]
        self.made.set(self.made.get() + 1);
        // Metadata, which is no content.
        entries.retain(|(name, _)| !name.as_bytes().ends_with(b".json"));
        let listing = Listing { folder, entries };
        let found = listing.of(key);
        kept.remove(&key.project);
        let has_rested_at = folder.mtime_ns.max(folder.ctime_ns) + self.rest.get().as_nanos() as i128;
        if has_rested_at < now.as_nanos() as i128 {
            let names: usize = kept.values().map(|listing| listing.entries.len()).sum();
            if names + listing.entries.len() > NAMES_MAX {
                kept.clear();
            }
            kept.insert(key.project.clone(), listing);
        }
        Ok(found)
    }
}

impl Listing {
    fn of(&self, key: &SessionKey) -> Vec<(OsString, FileType)> {
        let id = key.id.as_str().as_bytes();
        let first = self.entries.partition_point(|(name, _)| name.as_bytes() < id);
        self.entries[first..].iter().take_while(|(name, _)| name.as_bytes().starts_with(id)).cloned().collect()
    }
}
