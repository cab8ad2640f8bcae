//! Protocol buffer varints as Kafka uses them (`ByteUtils`): unsigned for tags and compact lengths, zigzag inside records.

use bytes::BufMut;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VarintError {
    #[error("varint ends before its last byte")]
    Truncated,
    #[error("varint is longer than its type allows")]
    TooLong,
}

/// Reads an unsigned varint of at most 5 bytes; returns the value and how many bytes it took. Hot path: nearly all take one byte or two.
#[inline]
pub fn read_u32(bytes: &[u8]) -> Result<(u32, usize), VarintError> {
    match *bytes {
        [a, ..] if a < 0x80 => Ok((u32::from(a), 1)),
        [a, b, ..] if b < 0x80 => Ok((u32::from(a & 0x7f) | u32::from(b) << 7, 2)),
        _ => read_longer_u32(bytes),
    }
}

fn read_longer_u32(bytes: &[u8]) -> Result<(u32, usize), VarintError> {
    let mut value = 0u32;
    for i in 0..5 {
        let byte = *bytes.get(i).ok_or(VarintError::Truncated)?;
        if i == 4 && byte > 0x0f {
            return Err(VarintError::TooLong);
        }
        value |= u32::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Ok((value, i + 1));
        }
    }
    Err(VarintError::TooLong)
}

/// Reads an unsigned varint of at most 10 bytes; returns the value and how many bytes it took. Hot path.
#[inline]
pub fn read_u64(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    match *bytes {
        [a, ..] if a < 0x80 => Ok((u64::from(a), 1)),
        [a, b, ..] if b < 0x80 => Ok((u64::from(a & 0x7f) | u64::from(b) << 7, 2)),
        _ => read_longer_u64(bytes),
    }
}

fn read_longer_u64(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    let mut value = 0u64;
    for i in 0..10 {
        let byte = *bytes.get(i).ok_or(VarintError::Truncated)?;
        if i == 9 && byte > 1 {
            return Err(VarintError::TooLong);
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Ok((value, i + 1));
        }
    }
    Err(VarintError::TooLong)
}

/// Reads a zigzag varint (`int`).
#[inline]
pub fn read_i32(bytes: &[u8]) -> Result<(i32, usize), VarintError> {
    let (raw, n) = read_u32(bytes)?;
    Ok(((raw >> 1) as i32 ^ -((raw & 1) as i32), n))
}

/// Reads a zigzag varint (`long`).
#[inline]
pub fn read_i64(bytes: &[u8]) -> Result<(i64, usize), VarintError> {
    let (raw, n) = read_u64(bytes)?;
    Ok(((raw >> 1) as i64 ^ -((raw & 1) as i64), n))
}

#[inline]
pub fn write_u32(out: &mut impl BufMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

#[inline]
pub fn write_u64(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

#[inline]
pub fn write_i32(out: &mut impl BufMut, value: i32) {
    write_u32(out, ((value << 1) ^ (value >> 31)) as u32);
}

#[inline]
pub fn write_i64(out: &mut impl BufMut, value: i64) {
    write_u64(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// How many bytes `write_u32` takes.
#[inline]
pub const fn len_u32(value: u32) -> usize {
    (38 - (value | 1).leading_zeros() as usize) / 7
}

/// How many bytes `write_i32` takes.
#[inline]
pub const fn len_i32(value: i32) -> usize {
    len_u32(((value << 1) ^ (value >> 31)) as u32)
}

/// How many bytes `write_i64` takes.
#[inline]
pub const fn len_i64(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)) as u64;
    (70 - (raw | 1).leading_zeros() as usize) / 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_lengths() {
        for shift in 0..64 {
            for delta in [-1i64, 0, 1] {
                let value = (1i64 << shift).wrapping_add(delta);
                for value in [value, value.wrapping_neg()] {
                    let mut out = Vec::new();
                    write_i64(&mut out, value);
                    assert_eq!(read_i64(&out), Ok((value, out.len())));
                    assert_eq!(len_i64(value), out.len());
                    let small = value as i32;
                    out.clear();
                    write_i32(&mut out, small);
                    assert_eq!(read_i32(&out), Ok((small, out.len())));
                    assert_eq!(len_i32(small), out.len());
                    out.clear();
                    write_u32(&mut out, small as u32);
                    assert_eq!(len_u32(small as u32), out.len());
                }
            }
        }
    }

    #[test]
    fn refuses_what_java_refuses() {
        assert_eq!(read_u32(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(VarintError::TooLong));
        assert_eq!(read_u32(&[0x80]), Err(VarintError::Truncated));
        assert_eq!(read_u64(&[0xff; 10]), Err(VarintError::TooLong));
    }
}
