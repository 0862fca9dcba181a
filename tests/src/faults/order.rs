//! The order of durability, from a trace: nothing may be acknowledged while something that was
//! written, or a new directory entry, is unsynced.
//!
//! The model is stricter than any file system: a file's bytes are safe only after a sync of that
//! file, a name (by creation, `mkdir` or rename) only after a sync of its directory. It does not
//! look at `.log/`, at lock files, at files without a name, nor at the index, which is made again from the store.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::trace::{Call, Event};

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

/// The calls that the model follows, for strace.
pub const CALLS: [&str; 31] = [
    "open",
    "openat",
    "openat2",
    "creat",
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "fsync",
    "fdatasync",
    "ftruncate",
    "truncate",
    "fallocate",
    "copy_file_range",
    "sendfile",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "sync_file_range",
    "sync",
    "syncfs",
    "close",
];

/// Words that acknowledge, on stdout, on stderr and in a log.
const ACKNOWLEDGING: [&str; 5] = ["saved", "Saved", "copied", "receipt", "✅"];
/// The mark of a line that says what did not succeed.
const REFUSING: char = '❌';

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

/// Whether a log says that something did not succeed: a deliverer has nobody else to tell, and what it
/// did not deliver stays in the outbox.
pub fn refuses(trace: &[Event]) -> bool {
    trace.iter().any(|event| {
        let Event::Call(call) = event else { return false };
        let text =
            call.bytes(1).filter(|_| is_write(call) && call.descriptor_path(0).is_some_and(|path| is_log(&path)));
        text.is_some_and(|text| String::from_utf8_lossy(&text).contains(REFUSING))
    })
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

impl Unsynced {
    fn path(&self) -> &Path {
        match self {
            Unsynced::Bytes(path) | Unsynced::Name(path) => path,
        }
    }

    /// Nobody speaks of a temporary file before it bears another name.
    fn is_temporary(&self) -> bool {
        let name = self.path().file_name().unwrap_or_default().to_string_lossy();
        name == "new" || name.ends_with(".tmp")
    }
}

/// Lines of a ledger that are being written.
struct Commit {
    ledger: PathBuf,
    /// The contents that they commit; `None` where that could not be read.
    contents: Option<Vec<PathBuf>>,
}

impl Commit {
    /// Each line is a checksum, a blank and an object; only one with a length commits a content.
    fn of(ledger: PathBuf, text: Option<Vec<u8>>) -> Commit {
        let project = ledger.file_stem().unwrap_or_default().to_owned();
        let folder = ledger.ancestors().nth(4).map(|store| store.join(project)).unwrap_or_default();
        let content = |line: &[u8]| -> Option<Option<PathBuf>> {
            let at = line.iter().position(|byte| *byte == b' ')?;
            let line: Value = serde_json::from_slice(&line[at..]).ok()?;
            Some(line["path"].as_str().filter(|_| line["bytes"].is_u64()).map(|path| folder.join(path)))
        };
        let lines = text.as_deref().map(|text| text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()));
        let contents = lines.and_then(|lines| lines.map(content).collect::<Option<Vec<_>>>());
        let contents = contents.map(|contents| contents.into_iter().flatten().collect());
        Commit { ledger, contents }
    }

    /// The commit needs the bytes of its contents, and every name on the way to them and to itself.
    fn depends_on(&self, unsynced: &Unsynced) -> bool {
        let path = unsynced.path();
        if path == self.ledger || unsynced.is_temporary() {
            return false;
        }
        match (&self.contents, unsynced) {
            (None, _) => true,
            (Some(contents), Unsynced::Bytes(path)) => contents.contains(path),
            (Some(contents), Unsynced::Name(path)) => {
                self.ledger.starts_with(path) || contents.iter().any(|content| content.starts_with(path))
            }
        }
    }
}

/// How a call acknowledges something, if it does.
fn acknowledgement(call: &Call, words_count: bool) -> Option<String> {
    let shown = || format!("{}({})", call.name, call.args.join(", "));
    match call.name.as_str() {
        "write" | "pwrite64" => {
            let path = call.descriptor_path(0);
            let is_said = matches!(call.descriptor(0), Some(1 | 2)) || path.as_deref().is_some_and(is_log);
            let is_commit = path.as_deref().is_some_and(is_ledger);
            let text = call.bytes(1).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let acknowledges =
                |line: &str| !line.contains(REFUSING) && ACKNOWLEDGING.iter().any(|word| line.contains(word));
            (is_commit || words_count && is_said && text.lines().any(acknowledges)).then(shown)
        }
        "rename" | "renameat" | "renameat2" => call.paths().pop().is_some_and(|to| is_ledger(&to)).then(shown),
        "unlink" | "unlinkat" => call.paths().pop().is_some_and(|path| is_job(&path)).then(shown),
        _ => None,
    }
}

fn is_write(call: &Call) -> bool {
    matches!(call.name.as_str(), "write" | "pwrite64")
}

/// Whether the path itself or something below it was opened, written or named.
fn is_touched(touched: &BTreeSet<PathBuf>, path: &Path) -> bool {
    touched.range(path.to_owned()..).next().is_some_and(|next| next.starts_with(path))
}

fn is_ledger(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("ledger"))
}

fn is_log(path: &Path) -> bool {
    path.iter().any(|part| part == ".log")
}

fn is_job(path: &Path) -> bool {
    let in_outbox = path.parent().and_then(Path::file_name) == Some(OsStr::new(".outbox"));
    in_outbox && path.extension() == Some(OsStr::new("json"))
}

fn is_watched(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_lock = name == "lock" || name.ends_with(".lock") || name.ends_with(".turnstile");
    let is_index = name.starts_with("sessions.db");
    // When a warning was last shown: losing that shows it once more.
    let is_mark = path.iter().any(|part| part == "told");
    let elsewhere = ["/dev/pts", "/dev/null", "/dev/tty", "/proc", "/sys"].iter().any(|dir| path.starts_with(dir));
    // A file without a name (`O_TMPFILE`) is gone with its descriptor: nothing of it can be acknowledged.
    let is_nameless = name.strip_prefix('#').is_some_and(|n| n.bytes().all(|byte| byte.is_ascii_digit()));
    !is_nameless && !is_lock && !is_index && !is_mark && !is_log(path) && !elsewhere && !name.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::trace;

    /// A durable replacement: temporary file, bytes, sync, rename, sync of the directory.
    const GOOD: [&str; 7] = [
        r#"7 mkdirat(3</s>, "p", 0700) = 0"#,
        r#"7 fsync(3</s>) = 0"#,
        r#"7 openat(4</s/p>, ".a.tmp", O_RDWR|O_CREAT, 0600) = 5</s/p/.a.tmp>"#,
        r#"7 pwrite64(5</s/p/.a.tmp>, "x", 1, 0) = 1"#,
        r#"7 fdatasync(5</s/p/.a.tmp>) = 0"#,
        r#"7 renameat(4</s/p>, ".a.tmp", 4</s/p>, "a.jsonl") = 0"#,
        r#"7 fsync(4</s/p>) = 0"#,
    ];

    fn violations(lines: &[&str]) -> Vec<String> {
        check(&trace::parse(&lines.join("\n"))).iter().map(Violation::to_string).collect()
    }

    #[test]
    fn each_sync_is_needed() {
        let end = "7 +++ exited with 0 +++";
        let whole: Vec<&str> = GOOD.into_iter().chain([end]).collect();
        assert!(violations(&whole).is_empty());
        for (left_out, missing) in [(1, "name of /s/p;"), (4, "bytes of /s/p/a.jsonl;"), (6, "name of /s/p/a.jsonl;")] {
            let mut lines = whole.clone();
            lines.remove(left_out);
            assert_eq!(violations(&lines), [format!("exit 0 while unsynced: {missing}")]);
        }
    }

    #[test]
    fn a_failed_sync_saves_nothing() {
        let mut lines = GOOD.to_vec();
        lines[4] = r#"7 fdatasync(5</s/p/.a.tmp>) = -1 EIO (Input/output error) (INJECTED)"#;
        lines.push(r#"7 write(1<pipe:[1]>, "1 session saved\n", 16) = 16"#);
        assert_eq!(violations(&lines).len(), 1);
    }

    #[test]
    fn a_sync_that_failed_is_not_made_good_by_another_one() {
        let failed = r#"7 fdatasync(5</s/p/.a.tmp>) = -1 EIO (Input/output error)"#;
        let mut again = GOOD[..4].to_vec();
        again.extend([failed, GOOD[4], GOOD[5], GOOD[6], "7 +++ exited with 0 +++"]);
        assert_eq!(violations(&again), ["exit 0 while unsynced: bytes of /s/p/a.jsonl;"]);
        again.insert(5, GOOD[3]);
        assert!(violations(&again).is_empty());
    }

    #[test]
    fn a_file_cut_back_to_what_was_synced_needs_its_length_synced_and_nothing_else() {
        let append = r#"7 pwrite64(5</s/p/a>, "x", 1, 9) = 1"#;
        let failed = r#"7 fdatasync(5</s/p/a>) = -1 EIO (Input/output error)"#;
        let (cut, synced) = (r#"7 ftruncate(5</s/p/a>, 9) = 0"#, r#"7 fdatasync(5</s/p/a>) = 0"#);
        let end = "7 +++ exited with 0 +++";
        let unsynced = ["exit 0 while unsynced: bytes of /s/p/a;"];
        assert!(violations(&[append, failed, cut, failed, synced, end]).is_empty());
        assert_eq!(violations(&[append, failed, cut, failed, end]), unsynced);
        assert_eq!(violations(&[append, failed, synced, end]), unsynced);
        // Less was cut off than the failed sync may have lost.
        let cut_less = r#"7 ftruncate(5</s/p/a>, 10) = 0"#;
        assert_eq!(violations(&[append, failed, cut_less, synced, end]), unsynced);
    }

    #[test]
    fn words_logs_receipts_and_commits_acknowledge() {
        let write = r#"7 pwrite64(5</s/p/a.jsonl>, "x", 1, 0) = 1"#;
        let check = |line: &str, count: usize| assert_eq!(violations(&[write, line]).len(), count, "{line}");
        check(r#"7 write(6</s/.log/layer1.log>, "10:00 saved p/a", 15) = 15"#, 1);
        check(r#"7 write(2<pipe:[1]>, "[session-save] \342\234\205 Saved", 21) = 21"#, 1);
        check(r#"7 write(2<pipe:[1]>, "warning: disk full", 18) = 18"#, 0);
        check(r#"7 write(2<pipe:[1]>, "\342\235\214 Attempt 1/1: keep the receipt: disk full", 44) = 44"#, 0);
        check(r#"7 unlinkat(4</s/.outbox>, "a@p.json", 0) = 0"#, 1);
        check(r#"7 unlinkat(4</s/.outbox>, ".a@p.json.tmp", 0) = 0"#, 0);
        check(r#"7 pwrite64(6</s/.state/sessions/a/p.ledger>, "y", 1, 9) = 1"#, 1);
        check(r#"7 renameat(6</s/.state>, ".p.ledger.tmp", 6</s/.state>, "p.ledger") = 0"#, 1);
        check(r#"7 +++ exited with 1 +++"#, 0);
    }

    #[test]
    fn a_run_that_tells_of_a_failure_acknowledges_by_its_commits_alone() {
        let trace = trace::parse(
            "7 pwrite64(5</s/p/a.jsonl>, \"x\", 1, 0) = 1\n\
             7 write(1<pipe:[1]>, \"1 session saved\\n\", 16) = 16\n\
             7 pwrite64(6</s/.state/sessions/a/p.ledger>, \"y\", 1, 9) = 1\n\
             7 +++ exited with 0 +++",
        );
        let mut model = Model::new([]);
        model.words_acknowledge = false;
        assert_eq!(model.run(&trace).len(), 1);
        assert_eq!(check(&trace).len(), 3);
    }

    #[test]
    fn a_ledger_may_be_unsynced_while_it_is_written_but_not_afterwards() {
        let commit = r#"7 pwrite64(6</s/p.ledger>, "y", 1, 9) = 1"#;
        assert!(violations(&[commit, commit]).is_empty());
        assert_eq!(violations(&[commit, "7 +++ exited with 0 +++"]), ["exit 0 while unsynced: bytes of /s/p.ledger;"]);
    }

    #[test]
    fn a_temporary_file_may_wait_until_it_is_renamed() {
        let open = r#"7 openat(4</s/p>, "new", O_RDWR|O_CREAT, 0600) = 5</s/p/new>"#;
        let write = r#"7 pwrite64(5</s/p/new>, "x", 1, 0) = 1"#;
        let commit = r#"7 pwrite64(6</s/p.ledger>, "y", 1, 9) = 1"#;
        assert!(violations(&[open, write, commit]).is_empty());
        let rename = r#"7 renameat2(4</s/p>, "new", 4</s/p>, "a", RENAME_NOREPLACE) = 0"#;
        assert_eq!(violations(&[open, write, rename, commit]).len(), 1);
    }

    #[test]
    fn a_commit_needs_what_it_speaks_of() {
        let write = r#"7 pwrite64(5</s/p/a/side>, "x", 1, 0) = 1"#;
        let commit = |path: &str| {
            let line = format!(r#""00 {{\"path\":\"{path}\",\"bytes\":1}}\n", 40, 9"#);
            format!("7 pwrite64(6</s/.state/sessions/a/p.ledger>, {line}) = 40")
        };
        assert_eq!(violations(&[write, &commit("a/side")]).len(), 1);
        assert!(violations(&[write, &commit("a.jsonl")]).is_empty());
        let name = r#"7 mkdirat(5</s/.state/sessions>, "a", 0700) = 0"#;
        assert_eq!(violations(&[name, &commit("a.jsonl")]).len(), 1);
    }

    #[test]
    fn locks_logs_and_the_index_are_left_out() {
        let lines = [
            r#"7 openat(AT_FDCWD</>, "/s/.state/store.lock", O_RDWR|O_CREAT, 0600) = 5</s/.state/store.lock>"#,
            r#"7 openat(AT_FDCWD</>, "/s/.log/layer1.log", O_WRONLY|O_CREAT, 0600) = 6</s/.log/layer1.log>"#,
            r#"7 pwrite64(7</s/sessions.db-wal>, "x", 1, 0) = 1"#,
            "7 +++ exited with 0 +++",
        ];
        assert!(violations(&lines).is_empty());
    }

    #[test]
    fn what_a_killed_run_left_unsynced_is_the_next_ones_to_sync() {
        let mut model = Model::new([PathBuf::from("/s")]);
        let killed = [r#"7 mkdirat(3</s>, "p", 0700) = 0"#, "7 +++ killed by SIGKILL +++"].join("\n");
        assert!(model.run(&trace::parse(&killed)).is_empty());
        assert_eq!(model.unsynced(), [Unsynced::Name("/s/p".into())]);
        let next = ["8 fsync(3</s/p>) = 0", "8 +++ exited with 0 +++"].join("\n");
        assert_eq!(model.run(&trace::parse(&next)).len(), 1);
    }

    #[test]
    fn a_word_speaks_of_what_the_run_has_touched_and_exit_0_of_everything() {
        let mut model = Model::new([PathBuf::from("/s")]);
        let killed = [r#"7 mkdirat(3</s>, "b", 0700) = 0"#, "7 +++ killed by SIGKILL +++"].join("\n");
        model.run(&trace::parse(&killed));
        let word = r#"8 write(1<pipe:[1]>, "a saved", 7) = 7"#;
        let open = r#"8 openat(4</s/b>, "x", O_RDONLY) = 5</s/b/x>"#;
        let count = |lines: &[&str]| model.clone().run(&trace::parse(&lines.join("\n"))).len();
        assert_eq!(count(&[word]), 0);
        assert_eq!(count(&[open, word]), 1);
        assert_eq!(count(&[word, "8 +++ exited with 0 +++"]), 1);
    }

    #[test]
    fn an_existing_file_needs_no_new_name() {
        let open = r#"7 openat(4</s/p>, "a", O_RDWR|O_CREAT, 0600) = 5</s/p/a>"#;
        let lines = [open, "7 +++ exited with 0 +++"].join("\n");
        assert_eq!(Model::new([]).run(&trace::parse(&lines)).len(), 1);
        assert!(Model::new([PathBuf::from("/s/p/a")]).run(&trace::parse(&lines)).is_empty());
    }
}
