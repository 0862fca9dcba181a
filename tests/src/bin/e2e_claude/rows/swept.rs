//! The client's own sweep, `cleanupPeriodDays`: all of a conversation goes, without a hook, and all of it comes back.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tests::claude::{Client, Terminal};
use tests::{transcripts, tree};

use crate::checks::{call, call_shell, converse, files_of, is_back, layer3, leave, resumed};
use crate::row::{Row, printing, typing};

pub(crate) const ROWS: [Row; 2] = [
    printing("swept by the client, restored, resumed, and not swept again", sweep_and_resume),
    typing("/rewind of code, before a sweep and after the restore", rewind),
];

/// Longer than the 30 days after which the client sweeps.
const OLD: Duration = Duration::from_secs(40 * 24 * 60 * 60);
/// What the client writes when it has swept.
const SWEPT: &str = ".last-cleanup";

/// Lets the client sweep: it does so some seconds after it began to work, and once a day.
#[track_caller]
fn let_sweep(client: &Client) {
    let mark = client.scratch.claude_dir().join(SWEPT);
    // There is none before the first sweep.
    let _ = fs::remove_file(&mark);
    client.print(&[], &call_shell(&format!("until [ -e {} ]; do sleep 0.2; done", mark.display())));
    assert!(mark.exists(), "the client has not swept");
}

/// Makes all of a conversation old, as if nobody had been here for longer than the client keeps it.
fn make_old(client: &Client, id: &str) {
    let when = SystemTime::now() - OLD;
    for path in tree::all(&client.scratch.claude_dir()).keys().filter(|path| path.to_string_lossy().contains(id)) {
        let file = File::open(client.scratch.claude_dir().join(path)).expect("open what is to be old");
        file.set_modified(when).expect("make it old");
    }
}

fn sweep_and_resume(client: &Client) -> String {
    let (id, other) = (transcripts::made_id(961), transcripts::made_id(962));
    let plenty = call_shell("seq 1 20000");
    client.print(&["--session-id", &id], &format!("Said long before the sweep. {plenty}"));
    client.print(&["--session-id", &other], "Said by another, long before.");
    client.assert_all_saved();
    let was = [&id, &other].map(|id| files_of(client, id));
    [&id, &other].into_iter().for_each(|id| make_old(client, id));
    let_sweep(client);
    assert!(files_of(client, &id).is_empty() && files_of(client, &other).is_empty(), "the client left some");
    client.assert_all_saved();
    layer3(client, &["restore", "--all-missing"]).ok();
    is_back(client, &id, &was[0], "--all-missing");
    is_back(client, &other, &was[1], "--all-missing");
    let_sweep(client);
    is_back(client, &id, &was[0], "a second sweep");
    resumed(client, &id, "After the sweep.", &["Said long before the sweep."]);
    resumed(client, &other, "After the sweep too.", &["Said by another, long before."]);
    format!("{} files", was[0].len())
}

fn rewind(client: &Client) -> String {
    let id = transcripts::made_id(963);
    let code = client.scratch.project_dir().join("code.txt");
    let states = ["first state", "second state", "third state"];
    let terminal = client.open(&["--session-id", &id]);
    let write = json!({"file_path": code, "content": states[0]});
    converse(client, &terminal, &format!("Write it. {}", call("Write", &write)), 2);
    for state in states.windows(2) {
        let edit = json!({"file_path": code, "old_string": state[0], "new_string": state[1]});
        converse(client, &terminal, &format!("Make it the {}. {}", state[1], call("Edit", &edit)), 2);
    }
    let code_is = |state: &str| fs::read_to_string(&code).is_ok_and(|text| text == state);
    assert!(code_is(states[2]), "the client did not write");
    rewind_to_before(&terminal, states[2]);
    terminal.await_what("the state before", || code_is(states[1]));
    leave(&terminal);
    let late = catch_up(client, 964);
    client.assert_all_saved();

    let was = files_of(client, &id);
    let histories = was.keys().filter(|path| path.starts_with("file-history")).count();
    assert!(histories > 0, "the client keeps no history of files: {:?}", was.keys());
    make_old(client, &id);
    let_sweep(client);
    assert!(files_of(client, &id).is_empty(), "the client left {:?}", files_of(client, &id).keys());
    layer3(client, &["restore", &id]).ok();
    is_back(client, &id, &was, "restore");
    let terminal = client.open(&["--resume", &id]);
    rewind_to_before(&terminal, states[1]);
    terminal.await_what("the state before that", || code_is(states[0]));
    leave(&terminal);
    let late = late + catch_up(client, 966);
    format!("{histories} earlier states came back, {late} copies were behind before the next start")
}

/// After a rewind this client may write a last snapshot when its last hook has ended; the next start copies it.
fn catch_up(client: &Client, next: u32) -> usize {
    client.await_rest();
    let behind = client.differences().len();
    if behind > 0 {
        client.print(&["--session-id", &transcripts::made_id(next)], "Good morning.");
    }
    behind
}

/// `/rewind`, of the code alone, to before the prompt that asked for this state.
#[track_caller]
fn rewind_to_before(terminal: &Terminal, state: &str) {
    terminal.enter("/rewind");
    terminal.await_screen("Restore the code and/or conversation");
    // What was said stands above the list, and not indented.
    let chosen = || terminal.visible().lines().find_map(|line| line.strip_prefix("  ❯ ").map(str::to_owned));
    let wanted = format!("Make it the {state}.");
    loop {
        let now = chosen();
        match &now {
            Some(prompt) if prompt.starts_with(&wanted) => break,
            Some(prompt) => assert!(!prompt.starts_with("Write it."), "no prompt {wanted:?}: {}", terminal.visible()),
            None => {}
        }
        terminal.press(&["Up"]);
        terminal.await_what("another prompt", || chosen() != now);
    }
    terminal.press(&["Enter"]);
    terminal.await_screen("3. Restore code");
    terminal.press(&["3"]);
    // While the list closes it takes what is typed.
    terminal.await_what("the list of prompts gone", || !terminal.visible().contains("Restore code"));
    terminal.await_idle();
}
