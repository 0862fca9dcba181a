//! What the newest content of a conversation lost of an older one.
//!
//! Two contents are compared once: what came out is recorded in layer 3's store, and holds for as long as both are the
//! same; that nothing was lost, also where the newest goes on from what was compared. Whoever only looks compares where
//! nothing is recorded, and writes nothing.

use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use layer1_prebackup::archive::{Archive, SessionKey, StoredFile, Verification};
use layer1_prebackup::claude::side_files::{is_of_subagent, is_tool_result, place_of};
use layer1_prebackup::config::size::Size;
use layer1_prebackup::fs::{self, DurableError};
use layer1_prebackup::names::{FileName, LAYER3, StoredName, typed};
use serde::{Deserialize, Serialize};

use crate::failure::{Context, Failure};
use crate::stores::acknowledged;
use crate::stores::both::Stores;
use crate::stores::copies::SessionCopies;
use crate::stores::held::Held;
use crate::stores::types::{Chosen, Copy, Layer, Which};
use crate::terminal;
use crate::transcript::lost::{How, Joiner, Messages};

/// Format of a record.
const FORMAT: u32 = 2;
/// A record is shorter: two lines a version.
const RECORD_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Where the records are, in layer 3's store.
const RECORDS: &str = ".state/losses";

/// What a conversation's newest content lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Loss {
    pub(crate) how: How,
    /// Messages that an older version has and the newest has not; of the version that has most of them.
    pub(crate) messages: u64,
    /// That version, 1 being the oldest.
    pub(crate) version: u32,
    /// Its length.
    pub(crate) version_bytes: u64,
    /// Whether no other content is longer.
    pub(crate) is_longest: bool,
    /// Length of the newest content.
    pub(crate) bytes: u64,
}

/// A content by its length and hash: `1234:…`.
fn mark(file: &StoredFile) -> String {
    format!("{}:{}", file.bytes, file.blake3.to_hex())
}

/// What was compared, and what came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Compared {
    format: u32,
    newest: String,
    newest_bytes: u64,
    older: Vec<String>,
    loss: Option<Loss>,
}

impl Loss {
    /// Whether a person has to decide. A compaction that Claude Code made room with is as it wanted it.
    pub(crate) fn needs_person(&self) -> bool {
        self.how != How::Compacted
    }

    /// What brings it back: all versions as one, where the newest goes on from the older one.
    pub(crate) fn which(&self) -> Which {
        if self.how == How::Split { Which::Joined } else { Which::Generation(self.version) }
    }

    /// The same as a flag.
    pub(crate) fn flag(&self) -> String {
        match self.how {
            How::Split => "--joined".to_owned(),
            _ if self.is_longest => "--longest".to_owned(),
            _ => format!("--generation {}", self.version),
        }
    }

    /// For people, in one sentence without its end.
    pub(crate) fn to_text(&self) -> String {
        let version = self.version;
        let messages = match self.messages {
            // Of what a tool gave back.
            0 => "what".to_owned(),
            messages => format!("{} that", terminal::count(messages, "message")),
        };
        let what = match self.how {
            How::Shrunk => "it lost",
            How::Rewritten => "it was rewritten and lost",
            How::Split => "Claude Code went on in a new file without",
            How::Compacted => "a compaction replaced",
        };
        format!("{what} {messages} version {version} has ({} now, {} then)", Size(self.bytes), Size(self.version_bytes))
    }
}

impl SessionCopies {
    /// What the newest content lost, unless a person acknowledged that or nobody has to decide.
    pub(crate) fn loss(&self) -> Option<Loss> {
        self.any_loss().filter(|loss| loss.needs_person() && !acknowledged::is_loss(self))
    }

    /// What the newest content lost. What cannot be read is not known to have lost anything; `verify` tells of it.
    pub(crate) fn any_loss(&self) -> Option<Loss> {
        let held = self.with_more_versions();
        let (newest, older) = contents(held, &FileName::Transcript)?;
        if let Some(compared) = self.recorded(held).filter(|compared| compared.holds(newest, &older)) {
            return compared.loss;
        }
        compare(&self.stores, held, newest, &older, &|_| {}).0
    }

    /// Records what the newest content lost, where there is something to compare and it is not recorded yet. `progress`
    /// is told the bytes that were compared.
    pub(crate) fn record_loss(&self, progress: &dyn Fn(u64)) -> Result<(), Failure> {
        let held = &self.layer3;
        let Some((newest, older)) = contents(held, &FileName::Transcript) else { return Ok(()) };
        let Some(path) = self.record_path() else { return Ok(()) };
        if self.recorded(held).is_some_and(|compared| compared.holds(newest, &older)) {
            return Ok(());
        }
        let (loss, all_read) = compare(&self.stores, held, newest, &older, progress);
        all_read?;
        let older = older.iter().map(|file| mark(file)).collect();
        let (newest_bytes, newest) = (newest.bytes, mark(newest));
        let compared = Compared { format: FORMAT, newest, newest_bytes, older, loss };
        // Strings and numbers: this cannot fail.
        let text = serde_json::to_vec(&compared).expect("it serialises");
        let store = self.stores.indexed().map_or(Path::new(""), Archive::root);
        Ok(fs::replace_own(store, path.strip_prefix(store).unwrap_or(&path), &text)?)
    }

    /// The older contents that a person has to have seen to acknowledge what was lost.
    pub(super) fn older_marks(&self) -> Vec<String> {
        contents(self.with_more_versions(), &FileName::Transcript)
            .map_or(Vec::new(), |(_, older)| older.iter().map(|file| mark(file)).collect())
    }

    /// What the newest contents of the subagents' files and of tools' results lost, unless a person acknowledged that,
    /// each with its path below the session's folder. Nothing is recorded of it: such a file is rarely written anew.
    pub(crate) fn side_losses(&self) -> Vec<(PathBuf, Loss)> {
        let lost = |rel: PathBuf| {
            let file = FileName::Side(rel.clone());
            let held = self.with_more_versions_of(&file);
            let (newest, older) = contents(held, &file)?;
            let loss = match is_tool_result(&rel) {
                true => shortened(newest, &older)?,
                false => compare(&self.stores, held, newest, &older, &|_| {}).0.filter(Loss::needs_person)?,
            };
            (!acknowledged::is_side_loss(self, &rel)).then_some((rel, loss))
        };
        self.side_files().into_iter().filter(|rel| may_lose(rel)).filter_map(lost).collect()
    }

    /// [`SessionCopies::older_marks`] of a side file.
    pub(super) fn side_marks(&self, rel: &Path) -> Vec<String> {
        let file = FileName::Side(rel.to_owned());
        let older = contents(self.with_more_versions_of(&file), &file).map(|(_, older)| older).unwrap_or_default();
        older.iter().map(|content| format!("{} {}", rel.display(), mark(content))).collect()
    }

    /// Those of all side files that may lose something, and of the subagents' that are gone.
    pub(super) fn all_side_marks(&self) -> Vec<String> {
        let files = self.side_files().into_iter().filter(|rel| may_lose(rel));
        let gone = self.subagents_missing().into_iter().map(|(_, mark)| mark);
        files.flat_map(|rel| self.side_marks(&rel)).chain(gone).collect()
    }

    /// The subagents' files that are saved and not there any more, although the transcript is, unless a person
    /// acknowledged that.
    pub(crate) fn subagents_gone(&self) -> Vec<PathBuf> {
        let missing = self.subagents_missing().into_iter();
        missing.filter(|(_, mark)| !acknowledged::is_mark_seen(self, mark)).map(|(rel, _)| rel).collect()
    }

    /// Each with what there is to be acknowledged.
    fn subagents_missing(&self) -> Vec<(PathBuf, String)> {
        let Some(source) = self.sources().find(|source| source.exists()) else { return Vec::new() };
        let missing = |rel: PathBuf| {
            let file = FileName::Side(rel.clone());
            let newest = self.with_more_versions_of(&file).newest(&file).filter(|newest| newest.bytes > 0)?;
            let (folder, below) = place_of(source, &self.key.id, &file);
            let is_missing = folder.join(below).symlink_metadata().is_err();
            is_missing.then(|| (rel.clone(), format!("gone {} {}", rel.display(), mark(newest))))
        };
        self.side_files().into_iter().filter(|rel| is_of_subagent(rel)).filter_map(missing).collect()
    }

    /// The newest content.
    pub(super) fn newest_mark(&self) -> Option<String> {
        let newest = |held: &Held| held.newest(&FileName::Transcript).map(mark);
        newest(&self.layer3).or_else(|| newest(&self.layer1))
    }

    /// All versions as one, the oldest first, each line as it was: see [`Joiner`].
    pub(crate) fn joined(&self) -> Result<Copy, Failure> {
        let held = self.with_more_versions();
        let names = versions(held);
        let copies = names.iter().map(|name| self.get(name)).collect::<Result<Vec<_>, _>>()?;
        let archive = self.stores.of(held.layer).expect("what is listed is in a store");
        let file = fs::nameless_file(archive.root()).or_else(|_| fs::nameless_file(&std::env::temp_dir()))?;
        let path = archive.slot(held.key.as_ref().expect("listed"), &StoredName::newest(FileName::Transcript)).place();
        let joining = || format!("join what is stored of {}", path.display());
        let (mut joiner, mut out) = (Joiner::default(), io::BufWriter::new(&file));
        let mut notes = Vec::new();
        for mut copy in copies {
            notes.append(&mut copy.notes);
            let bytes = copy.read().context(joining())?;
            joiner.add(bytes, &mut out).context(joining())?;
        }
        io::Write::flush(&mut out).context(joining())?;
        drop(out);
        let bytes = fs::stat_of(&file, &path)?.st_size as u64;
        let blake3 = fs::hash_of_prefix(&file, bytes, &path)?;
        let (layer, key) = (held.layer, held.key.clone().expect("listed"));
        let name = StoredName::newest(FileName::Transcript);
        Ok(Copy { at: Chosen { layer, key, name, path, bytes, blake3 }, bad: Vec::new(), notes, file })
    }

    /// What a reader of the newest content gets where Claude Code went on in a new file: all versions as one. `None`
    /// also where a version cannot be read; [`SessionCopies::loss_note`] tells of it then.
    pub(crate) fn across(&self) -> Option<Copy> {
        let is_across = |loss: &Loss| matches!(loss.how, How::Split | How::Compacted);
        let loss = self.any_loss().filter(is_across).filter(|_| !acknowledged::is_loss(self))?;
        let mut copy = self.joined().ok()?;
        copy.notes.push(format!("{}; all of it is shown here", loss.to_text()));
        Some(copy)
    }

    /// What a reader of the newest content is told where that lost something, or is not there.
    pub(crate) fn loss_note(&self) -> Option<String> {
        if self.stand_in().is_some() {
            return Some("no transcript of it is stored; this is what its subagents did".to_owned());
        }
        let loss = self.loss()?;
        let (text, name, version) = (loss.to_text(), self.name(), loss.version);
        let show = typed(LAYER3, &format!("show {name} --generation {version}"));
        Some(format!("{text}: `{show}` shows them"))
    }

    /// The store that has more versions: layer 3, unless layer 1 saw a rewriting that it did not deliver yet.
    fn with_more_versions(&self) -> &Held {
        self.with_more_versions_of(&FileName::Transcript)
    }

    fn with_more_versions_of(&self, file: &FileName) -> &Held {
        let versions = |held: &Held| held.contents(file).count();
        if versions(&self.layer1) > versions(&self.layer3) { &self.layer1 } else { &self.layer3 }
    }

    fn record_path(&self) -> Option<PathBuf> {
        Some(record_path(self.stores.indexed()?, self.layer3.key.as_ref()?))
    }

    /// A record that cannot be read is made again.
    fn recorded(&self, held: &Held) -> Option<Compared> {
        let path = self.record_path().filter(|_| held.layer == Layer::Three)?;
        let store = self.stores.indexed()?.root();
        let text = fs::read_own(store, path.strip_prefix(store).ok()?, RECORD_BYTES_MAX).ok()??;
        let compared: Compared = serde_json::from_slice(&text).ok()?;
        (compared.format == FORMAT).then_some(compared)
    }
}

impl Compared {
    /// What lost nothing loses nothing by going on; how something was lost may show only later.
    fn holds(&self, newest: &StoredFile, older: &[&StoredFile]) -> bool {
        let went_on = || self.loss.is_none() && newest.bytes > self.newest_bytes;
        let same_newest = self.newest == mark(newest) || went_on();
        same_newest && self.older.len() == older.len() && self.older.iter().zip(older).all(|(a, b)| *a == mark(b))
    }
}

/// The newest content of a file and the older ones, oldest first. What somebody else wrote over our copy is
/// no older content of the conversation. `None` where there is nothing to compare.
fn contents<'h>(held: &'h Held, file: &FileName) -> Option<(&'h StoredFile, Vec<&'h StoredFile>)> {
    let all = || held.contents(file).filter(|file| file.verification != Verification::Found);
    let newest = all().find(|file| file.name.generation == 0)?;
    let mut older: Vec<&StoredFile> = all().filter(|file| file.name.generation > 0).collect();
    older.sort_by_key(|file| file.name.generation);
    (!older.is_empty()).then_some((newest, older))
}

/// The names of all versions, the oldest first.
fn versions(held: &Held) -> Vec<StoredName> {
    let (newest, older) = match contents(held, &FileName::Transcript) {
        Some((newest, older)) => (Some(newest), older),
        None => (held.newest(&FileName::Transcript), Vec::new()),
    };
    older.into_iter().chain(newest).map(|file| file.name.clone()).collect()
}

/// Whether one looks for what a side file lost.
fn may_lose(rel: &Path) -> bool {
    is_of_subagent(rel) || is_tool_result(rel)
}

/// What a text without messages lost: all behind its end, or its beginning.
fn shortened(newest: &StoredFile, older: &[&StoredFile]) -> Option<Loss> {
    let longest = older.iter().max_by_key(|file| file.bytes).filter(|longest| longest.bytes > newest.bytes)?;
    let (version, version_bytes) = (longest.name.generation, longest.bytes);
    Some(Loss { how: How::Shrunk, messages: 0, version, version_bytes, is_longest: true, bytes: newest.bytes })
}

/// The worst loss of those that can be told, and whether every content could be read.
fn compare(
    stores: &Stores,
    held: &Held,
    newest: &StoredFile,
    older: &[&StoredFile],
    progress: &dyn Fn(u64),
) -> (Option<Loss>, Result<(), Failure>) {
    let told = Cell::new(0);
    let messages = |file| messages(stores, held, file, &told, progress);
    let now = match messages(newest) {
        Ok(now) => now,
        Err(failure) => return (None, Err(failure)),
    };
    let (mut worst, mut all_read): (Option<Loss>, _) = (None, Ok(()));
    // Of the newest one and of what it goes on from, be it through others.
    let (mut ties, mut goes_through) = (now.ties().collect::<HashSet<u64>>(), false);
    for (nth, file) in older.iter().enumerate().rev() {
        let before = match messages(file) {
            Ok(before) => before,
            Err(failure) => {
                all_read = Err(failure);
                continue;
            }
        };
        let lost = now.lost_of(&before, older.len() - nth);
        let is_tied = before.has_any(&ties);
        let goes_on = is_tied && goes_through;
        if is_tied {
            ties.extend(before.ties());
            goes_through = true;
        }
        let Some(lost) = lost.filter(|lost| worst.as_ref().is_none_or(|worst| lost.messages > worst.messages)) else {
            continue;
        };
        worst = Some(Loss {
            how: if lost.is_all && goes_on { How::Split } else { lost.how },
            messages: lost.messages,
            version: file.name.generation,
            version_bytes: file.bytes,
            is_longest: older.iter().all(|other| other.bytes <= file.bytes) && newest.bytes < file.bytes,
            bytes: newest.bytes,
        });
    }
    (worst, all_read)
}

fn messages(
    stores: &Stores,
    held: &Held,
    file: &StoredFile,
    told: &Cell<u64>,
    progress: &dyn Fn(u64),
) -> Result<Messages, Failure> {
    let (archive, key) = stores.of(held.layer).zip(held.key.as_ref()).expect("what is listed is in a store");
    let slot = archive.slot(key, &file.name);
    let content = io::Read::take(slot.open()?, file.bytes);
    Messages::of(Telling { content, told, progress }).context(format_args!("read {}", slot.place().display()))
}

/// Tells of what is read: a save that says nothing for long is taken for one that hangs.
struct Telling<'a, R> {
    content: R,
    told: &'a Cell<u64>,
    progress: &'a dyn Fn(u64),
}

impl<R: io::Read> io::Read for Telling<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let came = self.content.read(buffer)?;
        self.told.set(self.told.get() + came as u64);
        (self.progress)(self.told.get());
        Ok(came)
    }
}

/// How many messages the newest content of a session lost, as far as that is recorded: for those who mark many sessions.
pub(crate) fn recorded_messages(stores: &Rc<Stores>, key: &SessionKey) -> u64 {
    let is_recorded = stores.indexed().is_some_and(|layer3| record_path(layer3, key).exists());
    let copies = || is_recorded.then(|| SessionCopies::of(stores, key).ok()).flatten();
    copies().and_then(|copies| copies.loss()).map_or(0, |loss| loss.messages)
}

/// Removes what is recorded of a session that is removed.
pub(crate) fn forget(layer3: &Archive, key: &SessionKey) -> Result<(), DurableError> {
    let record = record_path(layer3, key);
    fs::remove_file(&record)?;
    // The id's folder too, unless another project's record lies in it.
    let is_empty = |folder: &Path| std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    match record.parent().filter(|folder| is_empty(folder)) {
        Some(folder) => fs::remove_dir(folder).map(drop),
        None => Ok(()),
    }
}

fn record_path(layer3: &Archive, key: &SessionKey) -> PathBuf {
    layer3.root().join(RECORDS).join(key.id.as_str()).join(format!("{}.json", key.project))
}
