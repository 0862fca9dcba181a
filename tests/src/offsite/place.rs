//! A place for repositories: a folder, or a server that keeps one.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::offsite::server::Server;
use crate::offsite::tools::{self, MOTO, RCLONE, REST_SERVER, SSHD};
use crate::run::Run;

/// The account of the S3 servers: a key of two letters is refused by rclone.
const ACCESS_KEY: &str = "AKIATHREEFOLDTESTS";
/// Its secret; no program but restic may ever hold it.
pub const SECRET_KEY: &str = "s3-secret-that-nobody-else-may-see";
/// What holds the repositories there; it is made beforehand, as in the console of a cloud.
const BUCKET: &str = "bucket";
/// The people of [`Kind::Team`] and their passwords.
pub const PEOPLE: [(&str, &str); 3] =
    [("anna", "anna-secret-word"), ("ben", "ben-secret-word"), ("carla", "carla-secret-word")];

/// What keeps the repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A folder on a disk.
    Local,
    /// OpenSSH's SFTP.
    Sftp,
    /// restic's REST server.
    Rest,
    /// The same, that only takes and never gives away.
    RestAppendOnly,
    /// [`Kind::RestAppendOnly`] with a folder a person, and passwords; a person is named when a machine is made for her.
    Team,
    /// rclone's S3.
    RcloneS3,
    /// moto's S3, in memory.
    MotoS3,
    /// rclone's server of restic's protocol.
    RcloneRest,
}

impl Kind {
    /// The five of which the table of tests speaks.
    pub const FIVE: [Kind; 5] = [Kind::Local, Kind::Sftp, Kind::Rest, Kind::RcloneS3, Kind::MotoS3];

    /// What it needs beside restic.
    fn needs(self) -> &'static [&'static str] {
        match self {
            Kind::Local => &[],
            Kind::Sftp => &[SSHD],
            Kind::Rest | Kind::RestAppendOnly | Kind::Team => &[REST_SERVER],
            Kind::RcloneS3 | Kind::RcloneRest => &[RCLONE],
            Kind::MotoS3 => &[MOTO],
        }
    }
}

/// A place, and what runs for it.
#[derive(Debug)]
pub struct Place {
    kind: Kind,
    folder: PathBuf,
    server: Option<Server>,
    person: Option<(&'static str, &'static str)>,
}

impl Place {
    /// A place in a folder of its own, which is made; `None`, and said, where its server is not to be had. For
    /// [`Kind::Team`] it is the first person's part.
    #[track_caller]
    pub fn open(test: &str, kind: Kind, folder: &Path) -> Option<Place> {
        if !tools::are_here(test, kind.needs()) {
            return None;
        }
        fs::create_dir_all(folder.join("kept")).expect("make a place");
        let person = (kind == Kind::Team).then_some(PEOPLE[0]);
        let mut place = Place { kind, folder: folder.to_owned(), server: None, person };
        match kind {
            Kind::Sftp => place.make_ssh(),
            Kind::RcloneS3 => fs::create_dir(place.kept().join(BUCKET)).expect("make a bucket"),
            Kind::Team => fs::write(place.file("htpasswd"), HTPASSWD).expect("write the passwords"),
            _ => {}
        }
        if kind != Kind::Local {
            place.server = Some(Server::start(&place.file("server.log"), |port| place.command(port)));
        }
        match kind {
            Kind::Sftp => place.configure_ssh(),
            Kind::MotoS3 => place.make_bucket(),
            _ => {}
        }
        Some(place)
    }

    /// What is typed at `offsite init`, as of [`PEOPLE`] the one who has this part; without any secret.
    pub fn url(&self) -> String {
        let port = self.server.as_ref().map_or(0, Server::port);
        match self.kind {
            Kind::Local => self.kept().display().to_string(),
            Kind::Sftp => format!("sftp:backup:{}", self.kept().display()),
            Kind::Rest | Kind::RestAppendOnly | Kind::RcloneRest => format!("rest:http://127.0.0.1:{port}"),
            Kind::Team => format!("rest:http://127.0.0.1:{port}/{}", self.person.expect("a person").0),
            Kind::RcloneS3 | Kind::MotoS3 => format!("s3:http://127.0.0.1:{port}/{BUCKET}"),
        }
    }

    /// The variables that restic needs for it: what a person writes into `offsite.env`.
    pub fn variables(&self) -> Vec<(&'static str, &'static str)> {
        match (self.kind, self.person) {
            (Kind::RcloneS3 | Kind::MotoS3, _) => {
                vec![("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)]
            }
            (_, Some((name, password))) => {
                vec![("RESTIC_REST_USERNAME", name), ("RESTIC_REST_PASSWORD", password)]
            }
            _ => Vec::new(),
        }
    }

    /// Folders that have to stand first on the search path: for SFTP, an `ssh` that knows the host `backup`. The real
    /// one reads the settings of the account's home, whatever `HOME` says.
    pub fn programs(&self) -> Vec<PathBuf> {
        if self.kind == Kind::Sftp { vec![self.file("bin")] } else { Vec::new() }
    }

    /// The folder that the server keeps: what is in it may be damaged. Empty where it is kept in memory.
    pub fn kept(&self) -> PathBuf {
        self.file("kept")
    }

    /// The folder of one repository below the place.
    pub fn repository(&self, name: &str) -> PathBuf {
        let kept = self.kept();
        match (self.kind, self.person) {
            (Kind::RcloneS3, _) => kept.join(BUCKET).join(name),
            (_, Some((person, _))) => kept.join(person).join(name),
            _ => kept.join(name),
        }
    }

    /// The server, where there is one.
    #[track_caller]
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("a place with a server")
    }

    /// Kills the server.
    #[track_caller]
    pub fn kill_server(&mut self) {
        self.server.take().expect("a place with a server").kill();
    }

    /// Starts the server anew at the port that it had.
    #[track_caller]
    pub fn restart_server(&mut self, port: u16) {
        let started = Server::start_on(port, &self.file("server.log"), |port| self.command(port));
        self.server = Some(started.expect("the port is still free"));
    }

    /// Does something as another of [`PEOPLE`].
    #[track_caller]
    pub fn as_person<T>(&mut self, number: usize, action: impl FnOnce(&Place) -> T) -> T {
        let before = self.person.replace(PEOPLE[number]).expect("a team's place");
        let done = action(self);
        self.person = Some(before);
        done
    }

    /// A second server, of one person's folder alone, for those of [`PEOPLE`] who may read it.
    #[track_caller]
    pub fn serve_to_readers(&self, owner: usize, readers: &[usize]) -> Server {
        let (log, command) = self.for_readers(owner, readers);
        Server::start(&log, command)
    }

    /// The same at the port of one that was killed.
    #[track_caller]
    pub fn serve_to_readers_at(&self, port: u16, owner: usize, readers: &[usize]) -> Server {
        let (log, command) = self.for_readers(owner, readers);
        Server::start_on(port, &log, command).expect("the port is still free")
    }

    fn for_readers(&self, owner: usize, readers: &[usize]) -> (PathBuf, impl Fn(u16) -> Command) {
        let owner = PEOPLE[owner].0;
        let passwords = self.file(&format!("readers-of-{owner}"));
        let is_reader = |line: &&str| readers.iter().any(|reader| line.starts_with(&format!("{}:", PEOPLE[*reader].0)));
        let lines: String = HTPASSWD.lines().filter(is_reader).map(|line| format!("{line}\n")).collect();
        fs::write(&passwords, lines).expect("write the passwords");
        let (kept, home) = (self.kept().join(owner), self.folder.clone());
        let command = move |port: u16| {
            let mut command = Command::new(tools::program(REST_SERVER));
            command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &home);
            command
                .args(["--listen", &format!("127.0.0.1:{port}"), "--log", "-", "--append-only", "--path"])
                .arg(&kept);
            command.arg("--htpasswd-file").arg(&passwords);
            command
        };
        (self.file(&format!("readers-of-{owner}.log")), command)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn command(&self, port: u16) -> Command {
        let (kept, address) = (self.kept(), format!("127.0.0.1:{port}"));
        let named = |name: &str, args: &[&str]| {
            let mut command = Command::new(tools::program(name));
            command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &self.folder).args(args);
            command
        };
        match self.kind {
            Kind::Local => unreachable!("a folder needs no server"),
            Kind::Sftp => {
                let mut command = named(SSHD, &["-D", "-e", "-p", &port.to_string(), "-f"]);
                command.arg(self.file("sshd_config"));
                command
            }
            Kind::Rest | Kind::RestAppendOnly | Kind::Team => {
                let mut command = named(REST_SERVER, &["--listen", &address, "--log", "-", "--path"]);
                command.arg(&kept);
                match self.kind {
                    Kind::Team => {
                        command.args(["--private-repos", "--append-only", "--htpasswd-file"]).arg(self.file("htpasswd"))
                    }
                    Kind::RestAppendOnly => command.args(["--no-auth", "--append-only"]),
                    _ => command.arg("--no-auth"),
                };
                command
            }
            Kind::RcloneS3 => {
                let mut command = named(RCLONE, &["serve", "s3", "--config", "/dev/null", "--addr", &address]);
                command.arg("--auth-key").arg(format!("{ACCESS_KEY},{SECRET_KEY}")).arg(&kept);
                command
            }
            Kind::RcloneRest => {
                let mut command = named(RCLONE, &["serve", "restic", "--config", "/dev/null", "--addr", &address]);
                command.arg(&kept);
                command
            }
            Kind::MotoS3 => named(MOTO, &["-H", "127.0.0.1", "-p", &port.to_string()]),
        }
    }

    /// As a person does in the console of a cloud.
    #[track_caller]
    fn make_bucket(&self) {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.server().port())).expect("connect to S3");
        let request =
            format!("PUT /{BUCKET} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        stream.write_all(request.as_bytes()).expect("ask for a bucket");
        stream.read_to_string(&mut answer).expect("read S3's answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Keys of its own, for this account alone, and for nothing but SFTP.
    fn make_ssh(&self) {
        for key in ["host", "user"] {
            Run::new("/usr/bin/ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(self.file(key))
                .output()
                .ok();
        }
        let config = format!(
            "ListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             MaxStartups 100\nForceCommand internal-sftp\nSubsystem sftp internal-sftp\n",
            self.file("host").display(),
            self.file("user.pub").display()
        );
        fs::write(self.file("sshd_config"), config).expect("write sshd's settings");
    }

    /// The client's side: the host `backup` of this port, in settings that a program `ssh` reads.
    fn configure_ssh(&self) {
        let port = self.server().port();
        let known = self.file("known_hosts");
        let key = fs::read_to_string(self.file("host.pub")).expect("read the host's key");
        fs::write(&known, format!("[127.0.0.1]:{port} {key}")).expect("write the host's key");
        let user = Run::new("/usr/bin/id").arg("-un").output().ok().text();
        let config = format!(
            "Host backup\nHostName 127.0.0.1\nPort {port}\nUser {}\nIdentityFile {}\nIdentitiesOnly yes\n\
             UserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null\nStrictHostKeyChecking yes\nBatchMode yes\n",
            user.trim(),
            self.file("user").display(),
            known.display()
        );
        fs::write(self.file("ssh_config"), config).expect("write ssh's settings");
        let ssh = self.file("bin").join("ssh");
        fs::create_dir_all(self.file("bin")).expect("make a folder of programs");
        let script = format!(
            "#!/bin/sh\nexec '{}' -F '{}' \"$@\"\n",
            tools::program("ssh").display(),
            self.file("ssh_config").display()
        );
        fs::write(&ssh, script).expect("write a script");
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).expect("make it executable");
    }
}

/// [`PEOPLE`] as the server knows them: `openssl dgst -sha1 -binary | base64` of the passwords.
const HTPASSWD: &str = "\
anna:{SHA}5468gBwpqQ9iGJWx+sHwGZX9b+c=\n\
ben:{SHA}zQDqA15XGMk0ci4j6mIvUS2lPPg=\n\
carla:{SHA}37HHLJZUQgu/0qcCv420SFtERcU=\n";
