//! Producers that send each record when it is due, without linger: what could not leave because five requests were unanswered goes together in
//! the next one, as in Kafka's own producer.

use super::connection::{Connection, wait};
use super::{PARTITIONS, PATIENCE, Plan, Span, step_forward};
use crate::Result;
use bytes::Bytes;
use record::{BatchBuilder, BatchFields};
use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wire::Records;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{ProduceRequest, ProduceResponse};

const VERSION: i16 = 9;
const UNANSWERED_MAX: usize = 5;
const BATCH_MAX: usize = 64;

#[derive(Default)]
pub struct Produced {
    /// From when a record was due to its answer, in microseconds.
    pub answers: Vec<u64>,
    /// From when it was due to when it was sent.
    pub late: Vec<u64>,
}

#[derive(Default)]
struct Lane {
    /// Not sent yet.
    due: VecDeque<Instant>,
    unanswered: VecDeque<Vec<Instant>>,
}

pub fn run(plan: &Plan, span: Span) -> Result<Produced> {
    step_forward();
    let mut connections = (0..PARTITIONS).map(|_| Connection::open(&plan.bootstrap)).collect::<Result<Vec<_>>>()?;
    let mut lanes: Vec<Lane> = connections.iter().map(|_| Lane::default()).collect();
    let mut produced = Produced::default();
    let interval = Duration::from_secs(1) / plan.records_per_second;
    let mut due = 0;
    loop {
        let now = Instant::now();
        let mut next = span.start + interval * due;
        while next <= now && next < span.end {
            lanes[due as usize % PARTITIONS as usize].due.push_back(next);
            due += 1;
            next = span.start + interval * due;
        }
        for (n, (lane, connection)) in lanes.iter_mut().zip(&mut connections).enumerate() {
            while let Some(response) = connection.receive::<ProduceRequest>(VERSION)? {
                check(&response)?;
                let answered = Instant::now();
                let batch = lane.unanswered.pop_front().ok_or("an answer without a question")?;
                produced.answers.extend(batch.iter().filter(|due| span.counts(**due)).map(|due| micros(*due, answered)));
            }
            while !lane.due.is_empty() && lane.unanswered.len() < UNANSWERED_MAX {
                let batch: Vec<Instant> = lane.due.drain(..lane.due.len().min(BATCH_MAX)).collect();
                let sent = Instant::now();
                produced.late.extend(batch.iter().filter(|due| span.counts(**due)).map(|due| micros(*due, sent)));
                connection.send(&request(plan, n as i32, span.start, &batch), VERSION)?;
                lane.unanswered.push_back(batch);
            }
        }
        let is_done = next >= span.end && lanes.iter().all(|lane| lane.due.is_empty() && lane.unanswered.is_empty());
        if is_done {
            return Ok(produced);
        }
        if now > span.end + PATIENCE {
            return Err("records are unanswered long after they were due".into());
        }
        wait(&mut connections, Some(if next < span.end { next } else { now + Duration::from_millis(100) }))?;
    }
}

/// Each record begins with the nanoseconds from the start to when it was due.
fn request(plan: &Plan, partition: i32, start: Instant, batch: &[Instant]) -> ProduceRequest {
    let mut builder = BatchBuilder::with_capacity(BatchFields::default(), 100 + batch.len() * (plan.record_bytes + 20));
    let mut value = vec![b'x'; plan.record_bytes.max(8)];
    let now = wall_ms();
    for due in batch {
        value[..8].copy_from_slice(&(due.duration_since(start).as_nanos() as u64).to_be_bytes());
        builder.append(now, None, Some(&value), &[]);
    }
    produce(plan.topic(), partition, builder.build().unwrap_or_default())
}

pub fn produce(topic: &str, partition: i32, batch: Bytes) -> ProduceRequest {
    let data = PartitionProduceData { index: partition, records: Some(Records::from(batch)), ..Default::default() };
    let topic = TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() }
}

pub fn check(response: &ProduceResponse) -> Result<()> {
    match response.responses.iter().flat_map(|topic| &topic.partition_responses).find(|partition| partition.error_code != 0) {
        Some(partition) => Err(format!("error {} from partition {}", partition.error_code, partition.index).into()),
        None => Ok(()),
    }
}

pub fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

pub fn micros(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_micros() as u64
}
