//! Layer 2's own part of a set-up and of a push with its system calls failing, one after the other, against a stand-in
//! for restic: what is called sent is there, what is not is told, and the next run makes it whole.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tests::binaries::LAYER2;
use tests::run::Run;
use tests::scratch::Scratch;
use tests::strace::{Trace, Traced};
use tests::{transcripts, tree};

use super::machine::NAME;
use crate::faults::{lay, sweep};

/// A `restic` that a killed push left has ended by then.
const ENDED: Duration = Duration::from_secs(20);
/// Only this program's calls fail: the stand-in's are not looked at.
const ALONE: [&str; 2] = ["-b", "execve"];

/// A home with conversations in layer 1's store, and what is laid back before each point.
struct Scene {
    scratch: Scratch,
    before: PathBuf,
}

impl Scene {
    fn new() -> Scene {
        let scratch = Scratch::new();
        let programs = scratch.beside("programs");
        fs::create_dir_all(&programs).expect("make a folder of programs");
        let restic = programs.join("restic");
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/offsite/restic"), &restic)
            .expect("copy a script");
        fs::set_permissions(&restic, fs::Permissions::from_mode(0o755)).expect("make it executable");
        let scene = Scene { before: scratch.beside("before"), scratch };
        for n in 1..=3 {
            transcripts::make_conversation(&scene.scratch, &transcripts::made_id(n), 3);
        }
        fs::create_dir(scene.place()).expect("make a place");
        scene.sweep();
        scene
    }

    /// What may change: layer 1's store, the place, and the key.
    fn state(&self) -> [PathBuf; 3] {
        [self.scratch.layer1_store(), self.place(), self.scratch.home().join(".config/threefold")]
    }

    fn place(&self) -> PathBuf {
        self.scratch.beside("place")
    }

    fn keep(&self) {
        for (number, folder) in self.state().iter().enumerate().filter(|(_, folder)| folder.exists()) {
            lay(folder, &self.before.join(number.to_string()));
        }
    }

    fn reset(&self) {
        for (number, folder) in self.state().iter().enumerate() {
            match self.before.join(number.to_string()) {
                before if before.exists() => lay(&before, folder),
                _ => drop(fs::remove_dir_all(folder)), // Nobody may have made it.
            }
        }
    }

    /// Copies what was said since.
    fn sweep(&self) {
        self.scratch.layer1(&["sweep", "--quiet"]).output().ok();
    }

    fn run(&self, run: Run) -> Run {
        run.env("PATH", OsString::from(format!("{}:/usr/bin:/bin", self.scratch.beside("programs").display())))
    }

    fn offsite(&self, args: &[&str]) -> Run {
        self.run(self.scratch.layer2(&["offsite"])).args(args)
    }

    fn init(&self) -> Vec<String> {
        ["init", &self.place().display().to_string(), "--name", NAME].map(str::to_owned).to_vec()
    }

    /// The command with the nth of these calls failing; `None` where none failed.
    fn faulted(&self, (call, fault, n): (&str, &str, u32), args: &[&str]) -> Option<Trace> {
        self.reset();
        let inject = format!("inject={call}:{fault}:when={n}");
        let options = [&ALONE[..], &["-e", &inject]].concat();
        let args = [&["offsite"], args].concat();
        let traced = Traced::new(&self.scratch, call, &options, LAYER2, &args);
        let trace = traced.with(|run| self.run(run)).output();
        self.scratch.await_no_process(ENDED);
        trace.fault_fired().then_some(trace)
    }

    /// Everything that is sealed is in the newest snapshot, and is what layer 1's store has.
    #[track_caller]
    fn assert_sent(&self, point: &str) {
        let status: Value = self.offsite(&["status", "--json"]).output().json();
        let is_sent = status["push"]["complete"] == true && status["dirty"] == false && status["waiting"] == 0;
        assert!(is_sent, "{point}: {status:#}");
        let snapshots = self.place().join(NAME).join("snapshots");
        let entries = fs::read_dir(&snapshots).expect("read the snapshots").flatten().map(|entry| entry.path());
        let newest = entries.filter(|path| path.is_dir()).max().expect("a snapshot");
        assert!(newest.ends_with(status["push"]["snapshot"].as_str().unwrap_or_default()), "{point}: {status:#}");
        let sums = fs::read_to_string(newest.join(".state/offsite/seal.b3")).expect("read the sums");
        for line in sums.lines() {
            let (sum, path) = line.split_once("  ").expect("a sum and a path");
            let bytes = fs::read(newest.join(path)).unwrap_or_default();
            assert_eq!(blake3::hash(&bytes).to_hex().as_str(), sum, "{point}: {path}");
        }
        for path in tree::visible_files(&self.scratch.layer1_store()) {
            assert!(sums.contains(&path), "{point}: {path} was not sealed");
        }
    }

    /// Without a fault it is made whole, and nothing is left of what was begun.
    #[track_caller]
    fn assert_recovers(&self, point: &str, commands: &[&[&str]]) {
        for command in commands {
            let outcome = self.offsite(command).output();
            assert_eq!(outcome.code, Some(0), "{point}: {command:?}: {outcome:#?}");
        }
        self.assert_sent(point);
        let verify = self.scratch.layer1(&["verify"]).output();
        assert_eq!(verify.code, Some(0), "{point}: {verify:#?}");
        let left: Vec<PathBuf> =
            tree::all(&self.scratch.layer1_store()).into_keys().filter(|path| is_temporary(path)).collect();
        assert!(left.is_empty(), "{point}: {left:?}");
    }
}

fn is_temporary(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tmp")
}

/// A command that failed says so; one that was killed cannot.
#[track_caller]
fn assert_told(trace: &Trace, fault: &str, point: &str) {
    if fault.starts_with("error") {
        let outcome = &trace.outcome;
        assert!(!outcome.timed_out && matches!(outcome.code, Some(0 | 1)), "{point}: {outcome:#?}");
        let could_say = !trace.faulted().iter().any(|line| line.contains("write(2<"));
        assert!(outcome.code == Some(0) || !outcome.stderr.is_empty() || !could_say, "{point}: {outcome:#?}");
    }
}

#[test]
fn faults_in_a_push() {
    let scene = Scene::new();
    scene.offsite(&scene.init().iter().map(String::as_str).collect::<Vec<_>>()).output().ok();
    let id = transcripts::made_id(2);
    transcripts::append(&scene.scratch.transcript(&id), transcripts::prompt_line(&id, 90, "since the first push"));
    scene.sweep();
    scene.keep();
    sweep("faults_in_a_push", &[], |call, fault, n| {
        let Some(trace) = scene.faulted((call, fault, n), &["push", "--now"]) else { return false };
        let point = format!("{call}:{fault}:when={n} at {:#?}", trace.faulted());
        assert_told(&trace, fault, &point);
        if trace.outcome.code == Some(0) {
            scene.assert_sent(&format!("{point}: called sent: {:#?}", trace.outcome));
        }
        scene.assert_recovers(&point, &[&["push", "--now"], &["drill", "--all"]]);
        true
    });
}

/// Whatever a set-up began, it ends as: the same again, with the key that the place has.
#[test]
fn faults_in_a_set_up() {
    let scene = Scene::new();
    scene.keep();
    let init = scene.init();
    let init: Vec<&str> = init.iter().map(String::as_str).collect();
    sweep("faults_in_a_set_up", &[], |call, fault, n| {
        let Some(trace) = scene.faulted((call, fault, n), &init) else { return false };
        let point = format!("{call}:{fault}:when={n} at {:#?}", trace.faulted());
        assert_told(&trace, fault, &point);
        scene.assert_recovers(&point, &[&init, &["push", "--now"], &["drill", "--all"]]);
        let cards = fs::read_dir(scene.place().join("_machines/snapshots")).expect("read the cards").flatten();
        assert!(cards.count() >= 2, "{point}: a card is there, and what it holds");
        true
    });
}
