//! `--describe`: offsets and lag, members, or state of groups, in Kafka's tables.

use std::collections::{BTreeMap, BTreeSet};

use base::TopicPartition;
use client::{Admin, IsolationLevel, OffsetAndMetadata, OffsetSpec};

use super::group::{self, Group};
use super::lag_seconds::{self, Standing};
use super::{MISSING, executed, group_ids, print_error, wrapped};
use crate::failure::Failure;
use crate::options::Options;
use crate::out::{complain, say, say_part};
use crate::time;

pub type Committed = BTreeMap<TopicPartition, OffsetAndMetadata>;

pub async fn run(admin: &Admin, options: &Options) -> Result<(), Failure> {
    let verbose = options.has("verbose");
    let mut groups = BTreeMap::new();
    for id in group_ids(admin, options).await? {
        let group = group::describe(admin, &id).await.map_err(executed)?;
        groups.insert(id, group);
    }
    for group in groups.values() {
        if options.has("members") {
            members(group, verbose);
        } else if options.has("state") {
            state(group, verbose);
        } else {
            offsets(admin, group, verbose, options.has("lag-seconds")).await?;
        }
    }
    Ok(())
}

/// Says what the state makes worth saying; whether the table of `rows` rows is printed.
fn has_rows(group: &Group, rows: usize) -> bool {
    match group.state.as_str() {
        "Dead" => print_error(&format!("Consumer group '{}' does not exist.", group.id)),
        "Empty" => complain!("\nConsumer group '{}' has no active members.", group.id),
        "Stable" => {}
        _ => complain!("\nWarning: Consumer group '{}' is rebalancing.", group.id),
    }
    group.state != "Dead" && rows > 0
}

struct Row {
    topic: String,
    partition: i32,
    epoch: Option<i32>,
    offset: Option<i64>,
    end: Option<i64>,
    consumer: String,
    host: String,
    client: String,
}

/// Offsets that a group has committed.
pub async fn committed(admin: &Admin, group: &str) -> Result<Committed, Failure> {
    let found = admin.list_group_offsets(group, None, false).await.map_err(wrapped)?;
    let mut offsets = BTreeMap::new();
    for (partition, result) in found {
        if let Some(offset) = result.map_err(wrapped)? {
            offsets.insert(partition, offset);
        }
    }
    Ok(offsets)
}

/// The ends of partitions; those without a leader are left out.
async fn ends(admin: &Admin, partitions: &BTreeSet<TopicPartition>) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let topics: BTreeSet<&String> = partitions.iter().map(|partition| &partition.topic).collect();
    let topics: Vec<String> = topics.into_iter().cloned().collect();
    let mut led = BTreeSet::new();
    for (topic, described) in admin.describe_topics(&topics).await.map_err(wrapped)? {
        for p in described.map_err(wrapped)?.partitions {
            if p.leader.is_some() {
                led.insert(TopicPartition::new(&topic, p.partition));
            }
        }
    }
    let wanted: Vec<_> = partitions.intersection(&led).map(|partition| (partition.clone(), OffsetSpec::Latest)).collect();
    let mut found = BTreeMap::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    for (partition, listed) in admin.list_offsets(wanted, IsolationLevel::ReadUncommitted).await.map_err(wrapped)? {
        found.insert(partition, listed.map_err(wrapped)?.offset);
    }
    Ok(found)
}

async fn offsets(admin: &Admin, group: &Group, verbose: bool, with_ages: bool) -> Result<(), Failure> {
    let committed = committed(admin, &group.id).await?;
    let mut assigned: BTreeSet<TopicPartition> = BTreeSet::new();
    let mut owners: Vec<_> = group.members.iter().filter(|member| !member.assignment.is_empty()).collect();
    owners.sort_by_key(|member| std::cmp::Reverse(member.assignment.len()));
    for member in &owners {
        assigned.extend(member.assignment.iter().cloned());
    }
    let all: BTreeSet<TopicPartition> = assigned.iter().chain(committed.keys()).cloned().collect();
    let ends = ends(admin, &all).await?;
    let row = |partition: &TopicPartition, consumer: &str, host: &str, client: &str| Row {
        topic: partition.topic.clone(),
        partition: partition.partition,
        epoch: committed.get(partition).and_then(|offset| offset.leader_epoch),
        offset: committed.get(partition).map(|offset| offset.offset),
        end: ends.get(partition).copied(),
        consumer: consumer.to_owned(),
        host: host.to_owned(),
        client: client.to_owned(),
    };
    let mut rows = Vec::new();
    for member in owners {
        let sorted: BTreeSet<&TopicPartition> = member.assignment.iter().collect();
        rows.extend(sorted.into_iter().map(|partition| row(partition, &member.id, &member.host, &member.client_id)));
    }
    rows.extend(
        committed.keys().filter(|partition| !assigned.contains(partition)).map(|partition| row(partition, MISSING, MISSING, MISSING)),
    );
    let mut standings = BTreeMap::new();
    for (partition, committed) in committed.iter().filter(|(_, committed)| with_ages && committed.offset >= 0) {
        if let Some(end) = ends.get(partition) {
            standings.insert(partition.clone(), Standing { offset: committed.offset, end: *end });
        }
    }
    let ages = if with_ages { Some(lag_seconds::ages(admin, &standings, time::wall_ms()).await) } else { None };
    if has_rows(group, rows.len()) {
        print_offsets(&group.id, &rows, verbose, ages.as_ref());
    }
    Ok(())
}

/// `ages` are the seconds of `--lag-seconds`; without them the table is Kafka's.
fn print_offsets(group: &str, rows: &[Row], verbose: bool, ages: Option<&BTreeMap<TopicPartition, i64>>) {
    let width = |of: &dyn Fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0).max(15);
    let (topics, consumers, hosts) = (width(&|row| row.topic.len()), width(&|row| row.consumer.len()), width(&|row| row.host.len()));
    let groups = group.len().max(15);
    let line = |cells: [&str; 10], age: &str| {
        let [id, topic, partition, epoch, offset, end, lag, consumer, host, client] = cells;
        let age = if ages.is_some() { format!(" {age:15}") } else { String::new() };
        let epoch = if verbose { format!(" {epoch:15}") } else { String::new() };
        say_part!(
            "\n{id:groups$} {topic:topics$} {partition:10}{epoch} {offset:15} {end:15} {lag:15}{age} {consumer:consumers$} {host:hosts$} {client}"
        );
    };
    line(
        ["GROUP", "TOPIC", "PARTITION", "LEADER-EPOCH", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID", "HOST", "CLIENT-ID"],
        "LAG-SECONDS",
    );
    let text = |number: Option<i64>| number.map_or(MISSING.to_owned(), |number| number.to_string());
    for row in rows {
        let lag = row.offset.filter(|offset| *offset != -1).zip(row.end).map(|(offset, end)| end - offset);
        let age = ages.and_then(|ages| ages.get(&TopicPartition::new(&row.topic, row.partition)).copied());
        let cells = [
            group,
            &row.topic,
            &row.partition.to_string(),
            &text(row.epoch.map(i64::from)),
            &text(row.offset),
            &text(row.end),
            &text(lag),
            &row.consumer,
            &row.host,
            &row.client,
        ];
        line(cells, &text(age));
    }
    say!();
}

/// `a:0,1;b:2`
fn assignment_text(partitions: &[TopicPartition]) -> String {
    let mut topics: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().insert(partition.partition);
    }
    let text =
        |(topic, numbers): (&str, BTreeSet<i32>)| format!("{topic}:{}", numbers.iter().map(i32::to_string).collect::<Vec<_>>().join(","));
    let mut list: Vec<String> = topics.into_iter().map(text).collect();
    list.sort();
    if list.is_empty() { MISSING.to_owned() } else { list.join(";") }
}

fn members(group: &Group, verbose: bool) {
    let list = &group.members;
    let shown = has_rows(group, list.len());
    let width = |least: usize, of: &dyn Fn(&group::Member) -> usize| {
        if shown { list.iter().map(of).max().unwrap_or(0).max(least) } else { least }
    };
    let groups = if shown { group.id.len().max(15) } else { 15 };
    let ids = width(15, &|member| member.id.len());
    let instances = width(17, &|member| member.instance_id.as_ref().map_or(0, String::len));
    let hosts = width(15, &|member| member.host.len());
    let clients = width(15, &|member| member.client_id.len());
    let current = width(20, &|member| assignment_text(&member.assignment).len());
    let target = width(20, &|member| assignment_text(&member.target).len());
    let has_instances = shown && list.iter().any(|member| member.instance_id.as_ref().is_some_and(|id| !id.is_empty()));
    let migrating = shown && list.iter().any(|m| m.upgraded == Some(false)) && list.iter().any(|m| m.upgraded == Some(true));
    let line = |cells: [&str; 6], more: [&str; 5]| {
        let [id, member, instance, host, client, count] = cells;
        let instance = if has_instances { format!("{instance:instances$} ") } else { String::new() };
        let mut text = format!("{id:groups$} {member:ids$} {instance}{host:hosts$} {client:clients$} {count:15} ");
        if verbose {
            let [epoch, assignment, target_epoch, target_assignment, upgraded] = more;
            text.push_str(&format!("{epoch:15} {assignment:current$} {target_epoch:15} {target_assignment:target$}"));
            if migrating {
                text.push_str(&format!(" {upgraded}"));
            }
        }
        say!("{text}");
    };
    say!();
    line(
        ["GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS"],
        ["CURRENT-EPOCH", "CURRENT-ASSIGNMENT", "TARGET-EPOCH", "TARGET-ASSIGNMENT", "UPGRADED"],
    );
    let text = |number: Option<i32>| number.map_or(MISSING.to_owned(), |number| number.to_string());
    for member in list {
        line(
            [
                &group.id,
                &member.id,
                member.instance_id.as_deref().unwrap_or(""),
                &member.host,
                &member.client_id,
                &member.assignment.len().to_string(),
            ],
            [
                &text(member.epoch),
                &assignment_text(&member.assignment),
                &text(group.assignment_epoch),
                &assignment_text(&member.target),
                &member.upgraded.map_or(MISSING.to_owned(), |upgraded| upgraded.to_string()),
            ],
        );
    }
}

fn state(group: &Group, verbose: bool) {
    if !has_rows(group, 1) {
        return;
    }
    let coordinator = format!("{}:{}  ({})", group.coordinator.host, group.coordinator.port, group.coordinator.id);
    let (coordinators, groups) = (coordinator.len().max(25), group.id.len().max(15));
    let assignor = if group.assignor.is_empty() { MISSING } else { &group.assignor };
    let text = |number: Option<i32>| number.map_or(MISSING.to_owned(), |number| number.to_string());
    let line = |cells: [&str; 7]| {
        let [id, coordinator, assignor, state, epoch, assignment_epoch, count] = cells;
        let epochs = if verbose { format!(" {epoch:15} {assignment_epoch:25}") } else { String::new() };
        say_part!("\n{id:groups$} {coordinator:coordinators$} {assignor:20} {state:20}{epochs} {count}");
    };
    line(["GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE", "GROUP-EPOCH", "TARGET-ASSIGNMENT-EPOCH", "#MEMBERS"]);
    let count = group.members.len().to_string();
    line([&group.id, &coordinator, assignor, &group.state, &text(group.epoch), &text(group.assignment_epoch), &count]);
    say!();
}
