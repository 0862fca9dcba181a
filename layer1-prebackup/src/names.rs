//! Names that become paths: session ids, project folders, files of a session.
//!
//! Every name that reaches a file system passes through a type of this module, so that a
//! hostile id such as `../../x` is refused once, here, with a message that says why.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Layer 1's program.
pub const LAYER1: &str = "layer1-prebackup";
/// Layer 2's program.
pub const LAYER2: &str = "layer2-save-client";
/// Layer 3's program.
pub const LAYER3: &str = "layer3-indexer";
/// The three programs, in the order of the layers.
pub const PROGRAMS: [&str; 3] = [LAYER1, LAYER2, LAYER3];
/// The one command that stands for all three: a link to layer 3's program.
pub const THREEFOLD: &str = "threefold";
/// The verbs of [`THREEFOLD`] that another program carries out, and which.
const PASSED_ON: [(&str, &str); 6] = [
    ("sweep", LAYER1),
    ("history", LAYER1),
    ("pending", LAYER2),
    ("drain", LAYER2),
    ("dismiss", LAYER2),
    ("offsite", LAYER2),
];

/// How a program is called in what people read: [`THREEFOLD`] where this process was started by that name, else `program`.
pub fn program_name(program: &'static str) -> &'static str {
    static IS_THREEFOLD: LazyLock<bool> =
        LazyLock::new(|| std::env::args_os().next().is_some_and(|own| is_threefold(&own)));
    if *IS_THREEFOLD { THREEFOLD } else { program }
}

/// What to type for a verb of one of [`PROGRAMS`], `words` being the verb and its arguments: what a person who
/// started this process can type the same way.
pub fn typed(program: &'static str, words: &str) -> String {
    typed_as(program_name(program), program, words)
}

fn typed_as(name: &str, program: &str, words: &str) -> String {
    let verb = words.split_whitespace().next().unwrap_or_default();
    if name == program || program == LAYER3 || PASSED_ON.contains(&(verb, program)) {
        return format!("{name} {words}");
    }
    format!("{name} {program} {words}")
}

/// Whether a first argument, the name or path that a program was started by, is [`THREEFOLD`]. On some file systems
/// letters are typed in either case.
fn is_threefold(own: &OsStr) -> bool {
    Path::new(own).file_name().is_some_and(|name| name.eq_ignore_ascii_case(THREEFOLD))
}

/// Longest session id, in bytes: one leading character and 127 more.
pub(crate) const SESSION_ID_BYTES_MAX: usize = 128;
/// Longest project folder name, in bytes. File systems allow 255; the rest is room for suffixes.
pub(crate) const PROJECT_BYTES_MAX: usize = 120;
/// Longest one that is read: the version before lengthened some names of full length by one.
const PROJECT_BYTES_READ_MAX: usize = PROJECT_BYTES_MAX + 1;
/// In layer 3's store: the list of what is owed to the index.
pub const TO_INDEX: &str = ".state/to-index";
/// So many characters, its first ones, are the name of that list. Under another name it is another list: then everything
/// is looked at.
pub const TO_INDEX_NAME_CHARS: usize = 16;
/// The index in layer 3's store. SQLite's and our own files beside it begin with its name, so no project's folder may.
pub(crate) const INDEX_FILE: &str = "sessions.db";
/// The folder of sessions for which no project name is known.
pub(crate) const PROJECT_UNKNOWN: &str = "unknown";
/// Digits of a generation number in a file name.
const GENERATION_DIGITS: usize = 4;
/// The highest generation that is believed. No file has more contents, and whoever counts them must come to an end.
pub(crate) const GENERATION_MAX: u32 = 99_999;

/// A name was refused, and why. Nothing was read or written under it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("use {0}")]
pub struct NameError(String);

/// A session id that is safe as a file name on every file system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(String);

impl SessionId {
    /// Accepts `[A-Za-z0-9][A-Za-z0-9._-]{0,127}` without `.gen-` and `.events`; refuses the rest.
    pub fn parse(text: &str) -> Result<SessionId, NameError> {
        let bytes = text.as_bytes();
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let fits = !bytes.is_empty()
            && bytes.len() <= SESSION_ID_BYTES_MAX
            && bytes[0].is_ascii_alphanumeric()
            && bytes.iter().all(plain)
            && !(bytes.contains(&b'.') && (text.contains(".gen-") || text.contains(".events")));
        let rule = "[A-Za-z0-9][A-Za-z0-9._-]{0,127} and contain neither \".gen-\" nor \".events\"";
        let refuse = || NameError(format!("session id {text:?}: it must match {rule}"));
        fits.then(|| SessionId(text.to_owned())).ok_or_else(refuse)
    }

    /// The id in `<root>/<slug>/<session id>.jsonl`.
    pub fn of_transcript(path: &Path) -> Result<SessionId, NameError> {
        let name = path.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_suffix(".jsonl"));
        let rule = "its last component must be SESSION_ID.jsonl";
        SessionId::parse(name.ok_or_else(|| NameError(format!("transcript path {path:?}: {rule}")))?)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A project's folder name in a store: visible, portable, at most [`PROJECT_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectName(String);

impl ProjectName {
    /// The folder for a working directory: its last component by `/` or `\`, made safe;
    /// [`PROJECT_UNKNOWN`] when nothing is left.
    pub fn from_cwd(cwd: &str) -> ProjectName {
        let last = cwd.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or("");
        ProjectName(made_safe(last))
    }

    /// Accepts a plain name (from a job, a receipt, a folder or a user); refuses the rest. What the version before
    /// named its folders is among the plain ones, although such a folder would be named otherwise today.
    pub fn parse(text: &str) -> Result<ProjectName, NameError> {
        let rule = "separators, control characters or a leading dot";
        let what = || format!("a plain folder name of at most {PROJECT_BYTES_MAX} bytes without {rule}");
        let refuse = || NameError(format!("project name {text:?}: it must be {}", what()));
        // Each session of a store names its own, and nearly all are of these alone.
        let is_plainest = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_plain = !text.is_empty()
            && (text.len() <= PROJECT_BYTES_READ_MAX && text.bytes().all(is_plainest)
                || made_plain(text, PROJECT_BYTES_READ_MAX) == text);
        is_plain.then(|| ProjectName(text.to_owned())).ok_or_else(refuse)
    }

    /// The name that a new folder gets for a project of this one: the same, unless it is reserved.
    pub(crate) fn for_a_new_folder(&self) -> ProjectName {
        ProjectName(made_safe(&self.0))
    }

    /// The folder `{PROJECT}~{n}` for a second session of the same id.
    pub fn with_suffix(&self, n: u32) -> ProjectName {
        let suffix = format!("~{n}");
        let mut base = self.0.clone();
        truncate_to_bytes(&mut base, PROJECT_BYTES_MAX - suffix.len());
        ProjectName(base + &suffix)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The file of a session that is meant: its transcript, or a side file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// `{SESSION_ID}.jsonl`.
    Transcript,
    /// A path below `{SESSION_ID}/`: relative, of plain components, any bytes.
    Side(PathBuf),
}

/// One stored content: a file of a session in one of its generations, 0 being the newest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoredName {
    /// Which file of the session.
    pub file: FileName,
    /// 0 for the newest content, 1 for the oldest, then 2, …
    pub generation: u32,
}

impl StoredName {
    /// The newest content of `file`.
    pub fn newest(file: FileName) -> StoredName {
        StoredName { file, generation: 0 }
    }

    /// The path relative to the project's folder, as a file system path.
    pub fn to_path(&self, id: &SessionId) -> PathBuf {
        let stem = match self.generation {
            0 => id.0.clone(),
            n => format!("{id}.gen-{n:0width$}", width = GENERATION_DIGITS),
        };
        match &self.file {
            FileName::Transcript => PathBuf::from(stem + ".jsonl"),
            FileName::Side(rel) => Path::new(&stem).join(rel),
        }
    }

    /// The path relative to the project's folder, as text for receipts, ledgers and reports:
    /// bytes that are not UTF-8, control characters and `%` are written as `%XX`.
    pub fn to_text(&self, id: &SessionId) -> String {
        escaped(self.to_path(id).as_os_str())
    }

    /// Reads what [`StoredName::to_text`] wrote for the same session. Refuses anything that
    /// is not below the session's own names.
    pub fn parse(id: &SessionId, text: &str) -> Result<StoredName, NameError> {
        let forms = "SESSION.jsonl, SESSION/…, SESSION.gen-NNNN.jsonl or SESSION.gen-NNNN/…, without \"..\"";
        let refuse = || NameError(format!("stored path {text:?}: it must be {forms}"));
        let raw = unescaped(text).ok_or_else(refuse)?;
        let rest = raw.as_bytes().strip_prefix(id.0.as_bytes()).ok_or_else(refuse)?;
        let (generation, rest) = match rest.strip_prefix(b".gen-") {
            None => (0, rest),
            Some(tail) => {
                let digits = tail.iter().take_while(|b| b.is_ascii_digit()).count();
                let number = std::str::from_utf8(&tail[..digits]).ok().and_then(|d| d.parse::<u32>().ok());
                let is_ours = |n: &u32| (1..=GENERATION_MAX).contains(n) && digits >= GENERATION_DIGITS;
                let n = number.filter(is_ours).ok_or_else(refuse)?;
                (n, &tail[digits..])
            }
        };
        let file = match rest {
            b".jsonl" => FileName::Transcript,
            [b'/', rel @ ..] => FileName::Side(plain_relative(OsStr::from_bytes(rel)).ok_or_else(refuse)?),
            _ => return Err(refuse()),
        };
        let name = StoredName { file, generation };
        if name.to_text(id) == text { Ok(name) } else { Err(refuse()) }
    }
}

/// Whether a file of this name is a copy that another program made of one beside it, which `is_known` knows: a sync
/// service (`x (conflicted copy).jsonl`, `x.sync-conflict-….jsonl`, `x 2.jsonl`, `.x.jsonl.icloud`), an editor, or `cp`
/// (`x.jsonl.bak`, `x.bak.jsonl`).
pub(crate) fn is_a_copy(name: &str, is_known: &dyn Fn(&str) -> bool) -> bool {
    let plain = name.trim_start_matches(['.', '_', '~', '#']);
    if plain.len() < name.len() && is_known(plain) {
        return true;
    }
    let ending = plain.rfind('.').map_or("", |at| &plain[at..]);
    let ends = plain.char_indices().filter(|(at, c)| *at > 0 && " .-_~(#".contains(*c));
    let mut beginnings = ends.map(|(at, _)| &plain[..at]);
    beginnings.any(|beginning| {
        let with_ending = format!("{beginning}{ending}");
        is_known(beginning) || (!ending.is_empty() && with_ending != plain && is_known(&with_ending))
    })
}

/// The id of another session that this one's is a longer spelling of, as in `ID.bak` or `ID-HOST`, if `is_known` says
/// that there is one. What is random through and through is nobody's copy.
pub(crate) fn copied_id(id: &SessionId, is_known: &dyn Fn(&SessionId) -> bool) -> Option<SessionId> {
    let text = id.as_str();
    if is_uuid(text) {
        return None;
    }
    let ends = text.char_indices().filter(|(at, c)| *c == '.' || ("-_".contains(*c) && is_uuid(&text[..*at])));
    ends.filter_map(|(at, _)| SessionId::parse(&text[..at]).ok()).find(|shorter| is_known(shorter))
}

fn is_uuid(text: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}

/// The path when it is relative and of plain components only (no `..`, no `.`, not empty).
pub(crate) fn plain_relative(text: &OsStr) -> Option<PathBuf> {
    let parts = text.as_bytes().split(|b| *b == b'/');
    let plain = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
    parts.clone().all(plain).then(|| PathBuf::from(text))
}

/// A folder's name for any component: plain, of at most [`PROJECT_BYTES_MAX`] bytes, none that Windows reserves and
/// none of our own files'. Of what this gives it makes the same again.
fn made_safe(component: &str) -> String {
    let name = made_plain(component, PROJECT_BYTES_MAX);
    if name.is_empty() {
        return PROJECT_UNKNOWN.to_owned();
    }
    let mark_at = if is_ours(&name) { Some(0) } else { end_of_reserved_stem(&name) };
    let Some(mark_at) = mark_at else { return name };
    let mut marked = name;
    marked.insert(mark_at, '_');
    made_plain(&marked, PROJECT_BYTES_MAX)
}

/// Without separators, control characters, a leading dot, and blanks and dots at its end; perhaps nothing.
fn made_plain(component: &str, bytes_max: usize) -> String {
    let replaced: String =
        component.chars().map(|c| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c }).collect();
    let mut name = replaced.trim_end_matches([' ', '.']).trim_start_matches(' ').to_owned();
    if name.starts_with('.') {
        name.replace_range(0..1, "_");
    }
    truncate_to_bytes(&mut name, bytes_max);
    name.trim_end_matches([' ', '.']).to_owned()
}

/// Whether a file of ours in the root of a store may bear the name, on whatever file system.
fn is_ours(name: &str) -> bool {
    name.get(..INDEX_FILE.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(INDEX_FILE))
}

fn truncate_to_bytes(text: &mut String, bytes_max: usize) {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

/// CON, NUL, COM1 and their like, whatever follows behind a dot, cannot be folder names on Windows. Where that
/// first part of such a name ends.
fn end_of_reserved_stem(name: &str) -> Option<usize> {
    let stem = name.split('.').next().unwrap_or(name).trim_end();
    let upper = stem.to_ascii_uppercase();
    let is_numbered = |prefix: &str| {
        let number = upper.strip_prefix(prefix);
        number.is_some_and(|n| n.chars().count() == 1 && n.chars().all(|digit| "123456789¹²³".contains(digit)))
    };
    let is_device = matches!(upper.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$");
    (is_device || is_numbered("COM") || is_numbered("LPT")).then_some(stem.len())
}

/// A path as text, each byte of it that is none as U+FFFD: as programs spell it that write JSON, `restic` among them.
/// Two paths may be spelled alike.
pub fn spelled(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

pub(crate) fn escaped(raw: &OsStr) -> String {
    let mut text = String::with_capacity(raw.len());
    for chunk in raw.as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '%' || c.is_control() {
                let mut utf8 = [0; 4];
                push_hex(&mut text, c.encode_utf8(&mut utf8).as_bytes());
            } else {
                text.push(c);
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str(&format!("%{byte:02X}"));
    }
}

pub(crate) fn unescaped(text: &str) -> Option<OsString> {
    let mut raw = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            raw.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        raw.push((high * 16 + low) as u8);
    }
    Some(OsString::from_vec(raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_comes_from_what_was_typed() {
        for threefold in ["threefold", "/h/.local/bin/threefold", "./threefold", "Threefold", "../x y/THREEFOLD"] {
            assert!(is_threefold(OsStr::new(threefold)), "{threefold}");
        }
        for other in ["", "layer3-indexer", "/x/threefold/layer3-indexer", "threefold-old", "-threefold", "/", ".."] {
            assert!(!is_threefold(OsStr::new(other)), "{other}");
        }
    }

    #[test]
    fn what_is_to_be_typed_can_be_typed_by_that_name() {
        assert_eq!(typed(LAYER1, "sweep --all"), "layer1-prebackup sweep --all");
        for (program, words, expected) in [
            (LAYER3, "verify x", "threefold verify x"),
            (LAYER1, "sweep --all", "threefold sweep --all"),
            (LAYER2, "drain", "threefold drain"),
            (LAYER1, "verify --repair", "threefold layer1-prebackup verify --repair"),
            (LAYER2, "ping", "threefold layer2-save-client ping"),
        ] {
            assert_eq!(typed_as(THREEFOLD, program, words), expected);
            assert_eq!(typed_as(program, program, words), format!("{program} {words}"));
        }
    }

    #[test]
    fn session_ids_are_plain_file_names() {
        for good in ["a", "5b3d80da-3868-4fbe-b063-0aa144649138", "A.b_c-d", &"x".repeat(128)] {
            assert!(SessionId::parse(good).is_ok(), "{good}");
        }
        let long = "x".repeat(129);
        for bad in ["", ".a", "-a", "../../x", "a/b", "a\\b", "a b", "a\0", "é", "a.gen-0001", "a.events", &long] {
            assert!(SessionId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn project_is_the_last_component_made_safe() {
        let check = |cwd: &str, expected: &str| assert_eq!(ProjectName::from_cwd(cwd).as_str(), expected, "{cwd:?}");
        check("/home/dev/proj", "proj");
        check("/home/dev/proj/", "proj");
        check(r"C:\Users\dev\my app", "my app");
        check(r"C:\", "C_");
        check("/", "unknown");
        check("", "unknown");
        check("/x/..", "unknown");
        check("/x/.hidden", "_hidden");
        check("/x/a:b*c", "a_b_c");
        check("/x/nul", "nul_");
        check("/x/con.txt", "con_.txt");
        check("/x/Aux .tar.gz", "Aux_ .tar.gz");
        check("/x/com\u{b9}", "com\u{b9}_");
        check("/x/console.log", "console.log");
        check("/x/sessions.db", "_sessions.db");
        check("/x/Sessions.DB-wal", "_Sessions.DB-wal");
        check("/x/sessions.d", "sessions.d");
        check("/x/trailing. ", "trailing");
        check("/x/sesión", "sesión");
    }

    #[test]
    fn every_project_name_parses_again() {
        for cwd in ["/a/b", "/", r"C:\", "/x/.h", "/x/nul", &format!("/x/{}", "é".repeat(200))] {
            let name = ProjectName::from_cwd(cwd);
            assert_eq!(ProjectName::parse(name.as_str()), Ok(name.clone()));
            assert_eq!(ProjectName::parse(name.with_suffix(2).as_str()), Ok(name.with_suffix(2)));
        }
        for bad in ["", ".state", "..", "a/b", "a\0b", "a ", "a.", &"x".repeat(122)] {
            assert!(ProjectName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_folder_that_the_version_before_named_is_still_one() {
        let full = format!("con.{}_", "x".repeat(116));
        assert_eq!(full.len(), PROJECT_BYTES_READ_MAX);
        for old in ["con.txt_", "aux.js_", "nul_", "sessions.db", "sessions.db-wal", &full] {
            let name = ProjectName::parse(old).unwrap();
            assert_eq!(name.as_str(), old);
            check_safe(name.for_a_new_folder().as_str());
        }
    }

    #[test]
    fn no_name_that_is_made_safe_is_reserved_or_changes_when_it_is_made_safe_again() {
        let devices = ["con", "PRN", "aux", "Nul", "com1", "LPT9", "com\u{b2}", "conin$"];
        let ours = ["sessions.db", "SESSIONS.DB", "store.json", ".outbox", ".state", "metadata.lock", "lock", "~"];
        let behind = ["", "-wal", "-journal", ".lock", ".tmp", "_", "~2"];
        let tails = ["", ".js", ".tar.gz", ".", " ", ". .", " .txt", "._", "..a", ".con", ".json", ".ledger", ".zst"];
        for stem in devices.iter().chain(&ours) {
            for head in ["", " ", ".", "..", "_", ". ", "\u{1}", "e\u{301}"] {
                for (own, tail) in behind.iter().flat_map(|own| tails.map(|tail| (own, tail))) {
                    for length in [0, 112, 114, 116, 250] {
                        check_safe(&format!("{head}{stem}{own}{}{tail}", "x".repeat(length)));
                        check_safe(&format!("{head}{stem}{tail}{}{own}", "\u{e9}. ".repeat(length / 4)));
                    }
                }
            }
        }
    }

    fn check_safe(given: &str) {
        let name = ProjectName::from_cwd(&format!("/x/{}", given.replace('/', "_")));
        assert_eq!(ProjectName::from_cwd(&format!("/x/{name}")), name, "{given:?}");
        assert_eq!(ProjectName::parse(name.as_str()).as_ref(), Ok(&name), "{given:?}");
        for name in [&name, &name.with_suffix(2)] {
            assert_eq!(ProjectName::parse(name.as_str()).as_ref(), Ok(name), "{given:?}");
            assert_eq!(name.for_a_new_folder(), *name, "{given:?}");
            assert!(name.as_str().len() <= PROJECT_BYTES_MAX, "{given:?}");
            assert!(!is_ours(name.as_str()) && end_of_reserved_stem(name.as_str()).is_none(), "{given:?}: {name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_name_at_all_is_safe_once_it_was_made_so(given in "\\PC{0,140}") {
            check_safe(&given);
        }
    }

    #[test]
    fn copies_that_other_programs_make_are_told_by_their_names() {
        let is_known = |name: &str| ["x.jsonl", "y", "a.b.json"].contains(&name);
        for copy in [
            "x (conflicted copy 2026-11-28).jsonl",
            "x.sync-conflict-20261128-101010-ABCDEFG.jsonl",
            "x 2.jsonl",
            "x (1).jsonl",
            "x-HOST.jsonl",
            "x_old.jsonl",
            "x.bak.jsonl",
            "x.jsonl.bak",
            "x.jsonl~",
            "x.jsonl.icloud",
            ".x.jsonl.icloud",
            "._x.jsonl",
            "~x.jsonl.tmp",
            "#x.jsonl#",
            "y 2",
            "y.orig",
            "a.b (2).json",
        ] {
            assert!(is_a_copy(copy, &is_known), "{copy}");
        }
        for other in ["", ".", "x.jsonl", "xx.jsonl", "z 2.jsonl", "x2.jsonl", "x.json", "yy", "b.json"] {
            assert!(!is_a_copy(other, &is_known), "{other}");
        }
    }

    #[test]
    fn an_id_that_is_longer_than_another_is_its_copys() {
        let uuid = "5b3d80da-3868-4fbe-b063-0aa144649138";
        let is_known = |id: &SessionId| [uuid, "s1"].contains(&id.as_str());
        let copied = |text: &str| copied_id(&SessionId::parse(text).unwrap(), &is_known).is_some();
        for copy in [".bak", ".sync-conflict-20261128-101010-ABCDEFG", "-HOST", "_1"].map(|end| format!("{uuid}{end}"))
        {
            assert!(copied(&copy), "{copy}");
        }
        assert!(copied("s1.bak"));
        // Of what is not random through and through, a longer one may be another.
        for other in ["s1-2", "s1_2", "s12", "s1", uuid, "5b3d80da-3868-4fbe-b063-0aa144649139"] {
            assert!(!copied(other), "{other}");
        }
    }

    #[test]
    fn stored_names_round_trip_for_any_bytes() {
        let id = SessionId::parse("abc").unwrap();
        let odd = PathBuf::from(OsString::from_vec(b"sub/\xff 100%\n.txt".to_vec()));
        for (name, expected) in [
            (StoredName::newest(FileName::Transcript), "abc.jsonl"),
            (StoredName { file: FileName::Transcript, generation: 12 }, "abc.gen-0012.jsonl"),
            (StoredName { file: FileName::Transcript, generation: 12345 }, "abc.gen-12345.jsonl"),
            (StoredName::newest(FileName::Side(odd.clone())), "abc/sub/%FF 100%25%0A.txt"),
            (StoredName { file: FileName::Side(odd), generation: 1 }, "abc.gen-0001/sub/%FF 100%25%0A.txt"),
        ] {
            assert_eq!(name.to_text(&id), expected);
            assert_eq!(StoredName::parse(&id, expected), Ok(name));
        }
        for bad in [
            "abd.jsonl",
            "abc",
            "abc/",
            "abc/../x",
            "abc//x",
            "abc.gen-1.jsonl",
            "abc.gen-0000.jsonl",
            "abc.gen-00001.jsonl",
            "abc.gen-100000.jsonl",
            "abc.gen-4294967295.jsonl",
            "abc/%zz",
            "abc.json",
        ] {
            assert!(StoredName::parse(&id, bad).is_err(), "{bad}");
        }
    }
}
