//! InitProducerId for idempotent producers: a fresh id, epoch 0. Kafka: `TransactionCoordinator.handleInitProducerId` without a transactional id.

use crate::Broker;
use crate::answer::{Handled, ReplyTo, Response, Wait};
use crate::context::Context;
use base::{Instant, Now};
use std::task::Waker;
use wire::ErrorCode;
use wire::messages::{InitProducerIdRequest, InitProducerIdResponse};

/// The client sets no timeout; Kafka waits this long for a block of ids.
const TIMEOUT_MS: i32 = 30_000;

pub(super) fn handle(c: &mut Context, request: InitProducerIdRequest) -> Handled {
    if let Some(transactional_id) = request.transactional_id {
        let error = if transactional_id.is_empty() { ErrorCode::InvalidRequest } else { ErrorCode::CoordinatorNotAvailable };
        return c.answer(&refused(error));
    }
    // An id and an epoch come together or not at all.
    if (request.producer_id < 0) != (request.producer_epoch < 0) {
        return c.answer(&refused(ErrorCode::InvalidRequest));
    }
    let deadline = c.deadline(TIMEOUT_MS);
    c.park(AwaitId { reply: c.reply, deadline }, deadline)
}

struct AwaitId {
    reply: ReplyTo,
    deadline: Instant,
}

impl Wait for AwaitId {
    fn poll(&mut self, broker: &Broker, now: Now, waker: &Waker) -> Option<Response> {
        let response = match broker.producer_ids.next(broker, waker) {
            Some(Ok(producer_id)) => InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() },
            Some(Err(error)) => refused(retriable(error)),
            None if now.mono >= self.deadline => refused(ErrorCode::CoordinatorLoadInProgress),
            None => return None,
        };
        self.reply.encode(&response)
    }
}

/// Clients know only some codes here; the controller's own troubles are told as "ask again".
fn retriable(error: ErrorCode) -> ErrorCode {
    if error.is_retriable() { ErrorCode::CoordinatorLoadInProgress } else { error }
}

fn refused(error: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse { error_code: error.code(), producer_id: -1, producer_epoch: -1, ..Default::default() }
}
