//! `cargo xtask`: installs, tests and checks Threefold. One verb, one file.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use xshell::Shell;

use crate::dev::{
    bench, dist, e2e_claude, faults, interop, offsite_tools, plugin, recall, record, soak, targets, test,
};
use crate::setup::origin::Origin;
use crate::setup::{doctor, install, uninstall};

mod dev;
mod release;
mod setup;
mod verb;

/// Installs, tests and checks Threefold.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Verb {
    /// Build, install the programs, hooks, MCP server and skills, and save the sessions that exist
    Install(install::Args),
    /// Make a plugin of Claude Code, to be installed where there is no source
    Plugin(plugin::Args),
    /// Make an archive with programs, skills, completions and manual pages that installs itself
    Dist(dist::Args),
    /// Remove what install wrote; saved sessions stay
    Uninstall(uninstall::Args),
    /// Look whether the installation does what it should: programs, hooks, server, stores, timer, a round trip
    Doctor(doctor::Args),
    /// Build, then run the format check, lints and every test; the last line counts them
    Test,
    /// Fail every system call of the programs, one after the other; `faults --help` tells more
    #[command(disable_help_flag = true)]
    Faults(faults::Args),
    /// Kill the whole chain at random instants, or send it weeks of events; `soak --help` tells more
    Soak(soak::Args),
    /// Measure the programs beside the older chain and other programs, or count instructions; `bench --help` tells more
    #[command(disable_help_flag = true)]
    Bench(bench::Args),
    /// Ask plain questions whose answers are known, and count how often the right conversation is found (needs network)
    Recall(recall::Args),
    /// What CI runs: test, then a check for every other system whose target is installed
    Ci,
    /// Draw the README's recording anew from what the programs print, or record a store of the first version
    Record(record::Args),
    /// Check that everything compiles for the other systems, as far as their targets are installed
    Targets,
    /// Drive the real client from npm through conversations that end in every way (needs npm and network)
    #[command(disable_help_flag = true)]
    E2eClaude(e2e_claude::Args),
    /// Check layer 3 against the MCP Inspector from npm (needs npm and network)
    Interop,
    /// Fetch what the tests of the off-site copy need: restic, and servers that keep a repository
    OffsiteTools,
}

/// Installs Threefold from the folder that this program lies in.
#[derive(Parser)]
#[command(name = "setup", version)]
enum SetupVerb {
    /// Install the programs, hooks, MCP server and skills, and save the sessions that exist
    #[command(mut_arg("binaries", |arg| arg.hide(true)))]
    Install(install::Args),
    /// Remove what install wrote; saved sessions stay
    Uninstall(uninstall::Args),
    /// Look whether the installation does what it should: programs, hooks, server, stores, timer, a round trip
    #[command(mut_arg("binaries", |arg| arg.hide(true)))]
    Doctor(doctor::Args),
}

fn main() -> ExitCode {
    let done = Origin::here().and_then(|origin| match origin {
        Origin::Workspace => run(&parse()?),
        Origin::Unpacked(_) => run_setup(&origin, &parse()?),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<verb::AlreadyTold>() => ExitCode::FAILURE,
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(usage) => {
                // There is nobody left to tell if the terminal is gone.
                let _ = usage.print();
                if usage.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
            }
            Err(error) => {
                eprintln!("error: failed to {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn parse<V: Parser>() -> Result<V> {
    Ok(V::try_parse()?)
}

fn run(verb: &Verb) -> Result<()> {
    let sh = Shell::new()?;
    sh.change_dir(release::workspace());
    match verb {
        Verb::Install(args) => install::run(&sh, &Origin::Workspace, args),
        Verb::Plugin(args) => plugin::run(&sh, args),
        Verb::Dist(args) => dist::run(&sh, args),
        Verb::Uninstall(args) => uninstall::run(&sh, &Origin::Workspace, args),
        Verb::Doctor(args) => doctor::run(&sh, &Origin::Workspace, args),
        Verb::Test => test::run(&sh),
        Verb::Ci => test::run_as_ci(&sh),
        Verb::Record(args) => record::run(&sh, args),
        Verb::Targets => targets::run(&sh),
        Verb::Faults(args) => faults::run(&sh, args),
        Verb::Soak(args) => soak::run(&sh, args),
        Verb::Bench(args) => bench::run(&sh, args),
        Verb::Recall(args) => recall::run(&sh, args),
        Verb::E2eClaude(args) => e2e_claude::run(&sh, args),
        Verb::Interop => interop::run(&sh),
        Verb::OffsiteTools => offsite_tools::fetch(&sh).map(drop),
    }
}

fn run_setup(origin: &Origin, verb: &SetupVerb) -> Result<()> {
    let sh = Shell::new()?;
    match verb {
        SetupVerb::Install(args) => install::run(&sh, origin, args),
        SetupVerb::Uninstall(args) => uninstall::run(&sh, origin, args),
        SetupVerb::Doctor(args) => doctor::run(&sh, origin, args),
    }
}
