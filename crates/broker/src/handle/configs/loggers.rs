//! The resource BROKER_LOGGER: log levels that can be looked at and changed while the broker runs; nothing is stored (KIP-412).
//! Kafka: `RuntimeLoggerManager`, `LoggingController`.

use crate::Broker;
use config::ConfigError;
use config::alter::{Alteration, Op};
use std::collections::BTreeMap;

/// Implemented by whoever set up logging.
pub trait Loggers: Send + Sync {
    /// Logger to level; the logger `root` stands for all that have no level of their own.
    fn levels(&self) -> BTreeMap<String, String>;
    /// Gives a logger one of `LEVELS`, or with `None` that of `root`.
    fn set(&self, logger: &str, level: Option<&str>);
}

/// In the order in which Kafka names them.
const LEVELS: [&str; 6] = ["DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"];

/// Checks all, then changes all. `ops` are alterations whose operation may be unknown, with the code that was sent.
pub(super) fn alter(broker: &Broker, node: &str, ops: &[(i8, Option<Alteration>)], validate_only: bool) -> Result<(), ConfigError> {
    check_node(broker.id(), node)?;
    let levels = broker.loggers().map(|loggers| loggers.levels()).unwrap_or_default();
    for (code, alteration) in ops {
        check(*code, alteration.as_ref(), &levels)?;
    }
    let Some(loggers) = broker.loggers().filter(|_| !validate_only) else { return Ok(()) };
    for alteration in ops.iter().filter_map(|(_, alteration)| alteration.as_ref()) {
        tracing::warn!(logger = alteration.name, level = alteration.value.as_deref().unwrap_or("that of root"), "log level changed");
        loggers.set(&alteration.name, alteration.value.as_deref());
    }
    Ok(())
}

fn check_node(expected: i32, name: &str) -> Result<(), ConfigError> {
    match name.parse::<i32>() {
        Ok(id) if id == expected => Ok(()),
        Ok(id) => Err(ConfigError::Request(format!("Unexpected node id. Expected {expected}, but received {id}"))),
        Err(_) => Err(ConfigError::Request(format!("Node id must be an integer, but it is: {name}"))),
    }
}

fn check(code: i8, alteration: Option<&Alteration>, levels: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    let Some(Alteration { name, op, value }) = alteration else {
        return Err(ConfigError::Request(format!("Unknown operation type {code} is not allowed for the BROKER_LOGGER resource")));
    };
    let exists = || match levels.contains_key(name) {
        true => Ok(()),
        false => Err(ConfigError::Conflict(format!("Logger {name} does not exist!"))),
    };
    let level = value.as_deref().unwrap_or_default();
    match op {
        Op::Set => {
            exists()?;
            if LEVELS.contains(&level) {
                return Ok(());
            }
            let valid = LEVELS.join(", ");
            let message = "as it is not a supported log level. Valid log levels are";
            Err(ConfigError::Conflict(format!("Cannot set the log level of {name} to {level} {message} {valid}")))
        }
        Op::Delete => {
            exists()?;
            if name == "root" {
                return Err(ConfigError::Request("Removing the log level of the root logger is not allowed".to_owned()));
            }
            Ok(())
        }
        Op::Append => Err(ConfigError::Request("APPEND operation is not allowed for the BROKER_LOGGER resource".to_owned())),
        Op::Subtract => Err(ConfigError::Request("SUBTRACT operation is not allowed for the BROKER_LOGGER resource".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_kafkas() {
        let levels = BTreeMap::from([("root".to_owned(), "INFO".to_owned())]);
        let say = |op, name: &str, value: &str| {
            let alteration = Alteration { name: name.to_owned(), op, value: Some(value.to_owned()) };
            check(op as i8, Some(&alteration), &levels).map_err(|e| (e.error_code(), e.to_string()))
        };
        let invalid_level = "Cannot set the log level of root to LOUD as it is not a supported log level. \
                             Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN";
        assert_eq!(say(Op::Set, "root", "LOUD"), Err((40, invalid_level.to_owned())));
        assert_eq!(say(Op::Set, "no.such.logger", "INFO"), Err((40, "Logger no.such.logger does not exist!".to_owned())));
        let append = "APPEND operation is not allowed for the BROKER_LOGGER resource";
        assert_eq!(say(Op::Append, "root", "INFO"), Err((42, append.to_owned())));
        let delete = "Removing the log level of the root logger is not allowed";
        assert_eq!(say(Op::Delete, "root", ""), Err((42, delete.to_owned())));
        assert_eq!(say(Op::Set, "root", "WARN"), Ok(()));
    }
}
