//! The client without a terminal: tools, subagents, what it takes back.

use std::fs;

use tests::claude::{Client, LIMIT};
use tests::{transcripts, tree, waiting};

use crate::checks::{call_agent, call_shell, delete, is_back, kept, layer3, resumed, sweep, text, tool_results};
use crate::row::{Row, printing};

pub(crate) const ROWS: [Row; 7] = [
    printing("-p with a tool call", with_a_tool),
    printing("claude mcp list: session-manager is connected", mcp_list),
    printing("-p with a subagent", with_a_subagent),
    printing("the client's own session_search finds an earlier session", search),
    printing("transcript deleted, restored, resumed", restore_and_resume),
    printing("a transcript rewritten by the client's local GC", local_gc),
    printing("a text that the client takes back in place", retract),
];

/// What stands in a text that is taken back.
const RETRACTED: &str = "taken back taken back";

fn mcp_list(client: &Client) -> String {
    let told = client.run(&["mcp", "list"]).output().ok().text();
    let line = told.lines().find(|line| line.starts_with("session-manager:")).unwrap_or_default();
    assert!(line.contains("Connected"), "{told}");
    line.rsplit(" - ").next().unwrap_or_default().to_owned()
}

fn with_a_tool(client: &Client) -> String {
    let id = transcripts::made_id(901);
    client.print(&["--session-id", &id], &format!("Where is the lighthouse? {}", call_shell("echo from-the-shell")));
    let requests = client.api.requests();
    let answered = requests.iter().any(|request| tool_results(request).contains("from-the-shell"));
    assert!(answered, "the tool's result did not reach the API");
    String::new()
}

fn with_a_subagent(client: &Client) -> String {
    let id = transcripts::made_id(902);
    client.print(&["--session-id", &id], &call_agent());
    let transcript = client.transcript(&id);
    let sides = tree::visible_files(&transcript.with_extension(""));
    assert!(sides.iter().any(|side| side.starts_with("subagents/")), "there is no subagent's file, only {sides:?}");
    format!("{} side files", sides.len())
}

fn search(client: &Client) -> String {
    let id = transcripts::made_id(903);
    let call = r#"[[call mcp__session-manager__session_search {"query":"lighthouse"}]]"#;
    client.print(&["--session-id", &id], call);
    let earlier = transcripts::made_id(901);
    let requests = client.api.requests();
    let results: Vec<String> = requests.iter().map(tool_results).filter(|results| !results.is_empty()).collect();
    let last = results.last().map_or("nothing", String::as_str);
    assert!(last.contains(&earlier), "no hit of {earlier} in {last}");
    String::new()
}

fn restore_and_resume(client: &Client) -> String {
    let id = transcripts::made_id(904);
    let old = "Remember the harbour of Finisterre.";
    client.print(&["--session-id", &id], &format!("{old} {}", call_agent()));
    client.assert_all_saved();
    let transcript = client.transcript(&id);
    let was = delete(client, &id);
    layer3(client, &["restore", &id]).ok();
    is_back(client, &id, &was, "restore");
    resumed(client, &id, "again", &[old, "So it is said."]);
    assert_eq!(client.transcript(&id), transcript, "resumed elsewhere");
    "the old turns were sent".to_owned()
}

fn local_gc(client: &Client) -> String {
    let id = transcripts::made_id(905);
    // Where little is to be gained, the client lets the transcript be.
    client.print(&["--session-id", &id], "Long ago there was a light. [[long]]");
    client.assert_all_saved();
    let before = fs::read(client.transcript(&id)).expect("read the transcript");
    let prompt = format!("[[full]] {}", call_shell("echo from-a-full-context"));
    let gc = client.run(&["-p", &prompt, "--resume", &id]).env("CLAUDE_CODE_TRANSCRIPT_LOCAL_GC", "1");
    gc.output().ok();
    let after = fs::read(client.transcript(&id)).expect("read the transcript");
    assert!(!after.starts_with(&before), "the client did not rewrite the transcript");
    client.assert_all_saved();
    kept(client, &before)
}

/// The client writes a text, then cuts it out of the same file; a copy that was made between keeps it.
fn retract(client: &Client) -> String {
    let id = transcripts::made_id(906);
    let running = client.run(&["-p", "Say too much. [[retract]]", "--session-id", &id]).spawn();
    let has_text = || client.find(&id).is_some_and(|transcript| text(&transcript).contains(RETRACTED));
    waiting::await_until("the text in the transcript", LIMIT, has_text);
    let before = fs::read(client.transcript(&id)).expect("read the transcript");
    sweep(client);
    client.api.take_back();
    running.wait().ok();
    assert!(!has_text(), "the client did not take its text back");
    client.assert_all_saved();
    kept(client, &before)
}
