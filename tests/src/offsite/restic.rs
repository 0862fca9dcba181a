//! restic by hand, as a person would run it on a place: to look at what Threefold put there, and to damage it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::offsite::place::Place;
use crate::offsite::tools::{self, RESTIC};
use crate::run::{Outcome, Run};
use crate::scratch::Scratch;

/// Longest run; a repository on a server that waits for a core included.
pub const LIMIT: Duration = Duration::from_secs(120);

/// One repository of a place, and its password.
#[derive(Debug, Clone)]
pub struct Repository<'a> {
    place: &'a Place,
    url: String,
    password: String,
    home: PathBuf,
}

impl<'a> Repository<'a> {
    /// The repository of a name below a place.
    pub fn new(scratch: &Scratch, place: &'a Place, name: &str, password: &str) -> Repository<'a> {
        let url = format!("{}/{name}", place.url());
        Repository { place, url, password: password.to_owned(), home: scratch.beside("by-hand") }
    }

    /// A run of restic, without a cache.
    pub fn run(&self, args: &[&str]) -> Run {
        let run = Run::new(tools::program(RESTIC)).args(["--no-cache", "--repo", &self.url]).args(args);
        let run = run.env("PATH", tools::search_path(&self.place.programs())).env("HOME", &self.home);
        let run = run.env("RESTIC_PASSWORD", &self.password).limit(LIMIT);
        self.place.variables().into_iter().fold(run, |run, (name, value)| run.env(name, value))
    }

    /// Runs it and asserts that it ended well.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> Outcome {
        self.run(args).output().ok()
    }

    /// Everything in the repository is read and found well.
    #[track_caller]
    pub fn assert_clean(&self) {
        self.ok(&["check", "--read-data"]);
    }

    /// The snapshots, oldest first.
    #[track_caller]
    pub fn snapshots(&self) -> Vec<Value> {
        let listed = self.ok(&["snapshots", "--json", "--no-lock"]).json();
        listed.as_array().expect("a list of snapshots").clone()
    }

    /// A file of the newest snapshot.
    #[track_caller]
    pub fn dump(&self, path: &str) -> Vec<u8> {
        self.ok(&["dump", "--no-lock", "latest", path]).stdout
    }
}
