//! The threads that search texts, read previews and look at what the list does not need at once: no key waits for them.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, Sender};

use layer1_prebackup::archive::{Archive, SessionKey};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::config::threads;

use super::model::{Asked, Event, Found, Row, Want};
use super::rows;
use crate::browse::show::{self, Window};
use crate::failure::Failure;
use crate::index::{Index, Marks, SearchQuery};
use crate::stores::{SessionCopies, Stores};
use crate::terminal::time::now_ms;
use crate::terminal::{Terminal, lines};

/// Conversations that a search of the texts brings.
const FOUND_MAX: usize = 200;
/// Characters of a preview.
const PREVIEW_CHARS: usize = 6_000;
/// Around what was meant in a snippet: characters that no text has.
const MARK: (char, char) = ('\u{e000}', '\u{e001}');
/// Beginnings that are read in one go.
const BEGUN_BATCH: usize = 2_000;

/// Where work is sent, and where what comes of it arrives.
pub(super) struct Work {
    search: Sender<Asked>,
    read: Sender<Want>,
    pub(super) done: Receiver<Event>,
}

impl Work {
    /// Starts the threads. They end with the program, or with their last message.
    pub(super) fn start(places: &Places, rows: &[Row], untitled: Vec<i64>) -> Work {
        let (sender, done) = mpsc::channel();
        let (search, searches) = mpsc::channel();
        let (read, reads) = mpsc::channel();
        let (of, told) = (places.clone(), sender.clone());
        let here: Vec<i64> = rows.iter().filter(|row| row.is_here).map(|row| row.row).collect();
        threads::start("search", move || search_texts(&of, &here, &searches, &told));
        let (of, told) = (places.clone(), sender.clone());
        threads::start("previews", move || read_previews(&of, &reads, &told));
        let keys: Vec<_> = rows.iter().map(|row| SessionKey::parse(&row.project, &row.id)).collect();
        let of = places.clone();
        threads::start("titles", move || {
            look_closer(&of, keys.into_iter().collect::<Result<Vec<_>, _>>(), &untitled, &sender)
        });
        Work { search, read, done }
    }

    /// Searches the texts; only the last of several is searched to its end.
    pub(super) fn search(&self, asked: Asked) {
        // A thread that ended said why.
        let _ = self.search.send(asked);
    }

    /// Reads a preview; only the last of several is read.
    pub(super) fn read(&self, want: Want) {
        let _ = self.read.send(want);
    }
}

/// The last that was sent, once something was.
fn last<T>(from: &Receiver<T>) -> Option<T> {
    let first = from.recv().ok()?;
    Some(from.try_iter().last().unwrap_or(first))
}

fn search_texts(places: &Places, here: &[i64], searches: &Receiver<Asked>, told: &Sender<Event>) {
    let mut open = None;
    while let Some(asked) = last(searches) {
        let found = (|| -> Result<Vec<Found>, Failure> {
            if open.is_none() {
                let archive = Archive::open_as_found(&places.layer3_store)?;
                open = archive.zip(Index::open_read_only(&places.index)?);
            }
            let Some((archive, index)) = &open else { return Ok(Vec::new()) };
            texts(archive, index, here, &asked)
        })();
        let event = match found {
            Ok(found) => Event::Texts(asked, found),
            // The titles are still searched. An index that was replaced is opened anew.
            Err(failure) => {
                open = None;
                let _ = told.send(Event::Texts(asked, Vec::new()));
                Event::Said(format!("The texts could not be searched: {failure}"))
            }
        };
        if told.send(event).is_err() {
            return;
        }
    }
}

/// The messages that `search` gives for the same question, asked of the same conversations.
pub(super) fn texts(archive: &Archive, index: &Index, here: &[i64], asked: &Asked) -> Result<Vec<Found>, Failure> {
    let marks = Marks { start: MARK.0.to_string(), end: MARK.1.to_string() };
    let within = (!asked.all).then(|| here.to_vec());
    let found = |text: &str| -> Result<Vec<Found>, Failure> {
        let (within, marks) = (within.clone(), marks.clone());
        let query = SearchQuery { each: false, limit: FOUND_MAX, within, marks, ..SearchQuery::new(text, now_ms()) };
        let hits = index.search(archive, &query)?.hits.into_iter();
        let found = hits.map(|hit| {
            let words = marked(&hit.snippet);
            Found { project: hit.project, id: hit.session_id, message: hit.message, words }
        });
        Ok(found.collect())
    };
    let query = &asked.query;
    let all = found(query)?;
    // The last word may not be typed to its end yet.
    let may_go_on = query.ends_with(char::is_alphanumeric);
    if all.is_empty() && may_go_on { found(&format!("{query}*")) } else { Ok(all) }
}

/// What is marked in a snippet, each once, in small letters.
fn marked(snippet: &str) -> Vec<String> {
    let mut words = Vec::new();
    for piece in snippet.split(MARK.0).skip(1) {
        let word = piece.split(MARK.1).next().unwrap_or_default().to_lowercase();
        if !word.is_empty() && !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

fn read_previews(places: &Places, reads: &Receiver<Want>, told: &Sender<Event>) {
    let mut known: VecDeque<(Want, Vec<String>)> = VecDeque::new();
    let mut stores: Option<Rc<Stores>> = None;
    while let Some(want) = last(reads) {
        let lines = match known.iter().find(|(known, _)| *known == want) {
            Some((_, lines)) => lines.clone(),
            None => {
                let read = (|| {
                    let stores = match &stores {
                        Some(stores) => Rc::clone(stores),
                        None => Rc::clone(stores.insert(Rc::new(Stores::open(places)?))),
                    };
                    preview(&stores, &want)
                })();
                read.unwrap_or_else(|failure| vec![format!("It could not be read: {failure}")])
            }
        };
        known.push_front((want.clone(), lines.clone()));
        known.truncate(32);
        if told.send(Event::Preview(want, lines)).is_err() {
            return;
        }
    }
}

pub(super) fn preview(stores: &Rc<Stores>, want: &Want) -> Result<Vec<String>, Failure> {
    let (project, id) = want.session.split_once('/').unwrap_or(("", &want.session));
    let copies = SessionCopies::of(stores, &SessionKey::parse(project, id)?)?;
    let window = |around: Option<String>| Window { around, max_chars: PREVIEW_CHARS, ..Window::default() };
    let around = want.message.clone().map(|message| show::conversation(&copies, &window(Some(message))));
    let conversation = match around {
        Some(Ok(conversation)) => conversation,
        // The hit is in a version that is not shown so; its conversation is.
        Some(Err(_)) | None => show::conversation(&copies, &window(None))?,
    };
    let text = conversation.to_text(&Terminal::PLAIN);
    Ok(lines(&text).lines().map(|line| line.replace('\t', "    ")).collect())
}

fn look_closer(
    places: &Places,
    keys: Result<Vec<SessionKey>, layer1_prebackup::names::NameError>,
    untitled: &[i64],
    told: &Sender<Event>,
) {
    if let Ok(Some(index)) = Index::open_read_only(&places.index) {
        for batch in untitled.chunks(BEGUN_BATCH) {
            // Without them the list has dashes.
            let Ok(begun) = index.beginnings(batch) else { break };
            if told.send(Event::Titles(begun)).is_err() {
                return;
            }
        }
    }
    let states = keys.map_err(Failure::from).and_then(|keys| rows::states(places, &keys));
    let event = match states {
        Ok(states) => Event::States(states),
        Err(failure) => Event::Said(format!("What Claude Code deleted could not be told: {failure}")),
    };
    // Nobody waits for it any more.
    let _ = told.send(event);
}
