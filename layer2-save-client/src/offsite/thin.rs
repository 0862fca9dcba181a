//! `offsite thin`: older snapshots go, by command alone, on the machine that made them. Nothing goes that the snapshots
//! that stay do not have: each seal is compared.

use std::collections::{HashMap, HashSet};

use layer1_prebackup::fs::Lock;
use layer1_prebackup::log::now_ms;
use layer1_prebackup::wire::offsite::{Kind, ago};
use layer1_prebackup::wire::shown::shown;
use serde::Deserialize;

use super::check::{Extent, check};
use super::drill::{Source, Which, drill};
use super::engine::Engine;
use super::seal::{Seal, Sealed};
use super::site::{MET_BY_LOOKING, SetUp, Site, our_snapshots};
use super::snapshots::{Snapshot, short_id, snapshots};
use crate::error::{Error, failed};

/// What stays by its age: one an hour for two days, one a day for two months, one a week for ten years, and the last three.
/// *Within* a time: a snapshot that somebody dates to the future pushes none out.
const KEEP: [&str; 8] =
    ["--keep-within-hourly", "2d", "--keep-within-daily", "60d", "--keep-within-weekly", "10y", "--keep-last", "3"];

/// What is to go.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Snapshots that go.
    pub(crate) going: Vec<Snapshot>,
    /// Those that are old enough, and have something that nothing else has: a path of each.
    pub(crate) held: Vec<(Snapshot, String)>,
    pub(crate) staying: usize,
}

/// Decides what goes, and removes nothing.
pub(crate) fn plan(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock) -> Result<Plan, Error> {
    site.noting(set_up, &MET_BY_LOOKING, |set_up| {
        let engine = site.engine(&set_up.place, lock)?;
        let repository = set_up.place.repository(&set_up.state.name);
        let all = our_snapshots(&engine, &repository, &set_up.state, &site.store_id()?)?;
        let old = old_enough(&engine, &repository, &set_up.state.name)?;
        let (old, kept): (Vec<Snapshot>, Vec<Snapshot>) = all.into_iter().partition(|it| old.contains(&it.id));
        if old.is_empty() {
            return Ok(Plan { going: Vec::new(), held: Vec::new(), staying: kept.len() });
        }
        let mut kept_of = Kept::default();
        for snapshot in &kept {
            kept_of.add(&seal_of(&engine, &repository, snapshot)?);
        }
        let (mut going, mut held) = (Vec::new(), Vec::new());
        // From the newest on: what one has alone stays, and what stays may be all that an older one has.
        for snapshot in old.into_iter().rev() {
            let seal = seal_of(&engine, &repository, &snapshot)?;
            match seal.files.iter().find(|file| !kept_of.has(file)) {
                None => going.push(snapshot),
                Some(file) => {
                    held.push((snapshot, file.path.clone()));
                    kept_of.add(&seal);
                }
            }
        }
        let staying = kept.len() + held.len();
        Ok(Plan { going, held, staying })
    })
}

/// Carries it out, and proves what is left. An error where the place kept a snapshot: a server that only takes says
/// yes to everything.
pub(crate) fn carry_out(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock, plan: &Plan) -> Result<(), Error> {
    site.noting(set_up, &MET_BY_LOOKING, |set_up| {
        let engine = site.engine(&set_up.place, lock)?;
        let repository = set_up.place.repository(&set_up.state.name);
        our_snapshots(&engine, &repository, &set_up.state, &site.store_id()?)?;
        engine.unlock(&repository)?;
        let ids: Vec<&str> = plan.going.iter().map(|snapshot| snapshot.id.as_str()).collect();
        engine.text(&repository, &[&["forget", "--prune"], &ids[..]].concat())?;
        let left = snapshots(&engine, &repository)?;
        set_up.state.snapshots = Some((left.len() as u64, left.iter().map(Snapshot::sent).sum()));
        match left.iter().find(|snapshot| ids.contains(&snapshot.id.as_str())) {
            Some(kept) => Err(format!(
                "remove snapshot {}: the place kept it. A server that only takes lets nobody remove; its owner can, there",
                short_id(&kept.id)
            )
            .into()),
            None => Ok(()),
        }
    })?;
    set_up.state.is_well(&[Kind::ManySnapshots]);
    check(site, set_up, lock, Extent::NextPart)?;
    drill(site, set_up, lock, &Which::All).map(drop)
}

/// The ids of the snapshots that `restic` would forget by age.
fn old_enough(engine: &Engine<'_>, repository: &str, name: &str) -> Result<HashSet<String>, Error> {
    #[derive(Deserialize)]
    struct Group {
        remove: Option<Vec<Snapshot>>,
    }
    let args = [&["forget", "--dry-run", "--json", "--no-lock", "--host", name, "--group-by", "host"], &KEEP[..]];
    let text = engine.text(repository, &args.concat())?;
    // One line of JSON; an empty answer where there is nothing.
    let groups = text.lines().find(|line| line.starts_with('[')).unwrap_or("[]");
    let groups: Vec<Group> = serde_json::from_str(groups).map_err(failed("understand restic's answer to `forget`"))?;
    Ok(groups.into_iter().flat_map(|group| group.remove.unwrap_or_default()).map(|it| it.id).collect())
}

fn seal_of(engine: &Engine<'_>, repository: &str, snapshot: &Snapshot) -> Result<Seal, Error> {
    Source { engine, repository, snapshot }.seal()
}

/// What the snapshots that stay have.
#[derive(Debug, Default)]
struct Kept {
    bytes: HashMap<String, u64>,
    hashes: HashSet<String>,
}

impl Kept {
    fn add(&mut self, seal: &Seal) {
        for file in &seal.files {
            let most = self.bytes.entry(file.path.clone()).or_default();
            *most = (*most).max(file.bytes);
            self.hashes.insert(file.blake3.clone());
        }
    }

    /// Whether it is there with at least its bytes, or the same content is there under another name.
    fn has(&self, file: &Sealed) -> bool {
        self.hashes.contains(&file.blake3) || self.bytes.get(&file.path).is_some_and(|bytes| *bytes >= file.bytes)
    }
}

impl Plan {
    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        let age = |snapshot: &Snapshot| ago(now_ms().saturating_sub(snapshot.at_ms()));
        for snapshot in &self.going {
            text.push_str(&format!("  {}  {}\n", short_id(&snapshot.id), age(snapshot)));
        }
        for (snapshot, path) in &self.held {
            text.push_str(&format!("  {}  {}  stays: only it has {path}\n", short_id(&snapshot.id), age(snapshot)));
        }
        let (going, staying) = (self.going.len(), self.staying);
        let all = "All that was ever sent is in those that stay.";
        shown(&format!("{text}To be removed: {going} of {} snapshots. {all}\n", going + staying)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_an_older_snapshot_has_is_noticed() {
        let seal = |files: &[(&str, u64, &str)]| {
            let file = |(path, bytes, blake3): &(&str, u64, &str)| serde_json::json!({ "path": path, "generation": 0, "bytes": bytes, "blake3": blake3 });
            let files: Vec<_> = files.iter().map(file).collect();
            let seal =
                serde_json::json!({ "format": 1, "store": "", "writer": "", "host": "", "at": "", "files": files });
            Seal::parse(seal.to_string().as_bytes()).unwrap()
        };
        let mut kept = Kept::default();
        kept.add(&seal(&[("p/a.jsonl", 9, "a9"), ("p/a.gen-0001.jsonl", 50, "old")]));
        let has = |path: &str, bytes: u64, hash: &str| kept.has(&seal(&[(path, bytes, hash)]).files[0]);
        assert!(has("p/a.jsonl", 8, "a8") && has("p/a.jsonl", 9, "a9"));
        assert!(has("p/a.jsonl", 50, "old"), "under the name of an older version by now");
        assert!(!has("p/a.jsonl", 10, "a10") && !has("p/b.jsonl", 1, "b1"));
    }
}
