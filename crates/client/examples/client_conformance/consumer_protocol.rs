//! Checks of consumers in groups of the consumer protocol (KIP-848).

use crate::group::{Log, settle, shared_evenly};
use crate::{Bench, Check, Outcome, ensure, eventually, read, text};
use client::consumer::{CloseOptions, LeaveOperation};
use client::{Consumer, ProducerRecord, TopicPartition};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use wire::ErrorCode;

pub const CHECKS: &[(&str, Check)] = &[
    ("consumer protocol shares with uniform, takes over and hands back", |bench| Box::pin(sharing(bench, Some("uniform")))),
    ("consumer protocol shares with range, takes over and hands back", |bench| Box::pin(sharing(bench, Some("range")))),
    ("consumer protocol tells the listener what changed and keeps the rest", |bench| Box::pin(listener(bench))),
    ("consumer protocol reads everything once while members come and go", |bench| Box::pin(coming_and_going(bench))),
    ("consumer protocol resolves patterns at the coordinator", |bench| Box::pin(pattern(bench))),
    ("consumer protocol refuses a broken pattern", |bench| Box::pin(broken_pattern(bench))),
    ("consumer protocol refuses an unknown assignor", |bench| Box::pin(unknown_assignor(bench))),
    ("consumer protocol keeps a static member's place", |bench| Box::pin(static_member(bench))),
    ("consumer protocol removes a member that does not poll", |bench| Box::pin(poll_interval(bench))),
    ("consumer protocol follows a changed subscription", |bench| Box::pin(resubscribe(bench))),
    ("consumer protocol closes as asked", |bench| Box::pin(close_options(bench))),
    ("consumer protocol takes over a classic group while it runs", |bench| Box::pin(migration(bench))),
];

fn member(bench: &Bench, group: &str, properties: &[(&str, &str)]) -> Result<Consumer, String> {
    let mut all = vec![("group.id", group), ("group.protocol", "consumer")];
    all.extend_from_slice(properties);
    bench.consumer(&all)
}

async fn close(consumer: Consumer) -> Outcome {
    consumer.close(Duration::from_secs(10)).await.map_err(text)
}

/// How many members the group has; 0 when there is no such group.
async fn members_of(bench: &Bench, group: &str) -> Result<usize, String> {
    let request = wire::messages::ConsumerGroupDescribeRequest { group_ids: vec![group.to_owned()], ..Default::default() };
    let answer = bench.admin.coordinator(client::admin::CoordinatorKind::Group, group, request).await.map_err(text)?;
    Ok(answer.groups.first().map_or(0, |group| group.members.len()))
}

async fn sharing(bench: &Bench, assignor: Option<&str>) -> Outcome {
    let name = format!("new-sharing-{}", assignor.unwrap_or("default"));
    let topic = bench.topic(&name, 6).await?;
    let group = bench.name(&name);
    let join = || -> Result<Consumer, String> {
        let properties: Vec<(&str, &str)> = assignor.map(|assignor| ("group.remote.assignor", assignor)).into_iter().collect();
        let mut consumer = member(bench, &group, &properties)?;
        consumer.subscribe([&topic]).map_err(text)?;
        Ok(consumer)
    };
    let mut members = vec![join()?];
    settle(&mut members, shared_evenly(6)).await?;
    members.push(join()?);
    settle(&mut members, shared_evenly(6)).await?;
    members.push(join()?);
    settle(&mut members, shared_evenly(6)).await?;
    close(members.remove(0)).await?;
    settle(&mut members, shared_evenly(6)).await?;
    Ok(())
}

/// What a listener was told, without assignments that add nothing: the coordinator may need a moment for a new topic.
fn news(mut lines: Vec<String>) -> Vec<String> {
    lines.retain(|line| line != "+0");
    lines
}

async fn listener(bench: &Bench) -> Outcome {
    let topic = bench.topic("new-listener", 4).await?;
    let group = bench.name("new-listener");
    let log = Log::default();
    let mut members = vec![member(bench, &group, &[])?];
    members[0].set_rebalance_listener(Box::new(log.clone()));
    members[0].subscribe([&topic]).map_err(text)?;
    settle(&mut members, shared_evenly(4)).await?;
    let seen = news(log.take());
    ensure(seen == ["+4"], || format!("{seen:?} on joining"))?;
    let before = members[0].assignment();
    let mut second = member(bench, &group, &[])?;
    second.subscribe([&topic]).map_err(text)?;
    members.push(second);
    settle(&mut members, shared_evenly(4)).await?;
    let kept = members[0].assignment();
    ensure(kept.iter().all(|partition| before.contains(partition)), || format!("{kept:?} of {before:?}"))?;
    let seen = log.take();
    ensure(news(seen.clone()) == ["-2"], || format!("{seen:?} when another joined"))?;
    close(members.pop().ok_or("no member")?).await?;
    settle(&mut members, shared_evenly(4)).await?;
    let seen = news(log.take());
    ensure(seen == ["+2"], || format!("{seen:?} when it left"))?;
    close(members.remove(0)).await?;
    let seen = log.take();
    ensure(seen == ["-4"], || format!("{seen:?} on close"))?;
    ensure(members_of(bench, &group).await? == 0, || "the member is still there".to_owned())
}

async fn coming_and_going(bench: &Bench) -> Outcome {
    let topic = bench.topic("new-going", 4).await?;
    let group = bench.name("new-going");
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
    let mut members = vec![join()?];
    let (mut seen, mut joined) = (Vec::new(), false);
    let deadline = Instant::now() + Duration::from_secs(60);
    while seen.len() < 4_000 {
        ensure(Instant::now() < deadline, || format!("{} of 4000 records", seen.len()))?;
        for consumer in &mut members {
            let records = consumer.poll(Duration::from_millis(50)).await.map_err(text)?;
            if records.is_empty() {
                continue;
            }
            match consumer.commit().await {
                Ok(()) => seen.extend(records.iter().map(|record| (record.partition, record.offset))),
                // Not ours any more, or not by this epoch: whoever owns the partition reads it again.
                Err(error) if matches!(error.code(), Some(ErrorCode::StaleMemberEpoch | ErrorCode::UnknownMemberId)) => {
                    let committed = consumer.committed(&records.partitions()).await.map_err(text)?;
                    for (partition, offset) in committed {
                        // The partition may be gone meanwhile.
                        let _ = consumer.seek(&partition, offset.map_or(0, |offset| offset.offset));
                    }
                }
                Err(error) => return Err(text(error)),
            }
        }
        if !joined && seen.len() > 500 {
            joined = true;
            members.push(join()?);
        }
        if members.len() == 2 && seen.len() > 2_500 {
            close(members.remove(0)).await?;
        }
    }
    let distinct: BTreeSet<&(i32, i64)> = seen.iter().collect();
    ensure(distinct.len() == 4_000 && seen.len() == 4_000, || format!("{} records, {} distinct", seen.len(), distinct.len()))
}

async fn pattern(bench: &Bench) -> Outcome {
    let first = bench.topic("new-pattern-a", 1).await?;
    bench.topic("other-new-pattern", 1).await?;
    let group = bench.name("new-pattern");
    let mut members = vec![member(bench, &group, &[])?];
    members[0].subscribe_pattern(format!("{}.*", bench.name("new-pattern-"))).map_err(text)?;
    let expected = TopicPartition::new(&first, 0);
    settle(&mut members, |assignments| assignments[0] == [expected.clone()]).await?;
    bench.fill(&first, 0, 5).await?;
    read(&mut members[0], 5).await?;
    let second = bench.topic("new-pattern-b", 2).await?;
    bench.fill(&second, 1, 5).await?;
    settle(&mut members, |assignments| assignments[0].len() == 3).await?;
    Ok(())
}

async fn error_of(consumer: &mut Consumer) -> Result<client::Error, String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        ensure(Instant::now() < deadline, || "no error".to_owned())?;
        if let Err(error) = consumer.poll(Duration::from_millis(200)).await {
            return Ok(error);
        }
    }
}

async fn broken_pattern(bench: &Bench) -> Outcome {
    let mut consumer = member(bench, &bench.name("new-broken"), &[])?;
    consumer.subscribe_pattern("(").map_err(text)?;
    let error = error_of(&mut consumer).await?;
    ensure(error.code() == Some(ErrorCode::InvalidRegularExpression), || format!("{error:?}"))
}

async fn unknown_assignor(bench: &Bench) -> Outcome {
    let topic = bench.topic("new-assignor", 1).await?;
    let mut consumer = member(bench, &bench.name("new-assignor"), &[("group.remote.assignor", "no-such-thing")])?;
    consumer.subscribe([&topic]).map_err(text)?;
    let error = error_of(&mut consumer).await?;
    ensure(error.code() == Some(ErrorCode::UnsupportedAssignor), || format!("{error:?}"))
}

async fn static_member(bench: &Bench) -> Outcome {
    let topic = bench.topic("new-static", 4).await?;
    let group = bench.name("new-static");
    let join = |instance: &str| -> Result<Consumer, String> {
        let mut consumer = member(bench, &group, &[("group.instance.id", instance)])?;
        consumer.subscribe([&topic]).map_err(text)?;
        Ok(consumer)
    };
    let mut members = vec![join("one")?, join("two")?];
    settle(&mut members, shared_evenly(4)).await?;
    let place = members[1].assignment();
    let epoch = members[0].group_metadata().map_err(text)?.generation;
    close(members.pop().ok_or("no member")?).await?;
    members.push(join("two")?);
    settle(&mut members, shared_evenly(4)).await?;
    ensure(members[1].assignment() == place, || format!("{:?} instead of {place:?}", members[1].assignment()))?;
    let now = members[0].group_metadata().map_err(text)?.generation;
    ensure(now == epoch, || format!("epoch {now} instead of {epoch}: the group rebalanced"))?;
    // A second bearer of the same name is refused while the first is there.
    let mut twin = join("two")?;
    let error = error_of(&mut twin).await?;
    ensure(error.code() == Some(ErrorCode::UnreleasedInstanceId), || format!("{error:?}"))
}

async fn poll_interval(bench: &Bench) -> Outcome {
    let topic = bench.topic("new-slow", 2).await?;
    bench.fill(&topic, 0, 10).await?;
    let group = bench.name("new-slow");
    let mut slow = member(bench, &group, &[("max.poll.interval.ms", "1500"), ("enable.auto.commit", "false")])?;
    let log = Log::default();
    slow.set_rebalance_listener(Box::new(log.clone()));
    slow.subscribe([&topic]).map_err(text)?;
    read(&mut slow, 10).await?;
    eventually(async || {
        let members = members_of(bench, &group).await?;
        ensure(members == 0, || format!("{members} members after the poll interval"))
    })
    .await?;
    let error = slow.commit().await.err();
    ensure(error.is_some(), || "a commit outside the group succeeded".to_owned())?;
    let mut members = vec![slow];
    let again = settle(&mut members, |assignments| assignments[0].len() == 2 && news(log.peek()) == ["+2", "lost 2", "+2"]).await?;
    read(&mut members[0], 10 - again.min(10)).await?;
    Ok(())
}

async fn resubscribe(bench: &Bench) -> Outcome {
    let (first, second) = (bench.topic("new-first", 2).await?, bench.topic("new-second", 3).await?);
    let mut members = vec![member(bench, &bench.name("new-resubscribe"), &[])?];
    members[0].subscribe([&first]).map_err(text)?;
    settle(&mut members, shared_evenly(2)).await?;
    members[0].subscribe([&first, &second]).map_err(text)?;
    settle(&mut members, shared_evenly(5)).await?;
    members[0].subscribe([&second]).map_err(text)?;
    settle(&mut members, shared_evenly(3)).await?;
    members[0].unsubscribe().await.map_err(text)?;
    ensure(members[0].assignment().is_empty(), || "partitions after unsubscribe".to_owned())?;
    members[0].subscribe([&first]).map_err(text)?;
    settle(&mut members, shared_evenly(2)).await?;
    Ok(())
}

async fn close_options(bench: &Bench) -> Outcome {
    let topic = bench.topic("new-close", 2).await?;
    for (operation, instance, left) in [
        (LeaveOperation::RemainInGroup, None, 1),
        (LeaveOperation::Default, Some("i"), 1),
        (LeaveOperation::LeaveGroup, Some("i"), 0),
        (LeaveOperation::LeaveGroup, None, 0),
    ] {
        let group = format!("{}-{operation:?}-{}", bench.name("new-close"), instance.unwrap_or("dynamic"));
        let properties: Vec<(&str, &str)> = instance.map(|instance| ("group.instance.id", instance)).into_iter().collect();
        let mut members = vec![member(bench, &group, &properties)?];
        members[0].subscribe([&topic]).map_err(text)?;
        settle(&mut members, shared_evenly(2)).await?;
        members.remove(0).close_with(CloseOptions { operation, ..CloseOptions::default() }).await.map_err(text)?;
        let members = members_of(bench, &group).await?;
        ensure(members == left, || format!("{operation:?} {instance:?}: {members} members"))?;
    }
    Ok(())
}

async fn migration(bench: &Bench) -> Outcome {
    let topic = bench.topic("new-migration", 4).await?;
    let group = bench.name("new-migration");
    let mut members = vec![crate::group::member(bench, &group, &[])?];
    members[0].subscribe([&topic]).map_err(text)?;
    settle(&mut members, shared_evenly(4)).await?;
    let mut new = member(bench, &group, &[])?;
    new.subscribe([&topic]).map_err(text)?;
    members.push(new);
    settle(&mut members, shared_evenly(4)).await?;
    close(members.remove(0)).await?;
    settle(&mut members, shared_evenly(4)).await?;
    let mut old = crate::group::member(bench, &group, &[])?;
    old.subscribe([&topic]).map_err(text)?;
    members.push(old);
    settle(&mut members, shared_evenly(4)).await?;
    close(members.remove(0)).await?;
    settle(&mut members, shared_evenly(4)).await?;
    Ok(())
}
