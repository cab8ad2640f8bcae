//! Room in the log directories. A full disk stops everything, and what would free it first: so records of clients are slowed down while a
//! disk fills up faster than it should, and refused while it is down to a reserve. What the cluster itself writes goes on in that reserve
//! (groups, transactions, metadata, checkpoints), and so do reads, deletions and all administration.
//!
//! Owned by: PartitionSet; every partition holds the room of its directory. Housekeeping measures; appends count what they take meanwhile.
//! Guarantee: a refused record was not written. Never does: waiting, deleting. Kafka has nothing of the kind; a full disk stops its broker.

use crate::PartitionSet;
use base::disk::Space;
use base::{Instant, Now};
use config::BrokerConfig;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Without a configured reserve: this part of the disk, but no more than that many bytes.
const RESERVE_PART: u64 = 20;
const RESERVE_MAX: u64 = 512 << 20;
/// No answer is held back for longer, so that no client takes the broker for dead.
const DELAY_MAX: Duration = Duration::from_secs(1);
/// How quickly the measured growth follows a change.
const RATE_WINDOW: Duration = Duration::from_secs(10);
/// While a directory stays short, the log says so again after this.
const REMIND: Duration = Duration::from_secs(60);

/// What may be kept in reserve, and how soon a disk may fill up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpacePolicy {
    /// None: by the size of the disk.
    pub reserve: Option<u64>,
    /// Zero: never slow anybody down.
    pub horizon: Duration,
}

impl SpacePolicy {
    pub fn of(config: &BrokerConfig) -> SpacePolicy {
        SpacePolicy {
            reserve: u64::try_from(config.own.log_dir_reserve_bytes).ok(),
            horizon: Duration::from_millis(config.own.log_dir_throttle_horizon_ms.max(0) as u64),
        }
    }

    fn reserve_of(&self, space: Space) -> u64 {
        self.reserve.unwrap_or_else(|| (space.total / RESERVE_PART).min(RESERVE_MAX))
    }
}

/// How much room a directory has for records of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    #[default]
    Enough,
    /// Producers are slowed down.
    Short,
    /// Records of clients are refused.
    Full,
}

/// What may happen to a batch of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Granted,
    /// It may be written; its answer is to be held back for so long.
    Slowed(Duration),
    /// The text is for the client.
    Refused(String),
}

/// The room in one log directory.
#[derive(Debug)]
pub struct Room {
    dir: PathBuf,
    /// As last measured; `u64::MAX` before that.
    usable: AtomicU64,
    reserve: AtomicU64,
    /// Written since it was measured.
    taken: AtomicU64,
    /// Bytes a second that may be written; 0: as many as come.
    allowed: AtomicU64,
    /// When the next byte may be written at that rate, in nanoseconds of the clock.
    next: AtomicU64,
    refused: AtomicU64,
    slowed_micros: AtomicU64,
    measured: Mutex<Measured>,
}

#[derive(Debug, Default)]
struct Measured {
    level: Level,
    last: Option<(Instant, u64)>,
    /// Bytes a second that the disk fills up by; negative while it empties.
    growth: f64,
    reminded: Instant,
}

/// For metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct RoomFacts {
    pub dir: PathBuf,
    pub level: Level,
    pub reserve: u64,
    pub growth: f64,
    /// Until only the reserve is left, if the disk goes on filling up; `None` if it does not.
    pub time_to_reserve: Option<Duration>,
    /// Batches that were refused.
    pub refused: u64,
    /// By which answers were held back, all together.
    pub slowed: Duration,
}

impl Room {
    /// Unlimited until it is measured.
    pub(crate) fn new(dir: PathBuf) -> Room {
        Room {
            dir,
            usable: AtomicU64::new(u64::MAX),
            reserve: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            allowed: AtomicU64::new(0),
            next: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            slowed_micros: AtomicU64::new(0),
            measured: Mutex::default(),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn level(&self) -> Level {
        self.measured.lock().level
    }

    fn free_now(&self) -> u64 {
        self.usable.load(Relaxed).saturating_sub(self.taken.load(Relaxed))
    }

    /// Whether `bytes` of a client may be written. Hot path.
    pub(crate) fn admit(&self, bytes: u64, now: Now) -> Admission {
        let (free, reserve) = (self.free_now(), self.reserve.load(Relaxed));
        if free < reserve.saturating_add(bytes) {
            self.refused.fetch_add(1, Relaxed);
            return Admission::Refused(format!(
                "Log directory {} is almost full: {free} bytes are free, and the last {reserve} of them are kept back. Nothing was written. \
                 Delete records or topics, shorten retention, or enlarge the disk; producers that retry go on as soon as there is room.",
                self.dir.display()
            ));
        }
        let allowed = self.allowed.load(Relaxed);
        if allowed == 0 {
            return Admission::Granted;
        }
        let nanos = (u128::from(bytes) * 1_000_000_000 / u128::from(allowed)) as u64;
        let now_nanos = now.mono.as_nanos();
        let latest = now_nanos.saturating_add(DELAY_MAX.as_nanos() as u64);
        let mut mine = now_nanos;
        // One after the other: whoever comes next waits for this one, too.
        let _ = self.next.try_update(Relaxed, Relaxed, |next| {
            mine = next.clamp(now_nanos, latest);
            Some(mine.saturating_add(nanos).min(latest))
        });
        let delay = Duration::from_nanos((mine - now_nanos).saturating_add(nanos)).min(DELAY_MAX);
        self.slowed_micros.fetch_add(delay.as_micros() as u64, Relaxed);
        Admission::Slowed(delay)
    }

    /// Something was written, by whomever.
    pub(crate) fn take(&self, bytes: u64) {
        self.taken.fetch_add(bytes, Relaxed);
    }

    /// A new measurement; returns how the directory stands now.
    pub(crate) fn measure(&self, space: Space, policy: &SpacePolicy, now: Now) -> Level {
        let reserve = policy.reserve_of(space);
        self.reserve.store(reserve, Relaxed);
        // What is written from here on may be counted twice until the next measurement, never not at all.
        self.taken.store(0, Relaxed);
        self.usable.store(space.usable, Relaxed);
        let mut measured = self.measured.lock();
        if let Some((at, usable)) = measured.last {
            let passed = (now.mono - at).as_secs_f64();
            if passed > 0.0 {
                let growth = (usable as f64 - space.usable as f64) / passed;
                let weight = 1.0 - (-passed / RATE_WINDOW.as_secs_f64()).exp();
                measured.growth += (growth - measured.growth) * weight;
            }
        }
        measured.last = Some((now.mono, space.usable));
        let room = space.usable.saturating_sub(reserve);
        // A little more than the reserve has to be free before producers go on: else they would be refused and let in by turns.
        let full_below = if measured.level == Level::Full { reserve.saturating_add(reserve / 16) } else { reserve };
        let horizon = policy.horizon.as_secs_f64();
        let level = if space.usable <= full_below {
            Level::Full
        } else if measured.growth > 0.0 && (room as f64) < measured.growth * horizon {
            Level::Short
        } else {
            Level::Enough
        };
        let allowed = match level {
            Level::Short => ((room as f64 / horizon) as u64).max(1),
            Level::Enough | Level::Full => 0,
        };
        self.allowed.store(allowed, Relaxed);
        self.tell(&mut measured, level, space, reserve, now);
        level
    }

    fn tell(&self, measured: &mut Measured, level: Level, space: Space, reserve: u64, now: Now) {
        let changed = measured.level != level;
        measured.level = level;
        if !changed && (level == Level::Enough || now.mono - measured.reminded < REMIND) {
            return;
        }
        measured.reminded = now.mono;
        let (dir, free) = (self.dir.display(), space.usable);
        let seconds = time_to(space.usable.saturating_sub(reserve), measured.growth).map_or(0, |time| time.as_secs());
        let advice = "delete records or topics, shorten retention.ms or retention.bytes, or enlarge the disk";
        match level {
            Level::Enough => tracing::info!(%dir, free, "the log directory has room again"),
            Level::Short => {
                tracing::warn!(%dir, free, reserve, seconds, advice, "the log directory is filling up; producers are slowed down");
            }
            Level::Full => tracing::error!(%dir, free, reserve, advice, "the log directory is almost full; records of clients are refused"),
        }
    }

    pub(crate) fn facts(&self) -> RoomFacts {
        let measured = self.measured.lock();
        let reserve = self.reserve.load(Relaxed);
        RoomFacts {
            dir: self.dir.clone(),
            level: measured.level,
            reserve,
            growth: measured.growth,
            time_to_reserve: time_to(self.free_now().saturating_sub(reserve), measured.growth),
            refused: self.refused.load(Relaxed),
            slowed: Duration::from_micros(self.slowed_micros.load(Relaxed)),
        }
    }
}

impl PartitionSet {
    /// Looks how much is free in every log directory; returns the directories that are short of it.
    pub fn measure_space(&self, now: Now) -> Vec<PathBuf> {
        let policy = SpacePolicy::of(&self.broker_config());
        let mut short = Vec::new();
        for room in self.rooms().iter().filter(|room| self.is_online(room.dir())) {
            match self.disk().space(room.dir()) {
                Ok(space) if room.measure(space, &policy, now) == Level::Enough => {}
                Ok(_) => short.push(room.dir().to_owned()),
                Err(error) => tracing::warn!(dir = %room.dir().display(), %error, "the free space of a log directory is not known"),
            }
        }
        short
    }

    /// How the log directories stand, for metrics.
    pub fn space_facts(&self) -> Vec<RoomFacts> {
        self.rooms().iter().map(|room| room.facts()).collect()
    }
}

fn time_to(room: u64, growth: f64) -> Option<Duration> {
    // A few bytes a second are the noise of checkpoints.
    (growth >= 1.0).then(|| Duration::try_from_secs_f64(room as f64 / growth).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const POLICY: SpacePolicy = SpacePolicy { reserve: None, horizon: Duration::from_secs(60) };

    fn at(ms: u64) -> Now {
        Now::default().plus(Duration::from_millis(1000 + ms))
    }

    fn free(usable: u64) -> Space {
        Space { total: 100 * MIB, usable }
    }

    #[test]
    fn the_reserve_is_a_part_of_the_disk_and_bounded() {
        assert_eq!(POLICY.reserve_of(free(0)), 5 * MIB);
        assert_eq!(POLICY.reserve_of(Space { total: 1 << 50, usable: 0 }), RESERVE_MAX);
        assert_eq!(SpacePolicy { reserve: Some(7), ..POLICY }.reserve_of(free(0)), 7);
    }

    #[test]
    fn nothing_of_a_client_goes_into_the_reserve() {
        let room = Room::new("/data".into());
        assert_eq!(room.admit(u64::MAX, at(0)), Admission::Granted, "nothing is known yet");
        room.measure(free(6 * MIB), &POLICY, at(0));
        assert_eq!(room.admit(MIB, at(0)), Admission::Granted);
        room.take(MIB);
        let Admission::Refused(text) = room.admit(1, at(0)) else { panic!("a client writes into the reserve") };
        assert!(text.contains("/data") && text.contains(&format!("{} bytes are free", 5 * MIB)), "{text}");
        assert_eq!(room.facts().refused, 1);
    }

    #[test]
    fn producers_go_on_once_there_is_a_little_more_than_the_reserve() {
        let room = Room::new("/data".into());
        assert_eq!(room.measure(free(5 * MIB), &POLICY, at(0)), Level::Full);
        assert_eq!(room.measure(free(5 * MIB + 1000), &POLICY, at(1000)), Level::Full);
        assert_eq!(room.measure(free(8 * MIB), &POLICY, at(2000)), Level::Enough);
        assert_eq!(room.admit(100, at(2000)), Admission::Granted);
    }

    #[test]
    fn a_disk_that_fills_up_too_soon_slows_producers_to_what_it_can_take() {
        let room = Room::new("/data".into());
        let mut usable = 90 * MIB;
        let mut level = Level::Enough;
        for second in 0..20 {
            level = room.measure(free(usable), &POLICY, at(second * 1000));
            usable -= 2 * MIB;
        }
        assert_eq!(level, Level::Short);
        let facts = room.facts();
        assert!(facts.time_to_reserve.is_some_and(|time| time < POLICY.horizon), "{facts:?}");
        let (mut bytes, mut clock) = (0, at(20_000));
        while clock.mono < at(30_000).mono {
            let Admission::Slowed(delay) = room.admit(MIB / 8, clock) else { panic!("not slowed down") };
            bytes += MIB / 8;
            clock = clock.plus(delay);
        }
        let left = usable + 2 * MIB - 5 * MIB;
        assert!(bytes <= left / 6 + MIB / 4, "{bytes} of {left} bytes in a sixth of the horizon");
        assert!(matches!(room.admit(1 << 40, clock), Admission::Refused(_)));
    }

    #[test]
    fn no_answer_is_held_back_for_longer_than_the_bound() {
        let room = Room::new("/data".into());
        for (second, usable) in [90, 60, 30, 6].into_iter().enumerate() {
            room.measure(free(usable * MIB), &POLICY, at(second as u64 * 1000));
        }
        for _ in 0..100 {
            let Admission::Slowed(delay) = room.admit(1000, at(4000)) else { panic!("not slowed down") };
            assert!(delay <= DELAY_MAX);
        }
    }

    #[test]
    fn without_a_horizon_nobody_is_slowed_down() {
        let room = Room::new("/data".into());
        let policy = SpacePolicy { horizon: Duration::ZERO, ..POLICY };
        for (second, usable) in [90, 60, 30, 6].into_iter().enumerate() {
            assert_eq!(room.measure(free(usable * MIB), &policy, at(second as u64 * 1000)), Level::Enough);
        }
    }
}
