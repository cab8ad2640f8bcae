//! Snappy in xerial's framing (snappy-java): a 16-byte header, then blocks of at most 32 KiB as it writes them, each with its compressed length;
//! streams may follow one another. librdkafka and others also send one raw snappy block without framing; that is read, never written.

use crate::error::RecordError;
use std::io;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER: usize = 16;
const BLOCK: usize = 32 * 1024;

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&1u32.to_be_bytes());
    out.extend_from_slice(&1u32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in input.chunks(BLOCK) {
        let at = out.len();
        out.resize(at + 4 + snap::raw::max_compress_len(block.len()), 0);
        let len = encoder.compress(block, &mut out[at + 4..]).map_err(io::Error::other)?;
        out[at..at + 4].copy_from_slice(&(len as u32).to_be_bytes());
        out.truncate(at + 4 + len);
    }
    Ok(())
}

fn wrong(what: impl Into<String>) -> RecordError {
    RecordError::Decompress(what.into())
}

pub(super) struct Blocks<'a> {
    rest: &'a [u8],
    framed: bool,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(input: &'a [u8]) -> Result<Self, RecordError> {
        match input.first_chunk::<HEADER>() {
            _ if input.is_empty() => Err(wrong("snappy stream is empty")),
            // The versions behind the magic number are not looked at, as snappy-java does not.
            Some(header) if header.starts_with(&MAGIC) => Ok(Blocks { rest: &input[HEADER..], framed: true }),
            _ => Ok(Blocks { rest: input, framed: false }),
        }
    }

    /// The next block, still compressed, and the length it claims to decode to, which is believable; None at the end.
    pub(super) fn next(&mut self) -> Result<Option<(&'a [u8], usize)>, RecordError> {
        let compressed = match self.framed {
            true => self.framed_block()?,
            false => Some(std::mem::take(&mut self.rest)).filter(|rest| !rest.is_empty()),
        };
        let Some(compressed) = compressed else { return Ok(None) };
        let len = snap::raw::decompress_len(compressed).map_err(|e| wrong(e.to_string()))?;
        // A snappy block grows at most about 21-fold (three bytes make 64); a larger claim is a lie and must not be allocated.
        if len / 22 > compressed.len() {
            return Err(wrong("snappy block claims more than it can hold"));
        }
        Ok(Some((compressed, len)))
    }

    fn framed_block(&mut self) -> Result<Option<&'a [u8]>, RecordError> {
        loop {
            // As snappy-java: bytes too few for a length are the end.
            let Some((len, rest)) = self.rest.split_first_chunk::<4>() else { return Ok(None) };
            if *len == MAGIC[..4] {
                let header = self.rest.first_chunk::<HEADER>().ok_or_else(|| wrong("snappy stream ends inside the header of another"))?;
                if !header.starts_with(&MAGIC) {
                    return Ok(None);
                }
                self.rest = &self.rest[HEADER..];
                continue;
            }
            let len = u32::from_be_bytes(*len) as usize;
            let (block, rest) = rest.split_at_checked(len).ok_or_else(|| wrong("snappy stream ends inside a block"))?;
            self.rest = rest;
            return Ok(Some(block));
        }
    }
}

pub(super) fn decode(compressed: &[u8], out: &mut [u8]) -> Result<(), RecordError> {
    let n = snap::raw::Decoder::new().decompress(compressed, out).map_err(|e| wrong(e.to_string()))?;
    if n == out.len() { Ok(()) } else { Err(wrong("snappy block is shorter than it claims")) }
}
