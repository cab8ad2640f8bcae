//! Owns: a native async client of Kafka's protocol — producer, consumer, admin — that works against Gregor and against Apache Kafka.
//! Used by: the command-line tools, end-to-end tests, the benchmark. Configured by Kafka's client property names.
//! Never does: anything broker-side. What decides lives in `core` and never waits; `driver` owns sockets and timers on a network thread per
//! client, so that the handles work on any async runtime. Kafka: `org.apache.kafka.clients`.

pub mod admin;
mod config;
pub mod consumer;
pub mod core;
mod driver;
mod error;
mod metrics;
pub mod producer;
pub mod serde;
mod types;

pub use admin::Admin;
pub use config::Config;
pub use consumer::{Consumer, ConsumerRecord, ConsumerRecords};
pub use driver::Topics;
pub use error::{Error, Result};
pub use metrics::Metric;
pub use producer::{Header, Producer, ProducerRecord, RecordMetadata};
pub use types::{IsolationLevel, ListedOffset, Node, OffsetAndMetadata, OffsetSpec, PartitionInfo, TopicPartition, Uuid};
