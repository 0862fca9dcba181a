//! The stored bytes of a session, proven before anybody reads them.
//!
//! A content is asked for by its name. Its bytes are hashed and compared with the record first;
//! where layer 3's copy is damaged or missing, layer 1's serves, and that is said. What nobody has
//! unharmed is an error, so that a damaged copy is never shown or exported as a good one unawares.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::PathBuf;

use layer1_prebackup::Hash;
use layer1_prebackup::archive::{Archive, ArchiveError, SessionKey, StoredFile, Verification};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs;
use layer1_prebackup::names::{FileName, StoredName};

use crate::failure::{Failure, Kind};
use crate::save::adopt_v1;
use crate::stores::session_name;

/// All that both stores hold of one session.
#[derive(Debug)]
pub(crate) struct Holdings {
    /// The session, as layer 3 knows it; as layer 1 does where layer 3 knows nothing.
    pub(crate) key: SessionKey,
    layer3: Option<Held>,
    layer1: Option<Held>,
}

/// What one store holds of it.
#[derive(Debug)]
struct Held {
    archive: Archive,
    key: SessionKey,
    files: Vec<StoredFile>,
}

/// A stored content whose first `bytes` bytes are what was recorded, or are said not to be.
#[derive(Debug)]
pub(crate) struct Content {
    /// Its length; what may stand behind it in the file belongs to a write that is not finished.
    pub(crate) bytes: u64,
    /// Where it lies, for messages.
    pub(crate) path: PathBuf,
    /// What the reader should know about these bytes.
    pub(crate) note: Option<String>,
    file: File,
}

impl Content {
    /// The bytes from their beginning. One reader at a time.
    pub(crate) fn read(&mut self) -> io::Result<impl Read + use<'_>> {
        self.file.rewind()?;
        Ok((&self.file).take(self.bytes))
    }
}

impl Holdings {
    /// Finds the session that `typed` names in both stores.
    pub(crate) fn find(places: &Places, typed: &str) -> Result<Holdings, Failure> {
        let (layer3, layer1) = (adopt_v1::open(places)?, Archive::open_as_found(&places.layer1_store)?);
        let stores: Vec<&Archive> = layer3.iter().chain(&layer1).collect();
        if stores.is_empty() {
            return Err(Failure::no_store(&places.layer3_store));
        }
        let (_, key) = session_name::find(&stores, typed)?;
        let key1 = layer1.as_ref().map(|layer1| same_session(layer1, &key, layer3.as_ref())).transpose()?.flatten();
        let layer3 = layer3.map(|archive| Held::of(archive, Some(key.clone()))).transpose()?.flatten();
        let layer1 = layer1.map(|archive| Held::of(archive, key1)).transpose()?.flatten();
        Ok(Holdings { key, layer3, layer1 })
    }

    /// Layer 3's store, where it has this session: its metadata lies there.
    pub(crate) fn layer3(&self) -> Option<&Archive> {
        self.layer3.as_ref().map(|held| &held.archive)
    }

    /// The names of the newest contents in either store, and of the older generations as layer 3
    /// numbers them; as layer 1 does where layer 3 has nothing. Transcript first.
    pub(crate) fn names(&self) -> Vec<StoredName> {
        let generations = self.layer3.as_ref().or(self.layer1.as_ref()).into_iter().flat_map(|held| &held.files);
        let newest = self.layer1.iter().flat_map(|held| &held.files).filter(|file| file.name.generation == 0);
        let mut names: Vec<StoredName> = generations.chain(newest).map(|file| file.name.clone()).collect();
        names.sort_by_key(|name| (name.generation, name.file.clone()));
        names.dedup();
        names
    }

    /// The transcript in this generation, 0 being the newest.
    pub(crate) fn transcript(&self, generation: u32) -> Result<StoredName, Failure> {
        let names = self.names();
        let of_transcript = |name: &&StoredName| name.file == FileName::Transcript;
        let id = &self.key.id;
        if let Some(name) = names.iter().filter(of_transcript).find(|name| name.generation == generation) {
            return Ok(name.clone());
        }
        let older: Vec<String> = names
            .iter()
            .filter(of_transcript)
            .filter(|name| name.generation > 0)
            .map(|name| name.generation.to_string())
            .collect();
        match generation {
            0 => Err(Failure::new(format!("read session {id}: no transcript of it is stored"))),
            _ => {
                let known = match older.is_empty() {
                    true => "only its newest content is stored".to_owned(),
                    false => format!("{} are stored", older.join(", ")),
                };
                let message = format!("read session {id}: there is no generation {generation} of it");
                Err(Failure::new(message).hint(known))
            }
        }
    }

    /// Opens a content whose bytes were found to match their record. Layer 1's copy serves where it
    /// has more of the same newest content, and where layer 3's is damaged, missing or unproven;
    /// the note says so.
    pub(crate) fn open(&self, name: &StoredName) -> Result<Content, Failure> {
        let of3 = self.layer3.as_ref().and_then(|held| Some((held, held.stored(name)?)));
        let Some((layer3, stored)) = of3 else {
            let of1 = self.layer1.as_ref().and_then(|held| held.all_of(held.stored(name)?));
            return of1.map(with_doubt).ok_or_else(|| self.damaged(name));
        };
        if let Some(longer) = self.longer_of_layer1(stored) {
            return Ok(longer);
        }
        let own = layer3.all_of(stored);
        let what = match own {
            Some((content, proof)) if proof != Verification::Unverified => return Ok(content),
            Some(_) => "unproven",
            None => "damaged or missing",
        };
        match (self.same_of_layer1(stored, own.is_some()), own) {
            (Some(mut content), _) => {
                content.note = Some(format!(
                    "{}: layer 3's copy is {what}, layer 1's is used: {}",
                    stored.path,
                    content.path.display()
                ));
                Ok(content)
            }
            (None, Some(own)) => Ok(with_doubt(own)),
            (None, None) => Err(self.damaged(name)),
        }
    }

    /// [`Holdings::open`], and where nobody has the recorded bytes, whatever layer 3 or else layer 1
    /// has: its note says that it is damaged. To be read by a person, never to be passed on.
    pub(crate) fn open_even_damaged(&self, name: &StoredName) -> Result<Content, Failure> {
        let error = match self.open(name) {
            Err(failure) if failure.is(Kind::Damaged) => failure,
            opened => return opened,
        };
        for held in self.layer3.iter().chain(&self.layer1) {
            let Ok(file) = held.archive.slot(&held.key, name).open() else { continue };
            let path = held.archive.slot(&held.key, name).place();
            let bytes = fs::stat_of(&file, &path)?.st_size as u64;
            let note = format!(
                "THIS COPY IS DAMAGED: {} does not match its recorded hash, and no other store has those bytes. What can be read of it follows; it may be wrong anywhere",
                path.display()
            );
            return Ok(Content { bytes, path, note: Some(note), file });
        }
        Err(error)
    }

    /// Layer 1 has what layer 3 has and more: layer 3 is not up to date yet.
    fn longer_of_layer1(&self, stored: &StoredFile) -> Option<Content> {
        let layer1 = self.layer1.as_ref().filter(|_| stored.name.generation == 0)?;
        let longer = layer1.stored(&stored.name).filter(|file| file.bytes > stored.bytes)?;
        layer1.unharmed(longer, stored.bytes, stored.blake3)?;
        let (mut content, _) = layer1.all_of(longer).filter(|(_, proof)| *proof != Verification::Unverified)?;
        let more = longer.bytes - stored.bytes;
        content.note = Some(format!("{}: layer 1 has {more} bytes more, its copy is used", stored.path));
        Some(content)
    }

    /// The bytes that layer 3 recorded, from whatever content of layer 1 begins with them.
    fn same_of_layer1(&self, stored: &StoredFile, proven: bool) -> Option<Content> {
        let layer1 = self.layer1.as_ref()?;
        let fits = |file: &&StoredFile| {
            file.name.file == stored.name.file
                && file.bytes >= stored.bytes
                && !(proven && file.verification == Verification::Unverified)
        };
        layer1.files.iter().filter(fits).find_map(|file| layer1.unharmed(file, stored.bytes, stored.blake3))
    }

    fn damaged(&self, name: &StoredName) -> Failure {
        let id = &self.key.id;
        let message = format!(
            "read {} of session {id}: it is damaged or missing, and no other store has those bytes",
            name.to_text(id)
        );
        Failure::new(message).of(Kind::Damaged).hint(format!("`layer3-indexer verify {id}` tells more"))
    }
}

impl Held {
    fn of(archive: Archive, key: Option<SessionKey>) -> Result<Option<Held>, ArchiveError> {
        let Some(key) = key else { return Ok(None) };
        let files = archive.files(&key)?;
        Ok((!files.is_empty()).then_some(Held { archive, key, files }))
    }

    fn stored(&self, name: &StoredName) -> Option<&StoredFile> {
        self.files.iter().find(|file| file.name == *name)
    }

    /// The content, if the file's first `bytes` bytes hash to `blake3`; `None` if it is damaged,
    /// short, missing or unreadable: then another copy is asked.
    fn unharmed(&self, stored: &StoredFile, bytes: u64, blake3: Hash) -> Option<Content> {
        let path = self.archive.slot(&self.key, &stored.name).place();
        let file = self.archive.slot(&self.key, &stored.name).open().ok()?;
        let hash = fs::hash_of_prefix(&file, bytes, &path).ok()?;
        (hash == blake3).then_some(Content { bytes, path, note: None, file })
    }

    fn all_of(&self, stored: &StoredFile) -> Option<(Content, Verification)> {
        self.unharmed(stored, stored.bytes, stored.blake3).map(|content| (content, stored.verification))
    }
}

/// A rebuilt record was made from the very bytes that it is compared with.
fn with_doubt((mut content, proof): (Content, Verification)) -> Content {
    if proof == Verification::Unverified {
        content.note = Some(format!(
            "{}: its record was lost and made again from the file itself, so these bytes are not proven to be those that were saved",
            content.path.display()
        ));
    }
    content
}

/// The same session in layer 1: of the same project, else the only one of that id.
fn same_session(
    layer1: &Archive,
    key: &SessionKey,
    layer3: Option<&Archive>,
) -> Result<Option<SessionKey>, ArchiveError> {
    let mut known = layer1.find(&key.id)?;
    if known.contains(key) {
        return Ok(Some(key.clone()));
    }
    let of_layer3 = layer3.map_or(Ok(1), |layer3| layer3.find(&key.id).map(|keys| keys.len()))?;
    Ok(if known.len() == 1 && of_layer3 <= 1 { known.pop() } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ID, Scene, answer, flip_last_byte, prompt};

    fn text(content: &mut Content) -> String {
        let mut text = String::new();
        content.read().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn newest() -> StoredName {
        StoredName::newest(FileName::Transcript)
    }

    #[test]
    fn a_good_copy_is_read_without_a_word() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "kept")]);
        scene.receipt(None);
        let mut content = Holdings::find(&scene.places, ID).unwrap().open(&newest()).unwrap();
        assert_eq!(content.note, None);
        assert_eq!(text(&mut content), prompt(1, "kept"));
        assert_eq!(text(&mut content), prompt(1, "kept"), "it can be read again");
    }

    #[test]
    fn layer_1_serves_where_layer_3_is_damaged_and_it_is_said() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "kept")]);
        scene.receipt(None);
        let layer1 = scene.layer1_copies();
        flip_last_byte(&scene.copy());
        let mut content = Holdings::find(&scene.places, ID).unwrap().open(&newest()).unwrap();
        assert_eq!(text(&mut content), prompt(1, "kept"));
        let note = content.note.unwrap();
        assert!(note.contains("layer 3's copy is damaged or missing, layer 1's is used"), "{note}");
        // With both damaged nothing is read as good.
        flip_last_byte(&layer1.0.slot(&layer1.1, &newest()).path());
        let holdings = Holdings::find(&scene.places, ID).unwrap();
        let error = holdings.open(&newest()).unwrap_err().to_string();
        assert!(error.contains("damaged or missing, and no other store has those bytes"), "{error}");
        let damaged = holdings.open_even_damaged(&newest()).unwrap();
        assert!(damaged.note.unwrap().starts_with("THIS COPY IS DAMAGED"));
    }

    #[test]
    fn a_longer_copy_of_layer_1_is_read() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "one")]);
        scene.receipt(None);
        scene.transcribe(&[prompt(1, "one"), answer(2, "two")]);
        scene.layer1_copies();
        let mut content = Holdings::find(&scene.places, ID).unwrap().open(&newest()).unwrap();
        assert!(text(&mut content).contains("two"));
        assert!(content.note.unwrap().contains("bytes more"));
    }

    #[test]
    fn without_layer_3_layer_1_serves() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "one")]);
        assert!(Holdings::find(&scene.places, ID).unwrap_err().to_string().starts_with("open the store "));
        scene.layer1_copies();
        let mut content = Holdings::find(&scene.places, &ID[..8]).unwrap().open(&newest()).unwrap();
        assert_eq!(text(&mut content), prompt(1, "one"));
    }

    #[test]
    fn generations_are_asked_for_by_number() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "old")]);
        scene.receipt(None);
        let holdings = Holdings::find(&scene.places, ID).unwrap();
        assert!(holdings.transcript(1).unwrap_err().to_string().contains("only its newest content is stored"));
        scene.transcribe(&[prompt(2, "new")]);
        scene.receipt(None);
        let holdings = Holdings::find(&scene.places, ID).unwrap();
        let old = holdings.transcript(1).unwrap();
        assert!(text(&mut holdings.open(&old).unwrap()).contains("old"));
        assert!(
            holdings.transcript(2).unwrap_err().to_string().contains("there is no generation 2 of it; 1 are stored")
        );
    }

    #[test]
    fn a_rebuilt_record_is_not_taken_for_a_proof() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "kept")]);
        scene.receipt(None);
        let ledgers = scene.places.layer3_store.join(".state/sessions").join(ID);
        for entry in std::fs::read_dir(&ledgers).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ext| ext == "ledger") {
                std::fs::write(&path, "").unwrap();
            }
        }
        let content = Holdings::find(&scene.places, ID).unwrap().open(&newest()).unwrap();
        assert!(content.note.unwrap().contains("not proven"));
        scene.layer1_copies();
        let content = Holdings::find(&scene.places, ID).unwrap().open(&newest()).unwrap();
        assert!(content.note.unwrap().contains("layer 3's copy is unproven, layer 1's is used"));
    }
}
