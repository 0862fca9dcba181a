//! A pager for what does not fit on the screen, as git has one: the user's, else `less`; none where nobody watches.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Once;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use signal_hook::consts::{SIGINT, SIGQUIT};
use signal_hook::flag;

use layer1_prebackup::config::threads;

use crate::terminal::{Terminal, width};

/// What `less` does unless the user's own `LESS` says otherwise: it ends at once where all fits, shows colours and nothing
/// else that a terminal obeys, and leaves what it showed on the screen.
const LESS: &str = "FRX";
/// Those that begin with the line that a `+` before its number says.
const OPENED_AT_LINE: [&str; 3] = ["less", "more", "most"];

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

    /// Whether all of a text is in sight without a pager.
    pub(super) fn has_room_for(&self, text: &str, columns: usize) -> bool {
        rows(text, columns) < self.rows
    }

    /// Shows the text, from a line on if one is given, and waits until the user has read it; false where it is to be printed:
    /// there is no pager, it is not known how it begins at a line, it could not be run, or it failed before it had taken all
    /// of the text. Meanwhile Ctrl-C is the pager's.
    pub(super) fn show(&self, text: &str, columns: usize, line: Option<usize>) -> bool {
        let command = self.command.as_deref().filter(|_| !self.has_room_for(text, columns));
        let command = command.and_then(|command| match line {
            Some(line) => at_line(command, line),
            None => Some(command.to_owned()),
        });
        let Some(command) = command else { return false };
        let interrupts = Interrupts::withhold();
        let Ok((status, untaken)) = run(&command, text) else { return false };
        match status.code() {
            Some(NOT_EXECUTABLE | NOT_FOUND) => false,
            // Some end with an error when they are interrupted.
            _ => status.success() || untaken == 0 || interrupts.came(),
        }
    }
}

/// The command that begins with this line; `None` of one of which it is not known how that is said.
fn at_line(command: &OsStr, line: usize) -> Option<OsString> {
    let command = command.to_str()?;
    // Words of which the shell makes nothing else.
    let is_simple = command.chars().all(|c| c.is_ascii_alphanumeric() || " /._-+=%,:".contains(c));
    let program = Path::new(command.split_whitespace().next()?).file_name()?.to_str()?;
    (is_simple && OPENED_AT_LINE.contains(&program)).then(|| format!("{command} +{line}").into())
}

/// The codes with which a shell ends that cannot run a program.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// Runs the user's own program, with the user's environment, to its end: how it ended, and the bytes that it did not take. What
/// needs a shell gets one.
fn run(command: &OsStr, text: &str) -> io::Result<(ExitStatus, u64)> {
    let is_plain = command.as_encoded_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(b));
    let mut pager = if is_plain { Command::new(command) } else { Command::new("/bin/sh") };
    if !is_plain {
        pager.arg("-c").arg(command);
    }
    if std::env::var_os("LESS").is_none() {
        pager.env("LESS", LESS);
    }
    let (mut untaken, mut input) = io::pipe()?;
    let mut child = pager.stdin(untaken.try_clone()?).spawn()?;
    drop(pager);
    std::thread::scope(|scope| {
        threads::named("pager").spawn_scoped(scope, move || input.write_all(text.as_bytes()))?;
        let status = child.wait();
        // What is in the pipe, and what there was no room for.
        let untaken = io::copy(&mut untaken, &mut io::sink());
        Ok((status?, untaken?))
    })
}

/// Whether SIGINT and SIGQUIT end this process, as they do unless a pager runs.
static ENDS: AtomicBool = AtomicBool::new(true);
/// Whether one came while they did not.
static CAME: AtomicBool = AtomicBool::new(false);

/// Keeps SIGINT and SIGQUIT from ending this process as long as it lives: the terminal is not ours then. What is started
/// meanwhile gets them as ever.
struct Interrupts;

impl Interrupts {
    fn withhold() -> Interrupts {
        static REGISTERED: Once = Once::new();
        REGISTERED.call_once(|| {
            for signal in [SIGINT, SIGQUIT] {
                // If it fails, Ctrl-C ends both, and the text was shown all the same.
                let _ = flag::register_conditional_default(signal, &ENDS).and_then(|_| flag::register(signal, &CAME));
            }
        });
        CAME.store(false, Relaxed);
        ENDS.store(false, Relaxed);
        Interrupts
    }

    fn came(&self) -> bool {
        CAME.load(Relaxed)
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        ENDS.store(true, Relaxed);
    }
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
    fn a_pager_that_failed_has_shown_what_it_took() {
        let (short, long) = ("x\n".repeat(100), "x\n".repeat(100_000));
        for (command, is_shown) in [
            ("false", false),
            ("exit 3;", false),
            ("head -c 1 > /dev/null; exit 3", false),
            ("kill -TERM $$", false),
            // All of it was taken, but not by a pager.
            ("cat > /dev/null; exit 126", false),
            ("cat > /dev/null; exit 127", false),
            ("cat > /dev/null; exit 3", true),
            ("true", true),
            ("head -c 1 > /dev/null", true),
        ] {
            for text in [&short, &long] {
                let pager = Pager { command: Some(command.into()), rows: 10 };
                assert_eq!(pager.show(text, 80, None), is_shown, "{command}, {} bytes", text.len());
            }
        }
    }

    #[test]
    fn the_pagers_that_can_begin_at_a_line_are_told_it() {
        for (command, told) in [
            ("less", Some("less +12")),
            ("/usr/bin/less -R -S", Some("/usr/bin/less -R -S +12")),
            ("more", Some("more +12")),
            ("bat", None),
            ("less; true", None),
            ("less -p 'a b'", None),
            ("", None),
        ] {
            assert_eq!(at_line(OsStr::new(command), 12), told.map(OsString::from), "{command}");
        }
    }

    #[test]
    fn what_cannot_be_started_shows_nothing() {
        let long = "x\n".repeat(100);
        for command in ["no-such-pager-anywhere", "no-such-pager-anywhere --with arguments"] {
            assert!(!Pager { command: Some(command.into()), rows: 10 }.show(&long, 80, None), "{command}");
        }
        assert!(Pager { command: Some("cat > /dev/null".into()), rows: 10 }.show(&long, 80, None));
        assert!(!Pager { command: Some("cat > /dev/null".into()), rows: 101 }.show(&long, 80, None));
        // One that does not read all of it has shown what was wanted.
        assert!(Pager { command: Some("head -c 1 > /dev/null".into()), rows: 10 }.show(
            &"x\n".repeat(1_000_000),
            80,
            None
        ));
    }
}
