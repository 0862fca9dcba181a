//! Bringing back what Claude Code remembers of a project: `projects/<slug>/memory/`.
//!
//! What stands there is saved first. A file that is there is left as it is unless it is to be as it was at an earlier
//! time, and then it is replaced on demand alone; one that is not there is written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use layer1_prebackup::Hash;
use layer1_prebackup::archive::{Archive, SessionKey, StoredFile};
use layer1_prebackup::claude::slug::is_slug_of;
use layer1_prebackup::claude::transcripts::open_regular;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs::{self, Dir, Existing};
use layer1_prebackup::names::FileName;
use serde::Serialize;

use crate::failure::{Context, Failure, Kind, chain};
use crate::index::Whereabouts;
use crate::restore::place::{refuse_claudes, root_of};
use crate::save::memory;
use crate::scope::{self, Scope};
use crate::stores::{Layer, Pair, Stores, slug_of_source};
use crate::terminal::time::format_rfc3339_ms;

/// What is to be brought back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Of which projects.
    pub(crate) scope: Scope,
    /// As it was at this time, in milliseconds since 1970; as it was last, without.
    pub(crate) until_ms: Option<u64>,
    /// A directory to write to instead of Claude Code's.
    pub(crate) to: Option<PathBuf>,
    /// Replace what stands there and is another version; it is kept.
    pub(crate) force: bool,
    /// Only tell.
    pub(crate) dry_run: bool,
}

/// What was brought back of one project's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Remembered {
    /// Its folder in the store.
    pub(crate) project: String,
    /// Where it lies.
    pub(crate) path: String,
    pub(crate) files_written: usize,
    /// Files that stood there already and were left as they are.
    pub(crate) files_in_place: usize,
    /// Bytes written.
    pub(crate) bytes: u64,
    pub(crate) files: Vec<RememberedFile>,
    /// Files of which there is no good copy, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<String>,
}

/// One file of a memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RememberedFile {
    /// Below the memory's folder.
    pub(crate) path: String,
    pub(crate) written: bool,
    /// When the version that was chosen was saved, RFC 3339.
    pub(crate) saved: String,
    /// When each version was saved, the oldest first.
    pub(crate) versions: Vec<String>,
}

/// A project's memory, and what both stores have of it.
struct Kept<'s> {
    pair: &'s Pair,
    sources: Vec<PathBuf>,
    /// Of each file its versions, the oldest first.
    files: BTreeMap<PathBuf, Vec<Version<'s>>>,
}

/// The same content in one store or in both.
struct Version<'s> {
    saved_ms: u64,
    bytes: u64,
    blake3: Hash,
    copies: Vec<(&'s Archive, &'s SessionKey, StoredFile)>,
}

/// Restores the memories that are meant. One that fails is the failure of all: those before it are done.
pub(crate) fn restore_memory(places: &Places, wanted: &Wanted) -> Result<(Vec<Remembered>, Vec<String>), Failure> {
    let nothing = || Failure::new("restore a memory: no memory of a project is saved");
    let unsaved = if wanted.dry_run { Vec::new() } else { memory::save_all(places)? };
    let of_memories = places.of_memories();
    let is_there = [&of_memories.layer1_store, &of_memories.layer3_store].into_iter().any(|store| store.is_dir());
    let stores = if is_there { Stores::open(&of_memories)? } else { return Err(nothing()) };
    let pairs = stores.pairs()?;
    let all = pairs.iter().map(|pair| Kept::of(&stores, pair)).collect::<Result<Vec<_>, Failure>>()?;
    let known = whereabouts(places, wanted, &all);
    let meant = scope::meant(&wanted.scope, &known);
    let mut notes = stores.notes.clone();
    notes.extend(unsaved.iter().map(|(id, why)| format!("what stands of memory {id} could not be saved: {why}")));
    if all.is_empty() {
        return Err(nothing());
    }
    if meant.is_guess || meant.places.as_ref().is_some_and(Vec::is_empty) {
        let mut names: Vec<&str> = all.iter().map(|kept| kept.pair.key().project.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let here = wanted.scope.here.directory.as_deref().unwrap_or(Path::new("/"));
        let said = match wanted.scope.project {
            Some(_) => meant.notes.join("; "),
            None => format!("none of {} is saved", wanted.scope.here.shown(here)),
        };
        let failure = Failure::new(format!("restore a memory: {said}")).of(Kind::InvalidInput);
        return Err(failure.hint(format!("`--project NAME` names one of these: {}", names.join(", "))));
    }
    notes.extend(meant.notes.iter().cloned());
    let chosen = meant.chosen(all);
    if let Some(to) = &wanted.to {
        let id = &chosen[0].pair.key().id;
        refuse_claudes(places, id, to)?;
        if chosen.len() > 1 {
            let projects: Vec<&str> = chosen.iter().map(|kept| kept.pair.key().project.as_str()).collect();
            let what = format!("restore a memory: --to takes one, and these are meant: {}", projects.join(", "));
            return Err(Failure::new(what).of(Kind::InvalidInput));
        }
    }
    let restored = chosen.iter().map(|kept| kept.restore(places, wanted)).collect::<Result<Vec<_>, _>>()?;
    if !wanted.dry_run && restored.iter().any(|restored| restored.files_written > 0) {
        // What was written is a version like any other. What was told above is not told again.
        if let Err(why) = memory::save_all(places) {
            notes.push(format!("what was restored could not be saved again: {why}"));
        }
    }
    Ok((restored, notes))
}

/// Where the memories belong: to the directories that sessions of the same folder name, or to the one that is asked
/// about if the folder is named after it.
fn whereabouts(places: &Places, wanted: &Wanted, all: &[Kept<'_>]) -> Vec<Whereabouts> {
    // Without conversations there are only the folders' names.
    let stores = Stores::open(places).ok();
    let keys = stores.as_ref().and_then(|stores| stores.sessions().ok()).unwrap_or_default();
    let sessions = stores.as_ref().map(|stores| scope::whereabouts(stores, &keys)).unwrap_or_default();
    // A project may be typed as a directory.
    let typed = wanted.scope.project.iter().filter(|typed| typed.contains('/') || typed.starts_with(['.', '~']));
    let typed = typed.map(|typed| wanted.scope.here.path(typed));
    let asked = wanted.scope.here.directory.iter().cloned().chain(typed);
    let resolved = asked.map(|directory| directory.canonicalize().unwrap_or(directory));
    let above = |directory: PathBuf| directory.ancestors().map(|dir| dir.display().to_string()).collect::<Vec<_>>();
    let here: Vec<String> = resolved.flat_map(above).collect();
    let mut known: Vec<String> = sessions.into_iter().flat_map(|session| session.directories).chain(here).collect();
    known.sort();
    known.dedup();
    let of = |kept: &Kept<'_>| {
        let slug = kept.slug().unwrap_or_default();
        let directories = known.iter().filter(|directory| is_slug_of(&slug, directory)).cloned().collect();
        let key = kept.pair.key();
        Whereabouts { row: 0, project: key.project.to_string(), session_id: key.id.to_string(), directories }
    };
    all.iter().map(of).collect()
}

impl<'s> Kept<'s> {
    fn of(stores: &'s Stores, pair: &'s Pair) -> Result<Kept<'s>, Failure> {
        let (mut files, mut sources) = (BTreeMap::<PathBuf, Vec<Version<'s>>>::new(), Vec::new());
        for (layer, archive, key) in stores.holding(pair) {
            sources.extend(archive.source_of(key)?);
            let mut stored = archive.files(key)?;
            stored.sort_by_key(|file| if file.name.generation == 0 { u32::MAX } else { file.name.generation });
            let mut by_file = BTreeMap::<PathBuf, Vec<StoredFile>>::new();
            for file in stored {
                if let FileName::Side(rel) = &file.name.file {
                    by_file.entry(rel.clone()).or_default().push(file);
                }
            }
            for (rel, contents) in by_file {
                let versions = files.entry(rel).or_default();
                // Layer 1, which is asked first, saw them when they were made; what only layer 3 has comes between.
                for (at, content) in contents.into_iter().enumerate() {
                    let is_same = |version: &Version<'_>| {
                        let is_of_other = version.copies.iter().all(|(other, ..)| other.root() != archive.root());
                        version.blake3 == content.blake3 && is_of_other
                    };
                    let same = versions.iter().position(is_same);
                    let (saved_ms, bytes, blake3) = (content.committed_ms, content.bytes, content.blake3);
                    match same {
                        Some(same) => versions[same].copies.push((archive, key, content)),
                        None => {
                            let version = Version { saved_ms, bytes, blake3, copies: vec![(archive, key, content)] };
                            let place = if layer == Layer::One {
                                at
                            } else {
                                versions.partition_point(|other| other.saved_ms <= saved_ms)
                            };
                            versions.insert(place, version);
                        }
                    }
                }
            }
        }
        Ok(Kept { pair, sources, files })
    }

    fn slug(&self) -> Option<String> {
        self.sources.iter().find_map(|source| slug_of_source(source))
    }

    fn folder(&self, places: &Places) -> Result<PathBuf, Failure> {
        let id = &self.pair.key().id;
        let unknown = || Failure::new(format!("restore memory {id}: nothing says which project's folder it came from"));
        let slug = self.slug().ok_or_else(|| unknown().hint("`--to DIR` writes it elsewhere"))?;
        Ok(root_of(places, self.sources.iter().map(PathBuf::as_path)).join(slug).join("memory"))
    }

    fn restore(&self, places: &Places, wanted: &Wanted) -> Result<Remembered, Failure> {
        let folder = wanted.to.clone().map_or_else(|| self.folder(places), Ok)?;
        let key = self.pair.key();
        let mut done = Remembered {
            project: key.project.to_string(),
            path: folder.display().to_string(),
            ..Remembered::default()
        };
        let (mut steps, mut others) = (Vec::new(), Vec::new());
        for (rel, versions) in &self.files {
            let at = |version: &&Version<'_>| wanted.until_ms.is_none_or(|until| version.saved_ms <= until);
            let Some(version) = versions.iter().rev().find(at) else { continue };
            let path = folder.join(rel);
            let standing = hash_at(&path)?;
            let write = match standing {
                None => Some(Existing::Refused),
                Some(hash) if hash == version.blake3 || wanted.until_ms.is_none() => None,
                Some(hash) => {
                    // Read back, not only recorded: what stands there may be the only good one.
                    let is_kept = versions.iter().any(|version| version.blake3 == hash && version.open(rel).is_ok());
                    if wanted.force && !is_kept && !wanted.dry_run {
                        let what = format!("restore {}: what stands there could not be saved first", path.display());
                        return Err(Failure::new(what));
                    }
                    others.push(rel.display().to_string());
                    Some(Existing::Replaced)
                }
            };
            let time = |version: &Version<'_>| format_rfc3339_ms(version.saved_ms as i64);
            let (path, versions) = (rel.display().to_string(), versions.iter().map(time).collect());
            done.files.push(RememberedFile { path, written: write.is_some(), saved: time(version), versions });
            done.files_in_place += usize::from(write.is_none());
            steps.extend(write.map(|existing| (rel, version, existing)));
        }
        if !others.is_empty() && !wanted.force {
            let what = format!(
                "restore the memory of {}: other versions stand in {}: {}",
                done.project,
                done.path,
                others.join(", ")
            );
            return Err(Failure::new(what).hint("--force replaces them; they are kept, and come back without --until"));
        }
        for (rel, version, existing) in steps {
            let written =
                if wanted.dry_run { version.open(rel).map(drop) } else { version.write(&folder, rel, existing) };
            match written {
                Ok(()) => {
                    done.files_written += 1;
                    done.bytes += version.bytes;
                }
                Err(error) => done.problems.push(error.to_string()),
            }
        }
        Ok(done)
    }
}

impl Version<'_> {
    /// A copy whose bytes are those that were recorded.
    fn open(&self, rel: &Path) -> Result<std::fs::File, Failure> {
        let mut wrong = Vec::new();
        for (archive, key, stored) in &self.copies {
            let slot = archive.slot(key, &stored.name);
            let looked = slot.open().and_then(|file| {
                let hash = fs::hash_of_prefix(&file, self.bytes, &slot.place())?;
                Ok((hash == self.blake3).then_some(file))
            });
            match looked {
                Ok(Some(file)) => return Ok(file),
                Ok(None) => wrong.push(format!("{} is damaged", slot.place().display())),
                Err(error) => wrong.push(chain(&error)),
            }
        }
        Err(Failure::new(format!("restore {}: {}", rel.display(), wrong.join(", "))).of(Kind::Damaged))
    }

    fn write(&self, folder: &Path, rel: &Path, existing: Existing) -> Result<(), Failure> {
        use std::io::Seek;
        let mut file = self.open(rel)?;
        file.rewind().context(format_args!("read {}", rel.display()))?;
        // Makes the folders without following a symlink below the memory's own.
        let into = Dir::create(folder)?.create_beneath(rel.parent().unwrap_or(Path::new("")))?;
        let to = into.path().join(rel.file_name().unwrap_or_default());
        fs::copy_file(&mut file, &to, self.bytes, &self.blake3, existing)?;
        Ok(into.sync_way_up()?)
    }
}

/// Of what stands there; `None` where nothing does.
fn hash_at(path: &Path) -> Result<Option<Hash>, Failure> {
    let Some(file) = open_regular(path)? else { return Ok(None) };
    let bytes = fs::stat_of(&file, path)?.st_size as u64;
    Ok(Some(fs::hash_of_prefix(&file, bytes, path)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Here;
    use crate::testing::Scene;

    #[test]
    fn a_memory_comes_back_and_what_is_newer_there_is_kept_and_left() {
        let scene = Scene::new();
        let folder = scene.transcript_in("-home-dev-proj", "x").with_file_name("memory");
        let here = |dir: &str| Scope {
            here: Here { directory: Some(dir.into()), home: scene.places.home.clone(), ..Here::default() },
            ..Scope::default()
        };
        let wanted = || Wanted { scope: here("/home/dev/proj/src"), ..Wanted::default() };
        let restore = |wanted: &Wanted| {
            let (restored, notes) = restore_memory(&scene.places, wanted).map_err(|error| error.to_string())?;
            assert!(notes.is_empty() && restored.iter().all(|of| of.problems.is_empty()), "{restored:?} {notes:?}");
            Ok::<_, String>(restored.iter().map(|of| (of.files_written, of.files_in_place)).collect::<Vec<_>>())
        };
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        let remove = |name: &str| assert!(fs::remove_file(&folder.join(name)).unwrap());
        assert!(restore(&wanted()).unwrap_err().contains("no memory"));
        scene.write(&folder.join("MEMORY.md"), "one\n");
        scene.write(&folder.join("deep/topic.md"), "topic\n");
        memory::save_all(&scene.places).unwrap();
        let then = u64::try_from(crate::terminal::time::now_ms()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
        scene.write(&folder.join("MEMORY.md"), "one\ntwo\n");
        remove("deep/topic.md");
        let dry = Wanted { dry_run: true, ..wanted() };
        assert_eq!((restore(&dry), read("deep/topic.md")), (Ok(vec![(1, 1)]), None));
        assert_eq!(restore(&wanted()), Ok(vec![(1, 1)]));
        assert_eq!((read("MEMORY.md"), read("deep/topic.md")), (Some("one\ntwo\n".into()), Some("topic\n".into())));
        // As it was: only on demand, and what stood there stays reachable.
        let earlier = Wanted { until_ms: Some(then), ..wanted() };
        assert!(restore(&earlier).unwrap_err().contains("other versions stand in"));
        assert_eq!(restore(&Wanted { force: true, ..earlier.clone() }), Ok(vec![(1, 1)]));
        assert_eq!(read("MEMORY.md").as_deref(), Some("one\n"));
        let elsewhere = scene.places.home.join("elsewhere");
        let (restored, _) = restore_memory(&scene.places, &Wanted { to: Some(elsewhere.clone()), ..wanted() }).unwrap();
        assert_eq!((restored[0].files_written, restored[0].files[0].versions.len()), (2, 3));
        assert_eq!(std::fs::read_to_string(elsewhere.join("MEMORY.md")).unwrap(), "one\n");
        // Another directory has none, and a name says which.
        assert!(
            restore(&Wanted { scope: here("/home/dev/other"), ..Wanted::default() }).unwrap_err().contains("none of")
        );
        remove("MEMORY.md");
        let by_name = Scope { project: Some("proj".to_owned()), ..here("/") };
        assert_eq!(restore(&Wanted { scope: by_name, ..Wanted::default() }), Ok(vec![(1, 1)]));
    }

    #[test]
    fn a_damaged_version_comes_from_the_other_store() {
        let scene = Scene::new();
        let file = scene.transcript_in("-home-dev-proj", "x").with_file_name("memory/MEMORY.md");
        scene.write(&file, "one\n");
        memory::save_all(&scene.places).unwrap();
        let places = scene.places.of_memories();
        let second = Archive::open(&places.layer3_store).unwrap().unwrap();
        let key = second.sessions().unwrap().remove(0);
        let first = Archive::create(&places.layer1_store).unwrap();
        let files = second.files(&key).unwrap();
        assert!(first.replicate(&key, &second, &key, &files, &|_| {}).unwrap().iter().all(Result::is_ok));
        std::fs::write(second.slot(&key, &files[0].name).place(), "bad\n").unwrap();
        assert!(fs::remove_file(&file).unwrap());
        let all = Wanted { scope: Scope { all: true, ..Scope::default() }, ..Wanted::default() };
        let (restored, _) = restore_memory(&scene.places, &all).unwrap();
        assert_eq!((restored[0].files_written, std::fs::read_to_string(&file).unwrap().as_str()), (1, "one\n"));
    }
}
