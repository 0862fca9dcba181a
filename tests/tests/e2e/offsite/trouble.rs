//! What can go wrong with a place: each is provoked, named with the command that fixes it, ends soon, leaves no process
//! behind, harms nothing, and is gone once its cause is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::offsite::place::{Kind, Place};
use tests::offsite::restic::{self, Repository};
use tests::offsite::tools;
use tests::run::{Outcome, Run};
use tests::scratch::Scratch;
use tests::transcripts;
use tests::waiting::await_until;

use super::machine::{Machine, NAME};
use crate::disk::Mount;
use crate::product::text;

/// So many conversations are enough here.
const FEW: usize = 8;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// How long restic may make no progress where it hangs. Elsewhere it is as long as it is: making a key takes a second of
/// silence on a quiet machine.
const SILENCE: Duration = Duration::from_secs(3);
/// How long a command that met that may take to its end: 5 s from SIGTERM to SIGKILL, and what a busy machine takes.
const ENDED: Duration = Duration::from_secs(9);
/// A process that was told to end has done so by then.
const GONE: Duration = Duration::from_secs(2);

/// A machine that has pushed, and where it pushed to.
struct Scene {
    machine: Machine,
    place: Place,
    shelf: Scratch,
}

impl Scene {
    fn new(test: &str, kind: Kind) -> Option<Scene> {
        let shelf = Scratch::new();
        let place = Place::open(test, kind, &shelf.beside("place"))?;
        Some(Scene::with(shelf, place))
    }

    fn with(shelf: Scratch, place: Place) -> Scene {
        let machine = Machine::with_programs(&place, &[shelf.beside("programs")]);
        machine.converse(FEW);
        machine.init(NAME);
        machine.push();
        assert!(machine.kinds().is_empty(), "{:#}", machine.status());
        machine.grow(2, "since the first push");
        Scene { machine, place, shelf }
    }

    /// The folder that stands first on the search path.
    fn programs(&self) -> PathBuf {
        self.shelf.beside("programs")
    }

    /// A push that hangs: it ends by its silence, and nothing of it runs on.
    #[track_caller]
    fn hangs(&self) -> (Outcome, Value) {
        let silence = format!("{}s", SILENCE.as_secs());
        let failed = self.push_fails("offsite-unreachable", Some(&silence));
        assert!(failed.0.elapsed < SILENCE + ENDED, "{:?}", failed.0);
        failed
    }

    /// A push that fails, with this finding.
    #[track_caller]
    fn fails_with(&self, kind: &str) -> (Outcome, Value) {
        self.push_fails(kind, None)
    }

    #[track_caller]
    fn push_fails(&self, kind: &str, silence: Option<&str>) -> (Outcome, Value) {
        let push = self.machine.offsite(&["push", "--now"]);
        let push = silence.into_iter().fold(push, |push, silence| push.env("THREEFOLD_OFFSITE_SILENCE", silence));
        let outcome = push.output().exits(1);
        self.machine.scratch.await_no_process(GONE);
        let found = self.machine.finding(kind);
        assert_eq!(self.machine.kinds(), [kind], "that and nothing else");
        let status = self.machine.status();
        assert!(status["last_try"]["ok"] == false && status["dirty"] == true, "{status:#}");
        // What a person looks at says so too.
        let told = self.machine.with_path(self.machine.scratch.layer3(&["status", "--json"])).output().json();
        let told = told["findings"].as_array().expect("a list of findings");
        assert!(told.iter().any(|told| told["kind"] == kind), "{told:#?}");
        (outcome, found)
    }

    /// The cause is gone: the next push arrives, and nothing is found.
    #[track_caller]
    fn is_well_again(&self) {
        self.machine.push();
        assert!(self.machine.kinds().is_empty(), "{:#}", self.machine.status());
        self.machine.drill_all();
        self.machine.repository(&self.place, NAME).assert_clean();
    }
}

#[test]
fn no_restic_is_told_with_how_to_get_it() {
    let test = "no_restic_is_told_with_how_to_get_it";
    let Some(scene) = Scene::new(test, Kind::Local) else { return };
    let push = scene.machine.offsite(&["push", "--now"]).env("PATH", scene.shelf.beside("nowhere"));
    // It looks where a system has its programs too, whatever the path is.
    let push = push.hiding(&["/usr/bin/restic", "/usr/local/bin/restic", "/opt/homebrew/bin/restic", "/bin/restic"]);
    let Some(push) = push else {
        println!("skipped: {test} may not hide the system's restic");
        return;
    };
    let outcome = push.output().exits(1);
    let found = scene.machine.finding("engine-missing");
    assert!(found["needs_person"] == true && outcome.stderr.contains("restic"), "{found:#} {outcome:?}");
    scene.is_well_again();
}

#[test]
fn an_old_restic_is_told_with_what_is_needed() {
    let Some(scene) = Scene::new("an_old_restic_is_told_with_what_is_needed", Kind::Local) else { return };
    for old in ["0.14.0", "0.17.0"] {
        let said = format!("restic {old} compiled with go1.19.8 on linux/amd64");
        restic::scripted(&scene.programs(), &format!("[ \"$command\" = version ] && echo '{said}' && exit 0; exit 99"));
        let (_, found) = scene.fails_with("engine-old");
        assert!(found["needs_person"] == true && text(&found, "what").contains(old), "{found:#}");
        assert!(text(&found, "what").contains("0.17.1"), "{found:#}");
    }
    restic::scripted(&scene.programs(), "exec \"$REAL\" \"$@\"");
    scene.is_well_again();
}

#[test]
fn a_frozen_server_ends_a_push_by_its_silence() {
    for kind in [Kind::Rest, Kind::Sftp, Kind::RcloneS3] {
        let Some(scene) = Scene::new("a_frozen_server_ends_a_push_by_its_silence", kind) else { continue };
        scene.place.server().freeze();
        let (outcome, found) = scene.hangs();
        assert!(outcome.elapsed >= SILENCE && found["needs_person"] == false, "{found:#} {outcome:?}");
        scene.place.server().thaw();
        scene.is_well_again();
    }
}

#[test]
fn a_server_that_is_away_ends_a_push_by_its_silence() {
    for kind in [Kind::Rest, Kind::Sftp, Kind::RcloneS3] {
        let Some(mut scene) = Scene::new("a_server_that_is_away_ends_a_push_by_its_silence", kind) else { continue };
        let port = scene.place.server().port();
        scene.place.kill_server();
        let (_, found) = scene.hangs();
        assert!(found["needs_person"] == false, "{found:#}");
        scene.place.restart_server(port);
        scene.is_well_again();
    }
}

#[test]
fn a_server_that_is_away_while_a_conversation_is_brought_back_says_nothing_of_it() {
    let test = "a_server_that_is_away_while_a_conversation_is_brought_back_says_nothing_of_it";
    for kind in [Kind::Rest, Kind::Sftp] {
        let Some(mut scene) = Scene::new(test, kind) else { continue };
        // The first of a drill is the seal; what comes after that is a conversation.
        let script = "case \"$command $*\" in dump*.jsonl) touch \"$HERE/asked\"\n\
             while [ ! -e \"$HERE/away\" ]; do sleep 0.1; done; touch \"$HERE/fired\" ;; esac; exec \"$REAL\" \"$@\"";
        restic::scripted(&scene.programs(), script);
        let silence = format!("{}s", 3 * SILENCE.as_secs());
        let drill = scene.machine.offsite(&["drill", &transcripts::made_id(2)]);
        let drilling = drill.env("THREEFOLD_OFFSITE_SILENCE", &silence).spawn();
        let asked = scene.programs().join("asked");
        await_until("a conversation that is asked for", super::machine::LIMIT, || asked.exists());
        let port = scene.place.server().port();
        scene.place.kill_server();
        fs::write(scene.programs().join("away"), "").expect("let it go on");
        let outcome = drilling.wait().exits(1);
        assert!(scene.programs().join("fired").exists(), "{outcome:?}");
        assert_eq!(scene.machine.kinds(), ["offsite-unreachable"], "{outcome:?}");
        scene.place.restart_server(port);
        restic::scripted(&scene.programs(), "exec \"$REAL\" \"$@\"");
        scene.is_well_again();
    }
}

#[test]
fn a_server_that_is_away_for_a_moment_is_waited_for() {
    let test = "a_server_that_is_away_for_a_moment_is_waited_for";
    let Some(scene) = Scene::new(test, Kind::Rest) else { return };
    scene.place.server().freeze();
    let mut pushing = scene.machine.offsite(&["push", "--now"]).spawn();
    assert!(!tests::waiting::holds_within(Duration::from_secs(4), || pushing.has_ended()), "it waits");
    scene.place.server().thaw();
    pushing.wait().ok();
    scene.is_well_again();
}

#[test]
fn a_place_that_may_only_be_read_ends_a_push_by_its_silence() {
    let test = "a_place_that_may_only_be_read_ends_a_push_by_its_silence";
    let shelf = Scratch::new();
    let Some(mount) = Mount::tmpfs(test, &shelf.beside("place/kept"), "size=64m") else { return };
    let Some(place) = Place::open(test, Kind::Local, &shelf.beside("place")) else { return };
    let scene = Scene::with(shelf, place);
    mount.remount("ro");
    let (_, found) = scene.hangs();
    assert!(!text(&found, "what").is_empty());
    mount.remount("rw");
    scene.is_well_again();
}

#[test]
fn a_full_place_is_told() {
    let test = "a_full_place_is_told";
    let shelf = Scratch::new();
    let Some(mount) = Mount::tmpfs(test, &shelf.beside("place/kept"), "size=4m") else { return };
    let Some(place) = Place::open(test, Kind::Local, &shelf.beside("place")) else { return };
    let scene = Scene::with(shelf, place);
    let mut noise = vec![0; 4 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let noise: String =
        noise.iter().map(|byte| char::from(b'!' + byte % 90)).filter(|c| *c != '"' && *c != '\\').collect();
    scene.machine.grow(3, &noise);
    let (_, found) = scene.fails_with("offsite-full");
    assert!(found["needs_person"] == true && text(&found, "fix").contains("thin"), "{found:#}");
    mount.remount("size=64m");
    scene.is_well_again();
}

#[test]
fn an_empty_folder_where_the_disk_should_be_is_never_made_a_place() {
    let test = "an_empty_folder_where_the_disk_should_be_is_never_made_a_place";
    let Some(scene) = Scene::new(test, Kind::Local) else { return };
    let (kept, disk) = (scene.place.kept(), scene.shelf.beside("the disk"));
    fs::rename(&kept, &disk).expect("take the disk away");
    for is_there in [false, true] {
        if is_there {
            fs::create_dir(&kept).expect("make the mount point");
        }
        let (_, found) = scene.fails_with("not-mounted");
        assert!(found["needs_person"] == true, "{found:#}");
        assert_eq!(fs::read_dir(&kept).map_or(0, Iterator::count), 0, "nothing is made there");
    }
    fs::remove_dir(&kept).expect("take the mount point away");
    fs::rename(&disk, &kept).expect("bring the disk back");
    scene.is_well_again();
}

#[test]
fn a_push_with_nothing_new_looks_whether_the_place_has_it_all_the_same() {
    let test = "a_push_with_nothing_new_looks_whether_the_place_has_it_all_the_same";
    let Some(scene) = Scene::new(test, Kind::Local) else { return };
    let machine = &scene.machine;
    machine.push();
    let push = || machine.offsite(&["push", "--now"]).output();
    assert!(push().ok().text().contains("Nothing new"));
    let (kept, disk) = (scene.place.kept(), scene.shelf.beside("the disk"));
    fs::rename(&kept, &disk).expect("take the disk away");
    for _ in 0..2 {
        let refused = push().exits(1);
        assert!(refused.stderr.contains("is its disk connected"), "{refused:?}");
        assert_eq!(machine.kinds(), ["not-mounted"]);
    }
    fs::rename(&disk, &kept).expect("bring the disk back");
    assert!(push().ok().text().contains("Nothing new"));
    assert!(machine.kinds().is_empty(), "{:#}", machine.status());
    // What somebody took away there is sent again.
    let repository = machine.repository(&scene.place, NAME);
    let newest = repository.snapshots().pop().expect("a snapshot");
    repository.ok(&["forget", newest["id"].as_str().expect("an id")]);
    let sent = push().ok().text();
    assert!(sent.contains("arrived and were read back"), "{sent}");
    scene.is_well_again();
}

#[test]
fn another_key_and_none_are_told() {
    let Some(scene) = Scene::new("another_key_and_none_are_told", Kind::Local) else { return };
    let elsewhere = Place::open("", Kind::Local, &scene.shelf.beside("another place")).expect("a folder");
    let other = Machine::new(&elsewhere);
    other.converse(1);
    other.init(NAME);
    let key = fs::read(scene.machine.key_file()).expect("read the key");
    fs::copy(other.key_file(), scene.machine.key_file()).expect("put another key there");
    let (_, found) = scene.fails_with("wrong-key");
    assert!(found["needs_person"] == true && text(&found, "fix").contains("offsite key"), "{found:#}");
    fs::write(scene.machine.key_file(), &key).expect("bring the key back");
    scene.is_well_again();
    scene.machine.grow(2, "since the key was back");
    fs::remove_file(scene.machine.key_file()).expect("lose the key");
    let (_, found) = scene.fails_with("key-missing");
    assert!(found["needs_person"] == true, "{found:#}");
    assert!(!scene.machine.key_file().exists(), "no second key is made");
    fs::write(scene.machine.key_file(), key).expect("bring the key back");
    fs::set_permissions(scene.machine.key_file(), fs::Permissions::from_mode(0o600)).expect("keep it from others");
    scene.is_well_again();
}

#[test]
fn a_repository_that_is_another_one_is_left_alone() {
    let Some(scene) = Scene::new("a_repository_that_is_another_one_is_left_alone", Kind::Local) else { return };
    let (ours, away) = (scene.place.repository(NAME), scene.shelf.beside("away"));
    fs::rename(&ours, &away).expect("take the repository away");
    let theirs = scene.machine.repository(&scene.place, NAME);
    theirs.ok(&["init"]);
    let (_, found) = scene.fails_with("another-repository");
    assert!(found["needs_person"] == true, "{found:#}");
    let config = fs::read(ours.join("config")).expect("read its configuration");
    scene.machine.offsite(&["repair"]).output().exits(1);
    assert!(fs::read(ours.join("config")).is_ok_and(|now| now == config), "nor is it made into ours");
    assert!(theirs.snapshots().is_empty(), "nothing is written there");
    assert_eq!(fs::read_dir(ours.join("locks")).expect("read its locks").count(), 0);
    fs::remove_dir_all(&ours).expect("take the other repository away");
    fs::rename(&away, &ours).expect("bring the repository back");
    scene.is_well_again();
}

/// The same words open it, so keys can be given to it: it does not become ours by that, nor do the copies of our key files go.
#[test]
fn a_key_that_is_added_makes_no_other_repository_ours() {
    let Some(scene) = Scene::new("a_key_that_is_added_makes_no_other_repository_ours", Kind::Local) else { return };
    let ours = scene.place.repository(NAME);
    fs::rename(&ours, scene.shelf.beside("away")).expect("take the repository away");
    scene.machine.repository(&scene.place, NAME).ok(&["init"]);
    let copies = || tests::tree::all(&scene.machine.state().join("keys"));
    let before = copies();
    assert!(before.len() > 2, "{before:#?}");
    scene.machine.offsite(&["key", "add", "safe"]).output();
    assert_eq!(fs::read_dir(ours.join("keys")).expect("read its keys").count(), 2, "the other one has the key");
    assert_eq!(copies(), before, "the copies are of ours");
    scene.fails_with("another-repository");
}

#[test]
fn a_repository_that_another_machine_writes_is_left_alone() {
    let test = "a_repository_that_another_machine_writes_is_left_alone";
    let Some(scene) = Scene::new(test, Kind::Local) else { return };
    let repository = scene.machine.repository(&scene.place, NAME);
    let target = scene.shelf.beside("theirs");
    repository.ok(&["restore", "latest", "--target", &target.display().to_string()]);
    let newest = repository.snapshots().pop().expect("a snapshot");
    // What the other one pushed: the same with another store's id.
    let seal = target.join(".state/offsite/seal.json");
    let mut sealed: Value = serde_json::from_slice(&fs::read(&seal).expect("read a seal")).expect("a seal is JSON");
    let (store, writer) = (text(&sealed, "store"), sealed["writer"].as_str().unwrap_or("-").to_owned());
    let other = |own: &str| own.chars().rev().collect::<String>();
    assert_ne!(other(&store), store);
    (sealed["store"], sealed["writer"]) = (json!(other(&store)), json!(other(&writer)));
    fs::write(&seal, sealed.to_string()).expect("write a seal");
    let tags: Vec<String> = newest["tags"]
        .as_array()
        .expect("tags")
        .iter()
        .map(|tag| {
            let tag = tag.as_str().expect("a tag");
            tag.replace(&store, &other(&store)).replace(&writer, &other(&writer))
        })
        .collect();
    let backup = repository.run(&["backup", ".", "--host", NAME, "--tag", &tags.join(",")]);
    backup.current_dir(&target).output().ok();
    let (_, found) = scene.fails_with("another-writer");
    assert!(found["needs_person"] == true, "{found:#}");
    assert_eq!(repository.snapshots().len(), 2, "nothing is added");
    let theirs = text(repository.snapshots().last().expect("a snapshot"), "id");
    repository.ok(&["forget", &theirs]);
    scene.is_well_again();
}

/// A lock that a killed `check` left: older or younger than restic's half hour, from here or from elsewhere.
#[test]
fn a_lock_that_nobody_holds_is_taken_away() {
    let Some(scene) = Scene::new("a_lock_that_nobody_holds_is_taken_away", Kind::Local) else { return };
    let repository = scene.machine.repository(&scene.place, NAME);
    let locks = scene.place.repository(NAME).join("locks");
    // Where the system lets us, it is a lock of another host: restic itself would honour it for half an hour.
    let may_unshare = Run::new("/usr/bin/unshare").args(["--uts", "/bin/true"]).output().code == Some(0);
    let unshare: &[&str] = if may_unshare { &["/usr/bin/unshare", "--uts"] } else { &[] };
    let check = "hostname elsewhere; exec \"$0\" --no-cache --repo \"$1\" check --read-data";
    let checking = Run::new("/usr/bin/env").args(unshare).args(["/bin/sh", "-c", check]);
    let checking = checking.arg(tools::program(tools::RESTIC)).arg(scene.place.repository(NAME));
    let checking = checking.env("PATH", "/usr/bin:/bin").env("RESTIC_PASSWORD", scene.machine.key()).spawn();
    let list = || repository.ok(&["list", "--no-lock", "locks"]).text();
    // A file of another name is one that is being written.
    let is_lock = |entry: &fs::DirEntry| entry.file_name().len() == 64;
    let has_lock = || fs::read_dir(&locks).is_ok_and(|locks| locks.flatten().any(|entry| is_lock(&entry)));
    await_until("a lock", Duration::from_secs(30), has_lock);
    checking.signal(Signal::KILL);
    let killed = checking.wait();
    assert_eq!(killed.signal, Some(9), "{killed:?}");
    let left = list();
    assert_eq!(left.lines().count(), 1, "the lock is left: {left}");
    scene.is_well_again();
    assert_eq!(list(), "", "no lock is left, and this was: {left}");
}

#[test]
fn a_lock_that_stays_is_told() {
    let Some(scene) = Scene::new("a_lock_that_stays_is_told", Kind::Local) else { return };
    let said =
        "unable to create lock in backend: repository is already locked exclusively by PID 4711 on desktop by anna";
    let script = format!("if [ \"$command\" = backup ]; then echo '{said}' >&2; exit 11; fi; exec \"$REAL\" \"$@\"");
    restic::scripted(&scene.programs(), &script);
    let (_, found) = scene.fails_with("locked");
    assert!(found["needs_person"] == false, "{found:#}");
    restic::scripted(&scene.programs(), "exec \"$REAL\" \"$@\"");
    scene.is_well_again();
}

#[test]
fn an_exit_code_that_is_not_known_is_a_failure() {
    let Some(scene) = Scene::new("an_exit_code_that_is_not_known_is_a_failure", Kind::Local) else { return };
    let script = "if [ \"$command\" = backup ]; then \"$REAL\" \"$@\"; exit 77; fi; exec \"$REAL\" \"$@\"";
    restic::scripted(&scene.programs(), script);
    let (_, found) = scene.fails_with("offsite-failed");
    assert!(text(&found, "what").contains("77"), "{found:#}");
    restic::scripted(&scene.programs(), "exec \"$REAL\" \"$@\"");
    scene.is_well_again();
}

#[test]
fn a_push_that_says_it_is_well_and_lacks_a_file_does_not_count() {
    let test = "a_push_that_says_it_is_well_and_lacks_a_file_does_not_count";
    let Some(scene) = Scene::new(test, Kind::Local) else { return };
    let id = transcripts::made_id(2);
    let script = format!(
        "if [ \"$command\" = backup ]; then exec \"$REAL\" \"$@\" --exclude '{id}*'; fi; exec \"$REAL\" \"$@\""
    );
    restic::scripted(&scene.programs(), &script);
    let (_, found) = scene.fails_with("not-covered");
    assert!(found["needs_person"] == false, "{found:#}");
    let status = scene.machine.status();
    assert!(status["waiting"] == 1, "{status:#}");
    restic::scripted(&scene.programs(), "exec \"$REAL\" \"$@\"");
    scene.is_well_again();
}

/// A place that takes what describes a snapshot and loses it before it is read back. restic has all of it in its cache.
#[test]
fn a_push_that_the_place_lost_at_once_does_not_count() {
    let test = "a_push_that_the_place_lost_at_once_does_not_count";
    let Some(scene) = Scene::new(test, Kind::Local) else { return };
    let before = scene.machine.status()["push"].clone();
    let data = scene.place.repository(NAME).join("data");
    let script = format!(
        "[ \"$command\" = backup ] || exec \"$REAL\" \"$@\"\ntouch \"$HERE/before\"\n\"$REAL\" \"$@\" || exit\n\
         find {} -type f -newer \"$HERE/before\" -print -exec rm -f {{}} + > \"$HERE/lost\"",
        data.display()
    );
    restic::scripted(&scene.programs(), &script);
    let (_, found) = scene.fails_with("not-covered");
    let lost = fs::read_to_string(scene.programs().join("lost")).expect("what was lost");
    assert!(!lost.is_empty(), "packs were lost");
    assert!(text(&found, "what").contains("offsite repair"), "{found:#}");
    assert_eq!(scene.machine.status()["push"], before, "no receipt is given");
    restic::scripted(&scene.programs(), "exec \"$REAL\" \"$@\"");
    scene.machine.offsite(&["repair"]).output().ok();
    // The snapshot that was lost at once is none that anything could be brought back from.
    scene.machine.offsite(&["repair", "--drop-broken", "--yes"]).output().ok();
    scene.is_well_again();
}

/// Days cannot be waited for: what was noted of them is made older.
#[test]
fn what_has_not_happened_for_days_is_told() {
    let Some(scene) = Scene::new("what_has_not_happened_for_days_is_told", Kind::Local) else { return };
    scene.machine.drill_all();
    let file = scene.machine.state().join("state.json");
    let noted: Value = serde_json::from_slice(&fs::read(&file).expect("read the state")).expect("it is JSON");
    let aged = |change: &dyn Fn(&mut Value)| {
        let mut aged = noted.clone();
        change(&mut aged);
        fs::write(&file, aged.to_string()).expect("write the state");
        scene.machine.kinds()
    };
    let now = noted["drill"]["at_ms"].as_u64().expect("a time");
    assert!(aged(&|_| {}).is_empty());
    assert_eq!(aged(&|state| state["drill"]["at_ms"] = json!(now - 8 * DAY_MS)), ["drill-old"]);
    assert_eq!(aged(&|state| state["dirty_since_ms"] = json!(now - 4 * DAY_MS)), ["offsite-behind"]);
    assert_eq!(aged(&|state| state["snapshots"] = json!([2001, 5])), ["many-snapshots"]);
    for kind in ["offsite-unreachable", "locked", "not-covered"] {
        let trouble = |days: u64| json!([{"kind": kind, "what": "x", "since_ms": now - days * DAY_MS}]);
        for (days, needs_person) in [(0, false), (8, true)] {
            assert_eq!(aged(&|state| state["troubles"] = trouble(days)), [kind]);
            let found = scene.machine.finding(kind);
            assert_eq!(found["needs_person"], needs_person, "{found:#}");
            let status = scene.machine.offsite(&["status"]).output().exits(i32::from(needs_person));
            assert!(status.text().contains(kind), "{status:?}");
        }
    }
}

#[test]
fn a_place_that_was_taken_is_not_set_up_again() {
    let Some(scene) = Scene::new("a_place_that_was_taken_is_not_set_up_again", Kind::Local) else { return };
    let before = scene.machine.repository(&scene.place, NAME).snapshots().len();
    let other = Machine::new(&scene.place);
    other.converse(1);
    // With a key of its own, and with that of the place.
    let url = scene.place.url();
    let refused = other.offsite(&["init", &url, "--name", NAME]).output().exits(1);
    assert!(!refused.stderr.is_empty(), "{refused:?}");
    fs::create_dir_all(other.config()).expect("make the folder of settings");
    fs::copy(scene.machine.key_file(), other.key_file()).expect("bring the key along");
    other.offsite(&["init", &url, "--name", NAME]).output().exits(1);
    assert!(other.status()["place"].is_null(), "{:#}", other.status());
    assert_eq!(Repository::new(&scene.shelf, &scene.place, NAME, &scene.machine.key()).snapshots().len(), before);
    scene.is_well_again();
}
