//! Owns: reading Java `.properties` files named on a command line.

use std::collections::BTreeMap;

use crate::failure::Failure;

/// The file's keys and values; Java's escapes and continuation lines are understood.
pub fn load(path: &str) -> Result<BTreeMap<String, String>, Failure> {
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::new(format!("{path}\njava.nio.file.NoSuchFileException: {path}")),
        _ => Failure::new(format!("{path}: {error}")),
    })?;
    config::properties::parse(&bytes).map_err(|problem| Failure::new(format!("{path}: {problem}")))
}
