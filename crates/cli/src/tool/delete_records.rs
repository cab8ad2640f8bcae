//! `kafka-delete-records`: deletes what lies before given offsets. Kafka counterpart: DeleteRecordsCommand.

use base::TopicPartition;

use crate::failure::Failure;
use crate::java::{exception_text, hash_map_order, partition_hash};
use crate::options::Parser;
use crate::out::say;
use crate::{json, session};

pub fn run(args: &[String]) -> Result<(), Failure> {
    let about = "This tool helps to delete records of the given partitions down to the specified offset.";
    let parser = Parser::documented(about, include_str!("../help/kafka-delete-records.txt"));
    let options = parser.parse(args)?;
    options.check_required(&["bootstrap-server", "offset-json-file"])?;
    let file = options.value("offset-json-file")?.unwrap_or_default();
    let text = std::fs::read_to_string(file).map_err(|error| Failure::new(format!("Unable to read file {file}\nCaused by: {error}")))?;
    let before = read_offsets(&text).map_err(Failure::new)?;
    let config = session::config(&options)?;
    session::block_on(async {
        let admin = session::admin(config)?;
        say!("Executing records delete operation");
        let results = admin.delete_records(before).await?;
        say!("Records delete operation completed:");
        for (partition, result) in hash_map_order(results, 16, |(p, _)| partition_hash(&p.topic, p.partition)) {
            match result {
                Ok(low_watermark) => say!("partition: {partition}\tlow_watermark: {low_watermark}"),
                Err(error) => say!("partition: {partition}\terror: {}", exception_text(&error)),
            }
        }
        Ok(())
    })
}

fn read_offsets(text: &str) -> Result<Vec<(TopicPartition, i64)>, String> {
    let json = json::parse(text).ok_or("The input string is not a valid JSON")?;
    let json = json::object(&json)?;
    match json.get("version").map(json::integer).transpose()? {
        None | Some(1) => {}
        Some(version) => return Err(format!("Not supported version field value {version}")),
    }
    let partitions = json.get("partitions").ok_or("Missing partitions field")?;
    let mut found: Vec<(TopicPartition, i64)> = Vec::new();
    let mut twice = Vec::new();
    for entry in json::array(partitions)? {
        let entry = json::object(entry)?;
        let topic = json::string(json::field(entry, "topic")?)?;
        let partition = TopicPartition::new(topic, json::integer(json::field(entry, "partition")?)?);
        let offset = json::long(json::field(entry, "offset")?)?;
        if found.iter().any(|(known, _)| *known == partition) && !twice.contains(&partition.to_string()) {
            twice.push(partition.to_string());
        }
        found.push((partition, offset));
    }
    match twice.is_empty() {
        true => Ok(found),
        false => Err(format!("Offset json file contains duplicate topic partitions: {}", twice.join(","))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_from_json() {
        let one = r#"{"partitions": [{"topic": "t", "partition": 1, "offset": 7}], "version": 1}"#;
        assert_eq!(read_offsets(one), Ok(vec![(TopicPartition::new("t", 1), 7)]));
        let twice = r#"{"partitions": [{"topic": "t", "partition": 1, "offset": 7}, {"topic": "t", "partition": 1, "offset": 8}]}"#;
        assert_eq!(read_offsets(twice), Err("Offset json file contains duplicate topic partitions: t-1".into()));
        assert_eq!(read_offsets("nope"), Err("The input string is not a valid JSON".into()));
        assert!(read_offsets(r#"{"version": 2, "partitions": []}"#).is_err());
    }
}
