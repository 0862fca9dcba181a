//! A made corpus of transcripts: streamed, the same for the same seed, with the records of real ones.
//!
//! The kinds of records, their fields and what they weigh are those of the recorded transcripts in
//! `tests/fixtures`. Measured on 351 MB of real ones, 18 % of the bytes were text that a search
//! may want, two thirds of that tool output; the rest is what Claude Code writes for itself, above all
//! `api-request…` records and copies of tool output beside it. The tests below hold it to these shares.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::words::{Project, Random, push_code, push_log, push_prose};

/// A rare word: in three messages of a corpus.
pub const RARE: &str = "quokkadugong";
/// Two words that stand beside each other in twenty messages of a corpus.
pub const PHRASE: &str = "lantern quorum";
/// The middle of an identifier that stands in forty messages of a corpus.
pub const SUBSTRING: &str = "y_backoff_wi";
const WITH_SUBSTRING: &str = "retry_backoff_window";
/// The commonest word but a few: in nearly every message.
pub const COMMON: &str = "ster";

const SHAPE_BYTES: u64 = 44_000;
const SNAPSHOT_BYTES: u64 = 9_000;
const PROJECTS: u64 = 12;
/// Lines are handed on when they are about so long together.
const CHUNK_BYTES: usize = 256 * 1024;
/// 2026-05-01T00:00:00Z.
const EPOCH_MS: u64 = 1_777_593_600_000;

/// What a corpus is made of.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Transcripts.
    pub sessions: u64,
    /// All of them together, about.
    pub bytes: u64,
    /// Of everything that is drawn.
    pub seed: u64,
}

impl Shape {
    /// What the budgets speak of.
    pub const FULL: Shape = Shape { sessions: 270, bytes: 350_000_000, seed: 1 };
    /// A tenth of it.
    pub const QUICK: Shape = Shape { sessions: 40, bytes: 35_000_000, seed: 1 };
}

/// A corpus that lies on the disk.
#[derive(Debug)]
pub struct Corpus {
    /// Its transcripts, in the order of their making.
    pub transcripts: Vec<PathBuf>,
    /// Of all transcripts, those of subagents included.
    pub bytes: u64,
}

/// Lays a corpus out below a configuration directory, one file after the other.
pub fn lay_out(claude_dir: &Path, shape: Shape) -> io::Result<Corpus> {
    let mut corpus = Corpus { transcripts: Vec::new(), bytes: 0 };
    let sizes = sizes(shape);
    for (n, size) in (0u64..).zip(sizes) {
        let mut session = Session::new(shape.seed.wrapping_mul(1_000_003) + n, n % PROJECTS);
        session.plant(n);
        let folder = claude_dir.join("projects").join(session.cwd().replace('/', "-"));
        let transcript = folder.join(format!("{}.jsonl", session.id));
        let subagent = n % 7 == 3;
        let main_bytes = if subagent { size * 9 / 10 } else { size };
        corpus.bytes += write_session(&transcript, &mut session, main_bytes)?;
        if subagent {
            let mut agent = Session { is_sidechain: true, ..Session::new(shape.seed ^ n << 32, n % PROJECTS) };
            agent.id.clone_from(&session.id);
            let path = folder.join(&session.id).join("subagents").join(format!("agent-{:017x}.jsonl", n + 1));
            corpus.bytes += write_session(&path, &mut agent, size / 10)?;
        }
        corpus.transcripts.push(transcript);
    }
    Ok(corpus)
}

/// One transcript of at least so many bytes, streamed to its place (mode 0600). Gives its length.
pub fn write_session(path: &Path, session: &mut Session, bytes: u64) -> io::Result<u64> {
    fs::create_dir_all(path.parent().expect("a transcript lies in a folder"))?;
    let mut file = BufWriter::new(File::options().write(true).create_new(true).mode(0o600).open(path)?);
    let mut written = 0;
    let mut lines = String::new();
    session.begin(&mut lines);
    session.turn(&mut lines);
    while written + (lines.len() as u64) < bytes {
        session.turn(&mut lines);
        if lines.len() >= CHUNK_BYTES {
            file.write_all(lines.as_bytes())?;
            written += lines.len() as u64;
            lines.clear();
        }
    }
    file.write_all(lines.as_bytes())?;
    file.flush()?;
    Ok(written + lines.len() as u64)
}

/// Many small ones, few large ones: a hundredfold between the smallest and the largest.
fn sizes(shape: Shape) -> Vec<u64> {
    let weight = |n: u64| 100f64.powf((n * 61 % shape.sessions) as f64 / shape.sessions as f64);
    let sum: f64 = (0..shape.sessions).map(weight).sum();
    (0..shape.sessions).map(|n| (weight(n) / sum * shape.bytes as f64) as u64).collect()
}

/// A conversation that goes on as long as one likes.
#[derive(Debug)]
pub struct Session {
    /// Its id.
    pub id: String,
    project: Project,
    random: Random,
    is_sidechain: bool,
    clock_ms: u64,
    parent: String,
    turns: u64,
    shape: String,
    plants: Vec<&'static str>,
    /// Bytes of text that a search may want, and those of them that tools put out.
    text: (u64, u64),
}

impl Session {
    /// The conversation of that seed, in one of the projects.
    pub fn new(seed: u64, project: u64) -> Session {
        let mut random = Random(seed);
        let (id, parent) = (random.uuid(), random.uuid());
        let project = Project::new(project);
        let mut shape = String::new();
        push_prose(&mut shape, &mut random, &project, SHAPE_BYTES as usize);
        let clock_ms = EPOCH_MS + random.below(200 * 24 * 3_600_000);
        Session {
            id,
            project,
            random,
            is_sidechain: false,
            clock_ms,
            parent,
            turns: 0,
            shape,
            plants: Vec::new(),
            text: (0, 0),
        }
    }

    /// Its working directory.
    pub fn cwd(&self) -> String {
        format!("/home/dev/{}", self.project.name)
    }

    /// What searches look for stands in some sessions, by their number.
    fn plant(&mut self, n: u64) {
        if n % 13 == 5 && n < 39 {
            self.plants.push(RARE);
        }
        if n < 20 {
            self.plants.push(PHRASE);
        }
        if n < 40 {
            self.plants.push(WITH_SUBSTRING);
        }
    }

    /// The records before the first prompt.
    pub fn begin(&mut self, out: &mut String) {
        for mode in [r#""type":"mode","mode":"normal""#, r#""type":"permission-mode","permissionMode":"auto""#] {
            put(out, format_args!("{{{mode},\"sessionId\":\"{}\"}}\n", self.id));
        }
        for kind in ["environment", "deferred_tools_delta", "agent_listing_delta", "skill_listing", "session_context"] {
            let mut content = String::new();
            push_prose(&mut content, &mut self.random, &self.project, 2_600);
            let body = format!(
                r#""attachment":{{"type":"{kind}","content":"{content}"}},"type":"attachment","rendered":[{{"content":"{content}"}}],"renderedRole":"system""#
            );
            self.message(out, &body);
        }
        self.request_shape(out);
    }

    /// A prompt, what the model does about it, and what Claude Code notes beside.
    pub fn turn(&mut self, out: &mut String) {
        self.turns += 1;
        let length = self.random.length(30..1500);
        let mut prompt = self.prose(length);
        if self.turns == 1 {
            for plant in std::mem::take(&mut self.plants) {
                put(&mut prompt, format_args!(" {plant} and so on. "));
            }
        }
        self.counted(prompt.len(), false);
        let body = format!(
            r#""promptId":"{}","type":"user","message":{{"role":"user","content":"{prompt}"}},"permissionMode":"auto","origin":{{"kind":"human"}},"promptSource":"typed""#,
            self.random.uuid()
        );
        self.message(out, &body);
        self.blob(out, "user", &format!(r#"[{{"type":"text","text":"{prompt}"}}]"#));
        if self.turns.is_multiple_of(3) {
            self.request_shape(out);
        }
        for _ in 0..1 + self.random.below(8) {
            self.tool_call(out);
        }
        let length = self.random.length(300..12_000);
        let answer = self.prose(length);
        self.counted(answer.len(), false);
        self.request(out);
        self.answer(out, &format!(r#"[{{"type":"text","text":"{answer}"}}]"#), "end_turn");
        self.blob(out, "assistant", &format!(r#"[{{"type":"text","text":"{answer}"}}]"#));
        self.bookkeeping(out, &prompt);
    }

    fn tool_call(&mut self, out: &mut String) {
        let id = format!("toolu_{:024x}", self.random.bits());
        let file = self.project.file(&mut self.random).to_owned();
        let (name, input, result, structured) = match self.random.below(10) {
            0..4 => self.bash(),
            4..7 => self.read(&file),
            7..9 => self.edit(&file),
            _ => self.grep(),
        };
        self.counted(input.len(), false);
        self.counted(result.len(), true);
        self.request(out);
        if self.random.one_in(4) {
            let length = self.random.length(120..2_000);
            let thought = self.prose(length);
            self.counted(thought.len(), false);
            let signature = self.random.bits();
            let thinking = format!(r#"[{{"type":"thinking","thinking":"{thought}","signature":"{signature:0600x}"}}]"#);
            self.answer(out, &thinking, "tool_use");
        }
        let call = format!(r#"[{{"type":"tool_use","id":"{id}","name":"{name}","input":{input}}}]"#);
        self.answer(out, &call, "tool_use");
        self.blob(out, "assistant", &call);
        let content =
            format!(r#"[{{"tool_use_id":"{id}","type":"tool_result","content":"{result}","is_error":false}}]"#);
        let body = format!(
            r#""promptId":"{}","type":"user","message":{{"role":"user","content":{content}}},"toolUseResult":{structured}"#,
            self.random.uuid()
        );
        self.message(out, &body);
        self.blob(out, "user", &content);
    }

    fn bash(&mut self) -> (&'static str, String, String, String) {
        let length = self.random.length(100..11_000);
        let mut output = String::new();
        push_log(&mut output, &mut self.random, &self.project, length);
        let name = self.project.identifier(&mut self.random);
        let command =
            format!(r#"{{"command":"cargo test {name} 2>&1 | tail -40","description":"Runs the tests of {name}"}}"#);
        let structured = format!(r#"{{"stdout":"{output}","stderr":"","interrupted":false,"isImage":false}}"#);
        ("Bash", command, output, structured)
    }

    fn read(&mut self, file: &str) -> (&'static str, String, String, String) {
        let length = self.random.length(300..16_000);
        let mut output = String::new();
        push_code(&mut output, &mut self.random, &self.project, length, true);
        let structured = format!(
            r#"{{"type":"text","file":{{"filePath":"{file}","content":"{output}","numLines":200,"startLine":1,"totalLines":200}}}}"#
        );
        ("Read", format!(r#"{{"file_path":"{file}"}}"#), output, structured)
    }

    fn edit(&mut self, file: &str) -> (&'static str, String, String, String) {
        let (mut old, mut new, mut original) = (String::new(), String::new(), String::new());
        let length = self.random.length(80..4_000);
        push_code(&mut old, &mut self.random, &self.project, length, false);
        push_code(&mut new, &mut self.random, &self.project, length, false);
        push_code(&mut original, &mut self.random, &self.project, 14_000, false);
        let input = format!(r#"{{"file_path":"{file}","old_string":"{old}","new_string":"{new}"}}"#);
        let result = format!("The file {file} has been updated. Here's the result of running `cat -n`:\\n{new}");
        let structured = format!(
            r#"{{"filePath":"{file}","oldString":"{old}","newString":"{new}","originalFile":"{original}","structuredPatch":[{{"lines":["-{old}","+{new}"]}}]}}"#
        );
        ("Edit", input, result, structured)
    }

    fn grep(&mut self) -> (&'static str, String, String, String) {
        let length = self.random.length(60..6_000);
        let mut output = String::new();
        push_log(&mut output, &mut self.random, &self.project, length);
        let name = self.project.identifier(&mut self.random);
        let input = format!(r#"{{"pattern":"{name}","path":"{}","output_mode":"content"}}"#, self.cwd());
        let structured = format!(r#"{{"mode":"content","numFiles":3,"content":"{output}"}}"#);
        ("Grep", input, output, structured)
    }

    fn answer(&mut self, out: &mut String, content: &str, stop: &str) {
        let bits = self.random.bits();
        let body = format!(
            r#""message":{{"id":"msg_{bits:024x}","type":"message","role":"assistant","model":"claude-opus-5-5","content":{content},"stop_reason":"{stop}","stop_sequence":null,"usage":{{"input_tokens":{},"cache_creation_input_tokens":0,"cache_read_input_tokens":{},"output_tokens":{},"output_tokens_details":{{"thinking_tokens":0}},"server_tool_use":{{"web_search_requests":0,"web_fetch_requests":0}},"service_tier":"standard"}},"stop_details":null}},"apiBlockIndex":0,"requestId":"req_{bits:024x}","requestedModel":"claude-opus-5-5","promptCacheRequested":"5m","type":"assistant","effort":"medium","madeBy":"model""#,
            bits % 9000,
            bits % 150_000,
            bits % 4000
        );
        self.message(out, &body);
    }

    /// A record of the conversation: `body` between what all of them bear.
    fn message(&mut self, out: &mut String, body: &str) {
        let uuid = self.random.uuid();
        let time = self.time();
        put(
            out,
            format_args!(
                "{{\"parentUuid\":\"{}\",\"isSidechain\":{},{body},\"uuid\":\"{uuid}\",\"timestamp\":\"{time}\",\"userType\":\"external\",\"entrypoint\":\"cli\",\"cwd\":\"{}\",\"sessionId\":\"{}\",\"version\":\"2.1.330\",\"gitBranch\":\"main\"}}\n",
                self.parent,
                self.is_sidechain,
                self.cwd(),
                self.id
            ),
        );
        self.parent = uuid;
    }

    fn request_shape(&mut self, out: &mut String) {
        let time = self.time();
        put(
            out,
            format_args!(
                "{{\"type\":\"api-request-shape\",\"sessionId\":\"{}\",\"shapeHash\":\"{:064x}\",\"timestamp\":\"{time}\",\"version\":\"2.1.330\",\"shape\":{{\"system\":[{{\"type\":\"text\",\"text\":\"{}\"}}],\"tools\":[]}}}}\n",
                self.id, self.turns, self.shape
            ),
        );
        // What is cut in the middle of an escape would not be JSON.
        let end = self.shape[..SNAPSHOT_BYTES as usize].rfind(' ').unwrap_or(0);
        let body = format!(
            r#""attachment":{{"type":"prompt_snapshot","systemPrompt":["{}"],"reminderFold":false}},"type":"attachment""#,
            &self.shape[..end]
        );
        self.message(out, &body);
    }

    fn request(&mut self, out: &mut String) {
        let (time, request) = (self.time(), self.random.uuid());
        let (one, two, three) = (self.random.bits(), self.random.bits(), self.random.bits());
        put(
            out,
            format_args!(
                "{{\"type\":\"api-request\",\"sessionId\":\"{}\",\"id\":\"{request}\",\"timestamp\":\"{time}\",\"version\":\"2.1.330\",\"querySource\":\"repl_main_thread\",\"shapeHash\":\"{:064x}\",\"params\":{{\"model\":\"claude-opus-5-5\",\"betas\":[\"claude-code-20250219\",\"interleaved-thinking-2025-05-14\",\"context-management-2025-06-27\",\"per-turn-control-2026-07-01\",\"mid-conversation-tool-changes-2026-07-01\",\"thinking-token-count-2026-05-13\",\"advanced-tool-use-2025-11-20\",\"effort-2025-11-24\"],\"max_tokens\":128000,\"thinking\":{{\"type\":\"adaptive\",\"display\":\"updates\"}}}},\"keep\":{},\"tail\":[\"{one:064x}\",\"{two:064x}\",\"{three:064x}\"]}}\n",
                self.id,
                self.turns,
                self.turns * 2
            ),
        );
    }

    fn blob(&mut self, out: &mut String, role: &str, content: &str) {
        let hash = self.random.bits();
        put(
            out,
            format_args!(
                "{{\"type\":\"api-request-blob\",\"sessionId\":\"{}\",\"hash\":\"{hash:064x}\",\"message\":{{\"role\":\"{role}\",\"content\":{content}}}}}\n",
                self.id
            ),
        );
    }

    fn bookkeeping(&mut self, out: &mut String, prompt: &str) {
        let start = &prompt[..prompt.char_indices().nth(60).map_or(0, |(at, _)| prompt[..at].rfind(' ').unwrap_or(0))];
        put(
            out,
            format_args!(
                "{{\"type\":\"last-prompt\",\"lastPrompt\":\"{start}\",\"leafUuid\":\"{}\",\"sessionId\":\"{}\"}}\n",
                self.parent, self.id
            ),
        );
        put(out, format_args!("{{\"type\":\"atis-latch\",\"atis\":\"\",\"sessionId\":\"{}\"}}\n", self.id));
        put(
            out,
            format_args!(
                "{{\"type\":\"file-history-snapshot\",\"messageId\":\"{}\",\"snapshot\":{{\"messageId\":\"{}\",\"trackedFileBackups\":{{}}}},\"isSnapshotUpdate\":false}}\n",
                self.parent, self.parent
            ),
        );
        self.message(out, r#""type":"system","subtype":"stop_hook_summary","hookCount":1,"hookInfos":[{"command":"/home/dev/.claude/hooks/layer1-prebackup --quiet || :","durationMs":4}],"hookErrors":[],"preventedContinuation":false,"stopReason":"","hasOutput":false,"level":"suggestion""#);
        let took = self.random.below(90_000);
        self.message(
            out,
            &format!(
                r#""type":"system","subtype":"turn_duration","durationMs":{took},"messageCount":{},"isMeta":false"#,
                self.turns
            ),
        );
    }

    fn prose(&mut self, chars: usize) -> String {
        let mut text = String::with_capacity(chars + 200);
        push_prose(&mut text, &mut self.random, &self.project, chars);
        text
    }

    /// RFC 3339, a little later each time.
    fn time(&mut self) -> String {
        self.clock_ms += 20 + self.random.below(9_000);
        let (days, ms) = (self.clock_ms / 86_400_000, self.clock_ms % 86_400_000);
        let (year, month, day) = civil(days as i64);
        format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
            ms / 3_600_000,
            ms / 60_000 % 60,
            ms / 1000 % 60,
            ms % 1000
        )
    }

    fn counted(&mut self, bytes: usize, is_output: bool) {
        self.text.0 += bytes as u64;
        self.text.1 += if is_output { bytes as u64 } else { 0 };
    }
}

/// Year, month and day of a number of days since 1970 (Howard Hinnant's algorithm).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn put(text: &mut String, pieces: std::fmt::Arguments<'_>) {
    text.write_fmt(pieces).expect("a string takes anything");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    fn conversation(seed: u64, bytes: usize) -> (String, Session) {
        let mut session = Session::new(seed, 2);
        session.plant(5);
        let mut lines = String::new();
        session.begin(&mut lines);
        while lines.len() < bytes {
            session.turn(&mut lines);
        }
        (lines, session)
    }

    #[test]
    fn every_line_is_a_record_and_a_seed_says_it_all() {
        let (lines, _) = conversation(9, 400_000);
        assert_eq!(lines, conversation(9, 400_000).0);
        assert_ne!(lines, conversation(10, 400_000).0);
        for line in lines.lines() {
            let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(record["type"].is_string(), "{line}");
        }
        let hash = blake3::hash(lines.as_bytes()).to_hex();
        assert_eq!(
            &hash[..16],
            "74af3ad56e85e14a",
            "the corpus changed: so do all measurements, and instructions.json"
        );
    }

    #[test]
    fn the_shares_are_those_of_real_transcripts() {
        let (lines, session) = conversation(1, 8_000_000);
        let all = lines.len() as f64;
        let mut by_kind = BTreeMap::<String, usize>::new();
        for line in lines.lines() {
            let record: Value = serde_json::from_str(line).expect("a record");
            *by_kind.entry(record["type"].as_str().expect("a type").to_owned()).or_default() += line.len();
        }
        let (text, output) = (session.text.0 as f64, session.text.1 as f64);
        println!("text {:.3}, of it tool output {:.3}; {by_kind:?}", text / all, output / text);
        assert!((0.16..0.20).contains(&(text / all)), "text: {}", text / all);
        assert!((0.60..0.72).contains(&(output / text)), "tool output: {}", output / text);
        let requests: usize =
            by_kind.iter().filter(|(kind, _)| kind.starts_with("api-request")).map(|(_, bytes)| bytes).sum();
        assert!((0.3..0.6).contains(&(requests as f64 / all)), "requests: {}", requests as f64 / all);
    }

    #[test]
    fn sizes_add_up_and_differ() {
        let sizes = sizes(Shape::FULL);
        let sum: u64 = sizes.iter().sum();
        assert!(sum.abs_diff(Shape::FULL.bytes) < 1000, "{sum}");
        let (least, most) = (sizes.iter().min().expect("some"), sizes.iter().max().expect("some"));
        assert!(most / least > 80, "{least} to {most}");
    }

    #[test]
    fn a_day_has_its_date() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(20_574), (2026, 5, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
    }

    #[test]
    fn a_small_corpus_lies_where_claude_code_would_have_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let corpus = lay_out(folder.path(), Shape { sessions: 8, bytes: 2_000_000, seed: 4 }).expect("laid out");
        assert_eq!(corpus.transcripts.len(), 8);
        let text = |path: &PathBuf| fs::read_to_string(path).expect("a transcript");
        let all: String = corpus.transcripts.iter().map(text).collect();
        assert!(all.contains(RARE) && all.contains(PHRASE) && all.contains(SUBSTRING) && all.contains(COMMON));
        assert!(corpus.transcripts[3].with_extension("").join("subagents").is_dir());
        assert!(corpus.bytes >= 2_000_000);
    }
}
