//! House rules that would otherwise be forgotten, as tests over the sources.
//!
//! Each rule is a line of data where it can be. A rule that has to be broken is changed here,
//! in the same commit, with its reason.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value;

use crate::dev::imports::{self, Crate, without_tests};
use crate::release;

/// All that layer 1 may depend on: it must stay small enough to be trusted.
const LAYER1_DEPENDENCIES: [&str; 13] = [
    "blake3",
    "chrono",
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

/// The crates whose files form a ladder, with the most rooms that each may have: files and folders directly below `src/`.
const HOUSES: [(&str, usize); 5] =
    [("layer1-prebackup", 14), ("layer2-save-client", 21), ("layer3-indexer", 16), ("xtask", 14), ("tests", 35)];

/// Files that import each other in a circle. The list only shrinks.
const CIRCLES_OF_FILES: &[&str] = &[];

/// Rooms that import each other in a circle. The list only shrinks.
const CIRCLES_OF_ROOMS: &[&str] = &[];

/// So many items other crates may see of the three libraries together.
const PUBLIC_ITEMS_MAX: usize = 560;

/// So many lines the product may have: the three layers and xtask without tests, blank lines and comments.
const PRODUCT_LINES_MAX: usize = 64_620;

#[test]
fn files_import_downwards_only() {
    check_circles("files", CIRCLES_OF_FILES, |arrows| arrows.clone(), |name, file| format!("{name}/src/{file}"));
}

#[test]
fn rooms_import_downwards_only() {
    check_circles("rooms", CIRCLES_OF_ROOMS, imports::between_rooms, |name, room| format!("{name}: {room}"));
}

#[test]
fn a_house_has_few_rooms() {
    let crowded = HOUSES.iter().filter_map(|(name, most)| {
        let rooms = fs::read_dir(release::workspace().join(name).join("src")).unwrap().count();
        (rooms > *most).then(|| format!("{name}: {rooms} rooms, at most {most}"))
    });
    assert_none("files and folders directly below src/", crowded);
}

#[test]
fn a_folder_of_modules_has_a_mod_rs() {
    let houses = HOUSES.iter().flat_map(|(name, _)| files(&release::workspace().join(name).join("src")));
    let folders = houses.filter(|path| path.extension().is_some_and(|e| e == "rs"));
    let homeless = folders.map(|path| path.parent().unwrap().to_owned()).filter(|folder| {
        let is_root = folder.ends_with("src") || folder.ends_with("src/bin");
        let is_program = folder.parent().is_some_and(|above| above.ends_with("src/bin"));
        !is_root && !folder.join(if is_program { "main.rs" } else { "mod.rs" }).is_file()
    });
    assert_none("folders of modules without mod.rs", homeless.map(|folder| name_of(&folder)));
}

#[test]
fn few_items_are_public() {
    let libraries = ["layer1-prebackup", "layer2-save-client", "layer3-indexer"];
    let counted =
        libraries.map(|name| house(name).files.values().map(|code| imports::public_items(code)).sum::<usize>());
    let all: usize = counted.iter().sum();
    println!("public items: {all}, of the three layers {counted:?}");
    assert!(
        all <= PUBLIC_ITEMS_MAX,
        "{all} public items in the three libraries {counted:?}, at most {PUBLIC_ITEMS_MAX}"
    );
}

#[test]
fn the_product_stays_small() {
    let names = ["layer1-prebackup", "layer2-save-client", "layer3-indexer", "xtask"];
    let counted = names.map(product_lines);
    let all: usize = counted.iter().sum();
    println!("product lines: {all}, of the three layers and xtask {counted:?}");
    assert!(all <= PRODUCT_LINES_MAX, "{all} lines of product code {counted:?}, at most {PRODUCT_LINES_MAX}");
}

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
    let found = product.flat_map(|(path, text)| durable_calls(&path, &without_tests(&text)));
    assert_none("durable operations outside of layer 1's fs/", found);
}

#[test]
fn only_one_module_asks_which_system_this_is() {
    let product = sources().filter(|(path, _)| !path.starts_with(PLATFORM) && !is_test(path));
    let found = product.flat_map(|(path, text)| {
        let allowed = |word: &&str| !PLATFORM_ELSEWHERE.contains(&(path.as_str(), *word));
        let words: Vec<_> = PLATFORM_WORDS.into_iter().filter(allowed).collect();
        occurrences(&path, &without_tests(&text), &words)
    });
    assert_none("differences between systems outside of fs/platform/", found);
}

#[test]
fn tests_stand_where_they_are_run() {
    // `dev/suites.rs` builds the tests of libraries, of xtask and below tests/, and rustdoc's are not run at all.
    let is_program = |path: &str| {
        path.contains("/src/bin/")
            || path.ends_with("/main.rs") && !path.starts_with("xtask/") && !path.starts_with("tests/tests/")
    };
    let found = sources().flat_map(|(path, text)| {
        let in_program = is_program(&path)
            .then(|| occurrences(&path, &text, &[concat!("#[te", "st]"), concat!("#[cfg(te", "st)]")]));
        let mut found = in_program.unwrap_or_default();
        found.extend(occurrences(&path, &text, &[concat!("/// ``", "`"), concat!("//! ``", "`")]));
        found
    });
    assert_none("tests that nothing runs", found);
}

#[test]
fn nothing_forbidden_stands_in_a_source() {
    let found = sources().flat_map(|(path, text)| occurrences(&path, &text, &FORBIDDEN));
    assert_none("forbidden words", found);
}

/// Words that may not stand where people read, because they would not look for them.
const NOT_PLAIN: [&str; 17] = [
    "mend",
    "mends",
    "mended",
    "mending",
    "cure",
    "cures",
    "cured",
    "heal",
    "heals",
    "healed",
    "healing",
    "whoever",
    "fit for use",
    "so many",
    "is told",
    "are told",
    "gone for good",
];

#[test]
fn people_are_spoken_to_in_plain_words() {
    let product = |path: &str| path.starts_with("layer") || path.starts_with("xtask/src/setup");
    let is_test = |path: &str| path.contains("/tests") || path.ends_with("testing.rs") || path.ends_with("schema.rs");
    let texts = sources().filter(|(path, _)| product(path) && !is_test(path));
    let said = texts.flat_map(|(path, text)| {
        literals(&imports::without_tests(&text))
            .into_iter()
            .map(move |(line, text)| (path.clone(), line, text))
            .collect::<Vec<_>>()
    });
    // Names of fields that scripts read.
    let is_field = |text: &str| matches!(text, "mend" | "healed") || text.contains("--json: ok, ");
    let found = said.filter(|(.., text)| !is_field(text)).filter_map(|(path, line, text)| {
        let words = format!(" {} ", text.replace(|c: char| !c.is_alphanumeric(), " "));
        let word = NOT_PLAIN.iter().find(|word| words.contains(&format!(" {word} ")))?;
        Some(format!("{path}:{line}: {word}"))
    });
    assert_none("words that are not plain", found);
}

/// The string literals of a source, each with its line.
fn literals(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut line, mut rest) = (Vec::new(), 1, text);
    let mut pass = |rest: &mut &str, bytes: usize| {
        line += rest[..bytes].matches('\n').count();
        *rest = &rest[bytes..];
        line
    };
    while let Some(at) = rest.find(['"', '/', '\'']) {
        pass(&mut rest, at);
        if text[..text.len() - rest.len()].ends_with("r#") {
            let end = rest.find("\"#").unwrap_or(rest.len());
            found.push((pass(&mut rest, 1), rest[..end.saturating_sub(1)].to_owned()));
            pass(&mut rest, end);
        } else if rest.starts_with("//") {
            let end = rest.find('\n').unwrap_or(rest.len());
            pass(&mut rest, end);
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            pass(&mut rest, 3);
        } else if rest.starts_with('"') {
            let at = pass(&mut rest, 1);
            let mut is_escaped = false;
            let end = rest.find(|c| {
                let ends = c == '"' && !is_escaped;
                is_escaped = c == '\\' && !is_escaped;
                ends
            });
            let end = end.unwrap_or(rest.len());
            found.push((at, rest[..end].to_owned()));
            let end = (end + 1).min(rest.len());
            pass(&mut rest, end);
        } else {
            pass(&mut rest, 1);
        }
    }
    found
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
    assert_eq!(durable_calls("f.rs", &without_tests(text)), ["f.rs:2: std::fs::rename(a, b);"]);
    let text = "use std::fs;\nfn a() {\n    fs::rename(a, b);\n}\n";
    assert_eq!(durable_calls("f.rs", text), ["f.rs:3: fs::rename(a, b);"]);
    assert!(durable_calls("f.rs", &text.replace("std::fs", "crate::fs")).is_empty());
    assert_eq!(durable_calls("f.rs", "use std::fs::{read, rename};").len(), 1);
    let manifest = "[package]\nversion = \"1\"\n[dependencies]\n# why = 1\na = \"1\"\n[lints]\nb = 2\n";
    assert_eq!(lines_within(manifest, "dependencies]").collect::<Vec<_>>(), [(4, "# why = 1"), (5, "a = \"1\"")]);
}

/// The circles in every house, as one list of names, are just the known ones.
#[track_caller]
fn check_circles(
    what: &str,
    known: &[&str],
    of: impl Fn(&imports::Arrows) -> imports::Arrows,
    named: impl Fn(&str, &str) -> String,
) {
    let mut found = Vec::new();
    let mut new = Vec::new();
    for (name, _) in HOUSES {
        let arrows = of(&house(name).arrows);
        for node in imports::in_circles(&arrows) {
            let circle = imports::circle_through(&arrows, &node).unwrap_or_default();
            let node = named(name, &node);
            new.extend((!known.contains(&node.as_str())).then(|| format!("{node}: {}", circle.join(" > "))));
            found.push(node);
        }
    }
    assert_none(&format!("{what} that import each other in a circle"), new.into_iter());
    let ended = known.iter().filter(|node| !found.contains(&(**node).to_owned())).map(|node| (*node).to_owned());
    assert_none(&format!("{what} that are in no circle any more, and still in the list of those that are"), ended);
}

fn house(name: &str) -> &'static Crate {
    static READ: LazyLock<BTreeMap<&str, Crate>> = LazyLock::new(|| {
        let read = |(name, _): (&'static str, usize)| {
            let src = release::workspace().join(name).join("src");
            let root = if src.join("lib.rs").is_file() { "lib.rs" } else { "main.rs" };
            (name, Crate::read(&src, root))
        };
        HOUSES.into_iter().map(read).collect()
    });
    &READ[name]
}

/// Lines of code in a crate's `src/`. Files of tests are those that only a test's build declares.
fn product_lines(name: &str) -> usize {
    let mut files = house(name).files.clone();
    let main = release::workspace().join(name).join("src/main.rs");
    files.entry("main.rs".to_owned()).or_insert_with(|| without_tests(&read(&main)));
    files.values().map(|text| lines_of_code(text)).sum()
}

fn lines_of_code(text: &str) -> usize {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
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

/// Calls of the standard library's and the system's, not of our own module of that name.
fn durable_calls(path: &str, text: &str) -> Vec<String> {
    let imports = imports::imports(text);
    let of_std = |path: &[String]| path.len() > 1 && path[..2] == ["std", "fs"];
    let has_own = imports.iter().any(|(name, path)| name == "fs" && !of_std(path));
    let called = |path: &[String]| format!("fs::{}(", path.last().map_or("", String::as_str));
    let imported = imports.iter().filter(|(_, path)| of_std(path) && DURABLE_CALLS.contains(&called(path).as_str()));
    let mut found: Vec<_> = imported.map(|(name, _)| format!("{path}: imports std's {name}")).collect();
    let of_others = |line: &String| !has_own || !line.contains("fs::") || line.contains("std::fs::");
    found.extend(occurrences(path, text, &DURABLE_CALLS).into_iter().filter(of_others));
    found
}

/// Tests may damage what they like; this file names what it looks for.
fn is_test(path: &str) -> bool {
    let within = path.starts_with("tests/") || path.contains("/tests/");
    within || path.ends_with("/tests.rs") || path.ends_with("/testing.rs") || path == "xtask/src/dev/tidy.rs"
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
