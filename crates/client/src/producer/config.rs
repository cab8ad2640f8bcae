//! Owns: the producer's configuration, by Kafka's names and with its defaults and its rules about combinations. Kafka: `ProducerConfig`.

use crate::config::{Config, ConnectionConfig, invalid};
use crate::core::accumulator::AccumulatorConfig;
use crate::core::backoff::ExponentialBackoff;
use crate::core::partitioner::PartitionerKind;
use crate::core::transaction::TransactionConfig;
use crate::error::{Error, Result};
use record::{Codec, Compression};
use std::time::Duration;

pub struct ProducerConfig {
    pub connection: ConnectionConfig,
    pub accumulator: AccumulatorConfig,
    pub acks: i16,
    pub codec: Codec,
    pub max_block: Duration,
    pub request_timeout: Duration,
    pub max_in_flight: usize,
}

impl ProducerConfig {
    pub fn parse(config: &Config, keep_tags: bool) -> Result<Self> {
        let transactional_id = config.get("transactional.id").map(str::to_owned);
        if transactional_id.as_deref() == Some("") {
            return Err(invalid("transactional.id", "", "String must be non-empty"));
        }
        let client_id = format!("producer-{}", transactional_id.as_deref().unwrap_or("1"));
        let mut connection = ConnectionConfig::parse(config, &client_id)?;
        let acks_text = config.text("acks", "all");
        let acks = match acks_text.as_str() {
            "all" | "-1" => -1,
            "0" => 0,
            "1" => 1,
            _ => return Err(invalid("acks", &acks_text, "String must be one of: all, -1, 0, 1")),
        };
        let max_in_flight = config.number("max.in.flight.requests.per.connection", 5usize, 1, i32::MAX as usize)?;
        connection.max_in_flight = max_in_flight;
        // The producer's own limit on how long metadata of a topic is awaited is max.block.ms; topics may always be created for it.
        connection.allow_auto_topic_creation = true;
        let retries = config.number("retries", i32::MAX as u32, 0, i32::MAX as u32)?;
        let asked = config.get("enable.idempotence").is_some();
        let wanted = config.boolean("enable.idempotence", true)?;
        let idempotent = idempotence(wanted, asked, acks, retries, max_in_flight)?;
        let transaction_timeout = config.number("transaction.timeout.ms", 60_000i32, i32::MIN, i32::MAX)?;
        let transaction = match transactional_id {
            Some(_) if !idempotent => {
                return Err(Error::Config("Cannot set a transactional.id without also enabling idempotence.".to_owned()));
            }
            id => id.map(|id| TransactionConfig { id, timeout_ms: transaction_timeout, retry_backoff: connection.retry_backoff }),
        };
        let linger = config.millis("linger.ms", 5)?;
        let request_timeout = connection.request_timeout;
        let delivery_timeout = delivery_timeout(config, linger + request_timeout)?;
        let compression_name = config.text("compression.type", "none");
        let compression = Compression::from_name(&compression_name)
            .ok_or_else(|| invalid("compression.type", &compression_name, "String must be one of: none, gzip, snappy, lz4, zstd"))?;
        let (partitioner, ignore_keys) = partitioner(config)?;
        Ok(Self {
            accumulator: AccumulatorConfig {
                batch_size: config.number("batch.size", 16_384usize, 0, i32::MAX as usize)?,
                linger,
                buffer_memory: config.number("buffer.memory", 33_554_432u64, 0, i64::MAX as u64)? as usize,
                max_request_size: config.number("max.request.size", 1_048_576usize, 0, i32::MAX as usize)?,
                delivery_timeout,
                retries,
                retry_backoff: ExponentialBackoff { initial: connection.retry_backoff, max: connection.retry_backoff_max },
                partitioner,
                ignore_keys,
                adaptive: config.boolean("partitioner.adaptive.partitioning.enable", true)?,
                availability_timeout: Some(config.millis("partitioner.availability.timeout.ms", 0)?).filter(|timeout| !timeout.is_zero()),
                idempotent,
                transaction,
                guarantee_order: max_in_flight == 1,
                compressed: compression != Compression::None,
                keep_tags,
            },
            acks,
            codec: codec(config, compression)?,
            max_block: config.millis("max.block.ms", 60_000)?,
            request_timeout,
            max_in_flight,
            connection,
        })
    }
}

fn idempotence(wanted: bool, asked: bool, acks: i16, retries: u32, max_in_flight: usize) -> Result<bool> {
    if !wanted {
        return Ok(false);
    }
    let problem = if retries == 0 {
        "Must set retries to non-zero when using the idempotent producer."
    } else if acks != -1 {
        "Must set acks to all in order to use the idempotent producer. Otherwise we cannot guarantee idempotence."
    } else if max_in_flight > 5 {
        "Must set max.in.flight.requests.per.connection to at most 5 to use the idempotent producer."
    } else {
        return Ok(true);
    };
    // Only an explicit wish conflicts; the default gives way.
    if asked { Err(Error::Config(problem.to_owned())) } else { Ok(false) }
}

fn delivery_timeout(config: &Config, least: Duration) -> Result<Duration> {
    let timeout = config.millis("delivery.timeout.ms", 120_000)?;
    if timeout >= least {
        return Ok(timeout);
    }
    if config.get("delivery.timeout.ms").is_some() {
        return Err(Error::Config("delivery.timeout.ms should be equal to or larger than linger.ms + request.timeout.ms".to_owned()));
    }
    Ok(least)
}

fn codec(config: &Config, compression: Compression) -> Result<Codec> {
    let Some((min, max, default)) = compression.levels() else { return Ok(Codec::new(compression)) };
    let name = format!("compression.{}.level", compression.name());
    let level = config.number(&name, default, i32::MIN, i32::MAX)?;
    // Gzip's default level is written as -1.
    if !(min..=max).contains(&level) && level != default {
        return Err(invalid(&name, &level.to_string(), &format!("Value must be between {min} and {max}")));
    }
    Ok(Codec::with_level(compression, level))
}

fn partitioner(config: &Config) -> Result<(PartitionerKind, bool)> {
    let ignore_keys = config.boolean("partitioner.ignore.keys", false)?;
    let kind = match config.optional("partitioner.class").as_deref() {
        None => PartitionerKind::BuiltIn,
        Some(class) if class.ends_with("RoundRobinPartitioner") => PartitionerKind::RoundRobin,
        Some(class) => {
            return Err(invalid(
                "partitioner.class",
                class,
                "only org.apache.kafka.clients.producer.RoundRobinPartitioner is known by name; give your own to Producer::builder",
            ));
        }
    };
    Ok((kind, ignore_keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<ProducerConfig> {
        let mut config = Config::bootstrap("127.0.0.1:9092");
        config.extend(pairs.iter().copied());
        ProducerConfig::parse(&config, false)
    }

    #[test]
    fn defaults_are_kafkas() {
        let config = parse(&[]).unwrap();
        assert_eq!((config.acks, config.max_in_flight), (-1, 5));
        assert!(config.accumulator.idempotent);
        assert_eq!(config.accumulator.linger, Duration::from_millis(5));
        assert_eq!(config.accumulator.delivery_timeout, Duration::from_secs(120));
    }

    #[test]
    fn idempotence_gives_way_only_when_nobody_asked_for_it() {
        assert!(!parse(&[("acks", "1")]).unwrap().accumulator.idempotent);
        assert!(parse(&[("acks", "1"), ("enable.idempotence", "true")]).is_err());
        assert!(!parse(&[("max.in.flight.requests.per.connection", "6")]).unwrap().accumulator.idempotent);
        assert!(parse(&[("delivery.timeout.ms", "10")]).is_err());
        assert!(parse(&[("compression.type", "rar")]).is_err());
        assert!(parse(&[("compression.type", "gzip"), ("compression.gzip.level", "99")]).is_err());
    }
}
