//! Owns: the connection of a tool to a cluster (`--bootstrap-server`, `--command-config`) and the questions that several tools ask.
//! Used by: all tools that talk to a broker. Never does: print.

use std::time::Duration;

use client::admin::{ConfigEntry, ConfigResource, ConfigResourceType, TopicDescription};
use client::{Admin, Config, Error};
use regex::Regex;

use crate::argparse4j::Parsed;
use crate::failure::Failure;
use crate::options::Options;
use crate::properties;

/// How long a tool waits for what it cannot do without.
pub const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A client; what is wrong with its configuration is said as the Java tools say it.
pub fn admin(config: Config) -> Result<Admin, Failure> {
    Admin::new(config).map_err(|error| match error {
        Error::Config(text) => Failure::new(format!(
            "Failed to create new KafkaAdminClient\nCaused by: org.apache.kafka.common.config.ConfigException: {text}"
        )),
        other => other.into(),
    })
}

/// Runs a tool's asynchronous part on this thread.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// The client properties of `--command-config`, with the servers of `--bootstrap-server`.
pub fn config(options: &Options) -> Result<Config, Failure> {
    config_from(options, "command-config")
}

/// The same where another option names the file.
pub fn config_from(options: &Options, file: &str) -> Result<Config, Failure> {
    let mut config = Config::new();
    if let Some(file) = options.value(file)? {
        config.extend(properties::load(file)?);
    }
    if let Some(servers) = options.value("bootstrap-server")? {
        config.set("bootstrap.servers", servers);
    }
    Ok(config)
}

/// The client properties of a tool with `--bootstrap-server` and `--bootstrap-controller`; `file` is the option that names a property file.
pub fn bootstrap_config(parsed: &Parsed, file: &str) -> Result<Config, Failure> {
    let mut config = Config::new();
    if let Some(file) = parsed.value(file) {
        config.extend(properties::load(file)?);
    }
    for (option, key) in [("bootstrap-server", "bootstrap.servers"), ("bootstrap-controller", "bootstrap.controllers")] {
        if let Some(addresses) = parsed.value(option) {
            config.set(key, addresses);
        }
    }
    Ok(config)
}

/// Descriptions in the order of `names`; the first topic that cannot be described fails the whole.
pub async fn describe_topics(admin: &Admin, names: &[String]) -> Result<Vec<TopicDescription>, Error> {
    admin.describe_topics(names).await?.into_iter().map(|(_, described)| described).collect()
}

/// The configs of resources, in the broker's order; the first that cannot be told fails the whole.
pub async fn describe_configs(
    admin: &Admin,
    kind: ConfigResourceType,
    names: &[String],
    include_synonyms: bool,
) -> Result<Vec<(String, Vec<ConfigEntry>)>, Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let resources = names.iter().map(|name| ConfigResource::new(kind, name)).collect();
    let found = admin.describe_configs(resources, include_synonyms, false).await?;
    found.into_iter().map(|(resource, entries)| Ok((resource.name, entries?))).collect()
}

/// A Java regular expression that a whole topic name has to match (`Pattern.matcher(topic).matches()`).
pub fn topic_pattern(text: &str) -> Result<Regex, Failure> {
    Regex::new(&format!("^(?:{text})$")).map_err(|error| Failure::new(format!("{text} is an invalid regex: {error}")))
}

/// `TopicFilter.IncludeList`: a Java regular expression that has to match the whole name; commas separate alternatives.
pub struct IncludeList {
    pattern: Regex,
}

impl IncludeList {
    pub fn new(raw: &str) -> Result<Self, String> {
        let text = raw.trim().replace(',', "|").replace(' ', "");
        let text = text.trim_matches(['"', '\'']);
        match Regex::new(&format!("^(?:{text})$")) {
            Ok(pattern) => Ok(IncludeList { pattern }),
            Err(_) => Err(format!("{text} is an invalid regex.")),
        }
    }

    pub fn allows(&self, topic: &str) -> bool {
        self.pattern.is_match(topic)
    }
}

/// Topics that Kafka keeps for itself (`Topic.isInternal`).
pub fn is_internal(topic: &str) -> bool {
    matches!(topic, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Message(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn include_lists() {
        let list = IncludeList::new("'a, b.*'").unwrap();
        assert!(list.allows("a") && list.allows("bcd") && !list.allows("ab"));
        assert_eq!(IncludeList::new("[").err().unwrap(), "[ is an invalid regex.");
    }
}
