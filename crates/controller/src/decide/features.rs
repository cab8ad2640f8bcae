//! UpdateFeatures. Kafka: `FeatureControlManager`, `ConfigurationControlManager.updateFeatures`; KIP-584, KIP-778, KIP-1022.

use super::{Context, Decided, Decision};
use crate::seam::ControllerError;
use metadata::features::{self, ELR_VERSION, KRAFT_VERSION};
use metadata::{ConfigResource, MetadataVersion, Record, ResourceType, VersionRange};
use raft::KRaftVersion;
use wire::ErrorCode;
use wire::messages::update_features_request::FeatureUpdateKey;
use wire::messages::update_features_response::UpdatableFeatureResult;
use wire::messages::{ConfigRecord, FeatureLevelRecord, UpdateFeaturesRequest, UpdateFeaturesResponse};

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

pub fn update(ctx: &Context, request: &UpdateFeaturesRequest) -> Decided {
    let mut records = Vec::new();
    let mut kraft_version = None;
    for update in &request.feature_updates {
        match update_one(ctx, request, update) {
            Ok(record) => {
                records.extend(record);
                if update.feature == KRAFT_VERSION && update.max_version_level > ctx.head.features.kraft_version {
                    kraft_version = KRaftVersion::from_level(update.max_version_level).filter(|_| !request.validate_only);
                }
            }
            Err(error) => {
                let message = format!("The update failed for all features since the following feature had an error: {}", error.text());
                let response = UpdateFeaturesResponse { error_code: error.code.code(), error_message: Some(message), ..Default::default() };
                return Ok(Decision::answer(response));
            }
        }
    }
    if request.feature_updates.iter().any(|u| u.feature == ELR_VERSION && u.max_version_level > 0) {
        let mut safety = elr_safety_records(ctx);
        safety.append(&mut records);
        records = safety;
    }
    if request.validate_only {
        records.clear();
    }
    let named = |update: &FeatureUpdateKey| UpdatableFeatureResult {
        feature: update.feature.clone(),
        error_message: Some(ErrorCode::None.name().to_owned()),
        ..Default::default()
    };
    let results = if ctx.request.api_version <= 1 { request.feature_updates.iter().map(named).collect() } else { Vec::new() };
    let response = UpdateFeaturesResponse { error_message: None, results, ..Default::default() };
    Ok(Decision { kraft_version, ..Decision::atomic(records, response) })
}

fn update_one(ctx: &Context, request: &UpdateFeaturesRequest, update: &FeatureUpdateKey) -> Result<Option<Record>, ControllerError> {
    let (name, level) = (update.feature.as_str(), update.max_version_level);
    let invalid = |why: &str| {
        let message = format!("Invalid update version {level} for feature {name}. {why}");
        Err(ControllerError::new(ErrorCode::InvalidUpdateVersion, message))
    };
    if !(UPGRADE..=UNSAFE_DOWNGRADE).contains(&update.upgrade_type) {
        return invalid("The controller does not support the given upgrade type.");
    }
    let current = ctx.head.features.level(name);
    if level < 0 {
        return invalid("A feature version cannot be less than 0.");
    }
    if let Some(why) = reason_not_supported(ctx, name, level) {
        return invalid(&why);
    }
    if level < current && update.upgrade_type == UPGRADE {
        return invalid("Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.");
    }
    if level > current && update.upgrade_type != UPGRADE {
        return invalid("Can't downgrade to a newer version.");
    }
    match name {
        MetadataVersion::FEATURE_NAME => return update_metadata_version(ctx, level, update.upgrade_type),
        // It is in no metadata record; the answer waits for one that says nothing.
        KRAFT_VERSION if update.upgrade_type == UPGRADE => return Ok(Some(Record::NoOp(Default::default()))),
        KRAFT_VERSION if level == current => return Ok(None),
        KRAFT_VERSION => return invalid("Can't downgrade the version of this feature."),
        _ if features::feature(name).is_none() => return invalid(&format!("Feature {name} not found.")),
        _ => {}
    }
    let proposed = |feature: &str| {
        let updated = request.feature_updates.iter().find(|u| u.feature == feature).map(|u| u.max_version_level);
        updated.unwrap_or_else(|| ctx.head.features.level(feature))
    };
    if let Some((needed, minimum)) = dependency(name, level)
        && proposed(needed) < minimum
    {
        let why = format!("{name} could not be set to {level} because it depends on {needed} level {minimum}");
        return invalid(&why);
    }
    Ok(Some(FeatureLevelRecord { name: name.to_owned(), feature_level: level, ..Default::default() }.into()))
}

/// What a level of a feature needs of another one. Only ELR needs anything: records that 4.0-IV1 brought.
fn dependency(name: &str, level: i16) -> Option<(&'static str, i16)> {
    (name == ELR_VERSION && level > 0).then_some((MetadataVersion::FEATURE_NAME, 23))
}

/// Every registered node must support the level.
fn reason_not_supported(ctx: &Context, name: &str, level: i16) -> Option<String> {
    // What is not known is supported at level 0, that is, not at all.
    let local = features::feature(name).map_or(VersionRange { min: 0, max: 0 }, |f| VersionRange { min: f.min, max: f.max });
    if !local.contains(level) {
        return Some(reason(&format!("Local controller {}", ctx.settings.node_id), Some(local)));
    }
    let unsupported = |range: Option<&VersionRange>| !range.is_some_and(|r| r.contains(level)) && (level != 0 || range.is_some());
    for broker in ctx.head.cluster.brokers.values() {
        let range = broker.supported_features.get(name);
        if unsupported(range) {
            return Some(reason(&format!("Broker {}", broker.id), range.copied()));
        }
    }
    for controller in ctx.head.cluster.controllers.values().filter(|c| c.id != ctx.settings.node_id) {
        let range = controller.supported_features.get(name);
        if unsupported(range) {
            return Some(reason(&format!("Controller {}", controller.id), range.copied()));
        }
    }
    None
}

fn reason(who: &str, range: Option<VersionRange>) -> String {
    match range.unwrap_or(VersionRange { min: 0, max: 0 }) {
        VersionRange { max: 0, .. } => format!("{who} does not support this feature."),
        VersionRange { min, max } if min == max => format!("{who} only supports versions {min}"),
        VersionRange { min, max } => format!("{who} only supports versions {min}-{max}"),
    }
}

fn update_metadata_version(ctx: &Context, level: i16, upgrade_type: i8) -> Result<Option<Record>, ControllerError> {
    let invalid = |message: String| Err(ControllerError::new(ErrorCode::InvalidUpdateVersion, message));
    let current = ctx.head.metadata_version();
    let Some(new) = MetadataVersion::from_level(level) else {
        return invalid(format!("Invalid metadata.version {level}. Valid versions are from 7 to 30."));
    };
    if new < current && MetadataVersion::metadata_changed_between(new, current) {
        let why = match upgrade_type {
            SAFE_DOWNGRADE => "Refusing to perform the requested downgrade because it might delete metadata information.",
            _ => "Unsafe metadata downgrade is not supported in this version.",
        };
        let message = format!("Unsupported metadata.version downgrade from {} to {}. {why}", current.level(), new.level());
        return invalid(message);
    }
    let name = MetadataVersion::FEATURE_NAME.to_owned();
    Ok(Some(FeatureLevelRecord { name, feature_level: level, ..Default::default() }.into()))
}

/// With ELR there is one min.insync.replicas for all brokers.
fn elr_safety_records(ctx: &Context) -> Vec<Record> {
    const KEY: &str = "min.insync.replicas";
    let config = |resource_name: String, value: Option<String>| {
        Record::from(ConfigRecord {
            resource_type: ResourceType::BROKER.0,
            resource_name,
            name: KEY.to_owned(),
            value,
            ..Default::default()
        })
    };
    let mut records = Vec::new();
    if ctx.head.configs.value(&ConfigResource::default_broker(), KEY).is_none() {
        records.push(config(String::new(), ctx.settings.broker.value(KEY).to_text()));
    }
    for (resource, entries) in ctx.head.configs.iter() {
        if resource.type_ == ResourceType::BROKER && !resource.name.is_empty() && entries.contains_key(KEY) {
            records.push(config(resource.name.clone(), None));
        }
    }
    records
}
