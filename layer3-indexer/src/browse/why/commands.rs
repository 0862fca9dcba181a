//! What commands did that the stored conversations ran: which one made a commit, and what a file was called before.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use layer1_prebackup::claude::shell;

use super::git::Commit;
use super::history::Name;
use super::target::{Target, absolute};
use crate::index::fold::indexed;
use crate::index::{Contents, Index, IndexError, Line, Wanted};
use crate::transcript::metadata::argument;
use crate::transcript::record::{Block, with_record};

/// The tool that runs commands.
pub(super) const SHELL: &str = "Bash";
/// Calls that are looked at for one question.
const CALLS_MAX: usize = 200;
/// Names of one file that are followed.
const NAMES_MAX: usize = 8;
/// Letters of a hash that git shows at least, and most that it shows of a long history.
const SHORT_HASH: std::ops::RangeInclusive<usize> = 7..=12;
/// A commit that was made in a conversation is this far from it at most where only its message says so.
const SAME_COMMIT_MS_MAX: i64 = 3 * 24 * 60 * 60 * 1000;

/// Between the call that makes a commit and the commit, hooks of git included.
const AT_ONCE_MS_MAX: i64 = 5 * 60 * 1000;

/// A word or a row of words, as FTS5 takes it.
pub(super) fn phrase(text: &str) -> String {
    format!("\"{}\"", indexed(Cow::Owned(text.replace(['"', '\0'], " "))))
}

/// The commands that a record runs.
pub(super) fn commands_in(bytes: &[u8]) -> (Vec<String>, Option<String>) {
    let read = with_record(bytes, |record| {
        let command = |block: &Block<'_>| match block {
            Block::ToolUse { name, input: Some(input), .. } if name == SHELL => argument(input, "command"),
            _ => None,
        };
        (record.blocks.iter().filter_map(command).collect(), record.cwd.as_deref().map(str::to_owned))
    });
    read.unwrap_or_default()
}

/// The names that the file bore, its present one first: what `mv` and `git mv` made of them.
pub(super) fn names(
    index: &Index,
    contents: &dyn Contents,
    target: &Target,
    within: Option<&[i64]>,
) -> Result<Vec<Name>, IndexError> {
    let mut names = vec![Name { path: target.path.clone(), until_ms: None }];
    let mut at = 0;
    while at < names.len() && names.len() < NAMES_MAX {
        let name = names[at].clone();
        at += 1;
        let Some(file) = name.path.file_name().and_then(|file| file.to_str()) else { continue };
        let expression = format!("tool_input : (\"mv\" AND {})", phrase(file));
        let wanted = Wanted::Words { expression: &expression, tool: Some(SHELL), limit: CALLS_MAX };
        index.lines(contents, wanted, within, &mut |line| {
            let (commands, cwd) = commands_in(&line.bytes);
            for command in commands {
                let before = moved_to(&command, cwd.as_deref(), &name.path, target);
                let before = before.filter(|before| names.iter().all(|known| known.path != *before));
                names.extend(before.map(|path| Name { path, until_ms: Some(line.time_ms) }));
            }
            ControlFlow::Continue(())
        })?;
    }
    names.truncate(NAMES_MAX);
    Ok(names)
}

/// What a command moves to this path, in whatever checkout, as it would be called in the one that is asked about.
fn moved_to(command: &str, cwd: Option<&str>, path: &Path, target: &Target) -> Option<PathBuf> {
    let relative = path.strip_prefix(&target.root).ok()?;
    let mut directory = absolute(".", cwd);
    for line in command.lines() {
        let tokens = shell::tokens(line, Path::new("/"));
        for simple in tokens.split(|token| token.is_operator) {
            let words: Vec<&str> = simple.iter().map(|token| token.text.as_str()).collect();
            let words = words.strip_prefix(&["git"]).unwrap_or(&words);
            let operands = || words[1..].iter().filter(|word| !word.starts_with('-')).copied().collect::<Vec<_>>();
            let from_here = |path: &str| absolute(path, directory.to_str());
            match words.first() {
                Some(&"cd") => {
                    let to = operands().first().map(|to| from_here(to));
                    directory = to.unwrap_or(directory);
                }
                Some(&"mv") => {
                    let operands = operands();
                    let Some((to, from)) = operands.split_last() else { continue };
                    for from in from {
                        let (from, to) = (from_here(from), from_here(to));
                        let inside = from.file_name().map(|name| to.join(name));
                        let to = [Some(to), inside].into_iter().flatten().find(|to| to.ends_with(relative));
                        let root =
                            to.and_then(|to| to.ancestors().nth(relative.components().count()).map(Path::to_owned));
                        if let Some(before) = root.and_then(|root| from.strip_prefix(root).ok().map(Path::to_owned)) {
                            return Some(target.root.join(before)).filter(|before| before != path);
                        }
                    }
                }
                _ => {}
            }
        }
    }
    None
}

/// The conversation that made a commit: its call or its answer, and whether that is certain. What git printed when it made
/// it holds its hash; a commit that was made anew since, by a rebase for instance, has its message in the call.
pub(super) fn maker(
    index: &Index,
    contents: &dyn Contents,
    commit: &Commit,
    within: Option<&[i64]>,
) -> Result<Option<(Line, bool)>, IndexError> {
    let short = SHORT_HASH.filter_map(|length| commit.hash.get(..length)).map(phrase).collect::<Vec<_>>();
    let printed = format!("tool_output : ({})", short.join(" OR "));
    let made = made_by(index, contents, &printed, within, &|line| prints_commit(line, &commit.hash))?;
    if let Some(line) = made.into_iter().min_by_key(|line| line.age) {
        return Ok(Some((line, true)));
    }
    if commit.subject.split_whitespace().count() < 2 {
        return Ok(None);
    }
    let called = format!("tool_input : ({} AND \"commit\")", phrase(&commit.subject));
    let is_near = |line: &Line| (line.time_ms - commit.author_ms).abs() <= SAME_COMMIT_MS_MAX;
    let mut made = made_by(index, contents, &called, within, &|line| {
        let commits = |command: &String| command.contains("git commit") && command.contains(&commit.subject);
        is_near(line) && commands_in(&line.bytes).0.iter().any(commits)
    })?;
    made.sort_by_key(|line| (line.age, (line.time_ms - commit.author_ms).abs()));
    // The time of a commit's changes stays when it is made anew: that is when the call was made.
    let is_at_once = |line: &Line| (line.time_ms - commit.author_ms).abs() <= AT_ONCE_MS_MAX;
    let is_certain = made.iter().all(|line| line.session == made[0].session && is_at_once(line));
    Ok(made.into_iter().next().map(|line| (line, is_certain)))
}

fn made_by(
    index: &Index,
    contents: &dyn Contents,
    expression: &str,
    within: Option<&[i64]>,
    is_it: &dyn Fn(&Line) -> bool,
) -> Result<Vec<Line>, IndexError> {
    let mut made = Vec::new();
    let wanted = Wanted::Words { expression, tool: Some(SHELL), limit: CALLS_MAX };
    index.lines(contents, wanted, within, &mut |line| {
        if !line.is_echo && is_it(&line) {
            made.push(line);
        }
        ControlFlow::Continue(())
    })?;
    Ok(made)
}

/// Whether git says in an answer that it made the commit: `[main 8bb4d18] add the parser`.
fn prints_commit(line: &Line, hash: &str) -> bool {
    let says = |text: &str| {
        text.lines().filter_map(|line| line.strip_prefix('[')?.split_once(']')).any(|(head, _)| {
            let short = head.rsplit(' ').next().unwrap_or_default();
            short.len() >= *SHORT_HASH.start() && hash.starts_with(short)
        })
    };
    let of_block = |block: &Block<'_>| matches!(block, Block::ToolResult { text, .. } if says(text));
    with_record(&line.bytes, |record| record.blocks.iter().any(of_block)).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_file_is_known_by_its_old_name() {
        let target = Target { path: "/app/src/new.rs".into(), root: "/app".into(), text: None, lines: None };
        let before = |command: &str, cwd: &str| {
            moved_to(command, Some(cwd), &target.path, &target).map(|path| path.display().to_string())
        };
        for (command, cwd, expected) in [
            ("mv src/old.rs src/new.rs", "/app", Some("/app/src/old.rs")),
            ("git mv -f old.rs new.rs && cargo test", "/app/src", Some("/app/src/old.rs")),
            ("cd src && mv ../new.rs .", "/app", Some("/app/new.rs")),
            ("mv /app/lib/new.rs /app/src/", "/", Some("/app/lib/new.rs")),
            ("cd /app/.claude/worktrees/w && git mv src/old.rs src/new.rs", "/app", Some("/app/src/old.rs")),
            ("mv a.rs b.rs", "/app/src", None),
            ("mv src/new.rs src/newer.rs", "/app", None),
            ("echo mv", "/app", None),
        ] {
            assert_eq!(before(command, cwd).as_deref(), expected, "{command}");
        }
    }

    #[test]
    fn what_becomes_a_phrase_is_never_syntax() {
        assert_eq!(phrase("say \"hi\" AND\0"), "\"say  hi  AND \"");
    }
}
