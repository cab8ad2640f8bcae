//! What members of both protocols do alike: find the coordinator, wait for what comes first, commit, back off.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use base::Uuid;
use tokio::sync::Notify;
use wire::ErrorCode;
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::{FindCoordinatorRequest, OffsetCommitRequest};

use super::connection::Connection;
use super::ledger::{Ledger, Seat};

pub struct Shared {
    pub address: String,
    pub group: String,
    pub topic: String,
    pub topic_id: Uuid,
    pub partitions: i32,
    pub ledger: RefCell<Ledger>,
    /// Something in the ledger has changed.
    pub changed: Notify,
}

/// One member with its place in the ledger.
#[derive(Clone)]
pub struct Place {
    pub shared: Rc<Shared>,
    pub seat: usize,
    /// It is to do something else than wait.
    pub order: Rc<Notify>,
}

/// As the Java client: from 100 ms, doubled up to a second.
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Backoff(Duration::from_millis(100))
    }
}

impl Backoff {
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Duration::from_secs(1));
    }
}

impl Place {
    pub fn name(&self) -> String {
        format!("member-{}", self.seat)
    }

    /// Whether it is to stay in the group.
    pub fn is_wanted(&self) -> bool {
        self.shared.ledger.borrow().seats[self.seat].wanted
    }

    pub fn change(&self, change: impl FnOnce(&mut Seat)) {
        change(&mut self.shared.ledger.borrow_mut().seats[self.seat]);
        self.shared.changed.notify_one();
    }

    pub fn own(&self, partitions: Vec<i32>) {
        self.shared.ledger.borrow_mut().own(self.seat, partitions);
        self.shared.changed.notify_one();
    }

    /// Nobody sits here any more, and nothing is owned from here.
    pub fn leave(&self) {
        self.own(Vec::new());
        self.change(|seat| (seat.joined, seat.acknowledged) = (false, false));
    }

    pub fn owned(&self) -> Vec<i32> {
        self.shared.ledger.borrow().seats[self.seat].owned.clone()
    }

    pub fn beat(&self, sent: Instant) {
        let mut ledger = self.shared.ledger.borrow_mut();
        ledger.heartbeats += 1;
        ledger.heartbeat_micros.push(sent.elapsed().as_micros() as u64);
    }

    pub fn failed(&self) {
        self.shared.ledger.borrow_mut().errors += 1;
    }

    /// A connection to the coordinator of the group, however long it takes.
    pub async fn connect(&self) -> Connection {
        let mut backoff = Backoff::default();
        loop {
            if let Ok(connection) = self.try_connect().await {
                return connection;
            }
            self.failed();
            backoff.wait().await;
        }
    }

    async fn try_connect(&self) -> io::Result<Connection> {
        let mut connection = Connection::open(&self.shared.address, &self.name()).await?;
        find_coordinator(&mut connection, &self.shared.group).await?;
        Ok(connection)
    }

    /// Waits for the next heartbeat, and commits meanwhile if that is the order. Returns early when there is another one.
    pub async fn wait(&self, connection: &mut Connection, until: tokio::time::Instant, member_id: &str, epoch: i32) -> io::Result<()> {
        while self.is_wanted() && tokio::time::Instant::now() < until {
            if self.shared.ledger.borrow().committing {
                if !self.commit(connection, member_id, epoch).await? {
                    return Ok(());
                }
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = self.order.notified() => {}
            }
        }
        Ok(())
    }

    /// Whether the coordinator took it.
    async fn commit(&self, connection: &mut Connection, member_id: &str, epoch: i32) -> io::Result<bool> {
        let offset = self.shared.ledger.borrow().commits as i64;
        let partitions = self.owned().into_iter().map(|partition| committed(partition, offset)).collect();
        let topic = OffsetCommitRequestTopic { name: self.shared.topic.clone(), partitions, ..Default::default() };
        let request = OffsetCommitRequest {
            group_id: self.shared.group.clone(),
            generation_id_or_member_epoch: epoch,
            member_id: member_id.to_owned(),
            topics: vec![topic],
            ..Default::default()
        };
        let sent = Instant::now();
        let response = connection.call(9, &request).await?;
        let mut errors = response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
        let taken = errors.all(|error| error == ErrorCode::None.code());
        let mut ledger = self.shared.ledger.borrow_mut();
        if taken {
            ledger.commits += 1;
            ledger.commit_micros.push(sent.elapsed().as_micros() as u64);
        } else {
            ledger.errors += 1;
        }
        Ok(taken)
    }
}

pub fn committed(partition_index: i32, committed_offset: i64) -> OffsetCommitRequestPartition {
    OffsetCommitRequestPartition { partition_index, committed_offset, ..Default::default() }
}

pub async fn find_coordinator(connection: &mut Connection, group: &str) -> io::Result<()> {
    let request = FindCoordinatorRequest { coordinator_keys: vec![group.to_owned()], ..Default::default() };
    let response = connection.call(4, &request).await?;
    match response.coordinators.first().map(|found| found.error_code) {
        Some(0) => Ok(()),
        error => Err(io::Error::other(format!("no coordinator: {error:?}"))),
    }
}

/// Errors that pass by themselves.
pub fn passes(error: i16) -> bool {
    matches!(
        ErrorCode::from_code(error),
        ErrorCode::CoordinatorLoadInProgress | ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator | ErrorCode::RequestTimedOut
    )
}
