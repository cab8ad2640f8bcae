//! Who may commit and fetch offsets of a consumer group. Kafka: ConsumerGroup.validateOffsetCommit, validateOffsetFetch.

use base::Uuid;
use wire::ErrorCode;

use super::ConsumerGroup;
use super::member::Member;

/// What an accepted commit still has to be checked for.
pub(crate) enum CommitCheck<'a> {
    Nothing,
    /// The member is a step behind: it may commit what it already held at its epoch.
    HeldSince {
        member: &'a Member,
        epoch: i32,
    },
}

impl CommitCheck<'_> {
    pub(crate) fn partition(&self, topic: Uuid, partition: i32) -> Result<(), ErrorCode> {
        match self {
            CommitCheck::Nothing => Ok(()),
            CommitCheck::HeldSince { member, epoch } => match member.held_since(topic, partition) {
                Some(since) if *epoch >= since => Ok(()),
                _ => Err(stale(member)),
            },
        }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, CommitCheck::Nothing)
    }
}

fn stale(member: &Member) -> ErrorCode {
    if member.uses_classic_protocol() { ErrorCode::IllegalGeneration } else { ErrorCode::StaleMemberEpoch }
}

impl ConsumerGroup {
    pub(crate) fn validate_offset_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        epoch: i32,
        transactional: bool,
        api_version: i16,
    ) -> Result<CommitCheck<'_>, ErrorCode> {
        // From an admin client, or a consumer that assigns itself.
        if epoch < 0 && self.is_empty() {
            return Ok(CommitCheck::Nothing);
        }
        if transactional && epoch == -1 && member_id.is_empty() && instance_id.is_none() {
            return Ok(CommitCheck::Nothing);
        }
        let member = self.member(member_id).ok_or(ErrorCode::UnknownMemberId)?;
        if !transactional && !member.uses_classic_protocol() && api_version < 9 {
            return Err(ErrorCode::UnsupportedVersion);
        }
        if epoch == member.epoch {
            Ok(CommitCheck::Nothing)
        } else if epoch > member.epoch {
            Err(stale(member))
        } else {
            Ok(CommitCheck::HeldSince { member, epoch })
        }
    }

    pub(crate) fn validate_offset_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        if member_id.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = member_id.and_then(|id| self.member(id)).ok_or(ErrorCode::UnknownMemberId)?;
        if epoch == member.epoch { Ok(()) } else { Err(stale(member)) }
    }
}
