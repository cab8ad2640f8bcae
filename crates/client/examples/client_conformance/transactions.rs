//! Checks of transactions; what they left is read back by consumers that read committed and uncommitted records.

use crate::{Bench, Check, Outcome, ensure, eventually, read, text, values};
use client::admin::{AlterConfigOp, ConfigResource};
use client::consumer::GroupMetadata;
use client::{Config, Error, ErrorClass, OffsetAndMetadata, Producer, ProducerRecord, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::ErrorCode;

pub const CHECKS: &[(&str, Check)] = &[
    ("transactions commit and abort", |bench| Box::pin(commit_and_abort(bench))),
    ("transactions span topics and partitions", |bench| Box::pin(many_partitions(bench))),
    ("transactions carry offsets, classic protocol", |bench| Box::pin(offsets(bench, "classic"))),
    ("transactions carry offsets, consumer protocol", |bench| Box::pin(offsets(bench, "consumer"))),
    ("transactions refuse offsets of a member that is gone", |bench| Box::pin(stale_member(bench))),
    ("transactions fence the producer that came first", |bench| Box::pin(fencing(bench))),
    ("transactions time out", |bench| Box::pin(timeout(bench))),
    ("transactions survive dropped connections", |bench| Box::pin(dropped_connections(bench))),
    ("transactions drop what was not sent when they abort", |bench| Box::pin(unsent(bench))),
    ("transactions go on after a record that was refused", |bench| Box::pin(refused_record(bench))),
    ("transactions of nothing", |bench| Box::pin(empty(bench))),
    ("transactions end with their producer", |bench| Box::pin(closed(bench))),
    ("transactions explain what they refuse", |bench| Box::pin(misuse(bench))),
];

fn config(bench: &Bench, id: &str) -> Config {
    bench.config().with("transactional.id", bench.name(id))
}

async fn started(config: Config) -> Result<Producer, String> {
    let producer = Producer::new(config).map_err(text)?;
    producer.init_transactions().await.map_err(text)?;
    Ok(producer)
}

async fn send(producer: &Producer, topic: &str, partition: i32, value: &str) -> Outcome {
    producer.send(&ProducerRecord::new(topic).partition(partition).value(value.as_bytes())).await.map(drop).map_err(text)
}

/// One record a value, all in one transaction.
async fn transaction(producer: &Producer, topic: &str, values: &[&str], commit: bool) -> Outcome {
    producer.begin_transaction().map_err(text)?;
    for value in values {
        send(producer, topic, 0, value).await?;
    }
    if !commit {
        // So that there is something to abort.
        producer.flush().await.map_err(text)?;
        return producer.abort_transaction().await.map_err(text);
    }
    producer.commit_transaction().await.map_err(text)
}

/// Everything that readers of committed records get from the topic, which must have no open transaction.
async fn committed(bench: &Bench, topic: &str, partitions: i32) -> Result<Vec<String>, String> {
    let all: Vec<TopicPartition> = (0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect();
    let uncommitted = bench.consumer(&[])?;
    let ends = uncommitted.end_offsets(&all).await.map_err(text)?;
    let mut consumer = bench.consumer(&[("isolation.level", "read_committed")])?;
    eventually(async || {
        let stable = consumer.end_offsets(&all).await.map_err(text)?;
        ensure(stable == ends, || format!("stable {stable:?} of {ends:?}"))
    })
    .await?;
    consumer.assign(all.clone()).map_err(text)?;
    let mut found = Vec::new();
    for _ in 0..600 {
        found.extend(consumer.poll(Duration::from_millis(100)).await.map_err(text)?);
        let mut done = true;
        for partition in &all {
            done &= consumer.position(partition).await.map_err(text)? >= ends[partition];
        }
        if done {
            return Ok(values(&found));
        }
    }
    Err(format!("the end {ends:?} was not reached; found {}", found.len()))
}

async fn commit_and_abort(bench: &Bench) -> Outcome {
    let topic = bench.topic("commit-and-abort", 1).await?;
    let producer = started(config(bench, "plain")).await?;
    transaction(&producer, &topic, &["a", "b"], true).await?;
    transaction(&producer, &topic, &["lost"], false).await?;
    transaction(&producer, &topic, &["c"], true).await?;
    transaction(&producer, &topic, &["lost too"], false).await?;
    let found = committed(bench, &topic, 1).await?;
    ensure(found == ["a", "b", "c"], || format!("committed: {found:?}"))?;
    let mut dirty = bench.consumer(&[])?;
    dirty.assign(vec![TopicPartition::new(&topic, 0)]).map_err(text)?;
    let found = values(&read(&mut dirty, 5).await?);
    ensure(found == ["a", "b", "lost", "c", "lost too"], || format!("uncommitted: {found:?}"))?;
    // An open transaction holds readers of committed records back.
    producer.begin_transaction().map_err(text)?;
    send(&producer, &topic, 0, "open").await?;
    producer.flush().await.map_err(text)?;
    let place = TopicPartition::new(&topic, 0);
    let stable = bench.consumer(&[("isolation.level", "read_committed")])?.end_offsets(std::slice::from_ref(&place)).await.map_err(text)?;
    let end = dirty.end_offsets(std::slice::from_ref(&place)).await.map_err(text)?;
    ensure(end[&place] == stable[&place] + 1, || format!("stable {stable:?}, end {end:?}"))?;
    producer.commit_transaction().await.map_err(text)?;
    let found = committed(bench, &topic, 1).await?;
    ensure(found == ["a", "b", "c", "open"], || format!("then: {found:?}"))
}

async fn many_partitions(bench: &Bench) -> Outcome {
    let topics = [bench.topic("transaction-wide-1", 25).await?, bench.topic("transaction-wide-2", 25).await?];
    let producer = started(config(bench, "wide").with("batch.size", 200)).await?;
    let mut expected = BTreeSet::new();
    for round in 0..4 {
        let commit = round % 2 == 0;
        producer.begin_transaction().map_err(text)?;
        for number in 0..500 {
            let value = format!("{round}-{number}");
            send(&producer, &topics[number % 2], (number / 2 % 25) as i32, &value).await?;
            if commit {
                expected.insert(value);
            }
        }
        let ended = if commit { producer.commit_transaction().await } else { producer.abort_transaction().await };
        ended.map_err(text)?;
    }
    let mut found = committed(bench, &topics[0], 25).await?;
    found.extend(committed(bench, &topics[1], 25).await?);
    ensure(found.len() == expected.len(), || format!("{} records", found.len()))?;
    ensure(found.into_iter().collect::<BTreeSet<_>>() == expected, || "other records".to_owned())
}

/// Reads, writes and commits what was read in the same transaction; aborts every other time and reads again from the committed offset.
async fn offsets(bench: &Bench, protocol: &str) -> Outcome {
    let (from, to) = (bench.topic(&format!("from-{protocol}"), 1).await?, bench.topic(&format!("to-{protocol}"), 1).await?);
    bench.fill(&from, 0, 6).await?;
    let group = bench.name(&format!("copier-{protocol}"));
    let properties = [
        ("group.id", group.as_str()),
        ("group.protocol", protocol),
        ("enable.auto.commit", "false"),
        ("isolation.level", "read_committed"),
        ("max.poll.records", "2"),
    ];
    let mut consumer = bench.consumer(&properties)?;
    consumer.subscribe([from.as_str()]).map_err(text)?;
    let producer = started(config(bench, &format!("copier-{protocol}"))).await?;
    let place = TopicPartition::new(&from, 0);
    let mut done = 0;
    for attempt in 0..6 {
        let records = read(&mut consumer, 2).await?;
        producer.begin_transaction().map_err(text)?;
        for value in values(&records) {
            send(&producer, &to, 0, &value).await?;
        }
        let next = records.last().map_or(0, |record| record.offset + 1);
        let metadata = OffsetAndMetadata { offset: next, leader_epoch: None, metadata: format!("attempt {attempt}") };
        producer.send_offsets_to_transaction([(place.clone(), metadata)], &consumer.group_metadata().map_err(text)?).await.map_err(text)?;
        if attempt % 2 == 0 {
            producer.abort_transaction().await.map_err(text)?;
            consumer.seek(&place, done).map_err(text)?;
        } else {
            producer.commit_transaction().await.map_err(text)?;
            done = next;
        }
        let found = consumer.committed(std::slice::from_ref(&place)).await.map_err(text)?;
        let offset = found.get(&place).cloned().flatten().map_or(0, |committed| committed.offset);
        ensure(offset == done, || format!("attempt {attempt}: committed {offset}, expected {done}"))?;
    }
    let found = committed(bench, &to, 1).await?;
    ensure(found == ["v0", "v1", "v2", "v3", "v4", "v5"], || format!("{found:?}"))?;
    consumer.close(Duration::from_secs(10)).await.map_err(text)
}

async fn stale_member(bench: &Bench) -> Outcome {
    let topic = bench.topic("stale-member", 1).await?;
    bench.fill(&topic, 0, 1).await?;
    let group = bench.name("stale-member");
    let mut consumer = bench.consumer(&[("group.id", group.as_str()), ("enable.auto.commit", "false")])?;
    consumer.subscribe([topic.as_str()]).map_err(text)?;
    read(&mut consumer, 1).await?;
    let member = consumer.group_metadata().map_err(text)?;
    let producer = started(config(bench, "stale-member")).await?;
    let place = TopicPartition::new(&topic, 0);
    for (what, metadata, code) in [
        ("another member", GroupMetadata { member_id: "nobody".into(), ..member.clone() }, ErrorCode::UnknownMemberId),
        ("another generation", GroupMetadata { generation: member.generation + 1, ..member.clone() }, ErrorCode::IllegalGeneration),
    ] {
        producer.begin_transaction().map_err(text)?;
        let refused = producer.send_offsets_to_transaction([(place.clone(), OffsetAndMetadata::new(1))], &metadata).await;
        ensure(refused.as_ref().err().and_then(Error::code) == Some(code), || format!("{what}: {refused:?}"))?;
        let class = refused.err().map(|error| error.class());
        ensure(class == Some(ErrorClass::ApplicationRecoverable), || format!("{what}: {class:?}"))?;
        let commit = producer.commit_transaction().await;
        let cause = "Cannot execute transactional method because we are in an error state";
        ensure(commit.as_ref().is_err_and(|error| error.to_string().starts_with(cause)), || format!("{what}: {commit:?}"))?;
        producer.abort_transaction().await.map_err(text)?;
    }
    producer.begin_transaction().map_err(text)?;
    producer.send_offsets_to_transaction([(place.clone(), OffsetAndMetadata::new(1))], &member).await.map_err(text)?;
    producer.commit_transaction().await.map_err(text)?;
    let found = consumer.committed(std::slice::from_ref(&place)).await.map_err(text)?;
    ensure(found[&place].as_ref().is_some_and(|committed| committed.offset == 1), || format!("{found:?}"))
}

async fn fencing(bench: &Bench) -> Outcome {
    let topic = bench.topic("fencing", 1).await?;
    let first = started(config(bench, "fencing")).await?;
    first.begin_transaction().map_err(text)?;
    send(&first, &topic, 0, "of the first").await?;
    first.flush().await.map_err(text)?;
    let second = started(config(bench, "fencing")).await?;
    transaction(&second, &topic, &["of the second"], true).await?;
    // The first is told when it sends again or commits, whichever comes first.
    let delivery = first.send(&ProducerRecord::new(&topic).value(b"too late")).await;
    let sent = match delivery {
        Ok(delivery) => delivery.await.map(drop),
        Err(error) => Err(error),
    };
    ensure(sent.is_err(), || "a fenced producer wrote a record".to_owned())?;
    let commit = first.commit_transaction().await;
    ensure(commit.is_err(), || "a fenced producer committed".to_owned())?;
    if !first.has_fatal_error() {
        let abort = first.abort_transaction().await;
        let code = abort.as_ref().err().and_then(Error::code);
        ensure(code == Some(ErrorCode::ProducerFenced), || format!("abort: {abort:?}"))?;
    }
    ensure(first.has_fatal_error(), || "the first producer goes on".to_owned())?;
    let again = first.begin_transaction();
    let fenced = "has been fenced by another producer with the same transactionalId";
    ensure(again.as_ref().is_err_and(|error| error.to_string().ends_with(fenced)), || format!("{again:?}"))?;
    transaction(&second, &topic, &["again"], true).await?;
    let found = committed(bench, &topic, 1).await?;
    ensure(found == ["of the second", "again"], || format!("{found:?}"))
}

async fn timeout(bench: &Bench) -> Outcome {
    let topic = bench.topic("transaction-timeout", 1).await?;
    let producer = started(config(bench, "timeout").with("transaction.timeout.ms", 1_000)).await?;
    producer.begin_transaction().map_err(text)?;
    send(&producer, &topic, 0, "forgotten").await?;
    producer.flush().await.map_err(text)?;
    let place = [TopicPartition::new(&topic, 0)];
    let reader = bench.consumer(&[("isolation.level", "read_committed")])?;
    for _ in 0..600 {
        // The record and the marker.
        if reader.end_offsets(&place).await.map_err(text)?[&place[0]] == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let commit = producer.commit_transaction().await;
    ensure(commit.is_err(), || "a transaction that timed out was committed".to_owned())?;
    if !producer.has_fatal_error() {
        producer.abort_transaction().await.map_err(text)?;
    }
    let found = committed(bench, &topic, 1).await?;
    ensure(found.is_empty(), || format!("{found:?}"))?;
    let refused = started(config(bench, "timeout-long").with("transaction.timeout.ms", i32::MAX)).await.map(drop);
    let problem = "Unexpected error in InitProducerIdResponse; The transaction timeout is larger than the maximum value allowed by the broker (as configured by transaction.max.timeout.ms).";
    ensure(refused == Err(problem.to_owned()), || format!("{refused:?}"))
}

async fn dropped_connections(bench: &Bench) -> Outcome {
    let topic = bench.topic("transactions-dropped", 3).await?;
    let producer = started(config(bench, "dropped").with("retry.backoff.ms", 10).with("reconnect.backoff.ms", 10)).await?;
    let mut expected = BTreeMap::new();
    for round in 0..60 {
        producer.begin_transaction().map_err(text)?;
        for number in 0..9 {
            send(&producer, &topic, number % 3, &format!("{round}-{number}")).await?;
            if number == round % 9 {
                producer.drop_connections();
            }
        }
        if round % 7 == 3 {
            producer.abort_transaction().await.map_err(text)?;
            continue;
        }
        let dropper = producer.clone();
        let cut = tokio::task::spawn_local(async move {
            tokio::task::yield_now().await;
            dropper.drop_connections();
        });
        producer.commit_transaction().await.map_err(text)?;
        cut.await.map_err(|error| error.to_string())?;
        expected.extend((0..9).map(|number| (format!("{round}-{number}"), 1)));
    }
    let mut found = BTreeMap::new();
    for value in committed(bench, &topic, 3).await? {
        *found.entry(value).or_insert(0) += 1;
    }
    ensure(found == expected, || format!("{} different values, {} expected", found.len(), expected.len()))
}

async fn unsent(bench: &Bench) -> Outcome {
    let topic = bench.topic("unsent", 1).await?;
    let producer = started(config(bench, "unsent").with("linger.ms", 60_000)).await?;
    producer.begin_transaction().map_err(text)?;
    let delivery = producer.send(&ProducerRecord::new(&topic).value(b"never")).await.map_err(text)?;
    producer.abort_transaction().await.map_err(text)?;
    let outcome = delivery.await.map(drop);
    ensure(outcome == Err(Error::TransactionAborted), || format!("{outcome:?}"))?;
    transaction(&producer, &topic, &["sent"], true).await?;
    let found = committed(bench, &topic, 1).await?;
    ensure(found == ["sent"], || format!("{found:?}"))
}

async fn refused_record(bench: &Bench) -> Outcome {
    let topic = bench.topic("refused-record", 1).await?;
    let small = vec![AlterConfigOp::set("max.message.bytes", 1_000)];
    let changed = bench.admin.incremental_alter_configs(vec![(ConfigResource::topic(&topic), small)], false).await.map_err(text)?;
    ensure(changed.iter().all(|(_, result)| result.is_ok()), || format!("{changed:?}"))?;
    let producer = started(config(bench, "refused-record")).await?;
    let long = "x".repeat(2_000);
    // The new limit is in effect a moment later.
    eventually(async || {
        producer.begin_transaction().map_err(text)?;
        let delivery = producer.send(&ProducerRecord::new(&topic).value(long.as_bytes())).await.map_err(text)?;
        let commit = producer.commit_transaction().await;
        let delivered = delivery.await.map(drop);
        if commit.is_ok() {
            return Err("the limit is not in effect".to_owned());
        }
        ensure(delivered.as_ref().is_err_and(|error| error.code() == Some(ErrorCode::MessageTooLarge)), || format!("{delivered:?}"))?;
        ensure(!producer.has_fatal_error(), || format!("fatal: {commit:?}"))?;
        producer.abort_transaction().await.map_err(text)
    })
    .await?;
    transaction(&producer, &topic, &["short"], true).await?;
    let mut found = committed(bench, &topic, 1).await?;
    found.retain(|value| *value != long);
    ensure(found == ["short"], || format!("{found:?}"))?;
    // What the client itself refuses spoils a transaction as well.
    producer.begin_transaction().map_err(text)?;
    let larger = vec![b'x'; 2 << 20];
    ensure(producer.send(&ProducerRecord::new(&topic).value(&larger)).await.is_err(), || "two megabytes were taken".to_owned())?;
    ensure(producer.commit_transaction().await.is_err(), || "committed without the record".to_owned())?;
    producer.abort_transaction().await.map_err(text)?;
    transaction(&producer, &topic, &["again"], true).await
}

async fn empty(bench: &Bench) -> Outcome {
    let topic = bench.topic("empty-transactions", 1).await?;
    let producer = started(config(bench, "empty")).await?;
    for round in 0..3 {
        transaction(&producer, &topic, &[], true).await?;
        transaction(&producer, &topic, &[], false).await?;
        transaction(&producer, &topic, &[&format!("{round}")], true).await?;
        let nothing: [(TopicPartition, OffsetAndMetadata); 0] = [];
        let group = GroupMetadata::new(bench.name("empty"));
        producer.begin_transaction().map_err(text)?;
        producer.send_offsets_to_transaction(nothing, &group).await.map_err(text)?;
        producer.commit_transaction().await.map_err(text)?;
    }
    let found = committed(bench, &topic, 1).await?;
    ensure(found == ["0", "1", "2"], || format!("{found:?}"))
}

async fn closed(bench: &Bench) -> Outcome {
    let topic = bench.topic("transaction-closed", 1).await?;
    let producer = started(config(bench, "closed")).await?;
    producer.begin_transaction().map_err(text)?;
    send(&producer, &topic, 0, "half").await?;
    producer.close(Duration::from_secs(30)).await.map_err(text)?;
    let found = committed(bench, &topic, 1).await?;
    ensure(found.is_empty(), || format!("{found:?}"))
}

async fn misuse(bench: &Bench) -> Outcome {
    let topic = bench.topic("transaction-misuse", 1).await?;
    let plain = bench.producer()?;
    let refused = |what: &str, outcome: Result<(), Error>, problem: &str| {
        ensure(outcome.as_ref().is_err_and(|error| error.to_string() == problem), || format!("{what}: {outcome:?}"))
    };
    let none = "Cannot use transactional methods without enabling transactions by setting the transactional.id configuration property";
    refused("init", plain.init_transactions().await, none)?;
    refused("begin", plain.begin_transaction(), none)?;
    let producer = Producer::new(config(bench, "misuse")).map_err(text)?;
    let id = format!("TransactionalId {}", bench.name("misuse"));
    let invalid = |from: &str, to: &str| format!("{id}: Invalid transition attempted from state {from} to state {to}");
    refused("begin", producer.begin_transaction(), &invalid("UNINITIALIZED", "IN_TRANSACTION"))?;
    let record = ProducerRecord::new(&topic).partition(0).value(b"v");
    let early = format!("Cannot add partition {topic}-0 to transaction before completing a call to initTransactions");
    refused("send", producer.send(&record).await.map(drop), &early)?;
    producer.init_transactions().await.map_err(text)?;
    refused("init", producer.init_transactions().await, &invalid("READY", "INITIALIZING"))?;
    let outside = format!("Cannot add partition {topic}-0 to transaction while in state  READY");
    refused("send", producer.send(&record).await.map(drop), &outside)?;
    refused("commit", producer.commit_transaction().await, &invalid("READY", "COMMITTING_TRANSACTION"))?;
    refused("abort", producer.abort_transaction().await, &invalid("READY", "ABORTING_TRANSACTION"))?;
    let group = GroupMetadata::new("g");
    let offsets = [(TopicPartition::new(&topic, 0), OffsetAndMetadata::new(1))];
    let problem = "Cannot send offsets if a transaction is not in progress (currentState= READY)";
    refused("offsets", producer.send_offsets_to_transaction(offsets, &group).await, problem)?;
    producer.begin_transaction().map_err(text)?;
    refused("begin", producer.begin_transaction(), &invalid("IN_TRANSACTION", "IN_TRANSACTION"))?;
    producer.abort_transaction().await.map_err(text)?;
    let config = config(bench, "misuse").with("acks", "1");
    let idempotence = Producer::new(config).map(drop).map_err(text);
    ensure(idempotence == Err("Cannot set a transactional.id without also enabling idempotence.".to_owned()), || format!("{idempotence:?}"))
}
