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

use crate::error::chain;
use crate::live;
use crate::record::{self, TornLine};
use crate::render::shell_quoted;
use crate::roots::RootKind;
use crate::save::{self, Answer, Journal};
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
        "restore session {id}: a different file stands at {path} ({standing} bytes there, {stored} stored); it is not touched: move it away, or let --force save and replace it",
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
    /// What stands there could not be saved, so it is not replaced.
    #[error("restore session {id}: what stands there could not be saved first: {why}")]
    Unsaved {
        /// The session.
        id: SessionId,
        /// Why.
        why: String,
    },
    /// A file of this id stands under another project folder than the one that is wanted.
    #[error("restore session {id}: {path} is there; Claude Code would find none of two, so move it away first", path = path.display())]
    Elsewhere {
        /// The session.
        id: SessionId,
        /// Where.
        path: PathBuf,
    },
    /// There is no such generation.
    #[error("restore session {id}: there is no generation {generation} of it; {known} are stored")]
    NoGeneration {
        /// The session.
        id: SessionId,
        /// Which was asked for.
        generation: u32,
        /// Which there are.
        known: String,
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

/// What to restore, and where to.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which content of the transcript; side files are always the newest.
    pub content: Which,
    /// A directory to write to instead of Claude Code's.
    pub to: Option<PathBuf>,
    /// Replace what stands there and differs; it is saved first.
    pub force: bool,
    /// Where the project lies now.
    pub cwd: Option<String>,
}

/// A content of a transcript.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Which {
    /// What it was last.
    #[default]
    Newest,
    /// An older generation, 1 being the oldest.
    Generation(u32),
    /// The longest of all.
    Longest,
}

/// One stored content and where it goes.
#[derive(Debug)]
struct Step {
    stored: Content,
    /// Below the root.
    rel: PathBuf,
    standing: Standing,
}

/// What stands at a step's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Nothing,
    /// The content, byte for byte.
    Same,
    /// Another file, to be replaced.
    Different,
}

/// A content whose bytes were found to match their record.
#[derive(Debug)]
struct Content {
    name: FileName,
    path: PathBuf,
    file: File,
    bytes: u64,
    blake3: Hash,
}

/// What restoring a session will do. Making it writes nothing.
#[derive(Debug)]
pub struct Plan {
    key: SessionKey,
    /// Claude Code's `projects/`, or the directory that was named.
    root: PathBuf,
    /// Whether that is Claude Code's, where a session can be resumed from.
    is_claude: bool,
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
    /// The line to type in a shell; none for a directory that Claude Code does not read.
    pub command: Option<String>,
    /// What the user should know, in plain words.
    pub notes: Vec<String>,
    /// Side files that could not be restored.
    pub problems: Vec<String>,
}

/// Finds the session, its unharmed contents and its place; refuses where restoring would touch
/// anything that is not ours to touch. Writes nothing.
pub fn plan(places: &Places, typed: &str, options: &Options) -> Result<Plan, RestoreError> {
    let stores = Stores::open(places)?;
    let (store, key) = session::find(&stores.all(), typed)?;
    let key_in = |other: &Option<Archive>| other.as_ref().map_or(Ok(None), |other| same_session(other, &key, store));
    let (key3, key1) = (key_in(&stores.layer3)?, key_in(&stores.layer1)?);
    if options.to.is_none() {
        refuse_live(places, &key.id)?;
    }
    let mut notes = Vec::new();
    let mut problems = Vec::new();
    let layer3 = Held::of(stores.layer3.as_ref(), key3)?;
    let layer1 = Held::of(stores.layer1.as_ref(), key1)?;
    let contents = contents(&key.id, options.content, &layer3, &layer1, &mut notes, &mut problems)?;
    let Some((_, transcript)) = contents.iter().find(|(file, _)| *file == FileName::Transcript) else {
        return Err(RestoreError::NoTranscript { id: key.id });
    };
    let source = match recorded_source(&layer3)? {
        Some(source) => Some(source),
        None => recorded_source(&layer1)?,
    };
    let recorded_slug = source.as_deref().and_then(slug_of_source);
    let cwd = match &options.cwd {
        Some(cwd) => Some(cwd.clone()),
        None => cwd_of(transcript, recorded_slug.as_deref())?,
    };
    let (root, folder) = match &options.to {
        Some(to) => (to.clone(), PathBuf::new()),
        None => (places.projects(), slug(places, &key.id, options, recorded_slug, cwd.as_deref())?.into()),
    };
    let mut steps = contents
        .into_iter()
        .map(|(file, stored)| step(&root, &folder, &key.id, &file, stored, options.force))
        .collect::<Result<Vec<Step>, RestoreError>>()?;
    steps.reverse();
    Ok(Plan { key, root, is_claude: options.to.is_none(), steps, cwd, notes, problems })
}

impl Plan {
    /// Writes what is not in place yet. When it fails, what was written stays: it is right, and
    /// the transcript comes last. What is replaced was saved to layer 3's store before.
    pub fn carry_out(mut self, places: &Places) -> Result<Restored, RestoreError> {
        if self.steps.iter().any(|step| step.standing == Standing::Different) {
            self.save_what_stands(places)?;
        }
        let root = Dir::create(&self.root)?;
        let mut written = 0;
        for step in &mut self.steps {
            // Makes the folders without following a symlink below the root.
            let to = self.root.join(&step.rel);
            let (file, bytes, blake3) = (&mut step.stored.file, step.stored.bytes, &step.stored.blake3);
            match step.standing {
                Standing::Same => continue,
                Standing::Nothing => {
                    root.create_beneath(step.rel.parent().unwrap_or(Path::new("")))?;
                    durable::copy_file_new(file, &to, bytes, blake3)?;
                }
                Standing::Different => durable::copy_file_replace(file, &to, bytes, blake3)?,
            }
            written += 1;
        }
        Ok(self.outcome(written))
    }

    /// What carrying it out would do.
    pub fn dry_run(self) -> Restored {
        let files = self.steps.iter().filter(|step| step.standing != Standing::Same).count();
        self.outcome(files)
    }

    /// Nothing is replaced that layer 3 does not hold: transcript and side files, read back.
    fn save_what_stands(&self, places: &Places) -> Result<(), RestoreError> {
        let transcript = self.root.join(&self.transcript().rel);
        let transcript = match transcript.parent().map(fs::canonicalize) {
            Some(Ok(folder)) => folder.join(format!("{}.jsonl", self.key.id)),
            _ => transcript,
        };
        let request = save::Request {
            id: &self.key.id,
            transcript: &transcript,
            root: RootKind::Claude,
            cwd: None,
            trigger: Some("before-restore"),
            project: Some(&self.key.project),
            expected: None,
        };
        let unsaved = |why: String| RestoreError::Unsaved { id: self.key.id.clone(), why };
        // In its own folder, whatever other sources of this id there are.
        let answer = save::save(places, &Journal::new(places, false), &request, &|_| {});
        match answer.map_err(|error| unsaved(chain(&error)))? {
            Answer::Receipt(_) => {}
            Answer::Skipped(skipped) => return Err(unsaved(skipped.reason)),
        }
        let archive = Archive::open(&places.layer3_store)?.ok_or_else(|| unsaved("there is no store".to_owned()))?;
        for step in self.steps.iter().filter(|step| step.standing == Standing::Different) {
            let path = self.root.join(&step.rel);
            let file = source::open_regular(&path)?.ok_or_else(|| unsaved(format!("{} is gone", path.display())))?;
            let bytes = durable::stat_of(&file, &path)?.st_size as u64;
            let hash = durable::hash_of_prefix(&file, bytes, &path)?;
            let mut covered = false;
            for key in archive.find(&self.key.id)? {
                covered = covered || archive.covers(&key, &step.stored.name, bytes, &hash)?;
            }
            if !covered {
                return Err(unsaved(format!("{} is not in the store", path.display())));
            }
        }
        Ok(())
    }

    fn transcript(&self) -> &Step {
        self.steps.last().expect("a plan ends with the transcript")
    }

    fn outcome(self, files_written: usize) -> Restored {
        let transcript = self.transcript();
        Restored {
            session_id: self.key.id.to_string(),
            project: self.key.project.to_string(),
            path: self.root.join(&transcript.rel).display().to_string(),
            bytes: transcript.stored.bytes,
            files_written,
            files_in_place: self.steps.len() - files_written,
            command: self.is_claude.then(|| resume_command(self.cwd.as_deref(), &self.key.id)),
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
        let name = stored.name.file.clone();
        (hash == blake3).then_some(Content { name, path, file, bytes, blake3 })
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

/// The content of each file, from the store that has it whole and longest. Transcript first.
fn contents(
    id: &SessionId,
    which: Which,
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
        let content = match (name, which) {
            (FileName::Transcript, Which::Generation(n)) if n > 0 => generation(id, n, layer3, layer1, notes)?,
            (FileName::Transcript, Which::Longest) => longest(layer3, layer1),
            _ => choose(layer3, of3, layer1, of1, notes),
        };
        if let Some(content) = content {
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

/// An older generation, as layer 3 numbers them; as layer 1 does where layer 3 has nothing.
fn generation(
    id: &SessionId,
    n: u32,
    layer3: &Held<'_>,
    layer1: &Held<'_>,
    notes: &mut Vec<String>,
) -> Result<Option<Content>, RestoreError> {
    let held = if layer3.files.is_empty() { layer1 } else { layer3 };
    let transcripts = || held.files.iter().filter(|file| file.name.file == FileName::Transcript);
    let Some(stored) = transcripts().find(|file| file.name.generation == n) else {
        let known: Vec<String> = transcripts().map(|file| file.name.generation.to_string()).collect();
        return Err(RestoreError::NoGeneration { id: id.clone(), generation: n, known: known.join(", ") });
    };
    Ok(held.all_of(stored).or_else(|| from_layer1(stored, layer1, notes)))
}

/// The longest unharmed content of the transcript, of any generation in either store.
fn longest(layer3: &Held<'_>, layer1: &Held<'_>) -> Option<Content> {
    let all = [layer3, layer1].into_iter().flat_map(|held| held.files.iter().map(move |file| (held, file)));
    let mut all: Vec<_> = all.filter(|(_, file)| file.name.file == FileName::Transcript).collect();
    // Stable: of equally long ones the newest of layer 3 comes first.
    all.sort_by_key(|(_, file)| std::cmp::Reverse(file.bytes));
    all.into_iter().find_map(|(held, file)| held.all_of(file))
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
    from_layer1(stored, layer1, notes)
}

/// The bytes that layer 3 recorded, from whatever content of layer 1 begins with them.
fn from_layer1(stored: &StoredFile, layer1: &Held<'_>, notes: &mut Vec<String>) -> Option<Content> {
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

/// The folder below `projects/`: where a file of this id stands already, else where the project
/// lies now, else the one that was recorded, else the working directory's. The id is never put
/// under a second one.
fn slug(
    places: &Places,
    id: &SessionId,
    options: &Options,
    recorded: Option<String>,
    cwd: Option<&str>,
) -> Result<String, RestoreError> {
    let wanted = options.cwd.as_deref().map(slug_of_cwd);
    let Some(standing) = source::transcripts(&places.projects())?.into_iter().find(|found| found.id == *id) else {
        return Ok(wanted.or(recorded).unwrap_or_else(|| slug_of_cwd(cwd.unwrap_or("/"))));
    };
    let slug = standing.path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    match (slug, wanted) {
        (Some(slug), None) => Ok(slug.to_owned()),
        (Some(slug), Some(wanted)) if slug == wanted => Ok(wanted),
        _ => Err(RestoreError::Elsewhere { id: id.clone(), path: standing.path }),
    }
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

fn step(
    root: &Path,
    folder: &Path,
    id: &SessionId,
    file: &FileName,
    stored: Content,
    force: bool,
) -> Result<Step, RestoreError> {
    let rel = match file {
        FileName::Transcript => folder.join(format!("{id}.jsonl")),
        FileName::Side(side) => folder.join(id.as_str()).join(side),
    };
    let path = root.join(&rel);
    let standing = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Standing::Nothing,
        Err(source) => return Err(RestoreError::Examine { path, source }),
        Ok(meta) if !meta.is_file() => return Err(RestoreError::NotRegular { id: id.clone(), path }),
        Ok(meta) if meta.len() == stored.bytes && is_same(&path, &stored)? => Standing::Same,
        Ok(_) if force => Standing::Different,
        Ok(meta) => {
            let (standing, stored) = (meta.len(), stored.bytes);
            return Err(RestoreError::Different { id: id.clone(), path, standing, stored });
        }
    };
    Ok(Step { stored, rel, standing })
}

fn is_same(path: &Path, stored: &Content) -> Result<bool, RestoreError> {
    let Some(file) = source::open_regular(path)? else { return Ok(false) };
    Ok(durable::hash_of_prefix(&file, stored.bytes, path)? == stored.blake3)
}
