//! One answer made of the answers of transaction shards, for the requests of transactional clients.

use crate::Broker;
use crate::answer::{Handled, ReplyTo, Response, Wait};
use crate::context::Context;
use crate::txns::TxnSlot;
use base::{Instant, Now};
use coordinator::txn::TxnReply;
use std::task::Waker;
use wire::ErrorCode;

pub(super) enum TxnPart {
    Waiting(TxnSlot),
    Done(TxnReply),
}

impl From<Result<TxnSlot, ErrorCode>> for TxnPart {
    fn from(asked: Result<TxnSlot, ErrorCode>) -> Self {
        match asked {
            Ok(slot) => TxnPart::Waiting(slot),
            Err(error) => TxnPart::Done(TxnReply::Failed(error)),
        }
    }
}

/// Parks until every part is there; `finish` gets them in their order.
pub(super) fn park<F>(c: &Context, parts: Vec<TxnPart>, finish: F) -> Handled
where
    F: FnOnce(ReplyTo, Vec<TxnReply>) -> Option<Response> + Send + 'static,
{
    // The shard has a deadline for every write; it answers each request at some time.
    c.park(AwaitTxn { reply: c.reply, parts, finish: Some(finish) }, Instant::FAR_FUTURE)
}

struct AwaitTxn<F> {
    reply: ReplyTo,
    parts: Vec<TxnPart>,
    finish: Option<F>,
}

impl<F: FnOnce(ReplyTo, Vec<TxnReply>) -> Option<Response> + Send> Wait for AwaitTxn<F> {
    fn poll(&mut self, _broker: &Broker, _now: Now, waker: &Waker) -> Option<Response> {
        let mut all = true;
        for part in &mut self.parts {
            if let TxnPart::Waiting(slot) = part {
                match slot.poll(waker) {
                    Some(reply) => *part = TxnPart::Done(reply),
                    None => all = false,
                }
            }
        }
        if !all {
            return None;
        }
        let replies = self.parts.drain(..).filter_map(|p| if let TxnPart::Done(reply) = p { Some(reply) } else { None }).collect();
        self.finish.take()?(self.reply, replies)
    }
}

/// The one error of a reply. Clients from before `known_since` know a fenced producer only by its old epoch.
pub(super) fn error_of(reply: &TxnReply, version: i16, known_since: i16) -> ErrorCode {
    match reply {
        TxnReply::Failed(ErrorCode::ProducerFenced) if version < known_since => ErrorCode::InvalidProducerEpoch,
        TxnReply::Failed(error) => *error,
        TxnReply::Producer { .. } | TxnReply::Added | TxnReply::Verified(_) => ErrorCode::None,
    }
}

/// The producer that a reply names, -1 where it names none.
pub(super) fn producer_of(reply: &TxnReply) -> (i64, i16) {
    match reply {
        TxnReply::Producer { producer_id, producer_epoch } => (*producer_id, *producer_epoch),
        _ => (-1, -1),
    }
}
