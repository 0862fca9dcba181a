//! A stand-in for the Messages API, on the loopback interface, for driving the real client.
//!
//! The prompt says what the model is to do: the last `[[…]]` in the last text of a request is a
//! [`Directive`]; what a call hands to an agent may hold one too. After a tool's result, and without
//! a directive, it answers with a few words.
//! Every request's body is kept, so that a test can see what the client sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::waiting;

/// What a slow answer waits between two words, until the client hangs up.
const SLOW_WORD_DELAY: Duration = Duration::from_millis(200);
/// After so many words a slow answer ends by itself.
const SLOW_WORDS_MAX: u32 = 1500;
/// How long an answer waits at most for [`MessagesApi::take_back`].
const RETRACTION_LIMIT: Duration = Duration::from_secs(60);
/// Length of a long answer.
const LONG_BYTES: usize = 8 * 1024 * 1024;
/// Words of a text that is to be retracted; long enough to be seen in the file's length.
const RETRACTED_WORDS: usize = 20_000;
/// Input tokens of an ordinary answer.
const INPUT_TOKENS: u64 = 1200;
/// So many make the client compact the conversation by itself.
const FULL_CONTEXT_TOKENS: u64 = 985_000;

/// A running stand-in. It lives as long as the process.
#[derive(Clone)]
pub struct MessagesApi {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Value>>>,
    answering: Arc<AtomicUsize>,
    is_taken_back: Arc<AtomicBool>,
}

/// What a prompt can ask of the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Directive {
    /// A few words.
    Answer,
    /// These words: `[[say WORDS]]`.
    Say(String),
    /// A call of this tool with this input: `[[call NAME JSON]]`.
    Call(String, Value),
    /// Words without end, until the client hangs up: `[[slow]]`.
    Slow,
    /// A long text that ends in a way that makes the client take it back: `[[retract]]`.
    Retract,
    /// Many megabytes of words: `[[long]]`.
    Long,
    /// No answer but this status, which is not to be tried again: `[[fail 529]]`.
    Fail(u16),
    /// An answer that the service itself stops: `[[refuse]]`.
    Refuse,
    /// Some words, and then the connection is gone; not where they are asked for in one piece: `[[cut]]`.
    Cut,
    /// What a compaction asks for.
    Summary,
}

impl MessagesApi {
    /// Listens on a free port of the loopback interface and answers from now on.
    pub fn start() -> MessagesApi {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen on the loopback interface");
        let address = listener.local_addr().expect("the address of a listener");
        let api =
            MessagesApi { address, requests: Arc::default(), answering: Arc::default(), is_taken_back: Arc::default() };
        let answering = api.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let api = answering.clone();
                // A client that hangs up in the middle of an answer is nothing to complain of.
                std::thread::spawn(move || drop(api.converse(stream)));
            }
        });
        api
    }

    /// What `ANTHROPIC_BASE_URL` is to be.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request to `/v1/messages` so far.
    pub fn requests(&self) -> Vec<Value> {
        self.requests.lock().expect("no thread panics with the lock").clone()
    }

    /// Whether no request is being answered.
    pub fn is_idle(&self) -> bool {
        self.answering.load(Ordering::SeqCst) == 0
    }

    /// Lets an answer end that is to be retracted; before this its text is in the transcript.
    pub fn take_back(&self) {
        self.is_taken_back.store(true, Ordering::SeqCst);
    }

    /// One connection: requests one after the other, as HTTP/1.1 has them.
    fn converse(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        while let Some((line, body)) = read_request(&mut reader)? {
            let is_messages = line.starts_with("POST /v1/messages?") || line.starts_with("POST /v1/messages ");
            match serde_json::from_slice::<Value>(&body) {
                Ok(request) if is_messages => {
                    self.requests.lock().expect("no thread panics with the lock").push(request.clone());
                    self.answering.fetch_add(1, Ordering::SeqCst);
                    let answered = match directive(&request) {
                        Directive::Fail(status) => refuse(&mut writer, status),
                        _ if request["stream"] == json!(true) => self.stream_answer(&mut writer, &request),
                        _ => respond(&mut writer, "200 OK", &whole_answer(&request)),
                    };
                    self.answering.fetch_sub(1, Ordering::SeqCst);
                    answered?;
                }
                _ if line.starts_with("POST /v1/messages/count_tokens") => {
                    respond(&mut writer, "200 OK", &json!({ "input_tokens": INPUT_TOKENS }))?;
                }
                _ => {
                    let error = json!({"type": "not_found_error", "message": "the stand-in has no such thing"});
                    respond(&mut writer, "404 Not Found", &json!({"type": "error", "error": error}))?;
                }
            }
        }
        Ok(())
    }

    /// Streams an answer and closes it with an empty chunk, so that the connection can be used again.
    fn stream_answer(&self, writer: &mut impl Write, request: &Value) -> std::io::Result<()> {
        let directive = match directive(request) {
            // What was taken back is asked for once more, by some clients in the same words.
            Directive::Retract if self.is_taken_back.load(Ordering::SeqCst) => Directive::Answer,
            asked => asked,
        };
        let input_tokens = if fills_the_context(request) { FULL_CONTEXT_TOKENS } else { INPUT_TOKENS };
        write!(writer, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")?;
        send(writer, "message_start", json!({ "message": message_start(request, input_tokens) }))?;
        match &directive {
            Directive::Call(name, input) => {
                let id = format!("toolu_standin{:06}", request.to_string().len());
                let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                send_block(writer, &block, &json!({"type": "input_json_delta", "partial_json": input.to_string()}))?;
            }
            Directive::Slow => {
                send(
                    writer,
                    "content_block_start",
                    json!({"index": 0, "content_block": {"type": "text", "text": ""}}),
                )?;
                for _ in 0..SLOW_WORDS_MAX {
                    send(
                        writer,
                        "content_block_delta",
                        json!({"index": 0, "delta": {"type": "text_delta", "text": "slowly "}}),
                    )?;
                    std::thread::sleep(SLOW_WORD_DELAY);
                }
                send(writer, "content_block_stop", json!({ "index": 0 }))?;
            }
            _ => {
                let delta = json!({"type": "text_delta", "text": words(&directive)});
                send_block(writer, &json!({"type": "text", "text": ""}), &delta)?;
            }
        }
        if directive == Directive::Cut {
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        let calls = matches!(directive, Directive::Call(..) | Directive::Retract);
        let stop_reason = match directive {
            Directive::Refuse => "refusal",
            _ if calls => "tool_use",
            _ => "end_turn",
        };
        let delta = json!({"stop_reason": stop_reason, "stop_sequence": null});
        send(
            writer,
            "message_delta",
            json!({"delta": delta, "usage": {"output_tokens": 12, "input_tokens": input_tokens}}),
        )?;
        if directive == Directive::Retract {
            waiting::holds_within(RETRACTION_LIMIT, || self.is_taken_back.load(Ordering::SeqCst));
        }
        send(writer, "message_stop", json!({}))?;
        write!(writer, "0\r\n\r\n")?;
        writer.flush()
    }
}

/// What the user's last message in a request asks for.
pub fn directive(request: &Value) -> Directive {
    let Some(text) = prompt(request) else { return Directive::Answer };
    // It may repeat the prompts of the conversation, directives and all.
    if text.contains("detailed summary") {
        return Directive::Summary;
    }
    let Some(directive) = last_in_brackets(&text) else { return Directive::Answer };
    let (verb, rest) = directive.split_once(' ').unwrap_or((directive, ""));
    match verb {
        "call" => {
            let (name, input) = rest.split_once(' ').unwrap_or((rest, "{}"));
            Directive::Call(name.to_owned(), serde_json::from_str(input).expect("the input of a call is JSON"))
        }
        "say" => Directive::Say(rest.to_owned()),
        "fail" => Directive::Fail(rest.parse().expect("a status is a number")),
        "refuse" => Directive::Refuse,
        "cut" => Directive::Cut,
        "slow" => Directive::Slow,
        "long" => Directive::Long,
        "retract" => Directive::Retract,
        _ => Directive::Answer,
    }
}

/// What the last `[[…]]` holds that lies in no other.
fn last_in_brackets(text: &str) -> Option<&str> {
    let end = text.rfind("]]")?;
    let mut depth = 0;
    for at in (0..end).rev() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"]]") && at + 2 <= end {
            depth += 1;
        } else if rest.starts_with(b"[[") && depth > 0 {
            depth -= 1;
        } else if rest.starts_with(b"[[") {
            return Some(&text[at + 2..end]);
        }
    }
    None
}

/// Whether the answer is to claim that the context is nearly full: `[[full]]` somewhere in the prompt.
fn fills_the_context(request: &Value) -> bool {
    directive(request) != Directive::Summary && prompt(request).is_some_and(|text| text.contains("[[full]]"))
}

/// The text that the model is to answer; none where that is a tool's result.
fn prompt(request: &Value) -> Option<String> {
    // What the client adds by itself comes after it as messages of the role `system`.
    let mut messages = request["messages"].as_array()?.iter();
    let last = messages.rfind(|message| message["role"] == "user")?;
    let blocks = match &last["content"] {
        Value::String(text) => return Some(text.clone()),
        content => content.as_array()?,
    };
    let is_reminder = |text: &str| text.trim_start().starts_with("<system-reminder>");
    let mut texts = blocks.iter().filter_map(|block| block["text"].as_str()).filter(|text| !is_reminder(text));
    let text = texts.next_back()?;
    let answers_a_call = blocks.iter().any(|block| block["type"] == "tool_result");
    // The client asks for a summary in the message that holds a tool's result.
    (!answers_a_call || text.contains("detailed summary")).then(|| text.to_owned())
}

/// The request line and the body; `None` when the client has closed the connection.
fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    Ok(Some((first.trim_end().to_owned(), body)))
}

fn respond(writer: &mut impl Write, status: &str, body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    let length = body.len();
    write!(writer, "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")?;
    writer.flush()
}

/// An answer of this status, as the service gives it, with the word that trying again does not help.
fn refuse(writer: &mut impl Write, status: u16) -> std::io::Result<()> {
    let kind = match status {
        400 => "invalid_request_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    let error = json!({"type": "error", "error": {"type": kind, "message": "the stand-in was told to fail"}});
    respond(writer, &format!("{status} Failed\r\nx-should-retry: false"), &error)
}

fn words(directive: &Directive) -> String {
    match directive {
        Directive::Say(words) => words.clone(),
        Directive::Summary => "<summary>What was said before, in short.</summary>".to_owned(),
        Directive::Long => "on and on ".repeat(LONG_BYTES / 10),
        Directive::Retract => "taken back ".repeat(RETRACTED_WORDS / 2),
        _ => "So it is said.".to_owned(),
    }
}

fn whole_answer(request: &Value) -> Value {
    let text = words(&directive(request));
    let mut message = message_start(request, INPUT_TOKENS);
    message["content"] = json!([{"type": "text", "text": text}]);
    message["stop_reason"] = json!("end_turn");
    message
}

fn message_start(request: &Value, input_tokens: u64) -> Value {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    json!({
        "id": format!("msg_standin{number:06}"), "type": "message", "role": "assistant",
        "model": request["model"], "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": input_tokens, "output_tokens": 1,
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0},
    })
}

fn send_block(writer: &mut impl Write, block: &Value, delta: &Value) -> std::io::Result<()> {
    send(writer, "content_block_start", json!({"index": 0, "content_block": block}))?;
    send(writer, "content_block_delta", json!({"index": 0, "delta": delta}))?;
    send(writer, "content_block_stop", json!({ "index": 0 }))
}

fn send(writer: &mut impl Write, event: &str, mut data: Value) -> std::io::Result<()> {
    data["type"] = json!(event);
    let text = format!("event: {event}\ndata: {data}\n\n");
    write!(writer, "{:x}\r\n{text}\r\n", text.len())?;
    writer.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn asked(prompt: &str) -> Value {
        let reminder = json!({"type": "text", "text": "<system-reminder>[[slow]]</system-reminder>"});
        let prompt = json!({"type": "text", "text": prompt});
        json!({"model": "m", "stream": true, "messages": [
            {"role": "user", "content": [reminder, prompt]}, {"role": "system", "content": "[[retract]]"},
        ]})
    }

    /// Sends this on a connection of its own and gives what comes until it has `end`.
    fn exchanged(api: &MessagesApi, request: &str, body: &Value, end: &str) -> String {
        let mut stream = TcpStream::connect(api.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let body = body.to_string();
        write!(stream, "{request} HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut came = Vec::new();
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&came).contains(end) {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "closed after {}", String::from_utf8_lossy(&came));
            came.extend(&buffer[..count]);
        }
        String::from_utf8(came).unwrap()
    }

    #[test]
    fn the_prompt_says_what_the_model_does() {
        let call = Directive::Call("Bash".to_owned(), json!({"command": "echo [1]"}));
        assert_eq!(directive(&asked(r#"first [[slow]], then [[call Bash {"command":"echo [1]"}]]"#)), call);
        let nested = r#"[[slow]] [[call Agent {"prompt":"[[call Bash {}]] [[say no]]"}]]"#;
        let agent = Directive::Call("Agent".to_owned(), json!({"prompt": "[[call Bash {}]] [[say no]]"}));
        assert_eq!(directive(&asked(nested)), agent);
        assert_eq!(directive(&asked("[[say two words]]")), Directive::Say("two words".to_owned()));
        assert_eq!(directive(&asked("[[fail 529]]")), Directive::Fail(529));
        assert_eq!(directive(&asked("[[refuse]]")), Directive::Refuse);
        assert_eq!(directive(&asked("a[1]] and [[ no end")), Directive::Answer);
        assert_eq!(directive(&asked("[[slow]]")), Directive::Slow);
        assert_eq!(directive(&asked("[[retract]]")), Directive::Retract);
        assert_eq!(directive(&asked("[[slow]] Write a detailed summary.")), Directive::Summary);
        assert_eq!(directive(&asked("hello")), Directive::Answer);
        assert_eq!(directive(&json!({"messages": [{"role": "user", "content": "[[slow]]"}]})), Directive::Slow);
        let result = json!({"type": "tool_result", "content": "[[slow]]"});
        assert_eq!(directive(&json!({"messages": [{"role": "user", "content": [result]}]})), Directive::Answer);
        assert_eq!(directive(&json!({})), Directive::Answer);
    }

    #[test]
    fn answers_are_streamed_and_requests_kept() {
        let api = MessagesApi::start();
        let said = exchanged(&api, "POST /v1/messages?beta=true", &asked("hello"), "\r\n0\r\n\r\n");
        let events = said.lines().filter_map(|line| line.strip_prefix("event: ")).collect::<Vec<_>>();
        let text = ["content_block_start", "content_block_delta", "content_block_stop"];
        assert_eq!(events, [&["message_start"], &text[..], &["message_delta", "message_stop"]].concat());
        assert!(said.contains("So it is said.") && said.contains("end_turn"), "{said}");

        let called = exchanged(&api, "POST /v1/messages", &asked("[[full]] [[call Bash {}]]"), "message_stop\"}");
        assert!(called.contains("input_json_delta") && called.contains("985000"), "{called}");
        assert_eq!(api.requests(), [asked("hello"), asked("[[full]] [[call Bash {}]]")]);
        assert!(waiting::holds_within(LIMIT, || api.is_idle()));
    }

    #[test]
    fn a_failure_has_its_status_and_is_not_to_be_tried_again() {
        let api = MessagesApi::start();
        for (status, kind) in [(400, "invalid_request"), (429, "rate_limit"), (500, "api"), (529, "overloaded")] {
            let said =
                exchanged(&api, "POST /v1/messages", &asked(&format!("[[fail {status}]]")), "\"type\":\"error\"}");
            assert!(
                said.starts_with(&format!("HTTP/1.1 {status} ")) && said.contains("x-should-retry: false"),
                "{said}"
            );
            assert!(said.contains(&format!("{kind}_error")), "{said}");
        }
        let refused = exchanged(&api, "POST /v1/messages", &asked("[[refuse]]"), "message_stop\"}");
        assert!(refused.contains(r#""stop_reason":"refusal""#), "{refused}");
        let cut = std::panic::catch_unwind(|| exchanged(&api, "POST /v1/messages", &asked("[[cut]]"), "message_stop"));
        assert!(cut.is_err(), "it went on");
    }

    #[test]
    fn a_slow_answer_goes_on_until_the_client_hangs_up() {
        let api = MessagesApi::start();
        exchanged(&api, "POST /v1/messages", &asked("[[slow]]"), "slowly");
        assert!(waiting::holds_within(LIMIT, || api.is_idle()), "still answering nobody");
    }

    #[test]
    fn anything_else_is_answered_harmlessly() {
        let api = MessagesApi::start();
        let whole = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]});
        assert!(exchanged(&api, "POST /v1/messages", &whole, "stop_reason").contains("So it is said."));
        assert!(exchanged(&api, "POST /v1/messages/count_tokens", &whole, "}").contains("input_tokens"));
        assert!(exchanged(&api, "GET /api/hello", &Value::Null, "}").starts_with("HTTP/1.1 404 "));
        assert_eq!(api.requests(), [whole]);
    }
}
