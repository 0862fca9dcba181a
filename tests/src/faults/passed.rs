//! Passed points, kept from one sweep to the next.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::bounds::Bounds;
use super::point::Point;
use crate::binaries;

/// Passed points, in a file that names the binaries and the seed they passed with.
pub(super) struct Passed {
    path: Option<PathBuf>,
    passed: BTreeSet<String>,
    writing: Mutex<()>,
}

impl Passed {
    /// Takes up the record that the bounds name, or begins it anew.
    pub(super) fn open(bounds: &Bounds) -> Passed {
        let head = format!("# {}", fingerprint(bounds.seed));
        let text = bounds.record.as_ref().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        let is_ours = bounds.resume && text.lines().next() == Some(&head);
        let passed = text.lines().filter(|_| is_ours).skip(1).map(str::to_owned).collect();
        if let Some(path) = bounds.record.as_ref().filter(|_| !is_ours) {
            fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).expect("make the record's folder");
            fs::write(path, format!("{head}\n")).expect("begin the record of passed points");
        }
        Passed { path: bounds.record.clone(), passed, writing: Mutex::new(()) }
    }

    /// Whether the point passed before.
    pub(super) fn has(&self, point: &Point) -> bool {
        self.passed.contains(&point.to_string())
    }

    /// Notes that the point passed.
    pub(super) fn add(&self, point: &Point) {
        let Some(path) = &self.path else { return };
        let _writing = self.writing.lock().expect("no writer panics");
        let file = OpenOptions::new().append(true).open(path);
        let written = file.and_then(|mut file| file.write_all(format!("{point}\n").as_bytes()));
        written.expect("record a passed point");
    }
}

fn fingerprint(seed: u64) -> String {
    let mut hasher = blake3::Hasher::new();
    for name in binaries::ALL {
        hasher.update(&fs::read(binaries::folder().join(name)).unwrap_or_default());
    }
    hasher.update(&seed.to_le_bytes());
    hasher.finalize().to_hex()[..16].to_owned()
}
