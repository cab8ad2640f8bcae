//! CRC-32C, the checksum of record batches and snapshots. Hot path: every byte that is produced runs through it.

use crc_fast::{CrcAlgorithm, Digest};

/// Of `bytes`.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Of two pieces as if one followed the other.
pub fn crc32c_of_both(first: &[u8], second: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(first);
    digest.update(second);
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_and_every_way_to_split() {
        // The check value of the CRC catalogue, and of RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[]), 0);
        let bytes: Vec<u8> = (0..3000u32).map(|i| (i * 31 % 251) as u8).collect();
        for size in [1, 7, 8, 15, 16, 61, 127, 128, 255, 256, 257, 1024, 3000] {
            let whole = bitwise(&bytes[..size]);
            assert_eq!(crc32c(&bytes[..size]), whole, "{size}");
            for at in [0, 1, size / 2, size] {
                assert_eq!(crc32c_of_both(&bytes[..at], &bytes[at..size]), whole, "{size} at {at}");
            }
        }
    }

    /// By its definition: reflected, polynomial 0x1edc6f41.
    fn bitwise(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        !bytes.iter().fold(!0u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
    }
}
