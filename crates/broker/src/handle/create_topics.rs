//! CreateTopics: decided by the controller; answered when the topics exist in the committed metadata.

use crate::answer::Handled;
use crate::context::Context;
use wire::messages::create_topics_response::CreatableTopicResult;
use wire::messages::{CreateTopicsRequest, CreateTopicsResponse};

pub(super) fn handle(c: &mut Context, request: CreateTopicsRequest) -> Handled {
    let names: Vec<String> = request.topics.iter().map(|t| t.name.clone()).collect();
    let timeout_ms = request.timeout_ms;
    c.ask_controller(request, timeout_ms, move |_, answer| {
        answer.unwrap_or_else(|error| CreateTopicsResponse {
            topics: names
                .into_iter()
                .map(|name| CreatableTopicResult {
                    name,
                    error_code: error.code.code(),
                    error_message: error.message.clone(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        })
    })
}
