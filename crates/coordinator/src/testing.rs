//! A shard with a log in memory and a clock of its own, for tests.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Now, Uuid};
use bytes::Bytes;
use metadata::{Delta, Image, Record};
use wire::ErrorCode;
use wire::messages::join_group_request::JoinGroupRequestProtocol;
use wire::messages::leave_group_request::MemberIdentity;
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::messages::sync_group_request::SyncGroupRequestAssignment;
use wire::messages::{
    ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest,
    PartitionRecord, SyncGroupRequest, SyncGroupResponse, TopicRecord,
};

use crate::config::GroupConfig;
use crate::output::{CoordinatorRecord, Output, Producer, Reply, RequestContext, ShardLog, Token, drive};
use crate::shard::Shard;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Entry {
    Record { record: CoordinatorRecord, producer: Option<Producer> },
    Marker { producer_id: i64, committed: bool },
}

#[derive(Debug, Default)]
pub(crate) struct MemoryLog {
    pub(crate) entries: Vec<Entry>,
    /// Where each batch begins.
    pub(crate) batches: Vec<usize>,
    pub(crate) high_watermark: i64,
    /// The high watermark only moves when a test moves it.
    pub(crate) held: bool,
    pub(crate) fail: Option<ErrorCode>,
}

impl ShardLog for MemoryLog {
    fn append(&mut self, records: &[CoordinatorRecord], producer: Option<Producer>) -> Result<i64, ErrorCode> {
        assert!(!records.is_empty(), "an empty batch");
        if let Some(error) = self.fail {
            return Err(error);
        }
        let first = self.entries.len() as i64;
        self.batches.push(self.entries.len());
        self.entries.extend(records.iter().map(|record| Entry::Record { record: record.clone(), producer }));
        if !self.held {
            self.high_watermark = self.entries.len() as i64;
        }
        Ok(first)
    }

    fn high_watermark(&self) -> i64 {
        self.high_watermark
    }
}

pub(crate) struct Harness {
    pub(crate) shard: Shard,
    pub(crate) log: MemoryLog,
    pub(crate) now: Now,
    pub(crate) config: GroupConfig,
    pub(crate) image: Image,
    pub(crate) replies: HashMap<Token, Reply>,
    /// Tokens given out and not answered.
    pub(crate) open: std::collections::BTreeSet<Token>,
    next_token: u64,
    seed: u64,
    loads: u64,
}

pub(crate) fn context(api_version: i16) -> RequestContext {
    RequestContext { api_version, client_id: "client".to_owned(), client_address: IpAddr::V4(Ipv4Addr::LOCALHOST) }
}

impl Harness {
    pub(crate) fn new() -> Self {
        Self::with(GroupConfig::default(), 1)
    }

    pub(crate) fn with(config: GroupConfig, seed: u64) -> Self {
        let mut harness = Self {
            shard: Shard::new(config.clone(), fastrand::Rng::with_seed(seed)),
            log: MemoryLog::default(),
            now: Now { mono: Instant::ZERO + Duration::from_secs(1), wall_ms: 1_700_000_000_000 },
            config,
            image: Image::default(),
            replies: HashMap::new(),
            open: Default::default(),
            next_token: 0,
            seed,
            loads: 0,
        };
        let out = harness.shard.on_loaded(harness.now, 0, 0);
        harness.drive(out);
        harness
    }

    pub(crate) fn token(&mut self) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.open.insert(token);
        token
    }

    pub(crate) fn drive(&mut self, out: Output) {
        for (token, reply) in drive(&mut self.shard, self.now, out, &mut self.log) {
            assert!(self.open.remove(&token), "{token:?} was answered twice or never asked: {reply:?}");
            self.replies.insert(token, reply);
        }
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn advance(&mut self, ms: u64) {
        let end = self.now.plus(Duration::from_millis(ms));
        loop {
            let next = self.shard.next_deadline();
            if next > end.mono {
                break;
            }
            self.now = self.now.plus(next.saturating_since(self.now.mono));
            let out = self.shard.tick(self.now);
            self.drive(out);
            while let Some(resolution) = self.shard.next_resolution() {
                let out = self.shard.resolved(self.now, resolution.run());
                self.drive(out);
            }
        }
        self.now = end;
    }

    /// Commits what is written while the log is held.
    pub(crate) fn commit_log(&mut self) {
        self.log.high_watermark = self.log.entries.len() as i64;
        let out = self.shard.advance(self.now, self.log.high_watermark);
        self.drive(out);
    }

    /// A shard that knows what the log holds.
    pub(crate) fn replayed(&self) -> Shard {
        let mut shard = Shard::new(self.config.clone(), fastrand::Rng::with_seed(self.seed.wrapping_mul(1_000).wrapping_add(self.loads)));
        for (offset, entry) in self.log.entries.iter().enumerate() {
            match entry {
                Entry::Record { record, producer } => {
                    let producer_id = producer.map_or(-1, |p| p.id);
                    shard.replay(offset as i64, producer_id, &record.key, record.value.as_ref()).expect("own records can be read");
                }
                Entry::Marker { producer_id, committed } => shard.replay_end_transaction_marker(*producer_id, *committed),
            }
        }
        shard
    }

    /// The coordinator moves: parked requests are told, and a new shard loads the log.
    pub(crate) fn reload(&mut self) {
        let out = self.shard.unload(self.now);
        self.drive(out);
        self.loads += 1;
        self.shard = self.replayed();
        self.shard.metadata_changed(&Arc::new(self.image.clone()), None);
        let end = self.log.entries.len() as i64;
        self.log.high_watermark = end;
        let out = self.shard.on_loaded(self.now, end, end);
        self.drive(out);
    }

    /// Changes the cluster; the shard is told.
    pub(crate) fn metadata(&mut self, records: &[Record]) {
        let mut delta = Delta::default();
        for record in records {
            self.image.replay(record, &mut delta).expect("the record fits the image");
            self.image.provenance.offset += 1;
        }
        self.shard.metadata_changed(&Arc::new(self.image.clone()), Some(&delta));
    }

    /// A topic whose id is made of `number`, or more partitions for it.
    pub(crate) fn topic(&mut self, name: &str, number: u128, partitions: std::ops::Range<i32>) -> Uuid {
        let topic_id = Uuid::from_u128(number);
        let mut records: Vec<Record> = Vec::new();
        if partitions.start == 0 {
            records.push(TopicRecord { name: name.to_owned(), topic_id, ..Default::default() }.into());
        }
        records.extend(partitions.map(|partition_id| {
            let partition = PartitionRecord {
                partition_id,
                topic_id,
                replicas: vec![1],
                isr: vec![1],
                leader: 1,
                directories: vec![Uuid::from_u128(100)],
                ..Default::default()
            };
            partition.into()
        }));
        self.metadata(&records);
        topic_id
    }

    pub(crate) fn reply(&mut self, token: Token) -> Option<Reply> {
        self.replies.remove(&token)
    }

    pub(crate) fn end_transaction(&mut self, producer_id: i64, committed: bool) {
        let offset = self.log.entries.len() as i64;
        self.shard.replay_end_transaction_marker(producer_id, committed);
        self.log.entries.push(Entry::Marker { producer_id, committed });
        self.shard.wrote_marker(offset);
        if !self.log.held {
            self.commit_log();
        }
    }

    // Requests. `send_*` park, the others expect an answer at once.

    pub(crate) fn send_join(&mut self, version: i16, request: JoinGroupRequest) -> Token {
        let token = self.token();
        let out = self.shard.join_group(self.now, &context(version), token, request);
        self.drive(out);
        token
    }

    pub(crate) fn joined(&mut self, token: Token) -> JoinGroupResponse {
        match self.reply(token) {
            Some(Reply::JoinGroup(response)) => response,
            other => panic!("no JoinGroup response: {other:?}"),
        }
    }

    pub(crate) fn join(&mut self, version: i16, request: JoinGroupRequest) -> JoinGroupResponse {
        let token = self.send_join(version, request);
        self.joined(token)
    }

    pub(crate) fn send_sync(&mut self, request: SyncGroupRequest) -> Token {
        let token = self.token();
        let out = self.shard.sync_group(self.now, &context(3), token, request);
        self.drive(out);
        token
    }

    pub(crate) fn synced(&mut self, token: Token) -> SyncGroupResponse {
        match self.reply(token) {
            Some(Reply::SyncGroup(response)) => response,
            other => panic!("no SyncGroup response: {other:?}"),
        }
    }

    pub(crate) fn heartbeat(&mut self, group: &str, generation_id: i32, member: &str) -> ErrorCode {
        self.heartbeat_static(group, generation_id, member, None)
    }

    pub(crate) fn heartbeat_static(&mut self, group: &str, generation_id: i32, member: &str, instance: Option<&str>) -> ErrorCode {
        let token = self.token();
        let request = HeartbeatRequest {
            group_id: group.to_owned(),
            generation_id,
            member_id: member.to_owned(),
            group_instance_id: instance.map(str::to_owned),
            ..Default::default()
        };
        let out = self.shard.heartbeat(self.now, token, request);
        self.drive(out);
        match self.reply(token) {
            Some(Reply::Heartbeat(response)) => ErrorCode::from_code(response.error_code),
            other => panic!("no Heartbeat response: {other:?}"),
        }
    }

    pub(crate) fn send_leave(&mut self, group: &str, members: &[(&str, Option<&str>)]) -> Token {
        let token = self.token();
        let members = members.iter().map(|(member, instance)| MemberIdentity {
            member_id: (*member).to_owned(),
            group_instance_id: instance.map(str::to_owned),
            ..Default::default()
        });
        let request = LeaveGroupRequest { group_id: group.to_owned(), members: members.collect(), ..Default::default() };
        let out = self.shard.leave_group(self.now, &context(5), token, request);
        self.drive(out);
        token
    }

    pub(crate) fn leave(&mut self, group: &str, members: &[(&str, Option<&str>)]) -> Vec<ErrorCode> {
        let token = self.send_leave(group, members);
        match self.reply(token) {
            Some(Reply::LeaveGroup(response)) if response.error_code == 0 => {
                response.members.iter().map(|m| ErrorCode::from_code(m.error_code)).collect()
            }
            Some(Reply::LeaveGroup(response)) => vec![ErrorCode::from_code(response.error_code)],
            other => panic!("no LeaveGroup response: {other:?}"),
        }
    }

    pub(crate) fn send_commit(&mut self, version: i16, request: OffsetCommitRequest) -> Token {
        let token = self.token();
        let out = self.shard.offset_commit(self.now, &context(version), token, &request);
        self.drive(out);
        token
    }

    pub(crate) fn committed(&mut self, token: Token) -> ErrorCode {
        match self.reply(token) {
            Some(Reply::OffsetCommit(response)) => ErrorCode::from_code(response.topics[0].partitions[0].error_code),
            other => panic!("no OffsetCommit response: {other:?}"),
        }
    }

    pub(crate) fn commit(&mut self, version: i16, request: OffsetCommitRequest) -> ErrorCode {
        let token = self.send_commit(version, request);
        self.committed(token)
    }

    /// What is committed for a partition, or the error of it.
    pub(crate) fn fetch(&mut self, group: &str, topic: &str, partition: i32, stable: bool) -> Result<i64, ErrorCode> {
        let token = self.token();
        let request = OffsetFetchRequestGroup {
            group_id: group.to_owned(),
            member_id: None,
            member_epoch: -1,
            topics: Some(vec![OffsetFetchRequestTopics {
                name: topic.to_owned(),
                partition_indexes: vec![partition],
                ..Default::default()
            }]),
            ..Default::default()
        };
        let out = self.shard.offset_fetch(self.now, &context(9), token, request, stable);
        self.drive(out);
        match self.reply(token) {
            Some(Reply::OffsetFetch(group)) => {
                assert_eq!(group.error_code, 0);
                let partition = &group.topics[0].partitions[0];
                match ErrorCode::from_code(partition.error_code) {
                    ErrorCode::None => Ok(partition.committed_offset),
                    error => Err(error),
                }
            }
            other => panic!("no OffsetFetch response: {other:?}"),
        }
    }

    pub(crate) fn state_of(&mut self, group: &str) -> String {
        let token = self.token();
        let out = self.shard.describe_groups(self.now, &context(5), token, &[group.to_owned()]);
        self.drive(out);
        match self.reply(token) {
            Some(Reply::DescribeGroups(groups)) => groups[0].group_state.clone(),
            other => panic!("no DescribeGroups response: {other:?}"),
        }
    }
}

pub(crate) fn subscription(topics: &[&str]) -> Bytes {
    let subscription = ConsumerProtocolSubscription { topics: topics.iter().map(|t| (*t).to_owned()).collect(), ..Default::default() };
    crate::records::value(&subscription, 1).unwrap()
}

pub(crate) fn join_request(group: &str, member: &str, protocols: &[&str]) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: member.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: protocols
            .iter()
            .map(|name| JoinGroupRequestProtocol { name: (*name).to_owned(), metadata: subscription(&["topic"]), ..Default::default() })
            .collect(),
        ..Default::default()
    }
}

pub(crate) fn sync_request(group: &str, generation_id: i32, member: &str, assignments: &[(&str, &str)]) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: group.to_owned(),
        generation_id,
        member_id: member.to_owned(),
        assignments: assignments
            .iter()
            .map(|(member, assignment)| SyncGroupRequestAssignment {
                member_id: (*member).to_owned(),
                assignment: Bytes::copy_from_slice(assignment.as_bytes()),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

pub(crate) fn commit_request(group: &str, generation_id: i32, member: &str, partition: i32, offset: i64) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: generation_id,
        member_id: member.to_owned(),
        topics: vec![OffsetCommitRequestTopic {
            name: "topic".to_owned(),
            topic_id: base::Uuid::from_u128(77),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: partition,
                committed_offset: offset,
                committed_metadata: Some("note".to_owned()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}
