//! Any one layer away: the other two do their work and the hook ends well.

use std::time::Duration;

use tests::binaries::{LAYER1, LAYER2, LAYER3};
use tests::processes;
use tests::scratch::{PROJECT, Scratch};
use tests::stores::{assert_equals_source, assert_saved_twice, difference};
use tests::transcripts::{self, INTERACTIVE};
use tests::tree;
use tests::waiting::await_until;

use crate::product::{DELIVERY, await_delivered, chain, drain, found_in};

type Damage = fn(&Scratch, &str);

/// How a binary can be away, but for one that never ends.
const AWAY: [(&str, Damage); 4] = [
    ("deleted", |scratch, name| scratch.delete_binary(name)),
    ("not executable", |scratch, name| scratch.make_unexecutable(name)),
    ("failing", |scratch, name| scratch.replace_binary(name, "exit 1")),
    ("crashing", |scratch, name| scratch.replace_binary(name, "kill -SEGV $$")),
];

fn with_one_away(name: &str, make: Damage) -> (Scratch, std::path::PathBuf) {
    let scratch = Scratch::with_own_binaries();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    make(&scratch, name);
    (scratch, transcript)
}

#[test]
fn without_layer1_the_others_save() {
    for (what, make) in AWAY {
        let (scratch, transcript) = with_one_away(LAYER1, make);
        let outcome = chain(&scratch, &transcripts::session_end(&transcript));
        assert!(outcome.elapsed < Duration::from_secs(10), "{what}: {outcome:#?}");
        await_delivered(&scratch);
        assert_equals_source(&scratch.layer3_store(), PROJECT, &transcript);
        assert_eq!(found_in(&scratch, "hello interactive"), [INTERACTIVE], "{what}");
    }
}

#[test]
fn without_layer2_layer1_saves_and_a_later_drain_delivers() {
    for (what, make) in AWAY {
        let (scratch, transcript) = with_one_away(LAYER2, make);
        let outcome = chain(&scratch, &transcripts::session_end(&transcript));
        assert!(outcome.elapsed < Duration::from_secs(10), "{what}: {outcome:#?}");
        assert_equals_source(&scratch.layer1_store(), PROJECT, &transcript);
        assert_eq!(tree::session_files(&scratch.layer3_store()), [""; 0], "{what}");
    }
}

#[test]
fn without_layer3_layer1_saves_and_the_job_waits() {
    for (what, make) in AWAY {
        let (scratch, transcript) = with_one_away(LAYER3, make);
        let command = scratch.chain_command("--timeout 2s --delay 10ms");
        let outcome = scratch.hook(&command, &transcripts::session_end(&transcript)).output().ok().silent();
        assert!(outcome.elapsed < Duration::from_secs(10), "{what}: {outcome:#?}");
        scratch.await_no_process(DELIVERY);
        assert_equals_source(&scratch.layer1_store(), PROJECT, &transcript);
        assert!(scratch.log(2).contains("⚠️ FALLBACK"), "{what}: {}", scratch.log(2));
        // It comes back.
        let _ = std::fs::remove_file(scratch.program(LAYER3)); // Already gone in one of the cases.
        std::fs::copy(tests::binaries::folder().join(LAYER3), scratch.program(LAYER3)).expect("bring layer 3 back");
        drain(&scratch);
        assert_saved_twice(&scratch, &transcript);
    }
}

#[test]
fn beside_a_layer1_that_never_ends_layer2_goes_on_after_its_deadline() {
    let (scratch, transcript) = with_one_away(LAYER1, |scratch, name| scratch.replace_binary(name, "sleep 300"));
    let event = transcripts::session_end(&transcript);
    let hook = scratch.hook(&scratch.chain_command(""), &event).spawn();
    let saved = || scratch.log(2).contains(&format!("✅ Saved {INTERACTIVE}"));
    await_until("a delivery that goes by the session id alone", Duration::from_secs(20), saved);
    // The shell waits for layer 1; that is left to the hook's timeout.
    processes::end_tree(hook.pid());
    let outcome = hook.wait();
    assert!(!outcome.timed_out && outcome.stdout.is_empty(), "{outcome:#?}");
    await_delivered(&scratch);
    assert_equals_source(&scratch.layer3_store(), PROJECT, &transcript);
}

#[test]
fn before_a_layer2_that_never_ends_layer1_has_done_its_work() {
    let (scratch, transcript) = with_one_away(LAYER2, |scratch, name| scratch.replace_binary(name, "sleep 300"));
    let event = transcripts::session_end(&transcript);
    let hook = scratch.hook(&scratch.chain_command(""), &event).spawn();
    let saved = || difference(&scratch.layer1_store(), PROJECT, &transcript).is_none();
    await_until("layer 1's copy", Duration::from_secs(10), saved);
    processes::end_tree(hook.pid());
    let outcome = hook.wait();
    assert!(!outcome.timed_out && outcome.stdout.is_empty(), "{outcome:#?}");
    scratch.await_no_process(Duration::from_secs(10));
}

#[test]
fn beside_a_layer3_that_never_ends_the_hook_ends_in_time() {
    let (scratch, transcript) = with_one_away(LAYER3, |scratch, name| scratch.replace_binary(name, "sleep 300"));
    let command = scratch.chain_command("--timeout 1s --delay 10ms");
    let outcome = scratch.hook(&command, &transcripts::session_end(&transcript)).output().ok().silent();
    assert!(outcome.elapsed < Duration::from_secs(4), "{outcome:#?}");
    assert_equals_source(&scratch.layer1_store(), PROJECT, &transcript);
    scratch.await_no_process(Duration::from_secs(30));
    assert!(scratch.log(2).contains("⚠️ FALLBACK"), "{}", scratch.log(2));
}

#[test]
fn every_other_hook_exits_0_without_its_binaries() {
    for name in [LAYER1, LAYER2, LAYER3] {
        for (what, make) in AWAY {
            let (scratch, transcript) = with_one_away(name, make);
            for command in [scratch.turn_command(), scratch.start_command()] {
                let outcome = scratch.hook(&command, &transcripts::prompt_submit(&transcript)).output();
                assert!(outcome.code == Some(0) && !outcome.timed_out, "{name} {what}: {outcome:#?}");
                if name != LAYER3 {
                    assert!(outcome.stdout.is_empty(), "{name} {what}: {outcome:#?}");
                }
            }
            if name != LAYER1 {
                assert_equals_source(&scratch.layer1_store(), PROJECT, &transcript);
            }
        }
    }
}
