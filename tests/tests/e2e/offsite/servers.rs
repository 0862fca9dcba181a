//! The servers that the other tests stand on, with restic alone: what is put there comes back as it was, and each is as
//! frozen, dead, full or strict as a test says.

use std::fs;
use std::time::Duration;

use tests::offsite::place::{Kind, Place};
use tests::offsite::restic::Repository;
use tests::offsite::server;
use tests::scratch::Scratch;
use tests::transcripts;
use tests::waiting::holds_within;

/// A run that has to be seen to hang has not ended by then.
const HANGING: Duration = Duration::from_secs(3);
const SOON: Duration = Duration::from_secs(10);
const PASSWORD: &str = "by-hand";

/// Files to be kept, in a folder of their own: recorded conversations, and a megabyte that does not compress.
fn files(scratch: &Scratch) -> std::path::PathBuf {
    transcripts::lay_out_recorded(scratch);
    let mut noise = vec![0; 1 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    fs::write(scratch.slug_dir().join("noise"), noise).expect("write a file");
    scratch.slug_dir()
}

/// init, backup, `check --read-data`, dump equal.
fn check_keeps(test: &str, kind: Kind) {
    let scratch = Scratch::new();
    let Some(place) = Place::open(test, kind, &scratch.beside("place")) else { return };
    let folder = files(&scratch);
    let repository = Repository::new(&scratch, &place, "laptop", PASSWORD);
    repository.ok(&["init"]);
    repository.run(&["backup", "."]).current_dir(&folder).output().ok();
    repository.assert_clean();
    for name in ["noise".to_owned(), format!("{}.jsonl", transcripts::SUBAGENT)] {
        assert_eq!(repository.dump(&format!("/{name}")), fs::read(folder.join(&name)).expect("read a file"), "{name}");
    }
    assert_eq!(repository.snapshots().len(), 1);
    if kind != Kind::MotoS3 {
        assert!(place.repository("laptop").join("config").exists(), "{:?}", place.repository("laptop"));
    }
    let wrong = Repository::new(&scratch, &place, "laptop", "another");
    wrong.run(&["snapshots", "--no-lock"]).output().exits(12);
    let port = (kind != Kind::Local).then(|| place.server().port());
    drop(place);
    if let Some(port) = port {
        assert!(server::is_refused_within(SOON, port), "the server ended with its place");
    }
}

#[test]
fn a_folder_keeps_a_repository() {
    check_keeps("a_folder_keeps_a_repository", Kind::Local);
}

#[test]
fn sftp_keeps_a_repository() {
    check_keeps("sftp_keeps_a_repository", Kind::Sftp);
}

#[test]
fn rest_keeps_a_repository() {
    check_keeps("rest_keeps_a_repository", Kind::Rest);
}

#[test]
fn rclone_s3_keeps_a_repository() {
    check_keeps("rclone_s3_keeps_a_repository", Kind::RcloneS3);
}

#[test]
fn moto_s3_keeps_a_repository() {
    check_keeps("moto_s3_keeps_a_repository", Kind::MotoS3);
}

#[test]
fn rclone_rest_keeps_a_repository() {
    check_keeps("rclone_rest_keeps_a_repository", Kind::RcloneRest);
}

#[test]
fn a_server_that_only_takes_gives_nothing_away() {
    let scratch = Scratch::new();
    let test = "a_server_that_only_takes_gives_nothing_away";
    let Some(place) = Place::open(test, Kind::RestAppendOnly, &scratch.beside("place")) else { return };
    let repository = Repository::new(&scratch, &place, "laptop", PASSWORD);
    repository.ok(&["init"]);
    let folder = files(&scratch);
    for _ in 0..2 {
        repository.run(&["backup", "."]).current_dir(&folder).output().ok();
    }
    // Of a snapshot that it could not remove restic says so, and yet that all went well.
    let refused = repository.run(&["forget", "--keep-last", "1"]).output().ok();
    assert!(refused.stderr.contains("403"), "{refused:?}");
    assert_eq!(repository.snapshots().len(), 2);
    repository.assert_clean();
}

#[test]
fn a_person_of_a_team_sees_their_own_alone() {
    let scratch = Scratch::new();
    let test = "a_person_of_a_team_sees_their_own_alone";
    let Some(mut place) = Place::open(test, Kind::Team, &scratch.beside("place")) else { return };
    Repository::new(&scratch, &place, "laptop", PASSWORD).ok(&["init"]);
    assert!(place.repository("laptop").join("config").exists());
    let annas = place.url();
    place.as_person(1, |place| {
        let run = Repository::new(&scratch, place, "laptop", PASSWORD).run(&["snapshots", "--no-lock"]);
        run.output().exits(10); // Ben's own, which nobody made.
        let theirs = Repository::new(&scratch, place, "laptop", PASSWORD).run(&[
            "--repo",
            &format!("{annas}/laptop"),
            "snapshots",
            "--no-lock",
        ]);
        let refused = theirs.limit(SOON).output();
        assert!(refused.code != Some(0) && refused.stderr.contains("401"), "{refused:?}");
    });
}

#[test]
fn a_frozen_server_is_silent_until_it_thaws() {
    for kind in [Kind::Rest, Kind::Sftp] {
        let scratch = Scratch::new();
        let test = "a_frozen_server_is_silent_until_it_thaws";
        let Some(place) = Place::open(test, kind, &scratch.beside("place")) else { return };
        let repository = Repository::new(&scratch, &place, "laptop", PASSWORD);
        repository.ok(&["init"]);
        place.server().freeze();
        let mut asking = repository.run(&["snapshots", "--no-lock", "--json"]).spawn();
        assert!(!holds_within(HANGING, || asking.has_ended()), "{kind:?} answers though it is frozen");
        place.server().thaw();
        assert_eq!(asking.wait().ok().json(), serde_json::json!([]), "{kind:?}");
    }
}

#[test]
fn a_killed_server_refuses_until_it_is_back() {
    let scratch = Scratch::new();
    let test = "a_killed_server_refuses_until_it_is_back";
    let Some(mut place) = Place::open(test, Kind::Sftp, &scratch.beside("place")) else { return };
    Repository::new(&scratch, &place, "laptop", PASSWORD).ok(&["init"]);
    let port = place.server().port();
    place.kill_server();
    assert!(server::is_refused_within(SOON, port));
    let refused = Repository::new(&scratch, &place, "laptop", PASSWORD).run(&["snapshots"]).output().exits(1);
    // What ssh says of it may come too late.
    let said = ["Connection refused", "server unexpectedly closed connection"];
    assert!(said.iter().any(|said| refused.stderr.contains(said)), "{refused:?}");
    place.restart_server(port);
    assert!(Repository::new(&scratch, &place, "laptop", PASSWORD).snapshots().is_empty());
}
