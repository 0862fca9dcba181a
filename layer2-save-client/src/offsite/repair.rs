//! `offsite repair`: what the place lost is sent again. The store is the source: it has all that the newest snapshot
//! should have.

use std::path::Path;

use layer1_prebackup::fs::{Dir, Lock};
use layer1_prebackup::log::now_ms;
use layer1_prebackup::wire::offsite::{FOLDER, Kind};

use super::check::{Extent, check, read_data};
use super::drill::{Line, Which, drill};
use super::push::{Pushed, Reading, push};
use super::put_back::{SALVAGE, put_back, set_aside, unreadable_snapshots, with_copies};
use super::site::{MET_BY_LOOKING, SetUp, Site, our_snapshots};
use crate::error::{Error, failed};

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

/// Asked before what is lost is taken out of older snapshots, with a list of it; an error where that is not to be.
pub(crate) type Agree<'a> = &'a mut dyn FnMut(&str) -> Result<(), Error>;

/// Finds broken packs, takes them out, reads the whole store again and sends what is missing, and brings everything back.
/// Older snapshots of which something is lost that the store has no more stay as they are, and their errors with them,
/// unless `drop_broken` agrees.
pub(crate) fn repair(
    site: &Site<'_>,
    set_up: &mut SetUp,
    lock: &Lock,
    drop_broken: Option<Agree<'_>>,
) -> Result<Repaired, Error> {
    let packs = site.noting(set_up, &MET_BY_LOOKING, |set_up| {
        let engine = site.engine(&set_up.place, lock)?;
        put_back(site, set_up, &engine)?;
        let repository = set_up.repository();
        let ours = our_snapshots(&engine, &repository, &set_up.state, &site.store_id()?);
        ours.map_err(|error| with_copies(error, site, set_up))?;
        // Packs that are gone are taken out of the index first: what is left can be read then.
        let before = read_data(&engine, &repository, None)?;
        engine.text(&repository, &["repair", "index"])?;
        if !before.broken_packs.is_empty() {
            let packs: Vec<&str> = before.broken_packs.iter().map(String::as_str).collect();
            let args = [&["repair", "packs"], &packs[..]].concat();
            let done = engine.in_folder(salvage(site)?.path()).text(&repository, &args);
            done.map_err(failed("take broken packs out"))?;
        }
        Ok(before.broken_packs.len())
    })?;
    let pushed = push(site, set_up, lock, Reading::All)?;
    let unreadable_left = match drop_broken {
        Some(agree) => take_out_broken(site, set_up, lock, agree)?,
        None => Vec::new(),
    };
    let drilled = drill(site, set_up, lock, &Which::All)?;
    // All of it came back without them.
    empty(&salvage(site)?)?;
    let left = left(site, set_up, lock, &unreadable_left)?;
    Ok(Repaired { packs, pushed, drilled, left })
}

/// Takes out of older snapshots what is lost, once that was agreed to; gives the files that a person has to delete.
fn take_out_broken(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock, agree: Agree<'_>) -> Result<Vec<String>, Error> {
    site.noting(set_up, &MET_BY_LOOKING, |set_up| {
        let engine = site.engine(&set_up.place, lock)?;
        let repository = set_up.repository();
        our_snapshots(&engine, &repository, &set_up.state, &site.store_id()?)?;
        let unreadable = unreadable_snapshots(set_up, &engine, &repository)?;
        let changed = changed(&engine.text(&repository, &["repair", "snapshots", "--dry-run"])?);
        if changed.is_empty() && unreadable.is_empty() {
            return Ok(Vec::new());
        }
        let files = unreadable.iter().map(|file| format!("{file}: nobody can read it\n"));
        agree(&files.chain([changed]).collect::<String>())?;
        engine.text(&repository, &["repair", "snapshots", "--forget"])?;
        set_aside(site, set_up, unreadable)
    })
}

/// Of what `restic` would do, the snapshots that it would change, each with the paths that go.
fn changed(dry_run: &str) -> String {
    let is_of_one = |line: &&str| {
        line.starts_with("snapshot ") || line.starts_with([' ', '\t']) || line.starts_with("would delete")
    };
    let lines: Vec<&str> = dry_run.lines().filter(is_of_one).collect();
    let goes = |nth: usize| !lines[nth].starts_with("snapshot ");
    let shown = (0..lines.len()).filter(|nth| goes(*nth) || (nth + 1 < lines.len() && goes(nth + 1)));
    shown.map(|nth| format!("{}\n", lines[nth])).collect()
}

/// What is wrong still, in a sentence. What only older snapshots had, and the store has no more, cannot be sent again.
fn left(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock, unreadable: &[String]) -> Result<String, Error> {
    let trouble = match check(site, set_up, lock, Extent::All) {
        Ok(_) => {
            set_up.state.is_well(&[Kind::SnapshotsBroken]);
            set_up.state.write(site.store())?;
            return Ok(String::new());
        }
        Err(error) => error.downcast::<super::trouble::Trouble>()?,
    };
    if trouble.kind != Kind::CheckFailed {
        return Err(trouble);
    }
    let what = "the newest snapshot is whole; older ones have lost what this computer has no more";
    set_up.state.is_well(&[Kind::CheckFailed]);
    set_up.state.trouble(Kind::SnapshotsBroken, what, now_ms());
    set_up.state.write(site.store())?;
    Ok(match unreadable.is_empty() {
        true => trouble.what,
        false => format!("{}; nobody can read {}: delete it at the place", trouble.what, unreadable.join(", ")),
    })
}

fn salvage(site: &Site<'_>) -> Result<Dir, Error> {
    Ok(Dir::create_own(site.store())?.create_own_beneath(&Path::new(FOLDER).join(SALVAGE))?)
}

fn empty(salvage: &Dir) -> Result<(), Error> {
    for (name, kind) in salvage.entries()? {
        if kind.is_file() {
            salvage.remove(&name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_is_listed_with_its_paths() {
        let said = "\nsnapshot a7b357b8 of [/s] at 2026 by me\n  dir \"/\": not readable\nwould delete empty snapshot\n\n\
            snapshot b5b94f6a of [/s] at 2026 by me\n\nsnapshot c5b94f6a of [/s] at 2026 by me\n  \
            file \"/p/a.jsonl\": removed missing content\nwould save new snapshot\n\nwould modify 2 snapshots\n";
        insta::assert_snapshot!(changed(said), @r#"
        snapshot a7b357b8 of [/s] at 2026 by me
          dir "/": not readable
        would delete empty snapshot
        snapshot c5b94f6a of [/s] at 2026 by me
          file "/p/a.jsonl": removed missing content
        "#);
        assert_eq!(changed("no snapshots were modified\n"), "");
    }
}
