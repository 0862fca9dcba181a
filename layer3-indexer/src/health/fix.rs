//! Mending what can be mended without harm: nothing is overwritten, nothing is deleted, and no file
//! of Claude Code's or the user's is changed.
//!
//! Hooks, skills and the server's registration are not mended here, because only the room `setup`
//! knows how to change those files: `doctor --fix` of the installed program calls it first.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use layer1_prebackup::fs;
use layer1_prebackup::names::{LAYER1, LAYER2};

use super::child;
use super::context::Context;
use super::finding::{Finding, Remedy};
use super::report::{Mended, Report};
use crate::failure::chain;
use crate::save::rebuild;
use crate::terminal;

/// How long a delivery of all that is pending may take.
const DELIVERY_WAIT: Duration = Duration::from_secs(600);

/// Does what is safe about what was found, programs first, the index last.
pub(crate) fn fix(context: &Context, report: &Report) -> Vec<Mended> {
    let programs = report.programs.as_path();
    let findings = report.findings.iter();
    let mut wanted: Vec<(Remedy, &Finding)> =
        findings.filter_map(|finding| Some((finding.kind.remedy()?, finding))).collect();
    wanted.sort_by_key(|(remedy, _)| *remedy);
    let mut delivered: Option<Result<String, String>> = None;
    let mut mended = Vec::new();
    for (remedy, finding) in wanted {
        let place = finding.place.as_path();
        let done = match remedy {
            Remedy::MakeExecutable => add_mode(place, 0o755),
            Remedy::KeepPrivate => set_mode(place, 0o700),
            Remedy::MakeStore => make_store(context, programs, place, finding.needs_person),
            // One delivery is of all jobs.
            Remedy::Deliver => delivered.get_or_insert_with(|| deliver(context, programs)).clone(),
            Remedy::RebuildIndex => rebuild_index(context),
        };
        let (done, said) = match done {
            Ok(said) => (true, said),
            Err(why) => (false, format!("failed to {why}")),
        };
        mended.push(Mended { kind: finding.kind, place: place.to_owned(), done, said });
    }
    mended
}

fn add_mode(path: &Path, bits: u32) -> Result<String, String> {
    let mode = path.metadata().map(|meta| meta.permissions().mode() & 0o7777);
    let mode = mode.map_err(|error| format!("look at {}: {error}", path.display()))?;
    set_mode(path, mode | bits)
}

fn set_mode(path: &Path, mode: u32) -> Result<String, String> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(|error| format!("change the mode of {}: {error}", path.display()))?;
    Ok(format!("its mode is {mode:o}"))
}

/// Makes the directory and, where the other store holds sessions, has them brought back.
fn make_store(context: &Context, programs: &Path, path: &Path, refill: bool) -> Result<String, String> {
    fs::Dir::create(path).map_err(|error| chain(&error))?;
    if !refill {
        return Ok("made".to_owned());
    }
    if path == context.places.layer1_store {
        run(context, programs, LAYER1, &["sweep", "--quiet", "--all"])?;
        return Ok("made, and filled with what Claude Code still has".to_owned());
    }
    deliver(context, programs).map(|_| "made, and filled from the other store".to_owned())
}

fn deliver(context: &Context, programs: &Path) -> Result<String, String> {
    run(context, programs, LAYER2, &["drain", "--foreground", "--retry-failed"])?;
    Ok("delivered what was pending".to_owned())
}

fn rebuild_index(context: &Context) -> Result<String, String> {
    let rebuilt = rebuild::rebuild(&context.places, &|_, _| {}).map_err(|failure| failure.to_string())?;
    Ok(format!("made again: {}", terminal::count(rebuilt.messages, "message")))
}

/// Runs an installed program on the places that are looked at.
fn run(context: &Context, programs: &Path, name: &str, args: &[&str]) -> Result<(), String> {
    let program = programs.join(name);
    let mut command = Command::new(&program);
    command.env_clear().envs(context.vars.iter().cloned());
    for (flag, place) in context.places.to_flags() {
        command.arg(flag).arg(place);
    }
    let failed = |why: String| format!("run {} {}: {why}", program.display(), args.join(" "));
    let outcome = child::run(command.args(args), b"", DELIVERY_WAIT).map_err(failed)?;
    if outcome.status.success() { Ok(()) } else { Err(failed(outcome.summary())) }
}
