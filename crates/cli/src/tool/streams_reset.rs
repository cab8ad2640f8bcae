//! `kafka-streams-application-reset`: moves the offsets of a Kafka Streams application back (or elsewhere) and deletes its internal topics.
//! Never does: clean the local state of the application. Kafka counterpart: StreamsResetter.

use std::collections::BTreeMap;

use base::TopicPartition;
use client::admin::MemberToRemove;
use client::{Admin, Config, Consumer, Error};
use wire::ErrorCode;

use super::consumer_groups::group::{self, Member};
use crate::failure::Failure;
use crate::java::{exception_text, hash_map_order, partition_hash, string_hash};
use crate::options::{Options, Parser};
use crate::out::{complain, say};
use crate::{properties, session, time};

const ABOUT: &str = include_str!("../help/kafka-streams-application-reset-about.txt");
const SCENARIOS: [&str; 7] = ["to-offset", "to-datetime", "by-duration", "to-earliest", "to-latest", "from-file", "shift-by"];
const REMOVALS_MAX: usize = 4;
const INTERNAL_SUFFIXES: [&str; 4] = ["-changelog", "-repartition", "-subscription-registration-topic", "-subscription-response-topic"];

fn parser() -> Parser {
    Parser::documented(ABOUT, include_str!("../help/kafka-streams-application-reset.txt"))
}

pub fn run(args: &[String]) -> Result<(), Failure> {
    let usage = |message: String| -> Failure { parser().parse_quietly(&[]).map_or_else(|failure| failure, |none| none.usage(message)) };
    if args.is_empty() {
        return Err(usage("Missing required option(s) [application-id]".into()));
    }
    let options = match parser().parse(args) {
        Err(Failure::Options(message)) => return Err(usage(message)),
        other => other?,
    };
    for scenario in SCENARIOS {
        let others: Vec<&str> = SCENARIOS.into_iter().filter(|other| *other != scenario).collect();
        options.check_invalid(scenario, &others)?;
    }
    options.check_invalid("config-file", &["command-config"])?;
    match session::block_on(reset(&options)) {
        Err(Failure::Message(text) | Failure::Options(text)) => {
            complain!("ERROR: {text}");
            Err(Failure::Status(1))
        }
        other => other,
    }
}

/// An error as Java prints the exception, and as it prints the one that a future wraps around it.
fn thrown(error: Error) -> Failure {
    Failure::new(exception_text(&error))
}

fn executed(error: Error) -> Failure {
    Failure::new(format!("java.util.concurrent.ExecutionException: {}", exception_text(&error)))
}

async fn reset(options: &Options) -> Result<(), Failure> {
    let group = options.value("application-id")?.unwrap_or_default();
    let mut file = options.value("command-config")?;
    if options.has("config-file") {
        say!("Option --config-file has been deprecated and will be removed in a future version. Use --command-config instead.");
        file = options.value("config-file")?;
    }
    let mut config = Config::new();
    if let Some(file) = file {
        let missing = |_| Failure::new(format!("java.nio.file.NoSuchFileException: {file}"));
        config.extend(properties::load(file).map_err(missing)?);
    }
    config.set("bootstrap.servers", options.value("bootstrap-server")?.unwrap_or("localhost:9092"));
    let admin = Admin::new(config.clone()).map_err(thrown)?;
    remove_members(&admin, group, options.has("force")).await?;
    let topics = admin.list_topics().await.map_err(executed)?;
    let topics: Vec<String> = topics.into_iter().filter(|topic| !topic.internal).map(|topic| topic.name).collect();
    let topics = hash_map_order(topics, 16, |topic| string_hash(topic));
    if options.has("dry-run") {
        say!("----Dry run displays the actions which will be performed when running Streams Reset Tool----");
    }
    let all_found = move_offsets(config, options, group, &topics).await?;
    delete_internal(&admin, options, group, &topics).await?;
    if all_found { Ok(()) } else { Err(Failure::Status(1)) }
}

/// The tool refuses to work under running members unless it may remove them.
async fn remove_members(admin: &Admin, group: &str, force: bool) -> Result<(), Failure> {
    let mut attempts = 0;
    loop {
        let members = match group::describe(admin, group).await {
            Ok(described) => described.members,
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => return Ok(()),
            Err(error) => return Err(executed(error)),
        };
        if members.is_empty() {
            return Ok(());
        }
        if !force {
            let list: Vec<String> = members.iter().map(member_text).collect();
            return Err(Failure::new(format!(
                "java.lang.IllegalStateException: Consumer group '{group}' is still active and has following members: [{}]. Make sure to \
                 stop all running application instances before running the reset tool. You can use option '--force' to remove active \
                 members from the group.",
                list.join(", ")
            )));
        }
        say!("Force deleting all active members in the group: {group}");
        let identities = members.into_iter().map(|member| match member.instance_id {
            Some(id) => MemberToRemove { member_id: String::new(), group_instance_id: Some(id) },
            None => MemberToRemove { member_id: member.id, group_instance_id: None },
        });
        let removed = admin.remove_members(group, identities.collect(), "member was removed by an admin").await.map_err(executed)?;
        attempts += 1;
        match removed.into_iter().find_map(|(_, result)| result.err()) {
            None => return Ok(()),
            // It may have left by itself.
            Some(error) if error.code() == Some(ErrorCode::UnknownMemberId) && attempts < REMOVALS_MAX => {}
            Some(error) => return Err(executed(error)),
        }
    }
}

fn member_text(member: &Member) -> String {
    let partitions = |list: &[TopicPartition]| list.iter().map(TopicPartition::to_string).collect::<Vec<_>>().join(",");
    let optional = |text: Option<String>| text.unwrap_or_else(|| "null".to_owned());
    format!(
        "(memberId={}, groupInstanceId={}, rackId=null, clientId={}, host={}, assignment=(topicPartitions={}), targetAssignment={}, \
         memberEpoch={}, upgraded={})",
        member.id,
        optional(member.instance_id.clone()),
        member.client_id,
        member.host,
        partitions(&member.assignment),
        if member.epoch.is_some() {
            format!("Optional[(topicPartitions={})]", partitions(&member.target))
        } else {
            "Optional.empty".into()
        },
        optional(member.epoch.map(|epoch| epoch.to_string())),
        optional(member.upgraded.map(|upgraded| upgraded.to_string())),
    )
}

/// The comma-separated topics of an option, given once or more often.
fn listed(options: &Options, name: &str) -> Vec<String> {
    options.values(name).iter().flat_map(|list| list.split(',')).map(str::to_owned).collect()
}

fn shown(list: &[String]) -> String {
    format!("[{}]", list.join(", "))
}

/// Whether all topics that were named exist.
async fn move_offsets(config: Config, options: &Options, group: &str, topics: &[String]) -> Result<bool, Failure> {
    let input = listed(options, "input-topics");
    if options.has("intermediate-topics") {
        say!("WARN: `--intermediate-topics` is deprecated and will be removed in a future release");
    }
    let intermediate = listed(options, "intermediate-topics");
    if input.is_empty() && intermediate.is_empty() {
        say!("No input or intermediate topics specified. Skipping seek.");
        return Ok(true);
    }
    if !input.is_empty() {
        say!("Reset-offsets for input topics {}", shown(&input));
    }
    if !intermediate.is_empty() {
        say!("Seek-to-end for intermediate topics {}", shown(&intermediate));
    }
    let mut wanted: Vec<String> = Vec::new();
    let mut all_found = true;
    for (list, kind, space) in [(&input, "input", " "), (&intermediate, "intermediate", "")] {
        let missing: Vec<&String> = list.iter().filter(|topic| !topics.contains(topic)).collect();
        if !missing.is_empty() {
            say!("Following {kind} topics are not found, skipping them");
            missing.iter().for_each(|topic| say!("Topic:{space}{topic}"));
            all_found = false;
        }
        wanted.extend(list.iter().filter(|topic| topics.contains(topic)).cloned());
    }
    wanted.sort();
    wanted.dedup();
    if wanted.is_empty() {
        return Ok(all_found);
    }
    let mut mover = Mover::new(config, group, wanted, &input).await?;
    if !mover.input.is_empty() {
        say!("Following input topics offsets will be reset to (for consumer group {group})");
        mover.move_input(options).await?;
        for partition in mover.input.clone() {
            let position = mover.consumer.position(&partition).await.map_err(thrown)?;
            say!("Topic: {} Partition: {} Offset: {position}", partition.topic, partition.partition);
        }
    }
    if !mover.intermediate.is_empty() {
        say!("Following intermediate topics offsets will be reset to end (for consumer group {group})");
        mover.intermediate.iter().for_each(|partition| say!("Topic: {}", partition.topic));
        mover.consumer.seek_to_end(&mover.intermediate).map_err(thrown)?;
    }
    if !options.has("dry-run") {
        for partition in mover.input.iter().chain(&mover.intermediate) {
            mover.consumer.position(partition).await.map_err(thrown)?;
        }
        mover.consumer.commit().await.map_err(thrown)?;
    }
    say!("Done.");
    Ok(all_found)
}

/// A consumer that holds the partitions whose offsets are moved.
struct Mover {
    consumer: Consumer,
    input: Vec<TopicPartition>,
    intermediate: Vec<TopicPartition>,
}

impl Mover {
    async fn new(mut config: Config, group: &str, topics: Vec<String>, input: &[String]) -> Result<Self, Failure> {
        config.set("group.id", group);
        config.set("enable.auto.commit", "false");
        config.set_default("group.protocol", "classic");
        let mut consumer = Consumer::new(config).map_err(thrown)?;
        let mut partitions = Vec::new();
        for topic in topics {
            let found = consumer.partitions_for(&topic).await.map_err(thrown)?;
            partitions.extend(found.into_iter().map(|info| TopicPartition::new(&info.topic, info.partition)));
        }
        consumer.assign(partitions.clone()).map_err(thrown)?;
        let partitions = hash_map_order(partitions, 16, |p| partition_hash(&p.topic, p.partition));
        let (input, intermediate) = partitions.into_iter().partition(|partition| input.contains(&partition.topic));
        Ok(Mover { consumer, input, intermediate })
    }

    async fn move_input(&mut self, options: &Options) -> Result<(), Failure> {
        let failed = |class: &str, text: String| {
            complain!("ERROR: Resetting offsets failed.");
            Failure::new(format!("{class}: {text}"))
        };
        if let Some(offset) = options.number::<i64>("to-offset")? {
            let wanted = self.input.iter().map(|partition| (partition.clone(), offset)).collect();
            self.seek_in_range(wanted).await
        } else if options.has("to-latest") {
            self.consumer.seek_to_end(&self.input).map_err(thrown)
        } else if let Some(by) = options.number::<i64>("shift-by")? {
            let mut wanted = Vec::new();
            for partition in self.input.clone() {
                let position = self.consumer.position(&partition).await.map_err(thrown)?;
                wanted.push((partition, position.saturating_add(by)));
            }
            self.seek_in_range(wanted).await
        } else if let Some(text) = options.value("to-datetime")? {
            let timestamp = time::parse_datetime(text).map_err(|text| failed("java.text.ParseException", text))?;
            self.seek_to_time(timestamp).await
        } else if let Some(text) = options.value("by-duration")? {
            let unreadable = |text| Failure::new(format!("java.time.format.DateTimeParseException: {text}"));
            let duration = time::parse_duration(text).map_err(unreadable)?;
            self.seek_to_time(time::wall_ms().saturating_sub(duration)).await
        } else if let Some(file) = options.value("from-file")? {
            let unreadable = |_| failed("java.io.IOException", format!("Unable to read file {file}"));
            let text = std::fs::read_to_string(file).map_err(unreadable)?;
            let plan = parse_plan(&text).map_err(|text| failed("java.text.ParseException", text))?;
            self.seek_in_range(plan).await
        } else {
            self.consumer.seek_to_beginning(&self.input).map_err(thrown)
        }
    }

    async fn seek_in_range(&mut self, wanted: Vec<(TopicPartition, i64)>) -> Result<(), Failure> {
        let ends = self.consumer.end_offsets(&self.input).await.map_err(thrown)?;
        let starts = self.consumer.beginning_offsets(&self.input).await.map_err(thrown)?;
        let wanted = hash_map_order(wanted, 16, |(p, _)| partition_hash(&p.topic, p.partition));
        let unknown =
            |partition: &TopicPartition| Failure::new(format!("the plan and --input-topics do not agree about partition {partition}"));
        let mut moved = BTreeMap::new();
        for (partition, offset) in wanted {
            let (Some(end), Some(start)) = (ends.get(&partition).copied(), starts.get(&partition).copied()) else {
                return Err(unknown(&partition));
            };
            let offset = if offset >= end {
                say!("New offset ({offset}) is higher than latest offset. Value will be set to {end}");
                end
            } else if offset <= start {
                say!("New offset ({offset}) is lower than earliest offset. Value will be set to {start}");
                start
            } else {
                offset
            };
            moved.insert(partition, offset);
        }
        for partition in &self.input {
            let offset = moved.get(partition).ok_or_else(|| unknown(partition))?;
            self.consumer.seek(partition, *offset).map_err(thrown)?;
        }
        Ok(())
    }

    async fn seek_to_time(&mut self, timestamp: i64) -> Result<(), Failure> {
        let wanted: Vec<_> = self.input.iter().map(|partition| (partition.clone(), timestamp)).collect();
        let found = self.consumer.offsets_for_times(&wanted).await.map_err(thrown)?;
        for partition in &self.input {
            if let Some(Some(listed)) = found.get(partition) {
                self.consumer.seek(partition, listed.offset).map_err(thrown)?;
                continue;
            }
            self.consumer.seek_to_end(std::slice::from_ref(partition)).map_err(thrown)?;
            say!(
                "Partition {} from topic {} is empty, without a committed record. Falling back to latest known offset.",
                partition.partition,
                partition.topic
            );
        }
        Ok(())
    }
}

/// Lines of `topic,partition,offset`.
fn parse_plan(text: &str) -> Result<Vec<(TopicPartition, i64)>, String> {
    if text.is_empty() {
        return Err("Error parsing reset plan CSV file. It is empty,".to_owned());
    }
    let bad = || "Reset plan CSV file is not following the format `TOPIC,PARTITION,OFFSET`.".to_owned();
    let line = |line: &str| match crate::args::java_split(line, ',')[..] {
        [topic, partition, offset] => match (partition.parse(), offset.parse()) {
            (Ok(partition), Ok(offset)) => Ok((TopicPartition::new(topic, partition), offset)),
            _ => Err(bad()),
        },
        _ => Err(bad()),
    };
    crate::args::java_split(text, '\n').into_iter().map(line).collect()
}

fn is_internal(topic: &str) -> bool {
    let numbered = |kind: &str| {
        let rest = topic.strip_suffix("-topic").and_then(|rest| rest.rsplit_once(kind));
        rest.is_some_and(|(before, number)| !before.is_empty() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    INTERNAL_SUFFIXES.iter().any(|suffix| topic.ends_with(suffix))
        || numbered("-KTABLE-FK-JOIN-SUBSCRIPTION-REGISTRATION-")
        || numbered("-KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-")
}

async fn delete_internal(admin: &Admin, options: &Options, group: &str, topics: &[String]) -> Result<(), Failure> {
    let users: Vec<String> = ["input-topics", "intermediate-topics"].iter().flat_map(|name| listed(options, name)).collect();
    let prefix = format!("{group}-");
    let inferred: Vec<String> =
        topics.iter().filter(|topic| !users.contains(topic) && topic.starts_with(&prefix) && is_internal(topic)).cloned().collect();
    let specified = listed(options, "internal-topics");
    let doomed = if specified.is_empty() {
        say!("Deleting inferred internal topics {}", shown(&inferred));
        inferred
    } else if specified.iter().all(|topic| inferred.contains(topic)) {
        say!("Deleting specified internal topics {}", shown(&specified));
        specified
    } else {
        return Err(Failure::new(
            "java.lang.IllegalArgumentException: Invalid topic specified in the --internal-topics option. Ensure that the topics specified \
             are all internal topics. Do a dry run without the --internal-topics option to see the list of all internal topics that can be \
             deleted.",
        ));
    };
    if !options.has("dry-run") && !doomed.is_empty() {
        let mut failed = false;
        for (topic, result) in admin.delete_topics(&doomed).await.map_err(executed)? {
            if let Err(error) = result {
                complain!("ERROR: deleting topic {topic}\njava.util.concurrent.ExecutionException: {}", exception_text(&error));
                failed = true;
            }
        }
        if failed {
            return Err(Failure::new("java.lang.RuntimeException: Encountered an error deleting one or more topics"));
        }
    }
    say!("Done.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_topics_by_their_names() {
        for topic in ["a-x-changelog", "a-repartition", "a-KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-0000000012-topic"] {
            assert!(is_internal(topic), "{topic}");
        }
        for topic in
            ["a-x", "a-changelog-x", "a-KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE--topic", "-KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-1-topic"]
        {
            assert!(!is_internal(topic), "{topic}");
        }
    }

    #[test]
    fn plans() {
        assert_eq!(parse_plan("t,0,5\nt,1,6\n"), Ok(vec![(TopicPartition::new("t", 0), 5), (TopicPartition::new("t", 1), 6)]));
        assert!(parse_plan("t,0\n").unwrap_err().contains("TOPIC,PARTITION,OFFSET"));
        assert!(parse_plan("").unwrap_err().contains("empty"));
    }
}
