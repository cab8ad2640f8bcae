//! Feature levels: which exist, which ranges this node supports, and what a metadata.version changes in what is written.
//! Kafka: `MetadataVersion`, `Feature`, `KRaftVersion`, `QuorumFeatures`.

use crate::image::cluster::{SupportedFeature, VersionRange};
use std::fmt;

/// A finalized metadata.version, from `3.3-IV3` (7) to `4.3-IV0` (30).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataVersion(i16);

const NAMES: [&str; 24] = [
    "3.3-IV3", "3.4-IV0", "3.5-IV0", "3.5-IV1", "3.5-IV2", "3.6-IV0", "3.6-IV1", "3.6-IV2", "3.7-IV0", "3.7-IV1", "3.7-IV2", "3.7-IV3",
    "3.7-IV4", "3.8-IV0", "3.9-IV0", "4.0-IV0", "4.0-IV1", "4.0-IV2", "4.0-IV3", "4.1-IV0", "4.1-IV1", "4.2-IV0", "4.2-IV1", "4.3-IV0",
];

/// The newest metadata.version of each release, for `--release-version 4.1` and the like.
const DID_METADATA_CHANGE: [i16; 10] = [7, 8, 11, 13, 14, 15, 17, 23, 30, i16::MAX];

impl MetadataVersion {
    pub const FEATURE_NAME: &str = "metadata.version";
    pub const MINIMUM: MetadataVersion = MetadataVersion(7);
    pub const LATEST_PRODUCTION: MetadataVersion = MetadataVersion(30);

    pub fn from_level(level: i16) -> Option<Self> {
        (Self::MINIMUM.0..=Self::LATEST_PRODUCTION.0).contains(&level).then_some(MetadataVersion(level))
    }

    /// Reads `4.3-IV0`, `4.3` or `4.3.1`; a release means its newest metadata.version.
    pub fn from_version_string(text: &str) -> Option<Self> {
        let release = text.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
        let exact = NAMES.iter().position(|name| *name == release);
        let newest = || NAMES.iter().rposition(|name| name.split('-').next() == Some(release.as_str()));
        exact.or_else(newest).map(|i| MetadataVersion(Self::MINIMUM.0 + i as i16))
    }

    pub const fn level(self) -> i16 {
        self.0
    }

    /// `4.3-IV0`
    pub fn name(self) -> &'static str {
        NAMES[(self.0 - Self::MINIMUM.0) as usize]
    }

    /// Whether the shape of metadata records differs between two versions (a downgrade across it loses data).
    pub fn metadata_changed_between(a: MetadataVersion, b: MetadataVersion) -> bool {
        let (low, high) = (a.min(b), a.max(b));
        DID_METADATA_CHANGE.iter().any(|level| low.0 < *level && *level <= high.0)
    }

    pub const fn supports_scram(self) -> bool {
        self.0 >= 11
    }
    pub const fn requires_leader_epoch_bump_on_isr_shrink(self) -> bool {
        self.0 < 12
    }
    pub const fn supports_transactions(self) -> bool {
        self.0 >= 13
    }
    pub const fn supports_delegation_tokens(self) -> bool {
        self.0 >= 14
    }
    pub const fn supports_controller_registration(self) -> bool {
        self.0 >= 15
    }
    pub const fn supports_directory_assignment(self) -> bool {
        self.0 >= 17
    }
    pub const fn supports_elr(self) -> bool {
        self.0 >= 23
    }
    pub const fn supports_cordoned_log_dirs(self) -> bool {
        self.0 >= 30
    }

    pub const fn register_broker_record_version(self) -> i16 {
        match self.0 {
            30.. => 4,
            17.. => 3,
            8.. => 2,
            _ => 1,
        }
    }

    /// Of PartitionRecord and PartitionChangeRecord alike.
    pub const fn partition_record_version(self) -> i16 {
        match self.0 {
            23.. => 2,
            17.. => 1,
            _ => 0,
        }
    }

    /// The version replica fetchers must use, no other.
    pub const fn fetch_request_version(self) -> i16 {
        match self.0 {
            27.. => 18,
            21.. => 17,
            19.. => 16,
            10.. => 15,
            9.. => 14,
            _ => 13,
        }
    }
}

impl fmt::Display for MetadataVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A feature with the range of levels that this software supports and the level a new cluster gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    pub min: i16,
    pub max: i16,
    pub latest_production: i16,
}

impl Feature {
    /// What a node of this software says of the feature when it registers.
    pub fn supported(&self) -> SupportedFeature {
        SupportedFeature { name: self.name.to_owned(), range: VersionRange { min: self.min, max: self.max } }
    }
}

pub const KRAFT_VERSION: &str = "kraft.version";
pub const TRANSACTION_VERSION: &str = "transaction.version";
pub const GROUP_VERSION: &str = "group.version";
pub const ELR_VERSION: &str = "eligible.leader.replicas.version";
pub const SHARE_VERSION: &str = "share.version";
pub const STREAMS_VERSION: &str = "streams.version";

/// All features of 4.3, sorted by name as they are written and shown.
pub const FEATURES: [Feature; 7] = [
    Feature { name: ELR_VERSION, min: 0, max: 1, latest_production: 1 },
    Feature { name: GROUP_VERSION, min: 0, max: 1, latest_production: 1 },
    Feature { name: KRAFT_VERSION, min: 0, max: 1, latest_production: 1 },
    Feature { name: MetadataVersion::FEATURE_NAME, min: 7, max: 30, latest_production: 30 },
    Feature { name: SHARE_VERSION, min: 0, max: 1, latest_production: 1 },
    Feature { name: STREAMS_VERSION, min: 0, max: 1, latest_production: 1 },
    Feature { name: TRANSACTION_VERSION, min: 0, max: 2, latest_production: 2 },
];

pub fn feature(name: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|feature| feature.name == name)
}
