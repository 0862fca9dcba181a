//! Directories held open: names looked up, made, renamed, removed and synced in them.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::error::{DurableError, NotOurs, Result};
use super::file::{DIR_MODE, FILE_MODE, lock_exclusively, make_sure_it_is_ours, not_regular, read_bounded, stat_of};
use super::platform::{self, mode as mode_bits};
use super::shortcomings::Shortcoming;
use super::syscall::{call, uninterrupted};

/// A store's deepest folders lie a few levels below it; its own entry lies in its parent.
const ANCESTORS_MAX: usize = 6;

/// Folders in folders that are walked through; each costs a look at all above it.
const WALKED_DEPTH_MAX: usize = 80;

/// The folder by which it is tried whether anything can be made.
const TRIED: &str = ".threefold.tmp";

/// What a name ends in under which something was put aside that stood in the place of a file of ours.
const NOT_OURS: &str = ".not-ours";

/// Longest name on the file systems of every day, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// How often a temporary file is opened anew because another writer had just used it up.
const TEMP_TRIES_MAX: u32 = 1000;

/// A directory held open, and the path it was opened by (for messages).
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens a store's root or another directory that the user named; a symlink to one will do.
    /// `None` where there is nothing.
    pub fn open(path: &Path) -> Result<Option<Dir>> {
        Dir::open_for(OFlags::RDONLY, path)
    }

    /// [`Dir::open`] of one whose names are known: it need not be listed, and may be one that nobody may list.
    pub(crate) fn enter(path: &Path) -> Result<Option<Dir>> {
        or_enter(Dir::open(path), || Dir::open_for(platform::ENTER, path))
    }

    fn open_for(access: OFlags, path: &Path) -> Result<Option<Dir>> {
        let flags = access | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match uninterrupted(|| rustix::fs::open(path, flags, Mode::empty())) {
            Ok(fd) => Ok(Some(Dir { fd, path: path.to_owned() })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(DurableError::new("open directory", path, error)),
        }
    }

    /// Makes the directory and its missing parents (0700, each entry synced) and opens it.
    pub fn create(path: &Path) -> Result<Dir> {
        if let Some(dir) = Dir::open(path)? {
            return Ok(dir);
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(DurableError::new("create directory", path, Errno::NOENT));
        };
        let parent = Dir::create(parent)?;
        parent.make_dir(name)?;
        Dir::open(path)?.ok_or_else(|| DurableError::new("create directory", path, Errno::NOENT))
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a directory below this one, following no symlink; `None` where there is nothing.
    pub fn open_beneath(&self, rel: &Path) -> Result<Option<Dir>> {
        let mut below: Option<Dir> = None;
        for name in components(rel) {
            match below.as_ref().unwrap_or(self).child(name)? {
                Some(child) => below = Some(child),
                None => return Ok(None),
            }
        }
        below.map_or_else(|| self.reopen(), Ok).map(Some)
    }

    /// [`Dir::open_beneath`], making what is missing (0700, each entry synced).
    pub fn create_beneath(&self, rel: &Path) -> Result<Dir> {
        let mut below: Option<Dir> = None;
        for name in components(rel) {
            below = Some(below.as_ref().unwrap_or(self).create_child(name)?.0);
        }
        below.map_or_else(|| self.reopen(), Ok)
    }

    /// Opens the directory `name` in this one, following no symlink, and makes it where it is missing
    /// (0700, its entry synced); whether it was made.
    pub(crate) fn create_child(&self, name: &OsStr) -> Result<(Dir, bool)> {
        if let Some(child) = self.child(name)? {
            return Ok((child, false));
        }
        self.make_dir(name)?;
        let child = self.child(name)?;
        let child = child.ok_or_else(|| DurableError::new("create directory", &self.path.join(name), Errno::NOENT))?;
        Ok((child, true))
    }

    /// Opens a folder of ours, in a directory that the user named: no symlink is followed to it. `None` where there is
    /// nothing.
    pub fn open_own(path: &Path) -> Result<Option<Dir>> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Dir::open(path) };
        match Dir::open(parent)? {
            Some(parent) => parent.child(name),
            None => Ok(None),
        }
    }

    /// [`Dir::open_own`] as [`Dir::enter`] does.
    pub(crate) fn enter_own(path: &Path) -> Result<Option<Dir>> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Dir::enter(path) };
        match Dir::enter(parent)? {
            Some(parent) => or_enter(parent.child(name), || parent.child_for(platform::ENTER, name)),
            None => Ok(None),
        }
    }

    /// [`Dir::open_own`], made where it is missing (0700, its entry synced), and so are its parents. What stands in
    /// its place is put aside.
    pub fn create_own(path: &Path) -> Result<Dir> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Dir::create(path) };
        Dir::create(parent)?.create_own_beneath(Path::new(name))
    }

    /// [`Dir::create_beneath`] of folders of ours: what stands in the place of one is put aside.
    pub fn create_own_beneath(&self, rel: &Path) -> Result<Dir> {
        let mut below: Option<Dir> = None;
        for name in components(rel) {
            let above = below.as_ref().unwrap_or(self);
            let made = match above.create_child(name) {
                Err(error) if error.is_not_ours() => {
                    above.move_aside(name, FileType::Directory)?;
                    above.create_child(name)
                }
                made => made,
            };
            below = Some(made?.0);
        }
        below.map_or_else(|| self.reopen(), Ok)
    }

    /// Opens the regular file `name` for reading: no symlink followed, never blocking.
    /// `None` where there is nothing; something else of that name is an error.
    pub fn open_file(&self, name: &OsStr) -> Result<Option<File>> {
        self.open_regular(name, OFlags::RDONLY)
    }

    /// [`Dir::open_file`] of a file of ours, which has this name alone: another is [`DurableError::is_not_ours`].
    pub(crate) fn open_own_file(&self, name: &OsStr) -> Result<Option<File>> {
        self.checked(name, self.open_regular(name, OFlags::RDONLY)?, make_sure_it_is_ours)
    }

    /// [`Dir::open_own_file`], but under however many names: what is read of it must prove itself, and nothing is
    /// written to it.
    pub(crate) fn open_own_file_under_any_names(&self, name: &OsStr) -> Result<Option<File>> {
        self.checked(name, self.open_regular(name, OFlags::RDONLY)?, |_, _| Ok(()))
    }

    /// [`Dir::open_own_file`] for reading and writing.
    pub(crate) fn open_own_file_for_writing(&self, name: &OsStr) -> Result<Option<File>> {
        self.checked(name, self.open_regular(name, OFlags::RDWR)?, make_sure_it_is_ours)
    }

    /// All of a file of ours, which is never longer than `bytes_max`; `None` where there is nothing. What can be no
    /// file of ours is [`DurableError::is_not_ours`]. It may have further names, as after `cp -al`: what is in it must
    /// prove itself, and no such file is written in place.
    pub fn read_own_file(&self, name: &OsStr, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        let file = self.open_own_file_under_any_names(name)?;
        file.map(|file| read_bounded(&file, bytes_max, &self.path.join(name))).transpose()
    }

    /// Opens a file of ours for appending, made (0600) where it is missing.
    pub(crate) fn open_own_file_for_appending(&self, name: &OsStr) -> Result<File> {
        let path = self.path.join(name);
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let open = || rustix::fs::openat(&self.fd, name, flags | OFlags::CLOEXEC, mode_bits(FILE_MODE));
        let file = File::from(call("open", &path, open)?);
        make_sure_it_is_ours(&stat_of(&file, &path)?, &path)?;
        Ok(file)
    }

    fn checked(
        &self,
        name: &OsStr,
        file: Option<File>,
        make_sure: fn(&Stat, &Path) -> Result<()>,
    ) -> Result<Option<File>> {
        let path = self.path.join(name);
        if let Some(file) = &file {
            let stat = stat_of(file, &path)?;
            make_sure(&stat, &path)?;
            if platform::is_hollow(file, &stat) {
                let what = format!("it has {} bytes, nearly all of them holes; move it away", stat.st_size);
                return Err(DurableError::new("open", &path, io::Error::other(NotOurs(what))));
            }
        }
        Ok(file)
    }

    /// Whether something stands at `name` that can be no file of ours, by what it is: see [`Dir::open_own_file`].
    pub(crate) fn is_taken(&self, name: &OsStr) -> Result<bool> {
        let path = self.path.join(name);
        Ok(self.stat(name)?.is_some_and(|stat| make_sure_it_is_ours(&stat, &path).is_err()))
    }

    /// Renames what stands at `name`, where a file or folder of ours (`wanted`) belongs and this can be none, to
    /// `.NAME.not-ours` beside it: nothing of another's is deleted, read or written. One at a time: what another process
    /// has put in its place meanwhile stays.
    pub(crate) fn move_aside(&self, name: &OsStr, wanted: FileType) -> Result<()> {
        let turn = File::from(self.reopen()?.fd);
        match lock_exclusively(&turn, &self.path) {
            Err(error) if Shortcoming::Locks.is_said_by(error) => Shortcoming::Locks.note(&self.path),
            locked => locked.map_err(|error| DurableError::new("lock", &self.path, error))?,
        }
        let is_in_the_way = |stat: Stat| match wanted {
            FileType::Directory => FileType::from_raw_mode(stat.st_mode) != FileType::Directory,
            _ => make_sure_it_is_ours(&stat, &self.path).is_err(),
        };
        if !self.stat(name)?.is_some_and(is_in_the_way) {
            return Ok(());
        }
        self.put_aside(name)
    }

    /// Puts aside what stands at `name`, a file of ours by what it is, because nothing can be made of what is in it.
    pub(crate) fn put_aside(&self, name: &OsStr) -> Result<()> {
        let plain = OsStr::from_bytes(name.as_bytes().strip_prefix(b".").unwrap_or(name.as_bytes()));
        let aside = |n: u32| match n {
            1 => hidden(plain, NOT_OURS),
            n => hidden(plain, &format!("{NOT_OURS}.{n}")),
        };
        let mut n = 1;
        while self.stat(&aside(n))?.is_some() {
            n += 1;
        }
        self.rename_new(name, self, &aside(n))
    }

    /// What `name` is, without following it; `None` where there is nothing, and where no name can be as long.
    pub fn stat(&self, name: &OsStr) -> Result<Option<Stat>> {
        match uninterrupted(|| rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => Ok(None),
            Err(error) => Err(DurableError::new("look up", &self.path.join(name), error)),
        }
    }

    /// What the directory itself is.
    pub(crate) fn stat_itself(&self) -> Result<Stat> {
        call("look up", &self.path, || rustix::fs::fstat(&self.fd))
    }

    /// The names in it with their types (not following symlinks), sorted; `.` and `..` left out.
    pub fn entries(&self) -> Result<Vec<(OsString, FileType)>> {
        let list = || {
            let mut entries = Vec::new();
            self.list(&mut |name, kind| entries.push((name.to_owned(), kind)))?;
            entries.sort_by(|a: &(OsString, FileType), b| a.0.cmp(&b.0));
            Ok(entries)
        };
        call("list directory", &self.path, list)
    }

    /// Calls `each` with what [`Dir::entries`] gives, in any order; after an interruption with some of it once more.
    pub(crate) fn each_entry(&self, each: &mut dyn FnMut(&OsStr, FileType)) -> Result<()> {
        call("list directory", &self.path, || self.list(each))
    }

    /// Calls `each` with whatever lies below `top`: its folder, its path from here, and its type. A folder comes
    /// before what lies in it, and that is left out where the answer is false, and below [`WALKED_DEPTH_MAX`] folders,
    /// where nothing of ours lies. Follows no symlink.
    pub(crate) fn walk(&self, top: &Path, each: &mut dyn FnMut(&Dir, PathBuf, FileType) -> Result<bool>) -> Result<()> {
        let mut pending = vec![top.to_owned()];
        while let Some(rel) = pending.pop() {
            let Some(dir) = self.open_beneath(&rel)? else { continue };
            for (name, kind) in dir.entries()? {
                let below = rel.join(name);
                let is_near = below.components().count() <= top.components().count() + WALKED_DEPTH_MAX;
                if each(&dir, below.clone(), kind)? && kind == FileType::Directory && is_near {
                    pending.push(below);
                }
            }
        }
        Ok(())
    }

    /// Fails where nothing can be made in it, whatever its rights say: tried with a folder that goes at once.
    pub(crate) fn try_to_make(&self) -> Result<()> {
        match uninterrupted(|| rustix::fs::mkdirat(&self.fd, TRIED, mode_bits(DIR_MODE))) {
            // Another process tries it too, or was killed at it.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(DurableError::new("create directory", &self.path.join(TRIED), error)),
        }
        // It was made, and that was the question; a leftover goes with the next try.
        let _ = self.unlink_unsynced(OsStr::new(TRIED), AtFlags::REMOVEDIR);
        Ok(())
    }

    /// Makes the temporary file `name` (0600), empty; what an interrupted run left there goes.
    pub(crate) fn create_temp(&self, name: &OsStr) -> Result<File> {
        self.open_temp_exclusively(name, FILE_MODE)
    }

    /// Renames `name` to `to_name` in `to`, where nothing may stand, and syncs both directories.
    pub(crate) fn rename_new(&self, name: &OsStr, to: &Dir, to_name: &OsStr) -> Result<()> {
        self.rename_where_nothing_stands(name, to, to_name)?;
        self.sync_with(to)
    }

    /// [`Dir::rename_new`] of a temporary file: `to` is synced, and the old name may come back.
    pub(crate) fn place_new(&self, name: &OsStr, to: &Dir, to_name: &OsStr) -> Result<()> {
        self.rename_where_nothing_stands(name, to, to_name)?;
        to.sync()
    }

    fn rename_where_nothing_stands(&self, name: &OsStr, to: &Dir, to_name: &OsStr) -> Result<()> {
        let target = to.path.join(to_name);
        let renamed =
            uninterrupted(|| rustix::fs::renameat_with(&self.fd, name, &to.fd, to_name, RenameFlags::NOREPLACE));
        match renamed {
            Ok(()) => Ok(()),
            // The file system cannot refuse by itself: look first. Writers hold the session's lock.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                if to.stat(to_name)?.is_some() {
                    return Err(DurableError::new("rename to", &target, Errno::EXIST));
                }
                call("rename to", &target, || rustix::fs::renameat(&self.fd, name, &to.fd, to_name))
            }
            Err(error) => Err(DurableError::new("rename to", &target, error)),
        }
    }

    /// Renames `name` to `to_name` in `to`, replacing what stands there, and syncs both directories.
    pub(crate) fn rename_over(&self, name: &OsStr, to: &Dir, to_name: &OsStr) -> Result<()> {
        self.rename_unsynced(name, to, to_name)?;
        self.sync_with(to)
    }

    pub(super) fn rename_unsynced(&self, name: &OsStr, to: &Dir, to_name: &OsStr) -> Result<()> {
        call("rename to", &to.path.join(to_name), || rustix::fs::renameat(&self.fd, name, &to.fd, to_name))
    }

    /// Unlinks the file `name` and syncs; true if it was there.
    pub fn remove(&self, name: &OsStr) -> Result<bool> {
        self.unlink(name, AtFlags::empty())
    }

    /// [`Dir::remove`] without the sync: after a loss of power the file may be there again.
    pub fn remove_unsynced(&self, name: &OsStr) -> Result<bool> {
        self.unlink_unsynced(name, AtFlags::empty())
    }

    /// Removes the empty directory `name` and syncs; true if it was there.
    pub(crate) fn remove_dir(&self, name: &OsStr) -> Result<bool> {
        self.unlink(name, AtFlags::REMOVEDIR)
    }

    /// [`Dir::remove_dir`]; one that is not empty stays, and that is no failure.
    pub(crate) fn remove_dir_if_empty(&self, name: &OsStr) -> Result<bool> {
        match self.remove_dir(name) {
            Err(error) if error.source.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            removed => removed,
        }
    }

    /// Syncs the entries of this directory and of those above it, for the names of folders that nobody can vouch
    /// for. Those that may not be opened are left out, because nobody without the right to could have made an
    /// entry of ours.
    pub fn sync_way_up(&self) -> Result<()> {
        self.sync()?;
        for path in self.path.ancestors().skip(1).take(ANCESTORS_MAX) {
            match Dir::open(path) {
                Ok(Some(dir)) => dir.sync()?,
                Ok(None) => return Ok(()),
                Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Syncs the directory's entries. A file system that has no such sync (of a network, often) is noted as a
    /// [`Shortcoming`]; one that fails at it is an error.
    pub fn sync(&self) -> Result<()> {
        #[cfg(test)]
        super::counted::count(&self.path);
        match uninterrupted(|| sync_entries(&self.fd)) {
            Err(error) if Shortcoming::DirectorySync.is_said_by(error) => {
                Shortcoming::DirectorySync.note(&self.path);
                Ok(())
            }
            synced => synced.map_err(|error| DurableError::new("sync directory", &self.path, error)),
        }
    }

    fn reopen(&self) -> Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = call("open directory", &self.path, || rustix::fs::openat(&self.fd, c".", flags, Mode::empty()))?;
        Ok(Dir { fd, path: self.path.clone() })
    }

    fn list(&self, each: &mut dyn FnMut(&OsStr, FileType)) -> rustix::io::Result<()> {
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(error),
                },
                known => known,
            };
            each(name, kind);
        }
        Ok(())
    }

    fn child(&self, name: &OsStr) -> Result<Option<Dir>> {
        self.child_for(OFlags::RDONLY, name)
    }

    fn child_for(&self, access: OFlags, name: &OsStr) -> Result<Option<Dir>> {
        let path = self.path.join(name);
        let flags = access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match uninterrupted(|| rustix::fs::openat(&self.fd, name, flags, Mode::empty())) {
            Ok(fd) => Ok(Some(Dir { fd, path })),
            Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let what = "it is a file or a symlink where a directory belongs; move it away".to_owned();
                Err(DurableError::new("open directory", &path, io::Error::other(NotOurs(what))))
            }
            Err(error) => Err(DurableError::new("open directory", &path, error)),
        }
    }

    fn make_dir(&self, name: &OsStr) -> Result<()> {
        let fail = |error: Errno| DurableError::new("create directory", &self.path.join(name), error);
        match uninterrupted(|| rustix::fs::mkdirat(&self.fd, name, mode_bits(DIR_MODE))) {
            // Another process was faster; it may not have synced the entry yet, so this one does.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(fail(error)),
        }
        let stat = uninterrupted(|| rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)).map_err(fail)?;
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_dir && platform::mode_of(&stat) & 0o700 != 0o700 {
            match uninterrupted(|| rustix::fs::chmodat(&self.fd, name, mode_bits(DIR_MODE), AtFlags::empty())) {
                Err(error) if Shortcoming::Modes.is_said_by(error) => Shortcoming::Modes.note(&self.path),
                set => set.map_err(fail)?,
            }
        }
        self.sync()
    }

    fn open_regular(&self, name: &OsStr, access: OFlags) -> Result<Option<File>> {
        let path = self.path.join(name);
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match uninterrupted(|| rustix::fs::openat(&self.fd, name, flags, Mode::empty())) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(DurableError::new("open", &path, not_regular("a symlink"))),
            Err(Errno::ISDIR) => return Err(DurableError::new("open", &path, not_regular("a directory"))),
            // A socket; or a device without a driver.
            Err(Errno::NXIO | Errno::NODEV) => return Err(DurableError::new("open", &path, not_regular("no file"))),
            Err(error) => return Err(DurableError::new("open", &path, error)),
        };
        let stat = stat_of(&file, &path)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(DurableError::new("open", &path, not_regular("not a regular file")));
        }
        Ok(Some(file))
    }

    /// The empty temporary file `name`, locked: of several writers of one name each gets its turn
    /// with a file of its own, and what a killed one left behind is used up by the next.
    pub(super) fn open_temp_exclusively(&self, name: &OsStr, mode: u32) -> Result<File> {
        let path = self.path.join(name);
        let fail = |error: Errno| DurableError::new("create", &path, error);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = |flags| uninterrupted(|| rustix::fs::openat(&self.fd, name, flags, mode_bits(mode))).map(File::from);
        for _ in 0..TEMP_TRIES_MAX {
            let (file, is_new) = match open(flags | OFlags::CREATE | OFlags::EXCL) {
                Ok(file) => (file, true),
                Err(Errno::EXIST) => {
                    // What is no file of ours is not emptied, but makes way.
                    if self.is_taken(name)? {
                        self.move_aside(name, FileType::RegularFile)?;
                        continue;
                    }
                    match open(flags) {
                        Ok(file) => (file, false),
                        Err(Errno::NOENT) => continue,
                        Err(error) => return Err(fail(error)),
                    }
                }
                Err(error) => return Err(fail(error)),
            };
            match self.take_temp(name, &file, mode) {
                Ok(true) => return Ok(file),
                // The one who held the lock before has renamed or removed the file in the meantime.
                Ok(false) => {}
                Err(error) => {
                    if is_new {
                        // The error that matters is in hand; a leftover is used up by the next writer.
                        let _ = self.remove(name);
                    }
                    return Err(error);
                }
            }
        }
        Err(fail(Errno::AGAIN))
    }

    /// Locks the temporary file and empties it; false if it is not the one of that name any more.
    fn take_temp(&self, name: &OsStr, file: &File, mode: u32) -> Result<bool> {
        let path = self.path.join(name);
        match lock_exclusively(file, &path) {
            // Then whoever needs such a turn holds another lock already: the session's, the log's, the outbox's.
            Err(error) if Shortcoming::Locks.is_said_by(error) => Shortcoming::Locks.note(&path),
            locked => locked.map_err(|error| DurableError::new("lock", &path, error))?,
        }
        let (ours, named) = (stat_of(file, &path)?, self.stat(name)?);
        if named.is_none_or(|named| (named.st_dev, named.st_ino) != (ours.st_dev, ours.st_ino)) {
            return Ok(false);
        }
        make_sure_it_is_ours(&ours, &path)?;
        if ours.st_size != 0 {
            call("truncate", &path, || rustix::fs::ftruncate(file, 0))?;
        }
        if platform::mode_of(&ours) != mode {
            match uninterrupted(|| rustix::fs::fchmod(file, mode_bits(mode))) {
                Err(error) if Shortcoming::Modes.is_said_by(error) => Shortcoming::Modes.note(&path),
                set => set.map_err(|error| DurableError::new("set the mode of", &path, error))?,
            }
        }
        Ok(true)
    }

    fn unlink(&self, name: &OsStr, flags: AtFlags) -> Result<bool> {
        let removed = self.unlink_unsynced(name, flags)?;
        if removed {
            self.sync()?;
        }
        Ok(removed)
    }

    fn unlink_unsynced(&self, name: &OsStr, flags: AtFlags) -> Result<bool> {
        match uninterrupted(|| rustix::fs::unlinkat(&self.fd, name, flags)) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(DurableError::new("remove", &self.path.join(name), error)),
        }
    }

    fn sync_with(&self, to: &Dir) -> Result<()> {
        to.sync()?;
        if self.path == to.path { Ok(()) } else { self.sync() }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn or_enter(opened: Result<Option<Dir>>, enter: impl FnOnce() -> Result<Option<Dir>>) -> Result<Option<Dir>> {
    match opened {
        Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => enter(),
        opened => opened,
    }
}

/// The name beside `name` that begins with a dot and ends so; of one that leaves no room for that, its hash stands in it.
pub(super) fn hidden(name: &OsStr, end: &str) -> OsString {
    let mut hidden = OsString::from(".");
    match name.len() + end.len() < NAME_BYTES_MAX {
        true => hidden.push(name),
        false => hidden.push(blake3::hash(name.as_bytes()).to_hex().as_str()),
    }
    hidden.push(end);
    hidden
}

/// Whether a name is one under which [`Dir::put_aside`] leaves things.
pub(crate) fn was_put_aside(name: &OsStr) -> bool {
    let text = name.to_string_lossy();
    let number = |rest: &str| rest.is_empty() || rest.strip_prefix('.').is_some_and(|n| n.parse::<u32>().is_ok());
    text.starts_with('.') && text.rsplit_once(NOT_OURS).is_some_and(|(_, rest)| number(rest))
}

/// Unlinks a file and syncs its directory; true if it was there.
pub fn remove_file(path: &Path) -> Result<bool> {
    match parent_of(path)? {
        (Some(dir), name) => dir.remove(name),
        (None, _) => Ok(false),
    }
}

/// Removes an empty directory and syncs its parent; true if it was there.
pub fn remove_dir(path: &Path) -> Result<bool> {
    match parent_of(path)? {
        (Some(dir), name) => dir.remove_dir(name),
        (None, _) => Ok(false),
    }
}

/// Removes everything in a directory, all the way down; one that is not there is empty. What is no directory is removed
/// as it is, whatever it leads to.
pub fn empty_dir(path: &Path) -> Result<()> {
    let reading = |error| DurableError::new("read directory", path, error);
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(reading)?,
    };
    for entry in entries {
        let entry = entry.map_err(reading)?;
        if entry.file_type().map_err(reading)?.is_dir() {
            empty_dir(&entry.path())?;
            remove_dir(&entry.path())?;
        } else {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

/// Renames within one file system, refusing to replace anything, and syncs both directories.
pub fn rename_new(from: &Path, to: &Path) -> Result<()> {
    rename(from, to, Dir::rename_new)
}

fn rename(from: &Path, to: &Path, rename: fn(&Dir, &OsStr, &Dir, &OsStr) -> Result<()>) -> Result<()> {
    let absent = |path: &Path| DurableError::new("rename", path, Errno::NOENT);
    let (from_dir, from_name) = parent_of(from)?;
    let (to_dir, to_name) = parent_of(to)?;
    let (from_dir, to_dir) = (from_dir.ok_or_else(|| absent(from))?, to_dir.ok_or_else(|| absent(to))?);
    rename(&from_dir, from_name, &to_dir, to_name)
}

/// Opens a file to be written, and makes the folders that it is to lie in where they are missing.
pub(crate) fn open_making_folders(options: &OpenOptions, operation: &'static str, path: &Path) -> Result<File> {
    let mut opened = options.open(path);
    if opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        if let Some(parent) = path.parent() {
            Dir::create(parent)?;
        }
        opened = options.open(path);
    }
    opened.map_err(|error| DurableError::new(operation, path, error))
}

/// The one call that differs between platforms and does not stand in `platform/`, because it syncs.
#[cfg(not(target_vendor = "apple"))]
fn sync_entries(directory: &OwnedFd) -> rustix::io::Result<()> {
    rustix::fs::fsync(directory)
}

/// A plain fsync leaves the entries in the drive's cache here. A file system that has nothing beyond it,
/// such as one of a network, says so and is asked for that.
#[cfg(target_vendor = "apple")]
fn sync_entries(directory: &OwnedFd) -> rustix::io::Result<()> {
    match rustix::fs::fcntl_fullfsync(directory) {
        Err(Errno::NOTSUP | Errno::INVAL | Errno::NOTTY) => rustix::fs::fsync(directory),
        result => result,
    }
}

fn parent_of(path: &Path) -> Result<(Option<Dir>, &OsStr)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(DurableError::new("use", path, Errno::INVAL));
    };
    Ok((Dir::open(parent)?, name))
}

fn components(rel: &Path) -> impl Iterator<Item = &OsStr> {
    rel.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::replace_file;

    #[test]
    fn an_emptied_directory_is_there_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, other) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::create_dir_all(folder.join("x/y")).unwrap();
        std::fs::create_dir(&other).unwrap();
        std::fs::write(folder.join("x/y/z"), "z").unwrap();
        std::fs::write(other.join("kept"), "k").unwrap();
        std::os::unix::fs::symlink(&other, folder.join("x/link")).unwrap();
        empty_dir(&folder).unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        assert!(other.join("kept").exists());
        empty_dir(&dir.path().join("absent")).unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn renaming_refuses_to_replace() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        replace_file(&a, b"a").unwrap();
        replace_file(&b, b"b").unwrap();
        assert!(rename_new(&a, &b).is_err());
        assert_eq!(std::fs::read(&b).unwrap(), b"b");
        rename_new(&a, &dir.path().join("c")).unwrap();
        assert_eq!(names(dir.path()), ["b", "c"]);
        assert!(remove_file(&b).unwrap());
        assert!(!remove_file(&b).unwrap());
    }

    #[test]
    fn no_symlink_is_followed_below_a_root() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("file")).unwrap();
        let root = Dir::open(dir.path()).unwrap().unwrap();
        assert!(root.open_beneath(Path::new("link")).is_err());
        assert!(root.create_beneath(Path::new("link/below")).is_err());
        assert!(root.open_file(OsStr::new("file")).is_err());
        assert!(names(outside.path()).is_empty());
    }
}
