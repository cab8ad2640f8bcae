//! Owns: the parts of the client that decide and never wait: no sockets, no clock, no tasks. Used by: the drivers in `driver`, `producer`,
//! `consumer`, `admin`, which pass time and bytes in and carry out what comes back.

pub mod accumulator;
pub mod assignor;
pub mod backoff;
pub mod batch;
pub mod completed_fetch;
pub mod consumer_protocol;
pub mod fetch_session;
pub mod group;
pub mod idempotence;
pub mod membership;
pub mod metadata;
pub mod partitioner;
pub mod subscription;
pub mod transaction;
pub mod versions;
