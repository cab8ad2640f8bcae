//! `kafka-transactions`: what is known of transactions, and an end for those that hang. Kafka counterpart: TransactionsCommand.

mod hanging;

use std::time::{SystemTime, UNIX_EPOCH};

use base::TopicPartition;
use client::admin::{AbortTransactionSpec, ListTransactionsOptions};
use client::{Admin, Config, Error};

use crate::argparse4j::{Level, Parsed, Program, Stop};
use crate::failure::Failure;
use crate::java::{hash_map_order, partition_hash};
use crate::{properties, session, table};

const PROGRAM: Program = Program {
    name: "kafka-transactions.sh",
    top: Level { required: &["--bootstrap-server"], ..Level::new("", include_str!("../../help/kafka-transactions.txt")) },
    commands: &[
        Level { longs: &["--duration-filter"], ..Level::new("list", include_str!("../../help/kafka-transactions-list.txt")) },
        Level { required: &["--transactional-id"], ..Level::new("describe", include_str!("../../help/kafka-transactions-describe.txt")) },
        Level {
            required: &["--topic", "--partition"],
            integers: &["--broker-id", "--partition"],
            ..Level::new("describe-producers", include_str!("../../help/kafka-transactions-describe-producers.txt"))
        },
        Level {
            required: &["--topic", "--partition"],
            integers: &["--partition", "--coordinator-epoch"],
            longs: &["--start-offset", "--producer-id"],
            shorts: &["--producer-epoch"],
            ..Level::new("abort", include_str!("../../help/kafka-transactions-abort.txt"))
        },
        Level {
            integers: &["--broker-id", "--max-transaction-timeout", "--partition"],
            ..Level::new("find-hanging", include_str!("../../help/kafka-transactions-find-hanging.txt"))
        },
        Level {
            required: &["--transactionalId"],
            ..Level::new("forceTerminateTransaction", include_str!("../../help/kafka-transactions-forceTerminateTransaction.txt"))
        },
    ],
    from_file: false,
};

pub fn run(args: &[String]) -> Result<(), Failure> {
    // Help ends with the code of an error here.
    let parsed = PROGRAM.parse_or_stop(args).map_err(|stop| match stop {
        Stop::Help => Failure::Status(1),
        Stop::Version => Failure::Status(0),
        Stop::Error(error) => error.report(),
    })?;
    let mut config = Config::new();
    if let Some(file) = parsed.value("command-config") {
        config.extend(properties::load(file)?);
    }
    config.set("bootstrap.servers", parsed.value("bootstrap-server").unwrap_or_default());
    session::block_on(async {
        let admin = session::admin(config)?;
        match parsed.command {
            "list" => list(&admin, &parsed).await,
            "describe" => describe(&admin, parsed.value("transactional-id").unwrap_or_default()).await,
            "describe-producers" => describe_producers(&admin, &parsed).await,
            "abort" => abort(&admin, &parsed).await,
            "find-hanging" => hanging::find(&admin, &parsed).await,
            _ => force_terminate(&admin, parsed.value("transactionalId").unwrap_or_default()).await,
        }
    })
}

/// What every question that fails says.
fn failed(what: impl Into<String>) -> impl FnOnce(Error) -> Failure {
    let what = what.into();
    move |error| Failure::new(format!("{what}: {error}. Enable debug logging for additional detail."))
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
}

fn partition(parsed: &Parsed) -> TopicPartition {
    TopicPartition::new(parsed.value("topic").unwrap_or_default(), parsed.integer("partition").unwrap_or_default())
}

async fn list(admin: &Admin, parsed: &Parsed) -> Result<(), Failure> {
    let options = ListTransactionsOptions {
        duration_ms: parsed.number("duration-filter"),
        transactional_id_pattern: parsed.value("transactional-id-pattern").map(str::to_owned),
        ..Default::default()
    };
    let found = admin.list_transactions(&options).await.map_err(failed("Failed to list transactions"))?;
    let mut rows = Vec::new();
    for (coordinator, listings) in found {
        rows.extend(listings.into_iter().map(|listing| {
            [listing.transactional_id, coordinator.to_string(), listing.producer_id.to_string(), listing.state.name().to_owned()]
        }));
    }
    table::print(["TransactionalId", "Coordinator", "ProducerId", "TransactionState"], &rows);
    Ok(())
}

async fn describe(admin: &Admin, id: &str) -> Result<(), Failure> {
    let what = || failed(format!("Failed to describe transaction state of transactional-id `{id}`"));
    let mut described = admin.describe_transactions(&[id.to_owned()]).await.map_err(what())?;
    let Some((_, result)) = described.pop() else { return Ok(()) };
    let found = result.map_err(what())?;
    let start = found.transaction_start_time_ms;
    let or_none = |ms: Option<i64>| ms.map_or("None".to_owned(), |ms| ms.to_string());
    let partitions: Vec<TopicPartition> = found.topic_partitions.into_iter().collect();
    let partitions = hash_map_order(partitions, 16, |partition| partition_hash(&partition.topic, partition.partition));
    let partitions: Vec<String> = partitions.iter().map(TopicPartition::to_string).collect();
    let header = [
        "CoordinatorId",
        "TransactionalId",
        "ProducerId",
        "ProducerEpoch",
        "TransactionState",
        "TransactionTimeoutMs",
        "CurrentTransactionStartTimeMs",
        "TransactionDurationMs",
        "TopicPartitions",
    ];
    let row = [
        found.coordinator_id.to_string(),
        id.to_owned(),
        found.producer_id.to_string(),
        found.producer_epoch.to_string(),
        found.state.name().to_owned(),
        found.transaction_timeout_ms.to_string(),
        or_none(start),
        or_none(start.map(|start| now_ms() - start)),
        partitions.join(","),
    ];
    table::print(header, &[row]);
    Ok(())
}

async fn describe_producers(admin: &Admin, parsed: &Parsed) -> Result<(), Failure> {
    let partition = partition(parsed);
    let broker: Option<i32> = parsed.integer("broker-id");
    let on = broker.map_or("leader".to_owned(), |broker| format!("broker {broker}"));
    let what = || failed(format!("Failed to describe producers for partition {partition} on {on}"));
    let mut found = admin.describe_producers(std::slice::from_ref(&partition), broker).await.map_err(what())?;
    let producers = found.remove(&partition).unwrap_or_else(|| Ok(Vec::new())).map_err(what())?;
    let rows: Vec<[String; 6]> = producers
        .into_iter()
        .map(|producer| {
            [
                producer.producer_id.to_string(),
                producer.producer_epoch.to_string(),
                producer.coordinator_epoch.unwrap_or(-1).to_string(),
                producer.last_sequence.to_string(),
                producer.last_timestamp.to_string(),
                producer.current_transaction_start_offset.map_or("None".to_owned(), |offset| offset.to_string()),
            ]
        })
        .collect();
    let header =
        ["ProducerId", "ProducerEpoch", "LatestCoordinatorEpoch", "LastSequence", "LastTimestamp", "CurrentTransactionStartOffset"];
    table::print(header, &rows);
    Ok(())
}

async fn abort(admin: &Admin, parsed: &Parsed) -> Result<(), Failure> {
    let spec = match (parsed.number("start-offset"), parsed.number("producer-id")) {
        (None, None) => {
            return Err(Failure::new(
                "The transaction to abort must be identified either with --start-offset (for brokers on 3.0 or above) or with --producer-id, --producer-epoch, and --coordinator-epoch (for older brokers)",
            ));
        }
        (None, Some(producer_id)) => {
            let missing = |name: &str| Failure::new(format!("Missing required argument --{name}"));
            let producer_epoch = parsed.number("producer-epoch").ok_or_else(|| missing("producer-epoch"))?;
            let coordinator_epoch: i32 = parsed.integer("coordinator-epoch").ok_or_else(|| missing("coordinator-epoch"))?;
            AbortTransactionSpec {
                topic_partition: partition(parsed),
                producer_id,
                producer_epoch,
                // A producer that never ended a transaction has seen no coordinator; 0 is never newer than the present one.
                coordinator_epoch: coordinator_epoch.max(0),
            }
        }
        (Some(start), _) => open_transaction(admin, partition(parsed), start).await?,
    };
    let what = failed(format!("Failed to abort transaction {spec}"));
    admin.abort_transaction(&spec).await.map_err(what)
}

/// The transaction that began at this offset.
async fn open_transaction(admin: &Admin, partition: TopicPartition, start: i64) -> Result<AbortTransactionSpec, Failure> {
    let what = || failed(format!("Failed to validate producer state for partition {partition}"));
    let mut found = admin.describe_producers(std::slice::from_ref(&partition), None).await.map_err(what())?;
    let producers = found.remove(&partition).unwrap_or_else(|| Ok(Vec::new())).map_err(what())?;
    let Some(producer) = producers.into_iter().find(|producer| producer.current_transaction_start_offset == Some(start)) else {
        return Err(Failure::new(format!("Could not find any open transactions starting at offset {start} on partition {partition}")));
    };
    Ok(AbortTransactionSpec {
        topic_partition: partition,
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch as i16,
        coordinator_epoch: producer.coordinator_epoch.unwrap_or(0),
    })
}

async fn force_terminate(admin: &Admin, id: &str) -> Result<(), Failure> {
    let what = failed(format!("Failed to force terminate transactionalId `{id}`"));
    admin.force_terminate_transaction(id).await.map_err(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        match PROGRAM.parse_or_stop(&words) {
            Err(Stop::Error(error)) => error.message,
            _ => "parsed".to_owned(),
        }
    }

    #[test]
    fn numbers_of_every_width() {
        let abort = "--bootstrap-server x abort --topic t --partition 0";
        for (rest, expected) in [
            ("--producer-id 5 --producer-epoch -3", "parsed"),
            (
                "--producer-id 9999999999999999999",
                "could not convert '9999999999999999999' to Long (For input string: \"9999999999999999999\")",
            ),
            ("--producer-epoch 70000", "could not convert '70000' to Short (Value out of range. Value:\"70000\" Radix:10)"),
            ("--producer-epoch z", "could not convert 'z' to Short (For input string: \"z\")"),
        ] {
            let found = message(&format!("{abort} {rest}"));
            assert!(found.ends_with(expected), "{rest}: {found}");
        }
        assert_eq!(message("list"), "argument --bootstrap-server is required");
    }
}
