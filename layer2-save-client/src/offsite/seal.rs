//! The seal: all that is committed at one moment, written down before `restic` reads. A store that is written to has no
//! single instant, so a snapshot of it is judged by its seal: each file in it begins with so many bytes of that hash.
//!
//! It is sent with the files, in two forms: `seal.json`, and `seal.b3` for `b3sum --check`, so that what comes back can
//! be checked without a program of ours.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use layer1_prebackup::archive::{Archive, Committed, committed};
use layer1_prebackup::claude::transcripts::first_cwd;
use layer1_prebackup::config::exclude::Exclusions;
use layer1_prebackup::fs;
use layer1_prebackup::names::{FileName, StoredName, spelled};
use layer1_prebackup::wire::offsite::{FOLDER, SEAL, SEALS};
use serde::{Deserialize, Serialize};

use crate::error::{Error, failed};

/// The newest seal for `b3sum`.
const SUMS: &str = SEALS[1];
/// The seal that was last received, in the folder of a place alone.
const RECEIVED: &str = SEALS[2];
/// No seal is longer, in bytes: millions of files.
const SEAL_BYTES_MAX: u64 = 1 << 30;
const FORMAT: u32 = 1;

/// What is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seal {
    format: u32,
    /// The store's id.
    pub(crate) store: String,
    /// The set-up that made it.
    pub(crate) writer: String,
    /// The machine's name in the place.
    pub(crate) host: String,
    /// When, RFC 3339.
    pub(crate) at: String,
    /// BLAKE3 of the names, tags and notes that the user gave; empty where there are none.
    #[serde(default)]
    labels: String,
    /// Sorted by path.
    pub(crate) files: Vec<Sealed>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealed {
    /// Relative to the store, [`spelled`].
    pub(crate) path: String,
    /// 0 for the newest content.
    pub(crate) generation: u32,
    pub(crate) bytes: u64,
    /// Of the first `bytes` bytes.
    pub(crate) blake3: String,
}

impl Sealed {
    /// The path in a snapshot.
    pub(crate) fn in_snapshot(&self) -> String {
        format!("/{}", self.path)
    }

    /// Its session: project and id, or the project's memory.
    pub(crate) fn session(&self) -> &str {
        session_of(&self.path)
    }
}

/// `[.memory/]PROJECT/ID` of a path of a store.
pub(crate) fn session_of(path: &str) -> &str {
    let below = path.strip_prefix(".memory/").map_or(0, |_| ".memory/".len());
    let mut slashes = path[below..].match_indices('/').map(|(at, _)| below + at);
    let (Some(project), id_end) = (slashes.next(), slashes.next().unwrap_or(path.len())) else { return path };
    let id = &path[project + 1..id_end];
    let id = id.strip_suffix(".zst").unwrap_or(id);
    let id = id.strip_suffix(".jsonl").unwrap_or(id);
    let id = id.split_once(".gen-").map_or(id, |(id, _)| id);
    &path[..project + 1 + id.len()]
}

/// Which machine seals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealer<'a> {
    pub(crate) store: &'a str,
    pub(crate) writer: &'a str,
    pub(crate) host: &'a str,
}

impl Seal {
    /// Of all that is committed and not left out.
    pub(crate) fn of_store(store: &Path, exclude: &Exclusions, by: Sealer<'_>, now_ms: u64) -> Result<Seal, Error> {
        let all = committed(store)?;
        let left_out = left_out(store, exclude, &all)?;
        let files = all.iter().filter(|file| !left_out.contains(&group(file))).map(|file| Sealed {
            path: spelled(&file.path),
            generation: file.generation,
            bytes: file.bytes,
            blake3: file.blake3.to_hex().to_string(),
        });
        Ok(Seal {
            format: FORMAT,
            store: by.store.to_owned(),
            writer: by.writer.to_owned(),
            host: by.host.to_owned(),
            at: rfc3339(now_ms),
            labels: hash_of_labels(store)?,
            files: files.collect(),
        })
    }

    /// Of text. An error where it is none, or a newer version's.
    pub(crate) fn parse(text: &[u8]) -> Result<Seal, Error> {
        let seal: Seal = serde_json::from_slice(text).map_err(failed("understand the seal"))?;
        if seal.format > FORMAT {
            return Err(format!(
                "use the seal: its format {} is newer than this program; update Threefold",
                seal.format
            )
            .into());
        }
        // A repository may be anybody's.
        let is_plain = |path: &str| {
            !path.starts_with('/') && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        };
        match seal.files.iter().find(|file| !is_plain(&file.path)) {
            Some(file) => Err(format!("use the seal: {:?} is no path of a store", file.path).into()),
            None => Ok(seal),
        }
    }

    /// BLAKE3 of what is sealed; when does not count.
    pub(crate) fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.labels.as_bytes());
        for file in &self.files {
            let line = format!("{} {} {} {}\n", file.path, file.generation, file.bytes, file.blake3);
            hasher.update(line.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Writes both forms into the store, durably.
    pub(crate) fn write(&self, store: &Path) -> Result<(), Error> {
        let sums: String = self.files.iter().map(sum_line).collect();
        put(store, SUMS, sums.as_bytes())?;
        put(store, SEAL, &self.to_json()?)
    }

    /// Writes down that it was received, in this folder of the store.
    pub(crate) fn keep_as_received(&self, store: &Path, folder: &Path) -> Result<(), Error> {
        Ok(fs::replace_own(store, &folder.join(RECEIVED), &self.to_json()?)?)
    }

    fn to_json(&self) -> Result<Vec<u8>, Error> {
        let mut json = serde_json::to_vec(self).map_err(failed("encode the seal as JSON"))?;
        json.push(b'\n');
        Ok(json)
    }

    /// What was last received; `None` where nothing was, or that cannot be read: then all is looked at as new.
    pub(crate) fn last_received(store: &Path, folder: &Path) -> Option<Seal> {
        let text = fs::read_own(store, &folder.join(RECEIVED), SEAL_BYTES_MAX).ok()??;
        Seal::parse(&text).ok()
    }

    /// The sealed files of each session.
    pub(crate) fn by_session(&self) -> BTreeMap<&str, Vec<&Sealed>> {
        let mut sessions: BTreeMap<&str, Vec<&Sealed>> = BTreeMap::new();
        for file in &self.files {
            sessions.entry(file.session()).or_default().push(file);
        }
        sessions
    }

    /// The newest contents in it that may have become older ones until `now`: their session has an older version that
    /// is not sealed here. What then lies under their names can be as long as they are and is another content.
    pub(crate) fn replaced<'s>(&'s self, now: &Seal) -> Vec<&'s Sealed> {
        let sealed: HashSet<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
        let is_new = |file: &&Sealed| file.generation > 0 && !sealed.contains(file.path.as_str());
        let begun: HashSet<&str> = now.files.iter().filter(is_new).map(Sealed::session).collect();
        self.files.iter().filter(|file| file.generation == 0 && begun.contains(file.session())).collect()
    }

    /// How many sessions have something that `received` has not.
    pub(crate) fn waiting(&self, received: Option<&Seal>) -> u64 {
        let known: HashMap<&str, &Sealed> =
            received.iter().flat_map(|seal| seal.files.iter().map(|file| (file.path.as_str(), file))).collect();
        let new = self.files.iter().filter(|file| known.get(file.path.as_str()).is_none_or(|known| known != file));
        new.map(Sealed::session).collect::<BTreeSet<_>>().len() as u64
    }
}

fn hash_of_labels(store: &Path) -> Result<String, Error> {
    let Some(archive) = Archive::open(store)? else { return Ok(String::new()) };
    let labels: Vec<_> =
        archive.all_labels()?.into_iter().filter_map(|(id, labels)| Some((id, labels.ok()?))).collect();
    if labels.is_empty() {
        return Ok(String::new());
    }
    let labels: Vec<_> = labels.iter().map(|(id, labels)| (id.as_str(), labels)).collect();
    let json = serde_json::to_vec(&labels).map_err(failed("encode names and notes as JSON"))?;
    Ok(blake3::hash(&json).to_hex().to_string())
}

fn put(store: &Path, name: &str, content: &[u8]) -> Result<(), Error> {
    Ok(fs::replace_own(store, &Path::new(FOLDER).join(name), content)?)
}

/// As `b3sum` reads it: a name with a backslash or a line break in it is escaped, and marked by a backslash in front.
fn sum_line(file: &Sealed) -> String {
    let escaped = file.path.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    let mark = if escaped == file.path { "" } else { "\\" };
    format!("{mark}{}  {escaped}\n", file.blake3)
}

type Group = (bool, String, String);

fn group(file: &Committed) -> Group {
    (file.is_memory, file.key.project.to_string(), file.key.id.to_string())
}

/// The sessions that are not to be sent.
fn left_out(store: &Path, exclude: &Exclusions, all: &[Committed]) -> Result<BTreeSet<Group>, Error> {
    let mut out = BTreeSet::new();
    if *exclude == Exclusions::default() {
        return Ok(out);
    }
    let archives = [Archive::open(store)?, Archive::open(&store.join(".memory"))?];
    let mut looked_at = BTreeSet::new();
    for file in all {
        let Some(archive) = &archives[usize::from(file.is_memory)] else { continue };
        if !looked_at.insert(group(file)) {
            continue;
        }
        let source = archive.source_of(&file.key)?;
        let is_source_out = source.as_deref().is_some_and(|source| exclude.is_excluded(source, None));
        // Where Claude Code has deleted it, the copy says where it worked.
        let newest = StoredName::newest(FileName::Transcript);
        let cwd = first_cwd(&archive.slot(&file.key, &newest).path()).ok().flatten();
        let directories: Vec<String> = cwd.into_iter().collect();
        if is_source_out || exclude.is_saved_excluded(file.key.project.as_str(), &directories) {
            out.insert(group(file));
        }
    }
    Ok(out)
}

/// Milliseconds since 1970 as RFC 3339.
pub(crate) fn rfc3339(ms: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms);
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_its_session() {
        let check = |path: &str, session: &str| assert_eq!(session_of(path), session);
        check("p/5b3d.jsonl", "p/5b3d");
        check("p/5b3d.jsonl.zst", "p/5b3d");
        check("p/5b3d.gen-0003.jsonl", "p/5b3d");
        check("p/5b3d/tool-results/a.jsonl", "p/5b3d");
        check("p/5b3d.gen-0003/x", "p/5b3d");
        check(".memory/p/-h-p/MEMORY.md", ".memory/p/-h-p");
        check("odd", "odd");
    }

    fn seal(paths: &[(&str, u64)]) -> Seal {
        let file = |(path, bytes): &(&str, u64)| Sealed {
            path: (*path).to_owned(),
            generation: 0,
            bytes: *bytes,
            blake3: "0".repeat(64),
        };
        let (store, writer, host) = (String::new(), String::new(), String::new());
        let at = rfc3339(0);
        Seal { format: FORMAT, store, writer, host, at, labels: String::new(), files: paths.iter().map(file).collect() }
    }

    #[test]
    fn what_is_new_is_counted_by_session_and_time_is_not() {
        let (old, new) =
            (seal(&[("p/a.jsonl", 1), ("p/b.jsonl", 1)]), seal(&[("p/a.jsonl", 2), ("p/a/x", 1), ("p/b.jsonl", 1)]));
        assert_eq!((new.waiting(Some(&old)), new.waiting(None), old.waiting(Some(&old))), (1, 2, 0));
        assert_ne!(old.digest(), new.digest());
        assert_eq!(Seal { at: rfc3339(7), ..old.clone() }.digest(), old.digest());
    }

    #[test]
    fn a_seal_names_nothing_outside_of_a_store_and_none_of_a_newer_version_is_used() {
        for path in ["../x", "/etc/passwd", "p//x", "p/./x", ""] {
            let text = serde_json::to_vec(&seal(&[(path, 1)])).unwrap();
            assert!(Seal::parse(&text).unwrap_err().to_string().ends_with("is no path of a store"), "{path}");
        }
        let newer = Seal { format: FORMAT + 1, ..seal(&[]) };
        assert!(Seal::parse(&serde_json::to_vec(&newer).unwrap()).is_err());
    }

    #[test]
    fn sums_are_as_b3sum_writes_them() {
        let seal = seal(&[("p/a b.jsonl", 1), ("p/back\\slash\nbreak", 1)]);
        let lines: Vec<String> =
            seal.files.iter().map(|file| sum_line(file).replace(&"0".repeat(64), "HASH")).collect();
        insta::assert_snapshot!(lines.concat(), @r#"
        HASH  p/a b.jsonl
        \HASH  p/back\\slash\nbreak
        "#);
    }
}
