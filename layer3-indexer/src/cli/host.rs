//! `--host`: the conversations of another computer of the third place. Layer 2 alone speaks with the place; what it
//! fetched and compared with what was sent is read here as any copy is.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use layer1_prebackup::archive::Archive;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs::Dir;
use layer1_prebackup::fs::platform::process::start_as;
use layer1_prebackup::names::{LAYER2, LAYER3, program_name, typed};
use layer1_prebackup::wire::offsite::{FOLDER, PEERS};
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
    let fetched: Fetched = match ask(places, &["fetch", host, session]) {
        // What keeps the place from being asked was told.
        Err(failure) => return of_pulled(places, host, session)?.ok_or(failure),
        fetched => fetched?,
    };
    // There is one copy of it, and no index.
    let nothing = fetched.store.join(".second");
    let (layer1_store, index) = (fetched.store, nothing.join("sessions.db"));
    let there = Places { layer1_store, layer3_store: nothing, index, ..places.clone() };
    Ok((there, format!("{}/{}", fetched.project, fetched.session_id)))
}

/// The other computers of which something was pulled, or the one that is named, and the places to search it in.
pub(super) fn pulled(places: &Places, only: Option<&str>) -> Result<Vec<(String, Places)>, Failure> {
    let folder = places.layer1_store.join(FOLDER).join(PEERS);
    let mut found = Vec::new();
    if let Some(dir) = Dir::open_own(&folder).context(format_args!("read {}", folder.display()))? {
        for (name, kind) in dir.entries().context(format_args!("read {}", folder.display()))? {
            let Some(name) = name.to_str().filter(|name| kind.is_dir() && only.is_none_or(|only| only == *name)) else {
                continue;
            };
            // There is one copy of it.
            let layer3_store = folder.join(name);
            let (layer1_store, index) = (layer3_store.join(".second"), layer3_store.join("sessions.db"));
            found.push((name.to_owned(), Places { layer1_store, layer3_store, index, ..places.clone() }));
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    match only {
        Some(only) if found.is_empty() => {
            let pull = typed(LAYER2, "offsite pull");
            Err(Failure::new(format!("search {only:?}: nothing of it was pulled"))
                .hint(format!("`{pull}` brings it here")))
        }
        _ => Ok(found),
    }
}

/// The same of what was pulled; `None` where that holds no such conversation, or several.
fn of_pulled(places: &Places, host: &str, session: &str) -> Result<Option<(Places, String)>, Failure> {
    let Some((_, there)) = pulled(places, Some(host)).ok().and_then(|mut found| found.pop()) else { return Ok(None) };
    let Some(archive) = Archive::open(&there.layer3_store)? else { return Ok(None) };
    let names = archive.sessions()?.into_iter().map(|key| format!("{}/{}", key.project, key.id));
    let is_meant =
        |name: &String| name.split_once('/').is_some_and(|(_, id)| id.starts_with(session)) || *name == session;
    let mut meant: Vec<String> = names.filter(is_meant).collect();
    Ok(if meant.len() == 1 { meant.pop().map(|name| (there, name)) } else { None })
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
