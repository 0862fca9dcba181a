//! The programs that `cargo xtask offsite-tools` fetches.

use std::ffi::OsString;
use std::path::PathBuf;
use std::{env, fs};

use crate::binaries;

/// The engine.
pub const RESTIC: &str = "restic";
/// The server of restic's own makers.
pub const REST_SERVER: &str = "restic-rest-server";
/// SFTP.
pub const SSHD: &str = "sshd";
/// S3, and a second server of restic's protocol.
pub const RCLONE: &str = "rclone";
/// S3, in memory.
pub const MOTO: &str = "moto_server";

/// Where they lie.
pub fn folder() -> PathBuf {
    binaries::target().join("offsite-tools/bin")
}

/// A program of [`folder`].
pub fn program(name: &str) -> PathBuf {
    folder().join(name)
}

/// Whether restic and these are there: see [`have`].
pub fn are_here(test: &str, names: &[&str]) -> bool {
    have(test, &[&[RESTIC], names].concat())
}

/// Whether these are there. Where they are not, says that `test` is skipped; under CI on Debian, where they can be had,
/// that is a failure, unless it is one of the two that speak S3 and the other one is there.
pub fn have(test: &str, names: &[&str]) -> bool {
    let lacking: Vec<_> = names.iter().copied().filter(|name| !program(name).exists()).collect();
    if lacking.is_empty() {
        return true;
    }
    let is_replaced = |name: &&str| match *name {
        MOTO => program(RCLONE).exists(),
        RCLONE => program(MOTO).exists(),
        _ => false,
    };
    let may_lack = env::var_os("CI").is_none_or(|ci| ci.is_empty()) || !is_debian() || lacking.iter().all(is_replaced);
    assert!(may_lack, "{test} needs {lacking:?}: run `cargo xtask offsite-tools`");
    println!("skipped: {test} needs {}; `cargo xtask offsite-tools` fetches it", lacking.join(", "));
    false
}

fn is_debian() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|text| text.lines().any(|line| line == "ID=debian"))
}

/// A search path on which the fetched programs stand before the system's, and these folders before all.
pub fn search_path(before: &[PathBuf]) -> OsString {
    let system = ["/usr/bin", "/bin"].map(PathBuf::from);
    let folders = before.iter().cloned().chain([folder()]).chain(system);
    env::join_paths(folders).expect("no colon in a folder's name")
}
