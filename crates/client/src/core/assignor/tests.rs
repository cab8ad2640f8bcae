//! Results that Java's assignor tests and documentation state, and the invariants of the sticky ones.

use super::*;

fn subscription(topics: &[&str]) -> Subscription {
    Subscription { topics: topics.iter().map(|topic| (*topic).to_owned()).collect(), ..Default::default() }
}

fn subscriptions(members: &[(&str, &[&str])]) -> Subscriptions {
    members.iter().map(|(member, topics)| ((*member).to_owned(), subscription(topics))).collect()
}

fn counts(topics: &[(&str, i32)]) -> PartitionCounts {
    topics.iter().map(|(topic, count)| ((*topic).to_owned(), *count)).collect()
}

/// `c1: t-0 t-1; c2: t-2` for reading and comparing.
fn show(assignments: &Assignments) -> String {
    let member = |(member, partitions): (&String, &Vec<TopicPartition>)| {
        let mut partitions = partitions.clone();
        partitions.sort();
        let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        format!("{member}: {}", names.join(" "))
    };
    assignments.iter().map(member).collect::<Vec<_>>().join("; ")
}

fn check(assignor: Assignor, topics: &[(&str, i32)], members: &[(&str, &[&str])], expected: &str) {
    assert_eq!(show(&assignor.assign(&counts(topics), &subscriptions(members))), expected, "{}", assignor.name());
}

#[test]
fn range_gives_consecutive_partitions_topic_by_topic() {
    let both: &[(&str, &[&str])] = &[("C0", &["t0", "t1"]), ("C1", &["t0", "t1"])];
    // The example of RangeAssignor's documentation.
    check(Assignor::Range, &[("t0", 3), ("t1", 3)], both, "C0: t0-0 t0-1 t1-0 t1-1; C1: t0-2 t1-2");
    check(Assignor::Range, &[("t0", 1)], &[("a", &["t0"]), ("b", &["t0"]), ("c", &["other"])], "a: t0-0; b: ; c: ");
}

#[test]
fn round_robin_deals_all_partitions_in_turn() {
    // Both examples of RoundRobinAssignor's documentation.
    let both: &[(&str, &[&str])] = &[("C0", &["t0", "t1"]), ("C1", &["t0", "t1"])];
    check(Assignor::RoundRobin, &[("t0", 3), ("t1", 3)], both, "C0: t0-0 t0-2 t1-1; C1: t0-1 t1-0 t1-2");
    let unequal: &[(&str, &[&str])] = &[("C0", &["t0"]), ("C1", &["t0", "t1"]), ("C2", &["t0", "t1", "t2"])];
    check(Assignor::RoundRobin, &[("t0", 1), ("t1", 2), ("t2", 3)], unequal, "C0: t0-0; C1: t1-0; C2: t1-1 t2-0 t2-1 t2-2");
}

#[test]
fn static_members_come_first_by_instance_id() {
    let mut members = subscriptions(&[("a", &["t"]), ("b", &["t"]), ("c", &["t"])]);
    members.get_mut("c").unwrap().group_instance_id = Some("i1".into());
    members.get_mut("b").unwrap().group_instance_id = Some("i2".into());
    assert_eq!(show(&Assignor::Range.assign(&counts(&[("t", 3)]), &members)), "a: t-2; b: t-1; c: t-0");
}

#[test]
fn sticky_starts_like_round_robin_and_then_keeps() {
    // Four topics of two partitions, three members, one of which leaves, as in StickyAssignor's documentation.
    let topics = counts(&[("t0", 2), ("t1", 2), ("t2", 2), ("t3", 2)]);
    let all: &[&str] = &["t0", "t1", "t2", "t3"];
    let first = Assignor::Sticky.assign(&topics, &subscriptions(&[("C0", all), ("C1", all), ("C2", all)]));
    assert_eq!(show(&first), "C0: t0-0 t1-1 t3-0; C1: t0-1 t2-0 t3-1; C2: t1-0 t2-1");
    let mut left = subscriptions(&[("C0", all), ("C2", all)]);
    for (member, subscription) in &mut left {
        subscription.user_data = Some(sticky_memory(&first[member], 1));
    }
    let second = Assignor::Sticky.assign(&topics, &left);
    assert_eq!(show(&second), "C0: t0-0 t0-1 t1-1 t3-0; C2: t1-0 t2-0 t2-1 t3-1");
}

fn sticky_memory(partitions: &[TopicPartition], generation: i32) -> Bytes {
    Assignor::Sticky.user_data(&StickyMemory { partitions: Some(partitions.to_vec()), generation }).unwrap()
}

#[test]
fn sticky_with_different_subscriptions() {
    // The second example of StickyAssignor's documentation.
    let topics = counts(&[("t0", 1), ("t1", 2), ("t2", 3)]);
    let members: &[(&str, &[&str])] = &[("C0", &["t0"]), ("C1", &["t0", "t1"]), ("C2", &["t0", "t1", "t2"])];
    let first = Assignor::Sticky.assign(&topics, &subscriptions(members));
    assert_eq!(show(&first), "C0: t0-0; C1: t1-0 t1-1; C2: t2-0 t2-1 t2-2");
    let mut rest = subscriptions(&members[1..]);
    for (member, subscription) in &mut rest {
        subscription.user_data = Some(sticky_memory(&first[member], 1));
    }
    assert_eq!(show(&Assignor::Sticky.assign(&topics, &rest)), "C1: t0-0 t1-0 t1-1; C2: t2-0 t2-1 t2-2");
}

/// Every partition has exactly one owner who wants it, and no two members with equal wishes differ by more than one.
fn check_balanced(topics: &PartitionCounts, members: &Subscriptions, assignments: &Assignments) {
    let mut seen = std::collections::BTreeSet::new();
    for (member, partitions) in assignments {
        for partition in partitions {
            assert!(members[member].topics.contains(&partition.topic));
            assert!(seen.insert(partition.clone()), "{partition} twice");
        }
    }
    for (topic, count) in topics {
        let wanted = members.values().any(|subscription| subscription.topics.contains(topic));
        assert_eq!(seen.iter().filter(|partition| partition.topic == *topic).count() as i32, if wanted { *count } else { 0 });
    }
    for (a, partitions_a) in assignments {
        for (b, partitions_b) in assignments {
            if members[a].topics == members[b].topics {
                assert!(partitions_a.len() <= partitions_b.len() + 1, "{}", show(assignments));
            }
        }
    }
}

#[test]
fn sticky_is_balanced_and_moves_little_whatever_happens() {
    let mut rng = fastrand::Rng::with_seed(42);
    for _ in 0..200 {
        let topics: PartitionCounts = (0..rng.i32(1..6)).map(|number| (format!("t{number}"), rng.i32(1..12))).collect();
        let names: Vec<String> = topics.keys().cloned().collect();
        let uniform = rng.bool();
        let mut members = Subscriptions::new();
        for number in 0..rng.usize(1..8) {
            let wanted = names.iter().filter(|_| uniform || rng.f32() < 0.6).cloned().collect();
            members.insert(format!("m{number}"), Subscription { topics: wanted, ..Default::default() });
        }
        let first = Assignor::Sticky.assign(&topics, &members);
        check_balanced(&topics, &members, &first);
        // Nothing changed: nothing moves.
        for (member, subscription) in &mut members {
            subscription.user_data = Some(sticky_memory(&first[member], 3));
        }
        let again = Assignor::Sticky.assign(&topics, &members);
        assert_eq!(show(&again), show(&first));
        // A member leaves: the others keep what they had.
        let gone = members.keys().next().cloned().unwrap();
        members.remove(&gone);
        let after = Assignor::Sticky.assign(&topics, &members);
        if !members.is_empty() {
            check_balanced(&topics, &members, &after);
        }
        if uniform {
            for (member, partitions) in &after {
                assert!(first[member].iter().all(|partition| partitions.contains(partition)));
            }
        }
    }
}

#[test]
fn cooperative_holds_back_what_changes_hands() {
    let topics = counts(&[("t", 4)]);
    let mut members = subscriptions(&[("a", &["t"])]);
    let first = Assignor::CooperativeSticky.assign(&topics, &members);
    assert_eq!(show(&first), "a: t-0 t-1 t-2 t-3");
    members.insert("b".into(), subscription(&["t"]));
    let a = members.get_mut("a").unwrap();
    (a.owned_partitions, a.generation) = (first["a"].clone(), Some(1));
    let second = Assignor::CooperativeSticky.assign(&topics, &members);
    assert_eq!(show(&second), "a: t-0 t-1; b: ");
    let a = members.get_mut("a").unwrap();
    (a.owned_partitions, a.generation) = (second["a"].clone(), Some(2));
    members.get_mut("b").unwrap().generation = Some(2);
    assert_eq!(show(&Assignor::CooperativeSticky.assign(&topics, &members)), "a: t-0 t-1; b: t-2 t-3");
}

#[test]
fn conflicting_claims_are_settled_by_generation() {
    let topics = counts(&[("t", 2)]);
    let mut members = subscriptions(&[("a", &["t"]), ("b", &["t"])]);
    let partition = TopicPartition::new("t", 0);
    members.get_mut("a").unwrap().user_data = Some(sticky_memory(std::slice::from_ref(&partition), 1));
    members.get_mut("b").unwrap().user_data = Some(sticky_memory(&[partition], 2));
    assert_eq!(show(&Assignor::Sticky.assign(&topics, &members)), "a: t-1; b: t-0");
    members.get_mut("a").unwrap().user_data = Some(Bytes::from_static(b"nonsense"));
    assert_eq!(show(&Assignor::Sticky.assign(&topics, &members)), "a: t-1; b: t-0");
}

/// Members `a` in rack 1, `b` in rack 2 and so on; each partition's replicas by the digits of a text.
fn near(topics: &[(&str, &[&str])], members: &[(&str, &[&str])], expected: &str) {
    let mut subscriptions = subscriptions(members);
    for (member, subscription) in &mut subscriptions {
        let rack = member.bytes().next().map(|first| (first - b'a' + 1).to_string());
        subscription.rack_id = rack.filter(|rack| rack != "26");
    }
    let digits = |text: &str| text.chars().map(String::from).collect::<BTreeSet<String>>();
    let racks: PartitionRacks =
        topics.iter().map(|(topic, racks)| ((*topic).to_owned(), racks.iter().map(|text| digits(text)).collect())).collect();
    let counts = topics.iter().map(|(topic, racks)| ((*topic).to_owned(), racks.len() as i32)).collect();
    assert_eq!(show(&Assignor::Range.assign_near(&counts, &racks, &subscriptions)), expected);
}

#[test]
fn range_prefers_members_near_a_replica() {
    let both: &[(&str, &[&str])] = &[("a", &["t", "u"]), ("b", &["t", "u"])];
    near(&[("t", &["2", "1", "2", "1"])], both, "a: t-1 t-3; b: t-0 t-2");
    // Everywhere is as good as nowhere.
    near(&[("t", &["12", "12", "12"])], both, "a: t-0 t-1; b: t-2");
    near(&[("t", &["3", "3", "4"])], both, "a: t-0 t-1; b: t-2");
    // Nobody gets more than a fair share for being near.
    near(&[("t", &["1", "1", "1", "1"])], both, "a: t-0 t-1; b: t-2 t-3");
    // Topics of the same size keep their numbers together.
    near(&[("t", &["2", "1", "1"]), ("u", &["2", "1", "2"])], both, "a: t-1 t-2 u-1 u-2; b: t-0 u-0");
    // A member without a rack (z) takes what it comes upon.
    near(&[("t", &["1", "2"])], &[("b", &["t"]), ("z", &["t"])], "b: t-1; z: t-0");
}
