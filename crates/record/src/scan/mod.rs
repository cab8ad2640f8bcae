//! Walks the heads of a batch's records without keeping keys or values: what validation, recovery and timestamp lookups need.
//! Compressed batches are decoded into the buffer of their thread and looked at there. Hot path: no allocation per record.

mod quick;

use crate::batch::{BatchView, TimestampType};
use crate::compress::{Buffers, Compression, Pieces};
use crate::error::RecordError;
use base::varint::{self, VarintError};
use std::ops::ControlFlow;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    pub offset: i64,
    pub offset_delta: i32,
    pub timestamp: i64,
    /// -1 for null.
    pub key_len: i32,
    pub value_len: i32,
    /// Bytes in the decompressed batch, length field included.
    pub size: usize,
}

/// Calls `visit` for every record of a magic 2 batch until it breaks; checks the structure on the way. At most `max_decompressed`
/// bytes are decoded. The record count of the header must be what is found.
pub fn scan_records(
    batch: &BatchView<'_>,
    max_decompressed: usize,
    mut visit: impl FnMut(&RecordHead) -> ControlFlow<()>,
) -> Result<(), RecordError> {
    let context = Context {
        count: batch.count().unwrap_or(0),
        base_offset: batch.base_offset(),
        base_timestamp: batch.base_timestamp(),
        log_append_time: (batch.timestamp_type() == TimestampType::LogAppendTime).then(|| batch.max_timestamp()),
    };
    if context.count < 0 {
        return Err(RecordError::invalid(format!("found invalid record count {} in magic v2 batch", context.count)));
    }
    match batch.compression()? {
        Compression::None => context.scan_slice(batch.payload(), &mut visit),
        compression => Buffers::lend(|buffers| {
            let pieces = Pieces::new(compression, batch.payload(), buffers, max_decompressed)?;
            context.scan_pieces(Stream { pieces, at: 0, consumed: 0 }, &mut visit)
        }),
    }
}

/// What a record says of itself.
struct Fields {
    timestamp_delta: i64,
    offset_delta: i32,
    key_len: i32,
    value_len: i32,
}

struct Context {
    count: i32,
    base_offset: i64,
    base_timestamp: i64,
    log_append_time: Option<i64>,
}

const LEFT_OVER: &str = "incorrect declared batch size, records still remaining in file";
const TOO_SHORT: &str = "incorrect declared batch size, premature EOF reached";

#[cold]
fn malformed() -> RecordError {
    RecordError::invalid("found invalid record structure")
}

#[cold]
fn premature(error: VarintError) -> RecordError {
    match error {
        VarintError::Truncated => RecordError::invalid(TOO_SHORT),
        VarintError::TooLong => malformed(),
    }
}

impl Context {
    #[inline(always)]
    fn head(&self, fields: Fields, size: usize) -> RecordHead {
        let Fields { timestamp_delta, offset_delta, key_len, value_len } = fields;
        RecordHead {
            offset: self.base_offset.wrapping_add(i64::from(offset_delta)),
            offset_delta,
            timestamp: self.log_append_time.unwrap_or_else(|| self.base_timestamp.wrapping_add(timestamp_delta)),
            key_len,
            value_len,
            size,
        }
    }

    fn scan_slice(&self, mut rest: &[u8], visit: &mut impl FnMut(&RecordHead) -> ControlFlow<()>) -> Result<(), RecordError> {
        for _ in 0..self.count {
            let (fields, size) = match quick::read(rest) {
                Some(read) => read,
                None => first(rest)?,
            };
            rest = &rest[size..];
            if visit(&self.head(fields, size)).is_break() {
                return Ok(());
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(RecordError::invalid(LEFT_OVER)) }
    }

    fn scan_pieces(&self, mut stream: Stream<'_, '_>, visit: &mut impl FnMut(&RecordHead) -> ControlFlow<()>) -> Result<(), RecordError> {
        let mut left = self.count;
        while left > 0 {
            // All that lie in this piece, then the one that goes on in the next.
            let mut rest = &stream.pieces.piece()[stream.at..];
            let before = rest.len();
            while left > 0
                && let Some((fields, size)) = first_whole(rest)?
            {
                (rest, left) = (&rest[size..], left - 1);
                if visit(&self.head(fields, size)).is_break() {
                    return Ok(());
                }
            }
            let read = before - rest.len();
            stream.advance(read);
            if left > 0 {
                left -= 1;
                if visit(&self.read_across(&mut stream)?).is_break() {
                    return Ok(());
                }
            }
        }
        if stream.at_end()? { Ok(()) } else { Err(RecordError::invalid(LEFT_OVER)) }
    }

    /// A record that goes on in the next piece.
    #[cold]
    fn read_across(&self, stream: &mut Stream<'_, '_>) -> Result<RecordHead, RecordError> {
        let start = stream.consumed;
        let size = stream.int()?;
        let body = stream.consumed;
        stream.byte()?.ok_or_else(malformed)?;
        let timestamp_delta = stream.long()?;
        let offset_delta = stream.int()?;
        let key_len = stream.int()?;
        stream.skip(key_len)?;
        let value_len = stream.int()?;
        stream.skip(value_len)?;
        let headers = stream.int()?;
        if headers < 0 {
            return Err(RecordError::invalid(format!("found invalid number of record headers {headers}")));
        }
        for _ in 0..headers {
            let key = stream.int()?;
            if key < 0 {
                return Err(RecordError::invalid(format!("invalid negative header key size {key}")));
            }
            stream.skip(key)?;
            let value = stream.int()?;
            stream.skip(value)?;
        }
        let read = stream.consumed - body;
        if i64::from(size) != read as i64 {
            return Err(RecordError::invalid(format!(
                "invalid record size: expected to read {size} bytes in record payload, but instead read {read}"
            )));
        }
        Ok(self.head(Fields { timestamp_delta, offset_delta, key_len, value_len }, stream.consumed - start))
    }
}

/// The first record, which must end in `bytes`, and its size.
#[inline(never)]
fn first(bytes: &[u8]) -> Result<(Fields, usize), RecordError> {
    let (size, n) = varint::read_i32(bytes).map_err(premature)?;
    let after = &bytes[n..];
    let Some(body) = usize::try_from(size).ok().and_then(|size| after.get(..size)) else {
        return Err(RecordError::invalid(format!(
            "invalid record size: expected {size} bytes in record payload, but instead the buffer has only {} remaining bytes",
            after.len()
        )));
    };
    Ok((read(body)?, n + body.len()))
}

/// The first record and its size; None if it does not end here.
#[inline(always)]
fn first_whole(bytes: &[u8]) -> Result<Option<(Fields, usize)>, RecordError> {
    if let Some(read) = quick::read(bytes) {
        return Ok(Some(read));
    }
    let Ok((size, n)) = varint::read_i32(bytes) else { return Ok(None) };
    let Some(body) = usize::try_from(size).ok().and_then(|size| bytes[n..].get(..size)) else { return Ok(None) };
    Ok(Some((read(body)?, n + body.len())))
}

/// A record that lies in one place, without its length field. Says what is wrong with it, if anything is.
#[inline(never)]
fn read(body: &[u8]) -> Result<Fields, RecordError> {
    let mut at = Slice(body.get(1..).ok_or_else(malformed)?);
    let timestamp_delta = at.long()?;
    let offset_delta = at.int()?;
    let key_len = at.int()?;
    at.skip(key_len)?;
    let value_len = at.int()?;
    at.skip(value_len)?;
    let headers = at.int()?;
    if headers < 0 || headers as usize > at.0.len() {
        return Err(RecordError::invalid(format!("found invalid number of record headers {headers}")));
    }
    for _ in 0..headers {
        let key = at.int()?;
        if key < 0 {
            return Err(RecordError::invalid(format!("invalid negative header key size {key}")));
        }
        at.skip(key)?;
        let value = at.int()?;
        at.skip(value)?;
    }
    if !at.0.is_empty() {
        return Err(RecordError::invalid(format!("invalid record size: {} bytes are left after the record's fields", at.0.len())));
    }
    Ok(Fields { timestamp_delta, offset_delta, key_len, value_len })
}

struct Slice<'a>(&'a [u8]);

impl Slice<'_> {
    fn int(&mut self) -> Result<i32, RecordError> {
        let (value, n) = varint::read_i32(self.0).map_err(|_| malformed())?;
        self.0 = &self.0[n..];
        Ok(value)
    }

    fn long(&mut self) -> Result<i64, RecordError> {
        let (value, n) = varint::read_i64(self.0).map_err(|_| malformed())?;
        self.0 = &self.0[n..];
        Ok(value)
    }

    /// A negative length stands for null and takes no bytes.
    fn skip(&mut self, len: i32) -> Result<(), RecordError> {
        if len > 0 {
            self.0 = self.0.get(len as usize..).ok_or_else(malformed)?;
        }
        Ok(())
    }
}

/// A place in what is being decoded.
struct Stream<'a, 'b> {
    pieces: Pieces<'a, 'b>,
    /// In the current piece.
    at: usize,
    consumed: usize,
}

impl Stream<'_, '_> {
    fn advance(&mut self, n: usize) {
        self.at += n;
        self.consumed += n;
    }

    /// Bytes of the current piece that are left, or of the next; 0 at the end.
    fn available(&mut self) -> Result<usize, RecordError> {
        let left = self.pieces.piece().len() - self.at;
        if left > 0 {
            return Ok(left);
        }
        self.at = 0;
        self.pieces.advance()?;
        Ok(self.pieces.piece().len())
    }

    fn byte(&mut self) -> Result<Option<u8>, RecordError> {
        if self.available()? == 0 {
            return Ok(None);
        }
        let byte = self.pieces.piece()[self.at];
        self.advance(1);
        Ok(Some(byte))
    }

    /// The bytes of a varint and how many there are, of those that it may have at most.
    fn varint(&mut self) -> Result<([u8; 10], usize), RecordError> {
        let mut bytes = [0; 10];
        for n in 0..bytes.len() {
            let Some(byte) = self.byte()? else { return Ok((bytes, n)) };
            bytes[n] = byte;
            if byte < 0x80 {
                return Ok((bytes, n + 1));
            }
        }
        Ok((bytes, 10))
    }

    fn int(&mut self) -> Result<i32, RecordError> {
        let (bytes, n) = self.varint()?;
        varint::read_i32(&bytes[..n]).map(|(value, _)| value).map_err(premature)
    }

    fn long(&mut self) -> Result<i64, RecordError> {
        let (bytes, n) = self.varint()?;
        varint::read_i64(&bytes[..n]).map(|(value, _)| value).map_err(premature)
    }

    fn skip(&mut self, len: i32) -> Result<(), RecordError> {
        let mut left = usize::try_from(len).unwrap_or(0);
        while left > 0 {
            let n = left.min(self.available()?);
            if n == 0 {
                return Err(RecordError::invalid("reached end of input stream before skipping all bytes of a record"));
            }
            self.advance(n);
            left -= n;
        }
        Ok(())
    }

    fn at_end(&mut self) -> Result<bool, RecordError> {
        Ok(self.available()? == 0)
    }
}
