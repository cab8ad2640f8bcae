//! `--reset-offsets`: works out new offsets in one of nine ways, shows or exports them, and commits them with `--execute`.
//! Kafka counterpart: ConsumerGroupCommand.resetOffsets, OffsetsUtils.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use base::TopicPartition;
use client::{Admin, IsolationLevel, OffsetAndMetadata, OffsetSpec};
use wire::ErrorCode;

use super::{SCENARIOS, csv, describe, executed, group, group_ids, parse_partitions, print_error, wrapped};
use crate::failure::Failure;
use crate::java::{hash_map_order, partition_hash, string_hash};
use crate::options::Options;
use crate::out::{complain, say, say_part};
use crate::time;

type Plan = Vec<(TopicPartition, i64)>;

pub async fn run(admin: &Admin, options: &Options) -> Result<(), Failure> {
    let mut plans: Vec<(String, Plan)> = Vec::new();
    for id in group_ids(admin, options).await? {
        let state = match group::describe(admin, &id).await {
            Ok(group) => group.state,
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => "Dead".to_owned(),
            Err(error) => return Err(wrapped(error)),
        };
        if state == "Empty" || state == "Dead" {
            let plan = reset_group(admin, options, &id).await?;
            plans.push((id, hash_map_order(plan, 16, |(p, _)| partition_hash(&p.topic, p.partition))));
        } else {
            print_error(&format!("Assignments can only be reset if the group '{id}' is inactive, but the current state is {state}."));
            plans.push((id, Vec::new()));
        }
    }
    let plans = hash_map_order(plans, 16, |(group, _)| string_hash(group));
    if options.has("export") {
        let single = options.values("group").len() == 1;
        let lines = plans.iter().flat_map(|(group, plan)| {
            plan.iter().map(move |(partition, offset)| csv::line((!single).then_some(group), partition, *offset))
        });
        say!("{}", lines.collect::<String>());
    } else {
        print(&plans);
    }
    Ok(())
}

fn print(plans: &[(String, Plan)]) {
    let groups = plans.iter().map(|(group, _)| group.len()).max().unwrap_or(0).max(15);
    let topics = plans.iter().flat_map(|(_, plan)| plan).map(|(partition, _)| partition.topic.len()).max().unwrap_or(0).max(15);
    if !plans.is_empty() {
        say_part!("\n{:groups$} {:topics$} {:10} {}", "GROUP", "TOPIC", "PARTITION", "NEW-OFFSET");
    }
    for (group, plan) in plans {
        for (partition, offset) in plan {
            say_part!("\n{group:groups$} {:topics$} {:<10} {offset}", partition.topic, partition.partition);
        }
    }
    say!();
}

async fn reset_group(admin: &Admin, options: &Options, group: &str) -> Result<Plan, Failure> {
    let partitions = scope(admin, options, group).await?;
    check_partitions(admin, &partitions).await?;
    let plan = new_offsets(admin, options, group, partitions).await?;
    if options.has("execute") {
        let offsets: BTreeMap<TopicPartition, OffsetAndMetadata> =
            plan.iter().map(|(partition, offset)| (partition.clone(), OffsetAndMetadata::new(*offset))).collect();
        if !offsets.is_empty() {
            for (_, result) in admin.alter_group_offsets(group, offsets).await? {
                result?;
            }
        }
    }
    Ok(plan)
}

/// The partitions whose offsets are moved; none yet when they stand in a file.
async fn scope(admin: &Admin, options: &Options, group: &str) -> Result<Vec<TopicPartition>, Failure> {
    if options.has("all-topics") {
        return Ok(describe::committed(admin, group).await?.into_keys().collect());
    }
    if !options.has("topic") {
        return match options.has("from-file") {
            true => Ok(Vec::new()),
            false => Err(options.usage("One of the reset scopes should be defined: --all-topics, --topic.")),
        };
    }
    let (mut partitions, mut topics) = (Vec::new(), Vec::new());
    for word in options.values("topic") {
        match word.contains(':') {
            true => partitions.extend(parse_partitions(options, word)?),
            false => topics.push(word.to_owned()),
        }
    }
    for (topic, described) in admin.describe_topics(&topics).await.map_err(executed)? {
        partitions.extend(described.map_err(executed_cause)?.partitions.iter().map(|p| TopicPartition::new(&topic, p.partition)));
    }
    Ok(partitions)
}

/// Kafka's tool takes the exception out of what wraps it here.
fn executed_cause(error: client::Error) -> Failure {
    error.into()
}

async fn check_partitions(admin: &Admin, partitions: &[TopicPartition]) -> Result<(), Failure> {
    let topics: BTreeSet<&String> = partitions.iter().map(|partition| &partition.topic).collect();
    let topics: Vec<String> = topics.into_iter().cloned().collect();
    let mut leaders: BTreeMap<TopicPartition, bool> = BTreeMap::new();
    for (topic, described) in admin.describe_topics(&topics).await.map_err(wrapped)? {
        for p in described.map_err(wrapped)?.partitions {
            leaders.insert(TopicPartition::new(&topic, p.partition), p.leader.is_some());
        }
    }
    let list = |wrong: &dyn Fn(&TopicPartition) -> bool| -> Vec<String> {
        partitions.iter().filter(|partition| wrong(partition)).map(TopicPartition::to_string).collect()
    };
    let missing = list(&|partition| !leaders.contains_key(partition));
    if !missing.is_empty() {
        return Err(Failure::new(format!("The partitions \"{}\" do not exist", missing.join(","))));
    }
    let leaderless = list(&|partition| leaders.get(partition) == Some(&false));
    if !leaderless.is_empty() {
        return Err(Failure::new(format!("The partitions \"{}\" have no leader", leaderless.join(","))));
    }
    Ok(())
}

async fn new_offsets(admin: &Admin, options: &Options, group: &str, partitions: Vec<TopicPartition>) -> Result<Plan, Failure> {
    if let Some(offset) = options.number::<i64>("to-offset")? {
        return in_range(admin, partitions.into_iter().map(|partition| (partition, offset)).collect()).await;
    }
    if options.has("to-earliest") {
        return listed(admin, &partitions, OffsetSpec::Earliest).await;
    }
    if options.has("to-latest") {
        return listed(admin, &partitions, OffsetSpec::Latest).await;
    }
    if let Some(shift) = options.number::<i64>("shift-by")? {
        let committed = describe::committed(admin, group).await?;
        let shifted = |partition: TopicPartition| match committed.get(&partition) {
            Some(current) => Ok((partition, current.offset.saturating_add(shift))),
            None => {
                let text = format!("Cannot shift offset for partition {partition} since there is no current committed offset");
                Err(options.usage(text))
            }
        };
        return in_range(admin, partitions.into_iter().map(shifted).collect::<Result<_, _>>()?).await;
    }
    if let Some(text) = options.value("to-datetime")? {
        let timestamp = time::parse_datetime(text).map_err(|text| Failure::new(format!("java.text.ParseException: {text}")))?;
        return at_time(admin, &partitions, timestamp).await;
    }
    if let Some(text) = options.value("by-duration")? {
        let duration = time::parse_duration(text).map_err(Failure::new)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64);
        return at_time(admin, &partitions, now - duration).await;
    }
    if let Some(file) = options.value("from-file")? {
        return from_file(admin, options, group, file).await;
    }
    if options.has("to-current") {
        let committed = describe::committed(admin, group).await?;
        let (with, without): (Vec<_>, Vec<_>) = partitions.into_iter().partition(|partition| committed.contains_key(partition));
        let mut plan: Plan = with.into_iter().map(|partition| (partition.clone(), committed[&partition].offset)).collect();
        plan.extend(listed(admin, &without, OffsetSpec::Latest).await?);
        return Ok(plan);
    }
    let list: Vec<String> = SCENARIOS.iter().map(|name| format!("[{name}]")).collect();
    Err(options.usage(format!("Option '[reset-offsets]' requires one of the following scenarios: [{}]", list.join(", "))))
}

async fn listed(admin: &Admin, partitions: &[TopicPartition], spec: OffsetSpec) -> Result<Plan, Failure> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = partitions.iter().map(|partition| (partition.clone(), spec)).collect();
    let found = admin.list_offsets(wanted, IsolationLevel::ReadUncommitted).await.map_err(wrapped)?;
    found.into_iter().map(|(partition, listed)| Ok((partition, listed.map_err(wrapped)?.offset))).collect()
}

/// Where a timestamp is behind the last record, the end of the log.
async fn at_time(admin: &Admin, partitions: &[TopicPartition], timestamp: i64) -> Result<Plan, Failure> {
    let found = listed(admin, partitions, OffsetSpec::Timestamp(timestamp)).await?;
    let found = hash_map_order(found, 16, |(partition, _)| partition_hash(&partition.topic, partition.partition));
    let (mut plan, empty): (Plan, Plan) = found.into_iter().partition(|(_, offset)| *offset != -1);
    for (partition, _) in &empty {
        say!("\nWarn: Partition {} from topic {} is empty. Falling back to latest known offset.", partition.partition, partition.topic);
    }
    let empty: Vec<TopicPartition> = empty.into_iter().map(|(partition, _)| partition).collect();
    plan.extend(listed(admin, &empty, OffsetSpec::Latest).await?);
    Ok(plan)
}

/// Offsets outside the log become its start or its end.
async fn in_range(admin: &Admin, wanted: Plan) -> Result<Plan, Failure> {
    let partitions: Vec<TopicPartition> = wanted.iter().map(|(partition, _)| partition.clone()).collect();
    let starts: BTreeMap<_, _> = listed(admin, &partitions, OffsetSpec::Earliest).await?.into_iter().collect();
    let ends: BTreeMap<_, _> = listed(admin, &partitions, OffsetSpec::Latest).await?.into_iter().collect();
    let clamp = |(partition, offset): (TopicPartition, i64)| {
        let (start, end) = (starts.get(&partition).copied().unwrap_or(0), ends.get(&partition).copied().unwrap_or(i64::MAX));
        let bound = if offset > end {
            complain!(
                "WARN New offset ({offset}) is higher than latest offset for topic partition {partition}. Value will be set to {end}"
            );
            end
        } else if offset < start {
            complain!(
                "WARN New offset ({offset}) is lower than earliest offset for topic partition {partition}. Value will be set to {start}"
            );
            start
        } else {
            offset
        };
        (partition, bound)
    };
    Ok(wanted.into_iter().map(clamp).collect())
}

async fn from_file(admin: &Admin, options: &Options, group: &str, file: &str) -> Result<Plan, Failure> {
    let text = std::fs::read_to_string(file).map_err(|_| Failure::new(format!("java.io.IOException: Unable to read file {file}")))?;
    let single = options.values("group").len() == 1;
    let bad = |line: &str| Failure::new(format!("{file}: '{line}' is no [group,]topic,partition,offset"));
    let mut wanted = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let fields = csv::fields(line).ok_or_else(|| bad(line))?;
        let (of, topic, partition, offset) = match &fields[..] {
            [topic, partition, offset] if single => (group, topic, partition, offset),
            [of, topic, partition, offset] => (of.as_str(), topic, partition, offset),
            _ => return Err(bad(line)),
        };
        let (Ok(partition), Ok(offset)) = (partition.trim().parse(), offset.trim().parse()) else { return Err(bad(line)) };
        if of == group {
            wanted.push((TopicPartition::new(topic, partition), offset));
        }
    }
    if wanted.is_empty() {
        print_error(&format!("No reset plan for group {group} found"));
        return Ok(Vec::new());
    }
    in_range(admin, wanted).await
}
