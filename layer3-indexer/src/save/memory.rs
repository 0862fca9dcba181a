//! The second copy of what Claude Code remembers of the projects, in the store of memories inside this layer's store.
//!
//! Layer 1's versions are taken over first, then what stands there now is saved.

use std::collections::BTreeMap;

use layer1_prebackup::archive::{Archive, ArchiveError, Compare, SaveRequest, SessionKey, StoredFile};
use layer1_prebackup::claude::survey::{FoundTranscript, memories};
use layer1_prebackup::claude::transcripts::Reach;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::SessionId;

use crate::failure::{Failure, chain};
use crate::save::roots::all_resolved_projects;

/// Saves what Claude Code remembers of one project, if that changed or layer 1 has a version of it that is not here.
/// Gives what could not be saved of it.
pub(crate) fn save(places: &Places, memory: &FoundTranscript, reach: Reach) -> Result<Vec<String>, Failure> {
    let places = places.of_memories();
    let (layer1, unusable) = layer1_as_found(&places);
    let mut problems = save_one(&places, layer1.as_ref(), &memory.id, Some(memory), reach)?;
    problems.extend(unusable);
    Ok(problems)
}

/// Layer 1's store of memories, or why it cannot be used: what stands there is saved all the same.
fn layer1_as_found(places: &Places) -> (Option<Archive>, Option<String>) {
    match Archive::open_as_found(&places.layer1_store) {
        Ok(layer1) => (layer1, None),
        Err(error) => (None, Some(chain(&error))),
    }
}

/// [`save`] of every memory that Claude Code or layer 1 has: each that could not be saved, or not all of it, and why.
pub(crate) fn save_all(places: &Places) -> Result<Vec<(SessionId, String)>, Failure> {
    let found = memories(all_resolved_projects(places));
    let places = places.of_memories();
    let (layer1, mut unusable) = layer1_as_found(&places);
    let kept = layer1.as_ref().map_or(Ok(Vec::new()), Archive::sessions).unwrap_or_else(|error| {
        unusable = Some(chain(&error));
        Vec::new()
    });
    let mut all: BTreeMap<SessionId, Option<FoundTranscript>> = kept.into_iter().map(|key| (key.id, None)).collect();
    all.extend(found.into_iter().map(|memory| (memory.id.clone(), Some(memory))));
    let mut failed = Vec::new();
    for (id, memory) in &all {
        match save_one(&places, layer1.as_ref(), id, memory.as_ref(), Reach::Links) {
            Ok(problems) => failed.extend(problems.into_iter().map(|problem| (id.clone(), problem))),
            Err(error) => failed.push((id.clone(), error.to_string())),
        }
    }
    failed.extend(unusable.into_iter().flat_map(|why| all.keys().map(move |id| (id.clone(), why.clone()))));
    Ok(failed)
}

/// The memory of this id in a store of memories.
pub(crate) fn key_of(archive: &Archive, id: &SessionId) -> Result<Option<SessionKey>, ArchiveError> {
    match archive.recorded(id)?.pop() {
        Some(key) => Ok(Some(key)),
        None => Ok(archive.sessions()?.into_iter().find(|key| key.id == *id)),
    }
}

fn save_one(
    places: &Places,
    layer1: Option<&Archive>,
    id: &SessionId,
    memory: Option<&FoundTranscript>,
    reach: Reach,
) -> Result<Vec<String>, Failure> {
    let memory = memory.filter(|memory| !places.policy.exclude.is_excluded(&memory.path, None));
    let opened = Archive::open(&places.layer3_store)?;
    let kept = layer1.map_or(Ok(None), |layer1| kept_in(layer1, id))?;
    let held = opened.as_ref().map_or(Ok(None), |archive| kept_in(archive, id))?;
    let is_held = |file: &StoredFile| {
        held.iter()
            .flat_map(|(_, files)| files)
            .any(|held| held.name.file == file.name.file && held.blake3 == file.blake3)
    };
    let mut lacking = kept.clone().map(|(_, files)| files).unwrap_or_default();
    lacking.retain(|file| !is_held(file));
    let is_behind = |memory| opened.as_ref().map_or(Ok(true), |archive| archive.is_behind_found(memory));
    let memory = match memory {
        Some(memory) => is_behind(memory)?.then_some(memory),
        None => None,
    };
    if lacking.is_empty() && memory.is_none() {
        return Ok(Vec::new());
    }
    let archive = match opened {
        Some(archive) => archive,
        None => Archive::create(&places.layer3_store)?,
    };
    let archive = archive.leaving_free(places.policy.free_space_floor);
    archive.reach_sources_by(reach);
    let mut problems = Vec::new();
    let mut key = held.map(|(key, _)| key);
    if let (Some(layer1), Some((from, _))) = (layer1, &kept) {
        if key.is_none() {
            key = Some(SessionKey { project: archive.folder_for(&from.project)?, id: id.clone() });
        }
        let key = key.as_ref().expect("it was just made");
        // The oldest first; what it was last, at the end.
        lacking.sort_by_key(|file| if file.name.generation == 0 { u32::MAX } else { file.name.generation });
        let taken = archive.replicate(key, layer1, from, &lacking, &|_| {})?;
        problems.extend(taken.iter().filter_map(|taken| taken.as_ref().err()).map(|error| chain(error)));
    }
    if let Some(memory) = memory {
        let project = key.as_ref().map(|key| &key.project);
        let (transcript, compare, progress) = (&memory.path, Compare::Windows, &|_| {});
        let report = archive.save(&SaveRequest { id, transcript, project, cwd: None, compare, progress })?;
        problems.extend(report.problems.iter().map(|problem| chain(problem)));
    }
    Ok(problems)
}

fn kept_in(archive: &Archive, id: &SessionId) -> Result<Option<(SessionKey, Vec<StoredFile>)>, ArchiveError> {
    let Some(key) = key_of(archive, id)? else { return Ok(None) };
    let files = archive.files(&key)?;
    Ok(Some((key, files)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scene;

    #[test]
    fn versions_come_from_layer_1_and_from_what_stands_there_and_a_second_run_changes_nothing() {
        let scene = Scene::new();
        let folder = scene.transcript_in("-home-dev-proj", "x").with_file_name("memory");
        let places = scene.places.of_memories();
        let write = |name: &str, text: &str| scene.write(&folder.join(name), text);
        let found = || memories(all_resolved_projects(&scene.places)).remove(0);
        let first = || Archive::create(&places.layer1_store).unwrap();
        let in_layer1 = || {
            let (id, transcript, compare, progress) = (&found().id, &found().path, Compare::Windows, &|_| {});
            first().save(&SaveRequest { id, transcript, project: None, cwd: None, compare, progress }).unwrap();
        };
        let held = || {
            let archive = Archive::open(&places.layer3_store).unwrap().unwrap();
            let key = archive.sessions().unwrap().remove(0);
            let text = |file: &StoredFile| std::fs::read_to_string(archive.slot(&key, &file.name).place()).unwrap();
            let files = archive.files(&key).unwrap();
            assert!(archive.verify(None).unwrap().is_empty());
            files.iter().map(|file| format!("{} {}", file.name.generation, text(file))).collect::<Vec<_>>()
        };
        write("MEMORY.md", "one\n");
        in_layer1();
        assert_eq!(save_all(&scene.places).unwrap(), []);
        write("MEMORY.md", "one\ntwo\n");
        in_layer1();
        write("MEMORY.md", "three\n");
        in_layer1();
        // What layer 1 has not seen.
        write("MEMORY.md", "four\n");
        for _ in 0..2 {
            assert_eq!(save(&scene.places, &found(), Reach::Plain).unwrap(), [""; 0]);
            assert_eq!(held(), ["0 four\n", "1 one\n", "2 one\ntwo\n", "3 three\n"]);
        }
        // Both gone from Claude Code and new in layer 1: another project's.
        write("MEMORY.md", "five\n");
        in_layer1();
        scene.remove_sources();
        assert_eq!(save_all(&scene.places).unwrap(), []);
        assert_eq!(held().len(), 5);
    }

    #[test]
    fn a_first_copy_that_cannot_be_used_costs_the_second_nothing_and_is_told() {
        let scene = Scene::new();
        let file = scene.transcript_in("-home-dev-proj", "x").with_file_name("memory").join("MEMORY.md");
        let places = scene.places.of_memories();
        scene.write(&places.layer1_store.join(".state/store.json"), r#"{"format":99,"store_id":"0"}"#);
        for text in ["one\n", "two\n"] {
            scene.write(&file, text);
            let found = memories(all_resolved_projects(&scene.places)).remove(0);
            let told = if text == "one\n" {
                save(&scene.places, &found, Reach::Plain).unwrap()
            } else {
                save_all(&scene.places).unwrap().into_iter().map(|(_, why)| why).collect()
            };
            assert!(told.len() == 1 && told[0].contains("99"), "{told:?}");
            let archive = Archive::open(&places.layer3_store).unwrap().unwrap();
            assert!(!archive.is_behind_found(&found).unwrap(), "{text}");
        }
    }
}
