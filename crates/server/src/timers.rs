//! The thread of everything that must happen in time: heartbeats to the controller and the timers of groups. It touches no disk but
//! by the appends that group timers make. Kafka: the queue of `BrokerLifecycleManager`, `SystemTimerReaper`.

use crate::bell::Bell;
use crate::clock;
use crate::guard;
use crate::lifecycle::{Lifecycle, Standing};
use base::{Instant, Now, Uuid};
use broker::Broker;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// Timers that requests set meanwhile are noticed within this.
const TICK: Duration = Duration::from_millis(100);

/// What other threads see of this one, and ask of it.
#[derive(Default)]
pub struct Timers {
    pub bell: Arc<Bell>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    leave: bool,
    standing: Option<Standing>,
}

impl Timers {
    /// Waits until the broker may lead, at most for `limit`.
    pub fn wait_active(&self, limit: Duration) -> bool {
        self.wait_for(Standing::Active, limit)
    }

    /// Asks for controlled shutdown and waits until the controller agrees, at most for `limit`.
    pub fn leave(&self, limit: Duration) -> bool {
        self.state.lock().leave = true;
        self.bell.ring();
        self.wait_for(Standing::MayStop, limit)
    }

    fn wait_for(&self, standing: Standing, limit: Duration) -> bool {
        let mut state = self.state.lock();
        self.changed.wait_while_for(&mut state, |state| state.standing != Some(standing), limit);
        state.standing == Some(standing)
    }

    /// Runs until the bell says stop; returns the broker's epoch.
    pub fn run(&self, broker: &Broker, mut lifecycle: Lifecycle) -> i64 {
        let waker = Waker::from(self.bell.clone());
        loop {
            let now = clock::now();
            let beat = self.beat(broker, &mut lifecycle, now, &waker);
            let tick = guard::run("group timers", || broker.tick(now)).unwrap_or(now.mono + TICK);
            let next = beat.min(tick).min(now.mono + TICK);
            // Not less than a millisecond: a timer that stays due must not spin.
            let pause = (next - clock::now().mono).max(Duration::from_millis(1));
            if !self.bell.wait(pause) {
                return lifecycle.epoch();
            }
        }
    }

    fn beat(&self, broker: &Broker, lifecycle: &mut Lifecycle, now: Now, waker: &Waker) -> Instant {
        if self.state.lock().leave && !lifecycle.is_stopping() {
            lifecycle.begin_stop();
        }
        lifecycle.set_cordoned_dirs(broker.replicas().cordoned_dirs().into_iter().map(|dir| dir.id).collect());
        let offline: Vec<Uuid> = broker.replicas().offline_dirs().into_iter().map(|dir| dir.id).filter(|id| !id.is_zero()).collect();
        lifecycle.set_offline_dirs(&offline, now);
        if let Some(directory) = lifecycle.untold_dir(now).filter(|_| !lifecycle.is_stopping()) {
            tracing::error!(%directory, "stopping: the controller could not be told of a failed log directory within log.dir.failure.timeout.ms");
            stop_this_process();
            lifecycle.begin_stop();
        }
        let next = lifecycle.step(now, broker.image().provenance.offset, waker);
        if broker.broker_epoch() != lifecycle.epoch() {
            broker.set_broker_epoch(lifecycle.epoch());
        }
        let standing = Some(lifecycle.standing());
        let mut state = self.state.lock();
        if state.standing != standing {
            state.standing = standing;
            self.changed.notify_all();
        }
        next
    }
}

/// As if somebody had asked from outside: the main thread stops the node cleanly.
fn stop_this_process() {
    if let Err(error) = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM) {
        tracing::error!(%error, "the process cannot signal itself");
        std::process::exit(1);
    }
}
