//! Saving one session: the verified copy, its metadata, its rows in the index, the receipt.
//!
//! The copy comes first and alone decides about the receipt. What layer 1 saw and the source no
//! longer has is taken over from layer 1's store before the source's present content is saved,
//! so that it becomes an older generation and never the newest content.

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use layer1_prebackup::archive::{
    Archive, ArchiveError, Compare, SaveReport, SaveRequest, SessionKey, StoredFile, TranscriptState,
};
use layer1_prebackup::claude::side_files::has_rest_of;
use layer1_prebackup::claude::survey::memories;
use layer1_prebackup::claude::transcripts::{self, Reach};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs;
use layer1_prebackup::names::{FileName, LAYER3, SessionId, StoredName, typed};
use layer1_prebackup::wire::outbox_job::MEMORIES_TRIGGER;

use crate::failure::{Failure, Kind, chain};
use crate::save::adopt_v1;
use crate::save::after_save::{index_or_warn, record_loss_or_warn};
use crate::save::from_layer1::{self, Layer1, take_over};
use crate::save::later::Later;
use crate::save::log::LogSink;
use crate::save::memory;
use crate::save::receipt::{Answer, Expected, Receipt, ReceiptFile};
use crate::save::request::{Request, TRIGGER_BEFORE_RESTORE, TRIGGER_UNKNOWN};
use crate::save::roots::{RootKind, is_same_path};
use crate::save::steps::Steps;
use crate::terminal::one_line;

/// Saves the session and says what is stored. `progress` is told the bytes handled so far, at
/// least once per 8 MiB, ever growing. Safe to kill at any instruction, and to repeat.
pub(crate) fn save(
    places: &Places,
    journal: &LogSink,
    request: &Request<'_>,
    progress: &dyn Fn(u64),
) -> Result<Answer, Failure> {
    save_with_memory(places, journal, request, progress, &|archive, key, trigger, steps, warnings| {
        index_or_warn(places, journal, archive, key, trigger, steps, warnings)
    })
}

/// [`save`], whose answer does not wait for the index.
pub(crate) fn save_and_index_later(
    places: &Places,
    journal: &LogSink,
    later: &Later,
    request: &Request<'_>,
    progress: &dyn Fn(u64),
) -> Result<Answer, Failure> {
    save_with_memory(places, journal, request, progress, &|archive, key, trigger, _, warnings| {
        later.index(archive, key, trigger, warnings)
    })
}

fn save_with_memory(
    places: &Places,
    journal: &LogSink,
    request: &Request<'_>,
    progress: &dyn Fn(u64),
    index: &Indexer<'_>,
) -> Result<Answer, Failure> {
    let answer = save_and(places, journal, None, request, progress, index)?;
    // The conversation is saved whatever becomes of it.
    let saved = panic::catch_unwind(AssertUnwindSafe(|| save_memories(places, request)));
    let problems = saved.unwrap_or_else(|_| vec!["memory: saving it failed".to_owned()]);
    problems.iter().for_each(|why| journal.line(&format!("[session-save] ⚠️ {why}")));
    Ok(answer)
}

/// Saves what Claude Code remembers of the session's project, or of all where that was asked for; what could not be.
fn save_memories(places: &Places, request: &Request<'_>) -> Vec<String> {
    let told = |id: &SessionId, why: &str| format!("memory {id}: {why}");
    if request.trigger == Some(MEMORIES_TRIGGER) {
        let failed = memory::save_all(places);
        return failed.map_or_else(
            |error| vec![format!("memories: {error}")],
            |failed| failed.iter().map(|(id, why)| told(id, why)).collect(),
        );
    }
    let found = (request.root != RootKind::Layer1Store).then(|| memories([request.transcript]).pop()).flatten();
    let Some(found) = found else { return Vec::new() };
    let problems = memory::save(places, &found, request.reach).unwrap_or_else(|error| vec![error.to_string()]);
    problems.iter().map(|why| told(&found.id, why)).collect()
}

/// [`save`] without index and metadata: for one of many sessions, which are indexed together
/// afterwards (`Index::expect_more` before, `Index::catch_up` and `write_all_metadata` after). `archive`
/// is layer 3's store, if it is open already: what was seen to of its folders is not seen to again.
pub(crate) fn store(
    places: &Places,
    journal: &LogSink,
    archive: Option<&Archive>,
    request: &Request<'_>,
    progress: &dyn Fn(u64),
) -> Result<Answer, Failure> {
    save_and(places, journal, archive, request, progress, &|_, _, _, _, _| 0)
}

/// Indexes what is stored of a session; how many messages it has then.
type Indexer<'a> = dyn Fn(&Archive, &SessionKey, &str, &Steps<'_>, &mut Vec<String>) -> u64 + 'a;

fn save_and(
    places: &Places,
    journal: &LogSink,
    archive: Option<&Archive>,
    request: &Request<'_>,
    progress: &dyn Fn(u64),
    index: &Indexer<'_>,
) -> Result<Answer, Failure> {
    let steps = Steps::new(progress);
    let mut warnings = Vec::new();
    let layer1 = from_layer1::open_layer1(places, request, &mut warnings)?;
    let request = &as_reached(request, layer1.as_ref())?;
    if is_forgotten(places, request.id)? {
        return Ok(forgotten(request.id));
    }
    let bytes = source_bytes(request)?;
    if bytes.is_none_or(|bytes| bytes == 0)
        && !has_rest(request)
        && layer1.is_none()
        && request.expected.is_none_or(<[_]>::is_empty)
    {
        let what = if bytes.is_none() { "does not exist" } else { "is empty" };
        let path = one_line(&request.transcript.display().to_string());
        return Ok(Answer::skipped(format!("the transcript {path} {what}, and layer 1 has no copy of it")));
    }
    let opened;
    let archive = match archive {
        Some(archive) => archive,
        None => {
            opened = adopt_v1::create(places)?;
            &opened
        }
    };
    archive.reach_sources_by(request.reach);
    let wanted = wanted(request, layer1.as_ref());
    let key = destination(archive, request, layer1.as_ref())?;
    let unchanged = layer1.as_ref().is_some_and(|layer1| from_layer1::is_unchanged_since(request, layer1));
    // What layer 1 still has is asked for.
    archive.drop_superseded(layer1.is_none() || unchanged);
    if let (Some(key), Some(layer1)) = (&key, &layer1) {
        let gone =
            |want: &Expected| want.name.generation > 0 || !from_layer1::source_has(request, layer1, unchanged, want);
        take_over(archive, key, layer1, wanted.iter().filter(|want| gone(want)), &steps, &mut warnings)?;
    }
    let report = copy(archive, request, key.as_ref(), &steps)?;
    if report.transcript == TranscriptState::Forgotten {
        return Ok(forgotten(request.id));
    }
    warnings
        .extend(report.problems.iter().map(|problem| format!("not everything could be stored: {}", chain(problem))));
    let Some(key) = stored_key(archive, key, &report)? else {
        return Err(unproven(request.id, "the store has no transcript of it"));
    };
    steps.know_as_covered(&key, &report.read_back);
    // All that is asked below of one content, the copy's own length and the caller's, is read at once.
    let newest = archive.files(&key)?.into_iter().filter(|file| file.name == StoredName::newest(FileName::Transcript));
    let newest: Vec<Expected> = newest.map(|file| Expected::of(&file)).collect();
    steps.are_covered(archive, &key, &wanted.iter().chain(&newest).collect::<Vec<_>>())?;
    if let Some(layer1) = &layer1 {
        take_over(archive, &key, layer1, wanted.iter(), &steps, &mut warnings)?;
    }
    if let Some(layer1) = &layer1
        && let Err(error) = take_labels(archive, &layer1.archive, &key)
    {
        warnings.push(format!("its name, tags and note could not be taken from the first copy: {}", chain(&error)));
    }
    let files = archive.files(&key)?;
    if files.iter().any(|file| file.name.generation > 0 && file.name.file == FileName::Transcript) {
        record_loss_or_warn(places, &key, &steps, &mut warnings);
    }
    let bytes = verify_copy(archive, &key, &report, &files, &steps)?;
    let trigger = request.trigger.map(one_line).filter(|t| !t.is_empty()).unwrap_or(TRIGGER_UNKNOWN.to_owned());
    let receipt = receipt(archive, &key, request, &files, &steps)?;
    let messages_indexed = index(archive, &key, &trigger, &steps, &mut warnings);
    // Last, for whoever reads it may rely on the metadata beside the copy too.
    if let Some(bytes) = bytes {
        journal.line(&format!("[session-save] ✅ JSONL backed up ({bytes} bytes) - trigger: {trigger}"));
    }
    for warning in &warnings {
        journal.line(&format!("[session-save] ⚠️ {}: {warning}", request.id));
    }
    journal.tell_shortcomings();
    let warning = (!warnings.is_empty()).then(|| warnings.join("; "));
    Ok(Answer::Receipt(Receipt { messages_indexed, trigger, warning, ..receipt }))
}

/// What the user calls the conversation, where the first copy has more of that.
fn take_labels(archive: &Archive, layer1: &Archive, key: &SessionKey) -> Result<(), ArchiveError> {
    match layer1.labels(&key.id)? {
        Some(labels) => archive.merge_labels(&key.id, &labels).map(drop),
        None => Ok(()),
    }
}

/// Whether the user had the conversation forgotten: either store may have been put back to an older state, or be another.
fn is_forgotten(places: &Places, id: &SessionId) -> Result<bool, Failure> {
    let by = |store: &Path| Archive::open(store)?.map_or(Ok(false), |archive| archive.is_forgotten(id));
    // A layer 1 that cannot be read is a warning of the save.
    Ok(by(&places.layer3_store)? || by(&places.layer1_store).unwrap_or(false))
}

fn forgotten(id: &SessionId) -> Answer {
    Answer::skipped(format!(
        "you had conversation {id} forgotten; `{}` ends that",
        typed(LAYER3, &format!("forget --allow-again {id}"))
    ))
}

/// Whether something is left of a conversation beside where its transcript was.
fn has_rest(request: &Request<'_>) -> bool {
    request.root == RootKind::Claude && has_rest_of(request.reach, request.transcript, request.id)
}

/// The request, as far as its transcript may be read: one that a link leads to, or that has a second name, counts as far
/// as layer 1 has a copy of it.
fn as_reached<'a>(request: &Request<'a>, layer1: Option<&Layer1>) -> Result<Request<'a>, Failure> {
    if request.root != RootKind::Claude || request.reach != Reach::Plain {
        return Ok(*request);
    }
    match transcripts::open_transcript_by(request.reach, request.transcript) {
        Err(error) if error.is_not_ours() && layer1.is_some() => Ok(Request { root: RootKind::Unread, ..*request }),
        Err(error) if error.is_not_ours() => {
            let what = format!("accept transcript path {:?}: {}", request.transcript, error.source);
            let hint =
                format!("layer 1 has no copy of it; if it is a conversation, `{}` saves it", typed(LAYER3, "import"));
            Err(Failure::new(what).of(Kind::InvalidInput).hint(hint))
        }
        _ => Ok(*request),
    }
}

/// Length of the source's transcript now; `None` where there is none.
fn source_bytes(request: &Request<'_>) -> Result<Option<u64>, Failure> {
    if request.root != RootKind::Claude {
        return Ok(None);
    }
    let Some(file) = transcripts::open_transcript_by(request.reach, request.transcript)? else { return Ok(None) };
    Ok(Some(fs::stat_of(&file, request.transcript)?.st_size as u64))
}

/// What the receipt is about: what the caller holds, else what layer 1 holds; older generations
/// first, in their order.
fn wanted(request: &Request<'_>, layer1: Option<&Layer1>) -> Vec<Expected> {
    let mut wanted = match (request.expected, layer1) {
        (Some(expected), _) => expected.to_vec(),
        (None, Some(layer1)) => layer1.files.iter().map(Expected::of).collect(),
        (None, None) => Vec::new(),
    };
    wanted.sort_by_key(|want| if want.name.generation == 0 { u32::MAX } else { want.name.generation });
    wanted
}

/// The session's folder in this store, as far as it is certain before the source is read: the
/// store's own word for this very source, else the job's, else layer 1's. `None` where that folder
/// holds the copy of another source that still exists: then the archive compares and decides.
fn destination(
    archive: &Archive,
    request: &Request<'_>,
    layer1: Option<&Layer1>,
) -> Result<Option<SessionKey>, Failure> {
    let source = match layer1 {
        Some(layer1) if request.root == RootKind::Layer1Store => layer1.archive.source_of(&layer1.key)?,
        _ => Some(request.transcript.to_owned()),
    };
    let is_source = |other: &Path| source.as_deref().is_some_and(|source| is_same_path(source, other));
    let mut taken = Vec::new();
    for key in archive.recorded(request.id)? {
        match archive.source_of(&key)? {
            Some(other) if is_source(&other) => return Ok(Some(key)),
            Some(other) if std::fs::symlink_metadata(&other).is_ok() => taken.push(key.project),
            _ => {}
        }
    }
    let project = request.project.or(layer1.map(|layer1| &layer1.key.project));
    let free = project.filter(|project| source.is_none() || !taken.contains(project));
    let Some(free) = free else { return Ok(None) };
    Ok(Some(SessionKey { project: archive.folder_for(free)?, id: request.id.clone() }))
}

fn copy(
    archive: &Archive,
    request: &Request<'_>,
    key: Option<&SessionKey>,
    steps: &Steps<'_>,
) -> Result<SaveReport, Failure> {
    if request.root != RootKind::Claude {
        return Ok(SaveReport {
            key: key.cloned(),
            transcript: TranscriptState::Absent,
            source_bytes: 0,
            bytes_added: 0,
            generations_begun: 0,
            read_back: Vec::new(),
            problems: Vec::new(),
            sides_left: 0,
        });
    }
    let compare = match request.trigger {
        None | Some("pre-compact" | "session-end" | TRIGGER_BEFORE_RESTORE) => Compare::Whole,
        Some(_) => Compare::Windows,
    };
    let project = key.map(|key| &key.project);
    let (id, transcript, cwd) = (request.id, request.transcript, request.cwd);
    Ok(steps.run(|progress| archive.save(&SaveRequest { id, transcript, project, cwd, compare, progress }))?)
}

/// Under which key the session now stands in the store, if it does.
fn stored_key(archive: &Archive, key: Option<SessionKey>, report: &SaveReport) -> Result<Option<SessionKey>, Failure> {
    let Some(key) = report.key.clone().or(key) else { return Ok(None) };
    Ok((!archive.files(&key)?.is_empty()).then_some(key))
}

/// srcSize === dstSize, and the bytes read back hash to their record. The copy may be longer: a
/// save that ran at the same time saw more. Returns the transcript's length, if one is stored.
pub(super) fn verify_copy(
    archive: &Archive,
    key: &SessionKey,
    report: &SaveReport,
    files: &[StoredFile],
    steps: &Steps<'_>,
) -> Result<Option<u64>, Failure> {
    let newest = StoredName::newest(FileName::Transcript);
    let Some(stored) = files.iter().find(|file| file.name == newest) else {
        return match report.transcript {
            TranscriptState::Stored => Err(unproven(&key.id, "the store has no transcript of it")),
            TranscriptState::Absent | TranscriptState::Empty | TranscriptState::Forgotten => Ok(None),
        };
    };
    if report.transcript == TranscriptState::Stored && stored.bytes < report.source_bytes {
        let why = format!(
            "the transcript had {} bytes when it was opened, the copy has {}",
            report.source_bytes, stored.bytes
        );
        return Err(unproven(&key.id, &why).hint("save it again"));
    }
    if steps.are_covered(archive, key, &[&Expected::of(stored)])? != [true] {
        let (path, bytes) = (&stored.path, stored.bytes);
        let why = format!("{path} does not hash to what was recorded ({bytes} bytes)");
        return Err(
            unproven(&key.id, &why).hint(format!("`{}` tells more", typed(LAYER3, &format!("verify {}", key.id))))
        );
    }
    Ok(Some(stored.bytes))
}

/// The copy is not what it should be. What was stored before is untouched.
fn unproven(id: &SessionId, why: &str) -> Failure {
    Failure::new(format!("verify the copy of session {id}: {why}"))
}

fn receipt(
    archive: &Archive,
    key: &SessionKey,
    request: &Request<'_>,
    files: &[StoredFile],
    steps: &Steps<'_>,
) -> Result<Receipt, Failure> {
    let stored: Vec<Expected> = files.iter().map(Expected::of).collect();
    let entries: Vec<&Expected> = request.expected.unwrap_or(&stored).iter().collect();
    let covered = steps.are_covered(archive, key, &entries)?;
    let entries = entries.iter().zip(covered).map(|(entry, covered)| ReceiptFile {
        path: entry.name.to_text(&key.id),
        generation: entry.name.generation,
        bytes: entry.bytes,
        blake3: entry.blake3.to_hex().to_string(),
        covered,
    });
    Ok(Receipt {
        session_id: key.id.to_string(),
        project: key.project.to_string(),
        store_id: archive.store_id().to_owned(),
        files: entries.collect(),
        messages_indexed: 0,
        trigger: String::new(),
        warning: None,
    })
}
