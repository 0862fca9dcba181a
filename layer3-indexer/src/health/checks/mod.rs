//! The checks, one file a subject.

mod disks;
mod hooks;
mod hooks_run;
mod index;
mod light;
mod losses;
mod mcp;
mod memories;
mod offsite;
mod outbox;
mod programs;
mod round_trip;
mod sources;
mod stores;
mod timer;

use super::context::Context;
use super::examination::Examination;
use super::report::Report;

/// Which checks are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Those that cost little, start nothing and write nothing: for `status`.
    Cheap,
    /// All, for `doctor`. They write nothing but scratch files, which they remove.
    All,
}

type Check = fn(&mut Examination<'_>);

/// In the order in which they run: each uses what those before it found out.
const CHECKS: [(Depth, Check); 27] = [
    (Depth::Cheap, stores::both),
    (Depth::Cheap, stores::may_be_written),
    (Depth::Cheap, stores::not_ours),
    (Depth::Cheap, stores::forgotten),
    (Depth::Cheap, index::state),
    (Depth::Cheap, outbox::jobs),
    (Depth::Cheap, stores::in_one_copy_only),
    (Depth::Cheap, losses::of_sessions),
    (Depth::Cheap, sources::transcripts),
    (Depth::Cheap, memories::of_projects),
    (Depth::Cheap, hooks::present),
    (Depth::Cheap, hooks::complaints),
    (Depth::Cheap, hooks_run::plugin_is_there),
    (Depth::Cheap, hooks_run::seen),
    (Depth::Cheap, disks::room),
    (Depth::Cheap, light::of_this_folder),
    (Depth::Cheap, offsite::state),
    (Depth::All, hooks::as_installed),
    (Depth::All, programs::fit),
    (Depth::All, mcp::answers),
    (Depth::All, stores::writable),
    (Depth::All, index::search),
    (Depth::All, outbox::waiting),
    (Depth::All, sources::expiring),
    (Depth::All, timer::runs),
    (Depth::All, offsite::none_on_one_disk),
    (Depth::All, round_trip::goes_through),
];

/// Runs the checks of this depth.
pub(crate) fn examine(context: &Context, depth: Depth) -> Report {
    let mut examination = Examination::new(context);
    for (cost, check) in CHECKS {
        if cost == Depth::Cheap || depth == Depth::All {
            check(&mut examination);
        }
    }
    Report::of(examination)
}
