//! Instructions of the hot paths on fixed inputs, counted by callgrind: what a busy machine cannot disturb.
//!
//! The counts are compared with committed ones. A change of more than 5 %, up or down, fails: more is a
//! regression, and less wants to be kept by blessing it. The counts depend on the compiler and, a little,
//! on the CPU's vector instructions and the C library; the file says what it was made with.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::corpus::{self, Session, Shape};
use super::meter::Job;
use crate::binaries;
use crate::transcripts;

/// What a count may change by, up or down.
const CHANGE_PERCENT_MAX: u64 = 5;
const VALGRIND: &str = "/usr/bin/valgrind";
const TRANSCRIPT_BYTES: u64 = 10_000_000;
const DELTA_BYTES: usize = 100_000;
const SHAPE: Shape = Shape { sessions: 12, bytes: 4_000_000, seed: 7 };

/// Instructions by what was counted.
type Counts = BTreeMap<String, u64>;

/// Counts, and compares with what is committed, or writes that anew. Whether nothing changed.
pub fn check(folder: &Path, bless: bool) -> io::Result<bool> {
    let counts = count(folder)?;
    if bless {
        let file = json!({"made_with": toolchain(), "instructions": counts});
        fs::write(baseline(), format!("{file:#}\n"))?;
        counts.iter().for_each(|(name, count)| println!("{name:<40} {:>14}", grouped(*count)));
        println!("written: {}", baseline().display());
        return Ok(true);
    }
    let committed: Value = serde_json::from_slice(&fs::read(baseline())?)?;
    let before = committed["instructions"].as_object().into_iter().flatten();
    let before: Counts = before.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect();
    let rows = compared(&before, &counts);
    for row in &rows {
        println!("{}", row.line());
    }
    let failed: Vec<&str> = rows.iter().filter(|row| !row.is_kept()).map(|row| row.name.as_str()).collect();
    if failed.is_empty() {
        println!("{} counts, all within {CHANGE_PERCENT_MAX} %", rows.len());
        return Ok(true);
    }
    println!("FAILED: {}", failed.join(", "));
    if committed["made_with"] != json!(toolchain()) {
        println!("the committed counts were made with {}, these with {}", committed["made_with"], toolchain());
    }
    println!("where the change is meant, `cargo xtask bench --check --bless` writes it down");
    Ok(false)
}

/// One count, as it was and as it is.
#[derive(Debug, PartialEq)]
struct Compared {
    name: String,
    before: Option<u64>,
    now: Option<u64>,
}

impl Compared {
    fn change(&self) -> Option<f64> {
        Some(self.now? as f64 / self.before? as f64 - 1.0)
    }

    fn is_kept(&self) -> bool {
        let (Some(before), Some(now)) = (self.before, self.now) else { return false };
        now.abs_diff(before) * 100 <= before * CHANGE_PERCENT_MAX
    }

    fn line(&self) -> String {
        let shown = |count: Option<u64>| count.map_or_else(|| "none".to_owned(), grouped);
        let change = self.change().map_or_else(String::new, |change| format!("{:+.2} %", change * 100.0));
        let verdict = if self.is_kept() { "" } else { "  CHANGED" };
        format!("{:<40} {:>14} {:>14} {change:>10}{verdict}", self.name, shown(self.before), shown(self.now))
    }
}

/// Every count of either side: one that is not counted any more is a change too.
fn compared(before: &Counts, now: &Counts) -> Vec<Compared> {
    let mut names: Vec<&String> = before.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    let row =
        |name: &String| Compared { name: name.clone(), before: before.get(name).copied(), now: now.get(name).copied() };
    names.into_iter().map(row).collect()
}

fn count(folder: &Path) -> io::Result<Counts> {
    let mut counts = Counts::new();
    let bench = Counting { folder };
    bench.starts(&mut counts)?;
    bench.layer1(&mut counts)?;
    bench.layer3(&mut counts)?;
    Ok(counts)
}

struct Counting<'a> {
    folder: &'a Path,
}

impl Counting<'_> {
    fn starts(&self, counts: &mut Counts) -> io::Result<()> {
        for name in binaries::ALL {
            counts.insert(format!("{name} --version"), self.instructions(&self.job(name, &["--version"]))?);
        }
        Ok(())
    }

    fn layer1(&self, counts: &mut Counts) -> io::Result<()> {
        let mut session = Session::new(1, 1);
        let transcript = self.folder.join("turns/projects/-home-dev-x").join(format!("{}.jsonl", session.id));
        corpus::write_session(&transcript, &mut session, TRANSCRIPT_BYTES)?;
        let event =
            transcripts::event("UserPromptSubmit", &transcript, json!({"prompt": "go on", "cwd": session.cwd()}));
        let job = self.job(binaries::LAYER1, &["--quiet"]).stdin(format!("{event}\n"));
        job.output();
        let mut lines = String::new();
        while lines.len() < DELTA_BYTES {
            session.turn(&mut lines);
        }
        transcripts::append(&transcript, &lines[..DELTA_BYTES]);
        counts.insert("layer 1, 100 KB more on 10 MB".to_owned(), self.instructions(&job)?);
        counts.insert("layer 1, nothing new on 10 MB".to_owned(), self.instructions(&job)?);
        Ok(())
    }

    fn layer3(&self, counts: &mut Counts) -> io::Result<()> {
        let made = corpus::lay_out(&self.home(binaries::LAYER3).join(".claude"), SHAPE)?;
        let megabytes = made.bytes as f64 / 1e6;
        let import = self.instructions(&self.job(binaries::LAYER3, &["import"]))?;
        counts.insert("layer 3, import, 1 MB".to_owned(), (import as f64 / megabytes) as u64);
        let largest =
            made.transcripts.iter().max_by_key(|path| fs::metadata(path).map_or(0, |metadata| metadata.len()));
        let largest = largest.expect("a corpus has transcripts");
        let id = largest.file_stem().expect("a name").to_string_lossy().into_owned();
        let read = self.instructions(&self.job(binaries::LAYER3, &["show", &id, "--last", "1"]))?;
        let megabytes = fs::metadata(largest)?.len() as f64 / 1e6;
        counts.insert("layer 3, reading of records, 1 MB".to_owned(), (read as f64 / megabytes) as u64);
        let phrase = format!("\"{}\"", corpus::PHRASE);
        let queries =
            [("common", corpus::COMMON), ("rare", corpus::RARE), ("phrase", &phrase), ("substring", corpus::SUBSTRING)];
        for (kind, query) in queries {
            let job = self.job(binaries::LAYER3, &["search", query, "--all"]);
            if !job.output().text().contains(query.trim_matches('"')) {
                return Err(io::Error::other(format!("nothing was found for {query}")));
            }
            counts.insert(format!("layer 3, search, {kind}"), self.instructions(&job)?);
        }
        Ok(())
    }

    /// The environment is the same everywhere but for the length of the paths. Each program has a home of its
    /// own: layer 3 would import what layer 1 has copied.
    fn job(&self, name: &str, args: &[&str]) -> Job {
        let job = Job::new(binaries::folder().join(name)).args(args.iter().copied());
        job.env("HOME", self.home(name).display().to_string()).env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8")
    }

    fn home(&self, program: &str) -> PathBuf {
        self.folder.join("homes").join(program)
    }

    fn instructions(&self, job: &Job) -> io::Result<u64> {
        let file = self.folder.join("callgrind.out");
        let args =
            ["--tool=callgrind", "--quiet", &format!("--callgrind-out-file={}", file.display())].map(str::to_owned);
        let outcome = job.under(Path::new(VALGRIND), &args);
        if outcome.code != Some(0) {
            return Err(io::Error::other(format!("under callgrind: {outcome:?}")));
        }
        summary(&fs::read_to_string(&file)?)
            .ok_or_else(|| io::Error::other(format!("{} holds no count", file.display())))
    }
}

/// All instructions of a run, as callgrind writes them.
fn summary(output: &str) -> Option<u64> {
    let line = output.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    line?.split_whitespace().next()?.parse().ok()
}

fn baseline() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/instructions.json")
}

fn toolchain() -> String {
    let first_line = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        text.lines().next().unwrap_or("unknown").to_owned()
    };
    format!("{}; {}; {}", first_line("rustc"), first_line("cc"), first_line("valgrind"))
}

fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(&str, u64)]) -> Counts {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn five_percent_either_way_is_kept_and_more_is_not() {
        let before = counts(&[("a", 1000), ("b", 1000), ("c", 1000), ("d", 1000)]);
        let now = counts(&[("a", 1050), ("b", 950), ("c", 1051), ("d", 949)]);
        let kept: Vec<bool> = compared(&before, &now).iter().map(Compared::is_kept).collect();
        assert_eq!(kept, [true, true, false, false]);
    }

    #[test]
    fn a_count_that_came_or_went_is_a_change() {
        let rows = compared(&counts(&[("gone", 1)]), &counts(&[("new", 1)]));
        assert!(rows.iter().all(|row| !row.is_kept()), "{rows:?}");
        assert!(rows[0].line().ends_with("CHANGED"), "{}", rows[0].line());
    }

    #[test]
    fn callgrinds_count_is_read() {
        assert_eq!(summary("version: 1\nevents: Ir\nsummary: 104\n\nfn=(1)\n0 104\ntotals: 104\n"), Some(104));
        assert_eq!(summary("version: 1\n"), None);
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn the_committed_counts_are_those_that_are_made() {
        let committed: Value = serde_json::from_slice(&fs::read(baseline()).expect("it is committed")).expect("JSON");
        let counts = committed["instructions"].as_object().expect("counts by name");
        assert!(counts.len() >= 10 && counts.values().all(|count| count.as_u64().is_some_and(|count| count > 10_000)));
    }
}
