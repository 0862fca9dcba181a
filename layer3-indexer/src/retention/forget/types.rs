//! What is forgotten, and what was done for it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use layer1_prebackup::archive::{Marks, Needle};
use layer1_prebackup::names::SessionId;
use serde::Serialize;

use crate::stores::Stores;

/// A conversation that goes, or messages of which go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Item {
    /// Its id.
    pub(crate) session_id: String,
    #[serde(skip)]
    pub(super) id: SessionId,
    /// Its folders in the stores.
    pub(crate) projects: BTreeSet<String>,
    /// What it is about, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    /// Its last message, where that is known; RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<String>,
    /// In both stores together.
    pub(crate) bytes: u64,
    /// Its files in both stores together, versions included.
    pub(crate) files: u64,
    /// Versions of its transcript, in the store that has more of them.
    pub(crate) versions: u64,
    /// Messages, and lines of other files, that hold the text; none where the whole conversation goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) messages: Option<u64>,
    #[serde(skip)]
    pub(super) marks: Marks,
    /// Whether it is what Claude Code remembers of a project, and no conversation.
    pub(crate) is_memory: bool,
    /// What Claude Code has of it, which stays.
    pub(crate) claude_files: Vec<PathBuf>,
}

/// What would go.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The conversations.
    pub(crate) items: Vec<Item>,
    pub(super) stores: Stores,
    /// What Claude Code remembers of the projects.
    pub(super) memories: Stores,
    /// The text that goes; none where whole conversations do.
    pub(super) needle: Option<Needle>,
    /// What to know about them.
    pub(crate) notes: Vec<String>,
}

impl Plan {
    /// Where the item is kept.
    pub(super) fn stores_of(&self, item: &Item) -> &Stores {
        if item.is_memory { &self.memories } else { &self.stores }
    }
}

/// What was forgotten.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    /// What went, or would go.
    pub(crate) forgotten: Vec<Item>,
    /// The bytes of whole conversations, in both stores together.
    pub(crate) bytes: u64,
    /// Whether this only tells.
    pub(crate) dry_run: bool,
    /// How many files were read to prove that it is gone.
    pub(crate) checked_files: u64,
    /// Their bytes.
    pub(crate) checked_bytes: u64,
    /// Files of the stores that still hold something of it, or could not be read.
    pub(crate) still_there: Vec<PathBuf>,
    /// Other conversations that speak of it, or began as copies of it.
    pub(crate) elsewhere: BTreeSet<String>,
    /// Conversations that bear the text in the name of a file or a folder, which stays.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) named: BTreeSet<String>,
    /// What could not be done, and why.
    pub(crate) failed: Vec<String>,
    /// What the user should know besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

impl Summary {
    /// Of a plan that is not carried out.
    pub(crate) fn of(plan: &Plan) -> Summary {
        let whole = plan.items.iter().filter(|item| item.messages.is_none());
        let bytes = whole.map(|item| item.bytes).sum();
        let (forgotten, notes) = (plan.items.clone(), plan.notes.clone());
        Summary { forgotten, bytes, dry_run: true, notes, ..Summary::default() }
    }
}
