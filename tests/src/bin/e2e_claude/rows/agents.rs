//! Agents that work while the conversation goes on: their transcripts and side files are saved, found and come back.

use serde_json::{Value, json};
use tests::claude::{Client, Terminal};
use tests::transcripts;

use crate::checks::{call, converse, delete, files_of, found, is_back, layer3, leave, readable, resumed, text};
use crate::row::{Row, typing};

pub(crate) const ROWS: [Row; 2] = [typing("a background agent", background), typing("a workflow", workflow)];

fn background(client: &Client) -> String {
    let id = transcripts::made_id(945);
    let terminal = client.open(&["--session-id", &id]);
    let prompt = "look behind the chapel [[say The chapel has a well.]]";
    let input = json!({"description": "look", "prompt": prompt, "subagent_type": "general-purpose",
        "run_in_background": true});
    terminal.enter(&format!("Send somebody. {}", call("Agent", &input)));
    await_answer(client, &terminal, &id, "Send somebody.");
    converse(client, &terminal, "What did he see?", 1);
    leave(&terminal);
    client.assert_all_saved();
    readable(client, &id, &["Send somebody.", "The chapel has a well.", "What did he see?"]);
    found(client, &id, "look behind the chapel");
    come_back(client, &id, &["Send somebody.", "The chapel has a well."], &["subagents/agent-"])
}

fn workflow(client: &Client) -> String {
    let id = transcripts::made_id(946);
    let terminal = client.open(&["--session-id", &id]);
    let script = r#"export const meta = {name: "rounds", description: "go round", phases: [{title: "Round"}]}
const ask = (place) => agent("look at the " + place + " [[say The " + place + " is shut.]]", {label: place, phase: "Round"})
return await parallel(["mill", "forge"].map((place) => () => ask(place)))"#;
    terminal.enter(&format!("Use a workflow. {}", call("Workflow", &json!({ "script": script }))));
    await_answer(client, &terminal, &id, "Use a workflow.");
    converse(client, &terminal, "What is open?", 1);
    leave(&terminal);
    client.assert_all_saved();
    readable(client, &id, &["Use a workflow.", "The mill is shut.", "The forge is shut.", "What is open?"]);
    found(client, &id, "look at the forge");
    come_back(
        client,
        &id,
        &["Use a workflow.", "The mill is shut."],
        &["workflows/scripts/", "/journal.jsonl", "agent-"],
    )
}

/// Waits until what went on in the background has told the conversation that it is done, and that has been answered.
#[track_caller]
fn await_answer(client: &Client, terminal: &Terminal, id: &str, begun: &str) {
    const DONE: &str = "<status>completed</status>";
    terminal.await_what("the end of it", || client.find(id).is_some_and(|path| text(&path).contains(DONE)));
    let is_told = |request: &Value| {
        let messages = request["messages"].to_string();
        messages.contains(DONE) && messages.contains(begun)
    };
    terminal.await_what("the client's request", || client.api.requests().iter().any(is_told));
    terminal.await_idle();
}

/// All of it is deleted, restored, and gone on with.
#[track_caller]
fn come_back(client: &Client, id: &str, words: &[&str], names: &[&str]) -> String {
    let files = files_of(client, id);
    let is_there = |name: &&&str| files.keys().any(|path| path.to_string_lossy().contains(**name));
    let missing = names.iter().filter(|name| !is_there(name)).collect::<Vec<_>>();
    assert!(missing.is_empty(), "the client made no {missing:?}, only {:?}", files.keys());
    let was = delete(client, id);
    layer3(client, &["restore", id]).ok();
    is_back(client, id, &was, "restore");
    resumed(client, id, "And on it goes with the agents.", words);
    format!("{} files", was.len())
}
