//! The terminal: taken over, drawn on, read from, and given back, whatever happens.

use std::io::{self, BufWriter, IsTerminal, Stderr, Write};
use std::panic;
use std::time::Duration;

use crossterm::clipboard::CopyToClipboard;
use crossterm::event::{
    self, DisableBracketedPaste, EnableBracketedPaste, KeyCode, KeyEvent, KeyEventKind, KeyModifiers,
};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs::platform::process::{end_self, stop_self};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use rustix::event::{PollFd, PollFlags, poll};

use super::draw::{Look, draw};
use super::model::{Chosen, Effect, Event, Key, Model, Purpose};
use super::rows;
use super::work::Work;
use crate::failure::{Context, Failure};
use crate::save::labels;
use crate::save::{LogSink, adopt_v1};
use crate::scope::Scope;
use crate::terminal::time::now_ms;

/// What fails when the terminal goes away.
const USING: &str = "use the terminal";
/// How long a key is waited for while threads are at work.
const BUSY_WAIT: Duration = Duration::from_millis(8);
/// And while they are not: the times that are shown grow.
const IDLE_WAIT: Duration = Duration::from_secs(30);

/// Shows the finder on stderr until something is chosen; `None` where nothing was. `colour`: whether there are colours.
pub(crate) fn run(places: &Places, scope: &Scope, purpose: Purpose, colour: bool) -> Result<Option<Chosen>, Failure> {
    let archive = adopt_v1::open(places)?;
    let (loaded, untitled) = match &archive {
        Some(archive) => {
            let loaded = rows::load(places, archive, scope)?;
            ((loaded.rows, loaded.here, loaded.notes), loaded.untitled)
        }
        None => Default::default(),
    };
    let (rows, here, notes) = loaded;
    let work = Work::start(places, &rows, untitled);
    let mut model = Model::new(purpose, rows, here, notes.into_iter().next());
    model.all |= scope.all;
    model.list_again(false);
    end_with_the_terminal();
    let mut screen = Screen::enter()?;
    let chosen = screen.go_on(&mut model, &work, places, colour);
    drop(screen);
    chosen
}

/// Ends the program when the terminal goes away, also where the signal that says so is ignored: keys are waited for in a
/// library that would ask for them again and again.
fn end_with_the_terminal() {
    std::thread::spawn(|| {
        let stdin = io::stdin();
        while stdin.is_terminal() {
            let mut stdin = [PollFd::new(&stdin, PollFlags::empty())];
            let waited = poll(&mut stdin, None);
            let came = stdin[0].revents();
            if waited.is_ok() && came.intersects(PollFlags::HUP | PollFlags::ERR) {
                // Nothing is left to be told, and nobody to tell it to.
                let _ = end_self();
            }
            // Some systems cannot wait for a terminal so.
            if waited.is_err() || !came.is_empty() {
                return;
            }
        }
    });
}

type Out = BufWriter<Stderr>;

struct Screen {
    terminal: Terminal<CrosstermBackend<Out>>,
}

impl Screen {
    fn enter() -> Result<Screen, Failure> {
        enable_raw_mode().context(USING)?;
        // From here on the terminal is given back by dropping it, and before a panic is told.
        let (before, own) = (panic::take_hook(), std::thread::current().id());
        panic::set_hook(Box::new(move |what| {
            // What a thread that only helps died of would be drawn over; it is missed and told as such.
            if std::thread::current().id() == own {
                give_back();
                before(what);
            }
        }));
        let guard = Guard;
        let mut out = BufWriter::new(io::stderr());
        execute!(out, EnterAlternateScreen, EnableBracketedPaste).context(USING)?;
        let terminal = Terminal::new(CrosstermBackend::new(out)).context(USING)?;
        std::mem::forget(guard);
        Ok(Screen { terminal })
    }

    fn go_on(
        &mut self,
        model: &mut Model,
        work: &Work,
        places: &Places,
        colour: bool,
    ) -> Result<Option<Chosen>, Failure> {
        let journal = LogSink::new(places, false);
        let mut is_looking = true;
        let mut effects: Vec<Effect> = model.want().into_iter().collect();
        let mut is_stale = true;
        loop {
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Search(asked) => work.search(asked),
                    Effect::Read(want) => work.read(want),
                    Effect::Copy(text) => {
                        execute!(self.terminal.backend_mut(), CopyToClipboard::to_clipboard_from(text))
                            .context(USING)?;
                    }
                    Effect::Label(place, changes) => {
                        let row = &model.rows[place];
                        let labelled = SessionKey::parse(&row.project, &row.id).map_err(Failure::from);
                        let labelled = labelled.and_then(|key| labels::label(places, &journal, &key, &changes));
                        let labelled = labelled.map_err(|failure| format!("It could not be saved: {failure}"));
                        let labelled = labelled.map(|now| (now.name.unwrap_or_default(), now.tags, now.pinned));
                        effects.extend(model.update(Event::Labelled(place, labelled)));
                    }
                    Effect::Suspend => {
                        give_back();
                        // The shell goes on from here; `fg` comes back to the next line.
                        stop_self().context(USING)?;
                        enable_raw_mode().context(USING)?;
                        execute!(self.terminal.backend_mut(), EnterAlternateScreen, EnableBracketedPaste)
                            .context(USING)?;
                        self.terminal.clear().context(USING)?;
                    }
                    Effect::Leave(chosen) => return Ok(chosen),
                }
                is_stale = true;
            }
            while let Ok(event) = work.done.try_recv() {
                is_looking &= !matches!(event, Event::States(_) | Event::Said(_));
                effects.extend(model.update(event));
                is_stale = true;
            }
            if is_stale {
                let look = Look { colour, now_ms: now_ms() };
                self.terminal.draw(|frame| draw(frame, model, look)).context(USING)?;
                is_stale = false;
            }
            if !effects.is_empty() {
                continue;
            }
            let is_busy = is_looking || model.is_searching() || model.is_reading();
            if event::poll(if is_busy { BUSY_WAIT } else { IDLE_WAIT }).context(USING)? {
                effects = typed(event::read().context(USING)?).map_or_else(Vec::new, |event| model.update(event));
                // A size that changed is drawn anew.
                is_stale = true;
            } else {
                is_stale = !is_busy;
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
        // Ours is no more needed; the one before told of panics as well.
        if !std::thread::panicking() {
            drop(panic::take_hook());
        }
    }
}

struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        give_back();
    }
}

/// Makes the terminal what it was. Twice is as good as once.
fn give_back() {
    let mut out = io::stderr();
    // A terminal that went away needs nothing.
    let _ = execute!(out, DisableBracketedPaste, LeaveAlternateScreen, crossterm::cursor::Show);
    let _ = out.flush();
    let _ = disable_raw_mode();
}

fn typed(event: event::Event) -> Option<Event> {
    match event {
        event::Event::Key(key) if key.kind != KeyEventKind::Release => key_of(key).map(Event::Key),
        event::Event::Paste(text) => Some(Event::Paste(text)),
        _ => None,
    }
}

fn key_of(key: KeyEvent) -> Option<Key> {
    let is = |modifier: KeyModifiers| key.modifiers.contains(modifier);
    Some(match key.code {
        KeyCode::Char(c) if is(KeyModifiers::CONTROL) => Key::Ctrl(c.to_ascii_lowercase()),
        KeyCode::Char(c) if is(KeyModifiers::ALT) => Key::Alt(c),
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Tab => Key::Tab,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Delete => Key::Delete,
        _ => return None,
    })
}
