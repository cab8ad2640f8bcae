//! Compressed batches as clients of all kinds write them, and damaged: streams that follow one another, checksums, block sizes, versions, bytes
//! behind the end. Both brokers get the same; what one takes the other must take, or consumers of one of them would read what they cannot.

use std::io::Write as _;

use crate::requests::{Asker, both, create, produce};
use flate2::{Compression as Level, GzBuilder};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use record::batch::{ATTRIBUTES, CRC, LENGTH, LOG_OVERHEAD, RECORDS};
use record::{BatchBuilder, BatchFields, Codec, Compression};
use xxhash_rust::xxh32::xxh32;

#[test]
fn compressed_batches() {
    both("compressed", include_str!("../../known/compressed.txt"), questions);
}

fn questions(a: &mut Asker) {
    create(a, &["q-batch"]);
    let batch = Batch::new();
    let records = &batch.records[..];
    let codecs: [(Compression, Vec<(&str, Vec<u8>)>); 4] = [
        (Compression::Gzip, gzip(records)),
        (Compression::Snappy, snappy(records)),
        (Compression::Lz4, lz4(records)),
        (Compression::Zstd, zstd_streams(records)),
    ];
    for (codec, streams) in codecs {
        for (name, stream) in streams {
            a.ask(&format!("{}, {name}", codec.name()), 9, produce(Some(batch.with(codec, &stream))));
        }
    }
}

/// Three records of 60 KB, so that they cross the borders of blocks.
struct Batch {
    head: Vec<u8>,
    records: Vec<u8>,
}

impl Batch {
    fn new() -> Self {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut builder = BatchBuilder::new(BatchFields::default());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64;
        for _ in 0..3 {
            let value: Vec<u8> = (0..60_000).map(|_| rng.u8(b'a'..b'f')).collect();
            builder.append(now, Some(b"key"), Some(&value), &[]);
        }
        let bytes = builder.build().expect("builds");
        Batch { head: bytes[..RECORDS].to_vec(), records: bytes[RECORDS..].to_vec() }
    }

    fn with(&self, codec: Compression, stream: &[u8]) -> Vec<u8> {
        let mut bytes = [&self.head[..], stream].concat();
        let length = (bytes.len() - LOG_OVERHEAD) as u32;
        bytes[LENGTH..LENGTH + 4].copy_from_slice(&length.to_be_bytes());
        bytes[ATTRIBUTES + 1] = codec.id();
        let crc = crc32c::crc32c(&bytes[ATTRIBUTES..]);
        bytes[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
        bytes
    }
}

fn by_codec(compression: Compression, records: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Codec::new(compression).compress(records, &mut out).expect("compresses");
    out
}

/// With `bytes` in place of those at `at`.
fn patched(stream: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut stream = stream.to_vec();
    stream[at..at + bytes.len()].copy_from_slice(bytes);
    stream
}

fn gzip(records: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let whole = by_codec(Compression::Gzip, records);
    let member = |builder: GzBuilder, bytes: &[u8]| {
        let mut encoder = builder.write(Vec::new(), Level::new(6));
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory")
    };
    let (first, second) = records.split_at(70_000);
    let (first, second) = (member(GzBuilder::new(), first), member(GzBuilder::new(), second));
    let end = whole.len();
    vec![
        ("whole", whole.clone()),
        ("of another encoder", member(GzBuilder::new(), records)),
        ("empty", Vec::new()),
        ("with names", member(GzBuilder::new().filename("name").comment("comment").extra(vec![1, 2, 3]), records)),
        ("two members", [&first[..], &second].concat()),
        ("only the first of two", first.clone()),
        ("the same member twice", [&whole[..], &whole].concat()),
        ("an empty member behind", [&whole[..], &member(GzBuilder::new(), &[])].concat()),
        ("a cut member behind", [&whole[..], &first[..first.len() / 2]].concat()),
        ("a damaged member behind", [&first[..], &patched(&second, second.len() - 8, &[1, 2, 3, 4])].concat()),
        ("five bytes behind", [&whole[..], &[1, 2, 3, 4, 5]].concat()),
        ("forty bytes behind", [&whole[..], &[7; 40]].concat()),
        ("zeros behind", [&whole[..], &[0; 40]].concat()),
        ("cut", whole[..end / 2].to_vec()),
        ("cut before the trailer", whole[..end - 8].to_vec()),
        ("cut in the trailer", whole[..end - 3].to_vec()),
        ("wrong checksum", patched(&whole, end - 8, &[1, 2, 3, 4])),
        ("wrong length", patched(&whole, end - 4, &[1, 2, 3, 4])),
        ("wrong method", patched(&whole, 2, &[7])),
        ("one byte more inside", by_codec(Compression::Gzip, &[records, &[0]].concat())),
        ("one byte less inside", by_codec(Compression::Gzip, &records[..records.len() - 1])),
    ]
}

fn snappy(records: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let whole = by_codec(Compression::Snappy, records);
    let raw = snap::raw::Encoder::new().compress_vec(records).expect("compresses");
    let (first, second) = records.split_at(70_000);
    let (first, second) = (by_codec(Compression::Snappy, first), by_codec(Compression::Snappy, second));
    let mut large_blocks = whole[..16].to_vec();
    for block in records.chunks(100_000) {
        let block = snap::raw::Encoder::new().compress_vec(block).expect("compresses");
        large_blocks.extend_from_slice(&(block.len() as u32).to_be_bytes());
        large_blocks.extend(block);
    }
    let end = whole.len();
    vec![
        ("whole", whole.clone()),
        ("raw", raw.clone()),
        ("empty", Vec::new()),
        ("large blocks", large_blocks),
        ("two streams", [&first[..], &second].concat()),
        ("a header behind", [&whole[..], &whole[..16]].concat()),
        ("half a header behind", [&whole[..], &whole[..9]].concat()),
        ("version 0", patched(&whole, 8, &[0, 0, 0, 0])),
        ("version -1", patched(&whole, 8, &[0xff; 4])),
        ("version 9", patched(&whole, 8, &[0, 0, 0, 9])),
        ("compatible with version 9", patched(&whole, 12, &[0, 0, 0, 9])),
        ("one byte behind", [&whole[..], &[1]].concat()),
        ("three bytes behind", [&whole[..], &[0, 0, 0]].concat()),
        ("a length behind", [&whole[..], &[0, 0, 0, 7]].concat()),
        ("a negative length behind", [&whole[..], &[0xff; 4]].concat()),
        ("an empty block behind", [&whole[..], &[0, 0, 0, 0]].concat()),
        ("a block of nothing behind", [&whole[..], &[0, 0, 0, 1, 0]].concat()),
        ("noise behind", [&whole[..], &[9; 40]].concat()),
        ("header only", whole[..16].to_vec()),
        ("header cut", whole[..12].to_vec()),
        ("cut", whole[..end / 2].to_vec()),
        ("cut by one", whole[..end - 1].to_vec()),
        ("raw, cut by one", raw[..raw.len() - 1].to_vec()),
        ("raw and a byte", [&raw[..], &[0]].concat()),
        ("raw that claims much", [&[0xff, 0xff, 0xff, 0x7f][..], &raw[3..]].concat()),
        ("one byte more inside", by_codec(Compression::Snappy, &[records, &[0]].concat())),
        ("one byte less inside", by_codec(Compression::Snappy, &records[..records.len() - 1])),
    ]
}

fn lz4(records: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let frame = |info: FrameInfo, bytes: &[u8]| {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory")
    };
    let info = || FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let whole = by_codec(Compression::Lz4, records);
    let checked = frame(info().block_checksums(true), records);
    let contents = frame(info().content_checksum(true), records);
    let length = Some(records.len() as u64);
    let end = whole.len();
    // The flags and the checksum of the descriptor.
    let flags = |flags: u8, descriptor: u8| {
        let checksum = (xxh32(&[flags, descriptor], 0) >> 8) as u8;
        patched(&whole, 4, &[flags, descriptor, checksum])
    };
    let (first, second) = records.split_at(70_000);
    let mut stored = whole[..7].to_vec();
    for block in records.chunks(65_536) {
        stored.extend_from_slice(&(block.len() as u32 | 1 << 31).to_le_bytes());
        stored.extend_from_slice(block);
    }
    stored.extend_from_slice(&[0; 4]);
    let too_large = [&whole[..7], &(65_537_u32 | 1 << 31).to_le_bytes(), &records[..65_537], &[0; 4]].concat();
    vec![
        ("whole", whole.clone()),
        ("empty", Vec::new()),
        ("stored", stored),
        ("a stored block too large", too_large),
        ("256 KiB", frame(info().block_size(BlockSize::Max256KB), records)),
        ("1 MiB", frame(info().block_size(BlockSize::Max1MB), records)),
        ("4 MiB", frame(info().block_size(BlockSize::Max4MB), records)),
        ("checksums of blocks", checked.clone()),
        ("checksums of blocks, one wrong", patched(&checked, checked.len() - 8, &[1, 2, 3, 4])),
        ("checksum of the content", contents.clone()),
        ("checksum of the content, wrong", patched(&contents, contents.len() - 4, &[1, 2, 3, 4])),
        ("checksum of the content, missing", contents[..contents.len() - 4].to_vec()),
        ("content size", frame(info().content_size(length), records)),
        ("linked blocks", frame(info().block_mode(BlockMode::Linked), records)),
        ("two frames", [frame(info(), first), frame(info(), second)].concat()),
        ("no end mark", whole[..end - 4].to_vec()),
        ("end mark cut", whole[..end - 1].to_vec()),
        ("noise behind", [&whole[..], &[9; 40]].concat()),
        ("cut", whole[..end / 2].to_vec()),
        ("header only", whole[..7].to_vec()),
        ("header cut", whole[..6].to_vec()),
        ("header wrong", patched(&whole, 6, &[whole[6] ^ 1])),
        ("magic wrong", patched(&whole, 0, &[1])),
        ("version 2", flags(0b1010_0000, 0x40)),
        ("a dictionary", flags(0b0110_0001, 0x40)),
        ("a reserved flag", flags(0b0110_0010, 0x40)),
        ("reserved bits", flags(0b0110_0000, 0xc1)),
        ("block size 3", flags(0b0110_0000, 0x30)),
        ("block size 7", flags(0b0110_0000, 0x70)),
        ("one byte more inside", by_codec(Compression::Lz4, &[records, &[0]].concat())),
        ("one byte less inside", by_codec(Compression::Lz4, &records[..records.len() - 1])),
    ]
}

fn zstd_streams(records: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let whole = by_codec(Compression::Zstd, records);
    let stream = |checksum: bool, window_log: u32, bytes: &[u8]| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("an encoder");
        encoder.include_checksum(checksum).expect("a parameter");
        encoder.window_log(window_log).expect("a parameter");
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory")
    };
    let (first, second) = records.split_at(70_000);
    let (first, second) = (stream(false, 17, first), stream(false, 17, second));
    let streamed = stream(false, 17, records);
    let checked = stream(true, 17, records);
    let end = checked.len();
    let skipped = [&0x184d_2a50_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), &[1, 2, 3]].concat();
    // The window: 2 to the power of ten and the upper five bits.
    let window = |log: u8| patched(&streamed, 5, &[(log - 10) << 3]);
    vec![
        ("whole", whole.clone()),
        ("streamed", streamed.clone()),
        ("empty", Vec::new()),
        ("two frames", [&first[..], &second].concat()),
        ("only the first of two", first.clone()),
        ("the same frame twice", [&whole[..], &whole].concat()),
        ("an empty frame behind", [&whole[..], &stream(false, 17, &[])].concat()),
        ("a skippable frame behind", [&whole[..], &skipped].concat()),
        ("a skippable frame before", [&skipped[..], &whole].concat()),
        ("noise behind", [&whole[..], &[9; 40]].concat()),
        ("one byte behind", [&whole[..], &[9]].concat()),
        ("a checksum", checked.clone()),
        ("a wrong checksum", patched(&checked, end - 4, &[1, 2, 3, 4])),
        ("a checksum cut", checked[..end - 2].to_vec()),
        ("cut", streamed[..streamed.len() / 2].to_vec()),
        ("cut by one", streamed[..streamed.len() - 1].to_vec()),
        ("a window of 1 KiB", window(10)),
        ("a window of 128 MiB", window(27)),
        ("a window of 256 MiB", window(28)),
        ("a window of 1 TiB", window(40)),
        ("a reserved flag", patched(&streamed, 4, &[streamed[4] | 8])),
        ("one byte more inside", by_codec(Compression::Zstd, &[records, &[0]].concat())),
        ("one byte less inside", by_codec(Compression::Zstd, &records[..records.len() - 1])),
        // The last, for only one broker takes it and offsets differ from then on.
        ("a cut frame behind", [&whole[..], &first[..first.len() / 2]].concat()),
    ]
}
