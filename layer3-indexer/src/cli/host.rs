//! `--host`: the conversations of another computer of the third place. Layer 2 alone speaks with the place; what it
//! fetched and compared with what was sent is read here as any copy is.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs::platform::process::start_as;
use layer1_prebackup::names::{LAYER2, LAYER3, program_name};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::pass_on::program_dir;
use crate::failure::{Context, Failure, Kind};

/// What layer 2 answers to `list`, and this program to `list --host`: of each its host, project, session_id, files, bytes,
/// and when it last changed there.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) sessions: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Fetched {
    project: String,
    session_id: String,
    store: PathBuf,
}

/// What a computer has sent, newest first.
pub(super) fn list(places: &Places, host: &str) -> Result<Answer, Failure> {
    ask(places, &["list", host])
}

/// Has a conversation of another computer brought here; gives its name, and the places to read it from. What is written
/// for it goes to this computer's own places.
pub(super) fn fetch(places: &Places, host: &str, session: &str) -> Result<(Places, String), Failure> {
    let fetched: Fetched = ask(places, &["fetch", host, session])?;
    // There is one copy of it, and no index.
    let nothing = fetched.store.join(".second");
    let (layer1_store, index) = (fetched.store, nothing.join("sessions.db"));
    let there = Places { layer1_store, layer3_store: nothing, index, ..places.clone() };
    Ok((there, format!("{}/{}", fetched.project, fetched.session_id)))
}

/// Asks layer 2, which lies beside this program; what it has to say of a failure it says itself.
fn ask<T: for<'de> Deserialize<'de>>(places: &Places, words: &[&str]) -> Result<T, Failure> {
    let path = program_dir().context("find the folder of this program")?.join(LAYER2);
    let mut command = Command::new(&path);
    for (flag, place) in places.to_flags() {
        command.arg(flag).arg(place);
    }
    // So that it names what its reader has typed.
    let name = program_name(LAYER3);
    if name != LAYER3 {
        start_as(&mut command, name);
    }
    command.arg("offsite").args(words).stdin(Stdio::null()).stderr(Stdio::inherit());
    let said = command.output().context(format_args!("start {}", path.display()))?;
    if !said.status.success() {
        return Err(Failure::new(format!("ask {LAYER2}")).of(Kind::Told));
    }
    serde_json::from_slice(&said.stdout).context(format_args!("understand the answer of {LAYER2}"))
}
