//! What was found out by its cause: one thing to see, and one thing to do, for however many conversations.

use std::collections::BTreeSet;

use super::finding::{Finding, Kind};
use super::report::Report;
use crate::terminal::count;

/// Findings that have one cause.
pub(super) struct Cause<'a> {
    pub(super) kind: Kind,
    pub(super) needs_person: bool,
    /// Of its kind.
    pub(super) findings: Vec<&'a Finding>,
    /// What comes of it and goes with it: nothing has to be done about that.
    pub(super) consequences: Vec<Cause<'a>>,
}

impl<'a> Cause<'a> {
    /// What it is about, each once: of two findings the one that is more urgent.
    pub(super) fn about(&self) -> Vec<&'a Finding> {
        let mut seen = BTreeSet::new();
        let (urgent, others): (Vec<&Finding>, Vec<&Finding>) =
            self.findings.iter().copied().partition(|found| found.kind != self.kind);
        let all = urgent.into_iter().chain(others);
        all.filter(|found| seen.insert((&found.session_id, &found.place))).collect()
    }

    /// How many conversations or files it is about.
    pub(super) fn things(&self) -> u64 {
        self.about().len() as u64
    }

    /// What it is, in one sentence without its full stop.
    pub(super) fn heading(&self) -> String {
        let is_young = !self.needs_person;
        heading(self.kind, self.things(), is_young)
    }

    /// The command that cures it, where one does for all of it.
    pub(super) fn mend(&self) -> Option<&'a str> {
        let first = self.findings.first()?.mend.as_deref();
        first.filter(|mend| self.findings.iter().all(|found| found.mend.as_deref() == Some(mend)))
    }
}

/// The causes in the order of their findings: what needs a person first.
pub(super) fn causes(report: &Report) -> Vec<Cause<'_>> {
    let mut causes: Vec<Cause<'_>> = Vec::new();
    for finding in &report.findings {
        let (kind, needs_person) = (of_one_cause(finding.kind), finding.needs_person);
        match causes.iter_mut().find(|cause| (cause.kind, cause.needs_person) == (kind, needs_person)) {
            Some(cause) => cause.findings.push(finding),
            None => causes.push(Cause { kind, needs_person, findings: vec![finding], consequences: Vec::new() }),
        }
    }
    if let Some(root) = causes.iter().find(|cause| is_root(cause.kind) && cause.needs_person).map(|cause| cause.kind) {
        let (of_it, others) = causes.into_iter().partition(|cause| is_consequence(cause.kind));
        causes = others;
        if let Some(cause) = causes.iter_mut().find(|cause| cause.kind == root && cause.needs_person) {
            cause.consequences = of_it;
        }
    }
    causes
}

/// That Claude Code is about to delete what is not saved is one thing with that it is not saved.
fn of_one_cause(kind: Kind) -> Kind {
    if kind == Kind::ExpiringUnsaved { Kind::NotSaved } else { kind }
}

/// Whether nothing can be saved because of it.
fn is_root(kind: Kind) -> bool {
    use Kind::*;
    matches!(
        kind,
        HooksMissing
            | HooksDisabled
            | HooksManagedOnly
            | HookProgramMissing
            | HooksSilent
            | PluginGone
            | SettingsUnreadable
            | StoreAway
            | StoreMissing
            | StoreUnwritable
            | DiskLow
    )
}

fn is_consequence(kind: Kind) -> bool {
    matches!(kind, Kind::NotSaved | Kind::Pending | Kind::StuckJob | Kind::OneCopy)
}

/// Words of a kind: of one thing, and of several where `{n}` is their number.
fn heading(kind: Kind, n: u64, is_young: bool) -> String {
    use Kind::*;
    let (one, many) = match kind {
        ProgramMissing => ("a program is missing", "{n} programs are missing"),
        ProgramNotExecutable => ("a program is not executable", "{n} programs are not executable"),
        ProgramBroken => ("a program does not run", "{n} programs do not run"),
        ProgramVersion => ("a program has another version", "{n} programs have another version"),
        HooksMissing => ("Threefold's hooks are not installed", ""),
        HooksIncomplete => ("some of Threefold's hooks are missing", ""),
        HooksDisabled => ("hooks are turned off in Claude Code's settings", ""),
        HooksManagedOnly => ("your administrator lets no hook of yours run", ""),
        HookProgramMissing => ("the program of a hook is missing", "the programs of {n} hooks are missing"),
        HookChanged => ("a hook was changed", "{n} hooks were changed"),
        HookRestricted => ("a hook does not run for everything", "{n} hooks do not run for everything"),
        HookTimeout => ("a hook has too little time", "{n} hooks have too little time"),
        HookTwice => ("a hook is installed twice", "{n} hooks are installed twice"),
        HookPlaces => ("a hook saves in another place than this command reads", ""),
        HooksSilent => ("Claude Code does not run Threefold's hooks", ""),
        PluginGone => ("the folder of the plugin is gone", ""),
        FirstVersionHooks => ("hooks of the first version are still installed", ""),
        SettingsUnreadable => ("Claude Code's settings cannot be read", "{n} settings files cannot be read"),
        HookSettings => ("a hook did not understand a setting", "hooks did not understand {n} settings"),
        McpMissing => ("the MCP server is not registered", ""),
        McpForeign => ("the name of the MCP server belongs to another program", ""),
        McpStale => ("the MCP server is registered where nothing is any more", ""),
        McpPlaces => ("the MCP server reads other places than this command", ""),
        McpUnreadable => ("Claude Code's list of MCP servers cannot be read", ""),
        McpSilent => ("the MCP server does not answer", ""),
        McpTools => ("the MCP server lacks tools", ""),
        DamagedCopy => ("a saved file is damaged", "{n} saved files are damaged"),
        StoreUnreadable => ("a backup cannot be read", "{n} backups of conversations cannot be read"),
        StoreAway => ("the disk of a backup is not connected", "the disks of both backups are not connected"),
        StoreMissing => ("the folder of a backup is missing", "the folders of both backups are missing"),
        StoreUnwritable => ("nothing can be written to a backup", "nothing can be written to both backups"),
        StoreOpen => ("others can read a backup", "others can read both backups"),
        NotOurs => (
            "something else is in the place of a file of Threefold's",
            "something else is in the place of {n} files of Threefold's",
        ),
        SetAside => ("damaged files were put aside", ""),
        ConflictCopies => ("a backup holds files that are not Threefold's", ""),
        DiskLow => ("a disk is almost full", "{n} disks are almost full"),
        FileSystem => ("a file system cannot do all that is needed", ""),
        ForgetUnfinished => {
            ("a conversation is not wholly forgotten yet", "{n} conversations are not wholly forgotten yet")
        }
        Index => ("the search index is not complete; the next save or search completes it", ""),
        IndexSetAside => ("an old search index can be deleted", "{n} old search indexes can be deleted"),
        Fts5Missing => ("SQLite lacks its full-text search", ""),
        FailedJob => ("a second copy was refused", "{n} second copies were refused"),
        StuckJob => (
            "a second copy has been waiting for more than a day",
            "{n} second copies have been waiting for more than a day",
        ),
        UnreadableJob => {
            ("a note of what has to be saved cannot be read", "{n} notes of what has to be saved cannot be read")
        }
        Pending => {
            ("a conversation is waiting for its second copy", "{n} conversations are waiting for their second copy")
        }
        OneCopy => ("some conversations have only one copy", ""),
        MassDisappearance => ("many transcripts disappeared at once; they are backed up", ""),
        SourcesUnreadable => ("a transcript cannot be read", "{n} transcripts cannot be read"),
        NotSaved | ExpiringUnsaved if is_young => {
            ("a conversation is waiting to be saved", "{n} conversations are waiting to be saved")
        }
        NotSaved | ExpiringUnsaved => ("a conversation is not saved", "{n} conversations are not saved"),
        PassedOver => ("something that looks like a conversation is not saved", ""),
        NoTranscript => ("a conversation has no transcript", "{n} conversations have no transcript"),
        Excluded => ("your settings exclude conversations", ""),
        Vanished => {
            ("a conversation was deleted; it is backed up", "{n} conversations were deleted; they are backed up")
        }
        MemoryShrunk => ("a memory file lost text; it is backed up", "{n} memory files lost text; they are backed up"),
        Shrunk => (
            "a conversation lost messages that an older version still has",
            "{n} conversations lost messages that an older version still has",
        ),
        Rewritten => (
            "a conversation was rewritten without messages that an older version still has",
            "{n} conversations were rewritten without messages that an older version still has",
        ),
        Split => ("a conversation is split over two versions", "{n} conversations are split over two versions"),
        TimerSilent => ("the timer is set and does not run", ""),
        EngineMissing => ("restic is not installed, so nothing is sent off-site", ""),
        EngineOld => ("restic is too old, so nothing is sent off-site", ""),
        OffsiteUnreachable => ("the third place does not answer", ""),
        NotMounted => ("the third place is not there", ""),
        WrongKey => ("the key does not open the third place", ""),
        KeyMissing => ("the key of the third place is missing", ""),
        AnotherRepository => ("another repository is in the third place", ""),
        AnotherWriter => ("another computer writes to this one's third copy", ""),
        OffsiteFull => ("the third place is full", ""),
        Locked => ("the third place is locked", ""),
        NotCovered => ("not everything that was sent arrived", ""),
        OffsiteFailed => ("sending to the third place fails", ""),
        DrillFailed => ("what the third place has is damaged", ""),
        CheckFailed => ("the third place has errors", ""),
        SnapshotsBroken => ("older snapshots of the third place are incomplete", ""),
        DrillOld => ("nothing was brought back from the third place for a while", ""),
        OffsiteBehind => ("nothing arrives at the third place", ""),
        OffsiteState => ("the state of the third place cannot be read", ""),
        KeyUnconfirmed => ("keep the recovery sheet of the third place", ""),
        ManySnapshots => ("the third place has very many snapshots", ""),
        OffsiteOff => ("there is no copy beyond this disk", ""),
        OffsiteOneDisk => ("the third place is on the disk that has the first copy", ""),
        RotationBegun => ("a new repository at the third place was begun and is not done", ""),
        RepositoryReplaced => ("a repository that was replaced is still at the third place", ""),
        RoundTripFailed => ("a test conversation was not saved", ""),
        RoundTripCopy => ("a test conversation was saved in one place only", ""),
        RoundTripReceipt => ("a test conversation got no receipt", ""),
        RoundTripSearch => ("a test conversation is not found by search", ""),
    };
    if n > 1 && !many.is_empty() { many.replace("{n}", &n.to_string()) } else { one.to_owned() }
}

/// The one line that is true of all: whether everything is saved, and if not, why, and what to type.
pub(super) struct Headline {
    /// What needs a person comes with a command.
    pub(super) needs_person: bool,
    pub(super) text: String,
    pub(super) mend: Option<String>,
    /// Whether everything is in both copies.
    pub(super) is_saved: bool,
}

/// `last_save` says when something was saved last.
pub(super) fn headline(report: &Report, causes: &[Cause<'_>], saved: &str) -> Headline {
    let wrong: Vec<&Cause<'_>> = causes.iter().filter(|cause| cause.needs_person).collect();
    let Some(first) = wrong.first() else {
        // A conversation with a job in the outbox may be among those that are not saved yet.
        let waiting = (report.figures.not_yet_saved.len() as u64).max(report.figures.outbox.jobs);
        let nothing = report.figures.layer1.sessions + report.figures.layer3.sessions == 0;
        let text = match waiting {
            0 if nothing => "Nothing is saved yet: there is no conversation.".to_owned(),
            0 => format!("Everything is saved: {saved}"),
            n => format!("{} waiting for the next save. Saved: {saved}", with_verb(n, "conversation")),
        };
        return Headline { needs_person: false, text, mend: None, is_saved: waiting == 0 && !nothing };
    };
    // What comes of one cause is named before the cause.
    let root = wrong.iter().find(|cause| is_root(cause.kind)).filter(|_| !first.kind.is_loss());
    let main = root.filter(|_| first.kind != Kind::DamagedCopy).unwrap_or(first);
    let unsaved = main.consequences.iter().filter(|cause| cause.kind == Kind::NotSaved);
    let unsaved: u64 = unsaved.map(Cause::things).sum();
    let mut text = match unsaved {
        0 => capitalised(&main.heading()),
        n => format!("{} not saved: {}", with_verb(n, "conversation"), main.heading()),
    };
    let expiring = report.figures.sources.expiring.iter().filter(|expiring| !expiring.saved).count();
    if expiring > 0 && (unsaved > 0 || main.kind == Kind::NotSaved) {
        text.push_str(&format!(". Claude Code deletes {expiring} of them within a week"));
    }
    match wrong.len() as u64 - 1 {
        0 => {}
        n => text.push_str(&format!(" ({} below)", count(n, "more problem"))),
    }
    Headline { needs_person: true, text, mend: main.mend().map(str::to_owned), is_saved: false }
}

/// `1 conversation is`, `3 conversations are`.
fn with_verb(n: u64, what: &str) -> String {
    format!("{} {}", count(n, what), if n == 1 { "is" } else { "are" })
}

/// A sentence begins with a capital.
pub(super) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
