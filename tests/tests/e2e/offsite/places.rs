//! Every kind of place: what is pushed there is received, drilled, and comes back into a home that has nothing but the key.

use tests::offsite::place::{Kind, Place};
use tests::scratch::Scratch;

use super::machine::{Machine, NAME, SESSIONS};

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
