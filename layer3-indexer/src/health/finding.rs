//! What a look can find: each kind with its word, the check that it belongs to, whether it needs a
//! person, and the command that fixes it.

use std::path::{Path, PathBuf};

use layer1_prebackup::status::Kind as Shared;
use serde::Serialize;

use super::context::{Commands, Context};
use crate::terminal::shell_quoted;

/// What is looked at, in the order in which `doctor` reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "&'static str")]
pub(crate) enum Subject {
    Programs,
    Hooks,
    McpServer,
    FirstCopy,
    SecondCopy,
    Index,
    Outbox,
    Transcripts,
    Timer,
    Offsite,
    RoundTrip,
}

impl Subject {
    /// A stable word or two.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Subject::Programs => "programs",
            Subject::Hooks => "hooks",
            Subject::McpServer => "mcp server",
            Subject::FirstCopy => "first copy",
            Subject::SecondCopy => "second copy",
            Subject::Index => "index",
            Subject::Outbox => "outbox",
            Subject::Transcripts => "transcripts",
            Subject::Timer => "timer",
            Subject::Offsite => "off-site",
            Subject::RoundTrip => "round trip",
        }
    }
}

impl From<Subject> for &'static str {
    fn from(subject: Subject) -> &'static str {
        subject.name()
    }
}

/// Makes the enum of kinds from rows: name, word, check, whether it needs a person. Of the two
/// stores' checks the one is meant whose store the finding is in.
macro_rules! kinds {
    ($($kind:ident $word:expr, $subject:ident, $needs_person:literal;)*) => {
        /// A kind of finding. `status --help` and `doctor --help` explain each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        #[serde(into = "&'static str")]
        pub(crate) enum Kind { $($kind),* }

        impl Kind {
            #[cfg(test)]
            const ALL: &[Kind] = &[$(Kind::$kind),*];

            /// Its stable word.
            pub(crate) fn word(self) -> &'static str {
                match self { $(Kind::$kind => $word),* }
            }

            fn subject(self) -> Subject {
                match self { $(Kind::$kind => Subject::$subject),* }
            }

            /// Whether it stays wrong until a person does something, unless its check says otherwise.
            fn needs_person(self) -> bool {
                match self { $(Kind::$kind => $needs_person),* }
            }
        }
    };
}

kinds! {
    ProgramMissing "program-missing", Programs, true;
    ProgramNotExecutable "program-not-executable", Programs, true;
    ProgramBroken "program-broken", Programs, true;
    ProgramVersion "program-version", Programs, true;
    HooksMissing "hooks-missing", Hooks, true;
    HooksIncomplete "hooks-incomplete", Hooks, true;
    HooksDisabled "hooks-disabled", Hooks, true;
    HooksManagedOnly "hooks-managed-only", Hooks, true;
    HookProgramMissing "hook-program-missing", Hooks, true;
    HookChanged "hook-changed", Hooks, true;
    HookRestricted "hook-restricted", Hooks, true;
    HookTimeout "hook-timeout", Hooks, true;
    HookTwice "hook-twice", Hooks, true;
    HookPlaces "hook-places", Hooks, true;
    HooksSilent "hooks-silent", Hooks, true;
    PluginGone "plugin-gone", Hooks, true;
    FirstVersionHooks "first-version-hooks", Hooks, true;
    SettingsUnreadable "settings-unreadable", Hooks, true;
    HookSettings "hook-settings", Hooks, true;
    McpMissing "mcp-missing", McpServer, true;
    McpForeign "mcp-foreign", McpServer, true;
    McpStale "mcp-stale", McpServer, true;
    McpPlaces "mcp-places", McpServer, true;
    McpUnreadable "mcp-unreadable", McpServer, true;
    McpSilent "mcp-silent", McpServer, true;
    McpTools "mcp-tools", McpServer, true;
    DamagedCopy "damaged-copy", FirstCopy, true;
    StoreUnreadable "store-unreadable", FirstCopy, true;
    StoreAway "store-away", FirstCopy, true;
    StoreMissing "store-missing", FirstCopy, true;
    StoreUnwritable "store-unwritable", FirstCopy, true;
    StoreOpen "store-open", FirstCopy, true;
    NotOurs "not-ours", FirstCopy, true;
    SetAside "set-aside", FirstCopy, false;
    ConflictCopies "conflict-copies", FirstCopy, false;
    DiskLow "disk-low", FirstCopy, true;
    FileSystem "file-system", FirstCopy, false;
    ForgetUnfinished "forget-unfinished", FirstCopy, true;
    Index "index", Index, false;
    IndexSetAside "index-set-aside", Index, false;
    Fts5Missing "fts5-missing", Index, true;
    FailedJob "failed-job", Outbox, true;
    StuckJob "stuck-job", Outbox, true;
    UnreadableJob "unreadable-job", Outbox, true;
    Pending "pending", Outbox, false;
    OneCopy "one-copy", Outbox, true;
    MassDisappearance "mass-disappearance", Transcripts, true;
    SourcesUnreadable "sources-unreadable", Transcripts, true;
    NotSaved Shared::NotSaved.word(), Transcripts, true;
    PassedOver Shared::PassedOver.word(), Transcripts, true;
    ExpiringUnsaved "expiring-unsaved", Transcripts, true;
    NoTranscript Shared::NoTranscript.word(), Transcripts, true;
    Excluded Shared::Excluded.word(), Transcripts, false;
    Vanished Shared::Vanished.word(), Transcripts, false;
    MemoryShrunk "memory-shrunk", Transcripts, false;
    Shrunk "shrunk", Transcripts, true;
    Rewritten "rewritten", Transcripts, true;
    Split "split", Transcripts, true;
    TimerSilent "timer-silent", Timer, true;
    EngineMissing "engine-missing", Offsite, true;
    EngineOld "engine-old", Offsite, true;
    OffsiteUnreachable "offsite-unreachable", Offsite, true;
    NotMounted "not-mounted", Offsite, true;
    WrongKey "wrong-key", Offsite, true;
    KeyMissing "key-missing", Offsite, true;
    AnotherRepository "another-repository", Offsite, true;
    AnotherWriter "another-writer", Offsite, true;
    OffsiteFull "offsite-full", Offsite, true;
    Locked "locked", Offsite, true;
    NotCovered "not-covered", Offsite, true;
    OffsiteFailed "offsite-failed", Offsite, true;
    DrillFailed "drill-failed", Offsite, true;
    CheckFailed "check-failed", Offsite, true;
    DrillOld "drill-old", Offsite, true;
    OffsiteBehind "offsite-behind", Offsite, true;
    OffsiteState "offsite-state", Offsite, true;
    RotationBegun "rotation-begun", Offsite, true;
    SnapshotsBroken "snapshots-broken", Offsite, false;
    KeyUnconfirmed "key-unconfirmed", Offsite, false;
    ManySnapshots "many-snapshots", Offsite, false;
    OffsiteOff "offsite-off", Offsite, false;
    OffsiteOneDisk "offsite-one-disk", Offsite, false;
    RepositoryReplaced "repository-replaced", Offsite, false;
    RoundTripFailed "round-trip-failed", RoundTrip, true;
    RoundTripCopy "round-trip-copy", RoundTrip, true;
    RoundTripReceipt "round-trip-receipt", RoundTrip, true;
    RoundTripSearch "round-trip-search", RoundTrip, true;
}

impl From<Kind> for &'static str {
    fn from(kind: Kind) -> &'static str {
        kind.word()
    }
}

/// What `doctor --fix` does, in the order in which it does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Remedy {
    MakeExecutable,
    MakeStore,
    KeepPrivate,
    Deliver,
    RebuildIndex,
}

impl Kind {
    /// Whether messages of a conversation are not where Claude Code reads them: that comes before everything else.
    pub(crate) fn is_loss(self) -> bool {
        matches!(self, Kind::Shrunk | Kind::Rewritten | Kind::Split)
    }

    /// The command that cures it, where kind and place alone say it.
    fn cure(self, subject: Subject, place: &Path, context: &Context) -> Option<String> {
        use Kind::*;
        let Commands { layer2, layer3, first_copy, .. } = &context.commands;
        let keeper = if subject == Subject::SecondCopy { layer3 } else { first_copy };
        let quoted = || shell_quoted(&place.to_string_lossy());
        Some(match self {
            HooksMissing | HooksIncomplete | HookChanged | HookRestricted | HookTimeout | HookTwice | HookPlaces
            | Fts5Missing | RoundTripFailed | RoundTripCopy | RoundTripReceipt | RoundTripSearch => {
                context.install_line()
            }
            ProgramMissing | ProgramBroken | ProgramVersion | HookProgramMissing => context.install_line_of(place),
            ProgramNotExecutable => format!("chmod +x {}", quoted()),
            DamagedCopy => format!("{keeper} verify --repair"),
            StoreUnreadable => format!("{keeper} verify"),
            NotOurs => format!("{layer3} verify --repair"),
            StoreOpen => format!("chmod 700 {}", quoted()),
            DiskLow => format!("df -h {}", quoted()),
            FailedJob => format!("{layer2} drain --foreground --retry-failed"),
            StuckJob | Pending | OneCopy => format!("{layer2} drain --foreground"),
            UnreadableJob => {
                let name = place.file_name().unwrap_or_default();
                format!("{layer2} dismiss {}", shell_quoted(&name.to_string_lossy()))
            }
            MassDisappearance => format!("{layer3} restore --all-missing"),
            // Their checks know more, or nothing has to be done.
            HooksDisabled | HooksSilent | PluginGone | HooksManagedOnly | FirstVersionHooks | SettingsUnreadable
            | McpUnreadable | McpMissing | McpForeign | McpStale | McpPlaces | McpSilent | McpTools | StoreAway
            | StoreMissing | StoreUnwritable | SetAside | ConflictCopies | FileSystem | HookSettings | Index
            | IndexSetAside | SourcesUnreadable | NotSaved | PassedOver | ExpiringUnsaved | NoTranscript | Excluded
            | Vanished | ForgetUnfinished | MemoryShrunk | Shrunk | Rewritten | Split | TimerSilent | EngineMissing
            | EngineOld | OffsiteUnreachable | NotMounted | WrongKey | KeyMissing | AnotherRepository
            | AnotherWriter | OffsiteFull | Locked | NotCovered | OffsiteFailed | DrillFailed | CheckFailed
            | DrillOld | OffsiteBehind | OffsiteState | SnapshotsBroken | KeyUnconfirmed | ManySnapshots
            | OffsiteOff | OffsiteOneDisk | RepositoryReplaced | RotationBegun => return None,
        })
    }

    /// What `doctor --fix` does about it: nothing that could do harm.
    pub(crate) fn remedy(self) -> Option<Remedy> {
        match self {
            Kind::ProgramNotExecutable => Some(Remedy::MakeExecutable),
            Kind::StoreMissing => Some(Remedy::MakeStore),
            Kind::StoreOpen => Some(Remedy::KeepPrivate),
            Kind::Pending | Kind::FailedJob | Kind::StuckJob | Kind::OneCopy => Some(Remedy::Deliver),
            Kind::Index => Some(Remedy::RebuildIndex),
            _ => None,
        }
    }
}

/// Something a person may want to know, or has to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What kind.
    pub(crate) kind: Kind,
    /// The check that it belongs to.
    #[serde(skip)]
    pub(crate) subject: Subject,
    /// Whether it stays wrong until a person does something: then the exit code is 1.
    pub(crate) needs_person: bool,
    /// What it is, in one line.
    pub(crate) what: String,
    /// The file or directory.
    #[serde(rename = "where")]
    pub(crate) place: PathBuf,
    /// The command that cures it, ready to paste; `None` where nothing has to be done.
    pub(crate) mend: Option<String>,
    /// The session, where it is about one.
    pub(crate) session_id: Option<String>,
    /// Its project.
    pub(crate) project: Option<String>,
}

impl Finding {
    /// A finding of this kind, with what the kind knows.
    pub(crate) fn new(context: &Context, kind: Kind, what: impl Into<String>, place: &Path) -> Finding {
        let subject = match kind.subject() {
            Subject::FirstCopy => store_of(context, place),
            other => other,
        };
        Finding {
            kind,
            subject,
            needs_person: kind.needs_person(),
            what: what.into(),
            place: place.to_owned(),
            mend: kind.cure(subject, place, context),
            session_id: None,
            project: None,
        }
    }

    /// The same with another cure.
    pub(crate) fn mend(self, command: impl Into<String>) -> Finding {
        Finding { mend: Some(command.into()), ..self }
    }

    /// The same, where its check knows better whether it needs a person.
    pub(crate) fn needing_person(self, needs_person: bool) -> Finding {
        Finding { needs_person, ..self }
    }

    /// The same about a session.
    pub(crate) fn of(self, session_id: impl ToString, project: Option<&str>) -> Finding {
        Finding { session_id: Some(session_id.to_string()), project: project.map(str::to_owned), ..self }
    }
}

/// Whose store a place lies in; where one store lies in the other, the inner one.
fn store_of(context: &Context, place: &Path) -> Subject {
    let (first, second) = (&context.places.layer1_store, &context.places.layer3_store);
    let is_in_second = place.starts_with(second) && !(first.starts_with(second) && place.starts_with(first));
    if is_in_second { Subject::SecondCopy } else { Subject::FirstCopy }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::report;

    #[test]
    fn each_kind_has_a_word_of_its_own_that_the_help_explains() {
        for (nth, kind) in Kind::ALL.iter().enumerate() {
            let word = kind.word();
            assert!(Kind::ALL[..nth].iter().all(|other| other.word() != word), "{word}");
            // Of excluded transcripts nothing is wrong.
            let help = format!("{} {}", report::status_help(), report::doctor_help());
            let mut words = help.split(|c: char| !c.is_alphanumeric() && c != '-');
            assert!(*kind == Kind::Excluded || words.any(|explained| explained == word), "{word}");
        }
    }
}
