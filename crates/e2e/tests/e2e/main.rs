//! Everything that is tested against real programs: one binary, one module a subject. `cargo xtask test` installs what it needs.

mod disk;
mod durability;
mod golden;
mod main_job;
mod malformed;
mod requests;
mod sweeps;
mod tools;
mod versions;
