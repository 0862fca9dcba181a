//! The machine that we run on: whether it is CI's, and which programs of others it has.

use layer1_prebackup::fs::platform::{is_program, process};
use xshell::{Shell, cmd};

/// Whether this is CI, where nothing may be skipped that can be had.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|ci| !ci.is_empty())
}

/// Looks for a program, and installs the package of its name where that is this machine's way and ours to do.
pub(crate) fn has_tool(sh: &Shell, name: &str) -> bool {
    if !on_path(name) && process::is_root() && on_path("apt-get") {
        println!("installing {name} with apt-get");
        let update = cmd!(sh, "apt-get update").quiet().ignore_stdout();
        let install = cmd!(sh, "apt-get install --yes --no-install-recommends {name}").quiet().ignore_stdout();
        let installed = update.run().and_then(|()| install.env("DEBIAN_FRONTEND", "noninteractive").run());
        if let Err(error) = &installed {
            println!("apt-get did not install {name}: {error}");
        }
    }
    on_path(name)
}

/// Whether a program of this name is on the `PATH`.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| is_program(&dir.join(program)))
}
