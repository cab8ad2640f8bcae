//! Producer ids, handed out from blocks that the controller allocates. Kafka: `RPCProducerIdManager`.

use crate::Broker;
use base::Slot;
use controller::{ControllerResponse, RequestContext, ResponseSlot};
use parking_lot::Mutex;
use std::task::Waker;
use wire::ErrorCode;
use wire::messages::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};

#[derive(Default)]
pub(crate) struct ProducerIds(Mutex<State>);

#[derive(Default)]
struct State {
    next: i64,
    end: i64,
    /// When this one is given out the next block is asked for.
    prefetch_at: i64,
    asked: Option<ResponseSlot>,
    /// Requests that found no id; woken when a block arrives.
    waiting: Vec<Waker>,
}

impl State {
    fn take(&mut self, broker: &Broker) -> Option<i64> {
        if self.next >= self.end {
            return None;
        }
        let id = self.next;
        self.next += 1;
        if id == self.prefetch_at {
            self.ask(broker);
        }
        Some(id)
    }

    fn ask(&mut self, broker: &Broker) -> ResponseSlot {
        self.asked
            .get_or_insert_with(|| {
                let slot = Slot::new();
                let request =
                    AllocateProducerIdsRequest { broker_id: broker.id(), broker_epoch: broker.broker_epoch(), ..Default::default() };
                broker.controller().submit(RequestContext::default(), request.into(), slot.clone());
                slot
            })
            .clone()
    }

    /// The answer of the controller: a block, shared out to all who wait.
    fn accept(&mut self, answer: ControllerResponse) -> Result<(), ErrorCode> {
        self.asked = None;
        self.waiting.drain(..).for_each(Waker::wake);
        let (start, len) = block(answer)?;
        (self.next, self.end, self.prefetch_at) = (start, start + len, start + len * 9 / 10);
        Ok(())
    }
}

impl ProducerIds {
    /// The next id, or `None` while a block is on its way: `waker` is woken then.
    pub fn next(&self, broker: &Broker, waker: &Waker) -> Option<Result<i64, ErrorCode>> {
        let mut state = self.0.lock();
        loop {
            if let Some(id) = state.take(broker) {
                return Some(Ok(id));
            }
            if let Err(error) = state.await_block(broker, waker)? {
                return Some(Err(error));
            }
        }
    }

    /// Whether there is an id to be had, or an error; `None` while a block is on its way: `waker` is woken then.
    pub fn ready(&self, broker: &Broker, waker: &Waker) -> Option<Result<(), ErrorCode>> {
        let mut state = self.0.lock();
        match state.next < state.end {
            true => Some(Ok(())),
            false => state.await_block(broker, waker),
        }
    }

    /// The next id, for who cannot wait. Where there is none a block is asked for, and the client is told to come again.
    pub fn try_next(&self, broker: &Broker) -> Result<i64, ErrorCode> {
        let mut state = self.0.lock();
        if let Some(id) = state.take(broker) {
            return Ok(id);
        }
        let arrived = state.ask(broker).take();
        // The asker that waits for a block may have left its waker in the slot, which stays there.
        match arrived.map(|answer| state.accept(answer)) {
            Some(Ok(())) => state.take(broker).ok_or(ErrorCode::CoordinatorLoadInProgress),
            Some(Err(_)) | None => Err(ErrorCode::CoordinatorLoadInProgress),
        }
    }
}

impl State {
    fn await_block(&mut self, broker: &Broker, waker: &Waker) -> Option<Result<(), ErrorCode>> {
        // The slot remembers one waker, the last; it wakes that one, and the block is shared out to the rest from here.
        match self.ask(broker).poll(waker) {
            Some(answer) => Some(self.accept(answer)),
            None => {
                if !self.waiting.iter().any(|w| w.will_wake(waker)) {
                    self.waiting.push(waker.clone());
                }
                None
            }
        }
    }
}

fn block(answer: ControllerResponse) -> Result<(i64, i64), ErrorCode> {
    let response = AllocateProducerIdsResponse::try_from(answer).map_err(|e| e.code)?;
    match ErrorCode::from_code(response.error_code) {
        ErrorCode::None => Ok((response.producer_id_start, i64::from(response.producer_id_len.max(0)))),
        error => Err(error),
    }
}
