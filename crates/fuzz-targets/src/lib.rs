//! Owns: what is fuzzed (functions from bytes to nothing that must not panic), a small mutator, and the bounded run that CI makes.
//! Used by: `cargo test -p fuzz-targets` on stable, and by the libFuzzer programs in `fuzz/`, which share the corpus.
//! Never does: any I/O in a target.

mod mutate;
#[cfg(test)]
mod tests;

pub use mutate::mutate;

use base::TopicPartition;
use bytes::Bytes;
use record::{Batch, Codec, Compression, Origin, Rules, TargetCompression, TimestampType};
use wire::{ApiKey, MessageKind, Reader};

pub struct Target {
    /// Also the name of its folder in `fuzz/corpus` and of its program in `fuzz/fuzz_targets`.
    pub name: &'static str,
    pub run: fn(&[u8]),
}

pub const TARGETS: &[Target] =
    &[Target { name: "frame", run: frame }, Target { name: "message", run: message }, Target { name: "batch", run: batch }];

/// A request frame as a connection hands it on: header, then the body its key and version say.
pub fn frame(data: &[u8]) {
    let mut reader = Reader::new(Bytes::copy_from_slice(data));
    let Ok(head) = wire::decode_request_header(&mut reader) else { return };
    if ApiKey::from_code(head.api_key).is_none() {
        return;
    }
    let info = wire::messages::REGISTRY.iter().find(|m| m.kind == MessageKind::Request && m.api_key == Some(head.api_key));
    if let Some(info) = info {
        let _ = (info.recode)(reader.rest(), head.api_version);
    }
}

/// Two bytes choose one of all messages, the third its version; the rest is decoded, and what was decoded must encode and decode again.
pub fn message(data: &[u8]) {
    let [a, b, v, rest @ ..] = data else { return };
    let registry = wire::messages::REGISTRY;
    let info = &registry[usize::from(u16::from_be_bytes([*a, *b])) % registry.len()];
    let versions = i32::from(info.max_version) - i32::from(info.min_version) + 1;
    let version = info.min_version + (i32::from(*v) % versions.max(1)) as i16;
    if let Ok(Ok(encoded)) = (info.recode)(Bytes::copy_from_slice(rest), version) {
        let again = (info.recode)(encoded.clone(), version);
        assert!(
            matches!(&again, Ok(Ok(bytes)) if *bytes == encoded),
            "{} v{version} does not survive its own encoding: {again:?}",
            info.name
        );
    }
}

/// The largest a batch may grow to when it is decompressed here.
const DECOMPRESSED_MAX: usize = 1 << 20;

/// Records as a producer sends them: checked, validated with and without a new codec, iterated. The first byte chooses; with its lowest bit
/// set the checksum is made right, so that damage gets past it.
pub fn batch(data: &[u8]) {
    let [choice, rest @ ..] = data else { return };
    let mut bytes = rest.to_vec();
    if choice & 1 == 1 && bytes.len() > 21 {
        let crc = record::batch::BatchView::first(&bytes).ok().flatten().map(|view| view.compute_crc());
        if let Some(crc) = crc {
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
    }
    let records = Bytes::from(bytes);
    let _ = record::check_produce(&records, 9);
    let rules = Rules {
        max_message_bytes: DECOMPRESSED_MAX,
        compacted: choice & 2 != 0,
        compression: match choice >> 4 {
            1 => TargetCompression::Codec(Codec::new(Compression::None)),
            2 => TargetCompression::Codec(Codec::new(Compression::Gzip)),
            3 => TargetCompression::Codec(Codec::new(Compression::Lz4)),
            _ => TargetCompression::Producer,
        },
        timestamp_type: if choice & 4 != 0 { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        max_decompressed: DECOMPRESSED_MAX,
    };
    let partition = TopicPartition::new("fuzz", 0);
    if let Ok(valid) = record::validate(&records, &partition, &rules, Origin::Client, 42, 7, 1_700_000_000_000) {
        // What a leader accepted, every reader can read.
        let stored = Batch::new(valid.to_bytes()).expect("an accepted batch is whole");
        assert!(stored.view().is_valid(), "an accepted batch has a right checksum");
        let read = stored.records(2 * DECOMPRESSED_MAX).expect("an accepted batch opens").filter(|r| r.is_ok()).count();
        assert_eq!(read, valid.record_count as usize, "every accepted record can be read");
    }
    for batch in record::batches(&records).map_while(Result::ok) {
        if let Ok(records) = batch.records(DECOMPRESSED_MAX) {
            for _ in records {}
        }
    }
}
