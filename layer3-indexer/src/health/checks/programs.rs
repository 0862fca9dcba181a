//! The three programs: there, executable, working, and of one version.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use layer1_prebackup::fs::platform;
use layer1_prebackup::names::PROGRAMS;

use crate::health::child;
use crate::health::context::Context;
use crate::health::examination::Examination;
use crate::health::finding::{Kind, Subject};

/// How long a program may take to tell its version.
const VERSION_WAIT: Duration = Duration::from_secs(20);

/// Looks at the programs in the folders of those that the hooks name, or where install puts them.
pub(super) fn fit(examination: &mut Examination<'_>) {
    if examination.figures.hooks.state == "no-claude" {
        return examination.leave_unchecked(Subject::Programs, "Claude Code's directory does not exist".to_owned());
    }
    let named = examination.hooks.programs.iter();
    let mut folders: BTreeSet<PathBuf> = named.filter_map(|path| path.parent().map(Path::to_owned)).collect();
    if folders.is_empty() {
        folders.insert(examination.context.places.claude_dir.join("hooks"));
    }
    let summaries: Vec<String> = folders.iter().map(|folder| look_into(folder, examination)).collect();
    examination.summarise(Subject::Programs, summaries.join("; "));
}

fn look_into(folder: &Path, examination: &mut Examination<'_>) -> String {
    let mut versions: Vec<(PathBuf, String)> = Vec::new();
    for name in PROGRAMS {
        let path = folder.join(name);
        match version(examination.context, &path, name) {
            Ok(version) => versions.push((path, version)),
            Err((kind, what)) => examination.found(kind, what, &path),
        }
    }
    // Layer 3 comes last, and it is what reads what the others wrote.
    let reference = versions.last().map_or(env!("CARGO_PKG_VERSION").to_owned(), |(_, version)| version.clone());
    for (path, version) in versions.iter().filter(|(_, version)| *version != reference) {
        let what = format!("it is of version {version}, the others are of {reference}");
        examination.found(Kind::ProgramVersion, what, path);
    }
    let place = examination.context.short(folder);
    format!("{} of {} OK, version {reference}, in {place}", versions.len(), PROGRAMS.len())
}

/// The version that a program tells, or what is wrong with it.
fn version(context: &Context, path: &Path, name: &str) -> Result<String, (Kind, String)> {
    if !path.is_file() {
        return Err((Kind::ProgramMissing, "it is not there".to_owned()));
    }
    if !platform::is_program(path) {
        return Err((Kind::ProgramNotExecutable, "not executable".to_owned()));
    }
    let broken = |why: String| (Kind::ProgramBroken, format!("it does not tell its version: {why}"));
    let mut command = Command::new(path);
    command.arg("--version").env_clear().envs(context.vars.iter().cloned());
    let outcome = child::run(&mut command, b"", VERSION_WAIT).map_err(broken)?;
    let version = outcome.stdout.trim().strip_prefix(name).map(str::trim).filter(|version| !version.is_empty());
    match version {
        Some(version) if outcome.status.success() => Ok(version.to_owned()),
        _ => Err(broken(outcome.summary())),
    }
}
