//! What is to be saved.

use std::path::Path;

use layer1_prebackup::claude::transcripts::Reach;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::{ProjectName, SessionId};

use crate::save::receipt::{Answer, Expected};
use crate::save::roots::RootKind;
use crate::terminal::one_line;

/// The trigger of a save that nobody named one for.
pub(crate) const TRIGGER_UNKNOWN: &str = "manual";
/// The trigger of the save of what `restore --force` is about to replace.
pub(crate) const TRIGGER_BEFORE_RESTORE: &str = "before-restore";

/// The trigger of the save of what a restore wrote.
pub(crate) const TRIGGER_RESTORE: &str = "restore";

/// What is to be saved. The transcript's path was checked by the caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// The session.
    pub(crate) id: &'a SessionId,
    /// `<root>/<slug>/<session id>.jsonl`.
    pub(crate) transcript: &'a Path,
    /// What kind of root that is; layer 1's store is a place to take over from, not a source.
    pub(crate) root: RootKind,
    /// How far its path, which may have become another's since it was checked, is followed at each open.
    pub(crate) reach: Reach,
    /// The event's working directory.
    pub(crate) cwd: Option<&'a str>,
    /// What caused the save: `pre-compact`, `session-end`, …
    pub(crate) trigger: Option<&'a str>,
    /// The project as the job says it.
    pub(crate) project: Option<&'a ProjectName>,
    /// What the caller holds; `None` for "all that is there".
    pub(crate) expected: Option<&'a [Expected]>,
}

impl<'a> Request<'a> {
    /// All that is there of this transcript.
    pub(crate) fn of(id: &'a SessionId, transcript: &'a Path, root: RootKind) -> Request<'a> {
        Request { id, transcript, root, reach: Reach::Links, cwd: None, trigger: None, project: None, expected: None }
    }
}

/// The answer for a session that the user excluded. What the caller holds a copy of already is saved
/// all the same: it waits for a receipt.
pub(crate) fn refused_by_settings(places: &Places, request: &Request<'_>) -> Option<Answer> {
    let waits = request.expected.is_some_and(|expected| !expected.is_empty());
    if waits || !places.policy.exclude.is_excluded(request.transcript, request.cwd) {
        return None;
    }
    Some(Answer::skipped(format!("the settings exclude {}", one_line(&request.transcript.display().to_string()))))
}
