//! Records of a batch, with keys, values and headers as shared slices of the batch's bytes. Kafka: DefaultRecord.

use crate::batch::{Batch, TimestampType};
use crate::compress::{Compression, decompress};
use crate::error::RecordError;
use crate::{NO_SEQUENCE, increment_sequence, legacy};
use base::varint;
use bytes::Bytes;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    pub timestamp: i64,
    pub sequence: i32,
    /// Unused by Kafka; always 0 in practice.
    pub attributes: u8,
    /// Bytes this record takes in the (decompressed) batch.
    pub size: usize,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Headers,
}

/// Header keys may repeat and values may be null; order counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// UTF-8 in practice; Java replaces what is not.
    pub key: Bytes,
    pub value: Option<Bytes>,
}

impl Header {
    pub fn new(key: impl Into<Bytes>, value: Option<Bytes>) -> Self {
        Self { key: key.into(), value }
    }

    pub fn key_str(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.key)
    }
}

/// Headers as they are stored; already checked, parsed when asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    count: usize,
    bytes: Bytes,
}

impl Headers {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = Header> + '_ {
        let mut rest = self.bytes.clone();
        (0..self.count).map_while(move |_| {
            let key = take_sized(&mut rest).ok().flatten()?;
            let value = take_sized(&mut rest).ok()?;
            Some(Header { key, value })
        })
    }

    pub fn to_vec(&self) -> Vec<Header> {
        self.iter().collect()
    }
}

/// The records of one batch in order. After an error it ends.
pub struct RecordIter {
    source: Source,
}

enum Source {
    V2(V2),
    Legacy(std::vec::IntoIter<Record>),
}

struct V2 {
    rest: Bytes,
    left: i32,
    base_offset: i64,
    base_timestamp: i64,
    base_sequence: i32,
    log_append_time: Option<i64>,
}

impl RecordIter {
    pub(crate) fn new(batch: &Batch, max_decompressed: usize) -> Result<RecordIter, RecordError> {
        let view = batch.view();
        if view.magic() < 2 {
            let messages = legacy::messages(batch, max_decompressed)?;
            return Ok(RecordIter { source: Source::Legacy(messages.into_iter()) });
        }
        let payload = batch.bytes().slice(crate::batch::RECORDS..);
        let rest = match view.compression()? {
            Compression::None => payload,
            compression => decompress(compression, &payload, max_decompressed)?.into(),
        };
        let count = view.count().unwrap_or(0);
        if count < 0 {
            return Err(RecordError::invalid(format!("found invalid record count {count} in magic v2 batch")));
        }
        Ok(RecordIter {
            source: Source::V2(V2 {
                rest,
                left: count,
                base_offset: view.base_offset(),
                base_timestamp: view.base_timestamp(),
                base_sequence: view.base_sequence(),
                log_append_time: (view.timestamp_type() == TimestampType::LogAppendTime).then(|| view.max_timestamp()),
            }),
        })
    }
}

impl Iterator for RecordIter {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.source {
            Source::Legacy(messages) => messages.next().map(Ok),
            Source::V2(v2) => v2.next(),
        }
    }
}

impl V2 {
    fn next(&mut self) -> Option<Result<Record, RecordError>> {
        if self.left <= 0 {
            if self.rest.is_empty() {
                return None;
            }
            self.rest = Bytes::new();
            return Some(Err(RecordError::invalid("incorrect declared batch size, records still remaining in file")));
        }
        self.left -= 1;
        let result = self.read();
        if result.is_err() {
            self.left = 0;
            self.rest = Bytes::new();
        }
        Some(result)
    }

    fn read(&mut self) -> Result<Record, RecordError> {
        let before = self.rest.len();
        let size = take_i32(&mut self.rest)?;
        if size < 0 || size as usize > self.rest.len() {
            return Err(RecordError::invalid(format!(
                "invalid record size: expected {size} bytes in record payload, but instead the buffer has only {} remaining bytes",
                self.rest.len()
            )));
        }
        let mut body = self.rest.split_to(size as usize);
        let attributes = take_u8(&mut body)?;
        let timestamp_delta = take_i64(&mut body)?;
        let offset_delta = take_i32(&mut body)?;
        let key = take_sized(&mut body)?;
        let value = take_sized(&mut body)?;
        let headers = take_headers(&mut body)?;
        if !body.is_empty() {
            return Err(RecordError::invalid(format!("invalid record size: {} bytes are left after the record's fields", body.len())));
        }
        Ok(Record {
            offset: self.base_offset.wrapping_add(i64::from(offset_delta)),
            timestamp: self.log_append_time.unwrap_or_else(|| self.base_timestamp.wrapping_add(timestamp_delta)),
            sequence: if self.base_sequence >= 0 { increment_sequence(self.base_sequence, offset_delta.max(0)) } else { NO_SEQUENCE },
            attributes,
            size: before - self.rest.len(),
            key,
            value,
            headers,
        })
    }
}

fn malformed() -> RecordError {
    RecordError::invalid("found invalid record structure")
}

fn take_u8(rest: &mut Bytes) -> Result<u8, RecordError> {
    let byte = *rest.first().ok_or_else(malformed)?;
    bytes::Buf::advance(rest, 1);
    Ok(byte)
}

fn take_i32(rest: &mut Bytes) -> Result<i32, RecordError> {
    let (value, n) = varint::read_i32(rest).map_err(|_| malformed())?;
    bytes::Buf::advance(rest, n);
    Ok(value)
}

fn take_i64(rest: &mut Bytes) -> Result<i64, RecordError> {
    let (value, n) = varint::read_i64(rest).map_err(|_| malformed())?;
    bytes::Buf::advance(rest, n);
    Ok(value)
}

fn take_sized(rest: &mut Bytes) -> Result<Option<Bytes>, RecordError> {
    let len = take_i32(rest)?;
    if len < 0 {
        return Ok(None);
    }
    if len as usize > rest.len() {
        return Err(malformed());
    }
    Ok(Some(rest.split_to(len as usize)))
}

fn take_headers(body: &mut Bytes) -> Result<Headers, RecordError> {
    let count = take_i32(body)?;
    if count < 0 {
        return Err(RecordError::invalid(format!("found invalid number of record headers {count}")));
    }
    if count as usize > body.len() {
        return Err(RecordError::invalid(format!(
            "found invalid number of record headers. {count} is larger than the remaining size of the buffer"
        )));
    }
    let start = body.clone();
    for _ in 0..count {
        if take_sized(body)?.is_none() {
            return Err(RecordError::invalid("invalid negative header key size -1"));
        }
        take_sized(body)?;
    }
    let used = start.len() - body.len();
    Ok(Headers { count: count as usize, bytes: start.slice(..used) })
}
