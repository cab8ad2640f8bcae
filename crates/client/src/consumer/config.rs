//! Owns: the consumer's configuration, by Kafka's names and with its defaults. Kafka: `ConsumerConfig`.

use crate::config::{Config, ConnectionConfig, invalid};
use crate::core::assignor::Assignor;
use crate::error::{Error, Result};
use crate::types::{IsolationLevel, OffsetSpec};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    pub connection: ConnectionConfig,
    pub group_id: Option<String>,
    pub protocol: GroupProtocol,
    /// The coordinator's assignor to use; its default, if absent.
    pub remote_assignor: Option<String>,
    pub group_instance_id: Option<String>,
    pub client_rack: String,
    pub session_timeout: Duration,
    pub heartbeat_interval: Duration,
    pub max_poll_interval: Duration,
    pub max_poll_records: usize,
    pub auto_commit: Option<Duration>,
    pub reset: ResetPolicy,
    pub isolation: IsolationLevel,
    pub fetch_min_bytes: i32,
    pub fetch_max_wait: Duration,
    pub fetch_max_bytes: i32,
    pub max_partition_fetch_bytes: i32,
    pub check_crcs: bool,
    pub assignors: Vec<Assignor>,
    pub exclude_internal_topics: bool,
    pub api_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    Classic,
    /// KIP-848.
    Consumer,
}

impl GroupProtocol {
    fn parse(config: &Config) -> Result<Self> {
        let text = config.text("group.protocol", "classic");
        let (protocol, name, others) = match text.to_ascii_uppercase().as_str() {
            "CLASSIC" => (GroupProtocol::Classic, "CLASSIC", &["group.remote.assignor"][..]),
            "CONSUMER" => {
                (GroupProtocol::Consumer, "CONSUMER", &["partition.assignment.strategy", "heartbeat.interval.ms", "session.timeout.ms"][..])
            }
            _ => return Err(invalid("group.protocol", &text, "String must be one of (case insensitive): CONSUMER, CLASSIC")),
        };
        let misplaced: Vec<&str> = others.iter().copied().filter(|name| config.optional(name).is_some()).collect();
        if misplaced.is_empty() {
            return Ok(protocol);
        }
        Err(Error::Config(format!("{} cannot be set when group.protocol={name}", misplaced.join(", "))))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetPolicy {
    Earliest,
    Latest,
    None,
    /// From this long ago (KIP-1106).
    ByDuration(Duration),
}

impl ResetPolicy {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "earliest" => ResetPolicy::Earliest,
            "latest" => ResetPolicy::Latest,
            "none" => ResetPolicy::None,
            _ => ResetPolicy::ByDuration(iso_duration(text.strip_prefix("by_duration:")?)?),
        })
    }

    pub fn spec(self, wall_ms: i64) -> Option<OffsetSpec> {
        match self {
            ResetPolicy::Earliest => Some(OffsetSpec::Earliest),
            ResetPolicy::Latest => Some(OffsetSpec::Latest),
            ResetPolicy::None => None,
            ResetPolicy::ByDuration(ago) => Some(OffsetSpec::Timestamp(wall_ms.saturating_sub(ago.as_millis() as i64).max(0))),
        }
    }
}

/// ISO 8601 durations as Java's `Duration.parse` takes them: `P1DT2H3M4.5S`.
fn iso_duration(text: &str) -> Option<Duration> {
    let text = text.to_ascii_uppercase();
    let mut rest = text.strip_prefix('P')?;
    let mut seconds = 0.0;
    let mut in_time = false;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('T') {
            in_time = true;
            rest = time;
            if rest.is_empty() {
                return None;
            }
        }
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit = match (&rest[end..=end], in_time) {
            ("D", false) => 86_400.0,
            ("H", true) => 3_600.0,
            ("M", true) => 60.0,
            ("S", true) => 1.0,
            _ => return None,
        };
        seconds += number * unit;
        rest = &rest[end + 1..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

impl ConsumerConfig {
    pub fn parse(config: &Config) -> Result<Self> {
        let protocol = GroupProtocol::parse(config)?;
        let group_id = config.optional("group.id");
        let default_client = match (&group_id, config.optional("group.instance.id")) {
            (Some(group), Some(instance)) => format!("consumer-{group}-{instance}"),
            (Some(group), None) => format!("consumer-{group}-1"),
            (None, _) => "consumer-1".to_owned(),
        };
        let connection = ConnectionConfig::parse(config, &default_client)?;
        let asked_commit = config.get("enable.auto.commit").is_some();
        let commit = config.boolean("enable.auto.commit", true)?;
        if commit && asked_commit && group_id.is_none() {
            return Err(Error::Config("enable.auto.commit cannot be set to true when default group id (null) is used.".to_owned()));
        }
        let interval = config.millis("auto.commit.interval.ms", 5_000)?;
        let reset_text = config.text("auto.offset.reset", "latest");
        let reset = ResetPolicy::parse(&reset_text).ok_or_else(|| {
            invalid(
                "auto.offset.reset",
                &reset_text,
                &format!(
                    "Invalid value `{reset_text}` for configuration auto.offset.reset. The value must be either 'earliest', 'latest', 'none' \
                     or of the format 'by_duration:<PnDTnHnMn.nS.>'."
                ),
            )
        })?;
        let isolation = match config.text("isolation.level", "read_uncommitted").as_str() {
            "read_uncommitted" => IsolationLevel::ReadUncommitted,
            "read_committed" => IsolationLevel::ReadCommitted,
            other => return Err(invalid("isolation.level", other, "String must be one of: read_committed, read_uncommitted")),
        };
        let mut names = config.list("partition.assignment.strategy");
        if names.is_empty() {
            names = vec!["range".to_owned(), "cooperative-sticky".to_owned()];
        }
        let assignor = |name: &String| {
            Assignor::from_config(name).ok_or_else(|| invalid("partition.assignment.strategy", name, "this assignor is not known"))
        };
        let session_timeout = config.millis("session.timeout.ms", 45_000)?;
        let heartbeat_interval = config.millis("heartbeat.interval.ms", 3_000)?;
        if heartbeat_interval >= session_timeout {
            return Err(Error::Config("Heartbeat must be set lower than the session timeout".to_owned()));
        }
        Ok(Self {
            protocol,
            remote_assignor: config.optional("group.remote.assignor"),
            group_instance_id: config.optional("group.instance.id"),
            client_rack: config.text("client.rack", ""),
            session_timeout,
            heartbeat_interval,
            max_poll_interval: Duration::from_millis(config.number("max.poll.interval.ms", 300_000u64, 1, i32::MAX as u64)?),
            max_poll_records: config.number("max.poll.records", 500usize, 1, i32::MAX as usize)?,
            auto_commit: (commit && group_id.is_some()).then_some(interval),
            reset,
            isolation,
            fetch_min_bytes: config.number("fetch.min.bytes", 1, 0, i32::MAX)?,
            fetch_max_wait: config.millis("fetch.max.wait.ms", 500)?,
            fetch_max_bytes: config.number("fetch.max.bytes", 52_428_800, 0, i32::MAX)?,
            max_partition_fetch_bytes: config.number("max.partition.fetch.bytes", 1_048_576, 0, i32::MAX)?,
            check_crcs: config.boolean("check.crcs", true)?,
            assignors: names.iter().map(assignor).collect::<Result<_>>()?,
            exclude_internal_topics: config.boolean("exclude.internal.topics", true)?,
            api_timeout: config.millis("default.api.timeout.ms", 60_000)?,
            group_id,
            connection,
        })
    }

    /// Cooperative only if every assignor is (KIP-429).
    pub fn cooperative(&self) -> bool {
        self.assignors.iter().all(|assignor| assignor.is_cooperative())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_policies() {
        assert_eq!(ResetPolicy::parse("by_duration:PT1H"), Some(ResetPolicy::ByDuration(Duration::from_secs(3600))));
        assert_eq!(ResetPolicy::parse("by_duration:P1DT0.5S"), Some(ResetPolicy::ByDuration(Duration::from_millis(86_400_500))));
        for bad in ["", "smallest", "by_duration:", "by_duration:P", "by_duration:1H", "by_duration:PT", "by_duration:PT5D"] {
            assert_eq!(ResetPolicy::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn each_group_protocol_refuses_the_keys_of_the_other() {
        let parse = |pairs: &[(&str, &str)]| {
            let mut config = Config::bootstrap("127.0.0.1:1");
            config.extend(pairs.iter().copied());
            ConsumerConfig::parse(&config)
        };
        assert_eq!(parse(&[("group.protocol", "Consumer")]).unwrap().protocol, GroupProtocol::Consumer);
        let error = parse(&[("group.protocol", "consumer"), ("session.timeout.ms", "1"), ("heartbeat.interval.ms", "1")]).unwrap_err();
        assert_eq!(error.to_string(), "heartbeat.interval.ms, session.timeout.ms cannot be set when group.protocol=CONSUMER");
        assert!(parse(&[("group.remote.assignor", "uniform")]).is_err());
        assert!(parse(&[("group.protocol", "other")]).is_err());
    }

    #[test]
    fn auto_commit_needs_a_group() {
        let config = Config::bootstrap("127.0.0.1:1");
        assert!(ConsumerConfig::parse(&config).unwrap().auto_commit.is_none());
        assert!(ConsumerConfig::parse(&config.clone().with("enable.auto.commit", true)).is_err());
        assert!(ConsumerConfig::parse(&config.clone().with("group.id", "g")).unwrap().auto_commit.is_some());
        assert!(!ConsumerConfig::parse(&config.clone()).unwrap().cooperative());
        let sticky = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
        assert!(ConsumerConfig::parse(&config.with("partition.assignment.strategy", sticky)).unwrap().cooperative());
    }
}
