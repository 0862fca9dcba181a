//! What a user may set, in one optional file, `~/.config/threefold/config.toml`: environment
//! variables win over it, flags over those. [`SETTINGS`] is the whole list.
//!
//! A command refuses a file that it does not understand. A hook says so and goes on with what it
//! does understand: no spelling mistake may cost a copy.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::claude::shell;
use crate::config::exclude::Exclusions;
use crate::config::size::Size;
pub use crate::config::variables::XDG_CONFIG_HOME;
use crate::config::variables::{self, VARIABLE_PREFIX};
use crate::fs::read_foreign;
use crate::log::Level;

/// A configuration file longer than this is none.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// A word that takes more changes than this to become a key is not taken for a slip of it.
const SLIPS_MAX: usize = 3;
/// Calls of `session_save` that can be asked for at most.
pub const ATTEMPTS_MAX: u32 = 1000;

/// Of a setting that no flag sets.
const NO_FLAG: &str = "none";

/// One thing that can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Its name in the file.
    pub(crate) key: &'static str,
    /// What holds where nothing is set.
    pub(crate) default: &'static str,
    /// A value as it may stand in the file.
    pub(crate) example: &'static str,
    /// The variable that wins over the file.
    pub(crate) variable: &'static str,
    /// The flag that wins over both.
    pub(crate) flag: &'static str,
}

/// Everything that can be set, in the order of the documentation.
pub(crate) const SETTINGS: [Setting; 26] = [
    setting("claude_dir", "~/.claude", "\"~/.claude\"", variables::CLAUDE_CONFIG_DIR, "--claude-dir"),
    setting(
        "pre_backup_dir",
        "~/.claude-backup-sessions",
        "\"~/copies\"",
        variables::PRE_BACKUP_DIR,
        "--pre-backup-dir",
    ),
    setting("backup_dir", "~/.claude-backup", "\"/disk/claude\"", variables::BACKUP_DIR, "--backup-dir"),
    setting(
        "session_db_path",
        "sessions.db in backup_dir",
        "\"~/sessions.db\"",
        variables::SESSION_DB_PATH,
        "--session-db",
    ),
    setting("claude_dirs", "[]", "[\"~/.claude-work\"]", "THREEFOLD_CLAUDE_DIRS", "--claude-dirs"),
    setting("exclude", "[]", "[\"scratch-*\", \"~/clients/**\"]", "THREEFOLD_EXCLUDE", "--exclude"),
    setting("free_space_floor", "0", "\"256MB\"", "THREEFOLD_FREE_SPACE_FLOOR", "--free-space-floor"),
    setting("journal", "true", "false", "THREEFOLD_NO_JOURNAL", "--no-journal"),
    setting("log_level", "\"info\"", "\"warn\"", "THREEFOLD_LOG_LEVEL", "--log-level"),
    setting("mcp_scope", "\"all\"", "\"project\"", "THREEFOLD_MCP_SCOPE", "--mcp-scope"),
    setting("mcp_redact", "false", "true", "THREEFOLD_MCP_REDACT", "--mcp-redact"),
    setting("wait", "\"1s\"", "\"500ms\"", "THREEFOLD_WAIT", "--wait"),
    setting("timeout", "\"10s\"", "\"1m\"", "THREEFOLD_TIMEOUT", "--timeout"),
    setting("attempts", "2", "3", "THREEFOLD_ATTEMPTS", "--attempts"),
    setting("delay", "\"1s\"", "\"2s\"", "THREEFOLD_DELAY", "--delay"),
    setting("offsite", "as set up", "\"sftp:backup:threefold\"", "THREEFOLD_OFFSITE", NO_FLAG),
    setting("offsite_name", "as set up", "\"laptop\"", "THREEFOLD_OFFSITE_NAME", NO_FLAG),
    setting(
        "offsite_key_file",
        "~/.config/threefold/offsite.key",
        "\"~/keys/offsite.key\"",
        "THREEFOLD_OFFSITE_KEY_FILE",
        NO_FLAG,
    ),
    setting(
        "offsite_key_command",
        "none",
        "\"secret-tool lookup name threefold\"",
        "THREEFOLD_OFFSITE_KEY_COMMAND",
        NO_FLAG,
    ),
    setting("offsite_env_file", "none", "\"~/.config/threefold/offsite.env\"", "THREEFOLD_OFFSITE_ENV_FILE", NO_FLAG),
    setting("offsite_every", "\"15m\"", "\"1h\"", "THREEFOLD_OFFSITE_EVERY", NO_FLAG),
    setting("offsite_silence", "\"2m\"", "\"5m\"", "THREEFOLD_OFFSITE_SILENCE", NO_FLAG),
    setting("offsite_exclude", "[]", "[\"~/clients/**\"]", "THREEFOLD_OFFSITE_EXCLUDE", NO_FLAG),
    setting("offsite_peers", "\"list\"", "\"none\"", "THREEFOLD_OFFSITE_PEERS", NO_FLAG),
    setting("offsite_upload_limit", "none", "\"1MB\"", "THREEFOLD_OFFSITE_UPLOAD_LIMIT", NO_FLAG),
    setting("offsite_max_age", "\"3d\"", "\"14d\"", "THREEFOLD_OFFSITE_MAX_AGE", NO_FLAG),
];

const fn setting(
    key: &'static str,
    default: &'static str,
    example: &'static str,
    variable: &'static str,
    flag: &'static str,
) -> Setting {
    Setting { key, default, example, variable, flag }
}

/// A setting, or a place, could not be understood: a file, a variable or a flag, and what it must be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub(crate) String);

/// What is set; `None` where nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Claude Code's directory.
    pub(crate) claude_dir: Option<PathBuf>,
    /// More directories of Claude Code's.
    pub(crate) claude_dirs: Option<Vec<PathBuf>>,
    /// Layer 1's store.
    pub(crate) pre_backup_dir: Option<PathBuf>,
    /// Layer 3's store.
    pub(crate) backup_dir: Option<PathBuf>,
    /// The index.
    pub(crate) session_db_path: Option<PathBuf>,
    /// Which sessions are not copied: see [`Exclusions`].
    pub(crate) exclude: Option<Vec<String>>,
    /// Bytes of a disk that no copy may take.
    pub(crate) free_space_floor: Option<u64>,
    /// Whether events of a conversation without a transcript are kept.
    pub(crate) journal: Option<bool>,
    /// What gets into the logs.
    pub(crate) log_level: Option<Level>,
    /// Whether the MCP server serves the conversations of its client's project alone.
    pub mcp_of_project: Option<bool>,
    /// Whether it masks what looks like a secret.
    pub mcp_redact: Option<bool>,
    /// How long layer 2's hook waits for a delivery.
    pub wait: Option<Duration>,
    /// How long a server may be silent.
    pub timeout: Option<Duration>,
    /// Calls of `session_save` at most.
    pub attempts: Option<u32>,
    /// Pause between two calls.
    pub delay: Option<Duration>,
    /// The third place.
    pub offsite: Offsite,
    /// Further ones, by their names: what their tables say.
    pub(crate) offsite_places: BTreeMap<String, Offsite>,
}

/// What is said of the third place, see docs/offsite.md; `None` where nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offsite {
    /// The place: an address as `restic` takes it. It holds one repository a machine.
    pub place: Option<String>,
    /// What this machine is called there.
    pub name: Option<String>,
    /// The file that holds the key.
    pub key_file: Option<PathBuf>,
    /// The command that prints the key, instead of a file.
    pub key_command: Option<String>,
    /// A file of variables for `restic` alone.
    pub env_file: Option<PathBuf>,
    /// Pause between two pushes at least.
    pub every: Option<Duration>,
    /// How long a push may make no progress.
    pub silence: Option<Duration>,
    /// Conversations that are never sent: globs, as of `exclude`.
    pub exclude: Option<Vec<String>>,
    /// What is fetched of other machines.
    pub peers: Option<Peers>,
    /// Bytes a second that are sent at most.
    pub upload_limit: Option<u64>,
    /// How long what changed may wait to be sent before a person is told.
    pub max_age: Option<Duration>,
}

/// What a machine fetches of the other ones in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peers {
    /// Nothing.
    None,
    /// Which conversations they have.
    List,
    /// The conversations too, to be searched here.
    All,
}

/// Under which the flags stand in `--help`.
pub(crate) const HELP_HEADING: &str = "Settings (docs/settings.md)";

/// Settings as flags, to be flattened into a clap parser. Flags win over the environment and the file.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SettingFlags {
    /// Also save the conversations of this Claude Code directory (repeatable) [env: THREEFOLD_CLAUDE_DIRS]
    #[arg(long, value_name = "DIR", help_heading = HELP_HEADING, global = true)]
    pub claude_dirs: Vec<PathBuf>,
    /// Do not save conversations of this project, directory or transcript (repeatable) [env: THREEFOLD_EXCLUDE]
    #[arg(long, value_name = "GLOB", help_heading = HELP_HEADING, global = true)]
    pub exclude: Vec<String>,
    /// Stop copying when less than this is free on the disk, such as 256MB [env: THREEFOLD_FREE_SPACE_FLOOR]
    #[arg(long, value_name = "SIZE", help_heading = HELP_HEADING, value_parser = parse_size, global = true)]
    pub free_space_floor: Option<u64>,
    /// What gets into the log: info, warn or off [env: THREEFOLD_LOG_LEVEL]
    #[arg(long, value_name = "LEVEL", help_heading = HELP_HEADING, value_parser = parse_level, global = true)]
    pub log_level: Option<Level>,
}

impl SettingFlags {
    /// As typed, for another program of ours.
    pub fn to_args(&self) -> Vec<OsString> {
        // In one word each: a glob may begin with a hyphen, as the names of folders of transcripts do.
        let mut args: Vec<String> = self.exclude.iter().map(|glob| format!("--exclude={glob}")).collect();
        args.extend(self.claude_dirs.iter().filter_map(|dir| Some(format!("--claude-dirs={}", dir.to_str()?))));
        args.extend(self.free_space_floor.map(|bytes| format!("--free-space-floor={bytes}")));
        args.extend(self.log_level.map(|level| format!("--log-level={}", level.as_str())));
        args.into_iter().map(OsString::from).collect()
    }
}

/// What every layer heeds when it copies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Sessions that are not copied.
    pub exclude: Exclusions,
    /// No copy is begun that would leave less than so many bytes free on the store's disk.
    pub free_space_floor: u64,
    /// What gets into the logs.
    pub log_level: Level,
}

impl Settings {
    /// What the file, the variables (`env` looks one up; an empty one counts as unset) and the flags say, the
    /// later winning, and all that could not be understood. What else was said holds.
    pub fn gather(env: &dyn Fn(&str) -> Option<OsString>, flags: &SettingFlags) -> (Settings, Vec<SettingsError>) {
        let mut problems = Vec::new();
        let mut settings = match file(env).map(|path| read(&path).map(|text| (path, text))) {
            Some(Ok((path, Some(text)))) => parse(&path, &text, &mut problems),
            Some(Err(error)) => {
                problems.push(error);
                Settings::default()
            }
            Some(Ok((_, None))) | None => Settings::default(),
        };
        settings.read_variables(env, &mut problems);
        (settings.with_flags(flags), problems)
    }

    /// The names of the further places.
    pub fn offsite_names(&self) -> impl Iterator<Item = &str> {
        self.offsite_places.keys().map(String::as_str)
    }

    /// What is said of a place; `None` is the first one. What is said of that about when, how much and what is never sent
    /// holds for the others too, unless they say something else.
    pub fn offsite_of(&self, called: Option<&str>) -> Offsite {
        let first = self.offsite.clone();
        let Some(called) = called else { return first };
        let own = self.offsite_places.get(called).cloned().unwrap_or_default();
        Offsite {
            every: own.every.or(first.every),
            silence: own.silence.or(first.silence),
            exclude: own.exclude.or(first.exclude),
            upload_limit: own.upload_limit.or(first.upload_limit),
            ..own
        }
    }

    fn with_flags(mut self, flags: &SettingFlags) -> Settings {
        if !flags.claude_dirs.is_empty() {
            self.claude_dirs = Some(flags.claude_dirs.clone());
        }
        if !flags.exclude.is_empty() {
            self.exclude = Some(flags.exclude.clone());
        }
        self.free_space_floor = flags.free_space_floor.or(self.free_space_floor);
        self.log_level = flags.log_level.or(self.log_level);
        self
    }

    /// What every layer heeds; `home` stands for `~`.
    pub(crate) fn policy(&self, home: &Path) -> Policy {
        Policy {
            exclude: Exclusions::new(self.exclude.as_deref().unwrap_or_default(), home),
            free_space_floor: self.free_space_floor.unwrap_or(0),
            log_level: self.log_level.unwrap_or_default(),
        }
    }

    fn read_variables(&mut self, env: &dyn Fn(&str) -> Option<OsString>, problems: &mut Vec<SettingsError>) {
        // Those of places are read with their flags.
        for setting in SETTINGS.iter().filter(|setting| setting.variable.starts_with(VARIABLE_PREFIX)) {
            let Some(value) = env(setting.variable).filter(|value| !value.is_empty()) else { continue };
            let taken = match value.to_str() {
                Some(text) => {
                    value_of_variable(setting.key, text).map_or(Ok(()), |value| self.take(setting.key, &value))
                }
                None => Err("UTF-8"),
            };
            problems.extend(taken.err().map(|expected| wrong(setting.variable, "the environment", expected)));
        }
    }

    /// Takes over what a key is set to; fails with what it must be.
    fn take(&mut self, key: &str, value: &toml::Value) -> Result<(), &'static str> {
        if holds_nul(value) {
            return Err("without the character NUL, which no path and no command can hold");
        }
        let place = || value.as_str().and_then(place).ok_or(DIRECTORY).map(Some);
        let duration =
            || value.as_str().and_then(|text| humantime::parse_duration(text).ok()).ok_or(DURATION).map(Some);
        match key {
            "claude_dir" => self.claude_dir = place()?,
            "pre_backup_dir" => self.pre_backup_dir = place()?,
            "backup_dir" => self.backup_dir = place()?,
            "session_db_path" => self.session_db_path = place()?,
            "claude_dirs" => self.claude_dirs = Some(directories(value).ok_or(DIRECTORIES)?),
            "exclude" => self.exclude = Some(globs(value).ok_or(GLOBS)?),
            "free_space_floor" => self.free_space_floor = Some(size(value).ok_or(Size::EXPECTED)?),
            "journal" => self.journal = Some(value.as_bool().ok_or("true or false")?),
            "log_level" => self.log_level = Some(value.as_str().and_then(Level::parse).ok_or(LEVEL)?),
            "mcp_scope" => self.mcp_of_project = Some(value.as_str().and_then(parse_mcp_scope).ok_or(MCP_SCOPE)?),
            "mcp_redact" => self.mcp_redact = Some(value.as_bool().ok_or("true or false")?),
            "wait" => self.wait = duration()?,
            "timeout" => self.timeout = duration()?,
            "delay" => self.delay = duration()?,
            "offsite" => self.offsite.place = text(value).ok_or(OFFSITE).map(Some)?,
            "offsite_name" => self.offsite.name = text(value).ok_or("a text").map(Some)?,
            "offsite_key_file" => self.offsite.key_file = place()?,
            "offsite_key_command" => self.offsite.key_command = text(value).ok_or("a command").map(Some)?,
            "offsite_env_file" => self.offsite.env_file = place()?,
            "offsite_every" => self.offsite.every = duration()?,
            "offsite_silence" => self.offsite.silence = duration()?,
            "offsite_exclude" => self.offsite.exclude = Some(globs(value).ok_or(GLOBS)?),
            "offsite_peers" => self.offsite.peers = Some(peers(value).ok_or(PEERS)?),
            "offsite_max_age" => self.offsite.max_age = duration()?,
            "offsite_upload_limit" => self.offsite.upload_limit = Some(size(value).ok_or(Size::EXPECTED)?),
            "attempts" => self.attempts = Some(attempts(value).ok_or("a number from 1 to 1000")?),
            _ => unreachable!("every setting is read"),
        }
        Ok(())
    }
}

/// What a variable says, as it would stand in the file.
fn value_of_variable(key: &str, text: &str) -> Option<toml::Value> {
    match key {
        "claude_dirs" | "exclude" | "offsite_exclude" => {
            Some(text.split(':').filter(|glob| !glob.is_empty()).collect::<Vec<_>>().into())
        }
        // It turns the journal off, with anything but nothing, `0` and `false`.
        "journal" => (text != "0" && text != "false").then_some(false.into()),
        "mcp_redact" => Some(text.parse::<bool>().map_or_else(|_| text.into(), toml::Value::from)),
        "attempts" => Some(text.parse::<i64>().map_or_else(|_| text.into(), toml::Value::from)),
        _ => Some(text.into()),
    }
}

/// Whether the project alone is meant: `project` or `all`.
pub fn parse_mcp_scope(text: &str) -> Option<bool> {
    match text {
        "project" => Some(true),
        "all" => Some(false),
        _ => None,
    }
}

const MCP_SCOPE: &str = "\"project\" or \"all\"";
const LEVEL: &str = "\"info\", \"warn\" or \"off\"";
const OFFSITE: &str = "a place, such as \"sftp:backup:threefold\" or \"/media/usb/threefold\"; a second one is a table \
    such as [offsite.usb]";
/// What stands before the name of a further place in the file.
const FURTHER: &str = "[offsite.";
const PEERS: &str = "\"none\", \"list\" or \"all\"";
const DURATION: &str = "a duration such as \"500ms\", \"1s\" or \"2m\"";
const DIRECTORY: &str = "an absolute path (or one that begins with ~/)";
const DIRECTORIES: &str = "a list of absolute paths (or of such that begin with ~/)";
const GLOBS: &str = "a list of texts such as [\"scratch-*\"]";

fn wrong(setting: &str, from: &str, expected: &str) -> SettingsError {
    SettingsError(format!("read {setting} in {from}: it must be {expected}"))
}

/// Where the file is looked for; `None` without a home.
pub(crate) fn file(env: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute(XDG_CONFIG_HOME).or_else(|| absolute("HOME").map(|home| home.join(".config")))?;
    Some(folder.join("threefold/config.toml"))
}

/// The text of the file; `None` where there is none. A symlink is followed, a FIFO is not waited for.
fn read(path: &Path) -> Result<Option<String>, SettingsError> {
    let unreadable = |cause: &dyn std::fmt::Display| {
        let (shown, quoted) = (path.display(), shell::quoted(&path.to_string_lossy()));
        let move_it = format!("make it readable, or move it away: mv {quoted} {quoted}.aside");
        SettingsError(format!("read the settings {shown}: {cause}; {move_it}"))
    };
    match read_foreign(path, FILE_BYTES_MAX) {
        Ok(text) => text.map(String::from_utf8).transpose().map_err(|error| unreadable(&error)),
        Err(error) if is_absent(&error.source) => Ok(None),
        Err(error) => Err(unreadable(&error.source)),
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

fn parse(path: &Path, text: &str, problems: &mut Vec<SettingsError>) -> Settings {
    let mut settings = Settings::default();
    let from = path.display().to_string();
    let table: toml::Table = match toml::from_str(text) {
        Ok(table) => table,
        Err(error) => {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let (line, what) = (1 + before.matches('\n').count(), error.message().replace('\n', " "));
            let begins = |word: &str| text.lines().any(|line| line.replace(' ', "").starts_with(word));
            let hint = match begins(FURTHER) && begins("offsite=") {
                true => {
                    "; beside a table such as [offsite.usb] leave `offsite = …` out: `offsite init` has written it down"
                }
                false => "",
            };
            problems.push(SettingsError(format!("read the settings {from}, line {line}: {what}{hint}")));
            return settings;
        }
    };
    for (name, value) in &table {
        if let ("offsite", Some(places)) = (name.as_str(), value.as_table()) {
            settings.offsite_places = read_places(places, &from, problems);
        } else if SETTINGS.iter().any(|setting| setting.key == name) {
            problems.extend(settings.take(name, value).err().map(|expected| wrong(name, &from, expected)));
        } else {
            let hint = match nearest(name) {
                Some(key) => format!("did you mean {key:?}?"),
                None => format!("there are: {}", SETTINGS.map(|setting| setting.key).join(", ")),
            };
            problems.push(SettingsError(format!("read the settings {from}: nothing is called {name:?}; {hint}")));
        }
    }
    settings
}

/// The tables of further places: in each the same keys as for the first one.
fn read_places(tables: &toml::Table, from: &str, problems: &mut Vec<SettingsError>) -> BTreeMap<String, Offsite> {
    let mut places = BTreeMap::new();
    for (called, table) in tables {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name = called.bytes().all(is_plain) && !called.starts_with('-') && !called.is_empty();
        let Some(table) = table.as_table().filter(|_| is_name) else {
            let expected = "a table, named in lower-case letters, digits and hyphens, such as [offsite.usb]";
            problems.push(wrong(&format!("offsite.{called}"), from, expected));
            continue;
        };
        let mut own = Settings::default();
        let keys = || SETTINGS.iter().map(|setting| setting.key).filter(|key| key.starts_with("offsite"));
        for (key, value) in table {
            if !keys().any(|known| known == key) {
                let keys = keys().collect::<Vec<_>>().join(", ");
                problems.push(SettingsError(format!(
                    "read the settings {from}: nothing is called {key:?} in {FURTHER}{called}]; there are: {keys}. Other \
                     settings go above this table"
                )));
                continue;
            }
            let taken = own.take(key, value);
            problems.extend(taken.err().map(|expected| wrong(&format!("{key} of {FURTHER}{called}]"), from, expected)));
        }
        places.insert(called.clone(), own.offsite);
    }
    places
}

fn holds_nul(value: &toml::Value) -> bool {
    match value {
        toml::Value::String(text) => text.contains('\0'),
        toml::Value::Array(values) => values.iter().any(holds_nul),
        _ => false,
    }
}

fn place(text: &str) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    (path.is_absolute() || path.starts_with("~")).then_some(path)
}

fn directories(value: &toml::Value) -> Option<Vec<PathBuf>> {
    value.as_array()?.iter().map(|dir| dir.as_str().and_then(place)).collect()
}

fn globs(value: &toml::Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|glob| glob.as_str().map(str::to_owned)).collect()
}

fn size(value: &toml::Value) -> Option<u64> {
    match value.as_integer() {
        Some(bytes) => u64::try_from(bytes).ok(),
        None => parse_size(value.as_str()?).ok(),
    }
}

fn text(value: &toml::Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn peers(value: &toml::Value) -> Option<Peers> {
    match value.as_str()? {
        "none" => Some(Peers::None),
        "list" => Some(Peers::List),
        "all" => Some(Peers::All),
        _ => None,
    }
}

fn attempts(value: &toml::Value) -> Option<u32> {
    let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
    number.filter(|number| (1..=ATTEMPTS_MAX).contains(number))
}

/// Bytes: a number, with `B`, `KB`, `MB`, `GB`, `TB` (thousands) or `KiB`, `MiB`, `GiB`, `TiB` (1024s) behind it.
fn parse_size(text: &str) -> Result<u64, String> {
    text.parse().map(|Size(bytes)| bytes)
}

fn parse_level(text: &str) -> Result<Level, String> {
    Level::parse(text).ok_or_else(|| format!("it must be {LEVEL}"))
}

/// The key that was meant, if it is clear.
fn nearest(word: &str) -> Option<&'static str> {
    let word = word.to_lowercase().replace('-', "_");
    let slips = |setting: &Setting| changes(&word, setting.key);
    let setting = SETTINGS.iter().min_by_key(|setting| slips(setting))?;
    (slips(setting) <= SLIPS_MAX.min(setting.key.len() / 2)).then_some(setting.key)
}

/// How many letters must be added, dropped or changed to make one word of the other.
fn changes(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (n, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = n + 1;
        for (m, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[m + 1];
            row[m + 1] = changed.min(diagonal + 1).min(row[m] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::places::{PlaceFlags, Places};
    use std::fs;

    /// What a file and variables come to, and the problems in words.
    fn gather(text: &str, vars: &[(&str, &str)]) -> (Settings, Vec<String>) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".config/threefold/config.toml");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let env = |name: &str| match name {
            "HOME" => Some(home.path().into()),
            name => vars.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()),
        };
        let (settings, problems) = Settings::gather(&env, &SettingFlags::default());
        let home = home.path().display().to_string();
        (settings, problems.iter().map(|problem| problem.to_string().replace(&home, "~")).collect())
    }

    #[test]
    fn every_setting_is_read_and_nothing_else_is() {
        let text: String = SETTINGS.iter().map(|setting| format!("{} = {}\n", setting.key, setting.example)).collect();
        let (settings, problems) = gather(&text, &[]);
        assert_eq!(problems, [""; 0]);
        let expected = Settings {
            claude_dir: Some("~/.claude".into()),
            claude_dirs: Some(vec!["~/.claude-work".into()]),
            pre_backup_dir: Some("~/copies".into()),
            backup_dir: Some("/disk/claude".into()),
            session_db_path: Some("~/sessions.db".into()),
            exclude: Some(vec!["scratch-*".to_owned(), "~/clients/**".to_owned()]),
            free_space_floor: Some(256_000_000),
            journal: Some(false),
            log_level: Some(Level::Warn),
            mcp_of_project: Some(true),
            mcp_redact: Some(true),
            wait: Some(Duration::from_millis(500)),
            timeout: Some(Duration::from_secs(60)),
            attempts: Some(3),
            delay: Some(Duration::from_secs(2)),
            offsite: Offsite {
                place: Some("sftp:backup:threefold".to_owned()),
                name: Some("laptop".to_owned()),
                key_file: Some("~/keys/offsite.key".into()),
                key_command: Some("secret-tool lookup name threefold".to_owned()),
                env_file: Some("~/.config/threefold/offsite.env".into()),
                every: Some(Duration::from_secs(60 * 60)),
                silence: Some(Duration::from_secs(5 * 60)),
                exclude: Some(vec!["~/clients/**".to_owned()]),
                peers: Some(Peers::None),
                upload_limit: Some(1_000_000),
                max_age: Some(Duration::from_secs(14 * 24 * 60 * 60)),
            },
            offsite_places: BTreeMap::new(),
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn variables_win_over_the_file_and_flags_over_both() {
        let text = "free_space_floor = 1\nexclude = [\"a\"]\nlog_level = \"off\"\nattempts = 3\nwait = \"1s\"\njournal = true\n";
        let vars = [
            ("THREEFOLD_FREE_SPACE_FLOOR", "2KiB"),
            ("THREEFOLD_EXCLUDE", "b:c"),
            ("THREEFOLD_LOG_LEVEL", "warn"),
            ("THREEFOLD_ATTEMPTS", "4"),
            ("THREEFOLD_WAIT", "2s"),
            ("THREEFOLD_NO_JOURNAL", "1"),
        ];
        let (file, _) = gather(text, &[]);
        assert_eq!((file.free_space_floor, file.attempts, file.journal), (Some(1), Some(3), Some(true)));
        let (env, problems) = gather(text, &vars);
        assert_eq!(problems, [""; 0]);
        assert_eq!((env.free_space_floor, env.attempts, env.journal), (Some(2048), Some(4), Some(false)));
        assert_eq!((env.log_level, env.wait), (Some(Level::Warn), Some(Duration::from_secs(2))));
        assert_eq!(env.exclude, Some(vec!["b".to_owned(), "c".to_owned()]));
        let flags =
            SettingFlags { exclude: vec!["d".to_owned()], free_space_floor: Some(3), ..SettingFlags::default() };
        let flagged = env.with_flags(&flags);
        assert_eq!((flagged.free_space_floor, flagged.exclude), (Some(3), Some(vec!["d".to_owned()])));
        assert_eq!(flagged.log_level, Some(Level::Warn));
    }

    #[test]
    fn a_place_of_the_file_gives_way_to_a_variable_and_to_a_flag() {
        let (settings, _) = gather("backup_dir = \"/file\"\nclaude_dir = \"~/c\"\n", &[]);
        let layer3 = |flag: Option<&str>, variable: Option<&str>| {
            let env = |name: &str| match name {
                "HOME" => Some("/h".into()),
                "BACKUP_DIR" => variable.map(Into::into),
                _ => None,
            };
            let flags = PlaceFlags { backup_dir: flag.map(Into::into), ..PlaceFlags::default() };
            let places = Places::resolve_with(&flags, &env, &settings).unwrap();
            assert_eq!(places.claude_dir, Path::new("/h/c"));
            places.index
        };
        assert_eq!(layer3(None, None), Path::new("/file/sessions.db"));
        assert_eq!(layer3(None, Some("/env")), Path::new("/env/sessions.db"));
        assert_eq!(layer3(Some("/flag"), Some("/env")), Path::new("/flag/sessions.db"));
    }

    #[test]
    fn what_is_wrong_is_named_and_the_rest_holds() {
        let text = "exclud = [\"a\"]\nFree-Space-Floor = 1\nbackup_dir = \"relative\"\nattempts = 0\nzzz = 1\njournal = \"no\"\nlog_level = \"warn\"\n";
        let (settings, problems) = gather(text, &[("THREEFOLD_DELAY", "soon")]);
        insta::assert_snapshot!(problems.join("\n"), @r#"
        read the settings ~/.config/threefold/config.toml: nothing is called "Free-Space-Floor"; did you mean "free_space_floor"?
        read attempts in ~/.config/threefold/config.toml: it must be a number from 1 to 1000
        read backup_dir in ~/.config/threefold/config.toml: it must be an absolute path (or one that begins with ~/)
        read the settings ~/.config/threefold/config.toml: nothing is called "exclud"; did you mean "exclude"?
        read journal in ~/.config/threefold/config.toml: it must be true or false
        read the settings ~/.config/threefold/config.toml: nothing is called "zzz"; there are: claude_dir, pre_backup_dir, backup_dir, session_db_path, claude_dirs, exclude, free_space_floor, journal, log_level, mcp_scope, mcp_redact, wait, timeout, attempts, delay, offsite, offsite_name, offsite_key_file, offsite_key_command, offsite_env_file, offsite_every, offsite_silence, offsite_exclude, offsite_peers, offsite_upload_limit, offsite_max_age
        read THREEFOLD_DELAY in the environment: it must be a duration such as "500ms", "1s" or "2m"
        "#);
        assert_eq!(settings, Settings { log_level: Some(Level::Warn), ..Settings::default() });
        let (settings, problems) = gather("journal = false\n\nexclude = [\n", &[]);
        insta::assert_snapshot!(problems.join("\n"), @"read the settings ~/.config/threefold/config.toml, line 3: unclosed array, expected `]`");
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn a_nul_is_refused_by_the_name_of_its_setting() {
        for (key, value) in [
            ("backup_dir", r#""/a\u0000b""#),
            ("claude_dirs", r#"["/a", "/b\u0000"]"#),
            ("exclude", r#"["\u0000*"]"#),
            ("offsite_key_command", r#""pass\u0000""#),
        ] {
            let (settings, problems) = gather(&format!("{key} = {value}\nlog_level = \"warn\"\n"), &[]);
            assert!(problems[0].starts_with(&format!("read {key} in ")) && problems[0].contains("NUL"), "{problems:?}");
            assert_eq!(settings, Settings { log_level: Some(Level::Warn), ..Settings::default() });
        }
    }

    #[test]
    fn a_further_place_has_a_table_of_the_same_keys() {
        let text = "offsite_exclude = [\"~/clients/**\"]\noffsite_every = \"1h\"\noffsite_peers = \"all\"\n\
            [offsite.usb]\noffsite = \"/media/usb\"\noffsite_every = \"1d\"\noffsite_max_age = \"30d\"\n";
        let (settings, problems) = gather(text, &[]);
        assert_eq!(problems, [""; 0]);
        assert_eq!(settings.offsite_names().collect::<Vec<_>>(), ["usb"]);
        assert_eq!(settings.offsite_of(None), settings.offsite);
        let days = |days: u64| Some(Duration::from_secs(days * 24 * 60 * 60));
        let usb = settings.offsite_of(Some("usb"));
        // What is never sent is sent nowhere, unless that place says otherwise.
        assert_eq!((usb.exclude, usb.every, usb.max_age), (settings.offsite.exclude.clone(), days(1), days(30)));
        assert_eq!((usb.place.as_deref(), usb.peers, usb.key_file), (Some("/media/usb"), None, None));
        let text = "[offsite]\nx = 1\n[offsite.Usb]\n[offsite.usb]\nevery = \"1d\"\noffsite_silence = 5\noffsite_name = \"a\"\n";
        let (settings, problems) = gather(text, &[]);
        insta::assert_snapshot!(problems.join("\n"), @r#"
        read offsite.Usb in ~/.config/threefold/config.toml: it must be a table, named in lower-case letters, digits and hyphens, such as [offsite.usb]
        read the settings ~/.config/threefold/config.toml: nothing is called "every" in [offsite.usb]; there are: offsite, offsite_name, offsite_key_file, offsite_key_command, offsite_env_file, offsite_every, offsite_silence, offsite_exclude, offsite_peers, offsite_upload_limit, offsite_max_age. Other settings go above this table
        read offsite_silence of [offsite.usb] in ~/.config/threefold/config.toml: it must be a duration such as "500ms", "1s" or "2m"
        read offsite.x in ~/.config/threefold/config.toml: it must be a table, named in lower-case letters, digits and hyphens, such as [offsite.usb]
        "#);
        assert_eq!(settings.offsite_of(Some("usb")).name.as_deref(), Some("a"));
        let (_, problems) = gather("offsite = \"/media/usb\"\n[offsite.usb]\n", &[]);
        assert!(problems[0].ends_with("leave `offsite = …` out: `offsite init` has written it down"), "{problems:?}");
    }

    #[test]
    fn the_documentation_lists_what_there_is() {
        let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/settings.md")).unwrap();
        let rows = SETTINGS.map(|Setting { key, default, variable, flag, example }| {
            format!("| `{key}` | `{default}` | `{variable}` | `{flag}` | `{example}` |")
        });
        let documented: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(documented, rows);
        // The example is a file.
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        assert_eq!(gather(example, &[]).1, [""; 0]);
    }

    #[test]
    fn no_file_and_none_that_can_be_read_are_two_things() {
        let home = tempfile::tempdir().unwrap();
        let env = |name: &str| (name == XDG_CONFIG_HOME).then(|| home.path().into());
        assert!(Settings::gather(&env, &SettingFlags::default()).1.is_empty());
        fs::create_dir_all(home.path().join("threefold/config.toml")).unwrap();
        let (_, problems) = Settings::gather(&env, &SettingFlags::default());
        let path = home.path().join("threefold/config.toml").display().to_string();
        let said = problems[0].to_string();
        assert!(said.ends_with(&format!("make it readable, or move it away: mv '{path}' '{path}'.aside")), "{said}");
        assert!(Settings::gather(&|_| None, &SettingFlags::default()).1.is_empty());
    }
}
