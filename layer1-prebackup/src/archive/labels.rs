//! What the user calls a conversation: its name, tags, pin and note.
//!
//! They are in both stores, in `.state/labels/{ID}.labels`: one line, written like a ledger's, so that a flipped bit is
//! known. Each of them says when it was given, and the later one stands: whichever store was away or put back to an
//! older state meanwhile, putting the two together in any order gives the same. Kept by id alone, they outlive each
//! copy that is made, moved, compressed or removed of the conversation; `forget` removes them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::paths::QUARANTINE;
use super::store::Archive;
use super::types::{ArchiveError, Formatted};
use crate::fs::{Dir, Lock};
use crate::names::SessionId;

const FOLDER: &str = ".state/labels";
const LOCK: &str = "labels.lock";
const ENDING: &str = ".labels";
const FORMAT: u32 = 1;
const SUM_DIGITS: usize = 16;
/// Longer than any that can be given.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Something that was given at a time, in milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Given<T> {
    at_ms: u64,
    value: T,
}

/// What the user calls a conversation, and since when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    format: u32,
    session_id: String,
    #[serde(default)]
    name: Given<Option<String>>,
    /// Those that were taken away again too: the other store may still have them.
    #[serde(default)]
    tags: BTreeMap<String, Given<bool>>,
    #[serde(default)]
    pinned: Given<bool>,
    #[serde(default)]
    note: Given<Option<String>>,
    /// What a later version keeps here.
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// One thing to be changed of [`Labels`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelChange {
    /// The name, or none.
    Name(Option<String>),
    /// Whether a tag is there.
    Tag(String, bool),
    /// Whether it is pinned.
    Pinned(bool),
    /// The note, or none.
    Note(Option<String>),
}

/// A conversation's labels, or why they cannot be read.
type ById = (SessionId, Result<Labels, ArchiveError>);

impl Labels {
    /// Of a conversation that has none.
    pub fn none(id: &SessionId) -> Labels {
        Labels {
            format: FORMAT,
            session_id: id.to_string(),
            name: Given::default(),
            tags: BTreeMap::new(),
            pinned: Given::default(),
            note: Given::default(),
            others: Map::new(),
        }
    }

    /// What the user named the conversation.
    pub fn name(&self) -> Option<&str> {
        self.name.value.as_deref()
    }

    /// Its tags, in order.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().filter(|(_, is_there)| is_there.value).map(|(tag, _)| tag.as_str())
    }

    /// Whether it is pinned.
    pub fn is_pinned(&self) -> bool {
        self.pinned.value
    }

    /// What the user noted about it.
    pub fn note(&self) -> Option<&str> {
        self.note.value.as_deref()
    }

    /// Changes one of them. It stands against all that was given before, also where the clock went back.
    pub fn change(&mut self, change: LabelChange, now_ms: u64) {
        fn give<T: PartialEq>(given: &mut Given<T>, value: T, now_ms: u64) {
            if given.value != value {
                *given = Given { at_ms: now_ms.max(given.at_ms + 1), value };
            }
        }
        match change {
            LabelChange::Name(name) => give(&mut self.name, name, now_ms),
            LabelChange::Tag(tag, is_there) => give(self.tags.entry(tag).or_default(), is_there, now_ms),
            LabelChange::Pinned(is_pinned) => give(&mut self.pinned, is_pinned, now_ms),
            LabelChange::Note(note) => give(&mut self.note, note, now_ms),
        }
        self.tags.retain(|_, given| given.at_ms > 0);
    }

    /// Takes over what is later in `other`; whether anything was.
    pub fn merge(&mut self, other: &Labels) -> bool {
        fn later<T: Ord + Clone>(own: &mut Given<T>, other: &Given<T>) {
            if *other > *own {
                *own = other.clone();
            }
        }
        let before = self.clone();
        later(&mut self.name, &other.name);
        later(&mut self.pinned, &other.pinned);
        later(&mut self.note, &other.note);
        for (tag, given) in &other.tags {
            later(self.tags.entry(tag.clone()).or_default(), given);
        }
        for (field, value) in &other.others {
            // Nobody here knows which is later; both stores are to have the same.
            let own = self.others.entry(field).or_insert_with(|| value.clone());
            let (theirs, ours) = (value.to_string(), own.to_string());
            if theirs > ours {
                *own = value.clone();
            }
        }
        *self != before
    }

    /// Takes away each text that `holds` says of; whether there was one.
    pub fn remove_texts(&mut self, holds: impl Fn(&str) -> bool, now_ms: u64) -> bool {
        let before = self.clone();
        let is_held = |text: Option<&str>| text.is_some_and(&holds);
        if is_held(self.name()) {
            self.change(LabelChange::Name(None), now_ms);
        }
        if is_held(self.note()) {
            self.change(LabelChange::Note(None), now_ms);
        }
        self.tags.retain(|tag, _| !holds(tag));
        self.others.retain(|field, value| !holds(field) && !holds(&value.to_string()));
        *self != before
    }

    fn to_line(&self) -> String {
        // Texts, numbers, and what was JSON: this cannot fail.
        let json = serde_json::to_string(self).expect("labels serialise");
        format!("{} {json}\n", sum(&json))
    }

    fn parse(line: &[u8], path: &Path) -> Result<Labels, ArchiveError> {
        let damaged = |what: &str| ArchiveError::damaged(path, what.to_owned());
        let line = std::str::from_utf8(line).map_err(|_| damaged("it is no text"))?;
        let (expected, json) = line.trim_end().split_once(' ').ok_or_else(|| damaged("it is cut off"))?;
        if sum(json) != expected {
            return Err(damaged("it is not what was written"));
        }
        let unclear = |_| damaged("it says nothing that is understood");
        let Formatted { format } = serde_json::from_str(json).map_err(unclear)?;
        if format > u64::from(FORMAT) {
            return Err(ArchiveError::NewerFormat { path: path.to_owned(), format });
        }
        serde_json::from_str(json).map_err(unclear)
    }
}

impl Archive {
    /// What the user calls a conversation; `None` where this store has nothing of that. Damage is an error.
    pub fn labels(&self, id: &SessionId) -> Result<Option<Labels>, ArchiveError> {
        match self.root.open_beneath(Path::new(FOLDER))? {
            Some(folder) => read(&folder, id),
            None => Ok(None),
        }
    }

    /// What the user calls each of the conversations that is called anything, by id. One that cannot be read fails by itself.
    pub fn all_labels(&self) -> Result<Vec<ById>, ArchiveError> {
        let Some(folder) = self.root.open_beneath(Path::new(FOLDER))? else { return Ok(Vec::new()) };
        let id = |(name, _): (OsString, _)| SessionId::parse(name.to_str()?.strip_suffix(ENDING)?).ok();
        let mut ids: Vec<SessionId> = folder.entries()?.into_iter().filter_map(id).collect();
        ids.sort();
        Ok(ids.into_iter().filter_map(|id| Some((id.clone(), read(&folder, &id).transpose()?))).collect())
    }

    /// The conversations that are called anything, or of which anything was forgotten, by the names of the files alone.
    pub fn set_apart(&self) -> Result<BTreeSet<SessionId>, ArchiveError> {
        let mut ids = self.forgotten_ids()?;
        let Some(folder) = self.root.open_beneath(Path::new(FOLDER))? else { return Ok(ids) };
        folder.each_entry(&mut |name, _| {
            let id = name.to_str().and_then(|name| name.strip_suffix(ENDING));
            ids.extend(id.and_then(|id| SessionId::parse(id).ok()));
        })?;
        Ok(ids)
    }

    /// Takes over what is later in `labels`; durable when it returns. Whether anything was. What stands there and cannot
    /// be read moves to `.state/damaged/`. Of a forgotten conversation nothing is taken.
    pub fn merge_labels(&self, id: &SessionId, labels: &Labels) -> Result<bool, ArchiveError> {
        let _lock = Lock::wait_in(&self.state()?, OsStr::new(LOCK))?;
        if self.is_forgotten(id)? {
            return Ok(false);
        }
        let folder = self.synced_dir(Path::new(FOLDER), &|_| Ok(false))?;
        let name = file_name(id);
        let known = match read(&folder, id) {
            Err(error @ ArchiveError::NewerFormat { .. }) => return Err(error),
            Err(_) => {
                self.put_aside(&folder, &name)?;
                None
            }
            known => known?,
        };
        let mut merged = known.unwrap_or_else(|| Labels::none(id));
        if labels.session_id != id.as_str() || !merged.merge(labels) {
            return Ok(false);
        }
        folder.replace_file(&name, merged.to_line().as_bytes())?;
        Ok(true)
    }

    /// Puts these in the place of what is there, whatever that says: for `forget --match`.
    pub fn replace_labels(&self, id: &SessionId, labels: &Labels) -> Result<(), ArchiveError> {
        let _lock = Lock::wait_in(&self.state()?, OsStr::new(LOCK))?;
        let folder = self.synced_dir(Path::new(FOLDER), &|_| Ok(false))?;
        Ok(folder.replace_file(&file_name(id), labels.to_line().as_bytes())?)
    }

    /// Removes what the user calls a conversation; whether there was anything.
    pub fn remove_labels(&self, id: &SessionId) -> Result<bool, ArchiveError> {
        let Some(folder) = self.root.open_beneath(Path::new(FOLDER))? else { return Ok(false) };
        let _lock = Lock::wait_in(&self.state()?, OsStr::new(LOCK))?;
        Ok(folder.remove(&file_name(id))?)
    }

    /// The conversation whose labels a file of the store holds, by its path in the store.
    pub fn labels_of_path(rel: &Path) -> Option<SessionId> {
        let name = rel.strip_prefix(FOLDER).ok()?.to_str()?;
        SessionId::parse(name.strip_suffix(ENDING)?).ok()
    }

    /// Where the labels of a conversation lie in a store.
    pub fn labels_path(id: &SessionId) -> PathBuf {
        Path::new(FOLDER).join(file_name(id))
    }

    fn put_aside(&self, folder: &Dir, name: &OsStr) -> Result<(), ArchiveError> {
        let quarantine = self.synced_dir(Path::new(QUARANTINE), &|_| Ok(false))?;
        let mut free = name.to_owned();
        let mut n = 2;
        while quarantine.stat(&free)?.is_some() {
            free = OsString::from(format!("{}.{n}", name.to_string_lossy()));
            n += 1;
        }
        Ok(folder.rename_new(name, &quarantine, &free)?)
    }
}

fn read(folder: &Dir, id: &SessionId) -> Result<Option<Labels>, ArchiveError> {
    let name = file_name(id);
    let Some(line) = folder.read_own_file(&name, FILE_BYTES_MAX)? else { return Ok(None) };
    let labels = Labels::parse(&line, &folder.path().join(&name))?;
    // Ids that differ in the case of letters alone may share a file.
    Ok(Some(labels).filter(|labels| labels.session_id == id.as_str()))
}

fn file_name(id: &SessionId) -> OsString {
    OsString::from(format!("{id}{ENDING}"))
}

fn sum(json: &str) -> String {
    blake3::hash(json.as_bytes()).to_hex()[..SUM_DIGITS].to_owned()
}

#[cfg(test)]
// A test plays the part of a damaged disk.
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn id() -> SessionId {
        SessionId::parse("s1").unwrap()
    }

    fn labels(changes: &[(LabelChange, u64)]) -> Labels {
        let mut labels = Labels::none(&id());
        changes.iter().for_each(|(change, now_ms)| labels.change(change.clone(), *now_ms));
        labels
    }

    fn name(text: &str) -> LabelChange {
        LabelChange::Name(Some(text.to_owned()))
    }

    fn tag(text: &str, is_there: bool) -> LabelChange {
        LabelChange::Tag(text.to_owned(), is_there)
    }

    #[test]
    fn the_later_of_each_stands_in_whatever_order_two_stores_are_put_together() {
        let all = [
            labels(&[(name("old"), 10), (tag("a", true), 11), (LabelChange::Pinned(true), 12)]),
            labels(&[(name("new"), 20), (tag("a", true), 11), (tag("a", false), 21)]),
            labels(&[(LabelChange::Note(Some("n".into())), 5), (tag("b", true), 5)]),
            labels(&[(name("same time"), 20)]),
        ];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
            let mut merged = Labels::none(&id());
            for at in order {
                merged.merge(&all[at]);
            }
            assert_eq!((merged.name(), merged.is_pinned(), merged.note()), (Some("same time"), true, Some("n")));
            assert_eq!(merged.tags().collect::<Vec<_>>(), ["b"]);
            assert!(all.iter().all(|part| !merged.clone().merge(part)), "{merged:?}");
        }
        // A clock that went back undoes nothing.
        let mut back = all[1].clone();
        back.change(name("after all"), 3);
        let mut merged = all[1].clone();
        assert!(merged.merge(&back));
        assert_eq!(merged.name(), Some("after all"));
    }

    #[test]
    fn they_are_kept_whole_or_known_to_be_damaged_and_taken_from_the_other_store() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| Archive::create(&dir.path().join(name)).unwrap());
        assert_eq!(one.labels(&id()).unwrap(), None);
        let given = labels(&[(name("日本 \"x\""), 1), (tag("a", true), 2)]);
        for archive in [&one, &other] {
            assert!(archive.merge_labels(&id(), &given).unwrap() && !archive.merge_labels(&id(), &given).unwrap());
            assert_eq!(archive.labels(&id()).unwrap().as_ref(), Some(&given));
        }
        let path = one.root().join(Archive::labels_path(&id()));
        let whole = std::fs::read(&path).unwrap();
        let flipped = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        };
        let newer = "{\"format\":2,\"session_id\":\"s1\"}";
        for (n, damage) in [flipped(0), flipped(30), whole[..whole.len() / 2].to_vec(), Vec::new()].iter().enumerate() {
            std::fs::write(&path, damage).unwrap();
            assert!(matches!(one.labels(&id()), Err(ArchiveError::Damaged { .. })), "{n}");
            assert!(one.all_labels().unwrap()[0].1.is_err());
            assert!(one.merge_labels(&id(), &other.labels(&id()).unwrap().unwrap()).unwrap());
            assert_eq!(std::fs::read(&path).unwrap(), whole, "{n}");
            let aside = if n == 0 { "s1.labels".to_owned() } else { format!("s1.labels.{}", n + 1) };
            assert_eq!(std::fs::read(one.root().join(".state/damaged").join(aside)).unwrap(), *damage);
        }
        std::fs::write(&path, format!("{} {newer}\n", sum(newer))).unwrap();
        assert!(matches!(one.merge_labels(&id(), &given), Err(ArchiveError::NewerFormat { .. })));
        assert!(one.remove_labels(&id()).unwrap() && !one.remove_labels(&id()).unwrap());
        // Nothing of what was forgotten comes back.
        one.note_forgotten(&id(), &super::super::Forgotten::new(&id(), 1)).unwrap();
        assert!(!one.merge_labels(&id(), &given).unwrap());
        assert_eq!(one.labels(&id()).unwrap(), None);
    }

    #[test]
    fn what_a_later_version_keeps_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::create(&dir.path().join("one")).unwrap();
        let json = "{\"format\":1,\"session_id\":\"s1\",\"colour\":{\"of\":\"it\"}}";
        let path = archive.root().join(Archive::labels_path(&id()));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("{} {json}\n", sum(json))).unwrap();
        assert!(archive.merge_labels(&id(), &labels(&[(name("n"), 1)])).unwrap());
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"colour\":{\"of\":\"it\"}"));
        let mut known = archive.labels(&id()).unwrap().unwrap();
        assert!(known.remove_texts(|text| text.contains('n'), 9));
        assert_eq!((known.name(), known.others.len()), (None, 1));
    }
}
