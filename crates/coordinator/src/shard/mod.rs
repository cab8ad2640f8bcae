//! Owns: one partition of `__consumer_offsets` — its groups, offsets, timers and unfinished writes. Driven by the broker, which holds it
//! behind a lock together with the partition, appends what it asks for, and parks the requests it does not answer at once.
//! Never sees a thread, a clock, a log or a socket. Kafka: GroupCoordinatorShard, GroupMetadataManager, and CoordinatorRuntime's queue.
//!
//! Offsets, and groups of the newer protocols, are only changed by `replay`: a request decides on records, and they take effect when they
//! are in the log; so a failed append needs no undoing. The membership of classic groups lives in memory while they rebalance, as in
//! Kafka; there the completions in `lifecycle` say what happens when a write is committed or fails.

mod classic_in_consumer;
mod consumer_requests;
mod group_requests;
mod lifecycle;
mod offset_requests;
mod resolutions;
mod view;
mod writes;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use base::Now;

use crate::cluster::Cluster;
use crate::config::GroupConfig;
use crate::group::Group;
use crate::group::classic::Step;
use crate::offsets::Offsets;
use crate::output::{Completion, Deferred, Output, Reply, Token};
use crate::timers::Timers;
use consumer_requests::Decided;
pub use resolutions::{Resolution, Resolved};
use writes::Writes;

#[derive(Debug)]
pub struct Shard {
    config: GroupConfig,
    rng: fastrand::Rng,
    cluster: Cluster,
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) offsets: Offsets,
    timers: Timers,
    writes: Writes,
    /// Groups whose regular expressions are to be resolved.
    to_resolve: VecDeque<Arc<str>>,
}

impl Shard {
    /// Empty, to be filled by `replay` and then started by `on_loaded`. `rng` makes member ids.
    pub fn new(config: GroupConfig, rng: fastrand::Rng) -> Self {
        Self {
            config,
            rng,
            cluster: Cluster::default(),
            groups: BTreeMap::new(),
            offsets: Offsets::default(),
            timers: Timers::default(),
            writes: Writes::default(),
            to_resolve: VecDeque::new(),
        }
    }

    /// Takes effect for what begins from now on; running timers keep their deadlines.
    pub fn update_config(&mut self, config: GroupConfig) {
        self.config = config;
    }

    #[cfg(test)]
    pub(crate) fn timers(&self) -> &Timers {
        &self.timers
    }

    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Committed offsets, for metrics.
    pub fn offset_count(&self) -> usize {
        self.offsets.committed.len()
    }

    /// Groups by state, for metrics. Names as in ListGroups.
    pub fn groups_by_state(&self) -> BTreeMap<(&'static str, &'static str), usize> {
        let mut counts = BTreeMap::new();
        for group in self.groups.values() {
            let key = match group {
                Group::Classic(group) => ("classic", group.state().name()),
                Group::Consumer(group) => ("consumer", group.state()),
                Group::Modern(group) => (group.kind().name(), group.state()),
            };
            *counts.entry(key).or_default() += 1;
        }
        counts
    }

    /// Answers a read once everything that it may have seen is committed.
    fn answer_when_settled(&mut self, now: Now, token: Token, reply: Reply, api_version: i16, out: &mut Output) {
        if self.writes.is_settled() {
            out.reply(token, reply);
        } else {
            let completion = Completion::Replies(Deferred { replies: vec![(token, reply)], api_version });
            self.writes.wait(completion, self.write_deadline(now));
        }
    }

    fn write_deadline(&self, now: Now) -> base::Instant {
        now.mono + std::time::Duration::from_millis(self.config.offsets_commit_timeout_ms.max(0) as u64)
    }
}

/// The classic group of this name with what its steps need, if there is one.
fn classic_step<'a>(
    shard: &'a mut Shard,
    group_id: &str,
    now: Now,
    out: &'a mut Output,
) -> Option<(&'a mut crate::group::classic::ClassicGroup, Step<'a>)> {
    match shard.groups.get_mut(group_id) {
        Some(Group::Classic(group)) => Some((group, Step { now, config: &shard.config, timers: &mut shard.timers, out })),
        _ => None,
    }
}
