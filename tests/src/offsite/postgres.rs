//! A PostgreSQL server of a test's own: made in a folder of its own, as another user where this one is root, which
//! PostgreSQL refuses, and taken down in order when it is dropped.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::offsite::server::Server;
use crate::offsite::tools;
use crate::run::{Outcome, Run, Running};
use crate::waiting::await_until;

/// What it is made of and asked with.
pub const PROGRAMS: [&str; 4] = ["initdb", "postgres", "psql", "pg_dump"];
/// Whom the server runs as where we are root: `nobody`.
const NOBODY: u32 = 65_534;
/// Who owns all that is in it.
pub const OWNER: &str = "postgres";
/// The owner's password.
pub const OWNER_PASSWORD: &str = "owner-secret-word";
/// The database.
pub const DATABASE: &str = "threefold";
const LIMIT: Duration = Duration::from_secs(120);

/// A server with one empty database. Everybody needs a password, by SCRAM.
pub struct Postgres {
    server: Option<Server>,
    folder: TempDir,
}

impl Postgres {
    /// Makes and starts it; `None`, and said, where its programs cannot be had. What it carries out is in its log, with
    /// the plans of its questions.
    #[track_caller]
    pub fn start(test: &str) -> Option<Postgres> {
        if !tools::have(test, &PROGRAMS) {
            return None;
        }
        // Not below a scratch directory: whom the server runs as may not enter those.
        let folder = tempfile::Builder::new().prefix("threefold-postgres-").tempdir().expect("make a folder");
        if is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("give the folder away");
        }
        let mut postgres = Postgres { server: None, folder };
        let data = postgres.data();
        let password = postgres.folder.path().join("password");
        fs::write(&password, OWNER_PASSWORD).expect("write the owner's password");
        if is_root() {
            chown(&password, Some(NOBODY), Some(NOBODY)).expect("give the password away");
        }
        let mut initdb = postgres.command("initdb");
        initdb.args(["--username", OWNER, "--encoding", "UTF8", "--locale", "C", "--no-sync"]);
        initdb.args(["--auth", "scram-sha-256", "--pwfile"]).arg(&password).arg("-D").arg(&data);
        let made = initdb.output().expect("start initdb");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        postgres.run();
        let made = postgres.ask(OWNER, "postgres", &format!("CREATE DATABASE {DATABASE}"));
        made.ok();
        Some(postgres)
    }

    fn run(&mut self) {
        let (data, log) = (self.data(), self.folder.path().join("log"));
        let server = Server::start(&log, |port| {
            let mut command = self.command("postgres");
            command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
            for setting in [
                "listen_addresses=127.0.0.1",
                "unix_socket_directories=",
                "fsync=off",
                "shared_buffers=16MB",
                "log_statement=all",
                "session_preload_libraries=auto_explain",
                "auto_explain.log_min_duration=0",
                "auto_explain.log_nested_statements=on",
            ] {
                command.args(["-c", setting]);
            }
            command
        });
        self.server = Some(server);
        await_until("PostgreSQL takes questions", LIMIT, || self.ask(OWNER, "postgres", "SELECT 1").code == Some(0));
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A program of it, as whom the server runs.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(tools::program(name));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
        command.current_dir(self.folder.path());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.server.as_ref().expect("a server that runs").port()
    }

    /// The address of the database for a role.
    pub fn address(&self, role: &str) -> String {
        format!("postgres://{role}@{}:{}/{DATABASE}", Ipv4Addr::LOCALHOST, self.port())
    }

    /// A line of a file of passwords.
    pub fn password_line(&self, role: &str, password: &str) -> String {
        format!("{}:{}:{DATABASE}:{role}:{password}\n", Ipv4Addr::LOCALHOST, self.port())
    }

    /// What it wrote so far: what it was asked, and how it went about it.
    pub fn log(&self) -> String {
        self.server.as_ref().expect("a server that runs").log()
    }

    /// SQL as the owner, which has to succeed; the rows, a line each, with `|` between columns.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        self.ask(OWNER, DATABASE, sql).ok().text()
    }

    /// SQL as a role, by its password.
    pub fn sql_as(&self, role: &str, password: &str, sql: &str) -> Outcome {
        self.psql(role, DATABASE, sql).env("PGPASSWORD", password).output()
    }

    /// The whole database as text.
    #[track_caller]
    pub fn dump(&self) -> String {
        let dump = Run::new(tools::program("pg_dump")).env("PATH", "/usr/bin:/bin").limit(LIMIT);
        let dump = dump.env("PGPASSWORD", OWNER_PASSWORD);
        dump.arg(self.address(OWNER)).output().ok().text()
    }

    /// Every file that the server keeps, in one: tables, indexes, the log of changes.
    pub fn bytes(&self) -> Vec<u8> {
        self.sql("CHECKPOINT");
        let mut all = Vec::new();
        let mut folders = vec![self.data()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("read a folder of the server").flatten() {
                let path = entry.path();
                match path.is_dir() {
                    true => folders.push(path),
                    // What it removes meanwhile is not there.
                    false => all.extend(fs::read(&path).unwrap_or_default()),
                }
            }
        }
        all
    }

    fn ask(&self, role: &str, database: &str, sql: &str) -> Outcome {
        self.psql(role, database, sql).env("PGPASSWORD", OWNER_PASSWORD).output()
    }

    /// SQL as the owner, running.
    pub fn begin(&self, sql: &str) -> Running {
        self.psql(OWNER, DATABASE, sql).env("PGPASSWORD", OWNER_PASSWORD).spawn()
    }

    fn psql(&self, role: &str, database: &str, sql: &str) -> Run {
        let address = format!("postgres://{role}@{}:{}/{database}", Ipv4Addr::LOCALHOST, self.port());
        let psql = Run::new(tools::program("psql")).env("PATH", "/usr/bin:/bin").limit(LIMIT);
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", &address, "-c", sql])
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // In order, so that it gives back what it shares with its processes.
        if let Some(server) = self.server.take() {
            server.quit();
        }
    }
}

/// Writes the file of passwords that `psql` reads into a home.
pub fn write_passwords(home: &Path, lines: &str) {
    let path = home.join(".pgpass");
    fs::write(&path, lines).expect("write the passwords");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("keep them from others");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
