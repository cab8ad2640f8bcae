//! What is told of transactions to those who look at them from outside: DescribeTransactions, ListTransactions, metrics.

use std::collections::BTreeMap;

use wire::ErrorCode;
use wire::messages::{describe_transactions_response, list_transactions_response};

use super::metadata::TxnStatus;
use super::shard::{Txn, TxnShard};
use crate::regex::Expression;

/// What ListTransactions asks for. Empty lists ask for all.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    pub producer_ids: Vec<i64>,
    /// Present when states are asked for, though none of them may be known.
    pub statuses: Option<Vec<TxnStatus>>,
    /// Only transactions that have run for longer; negative for all.
    pub duration_ms: i64,
    pub pattern: Option<Expression>,
}

/// One transactional id, as it is at the high watermark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnView {
    pub transactional_id: String,
    pub producer_id: i64,
    pub status: TxnStatus,
}

impl TxnShard {
    pub fn describe(&self, transactional_id: &str) -> describe_transactions_response::TransactionState {
        let state =
            describe_transactions_response::TransactionState { transactional_id: transactional_id.to_owned(), ..Default::default() };
        let Some(Txn { current, .. }) = self.txns.get(transactional_id) else {
            return describe_transactions_response::TransactionState { error_code: ErrorCode::TransactionalIdNotFound.code(), ..state };
        };
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for partition in &current.partitions {
            topics.entry(&partition.topic).or_default().push(partition.partition);
        }
        let topic_data = |(topic, partitions): (&str, Vec<i32>)| describe_transactions_response::TopicData {
            topic: topic.to_owned(),
            partitions,
            ..Default::default()
        };
        describe_transactions_response::TransactionState {
            transaction_state: current.status.name().to_owned(),
            transaction_timeout_ms: current.timeout_ms,
            transaction_start_time_ms: current.start_ms,
            producer_id: current.producer_id,
            producer_epoch: current.producer_epoch,
            topics: topics.into_iter().map(topic_data).collect(),
            ..state
        }
    }

    pub fn list(&self, filter: &ListFilter, now_ms: i64, found: &mut Vec<list_transactions_response::TransactionState>) {
        for (id, Txn { current, .. }) in &self.txns {
            let wanted = (filter.producer_ids.is_empty() || filter.producer_ids.contains(&current.producer_id))
                && filter.statuses.as_ref().is_none_or(|statuses| statuses.contains(&current.status))
                && (filter.duration_ms < 0 || now_ms.saturating_sub(current.start_ms) > filter.duration_ms)
                && filter.pattern.as_ref().is_none_or(|pattern| pattern.matches(id));
            if wanted {
                found.push(list_transactions_response::TransactionState {
                    transactional_id: id.clone(),
                    producer_id: current.producer_id,
                    transaction_state: current.status.name().to_owned(),
                    ..Default::default()
                });
            }
        }
    }

    pub fn view(&self) -> impl Iterator<Item = TxnView> {
        self.txns.iter().map(|(id, txn)| TxnView {
            transactional_id: id.clone(),
            producer_id: txn.current.producer_id,
            status: txn.current.status,
        })
    }

    /// Transactional ids by state, for metrics.
    pub fn count_by_status(&self, counts: &mut BTreeMap<&'static str, usize>) {
        for txn in self.txns.values() {
            *counts.entry(txn.current.status.name()).or_default() += 1;
        }
    }
}
