//! Decoded bytes piece by piece: blocks as lz4 and snappy have them, a whole small batch of gzip or zstd, or as much of a large one as fits the
//! buffer. Memory is bounded by blocks of 4 MiB and by what a block really holds, whatever a header claims.

use super::buffers::{Buffers, WHOLE};
use super::{Compression, lz4, snappy, whole};
use crate::error::RecordError;
use flate2::bufread::GzDecoder;
use std::io::{self, Read};

/// Of a stream that is not decoded as a whole.
const PIECE: usize = 64 * 1024;
/// A gzip member takes more bytes than that; as in Java's GZIPInputStream, fewer behind a member are ignored.
const GZIP_TAIL: usize = 18;

pub(crate) struct Pieces<'a, 'b> {
    source: Source<'a>,
    buffers: &'b mut Buffers,
    current: Current<'a>,
    decoded: usize,
    cap: usize,
}

enum Source<'a> {
    Lz4(lz4::Blocks<'a>),
    Snappy(snappy::Blocks<'a>),
    Gzip(Box<Gzip<'a>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, &'a [u8]>>),
    Ended,
}

#[derive(Clone, Copy)]
enum Current<'a> {
    /// That many bytes at the start of the buffer.
    Buffered(usize),
    Borrowed(&'a [u8]),
}

impl<'a, 'b> Pieces<'a, 'b> {
    /// More than `cap` bytes altogether are an error.
    pub(crate) fn new(compression: Compression, input: &'a [u8], buffers: &'b mut Buffers, cap: usize) -> Result<Self, RecordError> {
        let source = match compression {
            Compression::None if input.len() > cap => return Err(RecordError::Expands(cap)),
            Compression::None => return Ok(Self::whole(Current::Borrowed(input), input.len(), buffers, cap)),
            // No frame is no record; the other codecs miss their header.
            Compression::Zstd if input.is_empty() => return Ok(Self::whole(Current::Borrowed(input), 0, buffers, cap)),
            Compression::Lz4 => {
                let blocks = lz4::Blocks::new(input)?;
                buffers.reserve(blocks.block_max());
                Source::Lz4(blocks)
            }
            Compression::Snappy => Source::Snappy(snappy::Blocks::new(input)?),
            Compression::Gzip | Compression::Zstd => {
                buffers.reserve(WHOLE);
                let mut out = std::mem::take(&mut buffers.out);
                let room = WHOLE.min(cap).min(out.len());
                let len = whole::decode(compression, input, buffers, &mut out[..room]);
                buffers.out = out;
                match len {
                    Some(len) => return Ok(Self::whole(Current::Buffered(len), len, buffers, cap)),
                    None if compression == Compression::Gzip => Source::Gzip(Box::new(Gzip::new(input))),
                    None => Source::Zstd(Box::new(zstd::stream::read::Decoder::with_buffer(input).map_err(failed)?)),
                }
            }
        };
        Ok(Pieces { source, buffers, current: Current::Buffered(0), decoded: 0, cap })
    }

    fn whole(current: Current<'a>, len: usize, buffers: &'b mut Buffers, cap: usize) -> Self {
        Pieces { source: Source::Ended, buffers, current, decoded: len, cap }
    }

    /// The piece that was decoded last; nothing before the first `advance`, unless there is only one.
    pub(crate) fn piece(&self) -> &[u8] {
        match self.current {
            Current::Buffered(len) => &self.buffers.out[..len],
            Current::Borrowed(bytes) => bytes,
        }
    }

    /// Decodes the next piece in place of the last, which is not empty then; false at the end.
    pub(crate) fn advance(&mut self) -> Result<bool, RecordError> {
        loop {
            let Some(next) = self.decode()? else {
                self.current = Current::Buffered(0);
                return Ok(false);
            };
            self.current = next;
            let len = self.piece().len();
            self.decoded += len;
            if self.decoded > self.cap {
                return Err(RecordError::Expands(self.cap));
            }
            if len > 0 {
                return Ok(true);
            }
        }
    }

    fn decode(&mut self) -> Result<Option<Current<'a>>, RecordError> {
        Ok(match &mut self.source {
            Source::Ended => None,
            Source::Lz4(blocks) => blocks.next(&mut self.buffers.out)?.map(|block| match block {
                lz4::Block::Stored(bytes) => Current::Borrowed(bytes),
                lz4::Block::Decoded(len) => Current::Buffered(len),
            }),
            Source::Snappy(blocks) => {
                let Some((block, len)) = blocks.next()? else { return Ok(None) };
                if len > self.cap {
                    return Err(RecordError::Expands(self.cap));
                }
                self.buffers.reserve(len);
                snappy::decode(block, &mut self.buffers.out[..len])?;
                Some(Current::Buffered(len))
            }
            Source::Gzip(gzip) => filled(gzip.read(&mut self.buffers.out[..PIECE])?),
            Source::Zstd(decoder) => filled(decoder.read(&mut self.buffers.out[..PIECE]).map_err(failed)?),
        })
    }
}

fn filled<'a>(len: usize) -> Option<Current<'a>> {
    (len > 0).then_some(Current::Buffered(len))
}

fn failed(error: io::Error) -> RecordError {
    RecordError::Decompress(error.to_string())
}

/// Members of a gzip stream, one after another. What follows a member and is not another is ignored, as Java does.
struct Gzip<'a> {
    member: GzDecoder<&'a [u8]>,
}

impl<'a> Gzip<'a> {
    fn new(input: &'a [u8]) -> Self {
        Gzip { member: GzDecoder::new(input) }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, RecordError> {
        loop {
            let len = self.member.read(buffer).map_err(failed)?;
            let rest = *self.member.get_ref();
            if len > 0 || rest.len() <= GZIP_TAIL || !rest.starts_with(&[0x1f, 0x8b, 8]) {
                return Ok(len);
            }
            self.member = GzDecoder::new(rest);
        }
    }
}
