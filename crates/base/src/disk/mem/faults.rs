//! What goes wrong on a simulated disk, and when: full file systems, errors, the power cut. Everything is off until a test turns it on.

use std::collections::BTreeMap;
use std::io;

/// What is wrong with everything below one directory at the top of the disk, which stands for a file system of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Every operation fails with EIO, reading too.
    pub broken: bool,
    /// So many of 1,000 operations fail with EIO.
    pub errors_per_mille: u32,
    /// Reads give fewer bytes than asked for, as they may.
    pub short_reads: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Read,
    Write,
    Sync,
    /// Creation, renaming or removal of a name, a cut.
    Name,
}

/// What an operation is to do.
pub enum Verdict {
    Done,
    /// Fails, and may have done a part of what it was asked for.
    Fails(io::Error),
    /// Fails without having begun.
    Refused(io::Error),
}

impl Verdict {
    /// For what is done whole or not at all.
    pub fn result(self) -> io::Result<()> {
        match self {
            Verdict::Done => Ok(()),
            Verdict::Fails(error) | Verdict::Refused(error) => Err(error),
        }
    }
}

pub struct State {
    /// Bytes that may still be written anywhere; None is unlimited.
    pub free: Option<u64>,
    /// The same below one top directory.
    pub free_below: BTreeMap<String, u64>,
    pub faults: BTreeMap<String, Faults>,
    /// Writes and syncs fail with EIO once this many of them succeeded; None never.
    pub operations_left: Option<u64>,
    pub operations: u64,
    /// The power goes at this operation.
    pub cut_at: Option<u64>,
    pub is_off: bool,
    /// How many crashes there were: handles from before are of no use.
    pub generation: u64,
    pub now_ms: i64,
    pub writes: u64,
    pub syncs: u64,
    pub rng: fastrand::Rng,
}

impl Default for State {
    fn default() -> Self {
        State {
            free: None,
            free_below: BTreeMap::new(),
            faults: BTreeMap::new(),
            operations_left: None,
            operations: 0,
            cut_at: None,
            is_off: false,
            generation: 0,
            now_ms: 0,
            writes: 0,
            syncs: 0,
            rng: fastrand::Rng::with_seed(0),
        }
    }
}

const EIO: i32 = 5;

fn eio() -> io::Error {
    io::Error::from_raw_os_error(EIO)
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

impl State {
    /// Called before each operation below `top`.
    pub fn begin(&mut self, top: &str, operation: Operation) -> Verdict {
        if self.is_off {
            return Verdict::Refused(power_is_off());
        }
        match operation {
            Operation::Read => {}
            Operation::Write | Operation::Sync | Operation::Name => {
                self.operations += 1;
                self.writes += u64::from(operation == Operation::Write);
                self.syncs += u64::from(operation == Operation::Sync);
                if self.cut_at.is_some_and(|at| self.operations >= at) {
                    self.is_off = true;
                    return Verdict::Fails(power_is_off());
                }
                match &mut self.operations_left {
                    Some(0) => return Verdict::Refused(eio()),
                    Some(left) => *left -= 1,
                    None => {}
                }
            }
        }
        match self.faults.get(top) {
            Some(faults) if faults.broken || (faults.errors_per_mille > 0 && self.rng.u32(0..1000) < faults.errors_per_mille) => {
                // A disk that is gone does nothing; one that stumbles may.
                if faults.broken { Verdict::Refused(eio()) } else { Verdict::Fails(eio()) }
            }
            _ => Verdict::Done,
        }
    }

    /// How many of `bytes` still fit below `top`; they are taken.
    pub fn take_space(&mut self, top: &str, bytes: u64) -> u64 {
        let mut fits = bytes;
        for free in [self.free.as_mut(), self.free_below.get_mut(top)].into_iter().flatten() {
            fits = fits.min(*free);
        }
        for free in [self.free.as_mut(), self.free_below.get_mut(top)].into_iter().flatten() {
            *free -= fits;
        }
        fits
    }

    pub fn give_space(&mut self, top: &str, bytes: u64) {
        for free in [self.free.as_mut(), self.free_below.get_mut(top)].into_iter().flatten() {
            *free += bytes;
        }
    }

    pub fn usable(&self, top: &str) -> Option<u64> {
        [self.free, self.free_below.get(top).copied()].into_iter().flatten().min()
    }

    /// How many bytes a read of `len` gives.
    pub fn read_len(&mut self, top: &str, len: usize) -> usize {
        match self.faults.get(top) {
            Some(faults) if faults.short_reads && len > 1 => self.rng.usize(1..=len),
            _ => len,
        }
    }
}
