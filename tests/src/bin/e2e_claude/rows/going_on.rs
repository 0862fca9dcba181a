//! Conversations that are gone on with: another one, a branch, another tree, by several clients.

use std::fs;
use std::path::{Path, PathBuf};

use tests::claude::{Client, LIMIT};
use tests::run::Run;
use tests::{transcripts, waiting};

use crate::checks::{
    all_is_well, call_shell, converse, delete, files_of, found, is_back, layer3, leave, readable, resumed, sent, text,
    typed,
};
use crate::row::{Row, printing, typing};

pub(crate) const ROWS: [Row; 10] = [
    printing("several clients at once", several),
    printing("two clients in one conversation", two_in_one),
    printing("a session in a worktree, which stays", worktree),
    typing("a session in a worktree that the client removes", removed_worktree),
    printing("a session in the background of the client", in_background),
    printing("a fork of a session", fork),
    printing("a project that is purged", purge),
    typing("/resume", resume),
    typing("/rename", rename),
    typing("/branch", branch),
];

fn several(client: &Client) -> String {
    let ids = [935, 936, 937].map(transcripts::made_id);
    let running: Vec<_> =
        ids.iter().map(|id| client.run(&["-p", "All at once.", "--session-id", id]).spawn()).collect();
    running.into_iter().for_each(|run| drop(run.wait().ok()));
    ids.iter().for_each(|id| drop(client.transcript(id)));
    String::new()
}

/// Both write into one file, each what it knows.
fn two_in_one(client: &Client) -> String {
    let id = transcripts::made_id(940);
    client.print(&["--session-id", &id], "Begun by one.");
    let turns = ["Gone on with by one.", "Gone on with by another."];
    let running = turns.map(|turn| client.run(&["-p", turn, "--resume", &id]).spawn());
    running.into_iter().for_each(|run| drop(run.wait().ok()));
    client.assert_all_saved();
    let shown = layer3(client, &["show", &id]).ok().text();
    assert!(turns.iter().all(|turn| shown.contains(turn)), "{shown}");
    String::new()
}

/// It worked there, so the tree stays, with the conversation's folder.
fn worktree(client: &Client) -> String {
    let (id, project) = (transcripts::made_id(938), grown_project(client));
    client.print(&["-w", "apart", "--session-id", &id], &format!("In a tree apart. {}", call_shell("touch grown")));
    assert!(project.join(".claude/worktrees/apart/grown").exists(), "the client has not worked there");
    out_of_the_tree(client, &id, "In a tree apart.");
    String::new()
}

/// Nothing was done there, so the client removes the tree when it ends; its directory is gone.
fn removed_worktree(client: &Client) -> String {
    let (id, project) = (transcripts::made_id(939), grown_project(client));
    let terminal = client.open(&["-w", "aside", "--session-id", &id]);
    converse(client, &terminal, "In a tree aside.", 1);
    leave(&terminal);
    client.await_rest();
    assert!(!project.join(".claude/worktrees/aside").exists(), "the client has left the tree");
    out_of_the_tree(client, &id, "In a tree aside.");
    String::new()
}

/// The project's directory, with a commit.
fn grown_project(client: &Client) -> PathBuf {
    let project = client.scratch.project_dir();
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"];
        let run = client.scratch.at_home(Run::new("/usr/bin/git")).args(identity).args(args);
        run.current_dir(&project).output().ok();
    };
    if !project.join(".git").exists() {
        git(&["init", "-q"]);
        git(&["commit", "-q", "--allow-empty", "-m", "first"]);
    }
    project
}

/// In the project's directory it is listed, restored and gone on with.
#[track_caller]
fn out_of_the_tree(client: &Client, id: &str, words: &str) {
    client.assert_all_saved();
    let listed = layer3(client, &["list", "--json"]).ok().text();
    assert!(listed.contains(id), "the project's list has it not: {listed}");
    let was = delete(client, id);
    layer3(client, &["restore", id]).ok();
    is_back(client, id, &was, "restore");
    let (before, prompt) = (client.api.requests().len(), "Gone on with, outside.");
    typed(client, &["resume", id, "--", "-p", prompt]).output().ok();
    sent(client, before, prompt, &[words]);
}

/// `claude --bg`: a service of the client's runs it, and ends when nothing is left to run.
fn in_background(client: &Client) -> String {
    let before = client.transcripts();
    let prompt = format!("Behind the scenes. {}", call_shell("echo from-behind"));
    let said = client.run(&["--bg", &prompt]).output().ok().text();
    let made = || client.transcripts().difference(&before).next().cloned();
    let is_done = || made().is_some_and(|path| text(&path).contains("So it is said."));
    assert!(waiting::holds_within(LIMIT, is_done), "it was not done: {said}");
    let id = made().and_then(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).expect("a name");
    client.run(&["stop", &id[..8]]).output().ok();
    client.assert_all_saved();
    readable(client, &id, &["Behind the scenes."]);
    resumed(client, &id, "In front of them.", &["Behind the scenes.", "from-behind"]);
    String::new()
}

fn fork(client: &Client) -> String {
    let (id, before) = (transcripts::made_id(947), client.transcripts());
    client.print(&["--session-id", &id], "On the way to the ford.");
    client.print(&["--resume", &id, "--fork-session"], "Over the ford.");
    client.assert_all_saved();
    let made = client.transcripts().difference(&before).cloned().collect::<Vec<_>>();
    let fork = made.iter().find(|path| text(path).contains("Over the ford.")).expect("a fork's transcript");
    told_from_its_origin(client, &id, fork, "On the way to the ford.");
    String::new()
}

/// All of the project goes, and comes back from the copies, however the user meant it.
fn purge(client: &Client) -> String {
    let id = transcripts::made_id(948);
    let field = client.scratch.home().join("field");
    fs::create_dir_all(&field).expect("make a directory");
    let print = |args: &[&str]| client.run(args).current_dir(&field).output().ok();
    print(&["-p", "Sown in the field.", "--session-id", &id]);
    client.assert_all_saved();
    let was = files_of(client, &id);
    print(&["purge", "--yes", field.to_str().expect("UTF-8")]);
    assert!(files_of(client, &id).is_empty(), "the client left {:?}", files_of(client, &id));
    all_is_well(client);
    layer3(client, &["restore", &id]).ok();
    is_back(client, &id, &was, "restore");
    let before = client.api.requests().len();
    print(&["-p", "Reaped in the field.", "--resume", &id]);
    sent(client, before, "Reaped in the field.", &["Sown in the field."]);
    String::new()
}

fn rename(client: &Client) -> String {
    let id = transcripts::made_id(949);
    let terminal = client.open(&["--session-id", &id]);
    converse(client, &terminal, "What shall it be called?", 1);
    terminal.enter("/rename the-grey-heron");
    terminal.await_what("the name", || text(&client.transcript(&id)).contains("the-grey-heron"));
    leave(&terminal);
    client.assert_all_saved();
    let listed = layer3(client, &["list"]).ok().text();
    assert!(listed.contains("the-grey-heron"), "{listed}");
    found(client, &id, "grey heron");
    String::new()
}

fn resume(client: &Client) -> String {
    let (earlier, id) = (transcripts::made_id(941), transcripts::made_id(942));
    client.print(&["--session-id", &earlier], "Said some time ago.");
    let terminal = client.open(&["--session-id", &id]);
    converse(client, &terminal, "Said before the other.", 1);
    terminal.enter(&format!("/resume {earlier}"));
    terminal.await_screen("Said some time ago.");
    let before = client.api.requests().len();
    converse(client, &terminal, "Back in the other.", 1);
    sent(client, before, "Back in the other.", &["Said some time ago."]);
    leave(&terminal);
    resumed(client, &id, "And in the first again.", &["Said before the other."]);
    String::new()
}

/// The branch is a conversation of its own, and what it took over is one hit.
fn branch(client: &Client) -> String {
    let id = transcripts::made_id(943);
    let before = client.transcripts();
    let terminal = client.open(&["--session-id", &id]);
    converse(client, &terminal, "Before the fork in the quiet lane.", 1);
    terminal.enter("/branch aside");
    terminal.await_screen("Branched session");
    converse(client, &terminal, "Beyond the fork.", 1);
    leave(&terminal);
    client.assert_all_saved();
    let made = client.transcripts().difference(&before).cloned().collect::<Vec<_>>();
    let branch = made.iter().find(|path| text(path).contains("Beyond the fork.")).expect("a branch's transcript");
    let branch = told_from_its_origin(client, &id, branch, "the fork in the quiet lane");
    assert!(made.len() == 2 && branch != id, "{made:?}");
    let was = delete(client, &branch);
    layer3(client, &["restore", &branch]).ok();
    is_back(client, &branch, &was, "restore");
    resumed(client, &branch, "On in the branch.", &["Before the fork in the quiet lane.", "Beyond the fork."]);
    String::new()
}

/// What a fork took over is one hit, where it was said, and the list says what it was forked from; gives its id.
#[track_caller]
fn told_from_its_origin(client: &Client, origin: &str, fork: &Path, words: &str) -> String {
    let fork = fork.file_stem().expect("a name").to_string_lossy().into_owned();
    // As it stands there: words alone are a question, for which others may have something too.
    let hits = layer3(client, &["search", &format!("\"{words}\""), "--json"]).ok().json();
    let hits = hits["hits"].as_array().expect("hits").iter();
    let sessions = hits.map(|hit| hit["session_id"].as_str().unwrap_or_default()).collect::<Vec<_>>();
    assert_eq!(sessions, [origin], "what the fork took over is one hit");
    let listed = layer3(client, &["list", "--json"]).ok().json();
    let rows = listed["sessions"].as_array().expect("sessions");
    let row = rows.iter().find(|row| row["session_id"] == fork.as_str()).expect("the fork is listed");
    assert!(row.to_string().contains(origin), "the fork is not told from its origin: {row}");
    fork
}
