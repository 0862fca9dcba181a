//! Re-reading and re-hashing what is stored.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use layer1_prebackup::archive::{Archive, Finding, FindingKind, Foreign, Repair, SessionKey};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::config::size::Size;
use layer1_prebackup::names::{FileName, LAYER1, LAYER2, LAYER3, SessionId, StoredName, typed};
use rmcp::schemars;
use serde::Serialize;

use crate::failure::{Failure, chain};
use crate::index::{Index, IndexError, with_patience};
use crate::save::adopt_v1;
use crate::save::labels;
use crate::save::log::LogSink;
use crate::save::rebuild;
use crate::save::receipt::{Answer, Receipt};
use crate::save::request::Request;
use crate::save::roots::RootKind;
use crate::save::session;
use crate::stores::not_forgotten::{NotForgotten, not_forgotten};
use crate::stores::one_copy::{OneCopy, in_one_copy, memories_in_one_copy};
use crate::stores::session_name;
use crate::stores::{BadCopy, Layer, SessionCopies, Stores};
use crate::terminal::count;

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct Report {
    /// Whether all is well: no findings, and nothing that could not be healed.
    pub(crate) ok: bool,
    /// Sessions that were read.
    pub(crate) sessions: usize,
    /// What is wrong, one entry a content.
    pub(crate) findings: Vec<FindingEntry>,
    /// What is to be known and is not wrong: `not-acknowledged`, which a killed run left before anything was said to be saved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<FindingEntry>,
    /// Conversations that are in one copy only, wholly or in part. One that layer 1 never had is no finding: the next
    /// `drain` gives it to it.
    #[serde(skip_serializing_if = "is_none")]
    pub(crate) in_one_copy: usize,
    /// What `--repair` did, one entry a content; the findings are those that remain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) repairs: Vec<RepairEntry>,
    /// Why `status` will not know what was found damaged.
    #[serde(skip)]
    #[schemars(skip)]
    pub(crate) unnoted: Vec<String>,
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct FindingEntry {
    /// `damaged`, `missing`, `bookkeeping-lost`, `generation-gap`, `unproven`, `source-diverged`, `one-copy`, `labels-differ` or `forget-unfinished`; `memories-unreadable`; `index-damaged` for the index.
    pub(crate) kind: String,
    /// The session; empty for the index.
    pub(crate) session_id: String,
    /// Its folder in the store; empty for the index.
    pub(crate) project: String,
    /// The content, relative to the project's folder, or the index.
    pub(crate) path: String,
    /// What is wrong, in one line.
    pub(crate) detail: String,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// What was done about something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct RepairEntry {
    /// Whether the content is well now.
    pub(crate) healed: bool,
    /// The session.
    pub(crate) session_id: String,
    /// Its folder in the store.
    pub(crate) project: String,
    /// The content, relative to the project's folder.
    pub(crate) path: String,
    /// What was done, or why nothing could be.
    pub(crate) detail: String,
}

impl RepairEntry {
    fn of(repair: &Repair) -> RepairEntry {
        RepairEntry::new(repair.healed, Some(&repair.key), &repair.path, &repair.detail)
    }

    /// Of the first copy.
    fn of_first_copy(repair: &Repair) -> RepairEntry {
        let detail = format!("in the first copy: {}", repair.detail);
        RepairEntry::new(repair.healed, Some(&repair.key), &repair.path, &detail)
    }

    /// Of the index, where no session is named.
    fn new(healed: bool, key: Option<&SessionKey>, path: &str, detail: &str) -> RepairEntry {
        let (session_id, project) = texts(key);
        RepairEntry { healed, session_id, project, path: path.to_owned(), detail: detail.to_owned() }
    }
}

impl FindingEntry {
    fn of(finding: &Finding) -> FindingEntry {
        FindingEntry::new(finding.kind.as_str(), Some(&finding.key), &finding.path, &finding.detail)
    }

    /// Of the first copy.
    fn of_first_copy(finding: &Finding) -> FindingEntry {
        let detail = format!("in the first copy: {}", finding.detail);
        FindingEntry::new(finding.kind.as_str(), Some(&finding.key), &finding.path, &detail)
    }

    /// Of a copy of layer 1 that has what layer 3 has not.
    fn ahead(bad: &BadCopy) -> FindingEntry {
        let kind = if bad.is_missing() { FindingKind::Missing } else { FindingKind::Damaged };
        let repair = typed(LAYER1, "verify --repair");
        let detail = format!("{bad}, and layer 3 has not all of it; `{repair}` repairs what its source still has");
        FindingEntry::new(kind.as_str(), Some(&bad.key), &bad.name.to_text(&bad.key.id), &detail)
    }

    /// Of a conversation that the other store lacks, or a part of.
    fn one_copy(alone: &OneCopy) -> FindingEntry {
        let OneCopy { held_by, key, bytes, .. } = alone;
        let copy = if *held_by == Layer::One { "first" } else { "second" };
        let detail = format!(
            "{} only in the {copy} copy; `{}` makes the other one",
            Size(*bytes),
            typed(LAYER2, "drain --foreground")
        );
        FindingEntry::new(ONE_COPY, Some(key), &StoredName::newest(FileName::Transcript).to_text(&key.id), &detail)
    }

    /// The same of what Claude Code remembers of a project.
    fn memory_in_one_copy(alone: &OneCopy) -> FindingEntry {
        let (bytes, key) = (Size(alone.bytes), &alone.key);
        let (copy, makes) = match alone.held_by {
            Layer::One => ("first", typed(LAYER3, "import")),
            Layer::Three => ("second", typed(LAYER2, "drain --foreground")),
        };
        let detail = format!("{bytes} of this memory only in the {copy} copy; `{makes}` makes the other one");
        FindingEntry::new(ONE_COPY, Some(key), key.id.as_str(), &detail)
    }

    /// Of a conversation that was to be forgotten and is not gone.
    fn not_forgotten(found: &NotForgotten) -> FindingEntry {
        let path = StoredName::newest(FileName::Transcript).to_text(&found.id);
        let detail = format!("{}: `{}`", found.to_text(), typed(LAYER3, &found.command()));
        let entry = FindingEntry::new(FORGET_UNFINISHED, None, &path, &detail);
        FindingEntry { session_id: found.id.to_string(), ..entry }
    }

    /// Of the index, where no session is named.
    fn new(kind: &str, key: Option<&SessionKey>, path: &str, detail: &str) -> FindingEntry {
        let (session_id, project) = texts(key);
        let (kind, path, detail) = (kind.to_owned(), path.to_owned(), detail.to_owned());
        FindingEntry { kind, session_id, project, path, detail }
    }
}

/// A session's id and project.
fn texts(key: Option<&SessionKey>) -> (String, String) {
    key.map(|key| (key.id.to_string(), key.project.to_string())).unwrap_or_default()
}

/// A conversation is not in both stores.
const ONE_COPY: &str = "one-copy";
/// A conversation was to be forgotten, and is not gone.
const FORGET_UNFINISHED: &str = "forget-unfinished";
/// The two copies do not say the same of what the user calls a conversation.
const LABELS_DIFFER: &str = "labels-differ";
/// The index is not what was written, or cannot be used.
const INDEX_DAMAGED: &str = "index-damaged";
/// The index is a newer version's, which this one leaves alone.
const INDEX_NEWER: &str = "index-newer";
/// Another program keeps the index from being looked at.
const INDEX_BUSY: &str = "index-busy";
/// How long others are waited for before that is said.
const PATIENCE: Duration = Duration::from_secs(10);

/// Re-reads and re-hashes every content of both stores and the index, or the contents of the sessions
/// that `typed` names (an id may be kept under two projects: then both). Writes nothing to the
/// stores but what it found damaged, for `status`, and the id of one that has lost its own.
pub(crate) fn verify(places: &Places, typed: Option<&str>) -> Result<Report, Failure> {
    let stores = Rc::new(Stores::with(places, Ok(Some(rebuild::store(places)?)))?);
    let meant = meant(layer3(&stores), typed)?;
    let Found { findings, in_one_copy, unnoted } = find(places, &stores, &meant)?;
    let (notes, findings) = notes_among(findings);
    let (ok, sessions) = (findings.is_empty(), meant.keys.len());
    Ok(Report { ok, sessions, findings, notes, in_one_copy, repairs: Vec::new(), unnoted })
}

/// Heals what [`verify`] finds, from the source or from the other store, wherever their bytes meet
/// the recorded hash; what is replaced is set aside, never dropped. A damaged index is made again
/// from the store. What a source holds that diverged from its copy is saved. Then verifies.
pub(crate) fn repair(places: &Places, journal: &LogSink, typed: Option<&str>) -> Result<Report, Failure> {
    // First of all: what stands in the way of the rest.
    let mut repairs = if typed.is_none() { put_foreign_aside(places) } else { Vec::new() };
    let stores = Rc::new(Stores::with(places, Ok(Some(rebuild::store(places)?)))?);
    let archive = layer3(&stores);
    // What could heal is not to be taken for absent.
    let layer1 = Archive::open_as_found(&places.layer1_store)?;
    let meant = meant(archive, typed)?;
    if let Some(layer1) = &layer1 {
        repairs.extend(repair_labels(archive, layer1, &meant));
    }
    for only in meant.passes() {
        repairs.extend(archive.repair(only, layer1.as_ref())?.iter().map(RepairEntry::of));
        let of_first = layer1.as_ref().map(|layer1| damaged_in(layer1, only)).transpose()?.unwrap_or_default();
        let keys: BTreeSet<SessionKey> = of_first.into_iter().map(|finding| finding.key).collect();
        for (layer1, key) in layer1.iter().flat_map(|layer1| keys.iter().map(move |key| (layer1, key))) {
            repairs.extend(layer1.repair(Some(key), Some(archive))?.iter().map(RepairEntry::of_first_copy));
        }
        let diverged = found_in(places, archive, only)?;
        repairs.extend(diverged.iter().filter_map(|finding| save_again(places, journal, finding)));
    }
    if meant.all {
        repairs.extend(repair_memories(places).unwrap_or_else(|failure| {
            let found = unreadable_memories(places, &failure);
            vec![RepairEntry::new(false, None, &found.path, &found.detail)]
        }));
    }
    let damage = meant.all.then(|| index_damage(places)).transpose()?.flatten();
    if let Some(damage) = damage.filter(|damage| damage.kind == INDEX_DAMAGED) {
        repairs.push(renew_index(places, archive, &damage)?);
    }
    let Found { findings, in_one_copy, unnoted } = find(places, &stores, &meant)?;
    let (notes, findings) = notes_among(findings);
    // What could not be healed may look well, as where its sync failed.
    let ok = findings.is_empty() && repairs.iter().all(|repair| repair.healed);
    Ok(Report { ok, sessions: meant.keys.len(), findings, notes, in_one_copy, repairs, unnoted })
}

/// Moves aside what stands in the place of a file or folder of ours in either store.
fn put_foreign_aside(places: &Places) -> Vec<RepairEntry> {
    let memories = places.of_memories();
    let mut repairs = Vec::new();
    for store in [&places.layer1_store, &places.layer3_store, &memories.layer1_store, &memories.layer3_store] {
        // One that cannot be looked at is told by who opens it.
        for foreign in Foreign::find(store, &|_| true).unwrap_or_default() {
            if !foreign.is_aside {
                let done = foreign.put_aside();
                let detail = match &done {
                    Ok(()) => format!("{} stood there; it is kept beside it, as `.NAME.not-ours`", foreign.what),
                    Err(error) => format!("{} stands there: failed to {}", foreign.what, chain(error)),
                };
                repairs.push(RepairEntry::new(done.is_ok(), None, &foreign.path.display().to_string(), &detail));
            }
        }
    }
    repairs
}

/// Has each copy say again what the user calls the conversations.
fn repair_labels(archive: &Archive, layer1: &Archive, meant: &Meant) -> Vec<RepairEntry> {
    let differ = labels_that_differ(archive, layer1, meant);
    let failed = if differ.is_empty() { Vec::new() } else { labels::exchange(archive, layer1) };
    let entry = |(key, path): (SessionKey, String)| match failed.iter().find(|(id, _)| *id == key.id) {
        Some((_, error)) => RepairEntry::new(false, Some(&key), &path, &format!("failed to {error}")),
        None => RepairEntry::new(
            true,
            Some(&key),
            &path,
            "taken from the other copy; what was damaged is in .state/damaged",
        ),
    };
    differ.into_iter().map(|(key, path, _)| entry((key, path))).collect()
}

/// The conversations of which the copies do not say the same name, tags and note: where that lies, and what is wrong.
fn labels_that_differ(archive: &Archive, layer1: &Archive, meant: &Meant) -> Vec<(SessionKey, String, String)> {
    let path = |key: &SessionKey| Archive::labels_path(&key.id).display().to_string();
    let differs = |key: &SessionKey| Some((key.clone(), path(key), labels::difference(archive, layer1, &key.id)?));
    meant.keys.iter().filter_map(differs).collect()
}

/// What is no finding, and what is.
fn notes_among(findings: Vec<FindingEntry>) -> (Vec<FindingEntry>, Vec<FindingEntry>) {
    findings.into_iter().partition(|finding| finding.kind == FindingKind::NotAcknowledged.as_str())
}

/// What [`Archive::verify`] finds; a source that the user excluded may part from its copy.
fn found_in(places: &Places, archive: &Archive, only: Option<&SessionKey>) -> Result<Vec<Finding>, Failure> {
    let exclude = &places.policy.exclude;
    let mut findings = archive.verify(only)?;
    findings.retain(|finding| finding.save.as_ref().is_none_or(|transcript| !exclude.is_excluded(transcript, None)));
    Ok(findings)
}

/// Saves what the source of a diverged content holds now; what was saved before stays as a generation.
fn save_again(places: &Places, journal: &LogSink, finding: &Finding) -> Option<RepairEntry> {
    let project = Some(&finding.key.project);
    let request = Request { project, ..Request::of(&finding.key.id, finding.save.as_ref()?, RootKind::Claude) };
    let (healed, detail) = match session::save(places, journal, &request, &|_| {}) {
        Ok(Answer::Receipt(Receipt { warning: None, .. })) => (true, Finding::SAVED_AGAIN.to_owned()),
        Ok(Answer::Receipt(Receipt { warning: Some(warning), .. })) => (false, warning),
        Ok(Answer::Skipped(skipped)) => (false, skipped.reason),
        Err(failure) => (false, format!("failed to {failure}")),
    };
    Some(RepairEntry::new(healed, Some(&finding.key), &finding.path, &detail))
}

/// The sessions to look at.
struct Meant {
    keys: Vec<SessionKey>,
    /// The whole store: then lost bookkeeping of sessions that nobody knows is found too.
    all: bool,
}

impl Meant {
    fn passes(&self) -> Vec<Option<&SessionKey>> {
        if self.all { vec![None] } else { self.keys.iter().map(Some).collect() }
    }
}

fn meant(archive: &Archive, typed: Option<&str>) -> Result<Meant, Failure> {
    let keys = archive.sessions()?;
    let Some(typed) = typed else { return Ok(Meant { keys, all: true }) };
    let keys = session_name::matches(keys, typed);
    let Some(first) = keys.first() else {
        return Err(session_name::unknown(typed));
    };
    if keys.iter().any(|key| key.id != first.id) {
        return Err(session_name::ambiguous(typed, &keys));
    }
    Ok(Meant { keys, all: false })
}

fn layer3(stores: &Stores) -> &Archive {
    stores.layer3.as_ref().expect("it was opened")
}

/// What is wrong, how many conversations are in one copy only, and why what is damaged could not be noted in its store.
struct Found {
    findings: Vec<FindingEntry>,
    in_one_copy: usize,
    unnoted: Vec<String>,
}

/// Notes in a store what was found damaged in it, for whoever reads less of it later. A store that cannot be written is no
/// reason not to tell what was found.
fn note(archive: &Archive, only: Option<&SessionKey>, found: &[Finding], unnoted: &mut Vec<String>) {
    if let Err(error) = archive.note_damage(only, found, &typed(LAYER3, "verify")) {
        let status = typed(LAYER3, "status");
        unnoted.push(format!("`{status}` will not know what was found damaged: failed to {}", chain(&error)));
    }
}

fn find(places: &Places, stores: &Rc<Stores>, meant: &Meant) -> Result<Found, Failure> {
    let (mut findings, mut unnoted) = (Vec::new(), Vec::new());
    for only in meant.passes() {
        let found = found_in(places, layer3(stores), only)?;
        note(layer3(stores), only, &found, &mut unnoted);
        findings.extend(found.iter().map(FindingEntry::of));
    }
    let mut ahead = Vec::new();
    for key in &meant.keys {
        // A session whose record cannot be read was found above.
        let Ok(copies) = SessionCopies::of(stores, key) else { continue };
        ahead.extend(copies.bad_ahead().iter().map(FindingEntry::ahead));
    }
    if let Some(layer1) = &stores.layer1 {
        let is_known = |new: &FindingEntry| {
            ahead.iter().any(|of| (&of.session_id, &of.project, &of.path) == (&new.session_id, &new.project, &new.path))
        };
        for only in meant.passes() {
            let mut of_copy = damaged_in(layer1, only)?;
            for key in meant.keys.iter().filter(|key| only.is_none_or(|only| only == *key)) {
                // One that cannot be looked at was found above.
                of_copy.extend(layer1.one_file_with(layer3(stores), key).unwrap_or_default());
            }
            note(layer1, only, &of_copy, &mut unnoted);
            findings.extend(of_copy.iter().map(FindingEntry::of_first_copy).filter(|new| !is_known(new)));
        }
    }
    findings.extend(ahead);
    if let Some(layer1) = &stores.layer1 {
        let differ = labels_that_differ(layer3(stores), layer1, meant).into_iter();
        let hint = typed(LAYER3, "verify --repair");
        findings.extend(differ.map(|(key, path, what)| {
            FindingEntry::new(LABELS_DIFFER, Some(&key), &path, &format!("{what}; `{hint}` puts them together"))
        }));
    }
    let mut pairs = stores.pairs()?;
    pairs.retain(|pair| meant.all || meant.keys.contains(pair.key()));
    let alone = in_one_copy(stores, places, &pairs)?;
    let is_owed = |alone: &&OneCopy| alone.held_by == Layer::One || !alone.is_whole;
    let unfinished = not_forgotten(stores)?;
    let is_meant = |id: &SessionId| meant.all || meant.keys.iter().any(|key| key.id == *id);
    findings.extend(unfinished.iter().filter(|found| is_meant(&found.id)).map(FindingEntry::not_forgotten));
    findings.extend(alone.iter().filter(is_owed).map(FindingEntry::one_copy));
    if meant.all {
        let alone = memories_in_one_copy(places).unwrap_or_default();
        findings.extend(alone.iter().filter(is_owed).map(FindingEntry::memory_in_one_copy));
        let of_memories = of_memories(places, &mut unnoted);
        findings.extend(of_memories.unwrap_or_else(|failure| vec![unreadable_memories(places, &failure)]));
        findings.extend(index_damage(places)?);
    }
    Ok(Found { findings, in_one_copy: alone.len(), unnoted })
}

/// What of the first copy's recorded contents is not there or not as it was. A source that parted from its copy is found
/// with the second one.
fn damaged_in(layer1: &Archive, only: Option<&SessionKey>) -> Result<Vec<Finding>, Failure> {
    if only.is_some_and(|key| !layer1.find(&key.id).is_ok_and(|keys| keys.contains(key))) {
        return Ok(Vec::new());
    }
    let mut findings = layer1.verify_alone(only)?;
    findings.retain(|finding| matches!(finding.kind, FindingKind::Damaged | FindingKind::Missing));
    Ok(findings)
}

/// What is wrong with what is kept of what Claude Code remembers of the projects.
fn of_memories(places: &Places, unnoted: &mut Vec<String>) -> Result<Vec<FindingEntry>, Failure> {
    let Some(memories) = Archive::open_or_adopt(&places.of_memories().layer3_store)? else { return Ok(Vec::new()) };
    let memories = adopt_v1::of(places, memories);
    let found = found_in(places, &memories, None)?;
    note(&memories, None, &found, unnoted);
    Ok(found.iter().map(FindingEntry::of).collect())
}

fn repair_memories(places: &Places) -> Result<Vec<RepairEntry>, Failure> {
    let places = places.of_memories();
    let Some(memories) = Archive::open_or_adopt(&places.layer3_store)? else { return Ok(Vec::new()) };
    let memories = adopt_v1::of(&places, memories);
    let layer1 = Archive::open_as_found(&places.layer1_store)?;
    Ok(memories.repair(None, layer1.as_ref())?.iter().map(RepairEntry::of).collect())
}

/// That they cannot be looked at hides nothing of the conversations.
fn unreadable_memories(places: &Places, failure: &Failure) -> FindingEntry {
    let store = places.of_memories().layer3_store;
    FindingEntry::new("memories-unreadable", None, &store.display().to_string(), &failure.to_string())
}

/// What is wrong with the index. The conversations do not depend on it.
fn index_damage(places: &Places) -> Result<Option<FindingEntry>, Failure> {
    let (kind, detail) = match with_patience(PATIENCE, || Index::verify(&places.index)) {
        Ok(None) => return Ok(None),
        Ok(Some(what)) => {
            (INDEX_DAMAGED, format!("{what}; searches may answer less until `{}`", typed(LAYER3, "rebuild")))
        }
        Err(error @ IndexError::Newer { .. }) => (INDEX_NEWER, format!("failed to {error}")),
        Err(error @ IndexError::Busy { .. }) => (INDEX_BUSY, format!("failed to {error}; verify again later")),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(FindingEntry::new(kind, None, &places.index.display().to_string(), &detail)))
}

fn renew_index(places: &Places, archive: &Archive, damage: &FindingEntry) -> Result<RepairEntry, Failure> {
    let mut index = Index::open(&places.index)?;
    if index.set_aside().is_none() {
        index.renew()?;
    }
    let aside = index.set_aside().map(|path| path.display().to_string());
    let failed = index.fill(archive, &|_, _| {})?;
    let made = match (aside, failed.len()) {
        (_, failed @ 1..) => {
            let failed = count(failed as u64, "session");
            format!("made again from the store, without {failed} that could not be read")
        }
        (Some(aside), 0) => format!("made again from the store; the damaged one was set aside as {aside}"),
        (None, 0) => "made again from the store".to_owned(),
    };
    Ok(RepairEntry::new(failed.is_empty(), None, &damage.path, &made))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;
    use crate::testing::{ID, Scene, prompt};

    #[test]
    fn memories_that_cannot_be_looked_at_hide_no_damage_of_conversations() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "hello")]);
        scene.layer1_copies();
        scene.receipt(None);
        scene.remove_sources();
        std::fs::write(scene.copy(), "damaged").unwrap();
        let store = scene.places.of_memories().layer3_store;
        scene.write(&store.join(".state/store.json"), r#"{"format":99,"store_id":"0"}"#);
        let kinds = |report: &Report| report.findings.iter().map(|found| found.kind.clone()).collect::<Vec<_>>();
        assert_eq!(kinds(&verify(&scene.places, None).unwrap()), ["damaged", "memories-unreadable"]);
        let report = repair(&scene.places, &LogSink::new(&scene.places, false), None).unwrap();
        assert_eq!((report.ok, kinds(&report)), (false, vec!["memories-unreadable".to_owned()]));
        let healed: Vec<bool> = report.repairs.iter().map(|repair| repair.healed).collect();
        assert_eq!(healed, [true, false]);
    }

    #[test]
    fn damage_that_was_found_is_told_by_the_store_until_it_is_healed() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, &"hello ".repeat(3000))]);
        let (layer1, _) = scene.layer1_copies();
        scene.receipt(None);
        scene.remove_sources();
        let mut bytes = std::fs::read(scene.copy()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(scene.copy(), &bytes).unwrap();
        let layer3 = Archive::open(&scene.places.layer3_store).unwrap().unwrap();
        for typed in [Some(ID), None] {
            let report = verify(&scene.places, typed).unwrap();
            assert!(!report.ok && report.unnoted.is_empty(), "{report:?}");
            assert_eq!(layer3.known_damage().unwrap().len(), 1);
            assert_eq!(layer1.known_damage().unwrap().len(), 0);
        }
        let report = repair(&scene.places, &LogSink::new(&scene.places, false), None).unwrap();
        assert!(report.ok && layer3.known_damage().unwrap().is_empty(), "{report:?}");
    }

    #[test]
    fn what_is_damaged_is_found_and_healed_from_layer_1() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "hello")]);
        scene.layer1_copies();
        scene.receipt(None);
        scene.remove_sources();
        assert!(verify(&scene.places, None).unwrap().ok);
        std::fs::write(scene.copy(), "damaged").unwrap();
        let report = verify(&scene.places, Some(&ID[..8])).unwrap();
        assert_eq!((report.ok, report.findings[0].kind.as_str()), (false, "damaged"));
        let report = repair(&scene.places, &LogSink::new(&scene.places, false), None).unwrap();
        assert!(report.ok && report.repairs[0].healed, "{report:?}");
        assert!(verify(&scene.places, None).unwrap().ok);
        assert!(verify(&scene.places, Some("nope")).unwrap_err().is(Kind::InvalidInput));
    }

    #[test]
    fn an_index_of_a_newer_version_is_told_and_left_alone() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "hello")]);
        scene.receipt(None);
        let index = rusqlite::Connection::open(&scene.places.index).unwrap();
        index.pragma_update(None, "user_version", 9999).unwrap();
        drop(index);
        let report = repair(&scene.places, &LogSink::new(&scene.places, false), None).unwrap();
        let kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind.as_str()).collect();
        assert_eq!((report.ok, kinds, report.repairs.len()), (false, vec!["index-newer"], 0), "{report:?}");
        let index = rusqlite::Connection::open(&scene.places.index).unwrap();
        assert_eq!(index.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0)).unwrap(), 9999);
    }

    #[test]
    fn a_source_that_parted_from_its_copy_is_told_and_saved_unless_the_user_excluded_it() {
        for is_excluded in [false, true] {
            let mut scene = Scene::new();
            scene.transcribe(&[prompt(1, "hello")]);
            scene.receipt(None);
            scene.transcribe(&[prompt(2, "jello")]);
            if is_excluded {
                let globs = ["**/*.jsonl".to_owned()];
                scene.places.policy.exclude =
                    layer1_prebackup::config::exclude::Exclusions::new(&globs, &scene.places.home);
            }
            let report = verify(&scene.places, None).unwrap();
            let kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind.as_str()).collect();
            assert_eq!(kinds, if is_excluded { vec![] } else { vec!["source-diverged"] });
            let report = repair(&scene.places, &LogSink::new(&scene.places, false), None).unwrap();
            assert_eq!((report.ok, report.repairs.len()), (true, usize::from(!is_excluded)), "{report:?}");
            assert_eq!(scene.stored().len(), if is_excluded { 1 } else { 2 });
        }
    }

    #[test]
    fn one_id_in_two_projects_is_verified_in_both_and_two_ids_are_too_many() {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "hello")]);
        scene.receipt(None);
        let other = scene.transcript_in("-home-dev-other", ID);
        scene.write(&other, &prompt(2, "other").replace("dev/proj", "dev/other"));
        scene.save_as(&other, RootKind::Claude, None, None).unwrap();
        let report = verify(&scene.places, Some(ID)).unwrap();
        assert_eq!((report.ok, report.sessions), (true, 2));
        std::fs::write(scene.places.layer3_store.join(format!("other/{ID}.jsonl")), "bad").unwrap();
        let report = verify(&scene.places, Some(ID)).unwrap();
        assert_eq!((report.findings.len(), report.findings[0].project.as_str()), (1, "other"));
        scene.remove_sources();
        let report = repair(&scene.places, &LogSink::new(&scene.places, false), Some(ID)).unwrap();
        assert!(!report.ok && report.repairs.iter().any(|repair| !repair.healed), "{report:?}");
        let third = scene.transcript_in("-home-dev-proj", &ID.replace("001", "002"));
        scene.write(&third, &prompt(3, "third"));
        scene.save_as(&third, RootKind::Claude, None, None).unwrap();
        assert!(verify(&scene.places, Some(&ID[..8])).unwrap_err().is(Kind::InvalidInput));
    }

    #[test]
    fn a_flipped_bit_in_any_page_of_the_index_is_found_and_healed() {
        let scene = Scene::new();
        let prompts: Vec<String> = (1..40).map(|n| prompt(n, &format!("needle number {n} in the hay"))).collect();
        scene.transcribe(&prompts);
        scene.receipt(None);
        assert!(verify(&scene.places, None).unwrap().ok);
        let index = &scene.places.index;
        let whole = std::fs::read(index).unwrap();
        for at in (0..whole.len()).step_by(1021) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(index, &flipped).unwrap();
            let report = verify(&scene.places, None).unwrap();
            assert_eq!(report.findings.iter().map(|f| f.kind.as_str()).collect::<Vec<_>>(), ["index-damaged"], "{at}");
        }
        let report = repair(&scene.places, &LogSink::new(&scene.places, false), None).unwrap();
        assert!(report.ok && report.repairs[0].healed, "{report:?}");
        let found =
            crate::browse::search::SearchRequest { query: "needle".to_owned(), each: Some(true), ..Default::default() };
        assert_eq!(
            crate::browse::search::search(&scene.places, &found).unwrap().hits.len(),
            crate::browse::search::LIMIT_DEFAULT
        );
    }
}
