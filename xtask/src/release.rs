//! The programs, and how they are built for a release.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use layer1_prebackup::fs::platform;
use layer1_prebackup::names::PROGRAMS;
use serde_json::Value;
use xshell::{Shell, cmd};

/// The workspace's folder.
pub(crate) fn workspace() -> PathBuf {
    let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(manifest_dir, PathBuf::from);
    manifest_dir.parent().map(Path::to_owned).unwrap_or(manifest_dir)
}

/// Where this program was built, for tests that start it without cargo.
#[cfg(debug_assertions)]
fn manifest_dir() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// A program that is given to others says nothing of the machine that built it, so without cargo it
/// has to be started in the workspace's folder.
#[cfg(not(debug_assertions))]
fn manifest_dir() -> PathBuf {
    "./xtask".into()
}

/// Cargo's build directory.
pub(crate) fn target(sh: &Shell) -> Result<PathBuf> {
    let json = cmd!(sh, "cargo metadata --no-deps --format-version 1").quiet().read()?;
    let metadata: Value = serde_json::from_str(&json).context("read what cargo says of the workspace")?;
    let target = metadata.get("target_directory").and_then(Value::as_str);
    target.map(PathBuf::from).context("find cargo's build directory")
}

/// Where a release build is, whether it was made or not.
pub(crate) fn folder() -> PathBuf {
    workspace().join("target").join(own_target().unwrap_or_default()).join("release")
}

/// Builds the three release binaries and returns the folder that cargo put them in.
pub(crate) fn build(sh: &Shell) -> Result<PathBuf> {
    build_programs(sh, &PROGRAMS)
}

/// Builds these programs, each in a package of its name, and returns the folder that cargo put them in.
pub(crate) fn build_programs(sh: &Shell, programs: &[&str]) -> Result<PathBuf> {
    Ok(build_watched(sh, programs)?.0)
}

/// The same, and how often the compiler warned.
pub(crate) fn build_watched(sh: &Shell, programs: &[&str]) -> Result<(PathBuf, usize)> {
    let packages = programs.iter().flat_map(|program| ["-p", program]);
    let linked = own_target();
    let target = linked.iter().flat_map(|target| ["--target", target]);
    let build =
        cmd!(sh, "cargo build --release --locked {packages...} {target...} --bins --message-format json").quiet();
    let flags = flags(&std::env::vars_os().collect::<Vec<_>>(), linked.is_some());
    let built = Command::from(build.env(ENCODED_FLAGS, flags)).stderr(Stdio::inherit()).output();
    let built = built.context("run cargo build")?;
    let messages = String::from_utf8_lossy(&built.stdout);
    let told: Vec<String> = diagnostics(&messages).collect();
    told.iter().for_each(|text| eprint!("{text}"));
    ensure!(built.status.success(), "build {}", programs.join(", "));
    let mut folders = executables(&messages).filter_map(|program| Some(program.parent()?.to_owned()));
    let folder = folders.next().context("find what cargo built")?;
    for program in programs {
        ensure!(folder.join(program).is_file(), "find {program} in {} after building it", folder.display());
    }
    Ok((folder, told.len()))
}

/// Builds the programs that measure, break and watch the three, and returns the one of that name. They wait most of the
/// time and need no optimisation.
pub(crate) fn tool(sh: &Shell, name: &str) -> Result<PathBuf> {
    let messages =
        cmd!(sh, "cargo build --quiet --locked -p tests --bins --message-format json-render-diagnostics").read()?;
    let mut programs = executables(&messages);
    programs.find(|program| program.ends_with(name)).with_context(|| format!("find {name} in what cargo built"))
}

/// The target to name to cargo where programs are to be linked with the C library in them, if that is to be: then
/// they start faster, which for a hook is a good part of what it costs, and run where another C library is.
/// Flags are for the programs alone and not for what helps to build them only where a target is named.
///
/// Not everywhere is the C library there in the form that is wanted for this, nor is this what somebody
/// who names a target of his own has asked for.
fn own_target() -> Option<String> {
    let is_there = |library: &str| {
        let asked = Command::new("cc").arg(format!("-print-file-name={library}")).output();
        asked.is_ok_and(|found| Path::new(OsStr::from_bytes(found.stdout.trim_ascii())).is_absolute())
    };
    let target = platform::target();
    let is_left_to_us = std::env::var_os("CARGO_BUILD_TARGET").is_none();
    let links_it_in = is_left_to_us && WITH_C_LIBRARY.contains(&target.as_str());
    (links_it_in && WHOLE_C_LIBRARY.iter().all(|library| is_there(library))).then_some(target)
}

/// Systems where a program has its C library linked in only if it is told so.
const WITH_C_LIBRARY: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];
/// What has to be there to link the C library in.
const WHOLE_C_LIBRARY: [&str; 4] = ["libc.a", "libm.a", "libgcc_eh.a", "rcrt1.o"];
const WHOLE_C_LIBRARY_FLAGS: [&str; 2] = ["-C", "target-feature=+crt-static"];

/// The compiler's flags as cargo takes them where a path may hold blanks: separated by this.
const ENCODED_FLAGS: &str = "CARGO_ENCODED_RUSTFLAGS";
const FLAG_END: &str = "\x1f";

/// The user's flags for the compiler, and those by which a program names its sources without saying
/// where they lay on the machine that built it. Every release build has the same, so that none makes
/// another be done again.
fn flags(vars: &[(OsString, OsString)], with_c_library: bool) -> String {
    let var = |name: &str| {
        let found = vars.iter().find(|(var, value)| var == name && !value.is_empty());
        found.map(|(_, value)| value.to_string_lossy().into_owned())
    };
    let given = match (var(ENCODED_FLAGS), var("RUSTFLAGS")) {
        (Some(encoded), _) => encoded,
        (None, plain) => plain.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(FLAG_END),
    };
    let cargo_home = var("CARGO_HOME").or_else(|| var("HOME").map(|home| format!("{home}/.cargo")));
    // Of several that fit the compiler takes the last.
    let remapped = [(cargo_home, "/cargo"), (Some(workspace().display().to_string()), "/threefold")];
    let remap = |(from, to): (Option<String>, &str)| Some(format!("--remap-path-prefix={}={to}", from?));
    let linked = WHOLE_C_LIBRARY_FLAGS.into_iter().filter(|_| with_c_library).map(str::to_owned);
    linked
        // The user's come after ours, and win.
        .chain(Some(given).filter(|given| !given.is_empty()))
        .chain(remapped.into_iter().filter_map(remap))
        .collect::<Vec<_>>()
        .join(FLAG_END)
}

/// The programs in cargo's messages, one JSON object a line.
fn executables(messages: &str) -> impl Iterator<Item = PathBuf> {
    objects(messages).filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
}

/// What the compiler says of our code, as it would show it; cargo keeps to itself what it says of others'.
fn diagnostics(messages: &str) -> impl Iterator<Item = String> {
    objects(messages).filter_map(|message| Some(message.get("message")?.get("rendered")?.as_str()?.to_owned()))
}

fn objects(messages: &str) -> impl Iterator<Item = Value> {
    messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_compiler_says_is_told_and_counted() {
        let messages = r#"{"reason":"compiler-message","message":{"rendered":"warning: unused\n","level":"warning"}}
            {"reason":"compiler-artifact","executable":"/t/release/a"}
            {"reason":"build-finished","success":true}"#;
        assert_eq!(diagnostics(messages).collect::<Vec<_>>(), ["warning: unused\n"]);
        assert_eq!(executables(messages).collect::<Vec<_>>(), [PathBuf::from("/t/release/a")]);
    }

    #[test]
    fn a_release_names_its_sources_without_the_machine_that_built_it() {
        let flags = |vars: &[(&str, &str)]| {
            let vars: Vec<(OsString, OsString)> =
                vars.iter().map(|(name, value)| (name.into(), value.into())).collect();
            flags(&vars, false).replace(FLAG_END, " ").replace(&workspace().display().to_string(), "WORKSPACE")
        };
        let ours = "--remap-path-prefix=/h/.cargo=/cargo --remap-path-prefix=WORKSPACE=/threefold";
        assert_eq!(flags(&[("HOME", "/h")]), ours);
        assert_eq!(
            flags(&[("HOME", "/h"), ("RUSTFLAGS", " -C  target-cpu=native ")]),
            format!("-C target-cpu=native {ours}")
        );
        let elsewhere = "--remap-path-prefix=/a b=/cargo --remap-path-prefix=WORKSPACE=/threefold";
        assert_eq!(flags(&[("CARGO_HOME", "/a b"), (ENCODED_FLAGS, "-g")]), format!("-g {elsewhere}"));
    }

    #[test]
    fn what_the_user_says_of_linking_comes_last() {
        let vars = [(OsString::from("RUSTFLAGS"), OsString::from("-C target-feature=-crt-static"))];
        let flags = flags(&vars, true).replace(FLAG_END, " ");
        let [ours, users] = ["+crt-static", "-crt-static"].map(|feature| flags.find(feature).unwrap());
        assert!(ours < users, "{flags}");
    }
}
