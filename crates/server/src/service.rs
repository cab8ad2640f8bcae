//! Plugs the broker into the network layer.

use base::{Instant, Now};
use broker::Broker;
use bytes::Bytes;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// A parked request that has not answered this long after its deadline never will.
const OVERDUE: Duration = Duration::from_secs(5);

pub struct BrokerService {
    pub broker: Arc<Broker>,
}

struct BrokerSession {
    broker: Arc<Broker>,
    session: broker::Session,
}

struct ParkedRequest {
    broker: Arc<Broker>,
    parked: broker::Parked,
}

impl net::Service for BrokerService {
    fn open_session(&self, info: net::SessionInfo) -> Box<dyn net::Session> {
        let session = self.broker.open_session(info.peer, info.listener);
        Box::new(BrokerSession { broker: self.broker.clone(), session })
    }
}

impl net::Session for BrokerSession {
    fn handle(&mut self, now: Now, frame: Bytes, waker: &Waker) -> net::Handled {
        match self.broker.handle(now, &mut self.session, frame, waker) {
            broker::Handled::Response(response) => net::Handled::Response(response.frame),
            broker::Handled::NoResponse => net::Handled::NoResponse,
            broker::Handled::Parked(parked) => net::Handled::Parked(Box::new(ParkedRequest { broker: self.broker.clone(), parked })),
            broker::Handled::Close(reason) => net::Handled::Close(reason),
        }
    }
}

impl net::Parked for ParkedRequest {
    fn poll(&mut self, now: Now, waker: &Waker) -> net::Waited {
        match self.parked.poll(&self.broker, now, waker) {
            Some(broker::Response { closes: Some(reason), .. }) => net::Waited::Close(reason),
            Some(response) => net::Waited::Answered(response.frame),
            None if now.mono > self.parked.deadline() + OVERDUE => net::Waited::Close("a request was not answered in time".into()),
            None => net::Waited::Waiting,
        }
    }

    fn deadline(&self) -> Instant {
        self.parked.deadline()
    }

    fn holds_next(&self) -> bool {
        self.parked.holds_next()
    }
}
