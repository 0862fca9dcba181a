//! Both stores: there, writable, for nobody else, and on which file system.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use layer1_prebackup::fs;
use layer1_prebackup::fs::platform;

use super::{FIRST, Found, Patient, SECOND, found, short};
use crate::failure::chain;
use crate::health::status::{Finding, Status, StoreStatus};
use crate::terminal::{self, shell_quoted};

/// Written into a store and removed again.
const PROBE: &str = ".doctor";

/// Looks at the store of this check.
pub(super) fn look(patient: &Patient, status: &Status, check: &'static str, findings: &mut Vec<Found>) -> String {
    let commands = &patient.view.commands;
    let (store, other, refill) = match check {
        FIRST => (&status.layer1, &status.layer3, format!("{} sweep --all", commands.layer1)),
        _ => (&status.layer3, &status.layer1, format!("{} import", commands.layer3)),
    };
    let state = look_at(check, store, other, &refill, findings);
    let free = status.disks.iter().find(|disk| disk.store == store.store);
    let free = free.map(|disk| format!(", {} free", terminal::size(disk.free_bytes))).unwrap_or_default();
    let sessions = terminal::count(store.sessions, "session");
    let kind = file_system(&store.store);
    let one_disk = if check == SECOND && status.one_disk { ", the disk of the first" } else { "" };
    format!("{state}, {sessions}, {kind}{free}{one_disk} ({})", short(patient, &store.store))
}

fn look_at(
    check: &'static str,
    store: &StoreStatus,
    other: &StoreStatus,
    refill: &str,
    findings: &mut Vec<Found>,
) -> &'static str {
    let path = store.store.as_path();
    let quoted = shell_quoted(&path.to_string_lossy());
    let mut say = |kind, is_wrong, what: &str, mend: String| {
        findings.push(found(check, Finding::new(kind, is_wrong, what, path).mend(mend)));
    };
    let meta = match path.metadata() {
        Ok(meta) if meta.is_dir() => meta,
        Ok(_) => {
            let what = "a file stands where the store should be";
            say("store-unwritable", true, what, format!("mv {quoted} {quoted}.aside && {refill}"));
            return "no directory";
        }
        Err(_) if path.symlink_metadata().is_ok() => {
            let what = "it is a link that leads nowhere";
            say("store-unwritable", true, what, format!("ls -ld {quoted}"));
            return "a broken link";
        }
        Err(_) if other.sessions > 0 => {
            say("store-missing", true, "it is not there, although the other store holds sessions", refill.to_owned());
            return "missing";
        }
        Err(_) => {
            let what = "it is not there yet; the first save makes it";
            say("store-missing", false, what, format!("mkdir -m 700 {quoted}"));
            return "not there yet";
        }
    };
    if meta.permissions().mode() & 0o077 != 0 {
        let mode = meta.permissions().mode() & 0o7777;
        let what = format!("others may look into it (mode {mode:o})");
        say("store-open", true, &what, format!("chmod 700 {quoted}"));
    }
    match probe(path) {
        Ok(()) => "writable",
        Err(why) => {
            let what = format!("nothing can be written into it: {why}");
            say("store-unwritable", true, &what, format!("ls -ld {quoted}; df -h {quoted}"));
            "not writable"
        }
    }
}

/// Writes a file, reads it back and removes it.
fn probe(store: &Path) -> Result<(), String> {
    let path = store.join(format!("{PROBE}-{}", std::process::id()));
    let written = fs::replace_file(&path, b"written by doctor, to be removed\n");
    // Also what a failed write may have left.
    let removed = fs::remove_file(&path);
    written.map_err(|error| chain(&error))?;
    removed.map(|_| ()).map_err(|error| chain(&error))
}

/// The file system's type, as far as its number says; of a store that is not there yet, that of the folder above.
fn file_system(store: &Path) -> String {
    let existing = store.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    platform::disk::kind(existing)
}
