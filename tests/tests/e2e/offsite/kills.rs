//! Killed at every moment: restic, or the program that drives it. Nothing that was received is lost, the next run is
//! clean, and nobody holds the lock.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use tests::offsite::place::{Kind, Place};
use tests::offsite::restic;
use tests::offsite::tools::{self, RESTIC};
use tests::processes;
use tests::run::{Running, raw_pid};
use tests::scratch::Scratch;
use tests::waiting::holds_within;

use super::machine::{LIMIT, Machine, NAME};

/// A run may end before its moment; so many times as many are begun at most.
const TRIES: u32 = 3;
/// So many conversations are enough here.
const FEW: usize = 12;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Restic,
    Driver,
}

/// Kills one of them after the other at so many moments, spread over the time that this command takes; after each, a push
/// arrives whole, and in the end the command does what it is for.
fn check_killed(test: &str, victims: &[Victim], moments: u32, command: &[&str]) {
    let shelf = Scratch::new();
    let Some(place) = Place::open(test, Kind::Local, &shelf.beside("place")) else { return };
    let machine = Machine::new(&place);
    machine.converse(FEW);
    machine.init(NAME);
    // As many snapshots as there must be for some to be old.
    for number in 0..4 {
        machine.push();
        machine.grow(2 + number, "before the first kill");
    }
    let begun = Instant::now();
    machine.offsite(command).output().ok();
    let whole = begun.elapsed();
    let (mut killed, mut tried) = (0, 0);
    while killed < moments && tried < TRIES * moments {
        let victim = victims[killed as usize % victims.len()];
        machine.grow(2 + tried % 5, &format!("moment {tried} {}", "of many ".repeat(500)));
        let running = machine.offsite(command).spawn();
        let moment = whole * (2 * (tried % moments) + 1) / (2 * moments);
        killed += u32::from(kill_at(running, victim, moment));
        tried += 1;
        // A driver that is killed leaves restic behind, which ends by itself and holds the lock until then.
        machine.scratch.await_no_process(LIMIT);
        machine.push();
    }
    assert_eq!(killed, moments, "{victims:?} were killed often enough in {tried} runs of {whole:?}");
    // The first one ends what the last kill cut off, which may have come as far as the new key.
    machine.offsite(command).output().ok();
    let before = machine.repository(&place, NAME);
    machine.offsite(command).output().ok();
    let changes_key = command.contains(&"key");
    assert_eq!(
        before.run(&["snapshots", "--no-lock"]).output().code == Some(12),
        changes_key,
        "an old key opens nothing"
    );
    machine.drill_all();
    // It removes the locks that the killed ones left.
    machine.offsite(&["check", "--all"]).output().ok();
    assert!(machine.kinds().is_empty(), "{:#}", machine.status());
    machine.repository(&place, NAME).assert_clean();
    machine.assert_comes_back(&place, FEW);
}

/// Whether it was still there to be killed.
fn kill_at(mut running: Running, victim: Victim, moment: Duration) -> bool {
    if holds_within(moment, || running.has_ended()) {
        return false;
    }
    match victim {
        Victim::Driver => {
            running.signal(Signal::KILL);
            running.wait().signal == Some(9)
        }
        Victim::Restic => {
            let engine = tools::program(RESTIC).display().to_string();
            // Between two calls of restic there is none: the next one is as good.
            let mut hit = false;
            holds_within(Duration::from_secs(1), || {
                let children = processes::descendants(running.pid());
                let all = processes::all();
                let is_engine = |process: &&processes::Process| {
                    let named = process.command.starts_with(&engine) || process.command.starts_with("restic ");
                    named && process.state != 'Z' && children.contains(&process.pid)
                };
                hit = all
                    .iter()
                    .find(is_engine)
                    .is_some_and(|found| kill_process(raw_pid(found.pid), Signal::KILL).is_ok());
                hit || running.has_ended()
            });
            let outcome = running.wait();
            // What it was asked for may be done all the same: a killed look-up is no failed push.
            assert!(!outcome.timed_out && matches!(outcome.code, Some(0 | 1)), "{outcome:?}");
            hit
        }
    }
}

/// Counts the calls of restic and kills at the one that is asked for: the driver before it or behind it, or restic.
const KILLING: &str = r#"n=$(($(cat "$HERE/calls" 2>/dev/null || echo 0) + 1)); echo $n > "$HERE/calls"
[ "$n" = "$(cat "$HERE/at" 2>/dev/null)" ] || exec "$REAL" "$@"
case $(cat "$HERE/who") in
before) kill -9 $PPID ;;
restic) kill -9 $$ ;;
behind) "$REAL" "$@"; kill -9 $PPID; exit ;;
esac
exec "$REAL" "$@""#;

/// Kills of a command, by its calls of restic: what is between two of them is as short as it is.
pub(super) struct Kills<'a> {
    machine: &'a Machine,
    programs: &'a Path,
}

impl<'a> Kills<'a> {
    /// `programs` stands first on the machine's search path.
    pub(super) fn new(machine: &'a Machine, programs: &'a Path) -> Kills<'a> {
        restic::scripted(programs, KILLING);
        Kills { machine, programs }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.programs.join(name), text).expect("say when to kill");
    }

    /// Runs a command to its end; how many calls it made.
    #[track_caller]
    pub(super) fn calls_of(&self, command: &[&str]) -> u32 {
        self.write("calls", "0");
        self.write("at", "none");
        self.machine.offsite(command).output().ok();
        fs::read_to_string(self.programs.join("calls")).expect("calls").trim().parse().expect("a number")
    }

    /// Runs a command that is cut off at a call, if it makes as many; what is left of it ends by itself.
    #[track_caller]
    pub(super) fn kill(&self, command: &[&str], who: &str, at: u32) {
        self.write("calls", "0");
        self.write("who", who);
        self.write("at", &at.to_string());
        let outcome = self.machine.offsite(command).output();
        self.write("at", "none");
        let calls: u32 =
            fs::read_to_string(self.programs.join("calls")).expect("calls").trim().parse().expect("a number");
        // A look-up that was killed may be done without.
        assert!(who == "restic" || calls < at || outcome.signal == Some(9), "{who} at {at} of {calls}: {outcome:?}");
        self.machine.scratch.await_no_process(LIMIT);
    }
}

#[test]
fn restic_is_killed_in_a_push() {
    check_killed("restic_is_killed_in_a_push", &[Victim::Restic], 6, &["push", "--now"]);
}

#[test]
fn the_driver_is_killed_in_a_push() {
    check_killed("the_driver_is_killed_in_a_push", &[Victim::Driver], 6, &["push", "--now"]);
}

#[test]
fn both_are_killed_while_old_snapshots_go() {
    let victims = [Victim::Restic, Victim::Driver];
    check_killed("both_are_killed_while_old_snapshots_go", &victims, 6, &["thin", "--yes"]);
}

#[test]
fn both_are_killed_while_the_key_changes() {
    let victims = [Victim::Restic, Victim::Driver];
    check_killed("both_are_killed_while_the_key_changes", &victims, 6, &["key", "change"]);
}

#[test]
fn both_are_killed_in_a_repair() {
    let victims = [Victim::Restic, Victim::Driver];
    check_killed("both_are_killed_in_a_repair", &victims, 6, &["repair"]);
}
