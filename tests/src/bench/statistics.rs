//! What several measurements of one thing say together.

/// Median, the middle half around it, and the ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// As many above it as below.
    pub median: f64,
    /// A quarter is below.
    pub low: f64,
    /// A quarter is above.
    pub high: f64,
    /// One in twenty is above.
    pub p95: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Summary {
    /// Of at least one value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Summary {
        let mut values: Vec<f64> = values.into_iter().collect();
        assert!(!values.is_empty(), "nothing was measured");
        values.sort_by(f64::total_cmp);
        let at = |part| quantile(&values, part);
        Summary { median: at(0.5), low: at(0.25), high: at(0.75), p95: at(0.95), min: at(0.0), max: at(1.0) }
    }

    /// Half of the width of the middle half, as a part of the median.
    pub fn spread(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.high - self.low) / 2.0 / self.median }
    }
}

/// Between two values, in proportion (the usual definition, R's type 7).
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = part * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_quartiles_and_tails() {
        let summary = Summary::of([5.0, 1.0, 3.0, 2.0, 4.0]);
        assert_eq!((summary.median, summary.low, summary.high), (3.0, 2.0, 4.0));
        assert_eq!((summary.min, summary.max), (1.0, 5.0));
        assert!((summary.p95 - 4.8).abs() < 1e-9);
        assert!((summary.spread() - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(Summary::of([2.0, 4.0]).median, 3.0);
        assert_eq!(Summary::of([7.0]).p95, 7.0);
        assert_eq!(Summary::of([0.0, 0.0]).spread(), 0.0);
    }

    #[test]
    fn one_outlier_moves_no_median() {
        assert_eq!(Summary::of([1.0, 1.0, 1.0, 1.0, 1000.0]).median, 1.0);
    }
}
