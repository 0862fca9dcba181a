//! What the scenarios say in one word: deliver, list, search, look at the outbox; and the fake
//! servers by name.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tests::run::Outcome;
use tests::scratch::Scratch;
use tests::waiting::await_until;

pub(crate) use tests::waiting::DELIVERY;

/// The fake MCP servers.
pub(crate) fn fake_server() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_fake_mcp_server"))
}

/// A server that shakes hands and has no tools, for `sh`.
pub(crate) const SERVER_WITHOUT_TOOLS: &str = r#"answer() {
    read -r line
    id=${line#*\"id\":}
    echo "{\"jsonrpc\":\"2.0\",\"id\":${id%%[,\}]*},\"result\":$1}"
}
answer '{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"poor","version":"1"}}'
read -r initialized
answer '{"tools":[]}'
cat > /dev/null"#;

/// Flags that make layer 2 use a fake server; they end the command line.
pub(crate) fn fake(mode: &str) -> String {
    format!("--server '{}' {mode}", fake_server().display())
}

/// [`fake`] that keeps a journal beside the home, to be read with [`journal`].
pub(crate) fn fake_with_journal(scratch: &Scratch, mode: &str) -> String {
    format!("{} '{}'", fake(mode), scratch.beside("journal").display())
}

/// The lines of a fake server's journal so far.
pub(crate) fn journal(scratch: &Scratch) -> Vec<String> {
    let text = std::fs::read_to_string(scratch.beside("journal")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Runs the hook of PreCompact and SessionEnd for an event: exit 0, and nothing on stdout.
#[track_caller]
pub(crate) fn chain(scratch: &Scratch, event: &str) -> Outcome {
    scratch.hook(&scratch.chain_command(""), event).output().ok().silent()
}

/// Runs the hook of Stop and UserPromptSubmit for an event: exit 0, and nothing on stdout.
#[track_caller]
pub(crate) fn turn(scratch: &Scratch, event: &str) -> Outcome {
    scratch.hook(&scratch.turn_command(), event).output().ok().silent()
}

/// The jobs in the outbox.
#[track_caller]
pub(crate) fn pending(scratch: &Scratch) -> Vec<Value> {
    array(scratch.layer2(&["pending", "--json"]).output().ok().json(), "jobs")
}

/// Waits until no deliverer is left; then the outbox must be empty.
#[track_caller]
pub(crate) fn await_delivered(scratch: &Scratch) {
    scratch.await_no_process(DELIVERY);
    let jobs = pending(scratch);
    assert!(jobs.is_empty(), "still pending: {jobs:#?}\nlog:\n{}", scratch.log(2));
}

/// `drain`, then waits until everything is delivered.
#[track_caller]
pub(crate) fn drain(scratch: &Scratch) {
    scratch.layer2(&["drain"]).output().ok();
    await_delivered(scratch);
}

/// Runs the chain for an event and waits until everything is delivered.
#[track_caller]
pub(crate) fn chain_delivered(scratch: &Scratch, event: &str) {
    chain(scratch, event);
    await_delivered(scratch);
}

/// Waits until layer 2's log holds `text`, and gives the whole of it.
#[track_caller]
pub(crate) fn await_log(scratch: &Scratch, text: &str) -> String {
    await_until(&format!("{text:?} in layer 2's log"), DELIVERY, || scratch.log(2).contains(text));
    scratch.log(2)
}

/// The `[session-save]` lines of a log, from that word on.
pub(crate) fn session_save_lines(log: &str) -> Vec<String> {
    log.lines().filter_map(|line| Some(line[line.find("[session-save]")?..].to_owned())).collect()
}

/// The sessions that `list` knows, of all projects.
#[track_caller]
pub(crate) fn sessions(scratch: &Scratch) -> Vec<Value> {
    array(scratch.layer3(&["list", "--all", "--json"]).output().ok().json(), "sessions")
}

/// The ids of [`sessions`], sorted.
#[track_caller]
pub(crate) fn session_ids(scratch: &Scratch) -> Vec<String> {
    let mut ids: Vec<String> = sessions(scratch).iter().map(|session| text(session, "session_id")).collect();
    ids.sort();
    ids
}

/// The hits of a search in all projects.
#[track_caller]
pub(crate) fn hits(scratch: &Scratch, query: &str) -> Vec<Value> {
    array(scratch.layer3(&["search", "--all", "--json", "--", query]).output().ok().json(), "hits")
}

/// The ids of the sessions that a search finds, sorted, each once.
#[track_caller]
pub(crate) fn found_in(scratch: &Scratch, query: &str) -> Vec<String> {
    let mut ids: Vec<String> = hits(scratch, query).iter().map(|hit| text(hit, "session_id")).collect();
    ids.sort();
    ids.dedup();
    ids
}

/// Asserts that both layers' `verify` find nothing wrong.
#[track_caller]
pub(crate) fn assert_verified(scratch: &Scratch) {
    scratch.layer1(&["verify"]).output().ok();
    scratch.layer3(&["verify"]).output().ok();
}

/// A text field of a JSON object.
#[track_caller]
pub(crate) fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no text field {field:?} in {value:#}")).to_owned()
}

#[track_caller]
fn array(value: Value, field: &str) -> Vec<Value> {
    value[field].as_array().unwrap_or_else(|| panic!("no list {field:?} in {value:#}")).clone()
}

/// What `status` says of the findings of one kind.
pub(crate) fn findings(scratch: &Scratch, kind: &str) -> Vec<String> {
    let status = scratch.layer3(&["status", "--json"]).output().json();
    let found = status["findings"].as_array().expect("a list of findings");
    found.iter().filter(|found| found["kind"] == kind).map(|found| text(found, "what")).collect()
}

/// Settings with every hook of ours, as far as `status` looks.
pub(crate) fn install_hooks(scratch: &Scratch) {
    let mut settings = serde_json::json!({});
    let events = ["SessionStart", "UserPromptSubmit", "Stop", "StopFailure", "SubagentStop", "PreCompact"];
    for event in events.into_iter().chain(["SessionEnd"]) {
        let command = scratch.command_of(event).expect("a command");
        settings["hooks"][event] = serde_json::json!([{ "hooks": [{ "type": "command", "command": command }] }]);
    }
    fs::write(scratch.claude_dir().join("settings.json"), settings.to_string()).expect("write the settings");
}
