//! Which points a workload has: every file- and process-related call that a clean run makes,
//! with every way in which that call can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::order::Violation;
use super::point::{INTERRUPTIONS, Kind, Point, Scope, Span};
use super::scene::Scene;
use super::trace::{self, Call, Event};
use crate::run::Outcome;

/// Every call that is looked at: those on files, directories and descriptors, and on processes.
pub(super) const CALLS: &str = "\
    open openat openat2 creat close read readv pread64 preadv write writev pwrite64 pwritev fsync fdatasync \
    sync_file_range ftruncate truncate fallocate rename renameat renameat2 unlink unlinkat rmdir mkdir mkdirat link \
    linkat symlinkat stat lstat fstat newfstatat statx statfs fstatfs getdents64 flock fcntl chmod fchmod fchmodat \
    fchown utimensat lseek readlink readlinkat access faccessat faccessat2 getcwd copy_file_range sendfile getrandom \
    poll ppoll select epoll_create1 epoll_ctl epoll_wait eventfd2 pipe2 socketpair dup dup2 dup3 clone clone3 fork \
    vfork execve wait4 waitid kill ioctl";
/// Longest string that a clean trace shows: whole buffers, so that a short read can be played.
const SHOWN_BYTES: u32 = 1 << 20;
/// strace takes no more bytes than this to be put into a buffer; a longer half is cut to it.
const PLAYED_BYTES_MAX: usize = 1000;

/// A point, and how strace is told to make it.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    /// The point.
    pub point: Point,
    /// What the call returns instead of being made.
    pub returns: Option<u64>,
    /// What is put into its buffer, in hexadecimal: before a write, after a read.
    pub poke: Option<String>,
}

/// The points of a workload.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// In the order of the calls.
    pub points: Vec<Planned>,
    /// Every path of the home that a clean run touches, relative to the scratch root.
    pub paths: Vec<PathBuf>,
    /// What the clean run acknowledged too early.
    pub violations: Vec<Violation>,
    /// The clean run, whole buffers shown.
    pub events: Vec<Event>,
    /// How often each call was made in the scope that counts it (by the thread that made most).
    pub counts: BTreeMap<(String, Scope), u32>,
}

/// What one thread's Nth call of a name was.
#[derive(Debug, Clone)]
struct Seen {
    call: Call,
    in_home: bool,
    is_before_main: bool,
}

type Counted = BTreeMap<(String, u32), Vec<Seen>>;

/// Runs the workload twice in each scope and plans its points.
pub(super) fn plan(scene: &Scene, program: &str, workload: &str) -> Plan {
    scene.reset();
    let mut model = scene.model();
    let all = clean(scene, &[]);
    let violations = model.run(&all);
    let all_again = counted(scene, &clean(scene, &[]));
    let paths = home_paths(scene.root(), &all);
    let absolute: Vec<PathBuf> = paths.iter().map(|path| scene.root().join(path)).collect();
    let first = counted(scene, &clean(scene, &absolute));
    let again = counted(scene, &clean(scene, &absolute));
    let everything = counted(scene, &all);
    let mut points = Vec::new();
    let mut counts = BTreeMap::new();
    let mut add = |scope: Scope, (call, n): &(String, u32), seen: &[Seen], kinds: Vec<(Kind, Span, Effect)>| {
        let count = counts.entry((call.clone(), scope)).or_insert(0);
        *count = (*n).max(*count);
        debug_assert!(!seen.is_empty());
        points.extend(kinds.into_iter().map(|(kind, span, effect)| Planned {
            point: Point {
                program: program.to_owned(),
                workload: workload.to_owned(),
                call: call.clone(),
                scope,
                kind,
                span,
                n: *n,
            },
            returns: effect.returns,
            poke: effect.poke,
        }));
    };
    for (which, seen) in &first {
        let kinds = kinds_of(scene, &seen[0].call, again.get(which).map(|seen| &seen[0].call));
        add(Scope::Home, which, seen, kinds);
    }
    for (which, seen) in &everything {
        let is_ours = |seen: &&Seen| !seen.in_home && !seen.is_before_main && !looks_at_machine(&seen.call);
        let ours: Vec<Seen> = seen.iter().filter(is_ours).cloned().collect();
        // A point that would hit the loader as well says nothing about the program; one that comes
        // only now and then cannot be repeated.
        if ours.is_empty() || seen.iter().any(|seen| seen.is_before_main) || !all_again.contains_key(which) {
            continue;
        }
        // No call returns more than it was asked for, in whichever thread it is hit.
        let least = seen.iter().filter_map(|seen| seen.call.number(2)).min();
        let fits = |(_, _, effect): &(Kind, Span, Effect)| effect.returns.is_none_or(|r| least.is_none_or(|l| r <= l));
        let kinds = kinds_of(scene, &ours[0].call, None).into_iter().filter(fits).collect();
        add(Scope::All, which, &ours, kinds);
    }
    Plan { points, paths, violations, events: all, counts }
}

impl Planned {
    /// The argument of `-e inject=`.
    pub(super) fn injection(&self) -> String {
        let Point { call, kind, span, n, .. } = &self.point;
        let when = match (span, kind) {
            (Span::Once, _) => n.to_string(),
            (Span::On, Kind::Eintr) => format!("{n}..{}", n + INTERRUPTIONS - 1),
            (Span::On, _) => format!("{n}+"),
        };
        let mut injection = format!("inject={call}");
        if let Some(errno) = kind.errno() {
            injection.push_str(&format!(":error={errno}"));
        }
        if *kind == Kind::Kill {
            injection.push_str(":signal=KILL");
        }
        if let Some(returns) = self.returns {
            injection.push_str(&format!(":retval={returns}"));
        }
        if let Some(poke) = &self.poke {
            let when = if is_read(call) { "poke_exit" } else { "poke_enter" };
            injection.push_str(&format!(":{when}=@arg2={poke}"));
        }
        format!("{injection}:when={when}")
    }
}

/// What the injection needs besides the kind.
#[derive(Debug, Clone, Default)]
struct Effect {
    returns: Option<u64>,
    poke: Option<String>,
}

/// Every way in which this call can fail. `again` is the same call in a second run: only what was
/// read alike both times can be played.
fn kinds_of(scene: &Scene, call: &Call, again: Option<&Call>) -> Vec<(Kind, Span, Effect)> {
    let name = call.name.as_str();
    let mut kinds = vec![(Kind::Kill, Span::Once, Effect::default())];
    let both = |kinds: &mut Vec<_>, kind: Kind| {
        kinds.push((kind, Span::Once, Effect::default()));
        kinds.push((kind, Span::On, Effect::default()));
    };
    match name {
        "clone" | "clone3" | "fork" | "vfork" => both(&mut kinds, Kind::Eagain),
        // Linux frees the descriptor whatever it answers; strace cannot do both. Neither does an
        // unlock fail: a program that waits for the lock it still holds says nothing about itself.
        "close" => {}
        "fcntl" if call.args.iter().any(|arg| arg.contains("F_UNLCK")) => {}
        "fcntl" => kinds.push((Kind::Eio, Span::Once, Effect::default())),
        _ => both(&mut kinds, Kind::Eio),
    }
    if needs_space(call) {
        both(&mut kinds, Kind::Enospc);
        both(&mut kinds, Kind::Edquot);
    }
    if is_interruptible(name) {
        both(&mut kinds, Kind::Eintr);
    }
    if is_opening(call) {
        both(&mut kinds, Kind::Emfile);
    }
    let count = call.number(2).unwrap_or(0);
    let once = |kind, returns, poke: Option<String>| (kind, Span::Once, Effect { returns: Some(returns), poke });
    if is_write(name) && count > 0 && call.succeeded() {
        kinds.push(once(Kind::Lie, count, None));
        kinds.push((Kind::Flip, Span::Once, flip()));
        kinds.push((Kind::Flip, Span::On, flip()));
        if count > 1 {
            kinds.push(once(Kind::ShortOne, 1, None));
            kinds.push(once(Kind::ShortHalf, count / 2, None));
        }
    }
    if is_read(name) && call.result.is_some_and(|came| came > 0) {
        let is_source = call.descriptor_path(0).is_some_and(|path| scene.is_source(&path));
        // Who reads on until the end cannot know that it came too early.
        if !is_source || name == "pread64" {
            kinds.push(once(Kind::Eof, 0, None));
            kinds.push((Kind::Eof, Span::On, Effect { returns: Some(0), poke: None }));
        }
        if !is_source && call.descriptor_path(0).is_some() {
            // What is read wrongly of the source cannot be told from what stands there.
            kinds.push((Kind::Flip, Span::Once, flip()));
        }
        kinds.extend(short_reads(call, again));
    }
    kinds
}

/// A short read returns the right bytes, so the call must name its offset and read the same each time.
fn short_reads(call: &Call, again: Option<&Call>) -> Vec<(Kind, Span, Effect)> {
    let bytes = call.bytes(1).filter(|_| call.name == "pread64" && call.is_whole(1)).unwrap_or_default();
    let is_alike = again.and_then(|again| again.bytes(1)).as_ref() == Some(&bytes);
    if bytes.len() < 2 || !is_alike {
        return Vec::new();
    }
    let short = |kind, length: usize| {
        let poke = bytes[..length].iter().map(|byte| format!("{byte:02x}")).collect();
        (kind, Span::Once, Effect { returns: Some(length as u64), poke: Some(poke) })
    };
    vec![short(Kind::ShortOne, 1), short(Kind::ShortHalf, (bytes.len() / 2).min(PLAYED_BYTES_MAX))]
}

/// A byte that begins no text, no JSON and no page of a database.
fn flip() -> Effect {
    Effect { returns: None, poke: Some("a5".to_owned()) }
}

fn is_write(name: &str) -> bool {
    matches!(name, "write" | "pwrite64")
}

/// Whether a call reads into the buffer that is its second argument.
pub(super) fn is_read(name: &str) -> bool {
    matches!(name, "read" | "pread64")
}

/// The allocator and the runtime look at the machine now and then.
fn looks_at_machine(call: &Call) -> bool {
    call.paths().iter().chain(&call.returned_path).any(|path| path.starts_with("/proc") || path.starts_with("/sys"))
}

fn is_opening(call: &Call) -> bool {
    matches!(call.name.as_str(), "open" | "openat" | "openat2" | "creat" | "pipe2" | "dup" | "dup3" | "socketpair")
        || call.name == "fcntl" && call.args.get(1).is_some_and(|arg| arg.starts_with("F_DUPFD"))
}

fn needs_space(call: &Call) -> bool {
    let creates = call.name.starts_with("open") && call.args.iter().any(|arg| arg.contains("O_CREAT"));
    let takes = "write writev pwrite64 pwritev fsync fdatasync ftruncate fallocate mkdir mkdirat rename renameat \
        renameat2 link linkat symlinkat copy_file_range sendfile creat";
    creates || takes.split(' ').any(|name| name == call.name)
}

fn is_interruptible(name: &str) -> bool {
    let calls = "open openat openat2 read readv pread64 write writev pwrite64 fsync fdatasync ftruncate fallocate \
        flock poll ppoll select epoll_wait wait4 waitid getrandom";
    calls.split(' ').any(|call| call == name)
}

/// A clean run in the workload's starting state, as strace saw it.
fn clean(scene: &Scene, paths: &[PathBuf]) -> Vec<Event> {
    scene.reset();
    let mut options = vec!["-s".to_owned(), SHOWN_BYTES.to_string()];
    options.extend(paths.iter().flat_map(|path| ["-P".to_owned(), path.display().to_string()]));
    let traced = scene.traced_step(&scene.step, &options, &trace::if_here(CALLS));
    let outcome: &Outcome = &traced.outcome;
    assert!(outcome.code == Some(0) && !outcome.timed_out, "a clean run fails: {outcome:#?}");
    traced.events()
}

/// The paths below the home that the run named, and the folders they lie in.
fn home_paths(root: &Path, events: &[Event]) -> Vec<PathBuf> {
    let home = root.join("home");
    let mut paths = BTreeSet::new();
    for event in events {
        let Event::Call(call) = event else { continue };
        for path in call.paths().into_iter().chain(call.returned_path.clone()) {
            // A directory that is looked into from above is enough of a mark for its entries.
            paths.extend(path.ancestors().take_while(|path| path.starts_with(&home)).map(Path::to_owned));
        }
    }
    paths.into_iter().filter_map(|path| path.strip_prefix(root).ok().map(Path::to_owned)).collect()
}

/// The Nth call of each name, in each thread of the program itself.
fn counted(scene: &Scene, events: &[Event]) -> Counted {
    let mut counts: BTreeMap<(u32, String), u32> = BTreeMap::new();
    let mut counted = Counted::new();
    let strangers = strangers(events, &scene.binary());
    let mut first = None;
    let mut has_begun = false;
    for event in events {
        let Event::Call(call) = event else { continue };
        let main = *first.get_or_insert(call.pid);
        if strangers.contains(&call.pid) {
            continue;
        }
        let n = counts.entry((call.pid, call.name.clone())).or_insert(0);
        *n += 1;
        let in_home = call.paths().iter().any(|path| path.starts_with(scene.root().join("home")));
        let is_before_main = call.pid == main && !has_begun;
        // The runtime's own first call in main is a poll of the three standard descriptors.
        has_begun |= call.name == "poll" || call.pid != main;
        let seen = Seen { call: call.clone(), in_home, is_before_main };
        counted.entry((call.name.clone(), *n)).or_default().push(seen);
    }
    counted
}

/// Processes that have become another program.
fn strangers(events: &[Event], binary: &Path) -> BTreeSet<u32> {
    let execs = events.iter().filter_map(|event| match event {
        Event::Call(call) if call.name == "execve" && call.succeeded() => Some(call),
        _ => None,
    });
    execs.filter(|call| call.plain_path(0).is_none_or(|path| path != binary)).map(|call| call.pid).collect()
}

/// Whether strace marked a call of the point's name, or the program was killed entering one.
pub(super) fn fired(planned: &Planned, text: &str, outcome: &Outcome) -> bool {
    let point = &planned.point;
    if point.kind != Kind::Kill {
        return trace::calls(text).iter().any(|call| call.injected && call.name == point.call);
    }
    outcome.signal == Some(9) && trace::calls(text).iter().any(|call| call.name == point.call && call.result.is_none())
}

/// The length that a lying write should have claimed, where the run's differed from the plan's.
pub(super) fn misjudged(planned: &Planned, text: &str) -> Option<u64> {
    if planned.point.kind != Kind::Lie {
        return None;
    }
    let calls = trace::calls(text);
    let injected = calls.iter().find(|call| call.injected && call.name == planned.point.call)?;
    injected.number(2).filter(|count| Some(*count) != planned.returns)
}
