//! What the model tests of groups and transactions take from the environment: `GREGOR_MODEL_SEEDS` is the number of schedules,
//! `GREGOR_MODEL_SEED` the first, `GREGOR_MODEL_FAILURES` how many may fail before the rest is left out, `GREGOR_MODEL_TRACE` how many lines of the
//! end of a trace a failure prints.

use std::ops::Range;

pub(crate) fn seeds() -> Range<u64> {
    let first = variable("GREGOR_MODEL_SEED", 1);
    first..first + variable("GREGOR_MODEL_SEEDS", 200)
}

pub(crate) fn failures_max() -> usize {
    variable("GREGOR_MODEL_FAILURES", 1) as usize
}

/// The end of a trace, with its seed and what went wrong.
pub(crate) fn report(seed: u64, why: &str, trace: &[String]) -> String {
    let from = trace.len().saturating_sub(variable("GREGOR_MODEL_TRACE", 150) as usize);
    format!("seed {seed}: {why}\n{}", trace[from..].join("\n"))
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
