//! When a push, a drill and a check are due. Nothing runs of them in a hook's time: the timer's `drain` does what is due
//! at its end, and that of a session's start leaves it to a process of its own.

use std::process::{Command, Stdio};
use std::time::Duration;

use layer1_prebackup::config::child_env::ChildEnv;
use layer1_prebackup::fs::platform::process::spawn_detached;
use layer1_prebackup::wire::offsite::State;

use crate::error::{Error, failed};
use crate::settings::Settings;

/// After a failure; doubled by each that follows.
const BACKOFF_MIN: Duration = Duration::from_secs(15 * 60);
const BACKOFF_MAX: Duration = Duration::from_secs(6 * 60 * 60);
/// A conversation is brought back, and a part of the data checked, once a day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether the last try was long enough ago for another one.
pub(crate) fn may_try(state: &State, every: Duration, now_ms: u64) -> bool {
    let Some(last) = &state.attempt else { return true };
    let doubled = BACKOFF_MIN.saturating_mul(1 << last.failures.saturating_sub(1).min(16));
    let pause = if last.failures == 0 { every } else { doubled.min(BACKOFF_MAX).max(every) };
    // A clock that was set back makes nothing wait for ever.
    now_ms < last.at_ms || now_ms - last.at_ms >= pause.as_millis() as u64
}

/// Whether something that is done once a day was last done so long ago.
pub(crate) fn is_of_yesterday(at_ms: Option<u64>, now_ms: u64) -> bool {
    at_ms.is_none_or(|at| now_ms < at || now_ms - at >= DAY.as_millis() as u64)
}

/// Starts this program once more for what is due, in a process group of its own and with no pipe of ours.
/// `env` has what `restic` may need of the environment.
pub(crate) fn start_detached(settings: &Settings, env: &ChildEnv) -> Result<(), Error> {
    let mut command = Command::new(&settings.program);
    for (flag, place) in settings.places.to_flags() {
        command.arg(flag).arg(place);
    }
    command.args(&settings.typed).args(["offsite", "push", "--due"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    env.apply(&mut command);
    // Nobody waits for it: who adopts it reaps it.
    spawn_detached(&mut command).map(drop).map_err(failed(format!("start {}", settings.program.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use layer1_prebackup::wire::offsite::Attempt;

    #[test]
    fn failures_double_the_pause_up_to_six_hours() {
        let minute = 60_000;
        let pause = |failures: u32| {
            let attempt = Some(Attempt { at_ms: 1000, ok: failures == 0, failures, said: String::new() });
            let mut state = State::set_up("/p", "n", "i", "w", 0);
            state.attempt = attempt;
            let every = Duration::from_secs(15 * 60);
            let first = (0..).find(|minutes| may_try(&state, every, 1000 + minutes * minute)).unwrap();
            assert!(may_try(&state, every, 0), "a clock that was set back");
            first
        };
        assert_eq!([0, 1, 2, 3, 5, 6, 40].map(pause), [15, 15, 30, 60, 240, 360, 360]);
        assert!(may_try(&State::set_up("/p", "n", "i", "w", 0), Duration::MAX, 0));
    }

    #[test]
    fn a_day_is_24_hours() {
        assert!(is_of_yesterday(None, 5) && is_of_yesterday(Some(0), 86_400_000) && is_of_yesterday(Some(9), 5));
        assert!(!is_of_yesterday(Some(0), 86_399_999));
    }
}
