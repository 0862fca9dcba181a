//! What layer 1 holds of a session, and taking it over where the source no longer has it.

use std::collections::HashMap;
use std::path::Path;

use layer1_prebackup::Hash;
use layer1_prebackup::archive::{Archive, ArchiveError, SessionKey, StoredFile};
use layer1_prebackup::claude::side_files::open_source_by;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs;
use layer1_prebackup::names::{FileName, ProjectName, StoredName};

use crate::failure::{Failure, chain};
use crate::save::receipt::Expected;
use crate::save::request::Request;
use crate::save::roots::{RootKind, is_same_path};
use crate::save::steps::Steps;

/// Layer 1's copy of the session.
pub(super) struct Layer1 {
    pub(super) archive: Archive,
    pub(super) key: SessionKey,
    pub(super) files: Vec<StoredFile>,
}

/// What layer 1 holds of the session. A layer 1 that cannot be read is a warning: the source is
/// there to be saved without it.
pub(super) fn open_layer1(
    places: &Places,
    request: &Request<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<Layer1>, Failure> {
    let open = || -> Result<Option<Layer1>, ArchiveError> {
        let Some(archive) = Archive::open_as_found(&places.layer1_store)? else { return Ok(None) };
        let Some(key) = key_in_layer1(&archive, request)? else { return Ok(None) };
        archive.reach_sources_by(request.reach);
        let files = archive.files(&key)?;
        Ok((!files.is_empty()).then_some(Layer1 { archive, key, files }))
    };
    match open() {
        Ok(layer1) => Ok(layer1),
        Err(error) if request.root == RootKind::Layer1Store => Err(error.into()),
        Err(error) => {
            warnings.push(format!("layer 1's store could not be asked: {}", chain(&error)));
            Ok(None)
        }
    }
}

fn key_in_layer1(archive: &Archive, request: &Request<'_>) -> Result<Option<SessionKey>, ArchiveError> {
    let folder = request.transcript.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let project = match (request.root, folder) {
        (RootKind::Layer1Store, Some(folder)) => ProjectName::parse(folder).ok(),
        _ => request.project.cloned(),
    };
    let known = archive.find(request.id)?;
    if let Some(key) = known.iter().find(|key| Some(&key.project) == project.as_ref()) {
        return Ok(Some(key.clone()));
    }
    // Two projects can bear the same id. A copy of another source that still exists is not this
    // session's, although it may be the only one of that id.
    let mut free = Vec::new();
    for key in known {
        match archive.source_of(&key)? {
            Some(source) if is_same_path(&source, request.transcript) => return Ok(Some(key)),
            Some(source) if std::fs::symlink_metadata(&source).is_ok() => {}
            _ => free.push(key),
        }
    }
    Ok(if free.len() == 1 { free.pop() } else { None })
}

/// Whether the source, side files included, is as layer 1 copied it; in doubt it is not. It looks
/// at every file of the session, so it is asked once a save.
pub(super) fn is_unchanged_since(request: &Request<'_>, layer1: &Layer1) -> bool {
    request.root == RootKind::Claude
        && layer1.archive.is_behind(request.id, request.transcript).is_ok_and(|behind| !behind)
}

/// Whether the source still begins with what layer 1 copied from it. In doubt it does not: then
/// the content is taken over, which costs space and loses nothing.
pub(super) fn source_has(request: &Request<'_>, layer1: &Layer1, unchanged: bool, want: &Expected) -> bool {
    if request.root != RootKind::Claude {
        return false;
    }
    let opened = open_source_by(request.reach, request.transcript, request.id, &want.name.file);
    let Ok(Some(file)) = opened else { return false };
    if unchanged && layer1.files.iter().any(|file| file.name == want.name && Expected::of(file) == *want) {
        return true;
    }
    fs::hash_of_prefix(&file, want.bytes, request.transcript).is_ok_and(|hash| hash == want.blake3)
}

/// Takes over from layer 1 what is wanted and not yet covered. What layer 1 does not hold, or
/// holds damaged, is a warning: the receipt will say that it is not covered.
pub(super) fn take_over<'a>(
    archive: &Archive,
    key: &SessionKey,
    layer1: &Layer1,
    wanted: impl Iterator<Item = &'a Expected>,
    steps: &Steps<'_>,
    warnings: &mut Vec<String>,
) -> Result<(), Failure> {
    let wanted: Vec<&Expected> = wanted.collect();
    let covered = steps.are_covered(archive, key, &wanted)?;
    let held: HashMap<&StoredName, &StoredFile> = layer1.files.iter().map(|file| (&file.name, file)).collect();
    let content = |file: &'_ StoredFile| (file.name.file.clone(), file.blake3);
    // Of equal ones the first counts.
    let contents: HashMap<(FileName, Hash), &StoredFile> =
        layer1.files.iter().rev().map(|file| (content(file), file)).collect();
    let content_for = |want: &Expected| {
        let same_name = held.get(&want.name).copied().filter(|file| has(file, want));
        same_name.or_else(|| contents.get(&(want.name.file.clone(), want.blake3)).copied()).cloned()
    };
    let missing = wanted.iter().zip(covered).filter(|(_, covered)| !covered);
    let contents: Vec<StoredFile> = missing.filter_map(|(want, _)| content_for(want)).collect();
    if contents.is_empty() {
        return Ok(());
    }
    let taken = steps.run(|progress| archive.replicate(key, &layer1.archive, &layer1.key, &contents, progress))?;
    for (content, taken) in contents.iter().zip(taken) {
        let Err(error) = taken else { continue };
        let path = &content.path;
        let warning = format!("{path} could not be taken over from layer 1's store: {}", chain(&error));
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    Ok(())
}

/// Whether the stored content is what is wanted; the caller's list may be a moment older than
/// the store, whose content then is longer.
fn has(file: &StoredFile, want: &Expected) -> bool {
    file.name == want.name && file.bytes >= want.bytes || file.name.file == want.name.file && file.blake3 == want.blake3
}
