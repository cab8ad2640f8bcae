//! Owns: Kafka's wire protocol and the schemas of its on-disk records: 281 messages generated from `schema/*.schema`, the reader and
//! writer under them, API keys, headers, error codes.
//! Used by: everything that speaks Kafka. Never does: I/O, allocation that what was received does not pay for, panics on bad input.
//! Kafka counterpart: `org.apache.kafka.common.protocol` and the generated `*Data` classes (KIP-482 for flexible versions).

mod api;
pub mod codec;
mod error_code;
mod header;

/// All messages by Kafka's names; nested structs live in a module named after their message.
#[rustfmt::skip]
#[allow(clippy::all, unused_parens)]
pub mod messages {
    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}

pub use base::segment::{FileRange, Segment};
pub use codec::{DecodeError, EncodeError, Message, MessageKind, Reader, Records, Request, UnknownTags, Writer, from_bytes, to_bytes};
pub use error_code::ErrorCode;
pub use header::{RequestHead, decode_request_header, encode_request, encode_response};
pub use messages::api_key::ApiKey;

#[cfg(test)]
mod tests;
