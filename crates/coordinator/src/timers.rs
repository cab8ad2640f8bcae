//! Owns: the timers of one shard, as data. Used by the shard; nothing here fires by itself.
//!
//! Built for thousands of members that each push their session deadline forward every few seconds: moving a deadline later only
//! overwrites one field. The heap keeps the earlier entry, and when that comes up the timer is put back at its real deadline.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use base::Instant;

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A member's session; also the time that a member id given out by MEMBER_ID_REQUIRED stays reserved.
    Session { group: Arc<str>, member: Arc<str> },
    /// The end of the join phase of a classic group.
    Join { group: Arc<str> },
    /// The time by which every member of a classic group must have sent SyncGroup.
    Sync { group: Arc<str> },
    /// A member of a consumer group must give up its partitions by then.
    Rebalance { group: Arc<str>, member: Arc<str> },
    /// A classic member of a consumer group must join again by then.
    MemberJoin { group: Arc<str>, member: Arc<str> },
    /// A classic member of a consumer group must ask for its assignment by then.
    MemberSync { group: Arc<str>, member: Arc<str> },
    /// The regular expressions of a consumer group are to be resolved.
    Regexes { group: Arc<str> },
    /// The periodic search for expired offsets.
    Expiration,
}

/// What a timer carries besides its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Session,
    CompleteJoin,
    InitialRebalance {
        delay_ms: i32,
        remaining_ms: i32,
    },
    Sync {
        generation_id: i32,
    },
    /// Only counts while the member is in this epoch.
    Rebalance {
        epoch: i32,
    },
    MemberJoin,
    MemberSync,
    Regexes,
    Expiration,
}

#[derive(Debug)]
struct Entry {
    deadline: Instant,
    /// When the live heap entry comes up: at or before `deadline`.
    queued_at: Instant,
    due: Due,
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    entries: HashMap<Timer, Entry>,
    queue: BinaryHeap<Reverse<(Instant, Timer)>>,
}

impl Timers {
    /// Sets the timer, in place of one of the same name. Negative delays count as zero.
    pub(crate) fn schedule(&mut self, timer: Timer, now: Instant, delay_ms: i64, due: Due) {
        let deadline = now + Duration::from_millis(delay_ms.max(0) as u64);
        if let Some(entry) = self.entries.get_mut(&timer) {
            entry.deadline = deadline;
            entry.due = due;
            if entry.queued_at <= deadline {
                return;
            }
            entry.queued_at = deadline;
        } else {
            self.entries.insert(timer.clone(), Entry { deadline, queued_at: deadline, due });
        }
        self.queue.push(Reverse((deadline, timer)));
    }

    /// Leaves a timer of the same name as it is.
    pub(crate) fn schedule_if_absent(&mut self, timer: Timer, now: Instant, delay_ms: i64, due: Due) {
        if !self.entries.contains_key(&timer) {
            self.schedule(timer, now, delay_ms, due);
        }
    }

    pub(crate) fn cancel(&mut self, timer: &Timer) {
        self.entries.remove(timer);
        if self.entries.is_empty() {
            self.queue.clear();
        }
    }

    #[cfg(test)]
    pub(crate) fn names(&self) -> impl Iterator<Item = &Timer> {
        self.entries.keys()
    }

    /// Not later than the first deadline; may be earlier when that deadline was moved.
    pub(crate) fn next_deadline(&self) -> Instant {
        self.queue.peek().map_or(Instant::FAR_FUTURE, |Reverse((at, _))| *at)
    }

    /// Takes the next timer that is due, in the order of the deadlines.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Timer, Due)> {
        while self.next_deadline() <= now {
            let Reverse((at, timer)) = self.queue.pop()?;
            let Some(entry) = self.entries.get_mut(&timer) else { continue };
            if entry.queued_at != at {
                continue;
            }
            if entry.deadline > at {
                entry.queued_at = entry.deadline;
                let deadline = entry.deadline;
                self.queue.push(Reverse((deadline, timer)));
                continue;
            }
            let due = entry.due;
            self.entries.remove(&timer);
            return Some((timer, due));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn join(name: &str) -> Timer {
        Timer::Join { group: name.into() }
    }

    #[test]
    fn fires_in_order_of_deadlines() {
        let mut timers = Timers::default();
        timers.schedule(join("b"), at(0), 20, Due::CompleteJoin);
        timers.schedule(join("a"), at(0), 10, Due::CompleteJoin);
        assert_eq!(timers.next_deadline(), at(10));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(30)).unwrap().0, join("a"));
        assert_eq!(timers.pop_due(at(30)).unwrap().0, join("b"));
        assert_eq!(timers.pop_due(at(30)), None);
        assert_eq!(timers.next_deadline(), Instant::FAR_FUTURE);
    }

    #[test]
    fn a_deadline_can_move_both_ways() {
        let mut timers = Timers::default();
        timers.schedule(join("a"), at(0), 100, Due::CompleteJoin);
        timers.schedule(join("a"), at(50), 100, Due::CompleteJoin);
        assert_eq!(timers.pop_due(at(100)), None);
        assert_eq!(timers.next_deadline(), at(150));
        timers.schedule(join("a"), at(100), 10, Due::Sync { generation_id: 3 });
        assert_eq!(timers.pop_due(at(110)), Some((join("a"), Due::Sync { generation_id: 3 })));
        assert_eq!(timers.pop_due(at(1000)), None);
    }

    #[test]
    fn a_cancelled_timer_does_not_fire_and_may_be_set_again() {
        let mut timers = Timers::default();
        timers.schedule(join("a"), at(0), 10, Due::CompleteJoin);
        timers.schedule(join("b"), at(0), 15, Due::CompleteJoin);
        timers.cancel(&join("a"));
        timers.schedule(join("a"), at(0), 10, Due::CompleteJoin);
        assert_eq!(timers.pop_due(at(10)).unwrap().0, join("a"));
        assert_eq!(timers.pop_due(at(10)), None);
        assert_eq!(timers.pop_due(at(15)).unwrap().0, join("b"));
    }
}
