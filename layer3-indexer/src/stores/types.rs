//! What is said of stores and of the copies in them.

use std::collections::{BTreeSet, HashMap};
use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::PathBuf;

use layer1_prebackup::Hash;
use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::names::{SessionId, StoredName};
use serde::Serialize;

/// The layer whose store holds a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Layer {
    /// Layer 1's.
    #[serde(rename = "layer1")]
    One,
    /// Layer 3's.
    #[serde(rename = "layer3")]
    Three,
}

impl Layer {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Layer::One => "layer 1",
            Layer::Three => "layer 3",
        }
    }
}

/// One session in both stores; it may lie in two folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    /// As layer 1 keeps it.
    pub(crate) layer1: Option<SessionKey>,
    /// As layer 3 keeps it.
    pub(crate) layer3: Option<SessionKey>,
}

impl Pair {
    /// Those of all sessions of layer 1 and layer 3: see [`super::Stores::pairs`].
    pub(crate) fn of(layer1: Vec<SessionKey>, layer3: Vec<SessionKey>) -> Vec<Pair> {
        let alone = |keys: &[SessionKey]| {
            let mut alone: HashMap<SessionId, Option<SessionKey>> = HashMap::with_capacity(keys.len());
            for key in keys {
                alone.entry(key.id.clone()).and_modify(|known| *known = None).or_insert_with(|| Some(key.clone()));
            }
            alone
        };
        let (alone1, alone3) = (alone(&layer1), alone(&layer3));
        let mut rest: BTreeSet<SessionKey> = layer1.into_iter().collect();
        let mut pairs = Vec::with_capacity(layer3.len());
        for key in layer3 {
            let is_alone = alone3.get(&key.id).is_some_and(Option::is_some);
            let other = || alone1.get(&key.id).and_then(Option::as_ref).filter(|_| is_alone);
            let same = rest.take(&key).or_else(|| rest.take(other()?));
            pairs.push(Pair { layer1: same, layer3: Some(key) });
        }
        pairs.extend(rest.into_iter().map(|key| Pair { layer1: Some(key), layer3: None }));
        pairs
    }

    /// As layer 3 knows it, else as layer 1 does.
    pub(crate) fn key(&self) -> &SessionKey {
        self.layer3.as_ref().or(self.layer1.as_ref()).expect("a session is in a store")
    }

    /// As this layer keeps it.
    pub(crate) fn in_store(&self, layer: Layer) -> Option<&SessionKey> {
        match layer {
            Layer::One => self.layer1.as_ref(),
            Layer::Three => self.layer3.as_ref(),
        }
    }
}

/// Which content of a file is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Which {
    /// What it was last.
    #[default]
    Newest,
    /// An older generation, 1 being the oldest.
    Generation(u32),
    /// The longest of all.
    Longest,
    /// All contents of the transcript as one.
    Joined,
}

/// Where a stored content lies, and what it is.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(super) layer: Layer,
    pub(super) key: SessionKey,
    /// As which content of which generation it is stored.
    pub(crate) name: StoredName,
    /// Where it lay when it was chosen.
    pub(crate) path: PathBuf,
    /// Its length; what may stand behind it in the file belongs to a write that is not finished.
    pub(crate) bytes: u64,
    /// Of those bytes.
    pub(crate) blake3: Hash,
}

/// A stored content whose bytes were found to match their record, or are said not to.
#[derive(Debug)]
pub(crate) struct Copy {
    /// Which.
    pub(crate) at: Chosen,
    /// Copies that were asked before and are not as they were recorded.
    pub(crate) bad: Vec<BadCopy>,
    /// Why those were not chosen, and what else its reader should know, in plain words.
    pub(crate) notes: Vec<String>,
    pub(crate) file: File,
}

impl Copy {
    /// The bytes from their beginning. One reader at a time.
    pub(crate) fn read(&mut self) -> io::Result<impl Read + use<'_>> {
        self.file.rewind()?;
        Ok((&self.file).take(self.at.bytes))
    }
}

/// A copy that is not as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadCopy {
    pub(super) layer: Layer,
    /// Its folder and id there.
    pub(crate) key: SessionKey,
    /// Which content.
    pub(crate) name: StoredName,
    pub(super) path: PathBuf,
    /// In plain words: `is damaged`, `is missing`, …
    pub(super) how: String,
}

impl BadCopy {
    /// Whether it is not there, rather than wrong.
    pub(crate) fn is_missing(&self) -> bool {
        self.how == IS_MISSING
    }
}

pub(super) const IS_MISSING: &str = "is missing";

impl Display for BadCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}'s copy {} {}", self.layer.name(), self.path.display(), self.how)
    }
}

/// Why there is no good copy.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// Nothing of that name is stored.
    Absent,
    /// Each copy, and what is wrong with it.
    Damaged(Vec<String>),
    /// There is no such generation; these are stored, and how long each is.
    NoGeneration(Vec<(u32, u64)>),
}
