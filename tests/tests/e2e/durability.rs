//! The order of durability of every command that writes, and what a loss of power leaves of the
//! small ones; and a few of their calls failed in every way. `cargo xtask faults` does the same for all
//! of them and all their calls.

use tests::faults::{Bounds, sweep};
use tests::strace;

/// Fault points that are drawn of each workload, by the seed: the same ones each time.
const POINTS: usize = 4;
/// Those at which a sync is lost, which found most of what was ever found, likewise.
const SYNCS: usize = 10;

/// Checks the clean run of each workload, fails some of its calls, and recovers from each state that a
/// loss of power could leave of those that are small enough.
fn keeps_the_order(test: &str, program: &str, workloads: &[&str]) {
    if !strace::is_here(test) {
        return;
    }
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let bounds = Bounds {
        programs: owned(&[program]),
        workloads: owned(workloads),
        points_max: Some(POINTS),
        syncs_max: Some(SYNCS),
        ..Bounds::default()
    };
    let summary = sweep(&bounds);
    let states: usize = summary.programs.iter().map(|program| program.crash_states).sum();
    println!("{program}: {states} states after a loss of power");
    summary.programs.iter().for_each(|program| println!("{program}"));
    assert!(summary.programs.iter().all(|program| program.fired == program.planned && program.fired > 40));
    assert!(summary.failures.is_empty(), "{:#?}", summary.failures);
    assert!(states > 20, "only {states} states after a loss of power");
}

#[test]
fn layer1_acknowledges_nothing_before_it_is_safe() {
    keeps_the_order("layer1_acknowledges_nothing_before_it_is_safe", "layer1", &[]);
}

#[test]
fn layer2_acknowledges_nothing_before_it_is_safe() {
    keeps_the_order("layer2_acknowledges_nothing_before_it_is_safe", "layer2", &[]);
}

/// Each crash state of a save takes an index to be looked at; here those of the smallest do.
#[test]
fn layer3_acknowledges_nothing_before_it_is_safe() {
    let workloads =
        ["save-delta", "save-sides", "save-taken-over", "import", "restore", "repair", "rebuild", "compress"];
    keeps_the_order("layer3_acknowledges_nothing_before_it_is_safe", "layer3", &workloads);
}
