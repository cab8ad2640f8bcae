//! `meta.properties`, which tells whose directory this is. Kafka: `MetaProperties`, `MetaPropertiesEnsemble`.

use crate::StartError;
use base::Uuid;
use base::disk::Disk;
use std::io;
use std::path::Path;

pub const FILE: &str = "meta.properties";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    pub cluster_id: String,
    pub node_id: i32,
    /// Absent in directories that were formatted before Kafka 3.7.
    pub directory_id: Option<Uuid>,
}

impl MetaProperties {
    /// `None` when the directory, or the file in it, is not there.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<MetaProperties>, StartError> {
        let path = dir.join(FILE);
        let bytes = match disk.read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(StartError::Disk(format!("cannot read {}: {e}; check its permissions", path.display()))),
        };
        Self::parse(&bytes).map(Some).map_err(|why| StartError::Disk(format!("{} cannot be used: {why}", path.display())))
    }

    fn parse(bytes: &[u8]) -> Result<MetaProperties, String> {
        let props = config::properties::parse(bytes)?;
        match props.get("version").map(|v| v.trim()) {
            Some("1") => {}
            Some("0") => {
                return Err("version 0 belongs to ZooKeeper mode; migrate the cluster to KRaft with Kafka 3.9 first".into());
            }
            Some(other) => return Err(format!("version {other} is not known; only 1 is")),
            None => return Err("it has no version; restore the file from a backup".into()),
        }
        let cluster_id =
            props.get("cluster.id").map(|v| v.trim().to_owned()).ok_or("it has no cluster.id; restore the file from a backup")?;
        let node_id = props.get("node.id").ok_or("it has no node.id; restore the file from a backup")?.trim();
        let node_id = node_id.parse().map_err(|_| format!("node.id is '{node_id}', which is no number"))?;
        let directory_id = match props.get("directory.id") {
            Some(text) => Some(text.trim().parse().map_err(|e| format!("directory.id: {e}"))?),
            None => None,
        };
        Ok(MetaProperties { cluster_id, node_id, directory_id })
    }

    pub fn write(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        let directory_id = self.directory_id.map(|id| format!("directory.id={id}\n")).unwrap_or_default();
        let text = format!("#\nversion=1\ncluster.id={}\nnode.id={}\n{directory_id}", escape(&self.cluster_id), self.node_id);
        disk.write_atomically(&dir.join(FILE), text.as_bytes())
    }
}

/// As `java.util.Properties.store` writes values.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for (i, c) in value.chars().enumerate() {
        if matches!(c, '\\' | '=' | ':' | '#' | '!') || (c == ' ' && i == 0) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_java_writes() {
        let text = "#\n#Sat Nov 21 01:53:23 UTC 2026\nnode.id=1\ndirectory.id=RyOeuY1WQvKUHaGZIDKYCA\nversion=1\ncluster.id=a\\:b\n";
        let meta = MetaProperties::parse(text.as_bytes()).unwrap();
        assert_eq!((meta.cluster_id.as_str(), meta.node_id), ("a:b", 1));
        assert_eq!(meta.directory_id.unwrap().to_string(), "RyOeuY1WQvKUHaGZIDKYCA");
    }

    #[test]
    fn refusals_name_the_problem() {
        let error = |text: &str| MetaProperties::parse(text.as_bytes()).unwrap_err();
        assert!(error("version=0\nbroker.id=1").contains("ZooKeeper"));
        assert!(error("").contains("no version"));
        assert!(error("version=1\ncluster.id=x\nnode.id=one").contains("no number"));
    }
}
