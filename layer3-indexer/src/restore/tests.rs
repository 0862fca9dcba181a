//! Restoring: what is written back, and what is refused.

// A test plays the part of Claude Code, of a user and of a failing disk.
#![allow(clippy::disallowed_methods)]

use layer1_prebackup::archive::Archive;
use layer1_prebackup::config::exclude::Exclusions;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::ProjectName;

use super::missing::{Wanted, restore_missing};
use super::place::Cwd;
use super::*;
use crate::save::roots::RootKind;
use crate::scope::Scope;
use crate::stores::{Which, acknowledged, slug_of_source};
use crate::testing::{ID, RunningClaude, Scene, answer, prompt};
use std::path::Path;

fn saved() -> Scene {
    let scene = Scene::new();
    scene.transcribe(&[prompt(1, "hello"), answer(2, "hi")]);
    scene.write(&scene.transcript().with_extension("").join("subagents/agent-1.jsonl"), &answer(3, "sub"));
    scene.receipt(None);
    scene
}

/// The restore as text: what it did, or why not.
fn restore(scene: &Scene) -> String {
    restore_with(scene, &Options::default())
}

fn restore_with(scene: &Scene, options: &Options) -> String {
    let text = match plan(&scene.places, ID, options).and_then(|plan| plan.carry_out(&scene.places)) {
        Ok(r) => format!(
            "{}: {} written, {} in place\n{}\n{}",
            r.path,
            r.files_written,
            r.files_in_place,
            r.command.unwrap_or_default(),
            r.notes.iter().chain(&r.problems).cloned().collect::<Vec<_>>().join("\n")
        ),
        Err(error) => error.to_string(),
    };
    scene.filtered(text.trim_end()).replace(ID, "ID")
}

#[test]
fn what_was_deleted_comes_back_with_the_time_of_now_and_only_for_the_user() {
    use std::os::unix::fs::PermissionsExt;
    let scene = saved();
    let content = std::fs::read(scene.transcript()).unwrap();
    insta::assert_snapshot!(restore(&scene), @r#"
        ~/.claude/projects/-home-dev-proj/ID.jsonl: 0 written, 2 in place
        cd /home/dev/proj && claude --resume ID
        "#);
    scene.remove_sources();
    let before = std::time::SystemTime::now() - std::time::Duration::from_secs(2);
    insta::assert_snapshot!(restore(&scene), @r#"
        ~/.claude/projects/-home-dev-proj/ID.jsonl: 2 written, 0 in place
        cd /home/dev/proj && claude --resume ID
        "#);
    let meta = std::fs::metadata(scene.transcript()).unwrap();
    assert_eq!(std::fs::read(scene.transcript()).unwrap(), content);
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert!(meta.modified().unwrap() >= before);
}

#[test]
fn a_file_that_differs_is_not_touched() {
    let scene = saved();
    scene.transcribe(&[prompt(1, "something else")]);
    insta::assert_snapshot!(restore(&scene), @"restore session ID: a different file stands at ~/.claude/projects/-home-dev-proj/ID.jsonl (217 bytes there, 448 stored); it is not touched: move it away, or let --force save and replace it");
    scene.remove_sources();
    std::fs::create_dir_all(scene.transcript()).unwrap();
    insta::assert_snapshot!(restore(&scene), @"restore session ID: ~/.claude/projects/-home-dev-proj/ID.jsonl is there and is not a regular file");
    scene.remove_sources();
    scene.write(&scene.transcript().with_extension("").join("subagents/agent-1.jsonl"), "other");
    insta::assert_snapshot!(restore(&scene), @"restore session ID: a different file stands at ~/.claude/projects/-home-dev-proj/ID/subagents/agent-1.jsonl (5 bytes there, 241 stored); it is not touched: move it away, or let --force save and replace it");
    assert!(!scene.transcript().exists());
}

#[test]
fn no_second_file_of_an_id_under_another_slug() {
    let scene = saved();
    let content = std::fs::read_to_string(scene.transcript()).unwrap();
    scene.remove_sources();
    let moved = scene.transcript_in("-moved", ID);
    scene.write(&moved, &content);
    insta::assert_snapshot!(restore(&scene), @r#"
        ~/.claude/projects/-moved/ID.jsonl: 1 written, 1 in place
        cd /home/dev/proj && claude --resume ID
        "#);
    scene.write(&moved, &(content + "more\n"));
    insta::assert_snapshot!(restore(&scene), @"restore session ID: a different file stands at ~/.claude/projects/-moved/ID.jsonl (453 bytes there, 448 stored); it is not touched: move it away, or let --force save and replace it");
    assert!(!scene.transcript().exists());
}

#[test]
fn a_live_session_is_not_restored() {
    let scene = saved();
    scene.remove_sources();
    let claude = RunningClaude::start();
    let pid = claude.pid();
    let live = scene.places.claude_dir.join(format!("sessions/{pid}.json"));
    scene.write(&live, &format!(r#"{{"pid":{pid},"sessionId":"{ID}"}}"#));
    insta::assert_snapshot!(restore(&scene).replace(&pid.to_string(), "PID"), @"restore session ID: it is live in process PID; end that Claude Code first, or let `restore --force` restore it all the same");
    assert!(!scene.transcript().exists());
    let forced = Options { force: true, ..Options::default() };
    let said = restore_with(&scene, &forced).replace(&pid.to_string(), "PID");
    assert!(said.contains("live in process PID and restored all the same"), "{said}");
    assert!(scene.transcript().exists());
}

#[test]
fn a_damaged_copy_is_replaced_by_layer_1s_and_a_shorter_one_too() {
    let scene = saved();
    scene.layer1_copies();
    scene.remove_sources();
    let mut bytes = std::fs::read(scene.copy()).unwrap();
    bytes[20] ^= 1;
    std::fs::write(scene.copy(), &bytes).unwrap();
    insta::assert_snapshot!(restore(&scene), @r#"
        ~/.claude/projects/-home-dev-proj/ID.jsonl: 2 written, 0 in place
        cd /home/dev/proj && claude --resume ID
        layer 3's copy ~/.claude-backup/proj/ID.jsonl is damaged; layer 1's is used: ~/.claude-backup-sessions/proj/ID.jsonl
        "#);
    bytes[20] ^= 1;
    assert_eq!(std::fs::read(scene.transcript()).unwrap(), bytes);

    let scene = saved();
    scene.transcribe(&[prompt(1, "hello"), answer(2, "hi"), prompt(3, "killed before it was delivered")]);
    scene.layer1_copies();
    scene.remove_sources();
    insta::assert_snapshot!(restore(&scene), @r#"
        ~/.claude/projects/-home-dev-proj/ID.jsonl: 2 written, 0 in place
        cd /home/dev/proj && claude --resume ID
        ID.jsonl: layer 1 is ahead of layer 3, its copy is used
        "#);
    assert_eq!(std::fs::read_to_string(scene.transcript()).unwrap().lines().count(), 3);
}

#[test]
fn a_transcript_that_is_damaged_everywhere_is_refused_and_a_side_file_left_out() {
    let scene = saved();
    scene.remove_sources();
    let side = scene.copy().with_extension("").join("subagents/agent-1.jsonl");
    std::fs::write(&side, "damaged").unwrap();
    insta::assert_snapshot!(restore(&scene), @r#"
        ~/.claude/projects/-home-dev-proj/ID.jsonl: 1 written, 0 in place
        cd /home/dev/proj && claude --resume ID
        layer 3's copy ~/.claude-backup/proj/ID/subagents/agent-1.jsonl is damaged (it is too short), layer 1 has no copy; it was left out
        "#);
    scene.remove_sources();
    std::fs::write(scene.copy(), "damaged").unwrap();
    insta::assert_snapshot!(restore(&scene), @"restore session ID: layer 3's copy ~/.claude-backup/proj/ID.jsonl is damaged (it is too short), layer 1 has no copy; `layer3-indexer verify ID` tells more");
    assert!(!scene.transcript().exists());
}

#[test]
fn without_a_recorded_source_the_slug_comes_from_the_working_directory() {
    assert_eq!(slug_of_source(Path::new("/h/.claude/projects/-p/a.jsonl")).as_deref(), Some("-p"));
    assert_eq!(slug_of_source(Path::new("/h/.claude-backup-sessions/p/a.jsonl")), None);
}

/// A session with a stub as its newest content and the whole conversation as an older one.
fn rewritten() -> Scene {
    let scene = saved();
    scene.transcribe(&[prompt(9, "stub")]);
    scene.receipt(None);
    scene
}

#[test]
fn an_older_or_the_longest_content_is_restored_on_demand() {
    for content in [Which::Generation(1), Which::Longest] {
        let scene = rewritten();
        scene.remove_sources();
        restore_with(&scene, &Options { content, ..Options::default() });
        assert_eq!(std::fs::read_to_string(scene.transcript()).unwrap().lines().count(), 2, "{content:?}");
    }
    let scene = rewritten();
    let absent = Options { content: Which::Generation(7), ..Options::default() };
    insta::assert_snapshot!(restore_with(&scene, &absent), @"restore session ID: there is no generation 7 of it; 0 (207 B), 1 (448 B) are stored");
}

#[test]
fn force_saves_what_stands_there_before_it_is_replaced() {
    let scene = rewritten();
    let standing = prompt(10, "written since, and nowhere else");
    scene.transcribe(std::slice::from_ref(&standing));
    let options = Options { content: Which::Generation(1), force: true, ..Options::default() };
    insta::assert_snapshot!(restore_with(&scene, &options), @r#"
        ~/.claude/projects/-home-dev-proj/ID.jsonl: 1 written, 1 in place
        cd /home/dev/proj && claude --resume ID
        "#);
    assert_eq!(std::fs::read_to_string(scene.transcript()).unwrap().lines().count(), 2);
    let saved = scene.copies().transcript(3).and_then(|name| scene.copies().get(&name)).unwrap();
    assert_eq!(std::fs::read_to_string(saved.at.path).unwrap(), standing);
    // A side file that is gone as well has nothing to be saved before.
    std::fs::remove_file(scene.transcript().with_extension("").join("subagents/agent-1.jsonl")).unwrap();
    scene.transcribe(&[prompt(11, "once more")]);
    assert!(restore_with(&scene, &options).contains("2 written, 0 in place"));
}

#[test]
fn what_was_restored_counts_as_saved_in_both_stores() {
    let longest = || Options { content: Which::Longest, force: true, ..Options::default() };
    let moved = || Options { cwd: Some("/srv/elsewhere".to_owned()), ..Options::default() };
    type Case<'a> = (&'a str, &'a dyn Fn(&Scene), Options);
    let cases: [Case<'_>; 4] = [
        ("all of it", &|scene| scene.remove_sources(), Options::default()),
        ("in another place", &|scene| scene.remove_sources(), moved()),
        ("an older content over a stub", &|_| {}, longest()),
        ("what stood there with an old time", &|scene| scene.age_sources(), Options::default()),
    ];
    for (what, lose, options) in cases {
        let scene = saved();
        scene.layer1_copies();
        if options.force {
            scene.transcribe(&[prompt(9, "stub")]);
            scene.layer1_copies();
        }
        scene.receipt(None);
        lose(&scene);
        let restored = plan(&scene.places, ID, &options).and_then(|plan| plan.carry_out(&scene.places)).unwrap();
        assert_eq!(restored.notes, [""; 0], "{what}");
        let path = Path::new(&restored.path);
        for store in [&scene.places.layer1_store, &scene.places.layer3_store] {
            let archive = Archive::open(store).unwrap().unwrap();
            let key = archive.find(&scene.id()).unwrap().remove(0);
            assert!(!archive.is_behind(&scene.id(), path).unwrap(), "{what}: {}", store.display());
            let newest = archive.files(&key).unwrap().into_iter().find(|file| file.name.generation == 0).unwrap();
            assert_eq!(newest.bytes, restored.bytes, "{what}: {}", store.display());
        }
    }
}

#[test]
fn another_home_on_the_same_machine_gets_what_it_lacks() {
    let scene = saved();
    scene.layer1_copies();
    let second = Scene::new();
    let places = Places {
        layer1_store: scene.places.layer1_store.clone(),
        layer3_store: scene.places.layer3_store.clone(),
        index: scene.places.index.clone(),
        ..second.places.clone()
    };
    let summary = restore_missing(&places, &Wanted::default(), &|_, _| {}).unwrap();
    assert_eq!((summary.restored.len(), summary.in_place), (1, 0), "{summary:?}");
    let path = second.transcript();
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(scene.transcript()).unwrap());
    let summary = restore_missing(&places, &Wanted::default(), &|_, _| {}).unwrap();
    assert_eq!((summary.restored.len(), summary.in_place), (0, 1), "{summary:?}");
    // Both count as saved; the first home's next sweep looks at its own once more.
    scene.layer1_copies();
    scene.receipt(None);
    for store in [&places.layer1_store, &places.layer3_store] {
        let archive = Archive::open(store).unwrap().unwrap();
        assert!(!archive.is_behind(&scene.id(), &path).unwrap(), "{}", store.display());
        assert!(!archive.is_behind(&scene.id(), &scene.transcript()).unwrap(), "{}", store.display());
    }
}

#[test]
fn a_restore_makes_no_store_and_saves_nothing_that_is_excluded() {
    let mut scene = saved();
    scene.remove_sources();
    restore(&scene);
    assert!(!scene.places.layer1_store.exists());
    scene.remove_sources();
    scene.places.policy.exclude = Exclusions::new(&["proj".to_owned()], &scene.places.home);
    restore(&scene);
    let archive = Archive::open(&scene.places.layer3_store).unwrap().unwrap();
    assert!(archive.is_behind(&scene.id(), &scene.transcript()).unwrap(), "it was not saved");
}

#[test]
fn a_dry_run_and_another_directory_leave_claude_codes_alone() {
    let scene = saved();
    scene.remove_sources();
    let dry = plan(&scene.places, ID, &Options::default()).unwrap().dry_run();
    assert_eq!((dry.files_written, scene.places.projects().exists()), (2, false));
    let to = scene.places.home.join("out");
    insta::assert_snapshot!(restore_with(&scene, &Options { to: Some(to), ..Options::default() }), @"~/out/ID.jsonl: 2 written, 0 in place");
    assert!(!scene.places.projects().exists());
}

#[test]
fn a_moved_project_gets_the_session_under_its_new_folder() {
    let scene = saved();
    let options = Options { cwd: Some("/srv/new place".to_owned()), ..Options::default() };
    insta::assert_snapshot!(restore_with(&scene, &options), @"restore session ID: ~/.claude/projects/-home-dev-proj/ID.jsonl is there already, and Claude Code would find none of two; `layer3-indexer resume ID --cwd DIR` goes on with it as it is, or move it away first");
    scene.remove_sources();
    insta::assert_snapshot!(restore_with(&scene, &options), @r#"
        ~/.claude/projects/-srv-new-place/ID.jsonl: 2 written, 0 in place
        cd '/srv/new place' && claude --resume ID
        "#);
}

#[test]
fn what_layer_1_saw_last_is_the_newest_also_where_it_begins_a_generation() {
    let scene = saved();
    scene.layer1_copies();
    let stub = prompt(9, "rewritten, and not delivered");
    scene.transcribe(std::slice::from_ref(&stub));
    scene.layer1_copies();
    scene.remove_sources();
    insta::assert_snapshot!(restore(&scene), @r#"
        ~/.claude/projects/-home-dev-proj/ID.jsonl: 2 written, 0 in place
        cd /home/dev/proj && claude --resume ID
        ID.jsonl: layer 1 is ahead of layer 3, its copy is used
        `layer3-indexer restore ID --longest` restores all of it: it lost 2 messages that version 1 has (231 B now, 448 B then)
        "#);
    assert_eq!(std::fs::read_to_string(scene.transcript()).unwrap(), stub);
}

#[test]
fn a_transcript_that_was_emptied_comes_back_as_it_was_before() {
    let scene = saved();
    let whole = std::fs::read(scene.transcript()).unwrap();
    scene.layer1_copies();
    scene.transcribe(&[]);
    scene.layer1_copies();
    scene.receipt(None);
    scene.remove_sources();
    insta::assert_snapshot!(restore(&scene), @r#"
        ~/.claude/projects/-home-dev-proj/ID.jsonl: 2 written, 0 in place
        cd /home/dev/proj && claude --resume ID
        ID.jsonl was empty at last; ID.gen-0001.jsonl is used, the content before that
        "#);
    assert_eq!(std::fs::read(scene.transcript()).unwrap(), whole);
}

#[test]
fn bookkeeping_that_was_lost_does_not_bless_a_flipped_bit() {
    let scene = saved();
    let whole = std::fs::read(scene.transcript()).unwrap();
    scene.layer1_copies();
    scene.remove_sources();
    std::fs::remove_dir_all(scene.places.layer3_store.join(".state")).unwrap();
    let mut bytes = std::fs::read(scene.copy_without_bookkeeping()).unwrap();
    bytes[20] ^= 1;
    std::fs::write(scene.copy_without_bookkeeping(), bytes).unwrap();
    insta::assert_snapshot!(restore(&scene), @r#"
        ~/.claude/projects/-home-dev-proj/ID.jsonl: 2 written, 0 in place
        cd /home/dev/proj && claude --resume ID
        layer 3's bookkeeping of ~/.claude-backup/proj/ID.jsonl was lost and its bytes differ from layer 1's, which are proven and used
        "#);
    assert_eq!(std::fs::read(scene.transcript()).unwrap(), whole);
}

#[test]
fn a_store_that_cannot_be_read_does_not_keep_the_other_from_serving() {
    for broken in ["layer 1", "layer 3"] {
        let scene = saved();
        scene.layer1_copies();
        scene.remove_sources();
        let store = if broken == "layer 1" { &scene.places.layer1_store } else { &scene.places.layer3_store };
        std::fs::write(store.join(".state/store.json"), r#"{"format": 99, "store_id": "x"}"#).unwrap();
        let text = restore(&scene);
        assert!(text.contains("2 written") && text.contains(&format!("{broken}'s store cannot be used")), "{text}");
    }
}

#[test]
fn a_side_file_that_has_grown_is_left_as_it_is() {
    let scene = saved();
    let side = scene.transcript().with_extension("").join("subagents/agent-1.jsonl");
    let grown = std::fs::read_to_string(&side).unwrap() + "more\n";
    scene.remove_sources();
    scene.write(&side, &grown);
    insta::assert_snapshot!(restore(&scene), @r#"
        ~/.claude/projects/-home-dev-proj/ID.jsonl: 1 written, 1 in place
        cd /home/dev/proj && claude --resume ID
        ~/.claude/projects/-home-dev-proj/ID/subagents/agent-1.jsonl has 5 bytes more than its copy and is left as it is
        "#);
    assert_eq!(std::fs::read_to_string(&side).unwrap(), grown);
}

#[test]
fn of_two_sessions_of_one_id_the_later_one_comes_back_and_the_other_is_named() {
    let scene = Scene::new();
    let one = scene.transcript_in("-home-dev-one", ID);
    let two = scene.transcript_in("-home-dev-two", ID);
    for (path, folder) in [(&one, "dev/one"), (&two, "dev/two")] {
        scene.write(path, &prompt(1, folder).replace("dev/proj", folder));
        scene.save_as(path, RootKind::Claude, None, None).unwrap();
    }
    scene.remove_sources();
    let summary = restore_missing(&scene.places, &Wanted::default(), &|_, _| {}).unwrap();
    let restored: Vec<&str> = summary.restored.iter().map(|restored| restored.project.as_str()).collect();
    assert_eq!((restored, one.exists(), two.exists()), (vec!["two"], false, true));
    assert_eq!(summary.refused.len(), 1);
    insta::assert_snapshot!(scene.filtered(&summary.refused[0].error).replace(ID, "ID"), @"restore session ID of project one: another session of this id stands at ~/.claude/projects/-home-dev-two/ID.jsonl; `layer3-indexer restore one/ID --to DIR` puts this one elsewhere");
    assert!(!one.exists());
    let name = ProjectName::parse("two").unwrap();
    let only = Wanted { scope: Scope { project: Some(name.to_string()), ..Scope::default() }, ..Wanted::default() };
    assert_eq!(restore_missing(&scene.places, &only, &|_, _| {}).unwrap().in_place, 1);
}

#[test]
fn directories_that_moved_are_mapped_whole_and_the_nearest_first() {
    let moved = ["/home/ann=/Users/ann", "/home/ann/src/=/w", r"C:\Users\ann=/home/ann", "/=/mnt/old"];
    let moved: Vec<Moved> = moved.iter().filter_map(|text| Moved::parse(text)).collect();
    let check = |cwd: &str, expected: Option<&str>| {
        let options = Options { moved: moved.clone(), ..Options::default() };
        let cwd = Cwd::of(Some(cwd.to_owned()), &options);
        assert_eq!((cwd.now.as_deref(), cwd.is_moved), (expected, expected.is_some() && cwd.now != cwd.recorded));
    };
    check("/home/ann/proj", Some("/Users/ann/proj"));
    check("/home/ann", Some("/Users/ann"));
    check("/home/ann/src/a b", Some("/w/a b"));
    check("/home/anna", Some("/home/anna"));
    check(r"C:\Users\ann\proj", Some("/home/ann/proj"));
    check(r"D:\proj", None);
    assert!(["", "=", "a", "=b", "a="].iter().all(|text| Moved::parse(text).is_none()));
}

#[test]
fn what_comes_in_between_stays_and_the_same_from_another_restore_is_right() {
    let scene = saved();
    let whole = std::fs::read_to_string(scene.transcript()).unwrap();
    let another = whole.replace("hello", "jello");
    for (standing, is_right) in [(&whole, true), (&another, false), (&format!("{whole}more\n"), false)] {
        scene.remove_sources();
        let plan = plan(&scene.places, ID, &Options::default()).unwrap();
        scene.write(&scene.transcript(), standing);
        let restored = plan.carry_out(&scene.places);
        assert_eq!(
            restored.map(|restored| (restored.files_written, restored.files_in_place)).ok(),
            is_right.then_some((1, 1))
        );
        assert_eq!(std::fs::read_to_string(scene.transcript()).unwrap(), *standing);
    }
}

#[test]
fn a_side_file_comes_back_under_a_name_as_long_as_it_may_be() {
    let scene = saved();
    let side = scene.transcript().with_extension("").join("tool-results").join("a".repeat(251) + ".txt");
    scene.write(&side, "output");
    scene.receipt(None);
    scene.remove_sources();
    insta::assert_snapshot!(restore(&scene), @r#"
        ~/.claude/projects/-home-dev-proj/ID.jsonl: 3 written, 0 in place
        cd /home/dev/proj && claude --resume ID
        "#);
    assert_eq!(std::fs::read_to_string(side).unwrap(), "output");
}

#[test]
fn a_side_file_that_cannot_be_written_stops_no_other_and_is_told() {
    let scene = saved();
    let folder = scene.transcript().with_extension("");
    for side in ["subagents/agent-2.jsonl", "a.txt", "z.txt"] {
        scene.write(&folder.join(side), "side");
    }
    scene.receipt(None);
    scene.remove_sources();
    let plan = plan(&scene.places, ID, &Options::default()).unwrap();
    scene.write(&folder.join("subagents"), "no folder");
    let restored = plan.carry_out(&scene.places).unwrap();
    assert_eq!((restored.files_written, restored.files_in_place), (3, 0));
    insta::assert_snapshot!(scene.filtered(&restored.problems.join("\n")).replace(ID, "ID"), @r#"
        subagents/agent-1.jsonl was left out: failed to open directory ~/.claude/projects/-home-dev-proj/ID/subagents: it is a file or a symlink where a directory belongs; move it away
        subagents/agent-2.jsonl was left out: failed to open directory ~/.claude/projects/-home-dev-proj/ID/subagents: it is a file or a symlink where a directory belongs; move it away
        "#);
    assert!(scene.transcript().exists() && folder.join("a.txt").exists() && folder.join("z.txt").exists());
}

#[test]
fn what_was_restored_is_recorded_under_the_path_that_it_resolves_to_and_with_its_reason() {
    let scene = saved();
    scene.remove_sources();
    let claude_dir = scene.places.home.join("link");
    std::os::unix::fs::symlink(&scene.places.claude_dir, &claude_dir).unwrap();
    let places = Places { claude_dir, ..scene.places.clone() };
    plan(&places, ID, &Options::default()).unwrap().carry_out(&places).unwrap();
    let archive = Archive::open(&places.layer3_store).unwrap().unwrap();
    let key = archive.find(&scene.id()).unwrap().remove(0);
    assert_eq!(archive.source_of(&key).unwrap(), Some(scene.transcript()));
    let log = std::fs::read_to_string(places.layer3_store.join(".log/layer3.log")).unwrap();
    assert!(log.trim_end().ends_with("- trigger: restore"), "{log}");
    scene.transcribe(&[prompt(5, "other")]);
    let forced = Options { force: true, ..Options::default() };
    plan(&scene.places, ID, &forced).unwrap().carry_out(&scene.places).unwrap();
    let log = std::fs::read_to_string(places.layer3_store.join(".log/layer3.log")).unwrap();
    assert_eq!(log.matches("- trigger: before-restore").count(), 1, "{log}");
}

/// Sessions of one id in the projects `one`, `two` and so on, saved in this order.
fn of_one_id(names: &[&str]) -> Scene {
    let scene = Scene::new();
    for name in names {
        let path = scene.transcript_in(&format!("-home-dev-{name}"), ID);
        scene.write(&path, &prompt(1, name).replace("dev/proj", &format!("dev/{name}")));
        scene.save_as(&path, RootKind::Claude, None, None).unwrap();
    }
    scene.remove_sources();
    scene
}

#[test]
fn of_many_sessions_of_one_id_the_last_one_comes_back_wherever_it_is_listed() {
    for last in ["one", "two", "three"] {
        let mut names = vec!["one", "two", "three"];
        names.retain(|name| *name != last);
        names.push(last);
        let scene = of_one_id(&names);
        let summary = restore_missing(&scene.places, &Wanted::default(), &|_, _| {}).unwrap();
        let restored: Vec<&str> = summary.restored.iter().map(|restored| restored.project.as_str()).collect();
        assert_eq!((restored, summary.refused.len()), (vec![last], 2));
    }
}

#[test]
fn what_was_restored_elsewhere_stays_in_its_own_folder_of_the_store() {
    let scene = of_one_id(&["one", "two"]);
    let moved = Options { cwd: Some("/srv/elsewhere".to_owned()), ..Options::default() };
    let before = scene.stored();
    plan(&scene.places, &format!("two/{ID}"), &moved).unwrap().carry_out(&scene.places).unwrap();
    assert_eq!(scene.stored(), before);
}

#[test]
fn nothing_is_replaced_that_could_not_be_saved_first() {
    let scene = saved();
    scene.layer1_copies();
    let side = scene.transcript().with_extension("").join("subagents/agent-1.jsonl");
    scene.write(&side, "written since");
    // Something that is no file stands where its copy is to go.
    let copy = scene.copy().with_extension("").join("subagents/agent-1.jsonl");
    std::fs::remove_file(&copy).unwrap();
    std::fs::create_dir(&copy).unwrap();
    let forced = Options { force: true, ..Options::default() };
    let said = restore_with(&scene, &forced);
    assert!(said.contains("what stands there could not be saved first: "), "{said}");
    assert_eq!(std::fs::read_to_string(&side).unwrap(), "written since");
}

#[test]
fn what_was_deleted_on_purpose_and_restored_is_told_when_it_is_gone_again() {
    let scene = saved();
    let gone = |scene: &Scene| {
        let layer3 = Archive::open(&scene.places.layer3_store).unwrap();
        acknowledged::Acknowledged::read(layer3.as_ref()).is_gone(&scene.copies())
    };
    scene.remove_sources();
    let layer3 = Archive::open(&scene.places.layer3_store).unwrap().unwrap();
    acknowledged::acknowledge(&layer3, [(&scene.copies(), acknowledged::Seen::Gone)]).unwrap();
    assert!(gone(&scene));
    restore(&scene);
    scene.remove_sources();
    assert!(!gone(&scene));
}

#[test]
fn force_replaces_a_side_file_that_has_grown_and_saves_it_before() {
    let scene = saved();
    let side = scene.transcript().with_extension("").join("subagents/agent-1.jsonl");
    let before = std::fs::read_to_string(&side).unwrap();
    scene.write(&side, &format!("{before}more\n"));
    let forced = Options { force: true, ..Options::default() };
    insta::assert_snapshot!(restore_with(&scene, &forced), @r#"
        ~/.claude/projects/-home-dev-proj/ID.jsonl: 1 written, 1 in place
        cd /home/dev/proj && claude --resume ID
        "#);
    assert_eq!(std::fs::read_to_string(&side).unwrap(), before);
    assert!(scene.stored().iter().any(|line| line.contains("agent-1.jsonl: 2 lines")), "{:?}", scene.stored());
}

#[test]
fn missing_side_files_come_back_and_all_that_stands_is_left_alone() {
    let grown = |scene: &Scene| {
        scene.write(&scene.transcript(), &format!("{}more\n", std::fs::read_to_string(scene.transcript()).unwrap()));
    };
    let another = |scene: &Scene| scene.transcribe(&[prompt(7, "another")]);
    type Change<'a> = &'a dyn Fn(&Scene);
    let changes: [Change<'_>; 3] = [&|_| {}, &grown, &another];
    for (at, change) in changes.into_iter().enumerate() {
        for force in [false, true] {
            let scene = saved();
            change(&scene);
            let standing = std::fs::read(scene.transcript()).unwrap();
            let side = scene.transcript().with_extension("").join("subagents/agent-1.jsonl");
            std::fs::remove_file(&side).unwrap();
            let to = Some(scene.places.home.join("elsewhere"));
            let wanted = Wanted { options: Options { force, to, ..Options::default() }, ..Wanted::default() };
            let summary = restore_missing(&scene.places, &wanted, &|_, _| {}).unwrap();
            assert_eq!((summary.restored.len(), summary.refused.len()), (1, 0), "{at} {force} {summary:?}");
            let restored = &summary.restored[0];
            assert_eq!((restored.files_written, restored.files_in_place), (1, 1), "{at} {force}");
            assert_eq!((restored.bytes, restored.generation), (standing.len() as u64, None), "{at} {force}");
            assert_eq!(std::fs::read(scene.transcript()).unwrap(), standing, "{at} {force}");
            assert!(side.exists());
            let again = restore_missing(&scene.places, &wanted, &|_, _| {}).unwrap();
            assert_eq!((again.restored.len(), again.in_place), (0, 1), "{at} {force}");
        }
    }
}

#[test]
fn what_cannot_be_restored_is_told_and_a_running_client_s_own_is_none_of_it() {
    let lose_side = |scene: &Scene| {
        std::fs::remove_file(scene.transcript().with_extension("").join("subagents/agent-1.jsonl")).unwrap();
    };
    let all = |scene: &Scene| restore_missing(&scene.places, &Wanted::default(), &|_, _| {}).unwrap();
    // A side file that is damaged everywhere.
    let scene = saved();
    lose_side(&scene);
    std::fs::write(scene.copy().with_extension("").join("subagents/agent-1.jsonl"), "damaged").unwrap();
    let summary = all(&scene);
    assert_eq!((summary.restored.len(), summary.in_place, summary.refused.len()), (0, 0, 1), "{summary:?}");
    // A client that runs may have its reasons; one whose transcript is gone as well is told of.
    for is_gone in [false, true] {
        let scene = saved();
        lose_side(&scene);
        if is_gone {
            scene.remove_sources();
        }
        let claude = RunningClaude::start();
        let pid = claude.pid();
        let live = scene.places.claude_dir.join(format!("sessions/{pid}.json"));
        scene.write(&live, &format!(r#"{{"pid":{pid},"sessionId":"{ID}"}}"#));
        // Forced or not: that is for a session that is named.
        for force in [false, true] {
            let wanted = Wanted { options: Options { force, ..Options::default() }, ..Wanted::default() };
            let summary = restore_missing(&scene.places, &wanted, &|_, _| {}).unwrap();
            let expected = if is_gone { (0, 1) } else { (1, 0) };
            assert_eq!((summary.in_place, summary.refused.len()), expected, "{force} {summary:?}");
        }
    }
    // The transcript stands twice.
    let scene = saved();
    lose_side(&scene);
    scene.write(&scene.transcript_in("-elsewhere", ID), "x");
    let summary = all(&scene);
    assert_eq!(summary.refused.len(), 1, "{summary:?}");
    insta::assert_snapshot!(scene.filtered(&summary.refused[0].error).replace(ID, "ID"), @r#"
        restore session ID: it is there twice, and Claude Code finds none of two: move one of them away:
          ~/.claude/projects/-elsewhere/ID.jsonl
          ~/.claude/projects/-home-dev-proj/ID.jsonl
        "#);
}

#[test]
fn what_stands_in_claude_codes_folder_is_looked_at_and_what_cannot_be_is_told() {
    let scene = saved();
    scene.remove_sources();
    // A stray file is no project's folder.
    scene.write(&scene.places.projects().join("stray"), "x");
    assert!(restore(&scene).contains("2 written"));
    scene.remove_sources();
    std::fs::create_dir_all(scene.places.projects()).unwrap();
    std::os::unix::fs::symlink("loop", scene.places.projects().join("loop")).unwrap();
    assert!(restore(&scene).starts_with("examine ~/.claude/projects/loop/ID.jsonl: "), "{}", restore(&scene));
    scene.remove_sources();
    std::fs::write(scene.places.projects(), "a file").unwrap();
    assert!(restore(&scene).starts_with("examine ~/.claude/projects: "), "{}", restore(&scene));
}

#[test]
fn another_directory_is_none_of_claude_codes_and_what_stands_there_stays() {
    let scene = saved();
    let to = |to: &str| Options { to: Some(scene.places.home.join(to)), ..Options::default() };
    for inside in [".claude/projects", ".claude/projects/-new/deep"] {
        let said = restore_with(&scene, &to(inside));
        assert!(said.contains("lies where Claude Code keeps its transcripts"), "{said}");
    }
    assert!(restore_with(&scene, &to("out")).contains("2 written"));
    assert!(restore_with(&scene, &to("out")).contains("2 in place"));
    std::fs::write(scene.places.home.join(format!("out/{ID}.jsonl")), "other").unwrap();
    insta::assert_snapshot!(restore_with(&scene, &to("out")), @"restore session ID: a different file stands at ~/out/ID.jsonl; it is not touched: choose another directory");
}

#[test]
fn a_session_goes_on_where_it_stands_whatever_its_project_is_called_now() {
    let scene = saved();
    let moved = |cwd: &str| Options { cwd: Some(cwd.to_owned()), ..Options::default() };
    // Where the transcript stands already in the folder of that name, nothing is in the way.
    assert!(restore_with(&scene, &moved("/home/dev/proj")).contains("0 written, 2 in place"));
    let elsewhere = scene.places.home.join("elsewhere");
    let cwd = elsewhere.to_str().unwrap();
    let refused = resume::ready(&scene.places, ID, &moved(cwd)).unwrap_err().to_string();
    insta::assert_snapshot!(scene.filtered(&refused).replace(ID, "ID"), @"resume session ID: its directory ~/elsewhere does not exist; --cwd DIR names the one it lies in now");
    std::fs::create_dir(&elsewhere).unwrap();
    let ready = resume::ready(&scene.places, ID, &moved(cwd)).unwrap();
    assert_eq!((ready.restored.files_written, ready.restored.files_in_place), (0, 2));
    assert_eq!(ready.restored.cwd.as_deref(), Some(cwd));
    // What stands there and went on is gone on with.
    scene.transcribe(&[prompt(7, "another")]);
    let ready = resume::ready(&scene.places, ID, &moved(cwd)).unwrap();
    assert_eq!((ready.restored.files_written, ready.restored.generation), (0, None));
    let dry = plan(&scene.places, ID, &Options { only_absent: true, ..Options::default() }).unwrap().dry_run();
    assert_eq!((dry.files_written, dry.files_in_place), (0, 2));
}

#[test]
fn of_a_subagent_s_transcript_and_a_tool_s_result_the_longest_is_restored_with_the_longest_and_of_others_the_newest() {
    let scene = saved();
    let folder = scene.transcript().with_extension("");
    let long = "a long first output";
    for (name, text) in [("subagents/agent-1.jsonl", "a stub\n"), ("tool-results/1.txt", long), ("notes/1.txt", long)] {
        scene.write(&folder.join(name), text);
    }
    scene.receipt(None);
    for name in ["tool-results/1.txt", "notes/1.txt"] {
        scene.write(&folder.join(name), "short");
    }
    scene.receipt(None);
    for (content, agent, result) in
        [(Which::Newest, "a stub\n".to_owned(), "short"), (Which::Longest, answer(3, "sub"), long)]
    {
        scene.remove_sources();
        restore_with(&scene, &Options { content, ..Options::default() });
        assert_eq!(std::fs::read_to_string(folder.join("subagents/agent-1.jsonl")).unwrap(), agent);
        assert_eq!(std::fs::read_to_string(folder.join("tool-results/1.txt")).unwrap(), result);
        assert_eq!(std::fs::read_to_string(folder.join("notes/1.txt")).unwrap(), "short");
    }
}

#[test]
fn of_equally_long_contents_the_older_is_not_called_longer() {
    let scene = saved();
    let text = std::fs::read_to_string(scene.transcript()).unwrap();
    scene.write(&scene.transcript(), &text.replace("hello", "jello"));
    scene.receipt(None);
    scene.remove_sources();
    assert!(!restore(&scene).contains("--longest"));
}

#[test]
fn a_session_was_started_in_the_first_directory_that_its_folder_is_named_after() {
    let transcript = ["", "/a/b", "/home/dev/proj"].map(|cwd| prompt(1, "x").replace("/home/dev/proj", cwd)).concat();
    for (slug, expected) in [(Some("-home-dev-proj"), "/home/dev/proj"), (Some("-nowhere"), "/a/b"), (None, "/a/b")] {
        assert_eq!(super::place::cwd_of(transcript.as_bytes(), slug).unwrap().as_deref(), Some(expected), "{slug:?}");
    }
}

#[test]
fn a_project_that_nobody_knows_is_told_and_nothing_comes_back() {
    let scene = saved();
    scene.remove_sources();
    let scope = crate::scope::Scope { project: Some("nowhere".to_owned()), ..Default::default() };
    let wanted = Wanted { scope, ..Wanted::default() };
    let summary = restore_missing(&scene.places, &wanted, &|_, _| {}).unwrap();
    assert_eq!((summary.restored.len(), summary.in_place, summary.notes.len()), (0, 0, 1), "{summary:?}");
    assert!(!scene.transcript().exists());
}

#[test]
fn all_contents_of_a_conversation_are_restored_as_one_on_demand() {
    let scene = rewritten();
    scene.remove_sources();
    restore_with(&scene, &Options { content: Which::Joined, ..Options::default() });
    let text = std::fs::read_to_string(scene.transcript()).unwrap();
    assert!(["hello", "hi", "stub"].into_iter().all(|word| text.contains(word)), "{text}");
}

#[test]
fn what_a_session_lost_is_told_before_it_goes_on_and_another_content_is_gone_on_with_on_demand() {
    let scene = saved();
    assert!(resume::loss(&scene.places, ID).unwrap().is_none());
    // Rewritten without a hook: it is saved first.
    let stub = prompt(9, "stub");
    scene.transcribe(std::slice::from_ref(&stub));
    assert!(resume::loss(&scene.places, ID).unwrap().is_some());
    assert_eq!(std::fs::read_to_string(scene.copy()).unwrap(), stub);
    let cwd = Some(scene.places.home.to_str().unwrap().to_owned());
    let options = |content| Options { content, cwd: cwd.clone(), ..Options::default() };
    let as_it_is = resume::ready(&scene.places, ID, &options(Which::Newest)).unwrap();
    assert_eq!((as_it_is.restored.files_written, std::fs::read_to_string(scene.transcript()).unwrap()), (0, stub));
    let before = resume::ready(&scene.places, ID, &options(Which::Generation(1))).unwrap();
    assert_eq!(before.restored.files_written, 1);
    assert_eq!(std::fs::read_to_string(scene.transcript()).unwrap().lines().count(), 2);
}

#[test]
fn what_the_transcript_names_and_nobody_has_is_told() {
    let scene = Scene::new();
    let call = |tool: &str, input: &str| {
        format!(
            "{{\"type\":\"assistant\",\"message\":{{\"role\":\"assistant\",\"content\":[{{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"{tool}\",\"input\":{input}}}]}}}}\n"
        )
    };
    let states = [
        "{\"type\":\"file-history-snapshot\",\"snapshot\":{\"trackedFileBackups\":{\"a\":{\"backupFileName\":\"0a@v1\"},\"b\":{\"backupFileName\":\"0b@v1\"}}}}\n",
    ];
    let plan = call("Write", "{\"file_path\":\"/h/.claude/plans/calm-fox.md\"}")
        .replace("{\"type\":\"assistant\",", "{\"slug\":\"calm-fox\",\"type\":\"assistant\",");
    scene.transcribe(&[prompt(1, "hello"), states[0].to_owned(), call("TaskCreate", "{\"subject\":\"x\"}"), plan]);
    scene.write(&scene.places.claude_dir.join(format!("file-history/{ID}/0a@v1")), "old");
    scene.receipt(None);
    scene.remove_sources();
    let told = restore(&scene);
    for expected in ["not saved: 1 of 2 earlier states", "not saved: its task list", "not saved: its plan calm-fox.md"]
    {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    scene.remove_sources();
    scene.write(&scene.places.claude_dir.join(format!("file-history/{ID}/0b@v1")), "old");
    scene.write(&scene.places.claude_dir.join(format!("tasks/{ID}/1.json")), "{}");
    scene.write(&scene.places.claude_dir.join("plans/calm-fox.md"), "plan");
    assert!(!restore(&scene).contains("not saved:"), "{told}");
}

/// A line with a right checksum that names another directory than the user's as the source, in one of the stores.
#[test]
fn a_source_that_a_store_names_elsewhere_decides_no_place_where_the_other_names_one_of_the_users() {
    let scene = saved();
    scene.layer1_copies();
    let stores = crate::save::adopt_v1::stores(&scene.places).unwrap();
    let key = stores.find(ID).unwrap();
    let ledger = scene.places.layer3_store.join(format!(".state/sessions/{ID}/{}.ledger", key.project));
    let json = format!(r#"{{"source":"/elsewhere/projects/x/{ID}.jsonl"}}"#);
    let sum = blake3::hash(json.as_bytes()).to_hex()[..16].to_owned();
    let mut text = std::fs::read_to_string(&ledger).unwrap();
    text.push_str(&format!("{sum} {json}\n"));
    std::fs::write(&ledger, text).unwrap();
    scene.remove_sources();
    let said = restore(&scene);
    assert!(said.starts_with("~/.claude/projects/-home-dev-proj/ID.jsonl: 2 written"), "{said}");
}
