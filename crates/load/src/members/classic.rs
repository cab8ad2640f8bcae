//! A member of the classic protocol, eager, as the Java client is one: it gives up everything before it joins again, the leader assigns, and
//! heartbeats come every three seconds.

use std::io;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use wire::messages::consumer_protocol_assignment::TopicPartition;
use wire::messages::join_group_request::JoinGroupRequestProtocol;
use wire::messages::leave_group_request::MemberIdentity;
use wire::messages::sync_group_request::SyncGroupRequestAssignment;
use wire::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    SyncGroupRequest,
};
use wire::{ErrorCode, Message, Reader};

use super::connection::Connection;
use super::member::{Backoff, Place, passes};

const HEARTBEAT: Duration = Duration::from_secs(3);
const SESSION_TIMEOUT_MS: i32 = 45_000;
const REBALANCE_TIMEOUT_MS: i32 = 300_000;
const PROTOCOL: &str = "range";

struct Member {
    place: Place,
    id: String,
    generation: i32,
}

pub async fn live(place: Place) {
    let mut member = Member { place, id: String::new(), generation: -1 };
    while member.place.is_wanted() {
        let mut connection = member.place.connect().await;
        if member.stay(&mut connection).await.is_err() {
            member.place.failed();
        }
    }
    member.place.leave();
}

impl Member {
    /// An error of the connection ends this; the member keeps its generation and goes on with the next connection.
    async fn stay(&mut self, connection: &mut Connection) -> io::Result<()> {
        let mut backoff = Backoff::default();
        while self.place.is_wanted() {
            if self.generation < 0 {
                match self.join(connection).await? {
                    0 => backoff = Backoff::default(),
                    error => {
                        self.failed_with(error);
                        if passes(error) {
                            backoff.wait().await;
                        }
                        continue;
                    }
                }
            }
            let due = tokio::time::Instant::now() + HEARTBEAT;
            self.place.wait(connection, due, &self.id, self.generation).await?;
            if !self.place.is_wanted() {
                break;
            }
            let sent = Instant::now();
            let request = HeartbeatRequest {
                group_id: self.place.shared.group.clone(),
                generation_id: self.generation,
                member_id: self.id.clone(),
                ..Default::default()
            };
            let response = connection.call(4, &request).await?;
            self.place.beat(sent);
            match response.error_code {
                0 => {}
                error if passes(error) => {
                    self.place.failed();
                    backoff.wait().await;
                }
                error => self.failed_with(error),
            }
        }
        let member = MemberIdentity { member_id: self.id.clone(), ..Default::default() };
        let leave = LeaveGroupRequest { group_id: self.place.shared.group.clone(), members: vec![member], ..Default::default() };
        connection.call(5, &leave).await?;
        Ok(())
    }

    /// It has to join again, and holds nothing until it has.
    fn failed_with(&mut self, error: i16) {
        let error = ErrorCode::from_code(error);
        if !matches!(error, ErrorCode::RebalanceInProgress | ErrorCode::MemberIdRequired) {
            self.place.failed();
        }
        if error == ErrorCode::UnknownMemberId {
            self.id.clear();
        }
        self.generation = -1;
        self.place.own(Vec::new());
        self.place.change(|seat| seat.acknowledged = false);
    }

    /// JoinGroup and SyncGroup; the error of either.
    async fn join(&mut self, connection: &mut Connection) -> io::Result<i16> {
        let subscription = ConsumerProtocolSubscription { topics: vec![self.place.shared.topic.clone()], ..Default::default() };
        let protocol = JoinGroupRequestProtocol { name: PROTOCOL.to_owned(), metadata: versioned(&subscription)?, ..Default::default() };
        let request = JoinGroupRequest {
            group_id: self.place.shared.group.clone(),
            session_timeout_ms: SESSION_TIMEOUT_MS,
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
            member_id: self.id.clone(),
            protocol_type: "consumer".to_owned(),
            protocols: vec![protocol],
            ..Default::default()
        };
        let joined = connection.call(9, &request).await?;
        if !joined.member_id.is_empty() {
            self.id.clone_from(&joined.member_id);
        }
        if joined.error_code != 0 {
            return Ok(joined.error_code);
        }
        let request = SyncGroupRequest {
            group_id: self.place.shared.group.clone(),
            generation_id: joined.generation_id,
            member_id: self.id.clone(),
            protocol_type: joined.protocol_type.clone(),
            protocol_name: joined.protocol_name.clone(),
            assignments: self.assign(&joined)?,
            ..Default::default()
        };
        let synced = connection.call(5, &request).await?;
        if synced.error_code != 0 {
            return Ok(synced.error_code);
        }
        self.generation = joined.generation_id;
        self.place.own(partitions(&synced.assignment)?);
        let generation = self.generation;
        self.place.change(|seat| (seat.joined, seat.epoch, seat.acknowledged) = (true, generation, true));
        Ok(0)
    }

    /// What the leader hands out, nothing from anybody else: to each member one range.
    fn assign(&self, joined: &JoinGroupResponse) -> io::Result<Vec<SyncGroupRequestAssignment>> {
        let (all, members) = (self.place.shared.partitions as usize, joined.members.len());
        let range = |n: usize| (n * all / members..(n + 1) * all / members).map(|partition| partition as i32).collect();
        let assignment = |(n, member): (usize, &wire::messages::join_group_response::JoinGroupResponseMember)| {
            let topic = TopicPartition { topic: self.place.shared.topic.clone(), partitions: range(n), ..Default::default() };
            let message = ConsumerProtocolAssignment { assigned_partitions: vec![topic], ..Default::default() };
            let assignment = versioned(&message)?;
            Ok(SyncGroupRequestAssignment { member_id: member.member_id.clone(), assignment, ..Default::default() })
        };
        joined.members.iter().enumerate().map(assignment).collect()
    }
}

/// As clients exchange it: the version in front.
fn versioned<M: Message>(message: &M) -> io::Result<Bytes> {
    let mut out = BytesMut::new();
    out.put_i16(1);
    out.extend_from_slice(&wire::to_bytes(message, 1).map_err(io::Error::other)?);
    Ok(out.freeze())
}

fn partitions(assignment: &Bytes) -> io::Result<Vec<i32>> {
    if assignment.len() < 2 {
        return Ok(Vec::new());
    }
    let message = ConsumerProtocolAssignment::decode(&mut Reader::new(assignment.slice(2..)), 1).map_err(io::Error::other)?;
    Ok(message.assigned_partitions.into_iter().flat_map(|topic| topic.partitions).collect())
}
