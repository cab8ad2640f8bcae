//! The coordinator of the model: a shard with its log, which can fail, fall behind its replicas, and move to another broker at any time.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Now, Uuid};
use metadata::{Delta, Image, Record};
use wire::ErrorCode;
use wire::messages::offset_fetch_request::OffsetFetchRequestGroup;
use wire::messages::{
    ConsumerGroupHeartbeatRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, PartitionRecord,
    RemoveTopicRecord, SyncGroupRequest, TopicRecord,
};

use super::{Ms, Tp, topic_id, topic_name};
use crate::config::GroupConfig;
use crate::group::Group;
use crate::output::{Output, Reply, RequestContext, Token, drive};
use crate::shard::Shard;
use crate::testing::{Entry, MemoryLog};

#[derive(Clone, Debug)]
pub(super) enum Request {
    Join(JoinGroupRequest),
    Sync(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveGroupRequest),
    ConsumerHeartbeat(ConsumerGroupHeartbeatRequest),
    Commit(OffsetCommitRequest),
}

/// Where an answer goes, and what it answers.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) client: usize,
    pub(super) connection: u64,
    pub(super) correlation: u64,
    /// The attempts of a commit, for the ledger.
    pub(super) attempts: Vec<(Tp, u64)>,
}

pub(super) struct Coordinator {
    pub(super) shard: Shard,
    pub(super) log: MemoryLog,
    pub(super) config: GroupConfig,
    /// Counts the moves; a connection belongs to one term.
    pub(super) term: u64,
    pub(super) up: bool,
    pub(super) image: Arc<Image>,
    open: BTreeMap<Token, Route>,
    next_token: u64,
    seed: u64,
}

pub(super) fn now(ms: Ms) -> Now {
    Now { mono: Instant::ZERO + Duration::from_millis(ms), wall_ms: 1_700_000_000_000 + ms as i64 }
}

fn context(api_version: i16) -> RequestContext {
    RequestContext { api_version, client_id: "model".to_owned(), client_address: IpAddr::V4(Ipv4Addr::LOCALHOST) }
}

impl Coordinator {
    pub(super) fn new(config: GroupConfig, seed: u64, at: Ms) -> Self {
        let mut coordinator = Self {
            shard: Shard::new(config.clone(), fastrand::Rng::with_seed(seed)),
            log: MemoryLog::default(),
            config,
            term: 0,
            up: false,
            image: Arc::default(),
            open: BTreeMap::new(),
            next_token: 0,
            seed,
        };
        coordinator.start(at);
        coordinator
    }

    pub(super) fn request(&mut self, at: Ms, route: Route, request: Request) -> Result<Vec<(Route, Reply)>, String> {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.open.insert(token, route);
        let (now, shard) = (now(at), &mut self.shard);
        let out = match request {
            Request::Join(request) => shard.join_group(now, &context(9), token, request),
            Request::Sync(request) => shard.sync_group(now, &context(5), token, request),
            Request::Heartbeat(request) => shard.heartbeat(now, token, request),
            Request::Leave(request) => shard.leave_group(now, &context(5), token, request),
            Request::ConsumerHeartbeat(request) => shard.consumer_group_heartbeat(now, &context(1), token, request),
            Request::Commit(request) => shard.offset_commit(now, &context(9), token, &request),
        };
        self.carry_out(at, out)
    }

    fn carry_out(&mut self, at: Ms, out: Output) -> Result<Vec<(Route, Reply)>, String> {
        let replies = drive(&mut self.shard, now(at), out, &mut self.log);
        self.routed(replies)
    }

    fn routed(&mut self, replies: Vec<(Token, Reply)>) -> Result<Vec<(Route, Reply)>, String> {
        replies
            .into_iter()
            .map(|(token, reply)| match self.open.remove(&token) {
                Some(route) => Ok((route, reply)),
                None => Err(format!("{token:?} was answered twice, or never asked: {reply:?}")),
            })
            .collect()
    }

    pub(super) fn unanswered(&self) -> usize {
        self.open.len()
    }

    pub(super) fn next_deadline(&self) -> Ms {
        let deadline = self.shard.next_deadline();
        // Rounded up: the clock of the model has milliseconds.
        if deadline == Instant::FAR_FUTURE { Ms::MAX } else { deadline.saturating_since(Instant::ZERO).as_micros().div_ceil(1_000) as Ms }
    }

    pub(super) fn tick(&mut self, at: Ms) -> Result<Vec<(Route, Reply)>, String> {
        let out = self.shard.tick(now(at));
        let mut replies = self.carry_out(at, out)?;
        while let Some(resolution) = self.shard.next_resolution() {
            let out = self.shard.resolved(now(at), resolution.run());
            replies.extend(self.carry_out(at, out)?);
        }
        Ok(replies)
    }

    /// The replicas have caught up to here.
    pub(super) fn commit_log(&mut self, at: Ms, high_watermark: i64) -> Result<Vec<(Route, Reply)>, String> {
        self.log.high_watermark = high_watermark.max(self.log.high_watermark);
        let out = self.shard.advance(now(at), self.log.high_watermark);
        self.carry_out(at, out)
    }

    /// Brings the cluster's metadata up to date: topic number to partitions.
    pub(super) fn set_topics(&mut self, at: Ms, topics: &BTreeMap<u32, i32>) -> Result<Vec<(Route, Reply)>, String> {
        let mut image = (*self.image).clone();
        let mut delta = Delta::default();
        let gone: Vec<Uuid> =
            image.topics.iter().filter(|topic| !topics.keys().any(|number| topic_id(*number) == topic.id)).map(|topic| topic.id).collect();
        let mut records: Vec<Record> =
            gone.iter().map(|id| Record::RemoveTopic(RemoveTopicRecord { topic_id: *id, ..Default::default() })).collect();
        for (number, partitions) in topics {
            let id = topic_id(*number);
            let known = image.topics.get_by_id(id).map(|topic| topic.partitions.len() as i32);
            if known.is_none() {
                records.push(Record::Topic(TopicRecord { name: topic_name(*number), topic_id: id, ..Default::default() }));
            }
            for partition in known.unwrap_or(0)..*partitions {
                records.push(Record::Partition(PartitionRecord {
                    partition_id: partition,
                    topic_id: id,
                    replicas: vec![1],
                    isr: vec![1],
                    leader: 1,
                    directories: vec![Uuid::from_u128(500)],
                    ..Default::default()
                }));
            }
        }
        for record in &records {
            image.replay(record, &mut delta).map_err(|error| format!("{error}"))?;
        }
        image.provenance.offset += records.len() as i64;
        self.image = Arc::new(image);
        if !self.up {
            return Ok(Vec::new());
        }
        self.shard.metadata_changed(&self.image, Some(&delta));
        let deleted: Vec<(Uuid, String)> = delta.deleted_topics.values().map(|topic| (topic.id, topic.name.to_string())).collect();
        if deleted.is_empty() {
            return Ok(Vec::new());
        }
        let out = self.shard.topics_deleted(&deleted);
        self.carry_out(at, out)
    }

    /// Another broker becomes the coordinator, with `keep` entries of the log. In a crash nobody is told anything.
    pub(super) fn stop(&mut self, at: Ms, keep: usize, crash: bool) -> Result<Vec<(Route, Reply)>, String> {
        let mut replies = Vec::new();
        if !crash {
            let out = self.shard.unload(now(at));
            replies = self.carry_out(at, out)?;
            if !self.open.is_empty() {
                return Err(format!("{} requests are still parked in a shard that was unloaded", self.open.len()));
            }
        }
        self.open.clear();
        self.term += 1;
        self.up = false;
        self.log.entries.truncate(keep);
        self.log.batches.retain(|start| *start < keep);
        self.log.high_watermark = keep as i64;
        self.log.held = false;
        self.log.fail = None;
        self.shard = self.replayed();
        Ok(replies)
    }

    /// A shard that knows what the log holds.
    pub(super) fn replayed(&self) -> Shard {
        let mut shard = Shard::new(self.config.clone(), fastrand::Rng::with_seed(self.seed.wrapping_mul(1_000).wrapping_add(self.term)));
        for (offset, entry) in self.log.entries.iter().enumerate() {
            let Entry::Record { record, .. } = entry else { continue };
            shard.replay(offset as i64, -1, &record.key, record.value.as_ref()).expect("own records can be read");
        }
        shard.metadata_changed(&self.image, None);
        shard
    }

    pub(super) fn start(&mut self, at: Ms) {
        self.up = true;
        self.shard.metadata_changed(&self.image, None);
        let end = self.log.entries.len() as i64;
        let out = self.shard.on_loaded(now(at), end, end);
        let answered = self.carry_out(at, out);
        assert!(answered.is_ok_and(|replies| replies.is_empty()), "nobody has asked anything yet");
    }

    /// What a group has committed, as an admin client sees it; None when there is no such group. Only while the log is settled.
    pub(super) fn fetch(&mut self, at: Ms, group: &str) -> Result<Option<BTreeMap<(String, i32), i64>>, String> {
        self.next_token += 1;
        let token = Token(self.next_token);
        let request = OffsetFetchRequestGroup { group_id: group.to_owned(), member_epoch: -1, topics: None, ..Default::default() };
        let out = self.shard.offset_fetch(now(at), &context(9), token, request, false);
        let replies = drive(&mut self.shard, now(at), out, &mut self.log);
        let (own, others): (Vec<_>, Vec<_>) = replies.into_iter().partition(|(to, _)| *to == token);
        if !others.is_empty() {
            return Err("a read answered somebody else".to_owned());
        }
        match own.into_iter().next() {
            None => Err("an OffsetFetch waits although the log is settled".to_owned()),
            Some((_, Reply::OffsetFetch(answer))) if answer.error_code == 0 => {
                let mut offsets = BTreeMap::new();
                for topic in answer.topics {
                    for partition in topic.partitions {
                        offsets.insert((topic.name.clone(), partition.partition_index), partition.committed_offset);
                    }
                }
                Ok(Some(offsets))
            }
            Some((_, Reply::OffsetFetch(answer))) if answer.error_code == ErrorCode::GroupIdNotFound.code() => Ok(None),
            Some((_, other)) => Err(format!("OffsetFetch: {other:?}")),
        }
    }

    /// Deletes groups; the errors of those that are not.
    pub(super) fn delete(&mut self, at: Ms, groups: &[String]) -> Result<Vec<ErrorCode>, String> {
        self.next_token += 1;
        let token = Token(self.next_token);
        let out = self.shard.delete_groups(now(at), &context(2), token, groups);
        match drive(&mut self.shard, now(at), out, &mut self.log).pop() {
            Some((to, Reply::DeleteGroups(results))) if to == token => {
                Ok(results.iter().map(|result| ErrorCode::from_code(result.error_code)).collect())
            }
            other => Err(format!("DeleteGroups: {other:?}")),
        }
    }

    /// Whether the coordinator would let this member go on: what such a member owns, nobody else may.
    /// `epochs` are that of what it owns, and that in which it has joined since.
    pub(super) fn counts_as_owner(&self, group: &str, member_id: &str, instance: Option<&str>, epochs: [i32; 2]) -> bool {
        match self.shard.groups.get(group) {
            // A static member stays in the group through rebalances that it misses; its generation tells that it was passed over.
            Some(Group::Classic(group)) if instance.is_some() => group.has_member(member_id, epochs[0]),
            Some(Group::Classic(group)) => group.validate_member(member_id, None).is_ok(),
            // A classic member that was fenced may come back under its id before it has heard of it; its epoch tells.
            Some(Group::Consumer(group)) => {
                group.member(member_id).is_some_and(|member| !member.uses_classic_protocol() || epochs.contains(&member.epoch))
            }
            _ => false,
        }
    }

    /// Whether a commit of a partition by this member, in this generation or epoch, may be accepted.
    pub(super) fn may_commit(&self, group: &str, member_id: &str, epoch: i32, topic: Uuid, partition: i32) -> bool {
        match self.shard.groups.get(group) {
            Some(Group::Classic(group)) => group.has_member(member_id, epoch),
            Some(Group::Consumer(group)) => group.member(member_id).is_some_and(|member| {
                epoch == member.epoch || (epoch < member.epoch && member.held_since(topic, partition).is_some_and(|since| since <= epoch))
            }),
            _ => false,
        }
    }
}
