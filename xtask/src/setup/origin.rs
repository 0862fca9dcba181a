//! Where an installation is taken from, and the folder in which it waits to be installed.

use layer1_prebackup::claude::shell::quoted_if_needed;
use layer1_prebackup::names::{LAYER3, PROGRAMS};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_extra::dir::CopyOptions;
use xshell::Shell;

use crate::release::{self};

/// The name of this program in the folder that an archive was unpacked into.
pub(crate) const SETUP: &str = "setup";
/// For a program that waits to be installed.
const MODE_PROGRAM: u32 = 0o755;

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

    /// The skills' sources.
    pub(crate) fn skills(&self) -> PathBuf {
        match self {
            Origin::Workspace => skills_source(),
            Origin::Unpacked(folder) => folder.join("skills"),
        }
    }

    /// The folder with the programs, if it is not one that has to be built first.
    pub(crate) fn binaries(&self) -> Option<PathBuf> {
        match self {
            Origin::Workspace => None,
            Origin::Unpacked(folder) => Some(folder.join("bin")),
        }
    }

    /// Layer 3's program as it is now, whether it was built or not.
    pub(crate) fn layer3(&self) -> PathBuf {
        self.binaries().unwrap_or_else(release::folder).join(LAYER3)
    }

    /// A folder whose `bin` and `skills` hold what is to be installed; programs are taken from
    /// `binaries`, else built.
    pub(crate) fn stage(&self, sh: &Shell, binaries: Option<&Path>) -> Result<PathBuf> {
        match (self, binaries) {
            (_, Some(binaries)) => stage(binaries, &self.skills()),
            (Origin::Workspace, None) => stage(&release::build(sh)?, &self.skills()),
            (Origin::Unpacked(folder), None) => Ok(folder.clone()),
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
    release::workspace().join("xtask/skills")
}

/// Copies binaries and skills into a folder of our own below cargo's, so that a build that is
/// started meanwhile cannot hand over half a program; nor can another installer, because none is
/// written in place. Returns that folder: `bin` and `skills`.
fn stage(binaries: &Path, skills: &Path) -> Result<PathBuf> {
    let stage = binaries.join("threefold-install");
    let bin = stage.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("create {}", bin.display()))?;
    for program in PROGRAMS {
        let source = binaries.join(program);
        let content = fs::read(&source).with_context(|| format!("read {}", source.display()))?;
        layer1_prebackup::fs::replace_file_with_mode(&bin.join(program), &content, MODE_PROGRAM)?;
    }
    let options = CopyOptions::new().overwrite(true);
    fs_extra::copy_items(&[skills], &stage, &options)
        .with_context(|| format!("copy {} to {}", skills.display(), stage.display()))?;
    Ok(stage)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_one_installer_reads_another_does_not_write() {
        let dir = tempfile::tempdir().unwrap();
        let (binaries, skills) = (dir.path().join("release"), dir.path().join("skills"));
        let build = |text: &str| PROGRAMS.map(|name| fs::write(binaries.join(name), text).unwrap());
        fs::create_dir_all(&binaries).unwrap();
        fs::create_dir_all(&skills).unwrap();
        build("the first build");
        let staged = stage(&binaries, &skills).unwrap().join("bin").join(LAYER3);
        let mut reading = fs::File::open(&staged).unwrap();
        build("second");
        stage(&binaries, &skills).unwrap();
        let mut read = String::new();
        reading.read_to_string(&mut read).unwrap();
        assert_eq!((read.as_str(), fs::read_to_string(&staged).unwrap().as_str()), ("the first build", "second"));
    }
}
