//! The chain that Threefold replaces, as the comparison: its sources lie in `tests/bench/old-chain`,
//! its packages in a folder that `cargo xtask bench` fills.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: [&str; 4] =
    ["package.json", "pre-session-save-backup.sh", "call-mcp-session-save.mjs", "session-manager.mjs"];

/// Where it stands, ready to run.
#[derive(Debug, Clone)]
pub struct OldChain {
    folder: PathBuf,
}

impl OldChain {
    /// Copies its sources beside its packages. `None`, and said, where it cannot run.
    pub fn find(folder: &Path) -> io::Result<Option<OldChain>> {
        if !folder.join("node_modules/better-sqlite3").is_dir() {
            println!("skipped: the old chain: its packages are not in {}", folder.display());
            return Ok(None);
        }
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/old-chain");
        for name in SOURCES {
            fs::copy(sources.join(name), folder.join(name))?;
        }
        Ok(Some(OldChain { folder: folder.to_owned() }))
    }

    /// Layer 1 alone.
    pub fn hook(&self) -> String {
        format!("'{}'", self.folder.join("pre-session-save-backup.sh").display())
    }

    /// All three layers.
    pub fn chain(&self) -> String {
        format!("{} | {}", self.hook(), self.client(""))
    }

    /// Layer 3, as Claude Code runs it for a whole session.
    pub fn server(&self) -> Command {
        let mut command = Command::new("node");
        command.arg(self.folder.join("session-manager.mjs"));
        command
    }

    /// Layers 2 and 3, with arguments.
    pub fn client(&self, args: &str) -> String {
        format!("node '{}' {args}", self.folder.join("call-mcp-session-save.mjs").display())
    }
}
