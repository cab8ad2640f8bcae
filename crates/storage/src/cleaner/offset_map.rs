//! Owns: the last offset of each key of the dirty section, in memory that is bounded by log.cleaner.dedupe.buffer.size. A slot is a hash of
//! 128 bits and an offset. Used by: the cleaner, which fills it and then asks. Never does: keeping keys. Hot path.
//! Kafka: SkimpyOffsetMap. Other than there, the table grows with what is in it: a hundred thousand keys stay in the processor's cache.

use super::hash::hash128;

const SLOT_BYTES: usize = size_of::<Slot>();
/// While a part of the table grows, its old half and its new one exist together: one slot in so many is set aside for that.
const PARTS: usize = 32;
const SLOTS_FIRST: usize = 64;
/// A part is full when this share of its slots is, whatever the load factor says: empty slots are what ends a search.
const FILL_MAX: f64 = 0.96;

#[derive(Clone, Copy)]
struct Slot {
    hash: [u64; 2],
    /// Offset plus one; 0 is an empty slot.
    end: i64,
}

const EMPTY: Slot = Slot { hash: [0, 0], end: 0 };

pub struct OffsetMap {
    seed: [u64; 2],
    /// By the hash's first bits; each grows by itself, up to `part_slots`.
    parts: Vec<Part>,
    part_slots: usize,
    slots: usize,
    /// Keys that may be in it.
    capacity: usize,
    len: usize,
    latest_offset: i64,
}

#[derive(Default)]
struct Part {
    slots: Vec<Slot>,
    len: usize,
}

impl OffsetMap {
    /// At most `memory` bytes. At most `load_factor` of the slots are used.
    pub fn new(memory: usize, load_factor: f64, seed: [u64; 2]) -> Self {
        let slots = memory / SLOT_BYTES;
        let count = if slots / PARTS >= SLOTS_FIRST * 16 { PARTS } else { 1 };
        // The old half of the part that grows.
        let usable = slots - slots / (2 * count + 1);
        let part_slots = usable / count;
        let filled = |share: f64| (part_slots as f64 * share.clamp(0.0, FILL_MAX)) as usize;
        Self {
            seed,
            parts: (0..count).map(|_| Part::default()).collect(),
            part_slots,
            slots: part_slots * count,
            capacity: filled(load_factor) * count,
            len: 0,
            latest_offset: -1,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keys that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The share of the slots that are used.
    pub fn utilization(&self) -> f64 {
        if self.slots == 0 { 0.0 } else { self.len as f64 / self.slots as f64 }
    }

    /// Bytes in use now.
    pub fn memory(&self) -> usize {
        self.parts.iter().map(|part| part.slots.capacity() * SLOT_BYTES).sum()
    }

    /// Everything up to this offset is in the map; -1 when nothing is.
    pub fn latest_offset(&self) -> i64 {
        self.latest_offset
    }

    pub fn update_latest_offset(&mut self, offset: i64) {
        self.latest_offset = self.latest_offset.max(offset);
    }

    /// Forgets everything and gives the memory back.
    pub fn clear(&mut self) {
        self.parts.iter_mut().for_each(|part| *part = Part::default());
        self.len = 0;
        self.latest_offset = -1;
    }

    /// The part of a hash, and the bits that say where in it.
    fn place(&self, hash: [u64; 2]) -> (usize, u64) {
        (((u128::from(hash[0]) * self.parts.len() as u128) >> 64) as usize, hash[0].wrapping_mul(self.parts.len() as u64))
    }

    /// Notes the offset of a key, which is larger than all before. False, and nothing is noted, when the key is new and the map is full.
    pub fn put(&mut self, key: &[u8], offset: i64) -> bool {
        let hash = hash128(self.seed, key);
        let (at, bits) = self.place(hash);
        let (full, most, parts) = (self.len >= self.capacity, self.part_slots, self.parts.len());
        let Some(part) = self.parts.get_mut(at) else { return false };
        if let Some(slot) = part.find(hash, bits) {
            slot.end = offset + 1;
            return true;
        }
        if full || !part.make_room(most, parts) {
            return false;
        }
        part.insert(Slot { hash, end: offset + 1 }, bits);
        self.len += 1;
        true
    }

    /// The last offset of a key; -1 if it is not there.
    pub fn get(&self, key: &[u8]) -> i64 {
        let hash = hash128(self.seed, key);
        let (at, bits) = self.place(hash);
        self.parts.get(at).map_or(-1, |part| part.get(hash, bits))
    }
}

impl Part {
    /// Where a search for a hash begins. Monotonous in `bits`.
    #[inline]
    fn home(&self, bits: u64) -> usize {
        ((u128::from(bits) * self.slots.len() as u128) >> 64) as usize
    }

    /// Index of the slot with this hash, or of the empty one where the search ends; None in a table without slots.
    #[inline]
    fn search(&self, hash: [u64; 2], bits: u64) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(bits);
        loop {
            let slot = self.slots.get(at)?;
            if slot.end == 0 || slot.hash == hash {
                return Some(at);
            }
            at += 1;
            if at == self.slots.len() {
                at = 0;
            }
        }
    }

    #[inline]
    fn find(&mut self, hash: [u64; 2], bits: u64) -> Option<&mut Slot> {
        let at = self.search(hash, bits)?;
        self.slots.get_mut(at).filter(|slot| slot.end != 0)
    }

    #[inline]
    fn get(&self, hash: [u64; 2], bits: u64) -> i64 {
        self.search(hash, bits).and_then(|at| self.slots.get(at)).map_or(-1, |slot| slot.end - 1)
    }

    fn insert(&mut self, slot: Slot, bits: u64) {
        if let Some(free) = self.search(slot.hash, bits).and_then(|at| self.slots.get_mut(at)) {
            *free = slot;
            self.len += 1;
        }
    }

    /// Has a free slot for one more, growing if need be; false when it is full and as large as it may be.
    fn make_room(&mut self, most: usize, parts: usize) -> bool {
        let size = self.slots.len();
        // A part that may still grow does so early: short searches.
        if self.len < size * 7 / 10 {
            return true;
        }
        if size >= most {
            return self.len < (size as f64 * FILL_MAX) as usize;
        }
        // Halves of the largest size: the old table is never more than half of the new one.
        let mut grown = most;
        while grown / 2 > size && grown / 2 >= SLOTS_FIRST {
            grown /= 2;
        }
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; grown]);
        self.len = 0;
        for slot in old.into_iter().filter(|slot| slot.end != 0) {
            self.insert(slot, slot.hash[0].wrapping_mul(parts as u64));
        }
        self.len < grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn check(memory: usize, keys: u64, rounds: u64) {
        let mut map = OffsetMap::new(memory, 0.9, [3, 4]);
        let mut model: HashMap<u64, i64> = HashMap::new();
        let mut rng = fastrand::Rng::with_seed(keys);
        let mut peak = 0;
        for offset in 0..rounds as i64 {
            let key = rng.u64(0..keys);
            if map.put(&key.to_be_bytes(), offset) {
                model.insert(key, offset);
                map.update_latest_offset(offset);
            } else {
                assert!(!model.contains_key(&key), "a known key always has room");
                assert!(map.len() as f64 > map.capacity() as f64 * 0.9, "{} of {}", map.len(), map.capacity());
            }
            peak = peak.max(map.memory());
        }
        assert!(peak <= memory, "{peak} > {memory}");
        assert_eq!(map.len(), model.len());
        for key in 0..keys {
            assert_eq!(map.get(&key.to_be_bytes()), model.get(&key).copied().unwrap_or(-1));
        }
        map.clear();
        assert_eq!((map.len(), map.get(&0u64.to_be_bytes()), map.memory(), map.latest_offset()), (0, -1, 0, -1));
    }

    #[test]
    fn behaves_as_a_map_within_its_memory() {
        check(1 << 20, 1_000, 20_000);
        check(1 << 20, 60_000, 200_000);
        check(24 * 100, 1_000, 5_000);
        check(4 << 20, 300_000, 400_000);
    }

    #[test]
    fn nearly_the_whole_budget_holds_keys() {
        for memory in [1 << 20, 16 << 20, 128 << 20] {
            let map = OffsetMap::new(memory, 0.9, [0, 0]);
            let kafka = (memory / 24) as f64 * 0.9;
            assert!(map.capacity() as f64 > kafka * 0.96, "{memory}: {} of {kafka}", map.capacity());
        }
    }

    #[test]
    fn without_room_nothing_is_taken() {
        let mut map = OffsetMap::new(0, 0.9, [0, 0]);
        assert!(!map.put(b"key", 1));
        assert_eq!((map.get(b"key"), map.utilization()), (-1, 0.0));
    }
}
