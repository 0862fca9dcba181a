//! A program at a terminal: a pseudo terminal whose other end the test reads and types at.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use wait_timeout::ChildExt;

/// End of input, as a terminal's line discipline takes it.
pub const CTRL_D: &str = "\u{4}";
/// Its size.
pub const COLUMNS: u16 = 80;
const ROWS: u16 = 24;
/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// How soon our end is closed after it was asked for.
const CLOSED_AFTER: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// One character of the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// What stands there; a blank where nothing does, and nothing in the second half of a wide one.
    pub text: String,
    /// How it looks: `chosen`, `hit`, `bold`, `dim`, `hue` or `plain`.
    pub class: &'static str,
}

/// A program that runs at a terminal. Dropped, it is killed.
pub struct Terminal {
    shown: String,
    child: Child,
    /// Our end of it.
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: Vec<u8>,
    is_hung_up: Arc<AtomicBool>,
}

impl Terminal {
    /// Starts a program with stdin, stdout and stderr at a new terminal.
    ///
    /// # Panics
    /// When there is no terminal to be had.
    pub fn start(mut command: Command) -> Terminal {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("open a terminal");
        // The program must not keep our end open.
        fcntl_setfd(&ours, FdFlags::CLOEXEC).expect("keep a terminal's end");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("unlock a terminal");
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size).expect("set a terminal's size");
        let name = ptsname(&ours, Vec::new()).expect("name a terminal");
        let name = name.to_str().expect("a terminal's name is ASCII");
        let theirs = OpenOptions::new().read(true).write(true).open(name).expect("open a terminal's other end");
        let end = || theirs.try_clone().expect("open a terminal's other end once more");
        command.stdin(end()).stdout(end()).stderr(end());
        let shown = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("start {shown}: {error}"));
        let keyboard = File::from(ours);
        let mut reader = keyboard.try_clone().expect("open our end of a terminal once more");
        let (sender, screen) = mpsc::channel();
        let is_hung_up = Arc::new(AtomicBool::new(false));
        let is_closed = Arc::clone(&is_hung_up);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 4096];
            while !is_closed.load(Ordering::SeqCst) {
                let mut waited = [PollFd::new(&reader, PollFlags::IN)];
                if poll(&mut waited, Some(&CLOSED_AFTER)).is_ok_and(|ready| ready == 0) {
                    continue;
                }
                // When the last program has gone, reading is an error on Linux and the end elsewhere.
                let Ok(count @ 1..) = reader.read(&mut buffer) else { break };
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Terminal { shown, child, keyboard, screen, seen: Vec::new(), is_hung_up }
    }

    /// Takes the terminal away from the program, which no signal tells of it, and waits for its end.
    #[track_caller]
    pub fn hang_up(mut self) {
        self.is_hung_up.store(true, Ordering::SeqCst);
        self.keyboard = File::open("/dev/null").expect("open nothing");
        let ended = self.child.wait_timeout(LIMIT).expect("wait for a child");
        assert!(ended.is_some(), "{}: it goes on without a terminal", self.shown);
    }

    /// Waits until this stands on the screen.
    #[track_caller]
    pub fn await_text(&mut self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        while !self.seen().contains(text) {
            match self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.seen.extend(bytes),
                Err(why) => panic!("{}: never showed {text:?} ({why}):\n{}", self.shown, self.seen()),
            }
        }
    }

    /// All that was on the screen so far.
    pub fn seen_by_now(&mut self) -> String {
        self.seen.extend(self.screen.try_iter().flatten());
        self.seen()
    }

    /// Waits until the screen, lines ended by `\n`, is as wanted.
    #[track_caller]
    pub fn await_screen(&mut self, is_wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !is_wanted(&self.parsed().screen().contents()) {
            match self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.seen.extend(bytes),
                Err(why) => panic!("{}: never as wanted ({why}):\n{}", self.shown, self.parsed().screen().contents()),
            }
        }
    }

    /// The screen as it is, row by row.
    pub fn screen(&self) -> Vec<Vec<Cell>> {
        let parser = self.parsed();
        let row = |row: u16| {
            let cells = (0..COLUMNS).filter_map(|column| parser.screen().cell(row, column));
            cells.map(drawn).collect()
        };
        (0..ROWS).map(row).collect()
    }

    fn parsed(&self) -> vt100::Parser {
        let size = |of| NonZero::new(of).expect("it has a size");
        let mut parser = vt100::Parser::new(size(ROWS), size(COLUMNS), 0);
        parser.process(&self.seen);
        parser
    }

    /// Types, as on a keyboard.
    #[track_caller]
    pub fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("type at a terminal");
    }

    /// Waits for the program's end; its exit code and all that was on the screen, lines ended by `\n` alone.
    #[track_caller]
    pub fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + LIMIT;
        let status = self.child.wait_timeout(LIMIT).expect("wait for a child");
        let Some(status) = status else { panic!("{}: it does not end:\n{}", self.shown, self.seen()) };
        loop {
            match self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.seen.extend(bytes),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("{}: something holds its terminal", self.shown),
            }
        }
        (status.code(), self.seen())
    }

    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen).replace("\r\n", "\n")
    }
}

fn drawn(cell: &vt100::Cell) -> Cell {
    use vt100::Color::Idx;
    let class = match (cell.inverse(), cell.bold(), cell.fgcolor()) {
        (true, ..) => "chosen",
        (_, true, Idx(3)) => "hit",
        (_, true, _) => "bold",
        (.., Idx(8)) => "dim",
        (.., Idx(6)) => "hue",
        _ => "plain",
    };
    let is_blank = cell.contents().is_empty() && !cell.is_wide_continuation();
    Cell { text: if is_blank { " ".to_owned() } else { cell.contents().to_string() }, class }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has usually ended; both calls then fail harmlessly.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_read_and_what_is_said_is_seen() {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "test -t 0 && test -t 1 && test -t 2 || exit 9; printf 'well? '; cat; echo over >&2; exit 3"]);
        let mut terminal = Terminal::start(command);
        terminal.await_text("well? ");
        terminal.type_in("fine\n");
        // What was typed is shown, then said again.
        terminal.await_text("well? fine\nfine\n");
        terminal.type_in(CTRL_D);
        assert_eq!(terminal.end(), (Some(3), "well? fine\nfine\nover\n".to_owned()));
    }
}
