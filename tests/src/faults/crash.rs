//! Crash states: what a loss of power could leave, rebuilt from the trace of a clean run.
//!
//! After each call of the run that changes something there is a disk as the program sees it, and
//! a part of it that is safe: bytes that were synced, names whose directory was synced. A loss of
//! power leaves the safe part and any of the rest; of that, the extremes are laid out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::scene::Scene;
use super::trace::{Call, Event};
use crate::tree;

/// Which part of what was not synced a loss of power leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// Nothing of it.
    Nothing,
    /// Names, not bytes: files are as long as when they were last synced.
    Names,
    /// Names, and half of each file's bytes.
    Torn,
    /// Names, and lengths; the bytes are zero.
    Zeroed,
    /// Bytes, not names.
    Bytes,
}

const ALL: [Left; 5] = [Left::Nothing, Left::Names, Left::Torn, Left::Zeroed, Left::Bytes];

/// A disk after a loss of power.
#[derive(Debug, Clone)]
pub struct CrashState {
    /// After so many calls that changed something.
    pub after: usize,
    /// What of the unsynced part is left.
    pub left: Left,
    /// Whether the run had ended: then all of its work was acknowledged.
    pub had_ended: bool,
    /// Directories (`None`) and files.
    entries: BTreeMap<PathBuf, Option<Vec<u8>>>,
}

/// Bytes as the program sees them, and as they were when they were last synced.
#[derive(Debug, Clone, Default)]
struct Content {
    now: Vec<u8>,
    safe: Vec<u8>,
}

/// What a name stands for: a directory, or a content by its number.
type Names = BTreeMap<PathBuf, Option<usize>>;

#[derive(Debug, Default)]
struct Disk {
    /// The directories that are looked at.
    watched: Vec<PathBuf>,
    contents: Vec<Content>,
    names: Names,
    safe_names: Names,
}

/// Every state, each once, that a loss of power in the run of `events` could leave in the
/// directories that the scene's program writes. The scene's starting state must lie there.
pub fn states(scene: &Scene, events: &[Event]) -> Vec<CrashState> {
    Disk::of(&scene.state).states(events)
}

impl CrashState {
    /// Lays it out in place of what the scene's program wrote.
    pub fn lay_out(&self, scene: &Scene) {
        for dir in &scene.state {
            super::scene::remove_tree(dir);
        }
        for (path, content) in &self.entries {
            let mode = match content {
                None => {
                    fs::create_dir_all(path).expect("make a directory");
                    0o700
                }
                Some(bytes) => {
                    fs::write(path, bytes).expect("write a file");
                    0o600
                }
            };
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set a mode");
        }
    }

    /// Its name within a workload.
    pub fn name(&self) -> String {
        format!("{:?}-{}", self.left, self.after).to_lowercase()
    }
}

impl Disk {
    fn states(mut self, events: &[Event]) -> Vec<CrashState> {
        let (mut seen, mut states) = (BTreeSet::new(), Vec::new());
        let mut after = 0;
        for (index, event) in events.iter().enumerate() {
            let had_ended = index + 1 == events.len();
            let changed = matches!(event, Event::Call(call) if self.follow(call));
            after += usize::from(changed);
            if !changed && !had_ended {
                continue;
            }
            for left in ALL {
                let entries = self.after_loss(left);
                let hash = blake3::hash(format!("{had_ended} {entries:?}").as_bytes());
                if seen.insert(*hash.as_bytes()) {
                    states.push(CrashState { after, left, had_ended, entries });
                }
            }
        }
        states
    }

    fn of(watched: &[PathBuf]) -> Disk {
        let mut disk = Disk { watched: watched.to_vec(), ..Disk::default() };
        for dir in watched.iter().filter(|dir| dir.is_dir()) {
            disk.names.insert(dir.clone(), None);
            for (path, entry) in tree::all(dir) {
                let path = dir.join(path);
                let content = matches!(entry, tree::Entry::File(..)).then(|| {
                    let bytes = fs::read(&path).expect("read a file of the starting state");
                    disk.contents.push(Content { now: bytes.clone(), safe: bytes });
                    disk.contents.len() - 1
                });
                disk.names.insert(path, content);
            }
        }
        disk.safe_names = disk.names.clone();
        disk
    }

    /// Whether the call changed anything.
    fn follow(&mut self, call: &Call) -> bool {
        let is_watched = |path: &PathBuf| self.watched.iter().any(|dir| path.starts_with(dir));
        // The name of a watched directory itself is safe by a sync of the one above it.
        let syncs = call.name == "fsync" && call.descriptor_path(0).is_some();
        let concerns = call.paths().iter().chain(&call.returned_path).any(is_watched) || syncs;
        if !call.succeeded() || !concerns {
            return false;
        }
        match call.name.as_str() {
            "open" | "openat" | "creat" => self.open(call),
            "pwrite64" | "write" => self.write(call),
            "ftruncate" => {
                self.change(call, |content, call| content.now.resize(call.number(1).unwrap_or(0) as usize, 0))
            }
            "fsync" | "fdatasync" => self.sync(call),
            "mkdir" | "mkdirat" => call.paths().pop().is_some_and(|path| self.names.insert(path, None).is_none()),
            "rename" | "renameat" | "renameat2" => self.rename(call),
            "unlink" | "unlinkat" | "rmdir" => {
                call.paths().pop().is_some_and(|path| self.names.remove(&path).is_some())
            }
            _ => false,
        }
    }

    fn open(&mut self, call: &Call) -> bool {
        let creates = call.args.iter().any(|arg| arg.contains("O_CREAT"));
        let Some(path) = call.returned_path.clone().filter(|path| creates && !self.names.contains_key(path)) else {
            return false;
        };
        self.contents.push(Content::default());
        self.names.insert(path, Some(self.contents.len() - 1));
        true
    }

    fn write(&mut self, call: &Call) -> bool {
        assert!(call.is_whole(1), "a clean trace shows whole buffers");
        self.change(call, |content, call| {
            let bytes = call.bytes(1).unwrap_or_default();
            let at = call.number(3).map_or(content.now.len(), |offset| offset as usize);
            content.now.resize(content.now.len().max(at + bytes.len()), 0);
            content.now[at..at + bytes.len()].copy_from_slice(&bytes);
        })
    }

    fn change(&mut self, call: &Call, change: impl FnOnce(&mut Content, &Call)) -> bool {
        let number = call.descriptor_path(0).and_then(|path| self.names.get(&path).copied().flatten());
        let Some(number) = number else { return false };
        change(&mut self.contents[number], call);
        true
    }

    fn sync(&mut self, call: &Call) -> bool {
        let Some(path) = call.descriptor_path(0) else { return false };
        if let Some(Some(number)) = self.names.get(&path) {
            let content = &mut self.contents[*number];
            content.safe = content.now.clone();
            return true;
        }
        let is_in = |name: &Path| name.parent() == Some(&path);
        self.safe_names.retain(|name, _| !is_in(name));
        self.safe_names.extend(self.names.iter().filter(|(name, _)| is_in(name)).map(|(name, of)| (name.clone(), *of)));
        true
    }

    fn rename(&mut self, call: &Call) -> bool {
        let [from, to] = &call.paths()[..] else { return false };
        let moved: Names =
            self.names.iter().filter(|(name, _)| name.starts_with(from)).map(|(n, of)| (n.clone(), *of)).collect();
        for (name, of) in moved {
            self.names.remove(&name);
            let rest = name.strip_prefix(from).expect("filtered above");
            self.names.insert(if rest == Path::new("") { to.clone() } else { to.join(rest) }, of);
        }
        true
    }

    fn after_loss(&self, left: Left) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let names = if matches!(left, Left::Nothing | Left::Bytes) { &self.safe_names } else { &self.names };
        let mut entries: BTreeMap<PathBuf, Option<Vec<u8>>> = BTreeMap::new();
        for (name, of) in names {
            // A name is gone with any directory above it. Parents come before their children.
            let parent = name.parent().unwrap_or(Path::new("/"));
            let is_reachable = entries.contains_key(parent) || !self.names.contains_key(parent);
            if is_reachable {
                entries.insert(name.clone(), of.map(|number| self.contents[number].after_loss(left)));
            }
        }
        entries
    }
}

impl Content {
    fn after_loss(&self, left: Left) -> Vec<u8> {
        if self.now == self.safe {
            return self.safe.clone();
        }
        // A write over synced bytes leaves the old ones or the new ones; only beyond them can a file
        // be shorter, or zero.
        let alike = self.now.iter().zip(&self.safe).take_while(|(a, b)| a == b).count();
        let over_safe = |from: usize| self.safe.get(from..).unwrap_or_default().iter().copied();
        match left {
            Left::Nothing | Left::Names => self.safe.clone(),
            Left::Bytes => self.now.clone(),
            Left::Torn => {
                let torn = alike + (self.now.len() - alike) / 2;
                self.now[..torn].iter().copied().chain(over_safe(torn)).collect()
            }
            Left::Zeroed => {
                let begin = self.now[..alike].iter().copied().chain(over_safe(alike)).take(self.now.len());
                let mut bytes: Vec<u8> = begin.collect();
                bytes.resize(self.now.len(), 0);
                bytes
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::trace;

    const GOOD: [&str; 8] = [
        r#"7 mkdirat(3</>, "s", 0700) = 0"#,
        r#"7 fsync(3</>) = 0"#,
        r#"7 openat(4</s>, "new", O_RDWR|O_CREAT, 0600) = 5</s/new>"#,
        r#"7 pwrite64(5</s/new>, "abcd", 4, 0) = 4"#,
        r#"7 fdatasync(5</s/new>) = 0"#,
        r#"7 renameat2(4</s>, "new", 4</s>, "a", RENAME_NOREPLACE) = 0"#,
        r#"7 fsync(4</s>) = 0"#,
        "7 +++ exited with 0 +++",
    ];

    fn states(lines: &[&str]) -> Vec<CrashState> {
        let watched = Disk { watched: vec!["/s".into()], ..Disk::default() };
        watched.states(&trace::parse(&lines.join("\n")))
    }

    /// What a loss of power may leave of `/s/a` after the run had ended.
    fn ends(left_out: usize) -> Vec<Option<Vec<u8>>> {
        let mut lines = GOOD.to_vec();
        lines.remove(left_out);
        let ended = states(&lines).into_iter().filter(|state| state.had_ended);
        ended.map(|state| state.entries.get(Path::new("/s/a")).cloned().flatten()).collect()
    }

    #[test]
    fn in_the_end_all_is_safe() {
        let ended: Vec<_> = states(&GOOD).into_iter().filter(|state| state.had_ended).collect();
        assert_eq!(ended.len(), 1, "{ended:?}");
        assert_eq!(ended[0].entries[Path::new("/s/a")], Some(b"abcd".to_vec()));
    }

    #[test]
    fn each_sync_that_is_left_out_can_cost_the_content() {
        assert!(ends(1).contains(&None), "the directory's name");
        assert!(ends(6).contains(&None), "the file's name");
        let bytes = ends(4);
        for left in [&b""[..], b"ab", b"\0\0\0\0", b"abcd"] {
            assert!(bytes.contains(&Some(left.to_vec())), "{left:?} of {bytes:?}");
        }
    }

    #[test]
    fn a_write_over_safe_bytes_leaves_old_or_new_ones() {
        let content = Content { safe: b"abcdef".to_vec(), now: b"abXYef".to_vec() };
        let left = ALL.map(|left| String::from_utf8(content.after_loss(left)).expect("text"));
        assert_eq!(left, ["abcdef", "abcdef", "abXYef", "abcdef", "abXYef"]);
        let grown = Content { safe: b"ab".to_vec(), now: b"abcdefgh".to_vec() };
        assert_eq!(grown.after_loss(Left::Torn), b"abcde");
        assert_eq!(grown.after_loss(Left::Zeroed), b"ab\0\0\0\0\0\0");
    }

    #[test]
    fn in_the_middle_half_of_a_write_may_be_there() {
        let torn = states(&GOOD).into_iter().find(|state| state.left == Left::Torn && state.after == 4);
        let torn = torn.expect("a state in the middle of the write");
        assert_eq!(torn.entries[Path::new("/s/new")], Some(b"ab".to_vec()));
        assert_eq!(torn.name(), "torn-4");
    }
}
