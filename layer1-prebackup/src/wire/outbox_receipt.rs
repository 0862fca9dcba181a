//! Receipts of the outbox, `<layer 1's store>/.outbox/receipts/{NAME}.json`: layer 2 keeps the last one of each session,
//! by the name of its job; layer 3's import leaves one of each session that it saved.

use serde::{Deserialize, Serialize};

/// Their folder in the outbox.
pub const RECEIPTS: &str = "receipts";
/// No kept receipt is longer, in bytes: a hundred thousand files take less.
pub const RECEIPT_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Format of a kept receipt.
pub const RECEIPT_FORMAT: u32 = 1;

/// One file of a session in one of its generations, as it stands in `expected` and in a receipt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileEntry {
    /// Relative to the project's folder in the store.
    pub path: String,
    /// 0 for the newest content.
    pub generation: u32,
    /// Length.
    pub bytes: u64,
    /// Plain BLAKE3 of the first `bytes` bytes, 64 hexadecimal digits.
    pub blake3: String,
}

/// The last receipt of a session, as it is kept under `.outbox/receipts/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`RECEIPT_FORMAT`].
    pub format: u32,
    /// The session.
    pub session_id: String,
    /// Its folder in the server's store, if the server said so.
    pub project: Option<String>,
    /// Id of the server's store; empty when the server gives no receipts.
    pub store_id: String,
    /// Name and version of the server.
    pub server: String,
    /// When it came, in milliseconds since 1970.
    pub received_ms: u64,
    /// The answer had no receipt and `--no-receipt` accepted that: `files` is what was asked for.
    pub unreceipted: bool,
    /// What is covered.
    pub files: Vec<FileEntry>,
}
