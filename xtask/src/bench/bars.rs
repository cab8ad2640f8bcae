//! What a figure has to reach. A part declares its bars; the table says of each whether the medians meet it.

use e2e::Kind;

use super::results::{Results, median};

pub struct Bar {
    /// The name of the figure, as the part adds it.
    pub figure: &'static str,
    pub limits: &'static [Limit],
}

/// Of Gregor's median, alone or as a multiple of Apache's in the same run.
#[derive(Clone, Copy)]
#[expect(clippy::enum_variant_names, reason = "a limit reads as the table says it")]
pub enum Limit {
    AtMost(f64),
    AtLeast(f64),
    AtMostOfApache(f64),
    AtLeastOfApache(f64),
}

impl Limit {
    /// `None` when there is nothing to compare.
    fn met(self, apache: Option<f64>, gregor: f64) -> Option<bool> {
        match self {
            Limit::AtMost(limit) => Some(gregor <= limit),
            Limit::AtLeast(limit) => Some(gregor >= limit),
            Limit::AtMostOfApache(ratio) => apache.map(|apache| gregor <= apache * ratio),
            Limit::AtLeastOfApache(ratio) => apache.map(|apache| gregor >= apache * ratio),
        }
    }

    fn text(self) -> String {
        match self {
            Limit::AtMost(limit) => format!("at most {limit}"),
            Limit::AtLeast(limit) => format!("at least {limit}"),
            Limit::AtMostOfApache(ratio) => format!("at most {ratio:.2} of Apache's"),
            Limit::AtLeastOfApache(ratio) => format!("at least {ratio} times Apache's"),
        }
    }
}

impl Bar {
    /// Each limit with its verdict.
    pub fn verdict(&self, results: &Results) -> String {
        let of = |kind| results.of(kind).get(self.figure).map(|values| median(values));
        let Some(gregor) = of(Kind::Gregor) else { return "-".into() };
        let verdicts = self.limits.iter().map(|limit| match limit.met(of(Kind::Apache), gregor) {
            Some(true) => format!("{}: met", limit.text()),
            Some(false) => format!("**{}: missed**", limit.text()),
            None => limit.text(),
        });
        verdicts.collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_met_or_missed() {
        let mut results = Results::default();
        for value in [4.0, 1.0, 2.0] {
            results.add(Kind::Apache, "x, s", value * 3.0);
            results.add(Kind::Gregor, "x, s", value);
        }
        let bar = Bar { figure: "x, s", limits: &[Limit::AtMost(2.0), Limit::AtLeast(2.5), Limit::AtMostOfApache(0.34)] };
        assert_eq!(bar.verdict(&results), "at most 2: met; **at least 2.5: missed**; at most 0.34 of Apache's: met");
        assert_eq!(Bar { figure: "y, s", limits: &[] }.verdict(&results), "-");
    }
}
