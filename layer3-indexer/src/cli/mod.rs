//! The command line: what was typed, what it means, and what comes out. The only place of this
//! crate that reads the environment.
//!
//! 0: done. 1: refused, failed, or typed wrongly. Never 2, which would block Claude Code.

mod archive;
mod bare;
mod browser;
mod called;
mod compress;
mod doctor;
mod export;
mod find;
mod forget;
mod host;
mod import;
mod label;
mod list;
mod pager;
mod pass_on;
mod prune;
mod rebuild;
mod restore;
mod resume;
mod save;
mod screen;
mod search;
mod secrets;
mod serve;
mod setup;
mod show;
mod status;
mod verify;
mod why;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use layer1_prebackup::config::arguments;
use layer1_prebackup::config::places::{PlaceFlags, Places};
use layer1_prebackup::config::settings::{SettingFlags, Settings};
use layer1_prebackup::names::{LAYER3, program_name};

use crate::cli::pager::Pager;
use crate::cli::screen::{Screen, WhileRead, complain, example, terminal};
use crate::failure::{Context, Failure, Kind};
use crate::setup::{install, uninstall};
use crate::terminal::one_line;
use crate::{health, retention};

/// Threefold keeps every Claude Code conversation: find it, read it and go on with it
#[derive(Debug, Parser)]
#[command(name = program_name(LAYER3), version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

// Said as documentation, it would stand in the help instead of what the program is for.
#[derive(Debug, clap::Args)]
struct Flags {
    #[command(flatten)]
    places: PlaceFlags,
    #[command(flatten)]
    settings: SettingFlags,
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    json: bool,
    /// Shorten the answer to what Claude Code passes on to a model
    #[arg(long, global = true)]
    for_model: bool,
    /// Print long answers instead of showing them in a pager
    #[arg(long, global = true)]
    no_pager: bool,
}

#[derive(Debug, Subcommand)]
// Only the one that is called is built: starting the program is a good part of what it costs.
#[command(defer = true)]
enum Command {
    /// Run the MCP server `session-manager` on stdin and stdout (Claude Code starts it)
    #[command(after_help = example("serve --allow-root ~/.claude-work/projects"))]
    Serve(serve::ServeArgs),
    /// Save one conversation: a verified copy, its metadata, and the search index
    #[command(after_help = example("save --transcript 8c1f04de-1f0d-4b6e-9d0c-3a1b2c3d4e5f.jsonl"))]
    Save(save::SaveArgs),
    /// Save everything that Claude Code and layer 1 have
    #[command(after_help = example("import"))]
    Import,
    /// Search everything that was said
    #[command(after_help = example("search --all --since 7d 'connection refused'"))]
    Search(Box<search::SearchArgs>),
    /// List saved conversations, newest first
    #[command(after_help = example("list --all --since yesterday"))]
    List(list::ListArgs),
    /// Print a conversation
    #[command(after_help = example("show 8c1f04de --last 20"))]
    Show(show::ShowArgs),
    /// Give a conversation a name, to find it and to type instead of its id
    #[command(after_help = example("name 8c1f04de 'auth bug'"))]
    Name(label::NameArgs),
    /// Tag a conversation; `list --tag` and `search --tag` show what has a tag
    #[command(after_help = example("tag 8c1f04de work urgent"))]
    Tag(label::TagArgs),
    /// Pin a conversation; `list --pinned` shows what is pinned
    #[command(after_help = example("pin 8c1f04de"))]
    Pin(label::PinArgs),
    /// Write a note about a conversation
    #[command(after_help = example("note 8c1f04de 'the fix that worked'"))]
    Note(label::NoteArgs),
    /// Show which conversation wrote a line of a file, or last changed the file
    #[command(after_help = example("why src/parser.rs:42"))]
    Why(Box<why::WhyArgs>),
    /// Show what was run after this error before, and whether it helped
    #[command(after_help = example("fix --file src/parser.rs 'cannot borrow `line` as mutable'"))]
    Fix(Box<why::FixArgs>),
    /// Put a conversation back where Claude Code finds it
    #[command(after_help = example("restore --dry-run 8c1f04de"))]
    Restore(restore::RestoreArgs),
    /// Go on with a conversation: put back what is missing, then `claude --resume`
    #[command(after_help = example("resume 8c1f04de --before-compaction"))]
    Resume(resume::ResumeArgs),
    /// Write a conversation as one HTML page or as Markdown, or all of them as a folder of pages
    #[command(override_usage = export::usage(), after_help = example("export 8c1f04de --redact -o conversation.html"))]
    Export(export::ExportArgs),
    /// Read every saved file again and compare its hash
    #[command(after_help = example("verify --repair"))]
    Verify(verify::VerifyArgs),
    /// Rebuild the search index
    #[command(after_help = example("rebuild"))]
    Rebuild,
    /// Delete conversations or older versions from both copies; lists them and asks first
    #[command(after_long_help = retention::prune::help())]
    Prune(prune::PruneArgs),
    /// Delete a conversation from both copies for good, and never back it up again
    #[command(after_long_help = retention::forget::help())]
    Forget(forget::ForgetArgs),
    /// Tell which conversations hold passwords, keys and tokens, without printing them
    #[command(after_help = example("secrets --all"))]
    Secrets(secrets::SecretsArgs),
    /// Send what is saved here to a team's archive in PostgreSQL, masked, and say who may read it (docs/offsite.md)
    #[command(after_help = example("archive push postgres://anna@localhost/threefold"))]
    Archive(archive::ArchiveArgs),
    /// Compress old conversations in both copies; everything still works with them
    #[command(after_long_help = retention::compress::help())]
    Compress(retention::compress::CompressRequest),
    /// Show what is saved and what is not; exit code 1 if something needs you
    #[command(after_long_help = health::report::status_help())]
    Status(status::StatusArgs),
    /// Check the installation; exit code 1 if something is wrong
    #[command(after_long_help = health::report::doctor_help())]
    Doctor(doctor::DoctorArgs),
    /// Install the hooks, the MCP server, the skills and the command `threefold`, and save the conversations that exist
    #[command(after_help = example("setup --dry-run"))]
    Setup(install::Args),
    /// Remove what setup installed; saved conversations stay
    #[command(after_help = example("uninstall --keep-command"))]
    Uninstall(uninstall::Args),
    /// Print shell completions
    #[command(after_help = example("completions fish"))]
    Completions(setup::CompletionsArgs),
    /// What nothing typed means at a terminal
    #[command(skip)]
    Find,
    #[command(flatten)]
    PassedOn(pass_on::Verb),
}

impl Command {
    /// Whether it is over when nobody reads its answer any more: nothing is asked about a list that nobody could read.
    fn ends_unread(&self) -> bool {
        use Command::{Completions, Find, Fix, List, PassedOn, Search, Secrets, Serve, Show, Status, Why};
        match self {
            Search(_) | List(_) | Show(_) | Why(_) | Fix(_) | Secrets(_) | Status(_) | Completions(_) => true,
            Serve(_) | Find | PassedOn(_) => true,
            Command::Export(args) => args.is_to_stdout(),
            Command::Prune(args) => args.asks(),
            Command::Forget(args) => args.asks(),
            _ => false,
        }
    }
}

/// The command line, as completions and manual pages are made from it.
pub fn command_line() -> clap::Command {
    Cli::command()
}

/// Runs the program on its own arguments, environment and streams.
pub fn main() -> ExitCode {
    layer1_prebackup::fs::signals::survive_file_size_limit(LAYER3);
    // Not locked: `serve` writes to standard output from another thread.
    let mut out = io::stdout();
    let caught = panic::catch_unwind(AssertUnwindSafe(|| run(std::env::args_os(), &mut out)));
    // A panic printed what it is.
    match caught.unwrap_or(Ok(ExitCode::FAILURE)) {
        Ok(code) => code,
        Err(failure) if failure.is(Kind::BrokenPipe) => ExitCode::SUCCESS,
        Err(failure) if failure.is(Kind::Told) => ExitCode::FAILURE,
        Err(failure) => {
            for (nth, line) in failure.lines().iter().enumerate() {
                let line = one_line(line);
                if nth == 0 {
                    complain(&format!("{}: {line}", program_name(LAYER3)))
                } else {
                    complain(&format!("  {line}"))
                }
            }
            ExitCode::FAILURE
        }
    }
}

/// Runs one command; its answer goes to `out`, everything for people to stderr. Arguments that are
/// wrong are no failure: what they are was printed.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let args: Vec<OsString> = args.into_iter().collect();
    let program = clap::Command::new(program_name(LAYER3)).version(env!("CARGO_PKG_VERSION"));
    let cli = match arguments::parsed::<Cli, Flags, Command>(program, &args) {
        Ok(cli) => cli,
        Err(error) => return print_usage(&error, out),
    };
    let terminal = terminal();
    let is_watched = !cli.flags.json && terminal.interactive && io::stdin().is_terminal() && io::stderr().is_terminal();
    if cli.command.is_none() && !is_watched {
        return print_help(out);
    }
    let verb = cli.command.unwrap_or(Command::Find);
    let env = |name: &str| std::env::var_os(name);
    let (settings, problems) = Settings::gather(&env, &cli.flags.settings);
    if let Some(problem) = problems.into_iter().next() {
        // A server that did not start would keep every session from being saved.
        match verb {
            Command::Serve(_) => complain(&format!("{}: warning: failed to {problem}", program_name(LAYER3))),
            _ => return Err(problem.into()),
        }
    }
    let places = match verb {
        // As above: of what was said it takes what can be used.
        Command::Serve(_) => {
            let (places, unusable) = Places::of_hook(&cli.flags.places, &env, &settings, None);
            unusable
                .iter()
                .for_each(|problem| complain(&format!("{}: warning: failed to {problem}", program_name(LAYER3))));
            // Two stores that do not lie apart are not two copies, and no receipt may call them that.
            places.and_then(|places| {
                let flags = PlaceFlags {
                    claude_dir: Some(places.claude_dir.clone()),
                    pre_backup_dir: Some(places.layer1_store.clone()),
                    backup_dir: Some(places.layer3_store.clone()),
                    session_db: Some(places.index.clone()),
                };
                Places::resolve_with(&flags, &env, &settings).map(|_| places)
            })
        }
        _ => Places::resolve_with(&cli.flags.places, &env, &settings),
    };
    let places = places.map_err(|error| Failure::from(error).of(Kind::InvalidInput))?;
    let (json, for_model) = (cli.flags.json, cli.flags.for_model);
    let pager = Pager::of_environment(&terminal, cli.flags.no_pager);
    let mut while_read = WhileRead { out, is_read: true };
    let out: &mut dyn Write = if verb.ends_unread() { while_read.out } else { &mut while_read };
    let mut screen = Screen { out, terminal, json, for_model, pager, offset: 0 };
    let done = match verb {
        Command::Serve(args) => serve::run(places, args, &settings),
        other => command(other, places, (&cli.flags.places, &cli.flags.settings), &mut screen),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// What there is to type, for who typed no verb.
fn print_help(out: &mut dyn Write) -> Result<ExitCode, Failure> {
    write!(out, "{}", Cli::command().render_help()).and_then(|()| out.flush()).context("write to stdout")?;
    Ok(ExitCode::SUCCESS)
}

fn print_usage(error: &clap::Error, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    if error.use_stderr() {
        complain(error.render().to_string().trim_end());
        return Ok(ExitCode::FAILURE);
    }
    write!(out, "{}", error.render()).and_then(|()| out.flush()).context("write to stdout")?;
    Ok(ExitCode::SUCCESS)
}

fn command(
    command: Command,
    places: Places,
    (flags, settings): (&PlaceFlags, &SettingFlags),
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    match command {
        // It has no screen, and was called above.
        Command::Serve(_) => Ok(()),
        Command::Save(args) => save::run(&places, &args, screen),
        Command::Import => import::run(&places, screen),
        Command::Search(args) => search::run(&places, *args, screen),
        Command::List(args) => list::run(&places, args, screen),
        Command::Show(args) => show::run(&places, args, screen),
        Command::Name(args) => label::run_name(&places, args, screen),
        Command::Tag(args) => label::run_tag(&places, args, screen),
        Command::Pin(args) => label::run_pin(&places, args, screen),
        Command::Note(args) => label::run_note(&places, args, screen),
        Command::Why(args) => why::run(&places, *args, screen),
        Command::Fix(args) => why::run_fix(&places, *args, screen),
        Command::Restore(args) => restore::run(&places, args, screen),
        Command::Resume(args) => resume::run(&places, args, screen),
        Command::Export(args) => export::run(&places, &args, screen),
        Command::Verify(args) => verify::run(&places, &args, screen),
        Command::Rebuild => rebuild::run(&places, screen),
        Command::Prune(args) => prune::run(&places, args, screen),
        Command::Forget(args) => forget::run(&places, args, screen),
        Command::Secrets(args) => secrets::run(&places, args, screen),
        Command::Archive(args) => archive::run(&places, args, settings, screen),
        Command::Compress(args) => compress::run(&places, &args, screen),
        Command::Status(args) => status::run(places, flags, args, screen),
        Command::Doctor(args) => doctor::run(places, flags, args, screen),
        Command::Setup(args) => setup::run(flags, &args, screen),
        Command::Uninstall(args) => setup::run_uninstall(flags, &args, screen),
        Command::Completions(args) => setup::run_completions::<Cli>(&args, screen),
        Command::Find => bare::run(&places, screen),
        Command::PassedOn(verb) => verb.run(flags, settings, &places, screen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_arguments_stop_without_exit_code_2() {
        let mut out = Vec::new();
        let run_on = |args: &[&str], out: &mut Vec<u8>| run(args.iter().map(OsString::from), out);
        for args in [&["layer3-indexer", "bogus"][..], &["layer3-indexer", "search"]] {
            assert_eq!(run_on(args, &mut out).unwrap(), ExitCode::FAILURE, "{args:?}");
        }
        assert!(out.is_empty());
        for args in [&["layer3-indexer"][..], &["layer3-indexer", "--json"], &["layer3-indexer", "--help"]] {
            out.clear();
            assert_eq!(run_on(args, &mut out).unwrap(), ExitCode::SUCCESS, "{args:?}");
            assert!(String::from_utf8_lossy(&out).contains("\nCommands:\n"), "{args:?}");
        }
        assert!(run_on(&["layer3-indexer", "serve", "--help"], &mut out).is_ok());
        assert!(String::from_utf8(out).unwrap().contains("Usage: layer3-indexer"));
    }
}
