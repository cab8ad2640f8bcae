//! Checks of consumers in groups.

use crate::{Bench, Check, Outcome, ensure, read, text};
use client::consumer::{BoxFuture, RebalanceListener};
use client::{Consumer, Error, ProducerRecord, TopicPartition};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use wire::ErrorCode;

pub const CHECKS: &[(&str, Check)] = &[
    ("group with range shares, takes over and hands back", |bench| Box::pin(sharing(bench, "range"))),
    ("group with roundrobin shares, takes over and hands back", |bench| Box::pin(sharing(bench, "roundrobin"))),
    ("group with sticky shares, takes over and hands back", |bench| Box::pin(sharing(bench, "sticky"))),
    ("group with cooperative-sticky shares, takes over and hands back", |bench| Box::pin(sharing(bench, "cooperative-sticky"))),
    ("group loses and repeats nothing when a member is aborted", |bench| Box::pin(abort(bench))),
    ("group calls the listener around every change", |bench| Box::pin(listener(bench))),
    ("group never stops the partitions that stay, cooperatively", |bench| Box::pin(cooperative(bench))),
    ("group subscription by pattern finds new topics", |bench| Box::pin(pattern(bench))),
    ("group notices new partitions", |bench| Box::pin(new_partitions(bench))),
    ("group keeps a static member's place", |bench| Box::pin(static_member(bench))),
    ("group removes a member that does not poll", |bench| Box::pin(poll_interval(bench))),
    ("group refuses members without a common protocol", |bench| Box::pin(inconsistent(bench))),
    ("group rebalances when told", |bench| Box::pin(enforced(bench))),
    ("group is described with its members", |bench| Box::pin(described(bench))),
];

pub fn member(bench: &Bench, group: &str, properties: &[(&str, &str)]) -> Result<Consumer, String> {
    let mut all = vec![("group.id", group), ("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "300")];
    all.extend_from_slice(properties);
    bench.consumer(&all)
}

/// Polls all members until their assignments are as `done` wants them; returns what was read.
pub async fn settle(members: &mut [Consumer], done: impl Fn(&[Vec<TopicPartition>]) -> bool) -> Result<usize, String> {
    let deadline = Instant::now() + Duration::from_secs(40);
    let mut records = 0;
    loop {
        for member in members.iter_mut() {
            records += member.poll(Duration::from_millis(30)).await.map_err(text)?.len();
        }
        let assignments: Vec<Vec<TopicPartition>> = members.iter().map(Consumer::assignment).collect();
        if done(&assignments) {
            return Ok(records);
        }
        if Instant::now() > deadline {
            return Err(format!("the group did not settle: {assignments:?}"));
        }
    }
}

/// Every one of `count` partitions has one owner, and no two members differ by more than one.
pub fn shared_evenly(count: usize) -> impl Fn(&[Vec<TopicPartition>]) -> bool {
    move |assignments| {
        let all: BTreeSet<&TopicPartition> = assignments.iter().flatten().collect();
        let sizes = || assignments.iter().map(Vec::len);
        let even = sizes().max().unwrap_or(0) <= sizes().min().unwrap_or(0) + 1;
        all.len() == count && sizes().sum::<usize>() == count && even
    }
}

async fn sharing(bench: &Bench, strategy: &str) -> Outcome {
    let topic = bench.topic(&format!("sharing-{strategy}"), 6).await?;
    let group = bench.name(&format!("sharing-{strategy}"));
    let join = || -> Result<Consumer, String> {
        let mut consumer = member(bench, &group, &[("partition.assignment.strategy", strategy)])?;
        consumer.subscribe([&topic]).map_err(text)?;
        Ok(consumer)
    };
    let mut members = vec![join()?];
    settle(&mut members, shared_evenly(6)).await?;
    members.push(join()?);
    settle(&mut members, shared_evenly(6)).await?;
    members.push(join()?);
    settle(&mut members, shared_evenly(6)).await?;
    let leaving = members.remove(0);
    leaving.close(Duration::from_secs(10)).await.map_err(text)?;
    settle(&mut members, shared_evenly(6)).await?;
    // Like a crash: the others take over after the session timeout.
    drop(members.pop());
    settle(&mut members, shared_evenly(6)).await?;
    Ok(())
}

async fn abort(bench: &Bench) -> Outcome {
    let topic = bench.topic("abort", 4).await?;
    let group = bench.name("abort");
    let producer = bench.producer()?;
    for number in 0..4_000 {
        let value = number.to_string();
        drop(producer.send(&ProducerRecord::new(&topic).partition(number % 4).value(value.as_bytes())).await.map_err(text)?);
    }
    producer.flush().await.map_err(text)?;
    let join = || -> Result<Consumer, String> {
        let mut consumer = member(bench, &group, &[("enable.auto.commit", "false"), ("max.poll.records", "20")])?;
        consumer.subscribe([&topic]).map_err(text)?;
        Ok(consumer)
    };
    let mut members = vec![join()?, join()?];
    let mut seen = Vec::new();
    let mut aborted = false;
    let deadline = Instant::now() + Duration::from_secs(60);
    while seen.len() < 4_000 {
        ensure(Instant::now() < deadline, || format!("{} of 4000 records", seen.len()))?;
        for consumer in &mut members {
            let records = consumer.poll(Duration::from_millis(50)).await.map_err(text)?;
            if records.is_empty() {
                continue;
            }
            match consumer.commit().await {
                // Only what is committed counts: whoever takes over reads the rest again.
                Ok(()) => seen.extend(records.iter().map(|record| (record.partition, record.offset))),
                Err(error)
                    if error.code() == Some(ErrorCode::RebalanceInProgress) || error.code() == Some(ErrorCode::IllegalGeneration) => {}
                Err(error) if error.code() == Some(ErrorCode::UnknownMemberId) => {}
                Err(error) => return Err(text(error)),
            }
        }
        if !aborted && seen.len() > 1_000 && members.iter().all(|member| !member.assignment().is_empty()) {
            aborted = true;
            drop(members.pop());
        }
    }
    let distinct: BTreeSet<&(i32, i64)> = seen.iter().collect();
    ensure(aborted, || "no member was aborted".to_owned())?;
    ensure(distinct.len() == 4_000 && seen.len() == 4_000, || format!("{} records, {} distinct", seen.len(), distinct.len()))
}

#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, line: String) {
        if let Ok(mut lines) = self.0.lock() {
            lines.push(line);
        }
    }

    pub fn peek(&self) -> Vec<String> {
        self.0.lock().map(|lines| lines.clone()).unwrap_or_default()
    }

    pub fn take(&self) -> Vec<String> {
        self.0.lock().map(|mut lines| std::mem::take(&mut *lines)).unwrap_or_default()
    }
}

impl RebalanceListener for Log {
    fn on_assigned<'a>(&'a mut self, _: &'a mut Consumer, partitions: &'a [TopicPartition]) -> BoxFuture<'a> {
        self.add(format!("+{}", partitions.len()));
        Box::pin(async { Ok(()) })
    }

    fn on_revoked<'a>(&'a mut self, consumer: &'a mut Consumer, partitions: &'a [TopicPartition]) -> BoxFuture<'a> {
        self.add(format!("-{}", partitions.len()));
        Box::pin(async move { consumer.commit().await })
    }

    fn on_lost<'a>(&'a mut self, _: &'a mut Consumer, partitions: &'a [TopicPartition]) -> BoxFuture<'a> {
        self.add(format!("lost {}", partitions.len()));
        Box::pin(async { Ok(()) })
    }
}

async fn listener(bench: &Bench) -> Outcome {
    let topic = bench.topic("listener-group", 4).await?;
    let group = bench.name("listener-group");
    for (strategy, first, second) in [("range", "-4 +2", "-2 +4"), ("cooperative-sticky", "-2 +0", "+2")] {
        let group = format!("{group}-{strategy}");
        let log = Log::default();
        let mut members = Vec::new();
        for number in 0..2 {
            let mut consumer = member(bench, &group, &[("partition.assignment.strategy", strategy)])?;
            consumer.subscribe([&topic]).map_err(text)?;
            if number == 0 {
                consumer.set_rebalance_listener(Box::new(log.clone()));
            }
            members.push(consumer);
            settle(&mut members, shared_evenly(4)).await?;
            if number == 0 {
                let lines = log.take();
                ensure(lines == ["+4"], || format!("{strategy}: {lines:?} on joining"))?;
            }
        }
        let seen = log.take().join(" ");
        ensure(seen.starts_with(first), || format!("{strategy}: {seen} when another joined"))?;
        let other = members.pop().ok_or("no member")?;
        other.close(Duration::from_secs(10)).await.map_err(text)?;
        settle(&mut members, shared_evenly(4)).await?;
        let seen = log.take().join(" ");
        ensure(seen.ends_with(second), || format!("{strategy}: {seen} when it left"))?;
        members.remove(0).close(Duration::from_secs(10)).await.map_err(text)?;
        let seen = log.take().join(" ");
        ensure(seen == "-4", || format!("{strategy}: {seen} on close"))?;
    }
    Ok(())
}

async fn cooperative(bench: &Bench) -> Outcome {
    let topic = bench.topic("cooperative", 4).await?;
    let group = bench.name("cooperative");
    let strategy = [("partition.assignment.strategy", "cooperative-sticky")];
    let mut members = vec![member(bench, &group, &strategy)?];
    members[0].subscribe([&topic]).map_err(text)?;
    settle(&mut members, shared_evenly(4)).await?;
    let before = members[0].assignment();
    let mut joining = member(bench, &group, &strategy)?;
    joining.subscribe([&topic]).map_err(text)?;
    members.push(joining);
    let kept = Mutex::new(before.iter().cloned().collect::<BTreeSet<TopicPartition>>());
    settle(&mut members, |assignments| {
        if let Ok(mut kept) = kept.lock() {
            kept.retain(|partition| assignments[0].contains(partition));
        }
        shared_evenly(4)(assignments)
    })
    .await?;
    let kept = kept.into_inner().map_err(|error| error.to_string())?;
    ensure(kept.len() == 2, || format!("only {kept:?} stayed all the time"))
}

async fn pattern(bench: &Bench) -> Outcome {
    let first = bench.topic("pattern-a", 1).await?;
    bench.topic("other-pattern", 1).await?;
    let group = bench.name("pattern");
    let prefix = bench.name("pattern-");
    let mut members = vec![member(bench, &group, &[("metadata.max.age.ms", "500")])?];
    members[0].subscribe_matching(move |topic| topic.starts_with(&prefix)).map_err(text)?;
    let expected = TopicPartition::new(&first, 0);
    settle(&mut members, |assignments| assignments[0] == [expected.clone()]).await?;
    let second = bench.topic("pattern-b", 2).await?;
    bench.fill(&second, 1, 5).await?;
    settle(&mut members, |assignments| assignments[0].len() == 3).await?;
    Ok(())
}

async fn new_partitions(bench: &Bench) -> Outcome {
    let topic = bench.topic("growing", 1).await?;
    let group = bench.name("growing");
    let mut members = vec![member(bench, &group, &[("metadata.max.age.ms", "500")])?];
    members[0].subscribe([&topic]).map_err(text)?;
    settle(&mut members, shared_evenly(1)).await?;
    let more = client::admin::NewPartitions { topic, total_count: 3, assignments: None };
    bench.admin.create_partitions(vec![more], false).await.map_err(text)?;
    settle(&mut members, shared_evenly(3)).await?;
    Ok(())
}

async fn static_member(bench: &Bench) -> Outcome {
    let topic = bench.topic("static", 4).await?;
    let group = bench.name("static");
    let join = |instance: &str| -> Result<Consumer, String> {
        let mut consumer = member(bench, &group, &[("group.instance.id", instance), ("session.timeout.ms", "20000")])?;
        consumer.subscribe([&topic]).map_err(text)?;
        Ok(consumer)
    };
    let mut members = vec![join("one")?, join("two")?];
    settle(&mut members, shared_evenly(4)).await?;
    let place = members[1].assignment();
    let generation = members[0].group_metadata().map_err(text)?.generation;
    members.pop().ok_or("no member")?.close(Duration::from_secs(10)).await.map_err(text)?;
    members.push(join("two")?);
    settle(&mut members, shared_evenly(4)).await?;
    ensure(members[1].assignment() == place, || format!("{:?} instead of {place:?}", members[1].assignment()))?;
    let now = members[0].group_metadata().map_err(text)?.generation;
    ensure(now == generation, || format!("generation {now} instead of {generation}: the group rebalanced"))?;
    // A second bearer of the same name fences the first.
    let mut twin = join("two")?;
    let deadline = Instant::now() + Duration::from_secs(20);
    let error = loop {
        ensure(Instant::now() < deadline, || "the first bearer of the name was not fenced".to_owned())?;
        twin.poll(Duration::from_millis(50)).await.map_err(text)?;
        if let Err(error) = members[1].poll(Duration::from_millis(50)).await {
            break error;
        }
    };
    ensure(error.code() == Some(ErrorCode::FencedInstanceId), || format!("{error:?}"))
}

async fn poll_interval(bench: &Bench) -> Outcome {
    let topic = bench.topic("slow", 2).await?;
    bench.fill(&topic, 0, 10).await?;
    let group = bench.name("slow");
    let mut slow = member(bench, &group, &[("max.poll.interval.ms", "1500"), ("enable.auto.commit", "false")])?;
    let log = Log::default();
    slow.set_rebalance_listener(Box::new(log.clone()));
    slow.subscribe([&topic]).map_err(text)?;
    read(&mut slow, 10).await?;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let described = bench.admin.describe_groups(std::slice::from_ref(&group)).await.map_err(text)?;
    let members = described[0].1.as_ref().map_err(|error| error.to_string())?.members.len();
    ensure(members == 0, || format!("{members} members after the poll interval"))?;
    let error = slow.commit().await.err();
    ensure(error.is_some(), || "a commit outside the group succeeded".to_owned())?;
    let mut members = vec![slow];
    // Nothing was committed, so the records come again.
    let again = settle(&mut members, shared_evenly(2)).await?;
    read(&mut members[0], 10 - again.min(10)).await?;
    let seen = log.take();
    ensure(seen == ["+2", "lost 2", "+2"], || format!("{seen:?}"))
}

async fn inconsistent(bench: &Bench) -> Outcome {
    let topic = bench.topic("inconsistent", 1).await?;
    let group = bench.name("inconsistent");
    let mut members = vec![member(bench, &group, &[("partition.assignment.strategy", "range")])?];
    members[0].subscribe([&topic]).map_err(text)?;
    settle(&mut members, shared_evenly(1)).await?;
    let mut odd = member(bench, &group, &[("partition.assignment.strategy", "roundrobin")])?;
    odd.subscribe([&topic]).map_err(text)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        ensure(Instant::now() < deadline, || "no error".to_owned())?;
        if let Err(error) = odd.poll(Duration::from_millis(200)).await {
            return ensure(error.code() == Some(ErrorCode::InconsistentGroupProtocol), || format!("{error:?}"));
        }
    }
}

async fn enforced(bench: &Bench) -> Outcome {
    let topic = bench.topic("enforced", 2).await?;
    let mut members = vec![member(bench, &bench.name("enforced"), &[])?];
    members[0].subscribe([&topic]).map_err(text)?;
    settle(&mut members, shared_evenly(2)).await?;
    let before = members[0].group_metadata().map_err(text)?.generation;
    members[0].enforce_rebalance("to see it").map_err(text)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while members[0].group_metadata().map_err(text)?.generation <= before {
        ensure(Instant::now() < deadline, || "no rebalance".to_owned())?;
        members[0].poll(Duration::from_millis(50)).await.map_err(text)?;
    }
    settle(&mut members, shared_evenly(2)).await?;
    Ok(())
}

async fn described(bench: &Bench) -> Outcome {
    let topic = bench.topic("described", 2).await?;
    let group = bench.name("described");
    let mut members = vec![member(bench, &group, &[("client.id", "seen")])?];
    members[0].subscribe([&topic]).map_err(text)?;
    settle(&mut members, shared_evenly(2)).await?;
    let described = bench.admin.describe_groups(std::slice::from_ref(&group)).await.map_err(text)?;
    let description = described[0].1.as_ref().map_err(|error| error.to_string())?;
    ensure(description.state == "Stable" && description.assignor == "range", || format!("{description:?}"))?;
    let member = description.members.first().ok_or("no members")?;
    ensure(member.client_id == "seen" && member.assignment.len() == 2, || format!("{member:?}"))?;
    let error = bench.admin.delete_groups(std::slice::from_ref(&group)).await.map_err(text)?.remove(0).1.err();
    ensure(error.as_ref().and_then(Error::code) == Some(ErrorCode::NonEmptyGroup), || format!("{error:?}"))
}
