//! LZ4 frames as Kafka reads them: independent blocks only, checksums of the descriptor and of blocks are verified, that of the content is
//! skipped, and nothing behind the end mark is looked at. Blocks that were stored are read where they are. Kafka: Lz4BlockInputStream.

use crate::error::RecordError;
use xxhash_rust::xxh32::xxh32;

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
const STORED: u32 = 1 << 31;

const ENDED: &str = "lz4 stream ended prematurely";

fn wrong(what: impl Into<String>) -> RecordError {
    RecordError::Decompress(what.into())
}

pub(super) struct Blocks<'a> {
    rest: &'a [u8],
    block_max: usize,
    block_checksum: bool,
    content_checksum: bool,
    finished: bool,
}

/// Where the bytes of a block are.
pub(super) enum Block<'a> {
    Stored(&'a [u8]),
    /// So many, at the start of the buffer.
    Decoded(usize),
}

impl<'a> Blocks<'a> {
    pub(super) fn new(input: &'a [u8]) -> Result<Self, RecordError> {
        let [magic @ .., flags, descriptor] = input.first_chunk::<6>().ok_or_else(|| wrong(ENDED))?;
        if *magic != MAGIC {
            return Err(wrong("not an lz4 frame (invalid magic bytes)"));
        }
        let flag = |bit: u8| flags >> bit & 1 == 1;
        if flags & 0b11 != 0 || descriptor & 0b1000_1111 != 0 {
            return Err(wrong("reserved bits of an lz4 frame are set"));
        }
        if flags >> 6 != 1 {
            return Err(wrong(format!("lz4 frames of version {} are unsupported", flags >> 6)));
        }
        if !flag(5) {
            return Err(wrong("lz4 blocks that depend on each other are unsupported"));
        }
        let size = descriptor >> 4 & 0b111;
        if size < 4 {
            return Err(wrong(format!("lz4 block size {size} is unsupported")));
        }
        let end = if flag(3) { 14 } else { 6 };
        let checksum = input.get(end).ok_or_else(|| wrong(ENDED))?;
        if *checksum != (xxh32(&input[4..end], 0) >> 8) as u8 {
            return Err(wrong("lz4 frame descriptor is corrupted"));
        }
        Ok(Blocks {
            rest: &input[end + 1..],
            block_max: 1 << (8 + 2 * size),
            block_checksum: flag(4),
            content_checksum: flag(2),
            finished: false,
        })
    }

    /// No block decodes to more: 64 KiB to 4 MiB.
    pub(super) fn block_max(&self) -> usize {
        self.block_max
    }

    /// The next block, decoded into `buffer` unless it was stored; None after the last. `buffer` has room for `block_max`.
    pub(super) fn next(&mut self, buffer: &mut [u8]) -> Result<Option<Block<'a>>, RecordError> {
        if self.finished {
            return Ok(None);
        }
        let size = self.take_u32()?;
        let (stored, size) = (size & STORED != 0, (size & !STORED) as usize);
        if size == 0 {
            self.finished = true;
            if self.content_checksum {
                self.take_u32()?;
            }
            return Ok(None);
        }
        if size > self.block_max {
            return Err(wrong(format!("lz4 block of {size} bytes exceeds the {} of its frame", self.block_max)));
        }
        let (bytes, rest) = self.rest.split_at_checked(size).ok_or_else(|| wrong(ENDED))?;
        self.rest = rest;
        let block = if stored {
            Block::Stored(bytes)
        } else {
            let buffer = buffer.get_mut(..self.block_max).ok_or_else(|| wrong("no room for an lz4 block"))?;
            Block::Decoded(lz4_flex::block::decompress_into(bytes, buffer).map_err(|e| wrong(format!("lz4 block: {e}")))?)
        };
        if self.block_checksum && self.take_u32()? != xxh32(bytes, 0) {
            return Err(wrong("lz4 block checksum mismatch"));
        }
        Ok(Some(block))
    }

    fn take_u32(&mut self) -> Result<u32, RecordError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| wrong(ENDED))?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }
}
