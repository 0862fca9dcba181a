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

use crate::product::{DELIVERY, SERVER_WITHOUT_TOOLS, await_delivered, pending, session_ids, session_save_lines};

/// What Claude Code gives a plugin's SessionEnd.
const SESSION_END: Duration = Duration::from_millis(1500);

/// The plugin in a folder whose name needs quotes.
fn plugin(scratch: &Scratch) -> PathBuf {
    made_in(scratch, "it's a market")
}

fn made_in(scratch: &Scratch, market: &str) -> PathBuf {
    let to = scratch.beside(market);
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

/// What goes wrong where the plugin is all that is installed; the kind of finding, and the whole of what mends it.
struct Fault {
    plant: fn(&Scratch, &Path),
    kind: &'static str,
    cure: &'static str,
}

const AGAIN: &str = "claude plugin uninstall threefold@threefold && claude plugin install threefold@threefold";
const BY_A_TIMER: &str = "PLUGIN/bin/layer1-prebackup sweep; PLUGIN/bin/layer2-save-client drain";
const WITHOUT_THE_OTHER: &str = "claude mcp remove --scope user session-manager";
const SETTINGS: &str = "${EDITOR:-vi} HOME/.claude/settings.json";

fn change(path: &Path, change: impl Fn(&mut Value)) {
    let mut json = serde_json::from_slice(&fs::read(path).expect("read JSON")).expect("parse JSON");
    change(&mut json);
    fs::write(path, json.to_string()).expect("write JSON");
}

fn script(path: &Path, script: &str) {
    fs::create_dir_all(path.parent().expect("it has a folder")).expect("make a folder");
    let _ = fs::remove_file(path); // Most stand there.
    fs::write(path, format!("#!/bin/sh\n{script}\n")).expect("write a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("make it executable");
}

fn policy(scratch: &Scratch, policy: &str) {
    fs::create_dir(scratch.beside("managed")).expect("make the administrator's folder");
    fs::write(scratch.beside("managed/managed-settings.json"), policy).expect("write a policy");
}

/// Registers a server of our name in Claude Code's own list, which comes before the plugin's.
fn server(scratch: &Scratch, server: Value) {
    let servers = json!({"mcpServers": {"session-manager": server}});
    fs::write(scratch.home().join(".claude.json"), servers.to_string()).expect("register a server");
}

/// The same plugin once more. Its programs are shared, so they are replaced, never changed.
fn linked(plugin: &Path, to: &Path) -> PathBuf {
    for (path, entry) in tree::all(plugin) {
        let (from, to) = (plugin.join(&path), to.join(&path));
        if matches!(entry, tree::Entry::Directory(_)) {
            fs::create_dir_all(to).expect("make a folder");
        } else if path.starts_with("bin") {
            fs::hard_link(from, to).expect("link a program");
        } else {
            fs::create_dir_all(to.parent().expect("it has a folder")).expect("make a folder");
            fs::copy(from, to).expect("copy a file");
        }
    }
    to.to_owned()
}

const FAULTS: [Fault; 19] = [
    Fault {
        plant: |scratch, plugin| installed(scratch, plugin, false),
        kind: "hooks-missing",
        cure: "claude plugin enable threefold@threefold",
    },
    Fault {
        plant: |_, plugin| change(&plugin.join("hooks/hooks.json"), |hooks| hooks["hooks"]["Stop"] = json!([])),
        kind: "hooks-incomplete",
        cure: AGAIN,
    },
    Fault {
        plant: |_, plugin| fs::remove_file(plugin.join("hooks/hooks.json")).expect("lose the hooks"),
        kind: "hooks-missing",
        cure: AGAIN,
    },
    Fault {
        plant: |_, plugin| fs::remove_file(plugin.join("bin/layer1-prebackup")).expect("lose a program"),
        kind: "program-missing",
        cure: AGAIN,
    },
    Fault {
        plant: |_, plugin| script(&plugin.join("bin/layer2-save-client"), "exit 1"),
        kind: "program-broken",
        cure: AGAIN,
    },
    Fault {
        plant: |_, plugin| script(&plugin.join("bin/layer2-save-client"), "echo layer2-save-client 0.0.1"),
        kind: "program-version",
        cure: AGAIN,
    },
    Fault {
        plant: |_, plugin| {
            let (mode, program) = (fs::Permissions::from_mode(0o600), plugin.join("bin/layer2-save-client"));
            script(&program, "exit 0");
            fs::set_permissions(program, mode).expect("take a right away");
        },
        kind: "program-not-executable",
        cure: "chmod +x PLUGIN/bin/layer2-save-client",
    },
    Fault {
        plant: |scratch, _| policy(scratch, r#"{"allowManagedHooksOnly": true}"#),
        kind: "hooks-managed-only",
        cure: BY_A_TIMER,
    },
    Fault {
        plant: |scratch, _| policy(scratch, r#"{"disableAllHooks": true}"#),
        kind: "hooks-disabled",
        cure: BY_A_TIMER,
    },
    Fault {
        plant: |scratch, _| {
            change(&scratch.claude_dir().join("settings.json"), |settings| settings["disableAllHooks"] = json!(true));
        },
        kind: "hooks-disabled",
        cure: SETTINGS,
    },
    Fault {
        plant: |scratch, _| {
            change(&scratch.claude_dir().join("settings.json"), |settings| {
                let old = json!({"hooks": [{"type": "command", "command": "~/.claude/hooks/session-end-save.sh"}]});
                settings["hooks"] = json!({"SessionEnd": [old]});
            });
        },
        kind: "first-version-hooks",
        cure: SETTINGS,
    },
    Fault {
        plant: |_, plugin| fs::remove_file(plugin.join(".mcp.json")).expect("lose the server"),
        kind: "mcp-missing",
        cure: AGAIN,
    },
    Fault {
        plant: |_, plugin| {
            script(&plugin.join("bin/layer3-indexer"), "[ \"$1\" != --version ] || echo layer3-indexer 0.1.0")
        },
        kind: "mcp-silent",
        cure: AGAIN,
    },
    Fault {
        plant: |_, plugin| fs::remove_file(plugin.join("bin/layer3-indexer")).expect("lose a program"),
        kind: "mcp-stale",
        cure: AGAIN,
    },
    Fault {
        plant: |scratch, _| server(scratch, json!({"command": "node", "args": ["session-manager.js"]})),
        kind: "mcp-foreign",
        cure: WITHOUT_THE_OTHER,
    },
    Fault {
        plant: |scratch, _| server(scratch, json!({"command": "/no/such/layer3-indexer", "args": ["serve"]})),
        kind: "mcp-stale",
        cure: WITHOUT_THE_OTHER,
    },
    Fault {
        plant: |scratch, plugin| {
            let env = json!({"BACKUP_DIR": "/else/where"});
            server(scratch, json!({"command": plugin.join("bin/layer3-indexer"), "args": ["serve"], "env": env}));
        },
        kind: "mcp-places",
        cure: WITHOUT_THE_OTHER,
    },
    Fault {
        plant: |scratch, _| {
            let program = scratch.beside("poor/layer3-indexer");
            script(&program, SERVER_WITHOUT_TOOLS);
            server(scratch, json!({"command": program, "args": ["serve"]}));
        },
        kind: "mcp-tools",
        cure: WITHOUT_THE_OTHER,
    },
    Fault {
        plant: |_, plugin| {
            script(
                &plugin.join("bin/layer1-prebackup"),
                "[ \"$1\" != --version ] && cat || echo layer1-prebackup 0.1.0",
            )
        },
        kind: "round-trip-copy",
        cure: AGAIN,
    },
];

#[test]
fn where_only_the_plugin_is_installed_a_cure_is_the_plugins_or_by_hand() {
    let made = Scratch::new();
    // The program that is asked lies in another folder of the same kind, as that of a session would.
    let asked = made_in(&made, "asked");
    for Fault { plant, kind, cure } in FAULTS {
        let scratch = Scratch::new();
        let plugin = linked(&asked, &scratch.beside("market/threefold"));
        installed(&scratch, &plugin, true);
        plant(&scratch, &plugin);
        let ask = |command: &str| {
            let run =
                scratch.at_home(Run::new(asked.join("bin").join(LAYER3))).args([command, "--json"]).limit(DELIVERY);
            let managed = scratch.beside("managed");
            let is_short = kind != "round-trip-copy";
            let run = if command == "doctor" { run.arg("--managed-dir").arg(managed) } else { run };
            let outcome = run.args((command == "doctor" && is_short).then_some("--no-round-trip")).output();
            let told = outcome.text();
            let told = [&plugin, &asked]
                .iter()
                .fold(told, |told, folder| told.replace(&folder.display().to_string(), "PLUGIN"));
            assert!(!told.contains("cargo") && !told.contains("install.sh"), "{kind}, {command}: {told}");
            serde_json::from_str::<Value>(&told.replace(&scratch.home().display().to_string(), "HOME")).expect("JSON")
        };
        ask("status");
        let diagnosis = ask("doctor");
        let findings = diagnosis["findings"].as_array().expect("findings").iter();
        let cures: Vec<_> =
            findings.filter(|finding| finding["kind"] == kind).map(|finding| &finding["mend"]).collect();
        assert!(!cures.is_empty() && cures.iter().all(|found| **found == cure), "{kind}: {diagnosis:#}");
    }
}

/// Not installed at all: what is asked lies in a plugin's folder, or in an unpacked archive.
#[test]
fn what_is_not_installed_yet_is_installed_from_where_the_program_lies() {
    let scratch = Scratch::new();
    let plugin = made_in(&scratch, "market");
    fs::create_dir_all(scratch.claude_dir()).expect("make Claude Code's folder");
    let mended = |program: &Path| {
        let status = scratch.at_home(Run::new(program)).args(["status", "--json"]).output().exits(1).json();
        let mend = status["findings"][0]["mend"].as_str().expect("a cure").to_owned();
        mend.replace(&scratch.root().display().to_string(), "ROOT")
    };
    assert_eq!(
        mended(&plugin.join("bin").join(LAYER3)),
        "claude plugin marketplace add ROOT/market && claude plugin install threefold@threefold"
    );
    let unpacked = scratch.beside("threefold-0.1.0-any");
    for name in ["install.sh", "setup"] {
        script(&unpacked.join(name), "exit 0");
    }
    fs::create_dir(unpacked.join("bin")).expect("make a folder");
    fs::copy(plugin.join("bin").join(LAYER3), unpacked.join("bin").join(LAYER3)).expect("copy a program");
    assert_eq!(mended(&unpacked.join("bin").join(LAYER3)), "ROOT/threefold-0.1.0-any/install.sh");
}
