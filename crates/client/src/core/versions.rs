//! Owns: which versions of each API one broker serves, and the choice of the one to use. Kafka: `NodeApiVersions`.

use crate::error::Error;
use std::collections::BTreeMap;
use wire::messages::ApiVersionsResponse;
use wire::{ApiKey, Request};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeVersions {
    ranges: BTreeMap<i16, (i16, i16)>,
    pub features: FinalizedFeatures,
}

/// What the cluster has agreed on, as one broker told it. The higher epoch is the newer agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalizedFeatures {
    pub epoch: i64,
    /// `transaction.version`: from 2 on partitions join transactions without requests of their own (KIP-890).
    pub transaction_version: i16,
}

impl Default for FinalizedFeatures {
    fn default() -> Self {
        Self { epoch: -1, transaction_version: 0 }
    }
}

impl NodeVersions {
    pub fn from_response(response: &ApiVersionsResponse) -> Self {
        let transactions = response.finalized_features.iter().find(|feature| feature.name == "transaction.version");
        Self {
            ranges: response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect(),
            features: FinalizedFeatures {
                epoch: response.finalized_features_epoch,
                transaction_version: transactions.map_or(0, |feature| feature.max_version_level),
            },
        }
    }

    pub fn range(&self, key: ApiKey) -> Option<(i16, i16)> {
        self.ranges.get(&key.code()).copied()
    }

    /// The newest version of `R` that both sides speak and that lies within `min..=max`.
    pub fn choose<R: Request>(&self, min: i16, max: i16, node: &str) -> Result<i16, Error> {
        let Some((broker_min, broker_max)) = self.range(R::KEY) else {
            return Err(Error::UnsupportedVersion(format!("The node {node} does not support {}", R::KEY.name())));
        };
        let newest = max.min(R::MAX_VERSION).min(broker_max);
        if newest < min.max(R::MIN_VERSION).max(broker_min) {
            return Err(Error::UnsupportedVersion(format!(
                "The node {node} does not support {} with version in range [{},{}]. The supported range is [{broker_min},{broker_max}].",
                R::KEY.name(),
                min.max(R::MIN_VERSION),
                max.min(R::MAX_VERSION),
            )));
        }
        Ok(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::messages::FetchRequest;
    use wire::messages::api_versions_response::ApiVersion;

    #[test]
    fn chooses_the_newest_common_version() {
        let api_keys = vec![ApiVersion { api_key: 1, min_version: 4, max_version: 12, ..Default::default() }];
        let versions = NodeVersions::from_response(&ApiVersionsResponse { api_keys, ..Default::default() });
        assert_eq!(versions.choose::<FetchRequest>(0, i16::MAX, "1").unwrap(), 12);
        assert_eq!(versions.choose::<FetchRequest>(0, 10, "1").unwrap(), 10);
        assert!(versions.choose::<FetchRequest>(13, i16::MAX, "1").is_err());
        assert!(versions.choose::<wire::messages::ProduceRequest>(0, i16::MAX, "1").is_err());
    }
}
