//! What decoding needs again and again: contexts of the codecs and one buffer. Each thread keeps a set for its next batch; setting them up costs
//! more than decoding a small one. What a thread keeps is bounded, and pages of the buffer are only touched as far as batches reach.

use libdeflater::CompressionLvl;
use std::cell::Cell;
use std::io;

/// A batch is decoded as a whole as long as it is no larger; well within the second level of a cache together with what it is made from.
pub(super) const WHOLE: usize = 1 << 20;

thread_local! {
    static KEPT: Cell<Option<Buffers>> = const { Cell::new(None) };
}

#[derive(Default)]
pub(crate) struct Buffers {
    pub(super) out: Vec<u8>,
    pub(super) inflater: Option<libdeflater::Decompressor>,
    pub(super) zstd: Option<zstd::bulk::Decompressor<'static>>,
    deflater: Option<(CompressionLvl, libdeflater::Compressor)>,
    zstd_compressor: Option<(i32, zstd::bulk::Compressor<'static>)>,
}

impl Buffers {
    /// Lends those of this thread to `work`; nested work gets some of its own.
    pub(crate) fn lend<T>(work: impl FnOnce(&mut Buffers) -> T) -> T {
        let mut buffers = KEPT.take().unwrap_or_default();
        let result = work(&mut buffers);
        if buffers.out.len() > WHOLE {
            buffers.out = Vec::new();
        }
        KEPT.set(Some(buffers));
        result
    }

    /// Makes room for `len` bytes.
    pub(super) fn reserve(&mut self, len: usize) {
        if self.out.len() < len {
            // Zeroed by the allocator, so that what is never written is never touched.
            self.out = vec![0; len.max(WHOLE)];
        }
    }

    pub(super) fn deflater(&mut self, level: CompressionLvl) -> &mut libdeflater::Compressor {
        let kept = self.deflater.take().filter(|(of, _)| *of == level);
        let (_, compressor) = self.deflater.insert(kept.unwrap_or_else(|| (level, libdeflater::Compressor::new(level))));
        compressor
    }

    pub(super) fn zstd_compressor(&mut self, level: i32) -> io::Result<&mut zstd::bulk::Compressor<'static>> {
        let kept = match self.zstd_compressor.take().filter(|(of, _)| *of == level) {
            Some(kept) => kept,
            None => (level, zstd::bulk::Compressor::new(level)?),
        };
        let (_, compressor) = self.zstd_compressor.insert(kept);
        Ok(compressor)
    }
}
