//! A line that is being typed.

/// The text and where the cursor stands in it, in characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line {
    text: String,
    cursor: usize,
}

/// Longest line, in characters.
const CHARS_MAX: usize = 500;

impl Line {
    pub(super) fn of(text: &str) -> Line {
        let text: String = text.chars().take(CHARS_MAX).collect();
        Line { cursor: text.chars().count(), text }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What stands before the cursor.
    pub(super) fn before(&self) -> &str {
        &self.text[..self.at(self.cursor)]
    }

    /// Types characters; those that no text should hold are left out.
    pub(super) fn insert(&mut self, typed: &str) {
        for c in typed.chars() {
            let c = if c.is_whitespace() { ' ' } else { c };
            if !c.is_control() && self.text.chars().count() < CHARS_MAX {
                self.text.insert(self.at(self.cursor), c);
                self.cursor += 1;
            }
        }
    }

    pub(super) fn backspace(&mut self) {
        if self.cursor > 0 {
            self.cursor -= 1;
            self.text.remove(self.at(self.cursor));
        }
    }

    pub(super) fn delete(&mut self) {
        if self.at(self.cursor) < self.text.len() {
            self.text.remove(self.at(self.cursor));
        }
    }

    /// Removes the word before the cursor.
    pub(super) fn backspace_word(&mut self) {
        let before = self.before().trim_end();
        let from = before.rfind(' ').map_or(0, |at| at + 1);
        let chars = self.text[..from].chars().count();
        self.text.replace_range(from..self.at(self.cursor), "");
        self.cursor = chars;
    }

    pub(super) fn clear(&mut self) {
        *self = Line::default();
    }

    pub(super) fn left(&mut self) {
        self.cursor = self.cursor.saturating_sub(1);
    }

    pub(super) fn right(&mut self) {
        self.cursor = (self.cursor + 1).min(self.text.chars().count());
    }

    pub(super) fn home(&mut self) {
        self.cursor = 0;
    }

    pub(super) fn end(&mut self) {
        self.cursor = self.text.chars().count();
    }

    fn at(&self, chars: usize) -> usize {
        self.text.char_indices().nth(chars).map_or(self.text.len(), |(at, _)| at)
    }
}
