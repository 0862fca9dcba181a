//! Layer 2 against servers that fail in every way: what is logged, what stays in the outbox, how
//! long a hook is held up, and that no process is left behind.

use std::fs;
use std::time::Duration;

use insta::assert_snapshot;
use serde_json::{Value, json};
use tests::processes;
use tests::run::Outcome;
use tests::scratch::{PROJECT, Scratch};
use tests::stores::{assert_equals_source, assert_saved_twice};
use tests::transcripts::{self, INTERACTIVE};
use tests::waiting::{await_until, holds_within};

use crate::product::{
    self, DELIVERY, await_delivered, await_log, drain, fake, fake_server, fake_with_journal, journal, pending,
    session_save_lines,
};

/// Runs the chain with flags for layer 2.
#[track_caller]
fn chain_with(scratch: &Scratch, flags: &str, event: &str) -> Outcome {
    scratch.hook(&scratch.chain_command(flags), event).output().ok().silent()
}

/// Delivers one event in the foreground against a fake server, layer 1's copy having been made.
#[track_caller]
fn foreground(scratch: &Scratch, mode: &str, flags: &[&str]) -> Outcome {
    let event = format!("{}\n", transcripts::session_end(&scratch.transcript(INTERACTIVE)));
    scratch.layer1(&["--quiet"]).stdin(event.clone()).output().ok();
    let mut args = vec!["--foreground"];
    args.extend(flags);
    args.extend(["--server", fake_server().to_str().expect("a path in UTF-8"), mode]);
    scratch.layer2(&args).stdin(event).output().silent()
}

#[test]
fn mcp_timeout() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let flags = format!("--wait 500ms --timeout 700ms {}", fake("hang-in-call"));
    chain_with(&scratch, &flags, &transcripts::session_end(&transcript));
    let log = await_log(&scratch, "FALLBACK");
    assert_snapshot!(session_save_lines(&log).join("\n"), @r"
    [session-save] 📝 Attempt 1/2: Calling session_save...
    [session-save] ⏱️ Timeout on attempt 1/2
    [session-save] 🔄 Retrying in 1 second...
    [session-save] 📝 Attempt 2/2: Calling session_save...
    [session-save] ⏱️ Timeout on attempt 2/2
    [session-save] ❌ Failed after 2 attempts
    [session-save] ⚠️ FALLBACK: Conversación guardada en ~/.claude-backup-sessions/proj/df1f039c-dac8-4026-8378-80aa705e1c37.jsonl
    ");
    assert_copy_is_there_and_the_next_drain_delivers(&scratch);
}

#[test]
fn mcp_crash() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let flags = format!("--wait 500ms --delay 1s {}", fake("die-in-call"));
    chain_with(&scratch, &flags, &transcripts::session_end(&transcript));
    let log = await_log(&scratch, "FALLBACK");
    let lines = session_save_lines(&log).into_iter().map(without_cause).collect::<Vec<_>>();
    assert_snapshot!(lines.join("\n"), @r"
    [session-save] 📝 Attempt 1/2: Calling session_save...
    [session-save] ❌ Attempt 1/2: {cause}
    [session-save] 🔄 Retrying in 1 second...
    [session-save] 📝 Attempt 2/2: Calling session_save...
    [session-save] ❌ Attempt 2/2: {cause}
    [session-save] ❌ Failed after 2 attempts
    [session-save] ⚠️ FALLBACK: Conversación guardada en ~/.claude-backup-sessions/proj/df1f039c-dac8-4026-8378-80aa705e1c37.jsonl
    ");
    assert_copy_is_there_and_the_next_drain_delivers(&scratch);
}

/// The cause is the library's wording; that there is one is what counts.
fn without_cause(line: String) -> String {
    match line.split_once("/2: ") {
        Some((attempt, cause)) if line.contains("❌ Attempt") && !cause.is_empty() => {
            format!("{attempt}/2: {{cause}}")
        }
        _ => line,
    }
}

#[track_caller]
fn assert_copy_is_there_and_the_next_drain_delivers(scratch: &Scratch) {
    let transcript = scratch.transcript(INTERACTIVE);
    scratch.await_no_process(DELIVERY);
    assert_equals_source(&scratch.layer1_store(), PROJECT, &transcript);
    let jobs = pending(scratch);
    assert_eq!(jobs.len(), 1, "the job stays: {jobs:#?}");
    assert_eq!(product::text(&jobs[0], "session_id"), INTERACTIVE);
    drain(scratch);
    assert_saved_twice(scratch, &transcript);
    assert!(scratch.log(2).contains(&format!("[session-save] ✅ Saved {INTERACTIVE}: ")), "{}", scratch.log(2));
    assert_eq!(product::found_in(scratch, "hello interactive"), [INTERACTIVE]);
}

#[test]
fn a_failing_server_keeps_the_job_and_leaves_no_process() {
    for (mode, expected) in [
        ("exit-at-once", "❌ Attempt 1/2: "),
        ("hang-before-initialize", "⏱️ Timeout on attempt 1/2"),
        ("error-result", "the disk of the fake server is full"),
        ("error-answer", "the fake server failed"),
        ("no-receipt", "❌ Attempt 1/2: "),
        ("wrong-hash", "❌ Attempt 1/2: "),
        ("not-covered", "❌ Attempt 1/2: "),
        ("fewer-files", "❌ Attempt 1/2: "),
        ("other-session", "❌ Attempt 1/2: "),
        ("late", "⏱️ Timeout on attempt 1/2"),
        ("ignore-sigterm", "⏱️ Timeout on attempt 1/2"),
    ] {
        let scratch = Scratch::new();
        transcripts::lay_out(&scratch, INTERACTIVE);
        let outcome = foreground(&scratch, mode, &["--timeout", "600ms", "--delay", "10ms"]);
        assert!(!outcome.timed_out, "{mode}: {outcome:#?}");
        for words in [expected, "❌ Failed after 2 attempts", "⚠️ FALLBACK: "] {
            assert!(outcome.stderr.contains(words), "{mode}: no {words:?} in {outcome:#?}");
        }
        assert!(!outcome.stderr.contains("✅ Saved"), "{mode}: {outcome:#?}");
        // Reaped before it ended: nothing may still be on its way out.
        scratch.await_no_process(Duration::from_millis(200));
        assert_eq!(pending(&scratch).len(), 1, "{mode}: the job stays");
    }
}

#[test]
fn an_honest_server_is_believed_however_slow_or_noisy() {
    for mode in ["healthy", "slow", "late", "flood-stderr", "garbage"] {
        let scratch = Scratch::new();
        let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
        let outcome = foreground(&scratch, mode, &[]).ok();
        let bytes = fs::metadata(&transcript).expect("look at the transcript").len();
        let saved = format!("[session-save] ✅ Saved {INTERACTIVE}: {bytes} bytes, receipt verified");
        assert!(outcome.stderr.contains(&saved), "{mode}: {outcome:#?}");
        assert_eq!(pending(&scratch), [json!(null); 0], "{mode}");
        scratch.await_no_process(Duration::from_millis(200));
    }
}

#[test]
fn a_server_without_receipts_is_accepted_only_on_demand() {
    let scratch = Scratch::new();
    transcripts::lay_out(&scratch, INTERACTIVE);
    foreground(&scratch, "no-receipt", &["--attempts", "1", "--no-receipt"]).ok();
    assert_eq!(pending(&scratch), [json!(null); 0]);
}

#[test]
fn an_error_that_cannot_heal_is_not_retried_at_once() {
    let scratch = Scratch::new();
    transcripts::lay_out(&scratch, INTERACTIVE);
    let outcome = foreground(&scratch, "invalid-input", &["--delay", "10ms"]);
    assert!(outcome.stderr.contains("Attempt 1/2"), "{outcome:#?}");
    assert!(!outcome.stderr.contains("Attempt 2/2"), "{outcome:#?}");
    assert!(outcome.stderr.contains("the input is invalid"), "{outcome:#?}");
    assert_eq!(pending(&scratch).len(), 1, "a failed job is counted");
    scratch.layer2(&["drain", "--retry-failed"]).output().ok();
    await_delivered(&scratch);
    assert_saved_twice(&scratch, &scratch.transcript(INTERACTIVE));
}

#[test]
fn fallback_is_said_only_where_layer1_has_the_copy() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let event = transcripts::session_end(&transcript);
    let server = fake_server().to_str().expect("a path in UTF-8");
    let args = ["--foreground", "--attempts", "1", "--server", server, "error-result"];
    let outcome = scratch.layer2(&args).stdin(event.clone()).output();
    assert!(outcome.stderr.contains(&format!("[session-save] ❌ No copy of {INTERACTIVE}")), "{outcome:#?}");
    assert!(!outcome.stderr.contains("FALLBACK"), "{outcome:#?}");

    // A copy that no longer matches its hash is no fallback either.
    scratch.layer1(&["--quiet"]).stdin(event.clone()).output().ok();
    let copy = scratch.layer1_store().join(PROJECT).join(format!("{INTERACTIVE}.jsonl"));
    let mut bytes = fs::read(&copy).expect("read the copy");
    bytes[1000] ^= 1;
    fs::write(&copy, bytes).expect("damage the copy");
    let outcome = scratch.layer2(&args).stdin(event).output();
    assert!(!outcome.stderr.contains("FALLBACK"), "{outcome:#?}");
}

#[test]
fn exit_is_held_up_by_no_more_than_the_wait() {
    for mode in ["hang-before-initialize", "hang-in-call", "ignore-sigterm"] {
        let scratch = Scratch::new();
        let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
        let flags = format!("--wait 500ms --timeout 8s --attempts 1 {}", fake(mode));
        let outcome = chain_with(&scratch, &flags, &transcripts::session_end(&transcript));
        // 500 ms and 100 ms are promised; the rest is room for a busy machine, and less than the server takes.
        assert!(outcome.elapsed < Duration::from_secs(6), "{mode}: {outcome:#?}");
        assert!(outcome.elapsed >= Duration::from_millis(450), "{mode} hangs, so the wait is used up: {outcome:#?}");
        await_log(&scratch, "❌ Failed after 1 attempt");
        scratch.await_no_process(Duration::from_secs(20));
        assert_eq!(pending(&scratch).len(), 1, "{mode}");
    }
}

#[test]
fn a_person_at_a_terminal_waits_for_no_server_and_a_program_does() {
    for (entrypoint, waits) in [("cli", false), ("sdk-cli", true), ("", true)] {
        let scratch = Scratch::new();
        let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
        let command = scratch.chain_command(&format!("--timeout 2s --attempts 1 {}", fake("hang-in-call")));
        let hook = scratch.hook(&command, &transcripts::session_end(&transcript));
        let outcome = hook.env("CLAUDE_CODE_ENTRYPOINT", entrypoint).output().ok().silent();
        // Its jobs are written down when it ends, whoever waits.
        assert_eq!(pending(&scratch).len(), 1, "{entrypoint}");
        assert_eq!(outcome.elapsed >= Duration::from_millis(950), waits, "{entrypoint}: {outcome:#?}");
        await_log(&scratch, "❌ Failed after 1 attempt");
        scratch.await_no_process(Duration::from_secs(20));
    }
}

#[test]
fn a_killed_deliverer_loses_nothing() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let flags = format!("--wait 0s {}", fake_with_journal(&scratch, "hang-in-call"));
    chain_with(&scratch, &flags, &transcripts::session_end(&transcript));
    await_until("a call", DELIVERY, || journal(&scratch).iter().any(|line| line.contains(" call ")));
    let before = processes::with_home(&scratch.home());
    assert!(before.len() >= 2, "deliverer and server: {before:#?}");
    for process in before {
        let _ = rustix::process::kill_process(tests::run::raw_pid(process.pid), rustix::process::Signal::KILL);
    }
    scratch.await_no_process(DELIVERY);
    assert_eq!(pending(&scratch).len(), 1);
    drain(&scratch);
    assert_saved_twice(&scratch, &transcript);
}

#[test]
fn children_get_no_secret_and_no_session_of_the_host() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let flags = format!("--wait 0s --attempts 1 {}", fake_with_journal(&scratch, "hang-in-call"));
    let event = transcripts::session_end(&transcript);
    let hook = scratch.hook(&scratch.chain_command(&flags), &event);
    hook.env("LC_ALL", "C.UTF-8").env("MY_SECRET", "hush").output().ok().silent();
    await_until("a call", DELIVERY, || journal(&scratch).iter().any(|line| line.contains(" call ")));
    let server: u32 = journal(&scratch)[0].split(' ').next().and_then(|pid| pid.parse().ok()).expect("a process id");
    let environment = processes::environment(server);
    let allowed =
        ["HOME", "PATH", "LANG", "TMPDIR", "CLAUDE_CONFIG_DIR", "PRE_BACKUP_DIR", "BACKUP_DIR", "SESSION_DB_PATH"];
    for variable in &environment {
        let name = variable.split('=').next().unwrap_or("");
        assert!(allowed.contains(&name) || name.starts_with("LC_"), "{name} reached the server");
    }
    assert!(environment.contains(&"LC_ALL=C.UTF-8".to_owned()), "{environment:?}");
    for process in processes::with_home(&scratch.home()) {
        for variable in processes::environment(process.pid) {
            let name = variable.split('=').next().unwrap_or("");
            let forbidden =
                ["ANTHROPIC_API_KEY", "MY_SECRET", "CLAUDECODE", "CLAUDE_CODE_CHILD_SESSION", "CLAUDE_CODE_SESSION_ID"];
            assert!(!forbidden.contains(&name), "{name} reached {process:?}");
        }
    }
}

#[test]
fn a_job_enqueued_again_during_its_delivery_is_not_lost() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let flags = format!("--wait 0s {}", fake_with_journal(&scratch, "late"));
    chain_with(&scratch, &flags, &transcripts::session_end(&transcript));
    let calls = || -> Vec<Value> {
        let arguments = |line: &String| serde_json::from_str(line.split_once(" call ")?.1).ok();
        journal(&scratch).iter().filter_map(arguments).collect()
    };
    await_until("the first call", DELIVERY, || calls().len() == 1);
    transcripts::append(&transcript, transcripts::prompt_line(INTERACTIVE, 900, "while it is being delivered"));
    chain_with(&scratch, &flags, &transcripts::session_end(&transcript));
    await_delivered(&scratch);
    let bytes = fs::metadata(&transcript).expect("look at the transcript").len();
    let expected: Vec<u64> = calls().iter().filter_map(|call| call["expected"][0]["bytes"].as_u64()).collect();
    assert_eq!(expected.len(), calls().len(), "every call says what layer 1 holds: {:#?}", calls());
    assert!(expected[0] < bytes && expected.last() == Some(&bytes), "{expected:?} of {bytes}");
}

#[test]
fn twenty_events_start_one_deliverer_at_a_time() {
    let scratch = Scratch::new();
    let flags = format!("--wait 0s {}", fake_with_journal(&scratch, "slow"));
    let hooks: Vec<_> = (0..20)
        .map(|n| {
            let transcript = transcripts::make_conversation(&scratch, &transcripts::made_id(n), 1);
            scratch.hook(&scratch.chain_command(&flags), &transcripts::session_end(&transcript)).spawn()
        })
        .collect();
    for hook in hooks {
        hook.wait().ok().silent();
    }
    await_delivered(&scratch);
    let journal = journal(&scratch);
    let mut running: Option<&str> = None;
    for line in &journal {
        let (pid, what) = line.split_once(' ').expect("a process id and a word");
        match (what, running) {
            ("start", None) => running = Some(pid),
            ("end", Some(own)) if own == pid => running = None,
            (call, Some(own)) if own == pid && call.starts_with("call ") => {}
            _ => panic!("two servers at once, at {line:?} in {journal:#?}"),
        }
    }
    let calls = journal.iter().filter(|line| line.contains(" call ")).count();
    assert!(calls >= 20, "every session is delivered: {journal:#?}");
}

#[test]
fn a_drain_that_delivers_all_prints_nothing() {
    let scratch = Scratch::new();
    transcripts::lay_out_recorded(&scratch);
    scratch.layer1(&["sweep", "--quiet"]).output().ok().silent();
    scratch.layer2(&["drain"]).output().ok().silent();
    await_delivered(&scratch);
    scratch.layer2(&["drain"]).output().ok().silent();
}

#[test]
fn a_drain_that_needs_the_user_says_so_in_one_system_message() {
    let scratch = Scratch::new();
    transcripts::lay_out(&scratch, INTERACTIVE);
    scratch.layer1(&["sweep", "--quiet"]).output().ok().silent();
    let server = fake_server().to_str().expect("a path in UTF-8");
    let args = ["drain", "--timeout", "500ms", "--delay", "10ms", "--server", server, "error-result"];
    let mut printed = Vec::new();
    // Whether the first failure already needs the user is its own decision; a later one does.
    for _ in 0..5 {
        let outcome = scratch.layer2(&args).output().ok();
        scratch.await_no_process(DELIVERY);
        printed.extend(outcome.stdout);
    }
    let text = String::from_utf8(printed).expect("UTF-8");
    let messages: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(messages.iter().any(|message| message["systemMessage"].is_string()), "{text:?}");
    assert!(messages.iter().all(|message| message.as_object().is_some_and(|fields| fields.len() == 1)), "{text}");
}

#[test]
fn pending_gives_age_attempts_and_the_last_error() {
    let scratch = Scratch::new();
    transcripts::lay_out(&scratch, INTERACTIVE);
    foreground(&scratch, "error-result", &["--delay", "10ms"]);
    let jobs = pending(&scratch);
    let job = serde_json::to_string(&jobs).expect("JSON");
    assert!(job.contains("the disk of the fake server is full"), "{job}");
    assert!(jobs[0]["attempts"].as_u64().is_some_and(|attempts| attempts > 0), "{job}");
    let told = scratch.layer2(&["pending"]).output().ok().text();
    assert!(told.contains(INTERACTIVE), "{told}");
}

#[test]
fn two_drains_at_once_end_both() {
    let scratch = Scratch::new();
    let laid_out = transcripts::lay_out_recorded(&scratch);
    scratch.layer1(&["sweep", "--quiet"]).output().ok().silent();
    let drains = [scratch.layer2(&["drain"]).spawn(), scratch.layer2(&["drain"]).spawn()];
    for drain in drains {
        drain.wait().ok();
    }
    await_delivered(&scratch);
    assert!(holds_within(Duration::ZERO, || pending(&scratch).is_empty()));
    for transcript in &laid_out {
        assert_saved_twice(&scratch, transcript);
    }
}

#[test]
fn a_drain_at_a_terminal_says_what_it_did_and_a_hook_hears_nothing() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    transcripts::append(&transcript, transcripts::prompt_line(&id, 1, "hello"));
    let said = |args: &[&str]| {
        let (code, text) = scratch.layer2(args).at_terminal().end();
        assert_eq!(code, Some(0), "{text}");
        text
    };
    assert!(said(&["drain"]).contains("nothing waits: every conversation has its second copy"));
    scratch.layer1(&["sweep"]).output().ok();
    assert!(said(&["drain"]).contains("1 conversation saved a second time"));
    assert!(said(&["drain"]).contains("nothing waits"));
    scratch.layer2(&["drain"]).output().ok().silent();
    transcripts::append(&transcript, transcripts::prompt_line(&id, 2, "more"));
    scratch.layer1(&["sweep"]).output().ok();
    // What could not be done is said each time, in words.
    for _ in 0..2 {
        let server = fake_server().to_str().expect("a path in UTF-8").to_owned();
        let told = said(&["drain", "--attempts", "1", "--server", &server, "error-result"]);
        assert!(told.contains("Threefold: 1 conversation could not be saved a second time"), "{told}");
        assert!(!told.contains("systemMessage"), "{told}");
    }
}
