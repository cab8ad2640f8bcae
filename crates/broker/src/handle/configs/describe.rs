//! DescribeConfigs: every resource is answered for itself; an error of one leaves the others alone.

use super::{layers, stored};
use crate::answer::Handled;
use crate::context::Context;
use config::alter::ResourceType;
use config::describe::{self, Entry, Source};
use metadata::ConfigResource;
use wire::ErrorCode;
use wire::messages::describe_configs_request::DescribeConfigsResource;
use wire::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym};
use wire::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

struct Refusal {
    code: ErrorCode,
    /// Empty where Kafka gives none.
    message: String,
}

pub(in crate::handle) fn describe(c: &mut Context, request: DescribeConfigsRequest) -> Handled {
    let known = |resource: &DescribeConfigsResource| ResourceType::from_code(resource.resource_type).is_some();
    if !request.resources.iter().all(known) {
        return c.answer(&refuse_all(&request));
    }
    let results = request
        .resources
        .iter()
        .map(|resource| {
            let mut result = match entries(c, resource) {
                Ok(entries) => DescribeConfigsResult { configs: select(entries, resource, &request), ..Default::default() },
                Err(Refusal { code, message }) => {
                    DescribeConfigsResult { error_code: code.code(), error_message: Some(message), ..Default::default() }
                }
            };
            result.resource_type = resource.resource_type;
            result.resource_name.clone_from(&resource.resource_name);
            result
        })
        .collect();
    c.answer(&DescribeConfigsResponse { results, ..Default::default() })
}

/// A type that nobody knows fails the request as a whole.
fn refuse_all(request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
    let refuse = |resource: &DescribeConfigsResource| DescribeConfigsResult {
        error_code: ErrorCode::InvalidRequest.code(),
        error_message: Some(ErrorCode::InvalidRequest.message().to_owned()),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        ..Default::default()
    };
    DescribeConfigsResponse { results: request.resources.iter().map(refuse).collect(), ..Default::default() }
}

fn entries(c: &Context, resource: &DescribeConfigsResource) -> Result<Vec<Entry>, Refusal> {
    let name = resource.resource_name.as_str();
    let invalid = |message: &str| Err(Refusal { code: ErrorCode::InvalidRequest, message: message.to_owned() });
    let layers = || layers(c.broker, &c.image);
    match ResourceType::from_code(resource.resource_type) {
        Some(ResourceType::Topic) => {
            config::topic::validate_name(name)
                .map_err(|e| Refusal { code: ErrorCode::from_code(e.error_code()), message: e.to_string() })?;
            if c.image.topics.get(name).is_none() {
                return Err(Refusal { code: ErrorCode::UnknownTopicOrPartition, message: String::new() });
            }
            Ok(describe::topic(&layers(), &c.broker.config(), &stored(&c.image, &ConfigResource::topic(name))))
        }
        Some(ResourceType::Broker) if name.is_empty() => Ok(describe::broker_defaults(&layers())),
        Some(ResourceType::Broker) => {
            check_broker_id(c, name, " or empty string,")?;
            Ok(describe::broker(&layers(), &c.broker.config()))
        }
        Some(ResourceType::BrokerLogger) if name.is_empty() => invalid("Broker id must not be empty"),
        Some(ResourceType::BrokerLogger) => {
            check_broker_id(c, name, "")?;
            Ok(c.broker.loggers().map(|loggers| loggers.levels()).unwrap_or_default().into_iter().map(logger_entry).collect())
        }
        Some(ResourceType::ClientMetrics) if name.is_empty() => invalid("Client metrics subscription name must not be empty"),
        Some(ResourceType::ClientMetrics) => {
            let resource = ConfigResource { type_: metadata::ResourceType::CLIENT_METRICS, name: name.to_owned() };
            Ok(describe::client_metrics(&stored(&c.image, &resource)))
        }
        Some(ResourceType::Group) if name.is_empty() => invalid("Group name must not be empty"),
        Some(ResourceType::Group) => Ok(describe::group(&layers(), &c.broker.config(), &stored(&c.image, &ConfigResource::group(name)))),
        None => invalid(ErrorCode::InvalidRequest.message()),
    }
}

fn check_broker_id(c: &Context, name: &str, or: &str) -> Result<(), Refusal> {
    let expected = c.broker.id();
    let message = match name.parse::<i32>() {
        Ok(id) if id == expected => return Ok(()),
        Ok(_) => format!("Unexpected broker id, expected {expected}{or} but received {name}"),
        Err(_) => format!("Broker id must be an integer, but it is: {name}"),
    };
    Err(Refusal { code: ErrorCode::InvalidRequest, message })
}

fn logger_entry((name, level): (String, String)) -> Entry {
    Entry {
        name,
        value: Some(level),
        source: Source::BrokerLogger,
        read_only: false,
        sensitive: false,
        synonyms: Vec::new(),
        type_code: 0,
        documentation: "".into(),
    }
}

/// The keys that were asked for (none is all), with as much beside the value as was asked for.
fn select(
    mut entries: Vec<Entry>,
    resource: &DescribeConfigsResource,
    request: &DescribeConfigsRequest,
) -> Vec<DescribeConfigsResourceResult> {
    let count = entries.len();
    entries.sort_by_key(|entry| hash_map_bucket(&entry.name, count));
    let keys = resource.configuration_keys.as_deref().unwrap_or_default();
    let wanted = |entry: &Entry| keys.is_empty() || keys.contains(&entry.name);
    let result = |entry: Entry| DescribeConfigsResourceResult {
        name: entry.name,
        value: entry.value,
        read_only: entry.read_only,
        config_source: entry.source.code(),
        is_sensitive: entry.sensitive,
        synonyms: if request.include_synonyms { entry.synonyms.into_iter().map(synonym).collect() } else { Vec::new() },
        config_type: entry.type_code,
        documentation: Some(entry.documentation.into_owned()).filter(|doc| request.include_documentation && !doc.is_empty()),
        ..Default::default()
    };
    entries.into_iter().filter(wanted).map(result).collect()
}

/// Where a Java HashMap of so many entries keeps a name. Kafka answers in the order of one, and clients have come to expect it.
fn hash_map_bucket(name: &str, entries: usize) -> usize {
    let capacity = (entries * 4).div_ceil(3).next_power_of_two().max(16);
    let hash = base::hash::java_string_hash(name) as u32;
    (hash ^ (hash >> 16)) as usize & (capacity - 1)
}

fn synonym(synonym: describe::Synonym) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym { name: synonym.name, value: synonym.value, source: synonym.source.code(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::hash_map_bucket;

    /// As Apache Kafka 4.3.1 answers for a topic, among its 33 keys.
    #[test]
    fn keys_come_in_the_order_of_a_java_hash_map() {
        let mut names = ["segment.bytes", "flush.ms", "retention.ms", "cleanup.policy", "compression.type", "segment.index.bytes"];
        names.sort_by_key(|name| hash_map_bucket(name, 33));
        assert_eq!(names, ["compression.type", "cleanup.policy", "flush.ms", "segment.bytes", "retention.ms", "segment.index.bytes"]);
    }
}
