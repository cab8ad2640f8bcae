//! DescribeTransactions and ListTransactions.

use super::super::ListFilter;
use super::*;
use crate::regex::Expression;

#[test]
fn describes_what_is_at_the_high_watermark() {
    let f = found(TxnStatus::Ongoing, 3, |txn| txn.partitions = [tp(2), tp(0), TopicPartition::new("a", 1)].into());
    let shown = f.shard.describe(ID);
    assert_eq!((shown.error_code, &*shown.transaction_state, shown.producer_id, shown.producer_epoch), (0, "Ongoing", 7, 3));
    assert_eq!((shown.transaction_timeout_ms, shown.transaction_start_time_ms), (TIMEOUT_MS, f.now.wall_ms));
    let topics: Vec<_> = shown.topics.iter().map(|t| (&*t.topic, &*t.partitions)).collect();
    assert_eq!(topics, [("a", &[1][..]), ("t", &[0, 2][..])]);
    assert_eq!(f.shard.describe("other").error_code, ErrorCode::TransactionalIdNotFound.code());
}

#[test]
fn lists_what_passes_every_filter() {
    let f = found(TxnStatus::Ongoing, 3, |_| ());
    let listed = |change: fn(&mut ListFilter), later_ms: i64| {
        let mut filter = ListFilter { duration_ms: -1, ..ListFilter::default() };
        change(&mut filter);
        let mut found = Vec::new();
        f.shard.list(&filter, f.now.wall_ms + later_ms, &mut found);
        found.len() == 1
    };
    assert!(listed(|_| (), 0));
    assert!(listed(|f| f.producer_ids = vec![1, 7], 0));
    assert!(!listed(|f| f.producer_ids = vec![1], 0));
    assert!(listed(|f| f.statuses = Some(vec![TxnStatus::Ongoing]), 0));
    assert!(!listed(|f| f.statuses = Some(vec![TxnStatus::Empty]), 0));
    assert!(!listed(|f| f.statuses = Some(Vec::new()), 0));
    assert!(!listed(|f| f.duration_ms = 10, 10));
    assert!(listed(|f| f.duration_ms = 10, 11));
    assert!(listed(|f| f.pattern = Expression::compile("i.").ok(), 0));
    assert!(!listed(|f| f.pattern = Expression::compile("i").ok(), 0));
}

#[test]
fn states_have_names_and_ids_of_their_own() {
    for (id, status) in (0..).zip(TxnStatus::ALL) {
        assert_eq!(TxnStatus::from_name(status.name()), Some(status));
        assert_eq!(TxnStatus::from_id(id), Some(status));
    }
    assert_eq!((TxnStatus::from_id(8), TxnStatus::from_name("ongoing")), (None, None));
}
