//! End-to-end tests on the real binaries: one binary, one module a theme.
#![allow(clippy::disallowed_methods)] // Tests play Claude Code, the user and the disk: they write and delete as those do.

use std::path::Path;

mod archive;
mod arguments;
mod away;
mod chain;
mod concurrency;
mod corruption;
mod cost;
mod delivery;
mod disk;
mod dist;
mod doctor;
mod documents;
mod durability;
mod export;
mod faults;
mod finder;
mod finding;
mod foreign;
mod forget;
mod generations;
mod gigabyte;
mod healing;
mod hook_input;
mod hostile;
mod import;
mod journal;
mod judged;
mod labels;
mod losses;
mod many;
mod memory;
mod missing_layers;
mod more_dirs;
mod offsite;
mod old_store;
mod pager;
mod pages;
mod places;
mod plugin;
mod product;
mod readers;
mod receipts;
mod restoring;
mod retention;
mod sdk;
mod search;
mod server;
mod settings;
mod skills;
mod status;
mod threefold;
mod upgrades;
mod version_before;
mod where_and_when;

#[test]
fn no_module_is_forgotten() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e");
    let listed = std::fs::read_to_string(folder.join("main.rs")).expect("read main.rs");
    for entry in std::fs::read_dir(folder).expect("read the folder of tests") {
        let path = entry.expect("read the folder of tests").path();
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "rs") && name != "main" {
            assert!(listed.contains(&format!("\nmod {name};\n")), "main.rs has no `mod {name};`");
        }
    }
}
