//! The producer's side: records into a batch, the batch sealed, its answer taken.

use super::Run;
use super::records::NOW_MS;
use base::Instant;
use client::ProducerRecord;
use client::core::accumulator::{Accumulator, AccumulatorConfig, PartitionAnswer};
use client::core::backoff::ExponentialBackoff;
use client::core::idempotence::ProducerId;
use client::core::metadata::MetadataCache;
use client::core::partitioner::PartitionerKind;
use record::Codec;
use std::time::Duration;
use wire::messages::MetadataResponse;
use wire::messages::metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};

pub fn small(_: usize) -> Run {
    fill(640, 100)
}

pub fn large(_: usize) -> Run {
    fill(64, 1024)
}

/// The defaults of a producer, but for batches of 64 KiB that never wait.
fn config() -> AccumulatorConfig {
    AccumulatorConfig {
        batch_size: 72 << 10,
        linger: Duration::ZERO,
        buffer_memory: 32 << 20,
        max_request_size: 1 << 20,
        delivery_timeout: Duration::from_secs(120),
        retries: u32::MAX,
        retry_backoff: ExponentialBackoff { initial: Duration::from_millis(100), max: Duration::from_secs(1) },
        partitioner: PartitionerKind::BuiltIn,
        ignore_keys: false,
        adaptive: true,
        availability_timeout: None,
        idempotent: true,
        transaction: None,
        guarantee_order: false,
        compressed: false,
        keep_tags: false,
    }
}

fn metadata() -> MetadataCache {
    let partition = MetadataResponsePartition { leader_id: 1, leader_epoch: 0, ..Default::default() };
    let response = MetadataResponse {
        brokers: vec![MetadataResponseBroker { node_id: 1, host: "h".into(), port: 1, ..Default::default() }],
        topics: vec![MetadataResponseTopic { name: Some("t".into()), partitions: vec![partition], ..Default::default() }],
        ..Default::default()
    };
    MetadataCache::default().updated(response, false)
}

fn fill(records: usize, size: usize) -> Run {
    let mut accumulator = Accumulator::new(config(), fastrand::Rng::with_seed(1));
    accumulator.update_metadata(&metadata(), Some("t"));
    accumulator.set_producer_id(ProducerId { id: 9, epoch: 0 });
    let value = vec![b'x'; size];
    let now = Instant::from_nanos(1_000_000_000);
    Box::new(move || {
        for _ in 0..records {
            let record = ProducerRecord::new("t").value(&value);
            assert!(accumulator.append(&record, NOW_MS, || now, None, false).is_ok());
        }
        let mut request = accumulator.drain(now, |_| true).requests.pop().expect("a batch is ready");
        let sealed: Vec<_> = request.batches.iter_mut().map(|sent| sent.batch.seal(Codec::NONE, false).expect("it seals")).collect();
        let size = sealed.iter().map(|bytes| bytes.len()).sum();
        accumulator.sent(request.id, request.batches);
        drop(sealed);
        let answer = PartitionAnswer { log_append_time: -1, ..Default::default() };
        accumulator.complete(request.id, now, |_, _| Some(answer.clone()));
        let done = accumulator.take_completions();
        accumulator.reported(done);
        assert!(accumulator.is_empty());
        size
    })
}
