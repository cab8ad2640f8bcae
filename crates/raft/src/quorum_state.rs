//! The quorum-state file: epoch, leader and vote, one line of JSON. Kafka: `ElectionState`, `FileQuorumStateStore`.

use crate::voters::{KRaftVersion, ReplicaKey, VoterSet};
use base::Uuid;
use serde_json::Value;
use std::fmt::Write;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ElectionState {
    pub epoch: i32,
    pub leader_id: Option<i32>,
    pub voted: Option<ReplicaKey>,
}

#[derive(Debug, thiserror::Error)]
pub enum QuorumStateError {
    #[error("quorum-state is not JSON: {0}; restore it, or remove it to continue from the last epoch in the log")]
    NotJson(#[from] serde_json::Error),
    #[error("quorum-state lacks a valid '{0}'; restore it, or remove it to continue from the last epoch in the log")]
    Field(&'static str),
    #[error("quorum-state has data_version {0}, but only 0 and 1 are known; it was written by newer software")]
    Version(i64),
}

impl ElectionState {
    /// Whether this replica itself got the vote; a vote without a directory id stands for any directory.
    pub fn is_voted(&self, replica: ReplicaKey) -> bool {
        self.voted
            .is_some_and(|voted| voted.id == replica.id && (voted.directory_id.is_none() || voted.directory_id == replica.directory_id))
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, QuorumStateError> {
        let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        let json: Value = serde_json::from_slice(line)?;
        let int = |name: &'static str| json.get(name).and_then(Value::as_i64).ok_or(QuorumStateError::Field(name));
        let id = |name: &'static str| int(name)?.try_into().map_err(|_| QuorumStateError::Field(name));
        match int("data_version")? {
            0 | 1 => {}
            other => return Err(QuorumStateError::Version(other)),
        }
        let optional = |id: i32| (id >= 0).then_some(id);
        let directory: Uuid = match json.get("votedDirectoryId").and_then(Value::as_str) {
            Some(text) => text.parse().map_err(|_| QuorumStateError::Field("votedDirectoryId"))?,
            None => Uuid::ZERO,
        };
        Ok(ElectionState {
            epoch: id("leaderEpoch")?,
            leader_id: optional(id("leaderId")?),
            voted: optional(id("votedId")?).map(|id| ReplicaKey::new(id, directory)),
        })
    }

    /// Ids of the voters that a data_version 0 file lists; empty for others.
    pub fn stored_voters(bytes: &[u8]) -> Vec<i32> {
        let json: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let voters = json.get("currentVoters").and_then(Value::as_array);
        let id = |voter: &Value| voter.get("voterId").and_then(Value::as_i64).and_then(|id| i32::try_from(id).ok());
        voters.map(|voters| voters.iter().filter_map(id).collect()).unwrap_or_default()
    }

    /// The file's content; its data_version follows kraft.version.
    pub fn encode(&self, version: KRaftVersion, voters: &VoterSet) -> String {
        let leader = self.leader_id.unwrap_or(-1);
        let voted = self.voted.map_or(-1, |key| key.id);
        let epoch = self.epoch;
        match version {
            KRaftVersion::V0 => {
                let mut ids = String::new();
                for (i, id) in voters.ids().into_iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    let _ = write!(ids, "{comma}{{\"voterId\":{id}}}");
                }
                format!(
                    "{{\"clusterId\":\"\",\"leaderId\":{leader},\"leaderEpoch\":{epoch},\"votedId\":{voted},\"appliedOffset\":0,\
                     \"currentVoters\":[{ids}],\"data_version\":0}}"
                )
            }
            KRaftVersion::V1 => {
                let directory = self.voted.and_then(|key| key.directory_id).unwrap_or(Uuid::ZERO);
                format!(
                    "{{\"leaderId\":{leader},\"leaderEpoch\":{epoch},\"votedId\":{voted},\"votedDirectoryId\":\"{directory}\",\
                     \"data_version\":1}}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voters::Voter;

    fn voters() -> VoterSet {
        VoterSet::new([Voter { key: ReplicaKey { id: 1, directory_id: None }, endpoints: Vec::new(), kraft_versions: (0, 1) }])
    }

    #[test]
    fn writes_what_kafka_writes() {
        let state = ElectionState { epoch: 2, leader_id: Some(1), voted: None };
        let v0 = r#"{"clusterId":"","leaderId":1,"leaderEpoch":2,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1}],"data_version":0}"#;
        assert_eq!(state.encode(KRaftVersion::V0, &voters()), v0);
        assert_eq!(ElectionState::decode(v0.as_bytes()).unwrap(), state);
        let v1 = r#"{"leaderId":1,"leaderEpoch":2,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;
        assert_eq!(state.encode(KRaftVersion::V1, &voters()), v1);
        assert_eq!(ElectionState::decode(v1.as_bytes()).unwrap(), state);
    }

    #[test]
    fn keeps_the_vote_with_its_directory() {
        let voted = ReplicaKey { id: 3, directory_id: Some(Uuid::from_u128(12345)) };
        let state = ElectionState { epoch: 9, leader_id: None, voted: Some(voted) };
        let read = ElectionState::decode(state.encode(KRaftVersion::V1, &voters()).as_bytes()).unwrap();
        assert_eq!(read, state);
        assert!(read.is_voted(voted));
        assert!(!read.is_voted(ReplicaKey { id: 3, directory_id: Some(Uuid::from_u128(7)) }));
        // Version 0 forgets the directory, so that any directory counts as the one that voted.
        let read = ElectionState::decode(state.encode(KRaftVersion::V0, &voters()).as_bytes()).unwrap();
        assert!(read.is_voted(ReplicaKey { id: 3, directory_id: Some(Uuid::from_u128(7)) }));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(matches!(ElectionState::decode(b""), Err(QuorumStateError::NotJson(_))));
        assert!(matches!(ElectionState::decode(b"{\"data_version\":2}"), Err(QuorumStateError::Version(2))));
        assert!(matches!(ElectionState::decode(b"{\"data_version\":1}"), Err(QuorumStateError::Field("leaderEpoch"))));
        assert!(matches!(
            ElectionState::decode(b"{\"data_version\":1,\"leaderEpoch\":99999999999,\"leaderId\":1,\"votedId\":1}"),
            Err(QuorumStateError::Field("leaderEpoch"))
        ));
    }
}
