//! Saving many sessions: everything that exists (`import`), or what changed since (`backup_create`).
//!
//! One failing session does not stop the others. What did not change is not touched, so a second
//! import changes nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use layer1_prebackup::archive::{Archive, ArchiveError, SessionKey, StoredFile};
use layer1_prebackup::claude::survey::{FoundTranscript, PassedOver, survey};
use layer1_prebackup::claude::transcripts;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::{FileName, ProjectName, SessionId, StoredName};
use rmcp::schemars;
use serde::Serialize;

use crate::failure::{Failure, chain};
use crate::index::Index;
use crate::save::adopt_v1;
use crate::save::labels;
use crate::save::leave_receipts;
use crate::save::log::LogSink;
use crate::save::memory;
use crate::save::metadata_file::write_all_metadata;
use crate::save::rebuild::make_whole;
use crate::save::receipt::{Answer, Receipt};
use crate::save::request::Request;
use crate::save::roots::{RootKind, all_resolved_projects};
use crate::save::session;
use crate::stores::{SessionCopies, Stores};

/// What saving many sessions did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct Summary {
    /// Sessions looked at.
    pub(crate) sessions: usize,
    /// Sessions saved now.
    pub(crate) saved: usize,
    /// Sessions whose copy was up to date.
    pub(crate) unchanged: usize,
    /// Transcripts without content: nothing to save.
    pub(crate) skipped: usize,
    /// Sessions that could not be saved or only in part.
    pub(crate) failed: Vec<Unsaved>,
    /// What the user should know, in plain words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

/// A session that could not be saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
// Tool schemas name it so.
#[schemars(crate = "rmcp::schemars", rename = "Failure")]
pub(crate) struct Unsaved {
    /// The session.
    pub(crate) session_id: String,
    /// Why it could not be saved.
    pub(crate) error: String,
}

/// How far saving many sessions has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Work: the bytes that were looked at in either place, and as many again when they are indexed.
    pub(crate) work_done: u64,
    /// All of it.
    pub(crate) work_all: u64,
    /// Sessions done.
    pub(crate) sessions_done: usize,
    /// All of them, wherever they are.
    pub(crate) sessions_all: usize,
    /// Their bytes, each counted once.
    pub(crate) bytes: u64,
}

/// Saves every transcript under `projects/` that is not saved yet, and everything in layer 1's
/// store that layer 3 lacks.
pub(crate) fn import(places: &Places, journal: &LogSink, progress: &dyn Fn(Progress)) -> Result<Summary, Failure> {
    let mut run = Run::new(places, journal, "import", progress)?;
    let sources = run.look();
    let layer1 = Archive::open_as_found(&places.layer1_store)?;
    let kept = match &layer1 {
        Some(layer1) => run.kept_sessions(layer1)?,
        None => Vec::new(),
    };
    let seen: BTreeSet<&SessionId> = sources.iter().map(|found| &found.id).collect();
    run.expect_sources(&sources);
    kept.iter().for_each(|kept| run.expect_kept(kept, seen.contains(&kept.key.id)));
    sources.iter().for_each(|found| run.source(found));
    kept.iter().for_each(|kept| run.kept(kept, seen.contains(&kept.key.id)));
    run.finish()
}

/// Saves the transcripts under `projects/` that changed since their copy; only those of a
/// project, if one is named.
pub(crate) fn backup(
    places: &Places,
    journal: &LogSink,
    project: Option<&ProjectName>,
    progress: &dyn Fn(Progress),
) -> Result<Summary, Failure> {
    let mut run = Run::new(places, journal, "backup-create", progress)?;
    let mut sources = run.look();
    if let Some(project) = project {
        sources.retain(|found| run.project_of(found).as_ref() == Some(project));
    }
    run.expect_sources(&sources);
    sources.iter().for_each(|found| run.source(found));
    run.finish()
}

/// A session in layer 1's store.
struct Kept {
    key: SessionKey,
    files: Vec<StoredFile>,
    transcript: PathBuf,
    bytes: u64,
}

struct Run<'a> {
    places: &'a Places,
    journal: &'a LogSink,
    trigger: &'a str,
    /// `None` until the first session is saved.
    archive: Option<Archive>,
    report: &'a dyn Fn(Progress),
    at: Progress,
    summary: Summary,
    /// What was stored by this run, and is to be indexed.
    stored: BTreeSet<SessionId>,
    /// Of those.
    receipts: Vec<Receipt>,
}

impl<'a> Run<'a> {
    fn new(
        places: &'a Places,
        journal: &'a LogSink,
        trigger: &'a str,
        report: &'a dyn Fn(Progress),
    ) -> Result<Run<'a>, Failure> {
        let archive = adopt_v1::open(places)?;
        let at = Progress { work_done: 0, work_all: 0, sessions_done: 0, sessions_all: 0, bytes: 0 };
        Ok(Run {
            places,
            journal,
            trigger,
            archive,
            report,
            at,
            summary: Summary::default(),
            stored: BTreeSet::new(),
            receipts: Vec::new(),
        })
    }

    /// Claude Code's conversations; what of them cannot be read is a note.
    fn look(&mut self) -> Vec<FoundTranscript> {
        let (found, passed_over) = survey(all_resolved_projects(self.places));
        let unread = passed_over.iter().filter(|passed| passed.is_unreadable);
        let note = |passed: &PassedOver| format!("cannot read {}: {}", passed.path.display(), passed.why);
        self.summary.notes.extend(unread.map(note));
        found
    }

    /// The sessions of layer 1's store; one that cannot be read fails by itself.
    fn kept_sessions(&mut self, layer1: &Archive) -> Result<Vec<Kept>, ArchiveError> {
        let mut kept = Vec::new();
        for key in layer1.sessions()? {
            match layer1.files(&key) {
                Ok(files) => {
                    let transcript = layer1.slot(&key, &StoredName::newest(FileName::Transcript)).path();
                    kept.push(Kept { bytes: files.iter().map(|file| file.bytes).sum(), transcript, files, key });
                }
                Err(error) => self.fail(&key.id, chain(&error)),
            }
        }
        Ok(kept)
    }

    fn expect_sources(&mut self, sources: &[FoundTranscript]) {
        let bytes: u64 = sources.iter().map(|found| found.bytes).sum();
        self.at = Progress { work_all: 2 * bytes, sessions_all: sources.len(), bytes, ..self.at };
        (self.report)(self.at);
    }

    /// `counted` if the session is a source too.
    fn expect_kept(&mut self, kept: &Kept, counted: bool) {
        self.at.work_all += 2 * kept.bytes;
        if !counted {
            self.at.sessions_all += 1;
            self.at.bytes += kept.bytes;
        }
    }

    /// Saves one transcript of Claude Code's, if it changed.
    fn source(&mut self, found: &FoundTranscript) {
        self.summary.sessions += 1;
        if self.places.policy.exclude.is_excluded(&found.path, None) {
            self.summary.skipped += 1;
            return self.done(found.bytes, false);
        }
        let behind = self.archive.as_ref().map_or(Ok::<_, ArchiveError>(true), |archive| {
            let behind = archive.is_behind_found(found)?;
            if !behind {
                // What needs no save is about to be called saved.
                archive.checkpoint(&found.id)?;
            }
            Ok(behind)
        });
        match behind {
            Ok(false) => self.summary.unchanged += 1,
            Ok(true) => self.save(&found.id, &found.path, RootKind::Claude, found.bytes),
            Err(error) => self.fail(&found.id, chain(&error)),
        }
        self.done(found.bytes, false);
    }

    /// Takes over from layer 1 what layer 3 lacks. `counted` if the session was met already.
    fn kept(&mut self, kept: &Kept, counted: bool) {
        self.summary.sessions += usize::from(!counted);
        if self.places.policy.exclude.is_excluded(&kept.transcript, None) {
            self.summary.skipped += usize::from(!counted);
            return self.done(kept.bytes, counted);
        }
        match self.lacks(kept) {
            Ok(true) => self.save(&kept.key.id, &kept.transcript, RootKind::Layer1Store, kept.bytes),
            Ok(false) => self.summary.unchanged += usize::from(!counted),
            Err(error) => self.fail(&kept.key.id, chain(&error)),
        }
        self.done(kept.bytes, counted);
    }

    /// Whether layer 3 lacks a content that layer 1 has. Records are compared first: reading
    /// everything again at every import would be for nothing.
    fn lacks(&self, kept: &Kept) -> Result<bool, ArchiveError> {
        let Some(archive) = &self.archive else { return Ok(true) };
        let keys = archive.find(&kept.key.id)?;
        let held = keys.iter().map(|key| archive.files(key)).collect::<Result<Vec<_>, _>>()?.concat();
        for file in &kept.files {
            let same = |other: &StoredFile| other.name.file == file.name.file && other.blake3 == file.blake3;
            if held.iter().any(same) {
                continue;
            }
            let mut covered = false;
            for key in &keys {
                covered = covered || archive.covers(key, &file.name.file, file.bytes, &file.blake3)?;
            }
            if !covered {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn save(&mut self, id: &SessionId, transcript: &Path, root: RootKind, bytes: u64) {
        let request = Request { trigger: Some(self.trigger), ..Request::of(id, transcript, root) };
        let at = self.at;
        let progress = |done: u64| (self.report)(Progress { work_done: at.work_done + done.min(bytes), ..at });
        if self.stored.insert(id.clone()) && self.stored.len() == 1 {
            self.expect_more();
        }
        match session::store(self.places, self.journal, self.archive.as_ref(), &request, &progress) {
            Ok(Answer::Receipt(receipt)) => {
                self.summary.saved += 1;
                if let Some(warning) = &receipt.warning {
                    self.fail(id, warning.clone());
                }
                self.receipts.push(receipt);
            }
            Ok(Answer::Skipped(_)) => self.summary.skipped += 1,
            Err(failure) => self.fail(id, failure.to_string()),
        }
        if self.archive.is_none() {
            // The first save made the store. If it cannot be opened, the next save will say so.
            self.archive = adopt_v1::open(self.places).ok().flatten();
        }
    }

    /// Many sessions are indexed together, once they are all stored.
    fn expect_more(&mut self) {
        if !self.places.index.exists() {
            return;
        }
        if let Err(error) = Index::open(&self.places.index).and_then(|mut index| index.expect_more()) {
            // The copies do not wait for the index. Should this run be killed, the next import makes up for it.
            self.summary.notes.push(format!("the index could not be told of what is being stored: {}", chain(&error)));
        }
    }

    fn fail(&mut self, id: &SessionId, error: String) {
        self.summary.failed.push(Unsaved { session_id: id.to_string(), error });
    }

    fn done(&mut self, bytes: u64, counted: bool) {
        self.at.work_done += bytes;
        self.at.sessions_done += usize::from(!counted);
        (self.report)(self.at);
    }

    /// The project of a transcript: the stores' word, else its first working directory's.
    fn project_of(&self, found: &FoundTranscript) -> Option<ProjectName> {
        // A store that cannot be asked leaves the question to the transcript.
        let known = self.archive.as_ref().and_then(|archive| archive.session_of(&found.id, &found.path).ok().flatten());
        match known {
            Some(key) => Some(key.project),
            // One that cannot be read is named when it is saved.
            None => transcripts::first_cwd(&found.path).ok().flatten().map(|cwd| ProjectName::from_cwd(&cwd)),
        }
    }

    /// Indexes what was stored. A run that was killed between the two left sessions without their
    /// rows or their metadata, and their copies look unchanged ever after: that is made up for here too.
    /// The copies are made, so what fails of earlier sessions is a note.
    fn finish(mut self) -> Result<Summary, Failure> {
        match memory::save_all(self.places) {
            Ok(failed) => failed.into_iter().for_each(|(id, error)| self.fail(&id, error)),
            Err(error) => self.summary.notes.push(format!("what Claude Code remembers could not be saved: {error}")),
        }
        if let (Ok(Some(layer1)), Some(archive)) = (Archive::open(&self.places.layer1_store), &self.archive) {
            for (id, error) in labels::exchange(archive, &layer1) {
                self.fail(&id, format!("its name, tags and note are not in both copies: {}", chain(&error)));
            }
        }
        let opened =
            self.archive.take().map_or_else(|| Archive::open(&self.places.layer3_store), |opened| Ok(Some(opened)));
        if let Some(archive) = opened?
            && let Err(error) = self.index(&archive)
        {
            self.summary.notes.push(format!("stored but not indexed: {error}"));
        }
        if let Err(error) = self.record_losses() {
            self.summary.notes.push(format!("stored, and what was lost could not be recorded: {error}"));
        }
        if let Err(error) = leave_receipts::leave(self.places, &self.receipts) {
            self.summary.notes.push(format!("stored, and layer 2 sends it once more: {error}"));
        }
        self.at.work_done = self.at.work_all;
        (self.report)(self.at);
        Ok(self.summary)
    }

    /// What was stored by a version that did not record it too.
    fn record_losses(&self) -> Result<(), Failure> {
        if Archive::open(&self.places.layer3_store)?.is_none() {
            return Ok(());
        }
        let stores = Rc::new(Stores::open(self.places)?);
        // One session that cannot be compared does not keep the others from it.
        let record = |key: &SessionKey| SessionCopies::of(&stores, key)?.record_loss(&|_| {});
        let results: Vec<_> = stores.sessions()?.iter().map(record).collect();
        results.into_iter().collect()
    }

    fn index(&mut self, archive: &Archive) -> Result<(), Failure> {
        let mut index = Index::open(&self.places.index)?;
        if let Some(aside) = index.set_aside() {
            let aside = aside.display();
            self.summary.notes.push(format!("the index could not be used and was set aside as {aside}"));
        }
        let sessions = archive.sessions()?;
        let (at, report) = (self.at, self.report);
        let left = at.work_all - at.work_done;
        let progress = |done: usize, all: usize| {
            let work_done = at.work_done + left * done as u64 / all.max(1) as u64;
            report(Progress { work_done, ..at });
        };
        let behind = index.catch_up(archive, &sessions, Some(self.trigger), &progress)?;
        let mut note = |key: &SessionKey, what: &str, error: &dyn std::error::Error| {
            self.summary.notes.push(format!("{}/{}{what}: {}", key.project, key.id, chain(error)));
        };
        let (failed, earlier): (Vec<_>, Vec<_>) = behind.iter().partition(|(key, _)| self.stored.contains(&key.id));
        earlier.iter().for_each(|(key, error)| note(key, ": stored but not indexed", error));
        // Nothing is behind any more, but for what was told of just now.
        for (key, error) in make_whole(&mut index, archive, &|_, _| {})? {
            if !behind.iter().any(|(told, _)| *told == key) {
                note(&key, ": stored but not indexed", &error);
            }
        }
        for (key, error) in write_all_metadata(&index, archive, &sessions) {
            note(&key, " has no metadata", &error);
        }
        failed.iter().for_each(|(key, error)| self.fail(&key.id, format!("stored but not indexed: {}", chain(error))));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ID, Scene, prompt};
    use std::fs;

    fn import(scene: &Scene) -> Summary {
        let last = std::cell::Cell::new(None);
        let summary = super::import(&scene.places, &LogSink::new(&scene.places, false), &|at| last.set(Some(at)));
        let last: Progress = last.get().unwrap();
        assert_eq!((last.work_done, last.sessions_done), (last.work_all, last.sessions_all));
        summary.unwrap()
    }

    fn counts(summary: &Summary) -> (usize, usize, usize, usize, usize) {
        (summary.sessions, summary.saved, summary.unchanged, summary.skipped, summary.failed.len())
    }

    /// Every file of the store with its time, the log left out.
    fn state(scene: &Scene) -> Vec<(String, std::time::SystemTime)> {
        let store = &scene.places.layer3_store;
        let mut files = Vec::new();
        for folder in [store.clone(), store.join("proj")] {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let meta = entry.metadata().unwrap();
                if meta.is_file() && !entry.file_name().to_str().unwrap().starts_with("sessions.db-") {
                    files.push((entry.path().display().to_string(), meta.modified().unwrap()));
                }
            }
        }
        files.sort();
        files
    }

    #[test]
    fn a_second_import_changes_nothing() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "one")]);
        scene.write(&scene.transcript_in("-home-dev-proj", "second"), &prompt(2, "two"));
        scene.write(&scene.transcript_in("-home-dev-proj", "empty"), "");
        assert_eq!(counts(&import(&scene)), (3, 2, 1, 0, 0));
        let before = state(&scene);
        assert_eq!(counts(&import(&scene)), (3, 0, 3, 0, 0));
        assert_eq!(state(&scene), before);
    }

    #[test]
    fn what_only_layer_1_has_comes_too_and_once() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "one")]);
        scene.layer1_copies();
        scene.transcribe(&[prompt(2, "rewritten")]);
        scene.layer1_copies();
        scene.remove_sources();
        assert_eq!(counts(&import(&scene)), (1, 1, 0, 0, 0));
        let stored: Vec<String> = scene.stored().iter().map(|line| line.replace(ID, "ID")).collect();
        assert_eq!(stored, ["proj/ID.gen-0001.jsonl: 1 lines", "proj/ID.jsonl: 1 lines"]);
        assert_eq!(counts(&import(&scene)), (1, 0, 1, 0, 0));
    }

    #[test]
    fn what_layer_1_is_ahead_of_comes_and_what_another_folder_covers_does_not_come_again() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "one"), prompt(2, "two")]);
        scene.layer1_copies();
        scene.receipt(None);
        scene.transcribe(&[prompt(1, "one"), prompt(3, "tri")]);
        scene.layer1_copies();
        scene.remove_sources();
        assert_eq!(counts(&import(&scene)), (1, 1, 0, 0, 0));
        // Another session of the id, which layer 1 knows nothing of.
        let other = scene.transcript_in("-home-dev-other", ID);
        scene.write(&other, &prompt(7, "another").replace("dev/proj", "dev/other"));
        assert_eq!(counts(&import(&scene)), (1, 1, 0, 0, 0));
        // Layer 1 has beginnings of what layer 3 has.
        scene.transcribe(&[prompt(1, "one"), prompt(3, "tri"), prompt(4, "four")]);
        scene.receipt(None);
        assert_eq!(counts(&import(&scene)), (2, 0, 2, 0, 0));
    }

    #[test]
    fn what_the_user_excluded_is_skipped_in_either_place_and_counted_once() {
        let mut scene = Scene::new();
        scene.transcribe(&[prompt(1, "one")]);
        scene.layer1_copies();
        scene.places.policy.exclude =
            layer1_prebackup::config::exclude::Exclusions::new(&["**/*.jsonl".to_owned()], &scene.places.home);
        assert_eq!(counts(&import(&scene)), (1, 0, 0, 1, 0));
        scene.remove_sources();
        assert_eq!(counts(&import(&scene)), (1, 0, 0, 1, 0));
        assert!(!scene.places.layer3_store.exists());
    }

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn the_work_of_an_import_is_known_before_it_begins_and_grows_to_its_end() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "one")]);
        scene.layer1_copies();
        let other = scene.transcript_in("-home-dev-proj", "second");
        scene.write(&other, &prompt(2, "a second one that is longer"));
        // Layer 1 alone has a third one.
        let third = scene.transcript_in("-home-dev-proj", "third");
        scene.write(&third, &prompt(3, "three"));
        let id = SessionId::parse("third").unwrap();
        let request = layer1_prebackup::archive::SaveRequest {
            id: &id,
            transcript: &third,
            project: None,
            cwd: None,
            compare: layer1_prebackup::archive::Compare::Windows,
            progress: &|_| {},
        };
        Archive::create(&scene.places.layer1_store).unwrap().save(&request).unwrap();
        let [one, two, three] = [&scene.transcript(), &other, &third].map(|path| fs::metadata(path).unwrap().len());
        fs::remove_file(&third).unwrap();
        let told = std::cell::RefCell::new(Vec::new());
        let journal = LogSink::new(&scene.places, false);
        let summary = super::import(&scene.places, &journal, &|at| told.borrow_mut().push(at)).unwrap();
        assert_eq!(counts(&summary), (3, 3, 0, 0, 0), "{summary:?}");
        let told = told.into_inner();
        // The sources are looked at first; what lies in either place is worked on there, and counted once.
        let first =
            Progress { work_done: 0, work_all: 2 * (one + two), sessions_done: 0, sessions_all: 2, bytes: one + two };
        assert_eq!(told[0], first);
        let all =
            Progress { work_all: 2 * (one + two + one + three), sessions_all: 3, bytes: one + two + three, ..first };
        assert!(told[1..].iter().all(|at| Progress { work_done: 0, sessions_done: 0, ..*at } == all), "{told:?}");
        assert!(
            told.is_sorted_by_key(|at| at.work_done) && told.iter().all(|at| at.work_done <= all.work_all),
            "{told:?}"
        );
        let after = |sessions: usize| {
            told.iter().filter(|at| at.sessions_done == sessions).map(|at| at.work_done).min().unwrap()
        };
        let done = [one.min(two), one + two, one + two + one + three];
        assert!(after(1) >= done[0] && after(2) == done[1] && after(3) == done[2], "{told:?}");
        let log = fs::read_to_string(scene.places.layer3_store.join(".log/layer3.log")).unwrap();
        assert_eq!(log.matches("- trigger: import").count(), 3, "{log}");
    }

    #[test]
    fn a_failing_session_does_not_stop_the_others() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "one")]);
        scene.write(&scene.transcript_in("-home-dev-proj", "second"), &prompt(2, "two"));
        // A newer version has written what is recorded of it.
        let newer = "{\"format\":99}";
        let ledger = format!("{} {newer}\n", &blake3::hash(newer.as_bytes()).to_hex()[..16]);
        scene.write(&scene.places.layer3_store.join(format!(".state/sessions/{ID}/proj.ledger")), &ledger);
        let summary = import(&scene);
        assert_eq!(counts(&summary), (2, 1, 0, 0, 2), "{summary:?}");
        assert_eq!(summary.failed[0].session_id, ID);
    }

    #[test]
    fn a_backup_takes_what_changed_of_the_project_that_is_named() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "one")]);
        scene.write(
            &scene.transcript_in("-home-dev-other", "second"),
            &prompt(2, "two").replace("dev/proj", "dev/other"),
        );
        let backup = |project: Option<&str>| {
            let project = project.map(|project| ProjectName::parse(project).unwrap());
            let journal = LogSink::new(&scene.places, false);
            counts(&super::backup(&scene.places, &journal, project.as_ref(), &|_| {}).unwrap())
        };
        assert_eq!(backup(Some("other")), (1, 1, 0, 0, 0));
        assert_eq!(backup(None), (2, 1, 1, 0, 0));
        assert_eq!(backup(None), (2, 0, 2, 0, 0));
    }
}
