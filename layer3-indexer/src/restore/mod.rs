//! Putting a conversation back where Claude Code finds it: `projects/<slug>/<session id>.jsonl`
//! and its side files.
//!
//! In two steps: a [`Plan`] says which stored contents go where, after every refusal; carrying it
//! out writes the side files first and the transcript last, so that a transcript that is there is
//! complete. Each file is checked against its recorded hash before and after it was written. The
//! times are those of the restore: Claude Code sweeps transcripts away by their age.

pub(crate) mod missing;
pub(crate) mod pick;
pub(crate) mod resume;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use layer1_prebackup::archive::{Archive, SessionKey};
use layer1_prebackup::claude::slug::{is_slug_of, slug_of_cwd};
use layer1_prebackup::claude::transcripts;
use layer1_prebackup::config::places::{CLAUDE_CONFIG_DIR, Places};
use layer1_prebackup::config::size::Size;
use layer1_prebackup::fs::{self, Dir, DurableError};
use layer1_prebackup::names::{FileName, SessionId};
use rustix::fs::FileType;
use serde::Serialize;

use crate::failure::{Context, Failure, Kind};
use crate::save::roots::RootKind;
use crate::save::{self, Answer, LogSink};
use crate::stores::{Chosen, SessionCopies, Stores, Unfit, Which, slug_of_source};
use crate::terminal::shell_quoted;
use crate::transcript::record::{self, TornLine};
use layer1_prebackup::claude::live;

/// What to restore, and where to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Which content of the transcript. Of a side file it is the newest; the longest of a
    /// subagent's transcript if the longest is wanted.
    pub(crate) content: Which,
    /// A directory to write to instead of Claude Code's.
    pub(crate) to: Option<PathBuf>,
    /// Replace what stands there and differs; it is saved first.
    pub(crate) force: bool,
    /// Where the project lies now.
    pub(crate) cwd: Option<String>,
    /// Directories that moved, with all that lies below them.
    pub(crate) moved: Vec<Moved>,
    /// Leave everything that stands there as it is; write what is absent.
    pub(crate) only_absent: bool,
    /// Claude Code's directory, where it is not the one that `claude` would use by itself.
    pub(crate) config_dir: Option<PathBuf>,
}

/// A directory that lies elsewhere now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moved {
    /// As the transcripts name it.
    pub(crate) from: String,
    /// Where it is now.
    pub(crate) to: String,
}

/// One stored content and where it goes.
#[derive(Debug)]
struct Step {
    stored: Chosen,
    /// Below the root.
    rel: PathBuf,
    standing: Standing,
}

/// What stands at a step's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Nothing,
    /// The content, byte for byte, or a side file that begins with it: it is left as it is.
    Kept,
    /// Another file, to be replaced.
    Different,
}

/// What restoring a session will do. Making it writes nothing.
#[derive(Debug)]
pub(crate) struct Plan {
    key: SessionKey,
    stores: Rc<Stores>,
    /// Claude Code's `projects/`, or the directory that was named.
    root: PathBuf,
    /// Below the root.
    transcript: PathBuf,
    /// Length of the transcript.
    bytes: u64,
    /// Generation of the transcript that is written.
    generation: Option<u32>,
    cwd: Option<String>,
    command: Option<String>,
    work: Work,
}

/// What is to be done, and what there is to say about it.
#[derive(Debug)]
struct Work {
    /// Transcript last, if it is not left as it is.
    steps: Vec<Step>,
    /// Files that are left as they are, beside those of the steps.
    kept: usize,
    notes: Vec<String>,
    problems: Vec<String>,
}

/// What restoring a session did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Restored {
    /// The session.
    pub(crate) session_id: String,
    /// Its folder in the store.
    pub(crate) project: String,
    /// The transcript's place.
    pub(crate) path: String,
    /// Length of the transcript.
    pub(crate) bytes: u64,
    /// Which content of the transcript: 0 the newest, 1 the oldest; none if it stood there.
    pub(crate) generation: Option<u32>,
    /// Files written, transcript included; 0 when all stood there already.
    pub(crate) files_written: usize,
    /// Files that stood there already and were left as they are.
    pub(crate) files_in_place: usize,
    /// Where it is to go on, if the transcript or the user says so.
    pub(crate) cwd: Option<String>,
    /// The line to type in a shell; none for a directory that Claude Code does not read.
    pub(crate) command: Option<String>,
    /// What the user should know, in plain words.
    pub(crate) notes: Vec<String>,
    /// Side files that could not be restored.
    pub(crate) problems: Vec<String>,
}

/// Finds the session, its unharmed contents and its place; refuses where restoring would touch
/// anything that is not ours to touch. Writes nothing.
pub(crate) fn plan(places: &Places, typed: &str, options: &Options) -> Result<Plan, Failure> {
    let stores = Rc::new(Stores::open(places)?);
    let key = stores.find(typed)?;
    plan_for(places, stores, key, options)
}

fn plan_for(places: &Places, stores: Rc<Stores>, key: SessionKey, options: &Options) -> Result<Plan, Failure> {
    let id = &key.id;
    let standing = match &options.to {
        Some(to) => refuse_claudes(places, id, to).map(|()| None)?,
        None => refuse_live(places, id).and_then(|()| standing(places, id))?,
    };
    let copies = SessionCopies::of(&stores, &key)?;
    let mut notes = copies.notes.clone();
    let kept = standing.as_deref().filter(|_| options.only_absent);
    let (transcript, cwd) = match kept {
        Some(path) => (None, cwd_of_standing(path)?),
        None => {
            let chosen = copies.choose(&FileName::Transcript, options.content);
            let mut copy = chosen.map_err(|unfit| refusal(id, options.content, unfit))?;
            notes.append(&mut copy.notes);
            // A stub restored where the whole conversation is stored as well is not what most want.
            if let Some(longer) = copies.longer_than(&copy).filter(|_| options.content == Which::Newest) {
                let (longer, bytes) = (Size(longer), Size(copy.at.bytes));
                notes.push(format!(
                    "an older content of it is longer ({longer}, this one has {bytes}): --longest restores that"
                ));
            }
            let slug = standing.as_deref().and_then(slug_of_source).or_else(|| copies.slug());
            let examining = format!("examine {}", copy.at.path.display());
            let cwd = copy.read().and_then(|bytes| cwd_of(bytes, slug.as_deref())).context(examining)?;
            (Some(copy.at), cwd)
        }
    };
    let cwd = Cwd::of(cwd, options);
    let (root, folder) = match &options.to {
        Some(to) => (to.clone(), PathBuf::new()),
        None => (places.projects(), folder(places, id, options, standing.as_deref(), copies.slug(), &cwd, &mut notes)?),
    };
    let bytes = match (&transcript, kept) {
        (Some(content), _) => content.bytes,
        (None, path) => path.map_or(Ok(0), bytes_of)?,
    };
    let generation = transcript.as_ref().map(|content| content.name.generation);
    let mut work = Work { steps: Vec::new(), kept: usize::from(kept.is_some()), notes, problems: Vec::new() };
    work.add(&Beneath::open(&root)?, id, &folder, &copies, transcript, options)?;
    let directory = cwd.now.as_deref();
    let command = options.to.is_none().then(|| command(directory, id, options.config_dir.as_deref()));
    let transcript = folder.join(format!("{id}.jsonl"));
    Ok(Plan { root, transcript, bytes, generation, command, cwd: cwd.now, work, key, stores })
}

impl Work {
    /// What is to be done about each side file, then about the transcript, if that is not kept.
    fn add(
        &mut self,
        beneath: &Beneath,
        id: &SessionId,
        folder: &Path,
        copies: &SessionCopies,
        transcript: Option<Chosen>,
        options: &Options,
    ) -> Result<(), Failure> {
        for side in copies.side_files() {
            let rel = folder.join(id.as_str()).join(&side);
            if options.only_absent && beneath.stands(&rel)? {
                self.kept += 1;
                continue;
            }
            // A subagent's transcript is rewritten to a stub as its session's is.
            let which = match options.content {
                Which::Longest if side.extension().is_some_and(|extension| extension == "jsonl") => Which::Longest,
                _ => Which::Newest,
            };
            match copies.choose(&FileName::Side(side.clone()), which) {
                Ok(mut copy) => {
                    self.notes.append(&mut copy.notes);
                    self.steps.push(beneath.step(id, rel, copy.at, options, &mut self.notes)?);
                }
                Err(unfit) => self.problems.push(format!("{}; it was left out", complaint(&side, unfit))),
            }
        }
        if let Some(content) = transcript {
            let rel = folder.join(format!("{id}.jsonl"));
            self.steps.push(beneath.step(id, rel, content, options, &mut self.notes)?);
        }
        Ok(())
    }
}

impl Plan {
    /// Writes what is not in place yet. When it fails, what was written stays: it is right, and
    /// the transcript comes last. What is replaced was saved to layer 3's store before.
    pub(crate) fn carry_out(mut self, places: &Places) -> Result<Restored, Failure> {
        let replaces = self.work.steps.iter().any(|step| step.standing == Standing::Different);
        if replaces {
            self.save_what_stands(places)?;
        }
        let root = Dir::create(&self.root)?;
        let mut written = 0;
        for step in &self.work.steps {
            // Makes the folders without following a symlink below the root.
            let folder = root.create_beneath(step.rel.parent().unwrap_or(Path::new("")))?;
            let name = step.rel.file_name().unwrap_or_default();
            if step.standing == Standing::Kept {
                // Claude Code sweeps files away by their age, each by itself.
                if let Some(file) = folder.open_file(name)?
                    && let Err(error) = file.set_modified(SystemTime::now())
                {
                    self.work
                        .notes
                        .push(format!("{} keeps its old time: {error}", self.root.join(&step.rel).display()));
                }
                // A restore that was killed, or whose sync failed, may have put it there and no more.
                fs::sync_if_recent(&folder.path().join(name))?;
                continue;
            }
            let to = folder.path().join(name);
            let mut file = match replaces {
                true => self.stores.find_again(&step.stored)?,
                false => self.stores.reopen(&step.stored)?,
            };
            let (bytes, blake3) = (step.stored.bytes, &step.stored.blake3);
            let copied = match step.standing {
                Standing::Different => fs::copy_file_replace(&mut file, &to, bytes, blake3),
                _ => fs::copy_file_new(&mut file, &to, bytes, blake3),
            };
            match copied {
                // Another restore was faster, and wrote the same.
                Err(error) if error.source.kind() == io::ErrorKind::AlreadyExists && is_same(&to, &step.stored)? => {
                    fs::sync_if_recent(&to)?;
                }
                copied => {
                    copied?;
                    written += 1;
                }
            }
        }
        Ok(self.outcome(written))
    }

    /// What carrying it out would do.
    pub(crate) fn dry_run(self) -> Restored {
        let files = self.work.steps.iter().filter(|step| step.standing != Standing::Kept).count();
        self.outcome(files)
    }

    /// Where the session is to go on, if the transcript or the user says so.
    pub(crate) fn cwd(&self) -> Option<&str> {
        self.cwd.as_deref()
    }

    /// The session.
    pub(crate) fn id(&self) -> &SessionId {
        &self.key.id
    }

    /// Nothing is replaced that layer 3 does not hold: transcript and side files, read back.
    fn save_what_stands(&self, places: &Places) -> Result<(), Failure> {
        let transcript = self.root.join(&self.transcript);
        let transcript = match transcript.parent().map(std::fs::canonicalize) {
            Some(Ok(folder)) => folder.join(format!("{}.jsonl", self.key.id)),
            _ => transcript,
        };
        let request = save::Request {
            id: &self.key.id,
            transcript: &transcript,
            root: RootKind::Claude,
            cwd: None,
            trigger: Some(save::TRIGGER_BEFORE_RESTORE),
            project: Some(&self.key.project),
            expected: None,
        };
        let id = &self.key.id;
        let unsaved = |why: String| {
            Failure::new(format!("restore session {id}: what stands there could not be saved first: {why}"))
        };
        // In its own folder, whatever other sources of this id there are.
        let answer = save::save(places, &LogSink::new(places, false), &request, &|_| {});
        match answer.map_err(|error| unsaved(error.to_string()))? {
            Answer::Receipt(_) => {}
            Answer::Skipped(skipped) => return Err(unsaved(skipped.reason)),
        }
        let archive = Archive::open(&places.layer3_store)?.ok_or_else(|| unsaved("there is no store".to_owned()))?;
        for step in self.work.steps.iter().filter(|step| step.standing == Standing::Different) {
            let path = self.root.join(&step.rel);
            let file =
                transcripts::open_regular(&path)?.ok_or_else(|| unsaved(format!("{} is gone", path.display())))?;
            let bytes = fs::stat_of(&file, &path)?.st_size as u64;
            let hash = fs::hash_of_prefix(&file, bytes, &path)?;
            let mut covered = false;
            for key in archive.find(&self.key.id)? {
                covered = covered || archive.covers(&key, &step.stored.name.file, bytes, &hash)?;
            }
            if !covered {
                return Err(unsaved(format!("{} is not in the store", path.display())));
            }
        }
        Ok(())
    }

    fn outcome(self, files_written: usize) -> Restored {
        Restored {
            session_id: self.key.id.to_string(),
            project: self.key.project.to_string(),
            path: self.root.join(&self.transcript).display().to_string(),
            bytes: self.bytes,
            generation: self.generation,
            files_written,
            files_in_place: self.work.kept + self.work.steps.len() - files_written,
            command: self.command,
            cwd: self.cwd,
            notes: self.work.notes,
            problems: self.work.problems,
        }
    }
}

/// The line that resumes a session, quoted for a shell.
fn command(cwd: Option<&str>, id: &SessionId, config_dir: Option<&Path>) -> String {
    let directory = cwd.map_or(String::new(), |cwd| format!("cd {} && ", shell_quoted(cwd)));
    let config = config_dir
        .map_or(String::new(), |dir| format!("{CLAUDE_CONFIG_DIR}={} ", shell_quoted(&dir.display().to_string())));
    format!("{directory}{config}claude --resume {id}")
}

/// Where a session goes on.
struct Cwd {
    /// As the transcript names it.
    recorded: Option<String>,
    /// Where that is now.
    now: Option<String>,
    is_moved: bool,
}

impl Cwd {
    fn of(recorded: Option<String>, options: &Options) -> Cwd {
        let given = options.cwd.clone();
        let mapped =
            || options.moved.iter().filter_map(|moved| moved.map(recorded.as_deref()?)).max_by_key(|(n, _)| *n);
        let moved = given.or_else(|| mapped().map(|(_, mapped)| mapped));
        // Another system's directory, or rubbish: nobody can go there.
        let as_it_was = || recorded.clone().filter(|cwd| cwd.starts_with('/'));
        Cwd { is_moved: moved.is_some(), now: moved.or_else(as_it_was), recorded }
    }
}

impl Moved {
    /// `OLD=NEW`; the first `=` parts them.
    pub(crate) fn parse(text: &str) -> Option<Moved> {
        let (from, to) = text.split_once('=')?;
        let from = from.trim_end_matches(['/', '\\']);
        (!from.is_empty() && !to.is_empty()).then(|| Moved { from: from.to_owned(), to: to.to_owned() })
    }

    /// The directory in its new place and how much of its old path was known; `None` if it is not
    /// below the one that moved.
    fn map(&self, cwd: &str) -> Option<(usize, String)> {
        let rest = cwd.strip_prefix(&self.from)?;
        if !(rest.is_empty() || rest.starts_with(['/', '\\'])) {
            return None;
        }
        let to = self.to.trim_end_matches('/');
        // Below a directory of Windows its separators are meant.
        let rest = if rest.starts_with('\\') { rest.replace('\\', "/") } else { rest.to_owned() };
        let mapped = format!("{to}{rest}");
        Some((self.from.len(), if mapped.is_empty() { "/".to_owned() } else { mapped }))
    }
}

fn refusal(id: &SessionId, which: Which, unfit: Unfit) -> Failure {
    let refuse = |why: &str| Failure::new(format!("restore session {id}: {why}"));
    match unfit {
        Unfit::Absent => refuse("no transcript of it is stored"),
        Unfit::Damaged(wrong) => {
            refuse(&wrong.join(", ")).of(Kind::Damaged).hint(format!("`layer3-indexer verify {id}` tells more"))
        }
        Unfit::NoGeneration(known) => {
            let generation = if let Which::Generation(n) = which { n } else { 0 };
            let known = known.iter().map(|(n, bytes)| format!("{n} ({})", Size(*bytes)));
            let known = known.collect::<Vec<_>>().join(", ");
            refuse(&format!("there is no generation {generation} of it")).hint(format!("{known} are stored"))
        }
    }
}

fn complaint(side: &Path, unfit: Unfit) -> String {
    match unfit {
        Unfit::Damaged(wrong) => wrong.join(", "),
        Unfit::Absent | Unfit::NoGeneration(_) => format!("{} is not stored", side.display()),
    }
}

/// What lies in Claude Code's folder must go through every refusal.
fn refuse_claudes(places: &Places, id: &SessionId, to: &Path) -> Result<(), Failure> {
    let resolve =
        |path: &Path| path.ancestors().find_map(|above| Some((std::fs::canonicalize(above).ok()?, above.to_owned())));
    let resolved = |path: &Path| {
        let (there, above) = resolve(path)?;
        Some(there.join(path.strip_prefix(above).ok()?))
    };
    match (resolved(to), resolved(&places.projects())) {
        (Some(to_resolved), Some(projects)) if to_resolved.starts_with(&projects) => {
            let to = to.display();
            let message = format!("restore session {id}: {to} lies where Claude Code keeps its transcripts");
            Err(Failure::new(message).hint("without --to it is put in its place there"))
        }
        _ => Ok(()),
    }
}

fn refuse_live(places: &Places, id: &SessionId) -> Result<(), Failure> {
    match live::live_process(&places.claude_dir, id) {
        Ok(None) => Ok(()),
        Ok(Some(pid)) => Err(Failure::new(format!("restore session {id}: it is live in process {pid}"))
            .of(Kind::Live)
            .hint("end that Claude Code first")),
        Err(error) => {
            let path = places.claude_dir.join("sessions");
            let doing = format!("restore session {id}: {} could not be read, so it may be live", path.display());
            Err(error).context(doing)
        }
    }
}

/// Where a transcript of this id stands below `projects/`, whatever it is and even if its folder
/// is a symlink: Claude Code may well look through that.
fn standing(places: &Places, id: &SessionId) -> Result<Option<PathBuf>, Failure> {
    let projects = places.projects();
    let examining = |path: &Path| format!("examine {}", path.display());
    let folders = match std::fs::read_dir(&projects) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        folders => folders.context(examining(&projects))?,
    };
    let mut paths = Vec::new();
    for folder in folders {
        let path = folder.context(examining(&projects))?.path().join(format!("{id}.jsonl"));
        match std::fs::symlink_metadata(&path) {
            Ok(_) => paths.push(path),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error).context(examining(&path)),
        }
    }
    paths.sort();
    match paths.len() {
        0 | 1 => Ok(paths.pop()),
        _ => Err(Failure::new(format!(
            "restore session {id}: it is there twice, and Claude Code finds none of two: move one of them away:\n  {}",
            list(&paths)
        ))),
    }
}

/// The folder below `projects/`: where a file of this id stands already, else where the project
/// lies now, else the one that was recorded, else the working directory's, else the home's. The
/// id is never put under a second one.
fn folder(
    places: &Places,
    id: &SessionId,
    options: &Options,
    standing: Option<&Path>,
    recorded: Option<String>,
    cwd: &Cwd,
    notes: &mut Vec<String>,
) -> Result<PathBuf, Failure> {
    // Claude Code makes the slug from the real path.
    let real =
        |cwd: &str| std::fs::canonicalize(cwd).map_or(cwd.to_owned(), |path| path.to_string_lossy().into_owned());
    let wanted = cwd.now.as_deref().filter(|_| cwd.is_moved).map(|cwd| slug_of_cwd(&real(cwd)));
    if let Some(path) = standing {
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
        return match wanted {
            Some(wanted) if !options.only_absent && folder != OsStr::new(&wanted) => {
                let path = path.display();
                let message =
                    format!("restore session {id}: {path} is there already, and Claude Code would find none of two");
                let hint =
                    format!("`layer3-indexer resume {id} --cwd DIR` goes on with it as it is, or move it away first");
                Err(Failure::new(message).hint(hint))
            }
            _ => Ok(PathBuf::from(folder)),
        };
    }
    let slug = wanted.or(recorded).or_else(|| cwd.recorded.as_deref().map(slug_of_cwd));
    let slug = slug.unwrap_or_else(|| {
        notes.push(
            "no record of it says where it was started; it is put among the sessions of the home directory".to_owned(),
        );
        slug_of_cwd(&places.home.to_string_lossy())
    });
    Ok(PathBuf::from(slug))
}

fn cwd_of_standing(path: &Path) -> Result<Option<String>, Failure> {
    // Something that is no file says nothing; it is left as it is.
    let Ok(Some(file)) = transcripts::open_regular(path) else { return Ok(None) };
    cwd_of(&file, slug_of_source(path).as_deref()).context(format_args!("examine {}", path.display()))
}

/// Where the session was started: the first working directory that its slug was made from, else
/// the first of all.
fn cwd_of(transcript: impl Read, slug: Option<&str>) -> io::Result<Option<String>> {
    let mut first: Option<String> = None;
    let mut fitting: Option<String> = None;
    record::read_records(transcript, 0, TornLine::Final, &mut |located| {
        let Some(cwd) = located.record.cwd.as_deref().filter(|cwd| !cwd.is_empty()) else {
            return ControlFlow::Continue(());
        };
        first.get_or_insert_with(|| cwd.to_owned());
        if slug.is_none_or(|slug| is_slug_of(slug, cwd)) {
            fitting = Some(cwd.to_owned());
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    Ok(fitting.or(first))
}

fn is_same(path: &Path, stored: &Chosen) -> Result<bool, Failure> {
    let Some(file) = transcripts::open_regular(path)? else { return Ok(false) };
    let is_as_long = fs::stat_of(&file, path)?.st_size as u64 == stored.bytes;
    Ok(is_as_long && fs::hash_of_prefix(&file, stored.bytes, path)? == stored.blake3)
}

fn bytes_of(path: &Path) -> Result<u64, Failure> {
    Ok(std::fs::symlink_metadata(path).context(format_args!("examine {}", path.display()))?.len())
}

/// The directory to restore below, if it is there. Nothing in it is reached through a symlink.
struct Beneath {
    root: PathBuf,
    dir: Option<Dir>,
}

impl Beneath {
    fn open(root: &Path) -> Result<Beneath, Failure> {
        Ok(Beneath { root: root.to_owned(), dir: Dir::open(root)? })
    }

    /// The folder of `rel`; `None` where it does not exist.
    fn folder_of(&self, rel: &Path) -> Result<Option<Dir>, DurableError> {
        let Some(dir) = &self.dir else { return Ok(None) };
        dir.open_beneath(rel.parent().unwrap_or(Path::new("")))
    }

    fn stands(&self, rel: &Path) -> Result<bool, Failure> {
        let Some(folder) = self.folder_of(rel)? else { return Ok(false) };
        Ok(folder.stat(rel.file_name().unwrap_or_default())?.is_some())
    }

    fn step(
        &self,
        id: &SessionId,
        rel: PathBuf,
        stored: Chosen,
        options: &Options,
        notes: &mut Vec<String>,
    ) -> Result<Step, Failure> {
        let name = rel.file_name().unwrap_or_default();
        let path = self.root.join(&rel);
        let folder = self.folder_of(&rel)?;
        let stat = folder.as_ref().map_or(Ok(None), |folder| folder.stat(name))?;
        let (Some(folder), Some(stat)) = (folder, stat) else {
            return Ok(Step { stored, rel, standing: Standing::Nothing });
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            let path = path.display();
            return Err(Failure::new(format!("restore session {id}: {path} is there and is not a regular file")));
        }
        let standing = stat.st_size as u64;
        let begins_with_it = standing >= stored.bytes
            && match folder.open_file(name)? {
                Some(file) => fs::hash_of_prefix(&file, stored.bytes, &path)? == stored.blake3,
                None => false,
            };
        let is_transcript = stored.name.file == FileName::Transcript;
        let ahead = standing - stored.bytes.min(standing);
        let different = |lengths: &str| {
            let path = path.display();
            Failure::new(format!("restore session {id}: a different file stands at {path}{lengths}"))
        };
        let standing = match begins_with_it {
            true if ahead == 0 => Standing::Kept,
            true if !is_transcript && !options.force => {
                notes.push(format!("{} has {ahead} bytes more than its copy and is left as it is", path.display()));
                Standing::Kept
            }
            _ if options.force => Standing::Different,
            _ if options.to.is_some() => {
                return Err(different("").hint("it is not touched: choose another directory"));
            }
            _ => {
                let lengths = format!(" ({standing} bytes there, {} stored)", stored.bytes);
                return Err(
                    different(&lengths).hint("it is not touched: move it away, or let --force save and replace it")
                );
            }
        };
        Ok(Step { stored, rel, standing })
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("\n  ")
}
