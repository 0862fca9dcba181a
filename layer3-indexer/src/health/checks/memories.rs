//! What Claude Code remembers of the projects against the two copies of it: what is not saved, what is gone, what is damaged.

use std::path::Path;

use layer1_prebackup::archive::{Archive, SessionKey, StoredFile};
use layer1_prebackup::claude::survey::{FoundTranscript, memories};
use layer1_prebackup::names::FileName;

use crate::failure::chain;
use crate::health::checks::sources::{BEHIND_MS, NO_COPY_MS, modified_ms, save_line};
use crate::health::checks::stores::damaged;
use crate::health::examination::Examination;
use crate::health::finding::{Finding, Kind};
use crate::health::text::duration;
use crate::save::memory::key_of;
use crate::save::roots::all_resolved_projects;
use crate::terminal::{count, shell_quoted};

/// What Claude Code remembers, in both copies.
pub(super) fn of_projects(examination: &mut Examination<'_>) {
    let context = examination.context;
    let places = context.places.of_memories();
    let mut found = memories(all_resolved_projects(&context.places));
    found.retain(|memory| !context.places.policy.exclude.is_excluded(&memory.path, None));
    let [first, second] = [&places.layer1_store, &places.layer3_store].map(|store| look(store, examination));
    for memory in &found {
        not_saved(memory, first.as_ref(), second.as_ref(), examination);
    }
    let mut told = Vec::new();
    for archive in [&second, &first].into_iter().flatten() {
        // A store that cannot be listed was reported.
        for key in archive.sessions().unwrap_or_default() {
            if !told.contains(&key.id) {
                told.push(key.id.clone());
                gone(archive, &key, examination);
            }
        }
    }
}

/// Opens a store of memories; what a quick look finds wrong in it is reported.
fn look(store: &Path, examination: &mut Examination<'_>) -> Option<Archive> {
    let context = examination.context;
    let unreadable = |error: &dyn std::error::Error| {
        Finding::new(context, Kind::StoreUnreadable, format!("failed to {}", chain(error)), store)
    };
    // The store around it is looked at by itself.
    store.symlink_metadata().ok()?;
    let archive = match Archive::open_as_found(store) {
        Ok(archive) => archive?,
        Err(error) => {
            examination.findings.push(unreadable(&error));
            return None;
        }
    };
    let keys = archive.sessions().unwrap_or_else(|error| {
        examination.findings.push(unreadable(&error));
        Vec::new()
    });
    for key in keys {
        match archive.quick_check(&key) {
            Ok(check) => {
                examination.findings.extend(check.findings.iter().map(|found| damaged(context, &archive, found)));
            }
            Err(error) => examination.findings.push(unreadable(&error)),
        }
    }
    Some(archive)
}

fn not_saved(
    memory: &FoundTranscript,
    first: Option<&Archive>,
    second: Option<&Archive>,
    examination: &mut Examination<'_>,
) {
    let context = examination.context;
    // What cannot be compared counts as not saved.
    let has =
        |archive: Option<&Archive>| archive.is_some_and(|archive| !archive.is_behind_found(memory).unwrap_or(true));
    let (in_first, in_second) = (has(first), has(second));
    if in_first && in_second {
        return;
    }
    let age_ms = context.now_ms.saturating_sub(newest_below(&memory.path).unwrap_or(context.now_ms));
    let knows =
        |archive: Option<&Archive>| archive.is_some_and(|archive| matches!(key_of(archive, &memory.id), Ok(Some(_))));
    let limit_ms = if knows(first) || knows(second) { BEHIND_MS } else { NO_COPY_MS };
    let lacking = match (in_first, in_second) {
        (true, _) => "only the first copy has it",
        (_, true) => "only the second copy has it",
        _ => "no copy of it as it is now",
    };
    let what =
        format!("what Claude Code remembers of this project: {lacking}; it changed {} ago", duration(age_ms / 1000));
    let finding = Finding::new(context, Kind::NotSaved, what, &memory.path);
    examination.findings.push(finding.needing_person(age_ms > limit_ms).mend(save_line(context, in_first)));
}

/// Files that are saved and no longer there.
fn gone(archive: &Archive, key: &SessionKey, examination: &mut Examination<'_>) {
    let context = examination.context;
    // What cannot be read was reported by the quick look.
    let Ok((Some(folder), files)) = archive.source_of(key).and_then(|source| Ok((source, archive.files(key)?))) else {
        return;
    };
    let is_gone = |file: &&StoredFile| match &file.name.file {
        FileName::Side(rel) if file.name.generation == 0 => folder.join(rel).symlink_metadata().is_err(),
        _ => false,
    };
    let files = files.iter().filter(is_gone).count() as u64;
    if files == 0 {
        return;
    }
    let gone = if files == 1 { "was deleted; it is backed up" } else { "were deleted; they are backed up" };
    let what = format!("{} of Claude Code's memory of this project {gone}", count(files, "file"));
    let project = shell_quoted(key.project.as_str());
    let restore = format!("{} restore --memory --project {project}", context.commands.layer3);
    examination.findings.push(Finding::new(context, Kind::Vanished, what, &folder).mend(restore));
}

/// When the newest file below a folder was last modified.
fn newest_below(folder: &Path) -> Option<u64> {
    // What cannot be listed has no age.
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let newest = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => newest_below(&entry.path()),
        _ => modified_ms(&entry.path()),
    };
    entries.filter_map(newest).max()
}
