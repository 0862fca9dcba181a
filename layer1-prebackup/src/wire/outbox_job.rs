//! Jobs of the outbox, `<layer 1's store>/.outbox/{NAME}.json`: layer 2 writes, delivers and
//! removes them; layer 3's `status` and `doctor` read them, its `prune` removes those of what it removes.

use serde::{Deserialize, Serialize};

use crate::names::SessionId;

/// Format of a job file. A job of a newer format is left alone.
pub const JOB_FORMAT: u32 = 1;
/// The trigger of a job after which layer 3 takes over what is remembered of every project: a store of memories lost some.
pub const MEMORIES_TRIGGER: &str = "memories";
/// No job file is longer, in bytes.
pub const JOB_BYTES_MAX: u64 = 1024 * 1024;
/// Longest readable job name, in bytes; a temporary file's name still fits a file system's 255.
const NAME_BYTES_MAX: usize = 200;
/// Hexadecimal digits of a hash in a job's name.
const NAME_HASH_DIGITS: usize = 16;

/// The name of a job: `{id}@{project}`, or `{id}@.{hash}` where that is unknown or too long.
/// Two sessions of one id under two projects have two names ('@' is in no id, and no project
/// begins with a dot).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobName(String);

impl JobName {
    /// The name of a session's job. Without a project the transcript's path tells sessions apart.
    pub fn of(id: &SessionId, project: Option<&str>, transcript: &str) -> JobName {
        match project {
            Some(project) if id.as_str().len() + project.len() < NAME_BYTES_MAX => JobName(format!("{id}@{project}")),
            Some(project) => JobName::hashed(id, project),
            None => JobName::hashed(id, transcript),
        }
    }

    /// The name of the job that a file holds; `None` for a file that holds none.
    pub fn of_file(file: &str) -> Option<JobName> {
        file.strip_suffix(".json").map(|name| JobName(name.to_owned()))
    }

    /// Every name that the session's job may have: by its project, or hashed where that is too long or was not known.
    pub fn all_of<'a>(
        id: &SessionId,
        projects: impl Iterator<Item = &'a str>,
        transcripts: impl Iterator<Item = &'a str>,
    ) -> Vec<JobName> {
        let by_project =
            projects.flat_map(|project| [JobName(format!("{id}@{project}")), JobName::hashed(id, project)]);
        by_project.chain(transcripts.map(|transcript| JobName::hashed(id, transcript))).collect()
    }

    fn hashed(id: &SessionId, text: &str) -> JobName {
        let hash = blake3::hash(text.as_bytes()).to_hex();
        JobName(format!("{id}@.{}", &hash[..NAME_HASH_DIGITS]))
    }

    /// The name as text, without `.json`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of its file, and of its receipt's.
    pub fn file(&self) -> String {
        format!("{}.json", self.0)
    }
}

/// Why a job was set aside, and what must change before it is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The server's word.
    pub reason: String,
    /// Sequence number, size and mtime of what was refused.
    pub content: String,
    /// Name and version of the server that refused it.
    pub server: String,
    /// The user was told of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub told: bool,
    /// The user wants to hear no more of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dismissed: bool,
}

impl Failed {
    /// The same, refused once more: the user hears of it anew only if something else is wrong, or of something else.
    #[must_use]
    pub fn again(self, earlier: Option<Failed>) -> Failed {
        match earlier {
            Some(earlier) if (&earlier.reason, &earlier.content) == (&self.reason, &self.content) => {
                Failed { told: earlier.told, dismissed: earlier.dismissed, ..self }
            }
            _ => self,
        }
    }
}

/// A session that is to be delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// [`JOB_FORMAT`].
    pub format: u32,
    /// Raised by every change that asks for another delivery.
    pub seq: u64,
    /// The session.
    pub session_id: String,
    /// Its folder in layer 1's store, when that knows it.
    pub project: Option<String>,
    /// The source.
    pub transcript_path: String,
    /// The configuration directory that the transcript lies in.
    pub claude_dir: String,
    /// Working directory of the last event.
    pub cwd: Option<String>,
    /// Kind of the last event, for logs and metadata.
    pub trigger: String,
    /// When the session came into the outbox, in milliseconds since 1970.
    pub created_ms: u64,
    /// When the job last changed, in milliseconds since 1970.
    pub updated_ms: u64,
    /// Calls made so far without success.
    pub attempts: u64,
    /// Cause of the last failure.
    pub last_error: Option<String>,
    /// Set when the failure cannot heal by itself.
    pub failed: Option<Failed>,
}

/// A file in the outbox that is no job of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("understand {name} in the outbox: {what}")]
pub struct Unreadable {
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub what: String,
}
