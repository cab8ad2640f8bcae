//! AllocateProducerIds: blocks of 1000 ids. Kafka: `ProducerIdControlManager`; KIP-730.

use super::brokers::check_broker_epoch;
use super::{Context, Decided, Decision};
use crate::seam::ControllerError;
use wire::ErrorCode;
use wire::messages::{AllocateProducerIdsRequest, AllocateProducerIdsResponse, ProducerIdsRecord};

pub const BLOCK_SIZE: i64 = 1000;

pub fn allocate(ctx: &Context, request: &AllocateProducerIdsRequest) -> Decided {
    check_broker_epoch(ctx.head, request.broker_id, request.broker_epoch)?;
    let first = ctx.head.next_producer_id.unwrap_or(0);
    if first > i64::MAX - BLOCK_SIZE {
        let message = "Exhausted all producerIds as the next block's end producerId has exceeded the int64 type limit";
        return Err(ControllerError::new(ErrorCode::UnknownServerError, message));
    }
    let record = ProducerIdsRecord {
        broker_id: request.broker_id,
        broker_epoch: request.broker_epoch,
        next_producer_id: first + BLOCK_SIZE,
        ..Default::default()
    };
    let response = AllocateProducerIdsResponse { producer_id_start: first, producer_id_len: BLOCK_SIZE as i32, ..Default::default() };
    Ok(Decision::in_parts(vec![record.into()], response))
}
