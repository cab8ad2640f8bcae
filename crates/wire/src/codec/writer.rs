//! Encoding into segments, so that records leave by reference: memory is not copied and file ranges stay file ranges.

use super::Records;
use base::segment::Segment;
use base::{Uuid, varint};
use bytes::{BufMut, Bytes, BytesMut};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{field} is not supported at version {version}")]
    Unsupported { field: &'static str, version: i16 },
    #[error("{field} may not be null at version {version}")]
    Null { field: &'static str, version: i16 },
    #[error("{message} has no version {version}")]
    Version { message: &'static str, version: i16 },
    #[error("a {what} of {len} bytes or elements is too long for the protocol")]
    TooLong { what: &'static str, len: usize },
    #[error("records in a file cannot be encoded into memory here")]
    FileRecords,
}

/// Records up to this length are copied next to the fields around them: cheaper than one more segment in the gather list.
const COPY_MAX: usize = 1024;

/// How much room a frame begins with: enough for nearly all answers and for requests of a small record.
const FRAME_MIN: usize = 256;
const FRAME_PREFIX: usize = size_of::<u32>();

#[derive(Default)]
pub struct Writer {
    done: Vec<Segment>,
    done_len: usize,
    buf: BytesMut,
    /// The beginning of a frame, kept back because its length is written last; the first segment is its place.
    head: Option<BytesMut>,
    /// The beginning of a frame is in `buf`.
    begins: bool,
}

macro_rules! fixed {
    ($($name:ident $ty:ty),*) => { $(
        #[inline]
        pub fn $name(&mut self, value: $ty) {
            self.buf.extend_from_slice(&value.to_be_bytes());
        }
    )* };
}

impl Writer {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with_capacity(bytes: usize) -> Self {
        Self { buf: BytesMut::with_capacity(bytes), ..Self::default() }
    }

    /// For a frame, which `finish_frame` gives: its length comes first.
    pub(crate) fn frame() -> Self {
        let mut buf = BytesMut::with_capacity(FRAME_MIN);
        buf.put_u32(0);
        Self { buf, begins: true, ..Self::default() }
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.done_len + self.buf.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fixed!(i8 i8, i16 i16, u16 u16, i32 i32, u32 u32, i64 i64, f64 f64);

    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.buf.extend_from_slice(&[u8::from(value)]);
    }

    #[inline]
    pub fn uuid(&mut self, value: Uuid) {
        self.buf.extend_from_slice(&value.0);
    }

    #[inline]
    pub fn unsigned_varint(&mut self, value: u32) {
        // Nearly all take one byte.
        if value < 0x80 { self.buf.extend_from_slice(&[value as u8]) } else { self.longer_varint(value) }
    }

    fn longer_varint(&mut self, value: u32) {
        varint::write_u32(&mut self.buf, value);
    }

    /// Raw bytes, without a length before them.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buf.put_slice(bytes);
    }

    pub fn string(&mut self, text: &str, flex: bool) -> Result<(), EncodeError> {
        if text.len() > 0x7fff {
            return Err(EncodeError::TooLong { what: "string", len: text.len() });
        }
        if flex {
            self.unsigned_varint(text.len() as u32 + 1);
        } else {
            self.i16(text.len() as i16);
        }
        self.buf.put_slice(text.as_bytes());
        Ok(())
    }

    #[inline]
    pub fn null_string(&mut self, flex: bool) {
        if flex { self.unsigned_varint(0) } else { self.i16(-1) }
    }

    /// The length before an array or bytes.
    #[inline]
    pub fn array_len(&mut self, len: usize, flex: bool) -> Result<(), EncodeError> {
        if len >= 0x7fff_ffff {
            return Err(EncodeError::TooLong { what: "array", len });
        }
        if flex {
            self.unsigned_varint(len as u32 + 1)
        } else {
            self.i32(len as i32)
        }
        Ok(())
    }

    /// Null in place of an array, bytes or records.
    #[inline]
    pub fn null_array(&mut self, flex: bool) {
        if flex { self.unsigned_varint(0) } else { self.i32(-1) }
    }

    pub fn bytes(&mut self, bytes: &Bytes, flex: bool) -> Result<(), EncodeError> {
        self.array_len(bytes.len(), flex)?;
        self.push_bytes(bytes);
        Ok(())
    }

    pub fn records(&mut self, records: &Records, flex: bool) -> Result<(), EncodeError> {
        self.array_len(records.len(), flex)?;
        for segment in records.segments() {
            match segment {
                Segment::Bytes(bytes) => self.push_bytes(bytes),
                Segment::File(range) => self.push_segment(Segment::File(range.clone())),
            }
        }
        Ok(())
    }

    /// What was written elsewhere.
    pub(super) fn append(&mut self, other: Writer) {
        other.done.into_iter().for_each(|segment| self.push_segment(segment));
        self.raw(&other.buf);
    }

    fn push_bytes(&mut self, bytes: &Bytes) {
        if bytes.len() <= COPY_MAX {
            self.buf.put_slice(bytes);
        } else {
            self.push_segment(Segment::Bytes(bytes.clone()));
        }
    }

    fn push_segment(&mut self, segment: Segment) {
        self.flush();
        self.done_len += segment.len();
        self.done.push(segment);
    }

    fn flush(&mut self) {
        if self.buf.is_empty() {
            return;
        }
        self.done_len += self.buf.len();
        let part = self.buf.split();
        if std::mem::take(&mut self.begins) {
            self.head = Some(part);
            self.done.push(Segment::Bytes(Bytes::new()));
        } else {
            self.done.push(Segment::Bytes(part.freeze()));
        }
    }

    pub fn finish(mut self) -> Vec<Segment> {
        self.flush();
        self.done
    }

    /// All of it as one run of bytes.
    pub fn finish_bytes(self) -> Result<Bytes, EncodeError> {
        if self.done.is_empty() {
            return Ok(self.buf.freeze());
        }
        let mut out = BytesMut::with_capacity(self.len());
        for segment in self.finish() {
            match segment {
                Segment::Bytes(bytes) => out.put_slice(&bytes),
                Segment::File(_) => return Err(EncodeError::FileRecords),
            }
        }
        Ok(out.freeze())
    }

    /// All of it, with the length of what follows it in front.
    pub(crate) fn finish_frame(mut self) -> Vec<Segment> {
        let prefix = ((self.len() - FRAME_PREFIX) as u32).to_be_bytes();
        let Some(mut head) = self.head.take() else {
            // All is in one run.
            self.buf[..FRAME_PREFIX].copy_from_slice(&prefix);
            return vec![Segment::Bytes(self.buf.freeze())];
        };
        self.flush();
        head[..FRAME_PREFIX].copy_from_slice(&prefix);
        if let Some(first) = self.done.first_mut() {
            *first = Segment::Bytes(head.freeze());
        }
        self.done
    }
}
