//! A consumer of all partitions that gets each record as soon as it is there; and fetching in general.

use super::connection::{Connection, wait};
use super::producer::micros;
use super::{PARTITIONS, PATIENCE, Plan, Span, step_forward};
use crate::Result;
use record::batches;
use std::time::{Duration, Instant};
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::fetch_response::PartitionData;
use wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::{FetchRequest, ListOffsetsRequest};

/// The last ones that know topics by name.
pub const FETCH_VERSION: i16 = 12;
const LIST_OFFSETS_VERSION: i16 = 6;
const LATEST: i64 = -1;
/// As Kafka's consumers ask by default.
const PARTITION_BYTES: i32 = 1 << 20;
const FETCH_BYTES: i32 = 50 << 20;

/// Where to go on in each partition.
pub type Offsets = [i64; PARTITIONS as usize];

pub struct Consumer {
    connection: Connection,
    topic: &'static str,
    offsets: Offsets,
    /// How many records will count.
    expected: usize,
}

impl Consumer {
    /// From the end of the topic on.
    pub fn open(plan: &Plan) -> Result<Consumer> {
        let mut connection = Connection::open(&plan.bootstrap)?;
        let offsets = ends(&mut connection, plan.topic())?;
        Ok(Consumer { connection, topic: plan.topic(), offsets, expected: plan.records_per_second as usize * plan.seconds as usize })
    }

    /// Gives the latency of each record that counts, in microseconds.
    pub fn run(&mut self, span: Span) -> Result<Vec<u64>> {
        step_forward();
        let mut latencies = Vec::new();
        self.ask()?;
        while latencies.len() < self.expected {
            let now = Instant::now();
            if now > span.end + PATIENCE {
                return Err(format!("{} of {} records did not come", self.expected - latencies.len(), self.expected).into());
            }
            let Some(response) = self.connection.receive::<FetchRequest>(FETCH_VERSION)? else {
                wait(std::slice::from_mut(&mut self.connection), Some(now + Duration::from_millis(100)))?;
                continue;
            };
            let received = Instant::now();
            for partition in response.responses.iter().flat_map(|topic| &topic.partitions) {
                each_value(partition, &mut self.offsets, |value| {
                    let nanos = value.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
                    let due = span.start + Duration::from_nanos(nanos);
                    if span.counts(due) {
                        latencies.push(micros(due, received));
                    }
                })?;
            }
            self.ask()?;
        }
        Ok(latencies)
    }

    fn ask(&mut self) -> Result<()> {
        self.connection.send(&fetch(self.topic, &self.offsets), FETCH_VERSION)
    }
}

pub fn fetch(topic: &str, offsets: &Offsets) -> FetchRequest {
    let of = |(partition, offset): (usize, &i64)| FetchPartition {
        partition: partition as i32,
        fetch_offset: *offset,
        partition_max_bytes: PARTITION_BYTES,
        ..Default::default()
    };
    let partitions = offsets.iter().enumerate().map(of).collect();
    let topic = FetchTopic { topic: topic.into(), partitions, ..Default::default() };
    FetchRequest { replica_id: -1, max_wait_ms: 500, min_bytes: 1, max_bytes: FETCH_BYTES, topics: vec![topic], ..Default::default() }
}

/// Moves the offset of the partition behind what came; gives the bytes of it.
pub fn advance(data: &PartitionData, offsets: &mut Offsets) -> Result<usize> {
    let Some(bytes) = checked_records(data)? else { return Ok(0) };
    for batch in batches(&bytes) {
        offsets[data.partition_index as usize] = batch?.view().next_offset();
    }
    Ok(bytes.len())
}

fn each_value(data: &PartitionData, offsets: &mut Offsets, mut each: impl FnMut(&[u8])) -> Result<()> {
    let Some(bytes) = checked_records(data)? else { return Ok(()) };
    for batch in batches(&bytes) {
        let batch = batch?;
        for record in batch.records(usize::MAX)? {
            each(record?.value.as_deref().unwrap_or_default());
        }
        offsets[data.partition_index as usize] = batch.view().next_offset();
    }
    Ok(())
}

fn checked_records(data: &PartitionData) -> Result<Option<bytes::Bytes>> {
    if data.error_code != 0 || !(0..PARTITIONS).contains(&data.partition_index) {
        return Err(format!("error {} from partition {}", data.error_code, data.partition_index).into());
    }
    Ok(data.records.as_ref().map(wire::Records::to_bytes).transpose()?)
}

pub fn ends(connection: &mut Connection, topic: &str) -> Result<Offsets> {
    let of = |partition| ListOffsetsPartition { partition_index: partition, timestamp: LATEST, ..Default::default() };
    let asked = ListOffsetsTopic { name: topic.into(), partitions: (0..PARTITIONS).map(of).collect(), ..Default::default() };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![asked], ..Default::default() };
    // A topic that was created just now may still be without leaders.
    let until = Instant::now() + PATIENCE;
    loop {
        let response = connection.call(&request, LIST_OFFSETS_VERSION)?;
        let mut offsets = Offsets::default();
        let mut error = 0;
        for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
            error = error.max(partition.error_code);
            if let Some(offset) = offsets.get_mut(partition.partition_index as usize) {
                *offset = partition.offset;
            }
        }
        if error == 0 {
            return Ok(offsets);
        }
        if Instant::now() > until {
            return Err(format!("{topic}: error {error} instead of offsets").into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
