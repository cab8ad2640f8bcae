//! What a simulated file holds: the bytes that everybody sees, and a log of the changes that are not durable yet, from which a power cut
//! works out what the medium has. Costs of a change, a sync and a crash follow what changed, not how long the file is.

use std::ops::Range;

/// What the medium keeps whole, whatever happens.
const SECTOR: usize = 512;

#[derive(Default)]
pub struct Content {
    pub bytes: Vec<u8>,
    pub modified_ms: i64,
    /// In order; everything before the first of them is durable.
    changes: Vec<Change>,
    /// What the changes wrote, one after another.
    written: Vec<u8>,
}

struct Change {
    kind: Kind,
    fate: Fate,
    /// The length before, and what was overwritten or cut off.
    old_len: usize,
    old: Vec<u8>,
}

enum Kind {
    Write { offset: usize, data: Range<usize> },
    SetLen(usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The next sync makes it durable; until then a power cut decides.
    Pending,
    Durable,
    /// A sync failed and the system forgot that it had to be written: seen by readers, never durable.
    Lost,
}

impl Content {
    pub fn new(modified_ms: i64) -> Content {
        Content { modified_ms, ..Content::default() }
    }

    pub fn is_dirty(&self) -> bool {
        !self.changes.is_empty()
    }

    pub fn write(&mut self, offset: usize, data: &[u8]) {
        let old_len = self.bytes.len();
        let old = self.bytes.get(offset.min(old_len)..(offset + data.len()).min(old_len)).unwrap_or_default().to_vec();
        write(&mut self.bytes, offset, data);
        let start = self.written.len();
        self.written.extend_from_slice(data);
        let kind = Kind::Write { offset, data: start..self.written.len() };
        self.changes.push(Change { kind, fate: Fate::Pending, old_len, old });
    }

    pub fn set_len(&mut self, len: usize) {
        let old_len = self.bytes.len();
        let old = self.bytes.get(len..).unwrap_or_default().to_vec();
        self.bytes.resize(len, 0);
        self.changes.push(Change { kind: Kind::SetLen(len), fate: Fate::Pending, old_len, old });
    }

    pub fn sync(&mut self) {
        if self.changes.iter().all(|change| change.fate != Fate::Lost) {
            self.changes.clear();
            self.written.clear();
            return;
        }
        for change in &mut self.changes {
            if change.fate == Fate::Pending {
                change.fate = Fate::Durable;
            }
        }
    }

    /// A sync that reported an error: what it was to write may or may not have got out, and nobody will try again.
    pub fn fail_sync(&mut self, rng: &mut fastrand::Rng) {
        for change in &mut self.changes {
            if change.fate == Fate::Pending {
                change.fate = if rng.bool() { Fate::Durable } else { Fate::Lost };
            }
        }
    }

    /// What a failed sync has forgotten is not there any more, as after the file system was mounted again.
    pub fn forget_lost(&mut self) {
        if self.changes.iter().all(|change| change.fate != Fate::Lost) {
            return;
        }
        let (changes, written) = self.undo();
        for change in changes.into_iter().filter(|change| change.fate != Fate::Lost) {
            match &change.kind {
                Kind::Write { offset, data } => self.write(*offset, &written[data.clone()]),
                Kind::SetLen(len) => self.set_len(*len),
            }
            if let Some(again) = self.changes.last_mut() {
                again.fate = change.fate;
            }
        }
    }

    /// Takes back the changes that are not durable yet; returns them and what they wrote.
    fn undo(&mut self) -> (Vec<Change>, Vec<u8>) {
        let changes = std::mem::take(&mut self.changes);
        for change in changes.iter().rev() {
            match &change.kind {
                Kind::Write { offset, .. } => {
                    let from = (*offset).min(change.old_len);
                    self.bytes[from..from + change.old.len()].copy_from_slice(&change.old);
                    self.bytes.truncate(change.old_len);
                }
                Kind::SetLen(len) => {
                    self.bytes.truncate(*len);
                    self.bytes.extend_from_slice(&change.old);
                    self.bytes.resize(change.old_len, 0);
                }
            }
        }
        (changes, std::mem::take(&mut self.written))
    }

    /// A power cut: back to what is durable, and of each pending change as much as `survival` lets through.
    pub fn crash(&mut self, survival: Survival, rng: &mut fastrand::Rng) {
        let (changes, written) = self.undo();
        for change in &changes {
            let survives = match (change.fate, survival) {
                (Fate::Durable, _) => Part::Whole,
                (Fate::Lost, Survival::All | Survival::Nothing) | (Fate::Pending, Survival::Nothing) => Part::Nothing,
                (Fate::Pending, Survival::All) => Part::Whole,
                (Fate::Lost, Survival::Some) if rng.bool() => Part::Nothing,
                (_, Survival::Some) => Part::draw(rng),
            };
            match (&change.kind, survives) {
                (_, Part::Nothing) => {}
                (Kind::SetLen(len), _) => self.bytes.resize(*len, 0),
                (Kind::Write { offset, data }, part) => {
                    let data = &written[data.clone()];
                    match part {
                        Part::Beginning => write(&mut self.bytes, *offset, &data[..rng.usize(0..=data.len())]),
                        Part::Sectors => write_sectors(&mut self.bytes, *offset, data, rng),
                        Part::Whole | Part::Nothing => write(&mut self.bytes, *offset, data),
                    }
                }
            }
        }
    }
}

/// What a power cut leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    Nothing,
    /// Of each change all, nothing, its beginning, or some of its sectors.
    Some,
    All,
}

enum Part {
    Nothing,
    Whole,
    Beginning,
    Sectors,
}

impl Part {
    fn draw(rng: &mut fastrand::Rng) -> Part {
        match rng.u8(0..6) {
            0 | 1 => Part::Nothing,
            2 | 3 => Part::Whole,
            4 => Part::Beginning,
            _ => Part::Sectors,
        }
    }
}

fn write(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    if bytes.len() == offset {
        bytes.extend_from_slice(data);
        return;
    }
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

/// The file gets its length, and of the sectors some their content; the others hold what they held, or zeros.
fn write_sectors(bytes: &mut Vec<u8>, offset: usize, data: &[u8], rng: &mut fastrand::Rng) {
    let end = offset + data.len();
    if bytes.len() < end && rng.bool() {
        bytes.resize(end, 0);
    }
    let mut at = offset;
    while at < end {
        let next = (at / SECTOR * SECTOR + SECTOR).min(end);
        if rng.bool() {
            write(bytes, at, &data[at - offset..next - offset]);
        }
        at = next;
    }
}
