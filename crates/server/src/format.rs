//! Formatting: turns empty directories into the log directories of one node. `gregor start` does it for an empty data directory,
//! `kafka-storage format` on request. Kafka: `Formatter`, `BootstrapMetadata`, `StorageTool`.

use crate::meta_properties::MetaProperties;
use base::Uuid;
use base::disk::Disk;
use metadata::{Feature, MetadataVersion, Record, features};
use raft::{KRaftVersion, ReplicaKey, Voter, VoterSet, snapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use wire::messages::FeatureLevelRecord;

/// Where the voters of the metadata log come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// controller.quorum.voters (kraft.version 0).
    Static,
    /// `--standalone`: this node alone, at these controller endpoints (kraft.version 1, as below).
    Standalone { endpoints: Vec<raft::Endpoint> },
    /// `--initial-controllers`
    Initial(VoterSet),
    /// `--no-initial-controllers`: the node joins later.
    JoinsLater,
}

#[derive(Clone, Debug)]
pub struct FormatOptions {
    pub cluster_id: String,
    pub node_id: i32,
    /// All log directories, the metadata directory included.
    pub directories: BTreeSet<String>,
    pub metadata_directory: String,
    /// `--release-version`; the latest without it.
    pub release_version: Option<MetadataVersion>,
    /// `--feature NAME=LEVEL`
    pub features: BTreeMap<String, i16>,
    pub quorum: Quorum,
    /// Further bootstrap records: credentials of `--add-scram`.
    pub extra_records: Vec<Record>,
    pub ignore_formatted: bool,
}

/// Texts are those of Kafka's tool where it has one.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("{0}")]
    Refused(String),
    #[error("cannot format {dir}: {error}; check that the directory can be written and the disk is not full")]
    Io { dir: String, error: io::Error },
}

/// Formats those directories that are empty; returns what Kafka's tool prints.
pub fn format(disk: &dyn Disk, options: &FormatOptions, rng: &mut fastrand::Rng, now_ms: i64) -> Result<Vec<String>, FormatError> {
    let refused = |text: String| Err(FormatError::Refused(text));
    if options.node_id < 0 {
        return refused("You must specify a valid non-negative node ID.".into());
    }
    if options.directories.is_empty() {
        return refused("You must specify at least one directory to format".into());
    }
    let version = release_version(options)?;
    let levels = feature_levels(options, version)?;
    let records = bootstrap_records(options, version, &levels)?;

    let mut taken = BTreeSet::new();
    let mut empty = Vec::new();
    for dir in &options.directories {
        match MetaProperties::read(disk, Path::new(dir)).map_err(|e| FormatError::Refused(e.to_string()))? {
            Some(meta) => {
                check_same_node(options, dir, &meta)?;
                if !options.ignore_formatted {
                    return refused(format!(
                        "Log directory {dir} is already formatted. Use --ignore-formatted to ignore this directory and format the others."
                    ));
                }
                taken.extend(meta.directory_id);
            }
            None => empty.push(dir),
        }
    }
    if empty.is_empty() {
        return Ok(vec!["All of the log directories are already formatted.".into()]);
    }
    let mut lines = vec![describe(&records, version)];
    let values = records.iter().map(|record| record.encode(version)).collect::<Result<Vec<_>, _>>();
    let values = values.map_err(|e| FormatError::Refused(e.to_string()))?;
    for dir in empty {
        let holds_metadata = *dir == options.metadata_directory;
        let voters = if holds_metadata { Voters::of(options) } else { Voters::None };
        let directory_id = match &voters {
            Voters::Listed { own: Some(id), .. } => *id,
            _ => fresh_id(rng, &mut taken),
        };
        let kind = match (holds_metadata, &voters) {
            (false, _) => "data directory",
            (true, Voters::None) => "metadata directory",
            (true, Voters::Listed { own: None, .. }) => "dynamic metadata directory",
            (true, _) => "dynamic metadata voter directory",
        };
        lines.push(format!("Formatting {kind} {dir} with {} {version}.", MetadataVersion::FEATURE_NAME));
        let voters = voters.with_own_directory(options.node_id, directory_id);
        write_directory(disk, options, dir, directory_id, &values, voters.as_ref(), now_ms)
            .map_err(|error| FormatError::Io { dir: dir.clone(), error })?;
    }
    Ok(lines)
}

enum Voters<'a> {
    None,
    Alone(&'a [raft::Endpoint]),
    Listed { voters: &'a VoterSet, own: Option<Uuid> },
}

impl<'a> Voters<'a> {
    fn of(options: &'a FormatOptions) -> Voters<'a> {
        match &options.quorum {
            Quorum::Static | Quorum::JoinsLater => Voters::None,
            Quorum::Standalone { endpoints } => Voters::Alone(endpoints),
            Quorum::Initial(voters) => Voters::Listed { voters, own: voters.get(options.node_id).and_then(|voter| voter.key.directory_id) },
        }
    }

    fn with_own_directory(self, node_id: i32, directory_id: Uuid) -> Option<VoterSet> {
        match self {
            Voters::None => None,
            Voters::Listed { voters, .. } => Some(voters.clone()),
            Voters::Alone(endpoints) => Some(VoterSet::new([Voter {
                key: ReplicaKey::new(node_id, directory_id),
                endpoints: endpoints.to_vec(),
                kraft_versions: (0, KRaftVersion::LATEST.level()),
            }])),
        }
    }
}

/// meta.properties comes last: a directory without it counts as empty, so formatting can be repeated after a crash.
fn write_directory(
    disk: &dyn Disk,
    options: &FormatOptions,
    dir: &str,
    directory_id: Uuid,
    values: &[bytes::Bytes],
    voters: Option<&VoterSet>,
    now_ms: i64,
) -> io::Result<()> {
    let path = Path::new(dir);
    disk.create_dir_all(path)?;
    disk.write_atomically(&path.join(snapshot::BOOTSTRAP_FILE), &snapshot::encode_bootstrap(values, now_ms)?)?;
    if let Some(voters) = voters {
        let metadata_dir = path.join("__cluster_metadata-0");
        disk.create_dir_all(&metadata_dir)?;
        let checkpoint = metadata_dir.join(snapshot::file_name(snapshot::BOOTSTRAP_ID));
        disk.write_atomically(&checkpoint, &snapshot::encode_voters(voters, now_ms)?)?;
        disk.set_read_only(&checkpoint)?;
    }
    let meta = MetaProperties { cluster_id: options.cluster_id.clone(), node_id: options.node_id, directory_id: Some(directory_id) };
    meta.write(disk, path)
}

fn check_same_node(options: &FormatOptions, dir: &str, meta: &MetaProperties) -> Result<(), FormatError> {
    if meta.cluster_id != options.cluster_id {
        let (found, given) = (&meta.cluster_id, &options.cluster_id);
        return Err(FormatError::Refused(format!("Invalid cluster.id in: {dir}/meta.properties. Expected {given}, but read {found}")));
    }
    if meta.node_id != options.node_id {
        let (found, given) = (meta.node_id, options.node_id);
        return Err(FormatError::Refused(format!("Stored node id {found} doesn't match previous node id {given} in {dir}")));
    }
    Ok(())
}

fn release_version(options: &FormatOptions) -> Result<MetadataVersion, FormatError> {
    match (options.features.get(MetadataVersion::FEATURE_NAME), options.release_version) {
        (Some(_), Some(_)) => {
            let text = "Use --release-version instead of --feature metadata.version=X to avoid ambiguity.";
            Err(FormatError::Refused(text.into()))
        }
        (Some(level), None) => MetadataVersion::from_level(*level)
            .ok_or_else(|| FormatError::Refused(format!("No MetadataVersion with feature level {level}"))),
        (None, given) => Ok(given.unwrap_or(MetadataVersion::LATEST_PRODUCTION)),
    }
}

/// Levels of all features but metadata.version.
fn feature_levels(options: &FormatOptions, version: MetadataVersion) -> Result<BTreeMap<&'static str, i16>, FormatError> {
    let refused = |text: String| Err(FormatError::Refused(text));
    let known = || features::FEATURES.iter().filter(|f| f.name != MetadataVersion::FEATURE_NAME);
    for name in options.features.keys().filter(|name| *name != MetadataVersion::FEATURE_NAME) {
        if !known().any(|f| f.name == name) {
            let names: Vec<&str> = known().map(|f| f.name).collect();
            return refused(format!("Unsupported feature: {name}. Supported features are: {}", names.join(", ")));
        }
    }
    let dynamic = options.quorum != Quorum::Static;
    let mut levels = BTreeMap::new();
    for feature in known() {
        let asked = options.features.get(feature.name).copied();
        let level = if feature.name == features::KRAFT_VERSION {
            kraft_version(asked, dynamic)?
        } else {
            asked.unwrap_or_else(|| default_level(feature, version))
        };
        if !(feature.min..=feature.latest_production).contains(&level) {
            return refused(format!("No feature:{} with feature level {level}", feature.name));
        }
        if feature.name == features::ELR_VERSION && level > 0 && !version.supports_elr() {
            return refused(format!("{} could not be set to {level} because it depends on metadata.version level 23", feature.name));
        }
        levels.insert(feature.name, level);
    }
    Ok(levels)
}

fn kraft_version(asked: Option<i16>, dynamic: bool) -> Result<i16, FormatError> {
    match (asked, dynamic) {
        (Some(0), true) => Err(FormatError::Refused(
            "Cannot set kraft.version to 0 if controller.quorum.voters is empty and one of the flags --standalone, \
             --initial-controllers, or --no-initial-controllers is used. For dynamic controllers support, try removing the --feature flag \
             for kraft.version."
                .into(),
        )),
        (Some(level), false) if level != 0 => Err(FormatError::Refused(format!(
            "Cannot set kraft.version to {level} unless controller.quorum.voters is empty and one of the flags --standalone, \
             --initial-controllers, or --no-initial-controllers is used. For dynamic controllers support, try using one of --standalone, \
             --initial-controllers, or --no-initial-controllers and removing controller.quorum.voters."
        ))),
        (Some(level), _) => Ok(level),
        (None, dynamic) => Ok(i16::from(dynamic)),
    }
}

/// What a feature is set to in a new cluster of this metadata.version.
pub fn default_level(feature: &Feature, version: MetadataVersion) -> i16 {
    // The metadata.version from which on each level, beginning with 1, is the default.
    let since: &[i16] = match feature.name {
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

/// metadata.version first, then the other features that are switched on, by name.
fn bootstrap_records(
    options: &FormatOptions,
    version: MetadataVersion,
    levels: &BTreeMap<&'static str, i16>,
) -> Result<Vec<Record>, FormatError> {
    if !options.extra_records.is_empty() && !version.supports_scram() {
        return Err(FormatError::Refused("SCRAM is only supported in metadata.version 3.5-IV2 or later.".into()));
    }
    let switched_on = levels.iter().filter(|(name, level)| **name != features::KRAFT_VERSION && **level > 0);
    let metadata_version = (MetadataVersion::FEATURE_NAME, version.level());
    let named = std::iter::once(metadata_version).chain(switched_on.map(|(name, level)| (*name, *level)));
    let mut records: Vec<Record> = named
        .map(|(name, feature_level)| FeatureLevelRecord { name: name.to_owned(), feature_level, ..Default::default() }.into())
        .collect();
    records.extend(options.extra_records.iter().cloned());
    Ok(records)
}

fn fresh_id(rng: &mut fastrand::Rng, taken: &mut BTreeSet<Uuid>) -> Uuid {
    loop {
        let id = Uuid::random(rng);
        if taken.insert(id) {
            return id;
        }
    }
}

/// The tool's first line, with the records in the words of Java's `toString`.
fn describe(records: &[Record], version: MetadataVersion) -> String {
    let records: Vec<String> = records
        .iter()
        .map(|record| {
            let text = match record {
                Record::FeatureLevel(r) => format!("FeatureLevelRecord(name='{}', featureLevel={})", r.name, r.feature_level),
                // Credentials stay out of terminals and logs.
                Record::UserScramCredential(r) => {
                    format!(
                        "UserScramCredentialRecord(name='{}', mechanism={}, salt=(redacted), storedKey=(redacted), serverKey=(redacted), \
                         iterations={})",
                        r.name, r.mechanism, r.iterations
                    )
                }
                other => format!("{other:?}"),
            };
            format!("ApiMessageAndVersion({text} at version {})", record.version_for(version))
        })
        .collect();
    format!(
        "Bootstrap metadata: BootstrapMetadata(records=[{}], metadataVersionLevel={}, source=format command)",
        records.join(", "),
        version.level()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::disk::RealDisk;
    use raft::Endpoint;

    struct Dir(String);

    impl Dir {
        fn new(name: &str) -> Dir {
            let path = std::env::temp_dir().join(format!("gregor-format-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Dir(path.to_str().unwrap().to_owned())
        }

        fn read(&self, file: &str) -> bytes::Bytes {
            std::fs::read(Path::new(&self.0).join(file)).unwrap().into()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn options(dirs: &[&Dir], quorum: Quorum) -> FormatOptions {
        FormatOptions {
            cluster_id: "MkU3OEVBNTcwNTJENDM2Qg".into(),
            node_id: 1,
            directories: dirs.iter().map(|dir| dir.0.clone()).collect(),
            metadata_directory: dirs[0].0.clone(),
            release_version: None,
            features: BTreeMap::new(),
            quorum,
            extra_records: Vec::new(),
            ignore_formatted: false,
        }
    }

    fn run(options: &FormatOptions) -> Result<Vec<String>, String> {
        format(&RealDisk, options, &mut fastrand::Rng::with_seed(7), 1_700_000_000_000).map_err(|e| e.to_string())
    }

    #[test]
    fn standalone_as_kafkas_tool_does_it() {
        let (first, second) = (Dir::new("a"), Dir::new("b"));
        let endpoint = Endpoint { listener: "CONTROLLER".into(), host: "localhost".into(), port: 9093 };
        let options = options(&[&first, &second], Quorum::Standalone { endpoints: vec![endpoint] });
        let lines = run(&options).unwrap();
        assert!(lines[0].starts_with(
            "Bootstrap metadata: BootstrapMetadata(records=[ApiMessageAndVersion(FeatureLevelRecord(name='metadata.version', \
             featureLevel=30) at version 0), ApiMessageAndVersion(FeatureLevelRecord(name='eligible.leader.replicas.version', \
             featureLevel=1) at version 0), "
        ));
        assert!(lines[0].ends_with("metadataVersionLevel=30, source=format command)"));
        assert_eq!(lines[1], format!("Formatting dynamic metadata voter directory {} with metadata.version 4.3-IV0.", first.0));
        assert_eq!(lines[2], format!("Formatting data directory {} with metadata.version 4.3-IV0.", second.0));

        // Apache's file is 411 bytes too.
        assert_eq!(first.read("bootstrap.checkpoint").len(), 411);
        let content = snapshot::decode(&first.read("bootstrap.checkpoint")).unwrap();
        assert_eq!(content.values.len(), 6);
        let voters = snapshot::decode(&first.read("__cluster_metadata-0/00000000000000000000-0000000000.checkpoint")).unwrap();
        let own = MetaProperties::read(&RealDisk, Path::new(&first.0)).unwrap().unwrap();
        assert_eq!(voters.voters.unwrap().get(1).unwrap().key.directory_id, own.directory_id);
        assert_eq!((own.cluster_id.as_str(), own.node_id), ("MkU3OEVBNTcwNTJENDM2Qg", 1));
        assert!(!Path::new(&second.0).join("__cluster_metadata-0").exists());

        let again = run(&options).unwrap_err();
        assert_eq!(
            again,
            format!(
                "Log directory {} is already formatted. Use --ignore-formatted to ignore this directory and format the others.",
                first.0
            )
        );
        let ignoring = FormatOptions { ignore_formatted: true, ..options };
        assert_eq!(run(&ignoring).unwrap(), ["All of the log directories are already formatted."]);
        let other = FormatOptions { cluster_id: "other".into(), ..ignoring };
        assert!(run(&other).unwrap_err().starts_with("Invalid cluster.id in: "));
    }

    #[test]
    fn features_follow_the_release() {
        let dir = Dir::new("c");
        let mut options = options(&[&dir], Quorum::Static);
        options.release_version = MetadataVersion::from_version_string("4.0");
        let line = run(&options).unwrap().remove(0);
        assert!(line.contains("name='metadata.version', featureLevel=25"), "{line}");
        assert!(line.contains("name='group.version', featureLevel=1"), "{line}");
        assert!(!line.contains("share.version"), "{line}");
        assert!(!Path::new(&dir.0).join("__cluster_metadata-0").exists());
    }

    #[test]
    fn contradictions_are_refused() {
        let dir = Dir::new("d");
        let base = options(&[&dir], Quorum::Static);
        let with = |name: &str, level: i16| FormatOptions { features: [(name.to_owned(), level)].into(), ..base.clone() };
        assert!(run(&with("kraft.version", 1)).unwrap_err().starts_with("Cannot set kraft.version to 1 unless"));
        assert_eq!(run(&with("group.version", 9)).unwrap_err(), "No feature:group.version with feature level 9");
        assert!(run(&with("nonsense", 1)).unwrap_err().starts_with("Unsupported feature: nonsense. Supported features are: "));
        assert!(!Path::new(&dir.0).exists());
    }
}
