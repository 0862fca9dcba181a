//! Which titles a query means, typing errors forgiven.

/// How well a title matches; a lesser one is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Match {
    /// It holds every word as typed; so many of them not at the beginning of a word.
    Whole(u16),
    /// It holds something like every word: so many typing errors.
    Alike(u16),
}

/// Least characters of a word in which an error is forgiven; as many again for each further one.
const CHARS_PER_ERROR: usize = 4;
/// Most errors that are forgiven in a word.
const ERRORS_MAX: usize = 2;

/// A query, made ready to be compared with many titles.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    words: Vec<Word>,
}

#[derive(Debug, Clone)]
struct Word {
    text: String,
    chars: usize,
    errors_max: usize,
    mask: u64,
}

impl Wanted {
    pub(super) fn of(query: &str) -> Wanted {
        let word = |text: &str| {
            let chars = text.chars().count();
            let errors_max = (chars / CHARS_PER_ERROR).min(ERRORS_MAX);
            Word { text: text.to_owned(), chars, errors_max, mask: mask(text) }
        };
        Wanted { words: query.to_lowercase().split_whitespace().map(|text| word(text.trim_matches('"'))).collect() }
    }

    /// Whether a title, in small letters, is meant.
    pub(super) fn in_title(&self, title: &str) -> Option<Match> {
        let (mut inside, mut errors) = (0, 0);
        for word in &self.words {
            match title.find(&word.text) {
                Some(at) => inside += u16::from(title[..at].ends_with(char::is_alphanumeric)),
                None => errors += word.errors_in(title)?,
            }
        }
        Some(if errors == 0 { Match::Whole(inside) } else { Match::Alike(errors) })
    }
}

impl Word {
    /// The least errors with which a word of the title is this one, or begins so.
    fn errors_in(&self, title: &str) -> Option<u16> {
        if self.errors_max == 0 {
            return None;
        }
        let words = title.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        words.filter_map(|word| self.errors_of(word)).min()
    }

    fn errors_of(&self, word: &str) -> Option<u16> {
        // Each error brings or takes one character: most words need no closer look.
        let missing = (self.mask & !mask(word)).count_ones() as usize;
        if missing > self.errors_max {
            return None;
        }
        let chars = word.chars().count();
        if chars + self.errors_max < self.chars {
            return None;
        }
        // What is typed may be the beginning of a longer word.
        let begins = |length: usize| word.char_indices().nth(length).map_or(word, |(at, _)| &word[..at]);
        let lengths = self.chars.saturating_sub(self.errors_max)..=(self.chars + self.errors_max).min(chars);
        let errors = lengths.map(|length| strsim::osa_distance(&self.text, begins(length))).min()?;
        (1..=self.errors_max).contains(&errors).then_some(errors as u16)
    }
}

/// Which characters stand in a text, as far as 64 bits tell them apart.
fn mask(text: &str) -> u64 {
    text.chars().fold(0, |mask, c| mask | 1 << (u32::from(c) % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_wrongly_finds_what_was_meant() {
        for (query, title, expected) in [
            ("backoff", "retry with backoff", Some(Match::Whole(0))),
            ("off", "retry with backoff", Some(Match::Whole(1))),
            ("back retry", "retry with backoff", Some(Match::Whole(0))),
            // Left out, exchanged, doubled, another one, and all that while it is still being typed.
            ("bakoff", "retry with backoff", Some(Match::Alike(1))),
            ("bakcoff", "retry with backoff", Some(Match::Alike(1))),
            ("backkoff", "retry with backoff", Some(Match::Alike(1))),
            ("bqckoff", "retry with backoff", Some(Match::Alike(1))),
            ("bakof", "retry with backoff", Some(Match::Alike(1))),
            ("bakcof retyr", "retry with backoff", Some(Match::Alike(2))),
            ("bcakfof", "retry with backoff", None),
            ("bcakofff", "retry with backoff", Some(Match::Alike(2))),
            ("bak", "retry with backoff", None),
            ("zebra", "retry with backoff", None),
            ("backoff zebra", "retry with backoff", None),
            ("日本", "新しい日本語の題", Some(Match::Whole(1))),
            ("AUTH", "auth bug", Some(Match::Whole(0))),
            ("", "anything", Some(Match::Whole(0))),
        ] {
            assert_eq!(Wanted::of(query).in_title(title), expected, "{query:?} in {title:?}");
        }
    }
}
