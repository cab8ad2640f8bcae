//! Owns: how many batches of each flush id are not finished yet, which is what `flush` and `close` wait for. Part of the accumulator.

use std::collections::VecDeque;

/// By flush id, ascending; the first has unfinished batches, others may have none left.
#[derive(Default)]
pub(super) struct Unfinished(VecDeque<(u64, u32)>);

impl Unfinished {
    /// `id` is one that is here already, or larger than all of them.
    pub(super) fn add(&mut self, id: u64, batches: u32) {
        match self.place(id) {
            Ok(place) => self.0[place].1 += batches,
            Err(place) => self.0.insert(place, (id, batches)),
        }
    }

    pub(super) fn finish(&mut self, id: u64) {
        if let Ok(place) = self.place(id) {
            self.0[place].1 = self.0[place].1.saturating_sub(1);
        }
        while self.0.front().is_some_and(|(_, batches)| *batches == 0) {
            self.0.pop_front();
        }
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.0.front().map(|(id, _)| *id)
    }

    fn place(&self, id: u64) -> Result<usize, usize> {
        // Nearly always the newest, or the oldest.
        match self.0.back() {
            Some((last, _)) if *last < id => Err(self.0.len()),
            _ => self.0.binary_search_by_key(&id, |(id, _)| *id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_not_finished_is_known_in_any_order() {
        let mut unfinished = Unfinished::default();
        for id in 1..=3 {
            unfinished.add(id, 1);
        }
        unfinished.finish(2);
        assert_eq!(unfinished.first(), Some(1));
        // Split in two.
        unfinished.add(1, 2);
        unfinished.finish(1);
        unfinished.finish(1);
        assert_eq!(unfinished.first(), Some(1));
        unfinished.finish(1);
        assert_eq!(unfinished.first(), Some(3));
        unfinished.finish(3);
        assert_eq!(unfinished.first(), None);
        unfinished.finish(3);
    }
}
