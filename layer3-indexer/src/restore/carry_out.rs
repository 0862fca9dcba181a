//! Carrying a plan out: what stands in the way is saved, the transcript comes first, and no side file stops another.

use std::collections::BTreeMap;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use layer1_prebackup::archive::{Archive, Compare, SaveRequest, SessionKey};
use layer1_prebackup::claude::transcripts;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs::{self, Dir, Existing};
use layer1_prebackup::names::{FileName, LAYER1, LAYER3, typed};

use crate::failure::{Context, Failure};
use crate::restore::plan::{Plan, Standing, Step};
use crate::restore::types::Restored;
use crate::save::roots::RootKind;
use crate::save::{self, Answer, LogSink};
use crate::stores::acknowledged::{self, Seen};
use crate::stores::{Chosen, Layer, SessionCopies, Stores, Which};

impl Plan {
    /// Writes what is not in place yet. When it fails, what was written stays: it is right. The transcript comes first:
    /// without it nothing is restored, and a side file that cannot be written is a problem that is told.
    /// What is replaced was saved to layer 3's store before.
    pub(crate) fn carry_out(mut self, places: &Places) -> Result<Restored, Failure> {
        let replaces = self.work.steps.iter().any(|step| step.standing == Standing::Different);
        if replaces {
            self.save_what_stands(places)?;
        }
        let mut folders = BTreeMap::new();
        let mut written = 0;
        for step in std::mem::take(&mut self.work.steps) {
            match self.write(&step, replaces, &mut folders) {
                Ok(is_new) => {
                    written += usize::from(is_new);
                    self.work.steps.push(step);
                }
                Err(why) if step.stored.name.file == FileName::Transcript => return Err(why),
                Err(why) => self.work.problems.push(format!("{} was left out: failed to {why}", step.rel.display())),
            }
        }
        // A restore that was killed, or whose sync failed, may have made them, or put files there, and no more.
        folders.values().try_for_each(Dir::sync_way_up)?;
        if self.command.is_some()
            && let Err(why) = self.count_as_saved(places)
        {
            self.work.notes.push(format!(
                "it is restored, and the copies could not be told of it: {why}; `{}` and `{}` do that",
                typed(LAYER1, "sweep"),
                typed(LAYER3, "import")
            ));
        }
        Ok(self.outcome(written))
    }

    /// Brings one file to its place; whether it was written, and did not stand there.
    fn write(&mut self, step: &Step, replaces: bool, folders: &mut BTreeMap<PathBuf, Dir>) -> Result<bool, Failure> {
        // Makes the folders without following a symlink below the root.
        let folder = Dir::create(&step.root)?.create_beneath(step.rel.parent().unwrap_or(Path::new("")))?;
        let folder = folders.entry(folder.path().to_owned()).or_insert(folder);
        let name = step.rel.file_name().unwrap_or_default();
        let to = folder.path().join(name);
        if step.standing == Standing::Kept {
            // Claude Code sweeps files away by their age, each by itself.
            if let Some(file) = folder.open_file(name)? {
                if let Err(error) = file.set_modified(SystemTime::now()) {
                    let path = step.root.join(&step.rel);
                    self.work.notes.push(format!("{} keeps its old time: {error}", path.display()));
                }
                // Whoever put it there may not have synced it.
                fs::sync_data(&file, &to)?;
            }
            return Ok(false);
        }
        let mut file = match &step.made {
            Some(made) => {
                let rewound = || made.try_clone().and_then(|mut file| file.rewind().map(|()| file));
                rewound().context("read what was joined")?
            }
            None if replaces => self.stores.find_again(&step.stored)?,
            None => self.stores.reopen(&step.stored)?,
        };
        let existing = match step.standing {
            Standing::Different => Existing::Replaced,
            _ => Existing::Refused,
        };
        match fs::copy_file(&mut file, &to, step.stored.bytes, &step.stored.blake3, existing) {
            // Another restore was faster, and wrote the same.
            Err(error) if error.source.kind() == io::ErrorKind::AlreadyExists && is_same(&to, &step.stored)? => {
                Ok(false)
            }
            copied => Ok(copied.map(|()| true)?),
        }
    }

    /// Tells the stores what stands below Claude Code's directory now. Who asked for an older version knows what the
    /// newest one had beside it.
    fn count_as_saved(&self, places: &Places) -> Result<(), Failure> {
        let copies = SessionCopies::of(&self.stores, &self.key)?;
        if copies.is_unproven() {
            // A copy that nothing proves must not be proven by what came from it.
            return Ok(());
        }
        save_in_both(places, &copies, &self.root.join(&self.transcript))?;
        let Some(archive) = Archive::open(&places.layer3_store)? else { return Ok(()) };
        acknowledged::is_back(&archive, &self.key)?;
        if matches!(self.content, Which::Generation(1..) | Which::Longest) {
            let copies = SessionCopies::of(&Rc::new(Stores::open(places)?), &self.key)?;
            acknowledged::acknowledge(&archive, [(&copies, Seen::Loss)])?;
        }
        Ok(())
    }

    /// Nothing is replaced that layer 3 does not hold: transcript and side files, read back.
    fn save_what_stands(&self, places: &Places) -> Result<(), Failure> {
        let id = &self.key.id;
        let unsaved = |why: String| {
            Failure::new(format!("restore session {id}: what stands there could not be saved first: {why}"))
        };
        let transcript = self.root.join(&self.transcript);
        let answer = save_to_layer3(places, &self.key, &transcript, save::TRIGGER_BEFORE_RESTORE);
        match answer.map_err(|error| unsaved(error.to_string()))? {
            Answer::Receipt(_) => {}
            Answer::Skipped(skipped) => return Err(unsaved(skipped.reason)),
        }
        let archive = Archive::open(&places.layer3_store)?.ok_or_else(|| unsaved("there is no store".to_owned()))?;
        for step in self.work.steps.iter().filter(|step| step.standing == Standing::Different) {
            let path = step.root.join(&step.rel);
            let file =
                transcripts::open_regular(&path)?.ok_or_else(|| unsaved(format!("{} is gone", path.display())))?;
            let bytes = fs::stat_of(&file, &path)?.st_size as u64;
            let hash = fs::hash_of_prefix(&file, bytes, &path)?;
            let mut covered = false;
            for key in archive.find(&self.key.id)? {
                covered = covered || archive.covers(&key, &step.stored.name.file, bytes, &hash)?;
            }
            if !covered {
                return Err(unsaved(format!("{} is not in the store", path.display())));
            }
        }
        Ok(())
    }
}

/// Saves a transcript that stands below Claude Code's directory in each store that is there: nobody is to be told that
/// what came from a copy has none, and an older content that was restored is the newest again.
pub(super) fn save_in_both(places: &Places, copies: &SessionCopies, transcript: &Path) -> Result<(), Failure> {
    if places.policy.exclude.is_excluded(transcript, None) {
        return Ok(());
    }
    let id = &copies.key.id;
    if let Some(archive) = Archive::open(&places.layer1_store)? {
        let project = copies.key_in(Layer::One).map(|key| &key.project);
        let (compare, progress) = (Compare::Windows, &|_| {});
        let request = SaveRequest { id, transcript, project, cwd: None, compare, progress };
        let report = archive.leaving_free(places.policy.free_space_floor).save(&request)?;
        report.problems.into_iter().next().map_or(Ok(()), Err)?;
    }
    if Archive::open(&places.layer3_store)?.is_some() {
        save_to_layer3(places, &copies.key, transcript, save::TRIGGER_RESTORE)?;
    }
    Ok(())
}

/// Saves what stands there in the session's own folder, whatever other sources of this id there are.
fn save_to_layer3(places: &Places, key: &SessionKey, transcript: &Path, trigger: &str) -> Result<Answer, Failure> {
    // This layer records each source under one spelling.
    // A project's folder may be a link, and is recorded as it is called below `projects/`.
    let below = transcript.parent().and_then(|folder| Some((folder.parent()?, folder.file_name()?)));
    let resolved = below.and_then(|(root, slug)| Some(std::fs::canonicalize(root).ok()?.join(slug)));
    let transcript = resolved.map_or(transcript.to_owned(), |folder| folder.join(format!("{}.jsonl", key.id)));
    let request = save::Request {
        trigger: Some(trigger),
        project: Some(&key.project),
        ..save::Request::of(&key.id, &transcript, RootKind::Claude)
    };
    save::save(places, &LogSink::new(places, false), &request, &|_| {})
}

fn is_same(path: &Path, stored: &Chosen) -> Result<bool, Failure> {
    let Some(file) = transcripts::open_regular(path)? else { return Ok(false) };
    let is_as_long = fs::stat_of(&file, path)?.st_size as u64 == stored.bytes;
    Ok(is_as_long && fs::hash_of_prefix(&file, stored.bytes, path)? == stored.blake3)
}
