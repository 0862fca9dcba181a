//! Any bytes where a store keeps its own: a ledger, a compressed content, a job of the outbox.

use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use layer1_prebackup::archive::{Archive, Compare, SaveRequest, Seen, SessionKey};
use layer1_prebackup::names::SessionId;
use layer1_prebackup::wire::outbox_job::{Job, JobName};
use tempfile::TempDir;

const ID: &str = "5b3d80da-3868-4fbe-b063-0aa144649138";
/// A content is never unpacked beyond what is recorded of it, and what nobody recorded not beyond this.
const UNPACKED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Of the ledgers one in so many is saved over, which costs syncs.
const SAVED_ONE_IN: usize = 16;

/// A store with one conversation, its source, and two older contents.
struct Store {
    folder: TempDir,
    archive: PathBuf,
    ledger: PathBuf,
    content: PathBuf,
    good_ledger: Vec<u8>,
    good_compressed: Vec<u8>,
}

impl Store {
    fn new() -> Store {
        let folder = tempfile::Builder::new().prefix("threefold-fuzz-").tempdir().expect("make a folder");
        let archive = folder.path().join("store");
        let store = Archive::create(&archive).expect("make a store");
        let transcript = folder.path().join(format!("{ID}.jsonl"));
        fs::create_dir_all(folder.path().join(ID)).expect("make a folder");
        fs::write(folder.path().join(ID).join("side.txt"), "beside").expect("write a side file");
        let lines = |text: &str| format!("{{\"cwd\":\"/home/dev/proj\",\"text\":\"{text}\"}}\n").repeat(2000);
        for text in ["first", "second"] {
            fs::write(&transcript, lines(text)).expect("write a transcript");
            save(&store, &transcript);
        }
        let key = SessionKey::parse("proj", ID).expect("a key");
        let older = store.files(&key).expect("list").into_iter().find(|file| file.name.generation == 1);
        store.compress(&key, &older.expect("an older content"), 3).expect("compress it");
        let ledger = archive.join(format!(".state/sessions/{ID}/proj.ledger"));
        let content = archive.join(format!("proj/{ID}.gen-0001.jsonl.zst"));
        let (good_ledger, good_compressed) = (fs::read(&ledger), fs::read(&content));
        let (good_ledger, good_compressed) = (good_ledger.expect("a ledger"), good_compressed.expect("a content"));
        Store { folder, archive, ledger, content, good_ledger, good_compressed }
    }

    fn with<T>(of: impl FnOnce(&mut Store) -> T) -> T {
        thread_local!(static STORE: std::cell::RefCell<Store> = std::cell::RefCell::new(Store::new()));
        STORE.with_borrow_mut(of)
    }

    /// All that readers ask of a store. Nothing lies outside of it.
    fn read(&self) {
        let archive = Archive::open(&self.archive).expect("open the store").expect("it is there");
        for key in archive.sessions().expect("list the sessions") {
            // Bookkeeping of a newer version is refused.
            for file in archive.files(&key).unwrap_or_default() {
                let inside = Path::new(&file.path).components().all(|part| matches!(part, Component::Normal(_)));
                assert!(inside, "{}", file.path);
                let Ok(opened) = archive.slot(&key, &file.name).open() else { continue };
                let mut opened = opened.take(UNPACKED_BYTES_MAX + 1);
                let read = std::io::copy(&mut opened, &mut std::io::sink()).expect("read a content");
                assert!(read <= UNPACKED_BYTES_MAX, "{read} bytes of {}", file.path);
            }
            // What it says is judged elsewhere: here, that it ends.
            let _ = (archive.quick_check(&key), archive.source_of(&key));
        }
        let _ = (archive.verify(None), archive.look_by(Seen::default()));
    }
}

fn save(store: &Archive, transcript: &Path) {
    let request = SaveRequest {
        id: &SessionId::parse(ID).expect("an id"),
        transcript,
        project: None,
        cwd: Some("/home/dev/proj"),
        compare: Compare::Whole,
        progress: &|_| {},
    };
    store.save(&request).expect("save a session");
}

/// Any bytes where a ledger stands: as they are, or, behind a first `+`, each line with the checksum that is right for it.
///
/// Every look ends, and names nothing outside of the store; the next save goes on.
pub fn ledger(input: &[u8]) {
    let with_sums = |lines: &[u8]| -> Vec<u8> {
        let sum = |line: &[u8]| blake3::hash(line).to_hex()[..16].to_owned();
        lines.split(|byte| *byte == b'\n').flat_map(|l| [sum(l).as_bytes(), b" ", l, b"\n"].concat()).collect()
    };
    Store::with(|store| {
        let text = match input.strip_prefix(b"+") {
            Some(lines) => [&store.good_ledger[..], &with_sums(lines)].concat(),
            None => input.to_vec(),
        };
        fs::write(&store.ledger, text).expect("write a ledger");
        store.read();
        if input.len() % SAVED_ONE_IN == 7 {
            *store = save_over(store);
        } else {
            fs::write(&store.ledger, &store.good_ledger).expect("put the ledger back");
        }
    });
}

/// Saves the source over a store with any ledger; gives a store of which nothing was spoilt.
fn save_over(store: &Store) -> Store {
    let archive = Archive::open(&store.archive).expect("open the store").expect("it is there");
    let transcript = store.folder.path().join(format!("{ID}.jsonl"));
    let id = SessionId::parse(ID).expect("an id");
    let request = SaveRequest {
        id: &id,
        transcript: &transcript,
        project: None,
        cwd: Some("/home/dev/proj"),
        compare: Compare::Whole,
        progress: &|_| {},
    };
    // A newer format, or another session's ledger, is refused and nothing is touched.
    if let Ok(report) = archive.save(&request) {
        let key = report.key.expect("it is saved");
        let held = archive.files(&key).expect("list").into_iter().find(|file| file.name.generation == 0);
        let source = blake3::hash(&fs::read(&transcript).expect("read the source"));
        assert_eq!(held.expect("a newest content").blake3, source, "the newest content");
    }
    Store::new()
}

/// Any bytes where a compressed content stands, recorded or not.
///
/// It is what was recorded, or an error; and it is never unpacked without end.
pub fn compressed(input: &[u8]) {
    Store::with(|store| {
        fs::write(&store.content, input).expect("write a content");
        store.read();
        fs::remove_file(&store.ledger).expect("remove the ledger");
        store.read();
        fs::write(&store.ledger, &store.good_ledger).expect("put the ledger back");
        fs::write(&store.content, &store.good_compressed).expect("put the content back");
    });
}

/// Any bytes where a job stands: one that is understood says the same when it is written again, and its name is plain.
pub fn job(input: &[u8]) {
    let Ok(job) = serde_json::from_slice::<Job>(input) else { return };
    let text = serde_json::to_vec(&job).expect("a job serialises");
    assert_eq!(serde_json::from_slice::<Job>(&text).expect("it is a job"), job);
    let Ok(id) = SessionId::parse(&job.session_id) else { return };
    let name = JobName::of(&id, None, &job.transcript_path).file();
    assert_eq!(Path::new(&name).components().count(), 1, "{name}");
    assert_eq!(JobName::of_file(&name).map(|name| name.file()), Some(name));
}

/// What the mutations of a target begin with.
pub(super) fn seeds(target: &str) -> Vec<Vec<u8>> {
    let job = format!(
        r#"{{"format":1,"seq":3,"session_id":"{ID}","project":"proj","transcript_path":"/h/.claude/projects/-p/{ID}.jsonl","claude_dir":"/h/.claude","cwd":"/p","trigger":"session-end","created_ms":1,"updated_ms":2,"attempts":0,"last_error":null,"is_permanent":false}}"#
    );
    Store::with(|store| match target {
        "ledger" => {
            let json = store.good_ledger.split(|byte| *byte == b'\n').filter_map(|line| line.get(17..));
            let lines: Vec<Vec<u8>> = json.map(|json| [b"+", json].concat()).collect();
            [vec![store.good_ledger.clone()], lines].concat()
        }
        "compressed" => vec![store.good_compressed.clone()],
        _ => vec![job.into_bytes()],
    })
}
