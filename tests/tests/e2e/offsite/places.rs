//! Every kind of place: what is pushed there is received, drilled, and comes back into a home that has nothing but the key.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use tests::offsite::place::{Kind, Place};
use tests::offsite::restic;
use tests::scratch::Scratch;
use tests::transcripts::{self, made_id};
use tests::waiting::await_until;

use super::machine::{LIMIT, Machine, NAME, SESSIONS};

/// Push, receipt, drill, a second push, and everything back: as many conversations as the table says, from older
/// contents to subagents' files.
fn check_comes_back(test: &str, kind: Kind) {
    let shelf = Scratch::new();
    let Some(place) = Place::open(test, kind, &shelf.beside("place")) else { return };
    let machine = Machine::new(&place);
    machine.converse(SESSIONS);
    let sheet = machine.init(NAME);
    machine.assert_on_sheet(&sheet);
    machine.push();
    machine.grow(2, "after the first push");
    machine.push();
    let status = machine.status();
    assert_eq!(status["push"]["sessions"], SESSIONS, "{status:#}");
    machine.drill_all();
    let status = machine.status();
    let drill = &status["drill"];
    assert!(drill["result"] == "equal" && drill["equal"] == SESSIONS && drill["of"] == SESSIONS, "{status:#}");
    assert!(machine.kinds().is_empty(), "{status:#}");
    machine.assert_comes_back(&place, SESSIONS);
    machine.repository(&place, NAME).assert_clean();
}

#[test]
fn everything_comes_back_from_a_folder() {
    check_comes_back("everything_comes_back_from_a_folder", Kind::Local);
}

#[test]
fn everything_comes_back_from_sftp() {
    check_comes_back("everything_comes_back_from_sftp", Kind::Sftp);
}

#[test]
fn everything_comes_back_from_rest() {
    check_comes_back("everything_comes_back_from_rest", Kind::Rest);
}

#[test]
fn everything_comes_back_from_rclone_s3() {
    check_comes_back("everything_comes_back_from_rclone_s3", Kind::RcloneS3);
}

#[test]
fn everything_comes_back_from_moto_s3() {
    check_comes_back("everything_comes_back_from_moto_s3", Kind::MotoS3);
}

#[test]
fn everything_comes_back_from_a_server_that_only_takes() {
    check_comes_back("everything_comes_back_from_a_server_that_only_takes", Kind::RestAppendOnly);
}

#[test]
fn everything_comes_back_from_a_persons_part_of_a_teams_server() {
    check_comes_back("everything_comes_back_from_a_persons_part_of_a_teams_server", Kind::Team);
}

#[test]
fn a_bucket_that_is_not_there_is_made() {
    let shelf = Scratch::new();
    let test = "a_bucket_that_is_not_there_is_made";
    let Some(place) = Place::open(test, Kind::MotoS3, &shelf.beside("place")) else { return };
    let machine = Machine::new(&place);
    machine.converse(2);
    let url = format!("s3:http://127.0.0.1:{}/another-bucket", place.server().port());
    machine.offsite(&["init", &url, "--name", NAME]).output().ok();
    machine.push();
}

#[test]
fn what_is_left_out_is_never_sent() {
    let shelf = Scratch::new();
    let Some(place) = Place::open("what_is_left_out_is_never_sent", Kind::Local, &shelf.beside("place")) else {
        return;
    };
    let machine = Machine::new(&place);
    machine.configure(&place, "offsite_exclude = [\"/home/dev/**\"]\n");
    machine.converse(3);
    let kept = machine.scratch.slug_dir().with_file_name("-srv-open");
    std::fs::create_dir_all(&kept).expect("make a second project");
    let id = tests::transcripts::made_id(77);
    let line = tests::transcripts::prompt_line(&id, 1, "sent").replace("/home/dev/proj", "/srv/open");
    tests::transcripts::append(&kept.join(format!("{id}.jsonl")), line);
    machine.sweep();
    machine.init(NAME);
    machine.push();
    let listed = machine.repository(&place, NAME).ok(&["ls", "--no-lock", "latest"]).text();
    assert!(listed.contains(&id), "{listed}");
    assert!(!listed.contains(&tests::transcripts::made_id(1)), "{listed}");
    assert_eq!(machine.status()["push"]["sessions"], 1);
    let sealed = machine.repository(&place, NAME).dump("/.state/offsite/seal.json");
    assert!(!String::from_utf8_lossy(&sealed).contains(&tests::transcripts::made_id(1)), "not named either");
}

/// Names are bytes, and what restic says of them is text.
#[test]
fn a_file_whose_name_is_no_text_is_received_and_comes_back_like_any_other() {
    let test = "a_file_whose_name_is_no_text_is_received_and_comes_back_like_any_other";
    let shelf = Scratch::new();
    let Some(place) = Place::open(test, Kind::Local, &shelf.beside("place")) else { return };
    let machine = Machine::new(&place);
    machine.converse(1);
    let results = machine.scratch.transcript(&made_id(1)).with_extension("").join("tool-results");
    fs::create_dir_all(&results).expect("make a folder of side files");
    // One byte that is none, the beginning of a character, and two that are spelled alike.
    for (n, name) in [&b"a\xff.txt"[..], b"b\xe2\x82.txt", b"c\xfe", b"c\xff"].iter().enumerate() {
        if fs::write(results.join(OsStr::from_bytes(name)), format!("side file {n}\n")).is_err() {
            println!("skipped: {test} may not use such names here");
            return;
        }
    }
    machine.sweep();
    machine.init(NAME);
    machine.grow(1, "one more");
    machine.push();
    let status = machine.status();
    // With the version before the conversation was begun anew.
    assert_eq!(status["push"]["files"], 6, "{status:#}");
    machine.drill_all();
    machine.assert_comes_back(&place, 1);
}

/// What is saved while restic is about to read may be one to be left out: nothing is sent of it, and the next push, which
/// knows, sends what may be.
#[test]
fn what_is_saved_after_the_seal_is_not_sent_where_conversations_are_left_out() {
    let test = "what_is_saved_after_the_seal_is_not_sent_where_conversations_are_left_out";
    let shelf = Scratch::new();
    let Some(place) = Place::open(test, Kind::Local, &shelf.beside("place")) else { return };
    let programs = shelf.beside("programs");
    let machine = Machine::with_programs(&place, std::slice::from_ref(&programs));
    machine.configure(&place, "offsite_exclude = [\"/home/dev/**\"]\n");
    let open = machine.scratch.slug_dir().with_file_name("-srv-open");
    fs::create_dir_all(&open).expect("make a second project");
    let [sent, later, left_out] = [77, 78, 5].map(made_id);
    let say = |id: &str, turn: u32| {
        let line = transcripts::prompt_line(id, turn, "sent").replace("/home/dev/proj", "/srv/open");
        transcripts::append(&open.join(format!("{id}.jsonl")), line);
    };
    say(&sent, 1);
    machine.sweep();
    machine.init(NAME);
    say(&sent, 2);
    machine.sweep();
    let (reached, go_on) = (programs.join("reached"), programs.join("go-on"));
    restic::scripted(
        &programs,
        "[ \"$command\" = backup ] || exec \"$REAL\" \"$@\"\ntouch \"$HERE/reached\"\n\
         while [ ! -e \"$HERE/go-on\" ]; do sleep 0.1; done\nexec \"$REAL\" \"$@\"",
    );
    let pushing = machine.offsite(&["push", "--now"]).spawn();
    await_until("restic to be started", LIMIT, || reached.exists());
    transcripts::make_conversation(&machine.scratch, &left_out, 3);
    say(&later, 1);
    machine.sweep();
    let labels = machine.scratch.layer1_store().join(".state/labels");
    fs::create_dir_all(&labels).expect("make the folder of labels");
    fs::write(labels.join(format!("{left_out}.labels")), "what nobody else may know").expect("call it something");
    let stored = tests::tree::visible_files(&machine.scratch.layer1_store());
    assert!([&later, &left_out].iter().all(|id| stored.iter().any(|path| path.contains(id.as_str()))), "{stored:?}");
    fs::write(&go_on, "").expect("let it go on");
    pushing.wait().ok();
    let listed = || machine.repository(&place, NAME).ok(&["ls", "--no-lock", "latest"]).text();
    let first = listed();
    assert!(first.contains(&sent) && !first.contains(&later) && !first.contains(&left_out), "{first}");
    assert!(!first.contains("/proj"), "not even the project is named: {first}");
    machine.push();
    let second = listed();
    assert!(second.contains(&later) && !second.contains(&left_out), "{second}");
    machine.drill_all();
}
