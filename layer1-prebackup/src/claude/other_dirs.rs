//! Configuration directories beside Claude Code's usual one: of the session store, of Cowork, of a second account.

use std::fs;
use std::path::{Path, PathBuf};

/// What the session store keeps for applications of the Agent SDK, unless they say otherwise.
pub(crate) const SESSION_STORE: &str = ".claude-sdk";

/// Where Cowork keeps its sessions, below the home directory: on Linux, on macOS.
const COWORK: [&str; 2] =
    [".config/Claude/local-agent-mode-sessions", "Library/Application Support/Claude/local-agent-mode-sessions"];
/// Folders between Cowork's own and a session's `local_*`: account and organisation, with room for two more.
const COWORK_DEPTH_MAX: usize = 4;

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

/// Folders beside the usual directory that bear its name and hold transcripts, as a second account's do; sorted.
pub(crate) fn beside(home: &Path) -> Vec<PathBuf> {
    let bears_its_name = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        name.strip_prefix(b".claude").is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-"))
    };
    let mut dirs: Vec<PathBuf> = folders_in(home).into_iter().filter(bears_its_name).collect();
    dirs.retain(|dir| folders_in(&dir.join("projects")).iter().any(|project| holds_transcripts(project)));
    dirs.sort();
    dirs
}

fn holds_transcripts(project: &Path) -> bool {
    // What cannot be listed is nothing that could be named.
    let entries = fs::read_dir(project).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| Path::new(&entry.file_name()).extension().is_some_and(|kind| kind == "jsonl"))
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
    }
}
