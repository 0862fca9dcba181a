//! Conversations that the user had forgotten and that are not gone from both stores: `forget` was cut off, or a store was
//! put back to an older state, or copied there by hand.

use std::collections::BTreeMap;

use layer1_prebackup::archive::{Archive, ArchiveError, Forgotten};
use layer1_prebackup::names::SessionId;

use crate::failure::chain;
use crate::stores::both::Stores;
use crate::stores::types::Layer;

/// A conversation that is not forgotten yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotForgotten {
    pub(crate) id: SessionId,
    /// The store that tells of it.
    pub(crate) in_store: Layer,
    /// In plain words.
    what: &'static str,
    /// Why its tombstone cannot be read.
    unreadable: Option<String>,
    /// Whether messages of it were to be forgotten, and not all of it.
    in_part: bool,
}

/// A run that was killed.
const CUT_OFF: &str = "you had it forgotten, and that was interrupted; the same command finishes it";
const CUT_OFF_IN_PART: &str = "you had messages of it forgotten, and that was interrupted";
/// What is there again.
const IS_BACK: &str = "you had it forgotten, and it is in this copy again: the store was put back to an older state";
const IS_BACK_IN_PART: &str =
    "you had messages of it forgotten, and this copy does not know: the store was put back to an older state";
const UNREADABLE: &str = "the note that it was forgotten cannot be read";

impl NotForgotten {
    /// For people.
    pub(crate) fn to_text(&self) -> String {
        self.unreadable.clone().map_or_else(|| self.what.to_owned(), |why| format!("{}: {why}", self.what))
    }

    /// What finishes it, behind the name of the program.
    pub(crate) fn command(&self) -> String {
        if self.in_part { "forget --finish".to_owned() } else { format!("forget {}", self.id) }
    }
}

/// Those that there are, by id, each once.
pub(crate) fn not_forgotten(stores: &Stores) -> Result<Vec<NotForgotten>, ArchiveError> {
    let mut found: BTreeMap<SessionId, NotForgotten> = BTreeMap::new();
    let both: Vec<(Layer, &Archive)> =
        [Layer::One, Layer::Three].into_iter().filter_map(|layer| Some((layer, stores.of(layer)?))).collect();
    let mut forgotten: BTreeMap<SessionId, Vec<Forgotten>> = BTreeMap::new();
    let mut add = |id: &SessionId, in_store, what, unreadable, in_part| {
        found.entry(id.clone()).or_insert(NotForgotten { id: id.clone(), in_store, what, unreadable, in_part });
    };
    for (layer, archive) in &both {
        for (id, tombstone) in archive.all_forgotten()? {
            match tombstone {
                Ok(tombstone) => {
                    if !tombstone.is_finished {
                        let what = if tombstone.is_whole() { CUT_OFF } else { CUT_OFF_IN_PART };
                        add(&id, *layer, what, None, !tombstone.is_whole());
                    }
                    forgotten.entry(id).or_default().push(tombstone);
                }
                Err(error) => add(&id, *layer, UNREADABLE, Some(chain(&error)), false),
            }
        }
    }
    for (layer, archive) in &both {
        for (id, known) in &forgotten {
            if archive.find(id)?.is_empty() {
                continue;
            }
            if known.iter().any(Forgotten::is_whole) {
                add(id, *layer, IS_BACK, None, false);
            } else if known.len() < both.len() || known.iter().any(|other| other.marks != known[0].marks) {
                add(id, *layer, IS_BACK_IN_PART, None, true);
            }
        }
    }
    Ok(found.into_values().collect())
}
