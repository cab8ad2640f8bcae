//! `kafka-storage`: formats data directories and tells what is in them. Kafka counterpart: StorageTool.
//! What a formatted directory holds is decided by the same code that `gregor start` formats with; here are flags and words.

mod format;

pub(super) use format::name_and_level;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use base::Uuid;
use metadata::features::{self, Feature, MetadataVersion};

use crate::argparse4j::{Level, Program};
use crate::failure::Failure;
use crate::out::say;
use crate::properties;

const PROGRAM: Program = Program {
    name: "kafka-storage",
    top: Level::new("", include_str!("../../help/kafka-storage.txt")),
    commands: &[
        Level { required: &["--config"], ..Level::new("info", include_str!("../../help/kafka-storage-info.txt")) },
        Level {
            required: &["--config", "--cluster-id"],
            exclusive: &["--standalone", "--no-initial-controllers", "--initial-controllers"],
            ..Level::new("format", include_str!("../../help/kafka-storage-format.txt"))
        },
        Level::new("version-mapping", include_str!("../../help/kafka-storage-version-mapping.txt")),
        Level {
            required: &["--feature"],
            ..Level::new("feature-dependencies", include_str!("../../help/kafka-storage-feature-dependencies.txt"))
        },
        Level::new("random-uuid", include_str!("../../help/kafka-storage-random-uuid.txt")),
    ],
    from_file: true,
};

/// The order in which Kafka lists features.
pub(super) const LISTED: [&str; 6] = [
    features::KRAFT_VERSION,
    features::TRANSACTION_VERSION,
    features::GROUP_VERSION,
    features::ELR_VERSION,
    features::SHARE_VERSION,
    features::STREAMS_VERSION,
];

pub fn run(args: &[String]) -> Result<(), Failure> {
    let parsed = PROGRAM.parse(args)?;
    if let Some(file) = parsed.value("config").filter(|file| !Path::new(file).exists()) {
        return Err(uncaught("java.nio.file.NoSuchFileException", file));
    }
    match parsed.command {
        "info" => info(&Node::read(parsed.value("config").unwrap_or_default())?),
        "format" => format::run(&parsed),
        "version-mapping" => version_mapping(parsed.value("release-version")),
        "feature-dependencies" => parsed.values("feature").iter().try_for_each(|word| feature_dependencies(word)),
        _ => {
            say!("{}", Uuid::random(&mut fastrand::Rng::new()));
            Ok(())
        }
    }
}

/// What the configuration file says about directories and roles.
struct Node {
    directories: BTreeSet<String>,
    is_kraft: bool,
}

impl Node {
    fn read(file: &str) -> Result<Self, Failure> {
        let properties = properties::load(file)?;
        let get = |name: &str| properties.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let dirs = get("log.dirs").or_else(|| get("log.dir")).unwrap_or("/tmp/kafka-logs");
        let mut directories: BTreeSet<String> = dirs.split(',').map(|dir| dir.trim().to_owned()).filter(|dir| !dir.is_empty()).collect();
        directories.extend(get("metadata.log.dir").map(str::to_owned));
        Ok(Node { directories, is_kraft: get("process.roles").is_some() })
    }
}

fn info(node: &Node) -> Result<(), Failure> {
    let mut problems = Vec::new();
    let mut found = Vec::new();
    let mut previous: Option<BTreeMap<String, String>> = None;
    for directory in &node.directories {
        let path = Path::new(directory);
        if !path.is_dir() {
            problems.push(format!("{directory} {}", if path.exists() { "is not a directory" } else { "does not exist" }));
            continue;
        }
        found.push(directory);
        let meta_path = path.join("meta.properties");
        if !meta_path.exists() {
            problems.push(format!("{directory} is not formatted."));
            continue;
        }
        match read_meta(&meta_path) {
            Err(text) => problems.push(format!("Error loading {}: {text}", meta_path.display())),
            Ok(meta) => match &previous {
                None => previous = Some(meta),
                Some(first) if first.get("cluster.id") != meta.get("cluster.id") => {
                    problems.push("Mismatched cluster IDs between storage directories.".into());
                }
                Some(first) if first.get("node.id") != meta.get("node.id") => {
                    problems.push("Mismatched node IDs between storage directories.".into());
                }
                Some(_) => {}
            },
        }
    }
    if let Some(meta) = &previous {
        let legacy = meta.get("version").is_some_and(|version| version == "0");
        if node.is_kraft && legacy {
            problems.push(
                "The kafka configuration file appears to be for a cluster in KRaft mode, but the directories are formatted for legacy mode."
                    .into(),
            );
        } else if !node.is_kraft && !legacy {
            problems.push(
                "The kafka configuration file appears to be for a legacy cluster, but the directories are formatted for a cluster in KRaft mode."
                    .into(),
            );
        }
    }
    if node.directories.is_empty() {
        say!("No directories specified.");
        return Ok(());
    }
    if !found.is_empty() {
        say!("Found log {}:", if found.len() == 1 { "directory" } else { "directories" });
        found.iter().for_each(|directory| say!("  {directory}"));
        say!();
    }
    if let Some(meta) = previous {
        let pairs: Vec<String> = meta.iter().map(|(key, value)| format!("{key}={value}")).collect();
        say!("Found metadata: {{{}}}\n", pairs.join(", "));
    }
    if problems.is_empty() {
        return Ok(());
    }
    say!("Found problem{}:", if problems.len() == 1 { "" } else { "s" });
    problems.iter().for_each(|problem| say!("  {problem}"));
    say!();
    Err(Failure::Status(1))
}

/// The properties of a meta.properties that Kafka understands.
fn read_meta(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let mut meta = match properties::load(&path.to_string_lossy()) {
        Ok(meta) => meta,
        Err(Failure::Message(text)) => return Err(text),
        Err(_) => return Err("unreadable".into()),
    };
    match meta.get("version").map(String::as_str) {
        Some("0" | "1") => {}
        Some(other) => return Err(format!("Unknown meta.properties version number {other}")),
        None => return Err("No version property found".into()),
    }
    meta.retain(|key, _| ["version", "cluster.id", "node.id", "broker.id", "directory.id"].contains(&key.as_str()));
    Ok(meta)
}

/// A version for a node that may run released ones only.
fn released_version(text: &str) -> Result<MetadataVersion, Failure> {
    production_version(text).map_err(|failure| match failure {
        Failure::Message(text) => Failure::new(text.trim_end_matches(UNRELEASED)),
        other => other,
    })
}

/// What Apache's list of versions ends with where versions in development are allowed.
const UNRELEASED: &str = ", 4.4-IV0";

/// An exception that nobody catches.
fn uncaught(class: &str, text: &str) -> Failure {
    Failure::new(format!("Exception in thread \"main\" {class}: {text}"))
}

pub(super) fn production_version(text: &str) -> Result<MetadataVersion, Failure> {
    MetadataVersion::from_version_string(text).ok_or_else(|| {
        let range = MetadataVersion::MINIMUM.level()..=MetadataVersion::LATEST_PRODUCTION.level();
        let known: Vec<&str> = range.filter_map(MetadataVersion::from_level).map(MetadataVersion::name).collect();
        Failure::new(format!("Unknown metadata.version '{text}'. Supported metadata.version are: {}{UNRELEASED}", known.join(", ")))
    })
}

pub(super) fn version_mapping(release: Option<&str>) -> Result<(), Failure> {
    let text = release.unwrap_or(MetadataVersion::LATEST_PRODUCTION.name());
    let version = production_version(text)?;
    say!("metadata.version={} ({text})", version.level());
    for name in LISTED {
        say!("{name}={}", default_level(name, version));
    }
    Ok(())
}

/// The level a feature gets in a cluster of this release (`Feature.defaultLevel`), from the bootstrap version of each level.
pub(super) fn default_level(name: &str, version: MetadataVersion) -> i16 {
    let since: &[i16] = match name {
        features::KRAFT_VERSION => &[21],
        features::TRANSACTION_VERSION => &[24, 24],
        features::GROUP_VERSION => &[22],
        features::ELR_VERSION => &[26],
        features::SHARE_VERSION => &[28],
        features::STREAMS_VERSION => &[28],
        _ => &[],
    };
    since.iter().filter(|level| **level <= version.level()).count() as i16
}

pub(super) fn feature_dependencies(word: &str) -> Result<(), Failure> {
    let Some((name, level)) = word.split_once('=') else {
        return Err(Failure::new(format!("Invalid feature format: {word}. Expected format: 'feature=version' (e.g. 'group.version=1')")));
    };
    let (name, text) = (name.trim(), level.trim());
    let level: i16 = text.parse().map_err(|_| Failure::new(format!("Invalid version format: {text} for feature {name}")))?;
    if name == MetadataVersion::FEATURE_NAME {
        let version = MetadataVersion::from_level(level).ok_or_else(|| Failure::new(format!("Unknown metadata.version {level}")))?;
        say!("{name}={level} ({version}) has no dependencies.");
        return Ok(());
    }
    let known: &Feature = features::feature(name).ok_or_else(|| Failure::new(format!("Unknown feature: {name}")))?;
    if !(known.min..=known.max).contains(&level) {
        return Err(Failure::new(format!("Feature level {level} is not supported for feature {name}")));
    }
    match (name, level) {
        (features::ELR_VERSION, 1) => say!("{name}={level} requires:\n    metadata.version=23 (4.0-IV1)"),
        _ => say!("{name}={level} has no dependencies."),
    }
    Ok(())
}
