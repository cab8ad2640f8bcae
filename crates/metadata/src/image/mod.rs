//! The whole picture, and the parts too small for a file of their own. Cloning copies a handful of pointers.

pub mod cluster;
pub mod configs;
pub mod partition;
pub mod security;
pub mod topics;

use crate::features::{self, MetadataVersion};
use cluster::Cluster;
use configs::Configs;
use imbl::OrdMap;
use security::{Quotas, Security};
use topics::Topics;

/// Up to where in the metadata log an image speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// Offset of the last contained record; −1 before the first.
    pub offset: i64,
    pub epoch: i32,
    pub timestamp_ms: i64,
}

impl Default for Provenance {
    fn default() -> Self {
        Provenance { offset: -1, epoch: -1, timestamp_ms: -1 }
    }
}

/// Finalized feature levels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    /// `None` until the first FeatureLevelRecord of metadata.version.
    pub metadata_version: Option<MetadataVersion>,
    /// All others with a level above 0, metadata.version and kraft.version excepted.
    pub levels: OrdMap<String, i16>,
    /// What raft's control records say; it is in no metadata record.
    pub kraft_version: i16,
}

impl Features {
    pub fn level(&self, name: &str) -> i16 {
        if name == MetadataVersion::FEATURE_NAME {
            return self.metadata_version.map_or(0, MetadataVersion::level);
        }
        if name == features::KRAFT_VERSION {
            return self.kraft_version;
        }
        self.levels.get(name).copied().unwrap_or(0)
    }

    pub fn metadata_version_or_minimum(&self) -> MetadataVersion {
        self.metadata_version.unwrap_or(MetadataVersion::MINIMUM)
    }

    /// Every level above 0, sorted by name, as ApiVersions shows them.
    pub fn finalized(&self) -> Vec<(String, i16)> {
        let kraft = (self.kraft_version > 0).then(|| (features::KRAFT_VERSION.to_owned(), self.kraft_version));
        let version = self.metadata_version.map(|v| (MetadataVersion::FEATURE_NAME.to_owned(), v.level()));
        let mut all: Vec<_> = self.levels.iter().map(|(name, level)| (name.clone(), *level)).chain(version).chain(kraft).collect();
        all.sort();
        all
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    pub provenance: Provenance,
    pub features: Features,
    pub cluster: Cluster,
    pub topics: Topics,
    pub configs: Configs,
    pub quotas: Quotas,
    /// First producer id of the next block to be handed out; 0 when none was.
    pub next_producer_id: Option<i64>,
    pub security: Security,
}

impl Image {
    pub fn metadata_version(&self) -> MetadataVersion {
        self.features.metadata_version_or_minimum()
    }

    /// Equality of what metadata records say, whatever the position in the log.
    pub fn same_content(&self, other: &Image) -> bool {
        let content = |image: &Image| {
            let features = Features { kraft_version: 0, ..image.features.clone() };
            Image { provenance: Provenance::default(), features, ..image.clone() }
        };
        content(self) == content(other)
    }
}
