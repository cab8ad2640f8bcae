//! Walks the heads of a batch's records without keeping keys or values: what validation, recovery and timestamp lookups need.
//! Compressed batches are decoded through one small buffer. Hot path: no allocation per record.

use crate::batch::{BatchView, TimestampType};
use crate::compress::{Compression, Decoder, to_record_error};
use crate::error::RecordError;
use base::varint::{self, VarintError};
use std::io::Read;
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
        compression => {
            let decoder = Decoder::new(compression, batch.payload(), max_decompressed)?;
            context.scan_stream(Stream::new(decoder, max_decompressed), &mut visit)
        }
    }
}

struct Context {
    count: i32,
    base_offset: i64,
    base_timestamp: i64,
    log_append_time: Option<i64>,
}

const LEFT_OVER: &str = "incorrect declared batch size, records still remaining in file";
const TOO_SHORT: &str = "incorrect declared batch size, premature EOF reached";

fn malformed() -> RecordError {
    RecordError::invalid("found invalid record structure")
}

fn premature(error: VarintError) -> RecordError {
    match error {
        VarintError::Truncated => RecordError::invalid(TOO_SHORT),
        VarintError::TooLong => malformed(),
    }
}

impl Context {
    fn head(&self, timestamp_delta: i64, offset_delta: i32, key_len: i32, value_len: i32, size: usize) -> RecordHead {
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
            let (size, n) = varint::read_i32(rest).map_err(premature)?;
            let after = &rest[n..];
            if size < 0 || size as usize > after.len() {
                return Err(RecordError::invalid(format!(
                    "invalid record size: expected {size} bytes in record payload, but instead the buffer has only {} remaining bytes",
                    after.len()
                )));
            }
            let (body, next) = after.split_at(size as usize);
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
            rest = next;
            if visit(&self.head(timestamp_delta, offset_delta, key_len, value_len, n + size as usize)).is_break() {
                return Ok(());
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(RecordError::invalid(LEFT_OVER)) }
    }

    fn scan_stream(&self, mut stream: Stream<'_>, visit: &mut impl FnMut(&RecordHead) -> ControlFlow<()>) -> Result<(), RecordError> {
        for _ in 0..self.count {
            let start = stream.consumed;
            let size = stream.int()?;
            let body = stream.consumed;
            stream.byte()?;
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
            if visit(&self.head(timestamp_delta, offset_delta, key_len, value_len, stream.consumed - start)).is_break() {
                return Ok(());
            }
        }
        if stream.at_end()? { Ok(()) } else { Err(RecordError::invalid(LEFT_OVER)) }
    }
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

const BUFFER: usize = 8 * 1024;

/// A window over a decoder.
struct Stream<'a> {
    decoder: Decoder<'a>,
    buffer: [u8; BUFFER],
    start: usize,
    end: usize,
    consumed: usize,
    decoded: usize,
    cap: usize,
}

impl<'a> Stream<'a> {
    fn new(decoder: Decoder<'a>, cap: usize) -> Self {
        Stream { decoder, buffer: [0; BUFFER], start: 0, end: 0, consumed: 0, decoded: 0, cap }
    }

    /// Reads more behind what is left; false at the end.
    fn fill(&mut self) -> Result<bool, RecordError> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let n = self.decoder.read(&mut self.buffer[self.end..]).map_err(|e| to_record_error(&e))?;
        self.end += n;
        self.decoded += n;
        if self.decoded > self.cap {
            return Err(RecordError::Expands(self.cap));
        }
        Ok(n > 0)
    }

    /// Has the longest varint in the window, unless the stream ends before.
    fn window(&mut self) -> Result<&[u8], RecordError> {
        while self.end - self.start < 10 && self.fill()? {}
        Ok(&self.buffer[self.start..self.end])
    }

    fn advance(&mut self, n: usize) {
        self.start += n;
        self.consumed += n;
    }

    fn byte(&mut self) -> Result<u8, RecordError> {
        let byte = *self.window()?.first().ok_or_else(malformed)?;
        self.advance(1);
        Ok(byte)
    }

    fn int(&mut self) -> Result<i32, RecordError> {
        let (value, n) = varint::read_i32(self.window()?).map_err(premature)?;
        self.advance(n);
        Ok(value)
    }

    fn long(&mut self) -> Result<i64, RecordError> {
        let (value, n) = varint::read_i64(self.window()?).map_err(premature)?;
        self.advance(n);
        Ok(value)
    }

    fn skip(&mut self, len: i32) -> Result<(), RecordError> {
        let mut left = usize::try_from(len).unwrap_or(0);
        loop {
            let n = left.min(self.end - self.start);
            self.advance(n);
            left -= n;
            if left == 0 {
                return Ok(());
            }
            if !self.fill()? {
                return Err(RecordError::invalid("reached end of input stream before skipping all bytes of a record"));
            }
        }
    }

    fn at_end(&mut self) -> Result<bool, RecordError> {
        Ok(self.window()?.is_empty())
    }
}
