//! A store held open: its root, its id, and what is known of its folders.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use rustix::fs::{FileType, Stat};

use super::listings::Listings;
use super::paths::STATE;
use super::types::ArchiveError;
use crate::claude::transcripts::Reach;
use crate::config::size::Size;
use crate::fs::{Dir, DurableError, platform};
use crate::names::ProjectName;

/// A store of conversations.
#[derive(Debug)]
pub struct Archive {
    pub(super) root: Dir,
    store_id: String,
    min_free_space: u64,
    drops_superseded: Cell<bool>,
    sides_until: Cell<Option<Instant>>,
    reach: Cell<Reach>,
    sources: Option<Vec<PathBuf>>,
    pub(super) synced: SyncedFolders,
    pub(super) listings: Listings,
}

/// What is known of a store's folders; see [`super::synced_folders`]. It is not asked again whether it
/// still holds, so an archive is opened for a piece of work and not for the life of a server.
#[derive(Debug, Default)]
pub(super) struct SyncedFolders {
    /// The store's own name, and all above it.
    pub(super) has_store: Cell<bool>,
    /// Folders, relative to the store, whose names and all above are synced.
    pub(super) known: RefCell<BTreeSet<PathBuf>>,
}

impl Archive {
    pub(super) fn at(root: &Path, store_id: String) -> Result<Option<Archive>, ArchiveError> {
        let synced = SyncedFolders::default();
        Ok(Dir::open(root)?.map(|root| Archive {
            root,
            store_id,
            min_free_space: 0,
            drops_superseded: false.into(),
            sides_until: None.into(),
            reach: Reach::Links.into(),
            sources: None,
            synced,
            listings: Listings::default(),
        }))
    }

    /// The same store; no copy is begun that would leave less than so many bytes free on its disk.
    pub fn leaving_free(self, bytes: u64) -> Archive {
        Archive { min_free_space: bytes, ..self }
    }

    /// The same store; what its ledgers name as the source of a session is opened only below these folders, for a store
    /// may come from anywhere, and what it names be anybody's.
    pub fn with_sources_in(self, folders: Vec<PathBuf>) -> Archive {
        Archive { sources: Some(folders), ..self }
    }

    /// Whether a source that a ledger names may be opened.
    pub(super) fn may_open(&self, source: &Path) -> bool {
        let Some(folders) = &self.sources else { return true };
        let is_plain = source.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        let resolved = || source.parent().and_then(|folder| std::fs::canonicalize(folder).ok());
        let is_below = |path: &Path| {
            let resolved =
                |folder: &PathBuf| std::fs::canonicalize(folder).is_ok_and(|folder| path.starts_with(folder));
            folders.iter().any(|folder| path.starts_with(folder) || resolved(folder))
        };
        is_plain && (is_below(source) || resolved().is_some_and(|folder| is_below(&folder)))
    }

    /// Whether saves from here on keep no older content of a small side file that is replaced as a whole, where the
    /// new one says all that the old one says. Not where another store still has the old one, and may ask for it.
    pub fn drop_superseded(&self, drops: bool) {
        self.drops_superseded.set(drops);
    }

    /// Until when saves from here on go on with side files. Then the rest of them is left to the next save, which begins
    /// with them; each save takes one at least.
    pub(crate) fn leave_sides_after(&self, until: Instant) {
        self.sides_until.set(Some(until));
    }

    /// How far saves from here on follow the names of their sources, and [`Archive::is_behind`] does.
    pub fn reach_sources_by(&self, reach: Reach) {
        self.reach.set(reach);
    }

    pub(super) fn reach(&self) -> Reach {
        self.reach.get()
    }

    pub(super) fn is_time_up(&self) -> bool {
        self.sides_until.get().is_some_and(|until| Instant::now() >= until)
    }

    pub(super) fn drops_superseded(&self) -> bool {
        self.drops_superseded.get()
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The store's random id, 32 hexadecimal digits; another id means another store.
    pub fn store_id(&self) -> &str {
        &self.store_id
    }

    /// The folder of the bookkeeping, made where it is missing: for a file or a lock of ours in it.
    pub fn state(&self) -> Result<Dir, DurableError> {
        self.root.create_own_beneath(Path::new(STATE))
    }

    /// An error if so many bytes do not fit, or would take the disk below what is to stay free: a copy that cannot be
    /// finished would leave no room for any other.
    pub fn make_sure_of_room(&self, bytes: u64) -> Result<(), ArchiveError> {
        if bytes == 0 {
            return Ok(());
        }
        let (path, floor) = (self.root.path().to_owned(), self.min_free_space);
        let free = match platform::disk::room(&path) {
            // It does not tell; a write that does not fit will.
            Ok(room) if room.total == 0 => return Ok(()),
            Ok(room) => room.free,
            Err(_) if floor == 0 => return Ok(()),
            Err(source) => {
                return Err(DurableError { operation: "ask for the free space of", path, source }.into());
            }
        };
        match free.checked_sub(bytes) {
            Some(left) if left >= floor => Ok(()),
            None if floor == 0 => {
                let what = format!("No space left on device: it takes {}, and {} are free", Size(bytes), Size(free));
                let source = std::io::Error::new(std::io::ErrorKind::StorageFull, what);
                Err(DurableError { operation: "copy to", path, source }.into())
            }
            _ => Err(ArchiveError::Floor { path, bytes, free, floor }),
        }
    }

    /// The folders of the projects, but for those that this user may not read: their sessions are known by the
    /// bookkeeping, and fail one by one.
    pub(super) fn project_folders(&self) -> Result<Vec<(ProjectName, Dir)>, ArchiveError> {
        let mut folders = Vec::new();
        for (name, kind) in self.root.entries()? {
            let Some(project) = project_of_entry(&name, kind) else { continue };
            match self.root.open_beneath(Path::new(&name)) {
                Ok(dir) => folders.extend(dir.map(|dir| (project, dir))),
                Err(error) if is_forbidden(&error) => {}
                // Exchanged since the root was listed.
                Err(error) if error.is_not_ours() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(folders)
    }

    /// The folder that a file of the store lies in; `None` where it does not exist.
    pub(super) fn parent_of(&self, rel: &Path) -> Result<Option<Dir>, ArchiveError> {
        Ok(self.root.open_beneath(rel.parent().unwrap_or(Path::new("")))?)
    }

    /// What stands at a path of the store; `None` where nothing does.
    pub(super) fn stat(&self, rel: &Path) -> Result<Option<Stat>, ArchiveError> {
        match self.parent_of(rel)? {
            Some(dir) => Ok(dir.stat(rel.file_name().unwrap_or_default())?),
            None => Ok(None),
        }
    }
}

/// Whether a project's folder lies in a directory: a log or an index alone make no store.
pub(super) fn holds_a_project(root: &Path) -> Result<bool, ArchiveError> {
    let Some(dir) = Dir::open(root)? else { return Ok(false) };
    Ok(dir.entries()?.iter().any(|(name, kind)| project_of_entry(name, *kind).is_some()))
}

pub(super) fn gone(root: &Path) -> DurableError {
    DurableError { operation: "open the store", path: root.to_owned(), source: std::io::ErrorKind::NotFound.into() }
}

/// Whether this user may not do it, whatever the disk could.
pub(super) fn is_forbidden(error: &DurableError) -> bool {
    error.source.kind() == std::io::ErrorKind::PermissionDenied
}

fn project_of_entry(name: &OsStr, kind: FileType) -> Option<ProjectName> {
    name.to_str().filter(|_| kind == FileType::Directory).and_then(|name| ProjectName::parse(name).ok())
}
