//! `offsite key change`: a new key for all repositories of the place, and the old one opens none of them any more.
//!
//! It may be cut off at any time: the new key is on the disk before any repository knows it, every repository knows it
//! before it takes the place of the old one, and only then is the old one taken away.

use std::ffi::OsString;
use std::path::PathBuf;

use layer1_prebackup::fs::{self, Lock};
use layer1_prebackup::wire::offsite::Kind;
use serde::Deserialize;

use super::engine::Engine;
use super::key::{Key, KeySource};
use super::machines::names;
use super::place::{MACHINES, Place};
use super::setup::keep_keys;
use super::site::{MET_BY_LOOKING, SetUp, Site};
use super::trouble::Trouble;
use crate::error::{Error, failed};

/// Changes the key; gives the new one, and the other machines, which have to be told it.
pub(crate) fn change(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock) -> Result<(Key, Vec<String>), Error> {
    if let Some(command) = &site.options.key.command {
        return Err(format!(
            "change the key: it comes from offsite_key_command ({command}), which only you can change"
        )
        .into());
    }
    let env = site.options.key_env(&site.settings.child_env);
    let old = site.options.key.read(&env)?.ok_or("change the key: there is none")?;
    let next = KeySource { file: next_to(&site.options.key.file), command: None };
    let new = match next.read(&env)? {
        // A change that was cut off goes on.
        Some(begun) => begun,
        None => {
            let new = Key::random()?;
            next.write(&new, &env)?;
            new
        }
    };
    let others = site.noting(set_up, &MET_BY_LOOKING, |set_up| {
        let place = &set_up.place;
        let engine = site.engine(place, lock)?;
        let machines = names(&engine, place)?;
        let next_file = next.file.to_str().ok_or("change the key: the path of its file is not UTF-8")?;
        let all = repositories(place, &machines);
        if old != new {
            for repository in &all {
                add(&engine, repository, next_file)?;
            }
        }
        // From here on the new one is the key.
        fs::replace_file(&site.options.key.file, format!("{}\n", new.words().join(" ")).as_bytes())?;
        for repository in &all {
            take_others_away(&engine, repository)?;
        }
        keep_keys(site.store(), &engine, &place.repository(&set_up.state.name), place)?;
        Ok(machines.into_iter().filter(|name| *name != set_up.state.name).collect())
    })?;
    set_up.state.key_confirmed_ms = None;
    set_up.state.write(site.store())?;
    fs::remove_file(&next.file)?;
    Ok((new, others))
}

fn next_to(file: &std::path::Path) -> PathBuf {
    let mut name = file.file_name().map(OsString::from).unwrap_or_default();
    name.push(".new");
    file.with_file_name(name)
}

fn repositories(place: &Place, machines: &[String]) -> Vec<String> {
    std::iter::once(MACHINES).chain(machines.iter().map(String::as_str)).map(|name| place.repository(name)).collect()
}

/// Lets the new key open a repository. One that is not there any more has nothing to open; one that the old key does
/// not open knows the new one already, or is refused when that is used.
fn add(engine: &Engine<'_>, repository: &str, new: &str) -> Result<(), Error> {
    match engine.text(repository, &["key", "add", "--new-password-file", new]) {
        Err(error) if is_of(&error, &[Kind::NotMounted, Kind::WrongKey]) => Ok(()),
        done => done.map(drop),
    }
}

/// Takes away every key of a repository but the one that opened it. Taking one away needs the repository unlocked: a lock
/// there keeps nobody safe, because each repository has one writer, and that one has a lock of its own on its machine.
fn take_others_away(engine: &Engine<'_>, repository: &str) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Listed {
        current: bool,
        id: String,
    }
    let listed = match engine.text(repository, &["key", "list", "--json", "--no-lock"]) {
        Err(error) if is_of(&error, &[Kind::NotMounted]) => return Ok(()),
        listed => listed?,
    };
    let keys: Vec<Listed> =
        serde_json::from_str(&listed).map_err(failed("understand restic's answer to `key list`"))?;
    if keys.iter().any(|key| !key.current) {
        engine.unlock(repository)?;
    }
    for key in keys.iter().filter(|key| !key.current) {
        engine.text(repository, &["key", "remove", &key.id])?;
    }
    Ok(())
}

fn is_of(error: &Error, kinds: &[Kind]) -> bool {
    error.downcast_ref::<Trouble>().is_some_and(|trouble| kinds.contains(&trouble.kind))
}
