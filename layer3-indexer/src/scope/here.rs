//! Where a question is asked, and where a session belongs.

use std::path::{Path, PathBuf};

use layer1_prebackup::claude::live;
use layer1_prebackup::claude::worktrees::project_of_worktree;
use layer1_prebackup::config::exclude::Exclusions;

use crate::index::Whereabouts;
use crate::terminal::one_line;

/// Where a question is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Here {
    /// The current directory, or that of Claude Code's project; it may have been deleted. `None`: nobody knows.
    pub(crate) directory: Option<PathBuf>,
    /// The home directory.
    pub(crate) home: PathBuf,
    /// The processes of Claude Code for which it may be asked, the nearest first; `None` is the one that started
    /// this program.
    pub(crate) clients: Vec<Option<u32>>,
    /// The session that Claude Code said it has, when it began to ask.
    pub(crate) session: Option<String>,
    /// What is never handed out, whatever is asked for.
    pub(crate) limits: Limits,
}

/// Which sessions may be handed out at all: all of them, unless a setting says less.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Only those of the project of this directory; of none where it is not known.
    pub(crate) project_of: Option<Option<PathBuf>>,
    /// None of these.
    pub(crate) exclude: Exclusions,
}

impl Here {
    /// The session that asks, if one does. A client has another one after `/clear` and says so in its file.
    pub(crate) fn asking(&self, claude_dir: &Path) -> Option<String> {
        self.clients.iter().find_map(|pid| live::session_of(claude_dir, *pid)).or_else(|| self.session.clone())
    }

    /// The path as a person would write it: below the home directory with `~`.
    pub(crate) fn shown(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.home).ok().filter(|_| self.home.parent().is_some());
        match below {
            Some(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
            Some(rest) => one_line(&format!("~/{}", rest.display())),
            None => one_line(&path.display().to_string()),
        }
    }

    /// A typed path: `~` is the home directory, and what is relative begins here.
    pub(crate) fn path(&self, typed: &str) -> PathBuf {
        match typed.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => self.home.join(rest.trim_start_matches('/')),
            _ => self.directory.as_deref().unwrap_or(Path::new("/")).join(typed),
        }
    }
}

/// The directory of a session's project, as its records say.
pub(crate) fn directory_of(session: &Whereabouts) -> Option<&str> {
    session.directories.first().map(|directory| project_of_worktree(directory))
}
