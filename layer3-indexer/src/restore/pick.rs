//! Choosing a session from a numbered list, for those who do not know its id.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::rc::Rc;

use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::config::size::Size;
use layer1_prebackup::names::{LAYER3, typed};

use crate::failure::{Context, Failure};
use crate::index::{SessionFilter, SessionRow, Whereabouts};
use crate::restore::missing::{self, State};
use crate::save::rebuild;
use crate::scope::{self, Labels, Scope};
use crate::stores::called::{Called, describe};
use crate::stores::{SessionCopies, Stores, Which};
use crate::terminal::{self, Style, Terminal, fit, left, one_line, right};
use crate::transcript::desktop;
use crate::transcript::metadata::Metadata;

/// Most sessions that are offered.
const CHOICES_MAX: usize = 40;
/// How often a number may be mistyped.
const TRIES_MAX: usize = 3;
/// Columns of the session's id: the first group of a uuid tells it well enough.
const ID_COLUMNS: usize = 8;
/// Columns of a project.
const PROJECT_COLUMNS: usize = 16;
/// Marks a session that Claude Code no longer has.
const GONE: &str = "gone";
/// What fails when the terminal goes away.
const ASKING: &str = "ask at the terminal";

/// A session that can be chosen.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    key: SessionKey,
    is_missing: bool,
    /// Whether its newest version lost something.
    lost: bool,
    bytes: u64,
    committed_ms: u64,
    /// What its project is called.
    label: String,
    /// What the index knows of it.
    metadata: Option<Metadata>,
}

/// What there is to choose from.
#[derive(Debug, Clone)]
pub(crate) struct Choices {
    choices: Vec<Choice>,
    /// What to know about which they are.
    notes: Vec<String>,
}

/// The stored sessions that are meant: those first whose transcript is gone, then the latest.
pub(crate) fn choices(places: &Places, scope: &Scope) -> Result<Choices, Failure> {
    let stores = Rc::new(Stores::open(places)?);
    let known = known(places, &stores);
    let mut choices = Vec::new();
    let keys = stores.sessions()?;
    let whereabouts = scope::whereabouts(&stores, &keys);
    let meant = scope::meant(scope, &whereabouts);
    let labels = Labels::of(&whereabouts);
    let keys = keys.into_iter().zip(&whereabouts).collect();
    for (key, at) in meant.chosen::<(SessionKey, &Whereabouts)>(keys) {
        let copies = SessionCopies::of(&stores, &key)?;
        choices.push(Choice {
            // One of which that cannot be told is not called lost.
            is_missing: matches!(missing::state(places, &stores, &key, &copies), Ok(State::Gone)),
            lost: copies.loss().is_some(),
            bytes: copies.bytes(),
            committed_ms: copies.committed_ms(),
            metadata: known.get(&(key.project.to_string(), key.id.to_string())).cloned(),
            label: labels.label(key.project.as_str(), scope::directory_of(at)),
            key,
        });
    }
    let ended = |choice: &Choice| choice.metadata.as_ref().and_then(|metadata| metadata.timestamp_end.clone());
    choices.sort_by_key(|choice| (!choice.is_missing, Reverse(ended(choice)), Reverse(choice.committed_ms)));
    if choices.is_empty() {
        let failure = Failure::new(format!("choose a session: none {} is stored", meant.said));
        let failure = meant.notes.iter().fold(failure, |failure, note| failure.hint(note));
        return Err(failure.hint("name one by its id (`list --all` shows them), or another project with --project"));
    }
    Ok(Choices { choices, notes: meant.notes })
}

/// What the index knows of the sessions. The list serves without it.
fn known(places: &Places, stores: &Stores) -> HashMap<(String, String), Metadata> {
    let Some(archive) = stores.indexed() else { return HashMap::new() };
    let all = SessionFilter::default();
    let rows = rebuild::ask(places, archive, &mut Vec::new(), |index| index.sessions(&all)).unwrap_or_default();
    let mut titles = desktop::titles(&places.home);
    let called = Called::of(stores);
    let known = rows.into_iter().map(|SessionRow { metadata, .. }| {
        let mut metadata = metadata;
        if let Some(labels) = called.get(&metadata.session_id) {
            describe(&mut metadata, labels);
        }
        let title = metadata.title.take().or_else(|| titles.remove(&metadata.session_id));
        let key = (metadata.project.clone(), metadata.session_id.clone());
        (key, Metadata { title, ..metadata })
    });
    known.collect()
}

/// Shows the list and asks for a number; the beginning of an id will do as well. Gives what names
/// the session.
pub(crate) fn ask(
    offered: &Choices,
    input: &mut dyn BufRead,
    output: &mut dyn Write,
    terminal: &Terminal,
) -> Result<String, Failure> {
    let choices = &offered.choices;
    for note in &offered.notes {
        say(output, &terminal.line(Style::Yellow, &format!("note: {}", one_line(note))))?;
    }
    let shown = &choices[..choices.len().min(CHOICES_MAX)];
    let mut text = to_text(shown, terminal);
    if choices.len() > shown.len() {
        let more = terminal::count((choices.len() - shown.len()) as u64, "older session");
        text.push_str(&format!("… and {more}: `{}` shows them\n", typed(LAYER3, "list")));
    }
    say(output, &text)?;
    for _ in 0..TRIES_MAX {
        say(output, &format!("Conversation number (1-{}, Enter to cancel): ", shown.len()))?;
        let mut line = String::new();
        input.read_line(&mut line).context(ASKING)?;
        let typed = line.trim();
        if typed.is_empty() || matches!(typed, "q" | "quit") {
            return Err(not_chosen());
        }
        let numbered = typed.parse::<usize>().ok().and_then(|number| shown.get(number.checked_sub(1)?));
        let begins = |choice: &&Choice| choice.key.id.as_str().starts_with(typed);
        let mut begun = choices.iter().filter(begins);
        match (numbered, begun.next(), begun.next()) {
            (Some(choice), ..) | (None, Some(choice), None) => return Ok(choice.named()),
            _ => say(output, &format!("Please type a number from 1 to {}.\n", shown.len()))?,
        }
    }
    Err(not_chosen())
}

/// Asks which version of a session is meant that lost something: the one that has all of it stands first.
pub(crate) fn ask_version(
    lost: &str,
    all: Which,
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> Result<Which, Failure> {
    let choices = match all {
        Which::Joined => "1  all of it: the older version, then what is new",
        _ => "1  the older version that has it",
    };
    say(output, &format!("{}\n{choices}\n2  the newest version as it is\n", one_line(lost)))?;
    for _ in 0..TRIES_MAX {
        say(output, "1 or 2 (Enter to cancel): ")?;
        let mut line = String::new();
        input.read_line(&mut line).context(ASKING)?;
        match line.trim() {
            "1" => return Ok(all),
            "2" => return Ok(Which::Newest),
            "" | "q" | "quit" => break,
            _ => say(output, "Please type 1 or 2.\n")?,
        }
    }
    Err(not_chosen())
}

impl Choice {
    fn named(&self) -> String {
        format!("{}/{}", self.key.project, self.key.id)
    }
}

fn to_text(choices: &[Choice], terminal: &Terminal) -> String {
    let mut text = String::new();
    let digits = choices.len().to_string().len();
    let labels = || choices.iter().map(|choice| choice.label.as_str());
    let columns = labels().map(terminal::width).max().unwrap_or(0).min(PROJECT_COLUMNS);
    let several = labels().any(|label| label != choices[0].label);
    for (choice, number) in choices.iter().zip(1..) {
        let metadata = choice.metadata.as_ref();
        let period = metadata.map(|m| terminal.period(m.timestamp_start.as_deref(), m.timestamp_end.as_deref()));
        let topic = metadata.and_then(|m| m.title.as_deref().or(m.first_topic.as_deref())).unwrap_or("–");
        let state = match (choice.is_missing, choice.lost) {
            (true, _) => terminal.paint(Style::Red, GONE),
            (false, true) => terminal.paint(Style::Red, "lost"),
            (false, false) => "    ".to_owned(),
        };
        let label = if several { left(&fit(&choice.label, columns), columns) + "  " } else { String::new() };
        let line = format!(
            "{}  {state}  {}  {label}{:>6}  {}  ",
            right(&number.to_string(), digits),
            left(choice.key.id.as_str().get(..ID_COLUMNS).unwrap_or(choice.key.id.as_str()), ID_COLUMNS),
            Size(choice.bytes),
            period.unwrap_or_default(),
        );
        let used = terminal::width(&line) - (state.len() - GONE.len());
        let room = terminal.columns.saturating_sub(used).max(16);
        text.push_str(&format!("{line}{}\n", fit(&one_line(topic), room)));
    }
    text
}

fn not_chosen() -> Failure {
    Failure::new("choose a conversation: cancelled")
}

fn say(output: &mut dyn Write, text: &str) -> Result<(), Failure> {
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).context(ASKING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(n: usize) -> Choice {
        let key = SessionKey::parse("p", &format!("s{n:02}-and-more")).unwrap();
        let metadata = Metadata { first_topic: Some("what it is about ".repeat(9)), ..Metadata::default() };
        let label = "p".to_owned();
        Choice {
            key,
            is_missing: n == 1,
            lost: false,
            bytes: 1000 * n as u64,
            committed_ms: 0,
            label,
            metadata: Some(metadata),
        }
    }

    /// What is chosen of so many when this is typed, and what was shown.
    fn asked(count: usize, typed: &str) -> (Option<String>, String) {
        let offered = Choices { choices: (1..=count).map(choice).collect(), notes: Vec::new() };
        let mut shown = Vec::new();
        let terminal = Terminal { columns: 60, ..Terminal::PLAIN };
        let chosen = ask(&offered, &mut typed.as_bytes(), &mut shown, &terminal).ok();
        (chosen, String::from_utf8(shown).unwrap())
    }

    #[test]
    fn a_number_or_the_beginning_of_an_id_chooses_and_nothing_leaves() {
        for (typed, expected) in [
            ("2\n", Some("p/s02-and-more")),
            ("s03\n", Some("p/s03-and-more")),
            ("s\n3\n", Some("p/s03-and-more")),
            ("0\n4\n1\n", Some("p/s01-and-more")),
            ("x\nx\nx\n1\n", None),
            ("\n1\n", None),
            ("q\n1\n", None),
            ("quit\n1\n", None),
            ("", None),
        ] {
            assert_eq!(asked(3, typed).0.as_deref(), expected, "{typed:?}");
        }
    }

    #[test]
    fn the_list_says_what_is_gone_and_how_many_more_there_are() {
        let (_, shown) = asked(2, "\n");
        let lines: Vec<&str> = shown.lines().take(2).collect();
        assert!(lines[0].starts_with("1  gone  s01-and-") && lines[1].starts_with("2        s02-and-"), "{shown}");
        assert!(lines.iter().all(|line| terminal::width(line) == 60), "{shown}");
        for (count, more) in [(40, None), (41, Some("… and 1 older session:")), (43, Some("… and 3 older sessions:"))]
        {
            let (_, shown) = asked(count, "\n");
            let told = shown.lines().find(|line| line.starts_with("… and"));
            assert_eq!(told.is_some(), more.is_some(), "{count}");
            assert!(more.is_none_or(|more| told.unwrap().starts_with(more)), "{told:?}");
        }
    }
}
