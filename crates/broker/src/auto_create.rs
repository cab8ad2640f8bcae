//! Topics that come into being because somebody asked for them: by Metadata with auto-creation, or as a coordinator's internal topic.
//! Kafka: `AutoTopicCreationManager`.

use crate::Broker;
use base::Slot;
use controller::{ControllerResponse, RequestContext, ResponseSlot};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::task::Waker;
use wire::ErrorCode;
use wire::messages::CreateTopicsRequest;
use wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};

pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";
pub(crate) const TRANSACTION_STATE_TOPIC: &str = "__transaction_state";
pub(crate) const SHARE_STATE_TOPIC: &str = "__share_group_state";

pub(crate) fn is_internal(topic: &str) -> bool {
    matches!(topic, OFFSETS_TOPIC | TRANSACTION_STATE_TOPIC | SHARE_STATE_TOPIC)
}

/// `Topic.validate`: what a topic may be called.
pub(crate) fn is_valid_topic_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 249 && name != "." && name != ".." && name.chars().all(legal)
}

/// Creations under way, so that a thousand askers lead to one request.
#[derive(Default)]
pub(crate) struct AutoCreate(Mutex<BTreeMap<String, ResponseSlot>>);

impl AutoCreate {
    /// Asks the controller for the topic unless that is already under way. What Kafka answers for it meanwhile is returned.
    pub fn create(&self, broker: &Broker, topic: &str) -> ErrorCode {
        if !is_valid_topic_name(topic) {
            return ErrorCode::InvalidTopicException;
        }
        let mut under_way = self.0.lock();
        under_way.retain(|name, slot| {
            let Some(answer) = slot.poll(Waker::noop()) else { return true };
            log_failure(name, answer);
            false
        });
        if !under_way.contains_key(topic) {
            let slot = Slot::new();
            under_way.insert(topic.to_owned(), slot.clone());
            let request = CreateTopicsRequest {
                topics: vec![creatable(broker, topic)],
                timeout_ms: broker.config().request_timeout_ms,
                ..Default::default()
            };
            broker.controller().submit(RequestContext { api_version: 7, ..Default::default() }, request.into(), slot);
        }
        ErrorCode::UnknownTopicOrPartition
    }
}

fn log_failure(topic: &str, answer: ControllerResponse) {
    let error = match answer {
        ControllerResponse::CreateTopics(response) => match response.topics.first() {
            Some(result) if ErrorCode::from_code(result.error_code) == ErrorCode::TopicAlreadyExists => return,
            Some(result) if result.error_code != 0 => result.error_message.clone().unwrap_or_default(),
            _ => return,
        },
        ControllerResponse::Failed(error) => error.text(),
        _ => return,
    };
    tracing::warn!(topic, error, "topic cannot be created automatically");
}

fn creatable(broker: &Broker, topic: &str) -> CreatableTopic {
    let config = broker.config();
    let (num_partitions, replication_factor, configs) = match topic {
        OFFSETS_TOPIC => (
            config.offsets_topic_num_partitions,
            config.offsets_topic_replication_factor,
            internal_configs(config.offsets_topic_segment_bytes, "producer"),
        ),
        TRANSACTION_STATE_TOPIC => (
            config.transaction_state_log_num_partitions,
            config.transaction_state_log_replication_factor,
            internal_configs(config.transaction_state_log_segment_bytes, "uncompressed"),
        ),
        // -1: the controller's defaults, num.partitions and default.replication.factor.
        _ => (-1, -1, Vec::new()),
    };
    CreatableTopic { name: topic.to_owned(), num_partitions, replication_factor, configs, ..Default::default() }
}

fn internal_configs(segment_bytes: i32, compression: &str) -> Vec<CreatableTopicConfig> {
    [("cleanup.policy", "compact".to_owned()), ("segment.bytes", segment_bytes.to_string()), ("compression.type", compression.to_owned())]
        .into_iter()
        .map(|(name, value)| CreatableTopicConfig { name: name.to_owned(), value: Some(value), ..Default::default() })
        .collect()
}
