//! `offsite key add`, `list` and `remove`: further keys of the same place, for a sheet in a safe or for somebody else.
//! None of them stays on this computer.
//!
//! A key is a file in each repository, so that each has to be given it. That may be cut off at any time: the new key is on the
//! disk until every repository knows it, its sheet is shown before any does, and the same command goes on with it.

use std::collections::{BTreeMap, BTreeSet};

use layer1_prebackup::fs::{self, Lock};
use layer1_prebackup::wire::offsite::{Kind, State, numbered};
use layer1_prebackup::wire::shown::shown;
use serde::Deserialize;
use serde_json::{Value, json};

use super::engine::Engine;
use super::key::{Key, KeySource};
use super::machines::cards;
use super::place::{MACHINES, Place, machine_name};
use super::setup::keep_keys;
use super::site::{MET_BY_LOOKING, SetUp, Site};
use super::snapshots::{Snapshot, local, repository_id, short_id};
use super::trouble::Trouble;
use crate::error::{Error, failed};

/// By what stands for the computer in a key that was added, and for the user its name.
const ADDED: &str = "threefold-added";
/// So many digits of a key's id name it.
const ID_DIGITS_MIN: usize = 8;

/// A key of a repository, as `restic` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Listed {
    /// Whether it is the one that opened the repository.
    pub(crate) current: bool,
    pub(crate) id: String,
    #[serde(default, rename = "userName")]
    user: String,
    #[serde(default, rename = "hostName")]
    host: String,
    #[serde(default)]
    created: String,
}

impl Listed {
    /// The name under which it was added.
    pub(crate) fn added_as(&self) -> Option<&str> {
        (!self.current && self.host == ADDED).then_some(self.user.as_str())
    }
}

/// A key of the place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OfPlace {
    /// The name under which it was added; of one that something else made its id.
    name: String,
    key: Listed,
    /// The repositories that it opens, and those that it does not open, by their names in the place.
    opens: BTreeSet<String>,
    lacks: BTreeSet<String>,
}

/// The addresses of the repositories of a place, by their names: with those that others took the place of, and of each
/// machine one that may be about to.
pub(crate) fn repositories(place: &Place, cards: &[Snapshot]) -> Vec<(String, String)> {
    let of_card = |card: &Snapshot| {
        let name = card.hostname.clone();
        (1..=card.generation().max(1) + 1).map(move |generation| numbered(&name, generation))
    };
    let names = std::iter::once(MACHINES.to_owned()).chain(cards.iter().flat_map(of_card));
    names.map(|name| (place.repository(&name), name)).collect()
}

/// The keys of a repository; none where it is not there any more.
pub(crate) fn keys_of(engine: &Engine<'_>, repository: &str) -> Result<Vec<Listed>, Error> {
    match engine.text(repository, &["key", "list", "--json", "--no-lock"]) {
        Err(error) if is_of(&error, &[Kind::NotMounted]) => Ok(Vec::new()),
        listed => serde_json::from_str(&listed?).map_err(failed("understand restic's answer to `key list`")),
    }
}

/// Takes keys of a repository away. That needs the repository unlocked: a lock there keeps nobody safe, because each
/// repository has one writer, and that one has a lock of its own on its machine. Those that stay are told by their files.
pub(crate) fn take_away(
    site: &Site<'_>,
    engine: &Engine<'_>,
    repository: &str,
    going: &[&Listed],
) -> Result<(), Error> {
    let mut taken_away = if going.is_empty() { Ok(()) } else { engine.unlock(repository) };
    for key in going {
        taken_away = taken_away.and_then(|()| engine.text(repository, &["key", "remove", &key.id]).map(drop));
        if taken_away.is_err() {
            site.report
                .warning(&format!("[offsite] a key still opens {repository}: its file there is keys/{}", key.id));
        }
    }
    taken_away
}

/// Whether a failure is one of these.
pub(crate) fn is_of(error: &Error, kinds: &[Kind]) -> bool {
    error.downcast_ref::<Trouble>().is_some_and(|trouble| kinds.contains(&trouble.kind))
}

/// An error where a change of the key was begun: it takes all other keys away.
fn refuse_within_a_change(site: &Site<'_>) -> Result<(), Error> {
    if site.options.key.changing().file.symlink_metadata().is_err() {
        return Ok(());
    }
    let change = site.typed("key change");
    Err(format!("add a key: a change of the key was begun and is not done; `{change}` goes on with it").into())
}

/// Adds a key under a name: a new one, or `words` where a sheet has one of that name already. `show` shows its sheet before
/// any repository knows it; an error of it leaves things as they are.
pub(crate) fn add(
    site: &Site<'_>,
    set_up: &mut SetUp,
    lock: &Lock,
    (name, words): (&str, Option<Key>),
    show: &mut dyn FnMut(&SetUp, &Key) -> Result<(), Error>,
) -> Result<(), Error> {
    let name = machine_name(name)?;
    refuse_within_a_change(site)?;
    let env = site.options.key_env(&site.settings.child_env);
    let own = site.options.key.read(&env)?.ok_or("add a key: there is none to open the place with")?;
    let begun = site.options.key.beside(&format!(".{name}.new"));
    let is_of_a_sheet = words.is_some();
    site.noting(set_up, &MET_BY_LOOKING, |set_up| {
        let engine = site.engine(&set_up.place, lock)?;
        let repositories = repositories(&set_up.place, &cards(&engine, &set_up.place)?);
        let key = match (begun.read(&env)?, words) {
            (Some(begun), None) => begun,
            (Some(begun), Some(words)) if begun == words => words,
            (Some(_), Some(_)) => return Err(unfinished(site, name)),
            (None, words) => {
                if !is_of_a_sheet {
                    refuse_taken(site, &engine, &repositories, name)?;
                }
                let key = words.map_or_else(Key::random, Ok)?;
                if key == own {
                    return Err("add a key: these words are the key of this computer".into());
                }
                begun.write(&key, &env)?;
                key
            }
        };
        show(set_up, &key)?;
        let opened = engine.with_key(&begun);
        for (repository, _) in &repositories {
            add_to(&engine, &opened, repository, (name, &begun))?;
        }
        keep_keys(site, &engine, set_up)
    })?;
    // Nothing of it stays here.
    fs::remove_file(&begun.file)?;
    Ok(())
}

fn unfinished(site: &Site<'_>, name: &str) -> Error {
    let add = site.typed(&format!("key add {name}"));
    format!("add a key: one of that name with other words was begun and is not done; `{add}` goes on with it").into()
}

fn refuse_taken(
    site: &Site<'_>,
    engine: &Engine<'_>,
    repositories: &[(String, String)],
    name: &str,
) -> Result<(), Error> {
    for (repository, _) in repositories {
        let taken = keys_of(engine, repository)?;
        if taken.iter().any(|key| key.added_as() == Some(name)) {
            let again = site.typed(&format!("key add {name} --words"));
            let remove = site.typed(&format!("key remove {name}"));
            return Err(format!(
                "add a key: one is called {name} already. `{again}` gives it to the repositories that it does not open \
                 yet, `{remove}` takes it away"
            )
            .into());
        }
    }
    Ok(())
}

/// Lets a key open a repository, and sees that it does. One that is not there any more has nothing to open.
fn add_to(engine: &Engine<'_>, opened: &Engine<'_>, repository: &str, new: (&str, &KeySource)) -> Result<(), Error> {
    let (name, source) = new;
    match repository_id(opened, repository) {
        Err(error) if is_of(&error, &[Kind::NotMounted]) => return Ok(()),
        Err(error) if is_of(&error, &[Kind::WrongKey]) => {}
        known => return known.map(drop),
    }
    let file = source.file.to_str().ok_or("add a key: the path of its file is not UTF-8")?;
    engine.text(repository, &["key", "add", "--new-password-file", file, "--user", name, "--host", ADDED])?;
    repository_id(opened, repository).map(drop)
}

/// All keys of the place, ours first.
pub(crate) fn list(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock) -> Result<Vec<OfPlace>, Error> {
    site.noting(set_up, &MET_BY_LOOKING, |set_up| {
        let engine = site.engine(&set_up.place, lock)?;
        let repositories = repositories(&set_up.place, &cards(&engine, &set_up.place)?);
        let mut keys: BTreeMap<(bool, String), OfPlace> = BTreeMap::new();
        let mut all = BTreeSet::new();
        for (repository, in_place) in &repositories {
            for key in keys_of(&engine, repository)? {
                all.insert(in_place.clone());
                let name = match key.added_as() {
                    Some(name) => name.to_owned(),
                    None => short_id(&key.id).to_owned(),
                };
                let is_other = !key.current;
                // Each computer has made a file of the one key.
                let of = if is_other { name.clone() } else { String::new() };
                let known = keys.entry((is_other, of)).or_insert_with(|| OfPlace {
                    name,
                    key,
                    opens: BTreeSet::new(),
                    lacks: BTreeSet::new(),
                });
                known.opens.insert(in_place.clone());
            }
        }
        let with_lacks = |mut key: OfPlace| {
            key.lacks = all.difference(&key.opens).cloned().collect();
            key
        };
        Ok(keys.into_values().map(with_lacks).collect())
    })
}

/// Takes away the key that was added under a name, or the one whose id begins so. Ours never goes.
pub(crate) fn remove(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock, typed: &str) -> Result<(), Error> {
    let is_id = typed.len() >= ID_DIGITS_MIN && typed.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id {
        machine_name(typed)?;
    }
    let begun = site.options.key.beside(&format!(".{typed}.new"));
    site.noting(set_up, &MET_BY_LOOKING, |set_up| {
        let engine = site.engine(&set_up.place, lock)?;
        let repositories = repositories(&set_up.place, &cards(&engine, &set_up.place)?);
        let is_meant = |key: &&Listed| key.added_as() == Some(typed) || (is_id && key.id.starts_with(typed));
        let (mut found, mut left) = (0, None);
        for (repository, _) in &repositories {
            let keys = keys_of(&engine, repository)?;
            let going: Vec<&Listed> = keys.iter().filter(is_meant).collect();
            if going.iter().any(|key| key.current) {
                let change = site.typed("key change");
                return Err(
                    format!("remove a key: {typed} is that of this computer; `{change}` makes a new one").into()
                );
            }
            found += going.len();
            left = left.or(take_away(site, &engine, repository, &going).err());
        }
        if found == 0 && begun.file.symlink_metadata().is_err() {
            let list = site.typed("key list");
            return Err(format!("remove a key: none is called {typed:?}; `{list}` shows all").into());
        }
        keep_keys(site, &engine, set_up)?;
        left.map_or(Ok(()), |why| Err(still_there(&why)))
    })?;
    // One that was begun to be added, and is not to be.
    fs::remove_file(&begun.file)?;
    Ok(())
}

fn still_there(why: &Error) -> Error {
    format!(
        "remove a key: it is still there. A server that only takes refuses it: let its owner delete the files that are \
         named above ({})",
        super::trouble::said(why)
    )
    .into()
}

impl OfPlace {
    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        let (is_own, added) = (self.key.current, self.key.added_as());
        json!({
            "name": added, "this_computer": is_own, "id": self.key.id, "made_at": self.key.created,
            "made_by": format!("{}@{}", self.key.user, self.key.host), "opens": self.opens, "does_not_open": self.lacks,
        })
    }

    /// For people.
    pub(crate) fn to_text(&self, state: &State, place_of_key: &str) -> String {
        let Listed { user, host, created, .. } = &self.key;
        let made = local(created);
        let what = match (self.key.current, self.key.added_as()) {
            (true, _) => format!("the key of {}, in {place_of_key}", state.place),
            (false, Some(name)) => format!("{name}: added {made}"),
            (false, None) => format!("{}: made {made} by {user}@{host}, not by `key add`", self.name),
        };
        let opens = |names: &BTreeSet<String>| {
            let machines: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != MACHINES).collect();
            machines.join(", ")
        };
        let lacks = match opens(&self.lacks) {
            lacks if lacks.is_empty() => String::new(),
            lacks => format!("; not {lacks}"),
        };
        format!("{}\n", shown(&format!("{what}; opens {}{lacks}", opens(&self.opens))))
    }
}
