//! Configuration directories beside Claude Code's usual one: of the session store, of Cowork, of a second account.

use std::fs;
use std::path::{Path, PathBuf};

use crate::claude::side_files::is_uuid;

/// What the session store keeps for applications of the Agent SDK, unless they say otherwise.
pub(crate) const SESSION_STORE: &str = ".claude-sdk";

/// Where Cowork keeps its sessions, below the home directory: on Linux, on macOS.
const COWORK: [&str; 2] =
    [".config/Claude/local-agent-mode-sessions", "Library/Application Support/Claude/local-agent-mode-sessions"];
/// Folders between Cowork's own and a session's `local_*`: account and organisation, with room for two more.
const COWORK_DEPTH_MAX: usize = 4;

/// How many folders are looked into, and how many files of each, until one is a transcript.
const FOLDERS_MAX: usize = 1000;
const FILES_MAX: usize = 1000;

/// Those that exist and are known by their names.
pub(crate) fn known(home: &Path) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = [home.join(SESSION_STORE)].into_iter().filter(|dir| dir.is_dir()).collect();
    for root in COWORK {
        add_cowork(&home.join(root), COWORK_DEPTH_MAX, &mut dirs);
    }
    dirs.sort();
    dirs
}

fn add_cowork(folder: &Path, depth: usize, dirs: &mut Vec<PathBuf>) {
    for path in folders_in(folder) {
        let is_session = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"local_"));
        let claude_dir = path.join(".claude");
        if is_session && claude_dir.is_dir() {
            dirs.push(claude_dir);
        } else if depth > 0 {
            add_cowork(&path, depth - 1, dirs);
        }
    }
}

/// Folders in the home directory and in its `.config` that hold transcripts, as a second account's do; sorted. What
/// does not bear the name of the usual one is known by transcripts that are named like Claude Code's.
pub(crate) fn beside(home: &Path) -> Vec<PathBuf> {
    let bears_its_name = |path: &Path| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        name.strip_prefix(b".claude").is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-"))
    };
    let mut dirs = [folders_in(home), folders_in(&home.join(".config"))].concat();
    dirs.retain(|dir| is_claude_dir(dir, !bears_its_name(dir)));
    dirs.sort();
    dirs
}

/// Folders beside `projects` in a configuration directory that hold transcripts as it does: one that was set aside. As
/// far as one looks; sorted.
pub(crate) fn beside_projects(claude_dir: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = folders_in(claude_dir).into_iter().take(FOLDERS_MAX).collect();
    folders.retain(|folder| folder.file_name().is_some_and(|name| name != "projects") && holds_projects(folder, true));
    folders.sort();
    folders
}

/// Folders in a folder for temporary files that hold transcripts, as the Agent SDK makes them; sorted.
pub(crate) fn temporary(temp_dir: &Path) -> Vec<PathBuf> {
    let folders = folders_in(temp_dir);
    let inner = folders.iter().map(|folder| folder.join(".claude"));
    let mut dirs: Vec<PathBuf> = inner.chain(folders.iter().cloned()).collect();
    dirs.retain(|dir| is_claude_dir(dir, true));
    dirs.sort();
    dirs
}

fn is_claude_dir(dir: &Path, by_uuid: bool) -> bool {
    holds_projects(&dir.join("projects"), by_uuid)
}

fn holds_projects(projects: &Path, by_uuid: bool) -> bool {
    // What cannot be listed is nothing that could be named.
    let files = |project: PathBuf| fs::read_dir(project).into_iter().flatten().flatten().take(FILES_MAX);
    let is_transcript = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let id = name.as_encoded_bytes().strip_suffix(b".jsonl");
        id.is_some_and(|id| !by_uuid || is_uuid(id))
    };
    folders_in(projects).into_iter().take(FOLDERS_MAX).any(|project| files(project).any(is_transcript))
}

/// Real folders; none where there is nothing to list.
fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_known_by_their_names_and_by_what_is_in_them() {
        let home = tempfile::tempdir().unwrap();
        let found = |dirs: Vec<PathBuf>| -> Vec<String> {
            dirs.iter().map(|dir| dir.strip_prefix(home.path()).unwrap().display().to_string()).collect()
        };
        assert!(known(home.path()).is_empty() && beside(home.path()).is_empty());
        for folder in [
            ".claude-sdk",
            ".config/Claude/local-agent-mode-sessions/account/org/local_1/.claude",
            ".config/Claude/local-agent-mode-sessions/local_2/.claude",
            ".config/Claude/local-agent-mode-sessions/local_3/other",
            "Library/Application Support/Claude/local-agent-mode-sessions/a/local_4/.claude",
            ".claude-empty/projects/-p",
        ] {
            fs::create_dir_all(home.path().join(folder)).unwrap();
        }
        for file in
            [".claude/projects/-p/a.jsonl", ".claude-work/projects/-p/b.jsonl", ".claudette/projects/-p/c.jsonl"]
        {
            fs::create_dir_all(home.path().join(file).parent().unwrap()).unwrap();
            fs::write(home.path().join(file), "{}\n").unwrap();
        }
        assert_eq!(
            found(known(home.path())),
            [
                ".claude-sdk",
                ".config/Claude/local-agent-mode-sessions/account/org/local_1/.claude",
                ".config/Claude/local-agent-mode-sessions/local_2/.claude",
                "Library/Application Support/Claude/local-agent-mode-sessions/a/local_4/.claude",
            ]
        );
        assert_eq!(found(beside(home.path())), [".claude", ".claude-work"]);
        let id = "5b3d80da-3868-4fbe-b063-0aa144649138";
        for (folder, name) in [("projects.old", id), ("projects", id), ("file-history", "a"), ("plugins/x", id)] {
            let file = home.path().join(".claude").join(folder).join(format!("-p/{name}.jsonl"));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "{}\n").unwrap();
        }
        assert_eq!(found(beside_projects(&home.path().join(".claude"))), [".claude/projects.old"]);
        for folder in ["second", ".config/claude-two", "tmp/sdk-1", "tmp/sdk-2/.claude", "work"] {
            let name = if folder == "work" { "notes" } else { id };
            let file = home.path().join(folder).join(format!("projects/-p/{name}.jsonl"));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "{}\n").unwrap();
        }
        assert_eq!(found(beside(home.path())), [".claude", ".claude-work", ".config/claude-two", "second"]);
        assert_eq!(found(temporary(&home.path().join("tmp"))), ["tmp/sdk-1", "tmp/sdk-2/.claude"]);
    }
}
