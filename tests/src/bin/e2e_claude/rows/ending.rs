//! The client in a terminal: every way in which a conversation ends or is cut.

use std::path::Path;

use rustix::process::{Signal, kill_process};
use tests::claude::Client;
use tests::run::raw_pid;
use tests::transcripts;

use crate::checks::{call_agent, call_shell, converse, leave, quiet, text};
use crate::row::{Row, typing};

pub(crate) const ROWS: [Row; 7] = [
    typing("/exit", exit),
    typing("/clear", clear),
    typing("/compact", compact),
    typing("automatic compaction", compact_by_itself),
    typing("Esc in the middle of an answer", interrupt),
    typing("terminal closed", close_terminal),
    typing("kill -9, then the next start", kill),
];

/// Conversations without hooks, which `status` tells of from two minutes on: nothing may come after them.
pub(crate) const LAST: [Row; 1] = [typing("what /exit waits for", time_exit)];

fn exit(client: &Client) -> String {
    let id = transcripts::made_id(911);
    let terminal = client.open(&["--session-id", &id]);
    converse(client, &terminal, "Tell me of the sea.", 1);
    converse(client, &terminal, &call_shell("echo from-the-terminal"), 2);
    converse(client, &terminal, &call_agent(), 3);
    leave(&terminal);
    String::new()
}

fn clear(client: &Client) -> String {
    let id = transcripts::made_id(912);
    let before = client.transcripts();
    let terminal = client.open(&["--session-id", &id]);
    converse(client, &terminal, "Before the clear.", 1);
    terminal.enter("/clear");
    terminal.await_what("an empty screen", || !terminal.visible().contains("Before the clear."));
    converse(client, &terminal, "After the clear.", 1);
    leave(&terminal);
    let new = client.transcripts().difference(&before).count();
    assert_eq!(new, 2, "transcripts of the conversation before and after");
    String::new()
}

fn compact(client: &Client) -> String {
    let id = transcripts::made_id(913);
    let terminal = client.open(&["--session-id", &id]);
    converse(client, &terminal, "Before the compaction.", 1);
    let boundaries = || boundaries(&client.transcript(&id));
    terminal.enter("/compact");
    terminal.await_what("a compact boundary", || boundaries() == 1);
    converse(client, &terminal, "After the compaction.", 1);
    leave(&terminal);
    String::new()
}

fn compact_by_itself(client: &Client) -> String {
    let id = transcripts::made_id(914);
    let terminal = client.open(&["--session-id", &id]);
    converse(client, &terminal, "A long talk. [[full]]", 1);
    converse(client, &terminal, "And on it goes.", 1);
    terminal.await_what("a compact boundary", || boundaries(&client.transcript(&id)) == 1);
    leave(&terminal);
    String::new()
}

fn interrupt(client: &Client) -> String {
    let id = transcripts::made_id(915);
    let terminal = client.open(&["--session-id", &id]);
    terminal.enter("Take your time. [[slow]]");
    terminal.await_screen("slowly slowly");
    terminal.press(&["Escape"]);
    terminal.await_screen("Interrupted");
    leave(&terminal);
    let transcript = client.transcript(&id);
    assert!(text(&transcript).contains("[Request interrupted by user]"), "the transcript knows of no interruption");
    String::new()
}

fn close_terminal(client: &Client) -> String {
    let id = transcripts::made_id(917);
    let terminal = client.open(&["--session-id", &id]);
    converse(client, &terminal, "The lid will be shut.", 1);
    // A late request of the scenario before may have been counted as this one's.
    terminal.await_what("its transcript", || client.find(&id).is_some());
    quiet(&terminal);
    terminal.close();
    String::new()
}

fn kill(client: &Client) -> String {
    let id = transcripts::made_id(918);
    let terminal = client.open(&["--session-id", &id]);
    converse(client, &terminal, "The power will go.", 1);
    terminal.enter("Take your time. [[slow]]");
    terminal.await_screen("slowly slowly");
    for process in client.processes() {
        kill_process(raw_pid(process.pid), Signal::KILL).expect("kill the client");
    }
    terminal.await_end();
    quiet(&terminal);
    client.await_rest();
    let behind = client.differences().len();
    client.print(&["--session-id", &transcripts::made_id(919)], "Good morning.");
    format!("{behind} copies were behind before the next start")
}

/// Not a check: how long the client takes to exit with our hooks, and without any.
fn time_exit(client: &Client) -> String {
    let timed = |n: u32, more: &[&str]| {
        let id = transcripts::made_id(n);
        let terminal = client.open(&[&["--session-id", &id], more].concat());
        converse(client, &terminal, "How long?", 1);
        terminal.enter("/exit");
        let took = terminal.await_end();
        client.await_rest();
        took.as_millis()
    };
    let with = [timed(921, &[]), timed(922, &[]), timed(923, &[])];
    let without = [0, 1, 2].map(|n| timed(924 + n, &["--settings", r#"{"disableAllHooks":true}"#]));
    // Nobody saved those without hooks; the next start does.
    client.print(&["--session-id", &transcripts::made_id(927)], "Good morning again.");
    format!("with the hooks {with:?} ms, without {without:?} ms")
}

fn boundaries(transcript: &Path) -> usize {
    text(transcript).matches(r#""subtype":"compact_boundary""#).count()
}
