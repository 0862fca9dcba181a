//! What was asked for, resolved: below `cli.rs` nothing reads flags or the environment.

use layer1_prebackup::config::child_env::ChildEnv;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use layer1_prebackup::config::places::Places;

use crate::server_process::ServerCommand;
use layer1_prebackup::wire::outbox_job::{Job, JobName};

/// How to deliver.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Where everything lies.
    pub(crate) places: Places,
    /// How long the hook waits for the delivery.
    pub wait: Duration,
    /// Calls of `session_save` at most, for each job.
    pub attempts: u32,
    /// How long a server may be silent.
    pub timeout: Duration,
    /// Pause between two calls.
    pub delay: Duration,
    /// Whether an answer without a receipt will do.
    pub(crate) no_receipt: bool,
    /// Whether jobs that were set aside are tried again.
    pub(crate) retry_failed: bool,
    /// Whether to deliver in this process and log to stderr.
    pub(crate) foreground: bool,
    /// The server as given; `None` is `layer3-indexer serve` beside this program.
    pub(crate) server: Option<Vec<OsString>>,
    /// Other settings as they were typed, for the programs that are started.
    pub(crate) typed: Vec<OsString>,
    /// This program.
    pub(crate) program: PathBuf,
    /// Whether what was said of the places is not what is gone by: then a program that is started is told all of them.
    pub(crate) are_places_corrected: bool,
    /// What child processes see of the environment.
    pub(crate) child_env: ChildEnv,
}

impl Settings {
    /// Why our own server could save nothing now: the disk of the second copy is not there. Jobs wait for it.
    pub(crate) fn second_away(&self) -> Option<String> {
        self.server.is_none().then(|| self.places.away(&self.places.layer3_store)).flatten()
    }

    /// The server to start. `allow_roots` are directories of transcripts besides the places' own;
    /// only our own server knows that flag.
    pub(crate) fn server_command(&self, allow_roots: &[PathBuf]) -> ServerCommand {
        if let Some((program, args)) = self.server.as_ref().and_then(|command| command.split_first()) {
            return ServerCommand { program: program.into(), args: args.to_vec() };
        }
        let mut args = vec![OsString::from("serve")];
        args.extend(match self.are_places_corrected {
            true => as_args(self.places.to_flags()),
            false => as_args(self.places.to_flags_but_defaults()),
        });
        args.extend(self.typed.iter().cloned());
        for root in allow_roots {
            args.extend(["--allow-root".into(), root.into()]);
        }
        let beside = self.program.parent().unwrap_or(Path::new("/"));
        ServerCommand { program: beside.join("layer3-indexer"), args }
    }

    /// The arguments of the detached deliverer: everything explicit, nothing left to its environment.
    /// `unkept` are jobs that it does not find in the outbox.
    pub(crate) fn deliverer_args(&self, unkept: &[(JobName, Job)]) -> Vec<OsString> {
        let mut args = as_args(self.places.to_flags());
        args.extend(self.typed.iter().cloned());
        let duration = |duration: Duration| OsString::from(humantime::format_duration(duration).to_string());
        args.extend(["deliver".into(), "--attempts".into(), self.attempts.to_string().into()]);
        args.extend(["--timeout".into(), duration(self.timeout), "--delay".into(), duration(self.delay)]);
        for (flag, is_set) in [("--no-receipt", self.no_receipt), ("--retry-failed", self.retry_failed)] {
            if is_set {
                args.push(flag.into());
            }
        }
        for (_, job) in unkept {
            let job = serde_json::to_string(job).expect("plain fields always serialise");
            args.extend(["--job".into(), job.into()]);
        }
        if let Some(server) = &self.server {
            args.push("--server".into());
            args.extend(server.iter().cloned());
        }
        args
    }
}

fn as_args<'a>(flags: impl IntoIterator<Item = (&'static str, &'a Path)>) -> Vec<OsString> {
    flags.into_iter().flat_map(|(flag, place)| [flag.into(), place.into()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use layer1_prebackup::config::places::PlaceFlags;
    use layer1_prebackup::config::settings::SettingFlags;
    use layer1_prebackup::log::Level;

    fn settings(flags: PlaceFlags) -> Settings {
        Settings {
            places: Places::resolve_with(
                &flags,
                &|name| (name == "HOME").then(|| "/h".into()),
                &layer1_prebackup::config::settings::Settings::default(),
            )
            .unwrap(),
            wait: Duration::from_secs(1),
            attempts: 2,
            timeout: Duration::from_secs(10),
            delay: Duration::from_millis(1500),
            no_receipt: false,
            retry_failed: true,
            foreground: false,
            server: None,
            typed: Vec::new(),
            program: "/h/.claude/hooks/layer2-save-client".into(),
            are_places_corrected: false,
            child_env: ChildEnv::default(),
        }
    }

    #[test]
    fn the_server_is_beside_and_told_only_what_is_not_default() {
        let plain = settings(PlaceFlags::default()).server_command(&[]);
        assert_eq!(plain.display(), "/h/.claude/hooks/layer3-indexer serve");
        let flags = PlaceFlags { backup_dir: Some("/b".into()), ..PlaceFlags::default() };
        let moved = settings(flags).server_command(&["/c/projects".into()]);
        assert_eq!(moved.display(), "/h/.claude/hooks/layer3-indexer serve --backup-dir /b --allow-root /c/projects");
        let corrected = Settings { are_places_corrected: true, ..settings(PlaceFlags::default()) };
        assert_eq!(corrected.server_command(&[]).args.len(), 1 + 2 * corrected.places.to_flags().len());
        let flags = PlaceFlags { session_db: Some("/x.db".into()), ..PlaceFlags::default() };
        assert!(settings(flags).server_command(&[]).display().ends_with("serve --session-db /x.db"));
        let typed = SettingFlags {
            exclude: vec!["-h-*".into()],
            free_space_floor: Some(7),
            log_level: Some(Level::Warn),
            ..SettingFlags::default()
        };
        let told = Settings { typed: typed.to_args(), ..settings(PlaceFlags::default()) };
        let expected = "--exclude=-h-* --free-space-floor=7 --log-level=warn";
        assert!(told.server_command(&[]).display().ends_with(&format!("serve {expected}")));
        let args: Vec<_> = told.deliverer_args(&[]).iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        assert!(args.join(" ").contains(&format!("{expected} deliver")), "{args:?}");
    }

    #[test]
    fn a_server_of_the_users_is_taken_as_it_is() {
        let own = Settings { server: Some(vec!["node".into(), "x.js".into()]), ..settings(PlaceFlags::default()) };
        assert_eq!(own.server_command(&["/c/projects".into()]).display(), "node x.js");
        let args: Vec<_> = own.deliverer_args(&[]).iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        insta::assert_snapshot!(args.join(" "), @"--claude-dir /h/.claude --pre-backup-dir /h/.claude-backup-sessions --backup-dir /h/.claude-backup --session-db /h/.claude-backup/sessions.db deliver --attempts 2 --timeout 10s --delay 1s 500ms --retry-failed --server node x.js");
    }
}
