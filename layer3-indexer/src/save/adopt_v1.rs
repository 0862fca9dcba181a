//! Opening layer 3's store; taking over a store of the first version, the one in bash and Node.
//!
//! That version kept `{PROJECT}/{ID}.jsonl`, metadata of another form in `{ID}.json`, an index of its
//! own in `sessions.db`, and no bookkeeping. All of it stays, byte for byte: the contents where they
//! are, the metadata and the index under other names as soon as ours take their place. An older hook
//! of it wrote events of tools into `{ID}.jsonl` and kept the conversation as `{ID}.jsonl.official`:
//! then the conversation is copied into the session too, so that it is found and can be restored.
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use layer1_prebackup::archive::{Archive, ArchiveError, SessionKey, TakenInAs};
use layer1_prebackup::claude::transcripts;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs::{self, DurableError};
use layer1_prebackup::names::{FileName, ProjectName, SessionId, StoredName};

use crate::failure::Failure;
use crate::index::Index;
use crate::stores::{Stores, second_as_found};
use crate::transcript::metadata::Metadata;
use crate::transcript::record::{self, Role, TornLine};

/// The ending under which the first version kept a conversation beside the events of its tools.
const OFFICIAL: &str = ".jsonl.official";
/// Longer metadata is nobody's.
const METADATA_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A file that begins with this much and no word of a conversation holds none.
const LOOK_BYTES_MAX: u64 = 1024 * 1024;

/// Opens the store; `None` where nothing is stored. One without bookkeeping gets it: see [`create`].
pub(crate) fn open(places: &Places) -> Result<Option<Archive>, ArchiveError> {
    match second_as_found(places)? {
        Some(found) if found.store_id().is_empty() => create(places).map(Some),
        opened => Ok(opened.map(|archive| of(places, archive))),
    }
}

/// Both stores, as far as they can be read. One of the first version is taken over before, so that nothing
/// of it is missed; where that fails, as on a disk that is read-only, it is read as it stands.
pub(crate) fn stores(places: &Places) -> Result<Rc<Stores>, Failure> {
    let layer3 = open(places).or_else(|_| second_as_found(places));
    Ok(Rc::new(Stores::with(places, layer3)?))
}

/// Opens the store, makes it where there is none, and takes over what the first version left there.
pub(crate) fn create(places: &Places) -> Result<Archive, ArchiveError> {
    if let Some(why) = places.away(&places.layer3_store) {
        return Err(ArchiveError::Away(why));
    }
    let archive = Archive::create_adopting(&places.layer3_store, |archive| adopt(places, archive))?;
    // Without it nobody would notice that the disk is not there. The next save writes it.
    let _ = places.note_disk(&places.layer3_store);
    Ok(of(places, archive))
}

/// The store, with what the user's settings and places say of it.
pub(crate) fn of(places: &Places, archive: Archive) -> Archive {
    let projects = places.all_claude_dirs().map(|dir| dir.join("projects")).collect();
    archive.leaving_free(places.policy.free_space_floor).with_sources_in(projects)
}

/// Keeps what stands where our metadata is to be written, and is not ours, as `{ID}.found.json`.
pub(crate) fn keep_foreign_metadata(path: &Path) -> Result<(), DurableError> {
    let is_foreign = || {
        // What cannot be read is not known to be anybody's; writing over it tells what is wrong.
        let Ok(Some(text)) = of_first_version(path) else { return false };
        !text.is_empty() && serde_json::from_slice::<Metadata>(&text).is_err()
    };
    // Nothing is called another's by one reading.
    if !is_foreign() || !is_foreign() {
        return Ok(());
    }
    let name = |n: u32| path.with_extension(if n == 1 { "found.json".to_owned() } else { format!("found-{n}.json") });
    let free = (1..).map(name).find(|name| name.symlink_metadata().is_err());
    fs::rename_new(path, &free.unwrap_or_else(|| name(u32::MAX)))
}

/// What another program kept as metadata beside a conversation.
fn of_first_version(path: &Path) -> Result<Option<Vec<u8>>, DurableError> {
    let file = transcripts::open_regular(path)?;
    file.map(|file| fs::read_bounded(&file, METADATA_BYTES_MAX, path)).transpose()
}

fn adopt(places: &Places, archive: &Archive) -> Result<(), ArchiveError> {
    let sessions = archive.sessions()?;
    let official = officials(archive.root());
    // A store of ours that lost its bookkeeping is not trusted: its contents are to be proven again.
    if official.is_empty() && !is_first_version(places, archive, &sessions) {
        return Ok(());
    }
    // What keeps one session from being taken over must not keep the store from being used: it stays
    // where it is, is found and read like any other, and `verify` names it.
    for key in &sessions {
        let _ = archive.record_found(key);
    }
    if Index::is_foreign(&places.index).unwrap_or(false) {
        // Sets the old one aside. Whoever needs an index tells why there is none.
        let _ = Index::open(&places.index);
    }
    for (key, path) in &official {
        let newest = archive.slot(key, &StoredName::newest(FileName::Transcript)).path();
        let taken_in = if holds_a_conversation(&newest) { TakenInAs::Older } else { TakenInAs::Newest };
        // As above.
        let _ = archive.take_in(key, path, taken_in);
    }
    Ok(())
}

/// Whether the first version wrote here: its index, or metadata of its form.
fn is_first_version(places: &Places, archive: &Archive, sessions: &[SessionKey]) -> bool {
    let beside = archive.root().join("sessions.db");
    // An index that cannot be looked at says nothing; the metadata may.
    let is_foreign = |path: &Path| Index::is_foreign(path).unwrap_or(false);
    let counts_as_text = |key: &SessionKey| {
        let path = archive.root().join(key.project.as_str()).join(format!("{}.json", key.id));
        // As above.
        let text = of_first_version(&path).ok().flatten();
        let metadata = text.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
        metadata.is_some_and(|metadata| metadata["tool_counts"].is_string())
    };
    is_foreign(&beside) || is_foreign(&places.index) || sessions.iter().any(counts_as_text)
}

/// The conversations that were kept beside `{ID}.jsonl`.
fn officials(root: &Path) -> Vec<(SessionKey, PathBuf)> {
    let mut found = Vec::new();
    // A folder that cannot be listed is told by whoever reads its sessions.
    for folder in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let Some(Ok(project)) = folder.file_name().to_str().map(ProjectName::parse) else { continue };
        for entry in std::fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(OFFICIAL)).map(SessionId::parse);
            if let Some(Ok(id)) = id {
                found.push((SessionKey { project: project.clone(), id }, entry.path()));
            }
        }
    }
    found.sort();
    found
}

/// Whether somebody says something in a transcript. In doubt nobody does.
fn holds_a_conversation(path: &Path) -> bool {
    let Ok(Some(file)) = transcripts::open_regular(path) else { return false };
    let mut is_said = false;
    let read = record::read_records(std::io::Read::take(file, LOOK_BYTES_MAX), 0, TornLine::Wait, &mut |located| {
        is_said = is_said || matches!(located.record.role(), Role::User | Role::Assistant);
        if is_said { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    read.is_ok() && is_said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ID, Scene, answer, prompt};
    use layer1_prebackup::archive::Verification;

    #[test]
    fn what_stands_where_metadata_is_to_be_written_and_is_not_ours_is_kept_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let ours = serde_json::to_string(&Metadata::default()).unwrap();
        for (text, names) in [
            ("", vec!["a.json"]),
            (&ours, vec!["a.json"]),
            ("another's", vec!["a.found.json"]),
            ("{}", vec!["a.found-2.json", "a.found.json"]),
            ("[]", vec!["a.found-2.json", "a.found-3.json", "a.found.json"]),
        ] {
            std::fs::write(&path, text).unwrap();
            keep_foreign_metadata(&path).unwrap();
            let mut found: Vec<_> =
                std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            found.sort();
            assert_eq!(found, names, "{text}");
        }
        keep_foreign_metadata(&dir.path().join("absent.json")).unwrap();
    }

    #[test]
    fn a_file_holds_a_conversation_where_somebody_says_something() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let event = "{\"type\":\"system\",\"content\":\"x\"}\n";
        for (text, expected) in [
            (prompt(1, "hello"), true),
            (answer(1, "hi"), true),
            (format!("{event}{}", answer(1, "hi")), true),
            (event.repeat(2), false),
            ("no record at all\n".to_owned(), false),
            (String::new(), false),
        ] {
            std::fs::write(&path, &text).unwrap();
            assert_eq!(holds_a_conversation(&path), expected, "{text}");
        }
        assert!(!holds_a_conversation(&dir.path().join("absent")));
        assert!(!holds_a_conversation(dir.path()));
    }

    #[test]
    fn what_the_first_version_left_is_believed_and_what_lost_its_bookkeeping_is_not() {
        for (metadata, verification) in [
            (None, Verification::Unverified),
            (Some("{\"tool_counts\":{}}"), Verification::Unverified),
            (Some("{\"tool_counts\":\"{}\"}"), Verification::Found),
        ] {
            let scene = Scene::new();
            let folder = scene.places.layer3_store.join("proj");
            scene.write(&folder.join(format!("{ID}.jsonl")), &prompt(1, "hello"));
            if let Some(metadata) = metadata {
                scene.write(&folder.join(format!("{ID}.json")), metadata);
            }
            let archive = open(&scene.places).unwrap().unwrap();
            let key = archive.find(&scene.id()).unwrap().remove(0);
            assert_eq!(archive.files(&key).unwrap()[0].verification, verification, "{metadata:?}");
            assert_eq!(archive.store_id().len(), 32);
        }
        // Its index tells it too, in the store or where ours is to be.
        for is_beside in [true, false] {
            let mut scene = Scene::new();
            scene.write(&scene.places.layer3_store.join(format!("proj/{ID}.jsonl")), &prompt(1, "hello"));
            let index = scene.places.layer3_store.join("sessions.db");
            let elsewhere = scene.places.home.join("elsewhere.db");
            let foreign = if is_beside { &index } else { &elsewhere };
            rusqlite::Connection::open(foreign).unwrap().execute("CREATE TABLE sessions (id TEXT)", ()).unwrap();
            scene.places.index = elsewhere;
            let archive = open(&scene.places).unwrap().unwrap();
            let key = archive.find(&scene.id()).unwrap().remove(0);
            assert_eq!(archive.files(&key).unwrap()[0].verification, Verification::Found, "{is_beside}");
        }
    }

    #[test]
    fn a_conversation_that_lay_beside_the_events_of_its_tools_is_found_in_its_session() {
        let event = "{\"type\":\"system\",\"content\":\"x\"}\n".to_owned();
        for (beside, newest, older) in [
            (event.clone(), prompt(1, "hello"), event.clone()),
            (prompt(2, "later"), prompt(2, "later"), prompt(1, "hello")),
        ] {
            let scene = Scene::new();
            let folder = scene.places.layer3_store.join("proj");
            scene.write(&folder.join(format!("{ID}.jsonl")), &beside);
            scene.write(&folder.join(format!("{ID}.jsonl.official")), &prompt(1, "hello"));
            open(&scene.places).unwrap();
            let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
            assert_eq!((read(&format!("{ID}.jsonl")), read(&format!("{ID}.gen-0001.jsonl"))), (newest, older));
        }
    }
}
