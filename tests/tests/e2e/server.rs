//! Layer 3 over MCP: the seven tools, both protocol eras, and what a model must not be able to do.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};
use tests::mcp::Client;
use tests::run::Run;
use tests::scratch::{PROJECT, Scratch};
use tests::stores::{assert_equals_source, assert_saved_twice};
use tests::transcripts::{self, INTERACTIVE, SUBAGENT};
use tests::tree;

use crate::arguments::describes;
use crate::product::{assert_verified, await_delivered, chain, found_in, session_ids};

const TOOLS: [&str; 7] = [
    "backup_create",
    "session_get_context",
    "session_list",
    "session_save",
    "session_search",
    "session_verify",
    "session_why",
];

fn save_arguments(id: &str, path: impl AsRef<Path>) -> Value {
    json!({"session_id": id, "transcript_path": path.as_ref(), "cwd": "/home/dev/proj", "trigger": "session-end"})
}

/// Every property of a schema, however deep, that has no description worth the name.
fn undescribed(what: &str, schema: &Value) -> Vec<String> {
    let fields: Vec<(&str, &Value)> = match schema {
        Value::Object(fields) => fields.iter().map(|(name, field)| (name.as_str(), field)).collect(),
        Value::Array(items) => items.iter().map(|item| ("", item)).collect(),
        _ => return Vec::new(),
    };
    let below = fields.into_iter().filter(|(name, _)| *name != "examples");
    let mut all: Vec<String> = below.flat_map(|(_, field)| undescribed(what, field)).collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let description = property["description"].as_str().unwrap_or_default();
        if !describes(description, name) {
            all.push(format!("{what}: {name}: {description:?}"));
        }
    }
    all
}

#[test]
fn every_tool_and_field_says_what_it_is_and_every_tool_shows_an_example() {
    let scratch = Scratch::new();
    let (mut client, _) = Client::initialized(&scratch, &[]);
    let answer = client.request("tools/list", json!({}));
    let mut tools = answer["result"]["tools"].as_array().expect("a list of tools").clone();
    tools.sort_by_key(|tool| tool["name"].to_string());
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap_or("")).collect();
    assert_eq!(names, TOOLS);
    let schemas =
        TOOLS.iter().zip(&tools).flat_map(|(name, tool)| [(name, &tool["inputSchema"]), (name, &tool["outputSchema"])]);
    assert_eq!(schemas.flat_map(|(name, schema)| undescribed(name, schema)).collect::<Vec<_>>(), [""; 0]);
    for (name, tool) in TOOLS.iter().zip(&tools) {
        assert!(tool["title"].as_str().is_some_and(|title| describes(title, name)), "{name}");
        assert!(tool["description"].as_str().is_some_and(|description| description.len() > 100), "{name}");
        for field in ["readOnlyHint", "openWorldHint"] {
            assert!(tool["annotations"][field].is_boolean(), "{name}: {field}");
        }
        let (input, output) = (&tool["inputSchema"], &tool["outputSchema"]);
        let allows_error = json!({ "required": ["error"] });
        assert!(output["anyOf"].as_array().is_some_and(|any| any.contains(&allows_error)), "{name}: {output:#}");
        let examples = input["examples"].as_array().expect("examples of a call");
        for example in examples {
            let arguments = example.as_object().expect("arguments are an object");
            assert!(arguments.keys().all(|key| input["properties"].get(key).is_some()), "{name}: {example}");
            let required = input["required"].as_array().cloned().unwrap_or_default();
            assert!(required.iter().all(|key| arguments.contains_key(key.as_str().unwrap_or(""))), "{name}: {example}");
        }
        assert!(!examples.is_empty(), "{name}");
    }
    assert!(client.end().success());
}

#[test]
fn the_server_says_who_it_is_in_both_eras() {
    let scratch = Scratch::new();
    let (client, answer) = Client::initialized(&scratch, &[]);
    assert_eq!(answer["result"]["serverInfo"]["name"], "session-manager");
    assert_eq!(answer["result"]["protocolVersion"], tests::mcp::PROTOCOL);
    assert!(client.end().success());

    let mut client = Client::start(&scratch, &[]);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let answer = client.request("server/discover", json!({"_meta": meta}));
    assert_eq!(
        answer["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "session-manager",
        "{answer:#}"
    );
    let versions = answer["result"]["supportedVersions"].to_string();
    assert!(versions.contains("2026-07-28"), "{answer:#}");
    let answer = client.request("tools/list", json!({"_meta": meta}));
    assert_eq!(answer["result"]["tools"].as_array().map(Vec::len), Some(TOOLS.len()), "{answer:#}");
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    let arguments = save_arguments(INTERACTIVE, &transcript);
    let answer = client.request("tools/call", json!({"name": "session_save", "arguments": arguments, "_meta": meta}));
    assert_eq!(answer["result"]["structuredContent"]["session_id"], INTERACTIVE, "{answer:#}");
    assert!(client.end().success());
    assert_equals_source(&scratch.layer3_store(), PROJECT, &transcript);
}

#[test]
fn an_honest_save_gives_a_receipt_for_every_file() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, SUBAGENT);
    let (mut client, _) = Client::initialized(&scratch, &[]);
    let receipt = client.call("session_save", save_arguments(SUBAGENT, &transcript)).expect("an honest save");
    assert_eq!(receipt["session_id"], SUBAGENT);
    assert_eq!(receipt["project"], PROJECT);
    assert_eq!(receipt["trigger"], "session-end");
    assert!(receipt["messages_indexed"].as_u64().is_some_and(|messages| messages > 0), "{receipt:#}");
    let files = receipt["files"].as_array().expect("files");
    assert_eq!(files.len(), 3, "without `expected` everything stored is listed: {receipt:#}");
    for file in files {
        let stored = fs::read(scratch.layer3_store().join(PROJECT).join(file["path"].as_str().expect("a path")));
        let stored = stored.expect("read a stored file");
        assert_eq!(file["bytes"], stored.len(), "{file}");
        assert_eq!(file["blake3"], blake3(&stored), "{file}");
        assert_eq!(file["generation"], 0, "{file}");
        assert_eq!(file["covered"], true, "{file}");
    }
    let bytes = fs::metadata(&transcript).expect("look at the transcript").len();
    let line = format!("[session-save] ✅ JSONL backed up ({bytes} bytes) - trigger: session-end");
    assert!(scratch.log(3).contains(&line), "{}", scratch.log(3));

    // What layer 1 claims and layer 3 cannot confirm is not covered.
    let claim =
        |path: &str, bytes: u64, blake3: &str| json!({"path": path, "generation": 0, "bytes": bytes, "blake3": blake3});
    let mut arguments = save_arguments(SUBAGENT, &transcript);
    let zeros = "00".repeat(32);
    let transcript_name = format!("{SUBAGENT}.jsonl");
    let head = fs::read(&transcript).expect("read the transcript")[..100].to_vec();
    arguments["expected"] = json!([
        claim(&transcript_name, 100, &blake3(&head)),
        claim(&transcript_name, 100, &zeros),
        claim(&transcript_name, bytes + 1, &zeros),
        claim(&format!("{SUBAGENT}/absent.txt"), 5, &zeros),
    ]);
    let receipt = client.call("session_save", arguments).expect("a save with claims");
    let covered: Vec<_> =
        receipt["files"].as_array().expect("files").iter().map(|file| file["covered"].clone()).collect();
    assert_eq!(covered, [json!(true), json!(false), json!(false), json!(false)], "{receipt:#}");
    assert!(client.end().success());
}

fn blake3(bytes: &[u8]) -> String {
    ::blake3::hash(bytes).to_hex().to_string()
}

#[test]
fn only_a_sessions_own_transcript_can_be_saved() {
    let scratch = Scratch::new();
    let other = transcripts::lay_out(&scratch, INTERACTIVE);
    let slug = scratch.slug_dir();
    let id = transcripts::made_id(1);
    let file = |name: &str| slug.join(format!("{name}.jsonl"));
    let (link, pipe, directory) = (transcripts::made_id(2), transcripts::made_id(3), transcripts::made_id(4));
    symlink("/etc/passwd", file(&link)).expect("make a symlink");
    Run::new("/usr/bin/mkfifo").arg(file(&pipe)).output().ok();
    fs::create_dir(file(&directory)).expect("make a directory");
    let outside = scratch.home().join("outside");
    transcripts::append(&outside.join(format!("{id}.jsonl")), transcripts::prompt_line(&id, 1, "secret"));
    let dotted = slug.join("../../../outside").join(format!("{id}.jsonl"));
    let deeper = slug.join("deeper").join(format!("{id}.jsonl"));
    transcripts::append(&deeper, "{}\n");

    let (mut client, _) = Client::initialized(&scratch, &[]);
    for (what, id, path) in [
        ("any file", &id, Path::new("/etc/passwd").to_owned()),
        ("a symlink to it", &link, file(&link)),
        ("a FIFO", &pipe, file(&pipe)),
        ("a directory", &directory, file(&directory)),
        ("another session's file", &id, other.clone()),
        ("a file outside", &id, outside.join(format!("{id}.jsonl"))),
        ("a file through ..", &id, dotted),
        ("a file too deep", &id, deeper),
        ("a relative path", &id, Path::new("proj").join(format!("{id}.jsonl"))),
        ("an id that is a path", &"../../x".to_owned(), slug.join("../../x.jsonl")),
        ("an id that is a generation", &"x.gen-0001".to_owned(), slug.join("x.gen-0001.jsonl")),
        ("an empty id", &String::new(), slug.join(".jsonl")),
    ] {
        let refusal = client.call("session_save", save_arguments(id, &path));
        let message = refusal.expect_err(&format!("{what} is refused"));
        assert!(message.len() > 20, "{what}: {message}");
        assert_eq!(tree::session_files(&scratch.layer3_store()), [""; 0], "{what}");
    }
    // The projects' folder must hold no name that leads out of the store either.
    let mut arguments = save_arguments(INTERACTIVE, &other);
    arguments["project"] = json!("../../outside");
    client.call("session_save", arguments).expect_err("a project that is a path is refused");
    assert_eq!(tree::session_files(&scratch.layer3_store()), [""; 0]);

    client.call("session_save", save_arguments(INTERACTIVE, &other)).expect("an honest save");
    assert!(client.end().success());
    assert_equals_source(&scratch.layer3_store(), PROJECT, &other);
    assert_eq!(session_ids(&scratch), [INTERACTIVE]);
    assert_eq!(found_in(&scratch, "secret"), [""; 0]);
}

#[test]
fn an_absent_or_empty_transcript_is_skipped() {
    let scratch = Scratch::new();
    let (mut client, _) = Client::initialized(&scratch, &[]);
    let absent = scratch.transcript(INTERACTIVE);
    for _ in 0..2 {
        let answer = client.call("session_save", save_arguments(INTERACTIVE, &absent)).expect("no failure");
        assert_eq!(answer["skipped"], true, "{answer:#}");
        assert!(answer["reason"].is_string(), "{answer:#}");
        transcripts::append(&absent, "");
    }
    assert!(client.end().success());
    assert_eq!(tree::session_files(&scratch.layer3_store()), [""; 0]);
}

#[test]
fn a_symlinked_configuration_directory_works() {
    let scratch = Scratch::new();
    let real = scratch.beside("dotfiles/claude");
    fs::create_dir_all(&real).expect("make a directory");
    symlink(&real, scratch.claude_dir()).expect("make a symlink");
    let transcript = transcripts::lay_out(&scratch, SUBAGENT);
    chain(&scratch, &transcripts::session_end(&transcript)).unworried();
    await_delivered(&scratch);
    assert_saved_twice(&scratch, &transcript);
    // Claude Code may name it by its real path as well.
    let by_real_path = real.join(transcript.strip_prefix(scratch.claude_dir()).expect("below it"));
    transcripts::append(&transcript, transcripts::prompt_line(SUBAGENT, 9, "by another path"));
    chain(&scratch, &transcripts::session_end(&by_real_path)).unworried();
    await_delivered(&scratch);
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
}

#[test]
fn symlinked_stores_work() {
    let scratch = Scratch::new();
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let real = scratch.beside("disk").join(store.file_name().expect("a name"));
        fs::create_dir_all(&real).expect("make a directory");
        symlink(&real, &store).expect("make a symlink");
    }
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    chain(&scratch, &transcripts::session_end(&transcript)).unworried();
    await_delivered(&scratch);
    assert_saved_twice(&scratch, &transcript);
    assert_verified(&scratch);
}

#[test]
fn the_reading_tools_tell_what_was_saved() {
    let scratch = Scratch::new();
    transcripts::lay_out_recorded(&scratch);
    let (mut client, _) = Client::initialized(&scratch, &[]);
    client.call("backup_create", json!({})).expect("everything is saved");
    let listed = client.call("session_list", json!({})).expect("a list");
    assert_eq!(listed["sessions"].as_array().map(Vec::len), Some(transcripts::RECORDED.len()), "{listed:#}");
    let hits = client.call("session_search", json!({"query": "hello interactive", "role": "user"})).expect("hits");
    assert_eq!(hits["hits"][0]["session_id"], INTERACTIVE, "{hits:#}");
    for field in ["snippet", "role"] {
        assert!(hits["hits"][0][field].is_string(), "{field}: {hits:#}");
    }
    let context = client.call("session_get_context", json!({"session_id": INTERACTIVE, "last": 5})).expect("a context");
    assert!(context.to_string().contains("hello interactive"), "{context:#}");
    let few =
        client.call("session_get_context", json!({"session_id": INTERACTIVE, "max_chars": 50})).expect("a context");
    assert!(few.to_string().len() < 2000, "{few:#}");
    let verified = client.call("session_verify", json!({})).expect("a verification");
    assert_eq!(verified["findings"], json!([]), "{verified:#}");

    let copy = scratch.layer3_store().join(PROJECT).join(format!("{INTERACTIVE}.jsonl"));
    let mut bytes = fs::read(&copy).expect("read a copy");
    bytes[20_000] ^= 0x40;
    fs::write(&copy, bytes).expect("flip a bit");
    let verified = client.call("session_verify", json!({"session_id": INTERACTIVE})).expect("a verification");
    assert_eq!(verified["findings"].as_array().map(Vec::len), Some(1), "{verified:#}");
    assert!(verified.to_string().contains("damaged"), "{verified:#}");
    client.call("session_get_context", json!({"session_id": "nobody"})).expect_err("an unknown session");
    assert!(client.end().success());
    scratch.layer3(&["verify"]).output().exits(1);
}

#[test]
fn only_json_rpc_comes_out_and_rubbish_does_not_end_the_server() {
    let scratch = Scratch::new();
    let input = [
        "this is not JSON\n",
        "{\"jsonrpc\":\"2.0\",\"id\":\n",
        "\n",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\"clientInfo\":{\"name\":\"t\",\"version\":\"0\"}}}\n",
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"no/such/method\"}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"tools/call\",\"params\":{\"name\":\"no_such_tool\",\"arguments\":{}}}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"tools/list\"}\n",
    ];
    let outcome = scratch.layer3(&["serve"]).stdin(input.concat()).output().ok();
    let answers: Vec<Value> =
        outcome.text().lines().map(|line| serde_json::from_str(line).expect("a line of JSON-RPC")).collect();
    for id in [1, 4] {
        assert!(answers.iter().any(|answer| answer["id"] == id && answer["result"].is_object()), "{id}: {answers:#?}");
    }
    assert!(answers.iter().any(|answer| answer["id"] == 2 && answer["error"].is_object()), "{answers:#?}");
}

#[test]
fn the_server_ends_at_a_signal_as_at_the_end_of_its_input() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let scratch = Scratch::new();
        transcripts::lay_out_recorded(&scratch);
        let (mut client, _) = Client::initialized(&scratch, &[]);
        client.call("backup_create", json!({})).expect("everything is saved");
        let server = tests::run::raw_pid(client.pid());
        rustix::process::kill_process(server, signal).expect("the server runs");
        let status = client.end();
        assert!(status.success(), "{status}");
        assert_eq!(session_ids(&scratch).len(), transcripts::RECORDED.len());
    }
}

#[test]
fn progress_grows_also_through_many_small_files() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 1);
    for n in 0..200 {
        transcripts::append(
            &transcript.with_extension("").join(format!("tool-results/toolu_{n:05}.txt")),
            n.to_string(),
        );
    }
    let (mut client, _) = Client::initialized(&scratch, &[]);
    let meta = json!({"progressToken": "save"});
    let call = json!({"name": "session_save", "arguments": save_arguments(&id, &transcript), "_meta": meta});
    let answer = client.request("tools/call", call);
    assert_eq!(answer["result"]["structuredContent"]["session_id"], json!(id), "{answer:#}");
    let is_progress = |aside: &&Value| aside["method"] == "notifications/progress";
    let told: Vec<f64> =
        client.asides.iter().filter(is_progress).filter_map(|aside| aside["params"]["progress"].as_f64()).collect();
    // The client takes only progress that moves as a sign of life, and the protocol wants it to.
    assert!(!told.is_empty(), "{:#?}", client.asides);
    assert!(told.windows(2).all(|pair| pair[0] < pair[1]), "{told:?}");
    assert!(client.end().success());
}

#[test]
fn a_server_that_answers_for_long_takes_no_more_memory_and_no_more_handles() {
    let course = tests::resources::many_saves(&Scratch::new(), 300);
    assert_eq!(course.receipts, 300);
    assert_eq!(course.growth(), None);
}

/// Starts a server with a setting as a flag, as a variable or in the settings' file.
fn set(scratch: &Scratch, how: &str, flags: &[&str], variable: (&str, &str), line: &str) -> Client {
    let file = scratch.home().join(".config/threefold/config.toml");
    fs::create_dir_all(file.parent().expect("a folder")).expect("make a folder");
    fs::write(&file, if how == "file" { line } else { "" }).expect("write the settings");
    let mut command = std::process::Command::new(scratch.program(tests::binaries::LAYER3));
    command.arg("serve").args(if how == "flag" { flags } else { &[] }).env_clear();
    command.env("HOME", scratch.home()).env("PATH", "/usr/bin:/bin").env("TMPDIR", scratch.tmp()).env("TZ", "UTC");
    if how == "variable" {
        command.env(variable.0, variable.1);
    }
    command.current_dir(scratch.home().join("mine"));
    let mut client = Client::of(command);
    client.initialize();
    client
}

/// Two projects, of which the client works in `mine`. Nothing of `hidden` may be seen, not even its name.
fn two_projects(scratch: &Scratch, secret: &str) {
    let lay_out = |name: &str, id: &str, text: &str| {
        let cwd = scratch.home().join(name).display().to_string();
        fs::create_dir_all(&cwd).expect("make a directory");
        let title = json!({"type": "custom-title", "customTitle": format!("titled {text}"), "sessionId": id});
        let line = transcripts::prompt_line(id, 1, &format!("a needle {text}")).replace("/home/dev/proj", &cwd);
        let path = scratch.claude_dir().join("projects").join(cwd.replace('/', "-")).join(format!("{id}.jsonl"));
        transcripts::append(&path, format!("{line}{title}\n"));
    };
    lay_out("mine", "aaaa0000-0000-4000-8000-000000000001", secret);
    lay_out("hidden", "aaaa0000-0000-4000-8000-000000000002", "whispered");
    lay_out("hidden", "bbbb0000-0000-4000-8000-000000000003", "whispered");
    lay_out("hiddentoo", "bbbb0000-0000-4000-8000-000000000004", "whispered");
    scratch.layer3(&["import"]).output().ok();
}

/// Calls of every tool that hands out what was said.
fn reading_calls(scratch: &Scratch) -> Vec<(&'static str, Value)> {
    let hidden = scratch.home().join("hidden/a.rs");
    vec![
        ("session_search", json!({"query": "needle", "all": true})),
        ("session_search", json!({"query": "needle", "each": true, "context": 5, "all": true})),
        ("session_search", json!({"query": "needle", "project": "hidde"})),
        ("session_search", json!({"query": "needle", "project": "hiden"})),
        ("session_search", json!({"query": "needle", "session_id": "aaaa"})),
        ("session_search", json!({"query": "needle", "session_id": "bbbb"})),
        ("session_search", json!({"query": "whispred", "all": true})),
        ("session_list", json!({"all": true})),
        ("session_list", json!({"project": "hiddn"})),
        ("session_get_context", json!({"session_id": "aaaa"})),
        ("session_get_context", json!({"session_id": "aaaa", "offset": 0, "full": true})),
        ("session_get_context", json!({"session_id": "bbbb"})),
        ("session_get_context", json!({"session_id": "bbbb0000-0000-4000-8000-000000000003", "last": 1})),
        ("session_why", json!({"error": "needle", "all": true})),
        ("session_why", json!({"file": hidden, "all": true})),
    ]
}

#[test]
fn a_server_of_one_project_hands_out_nothing_of_another() {
    let scratch = Scratch::new();
    two_projects(&scratch, "spoken");
    fs::write(scratch.home().join("hidden/a.rs"), "a needle whispered\n").expect("write a file");
    for how in ["nothing", "flag", "variable", "file"] {
        let mut client = set(
            &scratch,
            how,
            &["--mcp-scope", "project"],
            ("THREEFOLD_MCP_SCOPE", "project"),
            "mcp_scope = \"project\"\n",
        );
        let (mut spoken, mut seen) = (0, 0);
        for (tool, arguments) in reading_calls(&scratch) {
            let answer =
                client.request("tools/call", json!({"name": tool, "arguments": arguments}))["result"].to_string();
            spoken += usize::from(answer.contains("spoken"));
            let asked = arguments.to_string();
            let is_seen = |text: &&str| answer.contains(*text) && !asked.contains(*text);
            let of_hidden: Vec<&str> =
                ["whisper", "000002", "000003", "000004", "hidden", "hiddentoo"].into_iter().filter(is_seen).collect();
            assert!(of_hidden.is_empty() || how == "nothing", "{how} {tool} {arguments}: {of_hidden:?} in {answer}");
            seen += usize::from(!of_hidden.is_empty());
        }
        // The calls would see it: all but the one that names what is not there.
        assert_eq!(seen > 10, how == "nothing", "{how}: {seen}");
        assert!(spoken >= if how == "nothing" { 3 } else { 6 }, "{how}: {spoken}");
        assert!(client.end().success());
    }
}

#[test]
fn a_server_that_masks_hands_out_no_secret() {
    let scratch = Scratch::new();
    let secret = ["ghp_", "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5"].concat();
    two_projects(&scratch, &secret);
    for how in ["nothing", "flag", "variable", "file"] {
        let mut client = set(&scratch, how, &["--mcp-redact"], ("THREEFOLD_MCP_REDACT", "true"), "mcp_redact = true\n");
        let (mut masked, mut leaked) = (0, 0);
        let failing = ("session_get_context", json!({"session_id": secret}));
        for (tool, arguments) in reading_calls(&scratch).into_iter().chain([failing]) {
            let answer =
                client.request("tools/call", json!({"name": tool, "arguments": arguments}))["result"].to_string();
            masked += usize::from(answer.contains("[masked: GitHub token]"));
            leaked += usize::from(answer.contains(&secret));
            assert!(how == "nothing" || !answer.contains(&secret[4..20]), "{how} {tool} {arguments}: {answer}");
        }
        assert_eq!((masked > 4, leaked > 4), (how != "nothing", how == "nothing"), "{how}: {masked} {leaked}");
        assert!(client.end().success());
    }
}

/// A link that is put in a transcript's place again and again, while a model has it saved again and again.
#[test]
fn a_link_that_is_swapped_in_during_saves_never_gets_a_foreign_file_stored() {
    const CANARY: &str = "canary-31c7";
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 3);
    let secret = scratch.beside("elsewhere").join("projects/-x").join(format!("{id}.jsonl"));
    fs::create_dir_all(secret.parent().expect("a folder")).expect("make a folder");
    fs::write(&secret, format!("{{\"cwd\":\"/x\",\"text\":\"{CANARY}\"}}\n").repeat(50)).expect("write a secret");
    let (link, real) = (transcript.with_extension("link"), transcript.with_extension("real"));
    let (mut client, _) = Client::initialized(&scratch, &[]);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                n += 1;
                fs::copy(&transcript, &real).expect("keep the transcript");
                match n % 2 {
                    0 => symlink(&secret, &link).expect("make a link"),
                    _ => fs::hard_link(&secret, &link).expect("make a second name"),
                }
                fs::rename(&link, &transcript).expect("put a foreign file in its place");
                std::thread::yield_now();
                fs::rename(&real, &transcript).expect("put the transcript back");
            }
        });
        for _ in 0..150 {
            client
                .request("tools/call", json!({"name": "session_save", "arguments": save_arguments(&id, &transcript)}));
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let saved =
        client.request("tools/call", json!({"name": "session_save", "arguments": save_arguments(&id, &transcript)}));
    assert!(saved["result"]["isError"].as_bool() != Some(true), "{saved}");
    assert!(client.end().success());
    assert_equals_source(&scratch.layer3_store(), PROJECT, &transcript);
    let holds = |path: &Path| {
        fs::read(scratch.layer3_store().join(path))
            .is_ok_and(|bytes| bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes()))
    };
    let held: Vec<_> = tree::all(&scratch.layer3_store()).into_keys().filter(|path| holds(path)).collect();
    assert_eq!(held, [""; 0].map(std::path::PathBuf::from));
}
