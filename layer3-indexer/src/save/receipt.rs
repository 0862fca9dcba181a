//! What a save is asked to cover, and what it answers: the words of `session_save`.

use layer1_prebackup::Hash;
use layer1_prebackup::archive::StoredFile;
use layer1_prebackup::names::{SessionId, StoredName};
use rmcp::schemars;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Kind};

/// A content that the caller holds and wants to see covered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Which file, which generation there.
    pub(crate) name: StoredName,
    /// Its length.
    pub(crate) bytes: u64,
    /// Plain BLAKE3 of its first `bytes` bytes.
    pub(crate) blake3: Hash,
}

impl Expected {
    pub(super) fn of(file: &StoredFile) -> Expected {
        Expected { name: file.name.clone(), bytes: file.bytes, blake3: file.blake3 }
    }
}

/// One entry of `expected` as it stands in the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct ExpectedEntry {
    /// Relative to the project's folder in the caller's store: SESSION.jsonl, SESSION/side/file, SESSION.gen-0001.jsonl.
    pub(crate) path: String,
    /// 0 for the newest content, 1 for the oldest, then 2, …
    #[serde(default)]
    pub(crate) generation: u32,
    /// Length in bytes.
    pub(crate) bytes: u64,
    /// BLAKE3 of those bytes, 64 hexadecimal digits.
    pub(crate) blake3: String,
}

impl ExpectedEntry {
    /// Checks that the entry is one of session `id`.
    pub(crate) fn parse(&self, id: &SessionId) -> Result<Expected, Failure> {
        let name = StoredName::parse(id, &self.path)?;
        if name.generation != self.generation {
            let (of_path, given) = (name.generation, self.generation);
            let why = format!("its path is of generation {of_path}, the entry says {given}");
            return Err(self.refused(&why));
        }
        let blake3 =
            Hash::from_hex(&self.blake3).map_err(|_| self.refused("its blake3 must be 64 hexadecimal digits"))?;
        Ok(Expected { name, bytes: self.bytes, blake3 })
    }

    fn refused(&self, why: &str) -> Failure {
        Failure::new(format!("use the expected entry {:?}: {why}", self.path)).of(Kind::InvalidInput)
    }
}

/// The answer to a save.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    /// It is stored; the receipt says what.
    Receipt(Receipt),
    /// There was nothing to store.
    Skipped(Skipped),
}

/// What is stored and whether it covers what the caller holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct Receipt {
    /// The session.
    pub(crate) session_id: String,
    /// Its folder in the store.
    pub(crate) project: String,
    /// The store's random id; another id means another store.
    pub(crate) store_id: String,
    /// With `expected`: the same list. Without: everything stored for the session.
    pub(crate) files: Vec<ReceiptFile>,
    /// Messages of the session in the search index.
    pub(crate) messages_indexed: u64,
    /// What caused the save.
    pub(crate) trigger: String,
    /// What did not work although the copy is stored, for example indexing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) warning: Option<String>,
}

/// One content in a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct ReceiptFile {
    /// Relative to the project's folder in the store.
    pub(crate) path: String,
    /// 0 for the newest content, 1 for the oldest, then 2, …
    pub(crate) generation: u32,
    /// Length in bytes.
    pub(crate) bytes: u64,
    /// BLAKE3 of those bytes, 64 hexadecimal digits.
    pub(crate) blake3: String,
    /// Whether the store holds a content that begins with exactly these bytes, read back.
    pub(crate) covered: bool,
}

/// Nothing was stored, and that settles it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct Skipped {
    /// Always true.
    pub(crate) skipped: bool,
    /// Why nothing was stored.
    pub(crate) reason: String,
}

impl Answer {
    pub(super) fn skipped(reason: String) -> Answer {
        Answer::Skipped(Skipped { skipped: true, reason })
    }
}
