//! The order of durability, on traces of a few lines.

use std::path::PathBuf;

use super::*;
use crate::faults::trace;

/// A durable replacement: temporary file, bytes, sync, rename, sync of the directory.
const GOOD: [&str; 7] = [
    r#"7 mkdirat(3</s>, "p", 0700) = 0"#,
    r#"7 fsync(3</s>) = 0"#,
    r#"7 openat(4</s/p>, ".a.tmp", O_RDWR|O_CREAT, 0600) = 5</s/p/.a.tmp>"#,
    r#"7 pwrite64(5</s/p/.a.tmp>, "x", 1, 0) = 1"#,
    r#"7 fdatasync(5</s/p/.a.tmp>) = 0"#,
    r#"7 renameat(4</s/p>, ".a.tmp", 4</s/p>, "a.jsonl") = 0"#,
    r#"7 fsync(4</s/p>) = 0"#,
];

fn violations(lines: &[&str]) -> Vec<String> {
    check(&trace::parse(&lines.join("\n"))).iter().map(Violation::to_string).collect()
}

#[test]
fn each_sync_is_needed() {
    let end = "7 +++ exited with 0 +++";
    let whole: Vec<&str> = GOOD.into_iter().chain([end]).collect();
    assert!(violations(&whole).is_empty());
    for (left_out, missing) in [(1, "name of /s/p;"), (4, "bytes of /s/p/a.jsonl;"), (6, "name of /s/p/a.jsonl;")] {
        let mut lines = whole.clone();
        lines.remove(left_out);
        assert_eq!(violations(&lines), [format!("exit 0 while unsynced: {missing}")]);
    }
}

#[test]
fn a_failed_sync_saves_nothing() {
    let mut lines = GOOD.to_vec();
    lines[4] = r#"7 fdatasync(5</s/p/.a.tmp>) = -1 EIO (Input/output error) (INJECTED)"#;
    lines.push(r#"7 write(1<pipe:[1]>, "1 session saved\n", 16) = 16"#);
    assert_eq!(violations(&lines).len(), 1);
}

#[test]
fn a_sync_that_failed_is_not_made_good_by_another_one() {
    let failed = r#"7 fdatasync(5</s/p/.a.tmp>) = -1 EIO (Input/output error)"#;
    let mut again = GOOD[..4].to_vec();
    again.extend([failed, GOOD[4], GOOD[5], GOOD[6], "7 +++ exited with 0 +++"]);
    assert_eq!(violations(&again), ["exit 0 while unsynced: bytes of /s/p/a.jsonl;"]);
    again.insert(5, GOOD[3]);
    assert!(violations(&again).is_empty());
}

#[test]
fn a_file_cut_back_to_what_was_synced_needs_its_length_synced_and_nothing_else() {
    let append = r#"7 pwrite64(5</s/p/a>, "x", 1, 9) = 1"#;
    let failed = r#"7 fdatasync(5</s/p/a>) = -1 EIO (Input/output error)"#;
    let (cut, synced) = (r#"7 ftruncate(5</s/p/a>, 9) = 0"#, r#"7 fdatasync(5</s/p/a>) = 0"#);
    let end = "7 +++ exited with 0 +++";
    let unsynced = ["exit 0 while unsynced: bytes of /s/p/a;"];
    assert!(violations(&[append, failed, cut, failed, synced, end]).is_empty());
    assert_eq!(violations(&[append, failed, cut, failed, end]), unsynced);
    assert_eq!(violations(&[append, failed, synced, end]), unsynced);
    // Less was cut off than the failed sync may have lost.
    let cut_less = r#"7 ftruncate(5</s/p/a>, 10) = 0"#;
    assert_eq!(violations(&[append, failed, cut_less, synced, end]), unsynced);
}

#[test]
fn words_logs_receipts_and_commits_acknowledge() {
    let write = r#"7 pwrite64(5</s/p/a.jsonl>, "x", 1, 0) = 1"#;
    let check = |line: &str, count: usize| assert_eq!(violations(&[write, line]).len(), count, "{line}");
    check(r#"7 write(6</s/.log/layer1.log>, "10:00 saved p/a", 15) = 15"#, 1);
    check(r#"7 write(2<pipe:[1]>, "[session-save] \342\234\205 Saved", 21) = 21"#, 1);
    check(r#"7 write(2<pipe:[1]>, "warning: disk full", 18) = 18"#, 0);
    check(r#"7 write(2<pipe:[1]>, "\342\235\214 Attempt 1/1: keep the receipt: disk full", 44) = 44"#, 0);
    check(r#"7 unlinkat(4</s/.outbox>, "a@p.json", 0) = 0"#, 1);
    check(r#"7 unlinkat(4</s/.outbox>, ".a@p.json.tmp", 0) = 0"#, 0);
    check(r#"7 pwrite64(6</s/.state/sessions/a/p.ledger>, "y", 1, 9) = 1"#, 1);
    check(r#"7 renameat(6</s/.state>, ".p.ledger.tmp", 6</s/.state>, "p.ledger") = 0"#, 1);
    check(r#"7 +++ exited with 1 +++"#, 0);
}

#[test]
fn a_run_that_tells_of_a_failure_acknowledges_by_its_commits_alone() {
    let trace = trace::parse(
        "7 pwrite64(5</s/p/a.jsonl>, \"x\", 1, 0) = 1\n\
         7 write(1<pipe:[1]>, \"1 session saved\\n\", 16) = 16\n\
         7 pwrite64(6</s/.state/sessions/a/p.ledger>, \"y\", 1, 9) = 1\n\
         7 +++ exited with 0 +++",
    );
    let mut model = Model::new([]);
    model.words_acknowledge = false;
    assert_eq!(model.run(&trace).len(), 1);
    assert_eq!(check(&trace).len(), 3);
}

#[test]
fn a_ledger_may_be_unsynced_while_it_is_written_but_not_afterwards() {
    let commit = r#"7 pwrite64(6</s/p.ledger>, "y", 1, 9) = 1"#;
    assert!(violations(&[commit, commit]).is_empty());
    assert_eq!(violations(&[commit, "7 +++ exited with 0 +++"]), ["exit 0 while unsynced: bytes of /s/p.ledger;"]);
}

#[test]
fn a_temporary_file_may_wait_until_it_is_renamed() {
    let open = r#"7 openat(4</s/p>, "new", O_RDWR|O_CREAT, 0600) = 5</s/p/new>"#;
    let write = r#"7 pwrite64(5</s/p/new>, "x", 1, 0) = 1"#;
    let commit = r#"7 pwrite64(6</s/p.ledger>, "y", 1, 9) = 1"#;
    assert!(violations(&[open, write, commit]).is_empty());
    let rename = r#"7 renameat2(4</s/p>, "new", 4</s/p>, "a", RENAME_NOREPLACE) = 0"#;
    assert_eq!(violations(&[open, write, rename, commit]).len(), 1);
}

#[test]
fn a_commit_needs_what_it_speaks_of() {
    let write = r#"7 pwrite64(5</s/p/a/side>, "x", 1, 0) = 1"#;
    let commit = |path: &str| {
        let line = format!(r#""00 {{\"path\":\"{path}\",\"bytes\":1}}\n", 40, 9"#);
        format!("7 pwrite64(6</s/.state/sessions/a/p.ledger>, {line}) = 40")
    };
    assert_eq!(violations(&[write, &commit("a/side")]).len(), 1);
    assert!(violations(&[write, &commit("a.jsonl")]).is_empty());
    let name = r#"7 mkdirat(5</s/.state/sessions>, "a", 0700) = 0"#;
    assert_eq!(violations(&[name, &commit("a.jsonl")]).len(), 1);
}

#[test]
fn locks_logs_and_the_index_are_left_out() {
    let lines = [
        r#"7 openat(AT_FDCWD</>, "/s/.state/store.lock", O_RDWR|O_CREAT, 0600) = 5</s/.state/store.lock>"#,
        r#"7 openat(AT_FDCWD</>, "/s/.log/layer1.log", O_WRONLY|O_CREAT, 0600) = 6</s/.log/layer1.log>"#,
        r#"7 pwrite64(7</s/sessions.db-wal>, "x", 1, 0) = 1"#,
        r#"7 mkdirat(3</s/.state>, "losses", 0700) = 0"#,
        "7 +++ exited with 0 +++",
    ];
    assert!(violations(&lines).is_empty());
}

#[test]
fn what_a_killed_run_left_unsynced_is_the_next_ones_to_sync() {
    let mut model = Model::new([PathBuf::from("/s")]);
    let killed = [r#"7 mkdirat(3</s>, "p", 0700) = 0"#, "7 +++ killed by SIGKILL +++"].join("\n");
    assert!(model.run(&trace::parse(&killed)).is_empty());
    assert_eq!(model.unsynced(), [Unsynced::Name("/s/p".into())]);
    let next = ["8 fsync(3</s/p>) = 0", "8 +++ exited with 0 +++"].join("\n");
    assert_eq!(model.run(&trace::parse(&next)).len(), 1);
}

#[test]
fn a_word_speaks_of_what_the_run_has_touched_and_exit_0_of_everything() {
    let mut model = Model::new([PathBuf::from("/s")]);
    let killed = [r#"7 mkdirat(3</s>, "b", 0700) = 0"#, "7 +++ killed by SIGKILL +++"].join("\n");
    model.run(&trace::parse(&killed));
    let word = r#"8 write(1<pipe:[1]>, "a saved", 7) = 7"#;
    let open = r#"8 openat(4</s/b>, "x", O_RDONLY) = 5</s/b/x>"#;
    let count = |lines: &[&str]| model.clone().run(&trace::parse(&lines.join("\n"))).len();
    assert_eq!(count(&[word]), 0);
    assert_eq!(count(&[open, word]), 1);
    assert_eq!(count(&[word, "8 +++ exited with 0 +++"]), 1);
}

#[test]
fn an_existing_file_needs_no_new_name() {
    let open = r#"7 openat(4</s/p>, "a", O_RDWR|O_CREAT, 0600) = 5</s/p/a>"#;
    let lines = [open, "7 +++ exited with 0 +++"].join("\n");
    assert_eq!(Model::new([]).run(&trace::parse(&lines)).len(), 1);
    assert!(Model::new([PathBuf::from("/s/p/a")]).run(&trace::parse(&lines)).is_empty());
}
