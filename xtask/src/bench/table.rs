//! Medians, ranges, ratios and verdicts as a Markdown table.

use std::fmt::Write;

use e2e::Kind;

use super::bars::Bar;
use super::results::{Results, median};

pub fn markdown(title: &str, results: &Results, bars: &[Bar]) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "### {title}\n\n| | Apache Kafka 4.3.1 | Gregor | Gregor / Apache | bar |\n|---|---|---|---|---|");
    for name in results.names() {
        let (a, g) = (results.of(Kind::Apache).get(name), results.of(Kind::Gregor).get(name));
        let ratio = match (a, g) {
            (Some(a), Some(g)) if median(a) > 0.0 => format!("{:.2}", median(g) / median(a)),
            _ => "-".into(),
        };
        let verdict = bars.iter().find(|bar| bar.figure == name).map(|bar| bar.verdict(results)).unwrap_or_default();
        let _ = writeln!(out, "| {name} | {} | {} | {ratio} | {verdict} |", cell(a), cell(g));
    }
    out
}

fn cell(values: Option<&Vec<f64>>) -> String {
    let Some(values) = values else { return "-".into() };
    let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(l, m), v| (l.min(*v), m.max(*v)));
    let digits = if most >= 100.0 {
        0
    } else if most >= 10.0 {
        1
    } else if most >= 1.0 {
        2
    } else {
        3
    };
    if values.len() == 1 {
        format!("{least:.digits$}")
    } else {
        format!("{:.digits$} ({least:.digits$} to {most:.digits$})", median(values))
    }
}
