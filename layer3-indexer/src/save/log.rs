//! Where the lines about saves go.

use std::io::Write;

use layer1_prebackup::config::places::Places;
use layer1_prebackup::log::Log;

use crate::terminal::one_line;

/// The file name of this layer's log.
pub(crate) const LOG_NAME: &str = "layer3.log";

/// Where the lines about saves go: the log, and stderr unless something else is drawn there.
#[derive(Debug, Clone)]
pub(crate) struct LogSink {
    places: Places,
    log: Log,
    echo: bool,
}

impl LogSink {
    /// The log of layer 3's store; `echo` to write each line to stderr too.
    pub(crate) fn new(places: &Places, echo: bool) -> LogSink {
        let log = Log::of_store(&places.layer3_store, LOG_NAME, places.policy.log_level);
        LogSink { places: places.clone(), log, echo }
    }

    /// Tells what the store's file system was found to lack, once.
    pub(super) fn tell_shortcomings(&self) {
        self.log.tell_shortcomings();
    }

    /// Writes one line, control characters made harmless.
    pub(crate) fn line(&self, text: &str) {
        let text = one_line(text);
        // Where the store's disk is not there, no folder is made in its place.
        if self.places.away(&self.places.layer3_store).is_none() {
            self.log.line(&text);
        }
        if self.echo {
            // The line is in the log; a stderr that nobody reads must not end a save.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
}
