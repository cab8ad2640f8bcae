//! Snappy in xerial's framing (snappy-java): a 16-byte header, then blocks of at most 32 KiB, each with its compressed length.
//! librdkafka and others also send one raw snappy block without framing; that is read, never written.

use crate::error::RecordError;
use std::io::{self, Read};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
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

pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
    framed: bool,
    cap: usize,
    block: Vec<u8>,
    at: usize,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(input: &'a [u8], cap: usize) -> Result<Self, RecordError> {
        let framed = input.starts_with(&MAGIC);
        if framed && input.len() < 16 {
            return Err(RecordError::Decompress("snappy stream ends inside its header".into()));
        }
        let rest = if framed { &input[16..] } else { input };
        Ok(Self { rest, framed, cap, block: Vec::new(), at: 0 })
    }

    fn next_block(&mut self) -> io::Result<()> {
        let compressed = if self.framed {
            let Some((len, rest)) = self.rest.split_first_chunk::<4>() else {
                return Err(io::Error::other("snappy stream ends inside a block length"));
            };
            let len = u32::from_be_bytes(*len) as usize;
            if rest.len() < len {
                return Err(io::Error::other("snappy stream ends inside a block"));
            }
            let (block, rest) = rest.split_at(len);
            self.rest = rest;
            block
        } else {
            std::mem::take(&mut self.rest)
        };
        let len = snap::raw::decompress_len(compressed).map_err(io::Error::other)?;
        // A snappy block grows at most about 21-fold (three bytes make 64); a larger claim is a lie and must not be allocated.
        if len / 22 > compressed.len() {
            return Err(io::Error::other("snappy block claims more than it can hold"));
        }
        if len > self.cap {
            return Err(io::Error::other(RecordError::Expands(self.cap)));
        }
        self.block.resize(len, 0);
        snap::raw::Decoder::new().decompress(compressed, &mut self.block).map_err(io::Error::other)?;
        self.at = 0;
        Ok(())
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if self.rest.is_empty() {
                return Ok(0);
            }
            self.next_block()?;
        }
        let n = buf.len().min(self.block.len() - self.at);
        buf[..n].copy_from_slice(&self.block[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
