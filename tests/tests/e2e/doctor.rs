//! `doctor` on the real binaries: green on an installation as it should be, and one finding with its
//! cure for each of the faults that are planted here; the timer, with a `systemctl` that only writes
//! down how it was called.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tests::binaries::{self, ALL, LAYER1, LAYER2, LAYER3};
use tests::run::{Outcome, Run};
use tests::scratch::{PROJECT, Scratch};
use tests::transcripts::{self, INTERACTIVE};
use tests::tree;

use crate::product::{SERVER_WITHOUT_TOOLS, text};

/// As much of `claude` as the installer calls.
const CLAUDE: &str = r#"case "$2" in
remove) echo '{"mcpServers": {}}' > "$HOME/.claude.json" ;;
add) printf '{"mcpServers": {"%s": {"command": "%s", "args": ["%s"]}}}' "$5" "$7" "$8" > "$HOME/.claude.json" ;;
esac"#;
const SYSTEMCTL: &str = r#"echo "$*" >> "$HOME/../systemctl""#;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An installation as it should be, with one saved conversation. Copies of it are damaged.
struct Green {
    scratch: Scratch,
}

impl Green {
    fn new() -> Green {
        let scratch = Scratch::new();
        transcripts::lay_out(&scratch, INTERACTIVE);
        for (name, script) in [("claude", CLAUDE), ("systemctl", SYSTEMCTL)] {
            write_program(&scratch.beside("path").join(name), script);
        }
        fs::create_dir(scratch.beside("built")).expect("make a folder for the binaries");
        for name in ALL {
            fs::hard_link(binaries::folder().join(name), scratch.beside("built").join(name))
                .or_else(|_| fs::copy(binaries::folder().join(name), scratch.beside("built").join(name)).map(|_| ()))
                .expect("take a binary");
        }
        let green = Green { scratch };
        green.install(&["--timer"]).ok();
        green
    }

    fn xtask(&self, args: &[&str]) -> Run {
        let path = format!("{}:/usr/bin:/bin", self.scratch.beside("path").display());
        self.scratch.at_home(Run::new(binaries::xtask())).args(args).env("PATH", path)
    }

    fn install(&self, args: &[&str]) -> Outcome {
        let built = self.scratch.beside("built");
        self.xtask(&["install", "--binaries"]).arg(built).args(args).output()
    }

    /// The same installation in a home of its own. The programs are shared, so they are replaced, never changed.
    fn copy(&self) -> Scratch {
        let copy = Scratch::new();
        let (from, to) = (self.scratch.home(), copy.home());
        for (path, entry) in tree::all(&from) {
            let (source, target) = (from.join(&path), to.join(&path));
            if source.is_dir() {
                fs::create_dir_all(&target).expect("make a folder");
                let mode = fs::metadata(&source).expect("look at a folder").permissions();
                fs::set_permissions(&target, mode).expect("set a mode");
                continue;
            }
            drop(entry);
            fs::create_dir_all(target.parent().expect("a file lies in a folder")).expect("make a folder");
            if path.starts_with(".claude/hooks") {
                fs::hard_link(&source, &target).expect("link a program");
            } else {
                fs::copy(&source, &target).expect("copy a file");
            }
        }
        for name in [".claude/settings.json", ".claude.json"] {
            let text = fs::read_to_string(to.join(name)).expect("read what names paths");
            let text = text.replace(from.to_str().expect("UTF-8"), to.to_str().expect("UTF-8"));
            fs::write(to.join(name), text).expect("write what names paths");
        }
        copy
    }
}

fn write_program(path: &Path, script: &str) {
    fs::create_dir_all(path.parent().expect("a program lies in a folder")).expect("make a folder");
    // Another name of the same file must keep its content.
    let _ = fs::remove_file(path);
    fs::write(path, format!("#!/bin/sh\n{script}\n")).expect("write a program");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("make it executable");
}

fn doctor(scratch: &Scratch, args: &[&str]) -> Run {
    scratch.layer3(&["doctor", "--managed-dir"]).arg(scratch.beside("managed")).args(args)
}

fn kinds(diagnosis: &Value) -> Vec<String> {
    let findings = diagnosis["findings"].as_array().expect("findings");
    // Both copies lie on one disk here, and there is no third: told always, and tested by itself.
    let kinds = findings.iter().map(|finding| text(finding, "kind"));
    kinds.filter(|kind| !["offsite-off", "offsite-one-disk"].contains(&kind.as_str())).collect()
}

#[test]
fn that_there_is_no_third_place_is_told_once_with_the_command() {
    let scratch = Scratch::new();
    scratch.layer1(&["sweep"]).output().ok();
    let told = |outcome: &str| outcome.matches("offsite init PLACE --name NAME").count();
    let diagnosis = doctor(&scratch, &["--no-round-trip"]).output();
    assert_eq!(told(&diagnosis.text()), 1, "{diagnosis:#?}");
    let status = scratch.layer3(&["status"]).output();
    assert_eq!(told(&status.text()), 0, "{status:#?}");
}

/// The installed program of this name.
fn installed(scratch: &Scratch, name: &str) -> PathBuf {
    scratch.claude_dir().join("hooks").join(name)
}

fn change_settings(scratch: &Scratch, change: impl Fn(&mut Value)) {
    change_json(&scratch.claude_dir().join("settings.json"), change);
}

fn change_json(path: &Path, change: impl Fn(&mut Value)) {
    let mut json = serde_json::from_slice(&fs::read(path).expect("read JSON")).expect("parse JSON");
    change(&mut json);
    fs::write(path, json.to_string()).expect("write JSON");
}

/// The only handler of an event.
fn handler<'a>(settings: &'a mut Value, event: &str) -> &'a mut Value {
    &mut settings["hooks"][event][0]["hooks"][0]
}

fn replace_in_command(scratch: &Scratch, event: &str, from: &str, to: &str) {
    change_settings(scratch, |settings| {
        let command = text(handler(settings, event), "command");
        assert!(command.contains(from), "{command}");
        handler(settings, event)["command"] = json!(command.replace(from, to));
    });
}

fn server(scratch: &Scratch, change: impl Fn(&mut Value)) {
    change_json(&scratch.home().join(".claude.json"), |json| change(&mut json["mcpServers"]["session-manager"]));
}

fn age(path: &Path, by: Duration) {
    let file = fs::File::open(path).expect("open a file to make it old");
    file.set_modified(SystemTime::now() - by).expect("make a file old");
}

fn job(scratch: &Scratch, content: &str) {
    let outbox = scratch.layer1_store().join(".outbox");
    fs::create_dir_all(&outbox).expect("make the outbox");
    fs::write(outbox.join("planted@proj.json"), content).expect("write a job");
}

/// Replaces an installed program by a script that tells the right version and else does `script`.
fn impostor(scratch: &Scratch, name: &str, script: &str) {
    let version = scratch.run(name, &["--version"]).output().ok().text();
    let version = version.trim();
    let script = format!("case \"$1\" in --version) echo '{version}'; exit 0 ;; esac\n{script}");
    write_program(&installed(scratch, name), &script);
}

/// Something that goes wrong with an installation, and what doctor has to say of it.
struct Fault {
    name: &'static str,
    plant: fn(&Scratch),
    kind: &'static str,
    /// Stands in the command that mends it.
    cure: &'static str,
    /// Whether only a conversation that is sent through shows it.
    round_trip: bool,
}

const fn fault(name: &'static str, kind: &'static str, cure: &'static str, plant: fn(&Scratch)) -> Fault {
    Fault { name, plant, kind, cure, round_trip: false }
}

const fn hidden(name: &'static str, kind: &'static str, cure: &'static str, plant: fn(&Scratch)) -> Fault {
    Fault { name, plant, kind, cure, round_trip: true }
}

const INSTALL: &str = "cargo xtask install";

const FAULTS: [Fault; 46] = [
    fault("a program is gone", "program-missing", INSTALL, |scratch| {
        fs::remove_file(installed(scratch, LAYER1)).expect("delete a program");
    }),
    fault("a program may not be executed", "program-not-executable", "chmod +x ", |scratch| {
        write_program(&installed(scratch, LAYER2), "exit 0");
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(installed(scratch, LAYER2), mode).expect("take a right away");
    }),
    fault("a program was cut short", "program-broken", INSTALL, |scratch| {
        write_program(&installed(scratch, LAYER3), "exit 1");
    }),
    fault("a program is of another version", "program-version", INSTALL, |scratch| {
        write_program(&installed(scratch, LAYER2), "echo layer2-save-client 0.0.1");
    }),
    fault("all hooks vanished", "hooks-missing", INSTALL, |scratch| {
        change_settings(scratch, |settings| settings["hooks"] = json!({}));
    }),
    fault("the hook of an event vanished", "hooks-incomplete", INSTALL, |scratch| {
        change_settings(scratch, |settings| settings["hooks"]["Stop"] = json!([]));
    }),
    fault("SessionEnd has no timeout", "hook-timeout", INSTALL, |scratch| {
        change_settings(scratch, |settings| {
            handler(settings, "SessionEnd").as_object_mut().expect("a handler").remove("timeout");
        });
    }),
    fault("SessionEnd has a timeout of a second", "hook-timeout", INSTALL, |scratch| {
        change_settings(scratch, |settings| handler(settings, "SessionEnd")["timeout"] = json!(1));
    }),
    fault("PreCompact has a timeout that is no number", "hook-timeout", INSTALL, |scratch| {
        change_settings(scratch, |settings| handler(settings, "PreCompact")["timeout"] = json!("30"));
    }),
    fault("Stop holds the user up", "hook-changed", INSTALL, |scratch| {
        change_settings(scratch, |settings| handler(settings, "Stop")["async"] = json!(false));
    }),
    fault("SessionEnd runs in the background", "hook-changed", INSTALL, |scratch| {
        change_settings(scratch, |settings| handler(settings, "SessionEnd")["async"] = json!(true));
    }),
    fault("the layers are in the wrong order", "hook-changed", INSTALL, |scratch| {
        change_settings(scratch, |settings| {
            let command = text(handler(settings, "SessionEnd"), "command");
            let swapped = command.replace(LAYER1, "ONE").replace(LAYER2, LAYER1).replace("ONE", LAYER2);
            handler(settings, "SessionEnd")["command"] = json!(swapped);
        });
    }),
    fault("the first layer's failure stops the second", "hook-changed", INSTALL, |scratch| {
        replace_in_command(scratch, "PreCompact", " || cat;", ";");
    }),
    fault("a hook may fail", "hook-changed", INSTALL, |scratch| {
        replace_in_command(scratch, "UserPromptSubmit", " || :", "");
    }),
    fault("a hook stands on an event that asks", "hook-changed", INSTALL, |scratch| {
        change_settings(scratch, |settings| settings["hooks"]["PreToolUse"] = settings["hooks"]["Stop"].clone());
    }),
    fault("a hook runs only for a matcher", "hook-restricted", INSTALL, |scratch| {
        change_settings(scratch, |settings| settings["hooks"]["SessionEnd"][0]["matcher"] = json!("clear"));
    }),
    fault("a hook runs only on a condition", "hook-restricted", INSTALL, |scratch| {
        change_settings(scratch, |settings| handler(settings, "Stop")["if"] = json!("Bash(git *)"));
    }),
    fault("a hook stands there twice", "hook-twice", INSTALL, |scratch| {
        change_settings(scratch, |settings| {
            let group = settings["hooks"]["SessionEnd"][0].clone();
            settings["hooks"]["SessionEnd"].as_array_mut().expect("groups").push(group);
        });
    }),
    fault("a hook saves into another store", "hook-places", INSTALL, |scratch| {
        let program = format!("\"${{HOME:-{}}}/.claude/hooks/{LAYER1}\"", scratch.home().display());
        replace_in_command(scratch, "Stop", &program, &format!("{program} --pre-backup-dir /else/where"));
    }),
    fault("all hooks are turned off", "hooks-disabled", "settings.json", |scratch| {
        change_settings(scratch, |settings| settings["disableAllHooks"] = json!(true));
    }),
    fault("all hooks are turned off in a project", "hooks-disabled", "settings.local.json", |scratch| {
        let folder = scratch.project_dir().join(".claude");
        fs::create_dir(&folder).expect("make the project's settings");
        fs::write(folder.join("settings.local.json"), r#"{"disableAllHooks": true}"#).expect("write settings");
    }),
    fault("the administrator lets no hook of the user's run", "hooks-managed-only", "install --timer", |scratch| {
        fs::create_dir(scratch.beside("managed")).expect("make the administrator's folder");
        let policy = r#"{"allowManagedHooksOnly": true}"#;
        fs::write(scratch.beside("managed/managed-settings.json"), policy).expect("write a policy");
    }),
    fault("the administrator turns hooks off", "hooks-disabled", "install --timer", |scratch| {
        fs::create_dir_all(scratch.beside("managed/managed-settings.d")).expect("make the administrator's folder");
        let policy = r#"{"disableAllHooks": true}"#;
        fs::write(scratch.beside("managed/managed-settings.d/10.json"), policy).expect("write a policy");
    }),
    fault("a hook of the first version is left", "first-version-hooks", "install --replace-old", |scratch| {
        change_settings(scratch, |settings| {
            let old = json!({"hooks": [{"type": "command", "command": "~/.claude/hooks/session-end-save.sh"}]});
            settings["hooks"]["SessionEnd"].as_array_mut().expect("groups").push(old);
        });
    }),
    fault("the oldest hook of the first version is left", "first-version-hooks", "install --replace-old", |scratch| {
        change_settings(scratch, |settings| {
            let old = json!({"hooks": [{"type": "command", "command": "cat > ~/.claude/current-session.jsonl"}]});
            settings["hooks"]["SessionEnd"].as_array_mut().expect("groups").push(old);
        });
    }),
    fault("the settings are no JSON", "settings-unreadable", "settings.json", |scratch| {
        fs::write(scratch.claude_dir().join("settings.json"), "{\"hooks\": ").expect("damage the settings");
    }),
    fault(
        "the server is not registered",
        "mcp-missing",
        "claude mcp add --scope user session-manager -- ",
        |scratch| {
            fs::remove_file(scratch.home().join(".claude.json")).expect("lose the registration");
        },
    ),
    fault("another server has the name", "mcp-foreign", "install --replace-old", |scratch| {
        server(scratch, |server| server["command"] = json!("node"));
    }),
    fault(
        "the registered program is gone",
        "mcp-stale",
        "claude mcp remove --scope user session-manager && ",
        |scratch| {
            server(scratch, |server| server["command"] = json!("/no/such/layer3-indexer"));
        },
    ),
    fault("the server saves into another store", "mcp-places", "claude mcp add ", |scratch| {
        server(scratch, |server| server["env"] = json!({"BACKUP_DIR": "/else/where"}));
    }),
    fault("the server does not answer", "mcp-silent", "claude mcp add ", |scratch| {
        write_program(&scratch.beside("mute/layer3-indexer"), "exit 0");
        let mute = scratch.beside("mute/layer3-indexer");
        server(scratch, |server| server["command"] = json!(mute));
    }),
    fault("the server lacks tools", "mcp-tools", INSTALL, |scratch| {
        let program = scratch.beside("poor/layer3-indexer");
        write_program(&program, SERVER_WITHOUT_TOOLS);
        server(scratch, |server| server["command"] = json!(program));
    }),
    fault("the list of servers is no JSON", "mcp-unreadable", ".claude.json", |scratch| {
        fs::write(scratch.home().join(".claude.json"), "{").expect("damage the list of servers");
    }),
    fault("the first store is gone", "store-missing", "layer1-prebackup sweep --all", |scratch| {
        fs::remove_dir_all(scratch.layer1_store()).expect("lose a store");
    }),
    fault("the second store is gone", "store-missing", "layer3-indexer import", |scratch| {
        fs::remove_dir_all(scratch.layer3_store()).expect("lose a store");
    }),
    fault("a store is a link that leads nowhere", "store-unwritable", "ls -ld ", |scratch| {
        fs::remove_dir_all(scratch.layer3_store()).expect("lose a store");
        std::os::unix::fs::symlink("/no/such/disk", scratch.layer3_store()).expect("make a link");
    }),
    fault("a store is no directory", "store-unwritable", ".aside && ", |scratch| {
        fs::remove_dir_all(scratch.layer1_store()).expect("lose a store");
        fs::write(scratch.layer1_store(), "x").expect("put a file there");
    }),
    fault("others may read a store", "store-open", "chmod 700 ", |scratch| {
        fs::set_permissions(scratch.layer3_store(), fs::Permissions::from_mode(0o755)).expect("open a store");
    }),
    fault("a copy was cut short", "damaged-copy", "layer3-indexer verify --repair", |scratch| {
        let copy = scratch.layer3_store().join(PROJECT).join(format!("{INTERACTIVE}.jsonl"));
        fs::write(copy, "x").expect("damage a copy");
    }),
    fault("the index is damaged", "index", "layer3-indexer rebuild", |scratch| {
        fs::write(scratch.index(), vec![7; 8192]).expect("damage the index");
    }),
    fault("a delivery was refused", "failed-job", "drain --foreground --retry-failed", |scratch| {
        job(scratch, r#"{"session_id": "planted", "created_ms": 1, "failed": {"reason": "refused"}}"#);
    }),
    fault("a delivery is stuck", "stuck-job", "layer2-save-client drain --foreground", |scratch| {
        job(scratch, r#"{"session_id": "planted", "created_ms": 1, "attempts": 9, "last_error": "no answer"}"#);
    }),
    fault(
        "Claude Code is about to delete what is not saved",
        "expiring-unsaved",
        "layer1-prebackup sweep",
        |scratch| {
            let transcript = transcripts::make_conversation(scratch, &transcripts::made_id(7), 1);
            age(&transcript, DAY * 28);
        },
    ),
    fault("the timer does not run", "timer-silent", "systemctl --user enable --now threefold.timer", |scratch| {
        age(&scratch.home().join(".config/systemd/user/threefold.timer"), DAY);
        let notes = scratch.layer1_store().join(".state/timer");
        fs::create_dir_all(&notes).expect("make a folder");
        fs::write(notes.join("sweep"), "2026-01-01T00:00:00Z\n").expect("note a run of long ago");
    }),
    hidden("layer 1 copies nothing", "round-trip-copy", INSTALL, |scratch| {
        impostor(scratch, LAYER1, "cat");
    }),
    hidden("layer 2 delivers nothing", "round-trip-receipt", INSTALL, |scratch| {
        impostor(scratch, LAYER2, "exit 0");
    }),
];

#[test]
fn each_planted_fault_is_found_with_its_cure() {
    let green = Green::new();
    let diagnosis = doctor(&green.scratch, &["--json"]).output().ok().unworried().json();
    assert_eq!((diagnosis["ok"].as_bool(), kinds(&diagnosis)), (Some(true), vec![]), "{diagnosis:#}");
    // In a copy the transcript is another file, of which `status` tells until it is saved.
    let diagnosis = doctor(&green.copy(), &["--json"]).output().ok().unworried().json();
    assert_eq!(diagnosis["ok"].as_bool(), Some(true), "{diagnosis:#}");
    let mut missed = Vec::new();
    for fault in &FAULTS {
        let scratch = green.copy();
        (fault.plant)(&scratch);
        let args: &[&str] = if fault.round_trip { &["--json"] } else { &["--json", "--no-round-trip"] };
        let outcome = doctor(&scratch, args).output();
        let diagnosis = outcome.json();
        let findings = diagnosis["findings"].as_array().expect("findings");
        let is_it = |finding: &&Value| finding["kind"] == fault.kind && finding["needs_person"] == true;
        let cures: Vec<String> = findings.iter().filter(is_it).map(|finding| text(finding, "mend")).collect();
        if outcome.code != Some(1) || !cures.iter().any(|cure| cure.contains(fault.cure)) {
            missed.push(format!("{}: expected {} with {:?}, found {diagnosis:#}", fault.name, fault.kind, fault.cure));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn doctor_leaves_everything_as_it_is() {
    let green = Green::new();
    let scratch = green.copy();
    let state = || {
        let mut all = tree::all(&scratch.home());
        all.retain(|path, _| !path.to_string_lossy().contains("sessions.db"));
        all
    };
    let before = state();
    let outcome = doctor(&scratch, &[]).output().ok().unworried();
    assert!(outcome.text().ends_with("All is well.\n"), "{outcome:?}");
    assert!(state() == before, "doctor changed something");
    assert_eq!(fs::read_dir(scratch.tmp()).expect("list the scratch folder").count(), 0);
    scratch.await_no_process(Duration::from_secs(10));
}

#[test]
fn fix_heals_what_is_safe() {
    let green = Green::new();
    let scratch = green.copy();
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set a mode");
    let program = installed(&scratch, LAYER1);
    fs::remove_file(&program).expect("replace a program");
    fs::copy(binaries::folder().join(LAYER1), &program).expect("replace a program");
    open(&program, 0o644);
    open(&scratch.layer1_store(), 0o755);
    fs::remove_dir_all(scratch.layer3_store()).expect("lose a store");
    doctor(&scratch, &["--no-round-trip"]).output().exits(1);
    let mended = doctor(&scratch, &["--fix", "--json"]).output().ok().json();
    let done: Vec<String> = mended["mended"].as_array().expect("mended").iter().map(|m| text(m, "kind")).collect();
    assert!(
        ["program-not-executable", "store-missing", "store-open"].iter().all(|kind| done.contains(&(*kind).into()))
    );
    let mode = |path: &Path| fs::metadata(path).expect("look at it").permissions().mode() & 0o777;
    assert_eq!((mode(&scratch.layer1_store()), mode(&scratch.layer3_store())), (0o700, 0o700));
    doctor(&scratch, &[]).output().ok();
    tests::stores::assert_saved_twice(&scratch, &scratch.transcript(INTERACTIVE));
}

#[test]
fn fix_delivers_what_is_stuck_and_makes_the_index_again() {
    let green = Green::new();
    let scratch = green.copy();
    let transcript = scratch.transcript(INTERACTIVE);
    transcripts::append(&transcript, transcripts::prompt_line(INTERACTIVE, 9, "one more"));
    let event = transcripts::session_end(&transcript);
    scratch.layer1(&["--quiet"]).stdin(event.clone()).output().ok();
    scratch.layer2(&["--foreground", "--attempts", "1", "--server", "/bin/false"]).stdin(event).output().ok();
    let jobs: Vec<PathBuf> = fs::read_dir(scratch.layer1_store().join(".outbox"))
        .expect("list the outbox")
        .map(|entry| entry.expect("list the outbox").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    assert_eq!(jobs.len(), 1);
    change_json(&jobs[0], |job| job["created_ms"] = json!(1));
    fs::write(scratch.index(), vec![7; 8192]).expect("damage the index");
    let found = kinds(&doctor(&scratch, &["--json", "--no-round-trip"]).output().exits(1).json());
    assert!(found.contains(&"stuck-job".to_owned()) && found.contains(&"index".to_owned()), "{found:?}");
    doctor(&scratch, &["--fix"]).output().ok();
    let diagnosis = doctor(&scratch, &["--json"]).output().ok().json();
    assert_eq!(kinds(&diagnosis), ["index-set-aside"]);
    tests::stores::assert_saved_twice(&scratch, &transcript);
}

#[test]
fn xtask_doctor_installs_again_what_is_to_be_installed() {
    let green = Green::new();
    let managed = green.scratch.beside("managed").display().to_string();
    let doctor = |args: &[&str]| green.xtask(&["doctor", "--managed-dir", &managed]).args(args);
    assert!(doctor(&[]).output().ok().text().ends_with("All is well.\n"));
    change_settings(&green.scratch, |settings| settings["hooks"] = json!({}));
    fs::remove_file(installed(&green.scratch, LAYER3)).expect("delete a program");
    fs::remove_file(green.scratch.home().join(".claude.json")).expect("lose the registration");
    write_program(&installed(&green.scratch, LAYER3), "exit 1");
    let built = green.scratch.beside("built").display().to_string();
    let outcome = doctor(&["--fix", "--binaries", &built]).output().ok();
    assert!(outcome.text().ends_with("All is well.\n"), "{outcome:?}");
    assert!(doctor(&[]).output().ok().text().ends_with("All is well.\n"));
}

/// How `systemctl` was called since this was last asked.
fn calls(green: &Green) -> Vec<String> {
    let path = green.scratch.beside("systemctl");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let _ = fs::remove_file(&path); // It may never have been called.
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_timer_is_set_once_runs_and_is_removed_exactly() {
    let green = Green::new();
    let config = green.scratch.home().join(".config");
    let start = ["--user daemon-reload", "--user enable --now threefold.timer"];
    assert_eq!(calls(&green), start);
    let before = tree::all(&config);
    let again = green.install(&["--timer", "--no-import"]).ok();
    assert!(again.text().contains("everything is installed already"), "{again:?}");
    assert!(tree::all(&config) == before);
    // Without --timer a timer that is set stays as it is.
    green.install(&["--no-import"]).ok();
    assert!(tree::all(&config) == before);

    // What systemd would run.
    let unit = fs::read_to_string(config.join("systemd/user/threefold.service")).expect("read the unit");
    let lines: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("ExecStart=-")).collect();
    assert_eq!(lines.len(), 2, "{unit}");
    let transcript = transcripts::make_conversation(&green.scratch, &transcripts::made_id(1), 1);
    for line in lines {
        green.scratch.at_home(Run::new("/bin/sh")).args(["-c", line]).output().ok().silent();
    }
    tests::stores::assert_saved_twice(&green.scratch, &transcript);
    age(&config.join("systemd/user/threefold.timer"), DAY);
    let diagnosis = doctor(&green.scratch, &["--json", "--no-round-trip"]).output().ok().json();
    let timer = diagnosis["checks"].as_array().expect("checks").iter().find(|check| check["name"] == "timer");
    let said = text(timer.expect("a check of the timer"), "said");
    assert!(said.starts_with("sweep ran a few seconds ago, drain ran a few seconds ago"), "{said}");

    calls(&green);
    let preview = green.xtask(&["uninstall", "--dry-run"]).output().ok().text();
    assert!(preview.contains("threefold.timer") && preview.contains("threefold.service"), "{preview}");
    assert!(config.join("systemd/user/threefold.timer").exists() && calls(&green).is_empty());
    let told = green.xtask(&["uninstall"]).output().ok().text();
    assert!(told.contains("removed the timer\n"), "{told}");
    assert_eq!(calls(&green), ["--user disable --now threefold.timer", "--user daemon-reload"]);
    assert!(tree::all(&config).is_empty(), "{:?}", tree::all(&config));
}

#[test]
fn a_timer_that_cannot_be_started_is_told_and_a_preview_writes_nothing() {
    let green = Green::new();
    green.xtask(&["uninstall"]).output().ok();
    let config = green.scratch.home().join(".config");
    let preview = green.install(&["--timer", "--dry-run"]).ok().text();
    assert!(preview.contains("OnCalendar=*:0/10") && preview.contains("sweep --quiet --timer"), "{preview}");
    assert!(tree::all(&config).is_empty());
    write_program(&green.scratch.beside("path/systemctl"), "exit 1");
    let told = green.install(&["--timer", "--no-import"]).ok().text();
    assert!(told.contains("could not be started") && told.contains("enable --now threefold.timer"), "{told}");
    assert!(config.join("systemd/user/threefold.timer").exists());
    let elsewhere = green.scratch.beside("config");
    let run = green.xtask(&["install", "--timer", "--no-import", "--binaries"]).arg(green.scratch.beside("built"));
    run.env("XDG_CONFIG_HOME", &elsewhere).output().ok();
    assert!(elsewhere.join("systemd/user/threefold.service").exists());
}

#[test]
fn what_could_not_be_looked_at_has_no_tick() {
    let scratch = Scratch::new();
    if scratch.claude_dir().exists() {
        fs::remove_dir_all(scratch.claude_dir()).expect("remove Claude Code's directory");
    }
    let diagnosis = scratch.layer3(&["doctor", "--no-round-trip", "--json"]).output().json();
    for name in ["programs", "hooks", "transcripts", "first copy", "second copy"] {
        let check = diagnosis["checks"].as_array().expect("checks").iter().find(|check| check["name"] == name);
        let check = check.unwrap_or_else(|| panic!("no check of {name}: {diagnosis:#}"));
        assert_eq!((&check["ok"], &check["checked"]), (&false.into(), &false.into()), "{name}: {diagnosis:#}");
    }
    let text = scratch.layer3(&["doctor", "--no-round-trip"]).output().text();
    assert!(text.contains("– hooks ") && !text.contains("✓ hooks ") && !text.contains("All is well"), "{text}");
}
