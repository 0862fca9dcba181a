//! The picture for the README: bars on a logarithmic scale, readable on a light page and on a dark one.

use std::fmt::Write;

use super::budgets::Unit;
use super::contest::Entry;
use super::report::Row;
use super::works::OURS;

const WIDTH: f64 = 860.0;
const BARS_FROM: f64 = 150.0;
const BARS_TO: f64 = 760.0;
const BAR: f64 = 13.0;
const STEP: f64 = 18.0;
const GAP: f64 = 34.0;
const TOP: f64 = 46.0;
/// Colours that stand off from white and from black; what is written takes the page's own.
const OUR_COLOUR: &str = "#2f81f7";
const OTHER_COLOUR: &str = "#8b949e";
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1f2328}.work{font-weight:600}.scale{stroke:#8b949e;stroke-opacity:.35}.tick{fill:#6e7781}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.tick{fill:#9198a1}}";

/// What a reader wants to know first; the table has the rest.
const PICTURED: [&str; 7] =
    ["delta 10 MB", "delta 1 GB", "session end 10 MB", "first save 100 MB", "import", "search rare", "search common"];

/// The rows of `PICTURED` as one SVG: for each workload a bar for everybody, as long as the logarithm
/// of its time.
pub fn svg(rows: &[Row]) -> String {
    let rows: Vec<&Row> = rows.iter().filter(|row| PICTURED.contains(&row.name.as_str())).collect();
    let times = || rows.iter().flat_map(|row| &row.entries).map(time);
    let (low, high) =
        (decade(times().fold(f64::INFINITY, f64::min), f64::floor), decade(times().fold(0.0, f64::max), f64::ceil));
    let scale = Scale { low, high: if high > low { high } else { low + 1.0 } };
    let bars: usize = rows.iter().map(|row| row.entries.len()).sum();
    let height = TOP + rows.len() as f64 * GAP + bars as f64 * STEP + 12.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Time until done, logarithmic\"><style>{STYLE}</style>\n"
    );
    put(
        &mut svg,
        format_args!(
            "<text class=\"work\" x=\"8\" y=\"18\">Time until done, median; the scale is logarithmic</text>\n"
        ),
    );
    scale.lines(&mut svg, height);
    let mut y = TOP;
    for row in rows {
        y += GAP;
        put(&mut svg, format_args!("<text class=\"work\" x=\"8\" y=\"{}\">{}</text>\n", y - 8.0, escaped(&row.name)));
        for entry in &row.entries {
            bar(&mut svg, &scale, entry, y);
            y += STEP;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn bar(svg: &mut String, scale: &Scale, entry: &Entry, y: f64) {
    let end = scale.place(time(entry));
    let colour = if entry.name == OURS { OUR_COLOUR } else { OTHER_COLOUR };
    let text = y + BAR - 2.5;
    put(
        svg,
        format_args!("<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>", BARS_FROM - 8.0, escaped(entry.name)),
    );
    put(
        svg,
        format_args!(
            "<rect x=\"{BARS_FROM}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{colour}\"/>",
            (end - BARS_FROM).max(1.0)
        ),
    );
    put(svg, format_args!("<text x=\"{:.1}\" y=\"{text}\">{}</text>\n", end + 6.0, Unit::Seconds.show(time(entry))));
}

/// Powers of ten, from the left edge of the bars to the right one.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn place(&self, seconds: f64) -> f64 {
        BARS_FROM + (seconds.log10() - self.low) / (self.high - self.low) * (BARS_TO - BARS_FROM)
    }

    fn lines(&self, svg: &mut String, height: f64) {
        for power in self.low as i32..=self.high as i32 {
            let seconds = 10f64.powi(power);
            let x = self.place(seconds);
            put(svg, format_args!("<line class=\"scale\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{height}\"/>"));
            let shown = if power < 0 { format!("{} ms", 10f64.powi(power + 3)) } else { format!("{seconds} s") };
            put(
                svg,
                format_args!(
                    "<text class=\"tick\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{shown}</text>\n",
                    TOP - 6.0
                ),
            );
        }
    }
}

fn time(entry: &Entry) -> f64 {
    entry.end_s.median.max(1e-4)
}

fn decade(seconds: f64, round: fn(f64) -> f64) -> f64 {
    if seconds.is_finite() && seconds > 0.0 { round(seconds.log10()) } else { 0.0 }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn put(text: &mut String, pieces: std::fmt::Arguments<'_>) {
    text.write_fmt(pieces).expect("a string takes anything");
}

#[cfg(test)]
mod tests {
    use super::super::statistics::Summary;
    use super::*;

    fn entry(name: &'static str, seconds: f64) -> Entry {
        let summary = Summary::of([seconds]);
        Entry { name, exit_s: summary, end_s: summary, cpu_s: summary, rss_bytes: 1, written_bytes: 1, syncs: None }
    }

    #[test]
    fn a_tenth_of_the_time_is_a_decade_shorter() {
        let scale = Scale { low: -3.0, high: 1.0 };
        let decade = (BARS_TO - BARS_FROM) / 4.0;
        assert!((scale.place(0.001) - BARS_FROM).abs() < 1e-9);
        assert!((scale.place(1.0) - scale.place(0.1) - decade).abs() < 1e-9);
    }

    #[test]
    fn everybody_has_a_bar_and_a_number() {
        let rows = [Row::new("delta 10 MB", vec![entry("threefold", 0.004), entry("old <chain", 0.09)], Vec::new())];
        let svg = svg(&rows);
        assert_eq!(svg.matches("<rect").count(), 2);
        for shown in ["old &lt;chain", "4.0 ms", "90.0 ms", OUR_COLOUR, "prefers-color-scheme:dark", "1 ms", "100 ms"] {
            assert!(svg.contains(shown), "{shown}: {svg}");
        }
        assert!(
            super::svg(&[Row::new("start", vec![entry("node", 0.1)], Vec::new())]).ends_with("</svg>\n"),
            "what is not pictured leaves an empty picture"
        );
    }
}
