//! The sweep: every point of every workload, on two workers.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::crash;
use super::oracles::{self, Harm, Problem};
use super::order;
use super::plan::{self, Plan, Planned};
use super::point::{Kind, Point, Scope, Span, draw};
use super::scene::{Scene, Traced};
use super::workload::{self, Workload};
use crate::binaries;

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
/// Workloads whose calls are for the most part those of another workload: their order of
/// durability is checked, and so many of their points, drawn by the seed.
const SAMPLED: [(&str, &str); 9] = [
    ("layer1", "journal"),
    ("layer1", "repair"),
    ("layer1", "lost-bookkeeping"),
    ("layer2", "deliver-pending"),
    ("layer2", "retry-failed"),
    ("layer3", "save-sides"),
    ("layer3", "restore"),
    ("layer3", "repair"),
    ("layer3", "rebuild"),
];
/// Points of a sampled workload.
const SAMPLED_POINTS: usize = 150;
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

/// What to sweep.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Only these programs (`layer1`, …); all if none is named.
    pub programs: Vec<String>,
    /// Only these workloads; all if none is named.
    pub workloads: Vec<String>,
    /// Only these points.
    pub only: Vec<String>,
    /// At most so many points a workload, chosen by the seed.
    pub points_max: Option<usize>,
    /// Points that are not begun by then are left out, and counted as such.
    pub time_max: Option<Duration>,
    /// What sampling and the crashes of recoveries are drawn from.
    pub seed: u64,
    /// Workers.
    pub jobs: usize,
    /// Where passed points are recorded; they are not run again with the same binaries and seed.
    pub record: Option<PathBuf>,
    /// Whether to begin anew whatever is recorded.
    pub resume: bool,
    /// Tell of failures as they are found, and of each workload.
    pub verbose: bool,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            programs: Vec::new(),
            workloads: Vec::new(),
            only: Vec::new(),
            points_max: None,
            time_max: None,
            seed: 1,
            jobs: 2,
            record: None,
            resume: false,
            verbose: false,
        }
    }
}

/// A point at which a promise was broken.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Its id.
    pub point: String,
    /// Each broken promise, `lost: …`, `swallowed: …` or `left behind: …`.
    pub problems: Vec<String>,
}

/// What became of one program's points.
#[derive(Debug, Clone, Default)]
pub struct ProgramSummary {
    /// `layer1`, …
    pub program: String,
    /// Points that were planned.
    pub planned: usize,
    /// Points whose fault was seen in the trace, those of an earlier run included.
    pub fired: usize,
    /// Points that a clean run has; more than were planned when only some were drawn.
    pub known: usize,
    /// Points left out because their call, on a pipe or a process, does not come every time.
    pub unrepeatable: usize,
    /// States after a loss of power that were recovered.
    pub crash_states: usize,
    /// Points at which content was lost or changed.
    pub lost: usize,
    /// Points at which a failure was hidden.
    pub swallowed: usize,
    /// Points after which something was left, or the store did not come to rest.
    pub left_behind: usize,
    /// How long it took.
    pub elapsed: Duration,
}

/// What became of a sweep.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// One a program.
    pub programs: Vec<ProgramSummary>,
    /// Every point at which something is wrong.
    pub failures: Vec<Failure>,
}

impl Summary {
    /// Whether every planned fault was seen and every promise kept.
    pub fn is_clean(&self) -> bool {
        let all_fired = self.programs.iter().all(|program| program.fired == program.planned && program.planned > 0);
        all_fired && self.failures.is_empty()
    }
}

/// `layer1: 940/940 fault points, 0 lost, 0 swallowed, 0 left behind`.
impl fmt::Display for ProgramSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProgramSummary { program, planned, fired, lost, swallowed, left_behind, .. } = self;
        write!(
            f,
            "{program}: {fired}/{planned} fault points, {lost} lost, {swallowed} swallowed, {left_behind} left behind"
        )
    }
}

/// What came of one point.
enum Verdict {
    Fired(Vec<Problem>),
    NotFired,
    OutOfTime,
}

/// Sweeps within the bounds. Panics when a workload cannot be laid out or its clean run fails.
pub fn sweep(bounds: &Bounds) -> Summary {
    let record = Record::open(bounds);
    let started = Instant::now();
    let mut summary = Summary::default();
    let workloads: Vec<Workload> = workload::all().into_iter().filter(|workload| is_wanted(bounds, workload)).collect();
    for (index, workload) in workloads.iter().enumerate() {
        if summary.programs.last().is_none_or(|last| last.program != workload.program) {
            let program = ProgramSummary { program: workload.program.to_owned(), ..ProgramSummary::default() };
            summary.programs.push(program);
        }
        let began = Instant::now();
        // Every workload has its share of the time that is left.
        let left = bounds.time_max.map(|limit| limit.saturating_sub(started.elapsed()));
        let deadline = left.map(|left| began + left / (workloads.len() - index) as u32);
        let (counted, failures) = sweep_workload(bounds, workload, deadline, &record);
        let program = summary.programs.last_mut().expect("pushed above");
        if bounds.verbose {
            println!("{}/{}: {} in {:.1?}", workload.program, workload.name, counted.in_words(), began.elapsed());
        }
        program.planned += counted.planned;
        program.fired += counted.fired;
        program.known += counted.known;
        program.crash_states += counted.crash_states;
        program.unrepeatable += counted.unrepeatable;
        program.lost += counted.lost;
        program.swallowed += counted.swallowed;
        program.left_behind += counted.left_behind;
        program.elapsed += began.elapsed();
        summary.failures.extend(failures);
    }
    summary
}

impl ProgramSummary {
    fn in_words(&self) -> String {
        let sampled =
            if self.planned + self.unrepeatable < self.known { format!(" of {}", self.known) } else { String::new() };
        let states =
            if self.crash_states > 0 { format!(", {} crash states", self.crash_states) } else { String::new() };
        format!("{}/{} points{sampled}{states}", self.fired, self.planned)
    }

    fn count(&mut self, problems: &[Problem]) {
        let has = |harm: Harm| usize::from(problems.iter().any(|problem| problem.harm == harm));
        self.fired += 1;
        self.lost += has(Harm::Lost);
        self.swallowed += has(Harm::Swallowed);
        self.left_behind += has(Harm::LeftBehind);
    }
}

fn is_wanted(bounds: &Bounds, workload: &Workload) -> bool {
    let named = |names: &[String], name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let prefix = format!("{}/{}/", workload.program, workload.name);
    let by_point = bounds.only.is_empty() || bounds.only.iter().any(|point| point.starts_with(&prefix));
    named(&bounds.programs, workload.program) && named(&bounds.workloads, workload.name) && by_point
}

fn sweep_workload(
    bounds: &Bounds,
    workload: &Workload,
    deadline: Option<Instant>,
    record: &Record,
) -> (ProgramSummary, Vec<Failure>) {
    let scene = (workload.make)();
    let plan = plan::plan(&scene, workload.program, workload.name);
    let too_early = plan.violations.iter().map(|violation| {
        let point = format!("{}/{}/order", workload.program, workload.name);
        Failure { point, problems: vec![format!("swallowed: a clean run acknowledges too early: {violation}")] }
    });
    let too_early: Vec<Failure> = too_early.collect();
    if bounds.verbose {
        too_early
            .iter()
            .for_each(|failure| println!("FAILED {}\n    {}", failure.point, failure.problems.join("\n    ")));
    }
    let mut counted = ProgramSummary { known: plan.points.len(), ..ProgramSummary::default() };
    let is_sampled = SAMPLED.contains(&(workload.program, workload.name));
    let points_max = bounds.points_max.into_iter().chain(is_sampled.then_some(SAMPLED_POINTS)).min();
    let chosen = chosen(bounds, &plan, points_max);
    let (passed, open): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|planned| record.has(&planned.point));
    counted.planned = passed.len() + open.len();
    counted.fired = passed.len();
    let queue = Mutex::new(VecDeque::from(open));
    let results = Mutex::new((counted, too_early));
    let work = |scene: &Scene| {
        loop {
            let next = queue.lock().expect("no worker panics").pop_front();
            let Some(planned) = next else { return };
            let verdict = match deadline {
                Some(deadline) if Instant::now() >= deadline => Verdict::OutOfTime,
                _ => tried(scene, &plan, &planned, bounds.seed),
            };
            settle(bounds, record, &planned, verdict, &mut results.lock().expect("no worker panics"));
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
    let (mut counted, mut failures) = results.into_inner().expect("no worker panics");
    if bounds.only.is_empty() {
        probe_beyond(&scene, &plan);
    }
    if LOSING_POWER.contains(&(workload.program, workload.name)) {
        lose_power(bounds, workload, &scene, &plan, &mut counted, &mut failures);
    }
    (counted, failures)
}

/// Recovers from every state that a loss of power could leave in a clean run.
fn lose_power(
    bounds: &Bounds,
    workload: &Workload,
    scene: &Scene,
    plan: &Plan,
    counted: &mut ProgramSummary,
    failures: &mut Vec<Failure>,
) {
    scene.reset();
    for state in crash::states(scene, &plan.events) {
        let point = format!("{}/{}/power/{}", workload.program, workload.name, state.name());
        if !bounds.only.is_empty() && !bounds.only.contains(&point) {
            continue;
        }
        state.lay_out(scene);
        let problems = oracles::after_loss_of_power(scene, state.had_ended);
        counted.crash_states += 1;
        if problems.is_empty() {
            continue;
        }
        counted.lost += usize::from(problems.iter().any(|problem| problem.harm == Harm::Lost));
        counted.left_behind += usize::from(problems.iter().any(|problem| problem.harm == Harm::LeftBehind));
        let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
        if bounds.verbose {
            println!("FAILED {point}");
            problems.iter().for_each(|problem| println!("    {}", problem.replace('\n', "\n    ")));
        }
        failures.push(Failure { point, problems });
    }
}

fn settle(
    bounds: &Bounds,
    record: &Record,
    planned: &Planned,
    verdict: Verdict,
    (counted, failures): &mut (ProgramSummary, Vec<Failure>),
) {
    let id = planned.point.to_string();
    let problems = match verdict {
        Verdict::OutOfTime => {
            counted.planned -= 1;
            return;
        }
        Verdict::NotFired if planned.point.scope == Scope::All => {
            // Waiting for a peer or another thread takes as many calls as it takes.
            counted.planned -= 1;
            counted.unrepeatable += 1;
            return;
        }
        Verdict::NotFired => vec!["the fault was not seen in the trace".to_owned()],
        Verdict::Fired(problems) => {
            counted.count(&problems);
            problems.iter().map(Problem::to_string).collect()
        }
    };
    if problems.is_empty() {
        return record.add(&planned.point);
    }
    if bounds.verbose {
        println!("FAILED {id}");
        problems.iter().for_each(|problem| println!("    {}", problem.replace('\n', "\n    ")));
        println!("    repeat: cargo xtask faults --seed {} --only '{id}'", bounds.seed);
    }
    failures.push(Failure { point: id, problems });
}

/// All points, those asked for, or as many as may be, drawn by the seed.
fn chosen(bounds: &Bounds, plan: &Plan, points_max: Option<usize>) -> Vec<Planned> {
    if !bounds.only.is_empty() {
        let asked = |planned: &&Planned| bounds.only.iter().any(|id| *id == planned.point.to_string());
        return plan.points.iter().filter(asked).cloned().collect();
    }
    let mut points: Vec<(u64, &Planned)> =
        plan.points.iter().map(|planned| (draw(bounds.seed, &planned.point.to_string()), planned)).collect();
    if let Some(most) = points_max {
        points.sort_by_key(|(drawn, planned)| (!is_never_left_out(&planned.point), *drawn));
        let kept = points.iter().filter(|(_, planned)| is_never_left_out(&planned.point)).count();
        points.truncate(kept + most);
    } else if bounds.time_max.is_some() {
        // What there is no time for is a sample too, not the tail.
        points.sort_by_key(|(drawn, _)| *drawn);
    }
    points.into_iter().map(|(_, planned)| planned.clone()).collect()
}

/// A program killed before a sync, or whose syncs fail from then on: what it wrote looks well to the
/// next run and is not safe. Most of what the sweep ever found was found here.
fn is_never_left_out(point: &Point) -> bool {
    matches!(point.call.as_str(), "fsync" | "fdatasync")
        && matches!((point.kind, point.span), (Kind::Kill, Span::Once) | (Kind::Eio, Span::On))
}

/// A panic of the harness is a failure of the point, not the end of the sweep.
fn tried(scene: &Scene, plan: &Plan, planned: &Planned, seed: u64) -> Verdict {
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
    order::CALLS.map(|call| format!("?{call}")).join(",")
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
fn probe_beyond(scene: &Scene, plan: &Plan) {
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

/// Passed points, in a file that names the binaries and the seed they passed with.
struct Record {
    path: Option<PathBuf>,
    passed: BTreeSet<String>,
    writing: Mutex<()>,
}

impl Record {
    fn open(bounds: &Bounds) -> Record {
        let head = format!("# {}", fingerprint(bounds.seed));
        let text = bounds.record.as_ref().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        let is_ours = bounds.resume && text.lines().next() == Some(&head);
        let passed = text.lines().filter(|_| is_ours).skip(1).map(str::to_owned).collect();
        if let Some(path) = bounds.record.as_ref().filter(|_| !is_ours) {
            fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).expect("make the record's folder");
            fs::write(path, format!("{head}\n")).expect("begin the record of passed points");
        }
        Record { path: bounds.record.clone(), passed, writing: Mutex::new(()) }
    }

    fn has(&self, point: &Point) -> bool {
        self.passed.contains(&point.to_string())
    }

    fn add(&self, point: &Point) {
        let Some(path) = &self.path else { return };
        let _writing = self.writing.lock().expect("no writer panics");
        let file = OpenOptions::new().append(true).open(path);
        let written = file.and_then(|mut file| file.write_all(format!("{point}\n").as_bytes()));
        written.expect("record a passed point");
    }
}

fn fingerprint(seed: u64) -> String {
    let mut hasher = blake3::Hasher::new();
    for name in binaries::ALL {
        hasher.update(&fs::read(binaries::folder().join(name)).unwrap_or_default());
    }
    hasher.update(&seed.to_le_bytes());
    hasher.finalize().to_hex()[..16].to_owned()
}
