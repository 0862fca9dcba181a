//! What a person has seen and lets be: conversations that lost something, and those that were deleted on purpose.
//!
//! It stands in layer 3's store as what was there to be seen, so that the next loss is news again. It is the user's
//! word and can be made again by nobody.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use layer1_prebackup::archive::{Archive, ArchiveError, SessionKey};
use layer1_prebackup::fs::{self, Lock};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::stores::SessionCopies;

const FORMAT: u32 = 1;
const FILE: &str = ".state/acknowledged.json";
const LOCK: &str = "acknowledged.lock";
/// A hundred thousand conversations take less.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What was acknowledged, by `project/id`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acknowledged {
    format: u32,
    /// Older contents whose loss was seen.
    losses: BTreeMap<String, Vec<String>>,
    /// The newest content of a conversation that Claude Code no longer has.
    gone: BTreeMap<String, String>,
}

impl Acknowledged {
    /// What is acknowledged; nothing where that cannot be read: better told twice than never.
    pub(crate) fn read(layer3: Option<&Archive>) -> Acknowledged {
        layer3.and_then(|layer3| Acknowledged::all(layer3).ok()).unwrap_or_default()
    }

    /// What is acknowledged, for whoever writes it again with more: what cannot be read would be lost by that.
    fn all(layer3: &Archive) -> Result<Acknowledged, Failure> {
        let path = layer3.root().join(FILE);
        let Some(text) = fs::read_own(layer3.root(), Path::new(FILE), FILE_BYTES_MAX)? else {
            return Ok(Acknowledged { format: FORMAT, ..Acknowledged::default() });
        };
        let reading = || format!("read what was acknowledged in {}", path.display());
        let damaged = |error: serde_json::Error| {
            let why = format!("{}: {error}", reading());
            Failure::new(why).hint("move that file away, and run this again")
        };
        let all: serde_json::Value = serde_json::from_slice(&text).map_err(damaged)?;
        match all["format"].as_u64() {
            Some(format) if format > u64::from(FORMAT) => Err(ArchiveError::NewerFormat { path, format }.into()),
            _ => serde_json::from_value(all).map_err(damaged),
        }
    }

    fn write(&self, layer3: &Archive) -> Result<(), Failure> {
        // Strings in maps: this cannot fail.
        let text = serde_json::to_vec_pretty(self).expect("it serialises");
        Ok(fs::replace_own(layer3.root(), Path::new(FILE), &text)?)
    }

    /// Whether it was ever seen that Claude Code no longer has the session.
    pub(crate) fn knows_gone(&self, key: &SessionKey) -> bool {
        self.gone.contains_key(&name(key))
    }

    /// Whether it was seen that Claude Code no longer has the session as it is stored now.
    pub(crate) fn is_gone(&self, copies: &SessionCopies) -> bool {
        self.gone.get(&name(&copies.key)).is_some_and(|mark| Some(mark) == copies.newest_mark().as_ref())
    }

    fn has_seen(&self, key: &SessionKey, older: &[String]) -> bool {
        let Some(seen) = self.losses.get(&name(key)) else { return false };
        // A content that was lost, restored and lost again is there twice, and was seen once.
        let count = |marks: &[String], mark: &String| marks.iter().filter(|other| *other == mark).count();
        older.iter().all(|mark| count(older, mark) <= count(seen, mark))
    }

    /// Whether one thing was seen that Claude Code no longer has of a conversation or of a project's memory.
    pub(super) fn has_seen_one(&self, key: &SessionKey, mark: &str) -> bool {
        self.losses.get(&name(key)).is_some_and(|seen| seen.iter().any(|other| other == mark))
    }
}

/// Whether what the session's newest content lost was seen.
pub(super) fn is_loss(copies: &SessionCopies) -> bool {
    Acknowledged::read(copies.layer3_store()).has_seen(&copies.key, &copies.older_marks())
}

/// The same of a side file.
pub(super) fn is_side_loss(copies: &SessionCopies, rel: &Path) -> bool {
    Acknowledged::read(copies.layer3_store()).has_seen(&copies.key, &copies.side_marks(rel))
}

/// Whether it was seen that one of the session's files is gone.
pub(super) fn is_mark_seen(copies: &SessionCopies, mark: &str) -> bool {
    Acknowledged::read(copies.layer3_store()).has_seen_one(&copies.key, mark)
}

/// What a person has seen of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// What it lost.
    Loss,
    /// That, and that Claude Code no longer has it.
    Gone,
}

/// Notes durably what a person has seen of these sessions. Where earlier notes cannot be read it fails, and they stay.
pub(crate) fn acknowledge<'a>(
    layer3: &Archive,
    sessions: impl IntoIterator<Item = (&'a SessionCopies, Seen)>,
) -> Result<(), Failure> {
    let _lock = Lock::wait_in(&layer3.state()?, OsStr::new(LOCK))?;
    let mut all = Acknowledged::all(layer3)?;
    for (copies, seen) in sessions {
        let mut older = copies.older_marks();
        older.extend(copies.all_side_marks());
        if !older.is_empty() {
            all.losses.insert(name(&copies.key), older);
        }
        if seen == Seen::Gone {
            all.gone.extend(copies.newest_mark().map(|mark| (name(&copies.key), mark)));
        }
    }
    all.write(layer3)
}

/// The same of memories: what each lost, by the marks of what was there to be seen.
pub(crate) fn acknowledge_memories<'a>(
    layer3: &Archive,
    memories: impl IntoIterator<Item = (&'a SessionKey, &'a [String])>,
) -> Result<(), Failure> {
    let _lock = Lock::wait_in(&layer3.state()?, OsStr::new(LOCK))?;
    let mut all = Acknowledged::all(layer3)?;
    for (key, marks) in memories {
        let seen = all.losses.entry(name(key)).or_default();
        let news: Vec<String> = marks.iter().filter(|mark| !seen.contains(mark)).cloned().collect();
        seen.extend(news);
    }
    all.write(layer3)
}

/// Takes back that a session may be gone: it is there again, and when Claude Code loses it once more that is news.
pub(crate) fn is_back(layer3: &Archive, key: &SessionKey) -> Result<(), Failure> {
    if !Acknowledged::all(layer3)?.gone.contains_key(&name(key)) {
        return Ok(());
    }
    let _lock = Lock::wait_in(&layer3.state()?, OsStr::new(LOCK))?;
    let mut all = Acknowledged::all(layer3)?;
    all.gone.remove(&name(key));
    all.write(layer3)
}

/// Takes back all that was seen of a session: nothing of it is there any more.
pub(crate) fn forget(layer3: &Archive, key: &SessionKey) -> Result<(), Failure> {
    let is_in = |all: &Acknowledged| all.gone.contains_key(&name(key)) || all.losses.contains_key(&name(key));
    if !is_in(&Acknowledged::all(layer3)?) {
        return Ok(());
    }
    let _lock = Lock::wait(&layer3.root().join(LOCK))?;
    let mut all = Acknowledged::all(layer3)?;
    all.gone.remove(&name(key));
    all.losses.remove(&name(key));
    // As above.
    let text = serde_json::to_vec_pretty(&all).expect("it serialises");
    Ok(fs::replace_file(&layer3.root().join(FILE), &text)?)
}

fn name(key: &SessionKey) -> String {
    format!("{}/{}", key.project, key.id)
}
