//! What a replica currently is in its epoch. Kafka: `EpochState` and its kinds.
//!
//! Persisted (quorum-state): every change of epoch, leader or vote. In memory only: Prospective and Resigned.

use crate::quorum_state::ElectionState;
use crate::voters::{ReplicaKey, VoterSet};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Knows no leader that it could follow; may have voted.
    Unattached {
        epoch: i32,
        leader_id: Option<i32>,
        voted: Option<ReplicaKey>,
    },
    /// Asks, without raising the epoch, whether it would be elected (pre-vote). The only way to become a candidate.
    Prospective {
        epoch: i32,
        leader_id: Option<i32>,
        voted: Option<ReplicaKey>,
        votes: Votes,
    },
    Candidate {
        epoch: i32,
        votes: Votes,
    },
    Leader(Leadership),
    /// Was leader of this epoch, in this process or before a restart, and will not write to it again.
    Resigned {
        epoch: i32,
    },
    Follower {
        epoch: i32,
        leader_id: i32,
        voted: Option<ReplicaKey>,
    },
}

/// Votes in one election, the own included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Votes {
    granted: BTreeSet<i32>,
    rejected: BTreeSet<i32>,
}

impl Votes {
    pub fn of_own(id: i32) -> Self {
        Votes { granted: BTreeSet::from([id]), rejected: BTreeSet::new() }
    }

    pub fn is_won(&self, voters: &VoterSet) -> bool {
        self.granted.iter().filter(|id| voters.get(**id).is_some()).count() >= voters.majority()
    }

    pub fn granting(&self) -> impl Iterator<Item = i32> {
        self.granted.iter().copied()
    }
}

/// A leader's view of its followers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    pub epoch: i32,
    /// Offset of the LeaderChange record; nothing counts as committed before it is.
    pub epoch_start_offset: i64,
    /// Up to where each voter's log is durable; the own after each flush. Unknown voters have none.
    durable_end_offsets: BTreeMap<i32, i64>,
    high_watermark: Option<i64>,
}

impl Leadership {
    pub fn new(epoch: i32, epoch_start_offset: i64) -> Self {
        Leadership { epoch, epoch_start_offset, durable_end_offsets: BTreeMap::new(), high_watermark: None }
    }

    pub fn high_watermark(&self) -> Option<i64> {
        self.high_watermark
    }

    /// Notes how far a voter's log is durable; returns the high watermark if that moved it.
    pub fn on_durable(&mut self, voter: i32, end_offset: i64, voters: &VoterSet) -> Option<i64> {
        self.durable_end_offsets.insert(voter, end_offset);
        let mut ends: Vec<i64> = voters.iter().map(|v| self.durable_end_offsets.get(&v.key.id).copied().unwrap_or(0)).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let candidate = *ends.get(voters.majority() - 1)?;
        // A leader may only commit records of its own epoch; those of earlier ones are committed along with its first.
        if candidate <= self.epoch_start_offset || self.high_watermark.is_some_and(|hw| candidate <= hw) {
            return None;
        }
        self.high_watermark = Some(candidate);
        self.high_watermark
    }
}

impl Role {
    pub fn epoch(&self) -> i32 {
        match self {
            Role::Unattached { epoch, .. }
            | Role::Prospective { epoch, .. }
            | Role::Candidate { epoch, .. }
            | Role::Resigned { epoch }
            | Role::Follower { epoch, .. } => *epoch,
            Role::Leader(leadership) => leadership.epoch,
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Role::Unattached { .. } => "unattached",
            Role::Prospective { .. } => "prospective",
            Role::Candidate { .. } => "candidate",
            Role::Leader(_) => "leader",
            Role::Resigned { .. } => "resigned",
            Role::Follower { .. } => "follower",
        }
    }

    pub fn leader_id(&self, local: ReplicaKey) -> Option<i32> {
        self.election(local).leader_id
    }

    /// What quorum-state says while in this role.
    pub fn election(&self, local: ReplicaKey) -> ElectionState {
        let epoch = self.epoch();
        match self {
            Role::Unattached { leader_id, voted, .. } | Role::Prospective { leader_id, voted, .. } => {
                ElectionState { epoch, leader_id: *leader_id, voted: *voted }
            }
            Role::Candidate { .. } => ElectionState { epoch, leader_id: None, voted: Some(local) },
            Role::Leader(_) | Role::Resigned { .. } => ElectionState { epoch, leader_id: Some(local.id), voted: None },
            Role::Follower { leader_id, voted, .. } => ElectionState { epoch, leader_id: Some(*leader_id), voted: *voted },
        }
    }

    /// Where a replica continues after a restart. Having led means to have resigned: no two records may share offset and epoch, and
    /// what was not flushed may be gone.
    pub fn after_restart(stored: ElectionState, local: ReplicaKey, log_epoch: i32, voters: &VoterSet) -> Role {
        let ElectionState { epoch, leader_id, voted } = stored;
        if epoch < log_epoch {
            return Role::Unattached { epoch: log_epoch, leader_id: None, voted: None };
        }
        match leader_id {
            Some(leader) if leader == local.id => Role::Resigned { epoch },
            None if stored.is_voted(local) => Role::Candidate { epoch, votes: Votes::of_own(local.id) },
            Some(leader_id) if voters.get(leader_id).is_some_and(|leader| !leader.endpoints.is_empty()) => {
                Role::Follower { epoch, leader_id, voted }
            }
            leader_id => Role::Unattached { epoch, leader_id, voted },
        }
    }
}
