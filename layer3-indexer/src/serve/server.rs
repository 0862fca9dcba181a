//! What every tool call works with.

use std::path::PathBuf;
use std::sync::Arc;

use layer1_prebackup::config::child_env::ChildEnv;
use layer1_prebackup::config::places::Places;

use crate::browse::team::Archive;
use crate::save::LogSink;
use crate::save::later::Later;
use crate::save::roots::Roots;
use crate::scope::Here;

/// The places, where transcripts may lie, and the log.
#[derive(Debug)]
pub(crate) struct Server {
    pub(super) places: Places,
    /// Where the client works.
    pub(super) here: Here,
    /// What programs are started with.
    pub(super) env: ChildEnv,
    pub(super) roots: Roots,
    pub(super) journal: LogSink,
    pub(super) later: Arc<Later>,
    /// Whether what looks like a secret is masked in answers.
    pub(super) is_masking: bool,
    /// The team's archive that is asked, and nothing else.
    pub(super) archive: Option<Archive>,
}

impl Server {
    /// A server over these places; transcripts below `allowed` may be saved too. With `echo` the
    /// lines about saves go to stderr as well as to the log.
    pub(crate) fn new(places: Places, here: Here, allowed: &[PathBuf], echo: bool) -> Server {
        let (roots, journal) = (Roots::resolve(&places, allowed), LogSink::new(&places, echo));
        let later = Arc::new(Later::start(&places, &journal));
        Server { roots, journal, later, here, env: ChildEnv::default(), is_masking: false, archive: None, places }
    }
}
