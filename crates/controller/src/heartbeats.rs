//! Which brokers are alive, as far as this controller has heard: contact times, reported metadata offsets, controlled shutdowns.
//! Soft state of the active controller; nothing of it is in the log. Kafka: `BrokerHeartbeatManager`, `BrokerHeartbeatTracker`.

use base::{Instant, Now};
use metadata::{Image, Record};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Heartbeats {
    session_timeout: Duration,
    /// The broker that lives in this process: it is there as long as the controller is, so its session neither expires nor keeps a
    /// restarted process from registering at once.
    local_broker: Option<i32>,
    brokers: BTreeMap<i32, BrokerState>,
    /// Last contact by broker id and epoch.
    contacts: BTreeMap<(i32, i64), Instant>,
}

#[derive(Clone, Debug)]
struct BrokerState {
    fenced: bool,
    /// Last metadata offset the broker reported.
    metadata_offset: i64,
    /// Once all active brokers have seen this offset, the broker may go.
    controlled_shutdown_offset: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerControlState {
    Fenced,
    Unfenced,
    ControlledShutdown,
    ShutdownNow,
}

impl Heartbeats {
    pub fn new(image: &Image, session_timeout: Duration, local_broker: Option<i32>, now: Now) -> Self {
        let mut heartbeats = Heartbeats { session_timeout, local_broker, brokers: BTreeMap::new(), contacts: BTreeMap::new() };
        for broker in image.cluster.brokers.values() {
            heartbeats.register(broker.id, broker.fenced);
            if !broker.fenced && local_broker != Some(broker.id) {
                heartbeats.contacts.insert((broker.id, broker.epoch), now.mono);
            }
        }
        heartbeats
    }

    /// Notes what a record that was just appended says of a broker.
    pub fn replay(&mut self, record: &Record, head: &Image) {
        match record {
            Record::RegisterBroker(r) => {
                self.brokers.remove(&r.broker_id);
                self.register(r.broker_id, r.fenced);
            }
            Record::UnregisterBroker(r) => {
                self.brokers.remove(&r.broker_id);
            }
            Record::BrokerRegistrationChange(r) => {
                if let Some(broker) = head.cluster.broker(r.broker_id) {
                    self.register(r.broker_id, broker.fenced);
                }
            }
            _ => {}
        }
    }

    fn register(&mut self, id: i32, fenced: bool) {
        let metadata_offset = match self.brokers.get(&id) {
            Some(broker) if broker.fenced != fenced => broker.metadata_offset,
            _ => -1,
        };
        self.touch(id, fenced, metadata_offset);
    }

    pub fn touch(&mut self, id: i32, fenced: bool, metadata_offset: i64) {
        let broker = self.brokers.entry(id).or_insert(BrokerState { fenced, metadata_offset, controlled_shutdown_offset: None });
        broker.fenced = fenced;
        broker.metadata_offset = metadata_offset;
        if fenced {
            // It leaves controlled shutdown; its next heartbeat is told to shut down.
            broker.controlled_shutdown_offset = None;
        }
    }

    pub fn on_contact(&mut self, id: i32, epoch: i64, now: Now) {
        self.contacts.insert((id, epoch), now.mono);
    }

    /// A broker that was told to shut down is as good as gone: its successor may register at once.
    pub fn end_session(&mut self, id: i32) {
        self.contacts.retain(|(broker, _), _| *broker != id);
    }

    pub fn has_valid_session(&self, id: i32, epoch: i64, now: Now) -> bool {
        self.contacts.get(&(id, epoch)).is_some_and(|at| *at + self.session_timeout >= now.mono)
    }

    pub fn is_shutting_down(&self, id: i32) -> bool {
        self.brokers.get(&id).is_some_and(|broker| broker.controlled_shutdown_offset.is_some())
    }

    /// Takes one broker whose session has ended.
    pub fn remove_expired(&mut self, now: Now) -> Option<(i32, i64)> {
        let expired = |at: &Instant| *at + self.session_timeout < now.mono;
        let key = *self.contacts.iter().find(|((id, _), at)| self.local_broker != Some(*id) && expired(at))?.0;
        self.contacts.remove(&key);
        Some(key)
    }

    /// When the first session can end.
    pub fn next_expiry(&self) -> Option<Instant> {
        let remote = self.contacts.iter().filter(|((id, _), _)| self.local_broker != Some(*id));
        remote.map(|(_, at)| *at + self.session_timeout + Duration::from_nanos(1)).min()
    }

    /// Forgets contacts of incarnations that are no longer registered.
    pub fn forget_other_epochs(&mut self, id: i32, epoch: i64) {
        self.contacts.retain(|(broker, e), _| *broker != id || *e == epoch);
    }

    /// `offset`: the end of the batch that put the broker into controlled shutdown.
    pub fn begin_controlled_shutdown(&mut self, id: i32, offset: i64) {
        if let Some(broker) = self.brokers.get_mut(&id).filter(|broker| !broker.fenced) {
            broker.controlled_shutdown_offset.get_or_insert(offset);
        }
    }

    fn lowest_active_offset(&self) -> i64 {
        let active = self.brokers.values().filter(|b| !b.fenced && b.controlled_shutdown_offset.is_none());
        active.map(|b| b.metadata_offset).min().unwrap_or(i64::MAX)
    }

    pub fn current_state(&self, id: i32) -> Option<BrokerControlState> {
        let broker = self.brokers.get(&id)?;
        Some(if broker.controlled_shutdown_offset.is_some() {
            BrokerControlState::ControlledShutdown
        } else if broker.fenced {
            BrokerControlState::Fenced
        } else {
            BrokerControlState::Unfenced
        })
    }

    /// Where a heartbeat with these wishes takes a broker. `caught_up`: it has replayed its own registration.
    pub fn next_state(
        &self,
        id: i32,
        current: BrokerControlState,
        want_fence: bool,
        want_shut_down: bool,
        caught_up: bool,
        has_leaderships: impl Fn() -> bool,
    ) -> BrokerControlState {
        use BrokerControlState::*;
        match current {
            Fenced if want_shut_down => ShutdownNow,
            Fenced if !want_fence && caught_up => Unfenced,
            Fenced => Fenced,
            Unfenced if want_fence && want_shut_down => ShutdownNow,
            Unfenced if want_fence => Fenced,
            Unfenced if want_shut_down && has_leaderships() => ControlledShutdown,
            Unfenced if want_shut_down => ShutdownNow,
            Unfenced => Unfenced,
            ControlledShutdown if has_leaderships() => ControlledShutdown,
            ControlledShutdown => {
                let passed = self.brokers.get(&id).and_then(|b| b.controlled_shutdown_offset) <= Some(self.lowest_active_offset());
                if passed { ShutdownNow } else { ControlledShutdown }
            }
            ShutdownNow => ShutdownNow,
        }
    }
}
