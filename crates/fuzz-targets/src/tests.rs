//! The bounded run: the whole corpus, then mutations of it for FUZZ_SECONDS a target (default 20). A failure prints the input and the seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{TARGETS, Target, mutate};
use bytes::Bytes;
use fastrand::Rng;
use record::{BatchBuilder, BatchFields, Codec, Compression};

const LONGEST: usize = 8 << 10;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let dir = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus")).join(target.name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&dir).map(|d| d.flatten().map(|e| e.path()).collect()).unwrap_or_default();
    files.sort();
    let mut inputs: Vec<Vec<u8>> = files.iter().map(|f| std::fs::read(f).expect("a corpus file")).collect();
    inputs.extend(seeds(target));
    inputs
}

/// Well-formed inputs: the default of every message in every version, small batches in every codec.
fn seeds(target: &Target) -> Vec<Vec<u8>> {
    match target.name {
        "batch" => batches(),
        name => {
            let mut out = Vec::new();
            for (index, info) in wire::messages::REGISTRY.iter().enumerate() {
                for version in info.min_version..=info.max_version {
                    let Ok(body) = (info.encode_default)(version) else { continue };
                    if name == "message" {
                        let [a, b] = (index as u16).to_be_bytes();
                        out.push([&[a, b, (version - info.min_version) as u8][..], &body].concat());
                    } else if let (Some(key), wire::MessageKind::Request) = (info.api_key, info.kind) {
                        out.push([&key.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 1, 0, 1, b'c', 0], &body].concat());
                    }
                }
            }
            out
        }
    }
}

fn batches() -> Vec<Vec<u8>> {
    let codecs = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    codecs
        .into_iter()
        .flat_map(|compression| {
            let mut builder = BatchBuilder::new(BatchFields { codec: Codec::new(compression), ..BatchFields::default() });
            for i in 0..5_i64 {
                let headers = [record::Header { key: "h".into(), value: Some(Bytes::from_static(b"v")) }];
                builder.append(1_700_000_000_000 + i, Some(b"key"), Some(b"some value, and some more of it"), &headers);
            }
            let batch = builder.build().expect("a batch");
            [0_u8, 1, 0x13, 0x21].map(|choice| [&[choice][..], &batch].concat())
        })
        .collect()
}

fn run(target: &Target, input: &[u8], seed: u64) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        let hex: String = input.iter().map(|b| format!("{b:02x}")).collect();
        panic!("target {} fails; FUZZ_SEED={seed}, input (put it into fuzz/corpus/{} as a file): {hex}", target.name, target.name);
    }
}

fn fuzz(name: &str) {
    let target = TARGETS.iter().find(|t| t.name == name).expect("a target");
    let seconds = setting("FUZZ_SECONDS").unwrap_or(20);
    let seed = setting("FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    let mut rng = Rng::with_seed(seed);
    let corpus = corpus(target);
    assert!(corpus.len() > 10, "{} inputs to begin with", corpus.len());
    for input in &corpus {
        run(target, input, seed);
    }
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut count = 0_u64;
    while Instant::now() < deadline {
        for _ in 0..64 {
            let (one, other) = (&corpus[rng.usize(0..corpus.len())], &corpus[rng.usize(0..corpus.len())]);
            run(target, &mutate(&mut rng, one, other, LONGEST), seed);
            count += 1;
        }
    }
    println!("{name}: {} inputs of the corpus, {count} mutations, FUZZ_SEED={seed}", corpus.len());
}

#[test]
fn frame() {
    fuzz("frame");
}

#[test]
fn message() {
    fuzz("message");
}

#[test]
fn batch() {
    fuzz("batch");
}
