//! AddOffsetsToTxn: the partition of `__consumer_offsets` that a group belongs to joins the transaction.
//! Kafka: `KafkaApis.handleAddOffsetsToTxnRequest`.

use super::txn::{TxnPart, error_of, park};
use crate::answer::Handled;
use crate::auto_create::OFFSETS_TOPIC;
use crate::context::Context;
use base::TopicPartition;
use coordinator::txn::TxnReply;
use wire::ErrorCode;
use wire::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

/// Clients know PRODUCER_FENCED from here on.
const FENCED_VERSION: i16 = 2;

pub(super) fn handle(c: &mut Context, request: AddOffsetsToTxnRequest) -> Handled {
    let version = c.version();
    let count = c.broker.config().offsets_topic_num_partitions;
    let index =
        c.broker.groups.partition_of(&request.group_id).unwrap_or_else(|| base::hash::coordinator_partition(&request.group_id, count));
    let partitions = [TopicPartition::new(OFFSETS_TOPIC, index)];
    let id = &request.transactional_id;
    let part = if id.is_empty() {
        TxnPart::Done(TxnReply::Failed(ErrorCode::InvalidRequest))
    } else {
        let producer = (request.producer_id, request.producer_epoch);
        // Clients of transactions v2 leave it to TxnOffsetCommit.
        c.broker.txns.call(c.broker, id, c.now, |shard, step, token| shard.add_partitions(step, token, id, producer, &partitions, 0)).into()
    };
    park(c, vec![part], move |reply, replies| {
        let error_code = error_of(replies.first()?, version, FENCED_VERSION).code();
        reply.encode(&AddOffsetsToTxnResponse { error_code, ..Default::default() })
    })
}
