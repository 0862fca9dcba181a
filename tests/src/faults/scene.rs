//! A workload laid out in a scratch home: its starting state, how it is run, how it is recovered,
//! and what must hold.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::order::Model;
use super::trace::{self, Event};
use crate::run::{Outcome, Run};
use crate::scratch::Scratch;
use crate::tree;

/// Longest run under faults: longer than any of the programs gives itself here.
const LIMIT: Duration = Duration::from_secs(15);

/// A program's run.
#[derive(Debug, Clone)]
pub struct Step {
    /// Which program.
    pub binary: &'static str,
    /// Its arguments.
    pub args: Vec<String>,
    /// What it reads from stdin.
    pub stdin: Vec<u8>,
}

/// How a run tells that not everything went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manners {
    /// A hook that passes its event on: exit 0, stdout is stdin; a failure is a line on stderr.
    PassesOn,
    /// A hook that prints nothing: exit 0; a failure is a line on stderr.
    Silent,
    /// A command: a failure is exit code 1.
    Command,
}

/// Content that was acknowledged before the fault.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    /// The paths at which it may stand, as the beginning of a file; `*` stands for a generation's number.
    pub paths: Vec<PathBuf>,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What a workload's maker lays out.
pub struct Scene {
    scratch: Scratch,
    /// What is run with faults.
    pub step: Step,
    /// How it reports.
    pub manners: Manners,
    /// What is run afterwards without faults.
    pub recovery: Vec<Step>,
    /// Must exit 0 after the recovery.
    pub verify: Vec<Step>,
    /// Store and transcript, project included, that must be equal after the recovery.
    pub copies: Vec<(PathBuf, PathBuf)>,
    /// What was acknowledged before.
    pub acknowledged: Vec<Acknowledged>,
    /// Files that must stay as they are, byte for byte.
    pub untouched: Vec<PathBuf>,
    /// Directories that the program writes: laid back before each point.
    pub state: Vec<PathBuf>,
    /// Further things that must hold: after the fault, and after the recovery.
    pub checks: Vec<Check>,
    /// Questions, and their answers after a clean run: the same after a recovery.
    pub answers: Vec<(Step, Vec<u8>)>,
    /// Whether it starts other programs, which are not to be traced.
    pub has_peers: bool,
    /// Whether a second run writes too: a restore gives its files a new time.
    pub writes_again: bool,
    /// Variables of every run, beside those of the scratch home.
    pub env: Vec<(&'static str, &'static str)>,
    sources: Vec<(PathBuf, Stamp)>,
}

/// A workload's own oracle.
#[derive(Clone, Copy)]
pub struct Check {
    /// Whether it is asked after the fault too, or after the recovery alone.
    pub when: When,
    /// What is wrong, if anything is. `silent` says that the run reported nothing.
    pub ask: fn(&Scene, silent: bool) -> Option<String>,
}

/// When a [`Check`] is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// After the run with the fault.
    Faulted,
    /// After the recovery.
    Recovered,
}

/// What changes when anybody writes a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

/// A run under strace.
pub struct Traced {
    /// The program's outcome.
    pub outcome: Outcome,
    /// What strace wrote.
    pub text: String,
}

impl Traced {
    /// What happened, with the end of the program, of which strace says nothing when it is quiet.
    pub fn events(&self) -> Vec<Event> {
        let mut events = trace::parse(&self.text);
        let main = events.iter().find_map(|event| if let Event::Call(call) = event { Some(call.pid) } else { None });
        events.extend(main.zip(self.outcome.code).map(|(main, code)| Event::Exited(main, code)));
        events
    }
}

impl Scene {
    /// A scene in `scratch`, where the sources and the starting state are laid out already.
    pub fn new(scratch: Scratch, step: Step, manners: Manners, state: &[PathBuf]) -> Scene {
        let sources = stamps(&scratch.claude_dir());
        let scene = Scene {
            recovery: vec![step.clone()],
            step,
            manners,
            verify: Vec::new(),
            copies: Vec::new(),
            acknowledged: Vec::new(),
            untouched: Vec::new(),
            state: state.to_vec(),
            checks: Vec::new(),
            answers: Vec::new(),
            has_peers: false,
            writes_again: false,
            env: Vec::new(),
            sources,
            scratch,
        };
        for (index, dir) in scene.state.iter().enumerate() {
            copy_tree(dir, &scene.kept(index));
        }
        scene
    }

    /// The scratch home.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The folder that everything lies in.
    pub fn root(&self) -> &Path {
        self.scratch.root()
    }

    /// The program under test.
    pub fn binary(&self) -> PathBuf {
        self.scratch.program(self.step.binary)
    }

    /// Whether `path` is one of the sources.
    pub fn is_source(&self, path: &Path) -> bool {
        path.starts_with(self.scratch.claude_dir())
    }

    /// Takes down the answers to `questions` after a clean run.
    pub fn ask(&mut self, questions: Vec<Step>) {
        for step in &self.recovery {
            self.run(step).ok();
        }
        self.answers =
            questions.into_iter().map(|question| (question.clone(), self.run(&question).ok().stdout)).collect();
        self.reset();
    }

    /// The model of durability with all that lies here now, at rest.
    pub fn model(&self) -> Model {
        let root = self.root();
        Model::new(tree::all(root).into_keys().map(|path| root.join(path)).chain([root.to_owned()]))
    }

    /// Lays the starting state back, once nobody writes there any more.
    pub fn reset(&self) {
        if self.has_peers {
            self.scratch.await_no_process(LIMIT);
        }
        for (index, dir) in self.state.iter().enumerate() {
            remove_tree(dir);
            copy_tree(&self.kept(index), dir);
        }
    }

    /// The file as it was in the starting state.
    pub fn as_it_was(&self, path: &Path) -> Option<Vec<u8>> {
        let place = self.state.iter().position(|dir| path.starts_with(dir))?;
        fs::read(self.kept(place).join(path.strip_prefix(&self.state[place]).ok()?)).ok()
    }

    /// The first source that somebody wrote to, made or removed.
    pub fn touched_source(&self) -> Option<String> {
        let now = stamps(&self.scratch.claude_dir());
        (now != self.sources).then(|| format!("the sources were {:?} and are {now:?}", self.sources))
    }

    /// Runs a step without faults.
    pub fn run(&self, step: &Step) -> Outcome {
        let run = self.scratch.run(step.binary, &step.args.iter().map(String::as_str).collect::<Vec<_>>());
        self.in_its_environment(run).stdin(step.stdin.clone()).limit(LIMIT).output()
    }

    /// Runs a step below strace. Children that become other programs are not traced.
    pub fn traced_step(&self, step: &Step, options: &[String], calls: &str) -> Traced {
        let trace = self.scratch.tmp().join("trace");
        let run = self.scratch.at_home(Run::new("/usr/bin/strace")).args(["-f", "-qq", "-y", "-o"]);
        let run = run.arg(&trace).args(if self.has_peers { &["-b", "execve"][..] } else { &[] });
        let run = run.args(["-e", &format!("trace={calls}"), "-e", "signal=none"]).args(options).arg("--");
        let run = run.arg(self.scratch.program(step.binary)).args(&step.args).stdin(step.stdin.clone());
        let outcome = self.in_its_environment(run).limit(LIMIT).output();
        let text = String::from_utf8_lossy(&fs::read(&trace).unwrap_or_default()).into_owned();
        Traced { outcome, text }
    }

    fn in_its_environment(&self, run: Run) -> Run {
        self.env.iter().fold(run, |run, (name, value)| run.env(name, value))
    }

    fn kept(&self, index: usize) -> PathBuf {
        self.scratch.beside("before").join(index.to_string())
    }
}

fn stamps(dir: &Path) -> Vec<(PathBuf, Stamp)> {
    let mut stamps = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                pending.push(entry.path());
            }
            let stamp = Stamp {
                inode: metadata.ino(),
                bytes: metadata.len(),
                mtime: (metadata.mtime(), metadata.mtime_nsec()),
                ctime: (metadata.ctime(), metadata.ctime_nsec()),
            };
            stamps.push((entry.path(), stamp));
        }
    }
    stamps.sort_by(|a, b| a.0.cmp(&b.0));
    stamps
}

/// Plain copies; an absent tree stays absent.
pub(super) fn copy_tree(from: &Path, to: &Path) {
    let Ok(entries) = fs::read_dir(from) else { return };
    fs::create_dir_all(to).expect("make a directory");
    for entry in entries {
        let entry = entry.expect("read a directory");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("look at an entry").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy a file");
        }
    }
    let mode = fs::metadata(from).expect("look at a directory").permissions().mode();
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).expect("set a mode");
}

/// Removes a tree, if it is there.
pub(super) fn remove_tree(dir: &Path) {
    if let Err(error) = fs::remove_dir_all(dir) {
        assert!(error.kind() == std::io::ErrorKind::NotFound, "remove {}: {error}", dir.display());
    }
}
