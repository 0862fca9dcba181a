//! `offsite key change`: a new key for all repositories of the place, and the old one opens none of them any more.
//!
//! It may be cut off at any time: the new key is on the disk before any repository knows it, every repository knows it
//! before it takes the place of the old one, and its sheet is shown before the old one is taken away. Whatever was cut
//! off or refused, the same command goes on with the same new key, and shows its sheet again.

use std::collections::BTreeSet;

use layer1_prebackup::fs::{self, Lock};
use layer1_prebackup::wire::offsite::Kind;

use super::engine::Engine;
use super::key::Key;
use super::keys::{Listed, is_of, keys_of, repositories, take_away};
use super::machines::cards;
use super::setup::keep_keys;
use super::site::{MET_BY_LOOKING, SetUp, Site};
use super::trouble::{Trouble, said};
use crate::error::Error;

/// Who has to be told of a new key.
pub(crate) struct Concerned {
    /// The other machines.
    pub(crate) machines: Vec<String>,
    /// The keys that were added (`key add`), which open nothing any more either.
    pub(crate) added: BTreeSet<String>,
}

/// Shows the new sheet.
pub(crate) type Show<'a> = &'a mut dyn FnMut(&SetUp, &Key, &Concerned) -> Result<(), Error>;

/// Changes the key. The new one is the key from the moment that its sheet is shown; an error after that is of the old one.
pub(crate) fn change(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock, show: Show<'_>) -> Result<(), Error> {
    if let Some(command) = &site.options.key.command {
        return Err(format!(
            "change the key: it comes from offsite_key_command ({command}), which only you can change"
        )
        .into());
    }
    let file = &site.options.key.file;
    if site.places.iter().any(|other| other.called.as_deref() != site.called && other.options.key.file == *file) {
        let file = file.display();
        return Err(
            format!("change the key: {file} is the key of another place too; give each a file of its own").into()
        );
    }
    let env = site.options.key_env(&site.settings.child_env);
    let old = site.options.key.read(&env)?.ok_or("change the key: there is none")?;
    let next = site.options.key.changing();
    let new = match next.read(&env)? {
        // A change that was cut off goes on.
        Some(begun) => begun,
        None => {
            let new = Key::random()?;
            next.write(&new, &env)?;
            new
        }
    };
    site.noting(set_up, &MET_BY_LOOKING, |set_up| {
        let place = &set_up.place;
        let engine = site.engine(place, lock)?;
        let cards = cards(&engine, place)?;
        let next_file = next.file.to_str().ok_or("change the key: the path of its file is not UTF-8")?;
        let all: Vec<String> = repositories(place, &cards).into_iter().map(|(repository, _)| repository).collect();
        if old != new {
            for repository in &all {
                add(&engine, repository, next_file)?;
            }
            // Before the key is another one: nobody has confirmed that its sheet is kept.
            set_up.state.key_confirmed_ms = None;
            set_up.state.write(site.store())?;
            // From here on the new one is the key.
            fs::replace_file(&site.options.key.file, &new.line())?;
        }
        let machines = cards.into_iter().map(|card| card.hostname).filter(|name| *name != set_up.state.name).collect();
        let keys: Vec<Vec<Listed>> =
            all.iter().map(|repository| keys_of(&engine, repository)).collect::<Result<_, Error>>()?;
        let added = keys.iter().flatten().filter_map(|key| Some(key.added_as()?.to_owned())).collect();
        show(set_up, &new, &Concerned { machines, added })?;
        let mut left: Vec<Error> = Vec::new();
        for (repository, keys) in all.iter().zip(&keys) {
            let others: Vec<&Listed> = keys.iter().filter(|key| !key.current).collect();
            left.extend(take_away(site, &engine, repository, &others).err());
        }
        let kept = keep_keys(site, &engine, set_up);
        left.into_iter().next().map_or(kept, |why| Err(still_opens(site, why)))
    })?;
    fs::remove_file(&next.file)?;
    Ok(())
}

/// The error that old keys are there still; which ones was told before.
fn still_opens(site: &Site<'_>, why: Error) -> Error {
    let again = site.typed("key change");
    let what = format!(
        "the new key and its sheet are valid, but the old key could not be taken away and opens the place too. A server \
         that only takes refuses it: let its owner delete the files that are named above, then type `{again}` once more ({})",
        said(&why)
    );
    match why.downcast::<Trouble>() {
        Ok(trouble) if trouble.kind != Kind::OffsiteFailed => Trouble { what, ..*trouble }.into(),
        // It keeps nothing else from working.
        _ => format!("change the key: {what}").into(),
    }
}

/// Lets the new key open a repository. One that is not there any more has nothing to open; one that the old key does
/// not open knows the new one already, or is refused when that is used.
fn add(engine: &Engine<'_>, repository: &str, new: &str) -> Result<(), Error> {
    match engine.text(repository, &["key", "add", "--new-password-file", new]) {
        Err(error) if is_of(&error, &[Kind::NotMounted, Kind::WrongKey]) => Ok(()),
        done => done.map(drop),
    }
}
