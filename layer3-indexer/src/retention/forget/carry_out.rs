//! Carrying it out: tombstones, contents, index, proof.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use layer1_prebackup::archive::{Archive, Forgotten, SessionKey};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs::remove_file;
use layer1_prebackup::log::now_ms;
use layer1_prebackup::names::{LAYER3, SessionId, TO_INDEX, typed};

use super::types::{Item, Plan, Summary};
use super::{erase, proof, rewrite};
use crate::failure::{Failure, chain};
use crate::index::{Index, IndexError};
use crate::retention::pending_delivery::{DELIVERER_WAIT, is_there, keep_deliverers_out};
use crate::save::metadata_file::write_all_metadata;
use crate::save::{LogSink, rebuild};
use crate::stores::{SessionCopies, Stores};
use crate::terminal;

/// Forgets what was shown, and whatever came to it since. Safe to kill: the same command finishes it. `progress` is told
/// the conversations of the new index, and their number.
pub(crate) fn carry_out(
    places: &Places,
    journal: &LogSink,
    plan: &Plan,
    progress: &dyn Fn(usize, usize),
) -> Result<Summary, Failure> {
    let Plan { stores, items, needle, .. } = plan;
    let mut summary = Summary { notes: plan.notes.clone(), ..Summary::default() };
    let _deliverer = keep_deliverers_out(places, DELIVERER_WAIT)?;
    // An index that cannot be made again is told of before anything goes.
    if stores.layer3.is_some() && is_there(&places.index)? {
        Index::open(&places.index)?;
    }
    for item in items {
        note(plan, item, false)?;
    }
    let mut sought = proof::Sought::default();
    for item in items {
        let gone = if item.messages.is_some() {
            rewrite::rewrite(places, plan.stores_of(item), item)
        } else {
            sought.add(item, stores);
            erase::erase(places, stores, &item.id)
        };
        match gone {
            Ok(()) => summary.forgotten.push(item.clone()),
            Err(failure) => summary.failed.push(format!("{}: failed to {failure}", item.session_id)),
        }
    }
    summary.bytes = summary.forgotten.iter().filter(|item| item.messages.is_none()).map(|item| item.bytes).sum();
    if let Some(needle) = needle {
        rewrite::clear_labels(stores, needle)?;
    }
    let index = make_index_again(places, stores, &mut summary.notes, progress)?;
    let mut in_logs: Vec<Vec<u8>> = sought.texts();
    if let Some(needle) = needle {
        sought.seek(needle);
        in_logs.extend_from_slice(needle.forms());
        let still_there = proof::search(places, stores, &sought)?.still_there;
        let holds_some = |folder: &Path| still_there.iter().any(|path| path.starts_with(folder));
        erase::drop_copies_of_others(places, &holds_some)?;
        rewrite::clear_others(places, stores, needle, &still_there)?;
    }
    if let (Some(index), Some(archive)) = (&index, &stores.layer3) {
        let failed = write_all_metadata(index, archive, &archive.sessions()?);
        let note = |(key, error): (SessionKey, IndexError)| {
            format!("{}/{} has no metadata: {}", key.project, key.id, chain(&error))
        };
        summary.notes.extend(failed.into_iter().map(note));
    }
    if items.iter().any(|item| item.messages.is_some()) {
        // Of the contents as they are now, so that a list tells it as before.
        let both = Rc::new(Stores::open(places)?);
        let in_part = items.iter().filter(|item| item.messages.is_some() && !item.is_memory);
        for key in both.sessions()?.iter().filter(|key| in_part.clone().any(|item| item.id == key.id)) {
            let recorded = || -> Result<(), Failure> { SessionCopies::of(&both, key)?.record_loss(&|_| {}) };
            summary.notes.extend(recorded().err().map(|failure| format!("{}: failed to {failure}", key.id)));
        }
    }
    summary.notes.extend(erase::scrub_logs(places, &in_logs)?);
    let proof::Proof { files, bytes, still_there, elsewhere, named } = proof::search(places, stores, &sought)?;
    if needle.is_none() && items.iter().any(|item| item.messages.is_some()) {
        let command = typed(LAYER3, "forget --match TEXT");
        summary.notes.push(format!(
            "the text itself is kept nowhere, so it was not looked for; `{command}` removes it from logs and damaged files too, and checks that it is gone"
        ));
    }
    if !sought.is_nothing() {
        (summary.checked_files, summary.checked_bytes) = (files, bytes);
    }
    (summary.still_there, summary.elsewhere, summary.named) = (still_there, elsewhere, named);
    if summary.still_there.is_empty() && summary.failed.is_empty() {
        for item in items {
            note(plan, item, true)?;
        }
        let what = if needle.is_some() { "messages of " } else { "" };
        let all = terminal::count(items.len() as u64, "conversation");
        journal.line(&format!("[forget] {what}{all} of both copies, all of it gone"));
    }
    Ok(summary)
}

/// Lets the forgotten conversation whose id begins as `typed` does be backed up again, whole; gives the id.
pub(crate) fn allow_again(places: &Places, typed: &str) -> Result<SessionId, Failure> {
    let mut archives = Vec::new();
    for store in [&places.layer1_store, &places.layer3_store] {
        archives.extend(Archive::open(store)?);
    }
    let mut ids = BTreeSet::new();
    for archive in &archives {
        let forgotten = archive.all_forgotten()?.into_iter().map(|(id, _)| id);
        ids.extend(forgotten.filter(|id| !typed.is_empty() && id.as_str().starts_with(typed)));
    }
    let id = match (ids.pop_first(), ids.len()) {
        (Some(id), 0) => id,
        (None, _) => return Err(Failure::argument("ID", typed, "no forgotten conversation has an id that begins so")),
        (Some(_), more) => {
            let why = format!("{} forgotten conversations have an id that begins so; type more of it", more + 1);
            return Err(Failure::argument("ID", typed, &why));
        }
    };
    archives.iter().try_for_each(|archive| archive.let_back(&id).map(drop))?;
    Ok(id)
}

/// Writes the tombstone in each store.
fn note(plan: &Plan, item: &Item, is_finished: bool) -> Result<(), Failure> {
    let stores = plan.stores_of(item);
    for archive in stores.layer1.iter().chain(&stores.layer3) {
        // One that cannot be read is written anew.
        let known = archive.forgotten(&item.id).ok().flatten();
        let mut forgotten = Forgotten::new(&item.id, known.as_ref().map_or_else(now_ms, |known| known.at_ms));
        forgotten.is_finished = is_finished;
        if item.messages.is_some() {
            forgotten.marks = known.map(|known| known.marks).unwrap_or_default();
            forgotten.marks.add(item.marks.clone());
        }
        archive.note_forgotten(&item.id, &forgotten)?;
    }
    Ok(())
}

/// Removes the index, with what was set aside of it, and fills a new one, where there was one.
fn make_index_again(
    places: &Places,
    stores: &Stores,
    notes: &mut Vec<String>,
    progress: &dyn Fn(usize, usize),
) -> Result<Option<Index>, Failure> {
    let was_there = is_there(&places.index)?;
    Index::remove(&places.index)?;
    if let Some(archive) = &stores.layer3 {
        // It names what is owed to the index that is gone; of the new one every conversation is looked at.
        remove_file(&archive.root().join(TO_INDEX))?;
    }
    let Some(archive) = stores.layer3.as_ref().filter(|_| was_there) else { return Ok(None) };
    let mut index = Index::open(&places.index)?;
    // Of another conversation; `verify` tells of it.
    let failed = rebuild::make_whole(&mut index, archive, progress)?;
    notes.extend(failed.iter().map(rebuild::not_indexed));
    Ok(Some(index))
}
