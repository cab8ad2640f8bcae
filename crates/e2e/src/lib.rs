//! Owns: starting real brokers (Gregor and Apache Kafka), running real tools and clients against them, comparing what they say.
//! Used by: `tests/e2e` and `cargo xtask bench`. Never does: anything inside a broker; it only knows processes, sockets, files and text.
//! A node started here is killed when its value is dropped, and a Gregor that logged an unexpected warning or error fails the test.

pub mod clients;
pub mod compare;
pub mod http;
pub mod node;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod repo;
pub mod streams;
pub mod tools;
pub mod wait;

pub use node::{Kind, Node};
pub use process::{Finished, Running};
pub use tools::Tools;
