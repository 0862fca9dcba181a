//! A scratch home: everything a test touches lies in a temporary directory of its own.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use crate::binaries;
use crate::processes;
use crate::run::{Run, raw_pid};
use crate::waiting;

/// The slug under which tests lay out transcripts: the project `/home/dev/proj`.
pub const SLUG: &str = "-home-dev-proj";
/// The project's folder in the stores, from the `cwd` in those transcripts.
pub const PROJECT: &str = "proj";

/// The folder of the home that recorded files name.
const RECORDED_ROOT: &str = "/tmp/threefold-recorded";

/// A home with nothing in it but what the test puts there. Dropped, every process that still
/// runs with this home is killed and the directory is removed.
#[derive(Debug)]
pub struct Scratch {
    root: TempDir,
    binaries: PathBuf,
    /// Held where the home has a path that others want too.
    _turn: Option<File>,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

impl Scratch {
    /// An empty home that uses the built binaries in their place.
    pub fn new() -> Scratch {
        Scratch::of(tempfile::Builder::new().prefix("threefold-").tempdir(), None)
    }

    /// An empty home whose path is the same each time, for files that name it. Waits for its turn.
    pub fn at_recorded_home() -> Scratch {
        let lock = format!("{RECORDED_ROOT}.lock");
        let turn = File::create(lock).and_then(|turn| turn.lock().map(|()| turn)).expect("lock the recorded home");
        // Whoever had it before may have been killed.
        let _ = fs::remove_dir_all(RECORDED_ROOT);
        Scratch::of(tempfile::Builder::new().prefix("threefold-recorded").rand_bytes(0).tempdir_in("/tmp"), Some(turn))
    }

    fn of(root: io::Result<TempDir>, turn: Option<File>) -> Scratch {
        let root = root.expect("make a scratch directory");
        let scratch = Scratch { root, binaries: binaries::folder().to_owned(), _turn: turn };
        for dir in [scratch.home(), scratch.tmp(), scratch.project_dir()] {
            fs::create_dir_all(&dir).expect("make a scratch directory");
        }
        scratch
    }

    /// An empty home with binaries of its own, as the installer places them, to be damaged at will.
    pub fn with_own_binaries() -> Scratch {
        let mut scratch = Scratch::new();
        scratch.binaries = scratch.claude_dir().join("hooks");
        fs::create_dir_all(&scratch.binaries).expect("make the folder of hooks");
        for name in binaries::ALL {
            let from = binaries::folder().join(name);
            fs_extra::file::copy(from, scratch.program(name), &fs_extra::file::CopyOptions::new())
                .expect("copy a binary");
        }
        scratch
    }

    /// The folder that everything lies in.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// `HOME`.
    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// A path beside the home, for what is not to be found in it.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// `TMPDIR`.
    pub fn tmp(&self) -> PathBuf {
        self.beside("tmp")
    }

    /// Where hooks are started: the project's directory.
    pub fn project_dir(&self) -> PathBuf {
        self.home().join("proj")
    }

    /// Claude Code's configuration directory.
    pub fn claude_dir(&self) -> PathBuf {
        self.home().join(".claude")
    }

    /// The project's folder of transcripts.
    pub fn slug_dir(&self) -> PathBuf {
        self.claude_dir().join("projects").join(SLUG)
    }

    /// Where a session's transcript lies.
    pub fn transcript(&self, id: &str) -> PathBuf {
        self.slug_dir().join(format!("{id}.jsonl"))
    }

    /// Layer 1's store.
    pub fn layer1_store(&self) -> PathBuf {
        self.home().join(".claude-backup-sessions")
    }

    /// Layer 3's store.
    pub fn layer3_store(&self) -> PathBuf {
        self.home().join(".claude-backup")
    }

    /// The SQLite index.
    pub fn index(&self) -> PathBuf {
        self.layer3_store().join("sessions.db")
    }

    /// What a layer logged so far; empty when it has not yet.
    pub fn log(&self, layer: u8) -> String {
        let store = if layer == 3 { self.layer3_store() } else { self.layer1_store() };
        fs::read_to_string(store.join(format!(".log/layer{layer}.log"))).unwrap_or_default()
    }

    /// A program of ours.
    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// A run of a program of ours, in this home.
    pub fn run(&self, name: &str, args: &[&str]) -> Run {
        self.at_home(Run::new(self.program(name))).args(args)
    }

    /// A run of layer 1.
    pub fn layer1(&self, args: &[&str]) -> Run {
        self.run(binaries::LAYER1, args)
    }

    /// A run of layer 2.
    pub fn layer2(&self, args: &[&str]) -> Run {
        self.run(binaries::LAYER2, args)
    }

    /// A run of layer 3.
    pub fn layer3(&self, args: &[&str]) -> Run {
        self.run(binaries::LAYER3, args)
    }

    /// Any run, in this home and its environment.
    pub fn at_home(&self, run: Run) -> Run {
        run.env("HOME", self.home())
            .env("PATH", "/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            .env("TMPDIR", self.tmp())
            .current_dir(&self.project_dir())
    }

    /// A hook's command as Claude Code runs it: `/bin/sh -c`, the event and a newline on stdin,
    /// then end of file; in the project's directory, with the variables that a hook gets.
    pub fn hook(&self, command: &str, event: &str) -> Run {
        let id = serde_json::from_str::<serde_json::Value>(event)
            .ok()
            .and_then(|event| event["session_id"].as_str().map(str::to_owned))
            .unwrap_or_default();
        self.at_home(Run::new("/bin/sh"))
            .args(["-c", command])
            .env("CLAUDE_PROJECT_DIR", self.project_dir())
            .env("CLAUDE_CODE_SESSION_ID", id)
            .env("CLAUDE_PID", std::process::id().to_string())
            .env("CLAUDECODE", "1")
            .env("CLAUDE_CODE_CHILD_SESSION", "1")
            .env("ANTHROPIC_API_KEY", "sk-ant-scratch")
            .stdin(format!("{event}\n"))
    }

    /// The command of PreCompact and SessionEnd, with flags for layer 2.
    pub fn chain_command(&self, layer2_flags: &str) -> String {
        let (layer1, layer2) = (self.program(binaries::LAYER1), self.program(binaries::LAYER2));
        format!("{{ '{}' || cat; }} | '{}' {layer2_flags} || :", layer1.display(), layer2.display()).replace("  ", " ")
    }

    /// The command of UserPromptSubmit, Stop, StopFailure, SubagentStop and PostCompact.
    pub fn turn_command(&self) -> String {
        format!("'{}' --quiet || :", self.program(binaries::LAYER1).display())
    }

    /// The command of SessionStart.
    pub fn start_command(&self) -> String {
        let (layer1, layer2) = (self.program(binaries::LAYER1), self.program(binaries::LAYER2));
        format!("'{}' sweep --quiet; '{}' drain || :", layer1.display(), layer2.display())
    }

    /// The command that the installer configures for this kind of event, if any.
    pub fn command_of(&self, kind: &str) -> Option<String> {
        match kind {
            "PreCompact" | "SessionEnd" => Some(self.chain_command("")),
            "UserPromptSubmit" | "Stop" | "StopFailure" | "SubagentStop" | "PostCompact" => Some(self.turn_command()),
            "SessionStart" => Some(self.start_command()),
            _ => None,
        }
    }

    /// Replaces a binary of [`Scratch::with_own_binaries`] by an executable shell script.
    pub fn replace_binary(&self, name: &str, script: &str) {
        self.delete_binary(name);
        fs::write(self.program(name), format!("#!/bin/sh\n{script}\n")).expect("write a script");
        fs::set_permissions(self.program(name), fs::Permissions::from_mode(0o755)).expect("make it executable");
    }

    /// Deletes a binary of [`Scratch::with_own_binaries`].
    pub fn delete_binary(&self, name: &str) {
        assert!(self.binaries.starts_with(self.root.path()), "only own binaries may be damaged");
        fs::remove_file(self.program(name)).expect("delete a binary");
    }

    /// Takes the right to be executed from a binary of [`Scratch::with_own_binaries`].
    pub fn make_unexecutable(&self, name: &str) {
        assert!(self.binaries.starts_with(self.root.path()), "only own binaries may be damaged");
        fs::set_permissions(self.program(name), fs::Permissions::from_mode(0o600)).expect("take the right away");
    }

    /// Waits until no process of this home is left.
    #[track_caller]
    pub fn await_no_process(&self, limit: Duration) {
        let left = || processes::with_home(&self.home());
        if !waiting::holds_within(limit, || left().is_empty()) {
            panic!("processes left behind after {limit:?}: {:#?}", left());
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for process in processes::with_home(&self.home()) {
            // It may have ended meanwhile.
            let _ = kill_process(raw_pid(process.pid), Signal::KILL);
        }
        // The last writes of a killed process may race with the removal; the directory lies in
        // the system's temporary folder and is swept from there at the latest.
        let _ = waiting::holds_within(Duration::from_secs(2), || fs::remove_dir_all(self.root.path()).is_ok());
    }
}
