//! The timer: set, and really running. What counts is what its runs noted in layer 1's store.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use layer1_prebackup::claude::timer_mark;

use crate::health::context::Context;
use crate::health::examination::Examination;
use crate::health::finding::{Finding, Kind, Subject};
use crate::health::text::duration;
use crate::terminal::shell_quoted;

/// It runs every ten minutes; a timer that did not for so long does not.
const SILENT: Duration = Duration::from_secs(30 * 60);

/// Whether it is set and runs.
pub(super) fn runs(examination: &mut Examination<'_>) {
    let context = examination.context;
    let (unit, start) = unit(context);
    let Ok(meta) = unit.metadata() else {
        let summary = match context.install_line_with("--timer") {
            Some(line) => format!("off (optional: `{line}` saves every ten minutes, even if the hooks stop running)"),
            None => format!("not set; what one would run is `{}`", context.save_now_line()),
        };
        return examination.leave_unchecked(Subject::Timer, summary);
    };
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(context.now_ms);
    // A clock that was set back makes nothing old.
    let age = |then: SystemTime| now.duration_since(then).unwrap_or(Duration::ZERO);
    let set = meta.modified().map_or(Duration::MAX, age);
    let mut runs = Vec::new();
    let mut silent = Vec::new();
    for part in timer_mark::PARTS {
        // A note that cannot be read is no evidence of a run.
        let last = timer_mark::last(&context.places.layer1_store, part).ok().flatten().map(age);
        let words = match last {
            Some(last) => format!("{part} ran {} ago", duration(last.as_secs())),
            None => format!("{part} never ran"),
        };
        if last.unwrap_or(Duration::MAX).min(set) > SILENT {
            silent.push(words.clone());
        }
        runs.push(words);
    }
    if !silent.is_empty() {
        let what = format!("it is set, and should run every ten minutes, but {}", silent.join(" and "));
        examination.findings.push(Finding::new(context, Kind::TimerSilent, what, &unit).mend(start));
    }
    examination.summarise(Subject::Timer, format!("{} ({})", runs.join(", "), context.short(&unit)));
}

/// The file by which the timer is set, and what starts it.
fn unit(context: &Context) -> (PathBuf, String) {
    if layer1_prebackup::fs::platform::IS_MACOS {
        let agent = context.places.home.join("Library/LaunchAgents/threefold.plist");
        let quoted = shell_quoted(&agent.to_string_lossy());
        return (agent, format!("launchctl bootstrap gui/$(id -u) {quoted}"));
    }
    let unit = context.config_home.join("systemd/user/threefold.timer");
    (unit, "systemctl --user enable --now threefold.timer && systemctl --user start threefold.service".to_owned())
}
