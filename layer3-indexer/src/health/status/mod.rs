//! How things stand: what is protected, what is not and why, and what a person should do.
//!
//! It looks at Claude Code's directory, both stores, the outbox and the index, never writes, never
//! hashes a whole file (`verify` does), and never fails: a place that is missing, unreadable or
//! full of garbage is a finding like any other. Layer 2's jobs are read as the JSON files that
//! they are, since this layer does not know layer 2's code.

mod disks;
pub(crate) mod hooks;
pub(crate) mod installation;
mod light;
mod outbox;
pub(crate) mod plugin;
mod sources;
mod stores;
#[cfg(test)]
mod tests;
pub(crate) mod text;

use std::path::{Path, PathBuf};

use layer1_prebackup::archive::Archive;
use layer1_prebackup::config::places::Places;
use serde::Serialize;

use crate::failure::chain;
use crate::index::Index;

pub(crate) use disks::DiskStatus;
pub(crate) use hooks::HookStatus;
pub(crate) use light::{Colour, Light};
pub(crate) use outbox::OutboxStatus;
pub(crate) use sources::{NotSaved, SourceStatus, Vanished};
pub(crate) use stores::StoreStatus;
pub(crate) use text::to_text;

/// What `--help` adds about exit codes and JSON.
pub(crate) const HELP: &str = "\
Exit code 1 when something needs a person, 0 otherwise:
  mass-disappearance    many transcripts vanished long before Claude Code's own cleanup
  damaged-copy          a stored file is missing, cut short or changed (a quick check; `verify` reads all)
  store-unreadable      a store cannot be read, or lost its bookkeeping
  sources-unreadable    Claude Code's transcripts cannot be listed, or one cannot be read
  not-saved             no copy an hour after the last change, or not in both stores after a day
  expiring-unsaved      Claude Code's cleanup is about to delete a transcript that is not saved
  no-transcript         in the last two days turns were seen of a session that has no transcript
  failed-job, stuck-job, unreadable-job
                        the second copy was refused, waits for more than a day, or its job is damaged
  disk-low              less than 256 MB are free for a store
  hooks-missing, hooks-incomplete, hooks-disabled, hook-program-missing, settings-unreadable
                        Claude Code does not run what saves its conversations
Only told: vanished, shrunk, index, set-aside, and the above while they are young.
The light shows Claude Code's own limits for resuming, in the current directory's transcripts: green
under 15 sessions and 5 MB with none over 2 MB, red over 25 sessions, 10 MB, or one over 5 MB.
It says nothing about the copies and never changes the exit code.

--json: ok, findings (kind, needs_person, what, where, mend, session_id, project), the figures of
layer 3's store, layer1, index, outbox, sources, not_yet_saved, vanished, hooks, disks, one_disk, light.

Example: layer3-indexer status --json";

/// The state of everything.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Status {
    /// Whether nothing needs a person.
    pub(crate) ok: bool,
    /// What is wrong or worth knowing; what needs a person first.
    pub(crate) findings: Vec<Finding>,
    /// Layer 3's store: its figures stand at the top.
    #[serde(flatten)]
    pub(crate) layer3: StoreStatus,
    /// Layer 1's store.
    pub(crate) layer1: StoreStatus,
    /// The index.
    pub(crate) index: IndexStatus,
    /// What layer 2 still has to deliver.
    pub(crate) outbox: OutboxStatus,
    /// Claude Code's transcripts.
    pub(crate) sources: SourceStatus,
    /// Transcripts that changed since their copy in one of the stores, or have none there.
    pub(crate) not_yet_saved: Vec<NotSaved>,
    /// Saved sessions whose transcript is gone, with the line that brings each back.
    pub(crate) vanished: Vec<Vanished>,
    /// Our hooks in Claude Code's settings.
    pub(crate) hooks: HookStatus,
    /// The file systems of the two stores.
    pub(crate) disks: Vec<DiskStatus>,
    /// Whether both stores lie on one file system.
    pub(crate) one_disk: bool,
    /// Claude Code's resume limits for the current directory.
    pub(crate) light: Light,
}

/// Something a person may want to know, or has to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What kind: a stable word. [`HELP`] lists them.
    pub kind: &'static str,
    /// Whether it stays wrong until a person does something: then the exit code is 1.
    pub(crate) needs_person: bool,
    /// What it is, in one line.
    pub(crate) what: String,
    /// The file or directory.
    #[serde(rename = "where")]
    pub(crate) place: PathBuf,
    /// The command that mends it, ready to paste; `None` where nothing has to be done.
    pub(crate) mend: Option<String>,
    /// The session, where it is about one.
    pub(crate) session_id: Option<String>,
    /// Its project.
    pub(crate) project: Option<String>,
}

impl Finding {
    pub(crate) fn new(kind: &'static str, needs_person: bool, what: impl Into<String>, place: &Path) -> Finding {
        let (what, place) = (what.into(), place.to_owned());
        Finding { kind, needs_person, what, place, mend: None, session_id: None, project: None }
    }

    pub(crate) fn mend(self, command: impl Into<String>) -> Finding {
        Finding { mend: Some(command.into()), ..self }
    }

    fn of(self, session_id: impl ToString, project: Option<&str>) -> Finding {
        Finding { session_id: Some(session_id.to_string()), project: project.map(str::to_owned), ..self }
    }
}

/// The state of the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct IndexStatus {
    /// The database.
    pub path: PathBuf,
    /// `ready`, `missing`, `incomplete`, `unusable` or `newer`, as a newer version made it. Those between heal at
    /// the next save or search.
    pub(crate) state: &'static str,
    /// What is wrong with an unusable one.
    pub detail: Option<String>,
    /// Messages in it.
    pub(crate) messages: u64,
    /// Its size.
    pub(crate) bytes: u64,
}

/// Our three programs as a user pastes them: by name or by path, with the flags that lead to these places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commands {
    /// Layer 1.
    pub(crate) layer1: String,
    /// Layer 2.
    pub(crate) layer2: String,
    /// Layer 3.
    pub(crate) layer3: String,
}

/// From where and when one looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Viewpoint {
    /// Now, in milliseconds since 1970.
    pub(crate) now_ms: u64,
    /// The current directory, for the light.
    pub(crate) cwd: Option<PathBuf>,
    /// What mends things.
    pub(crate) commands: Commands,
    /// The folder of this program: what stands about it tells how it came here where nothing else does.
    pub(crate) program_dir: Option<PathBuf>,
}

/// Looks at everything and writes nothing. (SQLite keeps files of its own beside the index while it reads.)
pub(crate) fn status(places: &Places, view: &Viewpoint) -> Status {
    let mut findings = Vec::new();
    let mend = &view.commands;
    let first = stores::look(&places.layer1_store, &mend.layer1, &format!("{} sweep", mend.layer1), &mut findings);
    let second = stores::look(&places.layer3_store, &mend.layer3, &format!("{} import", mend.layer3), &mut findings);
    let index = index_status(places, second.archive.as_ref(), &mut findings);
    let outbox = outbox::look(&places.outbox(), view, &mut findings);
    let sources = sources::look(places, view, &first, &second, &mut findings);
    let hooks = hooks::look(&places.claude_dir, view.program_dir.as_deref(), &mut findings);
    let (disks, one_disk) = disks::look(&[&places.layer1_store, &places.layer3_store], &mut findings);
    findings.sort_by_key(|finding| !finding.needs_person);
    Status {
        ok: findings.iter().all(|finding| !finding.needs_person),
        findings,
        layer3: second.status(view.now_ms),
        layer1: first.status(view.now_ms),
        index,
        outbox,
        sources: sources.status,
        not_yet_saved: sources.not_yet_saved,
        vanished: sources.vanished,
        hooks,
        disks,
        one_disk,
        light: light::of(&places.projects(), view.cwd.as_deref()),
    }
}

fn index_status(places: &Places, archive: Option<&Archive>, findings: &mut Vec<Finding>) -> IndexStatus {
    let mut status = IndexStatus { path: places.index.clone(), state: "missing", detail: None, messages: 0, bytes: 0 };
    let look = || -> Result<_, crate::index::IndexError> {
        let Some(index) = Index::open_read_only(&places.index)? else { return Ok(None) };
        let incomplete = archive.map_or(Ok(false), |archive| index.is_incomplete(archive))?;
        Ok(Some((index.counts()?, incomplete)))
    };
    match look() {
        Ok(None) => {}
        Ok(Some((counts, incomplete))) => {
            status.state = if incomplete { "incomplete" } else { "ready" };
            status.messages = counts.messages;
            status.bytes = counts.bytes;
        }
        Err(error @ crate::index::IndexError::Newer { .. }) => {
            status.state = "newer";
            status.detail = Some(chain(&error));
            findings.push(Finding::new("index", true, format!("failed to {error}"), &places.index));
            return status;
        }
        Err(error) => {
            status.state = "unusable";
            status.detail = Some(chain(&error));
        }
    }
    if status.state != "ready" && archive.is_some() {
        let detail = status.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        let what = format!("the index is {}{detail}; the next save or search makes it again", status.state);
        findings.push(Finding::new("index", false, what, &places.index));
    }
    status
}
