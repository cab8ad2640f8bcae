//! The value of a `records` field: batches in memory or in files.

use base::segment::Segment;
use bytes::{BufMut, Bytes, BytesMut};
use std::io;
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub struct Records(Vec<Segment>);

impl Records {
    pub fn from_segments(segments: Vec<Segment>) -> Self {
        Records(segments)
    }

    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(Segment::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes in one run: without a copy when they already are one, as after decoding; otherwise files are read.
    pub fn to_bytes(&self) -> io::Result<Bytes> {
        if let [Segment::Bytes(bytes)] = self.0.as_slice() {
            return Ok(bytes.clone());
        }
        let mut out = BytesMut::with_capacity(self.len());
        for segment in &self.0 {
            match segment {
                Segment::Bytes(bytes) => out.put_slice(bytes),
                Segment::File(range) => out.put_slice(&range.read()?),
            }
        }
        Ok(out.freeze())
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        Records(if bytes.is_empty() { Vec::new() } else { vec![Segment::Bytes(bytes)] })
    }
}

/// Memory compares by content; file ranges only with the same range of the same file.
impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|pair| match pair {
                (Segment::Bytes(a), Segment::Bytes(b)) => a == b,
                (Segment::File(a), Segment::File(b)) => Arc::ptr_eq(&a.file, &b.file) && (a.position, a.len) == (b.position, b.len),
                _ => false,
            })
    }
}
