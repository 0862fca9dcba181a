//! Whether Claude Code still has a session.

use std::collections::BTreeSet;

use layer1_prebackup::archive::{Archive, SessionKey};
use layer1_prebackup::claude::survey::present;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::SessionId;

use crate::failure::Failure;
use crate::save::roots::all_resolved_projects;

/// A page of a list has so many sessions at most; of more the folders are listed.
const FEW: usize = 100;

/// Which of some sessions Claude Code has, as its directory shows them now.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    places: &'a Places,
    archive: &'a Archive,
    present: BTreeSet<&'a SessionId>,
}

impl<'a> Sources<'a> {
    /// Looks for these: of few where each was saved from, for the others in every project's folder, which costs a listing
    /// of each at most.
    pub(crate) fn look(
        places: &'a Places,
        archive: &'a Archive,
        sessions: impl Iterator<Item = &'a SessionKey>,
    ) -> Result<Sources<'a>, Failure> {
        let keys: Vec<&SessionKey> = sessions.collect();
        let mut sources = Sources { places, archive, present: BTreeSet::new() };
        let stands = |key: &&&SessionKey| keys.len() <= FEW && sources.stands(key).unwrap_or(false);
        let standing: BTreeSet<&SessionId> = keys.iter().filter(stands).map(|key| &key.id).collect();
        let wanted: BTreeSet<&SessionId> = keys.iter().map(|key| &key.id).filter(|id| !standing.contains(id)).collect();
        if !wanted.is_empty() {
            sources.present = present(all_resolved_projects(places), &wanted);
        }
        sources.present.extend(standing);
        Ok(sources)
    }

    /// Whether the session, one of those that were looked for, is in no project's folder and not where it was saved
    /// from either.
    pub(crate) fn lack(&self, key: &SessionKey) -> Result<bool, Failure> {
        if self.present.contains(&key.id) {
            return Ok(false);
        }
        Ok(!self.stands(key)?)
    }

    /// Whether something is where the session was saved from.
    fn stands(&self, key: &SessionKey) -> Result<bool, Failure> {
        let recorded = self.archive.source_of(key)?;
        // What was taken over from layer 1 has that copy as its source; Claude Code has not.
        let recorded = recorded.filter(|path| !path.starts_with(&self.places.layer1_store));
        Ok(recorded.is_some_and(|path| path.symlink_metadata().is_ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scene, prompt};

    #[test]
    fn a_session_is_gone_when_it_is_nowhere() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "x")]);
        scene.receipt(None);
        let archive = Archive::open(&scene.places.layer3_store).unwrap().unwrap();
        let key = archive.find(&scene.id()).unwrap().remove(0);
        let is_gone = || Sources::look(&scene.places, &archive, [&key].into_iter()).unwrap().lack(&key).unwrap();
        assert!(!is_gone());
        scene.remove_sources();
        assert!(is_gone());
        // A worktree that moved takes its transcripts to another folder.
        scene.write(&scene.transcript_in("-elsewhere", key.id.as_str()), "x");
        assert!(!is_gone());
    }

    #[test]
    fn what_layer_1_alone_has_is_gone() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "x")]);
        let held = scene.layer1_copies();
        scene.remove_sources();
        scene.receipt(Some(&scene.expected(&held)));
        let archive = Archive::open(&scene.places.layer3_store).unwrap().unwrap();
        let key = archive.find(&scene.id()).unwrap().remove(0);
        assert!(Sources::look(&scene.places, &archive, [&key].into_iter()).unwrap().lack(&key).unwrap());
    }
}
