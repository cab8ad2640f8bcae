//! Searching a sorted file of fixed-size entries, in windows of a few kilobytes.

use super::entry::Entry;
use base::disk::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// So much is read together: behind the entry that was found last, and where a search has come down to so much.
pub const WINDOW_BYTES: usize = 3072;

/// How many of the first `len` entries of `file` satisfy `before`, and the last of them. `found` is where the last search of this file ended; this one
/// looks there first, and behind it: whoever reads on finds the next entry there.
pub fn search_file<E: Entry>(
    file: &dyn File,
    len: usize,
    found: &AtomicUsize,
    before: impl Fn(&E) -> bool,
) -> io::Result<(usize, Option<E>)> {
    let window_len = WINDOW_BYTES / E::SIZE;
    let mut buffer = [0; WINDOW_BYTES];
    // What comes before `low` satisfies, `last` being the last of it; what lies at `high` or behind does not.
    let (mut low, mut high, mut last) = (0, len, None);
    let mut next = found.load(Relaxed);
    while low < high {
        let window = if high - low <= window_len {
            low..high
        } else if (low..high).contains(&next) {
            next..high.min(next + window_len)
        } else {
            let middle = low + (high - low) / 2;
            middle..middle + 1
        };
        next = usize::MAX;
        let bytes = &mut buffer[..window.len() * E::SIZE];
        let satisfy = match file.read_exact_at(bytes, (window.start * E::SIZE) as u64) {
            Ok(()) => leading(bytes, &before),
            // Cut meanwhile: an entry before it does as well, only that more is scanned behind it.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(e) => return Err(e),
        };
        if satisfy > 0 {
            low = window.start + satisfy;
            last = Some(E::decode(&bytes[(satisfy - 1) * E::SIZE..satisfy * E::SIZE]));
        }
        if satisfy < window.len() {
            high = window.start + satisfy;
        }
    }
    found.store(low.saturating_sub(1), Relaxed);
    Ok((low, last))
}

/// How many entries at the front of `bytes` satisfy `before`.
fn leading<E: Entry>(bytes: &[u8], before: impl Fn(&E) -> bool) -> usize {
    let (mut low, mut high) = (0, bytes.len() / E::SIZE);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(&E::decode(&bytes[middle * E::SIZE..(middle + 1) * E::SIZE])) { low = middle + 1 } else { high = middle }
    }
    low
}
