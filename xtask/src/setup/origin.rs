//! Where an installation is taken from, and the program that carries out what is asked for.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Error, Result};
use layer1_prebackup::claude::shell::quoted_if_needed;
use layer1_prebackup::config::places::{PlaceFlags, Places};
use layer1_prebackup::config::settings::Settings;
use layer1_prebackup::names::LAYER3;
use wait_timeout::ChildExt;
use xshell::Shell;

use crate::release;
use crate::verb::AlreadyTold;

/// The name of this program in the folder that an archive was unpacked into.
pub(crate) const SETUP: &str = "setup";
/// How long a program may take to say that it knows a verb.
const HELP_WAIT: Duration = Duration::from_secs(20);

/// Where programs and skills are taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The workspace, whose programs are built.
    Workspace,
    /// The folder that an archive was unpacked into, with all of it in its places.
    Unpacked(PathBuf),
}

impl Origin {
    /// The one that this program was started from: an archive's calls it by a name of its own.
    /// Fails where the program's own path cannot be told.
    pub(crate) fn here() -> Result<Origin> {
        let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
        if called.file_name().is_none_or(|name| name != SETUP) {
            return Ok(Origin::Workspace);
        }
        let own = std::env::current_exe().context("find the folder of this program")?;
        Ok(Origin::Unpacked(own.parent().context("find the folder of this program")?.to_owned()))
    }

    /// The folder with the programs, if it is not one that has to be built first.
    pub(crate) fn binaries(&self) -> Option<PathBuf> {
        match self {
            Origin::Workspace => None,
            Origin::Unpacked(folder) => Some(folder.join("bin")),
        }
    }

    /// The folder with the programs, whether they were built or not.
    pub(crate) fn folder(&self) -> PathBuf {
        self.binaries().unwrap_or_else(release::folder)
    }

    /// Layer 3's program as it is now, whether it was built or not.
    pub(crate) fn layer3(&self) -> PathBuf {
        self.folder().join(LAYER3)
    }

    /// The folder with the programs that are to be installed: `binaries`, else an archive's, else one that they are built in.
    pub(crate) fn built(&self, sh: &Shell, binaries: Option<&Path>) -> Result<PathBuf> {
        match binaries.map(Path::to_owned).or_else(|| self.binaries()) {
            Some(binaries) => std::path::absolute(&binaries).with_context(|| format!("find {}", binaries.display())),
            None => release::build(sh),
        }
    }

    /// What is typed to install from here.
    pub(crate) fn install_line(&self) -> String {
        match self {
            Origin::Workspace => "cargo xtask install".to_owned(),
            Origin::Unpacked(folder) => quoted_if_needed(&folder.join("install.sh").display().to_string()),
        }
    }
}

/// The skills' sources.
pub(crate) fn skills_source() -> PathBuf {
    release::workspace().join("layer3-indexer/skills")
}

/// The program of layer 3 that knows a verb: the installed one, the one that would be installed from here, or `None`. Where
/// an archive was unpacked its own comes first: its sums were checked.
pub(crate) fn able(origin: &Origin, places: &PlaceFlags, verb: &str) -> Result<Option<PathBuf>> {
    let env = |name: &str| std::env::var_os(name);
    let installed = Places::resolve_with(places, &env, &Settings::default())?.claude_dir.join("hooks").join(LAYER3);
    let mut programs = [installed, origin.layer3()];
    if *origin != Origin::Workspace {
        programs.reverse();
    }
    let knows = |program: &PathBuf| {
        let mut help = Command::new(program);
        help.args([verb, "--help"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // One that does not start, or hangs, is passed over like one that does not know the verb.
        end_within(&mut help, HELP_WAIT).is_ok_and(|status| status.is_some_and(|status| status.success()))
    };
    Ok(programs.into_iter().find(knows))
}

/// A verb of a program of layer 3, for these places.
pub(crate) fn verb_of(program: &Path, verb: &str, places: &PlaceFlags) -> Command {
    let mut command = Command::new(program);
    command.arg(verb);
    for (flag, value) in places.named() {
        command.args(value.into_iter().flat_map(|value| [flag.as_ref(), value.as_os_str()]));
    }
    command
}

/// Runs it to its end. What failed it has told.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {}", command.get_program().display()))?;
    if status.success() { Ok(()) } else { Err(Error::msg(AlreadyTold)) }
}

/// Starts a command and waits for its end. `None` where that takes longer than `limit`: it is killed then.
fn end_within(command: &mut Command, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let mut child = command.spawn()?;
    let status = child.wait_timeout(limit)?;
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(status)
}
