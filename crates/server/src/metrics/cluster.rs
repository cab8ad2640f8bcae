//! The node's state, the cluster as the controller sees it, the quorum, what this broker leads. Kafka: `KafkaServer`, `KafkaController`,
//! `ReplicaManager`, `raft-metrics`, `FetchSessionCache`.

use super::page::{Kind, Page};
use crate::metadata_thread::QuorumStats;
use base::Now;
use broker::Broker;
use metadata::Partition;

/// One pass over all partitions of the cluster.
#[derive(Default)]
struct Counts {
    partitions: usize,
    without_leader: usize,
    not_at_preferred: usize,
    here: usize,
    led: usize,
    under_replicated: usize,
    reassigning: usize,
}

impl Counts {
    fn add(&mut self, partition: &Partition, broker: i32) {
        let leads = partition.leader == broker;
        self.partitions += 1;
        self.without_leader += usize::from(partition.leader < 0);
        self.not_at_preferred += usize::from(partition.replicas.first() != Some(&partition.leader));
        self.here += usize::from(partition.replicas.contains(&broker));
        self.led += usize::from(leads);
        self.under_replicated += usize::from(leads && partition.isr.len() < partition.replicas.len());
        let moving = !partition.adding_replicas.is_empty() || !partition.removing_replicas.is_empty();
        self.reassigning += usize::from(leads && moving);
    }
}

pub fn write(page: &mut Page, broker: &Broker, now: Now) {
    let image = broker.image();
    let mut counts = Counts::default();
    for topic in image.topics.iter() {
        topic.partitions.values().for_each(|partition| counts.add(partition, broker.id()));
    }
    let brokers = image.cluster.brokers.len();
    let fenced = image.cluster.brokers.values().filter(|broker| broker.fenced).count();
    let applied = &image.provenance;
    let controller = |metric: &str| format!("kafka_controller_kafkacontroller_{metric}");
    page.gauge(&controller("activebrokercount"), "Unfenced brokers", brokers - fenced);
    page.gauge(&controller("fencedbrokercount"), "Fenced brokers", fenced);
    page.gauge(&controller("globaltopiccount"), "Topics of the cluster", image.topics.len());
    page.gauge(&controller("globalpartitioncount"), "Partitions of the cluster", counts.partitions);
    page.gauge(&controller("offlinepartitionscount"), "Partitions without a leader", counts.without_leader);
    page.gauge(&controller("preferredreplicaimbalancecount"), "Partitions not led by their first replica", counts.not_at_preferred);
    page.gauge(&controller("lastappliedrecordoffset"), "Offset of the last metadata record that was applied", applied.offset);
    page.gauge(&controller("lastappliedrecordtimestamp"), "Its timestamp", applied.timestamp_ms);
    let lag = now.wall_ms.saturating_sub(applied.timestamp_ms).max(0);
    page.gauge(&controller("lastappliedrecordlagms"), "Its age in milliseconds", lag);
    let replicas = |metric: &str| format!("kafka_server_replicamanager_{metric}");
    page.gauge(&replicas("leadercount"), "Partitions led by this broker", counts.led);
    page.gauge(&replicas("partitioncount"), "Partitions on this broker", counts.here);
    page.gauge(&replicas("underreplicatedpartitions"), "Led partitions with replicas out of sync", counts.under_replicated);
    page.gauge(&replicas("reassigningpartitions"), "Led partitions that are being moved", counts.reassigning);
    let set = broker.replicas();
    page.gauge("kafka_log_logmanager_offlinelogdirectorycount", "Log directories that have failed", set.offline_dirs().len());
    let mut family = page.family(Kind::Gauge, "kafka_log_logmanager_logdirectoryoffline", "1 for a log directory that has failed");
    for dir in set.dirs() {
        family.sample(&[("logdirectory", (&*dir.path.to_string_lossy()).into())], i32::from(!set.is_online(&dir.path)));
    }
    let (sessions, partitions) = broker.fetch_session_counts();
    page.gauge("kafka_server_fetchsessioncache_numincrementalfetchsessions", "Fetch sessions", sessions);
    page.gauge("kafka_server_fetchsessioncache_numincrementalfetchpartitionscached", "Partitions in fetch sessions", partitions);
}

pub fn quorum(page: &mut Page, quorum: &QuorumStats) {
    let Some(state) = quorum.get() else { return };
    let raft = |metric: &str| format!("kafka_server_raft_metrics_{metric}");
    let name = raft("current_state");
    page.family(Kind::Info, &name, "The role of this node in the quorum").sample(&[("state", state.role.into())], 1);
    page.gauge(&raft("current_leader"), "Id of the quorum's leader, -1 when unknown", state.leader);
    page.gauge(&raft("current_epoch"), "Epoch of the quorum", state.epoch);
    page.gauge(&raft("high_watermark"), "Metadata records below are committed; -1 when unknown", state.high_watermark);
    page.gauge(&raft("log_end_offset"), "Next offset of the metadata log", state.log_end_offset);
    page.gauge(&raft("log_end_epoch"), "Epoch of the last record of the metadata log", state.log_end_epoch);
    page.gauge(&raft("number_of_voters"), "Voters of the quorum", state.voters);
    let name = "kafka_controller_kafkacontroller_activecontrollercount";
    page.gauge(name, "1 where the active controller is", i32::from(state.role == "leader"));
    let name = "kafka_controller_kafkacontroller_lastcommittedrecordoffset";
    page.gauge(name, "Offset of the last committed metadata record", state.high_watermark - 1);
}
