//! One file per kind of request. Each function reads the head image and returns records and an answer; it changes nothing that is
//! in the log. Kafka: the control managers of `QuorumController`.

pub mod bootstrap;
pub mod brokers;
pub mod configs;
pub mod directories;
pub mod elections;
pub mod features;
pub mod isr;
pub mod partitions;
pub mod producer_ids;
pub mod reassign;
pub mod topics;

use crate::heartbeats::Heartbeats;
use crate::seam::{ControllerError, ControllerResponse, RequestContext};
use crate::settings::Settings;
use base::Now;
use metadata::{Image, Record};

/// No request of a user may lead to more records than this.
pub const MAX_RECORDS_PER_USER_OP: usize = 10_000;

/// What a decision may look at.
pub struct Context<'a> {
    pub head: &'a Image,
    pub heartbeats: &'a Heartbeats,
    pub settings: &'a Settings,
    pub request: &'a RequestContext,
    pub now: Now,
    /// Offset that the first record of the decision will get.
    pub next_offset: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub records: Vec<Record>,
    /// Whether the records stand or fall together: then they must fit one batch.
    pub atomic: bool,
    /// A kraft.version that raft is to raise itself to before the records are appended.
    pub kraft_version: Option<raft::KRaftVersion>,
    pub response: ControllerResponse,
}

impl Decision {
    pub fn atomic(records: Vec<Record>, response: impl Into<ControllerResponse>) -> Self {
        Decision { records, atomic: true, kraft_version: None, response: response.into() }
    }

    pub fn in_parts(records: Vec<Record>, response: impl Into<ControllerResponse>) -> Self {
        Decision { records, atomic: false, kraft_version: None, response: response.into() }
    }

    /// An answer that changes nothing.
    pub fn answer(response: impl Into<ControllerResponse>) -> Self {
        Decision::atomic(Vec::new(), response)
    }
}

pub type Decided = Result<Decision, ControllerError>;
