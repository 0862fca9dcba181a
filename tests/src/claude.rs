//! The real client in a scratch home: printing, and in a terminal that tmux plays.
//!
//! It sees a cleared environment, a dummy key, and as its API the [`MessagesApi`] on the loopback
//! interface. Nothing of it is part of this repository.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::messages_api::MessagesApi;
use crate::processes::{self, Process};
use crate::run::{Outcome, Run};
use crate::scratch::Scratch;
use crate::stores;
use crate::tree;
use crate::waiting;

/// How long anything that the client does may take on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);
/// How long it takes at most to show that it heard a key, and how often one is pressed.
const HEARD_LIMIT: Duration = Duration::from_secs(8);
const PRESSES: u32 = 3;
/// A key that the client's settings call approved.
const KEY: &str = "sk-ant-dummy";
/// What the client shows when it takes input.
const PROMPT: &str = "❯";
/// What the client shows while it works.
const BUSY: &str = "esc to interrupt";
/// What the client or a program of ours would say of a hook that failed. That a hook of a compaction
/// "completed successfully" is what the client says of every such hook.
const COMPLAINTS: [&str; 5] = ["hook error", "hook failed", "] failed", "hook said", "[session-save]"];
const COLUMNS: &str = "160";
const LINES: &str = "50";

/// The client, its home and its API.
pub struct Client {
    /// The home, where the hooks are installed.
    pub scratch: Scratch,
    /// What the client takes for the Messages API.
    pub api: MessagesApi,
    folder: PathBuf,
    terminals: AtomicU64,
}

/// A client in a terminal. Dropped, the terminal is closed.
pub struct Terminal<'a> {
    client: &'a Client,
    socket: PathBuf,
    last_screen: RefCell<String>,
    complaints: RefCell<BTreeSet<String>>,
}

impl Client {
    /// A home in which the client asks nothing before its first prompt. `folder` holds `claude`.
    pub fn new(folder: &Path) -> Client {
        let client = Client {
            scratch: Scratch::new(),
            api: MessagesApi::start(),
            folder: folder.to_owned(),
            terminals: AtomicU64::new(0),
        };
        let project = client.scratch.project_dir();
        let trusted = json!({
            "hasTrustDialogAccepted": true, "hasCompletedProjectOnboarding": true,
            "projectOnboardingSeenCount": 3, "allowedTools": [],
        });
        let state = json!({
            "hasCompletedOnboarding": true, "theme": "dark", "lastOnboardingVersion": "2.1.330",
            // It offers another mode, with the sign of a prompt.
            "hasSeenAutoDefaultNudge": true,
            "customApiKeyResponses": {"approved": [KEY], "rejected": []},
            "projects": {project.to_str().expect("a scratch path is UTF-8"): trusted},
        });
        fs::write(client.scratch.home().join(".claude.json"), state.to_string()).expect("write .claude.json");
        let settings = json!({"permissions": {
            "defaultMode": "default", "allow": ["Agent", "Bash", "Edit", "Workflow", "Write", "mcp__session-manager"],
        }});
        fs::create_dir_all(client.scratch.claude_dir()).expect("make the client's directory");
        fs::write(client.scratch.claude_dir().join("settings.json"), settings.to_string()).expect("write settings");
        client
    }

    /// The whole environment of the client, and of an installer that is to find it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.to_str().expect("a scratch path is UTF-8").to_owned();
        let mut environment = vec![
            ("HOME", text(self.scratch.home())),
            ("PATH", format!("/usr/bin:/bin:{}", self.folder.display())),
            ("TMPDIR", text(self.scratch.tmp())),
            ("CLAUDE_CODE_TMPDIR", text(self.scratch.tmp())),
            ("ANTHROPIC_BASE_URL", self.api.url()),
        ];
        let fixed = [
            ("TERM", "xterm-256color"),
            ("LANG", "C.UTF-8"),
            ("SHELL", "/bin/bash"),
            ("ANTHROPIC_API_KEY", KEY),
            ("DISABLE_TELEMETRY", "1"),
            ("DISABLE_ERROR_REPORTING", "1"),
            ("DISABLE_AUTOUPDATER", "1"),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ];
        environment.extend(fixed.map(|(name, value)| (name, value.to_owned())));
        environment
    }

    /// A run of the client, without a terminal.
    pub fn run(&self, args: &[&str]) -> Run {
        let run = Run::new(self.folder.join("claude")).args(args).current_dir(&self.scratch.project_dir());
        self.environment().into_iter().fold(run, |run, (name, value)| run.env(name, value)).limit(LIMIT)
    }

    /// `claude -p PROMPT` with more arguments; it has succeeded.
    #[track_caller]
    pub fn print(&self, args: &[&str], prompt: &str) -> Outcome {
        self.run(&[&["-p", prompt], args].concat()).output().ok()
    }

    /// The client in a terminal, ready for a prompt.
    #[track_caller]
    pub fn open(&self, args: &[&str]) -> Terminal<'_> {
        self.open_with(&[], args)
    }

    /// [`Client::open`] with more of an environment.
    #[track_caller]
    pub fn open_with(&self, more: &[(&str, &str)], args: &[&str]) -> Terminal<'_> {
        // Each has a server of its own: the one before may not quite have ended.
        let socket = self.scratch.beside(&format!("tmux-{}", self.terminals.fetch_add(1, Ordering::Relaxed)));
        let terminal =
            Terminal { client: self, socket, last_screen: RefCell::default(), complaints: RefCell::default() };
        let mut tmux = terminal.tmux(&["new-session", "-d", "-x", COLUMNS, "-y", LINES, "-c"]);
        tmux.arg(self.scratch.project_dir()).args(["--", "/usr/bin/env", "-i"]);
        tmux.args(self.environment().into_iter().map(|(name, value)| format!("{name}={value}")));
        tmux.args(more.iter().map(|(name, value)| format!("{name}={value}")));
        tmux.arg(self.folder.join("claude")).args(args);
        assert!(tmux.status().expect("start tmux").success(), "open a terminal");
        terminal.await_screen(PROMPT);
        terminal
    }

    /// All transcripts that stand in the client's directory.
    pub fn transcripts(&self) -> BTreeSet<PathBuf> {
        let projects = self.scratch.claude_dir().join("projects");
        let files = tree::all(&projects).into_keys().filter(|path| path.components().count() == 2);
        files.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).map(|path| projects.join(path)).collect()
    }

    /// The transcript of a session, if it exists.
    pub fn find(&self, id: &str) -> Option<PathBuf> {
        self.transcripts().into_iter().find(|path| path.file_stem().is_some_and(|stem| stem == id))
    }

    /// The transcript of a session; it exists.
    #[track_caller]
    pub fn transcript(&self, id: &str) -> PathBuf {
        self.find(id).unwrap_or_else(|| panic!("there is no transcript of {id}"))
    }

    /// A program of ours: the installed one; where the plugin is all that is installed, the one that was built.
    pub fn program(&self, name: &str) -> Run {
        let installed = self.scratch.claude_dir().join("hooks").join(name);
        self.scratch.at_home(Run::new(if installed.exists() { installed } else { self.scratch.program(name) }))
    }

    /// Waits until the client and everything that it or a hook has started has ended.
    #[track_caller]
    pub fn await_rest(&self) {
        self.scratch.await_no_process(LIMIT);
    }

    /// Waits for the end of everything, then asserts that every transcript is in both stores, byte
    /// for byte, side files and all. Gives how many there are.
    #[track_caller]
    pub fn assert_all_saved(&self) -> usize {
        self.await_rest();
        let differences = self.differences();
        assert!(differences.is_empty(), "{}", differences.join("; "));
        self.transcripts().len()
    }

    /// What is not in both stores as it stands in the client's directory.
    pub fn differences(&self) -> Vec<String> {
        let project = self.scratch.project_dir();
        let project = project.file_name().and_then(|name| name.to_str()).expect("a project has a name");
        let transcripts = self.transcripts();
        let pairs = [self.scratch.layer1_store(), self.scratch.layer3_store()]
            .into_iter()
            .flat_map(|store| transcripts.iter().map(move |transcript| (store.clone(), transcript)));
        // A session of a worktree is of another project's folder.
        let elsewhere = |store: &Path, transcript: &Path| {
            let folders = fs::read_dir(store).into_iter().flatten().flatten();
            let mut names = folders.map(|folder| folder.file_name().to_string_lossy().into_owned());
            names.any(|name| stores::difference(store, &name, transcript).is_none())
        };
        let differing = pairs.filter_map(|(store, transcript)| {
            stores::difference(&store, project, transcript).filter(|_| !elsewhere(&store, transcript))
        });
        differing.collect()
    }

    /// The client's own processes: not hooks, not servers.
    pub fn processes(&self) -> Vec<Process> {
        let program = self.folder.join("claude").to_string_lossy().into_owned();
        let all = processes::with_home(&self.scratch.home()).into_iter();
        all.filter(|process| process.command.starts_with(&program)).collect()
    }
}

impl Terminal<'_> {
    /// Types a prompt or a command and sends it. A client that is drawing something else may miss keys: they are pressed
    /// again, which nothing hears that has heard them.
    #[track_caller]
    pub fn enter(&self, text: &str) {
        // The client takes keys that come in one read for a paste, so Return must come after.
        let last = text.rsplit(' ').next().unwrap_or(text);
        self.press_until(&["-l", text], || self.screen().contains(last));
        self.await_screen(last);
        let begins: String = text.chars().take(20).collect();
        let is_typed = || {
            let screen = self.visible();
            screen.lines().rfind(|line| line.contains(PROMPT)).is_some_and(|line| line.contains(&begins))
        };
        self.press_until(&["Enter"], || !is_typed());
    }

    /// What comes of it is for others to judge.
    #[track_caller]
    fn press_until(&self, keys: &[&str], mut is_heard: impl FnMut() -> bool) {
        for _ in 0..PRESSES {
            self.press(keys);
            if waiting::holds_within(HEARD_LIMIT, &mut is_heard) {
                return;
            }
        }
    }

    /// Presses keys by tmux's names.
    #[track_caller]
    pub fn press(&self, keys: &[&str]) {
        let sent = self.tmux(&[&["send-keys"], keys].concat()).status().expect("start tmux");
        assert!(sent.success(), "press {keys:?}");
    }

    /// What the terminal shows, scrolled-off lines included; empty when it is closed.
    pub fn screen(&self) -> String {
        let captured = self.tmux(&["capture-pane", "-p", "-S", "-"]).output().expect("start tmux");
        let screen = String::from_utf8_lossy(&captured.stdout).into_owned();
        let complains = |line: &&str| {
            let line = line.to_lowercase();
            COMPLAINTS.iter().any(|words| line.contains(words))
        };
        self.complaints.borrow_mut().extend(screen.lines().filter(complains).map(str::to_owned));
        if !screen.trim().is_empty() {
            self.last_screen.replace(screen.clone());
        }
        screen
    }

    /// What the terminal shows just now.
    pub fn visible(&self) -> String {
        let captured = self.tmux(&["capture-pane", "-p"]).output().expect("start tmux");
        String::from_utf8_lossy(&captured.stdout).into_owned()
    }

    /// Waits until the client works on nothing.
    #[track_caller]
    pub fn await_idle(&self) {
        let is_idle = |screen: &str| screen.contains(PROMPT) && !screen.contains(BUSY);
        self.await_what("an idle client", || self.client.api.is_idle() && is_idle(&self.visible()));
    }

    /// Waits until the screen shows this.
    #[track_caller]
    pub fn await_screen(&self, text: &str) {
        self.await_what(&format!("{text:?} on the screen"), || self.screen().contains(text));
    }

    /// Waits for anything while watching the screen.
    #[track_caller]
    pub fn await_what(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let holds = waiting::holds_within(LIMIT, || {
            self.screen();
            condition()
        });
        assert!(holds, "{what}: not within {LIMIT:?}; the screen showed\n{}", self.last_screen.borrow().trim_end());
    }

    /// Waits until the client has ended by itself; gives how long that took.
    #[track_caller]
    pub fn await_end(&self) -> Duration {
        let started = Instant::now();
        self.await_what("the client's end", || self.client.processes().is_empty());
        started.elapsed()
    }

    /// Closes the terminal under the client.
    pub fn close(&self) {
        // It may be closed already.
        let _ = self.tmux(&["kill-server"]).output();
    }

    /// Lines of the screen that complain of a hook.
    pub fn complaints(&self) -> Vec<String> {
        self.complaints.borrow().iter().cloned().collect()
    }

    fn tmux(&self, args: &[&str]) -> Command {
        let mut tmux = Command::new("/usr/bin/tmux");
        tmux.env_clear().env("LANG", "C.UTF-8").env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        tmux.env("HOME", self.client.scratch.tmp()).arg("-f").arg("/dev/null").arg("-S").arg(&self.socket).args(args);
        tmux
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        self.close();
    }
}
