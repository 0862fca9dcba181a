//! Claude Code's settings, as far as they are about us: which commands stand on which event, and whose they are.

use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

use serde_json::Value;

/// The events that an installation has hooks on.
pub(crate) const EVENTS: [&str; 8] = [
    "SessionStart",
    "UserPromptSubmit",
    "Stop",
    "StopFailure",
    "SubagentStop",
    "PreCompact",
    "PostCompact",
    "SessionEnd",
];
const PROGRAMS: [&str; 2] = ["layer1-prebackup", "layer2-save-client"];

/// Settings that are absent or empty say nothing; a link to a file is as good as the file.
pub(crate) fn read(path: &Path) -> Result<Value, String> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => {}
        Ok(_) => return Err("it is no regular file".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Value::Null),
        Err(error) => return Err(format!("it cannot be read: {error}")),
    }
    let bytes = fs::read(path).map_err(|error| format!("it cannot be read: {error}"))?;
    if bytes.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    serde_json::from_slice(text).map_err(|error| format!("it is not JSON, and Claude Code ignores it: {error}"))
}

/// `cleanupPeriodDays`, as far as the settings say anything sensible of it.
pub(super) fn cleanup_days(settings: &Path) -> Option<u64> {
    // What is wrong with the settings, the check of the hooks reports.
    let days = read(settings).ok()?.get("cleanupPeriodDays")?.as_f64()?;
    Some((days.max(1.0)) as u64)
}

/// A handler as it stands in the settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handler<'a> {
    /// What is to run.
    pub(crate) command: &'a str,
    /// All that is said of it.
    pub(crate) value: &'a Value,
    /// The group that it stands in, with its matcher.
    pub(crate) group: &'a Value,
}

/// The handlers of an event that hold a command. What is not of the form that Claude Code reads is passed over.
pub(crate) fn handlers<'a>(settings: &'a Value, event: &str) -> Vec<Handler<'a>> {
    let list = |value: Option<&'a Value>| value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let groups = list(settings.get("hooks").and_then(|hooks| hooks.get(event)));
    let handlers = groups.iter().flat_map(|group| list(group.get("hooks")).iter().map(move |value| (group, value)));
    handlers
        .filter_map(|(group, value)| Some(Handler { command: value.get("command")?.as_str()?, value, group }))
        .collect()
}

pub(super) fn commands_of<'a>(settings: &'a Value, event: &str) -> Vec<&'a str> {
    handlers(settings, event).into_iter().map(|handler| handler.command).collect()
}

/// Whether a command runs one of our hook programs.
pub(crate) fn is_ours(command: &str) -> bool {
    words(command).iter().any(|word| is_program(Path::new(word)))
}

/// Whether this is the path of one of our hook programs.
pub(crate) fn is_program(path: &Path) -> bool {
    path.is_absolute() && PROGRAMS.iter().any(|program| path.file_name().is_some_and(|name| name == *program))
}

/// A piece of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// A word without its quotes, or an operator.
    pub(crate) text: String,
    /// Where it stands in the command.
    pub(crate) at: Range<usize>,
    /// Whether it is one of `;`, `|`, `||`, `&`, `&&`, `(`, `)`, `{`, `}`.
    pub(crate) is_operator: bool,
}

/// The pieces of a command as `sh` splits it, as far as quotes and backslashes go.
pub(crate) fn tokens(command: &str) -> Vec<Token> {
    let (mut tokens, mut word, mut start, mut quote) = (Vec::new(), String::new(), 0, None);
    let end_word = |word: &mut String, at: Range<usize>, tokens: &mut Vec<Token>| {
        if !word.is_empty() {
            tokens.push(Token { text: std::mem::take(word), at, is_operator: false });
        }
    };
    let mut chars = command.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (None | Some('"'), '\\') => word.extend(chars.next().map(|(_, c)| c)),
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => quote = Some(c),
            (None, c) if c.is_whitespace() || ";|&(){}".contains(c) => {
                end_word(&mut word, start..at, &mut tokens);
                start = at + c.len_utf8();
                if !c.is_whitespace() {
                    let is_double = "|&".contains(c) && chars.next_if(|(_, next)| *next == c).is_some();
                    start += usize::from(is_double);
                    let text = command[at..start].to_owned();
                    tokens.push(Token { text, at: at..start, is_operator: true });
                }
            }
            (None, c) => word.push(c),
        }
    }
    end_word(&mut word, start..command.len(), &mut tokens);
    tokens
}

/// The words of a command.
pub(crate) fn words(command: &str) -> Vec<String> {
    tokens(command).into_iter().filter(|token| !token.is_operator).map(|token| token.text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_the_shell_does() {
        let command = r#"{ '/it'\''s here/layer1-prebackup' --x "a b" || cat; } | /y/z\ w || :"#;
        assert_eq!(words(command), ["/it's here/layer1-prebackup", "--x", "a b", "cat", "/y/z w", ":"]);
        assert_eq!(words("'never closed \\"), ["never closed \\"]);
        assert_eq!(words("ends with \\"), ["ends", "with"]);
        let pieces: Vec<_> = tokens(command).into_iter().map(|token| command[token.at].to_owned()).collect();
        assert_eq!(pieces.join(" "), r#"{ '/it'\''s here/layer1-prebackup' --x "a b" || cat ; } | /y/z\ w || :"#);
    }

    #[test]
    fn days_of_cleanup_are_at_least_one() {
        let dir = tempfile::tempdir().unwrap();
        for (text, days) in [
            ("{\"cleanupPeriodDays\": 20}", Some(20)),
            ("{\"cleanupPeriodDays\": 0}", Some(1)),
            ("{\"cleanupPeriodDays\": -5.5}", Some(1)),
            ("{\"cleanupPeriodDays\": 1e300}", Some(u64::MAX)),
            ("{\"cleanupPeriodDays\": \"20\"}", None),
            ("{}", None),
            ("[", None),
        ] {
            fs::write(dir.path().join("settings.json"), text).unwrap();
            assert_eq!(cleanup_days(&dir.path().join("settings.json")), days, "{text}");
        }
    }
}
