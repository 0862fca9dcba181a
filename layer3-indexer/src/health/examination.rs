//! What the checks have found out so far; each uses what those before it left here.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use layer1_prebackup::archive::{Archive, Looked, QuickCheck, SeenSession, SessionKey};
use layer1_prebackup::claude::mark::Mark;
use layer1_prebackup::claude::side_files::{is_of_subagent, is_tool_result};
use layer1_prebackup::claude::survey::{FoundTranscript, PassedOver};
use layer1_prebackup::names::{FileName, SessionId, StoredName};

use super::context::Context;
use super::figures::Figures;
use super::finding::{Finding, Kind, Subject};

/// The work of one `status` or `doctor`.
#[derive(Debug)]
pub(crate) struct Examination<'a> {
    pub(crate) context: &'a Context,
    pub(crate) figures: Figures,
    /// Layer 1's store.
    pub(crate) first: FoundStore,
    /// Layer 3's store.
    pub(crate) second: FoundStore,
    /// Claude Code's transcripts, and what looks like one, by path.
    pub(crate) found: (Vec<FoundTranscript>, Vec<PassedOver>),
    /// Of those of them beside which something lies, what was found out by a look at that, which costs most of all: if it is
    /// saved, whether nothing of it is passed over.
    whole: RefCell<HashMap<PathBuf, Option<bool>>>,
    /// The folders of transcripts: with all links resolved, as they were found, and as they are spelled.
    pub(crate) roots: Vec<(PathBuf, PathBuf)>,
    pub(crate) hooks: InstalledHooks,
    pub(crate) findings: Vec<Finding>,
    /// How each thing is that `doctor` looked at, in one line.
    pub(crate) summaries: Vec<(Subject, String)>,
    /// Of what there was nothing to look at.
    pub(crate) unchecked: Vec<Subject>,
}

/// A store as it was found.
#[derive(Debug, Default)]
pub(crate) struct FoundStore {
    /// `None` where there is none, or it cannot be read.
    pub(crate) archive: Option<Archive>,
    /// Its sessions, by project and id.
    pub(crate) sessions: Vec<FoundSession>,
    /// The ids of those that could not be looked at.
    pub(crate) unread: HashSet<SessionId>,
    /// What was seen of them before.
    pub(crate) looked: Looked,
    ids: OnceCell<HashSet<SessionId>>,
    /// The session behind the one that was asked for last: most that are asked for stand in the same order.
    next: Cell<usize>,
}

impl FoundStore {
    /// What was found of a session.
    pub(crate) fn session(&self, key: &SessionKey) -> Option<&FoundSession> {
        self.session_in(key.project.as_str(), key.id.as_str())
    }

    /// What was found of the session with this id in this folder.
    pub(crate) fn session_in(&self, project: &str, id: &str) -> Option<&FoundSession> {
        let by_name = |found: &FoundSession| (found.key.project.as_str(), found.key.id.as_str()).cmp(&(project, id));
        let next = self.next.get();
        let at = match self.sessions.get(next).is_some_and(|found| by_name(found).is_eq()) {
            true => next,
            false => self.sessions.binary_search_by(by_name).ok()?,
        };
        self.next.set(at + 1);
        self.sessions.get(at)
    }

    /// Whether anything was found of a session with this id.
    pub(crate) fn has(&self, id: &SessionId) -> bool {
        self.ids.get_or_init(|| self.sessions.iter().map(|found| found.key.id.clone()).collect()).contains(id)
    }

    /// The sessions with these ids.
    pub(crate) fn keys_of(&self, ids: &HashSet<&SessionId>) -> Vec<SessionKey> {
        let keys = self.sessions.iter().map(|found| &found.key);
        if ids.is_empty() { Vec::new() } else { keys.filter(|key| ids.contains(&key.id)).cloned().collect() }
    }
}

/// A session of a store as it was found: of everything committed no more than its figures.
#[derive(Debug)]
pub(crate) struct FoundSession {
    pub(crate) key: SessionKey,
    /// The transcript that it was last copied from.
    pub(crate) source: Option<PathBuf>,
    /// When that was last modified as its newest content was committed, in milliseconds since 1970.
    pub(crate) source_modified_ms: Option<u64>,
    /// How many contents there are.
    pub(crate) files: u64,
    /// Those of them that are older contents of the transcript.
    pub(crate) versions: u64,
    /// What they take on the disk.
    pub(crate) disk_bytes: u64,
    /// When something was last committed, in milliseconds since 1970.
    pub(crate) committed_ms: Option<u64>,
    /// Whether a newer content may have lost something of an older one.
    pub(crate) has_older: bool,
    /// Whether there is a subagent's file.
    pub(crate) has_subagents: bool,
    contents: Option<Mark>,
}

impl FoundSession {
    /// By what was seen of it before.
    pub(crate) fn seen(key: SessionKey, seen: &SeenSession<'_>) -> FoundSession {
        FoundSession {
            key,
            source: seen.source(),
            source_modified_ms: seen.source_modified_ms,
            files: seen.files,
            versions: seen.versions,
            disk_bytes: seen.disk_bytes,
            committed_ms: Some(seen.committed_ms),
            has_older: seen.has_older,
            has_subagents: seen.has_subagents,
            contents: seen.contents,
        }
    }

    /// By a look at it.
    pub(crate) fn looked_at(key: SessionKey, check: QuickCheck) -> FoundSession {
        let is_agents = |name: &StoredName| matches!(&name.file, FileName::Side(rel) if is_of_subagent(rel));
        let is_result = |name: &StoredName| matches!(&name.file, FileName::Side(rel) if is_tool_result(rel));
        let is_version = |name: &StoredName| name.generation > 0 && name.file == FileName::Transcript;
        let files = || check.files.iter().map(|file| &file.name);
        FoundSession {
            files: check.files.len() as u64,
            versions: files().filter(|name| is_version(name)).count() as u64,
            disk_bytes: check.files.iter().map(|file| file.disk_bytes).sum(),
            committed_ms: check.files.iter().map(|file| file.committed_ms).max(),
            has_older: files()
                .any(|name| is_version(name) || name.generation > 0 && (is_agents(name) || is_result(name))),
            has_subagents: files().any(is_agents),
            key,
            source: check.source,
            source_modified_ms: check.source_modified_ms,
            contents: check.contents,
        }
    }

    /// Whether both stores have the same contents of it, proven in each. False also where that is not known.
    pub(crate) fn has_the_same_as(&self, other: &FoundSession) -> bool {
        self.key == other.key && self.contents.is_some() && self.contents == other.contents
    }
}

/// What the other checks have to know of the hooks.
#[derive(Debug, Default)]
pub(crate) struct InstalledHooks {
    /// The programs that they name.
    pub(crate) programs: Vec<PathBuf>,
    /// The folder of the programs that `SessionEnd` runs, where it runs them as install writes it.
    pub(crate) chain: Option<PathBuf>,
}

impl InstalledHooks {
    /// The folder of the installed programs: of those that the hooks name, or where install puts them.
    pub(crate) fn folder(&self, context: &Context) -> PathBuf {
        let named = self.programs.first().and_then(|path| path.parent());
        named.map_or_else(|| context.places.claude_dir.join("hooks"), Path::to_owned)
    }
}

impl<'a> Examination<'a> {
    pub(crate) fn new(context: &'a Context) -> Examination<'a> {
        let (first, second) = (FoundStore::default(), FoundStore::default());
        let (findings, summaries) = (Vec::new(), Vec::new());
        Examination {
            context,
            figures: Figures::default(),
            first,
            second,
            found: Default::default(),
            whole: RefCell::default(),
            roots: Vec::new(),
            hooks: InstalledHooks::default(),
            findings,
            summaries,
            unchecked: Vec::new(),
        }
    }

    /// A transcript as it may be spelled too: layer 1 records a source as its event spells it, layer 3 with all links
    /// resolved.
    pub(crate) fn other_spelling(&self, found: &Path) -> Option<PathBuf> {
        let mut roots = self.roots.iter().filter(|(resolved, given)| resolved != given);
        roots.find_map(|(resolved, given)| Some(given.join(found.strip_prefix(resolved).ok()?)))
    }

    /// What layer 1's store has of a transcript, if nothing of that has changed since all of it was saved there.
    pub(crate) fn saved(&self, found: &FoundTranscript) -> Option<&FoundSession> {
        let seen = self.first.looked.seen_of(&found.id)?;
        let look = || {
            let spelled = self.other_spelling(&found.path);
            let mut sources = spelled.iter().map(PathBuf::as_path).chain([&*found.path]);
            sources.find_map(|source| seen.saved_status(found, source)).map(|status| status.is_all)
        };
        let is_all = match found.is_alone() {
            true => look(),
            false => *self.whole.borrow_mut().entry(found.path.clone()).or_insert_with(look),
        };
        is_all.and_then(|_| self.first.session_in(seen.project(), found.id.as_str()))
    }

    /// Whether it is known of what lies beside a transcript that all of it is saved, and nothing passed over.
    pub(crate) fn is_whole(&self, found: &FoundTranscript) -> bool {
        self.whole.borrow().get(&found.path) == Some(&Some(true))
    }

    /// Adds what a kind says by itself.
    pub(crate) fn found(&mut self, kind: Kind, what: impl Into<String>, place: &Path) {
        self.findings.push(Finding::new(self.context, kind, what, place));
    }

    /// Whether it was told that something else stands at the path, or above it.
    pub(crate) fn is_foreign(&self, path: &Path) -> bool {
        self.findings.iter().any(|finding| finding.kind == Kind::NotOurs && path.starts_with(&finding.place))
    }

    /// Says why there was nothing to look at: then it is neither well nor wrong.
    pub(crate) fn leave_unchecked(&mut self, subject: Subject, summary: String) {
        self.unchecked.push(subject);
        self.summarise(subject, summary);
    }

    /// Says how a thing is.
    pub(crate) fn summarise(&mut self, subject: Subject, summary: String) {
        self.summaries.push((subject, summary));
    }
}
