//! Other people's programs that do a part of the same work, where they are installed.

use std::path::{Path, PathBuf};

use super::meter::Job;

/// restic keeps any file; the others index conversations.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    /// A backup program, from Debian.
    pub restic: Option<PathBuf>,
    /// Keeps and indexes conversations, a Rust package.
    pub claude_vault: Option<PathBuf>,
    /// Indexes conversations, a Rust package (`claudex-cli`).
    pub claudex: Option<PathBuf>,
}

impl Peers {
    /// Looks on `PATH` and in `folder`; says which are absent.
    pub fn find(path: &str, folder: &Path) -> Peers {
        let find = |name: &str| {
            let folders = path.split(':').map(PathBuf::from).chain([folder.to_owned()]);
            let found = folders.map(|folder| folder.join(name)).find(|program| program.is_file());
            if found.is_none() {
                println!("skipped: {name} is not installed (`cargo xtask bench --with-peers` installs it)");
            }
            found
        };
        Peers { restic: find("restic"), claude_vault: find("claude-vault"), claudex: find("claudex") }
    }
}

/// A repository of restic.
#[derive(Debug)]
pub struct Repository {
    program: PathBuf,
    folder: PathBuf,
}

impl Repository {
    /// One that lies there, or will.
    pub fn new(program: &Path, folder: PathBuf) -> Repository {
        Repository { program: program.to_owned(), folder }
    }

    /// Makes it.
    pub fn begin(&self) -> Job {
        self.job(&["init"])
    }

    /// Saves a file or a folder into it.
    pub fn backup(&self, what: &Path) -> Job {
        self.job(&["backup", "--quiet", &what.display().to_string()])
    }

    fn job(&self, args: &[&str]) -> Job {
        let job = Job::new(&self.program).args(["-r".to_owned(), self.folder.display().to_string()]);
        let cache = self.folder.with_extension("cache").display().to_string();
        job.args(args.iter().copied())
            .env("RESTIC_PASSWORD", "bench")
            .env("RESTIC_CACHE_DIR", cache)
            .env("HOME", self.folder.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_found_on_the_path_or_beside() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("claudex"), "").expect("a program");
        let peers = Peers::find("/nowhere:/nowhere/either", folder.path());
        assert_eq!(peers.claudex, Some(folder.path().join("claudex")));
        assert!(peers.restic.is_none() && peers.claude_vault.is_none());
    }
}
