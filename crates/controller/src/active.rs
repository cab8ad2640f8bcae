//! What exists only while this controller leads: the head image, soft state of brokers, answers that wait for their records, timers.

use crate::decide::{self, Context, Decided, Decision};
use crate::heartbeats::Heartbeats;
use crate::node::{NodeError, internal_error};
use crate::seam::{ControllerError, ControllerRequest, ControllerResponse, RequestContext};
use crate::settings::Settings;
use base::{Instant, Now};
use bytes::Bytes;
use metadata::{Delta, Image, Record};
use raft::{Durability, batch};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use wire::ErrorCode;

/// Records of one operation that need not stand or fall together go into batches of at most this many.
const MAX_RECORDS_PER_BATCH: usize = 10_000;
const UNCLEAN_ELECTION_CHECK_INTERVAL: Duration = Duration::from_secs(300);

pub struct Active {
    pub head: Image,
    pub heartbeats: Heartbeats,
    epoch: i32,
    /// Answers with the offset that must be committed first, ascending.
    pending: VecDeque<(i64, u64, ControllerResponse)>,
    last_append: Instant,
    next_balance: Option<Instant>,
    next_unclean_check: Instant,
}

pub enum Outcome {
    Answered(ControllerResponse),
    /// The answer waits for a commit.
    Pending,
}

impl Active {
    pub fn new(head: Image, epoch: i32, settings: &Settings, now: Now) -> Self {
        let local_broker = settings.combined.then_some(settings.node_id);
        Active {
            heartbeats: Heartbeats::new(&head, settings.session_timeout, local_broker, now),
            head,
            epoch,
            pending: VecDeque::new(),
            last_append: now.mono,
            next_balance: settings.leader_imbalance_check_interval.map(|interval| now.mono + interval),
            next_unclean_check: now.mono + UNCLEAN_ELECTION_CHECK_INTERVAL,
        }
    }

    pub fn next_deadline(&self, settings: &Settings) -> Option<Instant> {
        let idle = settings.max_idle_interval.map(|interval| self.last_append + interval);
        let times = [idle, self.heartbeats.next_expiry(), self.next_balance, Some(self.next_unclean_check)];
        times.into_iter().flatten().min()
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of the node that a request touches, borrowed one by one")]
    pub fn handle(
        &mut self,
        now: Now,
        settings: &Settings,
        raft: &mut raft::Node,
        registered_at: &mut BTreeMap<i32, i64>,
        rng: &mut fastrand::Rng,
        token: u64,
        context: &RequestContext,
        request: &ControllerRequest,
    ) -> Result<Outcome, NodeError> {
        let ctx =
            Context { head: &self.head, heartbeats: &self.heartbeats, settings, request: context, now, next_offset: raft.log_end().offset };
        let mut touch = None;
        let decided = match request {
            ControllerRequest::BrokerHeartbeat(heartbeat) => {
                let registered = registered_at.get(&heartbeat.broker_id).copied().unwrap_or(heartbeat.broker_epoch);
                decide::brokers::heartbeat(&ctx, heartbeat, registered).map(|(decision, what)| {
                    touch = Some(what);
                    decision
                })
            }
            other => decide(&ctx, rng, other),
        };
        let decision = match decided {
            Ok(decision) => decision,
            Err(error) => return Ok(Outcome::Answered(ControllerResponse::Failed(error))),
        };
        if let Some(touch) = &touch {
            self.heartbeats.touch(touch.broker, touch.fenced, touch.metadata_offset);
            if touch.must_shut_down {
                self.heartbeats.end_session(touch.broker);
            }
        }
        let Decision { records, atomic, kraft_version, response } = decision;
        if let Some(version) = kraft_version {
            raft.step(now, raft::Event::RaiseKRaftVersion { epoch: self.epoch, version })?;
            self.head.features.kraft_version = version.level();
        }
        let response = match self.append(now, raft, registered_at, &records, atomic)? {
            Appended::Yes => response,
            Appended::Refused(error) => return Ok(Outcome::Answered(ControllerResponse::Failed(error))),
        };
        let end = raft.log_end().offset - 1;
        if let Some(touch) = touch.filter(|touch| touch.in_controlled_shutdown) {
            self.heartbeats.begin_controlled_shutdown(touch.broker, end);
        }
        // What was read may itself be uncommitted; then the answer waits for it too.
        let wait_for = if records.is_empty() { self.pending.back().map(|(offset, ..)| *offset) } else { Some(end) };
        Ok(match wait_for.filter(|offset| raft.high_watermark().is_none_or(|hw| *offset >= hw)) {
            Some(offset) => {
                self.pending.push_back((offset, token, response));
                Outcome::Pending
            }
            None => Outcome::Answered(response),
        })
    }

    pub fn tick(
        &mut self,
        now: Now,
        settings: &Settings,
        raft: &mut raft::Node,
        registered_at: &mut BTreeMap<i32, i64>,
    ) -> Result<(), NodeError> {
        // One broker at a time, so that each fencing is seen by the decision on the next.
        while let Some((id, epoch)) = self.heartbeats.remove_expired(now) {
            let records = self.decide(now, settings, raft, |ctx| decide::brokers::fence_stale(ctx, ctx.heartbeats, id, epoch));
            if !records.is_empty() {
                tracing::warn!(broker = id, epoch, "fencing a broker whose session has ended");
            }
            self.append(now, raft, registered_at, &records, false)?;
        }
        if let (Some(due), Some(interval)) = (self.next_balance, settings.leader_imbalance_check_interval)
            && due <= now.mono
        {
            self.next_balance = Some(now.mono + interval);
            let records = self.decide(now, settings, raft, decide::elections::balance_leaders);
            self.append(now, raft, registered_at, &records, false)?;
        }
        if self.next_unclean_check <= now.mono {
            self.next_unclean_check = now.mono + UNCLEAN_ELECTION_CHECK_INTERVAL;
            let records = self.decide(now, settings, raft, decide::elections::elect_unclean);
            self.append(now, raft, registered_at, &records, false)?;
        }
        if let Some(interval) = settings.max_idle_interval
            && self.last_append + interval <= now.mono
        {
            self.append_no_op(now, raft)?;
        }
        Ok(())
    }

    fn decide(&self, now: Now, settings: &Settings, raft: &raft::Node, decide: impl FnOnce(&Context) -> Vec<Record>) -> Vec<Record> {
        decide(&Context {
            head: &self.head,
            heartbeats: &self.heartbeats,
            settings,
            request: &RequestContext::default(),
            now,
            next_offset: raft.log_end().offset,
        })
    }

    /// A NoOp carries the high watermark to followers. With nobody following it says nothing, and is not worth a flush: it becomes
    /// durable with the next record that is.
    fn append_no_op(&mut self, now: Now, raft: &mut raft::Node) -> Result<(), NodeError> {
        let record = Record::NoOp(Default::default());
        let offset = raft.log_end().offset;
        let values = vec![record.encode_version(0).map_err(|error| NodeError::Record { offset, error })?];
        raft.step(now, raft::Event::Propose { epoch: self.epoch, values, durability: Durability::Lazy })?;
        self.last_append = now.mono;
        Ok(())
    }

    /// Checks the records by replaying them on a copy of the head, then appends them.
    pub fn append(
        &mut self,
        now: Now,
        raft: &mut raft::Node,
        registered_at: &mut BTreeMap<i32, i64>,
        records: &[Record],
        atomic: bool,
    ) -> Result<Appended, NodeError> {
        if records.is_empty() {
            return Ok(Appended::Yes);
        }
        let mut head = self.head.clone();
        let mut delta = Delta::default();
        for record in records {
            if let Err(error) = head.replay(record, &mut delta) {
                tracing::error!(%error, record = record.name(), "refused to append a record that cannot be replayed");
                return Ok(Appended::Refused(ControllerError::new(ErrorCode::UnknownServerError, error.to_string())));
            }
        }
        let first = raft.log_end().offset;
        let version = self.head.features.metadata_version.unwrap_or(head.metadata_version());
        let encoded: Result<Vec<Bytes>, _> = records.iter().map(|record| record.encode(version)).collect();
        let values = match encoded {
            Ok(values) => values,
            Err(error) => return Ok(Appended::Refused(ControllerError::new(ErrorCode::InvalidRequest, error.to_string()))),
        };
        let chunks = batch::split(&values, if atomic { usize::MAX } else { MAX_RECORDS_PER_BATCH });
        if atomic && chunks.len() > 1 {
            let message = "Unable to perform excessively large batch operation.";
            return Ok(Appended::Refused(ControllerError::new(ErrorCode::PolicyViolation, message)));
        }
        for chunk in chunks {
            let event = raft::Event::Propose { epoch: self.epoch, values: chunk.to_vec(), durability: Durability::Flush };
            raft.step(now, event)?;
        }
        self.head = head;
        self.last_append = now.mono;
        for (record, offset) in records.iter().zip(first..) {
            self.heartbeats.replay(record, &self.head);
            if let Record::RegisterBroker(r) = record {
                registered_at.insert(r.broker_id, offset);
                self.heartbeats.forget_other_epochs(r.broker_id, r.broker_epoch);
            }
        }
        Ok(Appended::Yes)
    }

    pub fn release(&mut self, high_watermark: i64, responses: &mut Vec<(u64, ControllerResponse)>) {
        while self.pending.front().is_some_and(|(offset, ..)| *offset < high_watermark) {
            responses.extend(self.pending.pop_front().map(|(_, token, response)| (token, response)));
        }
    }

    pub fn into_pending(self) -> impl Iterator<Item = u64> {
        self.pending.into_iter().map(|(_, token, _)| token)
    }
}

pub enum Appended {
    Yes,
    Refused(ControllerError),
}

fn decide(ctx: &Context, rng: &mut fastrand::Rng, request: &ControllerRequest) -> Decided {
    match request {
        ControllerRequest::CreateTopics(r) => decide::topics::create(ctx, rng, r),
        ControllerRequest::DeleteTopics(r) => decide::topics::delete(ctx, r),
        ControllerRequest::CreatePartitions(r) => decide::partitions::create(ctx, rng, r),
        ControllerRequest::IncrementalAlterConfigs(r) => decide::configs::incremental(ctx, r),
        ControllerRequest::AlterConfigs(r) => decide::configs::replace(ctx, r),
        ControllerRequest::AllocateProducerIds(r) => decide::producer_ids::allocate(ctx, r),
        ControllerRequest::BrokerRegistration(r) => decide::brokers::register(ctx, r),
        ControllerRequest::UnregisterBroker(r) => decide::brokers::unregister(ctx, r),
        ControllerRequest::ControllerRegistration(r) => decide::brokers::register_controller(ctx, r),
        ControllerRequest::UpdateFeatures(r) => decide::features::update(ctx, r),
        ControllerRequest::ElectLeaders(r) => decide::elections::elect(ctx, r),
        ControllerRequest::AlterPartitionReassignments(r) => decide::reassign::alter(ctx, r),
        ControllerRequest::ListPartitionReassignments(r) => decide::reassign::list(ctx, r),
        ControllerRequest::AlterPartition(r) => decide::isr::alter(ctx, r),
        ControllerRequest::AssignReplicasToDirs(r) => decide::directories::assign(ctx, r),
        // Answered before it comes here: the first with the broker's registration offset, the others from raft.
        ControllerRequest::BrokerHeartbeat(_)
        | ControllerRequest::DescribeQuorum(_)
        | ControllerRequest::AddRaftVoter(_)
        | ControllerRequest::RemoveRaftVoter(_) => Ok(internal_error("request reached the wrong part of the controller")),
    }
}
