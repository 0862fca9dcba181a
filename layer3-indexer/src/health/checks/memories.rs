//! What Claude Code remembers of the projects against the two copies of it: what is not saved, what is gone,
//! what is in one copy only, what is damaged.

use std::path::Path;

use layer1_prebackup::archive::Archive;
use layer1_prebackup::claude::survey::{FoundTranscript, memories};
use layer1_prebackup::config::size::Size;

use crate::failure::chain;
use crate::health::checks::sources::{BEHIND_MS, NO_COPY_MS, modified_ms, save_line};
use crate::health::checks::stores::{damaged, known_damage};
use crate::health::context::Commands;
use crate::health::examination::Examination;
use crate::health::finding::{Finding, Kind};
use crate::health::text::duration;
use crate::save::memory::key_of;
use crate::save::roots::all_resolved_projects;
use crate::stores::Layer;
use crate::stores::memory_loss::{MemoryLoss, memory_losses};
use crate::stores::one_copy::memories_in_one_copy;
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
    for loss in memory_losses([second.as_ref(), first.as_ref()], examination.second.archive.as_ref()) {
        if !context.places.policy.exclude.is_excluded(&loss.folder, None) {
            lost(&loss, examination);
        }
    }
    in_one_copy_only(examination);
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
    known_damage(&archive, examination);
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

/// Files that are no longer as they were, by the command that brings them back.
fn lost(loss: &MemoryLoss, examination: &mut Examination<'_>) {
    let context = examination.context;
    let layer3 = &context.commands.layer3;
    let restore = format!("{layer3} restore --memory --project {}", shell_quoted(loss.key.project.as_str()));
    let let_be = format!("if that is all right, `{layer3} status --acknowledge {}`", loss.key.id);
    if loss.deleted > 0 {
        let gone = if loss.deleted == 1 { "was deleted; it is backed up" } else { "were deleted; they are backed up" };
        let files = count(loss.deleted, "file");
        let what = format!("{files} of Claude Code's memory of this project {gone}; {let_be}");
        examination.findings.push(Finding::new(context, Kind::Vanished, what, &loss.folder).mend(&restore));
    }
    if loss.shorter > 0 {
        let are = if loss.shorter == 1 { "is" } else { "are" };
        let files = count(loss.shorter, "file");
        let what = format!(
            "{files} of Claude Code's memory of this project {are} shorter than a version that is backed up; `--until TIME` brings that back; {let_be}"
        );
        let look = format!("{restore} --dry-run");
        examination.findings.push(Finding::new(context, Kind::MemoryShrunk, what, &loss.folder).mend(look));
    }
}

/// Memories that one of the two stores lacks, or a version of them.
fn in_one_copy_only(examination: &mut Examination<'_>) {
    let context = examination.context;
    // What cannot be read was told.
    let alone = memories_in_one_copy(&context.places).unwrap_or_default();
    let places = context.places.of_memories();
    let Commands { layer2, layer3, .. } = &context.commands;
    for (layer, copy, store, mend) in [
        (Layer::One, "first", &places.layer1_store, format!("{layer3} import")),
        (Layer::Three, "second", &places.layer3_store, format!("{layer2} drain --foreground")),
    ] {
        let held: Vec<_> = alone.iter().filter(|alone| alone.held_by == layer).collect();
        if held.is_empty() {
            continue;
        }
        let bytes = Size(held.iter().map(|alone| alone.bytes).sum());
        let what = format!(
            "what Claude Code remembers of {} is in one copy only ({bytes}, in the {copy} one): the other store was lost, or put back to an older state",
            count(held.len() as u64, "project")
        );
        examination.findings.push(Finding::new(context, Kind::OneCopy, what, store).mend(mend));
    }
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
