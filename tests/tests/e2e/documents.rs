//! The documents say what is so: every command line in them is run, every example of a tool is an
//! answer of the real server, and the recording is what the programs print.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tests::binaries::{self, ALL, LAYER1, LAYER2, LAYER3};
use tests::mcp::Client;
use tests::recording;
use tests::run::{Outcome, Run};
use tests::scratch::Scratch;
use tests::transcripts::{self, COMPACTED};

/// Programs of the debug build are slow, and the machine may be busy.
const LIMIT: Duration = Duration::from_secs(300);

/// Lines that no test can run here: how the line begins, why, and the test that runs what it stands for.
const ELSEWHERE: [(&str, &str, &str); 4] = [
    ("cargo xtask test", "it is what runs this test", "every_test_file_is_a_module"),
    ("./install.sh --uninstall", "lies in an archive", "unpacked_installed_used_and_taken_away_without_cargo"),
    ("./install.sh", "lies in an archive", "unpacked_installed_used_and_taken_away_without_cargo"),
    ("./setup doctor", "lies in an archive", "unpacked_installed_used_and_taken_away_without_cargo"),
];

/// The directory of the recorded conversations.
const RECORDED_IN: &str = "/home/dev/proj";

/// What stands for something of the reader's, and what it is here.
fn with_ours(scratch: &Scratch, line: &str) -> String {
    let transcript = scratch.transcript(COMPACTED);
    let server = format!("'{}' serve", scratch.claude_dir().join("hooks").join(LAYER3).display());
    let disk = scratch.beside("usb");
    fs::create_dir_all(&disk).expect("make a folder for a disk");
    let ours: [(&str, &str); 7] = [
        ("/media/usb/threefold", &disk.display().to_string()),
        (RECORDED_IN, &scratch.project_dir().display().to_string()),
        ("/…/ID.jsonl", &transcript.display().to_string()),
        ("\"ID\"", &format!("\"{COMPACTED}\"")),
        (" SESSION ", &format!(" {COMPACTED} ")),
        (" FILE ", &format!(" '{}' ", transcript.display())),
        ("CMD…", &server),
    ];
    let line = ours.iter().fold(line.to_owned(), |line, (theirs, ours)| line.replace(theirs, ours));
    // It asks at a terminal, and here is none.
    let asking = ["prune", "forget"].map(|verb| format!("threefold {verb} "));
    match asking.iter().find(|asking| line.contains(*asking) && !line.contains("--dry-run")) {
        Some(asking) => line.replace(asking, &format!("{asking}--yes ")),
        None => line,
    }
}

/// A block of command lines, and what must have happened before it.
#[derive(Debug)]
struct Block {
    given: Option<String>,
    lines: Vec<String>,
}

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {name}: {error}"))
}

/// The blocks of `sh` and `console` in a document.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let (mut given, mut open) = (None, None::<(String, Block)>);
    for line in text.lines() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(info)) => {
                open = Some((info.trim().to_owned(), Block { given: given.take(), lines: Vec::new() }));
            }
            (Some(_), Some(_)) => {
                let (info, block) = open.take().expect("it is open");
                if ["sh", "console"].contains(&info.as_str()) {
                    blocks.push(block);
                }
            }
            (Some((info, block)), None) => {
                let typed = if info == "console" { line.strip_prefix("$ ") } else { Some(line) };
                let typed = typed.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
                block.lines.extend(typed.map(str::to_owned));
            }
            (None, None) => {
                let named = line.trim().strip_prefix("<!-- given: ").and_then(|rest| rest.strip_suffix(" -->"));
                given = named.map(str::to_owned).or(given.take().filter(|_| line.trim().is_empty()));
            }
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// A home with the recorded conversations, the programs where an installation has them, `threefold`,
/// `claude` and a `cargo` that runs the installer with these programs, and everything saved.
fn home() -> Scratch {
    let scratch = Scratch::new();
    let directory = scratch.project_dir().display().to_string();
    for transcript in transcripts::lay_out_recorded(&scratch) {
        // `resume` goes to the directory that a conversation names, so there has to be one.
        let text = fs::read_to_string(&transcript).expect("read a transcript");
        fs::write(&transcript, text.replace(RECORDED_IN, &directory)).expect("write a transcript");
    }
    let path = scratch.beside("path");
    fs::create_dir_all(&path).expect("make a folder of programs");
    let hooks = scratch.claude_dir().join("hooks");
    fs::create_dir_all(&hooks).expect("make the hooks' folder");
    for name in ALL {
        symlink(scratch.program(name), hooks.join(name)).expect("link a program");
    }
    symlink(scratch.program(LAYER3), path.join("threefold")).expect("link a program");
    let write = |name: &str, text: String| {
        fs::write(path.join(name), text).expect("write a program");
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o755)).expect("make it executable");
    };
    let claude = r#"#!/bin/sh
case "$1 $2" in
"mcp remove") echo '{"mcpServers": {}}' > "$HOME/.claude.json" ;;
"mcp add") printf '{"mcpServers": {"%s": {"command": "%s", "args": ["%s"]}}}' "$5" "$7" "$8" > "$HOME/.claude.json" ;;
esac
"#;
    write("claude", claude.to_owned());
    let restic = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/offsite/restic");
    write("restic", fs::read_to_string(restic).expect("read the stand-in"));
    let (xtask, folder) = (binaries::xtask().display(), binaries::folder().display());
    let cargo = format!(
        "#!/bin/sh\nshift\nverb=$1\nshift\ncase $verb in install) set -- --binaries '{folder}' \"$@\" ;; esac\nexec '{xtask}' \"$verb\" \"$@\"\n"
    );
    write("cargo", cargo);
    for name in ["new/place", "new/proj"] {
        fs::create_dir_all(scratch.home().join(name)).expect("make a directory");
    }
    scratch.layer1(&["sweep", "--quiet"]).limit(LIMIT).output().ok();
    scratch.layer2(&["drain", "--foreground"]).limit(LIMIT).output().ok();
    scratch
}

/// What a block needs to have happened.
fn given(scratch: &Scratch, what: &str) {
    let newest = |store: PathBuf| store.join("proj").join(format!("{COMPACTED}.jsonl"));
    let lose = || fs::remove_dir_all(scratch.claude_dir().join("projects")).expect("lose the transcripts");
    match what {
        "a loss" => {
            lose();
            fs::create_dir_all(scratch.slug_dir()).expect("make an empty folder");
        }
        "a stub" => {
            transcripts::rewrite(&scratch.transcript(COMPACTED), "{\"type\":\"summary\",\"summary\":\"a stub\"}\n");
            let event = transcripts::session_end(&scratch.transcript(COMPACTED));
            let chain = format!(
                "'{}' | '{}' --foreground",
                scratch.program(LAYER1).display(),
                scratch.program(LAYER2).display()
            );
            scratch.hook(&chain, &event).limit(LIMIT).output().ok();
        }
        "an installation" => {
            run(scratch, "cargo xtask install --no-import").ok();
        }
        "the second store alone" => {
            lose();
            fs::remove_dir_all(scratch.layer1_store()).expect("lose the first store");
            fs::remove_file(scratch.index()).expect("lose the index");
        }
        "the first store alone" => {
            lose();
            fs::remove_dir_all(scratch.layer3_store()).expect("lose the second store");
        }
        "a copy of another store" => {
            let options = fs_extra::dir::CopyOptions::new().copy_inside(true);
            fs_extra::dir::copy(scratch.layer3_store(), scratch.home().join("other"), &options).expect("copy a store");
            fs::remove_file(scratch.home().join("other/sessions.db")).expect("leave its index");
        }
        "a new computer" => {
            run(scratch, &with_ours(scratch, "threefold offsite init /media/usb/threefold --name laptop")).ok();
            lose();
            for store in [scratch.layer1_store(), scratch.layer3_store()] {
                fs::remove_dir_all(store).expect("lose a store");
            }
        }
        "a place on a server" => {
            run(scratch, "threefold offsite init sftp:backup:threefold --name laptop").ok();
        }
        "another computer" => {
            let init = |name: &str| {
                let line = format!("threefold offsite init /media/usb/threefold --name {name}");
                run(scratch, &with_ours(scratch, &line)).ok();
            };
            init("desktop");
            fs::remove_dir_all(scratch.layer1_store().join(".state/offsite")).expect("forget that it was set up");
            init("laptop");
        }
        "a damaged index" => {
            let mut bytes = fs::read(scratch.index()).expect("read the index");
            let middle = bytes.len() / 2;
            bytes[middle..middle + 4096].fill(0x5a);
            fs::write(scratch.index(), bytes).expect("damage the index");
        }
        "a damaged copy" => {
            let path = newest(scratch.layer3_store());
            let mut bytes = fs::read(&path).expect("read a copy");
            bytes[100] ^= 1;
            fs::write(&path, bytes).expect("damage a copy");
        }
        other => panic!("nobody knows what is given by {other:?}"),
    }
}

/// Runs a line as a reader's shell would, with an event on its input for those that read one.
fn run(scratch: &Scratch, line: &str) -> Outcome {
    let path = format!("{}:/usr/bin:/bin", scratch.beside("path").display());
    let event = transcripts::session_end(&scratch.transcript(COMPACTED));
    let shell = Run::new("/bin/sh").args(["-c", line]);
    let shell = scratch.at_home(shell).env("PATH", path).current_dir(&scratch.home());
    shell.stdin(format!("{event}\n")).limit(LIMIT).output()
}

/// Runs every line of a document in order, each block that needs something special in a home of its own.
fn check(name: &str, least: usize) {
    let mut ran = 0;
    let mut usual = None;
    for block in blocks(&document(name)) {
        let special = block.given.as_ref().map(|what| {
            let scratch = home();
            given(&scratch, what);
            scratch
        });
        let scratch = special.as_ref().unwrap_or_else(|| usual.get_or_insert_with(home));
        for line in &block.lines {
            if ELSEWHERE.iter().any(|(begins, ..)| line.starts_with(begins)) {
                continue;
            }
            let outcome = run(scratch, &with_ours(scratch, line));
            assert!(outcome.code == Some(0), "{name}: {line}\n{outcome:#?}");
            ran += 1;
        }
        scratch.await_no_process(LIMIT);
    }
    assert!(ran >= least, "{name}: only {ran} lines were found");
}

#[test]
fn every_line_of_the_readme_runs() {
    check("README.md", 11);
}

#[test]
fn the_readme_is_short() {
    let words = document("README.md").split_whitespace().count();
    assert!(words <= 900, "{words} words in the README, at most 900");
}

#[test]
fn every_line_of_the_recipes_runs() {
    check("docs/recipes.md", 20);
}

#[test]
fn every_line_of_the_other_documents_runs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for entry in fs::read_dir(folder).expect("list the documents") {
        let name = entry.expect("list the documents").file_name().into_string().expect("UTF-8");
        if name.ends_with(".md") && name != "recipes.md" {
            check(&format!("docs/{name}"), 0);
        }
    }
}

#[test]
fn what_is_run_elsewhere_stands_in_a_document_and_in_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["tests/e2e/dist.rs", "tests/e2e/documents.rs", "../xtask/src/dev/tidy.rs"];
    let sources: String = sources.iter().map(|name| fs::read_to_string(folder.join(name)).expect("a source")).collect();
    let documents = ["README.md", "docs/install.md", "docs/promises.md"].map(document).concat();
    for (begins, why, test) in ELSEWHERE {
        assert!(documents.lines().any(|line| line.starts_with(begins)), "{begins} stands in no document ({why})");
        assert!(sources.contains(&format!("fn {test}()")), "{begins}: no test {test}");
    }
    // The table of promises names tests by a part of their names.
    let modules =
        fs::read_dir(folder.join("tests/e2e")).expect("list the tests").map(|entry| entry.expect("an entry").path());
    let texts: String = modules
        .filter(|path| path.is_file())
        .map(|path| {
            let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
            format!("mod {stem}\n{}", fs::read_to_string(path).expect("a test"))
        })
        .collect();
    for named in documents.split("`cargo test -p tests --test e2e ").skip(1) {
        let name = named.split(['`', ' ']).next().expect("a name");
        let is_known = texts.lines().any(|line| {
            let line = line.trim_start();
            (line.starts_with("fn ") || line.starts_with("mod ")) && line.contains(name)
        });
        assert!(is_known, "a promise names a test {name}, and there is none");
    }
}

#[test]
fn each_known_loss_is_a_test_of_its_number() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["tests/e2e/losses.rs"];
    let sources: String = sources.iter().map(|name| fs::read_to_string(folder.join(name)).expect("a source")).collect();
    let text = document("docs/losses.md");
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| ") && line[2..].starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    assert!(rows.len() > 10, "{rows:?}");
    for row in rows {
        let numbers = row.split('|').nth(1).expect("numbers").split(',').map(str::trim);
        let tested: Vec<&str> = numbers.filter(|number| sources.contains(&format!("fn issue_{number}_"))).collect();
        assert!(!tested.is_empty(), "no test of {row}");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs =
        fs::read_dir(root.join("docs")).expect("list the documents").map(|entry| entry.expect("an entry").path());
    let documents = docs.filter(|path| path.extension().is_some_and(|e| e == "md"));
    for path in documents.chain(
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"].map(|name| root.join(name)),
    ) {
        let text = fs::read_to_string(&path).expect("read a document");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().expect("a path");
            if file.is_empty() || file.contains("://") || file.contains(' ') {
                continue;
            }
            let to = path.parent().expect("it lies in a folder").join(file);
            assert!(to.exists(), "{}: {link} leads nowhere", path.display());
        }
    }
    let (readme, costs) = (document("README.md"), document("docs/performance.md"));
    for entry in fs::read_dir(root.join("docs")).expect("list the documents") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        let is_named = readme.contains(&format!("docs/{name}")) || costs.contains(&format!("]({name})"));
        assert!(is_named, "the README does not name docs/{name}");
    }
}

#[test]
fn the_recording_is_what_the_programs_print_today() {
    let drawn = recording::picture(&recording::play());
    assert!(drawn == document(recording::PICTURE), "run `cargo xtask record`; it would draw:\n{drawn}");
}

#[test]
fn the_picture_of_the_finder_is_what_it_shows_today() {
    let drawn = recording::finder::picture();
    assert!(drawn == document(recording::finder::PICTURE), "run `cargo xtask record finder`; it would draw:\n{drawn}");
}

/// An example of a tool: what is sent, and what comes.
fn examples(text: &str) -> Vec<(String, Value, Value)> {
    let sections = text.split("\n## `").skip(1);
    let example = |section: &str| {
        let name = section.split('`').next()?.to_owned();
        let mut jsons = section.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
        let mut parsed =
            || jsons.next().map(|json| serde_json::from_str(json).unwrap_or_else(|e| panic!("{name}: {e}: {json}")));
        Some((name.clone(), parsed()?, parsed()?))
    };
    sections.filter_map(example).collect()
}

/// Whether an answer is as the document has it, where `"…"` stands for what differs each time.
fn is_alike(documented: &Value, came: &Value) -> bool {
    match (documented, came) {
        (Value::String(any), _) if any == "…" => true,
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(key, value)| theirs.get(key).is_some_and(|came| is_alike(value, came)))
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| is_alike(ours, theirs))
        }
        _ => documented == came,
    }
}

#[test]
fn every_example_of_a_tool_is_what_the_server_answers() {
    let scratch = Scratch::new();
    recording::lay_out(&scratch);
    let home = scratch.home().display().to_string();
    let (mut client, _) = Client::initialized(&scratch, &[]);
    let listed = client.request("tools/list", json!({}));
    let mut tools: Vec<_> = listed["result"]["tools"].as_array().expect("tools").clone();
    let mut seen = Vec::new();
    let mut wrong = Vec::new();
    for (tool, input, documented) in examples(&document("docs/mcp-tools.md")) {
        let input: Value =
            serde_json::from_str(&input.to_string().replace("/home/dev/.claude", &format!("{home}/.claude")))
                .expect("JSON");
        let schema = tools.iter().find(|listed| listed["name"] == *tool).unwrap_or_else(|| panic!("no tool {tool}"));
        for argument in input.as_object().expect("an object").keys() {
            assert!(schema["inputSchema"]["properties"].get(argument).is_some(), "{tool} takes no {argument}");
        }
        // Every argument is told of.
        let text = document("docs/mcp-tools.md");
        for argument in schema["inputSchema"]["properties"].as_object().into_iter().flatten().map(|(name, _)| name) {
            assert!(text.contains(&format!("`{argument}`")), "{tool}: docs/mcp-tools.md does not tell of {argument}");
        }
        let answer = client.call(&tool, input).unwrap_or_else(|error| panic!("{tool}: {error:#?}"));
        let answer: Value = serde_json::from_str(&answer.to_string().replace(&home, "/home/dev")).expect("JSON");
        if !is_alike(&documented, &answer) {
            wrong.push(format!("{tool} answers\n{answer:#}"));
        }
        seen.push(tool);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    tools.retain(|tool| !seen.iter().any(|seen| tool["name"] == **seen));
    assert!(tools.is_empty(), "without an example: {tools:#?}");
    assert!(client.end().success());
}
