//! Finding the sessions of a store, and what is recorded of them.

use std::cell::LazyCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::ledger::{self, Ledger, StoredFile};
use super::paths::{
    COMPRESSED_ENDING, Form, SESSIONS, content_file_name, ledger_name, project_folder, session_folder, session_of_entry,
};
use super::rebuild_ledger::rebuild;
use super::seen::{Seen, SeenSession};
use super::store::{Archive, is_forbidden};
use super::types::{ArchiveError, SessionKey};
use crate::fs::Dir;
use crate::names::{FileName, ProjectName, SessionId, StoredName, copied_id, is_a_copy};

/// So many ledgers of one id are looked at: sources of one id are few, and each session asks for all of its id.
const OF_ONE_ID_MAX: usize = 256;

/// What was seen of the sessions of a store, and of which of them it holds.
type Holding<'a> = (&'a Seen, &'a mut [bool]);

/// The sessions of a store.
#[derive(Debug, Default)]
pub struct Looked {
    /// By project and id.
    pub sessions: Vec<SessionKey>,
    /// See [`Archive::look_by`].
    pub strangers: Vec<PathBuf>,
    seen: Seen,
    holds: Vec<bool>,
}

impl Looked {
    /// Whether a full look is due: many of them were never looked at, or long ago.
    pub fn is_full_look_due(&self) -> bool {
        self.seen.lacks_many_of(self.sessions.len() as u64)
    }

    /// What was seen of a session, if it still holds.
    pub fn seen(&self, key: &SessionKey) -> Option<SeenSession<'_>> {
        self.seen_of(&key.id).filter(|seen| seen.project() == key.project.as_str())
    }

    /// Whether what was seen of the one session with this id still holds.
    pub fn is_seen(&self, id: &str) -> bool {
        self.seen.only(id).is_some_and(|n| self.holds[n])
    }

    /// The same of the one session with this id.
    pub fn seen_of(&self, id: &SessionId) -> Option<SeenSession<'_>> {
        let n = self.seen.only(id.as_str()).filter(|n| self.holds[*n])?;
        self.seen.get(n)
    }
}

impl Archive {
    /// All sessions, by project and id. One that cannot be read is among them where anything tells of it; what
    /// another program copied within the store is not ([`Archive::look_by`]).
    pub fn sessions(&self) -> Result<Vec<SessionKey>, ArchiveError> {
        Ok(self.look_by(Seen::default())?.sessions)
    }

    /// [`Archive::sessions`] by what was seen of them; and what lies in the store and looks like ours, but is a copy of that
    /// under another name, which a sync service made (a *conflict copy*) or somebody: never a session of its own. Paths
    /// below the store, sorted; one that was put beside a ledger since the last full look is not among them.
    pub fn look_by(&self, seen: Seen) -> Result<Looked, ArchiveError> {
        let (mut strangers, mut holds) = (BTreeSet::new(), vec![false; seen.len()]);
        let sessions = self.look((&seen, &mut holds), &mut |path| {
            strangers.insert(path);
        })?;
        Ok(Looked { sessions, strangers: strangers.into_iter().collect(), seen, holds })
    }

    /// Every session, by project and id; `stranger` is given what only looks like one.
    fn look(&self, seen: Holding<'_>, stranger: &mut dyn FnMut(PathBuf)) -> Result<Vec<SessionKey>, ArchiveError> {
        let folders = self.project_folders()?;
        let recorded = self.all_recorded(&folders, seen, stranger)?;
        let by_id = LazyCell::new(|| {
            let mut by_id: HashMap<&SessionId, Vec<&SessionKey>> = HashMap::new();
            recorded.iter().for_each(|key| by_id.entry(&key.id).or_default().push(key));
            by_id
        });
        // Where the recorded one is gone, the other may be all that is left. What cannot be looked at is told elsewhere.
        let is_there = |id: &SessionId| {
            let keys = by_id.get(id).into_iter().flatten();
            keys.into_iter().any(|key| self.has_content(key).unwrap_or(true))
        };
        let (is_store, mut unrecorded) = (self.has_store_file()?, Vec::new());
        for (project, dir) in folders {
            let from = recorded.partition_point(|key| key.project < project);
            let known: HashSet<&str> =
                recorded[from..].iter().take_while(|key| key.project == project).map(|key| key.id.as_str()).collect();
            let mut entries = Vec::new();
            let listed = dir.each_entry(&mut |entry, kind| {
                if !plain_id(entry, kind).is_some_and(|id| known.contains(id)) {
                    entries.push((entry.to_owned(), kind));
                }
            });
            match listed {
                Err(error) if is_forbidden(&error) => continue,
                listed => listed?,
            }
            let known = |id: &SessionId| known.contains(id.as_str());
            for (entry, kind) in entries {
                let session = session_of_entry(&entry, kind);
                let is_strange = match &session {
                    Some(id) if known(id) => continue,
                    // Nobody recorded it. Of what is recorded elsewhere, or under a shorter id, it is a copy.
                    Some(id) => {
                        let is_elsewhere = || by_id.contains_key(id) && !is_numbered(&project) && is_there(id);
                        let is_longer =
                            || copied_id(id, &|other| by_id.contains_key(other)).is_some_and(|of| is_there(&of));
                        is_store && (is_elsewhere() || is_longer())
                    }
                    None => {
                        let is_beside = |of: &dyn Fn(&SessionId) -> bool| is_copy_beside(&entry, of);
                        is_store && is_beside(&known) && is_beside(&|id| known(id) && is_there(id))
                    }
                };
                if is_strange {
                    stranger(Path::new(project.as_str()).join(entry));
                } else {
                    unrecorded.extend(session.map(|id| SessionKey { project: project.clone(), id }));
                }
            }
        }
        drop(by_id);
        Ok(in_order(recorded, unrecorded))
    }

    /// The sessions that have a ledger of their own, by project and id.
    fn all_recorded(
        &self,
        folders: &[(ProjectName, Dir)],
        (seen, holds): Holding<'_>,
        stranger: &mut dyn FnMut(PathBuf),
    ) -> Result<Vec<SessionKey>, ArchiveError> {
        let sessions = match self.root.open_beneath(Path::new(SESSIONS)) {
            Err(error) if error.is_not_ours() => return Ok(Vec::new()),
            sessions => sessions?,
        };
        let Some(sessions) = sessions else { return Ok(Vec::new()) };
        let names: HashMap<&str, usize> =
            folders.iter().enumerate().map(|(nth, (name, _))| (name.as_str(), nth)).collect();
        let has_folder = |key: &SessionKey| Ok(names.contains_key(key.project.as_str()));
        let entries = sessions.entries()?;
        let is_entry = |id: &str| entries.binary_search_by(|(name, _)| name.as_os_str().cmp(OsStr::new(id))).is_ok();
        // Of each folder in the order of their ids; those of others.
        let (mut seen_in, mut others_own) = (vec![Vec::new(); folders.len()], Vec::new());
        for (entry, _) in &entries {
            let text = entry.to_string_lossy();
            if let Some(n) = seen.only(&text)
                && let Some(nth) = seen.holding(n, &sessions).and_then(|project| names.get(project))
                && let Ok(id) = SessionId::parse(&text)
            {
                holds[n] = true;
                seen_in[*nth].push(SessionKey { project: folders[*nth].0.clone(), id });
                continue;
            }
            let Ok(id) = SessionId::parse(&text) else {
                if is_a_copy(&text, &is_entry) {
                    stranger(Path::new(SESSIONS).join(entry));
                }
                continue;
            };
            let state = match sessions.open_beneath(Path::new(entry)) {
                Ok(Some(state)) => state,
                Ok(None) => continue,
                // A file or a link where a folder of ours would be: nothing is recorded there.
                Err(error) if is_forbidden(&error) || error.is_not_ours() => continue,
                Err(error) => return Err(error.into()),
            };
            let is_copied = copied_id(&id, &|other| is_entry(other.as_str())).is_some();
            match self.own_ledgers(&state, &id, is_copied, &has_folder) {
                Ok((own, others)) => {
                    others_own.extend(own);
                    others.iter().for_each(|key| stranger(session_folder(&id).join(ledger_name(key))));
                }
                Err(ArchiveError::Durable(error)) if is_forbidden(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(in_order(seen_in.into_iter().flatten().collect(), others_own))
    }

    /// Of the ledgers in the folder of `id` those that are its own, and those that are copies of one under another
    /// name. A ledger says whose it is; one of the version before does not, and is believed where something of the
    /// session lies in the folder that it names, or nowhere at all.
    fn own_ledgers(
        &self,
        state: &Dir,
        id: &SessionId,
        is_copied: bool,
        has_folder: &dyn Fn(&SessionKey) -> Result<bool, ArchiveError>,
    ) -> Result<(Vec<SessionKey>, Vec<SessionKey>), ArchiveError> {
        let (all, beyond) = self.few_of(ledger::keys_in(state, id)?);
        if let [only] = &all[..]
            && !is_copied
            && has_folder(only)?
        {
            return Ok((all, beyond));
        }
        let (mut own, mut others, mut unsaid) = (Vec::new(), beyond, Vec::new());
        for key in &all {
            let key = key.clone();
            match Ledger::said_to_be_of(state, &key) {
                Some(said) if said == key => own.push(key),
                // Renamed with its folder, and none is left under the name that it says.
                Some(said) if said.id == key.id && !all.contains(&said) && self.has_content(&key)? => own.push(key),
                Some(_) => others.push(key),
                None if self.has_content(&key)? => own.push(key),
                None => unsaid.push(key),
            }
        }
        let is_somewhere = !own.is_empty() || is_copied || (!unsaid.is_empty() && !self.lying_about(id)?.is_empty());
        if is_somewhere {
            others.extend(unsaid)
        } else {
            own.extend(unsaid)
        }
        own.sort();
        Ok((own, others))
    }

    /// As many of the ledgers of one id as are looked at, and the rest: of too many those that something is stored for.
    fn few_of(&self, keys: Vec<SessionKey>) -> (Vec<SessionKey>, Vec<SessionKey>) {
        if keys.len() <= OF_ONE_ID_MAX {
            return (keys, Vec::new());
        }
        let mut left = OF_ONE_ID_MAX;
        let (mut few, mut rest) = keys.into_iter().partition::<Vec<_>, _>(|key| {
            let is_one = left > 0 && self.has_content(key).unwrap_or(true);
            left -= usize::from(is_one);
            is_one
        });
        if few.is_empty() {
            few = rest.drain(..OF_ONE_ID_MAX).collect();
        }
        (few, rest)
    }

    /// Whether a transcript's content of the session lies in its folder, or the folder of its side files.
    fn has_content(&self, key: &SessionKey) -> Result<bool, ArchiveError> {
        match self.root.open_beneath(project_folder(key)) {
            Ok(Some(dir)) => Ok(holds_content(&dir, key)? || dir.stat(OsStr::new(key.id.as_str()))?.is_some()),
            Ok(None) => Ok(false),
            Err(error) if is_forbidden(&error) || error.is_not_ours() => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether what lies in the folder of `key` was moved there: nobody recorded it, and of a session of its id that is
    /// recorded in another folder nothing is there. That one gets it back by [`Archive::repair`]; until then nobody takes
    /// it for a session of its own.
    pub fn is_moved(&self, key: &SessionKey) -> Result<bool, ArchiveError> {
        if !self.is_recorded_elsewhere(key)? {
            return Ok(false);
        }
        let recorded = self.recorded(&key.id)?;
        Ok(!recorded.iter().any(|other| self.has_content(other).unwrap_or(true)))
    }

    /// Whether nobody recorded the session, and one of its id in another folder is recorded.
    pub(super) fn is_recorded_elsewhere(&self, key: &SessionKey) -> Result<bool, ArchiveError> {
        let has_ledger = self.stat(&session_folder(&key.id).join(ledger_name(key)))?.is_some();
        Ok(!has_ledger && !self.recorded(&key.id)?.is_empty())
    }

    /// Whether a content of the session lies where it belongs.
    pub fn stands(&self, key: &SessionKey) -> Result<bool, ArchiveError> {
        Ok(self.has_content(key)? && !self.is_moved(key)?)
    }

    /// One session, or all.
    pub(super) fn those_or_all(&self, only: Option<&SessionKey>) -> Result<Vec<SessionKey>, ArchiveError> {
        only.map_or_else(|| self.sessions(), |key| Ok(vec![key.clone()]))
    }

    /// The sessions with this id that the bookkeeping knows: those whose source is known are among them.
    pub fn recorded(&self, id: &SessionId) -> Result<Vec<SessionKey>, ArchiveError> {
        let Some(state) = self.state_of(id)? else { return Ok(Vec::new()) };
        let has_folder = |key: &SessionKey| Ok(self.root.stat(OsStr::new(key.project.as_str()))?.is_some());
        Ok(self.own_ledgers(&state, id, self.is_copied(id)?, &has_folder)?.0)
    }

    /// Whether the store has something of a session whose id this one's may be a copy's of.
    fn is_copied(&self, id: &SessionId) -> Result<bool, ArchiveError> {
        let has = |other: &SessionId| self.stat(&session_folder(other)).is_ok_and(|stat| stat.is_some());
        Ok(copied_id(id, &has).is_some())
    }

    /// The sessions with this id; more than one only when two sources bore it.
    pub fn find(&self, id: &SessionId) -> Result<Vec<SessionKey>, ArchiveError> {
        let keys = self.recorded(id)?;
        if keys.is_empty() { self.find_without_ledger(id) } else { Ok(keys) }
    }

    pub(super) fn find_without_ledger(&self, id: &SessionId) -> Result<Vec<SessionKey>, ArchiveError> {
        if self.is_copied(id)? && self.has_store_file()? {
            return Ok(Vec::new());
        }
        self.lying_about(id)
    }

    /// The sessions with this id of which a content of the transcript lies in the folder of some project.
    pub(super) fn lying_about(&self, id: &SessionId) -> Result<Vec<SessionKey>, ArchiveError> {
        let mut keys = Vec::new();
        for (project, dir) in self.project_folders()? {
            let key = SessionKey { project, id: id.clone() };
            // Every folder is looked at for every session that is new, so each is opened once.
            if holds_content(&dir, &key)? {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// The stored session whose recorded source is `transcript`, else the session of that id if it is the only one.
    pub fn session_of(&self, id: &SessionId, transcript: &Path) -> Result<Option<SessionKey>, ArchiveError> {
        self.session_among(self.find(id)?, transcript)
    }

    /// [`Archive::session_of`] of these, which bear its id.
    pub(super) fn session_among(
        &self,
        known: Vec<SessionKey>,
        transcript: &Path,
    ) -> Result<Option<SessionKey>, ArchiveError> {
        for key in &known {
            if self.source_of(key)?.as_deref() == Some(transcript) {
                return Ok(Some(key.clone()));
            }
        }
        Ok(if known.len() == 1 { known.into_iter().next() } else { None })
    }

    /// Everything committed of a session: newest contents and older generations, transcript first.
    /// Where the bookkeeping is lost or damaged, what lies on the disk is hashed and given as unverified.
    pub fn files(&self, key: &SessionKey) -> Result<Vec<StoredFile>, ArchiveError> {
        let mut ledger = self.ledger(key)?;
        if ledger.is_empty() || ledger.is_damaged {
            rebuild(self, key, &mut ledger)?;
        }
        Ok(ledger.stored_files(key))
    }

    /// The transcript that the session was last copied from.
    pub fn source_of(&self, key: &SessionKey) -> Result<Option<PathBuf>, ArchiveError> {
        Ok(self.ledger(key)?.source)
    }
}

fn holds_content(dir: &Dir, key: &SessionKey) -> Result<bool, ArchiveError> {
    let first = StoredName { file: FileName::Transcript, generation: 1 };
    for name in [StoredName::newest(FileName::Transcript), first] {
        for form in [Form::Plain, Form::Compressed] {
            if dir.stat(&content_file_name(key, &name, form))?.is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Both by project and id, each once; the first are so already.
fn in_order(mut keys: Vec<SessionKey>, mut others: Vec<SessionKey>) -> Vec<SessionKey> {
    if !others.is_empty() {
        keys.append(&mut others);
        keys.sort();
        keys.dedup();
    }
    keys
}

/// The id in a plain name of what is stored of a session, if it is one: its newest transcript's, its folder's, or its
/// metadata's.
fn plain_id(entry: &OsStr, kind: FileType) -> Option<&str> {
    let text = entry.to_str()?;
    match kind {
        FileType::RegularFile => {
            let transcript = text.strip_suffix(COMPRESSED_ENDING).unwrap_or(text).strip_suffix(".jsonl");
            transcript.or_else(|| text.strip_suffix(".json"))
        }
        FileType::Directory => Some(text),
        _ => None,
    }
}

/// Whether a project's folder bears a number that we give: `{PROJECT}~2`.
fn is_numbered(project: &ProjectName) -> bool {
    let number = project.as_str().rsplit_once('~').map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether an entry of a project's folder, which is no content, is a copy of something of a recorded session.
fn is_copy_beside(entry: &OsStr, is_recorded: &dyn Fn(&SessionId) -> bool) -> bool {
    let text = entry.to_string_lossy();
    let id_of = |name: &str| {
        let stem = [".jsonl.zst", ".jsonl", ".json"].iter().find_map(|ending| name.strip_suffix(ending));
        let stem = stem.unwrap_or(name);
        SessionId::parse(stem.split_once(".gen-").map_or(stem, |(id, _)| id)).ok()
    };
    let is_known = |name: &str| id_of(name).is_some_and(|id| is_recorded(&id));
    let is_ours = |rest: &str| {
        rest == ".json" || rest == ".events.jsonl" || rest == ".jsonl.official" || rest.starts_with(".found")
    };
    let is_own =
        text.char_indices().filter(|(_, c)| *c == '.').any(|(at, _)| is_known(&text[..at]) && is_ours(&text[at..]));
    !is_own && is_a_copy(&text, &is_known)
}
