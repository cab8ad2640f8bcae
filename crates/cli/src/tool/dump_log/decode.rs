//! How keys and values are printed: plain decoders, and the records of Kafka's internal topics as JSON.
//! The JSON of coordinator records is shared with the console consumer's formatters.

use bytes::Bytes;
use record::Record;

use crate::coordinator_record::{self, Family, Unreadable};
use crate::failure::Failure;
use crate::metadata_record;

pub const STRING_DECODER: &str = "org.apache.kafka.tools.api.StringDecoder";

/// A class of Kafka's that turns bytes into something printable.
#[derive(Clone, Copy)]
pub enum Plain {
    String,
    Integer,
    Long,
    /// The bytes themselves; Java prints the identity of an array, we print the bytes.
    Bytes,
}

pub enum Decoder {
    Plain { key: Plain, value: Plain },
    Offsets,
    TransactionLog,
    ShareGroupState,
    ClusterMetadata,
    RemoteLogMetadata,
}

pub struct Decoded {
    pub key: Option<String>,
    pub value: Option<String>,
}

impl Decoder {
    pub fn classes(key: Option<&str>, value: Option<&str>) -> Result<Self, Failure> {
        Ok(Decoder::Plain { key: Plain::of(key)?, value: Plain::of(value)? })
    }

    pub fn decode(&self, record: &Record) -> Result<Decoded, Failure> {
        match self {
            Decoder::Plain { key, value } => Ok(Decoded {
                key: record.key.as_ref().map(|bytes| key.print(bytes)).transpose()?,
                value: record.value.as_ref().map(|bytes| value.print(bytes)).transpose()?,
            }),
            Decoder::Offsets => coordinator(Family::Group, record),
            Decoder::TransactionLog => coordinator(Family::Transaction, record),
            Decoder::ShareGroupState => coordinator(Family::Share, record),
            Decoder::ClusterMetadata => Ok(Decoded { key: None, value: Some(metadata(record)) }),
            Decoder::RemoteLogMetadata => Ok(Decoded { key: None, value: Some(remote(record)) }),
        }
    }
}

impl Plain {
    fn of(class: Option<&str>) -> Result<Self, Failure> {
        let class = class.unwrap_or(STRING_DECODER);
        match class.strip_prefix("org.apache.kafka.tools.api.") {
            Some("StringDecoder") => Ok(Plain::String),
            Some("IntegerDecoder") => Ok(Plain::Integer),
            Some("LongDecoder") => Ok(Plain::Long),
            Some("DefaultDecoder") => Ok(Plain::Bytes),
            _ => Err(Failure::new(format!(
                "Failed to load decoder class {class}: known are String-, Integer-, Long- and DefaultDecoder of org.apache.kafka.tools.api"
            ))),
        }
    }

    fn print(self, bytes: &Bytes) -> Result<String, Failure> {
        let size = |size: usize| Failure::new(format!("Size of data received by the decoder is not {size}, but {}", bytes.len()));
        Ok(match self {
            Plain::String => String::from_utf8_lossy(bytes).into_owned(),
            Plain::Integer => i32::from_be_bytes(bytes[..].try_into().map_err(|_| size(4))?).to_string(),
            Plain::Long => i64::from_be_bytes(bytes[..].try_into().map_err(|_| size(8))?).to_string(),
            Plain::Bytes => format!("{:?}", &bytes[..]),
        })
    }
}

fn coordinator(family: Family, record: &Record) -> Result<Decoded, Failure> {
    let offset = record.offset;
    let Some(key) = record.key.clone() else {
        return Err(Failure::new(format!(
            "Failed to decode message at offset {offset} using the specified decoder (message had a missing key)"
        )));
    };
    Ok(match coordinator_record::read(family, key, record.value.clone()) {
        Ok(found) => {
            let mut value = found.value;
            if let Some((_, json)) = &mut value
                && family == Family::Group
                && found.kind == coordinator_record::GROUP_METADATA
            {
                *json = coordinator_record::with_consumer_protocol(json);
            }
            Decoded {
                key: Some(format!("{{\"type\":\"{}\",\"data\":{}}}", found.kind, found.key)),
                value: Some(value.map_or("<DELETE>".into(), |(version, json)| format!("{{\"version\":\"{version}\",\"data\":{json}}}"))),
            }
        }
        Err(Unreadable::UnknownType(kind)) => {
            Decoded { key: Some(format!("Unknown record type {kind} at offset {offset}, skipping.")), value: None }
        }
        Err(Unreadable::Other(text)) => Decoded { key: Some(format!("Error at offset {offset}, skipping. {text}")), value: None },
    })
}

fn metadata(record: &Record) -> String {
    match metadata_record::read(record.value.clone().unwrap_or_default()) {
        Ok(found) => format!("{{\"type\":\"{}\",\"version\":{},\"data\":{}}}", found.name, found.version, found.json),
        Err(text) => format!("Error at {}, skipping. {text}", record.offset),
    }
}

fn remote(record: &Record) -> String {
    match metadata_record::read_remote(record.value.clone().unwrap_or_default()) {
        Ok(found) => format!("{}{}", found.name, found.json),
        Err(text) => format!("Error at offset {}, skipping. {text}", record.offset),
    }
}
