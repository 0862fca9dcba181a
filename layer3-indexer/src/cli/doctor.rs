//! `doctor`: its arguments, and what it prints.

use std::path::PathBuf;

use clap::Args;
use layer1_prebackup::config::places::{PlaceFlags, Places};
use layer1_prebackup::fs::platform::MANAGED_SETTINGS_DIR;

use crate::cli::screen::{Screen, needing_person};
use crate::cli::setup::install_again;
use crate::cli::status::context;
use crate::failure::Failure;
use crate::health::checks::{Depth, examine};
use crate::health::context::Context;
use crate::health::fix::fix;
use crate::health::text::Renderer;

// The arguments of `doctor`. Said as documentation, it would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Fix what is safe to fix, then check again
    #[arg(long)]
    fix: bool,
    /// Do not send a synthetic conversation through the installed hooks
    #[arg(long)]
    no_round_trip: bool,
    /// The administrator's settings of Claude Code
    #[arg(long, value_name = "DIR", default_value = MANAGED_SETTINGS_DIR, hide_default_value = true)]
    managed_dir: PathBuf,
}

pub(super) fn run(
    places: Places,
    flags: &PlaceFlags,
    args: DoctorArgs,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let (managed_dir, round_trip) = (args.managed_dir, !args.no_round_trip);
    let context = Context { managed_dir, round_trip, ..context(places, flags) };
    let mut report = examine(&context, Depth::All);
    let mut sink = std::io::sink();
    let out: &mut dyn std::io::Write = if screen.json || screen.for_model { &mut sink } else { screen.out };
    if args.fix && install_again(flags, &context, &report.findings, out)? {
        report = examine(&context, Depth::All);
    }
    if args.fix {
        let mended = fix(&context, &report);
        if !mended.is_empty() {
            report = examine(&context, Depth::All);
            report.mended = mended;
        }
    }
    screen.answer(&report.doctor_json(), |terminal| {
        Renderer { report: &report, context: &context, terminal, verbose: true }.doctor()
    })?;
    needing_person(report.needing())
}
