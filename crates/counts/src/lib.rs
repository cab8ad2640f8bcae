//! Owns: the hot pieces of the broker and the client, each repeatable alone in one thread, and how their instructions and allocations are
//! counted. A count does not depend on how busy or how fast the machine is, so a regression shows anywhere.
//! Used by: its own test (`tests/ceilings.rs`), which runs the program `counts` under valgrind and compares with `ceilings.txt`.
//! Never does: measure time, which is the benchmark's (`cargo xtask bench`).

pub mod callgrind;
pub mod ceilings;
pub mod pieces;
