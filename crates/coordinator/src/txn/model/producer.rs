//! A transactional producer that does as Java's does, in both generations of the protocol.

use std::collections::BTreeSet;

/// What it has asked, and waits for the answer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Init {
        expected: Option<(i64, i16)>,
    },
    /// `then_append`: transactions v2, where the broker asks for the producer that writes.
    Add {
        partition: usize,
        then_append: bool,
    },
    Verify {
        partition: usize,
        guard: u64,
    },
    End {
        commit: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Starting {
        resume: bool,
    },
    Idle,
    Open {
        txn: usize,
    },
    Ending {
        txn: usize,
        commit: bool,
    },
    /// Something went wrong; the transaction can only be aborted.
    Failed {
        txn: usize,
    },
    Dead,
}

#[derive(Debug)]
pub(super) struct Producer {
    pub(super) id: usize,
    pub(super) phase: Phase,
    pub(super) producer: (i64, i16),
    /// Transactions v2.
    pub(super) v2: bool,
    /// Partitions that this producer has put into its transaction itself.
    pub(super) added: BTreeSet<usize>,
    /// Asked the coordinator about anything in this transaction.
    pub(super) asked: bool,
    pub(super) wants: Option<Request>,
    /// When the coordinator had told it its epoch, in the order of such answers for its id.
    pub(super) turn: u64,
}

impl Producer {
    pub(super) fn new(id: usize, v2: bool) -> Self {
        Producer {
            id,
            phase: Phase::Starting { resume: false },
            producer: (-1, -1),
            v2,
            added: BTreeSet::new(),
            asked: false,
            wants: None,
            turn: 0,
        }
    }

    pub(super) fn name(&self) -> String {
        format!("id{}", self.id)
    }

    pub(super) fn begin(&mut self, txn: usize) {
        self.phase = Phase::Open { txn };
        self.added.clear();
        self.asked = false;
    }

    pub(super) fn die(&mut self) {
        self.phase = Phase::Dead;
        self.wants = None;
    }

    pub(super) fn fail(&mut self) {
        if let Phase::Open { txn } = self.phase {
            self.phase = Phase::Failed { txn };
        }
        self.wants = None;
    }
}
