//! FindCoordinator: which broker leads the partition of an internal topic that a key belongs to; the topic is created when first asked for.

use super::topic_partitions::endpoint;
use crate::answer::Handled;
use crate::auto_create::{OFFSETS_TOPIC, TRANSACTION_STATE_TOPIC};
use crate::context::Context;
use wire::ErrorCode;
use wire::messages::find_coordinator_response::Coordinator;
use wire::messages::{FindCoordinatorRequest, FindCoordinatorResponse};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

pub(super) fn handle(c: &mut Context, request: FindCoordinatorRequest) -> Handled {
    if c.version() >= 4 {
        let coordinators = request.coordinator_keys.into_iter().map(|key| find(c, request.key_type, key)).collect();
        return c.answer(&FindCoordinatorResponse { coordinators, ..Default::default() });
    }
    let found = find(c, request.key_type, request.key);
    let error = ErrorCode::from_code(found.error_code);
    c.answer(&FindCoordinatorResponse {
        error_code: found.error_code,
        error_message: Some(if error.is_error() { error.message() } else { error.name() }.to_owned()),
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..Default::default()
    })
}

fn find(c: &Context, key_type: i8, key: String) -> Coordinator {
    let none = |key, error: ErrorCode| Coordinator { key, node_id: -1, port: -1, error_code: error.code(), ..Default::default() };
    if !(GROUP..=SHARE).contains(&key_type) {
        return none(key, ErrorCode::InvalidRequest);
    }
    let internal = match key_type {
        GROUP => OFFSETS_TOPIC,
        TRANSACTION => TRANSACTION_STATE_TOPIC,
        // Share groups have no coordinator here yet; clients fail at once instead of asking again and again.
        _ => return none(key, ErrorCode::UnsupportedVersion),
    };
    let Some(topic) = c.image.topics.get(internal) else {
        c.broker.auto_create.create_internal(c.broker, internal);
        return none(key, ErrorCode::CoordinatorNotAvailable);
    };
    let index = base::hash::coordinator_partition(&key, topic.partitions.len() as i32);
    let leader = topic.partitions.get(&index).and_then(|p| c.image.cluster.broker(p.leader)).filter(|b| !b.fenced);
    match leader.and_then(|b| endpoint(b, &c.session.listener)) {
        Some(at) => Coordinator { key, node_id: at.id, host: at.host.to_owned(), port: at.port, ..Default::default() },
        None => none(key, ErrorCode::CoordinatorNotAvailable),
    }
}
