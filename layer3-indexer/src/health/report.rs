//! What `status` and `doctor` found out, and the JSON that they print of it.

use layer1_prebackup::names::{LAYER3, typed};
use std::path::PathBuf;

use serde::Serialize;

use super::examination::Examination;
use super::figures::Figures;
use super::finding::{Finding, Kind, Subject};

/// What `status --help` adds about exit codes and JSON.
const STATUS_HELP: &str = "\
Exit code 1 when something needs a person, 0 otherwise:
  shrunk, rewritten, split
                        the newest version of a conversation lost messages that an older one has; it stays
                        until it is restored, or acknowledged with `status --acknowledge`; the same of a subagent's file
  mass-disappearance    many transcripts vanished long before Claude Code's own cleanup
  damaged-copy          a stored file is missing, cut short or changed (a quick check; `verify` reads all, and what it found
                        damaged stays here until it is repaired)
  store-unreadable      a store cannot be read, or lost its bookkeeping
  not-ours              a file, folder, link, FIFO or socket is in the place of a file or folder of Threefold's; `verify --repair`
                        moves it aside
  sources-unreadable    Claude Code's transcripts cannot be listed, or one cannot be read
  not-saved             no copy an hour after the last change, or not in both stores after a day
  expiring-unsaved      Claude Code's cleanup is about to delete a transcript that is not saved
  passed-over           something below Claude Code's projects/ looks like a conversation and cannot be one: a link that leads nowhere, a
                        name that is no session's, a file that lies too deep; move it, or leave it out with the setting `exclude`
  no-transcript         in the last two days turns were seen of a session that has no transcript
  failed-job, stuck-job, unreadable-job
                        the second copy was refused, waits for more than a day, or its job is damaged
  one-copy              a conversation, or a version of it, or of what Claude Code remembers of a project, is in one copy only: a store
                        was lost, or put back to an older state
  store-away            the disk of a store is not there; what is to be saved waits for it
  forget-unfinished     a conversation that you had forgotten is not gone from both copies; `forget` again finishes it
  disk-low              less than 256 MB are free for a store
  hooks-missing, hooks-incomplete, hooks-disabled, hook-program-missing, settings-unreadable
                        Claude Code does not run what saves its conversations
  hook-settings         hooks save, but not where a variable, a flag or the settings' file says
  hooks-silent, plugin-gone
                        a conversation went on, and no hook of Threefold ran; the plugin's folder is gone
  engine-missing, engine-old
                        restic, which sends conversations to the third place, is not installed, or too old
  offsite-unreachable, not-mounted, offsite-full, offsite-failed
                        the third place has not answered for a week, is not there, has no room, or failed for a day
  wrong-key, key-missing, another-repository, another-writer
                        the key does not open it or is not there; it is another one, or another machine writes to it
  locked, not-covered, offsite-behind
                        for a day it was locked, or what was sent is not all there; for three days nothing arrived
  drill-failed, check-failed, drill-old, offsite-state, rotation-begun
                        what was sent did not come back equal, or nothing was brought back for a week; its state is unreadable;
                        `offsite key rotate` was begun and did not end for a day
Only told: key-unconfirmed (nobody confirmed that the recovery sheet is kept), many-snapshots, repository-replaced (`offsite key
rotate --drop-old` removes it), offsite-one-disk (the third place is on the disk that has the first copy), snapshots-broken,
file-system, vanished, memory-shrunk, index, set-aside, conflict-copies (what a sync service or `cp` copied inside a backup:
never used, delete it), and the above while they are young.
The light shows Claude Code's own limits for resuming, in the current directory's transcripts: green
under 15 sessions and 5 MB with none over 2 MB, red over 25 sessions, 10 MB, or one over 5 MB.
It says nothing about the copies and never changes the exit code.

--json: ok, findings (kind, needs_person, what, where, mend, session_id, project), the figures of
layer 3's store, layer1, index, outbox, sources, not_yet_saved, vanished, hooks, disks, one_disk, offsite, light.

";

/// [`STATUS_HELP`], and an example.
pub(crate) fn status_help() -> String {
    format!("{STATUS_HELP}\nExample: {}", typed(LAYER3, "status --json"))
}

/// What `doctor --help` adds.
const DOCTOR_HELP: &str = "\
Exit code 1 when anything is wrong, 0 otherwise. It can find what `status --help` lists, and:
  program-missing, program-not-executable, program-broken, program-version
                        one of the three programs is not fit for use, or of another version
  hook-changed, hook-restricted, hook-timeout, hook-twice, hook-places
                        a hook is not what install writes, or uses other stores than this command
  hooks-managed-only, first-version-hooks
                        the administrator lets no hook of yours run; old scripts are still hooks
  mcp-missing, mcp-foreign, mcp-stale, mcp-places, mcp-unreadable, mcp-silent, mcp-tools
                        the MCP server is not registered, is another's, or does not answer
  store-missing, store-unwritable, store-open
                        a store is gone, cannot be written, or others may read it
  fts5-missing          SQLite was built without full-text search
  timer-silent          the timer is set, and has not run for half an hour
  round-trip-failed, round-trip-copy, round-trip-receipt, round-trip-search
                        a synthetic conversation did not come through the installed chain
--fix does what is safe: makes a program executable again, makes a store that is gone, takes its
rights from others, delivers what is pending, makes the index again. Of the
installed program, and by `cargo xtask doctor --fix`, it also installs again. Only told: pending, index-set-aside,
offsite-off (no third place, and one disk has both copies).

--json: ok, version, checks (name, ok, checked, said), findings (as of `status`, with check
and fixable), mended.

";

/// [`DOCTOR_HELP`], and an example.
pub(crate) fn doctor_help() -> String {
    format!("{DOCTOR_HELP}\nExample: {}", typed(LAYER3, "doctor --fix"))
}

/// What a look found out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    /// What is wrong or worth knowing; what needs a person first.
    pub(crate) findings: Vec<Finding>,
    /// The state of everything.
    pub(crate) figures: Figures,
    /// What `doctor` looked at, in order; empty of `status`.
    pub(crate) checks: Vec<Checked>,
    /// The folder of the installed programs.
    pub(crate) programs: PathBuf,
    /// What was mended before this was found out.
    pub(crate) mended: Vec<Mended>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Checked {
    /// Which.
    pub(crate) name: Subject,
    /// Whether it is as it should be; what is optional and not there is.
    pub(crate) ok: bool,
    /// Whether there was something to look at.
    pub(crate) checked: bool,
    /// How it is, in one line.
    pub(crate) said: String,
}

/// What was done about a finding. Whether it helped says the next look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Mended {
    /// The finding's kind.
    pub(crate) kind: Kind,
    /// Its file or directory.
    #[serde(rename = "where")]
    pub(crate) place: PathBuf,
    /// Whether it was done.
    pub(crate) done: bool,
    /// What was done, or why it was not.
    pub(crate) said: String,
}

impl Report {
    /// Puts in order what the checks found out.
    pub(crate) fn of(examination: Examination<'_>) -> Report {
        let Examination { context, mut findings, mut summaries, figures, hooks, unchecked, .. } = examination;
        let is_wrong = |subject| findings.iter().any(|found: &Finding| found.needs_person && found.subject == subject);
        summaries.sort_by_key(|(subject, _)| *subject);
        let checked = |(name, said)| {
            let checked = !unchecked.contains(&name);
            let is_optional = matches!(name, Subject::Timer | Subject::Offsite);
            let ok = !is_wrong(name) && (checked || is_optional);
            Checked { name, ok, checked, said }
        };
        let checks: Vec<Checked> = summaries.into_iter().map(checked).collect();
        if !checks.is_empty() {
            findings.sort_by_key(|finding| finding.subject);
        }
        findings.sort_by_key(|finding| (!finding.needs_person, !finding.kind.is_loss()));
        Report { findings, figures, checks, programs: hooks.folder(context), mended: Vec::new() }
    }

    /// How many findings need a person.
    pub(crate) fn needing(&self) -> usize {
        self.findings.iter().filter(|finding| finding.needs_person).count()
    }

    /// As `status --json` prints it.
    pub(crate) fn status_json(&self) -> impl Serialize + '_ {
        #[derive(Serialize)]
        struct Status<'a> {
            ok: bool,
            findings: &'a [Finding],
            #[serde(flatten)]
            figures: &'a Figures,
        }
        Status { ok: self.needing() == 0, findings: &self.findings, figures: &self.figures }
    }

    /// As `doctor --json` prints it.
    pub(crate) fn doctor_json(&self) -> impl Serialize + '_ {
        #[derive(Serialize)]
        struct Diagnosis<'a> {
            ok: bool,
            version: &'static str,
            checks: &'a [Checked],
            findings: Vec<WithCheck<'a>>,
            mended: &'a [Mended],
        }
        #[derive(Serialize)]
        struct WithCheck<'a> {
            check: Subject,
            fixable: bool,
            #[serde(flatten)]
            finding: &'a Finding,
        }
        let is_fixable = |finding: &Finding| finding.kind.remedy().is_some();
        Diagnosis {
            ok: self.needing() == 0,
            version: env!("CARGO_PKG_VERSION"),
            checks: &self.checks,
            findings: self
                .findings
                .iter()
                .map(|finding| WithCheck { check: finding.subject, fixable: is_fixable(finding), finding })
                .collect(),
            mended: &self.mended,
        }
    }
}
