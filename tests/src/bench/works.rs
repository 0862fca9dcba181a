//! The workloads.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::budgets::{Budget, Unit};
use super::contest::{Contestant, Entry, race};
use super::corpus::{self, Corpus, Session, Shape};
use super::meter::{self, Job};
use super::old_chain::OldChain;
use super::peers::{Peers, Repository};
use super::report::Row;
use crate::binaries;
use crate::transcripts;

/// Ours, in the table.
pub const OURS: &str = "threefold";
/// The old chain, in the table.
pub const OLD: &str = "old chain";

const MB: u64 = 1_000_000;
const DELTA_BYTES: usize = 100_000;
/// Where what earlier rounds left waits for the end.
const ASIDE: &str = "aside";

/// What is run, and with what.
#[derive(Debug)]
pub struct Bench {
    /// On a real disk; everything is written below it.
    pub folder: PathBuf,
    /// `PATH` of every program.
    pub path: String,
    /// The chain that is replaced.
    pub old_chain: Option<OldChain>,
    /// Others.
    pub peers: Peers,
    /// Fewer rounds, a smaller corpus, nothing of 1 GB.
    pub quick: bool,
    /// Only rows whose name holds one of these; all if there are none.
    pub only: Vec<String>,
}

/// Runs all that is wanted; each row is handed on as soon as it is there.
pub fn run(bench: &Bench, tell: &mut dyn FnMut(Row)) -> io::Result<()> {
    let sizes: &[u64] = if bench.quick { &[1, 10, 100] } else { &[1, 10, 100, 1000] };
    bench.per_turn("per turn", false, sizes, tell)?;
    bench.per_turn("per turn, rested", true, sizes, tell)?;
    for &size in sizes {
        bench.copies(size, tell)?;
    }
    bench.chains(tell)?;
    bench.corpus_works(tell)?;
    bench.starts(tell)
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only.as_str()))
    }

    fn wants_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.wants(name))
    }

    pub(super) fn rounds(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// A job in the home of one contestant. All of them see the same configuration directory.
    pub(super) fn at_home(&self, who: &str, job: Job) -> Job {
        let home = self.home(who).display().to_string();
        let claude = self.claude_dir().display().to_string();
        job.env("HOME", home).env("PATH", &self.path).env("LANG", "C.UTF-8").env("CLAUDE_CONFIG_DIR", claude)
    }

    fn home(&self, who: &str) -> PathBuf {
        self.folder.join("homes").join(who.replace(' ', "-"))
    }

    pub(super) fn claude_dir(&self) -> PathBuf {
        self.folder.join("claude")
    }

    /// An empty home, whose `.claude` is the one that all share.
    pub(super) fn new_home(&self, who: &str) -> io::Result<()> {
        let home = self.home(who);
        remove(&home)?;
        fs::create_dir_all(&home)?;
        std::os::unix::fs::symlink(self.claude_dir(), home.join(".claude"))
    }

    /// Lays aside what a round has left, and lets go of the memory that caches it. Where thousands of files were
    /// removed just now, a file system may look long for numbers to give to new ones; and a virtual machine pays
    /// for memory that it never used before. Neither is a part of what is measured.
    fn lay_aside(&self, path: &Path) -> io::Result<()> {
        if !path.exists() {
            return Ok(());
        }
        let aside = self.folder.join(ASIDE);
        fs::create_dir_all(&aside)?;
        let aside = aside.join(fs::read_dir(&aside)?.count().to_string());
        fs::rename(path, &aside)?;
        forget_all(&aside)
    }

    pub(super) fn clear(&self) -> io::Result<()> {
        for folder in ["homes", "claude", "repository", "repository.cache", "copies", ASIDE] {
            remove(&self.folder.join(folder))?;
        }
        fs::create_dir_all(self.claude_dir())?;
        fs::create_dir_all(self.folder.join("copies"))
    }

    /// A transcript of that size and the session that goes on with it.
    fn transcript(&self, bytes: u64) -> io::Result<(PathBuf, RefCell<Session>)> {
        let mut session = Session::new(bytes, 1);
        let folder = self.claude_dir().join("projects").join(session.cwd().replace('/', "-"));
        let path = folder.join(format!("{}.jsonl", session.id));
        corpus::write_session(&path, &mut session, bytes)?;
        Ok((path, RefCell::new(session)))
    }

    /// The same delta on transcripts of all sizes, in turn and with nobody else at the disk: whether it
    /// depends on the size. Each contestant is a size. `rested`: long after the last event, when there is nothing
    /// left that a killed run might have written a moment ago and not synced.
    fn per_turn(&self, row: &str, rested: bool, sizes: &[u64], tell: &mut dyn FnMut(Row)) -> io::Result<()> {
        if !self.wants(row) {
            return Ok(());
        }
        self.clear()?;
        self.new_home(OURS)?;
        let name = |size: u64| ["1 MB", "10 MB", "100 MB", "1 GB"][size.ilog10() as usize];
        let made: Vec<_> = sizes.iter().map(|size| self.transcript(size * MB)).collect::<io::Result<_>>()?;
        let contestants: Vec<_> = sizes
            .iter()
            .zip(&made)
            .map(|(size, (transcript, session))| {
                let event = transcripts::event(
                    "UserPromptSubmit",
                    transcript,
                    serde_json::json!({"prompt": "go on", "cwd": session.borrow().cwd()}),
                );
                let job = self.at_home(OURS, Job::shell(&turn()).stdin(format!("{event}\n")));
                let copy = copy_in(&self.home(OURS).join(".claude-backup-sessions"), &project_of(session), transcript);
                Contestant::new(name(*size), move || job.clone())
                    .done_when(move || same_length(transcript, &copy))
                    .before(move || if rested { rest(&self.home(OURS)) } else { Ok(()) })
            })
            .collect();
        // The first copies are no deltas.
        race(1, &self.folder, &|| Ok(()), &contestants)?;
        let grow_all = || made.iter().try_for_each(|(transcript, session)| grow(transcript, session));
        let entries = race(self.rounds(21, 11), &self.folder, &grow_all, &contestants)?;
        let (first, last) = (&entries[0], &entries[entries.len() - 1]);
        let ratio = last.exit_s.median / first.exit_s.median;
        let budget = Budget::new(format!("time at {}, of that at {}", last.name, first.name), ratio, 1.5, Unit::Times);
        tell(Row::new(row, entries, vec![budget]));
        self.clear()
    }

    /// First copies, deltas and events with nothing new, of a transcript of `size` MB, in layer 1 alone.
    fn copies(&self, size: u64, tell: &mut dyn FnMut(Row)) -> io::Result<()> {
        let [first, delta, unchanged] =
            ["first copy", "delta", "unchanged"].map(|work| format!("{work} {}", size_name(size)));
        if !self.wants_any(&[&first, &delta, &unchanged]) {
            return Ok(());
        }
        self.clear()?;
        let (transcript, session) = self.transcript(size * MB)?;
        [OURS, OLD, "cp"].iter().try_for_each(|who| self.new_home(who))?;
        let repository =
            self.peers.restic.as_ref().map(|restic| Repository::new(restic, self.folder.join("repository")));
        let project = project_of(&session);
        let copy = |who: &str| copy_in(&self.home(who).join(".claude-backup-sessions"), &project, &transcript);
        let (our_copy, old_copy) = (copy(OURS), copy(OLD));
        let cp_copy = self.folder.join("copies/copy.jsonl");
        let event = format!(
            "{}\n",
            transcripts::event(
                "UserPromptSubmit",
                &transcript,
                serde_json::json!({"prompt": "go on", "cwd": session.borrow().cwd()})
            )
        );
        let rounds = match size {
            1..=10 => self.rounds(15, 7),
            100 => self.rounds(7, 3),
            _ => 3,
        };
        let (event, cp_copy) = (&event, &cp_copy);
        let contestants = |fresh: bool| {
            let mut all = vec![
                Contestant::new(OURS, || self.at_home(OURS, Job::shell(&turn())).stdin(event.clone()))
                    .done_when(|| same_length(&transcript, &our_copy))
                    .before(move || if fresh { self.new_home(OURS) } else { Ok(()) }),
            ];
            if let Some(old_chain) = &self.old_chain {
                let hook = format!("{} >/dev/null", old_chain.hook());
                all.push(
                    Contestant::new(OLD, move || self.at_home(OLD, Job::shell(&hook)).stdin(event.clone()))
                        .done_when(|| same_length(&transcript, &old_copy))
                        .before(move || if fresh { self.new_home(OLD) } else { Ok(()) }),
                );
            }
            all.push(
                Contestant::new("cp", || {
                    self.at_home(
                        "cp",
                        Job::new("/bin/cp").args([&transcript, cp_copy].map(|path| path.display().to_string())),
                    )
                })
                .done_when(|| same_length(&transcript, cp_copy))
                .before(move || if fresh { remove(cp_copy) } else { Ok(()) }),
            );
            if let Some(repository) = &repository {
                all.push(Contestant::new("restic", || repository.backup(&transcript).env("PATH", &self.path)).before(
                    move || {
                        if fresh {
                            remove(&self.folder.join("repository"))?;
                            remove(&self.folder.join("repository.cache"))?;
                            repository.begin().output();
                        }
                        Ok(())
                    },
                ));
            }
            all
        };
        tell(Row::new(&first, race(rounds, &self.folder, &|| Ok(()), &contestants(true))?, Vec::new()));
        let entries = race(rounds.max(5), &self.folder, &|| grow(&transcript, &session), &contestants(false))?;
        let mut budgets = vec![];
        let (ours, old) = (exit_of(&entries, OURS), exit_of(&entries, OLD));
        if size == 10 {
            budgets.push(Budget::new("time, of the old hook's", ours / old, 0.1, Unit::Times));
        }
        tell(Row::new(&delta, entries, budgets));
        let entries = race(rounds, &self.folder, &|| Ok(()), &contestants(false))?;
        tell(Row::new(&unchanged, entries, Vec::new()));
        self.clear()
    }

    /// SessionEnd with a delta, and the first save of a large transcript: all three layers.
    fn chains(&self, tell: &mut dyn FnMut(Row)) -> io::Result<()> {
        if self.wants("session end 10 MB") {
            let entries = self.chain(10, false, self.rounds(11, 7))?;
            let (ours, old) = (end_of(&entries, OURS), end_of(&entries, OLD));
            let budgets = vec![
                Budget::new("time, of the old chain's", ours / old, 0.1, Unit::Times),
                Budget::new("time", ours, 0.150, Unit::Seconds),
            ];
            tell(Row::new("session end 10 MB", entries, budgets));
        }
        if self.wants("first save 100 MB") {
            let entries = self.chain(100, true, self.rounds(5, 3))?;
            let (ours, old) = (end_of(&entries, OURS), end_of(&entries, OLD));
            let memory = entry(&entries, OURS).map_or(f64::NAN, |entry| entry.rss_bytes as f64);
            let budgets = vec![
                Budget::new("time, of the old chain's", ours / old, 0.5, Unit::Times),
                Budget::new("memory", memory, 64e6, Unit::Bytes),
            ];
            tell(Row::new("first save 100 MB", entries, budgets));
        }
        if !self.quick && self.wants("first save 1 GB") {
            // The old server reads it whole and cannot.
            let entries = self.chain_of(1000, true, 1, false)?;
            let memory = entry(&entries, OURS).map_or(f64::NAN, |entry| entry.rss_bytes as f64);
            tell(Row::new("first save 1 GB", entries, vec![Budget::new("memory", memory, 64e6, Unit::Bytes)]));
        }
        self.clear()
    }

    fn chain(&self, size: u64, fresh: bool, rounds: usize) -> io::Result<Vec<Entry>> {
        self.chain_of(size, fresh, rounds, true)
    }

    fn chain_of(&self, size: u64, fresh: bool, rounds: usize, with_old: bool) -> io::Result<Vec<Entry>> {
        self.clear()?;
        let (transcript, session) = self.transcript(size * MB)?;
        [OURS, OLD].iter().try_for_each(|who| self.new_home(who))?;
        let project = project_of(&session);
        let cwd = session.borrow().cwd();
        let event = format!(
            "{}\n",
            transcripts::event(
                "SessionEnd",
                &transcript,
                serde_json::json!({"reason": "prompt_input_exit", "cwd": cwd})
            )
        );
        let copy = |who: &str| copy_in(&self.home(who).join(".claude-backup"), &project, &transcript);
        let (our_copy, old_copy) = (copy(OURS), copy(OLD));
        let outbox = self.home(OURS).join(".claude-backup-sessions/.outbox");
        let mut contestants = vec![
            Contestant::new(OURS, || self.at_home(OURS, Job::shell(&chain())).stdin(event.clone()))
                .done_when(|| same_length(&transcript, &our_copy) && has_no_job(&outbox))
                .before(move || if fresh { self.new_home(OURS) } else { rest(&self.home(OURS)) }),
        ];
        if let Some(old_chain) = self.old_chain.as_ref().filter(|_| with_old) {
            let line = old_chain.chain();
            let event = event.clone();
            contestants.push(
                Contestant::new(OLD, move || {
                    self.at_home(OLD, Job::shell(&line)).env("OLD_CHAIN_MUST_SAVE", "1").stdin(event.clone())
                })
                .done_when(|| same_length(&transcript, &old_copy))
                .before(move || if fresh { self.new_home(OLD) } else { Ok(()) }),
            );
        }
        if !fresh {
            // Both have saved it once.
            contestants.iter().try_for_each(|contestant| (contestant.job)().measured().map(|_| ()))?;
        }
        let each_round = || if fresh { Ok(()) } else { grow(&transcript, &session) };
        race(rounds, &self.folder, &each_round, &contestants)
    }

    /// Import of a corpus, a line appended to one of its sessions, and searches over it.
    fn corpus_works(&self, tell: &mut dyn FnMut(Row)) -> io::Result<()> {
        let searches = ["common", "rare", "phrase", "substring"].map(|kind| format!("search {kind}, cold"));
        if !self.wants("import") && !self.wants("one line") && !searches.iter().any(|name| self.wants(name)) {
            return Ok(());
        }
        self.clear()?;
        let shape = if self.quick { Shape::QUICK } else { Shape::FULL };
        let corpus = corpus::lay_out(&self.claude_dir(), shape)?;
        self.import(&corpus, tell)?;
        if self.wants("one line") {
            self.one_line(&corpus, tell)?;
        }
        self.searches(tell)?;
        self.clear()
    }

    fn import(&self, corpus: &Corpus, tell: &mut dyn FnMut(Row)) -> io::Result<()> {
        let events = self.folder.join("copies/events.jsonl");
        let lines = corpus
            .transcripts
            .iter()
            .map(|path| transcripts::event("import", path, serde_json::json!({"cwd": cwd_of(path)})) + "\n");
        fs::write(&events, lines.collect::<String>())?;
        let job = |who: &'static str, job: Job| move || self.at_home(who, job.clone());
        let fresh = |who: &'static str| {
            move || {
                self.lay_aside(&self.home(who))?;
                self.new_home(who)
            }
        };
        let mut contestants = vec![
            Contestant::new(OURS, job(OURS, Job::new(binaries::folder().join(binaries::LAYER3)).args(["import"])))
                .before(fresh(OURS)),
        ];
        if let Some(old_chain) = &self.old_chain {
            let line = old_chain.client(&format!("--all '{}' 2>/dev/null", events.display()));
            contestants.push(Contestant::new(OLD, job(OLD, Job::shell(&line))).before(fresh(OLD)));
        }
        if let Some(vault) = &self.peers.claude_vault {
            contestants.push(
                Contestant::new("claude-vault", job("claude-vault", Job::new(vault).args(["import"])))
                    .before(fresh("claude-vault")),
            );
        }
        if let Some(claudex) = &self.peers.claudex {
            contestants.push(
                Contestant::new("claudex", job("claudex", Job::new(claudex).args(["index"]))).before(fresh("claudex")),
            );
        }
        if let Some(restic) = &self.peers.restic {
            let repository = std::rc::Rc::new(Repository::new(restic, self.folder.join("repository")));
            let projects = self.claude_dir().join("projects");
            let again = repository.clone();
            contestants.push(
                Contestant::new("restic", move || again.backup(&projects).env("PATH", &self.path)).before(move || {
                    self.lay_aside(&self.folder.join("repository"))?;
                    self.lay_aside(&self.folder.join("repository.cache"))?;
                    repository.begin().output();
                    Ok(())
                }),
            );
        }
        let rounds = if self.wants("import") { self.rounds(3, 2) } else { 0 };
        if rounds == 0 {
            // The searches need the stores that it makes.
            for contestant in contestants.iter().filter(|contestant| contestant.name != "restic") {
                (contestant.before)()?;
                (contestant.job)().measured()?;
            }
            return Ok(());
        }
        let entries = race(rounds, &self.folder, &|| Ok(()), &contestants)?;
        let part = corpus.bytes as f64 / Shape::FULL.bytes as f64;
        let ours = entry(&entries, OURS).expect("it took part");
        let index = length(&self.home(OURS).join(".claude-backup/sessions.db")) as f64;
        let budgets = vec![
            Budget::new(
                format!("CPU, for {:.0} MB", corpus.bytes as f64 / 1e6),
                ours.cpu_s.median,
                6.0 * part,
                Unit::Seconds,
            ),
            Budget::new("memory", ours.rss_bytes as f64, 100e6, Unit::Bytes),
            Budget::new("sessions.db, of the transcripts", 100.0 * index / corpus.bytes as f64, 20.0, Unit::Percent),
        ];
        tell(Row::new("import", entries, budgets));
        for (who, database) in [
            (OLD, ".claude-backup/sessions.db"),
            ("claude-vault", ".local/share/claude-vault/vault.db"),
            ("claudex", ".claudex/index.db"),
        ] {
            let bytes = length(&self.home(who).join(database));
            println!(
                "    {who}: {database} has {}, {:.1} % of the transcripts",
                Unit::Bytes.show(bytes as f64),
                100.0 * bytes as f64 / corpus.bytes as f64
            );
        }
        Ok(())
    }

    fn one_line(&self, corpus: &Corpus, tell: &mut dyn FnMut(Row)) -> io::Result<()> {
        // Of a usual size: the median of the sizes is a tenth of the largest.
        let transcript = &corpus.transcripts[corpus.transcripts.len() / 2];
        let id = transcript.file_stem().expect("a name").to_string_lossy().into_owned();
        let event =
            format!("{}\n", transcripts::event("Stop", transcript, serde_json::json!({"cwd": cwd_of(transcript)})));
        let turn = Cell::new(1000);
        let append = || {
            turn.set(turn.get() + 1);
            transcripts::append(
                transcript,
                transcripts::prompt_line(&id, turn.get(), "one line more, and then it is saved"),
            );
            Ok(())
        };
        let save = Job::new(binaries::folder().join(binaries::LAYER3)).args(["save"]).stdin(event.clone());
        let mut contestants = vec![Contestant::new(OURS, || self.at_home(OURS, save.clone()))];
        if let Some(old_chain) = &self.old_chain {
            let job = Job::shell(&old_chain.client("")).env("OLD_CHAIN_MUST_SAVE", "1").stdin(event);
            contestants.push(Contestant::new(OLD, move || self.at_home(OLD, job.clone())));
        }
        let entries = race(self.rounds(15, 7), &self.folder, &append, &contestants)?;
        tell(Row::new("one line", entries, Vec::new()));
        Ok(())
    }

    fn searches(&self, tell: &mut dyn FnMut(Row)) -> io::Result<()> {
        let phrase = format!("\"{}\"", corpus::PHRASE);
        let queries =
            [("common", corpus::COMMON), ("rare", corpus::RARE), ("phrase", &phrase), ("substring", corpus::SUBSTRING)];
        for (kind, query) in queries {
            for cold in [false, true] {
                let name = format!("search {kind}{}", if cold { ", cold" } else { "" });
                if self.wants(&name) {
                    tell(self.search(&name, query, cold)?);
                }
            }
        }
        Ok(())
    }

    fn search(&self, name: &str, query: &str, cold: bool) -> io::Result<Row> {
        let layer3 = binaries::folder().join(binaries::LAYER3);
        let forget = |who: &'static str, program: &Path| {
            let program = program.to_owned();
            move || if cold { forget_all(&self.home(who)).and_then(|()| meter::forget(&program)) } else { Ok(()) }
        };
        let ours = self.at_home(OURS, Job::new(&layer3).args(["search", query, "--all"]));
        let found = self.at_home(OURS, Job::new(&layer3).args(["search", query, "--all", "--json"])).output().json();
        if found["hits"].as_array().is_none_or(Vec::is_empty) {
            return Err(io::Error::other(format!("nothing was found for {query}")));
        }
        let mut contestants = vec![Contestant::new(OURS, move || ours.clone()).before(forget(OURS, &layer3))];
        for (who, program) in [("claude-vault", &self.peers.claude_vault), ("claudex", &self.peers.claudex)] {
            if let Some(program) = program {
                let job = self.at_home(who, Job::new(program).args(["search", query]));
                contestants.push(Contestant::new(who, move || job.clone()).before(forget(who, program)));
            }
        }
        let rounds = if cold { self.rounds(15, 5) } else { self.rounds(41, 15) };
        let entries = race(rounds, &self.folder, &|| Ok(()), &contestants)?;
        let time = entry(&entries, OURS).expect("it took part").exit_s;
        let budgets = if cold {
            Vec::new()
        } else {
            vec![
                Budget::new("median", time.median, 0.010, Unit::Seconds),
                Budget::new("95th of a hundred", time.p95, 0.020, Unit::Seconds),
            ]
        };
        Ok(Row::new(name, entries, budgets))
    }

    /// What it costs to start the programs at all.
    fn starts(&self, tell: &mut dyn FnMut(Row)) -> io::Result<()> {
        if !self.wants("start") {
            return Ok(());
        }
        self.clear()?;
        self.new_home(OURS)?;
        let start = |name: &'static str| {
            Contestant::new(name, move || {
                self.at_home(OURS, Job::new(binaries::folder().join(name)).args(["--version"]))
            })
        };
        let mut contestants: Vec<_> = binaries::ALL.into_iter().map(start).collect();
        contestants.push(Contestant::new("/bin/true", || self.at_home(OURS, Job::new("/bin/true"))));
        if self.old_chain.is_some() {
            contestants.push(Contestant::new("node", || self.at_home(OURS, Job::shell("node --version"))));
        }
        tell(Row::new("start", race(self.rounds(41, 15), &self.folder, &|| Ok(()), &contestants)?, Vec::new()));
        self.clear()
    }
}

/// The command of UserPromptSubmit, as it is installed.
fn turn() -> String {
    format!("'{}' --quiet || :", binaries::folder().join(binaries::LAYER1).display())
}

/// The command of SessionEnd, as it is installed.
fn chain() -> String {
    let [one, two] = [binaries::LAYER1, binaries::LAYER2].map(|name| binaries::folder().join(name));
    format!("{{ '{}' || cat; }} | '{}' || :", one.display(), two.display())
}

fn grow(transcript: &Path, session: &RefCell<Session>) -> io::Result<()> {
    let mut lines = String::new();
    while lines.len() < DELTA_BYTES {
        session.borrow_mut().turn(&mut lines);
    }
    // Whole lines, as many as there is room for.
    let end = lines[..DELTA_BYTES].rfind('\n').map_or(lines.len(), |at| at + 1);
    transcripts::append(transcript, &lines[..end]);
    Ok(())
}

fn entry<'a>(entries: &'a [Entry], name: &str) -> Option<&'a Entry> {
    entries.iter().find(|entry| entry.name == name)
}

/// NaN, which meets no budget, where it did not take part.
fn exit_of(entries: &[Entry], name: &str) -> f64 {
    entry(entries, name).map_or(f64::NAN, |entry| entry.exit_s.median)
}

fn end_of(entries: &[Entry], name: &str) -> f64 {
    entry(entries, name).map_or(f64::NAN, |entry| entry.end_s.median)
}

fn project_of(session: &RefCell<Session>) -> String {
    session.borrow().cwd().rsplit('/').next().unwrap_or_default().to_owned()
}

fn cwd_of(transcript: &Path) -> String {
    let slug = transcript.parent().and_then(Path::file_name).unwrap_or_default();
    slug.to_string_lossy().replace('-', "/")
}

fn copy_in(store: &Path, project: &str, transcript: &Path) -> PathBuf {
    store.join(project).join(transcript.file_name().expect("a transcript has a name"))
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn same_length(source: &Path, copy: &Path) -> bool {
    length(source) == length(copy)
}

fn has_no_job(outbox: &Path) -> bool {
    let Ok(entries) = fs::read_dir(outbox) else { return false };
    !entries.flatten().any(|entry| entry.path().extension().is_some_and(|extension| extension == "json"))
}

/// Makes everything below a folder, and itself, as old as if nothing had happened for an hour.
fn rest(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            rest(&entry.path())?;
        } else if kind.is_file() {
            age(&entry.path())?;
        }
    }
    age(folder)
}

fn age(path: &Path) -> io::Result<()> {
    let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    fs::File::open(path)?.set_times(fs::FileTimes::new().set_modified(an_hour_ago))
}

fn forget_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            forget_all(&entry.path())?;
        } else if kind.is_file() {
            meter::forget(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn size_name(megabytes: u64) -> String {
    if megabytes >= 1000 { format!("{} GB", megabytes / 1000) } else { format!("{megabytes} MB") }
}
