//! Owns: DescribeCluster.

use super::{Admin, Route};
use crate::driver::CONTROLLERS;
use crate::error::{Error, Result};
use crate::types::Node;
use wire::messages::{DescribeClusterRequest, DescribeClusterResponse};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    pub cluster_id: String,
    pub controller: Option<Node>,
    /// Brokers and whether they are fenced.
    pub nodes: Vec<(Node, bool)>,
    pub authorized_operations: i32,
}

impl Admin {
    pub async fn describe_cluster(&self) -> Result<ClusterDescription> {
        self.describe_cluster_with(false, false).await
    }

    pub async fn describe_cluster_with(&self, include_fenced: bool, include_authorized_operations: bool) -> Result<ClusterDescription> {
        let build = |version: i16| DescribeClusterRequest {
            endpoint_type: if self.cluster().config().of_controllers { CONTROLLERS } else { 1 },
            include_cluster_authorized_operations: include_authorized_operations,
            include_fenced_brokers: include_fenced && version >= 2,
            ..Default::default()
        };
        let min = match (include_fenced, self.cluster().config().of_controllers) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        };
        let response: DescribeClusterResponse =
            self.call_versions(Route::Any, min, i16::MAX, build, |response: &DescribeClusterResponse| response.error_code).await?;
        Error::check(response.error_code, response.error_message)?;
        let nodes: Vec<(Node, bool)> = response
            .brokers
            .into_iter()
            .map(|broker| {
                let port = u16::try_from(broker.port).unwrap_or(0);
                (Node { id: broker.broker_id, host: broker.host, port, rack: broker.rack }, broker.is_fenced)
            })
            .collect();
        Ok(ClusterDescription {
            cluster_id: response.cluster_id,
            controller: nodes.iter().map(|(node, _)| node).find(|node| node.id == response.controller_id).cloned(),
            nodes,
            authorized_operations: response.cluster_authorized_operations,
        })
    }
}
