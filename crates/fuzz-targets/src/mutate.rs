//! Damage of the kinds that decoders mind: flipped bits, interesting numbers over lengths, pieces cut, doubled and crossed over.

use fastrand::Rng;

const INTERESTING: &[i64] = &[0, 1, -1, 2, 127, 128, 255, 256, 32767, -32768, 65535, i32::MAX as i64, i32::MIN as i64, i64::MAX, i64::MIN];

/// One input made from another, and sometimes from a third.
pub fn mutate(rng: &mut Rng, input: &[u8], other: &[u8], longest: usize) -> Vec<u8> {
    let mut out = input.to_vec();
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(0..=out.len());
        match rng.u8(0..8) {
            0 if at < out.len() => out[at] ^= 1 << rng.u8(0..8),
            1 if at < out.len() => out[at] = rng.u8(..),
            2 => overwrite(&mut out, at, rng),
            3 => out.truncate(at),
            4 => {
                let end = (at + rng.usize(0..16)).min(out.len());
                out.drain(at..end);
            }
            5 => {
                let end = (at + rng.usize(0..32)).min(out.len());
                let piece = out[at..end].to_vec();
                out.splice(at..at, piece);
            }
            6 if !other.is_empty() => {
                let from = rng.usize(0..other.len());
                let end = (from + rng.usize(0..64)).min(other.len());
                out.splice(at.., other[from..end].iter().copied());
            }
            _ => out.insert(at, rng.u8(..)),
        }
    }
    out.truncate(longest);
    out
}

fn overwrite(out: &mut [u8], at: usize, rng: &mut Rng) {
    let value = INTERESTING[rng.usize(0..INTERESTING.len())].to_be_bytes();
    let width = [1, 2, 4, 8][rng.usize(0..4)];
    for (slot, byte) in out[at..].iter_mut().zip(&value[8 - width..]) {
        *slot = *byte;
    }
}
