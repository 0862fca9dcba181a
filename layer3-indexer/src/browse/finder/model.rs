//! What the finder shows, as data: the conversations, what is typed, which of them that leaves.

use std::collections::{HashMap, HashSet};

use layer1_prebackup::archive::LabelChange;
use layer1_prebackup::names::{LAYER3, typed};

use super::line::Line;
use super::matching::{Match, Wanted};
use crate::terminal::shell_quoted;

/// A conversation.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row {
    /// Its row in the index.
    pub(super) row: i64,
    pub(super) project: String,
    pub(super) id: String,
    /// What its project is called among others.
    pub(super) label: String,
    /// Whether it is of the project that is here.
    pub(super) is_here: bool,
    /// The user's name, else Claude Code's title, else how it began; empty until that is known.
    pub(super) title: String,
    pub(super) name: String,
    pub(super) tags: Vec<String>,
    pub(super) is_pinned: bool,
    pub(super) end_ms: Option<i64>,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) state: RowState,
}

/// What became of it in Claude Code's directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum RowState {
    #[default]
    Unknown,
    There,
    Deleted,
    Shrunk,
}

impl Row {
    /// What names it on a command line.
    pub(super) fn named(&self) -> String {
        format!("{}/{}", self.project, self.id)
    }

    /// What of it is searched beside its text, in small letters.
    fn searched(&self) -> String {
        format!("{} {} {}", self.title, self.tags.join(" "), self.label).to_lowercase()
    }
}

/// What the texts are asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(super) query: String,
    /// Whether all projects are meant.
    pub(super) all: bool,
}

/// A message that holds what is typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(super) project: String,
    pub(super) id: String,
    /// What `show --around` takes.
    pub(super) message: String,
    /// The words of it that were meant, in small letters.
    pub(super) words: Vec<String>,
}

/// What the finder was opened for: what Enter does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Everything can be done.
    Anything,
    /// This alone.
    Only(Verb),
}

/// What is to be done with a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Resume,
    Restore,
    Show,
    Export,
}

impl Verb {
    pub(super) fn word(self) -> &'static str {
        match self {
            Verb::Resume => "resume",
            Verb::Restore => "restore",
            Verb::Show => "show",
            Verb::Export => "export",
        }
    }
}

/// Up to where a conversation is to go on, or where it is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Until {
    /// This message.
    Message(String),
    /// Before its last compaction.
    Compaction,
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) verb: Verb,
    /// `PROJECT/ID`.
    pub(crate) session: String,
    /// Up to where, if not to its end; of one that is to be shown, where to begin.
    pub(crate) until: Option<Until>,
}

/// Where keys go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    /// Letters are typed into the query.
    Query,
    /// Letters are commands.
    List,
    /// Name and tags of the selected one are typed.
    Label(Line),
    /// The keys; whether one goes back to typing from there.
    Help { to_query: bool },
}

/// Something that was typed, done, or found out.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    Key(Key),
    Paste(String),
    /// What the texts hold of a query.
    Texts(Asked, Vec<Found>),
    /// Titles of rows that had none, by their row in the index.
    Titles(Vec<(i64, String)>),
    /// What became of rows, by their place.
    States(Vec<RowState>),
    Preview(Want, Vec<String>),
    /// A conversation is called otherwise: its place, name, tags, pin; or why it could not be.
    Labelled(usize, Result<(String, Vec<String>, bool), String>),
    /// For the reader.
    Said(String),
}

/// A key, as far as it means anything here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Ctrl(char),
    Alt(char),
    Enter,
    Esc,
    Tab,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Left,
    Right,
    Backspace,
    Delete,
}

/// What is to be done by whoever holds the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Search all texts.
    Search(Asked),
    /// Read what is shown of the selected one.
    Read(Want),
    /// Put it on the clipboard.
    Copy(String),
    /// Label the one at this place.
    Label(usize, Vec<LabelChange>),
    /// Stop, as a shell's Ctrl-Z.
    Suspend,
    /// End, with what was chosen or without.
    Leave(Option<Chosen>),
}

/// Of which conversation what is shown: around a message, else its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Want {
    pub(super) session: String,
    pub(super) message: Option<String>,
}

/// One that is listed, and where it holds what is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) place: usize,
    pub(super) message: Option<String>,
    /// The words of that message that were meant.
    pub(super) words: Vec<String>,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) purpose: Purpose,
    pub(super) rows: Vec<Row>,
    searched: Vec<String>,
    by_name: HashMap<(String, String), usize>,
    /// Whether those of all projects are listed.
    pub(super) all: bool,
    /// As in "in ~/app"; none where only all can be listed.
    pub(super) here: Option<String>,
    pub(super) only_gone: bool,
    pub(super) query: Line,
    pub(super) mode: Mode,
    /// Whether Enter was pressed before the texts were searched: what comes first then is meant.
    pub(super) is_leaving: bool,
    pub(super) listed: Vec<Shown>,
    pub(super) selected: usize,
    /// Rows of the list that fit on the screen.
    pub(super) page: usize,
    /// What the texts hold, and of which query.
    texts: (Asked, Vec<Found>),
    pub(super) preview: (Want, Vec<String>),
    wanted: Want,
    /// How far the preview is scrolled from where it begins.
    pub(super) scrolled: usize,
    pub(super) said: Option<String>,
}

/// Least characters of a query that is looked for in the texts.
const SEARCHED_CHARS_MIN: usize = 2;

impl Model {
    pub(super) fn new(purpose: Purpose, rows: Vec<Row>, here: Option<String>, said: Option<String>) -> Model {
        let searched = rows.iter().map(Row::searched).collect();
        let name = |(place, row): (usize, &Row)| ((row.project.clone(), row.id.clone()), place);
        let by_name = rows.iter().enumerate().map(name).collect();
        let all = here.is_none() || !rows.iter().any(|row| row.is_here);
        let mut model = Model {
            purpose,
            rows,
            searched,
            by_name,
            all,
            here,
            only_gone: false,
            query: Line::default(),
            mode: Mode::Query,
            is_leaving: false,
            listed: Vec::new(),
            selected: 0,
            page: 10,
            texts: Default::default(),
            preview: Default::default(),
            wanted: Want::default(),
            scrolled: 0,
            said,
        };
        model.list();
        model
    }

    /// The one that is selected.
    pub(super) fn selected(&self) -> Option<(&Shown, &Row)> {
        let shown = self.listed.get(self.selected)?;
        Some((shown, &self.rows[shown.place]))
    }

    /// Whether texts are still being searched for what is typed.
    pub(super) fn is_searching(&self) -> bool {
        self.is_searched() && self.texts.0 != self.asked()
    }

    fn asked(&self) -> Asked {
        Asked { query: self.query.text().trim().to_owned(), all: self.all }
    }

    /// Whether what the selected one holds is still being read.
    pub(super) fn is_reading(&self) -> bool {
        self.preview.0 != self.wanted
    }

    fn is_searched(&self) -> bool {
        self.query.text().trim().chars().count() >= SEARCHED_CHARS_MIN
    }

    /// Lists what is meant by what is typed: titles that hold it, then texts that do, then titles that are like it. The
    /// same one stays selected if `keep`.
    pub(super) fn list_again(&mut self, keep: bool) {
        let kept = self.listed.get(self.selected).map(|shown| shown.place).filter(|_| keep);
        self.list();
        self.selected = kept.and_then(|kept| self.listed.iter().position(|shown| shown.place == kept)).unwrap_or(0);
    }

    fn list(&mut self) {
        let query = self.query.text().trim().to_owned();
        let is_meant = |row: &Row| {
            (self.all || row.is_here) && (!self.only_gone || matches!(row.state, RowState::Deleted | RowState::Shrunk))
        };
        let mut listed: Vec<Shown> = Vec::new();
        let plain = |place: usize| Shown { place, message: None, words: Vec::new() };
        if query.is_empty() {
            let meant = (0..self.rows.len()).filter(|place| is_meant(&self.rows[*place]));
            let (pinned, others): (Vec<usize>, Vec<usize>) = meant.partition(|place| self.rows[*place].is_pinned);
            self.listed = pinned.into_iter().chain(others).map(plain).collect();
            return;
        }
        let wanted = Wanted::of(&query);
        let is_id = |row: &Row| query.len() >= 4 && row.id.starts_with(&query);
        let mut titled: Vec<(Match, usize)> = Vec::new();
        for (place, row) in self.rows.iter().enumerate().filter(|(_, row)| is_meant(row)) {
            let found = if is_id(row) { Some(Match::Whole(0)) } else { wanted.in_title(&self.searched[place]) };
            titled.extend(found.map(|found| (found, place)));
        }
        // What the user called so stands before what begins so.
        let is_called = |place: usize| {
            let name = &self.rows[place].name;
            !name.is_empty() && matches!(wanted.in_title(&name.to_lowercase()), Some(Match::Whole(_)))
        };
        titled.sort_by_key(|(found, place)| (*found, !is_called(*place), *place));
        let is_whole = |found: &&(Match, usize)| matches!(found.0, Match::Whole(_));
        // Those of other projects will do until the answer of these arrives.
        let is_answered = self.texts.0.query == query;
        let messages: HashMap<usize, &Found> = if is_answered { self.found().collect() } else { HashMap::new() };
        let shown = |place: usize| match messages.get(&place) {
            Some(found) => Shown { place, message: Some(found.message.clone()), words: found.words.clone() },
            None => plain(place),
        };
        listed.extend(titled.iter().filter(is_whole).map(|(_, place)| shown(*place)));
        let mut known: HashSet<usize> = listed.iter().map(|shown| shown.place).collect();
        if is_answered {
            let texts = self.found().map(|(place, _)| place).filter(|place| is_meant(&self.rows[*place]));
            let texts: Vec<usize> = texts.filter(|place| known.insert(*place)).collect();
            listed.extend(texts.into_iter().map(shown));
        }
        let alike = titled.iter().filter(|found| !is_whole(found)).map(|(_, place)| *place);
        listed.extend(alike.filter(|place| !known.contains(place)).map(shown));
        self.listed = listed;
    }

    fn found(&self) -> impl Iterator<Item = (usize, &Found)> {
        let place = |found: &Found| self.by_name.get(&(found.project.clone(), found.id.clone())).copied();
        self.texts.1.iter().filter_map(move |found| Some((place(found)?, found)))
    }

    /// Takes in what happened; what is to be done then.
    pub(super) fn update(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Key(key) => {
                self.said = None;
                effects = self.key(key);
            }
            Event::Paste(text) => {
                self.is_leaving = false;
                if let Mode::Label(line) = &mut self.mode {
                    line.insert(&text);
                } else {
                    self.mode = Mode::Query;
                    self.query.insert(&text);
                    effects.extend(self.typed());
                }
            }
            Event::Texts(asked, found) => {
                self.texts = (asked, found);
                self.list_again(self.mode != Mode::Query);
                if self.is_leaving && !self.is_searching() {
                    self.is_leaving = false;
                    effects = self.leave(self.usual());
                }
            }
            Event::Titles(titles) => {
                let titles: HashMap<i64, String> = titles.into_iter().collect();
                for place in 0..self.rows.len() {
                    let row = &mut self.rows[place];
                    if let (true, Some(title)) = (row.title.is_empty(), titles.get(&row.row)) {
                        row.title.clone_from(title);
                        self.searched[place] = row.searched();
                    }
                }
                self.list_again(true);
            }
            Event::States(states) => {
                self.rows.iter_mut().zip(states).for_each(|(row, state)| row.state = state);
                self.list_again(true);
            }
            Event::Preview(want, lines) if want == self.wanted => self.preview = (want, lines),
            Event::Preview(..) => {}
            Event::Labelled(place, Ok((title, tags, is_pinned))) => {
                let row = &mut self.rows[place];
                (row.name, row.tags, row.is_pinned) = (title.clone(), tags, is_pinned);
                if !title.is_empty() {
                    row.title = title;
                }
                self.searched[place] = self.rows[place].searched();
                self.said = Some("Saved in both copies.".to_owned());
                self.list_again(true);
            }
            Event::Labelled(_, Err(why)) | Event::Said(why) => self.said = Some(why),
        }
        effects.extend(self.want());
        effects
    }

    /// What the selected one needs to be read for, where that is not shown or on its way.
    pub(super) fn want(&mut self) -> Option<Effect> {
        let (shown, row) = self.selected()?;
        let want = Want { session: row.named(), message: shown.message.clone() };
        if want == self.wanted {
            return None;
        }
        self.scrolled = 0;
        self.wanted = want.clone();
        Some(Effect::Read(want))
    }

    /// After something was typed: the list at once, the texts when they are searched.
    pub(super) fn typed(&mut self) -> Option<Effect> {
        self.list_again(false);
        self.search()
    }

    /// Asks the texts what is typed now of what is listed now.
    pub(super) fn search(&self) -> Option<Effect> {
        self.is_searched().then(|| Effect::Search(self.asked()))
    }

    /// The command that goes on with the selected one.
    pub(super) fn command(&self) -> Option<String> {
        let (_, row) = self.selected()?;
        Some(typed(LAYER3, &format!("resume {}", shell_quoted(&row.id))))
    }
}
