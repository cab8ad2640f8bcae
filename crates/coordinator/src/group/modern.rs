//! Groups of the share (KIP-932) and streams (KIP-1071) protocols, kept as the records that were found in the log,
//! so that nothing of them is lost before those protocols are served. Only what listing, deleting and committing offsets need is read
//! out of them. Kafka: the states of ShareGroup and StreamsGroup.

use std::collections::BTreeMap;

use bytes::Bytes;
use wire::messages::list_groups_response::ListedGroup;
use wire::{EncodeError, ErrorCode};

use crate::output::CoordinatorRecord;
use crate::records;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Share,
    Streams,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Share => "share",
            Kind::Streams => "streams",
        }
    }

    /// The record types of a group in the order of their tombstones: members lose what they hold before the group goes.
    fn tombstone_order(self) -> &'static [i16] {
        match self {
            Kind::Share => &[14, 13, 12, 10, 15, 11],
            Kind::Streams => &[22, 21, 20, 19, 17, 23],
        }
    }

    /// The record whose tombstone ends the group.
    fn group_record(self) -> i16 {
        match self {
            Kind::Share => 11,
            Kind::Streams => 17,
        }
    }

    fn member_record(self) -> i16 {
        match self {
            Kind::Share => 10,
            Kind::Streams => 19,
        }
    }

    fn current_record(self) -> i16 {
        match self {
            Kind::Share => 14,
            Kind::Streams => 22,
        }
    }
}

/// A record of a group, with what was read out of its value.
#[derive(Debug)]
pub(crate) struct ModernRecord {
    pub(crate) kind: Kind,
    pub(crate) record_type: i16,
    pub(crate) group_id: String,
    /// The member id that the key names besides the group.
    pub(crate) name: Option<String>,
    pub(crate) key: Bytes,
    pub(crate) value: Option<(Bytes, ModernValue)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModernValue {
    Group { epoch: i32, topology_epoch: Option<i32> },
    Member { topics: Vec<String> },
    Target { epoch: i32 },
    Current { epoch: i32, state: i8 },
    Topology { epoch: i32, topics: Vec<String> },
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    key: Bytes,
    value: Bytes,
    summary: ModernValue,
}

/// `(record type, member id)`.
type Slot = (i16, Option<String>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModernGroup {
    kind: Kind,
    records: BTreeMap<Slot, Kept>,
}

impl ModernGroup {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, records: BTreeMap::new() }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Keeps or drops a record. Whether the group lives on.
    pub(crate) fn apply(&mut self, record: ModernRecord) -> bool {
        let slot = (record.record_type, record.name);
        match record.value {
            // Copied, so that a small record does not keep the whole batch it came in.
            Some((value, summary)) => {
                let kept = Kept { key: Bytes::copy_from_slice(&record.key), value: Bytes::copy_from_slice(&value), summary };
                self.records.insert(slot, kept);
                true
            }
            None => {
                self.records.remove(&slot);
                record.record_type != self.kind.group_record()
            }
        }
    }

    fn of_type(&self, record_type: i16) -> impl Iterator<Item = (&Slot, &Kept)> {
        self.records.range((record_type, None)..).take_while(move |((t, _), _)| *t == record_type)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &str> {
        self.of_type(self.kind.member_record()).filter_map(|((_, name), _)| name.as_deref())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members().next().is_none()
    }

    fn epochs(&self) -> (i32, i32, Option<i32>, Option<i32>) {
        let (mut group, mut target, mut validated, mut topology) = (0, 0, None, None);
        for kept in self.records.values() {
            match kept.summary {
                ModernValue::Group { epoch, topology_epoch } => (group, validated) = (epoch, topology_epoch),
                ModernValue::Target { epoch } => target = epoch,
                ModernValue::Topology { epoch, .. } => topology = Some(epoch),
                _ => {}
            }
        }
        (group, target, validated, topology)
    }

    pub(crate) fn state(&self) -> &'static str {
        let (epoch, target, validated, topology) = self.epochs();
        if self.is_empty() {
            "Empty"
        } else if self.kind == Kind::Share {
            "Stable"
        } else if self.kind == Kind::Streams && (topology.is_none() || topology != validated) {
            "NotReady"
        } else if epoch > target {
            "Assigning"
        } else if self.members().all(|m| self.current(m) == Some((target, 0))) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// Epoch and state of a member, state 0 being stable.
    fn current(&self, member_id: &str) -> Option<(i32, i8)> {
        let slot = (self.kind.current_record(), Some(member_id.to_owned()));
        match self.records.get(&slot)?.summary {
            ModernValue::Current { epoch, state } => Some((epoch, state)),
            _ => None,
        }
    }

    pub(crate) fn listed(&self, group_id: &str) -> ListedGroup {
        ListedGroup {
            group_id: group_id.to_owned(),
            protocol_type: self.kind.name().to_owned(),
            group_state: self.state().to_owned(),
            group_type: self.kind.name().to_owned(),
            ..Default::default()
        }
    }

    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.records.values().any(|kept| match &kept.summary {
            ModernValue::Member { topics } | ModernValue::Topology { topics, .. } => topics.iter().any(|t| t == topic),
            _ => false,
        }) && !self.is_empty()
    }

    pub(crate) fn has_member(&self, member_id: &str) -> bool {
        self.records.contains_key(&(self.kind.member_record(), Some(member_id.to_owned())))
    }

    /// The records that take a member out of the group: tombstones for what is stored of it, and the next group epoch.
    pub(crate) fn fence(&self, member_id: &str) -> Result<Vec<CoordinatorRecord>, EncodeError> {
        let group_record = self.kind.group_record();
        let last = self.members().all(|m| m == member_id);
        let mut fenced: Vec<CoordinatorRecord> = Vec::new();
        for record_type in self.kind.tombstone_order() {
            for ((_, name), kept) in self.of_type(*record_type) {
                if name.as_deref() == Some(member_id) {
                    fenced.push(CoordinatorRecord { key: kept.key.clone(), value: None });
                }
            }
        }
        if let Some(kept) = self.records.get(&(group_record, None)) {
            let value = records::next_group_epoch(self.kind, &kept.value, last)?;
            fenced.push(CoordinatorRecord { key: kept.key.clone(), value: Some(value) });
        }
        Ok(fenced)
    }

    /// The tombstones that delete the group.
    pub(crate) fn tombstones(&self) -> Vec<CoordinatorRecord> {
        let order = self.kind.tombstone_order();
        order.iter().flat_map(|t| self.of_type(*t)).map(|(_, kept)| CoordinatorRecord { key: kept.key.clone(), value: None }).collect()
    }

    pub(crate) fn validate_offset_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        epoch: i32,
        transactional: bool,
        api_version: i16,
    ) -> Result<(), ErrorCode> {
        if self.kind == Kind::Share {
            return Err(ErrorCode::GroupIdNotFound);
        }
        if epoch < 0 && self.is_empty() {
            return Ok(());
        }
        if transactional && epoch == -1 && member_id.is_empty() && instance_id.is_none() {
            return Ok(());
        }
        if !self.has_member(member_id) {
            return Err(ErrorCode::UnknownMemberId);
        }
        if !transactional && api_version < 9 {
            return Err(ErrorCode::UnsupportedVersion);
        }
        self.validate_epoch(member_id, epoch)
    }

    pub(crate) fn validate_offset_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        if self.kind == Kind::Share {
            return Err(ErrorCode::GroupIdNotFound);
        }
        let Some(member_id) = member_id else {
            return if epoch < 0 { Ok(()) } else { Err(ErrorCode::UnknownMemberId) };
        };
        if !self.has_member(member_id) {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.validate_epoch(member_id, epoch)
    }

    fn validate_epoch(&self, member_id: &str, epoch: i32) -> Result<(), ErrorCode> {
        let current = self.current(member_id).map_or(0, |(epoch, _)| epoch);
        if epoch == current { Ok(()) } else { Err(ErrorCode::StaleMemberEpoch) }
    }
}
