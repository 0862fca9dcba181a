//! What can go wrong in this crate: what failed, why, and what would help.
//!
//! A command fails with one [`Failure`], made where it fails and in words that fit after "failed to".
//! It is told apart by its kind only where somebody asks for that kind; all else is text.

use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::io;
use std::path::Path;

use layer1_prebackup::archive::ArchiveError;
use layer1_prebackup::config::settings::SettingsError;
use layer1_prebackup::fs::DurableError;
use layer1_prebackup::names::{LAYER3, NameError, typed};
use layer1_prebackup::wire::event::EventError;
use layer1_prebackup::wire::offsite::counted;

/// Longest value of an argument that is told, in characters.
const VALUE_CHARS_MAX: usize = 200;

/// What callers tell failures apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The input is at fault: the same call can never succeed, however often it is made.
    InvalidInput,
    /// The reader went away, which is no failure: `layer3-indexer list | head` is success.
    BrokenPipe,
    /// Something stands already where something new was to be made.
    Exists,
    /// No store holds the bytes that were recorded.
    Damaged,
    /// A client has the session open.
    Live,
    /// The answer said already what is wrong: only the exit code is left.
    Told,
    /// Whatever nobody asks for.
    Other,
}

/// Something was refused or failed. Displayed in one go: what failed, its causes, then the hints.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    /// What failed, and why if this crate knows; fits after "failed to".
    message: String,
    /// Sentences and commands that help, each by itself.
    hints: Vec<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Failure {
    /// A failure that nobody tells from others.
    pub(crate) fn new(message: impl Into<String>) -> Failure {
        Failure { kind: Kind::Other, message: message.into(), hints: Vec::new(), source: None }
    }

    /// An argument is not acceptable.
    pub(crate) fn argument(name: &str, value: &str, why: &str) -> Failure {
        let end = value.char_indices().nth(VALUE_CHARS_MAX).map_or(value.len(), |(end, _)| end);
        let more = if end < value.len() { "…" } else { "" };
        Failure::new(format!("use {name} {:?}{more}: {why}", &value[..end])).of(Kind::InvalidInput)
    }

    /// There is nothing to read from yet.
    pub(crate) fn no_store(store: &Path) -> Failure {
        Failure::new(format!("open the store {}: it does not exist yet", store.display()))
            .hint(format!("`{}` makes it", typed(LAYER3, "import")))
    }

    /// Some of many failed; all others were dealt with. Each was reported.
    pub(crate) fn some(doing: &str, failed: usize, all: usize) -> Failure {
        Failure::new(format!("{doing} {failed} of {}", counted(all as u64, "session")))
    }

    /// The same failure, of this kind.
    pub(crate) fn of(self, kind: Kind) -> Failure {
        Failure { kind, ..self }
    }

    /// The same failure, with one more thing that would help.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hints.push(hint.into());
        self
    }

    /// Whether it is of this kind.
    pub(crate) fn is(&self, kind: Kind) -> bool {
        self.kind == kind
    }

    /// A failure whose cause is told behind the message, unless the message ends with it.
    pub(crate) fn caused(message: String, kind: Kind, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Failure {
        Failure { kind, message, hints: Vec::new(), source: Some(source.into()) }
    }
}

impl Failure {
    /// What failed and why, then a line a hint: for a terminal.
    pub(crate) fn lines(&self) -> Vec<String> {
        let hints = self.hints.iter().map(|hint| format!("hint: {hint}"));
        std::iter::once(format!("failed to {}", self.what_failed())).chain(hints).collect()
    }

    fn what_failed(&self) -> String {
        with_causes(self.message.clone(), self.source.as_ref().map(|source| &**source as _))
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what_failed())?;
        self.hints.iter().try_for_each(|hint| write!(f, "; {hint}"))
    }
}

/// Says what was being done when something failed.
pub(crate) trait Context<T> {
    /// The failure of `doing`, which fits after "failed to", with the error as its cause.
    fn context(self, doing: impl Display) -> Result<T, Failure>;
}

impl<T, E: StdError + Send + Sync + 'static> Context<T> for Result<T, E> {
    fn context(self, doing: impl Display) -> Result<T, Failure> {
        self.map_err(|error| {
            let io = (&error as &dyn StdError).downcast_ref::<io::Error>().map(io::Error::kind);
            let kind = if io == Some(io::ErrorKind::BrokenPipe) { Kind::BrokenPipe } else { Kind::Other };
            Failure::caused(doing.to_string(), kind, error)
        })
    }
}

impl<T> Context<T> for Result<T, Failure> {
    fn context(self, doing: impl Display) -> Result<T, Failure> {
        self.map_err(|failure| Failure { message: format!("{doing}: {}", failure.message), ..failure })
    }
}

impl<T> Context<T> for Option<T> {
    fn context(self, doing: impl Display) -> Result<T, Failure> {
        self.ok_or_else(|| Failure::new(doing.to_string()))
    }
}

/// Errors that say by themselves what failed.
macro_rules! from {
    ($($error:ty => $kind:expr),* $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                let kind: fn(&$error) -> Kind = $kind;
                Failure::caused(error.to_string(), kind(&error), error)
            }
        })*
    };
}
from! {
    ArchiveError => |_| Kind::Other,
    SettingsError => |_| Kind::Other,
    EventError => |_| Kind::InvalidInput,
    NameError => |_| Kind::InvalidInput,
    DurableError => |error| match error.source.kind() {
        io::ErrorKind::AlreadyExists => Kind::Exists,
        _ => Kind::Other,
    },
}

/// The error and its causes in one line, outermost first.
pub(crate) fn chain(error: &dyn StdError) -> String {
    with_causes(error.to_string(), error.source())
}

fn with_causes(mut text: String, mut cause: Option<&dyn StdError>) -> String {
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // Transparent variants say the same as what they hold.
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_its_causes_then_what_helps() {
        let refused: io::Result<()> = Err(io::Error::other("no such thing"));
        let failure = refused.context(format_args!("open {}", "x")).unwrap_err().hint("make it").hint("or leave it");
        assert_eq!(failure.to_string(), "open x: no such thing; make it; or leave it");
        let broken: io::Result<()> = Err(io::ErrorKind::BrokenPipe.into());
        assert!(broken.context("write to stdout").unwrap_err().is(Kind::BrokenPipe));
    }

    #[test]
    fn a_transparent_error_is_told_once() {
        let name = layer1_prebackup::names::SessionId::parse("../x").unwrap_err();
        let text = name.to_string();
        let failure = Failure::from(name);
        assert_eq!(failure.to_string(), text);
        assert!(failure.is(Kind::InvalidInput));
    }
}
