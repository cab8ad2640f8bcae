//! The five codecs as Kafka frames them. Decompression streams and is capped by the caller, so that a small batch cannot claim
//! much memory. Kafka: CompressionType, GzipCompression, SnappyCompression, Lz4Compression, ZstdCompression.

mod snappy;

use crate::error::RecordError;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use std::io::{self, Read, Write};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Compression {
    #[default]
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

impl Compression {
    pub const ALL: [Compression; 5] = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.get(usize::from(id)).copied()
    }

    pub fn id(self) -> u8 {
        self as u8
    }

    /// The name used in configs and tools.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }

    /// Lowest, highest and default level of `compression.<name>.level`; None where there are no levels.
    pub fn levels(self) -> Option<(i32, i32, i32)> {
        match self {
            Compression::None | Compression::Snappy => None,
            Compression::Gzip => Some((1, 9, -1)),
            Compression::Lz4 => Some((1, 17, 9)),
            Compression::Zstd => Some((-131_072, 22, 3)),
        }
    }
}

/// A compression with its level. The level of lz4 is accepted and has no effect: only the fast compressor is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codec {
    pub compression: Compression,
    pub level: i32,
}

impl Codec {
    pub const NONE: Codec = Codec { compression: Compression::None, level: 0 };

    pub fn new(compression: Compression) -> Self {
        Codec { compression, level: compression.levels().map_or(0, |(_, _, default)| default) }
    }

    pub fn with_level(compression: Compression, level: i32) -> Self {
        Codec { compression, level }
    }

    /// Appends the compressed form of `input` to `out`.
    pub fn compress(self, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self.compression {
            Compression::None => out.extend_from_slice(input),
            Compression::Gzip => {
                let level = if (0..=9).contains(&self.level) {
                    flate2::Compression::new(self.level as u32)
                } else {
                    flate2::Compression::default()
                };
                let mut encoder = GzEncoder::new(out, level);
                encoder.write_all(input)?;
                encoder.finish()?;
            }
            Compression::Snappy => snappy::compress(input, out)?,
            Compression::Lz4 => {
                let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
                let mut encoder = FrameEncoder::with_frame_info(info, out);
                encoder.write_all(input)?;
                encoder.finish().map_err(io::Error::other)?;
            }
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, self.level)?;
                encoder.write_all(input)?;
                encoder.finish()?;
            }
        }
        Ok(())
    }
}

/// A reader over the decompressed bytes of `input`.
pub(crate) enum Decoder<'a> {
    Plain(&'a [u8]),
    Gzip(Box<MultiGzDecoder<&'a [u8]>>),
    Snappy(snappy::Decoder<'a>),
    Lz4(Box<FrameDecoder<&'a [u8]>>),
    Zstd(zstd::stream::read::Decoder<'static, &'a [u8]>),
}

impl<'a> Decoder<'a> {
    /// `cap` bounds what one block may allocate; the caller still counts what it reads.
    pub(crate) fn new(compression: Compression, input: &'a [u8], cap: usize) -> Result<Self, RecordError> {
        Ok(match compression {
            Compression::None => Decoder::Plain(input),
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(input))),
            Compression::Snappy => Decoder::Snappy(snappy::Decoder::new(input, cap)?),
            Compression::Lz4 => Decoder::Lz4(Box::new(FrameDecoder::new(input))),
            Compression::Zstd => {
                Decoder::Zstd(zstd::stream::read::Decoder::with_buffer(input).map_err(|e| RecordError::Decompress(e.to_string()))?)
            }
        })
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Plain(input) => input.read(buf),
            Decoder::Gzip(decoder) => decoder.read(buf),
            Decoder::Snappy(decoder) => decoder.read(buf),
            Decoder::Lz4(decoder) => decoder.read(buf),
            Decoder::Zstd(decoder) => decoder.read(buf),
        }
    }
}

/// All decompressed bytes of `input`, or an error once they exceed `cap`.
pub fn decompress(compression: Compression, input: &[u8], cap: usize) -> Result<Vec<u8>, RecordError> {
    let mut decoder = Decoder::new(compression, input, cap)?;
    // A guess that is right for most text, and never more than the cap.
    let mut out = Vec::with_capacity(input.len().saturating_mul(4).min(cap));
    let mut limited = (&mut decoder).take(cap as u64 + 1);
    limited.read_to_end(&mut out).map_err(|e| to_record_error(&e))?;
    if out.len() > cap {
        return Err(RecordError::Expands(cap));
    }
    Ok(out)
}

pub(crate) fn to_record_error(error: &io::Error) -> RecordError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<RecordError>()) {
        Some(inner) => inner.clone(),
        None => RecordError::Decompress(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        (0..200_000u32).flat_map(|i| [(i % 7) as u8, (i / 900) as u8]).collect()
    }

    #[test]
    fn every_codec_round_trips() {
        for compression in Compression::ALL {
            for input in [Vec::new(), vec![1u8], sample()] {
                let mut out = Vec::new();
                Codec::new(compression).compress(&input, &mut out).unwrap();
                assert_eq!(decompress(compression, &out, input.len()).unwrap(), input, "{compression:?}");
            }
        }
    }

    #[test]
    fn the_cap_stops_bombs() {
        let input = vec![0u8; 10_000_000];
        for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let mut out = Vec::new();
            Codec::new(compression).compress(&input, &mut out).unwrap();
            assert_eq!(decompress(compression, &out, 9_999_999), Err(RecordError::Expands(9_999_999)), "{compression:?}");
        }
    }

    #[test]
    fn garbage_is_refused() {
        for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let error = decompress(compression, b"this is not compressed at all", 1 << 20).unwrap_err();
            assert!(matches!(error, RecordError::Decompress(_) | RecordError::Expands(_)), "{compression:?} {error:?}");
        }
    }

    #[test]
    fn raw_snappy_is_accepted() {
        let input = sample();
        let raw = snap::raw::Encoder::new().compress_vec(&input).unwrap();
        assert_eq!(decompress(Compression::Snappy, &raw, 1 << 20).unwrap(), input);
    }
}
