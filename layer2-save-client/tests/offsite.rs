//! The third place against a scripted `restic`: what a real one does only when it fails. What real ones do stands in the
//! workspace's end-to-end tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use layer1_prebackup::archive::{Archive, Compare, SaveRequest};
use layer1_prebackup::fs::platform::process::is_running;
use layer1_prebackup::names::SessionId;
use layer1_prebackup::wire::offsite::State;

struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Home {
        let home = Home { dir: tempfile::tempdir().unwrap() };
        for folder in ["bin", "place", ".stand-in"] {
            fs::create_dir(home.path(folder)).unwrap();
        }
        let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/offsite/restic");
        std::os::unix::fs::symlink(stand_in, home.path("bin/restic")).unwrap();
        home.save("s1", "one\n");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.path(".claude-backup-sessions")
    }

    fn save(&self, id: &str, text: &str) {
        let transcript = self.path(".claude/projects/-p").join(format!("{id}.jsonl"));
        fs::create_dir_all(transcript.parent().unwrap()).unwrap();
        fs::write(&transcript, text).unwrap();
        let request = SaveRequest {
            id: &SessionId::parse(id).unwrap(),
            transcript: &transcript,
            project: None,
            cwd: Some("/p"),
            compare: Compare::Whole,
            progress: &|_| {},
        };
        Archive::create(&self.store()).unwrap().save(&request).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_layer2-save-client"));
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        command.env_clear().env("HOME", self.dir.path()).env("PATH", path).args(args);
        command.env("ANTHROPIC_API_KEY", "not for children").stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(&[&["offsite"], args].concat()).output().unwrap()
    }

    /// Runs it; what it says where it is refused.
    fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn well(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn set_up(&self) {
        self.well(&["init", self.path("place").to_str().unwrap(), "--name", "laptop"]);
    }

    fn state(&self) -> State {
        State::read(&self.store()).unwrap().unwrap()
    }

    fn fault(&self, script: &str) {
        fs::write(self.path(".stand-in/fault"), script).unwrap();
    }

    fn troubles(&self) -> Vec<String> {
        self.state().troubles.iter().map(|trouble| trouble.kind.word()).collect()
    }
}

#[test]
fn one_that_says_nothing_is_ended_with_all_that_it_started() {
    let home = Home::new();
    home.set_up();
    home.save("s2", "two\n");
    let pids = home.path(".stand-in/pids");
    let script = "[ $verb = backup ] && { trap '' TERM; sleep 1000 & echo $! $$ > \"$base/pids\"; \
        while :; do echo '{\"message_type\":\"status\",\"seconds_elapsed\":1,\"bytes_done\":1}'; sleep 0.1; done; }";
    home.fault(script);
    let started = Instant::now();
    let output = home.command(&["offsite", "push"]).env("THREEFOLD_OFFSITE_SILENCE", "2s").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no progress for 2 seconds (offsite-unreachable)"));
    // The limit, 5 s to obey a SIGTERM that it ignores, and what a busy machine takes.
    assert!(started.elapsed() >= Duration::from_secs(7) && started.elapsed() < Duration::from_secs(60));
    for pid in fs::read_to_string(pids).unwrap().split_whitespace() {
        assert!(!is_running(pid.parse().unwrap()), "{pid} still runs");
    }
    assert_eq!(home.troubles(), ["offsite-unreachable"]);
    // The lock is free, and what went wrong is forgotten once it is well.
    home.fault("");
    home.well(&["push"]);
    assert_eq!((home.troubles(), home.state().attempt.unwrap().failures), (Vec::new(), 0));
}

#[test]
fn a_place_that_is_away_is_not_kept_alive_by_what_restic_says_of_it() {
    for verb in ["dump", "'repair index'"] {
        let home = Home::new();
        home.set_up();
        home.fault(&format!(
            "case \"$verb $1\" in {verb}*) while [ \"${{n:-0}}\" -lt 300 ]; do n=$((n + 1)); [ $verb = dump ] || echo \"[0:$n] 0.00%  0 / 5 packs processed\"; \
             echo \"Load(<data/5f>) returned error, retrying after $n s: no such host\" >&2; sleep 0.1; done; exit 1 ;; esac"
        ));
        let args = if verb == "dump" { ["offsite", "drill"] } else { ["offsite", "repair"] };
        let output = home.command(&args).env("THREEFOLD_OFFSITE_SILENCE", "2s").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("no progress for 2 seconds (offsite-unreachable)"),
            "{output:?}"
        );
        assert_eq!(home.troubles(), ["offsite-unreachable"]);
    }
}

#[test]
fn what_is_not_read_back_was_not_sent() {
    let home = Home::new();
    home.set_up();
    let first = home.state().receipt.unwrap();
    home.save("s2", "two\n");
    home.fault("[ $verb = ls ] && { echo '{\"type\":\"file\",\"path\":\"/p/s1.jsonl\",\"size\":4}'; exit 0; }");
    let told = home.refused(&["push"]);
    assert!(told.contains("1 of 2 files are not in snapshot") && told.contains("p/s2.jsonl (not-covered)"), "{told}");
    assert_eq!((home.state().receipt.unwrap(), home.state().waiting), (first, 1));
    home.fault("");
    home.well(&["push"]);
    assert_eq!((home.state().receipt.unwrap().sessions, home.state().waiting), (2, 0));
    assert_eq!(home.troubles(), [""; 0]);
}

#[test]
fn one_that_was_killed_in_a_drill_says_nothing_of_what_is_stored() {
    let home = Home::new();
    home.set_up();
    home.fault("[ $verb = dump ] && kill -9 $$");
    assert!(home.refused(&["drill"]).contains("restic was killed"));
    assert_eq!(home.troubles(), ["offsite-failed"]);
    // What is not what was sealed is told, by name.
    home.fault("[ $verb = dump ] && case \"$*\" in *.jsonl) echo eno; exit 0 ;; esac");
    assert!(home.refused(&["drill"]).contains("(drill-failed)"));
    assert_eq!(home.troubles(), ["drill-failed"]);
    home.fault("");
    home.well(&["drill"]);
    assert_eq!(home.troubles(), [""; 0]);
}

#[test]
fn a_drill_of_a_conversation_of_many_files_brings_its_transcript_back_first() {
    let home = Home::new();
    let folder = home.path(".claude/projects/-p/s1/subagents");
    fs::create_dir_all(&folder).unwrap();
    (0..60).for_each(|n| fs::write(folder.join(format!("agent-{n}.jsonl")), format!("{n}\n")).unwrap());
    home.save("s1", "one\n");
    home.set_up();
    let drilled = || {
        fs::write(home.path(".stand-in/calls"), "").unwrap();
        home.well(&["drill", "s1"]);
        let calls = fs::read_to_string(home.path(".stand-in/calls")).unwrap();
        let dumped = calls.lines().filter(|call| call.contains(" dump ")).filter_map(|call| call.rsplit(' ').next());
        dumped.skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let (once, again) = (drilled(), drilled());
    assert_eq!((once[0].as_str(), again[0].as_str(), once.len()), ("/p/s1.jsonl", "/p/s1.jsonl", 20));
    // Two draws of 19 out of 60 are not the same.
    assert_ne!(once, again);
    home.fault("[ $verb = dump ] && case \"$*\" in *s1.jsonl) echo eno; exit 0 ;; esac");
    assert!(home.refused(&["drill", "s1"]).contains("(drill-failed)"));
}

#[test]
fn what_did_not_come_back_is_told_until_each_of_it_did() {
    let home = Home::new();
    ["s2", "s3", "s4", "s5", "s11"].iter().for_each(|id| home.save(id, "text\n"));
    home.set_up();
    let damaged =
        |ids: &str| format!("case \"$verb $*\" in *--archive*) exit 1 ;; dump*{ids}.jsonl) echo eno; exit 0 ;; esac");
    home.fault(&damaged("s[1-4]"));
    assert!(home.refused(&["drill", "--all"]).contains("4 conversations did not come back"));
    let told = || home.state().troubles.into_iter().map(|trouble| trouble.what).collect::<Vec<_>>().join("\n");
    for (well, damaged_still, count) in [
        ("s5", "s[1-4]", "4 "),
        ("s11", "s[1-4]", "4 "),
        ("s3", "s[124]", "3 "),
        ("s1", "s[24]", "2 "),
        ("s4", "s2", "1 "),
    ] {
        home.fault(&damaged(damaged_still));
        home.well(&["drill", well]);
        assert!(told().starts_with(count) && home.troubles() == ["drill-failed"], "{well}: {}", told());
    }
    assert!(told().contains("(p/s2: ") && !told().contains("s1"), "{}", told());
    home.fault("");
    home.well(&["drill", "s2"]);
    assert_eq!(home.troubles(), [""; 0]);
    // All of them that are well are enough, whatever was told before.
    home.fault(&damaged("s3"));
    home.refused(&["drill", "s3"]);
    home.fault("");
    home.well(&["drill", "--all"]);
    assert_eq!(home.troubles(), [""; 0]);
}

#[test]
fn a_lock_is_removed_once_and_what_is_locked_then_is_told() {
    let home = Home::new();
    home.set_up();
    home.save("s2", "two\n");
    home.fault(
        "[ $verb = unlock ] && rm -f \"$base/locked\"; [ $verb = backup ] && [ -f \"$base/locked\" ] && exit 11",
    );
    fs::write(home.path(".stand-in/locked"), "").unwrap();
    home.well(&["push"]);
    home.save("s3", "three\n");
    home.fault("[ $verb = backup ] && { echo 'Fatal: repo already locked by pid 7 on other' >&2; exit 11; }");
    assert!(home.refused(&["push"]).contains("repo already locked by pid 7 on other (locked)"));
}

#[test]
fn a_restic_that_was_left_by_a_killed_push_keeps_the_lock_and_is_ended_by_the_next() {
    let home = Home::new();
    home.set_up();
    home.save("s2", "two\n");
    home.fault("[ $verb = backup ] && { echo $$ > \"$base/pid\"; while :; do sleep 0.1; done; }");
    let mut push = home.command(&["offsite", "push"]).stderr(Stdio::null()).spawn().unwrap();
    let pid = home.path(".stand-in/pid");
    let deadline = Instant::now() + Duration::from_secs(60);
    // Written by another process; nothing tells when.
    while !fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n')) {
        assert!(Instant::now() < deadline, "no restic was started");
        std::thread::yield_now();
    }
    push.kill().and_then(|()| push.wait()).unwrap();
    home.fault("");
    home.well(&["push"]);
    let left = fs::read_to_string(&pid).unwrap();
    assert!(!is_running(left.trim().parse().unwrap()), "{left} still runs");
}

#[test]
fn no_secret_is_an_argument_or_in_an_environment_or_in_the_log() {
    let home = Home::new();
    home.set_up();
    home.well(&["push"]);
    home.well(&["drill", "--all"]);
    home.well(&["check"]);
    home.well(&["status"]);
    let key = fs::read_to_string(home.path(".config/threefold/offsite.key")).unwrap();
    let words: Vec<&str> = key.split_whitespace().collect();
    let pair = words[..2].join(" ");
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    let store = home.store();
    let told = [
        read(home.path(".stand-in/calls")),
        read(home.path(".stand-in/environment")),
        read(store.join(".log/layer2.log")),
        read(store.join(".state/offsite/state.json")),
        read(store.join(".state/offsite/seal.json")),
        home.well(&["status", "--json"]),
    ];
    for text in told {
        assert!(!text.contains(&pair) && !text.contains("not for children"), "{text}");
    }
}

#[test]
fn what_is_due_waits_for_its_time_and_is_silent() {
    let home = Home::new();
    home.set_up();
    let calls = || fs::read_to_string(home.path(".stand-in/calls")).unwrap().lines().count();
    home.save("s2", "two\n");
    let before = calls();
    // The first push was just now.
    assert_eq!(home.well(&["push", "--due"]), "");
    assert_eq!((calls(), home.state().waiting), (before, 1));
    let now = home.command(&["offsite", "push", "--due"]).env("THREEFOLD_OFFSITE_EVERY", "0s").output().unwrap();
    assert!(now.status.success() && now.stdout.is_empty() && now.stderr.is_empty(), "{now:?}");
    let state = home.state();
    assert_eq!((state.waiting, state.receipt.unwrap().sessions), (0, 2));
    // With the first push of a day a conversation is brought back and a part of the data checked.
    assert_eq!((state.drill.unwrap().result.as_str(), state.check.unwrap().part), ("equal", 1));
    // A failure makes the next one wait, and a hook's program says nothing of it.
    home.save("s3", "three\n");
    home.fault("[ $verb = backup ] && exit 1");
    for _ in 0..2 {
        let now = home.command(&["offsite", "push", "--due"]).env("THREEFOLD_OFFSITE_EVERY", "0s").output().unwrap();
        assert!(now.status.success() && now.stderr.is_empty(), "{now:?}");
    }
    assert_eq!(home.state().attempt.unwrap().failures, 1, "the second one waited");
}

#[test]
fn what_keeps_a_due_push_from_beginning_is_in_the_state_until_it_is_over() {
    let home = Home::new();
    home.set_up();
    let due = |name: &str| {
        let mut command = home.command(&["offsite", "push", "--due"]);
        command.env("THREEFOLD_OFFSITE_EVERY", "0s").env("THREEFOLD_OFFSITE_NAME", name);
        let output = command.output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    };
    // Hours cannot be waited for: the last try is made older.
    let long_ago = || {
        let mut state = home.state();
        state.attempt.as_mut().unwrap().at_ms = 1;
        state.write(&home.store()).unwrap();
    };
    let store_file = home.store().join(".state/store.json");
    let well = fs::read(&store_file).unwrap();
    for (name, store, told) in
        [("desktop", &well[..], "offsite_name says desktop"), ("laptop", b"", "nothing is saved")]
    {
        fs::write(&store_file, store).unwrap();
        due(name);
        let state = home.state();
        let attempt = state.attempt.unwrap();
        assert!(!attempt.ok && attempt.failures == 1 && attempt.said.contains(told), "{attempt:?}");
        assert_eq!(state.troubles.len(), 1);
        assert!(state.troubles[0].what.contains(told), "{:?}", state.troubles);
        due(name);
        assert_eq!(home.state().attempt.unwrap().failures, 1, "the second one waited");
        fs::write(&store_file, &well).unwrap();
        long_ago();
        due("laptop");
        assert_eq!((home.troubles(), home.state().attempt.unwrap().ok), (Vec::new(), true));
    }
}

/// Snapshots that are old enough, as `restic` would say; removed where that is asked for.
const OLD_ENOUGH: &str = r#"case "$verb $*" in
    "forget --dry-run"*) echo '[{"remove":[{"id":"000000005f5f5f5f","time":"","hostname":"laptop"}]}]'; exit 0 ;;
    forget*) rm -r "$repository/snapshots/000000005f5f5f5f" "$repository/snapshots/000000005f5f5f5f.json"; exit 0 ;;
    prune*) exit 0 ;;
esac
"#;

#[test]
fn what_goes_was_proven_to_be_in_what_stays_before_it_goes() {
    let home = Home::new();
    home.set_up();
    home.save("s1", "one\nand more\n");
    home.well(&["push"]);
    let oldest = home.path("place/laptop/snapshots/000000005f5f5f5f");
    let hash = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
    let seal = oldest.join(".state/offsite/seal.json");
    let sealed = fs::read_to_string(&seal).unwrap();
    assert!(sealed.contains(&hash("one\n")), "{sealed}");
    // What stays is longer and does not begin so.
    fs::write(&seal, sealed.replace(&hash("one\n"), &hash("eno\n"))).unwrap();
    home.fault(OLD_ENOUGH);
    let told = home.well(&["thin", "--yes"]);
    assert!(told.contains("stays: only it has p/s1.jsonl") && oldest.exists(), "{told}");
    fs::write(&seal, sealed).unwrap();
    // All of the newest one does not come back.
    home.fault(&format!("{OLD_ENOUGH} case \"$verb $*\" in dump*--archive*) : > \"$base/drill\"; exit 1 ;; dump*s1.jsonl) [ -f \"$base/drill\" ] && {{ echo eno; exit 0; }} ;; esac"));
    assert!(home.refused(&["thin", "--yes"]).contains("(drill-failed)") && oldest.exists());
    fs::write(home.path(".stand-in/calls"), "").unwrap();
    home.fault(OLD_ENOUGH);
    home.well(&["thin", "--yes"]);
    assert!(!oldest.exists());
    let calls = fs::read_to_string(home.path(".stand-in/calls")).unwrap();
    let nth =
        |words: &str| calls.lines().position(|call| call.contains(words)).unwrap_or_else(|| panic!("{words}: {calls}"));
    let order = [
        " dump --no-lock --no-cache 000000025f5f5f5f /p/s1.jsonl",
        " dump --no-lock --no-cache --archive",
        " forget 0",
        " prune",
        " check ",
    ];
    assert!(order.map(nth).is_sorted(), "{calls}");
}

#[test]
fn what_repair_took_out_is_kept_until_everything_came_back() {
    let home = Home::new();
    home.set_up();
    home.fault(
        r#"case "$verb $*" in
            check*) [ -f "$base/taken" ] || { echo '{"num_errors":1,"broken_packs":["5f5f"]}'; exit 0; } ;;
            "repair packs"*) echo bytes > pack-5f5f; : > "$base/taken"; exit 0 ;;
            dump*--archive*) exit 1 ;;
            dump*s1.jsonl) echo eno; exit 0 ;;
        esac"#,
    );
    assert!(home.refused(&["repair"]).contains("(drill-failed)"));
    let pack = home.store().join(".state/offsite/salvage/pack-5f5f");
    assert_eq!(fs::read_to_string(&pack).unwrap(), "bytes\n");
    home.fault("");
    home.well(&["repair"]);
    assert!(!pack.exists());
}

#[test]
fn what_is_lost_goes_out_of_snapshots_only_when_it_was_listed_and_agreed_to() {
    let home = Home::new();
    home.set_up();
    let dry_run = "snapshot 00000000 of [/s] at 2026 by me\n  file \"/p/s1.jsonl\": removed missing content";
    home.fault(&format!("[ \"$verb $*\" = 'repair snapshots --dry-run' ] && {{ printf '%s\n' '{dry_run}'; exit 0; }}"));
    let output = home.run(&["repair", "--drop-broken"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains(dry_run), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("it was not confirmed; nothing was removed"),
        "{output:?}"
    );
    let has_removed =
        || fs::read_to_string(home.path(".stand-in/calls")).unwrap().contains("repair snapshots --forget");
    assert!(!has_removed());
    assert!(home.well(&["repair", "--drop-broken", "--yes"]).contains(dry_run) && has_removed());
}

#[test]
fn a_snapshot_is_set_aside_only_where_it_was_read_and_is_not_what_its_name_says() {
    let home = Home::new();
    home.set_up();
    let id = "3661291e28107bb940142d346bdb3a86da68415ae7fe451374d403c6037b9fa5"; // Of `whole` and a newline.
    let file = home.path("place/laptop/snapshots").join(id);
    home.fault(&format!("[ \"$verb $1\" = 'list snapshots' ] && {{ echo {id}; exit 0; }}"));
    let repair = ["repair", "--drop-broken", "--yes"];
    // What keeps it from being read may be over at the next time.
    fs::write(&file, "whole\n").unwrap();
    assert!(home.refused(&repair).contains("which is whole; nothing was taken out") && file.exists());
    assert_eq!(home.troubles(), ["offsite-failed"]);
    layer1_prebackup::fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(home.refused(&repair).contains("cannot be read now, so nothing was taken out") && file.exists());
    layer1_prebackup::fs::remove_dir(&file).unwrap();
    fs::write(&file, "damaged\n").unwrap();
    let told = home.well(&repair);
    assert!(told.contains(&format!("snapshots/{id}: nobody can read it")) && !file.exists(), "{told}");
    let aside = home.store().join(".state/offsite/salvage/snapshots").join(id);
    assert_eq!((fs::read_to_string(aside).unwrap().as_str(), home.troubles()), ("damaged\n", Vec::new()));
}

#[test]
fn a_place_among_what_it_is_a_copy_of_is_refused_and_one_on_its_disk_is_told() {
    let home = Home::new();
    let link = home.path("link");
    for folder in [".claude-backup-sessions/place", ".claude-backup/place", ".claude/projects/place", ""] {
        let place = home.path(folder);
        fs::create_dir_all(&place).unwrap();
        std::os::unix::fs::symlink(&place, &link).unwrap();
        for place in [&place, &link] {
            let told = home.refused(&["init", place.to_str().unwrap(), "--name", "laptop"]);
            assert!(told.contains(", on another disk, such as "), "{told}");
            assert!(!place.join("laptop").exists() && State::read(&home.store()).unwrap().is_none());
        }
        layer1_prebackup::fs::remove_file(&link).unwrap();
    }
    let said = home.well(&["init", home.path("place").to_str().unwrap(), "--name", "laptop"]);
    assert!(said.contains("on the disk that has your backup"), "{said}");
    assert!(home.well(&["status"]).contains("offsite-one-disk"));
    assert!(!home.well(&["status", "--json"]).contains("\"needs_person\":true"));
}
