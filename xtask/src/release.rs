//! The release binaries, and the folder in which they wait to be installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use fs_extra::dir::CopyOptions;
use serde_json::Value;
use xshell::{Shell, cmd};

use crate::site::PROGRAMS;

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    let manifest_dir =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest_dir.parent().map(Path::to_owned).unwrap_or(manifest_dir)
}

/// The skills' sources.
pub fn skills_source() -> PathBuf {
    workspace().join("xtask/skills")
}

/// Cargo's build directory.
pub fn target(sh: &Shell) -> Result<PathBuf> {
    let json = cmd!(sh, "cargo metadata --no-deps --format-version 1").quiet().read()?;
    let metadata: Value = serde_json::from_str(&json).context("read what cargo says of the workspace")?;
    let target = metadata.get("target_directory").and_then(Value::as_str);
    target.map(PathBuf::from).context("find cargo's build directory")
}

/// Builds the three release binaries and returns the folder that cargo put them in.
pub fn build(sh: &Shell) -> Result<PathBuf> {
    let [one, two, three] = PROGRAMS;
    let messages = cmd!(
        sh,
        "cargo build --release --locked -p {one} -p {two} -p {three} --bins --message-format json-render-diagnostics"
    )
    .read()?;
    let mut folders = executables(&messages).filter_map(|program| Some(program.parent()?.to_owned()));
    let folder = folders.next().context("find what cargo built")?;
    for program in PROGRAMS {
        ensure!(folder.join(program).is_file(), "find {program} in {} after building it", folder.display());
    }
    Ok(folder)
}

/// Copies binaries and skills into a folder of our own below cargo's, so that a build that is
/// started meanwhile cannot hand over half a program. Returns that folder: `bin` and `skills`.
pub fn stage(binaries: &Path, skills: &Path) -> Result<PathBuf> {
    let stage = binaries.join("threefold-install");
    let bin = stage.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("create {}", bin.display()))?;
    let programs: Vec<_> = PROGRAMS.iter().map(|program| binaries.join(program)).collect();
    let options = CopyOptions::new().overwrite(true);
    fs_extra::copy_items(&programs, &bin, &options)
        .with_context(|| format!("copy the binaries to {}", bin.display()))?;
    fs_extra::copy_items(&[skills], &stage, &options)
        .with_context(|| format!("copy {} to {}", skills.display(), stage.display()))?;
    Ok(stage)
}

/// The programs in cargo's messages, one JSON object a line.
fn executables(messages: &str) -> impl Iterator<Item = PathBuf> {
    let objects = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    objects.filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
}
