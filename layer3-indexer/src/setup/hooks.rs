//! Layer 1's table of hooks, with the programs and flags of an installation, as settings.json has them.

use layer1_prebackup::claude::hooks::{self, Hook};
use layer1_prebackup::claude::shell::quoted;
use layer1_prebackup::names::{LAYER1, LAYER2};

use crate::failure::Failure;
use crate::setup::Result;
use crate::setup::site::{self, Site};

/// All hooks of an installation, in the order of a conversation's life.
pub(crate) fn of_site(site: &Site) -> Result<Vec<Hook>> {
    let flags: String = site.flags.chunks(2).map(|pair| format!(" {} {}", pair[0], quoted(&pair[1]))).collect();
    let program = |name| Ok::<_, Failure>(quoted(site::text(&site.program(name))?) + &flags);
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
        SessionStart     {"type":"command","command":"'/h/.claude/hooks/layer1-prebackup' sweep --quiet; '/h/.claude/hooks/layer2-save-client' drain || :","async":true}
        UserPromptSubmit {"type":"command","command":"'/h/.claude/hooks/layer1-prebackup' --quiet || :","timeout":10}
        Stop             {"type":"command","command":"'/h/.claude/hooks/layer1-prebackup' --quiet || :","async":true}
        StopFailure      {"type":"command","command":"'/h/.claude/hooks/layer1-prebackup' --quiet || :","async":true}
        SubagentStop     {"type":"command","command":"'/h/.claude/hooks/layer1-prebackup' --quiet || :","async":true}
        PreCompact       {"type":"command","command":"{ '/h/.claude/hooks/layer1-prebackup' || cat; } | '/h/.claude/hooks/layer2-save-client' || :","timeout":30}
        PostCompact      {"type":"command","command":"'/h/.claude/hooks/layer1-prebackup' --quiet || :","async":true}
        SessionEnd       {"type":"command","command":"{ '/h/.claude/hooks/layer1-prebackup' || cat; } | '/h/.claude/hooks/layer2-save-client' || :","timeout":30}
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
        SessionStart     {"type":"command","command":"'/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' sweep --quiet; '/it'\\''s here/hooks/layer2-save-client' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' drain || :","async":true}
        UserPromptSubmit {"type":"command","command":"'/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' --quiet || :","timeout":10}
        Stop             {"type":"command","command":"'/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' --quiet || :","async":true}
        StopFailure      {"type":"command","command":"'/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' --quiet || :","async":true}
        SubagentStop     {"type":"command","command":"'/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' --quiet || :","async":true}
        PreCompact       {"type":"command","command":"{ '/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' || cat; } | '/it'\\''s here/hooks/layer2-save-client' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' || :","timeout":30}
        PostCompact      {"type":"command","command":"'/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' --quiet || :","async":true}
        SessionEnd       {"type":"command","command":"{ '/it'\\''s here/hooks/layer1-prebackup' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' || cat; } | '/it'\\''s here/hooks/layer2-save-client' --claude-dir '/it'\\''s here' --backup-dir '/disk/b' || :","timeout":30}
        "#);
    }
}
