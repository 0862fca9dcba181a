//! `status`: how things stand, and our programs as one would type them.

use std::path::{Path, PathBuf};

use layer1_prebackup::config::places::{PlaceFlags, Places};

use crate::cli::screen::{Screen, needing_person};
use crate::failure::Failure;
use crate::health::status::{self, Commands, Viewpoint};
use crate::terminal::{self, time};

/// Runs `status`.
pub(super) fn run(places: &Places, flags: &PlaceFlags, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let now_ms = u64::try_from(time::now_ms()).unwrap_or(0);
    // Without a current directory there is no light for it.
    let view =
        Viewpoint { now_ms, cwd: std::env::current_dir().ok(), commands: pasteable(flags), program_dir: program_dir() };
    let status = status::status(places, &view);
    if screen.json {
        screen.json(&status)?;
    } else {
        let text = status::to_text(&status, &places.home, &screen.terminal);
        screen.text(&text)?;
    }
    needing_person(status.findings.iter().filter(|finding| finding.needs_person).count())
}

/// The folder that this program lies in, links followed.
pub(super) fn program_dir() -> Option<PathBuf> {
    let here = std::env::current_exe().ok().and_then(|exe| std::fs::canonicalize(exe).ok())?;
    here.parent().map(Path::to_owned)
}

/// Our programs as one would type them now: their names where the `PATH` leads to them, else
/// their paths beside this program; then the flags that were typed for this run.
pub(super) fn pasteable(flags: &PlaceFlags) -> Commands {
    let folder = program_dir();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let command = |name: &str| {
        let ours = folder.as_ref().map(|folder| folder.join(name));
        let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
        let found = found.and_then(|file| std::fs::canonicalize(file).ok());
        let mut words = match ours {
            Some(ours) if found.as_ref() != Some(&ours) => terminal::shell_quoted(&ours.to_string_lossy()),
            _ => name.to_owned(),
        };
        let PlaceFlags { claude_dir, pre_backup_dir, backup_dir, session_db } = flags;
        let given = [
            ("--claude-dir", claude_dir),
            ("--pre-backup-dir", pre_backup_dir),
            ("--backup-dir", backup_dir),
            ("--session-db", session_db),
        ];
        for (flag, value) in given {
            let value = value.as_ref().map(|value| terminal::shell_quoted(&value.to_string_lossy()));
            words.extend(value.map(|value| format!(" {flag} {value}")));
        }
        words
    };
    Commands {
        layer1: command("layer1-prebackup"),
        layer2: command("layer2-save-client"),
        layer3: command("layer3-indexer"),
    }
}
