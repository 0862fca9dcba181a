//! `offsite forget`: what was forgotten on this computer goes out of the snapshots that were sent before, by command alone.
//!
//! What there is now is sent first: that snapshot has nothing of it and is not touched. The others are written again without
//! the files of those conversations, and what nothing needs any more is removed at the place.

use std::collections::BTreeSet;
use std::path::Path;

use layer1_prebackup::archive::Archive;
use layer1_prebackup::fs::{self, Lock};
use layer1_prebackup::wire::offsite::{FOLDER, Kind, ROTATING, Receipt, conversations, counted};

use super::check::{Extent, check};
use super::drill::{Which, drill};
use super::engine::Engine;
use super::peers::WANTED_FILE;
use super::push::{Reading, escaped, push};
use super::site::{MET_BY_LOOKING, SetUp, Site, our_snapshots};
use super::snapshots::{Snapshot, short_id, snapshots};
use super::trouble::{Trouble, said};
use crate::error::Error;

/// Where the store of memories lies in a store.
const MEMORIES: &str = ".memory";
/// Where a conversation's files lie, below the folder of its project.
const FILES: [&str; 4] = ["", ".jsonl", ".jsonl.zst", ".gen-*"];

/// What goes, and out of what.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What was forgotten: its id, and whether it is what Claude Code remembers of a project.
    ids: BTreeSet<(bool, String)>,
    /// The snapshots but the one of what there is now.
    older: Vec<Snapshot>,
    /// The repositories that others took the place of, which are still there.
    replaced: Vec<String>,
}

/// Finds what is behind. Nothing is sent or removed. An error while a new repository is being filled: what is copied there
/// would bring it back.
pub(crate) fn plan(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock) -> Result<Plan, Error> {
    let mut ids = BTreeSet::new();
    for (is_memory, below) in [(false, ""), (true, MEMORIES)] {
        let archive = Archive::open(&site.store().join(below))?;
        let forgotten = archive.map(|archive| archive.all_forgotten()).transpose()?.unwrap_or_default();
        ids.extend(forgotten.into_iter().map(|(id, _)| (is_memory, id.to_string())));
    }
    let replaced = set_up.state.replaced.clone();
    if ids.is_empty() {
        return Ok(Plan { ids, older: Vec::new(), replaced });
    }
    if (Site { folder: &site.folder.join(ROTATING), ..*site }).state()?.is_some() {
        let rotate = site.typed("key rotate");
        return Err(format!("take it out of snapshots: a rotation was begun and is not done; `{rotate}` goes on with it, then type this again").into());
    }
    site.noting(set_up, &MET_BY_LOOKING, |set_up| {
        let engine = site.engine(&set_up.place, lock)?;
        let repository = set_up.repository();
        let now = site.seal(&set_up.state)?.digest();
        let sent_now = set_up.state.receipt.as_ref().filter(|receipt| receipt.seal == now);
        let older = all_but(site, set_up, (&engine, &repository), sent_now)?;
        Ok(Plan { ids, older, replaced })
    })
}

/// Our snapshots but the one that was received.
fn all_but(
    site: &Site<'_>,
    set_up: &SetUp,
    (engine, repository): (&Engine<'_>, &str),
    received: Option<&Receipt>,
) -> Result<Vec<Snapshot>, Error> {
    let mut all = our_snapshots(engine, repository, &set_up.state, &site.store_id()?)?;
    all.retain(|snapshot| received.is_none_or(|receipt| receipt.snapshot != snapshot.id));
    Ok(all)
}

/// Sends what there is now, takes it out of all others, and proves that what was sent now is there. An error where the place
/// kept a snapshot: a server that only takes says yes to everything.
pub(crate) fn carry_out(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock, plan: &Plan) -> Result<(), Error> {
    push(site, set_up, lock, Reading::Changed)?;
    let excluded = Path::new(FOLDER).join(WANTED_FILE);
    let patterns: String = plan.ids.iter().map(|(is_memory, id)| patterns(*is_memory, id)).collect();
    fs::replace_own(site.store(), &excluded, patterns.as_bytes())?;
    let excluded = site.store().join(excluded);
    let excluded = excluded.to_str().ok_or("forget: the path of the store is not UTF-8")?;
    site.noting(set_up, &MET_BY_LOOKING, |set_up| {
        let engine = site.engine(&set_up.place, lock)?;
        let repository = set_up.repository();
        // What was saved since it was sent may wait; that snapshot has nothing of what was forgotten.
        let older = all_but(site, set_up, (&engine, &repository), set_up.state.receipt.as_ref())?;
        if older.is_empty() {
            return Ok(());
        }
        engine.unlock(&repository)?;
        let ids: Vec<&str> = older.iter().map(|snapshot| snapshot.id.as_str()).collect();
        let rewrite = ["rewrite", "--forget", "--exclude-file", excluded];
        engine.text(&repository, &[&rewrite, &ids[..]].concat()).map_err(kept_by_place)?;
        // Written again, they have other ids; what is there twice was kept.
        let left = snapshots(&engine, &repository)?;
        set_up.state.snapshots = Some((left.len() as u64, left.iter().map(Snapshot::sent).sum()));
        let is_twice = |of: &&Snapshot| left.iter().any(|it| it.original.as_ref() == Some(&of.id));
        if let Some(kept) = left.iter().find(is_twice) {
            return Err(kept_by_place(format!("snapshot {} is still there", short_id(&kept.id)).into()));
        }
        engine.text(&repository, &["prune", "--max-unused", "0"]).map(drop)
    })?;
    drill(site, set_up, lock, &Which::All)?;
    check(site, set_up, lock, Extent::NextPart).map(drop)
}

/// The error that a place keeps what it has; any other trouble stays what it is.
fn kept_by_place(error: Error) -> Error {
    match error.downcast_ref::<Trouble>() {
        Some(trouble) if trouble.kind != Kind::OffsiteFailed => error,
        _ => format!(
            "take it out of older snapshots: {}. A server that only takes lets nobody remove anything; its owner can, there",
            said(&error)
        )
        .into(),
    }
}

/// What is a conversation's in a snapshot, wherever its project is, and what the user called it.
fn patterns(is_memory: bool, id: &str) -> String {
    let id = escaped(id);
    if is_memory {
        return format!("/{MEMORIES}/*/{id}\n");
    }
    let files = FILES.map(|behind| format!("/*/{id}{behind}\n")).concat();
    format!("{files}/.state/labels/{id}*\n")
}

impl Plan {
    /// Whether anything was forgotten.
    pub(crate) fn is_of_any(&self) -> bool {
        !self.ids.is_empty()
    }

    /// Whether there is nothing to be done.
    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty() || self.older.is_empty()
    }

    /// For people; `drop_old` is what removes a repository that was replaced.
    pub(crate) fn to_text(&self, drop_old: &str) -> String {
        if self.ids.is_empty() {
            return "Nothing was forgotten on this computer.\n".to_owned();
        }
        let (forgotten, older) =
            (conversations(self.ids.len() as u64), counted(self.older.len() as u64, "older snapshot"));
        let mut text = match self.older.is_empty() {
            true => "There is one snapshot, made after it was forgotten: nothing of it is there.\n".to_owned(),
            false => format!(
                "{forgotten} that were forgotten here, wholly or in part, go out of {older}, with every version that was \
                 sent. What is saved here now is sent first, and stays.\n"
            ),
        };
        for name in &self.replaced {
            text.push_str(&format!("{name}, which was replaced, has it still: `{drop_old}` removes that.\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_of_one_conversation_and_never_of_a_project() {
        assert_eq!(
            patterns(false, "5b3d"),
            "/*/5b3d\n/*/5b3d.jsonl\n/*/5b3d.jsonl.zst\n/*/5b3d.gen-*\n/.state/labels/5b3d*\n"
        );
        assert_eq!(patterns(true, "-h-p"), "/.memory/*/-h-p\n");
    }
}
