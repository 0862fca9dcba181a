//! A synthetic conversation through the installed chain: what install writes for `SessionEnd`, an event
//! on its stdin, both copies, the receipt, and found by `search`.
//!
//! Everything it touches lies in a scratch directory. The home, Claude Code's directory, both stores
//! and the index are there, by variables and by flags.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use layer1_prebackup::config::places::{BACKUP_DIR, CLAUDE_CONFIG_DIR, PRE_BACKUP_DIR, Places, SESSION_DB_PATH};
use layer1_prebackup::config::settings::XDG_CONFIG_HOME;
use layer1_prebackup::fs::{self, DurableError, Lock};
use layer1_prebackup::names::LAYER3;
use serde_json::{Value, json};

use super::hooks::of_folder;
use crate::failure::chain;
use crate::health::child;
use crate::health::context::Context;
use crate::health::examination::Examination;
use crate::health::finding::{Finding, Kind, Subject};
use crate::terminal::path_quoted;
use crate::terminal::time::format_rfc3339_ms;

/// Its folder in the stores.
const PROJECT: &str = "threefold-doctor";
/// Claude Code gives the hook so long.
const HOOK_WAIT: Duration = Duration::from_secs(30);
/// How long the delivery in the background may take, and then the search.
const DELIVERY_WAIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// What did not come through.
type Failure = (Kind, String);

/// Sends it through; the summary says how long that took.
pub(super) fn goes_through(examination: &mut Examination<'_>) {
    if examination.context.round_trip {
        let (summary, finding) = run(examination.context, examination.hooks.chain.as_deref());
        examination.findings.extend(finding);
        examination.summarise(Subject::RoundTrip, summary);
    }
}

fn run(context: &Context, programs: Option<&Path>) -> (String, Option<Finding>) {
    let failed = |kind, what: String| Finding::new(context, kind, what, &context.settings());
    let Some(programs) = programs else {
        // Why not, the check of the hooks has reported; that nothing went through is not well either.
        let what = "not tried: SessionEnd has no hook as install writes it".to_owned();
        return ("not tried".to_owned(), Some(failed(Kind::RoundTripFailed, what)));
    };
    let scratch = match Scratch::make(context) {
        Ok(scratch) => scratch,
        Err(why) => {
            let look = format!("ls -ld {}", path_quoted(&context.temp_dir));
            let finding = Finding::new(context, Kind::RoundTripFailed, why, &context.temp_dir);
            return ("not tried".to_owned(), Some(finding.mend(look)));
        }
    };
    let started = Instant::now();
    let sent = scratch.send(programs);
    let took = started.elapsed().as_millis();
    let mut summary = match sent {
        Ok(()) => format!("saved twice, receipted and found by search in {took} ms"),
        Err(_) => "did not come through".to_owned(),
    };
    if let Err(error) = remove(&scratch.root) {
        summary.push_str(&format!("; {} could not be removed ({})", scratch.root.display(), chain(&error)));
    }
    (summary, sent.err().map(|(kind, what)| failed(kind, what)))
}

/// The scratch directory, and the conversation in it.
struct Scratch {
    root: PathBuf,
    id: String,
    /// A word that stands nowhere else.
    word: String,
    transcript: PathBuf,
    content: String,
    places: Places,
    vars: Vec<(OsString, OsString)>,
}

impl Scratch {
    fn make(context: &Context) -> Result<Scratch, String> {
        let unique = format!("{}-{}", std::process::id(), context.now_ms);
        let root = context.temp_dir.join(format!("threefold-doctor-{unique}"));
        let failed = |error: std::io::Error| format!("failed to make {}: {error}", root.display());
        // Not through `durable`: the folder must not be there yet, and nothing in it has to last.
        DirBuilder::new().mode(0o700).create(&root).map_err(failed)?;
        let id = format!("doctor-{unique}");
        let word = format!("roundtrip{}", unique.replace('-', "x"));
        let folder = root.join("claude/projects/-threefold-doctor");
        for folder in [folder.as_path(), &root.join("home"), &root.join("tmp"), &root.join(PROJECT)] {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let transcript = folder.join(format!("{id}.jsonl"));
        let content = conversation(&id, &word, &root.join(PROJECT), context.now_ms);
        std::fs::write(&transcript, &content).map_err(failed)?;
        let places = Places {
            home: root.join("home"),
            claude_dir: root.join("claude"),
            more_claude_dirs: Vec::new(),
            layer1_store: root.join("first"),
            layer3_store: root.join("second"),
            index: root.join("second/sessions.db"),
            policy: context.places.policy.clone(),
        };
        let vars = vars(context, &places, root.join("tmp"));
        Ok(Scratch { root, id, word, transcript, content, places, vars })
    }

    fn send(&self, programs: &Path) -> Result<(), Failure> {
        let failed = |what: String| (Kind::RoundTripFailed, what);
        self.run_hook(&self.chain(programs)).map_err(failed)?;
        let first = self.root.join("first").join(PROJECT).join(format!("{}.jsonl", self.id));
        if !self.is_copy(&first) {
            let what = format!("layer 1 made no copy of a synthetic conversation{}", self.last_words(1));
            return Err((Kind::RoundTripCopy, what));
        }
        self.await_receipt()?;
        let finding = self.search(&programs.join(LAYER3));
        self.await_rest();
        finding.map_err(|why| (Kind::RoundTripSearch, format!("the saved conversation is not found by search: {why}")))
    }

    /// What `SessionEnd` runs, by the programs in this folder, with every place in here.
    fn chain(&self, programs: &Path) -> String {
        let hooks = of_folder(programs, &self.places.to_flags());
        let session_end = hooks.into_iter().find(|hook| hook.event == "SessionEnd");
        session_end.map(|hook| hook.handler.command).unwrap_or_default()
    }

    fn run_hook(&self, command: &str) -> Result<(), String> {
        let event = json!({
            "session_id": self.id,
            "transcript_path": self.transcript,
            "cwd": self.root.join(PROJECT),
            "hook_event_name": "SessionEnd",
            "reason": "other",
        });
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", command]).current_dir(self.root.join(PROJECT)).env_clear().envs(self.vars.iter().cloned());
        let outcome = child::run(&mut shell, format!("{event}\n").as_bytes(), HOOK_WAIT)
            .map_err(|why| format!("the command of SessionEnd failed: {why}"))?;
        if !outcome.status.success() {
            return Err(format!("the command of SessionEnd failed: {}", outcome.summary()));
        }
        if !outcome.stdout.is_empty() {
            return Err("the command of SessionEnd writes to its output, which Claude Code reads".to_owned());
        }
        Ok(())
    }

    /// Waits for the delivery, which goes on behind the hook.
    fn await_receipt(&self) -> Result<(), Failure> {
        let second = self.root.join("second").join(PROJECT).join(format!("{}.jsonl", self.id));
        let is_through = || self.has_receipt() && self.is_copy(&second);
        // A job leaves the outbox only for a receipt: without either, nothing will come.
        let is_over = || !self.has_job() && !self.has_receipt();
        within(DELIVERY_WAIT, || is_over() || is_through());
        if is_through() {
            return Ok(());
        }
        let what = match (self.has_receipt(), self.is_copy(&second)) {
            (true, _) => "layer 3 gave a receipt without a copy",
            (false, true) => "layer 3 made a copy and layer 2 got no receipt",
            (false, false) if !self.has_job() => "layer 2 took no job of a synthetic conversation",
            (false, false) => "layer 3 made no copy of a synthetic conversation",
        };
        Err((Kind::RoundTripReceipt, format!("{what}{}", self.last_words(2))))
    }

    fn has_job(&self) -> bool {
        self.is_in("first/.outbox")
    }

    fn has_receipt(&self) -> bool {
        self.is_in("first/.outbox/receipts")
    }

    /// Whether a file of this session lies in a folder of layer 2.
    fn is_in(&self, folder: &str) -> bool {
        // There is no such folder before the first file.
        let entries = std::fs::read_dir(self.root.join(folder)).into_iter().flatten().flatten();
        let is_of_it = |name: OsString| name.to_string_lossy().starts_with(&format!("{}@", self.id));
        entries.map(|entry| entry.file_name()).any(is_of_it)
    }

    fn is_copy(&self, path: &Path) -> bool {
        std::fs::read(path).is_ok_and(|bytes| bytes == self.content.as_bytes())
    }

    fn search(&self, layer3: &Path) -> Result<(), String> {
        let mut command = Command::new(layer3);
        command.args(["search", "--json", "--all", &self.word]).current_dir(self.root.join(PROJECT));
        command.env_clear().envs(self.vars.iter().cloned());
        let outcome = child::run(&mut command, b"", DELIVERY_WAIT)?;
        let answer: Value = serde_json::from_str(&outcome.stdout).map_err(|_| outcome.summary())?;
        let mut hits = answer["hits"].as_array().into_iter().flatten();
        if hits.any(|hit| hit["session_id"] == *self.id) { Ok(()) } else { Err("no hit".to_owned()) }
    }

    /// The deliverer stops its server after the receipt; what it still does must not meet the removal.
    fn await_rest(&self) {
        let lock = self.places.outbox().join("deliver.lock");
        within(DELIVERY_WAIT, || matches!(Lock::try_now(&lock), Ok(Some(_))));
    }

    /// The end of a layer's log, to be put behind what failed.
    fn last_words(&self, layer: u8) -> String {
        let log = self.root.join(format!("first/.log/layer{layer}.log"));
        // A program that did not get so far has no log.
        let text = std::fs::read_to_string(log).unwrap_or_default();
        text.lines().rfind(|line| !line.trim().is_empty()).map(|line| format!(": {line}")).unwrap_or_default()
    }
}

/// One prompt and one answer.
fn conversation(id: &str, word: &str, cwd: &Path, now_ms: u64) -> String {
    let record = |role: &str, nth: u32, content: Value| {
        json!({
            "type": role,
            "uuid": format!("00000000-0000-4000-8000-{nth:012}"),
            "parentUuid": null,
            "isSidechain": false,
            "sessionId": id,
            "timestamp": format_rfc3339_ms(i64::try_from(now_ms).unwrap_or(0)),
            "cwd": cwd,
            "version": env!("CARGO_PKG_VERSION"),
            "message": { "role": role, "content": content },
        })
    };
    let prompt = record("user", 1, json!(format!("doctor asks: {word}")));
    let answer = record("assistant", 2, json!([{ "type": "text", "text": "All is well." }]));
    format!("{prompt}\n{answer}\n")
}

/// What a hook of the user's would inherit, with every place in here; the user's own settings stay in force.
fn vars(context: &Context, places: &Places, temp_dir: PathBuf) -> Vec<(OsString, OsString)> {
    let replaced: [(&str, &Path); 7] = [
        ("HOME", &places.home),
        ("TMPDIR", &temp_dir),
        (CLAUDE_CONFIG_DIR, &places.claude_dir),
        (PRE_BACKUP_DIR, &places.layer1_store),
        (BACKUP_DIR, &places.layer3_store),
        (SESSION_DB_PATH, &places.index),
        (XDG_CONFIG_HOME, &context.config_home),
    ];
    let is_replaced = |name: &OsString| replaced.iter().any(|(replaced, _)| name == replaced);
    let mut vars: Vec<_> = context.vars.iter().filter(|(name, _)| !is_replaced(name)).cloned().collect();
    vars.extend(replaced.map(|(name, place)| (name.into(), place.into())));
    vars
}

fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

/// Removes the scratch directory with all that is in it; no link is followed.
fn remove(path: &Path) -> Result<(), DurableError> {
    if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        // One that cannot be listed is not empty for all that is known, and its removal says why.
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            remove(&entry.path())?;
        }
        fs::remove_dir(path)?;
    } else {
        fs::remove_file(path)?;
    }
    Ok(())
}
