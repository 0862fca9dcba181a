//! The index made again from the store, on command or because it is not fit for use.

use std::time::Duration;

use layer1_prebackup::archive::{Archive, SessionKey};
use layer1_prebackup::config::places::Places;
use serde::Serialize;

use crate::failure::{Failure, chain};
use crate::index::{Index, IndexError, with_patience};
use crate::save::adopt_v1;
use crate::save::metadata_file::write_all_metadata;

/// How long a reader waits for other programs at a time, before it answers without what the index lacks.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What a rebuild did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Rebuilt {
    /// Sessions of the store.
    pub(crate) sessions: u64,
    /// Messages in the index.
    pub(crate) messages: u64,
    /// Sessions that could not be indexed, and why.
    pub(crate) failed: Vec<String>,
}

/// Opens the store, or says how to make one. A store that was copied here without its bookkeeping,
/// or lost it, gets a new one.
pub(crate) fn store(places: &Places) -> Result<Archive, Failure> {
    adopt_v1::open(places)?.ok_or_else(|| Failure::no_store(&places.layer3_store))
}

/// Empties the index and fills it from the store, and writes metadata that is missing; `progress`
/// is told the sessions done and their number. Conversations are only read. Safe to kill: the next search or save goes on.
pub(crate) fn rebuild(places: &Places, progress: &dyn Fn(usize, usize)) -> Result<Rebuilt, Failure> {
    let archive = store(places)?;
    let mut index = Index::open(&places.index)?;
    index.clear()?;
    let failed = index.fill(&archive, progress)?;
    if let Some((_, error)) = write_all_metadata(&index, &archive, &archive.sessions()?).into_iter().next() {
        return Err(error.into());
    }
    let counts = index.counts()?;
    Ok(Rebuilt {
        sessions: counts.sessions + counts.sessions_unlisted,
        messages: counts.messages,
        failed: failed.iter().map(|(key, error)| format!("{}/{}: {}", key.project, key.id, chain(error))).collect(),
    })
}

/// Asks an index that covers the store. A missing, damaged or half-filled one is made whole first,
/// also when the damage only shows in the asking; `notes` is told what the user should know about that.
pub(crate) fn ask<T>(
    places: &Places,
    archive: &Archive,
    notes: &mut Vec<String>,
    question: impl Fn(&Index) -> Result<T, IndexError>,
) -> Result<T, Failure> {
    let index = ready(places, archive, notes)?;
    match question(&index) {
        Err(error) if error.is_damage() => {
            drop(index);
            let mut index = Index::open(&places.index)?;
            index.renew()?;
            note_set_aside(&index, notes);
            notes.extend(index.fill(archive, &|_, _| {})?.iter().map(not_indexed));
            Ok(question(&index)?)
        }
        answer => Ok(answer?),
    }
}

/// An index that covers the store. A missing, damaged or half-filled one is made whole first;
/// `notes` is told what the user should know about that.
pub(crate) fn ready(places: &Places, archive: &Archive, notes: &mut Vec<String>) -> Result<Index, Failure> {
    let readable = Index::open_read_only(&places.index);
    if let Ok(Some(index)) = &readable
        && matches!(index.is_incomplete(archive), Ok(false))
    {
        return Ok(readable?.expect("just matched"));
    }
    let mut fill = || fill(places, archive, notes);
    // Where there is no other answer, it is worth all the time that a writer gives another.
    let filled = if matches!(readable, Ok(Some(_))) { with_patience(PATIENCE, fill) } else { fill() };
    match filled {
        Ok(index) => Ok(index),
        // A store on a read-only disk: what the index has is better than nothing.
        Err(error) => match readable {
            Ok(Some(index)) => {
                let lacks = match index.unindexed(archive) {
                    Ok(1) => "1 conversation is not indexed yet".to_owned(),
                    Ok(many @ 2..) => format!("{many} conversations are not indexed yet"),
                    Ok(0) | Err(_) => "the index may lack conversations".to_owned(),
                };
                notes.push(format!("{lacks}; the next save or search tries again (failed to {error})"));
                Ok(index)
            }
            _ => Err(error),
        },
    }
}

fn fill(places: &Places, archive: &Archive, notes: &mut Vec<String>) -> Result<Index, Failure> {
    let mut index = Index::open(&places.index)?;
    let failed = make_whole(&mut index, archive, &|_, _| {})?;
    note_set_aside(&index, notes);
    notes.extend(failed.iter().map(not_indexed));
    Ok(index)
}

/// Adds what an index lacks that is fresh or was interrupted, and makes a damaged one anew; `progress` is told
/// the sessions done and their number. Gives the sessions that could not be read for it.
pub(crate) fn make_whole(
    index: &mut Index,
    archive: &Archive,
    progress: &dyn Fn(usize, usize),
) -> Result<Vec<(SessionKey, IndexError)>, IndexError> {
    match index.is_incomplete(archive) {
        Ok(false) => return Ok(Vec::new()),
        Err(error) if error.is_damage() => index.renew()?,
        incomplete => drop(incomplete?),
    }
    index.fill_owed(archive, progress)
}

/// What the user is told of a session that could not be read for the index.
pub(crate) fn not_indexed((key, error): &(SessionKey, IndexError)) -> String {
    format!("{}/{} could not be indexed: {}", key.project, key.id, chain(error))
}

/// Says where an index went that could not be used.
pub(crate) fn note_set_aside(index: &Index, notes: &mut Vec<String>) {
    if let Some(aside) = index.set_aside() {
        notes.push(format!("the index could not be used; it was set aside as {} and made again", aside.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scene, prompt};

    #[test]
    fn index_and_metadata_come_back_from_the_store() {
        let scene = Scene::new();
        assert!(rebuild(&scene.places, &|_, _| {}).unwrap_err().to_string().starts_with("open the store "));
        scene.transcribe(&[prompt(1, "hello")]);
        scene.receipt(None);
        let metadata = scene.copy().with_extension("json");
        let before = std::fs::read(&metadata).unwrap();
        std::fs::write(&metadata, "lost").unwrap();
        let rebuilt = rebuild(&scene.places, &|_, _| {}).unwrap();
        assert_eq!((rebuilt.sessions, rebuilt.messages, rebuilt.failed.len()), (1, 1, 0));
        let after = String::from_utf8(std::fs::read(&metadata).unwrap()).unwrap();
        // What caused the last save is known from the metadata alone, and that was lost.
        assert_eq!(after.replace("\"trigger\": \"\"", "\"trigger\": \"session-end\"").as_bytes(), before);
    }

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn where_there_is_no_index_yet_who_reads_waits_for_the_one_who_makes_it() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "hello")]);
        scene.receipt(None);
        std::fs::remove_file(&scene.places.index).unwrap();
        let (answered, is_answered) = std::sync::mpsc::channel::<()>();
        let (locked, is_locked) = std::sync::mpsc::channel();
        let index = scene.places.index.clone();
        let holder = std::thread::spawn(move || {
            let other = rusqlite::Connection::open(index).unwrap();
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
            locked.send(()).unwrap();
            // Longer than a reader waits that has an answer, unless that one gives up.
            is_answered.recv_timeout(2 * PATIENCE).unwrap_err();
        });
        is_locked.recv().unwrap();
        let archive = store(&scene.places).unwrap();
        let found = ready(&scene.places, &archive, &mut Vec::new()).map(|index| index.unindexed(&archive).unwrap());
        answered.send(()).ok();
        assert_eq!(found.unwrap(), 0);
        holder.join().unwrap();
    }
}
