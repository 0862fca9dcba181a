//! What one store holds of a session, and whether its copies are as they were recorded.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use layer1_prebackup::Hash;
use layer1_prebackup::archive::{Archive, ArchiveError, SessionKey, StoredFile};
use layer1_prebackup::fs;
use layer1_prebackup::names::FileName;

use crate::failure::chain;
use crate::stores::both::Stores;
use crate::stores::types::{BadCopy, Chosen, Copy, IS_MISSING, Layer};

/// What one store holds of a session.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) layer: Layer,
    /// Under which key; none where it has nothing of the session.
    pub(super) key: Option<SessionKey>,
    pub(super) files: Vec<StoredFile>,
    /// Where it was copied from.
    pub(super) source: Option<PathBuf>,
}

impl Held {
    pub(super) fn of(stores: &Stores, layer: Layer, key: &SessionKey) -> Result<Held, ArchiveError> {
        let other = stores.of(if layer == Layer::Three { Layer::One } else { Layer::Three });
        let Some(archive) = stores.of(layer) else { return Ok(Held::none(layer)) };
        let Some(key) = archive.same_session(key, other)? else { return Ok(Held::none(layer)) };
        let (files, source) = (archive.files(&key)?, archive.source_of(&key)?);
        Ok(Held { layer, key: Some(key), files, source })
    }

    pub(super) fn none(layer: Layer) -> Held {
        Held { layer, key: None, files: Vec::new(), source: None }
    }

    pub(super) fn contents(&self, file: &FileName) -> impl Iterator<Item = &StoredFile> {
        self.files.iter().filter(move |stored| stored.name.file == *file)
    }

    /// The content that the file had last: generation 0, else the highest.
    pub(super) fn newest(&self, file: &FileName) -> Option<&StoredFile> {
        self.contents(file).max_by_key(|file| if file.name.generation == 0 { u32::MAX } else { file.name.generation })
    }

    pub(super) fn last_with_content(&self, file: &FileName) -> Option<&StoredFile> {
        self.contents(file).filter(|file| file.bytes > 0).max_by_key(|file| file.name.generation)
    }

    /// Where a content lies.
    pub(super) fn path(&self, stores: &Stores, stored: &StoredFile) -> PathBuf {
        let at = stores.of(self.layer).zip(self.key.as_ref());
        at.map_or(PathBuf::new(), |(archive, key)| archive.slot(key, &stored.name).place())
    }

    /// The copy, if the file's first `bytes` bytes hash to `blake3`. Nothing is called damaged by one reading.
    pub(super) fn read(
        &self,
        stores: &Stores,
        stored: &StoredFile,
        bytes: u64,
        blake3: Hash,
    ) -> Result<Copy, Box<BadCopy>> {
        let (archive, key) = stores.of(self.layer).zip(self.key.clone()).expect("what is listed is in a store");
        let path = archive.slot(&key, &stored.name).place();
        let read =
            open(archive, &key, stored, &path).and_then(|file| compare(&file, bytes, blake3, &path).map(|()| file));
        let (layer, name) = (self.layer, stored.name.clone());
        match read {
            Ok(file) => Ok(Copy {
                at: Chosen { layer, key, name, path, bytes, blake3 },
                bad: Vec::new(),
                notes: Vec::new(),
                file,
            }),
            Err(how) => Err(Box::new(BadCopy { layer, key, name, path, how })),
        }
    }

    /// Whether a content begins with these bytes.
    pub(super) fn begins_with(&self, stores: &Stores, stored: &StoredFile, other: &StoredFile) -> bool {
        stored.bytes >= other.bytes && self.read(stores, stored, other.bytes, other.blake3).is_ok()
    }
}

fn open(archive: &Archive, key: &SessionKey, stored: &StoredFile, path: &Path) -> Result<File, String> {
    archive.slot(key, &stored.name).open().map_err(|error| match error {
        // A compressed one that cannot be unpacked is there.
        ArchiveError::Damaged { .. } if path.symlink_metadata().is_ok() => "is damaged".to_owned(),
        ArchiveError::Damaged { .. } => IS_MISSING.to_owned(),
        error => format!("cannot be opened ({})", chain(&error)),
    })
}

fn compare(file: &File, bytes: u64, blake3: Hash, path: &Path) -> Result<(), String> {
    let mut how = String::new();
    for _ in 0..2 {
        how = match fs::hash_of_prefix(file, bytes, path) {
            Ok(hash) if hash == blake3 => return Ok(()),
            Ok(_) => "is damaged".to_owned(),
            Err(error) if error.source.kind() == io::ErrorKind::UnexpectedEof => {
                "is damaged (it is too short)".to_owned()
            }
            Err(error) => format!("cannot be read ({})", error.source),
        };
    }
    Err(how)
}
