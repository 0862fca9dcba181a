//! The one message that `--quiet` may show the user, at most once an hour for each cause.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::fs;
use crate::fs::platform;
use crate::hook::failure::{CAUSE_NEWER, CAUSE_SETTINGS, Failure, HookConfig};
use crate::wire::event::Event;
use crate::wire::shown::shown;

/// Time between two messages of one cause.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

const STORE_DIGITS: usize = 16;

/// The JSON line to print, or nothing: on events that do not show it, and within the hour.
pub(crate) fn for_user(config: &HookConfig, input: &[u8], failure: &Failure) -> Option<String> {
    let event = Event::parse(input).ok()?;
    if !matches!(event.kind.as_str(), "UserPromptSubmit" | "Stop") {
        return None;
    }
    let marks = mark_paths(config, failure);
    if marks.iter().any(is_recent) {
        return None;
    }
    // In the store; if that is what fails, in the temporary directory. If neither can be written
    // the message comes again: better told twice than not at all.
    let mark = |path: &PathBuf| match path.strip_prefix(&config.store) {
        Ok(rel) => fs::replace_own(&config.store, rel, b""),
        Err(_) => fs::replace_file(path, b""),
    };
    let _ = marks.iter().map(mark).find(Result::is_ok);
    let text = match failure.cause.as_str() {
        CAUSE_SETTINGS => format!("Threefold backs up this conversation, but its settings are wrong: {}", failure.text),
        _ => format!("Threefold could not back up this conversation: {}", failure.text),
    };
    Some(serde_json::json!({ "systemMessage": shown(&text) }).to_string() + "\n")
}

fn mark_paths(config: &HookConfig, failure: &Failure) -> Vec<PathBuf> {
    let cause: String =
        failure.cause.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).collect();
    let user = platform::process::user();
    let in_store = config.store.join(".state/told").join(&cause);
    // One user's folder there serves every store of hers.
    let store = blake3::hash(config.store.as_os_str().as_encoded_bytes()).to_hex();
    let elsewhere =
        config.temp_dir.join(format!("threefold-{user}")).join(format!("told-{cause}-{}", &store[..STORE_DIGITS]));
    if failure.cause == CAUSE_NEWER { vec![elsewhere] } else { vec![in_store, elsewhere] }
}

fn is_recent(path: &PathBuf) -> bool {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < INTERVAL))
}
