//! Which conversations are meant, and what there is of them.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Args;
use layer1_prebackup::archive::{Archive, Forgotten, HeldBy, Marks, Needle, SessionKey, held_by_source};
use layer1_prebackup::claude::survey::{self as claude, FoundTranscript, survey};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::{FileName, LAYER2, SessionId, typed};
use layer1_prebackup::wire::offsite::{State, folders};

use super::claude_files::claude_files;
use super::erase::keys_of;
use super::types::{Item, Plan};
use crate::failure::Failure;
use crate::retention::open;
use crate::save::read_metadata;
use crate::save::roots::all_resolved_projects;
use crate::stores::not_forgotten::{NotForgotten, not_forgotten};
use crate::stores::{Stores, session_name};

// What is asked for, as typed. Said as documentation, it would stand in the help instead of what the command is for.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ForgetRequest {
    /// Conversations to delete: their ids or unique beginnings
    #[arg(required_unless_present_any = ["matching", "finish"], value_name = "ID")]
    pub(crate) conversations: Vec<String>,
    /// Delete every message that holds this text instead, of all conversations; `-` reads it from standard input
    #[arg(long = "match", value_name = "TEXT", conflicts_with = "conversations")]
    pub(crate) matching: Option<String>,
    /// Finish what was interrupted; it was confirmed then
    #[arg(long, conflicts_with_all = ["conversations", "matching"])]
    pub(crate) finish: bool,
    /// Show what would be deleted, and delete nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Shorter texts stand everywhere.
const TEXT_CHARS_MIN: usize = 4;

/// Looks at both stores and Claude Code's files. A store that cannot be opened is an error: what it holds would stay.
/// Removes nothing.
pub(crate) fn plan(places: &Places, wanted: &ForgetRequest) -> Result<Plan, Failure> {
    let stores = open::open(places, wanted.dry_run)?;
    let of_memories = places.of_memories();
    let [layer1, layer3] =
        [&of_memories.layer1_store, &of_memories.layer3_store].map(|store| Archive::open_as_found(store));
    let memories = Stores { layer1: layer1?, layer3: layer3?, notes: Vec::new() };
    let found = survey(all_resolved_projects(places)).0;
    let mut plan = Plan { items: Vec::new(), notes: not_reached(places, &stores), stores, memories, needle: None };
    if let Some(text) = &wanted.matching {
        let needle = needle(text)?;
        let of_projects = claude::memories(all_resolved_projects(places));
        plan.items = matching(places, &plan.stores, &found, &needle, false)?;
        plan.items.extend(matching(places, &plan.memories, &of_projects, &needle, true)?);
        plan.needle = Some(needle);
    } else if wanted.finish {
        plan.items = unfinished(places, &plan.stores, &found, false)?;
        plan.items.extend(unfinished(places, &plan.memories, &[], true)?);
    } else {
        let stored = plan.stores.sessions()?;
        let mut ids: Vec<SessionId> = Vec::new();
        for typed in &wanted.conversations {
            let id = named(&plan.stores, &stored, &found, typed)?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        for id in ids {
            let claude_files = claude_files(places, &found, &id);
            plan.items.push(Item { claude_files, ..item(&plan.stores, id)? });
        }
    }
    Ok(plan)
}

/// What has copies, and is not reached from here.
fn not_reached(places: &Places, stores: &Stores) -> Vec<String> {
    let note = |which: &str, path: &Path| {
        let path = path.display();
        format!(
            "the {which} copy is not there ({path}); if it is on a disk that is not connected, run this again with it"
        )
    };
    let first = stores.layer1.is_none().then(|| note("first", &places.layer1_store));
    let second = stores.layer3.is_none().then(|| note("second", &places.layer3_store));
    // One that cannot be read is told by `status`.
    let folders = folders(&places.layer1_store);
    let states = folders.iter().filter_map(|folder| State::read_in(&places.layer1_store, folder).ok().flatten());
    let third = states.map(|state| {
        let at = state.called().map(|called| format!(" --place {called}")).unwrap_or_default();
        format!(
            "the third place ({}) has what was sent before; afterwards `{}` takes it out there",
            state.place,
            typed(LAYER2, &format!("offsite forget{at}"))
        )
    });
    [first, second].into_iter().flatten().chain(third).collect()
}

fn needle(text: &str) -> Result<Needle, Failure> {
    let refuse = |why: &str| Err(Failure::argument("--match", text, why));
    if text.trim().chars().count() < TEXT_CHARS_MIN {
        return refuse("a text of at least 4 characters is needed");
    }
    Ok(Needle::new(text))
}

/// The conversations of these stores, or that Claude Code has, of which messages hold the text. What was marked by a run
/// that was killed is among it.
fn matching(
    places: &Places,
    stores: &Stores,
    found: &[FoundTranscript],
    needle: &Needle,
    is_memory: bool,
) -> Result<Vec<Item>, Failure> {
    let mut ids: BTreeSet<SessionId> = found.iter().map(|found| found.id.clone()).collect();
    for archive in stores.layer1.iter().chain(&stores.layer3) {
        ids.extend(archive.sessions()?.into_iter().map(|key| key.id));
    }
    let (mut items, mut structural) = (Vec::new(), 0);
    for id in ids {
        let mut held = HeldBy::default();
        let mut is_whole = false;
        for archive in stores.layer1.iter().chain(&stores.layer3) {
            let known = archive.forgotten(&id)?;
            is_whole |= known.as_ref().is_some_and(Forgotten::is_whole);
            held.marks.add(known.filter(|known| !known.is_finished).map(|known| known.marks).unwrap_or_default());
            for key in keys_of(archive, &id)? {
                held.add(archive.held_by(&key, needle)?);
            }
        }
        let mut claude_files = Vec::new();
        let excluded = |found: &&FoundTranscript| places.policy.exclude.is_excluded(&found.path, None);
        for found in found.iter().filter(|found| found.id == id && !excluded(found)) {
            let of_source = held_by_source(found, needle);
            claude_files.extend((of_source.lines > 0).then(|| found.path.clone()));
            held.add(of_source);
        }
        structural += held.structural;
        if !held.marks.is_empty() && !is_whole {
            let messages = Some(held.marks.len() as u64);
            items.push(Item { messages, marks: held.marks, is_memory, claude_files, ..item(stores, id)? });
        }
    }
    if structural > 0 {
        let why = format!(
            "in {structural} places it is a part of what Claude Code needs to open a conversation: an id, a type, a time, the name of a field; choose a longer text, or forget the conversation by its id"
        );
        return Err(Failure::argument("--match", "TEXT", &why));
    }
    Ok(items)
}

/// What a run that was killed had begun, or an older state of a store brought back.
fn unfinished(
    places: &Places,
    stores: &Stores,
    found: &[FoundTranscript],
    is_memory: bool,
) -> Result<Vec<Item>, Failure> {
    let mut items = Vec::new();
    for NotForgotten { id, .. } in not_forgotten(stores)? {
        let (mut marks, mut is_whole) = (Marks::default(), false);
        for archive in stores.layer1.iter().chain(&stores.layer3) {
            let known = archive.forgotten(&id)?;
            is_whole |= known.as_ref().is_some_and(Forgotten::is_whole);
            marks.add(known.map(|known| known.marks).unwrap_or_default());
        }
        let (claude_files, messages) = (claude_files(places, found, &id), Some(marks.len() as u64));
        let item = Item { claude_files, is_memory, ..item(stores, id)? };
        items.push(if is_whole { item } else { Item { marks, messages, ..item } });
    }
    Ok(items)
}

/// The id that is meant: of what is stored, else of what was forgotten already, or only Claude Code has.
fn named(stores: &Stores, stored: &[SessionKey], found: &[FoundTranscript], typed: &str) -> Result<SessionId, Failure> {
    let matching = session_name::matches(stored.to_vec(), typed);
    let mut ids: BTreeSet<&SessionId> = matching.iter().map(|key| &key.id).collect();
    let mut others: BTreeSet<SessionId> = found.iter().map(|found| found.id.clone()).collect();
    let mut unsaved = others.clone();
    for archive in stores.layer1.iter().chain(&stores.layer3) {
        // A project's name before the id leaves out nothing of what would go.
        for id in &ids {
            let is_meant = |key: &SessionKey| !session_name::matches(vec![key.clone()], typed).is_empty();
            if let Some(other) = keys_of(archive, id)?.into_iter().find(|key| !is_meant(key)) {
                let why = "has the same id, and all of an id is deleted; type the id alone for that";
                return Err(Failure::argument("ID", typed, &format!("{} {why}", other.project)));
            }
        }
        for (id, _) in archive.all_forgotten()? {
            unsaved.remove(&id);
            others.insert(id);
        }
        // What has no transcript: turns that were seen, and what lies beside.
        if let Ok(id) = SessionId::parse(typed)
            && !keys_of(archive, &id)?.is_empty()
        {
            others.insert(id);
        }
    }
    if !ids.is_empty() && !ids.iter().any(|id| id.as_str() == typed) {
        // What only Claude Code has may be meant as well.
        ids.extend(unsaved.iter().filter(|id| id.as_str().starts_with(typed)));
    }
    if ids.is_empty() {
        ids = others.iter().filter(|id| id.as_str() == typed).collect();
    }
    if ids.is_empty() && !typed.is_empty() {
        ids = others.iter().filter(|id| id.as_str().starts_with(typed)).collect();
    }
    match ids.len() {
        0 => Err(session_name::unknown(typed)),
        1 => Ok(ids.pop_first().expect("there is one").clone()),
        n if matching.len() >= n => Err(session_name::ambiguous(typed, &matching)),
        n => Err(Failure::argument("ID", typed, &format!("{n} conversations begin so; type more of it"))),
    }
}

fn item(stores: &Stores, id: SessionId) -> Result<Item, Failure> {
    let mut item = Item {
        session_id: id.to_string(),
        projects: BTreeSet::new(),
        title: None,
        time: None,
        bytes: 0,
        files: 0,
        versions: 0,
        messages: None,
        marks: Marks::default(),
        is_memory: false,
        claude_files: Vec::new(),
        id,
    };
    for archive in stores.layer1.iter().chain(&stores.layer3) {
        let mut versions = 0;
        for key in keys_of(archive, &item.id)? {
            // What cannot be read goes like the rest.
            let files = archive.files(&key).unwrap_or_default();
            let leftovers = archive.leftovers(&key).unwrap_or_default();
            item.projects.insert(key.project.to_string());
            item.bytes += files.iter().map(|file| file.disk_bytes).sum::<u64>();
            item.bytes += leftovers.iter().map(|(_, bytes)| bytes).sum::<u64>();
            item.files += (files.len() + leftovers.len()) as u64;
            versions += files.iter().filter(|file| file.name.file == FileName::Transcript).count() as u64;
            describe(&mut item, archive, &key);
        }
        item.versions = item.versions.max(versions);
    }
    Ok(item)
}

fn describe(item: &mut Item, archive: &Archive, key: &SessionKey) {
    let Some(metadata) = read_metadata(archive, key) else { return };
    item.title = item.title.take().or(metadata.title).or(metadata.first_topic);
    item.time = item.time.take().or(metadata.timestamp_end);
}
