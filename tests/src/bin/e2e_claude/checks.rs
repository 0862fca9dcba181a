//! What scenarios do and ask: a conversation in a terminal, what the stores hold of it, what the client sends again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::claude::{Client, LIMIT, Terminal};
use tests::run::{Outcome, Run};
use tests::tree;

/// What must hold after each scenario: every transcript and its side files are in both stores, byte for byte; both
/// stores verify; nothing waits; `status` says that all is well. Says how many there are.
#[track_caller]
pub(crate) fn all_is_well(client: &Client) -> String {
    let said = all_is_well_but(client, &[]);
    let status = layer3(client, &["status"]).ok().text();
    assert!(status.contains("Everything is saved"), "{status}");
    said
}

/// [`all_is_well`], where these findings are what the scenario is about.
#[track_caller]
pub(crate) fn all_is_well_but(client: &Client, needing: &[&str]) -> String {
    let all = client.assert_all_saved();
    layer3(client, &["verify"]).ok();
    client.program("layer1-prebackup").arg("verify").output().ok();
    let pending = client.program("layer2-save-client").args(["pending", "--json"]).output().ok().json();
    assert_eq!(pending["jobs"].as_array().map(Vec::len), Some(0), "{pending:#}");
    assert_eq!(told(client), needing, "needs a person");
    format!("all {all} twice")
}

/// What `status` tells that needs a person, by its kinds.
pub(crate) fn told(client: &Client) -> Vec<String> {
    findings(client, |finding| finding["needs_person"] == Value::Bool(true))
}

/// The kinds of those findings of `status` that are meant.
pub(crate) fn findings(client: &Client, are_meant: impl Fn(&Value) -> bool) -> Vec<String> {
    let status = layer3(client, &["status", "--json"]).json();
    let findings = status["findings"].as_array().expect("findings").iter();
    findings.filter(|finding| are_meant(finding)).map(|finding| finding["kind"].to_string().replace('"', "")).collect()
}

/// A run of layer 3 in the project's directory.
#[track_caller]
pub(crate) fn layer3(client: &Client, args: &[&str]) -> Outcome {
    client.program("layer3-indexer").args(args).output()
}

/// Our program as the user runs it, who has the client on the path.
pub(crate) fn typed(client: &Client, args: &[&str]) -> Run {
    let run = client.program("layer3-indexer").args(args);
    client.environment().into_iter().fold(run, |run, (name, value)| run.env(name, value)).limit(LIMIT)
}

/// Copies whatever is there to the first store.
#[track_caller]
pub(crate) fn sweep(client: &Client) {
    client.program("layer1-prebackup").arg("sweep").output().ok();
}

/// Resumes with this prompt; what the client then sent holds all of these earlier words.
#[track_caller]
pub(crate) fn resumed(client: &Client, id: &str, prompt: &str, words: &[&str]) {
    let before = client.api.requests().len();
    client.print(&["--resume", id], prompt);
    sent(client, before, prompt, words);
}

/// Asserts that what the client sent for this prompt holds these earlier words.
#[track_caller]
pub(crate) fn sent(client: &Client, before: usize, prompt: &str, words: &[&str]) {
    let requests = client.api.requests().split_off(before);
    let texts: Vec<String> = requests.iter().map(|request| request["messages"].to_string()).collect();
    let sent = texts.iter().find(|text| text.contains(prompt)).map_or("nothing", String::as_str);
    let missing: Vec<&&str> = words.iter().filter(|words| !sent.contains(**words)).collect();
    assert!(missing.is_empty(), "{missing:?} were not sent: {}", sent.chars().take(2000).collect::<String>());
}

/// Asserts that `show` shows these words of a conversation, and that a search for each of them finds it.
#[track_caller]
pub(crate) fn readable(client: &Client, id: &str, words: &[&str]) {
    let shown = layer3(client, &["show", id]).ok().text();
    let written = text(&client.transcript(id));
    for words in words {
        assert!(written.contains(words), "the client has not written {words:?}");
        assert!(shown.contains(words), "{words:?} is not shown: {shown}");
        found(client, id, words);
    }
}

/// Asserts that a search for these words finds the conversation.
#[track_caller]
pub(crate) fn found(client: &Client, id: &str, words: &str) {
    let hits = layer3(client, &["search", words, "--json"]).ok().text();
    assert!(hits.contains(id), "a search for {words:?} does not find {id}: {hits}");
}

/// What the client's directory has of a conversation, by names below `.claude`.
pub(crate) fn files_of(client: &Client, id: &str) -> BTreeMap<PathBuf, blake3::Hash> {
    let files = tree::all(&client.scratch.claude_dir()).into_iter().filter_map(|(path, entry)| match entry {
        tree::Entry::File(_, _, hash) => Some((path, hash)),
        _ => None,
    });
    let is_meant = |path: &Path| {
        let path = path.to_string_lossy();
        let is_kept = ["projects/", "file-history/", "tasks/"].iter().any(|folder| path.starts_with(folder));
        is_kept && path.contains(id) && !path.ends_with(".lock") && !path.contains(".tmp.")
    };
    files.filter(|(path, _)| is_meant(path)).collect()
}

/// Deletes all that the client's directory has of a conversation; gives what that was.
pub(crate) fn delete(client: &Client, id: &str) -> BTreeMap<PathBuf, blake3::Hash> {
    let files = files_of(client, id);
    for path in files.keys() {
        fs::remove_file(client.scratch.claude_dir().join(path)).expect("delete a file");
    }
    files
}

/// Asserts that all of a conversation is again as it was, byte for byte.
#[track_caller]
pub(crate) fn is_back(client: &Client, id: &str, was: &BTreeMap<PathBuf, blake3::Hash>, form: &str) {
    assert_eq!(&files_of(client, id), was, "{form}: not byte for byte");
}

/// One prompt and its answer, for which the client makes so many requests that hold it.
#[track_caller]
pub(crate) fn converse(client: &Client, terminal: &Terminal, prompt: &str, requests: usize) {
    let before = client.api.requests().len();
    let typed = Value::from(prompt).to_string();
    terminal.enter(prompt);
    // What an agent or an earlier prompt still asks for is not this one's.
    let mine = || {
        let new = client.api.requests().split_off(before);
        new.iter().filter(|request| request["messages"].to_string().contains(typed.trim_matches('"'))).count()
    };
    terminal.await_what("the client's requests", || mine() >= requests);
    terminal.await_idle();
}

/// Ends the client as a user does, who was never bothered.
#[track_caller]
pub(crate) fn leave(terminal: &Terminal) {
    terminal.enter("/exit");
    terminal.await_end();
    quiet(terminal);
}

#[track_caller]
pub(crate) fn quiet(terminal: &Terminal) {
    assert!(terminal.complaints().is_empty(), "the screen showed {:?}", terminal.complaints());
}

/// Asserts that both stores keep an older content, and says so; that the newest lost some of it is acknowledged.
#[track_caller]
pub(crate) fn kept(client: &Client, content: &[u8]) -> String {
    for store in [client.scratch.layer1_store(), client.scratch.layer3_store()] {
        let files = tree::visible_files(&store).into_iter().filter(|name| name.contains(".gen-"));
        let kept = files.filter_map(|name| fs::read(store.join(name)).ok()).any(|kept| kept.starts_with(content));
        assert!(kept, "the older {} bytes are not in {}", content.len(), store.display());
    }
    client.program("layer3-indexer").args(["status", "--acknowledge"]).output();
    "the older content as a generation".to_owned()
}

/// What makes the model call this tool.
pub(crate) fn call(tool: &str, input: &Value) -> String {
    format!("[[call {tool} {input}]]")
}

/// A command in the shell.
pub(crate) fn call_shell(command: &str) -> String {
    call("Bash", &json!({"command": command, "description": "say it"}))
}

/// An agent that has no more to do than to answer.
pub(crate) fn call_agent() -> String {
    call("Agent", &json!({"description": "look", "prompt": "look around", "subagent_type": "general-purpose"}))
}

/// All tool results in the messages of a request, as text.
pub(crate) fn tool_results(request: &Value) -> String {
    let messages = request["messages"].as_array().into_iter().flatten();
    let blocks = messages.filter_map(|message| message["content"].as_array()).flatten();
    blocks.filter(|block| block["type"] == "tool_result").map(|block| block["content"].to_string()).collect()
}

pub(crate) fn text(transcript: &Path) -> String {
    fs::read(transcript).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
