//! Which stored bytes are the ones to restore.
//!
//! Each content is read and compared with its recorded hash before anything is written. Where one
//! layer's copy is damaged, whatever content of either layer begins with the recorded bytes serves
//! instead, and that is said. A content is never replaced by another one in silence: what was
//! asked for is restored, or nothing.

pub mod content;
pub(crate) mod session_name;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use layer1_prebackup::Hash;
use layer1_prebackup::archive::{Archive, ArchiveError, SessionKey, StoredFile, Verification};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs;
use layer1_prebackup::names::{FileName, StoredName};

use crate::failure::{Failure, chain};
use crate::terminal;

/// A content of a transcript.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Which {
    /// What it was last.
    #[default]
    Newest,
    /// An older generation, 1 being the oldest.
    Generation(u32),
    /// The longest of all.
    Longest,
}

/// The layer whose store holds a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    One,
    Three,
}

impl Layer {
    fn name(self) -> &'static str {
        match self {
            Layer::One => "layer 1",
            Layer::Three => "layer 3",
        }
    }
}

/// Both stores, as far as they are there and can be read.
#[derive(Debug, Default)]
pub(super) struct Stores {
    layer3: Option<Archive>,
    layer1: Option<Archive>,
    /// What the user should know about a store that cannot be read.
    pub(crate) notes: Vec<String>,
}

impl Stores {
    /// Opens what there is. One store that cannot be opened is a note: the other one serves. Writes
    /// nothing: a store without bookkeeping is read as it stands.
    pub(crate) fn open(places: &Places) -> Result<Stores, Failure> {
        let mut stores = Stores::default();
        let mut failed = None;
        for layer in [Layer::Three, Layer::One] {
            let place = if layer == Layer::Three { &places.layer3_store } else { &places.layer1_store };
            match Archive::open_as_found(place) {
                Ok(archive) if layer == Layer::Three => stores.layer3 = archive,
                Ok(archive) => stores.layer1 = archive,
                Err(error) => {
                    stores.notes.push(format!("{}'s store cannot be used: {}", layer.name(), chain(&error)));
                    failed = Some(error);
                }
            }
        }
        match (stores.layer3.is_some() || stores.layer1.is_some(), failed) {
            (true, _) => Ok(stores),
            (false, Some(error)) => Err(error.into()),
            (false, None) => Err(Failure::new(format!(
                "find a store: neither {} nor {} is there",
                places.layer3_store.display(),
                places.layer1_store.display()
            ))),
        }
    }

    /// Layer 3's store, which has an index; one that was only looked at has none of its own yet.
    pub(crate) fn indexed(&self) -> Option<&Archive> {
        self.layer3.as_ref().filter(|archive| !archive.store_id().is_empty())
    }

    /// Every session that a store holds. One of layer 1's that layer 3 keeps in another folder is
    /// not told twice.
    pub(crate) fn sessions(&self) -> Result<Vec<SessionKey>, ArchiveError> {
        let of = |archive: &Option<Archive>| archive.as_ref().map_or(Ok(Vec::new()), Archive::sessions);
        let (of3, of1) = (of(&self.layer3)?, of(&self.layer1)?);
        let alone = |keys: &[SessionKey], key: &SessionKey| keys.iter().filter(|other| other.id == key.id).count() == 1;
        let mut keys: BTreeSet<SessionKey> = of3.iter().cloned().collect();
        for key in &of1 {
            let is_known = of3.contains(key) || (alone(&of1, key) && alone(&of3, key));
            if !is_known {
                keys.insert(key.clone());
            }
        }
        Ok(keys.into_iter().collect())
    }

    /// The one session that `typed` names, in whichever store.
    pub(crate) fn find(&self, typed: &str) -> Result<SessionKey, Failure> {
        let mut found = session_name::matches(self.sessions()?, typed);
        match found.len() {
            0 => Err(session_name::unknown(typed)),
            1 => Ok(found.remove(0)),
            _ => Err(session_name::ambiguous(typed, &found)),
        }
    }

    /// Opens a chosen content where it lay.
    pub(crate) fn open_content(&self, content: &Content) -> Result<File, ArchiveError> {
        self.archive_of(content).slot(&content.key, &content.name).open()
    }

    /// [`Stores::open_content`] after a save, which may have made an older generation of it.
    pub(crate) fn find_content(&self, content: &Content) -> Result<File, ArchiveError> {
        let archive = self.archive_of(content);
        let same_file = |other: &StoredFile| other.name.file == content.name.file && other.bytes >= content.bytes;
        for other in archive.files(&content.key)?.iter().filter(|other| same_file(other)) {
            let Ok(file) = archive.slot(&content.key, &other.name).open() else { continue };
            if fs::hash_of_prefix(&file, content.bytes, &content.path).is_ok_and(|hash| hash == content.blake3) {
                return Ok(file);
            }
        }
        let what = "it changed while it was restored".to_owned();
        Err(ArchiveError::Damaged { path: content.path.clone(), what })
    }

    fn archive_of(&self, content: &Content) -> &Archive {
        let archive = match content.layer {
            Layer::Three => &self.layer3,
            Layer::One => &self.layer1,
        };
        archive.as_ref().expect("a content was chosen from this store")
    }
}

/// A content whose bytes were found to match their record.
#[derive(Debug)]
pub(super) struct Content {
    layer: Layer,
    key: SessionKey,
    /// As which content of which generation it is stored.
    pub(crate) name: StoredName,
    /// Where it lay when it was chosen.
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) blake3: Hash,
}

/// Why there is no content to restore.
pub(super) enum Unfit {
    /// Nothing of that name is stored.
    Absent,
    /// Each copy, and what is wrong with it.
    Damaged(Vec<String>),
    /// There is no such generation; these are stored.
    NoGeneration(String),
}

/// What both layers hold of one session.
pub(super) struct Copies<'a> {
    layer3: Held<'a>,
    layer1: Held<'a>,
}

/// What one layer holds of it.
struct Held<'a> {
    layer: Layer,
    archive: Option<(&'a Archive, SessionKey)>,
    files: Vec<StoredFile>,
    source: Option<PathBuf>,
}

/// What reading a copy showed.
enum Reading {
    Unharmed,
    /// In plain words: `is damaged`, `is missing`, …
    Unfit(String),
}

impl<'a> Copies<'a> {
    /// Reads what is recorded. A store that fails is a note, unless both do.
    pub(crate) fn of(
        stores: &'a Stores,
        key: &SessionKey,
        notes: &mut Vec<String>,
    ) -> Result<Copies<'a>, ArchiveError> {
        let layer3 = Held::of(Layer::Three, stores.layer3.as_ref(), stores.layer1.as_ref(), key);
        let layer1 = Held::of(Layer::One, stores.layer1.as_ref(), stores.layer3.as_ref(), key);
        let mut note = |layer: Layer, error: &ArchiveError| {
            notes.push(format!("{}'s store cannot be used: {}", layer.name(), chain(error)));
            Held { layer, archive: None, files: Vec::new(), source: None }
        };
        match (layer3, layer1) {
            (Ok(layer3), Ok(layer1)) => Ok(Copies { layer3, layer1 }),
            (Ok(layer3), Err(error)) => Ok(Copies { layer3, layer1: note(Layer::One, &error) }),
            (Err(error), Ok(layer1)) if !layer1.files.is_empty() => {
                Ok(Copies { layer3: note(Layer::Three, &error), layer1 })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// All side files, whichever layer has them.
    pub(crate) fn side_files(&self) -> BTreeSet<PathBuf> {
        let side = |file: &StoredFile| match &file.name.file {
            FileName::Side(rel) => Some(rel.clone()),
            FileName::Transcript => None,
        };
        self.all().filter_map(|(_, file)| side(file)).collect()
    }

    /// The transcripts that it was copied from, as each layer recorded it.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Path> {
        [&self.layer3, &self.layer1].into_iter().filter_map(|held| held.source.as_deref())
    }

    /// The folder below `projects/` that it was copied from.
    pub(crate) fn slug(&self) -> Option<String> {
        self.sources().find_map(slug_of_source)
    }

    /// When something of it was last committed, in milliseconds since 1970.
    pub(crate) fn committed_ms(&self) -> u64 {
        self.all().map(|(_, file)| file.committed_ms).max().unwrap_or(0)
    }

    /// Length of the newest transcript.
    pub(crate) fn bytes(&self) -> u64 {
        let newest = |held: &Held<'_>| held.newest(&FileName::Transcript).map(|file| file.bytes);
        newest(&self.layer3).or(newest(&self.layer1)).unwrap_or(0)
    }

    /// The content of a file that is meant, found unharmed; `notes` is told what the user should
    /// know about the choice.
    pub(crate) fn choose(&self, file: &FileName, which: Which, notes: &mut Vec<String>) -> Result<Content, Unfit> {
        let content = match which {
            Which::Newest | Which::Generation(0) => self.choose_newest(file, notes)?,
            Which::Generation(n) => {
                let (held, stored) = self.generation(file, n)?;
                if held.layer == Layer::One && self.layer3.contents(file).next().is_some() {
                    notes.push(format!("{}: layer 3 has no such generation, layer 1's is used", stored.path));
                }
                self.served(held, stored, notes)?
            }
            Which::Longest => {
                let (held, stored) = self.by_length(file).next().ok_or(Unfit::Absent)?;
                self.served(held, stored, notes)?
            }
        };
        if which == Which::Newest && *file == FileName::Transcript {
            self.note_longer(&content, notes);
        }
        Ok(content)
    }

    fn choose_newest(&self, file: &FileName, notes: &mut Vec<String>) -> Result<Content, Unfit> {
        let (of3, of1) = (self.layer3.newest(file), self.layer1.newest(file));
        let Some(stored) = of3 else { return self.served(&self.layer1, of1.ok_or(Unfit::Absent)?, notes) };
        if let Some(ahead) = of1.filter(|of1| self.layer1_is_ahead(stored, of1)) {
            if let Ok(content) = self.served(&self.layer1, ahead, notes) {
                notes.push(format!("{}: layer 1 is ahead of layer 3, its copy is used", stored.path));
                return Ok(content);
            }
            notes.push(format!("{}: layer 1 is ahead of layer 3, but its copy is damaged", stored.path));
        }
        if stored.bytes == 0
            && let Some(older) = self.layer3.last_with_content(file)
        {
            let content = self.served(&self.layer3, older, notes)?;
            notes.push(format!("{} was empty at last; {} is used, the content before that", stored.path, older.path));
            return Ok(content);
        }
        self.served(&self.layer3, stored, notes)
    }

    /// Whether layer 1's newest content is news to layer 3: it goes on from layer 3's newest, or
    /// replaced that.
    fn layer1_is_ahead(&self, of3: &StoredFile, of1: &StoredFile) -> bool {
        let same = |a: &StoredFile, b: &StoredFile| (a.bytes, a.blake3) == (b.bytes, b.blake3);
        if same(of3, of1) {
            return false;
        }
        let begins = |held: &Held<'_>, longer: &StoredFile, shorter: &StoredFile| {
            longer.bytes >= shorter.bytes && held.begins_with(longer, shorter.bytes, shorter.blake3)
        };
        if begins(&self.layer1, of1, of3) {
            return true;
        }
        let known = self.layer3.contents(&of1.name.file).any(|file| same(file, of1) || begins(&self.layer3, file, of1));
        let mut older = self.layer1.contents(&of1.name.file).filter(|file| file.name.generation > 0);
        !known && older.any(|file| same(file, of3) || begins(&self.layer1, file, of3))
    }

    /// An older generation, as layer 3 numbers them; as layer 1 does where layer 3 has no such number.
    fn generation(&self, file: &FileName, n: u32) -> Result<(&Held<'a>, &StoredFile), Unfit> {
        for held in [&self.layer3, &self.layer1] {
            if let Some(stored) = held.contents(file).find(|file| file.name.generation == n) {
                return Ok((held, stored));
            }
        }
        let held = if self.layer3.contents(file).next().is_some() { &self.layer3 } else { &self.layer1 };
        let known: Vec<String> = held
            .contents(file)
            .map(|file| format!("{} ({})", file.name.generation, terminal::size(file.bytes)))
            .collect();
        Err(Unfit::NoGeneration(known.join(", ")))
    }

    /// All contents of a file, longest first; of equally long ones layer 3's newest.
    fn by_length(&self, file: &FileName) -> impl Iterator<Item = (&Held<'a>, &StoredFile)> {
        let mut all: Vec<_> = self.all().filter(|(_, stored)| stored.name.file == *file).collect();
        all.sort_by_key(|(_, stored)| std::cmp::Reverse(stored.bytes));
        all.into_iter()
    }

    /// The recorded bytes of a content: from where they are recorded if they are unharmed there,
    /// else from whatever content of either layer begins with them.
    fn served(&self, held: &Held<'a>, stored: &StoredFile, notes: &mut Vec<String>) -> Result<Content, Unfit> {
        if stored.verification == Verification::Unverified
            && let Some(content) = self.proven_instead(held, stored, notes)
        {
            return Ok(content);
        }
        let mut wrong = match held.read(stored, stored.bytes, stored.blake3) {
            Reading::Unharmed => return Ok(held.content(stored, stored.bytes, stored.blake3)),
            Reading::Unfit(how) => vec![held.complaint(stored, &how)],
        };
        let is_itself = |other: &Held<'_>, file: &StoredFile| other.layer == held.layer && file.name == stored.name;
        // The other layer's first: that is where the same content is.
        let mut others: Vec<_> = self.all().filter(|(other, file)| !is_itself(other, file)).collect();
        others.sort_by_key(|(other, _)| other.layer == held.layer);
        for (other, file) in others {
            if file.name.file != stored.name.file || file.bytes < stored.bytes {
                continue;
            }
            match other.read(file, stored.bytes, stored.blake3) {
                Reading::Unharmed => {
                    let content = other.content(file, stored.bytes, stored.blake3);
                    notes.push(format!("{}; {}'s is used: {}", wrong[0], other.layer.name(), content.path.display()));
                    return Ok(content);
                }
                // Of other contents nothing is known to be wrong.
                Reading::Unfit(how) if file.blake3 == stored.blake3 => wrong.push(other.complaint(file, &how)),
                Reading::Unfit(_) => {}
            }
        }
        let other = if held.layer == Layer::Three { &self.layer1 } else { &self.layer3 };
        if wrong.len() == 1 {
            wrong.push(match other.newest(&stored.name.file) {
                Some(file) => format!("{}'s {} holds other bytes", other.layer.name(), other.path(file).display()),
                None => format!("{} has no copy", other.layer.name()),
            });
        }
        Err(Unfit::Damaged(wrong))
    }

    /// Bookkeeping that was made from the bytes themselves proves nothing about them: the other
    /// layer's word counts more. `None` if that layer agrees, or has nothing to say.
    fn proven_instead(&self, held: &Held<'a>, stored: &StoredFile, notes: &mut Vec<String>) -> Option<Content> {
        let other = if held.layer == Layer::Three { &self.layer1 } else { &self.layer3 };
        let proven = || other.contents(&stored.name.file).filter(|file| file.verification != Verification::Unverified);
        if proven().any(|file| file.bytes >= stored.bytes && other.begins_with(file, stored.bytes, stored.blake3)) {
            return None;
        }
        let instead = proven().find(|file| {
            let alike = (file.bytes, file.name.generation) == (stored.bytes, stored.name.generation);
            alike && other.begins_with(file, file.bytes, file.blake3)
        });
        let path = held.path(stored);
        let lost = format!("{}'s bookkeeping of {} was lost", held.layer.name(), path.display());
        let Some(file) = instead else {
            notes.push(format!("{lost}: nothing proves that its bytes are as they were saved"));
            return None;
        };
        notes.push(format!("{lost} and its bytes differ from {}'s, which are proven and used", other.layer.name()));
        Some(other.content(file, file.bytes, file.blake3))
    }

    /// A stub restored where the whole conversation is stored as well is not what most want.
    fn note_longer(&self, content: &Content, notes: &mut Vec<String>) {
        let Some((_, longest)) = self.by_length(&content.name.file).next() else { return };
        if longest.bytes > content.bytes {
            notes.push(format!(
                "an older content of it is longer ({}, this one has {}): --longest restores that",
                terminal::size(longest.bytes),
                terminal::size(content.bytes)
            ));
        }
    }

    fn all(&self) -> impl Iterator<Item = (&Held<'a>, &StoredFile)> {
        [&self.layer3, &self.layer1].into_iter().flat_map(|held| held.files.iter().map(move |file| (held, file)))
    }
}

impl<'a> Held<'a> {
    fn of(
        layer: Layer,
        archive: Option<&'a Archive>,
        other: Option<&Archive>,
        key: &SessionKey,
    ) -> Result<Held<'a>, ArchiveError> {
        let none = Held { layer, archive: None, files: Vec::new(), source: None };
        let Some(archive) = archive else { return Ok(none) };
        let Some(key) = same_session(archive, key, other)? else { return Ok(none) };
        let (files, source) = (archive.files(&key)?, archive.source_of(&key)?);
        Ok(Held { layer, archive: Some((archive, key)), files, source })
    }

    fn contents(&self, file: &FileName) -> impl Iterator<Item = &StoredFile> {
        self.files.iter().filter(move |stored| stored.name.file == *file)
    }

    /// The content that the file had last: generation 0, else the highest.
    fn newest(&self, file: &FileName) -> Option<&StoredFile> {
        self.contents(file).max_by_key(|file| if file.name.generation == 0 { u32::MAX } else { file.name.generation })
    }

    fn last_with_content(&self, file: &FileName) -> Option<&StoredFile> {
        self.contents(file).filter(|file| file.bytes > 0).max_by_key(|file| file.name.generation)
    }

    fn path(&self, stored: &StoredFile) -> PathBuf {
        self.archive.as_ref().map_or(PathBuf::new(), |(archive, key)| archive.slot(key, &stored.name).place())
    }

    fn content(&self, stored: &StoredFile, bytes: u64, blake3: Hash) -> Content {
        let (_, key) = self.archive.as_ref().expect("a stored file is in an archive");
        let (name, path) = (stored.name.clone(), self.path(stored));
        Content { layer: self.layer, key: key.clone(), name, path, bytes, blake3 }
    }

    fn complaint(&self, stored: &StoredFile, how: &str) -> String {
        format!("{}'s copy {} {how}", self.layer.name(), self.path(stored).display())
    }

    fn begins_with(&self, stored: &StoredFile, bytes: u64, blake3: Hash) -> bool {
        matches!(self.read(stored, bytes, blake3), Reading::Unharmed)
    }

    /// Whether the file's first `bytes` bytes hash to `blake3`. Nothing is called damaged by one reading.
    fn read(&self, stored: &StoredFile, bytes: u64, blake3: Hash) -> Reading {
        let Some((archive, key)) = self.archive.as_ref() else { return Reading::Unfit("is missing".to_owned()) };
        let path = self.path(stored);
        let file = match archive.slot(key, &stored.name).open() {
            Ok(file) => file,
            // A compressed one that cannot be unpacked is there.
            Err(ArchiveError::Damaged { .. }) if path.symlink_metadata().is_ok() => {
                return Reading::Unfit("is damaged".to_owned());
            }
            Err(ArchiveError::Damaged { .. }) => return Reading::Unfit("is missing".to_owned()),
            Err(error) => return Reading::Unfit(format!("cannot be opened ({})", chain(&error))),
        };
        let mut how = String::new();
        for _ in 0..2 {
            how = match fs::hash_of_prefix(&file, bytes, &path) {
                Ok(hash) if hash == blake3 => return Reading::Unharmed,
                Ok(_) => "is damaged".to_owned(),
                Err(error) if error.source.kind() == io::ErrorKind::UnexpectedEof => {
                    "is damaged (it is too short)".to_owned()
                }
                Err(error) => format!("cannot be read ({})", error.source),
            };
        }
        Reading::Unfit(how)
    }
}

/// The session in a store: of the same project, else the only one of that id in both stores.
fn same_session(
    archive: &Archive,
    key: &SessionKey,
    other: Option<&Archive>,
) -> Result<Option<SessionKey>, ArchiveError> {
    let mut known = archive.find(&key.id)?;
    if known.contains(key) {
        return Ok(Some(key.clone()));
    }
    // A store that cannot be asked has no second one to mistake it for.
    let others = other.and_then(|other| other.find(&key.id).ok()).map_or(1, |others| others.len());
    Ok(if known.len() == 1 && others == 1 { known.pop() } else { None })
}

/// The slug in `…/projects/<slug>/<session id>.jsonl`.
pub(crate) fn slug_of_source(source: &Path) -> Option<String> {
    let folder = source.parent()?;
    let is_projects = folder.parent()?.file_name()? == "projects";
    is_projects.then(|| folder.file_name()?.to_str().map(str::to_owned))?
}
