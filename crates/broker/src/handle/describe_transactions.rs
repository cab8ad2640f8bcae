//! DescribeTransactions: each transactional id by itself. Kafka: `TransactionCoordinator.handleDescribeTransactions`.

use crate::answer::Handled;
use crate::context::Context;
use wire::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};

pub(super) fn handle(c: &mut Context, request: DescribeTransactionsRequest) -> Handled {
    let transaction_states = request.transactional_ids.iter().map(|id| c.broker.txns.describe(id)).collect();
    c.answer(&DescribeTransactionsResponse { transaction_states, ..Default::default() })
}
