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
                None => whole(rest)?.ok_or_else(|| incomplete(rest))?,
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
                && let Some((fields, size)) = quick::read(rest).map_or_else(|| whole(rest), |read| Ok(Some(read)))?
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
        let fields = fields(stream)?;
        let read = stream.consumed - body;
        if i64::from(size) != read as i64 {
            return Err(RecordError::invalid(format!(
                "invalid record size: expected to read {size} bytes in record payload, but instead read {read}"
            )));
        }
        Ok(self.head(fields, stream.consumed - start))
    }
}

/// The first record and its size; None if it does not end in `bytes`.
#[inline(never)]
fn whole(bytes: &[u8]) -> Result<Option<(Fields, usize)>, RecordError> {
    let Ok((size, n)) = varint::read_i32(bytes) else { return Ok(None) };
    let Some(body) = usize::try_from(size).ok().and_then(|size| bytes[n..].get(..size)) else { return Ok(None) };
    let mut at = Slice(body.get(1..).ok_or_else(malformed)?);
    let fields = fields(&mut at)?;
    if !at.0.is_empty() {
        return Err(RecordError::invalid(format!("invalid record size: {} bytes are left after the record's fields", at.0.len())));
    }
    Ok(Some((fields, n + body.len())))
}

/// Why there is no whole record in `bytes`.
#[cold]
fn incomplete(bytes: &[u8]) -> RecordError {
    match varint::read_i32(bytes) {
        Err(error) => premature(error),
        Ok((size, n)) => RecordError::invalid(format!(
            "invalid record size: expected {size} bytes in record payload, but instead the buffer has only {} remaining bytes",
            bytes.len() - n
        )),
    }
}

/// Where the fields of a record are read from.
trait Source {
    fn int(&mut self) -> Result<i32, RecordError>;
    fn long(&mut self) -> Result<i64, RecordError>;
    /// A negative length stands for null and takes no bytes.
    fn skip(&mut self, len: i32) -> Result<(), RecordError>;
    /// How many bytes the rest of the record has at most, as far as that is known.
    fn rest(&self) -> usize;
}

/// What follows the attributes of a record, to its end. Says what is wrong with it, if anything is.
#[inline(always)]
fn fields(source: &mut impl Source) -> Result<Fields, RecordError> {
    let timestamp_delta = source.long()?;
    let offset_delta = source.int()?;
    let key_len = source.int()?;
    source.skip(key_len)?;
    let value_len = source.int()?;
    source.skip(value_len)?;
    let headers = source.int()?;
    if usize::try_from(headers).map_or(true, |headers| headers > source.rest()) {
        return Err(RecordError::invalid(format!("found invalid number of record headers {headers}")));
    }
    for _ in 0..headers {
        let key = source.int()?;
        if key < 0 {
            return Err(RecordError::invalid(format!("invalid negative header key size {key}")));
        }
        source.skip(key)?;
        let value = source.int()?;
        source.skip(value)?;
    }
    Ok(Fields { timestamp_delta, offset_delta, key_len, value_len })
}

struct Slice<'a>(&'a [u8]);

impl Source for Slice<'_> {
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

    fn skip(&mut self, len: i32) -> Result<(), RecordError> {
        if len > 0 {
            self.0 = self.0.get(len as usize..).ok_or_else(malformed)?;
        }
        Ok(())
    }

    fn rest(&self) -> usize {
        self.0.len()
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

    fn at_end(&mut self) -> Result<bool, RecordError> {
        Ok(self.available()? == 0)
    }
}

impl Source for Stream<'_, '_> {
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

    fn rest(&self) -> usize {
        usize::MAX
    }
}
