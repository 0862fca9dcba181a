//! The program against scripted servers: a shell script a way to fail, in a scratch home.
#![allow(clippy::disallowed_methods)] // A test plays Claude Code, which writes and deletes as it likes.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use layer1_prebackup::archive::{Archive, Compare, SaveRequest};
use layer1_prebackup::fs::platform::process;
use layer1_prebackup::names::SessionId;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const ID: &str = "5b3d80da-3868-4fbe-b063-0aa144649138";

/// Speaks just enough MCP: `say` writes one line, `shake` does the handshake, `listen` waits for
/// the call, `receipt STORE_ID` answers it with all that is expected as covered.
const SERVER: &str = r#"
dir=$1
echo "start $$" >>"$dir/journal"
say() { printf '%s\n' "$1"; }
number() { printf '%s' "$line" | sed -E "s/.*\"$1\":([0-9]+).*/\1/"; }
shake() {
    IFS= read -r line || exit 9
    say "{\"jsonrpc\":\"2.0\",\"id\":$(number id),\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{},\"serverInfo\":{\"name\":\"fake\",\"version\":\"${version-1}\"}}}"
    IFS= read -r line || exit 9
}
listen() {
    IFS= read -r line || exit 0
    id=$(number id)
    printf '%s\n' "$line" >>"$dir/calls"
}
result() { say "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{\"content\":[],\"structuredContent\":$1}}"; }
failure() { say "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{\"isError\":true,\"content\":[],\"structuredContent\":{\"error\":{\"kind\":\"$1\",\"message\":\"$2\"}}}}"; }
progress() { say "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":$(number progressToken),\"progress\":$1}}"; }
receipt() {
    files=$(printf '%s' "$line" | sed -E 's/.*"expected":(\[[^]]*\]).*/\1/; s/\}/,"covered":true}/g')
    session=$(printf '%s' "$line" | sed -E 's/.*"session_id":"([^"]*)".*/\1/')
    result "{\"session_id\":\"$session\",\"project\":\"p\",\"store_id\":\"$1\",\"files\":$files,\"messages_indexed\":0,\"trigger\":\"t\"}"
}
"#;

const HEALTHY: &str = "shake; while :; do listen; receipt \"$(cat $dir/store-id)\"; done";

struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Home {
        let home = Home { dir: tempfile::tempdir().unwrap() };
        home.new_layer3_store();
        home
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn layer1(&self) -> PathBuf {
        self.path().join(".claude-backup-sessions")
    }

    fn new_layer3_store(&self) {
        let store = self.path().join(".claude-backup");
        if store.exists() {
            fs::remove_dir_all(&store).unwrap();
        }
        let archive = Archive::create(&store).unwrap();
        fs::write(self.path().join("store-id"), archive.store_id()).unwrap();
        if self.transcript(ID).exists() {
            copy(&archive, ID, &self.transcript(ID));
        }
    }

    fn transcript(&self, id: &str) -> PathBuf {
        self.path().join(".claude/projects/-home-dev-p").join(format!("{id}.jsonl"))
    }

    /// Writes a transcript and has layer 1 copy it, and layer 3's store hold what a server will call covered.
    fn converse(&self, id: &str, words: &str) {
        let transcript = self.transcript(id);
        fs::create_dir_all(transcript.parent().unwrap()).unwrap();
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&transcript).unwrap();
        writeln!(file, "{}", json!({"type": "user", "cwd": "/home/dev/p", "content": words})).unwrap();
        for store in [self.layer1(), self.path().join(".claude-backup")] {
            copy(&Archive::create(&store).unwrap(), id, &transcript);
        }
    }

    fn event(&self, id: &str) -> String {
        let event = json!({
            "session_id": id,
            "transcript_path": self.transcript(id),
            "cwd": "/home/dev/p",
            "hook_event_name": "SessionEnd",
            "reason": "other",
        });
        format!("{event}\n")
    }

    fn start(&self, args: &[&str], server: &str, stdin: &str) -> Child {
        self.start_with(args, server, stdin, &[])
    }

    fn start_with(&self, args: &[&str], server: &str, stdin: &str, env: &[(&str, &str)]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_layer2-save-client"));
        command.env_clear().env("HOME", self.path()).env("PATH", "/usr/bin:/bin").envs(env.iter().copied());
        command.args(args).args(["--server", "/bin/sh", "-c", &format!("{SERVER}\n{server}"), "fake"]).arg(self.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        child
    }

    /// Runs to the end; always exit code 0.
    #[track_caller]
    fn run(&self, args: &[&str], server: &str, stdin: &str) -> Output {
        let output = self.start(args, server, stdin).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        output
    }

    /// Delivers one event in the foreground and gives the exact lines.
    #[track_caller]
    fn deliver(&self, server: &str) -> String {
        self.deliver_within("20s", server)
    }

    #[track_caller]
    fn deliver_within(&self, timeout: &str, server: &str) -> String {
        let args = ["--foreground", "--timeout", timeout, "--delay", "10ms"];
        let output = self.run(&args, server, &self.event(ID));
        assert!(output.stdout.is_empty(), "{output:?}");
        self.assert_no_server_is_left();
        let text = String::from_utf8(output.stderr).unwrap();
        text.lines().filter(|line| line.starts_with("[session-save]")).collect::<Vec<_>>().join("\n")
    }

    fn pending(&self) -> Vec<Value> {
        let output = self.run(&["pending", "--json"], "", "");
        let mut value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(value["unreadable"], json!([]));
        serde_json::from_value(value["jobs"].take()).unwrap()
    }

    fn lines_of(&self, file: &str) -> Vec<String> {
        fs::read_to_string(self.path().join(file)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn calls(&self) -> Vec<Value> {
        let arguments = |line: &String| serde_json::from_str::<Value>(line).unwrap()["params"]["arguments"].clone();
        self.lines_of("calls").iter().map(arguments).collect()
    }

    #[track_caller]
    fn assert_no_server_is_left(&self) {
        for line in self.lines_of("journal") {
            let pid = line.strip_prefix("start ").unwrap();
            assert!(!is_alive(pid), "{pid} is still there");
        }
    }
}

fn copy(archive: &Archive, id: &str, transcript: &Path) {
    let id = &SessionId::parse(id).unwrap();
    let (compare, progress) = (Compare::Windows, &|_: u64| {});
    archive.save(&SaveRequest { id, transcript, project: None, cwd: None, compare, progress }).unwrap();
}

fn is_alive(pid: &str) -> bool {
    process::is_running(pid.parse().unwrap())
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_covering_receipt_settles_the_job_and_is_kept() {
    let home = Home::new();
    home.converse(ID, "hello");
    let bytes = fs::metadata(home.transcript(ID)).unwrap().len();
    let saved = format!(
        "[session-save] 📝 Attempt 1/2: Calling session_save...\n[session-save] ✅ Saved {ID}: {bytes} bytes, receipt verified"
    );
    assert_eq!(home.deliver(HEALTHY), saved);
    assert_eq!(home.pending(), [json!(null); 0]);
    let call = &home.calls()[0];
    assert_eq!(
        (&call["session_id"], &call["project"], &call["trigger"]),
        (&json!(ID), &json!("p"), &json!("session-end"))
    );
    assert_eq!(call["expected"][0]["bytes"], json!(bytes));
    // All is covered: drain has nothing to do and starts no server.
    assert!(home.run(&["drain"], HEALTHY, "").stdout.is_empty());
    assert_eq!(home.lines_of("journal").len(), 1);
    // Layer 1 is ahead.
    home.converse(ID, "more");
    assert!(home.run(&["drain"], HEALTHY, "").stdout.is_empty());
    assert_eq!(home.calls().len(), 2);
    assert_eq!(home.calls()[1]["trigger"], json!("drain"));
    // Another store is there: the receipt is void.
    home.new_layer3_store();
    home.run(&["drain"], HEALTHY, "");
    assert_eq!(home.calls().len(), 3);
    fs::remove_dir_all(home.path().join(".claude-backup")).unwrap();
    home.run(&["drain"], HEALTHY, "");
    assert_eq!(home.calls().len(), 4);
}

const FIRST: &str = "[session-save] 📝 Attempt 1/2: Calling session_save...";
const AGAIN: &str = "[session-save] 🔄 Retrying in 10 milliseconds...";
const SECOND: &str = "[session-save] 📝 Attempt 2/2: Calling session_save...";
const FAILED: &str = "[session-save] ❌ Failed after 2 attempts";

fn fallback() -> String {
    format!("[session-save] ⚠️ FALLBACK: Conversación guardada en ~/.claude-backup-sessions/p/{ID}.jsonl")
}

/// Both attempts time out, the job stays, no process does.
fn check_timeout(servers: &[&str]) {
    let home = Home::new();
    home.converse(ID, "hello");
    let timeout = |n: u32| format!("[session-save] ⏱️ Timeout on attempt {n}/2");
    for server in servers {
        let lines = home.deliver_within("400ms", server);
        let expected = [FIRST, &timeout(1), AGAIN, SECOND, &timeout(2), FAILED, &fallback()];
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected, "{server}");
        assert_eq!(home.pending().len(), 1, "{server}");
    }
    assert!(home.deliver(HEALTHY).contains("✅ Saved"));
    assert_eq!(home.pending(), [json!(null); 0]);
}

#[test]
fn a_server_that_hangs_is_timed_out() {
    check_timeout(&[
        "sleep 100",
        "shake; sleep 100",
        "shake; listen; sleep 100",
        "trap '' TERM; shake; listen; sleep 100; sleep 100",
        "shake; listen; sleep 2; receipt x",
    ]);
}

#[test]
fn a_server_that_talks_nonsense_is_timed_out() {
    check_timeout(&[
        "yes garbage",
        "yes '{}'",
        "shake; listen; cat /dev/zero",
        "shake; listen; yes '{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":1}}'",
        "shake; listen; while :; do progress 1; sleep 0.05; done",
    ]);
}

#[test]
fn a_server_that_fails_is_quoted() {
    let home = Home::new();
    home.converse(ID, "hello");
    let cause = |n: u32, words: &str| format!("[session-save] ❌ Attempt {n}/2: {words}");
    let skip = "listen; result '{\"skipped\":true,\"reason\":\"empty\"}'";
    for (server, words) in [
        ("exit 3", "get an answer: the server ended with exit status: 3"),
        ("echo 'no such table' >&2; exit 1", "get an answer: the server ended with exit status: 1: no such table"),
        ("shake; listen; kill -9 $$", "get an answer: the server ended with signal: 9 (SIGKILL)"),
        ("shake; while :; do listen; failure failed 'the disk is full'; done", "save on the server: the disk is full"),
        (
            "shake; while :; do listen; result '{}'; done",
            "verify the save: the server gave no receipt (--no-receipt accepts such a server)",
        ),
        (
            &format!("shake; {skip}; {skip}"),
            "verify the receipt: the server skipped the session (empty) although layer 1 holds 1 file of it",
        ),
    ] {
        let lines = home.deliver(server);
        let expected = [FIRST, &cause(1, words), AGAIN, SECOND, &cause(2, words), FAILED, &fallback()];
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected, "{server}");
        assert_eq!(home.pending().len(), 1, "{server}");
    }
    assert_eq!(home.pending()[0]["attempts"], json!(12));
    assert!(home.deliver(HEALTHY).contains("✅ Saved"));
    assert_eq!(home.pending(), [json!(null); 0]);
}

#[test]
fn progress_that_moves_keeps_a_slow_server_alive() {
    let home = Home::new();
    home.converse(ID, "hello");
    let lines =
        home.deliver_within("1s", "shake; listen; for n in 1 2 3 4 5 6; do sleep 0.3; progress $n; done; receipt x");
    assert!(lines.contains("✅ Saved"), "{lines}");
}

#[test]
fn a_server_that_does_not_read_cannot_hang_the_deliverer() {
    let home = Home::new();
    home.converse(ID, "hello");
    // Far more side files than a pipe holds names of.
    let side = home.transcript(ID).with_extension("");
    fs::create_dir_all(&side).unwrap();
    for n in 0..1000 {
        fs::write(side.join(format!("{n}-{}", "x".repeat(150))), b"x").unwrap();
    }
    home.converse(ID, "more");
    let lines = home.deliver_within("400ms", "shake; sleep 100");
    assert!(lines.contains("Timeout on attempt 2/2"), "{lines}");
    assert!(home.deliver(HEALTHY).contains("✅ Saved"));
    assert_eq!(home.calls().last().unwrap()["expected"].as_array().unwrap().len(), 1001);
}

#[test]
fn an_input_that_is_refused_is_set_aside_until_something_changes() {
    let home = Home::new();
    home.converse(ID, "hello");
    let refusing = "shake; while :; do listen; failure invalid_input 'no such root'; done";
    let lines = home.deliver(refusing);
    assert!(lines.contains("❌ Attempt 1/2: save on the server: it refuses the input: no such root"), "{lines}");
    assert!(!lines.contains("Attempt 2/2") && lines.contains("❌ Failed after 1 attempt\n"), "{lines}");
    assert_eq!(home.pending()[0]["failed"], json!(true));
    // The same server, the same content: not tried, but told to the user.
    let output = home.run(&["drain"], refusing, "");
    let message: Value = serde_json::from_slice(&output.stdout).unwrap();
    let message = message["systemMessage"].as_str().unwrap();
    assert!(message.contains("1 conversation ") && message.contains("layer2-save-client pending"), "{message}");
    assert_eq!(home.calls().len(), 2, "the source, then layer 1's copy");
    assert!(home.run(&["drain"], refusing, "").stdout.is_empty(), "it is told once");
    // On the user's word.
    home.run(&["drain", "--retry-failed"], refusing, "");
    assert_eq!(home.calls().len(), 4);
    // Its content changed.
    home.converse(ID, "more");
    assert!(!home.run(&["drain"], refusing, "").stdout.is_empty(), "it is told of anew");
    assert_eq!(home.calls().len(), 6);
    home.run(&["dismiss", ID], refusing, "");
    assert_eq!(home.pending()[0]["dismissed"], json!(true));
    // The server changed.
    let newer = format!("version=2; {HEALTHY}");
    assert!(home.run(&["drain"], &newer, "").stdout.is_empty());
    assert_eq!(home.calls().len(), 7);
    assert_eq!(home.pending(), [json!(null); 0]);
}

/// A job that an older version made of an event whose session was another than its transcript's; by that name.
fn foreign_job(home: &Home, id: &str, transcript: &str, failed: bool) {
    let failed = failed.then(|| json!({"reason": "no such session", "content": "seq 1 absent", "server": "fake 1"}));
    let job = json!({
        "format": 1, "seq": 1, "session_id": id, "project": "p", "transcript_path": transcript, "claude_dir": home.path(),
        "cwd": null, "trigger": "session-end", "created_ms": 1, "updated_ms": 1, "attempts": 2,
        "last_error": "save on the server: it refuses the input", "failed": failed,
    });
    std::fs::write(home.layer1().join(format!(".outbox/{id}@p.json")), job.to_string()).unwrap();
}

#[test]
fn a_job_that_can_never_succeed_ends() {
    let home = Home::new();
    home.converse(ID, "hello");
    home.run(&["drain"], HEALTHY, "");
    let (transcript, calls) = (home.transcript(ID).display().to_string(), home.calls().len());
    // Of another id than its transcript's; saved meanwhile; of nothing that is there.
    for failed in [true, false] {
        foreign_job(&home, "another", &transcript, failed);
        home.run(&["drain"], HEALTHY, "");
        assert_eq!(home.pending(), [json!(null); 0]);
        assert_eq!(home.calls().last().unwrap()["session_id"], json!(ID));
    }
    assert_eq!(home.calls().len(), calls + 2);
    foreign_job(&home, ID, &transcript, true);
    foreign_job(&home, "never", "/nowhere/projects/-p/never.jsonl", true);
    assert!(home.run(&["drain"], "exit 1", "").stdout.is_empty());
    assert_eq!(home.pending(), [json!(null); 0]);
    assert_eq!(home.calls().len(), calls + 2);
}

#[test]
fn one_server_serves_all_jobs_and_a_broken_one_is_not_tried_with_each() {
    let home = Home::new();
    let ids: Vec<String> = (0..5).map(|n| format!("session-{n}")).collect();
    for id in &ids {
        home.converse(id, id);
    }
    let output = home.run(&["drain", "--delay", "10ms"], "exit 1", "");
    assert!(String::from_utf8_lossy(&output.stdout).contains("5 conversations"), "{output:?}");
    assert_eq!(home.lines_of("journal").len(), 2, "two attempts at the first job");
    let log = fs::read_to_string(home.layer1().join(".log/layer2.log")).unwrap();
    assert!(log.contains("not tried: 4 more jobs, because of the server"), "{log}");
    home.run(&["drain", "--delay", "10ms"], "shake; listen; exit 1", "");
    assert_eq!(home.calls().len(), 6, "two attempts at three jobs");
    home.run(&["drain"], HEALTHY, "");
    assert_eq!(home.pending(), [json!(null); 0]);
    assert_eq!(home.lines_of("journal").len(), 2 + 6 + 1);
    // The two that were not tried before came first.
    let order: Vec<_> = home.calls()[6..].iter().map(|call| call["session_id"].as_str().unwrap().to_owned()).collect();
    let tried: Vec<_> = home.calls()[..6].iter().map(|call| call["session_id"].as_str().unwrap().to_owned()).collect();
    assert!(order[..2].iter().all(|id| !tried.contains(id)), "{order:?} after {tried:?}");
    home.assert_no_server_is_left();
}

#[test]
fn a_server_that_is_well_is_asked_again_and_ends_by_itself() {
    let home = Home::new();
    home.converse(ID, "hello");
    let server = "shake; listen; failure failed 'not now'; listen; receipt x; cat >/dev/null; sleep 0.1; echo bye >>\"$dir/ended\"";
    assert!(home.deliver(server).ends_with("receipt verified"));
    assert_eq!((home.lines_of("journal").len(), home.lines_of("ended")), (1, vec!["bye".to_owned()]));
}

#[test]
fn an_event_that_comes_during_a_delivery_is_delivered_at_once_as_a_job_of_its_own() {
    let home = Home::new();
    home.converse(ID, "hello");
    let once = ["--foreground", "--attempts", "1"];
    home.run(&once, "exit 1", &home.event(ID));
    assert_eq!(home.pending()[0]["attempts"], json!(1));
    // As another hook does it meanwhile.
    let raise = "sed -i 's/\"seq\":2/\"seq\":3/' \"$dir\"/.claude-backup-sessions/.outbox/*.json";
    let server = format!("shake; listen; {raise}; receipt x; listen; failure failed 'not now'");
    home.run(&once, &server, &home.event(ID));
    assert_eq!(home.calls().len(), 2);
    // What the one before had failed on is not its own.
    assert_eq!((&home.pending()[0]["seq"], &home.pending()[0]["attempts"]), (&json!(3), &json!(1)));
}

#[test]
fn a_hook_is_not_held_up_and_the_deliverer_leaves_nothing_behind() {
    let home = Home::new();
    home.converse(ID, "hello");
    let started = Instant::now();
    let args = ["--wait", "200ms", "--timeout", "1s", "--attempts", "1"];
    let output = home.run(&args, "shake; listen; sleep 100", &home.event(ID));
    assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    let log = || fs::read_to_string(home.layer1().join(".log/layer2.log")).unwrap_or_default();
    wait_until("the end of the delivery", || log().contains("FALLBACK"));
    home.assert_no_server_is_left();
    assert!(log().lines().next().unwrap().ends_with(&format!("Z delivering {ID} (seq 1, session-end)")), "{}", log());
    assert_eq!(home.pending().len(), 1);
}

#[test]
fn a_deliverer_that_is_told_to_end_stops_its_server_first() {
    let home = Home::new();
    home.converse(ID, "hello");
    let mut child = home.start(
        &["--foreground", "--timeout", "60s"],
        "trap '' TERM; shake; listen; sleep 100; sleep 100",
        &home.event(ID),
    );
    wait_until("the call", || !home.lines_of("calls").is_empty());
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::TERM).unwrap();
    let started = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    home.assert_no_server_is_left();
    assert_eq!(home.pending().len(), 1);
}

#[test]
fn a_call_that_is_all_but_done_when_the_signal_comes_is_finished() {
    let home = Home::new();
    home.converse(ID, "hello");
    let mut child = home.start(&["--foreground"], "shake; listen; sleep 0.1; receipt x; listen", &home.event(ID));
    wait_until("the call", || !home.lines_of("calls").is_empty());
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(home.pending(), [json!(null); 0]);
    home.assert_no_server_is_left();
}

#[test]
fn what_exists_nowhere_leaves_no_trace() {
    let home = Home::new();
    for event in [home.event("e03cb8bb-4ddf-47e4-b4c9-772a3121d851"), "{\"session_id\":\"x\"}\n".to_owned()] {
        let output = home.run(&[], HEALTHY, &event);
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    }
    assert!(!home.layer1().exists());
    assert!(home.lines_of("journal").is_empty());
}

#[test]
fn a_bad_session_id_is_one_clear_line() {
    let home = Home::new();
    let output = home.run(&[], HEALTHY, "{\"session_id\":\"../../x\",\"transcript_path\":\"/etc/passwd\"}\n");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("layer2-save-client: failed to use session id \"../../x\": it must match"), "{stderr}");
    assert!(output.stdout.is_empty());
    assert_eq!(home.pending(), [json!(null); 0]);
}

#[test]
fn a_pipe_that_brings_nothing_falls_back_to_the_session_id_of_the_environment() {
    for input in ["", "{\"session_id\":", "[]\n"] {
        for in_layer1 in [true, false] {
            let home = Home::new();
            home.converse(ID, "hello");
            if !in_layer1 {
                fs::remove_dir_all(home.layer1()).unwrap();
            }
            let server = "shake; listen; result '{}'";
            let args = ["--foreground", "--no-receipt"];
            let child = home.start_with(&args, server, input, &[("CLAUDE_CODE_SESSION_ID", ID)]);
            assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
            assert_eq!(home.calls()[0]["session_id"], json!(ID), "{input:?}");
            assert_eq!(home.calls()[0]["transcript_path"], json!(home.transcript(ID)));
            assert_eq!(home.calls()[0].get("expected").is_some(), in_layer1);
        }
    }
}

#[test]
fn without_layer_1_a_receipt_for_the_transcript_will_do() {
    let home = Home::new();
    home.converse(ID, "hello");
    fs::remove_dir_all(home.layer1()).unwrap();
    let files =
        format!("[{{\"path\":\"{ID}.jsonl\",\"generation\":0,\"bytes\":5,\"blake3\":\"00\",\"covered\":true}}]");
    let server = format!("shake; listen; result '{{\"session_id\":\"{ID}\",\"store_id\":\"s\",\"files\":{files}}}'");
    assert!(home.deliver(&server).ends_with(&format!("✅ Saved {ID}: 5 bytes, receipt verified")));
    assert_eq!(home.pending(), [json!(null); 0]);
}

#[test]
fn no_fallback_is_claimed_for_a_copy_that_does_not_match() {
    let home = Home::new();
    home.converse(ID, "hello");
    let copy = home.layer1().join(format!("p/{ID}.jsonl"));
    let mut bytes = fs::read(&copy).unwrap();
    bytes[3] ^= 1;
    fs::write(&copy, bytes).unwrap();
    let lines = home.deliver("exit 1");
    assert!(lines.ends_with(&format!("[session-save] ❌ No copy of {ID}")), "{lines}");
}

#[test]
fn a_transcript_of_another_configuration_directory_is_sent_as_it_is() {
    let home = Home::new();
    home.converse(ID, "hello");
    let output = home.run(
        &["--foreground", "--claude-dir", home.path().join("other").to_str().unwrap()],
        HEALTHY,
        &home.event(ID),
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains("✅ Saved"), "{output:?}");
    // Its directory is gone: the server can only reach layer 1's copy.
    home.converse(ID, "more");
    fs::remove_dir_all(home.path().join(".claude")).unwrap();
    home.run(&["drain"], HEALTHY, "");
    let copy = home.layer1().join(format!("p/{ID}.jsonl"));
    assert_eq!(home.calls()[1]["transcript_path"], json!(copy));
    assert_eq!(home.pending(), [json!(null); 0]);
}

#[test]
fn bad_arguments_never_exit_2() {
    let home = Home::new();
    let code = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_layer2-save-client"));
        command.env_clear().env("HOME", home.path()).args(args).stdin(Stdio::null());
        let output = command.output().unwrap();
        (output.status.code(), !output.stderr.is_empty())
    };
    for hook in [["--nonsense"].as_slice(), &["--wait", "soon"], &["--attempts", "0"], &["nonsense"], &["--server"]] {
        assert_eq!(code(hook), (Some(0), true), "{hook:?}");
    }
    assert_eq!(code(&["--backup-dir", "relative"]), (Some(0), true));
    assert_eq!(code(&["drain", "--nonsense"]), (Some(0), true));
    for command in [["pending", "--wait", "soon"].as_slice(), &["deliver", "x"]] {
        assert_eq!(code(command), (Some(1), true), "{command:?}");
    }
    assert_eq!(code(&["pending", "--backup-dir", "relative"]), (Some(1), true));
    for shown in [["--help"].as_slice(), &["--version"], &["drain", "--help"], &["help"]] {
        assert_eq!(code(shown), (Some(0), false), "{shown:?}");
    }
}

/// Nobody reads what a timer's run says.
#[test]
fn what_a_timer_says_is_still_told_to_the_user() {
    let refusing = "shake; while :; do listen; failure invalid_input 'no such root'; done";
    for (server, fails_once) in [(refusing, true), ("exit 1", false)] {
        let home = Home::new();
        home.converse(ID, "hello");
        let told = |args: &[&str]| !home.run(args, server, "").stdout.is_empty();
        assert!(told(&["drain", "--timer"]) && told(&["drain", "--timer"]), "{server}: as its log has it");
        assert!(told(&["drain"]), "{server}");
        assert!(!told(&["drain"]), "{server}: it is told once");
        assert_eq!(home.pending()[0]["failed"], json!(fails_once));
    }
    // The whole of it fails: a job of a newer version stands in the way, and at once it cannot be saved either.
    let home = Home::new();
    home.converse(ID, "hello");
    home.run(&["drain"], "exit 1", "");
    let job = fs::read_dir(home.layer1().join(".outbox")).unwrap().map(|entry| entry.unwrap().path());
    let job = job.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "json")).unwrap();
    fs::write(job, r#"{"format":99}"#).unwrap();
    let told = |args: &[&str]| String::from_utf8(home.run(args, "exit 1", "").stdout).unwrap();
    assert_eq!(told(&["drain", "--timer"]), "");
    let message = told(&["drain"]);
    assert!(message.contains("may not be saved a second time: failed to"), "{message}");
    assert_eq!(told(&["drain"]), "", "it is told once");
}

#[test]
fn memories_that_cannot_be_looked_at_keep_no_conversation_from_being_delivered_at_once() {
    let home = Home::new();
    home.converse(ID, "hello");
    // Its job cannot be written.
    let outbox = home.layer1().join(".outbox");
    fs::create_dir_all(&outbox).unwrap();
    fs::write(outbox.join(format!("{ID}@p.json")), r#"{"format":99}"#).unwrap();
    let state = home.layer1().join(".memory/.state");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("store.json"), r#"{"format":99,"store_id":"0"}"#).unwrap();
    let output = home.run(&["drain"], HEALTHY, "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("failed to have memories saved a second time"), "{said}");
    assert_eq!(home.calls().len(), 1, "{said}");
}
