//! The journal: what the events say of a conversation that Claude Code writes no transcript of.
//!
//! Prompts, last answers and compaction summaries wait in `.state/journal/{ID}.jsonl` while the
//! transcript is absent. If it is still absent at Stop or SessionEnd they are published as
//! `{PROJECT}/{ID}.events.jsonl`, so that something is left; once the transcript is there, what
//! waits goes, and what was published stays.

use std::ffi::OsStr;
use std::path::Path;

use serde_json::json;

use crate::archive::{Archive, ArchiveError};
use crate::claude::transcripts;
use crate::fs::{self, Dir, Lock};
use crate::names::{ProjectName, SessionId};
use crate::wire::event::Event;

/// A journal is not made longer than this, in bytes.
pub(crate) const JOURNAL_BYTES_MAX: u64 = 16 * 1024 * 1024;
const FOLDER: &str = ".state/journal";

/// Keeps what the event says, publishes it, or drops it, as the module describes.
pub(crate) fn keep(store: &Path, event: &Event, id: &SessionId, transcript: &Path) -> Result<(), ArchiveError> {
    let waiting = format!("{id}.jsonl");
    let waiting = OsStr::new(&waiting);
    let opened = Dir::open(store)?.map(|root| root.open_beneath(Path::new(FOLDER))).transpose()?.flatten();
    let is_there = match transcripts::open_transcript(transcript)? {
        Some(file) => fs::stat_of(&file, transcript)?.st_size > 0,
        None => false,
    };
    if is_there {
        opened.map(|folder| folder.remove(waiting)).transpose()?;
        return Ok(());
    }
    let is_end = matches!(event.kind.as_str(), "Stop" | "SessionEnd");
    let entry = entry_of(event);
    if entry.is_none() && !(is_end && opened.map(|folder| folder.stat(waiting)).transpose()?.flatten().is_some()) {
        return Ok(());
    }
    let archive = Archive::create(store)?;
    if archive.is_forgotten(id)? {
        return Ok(());
    }
    let unvouched = |_: &Path| Ok(false);
    let folder = archive.synced_dir(Path::new(FOLDER), &unvouched)?;
    let _lock = Lock::wait_in(&folder, OsStr::new("lock"))?;
    let mut journal = read(&folder, waiting)?;
    if let Some(entry) = entry.filter(|entry| (journal.len() + entry.len()) as u64 <= JOURNAL_BYTES_MAX) {
        journal.extend(entry);
        folder.replace_file(waiting, &journal)?;
    }
    if is_end && !journal.is_empty() {
        let project = ProjectName::from_cwd(event.cwd.as_deref().unwrap_or(""));
        let folder = archive.synced_dir(Path::new(project.as_str()), &unvouched)?;
        let name = format!("{id}.events.jsonl");
        if read(&folder, OsStr::new(&name))? == journal {
            // Published before, perhaps by a run that was killed before it synced the name.
            folder.sync()?;
        } else {
            folder.replace_file(OsStr::new(&name), &journal)?;
        }
    }
    Ok(())
}

fn entry_of(event: &Event) -> Option<Vec<u8>> {
    let (name, text) = match event.kind.as_str() {
        "UserPromptSubmit" => ("prompt", event.prompt.as_ref()?),
        "Stop" => ("last_assistant_message", event.last_assistant_message.as_ref()?),
        "PostCompact" => ("compact_summary", event.compact_summary.as_ref()?),
        _ => return None,
    };
    let at = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
    let entry = json!({ "timestamp": at, "event": event.kind, "cwd": event.cwd, name: text });
    Some((entry.to_string() + "\n").into_bytes())
}

/// What can be no journal of ours holds nothing; writing puts ours in its place.
fn read(folder: &Dir, name: &OsStr) -> Result<Vec<u8>, ArchiveError> {
    let says_event =
        |line: &[u8]| serde_json::from_slice::<serde_json::Value>(line).is_ok_and(|line| line["event"].is_string());
    // Whoever writes here holds the lock.
    match folder.read_own_file(name, JOURNAL_BYTES_MAX) {
        Err(error) if error.is_not_ours() => Ok(Vec::new()),
        // Under a further name it may be anybody's.
        Ok(Some(text)) if folder.is_taken(name)? && !text.split_inclusive(|byte| *byte == b'\n').all(says_event) => {
            Ok(Vec::new())
        }
        journal => Ok(journal?.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    use crate::status::published_journals;

    struct Scene {
        dir: tempfile::TempDir,
        id: SessionId,
    }

    impl Scene {
        fn new() -> Scene {
            Scene { dir: tempfile::tempdir().unwrap(), id: SessionId::parse("s1").unwrap() }
        }

        fn transcript(&self) -> PathBuf {
            self.dir.path().join("s1.jsonl")
        }

        fn happens(&self, kind: &str, text: &str) {
            let text = Some(text.to_owned());
            let event = Event {
                kind: kind.to_owned(),
                cwd: Some("/h/p".to_owned()),
                prompt: text.clone().filter(|_| kind == "UserPromptSubmit"),
                last_assistant_message: text.filter(|_| kind == "Stop"),
                ..Event::default()
            };
            keep(&self.dir.path().join("store"), &event, &self.id, &self.transcript()).unwrap();
        }

        fn published(&self) -> Vec<String> {
            let paths = published_journals(&self.dir.path().join("store")).unwrap();
            paths
                .iter()
                .flat_map(|path| std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
                .collect()
        }
    }

    #[test]
    fn without_a_transcript_the_turns_are_published() {
        let scene = Scene::new();
        scene.happens("UserPromptSubmit", "why?");
        assert!(scene.published().is_empty());
        scene.happens("Stop", "because");
        scene.happens("UserPromptSubmit", "and?");
        scene.happens("SessionEnd", "");
        let lines = scene.published();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].contains("why?") && lines[1].contains("because") && lines[2].contains("and?"));
    }

    #[test]
    fn with_a_transcript_nothing_is_left() {
        let scene = Scene::new();
        scene.happens("UserPromptSubmit", "why?");
        std::fs::write(scene.transcript(), "{}\n").unwrap();
        scene.happens("Stop", "because");
        assert!(scene.published().is_empty());
        assert!(!scene.dir.path().join("store/.state/journal/s1.jsonl").exists());
    }

    #[test]
    fn what_is_published_already_is_not_written_again() {
        let scene = Scene::new();
        scene.happens("UserPromptSubmit", "why?");
        scene.happens("SessionEnd", "");
        let file = published_journals(&scene.dir.path().join("store")).unwrap().remove(0);
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
        let before = inode(&file);
        scene.happens("SessionEnd", "");
        assert_eq!(inode(&file), before);
    }

    #[test]
    fn an_end_without_any_turn_leaves_nothing() {
        let scene = Scene::new();
        scene.happens("SessionEnd", "");
        assert!(!scene.dir.path().join("store").exists());
    }
}
