//! The command line, and the only place that reads the environment.

use layer1_prebackup::config::child_env::ChildEnv;
use layer1_prebackup::log::in_one_line;
use layer1_prebackup::log::now_ms;
use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use layer1_prebackup::archive::{Archive, ArchiveError};
use layer1_prebackup::claude::timer_mark;
use layer1_prebackup::config::arguments;
use layer1_prebackup::config::places::{PlaceFlags, Places};
use layer1_prebackup::config::settings::{
    self as user_settings, ATTEMPTS_MAX, SettingFlags, SettingsError, XDG_CONFIG_HOME,
};
use layer1_prebackup::names::{LAYER2, SessionId, program_name, typed};
use layer1_prebackup::wire::event::Event;
use layer1_prebackup::wire::offsite::{State, folders};
use layer1_prebackup::wire::outbox_job::{Job, JobName};
use layer1_prebackup::wire::shown::shown;

use crate::deliver;
use crate::drain::{self, Reader};
use crate::error::{Error, failed};
use crate::hook;
use crate::interrupt::Interrupt;
use crate::offsite;
use crate::offsite::options::Options;
use crate::offsite::site::{Known, Sites};
use crate::outbox::Outbox;
use crate::pending;
use crate::ping;
use crate::report::Report;
use crate::settings::Settings;

/// `--wait`, where nothing is set: a machine may go away with a program that runs Claude Code.
const WAIT_DEFAULT: Duration = Duration::from_secs(1);
/// `--timeout`, where nothing is set.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// `--delay`, where nothing is set.
const DELAY_DEFAULT: Duration = Duration::from_secs(1);
/// `--attempts`, where nothing is set.
const ATTEMPTS_DEFAULT: u32 = 2;
const SESSION_ID_VARIABLE: &str = "CLAUDE_CODE_SESSION_ID";
/// How Claude Code was started: `cli` at a terminal.
const ENTRYPOINT_VARIABLE: &str = "CLAUDE_CODE_ENTRYPOINT";

/// Delivers Claude Code conversations to the MCP tool `session_save`, through a durable outbox.
///
/// Without a command it is a hook: it reads an event from stdin, writes a job, starts a
/// deliverer in the background, prints nothing and exits 0, whatever happens.
#[derive(Debug, Parser)]
#[command(name = program_name(LAYER2), version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Verb>,
    #[command(flatten)]
    flags: Flags,
}

/// The flags of them that say nothing of the third place.
const OF_DELIVERY: [&str; 7] = ["wait", "timeout", "delay", "attempts", "no_receipt", "foreground", "server"];

#[derive(Debug, clap::Args)]
struct Flags {
    /// How long the hook waits for the delivery before it leaves it to the background [default: 1s, at a terminal 0s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, global = true)]
    wait: Option<Duration>,
    /// How long the server may be silent: no answer and no progress [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, global = true)]
    timeout: Option<Duration>,
    /// The pause between two attempts [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, global = true)]
    delay: Option<Duration>,
    /// How often session_save is called at most [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(ATTEMPTS_MAX)), global = true)]
    attempts: Option<u32>,
    /// Accept a server that gives no receipts (another implementation of session_save)
    #[arg(long, global = true)]
    no_receipt: bool,
    /// Deliver in this process and log to stderr (debugging, tests)
    #[arg(long, global = true)]
    foreground: bool,
    /// The MCP server to start; takes all arguments that follow [default: layer3-indexer serve, beside this program]
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true, global = true)]
    server: Option<Vec<OsString>>,
    #[command(flatten)]
    places: PlaceFlags,
    #[command(flatten)]
    settings: SettingFlags,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
// Only the one that is called is built: starting the program is a good part of what it costs.
#[command(defer = true)]
enum Verb {
    /// Delivers all that is pending, and every session that layer 3 does not have yet
    #[command(after_help = example("drain --retry-failed"))]
    Drain {
        /// Also try the jobs that were set aside as failed
        #[arg(long)]
        retry_failed: bool,
        /// Note in the store that the timer ran; the timer that `install --timer` sets says so
        #[arg(long)]
        timer: bool,
    },
    /// Lists what is pending, with age, attempts and the last error
    #[command(after_help = example("pending --json"))]
    Pending {
        /// One JSON object: {"jobs": [...]}
        #[arg(long)]
        json: bool,
    },
    /// Stops telling of the jobs that were set aside as failed; a new event of the conversation tries again
    #[command(after_help = example("dismiss 8c1f04de"))]
    Dismiss {
        /// Sessions, by their id or its beginning, or names of files in the outbox; all if none is given
        session: Vec<String>,
    },
    /// Starts the server, asks for its name and its tools, and stops it: {"server": "…", "tools": […]} or {"error": "…"}
    #[command(after_help = example("ping --timeout 20s"))]
    Ping,
    /// The third place, beyond this disk and this machine (docs/offsite.md)
    #[command(after_help = example("offsite status"))]
    Offsite(offsite::verbs::Asked),
    /// Delivers all that is pending, without looking for more
    #[command(hide = true)]
    Deliver {
        /// Also try the jobs that were set aside as failed
        #[arg(long)]
        retry_failed: bool,
        /// A job that could not be written into the outbox: it is delivered before those that are there
        #[arg(long, value_name = "JSON")]
        job: Vec<String>,
    },
}

/// What stands below the help of a verb.
fn example(words: &str) -> String {
    format!("Example: {}", typed(LAYER2, words))
}

/// The command line, as completions and manual pages are made from it.
pub fn command_line() -> clap::Command {
    Cli::command()
}

/// Runs the program and gives its exit code: 0, or 1 when a command (not the hook) was refused
/// or failed. Never 2: that would block Claude Code. A panic in the hook or in `drain` is a 0 too.
pub fn main(args: impl Iterator<Item = OsString>) -> u8 {
    layer1_prebackup::fs::signals::survive_file_size_limit(LAYER2);
    let args: Vec<OsString> = args.collect();
    let on_failure = Cell::new(code_on_failure(&args));
    let run = AssertUnwindSafe(|| match parsed(&args) {
        Ok((cli, misunderstood)) => {
            if is_hook_program(&cli) {
                on_failure.set(0);
            }
            run(cli, misunderstood)
        }
        Err(error) => {
            if error.use_stderr() {
                eprint_line(error.render().to_string().trim_end());
            } else {
                // Nothing can be done about a closed stdout.
                let _ = error.print();
            }
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(()),
                _ => Err(()),
            }
        }
    });
    match catch_unwind(run) {
        Ok(Ok(())) => 0,
        Ok(Err(())) | Err(_) => on_failure.get(),
    }
}

/// An error or a help; that of the third place without the flags of a delivery.
fn told_of(args: &[OsString], error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::DisplayHelp || !args.iter().any(|arg| arg == "offsite") {
        return error;
    }
    let is_of_delivery = |arg: &clap::Arg| OF_DELIVERY.contains(&arg.get_id().as_str());
    let command = Cli::command().mut_args(|arg| if is_of_delivery(&arg) { arg.hide(true) } else { arg });
    command.try_get_matches_from(args).err().unwrap_or(error)
}

/// The arguments; of those of a hook what can be understood, and what is wrong with the rest.
fn parsed(args: &[OsString]) -> Result<(Cli, Option<SettingsError>), clap::Error> {
    let program = clap::Command::new(program_name(LAYER2)).version(env!("CARGO_PKG_VERSION"));
    match arguments::parsed::<Cli, Flags, Verb>(program, args) {
        Ok(cli) => Ok((cli, None)),
        Err(error) if !error.use_stderr() || std::io::stdin().is_terminal() || program_name(LAYER2) != LAYER2 => {
            Err(told_of(args, error))
        }
        Err(error) => match arguments::understood::<Cli>(args) {
            Some((cli, problem)) if matches!(cli.command, None | Some(Verb::Drain { .. })) => Ok((cli, Some(problem))),
            _ => Err(error),
        },
    }
}

/// What a failure exits with: 1 for a command that a person calls, 0 for the hook and, once its
/// arguments are accepted, for `drain`.
fn code_on_failure(args: &[OsString]) -> u8 {
    let before_server = args.iter().skip(1).take_while(|arg| *arg != "--server");
    let is = |verb: &str| before_server.clone().any(|arg| arg == OsStr::new(verb));
    u8::from(["drain", "pending", "dismiss", "ping", "offsite", "deliver", "help"].into_iter().any(is))
}

/// Whether a hook may have started it: all but what a person asks for.
fn is_hook_program(cli: &Cli) -> bool {
    !matches!(cli.command, Some(Verb::Pending { .. } | Verb::Dismiss { .. } | Verb::Ping | Verb::Offsite(_)))
}

/// `Err` when it failed, which was told. Whether the exit code shows it, [`main`] decides.
fn run(cli: Cli, misunderstood: Option<SettingsError>) -> Result<(), ()> {
    let is_hook_program = is_hook_program(&cli);
    let told = |error: &dyn std::error::Error| {
        eprint_line(&format!("{}: failed to {}", program_name(LAYER2), in_one_line(error)));
        Err(())
    };
    let env = |name: &str| std::env::var_os(name);
    let (set, problems) = user_settings::Settings::gather(&env, &cli.flags.settings);
    let event = cli.command.is_none().then(|| hook::read(std::io::stdin()));
    let (places, unusable) = if is_hook_program {
        let event = event.as_ref().and_then(|event| event.as_ref().ok());
        Places::of_hook(&cli.flags.places, &env, &set, event.and_then(|event| event.transcript_path.as_deref()))
    } else {
        (Places::resolve_with(&cli.flags.places, &env, &set), Vec::new())
    };
    let places = match places {
        Ok(places) => places,
        Err(error) => return told(&error),
    };
    if let (false, Some(why)) = (is_hook_program, places.away(&places.layer1_store)) {
        return told(&ArchiveError::Away(why));
    }
    let are_places_corrected = !problems.is_empty() || !unusable.is_empty();
    let problems: Vec<SettingsError> = misunderstood.into_iter().chain(problems).chain(unusable).collect();
    // Before anything is written there, a log line included. What else is wrong with the store is
    // told by those who need it.
    if let Err(error @ ArchiveError::NewerFormat { .. }) = Archive::open(&places.layer1_store) {
        return told(&error);
    }
    if let (Some(problem), false) = (problems.first(), is_hook_program) {
        return told(problem);
    }
    if let Some(Verb::Dismiss { session }) = &cli.command {
        let done = pending::dismiss(&Outbox::at(places.outbox()), session, now_ms(), &mut std::io::stdout().lock());
        return done.or_else(|error| told(&*error));
    }
    if let Some(Verb::Pending { json }) = cli.command {
        let shown = pending::run(&Outbox::at(places.outbox()), json, now_ms(), &mut std::io::stdout().lock());
        return shown.or_else(|error| told(&*error));
    }
    if cli.command == Some(Verb::Ping) {
        let asked = ping::run(&settings(&cli, places, &set, false), &mut std::io::stdout().lock());
        return match asked {
            Ok(true) => Ok(()),
            Ok(false) => Err(()),
            Err(error) => told(&*error),
        };
    }
    let report = Report::of_store(&places.layer1_store, cli.flags.foreground, places.policy.log_level);
    if let Some(problem) = problems.first() {
        report.warning(&format!("failed to {}", in_one_line(problem)));
    }
    let settings = settings(&cli, places, &set, are_places_corrected);
    let options = |called: Option<&str>| offsite_options(&set, &settings.places, called);
    let store = &settings.places.layer1_store;
    let known = |called: Option<&str>| Known::all(store, &set, called, &options);
    if let Some(Verb::Offsite(asked)) = &cli.command {
        let ran = run_offsite(asked, &settings, &known(asked.called.as_deref()), &report);
        return match ran {
            Ok(true) => Ok(()),
            Ok(false) => Err(()),
            Err(error) => told(&*error),
        };
    }
    let done = catch_unwind(AssertUnwindSafe(|| execute(&cli, event, &settings, &known, &report)));
    report.tell_shortcomings();
    let failure = match done {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => {
            let failure = format!("failed to {}", in_one_line(&*error));
            report.warning(&failure);
            failure
        }
        // The panic hook has told where and why on stderr.
        Err(_) => {
            let failure = "failed: this program panicked; what was in the outbox is still there";
            report.line_with_time(failure);
            failure.to_owned()
        }
    };
    tell_of_drain(&cli, &failure, &Outbox::at(settings.places.outbox()));
    Err(())
}

/// The start of a session is where the user hears of what is wrong with this layer.
fn tell_of_drain(cli: &Cli, failure: &str, outbox: &Outbox) {
    let Some(Verb::Drain { timer, .. }) = cli.command else { return };
    // A person has read it on stderr.
    if reader(timer) == Reader::Hook && outbox.is_news(failure) {
        let message = format!("Threefold: conversations may not be saved a second time: {failure}");
        // Nothing can be done about a closed stdout.
        let _ = drain::tell(&message, &mut std::io::stdout().lock());
    }
}

/// Claude Code never gives a hook a terminal.
fn reader(is_timer: bool) -> Reader {
    match is_timer {
        true => Reader::Nobody,
        false if std::io::stdout().is_terminal() => Reader::Person,
        false => Reader::Hook,
    }
}

fn offsite_options(set: &user_settings::Settings, places: &Places, called: Option<&str>) -> Options {
    let config_home = std::env::var_os(XDG_CONFIG_HOME).map(PathBuf::from).filter(|path| path.is_absolute());
    let config_home = config_home.unwrap_or_else(|| places.home.join(".config"));
    Options::resolve(&set.offsite_of(called), called, (&places.home, &config_home), std::env::vars_os())
}

/// Whether all is well.
fn run_offsite(
    asked: &offsite::verbs::Asked,
    settings: &Settings,
    places: &[Known],
    report: &Report,
) -> Result<bool, Error> {
    let (interrupt, path) = (Interrupt::listen_or_not(), std::env::var_os("PATH").unwrap_or_default());
    let sites = Sites { settings, places, interrupt: &interrupt, report, path: &path };
    let is_well = offsite::verbs::run(&sites, asked, &mut std::io::stdout().lock())?;
    if offsite::verbs::is_restore(asked) && is_well {
        // The second copy, and the index.
        drain::run(settings, report, Reader::Nobody, &mut std::io::sink())?;
        print!("{}", offsite::verbs::after_restore());
    }
    Ok(is_well)
}

/// What is due of the third place, behind what was delivered. A session's start does not wait for it; the timer does,
/// because what it leaves running may be ended with it.
fn offsite_due(settings: &Settings, known: &dyn Fn(Option<&str>) -> Vec<Known>, report: &Report, waits: bool) {
    let store = &settings.places.layer1_store;
    // Where nothing was set up, nothing is started.
    if folders(store).iter().any(|folder| !matches!(State::read_in(store, folder), Ok(None))) {
        let places = known(None);
        let env = places.first().map(|first| first.options.key_env(&settings.child_env)).unwrap_or_default();
        let done = match waits {
            true => run_offsite(&offsite::verbs::Asked::due(), settings, &places, report).map(drop),
            false => offsite::due::start_detached(settings, &env),
        };
        if let Err(error) = done {
            report.line_with_time(&format!("[offsite] failed to {}", in_one_line(&*error)));
        }
    }
}

fn execute(
    cli: &Cli,
    event: Option<Result<Event, Error>>,
    settings: &Settings,
    known: &dyn Fn(Option<&str>) -> Vec<Known>,
    report: &Report,
) -> Result<(), Error> {
    match &cli.command {
        None => {
            let session_id = std::env::var(SESSION_ID_VARIABLE).ok().filter(|id| !id.is_empty());
            let event = event.unwrap_or_else(|| hook::read(std::io::stdin()));
            hook::run(event, session_id.as_deref(), settings.wait, settings, report)
        }
        Some(Verb::Drain { timer, .. }) => {
            drain::run(settings, report, reader(*timer), &mut std::io::stdout().lock())?;
            if *timer {
                timer_mark::record(&settings.places.layer1_store, timer_mark::DRAIN)?;
            }
            offsite_due(settings, known, report, *timer);
            Ok(())
        }
        Some(Verb::Deliver { job, .. }) => {
            let interrupt = Interrupt::listen_or_not();
            let unkept = job.iter().map(|job| {
                let job: Job = serde_json::from_str(job).map_err(failed("read a job"))?;
                let id = SessionId::parse(&job.session_id)?;
                Ok((JobName::of(&id, job.project.as_deref(), &job.transcript_path), job))
            });
            deliver::with_unkept(settings, report, &interrupt, unkept.collect::<Result<_, Error>>()?)
        }
        Some(Verb::Pending { .. } | Verb::Dismiss { .. } | Verb::Ping | Verb::Offsite(_)) => Ok(()),
    }
}

fn settings(cli: &Cli, places: Places, set: &user_settings::Settings, are_places_corrected: bool) -> Settings {
    let retry_failed =
        matches!(cli.command, Some(Verb::Drain { retry_failed: true, .. } | Verb::Deliver { retry_failed: true, .. }));
    let child_env = ChildEnv::from_vars(std::env::vars_os(), &places);
    Settings {
        places,
        wait: cli.flags.wait.or(set.wait).unwrap_or(wait_default(std::env::var_os(ENTRYPOINT_VARIABLE).as_deref())),
        attempts: cli.flags.attempts.or(set.attempts).unwrap_or(ATTEMPTS_DEFAULT),
        timeout: cli.flags.timeout.or(set.timeout).unwrap_or(TIMEOUT_DEFAULT),
        delay: cli.flags.delay.or(set.delay).unwrap_or(DELAY_DEFAULT),
        no_receipt: cli.flags.no_receipt,
        retry_failed,
        foreground: cli.flags.foreground,
        server: cli.flags.server.clone(),
        typed: cli.flags.settings.to_args(),
        program: own_path(),
        are_places_corrected,
        child_env,
    }
}

/// A person at a terminal waits for the hook, with a prompt before her when it ends: the first copy is made, and that the
/// second is owed is on the disk. Where nobody does, the second one is waited for.
fn wait_default(entrypoint: Option<&OsStr>) -> Duration {
    if entrypoint.is_some_and(|started| started == "cli") { Duration::ZERO } else { WAIT_DEFAULT }
}

/// This program's path. An update may have replaced the file while a hook waited for its event:
/// then Linux calls the path deleted, and the new program under the same name does the work.
fn own_path() -> PathBuf {
    // Without its own path the program finds neither the server nor itself; the message says so.
    let path = std::env::current_exe().unwrap_or_else(|_| PathBuf::from(LAYER2));
    match path.to_str().and_then(|text| text.strip_suffix(" (deleted)")) {
        Some(replaced) if !path.exists() => replaced.into(),
        _ => path,
    }
}

fn eprint_line(text: &str) {
    // Nothing can be done about a closed stderr.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{}\n", shown(text)).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(std::iter::once("layer2-save-client").chain(line.split_whitespace())).unwrap()
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_the_third_place_has_no_flags_of_a_delivery() {
        let help = |line: &str| {
            let args: Vec<OsString> = std::iter::once("x").chain(line.split_whitespace()).map(OsString::from).collect();
            parsed(&args).map(drop).unwrap_err().to_string()
        };
        for line in ["offsite --help", "offsite push --help", "help offsite"] {
            let text = help(line);
            assert!(text.contains("--pre-backup-dir") && !text.contains("--attempts"), "{text}");
        }
        assert!(help("drain --help").contains("--attempts"));
    }

    #[test]
    fn server_takes_the_rest() {
        let cli = parse("--wait 500ms --server node x.js --wait 3s drain --help");
        assert_eq!(cli.flags.server.unwrap(), ["node", "x.js", "--wait", "3s", "drain", "--help"]);
        assert_eq!(cli.flags.wait, Some(Duration::from_millis(500)));
        assert_eq!(cli.command, None);
        let cli = parse("drain --retry-failed --timeout 2m --server /bin/sh -c true");
        assert_eq!(cli.flags.server.unwrap(), ["/bin/sh", "-c", "true"]);
        assert_eq!(cli.flags.timeout, Some(Duration::from_secs(120)));
        assert_eq!(cli.command, Some(Verb::Drain { retry_failed: true, timer: false }));
    }

    #[test]
    fn flags_of_places_go_anywhere() {
        let before = parse("--backup-dir /b pending --json");
        let after = parse("pending --json --backup-dir /b");
        assert_eq!(before.flags.places.backup_dir, after.flags.places.backup_dir);
        assert_eq!(after.command, Some(Verb::Pending { json: true }));
    }
}
