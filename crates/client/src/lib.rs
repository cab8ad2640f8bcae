//! Owns: a native async client of Kafka's protocol — producer, consumer, admin — that works against Gregor and against Apache Kafka.
//! Used by: the command-line tools, end-to-end tests, the benchmark. Configured by Kafka's client property names.
//! Never does: anything broker-side. What decides lives in `core` and never waits; `driver` owns sockets and timers on a network thread per
//! client, so that the handles work on any async runtime. Kafka: `org.apache.kafka.clients`.
//!
//! How to use it is told in `docs/client.md`; in short:
//!
//! ```no_run
//! # async fn run() -> client::Result<()> {
//! use client::{Admin, Config, Consumer, Producer, ProducerRecord};
//! use std::time::Duration;
//!
//! let config = Config::bootstrap("localhost:9092");
//! let topics = Admin::connect(config.clone()).await?.list_topics().await?;
//! println!("{} topics", topics.len());
//!
//! let producer = Producer::new(config.clone())?;
//! producer.send(&ProducerRecord::new("greetings").value(b"hello")).await?.await?;
//!
//! let mut consumer = Consumer::new(config.with("group.id", "readers").with("auto.offset.reset", "earliest"))?;
//! consumer.subscribe(["greetings"])?;
//! for record in &consumer.poll(Duration::from_secs(5)).await? {
//!     println!("{:?}", record.value);
//! }
//! consumer.close(Duration::from_secs(5)).await
//! # }
//! ```

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
pub use error::{Error, ErrorClass, Result};
pub use metrics::Metric;
pub use producer::{Header, Producer, ProducerRecord, RecordMetadata};
pub use types::{IsolationLevel, ListedOffset, Node, OffsetAndMetadata, OffsetSpec, PartitionInfo, TopicPartition, Uuid};
