//! `cargo xtask faults --self-test`: breaks the product on purpose, one [`Mutation`] at a time, and
//! sees that the checks notice.
//!
//! The mutated programs are built from a copy of the sources below the target directory; the checks
//! are those of the unmutated tree.

use layer1_prebackup::names::PROGRAMS;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use xshell::{Shell, cmd};

use super::mutations::{Check, MUTATIONS, Mutation};
use crate::release::{self, workspace};
use crate::verb::AlreadyTold;

/// What a build needs of the workspace.
const COPIED: [&str; 7] =
    ["Cargo.toml", "Cargo.lock", "layer1-prebackup", "layer2-save-client", "layer3-indexer", "xtask", "tests"];
/// Programs that are built many times and run for seconds: no time is spent on making them fast.
const PROFILE: [(&str, &str); 5] = [
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_RELEASE_INCREMENTAL", "true"),
    ("CARGO_PROFILE_RELEASE_STRIP", "none"),
];

/// The copy of the workspace and what is built from it.
struct Copy<'a> {
    sh: &'a Shell,
    sources: PathBuf,
    target: PathBuf,
    engine: PathBuf,
    scratch: PathBuf,
}

/// Runs every check on the unmutated programs, then each on its mutated ones. Fails unless the
/// former pass and the latter fail as they should.
pub(super) fn run(sh: &Shell, scratch: &Path) -> Result<()> {
    let engine = release::tool(sh, "faults")?;
    cmd!(sh, "cargo test --quiet --locked -p tests --test e2e --no-run").run()?;
    let folder = release::target(sh)?.join("self-test");
    let copy = Copy {
        sh,
        sources: folder.join("workspace"),
        target: folder.join("target"),
        engine,
        scratch: scratch.to_owned(),
    };
    fs::create_dir_all(&copy.sources).with_context(|| format!("create {}", copy.sources.display()))?;
    for name in COPIED {
        copy_sources(&workspace().join(name), &copy.sources.join(name))?;
    }
    copy.check_unmutated()?;
    let mut caught = 0;
    for mutation in &MUTATIONS {
        match copy.seen_to_fail(mutation)? {
            Ok(line) => {
                caught += 1;
                println!("caught: without {} — {line}", mutation.removed);
            }
            Err(output) => println!("NOT CAUGHT: without {} — {output}", mutation.removed),
        }
    }
    println!("self-test: {caught}/{} mutations caught", MUTATIONS.len());
    ensure!(caught == MUTATIONS.len(), AlreadyTold);
    Ok(())
}

impl Copy<'_> {
    fn check_unmutated(&self) -> Result<()> {
        self.build(&PROGRAMS)?;
        let mut checked: Vec<Check> = Vec::new();
        for Mutation { check, .. } in &MUTATIONS {
            if checked.contains(check) {
                continue;
            }
            let (passes, output) = self.check(*check)?;
            ensure!(passes, "pass {check:?} without a mutation:\n{output}");
            checked.push(*check);
        }
        println!("unmutated: {} checks pass", checked.len());
        Ok(())
    }

    /// The line by which the check failed as it should, else the end of what it said.
    fn seen_to_fail(&self, mutation: &Mutation) -> Result<std::result::Result<String, String>> {
        let path = self.sources.join(mutation.file);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let mutated = mutated(mutation, &text)?;
        fs::write(&path, mutated).with_context(|| format!("write {}", path.display()))?;
        let checked = self.build(programs_for(mutation.check)).and_then(|()| self.check(mutation.check));
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        let (passes, output) = checked?;
        let line = output.lines().map(str::trim).find(|line| line.contains(mutation.says)).filter(|_| !passes);
        Ok(line.map(shortened).ok_or_else(|| {
            let last: Vec<&str> = output.lines().rev().take(3).collect();
            format!("{:?} {}; it says {last:?}", mutation.check, if passes { "passes" } else { "fails otherwise" })
        }))
    }

    fn build(&self, programs: &[&str]) -> Result<()> {
        let (sh, target) = (self.sh, &self.target);
        let _there = sh.push_dir(&self.sources);
        let packages = programs.iter().flat_map(|program| ["-p", program]);
        let build = cmd!(sh, "cargo build --release --locked --quiet {packages...}").env("CARGO_TARGET_DIR", target);
        // A mutation leaves things unused; what the compiler says of that is no news.
        let built = build.envs(PROFILE).quiet().ignore_status().output().context("build the mutated programs")?;
        ensure!(built.status.success(), "build the mutated programs:\n{}", String::from_utf8_lossy(&built.stderr));
        Ok(())
    }

    /// Whether the check passes, and what it says.
    fn check(&self, check: Check) -> Result<(bool, String)> {
        let (sh, engine) = (self.sh, &self.engine);
        let run = match check {
            Check::Faults(points) => {
                let only = points.iter().flat_map(|point| ["--only", point]);
                cmd!(sh, "{engine} --jobs 2 {only...}")
            }
            Check::EndToEnd(name) => cmd!(sh, "cargo test --quiet --locked -p tests --test e2e {name}"),
        };
        let run = run.env("THREEFOLD_BIN_DIR", self.target.join("release")).env("TMPDIR", &self.scratch);
        let output = run.quiet().ignore_status().output().context("run a check")?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }
}

/// The programs that a check starts; layer 1 has to be the unmutated one again for the others.
fn programs_for(check: Check) -> &'static [&'static str] {
    const ALL: [&str; 3] = PROGRAMS;
    match check {
        Check::Faults(points) if points[0].starts_with("layer1") => &ALL[..1],
        Check::Faults(points) if points[0].starts_with("layer2") => &ALL[..2],
        Check::Faults(_) | Check::EndToEnd(_) => &ALL,
    }
}

fn mutated(mutation: &Mutation, text: &str) -> Result<String> {
    let found = text.matches(mutation.find).count();
    if found != 1 {
        bail!(
            "find the text of the mutation {:?} once in {}: it is there {found} times",
            mutation.removed,
            mutation.file
        );
    }
    Ok(text.replacen(mutation.find, mutation.replace, 1))
}

/// A call that acknowledged something is long; what was unsynced by then is what matters.
fn shortened(line: &str) -> String {
    const CHARS_MAX: usize = 300;
    let line = match line.split_once(" while unsynced:") {
        Some((early, unsynced)) => {
            format!("{} while unsynced:{unsynced}", early.split('(').next().unwrap_or(early))
        }
        None => line.to_owned(),
    };
    if line.chars().count() <= CHARS_MAX { line } else { line.chars().take(CHARS_MAX).collect::<String>() + "…" }
}

/// Copies what differs, so that cargo builds again only what changed.
fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
        for entry in fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
            let name = entry.with_context(|| format!("list {}", from.display()))?.file_name();
            copy_sources(&from.join(&name), &to.join(&name))?;
        }
        return Ok(());
    }
    let text = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    // An absent copy differs too.
    if fs::read(to).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(to, text).with_context(|| format!("write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_not_there_once_is_an_error() {
        let mutation = &MUTATIONS[0];
        assert!(mutated(mutation, "").is_err());
        assert!(mutated(mutation, &mutation.find.repeat(2)).is_err());
        assert_eq!(mutated(mutation, mutation.find).expect("once"), mutation.replace);
    }
}
