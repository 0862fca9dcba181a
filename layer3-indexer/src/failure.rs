//! What can go wrong in this crate, and whether asking again could help.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use layer1_prebackup::archive::ArchiveError;
use layer1_prebackup::config::places::PlacesError;
use layer1_prebackup::config::settings::SettingsError;
use layer1_prebackup::fs::DurableError;
use layer1_prebackup::names::NameError;
use layer1_prebackup::wire::event::EventError;

use crate::browse::export::ExportError;
use crate::index::IndexError;
use crate::restore::RestoreError;
use crate::restore::pick::PickError;
use crate::restore::resume::ResumeError;
use crate::retention::prune::PruneError;
use crate::save::SaveError;
use crate::save::roots::RootsError;
use crate::stores::content::ContentError;
use crate::stores::session_name::SessionError;

/// A command or a tool failed. Messages fit after "failed to".
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A directory setting makes no sense.
    #[error(transparent)]
    Places(#[from] PlacesError),
    /// A setting makes no sense.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A session id, project or path is not acceptable.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An argument is not acceptable.
    #[error("use {name} {value:?}: {why}")]
    Argument {
        /// Which.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it should be.
        why: String,
    },
    /// A tool's arguments do not fit its schema.
    #[error("read the arguments of {tool}")]
    Arguments {
        /// Which tool.
        tool: &'static str,
        /// The parser's word.
        source: serde_json::Error,
    },
    /// What stdin brought is no event.
    #[error(transparent)]
    Event(#[from] EventError),
    /// A transcript's path is not acceptable.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// No session, or several, are named so.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A session could not be saved.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// A session could not be restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// No session was chosen from the list.
    #[error(transparent)]
    Pick(#[from] PickError),
    /// A session could not be gone on with.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// A content of a session cannot be read as good.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A conversation was not exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Something was not removed.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// A store failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Writing or reading in a way that survives crashes failed.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// There is nothing to read from yet.
    #[error("open the store {path}: it does not exist yet; `layer3-indexer import` makes it", path = path.display())]
    NoStore {
        /// Layer 3's store.
        path: PathBuf,
    },
    /// Some sessions failed; all others were dealt with. Each was reported.
    #[error("{doing} {failed} of {all} sessions")]
    Some {
        /// What was being done.
        doing: &'static str,
        /// How many failed.
        failed: usize,
        /// Of how many.
        all: usize,
    },
    /// Contents could not be compressed and stay as they were; each was reported.
    #[error("compress {failed}", failed = crate::terminal::count(*failed as u64, "older content"))]
    NotCompressed {
        /// How many.
        failed: usize,
    },
    /// Transcripts of subagents could not be exported; each was reported.
    #[error("export all of the session: {failed} left out", failed = crate::terminal::count(*failed as u64, "subagent"))]
    LeftOut {
        /// How many.
        failed: usize,
    },
    /// Verification found something; it was printed.
    #[error("verify: {findings} found wrong", findings = crate::terminal::count(*findings as u64, "thing"))]
    Findings {
        /// How many.
        findings: usize,
    },
    /// `status` found something that stays wrong until a person does something; it was printed.
    #[error("report all well: found {needing} for a person to mend", needing = crate::terminal::count(*needing as u64, "thing"))]
    NeedsPerson {
        /// How many.
        needing: usize,
    },
    /// A standard stream or a transcript could not be read or written.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// The system's word.
        source: io::Error,
    },
    /// The MCP server could not start or lost its client in the middle.
    #[error("serve MCP: {0}")]
    Serve(String),
}

impl Error {
    /// An [`Error::Io`].
    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> Error {
        Error::Io { doing: doing.into(), source }
    }

    /// Whether the input is at fault: the same call can never succeed, however often it is made.
    pub(crate) fn is_invalid_input(&self) -> bool {
        match self {
            Error::Places(_) | Error::Name(_) | Error::Argument { .. } | Error::Arguments { .. } => true,
            Error::Event(_) | Error::Session(SessionError::Unknown { .. } | SessionError::Ambiguous { .. }) => true,
            // What could not be examined today may be there tomorrow.
            Error::Roots(error) => !matches!(error, RootsError::Examine { .. }),
            _ => false,
        }
    }

    /// A reader that went away is no failure: `layer3-indexer list | head` is success.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// The error and its causes in one line, outermost first.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // Transparent variants say the same as what they hold.
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
