//! `offsite thin`: older snapshots go, by command alone, on the machine that made them. Nothing goes that the snapshots
//! that stay do not have: each seal is compared, what became longer is read, and all of the newest one comes back, before
//! anything goes.

use std::collections::{BTreeSet, HashMap, HashSet};

use layer1_prebackup::fs::Lock;
use layer1_prebackup::log::now_ms;
use layer1_prebackup::wire::offsite::{Kind, ago};
use layer1_prebackup::wire::shown::shown;
use serde::Deserialize;

use super::check::{Extent, check};
use super::drill::{Prefix, Source, Which, drill};
use super::engine::Engine;
use super::seal::{Seal, Sealed};
use super::site::{MET_BY_LOOKING, SetUp, Site, our_snapshots};
use super::snapshots::{Snapshot, files, short_id, snapshots};
use super::trouble::is_of_content;
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
        let repository = set_up.repository();
        let all = our_snapshots(&engine, &repository, &set_up.state, &site.store_id()?)?;
        let old = old_enough(&engine, &repository, &set_up.state.name)?;
        let (old, kept): (Vec<Snapshot>, Vec<Snapshot>) = all.into_iter().partition(|it| old.contains(&it.id));
        if old.is_empty() {
            return Ok(Plan { going: Vec::new(), held: Vec::new(), staying: kept.len() });
        }
        let mut kept_of = Kept::default();
        for snapshot in &kept {
            kept_of
                .add(snapshot, there(&engine, &repository, snapshot, seal_of(&engine, &repository, snapshot)?.files)?);
        }
        // From the newest on: what one has alone stays, and what stays may be all that an older one has.
        let mut going_of = Vec::new();
        for snapshot in old.into_iter().rev() {
            let new = |file: &Sealed| !kept_of.hashes.contains(&file.blake3);
            let lacking: Vec<Sealed> =
                seal_of(&engine, &repository, &snapshot)?.files.into_iter().filter(new).collect();
            // What was sealed and is not in it, as what was forgotten since, goes with none.
            let lacking = if lacking.is_empty() { lacking } else { there(&engine, &repository, &snapshot, lacking)? };
            going_of.push((snapshot, lacking));
        }
        let lengths = lengths(&going_of);
        let (mut going, mut held, mut read) = (Vec::new(), Vec::new(), HashMap::new());
        for (snapshot, lacking) in going_of {
            let mut hash_of = |content: &Content, bytes: u64| {
                let Content { snapshot, file } = content;
                let from = Source { engine: &engine, repository: &repository, snapshot: &snapshot.id };
                hash_of(&from, file, bytes, &lengths, &mut read)
            };
            match kept_of.first_lacking(&lacking, &mut hash_of)? {
                None => going.push(snapshot),
                Some(path) => {
                    kept_of.add(&snapshot, lacking);
                    held.push((snapshot, path));
                }
            }
        }
        let staying = kept.len() + held.len();
        Ok(Plan { going, held, staying })
    })
}

/// Carries it out, once everything of the newest snapshot came back equal. An error where the place kept a snapshot: a
/// server that only takes says yes to everything.
pub(crate) fn carry_out(site: &Site<'_>, set_up: &mut SetUp, lock: &Lock, plan: &Plan) -> Result<(), Error> {
    drill(site, set_up, lock, &Which::All)?;
    site.noting(set_up, &MET_BY_LOOKING, |set_up| {
        let engine = site.engine(&set_up.place, lock)?;
        let repository = set_up.repository();
        our_snapshots(&engine, &repository, &set_up.state, &site.store_id()?)?;
        engine.unlock(&repository)?;
        let ids: Vec<&str> = plan.going.iter().map(|snapshot| snapshot.id.as_str()).collect();
        engine.text(&repository, &[&["forget"], &ids[..]].concat())?;
        let left = snapshots(&engine, &repository)?;
        set_up.state.snapshots = Some((left.len() as u64, left.iter().map(Snapshot::sent).sum()));
        if let Some(kept) = left.iter().find(|snapshot| ids.contains(&snapshot.id.as_str())) {
            return Err(format!(
                "remove snapshot {}: the place kept it. A server that only takes lets nobody remove; its owner can, there",
                short_id(&kept.id)
            )
            .into());
        }
        engine.text(&repository, &["prune"]).map(drop)
    })?;
    set_up.state.is_well(&[Kind::ManySnapshots]);
    check(site, set_up, lock, Extent::NextPart).map(drop)
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
    Source { engine, repository, snapshot: &snapshot.id }.seal()
}

/// Those of the sealed files that are in a snapshot: a push that failed may have sealed more.
fn there(
    engine: &Engine<'_>,
    repository: &str,
    snapshot: &Snapshot,
    mut sealed: Vec<Sealed>,
) -> Result<Vec<Sealed>, Error> {
    let there = files(engine, repository, &snapshot.id, &[])?;
    sealed.retain(|file| there.get(&file.in_snapshot()).is_some_and(|bytes| *bytes >= file.bytes));
    Ok(sealed)
}

/// A content that stays, and where it is.
#[derive(Debug)]
struct Content {
    snapshot: Snapshot,
    file: Sealed,
}

/// The hash of so many of a content's first bytes, where that is known.
type HashOf<'a> = &'a mut dyn FnMut(&Content, u64) -> Result<Option<String>, Error>;

/// What the snapshots that stay have.
#[derive(Debug, Default)]
struct Kept {
    hashes: HashSet<String>,
    /// By session.
    contents: HashMap<String, Vec<Content>>,
}

impl Kept {
    fn add(&mut self, snapshot: &Snapshot, files: Vec<Sealed>) {
        for file in files {
            if self.hashes.insert(file.blake3.clone()) {
                let contents = self.contents.entry(file.session().to_owned()).or_default();
                contents.push(Content { snapshot: snapshot.clone(), file });
            }
        }
    }

    /// The path of the first of these that is not there: neither the same content under any name, nor a longer one of the
    /// same file, or of a version of it, that begins with it. `hash_of` tells the hash of a content's first bytes.
    fn first_lacking(&self, files: &[Sealed], hash_of: HashOf<'_>) -> Result<Option<String>, Error> {
        for file in files.iter().filter(|file| !self.hashes.contains(&file.blake3)) {
            let of_session = self.contents.get(file.session()).into_iter().flatten();
            let mut longer: Vec<&Content> = of_session.filter(|it| may_begin_with(&it.file, file)).collect();
            longer.sort_by_key(|it| std::cmp::Reverse(it.file.bytes));
            let mut is_there = false;
            for content in longer {
                is_there = is_there || hash_of(content, file.bytes)?.as_ref() == Some(&file.blake3);
            }
            if !is_there {
                return Ok(Some(file.path.clone()));
            }
        }
        Ok(None)
    }
}

fn may_begin_with(longer: &Sealed, file: &Sealed) -> bool {
    let extension = |path: &str| path.rsplit('.').next().map(str::to_owned);
    let is_version = longer.path.contains(".gen-") && extension(&longer.path) == extension(&file.path);
    longer.bytes > file.bytes && !file.path.ends_with(".zst") && (longer.path == file.path || is_version)
}

/// The lengths of a session's contents of which it has to be known what begins with them.
type Lengths = HashMap<String, BTreeSet<u64>>;

fn lengths(going: &[(Snapshot, Vec<Sealed>)]) -> Lengths {
    let mut lengths = Lengths::new();
    for file in going.iter().flat_map(|(_, files)| files) {
        lengths.entry(file.session().to_owned()).or_default().insert(file.bytes);
    }
    lengths
}

/// The hash of the first bytes of a content, which is read once for all of its lengths; `None` where it cannot be read.
fn hash_of(
    from: &Source<'_>,
    content: &Sealed,
    bytes: u64,
    lengths: &Lengths,
    read: &mut HashMap<String, HashMap<u64, String>>,
) -> Result<Option<String>, Error> {
    if !read.contains_key(&content.blake3) {
        let lengths = lengths.get(content.session()).into_iter().flatten();
        let mut prefixes: Vec<(u64, Prefix)> = lengths.map(|bytes| (*bytes, Prefix::of(*bytes))).collect();
        let dumped = from.dump(&content.in_snapshot(), &mut |chunk| {
            prefixes.iter_mut().for_each(|(_, prefix)| prefix.take(chunk));
            Ok(())
        });
        let hashes = match dumped {
            Ok(()) => prefixes.into_iter().filter_map(|(bytes, prefix)| Some((bytes, prefix.hash()?))).collect(),
            Err(error) if is_of_content(&error) => HashMap::new(),
            Err(error) => return Err(error),
        };
        read.insert(content.blake3.clone(), hashes);
    }
    Ok(read[&content.blake3].get(&bytes).cloned())
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
        let file = |(path, bytes, blake3): (&str, u64, &str)| Sealed {
            path: path.to_owned(),
            generation: 0,
            bytes,
            blake3: blake3.to_owned(),
        };
        let snapshot: Snapshot = serde_json::from_str(r#"{"id":"i","time":"","hostname":""}"#).unwrap();
        let mut kept = Kept::default();
        kept.add(
            &snapshot,
            [("p/a.jsonl", 9, "a9"), ("p/a.gen-0001.jsonl", 50, "b50"), ("p/a/x", 90, "a90")].map(file).to_vec(),
        );
        // What begins with `a` is told by its name and the length.
        let mut hash_of = |content: &Content, bytes: u64| Ok(Some(format!("{}{bytes}", &content.file.blake3[..1])));
        let mut has = |path: &str, bytes: u64, hash: &str| {
            kept.first_lacking(&[file((path, bytes, hash))], &mut hash_of).unwrap().is_none()
        };
        assert!(has("p/a.jsonl", 9, "a9") && has("p/a.jsonl", 8, "a8"));
        assert!(has("p/a.jsonl", 50, "b50") && has("p/a.jsonl", 40, "b40"), "of an older version by now");
        assert!(!has("p/a.jsonl", 8, "c8"), "longer, and another one");
        assert!(!has("p/a.jsonl", 10, "a10") && !has("p/b.jsonl", 1, "b1") && !has("p/a/y", 1, "a1"));
    }
}
