//! What Apache Kafka's UniformAssignor and RangeAssignor (4.3.1) answered for random groups that change from round to round, recorded with every
//! hash map's order made the sorted one; ours must be equal in every partition.
//!
//! A line of `testdata/assignments.txt`: `assignor|H or M|partition counts|members|answers`, where H says that all members subscribe to the
//! same topics; members and answers are parted by `;`, the fields of a member (id, instance id, topics, assigned) by `:`, and an assignment
//! is `topic=partition.partition,..`. Topics are numbers.

use std::collections::BTreeSet;

use base::Uuid;

use super::tests::{Group, Member};
use super::{Assignor, Partitions};

fn topic(number: &str) -> Uuid {
    Uuid::from_u128(number.parse::<u128>().unwrap() + 1)
}

fn list(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.split(separator).filter(|part| !part.is_empty())
}

fn assignment(text: &str) -> Partitions {
    let topics = list(text, ',').map(|part| part.split_once('=').unwrap());
    topics.map(|(id, partitions)| (topic(id), list(partitions, '.').map(|partition| partition.parse().unwrap()).collect())).collect()
}

fn member(text: &str) -> Member {
    let [id, instance, topics, assigned] = text.split(':').collect::<Vec<_>>().try_into().unwrap();
    Member {
        id: id.into(),
        instance: Some(instance.to_string()).filter(|instance| !instance.is_empty()),
        topics: list(topics, ',').map(topic).collect::<BTreeSet<Uuid>>(),
        assigned: assignment(assigned),
    }
}

#[test]
fn assigns_as_kafka_does() {
    let mut lines = 0;
    for (at, line) in include_str!("../../testdata/assignments.txt").lines().enumerate() {
        let [assignor, kind, counts, members, answers] = line.split('|').collect::<Vec<_>>().try_into().unwrap();
        let group = Group {
            members: members.split(';').map(member).collect(),
            counts: counts.split(',').enumerate().map(|(id, count)| (topic(&id.to_string()), count.parse().unwrap())).collect(),
        };
        let expected: Vec<Partitions> = answers.split(';').map(assignment).collect();
        let answer = Assignor::from_name(assignor).unwrap().assign(&group.spec(kind == "H")).unwrap();
        assert_eq!(answer, expected, "line {}", at + 1);
        lines += 1;
    }
    assert!(lines > 100);
}
