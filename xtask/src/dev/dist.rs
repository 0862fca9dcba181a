//! `cargo xtask dist`: an archive for those who have no source; its `install.sh` needs neither cargo
//! nor a network.
//!
//! In it lie the programs, skills, completions and manual pages, and this very program by the name
//! `setup`, which then installs what lies beside it. The same files give the same tar: sorted, of one
//! owner and one time. It is made by a library because GNU's tar and the BSDs' share no options for
//! that; `gzip` and the program that sums are the system's, as where the archive is unpacked.

use layer1_prebackup::names::PROGRAMS;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use anyhow::{Context, Result, ensure};
use fs_extra::file::CopyOptions;
use layer1_prebackup::fs::platform::is_program;
use tar::{Builder, HeaderMode};
use xshell::{Shell, cmd};

use crate::dev::machine::on_path;
use crate::dev::plugin::TEXTS;
use crate::release::{self};
use crate::setup::origin::{self, SETUP};

/// Mode of what can be run, and of all other files.
const MODES: (u32, u32) = (0o755, 0o644);
/// The package of this program, and its name as cargo builds it.
const XTASK: &str = "xtask";
const SUMS: &str = "SHA256SUMS";

/// What README.md and the documents point to.
const DOCUMENTS: [&str; 4] = ["ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"];

/// What was typed.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Args {
    /// Take the programs from this directory instead of building them; `setup` then is this program
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Where to put the archive and its checksum [default: target/dist]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// The program that writes completions and manual pages, instead of building it
    #[arg(long, value_name = "PROGRAM")]
    help_texts: Option<PathBuf>,
}

/// Runs the verb: builds, lays the folder out, packs it, and says how it is used.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result<()> {
    let to = match &args.to {
        Some(to) => std::path::absolute(to).with_context(|| format!("find {}", to.display()))?,
        None => release::target(sh)?.join("dist"),
    };
    let name = name();
    let (folder, archive) = (to.join(&name), to.join(format!("{name}.tar.gz")));
    let sum = to.join(format!("{name}.tar.gz.sha256"));
    // Until the checksum stands beside it, an archive is not finished.
    for earlier in [&sum, &archive, &folder] {
        sh.remove_path(earlier)?;
    }
    let programs = programs(sh, args.binaries.as_deref())?;
    lay_out(sh, &programs, &folder)?;
    match &args.help_texts {
        Some(program) => cmd!(sh, "{program} {folder}").quiet().run()?,
        None => cmd!(sh, "cargo run --quiet --locked -p tests --bin help_texts -- {folder}").quiet().run()?,
    }
    sh.write_file(folder.join(SUMS), sums(sh, &folder, &files(&folder)?)?)?;
    pack(&folder, &name, &archive)?;
    sh.write_file(&sum, sums(sh, &to, &[format!("{name}.tar.gz")])?)?;
    sh.remove_path(&folder)?;
    println!("made {}; where it is unpacked:", archive.display());
    println!("  {name}/install.sh");
    println!("  {name}/{SETUP} doctor");
    Ok(())
}

/// Name of the archive and of the one folder in it: version, and the machines that it is for.
fn name() -> String {
    format!("threefold-{}-{}", env!("CARGO_PKG_VERSION"), layer1_prebackup::fs::platform::target())
}

/// Each program's file, and its name in the archive.
fn programs(sh: &Shell, binaries: Option<&Path>) -> Result<Vec<(PathBuf, String)>> {
    let (binaries, setup) = match binaries {
        Some(binaries) => (binaries.to_owned(), std::env::current_exe().context("find this program")?),
        None => {
            let built = release::build_programs(sh, &[&PROGRAMS[..], &[XTASK]].concat())?;
            (built.clone(), built.join(XTASK))
        }
    };
    let layers = PROGRAMS.iter().map(|program| (binaries.join(program), format!("bin/{program}")));
    Ok(layers.chain([(setup, SETUP.to_owned())]).collect())
}

/// Lays out all that does not have to be computed.
fn lay_out(sh: &Shell, programs: &[(PathBuf, String)], folder: &Path) -> Result<()> {
    let root = release::workspace();
    let texts = TEXTS.iter().chain(&DOCUMENTS).map(|text| (root.join(text), (*text).to_owned()));
    let script = (root.join("xtask/dist/install.sh"), "install.sh".to_owned());
    for (from, to) in programs.iter().cloned().chain(texts).chain([script]) {
        let to = folder.join(to);
        sh.create_dir(to.parent().unwrap_or(folder))?;
        fs_extra::file::copy(&from, &to, &CopyOptions::new())
            .with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
        let mode = if is_program(&from) { MODES.0 } else { MODES.1 };
        fs::set_permissions(&to, PermissionsExt::from_mode(mode))
            .with_context(|| format!("set the mode of {}", to.display()))?;
    }
    // README.md points into docs, and these to one another.
    fs_extra::copy_items(&[origin::skills_source(), root.join("docs")], folder, &fs_extra::dir::CopyOptions::new())
        .with_context(|| format!("copy skills and docs to {}", folder.display()))?;
    Ok(())
}

/// The files below a folder by their paths in it, sorted.
fn files(folder: &Path) -> Result<Vec<String>> {
    let content = fs_extra::dir::get_dir_content(folder).with_context(|| format!("list {}", folder.display()))?;
    let prefix = format!("{}/", folder.to_str().context("list a folder whose path is not UTF-8")?);
    let relative = |path: &String| path.strip_prefix(&prefix).map(str::to_owned);
    let mut files: Vec<String> = content.files.iter().filter_map(relative).collect();
    ensure!(files.len() == content.files.len(), "list {}: a file lies elsewhere", folder.display());
    files.sort();
    Ok(files)
}

/// A line for each file, as `sha256sum --check` reads it.
fn sums(sh: &Shell, folder: &Path, files: &[String]) -> Result<String> {
    let _folder = sh.push_dir(folder);
    let sums = match on_path("sha256sum") {
        true => cmd!(sh, "sha256sum {files...}").quiet().read()?,
        false => cmd!(sh, "shasum -a 256 {files...}").quiet().read()?,
    };
    ensure!(sums.lines().count() == files.len(), "sum the files in {}", folder.display());
    Ok(sums + "\n")
}

/// Packs what lies in a folder into an archive whose one folder bears this name.
fn pack(folder: &Path, name: &str, archive: &Path) -> Result<()> {
    let file = File::create(archive).with_context(|| format!("create {}", archive.display()))?;
    // Without name and time of what it packs, so that nothing but the content counts.
    let mut gzip = Command::new("gzip").arg("-n").stdin(Stdio::piped()).stdout(file).spawn().context("start gzip")?;
    let stdin = gzip.stdin.take().context("write to gzip")?;
    let packed = write_tar(folder, name, stdin).with_context(|| format!("pack {}", archive.display()));
    let status = gzip.wait().context("wait for gzip")?;
    ensure!(status.success(), "pack {}: gzip ended with {status}", archive.display());
    packed
}

fn write_tar(folder: &Path, name: &str, stdin: ChildStdin) -> Result<()> {
    let mut tar = Builder::new(stdin);
    tar.mode(HeaderMode::Deterministic);
    for file in files(folder)? {
        tar.append_path_with_name(folder.join(&file), Path::new(name).join(&file))?;
    }
    tar.into_inner()?.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_give_the_same_archive() {
        let dir = tempfile::tempdir().unwrap();
        let sh = Shell::new().unwrap();
        let packed = |mode: u32| {
            let folder = dir.path().join(format!("laid out {mode:o}"));
            for name in ["b", "a/z", "a/y", "setup"] {
                sh.write_file(folder.join(name), name).unwrap();
            }
            fs::set_permissions(folder.join("setup"), PermissionsExt::from_mode(mode)).unwrap();
            File::open(folder.join("b")).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            let archive = dir.path().join(format!("{mode:o}.tar.gz"));
            pack(&folder, "name", &archive).unwrap();
            archive
        };
        let archives = [packed(0o755), packed(0o700)];
        let listed = cmd!(sh, "tar -tzf").arg(&archives[0]).quiet().read().unwrap();
        assert_eq!(listed, "name/a/y\nname/a/z\nname/b\nname/setup");
        assert_eq!(fs::read(&archives[0]).unwrap(), fs::read(&archives[1]).unwrap());
    }

    #[test]
    fn a_gzip_that_fails_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let error = pack(&dir.path().join("absent"), "name", &dir.path().join("archive")).unwrap_err();
        assert!(format!("{error:#}").starts_with("pack "), "{error:#}");
    }
}
