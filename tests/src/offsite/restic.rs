//! restic by hand, as a person would run it on a place: to look at what Threefold put there, and to damage it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
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

/// Puts a script in the place of restic, in a folder that has to stand first on the search path. In it `$REAL` is the
/// real one and `$HERE` the folder, and `command` the word that says what is asked of restic.
pub fn scripted(folder: &Path, script: &str) {
    fs::create_dir_all(folder).expect("make a folder of programs");
    let program = folder.join(RESTIC);
    let text = format!(
        "#!/bin/sh\nREAL='{}' HERE='{}'\ncommand=\nfor word; do\n  case $word in {COMMANDS}) command=$word; break ;; esac\ndone\n{script}\n",
        tools::program(RESTIC).display(),
        folder.display()
    );
    // Written beside and renamed: one that is being executed may not be written to.
    let new = folder.join("new");
    fs::write(&new, text).expect("write a script");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("make it executable");
    fs::rename(new, program).expect("put the script in its place");
}

/// What restic can be asked.
const COMMANDS: &str = "backup|cat|check|copy|dump|forget|init|key|list|ls|prune|rebuild-index|recover|repair|restore|snapshots|stats|unlock|version";

/// A pack of a repository that is kept in a folder, the largest one that holds these blobs alone: `data` or `tree`.
#[track_caller]
pub fn largest_pack(repository: &Repository<'_>, folder: &Path, blobs: &str) -> PathBuf {
    let mut packs = Vec::new();
    for id in repository.ok(&["list", "--no-lock", "index"]).text().lines() {
        let index = repository.ok(&["cat", "--no-lock", "index", id]).json();
        for pack in index["packs"].as_array().expect("an index has packs") {
            let is_of = pack["blobs"].as_array().is_some_and(|found| found.iter().all(|blob| blob["type"] == blobs));
            let id = pack["id"].as_str().expect("a pack has an id");
            let path = folder.join("data").join(&id[..2]).join(id);
            if let (true, Ok(metadata)) = (is_of, fs::metadata(&path)) {
                packs.push((metadata.len(), path));
            }
        }
    }
    packs.sort();
    packs.pop().unwrap_or_else(|| panic!("no pack of {blobs}")).1
}

/// Changes one bit in the middle of a file, which need not be writable.
#[track_caller]
pub fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("read a file of a repository");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("make it writable");
    fs::write(path, bytes).expect("damage a file");
}
