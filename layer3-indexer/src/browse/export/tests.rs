//! Snapshots of a small conversation, hostile transcripts, secrets in every place, and what is
//! said where something is damaged or left out.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use layer1_prebackup::names::{FileName, StoredName};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::terminal::time::Clock;
use crate::testing::{ID, Scene, answer, cpu_time, flip_last_byte, prompt};
use crate::transcript::record::Role;

/// A record of the conversation; `n` is its second.
fn line(n: u32, kind: &str, content: Value, more: Value) -> String {
    let mut record = json!({
        "type": kind, "uuid": format!("u-{n:04}"), "sessionId": ID, "cwd": "/home/dev/proj", "gitBranch": "main",
        "version": "2.1.330", "timestamp": format!("2026-11-22T10:{:02}:{:02}.000Z", n / 60, n % 60),
        "message": {"role": kind, "content": content},
    });
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    format!("{record}\n")
}

fn says(n: u32, block: Value) -> String {
    line(n, "assistant", json!([block]), json!({}))
}

fn call(n: u32, id: &str, tool: &str, input: Value) -> String {
    says(n, json!({"type": "tool_use", "id": id, "name": tool, "input": input}))
}

fn result(n: u32, id: &str, content: Value, is_error: bool) -> String {
    line(
        n,
        "user",
        json!([{"type": "tool_result", "tool_use_id": id, "content": content, "is_error": is_error}]),
        json!({}),
    )
}

fn small() -> Vec<String> {
    vec![
        prompt(1, "Why does `parse` fail? See https://example.com/1."),
        says(2, json!({"type": "thinking", "thinking": "Let me look."})),
        call(3, "t1", "Bash", json!({"command": "cargo test\n  --all", "description": "Run"})),
        result(4, "t1", json!("\u{1b}[31mFAILED\u{1b}[0m\nline 2"), true),
        call(5, "t2", "Agent", json!({"description": "look", "prompt": "Look at it"})),
        result(6, "t2", json!([{"type": "text", "text": "It is `x`."}]), false),
        answer(
            7,
            "## Found\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```rust\nlet x: Vec<u8> = a && b;\n```\n**Done**, with `Vec<u8>`.",
        ),
        line(8, "user", json!("What was done."), json!({"isCompactSummary": true})),
        prompt(9, "<command-name>/cost</command-name><command-args>all</command-args>"),
        prompt(10, "<local-command-stdout>1 $</local-command-stdout>"),
        says(11, json!({"type": "image"})),
        format!("{}\n", json!({"type": "custom-title", "customTitle": "The <parse> bug", "sessionId": ID})),
        format!("{}\n", json!({"type": "brand-new", "uuid": "n", "sessionId": ID})),
    ]
}

fn with_subagent(scene: &Scene) {
    let side = scene.transcript().with_extension("").join("subagents");
    scene.write(&side.join("agent-1.jsonl"), &(prompt(5, "Look at it") + &answer(6, "I looked.")));
    scene.write(
        &side.join("agent-1.meta.json"),
        r#"{"agentType":"general-purpose","description":"look","toolUseId":"t2"}"#,
    );
}

fn saved(lines: &[String]) -> Scene {
    let scene = Scene::new();
    scene.transcribe(lines);
    scene.receipt(None);
    scene
}

fn options(format: Format) -> Options {
    Options { clock: Clock::UTC, ..Options::of(format) }
}

fn page(scene: &Scene, options: &Options) -> (String, Exported) {
    let mut out = Vec::new();
    let exported = export(&scene.copies(), options, &mut out).unwrap();
    (String::from_utf8(out).unwrap(), exported)
}

/// The page without its style.
fn body(page: &str) -> String {
    let (head, rest) = page.split_once("<style>").unwrap();
    format!("{head}{}", rest.split_once("</style>").unwrap().1)
}

#[test]
fn a_small_conversation_as_html() {
    let scene = Scene::new();
    with_subagent(&scene);
    scene.transcribe(&small());
    scene.receipt(None);
    let (html, exported) = page(&scene, &options(Format::Html));
    insta::assert_snapshot!("small_html", body(&html));
    assert_eq!((exported.messages, exported.subagents, exported.cut, exported.masked), (11, 1, 0, None));
}

#[test]
fn a_small_conversation_as_markdown() {
    let scene = Scene::new();
    with_subagent(&scene);
    scene.transcribe(&small());
    scene.receipt(None);
    let (markdown, _) = page(&scene, &options(Format::Markdown));
    insta::assert_snapshot!("small_markdown", markdown);
}

/// What transcripts were made of to get out of a page.
const HOSTILE: [&str; 35] = [
    "see http://e/<svg onload=alert(1)> http://e/`<script>`",
    "www.evil.com/<svg onload=alert(1)>",
    "a@b.co<svg onload=alert(1)>",
    "http://e/`a b` `<c>`",
    "\\<b> \\`<b>`",
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)>",
    "' onmouseover='alert(1)",
    "\" onmouseover=\"alert(1)",
    "<!-- ",
    "--> </details></article></main></body></html>",
    "</pre></style><style>*{display:none}</style>",
    "</title><script>alert(1)</script>",
    "<meta http-equiv=refresh content=\"0;url=https://evil.test\">",
    "<base href=//evil.test>",
    "<![CDATA[ ]]> <?php ?>",
    "[x](javascript:alert(1))",
    "javascript:alert(1)",
    "https://bank.example@evil.test/",
    "https://evil.test/\"onmouseover=\"alert(1)",
    "https://evil.test/<script>",
    "abc\u{202e}gnp.exe\u{202c}",
    "\0 \u{1b}]0;title\u{7} \u{1b}[2J \u{9b}31m \u{7f}",
    "&lt;script&gt; &#60;script&#62; &",
    "```\n</pre><script>alert(1)</script>\n```",
    "```\"><script>\nnever closed",
    "`</code><script>`",
    "**</strong><script>**",
    "# <script>",
    "| <script> |\n| `a|<script>` |\n|---|",
    "\u{feff}\u{2028}<script\u{2028}>\u{e0041}",
    "![beacon](https://evil.test/b.png)",
    "- ```\n~~~\n<script>",
];

/// Hostile text wherever a transcript can hold text.
fn hostile(text: &str, cwd: &str) -> Vec<String> {
    let more = json!({"uuid": text, "cwd": cwd, "gitBranch": text, "version": text});
    vec![
        line(1, "user", json!(text), more.clone()),
        line(
            2,
            "assistant",
            json!([{"type": "text", "text": text}, {"type": "thinking", "thinking": text}, {"type": text}]),
            more,
        ),
        call(3, text, text, json!({text: text, "file_path": text, "nested": {text: [text, {text: text}]}})),
        result(4, text, json!(text), true),
        line(5, "user", json!(text), json!({"isCompactSummary": true})),
        prompt(6, &json!(format!("<command-name>{text}</command-name>")).as_str().unwrap().replace('\n', " ")),
        prompt(7, &format!("<local-command-stdout>{text}")),
        line(8, "system", json!(null), json!({"subtype": "informational", "content": text})),
        call(9, "edit", "Edit", json!({"file_path": text, "old_string": text, "new_string": format!("{text} {text}")})),
        call(10, "edits", "MultiEdit", json!({"file_path": text, "edits": [{"old_string": text, "new_string": text}]})),
        call(10, "write", "Write", json!({"file_path": text, "content": text, text: text})),
        call(10, "shell", "Bash", json!({"command": text, "description": text})),
        call(10, "agent", "Agent", json!({"prompt": text, "description": text, "subagent_type": text})),
        result(10, "agent", json!(format!("{text}\nagentId: {text}")), false),
        call(10, "skill", "Skill", json!({"skill": text, "args": text})),
        call(10, "plan", "ExitPlanMode", json!({"plan": text})),
        call(10, "todo", "TodoWrite", json!({"todos": [{"content": text, "status": text, "activeForm": text}]})),
        call(
            10,
            "ask",
            "AskUserQuestion",
            json!({"questions": [{"question": text, "header": text, "options": [{"label": text, "description": text}]}]}),
        ),
        result(10, "ask", json!(answered(text)), false),
        call(10, "mcp", &format!("mcp__{text}__{text}"), json!({"query": text})),
        line(
            11,
            "user",
            json!([{"type": "image", "source": {"type": "base64", "media_type": text, "data": text}}]),
            json!({}),
        ),
        format!("{}\n", json!({"type": "custom-title", "customTitle": text, "sessionId": ID})),
        format!("{}\n", json!({"type": text, "uuid": text, "sessionId": ID})),
    ]
}

/// As Claude Code tells the model what its user answered.
fn answered(text: &str) -> String {
    let answers = format!("\"{text}\"=\"{text}\", \"q\"=\"{text}\"");
    format!("User has answered your questions: {answers}. You can now continue with the user's answers in mind.")
}

fn hostile_page(text: &str, format: Format) -> String {
    let scene = Scene::new();
    let side = scene.transcript().with_extension("").join("subagents");
    scene.write(&side.join("agent-1.jsonl"), &line(20, "user", json!(text), json!({"isSidechain": true})));
    let meta = json!({"agentType": text, "description": text, "toolUseId": text});
    scene.write(&side.join("agent-1.meta.json"), &meta.to_string());
    scene.transcribe(&hostile(text, text));
    scene.receipt(None);
    page(&scene, &options(format)).0
}

/// Every tag of the page with its attributes, as a browser would see them. Panics where something
/// stands that this program does not write.
fn check_html(page: &str) {
    const TAGS: [&str; 47] = [
        "html",
        "head",
        "meta",
        "title",
        "body",
        "header",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "br",
        "hr",
        "main",
        "nav",
        "section",
        "article",
        "a",
        "time",
        "div",
        "pre",
        "code",
        "strong",
        "em",
        "del",
        "mark",
        "b",
        "details",
        "summary",
        "span",
        "p",
        "blockquote",
        "ul",
        "ol",
        "li",
        "img",
        "label",
        "input",
        "footer",
        "!doctype",
    ];
    let body = body(page);
    assert!(!body.contains("<!--"));
    assert_eq!(text::visible(&body), body, "an invisible character");
    let mut open: Vec<String> = Vec::new();
    let mut ids = HashSet::new();
    let mut rest = body.as_str();
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "a bracket outside of a tag: {}", &rest[..at]);
        let end = at + rest[at..].find('>').expect("an open tag");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split(' ').next().unwrap().trim();
        assert!(TAGS.contains(&name), "<{tag}>");
        for (attribute, value) in attributes(tag) {
            let is_ours = match attribute {
                "class" | "dir" | "scope" | "datetime" | "title" | "rel" | "charset" | "http-equiv" | "name"
                | "content" | "alt" | "data-language" => true,
                // Ours alone: see CHOICE.
                "type" | "checked" | "autocomplete" => name == "input" && tag.contains("id=\"n-t"),
                "start" => value.bytes().all(|b| b.is_ascii_digit()),
                "id" => ids.insert(value.to_owned()) && (value.starts_with("m-") || value.starts_with("n-")),
                "src" => name == "img" && value.starts_with("data:image/png;base64,"),
                "href" => value.starts_with('#') || value.starts_with("https://") || value.starts_with("http://"),
                _ => false,
            };
            assert!(is_ours && !value.contains('<'), "<{tag}>: {attribute}={value}");
        }
        match (tag.starts_with('/'), name) {
            (_, "meta" | "br" | "hr" | "img" | "input" | "!doctype") => {}
            (true, name) => assert_eq!(open.pop().as_deref(), Some(name), "closed in the wrong order"),
            (false, name) => open.push(name.to_owned()),
        }
    }
    assert_eq!((open, rest), (Vec::new(), "\n"));
}

fn attributes(tag: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = tag;
    while let Some((before, after)) = rest.split_once("=\"") {
        let (value, next) = after.split_once('"').expect("a closed attribute");
        found.push((before.rsplit(' ').next().unwrap(), value));
        rest = next;
    }
    let rest = if tag.starts_with("details ") { rest.replace(" open", "") } else { rest.to_owned() };
    assert!(tag.starts_with('!') || rest.trim().is_empty() || found.is_empty(), "<{tag}>");
    found
}

/// Nothing of a transcript is HTML, a heading or a picture, as a real renderer has it; and neither where bare addresses are
/// links that swallow whatever stands in them, as on GitHub.
fn check_markdown(page: &str) {
    assert_eq!(text::visible(page), page, "an invisible character");
    let without = without_addresses(page);
    for page in [page, &without] {
        let (mut is_in_code, mut footer) = (false, false);
        let mut heading = None;
        for event in pulldown_cmark::Parser::new_ext(page, pulldown_cmark::Options::all()) {
            use pulldown_cmark::{Event, HeadingLevel, Tag, TagEnd};
            match event {
                Event::Html(live) | Event::InlineHtml(live) => panic!("live HTML: {live:?} in {page}"),
                Event::Start(Tag::Image { dest_url, .. }) => panic!("a picture: {dest_url} in {page}"),
                Event::Start(Tag::Link { dest_url, .. }) => {
                    // Without its address a link is to what stood behind that.
                    let is_ours = page == without || ["http://", "https://"].iter().any(|it| dest_url.starts_with(it));
                    assert!(is_ours, "a link to {dest_url} in {page}");
                }
                Event::Start(Tag::Heading { level, .. }) => heading = Some((level, String::new())),
                Event::End(TagEnd::Heading(_)) => {
                    let (level, words) = heading.take().unwrap();
                    let ours = ["User", "Claude", "Agent", "Tool", "Summary", "System", "Subagent"];
                    let is_ours = level == HeadingLevel::H1 || ours.iter().any(|ours| words.starts_with(ours));
                    assert!(is_ours && level <= HeadingLevel::H3, "a heading: {words:?} in {page}");
                }
                Event::Start(Tag::CodeBlock(_)) => is_in_code = true,
                Event::End(TagEnd::CodeBlock) => is_in_code = false,
                Event::Text(text) => {
                    heading.iter_mut().for_each(|(_, words)| words.push_str(&text));
                    footer |= !is_in_code && text.contains("exported by Threefold");
                }
                _ => {}
            }
        }
        assert!(footer, "an open fence swallows the end of {page}");
    }
}

/// The page without its bare addresses, each of which may reach to the next blank or `<`. What is code has none.
fn without_addresses(page: &str) -> String {
    let mut fence = None;
    let outside_fences = |line: &str| {
        let (mut out, mut rest) = (String::new(), line);
        while let Some(first) = rest.chars().next() {
            let ticks = rest.len() - rest.trim_start_matches('`').len();
            let length = if ticks > 0 {
                end_of_span(rest, ticks).unwrap_or(ticks)
            } else if ["http://", "https://", "www.", "mailto:", "@"].iter().any(|start| rest.starts_with(start)) {
                rest = &rest[rest.find([' ', '<']).unwrap_or(rest.len())..];
                continue;
            } else {
                first.len_utf8()
            };
            out.push_str(&rest[..length]);
            rest = &rest[length..];
        }
        out
    };
    let line = |line: &str| {
        let ticks = line.len() - line.trim_start_matches('`').len();
        match fence {
            None if ticks >= 3 && !line[ticks..].contains('`') => fence = Some(ticks),
            Some(open) if ticks == open && line.len() == open => fence = None,
            None => return outside_fences(line),
            Some(_) => {}
        }
        line.to_owned()
    };
    page.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Where the code span ends that so many backticks open at the beginning of the text, if any ends it.
fn end_of_span(text: &str, ticks: usize) -> Option<usize> {
    let mut at = ticks;
    loop {
        at += text[at..].find('`')?;
        let run = text[at..].len() - text[at..].trim_start_matches('`').len();
        at += run;
        if run == ticks {
            return Some(at);
        }
    }
}

/// What may stand before something live and take away what was to disarm it, and what may be live.
#[test]
fn no_mix_of_what_is_harmless_is_live() {
    const BEFORE: [&str; 20] = [
        "",
        "see http://e/",
        "https://e/?q=",
        "www.evil.com/",
        "a@b.co",
        "mailto:a@b.co",
        "http://e/`",
        "http://e/`a b` ",
        "\\",
        "\\\\",
        "`",
        "`` ` ",
        "x`y`",
        "**",
        "| a | ",
        "> ",
        "- ",
        "    ",
        "[a](https://e/",
        "&lt;",
    ];
    const LIVE: [&str; 20] = [
        "<svg onload=alert(1)>",
        "<img src=x onerror=alert(1)>",
        "<a href=\"javascript:alert(1)\">x</a>",
        "`<script>1</script>`",
        "``<b>``",
        "<script>alert(1)</script>",
        "<!-- x -->",
        "<?php x ?>",
        "<![CDATA[x]]>",
        "<javascript:alert(1)>",
        "[x](javascript:alert(1))",
        "![x](https://e/b.png)",
        "[x]: javascript:alert(1)",
        "[![x](https://e)](https://e)",
        "[x][y]",
        "[x](https://e \"<b>\")",
        "[`](https://e)<b>`",
        "&#60;b>",
        "</pre><b>",
        "<B/x>",
    ];
    for before in BEFORE {
        let said = LIVE.map(|live| format!("{before}{live} `ok`\n{before}{live}\n\n{live}{before}{live}"));
        let scene = Scene::new();
        scene.transcribe(&said.iter().zip(1..).map(|(said, n)| answer(n, said)).collect::<Vec<_>>());
        scene.receipt(None);
        check_markdown(&page(&scene, &options(Format::Markdown)).0);
    }
}

/// Twice the text costs about twice the time; a quadratic search in it would cost many times more than all of this.
#[test]
fn long_lines_of_one_thing_are_written_in_time() {
    let runs: String = (1..600).map(|n| "`".repeat(n) + " ").collect();
    let units = [
        "[",
        "![",
        "`a",
        "**x ",
        "~",
        "\\",
        "<",
        "h",
        "xhttp://",
        "http://a.b/`",
        "](",
        "\u{200b}",
        "> ",
        "# ",
        "*",
        "|",
        "- ",
        "\"=\"",
        "\", \"",
        "\nagentId: ",
    ];
    for text in units.iter().map(|unit| unit.repeat(80_000 / unit.len())).chain([runs]) {
        let scene = Scene::new();
        scene.transcribe(&[
            answer(1, &text),
            prompt(2, &text),
            result(3, "ask", json!(answered(&text)), false),
            call(4, "agent", "Agent", json!({})),
            result(5, "agent", json!(format!("{text}\nagentId: {text}")), false),
        ]);
        scene.receipt(None);
        for format in [Format::Html, Format::Markdown] {
            let begun = cpu_time();
            page(&scene, &options(format));
            let seconds = (cpu_time() - begun).as_secs();
            assert!(seconds < 5, "{seconds} seconds for {:?}… in {format:?}", &text[..12]);
        }
    }
}

#[test]
fn hostile_transcripts_are_text() {
    for text in HOSTILE {
        check_html(&hostile_page(text, Format::Html));
        check_markdown(&hostile_page(text, Format::Markdown));
    }
}

#[test]
fn no_link_leads_elsewhere() {
    let html = hostile_page("https://bank.example@evil.test/ javascript:alert(1) https://ok.test/x", Format::Html);
    let links: HashSet<&str> =
        html.match_indices("href=\"h").map(|(at, _)| html[at + 6..].split('"').next().unwrap()).collect();
    assert_eq!(links, HashSet::from(["https://ok.test/x"]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_text_gets_out_of_the_page(
        text in "(?s)(<|>|\"|'|&|`|```|~~~|\n|\\\\|\\*\\*|\\||#|\\[|\\]\\(|!\\[|https://|javascript:|script|-->|a|\\PC|.){1,30}"
    ) {
        check_html(&hostile_page(&text, Format::Html));
        check_markdown(&hostile_page(&text, Format::Markdown));
    }

    #[test]
    fn no_planted_secret_survives(
        secret in prop_oneof![
            "sk-ant-api03-[A-Za-z0-9_-]{40,90}",
            "AKIA[A-Z0-9]{16}",
            "ghp_[A-Za-z0-9]{36}",
            "github_pat_[A-Za-z0-9_]{40,80}",
            "xox[bp]-[0-9]{12}-[A-Za-z0-9]{24}",
            "AIza[A-Za-z0-9_-]{35}",
            "eyJ[A-Za-z0-9]{20,40}\\.[A-Za-z0-9]{20,60}\\.[A-Za-z0-9]{20,40}",
            "-----BEGIN (RSA |EC |)PRIVATE KEY-----\n([A-Za-z0-9/+]{64}\n){1,6}-----END (RSA |EC |)PRIVATE KEY-----",
        ],
        word in "[a-z\u{e9}\u{4e2d} ]{0,12}",
        wrap in prop_oneof![Just(("", "")), Just(("`", "`")), Just(("\"", "\"")), Just(("(", ")")), Just(("key=", "\n")), Just(("**", "**")), Just(("<", ">")), Just(("\u{1b}[1m", "\u{1b}[0m"))],
    ) {
        survives_not(&secret, &format!("{word} {}{secret}{} {word}", wrap.0, wrap.1), Some(&secret).filter(|s| !s.contains('\n')).map(|s| s.as_str()))?;
    }

    #[test]
    fn no_planted_password_survives(
        secret in "[A-Za-z0-9!#%*+,./:;<>?@^_|~-]{9,20}[0-9]",
        named in prop_oneof![
            Just("password='@'"), Just("\"api_key\": \"@\""), Just("export DB_PASSWORD=\"@\""), Just("token: '@',"),
            Just("{\\\"client_secret\\\":\\\"@\\\"}"), Just("<password>@</password>"), Just("let secret: &str = \"@\";"),
        ],
    ) {
        // What reads as a path is none.
        prop_assume!(!secret.contains('<') && !secret.starts_with(['%', '/']));
        survives_not(&secret, &format!("x {} y", named.replace('@', &secret)), None)?;
    }
}

/// With the text everywhere in a transcript, no page holds the secret, escaped or not.
fn survives_not(secret: &str, text: &str, file_name: Option<&str>) -> Result<(), TestCaseError> {
    let lines = |text: &str| -> Vec<String> {
        // The name of the project is made from it, and loses its quotes.
        let mut lines = hostile(text, file_name.map_or("/home/dev/proj", |_| text));
        lines.push(call(12, "p", "Login", json!({"password": secret, "env": {"API_TOKEN": secret}})));
        lines
    };
    let scene = Scene::new();
    let side = scene.transcript().with_extension("").join("subagents");
    if let Some(name) = file_name {
        scene.write(&side.join(format!("agent.{name}.jsonl")), &prompt(20, "x"));
    }
    scene.transcribe(&lines(text));
    scene.receipt(None);
    // The end of a secret alone would be enough to find it in the page.
    let tail: String =
        secret.trim_end_matches('-').chars().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect();
    let escaped = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;")
    };
    for format in [Format::Html, Format::Markdown] {
        let (page, exported) = page(&scene, &Options { redact: true, ..options(format) });
        let found = page.lines().find(|line| line.contains(secret) || line.contains(&escaped(secret)));
        prop_assert!(found.is_none(), "{found:?} of {text:?}");
        let tail = tail.lines().next().unwrap_or(&tail);
        let found = page.lines().find(|line| line.contains(&escaped(tail)));
        prop_assert!(secret.starts_with("-----") || found.is_none(), "{tail:?} in {found:?} of {text:?}");
        prop_assert!(exported.masked.unwrap() > 5);
    }
    Ok(())
}

#[test]
fn without_redact_nothing_is_masked() {
    let scene = saved(&[prompt(1, "password=hunter2")]);
    let (html, exported) = page(&scene, &options(Format::Html));
    assert!(html.contains("password=hunter2"));
    assert_eq!(exported.masked, None);
}

#[test]
fn long_outputs_are_cut_and_it_is_said() {
    let scene = saved(&[
        call(1, "t", "Bash", json!({"command": "x"})),
        result(2, "t", json!(format!("{}END", "y".repeat(50_000))), false),
    ]);
    for format in [Format::Html, Format::Markdown] {
        let (cut, exported) = page(&scene, &options(format));
        assert!(
            cut.contains("… 32003 characters are left out here; ") && cut.contains("--full") && cut.contains("END"),
            "{cut}"
        );
        assert!(cut.len() < 32_000 && exported.cut == 1);
        let (full, exported) = page(&scene, &Options { full: true, ..options(format) });
        assert!(full.contains(&"y".repeat(50_000)) && exported.cut == 0);
    }
}

#[test]
fn what_came_again_is_written_once() {
    let scene = saved(&[prompt(1, "only once"), answer(2, "yes"), prompt(1, "only once")]);
    let (html, exported) = page(&scene, &options(Format::Html));
    // The topic, the title twice, the message, and the index.
    assert_eq!(html.matches("only once").count(), 5);
    assert_eq!(exported.messages, 2);
    assert!(html.contains("messages that came again (1)"), "{html}");
}

#[test]
fn what_a_hook_tells_the_user_is_written_once() {
    let hook = |id: &str, parent: &str, more: Value| {
        let mut attachment = json!({"toolUseID": "t", "hookName": "SessionStart:startup"});
        attachment.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let at = format!("2026-11-22T10:00:0{}.000Z", parent.len());
        let record =
            json!({"type": "attachment", "uuid": id, "parentUuid": parent, "timestamp": at, "attachment": attachment});
        format!("{record}\n")
    };
    let message = "\n\n12 sessions are kept.";
    let printed = json!({"systemMessage": message}).to_string();
    let scene = saved(&[
        prompt(1, "hello"),
        hook("h1", "u", json!({"type": "hook_success", "content": "", "stdout": printed + "\n"})),
        hook("h2", "h1", json!({"type": "hook_system_message", "content": message})),
        hook("h3", "h2", json!({"type": "hook_system_message", "content": "13 sessions are kept."})),
    ]);
    for format in [Format::Html, Format::Markdown] {
        let (page, _) = page(&scene, &Options { full: true, ..options(format) });
        assert!(!page.contains("systemMessage") && page.contains("13 sessions are kept."), "{page}");
        // In a folded part of an HTML page it is glimpsed at too.
        assert_eq!(page.matches("12 sessions are kept.").count(), 1 + usize::from(format == Format::Html), "{page}");
    }
}

#[test]
fn that_the_user_answered_is_no_result_of_its_own() {
    for (said, is_left_out) in [(answered("325"), true), ("User has answered your questions:".to_owned(), false)] {
        let questions = json!({"questions": [{"question": "Which?", "options": [{"label": "325"}]}]});
        let scene = saved(&[call(1, "ask", "AskUserQuestion", questions), result(2, "ask", json!(said), false)]);
        for format in [Format::Html, Format::Markdown] {
            let (page, _) = page(&scene, &options(format));
            assert_eq!(!page.contains("User has answered"), is_left_out, "{page}");
            assert!(!page.contains("no result is recorded"), "{page}");
        }
    }
}

#[test]
fn an_older_generation_is_exported_on_request() {
    let scene = saved(&[prompt(1, "first content")]);
    scene.transcribe(&[prompt(2, "second")]);
    scene.receipt(None);
    let (old, _) = page(&scene, &Options { generation: 1, ..options(Format::Markdown) });
    assert!(old.contains("first content") && !old.contains("second") && old.contains("generation 1"), "{old}");
}

#[test]
fn a_damaged_transcript_is_not_exported() {
    let scene = saved(&[prompt(1, "kept")]);
    let layer1 = scene.layer1_copies();
    flip_last_byte(&scene.copy());
    let (html, exported) = page(&scene, &options(Format::Html));
    assert!(html.contains("<p class=\"warning\">") && html.contains("layer 1&#39;s is used"), "{html}");
    assert_eq!(exported.notes.len(), 1);
    flip_last_byte(&layer1.0.slot(&layer1.1, &StoredName::newest(FileName::Transcript)).path());
    let to = scene.places.claude_dir.join("page.html");
    let copies = scene.copies();
    let error = export_to_file(&copies, &options(Format::Html), &to, false).unwrap_err();
    assert!(error.is(Kind::Damaged), "{error}");
    assert!(!to.exists());
}

#[test]
fn a_damaged_subagent_is_left_out_and_named() {
    let scene = Scene::new();
    with_subagent(&scene);
    scene.transcribe(&small());
    scene.receipt(None);
    let copy = scene.copy().with_extension("").join("subagents/agent-1.jsonl");
    flip_last_byte(&copy);
    let (html, exported) = page(&scene, &options(Format::Html));
    assert!(html.contains("The transcript of this subagent is left out") && !html.contains("I looked."), "{html}");
    assert!(exported.problems[0].contains("subagents/agent-1.jsonl"));
    check_html(&html);
}

#[test]
fn subagents_without_a_call_come_at_the_end() {
    let scene = Scene::new();
    let side = scene.transcript().with_extension("").join("subagents");
    scene.write(&side.join("agent-lost.jsonl"), &answer(6, "from below"));
    scene.write(&side.join("deep/agent-2.jsonl"), &answer(7, "from deeper"));
    scene.transcribe(&[prompt(1, "above")]);
    scene.receipt(None);
    for format in [Format::Html, Format::Markdown] {
        let (page, exported) = page(&scene, &options(format));
        let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
        assert!(at("above") < at("agent-lost") && at("agent-lost") < at("from below"));
        assert!(page.contains("from deeper") && exported.subagents == 2);
    }
}

#[test]
fn a_file_is_new_private_and_whole() {
    let scene = saved(&[prompt(1, "kept")]);
    let to = scene.places.claude_dir.join("page.html");
    let copies = scene.copies();
    let write = |force| export_to_file(&copies, &options(Format::Html), &to, force);
    let exported = write(false).unwrap();
    let bytes = fs::read(&to).unwrap();
    assert_eq!(exported.bytes, Some(bytes.len() as u64));
    assert_eq!(exported.blake3, Some(blake3::hash(&bytes).to_hex().to_string()));
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(write(false).unwrap_err().is(Kind::Exists));
    fs::write(&to, "other").unwrap();
    write(true).unwrap();
    assert_eq!(fs::read(&to).unwrap(), bytes);
    // What is no file is never replaced, a link neither.
    let link = scene.places.claude_dir.join("link.html");
    std::os::unix::fs::symlink(&to, &link).unwrap();
    let refused = export_to_file(&copies, &options(Format::Html), &link, true);
    assert!(refused.unwrap_err().to_string().contains("is not a regular file"));
}

#[test]
fn nothing_is_written_twice_to_a_pipe_that_broke() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let scene = saved(&small());
    let copies = scene.copies();
    let error = export(&copies, &options(Format::Html), &mut Broken).unwrap_err();
    assert!(error.is(Kind::BrokenPipe), "{error}");
}

#[test]
fn words_acts_and_answers_are_told_apart_and_what_was_rewound_is_marked() {
    let after = |line: String, parent: &str| line.replacen('{', &format!(r#"{{"parentUuid":"{parent}","#), 1);
    let lines = [
        prompt(1, "<ide_opened_file>a.rs</ide_opened_file>\nfix it"),
        after(
            prompt(2, "<task-notification><task-id>a1</task-id><result>Found.</result></task-notification>"),
            "u-0001",
        ),
        after(prompt(3, "<system-reminder>be brief</system-reminder>"), "u-0002"),
        after(prompt(4, "abandoned"), "u-0003"),
        after(answer(5, "abandoned answer"), "u-0004"),
        after(prompt(6, "[Request interrupted by user]"), "u-0003"),
        after(prompt(7, "kept"), "u-0006"),
        r#"{"type":"queue-operation","operation":"enqueue","content":"never sent"}"#.to_owned() + "\n",
        r#"{"type":"hologram","uuid":"h","content":"new words"}"#.to_owned() + "\n",
    ];
    let scene = saved(&lines);
    let (markdown, _) = page(&scene, &options(Format::Markdown));
    insta::assert_snapshot!(markdown.split_once("## User").unwrap().1, @r#"
     · 2026-11-22 10:00:01

    *ide\_opened\_file:*

    > a.rs

    fix it

    ## Agent · 2026-11-22 10:00:02

    Found.

    ## User · 2026-11-22 10:00:04 · rewound

    abandoned

    ## Claude · 2026-11-22 10:00:05 · rewound

    abandoned answer

    ## User · 2026-11-22 10:00:06

    [Request interrupted by user]

    ## User · 2026-11-22 10:00:07

    kept

    ## User

    never sent

    ## System

    *hologram:*

    > new words

    ---

    *8 messages, exported by Threefold from a verified backup.*

    *Left out: reminders of Claude Code to the model, which the option --full writes (2).*

    *2 messages marked as rewound: the conversation went on without them.*
    "#);
    let (html, _) = page(&scene, &options(Format::Html));
    assert_eq!((html.matches(" rewound\"").count(), html.matches("(rewound)").count()), (2, 2));
    for word in ["a.rs", "fix it", "Found.", "interrupted", "never sent", "new words"] {
        assert!(html.contains(word), "{word}");
    }
    assert!(!html.contains("be brief") && !markdown.contains("be brief"));
    for format in [Format::Html, Format::Markdown] {
        let (page, _) = page(&scene, &Options { full: true, ..options(format) });
        assert!(page.contains("be brief") && page.contains("a1"), "{page}");
    }
}

#[test]
fn the_name_beside_the_transcript_is_the_title() {
    let scene = Scene::new();
    scene.transcribe(&[prompt(1, "one")]);
    scene.write(&scene.transcript().with_extension("").join("custom-title.json"), r#"{"customTitle":"Zephyr"}"#);
    scene.receipt(None);
    assert!(page(&scene, &options(Format::Markdown)).0.starts_with("# Zephyr\n"));
}

/// A conversation with every kind of content that Claude Code writes.
fn zoo() -> Scene {
    const ZOO: &str = "2007a11a-0c0d-4e11-8f00-000000200020";
    let fixture = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/zoo");
    let read = |path: &str| fs::read_to_string(fixture.join(path)).unwrap();
    let scene = Scene::new();
    let lines = read(&format!("{ZOO}.jsonl")).replace(ZOO, ID);
    let side = scene.transcript().with_extension("").join("subagents");
    for entry in fs::read_dir(fixture.join(ZOO).join("subagents")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        scene.write(&side.join(&name), &read(&format!("{ZOO}/subagents/{name}")).replace(ZOO, ID));
    }
    scene.transcribe(&[lines]);
    scene.receipt(None);
    scene
}

#[test]
fn every_kind_of_content_is_shown_as_what_it_is() {
    let scene = zoo();
    let (html, exported) = page(&scene, &options(Format::Html));
    check_html(&html);
    assert_eq!((exported.subagents, exported.pictures), (2, 2));
    let answers = html.split("<section class=\"tool\">").skip(1);
    let answers: Vec<&str> = answers.map(|card| card.split("</section>").next().unwrap()).collect();
    let of = |tool: &str| {
        let head = format!("<h3><b>{tool}</b>");
        *answers.iter().find(|card| card.trim_start().starts_with(&head)).unwrap_or_else(|| panic!("no card of {tool}"))
    };
    let holds = |tool: &str, parts: &[&str]| {
        parts.iter().for_each(|part| assert!(of(tool).contains(part), "{part} in {}", of(tool)));
    };
    // Two calls at once, then two results: each stands in the card of its call.
    holds("Read", &["net/client.rs</span>", "class=\"answer\" id=\"m-", "pub struct Client&lt;T&gt;"]);
    holds("Grep", &["backoff</span>", "tests/retry.rs:9"]);
    holds("Bash", &["$ ", "error\" open", "test retry::first ... FAILED"].map(|part| part.trim_start_matches("$ ")));
    holds("TodoWrite", &["<li class=\"done\">☑ Find", "<li class=\"begun\">◐ Compute", "<li class=\"open\">☐ Add"]);
    holds("Edit", &["<span class=\"old\">- ", "<span class=\"new\">+ ", "<mark>"]);
    holds("MultiEdit", &["<mark>&quot;0.4.3&quot;</mark>", "- rand = "]);
    holds("Write", &["written <span class=\"size\">10 lines</span>", "fn the_cap_holds()"]);
    holds("NotebookEdit", &["plt.plot", "cell_type: code"]);
    holds("AskUserQuestion", &["<strong>How long may a delay get?</strong>", "(several may be chosen)", "<li>gRPC"]);
    holds("ExitPlanMode", &["<div class=\"plan\">", "<h3>Plan: honest backoff</h3>", "approved your plan"]);
    holds("get_issue", &["MCP server tracker", "Retry storms the server"]);
    holds("WebFetch", &["<code>sleep = random("]);
    holds("Skill", &["commit</span>", "<p class=\"glimpse given\">args: -m"]);
    // What a subagent did stands in the card of its call, before what came of it.
    let agent = html.split("<b>Agent</b>").nth(1).unwrap();
    let at = |text: &str| agent.find(text).unwrap_or_else(|| panic!("{text}"));
    assert!(at("class=\"subagent\"") < at("grep -n") && at("grep -n") < at("agentId: a1b2c3d4e5f60718"), "{agent}");
    for part in [
        "<img alt=\"a picture of this conversation\" src=\"data:image/png;base64,iVBOR",
        "<td class=\"right\"><strong>30 s</strong></td>",
        "<pre class=\"code\" data-language=\"rust\">",
        "<li>☑ <code>net/client.rs</code>",
        "<del>uncapped</del>",
        "<blockquote>",
        "client.rs (net/client.rs:41)",
        "&lt;b&gt;this&lt;/b&gt;",
        "! git status --short",
        "Summary of the conversation so far",
        "API Error: 529 Overloaded",
        "[Request interrupted by user for tool use]",
        "日本語のテスト 🎉 — العربية",
        "claude-sonnet-4-5",
        "tokens in",
        ">The retry in net/client.rs never backs off",
        "Read 2 · Grep 1 · Bash 1 · TodoWrite 1",
        "<p class=\"question\">Which clients are affected?<br><strong>HTTP, gRPC</strong></p>",
        "<p class=\"other\">agentId: a1b2c3d4e5f60718 (use SendMessage",
    ] {
        assert!(html.contains(part), "{part}");
    }
    // The index leads to prompts that are there.
    let index = html.split("<nav").nth(1).unwrap();
    for link in index.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(html.contains(&format!("id=\"{link}\"")), "{link}");
    }
    check_markdown(&page(&scene, &options(Format::Markdown)).0);
}

#[test]
fn only_what_was_said_or_what_some_said_is_written_if_that_is_asked_for() {
    let scene = zoo();
    for format in [Format::Html, Format::Markdown] {
        let keep = Keep { is_compact: true, ..Keep::default() };
        let (said, exported) = page(&scene, &Options { keep, ..options(format) });
        for part in ["never backs off", "look at the client and the tests at once", "What was wrong", "no sleep"] {
            assert!(said.contains(part), "{part}");
        }
        for part in ["cargo test retry", "tests/retry.rs:9", "integer division", "Audit other", "529", "0.42"] {
            assert!(!said.contains(part), "{part}");
        }
        assert!(said.contains("by the option --compact (") && exported.subagents == 0, "{said}");
        let keep = Keep { roles: vec![Role::User], ..Keep::default() };
        let (said, _) = page(&scene, &Options { keep, ..options(format) });
        assert!(said.contains("never backs off") && !said.contains("What was wrong"));
        let keep = Keep { roles: vec![Role::Tool], ..Keep::default() };
        let (said, _) = page(&scene, &Options { keep, ..options(format) });
        assert!(said.contains("tests/retry.rs:9") && !said.contains("What was wrong"));
    }
}

#[test]
fn pictures_are_data_of_known_types_within_limits_or_left_out_with_a_word() {
    let png = "iVBORw0KGgo=";
    let picture = |media: &str, data: &str| {
        let source = json!({"type": "base64", "media_type": media, "data": data});
        json!({"type": "image", "source": source})
    };
    let scene = saved(&[
        line(1, "user", json!([picture("image/png", png)]), json!({})),
        call(2, "t", "Read", json!({"file_path": "a.png"})),
        result(3, "t", json!([picture("image/png", png)]), false),
        line(4, "user", json!([picture("image/svg+xml", png), picture("text/html", png)]), json!({})),
        line(5, "user", json!([picture("image/png", "\"onerror=alert(1)"), picture("image/png", "")]), json!({})),
        line(6, "user", json!([picture("image/png", &"A".repeat(8 * 1024 * 1024))]), json!({})),
        line(
            7,
            "user",
            json!([{"type": "image", "source": {"type": "url", "url": "https://e.test/a.png"}}]),
            json!({}),
        ),
    ]);
    let (html, exported) = page(&scene, &options(Format::Html));
    check_html(&html);
    assert_eq!((html.matches("<img ").count(), exported.pictures), (2, 2));
    for (why, times) in
        [("of a type that", 2), ("bytes are damaged", 2), ("left out because it has 6.3 MB", 1), ("does not hold", 1)]
    {
        assert_eq!(html.matches(why).count(), times, "{why}: {html}");
    }
    let (none, _) = page(&scene, &Options { pictures: false, ..options(Format::Html) });
    assert!(!none.contains("<img ") && none.contains("a picture, left out by --no-images"));
    let (masked, _) = page(&scene, &Options { redact: true, ..options(Format::Html) });
    assert!(!masked.contains("<img ") && masked.contains("left out by --redact"), "{masked}");
    let (markdown, _) = page(&scene, &options(Format::Markdown));
    assert!(!markdown.contains(png) && markdown.contains("(a picture, image/png, not exported)"), "{markdown}");
}

#[test]
fn a_subagent_that_only_a_result_names_stands_behind_it() {
    let scene = Scene::new();
    let side = scene.transcript().with_extension("").join("subagents");
    scene.write(&side.join("agent-abcd1234.jsonl"), &answer(5, "from below"));
    let lines = [
        call(1, "t", "Task", json!({"description": "look", "prompt": "Look"})),
        result(2, "t", json!("Done.\nagentId: abcd1234 (use it)"), false),
        prompt(8, "afterwards"),
    ];
    scene.transcribe(&lines);
    scene.receipt(None);
    let (html, _) = page(&scene, &options(Format::Html));
    check_html(&html);
    let at = |text: &str| html.find(text).unwrap();
    assert!(at("Done.") < at("from below") && at("from below") < at("afterwards</p>"), "{html}");
}

#[test]
fn results_that_come_late_or_never_or_twice_are_all_in_the_page() {
    let scene = saved(&[
        call(1, "late", "Bash", json!({"command": "one"})),
        call(2, "never", "Bash", json!({"command": "two"})),
        prompt(3, "in between"),
        result(4, "late", json!("the first"), false),
        result(5, "late", json!("the second"), false),
        result(6, "unknown", json!("of nobody"), false),
        line(
            7,
            "user",
            json!([{"type": "tool_result", "tool_use_id": "late", "content": "third"}, {"type": "text", "text": "and words"}]),
            json!({}),
        ),
    ]);
    let (html, _) = page(&scene, &options(Format::Html));
    check_html(&html);
    let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text}: {html}"));
    assert!(at("the first") < at("no result is recorded") && at("no result is recorded") < at("in between</p>"));
    assert!(
        at("in between</p>") < at("the second") && at("the second") < at("of nobody") && at("of nobody") < at("third")
    );
    assert!(html.contains("and words"));
}
