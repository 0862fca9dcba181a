//! Comparing what a store holds with the source, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::scratch::{PROJECT, Scratch};
use crate::tree::{self, Entry};

/// So much of what a copy lacks is shown.
const REST_CHARS_MAX: usize = 600;

/// Asserts that `<store>/<project>/` holds the transcript and every side file as they are now.
#[track_caller]
pub fn assert_equals_source(store: &Path, project: &str, transcript: &Path) {
    if let Some(difference) = difference(store, project, transcript) {
        panic!("{difference}\nstore: {:#?}", tree::visible_files(store));
    }
}

/// [`assert_equals_source`] for both stores and the usual project.
#[track_caller]
pub fn assert_saved_twice(scratch: &Scratch, transcript: &Path) {
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        assert_equals_source(&store, PROJECT, transcript);
    }
}

/// What differs between the source and its copy in `<store>/<project>/`, if anything does.
pub fn difference(store: &Path, project: &str, transcript: &Path) -> Option<String> {
    let name = transcript.file_name().expect("a transcript has a name");
    let copy = store.join(project).join(name);
    let (source, stored) = (fs::read(transcript).ok()?, content_at(&copy));
    match stored {
        Err(error) => return Some(format!("{} cannot be read: {error}", copy.display())),
        Ok(stored) if stored != source => {
            let same = source.iter().zip(&stored).take_while(|(a, b)| a == b).count();
            let rest = String::from_utf8_lossy(&source[same..]).chars().take(REST_CHARS_MAX).collect::<String>();
            return Some(format!(
                "{} has {} bytes, the source {}; they part at {same}, where the source goes on {rest:?}",
                copy.display(),
                stored.len(),
                source.len()
            ));
        }
        Ok(_) => {}
    }
    let mut source_sides = side_files(transcript);
    source_sides.extend(kept_elsewhere(transcript));
    let mut stored_sides = side_files(&copy);
    // What is kept elsewhere may go there, and stays here.
    stored_sides.retain(|name, _| !name.to_string_lossy().starts_with('.') || source_sides.contains_key(name));
    let names = source_sides.keys().chain(stored_sides.keys());
    let different: BTreeSet<_> = names.filter(|name| source_sides.get(*name) != stored_sides.get(*name)).collect();
    let first = different.first()?;
    let (source, stored) = (source_sides.len(), stored_sides.len());
    Some(format!(
        "{} of the side files of {} differ, {first:?} first; the source has {source}, the store {stored}",
        different.len(),
        copy.display()
    ))
}

/// The plain bytes of a content that may be compressed; the plain file counts where both are there.
pub fn content_at(path: &Path) -> std::io::Result<Vec<u8>> {
    fs::read(path).or_else(|missing| match fs::read(packed_path(path)) {
        Ok(packed) => zstd::decode_all(&packed[..]),
        Err(_) => Err(missing),
    })
}

/// Where the content lies once it is compressed.
pub fn packed_path(path: &Path) -> PathBuf {
    path.with_file_name(format!("{}.zst", path.file_name().unwrap_or_default().to_string_lossy()))
}

/// The regular side files of a transcript with their hashes, without lock files, which are never
/// copied, and without the client's temporary ones: a copy keeps one that it met, the source does not.
fn side_files(transcript: &Path) -> BTreeMap<PathBuf, blake3::Hash> {
    let entries = tree::all(&transcript.with_extension("")).into_iter();
    let files = entries.filter_map(|(path, entry)| match entry {
        tree::Entry::File(_, _, hash) => Some((path, hash)),
        _ => None,
    });
    files.filter(|(path, _)| path.extension().is_none_or(|e| e != "lock") && !is_temporary(path)).collect()
}

/// What belongs to a conversation and lies outside its own folder, under the names that a store has for it: beside
/// the transcript, and in the configuration directory.
fn kept_elsewhere(transcript: &Path) -> BTreeMap<PathBuf, blake3::Hash> {
    let id = transcript.file_stem().expect("a transcript has a name").to_string_lossy().into_owned();
    let slug = transcript.parent().expect("a transcript lies in a folder");
    let is_beside = |name: &str| name.starts_with(&format!("{id}.")) && !name.ends_with(".lock");
    let beside = fs::read_dir(slug).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path != transcript && path.is_file() && is_beside(&name) && !is_temporary(path)
    });
    let beside = beside.map(|path| (Path::new(".beside").join(path.file_name().unwrap_or_default()), path));
    let claude_dir = slug.ancestors().nth(2).unwrap_or(slug);
    let of_the_client = ["file-history", "tasks"].into_iter().flat_map(|kind| {
        let folder = claude_dir.join(kind).join(&id);
        let names = side_files(&folder).into_keys().collect::<Vec<_>>();
        names.into_iter().map(move |name| (Path::new(".claude").join(kind).join(&name), folder.join(name)))
    });
    let all = beside.chain(of_the_client);
    all.filter_map(|(name, path)| Some((name, blake3::hash(&fs::read(path).ok()?)))).collect()
}

/// `NAME.tmp.<8 hex digits>`: what the client writes before it renames it to `NAME`.
fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let tail = name.rsplit_once(".tmp.").map_or("", |(_, tail)| tail);
    tail.len() == 8 && tail.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Every file of both stores, bookkeeping included, with the hash of its bytes.
pub fn files_of_both(scratch: &Scratch) -> BTreeMap<PathBuf, blake3::Hash> {
    let stores = [scratch.layer1_store(), scratch.layer3_store()];
    let files = stores.iter().flat_map(|store| {
        tree::all(store).into_iter().filter_map(move |(path, entry)| match entry {
            Entry::File(_, _, hash) => Some((store.join(path), hash)),
            _ => None,
        })
    });
    files.collect()
}
