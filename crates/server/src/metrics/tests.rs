//! The page about a simulated node: its form, and the numbers that people act upon.

use super::checker::{self, Parsed};
use super::{Format, Metrics};
use crate::health::{DirHealth, Health, Phase};
use base::disk::MemDisk;
use base::{Instant, Now, TopicPartition};
use record::{BatchBuilder, BatchFields};
use sim::{Client, Options, SimNode};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wire::Records;
use wire::messages::create_topics_request::CreatableTopic;
use wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::*;

struct Bench {
    node: SimNode,
    client: Client,
    metrics: Metrics,
}

impl Bench {
    fn new(partitions: bool) -> Bench {
        let now = Now { mono: Instant::from_nanos(1_000_000_000), wall_ms: 1_700_000_000_000 };
        let node = SimNode::start(Options { disk: Arc::new(MemDisk::default()), props: Vec::new(), seed: 1, open_files_max: 1000, now });
        let health = Arc::new(Health::new(now.mono));
        health.enter(Phase::Ready);
        let metrics = Metrics::new(health, Arc::default(), vec![PathBuf::from("/")], partitions);
        metrics.set_broker(node.broker.clone());
        Bench { node, client: Client::new("test"), metrics }
    }

    fn create(&mut self, topic: &str, partitions: i32) {
        let topic = CreatableTopic { name: topic.into(), num_partitions: partitions, replication_factor: 1, ..Default::default() };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        assert_eq!(self.client.call(&mut self.node, &request, 7).topics[0].error_code, 0);
    }

    fn produce(&mut self, topic: &str, partition: i32, records: usize) {
        let mut builder = BatchBuilder::new(BatchFields::default());
        (0..records).for_each(|_| builder.append(self.node.now.wall_ms, None, Some(b"value"), &[]));
        let records = Some(Records::from(builder.build().unwrap()));
        let data = PartitionProduceData { index: partition, records, ..Default::default() };
        let topic = TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
        let request = ProduceRequest { acks: -1, timeout_ms: 1000, topic_data: vec![topic], ..Default::default() };
        let response = self.client.call(&mut self.node, &request, 12);
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0, "{response:?}");
    }

    fn commit(&mut self, group: &str, topic: &str, partition: i32, offset: i64) {
        // The first request makes the coordinator's topic.
        let find = FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() };
        self.client.call(&mut self.node, &find, 4);
        let partition = OffsetCommitRequestPartition { partition_index: partition, committed_offset: offset, ..Default::default() };
        let topic = OffsetCommitRequestTopic { name: topic.into(), partitions: vec![partition], ..Default::default() };
        let request =
            OffsetCommitRequest { group_id: group.into(), generation_id_or_member_epoch: -1, topics: vec![topic], ..Default::default() };
        let response = self.client.call(&mut self.node, &request, 8);
        assert_eq!(response.topics[0].partitions[0].error_code, 0, "{response:?}");
    }

    fn text(&self, format: Format) -> String {
        let mut whole = String::new();
        self.metrics.render_at(format, self.node.now, &mut |piece| whole.push_str(&piece));
        whole
    }

    fn page(&self) -> Parsed {
        let page = self.text(Format::OpenMetrics);
        let text = self.text(Format::Text);
        let samples = |page: &str| page.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(samples(&page), samples(&text));
        checker::check(&page)
    }

    /// (records, seconds) of partition 0.
    fn lag(&self, group: &str, topic: &str) -> (Option<f64>, Option<f64>) {
        let page = self.page();
        let labels = format!("{{group=\"{group}\",topic=\"{topic}\",partition=\"0\"}}");
        let value = |name: &str| page.value(&format!("gregor_consumergroup_lag_{name}{labels}"));
        (value("records"), value("seconds"))
    }
}

#[test]
fn lag_is_what_is_left_to_read_and_its_age() {
    let mut bench = Bench::new(true);
    bench.create("t", 1);
    bench.produce("t", 0, 10);
    bench.node.advance(Duration::from_secs(5));
    bench.produce("t", 0, 10);
    bench.commit("g", "t", 0, 0);
    assert_eq!(bench.lag("g", "t"), (Some(20.0), Some(5.0)));
    // A stopped consumer falls behind by a second a second.
    bench.node.advance(Duration::from_secs(60));
    assert_eq!(bench.lag("g", "t"), (Some(20.0), Some(65.0)));
    bench.commit("g", "t", 0, 10);
    assert_eq!(bench.lag("g", "t"), (Some(10.0), Some(60.0)));
    // One that has read all is at 0, however long nothing comes.
    bench.commit("g", "t", 0, 20);
    assert_eq!(bench.lag("g", "t"), (Some(0.0), Some(0.0)));
    bench.node.advance(Duration::from_secs(86_400));
    assert_eq!(bench.lag("g", "t"), (Some(0.0), Some(0.0)));
    // And the first record after a quiet day is as old as it is, not a day.
    bench.produce("t", 0, 1);
    bench.node.advance(Duration::from_secs(2));
    assert_eq!(bench.lag("g", "t"), (Some(1.0), Some(2.0)));
    // An offset beyond the end, as after a topic was made anew, is no negative lag.
    bench.commit("g", "t", 0, 500);
    assert_eq!(bench.lag("g", "t"), (Some(0.0), Some(0.0)));
}

#[test]
fn records_that_are_deleted_are_no_backlog() {
    let mut bench = Bench::new(true);
    bench.create("t", 1);
    for _ in 0..4 {
        bench.produce("t", 0, 5);
        bench.node.advance(Duration::from_secs(10));
    }
    bench.commit("g", "t", 0, 2);
    assert_eq!(bench.lag("g", "t"), (Some(18.0), Some(40.0)));
    let mut delete = |offset| {
        let partition = DeleteRecordsPartition { partition_index: 0, offset, ..Default::default() };
        let topic = DeleteRecordsTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
        let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
        bench.client.call(&mut bench.node, &request, 2);
        bench.lag("g", "t")
    };
    assert_eq!(delete(10), (Some(10.0), Some(20.0)));
    assert_eq!(delete(20), (Some(0.0), Some(0.0)));
}

#[test]
fn lags_of_a_topic_go_with_it() {
    let mut bench = Bench::new(true);
    bench.create("t", 1);
    bench.produce("t", 0, 5);
    bench.commit("g", "t", 0, 1);
    assert_eq!(bench.lag("g", "t").0, Some(4.0));
    let request = DeleteTopicsRequest { topic_names: vec!["t".into()], timeout_ms: 1000, ..Default::default() };
    bench.client.call(&mut bench.node, &request, 5);
    assert_eq!(bench.lag("g", "t"), (None, None));
    assert!(bench.metrics.lags.lock().is_empty());
}

#[test]
fn a_full_page_is_well_formed_and_right() {
    let mut bench = Bench::new(true);
    bench.create("a", 2);
    bench.create("b", 1);
    bench.produce("a", 0, 3);
    bench.produce("a", 1, 4);
    // Groups may be called anything.
    let group = "weird \"group\\\n,{}=é";
    bench.commit(group, "a", 1, 1);
    let page = bench.page();
    let value = |series: &str| page.value(series).unwrap_or_else(|| panic!("{series} is missing"));
    assert_eq!(value("kafka_server_brokertopicmetrics_messagesin_total"), 7.0);
    assert_eq!(value("kafka_server_brokertopicmetrics_messagesin_total{topic=\"a\"}"), 7.0);
    assert_eq!(value("kafka_server_brokertopicmetrics_messagesin_total{topic=\"b\"}"), 0.0);
    assert_eq!(value("kafka_log_log_logendoffset{topic=\"a\",partition=\"1\"}"), 4.0);
    assert_eq!(value("gregor_topic_partitions{topic=\"a\"}"), 2.0);
    assert_eq!(value("kafka_controller_kafkacontroller_globaltopiccount"), 3.0);
    assert_eq!(value("kafka_server_replicamanager_leadercount"), 6.0);
    assert_eq!(value("kafka_server_group_coordinator_metrics_offset_commit_total"), 1.0);
    assert_eq!(value("kafka_server_group_coordinator_metrics_group_count{protocol=\"classic\"}"), 1.0);
    assert_eq!(value("kafka_server_group_coordinator_metrics_num_partitions{state=\"active\"}"), 3.0);
    assert_eq!(value("gregor_consumergroup_members{group=\"weird \\\"group\\\\\\n,{}=é\",protocol=\"classic\"}"), 0.0);
    let labels = "{group=\"weird \\\"group\\\\\\n,{}=é\",topic=\"a\",partition=\"1\"}";
    assert_eq!(value(&format!("gregor_consumergroup_lag_records{labels}")), 3.0);
    assert_eq!(value(&format!("gregor_consumergroup_committed_offset{labels}")), 1.0);
}

#[test]
fn without_partitions_the_page_has_sums_only() {
    let mut bench = Bench::new(false);
    bench.create("a", 50);
    bench.produce("a", 0, 3);
    bench.produce("a", 7, 3);
    bench.node.advance(Duration::from_secs(9));
    bench.commit("g", "a", 0, 1);
    bench.commit("g", "a", 7, 2);
    let page = bench.page();
    assert!(!page.samples.keys().any(|series| series.contains("partition=")));
    assert_eq!(page.value("gregor_consumergroup_topic_lag_records{group=\"g\",topic=\"a\"}"), Some(3.0));
    assert_eq!(page.value("gregor_consumergroup_topic_lag_seconds{group=\"g\",topic=\"a\"}"), Some(9.0));
    assert!(page.value("gregor_topic_size_bytes{topic=\"a\"}").unwrap() > 0.0);
}

#[test]
fn what_is_left_to_recover_is_told() {
    let health = Arc::new(Health::new(Instant::ZERO));
    health.enter(Phase::Logs);
    let dir = Arc::new(DirHealth::new("/data".into(), 5, 3));
    health.set_dirs(vec![dir.clone()]);
    dir.begin_recovery(TopicPartition::new("t", 0), Arc::default());
    dir.opened(&TopicPartition::new("t", 0));
    let mut whole = String::new();
    Metrics::new(health, Arc::default(), Vec::new(), true).render(Format::OpenMetrics, &mut |piece| whole.push_str(&piece));
    let page = checker::check(&whole);
    assert_eq!(page.value("kafka_log_logmanager_remaininglogstorecover{dir=\"/data\"}"), Some(2.0));
    assert_eq!(page.value("kafka_server_kafkaserver_brokerstate"), Some(2.0));
}

#[test]
fn the_time_of_a_record_is_looked_up_once() {
    let mut bench = Bench::new(true);
    bench.create("t", 3);
    (0..3).for_each(|partition| bench.produce("t", partition, 2));
    (0..3).for_each(|partition| bench.commit("g", "t", partition, 0));
    bench.page();
    let looked_up = bench.metrics.lags.lock().lookups();
    assert_eq!(looked_up, 3);
    bench.node.advance(Duration::from_secs(5));
    bench.page();
    assert_eq!(bench.metrics.lags.lock().lookups(), looked_up);
    bench.commit("g", "t", 1, 1);
    bench.page();
    assert_eq!(bench.metrics.lags.lock().lookups(), looked_up + 1);
}
