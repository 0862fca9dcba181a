//! Other processes: whether one is there and is the one meant; groups that end together.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::io::Errno;
pub use rustix::process::{Pid, Signal};

/// A process group, named by the process that leads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group(Pid);

impl Group {
    /// The group that a child leads which was started by [`spawn_detached`].
    pub fn of(child: &Child) -> Option<Group> {
        Pid::from_raw(child.id().cast_signed()).map(Group)
    }

    /// The group that a process leads; `None` if that process has ended, or its number is another's by now.
    pub fn led_by(leader: &Process) -> Option<Group> {
        pid(leader.number).filter(|_| leader.is_running()).map(Group)
    }

    /// Sends a signal to all that is left of it.
    pub fn signal(self, signal: Signal) -> std::io::Result<()> {
        Ok(rustix::process::kill_process_group(self.0, signal)?)
    }

    /// Whether a process of it is left, a zombie included.
    pub fn is_there(self) -> bool {
        rustix::process::test_kill_process_group(self.0).is_ok()
    }
}

/// Stops this process, as a shell's Ctrl-Z does; returns when it goes on.
pub fn stop_self() -> io::Result<()> {
    Ok(rustix::process::kill_process(rustix::process::getpid(), Signal::TSTP)?)
}

/// Ends this process, as a shell's `kill` does.
pub fn end_self() -> io::Result<()> {
    Ok(rustix::process::kill_process(rustix::process::getpid(), Signal::TERM)?)
}

/// Starts the command as the leader of a process group of its own: a signal to ours does
/// not reach it, and it can be ended with all its children.
pub fn spawn_detached(command: &mut Command) -> io::Result<Child> {
    let spawned = command.process_group(0).spawn();
    match spawned.as_ref().map_err(Errno::from_io_error) {
        // A sandbox that forbids the newer call for it, and not the older one, which a user that is set asks for: our own.
        Err(Some(Errno::PERM | Errno::NOSYS)) => command.uid(user()).spawn(),
        _ => spawned,
    }
}

/// How often a child is looked at where the system does not tell when it ends.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Waits for a child at most this long, and reaps it if it has ended; `None` if it still runs. An error is the
/// system's: never a panic, because hooks and destructors wait too. The crate wait-timeout panics where the wait itself
/// fails, and then again while it unwinds, which ends the process.
pub fn wait_within(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            ended => return ended,
        }
        let left = limit.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        await_end(child, left);
    }
}

/// Returns when the child has ended, when the time is over, or before; whoever calls it looks again.
#[cfg(target_os = "linux")]
fn await_end(child: &Child, left: Duration) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let opened = Pid::from_raw(child.id().cast_signed())
        .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok());
    let told = opened.is_some_and(|descriptor| {
        let limit = Timespec::try_from(left).ok();
        poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], limit.as_ref()).is_ok()
    });
    if !told {
        std::thread::sleep(left.min(LOOK_AGAIN));
    }
}

/// Returns after a short while; whoever calls it looks again.
#[cfg(not(target_os = "linux"))]
fn await_end(_child: &Child, left: Duration) {
    std::thread::sleep(left.min(LOOK_AGAIN));
}

/// Becomes another program, which is told that it was started by `name` if one is given; returns only the error that
/// kept it from that.
pub fn become_program(command: &mut Command, name: Option<&str>) -> std::io::Error {
    name.map(|name| command.arg0(name));
    command.exec()
}

/// Lets a program be started under another name, by which it then calls itself.
pub fn start_as(command: &mut Command, name: &str) {
    command.arg0(name);
}

/// The process that started this one.
pub(crate) fn parent() -> u32 {
    std::os::unix::process::parent_id()
}

/// The number of the user whose rights count.
pub fn user() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The process of this number; `None` for a number that no process can have.
pub(crate) fn pid(number: i64) -> Option<Pid> {
    i32::try_from(number).ok().filter(|number| *number > 0).and_then(Pid::from_raw)
}

/// Whether a process of this number is there; one that has ended and is not yet reaped counts.
pub(crate) fn is_there(pid: Pid) -> bool {
    matches!(rustix::process::test_kill_process(pid), Ok(()) | Err(Errno::PERM))
}

/// Whether a process of this number is there and has not ended; one that waits to be reaped has.
pub fn is_running(number: i64) -> bool {
    pid(number).is_some_and(|pid| is_there(pid) && !stat(pid).is_none_or(|stat| stat.ended))
}

/// What can be known of a process besides that it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    /// A zombie: it has ended and waits for its parent.
    pub(crate) ended: bool,
    /// When it started, in clock ticks since the machine started; `None` where the system counts otherwise.
    pub(crate) started: Option<u64>,
    /// Time of a processor that it took, its threads that have ended included; none where the system counts otherwise.
    pub(crate) cpu: Duration,
}

/// Looks at a process; `None` where the system does not tell.
#[cfg(target_os = "linux")]
pub(crate) fn stat(pid: Pid) -> Option<Stat> {
    parse_proc(&std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?)
}

/// Looks at a process; `None` where the system does not tell. Without `/proc` the one program that
/// every Unix has for it is asked.
#[cfg(not(target_os = "linux"))]
pub(crate) fn stat(pid: Pid) -> Option<Stat> {
    let mut ps = Command::new("/bin/ps");
    ps.args(["-o", "stat=", "-p", &pid.as_raw_nonzero().to_string()]);
    parse_ps(&ps.output().ok().filter(|output| output.status.success())?.stdout)
}

/// What a process runs, as far as the system tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Running {
    /// Where its program lies; `None` where that is not told.
    pub(crate) program: Option<std::path::PathBuf>,
    /// The name that the system keeps of it.
    pub(crate) name: String,
    /// Its words, that first by which it was called; cut at blanks where the system gives one line.
    pub(crate) words: Vec<String>,
}

/// What a process runs; `None` where the system does not tell.
#[cfg(target_os = "linux")]
pub(crate) fn running(pid: Pid) -> Option<Running> {
    let at = |name: &str| format!("/proc/{}/{name}", pid.as_raw_nonzero());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let name = text(std::fs::read(at("comm")).ok()?.trim_ascii_end());
    let line = std::fs::read(at("cmdline")).ok()?;
    let words = line.split(|b| *b == 0).filter(|word| !word.is_empty()).map(text).collect();
    // The program of another user's process is not told; its words are.
    Some(Running { program: std::fs::read_link(at("exe")).ok(), name, words })
}

/// What a process runs; `None` where the system does not tell.
#[cfg(not(target_os = "linux"))]
pub(crate) fn running(pid: Pid) -> Option<Running> {
    let ask = |what: &str| {
        let mut ps = Command::new("/bin/ps");
        ps.args(["-ww", "-o", what, "-p", &pid.as_raw_nonzero().to_string()]);
        let output = ps.output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(output.stdout.trim_ascii()).into_owned())
    };
    let (name, line) = (ask("comm=")?, ask("args=")?);
    let words = line.split_ascii_whitespace().map(str::to_owned).collect();
    Some(Running { program: Some(name.clone().into()), name, words })
}

/// A process that is not mistaken for a later one of the same number, as far as the system tells.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Process {
    number: i64,
    started: Option<u64>,
}

impl Process {
    /// The process of this number, as it is now.
    pub fn of(number: u32) -> Process {
        let started = pid(i64::from(number)).and_then(stat).and_then(|stat| stat.started);
        Process { number: i64::from(number), started }
    }

    /// Whether it still runs. Where the system does not tell when a process started, its number has to do.
    pub fn is_running(&self) -> bool {
        let same = |stat: Stat| !stat.ended && (self.started.is_none() || stat.started == self.started);
        pid(self.number).and_then(stat).is_some_and(same)
    }
}

/// The processes of this user whose stdin is this file; none where the system does not tell.
#[cfg(target_os = "linux")]
pub fn reading_from(file: &Path) -> Vec<Process> {
    let Ok(file) = std::fs::canonicalize(file) else { return Vec::new() };
    let names = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name());
    let numbers = names.filter_map(|name| name.to_str()?.parse::<u32>().ok());
    let reads = |number: &u32| std::fs::read_link(format!("/proc/{number}/fd/0")).is_ok_and(|stdin| stdin == file);
    numbers.filter(reads).map(Process::of).collect()
}

/// As on Linux; here nothing tells.
#[cfg(not(target_os = "linux"))]
pub fn reading_from(_file: &Path) -> Vec<Process> {
    Vec::new()
}

/// What a process has done by now; nothing where the system does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Bytes that it has read and written: files, pipes and sockets together.
    pub bytes_moved: u64,
    /// Time of a processor that it took.
    pub cpu: Duration,
}

/// What a process of this user has done.
#[cfg(target_os = "linux")]
pub fn work_of(number: u32) -> Work {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{number}/{name}")).unwrap_or_default();
    let counted = |line: &str| line.strip_prefix("rchar: ").or(line.strip_prefix("wchar: "))?.parse::<u64>().ok();
    let bytes_moved = read("io").lines().filter_map(counted).fold(0, u64::saturating_add);
    let cpu = pid(i64::from(number)).and_then(stat).map(|stat| stat.cpu).unwrap_or_default();
    Work { bytes_moved, cpu }
}

/// As on Linux; here nothing tells.
#[cfg(not(target_os = "linux"))]
pub fn work_of(_number: u32) -> Work {
    Work::default()
}

#[cfg(any(test, target_os = "linux"))]
fn parse_proc(text: &[u8]) -> Option<Stat> {
    // Field 2 is the program's name in parentheses and may hold anything, ")" included.
    let after = text.iter().rposition(|b| *b == b')')? + 1;
    let rest = String::from_utf8_lossy(&text[after..]).into_owned();
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Fields are counted from 1; the first of these is field 3.
    let number = |field: usize| fields.get(field - 3).and_then(|field| field.parse::<u64>().ok());
    let started = number(22);
    let ticks = number(14).unwrap_or(0).saturating_add(number(15).unwrap_or(0));
    let cpu = Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
    Some(Stat { ended: matches!(fields.first(), Some(&"Z" | &"X")), started, cpu })
}

#[cfg(any(test, not(target_os = "linux")))]
fn parse_ps(text: &[u8]) -> Option<Stat> {
    let state = text.trim_ascii_start().first()?;
    Some(Stat { ended: *state == b'Z', started: None, cpu: Duration::ZERO })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_both_systems_are_understood() {
        let proc = b"42 (a) b) R) Z 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 98765 0 0";
        let ticks = u32::try_from(rustix::param::clock_ticks_per_second()).unwrap();
        let cpu = Duration::from_secs(200) / ticks;
        assert_eq!(parse_proc(proc), Some(Stat { ended: true, started: Some(98765), cpu }));
        assert_eq!(parse_proc(b"42"), None);
        assert_eq!(parse_ps(b"Ss+\n"), Some(Stat { ended: false, started: None, cpu: Duration::ZERO }));
        assert_eq!(parse_ps(b" Z\n"), Some(Stat { ended: true, started: None, cpu: Duration::ZERO }));
        assert_eq!(parse_ps(b"\n"), None);
    }

    #[test]
    fn a_child_is_waited_for_until_it_ends_or_the_time_is_over() {
        let mut child = Command::new("/bin/cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        assert_eq!(wait_within(&mut child, Duration::ZERO).unwrap(), None);
        assert_eq!(wait_within(&mut child, Duration::from_millis(20)).unwrap(), None);
        drop(child.stdin.take());
        let started = Instant::now();
        assert!(wait_within(&mut child, Duration::from_secs(60)).unwrap().is_some_and(|status| status.success()));
        assert!(started.elapsed() < Duration::from_secs(30), "it is told, not waited for to the last");
        // A child that was reaped is remembered.
        assert!(wait_within(&mut child, Duration::ZERO).unwrap().is_some());
    }

    #[test]
    fn what_this_process_does_is_counted_where_the_system_tells_and_never_becomes_less() {
        let me = || work_of(std::process::id());
        let before = me();
        // What a thread took is counted when it has ended, too.
        let busy = move || {
            let started = Instant::now();
            while me().cpu < before.cpu + Duration::from_millis(50) && started.elapsed() < Duration::from_secs(30) {
                std::hint::black_box(std::fs::read("/dev/null").unwrap());
            }
            me()
        };
        let within = std::thread::spawn(busy).join().unwrap();
        let (mut pipe, mut other) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut other, &[7; 4096]).unwrap();
        std::io::Read::read_exact(&mut pipe, &mut [0; 4096]).unwrap();
        let after = me();
        if cfg!(target_os = "linux") {
            assert!(after.bytes_moved >= before.bytes_moved + 2 * 4096, "{before:?} {after:?}");
            assert!(within.cpu > before.cpu && after.cpu >= within.cpu, "{before:?} {within:?} {after:?}");
        }
        assert_eq!(work_of(u32::MAX), Work::default());
    }

    #[test]
    fn a_process_is_found_by_its_stdin() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lock");
        std::fs::write(&file, "").unwrap();
        let open = || std::fs::File::open(&file).unwrap();
        let mut child = Command::new("/bin/sleep").arg("60").stdin(open()).spawn().unwrap();
        let expected = if cfg!(target_os = "linux") { vec![Process::of(child.id())] } else { Vec::new() };
        assert_eq!(reading_from(&file), expected);
        child.kill().and_then(|()| child.wait()).unwrap();
        assert_eq!(reading_from(&file), []);
        assert_eq!(reading_from(&dir.path().join("absent")), []);
    }

    #[test]
    fn a_process_is_there_until_it_is_reaped() {
        let me = pid(i64::from(std::process::id())).unwrap();
        assert!(is_there(me));
        let mine = stat(me).unwrap();
        assert!(!mine.ended, "{mine:?}");
        let mut child = spawn_detached(Command::new("/bin/cat").stdin(std::process::Stdio::piped())).unwrap();
        let group = Group::of(&child).unwrap();
        assert!(group.is_there());
        group.signal(Signal::KILL).unwrap();
        child.wait().unwrap();
        assert!(!group.is_there());
        assert_eq!((pid(0), pid(-1), pid(i64::MAX)), (None, None, None));
        let own = Process::of(std::process::id());
        assert!(own.is_running() && Group::led_by(&Process { number: -1, ..own.clone() }).is_none());
        assert!(own.started.is_none() || !Process { started: Some(1), ..own }.is_running());
    }
}
