//! How keys and values are printed: plain decoders, and the records of Kafka's internal topics as JSON.
//! The JSON of coordinator records is shared with the console consumer's formatters.

use bytes::Bytes;
use record::Record;

use super::uncaught;
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
    Plain {
        key: Plain,
        value: Plain,
    },
    /// A class that is none of Kafka's.
    Unknown(String),
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
    pub fn classes(key: Option<&str>, value: Option<&str>) -> Self {
        match (Plain::of(key), Plain::of(value)) {
            (Ok(key), Ok(value)) => Decoder::Plain { key, value },
            (Err(class), _) | (_, Err(class)) => Decoder::Unknown(class),
        }
    }

    /// Kafka looks for the class when it comes to the first log.
    pub fn check(&self) -> Result<(), Failure> {
        match self {
            Decoder::Unknown(class) => Err(uncaught(format!(
                "java.lang.RuntimeException: Failed to load decoder class\nCaused by: java.lang.ClassNotFoundException: {class}\nKnown are \
                 StringDecoder, IntegerDecoder, LongDecoder and DefaultDecoder of org.apache.kafka.tools.api"
            ))),
            _ => Ok(()),
        }
    }

    pub fn decode(&self, record: &Record) -> Result<Decoded, Failure> {
        match self {
            Decoder::Plain { key, value } => Ok(Decoded {
                key: record.key.as_ref().map(|bytes| key.print(bytes)).transpose()?,
                value: record.value.as_ref().map(|bytes| value.print(bytes)).transpose()?,
            }),
            Decoder::Unknown(_) => Ok(Decoded { key: None, value: None }),
            Decoder::Offsets => coordinator(Family::Group, record),
            Decoder::TransactionLog => coordinator(Family::Transaction, record),
            Decoder::ShareGroupState => coordinator(Family::Share, record),
            Decoder::ClusterMetadata => Ok(Decoded { key: None, value: Some(metadata(record)) }),
            Decoder::RemoteLogMetadata => Ok(Decoded { key: None, value: Some(remote(record)) }),
        }
    }
}

impl Plain {
    /// Or the name of a class that is not known.
    fn of(class: Option<&str>) -> Result<Self, String> {
        let class = class.unwrap_or(STRING_DECODER);
        match class.strip_prefix("org.apache.kafka.tools.api.") {
            Some("StringDecoder") => Ok(Plain::String),
            Some("IntegerDecoder") => Ok(Plain::Integer),
            Some("LongDecoder") => Ok(Plain::Long),
            Some("DefaultDecoder") => Ok(Plain::Bytes),
            _ => Err(class.to_owned()),
        }
    }

    fn print(self, bytes: &Bytes) -> Result<String, Failure> {
        // What comes behind the number is not looked at.
        let too_short = || uncaught("java.nio.BufferUnderflowException");
        Ok(match self {
            Plain::String => String::from_utf8_lossy(bytes).into_owned(),
            Plain::Integer => i32::from_be_bytes(*bytes.first_chunk().ok_or_else(too_short)?).to_string(),
            Plain::Long => i64::from_be_bytes(*bytes.first_chunk().ok_or_else(too_short)?).to_string(),
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
