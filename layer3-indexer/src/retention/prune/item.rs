//! One thing that goes: what a person is told of it, and what is to be done.

use std::path::PathBuf;

use layer1_prebackup::archive::{PruneReason, Quarantined, SessionKey, StoredFile};
use serde::Serialize;

use crate::stores::{Layer, Pair};
use crate::terminal::time::format_rfc3339_ms;

/// Something that goes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Item {
    /// `session`, `generation` or `set-aside`.
    pub(crate) kind: &'static str,
    /// The session.
    pub(crate) session_id: String,
    /// Its folder.
    pub(crate) project: String,
    /// The file, relative to the project's folder or, of what was set aside, to the store; none of a whole session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// The store that the file is in; none of a whole session, which goes from both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) store: Option<Layer>,
    /// Of a session its last message, else when it was stored; RFC 3339.
    pub(crate) time: String,
    /// What the session is about, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) topic: Option<String>,
    /// In both stores together.
    pub(crate) bytes: u64,
    /// Whether nothing else is known to have all of these bytes.
    pub(crate) only_copy: bool,
    /// Why it is safe, or whose copy it is.
    pub(crate) why: String,
    /// What the user should know of what comes after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
    #[serde(skip)]
    pub(super) target: Target,
}

/// What is to be done for an [`Item`].
#[derive(Debug, Clone)]
pub(super) enum Target {
    Session {
        pair: Pair,
        shown1: Vec<StoredFile>,
        shown3: Vec<StoredFile>,
        /// Claude Code's transcripts of it.
        sources: Vec<PathBuf>,
        /// Every byte must still be in one of the sources.
        held_by_source: bool,
        /// A run that was killed had begun it.
        begun: bool,
    },
    Generation {
        pair: Pair,
        layer: Layer,
        file: Box<StoredFile>,
        grounds: PruneReason,
    },
    Quarantined {
        layer: Layer,
        aside: Quarantined,
    },
}

impl Item {
    pub(super) fn new(
        kind: &'static str,
        key: &SessionKey,
        time_ms: i64,
        bytes: u64,
        why: String,
        target: Target,
    ) -> Item {
        let (session_id, project) = (key.id.to_string(), key.project.to_string());
        let (time, only_copy) = (format_rfc3339_ms(time_ms), false);
        let (path, store, topic, note) = (None, None, None, None);
        Item { kind, session_id, project, path, store, time, topic, bytes, only_copy, why, note, target }
    }

    /// Whether a run that was killed had begun to remove it: it was confirmed then.
    pub(crate) fn is_begun(&self) -> bool {
        matches!(self.target, Target::Session { begun: true, .. })
    }
}

impl Target {
    /// Whether both are older contents of one session in one store, for one reason: proven together,
    /// what covers them is read once.
    pub(super) fn goes_with(&self, other: &Target) -> bool {
        match (self, other) {
            (
                Target::Generation { pair, layer, grounds, .. },
                Target::Generation { pair: other, layer: other_layer, grounds: other_grounds, .. },
            ) => (pair, layer, grounds) == (other, other_layer, other_grounds),
            _ => false,
        }
    }
}
