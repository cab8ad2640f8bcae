//! Transactional ids by state, and how far their coordinators are. Kafka has no such numbers but those of its marker queues.

use super::page::{Kind, Page};
use broker::Broker;

const STATES: [&str; 6] = ["Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort"];

pub fn coordinators(page: &mut Page, broker: &Broker) {
    let states = broker.transaction_states();
    let mut family = page.family(Kind::Gauge, "gregor_transactional_ids", "Transactional ids by state");
    for state in STATES {
        family.sample(&[("state", state.into())], states.by_state.get(state).copied().unwrap_or(0));
    }
    let help = "Partitions of __transaction_state that this broker coordinates, by state";
    let mut family = page.family(Kind::Gauge, "gregor_transaction_coordinator_partitions", help);
    for (state, count) in [("loading", states.loading), ("active", states.active)] {
        family.sample(&[("state", state.into())], count);
    }
    let help = "Markers of transactions that wait to be replicated or flushed";
    page.gauge("gregor_transaction_markers_waiting", help, states.markers_waiting);
}
