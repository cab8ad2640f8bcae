//! A member of the consumer protocol (KIP-848), as the Java client is one: what it is to give up it gives up before it says so, what changes is
//! acknowledged at once, and everything else waits for the interval that the coordinator asks for.

use std::io;
use std::time::{Duration, Instant};

use wire::ErrorCode;
use wire::messages::ConsumerGroupHeartbeatRequest;
use wire::messages::consumer_group_heartbeat_request::TopicPartitions;

use super::connection::Connection;
use super::member::{Backoff, Place, passes};

const REBALANCE_TIMEOUT_MS: i32 = 300_000;

struct Member {
    place: Place,
    epoch: i32,
    /// A request that says everything: the first, and the first of a connection.
    say_all: bool,
    acknowledge: bool,
    interval: Duration,
}

pub async fn live(place: Place) {
    let mut member = Member { place, epoch: 0, say_all: true, acknowledge: false, interval: Duration::ZERO };
    while member.place.is_wanted() {
        let mut connection = member.place.connect().await;
        if member.stay(&mut connection).await.is_err() {
            member.place.failed();
            member.say_all = true;
        }
    }
    member.place.leave();
}

impl Member {
    async fn stay(&mut self, connection: &mut Connection) -> io::Result<()> {
        let mut backoff = Backoff::default();
        while self.place.is_wanted() {
            let request = self.request();
            let (sent, due) = (Instant::now(), tokio::time::Instant::now());
            let response = connection.call(1, &request).await?;
            self.place.beat(sent);
            if response.error_code == 0 {
                backoff = Backoff::default();
                self.say_all = false;
                self.acknowledge = false;
                self.epoch = response.member_epoch;
                self.interval = Duration::from_millis(response.heartbeat_interval_ms.max(1) as u64);
                if let Some(assignment) = response.assignment {
                    let given: Vec<i32> = assignment.topic_partitions.into_iter().flat_map(|topic| topic.partitions).collect();
                    self.take(given, request.member_epoch == 0);
                }
                let (epoch, acknowledged) = (self.epoch, !self.acknowledge);
                self.place.change(|seat| (seat.joined, seat.epoch, seat.acknowledged) = (true, epoch, acknowledged));
                if self.acknowledge {
                    continue;
                }
            } else {
                self.place.failed();
                self.place.change(|seat| seat.acknowledged = false);
                match ErrorCode::from_code(response.error_code) {
                    ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId => {
                        self.place.own(Vec::new());
                        (self.epoch, self.say_all, self.acknowledge) = (0, true, false);
                        continue;
                    }
                    _ if passes(response.error_code) => {
                        self.say_all = true;
                        backoff.wait().await;
                        continue;
                    }
                    other => return Err(io::Error::other(other.to_string())),
                }
            }
            self.place.wait(connection, due + self.interval, &self.place.name(), self.epoch).await?;
        }
        // A good-bye that gets lost is not repeated.
        let leave = ConsumerGroupHeartbeatRequest { member_epoch: -1, ..self.brief() };
        connection.call(1, &leave).await?;
        Ok(())
    }

    /// What it no longer has is given up here and now. A first assignment is acknowledged even if it is empty.
    fn take(&mut self, mut given: Vec<i32>, first: bool) {
        given.sort_unstable();
        if first || given != self.place.owned() {
            self.place.own(given);
            self.acknowledge = true;
        }
    }

    fn brief(&self) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: self.place.shared.group.clone(),
            member_id: self.place.name(),
            member_epoch: self.epoch,
            ..Default::default()
        }
    }

    fn request(&self) -> ConsumerGroupHeartbeatRequest {
        let mut request = self.brief();
        if self.say_all {
            request.rebalance_timeout_ms = REBALANCE_TIMEOUT_MS;
            request.subscribed_topic_names = Some(vec![self.place.shared.topic.clone()]);
        }
        if self.say_all || self.acknowledge {
            let partitions = if self.epoch == 0 { Vec::new() } else { self.place.owned() };
            let topic = TopicPartitions { topic_id: self.place.shared.topic_id, partitions, ..Default::default() };
            request.topic_partitions = Some(if topic.partitions.is_empty() { Vec::new() } else { vec![topic] });
        }
        request
    }
}
