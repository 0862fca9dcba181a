//! The server, through a real client in both protocol eras.

use rmcp::model::{CallToolRequestParams, ProtocolVersion};
use rmcp::service::RunningService;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient};
use serde_json::{Value, json};
use std::path::Path;
use tokio::io::DuplexStream;

use super::*;
use crate::testing::{ID, Scene, answer, prompt};

#[derive(Clone, Default)]
struct Client;

impl ClientHandler for Client {}

fn eras() -> [ClientLifecycleMode; 2] {
    let modern = ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] };
    [ClientLifecycleMode::Initialize, modern]
}

/// A client of a server over the scene, both in this process.
async fn connect(scene: &Scene, era: ClientLifecycleMode) -> RunningService<RoleClient, Client> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let server = Server::new(scene.places.clone(), Here::default(), &[], false);
    tokio::spawn(serve_on(server, tokio::io::split(far)));
    Client.serve_with_lifecycle(near, era).await.unwrap()
}

async fn call(client: &RunningService<RoleClient, Client>, tool: &'static str, arguments: Value) -> Value {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    let result = client.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await.unwrap();
    assert_eq!(result.is_error, Some(result.structured_content.as_ref().unwrap().get("error").is_some()));
    result.structured_content.unwrap()
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

#[test]
fn both_eras_list_the_seven_tools() {
    run(async {
        let scene = Scene::new();
        let mut lists = Vec::new();
        for era in eras() {
            let client = connect(&scene, era).await;
            let tools = client.list_all_tools().await.unwrap();
            lists.push(serde_json::to_value(tools).unwrap());
            client.cancel().await.unwrap();
        }
        assert_eq!(lists[0], lists[1]);
        // However the client counts, what is built to its limit passes.
        for tool in lists[0].as_array().unwrap() {
            assert_eq!(tool["_meta"]["anthropic/maxResultSizeChars"], 80_000, "{tool}");
        }
        let summary: Vec<String> = lists[0].as_array().unwrap().iter().map(in_one_line).collect();
        insta::assert_snapshot!(summary.join("\n"), @r#"
        session_save(cwd expected project session_id transcript_path trigger) required ["session_id","transcript_path"] -> error files messages_indexed project reason session_id skipped store_id trigger warning any of [{"required":["session_id","project","store_id","files","messages_indexed","trigger"]},{"required":["skipped","reason"]},{"required":["error"]}] hints {"destructiveHint":false,"idempotentHint":true,"openWorldHint":false,"readOnlyHint":false,"title":"Save a conversation"}
        session_search(all branch context each file limit offset page project query role session_id since tag tool until) required ["query"] -> all_projects error hits more notes scope any of [{"required":["hits","more","scope","all_projects","notes"]},{"required":["error"]}] hints {"openWorldHint":false,"readOnlyHint":true,"title":"Search all conversations"}
        session_why(all error file limit line offset project) required null -> all_projects answers error file more notes scope text any of [{"required":["answers","more","scope","all_projects","notes"]},{"required":["error"]}] hints {"openWorldHint":false,"readOnlyHint":true,"title":"Who wrote a line, what fixed an error"}
        session_list(all gone limit offset pinned project since sort tag) required null -> all_projects error notes scope sessions totals any of [{"required":["sessions","totals","scope","all_projects","notes"]},{"required":["error"]}] hints {"openWorldHint":false,"readOnlyHint":true,"title":"List saved conversations"}
        session_get_context(around full last max_chars offset session_id) required ["session_id"] -> cwd edited_files error git_branch last_topic messages name note notes omitted_after omitted_before path pinned project rewound session_id tags text timestamp_end timestamp_start title unparsable any of [{"required":["session_id","project","path","cwd","timestamp_start","timestamp_end","git_branch","title","edited_files","last_topic","messages","omitted_before","omitted_after","rewound","unparsable","notes","text"]},{"required":["error"]}] hints {"openWorldHint":false,"readOnlyHint":true,"title":"Read a conversation"}
        backup_create(offset project) required null -> error failed notes saved sessions skipped unchanged any of [{"required":["sessions","saved","unchanged","skipped","failed"]},{"required":["error"]}] hints {"destructiveHint":false,"idempotentHint":true,"openWorldHint":false,"readOnlyHint":false,"title":"Save all that changed"}
        session_verify(offset session_id) required null -> error findings in_one_copy notes ok repairs sessions any of [{"required":["ok","sessions","findings"]},{"required":["error"]}] hints {"openWorldHint":false,"readOnlyHint":true,"title":"Verify the copies"}
        "#);
    });
}

fn in_one_line(tool: &Value) -> String {
    let keys =
        |value: &Value| value.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>().join(" ")).unwrap_or_default();
    format!(
        "{}({}) required {} -> {} any of {} hints {}",
        tool["name"].as_str().unwrap(),
        keys(&tool["inputSchema"]["properties"]),
        tool["inputSchema"]["required"],
        keys(&tool["outputSchema"]["properties"]),
        tool["outputSchema"]["anyOf"],
        tool["annotations"]
    )
}

#[test]
fn a_session_is_saved_found_read_and_verified_in_both_eras() {
    run(async {
        for era in eras() {
            let scene = Scene::new();
            scene.transcribe(&[prompt(1, "where is the parser?"), answer(2, "in parse.rs")]);
            let client = connect(&scene, era).await;
            let save = json!({"session_id": ID, "transcript_path": scene.transcript(), "cwd": "/home/dev/proj", "trigger": "stop"});
            let receipt = call(&client, "session_save", save).await;
            assert_eq!((&receipt["project"], &receipt["messages_indexed"]), (&json!("proj"), &json!(2)));
            let hits = call(&client, "session_search", json!({"query": "parser"})).await;
            assert_eq!(hits["hits"][0]["uuid"], "u-0001");
            let context =
                call(&client, "session_get_context", json!({"session_id": &ID[..8], "around": "u-0001"})).await;
            assert!(context["text"].as_str().unwrap().contains("in parse.rs"));
            let list = call(&client, "session_list", json!({"project": "proj"})).await;
            assert_eq!(list["sessions"][0]["session_id"], ID);
            assert_eq!(call(&client, "backup_create", json!({})).await["unchanged"], 1);
            let verified = call(&client, "session_verify", json!({"session_id": ID})).await;
            assert_eq!(verified, json!({"ok": true, "sessions": 1, "findings": []}));
            client.cancel().await.unwrap();
        }
    });
}

#[test]
fn failures_are_results_that_say_whether_trying_again_can_help() {
    run(async {
        let scene = Scene::new();
        let client = connect(&scene, ClientLifecycleMode::Initialize).await;
        let save =
            |id: &str, path: &str| json!({"session_id": id, "transcript_path": path, "cwd": "/", "trigger": "stop"});
        let mut errors = Vec::new();
        for (tool, arguments) in [
            ("session_save", save("../../x", "/etc/passwd")),
            ("session_save", save("passwd", "/etc/passwd")),
            ("session_save", json!({"session_id": ID})),
            ("session_get_context", json!({"session_id": "x"})),
            ("session_search", json!({"query": "x", "since": "long ago"})),
            ("session_verify", json!({})),
        ] {
            let error = call(&client, tool, arguments).await["error"].take();
            errors.push(format!("{}: {}", error["kind"].as_str().unwrap(), error["message"].as_str().unwrap()));
        }
        insta::assert_snapshot!(scene.filtered(&errors.join("\n")), @r#"
        invalid_input: failed to use session id "../../x": it must match [A-Za-z0-9][A-Za-z0-9._-]{0,127} and contain neither ".gen-" nor ".events"
        invalid_input: failed to accept transcript path "/etc/passwd": its last component must be "passwd.jsonl", the session's own file
        invalid_input: failed to read the arguments of session_save: missing field `transcript_path`
        failed: failed to find a store: neither ~/.claude-backup nor ~/.claude-backup-sessions is there; `layer3-indexer import` makes one
        invalid_input: failed to use since "long ago": it must be a date (2026-11-22, yesterday), a time (2026-11-22T10:00:00Z) or an age (7d, 12h, 2 weeks ago)
        failed: failed to open the store ~/.claude-backup: it does not exist yet; `layer3-indexer import` makes it
        "#);
        let skipped = call(&client, "session_save", save(ID, scene.transcript().to_str().unwrap())).await;
        assert_eq!(skipped["skipped"], true);
        // What is expected is answered once, and far too much of it not at all.
        scene.transcribe(&[prompt(1, "hello")]);
        let entry = json!({"path": format!("{ID}.jsonl"), "bytes": 5, "blake3": "0".repeat(64)});
        for (entries, expected) in [(1000, Some(1)), (65_537, None)] {
            let mut arguments = save(ID, scene.transcript().to_str().unwrap());
            arguments["expected"] = json!(vec![entry.clone(); entries]);
            let answer = call(&client, "session_save", arguments).await;
            assert_eq!(answer["files"].as_array().map(Vec::len), expected, "{answer}");
            if expected.is_none() {
                let why =
                    "failed to use the argument expected: 65537 entries, more than the 65536 that one call may hold";
                assert_eq!(
                    (&answer["error"]["kind"], &answer["error"]["message"]),
                    (&json!("invalid_input"), &json!(why))
                );
            }
        }
        assert!(client.call_tool(CallToolRequestParams::new("nope")).await.is_err());
        client.cancel().await.unwrap();
    });
}

#[test]
fn a_call_is_answered_although_the_input_has_ended() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    run(async {
        let scene = Scene::new();
        scene.transcribe(&[prompt(1, "hello")]);
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        let server = Server::new(scene.places.clone(), Here::default(), &[], false);
        let serving = tokio::spawn(serve_on(server, tokio::io::split(far)));
        let call = json!({"name": "session_save", "_meta": {"progressToken": "p"},
            "arguments": {"session_id": ID, "transcript_path": scene.transcript(), "cwd": "/", "trigger": "stop"}});
        let client =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        for message in [
            json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": client}),
            json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}),
        ] {
            near.write_all(format!("{message}\n").as_bytes()).await.unwrap();
        }
        near.shutdown().await.unwrap();
        let mut text = String::new();
        near.read_to_string(&mut text).await.unwrap();
        serving.await.unwrap().unwrap();
        let answers: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let saved = answers.iter().find(|answer| answer["id"] == 1).unwrap();
        assert_eq!(saved["result"]["structuredContent"]["session_id"], ID);
    });
}

#[test]
fn arguments_of_another_shape_never_end_the_server() {
    run(async {
        let scene = Scene::new();
        let client = connect(&scene, ClientLifecycleMode::Initialize).await;
        for tool in tools::all() {
            for arguments in [
                json!({}),
                json!({"session_id": null, "query": 7, "limit": -1}),
                json!({"project": "../x", "query": "\0"}),
            ] {
                let Value::Object(arguments) = arguments else { unreachable!() };
                client.call_tool(CallToolRequestParams::new(tool.name).with_arguments(arguments)).await.unwrap();
            }
        }
        assert_eq!(client.list_all_tools().await.unwrap().len(), 7);
        client.cancel().await.unwrap();
    });
}

/// A server, its streams, and what was said to begin with.
async fn raw(scene: &Scene, buffer: usize) -> (tokio::io::ReadHalf<DuplexStream>, tokio::io::WriteHalf<DuplexStream>) {
    use tokio::io::AsyncWriteExt;
    let (near, far) = tokio::io::duplex(buffer);
    let server = Server::new(scene.places.clone(), Here::default(), &[], false);
    tokio::spawn(serve_on(server, tokio::io::split(far)));
    let (read, mut write) = tokio::io::split(near);
    let client =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let begin = json!({"jsonrpc": "2.0", "id": "begin", "method": "initialize", "params": client});
    write
        .write_all(format!("{begin}\n{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}}\n").as_bytes())
        .await
        .unwrap();
    (read, write)
}

#[test]
fn a_line_that_is_no_request_is_answered_and_the_server_goes_on() {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let call = |id: &str, query: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"session_search","arguments":{{"query":{query}}}}}}}"#
        )
    };
    let long_id = format!("\"{}\"", "i".repeat(2_000_000));
    let bad: [(Vec<u8>, Value, i64); 13] = [
        (b"hello".to_vec(), Value::Null, -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"tools/list\xff\"}".to_vec(), json!(5), -32700),
        (call("6", &deep).into_bytes(), json!(6), -32700),
        (call("7", &format!("\"{}\"", "a".repeat(lines::LINE_BYTES_MAX))).into_bytes(), json!(7), -32600),
        (vec![b'x'; 3 * lines::LINE_BYTES_MAX], Value::Null, -32600),
        (call("8", &format!("[{}0]", "0,".repeat(1_000_000))).into_bytes(), json!(8), -32600),
        (call(&long_id, "1").into_bytes(), Value::Null, -32600),
        (b"[{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"tools/list\"}]".to_vec(), Value::Null, -32600),
        (b"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"tools/list\"}".to_vec(), Value::Null, -32600),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"tools/list\"}".to_vec(), Value::Null, -32600),
        (b"{\"id\":9}".to_vec(), json!(9), -32600),
        (b"\0\0\0".to_vec(), Value::Null, -32700),
        (
            format!(r#"{{"jsonrpc":"2.0","id":10,"method":"{}"}}"#, "m".repeat(3_000_000)).into_bytes(),
            json!(10),
            -32601,
        ),
    ];
    run(async {
        let scene = Scene::new();
        let (read, mut write) = raw(&scene, 64 * 1024).await;
        let mut answers = BufReader::new(read).lines();
        let mut answer = async || answers.next_line().await.unwrap().unwrap();
        answer().await;
        for (line, id, code) in bad {
            // What comes in between is read over: no line, an answer nobody asked for, a notification nobody knows.
            for line in [
                &line[..],
                b"",
                b" \r",
                b"{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":7}",
                b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/odd\",\"params\":7}",
            ] {
                write.write_all(line).await.unwrap();
                write.write_all(b"\n").await.unwrap();
            }
            let text = answer().await;
            let said: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((&said["id"], said["error"]["code"].as_i64()), (&id, Some(code)), "{text}");
            assert!(text.len() < 4000, "{} bytes", text.len());
            write.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":\"p\",\"method\":\"ping\"}\r\n").await.unwrap();
            assert!(answer().await.contains("\"p\""));
        }
    });
}

#[test]
fn a_client_that_asks_and_does_not_read_waits_and_is_answered_later() {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    run(async {
        let scene = Scene::new();
        let (read, mut write) = raw(&scene, 4096).await;
        let mut asked = 0;
        loop {
            let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{asked},\"method\":\"tools/list\"}}\n");
            let limit = Duration::from_secs(if asked < 50 { 60 } else { 2 });
            if tokio::time::timeout(limit, write.write_all(line.as_bytes())).await.is_err() {
                break;
            }
            asked += 1;
            assert!(asked < 1000, "everything is read, and kept in memory");
        }
        let mut answers = BufReader::new(read).lines();
        for _ in 0..=asked {
            answers.next_line().await.unwrap().unwrap();
        }
    });
}

/// Whatever is asked, what comes back is short.
#[test]
fn answers_are_bounded_whatever_the_arguments() {
    run(async {
        let scene = Scene::new();
        let long: Vec<String> =
            (1..=16).map(|n| prompt(n, &format!("{n} {}", "\u{1}\u{202e}é".repeat(2000)))).collect();
        scene.transcribe(&long);
        scene.receipt(None);
        let client = connect(&scene, ClientLifecycleMode::Initialize).await;
        let huge = "\u{1}\"x".repeat(10_000);
        let values = [
            json!(huge),
            json!(u64::MAX),
            json!(-1),
            json!(1e300),
            json!(true),
            json!([huge]),
            json!({huge.clone(): huge}),
            Value::Null,
            json!(""),
        ];
        for tool in tools::all() {
            let fields: Vec<String> =
                tool.describe().input_schema["properties"].as_object().unwrap().keys().cloned().collect();
            for (field, value) in fields.iter().flat_map(|field| values.iter().map(move |value| (field, value))) {
                let mut arguments =
                    json!({"session_id": ID, "query": "x", "error": "x", "transcript_path": scene.transcript()});
                arguments[field] = value.clone();
                let Value::Object(arguments) = arguments else { unreachable!() };
                let result =
                    client.call_tool(CallToolRequestParams::new(tool.name).with_arguments(arguments)).await.unwrap();
                let bytes = serde_json::to_vec(&result).unwrap().len();
                assert!(bytes < 400_000, "{} with {field} {:.40}: {bytes} bytes", tool.name, value.to_string());
            }
        }
        client.cancel().await.unwrap();
    });
}

#[test]
fn what_the_settings_keep_back_is_not_handed_out() {
    use crate::scope::Limits;
    use layer1_prebackup::config::exclude::Exclusions;
    run(async {
        let exclude = |glob: &str| Exclusions::new(&[glob.to_owned()], Path::new("/home/dev"));
        let project = |directory: &str| Some(Some(PathBuf::from(directory)));
        for (limits, is_served) in [
            (Limits::default(), true),
            (Limits { project_of: project("/home/dev/proj"), ..Limits::default() }, true),
            (Limits { project_of: project("/home/dev/other"), ..Limits::default() }, false),
            (Limits { project_of: Some(None), ..Limits::default() }, false),
            (Limits { exclude: exclude("pro?"), ..Limits::default() }, false),
            (Limits { exclude: exclude("/home/dev/**"), ..Limits::default() }, false),
            (Limits { exclude: exclude("~/proj"), ..Limits::default() }, false),
            (Limits { exclude: exclude("/home/dev/projects"), ..Limits::default() }, true),
        ] {
            let scene = Scene::new();
            scene.transcribe(&[prompt(1, "a needle")]);
            scene.receipt(None);
            let (near, far) = tokio::io::duplex(64 * 1024);
            let here = Here { home: "/home/dev".into(), limits: limits.clone(), ..Here::default() };
            tokio::spawn(serve_on(Server::new(scene.places.clone(), here, &[], false), tokio::io::split(far)));
            let client = Client.serve_with_lifecycle(near, ClientLifecycleMode::Initialize).await.unwrap();
            for (tool, arguments) in [
                ("session_search", json!({"query": "needle", "all": true})),
                ("session_search", json!({"query": "needle", "session_id": ID})),
                ("session_search", json!({"query": "needle", "project": "proj"})),
                ("session_list", json!({"all": true})),
                ("session_get_context", json!({"session_id": ID})),
                ("session_get_context", json!({"session_id": ID, "offset": 0})),
                ("session_get_context", json!({"session_id": format!("proj/{ID}"), "around": "u-0001"})),
            ] {
                let answer = call(&client, tool, arguments.clone()).await.to_string();
                assert_eq!(
                    answer.contains("a needle") || answer.contains("a [needle]"),
                    is_served,
                    "{limits:?} {tool} {arguments}: {answer}"
                );
            }
            client.cancel().await.unwrap();
        }
    });
}
