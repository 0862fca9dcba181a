//! Layer 1's table of hooks, with the programs and flags of an installation, as settings.json has them.

use layer1_prebackup::claude::hooks::{self, Hook};
use layer1_prebackup::claude::shell::quoted_below_home;
use layer1_prebackup::names::{LAYER1, LAYER2};

use crate::failure::Failure;
use crate::setup::Result;
use crate::setup::site::{self, Site};

/// All hooks of an installation, in the order of a conversation's life.
pub(crate) fn of_site(site: &Site) -> Result<Vec<Hook>> {
    let home = &site.places.home;
    let flags: String =
        site.flags.chunks(2).map(|pair| format!(" {} {}", pair[0], quoted_below_home(&pair[1], home))).collect();
    let program = |name| Ok::<_, Failure>(quoted_below_home(site::text(&site.program(name))?, home) + &flags);
    Ok(hooks::of_programs(&program(LAYER1)?, &program(LAYER2)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use layer1_prebackup::config::places::PlaceFlags;

    fn table(flags: &PlaceFlags) -> String {
        let site = Site::resolve(flags, vec![("HOME".into(), "/h".into())]).unwrap();
        let row = |hook: Hook| format!("{:16} {}\n", hook.event, serde_json::to_string(&hook.handler).unwrap());
        of_site(&site).unwrap().into_iter().map(row).collect()
    }

    #[test]
    fn the_whole_configuration() {
        insta::assert_snapshot!(table(&PlaceFlags::default()), @r#"
        SessionStart     {"type":"command","command":"\"${HOME:-/h}/.claude/hooks/layer1-prebackup\" sweep --quiet; \"${HOME:-/h}/.claude/hooks/layer2-save-client\" drain || : threefold","async":true}
        UserPromptSubmit {"type":"command","command":"\"${HOME:-/h}/.claude/hooks/layer1-prebackup\" --quiet || : threefold","timeout":10}
        Stop             {"type":"command","command":"\"${HOME:-/h}/.claude/hooks/layer1-prebackup\" --quiet || : threefold","async":true}
        StopFailure      {"type":"command","command":"\"${HOME:-/h}/.claude/hooks/layer1-prebackup\" --quiet || : threefold","async":true}
        SubagentStop     {"type":"command","command":"\"${HOME:-/h}/.claude/hooks/layer1-prebackup\" --quiet || : threefold","async":true}
        PreCompact       {"type":"command","command":"{ \"${HOME:-/h}/.claude/hooks/layer1-prebackup\" || cat; } | \"${HOME:-/h}/.claude/hooks/layer2-save-client\" || : threefold","timeout":30}
        SessionEnd       {"type":"command","command":"{ \"${HOME:-/h}/.claude/hooks/layer1-prebackup\" || cat; } | \"${HOME:-/h}/.claude/hooks/layer2-save-client\" || : threefold","timeout":30}
        "#);
    }

    #[test]
    fn other_places_become_flags_and_quotes_in_them_are_escaped() {
        let flags = PlaceFlags {
            claude_dir: Some("/it's here".into()),
            backup_dir: Some("/disk/b".into()),
            ..PlaceFlags::default()
        };
        insta::assert_snapshot!(table(&flags), @r#"
        SessionStart     {"type":"command","command":"'/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' sweep --quiet; '/it'\\''s here/hooks/layer2-save-client' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' drain || : threefold","async":true}
        UserPromptSubmit {"type":"command","command":"'/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' --quiet || : threefold","timeout":10}
        Stop             {"type":"command","command":"'/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' --quiet || : threefold","async":true}
        StopFailure      {"type":"command","command":"'/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' --quiet || : threefold","async":true}
        SubagentStop     {"type":"command","command":"'/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' --quiet || : threefold","async":true}
        PreCompact       {"type":"command","command":"{ '/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' || cat; } | '/it'\\''s here/hooks/layer2-save-client' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' || : threefold","timeout":30}
        SessionEnd       {"type":"command","command":"{ '/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' || cat; } | '/it'\\''s here/hooks/layer2-save-client' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' || : threefold","timeout":30}
        "#);
    }
}
