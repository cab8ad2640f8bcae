//! What dump-log prints of a control record behind its metadata.

use record::{ControlType, EndTxnMarker, Record};
use wire::messages::{KRaftVersionRecord, LeaderChangeMessage, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord};
use wire::{Message, Reader};

use crate::failure::Failure;

pub fn describe(record: &Record) -> Result<String, Failure> {
    let bad = |text: String| Failure::new(format!("control record at offset {}: {text}", record.offset));
    let key = record.key.clone().unwrap_or_default();
    let value = record.value.clone().unwrap_or_default();
    let json = |result: Result<String, wire::DecodeError>| result.map_err(|error| bad(error.to_string()));
    Ok(match ControlType::from_key(&key).map_err(|error| bad(error.to_string()))? {
        Some(kind @ (ControlType::Abort | ControlType::Commit)) => {
            let marker = EndTxnMarker::from_record(&key, &value).map_err(|error| bad(error.to_string()))?;
            let epoch = marker.map_or(0, |marker| marker.coordinator_epoch);
            format!(" endTxnMarker: {} coordinatorEpoch: {epoch}", kind.name())
        }
        Some(ControlType::LeaderChange) => format!(" LeaderChange: {}", json(to_json::<LeaderChangeMessage>(value, |m| m.version))?),
        Some(ControlType::SnapshotHeader) => format!(" SnapshotHeader {}", json(to_json::<SnapshotHeaderRecord>(value, |m| m.version))?),
        Some(ControlType::SnapshotFooter) => format!(" SnapshotFooter {}", json(to_json::<SnapshotFooterRecord>(value, |m| m.version))?),
        Some(ControlType::KRaftVersion) => format!(" KRaftVersion {}", json(to_json::<KRaftVersionRecord>(value, |m| m.version))?),
        Some(ControlType::KRaftVoters) => format!(" KRaftVoters {}", json(to_json::<VotersRecord>(value, |m| m.version))?),
        None => {
            let code = key.get(2..4).map_or(-1, |code| i16::from_be_bytes([code[0], code[1]]));
            format!(" controlType: UNKNOWN({code})")
        }
    })
}

/// These messages are read as version 0 and printed as the version they name themselves, as Kafka does.
fn to_json<M: Message>(value: bytes::Bytes, version: impl Fn(&M) -> i16) -> Result<String, wire::DecodeError> {
    let message = M::decode(&mut Reader::new(value), 0)?;
    Ok(message.to_json(version(&message)))
}
