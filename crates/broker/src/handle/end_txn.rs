//! EndTxn: answered when the decision is at the high watermark; the markers follow. Kafka: `KafkaApis.handleEndTxnRequest`.

use super::txn::{TxnPart, error_of, park, producer_of};
use crate::answer::Handled;
use crate::context::Context;
use crate::txns::CLIENT_VERSION_2;
use coordinator::txn::TxnReply;
use wire::ErrorCode;
use wire::messages::{EndTxnRequest, EndTxnResponse};

/// From here on a client goes on with the epoch, and perhaps the producer id, that it is answered (KIP-890).
const BUMP_VERSION: i16 = 5;
/// Clients know PRODUCER_FENCED from here on.
const FENCED_VERSION: i16 = 2;

pub(super) fn handle(c: &mut Context, request: EndTxnRequest) -> Handled {
    let version = c.version();
    let id = &request.transactional_id;
    let part = if id.is_empty() {
        TxnPart::Done(TxnReply::Failed(ErrorCode::InvalidRequest))
    } else {
        let producer = (request.producer_id, request.producer_epoch);
        let client_version = if version >= BUMP_VERSION { CLIENT_VERSION_2 } else { 0 };
        let commit = request.committed;
        c.broker
            .txns
            .call(c.broker, id, c.now, |shard, step, token| shard.end_txn(step, token, id, producer, commit, client_version))
            .into()
    };
    park(c, vec![part], move |reply, replies| {
        let answer = replies.first()?;
        let (producer_id, producer_epoch) = producer_of(answer);
        let error_code = error_of(answer, version, FENCED_VERSION).code();
        reply.encode(&EndTxnResponse { error_code, producer_id, producer_epoch, ..Default::default() })
    })
}
