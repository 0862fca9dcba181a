//! What must hold after a fault, and after the recovery from it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::order::{self, Model};
use super::plan::Planned;
use super::point::{Kind, Scope};
use super::scene::{Manners, Scene, Step, Traced, When};
use super::trace::{self, Call};
use crate::processes;
use crate::run::Outcome;
use crate::stores;
use crate::tree;
use crate::waiting;

/// How long a program's children may outlive it.
const ORPHAN_LIMIT: Duration = Duration::from_secs(3);
/// Touching memory beyond the end of its file.
const SIGBUS: i32 = 7;
/// Words of every report of a failure on stderr.
const TELLING: [&str; 7] = ["warning", "failed", "note:", "❌", "⚠️", "left alone", "panicked"];

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// What kind of promise was broken.
    pub harm: Harm,
    /// Which one, and how it shows.
    pub what: String,
}

/// The kinds of promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Harm {
    /// Content is missing or was changed: oracles (a), (b), (e), (h).
    Lost,
    /// A failure was not reported, or an event not passed on: oracles (c), (g).
    Swallowed,
    /// Something is left behind, or the store does not come to rest: oracles (d), (f).
    LeftBehind,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let harm = match self.harm {
            Harm::Lost => "lost",
            Harm::Swallowed => "swallowed",
            Harm::LeftBehind => "left behind",
        };
        write!(f, "{harm}: {}", self.what)
    }
}

fn problem(harm: Harm, what: impl Into<String>) -> Problem {
    Problem { harm, what: what.into() }
}

/// After the run with the fault.
pub(super) fn after_fault(scene: &Scene, planned: &Planned, traced: &Traced) -> Vec<Problem> {
    let outcome = &traced.outcome;
    let mut problems = Vec::new();
    if outcome.timed_out {
        problems.push(problem(Harm::LeftBehind, format!("d: it hangs: {outcome:?}")));
    }
    let panics = ["panicked", "internal error"].iter().any(|word| outcome.stderr.contains(word));
    // Runtimes panic where the system denies them a descriptor or randomness; that is told and survived.
    if panics && planned.point.scope == Scope::Home {
        problems.push(problem(Harm::Swallowed, format!("c: it panics: {outcome:?}")));
    }
    let was_killed = planned.point.kind == Kind::Kill;
    if !was_killed {
        problems.extend(misbehaved(scene, planned, traced));
        if is_silent(scene, outcome) {
            problems.extend(differing(scene).map(|what| problem(Harm::Swallowed, format!("c: silent, but {what}"))));
        }
    }
    if scene.has_peers {
        // A deliverer that goes on by itself has its time.
        left_processes(scene);
    }
    problems.extend(missing(scene));
    problems.extend(scene.touched_source().map(|what| problem(Harm::Lost, format!("e: {what}"))));
    problems.extend(asked(scene, When::Faulted, !was_killed && is_silent(scene, outcome)));
    problems
}

/// After the recovery: a run of its own for each of its steps, `verify`, and a second run that
/// must write nothing.
pub(super) fn after_recovery(scene: &Scene, outcomes: &[Outcome]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for outcome in outcomes {
        // An index that was set aside is made again at once, and that is to be said.
        let is_told = !is_silent(scene, outcome) && !outcome.stderr.contains("was set aside");
        if outcome.code != Some(0) || outcome.timed_out || is_told {
            problems.push(problem(Harm::Lost, format!("a: the recovery reports a failure: {outcome:?}")));
        }
    }
    problems.extend(differing(scene).map(|what| problem(Harm::Lost, format!("a: {what}"))));
    problems.extend(missing(scene));
    problems.extend(changed_generation(scene).map(|what| problem(Harm::Lost, format!("h: {what}"))));
    problems.extend(left_files(scene).map(|what| problem(Harm::LeftBehind, format!("d: {what}"))));
    problems.extend(left_processes(scene).map(|what| problem(Harm::LeftBehind, format!("d: {what}"))));
    for step in &scene.verify {
        let outcome = scene.run(step);
        if outcome.code != Some(0) {
            problems.push(problem(Harm::Lost, format!("h: verify finds something: {outcome:?}")));
        }
    }
    problems.extend(asked(scene, When::Recovered, true));
    for (question, answer) in &scene.answers {
        let outcome = scene.run(question);
        if without_trigger(&outcome.stdout) != without_trigger(answer) {
            let clean = String::from_utf8_lossy(answer);
            problems.push(problem(
                Harm::Lost,
                format!("a: another answer than after a clean run: {outcome:?}\nclean: {clean}"),
            ));
        }
    }
    let before = scene.state.iter().map(|dir| at_rest(dir)).collect::<Vec<_>>();
    let again: Vec<&Step> = scene.recovery.iter().collect();
    for step in again {
        scene.run(step);
    }
    for (dir, before) in scene.state.iter().zip(before) {
        let written = changes(&before, &at_rest(dir));
        if !written.is_empty() && !scene.writes_again {
            problems.push(problem(Harm::LeftBehind, format!("f: a second clean run writes {written:?}")));
        }
    }
    problems.extend(scene.touched_source().map(|what| problem(Harm::Lost, format!("e: {what}"))));
    problems
}

/// What a run, or the recovery from it, acknowledged while something was unsynced.
pub(super) fn out_of_order(scene: &Scene, model: &mut Model, traced: &Traced) -> Option<Problem> {
    let events = traced.events();
    model.words_acknowledge = is_silent(scene, &traced.outcome) && !order::refuses(&events);
    let violations = model.run(&events);
    // The first one says it; the others follow from it.
    violations.first().map(|violation| problem(Harm::Swallowed, format!("c: order: {violation}")))
}

/// What caused a save is known to that save alone; one that makes up for it has another cause.
fn without_trigger(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer).into_owned();
    let mut parts = text.split("\"trigger\":\"");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept.push_str(part.split_once('"').map_or("", |(_, rest)| rest));
    }
    kept
}

/// In a state after a loss of power, and after the recovery from it.
pub(super) fn after_loss_of_power(scene: &Scene, had_ended: bool) -> Vec<Problem> {
    let mut problems = missing(scene);
    if had_ended {
        // All was acknowledged: it must be there without any recovery.
        problems.extend(differing(scene).map(|what| problem(Harm::Lost, format!("b: acknowledged, but {what}"))));
    }
    let outcomes: Vec<Outcome> = scene.recovery.iter().map(|step| scene.run(step)).collect();
    problems.extend(after_recovery(scene, &outcomes));
    problems
}

/// What was acknowledged before and is nowhere in the store now.
pub(super) fn missing(scene: &Scene) -> Vec<Problem> {
    let holds = |path: &Path, bytes: &[u8]| {
        let packed = || zstd::decode_all(&fs::read(stores::packed_path(path)).ok()?[..]).ok();
        fs::read(path).is_ok_and(|now| now.starts_with(bytes)) || packed().is_some_and(|now| now.starts_with(bytes))
    };
    let lost = scene.acknowledged.iter().filter(|acknowledged| {
        let places = acknowledged.paths.iter().flat_map(|path| expanded(path));
        !places.into_iter().any(|path| holds(&path, &acknowledged.bytes))
    });
    lost.map(|acknowledged| {
        let bytes = acknowledged.bytes.len();
        problem(Harm::Lost, format!("b: {bytes} acknowledged bytes are at none of {:?}", acknowledged.paths))
    })
    .collect()
}

/// Whether the run said nothing of a failure.
fn is_silent(scene: &Scene, outcome: &Outcome) -> bool {
    let tells = TELLING.iter().any(|word| outcome.stderr.contains(word)) || outcome.text().contains("systemMessage");
    !tells && (scene.manners != Manners::Command || outcome.code == Some(0))
}

/// A hook exits 0 and passes on what it read, unless its own standard streams fail.
fn misbehaved(scene: &Scene, planned: &Planned, traced: &Traced) -> Option<Problem> {
    let outcome = &traced.outcome;
    if scene.manners == Manners::Command {
        let is_graceful =
            matches!(outcome.code, Some(0 | 1)) || outcome.code == Some(101) && !is_silent(scene, outcome);
        return (!is_graceful && !lacks_memory(traced))
            .then(|| problem(Harm::Swallowed, format!("c: it ends with {outcome:?}")));
    }
    if outcome.code != Some(0) {
        return Some(problem(Harm::Swallowed, format!("g: a hook must exit 0: {outcome:?}")));
    }
    let calls = trace::calls(&traced.text);
    let on_streams =
        |call: &Call| call.injected && (matches!(call.descriptor(0), Some(0 | 1)) || call.name.ends_with("poll"));
    // A stream that is interrupted is whole all the same.
    if calls.iter().any(on_streams) && planned.point.kind != Kind::Eintr {
        return None;
    }
    let is_passed_on = scene.manners != Manners::PassesOn || outcome.stdout == scene.step.stdin;
    (!is_passed_on).then(|| problem(Harm::Swallowed, format!("g: the event is not passed on: {outcome:?}")))
}

/// SQLite's processes share memory through a file: where the write that makes it long enough is not
/// made, touching it ends the process, as a kill would. Whoever started it sees that.
fn lacks_memory(traced: &Traced) -> bool {
    let is_shared = |path: PathBuf| path.to_string_lossy().ends_with("-shm");
    let calls = trace::calls(&traced.text);
    let mut injected = calls.iter().filter(|call| call.injected);
    traced.outcome.signal == Some(SIGBUS) && injected.any(|call| call.descriptor_path(0).is_some_and(is_shared))
}

fn differing(scene: &Scene) -> Option<String> {
    scene.copies.iter().find_map(|(project, transcript)| {
        let store = project.parent().unwrap_or(project);
        stores::difference(store, &project.file_name().unwrap_or_default().to_string_lossy(), transcript)
    })
}

fn changed_generation(scene: &Scene) -> Option<String> {
    let changed = scene.untouched.iter().find(|path| fs::read(path).ok() != scene.as_it_was(path));
    changed.map(|path| format!("the older generation {} is not as it was", path.display()))
}

fn asked(scene: &Scene, when: When, silent: bool) -> Vec<Problem> {
    let checks = scene.checks.iter().filter(|check| check.when == when);
    checks.filter_map(|check| (check.ask)(scene, silent)).map(|what| problem(Harm::Lost, what)).collect()
}

/// Temporary files, and locks that somebody holds.
fn left_files(scene: &Scene) -> Option<String> {
    for dir in &scene.state {
        for (path, entry) in tree::all(dir) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_of_a_session = path.starts_with(".state/sessions");
            if name.ends_with(".tmp") || name == "new" && is_of_a_session {
                return Some(format!("the temporary file {}", dir.join(path).display()));
            }
            let is_lock = name == "lock" || name.ends_with(".lock");
            if is_lock && matches!(entry, tree::Entry::File(..)) && is_held(&dir.join(&path)) {
                return Some(format!("the lock {} is held", dir.join(path).display()));
            }
        }
    }
    None
}

fn is_held(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_err())
}

fn left_processes(scene: &Scene) -> Option<String> {
    let home = scene.scratch().home();
    let mut left = Vec::new();
    waiting::holds_within(ORPHAN_LIMIT, || {
        left = processes::with_home(&home);
        left.is_empty()
    });
    (!left.is_empty()).then(|| format!("processes: {left:?}"))
}

/// A store as it stands: contents, modes and times of all but the logs and what SQLite
/// keeps beside an open index. The root itself is not an entry.
fn at_rest(dir: &Path) -> BTreeMap<PathBuf, (tree::Entry, (i64, i64))> {
    let is_noted = |path: &Path| !path.starts_with(".log") && !path.to_string_lossy().starts_with("sessions.db-");
    let entries = tree::all(dir).into_iter().filter(|(path, _)| is_noted(path));
    let mtime = |path: &Path| fs::symlink_metadata(dir.join(path)).map_or((0, 0), |m| (m.mtime(), m.mtime_nsec()));
    let with_time = entries.map(|(path, entry)| {
        let time = mtime(&path);
        (path, (entry, time))
    });
    with_time.collect()
}

fn changes<T: PartialEq>(before: &BTreeMap<PathBuf, T>, after: &BTreeMap<PathBuf, T>) -> Vec<PathBuf> {
    let names = before.keys().chain(after.keys().filter(|path| !before.contains_key(*path)));
    names.filter(|path| before.get(*path) != after.get(*path)).cloned().collect()
}

/// The path itself, or those that exist with a number for its `*`.
fn expanded(path: &Path) -> Vec<PathBuf> {
    let text = path.to_string_lossy();
    if !text.contains('*') {
        return vec![path.to_owned()];
    }
    (1..20)
        .map(|number| PathBuf::from(text.replace('*', &format!("{number:04}"))))
        .filter(|path| path.exists() || stores::packed_path(path).exists())
        .collect()
}
