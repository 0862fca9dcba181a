//! Which transcripts a hook event means: what it says may be a little wrong, and the conversation is there all the same.

use std::path::{Component, Path, PathBuf};

use crate::claude::transcripts::open_regular;
use crate::fs::{Dir, DurableError};
use crate::names::SessionId;
use crate::wire::event::Event;

impl Event {
    /// The transcripts that are there: the one that the event names, however it spells it (`~`, relative to its working
    /// directory, one of its side files or their folder). If that is not there, each that bears its name, or the event's
    /// session id, in some folder beside it or of one of `projects`: the client moves transcripts. If there is none either,
    /// the one that the event names, so that what is missing can be told; nothing where it names none.
    pub fn transcripts(&self, home: &Path, projects: &[&Path]) -> Vec<PathBuf> {
        // As it is almost always: the other spellings cost a look into each folder above.
        let is_usual = |path: &&Path| path.is_absolute() && is_in_project_folder(path) && is_transcript(path);
        if let Some(there) = self.transcript_path.as_deref().filter(is_usual) {
            return vec![without_dots(there)];
        }
        let named = self.transcript_path.as_deref().map(|path| spellings(path, self.cwd.as_deref(), home));
        let named = named.unwrap_or_default();
        if let Some(there) = named.iter().find(|path| is_transcript(path)) {
            return vec![without_dots(there)];
        }
        let mut ids: Vec<SessionId> = named.iter().filter_map(|path| SessionId::of_transcript(path).ok()).collect();
        ids.extend(SessionId::parse(&self.session_id));
        ids.dedup();
        let beside = named.iter().filter_map(|path| path.parent()?.parent());
        let roots: Vec<&Path> = beside.chain(projects.iter().copied()).collect();
        for id in &ids {
            let found = bearing(id, &roots);
            if !found.is_empty() {
                return found;
            }
        }
        named.into_iter().find(|path| SessionId::of_transcript(path).is_ok()).into_iter().collect()
    }
}

/// What a path may mean, the likeliest first; absolute all.
fn spellings(path: &Path, cwd: Option<&str>, home: &Path) -> Vec<PathBuf> {
    let text = path.to_str().map(|text| text.trim().strip_prefix("file://").unwrap_or(text.trim()));
    let absolute = |path: &Path| match path.strip_prefix("~") {
        Ok(rest) => Some(home.join(rest)),
        Err(_) if path.is_absolute() => Some(path.to_owned()),
        Err(_) => Some(Path::new(cwd?).join(path)).filter(|path| path.is_absolute()),
    };
    let given: Vec<PathBuf> = [Some(path), text.map(Path::new)].into_iter().flatten().filter_map(absolute).collect();
    // Of a side file, and of the folder of them, the session's own; a folder is named like its transcript.
    let owner = |path: &Path| {
        let mut above = path.ancestors().take_while(|above| above.file_name().is_some()).map(|above| {
            let mut transcript = above.as_os_str().to_owned();
            transcript.push(".jsonl");
            PathBuf::from(transcript)
        });
        above.find(|transcript| is_transcript(transcript))
    };
    let owners: Vec<PathBuf> = given.iter().filter_map(|path| owner(path)).collect();
    owners.into_iter().chain(given).collect()
}

/// Whether a path is `…/projects/<folder>/<name>`: then it is no side file of another one.
fn is_in_project_folder(path: &Path) -> bool {
    path.ancestors().nth(2).is_some_and(|projects| projects.ends_with("projects"))
}

/// Whether it is there and named like one. What cannot be opened for want of rights is there: its failure must be seen.
fn is_transcript(path: &Path) -> bool {
    SessionId::of_transcript(path).is_ok()
        && match open_regular(path) {
            Ok(file) => file.is_some(),
            Err(error) => error.source.kind() == std::io::ErrorKind::PermissionDenied,
        }
}

/// The same file by a path without `..`, where it can be found.
fn without_dots(path: &Path) -> PathBuf {
    if path.components().all(|component| component != Component::ParentDir) {
        return path.components().collect();
    }
    let resolved = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    resolved().unwrap_or_else(|| path.to_owned())
}

/// Each `<root>/<folder>/<id>.jsonl` that is there. A root that cannot be read has none: there may be others.
fn bearing(id: &SessionId, roots: &[&Path]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for root in roots {
        let folders = || -> Result<_, DurableError> { Dir::open(root)?.map_or(Ok(Vec::new()), |root| root.entries()) };
        for (folder, _) in folders().unwrap_or_default() {
            let path = root.join(folder).join(format!("{id}.jsonl"));
            if is_transcript(&path) && !found.contains(&path) {
                found.push(path);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_a_little_wrong_still_means_its_transcript() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        let projects = home.join(".claude/projects");
        for file in ["-p/s1.jsonl", "-p/s1/subagents/agent-1.jsonl", "-moved/s2.jsonl", "-p/s3.jsonl", "-q/s3.jsonl"] {
            crate::fs::replace_file(&projects.join(file), b"{}\n").unwrap();
        }
        let at = |path: &str| projects.join(path).display().to_string();
        let ask = |id: &str, path: Option<String>| {
            let cwd = Some(home.join("w").display().to_string());
            let transcript_path = path.map(PathBuf::from);
            let event = Event { session_id: id.to_owned(), transcript_path, cwd, ..Event::default() };
            let found = event.transcripts(home, &[&projects]);
            let below = |path: &PathBuf| path.strip_prefix(&projects).unwrap_or(path).display().to_string();
            found.iter().map(below).collect::<Vec<_>>().join(" ")
        };
        let first = [
            at("-p/s1.jsonl"),
            "~/.claude/projects/-p/s1.jsonl".to_owned(),
            "../.claude/projects/-p/s1.jsonl".to_owned(),
            at("-q/../-p/./s1.jsonl"),
            at("-p//s1.jsonl"),
            at("-p/s1"),
            at("-p/s1/subagents/agent-1.jsonl"),
            format!(" {}\n", at("-p/s1.jsonl")),
            format!("file://{}", at("-p/s1.jsonl")),
            at("-stale/s1.jsonl"),
            "/elsewhere/projects/-p/s1.jsonl".to_owned(),
        ];
        for path in first {
            for id in ["s1", "other", "", "../../x"] {
                assert_eq!(ask(id, Some(path.clone())), "-p/s1.jsonl", "{id:?} {path}");
            }
        }
        assert_eq!(ask("s1", None), "-p/s1.jsonl");
        assert_eq!(ask("s2", Some(at("-p/gone.jsonl"))), "-moved/s2.jsonl");
        assert_eq!(ask("x", Some(at("-p/s2.jsonl"))), "-moved/s2.jsonl");
        assert_eq!(ask("s3", Some(at("-gone/s3.jsonl"))), "-p/s3.jsonl -q/s3.jsonl");
        // What never existed is named, for whoever asks whether it is there.
        assert_eq!(ask("s9", Some(at("-p/s9.jsonl"))), "-p/s9.jsonl");
        for (id, path) in
            [("../../x", Some("/etc/passwd".to_owned())), ("", None), ("s9", None), ("", Some(String::new()))]
        {
            assert_eq!(ask(id, path), "");
        }
    }
}
