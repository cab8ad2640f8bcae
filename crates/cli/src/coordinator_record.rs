//! Owns: reading records of `__consumer_offsets`, `__transaction_state` and `__share_group_state` into Kafka's JSON.
//! Used by: dump-log and the console consumer's formatters. Kafka counterpart: CoordinatorRecordSerde and the generated
//! CoordinatorRecordType, CoordinatorRecordJsonConverters.

use base64::Engine;
use bytes::Bytes;
use wire::messages::*;
use wire::{Message, Reader};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Group,
    Transaction,
    Share,
}

pub const LEGACY_OFFSET_COMMIT: i16 = 0;
pub const OFFSET_COMMIT: i16 = 1;
pub const GROUP_METADATA: i16 = 2;
/// The records of share groups in `__consumer_offsets`.
pub const SHARE_GROUP: &[i16] = &[10, 11, 12, 13, 14, 15];

pub struct Found {
    pub kind: i16,
    pub key: String,
    /// Version and JSON; None for a tombstone.
    pub value: Option<(i16, String)>,
}

pub enum Unreadable {
    UnknownType(i16),
    Other(String),
}

fn read_as<K: Message, V: Message>(kind: i16, key: Bytes, value: Option<Bytes>) -> Result<Found, Unreadable> {
    let cannot = |version: i16, what: &str, error: wire::DecodeError| {
        Unreadable::Other(format!("Could not read record with version {version} from {what}'s buffer due to: {error}."))
    };
    // Keys have one version, 0; the number in front of them is the type.
    let key = K::decode(&mut Reader::new(key), 0).map_err(|error| cannot(kind, "key", error))?;
    let value = match value {
        None => None,
        Some(bytes) => {
            let (version, rest) = prefix(bytes, "value")?;
            if !(V::MIN_VERSION..=V::MAX_VERSION).contains(&version) {
                return Err(Unreadable::Other(format!("Found an unknown record version {version} for {kind} type")));
            }
            let message = V::decode(&mut Reader::new(rest), version).map_err(|error| cannot(version, "value", error))?;
            Some((version, message.to_json(version)))
        }
    };
    Ok(Found { kind, key: key.to_json(0), value })
}

fn prefix(mut bytes: Bytes, what: &str) -> Result<(i16, Bytes), Unreadable> {
    match bytes.get(..2) {
        Some(&[high, low]) => Ok((i16::from_be_bytes([high, low]), bytes.split_off(2))),
        _ => Err(Unreadable::Other(format!("Could not read version from {what}'s buffer."))),
    }
}

pub fn read(family: Family, key: Bytes, value: Option<Bytes>) -> Result<Found, Unreadable> {
    let (kind, key) = prefix(key, "key")?;
    macro_rules! kinds {
        ($($code:literal => $key:ident, $value:ident;)*) => {
            match kind {
                $($code => read_as::<$key, $value>(kind, key, value),)*
                _ => Err(Unreadable::UnknownType(kind)),
            }
        };
    }
    match family {
        Family::Group => kinds! {
            0 => LegacyOffsetCommitKey, LegacyOffsetCommitValue;
            1 => OffsetCommitKey, OffsetCommitValue;
            2 => GroupMetadataKey, GroupMetadataValue;
            3 => ConsumerGroupMetadataKey, ConsumerGroupMetadataValue;
            4 => ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue;
            5 => ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue;
            6 => ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue;
            7 => ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue;
            8 => ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue;
            10 => ShareGroupMemberMetadataKey, ShareGroupMemberMetadataValue;
            11 => ShareGroupMetadataKey, ShareGroupMetadataValue;
            12 => ShareGroupTargetAssignmentMetadataKey, ShareGroupTargetAssignmentMetadataValue;
            13 => ShareGroupTargetAssignmentMemberKey, ShareGroupTargetAssignmentMemberValue;
            14 => ShareGroupCurrentMemberAssignmentKey, ShareGroupCurrentMemberAssignmentValue;
            15 => ShareGroupStatePartitionMetadataKey, ShareGroupStatePartitionMetadataValue;
            16 => ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue;
            17 => StreamsGroupMetadataKey, StreamsGroupMetadataValue;
            19 => StreamsGroupMemberMetadataKey, StreamsGroupMemberMetadataValue;
            20 => StreamsGroupTargetAssignmentMetadataKey, StreamsGroupTargetAssignmentMetadataValue;
            21 => StreamsGroupTargetAssignmentMemberKey, StreamsGroupTargetAssignmentMemberValue;
            22 => StreamsGroupCurrentMemberAssignmentKey, StreamsGroupCurrentMemberAssignmentValue;
            23 => StreamsGroupTopologyKey, StreamsGroupTopologyValue;
        },
        Family::Transaction => kinds! { 0 => TransactionLogKey, TransactionLogValue; },
        Family::Share => kinds! {
            0 => ShareSnapshotKey, ShareSnapshotValue;
            1 => ShareUpdateKey, ShareUpdateValue;
        },
    }
}

/// In the JSON of a classic group of consumers, the members' subscription and assignment bytes as what they say.
/// Works on the text, so that the order of fields stays Kafka's.
pub fn with_consumer_protocol(json: &str) -> String {
    if !json.contains("\"protocolType\":\"consumer\"") {
        return json.to_owned();
    }
    let json = replace_bytes::<ConsumerProtocolSubscription>(json, "\"subscription\":\"");
    replace_bytes::<ConsumerProtocolAssignment>(&json, "\"assignment\":\"")
}

/// Replaces each base64 text behind `field` that holds a version and an `M`; others stay.
fn replace_bytes<M: Message>(json: &str, field: &str) -> String {
    let mut text = String::new();
    let mut rest = json;
    while let Some(at) = rest.find(field) {
        let (before, after) = rest.split_at(at + field.len());
        let Some(end) = after.find('"') else { break };
        let decode = || -> Option<String> {
            let bytes = base64::engine::general_purpose::STANDARD.decode(&after[..end]).ok()?;
            let (version, bytes) = prefix(Bytes::from(bytes), "value").ok()?;
            Some(M::decode(&mut Reader::new(bytes), version).ok()?.to_json(version)).filter(|json| !json.is_empty())
        };
        match decode() {
            Some(decoded) => {
                text.push_str(&before[..before.len() - 1]);
                text.push_str(&decoded);
                rest = &after[end + 1..];
            }
            None => {
                text.push_str(before);
                text.push_str(&after[..end]);
                rest = &after[end..];
            }
        }
    }
    text.push_str(rest);
    text
}
