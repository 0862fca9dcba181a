//! The real client, Claude Code, against a stand-in for its API: its conversations are saved
//! however they end, come back, and are found by the client itself.
//!
//! One line a scenario, `ok NAME` or `FAILED NAME: why`, and a line that counts them; exit 1 if
//! any failed. All scenarios share one home, in the order in which they stand here, and after
//! each of them *every* transcript must be in both stores.
#![allow(clippy::disallowed_methods)] // It plays a user who deletes a transcript.

mod losing;
mod reading;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tests::claude::{Client, LIMIT, Terminal};
use tests::run::{Run, raw_pid};
use tests::{transcripts, tree, waiting};

/// The real client in a scratch home.
#[derive(Debug, Parser)]
struct Args {
    /// The folder that holds `claude`
    #[arg(long)]
    claude: PathBuf,
    /// The xtask that installs
    #[arg(long)]
    installer: PathBuf,
    /// What the installer needs to see of its environment, besides a home
    #[arg(long, value_name = "NAME=VALUE")]
    installer_env: Vec<String>,
    /// Only scenarios whose name contains this; installing always comes first
    #[arg(long)]
    only: Option<String>,
    /// Install the programs of this folder instead of building them
    #[arg(long)]
    binaries: Option<PathBuf>,
    /// There is no tmux: leave out what needs a terminal
    #[arg(long)]
    no_tmux: bool,
}

/// Says what was seen, in a few words, or panics.
type Scenario = fn(&Client) -> String;

const PRINTING: [(&str, Scenario); 7] = [
    ("claude mcp list: session-manager is connected", mcp_list),
    ("-p with a tool call", print_with_a_tool),
    ("-p with a subagent", print_with_a_subagent),
    ("the client's own session_search finds an earlier session", search),
    ("transcript deleted, restored, resumed", restore_and_resume),
    ("a transcript rewritten by the client's local GC", local_gc),
    ("a text that the client takes back in place", retract),
];
const TERMINAL: [(&str, Scenario); 8] = [
    ("/exit", exit),
    ("/clear", clear),
    ("/compact", compact),
    ("automatic compaction", compact_by_itself),
    ("Esc in the middle of an answer", interrupt),
    ("terminal closed", close_terminal),
    ("kill -9, then the next start", kill),
    ("what /exit waits for", time_exit),
];

/// In a home of its own, before anything is installed.
const PLUGIN: &str = "the plugin alone saves 100 MB at exit";

/// What stands in a text that is taken back.
const RETRACTED: &str = "taken back taken back";

fn main() -> ExitCode {
    let args = Args::parse();
    let started = Instant::now();
    std::panic::set_hook(Box::new(|_| {})); // The scenario's line says it.
    let client = Client::new(&args.claude);
    let (mut passed, mut failed) = (0, 0);
    let mut run = |name: &str, scenario: &dyn Fn() -> String| {
        let begun = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(scenario));
        let took = begun.elapsed().as_secs_f64();
        match &result {
            Ok(seen) => {
                passed += 1;
                println!("ok      {name}: {seen} ({took:.1} s)");
            }
            Err(panic) => {
                failed += 1;
                println!("FAILED  {name}: {}", message(panic.as_ref()));
            }
        }
        result.is_ok()
    };
    if args.only.as_ref().is_none_or(|only| PLUGIN.contains(only.as_str())) {
        run(PLUGIN, &|| plugin(&args));
    }
    if args.only.as_ref().is_none_or(|only| losing::MARKETPLACE.contains(only.as_str())) {
        run(losing::MARKETPLACE, &|| losing::marketplace(&args));
    }
    if run("install", &|| install(&client, &args)) {
        let terminal: &[&[(&str, Scenario)]] = if args.no_tmux { &[] } else { &[&TERMINAL, &losing::TERMINAL] };
        let rows = PRINTING.iter().chain(&losing::PRINTING).chain(terminal.iter().copied().flatten());
        for (name, scenario) in rows.chain(&reading::ROWS) {
            if args.only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
                run(name, &|| scenario(&client));
            }
        }
    }
    let left_out = if args.no_tmux { TERMINAL.len() + losing::TERMINAL.len() } else { 0 };
    println!("{passed} ok, {failed} failed, {left_out} skipped in {:.0} s", started.elapsed().as_secs_f64());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// `cargo xtask install` in the scratch home, with `claude` on the path.
fn install(client: &Client, args: &Args) -> String {
    let binaries = args.binaries.iter().flat_map(|folder| [Path::new("--binaries"), folder]);
    let run = Run::new(&args.installer).arg("install").args(binaries).limit(Duration::from_secs(1800));
    let run = client.environment().into_iter().fold(run, |run, (name, value)| run.env(name, value));
    let path = client.environment().into_iter().find(|(name, _)| *name == "PATH").map(|(_, path)| path);
    let mut run = run.current_dir(&client.scratch.project_dir());
    for variable in &args.installer_env {
        let (name, value) = variable.split_once('=').expect("NAME=VALUE");
        let value =
            if name == "PATH" { format!("{}:{value}", path.as_deref().unwrap_or_default()) } else { value.to_owned() };
        run = run.env(name, value);
    }
    let told = run.output().ok().text();
    for expected in ["installed ", "wrote the hooks into ", "registered the MCP server session-manager"] {
        assert!(told.contains(expected), "the installer did not say {expected:?}: {told}");
    }
    told.lines().find(|line| line.contains("MCP")).unwrap_or_default().to_owned()
}

/// A client of its own, with nothing installed but the plugin, and that with its last hook alone: it
/// has to save a conversation of which nothing was copied before.
fn plugin(args: &Args) -> String {
    let client = Client::new(&args.claude);
    let to = client.scratch.beside("market");
    let make = Run::new(&args.installer).args(["plugin", "--binaries"]).arg(tests::binaries::folder());
    client.scratch.at_home(make.arg("--to").arg(&to)).output().ok();
    let plugin = to.join("threefold");
    client.run(&["plugin", "validate", "--strict"]).arg(&plugin).output().ok();
    let hooks = plugin.join("hooks/hooks.json");
    let mut only_last: Value = serde_json::from_slice(&fs::read(&hooks).expect("read the hooks")).expect("JSON");
    only_last["hooks"].as_object_mut().expect("events").retain(|event, _| event == "SessionEnd");
    fs::write(&hooks, only_last.to_string()).expect("write the hooks");

    let id = transcripts::made_id(801);
    client.print(&["--session-id", &id], "Begin a long talk.");
    let filler = serde_json::json!({"type": "filler", "text": "w ".repeat(50_000)}).to_string() + "\n";
    transcripts::append(&client.transcript(&id), filler.repeat(1000));
    assert!(!client.scratch.layer1_store().exists(), "something was copied before");
    let begun = Instant::now();
    let folder = plugin.to_str().expect("a scratch path is UTF-8");
    let outcome = client.print(&["--resume", &id, "--plugin-dir", folder], "And end it.");
    assert!(!outcome.stderr.to_lowercase().contains("hook"), "the client complained: {outcome:?}");
    let took = begun.elapsed().as_secs_f64();
    let copied = || {
        fs::read(client.transcript(&id)).ok().is_some_and(|source| {
            let files = tree::visible_files(&client.scratch.layer1_store());
            files.iter().any(|file| fs::read(client.scratch.layer1_store().join(file)).is_ok_and(|copy| copy == source))
        })
    };
    let at_exit = if copied() { "copied when the client had ended" } else { "copied after the client's end" };
    saved(&client, &client.transcript(&id)) + &format!(", {at_exit}; the client took {took:.1} s")
}

fn mcp_list(client: &Client) -> String {
    let told = client.run(&["mcp", "list"]).output().ok().text();
    let line = told.lines().find(|line| line.starts_with("session-manager:")).unwrap_or_default();
    assert!(line.contains("Connected"), "{told}");
    line.rsplit(" - ").next().unwrap_or_default().to_owned()
}

fn print_with_a_tool(client: &Client) -> String {
    let id = transcripts::made_id(901);
    client.print(&["--session-id", &id], &format!("Where is the lighthouse? {}", call_shell("echo from-the-shell")));
    let requests = client.api.requests();
    let answered = requests.iter().any(|request| tool_results(request).contains("from-the-shell"));
    assert!(answered, "the tool's result did not reach the API");
    saved(client, &client.transcript(&id))
}

fn print_with_a_subagent(client: &Client) -> String {
    let id = transcripts::made_id(902);
    client.print(&["--session-id", &id], &call_agent());
    let transcript = client.transcript(&id);
    let sides = tree::visible_files(&transcript.with_extension(""));
    assert!(sides.iter().any(|side| side.starts_with("subagents/")), "there is no subagent's file, only {sides:?}");
    saved(client, &transcript) + &format!(", {} side files", sides.len())
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
    saved(client, &client.transcript(&id))
}

fn restore_and_resume(client: &Client) -> String {
    let id = transcripts::made_id(904);
    let old = "Remember the harbour of Finisterre.";
    client.print(&["--session-id", &id], &format!("{old} {}", call_agent()));
    client.assert_all_saved();
    let transcript = client.transcript(&id);
    let content = fs::read(&transcript).expect("read the transcript");
    let sides = tree::all(&transcript.with_extension(""));
    fs::remove_file(&transcript).expect("delete the transcript");
    fs::remove_dir_all(transcript.with_extension("")).expect("delete its side files");

    let restored = client.program("layer3-indexer").args(["restore", &id]).output().ok();
    assert!(fs::read(&transcript).is_ok_and(|again| again == content), "not restored byte for byte: {restored:?}");
    let names = |tree: &std::collections::BTreeMap<PathBuf, tree::Entry>| tree.keys().cloned().collect::<Vec<_>>();
    let again = tree::all(&transcript.with_extension(""));
    assert_eq!(names(&again), names(&sides), "side files");

    let before = client.api.requests().len();
    client.print(&["--resume", &id], "again");
    let requests = client.api.requests().split_off(before);
    let turns = |request: &Value| request["messages"].to_string();
    let sent = requests.iter().find(|request| turns(request).contains("again")).map(turns).unwrap_or_default();
    assert!(sent.contains(old) && sent.contains("So it is said."), "the old turns were not sent: {sent}");
    assert_eq!(client.transcript(&id), transcript, "resumed elsewhere");
    saved(client, &transcript) + ", the old turns were sent"
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
    saved(client, &client.transcript(&id)) + &kept(client, &before)
}

/// The client writes a text, then cuts it out of the same file; a copy that was made between keeps it.
fn retract(client: &Client) -> String {
    let id = transcripts::made_id(906);
    let running = client.run(&["-p", "Say too much. [[retract]]", "--session-id", &id]).spawn();
    let has_text = || client.find(&id).is_some_and(|transcript| text(&transcript).contains(RETRACTED));
    waiting::await_until("the text in the transcript", LIMIT, has_text);
    client.program("layer1-prebackup").arg("sweep").output().ok();
    let before = fs::read(client.transcript(&id)).expect("read the transcript");
    client.api.take_back();
    running.wait().ok();
    assert!(!has_text(), "the client did not take its text back");
    saved(client, &client.transcript(&id)) + &kept(client, &before)
}

fn exit(client: &Client) -> String {
    let id = transcripts::made_id(911);
    let terminal = client.open(&["--session-id", &id]);
    converse(client, &terminal, "Tell me of the sea.", 1);
    converse(client, &terminal, &call_shell("echo from-the-terminal"), 2);
    converse(client, &terminal, &call_agent(), 4);
    terminal.enter("/exit");
    terminal.await_end();
    quiet(&terminal);
    saved(client, &client.transcript(&id))
}

fn clear(client: &Client) -> String {
    let id = transcripts::made_id(912);
    let before = client.transcripts();
    let terminal = client.open(&["--session-id", &id]);
    converse(client, &terminal, "Before the clear.", 1);
    terminal.enter("/clear");
    terminal.await_what("an empty screen", || !terminal.visible().contains("Before the clear."));
    converse(client, &terminal, "After the clear.", 1);
    terminal.enter("/exit");
    terminal.await_end();
    quiet(&terminal);
    let new = client.transcripts().difference(&before).count();
    assert_eq!(new, 2, "transcripts of the conversation before and after");
    saved(client, &client.transcript(&id))
}

fn compact(client: &Client) -> String {
    let id = transcripts::made_id(913);
    let terminal = client.open(&["--session-id", &id]);
    converse(client, &terminal, "Before the compaction.", 1);
    let boundaries = || boundaries(&client.transcript(&id));
    terminal.enter("/compact");
    terminal.await_what("a compact boundary", || boundaries() == 1);
    converse(client, &terminal, "After the compaction.", 1);
    terminal.enter("/exit");
    terminal.await_end();
    quiet(&terminal);
    saved(client, &client.transcript(&id))
}

fn compact_by_itself(client: &Client) -> String {
    let id = transcripts::made_id(914);
    let terminal = client.open(&["--session-id", &id]);
    converse(client, &terminal, "A long talk. [[full]]", 1);
    converse(client, &terminal, "And on it goes.", 2);
    terminal.await_what("a compact boundary", || boundaries(&client.transcript(&id)) == 1);
    terminal.enter("/exit");
    terminal.await_end();
    quiet(&terminal);
    saved(client, &client.transcript(&id))
}

fn interrupt(client: &Client) -> String {
    let id = transcripts::made_id(915);
    let terminal = client.open(&["--session-id", &id]);
    terminal.enter("Take your time. [[slow]]");
    terminal.await_screen("slowly slowly");
    terminal.press(&["Escape"]);
    terminal.await_screen("Interrupted");
    terminal.enter("/exit");
    terminal.await_end();
    quiet(&terminal);
    let transcript = client.transcript(&id);
    assert!(text(&transcript).contains("[Request interrupted by user]"), "the transcript knows of no interruption");
    saved(client, &transcript)
}

fn close_terminal(client: &Client) -> String {
    let id = transcripts::made_id(917);
    let terminal = client.open(&["--session-id", &id]);
    converse(client, &terminal, "The lid will be shut.", 1);
    // A late request of the scenario before may have been counted as this one's.
    terminal.await_what("its transcript", || client.find(&id).is_some());
    quiet(&terminal);
    terminal.close();
    saved(client, &client.transcript(&id))
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
    saved(client, &client.transcript(&id)) + &format!(", {behind} copies were behind before the next start")
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
    format!("with the hooks {with:?} ms, without {without:?} ms")
}

/// One prompt and its answer, for which the client makes so many requests.
#[track_caller]
fn converse(client: &Client, terminal: &Terminal, prompt: &str, requests: usize) {
    let wanted = client.api.requests().len() + requests;
    terminal.enter(prompt);
    terminal.await_what("the client's requests", || client.api.requests().len() >= wanted);
    terminal.await_idle();
}

#[track_caller]
fn quiet(terminal: &Terminal) {
    assert!(terminal.complaints().is_empty(), "the screen showed {:?}", terminal.complaints());
}

/// Asserts that everything is saved twice; says how much this transcript holds.
#[track_caller]
fn saved(client: &Client, transcript: &Path) -> String {
    let all = client.assert_all_saved();
    format!("{} bytes in both stores, as are all {all}", fs::metadata(transcript).map_or(0, |meta| meta.len()))
}

/// Asserts that both stores keep an older content, and says so; that the newest lost some of it is acknowledged.
#[track_caller]
fn kept(client: &Client, content: &[u8]) -> String {
    for store in [client.scratch.layer1_store(), client.scratch.layer3_store()] {
        let files = tree::visible_files(&store).into_iter().filter(|name| name.contains(".gen-"));
        let kept = files.filter_map(|name| fs::read(store.join(name)).ok()).any(|kept| kept.starts_with(content));
        assert!(kept, "the older {} bytes are not in {}", content.len(), store.display());
    }
    client.program("layer3-indexer").args(["status", "--acknowledge"]).output();
    ", the older content as a generation".to_owned()
}

fn call_shell(command: &str) -> String {
    format!(r#"[[call Bash {{"command":"{command}","description":"say it"}}]]"#)
}

fn call_agent() -> String {
    r#"[[call Agent {"description":"look","prompt":"look around","subagent_type":"general-purpose"}]]"#.to_owned()
}

/// All tool results in the messages of a request, as text.
fn tool_results(request: &Value) -> String {
    let messages = request["messages"].as_array().into_iter().flatten();
    let blocks = messages.filter_map(|message| message["content"].as_array()).flatten();
    blocks.filter(|block| block["type"] == "tool_result").map(|block| block["content"].to_string()).collect()
}

fn text(transcript: &Path) -> String {
    fs::read(transcript).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn boundaries(transcript: &Path) -> usize {
    text(transcript).matches(r#""subtype":"compact_boundary""#).count()
}
