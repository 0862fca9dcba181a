//! Each kind of finding, planted in a scratch HOME.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use layer1_prebackup::archive::{Archive, Compare, SaveRequest};
use layer1_prebackup::claude::hooks::events;
use layer1_prebackup::names::SessionId;
use serde_json::{Value, json};

use super::checks::{Depth, examine};
use super::context::{Commands, Context};
use super::finding::Finding;
use super::report::Report;
use super::text::Renderer;
use crate::restore::{self, Options};
use crate::save::rebuild;
use crate::stores::acknowledged::{self, Seen};
use crate::stores::{SessionCopies, Stores, Which};
use crate::terminal::Terminal;
use crate::terminal::time;
use crate::testing::{ID, Scene, answer, prompt};

const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;

fn commands() -> Commands {
    Commands {
        layer1: "layer1".to_owned(),
        layer2: "layer2".to_owned(),
        layer3: "layer3".to_owned(),
        first_copy: "layer1".to_owned(),
    }
}

fn status_after(scene: &Scene, later_ms: u64) -> Report {
    status_at(scene, u64::try_from(time::now_ms()).unwrap() + later_ms, None)
}

/// A look at this time, by a command that this session runs.
fn status_at(scene: &Scene, now_ms: u64, asking: Option<&str>) -> Report {
    examine(&context_at(scene, now_ms, asking), Depth::Cheap)
}

fn context_at(scene: &Scene, now_ms: u64, asking: Option<&str>) -> Context {
    let home = &scene.places.home;
    Context {
        places: scene.places.clone(),
        typed_places: scene.places.clone(),
        now_ms,
        asking: asking.map(str::to_owned),
        cwd: Some(PathBuf::from("/home/dev/proj")),
        commands: commands(),
        program_dir: None,
        claude_json: home.join(".claude.json"),
        managed_dir: home.join("managed"),
        config_home: home.join(".config"),
        temp_dir: home.join("tmp"),
        vars: Vec::new(),
        round_trip: false,
    }
}

/// The findings of a look that long from now, a line each: `!` where they need a person.
fn found(scene: &Scene, later_ms: u64) -> String {
    let status = status_after(scene, later_ms);
    let line = |finding: &Finding| {
        let mark = if finding.needs_person { "!" } else { " " };
        let mend = finding.mend.as_deref().unwrap_or("–");
        format!("{mark} {} {}: {} [{mend}]", finding.kind.word(), finding.place.display(), finding.what)
    };
    let lines: Vec<String> = status.findings.iter().map(line).collect();
    scene.filtered(&lines.join("\n"))
}

/// Settings with hooks on these events, and the programs that they run.
fn install(scene: &Scene, events: &[&str], extra: Value) {
    use std::os::unix::fs::PermissionsExt;
    let folder = scene.places.claude_dir.join("my hooks");
    let mut settings = extra;
    for event in events {
        let command = format!("'{}/layer1-prebackup' --quiet || :", folder.display());
        settings["hooks"][event] = json!([{ "hooks": [{ "type": "command", "command": command }] }]);
    }
    scene.write(&folder.join("layer1-prebackup"), "#!/bin/sh\n");
    fs::set_permissions(folder.join("layer1-prebackup"), fs::Permissions::from_mode(0o755)).unwrap();
    scene.write(&scene.places.claude_dir.join("settings.json"), &settings.to_string());
}

/// Hooks, and one conversation that is in both stores.
fn saved() -> Scene {
    let scene = Scene::new();
    install(&scene, &events(), json!({}));
    scene.transcribe(&[prompt(1, "why does the parser stop"), answer(2, "because of the comma")]);
    save_twice(&scene);
    scene
}

fn save_twice(scene: &Scene) {
    let held = scene.layer1_copies();
    scene.receipt(Some(&scene.expected(&held)));
}

/// More conversations, in both stores.
fn save_more(scene: &Scene, n: u32) {
    let archive = Archive::create(&scene.places.layer1_store).unwrap();
    for n in 0..n {
        let id = format!("bbbbbbbb-0000-4000-8000-{n:012}");
        let transcript = scene.transcript_in("-home-dev-proj", &id);
        scene.write(&transcript, &prompt(n, "another conversation"));
        let id = SessionId::parse(&id).unwrap();
        let (transcript, progress) = (transcript.as_path(), |_| {});
        let request =
            SaveRequest { id: &id, transcript, project: None, cwd: None, compare: Compare::Whole, progress: &progress };
        archive.save(&request).unwrap();
        scene.save_as(transcript, crate::save::roots::RootKind::Claude, None, None).unwrap();
    }
}

fn text(scene: &Scene, status: &Report) -> String {
    let (context, terminal) = (&context_at(scene, 0, None), &Terminal::PLAIN);
    let text = scene.filtered(&Renderer { report: status, context, terminal, verbose: true }.status());
    let disk = text.lines().find(|line| line.trim_start().starts_with("disk")).unwrap().to_owned();
    assert!(disk.contains(" free"), "{disk}");
    let index = text.lines().find(|line| line.trim_start().starts_with("index")).unwrap().to_owned();
    let sized = index.rsplit_once(", ").map_or(index.clone(), |(kept, _)| format!("{kept}, SIZE"));
    text.replace(&disk, "  disk         DISK").replace(&index, &sized)
}

#[test]
fn nothing_at_all_is_well() {
    let scene = Scene::new();
    assert_eq!(found(&scene, 0), "");
    insta::assert_snapshot!(text(&scene, &status_after(&scene, 0)), @r"
    – Nothing is saved yet: there is no conversation.
      first copy   – nothing yet (~/.claude-backup-sessions)
      second copy  – nothing yet (~/.claude-backup)
      index        – none yet
      waiting      nothing
      transcripts  0 transcripts, 0 B
      hooks        Claude Code's directory does not exist
      disk         DISK
      this folder  – Claude Code has no transcript of it
    ");
    assert!(fs::read_dir(&scene.places.home).unwrap().next().is_none(), "a look makes nothing");
}

#[test]
fn right_after_the_installation_all_is_well_too() {
    let scene = Scene::new();
    install(&scene, &events(), json!({}));
    assert_eq!(found(&scene, 0), "");
}

#[test]
fn all_is_well_in_less_than_a_screen() {
    let scene = saved();
    assert_eq!(found(&scene, 3 * HOUR_MS), "");
    let status = status_after(&scene, 3 * HOUR_MS);
    insta::assert_snapshot!(text(&scene, &status), @r"
    ✓ Everything is saved: 1 conversation, 485 B, two copies, last save 3 hours ago
      first copy   1 conversation, 485 B, last save 3 hours ago (~/.claude-backup-sessions)
      second copy  1 conversation, 485 B, last save 3 hours ago (~/.claude-backup)
      index        ready, 2 messages, SIZE
      waiting      nothing
      transcripts  1 transcript, 485 B, all saved twice
      hooks        installed (~/.claude/settings.json)
      disk         DISK
      this folder  🟢 1 transcript, 485 B, the largest 485 B: `claude --resume` is quick here; it is not about your copies
    ");
    assert!(text(&scene, &status).lines().count() < 20);
}

#[test]
fn one_cause_is_one_thing_to_see_and_one_to_do() {
    let scene = Scene::new();
    fs::create_dir_all(&scene.places.claude_dir).unwrap();
    for n in 0..5 {
        let id = format!("bbbbbbbb-0000-4000-8000-{n:012}");
        scene.write(&scene.transcript_in("-home-dev-proj", &id), &prompt(n, &format!("question {n}")));
    }
    for (later, deleted) in [(2 * HOUR_MS, ""), (25 * DAY_MS, ". Claude Code deletes 5 of them within a week")] {
        let told = text(&scene, &status_after(&scene, later));
        let first = format!(
            "⚠ 5 conversations are not saved: Threefold's hooks are not installed{deleted} → cargo xtask install"
        );
        assert_eq!(told.lines().next().unwrap(), first);
        assert_eq!(told.matches("→").count(), 2, "{told}");
        assert!(told.contains("question 0 (bbbbbbbb): ") && told.contains("… and 2 more (--json lists all)"), "{told}");
    }
    // What is there already waits for nothing but its next turn, and is not called saved.
    install(&scene, &events(), json!({}));
    let told = text(&scene, &status_after(&scene, 0));
    assert!(told.starts_with("– 5 conversations are waiting for the next save."), "{told}");
}

#[test]
fn the_json_is_as_documented() {
    let scene = saved();
    let mut json = serde_json::to_value(status_after(&scene, 3 * HOUR_MS).status_json()).unwrap();
    for disk in json["disks"].as_array_mut().unwrap() {
        disk["free_bytes"] = json!(0);
        disk["total_bytes"] = json!(0);
    }
    let mut text = serde_json::to_string_pretty(&json).unwrap();
    for varies in ["store_id", "last_save", "bytes"] {
        assert!(text.contains(&format!("\"{varies}\"")));
    }
    let random = [&json["store_id"], &json["layer1"]["store_id"], &json["last_save"], &json["layer1"]["last_save"]];
    for value in random {
        text = text.replace(value.as_str().unwrap(), "VARIES");
    }
    text = text.replace(&format!("\"bytes\": {}", json["index"]["bytes"]), "\"bytes\": \"VARIES\"");
    insta::assert_snapshot!(scene.filtered(&text), @r#"
    {
      "bytes": 485,
      "disks": [
        {
          "free_bytes": 0,
          "store": "~/.claude-backup-sessions",
          "total_bytes": 0
        },
        {
          "free_bytes": 0,
          "store": "~/.claude-backup",
          "total_bytes": 0
        }
      ],
      "files": 1,
      "findings": [],
      "generations": 0,
      "hooks": {
        "missing_events": [],
        "missing_programs": [],
        "settings": "~/.claude/settings.json",
        "state": "installed"
      },
      "index": {
        "bytes": "VARIES",
        "detail": null,
        "messages": 2,
        "path": "~/.claude-backup/sessions.db",
        "state": "ready"
      },
      "last_save": "VARIES",
      "last_save_age_seconds": 10800,
      "layer1": {
        "bytes": 485,
        "files": 1,
        "generations": 0,
        "last_save": "VARIES",
        "last_save_age_seconds": 10800,
        "sessions": 1,
        "store": "~/.claude-backup-sessions",
        "store_id": "VARIES"
      },
      "light": {
        "bytes": 485,
        "colour": "green",
        "folder": "~/.claude/projects/-home-dev-proj",
        "largest_bytes": 485,
        "sessions": 1
      },
      "not_yet_saved": [],
      "offsite": [],
      "ok": true,
      "one_disk": true,
      "outbox": {
        "failed": 0,
        "jobs": 0,
        "oldest_age_seconds": null,
        "path": "~/.claude-backup-sessions/.outbox",
        "unreadable": 0
      },
      "sessions": 1,
      "sources": {
        "bytes": 485,
        "cleanup_period_days": 30,
        "expiring": [],
        "left_out": 0,
        "projects": "~/.claude/projects",
        "transcripts": 1
      },
      "store": "~/.claude-backup",
      "store_id": "VARIES",
      "vanished": []
    }
    "#);
}

#[test]
fn a_transcript_without_a_copy_needs_a_person_after_an_hour() {
    let scene = Scene::new();
    install(&scene, &events(), json!({}));
    scene.transcribe(&[prompt(1, "first words")]);
    scene.write(&scene.transcript_in("-home-dev-proj", "empty"), "");
    insta::assert_snapshot!(found(&scene, 0), @"  not-saved ~/.claude/projects/-home-dev-proj/aaaaaaaa-0000-4000-8000-000000000001.jsonl: no copy (changed a few seconds ago) [layer1 sweep && layer3 import]");
    insta::assert_snapshot!(found(&scene, 2 * HOUR_MS), @"! not-saved ~/.claude/projects/-home-dev-proj/aaaaaaaa-0000-4000-8000-000000000001.jsonl: no copy (changed 2 hours ago) [layer1 sweep && layer3 import]");
}

#[test]
fn a_transcript_that_changed_needs_a_person_after_a_day() {
    let scene = saved();
    scene.transcribe(&[prompt(1, "why does the parser stop"), answer(2, "because of the comma"), prompt(3, "and now")]);
    insta::assert_snapshot!(found(&scene, 2 * HOUR_MS), @"  not-saved ~/.claude/projects/-home-dev-proj/aaaaaaaa-0000-4000-8000-000000000001.jsonl: changed 2 hours ago, after its last copy [layer1 sweep && layer3 import]");
    insta::assert_snapshot!(found(&scene, 2 * DAY_MS), @"! not-saved ~/.claude/projects/-home-dev-proj/aaaaaaaa-0000-4000-8000-000000000001.jsonl: changed 2 days ago, after its last copy [layer1 sweep && layer3 import]");
    scene.layer1_copies();
    insta::assert_snapshot!(found(&scene, 2 * DAY_MS), @"! not-saved ~/.claude/projects/-home-dev-proj/aaaaaaaa-0000-4000-8000-000000000001.jsonl: the second copy is out of date (changed 2 days ago) [layer3 import]");
    let status = status_after(&scene, 2 * DAY_MS);
    let not_saved = &status.figures.not_yet_saved[0];
    assert_eq!((not_saved.reason, not_saved.in_layer1, not_saved.in_layer3), ("changed", true, false));
}

#[test]
fn of_side_files_that_wait_it_is_told_how_many() {
    let scene = saved();
    let sides = scene.transcript().with_extension("").join("tool-results");
    (0..3).for_each(|n| scene.write(&sides.join(format!("{n}.txt")), "result"));
    insta::assert_snapshot!(found(&scene, 0), @"  not-saved ~/.claude/projects/-home-dev-proj/aaaaaaaa-0000-4000-8000-000000000001.jsonl: changed a few seconds ago, after its last copy, 3 side files still to be copied [layer1 sweep && layer3 import]");
    scene.layer1_copies();
    scene.write(&sides.join("3.txt"), "result");
    let finding = status_after(&scene, 0).findings.remove(0);
    assert!(finding.what.ends_with(", 1 side file still to be copied"), "{}", finding.what);
}

#[test]
fn a_vanished_transcript_comes_with_the_line_that_brings_it_back() {
    let scene = saved();
    scene.remove_sources();
    insta::assert_snapshot!(found(&scene, 0), @"  vanished ~/.claude/projects/-home-dev-proj/aaaaaaaa-0000-4000-8000-000000000001.jsonl: deleted by Claude Code or by hand; it is backed up [layer3 restore aaaaaaaa-0000-4000-8000-000000000001]");
    // By then Claude Code's own cleanup would have deleted it.
    assert_eq!(found(&scene, 40 * DAY_MS), "");
    let status = status_after(&scene, 40 * DAY_MS);
    assert!(status.figures.vanished[0].expected);
    assert_eq!(status.figures.vanished[0].restore, format!("layer3 restore {ID}"));
}

#[test]
fn a_transcript_that_moved_to_another_folder_has_not_vanished() {
    let scene = saved();
    let moved = scene.transcript_in("-home-dev-elsewhere", ID);
    let content = fs::read_to_string(scene.transcript()).unwrap();
    scene.remove_sources();
    scene.write(&moved, &content);
    assert!(!found(&scene, 0).contains("vanished"), "{}", found(&scene, 0));
}

#[test]
fn issue_41458_a_mass_disappearance_is_said_first() {
    let scene = saved();
    save_more(&scene, 5);
    assert_eq!(found(&scene, 0), "");
    scene.remove_sources();
    let status = status_after(&scene, 0);
    assert_eq!(
        (status.needing() == 0, status.findings[0].kind.word(), status.figures.vanished.len()),
        (false, "mass-disappearance", 6)
    );
    insta::assert_snapshot!(text(&scene, &status), @r"
    ⚠ Many transcripts disappeared at once; they are backed up → layer3 restore --all-missing
      first copy   6 conversations, 1.6 kB, last save a few seconds ago (~/.claude-backup-sessions)
      second copy  6 conversations, 1.6 kB, last save a few seconds ago (~/.claude-backup)
      index        ready, 7 messages, SIZE
      waiting      nothing
      transcripts  0 transcripts, 0 B
      hooks        installed (~/.claude/settings.json)
      disk         DISK
      this folder  – Claude Code has no transcript of it

    ✗ Many transcripts disappeared at once; they are backed up (mass-disappearance)
        ~/.claude/projects: 6 of 6 transcripts are gone that changed within 30 days, so no cleanup was due; all are saved. If you deleted them yourself, `layer3 status --acknowledge` lets them be, and `layer3 prune` removes the copies
        → layer3 restore --all-missing

    · 6 conversations were deleted; they are backed up (vanished)
        why does the parser stop (aaaaaaaa): deleted by Claude Code or by hand; it is backed up
        another conversation (bbbbbbbb): deleted by Claude Code or by hand; it is backed up
        another conversation (bbbbbbbb): deleted by Claude Code or by hand; it is backed up
        … and 3 more (--json lists all)
        → layer3 restore --all-missing
    ");
}

#[test]
fn what_the_newest_version_lost_needs_a_person_until_it_is_restored_or_acknowledged() {
    let mend = |scene: &Scene, content: Which| {
        let options = Options { content, force: true, ..Options::default() };
        restore::plan(&scene.places, ID, &options).and_then(|plan| plan.carry_out(&scene.places)).unwrap();
    };
    let lost = || {
        let scene = saved();
        scene.transcribe(&[prompt(9, "stub")]);
        save_twice(&scene);
        scene
    };
    let scene = lost();
    insta::assert_snapshot!(found(&scene, 0), @"! shrunk ~/.claude/projects/-home-dev-proj/aaaaaaaa-0000-4000-8000-000000000001.jsonl: it lost 2 messages that version 1 has (207 B now, 485 B then); or, if that is all right, `layer3 status --acknowledge aaaaaaaa-0000-4000-8000-000000000001` [layer3 restore aaaaaaaa-0000-4000-8000-000000000001 --longest --force]");
    assert!(
        text(&scene, &status_after(&scene, 0))
            .starts_with("⚠ A conversation lost messages that an older version still has → layer3 restore ")
    );
    // Gone, it is still lost, and can be put back without force.
    scene.remove_sources();
    assert!(found(&scene, 0).contains("--longest]"), "{}", found(&scene, 0));
    mend(&scene, Which::Longest);
    assert_eq!(found(&scene, 0), "", "restored");
    let scene = lost();
    acknowledged::acknowledge(&archive(&scene), [(&scene.copies(), Seen::Loss)]).unwrap();
    assert_eq!(found(&scene, 0), "", "acknowledged");
    // The next loss is news again.
    scene.transcribe(&[]);
    save_twice(&scene);
    assert!(found(&scene, 0).starts_with("! shrunk"), "{}", found(&scene, 0));
    let scene = lost();
    mend(&scene, Which::Joined);
    assert_eq!(found(&scene, 0), "", "joined");
}

#[test]
fn what_a_subagents_file_lost_needs_a_person_while_the_transcript_stays() {
    let rel = "subagents/agent-a1.jsonl";
    let write = |scene: &Scene, lines: &[String]| {
        scene.write(&scene.transcript().with_extension("").join(rel), &lines.concat());
        save_twice(scene);
    };
    let lost = || {
        let scene = saved();
        write(&scene, &[prompt(11, "look into it"), answer(12, "it is the comma")]);
        assert_eq!(found(&scene, 0), "");
        // As the client takes back the end of an answer, and with what else is no loss.
        write(&scene, &[prompt(11, "look into it"), answer(12, "it is the comma"), answer(13, "and more")]);
        assert_eq!(found(&scene, 0), "");
        write(&scene, &[prompt(11, "look into it")]);
        scene
    };
    let scene = lost();
    insta::assert_snapshot!(found(&scene, 0), @"! shrunk ~/.claude/projects/-home-dev-proj/aaaaaaaa-0000-4000-8000-000000000001/subagents/agent-a1.jsonl: of its subagent's file subagents/agent-a1.jsonl: it lost 2 messages that version 1 has (215 B now, 714 B then); or, if that is all right, `layer3 status --acknowledge aaaaaaaa-0000-4000-8000-000000000001` [layer3 restore aaaaaaaa-0000-4000-8000-000000000001 --longest --force]");
    let options = Options { content: Which::Longest, force: true, ..Options::default() };
    restore::plan(&scene.places, ID, &options).and_then(|plan| plan.carry_out(&scene.places)).unwrap();
    assert_eq!(found(&scene, 0), "", "restored");
    let scene = lost();
    acknowledged::acknowledge(&archive(&scene), [(&scene.copies(), Seen::Loss)]).unwrap();
    assert_eq!(found(&scene, 0), "", "acknowledged");
    // One that is gone while the transcript is there is told, and comes back.
    let file = scene.transcript().with_extension("").join(rel);
    assert!(layer1_prebackup::fs::remove_file(&file).unwrap());
    assert!(found(&scene, 0).starts_with("  vanished ~/.claude/projects/-home-dev-proj/"), "{}", found(&scene, 0));
    restore::plan(&scene.places, ID, &Options::default()).and_then(|plan| plan.carry_out(&scene.places)).unwrap();
    assert_eq!((found(&scene, 0).as_str(), file.exists()), ("", true));
    assert!(layer1_prebackup::fs::remove_file(&file).unwrap());
    acknowledged::acknowledge(&archive(&scene), [(&scene.copies(), Seen::Loss)]).unwrap();
    assert_eq!(found(&scene, 0), "", "acknowledged");
    // The next loss is news again; a file that says what the agent is may be replaced at will.
    write(&scene, &[]);
    assert!(found(&scene, 0).starts_with("! shrunk"), "{}", found(&scene, 0));
    let scene = saved();
    for text in ["{\"agentType\":\"Explore\",\"status\":\"running\"}", "{}"] {
        scene.write(&scene.transcript().with_extension("").join("subagents/agent-a1.meta.json"), text);
        save_twice(&scene);
    }
    assert_eq!(found(&scene, 0), "");
}

/// By whatever the index came to lack it: nobody else than `status` would tell.
#[test]
fn a_conversation_that_the_index_lacks_is_told_until_it_is_made_again() {
    let scene = saved();
    save_more(&scene, 2);
    scene.receipt(None);
    rebuild::rebuild(&scene.places, &|_, _| {}).unwrap();
    assert_eq!(found(&scene, 0), "");
    let index = rusqlite::Connection::open(&scene.places.index).unwrap();
    index.execute("DELETE FROM tracked WHERE session = ?1", [ID]).unwrap();
    drop(index);
    let told = found(&scene, 0);
    assert!(told.contains("! index ") && told.contains("1 conversation cannot be found: the index lacks it"), "{told}");
    assert!(told.contains("[layer3 rebuild]"), "{told}");
    rebuild::rebuild(&scene.places, &|_, _| {}).unwrap();
    assert_eq!(found(&scene, 0), "");
}

#[test]
fn a_tools_result_that_became_shorter_is_told_until_it_is_restored_or_seen() {
    let rel = "tool-results/x.txt";
    let write = |scene: &Scene, text: &str| {
        scene.write(&scene.transcript().with_extension("").join(rel), text);
        save_twice(scene);
    };
    let lost = || {
        let scene = saved();
        write(&scene, "what the command printed");
        write(&scene, "what the command printed and more");
        assert_eq!(found(&scene, 0), "");
        write(&scene, "");
        scene
    };
    let scene = lost();
    insta::assert_snapshot!(found(&scene, 0), @"! shrunk ~/.claude/projects/-home-dev-proj/aaaaaaaa-0000-4000-8000-000000000001/tool-results/x.txt: of a tool's result tool-results/x.txt: it lost what version 1 has (0 B now, 33 B then); or, if that is all right, `layer3 status --acknowledge aaaaaaaa-0000-4000-8000-000000000001` [layer3 restore aaaaaaaa-0000-4000-8000-000000000001 --longest --force]");
    let options = Options { content: Which::Longest, force: true, ..Options::default() };
    restore::plan(&scene.places, ID, &options).and_then(|plan| plan.carry_out(&scene.places)).unwrap();
    assert_eq!(found(&scene, 0), "", "restored");
    let scene = lost();
    acknowledged::acknowledge(&archive(&scene), [(&scene.copies(), Seen::Loss)]).unwrap();
    assert_eq!(found(&scene, 0), "", "acknowledged");
    // Its beginning is lost; it is news again.
    write(&scene, "printed and more");
    write(&scene, "more");
    assert!(found(&scene, 0).starts_with("! shrunk"), "{}", found(&scene, 0));
}

#[test]
fn what_is_passed_over_is_told_of_one_and_of_several_and_so_is_a_folder_that_was_set_aside() {
    let scene = saved();
    let claude_dir = scene.places.claude_dir.clone();
    let told = || {
        let status = status_after(&scene, 0);
        let passed = status.findings.iter().filter(|finding| finding.kind.word() == "passed-over");
        scene.filtered(&passed.map(|finding| finding.what.clone()).collect::<Vec<_>>().join("\n"))
    };
    scene.write(&claude_dir.join("projects/-p/two words.jsonl"), "{}\n");
    insta::assert_snapshot!(told(), @"1 file looks like a conversation and is passed over, not saved, because no conversation has such a name: ~/.claude/projects/-p/two words.jsonl");
    scene.write(&claude_dir.join("projects/-p/three more words.jsonl"), "{}\n");
    insta::assert_snapshot!(told(), @"2 files look like conversations and are passed over, not saved, because no conversation has such a name: ~/.claude/projects/-p/three more words.jsonl, ~/.claude/projects/-p/two words.jsonl");
    let id = "5b3d80da-3868-4fbe-b063-0aa144649138";
    scene.write(&claude_dir.join(format!("projects.old/-p/{id}.jsonl")), &prompt(1, "set aside"));
    assert!(told().contains(
        "1 directory holds conversations and is passed over, not saved, because only what lies in `projects` beside it is kept, and what is moved there from it: ~/.claude/projects.old"
    ), "{}", told());
}

#[test]
fn what_layer_1_alone_saw_and_what_was_stored_before_it_was_recorded_is_told_too() {
    let scene = saved();
    scene.transcribe(&[prompt(1, "why does the parser stop")]);
    scene.layer1_copies();
    assert!(found(&scene, 0).contains("! shrunk"), "{}", found(&scene, 0));
    save_twice(&scene);
    let records = scene.places.layer3_store.join(".state/losses");
    assert!(found(&scene, 0).contains("! shrunk"), "recorded");
    assert!(records.join(ID).join("proj.json").is_file());
    for entry in fs::read_dir(records.join(ID)).unwrap() {
        fs::write(entry.unwrap().path(), "{").unwrap();
    }
    assert!(found(&scene, 0).contains("! shrunk"), "compared again");
}

#[test]
#[allow(clippy::disallowed_methods)]
fn how_it_was_lost_is_told_of_what_stands_now_and_one_version_that_cannot_be_read_hides_no_other() {
    let bookkeeping = "{\"type\":\"mode\",\"mode\":\"default\"}\n".to_owned();
    let scene = saved();
    scene.transcribe(std::slice::from_ref(&bookkeeping));
    save_twice(&scene);
    assert!(found(&scene, 0).contains("! shrunk"), "{}", found(&scene, 0));
    // A save that was killed copied what came since, and recorded nothing.
    let more = prompt(7, "and now").replace("{\"type\"", "{\"parentUuid\":\"u-0002\",\"type\"");
    scene.transcribe(&[bookkeeping, more]);
    let (id, transcript, progress) = (scene.id(), scene.transcript(), |_| {});
    let (project, cwd, compare) = (None, None, Compare::Whole);
    let request = SaveRequest { id: &id, transcript: &transcript, project, cwd, compare, progress: &progress };
    archive(&scene).save(&request).unwrap();
    scene.layer1_copies();
    assert!(found(&scene, 0).contains("! split"), "{}", found(&scene, 0));
    // Of three versions the second cannot be read.
    scene.transcribe(&[prompt(9, "stub")]);
    save_twice(&scene);
    let second = scene.copy().with_file_name(format!("{ID}.gen-0002.jsonl"));
    fs::remove_file(&second).unwrap();
    fs::create_dir(&second).unwrap();
    assert!(found(&scene, 0).contains("! shrunk"), "{}", found(&scene, 0));
    assert!(scene.copies().record_loss(&|_| {}).is_ok(), "it was recorded while all could be read");
    fs::remove_dir_all(scene.places.layer3_store.join(".state/losses")).unwrap();
    assert!(found(&scene, 0).contains("! shrunk"), "{}", found(&scene, 0));
    scene.copies().record_loss(&|_| {}).unwrap_err();
    assert!(!scene.places.layer3_store.join(".state/losses").exists(), "half a comparison is not recorded");
}

#[test]
fn an_ordinary_rewrite_is_no_loss() {
    let scene = saved();
    let path = scene.transcript();
    // Part of an answer is taken back; then the file moves to another folder.
    scene.transcribe(&[prompt(1, "why does the parser stop"), answer(3, "because of the colon"), prompt(4, "thanks")]);
    save_twice(&scene);
    let moved = scene.transcript_in("-home-dev-elsewhere", ID);
    scene.write(&moved, &fs::read_to_string(&path).unwrap());
    fs::write(&path, "").unwrap();
    assert!(!found(&scene, 0).contains("! "), "{}", found(&scene, 0));
}

#[test]
fn what_was_deleted_on_purpose_is_told_no_more() {
    let scene = saved();
    save_more(&scene, 5);
    scene.remove_sources();
    assert!(found(&scene, 0).contains("mass-disappearance"));
    let stores = Rc::new(Stores::open(&scene.places).unwrap());
    let all: Vec<_> = stores.sessions().unwrap().iter().map(|key| SessionCopies::of(&stores, key).unwrap()).collect();
    acknowledged::acknowledge(&archive(&scene), all.iter().map(|copies| (copies, Seen::Gone))).unwrap();
    assert_eq!(found(&scene, 0), "");
    // It came back, went on and is gone again: that is news.
    scene.transcribe(&[prompt(1, "why does the parser stop"), answer(2, "because of the comma"), prompt(3, "more")]);
    save_twice(&scene);
    scene.remove_sources();
    assert_eq!(found(&scene, 0).matches("vanished").count(), 1, "{}", found(&scene, 0));
}

fn archive(scene: &Scene) -> Archive {
    Archive::open(&scene.places.layer3_store).unwrap().unwrap()
}

#[test]
fn what_the_cleanup_deletes_next_is_counted_and_named_if_it_is_not_saved() {
    let scene = saved();
    install(&scene, &events(), json!({ "cleanupPeriodDays": 20 }));
    assert_eq!(status_after(&scene, 12 * DAY_MS).figures.sources.expiring, []);
    let status = status_after(&scene, 15 * DAY_MS + HOUR_MS);
    let expiring = &status.figures.sources.expiring[0];
    assert_eq!((status.needing() == 0, expiring.days_left, expiring.saved), (true, 4, true));
    scene.write(&scene.transcript_in("-home-dev-proj", "unsaved"), &prompt(1, "never seen by a hook"));
    // Not at the very moment: a file that is that new may have all of its days left, or a moment less.
    insta::assert_snapshot!(found(&scene, 15 * DAY_MS + HOUR_MS), @r"
    ! not-saved ~/.claude/projects/-home-dev-proj/unsaved.jsonl: no copy (changed 15 days ago) [layer1 sweep && layer3 import]
    ! expiring-unsaved ~/.claude/projects/-home-dev-proj/unsaved.jsonl: not saved, and Claude Code deletes it in 4 days [layer1 sweep && layer3 import]
    ");
}

#[test]
fn damaged_copies_are_seen_without_reading_them_whole() {
    let scene = saved();
    let copy = scene.copy();
    let whole = fs::read(&copy).unwrap();
    let mut seen = Vec::new();
    let mut flipped = whole.clone();
    flipped[3] ^= 1;
    for damage in [&whole[..20], &flipped] {
        fs::write(&copy, damage).unwrap();
        seen.push(found(&scene, 0));
    }
    #[allow(clippy::disallowed_methods)]
    fs::remove_file(&copy).unwrap();
    seen.push(found(&scene, 0));
    fs::write(&copy, &whole).unwrap();
    let ledger = scene.places.layer1_store.join(format!(".state/sessions/{ID}/proj.ledger"));
    let text = fs::read_to_string(&ledger).unwrap();
    fs::write(&ledger, text.replacen("bytes", "bites", 1)).unwrap();
    seen.push(found(&scene, 0));
    insta::assert_snapshot!(seen.join("\n"), @r"
    ! damaged-copy ~/.claude-backup/proj/aaaaaaaa-0000-4000-8000-000000000001.jsonl: damaged: 20 bytes are there of 485 recorded [layer3 verify --repair]
    ! damaged-copy ~/.claude-backup/proj/aaaaaaaa-0000-4000-8000-000000000001.jsonl: damaged: its beginning or its end is not what was recorded [layer3 verify --repair]
    ! damaged-copy ~/.claude-backup/proj/aaaaaaaa-0000-4000-8000-000000000001.jsonl: missing: 485 bytes were recorded; the file is not there [layer3 verify --repair]
    ! damaged-copy ~/.claude-backup-sessions/proj/aaaaaaaa-0000-4000-8000-000000000001.jsonl: bookkeeping-lost: the ledger has a damaged line; what it says is to be proven again [layer1 verify --repair]
    ! damaged-copy ~/.claude-backup-sessions/proj/aaaaaaaa-0000-4000-8000-000000000001.jsonl: bookkeeping-lost: no commit is recorded of this session [layer1 verify --repair]
      not-saved ~/.claude/projects/-home-dev-proj/aaaaaaaa-0000-4000-8000-000000000001.jsonl: the first copy is out of date (changed a few seconds ago) [layer1 sweep && layer3 import]
    ");
}

#[test]
fn stores_of_any_kind_of_garbage_are_findings() {
    let scene = saved();
    let marker = scene.places.layer1_store.join(".state/store.json");
    fs::write(&marker, "garbage").unwrap();
    let mut seen = vec![found(&scene, 0)];
    fs::write(&marker, "{\"format\": 99, \"store_id\": \"x\"}").unwrap();
    seen.push(found(&scene, 0));
    let other = Scene::new();
    install(&other, &events(), json!({}));
    for place in [&other.places.layer1_store, &other.places.layer3_store, &other.places.projects()] {
        other.write(place, "a file");
    }
    seen.push(found(&other, 0));
    insta::assert_snapshot!(seen.join("\n"), @r"
    ! store-unreadable ~/.claude-backup-sessions: 1 session without bookkeeping: the bookkeeping is lost, or the first version wrote them; the next save takes them over as they are [layer1 sweep]
      not-saved ~/.claude/projects/-home-dev-proj/aaaaaaaa-0000-4000-8000-000000000001.jsonl: the first copy is out of date (changed a few seconds ago) [layer1 sweep && layer3 import]
    ! store-unreadable ~/.claude-backup-sessions: failed to use ~/.claude-backup-sessions/.state/store.json: its format 99 is newer than this program; update Threefold [layer1 verify]
      not-saved ~/.claude/projects/-home-dev-proj/aaaaaaaa-0000-4000-8000-000000000001.jsonl: the first copy is out of date (changed a few seconds ago) [layer1 sweep && layer3 import]
    ! store-unreadable ~/.claude-backup-sessions: failed to open directory ~/.claude-backup-sessions: Not a directory (os error 20) [layer1 verify]
    ! store-unreadable ~/.claude-backup: failed to open directory ~/.claude-backup: Not a directory (os error 20) [layer3 verify]
    ! unreadable-job ~/.claude-backup-sessions/.outbox: failed to read the outbox: Not a directory (os error 20) [–]
    ! sources-unreadable ~/.claude/projects: cannot read it: Not a directory (os error 20) [–]
    ");
}

#[test]
fn jobs_of_layer2_are_read_as_files() {
    let scene = saved();
    let job = |name: &str, job: &str| scene.write(&scene.places.outbox().join(name), job);
    let now = u64::try_from(time::now_ms()).unwrap();
    job("a@p.json", &json!({ "format": 1, "session_id": "a", "project": "p", "created_ms": now - 2 * DAY_MS, "attempts": 4, "last_error": "the server did not answer", "failed": null }).to_string());
    job(
        "b@p.json",
        &json!({ "session_id": "b", "created_ms": now, "last_error": "refused", "failed": { "reason": "r" } })
            .to_string(),
    );
    job("c@p.json", "{\"session_id\": 7, \"created_ms\": \"x\"}");
    assert_eq!(status_after(&scene, 0).figures.outbox.jobs, 3);
    for (name, garbage) in
        [("d.json", "{"), ("e.json", "[]"), ("notes", "\u{1b}[31m"), (".tmp", "{"), ("deliver.lock", "")]
    {
        job(name, garbage);
    }
    layer1_prebackup::fs::platform::make_fifo(&scene.places.outbox().join("fifo.json"));
    let status = status_after(&scene, 0);
    let outbox = (status.figures.outbox.jobs, status.figures.outbox.failed, status.figures.outbox.unreadable);
    assert_eq!((outbox, status.figures.outbox.oldest_age_seconds.map(|age| age / 3600)), ((3, 1, 3), Some(48)));
    insta::assert_snapshot!(found(&scene, 0), @r"
    ! not-ours ~/.claude-backup-sessions/.outbox/fifo.json: a FIFO stands in the place of a file or folder of Threefold's, which cannot be used until it is moved [layer3 verify --repair]
    ! stuck-job ~/.claude-backup-sessions/.outbox/a@p.json: waits for 2 days: the server did not answer [layer2 drain --foreground]
    ! failed-job ~/.claude-backup-sessions/.outbox/b@p.json: set aside as failed: refused [layer2 drain --foreground --retry-failed]
    ! unreadable-job ~/.claude-backup-sessions/.outbox/d.json: not a job: EOF while parsing an object at line 1 column 1 [layer2 dismiss d.json]
    ! unreadable-job ~/.claude-backup-sessions/.outbox/e.json: not a job: no JSON object [layer2 dismiss e.json]
    ! unreadable-job ~/.claude-backup-sessions/.outbox/notes: not a job: expected value at line 1 column 1 [layer2 dismiss notes]
    ");
}

#[test]
fn a_second_copy_that_is_still_owed_is_not_called_saved() {
    let scene = saved();
    assert!(text(&scene, &status_after(&scene, 0)).starts_with("✓ Everything is saved"));
    let job = json!({ "format": 1, "session_id": ID, "created_ms": u64::try_from(time::now_ms()).unwrap() });
    scene.write(&scene.places.outbox().join("a@p.json"), &job.to_string());
    let told = text(&scene, &status_after(&scene, 0));
    assert!(told.starts_with("– 1 conversation is waiting for the next save."), "{told}");
}

#[test]
fn issue_78392_absent_hooks_need_a_person() {
    let scene = saved();
    let settings = scene.places.claude_dir.join("settings.json");
    let mut seen = Vec::new();
    for text in [
        "",
        "{}",
        "{\"hooks\": {\"Stop\": \"?\", \"SessionEnd\": [{\"hooks\": [{\"command\": \"echo layer1-prebackup\"}]}]}}",
        "{ \"hooks\"",
        "[\u{fffd}",
    ] {
        fs::write(&settings, text).unwrap();
        seen.push(found(&scene, 0));
    }
    install(&scene, &events()[..6], json!({}));
    seen.push(found(&scene, 0));
    install(&scene, &events(), json!({ "disableAllHooks": true }));
    seen.push(found(&scene, 0));
    install(&scene, &events(), json!({}));
    fs::write(&settings, fs::read_to_string(&settings).unwrap().replace("my hooks", "old hooks")).unwrap();
    seen.push(found(&scene, 0));
    insta::assert_snapshot!(seen.join("\n"), @r#"
    ! hooks-missing ~/.claude/settings.json: it holds no hook of Threefold, so nothing is saved automatically [cargo xtask install]
    ! hooks-missing ~/.claude/settings.json: it holds no hook of Threefold, so nothing is saved automatically [cargo xtask install]
    ! hooks-missing ~/.claude/settings.json: it holds no hook of Threefold, so nothing is saved automatically [cargo xtask install]
    ! settings-unreadable ~/.claude/settings.json: it is not JSON, and Claude Code ignores it: EOF while parsing an object at line 1 column 9 [–]
    ! settings-unreadable ~/.claude/settings.json: it is not JSON, and Claude Code ignores it: expected value at line 1 column 2 [–]
    ! hooks-incomplete ~/.claude/settings.json: no hook of Threefold on SessionEnd [cargo xtask install]
    ! hooks-disabled ~/.claude/settings.json: "disableAllHooks" is true: Claude Code runs no hook; take it out [–]
    ! hook-program-missing ~/.claude/old hooks/layer1-prebackup: a hook runs this program, and it is not there or not executable [cargo xtask install]
    "#);
}

#[test]
fn hooks_that_name_the_home_directory_as_a_shell_reads_it_are_ours() {
    let scene = saved();
    let with_program = |program: &str| {
        let hooks = events().map(|event| {
            let command = format!("{program} --quiet || :");
            (event.to_owned(), json!([{ "hooks": [{ "type": "command", "command": command }] }]))
        });
        let settings = json!({ "hooks": serde_json::Map::from_iter(hooks) });
        scene.write(&scene.places.claude_dir.join("settings.json"), &settings.to_string());
        found(&scene, 0)
    };
    for program in [
        "~/.claude/my\\ hooks/layer1-prebackup",
        "~/'.claude/my hooks/layer1-prebackup'",
        "$HOME/.claude/my\\ hooks/layer1-prebackup",
        "${HOME}/'.claude/my hooks'/layer1-prebackup",
        "\"$HOME/.claude/my hooks/layer1-prebackup\"",
        "\"${HOME}/.claude/my hooks\"/layer1-prebackup",
        "\"$CLAUDE_PROJECT_DIR\"/.claude/hooks/layer1-prebackup",
    ] {
        assert_eq!(with_program(program), "", "{program}");
    }
    insta::assert_snapshot!(with_program("\"$HOME\"/gone/layer1-prebackup"), @"! hook-program-missing ~/gone/layer1-prebackup: a hook runs this program, and it is not there or not executable [cargo xtask install]");
    // Between single quotes it is no home directory: the shell finds nothing there.
    insta::assert_snapshot!(with_program("'$HOME/.claude/my hooks/layer1-prebackup'"), @"! hook-program-missing $HOME/.claude/my hooks/layer1-prebackup: a hook runs this program, and it is not there or not executable [cargo xtask install]");
}

#[test]
fn issue_87912_turns_without_a_transcript_are_named() {
    let scene = saved();
    let journal = |id: &str| scene.places.layer1_store.join(format!("proj/{id}.events.jsonl"));
    scene.write(&journal("cccccccc-0000-4000-8000-000000000001"), "{}\n");
    // This one's transcript came after all.
    scene.write(&journal(ID), "{}\n");
    insta::assert_snapshot!(found(&scene, HOUR_MS), @"! no-transcript ~/.claude-backup-sessions/proj/cccccccc-0000-4000-8000-000000000001.events.jsonl: turns were seen 1 hour ago, but Claude Code wrote no transcript; this is what is left [–]");
    assert!(status_after(&scene, 3 * DAY_MS).needing() == 0, "{}", found(&scene, 3 * DAY_MS));
}

#[test]
fn an_index_that_cannot_be_used_and_files_set_aside_are_told() {
    let scene = saved();
    fs::write(&scene.places.index, "no database").unwrap();
    scene.write(&scene.places.layer3_store.join(".state/damaged/proj/x.jsonl"), "x");
    let status = status_after(&scene, 0);
    assert_eq!((status.needing() == 0, status.figures.index.state), (true, "unusable"));
    let kinds: Vec<&str> = status.findings.iter().map(|finding| finding.kind.word()).collect();
    assert_eq!(kinds, ["set-aside", "index"]);
}

#[test]
fn a_look_changes_nothing() {
    let scene = saved();
    save_more(&scene, 2);
    let before = tree(&scene.places.home);
    for later in [0, 2 * DAY_MS, 40 * DAY_MS] {
        status_after(&scene, later);
    }
    let after = tree(&scene.places.home);
    let changed: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).map(|(a, b)| (&a.0, &b.0)).collect();
    assert!(changed.is_empty() && before.len() == after.len(), "{changed:?}");
}

/// The content and the time of a file.
type FileSeen = (Vec<u8>, std::time::SystemTime);

/// Every entry, with the content and the time of a file. Not a folder's time, nor the memory that
/// SQLite shares through a file beside the index: reading needs it.
fn tree(root: &Path) -> Vec<(PathBuf, Option<FileSeen>)> {
    let (mut entries, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("sessions.db-shm") {
                continue;
            }
            let file =
                (!path.is_dir()).then(|| (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap()));
            folders.extend(file.is_none().then(|| path.clone()));
            entries.push((path, file));
        }
    }
    entries.sort();
    entries
}

/// What hooks that do not run look like: at ten past, of a turn a few minutes ago.
fn silent(scene: &Scene) -> String {
    let at = |minute: u64| 1_795_341_600_000 + minute * 60_000;
    let set = |path: &Path, minute: u64| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(at(minute));
        File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
    };
    set(&scene.places.claude_dir.join("my hooks/layer1-prebackup"), 0);
    set(&scene.transcript(), 5);
    let status = status_at(scene, at(10), None);
    let silent = status.findings.iter().filter(|finding| finding.kind.word() == "hooks-silent");
    let said = silent.map(|finding| format!("{} [{}]", finding.what, finding.mend.as_deref().unwrap_or("–")));
    scene.filtered(&said.collect::<Vec<_>>().join("\n"))
}

#[test]
fn hooks_that_do_not_run_are_noticed_and_the_cause_where_it_can_be_found() {
    let scene = || {
        let scene = Scene::new();
        install(&scene, &events(), json!({}));
        scene.transcribe(&[prompt(60, "a turn"), answer(61, "that no hook saw")]);
        scene
    };
    let command =
        "<command-name>/fix</command-name>\n<command-message>fix</command-message>\n<command-args>do it</command-args>";
    for act in [command, "<bash-input>make</bash-input>"] {
        let of_commands = scene();
        of_commands.transcribe(&[prompt(60, act), answer(61, "done")]);
        assert!(silent(&of_commands).starts_with("1 conversation went on"), "{act}: {}", silent(&of_commands));
        // Nobody answered it: no turn ended.
        of_commands.transcribe(&[prompt(60, act)]);
        assert_eq!(silent(&of_commands), "", "{act}");
    }
    let first = scene();
    insta::assert_snapshot!(silent(&first), @"1 conversation went on, and no hook of Threefold ran: the cause was not found [layer3 doctor]");
    let trust = |accepted: bool| json!({"projects": {"/home/dev": {"hasTrustDialogAccepted": accepted}}}).to_string();
    first.write(&first.places.home.join(".claude.json"), &trust(false));
    assert!(
        silent(&first).contains(
            "was never told to trust /home/dev/proj; start it there and say yes [cd /home/dev/proj && claude]"
        ),
        "{}",
        silent(&first)
    );
    first.write(&first.places.home.join(".claude.json"), &trust(true));
    assert!(silent(&first).contains("not found"), "one above it is trusted: {}", silent(&first));
    first.write(&first.places.home.join("managed/managed-settings.json"), r#"{"allowManagedHooksOnly":true}"#);
    assert!(silent(&first).contains("\"allowManagedHooksOnly\" is true in "), "{}", silent(&first));

    let log = |scene: &Scene, line: &str| scene.write(&scene.places.layer1_store.join(".log/layer1.log"), line);
    for (what, line, is_told) in [
        ("its hook ran", format!("2026-11-22T10:01:02.000Z saved proj/{ID}: 9 bytes, 9 new, stop\n"), false),
        (
            "a hook ran before the turn",
            format!("2026-11-22T10:00:30.000Z saved proj/{ID}: 9 bytes, 9 new, stop\n"),
            true,
        ),
        ("another session's ran", "2026-11-22T10:01:02.000Z saved proj/other: 9 bytes, 9 new, stop\n".to_owned(), true),
        (
            "only a sweep ran",
            "2026-11-22T10:01:02.000Z sweep: 1 of 1 transcripts copied, 9 new bytes\n".to_owned(),
            true,
        ),
    ] {
        let scene = scene();
        log(&scene, &line);
        assert_eq!(!silent(&scene).is_empty(), is_told, "{what}");
    }
    let call = r#"{"type":"tool_use","id":"t","name":"Bash","input":{}}"#;
    let calling = answer(61, "words").replace(r#"{"text":"words","type":"text"}"#, call);
    assert!(calling.contains(call));
    for unfinished in [&[prompt(60, "killed before it was answered")][..], &[prompt(60, "in the middle"), calling]] {
        let scene = scene();
        scene.transcribe(unfinished);
        assert_eq!(silent(&scene), "", "{unfinished:?}");
    }
    // Nothing of it went on since the hooks are there.
    let before = scene();
    before.transcribe(&[prompt(0, "a turn"), answer(1, "before that")]);
    assert_eq!(silent(&before), "");
    // A directory without hooks of its own, as an application of the Agent SDK has it, is swept.
    let mut swept = scene();
    let sdk = swept.places.home.join(".claude-sdk");
    let transcript = sdk.join("projects/-app/other.jsonl");
    swept.write(&transcript, &format!("{}\n{}\n", prompt(60, "a turn"), answer(61, "of an application")));
    let changed = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_795_341_600_000 + 5 * 60_000);
    File::options().append(true).open(&transcript).unwrap().set_modified(changed).unwrap();
    swept.transcribe(&[prompt(0, "a turn"), answer(1, "before that")]);
    swept.places.more_claude_dirs.push(sdk);
    assert_eq!(silent(&swept), "");
    // A second account's has settings of its own: without a hook in them, or with one that did not run.
    let mut second = scene();
    let dir = second.places.home.join("two");
    let transcript = dir.join("projects/-app/other.jsonl");
    second.write(&transcript, &format!("{}\n{}\n", prompt(60, "a turn"), answer(61, "of another account")));
    File::options().append(true).open(&transcript).unwrap().set_modified(changed).unwrap();
    second.transcribe(&[prompt(0, "a turn"), answer(1, "before that")]);
    second.places.more_claude_dirs.push(dir.clone());
    insta::assert_snapshot!(silent(&second), @"1 conversation went on, and no hook of Threefold ran: none stands in ~/two/settings.json, which has settings of its own [CLAUDE_CONFIG_DIR=~/two cargo xtask install]");
    let settings = fs::read_to_string(second.places.claude_dir.join("settings.json")).unwrap();
    second.write(&dir.join("settings.json"), &settings);
    insta::assert_snapshot!(silent(&second), @"1 conversation went on, and no hook of Threefold ran: the cause was not found [layer3 doctor]");
}

#[test]
fn a_plugin_whose_marketplace_is_gone_is_told() {
    let scene = Scene::new();
    let claude = &scene.places.claude_dir;
    let plugins = json!({"plugins": {"threefold@threefold": [{"scope": "user", "installPath": "/x"}]}});
    scene.write(&claude.join("plugins/installed_plugins.json"), &plugins.to_string());
    let market = scene.places.home.join("market");
    let known = json!({"threefold": {"source": {"source": "directory"}, "installLocation": market}});
    scene.write(&claude.join("plugins/known_marketplaces.json"), &known.to_string());
    let is_told = |enabled: bool| {
        scene.write(
            &claude.join("settings.json"),
            &json!({"enabledPlugins": {"threefold@threefold": enabled}}).to_string(),
        );
        found(&scene, 0).contains("plugin-gone")
    };
    assert!(is_told(true) && !is_told(false));
    fs::create_dir_all(&market).unwrap();
    assert!(!is_told(true));
}

#[test]
fn the_session_that_asks_is_no_finding() {
    let scene = Scene::new();
    scene.transcribe(&[prompt(1, "how do things stand")]);
    let later = u64::try_from(time::now_ms()).unwrap() + 2 * DAY_MS;
    let told =
        |asking| status_at(&scene, later, asking).findings.iter().any(|finding| finding.kind.word() == "not-saved");
    assert!(told(None) && told(Some("another")) && !told(Some(ID)));
}
