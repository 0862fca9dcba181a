//! How things stand: the store, the index, and what is not yet saved.

use std::path::PathBuf;

use layer1_prebackup::archive::Archive;
use layer1_prebackup::places::Places;
use layer1_prebackup::source;
use serde::Serialize;

use crate::error::{Error, chain};
use crate::index::Index;
use crate::roots::resolved_projects;
use crate::time::format_rfc3339_ms;

/// The state of this layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Layer 3's store.
    pub store: PathBuf,
    /// Its random id; `None` while nothing was ever saved.
    pub store_id: Option<String>,
    /// Sessions stored.
    pub sessions: u64,
    /// Contents stored: transcripts, side files and older generations.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When something was last committed, RFC 3339.
    pub last_save: Option<String>,
    /// The index.
    pub index: IndexStatus,
    /// Transcripts under `projects/` that changed since their copy, or have none.
    pub not_yet_saved: Vec<NotSaved>,
}

/// The state of the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IndexStatus {
    /// The database.
    pub path: PathBuf,
    /// `ready`, `missing`, `incomplete` or `unusable`. All but the first heal at the next save or search.
    pub state: &'static str,
    /// What is wrong with an unusable one.
    pub detail: Option<String>,
    /// Messages in it.
    pub messages: u64,
    /// Its size.
    pub bytes: u64,
}

/// A transcript whose present content is not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotSaved {
    /// The session.
    pub session_id: String,
    /// Its transcript.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// Looks at everything and writes nothing.
pub fn status(places: &Places) -> Result<Status, Error> {
    let archive = Archive::open(&places.layer3_store)?;
    let mut status = Status {
        store: places.layer3_store.clone(),
        store_id: archive.as_ref().map(|archive| archive.store_id().to_owned()),
        sessions: 0,
        files: 0,
        bytes: 0,
        last_save: None,
        index: index_status(places, archive.as_ref()),
        not_yet_saved: not_yet_saved(places, archive.as_ref())?,
    };
    let Some(archive) = archive else { return Ok(status) };
    let mut last_ms = 0;
    for key in archive.sessions()? {
        status.sessions += 1;
        for file in archive.files(&key)? {
            status.files += 1;
            status.bytes += file.bytes;
            last_ms = last_ms.max(file.committed_ms);
        }
    }
    status.last_save = (last_ms > 0).then(|| format_rfc3339_ms(last_ms as i64));
    Ok(status)
}

fn index_status(places: &Places, archive: Option<&Archive>) -> IndexStatus {
    let mut status = IndexStatus { path: places.index.clone(), state: "missing", detail: None, messages: 0, bytes: 0 };
    let look = || -> Result<_, crate::index::IndexError> {
        let Some(index) = Index::open_read_only(&places.index)? else { return Ok(None) };
        let incomplete = archive.map_or(Ok(false), |archive| index.is_incomplete(archive))?;
        Ok(Some((index.counts()?, incomplete)))
    };
    match look() {
        Ok(None) => {}
        Ok(Some((counts, incomplete))) => {
            status.state = if incomplete { "incomplete" } else { "ready" };
            status.messages = counts.messages;
            status.bytes = counts.bytes;
        }
        Err(error) => {
            status.state = "unusable";
            status.detail = Some(chain(&error));
        }
    }
    status
}

fn not_yet_saved(places: &Places, archive: Option<&Archive>) -> Result<Vec<NotSaved>, Error> {
    let mut behind = Vec::new();
    for found in source::transcripts(&resolved_projects(places))? {
        let saved = match archive {
            // An empty transcript is never stored, so there is nothing to wait for.
            _ if found.bytes == 0 => true,
            Some(archive) => !archive.is_behind(&found.id, &found.path)?,
            None => false,
        };
        if !saved {
            behind.push(NotSaved { session_id: found.id.to_string(), path: found.path, bytes: found.bytes });
        }
    }
    Ok(behind)
}
