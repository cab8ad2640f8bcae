//! The value of a `records` field: batches in memory or in files.

use base::segment::Segment;
use bytes::{BufMut, Bytes, BytesMut};
use std::io;
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub struct Records(Pieces);

#[derive(Clone, Debug)]
enum Pieces {
    /// As everything that was decoded: without an allocation.
    One(Segment),
    Many(Vec<Segment>),
}

impl Default for Pieces {
    fn default() -> Self {
        Pieces::Many(Vec::new())
    }
}

impl Records {
    pub fn from_segments(segments: Vec<Segment>) -> Self {
        Records(Pieces::Many(segments))
    }

    #[inline]
    pub fn segments(&self) -> &[Segment] {
        match &self.0 {
            Pieces::One(segment) => std::slice::from_ref(segment),
            Pieces::Many(segments) => segments,
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.segments().iter().map(Segment::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes in one run: without a copy when they already are one, as after decoding; otherwise files are read.
    pub fn to_bytes(&self) -> io::Result<Bytes> {
        if let [Segment::Bytes(bytes)] = self.segments() {
            return Ok(bytes.clone());
        }
        let mut out = BytesMut::with_capacity(self.len());
        for segment in self.segments() {
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
        Records(if bytes.is_empty() { Pieces::default() } else { Pieces::One(Segment::Bytes(bytes)) })
    }
}

/// Memory compares by content; file ranges only with the same range of the same file.
impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.segments(), other.segments());
        ours.len() == theirs.len()
            && ours.iter().zip(theirs).all(|pair| match pair {
                (Segment::Bytes(a), Segment::Bytes(b)) => a == b,
                (Segment::File(a), Segment::File(b)) => Arc::ptr_eq(&a.file, &b.file) && (a.position, a.len) == (b.position, b.len),
                _ => false,
            })
    }
}
