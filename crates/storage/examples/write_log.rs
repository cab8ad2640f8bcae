//! Writes a partition directory with everything a log can hold (all codecs, headers, producers, transactions, several segments and
//! epochs), for Apache's kafka-dump-log to look at: `cargo run -p storage --example write_log -- DIR`.

use base::disk::RealDisk;
use base::{Now, TopicPartition, Uuid};
use record::{BatchBuilder, BatchFields, Codec, Compression, EndTxnMarker, Header, Origin};
use std::path::PathBuf;
use std::sync::Arc;
use storage::{Log, LogConfig, LogOpen};

fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).expect("usage: write_log DIR"));
    let config = LogConfig { segment_bytes: 100_000, ..LogConfig::default() };
    let mut rng = fastrand::Rng::with_seed(7);
    let now = Now { wall_ms: 1_750_000_000_000, ..Now::default() };
    let topic_id = Some(Uuid::random(&mut rng));
    let tp = TopicPartition::new("written", 0);
    let mut log =
        Log::open(Arc::new(RealDisk), dir.join("written-0"), tp, topic_id, config, LogOpen::default(), now).expect("the log opens");
    let mut sequences = [0; 3];
    for i in 0..600i64 {
        let producer = rng.usize(0..3);
        let count = rng.i32(1..20);
        let mut builder = BatchBuilder::new(BatchFields {
            codec: Codec::new(Compression::ALL[rng.usize(0..5)]),
            producer_id: 1000 + producer as i64,
            producer_epoch: 0,
            base_sequence: sequences[producer],
            transactional: producer == 2,
            ..BatchFields::default()
        });
        for r in 0..count {
            let headers = [Header::new("trace", Some("abc".into())), Header::new("trace", None)];
            let len = rng.usize(0..300);
            let value: String = std::iter::repeat_with(|| rng.alphanumeric()).take(len).collect();
            let key = (r % 3 != 0).then(|| format!("key-{r}"));
            let headers = if r % 2 == 0 { &headers[..] } else { &[] };
            builder.append(now.wall_ms + i, key.as_ref().map(String::as_bytes), (r % 5 != 4).then_some(value.as_bytes()), headers);
        }
        sequences[producer] += count;
        let epoch = (i / 250) as i32;
        log.append_as_leader(builder.build().expect("a batch"), epoch, Origin::Client, now).expect("an append");
        if producer == 2 && rng.u8(0..4) == 0 {
            let marker = EndTxnMarker { commit: rng.bool(), coordinator_epoch: 0 };
            let batch = marker.batch(now.wall_ms + i, 1002, 0, epoch).expect("a marker");
            log.append_end_txn_marker(batch, epoch, 0, now).expect("a marker is appended");
        }
    }
    println!("{} segments, {} bytes, end offset {}", log.segment_count(), log.size(), log.log_end_offset());
    log.close(now).expect("the log closes");
}
