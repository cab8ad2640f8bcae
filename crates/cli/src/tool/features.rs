//! `kafka-features`: shows and changes the feature levels of a cluster. Kafka counterpart: FeatureCommand.

use std::collections::BTreeMap;

use client::{Admin, Error};
use metadata::features::MetadataVersion;
use wire::ErrorCode;
use wire::messages::UpdateFeaturesRequest;
use wire::messages::update_features_request::FeatureUpdateKey;

use super::storage::{self, name_and_level};
use crate::argparse4j::{Level, Parsed, Program, Stop};
use crate::failure::Failure;
use crate::java::{exception_text, hash_map_order, string_hash};
use crate::out::{complain_part, say};
use crate::session;

const PROGRAM: Program = Program {
    name: "kafka-features",
    top: Level {
        exclusive: &["--bootstrap-server", "--bootstrap-controller"],
        ..Level::new("", include_str!("../help/kafka-features.txt"))
    },
    commands: &[
        Level { integers: &["--node-id"], ..Level::new("describe", include_str!("../help/kafka-features-describe.txt")) },
        Level::new("upgrade", include_str!("../help/kafka-features-upgrade.txt")),
        Level::new("downgrade", include_str!("../help/kafka-features-downgrade.txt")),
        Level::new("disable", include_str!("../help/kafka-features-disable.txt")),
        Level::new("version-mapping", include_str!("../help/kafka-features-version-mapping.txt")),
        Level {
            required: &["--feature"],
            ..Level::new("feature-dependencies", include_str!("../help/kafka-features-feature-dependencies.txt"))
        },
    ],
    from_file: false,
};

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

pub fn run(args: &[String]) -> Result<(), Failure> {
    let bad_line = |message: &str| {
        complain_part!("Command line error: {message}. Type --help for help.");
        Failure::Status(1)
    };
    let parsed = PROGRAM.parse_or_stop(args).map_err(|stop| match stop {
        Stop::Help | Stop::Version => Failure::Status(0),
        Stop::Error(error) => bad_line(&error.message),
    })?;
    match parsed.command {
        "version-mapping" => return storage::version_mapping(parsed.value("release-version")),
        "feature-dependencies" => return parsed.values("feature").iter().try_for_each(|word| dependencies(word)),
        _ => {}
    }
    let config = session::bootstrap_config(&parsed, "command-config")?;
    if !parsed.has("bootstrap-server") && !parsed.has("bootstrap-controller") {
        return Err(bad_line("You must specify either --bootstrap-controller or --bootstrap-server."));
    }
    session::block_on(async {
        let admin = session::admin(config)?;
        match parsed.command {
            "describe" => describe(&admin, parsed.integer("node-id")).await,
            operation => {
                let updates = updates(operation, &parsed)?;
                update(&admin, operation, updates, upgrade_type(operation, &parsed), parsed.has("dry-run")).await
            }
        }
    })
}

fn dependencies(word: &str) -> Result<(), Failure> {
    let (name, level) = name_and_level(word)?;
    // The words for a level that is not there differ from those of kafka-storage.
    if name != MetadataVersion::FEATURE_NAME
        && metadata::features::feature(&name).is_some_and(|feature| !(feature.min..=feature.max).contains(&level))
    {
        return Err(Failure::new(format!("No feature:{name} with feature level {level}")));
    }
    storage::feature_dependencies(&format!("{name}={level}"))
}

fn upgrade_type(operation: &str, parsed: &Parsed) -> i8 {
    match (operation, parsed.has("unsafe")) {
        ("upgrade", _) => UPGRADE,
        (_, false) => SAFE_DOWNGRADE,
        (_, true) => UNSAFE_DOWNGRADE,
    }
}

/// metadata.version is shown by its name.
fn shown_level(feature: &str, level: i16) -> String {
    if feature != MetadataVersion::FEATURE_NAME {
        return level.to_string();
    }
    MetadataVersion::from_level(level).map_or(format!("UNKNOWN {level}"), |version| version.name().to_owned())
}

async fn describe(admin: &Admin, node: Option<i32>) -> Result<(), Failure> {
    if let Some(node) = node.filter(|node| *node < 0) {
        return Err(Failure::new(format!("Invalid node id {node}: must be non-negative.")));
    }
    let versions = admin.api_versions(node).await.map_err(|error| Failure::new(exception_text(&error)))?;
    let epoch = match versions.finalized_features_epoch {
        epoch if epoch >= 0 => epoch.to_string(),
        _ => "-".to_owned(),
    };
    let mut supported = versions.supported_features;
    supported.sort_by(|a, b| a.name.cmp(&b.name));
    for feature in supported {
        let finalized = versions.finalized_features.iter().find(|found| found.name == feature.name);
        let level = finalized.map_or(0, |found| found.max_version_level);
        let shown = |level: i16| shown_level(&feature.name, level);
        say!(
            "Feature: {:40}  SupportedMinVersion: {:15}  SupportedMaxVersion: {:15}  FinalizedVersionLevel: {:15}  Epoch: {epoch}",
            feature.name,
            shown(feature.min_version),
            shown(feature.max_version),
            shown(level),
        );
    }
    Ok(())
}

/// The features to change and the levels to give them.
fn updates(operation: &str, parsed: &Parsed) -> Result<BTreeMap<String, i16>, Failure> {
    let mut updates = BTreeMap::new();
    let twice = |name: &str| Failure::new(format!("Feature {name} was specified more than once."));
    if operation == "disable" {
        for name in parsed.values("feature") {
            if updates.insert(name.clone(), 0).is_some() {
                return Err(twice(name));
            }
        }
        return Ok(updates);
    }
    if let Some(release) = parsed.value("release-version") {
        if parsed.has("metadata") || parsed.has("feature") {
            return Err(Failure::new("Can not specify `release-version` with other feature flags."));
        }
        let version = storage::production_version(release)?;
        updates.insert(MetadataVersion::FEATURE_NAME.to_owned(), version.level());
        for name in storage::LISTED {
            let level = storage::default_level(name, version);
            // Upgrading something to 0 is nothing.
            if operation != "upgrade" || level > 0 {
                updates.insert(name.to_owned(), level);
            }
        }
        return Ok(updates);
    }
    if let Some(release) = parsed.value("metadata") {
        say!(" `metadata` flag is deprecated and may be removed in a future release.");
        updates.insert(MetadataVersion::FEATURE_NAME.to_owned(), storage::production_version(release)?.level());
    }
    for word in parsed.values("feature") {
        let (name, level) = name_and_level(word)?;
        if updates.insert(name.clone(), level).is_some() {
            return Err(twice(&name));
        }
    }
    Ok(updates)
}

async fn update(admin: &Admin, operation: &str, updates: BTreeMap<String, i16>, upgrade_type: i8, dry_run: bool) -> Result<(), Failure> {
    if updates.is_empty() {
        return Err(Failure::new(format!("You must specify at least one feature to {operation}")));
    }
    if updates.keys().any(|name| name.trim().is_empty()) {
        return Err(Failure::new("Provided feature can not be empty."));
    }
    let failures = failures(admin, &updates, upgrade_type, dry_run).await;
    let mut failed = 0;
    for (name, level) in &updates {
        match failures.get(name) {
            Some(error) => {
                failed += 1;
                let target = if operation == "disable" { String::new() } else { format!(" to {level}") };
                say!("{} {operation} {name}{target}. {error}", if dry_run { "Can not" } else { "Could not" });
            }
            None => {
                let done = if operation == "disable" { "disabled.".to_owned() } else { format!("{operation}d to {level}.") };
                say!("{name} {} {done}", if dry_run { "can be" } else { "was" });
            }
        }
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::new(format!("{failed} out of {} operation(s) failed.", updates.len()))),
    }
}

/// What could not be changed and why.
async fn failures(admin: &Admin, updates: &BTreeMap<String, i16>, upgrade_type: i8, validate_only: bool) -> BTreeMap<String, Error> {
    let all = |error: Error| updates.keys().map(|name| (name.clone(), error.clone())).collect();
    // The order in which Java's map hands them out decides which one a controller finds wrong first.
    let ordered = hash_map_order(updates.iter().collect(), 16, |(name, _)| string_hash(name));
    let feature_updates = ordered.into_iter().map(|(name, level)| FeatureUpdateKey {
        feature: name.clone(),
        max_version_level: *level,
        upgrade_type,
        ..Default::default()
    });
    let timeout_ms = i32::try_from(admin.timeout().as_millis()).unwrap_or(i32::MAX);
    let request = UpdateFeaturesRequest { timeout_ms, feature_updates: feature_updates.collect(), validate_only, ..Default::default() };
    let response = match admin.controller(request).await {
        Ok(response) => response,
        Err(error) => return all(error),
    };
    if response.error_code != 0 {
        return all(Error::broker(ErrorCode::from_code(response.error_code), response.error_message));
    }
    let refused = response.results.into_iter().filter(|result| result.error_code != 0);
    refused.map(|result| (result.feature, Error::broker(ErrorCode::from_code(result.error_code), result.error_message))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updates_of(line: &str) -> Result<BTreeMap<String, i16>, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let Ok(parsed) = PROGRAM.parse(&words) else { return Err("unparsed".to_owned()) };
        updates(parsed.command, &parsed).map_err(|failure| match failure {
            Failure::Message(text) => text,
            _ => "other".to_owned(),
        })
    }

    #[test]
    fn releases_and_features() {
        let release = updates_of("upgrade --release-version 4.0").unwrap_or_default();
        assert_eq!(release.get("metadata.version"), Some(&25));
        assert!(!release.contains_key("share.version"));
        assert_eq!(updates_of("disable --feature a --feature a").err().as_deref(), Some("Feature a was specified more than once."));
        assert!(updates_of("upgrade --feature a").err().is_some_and(|text| text.contains("equals sign not found")));
        assert!(updates_of("upgrade --release-version 4.0 --feature a=1").is_err());
    }

    #[test]
    fn levels_are_named() {
        assert_eq!(shown_level("metadata.version", 30), "4.3-IV0");
        assert_eq!(shown_level("metadata.version", 0), "UNKNOWN 0");
        assert_eq!(shown_level("share.version", 1), "1");
    }
}
