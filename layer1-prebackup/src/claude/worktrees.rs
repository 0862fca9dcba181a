//! The worktrees that `claude -w NAME` makes: `<project>/.claude/worktrees/NAME`.

/// What stands between a project's directory and the name of a worktree of it, also in a transcript from Windows.
const BETWEEN: [&str; 2] = ["/.claude/worktrees/", "\\.claude\\worktrees\\"];

/// The directory of the project that a worktree of Claude Code belongs to, or the directory itself. Decided by the path
/// alone: Claude Code removes an unchanged worktree when its session ends.
pub fn project_of_worktree(directory: &str) -> &str {
    match BETWEEN.iter().filter_map(|between| directory.find(between)).min() {
        Some(at) if at > 0 => &directory[..at],
        _ => directory,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worktree_belongs_to_the_project_above_it() {
        for (directory, project) in [
            ("/home/me/app/.claude/worktrees/brave-fox", "/home/me/app"),
            ("/home/me/app/.claude/worktrees/a/src/.claude/worktrees/b", "/home/me/app"),
            ("/home/me/app/.claude", "/home/me/app/.claude"),
            ("/home/me/app", "/home/me/app"),
            ("/.claude/worktrees/a", "/.claude/worktrees/a"),
            ("D:\\app\\.claude\\worktrees\\brave-fox", "D:\\app"),
        ] {
            assert_eq!(project_of_worktree(directory), project);
        }
    }
}
