//! One point: the fault, what it may and may not do, and the recovery, now and then killed itself.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::oracles::{self, Harm, Problem};
use super::order;
use super::plan::{self, Plan, Planned};
use super::point::{Kind, Point, Scope, Span, draw};
use super::scene::{Scene, Traced};
use super::trace;

/// One in so many recoveries is killed once itself.
const CRASHED_RECOVERY_ONE_IN: u64 = 6;
/// Calls at which a recovery is killed: those that change or open something.
const CRASH_CALLS: [&str; 8] =
    ["pwrite64", "fsync", "fdatasync", "renameat", "renameat2", "openat", "mkdirat", "unlinkat"];
/// So many bytes of a string as a commit has.
const SHOWN: [&str; 2] = ["-s", "65536"];
/// A recovery is killed at one of so many calls of a name.
const CRASH_CALLS_MAX: u64 = 8;
/// A fault that was not seen is tried so often before the point counts as one that did not fire.
const TRIES_MAX: u32 = 3;

/// What came of one point.
pub(super) enum Verdict {
    /// The fault was seen, and these promises were broken.
    Fired(Vec<Problem>),
    /// The fault was not seen.
    NotFired,
}

/// Tries one point until its fault is seen. A panic of the harness is a failure of the point, not the end of the sweep.
pub(super) fn attempt(scene: &Scene, plan: &Plan, planned: &Planned, seed: u64) -> Verdict {
    let mut planned = planned.clone();
    for _ in 0..TRIES_MAX {
        let tried = catch_unwind(AssertUnwindSafe(|| check(scene, plan, &mut planned, seed)));
        match tried {
            Ok(Verdict::NotFired) => {}
            Ok(verdict) => return verdict,
            Err(panic) => {
                let words = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                return Verdict::Fired(vec![Problem {
                    harm: Harm::LeftBehind,
                    what: format!("the check fails: {words}"),
                }]);
            }
        }
    }
    Verdict::NotFired
}

/// One point, from the starting state to the second clean run.
fn check(scene: &Scene, plan: &Plan, planned: &mut Planned, seed: u64) -> Verdict {
    scene.reset();
    let follows = follows_order(planned);
    let mut model = follows.then(|| scene.model());
    let traced = faulted(scene, plan, planned, follows);
    if let Some(returns) = plan::misjudged(planned, &traced.text) {
        planned.returns = Some(returns);
        return Verdict::NotFired;
    }
    if !plan::fired(planned, &traced.text, &traced.outcome) {
        return Verdict::NotFired;
    }
    let mut problems = oracles::after_fault(scene, planned, &traced);
    if let Some(model) = &mut model {
        problems.extend(oracles::out_of_order(scene, model, &traced));
    }
    if scene.has_peers && planned.point.kind != Kind::Kill {
        // A deliverer that was started has synced what it found, and nobody has seen that.
        model = None;
    }
    let id = planned.point.to_string();
    if draw(seed, &format!("crash {id}")).is_multiple_of(CRASHED_RECOVERY_ONE_IN) {
        model = None;
        crash_recovery(scene, plan, seed, &id);
        problems.extend(oracles::missing(scene));
    }
    let mut outcomes = Vec::new();
    for step in &scene.recovery {
        // What a killed run left unsynced is for the recovery to sync before it acknowledges.
        outcomes.push(match &mut model {
            Some(model) => {
                let traced = scene.traced_step(step, &SHOWN.map(str::to_owned), &calls_of_order());
                problems.extend(oracles::out_of_order(scene, model, &traced));
                traced.outcome
            }
            None => scene.run(step),
        });
    }
    problems.extend(oracles::after_recovery(scene, &outcomes));
    Verdict::Fired(problems)
}

/// Whether the order of durability is followed through a point: where a sync fails, and where the
/// program dies in the middle.
fn follows_order(planned: &Planned) -> bool {
    let Point { call, kind, scope, .. } = &planned.point;
    let syncs = ["fsync", "fdatasync", "ftruncate"].contains(&call.as_str()) && kind.errno().is_some();
    *scope == Scope::Home && (syncs || *kind == Kind::Kill)
}

fn calls_of_order() -> String {
    trace::if_here(order::CALLS)
}

fn faulted(scene: &Scene, plan: &Plan, planned: &Planned, follows_order: bool) -> Traced {
    let mut options = vec!["-e".to_owned(), planned.injection()];
    if planned.point.kind != Kind::Kill && !scene.has_peers {
        // Only the calls that are looked at stop the program. It delivers no signals and knows no peers.
        options.push("--seccomp-bpf".to_owned());
    }
    if planned.point.scope == Scope::Home {
        options.extend(of_home(scene, plan));
    }
    let mut calls = planned.point.call.clone();
    if follows_order {
        calls = format!("{calls},{}", calls_of_order());
        options.extend(SHOWN.map(str::to_owned));
    }
    scene.traced_step(&scene.step, &options, &calls)
}

/// Kills the recovery at a call that the seed draws. Where that call does not come, nothing happens.
fn crash_recovery(scene: &Scene, plan: &Plan, seed: u64, id: &str) {
    for step in &scene.recovery {
        let call = CRASH_CALLS[(draw(seed, &format!("call {id}")) % CRASH_CALLS.len() as u64) as usize];
        let n = draw(seed, &format!("n {id}")) % CRASH_CALLS_MAX + 1;
        let mut options = vec!["-e".to_owned(), format!("inject={call}:signal=KILL:when={n}")];
        options.extend(of_home(scene, plan));
        scene.traced_step(step, &options, call);
    }
}

fn of_home(scene: &Scene, plan: &Plan) -> Vec<String> {
    let paths = plan.paths.iter().map(|path| scene.root().join(path).display().to_string());
    paths.flat_map(|path| ["-P".to_owned(), path]).collect()
}

/// The call after the last one of the clean run must not come.
pub(super) fn probe_beyond(scene: &Scene, plan: &Plan) {
    for ((call, scope), count) in plan.counts.iter().filter(|((_, scope), _)| *scope == Scope::Home) {
        let point = Point {
            program: String::new(),
            workload: String::new(),
            call: call.clone(),
            scope: *scope,
            kind: Kind::Eio,
            span: Span::Once,
            n: count + 1,
        };
        let planned = Planned { point, returns: None, poke: None };
        scene.reset();
        let traced = faulted(scene, plan, &planned, false);
        if plan::fired(&planned, &traced.text, &traced.outcome) {
            println!("note: {call} was made more than {count} times this time; the points beyond are not swept");
        }
    }
}
