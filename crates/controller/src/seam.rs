//! The seam between request handlers and the metadata thread: a handler submits a request with a slot for the answer and parks;
//! the metadata thread fills the slot when the records it led to are committed (or at once, when it refuses or only reads).
//!
//! Guarantees: every slot is filled exactly once; by the time it is filled with success, every `MetadataListener` has seen the
//! image that contains the effect. Non-guarantees: answers come in no particular order; a caller whose deadline passed still gets
//! its effect.

use base::{Instant, Slot};
use metadata::{Delta, Image};
use std::sync::Arc;
use wire::ErrorCode;
use wire::messages::*;

/// What the controller needs to know of who asks.
#[derive(Clone, Debug, Default)]
pub struct RequestContext {
    /// `User:alice`
    pub principal: String,
    pub listener: String,
    pub client_host: String,
    /// Version of the request, where the answer depends on it.
    pub api_version: i16,
    /// After this the requester has given up; the request is refused with REQUEST_TIMED_OUT if it is not started by then.
    pub deadline: Option<Instant>,
}

macro_rules! requests {
    ($($variant:ident($request:ident -> $response:ident)),* $(,)?) => {
        /// Requests that the active controller answers, as they came over the wire.
        #[derive(Clone, Debug)]
        pub enum ControllerRequest {
            $($variant($request),)*
        }

        /// The answer to the request of the same name, or a failure of the request as a whole.
        #[derive(Clone, Debug, PartialEq)]
        pub enum ControllerResponse {
            $($variant($response),)*
            Failed(ControllerError),
        }

        impl ControllerRequest {
            pub fn name(&self) -> &'static str {
                match self { $(ControllerRequest::$variant(_) => stringify!($variant),)* }
            }
        }

        $(
            impl From<$request> for ControllerRequest {
                fn from(request: $request) -> Self {
                    ControllerRequest::$variant(request)
                }
            }

            impl From<$response> for ControllerResponse {
                fn from(response: $response) -> Self {
                    ControllerResponse::$variant(response)
                }
            }

            impl TryFrom<ControllerResponse> for $response {
                type Error = ControllerError;

                fn try_from(response: ControllerResponse) -> Result<Self, ControllerError> {
                    match response {
                        ControllerResponse::$variant(response) => Ok(response),
                        ControllerResponse::Failed(error) => Err(error),
                        _ => Err(ControllerError::new(ErrorCode::UnknownServerError, "the answer belongs to another request")),
                    }
                }
            }
        )*
    };
}

requests! {
    CreateTopics(CreateTopicsRequest -> CreateTopicsResponse),
    DeleteTopics(DeleteTopicsRequest -> DeleteTopicsResponse),
    CreatePartitions(CreatePartitionsRequest -> CreatePartitionsResponse),
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest -> IncrementalAlterConfigsResponse),
    AlterConfigs(AlterConfigsRequest -> AlterConfigsResponse),
    AllocateProducerIds(AllocateProducerIdsRequest -> AllocateProducerIdsResponse),
    BrokerRegistration(BrokerRegistrationRequest -> BrokerRegistrationResponse),
    BrokerHeartbeat(BrokerHeartbeatRequest -> BrokerHeartbeatResponse),
    UnregisterBroker(UnregisterBrokerRequest -> UnregisterBrokerResponse),
    ControllerRegistration(ControllerRegistrationRequest -> ControllerRegistrationResponse),
    UpdateFeatures(UpdateFeaturesRequest -> UpdateFeaturesResponse),
    ElectLeaders(ElectLeadersRequest -> ElectLeadersResponse),
    AlterPartitionReassignments(AlterPartitionReassignmentsRequest -> AlterPartitionReassignmentsResponse),
    ListPartitionReassignments(ListPartitionReassignmentsRequest -> ListPartitionReassignmentsResponse),
    AlterPartition(AlterPartitionRequest -> AlterPartitionResponse),
    AssignReplicasToDirs(AssignReplicasToDirsRequest -> AssignReplicasToDirsResponse),
    DescribeQuorum(DescribeQuorumRequest -> DescribeQuorumResponse),
    AddRaftVoter(AddRaftVoterRequest -> AddRaftVoterResponse),
    RemoveRaftVoter(RemoveRaftVoterRequest -> RemoveRaftVoterResponse),
}

/// Why a whole request failed; the handler puts it where its response has room for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerError {
    pub code: ErrorCode,
    pub message: Option<String>,
}

impl ControllerError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        ControllerError { code, message: Some(message.into()) }
    }

    /// With Kafka's own text for the code.
    pub fn of(code: ErrorCode) -> Self {
        ControllerError { code, message: None }
    }

    /// The message as it belongs into a response: the given one or Kafka's text for the code.
    pub fn text(&self) -> String {
        self.message.clone().unwrap_or_else(|| self.code.message().to_owned())
    }
}

impl From<ErrorCode> for ControllerError {
    fn from(code: ErrorCode) -> Self {
        ControllerError::of(code)
    }
}

pub type ResponseSlot = Arc<Slot<ControllerResponse>>;

/// The way to the active controller. In a combined node this is the mailbox of the metadata thread.
pub trait ControllerClient: Send + Sync {
    /// Posts a request; never blocks. When the mailbox is full or closed the slot is filled at once with a retriable error.
    fn submit(&self, context: RequestContext, request: ControllerRequest, done: ResponseSlot);
}

/// A step of the committed metadata.
#[derive(Clone, Debug)]
pub struct MetadataUpdate {
    /// The image before; empty at the first update.
    pub old: Arc<Image>,
    pub image: Arc<Image>,
    pub delta: Delta,
}

/// Follows the committed metadata: the broker side, which creates, leads and deletes partitions.
pub trait MetadataListener: Send {
    /// Called on the metadata thread, in log order, before the answers to the requests that led here are released. Committed
    /// steps that change nothing (NoOp records) are reported too, with an empty delta, because the position has moved.
    fn on_update(&mut self, update: &MetadataUpdate);
}
