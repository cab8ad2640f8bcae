//! OffsetCommit, TxnOffsetCommit, OffsetFetch and OffsetDelete: who may, and the way to the offsets.
//!
//! The broker comes with topics that exist and that the client may see; it fills in names and ids, and adds the refused partitions
//! to the answer.

use base::Now;
use wire::ErrorCode;
use wire::messages::offset_fetch_request::OffsetFetchRequestGroup;
use wire::messages::offset_fetch_response::OffsetFetchResponseGroup;
use wire::messages::{OffsetCommitRequest, OffsetDeleteRequest, TxnOffsetCommitRequest};

use super::lifecycle::replayed;
use super::{Shard, classic_step};
use crate::errors;
use crate::group::Group;
use crate::group::consumer::CommitCheck;
use crate::offsets;
use crate::output::{Completion, CoordinatorRecord, Deferred, Output, Producer, Reply, RequestContext, Token};

impl Shard {
    pub fn offset_commit(&mut self, now: Now, context: &RequestContext, token: Token, request: &OffsetCommitRequest) -> Output {
        let mut out = Output::default();
        let decided = self
            .validate_commit(context, request)
            .and_then(|check| offsets::decide_commit(now, request, self.config.offset_metadata_max_bytes, &check));
        match decided {
            Ok(committed) => {
                if let Some((group, mut step)) = classic_step(self, &request.group_id, now, &mut out) {
                    group.offsets_committed(&request.member_id, &mut step);
                }
                let reply = Reply::OffsetCommit(committed.response);
                self.write(now, token, context, committed.records, None, reply, &mut out);
            }
            Err(error) => out.reply(token, Reply::OffsetCommit(errors::offset_commit(request, error))),
        }
        out
    }

    fn validate_commit(&self, context: &RequestContext, request: &OffsetCommitRequest) -> Result<CommitCheck<'_>, ErrorCode> {
        let instance_id = request.group_instance_id.as_deref();
        let epoch = request.generation_id_or_member_epoch;
        match self.groups.get(&request.group_id) {
            Some(Group::Classic(group)) => group.validate_offset_commit(&request.member_id, instance_id, epoch, false)?,
            Some(Group::Consumer(group)) => {
                return group.validate_offset_commit(&request.member_id, instance_id, epoch, false, context.api_version);
            }
            Some(Group::Modern(group)) => {
                group.validate_offset_commit(&request.member_id, instance_id, epoch, false, context.api_version)?;
            }
            // A group that only holds offsets is made by its first commit. Any other caller believes in a group that is not there.
            None if epoch < 0 => {}
            None if context.api_version >= 9 => return Err(ErrorCode::GroupIdNotFound),
            None => return Err(ErrorCode::IllegalGeneration),
        }
        Ok(CommitCheck::Nothing)
    }

    /// The transaction is already verified. The offsets count when its marker commits it.
    pub fn txn_offset_commit(&mut self, now: Now, context: &RequestContext, token: Token, request: &TxnOffsetCommitRequest) -> Output {
        let mut out = Output::default();
        let decided = self.validate_txn_commit(context, request).and_then(|check| {
            let topic_id = |name: &str| self.cluster.topic_id(name);
            offsets::decide_txn_commit(now, request, self.config.offset_metadata_max_bytes, &check, topic_id)
        });
        // Producers do not know about member epochs.
        let decided = decided.map_err(|e| if e == ErrorCode::StaleMemberEpoch { ErrorCode::IllegalGeneration } else { e });
        match decided {
            Ok(committed) => {
                let producer = Producer { id: request.producer_id, epoch: request.producer_epoch };
                let reply = Reply::TxnOffsetCommit(committed.response);
                self.write(now, token, context, committed.records, Some(producer), reply, &mut out);
            }
            Err(error) => out.reply(token, Reply::TxnOffsetCommit(errors::txn_offset_commit(request, error))),
        }
        out
    }

    fn validate_txn_commit(&self, context: &RequestContext, request: &TxnOffsetCommitRequest) -> Result<CommitCheck<'_>, ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let instance_id = request.group_instance_id.as_deref();
        match self.groups.get(&request.group_id) {
            Some(Group::Classic(group)) => group.validate_offset_commit(&request.member_id, instance_id, request.generation_id, true)?,
            Some(Group::Consumer(group)) => {
                return group.validate_offset_commit(&request.member_id, instance_id, request.generation_id, true, context.api_version);
            }
            Some(Group::Modern(group)) => {
                group.validate_offset_commit(&request.member_id, instance_id, request.generation_id, true, context.api_version)?;
            }
            None if request.generation_id < 0 => {}
            None => return Err(ErrorCode::IllegalGeneration),
        }
        Ok(CommitCheck::Nothing)
    }

    /// One group of an OffsetFetch. `request.topics: None` asks for all; the broker filters what the client may see, and fills in ids.
    pub fn offset_fetch(
        &mut self,
        now: Now,
        context: &RequestContext,
        token: Token,
        request: OffsetFetchRequestGroup,
        require_stable: bool,
    ) -> Output {
        let mut out = Output::default();
        let known = match self.groups.get(&request.group_id) {
            Some(Group::Classic(_)) => Ok(true),
            Some(Group::Consumer(group)) => group.validate_offset_fetch(request.member_id.as_deref(), request.member_epoch).map(|()| true),
            Some(Group::Modern(group)) => match group.validate_offset_fetch(request.member_id.as_deref(), request.member_epoch) {
                Err(ErrorCode::GroupIdNotFound) => Ok(false),
                result => result.map(|()| true),
            },
            None => Ok(false),
        };
        let response = match known {
            Err(error) => errors::offset_fetch(&request, error, context.api_version),
            Ok(known) => {
                let topics = match &request.topics {
                    Some(topics) => offsets::fetch(&self.offsets, &request.group_id, topics, require_stable, known),
                    None if known => offsets::fetch_all(&self.offsets, &request.group_id, require_stable),
                    None => Vec::new(),
                };
                OffsetFetchResponseGroup { group_id: request.group_id, topics, ..Default::default() }
            }
        };
        self.answer_when_settled(now, token, Reply::OffsetFetch(response), context.api_version, &mut out);
        out
    }

    pub fn offset_delete(&mut self, now: Now, context: &RequestContext, token: Token, request: OffsetDeleteRequest) -> Output {
        let mut out = Output::default();
        match self.decide_offset_delete(&request) {
            Ok(decided) => self.write(now, token, context, decided.records, None, Reply::OffsetDelete(decided.response), &mut out),
            Err(error) => out.reply(token, Reply::OffsetDelete(errors::offset_delete(error))),
        }
        out
    }

    fn decide_offset_delete(
        &self,
        request: &OffsetDeleteRequest,
    ) -> Result<offsets::Committed<wire::messages::OffsetDeleteResponse>, ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let group = self.groups.get(&request.group_id).ok_or(ErrorCode::GroupIdNotFound)?;
        match group {
            Group::Classic(classic) if !classic.is_empty() && !classic.uses_consumer_protocol() => return Err(ErrorCode::NonEmptyGroup),
            Group::Modern(modern) if modern.kind() == crate::group::modern::Kind::Share => return Err(ErrorCode::GroupIdNotFound),
            _ => {}
        }
        offsets::decide_delete(&self.offsets, group, request).map_err(|_| ErrorCode::UnknownServerError)
    }

    /// Writes the records, and answers when they are committed; without records, when everything before is.
    #[allow(clippy::too_many_arguments)]
    fn write(
        &mut self,
        now: Now,
        token: Token,
        context: &RequestContext,
        records: Vec<CoordinatorRecord>,
        producer: Option<Producer>,
        reply: Reply,
        out: &mut Output,
    ) {
        if records.is_empty() {
            return self.answer_when_settled(now, token, reply, context.api_version, out);
        }
        let completion = Completion::Replies(Deferred { replies: vec![(token, reply)], api_version: context.api_version });
        out.appends.push(replayed(records, producer, completion));
    }
}
