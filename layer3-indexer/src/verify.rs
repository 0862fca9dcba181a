//! Re-reading and re-hashing what is stored.

use layer1_prebackup::archive::Finding;
use layer1_prebackup::places::Places;
use rmcp::schemars;
use serde::Serialize;

use crate::error::Error;
use crate::rebuild;
use crate::session::{self, SessionError};

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct Report {
    /// Whether all is well: no findings.
    pub ok: bool,
    /// Sessions that were read.
    pub sessions: usize,
    /// What is wrong, one entry a content.
    pub findings: Vec<FindingEntry>,
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct FindingEntry {
    /// `damaged`, `missing`, `bookkeeping-lost`, `generation-gap` or `unproven`.
    pub kind: String,
    /// The session.
    pub session_id: String,
    /// Its folder in the store.
    pub project: String,
    /// The content, relative to the project's folder.
    pub path: String,
    /// What is wrong, in one line.
    pub detail: String,
}

impl FindingEntry {
    fn of(finding: &Finding) -> FindingEntry {
        FindingEntry {
            kind: finding.kind.as_str().to_owned(),
            session_id: finding.key.id.to_string(),
            project: finding.key.project.to_string(),
            path: finding.path.clone(),
            detail: finding.detail.clone(),
        }
    }
}

/// Re-reads and re-hashes every content of the store, or of the sessions that `typed` names (an
/// id may be kept under two projects: then both). Writes nothing.
pub fn verify(places: &Places, typed: Option<&str>) -> Result<Report, Error> {
    let archive = rebuild::store(places)?;
    let sessions = archive.sessions()?;
    let (sessions, findings) = match typed {
        None => (sessions.len(), archive.verify(None)?),
        Some(typed) => {
            let found = session::matches(sessions, typed);
            let Some(first) = found.first() else {
                return Err(SessionError::Unknown { typed: typed.to_owned() }.into());
            };
            if found.iter().any(|key| key.id != first.id) {
                return Err(SessionError::Ambiguous { typed: typed.to_owned(), candidates: found }.into());
            }
            let mut findings = Vec::new();
            for key in &found {
                findings.extend(archive.verify(Some(key))?);
            }
            (found.len(), findings)
        }
    };
    let findings: Vec<FindingEntry> = findings.iter().map(FindingEntry::of).collect();
    Ok(Report { ok: findings.is_empty(), sessions, findings })
}
