//! Who votes. Static (kraft.version 0: ids from configuration) or kept in the log (kraft.version 1: ids with directory ids and
//! endpoints in KRaftVoters records, the last appended set counting). Kafka: `VoterSet`, `ReplicaKey`, `Endpoints`; KIP-853.

use base::Uuid;
use std::collections::{BTreeMap, BTreeSet};
use wire::messages::VotersRecord;
use wire::messages::voters_record::{Endpoint as EndpointData, KRaftVersionFeature, Voter as VoterData};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum KRaftVersion {
    #[default]
    V0,
    V1,
}

impl KRaftVersion {
    pub const LATEST: KRaftVersion = KRaftVersion::V1;

    pub fn from_level(level: i16) -> Option<Self> {
        match level {
            0 => Some(KRaftVersion::V0),
            1 => Some(KRaftVersion::V1),
            _ => None,
        }
    }

    pub const fn level(self) -> i16 {
        self as i16
    }

    /// Voters live in the log and can change.
    pub const fn supports_reconfiguration(self) -> bool {
        matches!(self, KRaftVersion::V1)
    }
}

/// A replica of the metadata log; without a directory id while kraft.version is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaKey {
    pub id: i32,
    pub directory_id: Option<Uuid>,
}

impl ReplicaKey {
    pub fn new(id: i32, directory_id: Uuid) -> Self {
        ReplicaKey { id, directory_id: (!directory_id.is_zero()).then_some(directory_id) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Listener name, by which the nodes of a quorum find each other's endpoints.
    pub listener: String,
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    pub key: ReplicaKey,
    pub endpoints: Vec<Endpoint>,
    /// Supported kraft.version range.
    pub kraft_versions: (i16, i16),
}

impl Voter {
    /// Whether `replica` is this voter; ids alone decide while either side has no directory id.
    fn is(&self, replica: ReplicaKey) -> bool {
        self.key.id == replica.id && (self.key.directory_id.is_none() || self.key.directory_id == replica.directory_id)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoterSet(BTreeMap<i32, Voter>);

impl FromIterator<Voter> for VoterSet {
    fn from_iter<I: IntoIterator<Item = Voter>>(voters: I) -> Self {
        VoterSet::new(voters)
    }
}

impl VoterSet {
    pub fn new(voters: impl IntoIterator<Item = Voter>) -> Self {
        VoterSet(voters.into_iter().map(|voter| (voter.key.id, voter)).collect())
    }

    pub fn from_record(record: &VotersRecord) -> Self {
        VoterSet::new(record.voters.iter().map(|voter| Voter {
            key: ReplicaKey::new(voter.voter_id, voter.voter_directory_id),
            endpoints: voter.endpoints.iter().map(|e| Endpoint { listener: e.name.clone(), host: e.host.clone(), port: e.port }).collect(),
            kraft_versions: (voter.k_raft_version_feature.min_supported_version, voter.k_raft_version_feature.max_supported_version),
        }))
    }

    pub fn to_record(&self) -> VotersRecord {
        let voters = self.0.values().map(|voter| VoterData {
            voter_id: voter.key.id,
            voter_directory_id: voter.key.directory_id.unwrap_or(Uuid::ZERO),
            endpoints: voter
                .endpoints
                .iter()
                .map(|e| EndpointData { name: e.listener.clone(), host: e.host.clone(), port: e.port, ..Default::default() })
                .collect(),
            k_raft_version_feature: KRaftVersionFeature {
                min_supported_version: voter.kraft_versions.0,
                max_supported_version: voter.kraft_versions.1,
                ..Default::default()
            },
            ..Default::default()
        });
        VotersRecord { version: 0, voters: voters.collect(), ..Default::default() }
    }

    pub fn ids(&self) -> BTreeSet<i32> {
        self.0.keys().copied().collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Voter> {
        self.0.values()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, id: i32) -> Option<&Voter> {
        self.0.get(&id)
    }

    pub fn is_voter(&self, replica: ReplicaKey) -> bool {
        self.0.get(&replica.id).is_some_and(|voter| voter.is(replica))
    }

    pub fn is_only_voter(&self, replica: ReplicaKey) -> bool {
        self.len() == 1 && self.is_voter(replica)
    }

    /// How many make a majority.
    pub fn majority(&self) -> usize {
        self.len() / 2 + 1
    }

    /// The set with `voter` in place of the entry of the same replica; `None` when nothing would change.
    pub fn with_updated(&self, voter: &Voter) -> Option<VoterSet> {
        let current = self.0.get(&voter.key.id).filter(|current| current.is(voter.key))?;
        if current == voter {
            return None;
        }
        let mut voters = self.0.clone();
        voters.insert(voter.key.id, voter.clone());
        Some(VoterSet(voters))
    }
}
