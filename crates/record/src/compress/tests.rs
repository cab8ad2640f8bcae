//! Round trips, bombs, and streams as others write them.

use super::*;

fn sample() -> Vec<u8> {
    (0..200_000u32).flat_map(|i| [(i % 7) as u8, (i / 900) as u8]).collect()
}

#[test]
fn every_codec_round_trips() {
    for compression in Compression::ALL {
        for input in [Vec::new(), vec![1u8], sample()] {
            let mut out = Vec::new();
            Codec::new(compression).compress(&input, &mut out).unwrap();
            assert_eq!(decompress(compression, &out, input.len()).unwrap(), input, "{compression:?}");
        }
    }
}

#[test]
fn the_cap_stops_bombs() {
    let input = vec![0u8; 10_000_000];
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let mut out = Vec::new();
        Codec::new(compression).compress(&input, &mut out).unwrap();
        assert_eq!(decompress(compression, &out, 9_999_999), Err(RecordError::Expands(9_999_999)), "{compression:?}");
    }
}

#[test]
fn garbage_is_refused() {
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let error = decompress(compression, b"this is not compressed at all", 1 << 20).unwrap_err();
        assert!(matches!(error, RecordError::Decompress(_) | RecordError::Expands(_)), "{compression:?} {error:?}");
    }
}

#[test]
fn raw_snappy_is_accepted() {
    let input = sample();
    let raw = snap::raw::Encoder::new().compress_vec(&input).unwrap();
    assert_eq!(decompress(Compression::Snappy, &raw, 1 << 20).unwrap(), input);
}
