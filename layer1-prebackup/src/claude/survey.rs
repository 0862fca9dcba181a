//! Everything below `projects/` that is a conversation or looks like one.
//!
//! A look fails at nothing: what cannot be read, and what is like a transcript and none, is named and the rest is
//! found. A project's folder may be a link, which is followed once; one that is reached twice counts once.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::claude::mark::{Mark, mark_of, put_bytes, put_identity};
use crate::claude::memory::{MEMORY, id_of_memory};
use crate::claude::side_files::{
    DEPTH_MAX, KeptOfAll, SideFiles, Whereabouts, folded, is_of_subagent, is_passing, is_transcript_like, is_uuid,
    is_variant_of, session_beside, session_of_agent, side_files_with,
};
use crate::claude::transcripts::{Identity, Reach, claude_dir_of_transcript, open_folder, open_transcript};
use crate::fs::{self, Dir, DurableError};
use crate::names::SessionId;

/// A conversation found under `projects/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTranscript {
    /// `<projects>/<slug>/<session id>.jsonl`.
    pub path: PathBuf,
    /// Its session id.
    pub id: SessionId,
    /// Length at the time of the look; where the transcript is gone, of what is left beside it.
    pub bytes: u64,
    /// What a transcript that is no link was at the time of the look.
    identity: Option<Identity>,
    /// Whether something bears its id beside it.
    has_own: bool,
    /// Names beside it that bear its id and something else.
    pub(crate) beside: Vec<OsString>,
    /// Where there may be side files, where that was looked at once for all.
    pub(crate) whereabouts: Option<Whereabouts>,
}

/// A conversation's files as their status tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    /// The transcript.
    pub(crate) source: PathBuf,
    /// Of all of them: another one if any of them is another file.
    pub(crate) mark: Mark,
    /// The plans that the transcript names.
    pub(crate) slugs: Vec<String>,
    /// How many of them are subagents' and not empty.
    pub(crate) subagents: usize,
    /// Whether [`FoundTranscript::passed_over`] has nothing to tell.
    pub is_all: bool,
}

/// Something that looks like a conversation, or may hold some, and is not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// What it is.
    pub path: PathBuf,
    /// Why it is not copied, in words that go after a colon.
    /// As it fits behind "because", whether it is said of one or of several.
    pub why: String,
    /// Whether it could not be read: then nobody knows what is in it.
    pub is_unreadable: bool,
}

/// What there is below `projects/`.
#[derive(Debug, Default)]
struct Survey {
    transcripts: Vec<FoundTranscript>,
    passed_over: Vec<PassedOver>,
}

impl FoundTranscript {
    fn new(id: SessionId, path: PathBuf, identity: Option<Identity>) -> FoundTranscript {
        let bytes = identity.map_or(0, |identity| identity.bytes);
        FoundTranscript { path, id, bytes, identity, has_own: true, beside: Vec::new(), whereabouts: None }
    }

    /// Its side files.
    pub(crate) fn side_files(&self) -> SideFiles {
        self.side_files_naming(None)
    }

    /// [`FoundTranscript::side_files`], where it is known which plans the transcript names.
    fn side_files_naming(&self, slugs: Option<Vec<String>>) -> SideFiles {
        side_files_with(Reach::Links, &self.path, &self.id, &self.beside, self.whereabouts.as_ref(), slugs)
    }

    /// When it was last modified, in milliseconds since 1970; `None` of a link.
    pub fn modified_ms(&self) -> Option<u64> {
        self.identity.and_then(|identity| u64::try_from(identity.mtime_ns / 1_000_000).ok())
    }

    /// Whether nothing of it may lie anywhere but in its transcript.
    pub fn is_alone(&self) -> bool {
        let is_nothing = |known: &Whereabouts| {
            let has_none = known.todos.as_ref().is_some_and(Vec::is_empty);
            !known.has_own && !known.kept.contains(&true) && has_none && !known.has_plans
        };
        self.beside.is_empty() && self.whereabouts.as_ref().is_some_and(is_nothing)
    }

    /// The status of all its files; `slugs` where it is known which plans the transcript names. `None` where that cannot
    /// be told, and of a link.
    pub fn status(&self, slugs: Option<Vec<String>>) -> Option<SourceStatus> {
        let (identity, known) = (self.identity?, self.whereabouts.as_ref()?);
        let sides = if self.is_alone() { SideFiles::default() } else { self.side_files_naming(slugs) };
        if !sides.problems.is_empty() {
            return None;
        }
        let mut said = vec![u8::from(known.has_plans)];
        put_identity(&mut said, &identity);
        for side in &sides.found {
            put_bytes(&mut said, side.rel.as_os_str().as_bytes());
            put_identity(&mut said, &side.identity);
        }
        let subagents = sides.found.iter().filter(|side| side.identity.bytes > 0 && is_of_subagent(&side.rel)).count();
        let is_all = sides.links.is_empty() && sides.too_deep.is_empty();
        Some(SourceStatus { source: self.path.clone(), mark: mark_of(&said), slugs: sides.slugs, subagents, is_all })
    }

    /// What of its side files is not copied and may be a conversation: links to one, and what cannot be read.
    pub fn passed_over(&self) -> Vec<PassedOver> {
        if self.is_alone() {
            return Vec::new();
        }
        let sides = self.side_files();
        let unread = sides.problems.iter().map(PassedOver::unreadable);
        let link = "no link below a conversation's own folder is followed";
        let may_be_one = |path: &PathBuf| path.is_dir() || path.file_name().is_some_and(is_transcript_like);
        let links = sides.links.into_iter().filter(may_be_one);
        let deep = sides.too_deep.into_iter().map(|path| PassedOver::new(path, TOO_DEEP));
        unread.chain(links.map(|path| PassedOver::new(path, link))).chain(deep).collect()
    }
}

const TOO_DEEP: &str = "too many folders within each other are not gone through; what is moved up is saved";

impl PassedOver {
    fn new(path: PathBuf, why: impl Into<String>) -> PassedOver {
        PassedOver { path, why: why.into(), is_unreadable: false }
    }

    fn unreadable(error: &DurableError) -> PassedOver {
        PassedOver { path: error.path.clone(), why: error.source.to_string(), is_unreadable: true }
    }
}

/// All conversations of all projects of these folders, and what only looks like one; both sorted by path. An absent folder has nothing
/// in it.
pub fn survey<P: AsRef<Path>>(projects: impl IntoIterator<Item = P>) -> (Vec<FoundTranscript>, Vec<PassedOver>) {
    let mut survey = Survey::default();
    let folders = survey.folders(projects);
    for folder in folders {
        survey.add_folder(&folder);
    }
    survey.add_whereabouts();
    survey.transcripts.sort_by(|a, b| a.path.cmp(&b.path));
    survey.passed_over.sort_by(|a, b| a.path.cmp(&b.path));
    (survey.transcripts, survey.passed_over)
}

/// What Claude Code remembers of each project of these folders, or of the one in whose folder a transcript lies: the
/// folder `memory` stands for a transcript. Sorted by path; a folder without a file is none.
pub fn memories<P: AsRef<Path>>(of: impl IntoIterator<Item = P>) -> Vec<FoundTranscript> {
    let is_transcript = |path: &P| SessionId::of_transcript(path.as_ref()).is_ok();
    let (transcripts, projects): (Vec<P>, Vec<P>) = of.into_iter().partition(is_transcript);
    let beside = transcripts.iter().map(|transcript| transcript.as_ref().with_file_name(MEMORY));
    let folders = Survey::default().folders(projects);
    let all = beside.chain(folders.iter().map(|folder| folder.path().join(MEMORY)));
    let mut found: Vec<FoundTranscript> = all.filter_map(memory_at).collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn memory_at(path: PathBuf) -> Option<FoundTranscript> {
    match path.metadata() {
        Ok(meta) if !meta.is_dir() => return None,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return None,
        _ => {}
    }
    let mut found = FoundTranscript::new(id_of_memory(&path), path, None);
    let sides = found.side_files();
    found.bytes = sides.found.iter().map(|side| side.identity.bytes).sum();
    // What cannot be read is told when it is saved.
    (!sides.found.is_empty() || !sides.problems.is_empty()).then_some(found)
}

/// Which of these sessions have a transcript below `projects/`, without a look at the files themselves. Costs a
/// listing of the projects' folders, one after the other until all are found; what cannot be read is passed over.
pub fn present<'w, P: AsRef<Path>>(
    projects: impl IntoIterator<Item = P>,
    wanted: &BTreeSet<&'w SessionId>,
) -> BTreeSet<&'w SessionId> {
    let wanted: BTreeMap<&str, &SessionId> = wanted.iter().map(|id| (id.as_str(), *id)).collect();
    let mut found = BTreeSet::new();
    for folder in Survey::default().folders(projects) {
        let listed = folder.each_entry(&mut |name, kind| {
            let id = name.to_str().and_then(|name| name.strip_suffix(".jsonl")).and_then(|id| wanted.get(id));
            if let (FileType::RegularFile | FileType::Symlink, Some(id)) = (kind, id) {
                found.insert(*id);
            }
        });
        // A folder that cannot be listed is named by whoever looks for what is not saved.
        if listed.is_ok() && found.len() == wanted.len() {
            break;
        }
    }
    found
}

impl Survey {
    /// The projects' folders, of each root those first that are no links.
    fn folders<P: AsRef<Path>>(&mut self, roots: impl IntoIterator<Item = P>) -> Vec<Dir> {
        let (mut folders, mut seen) = (Vec::new(), BTreeSet::new());
        for root in roots {
            self.add_folders_of(root.as_ref(), &mut folders, &mut seen);
        }
        folders
    }

    fn add_folders_of(&mut self, projects: &Path, folders: &mut Vec<Dir>, seen: &mut BTreeSet<(u64, u64)>) {
        let root = match Dir::open(projects).and_then(|root| root.map(|root| Ok((root.entries()?, root))).transpose()) {
            Ok(Some((entries, root))) => Some((entries, root)),
            Ok(None) => None,
            Err(error) => {
                self.passed_over.push(PassedOver::unreadable(&error));
                None
            }
        };
        let Some((mut entries, root)) = root else { return };
        entries.sort_by_key(|(_, kind)| *kind == FileType::Symlink);
        for (slug, kind) in entries {
            let path = root.path().join(&slug);
            if kind != FileType::Directory && (kind != FileType::Symlink || path.is_file()) {
                if is_transcript_like(&slug) {
                    self.passed_over.push(PassedOver::new(path, "only the folders of projects are gone through"));
                }
                continue;
            }
            let opened =
                if kind == FileType::Symlink { open_folder(&path) } else { root.open_beneath(Path::new(&slug)) };
            match opened.and_then(|dir| dir.map(|dir| Ok((dir.stat_itself()?, dir))).transpose()) {
                Ok(Some((stat, dir))) => {
                    let identity = Identity::of(&stat);
                    if seen.insert((identity.dev, identity.ino)) {
                        folders.push(dir);
                    }
                }
                Ok(None) if kind == FileType::Symlink => {
                    self.passed_over.push(PassedOver::new(path, "the link leads nowhere"));
                }
                Ok(None) => {}
                Err(error) => self.passed_over.push(PassedOver::unreadable(&error)),
            }
        }
    }

    fn add_folder(&mut self, dir: &Dir) {
        let entries = match dir.entries() {
            Ok(entries) => entries,
            Err(error) => return self.passed_over.push(PassedOver::unreadable(&error)),
        };
        let names: BTreeSet<&OsStr> = entries.iter().map(|(name, _)| name.as_os_str()).collect();
        let no_files = entries.iter().filter(|(_, kind)| *kind != FileType::RegularFile);
        let folders: BTreeSet<Vec<u8>> = no_files.map(|(name, _)| folded(name)).collect();
        let mut sessions = BTreeMap::new();
        let mut beside: BTreeMap<SessionId, Vec<OsString>> = BTreeMap::new();
        for (name, kind) in &entries {
            // Nearly all are transcripts of Claude Code's, whose names say all that there is to be said.
            if let Some(id) =
                name.to_str().and_then(|name| name.strip_suffix(".jsonl")).filter(|id| is_uuid(id.as_bytes()))
                && let Ok(id) = SessionId::parse(id)
            {
                let has_own = !folders.is_empty() && folders.contains(&folded(OsStr::new(id.as_str())));
                self.add_transcript(dir, name, *kind, (id, has_own), &mut sessions);
                continue;
            }
            let owner = match owner_of(name, &names) {
                Some(id) => Ok(Some(id)),
                None => session_of_agent(dir, name, *kind),
            };
            if let Err(error) = owner {
                self.passed_over.push(PassedOver::unreadable(&error));
            } else if let Ok(Some(id)) = owner {
                beside.entry(id).or_default().push(name.clone());
            } else if let Ok(id) = SessionId::of_transcript(Path::new(name)) {
                let has_own = folders.contains(&folded(OsStr::new(id.as_str())));
                self.add_transcript(dir, name, *kind, (id, has_own), &mut sessions);
            } else if *kind == FileType::Directory {
                self.add_other_folder(dir, name, &names, &mut beside);
            } else if is_transcript_like(name) {
                self.passed_over.push(PassedOver::new(dir.path().join(name), "no conversation has such a name"));
            }
        }
        for (id, names) in beside {
            match sessions.get_mut(&id) {
                Some(FoundTranscript { beside, .. }) => *beside = names,
                None => self.add_rest(dir, id, names, &mut sessions),
            }
        }
        self.transcripts.extend(sessions.into_values());
    }

    /// What a configuration directory keeps of the sessions lies in a few folders: each is listed once.
    fn add_whereabouts(&mut self) {
        let mut known = BTreeMap::new();
        // Those of one folder follow each other.
        for of_folder in self.transcripts.chunk_by_mut(|a, b| a.path.parent() == b.path.parent()) {
            let Some(claude_dir) = claude_dir_of_transcript(&of_folder[0].path) else { continue };
            let of_all = known.entry(claude_dir).or_insert_with_key(|claude_dir| KeptOfAll::look(claude_dir));
            for found in of_folder {
                found.whereabouts = of_all.as_ref().map(|of_all| of_all.of(&found.id, found.has_own));
            }
        }
    }

    fn add_transcript(
        &mut self,
        dir: &Dir,
        name: &OsStr,
        kind: FileType,
        (id, has_own): (SessionId, bool),
        sessions: &mut BTreeMap<SessionId, FoundTranscript>,
    ) {
        let path = dir.path().join(name);
        let looked = match kind {
            FileType::RegularFile => dir.stat(name),
            FileType::Symlink => {
                open_transcript(&path).and_then(|file| file.map(|file| fs::stat_of(&file, &path)).transpose())
            }
            _ => return self.passed_over.push(PassedOver::new(path, "only regular files are read")),
        };
        match looked {
            Ok(Some(stat)) => {
                let (identity, bytes) = (Identity::of(&stat), stat.st_size as u64);
                let identity = Some(identity).filter(|_| kind == FileType::RegularFile);
                let found = FoundTranscript { bytes, has_own, ..FoundTranscript::new(id.clone(), path, identity) };
                sessions.insert(id, found);
            }
            Ok(None) => {}
            Err(error) => self.passed_over.push(PassedOver { path, ..PassedOver::unreadable(&error) }),
        }
    }

    /// A folder that is no session's, or whose session has no transcript.
    fn add_other_folder(
        &mut self,
        dir: &Dir,
        name: &OsStr,
        names: &BTreeSet<&OsStr>,
        beside: &mut BTreeMap<SessionId, Vec<OsString>>,
    ) {
        let mut transcript = name.to_owned();
        transcript.push(".jsonl");
        if is_passing(name) || name == MEMORY || names.contains(transcript.as_os_str()) {
            return;
        }
        if is_uuid(name.as_bytes()) {
            // Claude Code deleted the transcript, or lost it, and left the rest.
            if let Some(id) = name.to_str().and_then(|id| SessionId::parse(id).ok()) {
                beside.entry(id).or_default();
            }
            return;
        }
        let mut pending = vec![PathBuf::from(name)];
        while let Some(below) = pending.pop() {
            match dir.open_beneath(&below).and_then(|dir| dir.map_or(Ok(Vec::new()), |dir| dir.entries())) {
                Ok(entries) => {
                    for (name, kind) in entries {
                        let path = below.join(&name);
                        if kind == FileType::Directory && path.components().count() <= DEPTH_MAX {
                            pending.push(path);
                        } else if is_transcript_like(&name) {
                            let why = "Claude Code keeps no conversations so deep";
                            self.passed_over.push(PassedOver::new(dir.path().join(path), why));
                        }
                    }
                }
                Err(error) => self.passed_over.push(PassedOver::unreadable(&error)),
            }
        }
    }

    /// A session without a transcript of which something is left.
    fn add_rest(
        &mut self,
        dir: &Dir,
        id: SessionId,
        beside: Vec<OsString>,
        sessions: &mut BTreeMap<SessionId, FoundTranscript>,
    ) {
        let path = dir.path().join(format!("{id}.jsonl"));
        let mut found = FoundTranscript { beside, ..FoundTranscript::new(id, path, None) };
        let sides = found.side_files();
        self.passed_over.extend(sides.problems.iter().map(PassedOver::unreadable));
        let left = sides.found.iter().filter(|side| side.is_beside_transcript());
        found.bytes = left.map(|side| side.identity.bytes).sum();
        if found.bytes > 0 {
            sessions.insert(found.id.clone(), found);
        }
    }
}

/// The session that a name belongs to without being its transcript or its folder.
fn owner_of(name: &OsStr, names: &BTreeSet<&OsStr>) -> Option<SessionId> {
    if let Some(id) = session_beside(name) {
        return Some(id);
    }
    // Of an id that is no UUID, what follows it tells: the transcript must be there.
    let text = name.to_str().filter(|_| is_transcript_like(name))?;
    let ends = text.char_indices().filter(|(_, c)| " (.".contains(*c)).map(|(at, _)| at);
    let ids = ends.filter_map(|end| SessionId::parse(text[..end].trim_end()).ok());
    ids.filter(|id| is_variant_of(name, id)).find(|id| names.contains(OsStr::new(&format!("{id}.jsonl"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude::side_files::side_files_by;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::symlink;

    const ID: &str = "5b3d80da-3868-4fbe-b063-0aa144649138";

    struct Scene {
        dir: tempfile::TempDir,
    }

    impl Scene {
        fn new(files: &[&str]) -> Scene {
            let scene = Scene { dir: tempfile::tempdir().unwrap() };
            std::fs::create_dir(scene.path("")).unwrap();
            files.iter().for_each(|file| scene.write(Path::new(&file.replace("ID", ID))));
            scene
        }

        fn path(&self, rel: &str) -> PathBuf {
            self.dir.path().join("projects").join(rel)
        }

        fn write(&self, rel: &Path) {
            let path = self.dir.path().join("projects").join(rel);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }

        fn look(&self) -> (Vec<String>, Vec<String>) {
            let (found, passed) = survey([self.path("")]);
            let below = |path: &Path| path.strip_prefix(self.path("")).unwrap().display().to_string().replace(ID, "ID");
            let found = found.iter().map(|found| {
                let beside = if found.beside.is_empty() { String::new() } else { format!(" +{}", found.beside.len()) };
                below(&found.path) + &beside
            });
            let passed = passed.iter().map(|passed| format!("{}: {}", below(&passed.path), passed.why));
            (found.collect(), passed.collect())
        }
    }

    /// The folder of all to-do lists is looked at once for all, and what is each session's is the same.
    #[test]
    fn to_do_lists_are_the_same_by_one_look_and_by_each_sessions_own() {
        let scene = Scene::new(&[
            "-p/ID.jsonl",
            "-q/ID.jsonl",
            "-p/plain.jsonl",
            "-p/x-agent-y.jsonl",
            "../todos/ID-agent-ID.json",
            "../todos/ID-agent-z.json",
            "../todos/plain-agent-1.json",
            "../todos/x-agent-y-agent-1.json",
            "../todos/other.json",
        ]);
        std::os::unix::fs::symlink("/etc/hostname", scene.path("../todos").join(format!("{ID}-agent-link.json")))
            .unwrap();
        let (found, _) = survey([scene.path("")]);
        let sides = |sides: SideFiles| sides.found.into_iter().map(|side| side.rel).collect::<Vec<_>>();
        let numbers = found.iter().map(|found| {
            let own = sides(side_files_by(Reach::Links, &found.path, &found.id));
            assert_eq!(sides(found.side_files()), own, "{}", found.path.display());
            own.len()
        });
        assert_eq!(numbers.collect::<Vec<_>>(), [2, 1, 1, 2]);
        assert_eq!(found[0].whereabouts.as_ref().and_then(|known| known.todos.as_ref()).map(Vec::len), Some(2));
    }

    #[test]
    fn what_is_a_conversation_is_found_and_what_looks_like_one_is_named() {
        let scene = Scene::new(&[
            "-p/a.jsonl",
            "-p/a/x.jsonl",
            "-p/b.txt",
            "-p/a.gen-0001.jsonl",
            "-p/memory/MEMORY.md",
            "-p/ID.jsonl",
            "-p/ID.jsonl.lock",
            "-p/ID (1).jsonl",
            "-p/a 2.jsonl",
            "-p/old/deep/c.jsonl",
            "-p/two words.jsonl",
            "-q/c.jsonl",
            "-q/ID.orphaned-1-a.jsonl",
            "top.jsonl",
        ]);
        std::fs::create_dir(scene.path("-q/dir.jsonl")).unwrap();
        scene.write(&Path::new("-q").join(OsString::from_vec(b"\xff.jsonl".to_vec())));
        let (found, passed) = scene.look();
        assert_eq!(found, ["-p/ID.jsonl +1", "-p/a.jsonl +1", "-q/ID.jsonl +1", "-q/c.jsonl"]);
        insta::assert_snapshot!(passed.join("\n"), @"
        -p/a.gen-0001.jsonl: no conversation has such a name
        -p/old/deep/c.jsonl: Claude Code keeps no conversations so deep
        -p/two words.jsonl: no conversation has such a name
        -q/dir.jsonl: only regular files are read
        -q/�.jsonl: no conversation has such a name
        top.jsonl: only the folders of projects are gone through
        ");
        assert!(survey([scene.path("absent")]).0.is_empty());
    }

    #[test]
    fn links_to_folders_and_transcripts_are_followed_once_and_those_that_lead_nowhere_are_named() {
        let scene = Scene::new(&["-p/a.jsonl", "../elsewhere/b.jsonl", "../single/c.jsonl", "../secret"]);
        symlink(scene.path("../elsewhere"), scene.path("-linked")).unwrap();
        symlink(scene.path("-p"), scene.path("-again")).unwrap();
        symlink(scene.path("gone"), scene.path("-nowhere")).unwrap();
        symlink("-loop", scene.path("-loop")).unwrap();
        symlink(scene.path("../single/c.jsonl"), scene.path("-p/c.jsonl")).unwrap();
        symlink(scene.path("../secret"), scene.path("-p/d.jsonl")).unwrap();
        let (found, passed) = scene.look();
        assert_eq!(found, ["-linked/b.jsonl", "-p/a.jsonl", "-p/c.jsonl"]);
        let passed: Vec<&str> = passed.iter().map(|passed| passed.split_once(": ").unwrap().0).collect();
        assert_eq!(passed, ["-loop", "-nowhere", "-p/d.jsonl"]);
        let ids: Vec<SessionId> = ["a", "b", "c", "z"].map(|id| SessionId::parse(id).unwrap()).into();
        assert_eq!(present([scene.path("")], &ids.iter().collect()).len(), 3);
    }

    #[test]
    fn a_subagents_file_beside_the_transcripts_is_no_conversation_of_its_own() {
        let scene = Scene::new(&["-p/a.jsonl", "-p/agent-2.jsonl"]);
        for (name, id) in [("agent-1.jsonl", "a"), ("agent-3.jsonl", ID)] {
            std::fs::write(scene.path("-p").join(name), format!("{{\"sessionId\":\"{id}\"}}\n")).unwrap();
        }
        let (found, passed) = scene.look();
        assert_eq!(found, ["-p/ID.jsonl +1", "-p/a.jsonl +1", "-p/agent-2.jsonl"]);
        assert!(passed.is_empty(), "{passed:?}");
    }

    #[test]
    fn what_is_left_of_a_conversation_whose_transcript_is_gone_is_found() {
        let scene = Scene::new(&["-p/ID/subagents/agent-1.jsonl", "-q/ID/x.lock"]);
        let (found, passed) = scene.look();
        assert_eq!((found, passed), (vec!["-p/ID.jsonl".to_owned()], Vec::new()));
    }
}
