//! Sessions as layer 1 knows them: where a transcript is, what is held of it, whether the copy
//! is good.

use std::path::{Path, PathBuf};

use layer1_prebackup::archive::{Archive, SessionKey, StoredFile};
use layer1_prebackup::claude::survey::survey;
use layer1_prebackup::claude::transcripts::{Identity, claude_dir_of_transcript, open_transcript};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs;
use layer1_prebackup::log::in_one_line;
use layer1_prebackup::names::{FileName, ProjectName, SessionId, StoredName};

use crate::error::Error;
use crate::outbox::NewJob;
use crate::receipt::FileEntry;
use layer1_prebackup::wire::outbox_job::Job;

/// What asks for a delivery: an event, or an id alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The session.
    pub(crate) id: SessionId,
    /// The source, if the event names one by an absolute path.
    pub(crate) transcript: Option<PathBuf>,
    /// The event's working directory.
    pub(crate) cwd: Option<String>,
    /// Kind of the event.
    pub(crate) trigger: String,
}

/// What layer 1 holds of a job's session.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    /// The session in layer 1's store.
    pub(crate) key: Option<SessionKey>,
    /// All of its files; `None` when layer 1 holds nothing.
    pub(crate) files: Option<Vec<StoredFile>>,
    /// Why it could not be read. Then layer 3 still saves from the source, but the job stays.
    pub(crate) unreadable: Option<String>,
}

impl Holdings {
    /// All of its files as they stand in `expected` and in a receipt.
    pub(crate) fn entries(&self) -> Option<Vec<FileEntry>> {
        self.files.as_ref().map(|files| files.iter().map(FileEntry::from).collect())
    }
}

/// The jobs for what was asked: one, or more where several sessions bear the id, or none where
/// neither a source nor a copy exists (Claude Code names transcripts that never exist), or where the user had the
/// conversation forgotten.
pub(crate) fn jobs_for(asked: &Asked, places: &Places, archive: Option<&Archive>) -> Result<Vec<NewJob>, Error> {
    if archive.map_or(Ok(false), |archive| archive.is_forgotten(&asked.id))? {
        return Ok(Vec::new());
    }
    match &asked.transcript {
        Some(transcript) => {
            let key = archive.map(|archive| archive.session_of(&asked.id, transcript)).transpose()?.flatten();
            if key.is_none() && !exists(transcript) {
                return Ok(Vec::new());
            }
            Ok(new_job(asked, key.as_ref(), transcript, places).into_iter().collect())
        }
        None => jobs_by_id(asked, places, archive),
    }
}

/// Whether a job must be made for a session of layer 1's, and from which source.
pub(crate) fn job_of_key(
    archive: &Archive,
    key: &SessionKey,
    places: &Places,
    trigger: &str,
) -> Result<Option<NewJob>, Error> {
    let asked = Asked { id: key.id.clone(), transcript: None, cwd: None, trigger: trigger.to_owned() };
    let transcript = source_or_copy(archive, key)?;
    Ok(new_job(&asked, Some(key), &transcript, places))
}

/// Reads what layer 1 holds of the job's session, now.
pub(crate) fn holdings(job: &Job, id: &SessionId, places: &Places) -> Holdings {
    let read = || -> Result<Holdings, Error> {
        let Some(archive) = Archive::open(&places.layer1_store)? else { return Ok(Holdings::default()) };
        let Some(key) = key_of(job, id, &archive)? else { return Ok(Holdings::default()) };
        let files = archive.files(&key)?;
        let files = (!files.is_empty()).then_some(files);
        Ok(Holdings { key: Some(key), files, unreadable: None })
    };
    read().unwrap_or_else(|error| Holdings { unreadable: Some(in_one_line(&*error)), ..Holdings::default() })
}

/// Layer 1's copy of the job's transcript, if it is there and matches its recorded hash.
pub(crate) fn verified_copy(job: &Job, id: &SessionId, places: &Places) -> Result<Option<PathBuf>, Error> {
    let Some(archive) = Archive::open(&places.layer1_store)? else { return Ok(None) };
    let Some(key) = key_of(job, id, &archive)? else { return Ok(None) };
    let newest = StoredName::newest(FileName::Transcript);
    let Some(stored) = archive.files(&key)?.into_iter().find(|file| file.name == newest) else { return Ok(None) };
    let path = archive.slot(&key, &newest).place();
    let file = archive.slot(&key, &newest).open()?;
    let matches = fs::hash_of_prefix(&file, stored.bytes, &path)? == stored.blake3;
    Ok(matches.then_some(path))
}

/// The path that the server is given: the source where the server can reach it, else layer 1's copy; that one too
/// where the server has refused the source.
pub(crate) fn path_for_the_server(job: &Job, key: Option<&SessionKey>, places: &Places, is_refused: bool) -> PathBuf {
    let transcript = PathBuf::from(&job.transcript_path);
    let root = projects_of(&transcript).filter(|root| root.is_dir() && !is_refused);
    match (root, key) {
        (None, Some(key)) => copy_of(key, places),
        _ => transcript,
    }
}

/// Where layer 1 keeps the newest copy of a session's transcript.
fn copy_of(key: &SessionKey, places: &Places) -> PathBuf {
    let newest = StoredName::newest(FileName::Transcript);
    places.layer1_store.join(key.project.as_str()).join(newest.to_path(&key.id))
}

/// The root of transcripts that the server must be allowed to read for this job, unless it is the places' own.
pub(crate) fn foreign_root(job: &Job, places: &Places) -> Option<PathBuf> {
    let root = projects_of(Path::new(&job.transcript_path)).filter(|root| root.is_dir())?;
    (root != places.projects()).then_some(root)
}

/// Changes whenever the transcript does, or another event came.
pub(crate) fn content_of(job: &Job) -> String {
    let identity = open_transcript(Path::new(&job.transcript_path)).ok().flatten().and_then(|file| {
        let stat = fs::stat_of(&file, Path::new(&job.transcript_path)).ok()?;
        Some(Identity::of(&stat))
    });
    match identity {
        Some(identity) => format!("seq {} bytes {} mtime {}", job.seq, identity.bytes, identity.mtime_ns),
        None => format!("seq {} absent", job.seq),
    }
}

fn jobs_by_id(asked: &Asked, places: &Places, archive: Option<&Archive>) -> Result<Vec<NewJob>, Error> {
    let mut jobs: Vec<NewJob> = Vec::new();
    if let Some(archive) = archive {
        for key in archive.find(&asked.id)? {
            let transcript = source_or_copy(archive, &key)?;
            jobs.extend(new_job(asked, Some(&key), &transcript, places));
        }
    }
    for found in survey(places.all_claude_dirs().map(|dir| dir.join("projects")))
        .0
        .into_iter()
        .filter(|found| found.id == asked.id)
    {
        let key = archive.map(|archive| archive.session_of(&asked.id, &found.path)).transpose()?.flatten();
        let Some(job) = new_job(asked, key.as_ref(), &found.path, places) else { continue };
        match jobs.iter_mut().find(|earlier| earlier.name() == job.name()) {
            // The recorded source has moved here.
            Some(earlier) if !exists(Path::new(&earlier.transcript_path)) => *earlier = job,
            Some(_) => {}
            None => jobs.push(job),
        }
    }
    Ok(jobs)
}

fn new_job(asked: &Asked, key: Option<&SessionKey>, transcript: &Path, places: &Places) -> Option<NewJob> {
    let claude_dir = claude_dir_of_transcript(transcript).unwrap_or_else(|| places.claude_dir.clone());
    // MCP speaks JSON: a path that is not text cannot be sent. Layer 1's names always can.
    let transcript_path = match transcript.to_str() {
        Some(text) => text.to_owned(),
        None => copy_of(key?, places).to_str()?.to_owned(),
    };
    Some(NewJob {
        id: asked.id.clone(),
        project: key.map(|key| key.project.to_string()),
        transcript_path,
        claude_dir: claude_dir.to_string_lossy().into_owned(),
        cwd: asked.cwd.clone(),
        trigger: asked.trigger.clone(),
    })
}

fn key_of(job: &Job, id: &SessionId, archive: &Archive) -> Result<Option<SessionKey>, Error> {
    match &job.project {
        Some(project) => Ok(Some(SessionKey { project: ProjectName::parse(project)?, id: id.clone() })),
        None => Ok(archive.session_of(id, Path::new(&job.transcript_path))?),
    }
}

fn source_or_copy(archive: &Archive, key: &SessionKey) -> Result<PathBuf, Error> {
    let source = archive.source_of(key)?;
    Ok(source.unwrap_or_else(|| archive.slot(key, &StoredName::newest(FileName::Transcript)).path()))
}

/// Whether there is something to save. What cannot be opened for want of rights is there, and
/// its failure must be seen; what is no regular file is no transcript.
pub(crate) fn exists(transcript: &Path) -> bool {
    match open_transcript(transcript) {
        Ok(file) => file.is_some(),
        Err(error) => error.source.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

/// `<root>` in `<root>/<slug>/<id>.jsonl`, where it is called `projects`.
fn projects_of(transcript: &Path) -> Option<PathBuf> {
    claude_dir_of_transcript(transcript).map(|claude_dir| claude_dir.join("projects"))
}
