//! What every verb needs of the command line: where answers go, what can be shown there, and which project is meant.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use layer1_prebackup::claude::COMMAND_CHARS_MAX;
use layer1_prebackup::claude::live::{CLAUDE_CODE_SESSION_ID, CLAUDE_PID};
use layer1_prebackup::config::places::{CLAUDE_CONFIG_DIR, Places};
use layer1_prebackup::names::{LAYER3, program_name, typed};
use layer1_prebackup::wire::shown::{self, in_json};

use crate::browse::fit::{self, Fit};
use crate::cli::pager::Pager;
use crate::failure::{Context, Failure, Kind};
use crate::restore::resume::ConfigDir;
use crate::scope::Here;
use crate::terminal::time::Clock;
use crate::terminal::{self, COLUMNS_DEFAULT, COLUMNS_MIN, COLUMNS_WHOLE, Terminal, one_line};

/// The directory of the project, which Claude Code tells those that it starts.
const CLAUDE_PROJECT_DIR: &str = "CLAUDE_PROJECT_DIR";

/// Where answers go and what can be shown there.
pub(super) struct Screen<'a> {
    pub(super) out: &'a mut dyn Write,
    pub(super) terminal: Terminal,
    pub(super) json: bool,
    /// Whether a model reads the answer.
    pub(super) for_model: bool,
    /// For what is too long for it.
    pub(super) pager: Pager,
    /// Entries that the answer passed over.
    pub(super) offset: usize,
}

/// Where a verb that changes something answers: whatever it says once nobody reads it any more goes nowhere, and does not
/// end it halfway.
pub(super) struct WhileRead<'a> {
    pub(super) out: &'a mut dyn Write,
    pub(super) is_read: bool,
}

impl WhileRead<'_> {
    fn unless_left<T>(&mut self, done: io::Result<T>, else_done: T) -> io::Result<T> {
        match done {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_read = false;
                Ok(else_done)
            }
            done => done,
        }
    }
}

impl Write for WhileRead<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = if self.is_read { self.out.write(bytes) } else { Ok(bytes.len()) };
        self.unless_left(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = if self.is_read { self.out.flush() } else { Ok(()) };
        self.unless_left(flushed, ())
    }
}

impl Screen<'_> {
    /// The answer: JSON where that is asked for, else the text that is made of it.
    pub(super) fn answer(
        &mut self,
        value: &impl serde::Serialize,
        text: impl FnOnce(&Terminal) -> String,
    ) -> Result<(), Failure> {
        if self.for_model {
            let value = serde_json::to_value(value).context("write JSON")?;
            let how = Fit { chars_max: COMMAND_CHARS_MAX, offset: self.offset, offset_is: "--offset " };
            return self.json(&fit::fit(value, how));
        }
        if self.json { self.json(value) } else { self.text(&text(&self.terminal)) }
    }

    /// [`Screen::answer`] that may be long: at a terminal a pager shows it.
    pub(super) fn long_answer(
        &mut self,
        value: &impl serde::Serialize,
        text: impl FnOnce(&Terminal) -> String,
    ) -> Result<(), Failure> {
        if self.for_model || self.json {
            return self.answer(value, text);
        }
        let text = text(&self.terminal);
        if self.paged(&text, None) { Ok(()) } else { self.text(&text) }
    }

    /// Text of which the part from a line on was asked for: a pager begins there. Where it does not fit on a terminal and no
    /// pager shows it so, what is around that part.
    pub(super) fn long_text_from(
        &mut self,
        text: &str,
        line: usize,
        around: impl FnOnce(&Terminal) -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        if !self.terminal.interactive || self.pager.has_room_for(text, self.terminal.columns) {
            return self.text(text);
        }
        if self.paged(text, Some(line)) {
            return Ok(());
        }
        let text = around(&self.terminal)?;
        if self.paged(&text, None) { Ok(()) } else { self.text(&text) }
    }

    /// Whether a pager showed the text.
    fn paged(&self, text: &str, line: Option<usize>) -> bool {
        self.pager.show(&self.terminal.only_colours(text), self.terminal.columns, line)
    }

    pub(super) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.out
            .write_all(self.terminal.only_colours(text).as_bytes())
            .and_then(|()| self.out.flush())
            .context("write to stdout")
    }

    pub(super) fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).context("write JSON")?;
        self.text(&(in_json(text) + "\n"))
    }
}

/// Colours for a terminal unless `NO_COLOR` is set; its width, or `COLUMNS`, or a default. Into a pipe whole fields, unless
/// `COLUMNS` is set.
pub(super) fn terminal() -> Terminal {
    let is_terminal = io::stdout().is_terminal();
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let size = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    let set = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let columns = if is_terminal { size().filter(|columns| *columns > 0).or_else(set) } else { set() };
    Terminal {
        columns: columns.unwrap_or(if is_terminal { COLUMNS_DEFAULT } else { COLUMNS_WHOLE }).max(COLUMNS_MIN),
        colour: is_terminal && !no_colour,
        interactive: is_terminal,
        clock: Clock::now(),
    }
}

/// What stands below the help of a verb.
pub(super) fn example(words: &str) -> String {
    format!("Example: {}", typed(LAYER3, words))
}

/// A line for people. If nobody reads stderr, nothing is lost that the exit code does not say.
pub(super) fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{}", terminal::lines(line));
}

/// What went wrong beside the answer, for people.
pub(super) fn problem(text: &str) {
    complain(&format!("{}: {}", program_name(LAYER3), one_line(text)));
}

/// Asks at the terminal whether it may go; `None` where there is none to ask at. Any other answer than one of `yes` is a
/// no.
pub(super) fn confirm(screen: &Screen<'_>, question: &str, yes: &[&str]) -> io::Result<Option<bool>> {
    if screen.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(None);
    }
    let mut line = String::new();
    let mut stderr = shown::Screen(io::stderr());
    stderr.write_all(question.as_bytes())?;
    stderr.flush()?;
    io::stdin().lock().read_line(&mut line)?;
    Ok(Some(yes.contains(&line.trim())))
}

/// What is to be known besides the answer.
pub(super) fn notes<'a>(notes: impl IntoIterator<Item = &'a String>) {
    notes.into_iter().for_each(|note| problem(&format!("note: {note}")));
}

/// A failure where something failed; each was printed.
pub(super) fn unless_none(failed: usize, failure: impl FnOnce(usize) -> Failure) -> Result<(), Failure> {
    if failed == 0 { Ok(()) } else { Err(failure(failed)) }
}

/// A bar on stderr if somebody watches it, else nothing.
pub(super) fn progress_bar(template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    // The templates are constants; one that does not parse shows the plain bar.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Runs what tells how many of its things are done, and of how many; a bar shows it.
pub(super) fn counting<T>(things: &str, run: impl FnOnce(&dyn Fn(usize, usize)) -> T) -> T {
    let bar = progress_bar(&format!("{{bar:30}} {{pos}}/{{len}} {things} {{eta}}"));
    let given = run(&|done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    given
}

pub(super) fn absolute(path: PathBuf) -> Result<PathBuf, Failure> {
    std::path::absolute(&path).context(format_args!("resolve {}", path.display()))
}

/// How a `claude` that we start finds the directory that we use.
pub(super) fn config_dir(places: &Places) -> ConfigDir {
    let usual = places.home.join(".claude");
    let set = std::env::var_os(CLAUDE_CONFIG_DIR).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    match set {
        _ if set.as_ref().unwrap_or(&usual) == &places.claude_dir => ConfigDir::Inherited,
        _ if places.claude_dir == usual => ConfigDir::Default,
        _ => ConfigDir::Given(places.claude_dir.clone()),
    }
}

#[derive(Debug, Args)]
pub(super) struct Scope {
    /// Only this project: its directory, or a part of its name; by default the current directory's
    #[arg(long, short, value_name = "PROJECT", conflicts_with = "all")]
    pub(super) project: Option<String>,
    /// All projects
    #[arg(long, short)]
    pub(super) all: bool,
}

/// Where the command was given. Claude Code tells its hooks and servers the directory of the project; a directory that was
/// deleted is still named by the shell.
pub(super) fn here(places: &Places) -> Here {
    let named = |name| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let directory = named(CLAUDE_PROJECT_DIR).or_else(|| std::env::current_dir().ok()).or_else(|| named("PWD"));
    let said = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let clients = said(CLAUDE_PID).and_then(|pid| pid.parse().ok()).into_iter().map(Some).collect();
    Here { directory, home: places.home.clone(), clients, session: said(CLAUDE_CODE_SESSION_ID), ..Here::default() }
}

/// A failure where something stays wrong until a person does something; it was printed.
pub(super) fn needing_person(needing: usize) -> Result<(), Failure> {
    unless_none(needing, |needing| {
        Failure::new(format!("call it well: {}", terminal::count(needing as u64, "problem"))).of(Kind::Told)
    })
}
