//! Owns: finding which broker coordinates a group, a transactional id or a share key. Kafka: `FindCoordinator`, KIP-699.

use super::Cluster;
use crate::error::{Error, Result};
use crate::types::Node;
use base::Instant;
use wire::messages::FindCoordinatorRequest;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CoordinatorKind {
    Group = 0,
    Transaction = 1,
    Share = 2,
}

/// The first version that asks for several keys at once.
const BATCHED: i16 = 4;

impl Cluster {
    /// One attempt to find the coordinator of `key`; its address becomes known to the cluster.
    pub async fn find_coordinator(&self, kind: CoordinatorKind, key: &str, deadline: Instant) -> Result<Node> {
        let connection = self.any_connection(deadline).await?;
        let version = connection.versions.choose::<FindCoordinatorRequest>(0, i16::MAX, connection.name())?;
        let mut request = FindCoordinatorRequest { key_type: kind as i8, ..Default::default() };
        if version >= BATCHED {
            request.coordinator_keys = vec![key.to_owned()];
        } else {
            request.key = key.to_owned();
        }
        let response = connection.request(&request, version, self.request_deadline(deadline)).await?;
        let (code, message, id, host, port) = if version >= BATCHED {
            let found = response.coordinators.into_iter().find(|found| found.key == key).ok_or_else(|| Error::InvalidResponse {
                node: connection.name().to_owned(),
                reason: format!("FindCoordinator does not name the coordinator of {key}"),
            })?;
            (found.error_code, found.error_message, found.node_id, found.host, found.port)
        } else {
            (response.error_code, response.error_message, response.node_id, response.host, response.port)
        };
        Error::check(code, message)?;
        let node = Node { id, host, port: u16::try_from(port).unwrap_or(0), rack: None };
        self.learn_node(&node);
        Ok(node)
    }
}
