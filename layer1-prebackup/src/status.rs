//! `status`, `history` and `verify`: for debugging this layer alone. They write
//! nothing, except for `verify --repair`.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Local};
use rustix::fs::FileType;
use serde_json::{Value, json};

use crate::archive::{Archive, ArchiveError, Compare, Finding, Repair, SaveRequest, SessionKey, Verification};
use crate::claude::survey::{FoundTranscript, PassedOver, memories, survey};
use crate::claude::transcripts;
use crate::config::exclude::Exclusions;
use crate::config::places::memories_of;
use crate::config::settings::Policy;
use crate::config::size::Size;
use crate::fs::{Dir, DurableError};
pub use crate::hook::complaint::complaints;
use crate::names::{FileName, LAYER1, ProjectName, typed};
use crate::wire::offsite::counted;
use crate::wire::shown::{in_json, shown_on_a_line};

/// A finding of which layer 3's `status` tells in the same words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A transcript changed since its copy, or has none.
    NotSaved,
    /// The settings exclude a transcript.
    Excluded,
    /// The transcript of a saved session is gone.
    Vanished,
    /// Of turns that were seen Claude Code wrote no transcript.
    NoTranscript,
    /// Something looks like a conversation and is not copied.
    PassedOver,
}

impl Kind {
    /// Its stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::NotSaved => "not-saved",
            Kind::Excluded => "excluded",
            Kind::Vanished => "vanished",
            Kind::NoTranscript => "no-transcript",
            Kind::PassedOver => "passed-over",
        }
    }
}

/// An answer could not be given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InspectError {
    /// The archive failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// No session has this id or prefix, or several do.
    #[error("{0}")]
    Session(String),
    /// The answer could not be written.
    #[error("write the answer: {0}")]
    Output(#[from] io::Error),
}

/// Sessions, bytes, generations, what is behind and what lost its source.
pub(crate) fn status(
    store: &Path,
    projects: &[PathBuf],
    not_kept: Vec<PassedOver>,
    exclude: &Exclusions,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<(), InspectError> {
    let status = gather_status(store, projects, not_kept, exclude)?;
    if as_json {
        return write_json(out, &status);
    }
    let number = |name: &str| status[name].as_u64().unwrap_or(0);
    let unnamed = if number("sessions") > 0 { "without bookkeeping" } else { "not made yet" };
    writeln!(out, "store        {} ({})", store.display(), status["store_id"].as_str().unwrap_or(unnamed))?;
    writeln!(out, "sessions     {}", number("sessions"))?;
    let (files, generations) = (counted(number("files"), "file"), counted(number("generations"), "older generation"));
    writeln!(out, "contents     {files}, {generations}")?;
    writeln!(out, "size         {}", Size(number("bytes")))?;
    if let Some(unreadable @ 1..) = status["unreadable"].as_array().map(Vec::len) {
        let sessions = counted(unreadable as u64, "session");
        writeln!(out, "unreadable   {sessions}; `{}` tells more", typed(LAYER1, "verify"))?;
    }
    if let Some(damaged @ 1..) = status["damaged"].as_array().map(Vec::len) {
        let (files, them) = (counted(damaged as u64, "file"), if damaged == 1 { "it" } else { "them" });
        writeln!(out, "damaged      {files}; `{}` repairs {them}", typed(LAYER1, "verify --repair"))?;
    }
    let last = status["last_commit_ms"].as_u64();
    writeln!(out, "last commit  {}", last.map_or("never".to_owned(), time_text))?;
    if number("memories") > 0 {
        let counted = |name, noun| counted(number(name), noun);
        let (projects, files) = (counted("memories", "project"), counted("memory_files", "file"));
        writeln!(out, "memory       {projects}, {files}, {}", counted("memory_generations", "older version"))?;
    }
    list_paths(out, Kind::NotSaved, "not copied yet or changed since", &status["behind"])?;
    list_paths(out, Kind::Excluded, "not copied because excluded", &status["excluded"])?;
    list_paths(out, Kind::Vanished, "source gone", &status["source_gone"])?;
    list_paths(out, Kind::NoTranscript, "turns seen, no transcript", &status["without_transcript"])?;
    list_paths(out, Kind::PassedOver, "looks like a conversation, not copied", &status["passed_over"])?;
    Ok(())
}

/// Every content of a session: generation, size, time, hash.
pub(crate) fn history(store: &Path, session: &str, as_json: bool, out: &mut dyn Write) -> Result<(), InspectError> {
    let in_memories = |error| find(&memories_of(store), session).map_err(|_| error);
    let (archive, keys) = find(store, session).or_else(in_memories)?;
    let mut rows = Vec::new();
    for key in &keys {
        for file in archive.files(key)? {
            rows.push(json!({
                "project": key.project.as_str(),
                "session_id": key.id.as_str(),
                "path": file.path,
                "generation": file.name.generation,
                "bytes": file.bytes,
                "committed_ms": file.committed_ms,
                "blake3": file.blake3.to_hex().as_str(),
                "proof": file.verification,
            }));
        }
    }
    if as_json {
        return write_json(out, &json!({ "history": rows }));
    }
    writeln!(out, "{:>10}  {:>12}  {:<20}  {:<16}  path", "generation", "bytes", "committed", "blake3")?;
    for row in &rows {
        let generation = match row["generation"].as_u64() {
            Some(0) => "newest".to_owned(),
            n => n.unwrap_or(0).to_string(),
        };
        writeln!(
            out,
            "{generation:>10}  {:>12}  {:<20}  {:<16}  {}/{}",
            row["bytes"].as_u64().unwrap_or(0),
            time_text(row["committed_ms"].as_u64().unwrap_or(0)),
            &row["blake3"].as_str().unwrap_or("")[..16],
            row["project"].as_str().unwrap_or(""),
            shown_on_a_line(row["path"].as_str().unwrap_or("")),
        )?;
    }
    Ok(())
}

/// Re-reads and re-hashes; true if all is well. With `repair_from`, another store, what is wrong is
/// healed first, from that store or from the source.
pub(crate) fn verify(
    store: &Path,
    repair_from: Option<&Path>,
    (policy, projects): (&Policy, &[PathBuf]),
    sessions: &[String],
    as_json: bool,
    out: &mut dyn Write,
) -> Result<bool, InspectError> {
    let mut checked = Checked::default();
    let memories = (memories_of(store), repair_from.map(memories_of));
    for (store, repair_from) in [(store.to_owned(), repair_from.map(Path::to_owned)), memories] {
        if repair_from.is_some() {
            Archive::open_or_adopt(&store)?;
        }
        let Some(archive) = Archive::open_as_found(&store)?.filter(|_| sessions.is_empty()) else { continue };
        let archive = archive.leaving_free(policy.free_space_floor).with_sources_in(projects.to_vec());
        check(&archive, None, repair_from.as_deref(), policy, &mut checked)?;
    }
    for session in sessions {
        let (archive, keys) = find(store, session)?;
        let archive = archive.leaving_free(policy.free_space_floor).with_sources_in(projects.to_vec());
        for key in &keys {
            check(&archive, Some(key), repair_from, policy, &mut checked)?;
        }
    }
    if as_json {
        let findings: Vec<Value> = checked.findings.iter().map(finding_json).collect();
        let notes: Vec<Value> = checked.notes.iter().map(finding_json).collect();
        let repairs: Vec<Value> = checked.repairs.iter().map(repair_json).collect();
        let answer = json!({ "files": checked.files, "findings": findings, "notes": notes, "repairs": repairs });
        write_json(out, &answer)?;
        return Ok(checked.is_well());
    }
    for repair in &checked.repairs {
        let word = if repair.healed { "repaired" } else { "not repaired" };
        let (path, detail) = (shown_on_a_line(&repair.path), shown_on_a_line(&repair.detail));
        writeln!(out, "{word}: {}/{path}: {detail}", repair.key.project)?;
    }
    for finding in checked.findings.iter().chain(&checked.notes) {
        let (path, detail) = (shown_on_a_line(&finding.path), shown_on_a_line(&finding.detail));
        writeln!(out, "{}: {}/{path}: {detail}", finding.kind.as_str(), finding.key.project)?;
    }
    for why in &checked.unnoted {
        writeln!(out, "`{}` will not know what was found damaged: failed to {why}", typed(LAYER1, "status"))?;
    }
    let findings = counted(checked.findings.len() as u64, "finding");
    writeln!(out, "{} read, {findings}", counted(checked.files as u64, "file"))?;
    Ok(checked.is_well())
}

#[derive(Default)]
struct Checked {
    files: usize,
    repairs: Vec<Repair>,
    findings: Vec<Finding>,
    notes: Vec<Finding>,
    /// Why what is damaged could not be noted in its store.
    unnoted: Vec<ArchiveError>,
}

impl Checked {
    /// What could not be healed may look well, as where its sync failed.
    fn is_well(&self) -> bool {
        self.findings.is_empty() && self.repairs.iter().all(|repair| repair.healed)
    }
}

fn check(
    archive: &Archive,
    only: Option<&SessionKey>,
    repair_from: Option<&Path>,
    policy: &Policy,
    checked: &mut Checked,
) -> Result<(), ArchiveError> {
    let other = match repair_from {
        Some(store) => Archive::open_as_found(store)?,
        None => None,
    };
    if repair_from.is_some() {
        checked.repairs.extend(archive.repair(only, other.as_ref())?);
    }
    let keys = only.map_or_else(|| archive.sessions(), |key| Ok(vec![key.clone()]))?;
    // What the user excluded may part from its copy.
    let is_asked_for = |finding: &Finding| {
        finding.save.as_ref().is_none_or(|transcript| !policy.exclude.is_excluded(transcript, None))
    };
    let mut all = Vec::new();
    for key in &keys {
        let mut findings = archive.verify(Some(key))?;
        findings.retain(is_asked_for);
        if repair_from.is_some() && findings.iter().any(|finding| finding.save.is_some()) {
            checked.repairs.extend(save_again(archive, &findings));
            findings = archive.verify(Some(key))?;
            findings.retain(is_asked_for);
        }
        all.append(&mut findings);
        // What keeps them from being counted is a finding.
        checked.files += archive.files(key).map_or(0, |files| files.len());
    }
    // A store that cannot be written is no reason not to tell what was found.
    checked.unnoted.extend(archive.note_damage(only, &all, &typed(LAYER1, "verify")).err());
    let (notes, findings) = all.into_iter().partition::<Vec<_>, _>(|finding| finding.kind.is_note());
    checked.notes.extend(notes);
    checked.findings.extend(findings);
    Ok(())
}

/// Saves what the sources of diverged contents hold now; what was saved before stays as a generation.
fn save_again(archive: &Archive, findings: &[Finding]) -> Vec<Repair> {
    let saves = findings.iter().filter_map(|finding| Some((finding, finding.save.as_ref()?)));
    let saved = saves.map(|(finding, transcript)| {
        let key = &finding.key;
        let (id, project, compare) = (&key.id, Some(&key.project), Compare::Whole);
        let request = SaveRequest { id, transcript, project, cwd: None, compare, progress: &|_| {} };
        let (healed, detail) = match archive.save(&request) {
            Ok(report) if report.problems.is_empty() => (true, Finding::SAVED_AGAIN.to_owned()),
            Ok(report) => (false, format!("failed to {}", report.problems[0])),
            Err(error) => (false, format!("failed to {error}")),
        };
        Repair { key: key.clone(), path: finding.path.clone(), healed, detail }
    });
    saved.collect()
}

/// The sessions whose id is `session`, or begins with it if no other does.
pub(crate) fn find(store: &Path, session: &str) -> Result<(Archive, Vec<SessionKey>), InspectError> {
    let none = || {
        let what = format!("no id begins so; `{}` counts what is there", typed(LAYER1, "status"));
        InspectError::Session(format!("find session {session:?} in {}: {what}", store.display()))
    };
    let archive = Archive::open_as_found(store)?.ok_or_else(none)?;
    let mut keys = archive.sessions()?;
    keys.retain(|key| key.id.as_str().starts_with(session));
    if keys.iter().any(|key| key.id.as_str() == session) {
        keys.retain(|key| key.id.as_str() == session);
    }
    let mut ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    match ids.len() {
        0 => Err(none()),
        1 => Ok((archive, keys)),
        _ => Err(InspectError::Session(format!("choose session {session:?}: it could be {}", ids.join(", ")))),
    }
}

fn gather_status(
    store: &Path,
    projects: &[PathBuf],
    not_kept: Vec<PassedOver>,
    exclude: &Exclusions,
) -> Result<Value, InspectError> {
    let archive = Archive::open_as_found(store)?;
    let keys = match &archive {
        Some(archive) => archive.sessions()?,
        None => Vec::new(),
    };
    let (mut files, mut generations, mut bytes, mut unproven, mut last) = (0, 0, 0, 0, None);
    let (mut source_gone, mut unreadable) = (Vec::new(), Vec::new());
    for (archive, key) in archive.iter().flat_map(|archive| keys.iter().map(move |key| (archive, key))) {
        let Ok(stored) = archive.files(key) else {
            unreadable.push(json!({ "project": key.project.as_str(), "session_id": key.id.as_str() }));
            continue;
        };
        for file in stored {
            files += 1;
            bytes += file.disk_bytes;
            last = last.max(Some(file.committed_ms));
            unproven += u64::from(file.verification == Verification::Unverified);
            generations += u64::from(file.name.generation > 0 && file.name.file == FileName::Transcript);
        }
        if let Ok(Some(source)) = archive.source_of(key)
            && transcripts::open_transcript(&source).is_ok_and(|opened| opened.is_none())
        {
            source_gone.push(json!({
                "project": key.project.as_str(),
                "session_id": key.id.as_str(),
                "transcript": source.display().to_string(),
            }));
        }
    }
    let known = archive.as_ref().map_or(Ok(Vec::new()), Archive::known_damage)?;
    let damaged: Vec<Value> = known.iter().map(|known| finding_json(&known.finding)).collect();
    let (mut behind, mut excluded) = (Vec::new(), Vec::new());
    let (found, passed_over) = survey(projects);
    for transcript in &found {
        // What cannot be read is not excluded: see `Exclusions::is_excluded`.
        if let Ok(Some(glob)) = exclude.excluding(&transcript.path, None) {
            excluded.push(json!({
                "session_id": transcript.id.as_str(),
                "transcript": transcript.path.display().to_string(),
                "glob": glob,
            }));
            continue;
        }
        let is_behind = match &archive {
            // What cannot be compared counts as not saved.
            Some(archive) => archive.is_behind_found(transcript).unwrap_or(true),
            None => transcript.bytes > 0,
        };
        if is_behind {
            behind.push(json!({
                "session_id": transcript.id.as_str(),
                "transcript": transcript.path.display().to_string(),
            }));
        }
    }
    let kept = Archive::open_as_found(&memories_of(store))?;
    for memory in memories(projects).iter().filter(|memory| !exclude.is_excluded(&memory.path, None)) {
        // As above.
        if kept.as_ref().is_none_or(|kept| kept.is_behind_found(memory).unwrap_or(true)) {
            behind.push(json!({ "session_id": memory.id.as_str(), "transcript": memory.path.display().to_string() }));
        }
    }
    let memory_keys = kept.as_ref().map_or(Ok(Vec::new()), Archive::sessions)?;
    // What cannot be read is found by `verify`.
    let files_of = |key| kept.as_ref().and_then(|kept| kept.files(key).ok()).unwrap_or_default();
    let memory_files: Vec<_> = memory_keys.iter().flat_map(files_of).collect();
    let memory_generations = memory_files.iter().filter(|file| file.name.generation > 0).count();
    let without_transcript: Vec<Value> = published_journals(store)
        .map_err(ArchiveError::from)?
        .into_iter()
        .map(|path| json!({ "transcript": path.display().to_string() }))
        .collect();
    // A directory that is not kept is saved all the same where somebody swept it.
    let is_covered = |dir: &Path| {
        let is_saved = |found: &FoundTranscript| {
            archive.as_ref().is_some_and(|archive| !archive.is_behind_found(found).unwrap_or(true))
        };
        survey([dir.join("projects")]).0.iter().all(is_saved)
    };
    let of_sessions = found.iter().flat_map(FoundTranscript::passed_over);
    let passed_over: Vec<Value> = passed_over
        .into_iter()
        .chain(of_sessions)
        .chain(not_kept.into_iter().filter(|passed| !is_covered(&passed.path)))
        .map(|passed| json!({ "transcript": passed.path.display().to_string(), "why": passed.why }))
        .collect();
    Ok(json!({
        "store": store.display().to_string(),
        "store_id": archive.as_ref().map(Archive::store_id).filter(|id| !id.is_empty()),
        "sessions": keys.len(),
        "files": files,
        "generations": generations,
        "bytes": bytes,
        "memories": memory_keys.len(),
        "memory_files": memory_files.len() - memory_generations,
        "memory_generations": memory_generations,
        "unproven": unproven,
        "unreadable": unreadable,
        "damaged": damaged,
        "last_commit_ms": last,
        "behind": behind,
        "excluded": excluded,
        "source_gone": source_gone,
        "without_transcript": without_transcript,
        "passed_over": passed_over,
    }))
}

/// The published journals of a store: what events said of conversations that have no transcript.
pub fn published_journals(store: &Path) -> Result<Vec<PathBuf>, DurableError> {
    let Some(root) = Dir::open(store)? else { return Ok(Vec::new()) };
    let mut paths = Vec::new();
    for (folder, kind) in root.entries()? {
        let is_project = folder.to_str().is_some_and(|name| ProjectName::parse(name).is_ok());
        if kind != FileType::Directory || !is_project {
            continue;
        }
        // A folder that cannot be read is found when its sessions are.
        let Ok(Some(dir)) = root.open_beneath(Path::new(&folder)) else { continue };
        let Ok(entries) = dir.entries() else { continue };
        let is_journal = |name: &OsStr| name.to_str().is_some_and(|name| name.ends_with(".events.jsonl"));
        let names = entries.into_iter().filter(|(name, _)| is_journal(name));
        paths.extend(names.map(|(name, _)| dir.path().join(name)));
    }
    Ok(paths)
}

fn list_paths(out: &mut dyn Write, kind: Kind, what: &str, rows: &Value) -> io::Result<()> {
    let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
    writeln!(
        out,
        "{}, {what}: {}",
        kind.word(),
        if rows.is_empty() { "none".to_owned() } else { rows.len().to_string() }
    )?;
    for row in rows.iter().take(20) {
        let why = row["why"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
        writeln!(out, "  {}{}", shown_on_a_line(row["transcript"].as_str().unwrap_or("")), shown_on_a_line(&why))?;
    }
    if rows.len() > 20 {
        writeln!(out, "  … and {} more (--json lists all)", rows.len() - 20)?;
    }
    Ok(())
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "kind": finding.kind.as_str(),
        "project": finding.key.project.as_str(),
        "session_id": finding.key.id.as_str(),
        "path": finding.path,
        "detail": finding.detail,
    })
}

fn repair_json(repair: &Repair) -> Value {
    json!({
        "project": repair.key.project.as_str(),
        "session_id": repair.key.id.as_str(),
        "path": repair.path,
        "healed": repair.healed,
        "detail": repair.detail,
    })
}

fn write_json(out: &mut dyn Write, value: &Value) -> Result<(), InspectError> {
    Ok(writeln!(out, "{}", in_json(value.to_string()))?)
}

/// In the machine's time zone, or that of `TZ`; it says which.
fn time_text(ms: u64) -> String {
    // What is beyond all calendars is 1970.
    let utc = DateTime::from_timestamp_millis(ms as i64).unwrap_or_default();
    utc.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S %:z").to_string().replace(" +00:00", " UTC")
}
