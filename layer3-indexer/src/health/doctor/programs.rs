//! The three programs: there, executable, working, and of one version.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use layer1_prebackup::fs::platform;

use super::{Found, Patient, child, found, short};
use crate::health::status::Finding;
use crate::terminal::shell_quoted;

/// In the order of the layers.
const PROGRAMS: [&str; 3] = ["layer1-prebackup", "layer2-save-client", "layer3-indexer"];
/// How long a program may take to tell its version.
const VERSION_WAIT: Duration = Duration::from_secs(20);

/// Looks at the programs in the folders of those that the hooks name, or where install puts them.
pub(super) fn look(patient: &Patient, named: &[PathBuf], findings: &mut Vec<Found>) -> String {
    let mut folders: BTreeSet<PathBuf> = named.iter().filter_map(|path| path.parent().map(Path::to_owned)).collect();
    if folders.is_empty() {
        folders.insert(patient.places.claude_dir.join("hooks"));
    }
    let said: Vec<String> = folders.iter().map(|folder| look_into(patient, folder, findings)).collect();
    said.join("; ")
}

fn look_into(patient: &Patient, folder: &Path, findings: &mut Vec<Found>) -> String {
    let mut versions: Vec<(PathBuf, String)> = Vec::new();
    for name in PROGRAMS {
        let path = folder.join(name);
        match version(patient, &path, name) {
            Ok(version) => versions.push((path, version)),
            Err((kind, what, mend)) => {
                findings.push(found("programs", Finding::new(kind, true, what, &path).mend(mend)));
            }
        }
    }
    // Layer 3 comes last, and it is what reads what the others wrote.
    let reference = versions.last().map_or(env!("CARGO_PKG_VERSION").to_owned(), |(_, version)| version.clone());
    for (path, version) in versions.iter().filter(|(_, version)| *version != reference) {
        let what = format!("it is of version {version}, the others are of {reference}");
        findings.push(found(
            "programs",
            Finding::new("program-version", true, what, path).mend(patient.install_line_of(path)),
        ));
    }
    format!("{} of {} fit for use, version {reference}, in {}", versions.len(), PROGRAMS.len(), short(patient, folder))
}

/// The version that a program tells, or what is wrong with it: kind, words, and the command that mends it.
fn version(patient: &Patient, path: &Path, name: &str) -> Result<String, (&'static str, String, String)> {
    if !path.is_file() {
        return Err(("program-missing", "it is not there".to_owned(), patient.install_line_of(path)));
    }
    if !platform::is_program(path) {
        let mend = format!("chmod +x {}", shell_quoted(&path.to_string_lossy()));
        return Err(("program-not-executable", "it may not be executed".to_owned(), mend));
    }
    let broken =
        |why: String| ("program-broken", format!("it does not tell its version: {why}"), patient.install_line_of(path));
    let mut command = Command::new(path);
    command.arg("--version").env_clear().envs(patient.vars.iter().cloned());
    let outcome = child::run(&mut command, b"", VERSION_WAIT).map_err(broken)?;
    let version = outcome.stdout.trim().strip_prefix(name).map(str::trim).filter(|version| !version.is_empty());
    match version {
        Some(version) if outcome.status.success() => Ok(version.to_owned()),
        _ => Err(broken(outcome.told())),
    }
}
