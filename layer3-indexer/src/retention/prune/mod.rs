//! Removing by the user's command, and only so.
//!
//! A plan is made first, and everything in it was read and hashed: what would go, and what makes it
//! safe, or that it is the only copy. It is shown; only then it is carried out, each step proven
//! again under the session's lock. Layer 3's store first notes that the session goes, so that nothing gives it back to
//! layer 1; then layer 1's store loses it, then layer 2's jobs, then the index and layer 3's store: a run that is
//! killed leaves nothing that comes back by itself, and the same command finishes it.

mod item;
mod plan;
#[cfg(test)]
mod tests;
mod text;

use std::path::{Path, PathBuf};

use layer1_prebackup::archive::{Archive, PruneReason, SessionKey, StoredFile};
use layer1_prebackup::config::places::Places;

use crate::failure::{Failure, chain};
use crate::index::{Index, IndexError};
use crate::retention::pending_delivery::{self, DELIVERER_WAIT, is_there};
use crate::save::{self, LogSink, rebuild};
use crate::stores::{Pair, Stores, loss};
use item::{Item, Target};
use plan::{Kept, refuse_live};

pub(crate) use plan::{Plan, PruneRequest, Summary, plan};
pub(crate) use text::{help, question, summary_text, to_text};

/// Removes what was shown. One thing that cannot be removed does not stop the others. Safe to kill:
/// the same command, or any other `prune`, finishes what was begun.
pub(crate) fn carry_out(places: &Places, journal: &LogSink, plan: &Plan) -> Result<Summary, Failure> {
    let mut summary = Summary { kept: plan.kept.clone(), ..Summary::default() };
    let _deliverer = pending_delivery::keep_deliverers_out(places, DELIVERER_WAIT)?;
    // An index that cannot be written is told of before anything goes.
    if plan.stores.layer3.is_some() && is_there(&places.index)? {
        Index::open(&places.index)?;
    }
    for (layer, key) in &plan.unfinished {
        if let Some(archive) = plan.stores.of(*layer) {
            archive.prune_generations(key, &[], PruneReason::Superseded)?;
        }
    }
    for items in plan.items.chunk_by(|a, b| a.target.goes_with(&b.target)) {
        let gone = remove(places, plan, items).map_err(|failure| format!("failed to {failure}"));
        for (at, item) in items.iter().enumerate() {
            let stays = |why| Kept { session_id: item.session_id.clone(), project: item.project.clone(), why };
            match &gone {
                Ok(gone) if gone[at] => {
                    journal.line(&format!("[prune] removed {}", text::named(item)));
                    summary.bytes += item.bytes;
                    summary.pruned.push(item.clone());
                }
                Ok(_) => {
                    let why = "it is not as it was shown any more; look again".to_owned();
                    summary.failed.push(stays(why));
                }
                Err(why) => summary.failed.push(stays(why.clone())),
            }
        }
    }
    for pair in &plan.examined {
        checkpoint(&plan.stores, pair)?;
    }
    if let Some(layer3) = &plan.stores.layer3 {
        summary.notes = bring_index_up(places, layer3, &plan.examined)?;
    }
    Ok(summary)
}

/// What a killed run wrote down of a removal may not be synced, and is about to be relied on.
fn checkpoint(stores: &Stores, pair: &Pair) -> Result<(), Failure> {
    for archive in stores.layer1.iter().chain(&stores.layer3) {
        archive.checkpoint(&pair.key().id)?;
    }
    Ok(())
}

/// For each of what goes together whether it went; what is not as it was shown stays.
fn remove(places: &Places, plan: &Plan, items: &[Item]) -> Result<Vec<bool>, Failure> {
    let Some(first) = items.first() else { return Ok(Vec::new()) };
    match &first.target {
        Target::Session { pair, shown1, shown3, sources, held_by_source, begun } => {
            if !begun {
                refuse_live(places, &pair.key().id)?;
            }
            let files = shown1.iter().chain(shown3);
            if *held_by_source && !plan::are_held(sources, &pair.key().id, files)? {
                return Ok(vec![false]);
            }
            remove_session(places, &plan.stores, pair, shown1, shown3, sources).map(|gone| vec![gone])
        }
        Target::Generation { pair, layer, grounds, .. } => {
            refuse_live(places, &pair.key().id)?;
            let (Some(archive), Some(key)) = (plan.stores.of(*layer), pair.in_store(*layer)) else {
                return Ok(vec![false; items.len()]);
            };
            let file_of = |item: &Item| match &item.target {
                Target::Generation { file, .. } => Some((**file).clone()),
                _ => None,
            };
            let wanted: Vec<StoredFile> = items.iter().filter_map(file_of).collect();
            let gone = archive.prune_generations(key, &wanted, *grounds)?;
            Ok(wanted.iter().map(|file| gone.iter().any(|gone| gone.name == file.name)).collect())
        }
        Target::Quarantined { layer, aside } => {
            let Some(archive) = plan.stores.of(*layer) else { return Ok(vec![false]) };
            let gone = archive.prune_quarantine(&aside.key, std::slice::from_ref(aside))?;
            Ok(vec![!gone.is_empty()])
        }
    }
}

fn remove_session(
    places: &Places,
    stores: &Stores,
    pair: &Pair,
    shown1: &[StoredFile],
    shown3: &[StoredFile],
    sources: &[PathBuf],
) -> Result<bool, Failure> {
    checkpoint(stores, pair)?;
    // Looked at before the first half goes: it must not be the half of what is then refused.
    let held = [(&stores.layer1, &pair.layer1, shown1), (&stores.layer3, &pair.layer3, shown3)];
    for (archive, key, shown) in held {
        let (Some(archive), Some(key)) = (archive, key) else { continue };
        let is_same = |now: &StoredFile, shown: &StoredFile| {
            (&now.name, now.bytes, now.blake3) == (&shown.name, shown.bytes, shown.blake3)
        };
        let now = archive.files(key)?;
        let is_as_shown = now.len() == shown.len() && now.iter().zip(shown).all(|(now, shown)| is_same(now, shown));
        if !is_as_shown && !archive.is_being_pruned(key)? {
            return Ok(false);
        }
    }
    let remove_first_copy = || -> Result<bool, Failure> {
        if let (Some(archive), Some(key)) = (&stores.layer1, &pair.layer1)
            && !archive.prune_session::<Failure, ()>(key, shown1, || Ok(()))?
        {
            return Ok(false);
        }
        pending_delivery::forget_jobs(places, pair, sources)?;
        Ok(true)
    };
    match (&stores.layer3, &pair.layer3) {
        (Some(archive), Some(key)) => archive.prune_session::<Failure, _>(key, shown3, || {
            if !remove_first_copy()? {
                let why = "remove the first copy: it changed while the second was removed";
                return Err(Failure::new(why).hint("the same command finishes it"));
            }
            // Held until the last file is gone: a save that is still under way writes no metadata meanwhile.
            let metadata = save::lock_metadata(archive)?;
            forget(&places.index, archive, key)?;
            loss::forget(archive, key)?;
            Ok(metadata)
        }),
        _ => remove_first_copy(),
    }
}

/// Removes a session's rows, if there is an index.
fn forget(path: &Path, archive: &Archive, key: &SessionKey) -> Result<(), Failure> {
    if is_there(path)? { Ok(Index::open(path)?.forget(archive, key)?) } else { Ok(()) }
}

/// Makes the index say what is stored of these sessions by now; gives what could not be read for it.
fn bring_index_up(places: &Places, archive: &Archive, examined: &[Pair]) -> Result<Vec<String>, Failure> {
    if !is_there(&places.index)? {
        return Ok(Vec::new());
    }
    let mut index = Index::open(&places.index)?;
    let mut failed = Vec::new();
    let stored = archive.sessions()?;
    let mut behind = Vec::new();
    for key in examined.iter().filter_map(|pair| pair.layer3.as_ref()) {
        if !stored.contains(key) {
            index.forget(archive, key)?;
        } else if index.session(key)?.is_some() && index.is_behind(archive, key)? {
            behind.push(key.clone());
        }
    }
    failed.extend(index.catch_up(archive, &behind, None, &|_, _| {})?);
    // It was set aside, or never filled: the next search would have to.
    failed.extend(rebuild::make_whole(&mut index, archive, &|_, _| {})?);
    for key in &behind {
        save::write_metadata(&index, archive, key)?;
    }
    let mut notes = Vec::new();
    rebuild::note_set_aside(&index, &mut notes);
    let note = |(key, error): &(SessionKey, IndexError)| {
        format!("{}/{} could not be indexed again: {}", key.project, key.id, chain(error))
    };
    notes.extend(failed.iter().map(note));
    Ok(notes)
}
