//! What git says of a file. Git is only asked, and only for some seconds; where there is none, or it fails, nothing is known.

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use layer1_prebackup::config::child_env::ChildEnv;
use layer1_prebackup::config::threads;
use layer1_prebackup::fs::platform::process::{Group, Signal, spawn_detached};
use serde::Serialize;
use wait_timeout::ChildExt;

/// How long git is waited for.
const GIT_MAX: Duration = Duration::from_secs(5);
/// More of what it says is not read.
const OUTPUT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// It writes nothing, asks nobody, fetches nothing, and starts no monitor, hook, text converter, filter of contents or signature
/// check of a repository's settings.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_NO_LAZY_FETCH", "1"),
    // A file's name is no pattern.
    ("GIT_LITERAL_PATHSPECS", "1"),
    ("LC_ALL", "C"),
];
const SETTINGS: [&str; 12] = [
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "log.showSignature=false",
    "-c",
    "color.ui=false",
    "-c",
    "core.quotePath=false",
    "-c",
    "protocol.allow=never",
];

/// A commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Commit {
    /// Its whole hash.
    pub(crate) hash: String,
    /// The first line of its message.
    pub(crate) subject: String,
    /// When its changes were made, and when it was made of them; in milliseconds since 1970.
    #[serde(skip)]
    pub(super) author_ms: i64,
    #[serde(skip)]
    pub(super) made_ms: i64,
    /// What the file was called then, relative to its repository.
    #[serde(skip)]
    pub(super) file: String,
}

/// A repository.
#[derive(Debug)]
pub(super) struct Git<'e> {
    pub(super) root: PathBuf,
    pub(super) env: &'e ChildEnv,
}

impl Git<'_> {
    /// The commits of these lines of the file as it is; of a line that is in none, none.
    pub(super) fn blame(&self, file: &Path, lines: &Range<usize>) -> Option<Vec<Option<Commit>>> {
        let range = format!("-L{},{}", lines.start + 1, lines.end);
        let without_filters = self.without_filters();
        let mut args: Vec<&str> = without_filters.iter().flat_map(|setting| ["-c", setting]).collect();
        args.extend(["blame", "--no-textconv", "--line-porcelain", &range, "--"]);
        let told = self.ask(&args, file)?;
        Some(parse_blame(&told))
    }

    /// The last commit that changed the file.
    pub(super) fn last(&self, file: &Path) -> Option<Commit> {
        let told = self.ask(&["log", "-1", "--format=%H%n%at%n%ct%n%s", "--"], file)?;
        let mut lines = told.lines();
        let hash = lines.next()?.to_owned();
        let (author_ms, made_ms) = (seconds(lines.next()?), seconds(lines.next()?));
        let file = file.to_string_lossy().into_owned();
        Some(Commit { hash, author_ms, made_ms, subject: lines.next().unwrap_or_default().to_owned(), file })
    }

    /// Settings without the programs through which git reads the file of a repository that asks for it: any that is set
    /// is set to nothing. Asking for the settings runs none of them.
    fn without_filters(&self) -> Vec<String> {
        let told = self.told(
            &["config", "--null", "--name-only", "--get-regexp", r"^filter\..*\.(clean|process|required)$"],
            None,
        );
        let told = told.unwrap_or_default();
        let names = told.split('\0').filter(|name| !name.is_empty());
        names.map(|name| format!("{name}={}", if name.ends_with(".required") { "false" } else { "" })).collect()
    }

    fn ask(&self, args: &[&str], file: &Path) -> Option<String> {
        self.told(args, Some(file))
    }

    fn told(&self, args: &[&str], file: Option<&Path>) -> Option<String> {
        if !self.root.join(".git").exists() {
            return None;
        }
        let mut command = Command::new("git");
        self.env.apply(&mut command);
        command.envs(ENVIRONMENT).arg("-C").arg(&self.root).args(SETTINGS).args(args);
        run(command.args(file))
    }
}

/// What it prints; `None` where it fails or takes too long.
fn run(command: &mut Command) -> Option<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = spawn_detached(command).ok()?;
    let output = child.stdout.take()?;
    let reader = threads::start("git", move || {
        let mut bytes = Vec::new();
        // What came before an error is of no use; the status says so.
        let _ = output.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
        bytes
    });
    let status = child.wait_timeout(GIT_MAX).ok().flatten();
    if status.is_none() {
        if let Some(group) = Group::of(&child) {
            // It may just have ended.
            let _ = group.signal(Signal::KILL);
        }
        // As above.
        let _ = child.wait();
    }
    let bytes = reader.join().ok()?;
    status.filter(|status| status.success()).map(|_| String::from_utf8_lossy(&bytes).into_owned())
}

/// See git-blame(1), "the porcelain format": of each line a header, fields, and the line itself behind a tab.
fn parse_blame(told: &str) -> Vec<Option<Commit>> {
    let mut lines = Vec::new();
    let mut commit = Commit::default();
    for line in told.lines() {
        let (field, value) = line.split_once(' ').unwrap_or((line, ""));
        match field {
            _ if line.starts_with('\t') => {
                let is_committed = commit.hash.bytes().any(|byte| byte != b'0');
                lines.push(Some(std::mem::take(&mut commit)).filter(|_| is_committed));
            }
            "author-time" => commit.author_ms = seconds(value),
            "committer-time" => commit.made_ms = seconds(value),
            "summary" => value.clone_into(&mut commit.subject),
            "filename" => value.clone_into(&mut commit.file),
            _ if commit.hash.is_empty() => field.clone_into(&mut commit.hash),
            _ => {}
        }
    }
    lines
}

fn seconds(text: &str) -> i64 {
    // Until the year 9999: a commit may claim any number.
    text.trim().parse::<i64>().unwrap_or_default().clamp(0, 253_402_300_799) * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_may_claim_any_time() {
        let long_ago = [seconds("-9223372036854775808"), seconds("soon")];
        assert_eq!((long_ago, seconds("1769000000")), ([0, 0], 1_769_000_000_000));
        assert!(seconds("9223372036854775807").checked_add(i64::MAX / 2).is_some());
    }

    #[test]
    fn no_filter_of_a_repository_runs() {
        let folder = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let mut git = Command::new("git");
            git.arg("-C").arg(folder.path()).args(["-c", "user.name=a", "-c", "user.email=a@b.invalid"]).args(args);
            assert!(git.status().unwrap().success(), "{args:?}");
        };
        git(&["init", "--quiet"]);
        std::fs::write(folder.path().join("f"), "one\n").unwrap();
        git(&["add", "f"]);
        git(&["commit", "--quiet", "--message", "first"]);
        std::fs::write(folder.path().join(".gitattributes"), "* filter=Own.odd\n").unwrap();
        for (program, mark) in [("clean", "cleaned"), ("process", "processed")] {
            let runs = format!("touch '{}'; cat", folder.path().join(mark).display());
            git(&["config", &format!("filter.Own.odd.{program}"), &runs]);
        }
        git(&["config", "filter.Own.odd.required", "true"]);
        // Looked at anew, because it is not as git knows it.
        std::fs::write(folder.path().join("f"), "one\ntwo\n").unwrap();
        let env = ChildEnv::default();
        let told = Git { root: folder.path().to_owned(), env: &env }.blame(Path::new("f"), &(0..2));
        let known: Vec<bool> = told.unwrap().iter().map(Option::is_some).collect();
        assert_eq!(known, [true, false]);
        for mark in ["cleaned", "processed"] {
            assert!(!folder.path().join(mark).exists(), "{mark}");
        }
    }

    #[test]
    fn a_blame_is_read_line_by_line() {
        let told = "\
8bb4d18de6e4b4cf0ea1b9d92b3ed5a5f0a1c2d3 1 1 1
author A
author-time 1769000000
committer-time 1769000100
summary add the parser
filename old/name.rs
\tfn parse() {}
0000000000000000000000000000000000000000 2 2 1
author Not Committed Yet
author-time 1769000200
summary Version of name.rs from name.rs
filename name.rs
\t\t// by hand
";
        let lines = parse_blame(told);
        let first = Commit {
            hash: "8bb4d18de6e4b4cf0ea1b9d92b3ed5a5f0a1c2d3".into(),
            subject: "add the parser".into(),
            author_ms: 1_769_000_000_000,
            made_ms: 1_769_000_100_000,
            file: "old/name.rs".into(),
        };
        assert_eq!(lines, [Some(first), None]);
    }
}
