//! `offsite repair`: what the place lost is sent again. The store is the source: it has all that the newest snapshot
//! should have.

use std::path::Path;

use layer1_prebackup::fs::{Dir, Lock, remove_file};
use layer1_prebackup::log::now_ms;
use layer1_prebackup::wire::offsite::{FOLDER, Kind};

use super::check::{Extent, check, read_data};
use super::drill::{Line, Which, drill};
use super::push::{Pushed, Reading, push};
use super::put_back::{drop_unreadable, put_back, unreadable_snapshots, with_copies};
use super::site::{MET_BY_LOOKING, SetUp, Site, our_snapshots};
use crate::error::{Error, failed};

/// Where `restic` leaves what it could save of broken packs, in [`FOLDER`]; it is removed afterwards.
const SALVAGE: &str = "salvage";

/// What was done.
#[derive(Debug)]
pub(crate) struct Repaired {
    /// Packs that were broken.
    pub(crate) packs: usize,
    pub(crate) pushed: Pushed,
    /// Every session, brought back.
    pub(crate) drilled: Vec<Line>,
    /// What is still wrong, with older snapshots alone.
    pub(crate) left: String,
}

/// What is done about older snapshots of which something is lost that the store has no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// They stay as they are, and their errors with them.
    Stay,
    /// What is lost is taken out of them.
    Dropped,
}

/// Finds broken packs, takes them out, reads the whole store again and sends what is missing, and brings everything back.
pub(crate) fn repair(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock, broken: Broken) -> Result<Repaired, Error> {
    let packs = site.noting(set_up, &MET_BY_LOOKING, |set_up| {
        let engine = site.engine(&set_up.place, lock)?;
        put_back(site, set_up, &engine)?;
        let repository = set_up.place.repository(&set_up.state.name);
        let ours = our_snapshots(&engine, &repository, &set_up.state, &site.store_id()?);
        ours.map_err(|error| with_copies(error, site, set_up))?;
        // Packs that are gone are taken out of the index first: what is left can be read then.
        let before = read_data(&engine, &repository, None)?;
        engine.text(&repository, &["repair", "index"])?;
        if !before.broken_packs.is_empty() {
            let salvage = Dir::create_own(site.store())?.create_own_beneath(&Path::new(FOLDER).join(SALVAGE))?;
            let packs: Vec<&str> = before.broken_packs.iter().map(String::as_str).collect();
            let args = [&["repair", "packs"], &packs[..]].concat();
            let done = engine.in_folder(salvage.path()).text(&repository, &args);
            empty(&salvage)?;
            done.map_err(failed("take broken packs out"))?;
        }
        Ok(before.broken_packs.len())
    })?;
    let pushed = push(site, set_up, lock, Reading::All)?;
    let mut unreadable_left = Vec::new();
    if broken == Broken::Dropped {
        site.noting(set_up, &MET_BY_LOOKING, |set_up| {
            let engine = site.engine(&set_up.place, lock)?;
            let repository = set_up.place.repository(&set_up.state.name);
            our_snapshots(&engine, &repository, &set_up.state, &site.store_id()?)?;
            engine.text(&repository, &["repair", "snapshots", "--forget"])?;
            let unreadable = unreadable_snapshots(&engine, &repository)?;
            unreadable_left = drop_unreadable(set_up, unreadable)?;
            Ok(())
        })?;
    }
    let drilled = drill(site, set_up, lock, &Which::All)?;
    // What only older snapshots had, and the store has no more, cannot be sent again.
    let left = match check(site, set_up, lock, Extent::All) {
        Ok(_) => String::new(),
        Err(error) => {
            let trouble = error.downcast::<super::trouble::Trouble>()?;
            if trouble.kind != Kind::CheckFailed {
                return Err(trouble);
            }
            let what = "the newest snapshot is whole; older ones have lost what this computer has no more";
            set_up.state.is_well(&[Kind::CheckFailed]);
            set_up.state.trouble(Kind::SnapshotsBroken, what, now_ms());
            set_up.state.write(site.store())?;
            match unreadable_left.is_empty() {
                true => trouble.what,
                false => {
                    format!("{}; nobody can read {}: delete it at the place", trouble.what, unreadable_left.join(", "))
                }
            }
        }
    };
    if left.is_empty() {
        set_up.state.is_well(&[Kind::SnapshotsBroken]);
        set_up.state.write(site.store())?;
    }
    Ok(Repaired { packs, pushed, drilled, left })
}

fn empty(salvage: &Dir) -> Result<(), Error> {
    for (name, _) in salvage.entries()? {
        remove_file(&salvage.path().join(name))?;
    }
    Ok(())
}
