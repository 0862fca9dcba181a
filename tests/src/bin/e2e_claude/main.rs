//! The real client, Claude Code, against a stand-in for its API: its conversations are saved
//! however they end, come back, and are found by the client itself.
//!
//! One line a scenario, `ok NAME` or `FAILED NAME: why`, and a line that counts them; exit 1 if
//! any failed. All scenarios share one home, in the order in which they stand in `rows`, and after
//! each of them *every* conversation must be in both stores, and all be well.
#![allow(clippy::disallowed_methods)] // It plays a user who deletes a transcript.

mod checks;
mod row;
mod rows;
mod setup;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use tests::claude::Client;

use crate::row::Args;

/// What was counted.
#[derive(Default)]
struct Count {
    passed: u32,
    failed: u32,
    skipped: u32,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let started = Instant::now();
    std::panic::set_hook(Box::new(|_| {})); // The scenario's line says it.
    let mut count = Count::default();
    let is_asked_for = |name: &str| args.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    for alone in rows::ALONE.iter().filter(|alone| is_asked_for(alone.name)) {
        count.play(alone.name, || (alone.play)(&args));
    }
    let client = Client::new(&args.claude);
    if count.play("install", || setup::install(&client, &args)) {
        for row in rows::all().filter(|row| is_asked_for(row.name)) {
            if row.terminal && args.no_tmux {
                count.skipped += 1;
            } else if !count.play(row.name, || join(&(row.play)(&client), &checks::all_is_well(&client))) {
                // What one scenario left is not told of the next.
                client.program("layer3-indexer").args(["status", "--acknowledge"]).output();
            }
        }
    }
    let Count { passed, failed, skipped } = count;
    println!("{passed} ok, {failed} failed, {skipped} skipped in {:.0} s", started.elapsed().as_secs_f64());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Count {
    /// Plays it and tells; whether it passed.
    fn play(&mut self, name: &str, scenario: impl Fn() -> String) -> bool {
        let begun = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(scenario));
        let took = begun.elapsed().as_secs_f64();
        match &result {
            Ok(seen) => {
                self.passed += 1;
                println!("ok      {name}: {seen} ({took:.1} s)");
            }
            Err(panic) => {
                self.failed += 1;
                println!("FAILED  {name}: {} ({took:.1} s)", message(panic.as_ref()));
            }
        }
        result.is_ok()
    }
}

fn join(seen: &str, more: &str) -> String {
    if seen.is_empty() { more.to_owned() } else { format!("{seen}; {more}") }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
