//! ListConfigResources (KIP-1142): what can be described. Version 0 knew client-metrics subscriptions only.

use crate::answer::Handled;
use crate::context::Context;
use config::alter::ResourceType;
use std::collections::BTreeSet;
use wire::ErrorCode;
use wire::messages::list_config_resources_response::ConfigResource;
use wire::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

const ALL: [ResourceType; 5] =
    [ResourceType::Group, ResourceType::ClientMetrics, ResourceType::BrokerLogger, ResourceType::Broker, ResourceType::Topic];

pub(in crate::handle) fn list_resources(c: &mut Context, request: ListConfigResourcesRequest) -> Handled {
    let supported: &[ResourceType] = if c.version() == 0 { &[ResourceType::ClientMetrics] } else { &ALL };
    let is_supported = |code: &i8| supported.iter().any(|type_| type_.code() == *code);
    if !request.resource_types.iter().all(is_supported) {
        let error_code = ErrorCode::UnsupportedVersion.code();
        return c.answer(&ListConfigResourcesResponse { error_code, ..Default::default() });
    }
    let asked = |type_: &&ResourceType| request.resource_types.is_empty() || request.resource_types.contains(&type_.code());
    let config_resources = supported.iter().filter(asked).flat_map(|type_| resources(c, *type_)).collect();
    c.answer(&ListConfigResourcesResponse { config_resources, ..Default::default() })
}

fn resources(c: &Context, type_: ResourceType) -> Vec<ConfigResource> {
    let names: BTreeSet<String> = match type_ {
        ResourceType::Topic => c.image.topics.iter().map(|topic| topic.name.to_string()).collect(),
        ResourceType::Broker | ResourceType::BrokerLogger => {
            let reachable = c.image.cluster.brokers.values().filter(|broker| !broker.fenced);
            reachable.map(|broker| broker.id.to_string()).collect()
        }
        ResourceType::ClientMetrics | ResourceType::Group => {
            let stored = c.image.configs.iter().filter(|(resource, _)| resource.type_.0 == type_.code());
            stored.map(|(resource, _)| resource.name.clone()).collect()
        }
    };
    let resource = |resource_name| ConfigResource { resource_name, resource_type: type_.code(), ..Default::default() };
    names.into_iter().map(resource).collect()
}
