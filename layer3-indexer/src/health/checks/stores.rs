//! The two stores: their figures, what a quick look finds wrong in them, and whether they can be written.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use layer1_prebackup::archive::{self, Archive, ArchiveError, Foreign, Looked, SEEN, SEEN_SECOND, Seen, SessionKey};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::config::size::Size;
use layer1_prebackup::config::threads;
use layer1_prebackup::fs::{self, platform};
use layer1_prebackup::names::SessionId;
use rustix::fs::{Access, access};

use crate::failure::chain;
use crate::health::checks::sources;
use crate::health::context::Context;
use crate::health::examination::{Examination, FoundSession, FoundStore};
use crate::health::figures::StoreStatus;
use crate::health::finding::{Finding, Kind, Subject};
use crate::health::text::duration;
use crate::stores::not_forgotten::not_forgotten;
use crate::stores::one_copy::in_one_copy;
use crate::stores::{Layer, Pair, Stores};
use crate::terminal::time::format_rfc3339_ms;
use crate::terminal::{count, one_line, shell_quoted};

/// Written into a store and removed again.
const PROBE: &str = ".doctor";
/// So many copies are named.
const NAMED_MAX: usize = 5;
const NOT_THERE_YET: &str = "not there yet";

/// Layer 1's store and layer 3's, and Claude Code's transcripts.
pub(super) fn both(examination: &mut Examination<'_>) {
    let Context { places, commands, now_ms, .. } = examination.context;
    let stores = [(&places.layer1_store, SEEN), (&places.layer3_store, SEEN_SECOND)];
    // Nearly all of this is asking the system what many files are, and waiting for that: three places, three threads.
    let [first, second] = thread::scope(|scope| {
        let glances = stores.map(|(store, rel)| {
            let look = move || glance(places, store, rel);
            // Where there may be no further thread, this one will do.
            (threads::named("look at a store").spawn_scoped(scope, look), look)
        });
        sources::found(examination);
        glances.map(|(thread, look)| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panicked| resume_unwind(panicked)),
            Err(_) => look(),
        })
    });
    examination.first = look(&places.layer1_store, first, &format!("{} sweep", commands.layer1), examination);
    let import = format!("{} import", commands.layer3);
    examination.second = look(&places.layer3_store, second, &import, examination);
    examination.figures.layer1 = figures(&places.layer1_store, &examination.first, *now_ms);
    examination.figures.layer3 = figures(&places.layer3_store, &examination.second, *now_ms);
}

/// A store as what was seen of it before lets it be known.
struct Glance {
    /// Why its disk is not there.
    away: Option<String>,
    archive: Result<Option<Archive>, ArchiveError>,
    looked: Result<Looked, ArchiveError>,
    /// Its sessions, by project and id; of those that have to be looked at, which they are.
    sessions: Vec<Result<FoundSession, SessionKey>>,
}

/// Glances at a store. What was seen of either is in the file `rel` of layer 1's: layers 1 and 2 keep it.
fn glance(places: &Places, store: &Path, rel: &str) -> Glance {
    let (archive, looked) = (Ok(None), Ok(Looked::default()));
    let mut glance = Glance { away: places.away(store), archive, looked, sessions: Vec::new() };
    if glance.away.is_some() {
        return glance;
    }
    glance.archive = Archive::open(store);
    let Ok(Some(archive)) = &glance.archive else { return glance };
    glance.looked = archive.look_by(Seen::read(&places.layer1_store, rel, archive.store_id()));
    let Ok(looked) = &mut glance.looked else { return glance };
    let keys = std::mem::take(&mut looked.sessions).into_iter();
    glance.sessions = keys
        .map(|key| match looked.seen(&key).filter(|seen| seen.is_well(archive)) {
            Some(seen) => Ok(FoundSession::seen(key, &seen)),
            None => Err(key),
        })
        .collect();
    glance
}

/// Looks at a store behind a glance; `save` makes one that lost its bookkeeping whole.
fn look(store: &Path, glance: Glance, save: &str, examination: &mut Examination<'_>) -> FoundStore {
    let mut found = FoundStore::default();
    let context = examination.context;
    let unreadable = |what: String| Finding::new(context, Kind::StoreUnreadable, what, store);
    if let Some(why) = glance.away {
        examination.found(Kind::StoreAway, format!("failed to {why}"), store);
        return found;
    }
    let findings = &mut examination.findings;
    match glance.archive {
        Ok(Some(archive)) => found.archive = Some(archive),
        Ok(None) => findings.extend(why_none(store).map(|what| unreadable(what).mend(save))),
        Err(error) => findings.push(unreadable(format!("failed to {}", chain(&error)))),
    }
    let Some(archive) = &found.archive else { return found };
    found.looked = glance.looked.unwrap_or_else(|error| {
        findings.push(unreadable(format!("failed to {}", chain(&error))));
        Looked::default()
    });
    for session in glance.sessions {
        let key = match session {
            Ok(seen) => {
                found.sessions.push(seen);
                continue;
            }
            Err(key) => key,
        };
        match archive.quick_check(&key) {
            Ok(check) => {
                findings.extend(check.findings.iter().map(|found| damaged(context, archive, found)));
                // Of the second one, the first was looked at before.
                let first = examination.first.archive.as_ref().filter(|_| check.has_other_names);
                let shared = first.map(|first| archive.one_file_with(first, &key).unwrap_or_default());
                findings.extend(shared.unwrap_or_default().iter().map(|found| damaged(context, archive, found)));
                found.sessions.push(FoundSession::looked_at(key, check));
            }
            Err(error) => {
                let what = format!("failed to {}", chain(&error));
                findings.push(unreadable(what).of(&key.id, Some(key.project.as_str())));
                found.unread.insert(key.id);
            }
        }
    }
    known_damage(archive, examination);
    if !found.looked.strangers.is_empty() {
        examination.found(Kind::ConflictCopies, conflict_copies(&found.looked.strangers), store);
    }
    let aside = store.join(".state/damaged");
    if let files @ 1.. = files_below(&aside) {
        let files = count(files, "damaged file");
        examination.found(Kind::SetAside, format!("{files} set aside by a repair, to be looked at or deleted"), &aside);
    }
    found
}

/// Whether a save could write: asked of the system, nothing is written. `doctor` tries it.
pub(super) fn may_be_written(examination: &mut Examination<'_>) {
    let places = &examination.context.places;
    for store in [&places.layer1_store, &places.layer3_store] {
        if !store.is_dir() || places.away(store).is_some() {
            continue;
        }
        if let Err(error) = access(store, Access::WRITE_OK | Access::EXEC_OK) {
            let what = format!("nothing can be written into it: {}", std::io::Error::from(error));
            let quoted = shell_quoted(&store.to_string_lossy());
            let look = format!("ls -ld {quoted}; df -h {quoted}");
            let finding = Finding::new(examination.context, Kind::StoreUnwritable, what, store).mend(look);
            examination.findings.push(finding);
        }
    }
}

/// What stands in the place of a file or folder of Threefold's, and what was put aside for that.
pub(super) fn not_ours(examination: &mut Examination<'_>) {
    let context = examination.context;
    let (places, memories) = (&context.places, context.places.of_memories());
    for (store, found) in [
        (&places.layer1_store, Some(&examination.first)),
        (&places.layer3_store, Some(&examination.second)),
        (&memories.layer1_store, None),
        (&memories.layer3_store, None),
    ] {
        // Of those that are believed unseen the bookkeeping was looked up.
        let is_unread = |id: &str, found: &FoundStore| found.unread.iter().any(|unread| unread.as_str() == id);
        let is_seen = |id: &str, found: &FoundStore| found.looked.is_seen(id) && !is_unread(id, found);
        // A store that cannot be read was told.
        for foreign in Foreign::find(store, &|id| !found.is_some_and(|found| is_seen(id, found))).unwrap_or_default() {
            let finding = |kind, what: String| Finding::new(context, kind, what, &foreign.path);
            let what = foreign.what;
            examination.findings.push(match foreign.is_aside {
                true => {
                    let told = "what stood in the place of a file or folder of Threefold's was moved here";
                    finding(Kind::SetAside, format!("{told}: {what}, to be looked at or deleted"))
                }
                false => {
                    let told = "stands in the place of a file or folder of Threefold's, which cannot be used until it is moved";
                    finding(Kind::NotOurs, format!("{what} {told}"))
                }
            });
        }
    }
}

/// Conversations that the user had forgotten and that are not gone from both stores: `forget` was cut off, or a store was
/// put back to an older state.
pub(super) fn forgotten(examination: &mut Examination<'_>) {
    let Context { places, commands, .. } = examination.context;
    for store in [&places.layer1_store, &places.layer3_store] {
        // What cannot be opened was told.
        if Archive::open_as_found(store)
            .is_ok_and(|archive| archive.is_some_and(|archive| archive.has_lost_tombstones()))
        {
            let at = store.join(".state/forgotten");
            // The folder above was told, with what puts it right.
            if examination.is_foreign(&at) {
                continue;
            }
            let quoted = shell_quoted(&at.to_string_lossy());
            let what = format!(
                "which conversations you had forgotten is not known here, and they may be saved again: a file or link \
                 stands in the place of the folder {}; put the folder back, or move that away",
                one_line(&at.to_string_lossy())
            );
            let finding = Finding::new(examination.context, Kind::ForgetUnfinished, what, store);
            examination.findings.push(finding.mend(format!("mv {quoted} {quoted}.aside")));
        }
    }
    // What cannot be read was told.
    let of = |places| Stores::open(places).and_then(|stores| Ok(not_forgotten(&stores)?)).unwrap_or_default();
    for found in of(places).into_iter().chain(of(&places.of_memories())) {
        let store = if found.in_store == Layer::One { &places.layer1_store } else { &places.layer3_store };
        let finding = Finding::new(examination.context, Kind::ForgetUnfinished, found.to_text(), store);
        let command = format!("{} {}", commands.layer3, found.command());
        examination.findings.push(finding.mend(command).of(&found.id, None));
    }
}

/// Copies of what is ours under other names, and what to do about them.
fn conflict_copies(strangers: &[PathBuf]) -> String {
    let named = strangers.iter().take(NAMED_MAX).map(|path| path.to_string_lossy().escape_debug().to_string());
    let more = strangers.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let (are, them) = if strangers.len() == 1 { ("is a copy", "it") } else { ("are copies", "them") };
    format!(
        "{} here {are} that a sync service or `cp` made ({}{more}); Threefold does not use {them}: \
         delete {them}, and keep the backup out of folders that are synced",
        count(strangers.len() as u64, "file"),
        named.collect::<Vec<_>>().join(", ")
    )
}

/// Conversations that one of the two lacks, although nothing of it waits to be saved.
pub(super) fn in_one_copy_only(examination: &mut Examination<'_>) {
    let context = examination.context;
    let Ok(stores) = Stores::open(&context.places) else { return };
    let differ = ids_that_differ(&examination.first, &examination.second);
    let mut pairs = Pair::of(examination.first.keys_of(&differ), examination.second.keys_of(&differ));
    let is_in_both = |pair: &Pair| {
        let both = pair.layer1.as_ref().zip(pair.layer3.as_ref());
        let found = both.and_then(|(one, other)| examination.first.session(one).zip(examination.second.session(other)));
        found.is_some_and(|(one, other)| one.has_the_same_as(other))
    };
    pairs.retain(|pair| context.asking.as_deref() != Some(pair.key().id.as_str()) && !is_in_both(pair));
    // What cannot be read was told.
    let alone = in_one_copy(&stores, &context.places, &pairs).unwrap_or_default();
    for (layer, copy, store) in
        [(Layer::One, "first", &context.places.layer1_store), (Layer::Three, "second", &context.places.layer3_store)]
    {
        let held: Vec<_> = alone.iter().filter(|alone| alone.held_by == layer).collect();
        if held.is_empty() {
            continue;
        }
        let are = if held.len() == 1 { "is" } else { "are" };
        let bytes = Size(held.iter().map(|alone| alone.bytes).sum());
        let what = format!(
            "{} {are} in one copy only ({bytes}, in the {copy} one): the other store was lost, or put back to an older state",
            count(held.len() as u64, "conversation")
        );
        examination.found(Kind::OneCopy, what, store);
    }
}

/// The ids of the sessions that are not the same in both, or only in one of them.
fn ids_that_differ<'f>(first: &'f FoundStore, second: &'f FoundStore) -> HashSet<&'f SessionId> {
    let mut differ = HashSet::new();
    let (mut ones, mut others) = (first.sessions.iter().peekable(), second.sessions.iter().peekable());
    while let Some(order) = match (ones.peek(), others.peek()) {
        (None, None) => None,
        (None, _) => Some(Ordering::Greater),
        (_, None) => Some(Ordering::Less),
        (Some(one), Some(other)) => Some(one.key.cmp(&other.key)),
    } {
        let one = if order.is_le() { ones.next() } else { None };
        let other = if order.is_ge() { others.next() } else { None };
        if !one.zip(other).is_some_and(|(one, other)| one.has_the_same_as(other)) {
            differ.extend(one.or(other).map(|found| &found.key.id));
        }
    }
    differ
}

/// Why there is no store although something is there.
fn why_none(store: &Path) -> Option<String> {
    let examined = match std::fs::metadata(store) {
        Ok(meta) if meta.is_dir() => std::fs::read_dir(store),
        Ok(_) => return Some("this is no directory, so nothing can be saved here".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => Err(error),
    };
    if let Err(error) = examined {
        return Some(format!("failed to read it: {error}"));
    }
    match Archive::open_as_found(store).and_then(|found| found.map_or(Ok(0), |found| Ok(found.sessions()?.len()))) {
        Ok(0) => None,
        Ok(sessions) => {
            let sessions = count(sessions as u64, "session");
            let why = "the bookkeeping is lost, or the first version wrote them";
            Some(format!("{sessions} without bookkeeping: {why}; the next save takes them over as they are"))
        }
        Err(error) => Some(format!("failed to {}", chain(&error))),
    }
}

pub(super) fn damaged(context: &Context, archive: &Archive, found: &archive::Finding) -> Finding {
    let project = found.key.project.as_str();
    let place = archive.root().join(project).join(&found.path);
    let what = format!("{}: {}", found.kind.as_str(), found.detail);
    Finding::new(context, Kind::DamagedCopy, what, &place).of(&found.key.id, Some(project))
}

/// What `verify` found damaged and nothing has put right since: a quick look reads too little to see it.
pub(super) fn known_damage(archive: &Archive, examination: &mut Examination<'_>) {
    let context = examination.context;
    let known = archive.known_damage().unwrap_or_else(|error| {
        let what = format!("failed to {}", chain(&error));
        let finding = Finding::new(context, Kind::StoreUnreadable, what, archive.root());
        examination.findings.push(finding.mend(format!("{} verify", context.commands.layer3)));
        Vec::new()
    });
    for known in known {
        let mut finding = damaged(context, archive, &known.finding);
        if examination.findings.iter().any(|seen| (seen.kind, &seen.place) == (finding.kind, &finding.place)) {
            continue;
        }
        let ago = duration(context.now_ms.saturating_sub(known.at_ms) / 1000);
        finding.what.push_str(&format!("; `{}` found it {ago} ago", known.by));
        examination.findings.push(finding);
    }
}

fn files_below(folder: &Path) -> u64 {
    let (mut files, mut folders) = (0, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        // A folder that is not there or cannot be read holds nothing that this could name.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => files += 1,
            }
        }
    }
    files
}

fn figures(store: &Path, found: &FoundStore, now_ms: u64) -> StoreStatus {
    let sum = |of: fn(&FoundSession) -> u64| found.sessions.iter().map(of).sum();
    let last_ms = found.sessions.iter().filter_map(|session| session.committed_ms).max();
    StoreStatus {
        store: store.to_owned(),
        store_id: found.archive.as_ref().map(|archive| archive.store_id().to_owned()),
        sessions: found.sessions.len() as u64,
        files: sum(|session| session.files),
        generations: sum(|session| session.versions),
        bytes: sum(|session| session.disk_bytes),
        last_save: last_ms.map(|ms| format_rfc3339_ms(ms as i64)),
        last_save_age_seconds: last_ms.map(|ms| now_ms.saturating_sub(ms) / 1000),
    }
}

/// Whether both are there, writable, for nobody else, and on which file system they are.
pub(super) fn writable(examination: &mut Examination<'_>) {
    // To write says more than to ask.
    examination.findings.retain(|finding| finding.kind != Kind::StoreUnwritable);
    let figures = examination.figures.clone();
    let commands = &examination.context.commands;
    let stores = [
        (Subject::FirstCopy, &figures.layer1, &figures.layer3, format!("{} sweep --all", commands.layer1)),
        (Subject::SecondCopy, &figures.layer3, &figures.layer1, format!("{} import", commands.layer3)),
    ];
    for (subject, store, other, refill) in stores {
        let state = state(store, other, &refill, examination);
        let free = figures.disks.iter().find(|disk| disk.store == store.store);
        let free = free.map(|disk| format!(", {} free", Size(disk.free_bytes))).unwrap_or_default();
        let sessions = count(store.sessions, "session");
        // Of a store that is not there yet, the file system of the folder above.
        let existing = store.store.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let kind = platform::disk::kind(existing);
        let is_beside = subject == Subject::SecondCopy && figures.one_disk;
        let one_disk = if is_beside { ", the disk of the first" } else { "" };
        let place = examination.context.short(&store.store);
        let summary = format!("{state}, {sessions}, {kind}{free}{one_disk} ({place})");
        match state {
            NOT_THERE_YET => examination.leave_unchecked(subject, summary),
            _ => examination.summarise(subject, summary),
        }
    }
}

fn state(store: &StoreStatus, other: &StoreStatus, refill: &str, examination: &mut Examination<'_>) -> &'static str {
    let path = store.store.as_path();
    let quoted = shell_quoted(&path.to_string_lossy());
    let context = examination.context;
    let finding = |kind, what: &str| Finding::new(context, kind, what, path);
    if context.places.away(path).is_some() {
        return "its disk is not there";
    }
    let (state, wrong) = match path.metadata() {
        Ok(meta) if meta.is_dir() => {
            let mode = meta.permissions().mode() & 0o7777;
            if mode & 0o077 != 0 {
                examination.found(Kind::StoreOpen, format!("others may look into it (mode {mode:o})"), path);
            }
            match probe(path) {
                Ok(()) => ("writable", None),
                Err(why) => {
                    let what = format!("nothing can be written into it: {why}");
                    let look = format!("ls -ld {quoted}; df -h {quoted}");
                    ("not writable", Some(finding(Kind::StoreUnwritable, &what).mend(look)))
                }
            }
        }
        Ok(_) => {
            let replace = format!("mv {quoted} {quoted}.aside && {refill}");
            let file = finding(Kind::StoreUnwritable, "a file stands where the store should be");
            ("no directory", Some(file.mend(replace)))
        }
        Err(_) if path.symlink_metadata().is_ok() => {
            let link = finding(Kind::StoreUnwritable, "it is a link that leads nowhere");
            ("a broken link", Some(link.mend(format!("ls -ld {quoted}"))))
        }
        Err(_) if other.sessions > 0 => {
            let what = "it is not there, although the other store holds sessions";
            ("missing", Some(finding(Kind::StoreMissing, what).mend(refill)))
        }
        Err(_) => {
            let young = finding(Kind::StoreMissing, "it is not there yet; the first save makes it");
            (NOT_THERE_YET, Some(young.needing_person(false).mend(format!("mkdir -m 700 {quoted}"))))
        }
    };
    examination.findings.extend(wrong);
    state
}

/// Writes a file, reads it back and removes it.
fn probe(store: &Path) -> Result<(), String> {
    let path = store.join(format!("{PROBE}-{}", std::process::id()));
    let written = fs::replace_file(&path, b"written by doctor, to be removed\n");
    // Also what a failed write may have left.
    let removed = fs::remove_file(&path);
    written.map_err(|error| chain(&error))?;
    removed.map(|_| ()).map_err(|error| chain(&error))
}
