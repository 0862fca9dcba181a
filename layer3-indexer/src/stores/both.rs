//! Both stores, and which sessions they hold.

use std::fs::File;

use layer1_prebackup::archive::{Archive, ArchiveError, SessionKey, StoredFile};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs;
use layer1_prebackup::names::{LAYER3, typed};

use crate::failure::{Failure, chain};
use crate::stores::session_name;
use crate::stores::types::{Chosen, Layer, Pair};

/// Both stores, as far as they are there and can be read.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    /// Layer 1's.
    pub(crate) layer1: Option<Archive>,
    /// Layer 3's.
    pub(crate) layer3: Option<Archive>,
    /// What the user should know about a store that cannot be read.
    pub(crate) notes: Vec<String>,
}

impl Stores {
    /// Opens what there is. One store that cannot be opened is a note: the other one serves. Writes
    /// nothing: a store without bookkeeping is read as it stands.
    pub(crate) fn open(places: &Places) -> Result<Stores, Failure> {
        Stores::with(places, second_as_found(places))
    }

    /// [`Stores::open`] with layer 3's store opened already.
    pub(crate) fn with(places: &Places, layer3: Result<Option<Archive>, ArchiveError>) -> Result<Stores, Failure> {
        let mut stores = Stores::default();
        let mut failed = None;
        let layer1 = Archive::open_as_found(&places.layer1_store);
        for (layer, opened) in [(Layer::Three, layer3), (Layer::One, layer1)] {
            match opened {
                Ok(archive) if layer == Layer::Three => stores.layer3 = archive,
                Ok(archive) => stores.layer1 = archive,
                Err(error) => {
                    stores.notes.push(unusable(layer, &error));
                    failed = Some(error);
                }
            }
        }
        match (stores.is_empty(), failed) {
            (false, _) => Ok(stores),
            (true, Some(error)) => Err(error.into()),
            (true, None) => {
                let (layer3, layer1) = (places.layer3_store.display(), places.layer1_store.display());
                let message = format!("find a store: neither {layer3} nor {layer1} is there");
                Err(Failure::new(message).hint(format!("`{}` makes one", typed(LAYER3, "import"))))
            }
        }
    }

    /// Whether neither store is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.layer1.is_none() && self.layer3.is_none()
    }

    /// This layer's.
    pub(crate) fn of(&self, layer: Layer) -> Option<&Archive> {
        match layer {
            Layer::One => self.layer1.as_ref(),
            Layer::Three => self.layer3.as_ref(),
        }
    }

    /// The stores that hold a session, and as which one, layer 1's first.
    pub(crate) fn holding<'s>(&'s self, pair: &'s Pair) -> impl Iterator<Item = (Layer, &'s Archive, &'s SessionKey)> {
        [Layer::One, Layer::Three].into_iter().filter_map(|layer| Some((layer, self.of(layer)?, pair.in_store(layer)?)))
    }

    /// Layer 3's store, which has an index; one that was only looked at has none of its own yet.
    pub(crate) fn indexed(&self) -> Option<&Archive> {
        self.layer3.as_ref().filter(|archive| !archive.store_id().is_empty())
    }

    /// Every session of both stores. One that layer 1 keeps in another folder is the same, if it is
    /// the only one of its id in both.
    pub(crate) fn pairs(&self) -> Result<Vec<Pair>, ArchiveError> {
        let of = |archive: &Option<Archive>| archive.as_ref().map_or(Ok(Vec::new()), Archive::sessions);
        Ok(Pair::of(of(&self.layer1)?, of(&self.layer3)?))
    }

    /// Every session that a store holds, as layer 3 knows it, else as layer 1 does.
    pub(crate) fn sessions(&self) -> Result<Vec<SessionKey>, ArchiveError> {
        let mut keys: Vec<SessionKey> = self.pairs()?.iter().map(|pair| pair.key().clone()).collect();
        keys.sort();
        Ok(keys)
    }

    /// The one session that `typed` names, in whichever store.
    pub(crate) fn find(&self, typed: &str) -> Result<SessionKey, Failure> {
        let told = |failure: Failure| self.notes.iter().fold(failure, |failure, note| failure.hint(note));
        let mut matching = session_name::matches(self.sessions()?, typed);
        if matching.len() > 1 {
            let stands = |key: &SessionKey| {
                self.layer1.iter().chain(&self.layer3).any(|archive| archive.stands(key).unwrap_or(true))
            };
            let standing: Vec<SessionKey> = matching.iter().filter(|key| stands(key)).cloned().collect();
            matching = if standing.is_empty() { matching } else { standing };
        }
        session_name::only(matching, typed).map_err(told)
    }

    /// Opens a chosen content where it lay.
    pub(crate) fn reopen(&self, chosen: &Chosen) -> Result<File, ArchiveError> {
        self.archive_of(chosen).slot(&chosen.key, &chosen.name).open()
    }

    /// [`Stores::reopen`] after a save, which may have made an older generation of it.
    pub(crate) fn find_again(&self, chosen: &Chosen) -> Result<File, ArchiveError> {
        let archive = self.archive_of(chosen);
        let same_file = |other: &StoredFile| other.name.file == chosen.name.file;
        for other in archive.files(&chosen.key)?.iter().filter(|other| same_file(other)) {
            let Ok(file) = archive.slot(&chosen.key, &other.name).open() else { continue };
            if fs::hash_of_prefix(&file, chosen.bytes, &chosen.path).is_ok_and(|hash| hash == chosen.blake3) {
                return Ok(file);
            }
        }
        let what = "it changed while it was restored".to_owned();
        Err(ArchiveError::Damaged { path: chosen.path.clone(), what })
    }

    fn archive_of(&self, chosen: &Chosen) -> &Archive {
        self.of(chosen.layer).expect("a content was chosen from this store")
    }
}

/// The store of the second copy as it stands; an error where its disk is not there, whatever lies in its place.
pub(crate) fn second_as_found(places: &Places) -> Result<Option<Archive>, ArchiveError> {
    match places.away(&places.layer3_store) {
        Some(why) => Err(ArchiveError::Away(why)),
        None => Archive::open_as_found(&places.layer3_store),
    }
}

/// What the user is told about a store that fails.
pub(super) fn unusable(layer: Layer, error: &ArchiveError) -> String {
    format!("{}'s store cannot be used: {}", layer.name(), chain(error))
}
