//! What a verification found damaged: kept in the store until the content is found good, put right, or gone. A quick look
//! does not read the contents, so nothing else could tell of it later.
//!
//! It lies in `.state/damage.json`, which is there only while there is something to tell.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ledger::Ledger;
use super::store::Archive;
use super::types::{ArchiveError, Finding, FindingKind, Formatted, SessionKey};
use crate::fs::{self, Lock};
use crate::log::now_ms;
use crate::names::{FileName, StoredName};

const FORMAT: u32 = 1;
const FILE: &str = ".state/damage.json";
const LOCK: &str = "damage.lock";
/// Some hundred thousand contents.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A content that was found damaged.
#[derive(Debug, Clone)]
pub struct KnownDamage {
    /// What was found. Its path is where the content is now: an older generation, if it was the newest one then.
    pub finding: Finding,
    /// The command that found it.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Noted {
    format: u32,
    damage: Vec<Note>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    project: String,
    session_id: String,
    path: String,
    /// The highest generation of the file then: one above it is the content that was the newest.
    older: u32,
    kind: String,
    detail: String,
    by: String,
    at_ms: u64,
}

impl Archive {
    /// What verifications found damaged and nothing has put right since, as far as it is still recorded.
    pub fn known_damage(&self) -> Result<Vec<KnownDamage>, ArchiveError> {
        let mut known = Vec::new();
        let noted = match self.noted() {
            // What stands there instead is told by whoever looks for that: see `foreign`.
            Err(ArchiveError::Durable(error)) if error.is_not_ours() => return Ok(known),
            noted => noted?,
        };
        for note in noted.damage {
            let Some((key, name)) = note.names() else { continue };
            let name = match self.ledger(&key) {
                Ok(ledger) => note.name_now(&ledger, name),
                // That is told by whoever looks at the session.
                Err(_) => Some(name),
            };
            let Some(name) = name else { continue };
            let kind =
                if note.kind == FindingKind::Missing.as_str() { FindingKind::Missing } else { FindingKind::Damaged };
            let finding = Finding::of(&key, &name, kind, note.detail);
            known.push(KnownDamage { finding, by: note.by, at_ms: note.at_ms });
        }
        Ok(known)
    }

    /// Keeps what a verification `by` a command found damaged; of `only` one session, or of all, it replaces what was known
    /// before.
    pub fn note_damage(&self, only: Option<&SessionKey>, findings: &[Finding], by: &str) -> Result<(), ArchiveError> {
        let is_damage = |finding: &&Finding| matches!(finding.kind, FindingKind::Damaged | FindingKind::Missing);
        let found: Vec<&Finding> = findings.iter().filter(is_damage).collect();
        let mut news = Vec::new();
        for finding in found {
            let older = match StoredName::parse(&finding.key.id, &finding.path) {
                // A ledger that cannot be read is a finding itself.
                Ok(name) => self.ledger(&finding.key).map_or(0, |ledger| ledger.generation_max(&name.file)),
                Err(_) => 0,
            };
            news.push(Note::of(finding, older, by));
        }
        if news.is_empty() && matches!(self.noted(), Ok(noted) if noted.damage.is_empty()) {
            return Ok(());
        }
        self.change_notes(only.is_none(), |known| {
            let before = known.clone();
            known.retain(|note| only.is_some_and(|key| !note.is_of(key)));
            for new in news {
                // It is told since when it is known.
                let first = before.iter().find(|old| old.is_same(&new));
                known.push(Note { at_ms: first.map_or(new.at_ms, |old| old.at_ms), ..new });
            }
        })
    }

    /// Takes back that newest contents of a session are damaged: they were read, or written, and are as recorded.
    pub(super) fn newest_are_well(&self, key: &SessionKey, files: &[&FileName]) -> Result<(), ArchiveError> {
        let is_well = |name: &StoredName| name.generation == 0 && files.contains(&&name.file);
        self.are_well(key, &is_well)
    }

    /// The same of contents that were put right.
    pub(super) fn were_healed(&self, key: &SessionKey, paths: &BTreeSet<&str>) -> Result<(), ArchiveError> {
        self.are_well(key, &|name| paths.contains(name.to_text(&key.id).as_str()))
    }

    /// Takes back what is recorded no more.
    pub(super) fn are_gone(&self, key: &SessionKey) -> Result<(), ArchiveError> {
        self.are_well(key, &|_| false)
    }

    fn are_well(&self, key: &SessionKey, is_well: &dyn Fn(&StoredName) -> bool) -> Result<(), ArchiveError> {
        // Mostly nothing is noted.
        if !self.noted()?.damage.iter().any(|note| note.is_of(key)) {
            return Ok(());
        }
        let ledger = self.ledger(key)?;
        self.change_notes(false, |known| {
            known.retain(|note| {
                let now = note.names().and_then(|(_, name)| note.name_now(&ledger, name));
                !note.is_of(key) || !now.is_none_or(|name| is_well(&name))
            });
        })
    }

    fn noted(&self) -> Result<Noted, ArchiveError> {
        let path = self.root().join(FILE);
        let Some(text) = fs::read_own(self.root(), Path::new(FILE), FILE_BYTES_MAX)? else {
            return Ok(Noted { format: FORMAT, ..Noted::default() });
        };
        let damaged = |error: serde_json::Error| ArchiveError::damaged(&path, error.to_string());
        let Formatted { format } = serde_json::from_slice(&text).map_err(damaged)?;
        if format > u64::from(FORMAT) {
            return Err(ArchiveError::NewerFormat { path, format });
        }
        serde_json::from_slice(&text).map_err(damaged)
    }

    /// Changes the notes durably. What stands there and can be none is put aside where `all` of them are made anew; else the
    /// notes of others would be.
    fn change_notes(&self, all: bool, change: impl FnOnce(&mut Vec<Note>)) -> Result<(), ArchiveError> {
        let state = self.state()?;
        let _lock = Lock::wait_in(&state, OsStr::new(LOCK))?;
        let is_none = |error: &ArchiveError| match error {
            ArchiveError::Damaged { .. } => true,
            ArchiveError::Durable(error) => error.is_not_ours(),
            _ => false,
        };
        let mut noted = match self.noted() {
            Err(error) if all && is_none(&error) => {
                state.put_aside(Path::new(FILE).file_name().unwrap_or_default())?;
                Noted { format: FORMAT, ..Noted::default() }
            }
            noted => noted?,
        };
        let before = noted.damage.clone();
        change(&mut noted.damage);
        if noted.damage.is_empty() {
            fs::remove_own(self.root(), Path::new(FILE))?;
        } else if noted.damage != before {
            // Strings and numbers: this cannot fail.
            let text = serde_json::to_vec_pretty(&noted).expect("notes serialise");
            fs::replace_own(self.root(), Path::new(FILE), &text)?;
        }
        Ok(())
    }
}

impl Note {
    fn of(finding: &Finding, older: u32, by: &str) -> Note {
        Note {
            project: finding.key.project.to_string(),
            session_id: finding.key.id.to_string(),
            path: finding.path.clone(),
            older,
            kind: finding.kind.as_str().to_owned(),
            detail: finding.detail.clone(),
            by: by.to_owned(),
            at_ms: now_ms(),
        }
    }

    fn is_of(&self, key: &SessionKey) -> bool {
        self.project == key.project.as_str() && self.session_id == key.id.as_str()
    }

    fn is_same(&self, other: &Note) -> bool {
        (&self.project, &self.session_id, &self.path, self.older)
            == (&other.project, &other.session_id, &other.path, other.older)
    }

    /// `None` where it names nothing that a store can have.
    fn names(&self) -> Option<(SessionKey, StoredName)> {
        let key = SessionKey::parse(&self.project, &self.session_id).ok()?;
        let name = StoredName::parse(&key.id, &self.path).ok()?;
        Some((key, name))
    }

    /// The name of the content now; `None` where it is recorded no more.
    fn name_now(&self, ledger: &Ledger, name: StoredName) -> Option<StoredName> {
        let is_rotated = name.generation == 0 && ledger.generation_max(&name.file) > self.older;
        let name = if is_rotated { StoredName { generation: self.older + 1, ..name } } else { name };
        ledger.record(&name).map(|_| name)
    }
}
