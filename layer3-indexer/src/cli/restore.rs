//! `restore`: its arguments, and what it prints; choosing a session for `resume` too.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::config::size::Size;
use layer1_prebackup::names::{LAYER3, typed};
use serde_json::json;

use crate::browse::finder::Verb;
use crate::cli::called::id_of;
use crate::cli::find;
use crate::cli::host;
use crate::cli::screen::{Screen, absolute, config_dir, counting, here, notes, problem, unless_none};
use crate::failure::{Failure, chain};
use crate::restore::memory::{self, Remembered};
use crate::restore::missing::{self, Summary, Wanted};
use crate::restore::pick::{self};
use crate::restore::resume::ConfigDir;
use crate::restore::{self, Moved, Options, Plan, Restored};
use crate::save::adopt_v1;
use crate::scope::Scope;
use crate::stores::loss::Loss;
use crate::stores::{SessionCopies, Stores, Which};
use crate::terminal::time::{now_ms, parse_rfc3339_ms, parse_when_ms};
use crate::terminal::{self, Style, Terminal, one_line, shell_quoted, short_id};

// The arguments of `restore`. Said as documentation, it would stand in the help instead of what the command is for.
#[derive(Debug, Default, Args)]
pub(super) struct RestoreArgs {
    /// The conversation: its id, a unique beginning of it, or its name; omit it to choose from a list
    session: Option<String>,
    /// The conversation of another computer, by its name at the third place (`offsite machines`)
    #[arg(long, value_name = "HOST", requires = "session")]
    host: Option<String>,
    /// Bring back everything that was deleted from Claude Code's directory; leaves what is there alone
    #[arg(long, conflicts_with_all = ["session", "generation", "to", "cwd", "force"])]
    all_missing: bool,
    /// Only this project: its directory, or a part of its name; by default the list is the current directory's, and --all-missing is everything
    #[arg(long, value_name = "PROJECT", conflicts_with_all = ["session", "all"])]
    project: Option<String>,
    /// A list of all projects
    #[arg(long, conflicts_with = "session")]
    all: bool,
    /// Bring back what Claude Code remembers of the project (its memory folder) instead of a session; what is there stays
    #[arg(long, conflicts_with_all = ["session", "all_missing", "generation", "longest", "joined", "cwd", "map"])]
    memory: bool,
    /// With --memory: as it was at this time, such as 2026-11-22 or "2 days ago"; --dry-run lists the versions
    #[arg(long, value_name = "TIME", requires = "memory")]
    until: Option<String>,
    /// An older version of the transcript, 1 being the oldest; side files come in their newest version
    #[arg(long, value_name = "N", conflicts_with = "longest")]
    generation: Option<u32>,
    /// Use the longest saved version, also of each subagent
    #[arg(long)]
    longest: bool,
    /// All versions as one: the older messages, then what only newer ones have
    #[arg(long, conflicts_with_all = ["generation", "longest"])]
    joined: bool,
    /// Write to this directory instead of Claude Code's
    #[arg(long, value_name = "DIR", conflicts_with_all = ["cwd", "map", "force"])]
    to: Option<PathBuf>,
    /// The project's current directory
    #[arg(long, value_name = "DIR", conflicts_with = "map")]
    cwd: Option<PathBuf>,
    /// The directory OLD has moved to NEW (repeatable)
    #[arg(long, value_name = "OLD=NEW")]
    map: Vec<String>,
    /// Replace a file that differs; it is saved first
    #[arg(long)]
    force: bool,
    /// Show what would be written; write nothing
    #[arg(long)]
    dry_run: bool,
}

/// A store of the first version is taken over before it is restored from, so that nothing of it is
/// missed. Where that fails, as on a disk that is read-only, it is read as it stands.
pub(super) fn take_over(places: &Places) {
    if let Err(error) = adopt_v1::open(places) {
        notes([&format!("failed to {}", chain(&error))]);
    }
}

impl RestoreArgs {
    /// Of a conversation, without more.
    pub(super) fn of(session: Option<String>) -> RestoreArgs {
        RestoreArgs { session, ..RestoreArgs::default() }
    }
}

/// Runs `restore`.
pub(super) fn run(places: &Places, args: RestoreArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let content = match (args.generation, args.longest) {
        (Some(n), _) => Which::Generation(n),
        (None, longest) => version(longest, args.joined),
    };
    let is_open = args.generation.is_none() && content == Which::Newest && !args.dry_run;
    let mut options = Options {
        content,
        to: args.to.map(absolute).transpose()?,
        force: args.force,
        cwd: args.cwd.map(directory).transpose()?,
        moved: args.map.iter().map(|text| moved(text)).collect::<Result<_, _>>()?,
        only_absent: false,
        in_place: false,
        config_dir: given(config_dir(places)),
    };
    if !args.dry_run {
        take_over(places);
    }
    if args.memory {
        let when = |typed: &String| {
            let why = "it must be a time, such as 2026-11-22, \"2026-11-22 10:17\" or \"2 days ago\"";
            // As --dry-run writes it, too; a second lasts to its end.
            let plain = typed.replace(" UTC", "Z").replace(" +", "+").replace(" -", "-");
            let parsed = parse_when_ms(&plain, now_ms()).and_then(|(_, last)| u64::try_from(last).ok());
            let parsed = parsed.map(|last| if last.is_multiple_of(1000) { last + 999 } else { last });
            parsed.ok_or_else(|| Failure::argument("--until", typed, why))
        };
        let until_ms = args.until.as_ref().map(when).transpose()?;
        let scope = Scope { all: args.all, project: args.project, here: here(places) };
        let wanted = memory::Wanted { scope, until_ms, to: options.to, force: args.force, dry_run: args.dry_run };
        return restore_memory(places, &wanted, screen);
    }
    if args.all_missing {
        let all = args.all || args.project.is_none();
        let scope = Scope { all, project: args.project, here: here(places) };
        let wanted = Wanted { scope, options, dry_run: args.dry_run };
        return restore_missing(places, &wanted, screen);
    }
    let scope = Scope { all: args.all, project: args.project, here: here(places) };
    let (there, session) = match (&args.host, &args.session) {
        (Some(host), Some(typed)) => host::fetch(places, host, typed)?,
        _ => (places.clone(), chosen(places, args.session, &scope, Verb::Restore, screen)?),
    };
    if is_open && !screen.json && is_at_terminal() {
        let copies = SessionCopies::find(&Rc::new(Stores::open(&there)?), &session)?;
        if let Some(loss) = copies.loss() {
            options.content = choose_version("restore", &session, &loss, screen)?;
            options.force |= options.content != Which::Newest;
        }
    }
    let plan = restore::plan(&there, &session, &options)?;
    if let Some(host) = &args.host {
        refuse_a_project_that_is_not_here(&plan, host, &options)?;
    }
    let restored = if args.dry_run { plan.dry_run() } else { plan.carry_out(places)? };
    screen.answer(&json!({ "restored": restored }), |terminal| restored_text(&restored, args.dry_run, terminal))?;
    notes(&restored.notes);
    // Scripts read what they read before.
    if screen.terminal.interactive {
        notes(&directory_not_there(&restored));
    }
    restored.problems.iter().for_each(|why| problem(why));
    unless_none(restored.problems.len(), |left_out| {
        let left_out = terminal::count(left_out as u64, "side file");
        Failure::new(format!("restore all of session {}: {left_out} left out", restored.session_id))
    })
}

/// A conversation of another computer goes on where its project lies here; where that is unknown, it is asked for.
fn refuse_a_project_that_is_not_here(plan: &Plan, host: &str, options: &Options) -> Result<(), Failure> {
    let is_named = options.to.is_some() || options.cwd.is_some() || !options.moved.is_empty();
    match plan.cwd() {
        Some(cwd) if !is_named && !Path::new(cwd).is_dir() => {
            let id = plan.id();
            let map = shell_quoted(&format!("{cwd}=DIR"));
            let again = typed(LAYER3, &format!("restore {id} --host {host} --map {map}"));
            let what = format!("restore {id} of {host}: {} is not a directory on this computer", one_line(cwd));
            Err(Failure::new(what).hint(format!("say where the project lies here, as DIR: {again}")))
        }
        _ => Ok(()),
    }
}

fn restore_memory(places: &Places, wanted: &memory::Wanted, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let (restored, told) = memory::restore_memory(places, wanted)?;
    let answer = json!({ "restored_memory": restored, "notes": told });
    screen.answer(&answer, |terminal| restored.iter().map(|of| memory_text(of, wanted.dry_run, terminal)).collect())?;
    notes(&told);
    let wrong: Vec<&String> = restored.iter().flat_map(|of| &of.problems).collect();
    wrong.iter().for_each(|why| problem(why));
    unless_none(wrong.len(), |failed| {
        let all = failed + restored.iter().map(|of| of.files_written + of.files_in_place).sum::<usize>();
        Failure::new(format!("restore {failed} of {} of a memory", terminal::count(all as u64, "file")))
    })
}

fn memory_text(of: &Remembered, dry_run: bool, terminal: &Terminal) -> String {
    let (project, path, size) = (one_line(&of.project), one_line(&of.path), Size(of.bytes));
    let files = terminal::count(of.files_written as u64, "file");
    let mut text = match (of.files_written, dry_run) {
        (0, _) => format!("Nothing to do: all that is saved of the memory of {project} is in {path}\n"),
        (_, true) => format!("Would restore {files} ({size}) of the memory of {project} to {path}\n"),
        (_, false) => format!("Restored {files} ({size}) of the memory of {project} to {path}\n"),
    };
    if of.files_in_place > 0 && of.files_written > 0 {
        text.push_str(&format!(
            "{} there already and left as they are\n",
            terminal::count(of.files_in_place as u64, "file")
        ));
    }
    let time = |saved: &String| parse_rfc3339_ms(saved).map_or(saved.clone(), |ms| terminal.clock.exact(ms));
    for file in of.files.iter().filter(|file| dry_run || file.written) {
        let what = if file.written { "write" } else { "there" };
        let versions = match file.versions.len() {
            1 => String::new(),
            n => format!(", {n} versions: {}", file.versions.iter().map(time).collect::<Vec<_>>().join(", ")),
        };
        text.push_str(&format!("  {what}  {}  saved {}{versions}\n", one_line(&file.path), time(&file.saved)));
    }
    text
}

fn restore_missing(places: &Places, wanted: &Wanted, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let summary = counting("sessions", |progress| missing::restore_missing(places, wanted, progress))?;
    screen.answer(&summary, |terminal| summary_text(&summary, wanted.dry_run, terminal))?;
    notes(&summary.notes);
    notes(&summary.restored.iter().flat_map(about).collect::<BTreeSet<String>>());
    for refused in &summary.refused {
        problem(&format!("{}/{}: {}", refused.project, refused.session_id, refused.error));
    }
    let all = refused_sessions(&summary).union(&restored_sessions(&summary)).count() + summary.in_place;
    unless_none(refused_sessions(&summary).len(), |failed| Failure::some("restore", failed, all))
}

/// A session is refused once, however many of its side files are.
fn refused_sessions(summary: &Summary) -> BTreeSet<(&str, &str)> {
    summary.refused.iter().map(|refused| (refused.project.as_str(), refused.session_id.as_str())).collect()
}

fn restored_sessions(summary: &Summary) -> BTreeSet<(&str, &str)> {
    summary.restored.iter().map(|restored| (restored.project.as_str(), restored.session_id.as_str())).collect()
}

/// The notes of a session; what is said of it alone names it.
fn about(restored: &Restored) -> Vec<String> {
    let names_a_path = |note: &String| note.contains('/');
    let named =
        |note: &String| if names_a_path(note) { note.clone() } else { format!("{}: {note}", restored.session_id) };
    restored.notes.iter().map(named).collect()
}

fn summary_text(summary: &Summary, dry_run: bool, terminal: &Terminal) -> String {
    let done = if dry_run { "would restore" } else { "restored" };
    let mut text = String::new();
    for restored in &summary.restored {
        let session = one_line(&format!("{}/{}", restored.project, restored.session_id));
        let files = terminal::count(restored.files_written as u64, "file");
        let size = Size(restored.bytes);
        text.push_str(&format!("{}  {session} ({size}, {files})\n", terminal.paint(Style::Green, done)));
    }
    let restored = terminal::count(summary.restored.len() as u64, "session");
    let mut line =
        format!("{restored} {}, {} in place", if dry_run { "to restore" } else { "restored" }, summary.in_place);
    if !summary.refused.is_empty() {
        line.push_str(&format!(", {} refused", refused_sessions(summary).len()));
    }
    text.push_str(&(line + "\n"));
    text
}

pub(super) fn restored_text(restored: &Restored, dry_run: bool, terminal: &Terminal) -> String {
    let path = one_line(&restored.path);
    let (what, size) = match restored.bytes {
        // An empty transcript is never stored: there is none, only what lies beside it.
        0 => (format!("the files beside {path}"), String::new()),
        bytes => (path, format!("{}, ", Size(bytes))),
    };
    let (done, written) = if dry_run { ("Would restore", "to write") } else { ("Restored", "written") };
    let mut text = match restored.files_written {
        0 => format!("Already in place: {what}\n"),
        n => format!("{done} {what} ({size}{} {written})\n", terminal::count(n as u64, "file")),
    };
    if let Some(command) = &restored.command {
        text.push_str(&terminal.line(Style::Bold, command));
    }
    text
}

/// Where the session cannot go on where it was, and how it goes on elsewhere.
fn directory_not_there(restored: &Restored) -> Option<String> {
    let cwd = restored.cwd.as_ref().filter(|cwd| restored.command.is_some() && !Path::new(cwd).is_dir())?;
    let resume = typed(LAYER3, &format!("resume {} --cwd DIR", short_id(&restored.session_id)));
    Some(format!("{} is not there: make it, or `{resume}` goes on in another directory", one_line(cwd)))
}

/// What names the session: what was typed, else what is chosen from a list.
pub(super) fn chosen(
    places: &Places,
    typed: Option<String>,
    scope: &Scope,
    verb: Verb,
    screen: &Screen<'_>,
) -> Result<String, Failure> {
    if let Some(typed) = typed {
        return id_of(places, typed, screen);
    }
    // The list goes to stderr: stdout is for the answer.
    if screen.json || !is_at_terminal() {
        return Err(Failure::new("choose a session: there is no terminal to ask at").hint(
            "name one by its id or a unique beginning of it (`list --all` shows them), or use `restore --all-missing`",
        ));
    }
    if find::can_be_shown(screen) {
        return find::choose(places, scope, verb);
    }
    let choices = pick::choices(places, scope)?;
    pick::ask(&choices, &mut io::stdin().lock(), &mut io::stderr(), &screen.terminal)
}

/// Whether somebody can be asked: the question goes to stderr, because stdout is for the answer.
fn is_at_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Which content these flags mean.
pub(super) fn version(longest: bool, joined: bool) -> Which {
    match (longest, joined) {
        (true, _) => Which::Longest,
        (_, true) => Which::Joined,
        _ => Which::Newest,
    }
}

/// With which version to go on, the one that has all of it first. Without a terminal it refuses, and gives both commands.
pub(super) fn choose_version(verb: &str, session: &str, loss: &Loss, screen: &Screen<'_>) -> Result<Which, Failure> {
    let said = loss.to_text();
    if screen.json || !is_at_terminal() {
        let command = |flag: &str| typed(LAYER3, &format!("{verb} {} {flag}", shell_quoted(session)));
        let (all, newest) = (command(&loss.flag()), command("--newest"));
        return Err(Failure::new(format!("{verb} session {session}: {said}"))
            .hint(format!("to go on with all of it: {all}"))
            .hint(format!("to go on without: {newest}")));
    }
    pick::ask_version(&said, loss.which(), &mut io::stdin().lock(), &mut io::stderr())
}

fn moved(text: &str) -> Result<Moved, Failure> {
    let refuse = || {
        let why = "it must be OLD=NEW, the directory as the transcripts name it and where it lies now";
        Failure::argument("--map", text, why)
    };
    let moved = Moved::parse(text).ok_or_else(refuse)?;
    Ok(Moved { to: directory(PathBuf::from(moved.to))?, ..moved })
}

pub(super) fn directory(path: PathBuf) -> Result<String, Failure> {
    Ok(absolute(path)?.to_string_lossy().into_owned())
}

pub(super) fn given(config_dir: ConfigDir) -> Option<PathBuf> {
    match config_dir {
        ConfigDir::Given(dir) => Some(dir),
        ConfigDir::Inherited | ConfigDir::Default => None,
    }
}
