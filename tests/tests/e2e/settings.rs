//! The settings' file: what it changes, what wins over it, and that a hook copies whatever stands in it.

use std::fs;
use std::path::PathBuf;

use serde_json::json;
use tests::run::Run;
use tests::scratch::{PROJECT, Scratch};
use tests::stores::{assert_equals_source, assert_saved_twice};
use tests::transcripts::{self, INTERACTIVE, made_id, prompt_line};
use tests::tree;

use crate::product::{DELIVERY, await_delivered, chain, chain_delivered, pending, session_ids};

/// Writes the file where it is looked for by default.
fn set(scratch: &Scratch, text: &str) -> PathBuf {
    let path = scratch.home().join(".config/threefold/config.toml");
    fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("make a folder");
    fs::write(&path, text).expect("write the settings");
    path
}

/// A hook of ours alone, as the settings of Claude Code run it.
fn layer1_hook(scratch: &Scratch, event: &str) -> Run {
    scratch.layer1(&[]).stdin(format!("{event}\n"))
}

#[test]
fn places_come_from_the_file_unless_a_variable_or_a_flag_says_otherwise() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let event = transcripts::session_end(&transcript);
    set(&scratch, "pre_backup_dir = \"~/first\"\nbackup_dir = \"~/second\"\n");
    chain_delivered(&scratch, &event);
    for store in ["first", "second"] {
        assert_equals_source(&scratch.home().join(store), PROJECT, &transcript);
    }
    assert!(!scratch.layer1_store().exists() && !scratch.layer3_store().exists());
    assert_eq!(session_ids(&scratch), [INTERACTIVE], "a command reads it too");

    let (variable, flag) = (scratch.beside("variable"), scratch.beside("flag"));
    layer1_hook(&scratch, &event).env("PRE_BACKUP_DIR", &variable).output().ok();
    assert_equals_source(&variable, PROJECT, &transcript);
    let args = ["--pre-backup-dir", flag.to_str().expect("UTF-8")];
    let run = scratch.layer1(&args).stdin(format!("{event}\n")).env("PRE_BACKUP_DIR", &variable);
    run.output().ok();
    assert_equals_source(&flag, PROJECT, &transcript);
}

#[test]
fn the_file_is_where_xdg_config_home_says_for_the_whole_chain() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let config = scratch.beside("config");
    fs::create_dir_all(config.join("threefold")).expect("make a folder");
    fs::write(config.join("threefold/config.toml"), "backup_dir = \"~/second\"\nfree_space_floor = \"8000TB\"\n")
        .expect("write the settings");
    let hook = scratch.hook(&scratch.chain_command(""), &transcripts::session_end(&transcript));
    hook.env("XDG_CONFIG_HOME", &config).output().ok().silent();
    scratch.await_no_process(DELIVERY);
    // The floor reached layer 3, through the deliverer and its cleared environment.
    let jobs = pending(&scratch);
    assert!(jobs[0]["last_error"].as_str().is_some_and(|error| error.contains("free_space_floor")), "{jobs:?}");
    assert!(scratch.home().join("second/.log/layer3.log").exists() || scratch.home().join("second/.state").exists());
}

#[test]
fn an_unknown_key_is_refused_by_commands_and_never_stops_a_copy() {
    let texts = [
        ("exclud = [\"x\"]\n", "did you mean \"exclude\"?"),
        ("this is no TOML\n", "line 1"),
        ("wait = 3\n", "wait"),
        ("backup_dir = \"relative\"\n", "an absolute path"),
    ];
    for (text, told) in texts {
        let scratch = Scratch::new();
        let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
        let path = set(&scratch, text);
        let outcome = chain(&scratch, &transcripts::session_end(&transcript));
        assert!(outcome.stderr.contains("warning") && outcome.stderr.contains(told), "{outcome:#?}");
        scratch.await_no_process(DELIVERY);
        assert_saved_twice(&scratch, &transcript);
        assert!(scratch.log(1).contains(told) && scratch.log(2).contains(told), "{}", scratch.log(1));
        let stop = transcripts::event("Stop", &transcript, json!({}));
        let message = scratch.layer1(&["--quiet"]).stdin(format!("{stop}\n")).output().ok();
        assert!(
            message.json()["systemMessage"].as_str().is_some_and(|text| text.contains("config.toml")),
            "{message:?}"
        );
        for run in [
            scratch.layer1(&["status"]),
            scratch.layer1(&["sweep"]),
            scratch.layer2(&["pending"]),
            scratch.layer3(&["list", "--all"]),
            scratch.layer3(&["import"]),
        ] {
            let outcome = run.output().exits(1);
            assert!(outcome.stderr.contains(told), "{outcome:#?}");
        }
        scratch.layer1(&["sweep", "--quiet"]).output().ok().silent();
        scratch.layer2(&["drain"]).output().ok();
        fs::remove_file(path).expect("remove the settings");
        scratch.layer1(&["status"]).output().ok().unworried();
    }
}

#[test]
fn a_file_that_cannot_be_read_never_stops_a_copy() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    fs::create_dir_all(scratch.home().join(".config/threefold/config.toml")).expect("make a folder of that name");
    let outcome = chain(&scratch, &transcripts::session_end(&transcript));
    assert!(outcome.stderr.contains("config.toml"), "{outcome:#?}");
    scratch.await_no_process(DELIVERY);
    assert_saved_twice(&scratch, &transcript);
}

#[test]
fn excluded_sessions_are_copied_by_no_layer_and_told_by_status() {
    for glob in ["proj", "/home/dev/*", "**/projects/-home-dev-proj"] {
        let scratch = Scratch::new();
        let secret = transcripts::make_conversation(&scratch, &made_id(1), 3);
        let elsewhere = scratch.claude_dir().join(format!("projects/-home-other/{}.jsonl", made_id(2)));
        transcripts::append(&elsewhere, prompt_line(&made_id(2), 1, "open").replace("/home/dev/proj", "/srv/open"));
        set(&scratch, &format!("exclude = [\"{glob}\"]\n"));

        chain_delivered(&scratch, &transcripts::session_end(&secret));
        scratch.layer1(&["--quiet"]).stdin(format!("{}\n", transcripts::prompt_submit(&secret))).output().ok();
        let stores = [scratch.layer1_store(), scratch.layer3_store()];
        assert!(stores.iter().all(|store| !store.join(PROJECT).exists()), "{glob}");
        scratch.layer1(&["sweep"]).output().ok();
        scratch.layer1(&["sweep", "--all"]).output().ok();
        scratch.layer3(&["import"]).output().ok();
        let path = secret.to_str().expect("UTF-8");
        let refused = scratch.layer3(&["save", "--transcript", path]).output().ok();
        assert!(refused.text().contains("exclude"), "{refused:#?}");
        for store in &stores {
            let files = tree::session_files(store);
            assert!(files.iter().all(|file| !file.contains(&made_id(1))), "{glob}: {files:?}");
            assert!(files.iter().any(|file| file.contains(&made_id(2))), "{glob}: {files:?}");
        }
        let status = scratch.layer1(&["status", "--json"]).output().ok().json();
        assert_eq!(status["excluded"][0]["session_id"], made_id(1), "{status}");
        assert_eq!(status["excluded"][0]["glob"], glob);
        assert_eq!(status["behind"], json!([]));
        let status = scratch.layer3(&["status"]).output();
        assert!(status.text().contains("1 transcript not copied"), "{status:#?}");
        assert!(status.text().contains("1 saved twice, 1 not saved on purpose"), "{status:#?}");
        assert!(!status.text().contains(&made_id(1)), "{status:#?}");
    }
}

#[test]
fn what_was_copied_before_it_was_excluded_stays_as_it_is() {
    let scratch = Scratch::new();
    let transcript = transcripts::make_conversation(&scratch, &made_id(1), 3);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let before = fs::read(&transcript).expect("read the transcript");
    transcripts::append(&transcript, prompt_line(&made_id(1), 99, "secret"));
    let run = scratch.hook(&scratch.chain_command(""), &transcripts::session_end(&transcript));
    run.env("THREEFOLD_EXCLUDE", "other:proj").output().ok().silent();
    await_delivered(&scratch);
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let copy = fs::read(store.join(PROJECT).join(format!("{}.jsonl", made_id(1))));
        assert_eq!(copy.expect("read the copy"), before);
    }
    assert_eq!(session_ids(&scratch), [made_id(1)]);

    // Not by a repair either, when the source is another one altogether.
    transcripts::rewrite(
        &transcript,
        prompt_line(&made_id(1), 1, "secret from the beginning, and long enough to be one"),
    );
    set(&scratch, "exclude = [\"proj\"]\n");
    scratch.layer1(&["verify", "--repair"]).output().ok();
    scratch.layer3(&["verify", "--repair"]).output().ok();
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        assert!(tree::session_files(&store).iter().all(|file| !file.contains(".gen-")), "{}", store.display());
    }
}

#[test]
fn no_copy_is_begun_below_the_floor_and_that_is_never_silent() {
    let scratch = Scratch::new();
    let transcript = transcripts::make_conversation(&scratch, &made_id(1), 3);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let line = prompt_line(&made_id(1), 99, "more");
    transcripts::append(&transcript, &line);
    let copies = || [scratch.layer1_store(), scratch.layer3_store()].map(|store| tree::session_files(&store));
    let lengths =
        || fs::metadata(scratch.layer1_store().join(PROJECT).join(format!("{}.jsonl", made_id(1)))).map(|m| m.len());
    let (files, length) = (copies(), lengths().expect("it is there"));

    set(&scratch, "free_space_floor = \"8000TB\"\n");
    let outcome = chain(&scratch, &transcripts::session_end(&transcript));
    assert!(outcome.stderr.contains("free_space_floor"), "{outcome:#?}");
    scratch.await_no_process(DELIVERY);
    let stop = transcripts::event("Stop", &transcript, json!({}));
    let message = scratch.layer1(&["--quiet"]).stdin(format!("{stop}\n")).output().ok();
    assert!(message.json()["systemMessage"].as_str().is_some_and(|text| text.contains("floor")), "{message:?}");
    let sweep = scratch.layer1(&["sweep"]).output().exits(1);
    assert!(sweep.stderr.contains("free_space_floor"), "{sweep:#?}");
    let import = scratch.layer3(&["import"]).output().exits(1);
    assert!(import.stderr.contains("free_space_floor"), "{import:#?}");
    assert_eq!((copies(), lengths().expect("it is there")), (files, length), "not a byte was added");

    // A flag and a variable win over the file; then everything is made up for.
    scratch.layer1(&["sweep", "--free-space-floor", "1KB"]).output().ok();
    scratch.layer3(&["import"]).env("THREEFOLD_FREE_SPACE_FLOOR", "0").output().ok();
    assert_saved_twice(&scratch, &transcript);
}

#[test]
fn the_journal_can_be_turned_off() {
    let journal_after = |text: &str, variable: Option<&str>, flags: &[&str]| {
        let scratch = Scratch::new();
        set(&scratch, text);
        let missing = scratch.transcript(&made_id(1));
        let event = transcripts::prompt_submit(&missing);
        let mut run = scratch.layer1(flags).stdin(format!("{event}\n")).env("CLAUDE_CODE_ENTRYPOINT", "cli");
        if let Some(value) = variable {
            run = run.env("THREEFOLD_NO_JOURNAL", value);
        }
        run.output().ok();
        scratch.layer1_store().join(".state/journal").exists()
    };
    assert!(journal_after("", None, &[]));
    assert!(journal_after("journal = true\n", Some("0"), &[]));
    assert!(!journal_after("journal = false\n", None, &[]));
    assert!(!journal_after("journal = true\n", Some("1"), &[]));
    assert!(!journal_after("journal = true\n", None, &["--no-journal"]));
}

#[test]
fn logs_are_as_long_as_asked_for() {
    let logs_at = |level: &str| {
        let scratch = Scratch::new();
        let transcript = transcripts::make_conversation(&scratch, &made_id(1), 1);
        set(&scratch, &format!("log_level = \"{level}\"\n"));
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
        assert_saved_twice(&scratch, &transcript);
        [1, 2, 3].map(|layer| !scratch.log(layer).is_empty())
    };
    assert_eq!(logs_at("info"), [true; 3]);
    assert_eq!(logs_at("warn"), [false; 3]);
    assert_eq!(logs_at("off"), [false; 3]);
}

#[test]
fn layer_2_takes_its_patience_from_the_file_the_environment_and_flags() {
    let attempts = |text: &str, variable: Option<&str>, flags: &[&str]| {
        let scratch = Scratch::new();
        let transcript = transcripts::make_conversation(&scratch, &made_id(1), 1);
        set(&scratch, text);
        let args = [&["--foreground"], flags, &["--server", "/bin/false"]].concat();
        let mut run = scratch.layer2(&args).stdin(format!("{}\n", transcripts::session_end(&transcript)));
        if let Some(value) = variable {
            run = run.env("THREEFOLD_ATTEMPTS", value);
        }
        run.output().ok().stderr.matches("📝 Attempt").count()
    };
    let file = "attempts = 3\ndelay = \"1ms\"\n";
    assert_eq!(attempts("delay = \"1ms\"\n", None, &[]), 2);
    assert_eq!(attempts(file, None, &[]), 3);
    assert_eq!(attempts(file, Some("4"), &[]), 4);
    assert_eq!(attempts(file, Some("4"), &["--attempts", "1"]), 1);
}
