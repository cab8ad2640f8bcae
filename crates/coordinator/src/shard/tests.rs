//! A randomized model of consumers against one shard: they join, sync, commit, go silent, leave, restart with and without instance ids,
//! while writes fail or linger and the coordinator moves. After every run the world is left in peace, and must settle.
//!
//! Checked: every request is answered once; in one generation a partition has one owner; an acknowledged offset is never lost and an
//! older one never comes back; the living members of a group end in one generation that covers all partitions; the log alone gives
//! the state of the live shard.

use std::collections::{BTreeMap, HashMap};

use wire::ErrorCode;
use wire::messages::{JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse};

use crate::config::GroupConfig;
use crate::group::Group;
use crate::group::classic::State;
use crate::output::{Reply, Token};
use crate::shard::Shard;
use crate::testing::{Harness, commit_request, join_request, sync_request};

const GROUPS: [&str; 2] = ["g", "h"];
const PARTITIONS: i32 = 6;

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    /// Must send JoinGroup.
    Out,
    Joining(Token),
    /// Has a JoinGroup response and must send SyncGroup.
    Joined(JoinGroupResponse),
    Syncing(Token),
    Owner(Vec<i32>),
    /// Sends nothing any more.
    Gone,
}

#[derive(Debug)]
struct Consumer {
    group: &'static str,
    instance: Option<String>,
    member_id: String,
    generation: i32,
    phase: Phase,
}

struct World {
    h: Harness,
    rng: fastrand::Rng,
    consumers: Vec<Consumer>,
    /// Who was given a partition in a generation.
    owners: HashMap<(&'static str, i32, i32), String>,
    /// The last offset acknowledged, and the last that was sent, by group and partition.
    acknowledged: BTreeMap<(&'static str, i32), i64>,
    sent: BTreeMap<(&'static str, i32), i64>,
    commits: Vec<(Token, &'static str, i32, i64)>,
    next_offset: i64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let config = GroupConfig {
            group_initial_rebalance_delay_ms: [0, 500, 3_000][rng.usize(..3)],
            group_max_size: [3, 100][rng.usize(..2)],
            ..Default::default()
        };
        Self {
            h: Harness::with(config, seed),
            rng,
            consumers: Vec::new(),
            owners: HashMap::new(),
            acknowledged: BTreeMap::new(),
            sent: BTreeMap::new(),
            commits: Vec::new(),
            next_offset: 0,
        }
    }

    fn random_join(&mut self) {
        let group = GROUPS[self.rng.usize(..GROUPS.len())];
        let instance = (self.rng.u8(..3) == 0).then(|| format!("i{}", self.rng.u8(..3)));
        if let Some(instance) = &instance {
            // A second process of the same instance: the first is fenced sooner or later.
            for c in self.consumers.iter_mut().filter(|c| c.group == group && c.instance.as_ref() == Some(instance)) {
                c.phase = Phase::Gone;
            }
        }
        self.consumers.push(Consumer { group, instance, member_id: String::new(), generation: -1, phase: Phase::Out });
    }

    /// The next request of a consumer, or its heartbeat.
    fn act(&mut self, i: usize) {
        let (group, member_id, instance) = {
            let c = &self.consumers[i];
            (c.group, c.member_id.clone(), c.instance.clone())
        };
        match self.consumers[i].phase.clone() {
            Phase::Gone | Phase::Joining(_) | Phase::Syncing(_) => {}
            Phase::Out => {
                let request = JoinGroupRequest { group_instance_id: instance, ..join_request(group, &member_id, &["range"]) };
                let token = self.h.send_join(9, request);
                self.consumers[i].phase = Phase::Joining(token);
            }
            Phase::Joined(response) => {
                let shares: Vec<(String, String)> = response
                    .members
                    .iter()
                    .enumerate()
                    .map(|(k, m)| {
                        let mine = (0..PARTITIONS).filter(|p| *p as usize % response.members.len() == k);
                        (m.member_id.clone(), mine.map(|p| p.to_string()).collect::<Vec<_>>().join(","))
                    })
                    .collect();
                let shares: Vec<(&str, &str)> = shares.iter().map(|(id, share)| (id.as_str(), share.as_str())).collect();
                let shares = if response.skip_assignment { &[][..] } else { &shares[..] };
                let request =
                    SyncGroupRequest { group_instance_id: instance, ..sync_request(group, response.generation_id, &member_id, shares) };
                let token = self.h.send_sync(request);
                self.consumers[i].phase = Phase::Syncing(token);
            }
            Phase::Owner(partitions) => {
                if !partitions.is_empty() && self.rng.bool() {
                    let partition = partitions[self.rng.usize(..partitions.len())];
                    self.commit(i, partition);
                }
                let generation = self.consumers[i].generation;
                let error = self.h.heartbeat_static(group, generation, &member_id, instance.as_deref());
                self.on_error(i, error);
            }
        }
    }

    fn commit(&mut self, i: usize, partition: i32) {
        self.next_offset += 1;
        let c = &self.consumers[i];
        let mut request = commit_request(c.group, c.generation, &c.member_id, partition, self.next_offset);
        request.group_instance_id = c.instance.clone();
        let group = c.group;
        self.sent.insert((group, partition), self.next_offset);
        let token = self.h.send_commit(8, request);
        self.commits.push((token, group, partition, self.next_offset));
    }

    fn on_error(&mut self, i: usize, error: ErrorCode) {
        let c = &mut self.consumers[i];
        match error {
            ErrorCode::None => {}
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                c.member_id.clear();
                c.generation = -1;
                c.phase = Phase::Out;
            }
            ErrorCode::FencedInstanceId => c.phase = Phase::Gone,
            ErrorCode::GroupMaxSizeReached => {
                c.member_id.clear();
                c.phase = if self.rng.bool() { Phase::Gone } else { Phase::Out };
            }
            ErrorCode::RebalanceInProgress
            | ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::UnknownServerError => c.phase = Phase::Out,
            other => panic!("a consumer does not expect {other}"),
        }
    }

    fn receive(&mut self) {
        for i in 0..self.consumers.len() {
            match self.consumers[i].phase {
                Phase::Joining(token) => match self.h.reply(token) {
                    Some(Reply::JoinGroup(response)) => self.on_joined(i, response),
                    None => {}
                    other => panic!("not an answer to a JoinGroup: {other:?}"),
                },
                Phase::Syncing(token) => match self.h.reply(token) {
                    Some(Reply::SyncGroup(response)) => self.on_synced(i, response),
                    None => {}
                    other => panic!("not an answer to a SyncGroup: {other:?}"),
                },
                _ => {}
            }
        }
        for (token, group, partition, offset) in std::mem::take(&mut self.commits) {
            match self.h.reply(token) {
                Some(Reply::OffsetCommit(response)) => {
                    if response.topics[0].partitions[0].error_code == 0 {
                        let last = self.acknowledged.entry((group, partition)).or_insert(offset);
                        *last = offset.max(*last);
                    }
                }
                None => self.commits.push((token, group, partition, offset)),
                other => panic!("not an answer to an OffsetCommit: {other:?}"),
            }
        }
    }

    fn on_joined(&mut self, i: usize, response: JoinGroupResponse) {
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {
                let c = &mut self.consumers[i];
                c.member_id = response.member_id.clone();
                c.generation = response.generation_id;
                c.phase = Phase::Joined(response);
            }
            ErrorCode::MemberIdRequired => {
                self.consumers[i].member_id = response.member_id;
                self.consumers[i].phase = Phase::Out;
            }
            error => self.on_error(i, error),
        }
    }

    fn on_synced(&mut self, i: usize, response: SyncGroupResponse) {
        let error = ErrorCode::from_code(response.error_code);
        if error != ErrorCode::None {
            return self.on_error(i, error);
        }
        let text = String::from_utf8(response.assignment.to_vec()).unwrap();
        let partitions: Vec<i32> = text.split(',').filter(|p| !p.is_empty()).map(|p| p.parse().unwrap()).collect();
        let c = &mut self.consumers[i];
        // A static member that restarts owns under a new member id what it owned before.
        let owner = c.instance.clone().unwrap_or_else(|| c.member_id.clone());
        for &partition in &partitions {
            let former = self.owners.insert((c.group, c.generation, partition), owner.clone());
            assert!(former.is_none_or(|o| o == owner), "two owners of {partition} in generation {} of {}", c.generation, c.group);
        }
        c.phase = Phase::Owner(partitions);
    }

    fn reload(&mut self) {
        // A coordinator that moves keeps what is committed, and may lose what is not.
        if self.h.log.held && self.rng.bool() {
            self.h.log.entries.truncate(self.h.log.high_watermark as usize);
        }
        self.h.reload();
        self.receive();
    }

    fn chaos(&mut self) {
        for _ in 0..self.rng.usize(50..200) {
            match self.rng.u8(..24) {
                0..=1 if self.consumers.len() < 12 => self.random_join(),
                2 if !self.consumers.is_empty() => {
                    let i = self.rng.usize(..self.consumers.len());
                    self.consumers[i].phase = Phase::Gone;
                }
                3 if !self.consumers.is_empty() => {
                    let i = self.rng.usize(..self.consumers.len());
                    let c = &mut self.consumers[i];
                    c.phase = Phase::Gone;
                    let (group, member_id, instance) = (c.group, c.member_id.clone(), c.instance.clone());
                    self.h.send_leave(group, &[(&member_id, instance.as_deref())]);
                }
                4 => {
                    let errors = [ErrorCode::NotEnoughReplicas, ErrorCode::KafkaStorageError, ErrorCode::MessageTooLarge];
                    self.h.log.fail = Some(errors[self.rng.usize(..3)]);
                }
                5..=6 => self.h.log.fail = None,
                7..=8 => self.h.log.held = true,
                9 => {
                    self.h.log.held = false;
                    self.h.commit_log();
                }
                10 => self.reload(),
                11 => self.h.advance(self.rng.u64(..20_000)),
                12..=13 => self.h.advance(self.rng.u64(..1_000)),
                14 if !self.consumers.is_empty() => self.zombie(),
                _ if !self.consumers.is_empty() => {
                    let i = self.rng.usize(..self.consumers.len());
                    self.act(i);
                }
                _ => {}
            }
            self.receive();
            self.check_offsets(false);
            self.check_groups();
        }
    }

    /// A consumer that has lost touch speaks for the generation it knew, or for one that it never was in.
    fn zombie(&mut self) {
        let i = self.rng.usize(..self.consumers.len());
        let c = &self.consumers[i];
        let (group, member_id, generation) = (c.group, c.member_id.clone(), c.generation + self.rng.i32(-1..=1));
        if member_id.is_empty() || generation < 0 {
            return;
        }
        let belongs = |h: &Harness| matches!(h.shard.groups.get(group), Some(Group::Classic(g)) if g.has_member(&member_id, generation));
        let belonged = belongs(&self.h);
        if self.rng.bool() {
            let partition = self.rng.i32(..PARTITIONS);
            self.next_offset += 1;
            let token = self.h.send_commit(8, commit_request(group, generation, &member_id, partition, self.next_offset));
            if belonged {
                self.sent.insert((group, partition), self.next_offset);
                self.commits.push((token, group, partition, self.next_offset));
            } else {
                assert_ne!(self.h.committed(token), ErrorCode::None);
            }
        } else if !belonged {
            let token = self.h.send_sync(sync_request(group, generation, &member_id, &[]));
            assert_ne!(self.h.synced(token).error_code, 0);
            assert_ne!(self.h.heartbeat(group, generation, &member_id), ErrorCode::None);
        }
    }

    fn check_groups(&mut self) {
        for group in self.h.shard.groups.values() {
            if let Group::Classic(group) = group {
                group.assert_consistent();
            }
        }
        if self.rng.u8(..4) == 0 && self.h.log.high_watermark == self.h.log.entries.len() as i64 {
            self.check_log();
        }
    }

    /// The log alone gives every stable group, and all offsets.
    fn check_log(&self) {
        let loaded = self.h.replayed();
        let stored = stored(&loaded);
        for (id, group) in &self.h.shard.groups {
            // That a group is empty may be missing from the log, when just that write failed: its last members come back and time out.
            if let Group::Classic(group) = group
                && group.state() == State::Stable
            {
                assert_eq!(stored.get(id), Some(&group.stored_now()));
            }
        }
        assert_eq!(loaded.offsets, self.h.shard.offsets);
    }

    /// Nothing fails any more, and everybody does what they should.
    fn settle(&mut self) {
        self.h.log.fail = None;
        self.h.log.held = false;
        self.h.commit_log();
        for _ in 0..80 {
            self.receive();
            for i in 0..self.consumers.len() {
                self.act(i);
            }
            self.receive();
            self.h.advance(1_000);
        }
    }

    /// What is committed was acknowledged, or sent since.
    fn check_offsets(&mut self, settled: bool) {
        if !settled && self.h.log.held {
            return;
        }
        for ((group, partition), sent) in self.sent.clone() {
            let committed = self.h.fetch(group, "topic", partition, true).unwrap();
            let acknowledged = self.acknowledged.get(&(group, partition)).copied().unwrap_or(-1);
            assert!((acknowledged..=sent).contains(&committed), "{group} {partition}: {acknowledged} {committed} {sent}");
        }
    }

    fn check_settled(&mut self) {
        assert!(self.h.open.is_empty(), "never answered: {:?}", self.h.open);
        for group in GROUPS {
            let living: Vec<&Consumer> = self.consumers.iter().filter(|c| c.group == group && c.phase != Phase::Gone).collect();
            let mut owned: Vec<i32> = Vec::new();
            let fits = living.len() <= self.h.config.group_max_size as usize;
            for c in &living {
                match &c.phase {
                    Phase::Owner(partitions) => {
                        owned.extend(partitions);
                        assert_eq!(c.generation, living[0].generation, "{living:?}");
                    }
                    other => assert!(!fits, "{other:?} is not stable: {living:?}"),
                }
            }
            owned.sort();
            if !living.is_empty() && fits {
                assert_eq!(owned, (0..PARTITIONS).collect::<Vec<_>>(), "{living:?}");
                assert_eq!(self.h.state_of(group), "Stable");
            }
        }
    }
}

/// What a group's record would say, without the time.
fn stored(shard: &Shard) -> BTreeMap<String, wire::messages::GroupMetadataValue> {
    let classic = shard.groups.iter().filter_map(|(id, group)| match group {
        Group::Classic(group) => Some((id.clone(), group.stored_now())),
        Group::Consumer(_) | Group::Modern(_) => None,
    });
    classic.collect()
}

fn run(seed: u64) -> (World, usize) {
    let mut world = World::new(seed);
    world.chaos();
    world.settle();
    world.check_offsets(true);
    let records = world.h.log.entries.len();
    (world, records)
}

#[test]
fn consumers_settle_after_any_chaos() {
    for seed in 0..500 {
        let outcome = std::panic::catch_unwind(|| {
            let (mut world, _) = run(seed);
            world.check_settled();
            world.check_log();
        });
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        assert_eq!(run(seed).0.h.log.entries, run(seed).0.h.log.entries);
    }
}

/// Requests that no sane client sends, in any order: nothing panics, everything is answered, the groups stay consistent.
#[test]
fn any_request_in_any_state() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let config = GroupConfig { group_max_size: rng.i32(0..5), group_min_session_timeout_ms: -1, ..Default::default() };
        let mut h = Harness::with(config, seed);
        let mut ids = vec![String::new(), "ghost".to_owned()];
        let mut parked: Vec<Token> = Vec::new();
        for _ in 0..120 {
            h.log.fail = Some(ErrorCode::NotEnoughReplicas).filter(|_| rng.u8(..12) == 0);
            h.log.held = rng.u8(..6) == 0;
            let group = GROUPS[rng.usize(..2)];
            let member = ids[rng.usize(..ids.len())].clone();
            let instance = (rng.u8(..3) == 0).then(|| format!("i{}", rng.u8(..2)));
            let generation = rng.i32(-2..6);
            match rng.u8(..8) {
                0..=2 => {
                    let protocols: &[&[&str]] = &[&[], &["range"], &["range", "sticky"], &["sticky", "sticky"], &["other"]];
                    let request = JoinGroupRequest {
                        group_instance_id: instance,
                        session_timeout_ms: rng.i32(-1..20_000),
                        rebalance_timeout_ms: [i32::MIN, -1, 0, 5_000, i32::MAX][rng.usize(..5)],
                        protocol_type: ["consumer", "connect", ""][rng.usize(..3).min(rng.usize(..3))].to_owned(),
                        ..join_request(group, &member, protocols[rng.usize(..5)])
                    };
                    parked.push(h.send_join(rng.i16(0..10), request));
                }
                3..=4 => {
                    let request = SyncGroupRequest {
                        group_instance_id: instance,
                        ..sync_request(group, generation, &member, &[(&member, "x"), ("ghost", "y"), (&member, "z")])
                    };
                    h.send_sync(request);
                }
                5 => {
                    h.send_leave(group, &[(&member, instance.as_deref()), (&member, None), ("", instance.as_deref())]);
                }
                6 => {
                    let mut request = commit_request(group, generation, &member, rng.i32(-1..2), rng.i64(..));
                    request.group_instance_id = instance;
                    request.retention_time_ms = [-1, i64::MIN, i64::MAX][rng.usize(..3)];
                    h.send_commit(rng.i16(2..11), request);
                }
                _ => h.advance(rng.u64(..30_000)),
            }
            parked.retain(|token| match h.reply(*token) {
                Some(Reply::JoinGroup(response)) => {
                    ids.push(response.member_id);
                    false
                }
                _ => true,
            });
            for group in h.shard.groups.values() {
                if let Group::Classic(group) = group {
                    group.assert_consistent();
                }
            }
        }
        h.log.fail = None;
        h.reload();
        assert!(h.open.is_empty(), "seed {seed}: {:?}", h.open);
    }
}
