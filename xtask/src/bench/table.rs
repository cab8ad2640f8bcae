//! Medians, ranges and ratios as a Markdown table.

use std::fmt::Write;

use e2e::Kind;

use super::Plan;
use super::work::Figures;

pub fn markdown(results: &[(Kind, Figures)], plan: Plan) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{} runs after a full warm-up run of {} records of 1 KiB; median (least to most).\n", plan.runs, plan.records);
    let figures = |kind: Kind| results.iter().find(|(k, _)| *k == kind).map(|(_, f)| f);
    let (apache, gregor) = (figures(Kind::Apache), figures(Kind::Gregor));
    let _ = writeln!(out, "| | Apache Kafka 4.3.1 | Gregor | Gregor / Apache |\n|---|---|---|---|");
    let names: std::collections::BTreeSet<&String> = results.iter().flat_map(|(_, f)| f.keys()).collect();
    for name in names {
        let (a, g) = (apache.and_then(|f| f.get(name)), gregor.and_then(|f| f.get(name)));
        let ratio = match (a, g) {
            (Some(a), Some(g)) if median(a) > 0.0 => format!("{:.2}", median(g) / median(a)),
            _ => "-".into(),
        };
        let _ = writeln!(out, "| {name} | {} | {} | {ratio} |", cell(a), cell(g));
    }
    out
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn cell(values: Option<&Vec<f64>>) -> String {
    let Some(values) = values else { return "-".into() };
    let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(l, m), v| (l.min(*v), m.max(*v)));
    let digits = if most >= 100.0 {
        0
    } else if most >= 10.0 {
        1
    } else {
        2
    };
    if values.len() == 1 {
        format!("{least:.digits$}")
    } else {
        format!("{:.digits$} ({least:.digits$} to {most:.digits$})", median(values))
    }
}
