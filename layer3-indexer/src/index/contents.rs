//! Where the text of messages lies.

use std::fs::File;
use std::path::Path;

use layer1_prebackup::archive::{Archive, ArchiveError, Labels, Ranges, SessionKey, StoredFile};
use layer1_prebackup::names::StoredName;

use crate::transcript::metadata::{Metadata, metadata_text};

/// Where the text of messages lies. [`Archive`] is the one that counts; tests have others.
pub trait Contents {
    /// See [`Archive::store_id`].
    fn store_id(&self) -> &str;
    /// Where it lies, if it keeps a list of what is owed to the index.
    fn root(&self) -> Option<&Path> {
        None
    }
    /// See [`Archive::files`].
    fn files(&self, key: &SessionKey) -> Result<Vec<StoredFile>, ArchiveError>;
    /// See [`layer1_prebackup::archive::Slot::open`].
    fn open_file(&self, key: &SessionKey, name: &StoredName) -> Result<File, ArchiveError>;
    /// See [`layer1_prebackup::archive::Slot::ranges`].
    fn open_ranges(&self, key: &SessionKey, name: &StoredName) -> Result<Ranges, ArchiveError> {
        Ok(Ranges::plain(self.open_file(key, name)?, name.to_path(&key.id)))
    }
    /// See [`Archive::sessions`].
    fn sessions(&self) -> Result<Vec<SessionKey>, ArchiveError>;
    /// What caused the session's last save, as its metadata file has it: a rebuilt index takes it from there.
    fn last_trigger(&self, key: &SessionKey) -> Option<String>;
    /// What the user calls the session, see [`Archive::labels`].
    fn labels(&self, _key: &SessionKey) -> Option<Labels> {
        None
    }
}

impl Contents for Archive {
    fn store_id(&self) -> &str {
        Archive::store_id(self)
    }
    fn root(&self) -> Option<&Path> {
        Some(Archive::root(self))
    }
    fn files(&self, key: &SessionKey) -> Result<Vec<StoredFile>, ArchiveError> {
        Archive::files(self, key)
    }
    fn open_file(&self, key: &SessionKey, name: &StoredName) -> Result<File, ArchiveError> {
        self.slot(key, name).open()
    }
    fn open_ranges(&self, key: &SessionKey, name: &StoredName) -> Result<Ranges, ArchiveError> {
        self.slot(key, name).ranges()
    }
    fn sessions(&self) -> Result<Vec<SessionKey>, ArchiveError> {
        Archive::sessions(self)
    }
    fn last_trigger(&self, key: &SessionKey) -> Option<String> {
        // A lost metadata file costs this word alone.
        let metadata: Metadata = serde_json::from_slice(&metadata_text(self, key)?).ok()?;
        Some(metadata.trigger)
    }
    fn labels(&self, key: &SessionKey) -> Option<Labels> {
        // One that is damaged is told by `verify`, and comes back from the other store.
        Archive::labels(self, &key.id).ok().flatten()
    }
}
