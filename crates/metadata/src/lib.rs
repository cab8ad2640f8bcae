//! Owns: the cluster's metadata as a value. `Image` is an immutable, cheaply cloned picture of everything that the metadata log
//! says; `Image::replay` moves it by one record and notes in a `Delta` what changed; `Loader` shows transactions only as a whole;
//! `snapshot` turns an image back into records. Also the framing of metadata records and what each metadata.version writes.
//! Used by: controller (head and committed images), replica and broker (routing, configs, features), cli (dump, format).
//! Never does: I/O, clocks, decisions. An image holds only what records say; liveness and fetch positions live elsewhere.
//! Kafka: `org.apache.kafka.image`, `org.apache.kafka.metadata`, `MetadataVersion`, `MetadataRecordSerde`.

pub mod delta;
pub mod features;
pub mod image;
pub mod loader;
pub mod record;
mod replay;
pub mod snapshot;

pub use delta::Delta;
pub use features::{Feature, MetadataVersion};
pub use image::cluster::{BrokerRegistration, Cluster, ControllerRegistration, Listener, VersionRange};
pub use image::configs::{ConfigResource, Configs, ResourceType};
pub use image::partition::Partition;
pub use image::topics::{Topic, Topics};
pub use image::{Image, Provenance};
pub use loader::Loader;
pub use record::{Record, RecordError};
pub use replay::ReplayError;

#[cfg(test)]
mod tests;
