//! What a workload may cost, and whether it did.

/// A number that may not be exceeded.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// What is limited.
    pub what: String,
    /// What was measured.
    pub actual: f64,
    /// What is allowed.
    pub limit: f64,
    /// Of both numbers.
    pub unit: Unit,
}

/// How numbers are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A ratio of two measurements.
    Times,
    /// A part of a whole.
    Percent,
}

impl Budget {
    /// Allows `limit` of something.
    pub fn new(what: impl Into<String>, actual: f64, limit: f64, unit: Unit) -> Budget {
        Budget { what: what.into(), actual, limit, unit }
    }

    /// Whether it was kept. What is not a number was not measured, and is not kept.
    pub fn is_met(&self) -> bool {
        self.actual <= self.limit
    }

    /// `met` or how far it was missed.
    pub fn verdict(&self) -> String {
        if self.is_met() { "met".to_owned() } else { format!("MISSED by {:.2} ×", self.actual / self.limit) }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let (actual, limit) = (self.unit.show(self.actual), self.unit.show(self.limit));
        format!("{}: {actual}, at most {limit}: {}", self.what, self.verdict())
    }
}

impl Unit {
    /// The number as people read it.
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Seconds if value < 1.0 => format!("{:.1} ms", value * 1e3),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Bytes if value < 1e6 => format!("{:.0} kB", value / 1e3),
            Unit::Bytes => format!("{:.1} MB", value / 1e6),
            Unit::Times => format!("{value:.3} ×"),
            Unit::Percent => format!("{value:.1} %"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_met_or_missed() {
        let budget = |actual| Budget::new("memory", actual, 64e6, Unit::Bytes);
        assert_eq!(budget(64e6).line(), "memory: 64.0 MB, at most 64.0 MB: met");
        assert_eq!(budget(96e6).line(), "memory: 96.0 MB, at most 64.0 MB: MISSED by 1.50 ×");
        assert!(!budget(f64::NAN).is_met(), "what was not measured is not met");
    }

    #[test]
    fn numbers_are_shown_in_a_unit_that_fits() {
        let shown =
            [Unit::Seconds.show(0.0042), Unit::Seconds.show(4.2), Unit::Bytes.show(4096.0), Unit::Times.show(0.1)];
        assert_eq!(shown, ["4.2 ms", "4.20 s", "4 kB", "0.100 ×"]);
    }
}
