//! A copy that is not what was written: the receipt is refused, and the next clean run heals.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tests::binaries::LAYER3;
use tests::run::raw_pid;
use tests::scratch::{PROJECT, Scratch};
use tests::stores::assert_saved_twice;
use tests::strace::{self, Traced};
use tests::transcripts::{self, INTERACTIVE};
use tests::waiting::await_until;

use crate::product::{assert_verified, chain_delivered, drain, pending};

/// A saved session that has grown by one line since; gives the line's length.
fn grown(scratch: &Scratch) -> usize {
    let transcript = transcripts::lay_out(scratch, INTERACTIVE);
    chain_delivered(scratch, &transcripts::session_end(&transcript));
    let line = transcripts::prompt_line(INTERACTIVE, 77, "the line that gets hurt");
    transcripts::append(&transcript, &line);
    line.len()
}

#[test]
fn copy_corruption() {
    if !strace::is_here("copy_corruption") {
        return;
    }
    // The server's writes into its copy are tampered with: one is reported as done and never
    // made, so that the copy is short; in the other the first byte is another one.
    for tampering in ["retval={length}", "poke_enter=@arg2=58"] {
        let scratch = Scratch::new();
        let length = grown(&scratch);
        let transcript = scratch.transcript(INTERACTIVE);
        let copy = scratch.layer3_store().join(PROJECT).join(format!("{INTERACTIVE}.jsonl"));
        let trace = scratch.beside("trace");
        let server = scratch.beside("tampered-server");
        let tampering = tampering.replace("{length}", &length.to_string());
        let script = format!(
            "#!/bin/sh\nexec strace -f -qq -y -o '{}' -P '{}' -e trace=write,pwrite64 -e inject=write,pwrite64:{tampering} -- '{}' serve \"$@\"\n",
            trace.display(),
            copy.display(),
            scratch.program(LAYER3).display(),
        );
        fs::write(&server, script).expect("write a script");
        fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).expect("make it executable");

        let event = format!("{}\n", transcripts::session_end(&transcript));
        scratch.layer1(&["--quiet"]).stdin(event.clone()).output().ok().silent();
        let args = ["--foreground", "--delay", "10ms", "--server", server.to_str().expect("UTF-8")];
        let outcome = scratch.layer2(&args).stdin(event).output().silent();
        let trace = fs::read_to_string(trace).expect("read the trace");
        assert!(trace.contains("(INJECTED"), "{tampering}: no write was tampered with:\n{trace}\n{outcome:#?}");
        assert!(outcome.stderr.contains("[session-save] ❌ Attempt 1/2: "), "{tampering}: {outcome:#?}");
        assert!(outcome.stderr.contains("[session-save] ⚠️ FALLBACK"), "{tampering}: {outcome:#?}");
        assert!(!outcome.stderr.contains("✅ Saved"), "{tampering}: {outcome:#?}");
        let error = outcome.stderr.lines().find(|line| line.contains("❌ Attempt 1/2")).unwrap_or_default();
        assert!(error.contains(INTERACTIVE), "a clear error names the file: {error}");
        assert_eq!(pending(&scratch).len(), 1, "{tampering}: the job stays");

        drain(&scratch);
        assert_saved_twice(&scratch, &transcript);
        assert_verified(&scratch);
    }
}

#[test]
fn a_byte_changed_between_write_and_verify_is_no_receipt() {
    if !strace::is_here("a_byte_changed_between_write_and_verify_is_no_receipt") {
        return;
    }
    let scratch = Scratch::new();
    let length = grown(&scratch) as u64;
    let transcript = scratch.transcript(INTERACTIVE);
    let copy = scratch.layer3_store().join(PROJECT).join(format!("{INTERACTIVE}.jsonl"));
    let whole = fs::metadata(&transcript).expect("look at the transcript").len();

    // Stopped right after the sync of the copy, and before anything was read back.
    let stop = ["-P", copy.to_str().expect("UTF-8"), "-e", "inject=fdatasync,fsync:signal=STOP:when=1"];
    let traced = Traced::new(&scratch, "fdatasync,fsync", &stop, LAYER3, &["save", "--json"]);
    let (running, trace_file) = traced.with(|run| run.stdin(transcripts::session_end(&transcript))).spawn();
    let trace = || fs::read_to_string(&trace_file).unwrap_or_default();
    await_until("the stop after the sync", Duration::from_secs(30), || trace().contains("stopped by SIGSTOP"));
    let mut bytes = fs::read(&copy).expect("read the copy");
    assert_eq!(bytes.len() as u64, whole, "stopped after the write");
    let place = bytes.len() - length as usize / 2;
    bytes[place] ^= 1;
    fs::write(&copy, bytes).expect("change a byte");
    let stopped: u32 = trace().split(' ').next().and_then(|pid| pid.parse().ok()).expect("a process id");
    kill_process(raw_pid(stopped), Signal::CONT).expect("it is there");

    let outcome = running.wait().exits(1);
    assert!(outcome.stderr.contains(INTERACTIVE), "a clear error names the file: {outcome:#?}");
    assert!(!outcome.text().contains("\"covered\":true") && !outcome.text().contains("store_id"), "{outcome:#?}");
    assert!(!scratch.log(3).contains(&format!("backed up ({whole} bytes)")), "{}", scratch.log(3));

    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
}

#[test]
fn a_flipped_bit_is_found_and_never_answered_for() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    for (name, store) in [("layer 1", scratch.layer1_store()), ("layer 3", scratch.layer3_store())] {
        let copy = store.join(PROJECT).join(format!("{INTERACTIVE}.jsonl"));
        let mut bytes = fs::read(&copy).expect("read a copy");
        bytes[19_000] ^= 4;
        fs::write(&copy, bytes).expect("flip a bit");
        let verify = if name == "layer 1" { scratch.layer1(&["verify"]) } else { scratch.layer3(&["verify"]) };
        let outcome = verify.output().exits(1);
        let said = format!("{}{}", outcome.text(), outcome.stderr);
        assert!(said.contains("damaged") && said.contains(INTERACTIVE), "{name}: {outcome:#?}");
    }
    // The source is still whole: the next full save makes both copies right again, and sets the damaged ones aside.
    transcripts::append(&transcript, transcripts::prompt_line(INTERACTIVE, 78, "it went on"));
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
}

#[test]
fn either_copy_that_is_damaged_is_found_and_repaired_from_the_other() {
    for (is_first, said) in [(true, "in the first copy: "), (false, "")] {
        let scratch = Scratch::new();
        grown(&scratch);
        let transcript = scratch.transcript(INTERACTIVE);
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
        // Nothing but the other copy has it.
        fs::remove_file(&transcript).expect("lose the transcript");
        let store = if is_first { scratch.layer1_store() } else { scratch.layer3_store() };
        let copy = store.join(PROJECT).join(format!("{INTERACTIVE}.jsonl"));
        let whole = fs::read(&copy).expect("a copy");
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        fs::write(&copy, &damaged).expect("damage it");
        let found = scratch.layer3(&["verify"]).output().exits(1);
        assert!(found.text().contains("damaged") && found.text().contains(said), "{found:?}");
        assert!(found.text().contains("verify --repair"), "it says what to type: {found:?}");
        let of_one = scratch.layer3(&["verify", INTERACTIVE]).output().exits(1);
        assert!(of_one.text().contains("damaged"), "{of_one:?}");
        let repaired = scratch.layer3(&["verify", "--repair"]).output().ok();
        assert!(repaired.text().contains("repaired") && repaired.text().contains("All is well"), "{repaired:?}");
        assert!(fs::read(&copy).expect("a copy") == whole, "it is what it was");
        scratch.layer1(&["verify"]).output().ok();
        scratch.layer3(&["verify"]).output().ok();
    }
}
