//! What the checks have found out so far; each uses what those before it left here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use layer1_prebackup::archive::{Archive, QuickCheck, SessionKey};
use layer1_prebackup::names::SessionId;

use super::context::Context;
use super::figures::Figures;
use super::finding::{Finding, Kind, Subject};

/// The work of one `status` or `doctor`.
#[derive(Debug)]
pub(crate) struct Examination<'a> {
    pub(crate) context: &'a Context,
    pub(crate) figures: Figures,
    /// Layer 1's store.
    pub(crate) first: FoundStore,
    /// Layer 3's store.
    pub(crate) second: FoundStore,
    pub(crate) hooks: InstalledHooks,
    pub(crate) findings: Vec<Finding>,
    /// How each thing is that `doctor` looked at, in one line.
    pub(crate) summaries: Vec<(Subject, String)>,
    /// Of what there was nothing to look at.
    pub(crate) unchecked: Vec<Subject>,
}

/// A store as it was found.
#[derive(Debug, Default)]
pub(crate) struct FoundStore {
    /// `None` where there is none, or it cannot be read.
    pub(crate) archive: Option<Archive>,
    /// Its sessions.
    pub(crate) sessions: Vec<(SessionKey, QuickCheck)>,
    /// The ids of these.
    pub(crate) ids: BTreeSet<SessionId>,
}

/// What the other checks have to know of the hooks.
#[derive(Debug, Default)]
pub(crate) struct InstalledHooks {
    /// The programs that they name.
    pub(crate) programs: Vec<PathBuf>,
    /// The folder of the programs that `SessionEnd` runs, where it runs them as install writes it.
    pub(crate) chain: Option<PathBuf>,
}

impl InstalledHooks {
    /// The folder of the installed programs: of those that the hooks name, or where install puts them.
    pub(crate) fn folder(&self, context: &Context) -> PathBuf {
        let named = self.programs.first().and_then(|path| path.parent());
        named.map_or_else(|| context.places.claude_dir.join("hooks"), Path::to_owned)
    }
}

impl<'a> Examination<'a> {
    pub(crate) fn new(context: &'a Context) -> Examination<'a> {
        let (first, second) = (FoundStore::default(), FoundStore::default());
        let (findings, summaries) = (Vec::new(), Vec::new());
        Examination {
            context,
            figures: Figures::default(),
            first,
            second,
            hooks: InstalledHooks::default(),
            findings,
            summaries,
            unchecked: Vec::new(),
        }
    }

    /// Adds what a kind says by itself.
    pub(crate) fn found(&mut self, kind: Kind, what: impl Into<String>, place: &Path) {
        self.findings.push(Finding::new(self.context, kind, what, place));
    }

    /// Says why there was nothing to look at: then it is neither well nor wrong.
    pub(crate) fn leave_unchecked(&mut self, subject: Subject, summary: String) {
        self.unchecked.push(subject);
        self.summarise(subject, summary);
    }

    /// Says how a thing is.
    pub(crate) fn summarise(&mut self, subject: Subject, summary: String) {
        self.summaries.push((subject, summary));
    }
}
