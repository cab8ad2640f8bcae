//! Who owns what, as the members themselves see it: a partition is a member's from when it was told so until it has given it up.

/// The state of one member in its group.
#[derive(Clone, Debug, Default)]
pub struct Seat {
    /// Whether it is to be in the group.
    pub wanted: bool,
    pub joined: bool,
    /// The member epoch, or the generation.
    pub epoch: i32,
    /// Whether the coordinator has been told that what it gave is owned.
    pub acknowledged: bool,
    /// Partitions, sorted.
    pub owned: Vec<i32>,
}

pub struct Ledger {
    pub seats: Vec<Seat>,
    /// By partition: how many own it.
    owners: Vec<u16>,
    owned_once: usize,
    /// How often a partition was owned by two members at a time.
    pub overlaps: u64,
    pub heartbeats: u64,
    pub commits: u64,
    pub errors: u64,
    /// Of heartbeats, since it was last taken.
    pub heartbeat_micros: Vec<u64>,
    pub commit_micros: Vec<u64>,
    /// While it is, members commit one request after the other.
    pub committing: bool,
}

impl Ledger {
    pub fn new(partitions: usize) -> Self {
        Ledger {
            seats: Vec::new(),
            owners: vec![0; partitions],
            owned_once: 0,
            overlaps: 0,
            heartbeats: 0,
            commits: 0,
            errors: 0,
            heartbeat_micros: Vec::new(),
            commit_micros: Vec::new(),
            committing: false,
        }
    }

    pub fn own(&mut self, seat: usize, mut partitions: Vec<i32>) {
        partitions.sort_unstable();
        let before = std::mem::take(&mut self.seats[seat].owned);
        before.iter().for_each(|partition| self.release(*partition));
        partitions.iter().for_each(|partition| self.take(*partition));
        self.seats[seat].owned = partitions;
    }

    fn take(&mut self, partition: i32) {
        let Some(owners) = self.owners.get_mut(partition as usize) else { return };
        *owners += 1;
        match *owners {
            1 => self.owned_once += 1,
            _ => {
                self.owned_once -= usize::from(*owners == 2);
                self.overlaps += 1;
            }
        }
    }

    fn release(&mut self, partition: i32) {
        let Some(owners) = self.owners.get_mut(partition as usize) else { return };
        *owners -= 1;
        match *owners {
            0 => self.owned_once -= 1,
            1 => self.owned_once += 1,
            _ => {}
        }
    }

    /// Every member that is wanted is in, in one epoch, and has acknowledged; every partition is owned by exactly one.
    pub fn is_settled(&self) -> bool {
        let mut epochs = self.seats.iter().filter(|seat| seat.wanted).map(|seat| seat.epoch);
        let first = epochs.next();
        self.owned_once == self.owners.len()
            && self.seats.iter().all(|seat| seat.wanted == seat.joined && (!seat.wanted || seat.acknowledged))
            && first.is_some()
            && epochs.all(|epoch| Some(epoch) == first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(epoch: i32) -> Seat {
        Seat { wanted: true, joined: true, acknowledged: true, epoch, ..Seat::default() }
    }

    #[test]
    fn settled_is_everything_owned_once_in_one_epoch() {
        let mut ledger = Ledger::new(3);
        ledger.seats = vec![seat(1), seat(1)];
        ledger.own(0, vec![2, 0]);
        assert!(!ledger.is_settled(), "a partition is free");
        ledger.own(1, vec![1]);
        assert!(ledger.is_settled());
        ledger.own(1, vec![1, 2]);
        assert!(!ledger.is_settled(), "a partition has two owners");
        assert_eq!(ledger.overlaps, 1);
        ledger.own(0, vec![0]);
        assert!(ledger.is_settled());
        ledger.seats[0].epoch = 2;
        assert!(!ledger.is_settled());
        ledger.seats[0].wanted = false;
        assert!(!ledger.is_settled(), "one that is to go is still there");
    }
}
