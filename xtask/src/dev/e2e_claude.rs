//! `cargo xtask e2e-claude`: Threefold under the real client.
//!
//! Opt-in, because it fetches Claude Code from npm. That is all of the network it uses: the client
//! runs in a scratch home with a cleared environment, a dummy key, and a stand-in for its API on the
//! loopback interface. Nothing of the package is part of this repository.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result};
use xshell::{Shell, cmd};

use crate::dev::machine;
use crate::release;
use crate::verb::AlreadyTold;

const PACKAGE: &str = "@anthropic-ai/claude-code";
/// Pinned, because what a client writes changes from release to release.
const VERSION: &str = "2.1.332";
/// Whatever npm has newest.
const LATEST: &str = "latest";
/// Kept here, below cargo's folder, from run to run.
const CACHE: &str = "e2e-claude";
/// What the installer needs of this process's environment to build in a scratch home, and where it is
/// by default below the real one.
const TOOLCHAIN: [(&str, &str); 2] = [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")];

/// Variables that keep the client from talking to anybody but its API.
const QUIET: [&str; 4] =
    ["DISABLE_TELEMETRY", "DISABLE_ERROR_REPORTING", "DISABLE_AUTOUPDATER", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"];

/// What was typed; the program understands it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The client's version, or `latest`
    #[arg(long, default_value = VERSION)]
    client: String,
    /// Passed on to the program that drives the client; `--help` lists it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    driver: Vec<OsString>,
}

/// Runs the verb. Fails when a scenario did; skips, plainly, where npm or the package cannot be had.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result<()> {
    let binaries = release::build(sh)?;
    let driver = release::tool(sh, "e2e_claude")?;
    let Some(claude) = client(sh, &release::target(sh)?.join(CACHE), &args.client)? else { return Ok(()) };
    let mut options: Vec<OsString> = Vec::new();
    if !machine::has_tool(sh, "tmux") {
        println!("skipped: what needs a terminal; install the package `tmux` to run it");
        options.push("--no-tmux".into());
    }
    for (name, value) in toolchain() {
        options.push("--installer-env".into());
        options.push([name.as_ref(), value.as_os_str()].join("=".as_ref()));
    }
    let installer = std::env::current_exe().context("find this program")?;
    let given = &args.driver;
    let driven = cmd!(sh, "{driver} --claude {claude} --installer {installer} {options...} {given...}");
    // The program has told what failed.
    driven.env("THREEFOLD_BIN_DIR", &binaries).quiet().run().map_err(|_| Error::msg(AlreadyTold))
}

/// The folder of the client's program, fetched if it is not there; `None`, and said, if it cannot be had.
fn client(sh: &Shell, cache: &Path, wanted: &str) -> Result<Option<PathBuf>> {
    let version = match wanted {
        LATEST => cmd!(sh, "npm view {PACKAGE} version").quiet().ignore_stderr().read().unwrap_or_default(),
        pinned => pinned.to_owned(),
    };
    let cache = cache.join(&version);
    let folder = cache.join("node_modules/.bin");
    if is_installed(sh, &folder, &version) {
        println!("client: {PACKAGE}@{version}");
        return Ok(Some(folder));
    }
    if version.is_empty() || cmd!(sh, "npm --version").quiet().ignore_stdout().ignore_stderr().run().is_err() {
        println!("skipped: npm is not installed, or does not know the newest {PACKAGE}");
        return Ok(None);
    }
    sh.create_dir(&cache)?;
    let install = cmd!(sh, "npm install --prefix {cache} --no-audit --no-fund {PACKAGE}@{version}");
    if install.ignore_stdout().run().is_err() || !is_installed(sh, &folder, &version) {
        println!("skipped: npm could not install {PACKAGE}@{version}");
        return Ok(None);
    }
    println!("client: {PACKAGE}@{version}");
    Ok(Some(folder))
}

/// Whether that version stands there and runs on this machine.
fn is_installed(sh: &Shell, folder: &Path, version: &str) -> bool {
    let Ok(home) = sh.create_temp_dir() else { return false };
    let claude = folder.join("claude");
    let asked = cmd!(sh, "{claude} --version").quiet().ignore_stderr().env_clear().env("HOME", home.path());
    let alone = QUIET.iter().fold(asked, |asked, name| asked.env(name, "1"));
    alone.read().is_ok_and(|said| !version.is_empty() && said.split(' ').next() == Some(version))
}

fn toolchain() -> Vec<(&'static str, OsString)> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let default = |folder: &str| Some(Path::new(&variable("HOME")?).join(folder).into_os_string());
    let homes =
        TOOLCHAIN.iter().filter_map(|(name, folder)| Some((*name, variable(name).or_else(|| default(folder))?)));
    homes.chain(variable("PATH").map(|path| ("PATH", path))).collect()
}
