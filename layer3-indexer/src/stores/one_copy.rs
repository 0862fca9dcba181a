//! Conversations of which one store has something that the other lacks, and nothing is under way that makes up for it:
//! a store was put back to an older state, or lost.

use std::collections::BTreeSet;
use std::path::Path;

use layer1_prebackup::archive::{Archive, ArchiveError, SessionKey};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::SessionId;

use crate::failure::Failure;
use crate::stores::both::Stores;
use crate::stores::types::{Layer, Pair};

/// Something of a conversation is in one copy only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OneCopy {
    /// Who has it.
    pub(crate) held_by: Layer,
    /// The conversation there.
    pub(crate) key: SessionKey,
    /// How much that is.
    pub(crate) bytes: u64,
    /// Whether the other store has nothing at all of the conversation.
    pub(crate) is_whole: bool,
}

/// The conversations among these that are in one copy only, wholly or in part. Not those that wait to be saved, that
/// go on in a source which the next hook or sweep copies, that the user excluded, or that cannot be read, which are
/// told as such. None where a store is not there at all, or lost its bookkeeping: of that one nothing is known.
pub(crate) fn in_one_copy(stores: &Stores, places: &Places, pairs: &[Pair]) -> Result<Vec<OneCopy>, Failure> {
    if stores.layer1.is_none() || stores.layer3.is_none() { Ok(Vec::new()) } else { alone(stores, places, pairs) }
}

/// The same of what Claude Code remembers of the projects, where both stores are there: that one of them has no memory
/// at all is told by nothing else.
pub(crate) fn memories_in_one_copy(places: &Places) -> Result<Vec<OneCopy>, Failure> {
    let of_memories = places.of_memories();
    let is_there = |place: &Path| place.is_dir();
    let none = !is_there(&of_memories.layer1_store) && !is_there(&of_memories.layer3_store);
    if none || !is_there(&places.layer1_store) || !is_there(&places.layer3_store) {
        return Ok(Vec::new());
    }
    let stores = Stores::open(&of_memories)?;
    alone(&stores, &of_memories, &stores.pairs()?)
}

fn alone(stores: &Stores, places: &Places, pairs: &[Pair]) -> Result<Vec<OneCopy>, Failure> {
    let is_lost = |archive: &Option<Archive>| archive.as_ref().is_some_and(|archive| archive.store_id().is_empty());
    if is_lost(&stores.layer1) || is_lost(&stores.layer3) || !stores.notes.is_empty() {
        return Ok(Vec::new());
    }
    let waiting = waiting(&places.outbox());
    let mut found = Vec::new();
    // What was forgotten and is not gone is told as such. In doubt it is not.
    let both = || stores.layer1.iter().chain(&stores.layer3);
    let is_forgotten = |id: &SessionId| both().any(|archive| archive.is_forgotten(id).unwrap_or(false));
    let is_told = |pair: &&Pair| waiting.contains(pair.key().id.as_str()) || is_forgotten(&pair.key().id);
    for pair in pairs.iter().filter(|pair| !is_told(pair)) {
        for (held_by, other) in [(Layer::One, Layer::Three), (Layer::Three, Layer::One)] {
            let Some((archive, key)) = stores.of(held_by).zip(pair.in_store(held_by)) else { continue };
            let other_key = pair.in_store(other);
            let bytes = only_in(archive, key, stores.of(other), other_key).unwrap_or(0);
            if bytes > 0 && !goes_on(stores, pair, places).unwrap_or(true) {
                found.push(OneCopy { held_by, key: key.clone(), bytes, is_whole: other_key.is_none() });
            }
        }
    }
    Ok(found)
}

fn only_in(
    archive: &Archive,
    key: &SessionKey,
    other: Option<&Archive>,
    other_key: Option<&SessionKey>,
) -> Result<u64, ArchiveError> {
    let held = archive.files(key)?;
    let lacking = other.map_or_else(|| Ok(held.clone()), |other| other.lacking(other_key, &held))?;
    Ok(lacking.iter().map(|file| file.bytes).sum())
}

/// Whether a source of the conversation is there and one of the stores is behind it, or it is excluded.
fn goes_on(stores: &Stores, pair: &Pair, places: &Places) -> Result<bool, ArchiveError> {
    let stored = [(&stores.layer1, &pair.layer1), (&stores.layer3, &pair.layer3)];
    let mut sources = Vec::new();
    for (archive, key) in stored {
        let Some(archive) = archive else { continue };
        let Some(source) = key.as_ref().map(|key| archive.source_of(key)).transpose()?.flatten() else { continue };
        if places.policy.exclude.is_excluded(&source, None) {
            return Ok(true);
        }
        let is_there = std::fs::symlink_metadata(&source).is_ok();
        if is_there && archive.is_behind(&pair.key().id, &source)? {
            return Ok(true);
        }
        sources.push(is_there);
    }
    // One store has no copy at all of what is there.
    Ok(sources.contains(&true) && stored.iter().any(|(_, key)| key.is_none()))
}

/// The ids of the conversations that have a job in the outbox. What cannot be read there is told where jobs are.
fn waiting(outbox: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(outbox).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| Some(name.strip_suffix(".json")?.split_once('@')?.0.to_owned())).collect()
}
