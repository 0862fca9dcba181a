//! What restoring a session will do, after every refusal. Making the plan writes nothing.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::claude::side_files::{self, is_tool_result};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::config::size::Size;
use layer1_prebackup::fs::{self, Dir, DurableError};
use layer1_prebackup::names::{FileName, LAYER3, SessionId, typed};
use rustix::fs::FileType;

use crate::failure::{Context, Failure, Kind};
use crate::restore::place::{self, Cwd, bytes_of, cwd_of, cwd_of_standing, refuse_claudes, refuse_live, standing};
use crate::restore::types::{Options, Restored};
use crate::stores::{Chosen, SessionCopies, Stores, Unfit, Which, slug_of_source};
use crate::transcript::apart::{Apart, FILE_STATES, PLANS, TASKS};

/// One stored content and where it goes.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) stored: Chosen,
    /// The content itself, where it was made of several stored ones.
    pub(super) made: Option<File>,
    /// A folder, which may be a link.
    pub(super) root: PathBuf,
    /// Below that.
    pub(super) rel: PathBuf,
    pub(super) standing: Standing,
}

/// What stands at a step's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Nothing,
    /// The content, byte for byte, or a side file that begins with it: it is left as it is.
    Kept,
    /// Another file, to be replaced.
    Different,
}

/// What restoring a session will do. Making it writes nothing.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) key: SessionKey,
    pub(super) stores: Rc<Stores>,
    /// Claude Code's `projects/`, or the directory that was named.
    pub(super) root: PathBuf,
    /// Below the root.
    pub(super) transcript: PathBuf,
    /// Length of the transcript.
    pub(super) bytes: u64,
    /// Which content of the transcript was asked for.
    pub(super) content: Which,
    /// Generation of the transcript that is written.
    pub(super) generation: Option<u32>,
    pub(super) cwd: Option<String>,
    pub(super) command: Option<String>,
    pub(super) work: Work,
}

/// What is to be done, and what there is to say about it.
#[derive(Debug)]
pub(super) struct Work {
    /// Transcript first, if it is not left as it is.
    pub(super) steps: Vec<Step>,
    /// Files that are left as they are, beside those of the steps.
    pub(super) kept: usize,
    pub(super) notes: Vec<String>,
    pub(super) problems: Vec<String>,
}

/// Finds the session, its unharmed contents and its place; refuses where restoring would touch
/// anything that is not ours to touch. Writes nothing.
pub(crate) fn plan(places: &Places, typed: &str, options: &Options) -> Result<Plan, Failure> {
    let stores = Rc::new(Stores::open(places)?);
    let key = stores.find(typed)?;
    plan_for(places, stores, key, options)
}

pub(super) fn plan_for(
    places: &Places,
    stores: Rc<Stores>,
    key: SessionKey,
    options: &Options,
) -> Result<Plan, Failure> {
    let id = &key.id;
    let mut notes = Vec::new();
    let standing = match &options.to {
        Some(to) => refuse_claudes(places, id, to).map(|()| None)?,
        None => {
            notes.extend(refuse_live(places, id, options.force)?);
            standing(places, id)?
        }
    };
    let copies = SessionCopies::of(&stores, &key)?;
    notes.extend(copies.notes.iter().cloned());
    let kept = standing.as_deref().filter(|_| options.only_absent);
    let mut apart = Apart::default();
    let (transcript, cwd) = match kept {
        Some(path) => (None, cwd_of_standing(path)?),
        None => {
            let chosen = match options.content {
                Which::Joined => copies.joined().map(Ok)?,
                which => copies.choose(&FileName::Transcript, which),
            };
            match chosen {
                Ok(mut copy) => {
                    notes.append(&mut copy.notes);
                    // A stub restored where the whole conversation is stored as well is not what most want.
                    if let Some(loss) =
                        copies.loss().filter(|_| options.content == Which::Newest && copy.at.name.generation == 0)
                    {
                        let (flag, lost) = (loss.flag(), loss.to_text());
                        let restore = typed(LAYER3, &format!("restore {id} {flag}"));
                        notes.push(format!("`{restore}` restores all of it: {lost}"));
                    }
                    let slug = standing
                        .as_deref()
                        .and_then(slug_of_source)
                        .or_else(|| place::slug_of(places, copies.sources()));
                    let examining = format!("examine {}", copy.at.path.display());
                    let cwd = copy.read().and_then(|bytes| cwd_of(bytes, slug.as_deref())).context(&examining)?;
                    apart = copy.read().and_then(Apart::of).context(examining)?;
                    (Some((copy.at, (options.content == Which::Joined).then_some(copy.file))), cwd)
                }
                Err(Unfit::Absent) if !copies.side_files().is_empty() => {
                    let gone = "its transcript was gone before Threefold saw it; what was left of it is restored";
                    notes.push(gone.to_owned());
                    (None, None)
                }
                Err(unfit) => return Err(refusal(id, options.content, unfit)),
            }
        }
    };
    let cwd = Cwd::of(cwd, options);
    let recorded = || place::slug_of(places, copies.sources());
    let (root, folder) = match &options.to {
        Some(to) => (to.clone(), PathBuf::new()),
        None => (
            standing
                .as_deref()
                .and_then(|path| Some(path.parent()?.parent()?.to_owned()))
                .unwrap_or_else(|| place::root_of(places, copies.sources())),
            place::folder(places, id, options, standing.as_deref(), recorded(), &cwd, &mut notes)?,
        ),
    };
    notes.extend(lacking(&apart, &copies, &root.join(&folder).join(format!("{id}.jsonl"))));
    let bytes = match (&transcript, kept) {
        (Some((content, _)), _) => content.bytes,
        (None, path) => path.map_or(Ok(0), bytes_of)?,
    };
    let generation = transcript.as_ref().map(|(content, _)| content.name.generation);
    let mut work = Work { steps: Vec::new(), kept: usize::from(kept.is_some()), notes, problems: Vec::new() };
    let is_whole = transcript.is_some() || kept.is_some();
    work.add(&root.join(&folder), id, &copies, transcript, options)?;
    let directory = cwd.now.as_deref();
    let is_resumable = is_whole && options.to.is_none();
    let command = is_resumable.then(|| {
        let other = root.parent().filter(|_| root != places.projects());
        place::command(directory, id, other.or(options.config_dir.as_deref()))
    });
    let transcript = folder.join(format!("{id}.jsonl"));
    let content = options.content;
    Ok(Plan { root, transcript, bytes, content, generation, command, cwd: cwd.now, work, key, stores })
}

/// What the transcript names, and neither a store nor Claude Code's directory has.
fn lacking(apart: &Apart, copies: &SessionCopies, transcript: &Path) -> Vec<String> {
    let id = &copies.key.id;
    let held = copies.side_files();
    let is_there = |side: &Path| {
        let (root, below) = side_files::place_of(transcript, id, &FileName::Side(side.to_owned()));
        held.contains(side) || root.join(below).exists()
    };
    let mut notes = Vec::new();
    let states = apart.file_states.len();
    let gone = apart.file_states.iter().filter(|name| !is_there(&Path::new(FILE_STATES).join(name))).count();
    if gone > 0 {
        let which = if gone == states { format!("{gone}") } else { format!("{gone} of {states}") };
        notes
            .push(format!("not saved: {which} earlier states of edited files, so /rewind cannot bring that code back"));
    }
    let has_task = || held.iter().any(|side| side.starts_with(TASKS));
    let tasks = side_files::place_of(transcript, id, &FileName::Side(Path::new(TASKS).join("1.json"))).0;
    if apart.has_tasks && !has_task() && !tasks.is_dir() {
        notes.push("not saved: its task list, so it goes on without one".to_owned());
    }
    let plans = apart.plans.iter().filter(|plan| !is_there(&Path::new(PLANS).join(plan)));
    notes.extend(plans.map(|plan| format!("not saved: its plan {plan}, so /plan shows none")));
    notes
}

impl Work {
    /// What is to be done about the transcript, if that is not kept, then about each side file.
    fn add(
        &mut self,
        folder: &Path,
        id: &SessionId,
        copies: &SessionCopies,
        transcript: Option<(Chosen, Option<File>)>,
        options: &Options,
    ) -> Result<(), Failure> {
        if let Some((content, made)) = transcript {
            let beneath = Beneath::open((folder.to_owned(), PathBuf::from(format!("{id}.jsonl"))))?;
            let step = beneath.step(id, content, options, &mut self.notes)?;
            self.steps.push(Step { made, ..step });
        }
        for side in copies.side_files() {
            let file = FileName::Side(side.clone());
            let beneath = match options.to {
                Some(_) => Beneath::open((folder.to_owned(), Path::new(id.as_str()).join(&side)))?,
                None => Beneath::open(side_files::place_of(&folder.join(format!("{id}.jsonl")), id, &file))?,
            };
            if options.only_absent && beneath.stands()? {
                self.kept += 1;
                continue;
            }
            // A subagent's transcript is rewritten to a stub as its session's is; what a tool gave back is written once.
            let may_shrink = side.extension().is_some_and(|extension| extension == "jsonl") || is_tool_result(&side);
            let which = match options.content {
                Which::Longest | Which::Joined if may_shrink => Which::Longest,
                _ => Which::Newest,
            };
            match copies.choose(&file, which) {
                Ok(mut copy) => {
                    self.notes.append(&mut copy.notes);
                    self.steps.push(beneath.step(id, copy.at, options, &mut self.notes)?);
                }
                Err(unfit) => self.problems.push(format!("{}; it was left out", complaint(&side, unfit))),
            }
        }
        Ok(())
    }
}

impl Plan {
    /// What carrying it out would do.
    pub(crate) fn dry_run(self) -> Restored {
        let files = self.work.steps.iter().filter(|step| step.standing != Standing::Kept).count();
        self.outcome(files)
    }

    /// Where the session is to go on, if the transcript or the user says so.
    pub(crate) fn cwd(&self) -> Option<&str> {
        self.cwd.as_deref()
    }

    /// The configuration directory that it is put below, unless that is the primary one.
    pub(super) fn other_config_dir(&self, places: &Places) -> Option<PathBuf> {
        self.root.parent().filter(|_| self.root != places.projects()).map(Path::to_owned)
    }

    /// The session.
    pub(crate) fn id(&self) -> &SessionId {
        &self.key.id
    }

    pub(super) fn outcome(self, files_written: usize) -> Restored {
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

fn refusal(id: &SessionId, which: Which, unfit: Unfit) -> Failure {
    let refuse = |why: &str| Failure::new(format!("restore session {id}: {why}"));
    match unfit {
        Unfit::Absent => refuse("no transcript of it is stored"),
        Unfit::Damaged(wrong) => refuse(&wrong.join(", "))
            .of(Kind::Damaged)
            .hint(format!("`{}` tells more", typed(LAYER3, &format!("verify {id}")))),
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

/// The place of one file: the directory to restore below, if it is there, and the path in it, which leads through no
/// symlink.
pub(super) struct Beneath {
    root: PathBuf,
    rel: PathBuf,
    dir: Option<Dir>,
}

impl Beneath {
    pub(super) fn open((root, rel): (PathBuf, PathBuf)) -> Result<Beneath, Failure> {
        let dir = Dir::open(&root)?;
        Ok(Beneath { root, rel, dir })
    }

    /// The folder of the file; `None` where it does not exist.
    fn folder(&self) -> Result<Option<Dir>, DurableError> {
        let Some(dir) = &self.dir else { return Ok(None) };
        dir.open_beneath(self.rel.parent().unwrap_or(Path::new("")))
    }

    fn stands(&self) -> Result<bool, Failure> {
        let Some(folder) = self.folder()? else { return Ok(false) };
        Ok(folder.stat(self.rel.file_name().unwrap_or_default())?.is_some())
    }

    pub(super) fn step(
        self,
        id: &SessionId,
        stored: Chosen,
        options: &Options,
        notes: &mut Vec<String>,
    ) -> Result<Step, Failure> {
        let folder = self.folder()?;
        let Beneath { root, rel, .. } = self;
        let name = rel.file_name().unwrap_or_default();
        let path = root.join(&rel);
        let stat = folder.as_ref().map_or(Ok(None), |folder| folder.stat(name))?;
        let (Some(folder), Some(stat)) = (folder, stat) else {
            return Ok(Step { stored, made: None, root, rel, standing: Standing::Nothing });
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
        Ok(Step { stored, made: None, root, rel, standing })
    }
}
