//! As a person judges: by the directory and the time on the wall, not by a folder's name and UTC.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::binaries;
use tests::mcp::Client;
use tests::run::Run;
use tests::scratch::Scratch;

fn id(n: usize) -> String {
    format!("{n:08}-0000-4000-8000-000000000001")
}

/// Lays out a conversation of two records below a slug.
fn lay_out(scratch: &Scratch, n: usize, cwd: &str, text: &str, time: &str, before: &[Value]) {
    let path = scratch.claude_dir().join("projects").join(cwd.replace('/', "-")).join(format!("{}.jsonl", id(n)));
    fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
    let said = |kind: &str, uuid: &str, text: &str| {
        json!({"type": kind, "uuid": format!("{n}-{uuid}"), "sessionId": id(n), "timestamp": time, "cwd": cwd,
            "message": {"role": kind, "content": text}})
    };
    let records = before.iter().cloned().chain([said("user", "1", text), said("assistant", "2", "ok")]);
    fs::write(path, records.map(|record| format!("{record}\n")).collect::<String>()).expect("write a transcript");
}

fn listed(scratch: &Scratch, dir: &Path, args: &[&str]) -> Vec<usize> {
    let args = [&["list", "--json"][..], args].concat();
    let answer = scratch.layer3(&args).current_dir(dir).output().ok().json();
    let sessions = answer["sessions"].as_array().expect("a list");
    let mut found: Vec<usize> =
        sessions.iter().filter_map(|row| row["session_id"].as_str()?[..8].parse().ok()).collect();
    found.sort_unstable();
    found
}

#[test]
fn two_directories_of_one_name_are_two_projects_and_worktrees_are_none() {
    let scratch = Scratch::new();
    let work = scratch.home().join("work");
    let at = |rel: &str| work.join(rel).display().to_string();
    for rel in ["a/app/.git", "a/app/src", "b/app"] {
        fs::create_dir_all(work.join(rel)).expect("make a directory");
    }
    let time = "2026-11-20T10:00:00.000Z";
    let worktree =
        json!({"type": "worktree-state", "worktreeSession": {"originalCwd": at("a/app"), "worktreeName": "w"}});
    lay_out(&scratch, 1, &at("a/app"), "needle of client a", time, &[]);
    lay_out(&scratch, 2, &at("b/app"), "needle of client b", time, &[]);
    lay_out(
        &scratch,
        3,
        &at("a/app/.claude/worktrees/w"),
        "needle in a worktree",
        time,
        std::slice::from_ref(&worktree),
    );
    // Made by a hook, elsewhere.
    lay_out(&scratch, 4, &at("elsewhere/w"), "needle in another", time, &[worktree]);
    scratch.layer3(&["import"]).output().ok();
    for (dir, args, expected) in [
        ("a/app", &[][..], &[1, 3, 4][..]),
        ("a/app/src", &[], &[1, 3, 4]),
        ("b/app", &[], &[2]),
        ("b/app", &["--all"], &[1, 2, 3, 4]),
        ("b/app", &["--project", "../../a/app"], &[1, 3, 4]),
        ("b/app", &["--project", "a/app"], &[1, 3, 4]),
        ("b/app", &["--project", "nothing-like-it"], &[]),
    ] {
        assert_eq!(listed(&scratch, &work.join(dir), args), expected, "{dir} {args:?}");
    }
    let text = |args: &[&str], dir: &str| scratch.layer3(args).current_dir(&work.join(dir)).output().ok().text();
    let hits = text(&["search", "needle"], "b/app");
    assert!(hits.contains("client b") && !hits.contains("client a"), "{hits}");
    for told in [text(&["search", "--all", "needle"], "b/app"), text(&["list", "--all"], "b/app")] {
        assert!(told.contains("a/app") && told.contains("b/app"), "{told}");
    }
    assert!(text(&["list", "--project", "appp"], "b/app").contains("did you mean"));
    // The server is told the directory of the project.
    let mut server = Command::new(scratch.program(binaries::LAYER3));
    server.arg("serve").env_clear().env("HOME", scratch.home()).env("CLAUDE_PROJECT_DIR", at("b/app"));
    let mut client = Client::of(server);
    client.initialize();
    let mut sessions = |arguments: Value| {
        let answer = client.call("session_list", arguments).expect("a list");
        answer["sessions"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((sessions(json!({})), sessions(json!({"all": true}))), (1, 4));
    // What is printed can be typed: the worktree is gone, its project is there.
    let restored = scratch.layer3(&["restore", "--dry-run", "--json", &id(3)]).output().ok().json();
    let command = restored["restored"]["command"].as_str().expect("a command").to_owned();
    assert!(command.starts_with(&format!("cd {} && ", at("a/app"))), "{command}");
}

#[test]
fn everything_works_in_a_directory_that_was_deleted() {
    let scratch = Scratch::new();
    let app = scratch.home().join("app");
    lay_out(&scratch, 1, &app.display().to_string(), "a needle", "2026-11-20T10:00:00.000Z", &[]);
    scratch.layer3(&["import"]).output().ok();
    let program = scratch.program(binaries::LAYER3);
    for verb in [
        "list",
        "search needle",
        "status --json",
        "show 00000001",
        "export 00000001",
        "verify",
        "restore --dry-run 00000001",
        "prune --dry-run --older-than 1d",
        "compress --dry-run",
        "rebuild",
        "import",
    ] {
        let script = format!(
            "mkdir '{0}/gone' && cd '{0}/gone' && rmdir '{0}/gone' && '{1}' {verb}",
            scratch.home().display(),
            program.display()
        );
        let outcome = scratch.at_home(Run::new("/bin/sh").args(["-c", &script])).output();
        let said = format!("{}{}", outcome.text(), outcome.stderr);
        assert!(!said.contains("find the current directory"), "{verb}: {said}");
        assert!(verb == "status --json" || outcome.code == Some(0), "{verb}: {outcome:?}");
    }
}

#[test]
fn people_read_and_type_the_time_on_the_wall() {
    let scratch = Scratch::new();
    let app = scratch.home().join("app").display().to_string();
    lay_out(&scratch, 1, &app, "an evening needle", "2026-11-20T02:30:00.000Z", &[]);
    // Where clocks were set forward at midnight, this is the first minute of the day.
    lay_out(&scratch, 2, &app, "a spring needle", "2018-11-04T03:00:00.000Z", &[]);
    scratch.layer3(&["import"]).output().ok();
    let say = |zone: &str, args: &[&str]| scratch.layer3(args).env("TZ", zone).output().ok().text();
    for (zone, expected) in [
        ("America/Los_Angeles", "2026-11-19 18:30"),
        ("Asia/Kolkata", "2026-11-20 08:00"),
        ("PST8PDT,M3.2.0,M11.1.0", "2026-11-19 18:30"),
        (":Europe/Madrid", "2026-11-20 03:30"),
        ("UTC", "2026-11-20 02:30 UTC"),
        ("Nowhere/Unknown", "2026-11-20 02:30 UTC"),
    ] {
        for args in [&["list", "--all"][..], &["search", "--all", "evening"], &["show", &id(1)]] {
            let text = say(zone, args);
            assert!(text.contains(expected), "{zone} {args:?}: {text}");
        }
    }
    let export = say("America/Los_Angeles", &["export", &id(1)]);
    assert!(export.contains("2026-11-19 18:30:00 -08:00"), "{export}");
    let json = say("America/Los_Angeles", &["search", "--json", "--all", "evening"]);
    assert!(json.contains("2026-11-20T02:30:00.000Z"), "{json}");
    let found = |zone: &str, args: &[&str]| {
        let args = [&["search", "--all", "--json", "needle"][..], args].concat();
        let answer: Value = serde_json::from_str(&say(zone, &args)).expect("JSON");
        answer["hits"].as_array().map_or(0, Vec::len)
    };
    for (zone, args, expected) in [
        ("America/Los_Angeles", &["--since", "2026-11-19", "--until", "2026-11-19"][..], 1),
        ("America/Los_Angeles", &["--since", "2026-11-20"], 0),
        ("America/Los_Angeles", &["--since", "2026-11-19 18:30", "--until", "2026-11-19 18:30"], 1),
        ("UTC", &["--since", "2026-11-20"], 1),
        ("America/Sao_Paulo", &["--since", "2018-11-04", "--until", "2018-11-04"], 1),
        ("America/Sao_Paulo", &["--until", "2018-11-03"], 0),
    ] {
        assert_eq!(found(zone, args), expected, "{zone} {args:?}");
    }
}
