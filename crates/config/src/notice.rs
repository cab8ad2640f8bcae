//! What to tell somebody about the keys in a server.properties before the node starts: ZooKeeper-era keys, removed keys, unknown keys, and keys
//! that are known but have no effect in Gregor, each by name with the reason.

use crate::def::Use;
use crate::dynamic::listener_override;
use crate::{Props, broker, own};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The key belongs to an earlier Kafka; says what to do instead.
    Removed { key: String, advice: &'static str },
    /// Kafka knows it, Gregor does not act on it.
    Ignored { key: String, reason: &'static str },
    /// Nobody knows it; `similar` is a known key that it may be a misspelling of.
    Unknown { key: String, similar: Option<&'static str> },
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Removed { key, advice } => write!(f, "{key} is no longer a configuration of Kafka: {advice}"),
            Self::Ignored { key, reason } => write!(f, "{key} has no effect: {reason}"),
            Self::Unknown { key, similar: Some(similar) } => write!(f, "{key} is not a known configuration; did you mean {similar}?"),
            Self::Unknown { key, similar: None } => write!(f, "{key} is not a known configuration"),
        }
    }
}

const ZOOKEEPER: &str = "there is no ZooKeeper any more; set process.roles, node.id and controller.quorum.bootstrap.servers (or \
                         controller.quorum.voters) instead and format the log directories with `kafka-storage format`";
const ONE_PROTOCOL: &str = "the version is a feature of the cluster now; see `kafka-features`";

/// Keys that server.properties files in the field still carry, removed between Kafka 0.8 and 4.0.
const REMOVED: &[(&str, &str)] = &[
    ("advertised.host.name", "use advertised.listeners"),
    ("advertised.port", "use advertised.listeners"),
    ("broker.id.generation.enable", "set node.id yourself"),
    ("control.plane.listener.name", "use controller.listener.names"),
    ("controlled.shutdown.max.retries", "remove it; the controller moves leaders away by itself"),
    ("controlled.shutdown.retry.backoff.ms", "remove it; the controller moves leaders away by itself"),
    ("delegation.token.master.key", "use delegation.token.secret.key"),
    ("enable.zookeeper", ZOOKEEPER),
    ("group.coordinator.new.enable", "remove it; there is only the new coordinator"),
    ("host.name", "use listeners"),
    ("inter.broker.protocol.version", ONE_PROTOCOL),
    ("leader.imbalance.per.broker.percentage", "remove it; leadership is rebalanced whenever a preferred leader is not leading"),
    ("log.cleaner.min.cleanable.dirty.ratio", "use log.cleaner.min.cleanable.ratio"),
    ("log.message.downconversion.enable", "remove it; clients older than Kafka 2.1 are not served any more"),
    ("log.message.format.version", "remove it; records are always written in format 2"),
    ("log.message.timestamp.difference.max.ms", "use log.message.timestamp.before.max.ms and log.message.timestamp.after.max.ms"),
    ("max.connections.per.ip.overrides.list", "use max.connections.per.ip.overrides"),
    ("metadata.log.max.record.bytes", "use metadata.log.max.record.bytes.between.snapshots"),
    ("offsets.commit.required.acks", "remove it; offset commits always wait for all in-sync replicas"),
    ("password.encoder.cipher.algorithm", "remove it; dynamic passwords are not encrypted in KRaft, protect the metadata log instead"),
    ("password.encoder.iterations", "remove it; dynamic passwords are not encrypted in KRaft, protect the metadata log instead"),
    ("password.encoder.key.length", "remove it; dynamic passwords are not encrypted in KRaft, protect the metadata log instead"),
    ("password.encoder.keyfactory.algorithm", "remove it; dynamic passwords are not encrypted in KRaft, protect the metadata log instead"),
    ("password.encoder.old.secret", "remove it; dynamic passwords are not encrypted in KRaft, protect the metadata log instead"),
    ("password.encoder.secret", "remove it; dynamic passwords are not encrypted in KRaft, protect the metadata log instead"),
    ("port", "use listeners"),
    ("quota.consumer.default", "use `kafka-configs --entity-type clients --entity-default`"),
    ("quota.producer.default", "use `kafka-configs --entity-type clients --entity-default`"),
    ("replica.lag.max.messages", "use replica.lag.time.max.ms"),
    ("reserved.broker.max.id", "remove it; node ids are never generated"),
    ("transaction.state.log.cleanup.interval.ms", "use transaction.remove.expired.transaction.cleanup.interval.ms"),
    ("zookeeper.metadata.migration.enable", ZOOKEEPER),
];

/// Everything worth saying about these properties, in the order of their names.
pub fn notices(props: &Props) -> Vec<Notice> {
    props.keys().filter_map(|key| notice(key)).collect()
}

fn notice(key: &str) -> Option<Notice> {
    let owned = || key.to_owned();
    let base = listener_override(key).unwrap_or(key);
    if let Some(known) = broker::def().get(base) {
        return match known.usage {
            Use::Honoured => None,
            Use::Ignored(reason) => Some(Notice::Ignored { key: owned(), reason }),
        };
    }
    if own::def().get(key).is_some() {
        return None;
    }
    if let Some((_, advice)) = REMOVED.iter().find(|(removed, _)| *removed == key) {
        return Some(Notice::Removed { key: owned(), advice });
    }
    if key.starts_with("zookeeper.") {
        return Some(Notice::Removed { key: owned(), advice: ZOOKEEPER });
    }
    if key.starts_with("listener.name.") {
        return Some(Notice::Ignored { key: owned(), reason: "it belongs to TLS or SASL, and only PLAINTEXT listeners are served yet" });
    }
    Some(Notice::Unknown { key: owned(), similar: most_similar(key) })
}

/// A known key within two edits, or one that differs only in its separators.
fn most_similar(key: &str) -> Option<&'static str> {
    let normal = key.to_ascii_lowercase().replace(['_', '-'], ".");
    let candidates = broker::def().keys().iter().map(|known| (edit_distance(&normal, known.name), known.name));
    candidates.min().filter(|(distance, _)| *distance <= 2).map(|(_, name)| name)
}

fn edit_distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(b.bytes()) {
            let cost = (diagonal + usize::from(from != to)).min(*cell + 1).min(left + 1);
            diagonal = std::mem::replace(cell, cost);
            left = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(key: &str) -> Option<String> {
        notice(key).map(|n| n.to_string())
    }

    #[test]
    fn old_keys_get_advice() {
        assert!(say("zookeeper.connect").unwrap().contains("there is no ZooKeeper any more"));
        assert!(say("zookeeper.ssl.keystore.location").unwrap().contains("no ZooKeeper"));
        assert_eq!(say("port").unwrap(), "port is no longer a configuration of Kafka: use listeners");
    }

    #[test]
    fn removed_keys_are_really_not_known() {
        let known: Vec<_> = REMOVED.iter().filter(|(key, _)| broker::def().get(key).is_some()).collect();
        assert!(known.is_empty(), "{known:?}");
    }

    #[test]
    fn misspellings_are_recognised() {
        assert_eq!(say("num.partition").unwrap(), "num.partition is not a known configuration; did you mean num.partitions?");
        assert_eq!(say("log_dirs").unwrap(), "log_dirs is not a known configuration; did you mean log.dirs?");
        assert_eq!(say("my.own.plugin.key").unwrap(), "my.own.plugin.key is not a known configuration");
        assert_eq!(say("log.dirs"), None);
    }
}
