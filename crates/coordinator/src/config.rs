//! The broker settings that a group coordinator obeys, as plain values.
//! Whoever owns server.properties maps names to fields; the defaults here are Kafka's (GroupCoordinatorConfig).
//! `ConsumerSettings` are those of them that a single group can override (GroupConfig).

use metadata::{ConfigResource, Image};

use crate::assignor::Assignor;

/// Whether groups may move between the classic and the consumer protocol while they have members (ConsumerGroupMigrationPolicy).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    Disabled,
    Upgrade,
    Downgrade,
    Bidirectional,
}

impl MigrationPolicy {
    /// Names are compared without case.
    pub fn from_name(name: &str) -> Option<Self> {
        let named = |n: &str| name.eq_ignore_ascii_case(n);
        [
            ("disabled", MigrationPolicy::Disabled),
            ("upgrade", MigrationPolicy::Upgrade),
            ("downgrade", MigrationPolicy::Downgrade),
            ("bidirectional", MigrationPolicy::Bidirectional),
        ]
        .into_iter()
        .find(|(n, _)| named(n))
        .map(|(_, policy)| policy)
    }

    pub(crate) fn allows_upgrade(self) -> bool {
        matches!(self, MigrationPolicy::Upgrade | MigrationPolicy::Bidirectional)
    }

    pub(crate) fn allows_downgrade(self) -> bool {
        matches!(self, MigrationPolicy::Downgrade | MigrationPolicy::Bidirectional)
    }
}

/// A value that groups can override within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounded {
    pub value: i32,
    pub min: i32,
    pub max: i32,
}

/// What one group is run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConsumerSettings {
    pub(crate) session_timeout_ms: i32,
    pub(crate) heartbeat_interval_ms: i32,
    pub(crate) assignment_interval_ms: i32,
}

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
    pub consumer_session_timeout_ms: Bounded,
    pub consumer_heartbeat_interval_ms: Bounded,
    pub consumer_assignment_interval_ms: Bounded,
    pub consumer_max_size: i32,
    /// Names of assignors in order of preference; unknown ones are passed over.
    pub consumer_assignors: Vec<String>,
    pub consumer_migration_policy: MigrationPolicy,
    pub consumer_regex_refresh_interval_ms: i32,
    /// Session timeout given after a load to members that joined by the share and streams protocols.
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
            consumer_session_timeout_ms: Bounded { value: 45_000, min: 45_000, max: 60_000 },
            consumer_heartbeat_interval_ms: Bounded { value: 5_000, min: 5_000, max: 15_000 },
            consumer_assignment_interval_ms: Bounded { value: 1_000, min: 0, max: 15_000 },
            consumer_max_size: i32::MAX,
            consumer_assignors: vec!["uniform".to_owned(), "range".to_owned()],
            consumer_migration_policy: MigrationPolicy::Bidirectional,
            consumer_regex_refresh_interval_ms: 600_000,
            modern_session_timeout_ms: 45_000,
        }
    }
}

impl GroupConfig {
    pub(crate) fn offsets_retention_ms(&self) -> i64 {
        i64::from(self.offsets_retention_minutes) * 60 * 1_000
    }

    /// Who assigns for members that ask for none in particular.
    pub(crate) fn default_consumer_assignor(&self) -> Assignor {
        self.consumer_assignors.iter().find_map(|name| Assignor::from_name(name)).unwrap_or(Assignor::Uniform)
    }

    /// The broker's settings under those of the group. Values out of bounds, as after the bounds were changed, count as the nearest bound.
    pub(crate) fn consumer_settings(&self, image: &Image, group_id: &str) -> ConsumerSettings {
        let overrides = image.configs.get(&ConfigResource::group(group_id));
        let of = |key: &str, bounded: Bounded| match overrides.get(key).and_then(|text| text.trim().parse::<i32>().ok()) {
            Some(value) => value.max(bounded.min).min(bounded.max),
            None => bounded.value,
        };
        ConsumerSettings {
            session_timeout_ms: of("consumer.session.timeout.ms", self.consumer_session_timeout_ms),
            heartbeat_interval_ms: of("consumer.heartbeat.interval.ms", self.consumer_heartbeat_interval_ms),
            assignment_interval_ms: of("consumer.assignment.interval.ms", self.consumer_assignment_interval_ms),
        }
    }
}
