//! What is swept: which programs, workloads and points, how many, and for how long.

use std::path::PathBuf;
use std::time::Duration;

use super::plan::{Plan, Planned};
use super::point::{Kind, Point, Span, draw};
use super::workload::Workload;

/// Workloads whose calls are for the most part those of another workload: their order of
/// durability is checked, and so many of their points, drawn by the seed.
const SAMPLED: [(&str, &str); 9] = [
    ("layer1", "journal"),
    ("layer1", "repair"),
    ("layer1", "lost-bookkeeping"),
    ("layer2", "deliver-pending"),
    ("layer2", "retry-failed"),
    ("layer3", "save-sides"),
    ("layer3", "restore"),
    ("layer3", "repair"),
    ("layer3", "rebuild"),
];
/// Points of a sampled workload.
const SAMPLED_POINTS: usize = 150;
/// What to sweep.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Only these programs (`layer1`, …); all if none is named.
    pub programs: Vec<String>,
    /// Only these workloads; all if none is named.
    pub workloads: Vec<String>,
    /// Only these points.
    pub only: Vec<String>,
    /// At most so many points a workload, chosen by the seed, and those of [`Bounds::syncs_max`].
    pub points_max: Option<usize>,
    /// Of the points at which a sync is lost, at most so many a workload, where points are chosen; else all of them.
    pub syncs_max: Option<usize>,
    /// Points that are not begun by then are left out, and counted as such.
    pub time_max: Option<Duration>,
    /// What sampling and the crashes of recoveries are drawn from.
    pub seed: u64,
    /// Workers.
    pub jobs: usize,
    /// Where passed points are recorded; they are not run again with the same binaries and seed.
    pub record: Option<PathBuf>,
    /// Whether to begin anew whatever is recorded.
    pub resume: bool,
    /// Tell of failures as they are found, and of each workload.
    pub verbose: bool,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            programs: Vec::new(),
            workloads: Vec::new(),
            only: Vec::new(),
            points_max: None,
            syncs_max: None,
            time_max: None,
            seed: 1,
            jobs: 2,
            record: None,
            resume: false,
            verbose: false,
        }
    }
}

impl Bounds {
    /// Whether something of this workload is swept.
    pub(super) fn wants(&self, workload: &Workload) -> bool {
        let named = |names: &[String], name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
        let prefix = format!("{}/{}/", workload.program, workload.name);
        let by_point = self.only.is_empty() || self.only.iter().any(|point| point.starts_with(&prefix));
        named(&self.programs, workload.program) && named(&self.workloads, workload.name) && by_point
    }

    /// The points of a workload that are tried: all, those asked for, or as many as may be, drawn by the seed.
    pub(super) fn chosen(&self, workload: &Workload, plan: &Plan) -> Vec<Planned> {
        let is_sampled = SAMPLED.contains(&(workload.program, workload.name));
        let points_max = self.points_max.into_iter().chain(is_sampled.then_some(SAMPLED_POINTS)).min();
        if !self.only.is_empty() {
            let asked = |planned: &&Planned| self.only.iter().any(|id| *id == planned.point.to_string());
            return plan.points.iter().filter(asked).cloned().collect();
        }
        let mut points: Vec<(u64, &Planned)> =
            plan.points.iter().map(|planned| (draw(self.seed, &planned.point.to_string()), planned)).collect();
        if let Some(most) = points_max {
            points.sort_by_key(|(drawn, _)| *drawn);
            let (mut syncs, mut others): (Vec<_>, Vec<_>) =
                points.into_iter().partition(|(_, planned)| loses_a_sync(&planned.point));
            syncs.truncate(self.syncs_max.unwrap_or(usize::MAX));
            others.truncate(most);
            points = [syncs, others].concat();
        } else if self.time_max.is_some() {
            // What there is no time for is a sample too, not the tail.
            points.sort_by_key(|(drawn, _)| *drawn);
        }
        points.into_iter().map(|(_, planned)| planned.clone()).collect()
    }
}

/// A program killed before a sync, or whose syncs fail from then on: what it wrote looks well to the
/// next run and is not safe. Most of what the sweep ever found was found here.
fn loses_a_sync(point: &Point) -> bool {
    matches!(point.call.as_str(), "fsync" | "fdatasync")
        && matches!((point.kind, point.span), (Kind::Kill, Span::Once) | (Kind::Eio, Span::On))
}
