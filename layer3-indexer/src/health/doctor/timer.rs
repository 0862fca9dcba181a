//! The timer: set, and really running. What counts is what its runs noted in layer 1's store.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use layer1_prebackup::claude::timer_mark;

use super::{Found, Patient, found, short};
use crate::health::status::Finding;
use crate::health::status::text::duration;

/// It runs every ten minutes; a timer that did not for so long does not.
const SILENT: Duration = Duration::from_secs(30 * 60);

pub(super) fn look(patient: &Patient, findings: &mut Vec<Found>) -> String {
    let (unit, start) = unit(patient);
    let Ok(meta) = unit.metadata() else {
        return match patient.installation().install_line_with("--timer") {
            Some(line) => format!("not set; `{line}` sets one that saves without hooks"),
            None => format!("not set; what one would run is `{}`", patient.save_now_line()),
        };
    };
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(patient.view.now_ms);
    // A clock that was set back makes nothing old.
    let age = |then: SystemTime| now.duration_since(then).unwrap_or(Duration::ZERO);
    let set = meta.modified().map_or(Duration::MAX, age);
    let mut said = Vec::new();
    let mut silent = Vec::new();
    for part in timer_mark::PARTS {
        // A note that cannot be read is no evidence of a run.
        let last = timer_mark::last(&patient.places.layer1_store, part).ok().flatten().map(age);
        let words = match last {
            Some(last) => format!("{part} ran {} ago", duration(last.as_secs())),
            None => format!("{part} never ran"),
        };
        if last.unwrap_or(Duration::MAX).min(set) > SILENT {
            silent.push(words.clone());
        }
        said.push(words);
    }
    if !silent.is_empty() {
        let what = format!("it is set, and should run every ten minutes, but {}", silent.join(" and "));
        findings.push(found("timer", Finding::new("timer-silent", true, what, &unit).mend(start)));
    }
    format!("{} ({})", said.join(", "), short(patient, &unit))
}

/// The file by which the timer is set, and what starts it.
fn unit(patient: &Patient) -> (PathBuf, String) {
    if layer1_prebackup::fs::platform::IS_MACOS {
        let agent = patient.places.home.join("Library/LaunchAgents/threefold.plist");
        let quoted = crate::terminal::shell_quoted(&agent.to_string_lossy());
        return (agent, format!("launchctl bootstrap gui/$(id -u) {quoted}"));
    }
    let unit = patient.config_home.join("systemd/user/threefold.timer");
    (unit, "systemctl --user enable --now threefold.timer && systemctl --user start threefold.service".to_owned())
}
