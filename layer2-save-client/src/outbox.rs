//! The outbox: jobs that survive everything, in `<layer 1's store>/.outbox/`.
//!
//! One file a job, made durable before the hook goes on. Jobs of one session coalesce; each
//! change raises the job's sequence number, and a job is removed only while that number is the
//! one that was delivered. What stands there and is no job is reported and never deleted.
//!
//! The clean marks of its two locks ([`Lock`]) say that what was written under them, and every folder on the
//! way to it, is on the disk. Whoever finds one without the mark syncs what a killed run may have left.
//! The removal of a job is not synced: one that comes back after a loss of power is delivered once more.

use layer1_prebackup::log::in_one_line;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use layer1_prebackup::archive::ArchiveError;
use layer1_prebackup::fs::{self, Dir, DurableError, Lock};
use layer1_prebackup::names::SessionId;
use layer1_prebackup::wire::outbox_job::{JOB_BYTES_MAX, JOB_FORMAT, Job, JobName, Unreadable};
use layer1_prebackup::wire::outbox_receipt::{RECEIPT_BYTES_MAX, RECEIPTS};
use serde::Deserialize;

use crate::error::{Error, failed};
use crate::receipt::{RECEIPT_FORMAT, Receipt};

/// The folder of the outbox for what is no job any more.
const DAMAGED: &str = "damaged";
/// Held by whoever delivers.
const DELIVERER_LOCK: &str = "deliver.lock";
/// Nobody asks so often: a job that says so is none, and numbers go on from each that is one.
const SEQ_MAX: u64 = u64::MAX / 2;
/// How long the outbox's lock is waited for; it is held for a few small writes.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_POLL: Duration = Duration::from_millis(10);
/// What was told to the user last, by its hash: one cause is told once a day.
const TOLD: &str = ".told";
const TOLD_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// What a hook or `drain` asks to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewJob {
    /// The session.
    pub(crate) id: SessionId,
    /// Its folder in layer 1's store, when that knows it.
    pub(crate) project: Option<String>,
    /// The source.
    pub(crate) transcript_path: String,
    /// The configuration directory that the transcript lies in.
    pub(crate) claude_dir: String,
    /// Working directory of the event.
    pub(crate) cwd: Option<String>,
    /// Kind of the event.
    pub(crate) trigger: String,
}

impl NewJob {
    /// The name under which it coalesces.
    pub(crate) fn name(&self) -> JobName {
        JobName::of(&self.id, self.project.as_deref(), &self.transcript_path)
    }
}

/// What stands in the outbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// The jobs, by name.
    pub(crate) jobs: Vec<(JobName, Job)>,
    /// Everything else; left alone.
    pub(crate) unreadable: Vec<Unreadable>,
}

/// The outbox of a layer 1 store.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    dir: PathBuf,
}

impl Outbox {
    /// The outbox in `dir`. Nothing is made until the first job.
    pub(crate) fn at(dir: PathBuf) -> Outbox {
        Outbox { dir }
    }

    /// The job as it would be, for one that cannot be made durable.
    pub(crate) fn unkept(new: &NewJob, now_ms: u64) -> (JobName, Job) {
        (new.name(), coalesced(None, new, now_ms, 1))
    }

    /// Makes the job durable, or raises the sequence number of the one that is there.
    pub(crate) fn enqueue(&self, new: &NewJob, now_ms: u64) -> Result<(JobName, Job), Error> {
        let name = new.name();
        let lock = self.lock()?;
        let (earlier, first_seq) = self.read_or_set_aside(&lock, &name, now_ms)?;
        let job = coalesced(earlier, new, now_ms, first_seq);
        self.write(&lock, &name, &job)?;
        Ok((name, job))
    }

    /// [`Outbox::enqueue`], unless the session has a job already.
    pub(crate) fn enqueue_if_absent(&self, new: &NewJob, now_ms: u64) -> Result<bool, Error> {
        let name = new.name();
        let lock = self.lock()?;
        let (earlier, first_seq) = self.read_or_set_aside(&lock, &name, now_ms)?;
        if earlier.is_none() {
            self.write(&lock, &name, &coalesced(None, new, now_ms, first_seq))?;
        }
        Ok(earlier.is_none())
    }

    /// The job that is there, and the number that one made anew begins with.
    fn read_or_set_aside(&self, lock: &Lock, name: &JobName, now_ms: u64) -> Result<(Option<Job>, u64), Error> {
        match self.read(name) {
            Ok(earlier) => Ok((earlier, 1)),
            // Only what was read and is no job. What is wrong with it can be seen in `damaged/`; the session is
            // asked for anew. A deliverer may have read it while it was whole: never the same number twice.
            Err(error) if error.is::<Unreadable>() => {
                self.set_aside(lock, name, now_ms)?;
                Ok((None, now_ms))
            }
            Err(error) => Err(error),
        }
    }

    /// Everything in the outbox. Writes nothing; an absent outbox is an empty one.
    pub(crate) fn list(&self) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        let Some(dir) = Dir::open_own(&self.dir)? else { return Ok(listing) };
        for (name, kind) in dir.entries()? {
            let text = name.to_string_lossy().into_owned();
            // Hidden names are temporary files of a write that is under way.
            if text.starts_with('.') || text.ends_with(".lock") || kind == rustix::fs::FileType::Directory {
                continue;
            }
            let Some(job) = JobName::of_file(&text) else {
                listing.unreadable.push(Unreadable { name: text, what: "not a job".to_owned() });
                continue;
            };
            match self.read(&job) {
                Ok(Some(found)) => listing.jobs.push((job, found)),
                // Delivered and removed since the directory was listed.
                Ok(None) => {}
                Err(error) => listing.unreadable.push(match error.downcast() {
                    Ok(unreadable) => *unreadable,
                    // It may be readable the next time; until then it is told like the others.
                    Err(error) => Unreadable { name: text, what: in_one_line(&*error) },
                }),
            }
        }
        Ok(listing)
    }

    /// Removes the job if nobody asked for another delivery since `seq` was read; true if it is gone.
    pub(crate) fn remove_if_unchanged(&self, name: &JobName, seq: u64) -> Result<bool, Error> {
        let _lock = self.lock()?;
        match self.read(name)? {
            Some(job) if job.seq == seq => match Dir::open_own(&self.dir)? {
                Some(dir) => Ok(dir.remove_unsynced(OsStr::new(&name.file()))?),
                None => Ok(true),
            },
            Some(_) => Ok(false),
            None => Ok(true),
        }
    }

    /// Changes a job in place, sequence number and all else as they are by then. Gone jobs stay gone.
    pub(crate) fn update(&self, name: &JobName, change: impl FnOnce(&mut Job)) -> Result<(), Error> {
        let lock = self.lock()?;
        if let Some(mut job) = self.read(name)? {
            change(&mut job);
            self.write(&lock, name, &job)?;
        }
        Ok(())
    }

    /// The right to deliver, if nobody else has it. It dies with its holder.
    pub(crate) fn deliverer_lock(&self) -> Result<Option<Lock>, Error> {
        Ok(Lock::try_in(&Dir::create_own(&self.dir)?, OsStr::new(DELIVERER_LOCK))?)
    }

    /// Where that lock lies.
    pub(crate) fn deliverer_lock_path(&self) -> PathBuf {
        self.dir.join(DELIVERER_LOCK)
    }

    /// Whether a cause was not told within a day; from now on it was. Where that cannot be noted it is told again.
    pub(crate) fn is_news(&self, cause: &str) -> bool {
        let hash = blake3_of(cause);
        let is_recent = || {
            let told_at = std::fs::symlink_metadata(self.dir.join(TOLD)).and_then(|meta| meta.modified()).ok()?;
            Some(std::time::SystemTime::now().duration_since(told_at).is_ok_and(|age| age < TOLD_AGAIN))
        };
        let told = self.read_file(Path::new(TOLD), JOB_BYTES_MAX);
        let is_known = told.is_ok_and(|told| told.as_deref() == Some(hash.as_bytes()));
        if is_known && is_recent() == Some(true) {
            return false;
        }
        // As above. Without an outbox there is nothing to make one for.
        let _ = self.dir.is_dir().then(|| self.replace_file(Path::new(TOLD), hash.as_bytes()));
        true
    }

    /// The last receipt of a session; `None` if there is none, or none that can be read: then
    /// the session is delivered once more, which is always safe.
    pub(crate) fn receipt(&self, name: &JobName) -> Option<Receipt> {
        let bytes = self.read_file(&receipt_rel(name), RECEIPT_BYTES_MAX).ok().flatten()?;
        serde_json::from_slice(&bytes).ok().filter(|receipt: &Receipt| receipt.format == RECEIPT_FORMAT)
    }

    /// An error if the receipt that is kept is a newer version's: it is not this one's to replace.
    pub(crate) fn refuse_newer_receipt(&self, name: &JobName) -> Result<(), Error> {
        let path = self.receipt_path(name);
        // One that cannot be read is replaced, as a damaged one is.
        let bytes = self.read_file(&receipt_rel(name), RECEIPT_BYTES_MAX).ok().flatten().unwrap_or_default();
        refuse_newer(&bytes, RECEIPT_FORMAT, &path)
    }

    /// Keeps a receipt durably, under [`Outbox::deliverer_lock`].
    pub(crate) fn keep_receipt(&self, lock: &Lock, name: &JobName, receipt: &Receipt) -> Result<(), Error> {
        self.refuse_newer_receipt(name)?;
        let mut bytes = serde_json::to_vec(receipt).map_err(failed("encode a receipt as JSON"))?;
        bytes.push(b'\n');
        self.sync_what_was_left(lock)?;
        marked(lock, || Ok(self.replace_file(&receipt_rel(name), &bytes)?))
    }

    /// Removes what a killed hook or deliverer left half-written. Only the holder of
    /// [`Outbox::deliverer_lock`] may.
    pub(crate) fn remove_temporaries(&self) -> Result<(), Error> {
        let _lock = self.lock()?;
        let Some(outbox) = Dir::open_own(&self.dir)? else { return Ok(()) };
        for folder in ["", RECEIPTS] {
            let dir = match outbox.open_beneath(Path::new(folder)) {
                // As above.
                Err(error) if error.is_not_ours() => continue,
                dir => dir?,
            };
            let Some(dir) = dir else { continue };
            for (name, _) in dir.entries()? {
                if is_temporary(&name) {
                    dir.remove(&name)?;
                }
            }
        }
        Ok(())
    }

    fn lock(&self) -> Result<Lock, Error> {
        let (dir, path) = (Dir::create_own(&self.dir)?, self.dir.join("outbox.lock"));
        // A lock that waits cannot be given up, and a stopped holder must not stop a hook.
        let taken = fs::wait_for(&path, LOCK_WAIT, LOCK_POLL, |_| Lock::try_in(&dir, OsStr::new("outbox.lock")))?;
        let Some(lock) = taken else {
            let (path, seconds) = (path.display(), LOCK_WAIT.as_secs());
            return Err(format!("lock {path}: another process has held it for {seconds} s").into());
        };
        self.sync_what_was_left(&lock)?;
        Ok(lock)
    }

    /// Syncs what was put into the outbox, and every folder on the way to it, unless the last run that wrote
    /// under this lock finished. Its bytes were synced before it got its name.
    pub(crate) fn sync_what_was_left(&self, lock: &Lock) -> Result<(), Error> {
        if lock.is_clean()? {
            return Ok(());
        }
        let Some(outbox) = Dir::open_own(&self.dir)? else { return Ok(()) };
        for folder in [RECEIPTS, DAMAGED] {
            match outbox.open_beneath(Path::new(folder)) {
                Ok(Some(folder)) => folder.sync()?,
                // Whoever needs the folder puts aside what stands in its place.
                Err(error) if !error.is_not_ours() => return Err(error.into()),
                _ => {}
            }
        }
        outbox.sync_way_up()?;
        marked(lock, || Ok(()))
    }

    fn read(&self, name: &JobName) -> Result<Option<Job>, Error> {
        let unreadable = |what: String| Unreadable { name: name.file(), what };
        let bytes = match self.read_file(Path::new(&name.file()), JOB_BYTES_MAX) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error) if error.is_not_ours() => return Err(unreadable(format!("not a job: {}", error.source)).into()),
            Err(error) => return Err(error.into()),
        };
        refuse_newer(&bytes, JOB_FORMAT, &self.path(name))?;
        let job: Job = serde_json::from_slice(&bytes).map_err(|error| unreadable(format!("not a job: {error}")))?;
        if job.format != JOB_FORMAT {
            return Err(unreadable(format!("a job of format {}, which this version does not know", job.format)).into());
        }
        if job.seq > SEQ_MAX || job.attempts > SEQ_MAX {
            return Err(unreadable("not a job: nobody asked for it so often".to_owned()).into());
        }
        SessionId::parse(&job.session_id).map_err(|error| unreadable(error.to_string()))?;
        Ok(Some(job))
    }

    fn write(&self, lock: &Lock, name: &JobName, job: &Job) -> Result<(), Error> {
        let mut bytes = serde_json::to_vec(job).map_err(failed("encode a job as JSON"))?;
        bytes.push(b'\n');
        marked(lock, || Ok(self.replace_file(Path::new(&name.file()), &bytes)?))
    }

    /// Moves a file that is no job out of the way, to what was damaged.
    pub(crate) fn put_aside(&self, file: &str, now_ms: u64) -> Result<(), Error> {
        self.move_to_damaged(&self.lock()?, file, now_ms)
    }

    fn set_aside(&self, lock: &Lock, name: &JobName, now_ms: u64) -> Result<(), Error> {
        self.move_to_damaged(lock, &name.file(), now_ms)
    }

    fn move_to_damaged(&self, lock: &Lock, file: &str, now_ms: u64) -> Result<(), Error> {
        let folder = self.dir.join(DAMAGED);
        marked(lock, || {
            Dir::create_own(&self.dir)?.create_own_beneath(Path::new(DAMAGED))?;
            Ok(fs::rename_new(&self.dir.join(file), &folder.join(format!("{file}.{now_ms}")))?)
        })
    }

    fn path(&self, name: &JobName) -> PathBuf {
        self.dir.join(name.file())
    }

    /// A file's bytes; `None` if there is none. Never those of what can be no file of ours.
    fn read_file(&self, rel: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, DurableError> {
        let (store, folder) = self.place();
        fs::read_own(store, &folder.join(rel), bytes_max)
    }

    fn replace_file(&self, rel: &Path, bytes: &[u8]) -> Result<(), DurableError> {
        let (store, folder) = self.place();
        fs::replace_own(store, &folder.join(rel), bytes)
    }

    /// The store that it lies in, and its folder there.
    fn place(&self) -> (&Path, &Path) {
        let store = self.dir.parent().unwrap_or(Path::new("."));
        (store, self.dir.strip_prefix(store).unwrap_or(&self.dir))
    }

    fn receipt_path(&self, name: &JobName) -> PathBuf {
        self.dir.join(RECEIPTS).join(name.file())
    }
}

/// Takes the lock's mark away for a write, and sets it again when that has succeeded.
fn marked(lock: &Lock, write: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    lock.mark_unknown()?;
    write()?;
    // Without the mark the next run syncs once more.
    let _ = lock.mark_clean();
    Ok(())
}

fn coalesced(earlier: Option<Job>, new: &NewJob, now_ms: u64, first_seq: u64) -> Job {
    let fresh = Job {
        format: JOB_FORMAT,
        seq: first_seq,
        session_id: new.id.to_string(),
        project: new.project.clone(),
        transcript_path: new.transcript_path.clone(),
        claude_dir: new.claude_dir.clone(),
        cwd: new.cwd.clone(),
        trigger: new.trigger.clone(),
        created_ms: now_ms,
        updated_ms: now_ms,
        attempts: 0,
        last_error: None,
        failed: None,
    };
    match earlier {
        None => fresh,
        Some(earlier) => Job {
            seq: earlier.seq + 1,
            cwd: fresh.cwd.clone().or(earlier.cwd),
            created_ms: earlier.created_ms,
            attempts: earlier.attempts,
            last_error: earlier.last_error,
            failed: earlier.failed,
            ..fresh
        },
    }
}

fn blake3_of(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

fn is_temporary(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') && name.ends_with(".tmp")
}

/// What a newer version wrote may look broken to this one; its format number can be read always.
fn refuse_newer(bytes: &[u8], known: u32, path: &Path) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Formatted {
        format: u64,
    }
    match serde_json::from_slice(bytes) {
        Ok(Formatted { format }) if format > u64::from(known) => {
            Err(ArchiveError::NewerFormat { path: path.to_owned(), format }.into())
        }
        // Whoever reads it for good says what else is wrong.
        _ => Ok(()),
    }
}

fn receipt_rel(name: &JobName) -> PathBuf {
    Path::new(RECEIPTS).join(name.file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::RECEIPT_FORMAT;
    use layer1_prebackup::wire::outbox_job::Failed;

    fn outbox() -> (tempfile::TempDir, Outbox) {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::at(dir.path().join("store/.outbox"));
        (dir, outbox)
    }

    fn new_job(id: &str, project: Option<&str>) -> NewJob {
        NewJob {
            id: SessionId::parse(id).unwrap(),
            project: project.map(str::to_owned),
            transcript_path: format!("/h/.claude/projects/-p/{id}.jsonl"),
            claude_dir: "/h/.claude".into(),
            cwd: Some("/p".into()),
            trigger: "stop".into(),
        }
    }

    #[test]
    fn jobs_of_one_session_coalesce_and_keep_their_history() {
        let (_dir, outbox) = outbox();
        let (name, first) = outbox.enqueue(&new_job("a", Some("p")), 10).unwrap();
        assert_eq!((name.as_str(), first.seq), ("a@p", 1));
        let failed =
            Failed { reason: "r".into(), content: "c".into(), server: "s".into(), told: false, dismissed: false };
        let fail =
            |job: &mut Job| (job.attempts, job.last_error, job.failed) = (2, Some("e".into()), Some(failed.clone()));
        outbox.update(&name, fail).unwrap();
        let again = NewJob { trigger: "session-end".into(), cwd: None, ..new_job("a", Some("p")) };
        let (_, second) = outbox.enqueue(&again, 20).unwrap();
        assert_eq!(second.seq, 2);
        assert_eq!((second.created_ms, second.updated_ms, second.attempts), (10, 20, 2));
        assert_eq!((second.last_error.as_deref(), &second.failed), (Some("e"), &Some(failed)));
        assert_eq!((second.trigger.as_str(), second.cwd.as_deref()), ("session-end", Some("/p")));
        assert_eq!(outbox.list().unwrap().jobs, [(name, second)]);
    }

    #[test]
    fn one_id_under_two_projects_is_two_jobs() {
        let (_dir, outbox) = outbox();
        let elsewhere = NewJob { transcript_path: "/h/.claude/projects/-q/a.jsonl".into(), ..new_job("a", None) };
        for job in [new_job("a", Some("p")), new_job("a", Some("p~2")), new_job("a", None), elsewhere] {
            assert_eq!(outbox.enqueue(&job, 1).unwrap().1.seq, 1);
        }
        assert_eq!(outbox.list().unwrap().jobs.len(), 4);
        let long = JobName::of(&SessionId::parse(&"x".repeat(128)).unwrap(), Some(&"p".repeat(120)), "/t");
        assert!(long.file().len() < 200);
    }

    #[test]
    fn a_job_that_changed_during_its_delivery_stays() {
        let (_dir, outbox) = outbox();
        let (name, read) = outbox.enqueue(&new_job("a", Some("p")), 1).unwrap();
        outbox.enqueue(&new_job("a", Some("p")), 2).unwrap();
        assert!(!outbox.remove_if_unchanged(&name, read.seq).unwrap());
        assert!(outbox.remove_if_unchanged(&name, 2).unwrap());
        assert!(outbox.list().unwrap().jobs.is_empty());
        assert!(outbox.remove_if_unchanged(&name, 2).unwrap(), "gone is gone");
        outbox.update(&name, |job| job.attempts = 9).unwrap();
        assert!(outbox.list().unwrap().jobs.is_empty(), "an update does not bring it back");
    }

    #[test]
    fn only_an_absent_job_is_made_by_drain() {
        let (_dir, outbox) = outbox();
        assert!(outbox.enqueue_if_absent(&new_job("a", Some("p")), 1).unwrap());
        assert!(!outbox.enqueue_if_absent(&new_job("a", Some("p")), 2).unwrap());
        assert_eq!(outbox.list().unwrap().jobs[0].1.seq, 1);
    }

    #[test]
    fn garbage_is_reported_and_kept() {
        let (dir, outbox) = outbox();
        let (name, job) = outbox.enqueue(&new_job("a", Some("p")), 1).unwrap();
        let root = dir.path().join("store/.outbox");
        let newer = serde_json::to_string(&Job { format: 9, ..job.clone() }).unwrap();
        let older = serde_json::to_string(&Job { format: 0, ..job }).unwrap();
        for (file, content) in
            [("b@p.json", "{\"cut"), ("c@p.json", newer.as_str()), ("d@p.json", older.as_str()), ("notes.txt", "hello")]
        {
            std::fs::write(root.join(file), content).unwrap();
        }
        // No jobs, and nothing to be told: what is being written, locks and folders.
        std::fs::write(root.join(".x.tmp"), "").unwrap();
        std::fs::create_dir(root.join("folder.json")).unwrap();
        layer1_prebackup::fs::platform::make_fifo(&root.join("f@p.json"));
        let listing = outbox.list().unwrap();
        assert_eq!(listing.jobs.len(), 1);
        let names: Vec<_> = listing.unreadable.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["b@p.json", "c@p.json", "d@p.json", "f@p.json", "notes.txt"]);
        assert!(outbox.remove_if_unchanged(&name, 1).unwrap());
        // A new event for a session whose job is damaged: the damaged file moves aside.
        let (_, anew) = outbox.enqueue(&new_job("b", Some("p")), 7).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("damaged/b@p.json.7")).unwrap(), "{\"cut");
        assert_eq!(outbox.list().unwrap().jobs, [(new_job("b", Some("p")).name(), anew.clone())]);
        assert_eq!((anew.session_id.as_str(), anew.seq), ("b", 7), "a number that no deliverer has read");
        // So does one that only an absent job is asked for of; a newer version's stays, and is refused.
        assert!(outbox.enqueue_if_absent(&new_job("d", Some("p")), 8).unwrap());
        assert_eq!(std::fs::read_to_string(root.join("damaged/d@p.json.8")).unwrap(), older);
        assert!(outbox.enqueue(&new_job("c", Some("p")), 9).is_err());
        assert_eq!(std::fs::read_to_string(root.join("c@p.json")).unwrap(), newer);
    }

    #[test]
    fn an_absent_outbox_is_empty_and_stays_absent() {
        let (dir, outbox) = outbox();
        assert_eq!(outbox.list().unwrap(), Listing::default());
        assert!(!dir.path().join("store").exists());
    }

    fn receipt() -> Receipt {
        Receipt {
            format: RECEIPT_FORMAT,
            session_id: "a".into(),
            project: None,
            store_id: "s".into(),
            server: "session-manager 1".into(),
            received_ms: 1,
            unreceipted: false,
            files: Vec::new(),
        }
    }

    #[test]
    fn a_receipt_of_a_newer_version_is_not_read_and_not_replaced() {
        let (dir, outbox) = outbox();
        let (name, _) = outbox.enqueue(&new_job("a", Some("p")), 1).unwrap();
        let lock = outbox.deliverer_lock().unwrap().unwrap();
        outbox.keep_receipt(&lock, &name, &receipt()).unwrap();
        outbox.keep_receipt(&lock, &name, &Receipt { received_ms: 2, ..receipt() }).unwrap();
        assert_eq!(outbox.receipt(&name).unwrap().received_ms, 2);
        let path = dir.path().join("store/.outbox/receipts").join(name.file());
        let newer = serde_json::to_string(&Receipt { format: RECEIPT_FORMAT + 1, ..receipt() }).unwrap();
        std::fs::write(&path, &newer).unwrap();
        assert_eq!(outbox.receipt(&name), None);
        assert!(outbox.keep_receipt(&lock, &name, &receipt()).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);
    }

    #[test]
    fn a_lock_that_is_held_for_a_moment_is_waited_for_and_what_a_killed_run_left_is_seen_to() {
        let (dir, outbox) = outbox();
        let (name, job) = outbox.enqueue(&new_job("a", Some("p")), 1).unwrap();
        let path = dir.path().join("store/.outbox/outbox.lock");
        let mark = || std::fs::metadata(&path).unwrap().len();
        assert_eq!(mark(), 1);
        // A run that was killed between its write and the mark.
        std::fs::write(&path, "").unwrap();
        let held = Lock::try_now(&path).unwrap().unwrap();
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        let holder = std::thread::spawn(move || {
            let _ = never.recv_timeout(3 * LOCK_POLL);
            drop(held);
        });
        assert!(!outbox.remove_if_unchanged(&name, job.seq + 1).unwrap());
        assert_eq!(mark(), 1);
        holder.join().unwrap();
    }

    #[test]
    fn leftovers_of_a_killed_writer_go_and_receipts_stay() {
        let (dir, outbox) = outbox();
        let (name, _) = outbox.enqueue(&new_job("a", Some("p")), 1).unwrap();
        let receipt = receipt();
        let lock = outbox.deliverer_lock().unwrap().unwrap();
        outbox.keep_receipt(&lock, &name, &receipt).unwrap();
        let root = dir.path().join("store/.outbox");
        for leftover in [".a@p.json.17.tmp", "receipts/.a@p.json.17.tmp", ".anothers", "receipts/anothers.tmp"] {
            std::fs::write(root.join(leftover), "half").unwrap();
        }
        outbox.remove_temporaries().unwrap();
        assert!(!root.join(".a@p.json.17.tmp").exists() && !root.join("receipts/.a@p.json.17.tmp").exists());
        assert!(root.join(".anothers").exists() && root.join("receipts/anothers.tmp").exists());
        assert_eq!(outbox.receipt(&name), Some(receipt));
        std::fs::write(root.join("receipts/a@p.json"), "{").unwrap();
        assert_eq!(outbox.receipt(&name), None);
    }

    #[test]
    fn there_is_one_deliverer() {
        let (_dir, outbox) = outbox();
        let held = outbox.deliverer_lock().unwrap();
        assert!(held.is_some());
        assert!(outbox.deliverer_lock().unwrap().is_none());
        drop(held);
        assert!(outbox.deliverer_lock().unwrap().is_some());
    }
}
