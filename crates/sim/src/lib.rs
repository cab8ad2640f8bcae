//! Owns: a whole node in one thread under a virtual clock: the real controller, broker, coordinators and logs, on a disk in memory that can
//! lose what was not flushed. Used by: tests. Never does: sleep, spawn, read a clock; the same seed gives the same run.

mod client;
pub mod life;
mod node;

pub use client::Client;
pub use node::{FEW_FILES, Options, SimNode};

#[cfg(test)]
mod tests;
