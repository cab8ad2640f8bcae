//! One record batch as bytes: fields by position, checksums, patching in place. Magic 2 is the format written; magic 0 and 1 are
//! answered as Kafka answers for them, so that old segments can be walked. Hot path: nothing here allocates.

use crate::checksum::{crc32c, crc32c_of_both};
use crate::compress::Compression;
use crate::error::RecordError;
use crate::legacy;
use crate::record::RecordIter;
use crate::{NO_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, increment_sequence};
use bytes::Bytes;

pub const BASE_OFFSET: usize = 0;
pub const LENGTH: usize = 8;
pub const LEADER_EPOCH: usize = 12;
pub const MAGIC: usize = 16;
pub const CRC: usize = 17;
pub const ATTRIBUTES: usize = 21;
pub const LAST_OFFSET_DELTA: usize = 23;
pub const BASE_TIMESTAMP: usize = 27;
pub const MAX_TIMESTAMP: usize = 35;
pub const PRODUCER_ID: usize = 43;
pub const PRODUCER_EPOCH: usize = 51;
pub const BASE_SEQUENCE: usize = 53;
pub const COUNT: usize = 57;
/// Where the records start; the size of a batch without records.
pub const RECORDS: usize = 61;
/// Offset and length: what precedes the `length` bytes.
pub const LOG_OVERHEAD: usize = 12;
/// Offset, length, leader epoch (or CRC) and magic: enough to know what follows.
pub const HEADER_UP_TO_MAGIC: usize = 17;
/// The least a legacy message takes after its `LOG_OVERHEAD`.
const LEGACY_MIN: usize = 14;

const COMPRESSION_MASK: u8 = 0x07;
pub(crate) const LOG_APPEND_TIME: u8 = 0x08;
pub(crate) const TRANSACTIONAL: u8 = 0x10;
pub(crate) const CONTROL: u8 = 0x20;
pub(crate) const DELETE_HORIZON: u8 = 0x40;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    #[default]
    CreateTime,
    LogAppendTime,
}

impl TimestampType {
    pub fn name(self) -> &'static str {
        match self {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        }
    }
}

/// Borrowed bytes of exactly one complete batch. Sizes are checked at construction, checksums only by `is_valid`.
#[derive(Clone, Copy)]
pub struct BatchView<'a> {
    bytes: &'a [u8],
}

/// The total size of the batch that starts here, or None while its first 12 bytes are not all there.
pub fn size_of(bytes: &[u8]) -> Option<Result<usize, RecordError>> {
    let length = i32::from_be_bytes(bytes.get(LENGTH..LENGTH + 4)?.try_into().ok()?);
    if length < LEGACY_MIN as i32 {
        return Some(Err(RecordError::Corrupt(format!("record size {length} is less than the minimum record overhead ({LEGACY_MIN})"))));
    }
    Some(Ok(length as usize + LOG_OVERHEAD))
}

impl<'a> BatchView<'a> {
    /// The first batch in `bytes`; None if they end before it does.
    pub fn first(bytes: &'a [u8]) -> Result<Option<BatchView<'a>>, RecordError> {
        let size = match size_of(bytes) {
            None => return Ok(None),
            Some(size) => size?,
        };
        let Some(magic) = bytes.get(MAGIC) else { return Ok(None) };
        if *magic > 2 {
            return Err(RecordError::Corrupt(format!("invalid magic found in record: {magic}")));
        }
        if bytes.len() < size {
            return Ok(None);
        }
        if *magic == 2 && size < RECORDS {
            return Err(RecordError::Corrupt(format!(
                "record batch is corrupt (the size {size} is smaller than the minimum allowed overhead {RECORDS})"
            )));
        }
        if *magic < 2 && size < legacy::min_size(*magic) {
            return Err(RecordError::Corrupt(format!("message of magic {magic} is corrupt (its size is {size})")));
        }
        Ok(Some(BatchView { bytes: &bytes[..size] }))
    }

    /// A view of the header alone (everything but `payload` and checksums) and the size of the whole batch; None if `bytes` end before
    /// the header does. 61 bytes are always enough.
    pub fn head(bytes: &'a [u8]) -> Result<Option<(BatchView<'a>, usize)>, RecordError> {
        let size = match size_of(bytes) {
            None => return Ok(None),
            Some(size) => size?,
        };
        let Some(magic) = bytes.get(MAGIC) else { return Ok(None) };
        let need = match magic {
            2 => RECORDS,
            0 | 1 => legacy::min_size(*magic),
            _ => return Err(RecordError::Corrupt(format!("invalid magic found in record: {magic}"))),
        };
        if size < need {
            return Err(RecordError::Corrupt(format!("record batch is corrupt (the size {size} is smaller than its header)")));
        }
        Ok(bytes.get(..need).map(|bytes| (BatchView { bytes }, size)))
    }

    #[inline]
    fn i16_at(&self, at: usize) -> i16 {
        i16::from_be_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    #[inline]
    fn i32_at(&self, at: usize) -> i32 {
        let b = &self.bytes[at..at + 4];
        i32::from_be_bytes([b[0], b[1], b[2], b[3]])
    }

    #[inline]
    fn i64_at(&self, at: usize) -> i64 {
        let b = &self.bytes[at..at + 8];
        i64::from_be_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])
    }

    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    #[inline]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub fn magic(&self) -> u8 {
        self.bytes[MAGIC]
    }

    /// For magic 0 and 1 this is the offset field, which in a compressed wrapper is that of its last message.
    #[inline]
    pub fn base_offset(&self) -> i64 {
        self.i64_at(BASE_OFFSET)
    }

    #[inline]
    pub fn last_offset(&self) -> i64 {
        if self.magic() < 2 { self.base_offset() } else { self.base_offset().wrapping_add(i64::from(self.last_offset_delta())) }
    }

    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    #[inline]
    pub fn leader_epoch(&self) -> i32 {
        if self.magic() < 2 { NO_LEADER_EPOCH } else { self.i32_at(LEADER_EPOCH) }
    }

    #[inline]
    pub fn stored_crc(&self) -> u32 {
        self.i32_at(if self.magic() < 2 { legacy::CRC } else { CRC }) as u32
    }

    pub fn compute_crc(&self) -> u32 {
        if self.magic() < 2 { legacy::compute_crc(self.bytes) } else { crc32c(&self.bytes[ATTRIBUTES..]) }
    }

    pub fn is_valid(&self) -> bool {
        self.stored_crc() == self.compute_crc()
    }

    /// The low byte of the attributes; the high byte is unused in every format.
    #[inline]
    pub fn attributes(&self) -> u8 {
        if self.magic() < 2 { self.bytes[legacy::ATTRIBUTES] } else { self.bytes[ATTRIBUTES + 1] }
    }

    #[inline]
    pub fn compression(&self) -> Result<Compression, RecordError> {
        let id = self.attributes() & COMPRESSION_MASK;
        Compression::from_id(id).ok_or(RecordError::UnsupportedCompression(id))
    }

    #[inline]
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes() & LOG_APPEND_TIME != 0 && self.magic() > 0 { TimestampType::LogAppendTime } else { TimestampType::CreateTime }
    }

    #[inline]
    pub fn is_transactional(&self) -> bool {
        self.magic() >= 2 && self.attributes() & TRANSACTIONAL != 0
    }

    #[inline]
    pub fn is_control(&self) -> bool {
        self.magic() >= 2 && self.attributes() & CONTROL != 0
    }

    /// When tombstones and markers of this batch may go; the base timestamp field then holds it.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.magic() >= 2 && self.attributes() & DELETE_HORIZON != 0).then(|| self.i64_at(BASE_TIMESTAMP))
    }

    #[inline]
    pub fn last_offset_delta(&self) -> i32 {
        if self.magic() < 2 { 0 } else { self.i32_at(LAST_OFFSET_DELTA) }
    }

    #[inline]
    pub fn base_timestamp(&self) -> i64 {
        if self.magic() < 2 { legacy::timestamp(self.bytes) } else { self.i64_at(BASE_TIMESTAMP) }
    }

    #[inline]
    pub fn max_timestamp(&self) -> i64 {
        if self.magic() < 2 { legacy::timestamp(self.bytes) } else { self.i64_at(MAX_TIMESTAMP) }
    }

    #[inline]
    pub fn producer_id(&self) -> i64 {
        if self.magic() < 2 { NO_PRODUCER_ID } else { self.i64_at(PRODUCER_ID) }
    }

    #[inline]
    pub fn has_producer_id(&self) -> bool {
        self.producer_id() > NO_PRODUCER_ID
    }

    #[inline]
    pub fn producer_epoch(&self) -> i16 {
        if self.magic() < 2 { NO_PRODUCER_EPOCH } else { self.i16_at(PRODUCER_EPOCH) }
    }

    #[inline]
    pub fn base_sequence(&self) -> i32 {
        if self.magic() < 2 { NO_SEQUENCE } else { self.i32_at(BASE_SEQUENCE) }
    }

    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence() {
            NO_SEQUENCE => NO_SEQUENCE,
            base => increment_sequence(base, self.last_offset_delta().max(0)),
        }
    }

    /// How many records the header claims; 1 for an uncompressed legacy message, unknown (None) for a compressed one.
    #[inline]
    pub fn count(&self) -> Option<i32> {
        if self.magic() >= 2 {
            return Some(self.i32_at(COUNT));
        }
        (self.attributes() & COMPRESSION_MASK == 0).then_some(1)
    }

    /// The records part of a magic 2 batch, still compressed.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[RECORDS.min(self.bytes.len())..]
    }
}

impl std::fmt::Debug for BatchView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("offsets", &(self.base_offset(), self.last_offset()))
            .field("epoch", &self.leader_epoch())
            .field("size", &self.size())
            .field("magic", &self.magic())
            .field("attributes", &self.attributes())
            .field("producer", &(self.producer_id(), self.producer_epoch(), self.base_sequence()))
            .finish()
    }
}

/// One batch that owns (shares) its bytes.
#[derive(Clone)]
pub struct Batch {
    bytes: Bytes,
}

impl Batch {
    /// Exactly one complete batch at the start of `bytes`; what follows it is cut off.
    pub fn new(bytes: Bytes) -> Result<Batch, RecordError> {
        match BatchView::first(&bytes)? {
            Some(view) => {
                let size = view.size();
                Ok(Batch { bytes: bytes.slice(..size) })
            }
            None => Err(RecordError::Corrupt("record batch ends before its declared size".into())),
        }
    }

    pub fn view(&self) -> BatchView<'_> {
        BatchView { bytes: &self.bytes }
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The records in order; keys and values share the batch's bytes, or one decompressed buffer of at most `max_decompressed` bytes.
    pub fn records(&self, max_decompressed: usize) -> Result<RecordIter, RecordError> {
        RecordIter::new(self, max_decompressed)
    }
}

/// The batches in `bytes`, one after another; a last incomplete one is left out (Fetch may cut it).
pub fn batches(bytes: &Bytes) -> BatchIter {
    BatchIter { rest: bytes.clone() }
}

pub struct BatchIter {
    rest: Bytes,
}

impl BatchIter {
    /// What was not yet handed out; after the last batch, the incomplete tail.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }
}

impl Iterator for BatchIter {
    type Item = Result<Batch, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        match BatchView::first(&self.rest) {
            Ok(Some(view)) => {
                let size = view.size();
                Some(Ok(Batch { bytes: self.rest.split_to(size) }))
            }
            Ok(None) => None,
            Err(error) => {
                self.rest = Bytes::new();
                Some(Err(error))
            }
        }
    }
}

/// Writes what lies outside the checksum: base offset and partition leader epoch. `header` is at least the first 16 bytes of a batch.
pub fn patch_offset_and_epoch(header: &mut [u8], base_offset: i64, leader_epoch: i32) {
    header[BASE_OFFSET..BASE_OFFSET + 8].copy_from_slice(&base_offset.to_be_bytes());
    header[LEADER_EPOCH..LEADER_EPOCH + 4].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Writes timestamp type and max timestamp into the 61 header bytes and the checksum over them and `payload`.
pub fn patch_max_timestamp(header: &mut [u8], payload: &[u8], timestamp_type: TimestampType, max_timestamp: i64) {
    match timestamp_type {
        TimestampType::LogAppendTime => header[ATTRIBUTES + 1] |= LOG_APPEND_TIME,
        TimestampType::CreateTime => header[ATTRIBUTES + 1] &= !LOG_APPEND_TIME,
    }
    header[MAX_TIMESTAMP..MAX_TIMESTAMP + 8].copy_from_slice(&max_timestamp.to_be_bytes());
    let crc = crc32c_of_both(&header[ATTRIBUTES..RECORDS], payload);
    header[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
}
