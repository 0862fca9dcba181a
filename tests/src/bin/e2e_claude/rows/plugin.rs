//! With nothing installed but the plugin.

use std::fs;
use std::time::Instant;

use serde_json::Value;
use tests::claude::{Client, LIMIT};
use tests::run::Run;
use tests::{transcripts, tree, waiting};

use crate::checks::{all_is_well, all_is_well_but, findings};
use crate::row::{Alone, Args};

pub(crate) const ALONE: [Alone; 2] = [
    Alone { name: "the plugin alone saves 100 MB at exit", play: at_exit },
    Alone { name: "the plugin from its marketplace, and when that is gone", play: marketplace },
];

/// A client of its own, with nothing installed but the plugin, and that with its last hook alone: it
/// has to save a conversation of which nothing was copied before.
fn at_exit(args: &Args) -> String {
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
    format!("{at_exit}; the client took {took:.1} s; {}", all_is_well_but(&client, &["hooks-missing"]))
}

/// As its users install it.
fn marketplace(args: &Args) -> String {
    let client = Client::new(&args.claude);
    let to = client.scratch.home().join(".local/share/threefold/plugin");
    let make = Run::new(&args.installer).args(["plugin", "--binaries"]).arg(tests::binaries::folder());
    client.scratch.at_home(make).output().ok();
    client.run(&["plugin", "marketplace", "add"]).arg(&to).output().ok();
    client.run(&["plugin", "install", "threefold@threefold"]).output().ok();
    let id = transcripts::made_id(951);
    client.print(&["--session-id", &id], "Kept by the plugin.");
    let said = all_is_well(&client);
    let is_told = || findings(&client, |_| true).contains(&"plugin-gone".to_owned());
    assert!(!is_told(), "told of a plugin that is there");
    fs::rename(&to, client.scratch.beside("elsewhere")).expect("move the marketplace away");
    let unsaved = transcripts::made_id(952);
    client.print(&["--session-id", &unsaved], "Kept by nobody.");
    client.await_rest();
    assert!(waiting::holds_within(LIMIT, || client.find(&unsaved).is_some()), "no transcript");
    assert!(!client.differences().is_empty(), "it was saved although the plugin is gone");
    assert!(is_told(), "{:?}", findings(&client, |_| true));
    said + "; gone, that is told"
}
