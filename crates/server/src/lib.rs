//! Owns: the composition root. Reads the configuration, opens the data directory, starts the threads (network workers, metadata,
//! housekeeping, HTTP), and stops them in Kafka's order. The only crate below `cli` that reads clocks and starts threads.
//! Used by: `cli` (`gregor start`, `gregor server`) and the end-to-end tests. Never does: protocol or log logic.
//! Kafka counterparts: `KafkaRaftServer`, `SharedServer`, `BrokerServer`, `ControllerServer`.

pub mod assignments;
mod bell;
pub mod checkpoint;
mod cleaner;
pub mod clock;
pub mod dir_failures;
mod flushers;
pub mod format;
mod guard;
mod health;
mod heap;
mod housekeeping;
mod lifecycle;
mod limits;
mod listeners;
mod load;
pub mod log_dirs;
mod loggers;
mod logging;
pub mod meta_properties;
pub mod metadata_log;
mod metadata_thread;
mod metrics;
mod metrics_http;
mod node;
mod options;
mod program;
mod run;
mod service;
mod settings;
mod timers;

pub use options::{HttpListen, StartError, StartOptions};
pub use run::{run_properties, start};
