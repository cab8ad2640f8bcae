//! Owns: the notation for Kafka's message schemas (`crates/wire/schema/*.schema`) and the generator that turns it into Rust.
//! Used by: `wire`'s build script, and `cargo xtask schema` which compares the notation with the JSON in Kafka's jars.
//! Never does: I/O beyond what its caller hands it. Kafka counterpart: the `generator` module.

mod emit;
mod model;
mod names;
mod parse;

pub use emit::emit;
pub use model::{Field, Kind, Message, Scalar, Struct, Type, Versions};
pub use parse::{ParseError, parse};
