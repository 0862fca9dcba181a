//! Compressing contents of transcripts, on command, in both stores: older ones, and the newest ones of
//! sessions that nobody went on with for long.
//!
//! Nothing else changes: each reader gets the plain bytes, `verify` compares both forms with what was
//! recorded, and receipts speak of the plain ones. See `layer1-prebackup/src/archive/compress.rs`.

use clap::Args;
use layer1_prebackup::archive::{Archive, LEVELS, SessionKey, StoredFile};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::config::size::Size;
use layer1_prebackup::names::{LAYER3, typed};
use serde::Serialize;

use crate::failure::{Failure, chain};
use crate::retention::open;
use crate::save::LogSink;
use crate::stores::Layer;
use crate::terminal::{self, Style, Terminal, one_line};

/// What is older than this is compressed, unless another age is given.
const OLDER_THAN_DEFAULT: &str = "30d";
/// A level that takes half a second for 10 MB and leaves little for the higher ones to gain.
const LEVEL_DEFAULT: i32 = 9;

/// What `--help` tells beyond the options.
const HELP: &str = "\
Compressed are transcripts that did not change for so long, ID.jsonl, and older contents,
ID.gen-0001.jsonl and so on, each to a file of its own that `zstd -d` reads too. Side files stay
plain, and so does a transcript whose source has changed since it was copied. Everything reads the
compressed ones as before: show, export, restore, search, verify, repair, receipts. If a session
goes on, the next save brings its transcript back.

A plain file goes last: when the compressed one was synced, read back, unpacked, and found equal to the
hash that was recorded when the content was saved. A run that is killed leaves one of the two whole, and
the next one finishes it. What does not match its record is left alone for `verify`.

Exit code 1 if something could not be compressed.

";

/// [`HELP`], and an example.
pub(crate) fn help() -> String {
    format!("{HELP}\nExample: {}", typed(LAYER3, "compress --older-than 90d --dry-run"))
}

// What is asked for, as typed. Said as documentation, it would stand in the help instead of what the command is for.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompressRequest {
    /// Only contents that were stored before: an age such as 30d, or a date
    #[arg(long, value_name = "AGE", default_value = OLDER_THAN_DEFAULT)]
    pub(crate) older_than: String,
    /// How hard to try, from 1 to 19
    #[arg(long, value_name = "N", default_value_t = LEVEL_DEFAULT, value_parser = clap::value_parser!(i32).range(i64::from(*LEVELS.start())..=i64::from(*LEVELS.end())))]
    pub(crate) level: i32,
    /// Leave the newest content of each session plain
    #[arg(long)]
    pub(crate) generations_only: bool,
    /// Tell what would be compressed, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// A content that was compressed, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Item {
    /// The session.
    pub(crate) session_id: String,
    /// Its folder.
    pub(crate) project: String,
    /// `layer1` or `layer3`.
    pub(crate) store: Layer,
    /// The content, relative to the project's folder, without the ending `.zst`.
    pub(crate) path: String,
    /// 0 for the newest content, 1 for the oldest, then 2, …
    pub(crate) generation: u32,
    /// Plain.
    pub(crate) bytes: u64,
    /// Compressed; nothing in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) packed_bytes: Option<u64>,
}

/// A content that could not be compressed. It is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LeftPlain {
    /// The session.
    pub(crate) session_id: String,
    /// Its folder.
    pub(crate) project: String,
    /// The content.
    pub(crate) path: String,
    /// Why.
    pub(crate) error: String,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    /// What was compressed, or would be.
    pub(crate) compressed: Vec<Item>,
    /// Contents that stay plain: they match no record, or would not become smaller.
    pub(crate) left_plain: u64,
    /// Bytes of all of them before.
    pub(crate) bytes: u64,
    /// And now; as before in a dry run.
    pub(crate) packed_bytes: u64,
    /// Whether this only tells.
    pub(crate) dry_run: bool,
    /// What could not be compressed.
    pub(crate) failed: Vec<LeftPlain>,
}

/// Compresses what is old enough; `progress` is told how many contents are done and their number.
/// One that fails does not stop the others.
pub(crate) fn compress(
    places: &Places,
    journal: &LogSink,
    wanted: &CompressRequest,
    progress: &dyn Fn(usize, usize),
) -> Result<Summary, Failure> {
    let before_ms = u64::try_from(open::before_ms(&wanted.older_than, "30d")?).unwrap_or(0);
    let mut stores = open::open(places, wanted.dry_run)?;
    stores.layer1 = stores.layer1.map(|archive| archive.leaving_free(places.policy.free_space_floor));
    let mut unreadable = Vec::new();
    let mut found: Vec<(Layer, &Archive, SessionKey, StoredFile)> = Vec::new();
    for (layer, archive) in [Layer::One, Layer::Three].into_iter().filter_map(|layer| Some((layer, stores.of(layer)?)))
    {
        for key in archive.sessions()? {
            let is_meant = |file: &StoredFile| {
                file.committed_ms < before_ms && (file.name.generation > 0 || !wanted.generations_only)
            };
            let files = match archive.compressible(&key) {
                Ok(files) => files.into_iter().filter(is_meant),
                Err(error) => {
                    unreadable.push(LeftPlain {
                        session_id: key.id.to_string(),
                        project: key.project.to_string(),
                        path: String::new(),
                        error: chain(&error),
                    });
                    continue;
                }
            };
            found.extend(files.map(|file| (layer, archive, key.clone(), file)));
        }
    }
    let mut summary = Summary { dry_run: wanted.dry_run, failed: unreadable, ..Summary::default() };
    for (done, (layer, archive, key, file)) in found.iter().enumerate() {
        progress(done, found.len());
        if wanted.dry_run {
            summary.add(*layer, key, file, None);
            continue;
        }
        match archive.compress(key, file, wanted.level) {
            Ok(Some(packed)) => {
                let path = &file.path;
                let store = if *layer == Layer::One { "layer1" } else { "layer3" };
                journal.line(&format!("[compress] {store} {}/{path}: {} bytes to {packed}", key.project, file.bytes));
                summary.add(*layer, key, file, Some(packed));
            }
            Ok(None) => summary.left_plain += 1,
            Err(error) => summary.failed.push(LeftPlain {
                session_id: key.id.to_string(),
                project: key.project.to_string(),
                path: file.path.clone(),
                error: chain(&error),
            }),
        }
    }
    progress(found.len(), found.len());
    Ok(summary)
}

impl Summary {
    fn add(&mut self, store: Layer, key: &SessionKey, file: &StoredFile, packed_bytes: Option<u64>) {
        self.bytes += file.bytes;
        self.packed_bytes += packed_bytes.unwrap_or(file.bytes);
        self.compressed.push(Item {
            session_id: key.id.to_string(),
            project: key.project.to_string(),
            store,
            path: file.path.clone(),
            generation: file.name.generation,
            bytes: file.bytes,
            packed_bytes,
        });
    }
}

/// The summary for a person.
pub(crate) fn to_text(summary: &Summary, terminal: &Terminal) -> String {
    let mut text = String::new();
    for item in &summary.compressed {
        let packed = item.packed_bytes.map_or(String::new(), |packed| format!(" → {:>7}", Size(packed)));
        text.push_str(&format!(
            "{:<7}{packed}  {}  {}\n",
            Size(item.bytes),
            item.store.name(),
            one_line(&format!("{}/{}", item.project, item.path)),
        ));
    }
    let older = summary.compressed.iter().filter(|item| item.generation > 0).count();
    let kinds = [(summary.compressed.len() - older, "transcript"), (older, "older content")];
    let kinds = kinds.into_iter().filter(|(count, _)| *count > 0);
    let contents = kinds.map(|(count, kind)| terminal::count(count as u64, kind)).collect::<Vec<_>>().join(" and ");
    let sizes = format!("{} to {}", Size(summary.bytes), Size(summary.packed_bytes));
    text.push_str(&match (summary.compressed.is_empty(), summary.dry_run) {
        (true, _) => "Nothing to compress\n".to_owned(),
        (false, true) => format!("{contents} to compress, {}\n", Size(summary.bytes)),
        (false, false) => format!("{}\n", terminal.paint(Style::Green, &format!("{contents} compressed, {sizes}"))),
    });
    if summary.left_plain > 0 {
        let left = terminal::count(summary.left_plain, "content");
        text.push_str(&format!("{left} left as they are: they would not become smaller, or `verify` tells more\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::browse::export;
    use crate::browse::search::{self, SearchRequest};
    use crate::browse::show;
    use crate::save::verify;
    use crate::terminal::time::Clock;
    use crate::testing::{ID, Scene, answer, prompt};

    /// A session with an older content of many words in both stores.
    fn rewritten() -> Scene {
        let scene = Scene::new();
        let old: Vec<String> = (1..60).map(|n| prompt(n, &format!("needle{n} in the hay"))).collect();
        for lines in [old, vec![answer(900, "all new")]] {
            scene.transcribe(&lines);
            let held = scene.layer1_copies();
            scene.receipt(Some(&scene.expected(&held)));
        }
        scene
    }

    fn run(scene: &Scene, dry_run: bool) -> Summary {
        let (older_than, level) = ("2100-01-01".to_owned(), LEVEL_DEFAULT);
        let wanted = CompressRequest { older_than, level, generations_only: true, dry_run };
        compress(&scene.places, &LogSink::new(&scene.places, false), &wanted, &|_, _| {}).unwrap()
    }

    fn hits(scene: &Scene, word: &str) -> Vec<String> {
        let search = SearchRequest { query: word.to_owned(), each: Some(true), ..SearchRequest::default() };
        search::search(&scene.places, &search).unwrap().hits.into_iter().map(|hit| hit.snippet).collect()
    }

    #[test]
    fn a_dry_run_tells_and_changes_nothing() {
        let scene = rewritten();
        let before = scene.stored();
        let summary = run(&scene, true);
        let told: Vec<_> = summary.compressed.iter().map(|item| (item.store, item.path.as_str())).collect();
        let path = format!("{ID}.gen-0001.jsonl");
        assert_eq!(told, [(Layer::One, path.as_str()), (Layer::Three, path.as_str())]);
        assert_eq!(scene.stored(), before);
    }

    #[test]
    fn what_is_younger_stays_plain() {
        let scene = rewritten();
        let wanted =
            CompressRequest { older_than: "30d".to_owned(), level: 9, generations_only: false, dry_run: false };
        let journal = LogSink::new(&scene.places, false);
        assert!(compress(&scene.places, &journal, &wanted, &|_, _| {}).unwrap().compressed.is_empty());
        let wrong = CompressRequest { older_than: "old".to_owned(), ..wanted };
        assert!(compress(&scene.places, &journal, &wrong, &|_, _| {}).is_err());
    }

    #[test]
    fn every_reader_reads_what_is_compressed_as_before() {
        let scene = rewritten();
        let read = || {
            let copies = scene.copies();
            let window = show::Window { max_chars: 1_000_000, generation: Some(1), ..show::Window::default() };
            let shown = serde_json::to_value(show::conversation(&copies, &window).unwrap()).unwrap();
            let options = export::Options {
                full: true,
                generation: 1,
                clock: Clock::UTC,
                ..export::Options::of(export::Format::Markdown)
            };
            let mut page = Vec::new();
            export::export(&copies, &options, &mut page).unwrap();
            (shown, String::from_utf8(page).unwrap(), hits(&scene, "needle7"), hits(&scene, "new"))
        };
        let before = read();
        assert_eq!(before.2.len(), 1);
        let summary = run(&scene, false);
        assert_eq!((summary.compressed.len(), summary.failed.len(), summary.left_plain), (2, 0, 0));
        assert!(summary.packed_bytes < summary.bytes / 3, "{summary:?}");
        assert!(!scene.places.layer3_store.join(format!("proj/{ID}.gen-0001.jsonl")).exists());
        assert_eq!(read(), before);
        // An index that is made anew reads it too.
        crate::save::rebuild::rebuild(&scene.places, &|_, _| {}).unwrap();
        assert_eq!(read(), before);
        let report = verify::verify(&scene.places, None).unwrap();
        assert!(report.ok, "{report:?}");
        assert!(run(&scene, false).compressed.is_empty());
        // A receipt covers it, and a save that takes it over from a compressed layer 1 gives it back.
        let held = scene.layer1_copies();
        assert!(scene.receipt(Some(&scene.expected(&held))).files.iter().all(|file| file.covered));
    }

    #[test]
    fn layer_3_takes_over_what_layer_1_has_compressed() {
        let scene = rewritten();
        run(&scene, false);
        layer1_prebackup::fs::rename_new(&scene.places.layer3_store, &scene.places.home.join("lost")).unwrap();
        let held = scene.layer1_copies();
        assert!(scene.receipt(Some(&scene.expected(&held))).files.iter().all(|file| file.covered));
        assert_eq!(hits(&scene, "needle7").len(), 1);
    }

    fn run_all(scene: &Scene) -> Summary {
        let wanted = CompressRequest {
            older_than: "2100-01-01".to_owned(),
            level: LEVEL_DEFAULT,
            generations_only: false,
            dry_run: false,
        };
        compress(&scene.places, &LogSink::new(&scene.places, false), &wanted, &|_, _| {}).unwrap()
    }

    /// A session of more than one frame in both stores.
    fn long() -> Scene {
        let scene = Scene::new();
        let hash = |n: u32| blake3::hash(&n.to_le_bytes()).to_hex().to_string();
        let lines = (1..2500).map(|n| prompt(n, &format!("needle{n} in {}", hash(n)))).collect::<Vec<_>>();
        scene.transcribe(&lines);
        let held = scene.layer1_copies();
        scene.receipt(Some(&scene.expected(&held)));
        scene
    }

    #[test]
    fn every_reader_reads_a_newest_content_that_is_compressed_as_before() {
        let scene = long();
        let read = || {
            let copies = scene.copies();
            let window = show::Window { last: Some(3), max_chars: 100_000, ..show::Window::default() };
            let shown = serde_json::to_value(show::conversation(&copies, &window).unwrap()).unwrap();
            let options = export::Options {
                full: true,
                generation: 0,
                clock: Clock::UTC,
                ..export::Options::of(export::Format::Markdown)
            };
            let mut page = Vec::new();
            export::export(&copies, &options, &mut page).unwrap();
            let found = ["needle1", "needle2499", "eedle1234", "in"].map(|word| hits(&scene, word));
            (shown, page, found)
        };
        let before = read();
        assert!(before.2[..3].iter().all(|found| !found.is_empty()), "{:?}", before.2);
        let summary = run_all(&scene);
        let told: Vec<_> = summary.compressed.iter().map(|item| (item.store, item.generation)).collect();
        assert_eq!(told, [(Layer::One, 0), (Layer::Three, 0)]);
        assert!(to_text(&summary, &Terminal::PLAIN).contains("2 transcripts compressed"));
        let copy = scene.places.layer3_store.join(format!("proj/{ID}.jsonl"));
        assert!(!copy.exists() && copy.with_extension("jsonl.zst").exists());
        assert!(read() == before);
        crate::save::rebuild::rebuild(&scene.places, &|_, _| {}).unwrap();
        assert!(read() == before);
        let report = verify::verify(&scene.places, None).unwrap();
        assert!(report.ok, "{report:?}");
        // A save that has nothing new leaves it as it is, and it is covered.
        let held = scene.layer1_copies();
        assert!(scene.receipt(Some(&scene.expected(&held))).files.iter().all(|file| file.covered));
        assert!(!copy.exists() && !scene.places.layer1_store.join(format!("proj/{ID}.jsonl")).exists());
        assert!(run_all(&scene).compressed.is_empty());
    }

    #[test]
    fn a_session_that_goes_on_is_indexed_and_saved_as_before() {
        let scene = long();
        run_all(&scene);
        let mut text = std::fs::read_to_string(scene.transcript()).unwrap();
        text.push_str(&answer(9000, "haystack of another year"));
        scene.write(&scene.transcript(), &text);
        let held = scene.layer1_copies();
        assert!(scene.receipt(Some(&scene.expected(&held))).files.iter().all(|file| file.covered));
        assert_eq!((hits(&scene, "haystack").len(), hits(&scene, "needle2499").len()), (1, 1));
        for store in [&scene.places.layer1_store, &scene.places.layer3_store] {
            let copy = store.join(format!("proj/{ID}.jsonl"));
            assert!(std::fs::read_to_string(&copy).unwrap() == text && !copy.with_extension("jsonl.zst").exists());
        }
        assert!(verify::verify(&scene.places, None).unwrap().ok);
    }

    #[test]
    fn where_layer_3_has_a_damaged_one_layer_1_serves() {
        let scene = long();
        run_all(&scene);
        let packed = scene.places.layer3_store.join(format!("proj/{ID}.jsonl.zst"));
        crate::testing::flip_last_byte(&packed);
        let copies = scene.copies();
        let content = copies.get(&copies.transcript(0).unwrap()).unwrap();
        assert!(content.notes[0].contains("is damaged; layer 1's is used"), "{:?}", content.notes);
        assert!(content.at.path.to_string_lossy().ends_with(".jsonl.zst"));
        assert!(!verify::verify(&scene.places, None).unwrap().ok);
    }
}
