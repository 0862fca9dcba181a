//! Where a session belongs among Claude Code's files, and who is in its way.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use layer1_prebackup::claude::live;
use layer1_prebackup::claude::slug::{is_slug_of, slug_of_cwd};
use layer1_prebackup::claude::transcripts;
use layer1_prebackup::claude::worktrees::project_of_worktree;
use layer1_prebackup::config::places::{CLAUDE_CONFIG_DIR, Places};
use layer1_prebackup::names::{LAYER3, SessionId, typed};

use crate::failure::{Context, Failure, Kind};
use crate::restore::types::Options;
use crate::save::roots::is_same_path;
use crate::stores::slug_of_source;
use crate::terminal::shell_quoted;
use crate::transcript::record::{self, TornLine};

/// Where a session goes on.
pub(super) struct Cwd {
    /// As the transcript names it.
    pub(super) recorded: Option<String>,
    /// Where that is now.
    pub(super) now: Option<String>,
    pub(super) is_moved: bool,
}

impl Cwd {
    pub(super) fn of(recorded: Option<String>, options: &Options) -> Cwd {
        let given = options.cwd.clone();
        let mapped =
            || options.moved.iter().filter_map(|moved| moved.map(recorded.as_deref()?)).max_by_key(|(n, _)| *n);
        let moved = given.or_else(|| mapped().map(|(_, mapped)| mapped));
        // Another system's directory, or rubbish: nobody can go there.
        let as_it_was = || recorded.clone().filter(|cwd| cwd.starts_with('/')).map(still_there);
        Cwd { is_moved: moved.is_some(), now: moved.or_else(as_it_was), recorded }
    }
}

/// The directory, or that of its project where it is a worktree that was removed.
fn still_there(cwd: String) -> String {
    let project = project_of_worktree(&cwd);
    if !Path::new(&cwd).is_dir() && Path::new(project).is_dir() { project.to_owned() } else { cwd }
}

/// The line that resumes a session, quoted for a shell.
pub(super) fn command(cwd: Option<&str>, id: &SessionId, config_dir: Option<&Path>) -> String {
    let directory = cwd.map_or(String::new(), |cwd| format!("cd {} && ", shell_quoted(cwd)));
    let config = config_dir
        .map_or(String::new(), |dir| format!("{CLAUDE_CONFIG_DIR}={} ", shell_quoted(&dir.display().to_string())));
    format!("{directory}{config}claude --resume {id}")
}

/// What lies in Claude Code's folder must go through every refusal.
pub(super) fn refuse_claudes(places: &Places, id: &SessionId, to: &Path) -> Result<(), Failure> {
    let resolve =
        |path: &Path| path.ancestors().find_map(|above| Some((std::fs::canonicalize(above).ok()?, above.to_owned())));
    let resolved = |path: &Path| {
        let (there, above) = resolve(path)?;
        Some(there.join(path.strip_prefix(above).ok()?))
    };
    let to_resolved = resolved(to);
    let is_claudes = |projects: PathBuf| {
        to_resolved.as_ref().zip(resolved(&projects)).is_some_and(|(to, projects)| to.starts_with(projects))
    };
    if places.all_claude_dirs().any(|dir| is_claudes(dir.join("projects"))) {
        let to = to.display();
        let message = format!("restore session {id}: {to} lies where Claude Code keeps its transcripts");
        return Err(Failure::new(message).hint("without --to it is put in its place there"));
    }
    Ok(())
}

/// Refuses while a client has the session open, or where that cannot be told; forced, it says so instead.
pub(super) fn refuse_live(places: &Places, id: &SessionId, force: bool) -> Result<Option<String>, Failure> {
    let mut dir = places.claude_dir.as_path();
    let mut live = Ok(None);
    for next in places.all_claude_dirs() {
        (dir, live) = (next, live::live_process(next, id));
        if !matches!(live, Ok(None)) {
            break;
        }
    }
    match live {
        Ok(None) => Ok(None),
        Ok(Some(pid)) if force => Ok(Some(format!("it is live in process {pid} and restored all the same"))),
        Ok(Some(pid)) => Err(Failure::new(format!("restore session {id}: it is live in process {pid}"))
            .of(Kind::Live)
            .hint("end that Claude Code first, or let `restore --force` restore it all the same")),
        Err(error) => {
            let unread = format!("{} could not be read, so it may be live", dir.join("sessions").display());
            if force {
                return Ok(Some(format!("{unread}; it is restored all the same")));
            }
            Err(error).context(format_args!("restore session {id}: {unread}"))
        }
    }
}

/// The folder of transcripts that the session was saved from, if it is one of those that are kept; else the primary
/// directory's.
pub(super) fn root_of<'p>(places: &Places, mut sources: impl Iterator<Item = &'p Path>) -> PathBuf {
    sources.find_map(|source| kept_root_of(places, source)).unwrap_or_else(|| places.projects())
}

/// The folder below `projects/` that the session was saved from: what a store says that names a directory which is
/// kept, before what names another one, as a store from elsewhere does.
pub(super) fn slug_of<'p>(places: &Places, sources: impl Iterator<Item = &'p Path>) -> Option<String> {
    let sources: Vec<&Path> = sources.collect();
    let kept = sources.iter().filter(|source| kept_root_of(places, source).is_some());
    kept.chain(&sources).find_map(|source| slug_of_source(source))
}

fn kept_root_of(places: &Places, source: &Path) -> Option<PathBuf> {
    let root = source.parent()?.parent()?;
    places.all_claude_dirs().map(|dir| dir.join("projects")).find(|known| is_same_path(known, root))
}

/// Where a transcript of this id stands below the `projects/` of a directory that is kept, the first that has one.
pub(crate) fn standing(places: &Places, id: &SessionId) -> Result<Option<PathBuf>, Failure> {
    for dir in places.all_claude_dirs() {
        if let Some(path) = standing_below(&dir.join("projects"), id)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Where a transcript of this id stands below `projects/`, whatever it is and even if its folder
/// is a symlink: Claude Code may well look through that.
fn standing_below(projects: &Path, id: &SessionId) -> Result<Option<PathBuf>, Failure> {
    let examining = |path: &Path| format!("examine {}", path.display());
    let folders = match std::fs::read_dir(projects) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        folders => folders.context(examining(projects))?,
    };
    let mut paths = Vec::new();
    for folder in folders {
        let path = folder.context(examining(projects))?.path().join(format!("{id}.jsonl"));
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
pub(super) fn folder(
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
            Some(wanted) if !options.only_absent && !options.in_place && folder != OsStr::new(&wanted) => {
                let path = path.display();
                let message =
                    format!("restore session {id}: {path} is there already, and Claude Code would find none of two");
                let resume = typed(LAYER3, &format!("resume {id} --cwd DIR"));
                Err(Failure::new(message).hint(format!("`{resume}` goes on with it as it is, or move it away first")))
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

pub(super) fn cwd_of_standing(path: &Path) -> Result<Option<String>, Failure> {
    // Something that is no file says nothing; it is left as it is.
    let Ok(Some(file)) = transcripts::open_transcript(path) else { return Ok(None) };
    cwd_of(&file, slug_of_source(path).as_deref()).context(format_args!("examine {}", path.display()))
}

/// Where the session was started: the first working directory that its slug was made from, else
/// the first of all.
pub(super) fn cwd_of(transcript: impl Read, slug: Option<&str>) -> io::Result<Option<String>> {
    let mut first: Option<String> = None;
    let mut fitting: Option<String> = None;
    record::read_records(transcript, 0, TornLine::Final, &mut |located| {
        // Claude Code files a session of a worktree that it removed under the project's slug.
        let record = &located.record;
        let Some(cwd) = record.cwd.as_deref().or(record.worktree_of.as_deref()).filter(|cwd| !cwd.is_empty()) else {
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

pub(super) fn bytes_of(path: &Path) -> Result<u64, Failure> {
    Ok(std::fs::symlink_metadata(path).context(format_args!("examine {}", path.display()))?.len())
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("\n  ")
}
