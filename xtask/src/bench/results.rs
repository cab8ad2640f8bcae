//! What the runs have given: values of figures, by broker and by the name of the figure.

use std::collections::BTreeMap;

use e2e::Kind;

/// Values of one figure over its runs, by the name of the figure. Names say the unit: `produce, MB/s`.
pub type Figures = BTreeMap<String, Vec<f64>>;

#[derive(Default)]
pub struct Results {
    apache: Figures,
    gregor: Figures,
}

impl Results {
    /// One run's value, also said at once: runs are long.
    pub fn add(&mut self, kind: Kind, name: &str, value: f64) {
        println!("{kind:?}: {name}: {value:.3}");
        self.mut_of(kind).entry(name.to_owned()).or_default().push(value);
    }

    pub fn of(&self, kind: Kind) -> &Figures {
        match kind {
            Kind::Apache => &self.apache,
            Kind::Gregor => &self.gregor,
        }
    }

    fn mut_of(&mut self, kind: Kind) -> &mut Figures {
        match kind {
            Kind::Apache => &mut self.apache,
            Kind::Gregor => &mut self.gregor,
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.apache.keys().chain(self.gregor.keys()).collect::<std::collections::BTreeSet<_>>().into_iter()
    }
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
