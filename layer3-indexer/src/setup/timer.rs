//! The timer that trusts no hook: a unit of this user's systemd, or an agent of launchd, that has
//! the installed programs save every ten minutes whatever no hook has reported.
//!
//! There is one for each user. Its files begin with a line of ours and name the programs that they
//! start: by both a timer of this installation is told from any other file of that name.
use layer1_prebackup::claude::shell::{quoted, quoted_if_needed};
use layer1_prebackup::names::{LAYER1, LAYER2};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use layer1_prebackup::fs;
use layer1_prebackup::fs::platform;

use crate::failure::Context;
use crate::setup::Result;
use crate::setup::site::{self, Site, Standing, end_within};

/// Name of the units, and of the agent.
const NAME: &str = "threefold";
/// How often the timer runs.
const EVERY_MINUTES: u32 = 10;
/// Stands in the first lines of what we wrote.
const SEAL: &str = "Written by Threefold; its uninstall removes it.";
/// Units hold no secrets, and are read by whoever manages the system.
const MODE: u32 = 0o644;
/// How long systemd or launchd may take to answer.
const MANAGER_TIMEOUT: Duration = Duration::from_secs(30);

/// Who runs the timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    Systemd,
    Launchd,
}

#[derive(Debug)]
struct Unit {
    path: PathBuf,
    text: String,
    standing: Standing,
}

/// The timer of a site, and what stands in its place.
#[derive(Debug)]
pub(crate) struct Timer {
    manager: Manager,
    units: Vec<Unit>,
}

impl Timer {
    /// The timer as it should be, in the places where this system looks for one. Writes nothing.
    pub(crate) fn of_site(site: &Site) -> Result<Timer> {
        Timer::of(site, if platform::IS_MACOS { Manager::Launchd } else { Manager::Systemd })
    }

    fn of(site: &Site, manager: Manager) -> Result<Timer> {
        let programs = [site.program(LAYER1), site.program(LAYER2)];
        let [sweep, drain] = [site::text(&programs[0])?, site::text(&programs[1])?];
        let wanted = match manager {
            Manager::Systemd => {
                let folder = site.config_home().join("systemd/user");
                let service = service(sweep, drain, &site.flags);
                vec![(folder.join(format!("{NAME}.service")), service), (folder.join(format!("{NAME}.timer")), timer())]
            }
            Manager::Launchd => {
                let folder = site.places.home.join("Library/LaunchAgents");
                vec![(folder.join(format!("{NAME}.plist")), agent(sweep, drain, &site.flags))]
            }
        };
        let mark = match manager {
            Manager::Systemd => systemd_word(sweep),
            Manager::Launchd => xml(&quoted(sweep)),
        };
        let mut units = Vec::new();
        for (path, text) in wanted {
            let standing = standing(&path, &text, &mark)?;
            units.push(Unit { path, text, standing });
        }
        // The timer's own file names no program: it belongs to whom the service belongs to.
        let service = units[0].standing;
        if service == Standing::Theirs {
            for unit in &mut units {
                if unit.standing == Standing::Same {
                    unit.standing = Standing::Theirs;
                }
            }
        }
        Ok(Timer { manager, units })
    }

    /// Whether a timer of this installation stands there, up to date or not.
    pub(crate) fn is_set(&self) -> bool {
        let is_theirs = self.units.iter().any(|unit| unit.standing == Standing::Theirs);
        !is_theirs && self.units.iter().any(|unit| unit.standing != Standing::Absent)
    }

    /// Fails where a timer stands that this installation did not set.
    pub(crate) fn refuse_anothers(&self) -> Result<()> {
        let theirs = self.units.iter().find(|unit| unit.standing == Standing::Theirs);
        ensure!(
            theirs.is_none(),
            "set a timer: {} is not of this installation, and there is one timer for each user; \
             uninstall the other one, or remove the file",
            theirs.map(|unit| unit.path.display().to_string()).unwrap_or_default()
        );
        Ok(())
    }

    /// The files.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.units.iter().filter(|unit| unit.standing != Standing::Absent).map(|unit| &unit.path)
    }

    /// What [`Timer::install`] would do; empty if nothing.
    pub(crate) fn preview(&self) -> String {
        let missing = self.units.iter().filter(|unit| unit.standing != Standing::Same);
        let mut text: String = missing
            .map(|unit| {
                let lines: String = unit.text.lines().map(|line| format!("  {line}\n").replace("  \n", "\n")).collect();
                format!("would write {}:\n{lines}", unit.path.display())
            })
            .collect();
        if !text.is_empty() {
            text.push_str(&format!("would start the timer:\n{}\n", self.in_shell(&self.start())));
        }
        text
    }

    /// Writes the files and has the timer started, which does no harm where it runs already.
    /// Returns what was done, for people; empty if nothing was to do.
    pub(crate) fn install(&self, site: &Site) -> Result<String> {
        let mut written = false;
        for unit in self.units.iter().filter(|unit| unit.standing != Standing::Same) {
            fs::replace_file_with_mode(&unit.path, unit.text.as_bytes(), MODE)?;
            written = true;
        }
        let start = self.start();
        let start = if written || self.manager == Manager::Systemd { start } else { Vec::new() };
        match self.all_succeed(site, &start) {
            Ok(()) if !written => Ok(String::new()),
            Ok(()) => Ok(format!("set a timer that saves every {EVERY_MINUTES} minutes: {}", self.last().display())),
            Err(why) => Ok(format!(
                "the timer's files are written, but it could not be started ({why:#}); to start it, run\n{}",
                self.in_shell(&start)
            )),
        }
    }

    /// Stops the timer and removes its files, and the folders that are empty then. Returns what
    /// was done, for people.
    pub(crate) fn uninstall(&self, site: &Site) -> Result<String> {
        let stopped = self.all_succeed(site, &self.stop());
        for path in self.paths() {
            fs::remove_file(path)?;
        }
        let folder = self.last().parent().unwrap_or(Path::new("/"));
        if self.manager == Manager::Systemd {
            // Where systemd did not answer, the link by which it starts the timer is still there.
            let links = folder.join("timers.target.wants");
            fs::remove_file(&links.join(format!("{NAME}.timer")))?;
            for folder in [links.as_path(), folder, folder.parent().unwrap_or(folder)] {
                site::remove_if_empty(folder)?;
            }
        }
        Ok(match stopped.and_then(|()| self.all_succeed(site, &self.forget())) {
            Ok(()) => "removed the timer".to_owned(),
            Err(why) => format!(
                "removed the timer's files, but it could not be stopped ({why:#}); it ends with this login, or by\n{}",
                self.in_shell(&self.stop())
            ),
        })
    }

    fn last(&self) -> &Path {
        self.units.last().map_or(Path::new("/"), |unit| &unit.path)
    }

    fn start(&self) -> Vec<Vec<String>> {
        match self.manager {
            Manager::Systemd => vec![systemctl(&["daemon-reload"]), systemctl(&["enable", "--now", "threefold.timer"])],
            Manager::Launchd => {
                vec![vec!["launchctl".to_owned(), "bootstrap".to_owned(), domain(), self.last().display().to_string()]]
            }
        }
    }

    fn stop(&self) -> Vec<Vec<String>> {
        match self.manager {
            Manager::Systemd => vec![systemctl(&["disable", "--now", "threefold.timer"])],
            Manager::Launchd => {
                vec![vec!["launchctl".to_owned(), "bootout".to_owned(), format!("{}/{NAME}", domain())]]
            }
        }
    }

    /// What makes the manager forget files that are gone.
    fn forget(&self) -> Vec<Vec<String>> {
        match self.manager {
            Manager::Systemd => vec![systemctl(&["daemon-reload"])],
            Manager::Launchd => Vec::new(),
        }
    }

    fn in_shell(&self, lines: &[Vec<String>]) -> String {
        let quoted = |words: &Vec<String>| words.iter().map(|word| quoted_if_needed(word)).collect::<Vec<_>>();
        lines.iter().map(|words| format!("  {}", quoted(words).join(" "))).collect::<Vec<_>>().join("\n")
    }

    fn all_succeed(&self, site: &Site, lines: &[Vec<String>]) -> Result<()> {
        for words in lines {
            let command = site.program_of_the_system(&words[0]);
            let mut command = command.context(format_args!("{} is not on the PATH", words[0]))?;
            succeeds(command.args(&words[1..]), &words[..2].join(" "))?;
        }
        Ok(())
    }
}

fn succeeds(command: &mut Command, name: &str) -> Result<()> {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match end_within(quiet, MANAGER_TIMEOUT).context(format_args!("{name} does not start"))? {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("{name}: {status}"),
        None => bail!("{name} does not answer"),
    }
}

fn systemctl(args: &[&str]) -> Vec<String> {
    ["systemctl", "--user"].iter().chain(args).map(|word| (*word).to_owned()).collect()
}

/// Longer is no unit.
const UNIT_BYTES_MAX: u64 = 1024 * 1024;

/// launchd's name for the user's own agents.
fn domain() -> String {
    format!("gui/{}", platform::process::user())
}

fn standing(path: &Path, wanted: &str, mark: &str) -> Result<Standing> {
    let Some(bytes) = fs::read_foreign(path, UNIT_BYTES_MAX)? else { return Ok(Standing::Absent) };
    let there = String::from_utf8_lossy(&bytes).into_owned();
    let is_timer = path.extension().is_some_and(|extension| extension == "timer");
    Ok(if there == wanted {
        Standing::Same
    } else if there.contains(SEAL) && (is_timer || there.contains(mark)) {
        Standing::Ours
    } else {
        Standing::Theirs
    })
}

/// One after the other, the second also where the first fails. Both keep out of the way of the
/// user's work.
fn service(sweep: &str, drain: &str, flags: &[String]) -> String {
    let line = |program: &str, args: &[&str]| {
        let words = std::iter::once(program).chain(flags.iter().map(String::as_str)).chain(args.iter().copied());
        let words = words.map(systemd_word).collect::<Vec<_>>().join(" ");
        // systemd takes no program whose path has quotes or variables in it, but any argument.
        let by_shell = if systemd_word(program) == program { "" } else { "/bin/sh -c \"exec \\\"$$@\\\"\" sh " };
        format!("{by_shell}{words}")
    };
    format!(
        "# {SEAL}\n\
         [Unit]\n\
         Description=Threefold saves the Claude Code conversations that no hook has reported\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart=-{}\n\
         ExecStart=-{}\n\
         Nice=10\n\
         IOSchedulingClass=idle\n",
        line(sweep, &["sweep", "--quiet", "--timer"]),
        line(drain, &["drain", "--timer"])
    )
}

fn timer() -> String {
    format!(
        "# {SEAL}\n\
         [Unit]\n\
         Description=Threefold, every ten minutes\n\
         \n\
         [Timer]\n\
         OnCalendar=*:0/{EVERY_MINUTES}\n\
         RandomizedDelaySec=30\n\
         Persistent=true\n\
         \n\
         [Install]\n\
         WantedBy=timers.target\n"
    )
}

/// A word of an `ExecStart=` line: in quotes where it has to be, with no variable and no specifier in it.
fn systemd_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ',' | '@' | ':');
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from('"');
    for c in word.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '%' | '$' => quoted.extend([c, c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

fn agent(sweep: &str, drain: &str, flags: &[String]) -> String {
    let program = |program: &str| {
        let words = std::iter::once(program).chain(flags.iter().map(String::as_str));
        words.map(quoted).collect::<Vec<_>>().join(" ")
    };
    let command = format!("{} sweep --quiet --timer </dev/null; {} drain --timer", program(sweep), program(drain));
    let seconds = EVERY_MINUTES * 60;
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!-- {SEAL} -->\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n\
         <dict>\n\
         \t<key>Label</key>\n\
         \t<string>{NAME}</string>\n\
         \t<key>ProgramArguments</key>\n\
         \t<array>\n\
         \t\t<string>/bin/sh</string>\n\
         \t\t<string>-c</string>\n\
         \t\t<string>{}</string>\n\
         \t</array>\n\
         \t<key>StartInterval</key>\n\
         \t<integer>{seconds}</integer>\n\
         \t<key>RunAtLoad</key>\n\
         \t<true/>\n\
         \t<key>ProcessType</key>\n\
         \t<string>Background</string>\n\
         </dict>\n\
         </plist>\n",
        xml(&command)
    )
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use layer1_prebackup::config::places::PlaceFlags;

    fn site(home: &str) -> Site {
        let flags = PlaceFlags { backup_dir: Some("/it's 100 %/$b".into()), ..PlaceFlags::default() };
        Site::resolve(&flags, vec![("HOME".into(), home.into()), ("PATH".into(), "/nowhere".into())]).unwrap()
    }

    #[test]
    fn the_units_of_systemd() {
        let timer = Timer::of(&site("/h"), Manager::Systemd).unwrap();
        insta::assert_snapshot!(timer.preview(), @r#"
        would write /h/.config/systemd/user/threefold.service:
          # Written by Threefold; its uninstall removes it.
          [Unit]
          Description=Threefold saves the Claude Code conversations that no hook has reported

          [Service]
          Type=oneshot
          ExecStart=-/h/.claude/hooks/layer1-prebackup --backup-dir "/it's 100 %%/$$b" sweep --quiet --timer
          ExecStart=-/h/.claude/hooks/layer2-save-client --backup-dir "/it's 100 %%/$$b" drain --timer
          Nice=10
          IOSchedulingClass=idle
        would write /h/.config/systemd/user/threefold.timer:
          # Written by Threefold; its uninstall removes it.
          [Unit]
          Description=Threefold, every ten minutes

          [Timer]
          OnCalendar=*:0/10
          RandomizedDelaySec=30
          Persistent=true

          [Install]
          WantedBy=timers.target
        would start the timer:
          systemctl --user daemon-reload
          systemctl --user enable --now threefold.timer
        "#);
    }

    #[test]
    fn a_program_at_an_odd_path_is_an_argument_of_the_shell() {
        let text = service("/it's 5 $b%/one", "/plain/two", &[]);
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("ExecStart")).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        ExecStart=-/bin/sh -c "exec \"$$@\"" sh "/it's 5 $$b%%/one" sweep --quiet --timer
        ExecStart=-/plain/two drain --timer
        "#);
    }

    #[test]
    fn the_agent_of_launchd() {
        let timer = Timer::of(&site("/h & co"), Manager::Launchd).unwrap();
        let command = timer.units[0].text.lines().nth(11).unwrap().trim();
        insta::assert_snapshot!(command, @r"<string>'/h &amp; co/.claude/hooks/layer1-prebackup' '--backup-dir' '/it'\''s 100 %/$b' sweep --quiet --timer &lt;/dev/null; '/h &amp; co/.claude/hooks/layer2-save-client' '--backup-dir' '/it'\''s 100 %/$b' drain --timer</string>");
        assert_eq!(timer.units[0].path, Path::new("/h & co/Library/LaunchAgents/threefold.plist"));
        assert!(timer.in_shell(&timer.start()).starts_with("  launchctl bootstrap gui/"));
    }

    #[test]
    fn a_timer_of_another_installation_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        for manager in [Manager::Systemd, Manager::Launchd] {
            let timer = || Timer::of(&site(home), manager).unwrap();
            assert!(!timer().is_set());
            timer().install(&site(home)).unwrap();
            assert!(timer().is_set() && timer().preview().is_empty());
            let first = &timer().units[0];
            std::fs::write(&first.path, first.text.replace(home, "/another")).unwrap();
            assert!(!timer().is_set() && timer().refuse_anothers().is_err());
            std::fs::write(&first.path, first.text.replace("100", "99")).unwrap();
            assert!(timer().is_set() && timer().refuse_anothers().is_ok() && !timer().preview().is_empty());
            timer().uninstall(&site(home)).unwrap();
            assert!(!timer().is_set());
        }
        assert!(!dir.path().join(".config/systemd").exists());
    }
}
