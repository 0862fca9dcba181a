//! The table, and the same as JSON.

use serde_json::{Value, json};

use super::budgets::{Budget, Unit};
use super::contest::Entry;

/// One workload, all who did it, and what it may cost.
#[derive(Debug)]
pub struct Row {
    /// The workload.
    pub name: String,
    /// Ours first.
    pub entries: Vec<Entry>,
    /// Empty where none was set.
    pub budgets: Vec<Budget>,
}

impl Row {
    /// A row.
    pub fn new(name: &str, entries: Vec<Entry>, budgets: Vec<Budget>) -> Row {
        Row { name: name.to_owned(), entries, budgets }
    }

    /// Its lines in the table.
    pub fn lines(&self) -> String {
        let mut lines = format!("\n{}\n", self.name);
        for entry in &self.entries {
            lines.push_str(&line(entry));
        }
        for budget in &self.budgets {
            lines.push_str(&format!("    budget  {}\n", budget.line()));
        }
        lines
    }

    fn json(&self) -> Value {
        let budgets = self.budgets.iter().map(|budget| {
            json!({"what": budget.what, "actual": budget.actual, "limit": budget.limit, "unit": format!("{:?}", budget.unit), "met": budget.is_met()})
        });
        json!({
            "work": self.name,
            "entries": self.entries.iter().map(entry_json).collect::<Vec<_>>(),
            "budgets": budgets.collect::<Vec<_>>(),
        })
    }
}

/// The head of the table.
pub fn head() -> String {
    format!(
        "{:<16} {:>10} {:>7} {:>10} {:>10} {:>10} {:>9} {:>10} {:>6}\n",
        "", "until exit", "± %", "95 %", "until end", "CPU", "memory", "written", "syncs"
    )
}

fn line(entry: &Entry) -> String {
    let seconds = |value| Unit::Seconds.show(value);
    let bytes = |value: u64| Unit::Bytes.show(value as f64);
    format!(
        "  {:<14} {:>10} {:>7} {:>10} {:>10} {:>10} {:>9} {:>10} {:>6}\n",
        entry.name,
        seconds(entry.exit_s.median),
        format!("{:.0}", 100.0 * entry.exit_s.spread()),
        seconds(entry.exit_s.p95),
        seconds(entry.end_s.median),
        seconds(entry.cpu_s.median),
        bytes(entry.rss_bytes),
        bytes(entry.written_bytes),
        entry.syncs.map_or_else(|| "?".to_owned(), |syncs| syncs.to_string()),
    )
}

fn entry_json(entry: &Entry) -> Value {
    let summary = |summary: &super::statistics::Summary| json!({"median": summary.median, "low": summary.low, "high": summary.high, "p95": summary.p95, "min": summary.min, "max": summary.max});
    json!({
        "name": entry.name,
        "exit_s": summary(&entry.exit_s),
        "end_s": summary(&entry.end_s),
        "cpu_s": summary(&entry.cpu_s),
        "rss_bytes": entry.rss_bytes,
        "written_bytes": entry.written_bytes,
        "syncs": entry.syncs,
    })
}

/// All rows as one value.
pub fn json(rows: &[Row], quick: bool) -> Value {
    json!({"machine": machine(), "quick": quick, "rows": rows.iter().map(Row::json).collect::<Vec<_>>()})
}

/// Processor, cores and kernel: without them a time means little.
fn machine() -> Value {
    // Where /proc does not tell, nothing is said.
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    json!({"cpu": model, "cores": cores, "kernel": read("/proc/sys/kernel/osrelease").trim()})
}

/// What the budgets say together: the last lines of a run.
pub fn verdicts(rows: &[Row]) -> String {
    let budgets: Vec<(&str, &Budget)> =
        rows.iter().flat_map(|row| row.budgets.iter().map(|budget| (row.name.as_str(), budget))).collect();
    let missed: Vec<_> = budgets.iter().filter(|(_, budget)| !budget.is_met()).collect();
    let mut lines = format!("\n{} of {} budgets met\n", budgets.len() - missed.len(), budgets.len());
    for (name, budget) in missed {
        lines.push_str(&format!("  {name}: {}\n", budget.line()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::statistics::Summary;
    use super::*;

    fn row(actual: f64) -> Row {
        let summary = |value| Summary::of([value]);
        let entry = Entry {
            name: "threefold",
            exit_s: summary(0.004),
            end_s: summary(0.004),
            cpu_s: summary(0.002),
            rss_bytes: 4_300_000,
            written_bytes: 110_000,
            syncs: Some(2),
        };
        Row::new("delta 10 MB", vec![entry], vec![Budget::new("time", actual, 0.1, Unit::Times)])
    }

    #[test]
    fn a_row_shows_what_was_measured_and_its_verdict() {
        let lines = row(0.2).lines();
        for shown in
            ["delta 10 MB", "4.0 ms", "2.0 ms", "4.3 MB", "110 kB", "0.200 ×, at most 0.100 ×: MISSED by 2.00 ×"]
        {
            assert!(lines.contains(shown), "{shown}: {lines}");
        }
        assert_eq!(json(&[row(0.2)], true)["rows"][0]["budgets"][0]["met"], false);
    }

    #[test]
    fn the_last_lines_count_and_name_what_was_missed() {
        assert_eq!(verdicts(&[row(0.05), row(0.07)]), "\n2 of 2 budgets met\n");
        let lines = verdicts(&[row(0.05), row(0.2)]);
        assert!(lines.contains("1 of 2 budgets met") && lines.contains("  delta 10 MB: time"), "{lines}");
    }
}
