//! ListTransactions: the transactional ids that this broker coordinates and that pass the filters.
//! Kafka: `TransactionStateManager.listTransactionStates`.

use crate::answer::Handled;
use crate::context::Context;
use coordinator::regex::Expression;
use coordinator::txn::{ListFilter, TxnStatus};
use wire::ErrorCode;
use wire::messages::{ListTransactionsRequest, ListTransactionsResponse};

pub(super) fn handle(c: &mut Context, request: ListTransactionsRequest) -> Handled {
    let refused = |error: ErrorCode| ListTransactionsResponse { error_code: error.code(), ..Default::default() };
    if let Err(error) = c.broker.txns.all_loaded() {
        return c.answer(&refused(error));
    }
    let pattern = request.transactional_id_pattern.as_deref().filter(|pattern| !pattern.is_empty());
    let pattern = match pattern.map(Expression::compile).transpose() {
        Ok(pattern) => pattern,
        // Without a place for the reason.
        Err(_) => return c.answer(&refused(ErrorCode::InvalidRegularExpression)),
    };
    let (known, unknown): (Vec<String>, Vec<String>) =
        request.state_filters.into_iter().partition(|name| TxnStatus::from_name(name).is_some());
    let filter = ListFilter {
        producer_ids: request.producer_id_filters,
        statuses: (!known.is_empty() || !unknown.is_empty()).then(|| known.iter().filter_map(|name| TxnStatus::from_name(name)).collect()),
        duration_ms: request.duration_filter,
        pattern,
    };
    let transaction_states = c.broker.txns.list(&filter, c.now);
    c.answer(&ListTransactionsResponse { unknown_state_filters: unknown, transaction_states, ..Default::default() })
}
