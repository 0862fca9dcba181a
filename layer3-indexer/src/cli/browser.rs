//! Opening a page in a browser.

use std::path::Path;
use std::process::{Command, Stdio};

/// What opens a page, the first that there is: the user's choice, then those of the systems.
const OPENERS: [&str; 3] = ["xdg-open", "open", "wslview"];

/// Opens a page. Where no browser can be started, its path was printed.
pub(super) fn open(page: &Path) {
    let chosen = std::env::var("BROWSER").ok().filter(|browser| !browser.is_empty() && !browser.contains(['%', ' ']));
    for program in chosen.iter().map(String::as_str).chain(OPENERS) {
        let mut command = Command::new(program);
        command.arg(page).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if command.spawn().is_ok() {
            return;
        }
    }
}
