//! House rules that would otherwise be forgotten, as tests over the sources.
//!
//! Each rule is a line of data where it can be. A rule that has to be broken is changed here,
//! in the same commit, with its reason.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::release;

/// All that layer 1 may depend on: it must stay small enough to be trusted.
const LAYER1_DEPENDENCIES: [&str; 12] = [
    "blake3",
    "clap",
    "humantime",
    "indicatif",
    "rustix",
    "serde",
    "serde_json",
    "signal-hook",
    "thiserror",
    "toml",
    "zeekstd",
    "zstd",
];

/// What a member may depend on of this workspace.
const DOWNWARD: [(&str, &[&str]); 4] = [
    ("layer1-prebackup", &[]),
    ("layer2-save-client", &["layer1-prebackup"]),
    ("layer3-indexer", &["layer1-prebackup"]),
    ("xtask", &["layer1-prebackup"]),
];

/// The one module that may do what [`DURABLE_CALLS`] do.
const DURABLE: &str = "layer1-prebackup/src/fs/";

/// Calls that make, move or end files for good. clippy forbids them too, where it is installed
/// and sees through imports; this also finds what a macro or an allowance hides.
const DURABLE_CALLS: [&str; 15] = [
    ".sync_all(",
    ".sync_data(",
    ".set_len(",
    "fs::rename(",
    "fs::remove_file(",
    "fs::remove_dir(",
    "fs::remove_dir_all(",
    "fs::copy(",
    "fs::hard_link(",
    "fsync(",
    "fdatasync(",
    "ftruncate(",
    "renameat(",
    "renameat_with(",
    "unlinkat(",
];

/// The modules that may ask which system this is.
const PLATFORM: &str = "layer1-prebackup/src/fs/platform";
/// In which one Unix differs from another.
const PLATFORM_WORDS: [&str; 8] = [
    "target_os",
    "target_vendor",
    "target_env",
    "/proc/",
    "os::unix::process",
    "os::linux",
    "rustix::process",
    "rustix::rand",
];
/// A sync reaches the drive by another call on Apple's systems, and only the module fs may sync.
const PLATFORM_ELSEWHERE: [(&str, &str); 1] = [("layer1-prebackup/src/fs/dir.rs", "target_vendor")];

/// What no source may hold, product or test.
const FORBIDDEN: [&str; 7] = [
    concat!("#[ig", "nore"),
    concat!("process::exit", "(2)"),
    concat!("ExitCode::from", "(2)"),
    concat!("db", "g!("),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("allow(dead", "_code"),
];

/// Paths of somebody's machine.
const MACHINE_PATHS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];

/// A file longer than this wants to be two.
const LINES_MAX: usize = 1200;

/// What holds nothing of ours. In a worktree of git, `.git` is a file that names a path.
const NOT_OURS: [&str; 2] = [".git", "target"];

#[test]
fn every_module_says_what_it_is_for() {
    let silent = sources().filter(|(_, text)| !text.trim_start().starts_with("//!"));
    assert_none("modules without //! at their head", silent.map(|(path, _)| path));
}

#[test]
fn no_file_grows_beyond_reading() {
    let long = sources().filter(|(_, text)| text.lines().count() > LINES_MAX);
    assert_none(&format!("files of more than {LINES_MAX} lines"), long.map(|(path, _)| path));
}

#[test]
fn only_one_module_syncs_renames_truncates_or_unlinks() {
    let product = sources().filter(|(path, _)| !path.starts_with(DURABLE) && !is_test(path));
    let found = product.flat_map(|(path, text)| occurrences(&path, without_tests(&text), &DURABLE_CALLS));
    assert_none("durable operations outside of layer 1's fs/", found);
}

#[test]
fn only_one_module_asks_which_system_this_is() {
    let product = sources().filter(|(path, _)| !path.starts_with(PLATFORM) && !is_test(path));
    let found = product.flat_map(|(path, text)| {
        let allowed = |word: &&str| !PLATFORM_ELSEWHERE.contains(&(path.as_str(), *word));
        let words: Vec<_> = PLATFORM_WORDS.into_iter().filter(allowed).collect();
        occurrences(&path, without_tests(&text), &words)
    });
    assert_none("differences between systems outside of fs/platform/", found);
}

#[test]
fn nothing_forbidden_stands_in_a_source() {
    let found = sources().flat_map(|(path, text)| occurrences(&path, &text, &FORBIDDEN));
    assert_none("forbidden words", found);
}

#[test]
fn no_path_of_a_machine_is_committed() {
    let texts = files(&release::workspace())
        .into_iter()
        .filter_map(|path| Some((name_of(&path), fs::read_to_string(&path).ok()?)));
    // Transcripts are as they were recorded.
    let texts = texts.filter(|(path, _)| !path.starts_with("tests/fixtures/"));
    let found = texts.flat_map(|(path, text)| occurrences(&path, &text, &MACHINE_PATHS));
    assert_none("paths of a machine", found);
}

#[test]
fn dependencies_point_down() {
    for (member, allowed) in DOWNWARD {
        let of_workspace = dependencies(member, None).into_iter().filter(|(_, path)| *path).map(|(name, _)| name);
        assert_eq!(of_workspace.collect::<Vec<_>>(), *allowed, "{member} may use these of the workspace");
    }
}

#[test]
fn layer1_depends_on_few_crates() {
    let normal: Vec<_> = dependencies("layer1-prebackup", Some("normal")).into_iter().map(|(name, _)| name).collect();
    assert_eq!(normal, LAYER1_DEPENDENCIES);
}

#[test]
fn versions_stand_in_one_table() {
    let manifests = files(&release::workspace()).into_iter().filter(|path| path.ends_with("Cargo.toml"));
    let members = manifests.map(|path| (name_of(&path), read(&path)));
    // A package of its own, outside of the workspace, has its own table.
    let members = members.filter(|(path, _)| !["Cargo.toml", "fuzz/Cargo.toml"].contains(&path.as_str()));
    let found = members.flat_map(|(path, text)| {
        let is_other = |line: &str| {
            line.contains(" = ") && !line.trim_start().starts_with('#') && !line.contains("workspace = true")
        };
        let within = lines_within(&text, "dependencies]").filter(|(_, line)| is_other(line));
        within.map(|(number, line)| format!("{path}:{number}: {line}")).collect::<Vec<_>>()
    });
    assert_none("dependencies that do not inherit from the workspace", found);
}

#[test]
fn every_test_file_is_a_module() {
    let mut forgotten = Vec::new();
    for path in files(&release::workspace()) {
        let name = name_of(&path);
        let parts: Vec<_> = name.split('/').collect();
        let (Some(tests), true) = (parts.iter().rposition(|part| *part == "tests"), name.ends_with(".rs")) else {
            continue;
        };
        // tests/e2e.rs and tests/e2e/main.rs are crates of their own, which cargo finds.
        let depth = parts.len() - tests;
        if depth <= 2 || (depth == 3 && path.ends_with("main.rs")) || parts.contains(&"src") {
            continue;
        }
        let folder = path.parent().unwrap();
        let parents = [folder.join("main.rs"), folder.join("mod.rs"), folder.with_extension("rs")];
        let module = format!("mod {};", path.file_stem().unwrap().to_str().unwrap());
        let is_listed =
            parents.iter().any(|parent| fs::read_to_string(parent).is_ok_and(|text| text.contains(&module)));
        if !is_listed && !path.ends_with("mod.rs") {
            forgotten.push(name);
        }
    }
    assert_none("test files that no module lists", forgotten.into_iter());
}

#[test]
fn the_rules_find_what_they_forbid() {
    let text = "fn a() {\n    std::fs::rename(a, b);\n}\n\n#[cfg(test)]\nmod tests {\n    fs::remove_file(x);\n}\n";
    assert_eq!(occurrences("f.rs", without_tests(text), &DURABLE_CALLS), ["f.rs:2: std::fs::rename(a, b);"]);
    let manifest = "[package]\nversion = \"1\"\n[dependencies]\n# why = 1\na = \"1\"\n[lints]\nb = 2\n";
    assert_eq!(lines_within(manifest, "dependencies]").collect::<Vec<_>>(), [(4, "# why = 1"), (5, "a = \"1\"")]);
}

/// Fails with all of them, so that one run is enough.
#[track_caller]
fn assert_none(what: &str, found: impl Iterator<Item = String>) {
    let found: Vec<_> = found.collect();
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

fn occurrences(path: &str, text: &str, words: &[&str]) -> Vec<String> {
    let lines = text.lines().enumerate().filter(|(_, line)| words.iter().any(|word| line.contains(word)));
    lines.map(|(index, line)| format!("{path}:{}: {}", index + 1, line.trim())).collect()
}

/// Tests may damage what they like; this file names what it looks for.
fn is_test(path: &str) -> bool {
    let within = path.starts_with("tests/") || path.contains("/tests/");
    within || path.ends_with("/tests.rs") || path.ends_with("/testing.rs") || path == "xtask/src/dev/tidy.rs"
}

/// A source up to its unit tests, which stand at its end.
fn without_tests(text: &str) -> &str {
    text.split_once("\n#[cfg(test)]\nmod ").map_or(text, |(product, _)| product)
}

/// The lines of a manifest's tables whose header ends like this, numbered from 1.
fn lines_within<'a>(text: &'a str, header_end: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let mut within = false;
    text.lines().zip(1..).filter_map(move |(line, number)| {
        if line.starts_with('[') {
            within = line.ends_with(header_end);
            return None;
        }
        within.then_some((number, line))
    })
}

/// Names of a member's dependencies, sorted, and whether each is of this workspace.
fn dependencies(member: &str, kind: Option<&str>) -> Vec<(String, bool)> {
    let sh = xshell::Shell::new().unwrap();
    sh.change_dir(release::workspace());
    let json = xshell::cmd!(sh, "cargo metadata --no-deps --format-version 1 --offline").quiet().read().unwrap();
    let metadata: Value = serde_json::from_str(&json).unwrap();
    let package = metadata["packages"].as_array().unwrap().iter().find(|package| package["name"] == member).unwrap();
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    // In cargo's words a dependency of no kind is a normal one.
    let wanted = dependencies.filter(|d| kind.is_none_or(|kind| d["kind"].as_str().unwrap_or("normal") == kind));
    let mut names: Vec<_> =
        wanted.map(|d| (d["name"].as_str().unwrap().to_owned(), d.get("path").is_some_and(Value::is_string))).collect();
    names.sort();
    names.dedup();
    names
}

fn sources() -> impl Iterator<Item = (String, String)> {
    let files = files(&release::workspace()).into_iter();
    files.filter(|path| path.extension().is_some_and(|e| e == "rs")).map(|path| (name_of(&path), read(&path)))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if NOT_OURS.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if kind.is_dir() {
            files.extend(self::files(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}

fn name_of(path: &Path) -> String {
    path.strip_prefix(release::workspace()).unwrap().to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}
