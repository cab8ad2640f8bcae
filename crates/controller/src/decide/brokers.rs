//! Registration, heartbeats, fencing and unregistering of brokers and controllers.
//! Kafka: `ClusterControlManager`, `ReplicationControlManager.processBrokerHeartbeat`; KIP-631, KIP-966.

use super::elections::{Shift, leader_and_isr_updates};
use super::{Context, Decided, Decision};
use crate::change::is_elr_enabled;
use crate::heartbeats::{BrokerControlState, Heartbeats};
use crate::seam::ControllerError;
use metadata::image::cluster::SupportedFeature;
use metadata::image::partition::directory_id;
use metadata::{Image, Listener, MetadataVersion, Record};
use std::collections::BTreeSet;
use wire::ErrorCode;
use wire::messages::broker_registration_request::Feature;
use wire::messages::*;

/// Refuses requests of an incarnation that is not the registered one.
pub fn check_broker_epoch(image: &Image, id: i32, epoch: i64) -> Result<(), ControllerError> {
    match image.cluster.broker(id) {
        None => Err(ControllerError::new(ErrorCode::StaleBrokerEpoch, format!("No broker registration found for broker id {id}"))),
        Some(broker) if broker.epoch != epoch => {
            let message = format!("Expected broker epoch {}, but got broker epoch {epoch}", broker.epoch);
            Err(ControllerError::new(ErrorCode::StaleBrokerEpoch, message))
        }
        Some(_) => Ok(()),
    }
}

pub fn register(ctx: &Context, request: &BrokerRegistrationRequest) -> Decided {
    if request.cluster_id != ctx.settings.cluster_id {
        let message = format!("Expected cluster ID {}, but got cluster ID {}", ctx.settings.cluster_id, request.cluster_id);
        return Err(ControllerError::new(ErrorCode::InconsistentClusterId, message));
    }
    let id = request.broker_id;
    let existing = ctx.head.cluster.broker(id);
    let same_incarnation = existing.is_some_and(|broker| broker.incarnation_id == request.incarnation_id);
    if let Some(broker) = existing
        && !same_incarnation
        && ctx.heartbeats.has_valid_session(id, broker.epoch, ctx.now)
    {
        let message = "Another broker is registered with that broker id. If the broker was recently restarted this should self-resolve \
                       once the heartbeat manager expires the broker's session.";
        return Err(ControllerError::new(ErrorCode::DuplicateBrokerRegistration, message));
    }
    if request.is_migrating_zk_broker {
        let message = "Controller does not support registering ZK brokers.";
        return Err(ControllerError::new(ErrorCode::BrokerIdNotRegistered, message));
    }
    let version = ctx.head.metadata_version();
    if version.supports_directory_assignment() {
        check_directories(ctx.head, request)?;
    }
    check_features(ctx, request)?;
    let mut records = Vec::new();
    let mut record = RegisterBrokerRecord {
        broker_id: id,
        incarnation_id: request.incarnation_id,
        rack: request.rack.clone(),
        end_points: request.listeners.iter().map(|l| (&Listener::from(l)).into()).collect(),
        features: request.features.iter().map(|f| SupportedFeature::from(f).into()).collect(),
        fenced: true,
        broker_epoch: ctx.next_offset,
        ..Default::default()
    };
    if version.supports_directory_assignment() {
        record.log_dirs = request.log_dirs.clone();
    }
    match existing {
        Some(broker) if same_incarnation => {
            record.fenced = broker.fenced;
            record.in_controlled_shutdown = broker.in_controlled_shutdown;
            record.broker_epoch = broker.epoch;
        }
        _ => {
            let clean = existing.map_or(-2, |broker| broker.epoch) == request.previous_broker_epoch;
            after_shutdown(ctx, id, clean, &mut records);
        }
    }
    let broker_epoch = record.broker_epoch;
    // Last, so that a controller failure in between leaves the clean-up to the next registration.
    records.push(record.into());
    Ok(Decision::in_parts(records, BrokerRegistrationResponse { broker_epoch, ..Default::default() }))
}

fn check_directories(image: &Image, request: &BrokerRegistrationRequest) -> Result<(), ControllerError> {
    let invalid = |message: String| Err(ControllerError::new(ErrorCode::InvalidRegistration, message));
    if request.log_dirs.is_empty() {
        return invalid("No directories specified in request".to_owned());
    }
    if request.log_dirs.iter().any(|id| directory_id::is_reserved(*id)) {
        return invalid("Reserved directory ID in request".to_owned());
    }
    if request.log_dirs.iter().collect::<BTreeSet<_>>().len() != request.log_dirs.len() {
        return invalid("Duplicate directory ID in request".to_owned());
    }
    for directory in &request.log_dirs {
        if let Some(owner) = image.cluster.owner_of_directory(*directory).filter(|owner| *owner != request.broker_id) {
            return invalid(format!("Broker {owner} is already registered with directory {directory}"));
        }
    }
    Ok(())
}

/// Every finalized feature must lie in the broker's range; what it does not list counts as 0 to 0.
fn check_features(ctx: &Context, request: &BrokerRegistrationRequest) -> Result<(), ControllerError> {
    let unlisted = |name: &str| Feature { name: name.to_owned(), ..Default::default() };
    let finalized = ctx.head.features.finalized();
    for feature in &request.features {
        let level = finalized.iter().find(|(name, _)| *name == feature.name).map_or(0, |(_, level)| *level);
        check_feature(feature, level)?;
    }
    if !request.features.iter().any(|f| f.name == MetadataVersion::FEATURE_NAME) {
        let message = format!("Request features do not contain '{}'", MetadataVersion::FEATURE_NAME);
        return Err(ControllerError::new(ErrorCode::InvalidRegistration, message));
    }
    for (name, level) in finalized.iter().filter(|(_, level)| *level != 0) {
        if !request.features.iter().any(|f| f.name == *name) {
            check_feature(&unlisted(name), *level)?;
        }
    }
    Ok(())
}

fn check_feature(feature: &Feature, level: i16) -> Result<(), ControllerError> {
    if (feature.min_supported_version..=feature.max_supported_version).contains(&level) {
        return Ok(());
    }
    let message = format!(
        "Unable to register because the broker does not support finalized version {level} of {}. The broker wants a version between {} \
         and {}, inclusive.",
        feature.name, feature.min_supported_version, feature.max_supported_version
    );
    Err(ControllerError::new(ErrorCode::UnsupportedVersion, message))
}

/// What the end of an earlier incarnation does to its partitions.
fn after_shutdown(ctx: &Context, id: i32, clean: bool, records: &mut Vec<Record>) {
    let shift = if is_elr_enabled(ctx.head) && !clean {
        Shift { unclean_shutdown: Some(id), ..Default::default() }
    } else {
        Shift { remove: Some(id), ..Default::default() }
    };
    leader_and_isr_updates(ctx, shift, records, |p| p.isr.contains(&id) || (shift.unclean_shutdown.is_some() && p.elr.contains(&id)));
}

pub fn register_controller(ctx: &Context, request: &ControllerRegistrationRequest) -> Decided {
    if !ctx.head.metadata_version().supports_controller_registration() {
        let message = "The current MetadataVersion is too old to support controller registrations.";
        return Err(ControllerError::new(ErrorCode::UnsupportedVersion, message));
    }
    let record = RegisterControllerRecord {
        controller_id: request.controller_id,
        incarnation_id: request.incarnation_id,
        zk_migration_ready: false,
        end_points: request.listeners.iter().map(|l| (&Listener::from(l)).into()).collect(),
        features: request.features.iter().map(|f| SupportedFeature::from(f).into()).collect(),
        ..Default::default()
    };
    Ok(Decision::atomic(vec![record.into()], ControllerRegistrationResponse::default()))
}

/// What a heartbeat also does to the soft state: the new fencing state and the reported offset.
pub struct Touch {
    pub broker: i32,
    pub fenced: bool,
    pub metadata_offset: i64,
    pub in_controlled_shutdown: bool,
    pub must_shut_down: bool,
}

/// `registered_at`: offset of the broker's registration record, which it must have replayed before it is unfenced.
pub fn heartbeat(ctx: &Context, request: &BrokerHeartbeatRequest, registered_at: i64) -> Result<(Decision, Touch), ControllerError> {
    let id = request.broker_id;
    check_broker_epoch(ctx.head, id, request.broker_epoch)?;
    let unknown = || ControllerError::new(ErrorCode::StaleBrokerEpoch, format!("No broker registration found for broker id {id}"));
    let current = ctx.heartbeats.current_state(id).ok_or_else(unknown)?;
    let caught_up = request.current_metadata_offset >= registered_at;
    let leads = || ctx.head.topics.iter().any(|topic| topic.partitions.values().any(|p| p.leader == id));
    let next = ctx.heartbeats.next_state(id, current, request.want_fence, request.want_shut_down, caught_up, leads);
    let mut records = Vec::new();
    if current != next {
        match next {
            BrokerControlState::Fenced | BrokerControlState::ShutdownNow => fence(ctx, id, request.broker_epoch, &mut records),
            BrokerControlState::Unfenced => unfence(ctx, id, request.broker_epoch, &mut records),
            BrokerControlState::ControlledShutdown => begin_controlled_shutdown(ctx, id, request.broker_epoch, &mut records),
        }
    }
    let version = ctx.head.metadata_version();
    if version.supports_directory_assignment() {
        take_directories_offline(ctx, id, request, &mut records);
    }
    if version.supports_cordoned_log_dirs() {
        cordon_directories(ctx, id, request, &mut records);
    }
    let fenced = matches!(next, BrokerControlState::Fenced | BrokerControlState::ShutdownNow);
    let touch = Touch {
        broker: id,
        fenced,
        metadata_offset: request.current_metadata_offset,
        in_controlled_shutdown: next == BrokerControlState::ControlledShutdown,
        must_shut_down: next == BrokerControlState::ShutdownNow,
    };
    let response = BrokerHeartbeatResponse {
        is_caught_up: caught_up,
        is_fenced: fenced,
        should_shut_down: next == BrokerControlState::ShutdownNow,
        ..Default::default()
    };
    Ok((Decision::in_parts(records, response), touch))
}

fn fence(ctx: &Context, id: i32, epoch: i64, records: &mut Vec<Record>) {
    let shift = Shift { remove: Some(id), ..Default::default() };
    leader_and_isr_updates(ctx, shift, records, |p| p.isr.contains(&id));
    let change = BrokerRegistrationChangeRecord { broker_id: id, broker_epoch: epoch, fenced: 1, ..Default::default() };
    records.push(change.into());
}

fn unfence(ctx: &Context, id: i32, epoch: i64, records: &mut Vec<Record>) {
    let change = BrokerRegistrationChangeRecord { broker_id: id, broker_epoch: epoch, fenced: -1, ..Default::default() };
    records.push(change.into());
    let shift = Shift { add: Some(id), ..Default::default() };
    leader_and_isr_updates(ctx, shift, records, |p| !p.has_leader());
}

fn begin_controlled_shutdown(ctx: &Context, id: i32, epoch: i64, records: &mut Vec<Record>) {
    if !ctx.head.cluster.broker(id).is_some_and(|broker| broker.in_controlled_shutdown) {
        let change = BrokerRegistrationChangeRecord { broker_id: id, broker_epoch: epoch, in_controlled_shutdown: 1, ..Default::default() };
        records.push(change.into());
    }
    let shift = Shift { remove: Some(id), ..Default::default() };
    leader_and_isr_updates(ctx, shift, records, |p| p.isr.contains(&id));
}

fn take_directories_offline(ctx: &Context, id: i32, request: &BrokerHeartbeatRequest, records: &mut Vec<Record>) {
    let Some(broker) = ctx.head.cluster.broker(id) else { return };
    let (offline, online): (Vec<_>, Vec<_>) = broker.directories.iter().copied().partition(|d| request.offline_log_dirs.contains(d));
    for directory in &offline {
        let shift = Shift { remove: Some(id), ..Default::default() };
        leader_and_isr_updates(ctx, shift, records, |p| p.directories.contains(directory));
    }
    if !offline.is_empty() {
        let change =
            BrokerRegistrationChangeRecord { broker_id: id, broker_epoch: request.broker_epoch, log_dirs: online, ..Default::default() };
        records.push(change.into());
    }
}

fn cordon_directories(ctx: &Context, id: i32, request: &BrokerHeartbeatRequest, records: &mut Vec<Record>) {
    // Null until the broker has caught up with the metadata.
    let (Some(broker), Some(cordoned)) = (ctx.head.cluster.broker(id), &request.cordoned_log_dirs) else { return };
    let set = |ids: &[base::Uuid]| ids.iter().copied().collect::<BTreeSet<_>>();
    if broker.cordoned_directories.as_deref().map(set) != Some(set(cordoned)) {
        let change = BrokerRegistrationChangeRecord {
            broker_id: id,
            broker_epoch: request.broker_epoch,
            cordoned_log_dirs: Some(cordoned.clone()),
            ..Default::default()
        };
        records.push(change.into());
    }
}

/// Fences a broker whose session has ended.
pub fn fence_stale(ctx: &Context, heartbeats: &Heartbeats, id: i32, epoch: i64) -> Vec<Record> {
    let mut records = Vec::new();
    let registered = ctx.head.cluster.broker(id).is_some_and(|broker| broker.epoch == epoch && !broker.fenced);
    if registered && !heartbeats.has_valid_session(id, epoch, ctx.now) {
        fence(ctx, id, epoch, &mut records);
    }
    records
}

pub fn unregister(ctx: &Context, request: &UnregisterBrokerRequest) -> Decided {
    let id = request.broker_id;
    let Some(broker) = ctx.head.cluster.broker(id) else {
        let message = format!("Broker ID {id} is not currently registered");
        return Err(ControllerError::new(ErrorCode::BrokerIdNotRegistered, message));
    };
    let mut records = Vec::new();
    let shift = Shift { remove: Some(id), ..Default::default() };
    leader_and_isr_updates(ctx, shift, &mut records, |p| p.isr.contains(&id) || p.elr.contains(&id));
    records.push(UnregisterBrokerRecord { broker_id: id, broker_epoch: broker.epoch, ..Default::default() }.into());
    Ok(Decision::in_parts(records, UnregisterBrokerResponse::default()))
}
