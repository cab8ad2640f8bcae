//! Regular expressions of consumer groups, resolved away from the shard: against many topics that takes long, and the shard is locked for everybody
//! meanwhile. The timer of a group only notes it here; who drives the shard takes the work out, does it, and brings the outcome back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::Now;
use metadata::Image;

use super::{Decided, Shard};
use crate::group::Group;
use crate::group::consumer::Found;
use crate::output::Output;
use crate::regex::Pattern;
use crate::timers::{Due, Timer};

/// How soon a group is looked at again whose outcome has not come back.
const LOST_MS: i64 = 30_000;

/// Work that needs no shard.
#[derive(Debug)]
pub struct Resolution {
    group_id: Arc<str>,
    regexes: Vec<String>,
    image: Arc<Image>,
}

/// What came of it.
#[derive(Debug)]
pub struct Resolved {
    group_id: Arc<str>,
    found: Found,
}

impl Resolution {
    pub fn run(self) -> Resolved {
        let topics: BTreeMap<String, BTreeSet<Arc<str>>> = self
            .regexes
            .into_iter()
            .map(|regex| {
                let topics = matching(&self.image, &regex);
                (regex, topics)
            })
            .collect();
        Resolved { group_id: self.group_id, found: Found { topics, version: self.image.provenance.offset } }
    }
}

fn matching(image: &Image, regex: &str) -> BTreeSet<Arc<str>> {
    match Pattern::compile(regex) {
        Ok(pattern) => image.topics.iter().map(|topic| &topic.name).filter(|name| pattern.matches(name)).cloned().collect(),
        Err(error) => {
            // It was checked when it came, so this is one that another broker took.
            tracing::error!(regex, error, "a regular expression cannot be read and matches nothing");
            BTreeSet::new()
        }
    }
}

impl Shard {
    /// The timer of a group is due. It runs on, in case nobody brings an outcome.
    pub(super) fn note_resolution(&mut self, now: Now, group_id: &Arc<str>) {
        self.timers.schedule(Timer::Regexes { group: group_id.clone() }, now.mono, LOST_MS, Due::Regexes);
        self.to_resolve.push_back(group_id.clone());
    }

    /// Whether `next_resolution` has something.
    pub fn has_resolutions(&self) -> bool {
        !self.to_resolve.is_empty()
    }

    /// To be run without the shard, and brought back by `resolved`.
    pub fn next_resolution(&mut self) -> Option<Resolution> {
        while let Some(group_id) = self.to_resolve.pop_front() {
            if let Some(Group::Consumer(group)) = self.groups.get(&*group_id) {
                let regexes = group.regexes().cloned().collect();
                return Some(Resolution { group_id, regexes, image: self.cluster.image().clone() });
            }
        }
        None
    }

    /// The group may have changed meanwhile: what it no longer asks for is passed over, what it asks for since then comes later.
    pub fn resolved(&mut self, now: Now, resolved: Resolved) -> Output {
        let mut out = Output::default();
        let Some(Group::Consumer(group)) = self.groups.get(&*resolved.group_id) else { return out };
        let c = self.context(now, &resolved.group_id);
        let mut decided = Decided::default();
        let timer = Timer::Regexes { group: resolved.group_id.clone() };
        match group.regexes_resolved(&c, resolved.found, &mut decided.step) {
            Ok(()) => self.push_timed(now, &resolved.group_id, decided, (timer, Due::Regexes), &mut out),
            Err(refusal) => tracing::error!(group = %resolved.group_id, ?refusal, "resolved regular expressions cannot be stored"),
        }
        out
    }
}
