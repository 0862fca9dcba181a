//! Reading what `strace -f -y` wrote: one [`Call`] a system call, with the paths it touched.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// What a line of a trace says, in the order in which things ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A system call.
    Call(Call),
    /// A process or thread exited by itself with this code.
    Exited(u32, i32),
    /// A process or thread was ended by a signal.
    Killed(u32),
}

/// A system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The thread that made it.
    pub pid: u32,
    /// Its name, such as `pwrite64`.
    pub name: String,
    /// Its arguments as strace wrote them.
    pub args: Vec<String>,
    /// What it returned; negative on an error, `None` where the process did not live to see it.
    pub result: Option<i64>,
    /// The name of the error, such as `ENOENT`.
    pub error: Option<String>,
    /// The path of the descriptor that it returned.
    pub returned_path: Option<PathBuf>,
    /// Whether strace changed what it did.
    pub injected: bool,
    /// The number of the line on which it began.
    pub began: usize,
}

/// Reads a whole trace. Lines that are neither calls nor ends (signals, strace's own words) are left out.
pub fn parse(text: &str) -> Vec<Event> {
    let mut events = Vec::new();
    let mut unfinished: Vec<(u32, usize, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some((pid, rest)) = split_pid(line) else { continue };
        if let Some(end) = rest.strip_prefix("+++ exited with ") {
            let code = end.split(' ').next().and_then(|code| code.parse().ok());
            events.extend(code.map(|code| Event::Exited(pid, code)));
        } else if rest.starts_with("+++ killed by ") {
            // A call that was under way never came back.
            events.extend(taken(&mut unfinished, pid).and_then(|(began, head)| call(pid, began, &head)));
            events.push(Event::Killed(pid));
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((_, tail)) = resumed.split_once(" resumed>") else { continue };
            let head = taken(&mut unfinished, pid);
            events.extend(head.and_then(|(began, head)| call(pid, began, &format!("{head}{tail}"))));
        } else if let Some((head, after)) = rest.split_once(" <unfinished ...>") {
            match after {
                "" => unfinished.push((pid, number, head.to_owned())),
                // Killed in the middle: `call(args <unfinished ...>) = ?`.
                _ => events.extend(call(pid, number, &format!("{head}) = ?"))),
            }
        } else {
            events.extend(call(pid, number, rest));
        }
    }
    for (pid, began, head) in unfinished {
        events.extend(call(pid, began, &head));
    }
    events
}

/// The calls of a trace.
pub fn calls(text: &str) -> Vec<Call> {
    let call = |event| if let Event::Call(call) = event { Some(call) } else { None };
    parse(text).into_iter().filter_map(call).collect()
}

/// Names of calls, as strace takes them: it passes over those that this machine does not have.
pub fn if_here(calls: &str) -> String {
    let calls: Vec<String> = calls.split(' ').map(|call| format!("?{call}")).collect();
    calls.join(",")
}

impl Call {
    /// Whether it did what it was asked to.
    pub fn succeeded(&self) -> bool {
        self.result.is_some_and(|result| result >= 0)
    }

    /// The descriptor that argument `index` is.
    pub fn descriptor(&self, index: usize) -> Option<i32> {
        let text = self.args.get(index)?;
        text[..text.find('<').unwrap_or(text.len())].parse().ok()
    }

    /// The path of the descriptor that argument `index` is; `None` for pipes, sockets and the like.
    pub fn descriptor_path(&self, index: usize) -> Option<PathBuf> {
        path_of_descriptor(self.args.get(index)?)
    }

    /// Argument `index` as a number.
    pub fn number(&self, index: usize) -> Option<u64> {
        self.args.get(index)?.parse().ok()
    }

    /// The bytes of the string that argument `index` is; shortened where strace shortened it.
    pub fn bytes(&self, index: usize) -> Option<Vec<u8>> {
        quoted(self.args.get(index)?)
    }

    /// Whether strace showed all of the string that argument `index` is.
    pub fn is_whole(&self, index: usize) -> bool {
        self.args.get(index).is_some_and(|text| text.ends_with('"'))
    }

    /// The absolute paths that it names, by descriptor or by string, in the order of its arguments.
    pub fn paths(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        let mut index = 0;
        while index < self.args.len() {
            let beside = self.args[index].starts_with("AT_FDCWD") || self.descriptor_path(index).is_some();
            let named = if beside { self.named(index) } else { None };
            match named {
                Some(path) => {
                    paths.push(path);
                    index += 1;
                }
                None => paths.extend(self.descriptor_path(index).or_else(|| self.plain_path(index))),
            }
            index += 1;
        }
        paths
    }

    /// The path named by the string at `index + 1` relative to the directory at `index`. An empty
    /// string names the descriptor itself.
    pub fn named(&self, index: usize) -> Option<PathBuf> {
        if !self.name_follows() {
            return None;
        }
        let dir = path_of_descriptor(self.args.get(index)?)?;
        let name = self.bytes(index + 1)?;
        Some(if name.is_empty() { dir } else { dir.join(path_of_bytes(name)) })
    }

    /// The path that argument `index` alone is, where the call takes plain paths.
    pub fn plain_path(&self, index: usize) -> Option<PathBuf> {
        let takes_paths = self.name_follows() || PLAIN_PATH_CALLS.contains(&self.name.as_str());
        let path = path_of_bytes(self.bytes(index).filter(|_| takes_paths)?);
        path.is_absolute().then_some(path)
    }

    /// Whether a directory's descriptor is followed by a name in it.
    fn name_follows(&self) -> bool {
        let ends_so = self.name.trim_end_matches('2').ends_with("at");
        ends_so && !["fstat", "stat", "lstat", "creat"].contains(&self.name.as_str()) || self.name == "statx"
    }
}

/// Calls whose string arguments are paths, without a directory before them.
const PLAIN_PATH_CALLS: [&str; 16] = [
    "open", "creat", "stat", "lstat", "access", "mkdir", "rmdir", "unlink", "rename", "link", "symlink", "chmod",
    "truncate", "readlink", "statfs", "execve",
];

fn split_pid(line: &str) -> Option<(u32, &str)> {
    let (pid, rest) = line.trim_start().split_once(' ')?;
    Some((pid.parse().ok()?, rest.trim_start()))
}

fn taken(unfinished: &mut Vec<(u32, usize, String)>, pid: u32) -> Option<(usize, String)> {
    let place = unfinished.iter().position(|(of, ..)| *of == pid)?;
    let (_, began, head) = unfinished.remove(place);
    Some((began, head))
}

fn call(pid: u32, began: usize, text: &str) -> Option<Event> {
    let open = text.find('(')?;
    let name = &text[..open];
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return None;
    }
    let (args, rest) = split_args(&text[open + 1..]);
    let returned = rest.split_once("= ").map_or("?", |(_, returned)| returned.trim());
    let number = returned.split([' ', '<']).next().unwrap_or("");
    let result = match number.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok().map(|value| value as i64),
        None => number.parse().ok(),
    };
    let error = result.filter(|result| *result < 0).and_then(|_| returned.split(' ').nth(1)).map(str::to_owned);
    let returned_path = path_of_descriptor(returned.split(" (").next().unwrap_or(""));
    let injected = returned.contains("(INJECTED");
    Some(Event::Call(Call { pid, name: name.to_owned(), args, result, error, returned_path, injected, began }))
}

/// The arguments up to the closing parenthesis, and what follows it.
fn split_args(text: &str) -> (Vec<String>, &str) {
    let mut args = Vec::new();
    let (mut depth, mut in_string, mut escaped, mut start) = (0u32, false, false, 0);
    for (at, byte) in text.bytes().enumerate() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'(' | b'[' | b'{' => depth += 1,
            b'<' if !text[at..].starts_with("<<") => depth += 1,
            b'>' if !text[..at].ends_with(['-', '=']) => depth = depth.saturating_sub(1),
            b']' | b'}' => depth = depth.saturating_sub(1),
            b')' if depth == 0 => {
                push_arg(&mut args, &text[start..at]);
                return (args, &text[at + 1..]);
            }
            b')' => depth -= 1,
            b',' if depth == 0 => {
                push_arg(&mut args, &text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    push_arg(&mut args, &text[start..]);
    (args, "")
}

fn push_arg(args: &mut Vec<String>, text: &str) {
    let text = text.trim();
    if !text.is_empty() {
        args.push(text.to_owned());
    }
}

/// `3</path>` and `AT_FDCWD</path>`; pipes, sockets and anonymous inodes have no path.
fn path_of_descriptor(text: &str) -> Option<PathBuf> {
    let (number, rest) = text.split_once('<')?;
    if number != "AT_FDCWD" && number.parse::<i32>().is_err() {
        return None;
    }
    let path = rest[..rest.rfind('>')?].strip_suffix(" (deleted)").unwrap_or(&rest[..rest.rfind('>')?]);
    path.starts_with('/').then(|| path_of_bytes(unescaped(path.as_bytes())))
}

fn path_of_bytes(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

fn quoted(text: &str) -> Option<Vec<u8>> {
    let inner = text.strip_prefix('"')?;
    let inner = inner.strip_suffix("...").unwrap_or(inner);
    Some(unescaped(inner.strip_suffix('"')?.as_bytes()))
}

/// C escapes as strace writes them, octal ones with one to three digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let digits = rest.iter().take(3).take_while(|digit| (b'0'..=b'7').contains(digit)).count();
        if digits > 0 {
            bytes.push(rest[..digits].iter().fold(0u32, |value, digit| value * 8 + u32::from(digit - b'0')) as u8);
            rest = &rest[digits..];
            continue;
        }
        let Some((&letter, after)) = rest.split_first() else { break };
        rest = after;
        bytes.push(match letter {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'f' => 0x0c,
            b'v' => 0x0b,
            other => other,
        });
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Call {
        calls(line).into_iter().next().unwrap_or_else(|| panic!("no call in {line}"))
    }

    #[test]
    fn paths_are_resolved() {
        let check = |line: &str, paths: &[&str]| {
            let found: Vec<String> = one(line).paths().iter().map(|path| path.display().to_string()).collect();
            assert_eq!(found, paths, "{line}");
        };
        check(r#"7 openat(AT_FDCWD</cwd>, "a,b", O_RDONLY) = 3</cwd/a,b>"#, &["/cwd/a,b"]);
        check(
            r#"7 openat(4</s/x>, "new", O_RDWR|O_CREAT, 0600) = -1 EIO (Input/output error) (INJECTED)"#,
            &["/s/x/new"],
        );
        check(r#"7 renameat2(5</s/a>, "n", 6</s/b>, "m\303\251", RENAME_NOREPLACE) = 0"#, &["/s/a/n", "/s/b/mé"]);
        check(r#"7 open("/s/a", O_RDONLY) = 3</s/a>"#, &["/s/a"]);
        check(r#"7 pwrite64(5</s/f>, "/not/a/path", 11, 0) = 11"#, &["/s/f"]);
        check(r#"7 read(0<pipe:[12]>, "x", 1) = 1"#, &[]);
        check(r#"7 newfstatat(3</etc/f>, "", {st_mode=S_IFREG|0644, ...}, AT_EMPTY_PATH) = 0"#, &["/etc/f"]);
        check(r#"7 close(3</s/gone (deleted)>) = 0"#, &["/s/gone"]);
        check(r#"7 poll([{fd=0</s/in>, events=0}], 1, 0) = 0 (Timeout)"#, &[]);
    }

    #[test]
    fn results_errors_and_marks_are_read() {
        let call = one(r#"7 pwrite64(5</s/f>, "ab\0\"c", 5, 9) = -1 EIO (Input/output error) (INJECTED)"#);
        assert_eq!((call.result, call.error.as_deref(), call.injected), (Some(-1), Some("EIO"), true));
        assert_eq!((call.bytes(1).unwrap(), call.number(2), call.number(3)), (b"ab\0\"c".to_vec(), Some(5), Some(9)));
        let call = one(r#"7 pread64(6</s/f>, "{", 59, 0) = 1 (INJECTED: args, retval)"#);
        assert!(call.injected && call.succeeded() && call.is_whole(1));
        assert!(!one(r#"7 write(1<pipe:[1]>, "abc"..., 59) = 59"#).is_whole(1));
        assert_eq!(one(r#"7 open("/s", O_RDONLY) = 3</s>"#).returned_path, Some("/s".into()));
    }

    #[test]
    fn interrupted_lines_are_joined_and_deaths_seen() {
        let text = "7 write(4</s/b>, \"x\", 5 <unfinished ...>\n8 close(3</s/c>) = 0\n7 <... write resumed>) = 5\n\
            8 fsync(9</s/d>,  <unfinished ...>) = ?\n8 +++ killed by SIGKILL +++\n7 +++ exited with 3 +++\n";
        let events = parse(text);
        let Event::Call(joined) = &events[1] else { panic!("{events:?}") };
        assert_eq!((joined.name.as_str(), joined.result, joined.began), ("write", Some(5), 0));
        let Event::Call(cut) = &events[2] else { panic!("{events:?}") };
        assert_eq!((cut.name.as_str(), cut.result, cut.paths()), ("fsync", None, vec!["/s/d".into()]));
        assert_eq!(events[3..], [Event::Killed(8), Event::Exited(7, 3)]);
    }
}
