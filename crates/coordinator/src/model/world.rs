//! The virtual world: clock, events, clients, their connections, and what is checked at every step.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use wire::ErrorCode;

use super::client::{Actions, Common, Member};
use super::coordinator::{Coordinator, Request, Route};
use super::ledger::Ledger;
use super::plan::Plan;
use super::{Ms, Tp, number_of, topic_id};
use crate::group::Group;
use crate::output::Reply;

/// How often a client looks at its timers.
pub(super) const POLL_MS: Ms = 100;

#[derive(Debug)]
pub(super) enum Event {
    /// A client looks at its timers.
    Poll(usize),
    /// A client hears of the topics.
    Metadata(usize),
    /// A request reaches the broker.
    Arrives {
        route: Route,
        term: u64,
        request: Box<Request>,
    },
    /// An answer reaches the client. None when the coordinator has moved away from the broker that was asked.
    Answers {
        client: usize,
        connection: u64,
        reply: Option<Box<Reply>>,
    },
    Disconnects {
        client: usize,
        connection: u64,
    },
    /// A client looks for the coordinator.
    Discovers(usize),
    /// The new coordinator has loaded the log.
    Starts {
        term: u64,
    },
    /// The log recovers from what ails it.
    LogRecovers,
    /// The next blow of the plan.
    Chaos,
}

struct Queued {
    at: Ms,
    sequence: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// Requests and answers stay in order on a connection.
#[derive(Default)]
pub(super) struct Connection {
    pub(super) id: u64,
    term: u64,
    next_correlation: u64,
    last_arrival: Ms,
    last_delivery: Ms,
    /// Requests on their way or parked, with the answers of those that must wait for one before them.
    unanswered: VecDeque<(u64, Option<Option<Box<Reply>>>)>,
}

pub(super) struct Client {
    pub(super) common: Common,
    pub(super) member: Box<dyn Member>,
    pub(super) connection: Connection,
    pub(super) alive: bool,
    /// Nothing of it runs before this time.
    pub(super) frozen_until: Ms,
    /// Nothing it sends arrives before this time, and nothing reaches it.
    pub(super) cut_until: Ms,
    pub(super) commits: bool,
    /// The ownership (see `Member::owns_as`) that ended with its being fenced, though it may not have heard of it and be a member again by now.
    fenced: Option<(String, i32)>,
}

/// How much a run has seen.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) schedules: u64,
    pub(super) events: u64,
    pub(super) requests: u64,
    pub(super) acquisitions: u64,
    pub(super) commits_acknowledged: u64,
    pub(super) commits_refused: u64,
    pub(super) failovers: u64,
    pub(super) conversions: u64,
    pub(super) virtual_seconds: u64,
    pub(super) settle_ms_max: Ms,
}

impl Stats {
    pub(super) fn add(&mut self, other: &Stats) {
        self.schedules += 1;
        self.events += other.events;
        self.requests += other.requests;
        self.acquisitions += other.acquisitions;
        self.commits_acknowledged += other.commits_acknowledged;
        self.commits_refused += other.commits_refused;
        self.failovers += other.failovers;
        self.conversions += other.conversions;
        self.virtual_seconds += other.virtual_seconds;
        self.settle_ms_max = self.settle_ms_max.max(other.settle_ms_max);
    }
}

pub(super) struct World {
    pub(super) at: Ms,
    pub(super) rng: fastrand::Rng,
    pub(super) coordinator: Coordinator,
    pub(super) clients: Vec<Client>,
    pub(super) topics: BTreeMap<u32, i32>,
    pub(super) ledger: Ledger,
    pub(super) plan: Plan,
    pub(super) stats: Stats,
    pub(super) trace: Vec<String>,
    traced: bool,
    events: BinaryHeap<Reverse<Queued>>,
    sequence: u64,
    next_connection: u64,
    next_offset: i64,
    next_attempt: u64,
    /// Connections that broke with everything that was on its way.
    lost: BTreeSet<u64>,
    kinds: BTreeMap<String, &'static str>,
    outlines: BTreeMap<String, String>,
}

impl World {
    pub(super) fn new(seed: u64, traced: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = Plan::new(&mut rng);
        let at = 1_000;
        let coordinator = Coordinator::new(plan.config.clone(), rng.u64(..), at);
        Self {
            at,
            rng,
            coordinator,
            clients: Vec::new(),
            topics: BTreeMap::new(),
            ledger: Ledger::default(),
            plan,
            stats: Stats::default(),
            trace: Vec::new(),
            traced,
            events: BinaryHeap::new(),
            sequence: 0,
            next_connection: 1,
            next_offset: 1,
            next_attempt: 1,
            lost: BTreeSet::new(),
            kinds: BTreeMap::new(),
            outlines: BTreeMap::new(),
        }
    }

    pub(super) fn run(&mut self) -> Result<Stats, String> {
        self.begin()?;
        self.run_until(self.plan.calm_at)?;
        self.settle()?;
        self.stats.virtual_seconds = self.at / 1_000;
        Ok(std::mem::take(&mut self.stats))
    }

    pub(super) fn log(&mut self, line: impl FnOnce() -> String) {
        if self.traced {
            let line = format!("{:>7} {}", self.at, line());
            self.trace.push(line);
        }
    }

    pub(super) fn schedule(&mut self, at: Ms, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse(Queued { at, sequence: self.sequence, event }));
    }

    pub(super) fn run_until(&mut self, end: Ms) -> Result<(), String> {
        loop {
            let next = self.events.peek().map_or(Ms::MAX, |Reverse(queued)| queued.at);
            let timer = if self.coordinator.up { self.coordinator.next_deadline().max(self.at) } else { Ms::MAX };
            if next.min(timer) > end {
                self.at = end;
                return Ok(());
            }
            if timer < next {
                self.at = timer;
                let replies = self.coordinator.tick(timer)?;
                self.route(replies)?;
            } else if let Some(Reverse(queued)) = self.events.pop() {
                self.at = queued.at;
                self.stats.events += 1;
                self.happen(queued.event)?;
            }
            self.note_conversions();
            self.note_fenced();
        }
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        // A frozen client notices nothing until it thaws.
        if let Event::Poll(client) | Event::Metadata(client) | Event::Answers { client, .. } | Event::Disconnects { client, .. } = event {
            let thaws = self.clients[client].frozen_until;
            if !self.clients[client].alive {
                return Ok(());
            }
            if self.at < thaws {
                self.schedule(thaws, event);
                return Ok(());
            }
        }
        match event {
            Event::Poll(client) => self.poll(client),
            Event::Metadata(client) => {
                self.clients[client].common.view = self.topics.clone();
                let next = self.at + self.rng.u64(200..2_000);
                self.schedule(next, Event::Metadata(client));
                Ok(())
            }
            Event::Arrives { route, term, request } => self.arrives(route, term, *request),
            Event::Answers { client, connection, reply } => self.answered(client, connection, reply),
            Event::Disconnects { client, connection } => {
                if self.clients[client].connection.id == connection {
                    self.disconnect(client);
                }
                Ok(())
            }
            Event::Discovers(client) => {
                self.discover(client);
                Ok(())
            }
            Event::Starts { term } => {
                if term == self.coordinator.term {
                    self.log(|| format!("coordinator: loaded, term {term}"));
                    self.coordinator.start(self.at);
                    self.check_offsets()?;
                }
                Ok(())
            }
            Event::LogRecovers => self.recover_log(),
            Event::Chaos => self.chaos(),
        }
    }

    fn poll(&mut self, client: usize) -> Result<(), String> {
        self.schedule(self.at + POLL_MS, Event::Poll(client));
        self.step(client, |member, common, at, actions| member.poll(common, at, actions))?;
        let c = &self.clients[client];
        if c.alive && c.commits && c.member.may_commit() && c.common.connected && !c.common.owned.is_empty() && self.rng.u8(0..10) == 0 {
            self.commit(client);
        }
        Ok(())
    }

    /// Lets a client do something, and checks what it owns afterwards.
    pub(super) fn step(&mut self, client: usize, act: impl FnOnce(&mut dyn Member, &mut Common, Ms, &mut Actions)) -> Result<(), String> {
        let mut actions = Actions::default();
        let c = &mut self.clients[client];
        let before = if self.traced || !c.common.owned.is_empty() { c.common.owned.clone() } else { BTreeSet::new() };
        act(c.member.as_mut(), &mut c.common, self.at, &mut actions);
        if c.common.owned != before {
            let gained: Vec<Tp> = c.common.owned.difference(&before).copied().collect();
            let lost: Vec<Tp> = before.difference(&c.common.owned).copied().collect();
            self.log(|| format!("client {client}: gained {gained:?}, lost {lost:?}"));
            self.check_gained(client, &gained)?;
        }
        for request in actions.sends {
            self.send(client, request, Vec::new());
        }
        if let Some(error) = actions.dies {
            self.dies(client, error)?;
        } else if actions.disconnects {
            self.disconnect(client);
        }
        Ok(())
    }

    fn dies(&mut self, client: usize, error: ErrorCode) -> Result<(), String> {
        self.log(|| format!("client {client}: cannot go on: {error:?}"));
        self.kill(client);
        match error {
            // Another client has come with its instance id, or has it still; or the group is one of the other protocol by now.
            ErrorCode::FencedInstanceId | ErrorCode::UnreleasedInstanceId | ErrorCode::GroupIdNotFound => Ok(()),
            error => Err(format!("client {client} dies of {error:?}")),
        }
    }

    /// The process is gone, and owns nothing any more.
    pub(super) fn kill(&mut self, client: usize) {
        let c = &mut self.clients[client];
        c.alive = false;
        c.common.owned.clear();
    }

    fn check_gained(&mut self, client: usize, gained: &[Tp]) -> Result<(), String> {
        self.stats.acquisitions += gained.len() as u64;
        let c = &self.clients[client];
        let counts = |of: &Client| self.counts_as_owner(of);
        for (other, o) in self.clients.iter().enumerate() {
            if other == client || !o.alive || o.common.group != c.common.group {
                continue;
            }
            if let Some(both) = gained.iter().find(|tp| o.common.owned.contains(tp))
                && counts(o)
                && counts(c)
            {
                return Err(format!("clients {client} and {other} of group {} both own {both:?}", c.common.group));
            }
        }
        Ok(())
    }

    fn counts_as_owner(&self, of: &Client) -> bool {
        let (member_id, epoch) = of.member.owns_as();
        if of.fenced.as_ref().is_some_and(|fenced| (&*fenced.0, fenced.1) == (member_id, epoch)) {
            return false;
        }
        self.coordinator.counts_as_owner(&of.common.group, member_id, of.common.instance.as_deref(), [epoch, of.member.epoch()])
    }

    fn commit(&mut self, client: usize) {
        let mut owned: Vec<Tp> = self.clients[client].common.owned.iter().copied().collect();
        self.rng.shuffle(&mut owned);
        owned.truncate(self.rng.usize(1..4));
        let offsets: Vec<(Tp, i64)> = owned
            .into_iter()
            .map(|tp| {
                self.next_offset += 1;
                (tp, self.next_offset)
            })
            .collect();
        let c = &self.clients[client];
        let request = c.member.commit(&c.common, &offsets);
        self.send(client, request, Vec::new());
    }

    fn delay(&mut self) -> Ms {
        if self.rng.u8(0..20) == 0 { self.rng.u64(0..self.plan.delay_max + 1) } else { self.rng.u64(0..20) }
    }

    pub(super) fn send(&mut self, client: usize, request: Request, attempts: Vec<(Tp, u64)>) {
        let delay = self.delay();
        let c = &mut self.clients[client];
        if self.at < c.cut_until {
            return;
        }
        let connection = &mut c.connection;
        connection.next_correlation += 1;
        connection.last_arrival = connection.last_arrival.max(self.at + delay);
        connection.unanswered.push_back((connection.next_correlation, None));
        let route = Route { client, connection: connection.id, correlation: connection.next_correlation, attempts };
        let (at, term) = (connection.last_arrival, connection.term);
        self.log(|| format!("client {client}: sends {request:?}"));
        self.schedule(at, Event::Arrives { route, term, request: Box::new(request) });
    }

    fn arrives(&mut self, mut route: Route, term: u64, request: Request) -> Result<(), String> {
        if self.lost.contains(&route.connection) {
            return Ok(());
        }
        if !self.coordinator.up || term != self.coordinator.term {
            self.reply(&route, None);
            return Ok(());
        }
        self.stats.requests += 1;
        let mut allowed = BTreeMap::new();
        if let Request::Commit(commit) = &request {
            let epoch = commit.generation_id_or_member_epoch;
            for topic in &commit.topics {
                let Some(number) = number_of(&topic.name) else { continue };
                for partition in &topic.partitions {
                    let tp = (number, partition.partition_index);
                    self.next_attempt += 1;
                    route.attempts.push((tp, self.next_attempt));
                    self.ledger.attempted(&commit.group_id, tp, self.next_attempt, partition.committed_offset);
                    let may = self.coordinator.may_commit(&commit.group_id, &commit.member_id, epoch, topic_id(number), tp.1);
                    let owner = self.clients.iter().enumerate().find(|(other, o)| {
                        let common = &o.common;
                        *other != route.client
                            && o.alive
                            && common.group == commit.group_id
                            && common.owned.contains(&tp)
                            && self.counts_as_owner(o)
                    });
                    allowed.insert(self.next_attempt, (may, owner.map(|(other, _)| other)));
                }
            }
        }
        let client = route.client;
        let replies = self.coordinator.request(self.at, route, request)?;
        // Whether it may is decided when the request comes; with the log at hand the answer comes at once.
        for (to, reply) in &replies {
            let Reply::OffsetCommit(response) = reply else { continue };
            for (tp, number, error) in results(to, response) {
                if let Some((may, owner)) = allowed.get(&number)
                    && error == ErrorCode::None
                {
                    if !may {
                        return Err(format!("client {client} is fenced or behind, and commits {tp:?}"));
                    }
                    if let Some(owner) = owner {
                        return Err(format!("client {client} commits {tp:?}, which client {owner} owns"));
                    }
                }
            }
        }
        self.route(replies)
    }

    /// Answers leave the coordinator.
    pub(super) fn route(&mut self, replies: Vec<(Route, Reply)>) -> Result<(), String> {
        for (route, reply) in replies {
            if let Reply::OffsetCommit(response) = &reply {
                for (_, number, error) in results(&route, response) {
                    match error {
                        ErrorCode::None => {
                            self.stats.commits_acknowledged += 1;
                            self.ledger.acknowledged(number);
                        }
                        ErrorCode::UnknownMemberId
                        | ErrorCode::IllegalGeneration
                        | ErrorCode::StaleMemberEpoch
                        | ErrorCode::FencedInstanceId
                        | ErrorCode::GroupIdNotFound
                        | ErrorCode::RebalanceInProgress => {
                            self.stats.commits_refused += 1;
                            self.ledger.refused(number);
                        }
                        _ => {}
                    }
                }
            }
            self.reply(&route, Some(Box::new(reply)));
        }
        Ok(())
    }

    fn reply(&mut self, route: &Route, reply: Option<Box<Reply>>) {
        let client = route.client;
        let c = &mut self.clients[client];
        if c.connection.id != route.connection || !c.alive {
            return;
        }
        let mut reply = Some(reply);
        if let Some((_, place)) = c.connection.unanswered.iter_mut().find(|(correlation, _)| *correlation == route.correlation) {
            *place = reply.take();
        }
        while c_ready(&self.clients[client].connection) {
            let delay = self.delay();
            let c = &mut self.clients[client];
            let Some((_, Some(reply))) = c.connection.unanswered.pop_front() else { return };
            if self.at < c.cut_until {
                continue;
            }
            c.connection.last_delivery = c.connection.last_delivery.max(self.at + delay);
            let (at, connection) = (c.connection.last_delivery, c.connection.id);
            self.schedule(at, Event::Answers { client, connection, reply });
        }
    }

    fn answered(&mut self, client: usize, connection: u64, reply: Option<Box<Reply>>) -> Result<(), String> {
        if self.clients[client].connection.id != connection {
            return Ok(());
        }
        self.log(|| format!("client {client}: is answered {reply:?}"));
        match reply {
            None => {
                self.disconnect(client);
                Ok(())
            }
            Some(reply) => self.step(client, |member, common, at, actions| member.answered(common, at, *reply, actions)),
        }
    }

    /// The connection breaks: what was under way may be lost, or may still arrive.
    pub(super) fn disconnect(&mut self, client: usize) {
        let loses = self.rng.bool();
        let c = &mut self.clients[client];
        if !c.common.connected {
            return;
        }
        c.common.connected = false;
        let old = std::mem::take(&mut c.connection);
        c.member.disconnected(&mut c.common, self.at);
        if loses {
            self.lost.insert(old.id);
        }
        self.log(|| format!("client {client}: disconnected, requests under way are {}", if loses { "lost" } else { "late" }));
        let at = self.at + self.rng.u64(20..200);
        self.schedule(at, Event::Discovers(client));
    }

    fn discover(&mut self, client: usize) {
        let c = &mut self.clients[client];
        if !c.alive || c.common.connected {
            return;
        }
        if !self.coordinator.up || self.at < c.cut_until || self.at < c.frozen_until {
            let at = self.at + 200;
            return self.schedule(at, Event::Discovers(client));
        }
        c.common.connected = true;
        c.connection = Connection { id: self.next_connection, term: self.coordinator.term, ..Connection::default() };
        self.next_connection += 1;
    }

    /// A client starts; returns its number.
    pub(super) fn start(&mut self, common: Common, member: Box<dyn Member>, commits: bool) -> usize {
        let client = self.clients.len();
        self.log(|| {
            let Common { group, instance, subscription, rebalance_timeout_ms, session_timeout_ms, callback_ms, .. } = &common;
            format!(
                "client {client}: starts with the {} protocol in group {group} as {instance:?}, subscribes to {subscription:?}, \
                 rebalance {rebalance_timeout_ms}, session {session_timeout_ms}, callback {callback_ms}",
                member.protocol()
            )
        });
        let connection = Connection::default();
        self.clients.push(Client { common, member, connection, alive: true, frozen_until: 0, cut_until: 0, commits, fenced: None });
        self.schedule(self.at, Event::Discovers(client));
        self.schedule(self.at, Event::Metadata(client));
        let at = self.at + self.rng.u64(0..POLL_MS);
        self.schedule(at, Event::Poll(client));
        client
    }

    /// Compares what the coordinator tells of offsets with the ledger; only when nothing is under way to the replicas.
    pub(super) fn check_offsets(&mut self) -> Result<(), String> {
        let settled = self.coordinator.log.high_watermark == self.coordinator.log.entries.len() as i64;
        if !self.coordinator.up || !settled || self.coordinator.log.held || self.coordinator.log.fail.is_some() {
            return Ok(());
        }
        for group in self.plan.groups.clone() {
            let told = self.coordinator.fetch(self.at, &group.name)?.unwrap_or_default();
            let told = told.into_iter().filter_map(|((name, partition), offset)| Some(((number_of(&name)?, partition), offset))).collect();
            self.ledger.check(&group.name, &told)?;
        }
        Ok(())
    }

    /// One line for every change of a group's outline.
    fn trace_groups(&mut self) {
        if !self.traced {
            return;
        }
        for (id, group) in &self.coordinator.shard.groups {
            let line = match group {
                Group::Classic(group) => format!("group {id}: classic, {:?}, {} members", group.state(), group.describe().members.len()),
                Group::Consumer(group) => format!("group {id}: consumer, {}, {} members", group.state(), group.member_count()),
                Group::Modern(_) => continue,
            };
            if self.outlines.get(id) != Some(&line) {
                self.trace.push(format!("{:>7} {line}", self.at));
                self.outlines.insert(id.clone(), line);
            }
        }
    }

    /// A classic member that was fenced from a consumer group may come back under its id, still with what it owned.
    fn note_fenced(&mut self) {
        for client in self.clients.iter_mut().filter(|client| client.alive && !client.common.owned.is_empty()) {
            let (member_id, epoch) = client.member.owns_as();
            if let Some(Group::Consumer(group)) = self.coordinator.shard.groups.get(&client.common.group)
                && group.member(member_id).is_none()
            {
                client.fenced = Some((member_id.to_owned(), epoch));
            }
        }
    }

    /// Counts how often groups changed their protocol.
    fn note_conversions(&mut self) {
        self.trace_groups();
        for (id, group) in &self.coordinator.shard.groups {
            let kind = match group {
                Group::Classic(_) => "classic",
                _ => "consumer",
            };
            match self.kinds.get_mut(id) {
                Some(known) if *known != kind => {
                    *known = kind;
                    self.stats.conversions += 1;
                }
                Some(_) => {}
                None => {
                    self.kinds.insert(id.clone(), kind);
                }
            }
        }
    }
}

fn c_ready(connection: &Connection) -> bool {
    connection.unanswered.front().is_some_and(|(_, reply)| reply.is_some())
}

/// The partitions of a commit with the numbers of their attempts and what came of them.
fn results(route: &Route, response: &wire::messages::OffsetCommitResponse) -> Vec<(Tp, u64, ErrorCode)> {
    let mut results = Vec::new();
    for topic in &response.topics {
        for partition in &topic.partitions {
            let tp = (number_of(&topic.name).unwrap_or(u32::MAX), partition.partition_index);
            if let Some((_, number)) = route.attempts.iter().find(|(of, _)| *of == tp) {
                results.push((tp, *number, ErrorCode::from_code(partition.error_code)));
            }
        }
    }
    results
}
