//! Nobody but restic gets the key and the place's secrets: they are in no argument, no log, no status, no state, and in
//! no other child's environment.

use std::fs;
use std::path::{Path, PathBuf};

use tests::binaries::LAYER3;
use tests::offsite::place::{Kind, Place, SECRET_KEY};
use tests::offsite::restic::scripted;
use tests::scratch::Scratch;
use tests::tree::{self, Entry};
use tests::waiting::holds_within;

use super::machine::{LIMIT, Machine, NAME};
use crate::product::text;

/// Writes down the arguments and the environment of each run, a file each.
const RECORDED: &str =
    r#"{ printf '%s\n' "$@"; } > "$HERE/args-$command-$$"; env > "$HERE/env-$command-$$"; exec "$REAL" "$@""#;

fn recorded(folder: &Path, kind: &str) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(folder).expect("read what was recorded").flatten().map(|entry| entry.path());
    let of_kind = entries.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(kind)));
    of_kind.map(|path| (path.clone(), fs::read_to_string(path).expect("read what was recorded"))).collect()
}

#[test]
fn no_secret_is_told_to_anybody_but_restic() {
    let shelf = Scratch::new();
    let test = "no_secret_is_told_to_anybody_but_restic";
    let Some(place) = Place::open(test, Kind::RcloneS3, &shelf.beside("place")) else { return };
    let programs = shelf.beside("programs");
    scripted(&programs, RECORDED);
    let machine = Machine::with_programs(&place, std::slice::from_ref(&programs));
    machine.converse(8);
    let sheet = machine.init(NAME);
    machine.grow(2, "more");
    let mut said = String::new();
    for command in [
        &["push", "--now"][..],
        &["drill", "--all"],
        &["check", "--all"],
        &["repair"],
        &["status"],
        &["status", "--json"],
        &["key", "list"],
    ] {
        let outcome = machine.offsite(command).output();
        said += &format!("{}{}{}", outcome.shown, outcome.text(), outcome.stderr);
    }
    // These print words, on the sheet alone.
    let added = machine.offsite(&["key", "add", "safe"]).output().ok();
    let rotated = machine.offsite(&["key", "rotate"]).output().ok();
    said += &format!("{}{}{}{}", added.shown, added.stderr, rotated.shown, rotated.stderr);
    // And once where something fails.
    place.server().freeze();
    machine.grow(3, "more again");
    let failed = machine.offsite(&["push", "--now"]).output().exits(1);
    place.server().thaw();
    said += &format!("{}{}", failed.text(), failed.stderr);
    for verb in ["status", "doctor"] {
        let outcome = machine.with_path(machine.scratch.layer3(&[verb])).output();
        said += &format!("{}{}", outcome.text(), outcome.stderr);
    }

    let key = machine.key();
    machine.assert_on_sheet(&sheet);
    // Three of its words in a row are as good as a beginning.
    let part = key.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let told =
        |text: &str| [key.as_str(), &part, SECRET_KEY].into_iter().find(|secret| text.contains(secret)).is_some();
    assert!(!told(&said), "{said}");
    for layer in 1..=3 {
        assert!(!told(&machine.scratch.log(layer)), "the log of layer {layer}");
    }
    for (path, entry) in tree::all(&machine.scratch.layer1_store()) {
        let is_file = matches!(entry, Entry::File(..));
        let bytes =
            if is_file { fs::read(machine.scratch.layer1_store().join(&path)).unwrap_or_default() } else { Vec::new() };
        assert!(!told(&String::from_utf8_lossy(&bytes)), "{}", path.display());
    }
    let args = recorded(&programs, "args-");
    assert!(args.len() > 10, "restic was recorded: {args:?}");
    for (path, args) in args {
        assert!(!told(&args), "{}: {args}", path.display());
    }
    let environments = recorded(&programs, "env-");
    let of_backups = environments.iter().filter(|(path, _)| path.to_string_lossy().contains("env-backup")).count();
    assert!(of_backups > 1, "pushes were recorded");
    for (path, variables) in environments {
        // The place's secret has to be there, and only a file's or a command's name of the key.
        assert!(!variables.contains(&part), "{}: {variables}", path.display());
        let asks_place = !path.to_string_lossy().contains("env-version");
        assert!(!asks_place || variables.contains(SECRET_KEY), "{}: {variables}", path.display());
    }
    for file in [machine.key_file(), machine.config().join("offsite.env")] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).expect("look at it").permissions());
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

#[test]
fn a_file_of_variables_that_others_may_read_is_refused() {
    let shelf = Scratch::new();
    let test = "a_file_of_variables_that_others_may_read_is_refused";
    let Some(place) = Place::open(test, Kind::Local, &shelf.beside("place")) else { return };
    let machine = Machine::new(&place);
    machine.converse(1);
    machine.init(NAME);
    machine.configure(&place, "offsite_env_file = \"~/.config/threefold/offsite.env\"\n");
    let file = machine.config().join("offsite.env");
    for (mode, variable, is_taken) in [
        (0o644, "AWS_ACCESS_KEY_ID=x\n", false),
        (0o600, "RESTIC_PASSWORD=x\n", false),
        (0o600, "RESTIC_REPOSITORY=/elsewhere\n", false),
        (0o600, "# mine\n\nAWS_ACCESS_KEY_ID=x\n", true),
    ] {
        fs::write(&file, variable).expect("write the variables");
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("set a mode");
        machine.grow(1, "so that there is something to send");
        let outcome = machine.offsite(&["push", "--now"]).output().exits(i32::from(!is_taken));
        assert!(is_taken || outcome.stderr.contains("offsite.env"), "{outcome:?}");
    }
}

/// The programs that layer 2 starts beside restic.
#[test]
fn other_children_see_nothing_of_the_place() {
    let shelf = Scratch::new();
    let test = "other_children_see_nothing_of_the_place";
    let Some(place) = Place::open(test, Kind::RcloneS3, &shelf.beside("place")) else { return };
    let mut machine = Machine::new(&place);
    machine.scratch = Scratch::with_own_binaries();
    machine.configure(&place, "offsite_every = \"1s\"\n");
    machine.converse(8);
    machine.init(NAME);
    let real = shelf.beside("real-layer3");
    fs::copy(machine.scratch.program(LAYER3), &real).expect("keep layer 3");
    let recorded = shelf.beside("env-of-layer3");
    let script = format!("env > '{}'\nexec '{}' \"$@\"", recorded.display(), real.display());
    machine.scratch.replace_binary(LAYER3, &script);
    machine.grow(2, "more");
    machine.with_path(machine.scratch.layer2(&["drain"])).output().ok();
    machine.scratch.await_no_process(LIMIT);
    let variables = fs::read_to_string(recorded).expect("layer 3 was started");
    assert!(!variables.contains(SECRET_KEY) && !variables.contains("RESTIC"), "{variables}");
    assert!(!variables.contains(&machine.key()), "{variables}");
    // And a drain pushes, at its end, as soon as a push is due.
    let is_pushed = || {
        machine.with_path(machine.scratch.layer2(&["drain"])).output().ok();
        machine.scratch.await_no_process(LIMIT);
        machine.status()["dirty"] == false
    };
    assert!(holds_within(LIMIT, is_pushed), "{:#}", machine.status());
    assert!(!text(&machine.status()["push"], "snapshot").is_empty());
}
