//! The archive of `xtask dist`, where there is neither cargo nor source: unpacked into a folder whose name
//! needs quotes, installed, used, installed again, and taken away.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use tests::binaries::{self, ALL, LAYER1, LAYER2, LAYER3};
use tests::run::{Outcome, Run};
use tests::scratch::Scratch;
use tests::tree::{self, Entry};
use tests::{stores, transcripts};

use crate::product::{await_delivered, found_in};

/// Programs of the debug build are large, and the machine may be busy.
const LIMIT: Duration = Duration::from_secs(300);
/// As much of `claude` as the installer calls, writing what it would write.
const CLAUDE: &str = r#"#!/bin/sh
case "$2" in
remove) echo '{"mcpServers": {}}' > "$HOME/.claude.json" ;;
add) printf '{"mcpServers": {"%s": {"command": "%s", "args": ["%s"]}}}' "$5" "$7" "$8" > "$HOME/.claude.json" ;;
esac
"#;
/// What it leaves behind, which is its own.
const NO_SERVERS: &str = "{\"mcpServers\": {}}\n";

/// The archive, made once; its checksum stands beside it. The lock is held until this process ends,
/// so that no other run of the tests replaces what is being unpacked.
fn archive() -> &'static Path {
    static ARCHIVE: OnceLock<(PathBuf, fs::File)> = OnceLock::new();
    let made = ARCHIVE.get_or_init(|| {
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dist");
        fs::create_dir_all(&to).expect("make the archive's folder");
        let lock = fs::File::create(to.with_extension("lock")).expect("make a lock");
        lock.lock().expect("wait for another run of the tests");
        let make = Run::new(binaries::xtask()).arg("dist").arg("--binaries").arg(binaries::folder());
        let make = make.arg("--help-texts").arg(env!("CARGO_BIN_EXE_help_texts")).arg("--to").arg(&to);
        make.env("PATH", "/usr/bin:/bin").limit(LIMIT).output().ok();
        let files = tree::visible_files(&to);
        let [archive, sum] = files.as_slice() else { panic!("an archive and its checksum, not {files:?}") };
        assert_eq!(*sum, format!("{archive}.sha256"));
        let check = Run::new("/bin/sh").args(["-c", "sha256sum -c \"$0\"", sum]).env("PATH", "/usr/bin:/bin");
        check.current_dir(&to).output().ok();
        (to.join(archive), lock)
    });
    &made.0
}

/// The one folder in the archive, unpacked where its path needs quotes.
fn unpacked(scratch: &Scratch) -> PathBuf {
    let to = scratch.beside("it's a \"market\"");
    fs::create_dir(&to).expect("make a folder to unpack into");
    scratch.at_home(Run::new("/bin/tar")).arg("-xzf").arg(archive()).current_dir(&to).limit(LIMIT).output().ok();
    let mut entries = fs::read_dir(&to).expect("list what was unpacked").map(|entry| entry.expect("an entry").path());
    let folder = entries.next().expect("a folder");
    assert_eq!(entries.next(), None, "one folder at the top");
    folder
}

/// Any program or script of the archive, with `claude` on the PATH and no cargo.
fn run(scratch: &Scratch, program: &Path) -> Run {
    let path = format!("{}:/usr/bin:/bin", scratch.beside("path").display());
    scratch.at_home(Run::new(program)).env("PATH", path).limit(LIMIT)
}

fn install(scratch: &Scratch, folder: &Path, args: &[&str]) -> Outcome {
    run(scratch, &folder.join("install.sh")).args(args).output()
}

/// A home with a conversation, as a user has it who never heard of us.
fn home() -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    let claude = scratch.beside("path/claude");
    fs::create_dir(scratch.beside("path")).expect("make a folder");
    fs::write(&claude, CLAUDE).expect("write a program");
    fs::set_permissions(&claude, fs::Permissions::from_mode(0o755)).expect("make it executable");
    fs::write(scratch.home().join(".claude.json"), NO_SERVERS).expect("write claude's file");
    let transcript = transcripts::make_conversation(&scratch, &transcripts::made_id(1), 20);
    (scratch, transcript)
}

type Tree = BTreeMap<PathBuf, Entry>;

/// The home in two: what is saved, and everything else.
fn saved_and_rest(scratch: &Scratch) -> (Tree, Tree) {
    let is_saved = |path: &Path| {
        let path = scratch.home().join(path);
        path.starts_with(scratch.layer1_store()) || path.starts_with(scratch.layer3_store())
    };
    tree::all(&scratch.home()).into_iter().partition(|(path, _)| is_saved(path))
}

/// The command of an event, as it was installed.
fn command_of(scratch: &Scratch, event: &str) -> String {
    let settings = fs::read(scratch.claude_dir().join("settings.json")).expect("read the settings");
    let settings: Value = serde_json::from_slice(&settings).expect("the settings are JSON");
    settings["hooks"][event][0]["hooks"][0]["command"].as_str().expect("a command").to_owned()
}

#[test]
fn the_archive_holds_all_that_its_list_of_checksums_names_and_nothing_else() {
    let scratch = Scratch::new();
    let folder = unpacked(&scratch);
    let files = tree::all(&folder).into_iter().filter(|(_, entry)| !matches!(entry, Entry::Directory(_)));
    let files: BTreeMap<String, Entry> =
        files.map(|(path, entry)| (path.to_str().expect("UTF-8").to_owned(), entry)).collect();
    let sums = fs::read_to_string(folder.join("SHA256SUMS")).expect("read the checksums");
    let listed: Vec<&str> = sums.lines().map(|line| line.split_once("  ").expect("a sum and a name").1).collect();
    let there: Vec<&str> = files.keys().map(String::as_str).filter(|name| *name != "SHA256SUMS").collect();
    assert_eq!(listed, there);
    for (name, entry) in &files {
        let is_program = name.starts_with("bin/") || ["setup", "install.sh"].contains(&name.as_str());
        let Entry::File(mode, bytes, _) = entry else { panic!("{name} is {entry:?}") };
        assert_eq!(*mode, if is_program { 0o755 } else { 0o644 }, "{name}");
        assert!(*bytes > 100, "{name} is as good as empty");
    }
    let mut wanted: Vec<String> =
        ["LICENSE", "LICENSE-MIT", "LICENSE-APACHE", "README.md", "SECURITY.md", "setup", "install.sh"]
            .map(str::to_owned)
            .to_vec();
    for program in ALL {
        wanted.push(format!("bin/{program}"));
        wanted.extend([format!("completions/{program}.bash"), format!("completions/{program}.fish")]);
        wanted.extend([format!("completions/_{program}"), format!("man/{program}.1")]);
    }
    for (page, says) in [("layer3-indexer-search", "--since"), ("layer1-prebackup-sweep", "--all")] {
        let text = fs::read_to_string(folder.join(format!("man/{page}.1"))).expect("read a manual page");
        assert!(text.replace('\\', "").contains(says) && text.contains(".TH "), "{page}: {text}");
    }
    wanted
        .extend(["continue-dev", "search-sessions", "session-health"].map(|skill| format!("skills/{skill}/SKILL.md")));
    for name in wanted {
        assert!(files.contains_key(&name), "{name} is not in the archive: {:?}", files.keys());
    }
    let bash = fs::read_to_string(folder.join("completions/layer3-indexer.bash")).expect("read a completion");
    assert!(bash.contains("--all-missing") && bash.contains("complete -F"), "{bash}");
    // They are read by the shells that they are for, where these are installed.
    let parsed = Run::new("/bin/bash").arg("-n").arg(folder.join("completions/layer3-indexer.bash"));
    scratch.at_home(parsed).output().ok().unworried();
}

#[test]
fn a_program_that_has_its_c_library_in_it_asks_for_none() {
    // Cargo puts programs into a folder of a target's name where one was named, by xtask for this alone. What somebody
    // asks of cargo himself goes before it.
    let folder = binaries::folder();
    let is_named = folder.parent().is_some_and(|parent| parent.to_string_lossy().ends_with("-linux-gnu"));
    let has_asked = |var: &str| std::env::var_os(var).is_some_and(|value| !value.is_empty());
    let is_whole =
        is_named && !["CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"].into_iter().any(has_asked);
    for program in ALL {
        let asks = asks_for_loader(&fs::read(folder.join(program)).expect("read a program"));
        assert!(!(is_whole && asks), "{program} in {} needs a C library of the system", folder.display());
    }
}

/// Whether the file is a program of 64 bits that another one loads, with the libraries that it needs.
fn asks_for_loader(elf: &[u8]) -> bool {
    const PT_INTERP: u64 = 3;
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return false;
    }
    let number =
        |at: usize, bytes: usize| elf[at..at + bytes].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let (headers, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|n| number((headers + n * size) as usize, 4) == PT_INTERP)
}

/// What a release publishes: the script that fetches the archive of this machine, and a formula.
#[test]
fn the_script_that_fetches_an_archive_checks_it_and_installs_it() {
    let (scratch, _) = home();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../xtask/dist");
    let released = scratch.beside("released");
    fs::create_dir(&released).expect("make a folder");
    let name = archive().file_name().expect("a name").to_str().expect("UTF-8").to_owned();
    let (sum, url) = (format!("{name}.sha256"), format!("file://{}", released.display()));
    let version = name.split('-').nth(1).expect("a version").to_owned();
    fs::copy(archive(), released.join(&name)).expect("copy the archive");
    fs::copy(archive().with_file_name(&sum), released.join(&sum)).expect("copy its checksum");
    let script = fs::read_to_string(root.join("get.sh")).expect("read the script");
    let filled = script.replace("@URL@", &url).replace("@VERSION@", &version);
    let get = |script: &str| {
        let run = scratch.at_home(Run::new("/bin/sh")).args(["-s", "--", "--no-import"]);
        run.env("PATH", "/usr/bin:/bin").stdin(script.to_owned()).limit(LIMIT).output()
    };
    // Half a download runs nothing, and what is not what its checksum says is not unpacked.
    get(&filled[..filled.len() / 2]);
    assert!(!scratch.claude_dir().join("hooks").exists(), "half of it did something");
    let whole = fs::read(released.join(&name)).expect("read the archive");
    fs::write(released.join(&name), &whole[..whole.len() - 1]).expect("damage the archive");
    let refused = get(&filled).exits(1);
    assert!(refused.stderr.contains("is not what its checksum says; try again; nothing was changed"), "{refused:?}");
    fs::write(released.join(&name), &whole).expect("mend the archive");
    get(&filled).ok();
    assert!(scratch.claude_dir().join("hooks").join(LAYER3).exists());
    let left: Vec<_> =
        fs::read_dir(scratch.beside("tmp")).expect("list").map(|entry| entry.expect("an entry")).collect();
    assert!(left.is_empty(), "{left:?}");

    for target in
        ["aarch64-apple-darwin", "x86_64-apple-darwin", "aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"]
    {
        fs::copy(archive().with_file_name(&sum), released.join(format!("threefold-{version}-{target}.tar.gz.sha256")))
            .expect("copy a checksum");
    }
    let formula = Run::new(root.join("formula.sh")).args(["https://a.example/releases/x", &version]).arg(&released);
    let formula = scratch.at_home(formula).env("PATH", "/usr/bin:/bin").output().ok().text();
    let sum = fs::read_to_string(archive().with_file_name(&sum)).expect("read a checksum");
    assert_eq!(formula.matches(&format!("sha256 \"{}\"", &sum[..64])).count(), 4, "{formula}");
}

#[test]
fn unpacked_installed_used_and_taken_away_without_cargo() {
    let (scratch, transcript) = home();
    let folder = unpacked(&scratch);
    let unpacked = tree::all(&folder);
    let mut before = saved_and_rest(&scratch).1;

    let told = install(&scratch, &folder, &[]).ok().text();
    assert!(told.contains("wrote the hooks") && told.contains("registered the MCP server"), "{told}");
    assert_eq!(tree::all(&folder), unpacked, "nothing is written into the archive's folder");
    stores::assert_saved_twice(&scratch, &transcript);

    // The chain, as it stands in settings.json.
    let words = "quincunx of the archive";
    transcripts::append(&transcript, transcripts::prompt_line(&transcripts::made_id(1), 1000, words));
    let name = transcript.strip_prefix(scratch.home()).expect("it lies in the home");
    let grown = tree::all(&scratch.home()).remove(name).expect("the transcript");
    before.insert(name.to_owned(), grown);
    let event = transcripts::session_end(&transcript);
    scratch.hook(&command_of(&scratch, "SessionEnd"), &event).output().ok().silent();
    await_delivered(&scratch);
    stores::assert_saved_twice(&scratch, &transcript);
    let receipts = fs::read_dir(scratch.layer1_store().join(".outbox/receipts")).expect("list the receipts");
    assert_eq!(receipts.count(), 1, "receipts");
    assert_eq!(found_in(&scratch, "quincunx"), [transcripts::made_id(1)]);

    let doctor = run(&scratch, &folder.join("setup")).arg("doctor").arg("--managed-dir").arg(scratch.beside("managed"));
    doctor.output().ok();

    let installed = saved_and_rest(&scratch);
    let told = install(&scratch, &folder, &[]).ok().text();
    assert!(told.contains("everything is installed already"), "{told}");
    let (saved, rest) = saved_and_rest(&scratch);
    assert_eq!(rest, installed.1);
    assert_eq!(without_logs(saved), without_logs(installed.0));

    let saved = saved_and_rest(&scratch).0;
    install(&scratch, &folder, &["--uninstall"]).ok();
    let after = saved_and_rest(&scratch);
    assert_eq!(after.0, saved, "what is saved stays");
    assert_eq!(after.1, before, "and nothing else");
}

#[test]
fn what_is_installed_mends_and_removes_itself_when_the_archive_is_gone() {
    let (scratch, transcript) = home();
    let settings = scratch.claude_dir().join("settings.json");
    let as_the_user_wrote_it = "{\n\t\"model\" : \"opus\",\n\t\"hooks\": {\"Stop\": [ ]},\"n\":1.50\n}";
    fs::write(&settings, as_the_user_wrote_it).expect("write the settings");
    let before = saved_and_rest(&scratch).1;
    let folder = unpacked(&scratch);
    install(&scratch, &folder, &["--no-import"]).ok();
    fs::remove_dir_all(&folder).expect("remove what was unpacked");
    let link = scratch.home().join(".local/bin/threefold");
    let threefold = |args: &[&str]| {
        let path = format!(
            "{}:{}:/usr/bin:/bin",
            link.parent().expect("a folder").display(),
            scratch.beside("path").display()
        );
        scratch.at_home(Run::new(&link)).env("PATH", path).args(args).limit(LIMIT).output()
    };
    let managed = scratch.beside("managed");
    let managed = managed.to_str().expect("UTF-8");
    threefold(&["sweep"]).ok();
    threefold(&["import"]).ok();
    threefold(&["drain", "--foreground"]).ok();
    stores::assert_saved_twice(&scratch, &transcript);
    threefold(&["doctor", "--managed-dir", managed]).ok();

    // What was installed and is lost comes back, without what it was installed from.
    fs::write(&settings, as_the_user_wrote_it).expect("lose the hooks");
    fs::write(scratch.home().join(".claude.json"), NO_SERVERS).expect("lose the server");
    fs::remove_file(scratch.claude_dir().join("skills/continue-dev/SKILL.md")).expect("lose a skill");
    let status = threefold(&["status", "--json"]).exits(1).json();
    let is_hooks = |finding: &&Value| finding["kind"] == "hooks-missing";
    let hooks = status["findings"].as_array().expect("findings").iter().find(is_hooks).expect("the hooks are missed");
    assert_eq!(hooks["mend"], "threefold setup");
    threefold(&["doctor", "--fix", "--managed-dir", managed]).ok();
    assert!(scratch.claude_dir().join("skills/continue-dev/SKILL.md").is_file());
    threefold(&["doctor", "--managed-dir", managed]).ok();

    let told = threefold(&["uninstall"]).ok().text();
    assert!(told.contains("your saved sessions stay where they are"), "{told}");
    assert_eq!(fs::read_to_string(&settings).expect("read the settings"), as_the_user_wrote_it);
    let mut after = saved_and_rest(&scratch).1;
    let is_kept_copy = |path: &Path| path.to_string_lossy().contains("threefold-backup");
    after.retain(|path, _| !is_kept_copy(path));
    // Claude's own file was written, and the folder's time is another.
    let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before));
    stores::assert_saved_twice(&scratch, &transcript);
}

/// What the stores hold, without what was told about it.
fn without_logs(saved: Tree) -> Tree {
    saved.into_iter().filter(|(path, _)| path.iter().all(|part| part != ".log")).collect()
}

#[test]
fn a_damaged_archive_is_refused_before_anything_is_changed() {
    let (scratch, _) = home();
    let folder = unpacked(&scratch);
    let before = tree::all(&scratch.home());
    let refused_with = |args: &[&str], name: &str, why: &str| {
        let told = install(&scratch, &folder, args).exits(1).silent().stderr;
        assert!(told.contains(&format!("{name} {why}")) && told.ends_with("nothing was changed\n"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        assert_eq!(tree::all(&scratch.home()), before);
    };
    let refused = |name: &str, why: &str| refused_with(&[], name, why);
    let layer2 = format!("bin/{LAYER2}");
    let good = fs::read(folder.join(&layer2)).expect("read a program");
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    fs::write(folder.join(&layer2), flipped).expect("flip a bit");
    refused(&layer2, "is damaged");
    refused_with(&["--uninstall"], &layer2, "is damaged");
    fs::write(folder.join(&layer2), &good[..good.len() - 1]).expect("cut a program short");
    refused(&layer2, "is damaged");
    fs::remove_file(folder.join(&layer2)).expect("lose a program");
    refused(&layer2, "is missing");
    fs::write(folder.join(&layer2), &good).expect("mend a program");
    fs::set_permissions(folder.join(&layer2), fs::Permissions::from_mode(0o755)).expect("mend a program");

    let sums = fs::read_to_string(folder.join("SHA256SUMS")).expect("read the checksums");
    let without = |name: &str| {
        let lines = sums.lines().filter(|line| !line.ends_with(name));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    for name in [layer2.as_str(), "setup"] {
        fs::write(folder.join("SHA256SUMS"), without(name)).expect("forget a checksum");
        refused(name, "is not in SHA256SUMS");
    }
    fs::write(folder.join("SHA256SUMS"), "").expect("forget the checksums");
    refused("SHA256SUMS", "is missing");
    fs::write(folder.join("SHA256SUMS"), &sums).expect("mend the checksums");
    install(&scratch, &folder, &["--no-import"]).ok();
}

#[test]
fn options_of_the_script_reach_the_installer() {
    let (scratch, _) = home();
    let folder = unpacked(&scratch);
    let before = tree::all(&scratch.home());
    let told = install(&scratch, &folder, &["--timer", "--dry-run"]).ok().text();
    let timer = if cfg!(target_os = "macos") { "threefold.plist" } else { "threefold.timer" };
    assert!(told.contains(timer) && told.contains("nothing was changed"), "{told}");
    assert!(told.contains(folder.join("bin").to_str().expect("UTF-8")), "{told}");
    assert_eq!(tree::all(&scratch.home()), before);

    let help = run(&scratch, &folder.join("setup")).arg("--help").output().ok().text();
    let verbs: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    assert_eq!(
        verbs.iter().filter(|verb| !verb.is_empty() && !verb.starts_with('-')).collect::<Vec<_>>(),
        [&"install", &"uninstall", &"doctor", &"help"]
    );
    assert!(!install(&scratch, &folder, &["--help"]).ok().text().contains("--binaries"));
    for args in [&["--no-such-option"][..], &["--dry-run", "--uninstall"]] {
        install(&scratch, &folder, args).exits(1).silent();
    }
    assert_eq!(tree::all(&scratch.home()), before);

    // By a name without a folder, from within it, by sh, and where there is no `claude`.
    let elsewhere = scratch.beside("my claude");
    let script = Run::new("/bin/sh").args(["install.sh", "--no-import", "--claude-dir"]).arg(&elsewhere);
    let told = scratch.at_home(script).current_dir(&folder).limit(LIMIT).output().ok().text();
    assert!(told.contains("claude mcp add"), "{told}");
    assert!(elsewhere.join("hooks").join(LAYER2).is_file());
    assert_eq!(tree::all(&scratch.home()), before);
}

#[test]
fn where_an_archive_installed_its_script_is_the_cure() {
    let (scratch, _) = home();
    let folder = unpacked(&scratch);
    install(&scratch, &folder, &[]).ok();
    let program = scratch.claude_dir().join("hooks").join(LAYER1);
    fs::remove_file(&program).expect("lose a program");
    let cure = || {
        let status = scratch.run(LAYER3, &["status", "--json"]).output().exits(1);
        let status: Value = serde_json::from_slice(&status.stdout).expect("status is JSON");
        status["findings"][0]["mend"].as_str().expect("a cure").to_owned()
    };
    // The cure as it is told, in a shell.
    let mend = Run::new("/bin/sh").args(["-c", &cure()]).env("PATH", "/usr/bin:/bin");
    scratch.at_home(mend).limit(LIMIT).output().ok();
    assert!(program.is_file());
    fs::remove_file(&program).expect("lose a program again");
    let fix = run(&scratch, &folder.join("setup")).args(["doctor", "--fix", "--managed-dir"]);
    fix.arg(scratch.beside("managed")).output().ok();
    assert!(program.is_file());
    // The folder that it was unpacked into is gone.
    fs::remove_file(&program).expect("lose a program once more");
    fs::rename(&folder, scratch.beside("elsewhere")).expect("move the archive's folder");
    assert_eq!(cure(), "./install.sh");
}
