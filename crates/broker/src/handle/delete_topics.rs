//! DeleteTopics, by name or id: decided by the controller.

use crate::answer::Handled;
use crate::context::Context;
use wire::messages::delete_topics_response::DeletableTopicResult;
use wire::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

pub(super) fn handle(c: &mut Context, request: DeleteTopicsRequest) -> Handled {
    let by_name = request.topic_names.iter().map(|name| (Some(name.clone()), base::Uuid::ZERO));
    let asked: Vec<_> = request.topics.iter().map(|t| (t.name.clone(), t.topic_id)).chain(by_name).collect();
    let timeout_ms = request.timeout_ms;
    c.ask_controller(request, timeout_ms, move |_, answer| {
        answer.unwrap_or_else(|error| DeleteTopicsResponse {
            responses: asked
                .into_iter()
                .map(|(name, topic_id)| DeletableTopicResult {
                    name,
                    topic_id,
                    error_code: error.code.code(),
                    error_message: error.message.clone(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        })
    })
}
