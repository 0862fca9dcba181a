//! What tools did to files, as a transcript tells it: the call, and what Claude Code noted beside its result.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::metadata::{EDITING_TOOLS, touched_file};
use super::record::{Block, Record};

/// A call of a tool that changes a file.
#[derive(Debug, Clone)]
pub(crate) struct EditCall {
    /// Joins it with its result.
    pub(crate) id: Option<String>,
    pub(crate) tool: String,
    /// The file as the call names it, with `/` between folders.
    pub(crate) path: String,
    pub(crate) changes: Vec<Change>,
}

/// One change of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// It becomes this.
    Whole(String),
    /// `new` stands where `old` was, once or everywhere.
    Replace { old: String, new: String, all: bool },
    /// This stands in it; where, and instead of what, is not said.
    Cell(String),
}

/// What became of a call.
#[derive(Debug, Clone)]
pub(crate) struct EditResult {
    pub(crate) id: String,
    /// Whether the file was left as it was.
    pub(crate) has_failed: bool,
    /// The file as it was, where that was noted.
    pub(crate) before: Option<String>,
    /// The file as it was afterwards, likewise.
    pub(crate) after: Option<String>,
    /// What was changed, where the user had it otherwise than the model.
    pub(crate) changes: Vec<Change>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Arguments {
    old_string: Option<String>,
    new_string: Option<String>,
    replace_all: Option<bool>,
    content: Option<String>,
    edits: Vec<Replacement>,
    new_source: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Replacement {
    old_string: String,
    new_string: String,
    replace_all: bool,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "toolUseResult")]
    noted: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Noted<'a> {
    #[serde(rename = "type")]
    kind: Option<Cow<'a, str>>,
    original_file: Option<String>,
    old_string: Option<String>,
    new_string: Option<String>,
    replace_all: bool,
    content: Option<String>,
    #[serde(rename = "original_file")]
    notebook_before: Option<String>,
    #[serde(rename = "updated_file")]
    notebook_after: Option<String>,
}

/// The calls in a record that change a file.
pub(crate) fn calls_in(record: &Record<'_>) -> Vec<EditCall> {
    let call = |block: &Block<'_>| {
        let Block::ToolUse { name, id, input: Some(input) } = block else { return None };
        let is_edit = EDITING_TOOLS.contains(&&**name);
        let path = is_edit.then(|| touched_file(input)).flatten()?;
        let arguments = serde_json::from_str(input.get()).unwrap_or_default();
        let id = id.as_deref().map(str::to_owned);
        Some(EditCall { id, tool: name.to_string(), path, changes: changes_of(arguments) })
    };
    record.blocks.iter().filter_map(call).collect()
}

fn changes_of(arguments: Arguments) -> Vec<Change> {
    if let Some(content) = arguments.content {
        return vec![Change::Whole(content)];
    }
    if let Some(source) = arguments.new_source {
        return vec![Change::Cell(source)];
    }
    if let (Some(old), Some(new)) = (arguments.old_string, arguments.new_string) {
        return vec![Change::Replace { old, new, all: arguments.replace_all == Some(true) }];
    }
    let replace =
        |edit: Replacement| Change::Replace { old: edit.old_string, new: edit.new_string, all: edit.replace_all };
    arguments.edits.into_iter().map(replace).collect()
}

/// The results in a record, whatever tool they are of. `line` is the record as it stands in the transcript.
pub(crate) fn results_in(record: &Record<'_>, line: &[u8]) -> Vec<EditResult> {
    let result = |block: &Block<'_>| match block {
        Block::ToolResult { id: Some(id), is_error, .. } => Some((id.to_string(), *is_error)),
        _ => None,
    };
    let results: Vec<(String, bool)> = record.blocks.iter().filter_map(result).collect();
    // Of several results in one record nothing says which one is noted.
    let noted = if results.len() == 1 { noted_beside(line) } else { Noted::default() };
    let is_new = noted.kind.as_deref() == Some("create");
    let before = noted.original_file.or(noted.notebook_before).or_else(|| is_new.then(String::new));
    let changes = match (noted.old_string, noted.new_string, noted.content) {
        (Some(old), Some(new), _) => vec![Change::Replace { old, new, all: noted.replace_all }],
        (_, _, Some(content)) => vec![Change::Whole(content)],
        _ => Vec::new(),
    };
    let of = |(id, has_failed): (String, bool)| EditResult {
        id,
        has_failed,
        before: before.clone(),
        after: noted.notebook_after.clone(),
        changes: changes.clone(),
    };
    results.into_iter().map(of).collect()
}

/// A line that is damaged, or an answer of another shape, notes nothing.
fn noted_beside(line: &[u8]) -> Noted<'_> {
    let line: Option<Line<'_>> = serde_json::from_slice(line).ok();
    line.and_then(|line| serde_json::from_str(line.noted?.get()).ok()).unwrap_or_default()
}

impl Change {
    /// The text after the change, and the bytes in it that are new; `None` where the text does not hold what is replaced.
    /// As Claude Code does it: what is replaced by nothing takes its line break with it.
    pub(crate) fn apply(&self, text: &str) -> Option<String> {
        match self {
            Change::Whole(content) => Some(content.clone()),
            Change::Replace { old, new, .. } if old.is_empty() => text.is_empty().then(|| new.clone()),
            Change::Replace { old, new, all } => {
                let with_break = format!("{old}\n");
                let old = if new.is_empty() && !old.ends_with('\n') && text.contains(&with_break) {
                    &with_break
                } else {
                    old
                };
                let is_there = text.contains(old.as_str());
                is_there
                    .then(|| if *all { text.replace(old.as_str(), new) } else { text.replacen(old.as_str(), new, 1) })
            }
            Change::Cell(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::record::with_record;

    fn replace(old: &str, new: &str, all: bool) -> Change {
        Change::Replace { old: old.to_owned(), new: new.to_owned(), all }
    }

    #[test]
    fn calls_and_results_are_read_in_each_of_their_forms() {
        let check = |tool: &str, input: &str, expected: &[Change]| {
            let line = format!(
                r#"{{"type":"assistant","message":{{"content":[{{"type":"tool_use","id":"t","name":"{tool}","input":{input}}}]}}}}"#
            );
            let calls = with_record(line.as_bytes(), calls_in).unwrap();
            assert_eq!(calls.iter().flat_map(|call| call.changes.clone()).collect::<Vec<_>>(), expected, "{line}");
        };
        check("Write", r#"{"file_path":"/a","content":"x\n"}"#, &[Change::Whole("x\n".into())]);
        check("Edit", r#"{"file_path":"/a","old_string":"a","new_string":"b"}"#, &[replace("a", "b", false)]);
        check(
            "Edit",
            r#"{"file_path":"/a","old_string":"a","new_string":"b","replace_all":true}"#,
            &[replace("a", "b", true)],
        );
        check(
            "MultiEdit",
            r#"{"file_path":"/a","edits":[{"old_string":"a","new_string":"b"},{"old_string":"c","new_string":"d","replace_all":true}]}"#,
            &[replace("a", "b", false), replace("c", "d", true)],
        );
        check("NotebookEdit", r#"{"notebook_path":"/a.ipynb","new_source":"x"}"#, &[Change::Cell("x".into())]);
        check("Read", r#"{"file_path":"/a"}"#, &[]);
        check("Write", r#"{"content":"x"}"#, &[]);
        check("Edit", r#"{"file_path":"/a","old_string":7}"#, &[]);
        let result = |is_error: bool, noted: &str| {
            let line = format!(
                r#"{{"type":"user","message":{{"content":[{{"type":"tool_result","tool_use_id":"t","is_error":{is_error},"content":"x"}}]}},"toolUseResult":{noted}}}"#
            );
            with_record(line.as_bytes(), |record| results_in(record, line.as_bytes()).remove(0)).unwrap()
        };
        let edited = result(false, r#"{"originalFile":"a\n","oldString":"a","newString":"c","structuredPatch":[]}"#);
        assert_eq!((edited.before.as_deref(), edited.changes), (Some("a\n"), vec![replace("a", "c", false)]));
        let made = result(false, r#"{"type":"create","originalFile":null,"content":"n\n"}"#);
        assert_eq!((made.before.as_deref(), made.changes), (Some(""), vec![Change::Whole("n\n".into())]));
        let failed = result(true, r#""Error: no""#);
        assert!(failed.has_failed && failed.before.is_none() && failed.changes.is_empty());
    }

    #[test]
    fn a_change_is_made_as_claude_code_makes_it() {
        for (change, text, expected) in [
            (replace("b", "x", false), "a b b", Some("a x b")),
            (replace("b", "x", true), "a b b", Some("a x x")),
            (replace("b", "", false), "a\nb\nc\n", Some("a\nc\n")),
            (replace("b\n", "", false), "a\nb\nc\n", Some("a\nc\n")),
            (replace("z", "x", false), "a", None),
            (replace("", "x", false), "", Some("x")),
            (replace("", "x", false), "a", None),
            (Change::Whole("n".into()), "a", Some("n")),
        ] {
            assert_eq!(change.apply(text).as_deref(), expected, "{change:?} {text:?}");
        }
    }
}
