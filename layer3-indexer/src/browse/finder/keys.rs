//! What each key does.

use layer1_prebackup::archive::LabelChange;

use super::line::Line;
use super::model::{Chosen, Effect, Key, Mode, Model, Purpose, RowState, Until, Verb};
use crate::save::labels::{checked_name, checked_tag};

impl Model {
    pub(super) fn key(&mut self, key: Key) -> Vec<Effect> {
        self.is_leaving &= key == Key::Enter;
        match (&self.mode, key) {
            (_, Key::Ctrl('c')) => vec![Effect::Leave(None)],
            (_, Key::Ctrl('z')) => vec![Effect::Suspend],
            (Mode::Help { to_query }, _) => {
                self.mode = if *to_query { Mode::Query } else { Mode::List };
                Vec::new()
            }
            (Mode::Label(_), _) => self.key_of_label(key),
            _ => self.key_of_list(key),
        }
    }

    fn key_of_list(&mut self, key: Key) -> Vec<Effect> {
        let is_query = self.mode == Mode::Query;
        let is_early = is_query && self.is_searching() && !self.is_leaving;
        let line = &mut self.query;
        match key {
            Key::Up => self.go(-1),
            Key::Down => self.go(1),
            Key::PageUp => self.go(-(self.page as isize)),
            Key::PageDown => self.go(self.page as isize),
            Key::Tab => {
                if self.here.is_some() {
                    self.all = !self.all;
                    self.list_again(true);
                    return self.search().into_iter().collect();
                }
            }
            Key::Enter if is_early => {
                self.is_leaving = true;
                self.said = Some("Still searching; Enter again takes what is shown.".to_owned());
            }
            Key::Enter => return self.leave(self.usual()),
            Key::Esc if is_query && !self.listed.is_empty() => self.mode = Mode::List,
            Key::Esc => return vec![Effect::Leave(None)],
            Key::Ctrl('d') => self.scrolled += self.page.max(2) / 2,
            Key::Ctrl('u') if !is_query => self.scrolled = self.scrolled.saturating_sub(self.page.max(2) / 2),
            Key::Alt(c) => return self.command_of(c),
            Key::Char(c) if !is_query => return self.command_of(c),
            Key::Home if !is_query => self.go(isize::MIN / 2),
            Key::End if !is_query => self.go(isize::MAX / 2),
            Key::Left => {
                line.left();
                self.mode = Mode::Query;
            }
            Key::Right => {
                line.right();
                self.mode = Mode::Query;
            }
            Key::Home | Key::Ctrl('a') => line.home(),
            Key::End | Key::Ctrl('e') => line.end(),
            // No conversation is searched for by it.
            Key::Char('?') if line.text().is_empty() => self.mode = Mode::Help { to_query: true },
            Key::Char(c) => {
                line.insert(c.encode_utf8(&mut [0; 4]));
                return self.typed().into_iter().collect();
            }
            Key::Backspace | Key::Delete | Key::Ctrl('w' | 'u') => {
                self.mode = Mode::Query;
                edit(&mut self.query, key);
                return self.typed().into_iter().collect();
            }
            Key::Ctrl(_) => {}
        }
        Vec::new()
    }

    /// What Enter does.
    pub(super) fn usual(&self) -> Verb {
        match self.purpose {
            Purpose::Anything => Verb::Resume,
            Purpose::Only(verb) => verb,
        }
    }

    fn command_of(&mut self, c: char) -> Vec<Effect> {
        let is_free = self.purpose == Purpose::Anything;
        let place = self.listed.get(self.selected).map(|shown| shown.place);
        match c {
            '/' | 'i' => self.mode = Mode::Query,
            '?' | 'h' => self.mode = Mode::Help { to_query: false },
            'q' => return vec![Effect::Leave(None)],
            'j' => self.go(1),
            'k' => self.go(-1),
            'g' => {
                self.only_gone = !self.only_gone;
                self.list_again(true);
                if self.only_gone && self.rows.iter().any(|row| row.state == RowState::Unknown) {
                    self.said = Some("Still looking which conversations Claude Code has…".to_owned());
                }
            }
            'a' if is_free => match self.selected().and_then(|(shown, _)| shown.message.clone()) {
                Some(message) => return self.leave_at(Verb::Resume, Some(Until::Message(message))),
                None => {
                    self.said = Some("Search for a message first: a goes on from the one that is found.".to_owned())
                }
            },
            'b' if is_free => return self.leave_at(Verb::Resume, Some(Until::Compaction)),
            'r' if is_free => return self.leave(Verb::Restore),
            'e' if is_free => return self.leave(Verb::Export),
            's' if is_free => return self.leave(Verb::Show),
            'y' => {
                if let Some(command) = self.command() {
                    self.said = Some(format!("Copied: {command}"));
                    return vec![Effect::Copy(command)];
                }
            }
            't' => {
                if let Some((_, row)) = self.selected() {
                    let tags = row.tags.iter().map(|tag| format!("#{tag}"));
                    let name = Some(row.name.clone()).filter(|name| !name.is_empty());
                    let parts: Vec<String> = name.into_iter().chain(tags).collect();
                    self.mode = Mode::Label(Line::of(&parts.join(" ")));
                }
            }
            'p' => {
                if let Some(place) = place {
                    return vec![Effect::Label(place, vec![LabelChange::Pinned(!self.rows[place].is_pinned)])];
                }
            }
            _ => self.said = Some("? shows the keys".to_owned()),
        }
        Vec::new()
    }

    fn key_of_label(&mut self, key: Key) -> Vec<Effect> {
        let Mode::Label(line) = &mut self.mode else { return Vec::new() };
        match key {
            Key::Esc => self.mode = Mode::List,
            Key::Enter => {
                let text = line.text().to_owned();
                let Some(shown) = self.listed.get(self.selected) else { return Vec::new() };
                match changes(&text, &self.rows[shown.place].tags) {
                    Ok(changes) => {
                        let place = shown.place;
                        self.mode = Mode::List;
                        return vec![Effect::Label(place, changes)];
                    }
                    Err(why) => self.said = Some(why),
                }
            }
            Key::Char(c) => line.insert(c.encode_utf8(&mut [0; 4])),
            key => edit(line, key),
        }
        Vec::new()
    }

    fn go(&mut self, by: isize) {
        let last = self.listed.len().saturating_sub(1);
        self.selected = self.selected.saturating_add_signed(by).min(last);
        if !self.listed.is_empty() {
            self.mode = Mode::List;
        }
    }

    pub(super) fn leave(&self, verb: Verb) -> Vec<Effect> {
        // What is read, is read from where it was found.
        let found = self.selected().and_then(|(shown, _)| shown.message.clone());
        self.leave_at(verb, found.filter(|_| verb == Verb::Show).map(Until::Message))
    }

    fn leave_at(&self, verb: Verb, until: Option<Until>) -> Vec<Effect> {
        let chosen = self.selected().map(|(_, row)| Chosen { verb, session: row.named(), until });
        chosen.map_or_else(Vec::new, |chosen| vec![Effect::Leave(Some(chosen))])
    }
}

fn edit(line: &mut Line, key: Key) {
    match key {
        Key::Backspace => line.backspace(),
        Key::Delete => line.delete(),
        Key::Left => line.left(),
        Key::Right => line.right(),
        Key::Home | Key::Ctrl('a') => line.home(),
        Key::End | Key::Ctrl('e') => line.end(),
        Key::Ctrl('w') => line.backspace_word(),
        Key::Ctrl('u') => line.clear(),
        _ => {}
    }
}

/// What is to be changed where name and tags are these: words that begin with # are tags.
fn changes(text: &str, tags: &[String]) -> Result<Vec<LabelChange>, String> {
    let (tagged, named): (Vec<&str>, Vec<&str>) = text.split_whitespace().partition(|word| word.starts_with('#'));
    let name = named.join(" ");
    let told = |failure: crate::failure::Failure| failure.to_string();
    let name = if name.is_empty() { None } else { Some(checked_name(&name).map_err(told)?) };
    let wanted = tagged.iter().map(|tag| checked_tag(tag).map_err(told)).collect::<Result<Vec<_>, _>>()?;
    let gone = tags.iter().filter(|tag| !wanted.contains(tag)).map(|tag| LabelChange::Tag(tag.clone(), false));
    let given = wanted.iter().map(|tag| LabelChange::Tag(tag.clone(), true));
    Ok([LabelChange::Name(name)].into_iter().chain(gone).chain(given).collect())
}
