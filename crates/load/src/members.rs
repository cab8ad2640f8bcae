//! Members of one group, each with a connection of its own, all on one thread. What they do is read from standard input, a command a line, and
//! answered by a line of figures when it is done:
//!
//! `join N MS` more members, spread over that time; `leave N` of those that joined first; `roll MS` everybody leaves and comes back, one after the
//! other; `rest MS`; `commit MS` as fast as answers come; `fill N` commits of no member to the group's partition of `__consumer_offsets`;
//! `again` when the broker restarts: every member has to be answered anew. All but `rest`, `commit` and `fill` are done when the group is stable:
//! every member has acknowledged what it was given, every partition is owned once, and the coordinator calls the group stable. When standard
//! input ends, everybody leaves.

mod classic;
mod connection;
mod consumer;
mod ledger;
mod member;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use wire::ErrorCode;
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::offset_commit_request::OffsetCommitRequestTopic;
use wire::messages::{ConsumerGroupDescribeRequest, DescribeGroupsRequest, MetadataRequest, OffsetCommitRequest};

use crate::Result;
use crate::figures::Figures;
pub use connection::Connection;
use ledger::{Ledger, Seat};
use member::{Place, Shared, committed, find_coordinator};

/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(120);
const OFFSETS_PARTITIONS: i32 = 50;
const FILL_RECORDS: usize = 1000;

#[derive(Clone, Copy, PartialEq)]
enum Protocol {
    Consumer,
    Classic,
}

struct Members {
    shared: Rc<Shared>,
    protocol: Protocol,
    orders: Vec<Rc<Notify>>,
}

pub fn run(args: &[String]) -> Result<Figures> {
    let [bootstrap, group, topic, protocol] = args else {
        return Err("members BOOTSTRAP GROUP TOPIC consumer|classic".into());
    };
    let protocol = match protocol.as_str() {
        "consumer" => Protocol::Consumer,
        "classic" => Protocol::Classic,
        other => return Err(format!("there is no protocol '{other}'").into()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // A blocking read of its own thread: the members go on meanwhile.
    let (send, mut commands) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lines() {
            let Ok(line) = line else { return };
            if send.send(line).is_err() {
                return;
            }
        }
    });
    runtime.block_on(async {
        let mut members = Members::new(bootstrap, group, topic, protocol).await?;
        let tasks = tokio::task::LocalSet::new();
        while let Some(line) = tasks.run_until(commands.recv()).await {
            println!("{}", tasks.run_until(members.obey(&tasks, &line)).await?);
        }
        tasks.run_until(members.end()).await;
        Ok(Figures::default())
    })
}

impl Members {
    async fn new(bootstrap: &str, group: &str, topic: &str, protocol: Protocol) -> Result<Self> {
        let mut connection = Connection::open(bootstrap, "members").await?;
        let wanted = MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() };
        let metadata = connection.call(12, &MetadataRequest { topics: Some(vec![wanted]), ..Default::default() }).await?;
        let known = metadata.topics.first().filter(|topic| topic.error_code == 0).ok_or("the topic does not exist")?;
        let shared = Shared {
            address: bootstrap.to_owned(),
            group: group.to_owned(),
            topic: topic.to_owned(),
            topic_id: known.topic_id,
            partitions: i32::try_from(known.partitions.len())?,
            ledger: RefCell::new(Ledger::new(known.partitions.len())),
            changed: Notify::new(),
        };
        // The first who asks has the topic of the offsets created.
        let begin = Instant::now();
        while let Err(error) = find_coordinator(&mut connection, group).await {
            if begin.elapsed() > PATIENCE {
                return Err(error.into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(Members { shared: Rc::new(shared), protocol, orders: Vec::new() })
    }

    async fn obey(&mut self, tasks: &tokio::task::LocalSet, line: &str) -> Result<Figures> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| -> Result<u64> { Ok(words.get(at).ok_or("a number is missing")?.parse()?) };
        let pause = |of: u64, over: usize| Duration::from_micros(of * 1000 / over.max(1) as u64);
        {
            let mut ledger = self.shared.ledger.borrow_mut();
            (ledger.heartbeats, ledger.commits, ledger.errors, ledger.overlaps) = (0, 0, 0, 0);
            ledger.heartbeat_micros.clear();
            ledger.commit_micros.clear();
        }
        let begin = Instant::now();
        let mut figures = Figures::default();
        match words.first().copied() {
            Some("join") => {
                let count = number(1)? as usize;
                let pause = pause(number(2)?, count);
                for n in 1..=count {
                    self.join(tasks);
                    tokio::time::sleep_until(begin + pause * n as u32).await;
                }
                self.await_stable(begin, &mut figures).await?;
            }
            Some("leave") => {
                let count = number(1)? as usize;
                let wanted = |seat: &(usize, &Seat)| seat.1.wanted;
                let leaving: Vec<usize> =
                    self.shared.ledger.borrow().seats.iter().enumerate().filter(wanted).map(|(seat, _)| seat).take(count).collect();
                leaving.into_iter().for_each(|seat| self.leave(seat));
                self.await_stable(begin, &mut figures).await?;
            }
            Some("roll") => {
                let seats: Vec<usize> = (0..self.orders.len()).filter(|seat| self.shared.ledger.borrow().seats[*seat].wanted).collect();
                let pause = pause(number(1)?, seats.len());
                for (n, seat) in seats.into_iter().enumerate() {
                    self.leave(seat);
                    self.join(tasks);
                    tokio::time::sleep_until(begin + pause * (n as u32 + 1)).await;
                }
                self.await_stable(begin, &mut figures).await?;
            }
            Some("again") => {
                self.shared.ledger.borrow_mut().seats.iter_mut().for_each(|seat| seat.acknowledged = false);
                while !self.is_called_stable().await.unwrap_or(false) && begin.elapsed() < PATIENCE {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                figures.add("served_ms", begin.elapsed().as_secs_f64() * 1000.0);
                self.await_stable(begin, &mut figures).await?;
            }
            Some("rest") => tokio::time::sleep(Duration::from_millis(number(1)?)).await,
            Some("commit") => {
                self.shared.ledger.borrow_mut().committing = true;
                self.orders.iter().for_each(|order| order.notify_one());
                tokio::time::sleep(Duration::from_millis(number(1)?)).await;
                self.shared.ledger.borrow_mut().committing = false;
            }
            Some("fill") => self.fill(number(1)? as usize).await?,
            _ => return Err(format!("'{line}' is not understood").into()),
        }
        let seconds = begin.elapsed().as_secs_f64();
        let ledger = self.shared.ledger.borrow();
        figures.add("seconds", seconds);
        figures.add("heartbeats", ledger.heartbeats as f64);
        figures.add_latencies("heartbeat", ledger.heartbeat_micros.clone());
        figures.add("commits_per_second", ledger.commits as f64 / seconds);
        figures.add_latencies("commit", ledger.commit_micros.clone());
        figures.add("errors", ledger.errors as f64);
        figures.add("overlaps", ledger.overlaps as f64);
        Ok(figures)
    }

    fn join(&mut self, tasks: &tokio::task::LocalSet) {
        let mut ledger = self.shared.ledger.borrow_mut();
        let seat = ledger.seats.len();
        // A seat is used once: the one who left it may still be on its way out.
        ledger.seats.push(Seat { wanted: true, ..Seat::default() });
        let order = Rc::new(Notify::new());
        self.orders.push(order.clone());
        let place = Place { shared: self.shared.clone(), seat, order };
        match self.protocol {
            Protocol::Consumer => tasks.spawn_local(consumer::live(place)),
            Protocol::Classic => tasks.spawn_local(classic::live(place)),
        };
    }

    fn leave(&self, seat: usize) {
        self.shared.ledger.borrow_mut().seats[seat].wanted = false;
        self.orders[seat].notify_one();
    }

    async fn end(&self) {
        (0..self.orders.len()).for_each(|seat| self.leave(seat));
        let limit = Instant::now() + PATIENCE;
        while self.shared.ledger.borrow().seats.iter().any(|seat| seat.joined) {
            if tokio::time::timeout_at(limit, self.shared.changed.notified()).await.is_err() {
                return;
            }
        }
    }

    /// Adds the time since `begin`, and since the last order was given.
    async fn await_stable(&self, begin: Instant, figures: &mut Figures) -> Result<()> {
        let ordered = Instant::now();
        let limit = ordered + PATIENCE;
        loop {
            if self.shared.ledger.borrow().is_settled() {
                // Told before it asks, so that the time is that of the members and not of the question.
                let settled = Instant::now();
                if self.is_called_stable().await.unwrap_or(false) {
                    figures.add("stable_ms", (settled - begin).as_secs_f64() * 1000.0);
                    figures.add("stable_after_last_ms", settled.saturating_duration_since(ordered).as_secs_f64() * 1000.0);
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            } else if tokio::time::timeout_at(limit, self.shared.changed.notified()).await.is_err() {
                return Err("the group does not become stable".into());
            }
        }
    }

    async fn is_called_stable(&self) -> io::Result<bool> {
        let mut connection = Connection::open(&self.shared.address, "members").await?;
        let group = self.shared.group.clone();
        Ok(match self.protocol {
            Protocol::Consumer => {
                let request = ConsumerGroupDescribeRequest { group_ids: vec![group], ..Default::default() };
                let response = connection.call(1, &request).await?;
                response.groups.iter().all(|group| group.group_state == "Stable")
            }
            Protocol::Classic => {
                let request = DescribeGroupsRequest { groups: vec![group], ..Default::default() };
                let response = connection.call(5, &request).await?;
                response.groups.iter().all(|group| group.group_state == "Stable")
            }
        })
    }

    /// Commits as somebody without a group makes them, under another name in the same partition.
    async fn fill(&self, records: usize) -> Result<()> {
        let partition = |group: &str| base::hash::coordinator_partition(group, OFFSETS_PARTITIONS);
        let own = partition(&self.shared.group);
        let name = (0..).map(|n| format!("fill-{n}")).find(|name| partition(name) == own).ok_or("no name")?;
        let mut connection = Connection::open(&self.shared.address, "members").await?;
        for n in 0..records.div_ceil(FILL_RECORDS) {
            let topic = OffsetCommitRequestTopic {
                name: self.shared.topic.clone(),
                partitions: (0..FILL_RECORDS as i32).map(|partition| committed(partition % self.shared.partitions, n as i64)).collect(),
                ..Default::default()
            };
            let request = OffsetCommitRequest { group_id: name.clone(), topics: vec![topic], ..Default::default() };
            let response = connection.call(9, &request).await?;
            let mut answers = response.topics.iter().flat_map(|topic| &topic.partitions);
            if let Some(failed) = answers.find(|partition| partition.error_code != 0) {
                return Err(ErrorCode::from_code(failed.error_code).to_string().into());
            }
        }
        Ok(())
    }
}
