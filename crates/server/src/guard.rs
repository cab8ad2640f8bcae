//! A defect in one chore must not end the thread that does all of them.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// `None` when `run` panicked; the panic hook has logged where.
pub fn run<T>(what: &str, run: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(run)).ok();
    if result.is_none() {
        tracing::error!(what, "a task of the node panicked; it is tried again later");
    }
    result
}
