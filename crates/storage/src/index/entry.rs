//! What the sparse indexes hold. Kafka: OffsetIndex, TimeIndex.

/// A fixed-size index entry, big-endian on disk.
pub trait Entry: Copy + std::fmt::Debug + PartialEq {
    const SIZE: usize;
    fn encode(&self, out: &mut Vec<u8>);
    /// `bytes` has `SIZE` bytes.
    fn decode(bytes: &[u8]) -> Self;
    /// Whether `next` may follow: what tells entries from the zeros of a file that was never trimmed.
    fn precedes(&self, next: &Self) -> bool;
}

/// The last offset of a batch, relative to the segment's base, and where that batch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    pub relative_offset: u32,
    pub position: u32,
}

impl Entry for OffsetEntry {
    const SIZE: usize = 8;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Self { relative_offset: be_u32(&bytes[..4]), position: be_u32(&bytes[4..8]) }
    }

    fn precedes(&self, next: &Self) -> bool {
        self.relative_offset < next.relative_offset && self.position < next.position
    }
}

/// The largest timestamp so far and the last offset of the batch that has it, relative to the segment's base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    pub timestamp: i64,
    pub relative_offset: u32,
}

impl Entry for TimeEntry {
    const SIZE: usize = 12;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        let mut timestamp = [0; 8];
        timestamp.copy_from_slice(&bytes[..8]);
        Self { timestamp: i64::from_be_bytes(timestamp), relative_offset: be_u32(&bytes[8..12]) }
    }

    fn precedes(&self, next: &Self) -> bool {
        self.timestamp < next.timestamp && self.relative_offset <= next.relative_offset
    }
}

fn be_u32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
