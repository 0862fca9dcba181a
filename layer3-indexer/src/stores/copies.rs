//! Both copies of a session, and which one is good: the one answer that every reader gets.
//!
//! Each content is read and compared with its recorded hash before anybody reads it. Where one
//! layer's copy is bad, whatever content of either layer begins with the recorded bytes serves
//! instead; where nothing does, the other layer's state of the same content, which is behind it. The
//! bad copy is named in any case: a content is never replaced by another one in silence.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use layer1_prebackup::archive::{Archive, ArchiveError, Labels, SessionKey, StoredFile, Verification};
use layer1_prebackup::fs;
use layer1_prebackup::names::{FileName, LAYER3, StoredName, typed};
use serde::de::IgnoredAny;

use crate::failure::{Failure, Kind};
use crate::stores::both::{Stores, unusable};
use crate::stores::called::labels_of;
use crate::stores::held::Held;
use crate::stores::types::{BadCopy, Chosen, Copy, Layer, Unfit, Which};
use crate::transcript::record::is_output;

/// What both stores hold of one session.
#[derive(Debug)]
pub(crate) struct SessionCopies {
    /// The session, as layer 3 knows it; as layer 1 does where layer 3 knows nothing.
    pub(crate) key: SessionKey,
    /// What the user should know about a store that cannot be read.
    pub(crate) notes: Vec<String>,
    pub(super) stores: Rc<Stores>,
    pub(super) layer3: Held,
    pub(super) layer1: Held,
}

/// A content of one layer.
type Candidate<'a> = (&'a Held, &'a StoredFile);

/// What came out on the way to a good copy.
#[derive(Default)]
struct Tried {
    bad: Vec<BadCopy>,
    notes: Vec<String>,
}

impl SessionCopies {
    /// Those of the session that `typed` names.
    pub(crate) fn find(stores: &Rc<Stores>, typed: &str) -> Result<SessionCopies, Failure> {
        Ok(SessionCopies::of(stores, &stores.find(typed)?)?)
    }

    /// Reads what is recorded. A store that fails is a note, unless both do.
    pub(crate) fn of(stores: &Rc<Stores>, key: &SessionKey) -> Result<SessionCopies, ArchiveError> {
        let mut notes = stores.notes.clone();
        let mut noted = |layer: Layer, error: &ArchiveError| {
            notes.push(unusable(layer, error));
            Held::none(layer)
        };
        let (layer3, layer1) = match (Held::of(stores, Layer::Three, key), Held::of(stores, Layer::One, key)) {
            (Ok(layer3), Ok(layer1)) => (layer3, layer1),
            (Ok(layer3), Err(error)) => (layer3, noted(Layer::One, &error)),
            (Err(error), Ok(layer1)) if !layer1.files.is_empty() => (noted(Layer::Three, &error), layer1),
            (Err(error), _) => return Err(error),
        };
        Ok(SessionCopies { key: key.clone(), notes, stores: Rc::clone(stores), layer3, layer1 })
    }

    /// Layer 3's store, where it has this session: its metadata lies there.
    pub(crate) fn in_layer3(&self) -> Option<&Archive> {
        self.stores.layer3.as_ref().filter(|_| !self.layer3.files.is_empty())
    }

    /// What the user calls it.
    pub(crate) fn labels(&self) -> Labels {
        labels_of(&self.stores, &self.key.id)
    }

    /// What a user types for it: its id, behind the project where another session has the same.
    pub(crate) fn name(&self) -> String {
        let same = |archive: &Archive| archive.find(&self.key.id).map_or(0, |keys| keys.len());
        let most = [&self.stores.layer3, &self.stores.layer1].into_iter().flatten().map(same).max();
        if most > Some(1) { format!("{}/{}", self.key.project, self.key.id) } else { self.key.id.to_string() }
    }

    /// Layer 3's store, if there is one.
    pub(super) fn layer3_store(&self) -> Option<&Archive> {
        self.stores.layer3.as_ref()
    }

    /// As this layer keeps it; `None` where it has nothing of it.
    pub(crate) fn key_in(&self, layer: Layer) -> Option<&SessionKey> {
        if layer == Layer::Three { &self.layer3 } else { &self.layer1 }.key.as_ref()
    }

    /// Whether nothing but its own bytes says what a content of it is.
    pub(crate) fn is_unproven(&self) -> bool {
        self.all().any(|(_, file)| file.verification == Verification::Unverified)
    }

    /// The names of the newest contents in either store, and of the older generations as layer 3
    /// numbers them; as layer 1 does where layer 3 has nothing. Transcript first.
    pub(crate) fn names(&self) -> Vec<StoredName> {
        let numbered = if self.layer3.files.is_empty() { &self.layer1 } else { &self.layer3 };
        let newest = self.layer1.files.iter().filter(|file| file.name.generation == 0);
        let mut names: Vec<StoredName> = numbered.files.iter().chain(newest).map(|file| file.name.clone()).collect();
        names.sort_by_key(|name| (name.generation, name.file.clone()));
        names.dedup();
        names
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

    /// Every content as it is recorded: another text if any of them is another one.
    pub(crate) fn contents_recorded(&self) -> String {
        let of_file = |(held, file): Candidate<'_>| {
            format!("{:?} {} {} {}\n", held.layer, file.name.to_text(&self.key.id), file.bytes, file.blake3)
        };
        self.all().map(of_file).collect()
    }

    /// When something of it was last committed, in milliseconds since 1970.
    pub(crate) fn committed_ms(&self) -> u64 {
        self.all().map(|(_, file)| file.committed_ms).max().unwrap_or(0)
    }

    /// Length of the newest transcript, as recorded.
    pub(crate) fn bytes(&self) -> u64 {
        let newest = |held: &Held| held.newest(&FileName::Transcript).map(|file| file.bytes);
        newest(&self.layer3).or(newest(&self.layer1)).unwrap_or(0)
    }

    /// The good copy of the content that is meant. What was empty at last is given as it was before that.
    pub(crate) fn choose(&self, file: &FileName, which: Which) -> Result<Copy, Unfit> {
        match which {
            Which::Newest | Which::Generation(0) => self.newest(file),
            Which::Generation(n) => self.generation(file, n),
            Which::Longest => self.longest(file),
            // Of one file there is nothing to be joined: see [`SessionCopies::joined`].
            Which::Joined => self.newest(file),
        }
    }

    /// What the file was last; what it was before, if it was emptied.
    pub(crate) fn newest(&self, file: &FileName) -> Result<Copy, Unfit> {
        let mut tried = Tried::default();
        if let Some((held, stored)) = self.newest_first(file).first()
            && stored.bytes == 0
            && let Some(older) = held.last_with_content(file)
        {
            let copy = self.served(held, older, &mut tried);
            let said = format!("{} was empty at last; {} is used, the content before that", stored.path, older.path);
            return self.end(tried, copy.map(|copy| copy.noting(said)));
        }
        let copy = self.latest(file, &mut tried);
        self.end(tried, copy)
    }

    /// An older generation, as layer 3 numbers them; as layer 1 does where layer 3 has no such number.
    pub(crate) fn generation(&self, file: &FileName, n: u32) -> Result<Copy, Unfit> {
        let mut tried = Tried::default();
        let numbered = [&self.layer3, &self.layer1]
            .into_iter()
            .find_map(|held| Some((held, held.contents(file).find(|file| file.name.generation == n)?)));
        let Some((held, stored)) = numbered else { return Err(self.no_generation(file)) };
        if held.layer == Layer::One && self.layer3.contents(file).next().is_some() {
            tried.notes.push(format!("{}: layer 3 has no such generation, layer 1's is used", stored.path));
        }
        let copy = self.served(held, stored, &mut tried);
        self.end(tried, copy)
    }

    /// The longest content of all; of equally long ones layer 3's newest.
    pub(crate) fn longest(&self, file: &FileName) -> Result<Copy, Unfit> {
        let mut tried = Tried::default();
        let Some(longest) = self.longest_recorded(file) else { return Err(Unfit::Absent) };
        let mut order = vec![longest];
        order.extend(self.behind(longest));
        let copy = self.first_good(&order, &mut tried);
        self.end(tried, copy)
    }

    /// The content of this name; of a newest one also where it is empty.
    pub(crate) fn get(&self, name: &StoredName) -> Result<Copy, Failure> {
        if name.generation > 0 {
            return self.generation(&name.file, name.generation).map_err(|unfit| self.unread(name, unfit));
        }
        let mut tried = Tried::default();
        let copy = self.latest(&name.file, &mut tried);
        self.end(tried, copy).map_err(|unfit| self.unread(name, unfit))
    }

    /// [`SessionCopies::get`], and where no copy is good, whatever layer 3 or else layer 1 has: its
    /// note says that it is damaged. To be read by a person, never to be passed on.
    pub(crate) fn get_even_damaged(&self, name: &StoredName) -> Result<Copy, Failure> {
        let failure = match self.get(name) {
            Ok(copy) => return Ok(copy),
            Err(failure) => failure,
        };
        for (held, stored) in self.all().filter(|(_, stored)| stored.name == *name) {
            let (archive, key) = self.stores.of(held.layer).zip(held.key.clone()).expect("listed");
            let path = archive.slot(&key, name).place();
            let Ok(file) = archive.slot(&key, name).open() else { continue };
            let Ok(stat) = fs::stat_of(&file, &path) else { continue };
            let note = format!(
                "THIS COPY IS DAMAGED: {} does not match its recorded hash, and no other store has those bytes. What can be read of it follows; it may be wrong anywhere",
                path.display()
            );
            let (layer, name, bytes, blake3) = (held.layer, name.clone(), stat.st_size as u64, stored.blake3);
            return Ok(Copy {
                at: Chosen { layer, key, name, path, bytes, blake3 },
                bad: Vec::new(),
                notes: vec![note],
                file,
            });
        }
        Err(failure)
    }

    /// Where no transcript is stored at all, what is read in its place: what a subagent did.
    pub(crate) fn stand_in(&self) -> Option<StoredName> {
        let is_of_subagent = |name: &StoredName| match &name.file {
            FileName::Transcript => false,
            FileName::Side(rel) => rel.extension().is_some_and(|ext| ext == "jsonl") && !is_output(&name.file),
        };
        let names = self.names();
        let has_transcript = names.iter().any(|name| name.file == FileName::Transcript);
        names.into_iter().find(|name| name.generation == 0 && is_of_subagent(name)).filter(|_| !has_transcript)
    }

    /// The transcript in this generation, 0 being the newest, or what stands in for it.
    pub(crate) fn transcript(&self, generation: u32) -> Result<StoredName, Failure> {
        let id = &self.key.id;
        let mut known = self.names();
        known.retain(|name| name.file == FileName::Transcript);
        if let Some(name) = known.iter().find(|name| name.generation == generation) {
            return Ok(name.clone());
        }
        if generation == 0 {
            let absent = || Failure::new(format!("read session {id}: no transcript of it is stored")).of(Kind::Damaged);
            return self.stand_in().ok_or_else(absent);
        }
        let older: Vec<String> =
            known.iter().filter(|name| name.generation > 0).map(|name| name.generation.to_string()).collect();
        let known = match older.is_empty() {
            true => "only its newest content is stored".to_owned(),
            false => format!("{} are stored", older.join(", ")),
        };
        Err(Failure::new(format!("read session {id}: there is no generation {generation} of it")).hint(known))
    }

    /// The failure of reading a content that has no good copy.
    fn unread(&self, name: &StoredName, unfit: Unfit) -> Failure {
        let id = &self.key.id;
        let wrong = match unfit {
            Unfit::Damaged(wrong) => wrong.join(", "),
            Unfit::Absent | Unfit::NoGeneration(_) => "it is not stored".to_owned(),
        };
        let message = format!("read {} of session {id}: {wrong}; no other store has those bytes", name.to_text(id));
        Failure::new(message).of(Kind::Damaged).hint(format!("`{}` tells more", typed(LAYER3, &format!("verify {id}"))))
    }

    /// Layer 1's copies that have what layer 3 has not, and are not as they were recorded.
    pub(crate) fn bad_ahead(&self) -> Vec<BadCopy> {
        let newest = self.layer1.files.iter().filter(|file| file.name.generation == 0);
        let is_ahead =
            |of1: &&StoredFile| self.layer3.newest(&of1.name.file).is_none_or(|of3| self.layer1_is_ahead(of3, of1));
        let read = |file: &StoredFile| self.layer1.read(&self.stores, file, file.bytes, file.blake3);
        newest.filter(is_ahead).filter_map(|file| read(file).err().map(|bad| *bad)).collect()
    }

    /// The newest contents of both layers, that first which is ahead. One that is another content
    /// than the first, and no state of it, is none of them.
    fn newest_first(&self, file: &FileName) -> Vec<Candidate<'_>> {
        let of1 = self.layer1.newest(file).map(|of1| (&self.layer1, of1));
        let Some(of3) = self.layer3.newest(file).map(|of3| (&self.layer3, of3)) else {
            return of1.into_iter().collect();
        };
        match of1 {
            Some(of1) if self.layer1_is_ahead(of3.1, of1.1) => vec![of1, of3],
            _ => [Some(of3), self.behind(of3)].into_iter().flatten().collect(),
        }
    }

    /// The other layer's state of a newest content, which is behind it.
    fn behind(&self, (held, stored): Candidate<'_>) -> Option<Candidate<'_>> {
        let other = self.other(held);
        let newest = other.newest(&stored.name.file).filter(|newest| newest.bytes <= stored.bytes)?;
        let is_state = stored.name.generation == 0 && self.are_as_often_rewritten(&stored.name.file);
        is_state.then_some((other, newest))
    }

    /// Whether layer 1's newest content is news to layer 3: it goes on from layer 3's newest, or
    /// replaced that. What cannot be read is judged by what is recorded of it.
    fn layer1_is_ahead(&self, of3: &StoredFile, of1: &StoredFile) -> bool {
        let (stores, file) = (&self.stores, &of1.name.file);
        let same = |a: &StoredFile, b: &StoredFile| (a.bytes, a.blake3) == (b.bytes, b.blake3);
        if same(of3, of1) {
            return false;
        }
        let is_unproven = |file: &StoredFile| file.verification == Verification::Unverified;
        // Of equally long ones the one that is read decides: see [`SessionCopies::served`].
        if is_unproven(of3) && !is_unproven(of1) && of3.bytes != of1.bytes {
            // Its own bytes say what it is: they may be anything, unless layer 1's are known to them.
            let mut older = self.layer3.contents(file).filter(|file| file.name.generation > 0);
            let is_news = self.layer3.begins_with(stores, of3, of1) && self.may_be_lines(&self.layer3, of3, of1.bytes);
            if !is_news && !older.any(|older| same(older, of1) || self.layer3.begins_with(stores, older, of1)) {
                return self.layer1.read(stores, of1, of1.bytes, of1.blake3).is_ok();
            }
        }
        let from = if self.layer1.begins_with(stores, of1, of3) { of3.bytes } else { 0 };
        if is_unproven(of1) && !is_unproven(of3) && !self.may_be_lines(&self.layer1, of1, from) {
            return false;
        }
        let is_bad = || self.layer1.read(stores, of1, of1.bytes, of1.blake3).is_err();
        if self.layer1.begins_with(stores, of1, of3) {
            // What is recorded of it may be older than what it holds.
            return !(self.layer3.contents(file).any(|of3| same(of3, of1)) && is_bad());
        }
        if of1.bytes > of3.bytes && self.are_as_often_rewritten(file) && is_bad() {
            return true;
        }
        // A record that says less than what stands there (a ledger that was put back) knows nothing of that.
        let is_itself = |of3: &StoredFile| self.layer3.read(stores, of3, of3.bytes, of3.blake3).is_ok();
        let is_known =
            |of3: &StoredFile| same(of3, of1) || (self.layer3.begins_with(stores, of3, of1) && is_itself(of3));
        let known = self.layer3.contents(file).any(is_known);
        let mut older = self.layer1.contents(file).filter(|file| file.name.generation > 0);
        !known && older.any(|older| same(older, of3) || self.layer1.begins_with(stores, older, of3))
    }

    /// Whether what an unproven content has from there on may be what Claude Code wrote: lines of JSON, where it keeps such.
    fn may_be_lines(&self, held: &Held, stored: &StoredFile, from: u64) -> bool {
        let is_of_lines = match &stored.name.file {
            FileName::Transcript => true,
            FileName::Side(rel) => rel.extension().is_some_and(|ending| ending == "jsonl"),
        };
        if !is_of_lines {
            return true;
        }
        let Some((archive, key)) = self.stores.of(held.layer).zip(held.key.as_ref()) else { return false };
        // What cannot be read is no news.
        let Ok(mut file) = archive.slot(key, &stored.name).open() else { return false };
        if file.seek(SeekFrom::Start(from)).is_err() {
            return false;
        }
        let (mut reader, mut line) = (BufReader::new(file), Vec::new());
        while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
            // The last one may not be whole yet.
            let is_torn = !line.ends_with(b"\n") && line.starts_with(b"{");
            if !is_torn && !line.trim_ascii().is_empty() && serde_json::from_slice::<IgnoredAny>(&line).is_err() {
                return false;
            }
            line.clear();
        }
        true
    }

    /// Each rewriting leaves an older content behind: with as many of them, both layers' newest are
    /// states of one content.
    fn are_as_often_rewritten(&self, file: &FileName) -> bool {
        self.layer1.contents(file).count() == self.layer3.contents(file).count()
    }

    fn longest_recorded(&self, file: &FileName) -> Option<Candidate<'_>> {
        let of_file = self.all().filter(|(_, stored)| stored.name.file == *file);
        // Of equally long ones the last is given, and the first is meant.
        of_file.collect::<Vec<_>>().into_iter().rev().max_by_key(|(_, stored)| stored.bytes)
    }

    /// The newest content of a file, whatever it is.
    fn latest(&self, file: &FileName, tried: &mut Tried) -> Option<Copy> {
        let order = self.newest_first(file);
        let Some(copy) = self.first_good(&order, tried) else { return self.whole_in_the_other(&order, tried) };
        match order.as_slice() {
            [(held, ahead), _] if held.layer == Layer::One && copy.at.layer == Layer::One => {
                Some(copy.noting(format!("{}: layer 1 is ahead of layer 3, its copy is used", ahead.path)))
            }
            _ => Some(copy),
        }
    }

    /// What the other layer has, proven and whole, where what counts as the newest is nowhere: a record may be anybody's.
    fn whole_in_the_other(&self, order: &[Candidate<'_>], tried: &Tried) -> Option<Copy> {
        let (held, stored) = order.first()?;
        let other = self.other(held);
        let newest = other.newest(&stored.name.file).filter(|file| file.verification != Verification::Unverified)?;
        let copy = other.read(&self.stores, newest, newest.bytes, newest.blake3).ok()?;
        let wrong = tried.bad.first().map(BadCopy::to_string).unwrap_or_default();
        let (layer, path) = (other.layer.name(), copy.at.path.display());
        let said =
            format!("{wrong}; {layer}'s is whole, has other bytes than were recorded there, and is used: {path}");
        Some(copy.noting(said))
    }

    /// The first of these contents that a good copy is found of.
    fn first_good(&self, order: &[Candidate<'_>], tried: &mut Tried) -> Option<Copy> {
        for (at, (held, stored)) in order.iter().enumerate() {
            let Some(copy) = self.served(held, stored, tried) else { continue };
            if at > 0 {
                let wrong = tried.bad.first().map(BadCopy::to_string).unwrap_or_default();
                let (layer, path) = (copy.at.layer.name(), copy.at.path.display());
                let said = format!("{wrong}; {layer}'s is used, which is behind it: {path}");
                return Some(copy.noting(said));
            }
            return Some(copy);
        }
        None
    }

    /// The recorded bytes of a content: from where they are recorded if they are unharmed there,
    /// else from whatever content of either layer begins with them.
    fn served(&self, held: &Held, stored: &StoredFile, tried: &mut Tried) -> Option<Copy> {
        if stored.verification == Verification::Unverified
            && let Some(copy) = self.proven_instead(held, stored, tried)
        {
            return Some(copy);
        }
        let bad = match held.read(&self.stores, stored, stored.bytes, stored.blake3) {
            Ok(copy) => return Some(copy),
            Err(bad) => bad,
        };
        tried.bad.push((*bad).clone());
        let is_itself = |other: &Held, file: &StoredFile| other.layer == held.layer && file.name == stored.name;
        // The other layer's first: that is where the same content is.
        let mut others: Vec<_> = self.all().filter(|(other, file)| !is_itself(other, file)).collect();
        others.sort_by_key(|(other, _)| other.layer == held.layer);
        others.retain(|(_, file)| file.name.file == stored.name.file);
        for (other, file) in others {
            match other.read(&self.stores, file, stored.bytes, stored.blake3) {
                Ok(copy) => {
                    let (layer, path) = (other.layer.name(), copy.at.path.display());
                    let said = format!("{bad}; {layer}'s is used: {path}");
                    return Some(copy.noting(said));
                }
                // Of other contents nothing is known to be wrong.
                Err(bad) if file.blake3 == stored.blake3 => tried.bad.push(*bad),
                Err(_) => {}
            }
        }
        None
    }

    /// Bookkeeping that was made from the bytes themselves proves nothing about them: the other
    /// layer's word counts more. `None` if that layer agrees, or has nothing to say.
    fn proven_instead(&self, held: &Held, stored: &StoredFile, tried: &mut Tried) -> Option<Copy> {
        let other = self.other(held);
        let proven = || other.contents(&stored.name.file).filter(|file| file.verification != Verification::Unverified);
        if proven().any(|file| other.begins_with(&self.stores, file, stored)) {
            return None;
        }
        let alike = |file: &&StoredFile| (file.bytes, file.name.generation) == (stored.bytes, stored.name.generation);
        let instead =
            proven().filter(alike).find_map(|file| other.read(&self.stores, file, file.bytes, file.blake3).ok());
        let path = held.path(&self.stores, stored);
        let lost = format!("{}'s bookkeeping of {} was lost", held.layer.name(), path.display());
        let Some(copy) = instead else {
            tried.notes.push(format!("{lost}: nothing proves that its bytes are as they were saved"));
            return None;
        };
        let said = format!("{lost} and its bytes differ from {}'s, which are proven and used", other.layer.name());
        Some(copy.noting(said))
    }

    fn other(&self, held: &Held) -> &Held {
        if held.layer == Layer::Three { &self.layer1 } else { &self.layer3 }
    }

    /// What there is to say of a choice, or why nothing could be chosen.
    fn end(&self, tried: Tried, copy: Option<Copy>) -> Result<Copy, Unfit> {
        if let Some(mut copy) = copy {
            copy.notes.splice(0..0, tried.notes);
            copy.bad = tried.bad;
            return Ok(copy);
        }
        let Some(first) = tried.bad.first() else { return Err(Unfit::Absent) };
        let mut wrong: Vec<String> = tried.bad.iter().map(BadCopy::to_string).collect();
        if wrong.len() == 1 {
            let other = if first.layer == Layer::Three { &self.layer1 } else { &self.layer3 };
            let layer = other.layer.name();
            wrong.push(match other.newest(&first.name.file) {
                Some(file) => format!("{layer}'s {} holds other bytes", other.path(&self.stores, file).display()),
                None => format!("{layer} has no copy"),
            });
        }
        Err(Unfit::Damaged(wrong))
    }

    fn no_generation(&self, file: &FileName) -> Unfit {
        let held = if self.layer3.contents(file).next().is_some() { &self.layer3 } else { &self.layer1 };
        Unfit::NoGeneration(held.contents(file).map(|file| (file.name.generation, file.bytes)).collect())
    }

    fn all(&self) -> impl Iterator<Item = Candidate<'_>> {
        [&self.layer3, &self.layer1].into_iter().flat_map(|held| held.files.iter().map(move |file| (held, file)))
    }
}

impl Copy {
    fn noting(mut self, note: String) -> Copy {
        self.notes.push(note);
        self
    }
}

/// The slug in `…/projects/<slug>/<session id>.jsonl`.
pub(crate) fn slug_of_source(source: &Path) -> Option<String> {
    let folder = source.parent()?;
    let is_projects = folder.parent()?.file_name()? == "projects";
    is_projects.then(|| folder.file_name()?.to_str().map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ID, Scene, answer, flip_last_byte, prompt};
    use std::io::Read;

    fn text(copy: &mut Copy) -> String {
        let mut text = String::new();
        copy.read().unwrap().read_to_string(&mut text).unwrap();
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
        let mut copy = scene.copies().get(&newest()).unwrap();
        assert!(copy.notes.is_empty(), "{:?}", copy.notes);
        assert_eq!(text(&mut copy), prompt(1, "kept"));
        assert_eq!(text(&mut copy), prompt(1, "kept"), "it can be read again");
    }

    #[test]
    fn with_both_damaged_nothing_is_read_as_good() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "kept")]);
        scene.receipt(None);
        let layer1 = scene.layer1_copies();
        flip_last_byte(&scene.copy());
        flip_last_byte(&layer1.0.slot(&layer1.1, &newest()).path());
        let copies = scene.copies();
        let failure = copies.get(&newest()).unwrap_err().to_string();
        assert!(failure.contains("layer 3's copy ") && failure.contains("layer 1's copy "), "{failure}");
        let damaged = copies.get_even_damaged(&newest()).unwrap();
        assert!(damaged.notes[0].starts_with("THIS COPY IS DAMAGED"));
    }

    #[test]
    fn without_layer_3_layer_1_serves() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "one")]);
        assert!(Stores::open(&scene.places).unwrap_err().to_string().starts_with("find a store: "));
        scene.layer1_copies();
        let stores = Rc::new(Stores::open(&scene.places).unwrap());
        let copies = SessionCopies::find(&stores, &ID[..8]).unwrap();
        assert_eq!(text(&mut copies.get(&newest()).unwrap()), prompt(1, "one"));
    }

    #[test]
    fn generations_are_asked_for_by_number() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "old")]);
        scene.receipt(None);
        let copies = scene.copies();
        assert!(copies.transcript(1).unwrap_err().to_string().contains("only its newest content is stored"));
        scene.transcribe(&[prompt(2, "new")]);
        scene.receipt(None);
        let copies = scene.copies();
        let old = copies.transcript(1).unwrap();
        assert_eq!(text(&mut copies.get(&old).unwrap()), prompt(1, "old"));
        assert!(copies.transcript(2).unwrap_err().to_string().contains("1 are stored"));
    }

    #[test]
    fn a_rebuilt_record_is_not_taken_for_a_proof() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "kept"), answer(2, "too")]);
        scene.receipt(None);
        let ledgers = scene.places.layer3_store.join(".state/sessions").join(ID);
        for entry in std::fs::read_dir(&ledgers).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ext| ext == "ledger") {
                std::fs::write(&path, "").unwrap();
            }
        }
        let copy = scene.copies().get(&newest()).unwrap();
        assert!(copy.notes[0].contains("nothing proves that its bytes are as they were saved"), "{:?}", copy.notes);
        scene.layer1_copies();
        assert!(scene.copies().get(&newest()).unwrap().notes.is_empty(), "layer 1 proves them");
    }
}
