//! What is played: a scenario and what it is called.

use std::path::PathBuf;

use clap::Parser;
use tests::claude::Client;

/// The real client in a scratch home.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The folder that holds `claude`
    #[arg(long)]
    pub claude: PathBuf,
    /// The xtask that installs
    #[arg(long)]
    pub installer: PathBuf,
    /// What the installer needs to see of its environment, besides a home
    #[arg(long, value_name = "NAME=VALUE")]
    pub installer_env: Vec<String>,
    /// Only scenarios whose name contains this; installing always comes first
    #[arg(long)]
    pub only: Option<String>,
    /// Install the programs of this folder instead of building them
    #[arg(long)]
    pub binaries: Option<PathBuf>,
    /// There is no tmux: leave out what needs a terminal
    #[arg(long)]
    pub no_tmux: bool,
}

/// A scenario in the home of all.
pub(crate) struct Row {
    /// What it shows.
    pub name: &'static str,
    /// Whether it needs a terminal.
    pub terminal: bool,
    /// Says what was seen, in a few words, or panics.
    pub play: fn(&Client) -> String,
}

/// A scenario in a home of its own, in which nothing is installed.
pub(crate) struct Alone {
    /// What it shows.
    pub name: &'static str,
    /// Says what was seen, in a few words, or panics.
    pub play: fn(&Args) -> String,
}

/// A row that needs no terminal.
pub(crate) const fn printing(name: &'static str, play: fn(&Client) -> String) -> Row {
    Row { name, terminal: false, play }
}

/// A row that needs a terminal.
pub(crate) const fn typing(name: &'static str, play: fn(&Client) -> String) -> Row {
    Row { name, terminal: true, play }
}
