//! Decoding of untrusted bytes. Hot path: one `Reader` a request; byte fields are slices of the frame, nothing is copied but strings.
//!
//! Memory is bounded twice: an array may not announce more elements than the bytes that are left could hold, and all that is decoded
//! from one frame together may not take more than `BUDGET_FACTOR` times its length.

use super::{Records, UnknownTags};
use base::Uuid;
use base::varint::{self, VarintError};
use bytes::Bytes;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the message ends too early: {needed} more bytes are needed, {left} are left")]
    Truncated { needed: usize, left: usize },
    #[error("a length or count of {0} is not possible here")]
    Length(i64),
    #[error("an array of {count} elements cannot fit in the {left} bytes that are left")]
    ArrayTooLong { count: usize, left: usize },
    #[error("decoding would take more memory than a message of this length may")]
    Budget,
    #[error("a string is not UTF-8")]
    Utf8,
    #[error("null where this version allows none")]
    Null,
    #[error("varint: {0}")]
    Varint(#[from] VarintError),
    #[error("a tagged field announces {announced} bytes and takes {taken}")]
    Tag { announced: usize, taken: usize },
    #[error("{message} has no version {version}")]
    Version { message: &'static str, version: i16 },
    #[error("{0} bytes are left over after the message")]
    Trailing(usize),
}

const BUDGET_FACTOR: usize = 48;
const BUDGET_FLOOR: usize = 64 * 1024;
/// Arrays grow from here; a long one pays for its growth as its elements arrive.
const RESERVE_MAX: usize = 1024;

pub struct Reader {
    buf: Bytes,
    at: usize,
    end: usize,
    budget: usize,
}

macro_rules! fixed {
    ($($name:ident $ty:ty),*) => { $(
        #[inline]
        pub fn $name(&mut self) -> Result<$ty, DecodeError> {
            Ok(<$ty>::from_be_bytes(self.array_of()?))
        }
    )* };
}

impl Reader {
    pub fn new(buf: Bytes) -> Self {
        let end = buf.len();
        Reader { buf, at: 0, end, budget: BUDGET_FLOOR + end.saturating_mul(BUDGET_FACTOR) }
    }

    /// Bytes that are not yet read.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// How many bytes were read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// What is not yet read, as a slice of the frame.
    pub fn rest(&self) -> Bytes {
        self.buf.slice(self.at..self.end)
    }

    #[inline]
    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some(bytes) = self.peek().copied() else { return Err(self.truncated(N)) };
        self.at += N;
        Ok(bytes)
    }

    #[inline]
    fn take(&mut self, n: usize) -> Result<&[u8], DecodeError> {
        self.check(n)?;
        let at = self.at;
        self.at += n;
        Ok(&self.buf[at..at + n])
    }

    #[inline]
    fn check(&self, n: usize) -> Result<(), DecodeError> {
        if n > self.remaining() { Err(self.truncated(n)) } else { Ok(()) }
    }

    #[cold]
    fn truncated(&self, wanted: usize) -> DecodeError {
        let left = self.remaining();
        DecodeError::Truncated { needed: wanted - left, left }
    }

    #[inline]
    fn spend(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.budget = self.budget.checked_sub(bytes).ok_or(DecodeError::Budget)?;
        Ok(())
    }

    fixed!(i8 i8, i16 i16, u16 u16, i32 i32, u32 u32, i64 i64, f64 f64);

    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    #[inline]
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid(self.array_of()?))
    }

    #[inline]
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let (value, n) = varint::read_u32(&self.buf[self.at..self.end])?;
        self.at += n;
        Ok(value)
    }

    /// The marker before a nullable struct.
    pub fn present(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? >= 0)
    }

    /// The bytes that come next, which stay to be read, if there are so many.
    #[inline]
    pub(crate) fn peek<const N: usize>(&self) -> Option<&[u8; N]> {
        self.buf[self.at..self.end].first_chunk()
    }

    /// A compact length is one more than the length, 0 for null; a plain one is -1 for null.
    #[inline]
    fn length(&mut self, flex: bool, narrow: bool) -> Result<Option<usize>, DecodeError> {
        let length = match (flex, narrow) {
            (true, _) => i64::from(self.unsigned_varint()?) - 1,
            (false, true) => i64::from(self.i16()?),
            (false, false) => i64::from(self.i32()?),
        };
        match length {
            -1 => Ok(None),
            0..=0x7fff_ffff => Ok(Some(length as usize)),
            _ => Err(DecodeError::Length(length)),
        }
    }

    pub fn nullable_string(&mut self, flex: bool) -> Result<Option<String>, DecodeError> {
        let Some(len) = self.length(flex, true)? else { return Ok(None) };
        if len > 0x7fff {
            return Err(DecodeError::Length(len as i64));
        }
        self.check(len)?;
        self.spend(len)?;
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::Utf8)?;
        Ok(Some(text.to_owned()))
    }

    pub fn string(&mut self, flex: bool) -> Result<String, DecodeError> {
        self.nullable_string(flex)?.ok_or(DecodeError::Null)
    }

    pub fn nullable_bytes(&mut self, flex: bool) -> Result<Option<Bytes>, DecodeError> {
        let Some(len) = self.length(flex, false)? else { return Ok(None) };
        self.check(len)?;
        let bytes = self.buf.slice(self.at..self.at + len);
        self.at += len;
        Ok(Some(bytes))
    }

    pub fn bytes(&mut self, flex: bool) -> Result<Bytes, DecodeError> {
        self.nullable_bytes(flex)?.ok_or(DecodeError::Null)
    }

    pub fn nullable_records(&mut self, flex: bool) -> Result<Option<Records>, DecodeError> {
        Ok(self.nullable_bytes(flex)?.map(Records::from))
    }

    pub fn records(&mut self, flex: bool) -> Result<Records, DecodeError> {
        self.nullable_records(flex)?.ok_or(DecodeError::Null)
    }

    /// An array whose elements take at least `min_size` bytes each.
    #[inline]
    pub fn nullable_array<T>(
        &mut self,
        flex: bool,
        min_size: usize,
        mut element: impl FnMut(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.length(flex, false)? else { return Ok(None) };
        let left = self.remaining();
        if count > left / min_size.max(1) {
            return Err(DecodeError::ArrayTooLong { count, left });
        }
        self.spend(count.saturating_mul(size_of::<T>()))?;
        let mut out = Vec::with_capacity(count.min(RESERVE_MAX));
        for _ in 0..count {
            out.push(element(self)?);
        }
        Ok(Some(out))
    }

    #[inline]
    pub fn array<T>(
        &mut self,
        flex: bool,
        min_size: usize,
        element: impl FnMut(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        self.nullable_array(flex, min_size, element)?.ok_or(DecodeError::Null)
    }

    /// Reads the tagged fields that end every flexible struct. `known` reads a field and answers true, or leaves it and answers false.
    #[inline]
    pub fn tags(
        &mut self,
        unknown: &mut UnknownTags,
        mut known: impl FnMut(&mut Reader, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.unsigned_varint()?;
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            let size = self.unsigned_varint()? as usize;
            self.check(size)?;
            let (start, outer_end) = (self.at, self.end);
            self.end = start + size;
            let result = known(self, tag);
            self.end = outer_end;
            if !result? {
                self.spend(size_of::<(u32, Bytes)>())?;
                unknown.push(tag, self.buf.slice(start..start + size));
                self.at = start + size;
            }
            if self.at != start + size {
                return Err(DecodeError::Tag { announced: size, taken: self.at - start });
            }
        }
        Ok(())
    }
}
