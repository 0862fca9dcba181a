//! `sweep`: copies every transcript that changed since its copy. The answer to sessions that were
//! killed, machines that crashed and hooks that never fired.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};

use crate::archive::{Archive, ArchiveError, Compare, SaveRequest, TranscriptState};
use crate::hook::LOG_NAME;
use crate::log::Log;
use crate::source::{self, FoundTranscript};

/// What a sweep needs to know.
#[derive(Debug, Clone)]
pub struct SweepConfig {
    /// Layer 1's store.
    pub store: PathBuf,
    /// Claude Code's folder of transcripts.
    pub projects: PathBuf,
    /// Compare all contents, whether the files changed or not.
    pub all: bool,
    /// Draw a progress bar (it draws on a terminal only).
    pub progress: bool,
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct SweepReport {
    /// Transcripts that exist.
    pub seen: usize,
    /// Transcripts that were copied or compared.
    pub copied: usize,
    /// Bytes of content added, side files included.
    pub bytes_added: u64,
    /// Generations begun.
    pub generations_begun: u32,
    /// What could not be copied, one line each.
    pub failures: Vec<String>,
}

/// Sweeps once. One transcript that fails does not stop the others.
pub fn run(config: &SweepConfig) -> Result<SweepReport, ArchiveError> {
    let found = source::transcripts(&config.projects)?;
    let mut report = SweepReport { seen: found.len(), ..SweepReport::default() };
    if found.iter().all(|transcript| transcript.bytes == 0) && Archive::open(&config.store)?.is_none() {
        return Ok(report);
    }
    let archive = Archive::create(&config.store)?;
    let bar = if config.progress { progress_bar(found.len()) } else { ProgressBar::hidden() };
    for transcript in &found {
        if let Err(error) = sweep_one(config, &archive, transcript, &mut report) {
            report.failures.push(format!("failed to {error}"));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let log = Log::of_store(&config.store, LOG_NAME);
    for failure in &report.failures {
        log.line_with_time(&format!("warning: sweep: {failure}"));
    }
    if report.copied > 0 {
        log.line_with_time(&format!(
            "sweep: {} of {} transcripts copied, {} new bytes",
            report.copied, report.seen, report.bytes_added
        ));
    }
    Ok(report)
}

fn sweep_one(
    config: &SweepConfig,
    archive: &Archive,
    transcript: &FoundTranscript,
    report: &mut SweepReport,
) -> Result<(), ArchiveError> {
    if !config.all && !archive.is_behind(&transcript.id, &transcript.path)? {
        return Ok(());
    }
    let request = SaveRequest {
        id: &transcript.id,
        transcript: &transcript.path,
        project: None,
        cwd: None,
        compare: if config.all { Compare::Whole } else { Compare::Windows },
        progress: &|_| {},
    };
    let saved = archive.save(&request)?;
    if saved.transcript != TranscriptState::Absent {
        report.copied += 1;
    }
    report.bytes_added += saved.bytes_added;
    report.generations_begun += saved.generations_begun;
    report.failures.extend(saved.problems.iter().map(|problem| format!("failed to {problem}")));
    Ok(())
}

fn progress_bar(length: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} sweep {bar:30} {pos}/{len} transcripts {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length as u64).with_style(style)
}
