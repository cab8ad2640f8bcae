//! Checks of the consumer outside groups, and of its commits.

use crate::{Bench, Check, Outcome, ensure, read, text, values};
use client::{Error, OffsetAndMetadata, ProducerRecord, TopicPartition};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const CHECKS: &[(&str, Check)] = &[
    ("consumer reads in order, by max.poll.records", |bench| Box::pin(order(bench))),
    ("consumer seeks", |bench| Box::pin(seek(bench))),
    ("consumer pauses and resumes", |bench| Box::pin(pause(bench))),
    ("consumer finds offsets by time and ends", |bench| Box::pin(lookups(bench))),
    ("consumer resets as told", |bench| Box::pin(resets(bench))),
    ("consumer commits with metadata and starts there", |bench| Box::pin(commits(bench))),
    ("consumer commits automatically what was processed", |bench| Box::pin(auto_commit(bench))),
    ("consumer reads on after dropped connections", |bench| Box::pin(dropped_connections(bench))),
    ("consumer follows a topic that is deleted and created again", |bench| Box::pin(recreated(bench))),
    ("consumer wakes up", |bench| Box::pin(wakeup(bench))),
    ("consumer reads many partitions with small fetches", |bench| Box::pin(many_partitions(bench))),
];

async fn order(bench: &Bench) -> Outcome {
    let topic = bench.topic("order", 1).await?;
    bench.fill(&topic, 0, 1_000).await?;
    let mut consumer = bench.consumer(&[("max.poll.records", "7"), ("isolation.level", "read_committed")])?;
    consumer.assign(vec![TopicPartition::new(&topic, 0)]).map_err(text)?;
    let mut found = Vec::new();
    while found.len() < 1_000 {
        let records = consumer.poll(Duration::from_secs(10)).await.map_err(text)?;
        ensure(!records.is_empty() && records.len() <= 7, || format!("{} records at once", records.len()))?;
        found.extend(records);
    }
    let expected: Vec<String> = (0..1_000).map(|number| format!("v{number}")).collect();
    ensure(values(&found) == expected, || "not in order".to_owned())?;
    let partition = TopicPartition::new(&topic, 0);
    ensure(consumer.position(&partition).await.map_err(text)? == 1_000, || "wrong position".to_owned())?;
    ensure(consumer.current_lag(&partition) == Some(0), || format!("lag {:?}", consumer.current_lag(&partition)))?;
    ensure(consumer.poll(Duration::from_millis(50)).await.map_err(text)?.is_empty(), || "records after the end".to_owned())
}

async fn seek(bench: &Bench) -> Outcome {
    let topic = bench.topic("seek", 1).await?;
    bench.fill(&topic, 0, 100).await?;
    let partition = TopicPartition::new(&topic, 0);
    let mut consumer = bench.consumer(&[("max.poll.records", "5")])?;
    ensure(consumer.seek(&partition, 3).is_err(), || "sought without an assignment".to_owned())?;
    consumer.assign(vec![partition.clone()]).map_err(text)?;
    let next = async |consumer: &mut client::Consumer| -> Result<String, String> { Ok(values(&read(consumer, 1).await?)[0].clone()) };
    ensure(next(&mut consumer).await? == "v0", || "does not start at the beginning".to_owned())?;
    for offset in [42, 99, 7] {
        consumer.seek(&partition, offset).map_err(text)?;
        let found = next(&mut consumer).await?;
        ensure(found == format!("v{offset}"), || format!("{found} after seek to {offset}"))?;
    }
    consumer.seek_to_end(&[]).map_err(text)?;
    ensure(consumer.position(&partition).await.map_err(text)? == 100, || "not at the end".to_owned())?;
    consumer.seek_to_beginning(std::slice::from_ref(&partition)).map_err(text)?;
    ensure(next(&mut consumer).await? == "v0", || "not at the beginning".to_owned())
}

async fn pause(bench: &Bench) -> Outcome {
    let topic = bench.topic("pause", 2).await?;
    bench.fill(&topic, 0, 50).await?;
    bench.fill(&topic, 1, 50).await?;
    let (first, second) = (TopicPartition::new(&topic, 0), TopicPartition::new(&topic, 1));
    let mut consumer = bench.consumer(&[])?;
    consumer.assign(vec![first.clone(), second.clone()]).map_err(text)?;
    consumer.pause(std::slice::from_ref(&first)).map_err(text)?;
    ensure(consumer.paused() == [first.clone()], || "not paused".to_owned())?;
    let found = read(&mut consumer, 50).await?;
    ensure(found.iter().all(|record| record.partition == 1), || "a paused partition delivered".to_owned())?;
    ensure(consumer.poll(Duration::from_millis(300)).await.map_err(text)?.is_empty(), || "more than expected".to_owned())?;
    consumer.resume(&[first]).map_err(text)?;
    let found = read(&mut consumer, 50).await?;
    ensure(found.iter().all(|record| record.partition == 0), || "wrong partition".to_owned())
}

async fn lookups(bench: &Bench) -> Outcome {
    let topic = bench.topic("lookups", 1).await?;
    bench.fill(&topic, 0, 30).await?;
    let partition = TopicPartition::new(&topic, 0);
    let consumer = bench.consumer(&[])?;
    for (time, expected) in [(0, Some(0)), (1_010, Some(10)), (1_029, Some(29)), (2_000, None)] {
        let found = consumer.offsets_for_times(&[(partition.clone(), time)]).await.map_err(text)?;
        let offset = found.get(&partition).copied().flatten().map(|listed| listed.offset);
        ensure(offset == expected, || format!("time {time}: {offset:?}"))?;
    }
    let start = consumer.beginning_offsets(std::slice::from_ref(&partition)).await.map_err(text)?;
    let end = consumer.end_offsets(std::slice::from_ref(&partition)).await.map_err(text)?;
    ensure((start.get(&partition), end.get(&partition)) == (Some(&0), Some(&30)), || format!("{start:?} {end:?}"))?;
    let partitions = consumer.partitions_for(&topic).await.map_err(text)?;
    ensure(partitions.len() == 1 && partitions[0].leader.is_some(), || format!("{partitions:?}"))?;
    ensure(consumer.list_topics().await.map_err(text)?.contains_key(&topic), || "not listed".to_owned())
}

async fn resets(bench: &Bench) -> Outcome {
    let topic = bench.topic("resets", 1).await?;
    bench.fill(&topic, 0, 10).await?;
    let partition = TopicPartition::new(&topic, 0);
    let mut latest = bench.consumer(&[("auto.offset.reset", "latest")])?;
    latest.assign(vec![partition.clone()]).map_err(text)?;
    ensure(latest.position(&partition).await.map_err(text)? == 10, || "latest is not the end".to_owned())?;
    let mut none = bench.consumer(&[("auto.offset.reset", "none")])?;
    none.assign(vec![partition.clone()]).map_err(text)?;
    let error = poll_error(&mut none).await;
    ensure(matches!(error, Some(Error::NoOffsetForPartition(_))), || format!("{error:?}"))?;
    none.seek(&partition, 5_000).map_err(text)?;
    let error = poll_error(&mut none).await;
    ensure(matches!(error, Some(Error::OffsetOutOfRange { offset: 5_000, .. })), || format!("{error:?}"))?;
    let mut earliest = bench.consumer(&[])?;
    earliest.assign(vec![partition.clone()]).map_err(text)?;
    earliest.seek(&partition, 5_000).map_err(text)?;
    let found = values(&read(&mut earliest, 10).await?);
    ensure(found[0] == "v0", || format!("{found:?}"))
}

async fn poll_error(consumer: &mut client::Consumer) -> Option<Error> {
    for _ in 0..20 {
        if let Err(error) = consumer.poll(Duration::from_millis(500)).await {
            return Some(error);
        }
    }
    None
}

async fn commits(bench: &Bench) -> Outcome {
    let topic = bench.topic("commits", 1).await?;
    bench.fill(&topic, 0, 20).await?;
    let partition = TopicPartition::new(&topic, 0);
    let group = bench.name("commits");
    let properties = [("group.id", group.as_str()), ("enable.auto.commit", "false"), ("max.poll.records", "5")];
    let mut first = bench.consumer(&properties)?;
    first.assign(vec![partition.clone()]).map_err(text)?;
    let before = first.committed(std::slice::from_ref(&partition)).await.map_err(text)?;
    ensure(before.get(&partition) == Some(&None), || format!("{before:?}"))?;
    read(&mut first, 5).await?;
    first.commit().await.map_err(text)?;
    let after = first.committed(std::slice::from_ref(&partition)).await.map_err(text)?;
    ensure(after[&partition].as_ref().is_some_and(|committed| committed.offset == 5), || format!("{after:?}"))?;
    let offset = OffsetAndMetadata { offset: 12, leader_epoch: None, metadata: "half way".to_owned() };
    first.commit_offsets(BTreeMap::from([(partition.clone(), offset)])).await.map_err(text)?;
    let after = first.committed(std::slice::from_ref(&partition)).await.map_err(text)?;
    let metadata = after[&partition].as_ref().map(|committed| committed.metadata.clone());
    ensure(metadata.as_deref() == Some("half way"), || format!("{metadata:?}"))?;
    let results = Arc::new(Mutex::new(Vec::new()));
    for offset in [13, 14, 15] {
        let results = results.clone();
        let offsets = BTreeMap::from([(partition.clone(), OffsetAndMetadata::new(offset))]);
        let done = move |result: client::Result<()>| {
            if let Ok(mut results) = results.lock() {
                results.push((offset, result.is_ok()));
            }
        };
        first.commit_async(Some(offsets), done);
    }
    // A synchronous commit waits for the asynchronous ones before it.
    first.commit_offsets(BTreeMap::from([(partition.clone(), OffsetAndMetadata::new(16))])).await.map_err(text)?;
    let seen = results.lock().map_err(|error| error.to_string())?.clone();
    ensure(seen == [(13, true), (14, true), (15, true)], || format!("{seen:?}"))?;
    first.close(Duration::from_secs(5)).await.map_err(text)?;
    let mut second = bench.consumer(&properties)?;
    second.assign(vec![partition]).map_err(text)?;
    let found = values(&read(&mut second, 4).await?);
    ensure(found == ["v16", "v17", "v18", "v19"], || format!("{found:?}"))
}

async fn auto_commit(bench: &Bench) -> Outcome {
    let topic = bench.topic("auto-commit", 1).await?;
    bench.fill(&topic, 0, 20).await?;
    let partition = TopicPartition::new(&topic, 0);
    let group = bench.name("auto-commit");
    let properties = [("group.id", group.as_str()), ("auto.commit.interval.ms", "100"), ("max.poll.records", "5")];
    let mut consumer = bench.consumer(&properties)?;
    consumer.subscribe([&topic]).map_err(text)?;
    read(&mut consumer, 5).await?;
    // The records of the last poll are not processed before the next one.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let committed = consumer.committed(std::slice::from_ref(&partition)).await.map_err(text)?;
    let offset = committed[&partition].as_ref().map_or(0, |committed| committed.offset);
    ensure(offset == 0, || format!("committed {offset} while it was being processed"))?;
    read(&mut consumer, 5).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let committed = consumer.committed(std::slice::from_ref(&partition)).await.map_err(text)?;
    ensure(committed[&partition].as_ref().is_some_and(|committed| committed.offset == 5), || format!("{committed:?}"))?;
    consumer.close(Duration::from_secs(5)).await.map_err(text)?;
    let offsets = bench.admin.list_group_offsets(&group, None, false).await.map_err(text)?;
    let closed = offsets.get(&partition).and_then(|result| result.as_ref().ok()?.as_ref()).map(|committed| committed.offset);
    ensure(closed == Some(10), || format!("{closed:?} after close"))
}

async fn dropped_connections(bench: &Bench) -> Outcome {
    let topic = bench.topic("reading-dropped", 1).await?;
    bench.fill(&topic, 0, 2_000).await?;
    let mut consumer = bench.consumer(&[("max.poll.records", "100"), ("max.partition.fetch.bytes", "3000")])?;
    consumer.assign(vec![TopicPartition::new(&topic, 0)]).map_err(text)?;
    let mut found = Vec::new();
    for _ in 0..200 {
        found.extend(consumer.poll(Duration::from_secs(1)).await.map_err(text)?);
        if found.len() >= 2_000 {
            break;
        }
        consumer.drop_connections();
    }
    let expected: Vec<String> = (0..2_000).map(|number| format!("v{number}")).collect();
    ensure(values(&found) == expected, || format!("{} records", found.len()))
}

async fn recreated(bench: &Bench) -> Outcome {
    let topic = bench.topic("recreated", 1).await?;
    bench.fill(&topic, 0, 3).await?;
    let partition = TopicPartition::new(&topic, 0);
    let mut consumer = bench.consumer(&[("metadata.max.age.ms", "500"), ("allow.auto.create.topics", "false")])?;
    consumer.assign(vec![partition.clone()]).map_err(text)?;
    read(&mut consumer, 3).await?;
    bench.admin.delete_topics(std::slice::from_ref(&topic)).await.map_err(text)?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    bench.topic("recreated", 1).await?;
    let producer = bench.producer()?;
    for _ in 0..5 {
        producer.send(&ProducerRecord::new(&topic).partition(0).value(b"new")).await.map_err(text)?.await.map_err(text)?;
    }
    let found = read(&mut consumer, 1).await?;
    ensure(values(&found).iter().all(|value| value == "new"), || format!("{:?}", values(&found)))
}

async fn wakeup(bench: &Bench) -> Outcome {
    let topic = bench.topic("wakeup", 1).await?;
    let mut consumer = bench.consumer(&[])?;
    consumer.assign(vec![TopicPartition::new(&topic, 0)]).map_err(text)?;
    let wakeup = consumer.wakeup();
    let waker = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        wakeup.wake();
    };
    let (result, ()) = tokio::join!(consumer.poll(Duration::from_secs(30)), waker);
    ensure(result == Err(Error::Wakeup), || format!("{result:?}"))
}

async fn many_partitions(bench: &Bench) -> Outcome {
    let topic = bench.topic("many", 20).await?;
    let producer = bench.producer()?;
    for number in 0..2_000i32 {
        let value = number.to_string();
        let record = ProducerRecord::new(&topic).partition(number % 20).value(value.as_bytes());
        drop(producer.send(&record).await.map_err(text)?);
    }
    producer.flush().await.map_err(text)?;
    let mut consumer = bench.consumer(&[("max.partition.fetch.bytes", "300"), ("fetch.max.bytes", "1000")])?;
    consumer.assign((0..20).map(|partition| TopicPartition::new(&topic, partition)).collect()).map_err(text)?;
    let found = read(&mut consumer, 2_000).await?;
    for partition in 0..20 {
        let own: Vec<String> = values(&found.iter().filter(|record| record.partition == partition).cloned().collect::<Vec<_>>());
        let expected: Vec<String> = (0..2_000).filter(|number| number % 20 == partition).map(|number: i32| number.to_string()).collect();
        ensure(own == expected, || format!("partition {partition}: {own:?}"))?;
    }
    Ok(())
}
