//! Hook input as it should not be: cut, empty, huge, doubled, never ending.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::binaries::LAYER1;
use tests::run::Run;
use tests::scratch::{PROJECT, Scratch};
use tests::stores::{assert_equals_source, assert_saved_twice, difference};
use tests::strace::{self, Traced};
use tests::transcripts::{self, INTERACTIVE};

use crate::product::{DELIVERY, assert_verified, await_delivered, chain, chain_delivered, pending};

/// Layer 1 gives up on stdin after 2 s, layer 2 after 8 s; the rest is room for a busy machine.
const LAYER1_LIMIT: Duration = Duration::from_millis(4500);
const CHAIN_LIMIT: Duration = Duration::from_secs(13);

fn inputs(scratch: &Scratch) -> Vec<(&'static str, Vec<u8>)> {
    let transcript = scratch.transcript(INTERACTIVE);
    let event = transcripts::session_end(&transcript);
    let mut non_utf8 = event.clone().into_bytes();
    non_utf8.extend(b" \xff\xfe\0\n");
    vec![
        ("empty", Vec::new()),
        ("a newline", b"\n".to_vec()),
        ("cut in a string", event.as_bytes()[..event.len() / 2].to_vec()),
        ("cut before the last brace", event.as_bytes()[..event.len() - 1].to_vec()),
        ("without newline", event.clone().into_bytes()),
        ("followed by a second object", format!("{event}\n{{\"session_id\":\"other\"}}\n").into_bytes()),
        ("followed by rubbish", non_utf8),
        (
            "10 MB",
            transcripts::event("SessionEnd", &transcript, json!({"prompt": "x".repeat(10_000_000)})).into_bytes(),
        ),
        ("a field twice", event.replacen('{', "{\"session_id\":7,\"cwd\":[[]],", 1).into_bytes()),
        ("half an emoji", event.replacen('{', r#"{"prompt":"cut \ud83d","#, 1).into_bytes()),
        (
            "deeply nested",
            event.replacen('{', &format!("{{\"x\":{}{},", "[".repeat(50_000), "]".repeat(50_000)), 1).into_bytes(),
        ),
        ("bytes that are no text", [b"{\"x\":\"\xff\xfe\"," as &[u8], &event.as_bytes()[1..]].concat()),
        ("zeroes", vec![0; 5000]),
        ("not an object", b"[1, 2, 3]\n".to_vec()),
        ("wrong types", b"{\"session_id\": 7, \"transcript_path\": [], \"cwd\": {}}\n".to_vec()),
        (
            "a hostile id",
            br#"{"session_id":"../../x","transcript_path":"/etc/passwd","hook_event_name":"SessionEnd"}"#.to_vec(),
        ),
    ]
}

#[test]
fn layer1_passes_on_whatever_came_when_the_input_ends() {
    let scratch = Scratch::new();
    transcripts::lay_out(&scratch, INTERACTIVE);
    for (what, input) in inputs(&scratch) {
        let outcome = scratch.layer1(&[]).stdin(input.clone()).output().ok();
        assert!(outcome.stdout == input, "{what}: {} of {} bytes came out", outcome.stdout.len(), input.len());
        assert!(outcome.elapsed < LAYER1_LIMIT, "{what}: {:?}", outcome.elapsed);
    }
    assert_equals_source(&scratch.layer1_store(), PROJECT, &scratch.transcript(INTERACTIVE));
}

#[test]
fn an_odd_field_that_nobody_needs_does_not_cost_the_copy() {
    for wanted in ["a field twice", "half an emoji", "deeply nested", "bytes that are no text"] {
        let scratch = Scratch::new();
        let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
        let inputs = inputs(&scratch);
        let (_, input) = inputs.iter().find(|(what, _)| *what == wanted).expect("one of the inputs");
        let outcome = scratch.layer1(&[]).stdin(input.clone()).output().ok().unworried();
        assert!(outcome.stdout == *input, "{wanted}");
        assert_equals_source(&scratch.layer1_store(), PROJECT, &transcript);
    }
}

#[test]
fn an_event_of_a_hundred_megabytes_is_passed_on_whole() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let event = transcripts::event("UserPromptSubmit", &transcript, json!({"prompt": "PROMPT"}));
    let event = event.replace("\"PROMPT\"", &format!("\"{}\"", r"lorem ipsum dolor sit amet\n".repeat(3_700_000)));
    assert!(event.len() > 100_000_000);
    let outcome = scratch.layer1(&[]).stdin(event.clone()).output().ok();
    assert!(outcome.stdout == event.as_bytes(), "{} of {} bytes came out", outcome.stdout.len(), event.len());
    assert!(outcome.elapsed < Duration::from_secs(20), "{:?}", outcome.elapsed);
    // Where the machine was too slow to read and copy within the limits, the next event does it.
    scratch.layer1(&[]).stdin(transcripts::session_end(&transcript)).output().ok().unworried();
    assert_equals_source(&scratch.layer1_store(), PROJECT, &transcript);
}

#[test]
fn layer1_passes_on_whatever_came_when_the_input_never_ends() {
    let scratch = Scratch::new();
    transcripts::lay_out(&scratch, INTERACTIVE);
    // Each waits for two seconds: a few at once, so that they do not wait for each other.
    for inputs in inputs(&scratch).chunks(4) {
        let spawn = |input: &Vec<u8>| scratch.layer1(&[]).stdin_held_open(input.clone()).spawn();
        let running: Vec<_> = inputs.iter().map(|(what, input)| (what, input, spawn(input))).collect();
        for (what, input, running) in running {
            let outcome = running.wait().ok();
            assert!(outcome.stdout == *input, "{what}: {} of {} bytes came out", outcome.stdout.len(), input.len());
            assert!(outcome.elapsed < LAYER1_LIMIT, "{what}: {:?}", outcome.elapsed);
        }
    }
}

#[test]
fn a_whole_event_is_not_waited_on_although_the_pipe_stays_open() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let line = format!("{}\n", transcripts::session_end(&transcript));
    let outcome = scratch.layer1(&[]).stdin_held_open(line.clone()).output().ok().unworried();
    assert_eq!(outcome.text(), line);
    assert!(outcome.elapsed < Duration::from_millis(1500), "{:?}", outcome.elapsed);
}

#[test]
fn the_quiet_hook_says_nothing_about_any_input() {
    let scratch = Scratch::new();
    transcripts::lay_out(&scratch, INTERACTIVE);
    for (what, input) in inputs(&scratch) {
        let outcome = scratch.layer1(&["--quiet"]).stdin(input).output().ok();
        assert!(outcome.stdout.is_empty(), "{what}: {outcome:#?}");
    }
}

#[test]
fn the_chain_survives_any_input_that_ends() {
    for held_open in [false, true] {
        let scratch = Scratch::new();
        transcripts::lay_out(&scratch, INTERACTIVE);
        let hook = |input: Vec<u8>| {
            let hook = scratch.hook(&scratch.chain_command(""), "");
            if held_open { hook.stdin_held_open(input) } else { hook.stdin(input) }
        };
        let started = Instant::now();
        let running: Vec<_> = inputs(&scratch).into_iter().map(|(what, input)| (what, hook(input).spawn())).collect();
        for (what, hook) in running {
            let outcome = hook.wait();
            assert!(outcome.code == Some(0) && outcome.stdout.is_empty(), "{what}: {outcome:#?}");
            assert!(!outcome.timed_out && outcome.elapsed < CHAIN_LIMIT, "{what}: {outcome:#?}");
        }
        assert!(started.elapsed() < DELIVERY);
        await_delivered(&scratch);
        assert_equals_source(&scratch.layer1_store(), PROJECT, &scratch.transcript(INTERACTIVE));
        assert_equals_source(&scratch.layer3_store(), PROJECT, &scratch.transcript(INTERACTIVE));
    }
}

#[test]
fn without_usable_input_layer2_goes_by_the_session_id_of_the_environment() {
    for input in ["", "{\"session_id\":", "garbage"] {
        let scratch = Scratch::new();
        let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
        let hook = scratch.hook(&scratch.chain_command(""), "");
        hook.env("CLAUDE_CODE_SESSION_ID", INTERACTIVE).stdin(input).output().ok().silent();
        await_delivered(&scratch);
        assert_equals_source(&scratch.layer3_store(), PROJECT, &transcript);
    }
}

#[test]
fn a_fifo_or_a_hanging_source_does_not_hold_the_hook_up() {
    let scratch = Scratch::new();
    let transcript = scratch.transcript(INTERACTIVE);
    std::fs::create_dir_all(scratch.slug_dir()).expect("make the slug's folder");
    tests::run::Run::new("/usr/bin/mkfifo").arg(&transcript).output().ok();
    let line = format!("{}\n", transcripts::session_end(&transcript));
    let outcome = scratch.layer1(&[]).stdin(line.clone()).output().ok();
    assert_eq!(outcome.text(), line);
    assert!(outcome.elapsed < Duration::from_secs(6), "{:?}", outcome.elapsed);
}

#[test]
fn a_source_that_hangs_is_given_up_after_five_seconds() {
    if !strace::is_here("a_source_that_hangs_is_given_up_after_five_seconds") {
        return;
    }
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let line = format!("{}\n", transcripts::session_end(&transcript));
    let hang = ["-P", transcript.to_str().expect("UTF-8"), "-e", "inject=read,pread64:delay_enter=8s"];
    let traced = Traced::new(&scratch, "read,pread64", &hang, LAYER1, &[]);
    let (running, _) = traced.with(|run| run.stdin(line.clone())).spawn();
    let outcome = running.wait().ok();
    assert_eq!(outcome.text(), line);
    assert!(!outcome.stderr.is_empty(), "it says so: {outcome:#?}");
    // strace itself waits for the call that it holds up.
    assert!(outcome.elapsed > Duration::from_millis(7500), "it hung: {outcome:#?}");
    assert!(outcome.said_after < Duration::from_secs(7), "after {:?}: {outcome:#?}", outcome.said_after);
}

/// What an event may have wrong, and its conversation is there all the same: each is a change of a good event.
#[test]
fn an_event_that_is_a_little_wrong_is_saved_twice_and_leaves_no_job() {
    type Change = fn(&Path, &str) -> Value;
    let changes: [(&str, Change); 9] = [
        ("another id", |_, _| json!({"session_id": "6f2d9a1c-0000-4000-8000-000000000000"})),
        ("no id", |_, _| json!({"session_id": null})),
        ("an id that is none", |_, _| json!({"session_id": "../../x"})),
        ("no path", |_, _| json!({"transcript_path": null})),
        (
            "another slug",
            |path, id| json!({"transcript_path": path.with_file_name("gone").join(format!("{id}.jsonl"))}),
        ),
        ("a stale directory", |_, id| json!({"transcript_path": format!("/gone/projects/-p/{id}.jsonl")})),
        ("a tilde", |_, id| json!({"transcript_path": format!("~/.claude/projects/-home-dev-proj/{id}.jsonl")})),
        ("dots", |path, id| json!({"transcript_path": path.join("../-home-dev-proj").join(format!("{id}.jsonl"))})),
        ("its folder of side files", |path, id| json!({"transcript_path": path.join(id)})),
    ];
    for (what, change) in changes {
        let scratch = Scratch::new();
        let id = transcripts::made_id(1);
        let transcript = transcripts::make_conversation(&scratch, &id, 1);
        let folder = transcript.parent().expect("a folder");
        let mut event: Value = serde_json::from_str(&transcripts::session_end(&transcript)).expect("JSON");
        for (name, value) in change(folder, &id).as_object().expect("fields") {
            event[name] = value.clone();
        }
        chain(&scratch, &event.to_string()).silent();
        scratch.await_no_process(DELIVERY);
        assert!(pending(&scratch).is_empty(), "{what}: {:?}", pending(&scratch));
        for store in [scratch.layer1_store(), scratch.layer3_store()] {
            assert_eq!(difference(&store, PROJECT, &transcript), None, "{what}");
        }
    }
}

#[test]
fn a_conversation_that_moved_to_another_slug_is_found_there_and_gone_on_with() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 1);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let moved = scratch.claude_dir().join(format!("projects/-home-dev-proj-worktree/{id}.jsonl"));
    std::fs::create_dir_all(moved.parent().expect("a folder")).expect("make a slug");
    std::fs::rename(&transcript, &moved).expect("move a transcript");
    transcripts::append(&moved, transcripts::prompt_line(&id, 9, "on"));
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_saved_twice(&scratch, &moved);
    assert_verified(&scratch);
}

/// A variable of Rust's own, which a shell may have set.
#[test]
fn no_stack_is_as_small_as_the_environment_says() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let small = |run: Run| run.env("RUST_MIN_STACK", "1");
    let event = transcripts::session_end(&transcript);
    small(scratch.hook(&scratch.chain_command("--wait 30s"), &event)).output().ok();
    assert_saved_twice(&scratch, &transcript);
    small(scratch.layer1(&["--quiet"])).stdin(event.clone()).output().ok().silent();
    small(scratch.layer2(&["drain", "--foreground"])).output().ok();
    for args in [&["doctor"][..], &["rebuild"], &["search", "the"], &["list"]] {
        let outcome = small(scratch.layer3(args)).output();
        assert!(outcome.signal.is_none() && !outcome.stderr.contains("overflow"), "{args:?}: {}", outcome.stderr);
    }
}

/// Who may enter a folder and not list it reaches a file in it by its name, which the event tells.
#[test]
fn a_folder_that_cannot_be_listed_does_not_cost_the_copy_of_what_is_named_in_it() {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !rustix::process::geteuid().is_root() || !setpriv.is_file() {
        println!("a_folder_that_cannot_be_listed…: not run: only root can become somebody else");
        return;
    }
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let mode = |path: &Path, bits| fs::set_permissions(path, Permissions::from_mode(bits)).expect("set a mode");
    for open in [scratch.root(), &scratch.home()] {
        mode(open, 0o777);
    }
    mode(&scratch.claude_dir(), 0o755);
    mode(&transcript, 0o644);
    for closed in [scratch.claude_dir().join("projects"), scratch.slug_dir()] {
        mode(&closed, 0o711);
    }
    let program = scratch.home().join("layer1");
    fs::copy(scratch.program(LAYER1), &program).expect("copy the program");
    let run = Run::new(setpriv).args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    scratch.at_home(run).stdin(transcripts::session_end(&transcript)).output().ok();
    let copy = scratch.layer1_store().join(PROJECT).join(format!("{INTERACTIVE}.jsonl"));
    assert_eq!(fs::read(copy).expect("the copy"), fs::read(&transcript).expect("the transcript"));
}
