//! Incremental fetch sessions (KIP-227): the broker remembers what a client fetches, so that requests name only what changed and
//! responses carry only what is new. Kafka: `FetchManager`, `FetchSession`, `FetchSessionCache`, `FetchContext`.

use base::{Instant, Uuid};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use wire::ErrorCode;

/// A session that was not used for so long may make room for another.
const EVICTION_AFTER: Duration = Duration::from_secs(120);

const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;

/// One partition that a client wants, as its request says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Want {
    /// Empty when the id is not known here.
    pub topic: Arc<str>,
    /// Zero when the client named the topic.
    pub topic_id: Uuid,
    pub partition: i32,
    pub fetch_offset: i64,
    pub max_bytes: i32,
    pub current_leader_epoch: i32,
    pub last_fetched_epoch: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WantKey {
    topic: String,
    topic_id: Uuid,
    partition: i32,
}

impl Want {
    pub fn key(&self) -> WantKey {
        WantKey::new(&self.topic, self.topic_id, self.partition)
    }

    /// Whether both have the same key.
    fn is_same(&self, other: &Want) -> bool {
        let same = self.topic_id == other.topic_id && self.partition == other.partition;
        same && (!self.topic_id.is_zero() || self.topic == other.topic)
    }
}

impl WantKey {
    /// Topics are told apart by id where there is one.
    pub fn new(topic: &str, topic_id: Uuid, partition: i32) -> Self {
        WantKey { topic: if topic_id.is_zero() { topic.to_owned() } else { String::new() }, topic_id, partition }
    }
}

/// How the answer to a Fetch is to be put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchKind {
    /// No session, and none wanted or possible.
    Sessionless,
    /// Answers everything and opens a session.
    Full,
    /// Answers what is new in this session.
    Incremental { session_id: i32 },
}

struct Session {
    /// The epoch of the next request.
    epoch: i32,
    uses_topic_ids: bool,
    created: Instant,
    used: Instant,
    /// In the order of service: a partition that gave data goes to the end, so that none starves the others.
    order: BTreeMap<u64, Cached>,
    places: HashMap<WantKey, u64>,
    next_place: u64,
}

struct Cached {
    want: Want,
    /// As last told; -1 when that was an error.
    high_watermark: i64,
    log_start_offset: i64,
}

/// What a partition answers, as far as it matters for whether the client has to be told.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    pub has_records: bool,
    pub is_error: bool,
    pub high_watermark: i64,
    pub log_start_offset: i64,
    pub diverging: bool,
}

pub struct FetchSessionCache {
    slots_max: usize,
    sessions: Mutex<HashMap<i32, Session>>,
}

impl FetchSessionCache {
    pub fn new(slots_max: usize) -> Self {
        FetchSessionCache { slots_max, sessions: Mutex::default() }
    }

    pub fn len(&self) -> usize {
        self.sessions.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Partitions over all sessions, for metrics.
    pub fn partitions(&self) -> usize {
        self.sessions.lock().values().map(|s| s.order.len()).sum()
    }

    /// Begins a Fetch: the kind of answer, and all partitions to be looked at, in the order of service.
    pub fn begin(
        &self,
        now: Instant,
        session_id: i32,
        epoch: i32,
        uses_topic_ids: bool,
        wants: Vec<Want>,
        forgotten: &[WantKey],
    ) -> Result<(FetchKind, Vec<Want>), ErrorCode> {
        let mut sessions = self.sessions.lock();
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            // Whatever session a full fetch names is over.
            sessions.remove(&session_id);
            let kind = if epoch == FINAL_EPOCH { FetchKind::Sessionless } else { FetchKind::Full };
            return Ok((kind, wants));
        }
        let session = sessions.get_mut(&session_id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != uses_topic_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        for key in forgotten {
            session.forget(key);
        }
        for want in wants {
            session.put(want);
        }
        session.used = now;
        if session.order.is_empty() {
            sessions.remove(&session_id);
            return Ok((FetchKind::Sessionless, Vec::new()));
        }
        session.epoch = next_epoch(epoch);
        let wants = session.order.values().map(|c| c.want.clone()).collect();
        Ok((FetchKind::Incremental { session_id }, wants))
    }

    /// Opens a session for what a full fetch asked for; 0 when there is no room for one.
    pub fn open(
        &self,
        now: Instant,
        rng: &Mutex<fastrand::Rng>,
        uses_topic_ids: bool,
        wants: impl ExactSizeIterator<Item = (Want, Told)>,
    ) -> i32 {
        let mut sessions = self.sessions.lock();
        if sessions.len() >= self.slots_max && !evict(&mut sessions, now, wants.len()) {
            return 0;
        }
        let mut session = Session {
            epoch: next_epoch(INITIAL_EPOCH),
            uses_topic_ids,
            created: now,
            used: now,
            order: BTreeMap::new(),
            places: HashMap::new(),
            next_place: 0,
        };
        for (want, told) in wants {
            let key = want.key();
            session.put(want);
            session.tell(&key, told);
        }
        let mut rng = rng.lock();
        let id = loop {
            let id = rng.i32(1..);
            if !sessions.contains_key(&id) {
                break id;
            }
        };
        sessions.insert(id, session);
        id
    }

    /// Notes what each partition answers and returns, in the same order, whether the client is to be told. `None` when the session is
    /// gone meanwhile.
    pub fn tell(&self, session_id: i32, wants: &[Want], told: &[Told]) -> Option<Vec<bool>> {
        Some(self.sessions.lock().get_mut(&session_id)?.tell_all(wants, told))
    }
}

impl Session {
    fn put(&mut self, want: Want) {
        match self.places.get(&want.key()).and_then(|place| self.order.get_mut(place)) {
            Some(cached) => cached.want = want,
            None => self.append(Cached { want, high_watermark: -1, log_start_offset: -1 }),
        }
    }

    fn append(&mut self, cached: Cached) {
        self.places.insert(cached.want.key(), self.next_place);
        self.order.insert(self.next_place, cached);
        self.next_place += 1;
    }

    fn forget(&mut self, key: &WantKey) {
        if let Some(place) = self.places.remove(key) {
            self.order.remove(&place);
        }
    }

    /// Unless another request has changed the session since `begin`, the answers come in the order of service, and none is looked up.
    fn tell_all(&mut self, wants: &[Want], told: &[Told]) -> Vec<bool> {
        let in_order = self.order.len() == wants.len() && self.order.values().zip(wants).all(|(cached, want)| cached.want.is_same(want));
        if !in_order {
            return wants.iter().zip(told).map(|(want, told)| self.tell(&want.key(), *told)).collect();
        }
        let must = self.order.values_mut().zip(told).map(|(cached, told)| cached.tell(*told)).collect();
        let gave: Vec<u64> = self.order.keys().zip(told).filter(|(_, told)| told.has_records).map(|(place, _)| *place).collect();
        gave.into_iter().for_each(|place| self.serve_last(place));
        must
    }

    fn tell(&mut self, key: &WantKey, told: Told) -> bool {
        let Some(place) = self.places.get(key).copied() else { return true };
        let Some(cached) = self.order.get_mut(&place) else { return true };
        let must = cached.tell(told);
        if told.has_records {
            self.serve_last(place);
        }
        must
    }

    fn serve_last(&mut self, place: u64) {
        if let Some(cached) = self.order.remove(&place) {
            self.append(cached);
        }
    }
}

impl Cached {
    /// `CachedPartition.maybeUpdateResponseData`.
    fn tell(&mut self, told: Told) -> bool {
        let mut must = told.has_records || told.is_error || told.diverging;
        must |= self.high_watermark != told.high_watermark || self.log_start_offset != told.log_start_offset;
        // After an error or a divergence the next answer is told whatever it is.
        self.high_watermark = if told.is_error || told.diverging { -1 } else { told.high_watermark };
        self.log_start_offset = told.log_start_offset;
        must
    }
}

/// Makes room for a session of `size` partitions: at the cost of one long unused, or of a smaller one that is old enough.
fn evict(sessions: &mut HashMap<i32, Session>, now: Instant, size: usize) -> bool {
    let stale = sessions.iter().filter(|(_, s)| now - s.used > EVICTION_AFTER).min_by_key(|(id, s)| (s.used, **id));
    let smaller = || sessions.iter().filter(|(_, s)| now - s.created > EVICTION_AFTER && s.order.len() < size);
    let victim = stale.map(|(id, _)| *id).or_else(|| smaller().min_by_key(|(id, s)| (s.order.len(), **id)).map(|(id, _)| *id));
    victim.is_some_and(|id| sessions.remove(&id).is_some())
}

/// Epochs wrap to 1: 0 means a new session.
fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(topic: &str, partition: i32) -> Want {
        Want {
            topic: topic.into(),
            topic_id: Uuid::ZERO,
            partition,
            fetch_offset: 0,
            max_bytes: 1,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
        }
    }

    fn told(high_watermark: i64, has_records: bool) -> Told {
        Told { has_records, is_error: false, high_watermark, log_start_offset: 0, diverging: false }
    }

    fn cache(slots: usize) -> (FetchSessionCache, Mutex<fastrand::Rng>) {
        (FetchSessionCache::new(slots), Mutex::new(fastrand::Rng::with_seed(1)))
    }

    #[test]
    fn tells_only_what_is_new_and_serves_fairly() {
        let (cache, rng) = cache(2);
        let both = vec![(want("a", 0), told(5, false)), (want("b", 0), told(5, false))];
        let id = cache.open(Instant::ZERO, &rng, false, both.into_iter());
        let (kind, wants) = cache.begin(Instant::ZERO, id, 1, false, vec![], &[]).unwrap();
        assert_eq!(kind, FetchKind::Incremental { session_id: id });
        assert_eq!(wants.iter().map(|w| &*w.topic).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(cache.tell(id, &wants, &[told(6, true), told(5, false)]), Some(vec![true, false]));
        let (_, wants) = cache.begin(Instant::ZERO, id, 2, false, vec![], &[]).unwrap();
        assert_eq!(wants.iter().map(|w| &*w.topic).collect::<Vec<_>>(), ["b", "a"]);
        // Answers to what another request has forgotten or moved meanwhile find their partitions all the same.
        cache.begin(Instant::ZERO, id, 3, false, vec![], &[want("b", 0).key()]).unwrap();
        assert_eq!(cache.tell(id, &wants, &[told(5, false), told(6, false)]), Some(vec![true, false]));
    }

    #[test]
    fn epochs_and_ids_are_checked() {
        let (cache, rng) = cache(2);
        let id = cache.open(Instant::ZERO, &rng, false, vec![(want("a", 0), told(0, false))].into_iter());
        assert_eq!(cache.begin(Instant::ZERO, id, 7, false, vec![], &[]).unwrap_err(), ErrorCode::InvalidFetchSessionEpoch);
        assert_eq!(cache.begin(Instant::ZERO, id, 1, true, vec![], &[]).unwrap_err(), ErrorCode::FetchSessionTopicIdError);
        assert_eq!(cache.begin(Instant::ZERO, id + 1, 1, false, vec![], &[]).unwrap_err(), ErrorCode::FetchSessionIdNotFound);
        let forget = [want("a", 0).key()];
        assert_eq!(cache.begin(Instant::ZERO, id, 1, false, vec![], &forget).unwrap(), (FetchKind::Sessionless, vec![]));
        assert!(cache.is_empty());
    }

    #[test]
    fn a_full_cache_gives_way_only_to_the_larger_or_the_later() {
        let (cache, rng) = cache(1);
        let one = || vec![(want("a", 0), told(0, false))].into_iter();
        let first = cache.open(Instant::ZERO, &rng, false, one());
        assert_ne!(first, 0);
        assert_eq!(cache.open(Instant::ZERO, &rng, false, one()), 0);
        let later = Instant::ZERO + EVICTION_AFTER + Duration::from_secs(1);
        assert_ne!(cache.open(later, &rng, false, one()), 0);
        assert_eq!(cache.len(), 1);
    }
}
