//! `show`: its arguments, and what it prints.

use std::rc::Rc;

use clap::Args;
use layer1_prebackup::claude::COMMAND_CHARS_MAX;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::{LAYER3, typed};

use crate::browse::finder::Verb;
use crate::browse::fit;
use crate::browse::show::{self, Window};
use crate::cli::host;
use crate::cli::restore::chosen;
use crate::cli::screen::{Screen, here};
use crate::failure::Failure;
use crate::save::adopt_v1;
use crate::scope::Scope;
use crate::stores::{SessionCopies, Stores};
use crate::terminal::{Style, shell_quoted};
use crate::transcript::desktop;

/// Messages before the one that was asked for, and after it, that are printed where no pager leads to it.
const BESIDE: usize = 5;
/// Of an answer for a model, for what is said beside the conversation.
const MARGIN_CHARS: usize = 2_000;

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Default, Args)]
pub(super) struct ShowArgs {
    /// The conversation: its id, a unique beginning of it, or its name; omit it at a terminal to choose from a list
    session: Option<String>,
    /// The conversation of another computer, by its name at the third place (`offsite machines`)
    #[arg(long, value_name = "HOST", requires = "session")]
    host: Option<String>,
    #[command(flatten)]
    window: Window,
    /// All of it, page by page: the page from character N on; each says where the next one begins
    #[arg(long, value_name = "N", conflicts_with_all = ["around", "last"])]
    offset: Option<usize>,
}

impl ShowArgs {
    /// All of a conversation, or what is around a message of it.
    pub(super) fn of(session: Option<String>, around: Option<String>) -> ShowArgs {
        let window = Window { around, max_chars: show::SHOW_CHARS_DEFAULT, ..Window::default() };
        ShowArgs { session, host: None, window, offset: None }
    }
}

/// Runs `show`.
pub(super) fn run(places: &Places, args: ShowArgs, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let scope = Scope { all: false, project: None, here: here(places) };
    let copies = match (&args.host, &args.session) {
        (Some(host), Some(typed)) => {
            let (there, session) = host::fetch(places, host, typed)?;
            SessionCopies::find(&Rc::new(Stores::open(&there)?), &session)?
        }
        _ => {
            let session = chosen(places, args.session, &scope, Verb::Show, screen)?;
            SessionCopies::find(&adopt_v1::stores(places)?, &session)?
        }
    };
    let max_chars = args.window.max_chars.max(1);
    let max_chars = if screen.for_model { max_chars.min(COMMAND_CHARS_MAX - MARGIN_CHARS) } else { max_chars };
    let window = Window { max_chars: if args.offset.is_some() { usize::MAX } else { max_chars }, ..args.window }
        .learned(&copies);
    if screen.for_model && args.offset.is_none() {
        let chars_max = COMMAND_CHARS_MAX - MARGIN_CHARS;
        let text = show::fitting(&copies, window, chars_max, |conversation| conversation.to_text(&screen.terminal))?;
        let go_on = "; --offset 0 instead of --around or --last reads all of it from the beginning, page by page";
        let is_cut = text.contains(" left out") || fit::text_chars(&text) > chars_max;
        let text = fit::fit_text(text, chars_max);
        return screen.text(&if is_cut { format!("{text}[not all of it{go_on}]\n") } else { text });
    }
    let mut conversation = show::conversation(&copies, &window)?;
    if window.full && (&window.around, window.last, window.generation) == (&None, None, None) {
        show::add_subagents(&mut conversation, &copies, &window);
    }
    let desktop = || desktop::titles(&places.home).remove(&conversation.session_id);
    conversation.title = conversation.title.take().or_else(desktop);
    conversation.clean(&window.redactor);
    if let Some(offset) = args.offset {
        return screen.text(&fit::page(&conversation.to_text(&screen.terminal), offset, max_chars, "--offset "));
    }
    let (text, place) = conversation.to_text_and_place(&screen.terminal);
    let lines_before = |line: usize| text.split_inclusive('\n').take(line - 1).collect::<String>();
    let place = place.map(|line| screen.terminal.at_blanks(&lines_before(line)).matches('\n').count() + 1);
    let mut text = screen.terminal.at_blanks(&text);
    // Who asked for some messages knows that these are not all.
    let is_cut = conversation.omitted_before + conversation.omitted_after > 0;
    if is_cut && (&window.around, window.last) == (&None, None) {
        let go_on = "[`--offset 0` reads all of it, page by page; `--max-chars N` shows more at once]";
        text.push_str(&screen.terminal.line(Style::Dim, go_on));
    }
    let Some(line) = place.filter(|_| !screen.json) else {
        return screen.long_answer(&conversation, |_| text);
    };
    let host = args.host.map(|host| format!(" --host {}", shell_quoted(&host))).unwrap_or_default();
    screen.long_text_from(&text, line, |terminal| {
        // So much was asked for.
        if window.max_chars != show::SHOW_CHARS_DEFAULT {
            return Ok(text.clone());
        }
        let mut near = show::conversation(&copies, &Window { beside: Some(BESIDE), ..window })?;
        near.title.clone_from(&conversation.title);
        let near = terminal.at_blanks(&near.to_text(terminal));
        let all = typed(LAYER3, &format!("show {}{host}", conversation.session_id));
        Ok(near + &terminal.line(Style::Dim, &format!("[`{all}` shows all of it]")))
    })
}
