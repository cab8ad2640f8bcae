//! InitProducerId: for idempotent producers a fresh id with epoch 0; for transactional ones what the coordinator of their id says.
//! Kafka: `KafkaApis.handleInitProducerIdRequest`, `TransactionCoordinator.handleInitProducerId`.

use super::txn::{error_of, producer_of};
use crate::Broker;
use crate::answer::{Handled, ReplyTo, Response, Wait};
use crate::context::Context;
use crate::txns::TxnSlot;
use base::{Instant, Now};
use coordinator::txn::{InitProducerId, TxnReply};
use std::task::Waker;
use wire::ErrorCode;
use wire::messages::{InitProducerIdRequest, InitProducerIdResponse};

/// The client sets no timeout; Kafka waits this long for a block of ids.
const TIMEOUT_MS: i32 = 30_000;
/// Clients know PRODUCER_FENCED from here on.
const FENCED_VERSION: i16 = 4;

pub(super) fn handle(c: &mut Context, request: InitProducerIdRequest) -> Handled {
    let expected = match (request.producer_id, request.producer_epoch) {
        (-1, -1) => None,
        // An id and an epoch come together or not at all.
        (-1, _) | (_, -1) => return c.answer(&refused(ErrorCode::InvalidRequest)),
        producer => Some(producer),
    };
    let deadline = c.deadline(TIMEOUT_MS);
    let Some(transactional_id) = request.transactional_id else {
        return c.park(AwaitId { reply: c.reply, deadline }, deadline);
    };
    let request = InitProducerId {
        transactional_id,
        timeout_ms: request.transaction_timeout_ms,
        expected,
        enable_two_phase_commit: request.enable2_pc,
        keep_prepared: request.keep_prepared_txn,
    };
    c.park(AwaitTxn { reply: c.reply, request, deadline, has_awaited_ids: false, state: State::Ask }, deadline)
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

struct AwaitTxn {
    reply: ReplyTo,
    request: InitProducerId,
    deadline: Instant,
    /// Producer ids have been waited for; that happens once.
    has_awaited_ids: bool,
    state: State,
}

enum State {
    Ask,
    Asked(TxnSlot),
    /// The coordinator found no fresh producer id.
    AwaitIds,
}

impl Wait for AwaitTxn {
    fn poll(&mut self, broker: &Broker, now: Now, waker: &Waker) -> Option<Response> {
        loop {
            let reply = match &self.state {
                State::Ask => {
                    let request = &self.request;
                    let asked = broker
                        .txns
                        .call(broker, &request.transactional_id, now, |shard, step, token| shard.init_producer_id(step, token, request));
                    match asked {
                        Ok(slot) => {
                            self.state = State::Asked(slot);
                            continue;
                        }
                        // What is wrong with a request is said before it is looked for whom it concerns.
                        Err(_) if request.transactional_id.is_empty() => TxnReply::Failed(ErrorCode::InvalidRequest),
                        Err(error) => TxnReply::Failed(error),
                    }
                }
                State::Asked(slot) => match slot.poll(waker) {
                    Some(TxnReply::Failed(ErrorCode::CoordinatorLoadInProgress)) if !self.has_awaited_ids => {
                        self.has_awaited_ids = true;
                        self.state = State::AwaitIds;
                        continue;
                    }
                    Some(reply) => reply,
                    None if now.mono >= self.deadline => TxnReply::Failed(ErrorCode::CoordinatorNotAvailable),
                    None => return None,
                },
                State::AwaitIds => match broker.producer_ids.ready(broker, waker) {
                    Some(Ok(())) => {
                        self.state = State::Ask;
                        continue;
                    }
                    Some(Err(error)) => TxnReply::Failed(retriable(error)),
                    None if now.mono >= self.deadline => TxnReply::Failed(ErrorCode::CoordinatorLoadInProgress),
                    None => return None,
                },
            };
            let (producer_id, producer_epoch) = producer_of(&reply);
            let error_code = error_of(&reply, self.reply.version, FENCED_VERSION).code();
            return self.reply.encode(&InitProducerIdResponse { error_code, producer_id, producer_epoch, ..Default::default() });
        }
    }
}

/// Clients know only some codes here; the controller's own troubles are told as "ask again".
fn retriable(error: ErrorCode) -> ErrorCode {
    if error.is_retriable() { ErrorCode::CoordinatorLoadInProgress } else { error }
}

fn refused(error: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse { error_code: error.code(), producer_id: -1, producer_epoch: -1, ..Default::default() }
}
