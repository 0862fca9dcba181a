//! A server on the loopback interface: started, waited for until it listens, frozen, killed.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Signal, kill_process, kill_process_group};

use crate::processes;
use crate::run::raw_pid;
use crate::waiting::{await_until, holds_within};

/// How long one may take to listen, on a busy machine.
const READY: Duration = Duration::from_secs(60);
/// So often a port may turn out to be somebody else's.
const TRIES: u32 = 5;

/// A server process, in a group of its own. Dropped, it is killed with all that it started.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Server {
    /// Starts what `command` makes for a port, with its output in the file `log`, and waits until it listens there.
    /// Tries again on another port where somebody else was faster.
    #[track_caller]
    pub fn start(log: &Path, command: impl Fn(u16) -> Command) -> Server {
        for _ in 0..TRIES {
            if let Some(server) = Server::start_on(free_port(), log, &command) {
                return server;
            }
        }
        panic!("no server, {TRIES} times: {}", fs::read_to_string(log).unwrap_or_default());
    }

    /// The same at a port that is known; `None` when it ends instead of listening.
    #[track_caller]
    pub fn start_on(port: u16, log: &Path, command: impl Fn(u16) -> Command) -> Option<Server> {
        let output = File::create(log).expect("make a server's log");
        let mut command = command(port);
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("share a log")).stderr(output).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let mut server = Server { child, port, log: log.to_owned() };
        let mut has_ended = false;
        await_until(&format!("{command:?} listens"), READY, || {
            has_ended = matches!(server.child.try_wait(), Ok(Some(_)));
            has_ended || server.listens()
        });
        // Whoever listens may be another that took the port.
        let is_well = !has_ended && matches!(server.child.try_wait(), Ok(None));
        is_well.then_some(server)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Whether somebody takes connections at its port.
    pub fn listens(&self) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
    }

    /// Stops it and all that it started, where they are; connections stay open and nothing is answered.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let tree = self.tree();
        let stopped = |pid: &u32| processes::all().iter().all(|other| other.pid != *pid || "TtZ".contains(other.state));
        await_until("a server that stands still", READY, || tree.iter().all(stopped));
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Has it end at once and in order, by SIGQUIT, and waits for that.
    pub fn quit(mut self) {
        let _ = kill_process(raw_pid(self.child.id()), Signal::QUIT); // It may have ended already.
        await_until("a server that ends", READY, || !matches!(self.child.try_wait(), Ok(None)));
    }

    /// Kills it and all that it started; its port refuses connections from now on.
    pub fn kill(mut self) {
        self.end();
    }

    fn tree(&self) -> Vec<u32> {
        processes::descendants(self.child.id())
    }

    /// sshd gives each connection a session of its own, so the group alone is not all.
    fn signal(&self, signal: Signal) {
        for pid in self.tree() {
            let _ = kill_process(raw_pid(pid), signal); // It may have ended meanwhile.
        }
    }

    fn end(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.signal(Signal::KILL);
        let _ = kill_process_group(raw_pid(self.child.id()), Signal::KILL); // As above.
        self.child.wait().expect("reap a server");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Below the ports that systems hand out by themselves.
const PORTS: Range<u16> = 20_000..32_000;

/// A port that nobody listens at just now, and that no other test of this process is given: one whose server is killed
/// stays its own.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another process begins elsewhere.
    let first = std::process::id() as u16 % 1000 * 10;
    loop {
        let port = PORTS.start + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS.len() as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Whether nobody takes connections at a port, within a time.
pub fn is_refused_within(limit: Duration, port: u16) -> bool {
    holds_within(limit, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err())
}
