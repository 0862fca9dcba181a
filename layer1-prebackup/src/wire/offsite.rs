//! The state of the third place, `<layer 1's store>/.state/offsite/state.json`: layer 2 writes it under that folder's
//! `lock`, layer 3 reports it. What is wrong with the third place is decided here, once for both.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::fs::{self, DurableError};
use crate::names::{LAYER2, typed};

/// The folder, relative to layer 1's store.
pub const FOLDER: &str = ".state/offsite";
/// The newest seal, in [`FOLDER`] and in each snapshot.
pub const SEAL: &str = "seal.json";
/// What the seals are made of anew with the next push: the newest one, the same for `b3sum`, and the last that was received.
pub const SEALS: [&str; 3] = [SEAL, "seal.b3", "receipted.json"];
/// What was brought back, a line each; in [`FOLDER`].
pub const DRILLS: &str = "drills";
/// Longer than it ever is, in bytes.
pub const DRILLS_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What was fetched of other machines, in [`FOLDER`]: `HOST/ID/SEAL`, each a store of one conversation.
pub const FETCHED: &str = "fetched";
/// What was pulled of other machines, in [`FOLDER`]: of each a store, by its name.
pub const PEERS: &str = "peers";
/// The state in it.
const STATE: &str = ".state/offsite/state.json";
/// No state is longer, in bytes.
const STATE_BYTES_MAX: u64 = 1024 * 1024;
/// The format that this version writes.
const FORMAT: u32 = 1;

const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// A place that answers nobody for so long needs a person.
const UNREACHABLE_MS: u64 = 7 * DAY_MS;
/// What changed and did not arrive for so long is told.
const BEHIND_MS: u64 = 3 * DAY_MS;
/// A conversation is brought back once a day; after so long without one something keeps it from being done.
const DRILL_OLD_MS: u64 = 7 * DAY_MS;
/// More snapshots than this make a place slow to look at.
const SNAPSHOTS_MANY: u64 = 2000;

/// Everything that is known of the third place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    format: u32,
    /// The place, an address as `restic` takes it.
    pub place: String,
    /// What this machine is called there.
    pub name: String,
    /// The repository's id; another one is another repository.
    pub repository: String,
    /// Random, of this set-up on this machine: a store that was copied to a second machine has another one there.
    pub writer: String,
    /// The computer, hashed and empty where it does not tell, and the inode of the store's folder: both are others where
    /// the home was copied to another computer.
    pub machine: Option<(String, u64)>,
    /// How many pushes were begun. A snapshot that counts more is of a copy of this state.
    #[serde(default)]
    pub pushes: u64,
    /// Random, of the last of them.
    #[serde(default)]
    pub push: String,
    /// The snapshot with which the set-up before this one ended, where this one went on with its repository.
    pub taken_over: Option<String>,
    /// Whether the place is a directory on the disk that has the store.
    #[serde(default)]
    pub one_disk: bool,
    /// When it was set up, in milliseconds since 1970, as all times here.
    pub set_up_ms: u64,
    /// When a person showed that the recovery sheet is at hand.
    pub key_confirmed_ms: Option<u64>,
    /// Version of `restic`, as last asked.
    pub engine: Option<String>,
    /// Since when what is committed is not what was last received.
    pub dirty_since_ms: Option<u64>,
    /// How many sessions that concerns.
    pub waiting: u64,
    /// What last arrived and was read back.
    pub receipt: Option<Receipt>,
    /// The last try.
    pub attempt: Option<Attempt>,
    /// The last session that was brought back.
    pub drill: Option<Drill>,
    /// Sessions that did not come back equal, and have not since; why each.
    #[serde(default)]
    pub drill_failed: BTreeMap<String, String>,
    /// The last check of the repository's data.
    pub check: Option<Check>,
    /// When other machines were last pulled from.
    #[serde(default)]
    pub pulled_ms: Option<u64>,
    /// How many snapshots there are, and how many bytes were sent for them.
    pub snapshots: Option<(u64, u64)>,
    /// What is wrong, each kind once.
    pub troubles: Vec<Trouble>,
}

/// A push that arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// When it was read back.
    pub at_ms: u64,
    /// Id of the snapshot.
    pub snapshot: String,
    /// BLAKE3 of the seal.
    pub seal: String,
    /// Sealed sessions.
    pub sessions: u64,
    /// Sealed files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A try to push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended.
    pub at_ms: u64,
    /// Whether it arrived.
    pub ok: bool,
    /// How many failed one after the other, this one included.
    pub failures: u32,
    /// What came of it, in a sentence.
    pub said: String,
}

/// A file that was brought back and compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    /// When.
    pub at_ms: u64,
    /// Of which snapshot.
    pub snapshot: String,
    /// The file, relative to the store.
    pub path: String,
    /// Its session.
    pub session: String,
    /// `equal`, `damaged` or `unreadable`.
    pub result: String,
    /// So many of the sealed sessions were brought back equal within a month.
    pub equal: u64,
    /// So many sessions are sealed.
    pub of: u64,
}

/// A part of the repository's data that was read and checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// When.
    pub at_ms: u64,
    /// From 1 to `parts`.
    pub part: u32,
    /// How many parts make the whole.
    pub parts: u32,
    /// Whether all was well.
    pub ok: bool,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What kind.
    pub kind: Kind,
    /// In a sentence.
    pub what: String,
    /// When it was first met.
    pub since_ms: u64,
}

/// What can be wrong; `status --help` explains each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `restic` is not installed.
    EngineMissing,
    /// It is too old.
    EngineOld,
    /// The place answers nobody, or makes no progress.
    OffsiteUnreachable,
    /// Nothing is where the repository should be.
    NotMounted,
    /// The key opens no repository there.
    WrongKey,
    /// There is no key, or others may read it.
    KeyMissing,
    /// The repository has another id.
    AnotherRepository,
    /// Another machine writes to it.
    AnotherWriter,
    /// There is no room at the place.
    OffsiteFull,
    /// It is locked, also after our own locks were removed.
    Locked,
    /// Not all that was sent is there.
    NotCovered,
    /// `restic` failed in a way that is not known.
    OffsiteFailed,
    /// A conversation did not come back as it was sent.
    DrillFailed,
    /// The repository has errors.
    CheckFailed,
    /// Older snapshots have lost something for good.
    SnapshotsBroken,
    /// No conversation was brought back for a week.
    DrillOld,
    /// Nothing arrived for days.
    OffsiteBehind,
    /// Nobody has confirmed that the recovery sheet is kept.
    KeyUnconfirmed,
    /// There are very many snapshots.
    ManySnapshots,
    /// The place lies on the disk that has the store.
    OffsiteOneDisk,
}

/// What a person is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What kind.
    pub kind: Kind,
    /// In a sentence.
    pub what: String,
    /// Since when.
    pub since_ms: u64,
    /// Whether it stays wrong until a person does something.
    pub needs_person: bool,
    /// The command to type.
    pub fix: String,
}

impl State {
    /// A new one.
    pub fn set_up(place: &str, name: &str, repository: &str, writer: &str, now_ms: u64) -> State {
        State {
            format: FORMAT,
            place: place.to_owned(),
            name: name.to_owned(),
            repository: repository.to_owned(),
            writer: writer.to_owned(),
            set_up_ms: now_ms,
            ..State::default()
        }
    }

    /// The state that a store says; `None` where no third place was set up. An error where a newer version wrote it, or
    /// it cannot be read or understood.
    pub fn read(store: &Path) -> std::io::Result<Option<State>> {
        let bytes = match fs::read_own(store, Path::new(STATE), STATE_BYTES_MAX) {
            // There is no store: others say so.
            Err(error) if error.source.kind() == std::io::ErrorKind::NotADirectory => None,
            bytes => bytes.map_err(|error| error.source)?,
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let state: State = serde_json::from_slice(&bytes).map_err(std::io::Error::other)?;
        if state.format > FORMAT {
            let format = state.format;
            return Err(std::io::Error::other(format!(
                "its format {format} is newer than this program; update Threefold"
            )));
        }
        Ok(Some(state))
    }

    /// Makes the store say it, durably.
    pub fn write(&self, store: &Path) -> Result<(), DurableError> {
        let mut text = serde_json::to_vec_pretty(self).expect("plain fields always serialise");
        text.push(b'\n');
        fs::replace_own(store, Path::new(STATE), &text)
    }

    /// Takes out what is noted of a session that was forgotten; whether anything was.
    pub fn forget(&mut self, id: &str) -> bool {
        let before = self.clone();
        self.drill_failed.retain(|session, _| !session.contains(id));
        self.drill.take_if(|drill| drill.session.contains(id));
        let is_failed = !self.drill_failed.is_empty();
        self.troubles.retain(|trouble| trouble.kind != Kind::DrillFailed || is_failed);
        let said = self.attempt.iter_mut().map(|attempt| &mut attempt.said);
        for text in self.troubles.iter_mut().map(|trouble| &mut trouble.what).chain(said) {
            *text = text.replace(id, "(forgotten)");
        }
        *self != before
    }

    /// How it is, in a line: where this machine's conversations go, how many, when last, and how many wait.
    pub fn in_a_line(&self, now_ms: u64) -> String {
        let State { name, place, .. } = self;
        let sent = match &self.receipt {
            Some(receipt) => {
                let age = ago(now_ms.saturating_sub(receipt.at_ms));
                format!("{}, last push {age}", conversations(receipt.sessions))
            }
            None => "nothing sent yet".to_owned(),
        };
        let waiting = match self.waiting {
            0 => String::new(),
            1 => ", 1 conversation waits".to_owned(),
            n => format!(", {n} conversations wait"),
        };
        format!("{name} → {place}: {sent}{waiting}")
    }

    /// Notes that something went wrong; that it did so before is kept.
    pub fn trouble(&mut self, kind: Kind, what: &str, now_ms: u64) {
        let since_ms = self.troubles.iter().find(|known| known.kind == kind).map_or(now_ms, |known| known.since_ms);
        self.troubles.retain(|known| known.kind != kind);
        self.troubles.push(Trouble { kind, what: what.to_owned(), since_ms });
    }

    /// Notes that what these say is not so any more.
    pub fn is_well(&mut self, kinds: &[Kind]) {
        self.troubles.retain(|known| !kinds.contains(&known.kind));
    }

    /// What a person is to be told now, what needs one first.
    pub fn findings(&self, now_ms: u64) -> Vec<Found> {
        let mut found: Vec<Found> = self.troubles.iter().map(|trouble| trouble.found(now_ms)).collect();
        let mut add = |kind: Kind, what: String, since_ms: u64| {
            found.push(Trouble { kind, what, since_ms }.found(now_ms));
        };
        let age = |then: u64| now_ms.saturating_sub(then);
        if let Some(since) = self.dirty_since_ms.filter(|since| age(*since) > BEHIND_MS) {
            let said = self.attempt.as_ref().filter(|attempt| !attempt.ok).map(|attempt| attempt.said.as_str());
            let why = said.unwrap_or("no push was tried; it runs with Claude Code, and with the timer");
            add(Kind::OffsiteBehind, format!("nothing arrived for {} days: {why}", age(since) / DAY_MS), since);
        }
        let last_drill = self.drill.as_ref().map_or(self.set_up_ms, |drill| drill.at_ms);
        if self.receipt.is_some() && age(last_drill) > DRILL_OLD_MS {
            let days = age(last_drill) / DAY_MS;
            add(Kind::DrillOld, format!("no conversation was brought back to be compared for {days} days"), last_drill);
        }
        if self.key_confirmed_ms.is_none() {
            let what = "nobody has confirmed that the recovery sheet is kept; without its 24 words nothing comes back";
            add(Kind::KeyUnconfirmed, what.to_owned(), self.set_up_ms);
        }
        if self.one_disk {
            let what =
                "the place is on the disk that has your backup: if it breaks or is stolen, both are lost together";
            add(Kind::OffsiteOneDisk, what.to_owned(), self.set_up_ms);
        }
        if let Some((many, _)) = self.snapshots.filter(|(many, _)| *many > SNAPSHOTS_MANY) {
            add(Kind::ManySnapshots, format!("there are {many} snapshots; looking at them takes a while"), now_ms);
        }
        found.sort_by_key(|found| !found.needs_person);
        found
    }
}

/// So long ago, in words.
pub fn ago(age_ms: u64) -> String {
    let minutes = age_ms / 60_000;
    let (count, unit) = match minutes {
        0 => return "just now".to_owned(),
        1..60 => (minutes, "minute"),
        60..1440 => (minutes / 60, "hour"),
        _ => (minutes / 1440, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// So many conversations, in words.
pub fn conversations(count: u64) -> String {
    counted(count, "conversation")
}

/// So many of something, in words.
pub fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

impl Trouble {
    fn found(&self, now_ms: u64) -> Found {
        let age = now_ms.saturating_sub(self.since_ms);
        let needs_person = match self.kind {
            Kind::OffsiteUnreachable => age > UNREACHABLE_MS,
            Kind::Locked | Kind::NotCovered | Kind::OffsiteFailed => age > DAY_MS,
            Kind::KeyUnconfirmed | Kind::ManySnapshots | Kind::SnapshotsBroken | Kind::OffsiteOneDisk => false,
            _ => true,
        };
        let (kind, what, since_ms) = (self.kind, self.what.clone(), self.since_ms);
        Found { kind, what, since_ms, needs_person, fix: self.kind.fix() }
    }
}

impl Kind {
    /// Its stable word.
    pub fn word(self) -> String {
        serde_json::to_value(self).ok().and_then(|word| Some(word.as_str()?.to_owned())).unwrap_or_default()
    }

    fn fix(self) -> String {
        let words = match self {
            Kind::EngineMissing | Kind::EngineOld => return "restic version".to_owned(),
            Kind::WrongKey | Kind::KeyMissing => "offsite key show",
            Kind::KeyUnconfirmed => "offsite key confirm",
            Kind::AnotherRepository | Kind::AnotherWriter => "offsite status",
            Kind::OffsiteFull | Kind::ManySnapshots => "offsite thin --dry-run",
            Kind::DrillFailed | Kind::CheckFailed => "offsite repair",
            Kind::OffsiteOneDisk => "offsite init PLACE --name NAME",
            Kind::SnapshotsBroken => "offsite repair --drop-broken",
            Kind::DrillOld => "offsite drill",
            Kind::OffsiteUnreachable
            | Kind::NotMounted
            | Kind::Locked
            | Kind::NotCovered
            | Kind::OffsiteFailed
            | Kind::OffsiteBehind => "offsite push --now",
        };
        typed(LAYER2, words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_and_a_newer_one_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), None);
        let state = State::set_up("/media/usb", "laptop", "id", "w", 5);
        state.write(dir.path()).unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), Some(state.clone()));
        // The version before knew less.
        let mut json = serde_json::to_value(&state).unwrap();
        for new in ["machine", "pushes", "push", "one_disk", "drill_failed", "pulled_ms"] {
            assert!(json.as_object_mut().unwrap().remove(new).is_some(), "{new}");
        }
        std::fs::write(dir.path().join(STATE), json.to_string()).unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), Some(state.clone()));
        State { format: FORMAT + 1, ..state }.write(dir.path()).unwrap();
        assert!(State::read(dir.path()).unwrap_err().to_string().contains("update Threefold"));
        std::fs::write(dir.path().join(STATE), "{").unwrap();
        assert!(State::read(dir.path()).is_err());
    }

    /// Each kind at the age at which it is only told, and at the one from which it needs a person.
    #[test]
    fn what_waits_by_itself_is_told_and_what_does_not_needs_a_person() {
        let mut state = State::set_up("/p", "laptop", "id", "w", 0);
        state.key_confirmed_ms = Some(1);
        let words = |state: &State, now: u64| {
            let said = |found: &Found| format!("{}{}", found.kind.word(), if found.needs_person { "!" } else { "" });
            state.findings(now).iter().map(said).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words(&state, 9 * DAY_MS), "");
        for (kind, patience) in [
            (Kind::OffsiteUnreachable, Some(UNREACHABLE_MS)),
            (Kind::Locked, Some(DAY_MS)),
            (Kind::NotCovered, Some(DAY_MS)),
            (Kind::OffsiteFailed, Some(DAY_MS)),
            (Kind::EngineMissing, None),
            (Kind::EngineOld, None),
            (Kind::NotMounted, None),
            (Kind::WrongKey, None),
            (Kind::KeyMissing, None),
            (Kind::AnotherRepository, None),
            (Kind::AnotherWriter, None),
            (Kind::OffsiteFull, None),
            (Kind::DrillFailed, None),
            (Kind::CheckFailed, None),
        ] {
            state.troubles.clear();
            state.trouble(kind, "x", 0);
            // Met again, it is as old as it was.
            state.trouble(kind, "y", DAY_MS / 2);
            let needs = |now: u64| state.findings(now)[0].needs_person;
            assert_eq!(needs(patience.unwrap_or(0)), patience.is_none(), "{kind:?}");
            assert!(needs(patience.unwrap_or(0) + 1), "{kind:?}");
            assert_eq!(state.troubles[0].what, "y");
            state.is_well(&[kind]);
            assert_eq!(state.findings(0), []);
        }
        state.dirty_since_ms = Some(DAY_MS);
        assert_eq!(words(&state, 4 * DAY_MS), "");
        assert_eq!(words(&state, 4 * DAY_MS + 1), "offsite-behind!");
        assert_eq!(state.in_a_line(0), "laptop → /p: nothing sent yet");
        state.waiting = 2;
        state.dirty_since_ms = None;
        state.receipt =
            Some(Receipt { at_ms: 0, snapshot: String::new(), seal: String::new(), sessions: 1, files: 1, bytes: 1 });
        assert_eq!(words(&state, 7 * DAY_MS), "");
        let line = "laptop → /p: 1 conversation, last push 2 hours ago, 2 conversations wait";
        assert_eq!(state.in_a_line(2 * HOUR_MS), line);
        (state.snapshots, state.one_disk) = (Some((2001, 0)), true);
        state.key_confirmed_ms = None;
        assert_eq!(words(&state, 7 * DAY_MS + 1), "drill-old! key-unconfirmed offsite-one-disk many-snapshots");
    }
}
