//! Histories that are wrong, each in one way: the checker must object, and to nothing else.

use super::history::*;
use std::collections::{BTreeMap, BTreeSet};

const K: Option<u64> = None;

/// Partition 0 plain, 1 compacted, 2 plain and durable; batches 0 and 1 of producer 0 in partition 0, acknowledged at offsets 0 and 2.
fn history() -> History {
    let partitions = vec![Partition::default(), Partition::new(true, false), Partition::new(false, true)];
    let mut history = History { partitions, ..History::default() };
    let first = history.send(0, 0, 0, None, vec![(K, false), (K, false)]);
    let second = history.send(0, 0, 2, None, vec![(K, false)]);
    history.acknowledge(first, 0);
    history.acknowledge(second, 2);
    history
}

fn reading(start: i64, end: i64, records: &[(i64, Name)]) -> Reading {
    let committed = records.iter().map(|(_, name)| *name).collect();
    Reading { start, end, stable: end, records: records.to_vec(), markers: BTreeSet::new(), committed }
}

const ALL: &[(i64, Name)] = &[(0, (0, 0)), (1, (0, 1)), (2, (1, 0))];

fn objects(mut history: History, f: impl FnOnce(&mut History), to: &str) {
    assert!(history.findings.is_empty(), "{:?}", history.findings);
    f(&mut history);
    assert!(history.findings.iter().any(|finding| finding.contains(to)), "{to:?} is not in {:?}", history.findings);
}

fn accepts(mut history: History, f: impl FnOnce(&mut History)) {
    f(&mut history);
    assert!(history.findings.is_empty(), "{:?}", history.findings);
}

#[test]
fn what_is_right_passes() {
    accepts(history(), |h| h.read(0, &reading(0, 3, ALL), None));
    accepts(history(), |h| h.read(0, &reading(0, 3, ALL), Some(End::Process)));
    accepts(history(), |h| h.acknowledge(0, 0));
    // A power cut takes the end of what was not flushed.
    accepts(history(), |h| h.read(0, &reading(0, 2, &ALL[..2]), Some(End::Power)));
    accepts(history(), |h| {
        h.partitions[0].deleted_up_to = 2;
        h.read(0, &reading(2, 3, &ALL[2..]), None);
    });
}

#[test]
fn losses() {
    objects(history(), |h| h.read(0, &reading(0, 2, &ALL[..2]), Some(End::Process)), "is lost");
    objects(history(), |h| h.read(0, &reading(1, 3, &ALL[1..]), None), "nothing was deleted");
    // A power cut makes no holes.
    objects(history(), |h| h.read(0, &reading(0, 3, &[ALL[0], ALL[2]]), Some(End::Power)), "is lost");
    let mut durable = history();
    durable.partitions[0].durable = true;
    objects(durable, |h| h.read(0, &reading(0, 2, &ALL[..2]), Some(End::Power)), "is lost");
    objects(history(), |h| h.read(0, &reading(0, 4, ALL), None), "nothing at offset 3");
}

#[test]
fn repetitions_inventions_and_disorder() {
    let again = [ALL, &[(3, (1, 0))]].concat();
    objects(history(), |h| h.read(0, &reading(0, 4, &again), None), "twice");
    objects(history(), |h| h.acknowledge(1, 3), "twice");
    objects(history(), |h| h.read(0, &reading(0, 4, &[ALL, &[(3, (7, 0))]].concat()), None), "never sent");
    objects(history(), |h| h.read(2, &reading(0, 1, &[(0, (0, 0))]), None), "of partition 0");
    objects(history(), |h| h.read(0, &reading(0, 3, &[(0, (0, 0)), (1, (1, 0)), (2, (0, 1))]), None), "twice");
    let mut more = history();
    let late = more.send(0, 0, 3, None, vec![(K, false)]);
    let later = more.send(0, 0, 4, None, vec![(K, false)]);
    objects(
        more,
        |h| {
            h.acknowledge(later, 3);
            h.acknowledge(late, 4);
        },
        "out of order",
    );
    // Another record where one was.
    let mut more = history();
    let other = more.send(0, 1, 0, None, vec![(K, false)]);
    objects(more, |h| h.acknowledge(other, 2), "has record");
}

#[test]
fn compaction() {
    let mut h = history();
    let keyed = [(Some(1), false), (Some(2), false), (Some(1), false), (Some(2), true)];
    for (offset, record) in keyed.into_iter().enumerate() {
        let batch = h.send(1, 0, offset as i32, None, vec![record]);
        h.acknowledge(batch, offset as i64);
    }
    let at = |offset: i64| (offset, (2 + offset as usize, 0));
    let with = |records: &[i64]| reading(0, 4, &records.iter().map(|o| at(*o)).collect::<Vec<_>>());
    let check = |records: &[i64]| {
        let mut again = History { partitions: h.partitions.clone(), batches: h.batches.clone(), ..History::default() };
        again.read(1, &with(records), None);
        again.findings
    };
    for right in [&[0, 1, 2, 3][..], &[2, 3], &[2], &[0, 2], &[1, 2, 3]] {
        assert!(check(right).is_empty(), "{right:?}: {:?}", check(right));
    }
    assert!(check(&[0, 3])[0].contains("the last record of key 1"));
    assert!(check(&[1, 2])[0].contains("key 2 was deleted"));
}

/// A transaction with one record in partition 0 at offset 3 and one in partition 2 at offset 0, and a commit of group 0.
fn transaction(state: Transaction) -> (History, [(i64, Name); 2]) {
    let mut h = history();
    h.transactions.push(state);
    let one = h.send(0, 1, 0, Some(0), vec![(K, false)]);
    let two = h.send(2, 1, 0, Some(0), vec![(K, false)]);
    h.acknowledge(one, 3);
    h.acknowledge(two, 0);
    h.commits.insert(0, vec![Commit { offset: 5, transaction: Some(0), acknowledged: true }]);
    (h, [(3, (one, 0)), (0, (two, 0))])
}

#[test]
fn transactions_are_whole() {
    let check = |state: Transaction, seen: [bool; 2], group: Option<i64>| {
        let (mut h, [one, two]) = transaction(state);
        let mut first = reading(0, 5, &[ALL, &[one]].concat());
        let mut second = reading(0, 2, &[two]);
        first.markers.insert(4);
        second.markers.insert(1);
        if !seen[0] {
            first.committed.remove(&one.1);
        }
        if !seen[1] {
            second.committed.remove(&two.1);
        }
        h.read(0, &first, None);
        h.read(2, &second, None);
        h.committed(0, group);
        h.check_whole(&BTreeMap::from([(0, first), (2, second)]), &BTreeMap::from([(0, group)]));
        h.findings
    };
    let committed = Transaction::Ended { commit: true };
    assert_eq!(check(committed, [true, true], Some(5)), [""; 0]);
    assert!(!check(committed, [true, false], Some(5)).is_empty());
    assert!(!check(committed, [false, false], Some(5)).is_empty());
    assert!(!check(committed, [true, true], None).is_empty());
    let aborted = Transaction::Ended { commit: false };
    assert_eq!(check(aborted, [false, false], None), [""; 0]);
    assert!(!check(aborted, [true, true], None).is_empty());
    assert!(!check(aborted, [false, false], Some(5)).is_empty());
    let asked = Transaction::Asked { commit: true };
    assert_eq!(check(asked, [true, true], Some(5)), [""; 0]);
    assert_eq!(check(asked, [false, false], None), [""; 0]);
    assert!(!check(asked, [true, false], None).is_empty());
    assert!(!check(asked, [true, true], None).is_empty());
    assert!(!check(Transaction::Open, [true, true], Some(5)).is_empty());
}

#[test]
fn the_last_stable_offset_waits_for_open_transactions() {
    let (h, [one, _]) = transaction(Transaction::Open);
    objects(
        h,
        |h| {
            let mut reading = reading(0, 4, &[ALL, &[one]].concat());
            reading.committed.remove(&one.1);
            h.read(0, &reading, None);
        },
        "has passed an open transaction",
    );
}

#[test]
fn offsets_of_groups() {
    let commits = |acknowledged: [bool; 3]| {
        let mut h = history();
        h.commits.insert(3, (0..3).map(|i| Commit { offset: 10 + i as i64, transaction: None, acknowledged: acknowledged[i] }).collect());
        h
    };
    accepts(commits([true, true, false]), |h| h.committed(3, Some(11)));
    accepts(commits([true, true, false]), |h| h.committed(3, Some(12)));
    accepts(commits([false, false, false]), |h| h.committed(3, None));
    objects(commits([true, true, false]), |h| h.committed(3, Some(10)), "newest");
    objects(commits([true, true, false]), |h| h.committed(3, None), "newest");
    objects(commits([true, true, false]), |h| h.committed(3, Some(13)), "newest");
}
