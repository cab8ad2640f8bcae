//! Owns: what a member of a classic group does about each error code, and how an assignment becomes changes of what it owns.
//! Used by: the group task. Pure. Kafka: the response handlers of `AbstractCoordinator` and `ConsumerCoordinator`.

use crate::error::Error;
use base::TopicPartition;
use wire::ErrorCode;

/// What to do after a failed JoinGroup, SyncGroup or Heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask the same coordinator again after a pause.
    RetryLater,
    /// Ask for the coordinator again.
    FindCoordinator,
    /// Join again, as the same member.
    Rejoin,
    /// Join again as a new member; what was owned is lost.
    StartOver,
    /// Tell the application.
    Fail,
}

pub fn after_error(error: &Error) -> Next {
    match error {
        Error::Disconnected(_) | Error::Timeout(_) => return Next::FindCoordinator,
        Error::Broker { .. } => {}
        _ => return Next::Fail,
    }
    match error.code().unwrap_or(ErrorCode::UnknownServerError) {
        ErrorCode::CoordinatorLoadInProgress => Next::RetryLater,
        ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator
        | ErrorCode::BrokerNotAvailable
        | ErrorCode::RequestTimedOut
        | ErrorCode::NetworkException => Next::FindCoordinator,
        ErrorCode::RebalanceInProgress => Next::Rejoin,
        ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => Next::StartOver,
        code if code.is_retriable() => Next::RetryLater,
        _ => Next::Fail,
    }
}

/// What changes when `assigned` follows `owned`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub revoked: Vec<TopicPartition>,
    pub added: Vec<TopicPartition>,
}

pub fn difference(owned: &[TopicPartition], assigned: &[TopicPartition]) -> Difference {
    Difference {
        revoked: owned.iter().filter(|partition| !assigned.contains(partition)).cloned().collect(),
        added: assigned.iter().filter(|partition| !owned.contains(partition)).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_lead_where_java_goes() {
        let next = |code| after_error(&Error::broker(code, None));
        assert_eq!(next(ErrorCode::CoordinatorLoadInProgress), Next::RetryLater);
        assert_eq!(next(ErrorCode::NotCoordinator), Next::FindCoordinator);
        assert_eq!(next(ErrorCode::RebalanceInProgress), Next::Rejoin);
        assert_eq!(next(ErrorCode::IllegalGeneration), Next::StartOver);
        assert_eq!(next(ErrorCode::FencedInstanceId), Next::Fail);
        assert_eq!(next(ErrorCode::InconsistentGroupProtocol), Next::Fail);
        assert_eq!(after_error(&Error::Disconnected(String::new())), Next::FindCoordinator);
    }

    #[test]
    fn differences() {
        let tp = |partition| TopicPartition::new("t", partition);
        let found = difference(&[tp(0), tp(1)], &[tp(1), tp(2)]);
        assert_eq!(found, Difference { revoked: vec![tp(0)], added: vec![tp(2)] });
    }
}
