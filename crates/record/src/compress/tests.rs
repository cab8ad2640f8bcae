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

/// As other encoders write: without the size of the content, in more members or frames than one.
fn zstd_stream(input: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(input, 1).unwrap()
}

fn gzip_member(input: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(input).unwrap();
    encoder.finish().unwrap()
}

fn compressed(compression: Compression, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Codec::new(compression).compress(input, &mut out).unwrap();
    out
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(next).collect()
}

#[test]
fn sizes_around_every_border_round_trip() {
    for around in [32 * 1024, 64 * 1024, buffers::WHOLE, 3 * buffers::WHOLE] {
        for len in [around - 1, around, around + 1] {
            let text: Vec<u8> = (0..len).map(|i| (i / 5 % 251) as u8).collect();
            for input in [text, noise(len)] {
                for compression in Compression::ALL {
                    assert!(decompress(compression, &compressed(compression, &input), len).unwrap() == input, "{compression:?} {len}");
                }
                assert!(decompress(Compression::Gzip, &gzip_member(&input), len).unwrap() == input, "gzip {len}");
                assert!(decompress(Compression::Zstd, &zstd_stream(&input), len).unwrap() == input, "zstd {len}");
            }
        }
    }
}

#[test]
fn levels_are_taken() {
    // Words in no order.
    let input: Vec<u8> = noise(50_000).iter().flat_map(|n| format!("word {} and ", u32::from(n % 50) * 77).into_bytes()).collect();
    for (compression, levels) in [(Compression::Gzip, [1, 6, 9, -1]), (Compression::Zstd, [-5, 1, 9, 3])] {
        let sizes = levels.map(|level| {
            let mut out = Vec::new();
            Codec::with_level(compression, level).compress(&input, &mut out).unwrap();
            assert_eq!(decompress(compression, &out, input.len()).unwrap(), input);
            out.len()
        });
        assert!(sizes[0] > sizes[2], "{compression:?} {sizes:?}");
    }
    let gzip = |level| {
        let mut out = Vec::new();
        Codec::with_level(Compression::Gzip, level).compress(&input, &mut out).unwrap();
        out
    };
    assert_eq!(gzip(-1), gzip(6));
}

#[test]
fn what_follows_a_stream() {
    let (input, cap) = (sample(), 1 << 20);
    let twice = [&input[..], &input].concat();
    let gzip = gzip_member(&input);
    // Members follow one another, even when both are the same; anything else behind a member is ignored, as Java does.
    assert_eq!(decompress(Compression::Gzip, &[&gzip[..], &gzip].concat(), cap).unwrap(), twice);
    for tail in [&[1, 2, 3][..], &[0; 40], &[0x1f; 40]] {
        assert_eq!(decompress(Compression::Gzip, &[&gzip[..], tail].concat(), cap).unwrap(), input);
    }
    let zstd = zstd_stream(&input);
    assert_eq!(decompress(Compression::Zstd, &[&zstd[..], &zstd].concat(), cap).unwrap(), twice);
    assert!(decompress(Compression::Zstd, &[&zstd[..], &[0; 40]].concat(), cap).is_err());
    let lz4 = compressed(Compression::Lz4, &input);
    assert_eq!(decompress(Compression::Lz4, &[&lz4[..], &lz4].concat(), cap).unwrap(), input);
    let snappy = compressed(Compression::Snappy, &input);
    assert_eq!(decompress(Compression::Snappy, &[&snappy[..], &snappy].concat(), cap).unwrap(), twice);
}

#[test]
fn streams_that_end_early_are_refused() {
    let input = sample();
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let whole = compressed(compression, &input);
        for len in [1, 5, 15, 30, whole.len() / 2, whole.len() - 5, whole.len() - 1] {
            assert!(decompress(compression, &whole[..len], 1 << 20).is_err(), "{compression:?} {len}");
        }
    }
}

#[test]
fn a_claim_takes_no_memory() {
    // 128 MiB of window, 4 GiB of content, blocks of 4 MiB, a block of 1 GiB: none is there.
    let mut zstd = zstd_stream(&noise(100_000));
    zstd[5] = 17 << 3;
    let mut gzip = gzip_member(&sample());
    let end = gzip.len();
    gzip[end - 4..].copy_from_slice(&[0xff; 4]);
    assert!(decompress(Compression::Gzip, &gzip, usize::MAX).is_err());
    assert_eq!(decompress(Compression::Zstd, &zstd, 1 << 30).unwrap().len(), 100_000);
    let snappy = [&[0xff, 0xff, 0xff, 0xff, 3][..], &[0; 40]].concat();
    assert!(decompress(Compression::Snappy, &snappy, usize::MAX).is_err());
    Buffers::lend(|buffers| assert!(buffers.out.len() <= buffers::WHOLE, "{}", buffers.out.len()));
}
