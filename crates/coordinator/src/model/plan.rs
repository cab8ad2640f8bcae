//! What a schedule is made of: the settings, the groups, and the blows that fall until it becomes calm.

use std::collections::BTreeSet;

use wire::ErrorCode;

use super::Ms;
use super::classic::ClassicClient;
use super::client::{Common, Member, Subscription};
use super::consumer::ConsumerClient;
use super::world::{Event, World};
use crate::config::{Bounded, GroupConfig};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocols {
    Eager,
    Cooperative,
    Consumer,
    /// The consumer protocol and a classic one, members of both.
    MixedEager,
    MixedCooperative,
}

#[derive(Clone, Debug)]
pub(super) struct PlannedGroup {
    pub(super) name: String,
    pub(super) protocols: Protocols,
    pub(super) clients_max: usize,
}

pub(super) struct Plan {
    pub(super) config: GroupConfig,
    pub(super) groups: Vec<PlannedGroup>,
    pub(super) calm_at: Ms,
    pub(super) delay_max: Ms,
    next_topic: u32,
    /// The longest pause between two blows.
    pause_max: Ms,
    callback_max: Ms,
}

impl Plan {
    pub(super) fn new(rng: &mut fastrand::Rng) -> Self {
        let bounded = |value: i32| Bounded { value, min: 0, max: 60_000 };
        let config = GroupConfig {
            group_initial_rebalance_delay_ms: [0, 500, 3_000][rng.usize(0..3)],
            group_min_session_timeout_ms: 4_000,
            offsets_commit_timeout_ms: 3_000,
            consumer_session_timeout_ms: bounded(6_000),
            consumer_heartbeat_interval_ms: bounded(1_000),
            consumer_assignment_interval_ms: bounded([0, 1_000][rng.usize(0..2)]),
            consumer_assignors: [["uniform", "range"], ["range", "uniform"]][rng.usize(0..2)].map(str::to_owned).to_vec(),
            ..GroupConfig::default()
        };
        let all = [Protocols::Eager, Protocols::Cooperative, Protocols::Consumer, Protocols::MixedEager, Protocols::MixedCooperative];
        let groups = (0..rng.usize(1..3)).map(|at| PlannedGroup {
            name: format!("g{at}"),
            protocols: all[rng.usize(0..all.len())],
            clients_max: rng.usize(1..7),
        });
        Self {
            groups: groups.collect(),
            config,
            calm_at: rng.u64(15_000..60_000),
            delay_max: [100, 1_000, 4_000][rng.usize(0..3)],
            next_topic: 1,
            pause_max: [500, 2_000, 6_000][rng.usize(0..3)],
            callback_max: [1, 300, 6_000][rng.usize(0..3)],
        }
    }
}

impl World {
    pub(super) fn begin(&mut self) -> Result<(), String> {
        for _ in 0..self.rng.usize(1..4) {
            self.create_topic()?;
        }
        for group in 0..self.plan.groups.len() {
            for _ in 0..self.rng.usize(1..self.plan.groups[group].clients_max + 1) {
                self.start_client(group, None);
            }
        }
        let at = self.at + self.rng.u64(0..4_000);
        self.schedule(at, Event::Chaos);
        Ok(())
    }

    fn create_topic(&mut self) -> Result<(), String> {
        let number = self.plan.next_topic;
        self.plan.next_topic += 1;
        let partitions = self.rng.i32(1..7);
        self.log(|| format!("topic t{number} is created with {partitions} partitions"));
        self.topics.insert(number, partitions);
        self.topics_changed()
    }

    fn topics_changed(&mut self) -> Result<(), String> {
        let replies = self.coordinator.set_topics(self.at, &self.topics)?;
        self.route(replies)
    }

    fn subscription(&mut self) -> Subscription {
        if self.rng.u8(0..4) == 0 {
            return Subscription::Pattern(["t.*", "t[1-3]", "t1|t4", "(?i)T[0-9]*[02468]"][self.rng.usize(0..4)]);
        }
        // One that does not exist yet may be among them.
        let numbers: BTreeSet<u32> = (1..=self.plan.next_topic).filter(|_| self.rng.u8(0..3) > 0).collect();
        Subscription::Names(if numbers.is_empty() { BTreeSet::from([1]) } else { numbers })
    }

    /// A new client. As a static member that succeeds another it has the same subscription: neither protocol takes notice of a new one then,
    /// and that is Kafka's way.
    fn start_client(&mut self, group: usize, succeeds: Option<usize>) {
        let PlannedGroup { name, protocols, .. } = self.plan.groups[group].clone();
        let mixed = matches!(protocols, Protocols::MixedEager | Protocols::MixedCooperative);
        let cooperative = matches!(protocols, Protocols::Cooperative | Protocols::MixedCooperative);
        let consumer = protocols == Protocols::Consumer || (mixed && self.rng.bool());
        let member: Box<dyn Member> = if consumer {
            let assignor = [None, None, Some("uniform"), Some("range")][self.rng.usize(0..4)];
            Box::new(ConsumerClient::new(&mut self.rng, assignor))
        } else {
            Box::new(ClassicClient::new(cooperative))
        };
        let succeeds = succeeds.map(|client| &self.clients[client].common).filter(|common| common.instance.is_some());
        let (instance, subscription) = match succeeds {
            Some(common) => (common.instance.clone(), common.subscription.clone()),
            None => ((self.rng.u8(0..3) == 0).then(|| format!("i{}", self.clients.len())), self.subscription()),
        };
        let common = Common {
            group: name,
            instance,
            subscription,
            view: Default::default(),
            owned: Default::default(),
            session_timeout_ms: self.rng.i32(4_000..10_000),
            rebalance_timeout_ms: self.rng.i32(2_000..8_000),
            callback_ms: self.rng.u64(0..self.plan.callback_max),
            connected: false,
        };
        let commits = self.rng.u8(0..4) > 0;
        self.start(common, member, commits);
    }

    fn living(&self, group: usize) -> Vec<usize> {
        let name = &self.plan.groups[group].name;
        (0..self.clients.len()).filter(|at| self.clients[*at].alive && self.clients[*at].common.group == *name).collect()
    }

    fn close(&mut self, client: usize, forever: bool) -> Result<(), String> {
        self.log(|| format!("client {client}: closes{}", if forever { " for ever" } else { "" }));
        self.step(client, |member, common, _, actions| member.close(common, forever, actions))?;
        self.kill(client);
        Ok(())
    }

    pub(super) fn chaos(&mut self) -> Result<(), String> {
        if self.at >= self.plan.calm_at {
            return Ok(());
        }
        let next = self.at + self.rng.u64(0..self.plan.pause_max) + 1;
        self.schedule(next, Event::Chaos);
        let group = self.rng.usize(0..self.plan.groups.len());
        let living = self.living(group);
        let some = living.get(self.rng.usize(0..living.len().max(1))).copied();
        match (self.rng.u8(0..20), some) {
            (0..=2, _) if living.len() < self.plan.groups[group].clients_max => self.start_client(group, None),
            (3, Some(client)) => {
                let forever = self.rng.bool();
                self.close(client, forever)?;
            }
            (4, Some(client)) => {
                self.log(|| format!("client {client}: crashes"));
                self.kill(client);
            }
            // Restarts, perhaps with the other protocol: a rolling upgrade or downgrade, member by member.
            (5..=8, Some(client)) => {
                if self.rng.u8(0..4) > 0 {
                    self.close(client, false)?;
                } else {
                    self.log(|| format!("client {client}: crashes and is started again"));
                    self.kill(client);
                }
                self.start_client(group, Some(client));
            }
            (9, Some(client)) => {
                let ms = self.rng.u64(500..15_000);
                self.log(|| format!("client {client}: freezes for {ms}"));
                self.clients[client].frozen_until = self.at + ms;
            }
            (10, Some(client)) => {
                let ms = self.rng.u64(500..15_000);
                self.log(|| format!("client {client}: is cut off for {ms}"));
                self.clients[client].cut_until = self.at + ms;
            }
            (11, Some(client))
                if self.clients[client].common.instance.is_some() && living.len() < self.plan.groups[group].clients_max + 1 =>
            {
                self.log(|| format!("a second client with the instance id of client {client}"));
                self.start_client(group, Some(client));
            }
            (12, Some(client)) => {
                let subscription = self.subscription();
                let before = &self.clients[client].common.subscription;
                // Java's client forgets to take a pattern back when a heartbeat fails at that moment.
                let takes_pattern_back = matches!((before, &subscription), (Subscription::Pattern(_), Subscription::Names(_)));
                if !takes_pattern_back || self.clients[client].member.protocol() == "classic" {
                    self.log(|| format!("client {client}: subscribes to {subscription:?}"));
                    self.clients[client].common.subscription = subscription;
                }
            }
            (13, Some(client)) => self.disconnect(client),
            (14, _) if self.topics.len() < 6 => self.create_topic()?,
            (15, _) => self.change_topic()?,
            (16, _) => self.hurt_log()?,
            (17, _) => self.fail_over()?,
            (18, _) => self.check_offsets()?,
            _ => {}
        }
        Ok(())
    }

    fn change_topic(&mut self) -> Result<(), String> {
        let numbers: Vec<u32> = self.topics.keys().copied().collect();
        let number = numbers[self.rng.usize(0..numbers.len())];
        if self.rng.u8(0..3) == 0 && numbers.len() > 1 {
            self.log(|| format!("topic t{number} is deleted"));
            self.topics.remove(&number);
            self.ledger.topic_deleted(number);
        } else {
            let more = self.rng.i32(1..4);
            self.log(|| format!("topic t{number} gets {more} more partitions"));
            *self.topics.entry(number).or_default() += more;
        }
        self.topics_changed()
    }

    pub(super) fn grow_topics(&mut self) -> Result<(), String> {
        self.log(|| "every topic gets one more partition".to_owned());
        self.topics.values_mut().for_each(|count| *count += 1);
        self.topics_changed()
    }

    /// For a while appends fail, or the replicas do not catch up.
    fn hurt_log(&mut self) -> Result<(), String> {
        let ms = self.rng.u64(50..5_000);
        if self.rng.bool() {
            let error = [ErrorCode::NotLeaderOrFollower, ErrorCode::NotEnoughReplicas][self.rng.usize(0..2)];
            self.log(|| format!("log: appends fail for {ms} with {error:?}"));
            self.coordinator.log.fail = Some(error);
        } else {
            self.log(|| format!("log: the replicas stand still for {ms}"));
            self.coordinator.log.held = true;
        }
        let at = self.at + ms;
        self.schedule(at, Event::LogRecovers);
        Ok(())
    }

    pub(super) fn recover_log(&mut self) -> Result<(), String> {
        self.log(|| "log: is well again".to_owned());
        self.coordinator.log.fail = None;
        self.coordinator.log.held = false;
        if !self.coordinator.up {
            return Ok(());
        }
        let replies = self.coordinator.commit_log(self.at, self.coordinator.log.entries.len() as i64)?;
        self.route(replies)
    }

    fn fail_over(&mut self) -> Result<(), String> {
        if !self.coordinator.up {
            return Ok(());
        }
        let (kept, end) = (self.coordinator.log.high_watermark as usize, self.coordinator.log.entries.len());
        // What is lost are whole batches.
        let mut ends: Vec<usize> = self.coordinator.log.batches.iter().copied().filter(|start| *start >= kept).collect();
        ends.push(end);
        let keep = ends[self.rng.usize(0..ends.len())];
        let crash = self.rng.bool();
        let loses = end - keep;
        self.log(|| format!("coordinator: {}, {loses} records are lost", if crash { "crashes" } else { "moves" }));
        let replies = self.coordinator.stop(self.at, keep, crash)?;
        self.route(replies)?;
        self.stats.failovers += 1;
        if crash {
            for client in 0..self.clients.len() {
                let at = self.at + self.rng.u64(0..100);
                let connection = self.clients[client].connection.id;
                self.schedule(at, Event::Disconnects { client, connection });
            }
        }
        let at = self.at + self.rng.u64(0..2_000);
        let term = self.coordinator.term;
        self.schedule(at, Event::Starts { term });
        Ok(())
    }
}
