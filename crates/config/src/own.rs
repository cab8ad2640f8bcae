//! Keys that Kafka does not have. They stand in server.properties beside Kafka's, with names in its style; a server.properties without them
//! is complete. Apache Kafka ignores them with a warning. They are not shown by DescribeConfigs, whose answer is Kafka's to the key.

use crate::{ConfigDef, ConfigError, Props, Value};
use std::sync::LazyLock;

static DEF: LazyLock<ConfigDef> = LazyLock::new(|| ConfigDef::from_table(include_str!("tables/own.txt")));

/// All of Gregor's own keys.
pub fn def() -> &'static ConfigDef {
    &DEF
}

#[derive(Clone, Debug, PartialEq)]
pub struct OwnConfig {
    /// `log.dir.reserve.bytes`; negative: by the size of the disk.
    pub log_dir_reserve_bytes: i64,
    /// `log.dir.throttle.horizon.ms`; 0: producers are not slowed down.
    pub log_dir_throttle_horizon_ms: i64,
}

impl OwnConfig {
    pub(crate) fn from_props(props: &Props) -> Result<Self, ConfigError> {
        let values = DEF.parse(props)?;
        let long = |key: &str| match DEF.position(key).and_then(|at| values.get(at)) {
            Some(Value::Long(value)) => Ok(*value),
            _ => Err(ConfigError::Invalid(format!("{key} has no value"))),
        };
        Ok(OwnConfig {
            log_dir_reserve_bytes: long("log.dir.reserve.bytes")?,
            log_dir_throttle_horizon_ms: long("log.dir.throttle.horizon.ms")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_kafkas_and_all_have_a_default() {
        let config = OwnConfig::from_props(&Props::new()).unwrap();
        assert_eq!((config.log_dir_reserve_bytes, config.log_dir_throttle_horizon_ms), (-1, 60_000));
        assert!(def().keys().iter().all(|key| crate::broker::def().get(key.name).is_none()));
        let bad: Props = [("log.dir.reserve.bytes".to_owned(), "-2".to_owned())].into();
        assert!(OwnConfig::from_props(&bad).is_err());
    }
}
