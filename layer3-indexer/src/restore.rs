//! Putting a conversation back where Claude Code finds it: `projects/<slug>/<session id>.jsonl`
//! and its side files.
//!
//! In two steps: a [`Plan`] says which stored contents go where, after every refusal; carrying it
//! out writes the side files first and the transcript last, so that a transcript that is there is
//! complete. Each file is checked against its recorded hash before and after it was written. The
//! times are those of the restore: Claude Code sweeps transcripts away by their age.

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use layer1_prebackup::Hash;
use layer1_prebackup::archive::{Archive, ArchiveError, SessionKey, StoredFile};
use layer1_prebackup::durable::{self, Dir, DurableError};
use layer1_prebackup::names::{FileName, SessionId};
use layer1_prebackup::places::Places;
use layer1_prebackup::source;
use serde::Serialize;

use crate::live;
use crate::record::{self, TornLine};
use crate::render::shell_quoted;
use crate::session::{self, SessionError};

/// Longest slug, in characters; Claude Code cuts longer ones.
const SLUG_CHARS_MAX: usize = 200;

/// A session was not restored. Nothing that stood there was touched.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// No session, or several, are named so.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A client has it open.
    #[error("restore session {id}: it is live in process {pid}; end that Claude Code first")]
    Live {
        /// The session.
        id: SessionId,
        /// The client.
        pid: i32,
    },
    /// Which sessions are live could not be found out.
    #[error("restore session {id}: {path} could not be read, so it may be live", path = path.display())]
    LiveUnknown {
        /// The session.
        id: SessionId,
        /// The directory of live sessions.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Another content stands there.
    #[error(
        "restore session {id}: a different file stands at {path} ({standing} bytes there, {stored} stored); move it away first, it is not touched",
        path = path.display()
    )]
    Different {
        /// The session.
        id: SessionId,
        /// Where.
        path: PathBuf,
        /// Length of what stands there.
        standing: u64,
        /// Length of what is stored.
        stored: u64,
    },
    /// Something that is no file stands there.
    #[error("restore session {id}: {path} is there and is not a regular file", path = path.display())]
    NotRegular {
        /// The session.
        id: SessionId,
        /// Where.
        path: PathBuf,
    },
    /// No store holds the transcript unharmed.
    #[error(
        "restore session {id}: {path} is damaged or missing, and no other store has those bytes; `layer3-indexer verify {id}` tells more"
    )]
    Damaged {
        /// The session.
        id: SessionId,
        /// Relative to the project's folder.
        path: String,
    },
    /// Only side files are stored.
    #[error("restore session {id}: no transcript of it is stored")]
    NoTranscript {
        /// The session.
        id: SessionId,
    },
    /// A store failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A file could not be read or written.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// What stands there could not be examined.
    #[error("examine {path}", path = path.display())]
    Examine {
        /// Where.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// One stored content and where it goes.
#[derive(Debug)]
struct Step {
    stored: Content,
    /// Below `projects/`.
    rel: PathBuf,
    /// Whether it stands there already, byte for byte.
    in_place: bool,
}

/// A content whose bytes were found to match their record.
#[derive(Debug)]
struct Content {
    path: PathBuf,
    file: File,
    bytes: u64,
    blake3: Hash,
}

/// What restoring a session will do. Making it writes nothing.
#[derive(Debug)]
pub struct Plan {
    key: SessionKey,
    projects: PathBuf,
    /// Transcript last.
    steps: Vec<Step>,
    cwd: Option<String>,
    notes: Vec<String>,
    problems: Vec<String>,
}

/// What restoring a session did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The session.
    pub session_id: String,
    /// Its folder in the store.
    pub project: String,
    /// The transcript's place.
    pub path: String,
    /// Length of the transcript.
    pub bytes: u64,
    /// Files written, transcript included; 0 when all stood there already.
    pub files_written: usize,
    /// Files that stood there already, byte for byte.
    pub files_in_place: usize,
    /// Where it was started, if the transcript says so.
    pub cwd: Option<String>,
    /// The line to type in a shell.
    pub command: String,
    /// What the user should know, in plain words.
    pub notes: Vec<String>,
    /// Side files that could not be restored.
    pub problems: Vec<String>,
}

/// Finds the session, its unharmed contents and its place; refuses where restoring would touch
/// anything that is not ours to touch. Writes nothing.
pub fn plan(places: &Places, typed: &str) -> Result<Plan, RestoreError> {
    let stores = Stores::open(places)?;
    let (store, key) = session::find(&stores.all(), typed)?;
    let key_in = |other: &Option<Archive>| other.as_ref().map_or(Ok(None), |other| same_session(other, &key, store));
    let (key3, key1) = (key_in(&stores.layer3)?, key_in(&stores.layer1)?);
    refuse_live(places, &key.id)?;

    let mut notes = Vec::new();
    let mut problems = Vec::new();
    let layer3 = Held::of(stores.layer3.as_ref(), key3)?;
    let layer1 = Held::of(stores.layer1.as_ref(), key1)?;
    let contents = contents(&key.id, &layer3, &layer1, &mut notes, &mut problems)?;
    let Some((_, transcript)) = contents.iter().find(|(file, _)| *file == FileName::Transcript) else {
        return Err(RestoreError::NoTranscript { id: key.id });
    };

    let projects = places.projects();
    let source = match recorded_source(&layer3)? {
        Some(source) => Some(source),
        None => recorded_source(&layer1)?,
    };
    let recorded_slug = source.as_deref().and_then(slug_of_source);
    let cwd = cwd_of(transcript, recorded_slug.as_deref())?;
    let slug = match standing_slug(&projects, &key.id)? {
        Some(slug) => slug,
        None => recorded_slug.unwrap_or_else(|| slug_of_cwd(cwd.as_deref().unwrap_or("/"))),
    };
    let mut steps = contents
        .into_iter()
        .map(|(file, stored)| step(&projects, &slug, &key.id, &file, stored))
        .collect::<Result<Vec<Step>, RestoreError>>()?;
    steps.reverse();
    Ok(Plan { key, projects, steps, cwd, notes, problems })
}

impl Plan {
    /// Writes what is not in place yet. When it fails, what was written stays: it is right, and
    /// the transcript comes last.
    pub fn carry_out(mut self) -> Result<Restored, RestoreError> {
        let root = Dir::create(&self.projects)?;
        let mut written = 0;
        for step in self.steps.iter_mut().filter(|step| !step.in_place) {
            // Makes the folders without following a symlink below `projects/`.
            root.create_beneath(step.rel.parent().unwrap_or(Path::new("")))?;
            let to = self.projects.join(&step.rel);
            durable::copy_file_new(&mut step.stored.file, &to, step.stored.bytes, &step.stored.blake3)?;
            written += 1;
        }
        Ok(self.outcome(written))
    }

    fn outcome(self, files_written: usize) -> Restored {
        let transcript = self.steps.last().expect("a plan ends with the transcript");
        Restored {
            session_id: self.key.id.to_string(),
            project: self.key.project.to_string(),
            path: self.projects.join(&transcript.rel).display().to_string(),
            bytes: transcript.stored.bytes,
            files_written,
            files_in_place: self.steps.len() - files_written,
            command: resume_command(self.cwd.as_deref(), &self.key.id),
            cwd: self.cwd,
            notes: self.notes,
            problems: self.problems,
        }
    }
}

/// The line that resumes a session, quoted for a shell.
pub fn resume_command(cwd: Option<&str>, id: &SessionId) -> String {
    match cwd {
        Some(cwd) => format!("cd {} && claude --resume {id}", shell_quoted(cwd)),
        None => format!("claude --resume {id}"),
    }
}

/// The folder that Claude Code gives to a project: every character outside `[A-Za-z0-9]` as `-`.
pub fn slug_of_cwd(cwd: &str) -> String {
    cwd.chars().take(SLUG_CHARS_MAX).map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

struct Stores {
    layer3: Option<Archive>,
    layer1: Option<Archive>,
}

impl Stores {
    fn open(places: &Places) -> Result<Stores, ArchiveError> {
        Ok(Stores { layer3: Archive::open(&places.layer3_store)?, layer1: Archive::open(&places.layer1_store)? })
    }

    fn all(&self) -> Vec<&Archive> {
        self.layer3.iter().chain(&self.layer1).collect()
    }
}

/// What one store holds of the session.
struct Held<'a> {
    archive: Option<(&'a Archive, SessionKey)>,
    files: Vec<StoredFile>,
}

impl<'a> Held<'a> {
    fn of(archive: Option<&'a Archive>, key: Option<SessionKey>) -> Result<Held<'a>, ArchiveError> {
        let archive = archive.zip(key);
        let files = match &archive {
            Some((archive, key)) => archive.files(key)?,
            None => Vec::new(),
        };
        Ok(Held { archive, files })
    }

    fn newest(&self) -> impl Iterator<Item = &StoredFile> {
        self.files.iter().filter(|file| file.name.generation == 0)
    }

    /// The content, if the file's first `bytes` bytes hash to `blake3`; `None` if it is damaged,
    /// short, missing or unreadable: then the other store is asked.
    fn unharmed(&self, stored: &StoredFile, bytes: u64, blake3: Hash) -> Option<Content> {
        let (archive, key) = self.archive.as_ref()?;
        let path = archive.path_of(key, &stored.name);
        let file = archive.open_file(key, &stored.name).ok()?;
        let hash = durable::hash_of_prefix(&file, bytes, &path).ok()?;
        (hash == blake3).then_some(Content { path, file, bytes, blake3 })
    }

    fn all_of(&self, stored: &StoredFile) -> Option<Content> {
        self.unharmed(stored, stored.bytes, stored.blake3)
    }
}

/// The same session in another store: of the same project, else the only one of that id.
fn same_session(other: &Archive, key: &SessionKey, of: &Archive) -> Result<Option<SessionKey>, ArchiveError> {
    let mut known = other.find(&key.id)?;
    if known.contains(key) {
        return Ok(Some(key.clone()));
    }
    let alone = known.len() == 1 && of.find(&key.id)?.len() == 1;
    Ok(if alone { known.pop() } else { None })
}

fn refuse_live(places: &Places, id: &SessionId) -> Result<(), RestoreError> {
    match live::live_process(&places.claude_dir, id) {
        Ok(None) => Ok(()),
        Ok(Some(pid)) => Err(RestoreError::Live { id: id.clone(), pid }),
        Err(source) => {
            let path = places.claude_dir.join("sessions");
            Err(RestoreError::LiveUnknown { id: id.clone(), path, source })
        }
    }
}

/// The newest content of each file, from the store that has it whole and longest. Transcript first.
fn contents(
    id: &SessionId,
    layer3: &Held<'_>,
    layer1: &Held<'_>,
    notes: &mut Vec<String>,
    problems: &mut Vec<String>,
) -> Result<Vec<(FileName, Content)>, RestoreError> {
    let mut names: Vec<&FileName> = layer3.newest().chain(layer1.newest()).map(|file| &file.name.file).collect();
    names.sort();
    names.dedup();
    let mut contents = Vec::new();
    for name in names {
        let of3 = layer3.newest().find(|file| file.name.file == *name);
        let of1 = layer1.newest().find(|file| file.name.file == *name);
        if let Some(content) = choose(layer3, of3, layer1, of1, notes) {
            contents.push((name.clone(), content));
            continue;
        }
        let path = of3.or(of1).map(|file| file.path.clone()).unwrap_or_default();
        if *name == FileName::Transcript {
            return Err(RestoreError::Damaged { id: id.clone(), path });
        }
        problems.push(format!("{path} is damaged or missing, and no other store has those bytes; it was left out"));
    }
    Ok(contents)
}

fn choose(
    layer3: &Held<'_>,
    of3: Option<&StoredFile>,
    layer1: &Held<'_>,
    of1: Option<&StoredFile>,
    notes: &mut Vec<String>,
) -> Option<Content> {
    let Some(stored) = of3 else { return layer1.all_of(of1?) };
    let ahead = of1.filter(|file| file.bytes > stored.bytes);
    if let Some(longer) = ahead
        && layer1.unharmed(longer, stored.bytes, stored.blake3).is_some()
        && let Some(content) = layer1.all_of(longer)
    {
        notes.push(format!(
            "{}: layer 1 has {} bytes more, its copy is used",
            stored.path,
            longer.bytes - stored.bytes
        ));
        return Some(content);
    }
    if let Some(content) = layer3.all_of(stored) {
        return Some(content);
    }
    let same_file = layer1.files.iter().filter(|file| file.name.file == stored.name.file && file.bytes >= stored.bytes);
    let content = same_file.filter_map(|file| layer1.unharmed(file, stored.bytes, stored.blake3)).next()?;
    notes.push(format!("{}: layer 3's copy is damaged, layer 1's is used: {}", stored.path, content.path.display()));
    Some(content)
}

fn recorded_source(held: &Held<'_>) -> Result<Option<PathBuf>, ArchiveError> {
    held.archive.as_ref().map_or(Ok(None), |(archive, key)| archive.source_of(key))
}

/// The slug in `…/projects/<slug>/<session id>.jsonl`.
fn slug_of_source(source: &Path) -> Option<String> {
    let folder = source.parent()?;
    let is_projects = folder.parent()?.file_name()? == "projects";
    is_projects.then(|| folder.file_name()?.to_str().map(str::to_owned))?
}

/// The slug under which a file of this id stands already. It is never put under a second one.
fn standing_slug(projects: &Path, id: &SessionId) -> Result<Option<String>, RestoreError> {
    let standing = source::transcripts(projects)?.into_iter().find(|found| found.id == *id);
    Ok(standing.and_then(|found| Some(found.path.parent()?.file_name()?.to_str()?.to_owned())))
}

/// Where the session was started: the first working directory that its slug was made from, else
/// the first of all.
fn cwd_of(transcript: &Content, slug: Option<&str>) -> Result<Option<String>, RestoreError> {
    let mut first: Option<String> = None;
    let mut fitting: Option<String> = None;
    let examine = |source| RestoreError::Examine { path: transcript.path.clone(), source };
    let mut file = &transcript.file;
    record::read_records(file.take(transcript.bytes), 0, TornLine::Final, &mut |located| {
        let Some(cwd) = located.record.cwd.as_deref() else { return ControlFlow::Continue(()) };
        first.get_or_insert_with(|| cwd.to_owned());
        if slug.is_none_or(|slug| slug_of_cwd(cwd) == slug) {
            fitting = Some(cwd.to_owned());
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })
    .map_err(examine)?;
    file.rewind().map_err(examine)?;
    Ok(fitting.or(first))
}

fn step(projects: &Path, slug: &str, id: &SessionId, file: &FileName, stored: Content) -> Result<Step, RestoreError> {
    let rel = match file {
        FileName::Transcript => Path::new(slug).join(format!("{id}.jsonl")),
        FileName::Side(side) => Path::new(slug).join(id.as_str()).join(side),
    };
    let path = projects.join(&rel);
    let in_place = match fs::symlink_metadata(&path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => false,
        Err(source) => return Err(RestoreError::Examine { path, source }),
        Ok(meta) if !meta.is_file() => return Err(RestoreError::NotRegular { id: id.clone(), path }),
        Ok(meta) => {
            let same = meta.len() == stored.bytes && is_same(&path, &stored)?;
            if !same {
                let (standing, stored) = (meta.len(), stored.bytes);
                return Err(RestoreError::Different { id: id.clone(), path, standing, stored });
            }
            true
        }
    };
    Ok(Step { stored, rel, in_place })
}

fn is_same(path: &Path, stored: &Content) -> Result<bool, RestoreError> {
    let Some(file) = source::open_regular(path)? else { return Ok(false) };
    Ok(durable::hash_of_prefix(&file, stored.bytes, path)? == stored.blake3)
}
