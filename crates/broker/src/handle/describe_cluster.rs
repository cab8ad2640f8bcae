//! DescribeCluster (KIP-700, KIP-919, KIP-1073).

use super::topic_partitions::{CLUSTER_OPERATIONS, endpoint};
use crate::answer::Handled;
use crate::context::Context;
use wire::ErrorCode;
use wire::messages::describe_cluster_response::DescribeClusterBroker;
use wire::messages::{DescribeClusterRequest, DescribeClusterResponse};

const BROKERS: i8 = 1;

pub(super) fn handle(c: &mut Context, request: DescribeClusterRequest) -> Handled {
    let asked = if c.version() >= 1 { request.endpoint_type } else { BROKERS };
    if asked != BROKERS {
        let (error, message) = match asked {
            2 => (
                ErrorCode::MismatchedEndpointType,
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
            ),
            _ => (ErrorCode::UnsupportedEndpointType, "Unsupported endpoint type"),
        };
        let error_message = if asked == 2 { message.to_owned() } else { format!("{message} {asked}") };
        return c.answer(&DescribeClusterResponse {
            error_code: error.code(),
            error_message: Some(error_message),
            endpoint_type: asked,
            ..Default::default()
        });
    }
    let listener = &c.session.listener;
    let with_fenced = request.include_fenced_brokers;
    let brokers: Vec<_> = c
        .image
        .cluster
        .brokers
        .values()
        .filter(|b| with_fenced || !b.fenced)
        .filter_map(|b| endpoint(b, listener))
        .map(|b| DescribeClusterBroker {
            broker_id: b.id,
            host: b.host.to_owned(),
            port: b.port,
            rack: b.rack.map(str::to_owned),
            is_fenced: with_fenced && b.fenced,
            ..Default::default()
        })
        .collect();
    let operations = if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { i32::MIN };
    c.answer(&DescribeClusterResponse {
        cluster_id: c.broker.cluster_id().to_owned(),
        controller_id: brokers.iter().find(|b| !b.is_fenced).map_or(-1, |b| b.broker_id),
        brokers,
        cluster_authorized_operations: operations,
        endpoint_type: BROKERS,
        ..Default::default()
    })
}
