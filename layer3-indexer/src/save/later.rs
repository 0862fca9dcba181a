//! Indexing apart from saving, for the server: a receipt does not wait for the index.
//!
//! One thread indexes what was saved, one session after the other. A save waits for it a little, so that the receipt can
//! mostly say how many messages there are. While nothing is saved it fills in what the index lacks from earlier.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use layer1_prebackup::archive::{Archive, SessionKey};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::config::threads;

use crate::failure::{Failure, chain};
use crate::index::{Index, owed, with_patience};
use crate::save::adopt_v1;
use crate::save::after_save::index_or_warn;
use crate::save::log::LogSink;
use crate::save::rebuild::make_whole;
use crate::save::steps::Steps;

/// How long a save waits for its messages to be indexed.
const WAIT: Duration = Duration::from_secs(3);
/// How long other programs are waited for at a time. What is not indexed then, the next save or search does.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing is saved before what the index lacks is filled in.
const QUIET: Duration = Duration::from_millis(500);

/// The thread that indexes. It is started by the first that needs it.
#[derive(Debug)]
pub(crate) struct Later {
    works: Mutex<Option<Sender<Work>>>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

struct Work {
    key: SessionKey,
    trigger: String,
    done: Sender<(u64, Vec<String>)>,
}

impl Later {
    /// Starts it. Where no thread is to be had, nothing is indexed: the next that can makes up for it.
    pub(crate) fn start(places: &Places, journal: &LogSink) -> Later {
        let (sender, works) = mpsc::channel();
        let (places, journal) = (places.clone(), journal.clone());
        let run = move || with_patience(PATIENCE, || index_all(&places, &journal, &works));
        let worker = threads::named("index").spawn(run).ok();
        Later { works: Mutex::new(worker.is_some().then_some(sender)), worker: Mutex::new(worker) }
    }

    /// Has a saved session indexed; the number of its messages, if that is known by then. If not, the session is on
    /// the list of what is owed to the index, synced, before this returns: the client may end us once it has the receipt.
    pub(super) fn index(&self, archive: &Archive, key: &SessionKey, trigger: &str, warnings: &mut Vec<String>) -> u64 {
        let (done, answer) = mpsc::channel();
        let work = Work { key: key.clone(), trigger: trigger.to_owned(), done };
        let works = self.works.lock().unwrap_or_else(PoisonError::into_inner);
        let is_taken = works.as_ref().is_some_and(|works| works.send(work).is_ok());
        drop(works);
        match answer.recv_timeout(WAIT) {
            Ok((messages, said)) => {
                warnings.extend(said);
                return messages;
            }
            Err(RecvTimeoutError::Timeout) if is_taken => {
                warnings.push("stored; its messages are still being indexed".to_owned());
            }
            Err(_) => warnings.push("stored but not indexed: the next save or search does it".to_owned()),
        }
        if let Err(error) = owed::add(archive.root(), key).and_then(|_| owed::sync(archive.root())) {
            warnings.push(format!("that it is to be indexed could not be noted: {}", chain(&error)));
        }
        0
    }

    /// Waits until all that was saved is indexed.
    pub(crate) fn finish(&self) {
        drop(self.works.lock().unwrap_or_else(PoisonError::into_inner).take());
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        // What panics in it was caught and logged.
        let _ = worker.map(JoinHandle::join);
    }
}

fn index_all(places: &Places, journal: &LogSink, works: &Receiver<Work>) {
    let mut is_whole = false;
    loop {
        let next = match is_whole {
            true => works.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => works.recv_timeout(QUIET),
        };
        let Ok(work) = next else {
            if !is_whole {
                fill(places, journal);
            }
            is_whole = true;
            match next {
                Err(RecvTimeoutError::Disconnected) => return,
                _ => continue,
            }
        };
        let mut warnings = Vec::new();
        let steps = Steps::new(&|_| {});
        let messages = match adopt_v1::open(places) {
            Ok(Some(archive)) => {
                index_or_warn(places, journal, &archive, &work.key, &work.trigger, &steps, &mut warnings)
            }
            // It was there a moment ago; whoever needs it next says what is wrong with it.
            _ => 0,
        };
        // That fills in everything too.
        is_whole = warnings.is_empty();
        if let Err(unsent) = work.done.send((messages, warnings)) {
            for warning in unsent.0.1 {
                journal.line(&format!("[session-save] ⚠️ {}: {warning}", work.key.id));
            }
        }
    }
}

/// Fills in what the index lacks from earlier: a save could not write it, or it was put back to an older state.
fn fill(places: &Places, journal: &LogSink) {
    let fill = || -> Result<usize, Failure> {
        let Some(archive) = adopt_v1::open(places)? else { return Ok(0) };
        let mut index = Index::open(&places.index)?;
        Ok(make_whole(&mut index, &archive, &|_, _| {})?.len())
    };
    let why = match panic::catch_unwind(AssertUnwindSafe(fill)) {
        Ok(Ok(_)) => return,
        Ok(Err(failure)) => failure.to_string(),
        Err(_) => "the indexer failed".to_owned(),
    };
    journal.line(&format!("[session-save] ⚠️ the index lacks conversations: {why}"));
}
