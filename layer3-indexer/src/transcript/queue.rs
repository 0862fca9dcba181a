//! Prompts that wait in the queue. What a person types while the model works is recorded at once, and again when it
//! is sent. It is shown once: as what was sent, or, where it never was, as what was typed.

use super::record::{Class, Record};

/// What was queued and was not sent yet, each with what names it.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    waiting: Vec<(String, T)>,
}

impl<T: Copy> Queue<T> {
    /// Nothing waits.
    pub(crate) fn new() -> Queue<T> {
        Queue { waiting: Vec::new() }
    }

    /// `said` waits from now on.
    pub(crate) fn add(&mut self, said: String, name: T) {
        self.waiting.push((said, name));
    }

    /// What no longer waits because `said` was sent: several of them are sent as one.
    pub(crate) fn sent(&mut self, said: &str) -> Vec<T> {
        let mut sent = Vec::new();
        self.waiting.retain(|(queued, name)| {
            let is_sent = is_part(said, queued);
            if is_sent {
                sent.push(*name);
            }
            !is_sent
        });
        sent
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What waits.
    pub(crate) fn names(&self) -> impl Iterator<Item = T> {
        self.waiting.iter().map(|(_, name)| *name)
    }
}

/// Whether a record may be what was queued, when it is sent.
pub(crate) fn may_be_sent(record: &Record<'_>) -> bool {
    !record.is_queued
        && record.reported_of.is_none()
        && matches!(record.class, Class::Prompt | Class::Command | Class::Agent)
}

/// Whether whole lines of it are the other.
fn is_part(text: &str, part: &str) -> bool {
    let mut found = text.match_indices(part);
    found.any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + part.len()..]);
        (before.is_empty() || before.ends_with('\n')) && (after.is_empty() || after.starts_with('\n'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_waits_no_longer() {
        let check = |queued: &[&str], sent: &str, gone: &[usize]| {
            let mut queue = Queue::new();
            queued.iter().enumerate().for_each(|(n, said)| queue.add((*said).to_owned(), n));
            assert_eq!(queue.sent(sent), gone, "{queued:?} {sent}");
            assert_eq!(queue.names().count(), queued.len() - gone.len());
        };
        check(&["a b", "c"], "a b", &[0]);
        check(&["a b", "c\nd", "e"], "a b\nc\nd", &[0, 1]);
        check(&["a"], "b\na b\nba", &[]);
        check(&["a"], "a b\na", &[0]);
        check(&["a", "a"], "a", &[0, 1]);
        check(&["a"], "", &[]);
    }
}
