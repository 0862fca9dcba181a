//! `why` and `fix`: their arguments, and what they print.

use clap::Args;
use layer1_prebackup::config::child_env::ChildEnv;
use layer1_prebackup::config::places::Places;

use crate::browse::why::{self, WhyRequest};
use crate::cli::screen::{Scope, Screen, here};
use crate::failure::Failure;

// Said as documentation, these would stand in the help instead of what the commands are for.
#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// The file, which may be one that is gone; of a line or some lines of it, FILE:LINE or FILE:FIRST-LAST
    #[arg(value_name = "FILE[:LINE]")]
    file: String,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    request: WhyRequest,
}

#[derive(Debug, Args)]
pub(super) struct FixArgs {
    /// The error, as it was printed; behind `--` if it begins with -
    #[arg(required = true)]
    error: Vec<String>,
    /// Only in conversations that read or changed this file
    #[arg(long, value_name = "PATH")]
    file: Option<String>,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    request: WhyRequest,
}

/// Runs `why`.
pub(super) fn run(places: &Places, args: WhyArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let WhyArgs { file, scope, request } = args;
    answer(places, WhyRequest { file: Some(file), ..request }, scope, screen)
}

/// Runs `fix`.
pub(super) fn run_fix(places: &Places, args: FixArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let FixArgs { error, file, scope, request } = args;
    answer(places, WhyRequest { error: Some(error.join(" ")), file, ..request }, scope, screen)
}

fn answer(places: &Places, request: WhyRequest, scope: Scope, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let Scope { project, all } = scope;
    let request = WhyRequest {
        project,
        all: Some(all),
        here: here(places),
        // Without one, where the project lies.
        from: std::env::current_dir().ok(),
        env: child_env(places),
        ..request
    };
    let answer = why::why(places, &request)?;
    screen.offset = request.passed_over();
    screen.long_answer(&answer, |terminal| why::to_text(&answer, &request, terminal))
}

/// What git is started with.
pub(super) fn child_env(places: &Places) -> ChildEnv {
    ChildEnv::from_vars(std::env::vars_os(), places)
}
