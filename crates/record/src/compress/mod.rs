//! The five codecs as Kafka frames them. What is decoded is capped by the caller, and no header makes memory be taken for what it claims only.
//! Kafka: CompressionType, GzipCompression, SnappyCompression, Lz4Compression, ZstdCompression.

mod buffers;
mod lz4;
mod pieces;
mod snappy;
#[cfg(test)]
mod tests;
mod whole;

pub(crate) use buffers::Buffers;
pub(crate) use pieces::Pieces;

use crate::error::RecordError;
use libdeflater::CompressionLvl;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use std::io::{self, Write};

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
            Compression::Gzip => Buffers::lend(|buffers| {
                let level = CompressionLvl::new(self.level).unwrap_or_default();
                let compressor = buffers.deflater(level);
                let start = out.len();
                out.resize(start + compressor.gzip_compress_bound(input.len()), 0);
                let len = compressor.gzip_compress(input, &mut out[start..]).map_err(io::Error::other)?;
                out.truncate(start + len);
                io::Result::Ok(())
            })?,
            Compression::Snappy => snappy::compress(input, out)?,
            Compression::Lz4 => {
                let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
                let mut encoder = FrameEncoder::with_frame_info(info, out);
                encoder.write_all(input)?;
                encoder.finish().map_err(io::Error::other)?;
            }
            Compression::Zstd => Buffers::lend(|buffers| {
                let compressor = buffers.zstd_compressor(self.level)?;
                let start = out.len();
                out.resize(start + zstd::zstd_safe::compress_bound(input.len()), 0);
                let len = compressor.compress_to_buffer(input, &mut out[start..])?;
                out.truncate(start + len);
                io::Result::Ok(())
            })?,
        }
        Ok(())
    }
}

/// All decompressed bytes of `input`, or an error once they exceed `cap`.
pub fn decompress(compression: Compression, input: &[u8], cap: usize) -> Result<Vec<u8>, RecordError> {
    Buffers::lend(|buffers| {
        let mut pieces = Pieces::new(compression, input, buffers, cap)?;
        let mut out = pieces.piece().to_vec();
        while pieces.advance()? {
            if out.is_empty() {
                // A guess that is right for most text, and never more than the cap.
                out.reserve(input.len().saturating_mul(4).min(cap));
            }
            out.extend_from_slice(pieces.piece());
        }
        Ok(out)
    })
}
