//! The command line of layer 1, and the only place of it that reads the environment.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};

use crate::archive::ArchiveError;
use crate::claude::other_dirs::SESSION_STORE;
use crate::claude::timer_mark;
use crate::config::arguments;
use crate::config::places::{PlaceFlags, Places};
use crate::config::settings::{HELP_HEADING, SettingFlags, Settings, SettingsError};
use crate::hook::{self, Configure, HookConfig};
use crate::names::{LAYER1, program_name, typed};
use crate::session_store::{self, ADAPTERS, SessionStoreConfig};
use crate::status::{self, InspectError};
use crate::sweep::{self, SweepConfig, SweepReport};
use crate::wire::shown::Screen;

/// Layer 1 of Threefold: a durable copy of a Claude Code conversation, before anything else.
///
/// Without a command it is a hook: it reads an event from stdin, copies the conversation that the
/// event names, passes the event on to stdout, and exits 0 whatever happens.
#[derive(Debug, Parser)]
#[command(name = program_name(LAYER1), version)]
struct Args {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

// Said as documentation, it would stand in the help instead of what the program is for.
#[derive(Debug, clap::Args)]
struct Flags {
    #[command(flatten)]
    places: PlaceFlags,
    #[command(flatten)]
    settings: SettingFlags,
    /// Keep nothing of what events say of a conversation that has no transcript [env: THREEFOLD_NO_JOURNAL]
    #[arg(long, help_heading = HELP_HEADING, global = true)]
    no_journal: bool,
    /// Pass nothing on and print nothing, except one message to the user when a copy fails
    #[arg(long, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
// Only the one that is called is built: starting the program is a good part of what it costs.
#[command(defer = true)]
enum Command {
    /// Copy every conversation whose file changed since its copy
    #[command(after_help = example("sweep"))]
    Sweep {
        /// Compare all contents, whether the files changed or not
        #[arg(long)]
        all: bool,
        /// Note in the store that the timer ran; the timer that `install --timer` sets says so
        #[arg(long)]
        timer: bool,
    },
    /// Say what is stored and what is not
    #[command(after_help = example("status --json"))]
    Status {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Read and hash everything again; exit 1 when anything is wrong
    #[command(after_help = example("verify --repair 8c1f04de"))]
    Verify {
        /// Session ids or unique prefixes; all sessions if none is given
        session: Vec<String>,
        /// Heal from the source or from layer 3's store where the hash proves them right
        #[arg(long)]
        repair: bool,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Keep the sessions of a Claude Agent SDK application: requests on stdin, answers on stdout
    #[command(after_help = example("session-store --adapter python"))]
    SessionStore {
        /// Directory of these sessions (default ~/.claude-sdk)
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Print the adapter for an application in this language
        #[arg(long, value_name = "LANGUAGE", value_parser = ADAPTERS.map(|(language, _)| language))]
        adapter: Option<String>,
    },
    /// List the generations of a session with size, time and hash
    #[command(after_help = example("history 8c1f04de"))]
    History {
        /// Session id or unique prefix
        session: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Where Claude Code says which session a hook is of.
const SESSION_ID: &str = "CLAUDE_CODE_SESSION_ID";

/// What stands below the help of a verb.
fn example(words: &str) -> String {
    format!("Example: {}", typed(LAYER1, words))
}

/// The command line, as completions and manual pages are made from it.
pub fn command_line() -> clap::Command {
    Args::command()
}

/// Parses `args` (the program's name first) and runs. Exit codes: 0 done, 1 refused or failed.
/// Never 2, which would block Claude Code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    crate::fs::signals::survive_file_size_limit(LAYER1);
    let args: Vec<OsString> = args.into_iter().collect();
    let (args, misunderstood) = match parsed(&args) {
        Ok(parsed) => parsed,
        Err(error) => {
            if error.use_stderr() {
                tell(error.render());
                return ExitCode::from(1);
            }
            // Nobody is left to tell if the streams are gone.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
    };
    let env = |name: &str| std::env::var_os(name);
    let Some(command) = args.command else {
        let quiet = args.flags.quiet;
        let configure: Configure = Arc::new(move |transcript| configure(&args, misunderstood.as_deref(), transcript));
        // A hook's stderr holds one line a failure; the words of a panic go into that line.
        std::panic::set_hook(Box::new(|_| {}));
        let ran = std::panic::catch_unwind(AssertUnwindSafe(|| {
            hook::run(quiet, &configure, io::stdin(), io::stdout(), io::stderr())
        }));
        if ran.is_err() {
            fail("failed to run the hook: an internal error; please report it");
        }
        return ExitCode::SUCCESS;
    };
    let (settings, problems) = Settings::gather(&env, &args.flags.settings);
    let is_hook = args.flags.quiet && !io::stdin().is_terminal();
    let (places, unusable) = if is_hook {
        Places::of_hook(&args.flags.places, &env, &settings, None)
    } else {
        (Places::resolve_with(&args.flags.places, &env, &settings), Vec::new())
    };
    let places = match places {
        Ok(places) => places,
        Err(error) => {
            let told = fail(&format!("failed to {error}"));
            return if is_hook { ExitCode::SUCCESS } else { told };
        }
    };
    let complaint = misunderstood.or_else(|| first_of(problems.iter().chain(&unusable)));
    if let Some(complaint) = complaint {
        // The sweep of a hook goes on; a person is asked to mend it first.
        let told = fail(&complaint);
        if !args.flags.quiet {
            return told;
        }
    }
    // The protocol of a session store, and the adapters, are for programs.
    let for_program = matches!(command, Command::SessionStore { .. });
    let (mut raw, mut shown) = (io::stdout(), Screen(io::stdout()));
    let out: &mut dyn Write = if for_program { &mut raw } else { &mut shown };
    match run_command(command, &places, args.flags.quiet, out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(InspectError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&format!("failed to {error}")),
    }
}

/// The arguments; of those of a hook what can be understood, and what is wrong with the rest.
fn parsed(args: &[OsString]) -> Result<(Args, Option<String>), clap::Error> {
    let program = clap::Command::new(program_name(LAYER1)).version(env!("CARGO_PKG_VERSION"));
    match arguments::parsed::<Args, Flags, Command>(program, args) {
        Ok(args) => Ok((args, None)),
        Err(error) if !error.use_stderr() || io::stdin().is_terminal() || program_name(LAYER1) != LAYER1 => Err(error),
        Err(error) => match arguments::understood::<Args>(args) {
            Some((args, problem)) if args.command.is_none() || args.flags.quiet => {
                Ok((args, Some(format!("failed to {problem}"))))
            }
            _ => Err(error),
        },
    }
}

/// What a hook goes by, whatever is wrong with what was said.
fn configure(args: &Args, misunderstood: Option<&str>, transcript: Option<&Path>) -> Result<HookConfig, String> {
    let env = |name: &str| std::env::var_os(name);
    let (settings, problems) = Settings::gather(&env, &args.flags.settings);
    let (places, unusable) = Places::of_hook(&args.flags.places, &env, &settings, transcript);
    let places = places.map_err(|error| format!("failed to {error}"))?;
    let wants_journal = settings.journal.unwrap_or(true) && !args.flags.no_journal;
    let complaint = misunderstood.map(str::to_owned);
    Ok(HookConfig {
        projects: places.projects(),
        store: places.layer1_store,
        journal: wants_journal && is_journal_possible(&env),
        temp_dir: std::env::temp_dir(),
        policy: places.policy,
        complaint: complaint.or_else(|| first_of(problems.iter().chain(&unusable))),
        home: places.home,
        session_id: std::env::var(SESSION_ID).ok(),
    })
}

fn first_of<'p>(mut problems: impl Iterator<Item = &'p SettingsError>) -> Option<String> {
    problems.next().map(|problem| format!("failed to {problem}"))
}

/// Only in interactive sessions, where a missing transcript is never what the user asked for
/// (`--no-session-persistence` works in print mode only), and not where prompt history is off.
fn is_journal_possible(env: &dyn Fn(&str) -> Option<OsString>) -> bool {
    let is_set = |name: &str| env(name).is_some_and(|value| !value.is_empty() && value != "0" && value != "false");
    env("CLAUDE_CODE_ENTRYPOINT").is_some_and(|value| value == "cli") && !is_set("CLAUDE_CODE_SKIP_PROMPT_HISTORY")
}

fn run_command(command: Command, places: &Places, quiet: bool, out: &mut dyn Write) -> Result<bool, InspectError> {
    let store: &Path = &places.layer1_store;
    if let Some(why) = places.away(store) {
        return Err(ArchiveError::Away(why).into());
    }
    match command {
        Command::Sweep { all, timer } => {
            let (projects, policy) = (projects_of(places), places.policy.clone());
            let config = SweepConfig { store: store.to_owned(), projects, all, progress: !quiet, policy };
            // As a hook it stands in a pipe; a person at a terminal has no event to give.
            let input = io::stdin();
            let report = if quiet && !input.is_terminal() {
                sweep::run_at_start(&config, input, hook::STDIN_LIMIT)?
            } else {
                sweep::run(&config, None)?
            };
            // As in the hook.
            let _ = places.note_disk(store);
            report_sweep(&report, quiet, out)?;
            if timer {
                timer_mark::record(store, timer_mark::SWEEP).map_err(ArchiveError::from)?;
            }
            Ok(report.failures.is_empty())
        }
        Command::Status { json } => status::status(
            store,
            &projects_of(places),
            places.not_kept(&std::env::temp_dir()),
            &places.policy.exclude,
            json,
            out,
        )
        .map(|()| true),
        Command::Verify { session, repair, json } => {
            let other = repair.then_some(places.layer3_store.as_path());
            let mut sources = projects_of(places);
            sources.push(places.home.join(SESSION_STORE));
            status::verify(store, other, (&places.policy, &sources), &session, json, out)
        }
        Command::SessionStore { adapter: Some(language), .. } => {
            let adapter = ADAPTERS.iter().find(|(name, _)| *name == language).map_or("", |(_, text)| text);
            out.write_all(adapter.as_bytes())?;
            Ok(true)
        }
        Command::SessionStore { dir, adapter: None } => {
            let dir = std::path::absolute(dir.unwrap_or_else(|| places.home.join(SESSION_STORE)))?;
            let config = SessionStoreConfig { store: store.to_owned(), dir, policy: places.policy.clone() };
            session_store::run(&config, io::stdin().lock(), out)?;
            Ok(true)
        }
        Command::History { session, json } => status::history(store, &session, json, out).map(|()| true),
    }
}

/// Every folder of transcripts that is kept.
fn projects_of(places: &Places) -> Vec<PathBuf> {
    places.all_claude_dirs().map(|dir| dir.join("projects")).collect()
}

fn report_sweep(report: &SweepReport, quiet: bool, out: &mut dyn Write) -> io::Result<()> {
    for failure in &report.failures {
        tell(format_args!("{}: warning: {failure}\n", program_name(LAYER1)));
    }
    if quiet {
        return Ok(());
    }
    writeln!(
        out,
        "{} transcripts, {} copied, {} new bytes, {} new generations, {} failures",
        report.seen,
        report.copied,
        report.bytes_added,
        report.generations_begun,
        report.failures.len()
    )
}

fn fail(text: &str) -> ExitCode {
    tell(format_args!("{}: {text}\n", program_name(LAYER1)));
    ExitCode::from(1)
}

fn tell(text: impl Display) {
    // As in `main`.
    let _ = write!(Screen(io::stderr()), "{text}");
}
