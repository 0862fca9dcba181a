//! Where the product's binaries are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The variable that names the folder of the binaries to test; without it they are built.
pub const BIN_DIR: &str = "THREEFOLD_BIN_DIR";
/// Layer 1's program.
pub const LAYER1: &str = "layer1-prebackup";
/// Layer 2's program.
pub const LAYER2: &str = "layer2-save-client";
/// Layer 3's program.
pub const LAYER3: &str = "layer3-indexer";
/// All three, in the order of the layers.
pub const ALL: [&str; 3] = [LAYER1, LAYER2, LAYER3];

/// The folder with the three binaries: what [`BIN_DIR`] names, else a release build made once.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match std::env::var_os(BIN_DIR) {
        Some(folder) => PathBuf::from(folder),
        None => built(),
    })
}

/// The installer, `cargo xtask` without cargo; built once, in the profile of the tests.
pub fn xtask() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let target = target();
        let mut build = cargo(&target);
        let status = build.args(["-p", "xtask"]).status().expect("start cargo");
        assert!(status.success(), "building xtask: {status}");
        target.join("debug/xtask")
    })
}

/// Cargo holds a lock on its build directory, so two test processes do not build at once.
fn built() -> PathBuf {
    let target = target();
    let mut build = cargo(&target);
    build.arg("--release");
    for package in ALL {
        build.args(["-p", package]);
    }
    let status = build.status().expect("start cargo");
    assert!(status.success(), "building the release binaries: {status}");
    target.join("release")
}

/// Cargo's build directory.
pub(crate) fn target() -> PathBuf {
    let own = std::env::current_exe().expect("own path");
    // <target>/<profile>/deps/<test>, or <target>/<profile>/<program>
    let folder = own.parent().expect("a program lies in a folder");
    let profile = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    profile.and_then(Path::parent).expect("it lies in a build directory").to_owned()
}

fn cargo(target: &Path) -> Command {
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "--target-dir"]).arg(target);
    build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    build
}
