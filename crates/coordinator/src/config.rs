//! The broker settings that a group coordinator obeys, as plain values.
//! Whoever owns server.properties maps names to fields; the defaults here are Kafka's (GroupCoordinatorConfig).

/// Field names are Kafka's configuration names with dots replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    pub group_min_session_timeout_ms: i32,
    pub group_max_session_timeout_ms: i32,
    pub group_initial_rebalance_delay_ms: i32,
    pub group_max_size: i32,
    /// How long a member that joined without a member id may wait in a rebalance before it is dropped. Not configurable in Kafka.
    pub new_member_join_timeout_ms: i32,
    pub offset_metadata_max_bytes: i32,
    pub offsets_retention_minutes: i32,
    pub offsets_retention_check_interval_ms: i64,
    /// How long a write may wait for the high watermark before its requests are failed.
    pub offsets_commit_timeout_ms: i32,
    /// Session timeout given after a load to members that joined by the consumer, share and streams protocols.
    pub modern_session_timeout_ms: i32,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            group_min_session_timeout_ms: 6_000,
            group_max_session_timeout_ms: 1_800_000,
            group_initial_rebalance_delay_ms: 3_000,
            group_max_size: i32::MAX,
            new_member_join_timeout_ms: 5 * 60 * 1_000,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_minutes: 7 * 24 * 60,
            offsets_retention_check_interval_ms: 600_000,
            offsets_commit_timeout_ms: 5_000,
            modern_session_timeout_ms: 45_000,
        }
    }
}

impl GroupConfig {
    pub(crate) fn offsets_retention_ms(&self) -> i64 {
        i64::from(self.offsets_retention_minutes) * 60 * 1_000
    }
}
