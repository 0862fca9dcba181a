//! Conversations of which one store has something that the other lacks, and nothing is under way that makes up for it:
//! a store was put back to an older state, or lost.

use std::collections::BTreeSet;
use std::path::Path;

use layer1_prebackup::archive::{Archive, ArchiveError, SessionKey};
use layer1_prebackup::config::places::Places;

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

/// The conversations among `meant` that are in one copy only, wholly or in part. Not those that wait to be saved, that
/// go on in a source which the next hook or sweep copies, that the user excluded, or that cannot be read, which are
/// told as such. None where a store is not there at all, or lost its bookkeeping: of that one nothing is known.
pub(crate) fn in_one_copy(
    stores: &Stores,
    places: &Places,
    meant: &dyn Fn(&Pair) -> bool,
) -> Result<Vec<OneCopy>, Failure> {
    let (Some(layer1), Some(layer3)) = (&stores.layer1, &stores.layer3) else { return Ok(Vec::new()) };
    if layer1.store_id().is_empty() || layer3.store_id().is_empty() {
        return Ok(Vec::new());
    }
    let waiting = waiting(&places.outbox());
    let mut found = Vec::new();
    for pair in stores.pairs()?.iter().filter(|pair| meant(pair) && !waiting.contains(pair.key().id.as_str())) {
        let sides = [(Layer::One, layer1, layer3, &pair.layer3), (Layer::Three, layer3, layer1, &pair.layer1)];
        for (held_by, archive, other, other_key) in sides {
            let Some(key) = pair.in_store(held_by) else { continue };
            let bytes = only_in(archive, key, other, other_key.as_ref()).unwrap_or(0);
            if bytes > 0 && !goes_on(layer1, layer3, pair, places).unwrap_or(true) {
                found.push(OneCopy { held_by, key: key.clone(), bytes, is_whole: other_key.is_none() });
            }
        }
    }
    Ok(found)
}

fn only_in(
    archive: &Archive,
    key: &SessionKey,
    other: &Archive,
    other_key: Option<&SessionKey>,
) -> Result<u64, ArchiveError> {
    Ok(other.lacking(other_key, &archive.files(key)?)?.iter().map(|file| file.bytes).sum())
}

/// Whether a source of the conversation is there and one of the stores is behind it, or it is excluded.
fn goes_on(layer1: &Archive, layer3: &Archive, pair: &Pair, places: &Places) -> Result<bool, ArchiveError> {
    let stored = [(layer1, &pair.layer1), (layer3, &pair.layer3)];
    let mut sources = Vec::new();
    for (archive, key) in stored {
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
