//! Topics that come into being because somebody asked for them: by Metadata with auto-creation, or as a coordinator's internal topic.
//! Kafka: `AutoTopicCreationManager`.

use crate::Broker;
use base::{Instant, Now, Slot};
use controller::{ControllerResponse, RequestContext, ResponseSlot};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;
use std::time::Duration;
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

/// How long the topics that clients ask for are gathered before the controller is asked. Besides making one request of many, it lets a client
/// that was told that the topic is unknown find it unknown once more when it asks again at once: some (kafka-go, sarama) take the first
/// number of partitions they see for the one they have joined their group with.
const LINGER: Duration = Duration::from_millis(50);

/// Beyond so many names the controller is not asked for more; their clients will ask again.
const WAITING_MAX: usize = 1024;

/// Topics that are to be created, and creations under way, so that a thousand askers lead to one request.
#[derive(Default)]
pub(crate) struct AutoCreate(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: BTreeMap<String, Instant>,
    under_way: Vec<(BTreeSet<String>, ResponseSlot)>,
}

impl State {
    fn is_asked_for(&self, topic: &str) -> bool {
        self.waiting.contains_key(topic) || self.under_way.iter().any(|(topics, _)| topics.contains(topic))
    }

    fn forget_answered(&mut self) {
        self.under_way.retain(|(topics, slot)| match slot.poll(Waker::noop()) {
            Some(answer) => {
                log_failures(topics, answer);
                false
            }
            None => true,
        });
    }

    fn submit(&mut self, broker: &Broker, topics: BTreeSet<String>) {
        let request = CreateTopicsRequest {
            topics: topics.iter().map(|topic| creatable(broker, topic)).collect(),
            timeout_ms: broker.config().request_timeout_ms,
            ..Default::default()
        };
        let slot = Slot::new();
        self.under_way.push((topics, slot.clone()));
        broker.controller().submit(RequestContext { api_version: 7, ..Default::default() }, request.into(), slot);
    }
}

impl AutoCreate {
    /// Has the topic created soon, by `tick`. What Kafka answers for it meanwhile is returned.
    pub fn create(&self, broker: &Broker, topic: &str, now: Now) -> ErrorCode {
        if !is_valid_topic_name(topic) {
            return ErrorCode::InvalidTopicException;
        }
        let mut state = self.0.lock();
        if state.waiting.len() < WAITING_MAX && !state.is_asked_for(topic) {
            let due = now.mono + LINGER;
            state.waiting.insert(topic.to_owned(), due);
            drop(state);
            broker.groups.ring_if_earlier(due);
        }
        ErrorCode::UnknownTopicOrPartition
    }

    /// Asks for a coordinator's topic at once.
    pub fn create_internal(&self, broker: &Broker, topic: &str) {
        let mut state = self.0.lock();
        state.forget_answered();
        if !state.is_asked_for(topic) {
            state.submit(broker, BTreeSet::from([topic.to_owned()]));
        }
    }

    /// Asks the controller for the topics that have waited long enough; returns when to come again.
    pub fn tick(&self, broker: &Broker, now: Now) -> Instant {
        let mut state = self.0.lock();
        state.forget_answered();
        // Of names that collide only one may become a topic: the first by itself, so that the controller refuses the others.
        let mut names = BTreeSet::new();
        let due: BTreeSet<String> = state
            .waiting
            .extract_if(.., |topic, at| *at <= now.mono && names.insert(topic.replace('.', "_")))
            .map(|(topic, _)| topic)
            .collect();
        if !due.is_empty() {
            state.submit(broker, due);
        }
        state.waiting.values().copied().min().unwrap_or(Instant::FAR_FUTURE)
    }
}

fn log_failures(topics: &BTreeSet<String>, answer: ControllerResponse) {
    match answer {
        ControllerResponse::CreateTopics(response) => {
            let exists = ErrorCode::TopicAlreadyExists.code();
            for result in response.topics.iter().filter(|t| t.error_code != 0 && t.error_code != exists) {
                let error = result.error_message.as_deref().unwrap_or_default();
                tracing::warn!(topic = result.name, error, "topic cannot be created automatically");
            }
        }
        ControllerResponse::Failed(error) => tracing::warn!(?topics, error = error.text(), "topics cannot be created automatically"),
        _ => {}
    }
}

fn creatable(broker: &Broker, topic: &str) -> CreatableTopic {
    let config = broker.config();
    let text = |key: &str| config.value(key).to_text().unwrap_or_default();
    let number = |key: &str| config.value(key).as_number().unwrap_or(-1.0);
    let (num_partitions, replication_factor, configs) = match topic {
        OFFSETS_TOPIC => (
            config.offsets_topic_num_partitions,
            config.offsets_topic_replication_factor,
            vec![
                ("cleanup.policy", "compact".to_owned()),
                ("segment.bytes", config.offsets_topic_segment_bytes.to_string()),
                ("compression.type", "producer".to_owned()),
            ],
        ),
        TRANSACTION_STATE_TOPIC => (
            config.transaction_state_log_num_partitions,
            config.transaction_state_log_replication_factor,
            vec![
                ("cleanup.policy", "compact".to_owned()),
                ("segment.bytes", config.transaction_state_log_segment_bytes.to_string()),
                ("compression.type", "uncompressed".to_owned()),
                ("min.insync.replicas", config.transaction_state_log_min_isr.to_string()),
                ("unclean.leader.election.enable", "false".to_owned()),
            ],
        ),
        SHARE_STATE_TOPIC => (
            number("share.coordinator.state.topic.num.partitions") as i32,
            number("share.coordinator.state.topic.replication.factor") as i16,
            vec![
                ("cleanup.policy", "delete".to_owned()),
                ("segment.bytes", text("share.coordinator.state.topic.segment.bytes")),
                ("compression.type", "producer".to_owned()),
                ("min.insync.replicas", text("share.coordinator.state.topic.min.isr")),
                ("retention.ms", "-1".to_owned()),
            ],
        ),
        // -1: the controller's defaults, num.partitions and default.replication.factor.
        _ => (-1, -1, Vec::new()),
    };
    let set = |(name, value): (&str, String)| CreatableTopicConfig { name: name.to_owned(), value: Some(value), ..Default::default() };
    let configs = configs.into_iter().map(set).collect();
    CreatableTopic { name: topic.to_owned(), num_partitions, replication_factor, configs, ..Default::default() }
}
