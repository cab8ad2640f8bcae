//! Owns: how far consumer groups are behind, in records and in time. Time behind is the age of the oldest record not consumed yet: nothing
//! is interpolated, so a group that has consumed everything is at 0 however long ago the last record came, and a group that is stuck
//! grows by a second a second.
//! Used by: the metrics page. The record at an offset never changes, so its time is looked up once and kept while the group stays there.

use base::Uuid;
use broker::{Broker, CommittedOffsets};
use replica::Partition;
use std::collections::HashMap;

/// How many times of records one page may look up on disk. What is beyond is looked up for the next pages, and shown with the time that
/// was known last until then: too much rather than too little, and never for long.
const LOOKUPS_PER_PAGE: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lag {
    pub committed: i64,
    pub records: i64,
    /// `None` while it is not known, or when the record has no timestamp.
    pub seconds: Option<f64>,
}

/// The lags of a group for one topic, by partition.
pub struct GroupLag {
    pub group: String,
    pub topic: String,
    pub partitions: Vec<(i32, Lag)>,
}

type Key = (String, Uuid);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Known {
    offset: i64,
    /// Negative when the record has none.
    timestamp: i64,
    /// The page that looked last.
    page: u64,
}

#[derive(Default)]
pub struct LagCache {
    known: HashMap<Key, HashMap<i32, Known>>,
    page: u64,
    /// Where the last page ran out of look-ups, so that the next one goes on there.
    resume: usize,
    /// Look-ups ever.
    #[cfg(test)]
    lookups: usize,
}

impl LagCache {
    pub fn read(&mut self, broker: &Broker, now_ms: i64) -> Vec<GroupLag> {
        self.page += 1;
        let committed = broker.committed_offsets();
        let mut lags: Vec<GroupLag> = Vec::with_capacity(committed.len());
        let mut left = LOOKUPS_PER_PAGE;
        let start = if self.resume < committed.len() { self.resume } else { 0 };
        self.resume = 0;
        for at in (start..committed.len()).chain(0..start) {
            let Some(of_topic) = committed.get(at) else { continue };
            let before = left;
            lags.extend(self.topic(broker, of_topic, now_ms, &mut left));
            if before > 0 && left == 0 {
                self.resume = at;
            }
        }
        #[cfg(test)]
        {
            self.lookups += LOOKUPS_PER_PAGE - left;
        }
        self.known.retain(|_, partitions| {
            partitions.retain(|_, known| known.page == self.page);
            !partitions.is_empty()
        });
        lags.sort_by(|a, b| (&a.group, &a.topic).cmp(&(&b.group, &b.topic)));
        lags
    }

    #[cfg(test)]
    pub fn lookups(&self) -> usize {
        self.lookups
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// `None` when the topic is not on this broker.
    fn topic(&mut self, broker: &Broker, committed: &CommittedOffsets, now_ms: i64, left: &mut usize) -> Option<GroupLag> {
        let topic_id = broker.image().topics.get(&committed.topic)?.id;
        let known = self.known.entry((committed.group.clone(), topic_id)).or_default();
        let mut partitions = Vec::with_capacity(committed.offsets.len());
        for (index, offset) in &committed.offsets {
            let Some(partition) = broker.replicas().get_by_id(topic_id, *index) else { continue };
            let Some((lag, seen)) = lag_of(&partition, *offset, now_ms, known.get(index).copied(), left) else { continue };
            if let Some(seen) = seen {
                known.insert(*index, Known { page: self.page, ..seen });
            }
            partitions.push((*index, lag));
        }
        Some(GroupLag { group: committed.group.clone(), topic: committed.topic.clone(), partitions })
    }
}

/// `None` when there is no log. What is to be remembered comes along.
fn lag_of(partition: &Partition, committed: i64, now_ms: i64, known: Option<Known>, left: &mut usize) -> Option<(Lag, Option<Known>)> {
    partition.with_log(|log| {
        let end = log.high_watermark();
        // Records that are deleted already will never be read: they are no backlog.
        let next = committed.max(log.log_start_offset());
        let records = (end - next).max(0);
        if records == 0 {
            return (Lag { committed, records, seconds: Some(0.0) }, None);
        }
        let known = match known {
            Some(known) if known.offset == next => Some(known),
            stale if *left == 0 => stale,
            _ => {
                *left -= 1;
                match log.timestamp_at(next) {
                    Ok(Some(timestamp)) => Some(Known { offset: next, timestamp, page: 0 }),
                    // Markers of transactions are all that is left: nobody waits for those.
                    Ok(None) => return (Lag { committed, records, seconds: Some(0.0) }, None),
                    Err(_) => None,
                }
            }
        };
        let timestamp = known.map(|known| known.timestamp).filter(|timestamp| *timestamp >= 0);
        let seconds = timestamp.map(|timestamp| now_ms.saturating_sub(timestamp).max(0) as f64 / 1000.0);
        (Lag { committed, records, seconds }, known)
    })
}
