//! `offsite key rotate`: a new repository of this machine, with a master key of its own. A repository's master key encrypts
//! all that is in it and cannot be changed there: who has had it can read what is added too.
//!
//! The new repository is filled from the old one and proven as any other (seal, receipt, every conversation brought back)
//! before it takes the old one's place, which is one write. Until then all of it is known in a folder of its own, and
//! pushes go to the old one; whatever it is cut off at, the same command goes on. The old one stays until it is told to go.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use layer1_prebackup::fs::{self, Lock};
use layer1_prebackup::log::now_ms;
use layer1_prebackup::wire::offsite::{DRILLS, DRILLS_BYTES_MAX, Kind, ROTATING, State};

use super::check::{Extent, check};
use super::drill::{Which, drill};
use super::engine::Engine;
use super::key::Key;
use super::keys::{is_of, keys_of};
use super::push::{Reading, push};
use super::seal::Seal;
use super::setup::{id_of, keep_keys, write_card};
use super::site::{MET_BY_LOOKING, SetUp, Site, our_snapshots};
use super::snapshots::{Snapshot, repository_id, short_id, snapshots};
use super::trouble::{Trouble, is_of_content};
use crate::error::{Error, failed};

/// A new repository of which the making was cut off may be one that nobody can use: so many numbers are tried.
const TRIES: u32 = 4;
/// What a repository that is a directory has in it.
const OF_A_REPOSITORY: [&str; 6] = ["config", "data", "index", "keys", "locks", "snapshots"];

/// Shows the sheet of the new repository.
pub(crate) type Show<'a> = &'a mut dyn FnMut(&SetUp, &Key) -> Result<(), Error>;

/// Makes a new repository, fills and proves it, and lets it take the place of the one before. `show` is called before that
/// is filled. Gives the keys that were added (`key add`) and do not open it.
pub(crate) fn rotate(
    site: &Site<'_>,
    set_up: &mut SetUp,
    lock: &Lock,
    show: Show<'_>,
) -> Result<BTreeSet<String>, Error> {
    if site.options.key.changing().file.symlink_metadata().is_ok() {
        let change = site.typed("key change");
        return Err(format!("rotate the key: its change was begun and is not done; `{change}` goes on with it").into());
    }
    let key = site.options.key.read(&site.options.key_env(&site.settings.child_env))?;
    let key = key.ok_or("rotate the key: there is none")?;
    let folder = site.folder.join(ROTATING);
    let of_new = Site { folder: &folder, ..*site };
    let begun = of_new.state()?;
    if begun.as_ref().is_some_and(|begun| begun.repository == set_up.state.repository) {
        // It was cut off after the new one had become the one.
        show(set_up, &key)?;
        return site.noting(set_up, &MET_BY_LOOKING, |set_up| finish(site, set_up, lock, &folder));
    }
    let mut new = site.noting(set_up, &MET_BY_LOOKING, |set_up| begin(&of_new, set_up, lock, begun))?;
    show(&new, &key)?;
    site.noting(set_up, &MET_BY_LOOKING, |set_up| copy(site, set_up, &new, lock))?;
    push(&of_new, &mut new, lock, Reading::Changed)?;
    drill(&of_new, &mut new, lock, &Which::All)?;
    check(&of_new, &mut new, lock, Extent::NextPart)?;
    take_the_place(site, set_up, new, &folder)?;
    site.noting(set_up, &MET_BY_LOOKING, |set_up| finish(site, set_up, lock, &folder))
}

/// Makes the new repository, or finds the one that was begun. It is written down before it is made.
fn begin(of_new: &Site<'_>, set_up: &SetUp, lock: &Lock, begun: Option<State>) -> Result<SetUp, Error> {
    let engine = of_new.engine(&set_up.place, lock)?.copying_with(&of_new.options.key);
    let old = &set_up.state;
    our_snapshots(&engine, &set_up.repository(), old, &of_new.store_id()?)?;
    let goes_on = |begun: &State| {
        (&begun.place, &begun.name, &begun.writer) == (&old.place, &old.name, &old.writer)
            && begun.generation > old.generation
    };
    let mut state = begun.filter(goes_on).unwrap_or_else(|| unused(old, old.generation.max(1) + 1, of_new.folder));
    // What the old one has of pushes is older than the next one here, whichever was cut off.
    (state.pushes, state.push) = (state.pushes.max(old.pushes) + 1, String::new());
    for _ in 0..TRIES {
        state.write(of_new.store())?;
        let mut new = SetUp { state: state.clone(), place: set_up.place.clone() };
        if let Some(id) = made(&engine, set_up, &new)? {
            new.state.repository = id;
            new.state.write(of_new.store())?;
            return Ok(new);
        }
        state = unused(old, state.generation + 1, of_new.folder);
        state.pushes += 1;
    }
    let name = state.repository_name();
    Err(format!("make a new repository: what is called {name} at the place, and those before it, are not usable")
        .into())
}

/// What is known of a new repository: that nothing is in it.
fn unused(old: &State, generation: u32, folder: &Path) -> State {
    let mut state = State::set_up(&old.place, &old.name, "", &old.writer, now_ms()).kept_in(folder);
    (state.generation, state.pushes, state.machine) = (generation, old.pushes, old.machine.clone());
    (state.one_disk, state.max_age_ms) = (old.one_disk, old.max_age_ms);
    state
}

/// The id of the new repository; `None` where something else has its name. It has the old one's way of cutting files in
/// pieces, so that what grows is not sent twice.
fn made(engine: &Engine<'_>, old: &SetUp, new: &SetUp) -> Result<Option<String>, Error> {
    let repository = new.repository();
    match id_of(engine, &repository) {
        Ok(Some(id)) if id == new.state.repository => return Ok(Some(id)),
        // Making it was cut off before its id was noted.
        Ok(Some(id)) if new.state.repository.is_empty() => {
            return Ok(if snapshots(engine, &repository)?.is_empty() { Some(id) } else { None });
        }
        Ok(None) if new.state.repository.is_empty() => {}
        Ok(_) => return Ok(None),
        Err(error) if is_of(&error, &[Kind::WrongKey]) || is_of_content(&error) => return Ok(None),
        Err(error) => return Err(error),
    }
    let args = ["init", "--json", "--copy-chunker-params", "--from-repo", &old.repository()];
    match engine.text(&repository, &args) {
        // One whose making was cut off has keys and no configuration.
        Err(error) if is_of_content(&error) => Ok(None),
        Err(error) => Err(error),
        Ok(_) => repository_id(engine, &repository).map(Some),
    }
}

/// Copies what the new repository lacks of the old one's snapshots, and sees that each is there.
fn copy(site: &Site<'_>, old: &SetUp, new: &SetUp, lock: &Lock) -> Result<(), Error> {
    let engine = site.engine(&old.place, lock)?.copying_with(&site.options.key);
    let (from, to) = (old.repository(), new.repository());
    engine.unlock(&from)?;
    engine.unlock(&to)?;
    engine.text(&to, &["copy", "--from-repo", &from]).map_err(|error| match error.downcast::<Trouble>() {
        Ok(trouble) if trouble.is_of_content => {
            let what = format!("{}; `{}` looks after the old one", trouble.what, site.typed("repair"));
            Trouble { what, ..*trouble }.into()
        }
        Ok(trouble) => trouble.into(),
        Err(error) => error,
    })?;
    let copied: HashSet<(String, String)> = snapshots(&engine, &to)?.into_iter().map(content).collect();
    match snapshots(&engine, &from)?.into_iter().find(|snapshot| !copied.contains(&content(snapshot.clone()))) {
        None => Ok(()),
        Some(lacking) => {
            let what = format!("snapshot {} was not copied into {to}", short_id(&lacking.id));
            Err(Trouble::new(Kind::OffsiteFailed, what).into())
        }
    }
}

/// What stays the same of a snapshot that is copied.
fn content(snapshot: Snapshot) -> (String, String) {
    (snapshot.time, snapshot.tree)
}

/// Makes the new repository the one that is sent to, with one write.
fn take_the_place(site: &Site<'_>, set_up: &mut SetUp, new: SetUp, folder: &Path) -> Result<(), Error> {
    let old = &set_up.state;
    // Of no harm where it is cut off here: what waits, and what is to be drilled, is told of the one or of the other.
    if let Some(seal) = Seal::last_received(site.store(), folder) {
        seal.keep_as_received(site.store(), site.folder)?;
    }
    let drills = fs::read_own(site.store(), &folder.join(DRILLS), DRILLS_BYTES_MAX)?.unwrap_or_default();
    fs::replace_own(site.store(), &site.folder.join(DRILLS), &drills)?;
    let mut state = new.state.kept_in(site.folder);
    state.replaced.clone_from(&old.replaced);
    state.replaced.push(old.repository_name());
    // That its sheet is kept nobody has confirmed.
    (state.card_due, state.pulled_ms, state.set_up_ms) = (true, old.pulled_ms, old.set_up_ms);
    state.write(site.store())?;
    set_up.state = state;
    Ok(())
}

/// Tells the other machines, and tidies up.
fn finish(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock, folder: &Path) -> Result<BTreeSet<String>, Error> {
    let engine = site.engine(&set_up.place, lock)?;
    let added = |repository: &str| -> Result<BTreeSet<String>, Error> {
        Ok(keys_of(&engine, repository)?.iter().filter_map(|key| Some(key.added_as()?.to_owned())).collect())
    };
    let before = set_up.state.replaced.last().map(|name| added(&set_up.place.repository(name))).transpose()?;
    let lacking = &before.unwrap_or_default() - &added(&set_up.repository())?;
    keep_keys(site, &engine, set_up)?;
    if set_up.state.card_due {
        write_card(site, &engine, set_up)?;
    }
    let folder = site.store().join(folder);
    fs::empty_dir(&folder)?;
    fs::remove_dir(&folder)?;
    Ok(lacking)
}

/// Removes the repositories that others took the place of, once all of the one that there is came back equal. Gives those
/// whose emptied folders a person has to delete at the place.
pub(crate) fn drop_old(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock) -> Result<Vec<String>, Error> {
    push(site, set_up, lock, Reading::Changed)?;
    drill(site, set_up, lock, &Which::All)?;
    site.noting(set_up, &MET_BY_LOOKING, |set_up| {
        let engine = site.engine(&set_up.place, lock)?;
        let mut left = Vec::new();
        for name in set_up.state.replaced.clone() {
            if !drop_one(&engine, set_up, &name)? {
                left.push(name.clone());
            }
            set_up.state.replaced.retain(|replaced| *replaced != name);
            set_up.state.write(site.store())?;
        }
        Ok(left)
    })
}

/// Removes one; false where its folder is still there, with nothing in it.
fn drop_one(engine: &Engine<'_>, set_up: &SetUp, name: &str) -> Result<bool, Error> {
    let repository = set_up.place.repository(name);
    if let Some(place) = set_up.place.directory() {
        let folder = place.join(name);
        if !folder.exists() {
            return Ok(true);
        }
        // Half of it may be gone from a run that was cut off; what is no repository is not removed.
        let doing = || format!("read {}", folder.display());
        for entry in std::fs::read_dir(&folder).map_err(failed(doing()))? {
            let entry = entry.map_err(failed(doing()))?.file_name();
            if !OF_A_REPOSITORY.iter().any(|own| entry == *own) {
                return Err(format!("remove {}: {} in it is not restic's", folder.display(), entry.display()).into());
            }
        }
        fs::empty_dir(&folder)?;
        fs::remove_dir(&folder)?;
        return Ok(true);
    }
    if id_of(engine, &repository)?.is_none() {
        return Ok(true);
    }
    engine.unlock(&repository)?;
    let all = snapshots(engine, &repository)?;
    let ids: Vec<&str> = all.iter().map(|snapshot| snapshot.id.as_str()).collect();
    if !ids.is_empty() {
        engine.text(&repository, &[&["forget"], &ids[..]].concat())?;
        if let Some(kept) = snapshots(engine, &repository)?.first() {
            return Err(format!(
                "remove snapshot {} of {name}: the place kept it. A server that only takes lets nobody remove; its owner \
                 can, there",
                short_id(&kept.id)
            )
            .into());
        }
    }
    engine.text(&repository, &["prune", "--max-unused", "0"])?;
    Ok(false)
}
