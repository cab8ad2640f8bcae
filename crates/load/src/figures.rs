//! What a run has measured: names without blanks, in the order they are to be shown, and percentiles of latencies.

use std::fmt;

#[derive(Default)]
pub struct Figures(Vec<(String, f64)>);

impl Figures {
    pub fn add(&mut self, name: impl Into<String>, value: f64) {
        self.0.push((name.into(), value));
    }

    /// Adds `{name}_p50_us`, `_p99_us`, `_p999_us` and `_max_us` of latencies in microseconds.
    pub fn add_latencies(&mut self, name: &str, mut micros: Vec<u64>) {
        micros.sort_unstable();
        for (suffix, per_mille) in [("p50", 500), ("p99", 990), ("p999", 999), ("max", 1000)] {
            self.add(format!("{name}_{suffix}_us"), percentile(&micros, per_mille) as f64);
        }
    }
}

/// The least value that as many per mille of all values do not exceed; 0 if there is none.
fn percentile(sorted: &[u64], per_mille: usize) -> u64 {
    let rank = (sorted.len() * per_mille).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&pairs.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let sorted: Vec<u64> = (1..=1000).collect();
        assert_eq!(percentile(&sorted, 500), 500);
        assert_eq!(percentile(&sorted, 999), 999);
        assert_eq!(percentile(&sorted, 1000), 1000);
        assert_eq!(percentile(&[7], 500), 7);
        assert_eq!(percentile(&[], 500), 0);
    }
}
