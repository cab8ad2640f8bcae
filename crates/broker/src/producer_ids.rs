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
    asked: Option<ResponseSlot>,
    /// Requests that found no id; woken when a block arrives.
    waiting: Vec<Waker>,
}

impl ProducerIds {
    /// The next id, or `None` while a block is on its way: `waker` is woken then.
    pub fn next(&self, broker: &Broker, waker: &Waker) -> Option<Result<i64, ErrorCode>> {
        let mut state = self.0.lock();
        loop {
            if state.next < state.end {
                state.next += 1;
                return Some(Ok(state.next - 1));
            }
            let slot = match state.asked.clone() {
                Some(slot) => slot,
                None => {
                    let slot = Slot::new();
                    let request =
                        AllocateProducerIdsRequest { broker_id: broker.id(), broker_epoch: broker.broker_epoch(), ..Default::default() };
                    broker.controller().submit(RequestContext::default(), request.into(), slot.clone());
                    state.asked = Some(slot.clone());
                    slot
                }
            };
            // The slot remembers one waker, the last; it wakes that one, and the block is shared out to the rest from here.
            let Some(answer) = slot.poll(waker) else {
                if !state.waiting.iter().any(|w| w.will_wake(waker)) {
                    state.waiting.push(waker.clone());
                }
                return None;
            };
            state.asked = None;
            state.waiting.drain(..).for_each(Waker::wake);
            match block(answer) {
                Ok((start, len)) => (state.next, state.end) = (start, start + len),
                Err(error) => return Some(Err(error)),
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
