//! The pieces. Each prepares all that it needs for so many runs, so that a run is nothing but the piece.

mod logs;
mod messages;
mod node;
mod producing;
mod records;

use bytes::Bytes;
use wire::{Request, Segment};

pub struct Piece {
    pub name: &'static str,
    pub what: &'static str,
    /// How often it is repeated to be counted.
    pub runs: usize,
    /// Makes what so many runs need. A run returns a size of what it did, the same every time.
    pub prepare: fn(usize) -> Run,
}

pub type Run = Box<dyn FnMut() -> usize>;

pub const PIECES: &[Piece] = &[
    Piece { name: "crc32c-64k", what: "CRC-32C of a batch of 64 KiB", runs: 20, prepare: records::checksum },
    Piece { name: "validate-100b", what: "checks of a batch of 640 records of 100 B", runs: 20, prepare: records::validate_small },
    Piece { name: "validate-1k", what: "checks of a batch of 64 records of 1 KiB", runs: 20, prepare: records::validate_plain },
    Piece { name: "validate-1k-gzip", what: "the same, compressed by gzip", runs: 5, prepare: records::validate_gzip },
    Piece { name: "validate-1k-snappy", what: "the same, compressed by snappy", runs: 5, prepare: records::validate_snappy },
    Piece { name: "validate-1k-lz4", what: "the same, compressed by lz4", runs: 5, prepare: records::validate_lz4 },
    Piece { name: "validate-1k-zstd", what: "the same, compressed by zstd", runs: 5, prepare: records::validate_zstd },
    Piece { name: "read-100b", what: "a consumer's way through a batch of 640 records of 100 B", runs: 20, prepare: records::read },
    Piece {
        name: "append-1k-memory",
        what: "append of 64 records of 1 KiB to a log on a disk in memory",
        runs: 20,
        prepare: logs::append_memory,
    },
    Piece { name: "append-1k-file", what: "append of 64 records of 1 KiB to a log of real files", runs: 20, prepare: logs::append_file },
    Piece { name: "append-one-file", what: "append of one record of 100 B to a log of real files", runs: 100, prepare: logs::append_one },
    Piece { name: "lookup", what: "finding an offset in a log of 2,000 batches on a disk in memory", runs: 200, prepare: logs::lookup },
    Piece {
        name: "read-committed",
        what: "the same as a reader of committed records, where 2,000 transactions were aborted",
        runs: 200,
        prepare: logs::read_committed,
    },
    Piece { name: "decode-produce", what: "decoding of a Produce for one partition", runs: 200, prepare: messages::decode_produce },
    Piece { name: "encode-produce", what: "encoding of its answer", runs: 200, prepare: messages::encode_produce },
    Piece { name: "decode-fetch-100", what: "decoding of a Fetch for 100 partitions", runs: 50, prepare: messages::decode_fetch },
    Piece { name: "encode-fetch", what: "encoding of an answer to Fetch, one partition", runs: 200, prepare: messages::encode_fetch },
    Piece { name: "record-metrics", what: "the five distributions that a request is recorded in", runs: 200, prepare: messages::metrics },
    Piece { name: "produce-one", what: "a whole Produce of one record of 100 B, acks=all", runs: 100, prepare: node::produce_one },
    Piece { name: "produce-1k", what: "a whole Produce of 64 records of 1 KiB, acks=all", runs: 20, prepare: node::produce_large },
    Piece { name: "produce-100", what: "a whole Produce of one record to each of 100 partitions", runs: 10, prepare: node::produce_many },
    Piece { name: "fetch-one", what: "a whole Fetch of one batch, one partition of a session", runs: 100, prepare: node::fetch_one },
    Piece {
        name: "fetch-empty-100",
        what: "a whole Fetch, 100 partitions of a session without news",
        runs: 20,
        prepare: node::fetch_empty,
    },
    Piece {
        name: "fetch-1-of-100",
        what: "a whole Fetch, news in one of 100 partitions of a session",
        runs: 20,
        prepare: node::fetch_some,
    },
    Piece { name: "heartbeat-classic", what: "a whole Heartbeat", runs: 100, prepare: node::heartbeat_classic },
    Piece { name: "heartbeat-consumer", what: "a whole ConsumerGroupHeartbeat without news", runs: 100, prepare: node::heartbeat_consumer },
    Piece { name: "commit", what: "a whole OffsetCommit for one partition", runs: 100, prepare: node::commit },
    Piece { name: "metadata-1000", what: "a whole Metadata for a topic of 1,000 partitions", runs: 10, prepare: node::metadata },
    Piece {
        name: "fill-100b",
        what: "a producer's batch of 640 records of 100 B, from send to answer",
        runs: 20,
        prepare: producing::small,
    },
    Piece { name: "fill-1k", what: "a producer's batch of 64 records of 1 KiB, from send to answer", runs: 20, prepare: producing::large },
];

/// A request as the network layer hands it over: without its length, in a buffer of its own.
fn frame<R: Request>(request: &R, version: i16) -> Bytes {
    let segments = wire::encode_request(request, version, 7, Some("counts")).expect("the request encodes");
    let mut out = Vec::new();
    for segment in segments {
        let Segment::Bytes(bytes) = segment else { panic!("a request is in memory") };
        out.extend_from_slice(&bytes);
    }
    out.split_off(4).into()
}

fn size(segments: &[Segment]) -> usize {
    segments.iter().map(Segment::len).sum()
}
