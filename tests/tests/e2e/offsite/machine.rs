//! A machine that pushes to a place: its home, its conversations, and in one word what a person types there.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tests::binaries::LAYER2;
use tests::offsite::place::{Kind, Place};
use tests::offsite::restic::Repository;
use tests::offsite::tools;
use tests::run::{Outcome, Run};
use tests::scratch::Scratch;
use tests::transcripts;
use tests::tree;

use crate::product::text;

/// Longest run of a command that works.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);
/// So many conversations a machine of the table has.
pub(crate) const SESSIONS: usize = 24;
/// The name of a machine where there is one.
pub(crate) const NAME: &str = "laptop";

/// A home with programs, a search path on which a new restic stands, and the settings for a place.
pub(crate) struct Machine {
    pub(crate) scratch: Scratch,
    path: OsString,
    place_url: String,
}

impl Machine {
    /// An empty home that knows of the place what a person writes into the settings' file; nothing is set up.
    pub(crate) fn new(place: &Place) -> Machine {
        Machine::with_programs(place, &[])
    }

    /// The same, with folders of programs before all others.
    pub(crate) fn with_programs(place: &Place, before: &[PathBuf]) -> Machine {
        let before = [before, place.programs().as_slice()].concat();
        let machine = Machine { scratch: Scratch::new(), path: tools::search_path(&before), place_url: place.url() };
        machine.configure(place, "");
        machine
    }

    /// Writes the settings: these lines, and the file of variables where the place needs one.
    pub(crate) fn configure(&self, place: &Place, lines: &str) {
        let folder = self.config();
        fs::create_dir_all(&folder).expect("make the folder of settings");
        let variables = place.variables();
        let mut settings = lines.to_owned();
        if !variables.is_empty() {
            settings += "offsite_env_file = \"~/.config/threefold/offsite.env\"\n";
            let lines: String = variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
            let file = folder.join("offsite.env");
            fs::write(&file, lines).expect("write the variables");
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("keep them from others");
        }
        fs::write(folder.join("config.toml"), settings).expect("write the settings");
    }

    /// `~/.config/threefold`.
    pub(crate) fn config(&self) -> PathBuf {
        self.scratch.home().join(".config/threefold")
    }

    /// The file that holds the key.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.config().join("offsite.key")
    }

    /// The key.
    #[track_caller]
    pub(crate) fn key(&self) -> String {
        fs::read_to_string(self.key_file()).expect("read the key").trim().to_owned()
    }

    /// The repository's files of state.
    pub(crate) fn state(&self) -> PathBuf {
        self.scratch.layer1_store().join(".state/offsite")
    }

    /// Any run in this home, with the search path on which restic stands.
    pub(crate) fn with_path(&self, run: Run) -> Run {
        run.env("PATH", &self.path).limit(LIMIT)
    }

    /// `offsite …`.
    pub(crate) fn offsite(&self, args: &[&str]) -> Run {
        self.with_path(self.scratch.run(LAYER2, &["offsite"])).args(args)
    }

    /// Sets the place up under a name; gives the recovery sheet.
    #[track_caller]
    pub(crate) fn init(&self, name: &str) -> String {
        self.offsite(&["init", &self.place_url, "--name", name]).output().ok().text()
    }

    /// Asserts that a recovery sheet has the key's words, in their order.
    #[track_caller]
    pub(crate) fn assert_on_sheet(&self, sheet: &str) {
        let key = self.key();
        assert_eq!(key.split(' ').count(), 24, "a key has 24 words");
        let words: Vec<&str> =
            sheet.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty()).collect();
        let are_there = words.windows(24).any(|words| words.join(" ") == key);
        assert!(are_there, "the recovery sheet shows the key:\n{sheet}");
    }

    /// Pushes, and asserts that all of it arrived and was read back.
    #[track_caller]
    pub(crate) fn push(&self) -> Outcome {
        let outcome = self.offsite(&["push", "--now"]).output().ok();
        let status = self.status();
        assert!(status["push"]["complete"] == true, "{status:#} {outcome:?}");
        assert!(status["dirty"] == false && status["waiting"] == 0, "{status:#} {outcome:?}");
        outcome
    }

    /// `offsite status`.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.offsite(&["status", "--json"]).output().json()
    }

    /// The finding of this kind, which there must be, with the command that fixes it.
    #[track_caller]
    pub(crate) fn finding(&self, kind: &str) -> Value {
        let found = self.has(kind).unwrap_or_else(|| panic!("no {kind} in {:#}", self.status()));
        assert!(!text(&found, "fix").is_empty() && !text(&found, "what").is_empty(), "{found:#}");
        found
    }

    /// The finding of this kind, if there is one.
    #[track_caller]
    pub(crate) fn has(&self, kind: &str) -> Option<Value> {
        let status = self.status();
        let found = status["findings"].as_array().expect("a list of findings");
        found.iter().find(|found| found["kind"] == kind).cloned()
    }

    /// The kinds of what is wrong, but for the sheet that nobody confirmed, and the disk that tests have for all.
    #[track_caller]
    pub(crate) fn kinds(&self) -> Vec<String> {
        let status = self.status();
        let found = status["findings"].as_array().expect("a list of findings");
        found
            .iter()
            .map(|found| text(found, "kind"))
            .filter(|kind| !["key-unconfirmed", "offsite-one-disk"].contains(&kind.as_str()))
            .collect()
    }

    /// Every sealed conversation is brought back from the place and is equal.
    #[track_caller]
    pub(crate) fn drill_all(&self) -> Outcome {
        self.offsite(&["drill", "--all"]).output().ok()
    }

    /// This machine's repository, to be looked at by hand.
    pub(crate) fn repository<'a>(&self, place: &'a Place, name: &str) -> Repository<'a> {
        Repository::new(&self.scratch, place, name, &self.key())
    }

    /// Makes conversations, recorded ones among them, and copies them into layer 1's store. One of them was rewritten
    /// since, so that it has an older content.
    pub(crate) fn converse(&self, count: usize) {
        let made = count.saturating_sub(transcripts::RECORDED.len());
        if count >= transcripts::RECORDED.len() {
            transcripts::lay_out_recorded(&self.scratch);
        }
        for n in 1..=made.max(1) {
            let id = transcripts::made_id(n as u32);
            // From 1 to 40 turns, of up to 200 KB.
            let path = transcripts::make_conversation(&self.scratch, &id, 1 + n as u32 % 40);
            let mut noise = vec![0; 1000 * (n % 8) * (n % 8)];
            blake3::Hasher::new().update(id.as_bytes()).finalize_xof().fill(&mut noise);
            let noise: String = noise.iter().map(|byte| format!("{byte:02x}")).collect();
            transcripts::append(&path, transcripts::answer_line(&id, 900, &noise));
        }
        self.sweep();
        let rewritten = self.scratch.transcript(&transcripts::made_id(1));
        transcripts::rewrite(&rewritten, transcripts::prompt_line(&transcripts::made_id(1), 1, "begun anew"));
        self.sweep();
    }

    /// Lets a conversation grow by a prompt, and copies it.
    pub(crate) fn grow(&self, n: u32, said: &str) {
        let id = transcripts::made_id(n);
        transcripts::append(&self.scratch.transcript(&id), transcripts::prompt_line(&id, 1000, said));
        self.sweep();
    }

    /// What SessionStart and the timer do: every transcript is copied.
    #[track_caller]
    pub(crate) fn sweep(&self) {
        self.scratch.layer1(&["sweep", "--quiet"]).output().ok();
    }

    /// The transcripts and side files of this machine, relative to Claude Code's directory of projects.
    pub(crate) fn projects(&self) -> PathBuf {
        self.scratch.claude_dir().join("projects")
    }

    /// Brings everything back into a home that has nothing but the key, and asserts that every transcript and side file
    /// is there, equal, and that both copies are well.
    #[track_caller]
    pub(crate) fn assert_comes_back(&self, place: &Place, sessions: usize) {
        let fresh = self.fresh(place);
        let restored = fresh.offsite(&["restore", &self.place_url, "--host", NAME]).output().ok();
        fresh.assert_has_all_of(self, sessions, &restored);
    }

    /// A machine with nothing but the key, and what is said of the place in the settings' file.
    #[track_caller]
    pub(crate) fn fresh(&self, place: &Place) -> Machine {
        let fresh = Machine::new(place);
        fs::copy(self.key_file(), fresh.key_file()).expect("bring the key along");
        fresh
    }

    /// Asserts that this machine has every conversation of another one.
    #[track_caller]
    pub(crate) fn assert_has_all_of(&self, other: &Machine, sessions: usize, restored: &Outcome) {
        self.scratch.layer1(&["verify"]).output().ok();
        let scratch = &self.scratch;
        self.with_path(scratch.layer2(&["drain"])).output().ok();
        scratch.await_no_process(LIMIT);
        scratch.layer3(&["verify"]).limit(LIMIT).output().ok();
        scratch.layer3(&["restore", "--all-missing"]).limit(LIMIT).output().ok();
        let (theirs, ours) = (transcripts_below(&other.projects()), transcripts_below(&self.projects()));
        assert_eq!(theirs.len(), sessions, "{restored:?}");
        for path in &theirs {
            let read = |machine: &Machine| fs::read(machine.projects().join(path));
            let is_equal = read(self).is_ok_and(|bytes| bytes == read(other).expect("read a transcript"));
            assert!(is_equal, "{}: not as it was; there are {} of {}", path.display(), ours.len(), theirs.len());
        }
        for path in side_files_below(&other.projects()) {
            let read = |machine: &Machine| fs::read(machine.projects().join(&path)).ok();
            assert!(read(self) == read(other), "{}: not as it was", path.display());
        }
        // What lies in the first copy is as it was there: the older contents too.
        let [theirs, ours] = [other, self].map(|machine| tree::visible(&machine.scratch.layer1_store()));
        let different: Vec<_> = theirs.iter().filter(|(path, entry)| ours.get(*path) != Some(entry)).collect();
        assert!(different.is_empty(), "{different:#?}");
    }
}

/// A machine that has sent so many conversations to a place in a folder; `None` where restic cannot be had.
pub(crate) fn set_up(test: &str, conversations: usize) -> Option<(Scratch, Place, Machine)> {
    let shelf = Scratch::new();
    let place = Place::open(test, Kind::Local, &shelf.beside("place"))?;
    let machine = Machine::new(&place);
    machine.converse(conversations);
    machine.init(NAME);
    Some((shelf, place, machine))
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("read a folder") {
            let path = entry.expect("read a folder").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).expect("it lies below").to_owned());
            }
        }
    }
    found.sort();
    found
}

fn is_transcript(path: &Path) -> bool {
    path.components().count() == 2 && path.extension().is_some_and(|extension| extension == "jsonl")
}

fn transcripts_below(projects: &Path) -> Vec<PathBuf> {
    below(projects).into_iter().filter(|path| is_transcript(path)).collect()
}

fn side_files_below(projects: &Path) -> Vec<PathBuf> {
    below(projects).into_iter().filter(|path| !is_transcript(path)).collect()
}
