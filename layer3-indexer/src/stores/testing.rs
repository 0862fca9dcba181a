//! A scratch HOME for the unit tests: places, transcripts, both stores.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use layer1_prebackup::archive::{Archive, Compare, SaveRequest, SessionKey};
use layer1_prebackup::claude::transcripts::Reach;
use layer1_prebackup::config::places::{PlaceFlags, Places};
use layer1_prebackup::names::{FileName, ProjectName, SessionId, StoredName};

use serde_json::json;

use crate::failure::Failure;
use crate::save::adopt_v1;
use crate::save::roots::RootKind;
use crate::save::{self, Answer, Expected, LogSink, Receipt, Request};
use crate::stores::SessionCopies;

/// What this thread has taken of a processor so far, however much else ran beside it.
pub(crate) fn cpu_time() -> Duration {
    Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime)).unwrap()
}

/// The id that most tests use.
pub(crate) const ID: &str = "aaaaaaaa-0000-4000-8000-000000000001";

/// A process that calls itself `claude`, for as long as it is kept.
pub(crate) struct RunningClaude(std::process::Child);

impl RunningClaude {
    pub(crate) fn start() -> RunningClaude {
        use std::io::{Read, Write};
        use std::os::unix::process::CommandExt;
        use std::process::{Command, Stdio};
        let mut claude =
            Command::new("/bin/cat").arg0("claude").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Once it answers, the system knows its words: right after the start it may not yet.
        claude.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        claude.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        RunningClaude(claude)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for RunningClaude {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// A HOME of its own, removed at the end.
pub(crate) struct Scene {
    home: tempfile::TempDir,
    pub(crate) places: Places,
}

impl Scene {
    pub(crate) fn new() -> Scene {
        let home = tempfile::tempdir().unwrap();
        // Resolved, because this layer records sources so.
        let root = fs::canonicalize(home.path()).unwrap();
        let places = Places::resolve_with(
            &PlaceFlags::default(),
            &|name| (name == "HOME").then(|| root.clone().into()),
            &layer1_prebackup::config::settings::Settings::default(),
        )
        .unwrap();
        Scene { home, places }
    }

    pub(crate) fn id(&self) -> SessionId {
        SessionId::parse(ID).unwrap()
    }

    pub(crate) fn transcript(&self) -> PathBuf {
        self.transcript_in("-home-dev-proj", ID)
    }

    pub(crate) fn transcript_in(&self, slug: &str, id: &str) -> PathBuf {
        self.places.projects().join(slug).join(format!("{id}.jsonl"))
    }

    pub(crate) fn write(&self, path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes the transcript of [`ID`].
    pub(crate) fn transcribe(&self, lines: &[String]) {
        self.write(&self.transcript(), &lines.concat());
    }

    /// Claude Code, or a user, deletes all transcripts.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn remove_sources(&self) {
        fs::remove_dir_all(self.places.projects()).unwrap();
    }

    /// All of the transcript was last written long ago.
    pub(crate) fn age_sources(&self) {
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(1_000_000);
        let transcript = fs::File::options().append(true).open(self.transcript()).unwrap();
        transcript.set_modified(old).unwrap();
    }

    /// Layer 1 copies the session, as its hook does.
    pub(crate) fn layer1_copies(&self) -> (Archive, SessionKey) {
        let archive = Archive::create(&self.places.layer1_store).unwrap();
        let (id, transcript) = (self.id(), self.transcript());
        let progress = |_| {};
        let request = SaveRequest {
            id: &id,
            transcript: &transcript,
            project: None,
            cwd: None,
            compare: Compare::Whole,
            progress: &progress,
        };
        let report = archive.save(&request).unwrap();
        (archive, report.key.unwrap())
    }

    /// What layer 2 would send as `expected`.
    pub(crate) fn expected(&self, held: &(Archive, SessionKey)) -> Vec<Expected> {
        let files = held.0.files(&held.1).unwrap();
        files.iter().map(|f| Expected { name: f.name.clone(), bytes: f.bytes, blake3: f.blake3 }).collect()
    }

    pub(crate) fn save(&self, expected: Option<&[Expected]>) -> Result<Answer, Failure> {
        self.save_as(&self.transcript(), RootKind::Claude, None, expected)
    }

    pub(crate) fn save_as(
        &self,
        transcript: &Path,
        root: RootKind,
        project: Option<&str>,
        expected: Option<&[Expected]>,
    ) -> Result<Answer, Failure> {
        let id = SessionId::of_transcript(transcript).unwrap();
        let project = project.map(|project| ProjectName::parse(project).unwrap());
        let request = Request {
            id: &id,
            transcript,
            root,
            reach: Reach::Links,
            cwd: Some("/home/dev/proj"),
            trigger: Some("session-end"),
            project: project.as_ref(),
            expected,
        };
        save::save(&self.places, &LogSink::new(&self.places, false), &request, &|_| {})
    }

    pub(crate) fn receipt(&self, expected: Option<&[Expected]>) -> Receipt {
        match self.save(expected).unwrap() {
            Answer::Receipt(receipt) => receipt,
            Answer::Skipped(skipped) => panic!("skipped: {}", skipped.reason),
        }
    }

    /// What both stores have of the session.
    pub(crate) fn copies(&self) -> SessionCopies {
        SessionCopies::find(&adopt_v1::stores(&self.places).unwrap(), ID).unwrap()
    }

    /// Layer 3's newest copy of the transcript.
    pub(crate) fn copy(&self) -> PathBuf {
        let archive = Archive::open(&self.places.layer3_store).unwrap().unwrap();
        let key = archive.find(&self.id()).unwrap().remove(0);
        archive.slot(&key, &StoredName::newest(FileName::Transcript)).path()
    }

    /// [`Scene::copy`] of a store that cannot be asked.
    pub(crate) fn copy_without_bookkeeping(&self) -> PathBuf {
        self.places.layer3_store.join("proj").join(format!("{ID}.jsonl"))
    }

    /// The contents of layer 3's project folders by path, metadata left out.
    pub(crate) fn stored(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.places.layer3_store, Path::new(""), &mut found);
        found.sort();
        found
    }

    /// The text with the scratch HOME as `~`.
    pub(crate) fn filtered(&self, text: &str) -> String {
        let real = fs::canonicalize(self.home.path()).unwrap();
        text.replace(real.to_str().unwrap(), "~")
    }
}

fn walk(root: &Path, rel: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(root.join(rel)).unwrap() {
        let name = entry.unwrap().file_name();
        let below = rel.join(&name);
        let text = below.to_str().unwrap().to_owned();
        if rel == Path::new("") && (text.starts_with('.') || text.starts_with("sessions.db")) || text.ends_with(".json")
        {
            continue;
        }
        if root.join(&below).is_dir() {
            walk(root, &below, found);
        } else {
            let content = fs::read_to_string(root.join(&below)).unwrap();
            found.push(format!("{text}: {} lines", content.lines().count()));
        }
    }
}

/// Flips a bit of the last byte before the newline, as a failing disk does.
pub(crate) fn flip_last_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() - 2;
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A prompt of the user, as a line of a transcript.
pub(crate) fn prompt(n: u32, text: &str) -> String {
    line(n, "user", json!(text))
}

/// An answer of the model.
pub(crate) fn answer(n: u32, text: &str) -> String {
    line(n, "assistant", json!([{ "type": "text", "text": text }]))
}

fn line(n: u32, kind: &str, content: serde_json::Value) -> String {
    format!(
        "{{\"type\":\"{kind}\",\"uuid\":\"u-{n:04}\",\"sessionId\":\"{ID}\",\"timestamp\":\"2026-11-22T10:{:02}:{:02}.000Z\",\
         \"cwd\":\"/home/dev/proj\",\"gitBranch\":\"main\",\"message\":{{\"role\":\"{kind}\",\"content\":{content}}}}}\n",
        n / 60,
        n % 60
    )
}
