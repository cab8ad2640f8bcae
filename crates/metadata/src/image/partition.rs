//! One partition as the controller sees it. Kafka: `PartitionRegistration`, `LeaderRecoveryState`, `DirectoryId`.

use base::Uuid;
use wire::messages::{PartitionChangeRecord, PartitionRecord};

/// `leader` of a partition that has none.
pub const NO_LEADER: i32 = -1;
/// `leader` in a change record that leaves the leader as it is.
pub const NO_LEADER_CHANGE: i32 = -2;

/// Reserved ids that stand where a replica's log directory is not a real one.
pub mod directory_id {
    use base::Uuid;
    pub const MIGRATING: Uuid = Uuid::from_u128(0);
    pub const UNASSIGNED: Uuid = Uuid::from_u128(1);
    pub const LOST: Uuid = Uuid::from_u128(2);

    /// The first hundred ids are never given to a directory.
    pub fn is_reserved(id: Uuid) -> bool {
        id.as_u128() < 100
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaderRecoveryState {
    #[default]
    Recovered,
    /// Elected uncleanly; the leader may lack acknowledged records until it says it has recovered.
    Recovering,
}

impl LeaderRecoveryState {
    pub fn from_value(value: i8) -> Option<Self> {
        match value {
            0 => Some(Self::Recovered),
            1 => Some(Self::Recovering),
            _ => None,
        }
    }

    pub fn value(self) -> i8 {
        self as i8
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub replicas: Vec<i32>,
    /// Log directory of each replica, as many as replicas.
    pub directories: Vec<Uuid>,
    pub isr: Vec<i32>,
    pub removing_replicas: Vec<i32>,
    pub adding_replicas: Vec<i32>,
    /// Eligible leader replicas (KIP-966).
    pub elr: Vec<i32>,
    pub last_known_elr: Vec<i32>,
    /// `NO_LEADER` when there is none.
    pub leader: i32,
    pub leader_recovery_state: LeaderRecoveryState,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
}

impl Partition {
    pub fn from_record(record: &PartitionRecord) -> Result<Self, String> {
        Ok(Partition {
            directories: directories_or_migrating(&record.directories, record.replicas.len())?,
            replicas: record.replicas.clone(),
            isr: record.isr.clone(),
            removing_replicas: record.removing_replicas.clone(),
            adding_replicas: record.adding_replicas.clone(),
            elr: record.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_elr: record.last_known_elr.clone().unwrap_or_default(),
            leader: record.leader,
            leader_recovery_state: recovery_state(record.leader_recovery_state)?,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
        })
    }

    pub fn to_record(&self, topic_id: Uuid, partition_id: i32) -> PartitionRecord {
        let unless_empty = |ids: &Vec<i32>| (!ids.is_empty()).then(|| ids.clone());
        PartitionRecord {
            partition_id,
            topic_id,
            replicas: self.replicas.clone(),
            isr: self.isr.clone(),
            removing_replicas: self.removing_replicas.clone(),
            adding_replicas: self.adding_replicas.clone(),
            leader: self.leader,
            leader_recovery_state: self.leader_recovery_state.value(),
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            directories: self.directories.clone(),
            eligible_leader_replicas: unless_empty(&self.elr),
            last_known_elr: unless_empty(&self.last_known_elr),
            ..Default::default()
        }
    }

    /// This partition after `change`: every change is a new partition epoch, every named leader (even the same) a new leader epoch.
    pub fn merge(&self, change: &PartitionChangeRecord) -> Result<Self, String> {
        let pick = |new: &Option<Vec<i32>>, old: &Vec<i32>| new.as_ref().unwrap_or(old).clone();
        let replicas = pick(&change.replicas, &self.replicas);
        let directories = directories_or_migrating(change.directories.as_ref().unwrap_or(&self.directories), replicas.len())?;
        let leader_changes = change.leader != NO_LEADER_CHANGE;
        Ok(Partition {
            directories,
            isr: pick(&change.isr, &self.isr),
            removing_replicas: pick(&change.removing_replicas, &self.removing_replicas),
            adding_replicas: pick(&change.adding_replicas, &self.adding_replicas),
            elr: pick(&change.eligible_leader_replicas, &self.elr),
            last_known_elr: pick(&change.last_known_elr, &self.last_known_elr),
            replicas,
            leader: if leader_changes { change.leader } else { self.leader },
            leader_recovery_state: match change.leader_recovery_state {
                -1 => self.leader_recovery_state,
                value => recovery_state(value)?,
            },
            leader_epoch: self.leader_epoch + i32::from(leader_changes),
            partition_epoch: self.partition_epoch + 1,
        })
    }

    pub fn has_leader(&self) -> bool {
        self.leader != NO_LEADER
    }

    /// The first replica leads when all is well.
    pub fn preferred_leader(&self) -> i32 {
        self.replicas.first().copied().unwrap_or(NO_LEADER)
    }

    pub fn has_preferred_leader(&self) -> bool {
        self.leader == self.preferred_leader()
    }

    pub fn is_reassigning(&self) -> bool {
        !self.removing_replicas.is_empty() || !self.adding_replicas.is_empty()
    }

    pub fn directory_of(&self, replica: i32) -> Option<Uuid> {
        let index = self.replicas.iter().position(|id| *id == replica)?;
        self.directories.get(index).copied()
    }
}

fn recovery_state(value: i8) -> Result<LeaderRecoveryState, String> {
    LeaderRecoveryState::from_value(value).ok_or_else(|| format!("leader recovery state {value} is not known"))
}

fn directories_or_migrating(directories: &[Uuid], replicas: usize) -> Result<Vec<Uuid>, String> {
    if directories.iter().all(|d| *d == directory_id::MIGRATING) {
        return Ok(vec![directory_id::MIGRATING; replicas]);
    }
    if directories.len() != replicas {
        return Err(format!("{} directories for {replicas} replicas", directories.len()));
    }
    Ok(directories.to_vec())
}
