//! The plugin of Claude Code, as `xtask plugin` makes it: its hooks run as the client runs them, and
//! the last one is ended after the 1.5 s that are all a plugin gets. And both ways of installing at once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::binaries::LAYER3;
use tests::run::Run;
use tests::scratch::Scratch;
use tests::waiting::await_until;
use tests::{binaries, processes, stores, transcripts, tree};

use crate::product::{DELIVERY, await_delivered, pending, session_ids, session_save_lines};

/// What Claude Code gives a plugin's SessionEnd.
const SESSION_END: Duration = Duration::from_millis(1500);

/// The plugin in a folder whose name needs quotes.
fn plugin(scratch: &Scratch) -> PathBuf {
    let to = scratch.beside("it's a market");
    let make = Run::new(binaries::xtask()).arg("plugin").arg("--binaries").arg(binaries::folder()).arg("--to").arg(&to);
    scratch.at_home(make).output().ok();
    to.join("threefold")
}

/// The command of an event, as it stands in the plugin.
fn command_of(plugin: &Path, event: &str) -> String {
    let hooks = fs::read(plugin.join("hooks/hooks.json")).expect("read the plugin's hooks");
    let hooks: Value = serde_json::from_slice(&hooks).expect("hooks are JSON");
    hooks["hooks"][event][0]["hooks"][0]["command"].as_str().expect("a command").to_owned()
}

fn hook(scratch: &Scratch, plugin: &Path, event: &str) -> Run {
    scratch.hook(&command_of(plugin, "SessionEnd"), event).env("CLAUDE_PLUGIN_ROOT", plugin)
}

#[test]
fn the_plugins_last_hook_saves_a_conversation_of_100_mb_although_it_is_ended_after_its_time() {
    let scratch = Scratch::new();
    let plugin = plugin(&scratch);
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    // As one write each, appending so much would take long.
    let lines = (0..1000).map(|turn| transcripts::prompt_line(&id, turn, &"w ".repeat(50_000)));
    transcripts::append(&transcript, lines.collect::<String>());
    // A disk so slow that the copy has not even begun when the time is up.
    let copy = plugin.join("bin/layer1-prebackup");
    let gate = scratch.beside("gate");
    fs::rename(&copy, plugin.join("bin/real")).expect("put a program aside");
    let slow =
        format!("#!/bin/sh\nuntil [ -e '{}' ]; do sleep 0.05; done\nexec \"${{0%/*}}/real\" \"$@\"\n", gate.display());
    fs::write(&copy, slow).expect("write a slow program");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("make it executable");

    let event = transcripts::session_end(&transcript);
    let begun = Instant::now();
    let running = hook(&scratch, &plugin, &event).spawn();
    let root = running.pid();
    let ender = std::thread::spawn(move || {
        std::thread::sleep(SESSION_END.saturating_sub(begun.elapsed()));
        processes::end_tree(root);
    });
    running.wait();
    ender.join().expect("end the hook");
    assert!(!scratch.layer1_store().join("proj").exists(), "the copy was not to have begun");
    fs::write(&gate, "").expect("let the copy begin");

    let copied = || stores::difference(&scratch.layer1_store(), "proj", &transcript).is_none();
    await_until("the copy of layer 1", DELIVERY, copied);
    await_until("a job, or its delivery", DELIVERY, || {
        !pending(&scratch).is_empty() || !session_save_lines(&scratch.log(2)).is_empty()
    });
    await_delivered(&scratch);
    stores::assert_saved_twice(&scratch, &transcript);
}

#[test]
fn the_plugins_last_hook_is_quiet_and_leaves_nothing_running() {
    let scratch = Scratch::new();
    let plugin = plugin(&scratch);
    let (_, transcript) = made(&scratch);
    hook(&scratch, &plugin, &transcripts::session_end(&transcript)).output().ok().silent().unworried();
    await_delivered(&scratch);
    stores::assert_saved_twice(&scratch, &transcript);
}

#[test]
fn installed_both_ways_a_conversation_is_saved_once() {
    let scratch = Scratch::new();
    let plugin = plugin(&scratch);
    let (id, transcript) = made(&scratch);
    for _ in 0..3 {
        let event = transcripts::session_end(&transcript);
        let of_plugin = hook(&scratch, &plugin, &event).spawn();
        let of_settings = scratch.hook(&scratch.chain_command(""), &event).spawn();
        of_plugin.wait().ok().silent();
        of_settings.wait().ok().silent();
        await_delivered(&scratch);
        stores::assert_saved_twice(&scratch, &transcript);
        for store in [scratch.layer1_store(), scratch.layer3_store()] {
            let files = tree::visible_files(&store);
            let copies = files.iter().filter(|name| name.ends_with(".jsonl")).count();
            assert_eq!(copies, 1, "one copy and no generation in {}: {files:?}", store.display());
        }
        assert_eq!(session_ids(&scratch), std::slice::from_ref(&id));
        let receipts = fs::read_dir(scratch.layer1_store().join(".outbox/receipts")).expect("list the receipts");
        assert_eq!(receipts.count(), 1, "receipts");
    }
    let copies = scratch.log(1).lines().filter(|line| line.contains("saved proj/")).count();
    assert_eq!(copies, 1, "what was copied once is not copied again:\n{}", scratch.log(1));
}

fn made(scratch: &Scratch) -> (String, PathBuf) {
    let id = transcripts::made_id(2);
    let transcript = transcripts::make_conversation(scratch, &id, 20);
    (id, transcript)
}

/// As `claude plugin install` leaves it: listed with its folder, and on or off in the settings.
fn installed(scratch: &Scratch, plugin: &Path, is_on: bool) {
    let write = |name: &str, value: Value| {
        let path = scratch.claude_dir().join(name);
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("make a folder");
        fs::write(path, value.to_string()).expect("write a file of Claude Code's");
    };
    let entry = json!({"scope": "user", "installPath": plugin, "version": "0.1.0"});
    write("plugins/installed_plugins.json", json!({"version": 2, "plugins": {"threefold@threefold": [entry]}}));
    write("settings.json", json!({"enabledPlugins": {"threefold@threefold": is_on}}));
}

#[test]
fn an_installed_plugin_is_an_installation() {
    let scratch = Scratch::new();
    let plugin = plugin(&scratch);
    let transcript = transcripts::make_conversation(&scratch, &transcripts::made_id(1), 5);
    let status = || scratch.run(LAYER3, &["status", "--json"]).output().json();
    let kinds = |status: &Value| -> Vec<String> {
        let findings = status["findings"].as_array().expect("findings").iter();
        findings.map(|finding| finding["kind"].as_str().expect("a kind").to_owned()).collect()
    };
    installed(&scratch, &plugin, true);
    hook(&scratch, &plugin, &transcripts::session_end(&transcript)).output().ok().silent();
    await_delivered(&scratch);
    let healthy = status();
    assert_eq!(healthy["hooks"]["state"], "plugin");
    assert_eq!((healthy["hooks"]["plugin"].as_str(), kinds(&healthy)), (plugin.to_str(), vec![]));

    let managed = scratch.beside("managed");
    let doctor = || scratch.run(LAYER3, &["doctor", "--managed-dir"]).arg(&managed).limit(DELIVERY);
    let told = doctor().output().ok().text();
    assert!(told.contains("by the plugin") && told.contains("receipted and found by search"), "{told}");
    assert!(told.contains("session-manager answers"), "{told}");

    fs::remove_file(plugin.join("bin/layer1-prebackup")).expect("lose a program");
    assert_eq!(kinds(&status()), ["hook-program-missing"; 1]);
    installed(&scratch, &plugin, false);
    assert!(kinds(&status()).contains(&"hooks-missing".to_owned()));
}
