//! The sweep: every point of every workload, on several workers.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

use super::attempt::{self, Verdict};
use super::bounds::Bounds;
use super::passed::Passed;
use super::plan::{self, Plan, Planned};
use super::point::Scope;
use super::report::{Summary, Tally};
use super::scene::Scene;
use super::workload::Workload;
use super::{crash, layer1, layer2, layer3, oracles};

/// Workloads small enough for every crash state.
const LOSING_POWER: [(&str, &str); 15] = [
    ("layer1", "first-copy"),
    ("layer1", "delta"),
    ("layer1", "generation"),
    ("layer1", "sides"),
    ("layer1", "torn-rotation"),
    ("layer1", "journal"),
    ("layer1", "repair"),
    ("layer2", "enqueue"),
    ("layer2", "deliver"),
    ("layer2", "deliver-pending"),
    ("layer3", "save-first"),
    ("layer3", "save-delta"),
    ("layer3", "save-rewritten"),
    ("layer3", "restore"),
    ("layer3", "repair"),
];
/// Every workload, by program.
fn workloads() -> Vec<Workload> {
    [&layer1::WORKLOADS[..], &layer2::WORKLOADS, &layer3::WORKLOADS].concat()
}

/// Sweeps within the bounds. Panics when a workload cannot be laid out or its clean run fails.
pub fn sweep(bounds: &Bounds) -> Summary {
    let passed = Passed::open(bounds);
    let started = Instant::now();
    let mut summary = Summary::default();
    let workloads: Vec<Workload> = workloads().into_iter().filter(|workload| bounds.wants(workload)).collect();
    for (index, workload) in workloads.iter().enumerate() {
        let began = Instant::now();
        // Every workload has its share of the time that is left.
        let left = bounds.time_max.map(|limit| limit.saturating_sub(started.elapsed()));
        let deadline = left.map(|left| began + left / (workloads.len() - index) as u32);
        let mut tally = sweep_workload(bounds, workload, deadline, &passed);
        tally.counted.elapsed = began.elapsed();
        if bounds.verbose {
            println!("{}/{}: {} in {:.1?}", workload.program, workload.name, tally.counted.in_words(), began.elapsed());
        }
        summary.add(tally);
    }
    summary
}

fn sweep_workload(bounds: &Bounds, workload: &Workload, deadline: Option<Instant>, passed: &Passed) -> Tally {
    let scene = (workload.make)();
    let plan = plan::plan(&scene, workload.program, workload.name);
    let mut tally = Tally::new(workload.program, plan.points.len(), bounds.verbose);
    for violation in &plan.violations {
        let problem = format!("swallowed: a clean run acknowledges too early: {violation}");
        tally.fail(format!("{}/{}/order", workload.program, workload.name), vec![problem]);
    }
    let chosen = bounds.chosen(workload, &plan);
    let (done, open): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|planned| passed.has(&planned.point));
    tally.counted.planned = done.len() + open.len();
    tally.counted.fired = done.len();
    let queue = Mutex::new(VecDeque::from(open));
    let shared = Mutex::new(tally);
    let work = |scene: &Scene| {
        loop {
            let next = queue.lock().expect("no worker panics").pop_front();
            let Some(planned) = next else { return };
            let verdict = match deadline {
                Some(deadline) if Instant::now() >= deadline => None,
                _ => Some(attempt::attempt(scene, &plan, &planned, bounds.seed)),
            };
            let mut tally = shared.lock().expect("no worker panics");
            count(bounds, &planned, verdict, passed, &mut tally);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..bounds.jobs.max(1) {
            scope.spawn(|| {
                if queue.lock().expect("no worker panics").len() > 1 {
                    work(&(workload.make)());
                }
            });
        }
        work(&scene);
    });
    let mut tally = shared.into_inner().expect("no worker panics");
    if bounds.only.is_empty() {
        attempt::probe_beyond(&scene, &plan);
    }
    if LOSING_POWER.contains(&(workload.program, workload.name)) {
        lose_power(bounds, workload, &scene, &plan, &mut tally);
    }
    tally
}

/// Recovers from every state that a loss of power could leave in a clean run.
fn lose_power(bounds: &Bounds, workload: &Workload, scene: &Scene, plan: &Plan, tally: &mut Tally) {
    scene.reset();
    for state in crash::states(scene, &plan.events) {
        let point = format!("{}/{}/power/{}", workload.program, workload.name, state.name());
        if !bounds.only.is_empty() && !bounds.only.contains(&point) {
            continue;
        }
        state.lay_out(scene);
        let problems = oracles::after_loss_of_power(scene, state.had_ended);
        tally.counted.crash_states += 1;
        tally.counted.count(&problems);
        if !problems.is_empty() {
            tally.fail(point, problems.iter().map(ToString::to_string).collect());
        }
    }
}

/// Counts what came of a point; `None`: there was no time for it.
fn count(bounds: &Bounds, planned: &Planned, verdict: Option<Verdict>, passed: &Passed, tally: &mut Tally) {
    let id = planned.point.to_string();
    let problems = match verdict {
        None => {
            tally.counted.planned -= 1;
            return;
        }
        Some(Verdict::NotFired) if planned.point.scope == Scope::All => {
            // Waiting for a peer or another thread takes as many calls as it takes.
            tally.counted.planned -= 1;
            tally.counted.unrepeatable += 1;
            return;
        }
        Some(Verdict::NotFired) => vec!["the fault was not seen in the trace".to_owned()],
        Some(Verdict::Fired(problems)) => {
            tally.counted.fired += 1;
            tally.counted.count(&problems);
            problems.iter().map(ToString::to_string).collect()
        }
    };
    if problems.is_empty() {
        return passed.add(&planned.point);
    }
    tally.fail(id.clone(), problems);
    if bounds.verbose {
        println!("    repeat: cargo xtask faults --seed {} --only '{id}'", bounds.seed);
    }
}
