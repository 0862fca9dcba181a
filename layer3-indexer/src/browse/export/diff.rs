//! What an edit changed: line by line, and in lines that became others, word by word.

use similar::{ChangeTag, DiffOp, TextDiff};

/// Lines around a change that are shown.
const AROUND: usize = 3;
/// Longest text on either side that is compared, in bytes, and in lines: the time for it grows faster than they do.
const COMPARED_BYTES_MAX: usize = 200_000;
const COMPARED_LINES_MAX: usize = 4_000;
/// Longest lines, both sides of a change together, whose words are compared, likewise.
const WORDS_BYTES_MAX: usize = 4_000;

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Kept,
    Removed,
    Added,
    /// So many lines that are the same stand here.
    Skipped(usize),
}

/// A line of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) fate: Fate,
    /// Its pieces without the line break, and which of them are other words than before.
    pub(super) pieces: Vec<(bool, String)>,
}

/// The lines of both texts. What is too long to be compared is removed and added as a whole.
pub(super) fn lines(old: &str, new: &str) -> Vec<Line> {
    let is_long = |text: &str| text.len() > COMPARED_BYTES_MAX || text.lines().count() > COMPARED_LINES_MAX;
    if is_long(old) || is_long(new) {
        let all = |text: &str, fate| -> Vec<Line> {
            text.lines().map(|line| Line { fate, pieces: vec![(false, line.to_owned())] }).collect()
        };
        return [all(old, Fate::Removed), all(new, Fate::Added)].concat();
    }
    let diff = TextDiff::from_lines(old, new);
    let mut lines = Vec::new();
    let mut end = 0;
    for group in diff.grouped_ops(AROUND) {
        let start = group.first().map_or(0, |op| op.old_range().start);
        skip(&mut lines, start.saturating_sub(end));
        for op in &group {
            end = op.old_range().end;
            push(&mut lines, &diff, op);
        }
    }
    skip(&mut lines, diff.old_slices().len().saturating_sub(end));
    lines
}

fn skip(lines: &mut Vec<Line>, count: usize) {
    if count > 0 {
        lines.push(Line { fate: Fate::Skipped(count), pieces: Vec::new() });
    }
}

fn push<'d>(lines: &mut Vec<Line>, diff: &'d TextDiff<'d, 'd, 'd, str>, op: &DiffOp) {
    let bytes = |lines: &[&str]| lines.iter().map(|line| line.len()).sum::<usize>();
    let sides = bytes(&diff.old_slices()[op.old_range()]) + bytes(&diff.new_slices()[op.new_range()]);
    let fate = |tag| match tag {
        ChangeTag::Equal => Fate::Kept,
        ChangeTag::Delete => Fate::Removed,
        ChangeTag::Insert => Fate::Added,
    };
    let without_break = |text: &str| text.trim_end_matches(['\n', '\r']).to_owned();
    if sides > WORDS_BYTES_MAX {
        lines.extend(diff.iter_changes(op).map(|change| {
            let text = change.value();
            Line { fate: fate(change.tag()), pieces: vec![(false, without_break(text))] }
        }));
        return;
    }
    lines.extend(diff.iter_inline_changes(op).map(|change| {
        let pieces = change.values().iter().map(|(is_other, text)| (*is_other, without_break(text)));
        let mut pieces: Vec<_> = pieces.filter(|(_, text)| !text.is_empty()).collect();
        // Of a line that has nothing in common with another one its colour says all.
        if pieces.iter().all(|(is_other, _)| *is_other) {
            pieces.iter_mut().for_each(|(is_other, _)| *is_other = false);
        }
        Line { fate: fate(change.tag()), pieces }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(old: &str, new: &str) -> String {
        let mut text = String::new();
        for line in lines(old, new) {
            match line.fate {
                Fate::Kept => text.push_str("  "),
                Fate::Removed => text.push_str("- "),
                Fate::Added => text.push_str("+ "),
                Fate::Skipped(count) => text.push_str(&format!("… {count}")),
            }
            for (is_other, piece) in line.pieces {
                text.push_str(&if is_other { format!("[{piece}]") } else { piece.to_owned() });
            }
            text.push('\n');
        }
        text
    }

    #[test]
    fn words_that_became_others_are_told_from_those_around_them() {
        insta::assert_snapshot!(shown("fn x() {\n    let base = 100 / 1000;\n}\n", "fn x() {\n    let base = 100;\n}\n"), @r#"
          fn x() {
        -     let base = [100 / 1000;]
        +     let base = [100;]
          }
        "#);
        insta::assert_snapshot!(shown("", "new\n"), @r#"+ new"#);
        insta::assert_snapshot!(shown("a\nb\nc\n1\n2\n3\n4\n5\n6\n7\n8\n9\nd", "A\nb\nc\n1\n2\n3\n4\n5\n6\n7\n8\n9\nD"), @r#"
        - a
        + A
          b
          c
          1
        … 5
          7
          8
          9
        - d
        + D
        "#);
        assert_eq!(shown("same\n", "same\n"), "… 1\n");
    }

    #[test]
    fn what_is_too_long_to_be_compared_is_shown_whole() {
        let old: String = (0..COMPARED_LINES_MAX + 1).map(|n| format!("{n}\n")).collect();
        let found = lines(&old, "1\n");
        assert_eq!(found.len(), COMPARED_LINES_MAX + 2);
        assert_eq!(found.last().unwrap().fate, Fate::Added);
        // Other than all before, line by line and word by word: the slowest there is.
        let (old, new) = ("a b c d ".repeat(20_000), "e f g h ".repeat(20_000));
        assert_eq!(lines(&old, &new).len(), 2);
        let (old, new) = ("a\n".repeat(4_000), "b\n".repeat(4_000));
        assert_eq!(lines(&old, &new).len(), 8_000);
    }
}
