//! Groups, committed offsets and consumer lag. Kafka: `GroupMetadataManager` and `group-coordinator-metrics`; lag is Gregor's own, where
//! Kafka has none at the broker.

use super::lag::{GroupLag, Lag};
use super::page::{Kind, Label, Page};
use broker::Broker;

pub fn coordinators(page: &mut Page, broker: &Broker) {
    let states = broker.coordinator_states();
    let groups = broker.groups_by_state();
    let classic = |state: &str| groups.iter().filter(|((kind, s), _)| *kind == "classic" && *s == state).map(|(_, n)| n).sum::<usize>();
    let manager = |metric: &str| format!("kafka_coordinator_group_groupmetadatamanager_{metric}");
    page.gauge(&manager("numoffsets"), "Committed offsets", states.offsets);
    let all: usize = groups.iter().filter(|((kind, _), _)| *kind == "classic").map(|(_, n)| n).sum();
    page.gauge(&manager("numgroups"), "Classic groups", all);
    page.gauge(&manager("numgroupspreparingrebalance"), "Classic groups that wait for members to join", classic("PreparingRebalance"));
    page.gauge(&manager("numgroupscompletingrebalance"), "Classic groups that wait for an assignment", classic("CompletingRebalance"));
    page.gauge(&manager("numgroupsstable"), "Classic groups with an assignment", classic("Stable"));
    page.gauge(&manager("numgroupsdead"), "Classic groups that are being deleted", classic("Dead"));
    page.gauge(&manager("numgroupsempty"), "Classic groups without members", classic("Empty"));

    let coordinator = |metric: &str| format!("kafka_server_group_coordinator_metrics_{metric}");
    let name = coordinator("group_count");
    let mut family = page.family(Kind::Gauge, &name, "Groups by protocol");
    for protocol in ["classic", "consumer", "share", "streams"] {
        let count: usize = groups.iter().filter(|((kind, _), _)| *kind == protocol).map(|(_, n)| n).sum();
        family.sample(&[("protocol", protocol.into())], count);
    }
    let name = coordinator("consumer_group_count");
    let mut family = page.family(Kind::Gauge, &name, "Groups of the consumer protocol by state");
    for state in ["Empty", "Assigning", "Reconciling", "Stable", "Dead"] {
        let count: usize = groups.iter().filter(|((kind, s), _)| *kind == "consumer" && *s == state).map(|(_, n)| n).sum();
        family.sample(&[("state", state.to_ascii_lowercase().as_str().into())], count);
    }
    let mut family = page.family(Kind::Gauge, "gregor_consumergroup_members", "Members of a group");
    for (group, protocol, members) in broker.group_members() {
        family.sample(&[("group", Label::Text(&group)), ("protocol", protocol.into())], members);
    }
    let name = coordinator("num_partitions");
    let mut family = page.family(Kind::Gauge, &name, "Partitions of __consumer_offsets that this broker coordinates, by state");
    for (state, count) in [("loading", states.loading), ("active", states.active), ("failed", states.failed)] {
        family.sample(&[("state", state.into())], count);
    }
    let counts = broker.group_counts();
    page.counter(&coordinator("offset_commit"), "Offsets committed", counts.offset_commits.get());
    page.counter(&coordinator("offset_expiration"), "Offsets that expired", counts.offset_expirations.get());
    page.counter(&coordinator("offset_deletion"), "Offsets that were deleted", counts.offset_deletions.get());
    page.counter(&coordinator("group_completed_rebalance"), "Rebalances of classic groups", counts.classic_rebalances.get());
    page.counter(&coordinator("consumer_group_rebalance"), "Rebalances of consumer groups", counts.consumer_rebalances.get());
}

/// `each` adds the series per partition.
pub fn lags(page: &mut Page, lags: &[GroupLag], each: bool) {
    let name = "gregor_consumergroup_topic_lag_records";
    let mut family = page.family(Kind::Gauge, name, "Records that a group has not consumed yet, all partitions of a topic together");
    for lag in lags {
        let sum: i64 = lag.partitions.iter().map(|(_, lag)| lag.records).sum();
        family.sample(&[("group", Label::Text(&lag.group)), ("topic", Label::Text(&lag.topic))], sum);
    }
    let name = "gregor_consumergroup_topic_lag_seconds";
    let mut family = page.family(Kind::Gauge, name, "Age of the oldest record of a topic that a group has not consumed yet");
    for lag in lags {
        let oldest = lag.partitions.iter().filter_map(|(_, lag)| lag.seconds).reduce(f64::max);
        if let Some(oldest) = oldest {
            family.sample(&[("group", Label::Text(&lag.group)), ("topic", Label::Text(&lag.topic))], oldest);
        }
    }
    if each {
        per_partition(page, lags);
    }
}

fn per_partition(page: &mut Page, lags: &[GroupLag]) {
    let mut family = |name: &str, help: &str, value: &dyn Fn(&Lag) -> Option<f64>| {
        let mut family = page.family(Kind::Gauge, name, help);
        for of_topic in lags {
            let (group, topic) = (of_topic.group.as_str(), of_topic.topic.as_str());
            for (partition, lag) in &of_topic.partitions {
                let Some(value) = value(lag) else { continue };
                family.sample(&[("group", group.into()), ("topic", topic.into()), ("partition", (*partition).into())], value);
            }
        }
    };
    family("gregor_consumergroup_lag_records", "Records that a group has not consumed yet", &|lag| Some(lag.records as f64));
    family("gregor_consumergroup_lag_seconds", "Age of the oldest record that a group has not consumed yet", &|lag| lag.seconds);
    family("gregor_consumergroup_committed_offset", "The offset that a group has committed", &|lag| Some(lag.committed as f64));
}
