//! Owns: plans as JSON files hold them, read and written.

use std::collections::BTreeMap;

use base::TopicPartition;
use serde_json::Value;

use crate::failure::Failure;
use crate::json;

const ANY_DIR: &str = "any";

/// A replica: its partition and its broker.
pub type Replica = (TopicPartition, i32);

/// Which brokers shall have which partitions, in the order of the file, and which log directories some of the replicas.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub partitions: Vec<(TopicPartition, Vec<i32>)>,
    pub log_dirs: BTreeMap<Replica, String>,
}

pub fn parse(text: &str) -> Result<Plan, Failure> {
    let value = json::parse(text).ok_or_else(|| Failure::new("The input string is not a valid JSON"))?;
    read(&value).map_err(Failure::new)
}

fn version(value: &Value) -> Result<(), String> {
    match value.get("version").map(json::integer).transpose()? {
        None | Some(1) => Ok(()),
        Some(version) => Err(format!("Not supported version field value {version}")),
    }
}

/// As Java prints a list.
fn shown<T: ToString>(list: &[T]) -> String {
    format!("[{}]", list.iter().map(T::to_string).collect::<Vec<_>>().join(", "))
}

fn read(value: &Value) -> Result<Plan, String> {
    version(json::object(value)?)?;
    let mut plan = Plan::default();
    let entries = value.get("partitions").map(json::array).transpose()?.unwrap_or_default();
    for entry in entries {
        let entry = json::object(entry)?;
        let topic = json::string(json::field(entry, "topic")?)?;
        let partition = TopicPartition::new(topic, json::integer(json::field(entry, "partition")?)?);
        let replicas: Vec<i32> = json::array(json::field(entry, "replicas")?)?.iter().map(json::integer).collect::<Result<_, _>>()?;
        let dirs: Vec<&str> = match entry.get("log_dirs") {
            Some(dirs) => json::array(dirs)?.iter().map(json::string).collect::<Result<_, _>>()?,
            None => vec![ANY_DIR; replicas.len()],
        };
        if dirs.len() != replicas.len() {
            let (replicas, dirs) = (shown(&replicas), shown(&dirs));
            return Err(format!(
                "Size of replicas list {replicas} is different from size of log dirs list {dirs} for partition {partition}"
            ));
        }
        for (replica, dir) in replicas.iter().zip(dirs).filter(|(_, dir)| *dir != ANY_DIR) {
            plan.log_dirs.insert((partition.clone(), *replica), dir.to_owned());
        }
        plan.partitions.push((partition, replicas));
    }
    Ok(plan)
}

/// What stands more than once in a list, each once.
fn twice<T: Clone + PartialEq>(list: &[T]) -> Vec<T> {
    let mut found = Vec::new();
    for (at, item) in list.iter().enumerate() {
        if list[..at].contains(item) && !found.contains(item) {
            found.push(item.clone());
        }
    }
    found
}

fn joined<T: ToString>(list: &[T]) -> String {
    list.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

impl Plan {
    /// Whether it can be executed.
    pub fn check(&self) -> Result<(), Failure> {
        let bad = |text: String| Err(Failure::new(text));
        if self.partitions.is_empty() {
            return bad("Partition reassignment list cannot be empty".to_owned());
        }
        if self.partitions.iter().any(|(_, replicas)| replicas.is_empty()) {
            return bad("Partition replica list cannot be empty".to_owned());
        }
        let again = twice(&self.partitions.iter().map(|(partition, _)| partition.clone()).collect::<Vec<_>>());
        if !again.is_empty() {
            return bad(format!("Partition reassignment contains duplicate topic partitions: {}", joined(&again)));
        }
        let entries = self.partitions.iter().map(|(partition, replicas)| (partition, twice(replicas)));
        let entries = entries.filter(|(_, again)| !again.is_empty());
        let entries: Vec<String> =
            entries.map(|(partition, again)| format!("{partition} contains multiple entries for {}", joined(&again))).collect();
        if !entries.is_empty() {
            return bad(format!("Partition replica lists may not contain duplicate entries: {}", entries.join(". ")));
        }
        Ok(())
    }

    pub fn topics(&self) -> Vec<String> {
        let mut topics: Vec<String> = self.partitions.iter().map(|(partition, _)| partition.topic.clone()).collect();
        topics.sort();
        topics.dedup();
        topics
    }
}

/// The topics of `--generate`.
pub fn parse_topics(text: &str) -> Result<Vec<String>, Failure> {
    let read = || -> Result<Vec<String>, String> {
        let value = json::parse(text).ok_or("The input string is not a valid JSON")?;
        version(json::object(&value)?)?;
        let entries = value.get("topics").map(json::array).transpose()?.unwrap_or_default();
        let topic = |entry: &Value| json::string(json::field(json::object(entry)?, "topic")?).map(str::to_owned);
        let topics: Vec<String> = entries.iter().map(topic).collect::<Result<_, _>>()?;
        match &twice(&topics)[..] {
            [] => Ok(topics),
            again => Err(format!("List of topics to reassign contains duplicate entries: {}", shown(again))),
        }
    };
    read().map_err(Failure::new)
}

/// The brokers of `--generate`.
pub fn parse_brokers(text: &str) -> Result<Vec<i32>, Failure> {
    let number = |word: &str| word.parse::<i32>().map_err(|_| Failure::new(format!("For input string: \"{word}\"")));
    let brokers: Vec<i32> = text.split(',').map(number).collect::<Result<_, _>>()?;
    match &twice(&brokers)[..] {
        [] => Ok(brokers),
        again => Err(Failure::new(format!("Broker list contains duplicate entries: {}", shown(again)))),
    }
}

/// A plan as JSON; a replica without a known directory has any.
pub fn format(partitions: &BTreeMap<TopicPartition, Vec<i32>>, log_dirs: &BTreeMap<Replica, String>) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let entry = |(partition, replicas): (&TopicPartition, &Vec<i32>)| {
        let dir = |replica: &i32| quoted(log_dirs.get(&(partition.clone(), *replica)).map_or(ANY_DIR, String::as_str));
        let dirs: Vec<String> = replicas.iter().map(dir).collect();
        let (topic, number) = (quoted(&partition.topic), partition.partition);
        format!("{{\"topic\":{topic},\"partition\":{number},\"replicas\":[{}],\"log_dirs\":[{}]}}", joined(replicas), dirs.join(","))
    };
    let entries: Vec<String> = partitions.iter().map(entry).collect();
    format!("{{\"version\":1,\"partitions\":[{}]}}", entries.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        match parse(text).and_then(|plan| plan.check()) {
            Err(Failure::Message(text)) => text,
            _ => String::new(),
        }
    }

    #[test]
    fn there_and_back() {
        let text = r#"{"version":1,"partitions":[{"topic":"a","partition":0,"replicas":[1,2],"log_dirs":["any","/d"]}]}"#;
        let plan = parse(text).unwrap();
        assert_eq!(plan.log_dirs.get(&(TopicPartition::new("a", 0), 2)).map(String::as_str), Some("/d"));
        assert_eq!(format(&plan.partitions.iter().cloned().collect(), &plan.log_dirs), text);
    }

    #[test]
    fn what_cannot_be_executed() {
        assert_eq!(refused("{}"), "Partition reassignment list cannot be empty");
        let one = |replicas: &str| format!(r#"{{"partitions":[{{"topic":"a","partition":0,"replicas":{replicas}}}]}}"#);
        assert_eq!(refused(&one("[]")), "Partition replica list cannot be empty");
        assert_eq!(
            refused(&one("[1,1]")),
            "Partition replica lists may not contain duplicate entries: a-0 contains multiple entries for 1"
        );
        assert_eq!(refused(&one("\"x\"")), "Expected JSON array, received \"x\"");
        assert_eq!(refused(r#"{"version":2}"#), "Not supported version field value 2");
    }
}
