//! Whether the two stores and Claude Code's transcripts lie apart. Two copies in one directory are one; a store among the
//! transcripts would be taken for transcripts, and they for copies.
//!
//! Told by device and inode, whatever links, mounts or spellings lead there. Of what is not there yet, by the nearest
//! folder that is.

use std::cell::{OnceCell, RefCell};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::fs::platform::mounts::{Mounts, OnDisk};

/// Where a path leads.
struct Located {
    /// Device and inode of the nearest folder that exists, then of all above it.
    folders: Vec<(u64, u64)>,
    /// What of the path is not there yet.
    rest: PathBuf,
    /// Where it lies on its file system, if the system tells, and what is mounted in it: the way up from a bind mount does
    /// not lead to the other place of the folder.
    on_disk: Vec<OnDisk>,
}

impl Located {
    fn is_within(&self, other: &Located) -> bool {
        if self.on_disk.iter().any(|place| other.on_disk.iter().any(|of| place.is_within(of))) {
            return true;
        }
        let Some(at) = self.folders.iter().position(|folder| Some(folder) == other.folders.first()) else {
            return false;
        };
        other.rest.as_os_str().is_empty() || at == 0 && self.rest.starts_with(&other.rest)
    }
}

/// Directories that must lie apart. What was looked at is known from then on: a hook asks at each turn.
#[derive(Default)]
pub(super) struct Directories(RefCell<Vec<(PathBuf, Option<Rc<Located>>)>>, OnceCell<Mounts>);

impl Directories {
    /// Why a directory cannot be a store: it does not lie apart from the transcripts of these configuration directories.
    pub(super) fn not_from_transcripts<'a>(
        &self,
        store: &Path,
        claude_dirs: impl IntoIterator<Item = &'a Path>,
    ) -> Option<String> {
        claude_dirs.into_iter().find_map(|claude_dir| {
            let projects = claude_dir.join("projects");
            let how = self.how(store, &projects)?;
            let projects = projects.display();
            Some(format!("it {how} {projects}, where Claude Code keeps its transcripts; name a directory of its own"))
        })
    }

    /// Why a directory cannot be the second copy's store: it does not lie apart from the first copy's.
    pub(super) fn not_from_first_copy(&self, second: &Path, first: &Path) -> Option<String> {
        let how = self.how(second, first)?;
        Some(format!("it {how} {}, the directory of the first copy; name another one", first.display()))
    }

    /// Why a directory cannot hold a further copy: it does not lie apart from this one.
    pub(super) fn not_from_copy(&self, further: &Path, store: &Path) -> Option<String> {
        let how = self.how(further, store)?;
        Some(format!("it {how} {}, where a copy of your conversations is; name another directory", store.display()))
    }

    /// Says how two directories do not lie apart, if they do not: `a` is, lies in, or holds `b`.
    fn how(&self, a: &Path, b: &Path) -> Option<&'static str> {
        let (a, b) = (self.located(a)?, self.located(b)?);
        match (a.is_within(&b), b.is_within(&a)) {
            (true, true) => Some("is"),
            (true, false) => Some("lies in"),
            (false, true) => Some("holds"),
            (false, false) => None,
        }
    }

    /// `None` where that cannot be looked at: whoever opens it says why.
    fn located(&self, path: &Path) -> Option<Rc<Located>> {
        if let Some((_, known)) = self.0.borrow().iter().find(|(other, _)| other == path) {
            return known.clone();
        }
        let located = self.locate(path).map(Rc::new);
        self.0.borrow_mut().push((path.to_owned(), located.clone()));
        located
    }

    fn locate(&self, path: &Path) -> Option<Located> {
        let identity_of = |folder: &Path| {
            let stat = std::fs::metadata(folder).ok().filter(Metadata::is_dir)?;
            Some((stat.dev(), stat.ino()))
        };
        let (there, identity) = path.ancestors().find_map(|folder| Some((folder, identity_of(folder)?)))?;
        let (mut folders, mut folder) = (vec![identity], there.to_owned());
        loop {
            folder.push("..");
            let identity = identity_of(&folder)?;
            let known = self.0.borrow();
            let above = known.iter().filter_map(|(_, located)| located.as_ref()).find_map(|located| {
                let at = located.folders.iter().position(|folder| *folder == identity)?;
                Some(located.folders[at..].to_vec())
            });
            // Above the root of the file system lies the root.
            let is_root = folders.last() == Some(&identity);
            match above {
                _ if is_root => break,
                Some(above) => {
                    folders.extend(above);
                    break;
                }
                None => folders.push(identity),
            }
        }
        let rest = path.strip_prefix(there).ok()?;
        let on_disk = self.1.get_or_init(Mounts::now).on_disk(there, rest);
        Some(Located { folders, rest: rest.to_owned(), on_disk })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn directories_are_told_apart_whatever_leads_to_them() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::create_dir_all(at("c")).unwrap();
        symlink(at("a"), at("link")).unwrap();
        symlink("a/b", at("deep")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        let known = Directories::default();
        for (one, other, expected) in [
            ("a", "a", Some("is")),
            ("a", "link", Some("is")),
            ("a/../c", "c", Some("is")),
            ("a/b", "deep", Some("is")),
            ("deep", "a", Some("lies in")),
            ("a", "deep", Some("holds")),
            ("link/new", "a", Some("lies in")),
            ("link/new", "a/new", Some("is")),
            ("link/new/more", "a/new", Some("lies in")),
            ("a/new", "link/new/more", Some("holds")),
            ("new", "new", Some("is")),
            ("new", "new2", None),
            ("a/new", "a/b", None),
            ("a/new", "a/new2/new", None),
            ("a", "c", None),
            ("dangling", "a", None),
            ("a/bb", "a/b", None),
        ] {
            for directories in [&Directories::default(), &known] {
                assert_eq!(directories.how(&at(one), &at(other)), expected, "{one} {other}");
            }
        }
    }
}
