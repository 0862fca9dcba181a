//! What hooks do beside a place that hangs: what they always do. They neither wait for it nor say anything of it.

use tests::offsite::place::{Kind, Place};
use tests::offsite::tools::RESTIC;
use tests::processes;
use tests::scratch::Scratch;
use tests::transcripts;
use tests::waiting::await_until;

use super::machine::{LIMIT, Machine, NAME};

/// Hooks of each kind that run while the place hangs.
const RUNS: usize = 4;

/// The processes of `restic` in this home that use a place.
fn engines(machine: &Machine) -> Vec<u32> {
    let is_engine = |process: &processes::Process| {
        let is_restic = process.command.split('/').any(|part| part.starts_with(RESTIC));
        process.state != 'Z' && is_restic && !process.command.ends_with(" version")
    };
    let all = processes::with_home(&machine.scratch.home());
    all.into_iter().filter(is_engine).map(|process| process.pid).collect()
}

#[test]
fn a_hook_never_waits_for_a_place() {
    let shelf = Scratch::new();
    let Some(place) = Place::open("a_hook_never_waits_for_a_place", Kind::Rest, &shelf.beside("place")) else { return };
    let machine = Machine::new(&place);
    // Nothing but the test ends what hangs: longer than any hook may take here.
    machine.configure(&place, "offsite_every = \"1s\"\noffsite_silence = \"1h\"\n");
    machine.converse(2);
    machine.init(NAME);
    let id = transcripts::made_id(500);
    let transcript = machine.scratch.transcript(&id);
    let mut turn = 0;
    let mut run = |kind: &str| {
        turn += 1;
        transcripts::append(&transcript, transcripts::prompt_line(&id, turn, "and on it goes"));
        let command = machine.scratch.command_of(kind).expect("a hook of this kind");
        let event = transcripts::event(kind, &transcript, serde_json::json!({"source": "startup", "reason": "other"}));
        let outcome = machine.with_path(machine.scratch.hook(&command, &event)).output().ok();
        assert!(outcome.stdout.is_empty(), "{outcome:?}");
    };
    place.server().freeze();
    // Each start of a session looks whether a push is due; the first one after a second has passed begins it.
    let mut hanging = Vec::new();
    await_until("a push that hangs", LIMIT, || {
        run("SessionStart");
        hanging = engines(&machine);
        !hanging.is_empty()
    });
    for kind in ["UserPromptSubmit", "SessionEnd", "SessionStart"] {
        (0..RUNS).for_each(|_| run(kind));
    }
    assert_eq!(engines(&machine), hanging, "what hangs outlived every hook, and no other was begun beside it");
    place.server().thaw();
    machine.scratch.await_no_process(LIMIT);
    machine.push();
}
