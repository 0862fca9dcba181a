//! Bringing back everything that the sources lost: transcripts that are gone from below
//! `projects/`, and side files that are gone while their transcript is there.
//!
//! What stands there is never touched, whatever it is, and one session that cannot be restored
//! does not stop the others.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::claude::side_files::{BESIDE, place_of};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::{FileName, LAYER3, typed};
use serde::Serialize;

use crate::failure::{Failure, Kind};
use crate::restore::place::standing;
use crate::restore::plan::plan_for;
use crate::restore::types::{Options, Restored};
use crate::save::roots::{all_resolved_projects, is_same_path};
use crate::scope::{self, Scope};
use crate::stores::{SessionCopies, Stores};

/// What is to be brought back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Which sessions.
    pub(crate) scope: Scope,
    /// Which contents, and what moved. What stands there is left as it is in any case.
    pub(crate) options: Options,
    /// Only tell.
    pub(crate) dry_run: bool,
}

/// What was brought back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    /// Sessions of which something was restored.
    pub(crate) restored: Vec<Restored>,
    /// Sessions of which nothing was missing.
    pub(crate) in_place: usize,
    /// Sessions that were not restored.
    pub(crate) refused: Vec<Refused>,
    /// What to know about which sessions were meant; mostly empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

/// A session that was not restored, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Refused {
    /// The session.
    pub(crate) session_id: String,
    /// Its folder in the store.
    pub(crate) project: String,
    /// Why.
    pub(crate) error: String,
}

/// Where a session's transcript is.
pub(super) enum State {
    /// It is there, at this path.
    Stands(PathBuf),
    Gone,
}

/// Restores what is missing of every stored session; `progress` is told the sessions done and
/// their number.
pub(crate) fn restore_missing(
    places: &Places,
    wanted: &Wanted,
    progress: &dyn Fn(usize, usize),
) -> Result<Summary, Failure> {
    let stores = Rc::new(Stores::open(places)?);
    let keys = by_last_save(&stores)?;
    let meant = scope::meant(&wanted.scope, &scope::whereabouts(&stores, &keys));
    let keys = meant.chosen(keys);
    let mut summary = Summary { notes: meant.notes, ..Summary::default() };
    for (done, key) in keys.iter().enumerate() {
        progress(done, keys.len());
        match restore_one(places, key, wanted) {
            Ok(None) => summary.in_place += 1,
            Ok(Some(restored)) => {
                for problem in &restored.problems {
                    summary.refused.push(Refused::new(key, problem.clone()));
                }
                if restored.files_written > 0 {
                    summary.restored.push(restored);
                }
            }
            Err(error) => summary.refused.push(Refused::new(key, error.to_string())),
        }
    }
    progress(keys.len(), keys.len());
    Ok(summary)
}

impl Refused {
    fn new(key: &SessionKey, error: String) -> Refused {
        Refused { session_id: key.id.to_string(), project: key.project.to_string(), error }
    }
}

/// Of two sessions of one id the one that was saved last comes first: only one has room.
fn by_last_save(stores: &Rc<Stores>) -> Result<Vec<SessionKey>, Failure> {
    let mut keys = stores.sessions()?;
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    let is_twin = |at: usize| {
        let id = |at: Option<usize>| at.and_then(|at| keys.get(at)).map(|key| &key.id);
        [at.checked_sub(1), at.checked_add(1)].into_iter().any(|other| id(other) == Some(&keys[at].id))
    };
    let mut ordered = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        let last = match is_twin(at) {
            true => SessionCopies::of(stores, key)?.committed_ms(),
            false => 0,
        };
        ordered.push((key.id.clone(), Reverse(last), key.clone()));
    }
    ordered.sort();
    Ok(ordered.into_iter().map(|(_, _, key)| key).collect())
}

/// `None` if nothing of it is missing.
fn restore_one(places: &Places, key: &SessionKey, wanted: &Wanted) -> Result<Option<Restored>, Failure> {
    let stores = Rc::new(Stores::open(places)?);
    let copies = SessionCopies::of(&stores, key)?;
    let state = state(places, &stores, key, &copies)?;
    if let State::Stands(path) = &state
        && !lacks_side_files(path, &copies)
    {
        return Ok(None);
    }
    let options = Options { only_absent: true, to: None, force: false, ..wanted.options.clone() };
    let plan = match (plan_for(places, stores, key.clone(), &options), state) {
        // A running client may have its reasons for what it deleted of its own session.
        (Err(failure), State::Stands(_)) if failure.is(Kind::Live) => return Ok(None),
        (plan, _) => plan?,
    };
    let restored = if wanted.dry_run { plan.dry_run() } else { plan.carry_out(places)? };
    Ok(Some(restored))
}

/// Whether the session's own transcript is where it was copied from, or anywhere below `projects/`. What stands in
/// another configuration directory, of another home for instance, is none of this one's.
pub(super) fn state(
    places: &Places,
    stores: &Rc<Stores>,
    key: &SessionKey,
    copies: &SessionCopies,
) -> Result<State, Failure> {
    let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    let projects = all_resolved_projects(places);
    let is_ours = |source: &Path| is_file(source) && projects.iter().any(|projects| is_below(source, projects));
    if let Some(source) = copies.sources().find(|source| is_ours(source)) {
        return Ok(State::Stands(source.to_owned()));
    }
    let Some(path) = standing(places, &key.id)? else { return Ok(State::Gone) };
    for twin in stores.sessions()?.into_iter().filter(|other| other.id == key.id && other != key) {
        if SessionCopies::of(stores, &twin)?.sources().any(|source| is_same_path(source, &path)) {
            let (id, project, path) = (&key.id, &key.project, path.display());
            let message =
                format!("restore session {id} of project {project}: another session of this id stands at {path}");
            let restore = typed(LAYER3, &format!("restore {project}/{id} --to DIR"));
            return Err(Failure::new(message).hint(format!("`{restore}` puts this one elsewhere")));
        }
    }
    Ok(State::Stands(path))
}

/// Whether a transcript is one of this folder's.
fn is_below(transcript: &Path, projects: &Path) -> bool {
    transcript.parent().and_then(Path::parent).is_some_and(|folder| is_same_path(folder, projects))
}

fn lacks_side_files(transcript: &Path, copies: &SessionCopies) -> bool {
    // What lay beside it Claude Code and the user clear away by themselves.
    let is_gone = |side: PathBuf| {
        let is_beside = side.starts_with(BESIDE);
        let (folder, below) = place_of(transcript, &copies.key.id, &FileName::Side(side));
        !is_beside && folder.join(below).symlink_metadata().is_err()
    };
    copies.side_files().into_iter().any(is_gone)
}
