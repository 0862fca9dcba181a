//! Re-reading and re-hashing what is stored.

use layer1_prebackup::archive::{Archive, Finding, Repair, SessionKey};
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
    /// What `--repair` did, one entry a content; the findings are those that remain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repairs: Vec<RepairEntry>,
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

/// What was done about something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct RepairEntry {
    /// Whether the content is well now.
    pub healed: bool,
    /// The session.
    pub session_id: String,
    /// Its folder in the store.
    pub project: String,
    /// The content, relative to the project's folder.
    pub path: String,
    /// What was done, or why nothing could be.
    pub detail: String,
}

impl RepairEntry {
    fn of(repair: &Repair) -> RepairEntry {
        RepairEntry {
            healed: repair.healed,
            session_id: repair.key.id.to_string(),
            project: repair.key.project.to_string(),
            path: repair.path.clone(),
            detail: repair.detail.clone(),
        }
    }
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
    let meant = meant(&archive, typed)?;
    let findings = findings(&archive, &meant)?;
    Ok(Report { ok: findings.is_empty(), sessions: meant.keys.len(), findings, repairs: Vec::new() })
}

/// Heals what [`verify`] finds, from the source or from layer 1's store, wherever their bytes meet
/// the recorded hash; what is replaced is set aside, never dropped. Then verifies.
pub fn repair(places: &Places, typed: Option<&str>) -> Result<Report, Error> {
    let archive = rebuild::store(places)?;
    let layer1 = Archive::open(&places.layer1_store)?;
    let meant = meant(&archive, typed)?;
    let mut repairs = Vec::new();
    for only in meant.passes() {
        repairs.extend(archive.repair(only, layer1.as_ref())?.iter().map(RepairEntry::of));
    }
    let findings = findings(&archive, &meant)?;
    Ok(Report { ok: findings.is_empty(), sessions: meant.keys.len(), findings, repairs })
}

/// The sessions to look at.
struct Meant {
    keys: Vec<SessionKey>,
    /// The whole store: then lost bookkeeping of sessions that nobody knows is found too.
    all: bool,
}

impl Meant {
    fn passes(&self) -> Vec<Option<&SessionKey>> {
        if self.all { vec![None] } else { self.keys.iter().map(Some).collect() }
    }
}

fn meant(archive: &Archive, typed: Option<&str>) -> Result<Meant, Error> {
    let keys = archive.sessions()?;
    let Some(typed) = typed else { return Ok(Meant { keys, all: true }) };
    let keys = session::matches(keys, typed);
    let Some(first) = keys.first() else {
        return Err(SessionError::Unknown { typed: typed.to_owned() }.into());
    };
    if keys.iter().any(|key| key.id != first.id) {
        return Err(SessionError::Ambiguous { typed: typed.to_owned(), candidates: keys }.into());
    }
    Ok(Meant { keys, all: false })
}

fn findings(archive: &Archive, meant: &Meant) -> Result<Vec<FindingEntry>, Error> {
    let mut findings = Vec::new();
    for only in meant.passes() {
        findings.extend(archive.verify(only)?.iter().map(FindingEntry::of));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ID, Scene, prompt};

    #[test]
    fn what_is_damaged_is_found_and_healed_from_layer_1() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "hello")]);
        scene.layer1_copies();
        scene.receipt(None);
        scene.remove_sources();
        assert!(verify(&scene.places, None).unwrap().ok);
        std::fs::write(scene.copy(), "damaged").unwrap();
        let report = verify(&scene.places, Some(&ID[..8])).unwrap();
        assert_eq!((report.ok, report.findings[0].kind.as_str()), (false, "damaged"));
        let report = repair(&scene.places, None).unwrap();
        assert!(report.ok && report.repairs[0].healed, "{report:?}");
        assert!(verify(&scene.places, None).unwrap().ok);
        assert!(matches!(verify(&scene.places, Some("nope")), Err(Error::Session(SessionError::Unknown { .. }))));
    }
}
