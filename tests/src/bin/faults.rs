//! `cargo xtask faults`: the whole sweep, or a part of it. The last lines are one a program.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use tests::faults::{Bounds, sweep};

/// Makes every system call of the programs fail, one after the other, and checks that nothing is
/// lost, hidden or left behind.
#[derive(Parser)]
#[command(name = "cargo xtask faults")]
struct Args {
    /// Only this program: layer1, layer2, layer3 (may be given more than once)
    #[arg(long, value_name = "NAME")]
    program: Vec<String>,
    /// Only this workload (may be given more than once)
    #[arg(long, value_name = "NAME")]
    workload: Vec<String>,
    /// Only this point, as a failure names it (may be given more than once)
    #[arg(long, value_name = "POINT")]
    only: Vec<String>,
    /// At most so many points a workload, drawn by the seed
    #[arg(long, value_name = "N")]
    points: Option<usize>,
    /// Begin no point after so many minutes, 0 for no limit; what is left out is said
    #[arg(long, value_name = "MINUTES", default_value_t = 28)]
    minutes: u64,
    /// What sampling and crashed recoveries are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Workers; two a core, because the programs sleep now and then
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// Instead of all this: break the programs on purpose, one line at a time, and see that it is noticed
    #[arg(long)]
    self_test: bool,
    /// Leave out the points that passed before with these binaries and this seed
    #[arg(long)]
    resume: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.jobs == 0 {
        eprintln!("error: failed to sweep: --jobs must be 1 at least");
        return ExitCode::FAILURE;
    }
    if args.self_test {
        eprintln!("error: failed to test itself: that is for `cargo xtask faults --self-test`, which builds programs");
        return ExitCode::FAILURE;
    }
    let started = Instant::now();
    let is_whole = args.only.is_empty();
    let bounds = Bounds {
        programs: args.program,
        workloads: args.workload,
        only: args.only,
        points_max: args.points,
        syncs_max: None,
        time_max: (args.minutes > 0 && is_whole).then(|| Duration::from_secs(60 * args.minutes)),
        seed: args.seed,
        jobs: args.jobs,
        record: is_whole.then(record),
        resume: args.resume,
        verbose: true,
    };
    let summary = sweep(&bounds);
    for program in summary.programs.iter().filter(|_| is_whole) {
        let (name, planned, known) = (&program.program, program.planned, program.known - program.unrepeatable);
        if planned < known {
            println!("{name}: sampled {planned} of {known} points (seed {})", bounds.seed);
        }
        if program.unrepeatable > 0 {
            println!("{name}: {} points left out, their call does not come every time", program.unrepeatable);
        }
        if program.crash_states > 0 {
            println!("{name}: {} states after a loss of power", program.crash_states);
        }
        println!("{name}: took {:.0?}", program.elapsed);
    }
    println!("{:.0?} in all, {} points failed", started.elapsed(), summary.failures.len());
    for program in &summary.programs {
        println!("{program}");
    }
    if summary.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Beside the binaries, in cargo's own folder.
fn record() -> PathBuf {
    let own = std::env::current_exe().expect("own path");
    own.parent().expect("a program lies in a folder").join("faults.passed")
}
