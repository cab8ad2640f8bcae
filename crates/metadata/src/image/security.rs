//! Client quotas, ACLs, SCRAM credentials and delegation tokens, each kept as the record that set it.
//! Kafka: `ClientQuotasImage`, `AclsImage`, `ScramImage`, `DelegationTokenImage`.

use base::Uuid;
use imbl::OrdMap;
use std::sync::Arc;
use wire::messages::client_quota_record::EntityData;
use wire::messages::{AccessControlEntryRecord, DelegationTokenRecord, UserScramCredentialRecord};

/// Entity type (`user`, `client-id`, `ip`) with its name; no name means the default. Sorted by type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaEntity(pub Vec<(String, Option<String>)>);

impl QuotaEntity {
    pub fn from_record(entity: &[EntityData]) -> Self {
        let mut parts: Vec<_> = entity.iter().map(|e| (e.entity_type.clone(), e.entity_name.clone())).collect();
        parts.sort();
        QuotaEntity(parts)
    }

    pub fn to_record(&self) -> Vec<EntityData> {
        self.0
            .iter()
            .map(|(entity_type, entity_name)| EntityData {
                entity_type: entity_type.clone(),
                entity_name: entity_name.clone(),
                ..Default::default()
            })
            .collect()
    }
}

/// Limits by entity and quota key.
pub type Quotas = OrdMap<QuotaEntity, OrdMap<String, f64>>;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Security {
    pub acls: OrdMap<Uuid, Arc<AccessControlEntryRecord>>,
    /// By mechanism (1 SCRAM-SHA-256, 2 SCRAM-SHA-512) and user.
    pub scram: OrdMap<(i8, String), Arc<UserScramCredentialRecord>>,
    pub delegation_tokens: OrdMap<String, Arc<DelegationTokenRecord>>,
}
