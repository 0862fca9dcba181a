//! Conversations below several configuration directories.

use serde_json::Value;
use tests::binaries::{LAYER1, LAYER3};
use tests::run::Run;
use tests::scratch::Scratch;

fn write(scratch: &Scratch, path: &str, id: &str) -> Vec<u8> {
    let cwd = scratch.home().join("work");
    let line = serde_json::json!({
        "type": "user", "uuid": id, "sessionId": id, "cwd": cwd, "timestamp": "2026-01-01T00:00:00.000Z",
        "message": { "role": "user", "content": format!("words of {id}") },
    });
    let path = scratch.home().join(path);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
    let bytes = format!("{line}\n").into_bytes();
    std::fs::write(path, &bytes).expect("write a transcript");
    bytes
}

#[test]
fn every_directory_is_kept_or_named_and_a_conversation_goes_back_to_its_own() {
    let scratch = Scratch::new();
    let cowork = ".config/Claude/local-agent-mode-sessions/a/o/local_1/.claude";
    let dirs = [".claude", ".claude-work", ".claude-sdk", cowork];
    let transcripts: Vec<(String, String, Vec<u8>)> = dirs
        .iter()
        .enumerate()
        .map(|(nth, dir)| {
            let id = format!("{nth}f5e2f5c-1111-4222-8333-944455556666");
            let path = format!("{dir}/projects/-work/{id}.jsonl");
            let bytes = write(&scratch, &path, &id);
            (id, path, bytes)
        })
        .collect();
    let run = |program: &str, args: &[&str]| {
        Run::new(scratch.program(program)).env("HOME", scratch.home()).args(args).output()
    };
    let status = |program: &str| -> Value { run(program, &["status", "--json"]).json() };
    let not_kept = |status: &Value| status.to_string().contains("claude_dirs = [");
    assert!(not_kept(&status(LAYER1)) && not_kept(&status(LAYER3)));
    let settings = scratch.home().join(".config/threefold/config.toml");
    std::fs::create_dir_all(settings.parent().expect("a folder")).expect("make the folder");
    std::fs::write(settings, "claude_dirs = [\"~/.claude-work\"]\n").expect("write the settings");
    assert!(!not_kept(&status(LAYER1)) && !not_kept(&status(LAYER3)));

    run(LAYER1, &["sweep"]).ok();
    assert_eq!(status(LAYER1)["sessions"], 4);
    run(LAYER3, &["import"]).ok();
    for (_, path, _) in &transcripts {
        std::fs::remove_file(scratch.home().join(path)).expect("remove a transcript");
    }
    run(LAYER3, &["restore", "--all-missing"]).ok();
    for (_, path, bytes) in &transcripts {
        assert_eq!(&std::fs::read(scratch.home().join(path)).expect("it is back"), bytes, "{path}");
    }
    std::fs::remove_file(scratch.home().join(&transcripts[1].1)).expect("remove a transcript");
    let restored = run(LAYER3, &["restore", "--json", &transcripts[1].0]).ok().json();
    assert!(restored.to_string().contains("CLAUDE_CONFIG_DIR="), "{restored}");
    assert!(scratch.home().join(&transcripts[1].1).exists());
}

#[test]
fn a_directory_that_a_hook_has_seen_once_is_kept_without_any_setting() {
    let scratch = Scratch::new();
    let (first, second) = ("0f5e2f5c-1111-4222-8333-944455556666", "1f5e2f5c-1111-4222-8333-944455556666");
    let seen = format!("elsewhere/accounts/two/projects/-work/{first}.jsonl");
    write(&scratch, &seen, first);
    let event = serde_json::json!({
        "session_id": first, "transcript_path": scratch.home().join(&seen), "hook_event_name": "Stop",
        "cwd": scratch.home().join("work"),
    });
    scratch.layer1(&["--quiet"]).stdin(format!("{event}\n")).output().ok();
    // Its next conversation was told by no hook; another conversation of the first one's id lies in the usual directory.
    let later = format!("elsewhere/accounts/two/projects/-work/{second}.jsonl");
    let bytes = write(&scratch, &later, second);
    let twin = write(&scratch, &format!(".claude/projects/-work/{first}.jsonl"), "another");
    scratch.layer1(&["sweep"]).output().ok();
    scratch.layer3(&["import"]).output().ok();
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        assert_eq!(std::fs::read(store.join(format!("work/{second}.jsonl"))).expect("it is saved"), bytes);
        assert_eq!(std::fs::read(store.join(format!("work~2/{first}.jsonl"))).expect("both are saved"), twin);
    }
    let shown = scratch.layer3(&["show", &format!("work/{first}")]).output().ok().text();
    let shown_too = scratch.layer3(&["show", &format!("work~2/{first}")]).output().ok().text();
    assert!(shown.contains(&format!("words of {first}")) && shown_too.contains("words of another"));
    std::fs::remove_dir_all(scratch.home().join("elsewhere")).expect("remove the directory");
    scratch.layer3(&["restore", second]).output().ok();
    assert_eq!(std::fs::read(scratch.home().join(&later)).expect("it is back where it came from"), bytes);
}

#[test]
fn a_temporary_directory_is_named_until_what_is_in_it_is_saved() {
    let scratch = Scratch::new();
    let id = "2f5e2f5c-1111-4222-8333-944455556666";
    let dir = scratch.tmp().join("sdk-run");
    let path = dir.join(format!("projects/-work/{id}.jsonl"));
    write(&scratch, &path.display().to_string(), id);
    let is_named = || {
        let told = [LAYER1, LAYER3].map(|program| scratch.run(program, &["status", "--json"]).output().text());
        told.map(|told| told.contains("it is temporary"))
    };
    assert_eq!(is_named(), [true, true]);
    let dir = dir.display().to_string();
    scratch.layer1(&["--claude-dir", &dir, "sweep"]).output().ok();
    scratch.layer3(&["--claude-dir", &dir, "import"]).output().ok();
    assert_eq!(is_named(), [false, false]);
}

#[test]
fn the_desktop_apps_index_gives_its_sessions_their_titles() {
    let scratch = Scratch::new();
    let id = "3f5e2f5c-1111-4222-8333-944455556666";
    write(&scratch, &format!(".claude/projects/-work/{id}.jsonl"), id);
    let entry = scratch.home().join(".config/Claude/claude-code-sessions/a/o/local_1.json");
    std::fs::create_dir_all(entry.parent().expect("a folder")).expect("make the folder");
    let text = serde_json::json!({ "sessionId": "local_1", "cliSessionId": id, "title": "The desktop's own title" });
    std::fs::write(entry, text.to_string()).expect("write the index");
    scratch.layer3(&["import"]).output().ok();
    for args in [&["list", "--all"][..], &["search", "--all", "--json", "words"], &["show", id]] {
        let told = scratch.layer3(args).env("COLUMNS", "200").output().ok().text();
        assert!(told.contains("The desktop's own title"), "{args:?}: {told}");
    }
}
