//! Where everything lies in a store, relative to its root.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::types::SessionKey;
use crate::names::{FileName, SessionId, StoredName};

/// The folder of the bookkeeping.
pub(super) const STATE: &str = ".state";
pub(super) const STORE_FILE: &str = ".state/store.json";
pub(super) const STORE_LOCK: &str = ".state/store.lock";
/// What was replaced or cannot be believed is kept here.
pub(super) const QUARANTINE: &str = ".state/damaged";
/// Its `lock` is held by whoever writes a journal; see `hook/event_log.rs`.
pub(super) const JOURNALS: &str = ".state/journal";
/// The folders of the sessions' bookkeeping.
pub(super) const SESSIONS: &str = ".state/sessions";
/// What comes before the name of one of them.
pub(super) const SESSIONS_BEFORE: &str = ".state/sessions/";
/// What a ledger's name ends in, behind the project's.
pub(super) const LEDGER_ENDING: &str = ".ledger";
/// What a compressed file's name ends in, behind the plain one's.
pub(super) const COMPRESSED_ENDING: &str = ".zst";

/// Which of a content's two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Compressed,
}

/// Where the lock and the ledgers of a session id lie.
pub(super) fn session_folder(id: &SessionId) -> PathBuf {
    Path::new(SESSIONS).join(id.as_str())
}

/// The ledger's file name in [`session_folder`].
pub(super) fn ledger_name(key: &SessionKey) -> OsString {
    OsString::from(format!("{}{LEDGER_ENDING}", key.project))
}

/// The folder of a project.
pub(super) fn project_folder(key: &SessionKey) -> &Path {
    Path::new(key.project.as_str())
}

/// Whether a content's name is one that may be compressed: side files' names are not ours to lengthen.
pub(super) fn may_be_compressed(name: &StoredName) -> bool {
    name.file == FileName::Transcript
}

/// The file of a content in one of its forms.
pub(super) fn content_path(key: &SessionKey, name: &StoredName, form: Form) -> PathBuf {
    let plain = project_folder(key).join(name.to_path(&key.id));
    match form {
        Form::Plain => plain,
        Form::Compressed => plain.with_file_name(content_file_name(key, name, form)),
    }
}

/// Its last component.
pub(super) fn content_file_name(key: &SessionKey, name: &StoredName, form: Form) -> OsString {
    let mut file_name = name.to_path(&key.id).file_name().map(OsStr::to_owned).unwrap_or_default();
    if form == Form::Compressed {
        file_name.push(COMPRESSED_ENDING);
    }
    file_name
}

/// The content of a file in a project's folder, compressed or not.
pub(super) fn content_name(id: &SessionId, text: &str) -> Option<StoredName> {
    let plain = StoredName::parse(id, text).ok();
    let compressed = || StoredName::parse(id, text.strip_suffix(COMPRESSED_ENDING)?).ok();
    plain.or_else(|| compressed().filter(may_be_compressed))
}

/// Whether a folder of this name holds a session's side files, of whichever generation.
pub(super) fn is_side_folder_of(id: &SessionId, name: &str) -> bool {
    name == id.as_str() || StoredName::parse(id, &format!("{name}.jsonl")).is_ok_and(|name| name.generation > 0)
}

/// The session that an entry of a project's folder belongs to.
pub(super) fn session_of_entry(entry: &OsStr, kind: FileType) -> Option<SessionId> {
    let text = entry.to_str()?;
    let stem = match kind {
        FileType::RegularFile => text.strip_suffix(COMPRESSED_ENDING).unwrap_or(text).strip_suffix(".jsonl")?,
        FileType::Directory => text,
        _ => return None,
    };
    let id = SessionId::parse(stem.split_once(".gen-").map_or(stem, |(id, _)| id)).ok()?;
    let is_its_own = match kind {
        FileType::RegularFile => content_name(&id, text).is_some(),
        _ => is_side_folder_of(&id, text),
    };
    is_its_own.then_some(id)
}
