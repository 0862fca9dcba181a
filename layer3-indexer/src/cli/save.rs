//! `save`: one session, from a file or a hook event on stdin.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use layer1_prebackup::claude::transcripts::claude_dir_of_transcript;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::SessionId;
use layer1_prebackup::wire::event::{Event, read_event};

use crate::cli::screen::{Screen, absolute};
use crate::failure::{Context, Failure, Kind};
use crate::save::roots::{RootKind, Roots};
use crate::save::{self, Answer, LogSink, Request};
use crate::terminal::{self, one_line};

/// How long `save` waits for an event on stdin.
const EVENT_WAIT: Duration = Duration::from_secs(8);

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct SaveArgs {
    /// The transcript, ID.jsonl; without it a hook event is read from stdin
    #[arg(long, value_name = "FILE")]
    transcript: Option<PathBuf>,
    /// The working directory of the session
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// What caused the save, for the log and the metadata
    #[arg(long, value_name = "WORD")]
    trigger: Option<String>,
}

/// Runs `save`.
pub(super) fn run(places: &Places, args: &SaveArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let (id, transcript, root, event) = match &args.transcript {
        Some(file) => {
            let path = resolved(file)?;
            (SessionId::of_transcript(&path)?, path, RootKind::Claude, Event::default())
        }
        None => {
            let bytes = read_event(io::stdin(), EVENT_WAIT).context("read stdin")?;
            let event = Event::parse(&bytes)?;
            let id = SessionId::parse(&event.session_id)?;
            let Some(path) = &event.transcript_path else {
                let what = "use the hook event: it has no text field \"transcript_path\"";
                return Err(Failure::new(what).of(Kind::InvalidInput));
            };
            let allowed: Vec<PathBuf> =
                claude_dir_of_transcript(path).map(|dir| dir.join("projects")).into_iter().collect();
            let checked = Roots::resolve(places, &allowed).check(&id, path)?;
            (id, checked.path, checked.root, event)
        }
    };
    let of_event = (!event.kind.is_empty()).then(|| event.trigger());
    let journal = LogSink::new(places, true);
    let trigger = args.trigger.clone().or(of_event);
    let cwd = args.cwd.clone().or(event.cwd);
    let (cwd, trigger) = (cwd.as_deref(), trigger.as_deref());
    let request = Request { cwd, trigger, ..Request::of(&id, &transcript, root) };
    let answer = match save::refused_by_settings(places, &request) {
        Some(skipped) => skipped,
        None => save::save(places, &journal, &request, &|_| {})?,
    };
    screen.answer(&answer, |_| match &answer {
        Answer::Skipped(skipped) => format!("Nothing to save: {}\n", one_line(&skipped.reason)),
        Answer::Receipt(receipt) => {
            let files = terminal::count(receipt.files.len() as u64, "file");
            let messages = terminal::count(receipt.messages_indexed, "message");
            format!("Saved {}/{}: {files}, {messages} indexed\n", receipt.project, receipt.session_id)
        }
    })
}

/// The file as typed, with the links above it resolved; a link as the last component is refused
/// when it is opened.
fn resolved(file: &Path) -> Result<PathBuf, Failure> {
    let path = absolute(file.to_owned())?;
    let finding = format!("find the transcript {}", file.display());
    let meta = std::fs::symlink_metadata(&path).context(&finding)?;
    let (Some(parent), Some(name), true) = (path.parent(), path.file_name(), meta.is_file()) else {
        let why = "it must be a regular file named SESSION_ID.jsonl";
        return Err(Failure::argument("--transcript", &file.display().to_string(), why));
    };
    Ok(std::fs::canonicalize(parent).context(&finding)?.join(name))
}
