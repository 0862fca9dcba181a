//! What became of a sweep, in numbers and in words.

use std::fmt;
use std::time::Duration;

use super::oracles::{Harm, Problem};

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

impl ProgramSummary {
    /// As much of it as a workload has.
    pub(super) fn in_words(&self) -> String {
        let sampled =
            if self.planned + self.unrepeatable < self.known { format!(" of {}", self.known) } else { String::new() };
        let states =
            if self.crash_states > 0 { format!(", {} crash states", self.crash_states) } else { String::new() };
        format!("{}/{} points{sampled}{states}", self.fired, self.planned)
    }

    /// Counts the promises that were broken at one point.
    pub(super) fn count(&mut self, problems: &[Problem]) {
        let has = |harm: Harm| usize::from(problems.iter().any(|problem| problem.harm == harm));
        self.lost += has(Harm::Lost);
        self.swallowed += has(Harm::Swallowed);
        self.left_behind += has(Harm::LeftBehind);
    }

    fn add(&mut self, more: &ProgramSummary) {
        self.planned += more.planned;
        self.fired += more.fired;
        self.known += more.known;
        self.crash_states += more.crash_states;
        self.unrepeatable += more.unrepeatable;
        self.lost += more.lost;
        self.swallowed += more.swallowed;
        self.left_behind += more.left_behind;
        self.elapsed += more.elapsed;
    }
}

impl Summary {
    /// Adds what became of one workload.
    pub(super) fn add(&mut self, tally: Tally) {
        match self.programs.last_mut().filter(|last| last.program == tally.counted.program) {
            Some(program) => program.add(&tally.counted),
            None => self.programs.push(tally.counted),
        }
        self.failures.extend(tally.failures);
    }
}

/// What became of one workload, while it is swept.
#[derive(Debug)]
pub(super) struct Tally {
    /// Its numbers.
    pub counted: ProgramSummary,
    failures: Vec<Failure>,
    is_told: bool,
}

impl Tally {
    /// Nothing yet, of a workload with so many points. Failures are printed as they are found, if they are to be told.
    pub(super) fn new(program: &str, known: usize, is_told: bool) -> Tally {
        let counted = ProgramSummary { program: program.to_owned(), known, ..ProgramSummary::default() };
        Tally { counted, failures: Vec::new(), is_told }
    }

    /// Adds a point at which something is wrong.
    pub(super) fn fail(&mut self, point: String, problems: Vec<String>) {
        if self.is_told {
            println!("FAILED {point}");
            problems.iter().for_each(|problem| println!("    {}", problem.replace('\n', "\n    ")));
        }
        self.failures.push(Failure { point, problems });
    }
}
