//! SIGTERM, SIGINT and SIGHUP: the deliverer stops its server before it ends.
//!
//! Without this a signal would end the deliverer at once and leave a server that hangs without
//! anybody to stop it. A thread of its own waits for the signals, because the work itself is
//! synchronous between the calls and each connection has a runtime of its own.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use layer1_prebackup::config::threads;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long a call that is under way may still take after the signal. Most take far less, and
/// Claude Code sends SIGKILL about 1.5 s after its SIGTERM.
const GRACE: Duration = Duration::from_millis(500);

/// Tells whether this program was told to end.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    told: Arc<(Mutex<bool>, Condvar)>,
    watch: watch::Receiver<Option<Instant>>,
}

impl Interrupt {
    /// Starts to watch. From now on the signals do not end the program by themselves.
    pub(crate) fn listen() -> io::Result<Interrupt> {
        let (sender, watch) = watch::channel(None);
        let told = Arc::new((Mutex::new(false), Condvar::new()));
        let (ready_sender, ready) = mpsc::channel();
        let for_thread = Arc::clone(&told);
        threads::named("signals").spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .thread_stack_size(threads::STACK_BYTES)
                .build()
            {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready_sender.send(Err(error))),
            };
            runtime.block_on(async move {
                let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
                let [mut terminate, mut interrupt, mut hangup] = match kinds.map(signal) {
                    [Ok(terminate), Ok(interrupt), Ok(hangup)] => [terminate, interrupt, hangup],
                    [a, b, c] => {
                        let error = [a.err(), b.err(), c.err()].into_iter().flatten().next();
                        return drop(ready_sender.send(Err(error.unwrap_or_else(|| io::Error::other("signal")))));
                    }
                };
                // The receiver waits for exactly this; a send cannot fail while it does.
                let _ = ready_sender.send(Ok(()));
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = hangup.recv() => {}
                }
                *lock(&for_thread.0) = true;
                for_thread.1.notify_all();
                sender.send_replace(Some(Instant::now()));
                // Kept alive, so that further signals do not end the program half-way.
                std::future::pending::<()>().await;
            });
        })?;
        ready.recv().map_err(io::Error::other)??;
        Ok(Interrupt { told, watch })
    }

    /// [`Interrupt::listen`]; where that cannot be had (no threads, no descriptors, a sandbox) signals end the program,
    /// which is no reason to deliver nothing.
    pub(crate) fn listen_or_not() -> Interrupt {
        Interrupt::listen().unwrap_or_else(|_| Interrupt { told: Arc::default(), watch: watch::channel(None).1 })
    }

    /// Whether a signal came.
    pub(crate) fn came(&self) -> bool {
        *lock(&self.told.0)
    }

    /// Pauses; false when a signal came before the end.
    pub(crate) fn sleep(&self, duration: Duration) -> bool {
        let deadline = Instant::now() + duration;
        let mut told = lock(&self.told.0);
        while !*told {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            told = self.told.1.wait_timeout(told, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    /// Ends when a signal came and a call that was under way had its grace.
    pub(crate) async fn wait(&self) {
        let mut watch = self.watch.clone();
        let told = watch.wait_for(Option::is_some).await.map(|told| *told);
        match told {
            Ok(Some(at)) => tokio::time::sleep_until((at + GRACE).into()).await,
            // The watching thread is gone, so no signal can be told any more.
            _ => std::future::pending::<()>().await,
        }
    }
}

fn lock(told: &Mutex<bool>) -> MutexGuard<'_, bool> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}
