//! What the user had forgotten (`forget`): nothing of it is stored again.
//!
//! `.state/forgotten/{ID}.json` is the tombstone of a conversation, or of messages of it. It is written, synced, before anything of the
//! conversation goes, under the session's lock, and asked for under that lock by whoever stores something: so a hook, a
//! sweep or a delivery that is under way meanwhile brings nothing back. It stays when all is gone.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::marks::Marks;
use super::store::Archive;
use super::types::{ArchiveError, Formatted};
use crate::fs::{self, Dir};
use crate::names::SessionId;

pub(super) const FOLDER: &str = ".state/forgotten";
const FORMAT: u32 = 1;
/// Longer than any version will make it.
const TOMBSTONE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// That a conversation was forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    format: u32,
    /// As it was typed or known; ids that differ in the case of letters alone may share a file.
    session_id: String,
    /// When it was asked for, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whether all of it is gone. Until then the same command goes on.
    pub is_finished: bool,
    /// Messages that were forgotten. None, where the whole conversation was.
    #[serde(default, skip_serializing_if = "Marks::is_empty")]
    pub marks: Marks,
}

/// A tombstone, or why it cannot be read.
type ById = (SessionId, Result<Forgotten, ArchiveError>);

impl Forgotten {
    /// A conversation that is forgotten from now on.
    pub fn new(id: &SessionId, at_ms: u64) -> Forgotten {
        Forgotten { format: FORMAT, session_id: id.to_string(), at_ms, is_finished: false, marks: Marks::default() }
    }
}

impl Forgotten {
    /// Whether all of the conversation was forgotten, and not messages of it.
    pub fn is_whole(&self) -> bool {
        self.marks.is_empty()
    }
}

impl Archive {
    /// Whether the user had a conversation forgotten. A tombstone that cannot be read is an error: what it says
    /// must not be stored, and what it does not say must not be lost.
    pub fn forgotten(&self, id: &SessionId) -> Result<Option<Forgotten>, ArchiveError> {
        let Some(dir) = self.tombstones()? else { return Ok(None) };
        let name = file_name(id);
        let Some(file) = dir.open_file(&name)? else { return Ok(None) };
        let path = dir.path().join(&name);
        let damaged = |what: &str| {
            let what = format!("{what}; remove it, and the conversation is backed up again");
            ArchiveError::damaged(&path, what)
        };
        let bytes = fs::stat_of(&file, &path)?.st_size as u64;
        if bytes > TOMBSTONE_BYTES_MAX {
            return Err(damaged("it is too large"));
        }
        let mut text = vec![0; bytes as usize];
        let came = fs::read_at(&file, 0, &mut text, &path)?;
        text.truncate(came);
        match serde_json::from_slice(&text) {
            Ok(Formatted { format }) if format > u64::from(FORMAT) => {
                return Err(ArchiveError::NewerFormat { path, format });
            }
            Ok(_) => {}
            Err(_) => return Err(damaged("it says nothing that is understood")),
        }
        let forgotten: Forgotten =
            serde_json::from_slice(&text).map_err(|_| damaged("it says nothing that is understood"))?;
        Ok(Some(forgotten).filter(|forgotten| forgotten.session_id == id.as_str()))
    }

    /// Whether the whole conversation was forgotten.
    pub fn is_forgotten(&self, id: &SessionId) -> Result<bool, ArchiveError> {
        Ok(self.forgotten(id)?.is_some_and(|forgotten| forgotten.is_whole()))
    }

    /// Their folder. What stands in its place and is none says of no conversation that it was forgotten: all go on to be
    /// saved, `status` tells of it, and the next `forget` puts it aside.
    fn tombstones(&self) -> Result<Option<Dir>, ArchiveError> {
        match self.root.open_beneath(Path::new(FOLDER)) {
            Err(error) if error.is_not_ours() => Ok(None),
            opened => Ok(opened?),
        }
    }

    /// Whether something stands in the place of the folder of what was forgotten that can be no folder of ours.
    pub fn has_lost_tombstones(&self) -> bool {
        matches!(self.root.open_beneath(Path::new(FOLDER)), Err(error) if error.is_not_ours())
    }

    /// The conversations of which anything was forgotten, by the names of the tombstones alone.
    pub fn forgotten_ids(&self) -> Result<BTreeSet<SessionId>, ArchiveError> {
        let mut ids = BTreeSet::new();
        if let Some(dir) = self.tombstones()? {
            dir.each_entry(&mut |name, _| {
                let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
                ids.extend(id.and_then(|id| SessionId::parse(id).ok()));
            })?;
        }
        Ok(ids)
    }

    /// Everything that was forgotten, by id. A tombstone that cannot be read fails by itself.
    pub fn all_forgotten(&self) -> Result<Vec<ById>, ArchiveError> {
        let ids = self.forgotten_ids()?;
        Ok(ids.into_iter().filter_map(|id| Some((id.clone(), self.forgotten(&id).transpose()?))).collect())
    }
}

pub(super) fn file_name(id: &SessionId) -> OsString {
    OsString::from(format!("{id}.json"))
}
