//! Which producers are being asked about at the transaction coordinator before their first batch of a transaction may be written here
//! (KIP-890). A guard is handed out when the asking begins and must be shown when the batch is appended: a marker that was written in the
//! meantime has taken the state away, so that a late "yes" opens no transaction that nobody would end.
//! Owned by `ProducerState`; lives in memory alone. Kafka: VerificationStateEntry, VerificationGuard.

use std::collections::HashMap;

/// Never given twice by one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerificationGuard {
    number: u64,
    /// Tells the guards of a log from those of the one that took its place.
    started_ms: i64,
}

/// What an append that opens a transaction has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// `transaction.partition.verification.enable` is off, or the batch comes from where no coordinator is asked.
    NotRequired,
    /// `None` if the transaction was open already when it was looked at.
    Required(Option<VerificationGuard>),
}

#[derive(Debug)]
pub(crate) struct VerificationState {
    pub(crate) guard: VerificationGuard,
    /// Of transactions v2: each transaction has an epoch of its own and begins at sequence 0.
    pub(crate) supports_epoch_bump: bool,
    /// No batch above it may come first: a lower one was refused for a while and will be sent again.
    pub(crate) lowest_sequence: i32,
    epoch: i16,
}

#[derive(Debug, Default)]
pub(crate) struct Verifications {
    given: u64,
    by_producer: HashMap<i64, VerificationState>,
}

impl Verifications {
    pub fn get(&self, producer_id: i64) -> Option<&VerificationState> {
        if self.by_producer.is_empty() { None } else { self.by_producer.get(&producer_id) }
    }

    pub fn start(&mut self, producer_id: i64, sequence: i32, epoch: i16, supports_epoch_bump: bool, now_ms: i64) -> VerificationGuard {
        let given = &mut self.given;
        let state = self.by_producer.entry(producer_id).or_insert_with(|| {
            *given += 1;
            let guard = VerificationGuard { number: *given, started_ms: now_ms };
            VerificationState { guard, supports_epoch_bump, lowest_sequence: sequence, epoch }
        });
        if epoch > state.epoch {
            state.epoch = epoch;
            state.lowest_sequence = sequence;
        } else if epoch == state.epoch {
            state.lowest_sequence = state.lowest_sequence.min(sequence);
        }
        state.guard
    }

    /// Whether a transactional batch that is written ends the asking. The marker of a transaction does not end what was begun for the next
    /// one, which has the marker's epoch.
    pub fn is_settled_by(&self, producer_id: i64, epoch: i16, marker: bool) -> bool {
        self.get(producer_id).is_some_and(|state| !(marker && state.supports_epoch_bump && state.epoch == epoch))
    }

    pub fn remove(&mut self, producer_id: i64) {
        self.by_producer.remove(&producer_id);
    }

    pub fn remove_expired(&mut self, now_ms: i64, expiration_ms: i64) {
        self.by_producer.retain(|_, state| now_ms.saturating_sub(state.guard.started_ms) < expiration_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_guard_until_settled_and_the_lowest_sequence_of_the_newest_epoch() {
        let mut all = Verifications::default();
        let first = all.start(7, 5, 1, false, 100);
        assert_eq!(all.start(7, 3, 1, false, 200), first);
        assert_eq!(all.get(7).unwrap().lowest_sequence, 3);
        all.start(7, 9, 0, false, 200);
        assert_eq!(all.get(7).unwrap().lowest_sequence, 3, "an older epoch does not count");
        all.start(7, 9, 2, false, 200);
        assert_eq!(all.get(7).unwrap().lowest_sequence, 9, "a new epoch begins anew");
        all.remove(7);
        assert_ne!(all.start(7, 5, 1, false, 100), first);
    }

    #[test]
    fn a_marker_leaves_what_was_begun_for_the_next_transaction() {
        let mut all = Verifications::default();
        all.start(7, 0, 2, true, 0);
        assert!(!all.is_settled_by(7, 2, true));
        assert!(all.is_settled_by(7, 1, true));
        assert!(all.is_settled_by(7, 2, false));
        all.start(8, 0, 2, false, 0);
        assert!(all.is_settled_by(8, 2, true), "classic transactions keep their epoch");
        assert!(!all.is_settled_by(9, 0, true), "nobody asked");
    }

    #[test]
    fn expires_unanswered() {
        let mut all = Verifications::default();
        all.start(7, 0, 0, false, 100);
        all.remove_expired(149, 50);
        assert!(all.get(7).is_some());
        all.remove_expired(150, 50);
        assert!(all.get(7).is_none());
    }
}
