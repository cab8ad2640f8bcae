//! `kafka-consumer-groups`: lists and describes groups of consumers, deletes them or their offsets, and moves their offsets.
//! Kafka counterpart: ConsumerGroupCommand.

mod csv;
mod describe;
pub mod group;
mod lag_seconds;
mod reset;

use std::collections::BTreeMap;
use std::time::Duration;

use base::TopicPartition;
use client::admin::{GroupListing, ListGroupsOptions};
use client::{Admin, Error};
use wire::ErrorCode;

use crate::failure::Failure;
use crate::java::{exception_text, hash_map_order, string_hash};
use crate::options::{Options, Parser};
use crate::out::{complain, say};
use crate::session;

const ACTIONS: [&str; 6] = ["list", "describe", "delete", "reset-offsets", "delete-offsets", "validate-regex"];
pub const SCENARIOS: [&str; 8] =
    ["to-offset", "shift-by", "to-datetime", "by-duration", "to-earliest", "to-latest", "to-current", "from-file"];
const NO_BROKERS: &str =
    "java.util.concurrent.ExecutionException: org.apache.kafka.common.KafkaException: Failed to find brokers to send ListGroups";
/// What stands in a column that has no value.
const MISSING: &str = "-";

fn parser() -> Parser {
    let parser = Parser::documented(
        "This tool helps to list all consumer groups, describe a consumer group, delete consumer group info, or reset consumer group offsets.",
        include_str!("../../help/kafka-consumer-groups.txt"),
    );
    let parser = ["members", "verbose", "offsets"].into_iter().fold(parser, |parser, name| parser.only_with(name, &["describe"]));
    parser
        .only_with("state", &["describe", "list"])
        .only_with("type", &["list"])
        .only_with("lag-seconds", &["describe"])
        .default_of("timeout", "30000")
}

pub fn run(args: &[String]) -> Result<(), Failure> {
    let options = parser().parse(args)?;
    check(&options)?;
    if ACTIONS.iter().filter(|action| options.has(action)).count() != 1 {
        let list: Vec<String> = ACTIONS.iter().map(|action| format!("--{action}")).collect();
        return Err(options.usage(format!("Command must include exactly one action: {}", list.join(", "))));
    }
    if let Some(regex) = options.value("validate-regex")? {
        match coordinator::regex::check(regex) {
            Ok(()) => say!("The regular expression `{regex}` is valid."),
            Err(reason) => say!("The regular expression `{regex}` is invalid: {reason}."),
        }
        return Ok(());
    }
    let config = session::config(&options)?;
    session::block_on(async {
        let done = async {
            let timeout = Duration::from_millis(options.number::<i64>("timeout")?.unwrap_or(30_000).max(0) as u64);
            let admin = Admin::new(config)?.with_timeout(timeout);
            act(&admin, &options).await
        };
        match done.await {
            // Kafka prints this kind of error and ends well.
            Err(Failure::Message(text) | Failure::Options(text)) => {
                print_error(&format!("Executing consumer group command failed due to {text}"));
                Ok(())
            }
            other => other,
        }
    })
}

async fn act(admin: &Admin, options: &Options) -> Result<(), Failure> {
    if options.has("list") {
        list(admin, options).await
    } else if options.has("describe") {
        describe::run(admin, options).await
    } else if options.has("delete") {
        delete(admin, options).await
    } else if options.has("reset-offsets") {
        reset::run(admin, options).await
    } else {
        delete_offsets(admin, options).await
    }
}

fn print_error(text: &str) {
    say!("\nError: {text}");
}

/// An error as Java prints the exception around it.
fn executed(error: Error) -> Failure {
    Failure::new(exception_text(&error))
}

/// As `executed`, with one more exception around it.
fn wrapped(error: Error) -> Failure {
    Failure::new(format!("java.util.concurrent.ExecutionException: {}", exception_text(&error)))
}

fn check(options: &Options) -> Result<(), Failure> {
    if !options.has("validate-regex") {
        options.check_required(&["bootstrap-server"])?;
    }
    let needs_group = |action: &str| -> Result<(), Failure> {
        if options.has(action) && !options.has("group") && !options.has("all-groups") {
            return Err(options.usage(format!("Option [{action}] takes one of these options: [all-groups], [group]")));
        }
        Ok(())
    };
    needs_group("describe")?;
    if options.has("describe") {
        if ["members", "offsets", "state"].iter().filter(|name| options.has(name)).count() > 1 {
            return Err(options.usage("Option [describe] takes at most one of these options: [members], [offsets], [state]"));
        }
        if options.value("state")?.is_some() {
            return Err(options.usage("Option [describe] does not take a value for [state]"));
        }
    }
    needs_group("delete")?;
    if options.has("delete") && options.has("topic") {
        return Err(options.usage("The consumer does not support topic-specific offset deletion from a consumer group."));
    }
    if options.has("delete-offsets") && !(options.has("group") && options.has("topic")) {
        return Err(options.usage("Option [delete-offsets] takes the following options: [topic], [group]"));
    }
    if options.has("reset-offsets") {
        if options.has("dry-run") && options.has("execute") {
            return Err(options.usage("Option [reset-offsets] only accepts one of [execute] and [dry-run]"));
        }
        if !options.has("dry-run") && !options.has("execute") {
            complain!(
                "WARN: No action will be performed as the --execute option is missing. In version 5.0, this command will require either \
                 --dry-run or --execute to be specified. You should add the --dry-run option explicitly if you are scripting this command \
                 and want to keep the current default behavior without prompting."
            );
        }
        needs_group("reset-offsets")?;
        for scenario in SCENARIOS {
            let others: Vec<&str> = SCENARIOS.into_iter().filter(|other| *other != scenario).collect();
            options.check_invalid(scenario, &others)?;
        }
    }
    options.check_invalid("lag-seconds", &["members", "state"])?;
    options.check_invalid("group", &["all-groups"])?;
    options.check_invalid("group", &["list"])?;
    options.check_invalid("topic", &["list", "describe"])
}

pub fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// Groups of consumers, classic and new, in the order in which Java's map has them.
async fn groups(admin: &Admin, types: Vec<String>, states: Vec<String>) -> Result<Vec<GroupListing>, Failure> {
    let filter = ListGroupsOptions { states, types, protocol_types: vec![String::new(), "consumer".into()] };
    let (found, mut errors) = admin.list_groups(filter).await.map_err(|_| Failure::new(NO_BROKERS))?;
    match errors.pop() {
        Some(error) => Err(wrapped(error)),
        None => Ok(hash_map_order(found, 16, |group| string_hash(&group.group_id))),
    }
}

const CONSUMER_TYPES: [&str; 2] = ["Classic", "Consumer"];

async fn group_ids(admin: &Admin, options: &Options) -> Result<Vec<String>, Failure> {
    if !options.has("all-groups") {
        return Ok(options.values("group").into_iter().map(str::to_owned).collect());
    }
    let types = CONSUMER_TYPES.map(str::to_owned).to_vec();
    Ok(groups(admin, types, Vec::new()).await?.into_iter().map(|group| group.group_id).collect())
}

async fn list(admin: &Admin, options: &Options) -> Result<(), Failure> {
    let (has_type, has_state) = (options.has("type"), options.has("state"));
    let types = match options.value("type")?.filter(|text| !text.is_empty()) {
        Some(text) => group_types(text).map_err(|text| options.usage(text))?,
        None if has_type || has_state => CONSUMER_TYPES.map(str::to_owned).to_vec(),
        None => CONSUMER_TYPES.map(str::to_owned).to_vec(),
    };
    let states = match options.value("state")?.filter(|text| !text.is_empty()) {
        Some(text) => group_states(text).map_err(|text| options.usage(text))?,
        None => Vec::new(),
    };
    let groups = groups(admin, types, states).await?;
    if !has_type && !has_state {
        groups.iter().for_each(|group| say!("{}", group.group_id));
        return Ok(());
    }
    let width = groups.iter().map(|group| group.group_id.len().max(15)).max().unwrap_or(15) + 10;
    let line = |id: &str, kind: &str, state: &str| {
        let mut text = format!("{id:width$}");
        if has_type {
            text.push_str(&format!(" {kind:20}"));
        }
        if has_state {
            text.push_str(&format!(" {state:20}"));
        }
        say!("{text}");
    };
    line("GROUP", "TYPE", "STATE");
    for group in &groups {
        let kind = if group.group_type.is_empty() { "Unknown".to_owned() } else { capitalized(&group.group_type) };
        let state = if group.state.is_empty() { "Unknown" } else { &group.state };
        line(&group.group_id, &kind, state);
    }
    Ok(())
}

fn group_types(text: &str) -> Result<Vec<String>, String> {
    let types: Vec<String> = text.to_lowercase().split(',').map(|word| capitalized(word.trim())).collect();
    match types.iter().all(|kind| CONSUMER_TYPES.contains(&kind.as_str())) {
        true => Ok(types),
        false => Err(format!("Invalid types list '{text}'. Valid types are: Consumer, Classic")),
    }
}

fn group_states(text: &str) -> Result<Vec<String>, String> {
    const STATES: [&str; 7] = ["PreparingRebalance", "CompletingRebalance", "Stable", "Dead", "Empty", "Assigning", "Reconciling"];
    let find = |word: &str| STATES.iter().find(|state| state.eq_ignore_ascii_case(word.trim())).map(|state| state.to_string());
    let states: Option<Vec<String>> = text.split(',').map(find).collect();
    states.ok_or_else(|| format!("Invalid state list '{text}'. Valid states are: {}", STATES.join(", ")))
}

async fn delete(admin: &Admin, options: &Options) -> Result<(), Failure> {
    let ids = group_ids(admin, options).await?;
    let results = admin.delete_groups(&ids).await.map_err(wrapped)?;
    let results = hash_map_order(results, 16, |(group, _)| string_hash(group));
    let quoted: Vec<String> = results.iter().filter(|(_, r)| r.is_ok()).map(|(group, _)| format!("'{group}'")).collect();
    let failed: Vec<_> = results.iter().filter_map(|(group, result)| Some((group, result.as_ref().err()?))).collect();
    if failed.is_empty() {
        say!("Deletion of requested consumer groups ({}) was successful.", quoted.join(", "));
        return Ok(());
    }
    print_error("Deletion of some consumer groups failed:");
    failed.iter().for_each(|(group, error)| say!("* Group '{group}' could not be deleted due to: {}", exception_text(error)));
    if !quoted.is_empty() {
        say!("\nThese consumer groups were deleted successfully: {}", quoted.join(", "));
    }
    Ok(())
}

/// `topic:0,1` as partitions.
fn parse_partitions(options: &Options, word: &str) -> Result<Vec<TopicPartition>, Failure> {
    let pieces = crate::args::java_split(word, ':');
    let [topic, partitions] = pieces[..] else {
        return Err(options.usage(format!("Invalid topic arg '{word}', expected topic name and partitions")));
    };
    let parse = |partition: &str| match partition.parse() {
        Ok(number) => Ok(TopicPartition::new(topic, number)),
        Err(_) => Err(options.usage(format!("Invalid partition '{partition}' specified in topic arg '{word}''"))),
    };
    crate::args::java_split(partitions, ',').into_iter().map(parse).collect()
}

async fn delete_offsets(admin: &Admin, options: &Options) -> Result<(), Failure> {
    let group = options.value("group")?.unwrap_or_default();
    let mut results: BTreeMap<TopicPartition, Option<String>> = BTreeMap::new();
    let mut partitions = Vec::new();
    let mut topics = Vec::new();
    for word in options.values("topic") {
        match word.contains(':') {
            true => partitions.extend(parse_partitions(options, word)?),
            false => topics.push(word.to_owned()),
        }
    }
    for (topic, described) in admin.describe_topics(&topics).await.map_err(wrapped)? {
        match described {
            Ok(described) => partitions.extend(described.partitions.iter().map(|p| TopicPartition::new(&topic, p.partition))),
            Err(error) => {
                results.insert(TopicPartition::new(topic, -1), Some(exception_text(&error)));
            }
        }
    }
    partitions.sort();
    partitions.dedup();
    let mut top = ErrorCode::None;
    match admin.delete_group_offsets(group, &partitions).await {
        Ok(deleted) => {
            for (partition, result) in deleted {
                if let Err(error) = &result
                    && top == ErrorCode::None
                {
                    top = error.code().unwrap_or(ErrorCode::UnknownServerError);
                }
                results.insert(partition, result.err().map(|error| exception_text(&error)));
            }
        }
        Err(error) => {
            top = error.code().unwrap_or(ErrorCode::UnknownServerError);
            results.extend(partitions.into_iter().map(|partition| (partition, Some(exception_text(&error)))));
        }
    }
    match top {
        ErrorCode::None => say!("Request succeeded for deleting offsets from group {group}."),
        ErrorCode::InvalidGroupId | ErrorCode::GroupIdNotFound | ErrorCode::GroupAuthorizationFailed | ErrorCode::NonEmptyGroup => {
            print_error(top.message());
        }
        ErrorCode::GroupSubscribedToTopic | ErrorCode::TopicAuthorizationFailed | ErrorCode::UnknownTopicOrPartition => {
            print_error("Encountered some partition-level error, see the follow-up details.");
        }
        other => print_error(&format!("Encountered some unknown error: {}", other.name())),
    }
    let width = results.keys().map(|partition| partition.topic.len()).max().unwrap_or(0).max(15);
    let mut text = format!("\n{:width$} {:10} {:15}", "TOPIC", "PARTITION", "STATUS");
    let mut rows: Vec<_> = results.into_iter().collect();
    rows.sort_by_key(|(partition, _)| format!("{}{}", partition.topic, partition.partition));
    for (partition, error) in rows {
        let number = if partition.partition >= 0 { partition.partition.to_string() } else { MISSING.to_owned() };
        let status = error.map_or("Successful".to_owned(), |error| format!("Error: {error}"));
        text.push_str(&format!("\n{:width$} {number:10} {status:15}", partition.topic));
    }
    say!("{text}");
    Ok(())
}
