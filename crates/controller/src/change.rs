//! Works out the PartitionChangeRecord that leads a partition towards a target: elects a leader, keeps ELR and last known leader,
//! completes reassignments. Kafka: `PartitionChangeBuilder`, `PartitionReassignmentReplicas`; KIP-455, KIP-966.

use base::Uuid;
use metadata::image::partition::{LeaderRecoveryState, NO_LEADER, NO_LEADER_CHANGE, Partition, directory_id};
use metadata::{Image, MetadataVersion};
use wire::messages::PartitionChangeRecord;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    /// The preferred replica if it is in sync, else any.
    Preferred,
    /// Whoever is in sync, the present leader first.
    Online,
    /// As Online, but rather an out-of-sync leader than none.
    Unclean,
}

/// What the cluster looks like to the builder.
pub struct Situation<'a> {
    pub image: &'a Image,
    /// May this broker lead? The builder asks for its log directory on its own.
    pub is_acceptable_leader: &'a dyn Fn(i32) -> bool,
    /// min.insync.replicas of the topic, at most its replication factor.
    pub min_isr: usize,
}

pub struct ChangeBuilder<'a> {
    situation: &'a Situation<'a>,
    partition: &'a Partition,
    elr_enabled: bool,
    version: MetadataVersion,
    pub election: Election,
    pub target_isr: Vec<i32>,
    pub target_replicas: Vec<i32>,
    pub target_removing: Vec<i32>,
    pub target_adding: Vec<i32>,
    pub target_recovery_state: LeaderRecoveryState,
    pub unclean_shutdown_replica: Option<i32>,
    target_elr: Vec<i32>,
    target_directories: Vec<(i32, Uuid)>,
}

impl<'a> ChangeBuilder<'a> {
    pub fn new(situation: &'a Situation<'a>, partition: &'a Partition) -> Self {
        ChangeBuilder {
            elr_enabled: is_elr_enabled(situation.image),
            version: situation.image.metadata_version(),
            situation,
            partition,
            election: Election::Online,
            target_isr: partition.isr.clone(),
            target_replicas: partition.replicas.clone(),
            target_removing: partition.removing_replicas.clone(),
            target_adding: partition.adding_replicas.clone(),
            target_recovery_state: partition.leader_recovery_state,
            unclean_shutdown_replica: None,
            target_elr: partition.elr.clone(),
            target_directories: partition.replicas.iter().copied().zip(partition.directories.iter().copied()).collect(),
        }
    }

    pub fn set_directory(&mut self, broker: i32, directory: Uuid) {
        self.target_directories.retain(|(id, _)| *id != broker);
        self.target_directories.push((broker, directory));
    }

    /// The record, or nothing when the partition already is as it should be.
    pub fn build(mut self, topic_id: Uuid, partition_id: i32) -> Option<PartitionChangeRecord> {
        let mut record = PartitionChangeRecord { topic_id, partition_id, ..Default::default() };
        self.complete_reassignment();
        self.populate_target_elr();
        self.elect(&mut record);
        self.bump_leader_epoch_if_replicas_left(&mut record);
        self.update_elr(&mut record);
        if record.isr.is_none() && (!self.target_isr.is_empty() || self.elr_enabled) && self.target_isr != self.partition.isr {
            record.isr = Some(self.target_isr.clone());
        }
        self.bump_leader_epoch_if_isr_shrank(&mut record);
        self.update_last_known_leader(&mut record);
        self.update_assignment(&mut record);
        if self.target_recovery_state != self.partition.leader_recovery_state {
            record.leader_recovery_state = self.target_recovery_state.value();
        }
        let nothing = PartitionChangeRecord { topic_id, partition_id, ..Default::default() };
        (record != nothing).then_some(record)
    }

    fn complete_reassignment(&mut self) {
        if self.target_removing.is_empty() && self.target_adding.is_empty() {
            return;
        }
        let stays = |id: &i32| !self.target_removing.contains(id);
        let isr: Vec<i32> = self.target_isr.iter().copied().filter(stays).collect();
        let replicas: Vec<i32> = self.target_replicas.iter().copied().filter(stays).collect();
        if isr.is_empty() || replicas.is_empty() {
            return;
        }
        // New replicas may be unhealthy: wait until all of them are in sync.
        if !self.target_adding.iter().all(|id| isr.contains(id)) {
            return;
        }
        // When the replication factor shrinks, the in-sync replicas must not shrink more than asked for.
        let shrinks = self.target_adding.len() < self.target_removing.len();
        if shrinks && !replicas.iter().all(|id| isr.contains(id)) {
            return;
        }
        self.target_isr = isr;
        self.target_replicas = replicas;
        self.target_removing.clear();
        self.target_adding.clear();
    }

    /// While the ISR is below min ISR, members that left it cleanly stay eligible.
    fn populate_target_elr(&mut self) {
        if !self.elr_enabled {
            return;
        }
        if self.target_isr.len() >= self.situation.min_isr {
            self.target_elr.clear();
            return;
        }
        let mut candidates: Vec<i32> = self.target_elr.iter().chain(&self.partition.isr).copied().collect();
        candidates.sort_unstable();
        candidates.dedup();
        candidates.retain(|id| !self.target_isr.contains(id) && self.unclean_shutdown_replica != Some(*id));
        self.target_elr = candidates;
    }

    fn elect(&mut self, record: &mut PartitionChangeRecord) {
        let (leader, unclean) = self.choose_leader();
        if leader == self.partition.leader {
            return;
        }
        if self.target_elr.contains(&leader) {
            self.target_isr = vec![leader];
            self.target_elr.retain(|id| *id != leader);
        }
        record.leader = leader;
        if unclean {
            record.isr = Some(vec![leader]);
            if self.partition.leader_recovery_state != LeaderRecoveryState::Recovering {
                record.leader_recovery_state = LeaderRecoveryState::Recovering.value();
            }
        }
    }

    /// The leader and whether its election would be unclean.
    fn choose_leader(&self) -> (i32, bool) {
        if self.election == Election::Preferred
            && let Some(preferred) = self.target_replicas.first()
            && self.is_valid_leader(*preferred)
        {
            return (*preferred, false);
        }
        if self.is_valid_leader(self.partition.leader) {
            return (self.partition.leader, false);
        }
        if let Some(leader) = self.target_replicas.iter().find(|id| self.is_valid_leader(**id)) {
            return (*leader, false);
        }
        if let Some(leader) = self.last_known_leader() {
            return (leader, true);
        }
        if self.election == Election::Unclean
            && let Some(leader) = self.target_replicas.iter().find(|id| self.is_acceptable(**id))
        {
            return (*leader, true);
        }
        (NO_LEADER, false)
    }

    fn is_valid_leader(&self, id: i32) -> bool {
        let in_sync = self.target_isr.contains(&id) || (self.target_isr.is_empty() && self.target_elr.contains(&id));
        in_sync && self.is_acceptable(id)
    }

    fn is_acceptable(&self, id: i32) -> bool {
        let directory = self.partition.directory_of(id).unwrap_or(directory_id::UNASSIGNED);
        (self.situation.is_acceptable_leader)(id) && self.situation.image.cluster.has_online_directory(id, directory)
    }

    /// With nobody in ISR and ELR, the one that led last may continue.
    fn last_known_leader(&self) -> Option<i32> {
        if !self.elr_enabled || !self.target_elr.is_empty() || !self.target_isr.is_empty() {
            return None;
        }
        match self.partition.last_known_elr[..] {
            [id] if self.is_acceptable(id) => Some(id),
            _ => None,
        }
    }

    fn bump_leader_epoch_if_replicas_left(&self, record: &mut PartitionChangeRecord) {
        let left = self.partition.replicas.iter().any(|id| !self.target_replicas.contains(id));
        if record.leader == NO_LEADER_CHANGE && left {
            record.leader = self.partition.leader;
        }
    }

    fn bump_leader_epoch_if_isr_shrank(&self, record: &mut PartitionChangeRecord) {
        if !self.version.requires_leader_epoch_bump_on_isr_shrink() || record.leader != NO_LEADER_CHANGE {
            return;
        }
        if let Some(isr) = &record.isr
            && self.partition.isr.iter().any(|id| !isr.contains(id))
        {
            record.leader = self.partition.leader;
        }
    }

    fn update_elr(&mut self, record: &mut PartitionChangeRecord) {
        let unclean = record.isr.is_some();
        if unclean || !self.elr_enabled {
            self.target_elr.clear();
        }
        if self.target_elr != self.partition.elr {
            record.eligible_leader_replicas = Some(self.target_elr.clone());
        }
    }

    fn update_last_known_leader(&self, record: &mut PartitionChangeRecord) {
        if !self.elr_enabled {
            return;
        }
        if record.leader == NO_LEADER && self.partition.last_known_elr.is_empty() {
            record.last_known_elr = Some(vec![self.partition.leader]);
        } else if record.leader >= 0 && !self.partition.last_known_elr.is_empty() {
            record.last_known_elr = Some(Vec::new());
        }
    }

    fn update_assignment(&self, record: &mut PartitionChangeRecord) {
        if !self.target_replicas.is_empty() {
            if self.version.supports_directory_assignment() {
                let directory = |id: &i32| {
                    let known = self.target_directories.iter().find(|(replica, _)| replica == id);
                    known.map_or_else(|| default_directory(self.situation.image, *id), |(_, directory)| *directory)
                };
                let directories: Vec<Uuid> = self.target_replicas.iter().map(directory).collect();
                if directories != self.partition.directories {
                    record.directories = Some(directories);
                }
            }
            if self.target_replicas != self.partition.replicas {
                record.replicas = Some(self.target_replicas.clone());
            }
        }
        if self.target_removing != self.partition.removing_replicas {
            record.removing_replicas = Some(self.target_removing.clone());
        }
        if self.target_adding != self.partition.adding_replicas {
            record.adding_replicas = Some(self.target_adding.clone());
        }
    }
}

pub fn is_elr_enabled(image: &Image) -> bool {
    image.features.level(metadata::features::ELR_VERSION) > 0
}

/// Where a broker puts new replicas: with several directories it chooses itself and tells later.
pub fn default_directory(image: &Image, broker: i32) -> Uuid {
    match image.cluster.broker(broker).map(|b| &b.directories[..]) {
        None => directory_id::UNASSIGNED,
        Some([]) => directory_id::MIGRATING,
        Some([only]) => *only,
        Some(_) => directory_id::UNASSIGNED,
    }
}
