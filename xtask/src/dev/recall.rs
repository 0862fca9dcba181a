//! `cargo xtask recall`: how often the conversation that answers a plain question is found, and found first.
//!
//! The data is others' and is had by git from where they publish it, once, into cargo's folder; where that is
//! impossible, a line says so and the rest is measured.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Error, Result, bail};
use xshell::{Shell, cmd};

use crate::release;
use crate::verb::AlreadyTold;

/// Kept here, below cargo's folder: the data, and what is made of it.
const FOLDER: &str = "recall";
/// What the measures are called, the clone that each is made of, and whose data that is.
const DATA: [(&str, &str, &str); 3] = [
    ("locomo", "locomo", "https://github.com/dial481/locomo.git"),
    ("commits", "commits", "https://github.com/entireio/cli.git"),
    ("sentences", "commits", "https://github.com/entireio/cli.git"),
];

/// What was typed; the program understands the rest.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// A folder that has the data already, as bare clones `locomo` and `commits`
    #[arg(long, value_name = "DIR")]
    have: Option<PathBuf>,
    /// Passed on: --sweep, --half even|odd|all, --only NAME, --weights A B C
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    rest: Vec<OsString>,
}

/// Runs the verb. Fails when nothing could be measured.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result<()> {
    let target = release::target(sh)?;
    let folder = target.join(FOLDER);
    sh.create_dir(&folder)?;
    let mut data: Vec<OsString> = Vec::new();
    for (name, of, address) in DATA {
        let clone = args.have.clone().unwrap_or_else(|| folder.join("data")).join(of);
        if !clone.exists() && cmd!(sh, "git clone --quiet --bare {address} {clone}").quiet().run().is_err() {
            println!("skipped: {name}, whose data could not be had from {address}");
            continue;
        }
        data.extend(["--data".into(), name.into(), clone.into()]);
    }
    if data.is_empty() {
        bail!("find any data to measure with");
    }
    cmd!(sh, "cargo build --release --quiet --locked -p tests --bin recall").quiet().run()?;
    let (program, rest) = (target.join("release/recall"), &args.rest);
    let measured = cmd!(sh, "{program} --folder {folder} {data...} {rest...}").quiet().run();
    // The program has told what is wrong.
    measured.map_err(|_| Error::msg(AlreadyTold))
}
