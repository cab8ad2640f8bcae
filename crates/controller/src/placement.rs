//! Where the replicas of new partitions go. Leaders are striped over racks and brokers, followers over the racks after the leader's;
//! fenced brokers take followers only when there are not enough others. Kafka: `StripedReplicaPlacer`.

use crate::heartbeats::Heartbeats;
use metadata::Image;
use std::collections::BTreeMap;

struct BrokerList {
    brokers: Vec<i32>,
    index: usize,
    offset: usize,
    epoch: usize,
}

impl BrokerList {
    fn new(mut brokers: Vec<i32>, rng: &mut fastrand::Rng) -> Self {
        brokers.sort_unstable();
        let offset = if brokers.is_empty() { 0 } else { rng.usize(..brokers.len()) };
        BrokerList { brokers, index: 0, offset, epoch: 0 }
    }

    /// Each broker at most once per epoch; every epoch starts one broker further.
    fn next(&mut self, epoch: usize) -> Option<i32> {
        if self.brokers.is_empty() {
            return None;
        }
        if self.epoch != epoch {
            self.epoch = epoch;
            self.index = 0;
            self.offset = (self.offset + 1) % self.brokers.len();
        }
        if self.index >= self.brokers.len() {
            return None;
        }
        let broker = self.brokers[(self.index + self.offset) % self.brokers.len()];
        self.index += 1;
        Some(broker)
    }
}

struct Rack {
    unfenced: BrokerList,
    fenced: BrokerList,
}

struct Racks {
    racks: Vec<Rack>,
    total: usize,
    unfenced: usize,
    epoch: usize,
    offset: usize,
}

impl Racks {
    fn new(image: &Image, heartbeats: &Heartbeats, rng: &mut fastrand::Rng) -> Self {
        let mut by_rack: BTreeMap<Option<String>, (Vec<i32>, Vec<i32>)> = BTreeMap::new();
        let (mut total, mut unfenced) = (0, 0);
        for broker in image.cluster.brokers.values() {
            if heartbeats.is_shutting_down(broker.id) || broker.in_controlled_shutdown || !broker.has_uncordoned_directory() {
                continue;
            }
            let rack = by_rack.entry(broker.rack.clone()).or_default();
            total += 1;
            if broker.fenced {
                rack.1.push(broker.id);
            } else {
                unfenced += 1;
                rack.0.push(broker.id);
            }
        }
        let racks: Vec<Rack> = by_rack
            .into_values()
            .map(|(unfenced, fenced)| Rack { unfenced: BrokerList::new(unfenced, rng), fenced: BrokerList::new(fenced, rng) })
            .collect();
        let offset = if racks.is_empty() { 0 } else { rng.usize(..racks.len()) };
        Racks { racks, total, unfenced, epoch: 0, offset }
    }

    /// Needs an unfenced broker and as many brokers as replicas.
    fn place(&mut self, replication_factor: usize, rng: &mut fastrand::Rng) -> Vec<i32> {
        // After one round over the brokers the next would repeat the same assignments.
        if self.epoch == self.unfenced && self.unfenced > 1 {
            rng.shuffle(&mut self.racks);
            for rack in &mut self.racks {
                rng.shuffle(&mut rack.unfenced.brokers);
                rng.shuffle(&mut rack.fenced.brokers);
            }
            self.epoch = 0;
        }
        let count = self.racks.len();
        if self.offset == count {
            self.offset = 0;
        }
        let mut brokers = Vec::with_capacity(replication_factor);
        let mut leader_rack = None;
        for step in 0..count {
            let at = (self.offset + step) % count;
            if let Some(leader) = self.racks[at].unfenced.next(self.epoch) {
                brokers.push(leader);
                leader_rack = Some(at);
                break;
            }
        }
        let mut at = self.offset;
        // Every full round over the racks finds a broker while any is left, so this many steps are enough.
        for _ in 0..(self.total + 1) * (count + 1) {
            if brokers.len() >= replication_factor {
                break;
            }
            if leader_rack == Some(at) {
                leader_rack = None;
            } else {
                let rack = &mut self.racks[at];
                brokers.extend(rack.unfenced.next(self.epoch).or_else(|| rack.fenced.next(self.epoch)));
            }
            at = (at + 1) % count;
        }
        self.epoch += 1;
        self.offset += 1;
        brokers
    }
}

/// Replicas of `partitions` new partitions, or why they cannot be placed.
pub fn place(
    image: &Image,
    heartbeats: &Heartbeats,
    rng: &mut fastrand::Rng,
    partitions: usize,
    replication_factor: i16,
) -> Result<Vec<Vec<i32>>, String> {
    let mut racks = Racks::new(image, heartbeats, rng);
    if replication_factor <= 0 {
        return Err(format!("Invalid replication factor {replication_factor}: the replication factor must be positive."));
    }
    if racks.unfenced == 0 {
        return Err("All brokers are currently fenced, or have all their log directories cordoned.".to_owned());
    }
    if replication_factor as usize > racks.total {
        return Err(format!(
            "The target replication factor of {replication_factor} cannot be reached because only {} broker(s) are registered or some \
             brokers have all their log directories cordoned.",
            racks.total
        ));
    }
    Ok((0..partitions).map(|_| racks.place(replication_factor as usize, rng)).collect())
}
