//! The installer, as a user runs it.

use std::path::Path;
use std::time::Duration;

use tests::claude::Client;
use tests::run::Run;

use crate::row::Args;

/// `cargo xtask install` in the scratch home, with `claude` on the path.
pub(crate) fn install(client: &Client, args: &Args) -> String {
    let binaries = args.binaries.iter().flat_map(|folder| [Path::new("--binaries"), folder]);
    let run = Run::new(&args.installer).arg("install").args(binaries).limit(Duration::from_secs(1800));
    let run = client.environment().into_iter().fold(run, |run, (name, value)| run.env(name, value));
    let path = client.environment().into_iter().find(|(name, _)| *name == "PATH").map(|(_, path)| path);
    let mut run = run.current_dir(&client.scratch.project_dir());
    for variable in &args.installer_env {
        let (name, value) = variable.split_once('=').expect("NAME=VALUE");
        let value =
            if name == "PATH" { format!("{}:{value}", path.as_deref().unwrap_or_default()) } else { value.to_owned() };
        run = run.env(name, value);
    }
    let told = run.output().ok().text();
    for expected in ["installed ", "wrote the hooks into ", "registered the MCP server session-manager"] {
        assert!(told.contains(expected), "the installer did not say {expected:?}: {told}");
    }
    told.lines().find(|line| line.contains("MCP")).unwrap_or_default().to_owned()
}
