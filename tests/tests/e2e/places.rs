//! Other places than the default ones, by variable, by flag, and by what an event says; and file
//! names and sizes as they come.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde_json::json;
use tests::binaries::{LAYER1, LAYER2, LAYER3};
use tests::scratch::{PROJECT, Scratch};
use tests::stores::{assert_equals_source, assert_saved_twice, difference};
use tests::strace::{self, Traced};
use tests::transcripts::{self, INTERACTIVE};
use tests::tree;

use crate::disk::Mount;
use crate::product::{DELIVERY, assert_verified, await_delivered, chain, chain_delivered, found_in};

/// Stores that are elsewhere, on "another disk".
struct Elsewhere {
    layer1: PathBuf,
    layer3: PathBuf,
    index: PathBuf,
}

fn elsewhere(scratch: &Scratch) -> Elsewhere {
    let disk = scratch.beside("other disk's mount");
    Elsewhere { layer1: disk.join("pre"), layer3: disk.join("backup"), index: disk.join("index/sessions.db") }
}

impl Elsewhere {
    #[track_caller]
    fn assert_used(&self, scratch: &Scratch, transcript: &std::path::Path) {
        scratch.await_no_process(DELIVERY);
        for store in [&self.layer1, &self.layer3] {
            assert_equals_source(store, PROJECT, transcript);
        }
        assert!(self.index.exists());
        assert!(!self.layer3.join("sessions.db").exists());
        for default in [scratch.layer1_store(), scratch.layer3_store()] {
            assert!(!default.exists(), "{}", default.display());
        }
    }
}

#[test]
fn variables_move_the_stores() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let places = elsewhere(&scratch);
    scratch
        .hook(&scratch.chain_command(""), &transcripts::session_end(&transcript))
        .env("PRE_BACKUP_DIR", &places.layer1)
        .env("BACKUP_DIR", &places.layer3)
        .env("SESSION_DB_PATH", &places.index)
        .output()
        .ok()
        .silent()
        .unworried();
    places.assert_used(&scratch, &transcript);
}

#[test]
fn flags_move_the_stores_as_the_installer_writes_them() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let places = elsewhere(&scratch);
    let quoted = |path: &PathBuf| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    let flags = format!(
        "--pre-backup-dir {} --backup-dir {} --session-db {}",
        quoted(&places.layer1),
        quoted(&places.layer3),
        quoted(&places.index)
    );
    let (layer1, layer2) = (scratch.program(LAYER1), scratch.program(LAYER2));
    let chain = format!("{{ '{}' {flags} || cat; }} | '{}' {flags} || :", layer1.display(), layer2.display());
    scratch.hook(&chain, &transcripts::session_end(&transcript)).output().ok().silent().unworried();
    places.assert_used(&scratch, &transcript);

    transcripts::append(&transcript, transcripts::prompt_line(INTERACTIVE, 5, "and on"));
    let start = format!("'{}' sweep --quiet {flags}; '{}' drain {flags} || :", layer1.display(), layer2.display());
    scratch.hook(&start, &transcripts::event("SessionStart", &transcript, json!({}))).output().ok().silent();
    places.assert_used(&scratch, &transcript);
}

#[test]
fn a_configuration_directory_elsewhere_is_derived_from_the_event() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.home().join(format!("config/claude-work/projects/-home-dev-proj/{id}.jsonl"));
    transcripts::append(&transcript, transcripts::prompt_line(&id, 1, "the tapir swims"));
    transcripts::append(&transcript.with_extension("").join("custom-title.json"), "{}");
    chain(&scratch, &transcripts::session_end(&transcript)).unworried();
    await_delivered(&scratch);
    assert_saved_twice(&scratch, &transcript);
    assert_eq!(found_in(&scratch, "tapir"), [id.as_str()]);
}

#[test]
fn side_files_with_any_name_are_saved_and_receipted() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 1);
    let sides = transcript.with_extension("");
    for name in ["sesión.txt", "100%.txt", "%41", "new\nline", "back\\slash", " leading and trailing ", "-rf", "a'b\"c"]
    {
        transcripts::append(&sides.join("tool-results").join(name), name);
    }
    transcripts::append(&sides.join("tool-results").join(OsStr::from_bytes(b"\xff\xfe raw")), "raw");
    transcripts::append(&sides.join(".hidden/file"), "hidden");
    transcripts::append(&sides.join("empty"), "");
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
    fs::remove_dir_all(scratch.layer3_store()).expect("lose the store");
    crate::product::drain(&scratch);
    assert_saved_twice(&scratch, &transcript);
}

#[test]
fn what_is_no_file_among_the_side_files_is_left_out_and_holds_nothing_up() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 1);
    let sides = transcript.with_extension("");
    transcripts::append(&sides.join("tool-results/good.txt"), "good");
    transcripts::append(&sides.join("tool-results/other.lock"), "held");
    transcripts::append(&scratch.beside("secret"), "not to be copied");
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, sides.join(name)).expect("make a symlink");
    link(scratch.beside("secret").to_str().expect("UTF-8"), "outside");
    link("/etc", "a-directory");
    link("..", "tool-results/a-loop");
    link("itself", "itself");
    link("nowhere", "dangling");
    // The path by which a socket is made may be about a hundred bytes long, and the scratch directory's is not ours.
    let socket = scratch.beside("s");
    let _socket = std::os::unix::net::UnixListener::bind(&socket).expect("make a socket");
    fs::rename(socket, sides.join("socket")).expect("move a socket");
    tests::run::Run::new("/usr/bin/mkfifo").arg(sides.join("fifo")).output().ok();
    // Only root may make these; without them the test says the same of the others.
    for (name, kind, numbers) in [("zero", "c", ["1", "5"]), ("disk", "b", ["7", "200"])] {
        let made = tests::run::Run::new("/usr/bin/mknod").arg(sides.join(name)).arg(kind).args(numbers).output();
        if made.code != Some(0) {
            println!("skipped: a device among the side files: {}", made.stderr.trim());
        }
    }
    let started = std::time::Instant::now();
    chain(&scratch, &transcripts::session_end(&transcript)).unworried();
    assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
    await_delivered(&scratch);
    let expected = [format!("{PROJECT}/{id}/tool-results/good.txt"), format!("{PROJECT}/{id}.jsonl")];
    assert_eq!(tree::session_files(&scratch.layer1_store()), expected);
    let stored = tree::session_files(&scratch.layer3_store());
    assert_eq!(
        stored.iter().filter(|path| !path.ends_with(".json")).collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );
    assert_verified(&scratch);
}

#[test]
fn a_byte_order_mark_and_odd_bytes_stay_in_the_copy_and_out_of_the_way() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    let line = |turn, text: &str| transcripts::prompt_line(&id, turn, text);
    transcripts::append(&transcript, format!("\u{feff}{}", line(1, "saola with a mark")));
    transcripts::append(&transcript, line(2, "saola with a return").replace('\n', "\r\n"));
    let mut bad = line(3, "saola XX bad bytes").into_bytes();
    let at = bad.windows(2).position(|pair| pair == b"XX").expect("there");
    bad[at..at + 2].copy_from_slice(b"\xff\xfe");
    transcripts::append(&transcript, bad);
    transcripts::append(&transcript, line(4, "saola YY").replace("YY", r"half an emoji \ud83d"));
    transcripts::append(&transcript, [0; 3]);
    transcripts::append(&transcript, line(5, "saola after zeroes"));
    transcripts::append(&transcript, "\r\n\n \n");
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    assert_saved_twice(&scratch, &transcript);
    let found = scratch.layer3(&["search", "--all", "--each", "--json", "saola"]).output().ok().json();
    assert_eq!(found["hits"].as_array().map(Vec::len), Some(5), "{found}");
    assert_verified(&scratch);
}

#[test]
fn a_line_of_thirteen_million_characters_is_saved_and_found() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 2);
    transcripts::append(&transcript, transcripts::prompt_line(&id, 10, &"lorem ipsum ".repeat(1_080_000)));
    transcripts::append(&transcript, transcripts::prompt_line(&id, 11, "the caracal after it"));
    chain(&scratch, &transcripts::session_end(&transcript));
    await_delivered(&scratch);
    assert_saved_twice(&scratch, &transcript);
    assert_eq!(found_in(&scratch, "caracal"), [id.as_str()]);
    assert_verified(&scratch);
}

#[test]
fn many_side_files_are_saved_within_the_hooks_limits() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 1);
    for n in 0..400 {
        transcripts::append(
            &transcript.with_extension("").join(format!("tool-results/toolu_{n:05}.txt")),
            n.to_string(),
        );
    }
    let whole = || difference(&scratch.layer1_store(), PROJECT, &transcript).is_none();
    // On a slow disk one event is not enough: layer 1 stops after 5 s and goes on at the next.
    let events = (1..=20).find(|_| {
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
        whole()
    });
    println!("{events:?} events");
    assert_saved_twice(&scratch, &transcript);
}

#[test]
fn ten_thousand_side_files_are_saved_and_receipted() {
    const FILES: usize = 10_000;
    let scratch = Scratch::new();
    let test = "ten_thousand_side_files_are_saved_and_receipted";
    // In memory, where a sync costs nothing: how long a disk takes for them says nothing about us.
    let mount = |at: PathBuf| Mount::tmpfs(test, &at, "size=256m");
    let (Some(_first), Some(_third)) = (mount(scratch.layer1_store()), mount(scratch.layer3_store())) else { return };
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 1);
    let folder = transcript.with_extension("").join("tool-results");
    for n in 0..FILES {
        transcripts::append(&folder.join(format!("toolu_{n:05}.txt")), n.to_string());
    }
    let limit = std::time::Duration::from_secs(240);
    let event = transcripts::session_end(&transcript);
    let outcome = scratch.layer1(&[]).stdin(event.clone()).limit(limit).output().ok();
    assert_eq!(outcome.text(), event);
    println!("layer 1's hook: {:?}", outcome.elapsed);
    assert!(outcome.elapsed < std::time::Duration::from_millis(7500), "{outcome:#?}");
    let outcome = scratch.layer1(&["sweep"]).limit(limit).output().ok();
    println!("the sweep after it: {:?}", outcome.elapsed);
    let outcome = scratch.layer3(&["save", "--json"]).stdin(event).limit(limit).output().ok();
    println!("layer 3: {:?}", outcome.elapsed);
    let receipt = outcome.json();
    let files = receipt["files"].as_array().expect("a receipt lists files");
    assert_eq!(files.iter().filter(|file| file["covered"] == true).count(), FILES + 1);
    assert_saved_twice(&scratch, &transcript);
}

#[test]
fn a_save_lists_the_side_files_a_few_times_and_not_once_for_each() {
    if !strace::is_here("a_save_lists_the_side_files_a_few_times_and_not_once_for_each") {
        return;
    }
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 1);
    const FILES: usize = 60;
    for n in 0..FILES {
        transcripts::append(&transcript.with_extension("").join(format!("tool-results/{n}.txt")), n.to_string());
    }
    let event = transcripts::session_end(&transcript);
    scratch.layer1(&["--quiet"]).stdin(event.clone()).output().ok();
    scratch.layer3(&["save"]).stdin(event.clone()).output().ok();
    let traced = Traced::new(&scratch, "newfstatat,openat,getdents64", &[], LAYER3, &["save"]);
    let trace = traced.with(|run| run.stdin(event)).output();
    trace.outcome.ok();
    let calls = trace.lines.len();
    println!("{calls} calls for {FILES} side files");
    assert!(calls < 40 * FILES, "{calls} calls for {FILES} side files");
}

#[test]
fn projects_are_named_after_the_first_directory_of_the_conversation() {
    let scratch = Scratch::new();
    for (n, (cwd, project)) in [
        (r"C:\Users\dev\my app", "my app"),
        ("/home/dev/.dotfiles", "_dotfiles"),
        ("/", "unknown"),
        ("/home/dev/sesión", "sesión"),
        ("/home/dev/nul", "nul_"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = transcripts::made_id(n as u32);
        let transcript = scratch.transcript(&id);
        let quoted = serde_json::to_string(cwd).expect("JSON");
        transcripts::append(&transcript, transcripts::prompt_line(&id, 1, "x").replace("\"/home/dev/proj\"", &quoted));
        // The event's directory is another by then.
        chain(&scratch, &transcripts::event("SessionEnd", &transcript, json!({"cwd": "/home/dev/elsewhere"})));
        await_delivered(&scratch);
        for store in [scratch.layer1_store(), scratch.layer3_store()] {
            assert_equals_source(&store, project, &transcript);
            assert!(!tree::session_files(&store).iter().any(|path| path.starts_with("elsewhere")));
        }
    }
}

/// Directories that a project may have: what Windows reserves, what we call our own files, and what is hidden.
const ODD_PROJECTS: [&str; 14] = [
    "sessions.db",
    "Sessions.DB",
    "sessions.db-wal",
    "store.json",
    "con.txt",
    "aux.js",
    "COM1.tar.gz",
    "nul",
    ".state",
    ".outbox",
    "deliver.lock",
    "metadata.json",
    "x.jsonl",
    "a:b. ",
];

/// A conversation in each of [`ODD_PROJECTS`], and one in a usual one.
fn odd_projects(scratch: &Scratch) -> Vec<PathBuf> {
    let conversation = |(nth, name): (usize, &&str)| {
        let id = transcripts::made_id(nth as u32 + 1);
        let transcript = scratch.claude_dir().join(format!("projects/-w-{nth}/{id}.jsonl"));
        let line = transcripts::prompt_line(&id, 1, "the okapi");
        transcripts::append(&transcript, line.replace("/home/dev/proj", &format!("/w/{name}")));
        transcript
    };
    ODD_PROJECTS.iter().chain(&["usual"]).enumerate().map(conversation).collect()
}

/// Every conversation is copied twice, listed and found, and a second run has nothing to do.
#[track_caller]
fn assert_all_there(scratch: &Scratch, transcripts: &[PathBuf]) {
    assert_eq!(crate::product::session_ids(scratch).len(), transcripts.len());
    assert_eq!(found_in(scratch, "okapi").len(), transcripts.len());
    let swept = scratch.layer1(&["sweep"]).output().ok().text();
    assert!(swept.contains(" 0 copied"), "{swept}");
    let imported = scratch.layer3(&["import"]).output().ok().text();
    assert!(imported.contains(&format!("0 saved, {} unchanged", transcripts.len())), "{imported}");
    assert_verified(scratch);
}

#[test]
fn a_project_may_bear_any_name_without_hiding_itself_or_another() {
    let scratch = Scratch::new();
    let transcripts = odd_projects(&scratch);
    scratch.layer1(&["sweep"]).output().ok();
    scratch.layer3(&["import"]).output().ok();
    assert_all_there(&scratch, &transcripts);
    for transcript in &transcripts {
        transcripts::append(transcript, "{}\n");
        chain(&scratch, &transcripts::session_end(transcript));
    }
    await_delivered(&scratch);
    assert_all_there(&scratch, &transcripts);
    scratch.layer3(&["rebuild"]).output().ok();
    assert_all_there(&scratch, &transcripts);
}

#[test]
fn folders_that_the_version_before_named_are_gone_on_with() {
    let scratch = Scratch::new();
    let transcripts = odd_projects(&scratch);
    scratch.layer1(&["sweep"]).output().ok();
    scratch.layer3(&["import"]).output().ok();
    // What they were called before; of the index there was none then.
    for index in
        fs::read_dir(scratch.layer3_store()).expect("list a store").map(|entry| entry.expect("an entry").path())
    {
        if index.is_file() {
            fs::remove_file(index).expect("remove the index");
        }
    }
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        for (now, before) in [("_sessions.db", "sessions.db"), ("con_.txt", "con.txt_"), ("aux_.js", "aux.js_")] {
            fs::rename(store.join(now), store.join(before)).expect("rename a project's folder");
            for session in fs::read_dir(store.join(".state/sessions")).expect("list the sessions") {
                let ledger = |name: &str| session.as_ref().expect("an entry").path().join(format!("{name}.ledger"));
                if ledger(now).exists() {
                    fs::rename(ledger(now), ledger(before)).expect("rename a ledger");
                }
            }
        }
    }
    scratch.layer3(&["rebuild"]).output().ok();
    assert_all_there(&scratch, &transcripts);
    for transcript in &transcripts {
        transcripts::append(transcript, "{}\n");
        chain(&scratch, &transcripts::session_end(transcript));
    }
    await_delivered(&scratch);
    assert_all_there(&scratch, &transcripts);
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        assert_equals_source(&store, "con.txt_", &transcripts[4]);
        assert!(!store.join("con_.txt").exists() && !store.join("_sessions.db").exists());
    }
}

/// How a place is said.
#[derive(Debug, Clone, Copy)]
enum Said {
    ByVariable,
    ByFlag,
    InTheFile,
}

/// Every way to say a place × every way in which it can be wrong: a copy is made, nothing is printed to Claude Code but
/// where the user sees it, and it is told. (Root may read what is unreadable; then there is nothing to tell.)
#[test]
fn a_place_that_is_wrong_never_costs_a_copy_and_is_told() {
    let places = [
        ("HOME", "", ""),
        ("CLAUDE_CONFIG_DIR", "--claude-dir", "claude_dir"),
        ("PRE_BACKUP_DIR", "--pre-backup-dir", "pre_backup_dir"),
        ("BACKUP_DIR", "--backup-dir", "backup_dir"),
        ("SESSION_DB_PATH", "--session-db", "session_db_path"),
    ];
    for (variable, flag, key) in places {
        for said in [Said::ByVariable, Said::ByFlag, Said::InTheFile] {
            let wrong: &[&str] = match said {
                Said::ByVariable => &["./relative", "", "FILE", "FILE/below", "ABSENT"],
                _ if flag.is_empty() => &[],
                _ => &["relative", ""],
            };
            for wrong in wrong {
                check_wrong_place((variable, flag, key), said, wrong);
            }
        }
    }
}

#[track_caller]
fn check_wrong_place((variable, flag, key): (&str, &str, &str), said: Said, wrong: &str) {
    let what = format!("{variable} {said:?} {wrong:?}");
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 1);
    let (file, absent) = (scratch.beside("file"), scratch.beside("absent/below"));
    fs::write(&file, "a file of somebody's").expect("write a file");
    let value = wrong.replace("FILE", &file.display().to_string()).replace("ABSENT", &absent.display().to_string());
    let flags = if matches!(said, Said::ByFlag) { format!("{flag} '{value}'") } else { String::new() };
    if matches!(said, Said::InTheFile) {
        let config = scratch.home().join(".config/threefold/config.toml");
        transcripts::append(&config, format!("{key} = \"{value}\"\n"));
    }
    let run = |command: &str, event: &str| {
        let run = scratch.hook(command, event);
        if matches!(said, Said::ByVariable) { run.env(variable, &value) } else { run }.output().ok()
    };
    let (layer1, layer2) = (scratch.program(LAYER1), scratch.program(LAYER2));
    let (layer1, layer2) = (format!("'{}' {flags}", layer1.display()), format!("'{}' {flags}", layer2.display()));
    let told = run(&format!("{layer1} --quiet"), &transcripts::event("Stop", &transcript, json!({})));
    run(
        &format!("{layer1} sweep --quiet; {layer2} drain || :"),
        &transcripts::event("SessionStart", &transcript, json!({})),
    );
    transcripts::append(&transcript, transcripts::prompt_line(&id, 9, "the last one"));
    run(&format!("{{ {layer1} || cat; }} | {layer2} || :"), &transcripts::session_end(&transcript)).silent();
    scratch.await_no_process(DELIVERY);
    let store = [scratch.layer1_store(), absent.clone(), scratch.home().join(".claude/backup-sessions")];
    let store = store.into_iter().find(|store| store.join(PROJECT).join(format!("{id}.jsonl")).exists());
    let store = store.unwrap_or_else(|| panic!("{what}: no copy; {told:?}"));
    assert_equals_source(&store, PROJECT, &transcript);
    if variable != "SESSION_DB_PATH" {
        // An index is set aside where it cannot be used.
        assert_eq!(fs::read_to_string(&file).expect("read a file"), "a file of somebody's", "{what}");
    }
    // What is not there is made; an index or a second copy that cannot be made is told by whoever makes it, later.
    let is_relative = !value.is_empty() && !value.starts_with('/');
    let is_wrong = match (variable, wrong) {
        (_, "") => variable == "HOME" || !matches!(said, Said::ByVariable),
        ("HOME" | "CLAUDE_CONFIG_DIR", _) => true,
        ("PRE_BACKUP_DIR", wrong) => wrong != "ABSENT",
        _ => is_relative,
    };
    let log = fs::read_to_string(store.join(".log/layer1.log")).expect("read a log");
    assert_eq!(log.contains("warning: failed to"), is_wrong, "{what}: {log}");
    assert_eq!(told.text().contains("systemMessage"), is_wrong, "{what}: {told:?}");
    let status = scratch.layer3(&["status", "--json"]).output();
    if status.text().is_empty() {
        // The settings' file says the same to a person.
        assert!(matches!(said, Said::InTheFile) && status.stderr.contains(key), "{what}: {status:?}");
    } else if store == scratch.layer1_store() {
        let status = status.json();
        let findings = status["findings"].as_array().expect("findings");
        let has = |kind: &str| findings.iter().any(|finding| finding["kind"] == kind);
        // It may go by the same place, which it cannot read.
        let is_told = has("hook-settings") || is_wrong && has("store-unreadable");
        assert_eq!(is_told, is_wrong, "{what}: {status}");
    }
    if !(value.starts_with(&file.display().to_string()) && variable == "BACKUP_DIR") {
        let second = [scratch.layer3_store(), absent]
            .into_iter()
            .find(|store| difference(store, PROJECT, &transcript).is_none());
        assert!(
            second.is_some(),
            "{what}: no second copy; {}",
            fs::read_to_string(store.join(".log/layer2.log")).unwrap_or_default()
        );
    }
}

/// Stores that are one directory, lie in each other or among the transcripts, by variable and by link: the hooks copy to
/// what lies apart and tell, commands refuse, and nothing of Claude Code's is touched.
#[test]
fn stores_that_do_not_lie_apart_are_refused_and_cost_no_copy() {
    type Prepare = fn(&Scratch);
    type Case<'c> = (&'c str, Option<(&'c str, &'c str)>, Prepare, bool);
    let no: Prepare = |_| ();
    let both_are_links: Prepare = |scratch| {
        fs::create_dir(scratch.beside("disk")).expect("make a directory");
        for store in [scratch.layer1_store(), scratch.layer3_store()] {
            std::os::unix::fs::symlink(scratch.beside("disk"), store).expect("make a link");
        }
    };
    let cases: [Case<'_>; 5] = [
        ("one for both", Some(("{beside}/same", "{beside}/same")), no, true),
        ("the second in the first", Some(("{beside}/one", "{beside}/one/two")), no, true),
        ("the first among the transcripts", Some(("{claude}/projects", "{beside}/two")), no, true),
        ("the second holds the transcripts", Some(("{beside}/one", "{claude}")), no, true),
        ("both defaults lead to one", None, both_are_links, false),
    ];
    for (what, places, prepare, has_second) in cases {
        let scratch = Scratch::new();
        prepare(&scratch);
        let id = transcripts::made_id(1);
        let transcript = transcripts::make_conversation(&scratch, &id, 1);
        let path = |text: &str| {
            let text = text.replace("{beside}", scratch.beside("").to_str().expect("text").trim_end_matches('/'));
            PathBuf::from(text.replace("{claude}", scratch.claude_dir().to_str().expect("text")))
        };
        let given = places.map(|(first, second)| (path(first), path(second)));
        let with = |run: tests::run::Run| match &given {
            Some((first, second)) => run.env("PRE_BACKUP_DIR", first).env("BACKUP_DIR", second),
            None => run,
        };
        let before = tree::all(&scratch.claude_dir());
        let told = with(scratch.hook(&scratch.turn_command(), &transcripts::event("Stop", &transcript, json!({}))));
        assert!(told.output().ok().text().contains("systemMessage"), "{what}");
        with(scratch.hook(&scratch.chain_command(""), &transcripts::session_end(&transcript))).output().ok();
        scratch.await_no_process(DELIVERY);
        assert_eq!(tree::all(&scratch.claude_dir()), before, "{what}");
        let copy = |store: &PathBuf| difference(store, PROJECT, &transcript).is_none();
        let (mut first, mut second) = (vec![scratch.layer1_store()], vec![scratch.layer3_store()]);
        given.iter().for_each(|(one, two)| {
            first.push(one.clone());
            second.push(two.clone());
        });
        assert!(first.iter().any(copy), "{what}: no first copy");
        if has_second {
            assert!(second.iter().any(copy), "{what}: no second copy");
        } else {
            let jobs = scratch.layer1_store().join(".outbox");
            let waits = fs::read_dir(&jobs).expect("list the outbox").flatten();
            let is_job = |name: String| name.ends_with(".json");
            assert!(waits.filter_map(|job| job.file_name().into_string().ok()).any(is_job), "{what}: nothing waits");
        }
        for run in [scratch.layer3(&["import"]), scratch.layer1(&["sweep"]), scratch.layer2(&["pending"])] {
            let refused = with(run).output().exits(1);
            assert!(
                refused.stderr.contains("failed to use ") || refused.stderr.contains(": use "),
                "{what}: {refused:?}"
            );
        }
    }
}
