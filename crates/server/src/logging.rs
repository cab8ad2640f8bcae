//! Logs go to stderr, one line an event with its fields; `GREGOR_LOG`, else `RUST_LOG`, filters them (default `info`).

use crate::loggers::LogLevels;
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, reload};

const METADATA_THREAD: &str = "gregor-metadata";

/// Returns how levels are changed later; `None` when a subscriber is there already (tests run several nodes in a process).
pub fn init() -> Option<LogLevels> {
    let filter = ["GREGOR_LOG", "RUST_LOG"].iter().find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()));
    let (filter, complaint) = match filter.as_deref().map(EnvFilter::try_new) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(e)) => (EnvFilter::new("info"), Some(e.to_string())),
        None => (EnvFilter::new("info"), None),
    };
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let levels = LogLevels::new(handle);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(filter).with(lines)).ok()?;
    std::panic::set_hook(Box::new(log_panic));
    if let Some(complaint) = complaint {
        tracing::warn!(reason = complaint, "GREGOR_LOG or RUST_LOG is not understood; logging at info. Example: GREGOR_LOG=info,net=debug");
    }
    Some(levels)
}

/// A panic becomes one structured line with its place and a backtrace if RUST_BACKTRACE asks for one.
fn log_panic(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("(no text)");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    tracing::error!(message, location, thread = thread.name().unwrap_or("unnamed"), "panic");
    if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
        tracing::error!("{backtrace}");
    }
    // Half done, the metadata cannot be trusted; everything is in its log, from which the next start takes it.
    if thread.name() == Some(METADATA_THREAD) {
        tracing::error!("the node stops at once, because its metadata thread panicked");
        std::process::exit(1);
    }
}
