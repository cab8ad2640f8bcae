//! Owns: one partition's fetched bytes on their way to the application: batch by batch, without control records, aborted transactions and
//! what lies before the position. Used by: `Consumer::poll`. Kafka: `CompletedFetch`. Hot path: keys and values share the fetched bytes.

use crate::consumer::{ConsumerRecord, RecordHeader};
use crate::error::{Error, Result};
use base::TopicPartition;
use bytes::Bytes;
use record::{BatchIter, ControlType, RecordIter, TimestampType};
use std::collections::HashSet;
use std::sync::Arc;

/// What one batch may become when it is decompressed.
const MAX_DECOMPRESSED: usize = 1 << 30;

pub struct CompletedFetch {
    pub partition: TopicPartition,
    topic: Arc<str>,
    /// The epoch of the partition state that asked for it; anything else is stale.
    pub epoch: u64,
    /// Bytes that count against the prefetch limit.
    pub size: usize,
    /// The offset to continue at; moves on as records are taken.
    next_offset: i64,
    leader_epoch: Option<i32>,
    batches: BatchIter,
    current: Option<Current>,
    filter: Option<AbortedFilter>,
    check_crcs: bool,
    any_batch: bool,
}

struct Current {
    records: RecordIter,
    timestamp_type: TimestampType,
    leader_epoch: Option<i32>,
    next_offset: i64,
}

/// Which transactions of the fetched range were aborted (read_committed only).
struct AbortedFilter {
    /// (first offset, producer id), the earliest last.
    upcoming: Vec<(i64, i64)>,
    open: HashSet<i64>,
}

impl AbortedFilter {
    fn new(aborted: Vec<(i64, i64)>) -> Self {
        let mut upcoming: Vec<(i64, i64)> = aborted.into_iter().map(|(producer, first)| (first, producer)).collect();
        upcoming.sort_unstable_by(|a, b| b.cmp(a));
        Self { upcoming, open: HashSet::new() }
    }

    /// Whether the records of a batch were aborted; called for every batch in order.
    fn hides(&mut self, batch: &record::Batch) -> Result<bool> {
        let view = batch.view();
        if !view.has_producer_id() {
            return Ok(false);
        }
        while self.upcoming.last().is_some_and(|(first, _)| *first <= view.last_offset()) {
            if let Some((_, producer)) = self.upcoming.pop() {
                self.open.insert(producer);
            }
        }
        if view.is_control() {
            if control_type(batch)? == Some(ControlType::Abort) {
                self.open.remove(&view.producer_id());
            }
            return Ok(true);
        }
        Ok(view.is_transactional() && self.open.contains(&view.producer_id()))
    }
}

fn control_type(batch: &record::Batch) -> Result<Option<ControlType>> {
    let mut records = batch.records(MAX_DECOMPRESSED).map_err(|error| Error::CorruptRecord(error.to_string()))?;
    let Some(first) = records.next() else { return Ok(None) };
    let first = first.map_err(|error| Error::CorruptRecord(error.to_string()))?;
    ControlType::from_key(first.key.as_deref().unwrap_or_default()).map_err(|error| Error::CorruptRecord(error.to_string()))
}

impl CompletedFetch {
    /// `aborted` as (producer id, first offset) makes it hide aborted transactions.
    pub fn new(
        partition: TopicPartition,
        epoch: u64,
        fetch_offset: i64,
        bytes: Bytes,
        aborted: Option<Vec<(i64, i64)>>,
        check_crcs: bool,
    ) -> Self {
        Self {
            topic: partition.topic.as_str().into(),
            partition,
            epoch,
            size: bytes.len(),
            next_offset: fetch_offset,
            leader_epoch: None,
            batches: record::batches(&bytes),
            current: None,
            filter: aborted.map(AbortedFilter::new),
            check_crcs,
            any_batch: false,
        }
    }

    /// Where the application continues, and the leader epoch of the last record.
    pub fn position(&self) -> (i64, Option<i32>) {
        (self.next_offset, self.leader_epoch)
    }

    /// Adds up to `max` records to `out`. True when nothing is left. After an error the fetch is used up; records before it were delivered.
    pub fn take(&mut self, max: usize, out: &mut Vec<ConsumerRecord>) -> Result<bool> {
        let mut left = max;
        loop {
            let Some(current) = &mut self.current else {
                match self.next_batch()? {
                    true => continue,
                    false => return Ok(true),
                }
            };
            if left == 0 {
                return Ok(false);
            }
            match current.records.next() {
                Some(Ok(record)) => {
                    if record.offset < self.next_offset {
                        continue;
                    }
                    self.next_offset = record.offset.saturating_add(1);
                    self.leader_epoch = current.leader_epoch;
                    left -= 1;
                    out.push(consumer_record(&self.topic, self.partition.partition, current, record));
                }
                Some(Err(error)) => {
                    let text = format!("record at offset {} of {} is corrupt: {error}", self.next_offset, self.partition);
                    return Err(self.corrupt(text));
                }
                None => {
                    // Compaction may have removed the last records of the batch.
                    self.next_offset = self.next_offset.max(current.next_offset);
                    self.current = None;
                }
            }
        }
    }

    fn corrupt(&mut self, text: String) -> Error {
        self.current = None;
        self.batches = record::batches(&Bytes::new());
        Error::CorruptRecord(text)
    }

    fn next_batch(&mut self) -> Result<bool> {
        let batch = match self.batches.next() {
            Some(Ok(batch)) => batch,
            Some(Err(error)) => {
                let text = format!("batch after offset {} of {} is corrupt: {error}", self.next_offset, self.partition);
                return Err(self.corrupt(text));
            }
            None => {
                let cut = !self.any_batch && !self.batches.rest().is_empty();
                self.any_batch = true;
                if cut {
                    let text =
                        format!("the first batch at offset {} of {} is larger than what was fetched", self.next_offset, self.partition);
                    return Err(self.corrupt(text));
                }
                return Ok(false);
            }
        };
        self.any_batch = true;
        let view = batch.view();
        if self.check_crcs && !view.is_valid() {
            let text = format!(
                "Record batch for partition {} at offset {} is invalid, cause: stored crc {} differs from {}",
                self.partition,
                view.base_offset(),
                view.stored_crc(),
                view.compute_crc()
            );
            return Err(self.corrupt(text));
        }
        let hidden = match &mut self.filter {
            Some(filter) => filter.hides(&batch)?,
            None => false,
        };
        let leader_epoch = Some(view.leader_epoch()).filter(|epoch| *epoch >= 0);
        if hidden || view.is_control() {
            self.next_offset = self.next_offset.max(view.next_offset());
            self.leader_epoch = leader_epoch.or(self.leader_epoch);
            return Ok(true);
        }
        let timestamp_type = view.timestamp_type();
        let next_offset = view.next_offset();
        match batch.records(MAX_DECOMPRESSED) {
            Ok(records) => self.current = Some(Current { records, timestamp_type, leader_epoch, next_offset }),
            Err(error) => {
                let text = format!("batch at offset {} of {} cannot be read: {error}", view.base_offset(), self.partition);
                return Err(self.corrupt(text));
            }
        }
        Ok(true)
    }
}

fn consumer_record(topic: &Arc<str>, partition: i32, current: &Current, record: record::Record) -> ConsumerRecord {
    let headers = if record.headers.is_empty() {
        Vec::new()
    } else {
        let header = |header: record::Header| RecordHeader { key: header.key_str().into_owned(), value: header.value };
        record.headers.iter().map(header).collect()
    };
    ConsumerRecord {
        topic: topic.clone(),
        partition,
        offset: record.offset,
        timestamp: record.timestamp,
        timestamp_type: current.timestamp_type,
        key: record.key,
        value: record.value,
        headers,
        leader_epoch: current.leader_epoch,
    }
}

/// The offset after the last complete batch of fetched bytes, which the next fetch asks for, and the leader epoch of that batch.
pub fn end_of(bytes: &Bytes, fetch_offset: i64) -> (i64, Option<i32>) {
    let (mut next, mut epoch) = (fetch_offset, None);
    let mut rest: &[u8] = bytes;
    // Headers are enough here; anything odd is found when the records are read.
    while let Ok(Some(view)) = record::BatchView::first(rest) {
        next = next.max(view.next_offset());
        epoch = Some(view.leader_epoch()).filter(|epoch| *epoch >= 0);
        rest = rest.get(view.size()..).unwrap_or_default();
    }
    (next, epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{BatchBuilder, BatchFields, EndTxnMarker};

    fn batch(base_offset: i64, values: &[&str], producer: Option<i64>) -> Vec<u8> {
        let mut builder = BatchBuilder::new(BatchFields::default());
        for value in values {
            builder.append(1, None, Some(value.as_bytes()), &[]);
        }
        let mut bytes = builder.build().unwrap().to_vec();
        bytes[record::batch::BASE_OFFSET..record::batch::BASE_OFFSET + 8].copy_from_slice(&base_offset.to_be_bytes());
        if let Some(producer) = producer {
            bytes[record::batch::PRODUCER_ID..record::batch::PRODUCER_ID + 8].copy_from_slice(&producer.to_be_bytes());
            bytes[record::batch::ATTRIBUTES + 1] |= 0x10;
        }
        let crc = record::crc32c(&bytes[record::batch::ATTRIBUTES..]);
        bytes[record::batch::CRC..record::batch::CRC + 4].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn marker(base_offset: i64, commit: bool, producer: i64) -> Vec<u8> {
        let marker = EndTxnMarker { commit, coordinator_epoch: 0 };
        let mut bytes = marker.batch(1, producer, 0, 0).unwrap().to_vec();
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes
    }

    fn fetch(parts: &[Vec<u8>], offset: i64, aborted: Option<Vec<(i64, i64)>>) -> CompletedFetch {
        CompletedFetch::new(TopicPartition::new("t", 0), 1, offset, parts.concat().into(), aborted, true)
    }

    fn values(records: &[ConsumerRecord]) -> Vec<(i64, String)> {
        let value = |record: &ConsumerRecord| String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
        records.iter().map(|record| (record.offset, value(record))).collect()
    }

    #[test]
    fn skips_what_lies_before_the_position_and_stops_at_the_limit() {
        let mut fetch = fetch(&[batch(10, &["a", "b", "c"], None), batch(13, &["d"], None)], 11, None);
        let mut out = Vec::new();
        assert!(!fetch.take(2, &mut out).unwrap());
        assert_eq!(values(&out), [(11, "b".into()), (12, "c".into())]);
        assert_eq!(fetch.position().0, 13);
        assert!(fetch.take(10, &mut out).unwrap());
        assert_eq!((out.len(), fetch.position().0), (3, 14));
    }

    #[test]
    fn aborted_transactions_and_markers_are_hidden() {
        let parts = [
            batch(0, &["aborted"], Some(1)),
            batch(1, &["committed"], Some(2)),
            marker(2, false, 1),
            batch(3, &["later"], Some(1)),
            marker(4, true, 1),
        ];
        let mut committed = fetch(&parts, 0, Some(vec![(1, 0)]));
        let mut out = Vec::new();
        assert!(committed.take(100, &mut out).unwrap());
        assert_eq!(values(&out), [(1, "committed".into()), (3, "later".into())]);
        assert_eq!(committed.position().0, 5);
        out.clear();
        fetch(&parts, 0, None).take(100, &mut out).unwrap();
        assert_eq!(out.len(), 3);
    }

    #[test]
    fn corruption_is_reported_after_what_precedes_it() {
        let mut bad = batch(1, &["x"], None);
        *bad.last_mut().unwrap() ^= 1;
        let mut fetch = fetch(&[batch(0, &["ok"], None), bad], 0, None);
        let mut out = Vec::new();
        assert!(matches!(fetch.take(10, &mut out), Err(Error::CorruptRecord(_))));
        assert_eq!(out.len(), 1);
        assert_eq!(fetch.position().0, 1);
    }

    #[test]
    fn the_next_fetch_starts_after_the_last_complete_batch() {
        let mut bytes = [batch(10, &["a", "b"], None), batch(12, &["c"], None)].concat();
        assert_eq!(end_of(&bytes.clone().into(), 10).0, 13);
        bytes.truncate(bytes.len() - 1);
        assert_eq!(end_of(&bytes.into(), 10).0, 12);
    }
}
