//! Saving one file of a session: what stands at our path, how the source relates to it, and the
//! copy itself. Everything that can cost a user a byte is decided here.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::compress::{make_plain, resolve_forms};
use super::ledger::{Entry, Intent, Record, Windows};
use super::marks::Marks;
use super::paths::Form;
use super::quarantine::quarantine;
use super::rebuild_ledger::{feed, record_of_slot, windows_of};
use super::removal;
use super::session::OpenSession;
use super::slot::in_either_reading;
use super::tree_hash::TreeHasher;
use super::types::{ArchiveError, Compare, Verification};
use crate::Hash;
use crate::claude::replaced_whole::{SMALL_BYTES_MAX, is_replaced_whole, says_all_of};
use crate::claude::transcripts::Identity;
use crate::fs;
use crate::fs::platform;
use crate::names::{FileName, StoredName};

/// A commit covers at most this much new content, so that a huge first copy that is cut off by a
/// deadline has got somewhere. Less in this crate's own tests, so that theirs are of several commits.
const COMMIT_BYTES_MAX: u64 = if cfg!(test) { 1 } else { 64 } * 1024 * 1024;
/// After so much the disk is given something to do, which it then does while the rest is read and hashed.
const WRITE_BACK_BYTES: u64 = 4 * 1024 * 1024;
/// Time between the two looks at a source whose content changed: Claude Code truncates and
/// rewrites within milliseconds, and a generation is not begun for a glimpse of that. This crate's
/// own tests wait less: what they change between the looks, they change on an event.
pub(super) const SECOND_LOOK: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 200 });

/// A file to be copied, opened anew for each look at it.
pub(super) struct Source<'a> {
    /// For messages.
    pub(super) path: &'a Path,
    /// Opens it; `None` if it is not there.
    pub(super) open: &'a dyn Fn() -> Result<Option<File>, ArchiveError>,
    /// A second file of the same content may lie elsewhere: being shorter is then no news.
    pub(super) may_lag: bool,
    /// Each content is a version by itself, be it longer than the one before or another. Nobody waits for a second look
    /// at one that was written long enough ago.
    pub(super) in_versions: bool,
    /// What the user had forgotten of it, which is copied as replaced.
    pub(super) marks: &'a Marks,
    /// Where a copy with that replaced is made.
    pub(super) dir: &'a Path,
}

/// A source as it was at one look.
pub(super) struct Opened<'a> {
    source: &'a Source<'a>,
    file: File,
    /// What it was when it was opened.
    pub(super) identity: Identity,
}

impl Source<'_> {
    /// Opens it; `None` if it is not there.
    pub(super) fn look(&self) -> Result<Option<Opened<'_>>, ArchiveError> {
        let Some(file) = (self.open)()? else { return Ok(None) };
        let identity = Identity::of(&fs::stat_of(&file, self.path)?);
        Ok(Some(match self.marks.view(&file, self.path, self.dir)? {
            None => Opened { source: self, file, identity },
            // It is the source that tells whether it changed.
            Some((view, bytes)) => Opened { source: self, file: view, identity: Identity { bytes, ..identity } },
        }))
    }
}

impl Opened<'_> {
    /// The hash of its first bytes.
    pub(super) fn hash_of_prefix(&self, bytes: u64) -> Result<Hash, ArchiveError> {
        Ok(fs::hash_of_prefix(&self.file, bytes, self.source.path)?)
    }

    /// Whether it begins with the recorded bytes: all of them are read.
    pub(super) fn begins_with(&self, record: &Record, progress: &dyn Fn(u64)) -> Result<bool, ArchiveError> {
        match fs::hash_of_prefix_with(&self.file, record.bytes, self.source.path, progress) {
            Ok(hash) => Ok(hash == record.blake3),
            Err(error) if error.source.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// What saving one file did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Saved {
    /// Length of the source as at open.
    pub(super) source_bytes: u64,
    /// Bytes of content added.
    pub(super) added: u64,
    /// Whether a generation was begun.
    pub(super) rotated: bool,
    /// Length and hash of what is stored now, if this save read all of it from the store and found that hash.
    pub(super) read_back: Option<(u64, Hash)>,
}

/// How the source relates to the committed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// It begins with them.
    Begins,
    /// It is shorter, and may be their beginning.
    Lags,
    /// It is something else, or shorter.
    Differs,
}

/// Saves the file. `None` if the source is not there.
pub(super) fn save(
    session: &mut OpenSession<'_>,
    file: &FileName,
    source: &Source<'_>,
    compare: Compare,
    progress: &dyn Fn(u64),
) -> Result<Option<Saved>, ArchiveError> {
    match save_once(session, file, source, compare, progress) {
        // It was truncated while being read: look again, like a reader who came a little later.
        Err(ArchiveError::Shrank { .. }) => {
            std::thread::sleep(SECOND_LOOK);
            save_once(session, file, source, compare, progress)
        }
        // Something else than a content stands in the place of one.
        Err(ArchiveError::Durable(error)) if error.is_not_ours() && put_aside(session, file)? => {
            save_once(session, file, source, compare, progress)
        }
        result => result,
    }
}

/// Moves what stands in the place of the newest content, and can be no content of ours, to quarantine, or what stands in
/// the place of its folder aside; whether anything did.
fn put_aside(session: &OpenSession<'_>, file: &FileName) -> Result<bool, ArchiveError> {
    let name = StoredName::newest(file.clone());
    if matches!(session.slot(&name).dir(), Err(ArchiveError::Durable(error)) if error.is_not_ours()) {
        session.create_dir_of(&name)?;
        return Ok(true);
    }
    let mut is_moved = false;
    for form in [Form::Plain, Form::Compressed] {
        if let Err(ArchiveError::Durable(error)) = session.slot(&name).open_alone_as(form)
            && error.is_not_ours()
        {
            is_moved |= quarantine(session, &name, form)?.is_some();
        }
    }
    Ok(is_moved)
}

fn save_once(
    session: &mut OpenSession<'_>,
    file: &FileName,
    source: &Source<'_>,
    compare: Compare,
    progress: &dyn Fn(u64),
) -> Result<Option<Saved>, ArchiveError> {
    let Some(source_now) = source.look()? else { return Ok(None) };
    let name = StoredName::newest(file.clone());
    let saved = Saved { source_bytes: source_now.identity.bytes, ..Saved::default() };
    refuse_anothers(session, &name)?;
    if compare == Compare::Windows && is_unchanged(session, &name, &source_now.identity)? {
        return Ok(Some(saved));
    }
    let mut saving = Saving { session, name, source: source_now, compare, progress, saved };
    let Some((record, has_more)) = saving.committed()? else { return saving.replace().map(Some) };
    saving.saved.read_back = saving.read_whole(&record)?;
    let mut relation = saving.relation(&record)?;
    if relation == Relation::Differs && !(source.in_versions && is_settled(&saving.source.identity)) {
        std::thread::sleep(SECOND_LOOK);
        let Some(again) = source.look()? else { return Ok(None) };
        saving.saved.source_bytes = again.identity.bytes;
        saving.source = again;
        relation = saving.relation(&record)?;
    }
    match relation {
        Relation::Lags if saving.is_beginning_of_copy()? => Ok(Some(saving.saved)),
        Relation::Begins if source.in_versions && saving.source.identity.bytes > record.bytes => {
            saving.replace().map(Some)
        }
        Relation::Begins if !has_more || saving.undo_append(&record)? => saving.extend(record).map(Some),
        _ => saving.replace().map(Some),
    }
}

/// Refuses a side file at whose path another one of the session lies, because the store's file system does not tell
/// their names apart: one of them would be taken for a version of the other.
fn refuse_anothers(session: &OpenSession<'_>, name: &StoredName) -> Result<(), ArchiveError> {
    if name.file == FileName::Transcript || session.ledger.record(name).is_some() {
        return Ok(());
    }
    let file_at = |name: &StoredName| -> Result<Option<(u64, u64)>, ArchiveError> {
        Ok(session.slot(name).stat(Form::Plain)?.map(|stat| Identity::of(&stat).file()))
    };
    let Some(there) = file_at(name)? else { return Ok(()) };
    for (other, _) in session.ledger.records().filter(|(other, _)| other.generation == name.generation) {
        if file_at(other)? == Some(there) {
            return Err(ArchiveError::NamedAlike {
                path: session.slot(name).path(),
                other: other.to_text(&session.key.id),
            });
        }
    }
    Ok(())
}

/// Whether the last change of a source is old enough for a second look to see what a first one saw.
fn is_settled(identity: &Identity) -> bool {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let age_ns = since_1970.as_nanos() as i128 - identity.mtime_ns;
    age_ns > SECOND_LOOK.as_nanos() as i128
}

/// Whether neither the source nor the copy's length changed since the last commit.
fn is_unchanged(session: &OpenSession<'_>, name: &StoredName, identity: &Identity) -> Result<bool, ArchiveError> {
    let Some(record) = session.ledger.record(name) else { return Ok(false) };
    let verified = matches!(record.verification, Verification::Written | Verification::Compared);
    if !verified || record.source != Some(*identity) || record.bytes != identity.bytes {
        return Ok(false);
    }
    let is_file = |stat: rustix::fs::Stat, bytes: u64| {
        let is_ours = fs::may_be_ours(&stat) || fs::has_other_names(&stat);
        // Not the source itself, under another name.
        is_ours && stat.st_size as u64 == bytes && Identity::of(&stat).file() != identity.file()
    };
    if let Some(stat) = session.slot(name).stat(Form::Plain)? {
        return Ok(is_file(stat, record.bytes));
    }
    let Some(compressed) = record.compressed else { return Ok(false) };
    Ok(session.slot(name).stat(Form::Compressed)?.is_some_and(|stat| is_file(stat, compressed.bytes)))
}

/// One file that is being saved.
struct Saving<'s, 'a> {
    session: &'s mut OpenSession<'a>,
    name: StoredName,
    source: Opened<'s>,
    compare: Compare,
    progress: &'s dyn Fn(u64),
    saved: Saved,
}

impl Saving<'_, '_> {
    /// The record of what stands at the path, if that is the committed bytes; whether more follow them, which
    /// no commit covers: an append that was cut off. `None` where nothing stands, or something else, to be kept
    /// as a generation before anything is written.
    fn committed(&self) -> Result<Option<(Record, bool)>, ArchiveError> {
        let slot = self.session.slot(&self.name);
        let path = slot.path();
        let known = self.session.ledger.record(&self.name);
        let Some(copy) = slot.open_as(Form::Plain)? else {
            return match known {
                Some(record) if slot.is_compressed_alone(known)? && slot.is_compressed_intact(record)? => {
                    Ok(Some((record.clone(), false)))
                }
                _ => Ok(None),
            };
        };
        let bytes = fs::stat_of(&copy, &path)?.st_size as u64;
        let Some(record) = known.cloned() else {
            // Nobody recorded it: a commit that was cut off after the rename, or another program's file.
            // The comparison with the source decides which.
            return Ok(Some((record_of_slot(slot, Verification::Unverified)?, false)));
        };
        if bytes < record.bytes {
            return Ok(None);
        }
        let is_intact = in_either_reading(|| {
            if self.compare == Compare::Whole || !record.is_proven() {
                return Ok(fs::hash_of_prefix_with(&copy, record.bytes, &path, self.progress)? == record.blake3);
            }
            Ok(windows_of(&copy, record.bytes, &path)? == record.windows)
        })?;
        let has_more = bytes > record.bytes;
        Ok(is_intact.then_some((record, has_more)))
    }

    /// What [`Saving::committed`] just read of the store from its first byte to its last, and hashed: not where windows
    /// were enough, nor where it unpacked nothing. An unproven record is not one to be built on.
    fn read_whole(&self, record: &Record) -> Result<Option<(u64, Hash)>, ArchiveError> {
        let is_read = self.compare == Compare::Whole && record.is_proven();
        let is_plain = is_read && self.session.slot(&self.name).has(Form::Plain)?;
        Ok(is_plain.then_some((record.bytes, record.blake3)))
    }

    fn relation(&self, record: &Record) -> Result<Relation, ArchiveError> {
        let Opened { source, file, identity } = &self.source;
        if identity.bytes < record.bytes {
            return Ok(if source.may_lag { Relation::Lags } else { Relation::Differs });
        }
        let same_file = record.source.is_some_and(|known| (known.dev, known.ino) == (identity.dev, identity.ino));
        let is_known = same_file && record.is_proven();
        let equal = if self.compare == Compare::Windows && is_known {
            windows_of(file, record.bytes, source.path)? == record.windows
        } else {
            self.source.begins_with(record, self.progress)?
        };
        Ok(if equal { Relation::Begins } else { Relation::Differs })
    }

    /// Whether the whole of a shorter source is the beginning of the copy: only then it is no news.
    fn is_beginning_of_copy(&self) -> Result<bool, ArchiveError> {
        let (slot, Opened { source, file, identity }) = (self.session.slot(&self.name), &self.source);
        let copy = slot.open()?;
        let theirs = fs::hash_of_prefix(file, identity.bytes, source.path)?;
        Ok(theirs == fs::hash_of_prefix(&copy, identity.bytes, &slot.path())?)
    }

    /// Cuts off bytes that no commit covers, where the source has the same ones: they are written
    /// again, because the sync that did not come may have lost them. False, and nothing done, where
    /// the source has others.
    fn undo_append(&self, record: &Record) -> Result<bool, ArchiveError> {
        let path = self.session.slot(&self.name).path();
        let Some(copy) = self.session.open_for_writing(&self.name)? else { return Ok(true) };
        let mut offset = record.bytes;
        let (mut ours, mut theirs) = (vec![0; fs::COPY_BYTES], vec![0; fs::COPY_BYTES]);
        loop {
            let came = fs::read_at(&copy, offset, &mut ours, &path)?;
            if came == 0 {
                break;
            }
            let read = fs::read_at(&self.source.file, offset, &mut theirs[..came], self.source.source.path)?;
            if ours[..came] != theirs[..read] {
                return Ok(false);
            }
            offset += came as u64;
        }
        fs::truncate(&copy, record.bytes, &path)?;
        Ok(true)
    }

    /// Appends what the source has beyond `record`.
    fn extend(mut self, mut record: Record) -> Result<Saved, ArchiveError> {
        let path = self.session.slot(&self.name).path();
        let identity = self.source.identity;
        if !record.is_proven() {
            // Equal to the source in every byte, as was just seen. Whether it was ever synced is not known.
            self.session.sync_content(&self.name)?;
            record.verification = Verification::Compared;
        }
        if self.session.slot(&self.name).shared()? == Some(identity.file()) {
            self.own_file()?;
        }
        if record.bytes == identity.bytes {
            if self.session.ledger.record(&self.name) != Some(&record) || record.source != Some(identity) {
                record.source = Some(identity);
                self.session.commit(&[Entry::Commit(self.name, Box::new(record))])?;
            }
            return Ok(self.saved);
        }
        self.session.archive.make_sure_of_room(identity.bytes - record.bytes)?;
        make_plain(self.session, &self.name, &mut record)?;
        if self.session.slot(&self.name).shared()?.is_some() {
            self.own_file()?;
        }
        let copy = self.session.open_for_writing(&self.name)?.ok_or_else(|| gone(&path))?;
        while record.bytes < identity.bytes {
            let before = resumed(&record, &copy, &path)?;
            match self.append_step(&record, &before, &copy, &path) {
                Ok(next) => {
                    self.saved.added += next.bytes - record.bytes;
                    self.saved.read_back = self.saved.read_back.map(|_| (next.bytes, next.blake3));
                    record = next;
                }
                Err(error) => {
                    // Back to what is committed. If that fails as well, the next run does it.
                    if fs::truncate(&copy, record.bytes, &path).is_err() {
                        self.session.note_failure();
                    }
                    return Err(error);
                }
            }
        }
        Ok(self.saved)
    }

    /// Puts a copy in the place of the content, which has further names (hard links): they keep the file as it is, and what
    /// is written here from now on is not written there.
    fn own_file(&self) -> Result<(), ArchiveError> {
        let (slot, marks) = (self.session.slot(&self.name), Marks::default());
        let Some(bytes) = slot.stat(Form::Plain)?.map(|stat| stat.st_size as u64) else { return Ok(()) };
        let (path, dir) = (slot.path(), self.session.archive.root());
        let open = || slot.open_as(Form::Plain);
        let source = Source { path: &path, open: &open, may_lag: false, in_versions: false, marks: &marks, dir };
        write_from(self.session, &source, bytes)?;
        self.session.place_temp_over(&self.name)
    }

    /// Appends at most [`COMMIT_BYTES_MAX`] bytes and commits them.
    fn append_step(
        &mut self,
        record: &Record,
        before: &TreeHasher,
        copy: &File,
        path: &Path,
    ) -> Result<Record, ArchiveError> {
        let to = self.source.identity.bytes.min(record.bytes + COMMIT_BYTES_MAX);
        let reopen = || self.session.slot(&self.name).open();
        let (tree, windows) =
            self.source.copy_and_check(record.bytes..to, before, (copy, path), reopen, self.progress)?;
        let next = Record::of(&tree, windows, Some(self.source.identity), record.verification);
        self.session.commit(&[Entry::Commit(self.name.clone(), Box::new(next.clone()))])?;
        Ok(next)
    }

    /// Begins anew: the first part of the source is written aside and checked; only then does what
    /// stands at the path become a generation, and the new content takes its place.
    fn replace(mut self) -> Result<Saved, ArchiveError> {
        let identity = self.source.identity;
        self.session.archive.make_sure_of_room(identity.bytes)?;
        let to = identity.bytes.min(COMMIT_BYTES_MAX);
        let record = write_aside(self.session, &self.source, to, Some(identity), self.progress).inspect_err(|_| {
            // The error that matters is in hand; a leftover goes when the session is opened next.
            let _ = self.session.remove_temp();
        })?;
        let is_superseded = self.is_contained_in_source()?;
        let slot = self.session.slot(&self.name);
        if slot.has(Form::Plain)? || slot.is_compressed_alone(self.session.ledger.record(&self.name))? {
            self.saved.rotated = self.keep_as_generation()?;
        } else {
            self.remember_missing()?;
        }
        self.session.place_temp(&self.name).inspect_err(|_| {
            // As above.
            let _ = self.session.remove_temp();
        })?;
        self.session.commit(&[Entry::Commit(self.name.clone(), Box::new(record.clone()))])?;
        if is_superseded && self.saved.rotated {
            self.remove_last_generation()?;
        }
        self.saved.added += to;
        self.saved.read_back = Some((to, record.blake3));
        if to < identity.bytes { self.extend(record) } else { Ok(self.saved) }
    }

    /// Whether the source says all that the recorded content says, of a small file that is replaced as a whole, where
    /// the store need not keep what another one may ask for.
    fn is_contained_in_source(&self) -> Result<bool, ArchiveError> {
        let FileName::Side(rel) = &self.name.file else { return Ok(false) };
        let (now, record) = (self.source.identity.bytes, self.session.ledger.record(&self.name));
        let Some(record) = record.filter(|record| record.bytes.max(now) <= SMALL_BYTES_MAX) else { return Ok(false) };
        let (slot, path) = (self.session.slot(&self.name), self.source.source.path);
        if !self.session.archive.drops_superseded() || !is_replaced_whole(rel) || !slot.has(Form::Plain)? {
            return Ok(false);
        }
        let (mut ours, mut theirs) = (vec![0; record.bytes as usize], vec![0; now as usize]);
        let came = fs::read_at(&slot.open()?, 0, &mut ours, &slot.path())?;
        let is_recorded = came == ours.len() && blake3::hash(&ours) == record.blake3;
        let came = fs::read_at(&self.source.file, 0, &mut theirs, path)?;
        Ok(is_recorded && came == theirs.len() && says_all_of(&theirs, &ours))
    }

    /// Removes the content that was just made an older one: the newest says all of it. Written down first, like every
    /// removal, so that one that is cut off is finished by the next run.
    fn remove_last_generation(&mut self) -> Result<(), ArchiveError> {
        let file = self.name.file.clone();
        let generation = self.session.ledger.generation_max(&file);
        self.session.commit(&[Entry::Prune(StoredName { file, generation })])?;
        removal::finish(self.session)?;
        self.saved.rotated = false;
        Ok(())
    }

    /// Renames what stands at the path to the next generation. It keeps its record if it matches it, and
    /// also if the recorded bytes are nowhere else any more: then `verify` goes on asking for them. Where it has
    /// all of them and more, or is of lost bookkeeping, it is recorded as something that was found there. False where
    /// it went to quarantine instead: it is damaged, no version of anything, and the source has what is recorded.
    fn keep_as_generation(&mut self) -> Result<bool, ArchiveError> {
        let known = self.session.ledger.record(&self.name).cloned();
        if let Some(known) = &known {
            resolve_forms(self.session, &self.name, known)?;
        }
        let slot = self.session.slot(&self.name);
        let source_has = |known: &Record| self.source.begins_with(known, &|_| {});
        let record = match known {
            Some(known) if slot.is_compressed_alone(Some(&known))? => {
                // The source has all of it, so nothing but a damaged file goes.
                if !slot.is_compressed_intact(&known)? && source_has(&known)? {
                    quarantine(self.session, &self.name, Form::Compressed)?;
                    return Ok(false);
                }
                known
            }
            known => {
                let found = record_of_slot(slot, Verification::Found)?;
                match known {
                    None => found,
                    Some(known) if (known.bytes, known.blake3) == (found.bytes, found.blake3) => {
                        // What nobody was told of needs no proof.
                        let is_unproven = !known.is_proven();
                        if is_unproven && self.session.is_unacknowledged { found } else { known }
                    }
                    Some(known) if in_either_reading(|| slot.begins_with(&known))? => found,
                    Some(known) if !source_has(&known)? => known,
                    // What lost bookkeeping claims calls nothing damaged.
                    Some(known) if !known.is_proven() => found,
                    Some(_) => {
                        quarantine(self.session, &self.name, Form::Plain)?;
                        return Ok(false);
                    }
                }
            }
        };
        self.session.rotate(&self.name.file, record)?;
        Ok(true)
    }

    /// A recorded content that is gone from its path, and is not the beginning of the source either,
    /// becomes a generation that `verify` reports as missing, so that it can still be repaired.
    fn remember_missing(&mut self) -> Result<(), ArchiveError> {
        let Some(record) = self.session.ledger.record(&self.name).cloned() else { return Ok(()) };
        if self.source.begins_with(&record, &|_| {})? {
            return Ok(());
        }
        let target = self.session.next_generation(&self.name.file)?;
        self.session.commit(&[Entry::Commit(target, Box::new(record)), Entry::Gone(self.name.clone())])
    }
}

/// Stores the first `bytes` bytes of the source as an older generation of `file`; the newest
/// content stays as it is.
pub(super) fn add_generation(
    session: &mut OpenSession<'_>,
    file: &FileName,
    source: &Source<'_>,
    bytes: u64,
) -> Result<(), ArchiveError> {
    let record = write_from(session, source, bytes)?;
    let name = session.next_generation(file)?;
    session.commit(&[Entry::Begin(file.clone(), Intent::Add { to: name.generation })])?;
    session.place_temp(&name)?;
    session.commit(&[Entry::Commit(name, Box::new(record))])
}

/// Writes the first `bytes` bytes of the source to the session's temporary file, synced and read
/// back, and gives the record that they deserve.
pub(super) fn write_from(session: &OpenSession<'_>, source: &Source<'_>, bytes: u64) -> Result<Record, ArchiveError> {
    session.archive.make_sure_of_room(bytes)?;
    let opened = source.look()?.ok_or_else(|| gone(source.path))?;
    write_aside(session, &opened, bytes, None, &|_| {})
}

fn write_aside(
    session: &OpenSession<'_>,
    source: &Opened<'_>,
    bytes: u64,
    identity: Option<Identity>,
    progress: &dyn Fn(u64),
) -> Result<Record, ArchiveError> {
    let (temp, path) = (session.create_temp()?, session.temp_path());
    let (nothing, reopen) = (TreeHasher::default(), || session.open_temp());
    let (tree, windows) = source.copy_and_check(0..bytes, &nothing, (&temp, &path), reopen, progress)?;
    Ok(Record::of(&tree, windows, identity, Verification::Written))
}

impl Opened<'_> {
    /// Copies a range of the source to the same range of `copy`, syncs, reads it back through the descriptor that
    /// `reopen` gives, and compares. `before` is the hash state at the range's begin; gives the one at its end,
    /// and the windows of the whole.
    fn copy_and_check(
        &self,
        range: Range<u64>,
        before: &TreeHasher,
        (copy, path): (&File, &Path),
        reopen: impl FnOnce() -> Result<File, ArchiveError>,
        progress: &dyn Fn(u64),
    ) -> Result<(TreeHasher, Windows), ArchiveError> {
        let after = self.copy(&range, before, (copy, path), progress)?;
        let again = reopen()?;
        check_bytes(&again, before, &after, &range, path)?;
        let windows = self.agreed_windows(&again, range.end, path)?;
        Ok((after, windows))
    }

    fn copy(
        &self,
        range: &Range<u64>,
        before: &TreeHasher,
        (copy, path): (&File, &Path),
        progress: &dyn Fn(u64),
    ) -> Result<TreeHasher, ArchiveError> {
        let mut tree = before.clone();
        let (mut offset, mut on_its_way) = (range.start, range.start);
        let mut failed = None;
        feed(&mut tree, &self.file, range.start, range.end, self.source.path, &mut |bytes| {
            if failed.is_none() {
                failed = fs::write_at(copy, offset, bytes, path).err();
                offset += bytes.len() as u64;
                if offset - on_its_way >= WRITE_BACK_BYTES {
                    platform::begin_writing_back(copy, on_its_way..offset);
                    on_its_way = offset;
                }
                progress(offset);
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        fs::sync_data(copy, path)?;
        Ok(tree)
    }

    /// The windows of source and copy, which are equal up to here: a misreading of either is not recorded.
    fn agreed_windows(&self, copy: &File, bytes: u64, path: &Path) -> Result<Windows, ArchiveError> {
        let ours = windows_of(copy, bytes, path)?;
        if ours == windows_of(&self.file, bytes, self.source.path)? {
            return Ok(ours);
        }
        Err(ArchiveError::damaged(path, "its windows differ from the source's"))
    }
}

/// Whether `range` of the file, hashed on from the state before it, gives what was written.
fn check_bytes(
    again: &File,
    before: &TreeHasher,
    after: &TreeHasher,
    range: &Range<u64>,
    path: &Path,
) -> Result<(), ArchiveError> {
    let differs = |what: String| ArchiveError::damaged(path, what);
    let length = fs::stat_of(again, path)?.st_size as u64;
    if length != range.end {
        return Err(differs(format!("{length} bytes came back of {} written", range.end)));
    }
    let mut tree = before.clone();
    feed(&mut tree, again, range.start, range.end, path, &mut |_| {})?;
    if tree.root() != after.root() {
        return Err(differs("the bytes read back differ from those written".to_owned()));
    }
    Ok(())
}

/// The hash state at the end of a record: from the ledger, or by reading the copy again. Either
/// way it must give the recorded hash: a misreading must not get into the next one.
fn resumed(record: &Record, copy: &File, path: &Path) -> Result<TreeHasher, ArchiveError> {
    let from = TreeHasher::last_chunk_offset(record.bytes);
    let mut last = vec![0; (record.bytes - from) as usize];
    let came = fs::read_at(copy, from, &mut last, path)?;
    let stored = TreeHasher::resume(record.bytes, &record.tree, &last[..came]);
    if let Some(tree) = stored.filter(|tree| tree.root() == record.blake3) {
        return Ok(tree);
    }
    let mut tree = TreeHasher::default();
    feed(&mut tree, copy, 0, record.bytes, path, &mut |_| {})?;
    if tree.root() == record.blake3 {
        return Ok(tree);
    }
    Err(ArchiveError::damaged(path, "its hash is not the recorded one"))
}

fn gone(path: &Path) -> ArchiveError {
    ArchiveError::damaged(path, "it is gone")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn tree_of(bytes: &[u8]) -> TreeHasher {
        let mut tree = TreeHasher::default();
        tree.update(bytes);
        tree
    }

    #[test]
    fn what_was_written_is_read_back_and_compared() {
        let (path, old, all) = (Path::new("x"), [b'o'; 3000], [[b'o'; 3000], [b'n'; 3000]].concat());
        let (before, after) = (tree_of(&old), tree_of(&all));
        let check = |bytes: &[u8]| check_bytes(&file_of(bytes), &before, &after, &(3000..6000), path);
        check(&all).unwrap();
        let mut flipped = all.clone();
        flipped[5999] ^= 1;
        for wrong in [&all[..5999], &[&all[..], b"n"].concat(), &flipped, b""] {
            assert!(matches!(check(wrong), Err(ArchiveError::Damaged { .. })), "{}", wrong.len());
        }
    }

    #[test]
    fn hashing_goes_on_from_a_record_whatever_its_state_is_worth() {
        let (path, bytes) = (Path::new("x"), [b'x'; 5000]);
        let copy = file_of(&[&bytes[..], b"not committed"].concat());
        let record = Record::of(&tree_of(&bytes), Windows::default(), None, Verification::Written);
        let others = tree_of(&[b'y'; 5000]).stack_as_hex();
        for tree in [record.tree.clone(), others, String::new(), "no state at all".to_owned()] {
            let mut resumed = resumed(&Record { tree: tree.clone(), ..record.clone() }, &copy, path).unwrap();
            assert_eq!(resumed.root(), record.blake3, "{tree:?}");
            resumed.update(b"more");
            assert_eq!(resumed.root(), blake3::hash(&[&bytes[..], b"more"].concat()), "{tree:?}");
        }
        // Other bytes than were recorded are not built on, whether the damage is where hashing goes on or before.
        for at in [0, 4999] {
            let mut flipped = bytes;
            flipped[at] ^= 1;
            let resumed = resumed(&Record { tree: String::new(), ..record.clone() }, &file_of(&flipped), path);
            assert!(matches!(resumed, Err(ArchiveError::Damaged { .. })), "{at}");
        }
    }

    #[test]
    fn a_source_that_cannot_be_read_is_not_said_to_differ() {
        let (path, dir) = (Path::new("source"), tempfile::tempdir().unwrap());
        let source = Source {
            path,
            open: &|| Ok(None),
            may_lag: false,
            in_versions: false,
            marks: &Marks::default(),
            dir: path,
        };
        let record = Record::of(&tree_of(b"some text"), Windows::default(), None, Verification::Written);
        let begins = |file: File| {
            let identity = Identity::of(&fs::stat_of(&file, path).unwrap());
            Opened { source: &source, file, identity }.begins_with(&record, &|_| {})
        };
        for (bytes, expected) in
            [("some text", true), ("some text and more", true), ("some test", false), ("some", false)]
        {
            assert_eq!(begins(file_of(bytes.as_bytes())).unwrap(), expected, "{bytes}");
        }
        // A folder can be opened and not read.
        assert!(begins(File::open(dir.path()).unwrap()).is_err());
    }

    #[test]
    fn windows_are_recorded_where_source_and_copy_agree_on_them() {
        let path = Path::new("source");
        let source = Source {
            path,
            open: &|| Ok(None),
            may_lag: false,
            in_versions: false,
            marks: &Marks::default(),
            dir: path,
        };
        let file = file_of(b"some text\n");
        let identity = Identity::of(&fs::stat_of(&file, path).unwrap());
        let opened = Opened { source: &source, file, identity };
        let agreed = |copy: &[u8]| opened.agreed_windows(&file_of(copy), 10, Path::new("copy"));
        assert_eq!(agreed(b"some text\n").unwrap(), windows_of(&opened.file, 10, path).unwrap());
        assert!(matches!(agreed(b"some test\n"), Err(ArchiveError::Damaged { .. })));
    }
}
