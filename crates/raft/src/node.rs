//! One replica of the metadata log. `step` takes an event and returns what came of it; whatever must survive a crash has been handed
//! to `RaftLog` by then. Kafka: `KafkaRaftClient`.
//!
//! Guarantees: what lies below the high watermark is durable on a majority and never changes. Non-guarantees: what was appended but
//! not flushed may be gone after a crash; a leader's lazy appends stay above the high watermark until the next flush.

use crate::batch::{self, BatchError, Content, ControlRecord, LogBatch, MAX_BATCH_BYTES};
use crate::log::{OffsetAndEpoch, RaftLog};
use crate::quorum_state::{ElectionState, QuorumStateError};
use crate::role::{Leadership, Role, Votes};
use crate::snapshot::{self, SnapshotContent};
use crate::voters::{Endpoint, KRaftVersion, ReplicaKey, Voter, VoterSet};
use base::Now;
use bytes::Bytes;
use std::io;
use std::ops::RangeInclusive;
use wire::messages::LeaderChangeMessage;
use wire::messages::leader_change_message::Voter as LeaderChangeVoter;

#[derive(Clone, Debug)]
pub struct Config {
    pub node_id: i32,
    /// Of the log directory that holds the metadata log.
    pub directory_id: base::Uuid,
    /// controller.quorum.voters; counts only while kraft.version is 0.
    pub static_voters: VoterSet,
    /// Own controller endpoints, as other nodes reach them.
    pub endpoints: Vec<Endpoint>,
    /// metadata.log.max.snapshot… retention: bytes of log and snapshots (−1: no bound) and age of snapshots.
    pub retention_bytes: i64,
    pub retention_ms: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum RaftError {
    #[error("metadata log: {0}")]
    Io(#[from] io::Error),
    #[error("metadata log: {0}")]
    Batch(#[from] BatchError),
    #[error("{0}")]
    QuorumState(#[from] QuorumStateError),
    #[error("kraft.version {0} is not supported; this software knows 0 and 1")]
    KRaftVersion(i16),
    #[error(
        "the metadata log starts at offset {start}, but no snapshot reaches it (newest: {newest:?}); restore the missing .checkpoint file"
    )]
    MissingSnapshot { start: i64, newest: Option<OffsetAndEpoch> },
    #[error(
        "no voters are known; set controller.quorum.voters, or format the directory with --standalone so that they are kept in the log"
    )]
    NoVoters,
    #[error("node {node} with directory {directory} is not among the voters {voters:?}; check node.id and meta.properties")]
    NotAVoter { node: i32, directory: base::Uuid, voters: Vec<i32> },
    #[error("the quorum has {0} voters; only quorums of one voter are supported so far")]
    SeveralVoters(usize),
    #[error("this node does not lead epoch {0} of the metadata log")]
    NotLeader(i32),
    #[error("a metadata batch of {0} bytes is larger than the 8 MiB that fit")]
    BatchTooLarge(usize),
}

/// Whether an append must be durable before the turn ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Flush,
    /// May wait for the next flush, as it says nothing that anybody relies on.
    Lazy,
}

#[derive(Clone, Debug)]
pub enum Event {
    /// First event: takes part in elections from now on.
    Start,
    /// Appends data records as one batch, as leader of `epoch`.
    Propose { epoch: i32, values: Vec<Bytes>, durability: Durability },
    /// Raises kraft.version, as leader of `epoch`: from then on the voters are kept in the log.
    RaiseKRaftVersion { epoch: i32, version: KRaftVersion },
    /// Makes everything appended so far durable.
    Flush,
    /// Gives leadership up, before stopping.
    Resign,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Leader (if known) and epoch, when either changed.
    pub leader_changed: Option<(Option<i32>, i32)>,
    /// Offsets of what was proposed.
    pub appended: Option<RangeInclusive<i64>>,
    /// The new high watermark, when it moved: all below it is committed.
    pub high_watermark: Option<i64>,
}

pub struct Node {
    config: Config,
    local: ReplicaKey,
    log: Box<dyn RaftLog>,
    role: Role,
    kraft_version: KRaftVersion,
    voters: VoterSet,
    /// Offset of the record that set the voters; −1 when they come from configuration or from the 0-0 snapshot.
    voters_offset: i64,
    must_flush: bool,
    /// Up to where the log is known to be durable.
    durable_end: i64,
    bytes_appended: u64,
}

impl Node {
    /// Reads quorum-state, the newest snapshot and the control records of the log.
    pub fn open(config: Config, mut log: Box<dyn RaftLog>, now: Now) -> Result<Node, RaftError> {
        let newest = log.snapshots().last().copied();
        if log.start_offset() > 0 && newest.is_none_or(|id| id.offset < log.start_offset()) {
            return Err(RaftError::MissingSnapshot { start: log.start_offset(), newest });
        }
        if let Some(id) = newest.filter(|id| id.offset > log.end().offset) {
            log.truncate_fully_and_start_at(id, now)?;
        }
        let local = ReplicaKey::new(config.node_id, config.directory_id);
        let mut node = Node {
            voters: config.static_voters.clone(),
            local,
            role: Role::Unattached { epoch: 0, leader_id: None, voted: None },
            kraft_version: KRaftVersion::V0,
            voters_offset: -1,
            must_flush: false,
            durable_end: 0,
            bytes_appended: 0,
            config,
            log,
        };
        node.load_quorum(newest)?;
        let stored = match node.log.read_quorum_state()? {
            Some(bytes) => {
                if node.voters.is_empty() {
                    // A static quorum without its configuration: those who voted last are its voters.
                    let voter = |id| Voter { key: ReplicaKey { id, directory_id: None }, endpoints: Vec::new(), kraft_versions: (0, 1) };
                    node.voters = ElectionState::stored_voters(&bytes).into_iter().map(voter).collect();
                }
                ElectionState::decode(&bytes)?
            }
            None => ElectionState::default(),
        };
        node.role = Role::after_restart(stored, local, node.log.end().epoch, &node.voters);
        Ok(node)
    }

    /// kraft.version and voters, from the newest snapshot and the control records behind it.
    fn load_quorum(&mut self, newest: Option<OffsetAndEpoch>) -> Result<(), RaftError> {
        let mut next = self.log.start_offset();
        if let Some(id) = newest {
            let content = snapshot::decode(&self.log.read_snapshot(id)?)?;
            self.kraft_version = content.kraft_version;
            if let Some(voters) = content.voters {
                self.voters = voters;
                self.voters_offset = id.offset - 1;
            }
            next = next.max(id.offset);
        }
        for batch in self.read_batches(next, i64::MAX)? {
            let Content::Control(records) = &batch.content else { continue };
            for (record, offset) in records.iter().zip(batch.base_offset..) {
                match record {
                    ControlRecord::KRaftVersion(record) => {
                        let level = record.k_raft_version;
                        self.kraft_version = KRaftVersion::from_level(level).ok_or(RaftError::KRaftVersion(level))?;
                    }
                    ControlRecord::KRaftVoters(record) => {
                        self.voters = VoterSet::from_record(record);
                        self.voters_offset = offset;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    pub fn step(&mut self, now: Now, event: Event) -> Result<Effects, RaftError> {
        match event {
            Event::Start => self.start(now),
            Event::Propose { epoch, values, durability } => self.propose(now, epoch, &values, durability),
            Event::RaiseKRaftVersion { epoch, version } => self.raise_kraft_version(now, epoch, version),
            Event::Flush => self.flush(now),
            Event::Resign => self.resign(now),
        }
    }

    fn start(&mut self, now: Now) -> Result<Effects, RaftError> {
        if self.voters.is_empty() {
            return Err(RaftError::NoVoters);
        }
        if !self.voters.is_voter(self.local) {
            return Err(RaftError::NotAVoter {
                node: self.local.id,
                directory: self.config.directory_id,
                voters: self.voters.ids().into_iter().collect(),
            });
        }
        if self.voters.len() > 1 {
            return Err(RaftError::SeveralVoters(self.voters.len()));
        }
        let before = (self.role.leader_id(self.local), self.role.epoch());
        // The only voter need not wait for anybody's vote or timeout.
        if !matches!(self.role, Role::Candidate { .. }) {
            self.become_prospective();
        }
        self.count_votes(now)?;
        let mut effects = self.flush(now)?;
        let after = (self.role.leader_id(self.local), self.role.epoch());
        effects.leader_changed = (after != before).then_some(after);
        Ok(effects)
    }

    fn become_prospective(&mut self) {
        let ElectionState { epoch, leader_id, voted } = self.role.election(self.local);
        self.role = Role::Prospective { epoch, leader_id, voted, votes: Votes::of_own(self.local.id) };
    }

    /// Moves on as far as the votes at hand carry.
    fn count_votes(&mut self, now: Now) -> Result<(), RaftError> {
        if let Role::Prospective { epoch, votes, .. } = &self.role
            && votes.is_won(&self.voters)
        {
            self.role = Role::Candidate { epoch: epoch + 1, votes: Votes::of_own(self.local.id) };
            self.store_election()?;
        }
        if let Role::Candidate { epoch, votes } = &self.role
            && votes.is_won(&self.voters)
        {
            let (epoch, votes) = (*epoch, votes.clone());
            self.become_leader(now, epoch, &votes)?;
        }
        Ok(())
    }

    fn become_leader(&mut self, now: Now, epoch: i32, votes: &Votes) -> Result<(), RaftError> {
        let start = self.log.end().offset;
        self.role = Role::Leader(Leadership::new(epoch, start));
        self.store_election()?;
        let voter = |voter_id: i32| LeaderChangeVoter { voter_id, ..Default::default() };
        let mut records = vec![ControlRecord::LeaderChange(LeaderChangeMessage {
            version: 0,
            leader_id: self.local.id,
            voters: self.voters.ids().into_iter().map(voter).collect(),
            granting_voters: votes.granting().map(voter).collect(),
            ..Default::default()
        })];
        if self.kraft_version.supports_reconfiguration() {
            let updated = self.voters.with_updated(&self.own_voter());
            // Written by the first leader ever, and when this leader can now be reached elsewhere.
            if self.voters_offset == -1 || updated.is_some() {
                self.voters = updated.unwrap_or_else(|| self.voters.clone());
                records.push(ControlRecord::kraft_version(self.kraft_version));
                records.push(ControlRecord::voters(&self.voters));
                self.voters_offset = start + 2;
            }
        }
        let batch = batch::encode_control(start, epoch, now.wall_ms, &records)?;
        self.append(batch, Durability::Flush, now)?;
        Ok(())
    }

    fn own_voter(&self) -> Voter {
        Voter {
            key: self.local,
            endpoints: self.config.endpoints.clone(),
            kraft_versions: (KRaftVersion::V0.level(), KRaftVersion::LATEST.level()),
        }
    }

    /// Nothing happens where the version is as high already. quorum-state follows with the next election, as in Kafka.
    fn raise_kraft_version(&mut self, now: Now, epoch: i32, version: KRaftVersion) -> Result<Effects, RaftError> {
        if self.leader_epoch() != Some(epoch) {
            return Err(RaftError::NotLeader(epoch));
        }
        if version <= self.kraft_version {
            return Ok(Effects::default());
        }
        let first = self.log.end().offset;
        let voters = self.voters.with_updated(&self.own_voter()).unwrap_or_else(|| self.voters.clone());
        let records = [ControlRecord::kraft_version(version), ControlRecord::voters(&voters)];
        self.append(batch::encode_control(first, epoch, now.wall_ms, &records)?, Durability::Flush, now)?;
        self.kraft_version = version;
        self.voters = voters;
        self.voters_offset = first + 1;
        Ok(Effects { appended: Some(first..=first + 1), ..Default::default() })
    }

    fn store_election(&mut self) -> Result<(), RaftError> {
        let content = self.role.election(self.local).encode(self.kraft_version, &self.voters);
        Ok(self.log.write_quorum_state(content.as_bytes())?)
    }

    fn propose(&mut self, now: Now, epoch: i32, values: &[Bytes], durability: Durability) -> Result<Effects, RaftError> {
        match &self.role {
            Role::Leader(leadership) if leadership.epoch == epoch => {}
            _ => return Err(RaftError::NotLeader(epoch)),
        }
        let first = self.log.end().offset;
        let batch = batch::encode_data(first, epoch, now.wall_ms, values)?;
        if batch.len() > MAX_BATCH_BYTES {
            return Err(RaftError::BatchTooLarge(batch.len()));
        }
        self.append(batch, durability, now)?;
        let last = self.log.end().offset - 1;
        Ok(Effects { appended: Some(first..=last), ..Default::default() })
    }

    fn append(&mut self, batch: Bytes, durability: Durability, now: Now) -> io::Result<()> {
        self.bytes_appended += batch.len() as u64;
        self.must_flush |= durability == Durability::Flush;
        self.log.append(batch, now)
    }

    fn flush(&mut self, now: Now) -> Result<Effects, RaftError> {
        if self.must_flush {
            self.log.flush(now)?;
            self.must_flush = false;
            self.durable_end = self.log.end().offset;
        }
        let end = self.durable_end;
        let high_watermark = match &mut self.role {
            Role::Leader(leadership) => leadership.on_durable(self.local.id, end, &self.voters),
            _ => None,
        };
        Ok(Effects { high_watermark, ..Default::default() })
    }

    fn resign(&mut self, now: Now) -> Result<Effects, RaftError> {
        self.must_flush = true;
        let mut effects = self.flush(now)?;
        if let Role::Leader(leadership) = &self.role {
            self.role = Role::Resigned { epoch: leadership.epoch };
            effects.leader_changed = Some((None, self.role.epoch()));
        }
        Ok(effects)
    }

    /// Whether something was appended that must not wait for a later flush.
    pub fn must_flush(&self) -> bool {
        self.must_flush
    }

    pub fn role(&self) -> &Role {
        &self.role
    }

    pub fn local(&self) -> ReplicaKey {
        self.local
    }

    pub fn epoch(&self) -> i32 {
        self.role.epoch()
    }

    pub fn leader_id(&self) -> Option<i32> {
        self.role.leader_id(self.local)
    }

    /// The epoch that this node leads, if it leads one.
    pub fn leader_epoch(&self) -> Option<i32> {
        match &self.role {
            Role::Leader(leadership) => Some(leadership.epoch),
            _ => None,
        }
    }

    pub fn high_watermark(&self) -> Option<i64> {
        match &self.role {
            Role::Leader(leadership) => leadership.high_watermark(),
            _ => None,
        }
    }

    pub fn kraft_version(&self) -> KRaftVersion {
        self.kraft_version
    }

    pub fn voters(&self) -> &VoterSet {
        &self.voters
    }

    pub fn log_end(&self) -> OffsetAndEpoch {
        self.log.end()
    }

    pub fn log_start_offset(&self) -> i64 {
        self.log.start_offset()
    }

    /// Bytes appended since the node was opened.
    pub fn bytes_appended(&self) -> u64 {
        self.bytes_appended
    }

    /// The newest snapshot that holds data.
    pub fn latest_snapshot(&self) -> Result<Option<(OffsetAndEpoch, SnapshotContent)>, RaftError> {
        match self.log.snapshots().last() {
            Some(id) if *id != snapshot::BOOTSTRAP_ID => Ok(Some((*id, snapshot::decode(&self.log.read_snapshot(*id)?)?))),
            _ => Ok(None),
        }
    }

    /// Committed batches from `offset` on.
    pub fn read_committed(&self, offset: i64) -> Result<Vec<LogBatch>, RaftError> {
        match self.high_watermark() {
            Some(high_watermark) => self.read_batches(offset, high_watermark),
            None => Ok(Vec::new()),
        }
    }

    fn read_batches(&self, mut offset: i64, end: i64) -> Result<Vec<LogBatch>, RaftError> {
        const READ_BYTES: usize = 1 << 20;
        let end = end.min(self.log.end().offset);
        let mut out = Vec::new();
        while offset < end {
            let batches = batch::decode_all(&self.log.read(offset, READ_BYTES)?)?;
            let Some(last) = batches.last() else { break };
            let next = last.last_offset + 1;
            out.extend(batches.into_iter().filter(|b| b.base_offset >= offset && b.last_offset < end));
            offset = next;
        }
        Ok(out)
    }

    /// Stores a snapshot of everything below `id.offset`, which must be committed; false if there is one as new already.
    pub fn store_snapshot(
        &mut self,
        now: Now,
        id: OffsetAndEpoch,
        last_contained_log_timestamp: i64,
        values: &[Bytes],
        records_per_batch: usize,
    ) -> Result<bool, RaftError> {
        let committed = self.high_watermark().is_some_and(|hw| id.offset <= hw);
        if !committed || self.log.snapshots().last().is_some_and(|newest| newest.offset >= id.offset) {
            return Ok(false);
        }
        let quorum = (self.kraft_version, &self.voters);
        let bytes = snapshot::encode(id, last_contained_log_timestamp, quorum, values, records_per_batch, now.wall_ms)?;
        self.log.store_snapshot(id, bytes)?;
        Ok(true)
    }

    /// Deletes old snapshots, and the log before the oldest that stays, by age and by size; the newest snapshot always stays.
    pub fn clean(&mut self, now: Now) -> Result<(), RaftError> {
        let mut snapshots = self.log.snapshots();
        while let [oldest, next, ..] = snapshots[..] {
            let bytes = self.log.read_snapshot(oldest)?;
            let too_old = self.config.retention_ms >= 0 && {
                let written = snapshot::decode(&bytes).map_or(0, |content| content.last_contained_log_timestamp);
                now.wall_ms - written > self.config.retention_ms
            };
            let too_big = self.config.retention_bytes >= 0 && {
                let sizes = snapshots.iter().map(|id| self.log.read_snapshot(*id).map(|b| b.len() as u64));
                let total = sizes.sum::<io::Result<u64>>()? + self.log.size();
                total as i64 > self.config.retention_bytes
            };
            if !too_old && !too_big {
                break;
            }
            self.log.delete_before(next.offset, now)?;
            self.log.delete_snapshot(oldest)?;
            snapshots.remove(0);
        }
        Ok(())
    }

    /// The last thing before the process ends.
    pub fn close(&mut self, now: Now) -> Result<(), RaftError> {
        Ok(self.log.close(now)?)
    }

    /// Hands the log back, for tests that restart on it.
    pub fn into_log(self) -> Box<dyn RaftLog> {
        self.log
    }
}
