//! The model: what of a run's writes and names is not synced yet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::acknowledged::{Commit, acknowledgement, is_job, is_ledger, is_log, is_write};
use super::unsynced::{Unsynced, Violation};
use crate::faults::trace::{Call, Event};

/// The calls that the model follows, for strace.
pub const CALLS: &str = "\
    open openat openat2 creat write writev pwrite64 pwritev fsync fdatasync ftruncate truncate fallocate \
    copy_file_range sendfile rename renameat renameat2 unlink unlinkat rmdir mkdir mkdirat link linkat symlink \
    symlinkat sync_file_range sync syncfs close";

/// What was written and not synced, carried from one trace to the next: a killed program leaves
/// its writes unsynced to the one that follows.
#[derive(Debug, Clone, Default)]
pub struct Model {
    unsynced: BTreeSet<Unsynced>,
    /// A sync of these bytes failed: the kernel may have dropped them, and would call the next
    /// sync a success. Only a new write helps, or that the file is cut back to before them.
    dropped: BTreeSet<PathBuf>,
    /// The first byte of each file that was written since its last sync.
    written_from: BTreeMap<PathBuf, u64>,
    existing: BTreeSet<PathBuf>,
    /// What was written to ledgers and their temporary files, to see of what a commit speaks.
    ledgers: BTreeMap<PathBuf, Vec<u8>>,
    /// Whether words and exit code 0 say that all is well. Not so for a run that has told of a
    /// failure: what it says else is about the rest. Commits and removed jobs always count.
    pub words_acknowledge: bool,
}

/// Checks one run on stores that were at rest and had no files before.
pub fn check(trace: &[Event]) -> Vec<Violation> {
    Model::new([]).run(trace)
}

impl Model {
    /// Everything is synced; these files and directories are there.
    pub fn new(existing: impl IntoIterator<Item = PathBuf>) -> Model {
        Model { existing: existing.into_iter().collect(), words_acknowledge: true, ..Model::default() }
    }

    /// What is unsynced now.
    pub fn unsynced(&self) -> Vec<Unsynced> {
        self.unsynced.iter().cloned().collect()
    }

    /// Follows a run and gives what it acknowledged too early. What it leaves unsynced stays so.
    pub fn run(&mut self, trace: &[Event]) -> Vec<Violation> {
        let main = trace.iter().find_map(|event| if let Event::Call(call) = event { Some(call.pid) } else { None });
        let mut violations = Vec::new();
        let mut touched = BTreeSet::new();
        for event in trace {
            let acknowledged = match event {
                Event::Exited(pid, 0) if Some(*pid) == main && self.words_acknowledge => Some("exit 0".to_owned()),
                Event::Call(call) => acknowledgement(call, self.words_acknowledge),
                _ => None,
            };
            if let Some(acknowledged) = acknowledged {
                let commit = if let Event::Call(call) = event { self.commit_of(call) } else { None };
                let removed =
                    if let Event::Call(call) = event { call.paths().pop().filter(|path| is_job(path)) } else { None };
                let is_word = matches!(event, Event::Call(call) if commit.is_none() && is_write(call));
                let matters = |unsynced: &&Unsynced| match &commit {
                    Some(commit) => commit.depends_on(unsynced),
                    // Of what an earlier run left, a word speaks only when this run has been there.
                    None if is_word && !is_touched(&touched, unsynced.path()) => false,
                    // A job that goes need not be safe itself.
                    None => !unsynced.is_temporary() && Some(unsynced.path()) != removed.as_deref(),
                };
                let unsynced: Vec<Unsynced> = self.unsynced.iter().filter(matters).cloned().collect();
                if !unsynced.is_empty() {
                    violations.push(Violation { acknowledged, unsynced });
                }
            }
            if let Event::Call(call) = event {
                self.follow(call);
                touched.extend(call.returned_path.clone().into_iter().chain(call.descriptor_path(0)));
                touched.extend(call.paths());
            }
        }
        violations
    }

    /// The commit that a call makes by writing to a ledger, or by putting a new one in place.
    fn commit_of(&self, call: &Call) -> Option<Commit> {
        match call.name.as_str() {
            "write" | "pwrite64" => {
                let ledger = call.descriptor_path(0).filter(|path| is_ledger(path))?;
                Some(Commit::of(ledger, if call.is_whole(1) { call.bytes(1) } else { None }))
            }
            _ if call.name.starts_with("rename") => {
                let [from, to] = &call.paths()[..] else { return None };
                is_ledger(to).then(|| Commit::of(to.clone(), self.ledgers.get(from).cloned()))
            }
            _ => None,
        }
    }

    fn follow(&mut self, call: &Call) {
        self.note_ledger(call);
        match call.name.as_str() {
            "fsync" | "fdatasync" if call.succeeded() => self.sync(call),
            "fsync" | "fdatasync" if call.result.is_some() && call.error.as_deref() != Some("EINTR") => {
                let path = call.descriptor_path(0);
                // What is left of a file that was cut back was synced before: there is only its length to lose.
                self.dropped.extend(path.filter(|path| self.written_from.contains_key(path)));
            }
            // What was killed on entering a call did not make it.
            "write" | "pwrite64" | "writev" | "pwritev" if call.result.is_some_and(|wrote| wrote > 0) => {
                let from = if call.name.starts_with('p') { call.number(3) } else { None };
                self.write(call.descriptor_path(0), from.unwrap_or(0));
            }
            "ftruncate" | "truncate" if call.succeeded() => {
                self.cut(call.descriptor_path(0).or_else(|| call.plain_path(0)), call.number(1).unwrap_or(u64::MAX));
            }
            "fallocate" if call.succeeded() => self.write(call.descriptor_path(0), 0),
            "copy_file_range" => self.write(call.descriptor_path(2), 0),
            "sendfile" => self.write(call.descriptor_path(0), 0),
            "open" | "openat" | "openat2" | "creat" if call.succeeded() => self.open(call),
            "mkdir" | "mkdirat" | "link" | "linkat" | "symlink" | "symlinkat" if call.succeeded() => {
                if let Some(path) = call.paths().pop() {
                    self.name(path);
                }
            }
            "rename" | "renameat" | "renameat2" if call.succeeded() => self.rename(call),
            "unlink" | "unlinkat" | "rmdir" if call.succeeded() => {
                if let Some(path) = call.paths().pop() {
                    self.unsynced.retain(|unsynced| !unsynced.path().starts_with(&path));
                    self.existing.remove(&path);
                }
            }
            _ => {}
        }
    }

    fn note_ledger(&mut self, call: &Call) {
        let is_temporary = |path: &PathBuf| path.to_string_lossy().ends_with(".ledger.tmp");
        let Some(path) = call.descriptor_path(0).filter(is_temporary) else { return };
        match (call.name.as_str(), call.bytes(1).filter(|_| call.is_whole(1))) {
            ("pwrite64", Some(bytes)) => self.ledgers.entry(path).or_default().extend(bytes),
            // What is not shown may speak of anything.
            ("pwrite64", None) => self.ledgers.entry(path).or_default().extend(b"\n?"),
            ("ftruncate", _) => drop(self.ledgers.remove(&path)),
            _ => {}
        }
    }

    /// A sync of a file saves its bytes, of a directory its names.
    fn sync(&mut self, call: &Call) {
        let Some(path) = call.descriptor_path(0) else { return };
        if !self.dropped.contains(&path) {
            self.unsynced.remove(&Unsynced::Bytes(path.clone()));
            self.written_from.remove(&path);
        }
        self.unsynced.retain(|unsynced| !matches!(unsynced, Unsynced::Name(name) if name.parent() == Some(&path)));
    }

    fn write(&mut self, path: Option<PathBuf>, from: u64) {
        if let Some(path) = path.filter(|path| is_watched(path)) {
            self.dropped.remove(&path);
            let first = self.written_from.entry(path.clone()).or_insert(from);
            *first = from.min(*first);
            self.unsynced.insert(Unsynced::Bytes(path));
        }
    }

    /// The new length is unsynced; bytes behind it matter no more.
    fn cut(&mut self, path: Option<PathBuf>, bytes: u64) {
        if let Some(path) = path.filter(|path| is_watched(path)) {
            if self.written_from.get(&path).is_none_or(|first| *first >= bytes) {
                self.written_from.remove(&path);
                self.dropped.remove(&path);
            }
            self.unsynced.insert(Unsynced::Bytes(path));
        }
    }

    fn open(&mut self, call: &Call) {
        let flags = call.args.iter().find(|arg| arg.starts_with("O_")).map_or("", String::as_str);
        let Some(path) = call.returned_path.clone().or_else(|| call.paths().pop()) else { return };
        let is_new = (flags.contains("O_CREAT") || call.name == "creat") && !self.existing.contains(&path);
        if is_new {
            self.name(path);
        } else {
            self.existing.insert(path.clone());
            if flags.contains("O_TRUNC") {
                self.cut(Some(path), 0);
            }
        }
    }

    fn name(&mut self, path: PathBuf) {
        self.existing.insert(path.clone());
        if is_watched(&path) {
            self.unsynced.insert(Unsynced::Name(path));
        }
    }

    /// What was unsynced below the old name is so below the new one.
    fn rename(&mut self, call: &Call) {
        let [from, to] = &call.paths()[..] else { return };
        let moved = |path: &Path| {
            path.strip_prefix(from).ok().map(|rest| if rest == Path::new("") { to.clone() } else { to.join(rest) })
        };
        self.unsynced.retain(|unsynced| !unsynced.path().starts_with(to));
        let renamed = std::mem::take(&mut self.unsynced).into_iter().filter_map(|unsynced| match unsynced {
            // The name itself is new again, below.
            Unsynced::Name(path) if path == *from => None,
            Unsynced::Name(path) => Some(Unsynced::Name(moved(&path).unwrap_or(path))),
            Unsynced::Bytes(path) => Some(Unsynced::Bytes(moved(&path).unwrap_or(path))),
        });
        self.unsynced = renamed.collect();
        self.written_from.remove(to);
        self.dropped.remove(to);
        if let Some(first) = self.written_from.remove(from) {
            self.written_from.insert(to.clone(), first);
        }
        if self.dropped.remove(from) {
            self.dropped.insert(to.clone());
        }
        self.existing.remove(from);
        self.name(to.clone());
    }
}

/// Whether the path itself or something below it was opened, written or named.
fn is_touched(touched: &BTreeSet<PathBuf>, path: &Path) -> bool {
    touched.range(path.to_owned()..).next().is_some_and(|next| next.starts_with(path))
}

fn is_watched(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_lock = name == "lock" || name.ends_with(".lock") || name.ends_with(".turnstile");
    // The list of what is owed to the index is as disposable: it is synced where the index could not be written.
    let is_index = name.starts_with("sessions.db") || name == "to-index";
    // What a comparison of stored contents gave: made again from them.
    let is_loss = path.iter().any(|part| part == "losses");
    // When a warning was last shown: losing that shows it once more.
    let is_mark = path.iter().any(|part| part == "told");
    let elsewhere = ["/dev/pts", "/dev/null", "/dev/tty", "/proc", "/sys"].iter().any(|dir| path.starts_with(dir));
    // A file without a name (`O_TMPFILE`) is gone with its descriptor: nothing of it can be acknowledged.
    let is_nameless = name.strip_prefix('#').is_some_and(|n| n.bytes().all(|byte| byte.is_ascii_digit()));
    !is_nameless && !is_lock && !is_index && !is_loss && !is_mark && !is_log(path) && !elsewhere && !name.is_empty()
}
