//! A metadata record and its framing: unsigned varints frame version 1, record id and record version, then the message.
//! Kafka: `MetadataRecordSerde`, `AbstractApiMessageSerde`, `MetadataRecordType`.

use crate::features::MetadataVersion;
use base::varint;
use bytes::{BufMut, Bytes, BytesMut};
use wire::messages::*;
use wire::{DecodeError, EncodeError, Message};

const FRAME_VERSION: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("metadata record has a broken frame: {0}")]
    Frame(#[from] varint::VarintError),
    #[error("metadata record has frame version {0}; only 1 is known")]
    FrameVersion(u32),
    #[error("metadata record type {0} is not known; the directory was written by newer software")]
    UnknownType(u32),
    #[error("{name} version {version} is not known; the directory was written by newer software")]
    UnknownVersion { name: &'static str, version: u32 },
    #[error("{name} cannot be read: {error}")]
    Decode { name: &'static str, error: DecodeError },
    #[error("{name} cannot be written: {error}")]
    Encode { name: &'static str, error: EncodeError },
}

macro_rules! records {
    ($($id:literal $variant:ident $message:ident),* $(,)?) => {
        /// Any of the 26 records of the metadata log.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Record {
            $($variant($message),)*
        }

        impl Record {
            pub fn type_id(&self) -> u32 {
                match self { $(Record::$variant(_) => $id,)* }
            }

            pub fn name(&self) -> &'static str {
                match self { $(Record::$variant(_) => $message::NAME,)* }
            }

            /// The message as Kafka's JSON converters print it.
            pub fn to_json(&self, version: i16) -> String {
                match self { $(Record::$variant(m) => m.to_json(version),)* }
            }

            /// Frames the record at `version`.
            pub fn encode_version(&self, version: i16) -> Result<Bytes, RecordError> {
                let body = match self {
                    $(Record::$variant(m) => wire::to_bytes(m, version).map_err(|error| RecordError::Encode { name: $message::NAME, error })?,)*
                };
                let mut out = BytesMut::with_capacity(body.len() + 3);
                varint::write_u32(&mut out, FRAME_VERSION);
                varint::write_u32(&mut out, self.type_id());
                varint::write_u32(&mut out, version as u32);
                out.put_slice(&body);
                Ok(out.freeze())
            }

            /// Reads a record value of the metadata log; the whole value must be used up.
            pub fn decode(mut value: Bytes) -> Result<(Record, i16), RecordError> {
                let frame = take_varint(&mut value)?;
                if frame != FRAME_VERSION {
                    return Err(RecordError::FrameVersion(frame));
                }
                let type_id = take_varint(&mut value)?;
                let version = take_varint(&mut value)?;
                match type_id {
                    $($id => {
                        let name = $message::NAME;
                        let version = i16::try_from(version)
                            .ok()
                            .filter(|v| ($message::MIN_VERSION..=$message::MAX_VERSION).contains(v))
                            .ok_or(RecordError::UnknownVersion { name, version })?;
                        let message = wire::from_bytes::<$message>(value, version).map_err(|error| RecordError::Decode { name, error })?;
                        Ok((Record::$variant(message), version))
                    })*
                    other => Err(RecordError::UnknownType(other)),
                }
            }
        }

        $(impl From<$message> for Record {
            fn from(message: $message) -> Record {
                Record::$variant(message)
            }
        })*
    };
}

records! {
    0 RegisterBroker RegisterBrokerRecord,
    1 UnregisterBroker UnregisterBrokerRecord,
    2 Topic TopicRecord,
    3 Partition PartitionRecord,
    4 Config ConfigRecord,
    5 PartitionChange PartitionChangeRecord,
    7 FenceBroker FenceBrokerRecord,
    8 UnfenceBroker UnfenceBrokerRecord,
    9 RemoveTopic RemoveTopicRecord,
    10 DelegationToken DelegationTokenRecord,
    11 UserScramCredential UserScramCredentialRecord,
    12 FeatureLevel FeatureLevelRecord,
    14 ClientQuota ClientQuotaRecord,
    15 ProducerIds ProducerIdsRecord,
    17 BrokerRegistrationChange BrokerRegistrationChangeRecord,
    18 AccessControlEntry AccessControlEntryRecord,
    19 RemoveAccessControlEntry RemoveAccessControlEntryRecord,
    20 NoOp NoOpRecord,
    21 ZkMigrationState ZkMigrationStateRecord,
    22 RemoveUserScramCredential RemoveUserScramCredentialRecord,
    23 BeginTransaction BeginTransactionRecord,
    24 EndTransaction EndTransactionRecord,
    25 AbortTransaction AbortTransactionRecord,
    26 RemoveDelegationToken RemoveDelegationTokenRecord,
    27 RegisterController RegisterControllerRecord,
    28 ClearElr ClearElrRecord,
}

impl Record {
    /// The version in which the record is written under `metadata_version`.
    pub fn version_for(&self, metadata_version: MetadataVersion) -> i16 {
        match self {
            Record::RegisterBroker(_) => metadata_version.register_broker_record_version(),
            Record::Partition(_) | Record::PartitionChange(_) => metadata_version.partition_record_version(),
            // By content, so that older readers are spared fields that say nothing.
            Record::BrokerRegistrationChange(change) if change.cordoned_log_dirs.is_some() => 3,
            Record::BrokerRegistrationChange(change) if !change.log_dirs.is_empty() => 2,
            Record::BrokerRegistrationChange(change) if change.in_controlled_shutdown != 0 => 1,
            _ => 0,
        }
    }

    /// Frames the record as it is written under `metadata_version`.
    pub fn encode(&self, metadata_version: MetadataVersion) -> Result<Bytes, RecordError> {
        self.encode_version(self.version_for(metadata_version))
    }
}

fn take_varint(value: &mut Bytes) -> Result<u32, RecordError> {
    let (number, len) = varint::read_u32(value)?;
    let _ = value.split_to(len);
    Ok(number)
}
