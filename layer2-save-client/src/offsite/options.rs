//! What is set about the third place, resolved, and what `restic` gets of the environment.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use layer1_prebackup::config::child_env::ChildEnv;
use layer1_prebackup::config::exclude::Exclusions;
use layer1_prebackup::config::settings::{self, Peers};

use super::key::KeySource;
use super::place::Place;
use crate::error::{Error, failed};

const EVERY_DEFAULT: Duration = Duration::from_secs(15 * 60);
const SILENCE_DEFAULT: Duration = Duration::from_secs(2 * 60);
const DISK_MAX_AGE: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// No file of variables is longer, in bytes.
const ENV_FILE_BYTES_MAX: u64 = 64 * 1024;

/// What `restic`, and the ssh or rclone that it starts, may need besides what every child of ours gets: the way to the
/// user's agents and to the network.
const FOR_ENGINE: [&str; 22] = [
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_RUNTIME_DIR",
    "XDG_CACHE_HOME",
    "GNUPGHOME",
    "PASSWORD_STORE_DIR",
    "USER",
    "LOGNAME",
    "RCLONE_CONFIG",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "RESTIC_CACHE_DIR",
    "GOMAXPROCS",
];
/// What the file of variables may not set: repository and key are ours to name.
const OURS: [&str; 3] = ["RESTIC_REPOSITORY", "RESTIC_PASSWORD", "RESTIC_FROM_"];

/// Where programs lie that a timer's short `PATH` leaves out.
const MORE_FOLDERS: [&str; 4] = ["/usr/local/bin", "/opt/homebrew/bin", "/home/linuxbrew/.linuxbrew/bin", "/usr/bin"];

/// Everything that is set.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// As typed; what `init` wrote down holds where nothing is.
    pub(crate) place: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) key: KeySource,
    env_file: Option<PathBuf>,
    /// Pause between two pushes.
    pub(crate) every: Duration,
    /// How long `restic` may make no progress.
    pub(crate) silence: Duration,
    /// What is never sent.
    pub(crate) exclude: Exclusions,
    /// What is kept of other machines here.
    pub(crate) peers: Peers,
    /// Bytes a second.
    pub(crate) upload_limit: Option<u64>,
    max_age: Option<Duration>,
    /// Whether it is a further place, which has a name.
    is_named: bool,
    home: PathBuf,
    /// Of the environment, what only `restic` gets.
    engine_vars: Vec<(OsString, OsString)>,
}

impl Options {
    /// `called` is the name of a further place, `vars` the environment.
    pub(crate) fn resolve(
        set: &settings::Offsite,
        called: Option<&str>,
        (home, config_home): (&Path, &Path),
        vars: impl Iterator<Item = (OsString, OsString)>,
    ) -> Options {
        let at_home = |path: &PathBuf| path.strip_prefix("~").map_or_else(|_| path.clone(), |rest| home.join(rest));
        let key_file = called.map_or_else(|| "offsite.key".to_owned(), |called| format!("offsite-{called}.key"));
        let is_for_engine = |name: &OsStr| FOR_ENGINE.iter().any(|allowed| name == *allowed);
        Options {
            place: set.place.clone(),
            name: set.name.clone(),
            key: KeySource {
                file: set.key_file.as_ref().map_or_else(|| config_home.join("threefold").join(key_file), at_home),
                command: set.key_command.clone(),
            },
            env_file: set.env_file.as_ref().map(at_home),
            every: set.every.unwrap_or(EVERY_DEFAULT),
            silence: set.silence.unwrap_or(SILENCE_DEFAULT),
            exclude: Exclusions::new(set.exclude.as_deref().unwrap_or_default(), home),
            peers: set.peers.unwrap_or(Peers::List),
            upload_limit: set.upload_limit,
            max_age: set.max_age,
            is_named: called.is_some(),
            home: home.to_owned(),
            engine_vars: vars.filter(|(name, _)| is_for_engine(name)).collect(),
        }
    }

    /// How long what changed may wait to be sent to a place before a person is told, where that is not as always: the disk
    /// of a further place is connected now and then.
    pub(crate) fn max_age_ms(&self, place: &Place) -> Option<u64> {
        let of_a_disk = (self.is_named && place.directory().is_some()).then_some(DISK_MAX_AGE);
        self.max_age.or(of_a_disk).map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
    }

    /// The environment of the command that prints the key: without the place's secrets.
    pub(crate) fn key_env(&self, common: &ChildEnv) -> ChildEnv {
        common.clone().with(self.engine_vars.iter().cloned())
    }

    /// The environment of `restic`.
    pub(crate) fn engine_env(&self, common: &ChildEnv, path: OsString) -> Result<ChildEnv, Error> {
        let own = [("PATH".into(), path), ("RESTIC_PROGRESS_FPS".into(), "1".into())];
        Ok(self.key_env(common).with(self.variables_of_file()?).with(own).with(self.key.variables()))
    }

    /// Where programs are looked for, and where `restic` is; `None` where it is nowhere.
    pub(crate) fn find_engine(&self, path: &OsStr) -> (OsString, Option<PathBuf>) {
        let mut folders: Vec<PathBuf> = std::env::split_paths(path).filter(|folder| folder.is_absolute()).collect();
        let at_home = [".local/bin", "bin"].map(|folder| self.home.join(folder));
        for folder in MORE_FOLDERS.iter().map(PathBuf::from).chain(at_home) {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        let is_program = |file: &PathBuf| file.metadata().is_ok_and(|meta| meta.is_file() && meta.mode() & 0o111 != 0);
        let found = folders.iter().map(|folder| folder.join("restic")).find(is_program);
        (std::env::join_paths(&folders).unwrap_or_else(|_| path.to_owned()), found)
    }

    /// The lines `NAME=VALUE` of the file of variables.
    fn variables_of_file(&self) -> Result<Vec<(OsString, OsString)>, Error> {
        let Some(path) = &self.env_file else { return Ok(Vec::new()) };
        let doing = || format!("read offsite_env_file {}", path.display());
        let meta = match path.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(failed(doing())(error)),
            meta => meta.map_err(failed(doing()))?,
        };
        if !meta.is_file() || meta.len() > ENV_FILE_BYTES_MAX {
            return Err(format!("{}: it is no file, or far too long for one", doing()).into());
        }
        if meta.mode() & 0o077 != 0 {
            return Err(format!("{}: others may read it; chmod 600 {}", doing(), path.display()).into());
        }
        let text = std::fs::read_to_string(path).map_err(failed(doing()))?;
        parsed(&text).map_err(|what| format!("{}: {what}", doing()).into())
    }
}

fn parsed(text: &str) -> Result<Vec<(OsString, OsString)>, String> {
    let lines = text.lines().map(str::trim).zip(1..);
    let lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(line, number)| {
            let line = line.strip_prefix("export ").unwrap_or(line);
            let (name, value) = line.split_once('=').ok_or(format!("line {number} is not NAME=VALUE"))?;
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !is_name || OURS.iter().any(|ours| name.starts_with(ours)) {
                return Err(format!("line {number} sets what may not be set here"));
            }
            let quoted = |mark: char| value.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark));
            let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
            Ok((name.into(), value.into()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(set: &settings::Offsite, vars: &[(&str, &str)]) -> Options {
        let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Options::resolve(set, None, (Path::new("/h"), Path::new("/h/.config")), vars)
    }

    #[test]
    fn restic_gets_the_agents_and_the_file_and_nothing_else_of_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        std::fs::write(&file, "# s3\nexport AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY='b c'\n\n").unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let set = settings::Offsite { env_file: Some(file.clone()), ..settings::Offsite::default() };
        let vars = [
            ("SSH_AUTH_SOCK", "/s"),
            ("ANTHROPIC_API_KEY", "secret"),
            ("RESTIC_PASSWORD", "secret"),
            ("RESTIC_PROGRESS_FPS", "secret"),
        ];
        let options = options(&set, &vars);
        let env = options.engine_env(&ChildEnv::default(), "/bin".into()).unwrap();
        let text = format!("{env:?}");
        for expected in
            ["SSH_AUTH_SOCK", "AWS_ACCESS_KEY_ID", "\"b c\"", "/h/.config/threefold/offsite.key", "FPS\", \"1\""]
        {
            assert!(text.contains(expected), "{text}");
        }
        assert!(!text.contains("secret"), "{text}");
        // The command that prints the key gets no variable of the place.
        assert!(!format!("{:?}", options.key_env(&ChildEnv::default())).contains("AWS"));
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let refused = options.engine_env(&ChildEnv::default(), "/bin".into()).unwrap_err().to_string();
        assert!(refused.contains("others may read it"), "{refused}");
    }

    #[test]
    fn a_further_place_has_a_key_of_its_own_and_its_disk_may_be_away() {
        let resolve = |called: Option<&str>, max_age: Option<Duration>| {
            let set = settings::Offsite { max_age, ..settings::Offsite::default() };
            Options::resolve(&set, called, (Path::new("/h"), Path::new("/h/.config")), std::iter::empty())
        };
        let place = |text: &str| Place::parse(text, Path::new("/h")).unwrap();
        let (disk, server) = (place("/media/usb"), place("sftp:backup:x"));
        let (first, usb) = (resolve(None, None), resolve(Some("usb"), None));
        assert_eq!(usb.key.file, Path::new("/h/.config/threefold/offsite-usb.key"));
        let days = |days: u64| Some(days * 24 * 60 * 60 * 1000);
        assert_eq!((first.max_age_ms(&disk), usb.max_age_ms(&disk), usb.max_age_ms(&server)), (None, days(14), None));
        let said = resolve(None, Some(Duration::from_secs(24 * 60 * 60)));
        assert_eq!((said.max_age_ms(&disk), said.max_age_ms(&server)), (days(1), days(1)));
    }

    #[test]
    fn a_file_of_variables_names_no_repository_and_no_password() {
        for wrong in ["RESTIC_PASSWORD=x", "RESTIC_REPOSITORY_FILE=x", "novalue", "A B=c", "=c"] {
            let told = parsed(&format!("OK=1\n{wrong}")).unwrap_err();
            assert!(told.starts_with("line 2 ") && !told.contains('x'), "{told}");
        }
    }
}
