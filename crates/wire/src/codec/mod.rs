//! The runtime under the generated messages.

mod json;
mod reader;
mod records;
mod tags;
mod writer;

pub use json::Json;
pub use reader::{DecodeError, Reader};
pub use records::Records;
pub use tags::{TagWriter, UnknownTags};
pub use writer::{EncodeError, Writer};

use bytes::Bytes;

/// A message of Kafka's schemas. `decode` and `encode` refuse versions outside `MIN_VERSION..=MAX_VERSION`.
pub trait Message: Sized + Default + Clone + std::fmt::Debug + PartialEq {
    const NAME: &'static str;
    const API_KEY: Option<i16>;
    const MIN_VERSION: i16;
    const MAX_VERSION: i16;

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError>;
    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError>;

    /// Every `ErrorCode` of a response, also those that say that all is well, for counting. Other messages have none.
    fn error_codes(&self, _each: &mut dyn FnMut(i16)) {}

    /// As Kafka's JSON converters print it; empty for requests and responses, which have none here.
    fn to_json(&self, _version: i16) -> String {
        String::new()
    }
}

pub trait Request: Message {
    const KEY: crate::ApiKey;
    type Response: Message;
}

/// Encodes into one contiguous run of bytes. Records that lie in a file are an error here; only `Writer::finish` carries those.
pub fn to_bytes<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut w = Writer::new();
    message.encode(&mut w, version)?;
    w.finish_bytes()
}

/// Decodes a message that must take up all of `bytes`.
pub fn from_bytes<M: Message>(bytes: Bytes, version: i16) -> Result<M, DecodeError> {
    let mut r = Reader::new(bytes);
    let message = M::decode(&mut r, version)?;
    match r.remaining() {
        0 => Ok(message),
        n => Err(DecodeError::Trailing(n)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    Request,
    Response,
    Header,
    Metadata,
    CoordinatorKey,
    CoordinatorValue,
    Data,
}

/// What tests and fuzzers need to know of a message without naming its type.
pub struct MessageInfo {
    pub name: &'static str,
    pub kind: MessageKind,
    pub api_key: Option<i16>,
    pub min_version: i16,
    pub max_version: i16,
    /// Decodes and encodes again; equal bytes come back for what Kafka itself wrote.
    pub recode: fn(Bytes, i16) -> Result<Result<Bytes, EncodeError>, DecodeError>,
    /// The default value, encoded.
    pub encode_default: fn(i16) -> Result<Bytes, EncodeError>,
}

impl MessageInfo {
    pub const fn of<M: Message>(kind: MessageKind) -> Self {
        MessageInfo {
            name: M::NAME,
            kind,
            api_key: M::API_KEY,
            min_version: M::MIN_VERSION,
            max_version: M::MAX_VERSION,
            recode: |bytes, version| from_bytes::<M>(bytes, version).map(|m| to_bytes(&m, version)),
            encode_default: |version| to_bytes(&M::default(), version),
        }
    }
}

pub(crate) fn check_version<M: Message>(version: i16) -> Result<(), DecodeError> {
    if (M::MIN_VERSION..=M::MAX_VERSION).contains(&version) {
        return Ok(());
    }
    Err(DecodeError::Version { message: M::NAME, version })
}

pub(crate) fn check_encode_version<M: Message>(version: i16) -> Result<(), EncodeError> {
    if (M::MIN_VERSION..=M::MAX_VERSION).contains(&version) {
        return Ok(());
    }
    Err(EncodeError::Version { message: M::NAME, version })
}
