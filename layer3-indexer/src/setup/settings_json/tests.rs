//! What becomes of settings.json in all its forms.

use super::*;
use crate::setup::site::Site;
use layer1_prebackup::config::places::PlaceFlags;

fn site(claude_dir: Option<&str>) -> Site {
    let flags = PlaceFlags { claude_dir: claude_dir.map(PathBuf::from), ..PlaceFlags::default() };
    Site::resolve(&flags, vec![("HOME".into(), "/h".into())]).unwrap()
}

fn wanted() -> Vec<Hook> {
    crate::setup::hooks::of_site(&site(None)).unwrap()
}

/// The diff of an installation; checks on the way that a second one changes nothing.
#[track_caller]
fn installed(before: &str) -> String {
    let after = with_hooks(before, &wanted()).unwrap();
    assert_eq!(with_hooks(&after, &wanted()).unwrap(), after, "a second installation changes something");
    let mut commands: Vec<_> = commands(&after).unwrap().into_iter().filter(|(_, c)| hooks::is_ours(c)).collect();
    let mut all: Vec<_> = wanted().into_iter().map(|h| (h.event.to_owned(), h.handler.command)).collect();
    commands.sort();
    all.sort();
    assert_eq!(commands, all);
    after
}

#[track_caller]
fn diff(before: &str, after: &str) -> String {
    similar::TextDiff::from_lines(before, after).unified_diff().context_radius(1).to_string()
}

/// Installs and uninstalls; the text must come back byte for byte.
#[track_caller]
fn check_inverse(before: &str) {
    assert_eq!(without_hooks(&installed(before), hooks::is_ours).unwrap(), before);
}

const OTHERS: &str = r#"{
  "model": "opus",
  "hooks": {
    "Stop": [
      { "matcher": "", "hooks": [{ "type": "command", "command": "say done" }] }
    ],
    "PreToolUse": [{ "matcher": "Bash", "hooks": [ {"type":"command","command":"guard","timeout":1.50} ] }],
    "SessionEnd": []
  },
  "env": { "A": "caf\u00e9", "B": "1e3" },
  "unknown": [1, 2,3]
}
"#;

#[test]
fn an_empty_object_is_filled() {
    insta::assert_snapshot!(installed("{}\n"), @r#"
        {
          "hooks": {
            "SessionStart": [
              {
                "hooks": [
                  {
                    "type": "command",
                    "command": "\"${HOME:-/h}/.claude/hooks/layer1-prebackup\" sweep --quiet; \"${HOME:-/h}/.claude/hooks/layer2-save-client\" drain || : threefold",
                    "async": true
                  }
                ]
              }
            ],
            "UserPromptSubmit": [
              {
                "hooks": [
                  {
                    "type": "command",
                    "command": "\"${HOME:-/h}/.claude/hooks/layer1-prebackup\" --quiet || : threefold",
                    "timeout": 10
                  }
                ]
              }
            ],
            "Stop": [
              {
                "hooks": [
                  {
                    "type": "command",
                    "command": "\"${HOME:-/h}/.claude/hooks/layer1-prebackup\" --quiet || : threefold",
                    "async": true
                  }
                ]
              }
            ],
            "StopFailure": [
              {
                "hooks": [
                  {
                    "type": "command",
                    "command": "\"${HOME:-/h}/.claude/hooks/layer1-prebackup\" --quiet || : threefold",
                    "async": true
                  }
                ]
              }
            ],
            "SubagentStop": [
              {
                "hooks": [
                  {
                    "type": "command",
                    "command": "\"${HOME:-/h}/.claude/hooks/layer1-prebackup\" --quiet || : threefold",
                    "async": true
                  }
                ]
              }
            ],
            "PreCompact": [
              {
                "hooks": [
                  {
                    "type": "command",
                    "command": "{ \"${HOME:-/h}/.claude/hooks/layer1-prebackup\" || cat; } | \"${HOME:-/h}/.claude/hooks/layer2-save-client\" || : threefold",
                    "timeout": 30
                  }
                ]
              }
            ],
            "SessionEnd": [
              {
                "hooks": [
                  {
                    "type": "command",
                    "command": "{ \"${HOME:-/h}/.claude/hooks/layer1-prebackup\" || cat; } | \"${HOME:-/h}/.claude/hooks/layer2-save-client\" || : threefold",
                    "timeout": 30
                  }
                ]
              }
            ]
          }
        }
        "#);
}

#[test]
fn the_hooks_of_others_stay_byte_for_byte() {
    insta::assert_snapshot!(diff(OTHERS, &installed(OTHERS)), @r#"
        @@ -4,6 +4,80 @@
             "Stop": [
        -      { "matcher": "", "hooks": [{ "type": "command", "command": "say done" }] }
        +      { "matcher": "", "hooks": [{ "type": "command", "command": "say done" }] },
        +      {
        +        "hooks": [
        +          {
        +            "type": "command",
        +            "command": "\"${HOME:-/h}/.claude/hooks/layer1-prebackup\" --quiet || : threefold",
        +            "async": true
        +          }
        +        ]
        +      }
             ],
             "PreToolUse": [{ "matcher": "Bash", "hooks": [ {"type":"command","command":"guard","timeout":1.50} ] }],
        -    "SessionEnd": []
        +    "SessionEnd": [
        +      {
        +        "hooks": [
        +          {
        +            "type": "command",
        +            "command": "{ \"${HOME:-/h}/.claude/hooks/layer1-prebackup\" || cat; } | \"${HOME:-/h}/.claude/hooks/layer2-save-client\" || : threefold",
        +            "timeout": 30
        +          }
        +        ]
        +      }
        +    ],
        +    "SessionStart": [
        +      {
        +        "hooks": [
        +          {
        +            "type": "command",
        +            "command": "\"${HOME:-/h}/.claude/hooks/layer1-prebackup\" sweep --quiet; \"${HOME:-/h}/.claude/hooks/layer2-save-client\" drain || : threefold",
        +            "async": true
        +          }
        +        ]
        +      }
        +    ],
        +    "UserPromptSubmit": [
        +      {
        +        "hooks": [
        +          {
        +            "type": "command",
        +            "command": "\"${HOME:-/h}/.claude/hooks/layer1-prebackup\" --quiet || : threefold",
        +            "timeout": 10
        +          }
        +        ]
        +      }
        +    ],
        +    "StopFailure": [
        +      {
        +        "hooks": [
        +          {
        +            "type": "command",
        +            "command": "\"${HOME:-/h}/.claude/hooks/layer1-prebackup\" --quiet || : threefold",
        +            "async": true
        +          }
        +        ]
        +      }
        +    ],
        +    "SubagentStop": [
        +      {
        +        "hooks": [
        +          {
        +            "type": "command",
        +            "command": "\"${HOME:-/h}/.claude/hooks/layer1-prebackup\" --quiet || : threefold",
        +            "async": true
        +          }
        +        ]
        +      }
        +    ],
        +    "PreCompact": [
        +      {
        +        "hooks": [
        +          {
        +            "type": "command",
        +            "command": "{ \"${HOME:-/h}/.claude/hooks/layer1-prebackup\" || cat; } | \"${HOME:-/h}/.claude/hooks/layer2-save-client\" || : threefold",
        +            "timeout": 30
        +          }
        +        ]
        +      }
        +    ]
           },
    "#);
}

#[test]
fn uninstalling_is_the_inverse_of_installing() {
    check_inverse("{}");
    check_inverse("{}\n");
    check_inverse("{\n\t\"model\": \"opus\"\n}\n");
    check_inverse("{\r\n    \"model\": \"opus\",\r\n    \"env\": {}\r\n}\r\n");
    let mut canonical: Value = serde_json::from_str(OTHERS).unwrap();
    canonical["hooks"].as_object_mut().unwrap().remove("SessionEnd");
    check_inverse(&serde_json::to_string_pretty(&canonical).unwrap());
    check_inverse(&OTHERS.replace(",\n    \"SessionEnd\": []", ""));
}

#[test]
fn what_stood_on_one_line_comes_back_with_other_blanks_and_nothing_else() {
    let before = r#"{"b":1.50,"hooks":{"Stop":[{"hooks":[{"type":"command","command":"x"}]}]},"a":"\u00e9"}"#;
    let after = without_hooks(&installed(before), hooks::is_ours).unwrap();
    assert_eq!(after.split_whitespace().collect::<String>(), before);
}

#[test]
fn of_members_of_one_name_the_last_counts() {
    let before = r#"{"hooks": 1, "hooks": {"Stop": 2, "Stop": [{"matcher": "x", "hooks": []}]}}"#;
    assert_eq!(commands(&installed(before)).unwrap().len(), wanted().len());
}

#[test]
fn what_a_user_added_to_our_handler_stays() {
    let before = installed("{}\n").replacen(
        "\"async\": true",
        "\"shell\": \"zsh\",\n            \"statusMessage\": \"saving\"",
        1,
    );
    let after = installed(&before);
    assert!(
        after.contains("\"statusMessage\": \"saving\",\n            \"async\": true") && !after.contains("zsh"),
        "{after}"
    );
}

#[test]
fn what_cannot_be_understood_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("settings.json");
    let report = |content: &str| {
        std::fs::write(&path, content).unwrap();
        let error = Change::of(&path, |text| with_hooks(text, &wanted())).err().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        format!("{error:#}").replace(dir.path().to_str().unwrap(), "").split_once("again: ").unwrap().1.to_owned()
    };
    let contents = ["[]", "{\"a\": 1,}", "// note\n{}", "{\"hooks\": []}", "{\"hooks\": {\"Stop\": {}}}"];
    insta::assert_snapshot!(contents.map(report).join("\n"), @r#"
        it is JSON, but not an object
        it is not JSON: key must be a string at line 1 column 9
        it is not JSON: expected value at line 1 column 1
        its "hooks" is not an object
        its "hooks.Stop" is not a list
        "#);
}

#[test]
fn a_symlink_stays_and_its_target_keeps_its_mode_and_byte_order_mark() {
    let dir = tempfile::tempdir().unwrap();
    let (link, target) = (dir.path().join("settings.json"), dir.path().join("dotfiles.json"));
    std::fs::write(&target, "\u{feff}{\n  \"a\": 1\n}").unwrap();
    std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("dotfiles.json", &link).unwrap();
    let change = Change::of(&link, |text| with_hooks(text, &wanted())).unwrap();
    let backup = change.make().unwrap().unwrap();
    assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("dotfiles.json"));
    assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o7777, 0o640);
    assert!(std::fs::read_to_string(&target).unwrap().starts_with("\u{feff}{\n  \"a\": 1,\n  \"hooks\": {"));
    assert_eq!(std::fs::read_to_string(backup).unwrap(), "\u{feff}{\n  \"a\": 1\n}");
    assert!(Change::of(&link, |text| with_hooks(text, &wanted())).unwrap().make().unwrap().is_none());
    assert_eq!(backups_of(&link).unwrap().len(), 1);
}

#[test]
fn a_change_in_between_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("settings.json");
    std::fs::write(&path, "{}").unwrap();
    let change = Change::of(&path, |text| with_hooks(text, &wanted())).unwrap();
    std::fs::write(&path, "{\"model\": \"opus\"}").unwrap();
    assert!(change.make().unwrap_err().to_string().ends_with("it changed meanwhile; run this again"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"model\": \"opus\"}");
}

#[test]
fn a_file_that_was_made_by_us_goes_with_our_hooks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/settings.json");
    let install = || Change::of(&path, |text| with_hooks(text, &wanted())).unwrap().make().unwrap();
    let uninstall = || Change::of_removal(&path, &wanted()).unwrap().make().unwrap();
    assert!(install().is_none());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, MODE_NEW);
    assert!(uninstall().is_none());
    assert!(!path.exists());
    std::fs::write(&path, "{}\n").unwrap();
    assert!(install().is_some());
    assert!(uninstall().is_some());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}\n");
}

#[test]
fn settings_come_back_as_they_were_to_the_byte_however_they_were_written() {
    for before in [
        "{}",
        "{ }\n",
        "{\"hooks\":{}}",
        "{\"a\":1,\"hooks\": {\"Stop\": [ ], \"Other\":[]},\"n\":1.50}",
        "\u{feff}{\"model\" : \"opus\"}",
        " \n",
        "{\r\n\t\"hooks\": {\"SessionEnd\": [{\"hooks\": []}]}\r\n}\r\n",
        "{\"a\": 1, \"a\": 2}",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.json");
        std::fs::write(&path, before).unwrap();
        // As an older version wrote them, then as this one does.
        for hooks in [hooks::of_programs("/old/layer1-prebackup", "/old/layer2-save-client"), wanted()] {
            Change::of(&path, |text| with_hooks(text, &hooks)).unwrap().make().unwrap();
        }
        let installed = std::fs::read_to_string(&path).unwrap();
        Change::of_removal(&path, &wanted()).unwrap().make().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
        // What the user has added since stays.
        std::fs::write(&path, installed.replacen('{', "{\"mine\": 1,", 1)).unwrap();
        Change::of_removal(&path, &wanted()).unwrap().make().unwrap();
        let after = std::fs::read_to_string(&path).unwrap();
        assert!(after.contains("\"mine\": 1") && !after.contains("layer1-prebackup"), "{after}");
    }
}
