//! DescribeCluster (KIP-700, KIP-919, KIP-1073).

use super::topic_partitions::{CLUSTER_OPERATIONS, endpoint};
use crate::answer::Handled;
use crate::context::Context;
use wire::ErrorCode;
use wire::messages::describe_cluster_response::DescribeClusterBroker;
use wire::messages::{DescribeClusterRequest, DescribeClusterResponse};

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(super) fn handle(c: &mut Context, request: DescribeClusterRequest) -> Handled {
    let asked = if c.version() >= 1 { request.endpoint_type } else { BROKERS };
    let here = if c.session.on_controller { CONTROLLERS } else { BROKERS };
    if asked != here {
        return refuse(c, asked, here);
    }
    let (nodes, controller_id) = if c.session.on_controller { controllers(c) } else { brokers(c, request.include_fenced_brokers) };
    let operations = if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { i32::MIN };
    c.answer(&DescribeClusterResponse {
        cluster_id: c.broker.cluster_id().to_owned(),
        controller_id,
        brokers: nodes,
        cluster_authorized_operations: operations,
        endpoint_type: here,
        ..Default::default()
    })
}

fn refuse(c: &Context, asked: i8, here: i8) -> Handled {
    let name = |endpoint| if endpoint == CONTROLLERS { "CONTROLLER" } else { "BROKER" };
    let (error, message) = if [BROKERS, CONTROLLERS].contains(&asked) {
        let (here, asked) = (name(here), name(asked));
        let message = format!("The request was sent to an endpoint of type {here}, but we wanted an endpoint of type {asked}");
        (ErrorCode::MismatchedEndpointType, message)
    } else {
        (ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {asked}"))
    };
    // Version 0 knows neither of the two.
    let error = if c.version() == 0 { ErrorCode::InvalidRequest } else { error };
    c.answer(&DescribeClusterResponse {
        error_code: error.code(),
        error_message: Some(message),
        endpoint_type: asked,
        ..Default::default()
    })
}

fn brokers(c: &Context, with_fenced: bool) -> (Vec<DescribeClusterBroker>, i32) {
    let registered = c.image.cluster.brokers.values().filter(|b| with_fenced || !b.fenced);
    let brokers: Vec<_> = registered
        .filter_map(|b| endpoint(b, &c.session.listener))
        .map(|b| DescribeClusterBroker {
            broker_id: b.id,
            host: b.host.to_owned(),
            port: b.port,
            rack: b.rack.map(str::to_owned),
            is_fenced: with_fenced && b.fenced,
            ..Default::default()
        })
        .collect();
    let controller_id = brokers.iter().find(|b| !b.is_fenced).map_or(-1, |b| b.broker_id);
    (brokers, controller_id)
}

fn controllers(c: &Context) -> (Vec<DescribeClusterBroker>, i32) {
    let mut controllers = Vec::new();
    for (id, controller) in &c.image.cluster.controllers {
        if let Some(at) = controller.listeners.iter().find(|l| l.name.eq_ignore_ascii_case(&c.session.listener)) {
            controllers.push(DescribeClusterBroker { broker_id: *id, host: at.host.clone(), port: at.port.into(), ..Default::default() });
        }
    }
    // The quorum has one voter, this node: it leads.
    let leader = controllers.iter().find(|n| n.broker_id == c.broker.id()).map_or(-1, |n| n.broker_id);
    (controllers, leader)
}
