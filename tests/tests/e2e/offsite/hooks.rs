//! What hooks cost beside a place that hangs: nothing. They neither wait for it nor say anything of it.

use std::time::Duration;

use tests::offsite::place::{Kind, Place};
use tests::offsite::tools::RESTIC;
use tests::processes;
use tests::run::Outcome;
use tests::scratch::Scratch;
use tests::transcripts;
use tests::waiting::await_until;

use super::machine::{LIMIT, Machine, NAME};

/// So often each hook is run; the fastest one counts, which waited least for a core.
const RUNS: usize = 8;
/// What the fastest of two may differ by on a busy machine.
const NOISE: Duration = Duration::from_millis(60);

/// Each kind of event's fastest run.
fn fastest(machine: &Machine, begun: u32) -> Vec<(&'static str, Duration)> {
    let id = transcripts::made_id(500);
    let transcript = machine.scratch.transcript(&id);
    let mut turn = begun;
    let mut run = |kind: &'static str| -> Outcome {
        turn += 1;
        transcripts::append(&transcript, transcripts::prompt_line(&id, turn, "and on it goes"));
        let command = machine.scratch.command_of(kind).expect("a hook of this kind");
        let event = transcripts::event(kind, &transcript, serde_json::json!({"source": "startup", "reason": "other"}));
        machine.with_path(machine.scratch.hook(&command, &event)).output().ok()
    };
    let kinds = ["UserPromptSubmit", "SessionEnd", "SessionStart"];
    let mut fastest = |kind| (0..RUNS).map(|_| run(kind).elapsed).min().expect("some runs");
    kinds.map(|kind| (kind, fastest(kind))).to_vec()
}

#[test]
fn a_hook_never_waits_for_a_place() {
    let shelf = Scratch::new();
    let Some(place) = Place::open("a_hook_never_waits_for_a_place", Kind::Rest, &shelf.beside("place")) else { return };
    let machine = Machine::new(&place);
    machine.configure(&place, "offsite_every = \"1s\"\noffsite_silence = \"60s\"\n");
    machine.converse(2);
    let without = fastest(&machine, 0);
    machine.scratch.await_no_process(LIMIT);
    machine.init(NAME);
    place.server().freeze();
    let with = fastest(&machine, 1000);
    // It did hang: what the hooks started is there and waits.
    let is_engine = |process: &processes::Process| process.command.split('/').any(|part| part.starts_with(RESTIC));
    await_until("a push that hangs", LIMIT, || processes::with_home(&machine.scratch.home()).iter().any(is_engine));
    let again = fastest(&machine, 2000);
    for (number, (kind, cost)) in without.iter().enumerate() {
        let hanging = with[number].1.min(again[number].1);
        assert!(hanging < *cost + NOISE, "{kind}: {cost:?} without a place, {hanging:?} with one that hangs");
        assert!(again[number].1 < *cost + 2 * NOISE, "{kind}: {cost:?} without, {:?} while it hangs", again[number].1);
    }
    place.server().thaw();
    machine.scratch.await_no_process(LIMIT);
    machine.push();
}
