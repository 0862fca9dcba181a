//! A pager for what does not fit on the screen, as git has one: the user's, else `less`; none where nobody watches.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::{Child, Command, Stdio};

use crate::terminal::{Terminal, width};

/// What `less` does unless the user's own `LESS` says otherwise: it ends at once where all fits, shows colours and nothing
/// else that a terminal obeys, and leaves what it showed on the screen.
const LESS: &str = "FRX";

/// How long texts are shown.
pub(super) struct Pager {
    /// What shows them; none, if they are to be printed.
    command: Option<OsString>,
    rows: usize,
}

impl Pager {
    /// `PAGER` unless it is empty or `cat`, else `less`; none with `NO_PAGER`, without a terminal, or on one that can do
    /// nothing.
    pub(super) fn of_environment(terminal: &Terminal, is_unwanted: bool) -> Pager {
        let set = |name: &str| std::env::var_os(name);
        let is_dumb = set("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let size = rustix::termios::tcgetwinsize(io::stdout());
        let rows = size.map_or(0, |size| usize::from(size.ws_row));
        let refused = is_unwanted || is_dumb || set("NO_PAGER").is_some_and(|value| !value.is_empty());
        let command = set("PAGER").unwrap_or_else(|| OsString::from("less"));
        let is_none = command.is_empty() || command == "cat";
        let is_watched = terminal.interactive && rows > 0;
        Pager { command: Some(command).filter(|_| is_watched && !refused && !is_none), rows }
    }

    /// Shows the text, and waits until the user has read it; false where it is to be printed.
    pub(super) fn show(&self, text: &str, columns: usize) -> bool {
        let Some(command) = self.command.as_deref().filter(|_| rows(text, columns) >= self.rows) else { return false };
        let Ok(mut child) = start(command) else { return false };
        if let Some(mut input) = child.stdin.take() {
            // Who has read enough closes it.
            let _ = input.write_all(text.as_bytes());
        }
        // Nothing can be done about a pager that ends with an error; one that the shell did not find showed nothing.
        child.wait().is_ok_and(|status| status.code() != Some(NOT_FOUND))
    }
}

/// The code with which a shell ends that does not find a program.
const NOT_FOUND: i32 = 127;

/// The user's own program, with the user's environment. What needs a shell gets one.
fn start(command: &OsStr) -> io::Result<Child> {
    let is_plain = command.as_encoded_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(b));
    let mut pager = if is_plain { Command::new(command) } else { Command::new("/bin/sh") };
    if !is_plain {
        pager.arg("-c").arg(command);
    }
    if std::env::var_os("LESS").is_none() {
        pager.env("LESS", LESS);
    }
    pager.stdin(Stdio::piped()).spawn()
}

/// Rows that the text takes on a screen that is so wide.
fn rows(text: &str, columns: usize) -> usize {
    text.lines().map(|line| 1 + width(line).saturating_sub(1) / columns.max(1)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_wide_takes_more_than_one_row() {
        assert_eq!(rows("a\n\nb\n", 10), 3);
        assert_eq!(rows(&"x".repeat(10), 10), 1);
        assert_eq!(rows(&"x".repeat(11), 10), 2);
    }

    #[test]
    fn what_cannot_be_started_shows_nothing() {
        let long = "x\n".repeat(100);
        for command in ["no-such-pager-anywhere", "no-such-pager-anywhere --with arguments"] {
            assert!(!Pager { command: Some(command.into()), rows: 10 }.show(&long, 80), "{command}");
        }
        assert!(Pager { command: Some("cat > /dev/null".into()), rows: 10 }.show(&long, 80));
        assert!(!Pager { command: Some("cat > /dev/null".into()), rows: 101 }.show(&long, 80));
        // One that does not read all of it has shown what was wanted.
        assert!(Pager { command: Some("head -c 1 > /dev/null".into()), rows: 10 }.show(&"x\n".repeat(1_000_000), 80));
    }
}
