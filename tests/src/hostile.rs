//! Stores that somebody had their hands on: a good pair of stores in which a few files were flipped, cut, enlarged,
//! linked, renamed, copied, exchanged or put back to what they were before; and every command over them.
//!
//! Of each command: it ends in time, in little memory, with exit code 0 or 1, without a panic; nothing outside the
//! stores is written, and nothing of what lies there gets into them. What is whole in either store comes back byte for
//! byte; afterwards both stores hold it, or `status` says something.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use layer1_prebackup::fs::platform::make_fifo;

use crate::processes;
use crate::run::{Outcome, Run};
use crate::scratch::{PROJECT, Scratch};
use crate::stores::content_at;
use crate::transcripts;
use crate::tree::{self, Entry};
use crate::waiting;

/// What a command may take, in KiB.
const MEMORY_KIB_MAX: u64 = 256 * 1024;
/// Beyond that a command is not let, whatever it does, in KiB of addresses: the machine is needed.
const ADDRESSES_KIB_MAX: u64 = 6 * 1024 * 1024;
/// Between two looks at the memory of a command.
const LOOK: Duration = Duration::from_millis(5);
/// Stands in files outside the stores, and nowhere else.
const CANARY: &str = "canary-5f1d0c7e";
/// Most changes that are made to one pair of stores.
const CHANGES_MAX: u64 = 3;

/// What can be done to a file.
const KINDS: [&str; 22] = [
    "flip",
    "cut",
    "grow",
    "holes",
    "link",
    "hard-link",
    "zero-link",
    "fifo",
    "folder",
    "socket",
    "conflict-rename",
    "conflict-copy",
    "swap",
    "roll-back",
    "delete",
    "unreadable",
    "json",
    "store-back",
    "folder-link",
    "second-name",
    "ledger-line",
    "empty",
];

/// One conversation of the pair, as both stores hold it.
#[derive(Debug, Clone)]
struct Held {
    id: String,
    newest: Vec<u8>,
}

/// A good pair of stores, which is copied for each try.
pub struct Pair {
    scratch: Scratch,
    held: Vec<Held>,
    limit: Duration,
}

/// What a try found: which changes were made, and what was wrong then.
#[derive(Debug)]
pub struct Tried {
    /// In words.
    pub changes: Vec<String>,
    /// Each promise that was broken.
    pub wrong: Vec<String>,
    /// Commands that were run.
    pub commands: u64,
}

impl Pair {
    /// Makes the pair in a scratch home. A command that takes longer than `limit` is a fault.
    pub fn new(limit: Duration) -> Pair {
        let scratch = Scratch::new();
        let ids: Vec<String> = (1..=3).map(|n| transcripts::made_id(700 + n)).collect();
        let save = |id: &str| {
            let event = transcripts::session_end(&scratch.transcript(id));
            scratch.hook(&scratch.chain_command(""), &event).output().ok();
            scratch.await_no_process(waiting::DELIVERY);
        };
        for (id, turns) in ids.iter().zip([12, 40, 3]) {
            let transcript = transcripts::make_conversation(&scratch, id, turns);
            transcripts::append(&transcript.with_extension("").join("subagents/agent-1.jsonl"), "{\"side\":1}\n");
            save(id);
        }
        copy(&scratch.layer1_store(), &scratch.beside("before/one"));
        copy(&scratch.layer3_store(), &scratch.beside("before/three"));
        for (n, id) in ids.iter().enumerate() {
            let transcript = scratch.transcript(id);
            if n == 0 {
                let line = transcripts::prompt_line(id, 90, "begun anew");
                transcripts::rewrite(&transcript, line);
                save(id);
            }
            transcripts::append(&transcript, transcripts::prompt_line(id, 91, "and went on"));
            save(id);
        }
        scratch.layer3(&["compress", "--older-than", "0d", "--generations-only"]).output();
        copy(&scratch.layer1_store(), &scratch.beside("good/one"));
        copy(&scratch.layer3_store(), &scratch.beside("good/three"));
        copy(&scratch.slug_dir(), &scratch.beside("good/slug"));
        let newest = |id: &String| fs::read(scratch.transcript(id)).expect("read a transcript");
        let held = ids.iter().map(|id| Held { id: id.clone(), newest: newest(id) }).collect();
        Pair { scratch, held, limit }
    }

    /// Copies the pair, changes a few files of it by `seed`, and runs every command.
    pub fn try_out(&self, seed: u64) -> Tried {
        let mut random = Random(seed);
        let mut tried = Tried { changes: Vec::new(), wrong: Vec::new(), commands: 0 };
        self.reset();
        let mut touched: BTreeSet<PathBuf> = BTreeSet::new();
        for _ in 0..=random.below(CHANGES_MAX) {
            let kind = KINDS[random.below(KINDS.len() as u64) as usize];
            if let Some(what) = self.change(kind, &mut random, &mut touched) {
                tried.changes.push(what);
            }
        }
        let outside = self.outside();
        let before = tree::all(&outside);
        self.commands(&touched, &mut tried);
        if tree::all(&outside) != before {
            tried.wrong.push("something outside the stores was changed".to_owned());
        }
        for place in [self.scratch.home(), self.scratch.tmp()] {
            tried.wrong.extend(holding_canary(&place).into_iter().map(|path| format!("{} was read", path.display())));
        }
        tried
    }

    fn outside(&self) -> PathBuf {
        self.scratch.beside("outside")
    }

    /// The good pair, the sources of the first conversation alone, and what lies outside.
    fn reset(&self) {
        for process in processes::with_home(&self.scratch.home()) {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process(crate::run::raw_pid(process.pid), rustix::process::Signal::KILL);
        }
        for (good, place) in [
            ("good/one", self.scratch.layer1_store()),
            ("good/three", self.scratch.layer3_store()),
            ("good/slug", self.scratch.slug_dir()),
        ] {
            // Somebody's ledger may have had a conversation restored elsewhere.
            let in_the_way = if good == "good/slug" { place.parent().expect("projects") } else { &place };
            remove(in_the_way);
            copy(&self.scratch.beside(good), &place);
        }
        for held in &self.held[1..] {
            fs::remove_file(self.scratch.transcript(&held.id)).expect("remove a source");
        }
        for place in [self.outside(), self.scratch.tmp(), self.scratch.beside("export")] {
            remove(&place);
        }
        fs::create_dir_all(self.scratch.tmp()).expect("make a folder");
        fs::create_dir_all(self.scratch.beside("export")).expect("make a folder");
        let projects = self.outside().join("projects/x");
        fs::create_dir_all(&projects).expect("make a folder");
        let text = format!("{{\"cwd\":\"/x\",\"{CANARY}\":1}}\n").repeat(40);
        let names = self.held.iter().map(|held| projects.join(format!("{}.jsonl", held.id)));
        for path in names.chain([self.outside().join("secret.txt")]) {
            fs::write(path, &text).expect("write a canary");
        }
    }

    /// One change of a file of either store; nothing where that cannot be done to what was drawn.
    fn change(&self, kind: &str, random: &mut Random, touched: &mut BTreeSet<PathBuf>) -> Option<String> {
        let (store, name) = match random.below(2) {
            0 => (self.scratch.layer1_store(), "one"),
            _ => (self.scratch.layer3_store(), "three"),
        };
        let files: Vec<PathBuf> = tree::all(&store)
            .into_iter()
            .filter(|(_, entry)| matches!(entry, Entry::File(..)))
            .map(|(path, _)| path)
            .collect();
        let draw = |random: &mut Random| files[random.below(files.len() as u64) as usize].clone();
        let rel = draw(random);
        let (at, secret) = (store.join(&rel), self.outside().join("secret.txt"));
        let mut bytes = fs::read(&at).ok()?;
        let replaced_by = |make: &dyn Fn(&Path)| {
            fs::remove_file(&at).expect("remove a file");
            make(&at);
        };
        let told = format!("{kind} {name}/{}", rel.display());
        touched.insert(at.clone());
        match kind {
            "flip" => {
                for _ in 0..=random.below(8) {
                    if !bytes.is_empty() {
                        let bit = random.below(bytes.len() as u64 * 8);
                        bytes[bit as usize / 8] ^= 1 << (bit % 8);
                    }
                }
                fs::write(&at, bytes).expect("write a file");
            }
            "cut" => fs::write(&at, &bytes[..random.below(bytes.len() as u64 + 1) as usize]).expect("write a file"),
            "empty" => fs::write(&at, "").expect("write a file"),
            "grow" => {
                bytes.extend((0..random.below(5000)).map(|_| random.below(256) as u8));
                fs::write(&at, bytes).expect("write a file");
            }
            "holes" => {
                let file = fs::File::options().write(true).open(&at).expect("open a file");
                file.set_len(1 << (30 + random.below(11))).expect("enlarge a file");
            }
            "link" => replaced_by(&|at| symlink(&secret, at).expect("make a link")),
            "hard-link" => replaced_by(&|at| fs::hard_link(&secret, at).expect("make a link")),
            "zero-link" => replaced_by(&|at| symlink("/dev/zero", at).expect("make a link")),
            "fifo" => replaced_by(&make_fifo),
            "folder" => replaced_by(&|at| fs::create_dir(at).expect("make a folder")),
            // The path of a socket may be too long.
            "socket" => replaced_by(&|at| drop(UnixListener::bind(at))),
            "conflict-rename" | "conflict-copy" => {
                let (stem, ending) = (rel.file_stem()?.to_str()?, rel.extension().and_then(|ending| ending.to_str()));
                let ending = ending.map_or(String::new(), |ending| format!(".{ending}"));
                let to = at.with_file_name(match random.below(5) {
                    0 => format!("{stem} (conflicted copy 2026-11-28){ending}"),
                    1 => format!("{stem}.sync-conflict-20261128-101010-ABCDEFG{ending}"),
                    2 => format!("{stem} 2{ending}"),
                    3 => format!("{stem}{ending}.bak"),
                    _ => format!("{stem}\n\u{1b}]0;x\u{7}{ending}"),
                });
                match kind {
                    "conflict-copy" => {
                        // What is copied stays whole.
                        touched.remove(&at);
                        fs::copy(&at, to).expect("copy a file");
                    }
                    _ => fs::rename(&at, to).expect("rename a file"),
                }
            }
            "swap" => {
                let other = store.join(draw(random));
                touched.insert(other.clone());
                if other != at {
                    fs::rename(&other, store.join(".aside")).expect("rename a file");
                    fs::rename(&at, &other).expect("rename a file");
                    fs::rename(store.join(".aside"), &at).expect("rename a file");
                }
            }
            "roll-back" => match fs::read(self.scratch.beside("before").join(name).join(&rel)) {
                Ok(before) => fs::write(&at, before).expect("write a file"),
                Err(_) => fs::remove_file(&at).expect("remove a file"),
            },
            "store-back" => {
                remove(&store);
                copy(&self.scratch.beside("before").join(name), &store);
                touched.insert(store.clone());
            }
            "delete" => fs::remove_file(&at).expect("remove a file"),
            "unreadable" => fs::set_permissions(&at, fs::Permissions::from_mode(0o000)).expect("set a mode"),
            "json" => {
                let text = match random.below(3) {
                    0 => "[".repeat(200_000),
                    1 => format!("{{\"format\":1,\"store_id\":\"{}\"}}", "x".repeat(1 << 20)),
                    _ => format!("{{\"format\":{}}}", u64::MAX),
                };
                fs::write(&at, text).expect("write a file");
            }
            "folder-link" => {
                let folder = at.parent()?.to_owned();
                if folder == store {
                    return None;
                }
                let moved = self.outside().join(format!("moved-{}", random.below(1 << 30)));
                fs::rename(&folder, &moved).expect("move a folder");
                symlink(&moved, &folder).expect("make a link");
                touched.insert(folder);
            }
            "second-name" => fs::hard_link(&at, at.with_file_name(format!("second-{}", random.below(1 << 30)))).ok()?,
            "ledger-line" => {
                let held = &self.held[random.below(self.held.len() as u64) as usize];
                let ledger = store.join(format!(".state/sessions/{}/{PROJECT}.ledger", held.id));
                touched.remove(&at);
                touched.insert(ledger.clone());
                let json = self.nasty_line(&held.id, random);
                let sum = blake3::hash(json.as_bytes()).to_hex()[..16].to_owned();
                let mut text = fs::read(&ledger).ok()?;
                text.extend(format!("{sum} {json}\n").into_bytes());
                fs::write(&ledger, text).ok()?;
                return Some(format!("{kind} {name} {json}"));
            }
            _ => unreachable!("a kind of change"),
        }
        Some(told)
    }

    /// A line with a right checksum that no program of ours writes.
    fn nasty_line(&self, id: &str, random: &mut Random) -> String {
        let outside = self.outside();
        let secret = fs::read(outside.join("secret.txt")).unwrap_or_default();
        let content = |path: &str, bytes: u64| {
            let hash = blake3::hash(&secret).to_hex();
            format!(
                r#"{{"path":"{path}","bytes":{bytes},"blake3":"{hash}","head":"","tail":"","proof":"written","at":1}}"#
            )
        };
        match random.below(10) {
            0 => format!(r#"{{"source":"{}/secret.txt"}}"#, outside.display()),
            1 => format!(r#"{{"source":"{}/projects/x/{id}.jsonl"}}"#, outside.display()),
            2 => r#"{"source":"/dev/zero"}"#.to_owned(),
            3 => content(&format!("{id}.jsonl"), u64::MAX),
            4 => content(&format!("{id}.jsonl"), secret.len() as u64),
            5 => content(&format!("{id}.gen-4294967295.jsonl"), 1),
            6 => content(&format!("{id}.gen-99999.jsonl"), 1),
            7 => content(&format!("{id}/../../../outside/secret.txt"), secret.len() as u64),
            8 => format!(r#"{{"path":"{id}.jsonl","rotate_to":{}}}"#, random.below(1 << 33)),
            _ => format!(r#"{{"path":"{id}.jsonl","add_to":7}}"#),
        }
    }

    fn commands(&self, touched: &BTreeSet<PathBuf>, tried: &mut Tried) {
        let scratch = &self.scratch;
        let first = &self.held[0];
        let export = scratch.beside("export/out.html");
        let export = export.to_str().expect("a path of UTF-8");
        for args in [
            &["status"][..],
            &["list", "--all"],
            &["search", "--all", "went"],
            &["show", &first.id],
            &["export", &first.id, "-o", export],
            &["verify"],
            &["prune", "--all", "--generations", "--dry-run"],
        ] {
            self.run(scratch.layer3(args), args, tried);
        }
        self.run(scratch.layer1(&["verify"]), &["layer1", "verify"], tried);
        // What is whole in either store comes back.
        for held in &self.held {
            let source = scratch.transcript(&held.id);
            let _ = fs::remove_file(&source);
            let restored = self.run(scratch.layer3(&["restore", &held.id]), &["restore"], tried);
            if self.is_whole_somewhere(held, touched) && fs::read(&source).ok().as_ref() != Some(&held.newest) {
                let came = fs::metadata(&source).map(|meta| meta.len());
                let said = String::from_utf8_lossy(&restored.stdout).into_owned() + &restored.stderr;
                tried.wrong.push(format!("{} was whole and did not come back ({came:?}): {said}", held.id));
            }
        }
        for held in &self.held {
            fs::write(scratch.transcript(&held.id), &held.newest).expect("write a source");
        }
        let event = transcripts::session_end(&scratch.transcript(&first.id));
        let hook = self.run(scratch.hook(&scratch.chain_command(""), &event), &["hook"], tried);
        if hook.code != Some(0) {
            tried.wrong.push(format!("the hook ended with {:?}", hook.code));
        }
        waiting::holds_within(self.limit * 3, || processes::with_home(&scratch.home()).is_empty());
        self.run(scratch.layer1(&["verify", "--repair"]), &["layer1", "verify", "--repair"], tried);
        for args in [
            &["verify", "--repair"][..],
            &["import"],
            &["rebuild"],
            &["compress", "--older-than", "0d"],
            &["doctor", "--json"],
        ] {
            self.run(scratch.layer3(args), args, tried);
        }
        self.run(scratch.layer1(&["sweep", "--all"]), &["sweep"], tried);
        self.run(scratch.layer2(&["drain", "--foreground"]), &["drain"], tried);
        waiting::holds_within(self.limit * 3, || processes::with_home(&scratch.home()).is_empty());
        let status = self.run(scratch.layer3(&["status"]), &["status"], tried);
        let is_held = |store: PathBuf, held: &Held| {
            let path = store.join(PROJECT).join(format!("{}.jsonl", held.id));
            content_at(&path).is_ok_and(|bytes| bytes == held.newest)
        };
        let both = |held: &Held| is_held(scratch.layer1_store(), held) && is_held(scratch.layer3_store(), held);
        let missing: Vec<&str> = self.held.iter().filter(|held| !both(held)).map(|held| held.id.as_str()).collect();
        if !missing.is_empty() && status.code != Some(1) {
            tried.wrong.push(format!("{} not in both stores, and status has nothing to say", missing.join(", ")));
        }
    }

    /// Whether nothing was done to what one of the stores has of a conversation.
    fn is_whole_somewhere(&self, held: &Held, touched: &BTreeSet<PathBuf>) -> bool {
        [self.scratch.layer1_store(), self.scratch.layer3_store()].into_iter().any(|store| {
            let mut in_it = touched.iter().filter_map(|path| path.strip_prefix(&store).ok());
            !in_it.any(|rel| {
                let text = rel.to_string_lossy();
                text.contains(&held.id) || ["", PROJECT, ".state", ".state/sessions"].contains(&&*text)
            })
        })
    }

    fn run(&self, run: Run, args: &[&str], tried: &mut Tried) -> Outcome {
        tried.commands += 1;
        let mut running = run.addresses(ADDRESSES_KIB_MAX).limit(self.limit).spawn();
        let (pid, mut peak_kib) = (running.pid(), 0);
        while !running.has_ended() && running.has_time() {
            peak_kib = peak_kib.max(processes::peak_kib(pid));
            std::thread::sleep(LOOK);
        }
        let outcome = running.wait();
        let told = args.join(" ");
        let mut wrong = |what: String| tried.wrong.push(format!("{told}: {what}"));
        if outcome.timed_out {
            wrong(format!("not done after {:?}", self.limit));
        } else if !matches!(outcome.code, Some(0 | 1)) {
            wrong(format!("exit code {:?}, signal {:?}: {}", outcome.code, outcome.signal, outcome.stderr));
        }
        if peak_kib > MEMORY_KIB_MAX {
            wrong(format!("{} MiB of memory", peak_kib / 1024));
        }
        if outcome.stderr.contains("panicked") {
            wrong(outcome.stderr.clone());
        }
        outcome
    }
}

/// Files below a folder that hold what stands outside it, second names of those outside left out.
fn holding_canary(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                folders.push(entry.path());
            } else if meta.is_file() && meta.nlink() == 1 && meta.len() < 1 << 26 {
                let bytes = content_at(&entry.path()).unwrap_or_default();
                let is_read = String::from_utf8_lossy(&bytes).contains(CANARY);
                found.extend(is_read.then(|| entry.path()));
            }
        }
    }
    found
}

fn remove(place: &Path) {
    if place.symlink_metadata().is_ok() {
        fs::remove_dir_all(place).unwrap_or_else(|error| panic!("remove {}: {error}", place.display()));
    }
}

/// Copies a folder with times and modes, as a backup does.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a folder")).expect("make a folder");
    let copied = Run::new("/bin/cp").args(["-a", "--"]).arg(from).arg(to).output();
    assert_eq!(copied.code, Some(0), "{}", copied.stderr);
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, good enough for choosing what is done.
pub struct Random(pub u64);

impl Random {
    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }
}
