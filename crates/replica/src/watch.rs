//! Who waits for a partition's high watermark: parked Produce requests (acks=all) and Fetch requests (min.bytes); or for its flushes.
//!
//! A watch is one entry with a threshold. It is taken out when it fires and must be taken out when its owner goes away, so that idle
//! partitions collect nothing from consumers that come and go: `Watch` does that on drop.

use crate::Partition;
use crate::partition::Which;
use std::sync::Arc;
use std::task::Waker;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchId(u64);

#[derive(Default)]
pub(crate) struct Watchers {
    next_id: u64,
    entries: Vec<Entry>,
}

struct Entry {
    id: WatchId,
    /// Fires when the high watermark reaches this offset.
    threshold: i64,
    waker: Waker,
}

impl Watchers {
    pub(crate) fn add(&mut self, threshold: i64, waker: Waker) -> WatchId {
        let id = WatchId(self.next_id);
        self.next_id += 1;
        self.entries.push(Entry { id, threshold, waker });
        id
    }

    pub(crate) fn remove(&mut self, id: WatchId) {
        if let Some(at) = self.entries.iter().position(|e| e.id == id) {
            self.entries.swap_remove(at);
        }
    }

    /// Takes out the wakers that wait for no more than `high_watermark`.
    pub(crate) fn reached(&mut self, high_watermark: i64) -> Vec<Waker> {
        if self.entries.is_empty() {
            return Vec::new();
        }
        self.entries.extract_if(.., |e| e.threshold <= high_watermark).map(|e| e.waker).collect()
    }

    /// Takes out all, for when the partition changes hands or goes away.
    pub(crate) fn all(&mut self) -> Vec<Waker> {
        self.entries.drain(..).map(|e| e.waker).collect()
    }
}

/// A registered wait; leaves the partition when dropped.
pub struct Watch {
    pub(crate) partition: Arc<Partition>,
    pub(crate) id: WatchId,
    pub(crate) which: Which,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.partition.unwatch(self.which, self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn fires_by_threshold_and_forgets_who_left() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let mut watchers = Watchers::default();
        let left = watchers.add(5, waker.clone());
        watchers.add(5, waker.clone());
        watchers.add(9, waker);
        watchers.remove(left);
        watchers.reached(7).into_iter().for_each(Waker::wake);
        assert_eq!((count.0.load(Ordering::Relaxed), watchers.entries.len()), (1, 1));
        watchers.all().into_iter().for_each(Waker::wake);
        assert_eq!((count.0.load(Ordering::Relaxed), watchers.entries.len()), (2, 0));
    }
}
