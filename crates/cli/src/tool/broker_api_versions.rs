//! `kafka-broker-api-versions`: the versions of each request that brokers serve. Kafka counterpart: BrokerApiVersionsCommand.

use std::collections::BTreeMap;

use wire::ApiKey;
use wire::messages::ApiVersionsResponse;

use crate::failure::Failure;
use crate::options::Parser;
use crate::out::say;
use crate::session;

pub fn run(args: &[String]) -> Result<(), Failure> {
    let about = "This tool helps to retrieve broker version information.";
    let parser = Parser::documented(about, include_str!("../help/kafka-broker-api-versions.txt"));
    let options = parser.parse(args)?;
    options.check_required(&["bootstrap-server"])?;
    let config = session::config(&options)?;
    session::block_on(async {
        let admin = session::admin(config)?;
        for (node, fenced) in admin.describe_cluster().await?.nodes {
            let rack = node.rack.as_deref().unwrap_or("null");
            let shown = format!("{}:{} (id: {} rack: {rack} isFenced: {fenced})", node.host, node.port, node.id);
            match admin.api_versions(Some(node.id)).await {
                Ok(versions) => say!("{shown} -> (\n\t{}\n)", lines(&versions).join(",\n\t")),
                Err(error) => say!("{shown} -> ERROR: {error}"),
            }
        }
        Ok(())
    })
}

/// One line a request, by its number; what this program knows and the broker does not is there too.
fn lines(versions: &ApiVersionsResponse) -> Vec<String> {
    let mut lines: BTreeMap<i16, String> = BTreeMap::new();
    for found in &versions.api_keys {
        let range = match (found.min_version, found.max_version) {
            (min, max) if min == max => min.to_string(),
            (min, max) => format!("{min} to {max}"),
        };
        let line = match ApiKey::from_code(found.api_key) {
            None => format!("UNKNOWN({}): {range}", found.api_key),
            Some(key) if key.max_version() < found.min_version => format!("{}: {range} [unusable: node too new]", title(key)),
            Some(key) if found.max_version < key.min_version() => format!("{}: {range} [unusable: node too old]", title(key)),
            Some(key) => format!("{}: {range} [usable: {}]", title(key), key.max_version().min(found.max_version)),
        };
        lines.insert(found.api_key, line);
    }
    let known = (0..i8::MAX as i16).filter_map(ApiKey::from_code).filter(|key| key.on_broker());
    for key in known {
        lines.entry(key.code()).or_insert_with(|| format!("{}: UNSUPPORTED", title(key)));
    }
    lines.into_values().collect()
}

fn title(key: ApiKey) -> String {
    format!("{}({})", key.name(), key.code())
}
