//! Bringing conversations back, to the byte: deleted, rewritten, damaged in one store or in both,
//! on a machine that has nothing but the second store, and on into `claude` itself.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tests::binaries::LAYER3;
use tests::processes::RunningClaude;
use tests::run::{Outcome, Run};
use tests::scratch::{PROJECT, SLUG, Scratch};
use tests::strace::{self, Traced};
use tests::transcripts::{self, COMPACTED, INTERACTIVE, RECORDED, SUBAGENT};
use tests::tree::{self, Entry};

use crate::disk::Mount;
use crate::product::{assert_verified, chain_delivered, found_in, session_ids};

/// What stands below a folder, times and all but the files' bytes and modes left out.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let is_file = |entry: &Entry| matches!(entry, Entry::File(..));
    let paths = tree::all(root).into_iter().filter(|(_, entry)| is_file(entry)).map(|(path, _)| path);
    paths.map(|path| (path.clone(), fs::read(root.join(path)).expect("read a file"))).collect()
}

/// Asserts that nothing but these files stands there, private and modified now.
#[track_caller]
fn assert_restored_exactly(root: &Path, expected: &BTreeMap<PathBuf, Vec<u8>>) {
    let found = files(root);
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (path, bytes) in expected {
        assert!(found[path] == *bytes, "{} differs", path.display());
        let metadata = fs::metadata(root.join(path)).expect("look at a file");
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o600, "{}", path.display());
        let modified = metadata.modified().expect("a time");
        let age = SystemTime::now().duration_since(modified).unwrap_or_default();
        assert!(age < Duration::from_secs(120), "{} is {age:?} old", path.display());
    }
    for (path, entry) in tree::all(root) {
        if let Entry::Directory(mode) = entry {
            assert_eq!(mode & 0o700, 0o700, "{}", path.display());
        }
    }
}

/// A recorded session with side files, saved twice; gives its files below the project's folder.
fn saved(scratch: &Scratch, id: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let transcript = transcripts::lay_out(scratch, id);
    chain_delivered(scratch, &transcripts::session_end(&transcript));
    let files = files(&scratch.slug_dir());
    assert!(files.contains_key(Path::new(&format!("{id}.jsonl"))));
    files
}

/// Claude Code, or the user, deletes every transcript.
fn lose_all(scratch: &Scratch) {
    let projects = scratch.claude_dir().join("projects");
    if projects.exists() {
        fs::remove_dir_all(projects).expect("lose all transcripts");
    }
}

#[track_caller]
fn restore(scratch: &Scratch, args: &[&str]) -> Outcome {
    scratch.layer3(&[&["restore"], args].concat()).output()
}

/// A stored content of a session in one of the stores.
fn copy(store: &Path, rel: impl AsRef<Path>) -> PathBuf {
    store.join(PROJECT).join(rel)
}

/// Flips a bit in the middle: neither head nor tail show it.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("read a copy");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 8;
    fs::write(path, bytes).expect("flip a bit");
}

#[track_caller]
fn assert_says(outcome: &Outcome, words: &[&str]) {
    let said = format!("{}{}", outcome.text(), outcome.stderr);
    for word in words {
        assert!(said.contains(word), "no {word:?} in {outcome:#?}");
    }
}

/// A session whose transcript was rewritten to a stub since; gives the long content and the stub.
fn rewritten(scratch: &Scratch) -> (Vec<u8>, Vec<u8>) {
    let transcript = transcripts::lay_out(scratch, SUBAGENT);
    chain_delivered(scratch, &transcripts::session_end(&transcript));
    let long = fs::read(&transcript).expect("read the transcript");
    let stub = transcripts::prompt_line(SUBAGENT, 1, "resumed, and nothing before it").into_bytes();
    transcripts::rewrite(&transcript, &stub);
    chain_delivered(scratch, &transcripts::session_end(&transcript));
    (long, stub)
}

#[test]
fn a_deleted_session_comes_back_to_the_byte_side_files_and_all() {
    for id in [SUBAGENT, COMPACTED] {
        let scratch = Scratch::new();
        let before = saved(&scratch, id);
        assert!(before.len() > 1, "it has side files");
        lose_all(&scratch);
        let outcome = restore(&scratch, &[&id[..8]]).ok().unworried();
        assert_restored_exactly(&scratch.slug_dir(), &before);
        let text = outcome.text();
        let resume = text.lines().last().expect("two lines");
        assert_eq!(resume, format!("cd /home/dev/proj && claude --resume {id}"));
        // And once more: nothing to do.
        assert_says(&restore(&scratch, &[id]).ok().unworried(), &["Already in place"]);
        assert_restored_exactly(&scratch.slug_dir(), &before);
        // Who sits there is told that it cannot go on where it was, and how it goes on elsewhere.
        let (code, text) = scratch.layer3(&["restore", id]).at_terminal().end();
        let told =
            format!("/home/dev/proj is not there: make it, or `layer3-indexer resume {} --cwd DIR` goes on", &id[..8]);
        assert!(code == Some(0) && text.contains(&told), "{text}");
    }
}

#[test]
fn a_subagents_file_of_the_old_layout_is_saved_found_counted_and_restored_with_its_session() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 2);
    let answer = transcripts::answer_line(&id, 9, "the subagent saw a kittiwake");
    transcripts::append(&transcript.with_file_name("agent-1a2b.jsonl"), answer);
    let before = files(&scratch.slug_dir());
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    lose_all(&scratch);
    assert_eq!(found_in(&scratch, "kittiwake"), [id.as_str()]);
    let listed = scratch.layer3(&["list", "--all", "--json"]).output().ok().json();
    let sessions = listed["sessions"].as_array().expect("sessions");
    assert_eq!(sessions.iter().map(|session| &session["subagents"]).collect::<Vec<_>>(), [&json!(1)]);
    restore(&scratch, &[&id]).ok();
    assert_restored_exactly(&scratch.slug_dir(), &before);
}

#[test]
fn a_dry_run_writes_nothing() {
    let scratch = Scratch::new();
    let before = saved(&scratch, SUBAGENT);
    lose_all(&scratch);
    let home = tree::all(&scratch.home());
    let outcome = restore(&scratch, &[SUBAGENT, "--dry-run"]).ok().unworried();
    assert_says(&outcome, &["Would restore", &format!("{} files to write", before.len())]);
    let outcome = restore(&scratch, &["--all-missing", "--dry-run", "--json"]).ok().unworried().json();
    assert_eq!(outcome["restored"][0]["files_written"], json!(before.len()));
    assert_eq!(tree::all(&scratch.home()), home);
}

#[test]
fn after_a_rewrite_to_a_stub_every_generation_can_be_had() {
    let scratch = Scratch::new();
    let (long, stub) = rewritten(&scratch);
    let transcript = scratch.transcript(SUBAGENT);
    for (flags, content) in
        [(&[][..], &stub), (&["--generation", "0"], &stub), (&["--longest"], &long), (&["--generation", "1"], &long)]
    {
        lose_all(&scratch);
        let outcome = restore(&scratch, &[&[SUBAGENT], flags].concat()).ok();
        assert!(fs::read(&transcript).is_ok_and(|it| it == *content), "{flags:?}");
        assert!(transcript.with_extension("").join("subagents").is_dir(), "{flags:?}: side files come along");
        // Whoever gets the stub is told of the rest.
        assert_eq!(outcome.stderr.contains("--longest"), flags.is_empty(), "{outcome:#?}");
    }
    // What was restored is the newest again, and what it replaced stays.
    assert!(fs::read(copy(&scratch.layer3_store(), format!("{SUBAGENT}.gen-0002.jsonl"))).is_ok_and(|it| it == stub));
    lose_all(&scratch);
    let outcome = restore(&scratch, &[SUBAGENT]).ok().unworried();
    assert!(fs::read(&transcript).is_ok_and(|it| it == long), "{outcome:#?}");
    let outcome = restore(&scratch, &[SUBAGENT, "--generation", "7"]).exits(1);
    assert_says(&outcome, &["no generation 7", "1 ("]);
}

#[test]
fn a_flipped_byte_in_one_copy_is_made_up_from_the_other_and_said() {
    let side = format!("{SUBAGENT}/subagents/agent-a3f794ef1b94d5971.jsonl");
    for rel in [format!("{SUBAGENT}.jsonl"), side] {
        let scratch = Scratch::new();
        let before = saved(&scratch, SUBAGENT);
        let (of3, of1) = (copy(&scratch.layer3_store(), &rel), copy(&scratch.layer1_store(), &rel));
        for damage in [flip as fn(&Path), |path| fs::remove_file(path).expect("lose a copy")] {
            lose_all(&scratch);
            damage(&of3);
            let outcome = restore(&scratch, &[SUBAGENT]).ok();
            assert_restored_exactly(&scratch.slug_dir(), &before);
            assert_says(&outcome, &[of3.to_str().expect("UTF-8"), "layer 1's is used", of1.to_str().expect("UTF-8")]);
        }
    }
}

#[test]
fn with_both_copies_damaged_nothing_is_written_and_both_are_named() {
    for flags in [&[][..], &["--longest"], &["--to", "out"]] {
        let scratch = Scratch::new();
        saved(&scratch, SUBAGENT);
        lose_all(&scratch);
        let rel = format!("{SUBAGENT}.jsonl");
        let copies = [copy(&scratch.layer3_store(), &rel), copy(&scratch.layer1_store(), &rel)];
        copies.iter().for_each(|copy| flip(copy));
        let before = tree::all(&scratch.home());
        let outcome = restore(&scratch, &[&[SUBAGENT], flags].concat()).exits(1).silent();
        assert_says(&outcome, &copies.each_ref().map(|copy| copy.to_str().expect("UTF-8")));
        assert_says(&outcome, &["is damaged"]);
        assert_eq!(tree::all(&scratch.home()), before);
    }
}

#[test]
fn a_damaged_older_generation_is_made_up_or_refused_and_never_replaced_by_another() {
    let rel = format!("{SUBAGENT}.gen-0001.jsonl");
    for flags in [&["--generation", "1"][..], &["--longest"]] {
        let scratch = Scratch::new();
        let (long, _) = rewritten(&scratch);
        flip(&copy(&scratch.layer3_store(), &rel));
        lose_all(&scratch);
        let outcome = restore(&scratch, &[&[SUBAGENT], flags].concat()).ok();
        assert!(fs::read(scratch.transcript(SUBAGENT)).is_ok_and(|it| it == long), "{flags:?}");
        assert_says(&outcome, &["layer 1's is used"]);
    }
    let scratch = Scratch::new();
    rewritten(&scratch);
    let copies = [copy(&scratch.layer3_store(), &rel), copy(&scratch.layer1_store(), &rel)];
    copies.iter().for_each(|copy| flip(copy));
    lose_all(&scratch);
    let before = tree::all(&scratch.home());
    for flags in [&["--generation", "1"][..], &["--longest"]] {
        // The stub is whole, and not what was asked for.
        let outcome = restore(&scratch, &[&[SUBAGENT], flags].concat()).exits(1).silent();
        assert_says(&outcome, &copies.each_ref().map(|copy| copy.to_str().expect("UTF-8")));
    }
    assert_eq!(tree::all(&scratch.home()), before);
}

#[test]
fn a_side_file_that_is_damaged_twice_is_left_out_and_the_rest_comes_back() {
    let scratch = Scratch::new();
    let mut before = saved(&scratch, SUBAGENT);
    lose_all(&scratch);
    let rel = PathBuf::from(format!("{SUBAGENT}/subagents/agent-a3f794ef1b94d5971.jsonl"));
    let copies = [copy(&scratch.layer3_store(), &rel), copy(&scratch.layer1_store(), &rel)];
    copies.iter().for_each(|copy| flip(copy));
    let outcome = restore(&scratch, &[SUBAGENT]).exits(1);
    before.remove(&rel).expect("it was there");
    assert_restored_exactly(&scratch.slug_dir(), &before);
    assert_says(&outcome, &copies.each_ref().map(|copy| copy.to_str().expect("UTF-8")));
    assert_says(&outcome, &["1 side file left out"]);
}

#[test]
fn force_keeps_what_stood_there_in_the_store() {
    let scratch = Scratch::new();
    let (long, _) = rewritten(&scratch);
    let transcript = scratch.transcript(SUBAGENT);
    let agent = transcript.with_extension("").join("subagents/agent-a3f794ef1b94d5971.jsonl");
    let agent_before = fs::read(&agent).expect("read a side file");
    // Changed in the middle, at the same length: neither size nor head nor tail show it.
    let mut standing = long.clone();
    let middle = standing.len() / 2;
    standing[middle] ^= 1;
    transcripts::rewrite(&transcript, &standing);
    transcripts::rewrite(&agent, "another content\n");
    assert_says(&restore(&scratch, &[SUBAGENT, "--longest"]).exits(1), &["a different file stands"]);
    assert!(fs::read(&transcript).is_ok_and(|it| it == standing));

    restore(&scratch, &[SUBAGENT, "--longest", "--force"]).ok();
    assert!(fs::read(&transcript).is_ok_and(|it| it == long));
    assert!(fs::read(&agent).is_ok_and(|it| it == agent_before));
    let held: Vec<Vec<u8>> = files(&scratch.layer3_store().join(PROJECT)).into_values().collect();
    assert!(held.contains(&standing), "the transcript that stood there");
    assert!(held.contains(&b"another content\n".to_vec()), "the side file that stood there");
    // One copy is made before anything is replaced; the other one follows.
    scratch.layer2(&["drain", "--foreground"]).output().ok();
    let held: Vec<Vec<u8>> = files(&scratch.layer1_store().join(PROJECT)).into_values().collect();
    assert!(held.contains(&standing), "the transcript that stood there, in the first copy");
    assert_verified(&scratch);
}

#[test]
fn force_keeps_what_looks_as_if_it_had_only_grown() {
    let scratch = Scratch::new();
    saved(&scratch, INTERACTIVE);
    let transcript = scratch.transcript(INTERACTIVE);
    let whole = fs::read(&transcript).expect("read the transcript");
    flip(&transcript);
    transcripts::append(&transcript, "and grown\n");
    let standing = fs::read(&transcript).expect("read the transcript");
    restore(&scratch, &[INTERACTIVE, "--force"]).ok();
    assert!(fs::read(&transcript).is_ok_and(|it| it == whole));
    assert!(files(&scratch.layer3_store().join(PROJECT)).into_values().any(|it| it == standing));
}

#[test]
fn force_that_cannot_save_replaces_nothing() {
    let scratch = Scratch::new();
    saved(&scratch, SUBAGENT);
    let transcript = scratch.transcript(SUBAGENT);
    transcripts::rewrite(&transcript, "written since\n");
    // Layer 3 cannot write: a file stands in the place of the project's folder.
    let copies = scratch.layer3_store().join(PROJECT);
    fs::rename(&copies, scratch.beside("the copies")).expect("move the copies");
    fs::write(&copies, "").expect("block their place");
    let outcome = restore(&scratch, &[SUBAGENT, "--force"]).exits(1).silent();
    assert_says(&outcome, &["could not be saved first"]);
    assert_eq!(fs::read_to_string(&transcript).expect("read the transcript"), "written since\n");
}

#[test]
fn projects_may_be_a_symlink_and_nothing_below_it() {
    let scratch = Scratch::new();
    let before = saved(&scratch, SUBAGENT);
    lose_all(&scratch);
    let elsewhere = scratch.beside("transcripts elsewhere");
    fs::create_dir_all(&elsewhere).expect("make a folder");
    symlink(&elsewhere, scratch.claude_dir().join("projects")).expect("make a symlink");
    restore(&scratch, &[SUBAGENT]).ok().unworried();
    assert_restored_exactly(&elsewhere.join(SLUG), &before);

    // A project's folder may be one too, as Claude Code goes through it.
    let slug = elsewhere.join(SLUG);
    let moved = scratch.beside("a project elsewhere");
    fs::rename(&slug, &moved).expect("move the project's folder");
    symlink(&moved, &slug).expect("make a symlink");
    fs::remove_file(moved.join(format!("{SUBAGENT}.jsonl"))).expect("lose the transcript");
    restore(&scratch, &[SUBAGENT]).ok().unworried();
    assert_restored_exactly(&moved, &before);
    fs::remove_file(&slug).expect("remove the symlink");

    // So may the side files' folder, and what stands there is not replaced; a link below it leads nowhere.
    let planted = scratch.beside("planted");
    let link = slug.join(SUBAGENT);
    fs::create_dir(&slug).expect("make the folder");
    fs::create_dir_all(planted.join("subagents")).expect("make a folder");
    fs::write(planted.join("subagents/agent-a3f794ef1b94d5971.jsonl"), "precious").expect("write a file");
    symlink(&planted, &link).expect("make a symlink");
    let there = tree::all(&planted);
    for flags in [&[][..], &["--dry-run"]] {
        let outcome = restore(&scratch, &[&[SUBAGENT], flags].concat()).exits(1).silent();
        assert_says(&outcome, &["a different file stands", "agent-a3f794ef1b94d5971.jsonl"]);
    }
    assert_eq!(tree::all(&planted), there);
    fs::rename(planted.join("subagents"), scratch.beside("deep")).expect("move the folder");
    symlink(scratch.beside("deep"), planted.join("subagents")).expect("make a symlink");
    for flags in [&[][..], &["--force"], &["--dry-run"]] {
        let outcome = restore(&scratch, &[&[SUBAGENT], flags].concat()).exits(1).silent();
        assert_says(&outcome, &["symlink", "subagents"]);
    }
    assert_eq!(fs::read(scratch.beside("deep/agent-a3f794ef1b94d5971.jsonl")).expect("read it"), b"precious");
    assert!(fs::symlink_metadata(slug.join(format!("{SUBAGENT}.jsonl"))).is_err());
}

#[test]
fn no_second_file_of_an_id_even_behind_a_symlink() {
    let scratch = Scratch::new();
    saved(&scratch, INTERACTIVE);
    let elsewhere = scratch.beside("elsewhere");
    fs::rename(scratch.slug_dir(), &elsewhere).expect("move the folder");
    symlink(&elsewhere, scratch.claude_dir().join("projects/-linked")).expect("make a symlink");
    let outcome = restore(&scratch, &[INTERACTIVE]).ok();
    assert!(outcome.text().contains("-linked"), "it is there already: {outcome:#?}");
    assert!(!scratch.transcript(INTERACTIVE).exists());
    // Two already: that is said, and a third is not made.
    transcripts::append(&scratch.transcript(INTERACTIVE), "x\n");
    let outcome = restore(&scratch, &[INTERACTIVE, "--cwd", "/new"]).exits(1);
    assert_says(&outcome, &["twice", "-linked", SLUG]);
}

#[test]
fn to_a_directory_and_not_into_claudes() {
    let scratch = Scratch::new();
    let before = saved(&scratch, SUBAGENT);
    let to = scratch.beside("o'ut \"ñ\" dir");
    let outcome = restore(&scratch, &[SUBAGENT, "--to", to.to_str().expect("UTF-8")]).ok().unworried();
    assert!(!outcome.text().contains("claude --resume"), "{outcome:#?}");
    assert_restored_exactly(&to, &before);
    fs::write(to.join(format!("{SUBAGENT}.jsonl")), "other").expect("write a file");
    let outcome = restore(&scratch, &[SUBAGENT, "--to", to.to_str().expect("UTF-8")]).exits(1);
    assert_says(&outcome, &["choose another directory"]);
    let projects = scratch.claude_dir().join("projects/-x/y");
    let outcome = restore(&scratch, &[SUBAGENT, "--to", projects.to_str().expect("UTF-8")]).exits(1);
    assert_says(&outcome, &["where Claude Code keeps"]);
    assert!(!scratch.claude_dir().join("projects/-x").exists());
}

#[test]
fn a_kill_in_the_middle_leaves_no_half_transcript() {
    if !strace::is_here("a_kill_in_the_middle_leaves_no_half_transcript") {
        return;
    }
    let scratch = Scratch::new();
    let before = saved(&scratch, SUBAGENT);
    let transcript = scratch.transcript(SUBAGENT);
    let calls = ["pwrite64", "fdatasync", "fsync", "renameat2", "mkdirat", "pread64"];
    let mut fired = 0;
    for call in calls {
        for n in 1.. {
            lose_all(&scratch);
            let inject = format!("inject={call}:signal=KILL:when={n}");
            let run = Traced::new(&scratch, call, &["-e", &inject], LAYER3, &["restore", SUBAGENT]).output();
            if run.outcome.signal.is_none() {
                assert_restored_exactly(&scratch.slug_dir(), &before);
                break;
            }
            fired += 1;
            if let Ok(bytes) = fs::read(&transcript) {
                assert!(bytes == before[Path::new(&format!("{SUBAGENT}.jsonl"))], "{call} {n}: half a transcript");
            }
            for (path, bytes) in files(&scratch.slug_dir()) {
                let is_temp = path.to_string_lossy().ends_with(".tmp");
                assert!(is_temp || before.get(&path) == Some(&bytes), "{call} {n}: {}", path.display());
            }
            // The next one finds its way over whatever was left, and leaves nothing of it.
            if n % 3 == 1 {
                restore(&scratch, &[SUBAGENT]).ok();
                assert_restored_exactly(&scratch.slug_dir(), &before);
            }
        }
    }
    assert!(fired > 20, "only {fired} kills");
}

#[test]
fn several_restores_at_once_do_not_get_in_each_others_way() {
    let scratch = Scratch::new();
    let before = saved(&scratch, SUBAGENT);
    for _ in 0..3 {
        lose_all(&scratch);
        let running: Vec<_> = (0..4).map(|_| scratch.layer3(&["restore", SUBAGENT]).spawn()).collect();
        running.into_iter().for_each(|run| drop(run.wait().ok()));
        assert_restored_exactly(&scratch.slug_dir(), &before);
    }
}

#[test]
fn a_full_disk_leaves_no_half_transcript() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    transcripts::append(&transcript, transcripts::prompt_line(&id, 1, &"a long prompt ".repeat(200_000)));
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let to = scratch.beside("small disk");
    let Some(mount) = Mount::tmpfs("a_full_disk_leaves_no_half_transcript", &to, "size=1m") else { return };
    let outcome = restore(&scratch, &[&id, "--to", to.to_str().expect("UTF-8")]).exits(1).silent();
    assert_says(&outcome, &["No space left"]);
    assert!(files(&to).is_empty(), "{:?}", tree::all(&to));
    mount.remount("size=32m");
    restore(&scratch, &[&id, "--to", to.to_str().expect("UTF-8")]).ok();
    assert!(fs::read(to.join(format!("{id}.jsonl"))).ok() == fs::read(&transcript).ok());
}

#[test]
fn files_that_are_in_place_are_not_swept_away_next() {
    let scratch = Scratch::new();
    let before = saved(&scratch, SUBAGENT);
    for path in before.keys() {
        let old = SystemTime::now() - Duration::from_secs(60 * 24 * 60 * 60);
        let file = File::open(scratch.slug_dir().join(path)).expect("open a file");
        file.set_times(FileTimes::new().set_modified(old)).expect("set a time");
        fs::set_permissions(scratch.slug_dir().join(path), fs::Permissions::from_mode(0o600)).expect("set a mode");
    }
    fs::remove_file(scratch.transcript(SUBAGENT)).expect("the transcript is swept");
    restore(&scratch, &[SUBAGENT]).ok().unworried();
    assert_restored_exactly(&scratch.slug_dir(), &before);
}

#[test]
fn everything_that_was_lost_comes_back_at_once() {
    let scratch = Scratch::new();
    for transcript in transcripts::lay_out_recorded(&scratch) {
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
    }
    let other = transcripts::made_id(5);
    let other_path = scratch.claude_dir().join(format!("projects/-home-dev-other/{other}.jsonl"));
    let line = transcripts::prompt_line(&other, 1, "elsewhere").replace("/home/dev/proj", "/home/dev/other");
    transcripts::append(&other_path, line);
    chain_delivered(&scratch, &transcripts::session_end(&other_path));
    let before = files(&scratch.slug_dir());
    let outcome = restore(&scratch, &["--all-missing"]).ok().unworried();
    assert_eq!(outcome.text(), "0 sessions restored, 6 in place\n");

    // Lost: a transcript with all its files, another one alone, a side file alone, and a project.
    // Changed meanwhile: one that is there.
    let [forked, compacted, _, subagent, interactive] = RECORDED;
    fs::remove_file(scratch.transcript(subagent)).expect("lose a transcript");
    fs::remove_dir_all(scratch.transcript(subagent).with_extension("")).expect("lose its side files");
    fs::remove_file(scratch.transcript(forked)).expect("lose a transcript");
    fs::remove_file(scratch.transcript(compacted).with_extension("").join("custom-title.json")).expect("lose a title");
    fs::remove_dir_all(other_path.parent().expect("a folder")).expect("lose a project");
    let mut expected = before.clone();
    transcripts::append(&scratch.transcript(interactive), "went on\n");
    expected.get_mut(Path::new(&format!("{interactive}.jsonl"))).expect("it is there").extend(b"went on\n");

    let summary = restore(&scratch, &["--all-missing", "--project", PROJECT, "--json"]).ok().unworried().json();
    let restored: Vec<&str> = summary["restored"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| it["session_id"].as_str().expect("id"))
        .collect();
    assert_eq!(restored, [forked, compacted, subagent]);
    assert_eq!((&summary["in_place"], &summary["refused"]), (&json!(2), &json!([])));
    assert_eq!(files(&scratch.slug_dir()), expected);
    assert!(!other_path.exists(), "another project's");
    let outcome = restore(&scratch, &["--all-missing"]).ok().unworried();
    assert_says(&outcome, &[&format!("restored  other/{other}"), "1 session restored, 5 in place"]);
    assert!(other_path.exists());
}

#[test]
fn one_that_cannot_be_restored_does_not_stop_the_others() {
    let scratch = Scratch::new();
    for transcript in transcripts::lay_out_recorded(&scratch) {
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
    }
    lose_all(&scratch);
    let [damaged, live, ..] = RECORDED;
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        flip(&copy(&store, format!("{damaged}.jsonl")));
    }
    let claude = RunningClaude::start();
    let session = json!({"pid": claude.pid(), "sessionId": live});
    transcripts::append(&scratch.claude_dir().join("sessions/1.json"), session.to_string());
    let outcome = restore(&scratch, &["--all-missing"]).exits(1);
    assert_says(&outcome, &["3 sessions restored, 0 in place, 2 refused", "is damaged", "it is live"]);
    assert_says(
        &outcome,
        &[&format!("{PROJECT}/{damaged}: "), &format!("{PROJECT}/{live}: "), "restore 2 of 5 sessions"],
    );
    let there: Vec<bool> = RECORDED.iter().map(|id| scratch.transcript(id).exists()).collect();
    assert_eq!(there, [false, false, true, true, true]);
}

#[test]
fn a_session_without_slug_or_directory_comes_back_where_it_can_be_resumed() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(3);
    let nowhere = scratch.beside(&format!("nowhere/{id}.jsonl"));
    transcripts::append(&nowhere, "{\"type\":\"user\",\"message\":{\"role\":\"user\",\"content\":\"no directory\"}}\n");
    scratch.layer3(&["save", "--transcript", nowhere.to_str().expect("UTF-8")]).output().ok();
    fs::remove_dir_all(nowhere.parent().expect("a folder")).expect("lose it");
    let outcome = restore(&scratch, &["--all-missing"]).ok();
    assert_says(&outcome, &["1 session restored", "home directory"]);
    let found: Vec<PathBuf> = files(&scratch.claude_dir().join("projects")).into_keys().collect();
    let [path] = &found[..] else { panic!("{found:?}") };
    assert!(path.to_string_lossy().ends_with(&format!("-home/{id}.jsonl")), "{found:?}");
    let outcome = restore(&scratch, &[&id]).ok();
    assert!(outcome.text().ends_with(&format!("\nclaude --resume {id}\n")), "{outcome:#?}");
}

/// A machine that has nothing but layer 3's store of another one, without its index.
fn fresh_machine(old: Scratch, with_bookkeeping: bool) -> Scratch {
    let fresh = Scratch::new();
    fs::remove_dir(fresh.project_dir()).expect("remove a folder");
    let options = fs_extra::dir::CopyOptions::new().content_only(true);
    fs_extra::dir::copy(old.layer3_store(), fresh.layer3_store(), &options).expect("copy the store");
    for entry in fs::read_dir(fresh.layer3_store()).expect("read the store") {
        let entry = entry.expect("read the store");
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_left_behind = name.starts_with("sessions.db") || (name.starts_with('.') && !with_bookkeeping);
        match entry.path().is_dir() {
            _ if !is_left_behind => {}
            true => fs::remove_dir_all(entry.path()).expect("leave a folder behind"),
            false => fs::remove_file(entry.path()).expect("leave a file behind"),
        }
    }
    fs::create_dir(fresh.project_dir()).expect("make a folder");
    fresh
}

#[test]
fn a_fresh_machine_needs_nothing_but_the_second_store() {
    for with_bookkeeping in [true, false] {
        let old = Scratch::new();
        for transcript in transcripts::lay_out_recorded(&old) {
            chain_delivered(&old, &transcripts::session_end(&transcript));
        }
        let before = files(&old.slug_dir());
        let fresh = fresh_machine(old, with_bookkeeping);
        assert!(!fresh.claude_dir().exists() && !fresh.layer1_store().exists());
        let outcome = fresh.layer3(&["rebuild"]).output().ok();
        assert_says(&outcome, &["5 sessions"]);
        assert_eq!(session_ids(&fresh), RECORDED);
        assert_eq!(found_in(&fresh, "hello interactive"), [INTERACTIVE]);

        // The project lies in another place here.
        let new = fresh.home().join("new 'place'");
        fs::create_dir(&new).expect("make the project");
        let cwd = new.to_str().expect("UTF-8");
        let outcome = restore(&fresh, &[INTERACTIVE, "--cwd", cwd]).ok();
        assert_says(&outcome, &[&format!("cd '{}' && claude --resume", cwd.replace('\'', r"'\''"))]);
        assert_eq!(outcome.stderr.contains("bookkeeping"), !with_bookkeeping, "{outcome:#?}");
        let map = format!("/home/dev={}", fresh.home().display());
        restore(&fresh, &["--all-missing", "--map", &map]).ok();
        let slug = |path: &Path| {
            let path = path.to_str().expect("UTF-8");
            path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect::<String>()
        };
        let projects = fresh.claude_dir().join("projects");
        let mut found = files(&projects.join(slug(&fs::canonicalize(&new).expect("it exists"))));
        assert_eq!(found.len(), 1);
        found.extend(files(&projects.join(slug(&fs::canonicalize(fresh.project_dir()).expect("it exists")))));
        assert_eq!(found, before);
        // Without bookkeeping there is nothing to verify by, and that is a finding.
        fresh.layer3(&["verify"]).output().exits(i32::from(!with_bookkeeping));
    }
}

/// Puts a `claude` on the PATH that tells how it was started; gives that PATH.
fn fake_claude(scratch: &Scratch) -> String {
    let bin = scratch.beside("bin");
    fs::create_dir_all(&bin).expect("make a folder");
    let script = format!(
        "#!/bin/sh\n{{ pwd; echo \"$PWD\"; printf '%s\\n' \"$@\"; }} > '{told}'\nenv > '{told}.env'\ncat > '{told}.in'\nexit 7\n",
        told = scratch.beside("told").display()
    );
    fs::write(bin.join("claude"), script).expect("write a script");
    fs::set_permissions(bin.join("claude"), fs::Permissions::from_mode(0o755)).expect("make it executable");
    format!("{}:/usr/bin:/bin", bin.display())
}

fn told(scratch: &Scratch) -> Vec<String> {
    let text = fs::read_to_string(scratch.beside("told")).expect("claude was started");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn resume_restores_and_becomes_claude_in_the_right_directory() {
    let scratch = Scratch::new();
    let before = saved(&scratch, SUBAGENT);
    lose_all(&scratch);
    let path = fake_claude(&scratch);
    let new = scratch.home().join("it's \"new\" ñ");
    fs::create_dir(&new).expect("make a project");
    let cwd = new.to_str().expect("UTF-8");
    let run = scratch.layer3(&["resume", &SUBAGENT[..6], "--cwd", cwd, "--", "-p", "again and \"again\"", "--json"]);
    let run = run.env("PATH", &path).env("ANTHROPIC_API_KEY", "sk-mine").env("CLAUDECODE", "1");
    let run = run.env("CLAUDE_CODE_CHILD_SESSION", "1").env("CLAUDE_CODE_SESSION_ID", "x").env("MY_OWN", "stays");
    let outcome = run.stdin("typed").output().exits(7).silent();
    assert_says(&outcome, &["Restored "]);
    assert_eq!(told(&scratch), [cwd, cwd, "--resume", SUBAGENT, "-p", "again and \"again\"", "--json"]);
    assert_eq!(fs::read_to_string(scratch.beside("told.in")).expect("read"), "typed");
    let environment = fs::read_to_string(scratch.beside("told.env")).expect("read");
    for kept in ["ANTHROPIC_API_KEY=sk-mine", "MY_OWN=stays", &format!("HOME={}", scratch.home().display())] {
        assert!(environment.lines().any(|line| line == kept), "{kept} in\n{environment}");
    }
    for gone in ["CLAUDECODE=", "CLAUDE_CODE_CHILD_SESSION=", "CLAUDE_CODE_SESSION_ID=", "CLAUDE_CONFIG_DIR="] {
        assert!(!environment.lines().any(|line| line.starts_with(gone)), "{gone} in\n{environment}");
    }
    let projects = scratch.claude_dir().join("projects");
    let [slug] = &fs::read_dir(&projects).expect("read").map(|it| it.expect("read").path()).collect::<Vec<_>>()[..]
    else {
        panic!("one folder");
    };
    assert_restored_exactly(slug, &before);

    // It is there now, and has gone on: nothing is restored, nothing is touched, also elsewhere.
    transcripts::append(&slug.join(format!("{SUBAGENT}.jsonl")), "went on\n");
    let there = files(slug);
    let outcome = scratch.layer3(&["resume", SUBAGENT, "--cwd", "."]).env("PATH", &path).output().exits(7);
    assert!(outcome.silent().unworried().code == Some(7));
    let here = fs::canonicalize(scratch.project_dir()).expect("it exists");
    assert_eq!(told(&scratch)[0], here.to_str().expect("UTF-8"));
    assert_eq!(files(slug), there);
}

#[test]
fn resume_says_what_is_missing() {
    let scratch = Scratch::new();
    saved(&scratch, INTERACTIVE);
    let path = fake_claude(&scratch);
    lose_all(&scratch);
    // /home/dev/proj is on no machine of ours.
    let outcome = scratch.layer3(&["resume", INTERACTIVE]).env("PATH", &path).output().exits(1);
    assert_says(&outcome, &["/home/dev/proj does not exist", "--cwd"]);
    assert!(!scratch.transcript(INTERACTIVE).exists(), "refused before anything is written");

    let here = scratch.project_dir();
    let args = ["resume", INTERACTIVE, "--cwd", here.to_str().expect("UTF-8")];
    let outcome = scratch.layer3(&args).output().exits(1);
    let line = format!("cd {} && claude --resume {INTERACTIVE}", here.display());
    assert_says(&outcome, &["not on the PATH", &line]);

    let claude = RunningClaude::start();
    let live = json!({"pid": claude.pid(), "sessionId": INTERACTIVE});
    transcripts::append(&scratch.claude_dir().join("sessions/1.json"), live.to_string());
    let outcome = scratch.layer3(&args).env("PATH", &path).output().exits(1);
    assert_says(&outcome, &["it is live in process"]);
    let outcome = scratch.layer3(&["resume", "nobody"]).env("PATH", &path).output().exits(1);
    assert_says(&outcome, &["no stored session"]);
    assert!(!scratch.beside("told").exists(), "claude was not started");
}

#[test]
fn another_configuration_directory_is_told_to_claude() {
    let scratch = Scratch::new();
    saved(&scratch, INTERACTIVE);
    lose_all(&scratch);
    let (path, here) = (fake_claude(&scratch), scratch.project_dir());
    let other = scratch.home().join("other claude");
    let flags = ["--claude-dir", other.to_str().expect("UTF-8")];
    let args = ["resume", INTERACTIVE, "--cwd", here.to_str().expect("UTF-8")];
    scratch.layer3(&[&flags[..], &args].concat()).env("PATH", &path).output().exits(7);
    let environment = fs::read_to_string(scratch.beside("told.env")).expect("read");
    assert!(environment.contains(&format!("\nCLAUDE_CONFIG_DIR={}\n", other.display())), "{environment}");
    let outcome = scratch.layer3(&[&flags[..], &["restore", INTERACTIVE]].concat()).output().ok();
    assert_says(&outcome, &[&format!("CLAUDE_CONFIG_DIR='{}' claude --resume", other.display())]);
    assert!(!scratch.claude_dir().join("projects").exists());
}

#[test]
fn without_a_session_and_a_terminal_it_says_what_to_give() {
    let scratch = Scratch::new();
    saved(&scratch, INTERACTIVE);
    for command in ["restore", "resume"] {
        let outcome = scratch.layer3(&[command]).stdin("1\n").output().exits(1).silent();
        assert_says(&outcome, &["no terminal", "list --all", "--all-missing"]);
    }
    let nothing = Scratch::new();
    for args in [&["restore", INTERACTIVE][..], &["restore", "--all-missing"], &["resume", INTERACTIVE]] {
        assert_says(&nothing.layer3(args).output().exits(1).silent(), &["find a store"]);
    }
    assert!(!nothing.layer3_store().exists() && !nothing.layer1_store().exists());
}

#[test]
fn at_a_terminal_a_session_is_chosen_by_its_number() {
    const SCRIPT: &str = "/usr/bin/script";
    if !Path::new(SCRIPT).exists() {
        println!("skipped: at_a_terminal_a_session_is_chosen_by_its_number needs {SCRIPT}");
        return;
    }
    let scratch = Scratch::new();
    for transcript in transcripts::lay_out_recorded(&scratch) {
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
    }
    fs::remove_file(scratch.transcript(SUBAGENT)).expect("lose a transcript");
    let ask = |typed: &str| {
        let command = format!("'{}' restore", scratch.program(LAYER3).display());
        let run = scratch.at_home(Run::new(SCRIPT)).args(["-qec", &command, "/dev/null"]).env("TERM", "dumb");
        run.stdin(typed).output()
    };
    let outcome = ask("99\n1\n").ok();
    // Missing ones come first.
    assert_says(
        &outcome,
        &["1  gone  ae4ed748", "Please type a number from 1 to ", &format!("claude --resume {SUBAGENT}")],
    );
    assert!(scratch.transcript(SUBAGENT).exists());
    let shown = ask("\n").exits(1).text();
    assert!(!shown.contains("gone") && shown.contains("cancelled"), "{shown}");
}

#[test]
fn a_slug_of_more_than_200_characters_and_odd_directories() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(9);
    let deep = format!("/home/dev/{}/proj", "näh \u{1f980}'".repeat(40));
    let line = transcripts::prompt_line(&id, 1, "deep down");
    let mut record: Value = serde_json::from_str(&line).expect("JSON");
    record["cwd"] = json!(deep);
    let line = format!("{record}\n");
    let units: String = deep
        .encode_utf16()
        .map(|unit| char::from_u32(unit.into()).filter(char::is_ascii_alphanumeric).unwrap_or('-'))
        .collect();
    let slug = format!("{}-1x2y3z", &units[..200]);
    let transcript = scratch.claude_dir().join(format!("projects/{slug}/{id}.jsonl"));
    transcripts::append(&transcript, &line);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    lose_all(&scratch);
    let outcome = restore(&scratch, &[&id]).ok().unworried();
    assert_eq!(fs::read_to_string(&transcript).expect("it is back"), line);
    // The line goes through a shell unchanged.
    let command = outcome.text().lines().last().expect("a line").replace("claude --resume", "echo");
    let cd = command.split(" && ").next().expect("cd").replacen("cd ", "printf %s ", 1);
    let shown = Run::new("/bin/sh").args(["-c", &cd]).env("LANG", "C.UTF-8").output().ok().text();
    assert_eq!(shown, deep);
    lose_all(&scratch);
    restore(&scratch, &[&id, "--cwd", &deep]).ok().unworried();
    assert!(scratch.claude_dir().join(format!("projects/{}/{id}.jsonl", &units[..200])).exists());
}
