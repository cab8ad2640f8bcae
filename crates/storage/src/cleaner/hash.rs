//! SipHash-1-3 with 128 bits of output: keys are told apart by their hash alone, so two keys with the same one would cost a record.
//! The hash is keyed with random bits, so that nobody can choose keys that collide. Kafka trusts MD5 with this.

const ROUNDS_LAST: usize = 3;

#[derive(Clone, Copy)]
struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    #[inline(always)]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }

    #[inline(always)]
    fn absorb(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    #[inline(always)]
    fn squeeze(&mut self) -> u64 {
        for _ in 0..ROUNDS_LAST {
            self.round();
        }
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }
}

#[inline]
pub(super) fn hash128(seed: [u64; 2], bytes: &[u8]) -> [u64; 2] {
    let mut state = State {
        v0: seed[0] ^ 0x736f_6d65_7073_6575,
        v1: seed[1] ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        v2: seed[0] ^ 0x6c79_6765_6e65_7261,
        v3: seed[1] ^ 0x7465_6462_7974_6573,
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state.absorb(u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = bytes.len() as u8;
    state.absorb(u64::from_le_bytes(last));
    state.v2 ^= 0xee;
    let first = state.squeeze();
    state.v1 ^= 0xdd;
    [first, state.squeeze()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_byte_and_the_length_count() {
        let mut seen = HashSet::new();
        for len in 0..40usize {
            assert!(seen.insert(hash128([1, 2], &vec![0; len])));
            for at in 0..len {
                for bit in 0..8 {
                    let mut key = vec![0; len];
                    key[at] = 1 << bit;
                    assert!(seen.insert(hash128([1, 2], &key)), "{len} {at} {bit}");
                }
            }
        }
        assert_ne!(hash128([1, 2], b"key"), hash128([1, 3], b"key"));
        assert_ne!(hash128([1, 2], b"key"), hash128([2, 2], b"key"));
    }

    #[test]
    fn bits_are_spread() {
        let mut ones = [0u32; 128];
        for i in 0..10_000u32 {
            let [a, b] = hash128([7, 9], &i.to_be_bytes());
            for bit in 0..64 {
                ones[bit] += (a >> bit) as u32 & 1;
                ones[64 + bit] += (b >> bit) as u32 & 1;
            }
        }
        assert!(ones.iter().all(|count| (4_700..5_300).contains(count)), "{ones:?}");
    }
}
