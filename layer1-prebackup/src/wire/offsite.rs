//! The state of the third place, `<layer 1's store>/.state/offsite/state.json`: layer 2 writes it under that folder's
//! `lock`, layer 3 reports it. What is wrong with the third place is decided here, once for both.
//!
//! Further places, which have a name in the settings, have each a state of its own, in `places/NAME/`: what is wrong with
//! one says nothing of another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
/// What is known of a repository that is to take the place of another one; in the folder of a place.
pub const ROTATING: &str = "rotating";
/// The folders of further places, in [`FOLDER`], each by its name.
const PLACES: &str = "places";
/// The state of a place, in its folder.
const STATE: &str = "state.json";
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
    /// Where it lies, relative to the store; empty is [`FOLDER`].
    #[serde(skip)]
    folder: PathBuf,
    /// The place, an address as `restic` takes it.
    pub place: String,
    /// What this machine is called there.
    pub name: String,
    /// The repository's id; another one is another repository.
    pub repository: String,
    /// Which repository of this machine it is: from the second on its number stands behind the name.
    #[serde(default)]
    pub generation: u32,
    /// Repositories of this machine that this one took the place of, and that are still there.
    #[serde(default)]
    pub replaced: Vec<String>,
    /// Whether the other machines have to be told yet which repository it is.
    #[serde(default)]
    pub card_due: bool,
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
    /// How long what changed may wait to be sent before a person is told, where that is said.
    #[serde(default)]
    pub max_age_ms: Option<u64>,
    /// Whether its directory was not there when it was last looked for.
    #[serde(default)]
    pub away: bool,
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
    /// Since when another repository is being made to take this one's place.
    #[serde(skip)]
    rotating_since_ms: Option<u64>,
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
    /// A repository that another one took the place of is still there.
    RepositoryReplaced,
    /// One that is to take the place of the one in use was begun, and is not done.
    RotationBegun,
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

    /// The same, kept in another folder than that of the first place, relative to the store.
    pub fn kept_in(self, folder: &Path) -> State {
        State { folder: folder.to_owned(), ..self }
    }

    /// The state that a store says of the first place; `None` where none was set up. An error where a newer version wrote
    /// it, or it cannot be read or understood.
    pub fn read(store: &Path) -> std::io::Result<Option<State>> {
        State::read_in(store, Path::new(FOLDER))
    }

    /// The same of any place, by its folder.
    pub fn read_in(store: &Path, folder: &Path) -> std::io::Result<Option<State>> {
        let bytes = match fs::read_own(store, &folder.join(STATE), STATE_BYTES_MAX) {
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
        // One that cannot be read is told by the command that goes on with it.
        let begun = match folder.ends_with(ROTATING) {
            true => None,
            false => State::read_in(store, &folder.join(ROTATING)).ok().flatten(),
        };
        Ok(Some(State { rotating_since_ms: begun.map(|begun| begun.set_up_ms), ..state.kept_in(folder) }))
    }

    /// Makes the store say it, durably.
    pub fn write(&self, store: &Path) -> Result<(), DurableError> {
        let mut text = serde_json::to_vec_pretty(self).expect("plain fields always serialise");
        text.push(b'\n');
        fs::replace_own(store, &self.folder().join(STATE), &text)
    }

    /// The folder of what is known of this place, relative to the store.
    pub fn folder(&self) -> &Path {
        if self.folder.as_os_str().is_empty() { Path::new(FOLDER) } else { &self.folder }
    }

    /// The name of the place in the settings; `None` of the first one.
    pub fn called(&self) -> Option<&str> {
        called(self.folder())
    }

    /// The name of this machine's repository in the place.
    pub fn repository_name(&self) -> String {
        numbered(&self.name, self.generation)
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
        let called = self.called().map(|called| format!("{called}: ")).unwrap_or_default();
        let away = if self.waits_for_its_disk() { ", its disk is not connected" } else { "" };
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
        format!("{called}{name} → {place}: {sent}{waiting}{away}")
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
        let age = |then: u64| now_ms.saturating_sub(then);
        let is_behind = self.dirty_since_ms.is_some_and(|since| age(since) > self.max_age_ms());
        // A disk that is connected now and then is missed when something has waited for it too long.
        let is_told = |trouble: &&Trouble| trouble.kind != Kind::NotMounted || !self.waits_for_its_disk();
        let mut found: Vec<Found> =
            self.troubles.iter().filter(is_told).map(|trouble| trouble.found(now_ms, self.called())).collect();
        let mut add = |kind: Kind, what: String, since_ms: u64| {
            found.push(Trouble { kind, what, since_ms }.found(now_ms, self.called()));
        };
        if let Some(since) = self.dirty_since_ms.filter(|_| is_behind) {
            let said = self.attempt.as_ref().filter(|attempt| !attempt.ok).map(|attempt| attempt.said.as_str());
            let why = match said {
                _ if self.waits_for_its_disk() => "its disk is not connected",
                Some(said) => said,
                None => "no push was tried; it runs with Claude Code, and with the timer",
            };
            add(
                Kind::OffsiteBehind,
                format!("nothing arrived for {}: {why}", counted(age(since) / DAY_MS, "day")),
                since,
            );
        }
        let last_drill = self.drill.as_ref().map_or(self.set_up_ms, |drill| drill.at_ms);
        let drill_old = if self.is_of_a_disk() { DRILL_OLD_MS.max(self.max_age_ms()) } else { DRILL_OLD_MS };
        if self.receipt.is_some() && age(last_drill) > drill_old {
            let days = counted(age(last_drill) / DAY_MS, "day");
            add(Kind::DrillOld, format!("no conversation was brought back to be compared for {days}"), last_drill);
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
        if let Some(replaced) = self.replaced.first() {
            let what = format!(
                "the repository {replaced} was replaced by {}; it is still there, and can be read with its old master key",
                self.repository_name()
            );
            add(Kind::RepositoryReplaced, what, now_ms);
        }
        if let Some(since) = self.rotating_since_ms {
            let what = format!(
                "a new repository that is to take the place of {} was begun, and is not done",
                self.repository_name()
            );
            add(Kind::RotationBegun, what, since);
        }
        if let Some((many, _)) = self.snapshots.filter(|(many, _)| *many > SNAPSHOTS_MANY) {
            add(Kind::ManySnapshots, format!("there are {many} snapshots; looking at them takes a while"), now_ms);
        }
        found.sort_by_key(|found| !found.needs_person);
        found
    }

    /// How long what changed may wait to be sent before a person is told.
    fn max_age_ms(&self) -> u64 {
        self.max_age_ms.unwrap_or(BEHIND_MS)
    }

    /// Whether the place is on a disk that need not always be connected: how long it may be away is said.
    fn is_of_a_disk(&self) -> bool {
        self.place.starts_with('/') && self.max_age_ms.is_some()
    }

    fn waits_for_its_disk(&self) -> bool {
        self.is_of_a_disk() && self.away
    }
}

/// The folder of what is known of a place, relative to the store; `called` is its name in the settings, none of the first one.
pub fn folder_of(called: Option<&str>) -> PathBuf {
    let folder = PathBuf::from(FOLDER);
    called.map_or(folder.clone(), |called| folder.join(PLACES).join(called))
}

/// The name in the settings of the place that has this folder, relative to the store.
pub fn called(folder: &Path) -> Option<&str> {
    folder.strip_prefix(FOLDER).ok()?.strip_prefix(PLACES).ok()?.iter().next()?.to_str()
}

/// The folders of all places of which something is known, the first one first, relative to the store.
pub fn folders(store: &Path) -> Vec<PathBuf> {
    let places = Path::new(FOLDER).join(PLACES);
    // Where it cannot be listed there is none.
    let entries = std::fs::read_dir(store.join(&places)).into_iter().flatten().flatten();
    let mut named: Vec<PathBuf> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| places.join(entry.file_name()))
        .collect();
    named.sort();
    std::iter::once(PathBuf::from(FOLDER)).chain(named).collect()
}

/// The name of a machine's repository of this number.
pub fn numbered(name: &str, generation: u32) -> String {
    if generation < 2 { name.to_owned() } else { format!("{name}.{generation}") }
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
    fn found(&self, now_ms: u64, called: Option<&str>) -> Found {
        let age = now_ms.saturating_sub(self.since_ms);
        let needs_person = match self.kind {
            Kind::OffsiteUnreachable => age > UNREACHABLE_MS,
            Kind::Locked | Kind::NotCovered | Kind::OffsiteFailed | Kind::RotationBegun => age > DAY_MS,
            Kind::KeyUnconfirmed
            | Kind::ManySnapshots
            | Kind::SnapshotsBroken
            | Kind::OffsiteOneDisk
            | Kind::RepositoryReplaced => false,
            _ => true,
        };
        let what = called.map(|called| format!("{called}: ")).unwrap_or_default() + &self.what;
        Found { kind: self.kind, what, since_ms: self.since_ms, needs_person, fix: self.kind.fix(called) }
    }
}

impl Kind {
    /// Its stable word.
    pub fn word(self) -> String {
        serde_json::to_value(self).ok().and_then(|word| Some(word.as_str()?.to_owned())).unwrap_or_default()
    }

    fn fix(self, called: Option<&str>) -> String {
        let words = match self {
            Kind::EngineMissing | Kind::EngineOld => return "restic version".to_owned(),
            Kind::WrongKey | Kind::KeyMissing => "offsite key show",
            Kind::KeyUnconfirmed => "offsite key confirm",
            Kind::AnotherRepository | Kind::AnotherWriter => "offsite status",
            Kind::OffsiteFull | Kind::ManySnapshots => "offsite thin --dry-run",
            Kind::DrillFailed | Kind::CheckFailed => "offsite repair",
            Kind::OffsiteOneDisk => "offsite init PLACE --name NAME",
            Kind::RepositoryReplaced => "offsite key rotate --drop-old",
            Kind::RotationBegun => "offsite key rotate",
            Kind::SnapshotsBroken => "offsite repair --drop-broken",
            Kind::DrillOld => "offsite drill",
            Kind::OffsiteUnreachable
            | Kind::NotMounted
            | Kind::Locked
            | Kind::NotCovered
            | Kind::OffsiteFailed
            | Kind::OffsiteBehind => "offsite push --now",
        };
        let at = called.map(|called| format!(" --place {called}")).unwrap_or_default();
        typed(LAYER2, &format!("{words}{at}"))
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
        let state = state.kept_in(Path::new(FOLDER));
        assert_eq!(State::read(dir.path()).unwrap(), Some(state.clone()));
        // Each place has its own.
        let usb = folder_of(Some("usb"));
        let second = State::set_up("/media/usb", "laptop", "id2", "w2", 6).kept_in(&usb);
        second.write(dir.path()).unwrap();
        assert_eq!((State::read_in(dir.path(), &usb).unwrap(), second.called()), (Some(second.clone()), Some("usb")));
        assert_eq!((folders(dir.path()), state.called()), (vec![PathBuf::from(FOLDER), usb], None));
        // Another repository that is to take its place, and was begun.
        let begun = State::set_up("/p", "laptop", "", "w", 5).kept_in(&Path::new(FOLDER).join(ROTATING));
        begun.write(dir.path()).unwrap();
        let read = State::read(dir.path()).unwrap().unwrap();
        let said = |now| read.findings(now).iter().map(|found| (found.kind, found.needs_person)).collect::<Vec<_>>();
        assert!(said(5 + DAY_MS).contains(&(Kind::RotationBegun, false)), "{read:?}");
        assert_eq!(said(6 + DAY_MS)[0], (Kind::RotationBegun, true));
        fs::remove_own(dir.path(), &Path::new(FOLDER).join(ROTATING).join(STATE)).unwrap();
        // The version before knew less.
        let mut json = serde_json::to_value(&state).unwrap();
        let new = ["generation", "replaced", "card_due", "max_age_ms", "away"];
        for new in ["machine", "pushes", "push", "one_disk", "drill_failed", "pulled_ms"].into_iter().chain(new) {
            assert!(json.as_object_mut().unwrap().remove(new).is_some(), "{new}");
        }
        std::fs::write(dir.path().join(FOLDER).join(STATE), json.to_string()).unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), Some(state.clone()));
        State { format: FORMAT + 1, ..state }.write(dir.path()).unwrap();
        assert!(State::read(dir.path()).unwrap_err().to_string().contains("update Threefold"));
        std::fs::write(dir.path().join(FOLDER).join(STATE), "{").unwrap();
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
        // A disk of which it is said how long it may be away is missed when something has waited for so long.
        let mut disk = state.clone().kept_in(&folder_of(Some("usb")));
        disk.max_age_ms = Some(14 * DAY_MS);
        disk.trouble(Kind::NotMounted, "x", 0);
        assert_eq!(words(&disk, 0), "not-mounted!", "it is there, and nothing is on it");
        disk.away = true;
        assert_eq!(disk.in_a_line(0), "usb: laptop → /p: nothing sent yet, its disk is not connected");
        assert_eq!(words(&disk, 99 * DAY_MS), "");
        disk.dirty_since_ms = Some(DAY_MS);
        assert_eq!(
            (words(&disk, 15 * DAY_MS), words(&disk, 15 * DAY_MS + 1)),
            (String::new(), "offsite-behind!".to_owned())
        );
        let found = disk.findings(16 * DAY_MS);
        assert_eq!(found[0].what, "usb: nothing arrived for 15 days: its disk is not connected");
        assert!(found[0].fix.ends_with("offsite push --now --place usb"), "{found:?}");
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
        state.generation = 2;
        state.replaced = vec!["laptop".to_owned()];
        assert_eq!(state.repository_name(), "laptop.2");
        let all = "drill-old! key-unconfirmed offsite-one-disk repository-replaced many-snapshots";
        assert_eq!(words(&state, 7 * DAY_MS + 1), all);
    }
}
