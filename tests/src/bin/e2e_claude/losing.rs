//! Conversations that the client or its user loses: what is told of them, and that they go on whole.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tests::claude::{Client, LIMIT};
use tests::run::{Outcome, Run};
use tests::{transcripts, waiting};

use super::{Args, Scenario, converse, quiet, saved};

/// Without a terminal.
pub(super) const PRINTING: [(&str, Scenario); 4] = [
    ("a stub is not resumed in silence; resume --longest sends the old turns", stub),
    ("restore in all its forms, and the client goes on", forms),
    ("several clients at once", several),
    ("a session in a worktree of its own", worktree),
];
/// In a terminal.
pub(super) const TERMINAL: [(&str, Scenario); 1] =
    [("deleted under an open session, joined, resumed with all turns", split)];
/// In a home of its own.
pub(super) const MARKETPLACE: &str = "the plugin from its marketplace, and when that is gone";

/// What `status` tells that needs a person, by its kinds.
fn told(client: &Client) -> Vec<String> {
    let status = client.program("layer3-indexer").args(["status", "--json"]).output().json();
    let findings = status["findings"].as_array().expect("findings").iter();
    let needing = findings.filter(|finding| finding["needs_person"] == Value::Bool(true));
    needing.map(|finding| finding["kind"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Asserts that all is saved, that both stores verify, that nothing waits, and that nobody is needed.
#[track_caller]
fn well(client: &Client, transcript: &Path) -> String {
    let saved = saved(client, transcript);
    client.program("layer3-indexer").arg("verify").output().ok();
    client.program("layer1-prebackup").arg("verify").output().ok();
    let pending = client.program("layer2-save-client").args(["pending", "--json"]).output().ok().json();
    assert_eq!(pending["jobs"].as_array().map(Vec::len), Some(0), "{pending:#}");
    assert_eq!(told(client), [""; 0], "needs a person");
    saved
}

/// Our program as the user runs it, who has the client on the path.
fn typed(client: &Client, args: &[&str]) -> Run {
    let run = client.program("layer3-indexer").args(args);
    client.environment().into_iter().fold(run, |run, (name, value)| run.env(name, value)).limit(LIMIT)
}

/// Asserts that what the client sent for this prompt holds these earlier words.
#[track_caller]
fn sent(client: &Client, before: usize, prompt: &str, words: &[&str]) {
    let requests = client.api.requests().split_off(before);
    let texts: Vec<String> = requests.iter().map(|request| request["messages"].to_string()).collect();
    let sent = texts.iter().find(|text| text.contains(prompt)).map_or("nothing", String::as_str);
    let missing: Vec<&&str> = words.iter().filter(|words| !sent.contains(**words)).collect();
    assert!(missing.is_empty(), "{missing:?} were not sent: {}", sent.chars().take(2000).collect::<String>());
}

fn split(client: &Client) -> String {
    let id = transcripts::made_id(931);
    let terminal = client.open(&["--session-id", &id]);
    converse(client, &terminal, "Before it was deleted.", 1);
    // The file is there before the turn is in it.
    let has_turn = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.contains(r#""type":"assistant""#));
    terminal.await_what("its turn on the disk", || client.find(&id).is_some_and(|path| has_turn(&path)));
    let transcript = client.transcript(&id);
    client.program("layer1-prebackup").arg("sweep").output().ok();
    fs::remove_file(&transcript).expect("delete the transcript");
    converse(client, &terminal, "After it was deleted.", 1);
    terminal.enter("/exit");
    terminal.await_end();
    quiet(&terminal);
    saved(client, &transcript);
    assert_eq!(told(client), ["split"]);
    let shown = client.program("layer3-indexer").args(["show", &id]).output().ok().text();
    assert!(shown.contains("Before it was deleted.") && shown.contains("After it was deleted."), "{shown}");
    let refused = typed(client, &["resume", &id]).output().exits(1);
    assert!(refused.stderr.contains("--joined") && refused.stderr.contains("--newest"), "{refused:?}");
    client.program("layer3-indexer").args(["restore", &id, "--joined", "--force"]).output().ok();
    let before = client.api.requests().len();
    client.print(&["--resume", &id], "And on it goes, joined.");
    sent(client, before, "And on it goes, joined.", &["Before it was deleted.", "After it was deleted."]);
    well(client, &transcript) + ", both turns were sent"
}

fn stub(client: &Client) -> String {
    let id = transcripts::made_id(932);
    client.print(&["--session-id", &id], "The words before the stub.");
    client.assert_all_saved();
    let transcript = client.transcript(&id);
    let whole = fs::read(&transcript).expect("read the transcript");
    let end = whole.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    transcripts::rewrite(&transcript, &whole[..end]);
    let refused = typed(client, &["resume", &id]).output().exits(1);
    assert!(refused.stderr.contains("it lost") && refused.stderr.contains("--longest"), "{refused:?}");
    assert_eq!(told(client), ["shrunk"]);
    let before = client.api.requests().len();
    typed(client, &["resume", &id, "--longest", "--", "-p", "Go on from all of it."]).output().ok();
    sent(client, before, "Go on from all of it.", &["The words before the stub."]);
    well(client, &transcript) + ", the old turn was sent"
}

fn forms(client: &Client) -> String {
    let id = transcripts::made_id(933);
    client.print(&["--session-id", &id], "First words.");
    client.print(&["--resume", &id], "Second words.");
    client.assert_all_saved();
    let transcript = client.transcript(&id);
    let whole = fs::read(&transcript).expect("read the transcript");
    let program = |args: &[&str]| -> Outcome { client.program("layer3-indexer").args(args).output().ok() };
    let is_back = || fs::read(&transcript).is_ok_and(|again| again == whole);
    for form in [
        &["restore", &id][..],
        &["restore", "--all-missing"],
        &["restore", &id, "--longest"],
        &["restore", &id, "--joined"],
    ] {
        fs::remove_file(&transcript).expect("delete the transcript");
        program(form);
        assert!(is_back(), "{form:?}: not byte for byte");
    }
    let to = client.scratch.beside("restored");
    program(&["restore", &id, "--to", to.to_str().expect("UTF-8")]);
    assert!(fs::read(to.join(format!("{id}.jsonl"))).is_ok_and(|again| again == whole), "--to");
    transcripts::rewrite(&transcript, transcripts::prompt_line(&id, 1, "another conversation"));
    client.program("layer1-prebackup").arg("sweep").output().ok();
    client.program("layer3-indexer").args(["restore", &id]).output().ok();
    program(&["restore", &id, "--generation", "1", "--force"]);
    assert!(is_back(), "--generation");
    let before = client.api.requests().len();
    client.print(&["--resume", &id], "Third words.");
    sent(client, before, "Third words.", &["First words.", "Second words."]);
    well(client, &transcript) + ", six forms"
}

fn several(client: &Client) -> String {
    let ids = [935, 936, 937, 938].map(transcripts::made_id);
    let running: Vec<_> =
        ids.iter().map(|id| client.run(&["-p", "All at once.", "--session-id", id]).spawn()).collect();
    running.into_iter().for_each(|run| drop(run.wait().ok()));
    ids.iter().for_each(|id| drop(client.transcript(id)));
    well(client, &client.transcript(&ids[0]))
}

fn worktree(client: &Client) -> String {
    let (id, project) = (transcripts::made_id(939), client.scratch.project_dir());
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"];
        let run = client.scratch.at_home(Run::new("/usr/bin/git")).args(identity).args(args);
        run.current_dir(&project).output().ok();
    };
    git(&["init", "-q"]);
    git(&["commit", "-q", "--allow-empty", "-m", "first"]);
    client.print(&["-w", "aside", "--session-id", &id], "In a tree of its own.");
    let transcript = client.transcript(&id);
    let whole = fs::read(&transcript).expect("read the transcript");
    saved(client, &transcript);
    fs::remove_file(&transcript).expect("delete the transcript");
    client.program("layer3-indexer").args(["restore", &id]).output().ok();
    assert!(fs::read(&transcript).is_ok_and(|again| again == whole), "not restored byte for byte");
    let before = client.api.requests().len();
    let here = project.to_str().expect("a scratch path is UTF-8");
    typed(client, &["resume", &id, "--cwd", here, "--", "-p", "Out of the tree."]).output().ok();
    sent(client, before, "Out of the tree.", &["In a tree of its own."]);
    well(client, &client.transcript(&id))
}

/// With nothing installed but the plugin, as its users install it.
pub(super) fn marketplace(args: &Args) -> String {
    let client = Client::new(&args.claude);
    let to = client.scratch.home().join(".local/share/threefold/plugin");
    let make = Run::new(&args.installer).args(["plugin", "--binaries"]).arg(tests::binaries::folder());
    client.scratch.at_home(make).output().ok();
    client.run(&["plugin", "marketplace", "add"]).arg(&to).output().ok();
    client.run(&["plugin", "install", "threefold@threefold"]).output().ok();
    let id = transcripts::made_id(951);
    client.print(&["--session-id", &id], "Kept by the plugin.");
    let said = saved(&client, &client.transcript(&id));
    let program = |name: &str| client.scratch.at_home(Run::new(tests::binaries::folder().join(name)));
    let kinds = || {
        let status = program("layer3-indexer").args(["status", "--json"]).output().json();
        let findings = status["findings"].as_array().expect("findings").iter();
        findings.map(|finding| finding["kind"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert!(!kinds().contains(&"plugin-gone".to_owned()), "{:?}", kinds());
    fs::rename(&to, client.scratch.beside("elsewhere")).expect("move the marketplace away");
    let unsaved = transcripts::made_id(952);
    client.print(&["--session-id", &unsaved], "Kept by nobody.");
    client.await_rest();
    assert!(waiting::holds_within(LIMIT, || client.find(&unsaved).is_some()), "no transcript");
    assert!(!client.differences().is_empty(), "it was saved although the plugin is gone");
    assert!(kinds().contains(&"plugin-gone".to_owned()), "{:?}", kinds());
    said + "; gone, that is told"
}
