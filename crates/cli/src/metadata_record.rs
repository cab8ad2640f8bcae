//! Owns: reading the framed records of `__cluster_metadata` and `__remote_log_metadata` into JSON, for dump-log.
//! Kafka counterpart: AbstractApiMessageSerde, MetadataRecordType.

use bytes::Bytes;
use wire::messages::*;
use wire::{Message, Reader};

pub struct Found {
    pub name: &'static str,
    pub version: i16,
    pub json: String,
}

fn frame(reader: &mut Reader) -> Result<(i16, i16), String> {
    let mut number = |what: &str| -> Result<i16, String> {
        let value = reader.unsigned_varint().map_err(|_| format!("Error while reading {what}"))?;
        i16::try_from(value).map_err(|_| format!("Value for {what} was too large."))
    };
    match number("frame version")? {
        1 => Ok((number("type")?, number("version")?)),
        0 => Err("Could not deserialize metadata record with frame version 0. Note that upgrades from the preview release of KRaft in \
                  2.8 to newer versions are not supported."
            .into()),
        other => {
            Err(format!("Could not deserialize metadata record due to unknown frame version {other}(only frame version 1 is supported)"))
        }
    }
}

fn read_as<M: Message>(name: &'static str, kind: i16, version: i16, mut reader: Reader) -> Result<Found, String> {
    let message = M::decode(&mut reader, version).map_err(|_| format!("Failed to deserialize record with type {kind}"))?;
    match reader.remaining() {
        0 => Ok(Found { name, version, json: message.to_json(version) }),
        n => Err(format!("Found {n} byte(s) of garbage after {kind}")),
    }
}

pub fn read(value: Bytes) -> Result<Found, String> {
    let mut reader = Reader::new(value);
    let (kind, version) = frame(&mut reader)?;
    macro_rules! kinds {
        ($($code:literal => $message:ident, $name:literal;)*) => {
            match kind {
                $($code => read_as::<$message>($name, kind, version, reader),)*
                _ => Err(format!("org.apache.kafka.common.errors.UnsupportedVersionException: Unknown metadata id {kind}")),
            }
        };
    }
    kinds! {
        0 => RegisterBrokerRecord, "REGISTER_BROKER_RECORD";
        1 => UnregisterBrokerRecord, "UNREGISTER_BROKER_RECORD";
        2 => TopicRecord, "TOPIC_RECORD";
        3 => PartitionRecord, "PARTITION_RECORD";
        4 => ConfigRecord, "CONFIG_RECORD";
        5 => PartitionChangeRecord, "PARTITION_CHANGE_RECORD";
        7 => FenceBrokerRecord, "FENCE_BROKER_RECORD";
        8 => UnfenceBrokerRecord, "UNFENCE_BROKER_RECORD";
        9 => RemoveTopicRecord, "REMOVE_TOPIC_RECORD";
        10 => DelegationTokenRecord, "DELEGATION_TOKEN_RECORD";
        11 => UserScramCredentialRecord, "USER_SCRAM_CREDENTIAL_RECORD";
        12 => FeatureLevelRecord, "FEATURE_LEVEL_RECORD";
        14 => ClientQuotaRecord, "CLIENT_QUOTA_RECORD";
        15 => ProducerIdsRecord, "PRODUCER_IDS_RECORD";
        17 => BrokerRegistrationChangeRecord, "BROKER_REGISTRATION_CHANGE_RECORD";
        18 => AccessControlEntryRecord, "ACCESS_CONTROL_ENTRY_RECORD";
        19 => RemoveAccessControlEntryRecord, "REMOVE_ACCESS_CONTROL_ENTRY_RECORD";
        20 => NoOpRecord, "NO_OP_RECORD";
        21 => ZkMigrationStateRecord, "ZK_MIGRATION_STATE_RECORD";
        22 => RemoveUserScramCredentialRecord, "REMOVE_USER_SCRAM_CREDENTIAL_RECORD";
        23 => BeginTransactionRecord, "BEGIN_TRANSACTION_RECORD";
        24 => EndTransactionRecord, "END_TRANSACTION_RECORD";
        25 => AbortTransactionRecord, "ABORT_TRANSACTION_RECORD";
        26 => RemoveDelegationTokenRecord, "REMOVE_DELEGATION_TOKEN_RECORD";
        27 => RegisterControllerRecord, "REGISTER_CONTROLLER_RECORD";
        28 => ClearElrRecord, "CLEAR_ELR_RECORD";
    }
}

/// Records of tiered storage; Java prints its own classes here, we print the stored message.
pub fn read_remote(value: Bytes) -> Result<Found, String> {
    let mut reader = Reader::new(value);
    let (kind, version) = frame(&mut reader)?;
    match kind {
        0 => read_as::<RemoteLogSegmentMetadataRecord>("RemoteLogSegmentMetadata", kind, version, reader),
        1 => read_as::<RemoteLogSegmentMetadataUpdateRecord>("RemoteLogSegmentMetadataUpdate", kind, version, reader),
        2 => read_as::<RemotePartitionDeleteMetadataRecord>("RemotePartitionDeleteMetadata", kind, version, reader),
        3 => read_as::<RemoteLogSegmentMetadataSnapshotRecord>("RemoteLogSegmentMetadataSnapshot", kind, version, reader),
        _ => Err(format!("ApiKey is not supported: {kind}")),
    }
}
