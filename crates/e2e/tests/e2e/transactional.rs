//! Producers of transactions while the broker under them comes and goes: what the loads of several tests have in common.

use std::time::{Duration, Instant};

use client::{Config, Error, Producer};

/// How long a step may take on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A producer that may begin a transaction. However often that fails while the broker comes and goes, it succeeds in the end.
pub(crate) async fn started(config: Config, id: &str) -> Result<Producer, String> {
    let limit = Instant::now() + PATIENCE;
    loop {
        let producer = Producer::new(config.clone().with("transactional.id", id).with("max.block.ms", 3_000)).expect("a producer");
        match producer.init_transactions().await {
            Ok(()) => return Ok(producer),
            Err(error) if Instant::now() > limit => return Err(format!("{id}: init_transactions: {error}")),
            Err(_) => {}
        }
    }
}

/// Ends a transaction, again as long as that runs out of time, which leaves the outcome open.
pub(crate) async fn finish(producer: &Producer, commit: bool) -> Result<(), Error> {
    let limit = Instant::now() + PATIENCE;
    loop {
        let outcome = if commit { producer.commit_transaction().await } else { producer.abort_transaction().await };
        match outcome {
            Err(Error::Timeout(_)) if Instant::now() < limit => {}
            outcome => return outcome,
        }
    }
}
