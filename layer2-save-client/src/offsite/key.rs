//! The key of the place: 24 words, of which 8 bits are a checksum, so that a word that was copied wrongly is noticed.
//! They are `restic`'s password, as they stand: who has them and the place needs nothing of ours.
//!
//! No part of a key is ever an argument, logged, or in the environment of any process.

use std::ffi::OsString;
use std::fmt;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use bip39_dict::{ENGLISH, Entropy, Mnemonics};
use layer1_prebackup::config::child_env::ChildEnv;
use layer1_prebackup::config::threads;
use layer1_prebackup::fs::{self, platform};
use layer1_prebackup::wire::offsite::Kind;

use super::trouble::Trouble;
use crate::error::{Error, failed};
use crate::server_process::{self, Patience};

/// Words of a key.
pub(crate) const WORDS: usize = 24;
const ENTROPY_BYTES: usize = 32;
const CHECKSUM_BITS: usize = 8;
/// No key is longer, in bytes.
const KEY_BYTES_MAX: u64 = 4096;
/// How long the command that prints the key may take: it may ask a person.
const COMMAND_WAIT: Duration = Duration::from_secs(60);

/// The words, single blanks between them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key(String);

/// A key never gets into a message.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// A new one, of the system's random numbers.
    pub(crate) fn random() -> Result<Key, Error> {
        let mut entropy = [0; ENTROPY_BYTES];
        platform::random(&mut entropy).map_err(failed("ask the system for random numbers"))?;
        Ok(Key::of(&Entropy(entropy)))
    }

    fn of(entropy: &Entropy<ENTROPY_BYTES>) -> Key {
        let words = entropy.to_mnemonics::<WORDS, CHECKSUM_BITS>().expect("256 bits and 8 of checksum are 24 words");
        Key(words.to_string(&ENGLISH))
    }

    /// Of what a person typed, or a file holds. The message never repeats a word.
    pub(crate) fn parse(text: &str) -> Result<Key, Error> {
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        if words.len() != WORDS {
            return Err(format!("read the key: it has {WORDS} words, and {} are there", words.len()).into());
        }
        let is_known = |word: &String| ENGLISH.words.contains(&word.as_str());
        if let Some(nth) = words.iter().position(|word| !is_known(word)) {
            return Err(format!("read the key: word {} is not one of those that keys are made of", nth + 1).into());
        }
        let key = words.join(" ");
        let parsed = Mnemonics::<WORDS>::from_string(&ENGLISH, &key).ok();
        let entropy = parsed
            .and_then(|words| Entropy::<ENTROPY_BYTES>::from_mnemonics::<WORDS, CHECKSUM_BITS>(&words).ok())
            .filter(|entropy| Key::of(entropy).0 == key);
        match entropy {
            Some(_) => Ok(Key(key)),
            None => {
                Err("read the key: a word is wrong, or two stand in each other's place (the checksum differs)".into())
            }
        }
    }

    /// As it stands in a file.
    pub(crate) fn line(&self) -> Vec<u8> {
        format!("{}\n", self.0).into_bytes()
    }

    /// The words, for the recovery sheet alone.
    pub(crate) fn words(&self) -> Vec<&str> {
        self.0.split(' ').collect()
    }
}

/// Where the key is kept.
#[derive(Debug, Clone)]
pub(crate) struct KeySource {
    /// Ours to write, where there is no command.
    pub(crate) file: PathBuf,
    /// Prints it, instead.
    pub(crate) command: Option<String>,
}

impl KeySource {
    /// How `restic` is told where its password is: a path or a command, never the password. The other one is empty, which
    /// it takes for none.
    pub(crate) fn variables(&self) -> [(OsString, OsString); 2] {
        let (file, command) = match &self.command {
            Some(command) => (OsString::new(), command.into()),
            None => (self.file.clone().into(), OsString::new()),
        };
        [("RESTIC_PASSWORD_FILE".into(), file), ("RESTIC_PASSWORD_COMMAND".into(), command)]
    }

    /// The same, of the repository that is copied from.
    pub(crate) fn variables_of_source(&self) -> [(OsString, OsString); 2] {
        let [(_, file), (_, command)] = self.variables();
        [("RESTIC_FROM_PASSWORD_FILE".into(), file), ("RESTIC_FROM_PASSWORD_COMMAND".into(), command)]
    }

    /// A file beside that of the key, for another one that is being put to use.
    pub(crate) fn beside(&self, behind: &str) -> KeySource {
        let mut name = self.file.file_name().map(OsString::from).unwrap_or_default();
        name.push(behind);
        KeySource { file: self.file.with_file_name(name), command: None }
    }

    /// Where the one is that a change was begun with.
    pub(crate) fn changing(&self) -> KeySource {
        self.beside(".new")
    }

    /// Where it is, for people.
    pub(crate) fn place(&self) -> String {
        match &self.command {
            Some(command) => format!("offsite_key_command ({command})"),
            None => self.file.display().to_string(),
        }
    }

    /// A trouble where `restic` would find no key, or others may read it. The command is not run.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.command.is_some() {
            return Ok(());
        }
        let missing = |what: String| Err(Trouble::new(Kind::KeyMissing, what).into());
        match self.file.metadata() {
            Ok(meta) if !meta.is_file() => missing(format!("{} is no file", self.file.display())),
            Ok(meta) if meta.mode() & 0o077 != 0 => {
                let path = self.file.display();
                missing(format!("others may read the key in {path}; chmod 600 {path}"))
            }
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                missing(format!("there is no key in {}", self.file.display()))
            }
            Err(error) => missing(format!("the key in {} cannot be read: {error}", self.file.display())),
        }
    }

    /// The key; `None` where the file does not exist.
    pub(crate) fn read(&self, env: &ChildEnv) -> Result<Option<Key>, Error> {
        if let Some(command) = &self.command {
            return Key::parse(&printed_by(command, env)?).map(Some);
        }
        if matches!(self.file.symlink_metadata(), Err(error) if error.kind() == ErrorKind::NotFound) {
            return Ok(None);
        }
        self.check()?;
        let doing = || format!("read {}", self.file.display());
        let mut text = String::new();
        let file = std::fs::File::open(&self.file).map_err(failed(doing()))?;
        file.take(KEY_BYTES_MAX).read_to_string(&mut text).map_err(failed(doing()))?;
        Key::parse(&text).map(Some)
    }

    /// Writes the key into its file, for this user alone, synced and read back. Never over another one.
    pub(crate) fn write(&self, key: &Key, env: &ChildEnv) -> Result<(), Error> {
        match self.read(env)? {
            Some(known) if known == *key => Ok(()),
            Some(_) => Err(format!("write the key: another one is in {}", self.place()).into()),
            None => Ok(fs::replace_file(&self.file, &key.line())?),
        }
    }
}

/// What a command of the user's prints. It gets the environment that `restic` would give it.
fn printed_by(command: &str, env: &ChildEnv) -> Result<String, Error> {
    let doing = || "run offsite_key_command";
    let mut process = Command::new("/bin/sh");
    process.args(["-c", command]);
    env.apply(&mut process);
    let (mut child, _, stdout) =
        server_process::start_with(process, Stdio::null(), "/bin/sh").map_err(failed(doing()))?;
    let (send, came) = std::sync::mpsc::channel();
    threads::start("key", move || {
        let mut text = String::new();
        let read = stdout.take(KEY_BYTES_MAX).read_to_string(&mut text);
        // Nobody waits any more where the time was over.
        let _ = send.send(read.map(|_| text));
    });
    let read = came.recv_timeout(COMMAND_WAIT);
    let ended = child.stop(Patience { after_eof: Duration::from_secs(1), after_term: Duration::from_secs(1) });
    match (read, ended.is_some_and(|status| status.success())) {
        (Ok(Ok(text)), true) => Ok(text),
        (Ok(Err(error)), _) => Err(failed(doing())(error)),
        (Ok(_), false) => Err(format!("run offsite_key_command: it failed: {}", child.last_words()).into()),
        (Err(_), _) => Err(format!("run offsite_key_command: no key came in {} s", COMMAND_WAIT.as_secs()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn source(dir: &Path) -> KeySource {
        KeySource { file: dir.join("conf/offsite.key"), command: None }
    }

    #[test]
    fn a_key_is_24_words_and_one_that_was_copied_wrongly_is_noticed() {
        let key = Key::of(&Entropy([7; ENTROPY_BYTES]));
        assert_eq!((key.words().len(), format!("{key:?}")), (WORDS, "Key(…)".to_owned()));
        assert_ne!(Key::random().unwrap(), Key::random().unwrap());
        let text = key.0.to_uppercase().replace(' ', "\n\t ");
        assert_eq!(Key::parse(&text).unwrap(), key);
        let mut words = key.words();
        let refused = |words: &[&str]| Key::parse(&words.join(" ")).unwrap_err().to_string();
        assert_eq!(refused(&words[1..]), "read the key: it has 24 words, and 23 are there");
        let swapped = words.iter().position(|word| *word != words[0]).unwrap();
        words.swap(0, swapped);
        assert!(refused(&words).contains("checksum"), "{}", refused(&words));
        words[2] = "threefold";
        assert_eq!(refused(&words), "read the key: word 3 is not one of those that keys are made of");
    }

    /// The words of a standard's own example, so that any other program of the kind reads our keys.
    #[test]
    fn the_words_are_the_standards() {
        let key = Key::of(&Entropy([0; ENTROPY_BYTES]));
        assert_eq!(key.0, format!("{}art", "abandon ".repeat(23)));
    }

    #[test]
    fn a_key_file_is_for_its_owner_alone_and_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let (source, env) = (source(dir.path()), ChildEnv::default());
        assert!(source.read(&env).unwrap().is_none());
        assert!(source.check().unwrap_err().to_string().contains("there is no key"));
        let key = Key::random().unwrap();
        source.write(&key, &env).unwrap();
        source.write(&key, &env).unwrap();
        assert_eq!(source.read(&env).unwrap(), Some(key));
        assert_eq!(source.file.metadata().unwrap().mode() & 0o777, 0o600);
        let refused = source.write(&Key::random().unwrap(), &env).unwrap_err();
        assert!(refused.to_string().starts_with("write the key: another one is in"), "{refused}");
        std::fs::set_permissions(&source.file, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        for refused in [source.check().unwrap_err(), source.read(&env).unwrap_err()] {
            assert!(refused.to_string().contains("others may read the key"), "{refused}");
        }
    }

    #[test]
    fn a_command_prints_the_key_and_its_failure_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let by = |command: &str| KeySource { command: Some(command.to_owned()), ..source(dir.path()) };
        let key = Key::random().unwrap();
        let read = by(&format!("echo {}", key.0)).read(&ChildEnv::default()).unwrap();
        assert_eq!(read, Some(key));
        let refused = by("echo locked >&2; exit 3").read(&ChildEnv::default()).unwrap_err();
        assert_eq!(refused.to_string(), "run offsite_key_command: it failed: locked");
    }
}
