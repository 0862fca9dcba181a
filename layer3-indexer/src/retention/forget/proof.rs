//! The proof: every file of both stores is read, compressed ones unpacked too, and looked through for what was forgotten.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use layer1_prebackup::archive::Needle;
use layer1_prebackup::claude::transcripts::open_regular;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::SessionId;
use layer1_prebackup::wire::offsite::SEALS;
use memchr::{memchr, memmem};

use super::erase::keys_of;
use super::types::Item;
use crate::failure::{Context, Failure};
use crate::stores::Stores;

/// Shorter lines stand in many conversations.
const LINE_BYTES_MIN: u64 = 64;
const BUFFER_BYTES: usize = 1024 * 1024;
/// What a compressed file unpacks to is read so far, for each of its bytes: more is no conversation.
const UNPACKED_FACTOR_MAX: u64 = 10_000;
/// What of a forgotten conversation stays: the empty file of its lock, and its tombstone.
const STAYS: [&str; 2] = [".state/sessions/ID/lock", ".state/forgotten/ID.json"];
/// The stores of what Claude Code remembers, which are nobody's conversation.
const MEMORY: &str = ".memory";

/// What is looked for.
#[derive(Debug, Default)]
pub(super) struct Sought {
    ids: Vec<SessionId>,
    needle: Option<Needle>,
    /// The first half of the BLAKE3 of each line.
    lines: HashSet<u128>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Proof {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// What holds any of it and is no other conversation's, or cannot be read.
    pub(super) still_there: Vec<PathBuf>,
    /// Conversations whose files hold any of it.
    pub(super) elsewhere: BTreeSet<String>,
    /// Conversations of which a file, a folder or the source bears the text in its name, and so what records them.
    pub(super) named: BTreeSet<String>,
}

impl Sought {
    /// Everything that a conversation's contents say, in the stores and where Claude Code has it. What cannot be read
    /// is looked for by its id alone.
    pub(super) fn add(&mut self, item: &Item, stores: &Stores) {
        self.ids.push(item.id.clone());
        for archive in stores.layer1.iter().chain(&stores.layer3) {
            for key in keys_of(archive, &item.id).unwrap_or_default() {
                for file in archive.files(&key).unwrap_or_default() {
                    let opened = archive.slot(&key, &file.name).open();
                    // As said above.
                    let _ = opened.map(|mut file| self.add_lines(&mut file));
                }
            }
        }
        for path in &item.claude_files {
            // As said above.
            let _ = open_regular(path).map(|file| file.map(|mut file| self.add_lines(&mut file)));
        }
    }

    /// Whether nothing is looked for, so that not finding it proves nothing.
    pub(super) fn is_nothing(&self) -> bool {
        self.ids.is_empty() && self.needle.is_none()
    }

    /// A text, whosever it is.
    pub(super) fn seek(&mut self, needle: &Needle) {
        self.needle = Some(needle.clone());
    }

    /// What is looked for as it stands in files.
    pub(super) fn texts(&self) -> Vec<Vec<u8>> {
        let ids = self.ids.iter().map(|id| id.as_str().as_bytes().to_vec());
        ids.chain(self.needle.iter().flat_map(|needle| needle.forms().to_vec())).collect()
    }

    fn add_lines(&mut self, file: &mut File) -> io::Result<u64> {
        let mut lines = Lines::default();
        let mut keep = |line| self.lines.extend([line]);
        let bytes = read_through(file, 0, &mut |_, new| lines.take(new, &mut keep))?;
        lines.end(&mut keep);
        Ok(bytes)
    }

    /// Whether any of it stands in these bytes, and how many they were.
    fn look(&self, reader: &mut dyn Read) -> io::Result<(bool, u64)> {
        let texts = self.texts();
        let finders: Vec<memmem::Finder<'_>> = texts.iter().map(memmem::Finder::new).collect();
        let longest = texts.iter().map(Vec::len).chain(self.needle.iter().map(Needle::bytes_max)).max().unwrap_or(0);
        let (mut has_text, mut has_line, mut lines) = (false, false, Lines::default());
        let bytes = read_through(reader, longest, &mut |window, new| {
            has_text = has_text
                || finders.iter().any(|finder| finder.find(window).is_some())
                || self.needle.as_ref().is_some_and(|needle| needle.is_escaped_in(window));
            lines.take(new, &mut |line| has_line |= self.lines.contains(&line));
        })?;
        lines.end(&mut |line| has_line |= self.lines.contains(&line));
        Ok((has_text || has_line, bytes))
    }
}

/// Reads both stores, and the index where that lies elsewhere, from the first byte to the last.
pub(super) fn search(places: &Places, stores: &Stores, sought: &Sought) -> Result<Proof, Failure> {
    let others: BTreeSet<String> = stores.sessions()?.iter().map(|key| key.id.to_string()).collect();
    let index = places.index.clone();
    let mut searching =
        Searching { sought, others, index, proof: Proof::default(), in_rows: Vec::new(), of: Vec::new() };
    for store in [&places.layer1_store, &places.layer3_store] {
        searching.folder(store, store)?;
    }
    if let Some(folder) = places.index.parent().filter(|folder| !folder.starts_with(&places.layer3_store)) {
        let name = places.index.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for path in list(folder)? {
            if path.file_name().is_some_and(|found| found.to_string_lossy().starts_with(&name)) {
                searching.file(folder, &path);
            }
        }
    }
    let Searching { mut proof, in_rows, of, .. } = searching;
    // What other conversations say of it, and names, stand in their rows.
    if proof.elsewhere.is_empty() && proof.named.is_empty() {
        proof.still_there.extend(in_rows);
    }
    let named = &proof.named;
    proof.still_there.extend(of.into_iter().filter(|(id, _)| !named.contains(id)).map(|(_, path)| path));
    Ok(proof)
}

struct Searching<'a> {
    sought: &'a Sought,
    /// The conversations that are there.
    others: BTreeSet<String>,
    index: PathBuf,
    proof: Proof,
    /// Files of the index, and seals, that hold any of it.
    in_rows: Vec<PathBuf>,
    /// Metadata that holds the text, and whose it is.
    of: Vec<(String, PathBuf)>,
}

impl Searching<'_> {
    fn folder(&mut self, top: &Path, folder: &Path) -> Result<(), Failure> {
        for path in list(folder)? {
            match path.symlink_metadata() {
                Ok(metadata) if metadata.is_dir() => {
                    let rel = path.strip_prefix(top).unwrap_or(&path);
                    if path.file_name().is_some_and(|name| self.is_named(rel, Path::new(name))) {
                        self.proof.still_there.push(path.clone());
                    }
                    self.folder(top, &path)?;
                }
                Ok(_) => self.file(top, &path),
                // It went meanwhile: a temporary file of a save.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => self.proof.still_there.push(path),
            }
        }
        Ok(())
    }

    fn file(&mut self, top: &Path, path: &Path) {
        let rel = path.strip_prefix(top).unwrap_or(path);
        self.proof.files += 1;
        if self.sought.needle.as_ref().is_some_and(|needle| needle.is_in(rel.as_os_str().as_encoded_bytes())) {
            self.proof.named.extend(self.owner(rel));
        }
        match self.look(path) {
            _ if self.is_named(rel, rel) => self.proof.still_there.push(path.to_owned()),
            Ok(false) => {}
            Ok(true) if is_tombstone(rel, &self.sought.ids) => {}
            // A text is to be nowhere but in names, and in what tells them.
            Ok(true) if self.sought.needle.is_some() => match self.owner(rel) {
                Some(id) if is_ledger(rel) => drop(self.proof.named.insert(id)),
                Some(id) if rel.file_name().is_some_and(|name| *name == *format!("{id}.json")) => {
                    self.of.push((id, path.to_owned()));
                }
                _ if self.is_made_of_rows(path) => self.in_rows.push(path.to_owned()),
                _ => self.proof.still_there.push(path.to_owned()),
            },
            Ok(true) => match self.owner(rel) {
                Some(other) => drop(self.proof.elsewhere.insert(other)),
                None if self.is_made_of_rows(path) => self.in_rows.push(path.to_owned()),
                None => self.proof.still_there.push(path.to_owned()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => self.proof.still_there.push(path.to_owned()),
        }
    }

    /// Whether it holds any of it, packed or unpacked. What is neither a file nor a link to one holds nothing.
    fn look(&mut self, path: &Path) -> io::Result<bool> {
        if !path.symlink_metadata()?.is_file() {
            return Ok(false);
        }
        let mut file = File::open(path)?;
        let (mut is_in, bytes) = self.sought.look(&mut file)?;
        self.proof.bytes += bytes;
        if path.extension().is_some_and(|ending| ending == "zst") {
            let unpacked = zstd::stream::read::Decoder::new(File::open(path)?)?;
            // What does not unpack holds nothing but its bytes; `verify` tells of it.
            is_in |= self
                .sought
                .look(&mut unpacked.take(bytes.saturating_mul(UNPACKED_FACTOR_MAX)))
                .is_ok_and(|look| look.0);
        }
        Ok(is_in)
    }

    /// Whether one of these names of a path bears an id that is looked for, and the path is not one that stays.
    fn is_named(&self, rel: &Path, in_names: &Path) -> bool {
        let bears = |id: &SessionId| {
            let stays = STAYS.iter().any(|stays| Path::new(&stays.replace("ID", id.as_str())).starts_with(rel));
            !stays && names(in_names).any(|name| is_of(&name, id.as_str()))
        };
        self.sought.ids.iter().any(bears) && self.owner(rel).is_none()
    }

    /// Whether it is the index, or tells a third place what there is: of each conversation some rows.
    fn is_made_of_rows(&self, path: &Path) -> bool {
        let is_index = path.to_string_lossy().starts_with(&*self.index.to_string_lossy());
        is_index || path.file_name().is_some_and(|name| SEALS.iter().any(|seal| name == *seal))
    }

    /// The other conversation that a file is of.
    fn owner(&self, rel: &Path) -> Option<String> {
        let known = |name: String| {
            // Ids may hold what ends them in names.
            let ends = name.char_indices().filter(|(_, c)| !c.is_ascii_alphanumeric()).map(|(at, _)| at);
            let mut ends: Vec<usize> = ends.chain([name.len()]).collect();
            ends.reverse();
            ends.into_iter().map(|end| name[..end].to_owned()).find(|id| self.others.contains(id))
        };
        let is_memory = rel.starts_with(MEMORY);
        is_memory.then(|| "memory".to_owned()).or_else(|| names(rel).find_map(known))
    }
}

/// Ledgers hold names, numbers and hashes.
fn is_ledger(rel: &Path) -> bool {
    let rel = rel.strip_prefix(MEMORY).unwrap_or(rel);
    rel.starts_with(".state/sessions") && rel.extension().is_some_and(|ending| ending == "ledger")
}

fn is_tombstone(rel: &Path, ids: &[SessionId]) -> bool {
    ids.iter().any(|id| rel == Path::new(&STAYS[1].replace("ID", id.as_str())))
}

fn names(rel: &Path) -> impl Iterator<Item = String> + '_ {
    rel.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    })
}

fn is_of(name: &str, id: &str) -> bool {
    name.strip_prefix(id).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let reading = || format!("list {}", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(reading())?,
    };
    entries.map(|entry| Ok(entry.context(reading())?.path())).collect()
}

/// Tells of each piece with so many bytes before it, and of the piece alone; gives how many bytes came.
fn read_through(reader: &mut dyn Read, before: usize, each: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<u64> {
    let mut buffer = vec![0; before + BUFFER_BYTES];
    let (mut kept, mut all) = (0, 0);
    loop {
        let came = match reader.read(&mut buffer[kept..]) {
            Ok(0) => return Ok(all),
            Ok(came) => came,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = kept + came;
        each(&buffer[..end], &buffer[kept..end]);
        all += came as u64;
        let from = end.saturating_sub(before);
        buffer.copy_within(from..end, 0);
        kept = end - from;
    }
}

/// The lines of what comes in pieces, by their hash.
#[derive(Debug, Default)]
struct Lines {
    hasher: blake3::Hasher,
}

impl Lines {
    fn take(&mut self, mut piece: &[u8], each: &mut dyn FnMut(u128)) {
        while let Some(at) = memchr(b'\n', piece) {
            self.hasher.update(&piece[..at]);
            self.end(each);
            piece = &piece[at + 1..];
        }
        self.hasher.update(piece);
    }

    fn end(&mut self, each: &mut dyn FnMut(u128)) {
        if self.hasher.count() >= LINE_BYTES_MIN {
            let hash = self.hasher.finalize();
            let mut half = [0; 16];
            half.copy_from_slice(&hash.as_bytes()[..16]);
            each(u128::from_le_bytes(half));
        }
        self.hasher.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives so many bytes at a time.
    struct Dripping<'t>(&'t [u8], usize);

    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let came = self.1.min(self.0.len()).min(buffer.len());
            buffer[..came].copy_from_slice(&self.0[..came]);
            self.0 = &self.0[came..];
            Ok(came)
        }
    }

    fn sought(lines: &[&str]) -> Sought {
        let mut sought =
            Sought { ids: vec![SessionId::parse("8c1f04de-x").unwrap()], lines: HashSet::new(), needle: None };
        let mut keep = |line| sought.lines.extend([line]);
        let mut all = Lines::default();
        lines.iter().for_each(|line| all.take(line.as_bytes(), &mut keep));
        all.end(&mut keep);
        sought
    }

    #[test]
    fn an_id_or_a_line_is_found_however_the_bytes_come() {
        let line = "x".repeat(70) + " a line that is long enough to be one conversation's alone";
        let sought = sought(&[&line, "\n", "short\n"]);
        for (text, expected) in [
            (format!("before\n{line}\nafter"), true),
            (line.clone(), true),
            (format!("{line}\n"), true),
            (format!("{line}.\n"), false),
            ("short\n".to_owned(), false),
            (String::new(), false),
            ("see 8c1f04de-x there".to_owned(), true),
            ("8c1f04de-x".to_owned(), true),
            ("8c1f04de-y 8c1f04de-".to_owned(), false),
        ] {
            for bytes in [1, 2, 7, 64, 1 << 20] {
                let (found, read) = sought.look(&mut Dripping(text.as_bytes(), bytes)).unwrap();
                assert_eq!((found, read), (expected, text.len() as u64), "{text:?} by {bytes}");
            }
        }
    }

    #[test]
    fn a_text_is_found_in_every_way_that_json_writes_it_however_the_bytes_come() {
        let mut sought = Sought::default();
        sought.seek(&Needle::new("a/b-secret"));
        for (text, expected) in [
            ("say a/b-secret", true),
            (r#"{"x":"a\/b-secret"}"#, true),
            (r#"{"x":"\u0061/b-secret"}"#, true),
            (r#"{"x":"{\"x\":\"a\\/b-\\u0073ecret\"}"}"#, true),
            (r#"{"x":"a\\b-secret \u0061"}"#, false),
        ] {
            for bytes in [1, 2, 7, 64] {
                let (found, _) = sought.look(&mut Dripping(text.as_bytes(), bytes)).unwrap();
                assert_eq!(found, expected, "{text:?} by {bytes}");
            }
        }
    }

    #[test]
    fn whose_a_file_is_its_path_tells() {
        let sought = sought(&[]);
        let others = ["8c1f04de-x.found", "other"].map(str::to_owned).into();
        let (proof, index) = (Proof::default(), PathBuf::from("sessions.db"));
        let searching = Searching { sought: &sought, others, index, proof, in_rows: Vec::new(), of: Vec::new() };
        for (path, is_named, owner) in [
            ("p/8c1f04de-x.jsonl", true, None),
            ("p/8c1f04de-x/tool-results/a", true, None),
            ("p/8c1f04de-x (1).jsonl", true, None),
            (".outbox/8c1f04de-x@p.json", true, None),
            (".state/sessions/8c1f04de-x/new", true, None),
            (".state/sessions/8c1f04de-x/lock", false, None),
            (".state/sessions/8c1f04de-x", false, None),
            (".state/forgotten/8c1f04de-x.json", false, None),
            ("p/8c1f04de-xy.jsonl", false, None),
            ("p/8c1f04de-x.found.jsonl", false, Some("8c1f04de-x.found")),
            ("p/other.jsonl", false, Some("other")),
            (".outbox/receipts/other@p.json", false, Some("other")),
            ("p/another.jsonl", false, None),
            (".memory/p/8c1f04de-x", false, Some("memory")),
            ("sessions.db", false, None),
        ] {
            let rel = Path::new(path);
            assert_eq!((searching.is_named(rel, rel), searching.owner(rel).as_deref()), (is_named, owner), "{path}");
        }
    }
}
