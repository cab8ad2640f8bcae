//! This broker's standing with the controller: registration, heartbeats, controlled shutdown. A state machine; housekeeping steps it.
//! Kafka: `BrokerLifecycleManager`.

use base::{Instant, Now, Slot, Uuid};
use controller::{ControllerClient, ControllerError, RequestContext, ResponseSlot};
use metadata::features;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use wire::ErrorCode;
use wire::messages::broker_registration_request::Listener;
use wire::messages::{BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest, BrokerRegistrationResponse};

/// After a failed request.
const RETRY: Duration = Duration::from_millis(100);
/// While the controller does not yet let this broker lead.
const FENCED_INTERVAL: Duration = Duration::from_millis(10);
/// The default of log.dir.failure.timeout.ms.
const OFFLINE_LIMIT: Duration = Duration::from_secs(30);
/// While the controller moves leadership away.
const STOPPING_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Registering,
    /// Registered, not yet allowed to lead.
    Fenced,
    Active,
    /// The controller has moved leadership away as far as it can: the broker may go.
    MayStop,
}

/// What the controller is told at registration.
#[derive(Clone, Debug)]
pub struct Registration {
    pub broker_id: i32,
    pub cluster_id: String,
    pub listeners: Vec<Listener>,
    pub rack: Option<String>,
    pub directories: Vec<Uuid>,
    /// From the clean-shutdown markers; −1 after an unclean stop.
    pub previous_broker_epoch: i64,
}

pub struct Lifecycle {
    controller: Arc<dyn ControllerClient>,
    registration: Registration,
    incarnation_id: Uuid,
    interval: Duration,
    epoch: i64,
    standing: Standing,
    stopping: bool,
    in_flight: Option<InFlight>,
    next_at: Instant,
    cordoned_dirs: Vec<Uuid>,
    offline_dirs: Vec<OfflineDir>,
    /// log.dir.failure.timeout.ms
    offline_limit: Duration,
}

/// A log directory that has failed.
struct OfflineDir {
    id: Uuid,
    told: bool,
    /// Until then the controller must know.
    tell_by: Instant,
}

enum InFlight {
    Registration(ResponseSlot),
    /// And how many of the failed directories it tells of.
    Heartbeat(ResponseSlot, usize),
}

impl Lifecycle {
    pub fn new(controller: Arc<dyn ControllerClient>, registration: Registration, incarnation_id: Uuid, interval: Duration) -> Self {
        Lifecycle {
            controller,
            registration,
            incarnation_id,
            interval,
            epoch: -1,
            standing: Standing::Registering,
            stopping: false,
            in_flight: None,
            next_at: Instant::ZERO,
            cordoned_dirs: Vec::new(),
            offline_dirs: Vec::new(),
            offline_limit: OFFLINE_LIMIT,
        }
    }

    pub fn set_offline_limit(&mut self, limit: Duration) {
        self.offline_limit = limit;
    }

    /// Directories that have failed, told to the controller with every heartbeat; the next is due at once when there is a new one.
    pub fn set_offline_dirs(&mut self, directories: &[Uuid], now: Now) {
        for id in directories {
            if !self.offline_dirs.iter().any(|known| known.id == *id) {
                self.offline_dirs.push(OfflineDir { id: *id, told: false, tell_by: now.mono + self.offline_limit });
                self.next_at = Instant::ZERO;
            }
        }
    }

    /// A failed directory that the controller has not heard of in time: as far as it knows, the partitions there are led by this broker.
    pub fn untold_dir(&self, now: Now) -> Option<Uuid> {
        self.offline_dirs.iter().find(|dir| !dir.told && dir.tell_by <= now.mono).map(|dir| dir.id)
    }

    /// Told to the controller with the next heartbeat, which is due at once when this is news.
    pub fn set_cordoned_dirs(&mut self, directories: Vec<Uuid>) {
        if self.cordoned_dirs != directories {
            self.cordoned_dirs = directories;
            self.next_at = Instant::ZERO;
        }
    }

    /// −1 before the broker is registered.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    pub fn standing(&self) -> Standing {
        self.standing
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Asks for controlled shutdown with the next heartbeat, which is due at once.
    pub fn begin_stop(&mut self) {
        self.stopping = true;
        self.next_at = Instant::ZERO;
    }

    /// Takes answers and sends what is due; returns when to come again. `waker` is woken by an answer.
    /// `metadata_offset` is up to where this broker has applied the metadata log.
    pub fn step(&mut self, now: Now, metadata_offset: i64, waker: &Waker) -> Instant {
        loop {
            match self.take_answer(waker) {
                Some(Ok(delay)) => self.next_at = now.mono + delay,
                Some(Err(error)) => self.failed(&error, now),
                None if self.in_flight.is_some() => return Instant::FAR_FUTURE,
                None => {}
            }
            if self.standing == Standing::MayStop {
                return Instant::FAR_FUTURE;
            }
            if self.next_at > now.mono {
                return self.next_at;
            }
            self.send(metadata_offset);
        }
    }

    fn send(&mut self, metadata_offset: i64) {
        let slot = Slot::new();
        if self.standing == Standing::Registering {
            self.controller.submit(RequestContext::default(), self.registration_request().into(), slot.clone());
            self.in_flight = Some(InFlight::Registration(slot));
            return;
        }
        let request = BrokerHeartbeatRequest {
            broker_id: self.registration.broker_id,
            broker_epoch: self.epoch,
            current_metadata_offset: metadata_offset,
            want_fence: false,
            want_shut_down: self.stopping,
            offline_log_dirs: self.offline_dirs.iter().map(|dir| dir.id).collect(),
            cordoned_log_dirs: Some(self.cordoned_dirs.clone()),
            ..Default::default()
        };
        self.controller.submit(RequestContext::default(), request.into(), slot.clone());
        self.in_flight = Some(InFlight::Heartbeat(slot, self.offline_dirs.len()));
    }

    fn registration_request(&self) -> BrokerRegistrationRequest {
        let features = features::FEATURES.iter().map(|feature| feature.supported().into());
        let mut log_dirs = self.registration.directories.clone();
        log_dirs.sort();
        BrokerRegistrationRequest {
            broker_id: self.registration.broker_id,
            cluster_id: self.registration.cluster_id.clone(),
            incarnation_id: self.incarnation_id,
            listeners: self.registration.listeners.clone(),
            features: features.collect(),
            rack: self.registration.rack.clone(),
            log_dirs,
            previous_broker_epoch: self.registration.previous_broker_epoch,
            ..Default::default()
        }
    }

    /// What came of the last request: how long to wait before the next.
    fn take_answer(&mut self, waker: &Waker) -> Option<Result<Duration, ControllerError>> {
        let (InFlight::Registration(slot) | InFlight::Heartbeat(slot, _)) = self.in_flight.as_ref()?;
        let answer = slot.poll(waker)?;
        Some(match self.in_flight.take()? {
            InFlight::Registration(_) => BrokerRegistrationResponse::try_from(answer).and_then(|response| self.registered(&response)),
            InFlight::Heartbeat(_, told) => BrokerHeartbeatResponse::try_from(answer).and_then(|response| self.heard(&response, told)),
        })
    }

    fn registered(&mut self, response: &BrokerRegistrationResponse) -> Result<Duration, ControllerError> {
        check(response.error_code)?;
        self.epoch = response.broker_epoch;
        self.standing = Standing::Fenced;
        tracing::info!(broker_epoch = self.epoch, "registered with the controller");
        Ok(Duration::ZERO)
    }

    fn heard(&mut self, response: &BrokerHeartbeatResponse, told: usize) -> Result<Duration, ControllerError> {
        check(response.error_code)?;
        self.offline_dirs.iter_mut().take(told).for_each(|dir| dir.told = true);
        let standing = match (self.stopping && response.should_shut_down, response.is_fenced) {
            (true, _) => Standing::MayStop,
            (false, true) => Standing::Fenced,
            (false, false) => Standing::Active,
        };
        if standing != self.standing {
            tracing::info!(?standing, "the controller has changed this broker's standing");
            self.standing = standing;
        }
        Ok(match standing {
            _ if self.offline_dirs.iter().any(|dir| !dir.told) => Duration::ZERO,
            _ if self.stopping => STOPPING_INTERVAL,
            Standing::Active => self.interval,
            _ => FENCED_INTERVAL,
        })
    }

    fn failed(&mut self, error: &ControllerError, now: Now) {
        tracing::info!(code = error.code.name(), reason = error.text(), "the controller refused a registration or heartbeat; trying again");
        if matches!(error.code, ErrorCode::StaleBrokerEpoch | ErrorCode::BrokerIdNotRegistered) && !self.stopping {
            self.standing = Standing::Registering;
        }
        self.next_at = now.mono + RETRY;
    }
}

fn check(code: i16) -> Result<(), ControllerError> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        code => Err(ControllerError::of(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use controller::{ControllerRequest, ControllerResponse};
    use parking_lot::Mutex;

    #[derive(Default)]
    struct Fake(Mutex<Vec<(ControllerRequest, ResponseSlot)>>);

    impl ControllerClient for Fake {
        fn submit(&self, _context: RequestContext, request: ControllerRequest, done: ResponseSlot) {
            self.0.lock().push((request, done));
        }
    }

    impl Fake {
        fn answer(&self, response: impl Into<ControllerResponse>) -> ControllerRequest {
            let (request, slot) = self.0.lock().remove(0);
            slot.fill(response.into());
            request
        }
    }

    fn at(ms: u64) -> Now {
        Now::default().plus(Duration::from_millis(1000 + ms))
    }

    fn lifecycle(fake: &Arc<Fake>) -> Lifecycle {
        let registration = Registration {
            broker_id: 1,
            cluster_id: "c".into(),
            listeners: Vec::new(),
            rack: None,
            directories: Vec::new(),
            previous_broker_epoch: -1,
        };
        Lifecycle::new(fake.clone(), registration, Uuid::from_u128(500), Duration::from_secs(2))
    }

    #[test]
    fn registers_unfences_beats_and_leaves() {
        let fake = Arc::new(Fake::default());
        let registration = Registration {
            broker_id: 1,
            cluster_id: "c".into(),
            listeners: Vec::new(),
            rack: None,
            directories: Vec::new(),
            previous_broker_epoch: 7,
        };
        let mut lifecycle = Lifecycle::new(fake.clone(), registration, Uuid::from_u128(500), Duration::from_secs(2));
        let waker = Waker::noop();
        assert_eq!(lifecycle.step(at(0), 5, waker), Instant::FAR_FUTURE);
        let request = fake.answer(BrokerRegistrationResponse { broker_epoch: 12, ..Default::default() });
        let ControllerRequest::BrokerRegistration(request) = request else { panic!("{request:?}") };
        assert_eq!((request.previous_broker_epoch, request.features.len()), (7, 7));

        lifecycle.step(at(1), 5, waker);
        assert_eq!((lifecycle.epoch(), lifecycle.standing()), (12, Standing::Fenced));
        fake.answer(BrokerHeartbeatResponse { is_fenced: true, ..Default::default() });
        lifecycle.step(at(2), 5, waker);
        lifecycle.step(at(12), 13, waker);
        let ControllerRequest::BrokerHeartbeat(beat) = fake.answer(BrokerHeartbeatResponse { is_fenced: false, ..Default::default() })
        else {
            panic!("a heartbeat was expected")
        };
        assert_eq!((beat.broker_epoch, beat.current_metadata_offset, beat.want_shut_down), (12, 13, false));
        assert_eq!(lifecycle.step(at(13), 14, waker), at(2013).mono);
        assert_eq!(lifecycle.standing(), Standing::Active);

        lifecycle.begin_stop();
        lifecycle.step(at(20), 14, waker);
        let ControllerRequest::BrokerHeartbeat(beat) =
            fake.answer(BrokerHeartbeatResponse { is_fenced: false, should_shut_down: true, ..Default::default() })
        else {
            panic!("a heartbeat was expected")
        };
        assert!(beat.want_shut_down);
        assert_eq!(lifecycle.step(at(21), 14, waker), Instant::FAR_FUTURE);
        assert_eq!(lifecycle.standing(), Standing::MayStop);
    }

    #[test]
    fn failed_directories_are_told_at_once_and_until_the_controller_has_heard() {
        let fake = Arc::new(Fake::default());
        let mut lifecycle = lifecycle(&fake);
        let (waker, unfenced) = (Waker::noop(), || BrokerHeartbeatResponse { is_fenced: false, ..Default::default() });
        lifecycle.step(at(0), 5, waker);
        fake.answer(BrokerRegistrationResponse { broker_epoch: 12, ..Default::default() });
        lifecycle.step(at(0), 12, waker);
        let dirs = [Uuid::from_u128(1001), Uuid::from_u128(1002)];
        // A heartbeat without them is under way.
        lifecycle.set_offline_dirs(&dirs[..1], at(1));
        let ControllerRequest::BrokerHeartbeat(beat) = fake.answer(unfenced()) else { panic!("a heartbeat") };
        assert!(beat.offline_log_dirs.is_empty());
        lifecycle.step(at(1), 12, waker);
        assert_eq!((lifecycle.untold_dir(at(30_000)), lifecycle.untold_dir(at(30_001))), (None, Some(dirs[0])));
        let ControllerRequest::BrokerHeartbeat(beat) = fake.answer(unfenced()) else { panic!("a heartbeat") };
        assert_eq!(beat.offline_log_dirs, dirs[..1]);
        assert_eq!(lifecycle.step(at(2), 12, waker), at(2002).mono);
        assert_eq!(lifecycle.untold_dir(at(60_000)), None);
        lifecycle.set_offline_dirs(&dirs, at(3));
        lifecycle.step(at(3), 12, waker);
        let ControllerRequest::BrokerHeartbeat(beat) = fake.answer(unfenced()) else { panic!("a heartbeat") };
        assert_eq!(beat.offline_log_dirs, dirs);
    }

    #[test]
    fn a_forgotten_broker_registers_again() {
        let fake = Arc::new(Fake::default());
        let mut lifecycle = lifecycle(&fake);
        lifecycle.step(at(0), 0, Waker::noop());
        fake.answer(BrokerRegistrationResponse { broker_epoch: 3, ..Default::default() });
        lifecycle.step(at(0), 0, Waker::noop());
        fake.answer(BrokerHeartbeatResponse { error_code: ErrorCode::StaleBrokerEpoch.code(), ..Default::default() });
        assert_eq!(lifecycle.step(at(0), 0, Waker::noop()), at(100).mono);
        lifecycle.step(at(100), 0, Waker::noop());
        assert!(matches!(fake.0.lock()[0].0, ControllerRequest::BrokerRegistration(_)));
    }
}
