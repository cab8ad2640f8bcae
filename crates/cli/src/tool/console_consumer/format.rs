//! How records are printed. Kafka counterparts: DefaultMessageFormatter, LoggingMessageFormatter, NoOpMessageFormatter and the
//! formatters of Kafka's internal topics.

use std::collections::BTreeMap;

use bytes::Bytes;
use client::consumer::{RecordHeader, TimestampType};

use crate::coordinator_record::{self, Family, Unreadable};
use crate::out::complain;

/// What a formatter may print of a record.
pub struct Shown<'a> {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
    /// None for records of magic 0.
    pub timestamp_type: Option<TimestampType>,
    pub key: Option<&'a Bytes>,
    pub value: Option<&'a Bytes>,
    pub headers: &'a [RecordHeader],
}

pub enum Formatter {
    Default(Columns),
    /// As `Default`, and a line in the log.
    Logging(Columns),
    NoOp,
    Coordinator {
        family: Family,
        kinds: &'static [i16],
    },
}

impl Formatter {
    /// By the class name that Kafka's tool takes.
    pub fn new(class: &str, properties: &BTreeMap<String, String>) -> Result<Self, String> {
        let package = "org.apache.kafka.tools.consumer.";
        let offsets: &[i16] = &[coordinator_record::LEGACY_OFFSET_COMMIT, coordinator_record::OFFSET_COMMIT];
        match class.strip_prefix(package) {
            Some("DefaultMessageFormatter") => Ok(Formatter::Default(Columns::new(properties)?)),
            Some("LoggingMessageFormatter") => Ok(Formatter::Logging(Columns::new(properties)?)),
            Some("NoOpMessageFormatter") => Ok(Formatter::NoOp),
            Some("OffsetsMessageFormatter") => Ok(Formatter::Coordinator { family: Family::Group, kinds: offsets }),
            Some("GroupMetadataMessageFormatter") => {
                Ok(Formatter::Coordinator { family: Family::Group, kinds: &[coordinator_record::GROUP_METADATA] })
            }
            Some("TransactionLogMessageFormatter") => Ok(Formatter::Coordinator { family: Family::Transaction, kinds: &[0] }),
            Some("ShareGroupMessageFormatter") => {
                Ok(Formatter::Coordinator { family: Family::Group, kinds: coordinator_record::SHARE_GROUP })
            }
            Some("group.share.ShareGroupStateMessageFormatter") => Ok(Formatter::Coordinator { family: Family::Share, kinds: &[0, 1] }),
            _ => Err(class.to_owned()),
        }
    }

    pub fn write(&self, record: &Shown<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Formatter::Default(columns) => columns.write(record, out),
            Formatter::Logging(columns) => {
                columns.write(record, out)?;
                let text = |bytes: Option<&Bytes>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                let stamp = record.timestamp_type.map_or(String::new(), |kind| format!("{}:{}, ", kind.name(), record.timestamp));
                let key = text(record.key).map_or("null ".to_owned(), |key| format!("{key}, "));
                complain!("INFO {stamp}key:{key}value:{}", text(record.value).unwrap_or("null".into()));
                Ok(())
            }
            Formatter::NoOp => Ok(()),
            Formatter::Coordinator { family, kinds } => coordinator(*family, kinds, record, out),
        }
    }
}

fn coordinator(family: Family, kinds: &[i16], record: &Shown<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    let Some(key) = record.key else { return Ok(()) };
    match coordinator_record::read(family, key.clone(), record.value.cloned()) {
        Ok(found) if kinds.contains(&found.kind) => {
            let value = match found.value {
                Some((version, json)) => format!("{{\"version\":{version},\"data\":{json}}}"),
                None => "null".to_owned(),
            };
            out.extend_from_slice(format!("{{\"key\":{{\"type\":{},\"data\":{}}},\"value\":{value}}}", found.kind, found.key).as_bytes());
            Ok(())
        }
        Ok(_) | Err(Unreadable::UnknownType(_)) => Ok(()),
        Err(Unreadable::Other(text)) => Err(format!("Could not read record at offset {} due to: {text}", record.offset)),
    }
}

/// A deserializer of Kafka's whose result is printed instead of the bytes.
#[derive(Clone, Copy)]
enum Deserializer {
    Raw,
    Short,
    Integer,
    Long,
    Float,
    Double,
    Boolean,
    Uuid,
    Void,
}

impl Deserializer {
    fn of(properties: &BTreeMap<String, String>, name: &str) -> Self {
        let Some(class) = properties.get(name) else { return Deserializer::Raw };
        match class.strip_prefix("org.apache.kafka.common.serialization.") {
            Some("StringDeserializer" | "ByteArrayDeserializer" | "ByteBufferDeserializer" | "BytesDeserializer") => Deserializer::Raw,
            Some("ShortDeserializer") => Deserializer::Short,
            Some("IntegerDeserializer") => Deserializer::Integer,
            Some("LongDeserializer") => Deserializer::Long,
            Some("FloatDeserializer") => Deserializer::Float,
            Some("DoubleDeserializer") => Deserializer::Double,
            Some("BooleanDeserializer") => Deserializer::Boolean,
            Some("UUIDDeserializer") => Deserializer::Uuid,
            Some("VoidDeserializer") => Deserializer::Void,
            _ => {
                complain!("ERROR Unable to instantiate a deserializer from {class}");
                Deserializer::Raw
            }
        }
    }

    fn write(self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        macro_rules! number {
            ($ty:ty, $size:literal, $print:expr) => {{
                let Ok(array) = bytes.try_into() else {
                    return Err(format!("Size of data received by the deserializer is not {}", $size));
                };
                let value = <$ty>::from_be_bytes(array);
                out.extend_from_slice($print(value).as_bytes());
                Ok(())
            }};
        }
        match self {
            Deserializer::Raw => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            Deserializer::Short => number!(i16, 2, |v: i16| v.to_string()),
            Deserializer::Integer => number!(i32, 4, |v: i32| v.to_string()),
            Deserializer::Long => number!(i64, 8, |v: i64| v.to_string()),
            Deserializer::Float => number!(f32, 4, |v: f32| java_float(v)),
            Deserializer::Double => number!(f64, 8, crate::args::java_double),
            Deserializer::Boolean => match bytes {
                [0] => Deserializer::Raw.write(b"false", out),
                [1] => Deserializer::Raw.write(b"true", out),
                [other] => Err(format!("Unexpected byte received by BooleanDeserializer: {other}")),
                _ => Err("Size of data received by BooleanDeserializer is not 1".into()),
            },
            Deserializer::Uuid => Deserializer::Raw.write(bytes, out),
            Deserializer::Void => Err("Data should be null for a VoidDeserializer.".into()),
        }
    }
}

fn java_float(value: f32) -> String {
    // The shortest text of the float, in Java's form.
    let text = format!("{value}");
    let magnitude = value.abs();
    if value == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return if text.contains('.') { text } else { format!("{text}.0") };
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        Some((mantissa, exponent)) => format!("{mantissa}E{exponent}"),
        None => text,
    }
}

/// Which parts of a record are printed, and what stands between them.
pub struct Columns {
    timestamp: bool,
    partition: bool,
    offset: bool,
    delivery: bool,
    epoch: bool,
    headers: bool,
    key: bool,
    value: bool,
    separator: Vec<u8>,
    line_separator: Vec<u8>,
    headers_separator: Vec<u8>,
    null_literal: Vec<u8>,
    key_deserializer: Deserializer,
    value_deserializer: Deserializer,
    headers_deserializer: Deserializer,
}

impl Columns {
    fn new(properties: &BTreeMap<String, String>) -> Result<Self, String> {
        let flag = |name: &str, default: bool| properties.get(name).map_or(default, |value| value.trim().eq_ignore_ascii_case("true"));
        let bytes = |name: &str, default: &str| properties.get(name).map_or(default, String::as_str).as_bytes().to_vec();
        Ok(Columns {
            timestamp: flag("print.timestamp", false),
            partition: flag("print.partition", false),
            offset: flag("print.offset", false),
            delivery: flag("print.delivery", false),
            epoch: flag("print.epoch", false),
            headers: flag("print.headers", false),
            key: flag("print.key", false),
            value: flag("print.value", true),
            separator: bytes("key.separator", "\t"),
            line_separator: bytes("line.separator", "\n"),
            headers_separator: bytes("headers.separator", ","),
            null_literal: bytes("null.literal", "null"),
            key_deserializer: Deserializer::of(properties, "key.deserializer"),
            value_deserializer: Deserializer::of(properties, "value.deserializer"),
            headers_deserializer: Deserializer::of(properties, "headers.deserializer"),
        })
    }

    fn separate(&self, more: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(if more { &self.separator } else { &self.line_separator });
    }

    fn write(&self, record: &Shown<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        // Whether something follows the column, from the last one backwards.
        let after_key = self.value;
        let after_headers = self.key || after_key;
        let after_epoch = self.headers || after_headers;
        let after_delivery = self.epoch || after_epoch;
        let after_offset = self.delivery || after_delivery;
        let after_partition = self.offset || after_offset;
        let after_timestamp = self.partition || after_partition;
        if self.timestamp {
            match record.timestamp_type {
                Some(kind) => out.extend_from_slice(format!("{}:{}", kind.name(), record.timestamp).as_bytes()),
                None => out.extend_from_slice(b"NO_TIMESTAMP"),
            }
            self.separate(after_timestamp, out);
        }
        if self.partition {
            out.extend_from_slice(format!("Partition:{}", record.partition).as_bytes());
            self.separate(after_partition, out);
        }
        if self.offset {
            out.extend_from_slice(format!("Offset:{}", record.offset).as_bytes());
            self.separate(after_offset, out);
        }
        if self.delivery {
            out.extend_from_slice(b"Delivery:NOT_PRESENT");
            self.separate(after_delivery, out);
        }
        if self.epoch {
            // Kafka's tool hands records to the formatter without their epoch.
            out.extend_from_slice(b"Epoch:NOT_PRESENT");
            self.separate(after_epoch, out);
        }
        if self.headers {
            if record.headers.is_empty() {
                out.extend_from_slice(b"NO_HEADERS");
            }
            for (i, header) in record.headers.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(&self.headers_separator);
                }
                out.extend_from_slice(header.key.as_bytes());
                out.push(b':');
                self.headers_deserializer.write(header.value.as_deref().unwrap_or(&self.null_literal), out)?;
            }
            self.separate(after_headers, out);
        }
        if self.key {
            self.key_deserializer.write(record.key.map_or(&self.null_literal[..], |key| key), out)?;
            self.separate(after_key, out);
        }
        if self.value {
            self.value_deserializer.write(record.value.map_or(&self.null_literal[..], |value| value), out)?;
            out.extend_from_slice(&self.line_separator);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(properties: &[(&str, &str)], key: Option<&str>, value: Option<&str>) -> String {
        let properties = properties.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let formatter = Formatter::new("org.apache.kafka.tools.consumer.DefaultMessageFormatter", &properties).unwrap();
        let (key, value) = (key.map(|k| Bytes::from(k.to_owned())), value.map(|v| Bytes::from(v.to_owned())));
        let shown = Shown {
            partition: 3,
            offset: 9,
            timestamp: 77,
            timestamp_type: Some(TimestampType::CreateTime),
            key: key.as_ref(),
            value: value.as_ref(),
            headers: &[],
        };
        let mut out = Vec::new();
        formatter.write(&shown, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_in_kafkas_order() {
        assert_eq!(print(&[], Some("k"), Some("v")), "v\n");
        let all = ["timestamp", "partition", "offset", "delivery", "epoch", "headers", "key"].map(|n| (format!("print.{n}"), "true"));
        let all: Vec<(&str, &str)> = all.iter().map(|(k, v)| (k.as_str(), *v)).collect();
        let expected = "CreateTime:77\tPartition:3\tOffset:9\tDelivery:NOT_PRESENT\tEpoch:NOT_PRESENT\tNO_HEADERS\tnull\tnull\n";
        assert_eq!(print(&all, None, None), expected);
        assert_eq!(print(&[("print.value", "false"), ("print.key", "true"), ("line.separator", "|")], Some("k"), None), "k|");
    }

    #[test]
    fn deserializers() {
        let integer = [("value.deserializer", "org.apache.kafka.common.serialization.IntegerDeserializer")];
        assert_eq!(print(&integer, None, Some("\0\0\0\u{7}")), "7\n");
    }
}
