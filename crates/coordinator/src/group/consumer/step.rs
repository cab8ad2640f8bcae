//! What a decision works with, and what it comes to.

use base::Now;
use wire::{EncodeError, ErrorCode};

use super::Refreshed;
use crate::cluster::Cluster;
use crate::config::{ConsumerSettings, GroupConfig};
use crate::output::CoordinatorRecord;
use crate::timers::{Due, Timer};

pub(crate) struct Context<'a> {
    pub(crate) now: Now,
    pub(crate) config: &'a GroupConfig,
    /// The broker's settings under those of the group.
    pub(crate) settings: ConsumerSettings,
    pub(crate) cluster: &'a Cluster,
}

/// Why a request is not granted. The text is Kafka's, for answers that have a place for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: ErrorCode,
    pub(crate) message: Option<String>,
}

impl Refusal {
    pub(crate) fn new(error: ErrorCode, message: impl Into<String>) -> Self {
        Self { error, message: Some(message.into()) }
    }

    pub(crate) fn unknown_member(group_id: &str, member_id: &str) -> Self {
        Self::new(ErrorCode::UnknownMemberId, format!("Member {member_id} is not a member of group {group_id}."))
    }
}

impl From<EncodeError> for Refusal {
    fn from(error: EncodeError) -> Self {
        tracing::error!(%error, "a group record cannot be made");
        Self { error: ErrorCode::UnknownServerError, message: None }
    }
}

#[derive(Debug)]
pub(crate) enum TimerChange {
    Set { timer: Timer, delay_ms: i64, due: Due },
    SetIfAbsent { timer: Timer, delay_ms: i64, due: Due },
    Cancel(Timer),
}

/// The effects of a decision; they come about when the records are in the log.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) records: Vec<CoordinatorRecord>,
    pub(crate) timers: Vec<TimerChange>,
    pub(crate) refreshed: Option<Refreshed>,
}

impl Step {
    pub(super) fn set(&mut self, timer: Timer, delay_ms: i32, due: Due) {
        self.timers.push(TimerChange::Set { timer, delay_ms: i64::from(delay_ms), due });
    }

    pub(super) fn cancel(&mut self, timer: Timer) {
        self.timers.push(TimerChange::Cancel(timer));
    }
}
