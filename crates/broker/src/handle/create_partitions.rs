//! CreatePartitions: decided by the controller.

use crate::answer::Handled;
use crate::context::Context;
use wire::messages::create_partitions_response::CreatePartitionsTopicResult;
use wire::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

pub(super) fn handle(c: &mut Context, request: CreatePartitionsRequest) -> Handled {
    let names: Vec<String> = request.topics.iter().map(|t| t.name.clone()).collect();
    let timeout_ms = request.timeout_ms;
    c.ask_controller(request, timeout_ms, move |_, answer| {
        answer.unwrap_or_else(|error| CreatePartitionsResponse {
            results: names
                .into_iter()
                .map(|name| CreatePartitionsTopicResult {
                    name,
                    error_code: error.code.code(),
                    error_message: Some(error.text()),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        })
    })
}
