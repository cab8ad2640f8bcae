//! Most records have no headers and fields of three bytes at most. Those are read here, from three words instead of byte by byte.

use super::Fields;

/// The fields of the first record and its size, length field included. `None` for any other record, for one that is malformed, and where
/// fewer than eight bytes follow a place that is looked at, as at the end of a batch: whoever gets that reads it the long way.
#[inline(always)]
pub fn read(bytes: &[u8]) -> Option<(Fields, usize)> {
    let mut word = Word::at(bytes, 0)?;
    let size = word.varint()?;
    let start = word.end;
    word.skip_byte();
    let timestamp_delta = word.varint()?;
    let mut word = Word::at(bytes, word.end)?;
    let offset_delta = word.varint()?;
    let key_len = word.varint()?;
    let mut word = Word::at(bytes, word.end + key_len.max(0) as usize)?;
    let value_len = word.varint()?;
    let headers = word.end + value_len.max(0) as usize;
    // By its length, not by its fields: the next record can be begun with before these are read.
    let end = start.wrapping_add(size as usize);
    if *bytes.get(headers)? != 0 || headers + 1 != end {
        return None;
    }
    Some((Fields { timestamp_delta: i64::from(timestamp_delta), offset_delta, key_len, value_len }, end))
}

/// Eight bytes, the next one lowest, and where that lies.
struct Word {
    bytes: u64,
    end: usize,
}

impl Word {
    #[inline(always)]
    fn at(bytes: &[u8], start: usize) -> Option<Self> {
        let (word, _) = bytes.get(start..)?.split_first_chunk()?;
        Some(Self { bytes: u64::from_le_bytes(*word), end: start })
    }

    #[inline(always)]
    fn skip_byte(&mut self) {
        self.bytes >>= 8;
        self.end += 1;
    }

    /// A zigzag varint of at most three bytes; two of them and a byte are less than a word.
    #[inline(always)]
    fn varint(&mut self) -> Option<i32> {
        let bytes = self.bytes;
        let mut raw = bytes as u32 & 0x7f;
        let mut len = 1;
        if bytes & 0x80 != 0 {
            raw |= (bytes >> 1) as u32 & 0x3f80;
            len = 2;
            if bytes & 0x8000 != 0 {
                raw |= (bytes >> 2) as u32 & 0x1f_c000;
                len = 3;
                if bytes & 0x80_0000 != 0 {
                    return None;
                }
            }
        }
        self.bytes >>= 8 * len;
        self.end += len;
        Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }
}

#[cfg(test)]
mod tests {
    use super::super::whole;
    use super::*;
    use base::varint;
    use proptest::prelude::*;

    fn record(timestamp_delta: i64, offset_delta: i32, key: Option<usize>, value: Option<usize>, headers: i32) -> Vec<u8> {
        let mut body = vec![0];
        varint::write_i64(&mut body, timestamp_delta);
        varint::write_i32(&mut body, offset_delta);
        for len in [key, value] {
            varint::write_i32(&mut body, len.map_or(-1, |len| len as i32));
            body.extend(std::iter::repeat_n(0xab, len.unwrap_or(0)));
        }
        varint::write_i32(&mut body, headers);
        let mut out = Vec::new();
        varint::write_i32(&mut out, body.len() as i32);
        out.extend(body);
        out
    }

    fn fields(read: (Fields, usize)) -> (i64, i32, i32, i32, usize) {
        let (Fields { timestamp_delta, offset_delta, key_len, value_len }, size) = read;
        (timestamp_delta, offset_delta, key_len, value_len, size)
    }

    #[test]
    fn common_records_are_read_and_others_left_to_the_long_way() {
        for common in [
            record(0, 0, None, Some(100), 0),
            record(63, 64, Some(8), Some(1024), 0),
            record(-1, 8191, Some(0), Some(70_000), 0),
            record(1_000_000, 1_000_000, Some(200), Some(20), 0),
        ] {
            assert_eq!(read(&common).map(fields), whole(&common).unwrap().map(fields));
            assert!(read(&common).is_some());
        }
        for other in [
            record(1_048_576, 0, None, Some(100), 0),
            record(0, 1_048_576, None, Some(100), 0),
            record(0, 0, None, Some(100), 1),
            record(0, 0, None, None, 0),
        ] {
            assert!(read(&other).is_none());
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_the_long_way_reads(
            timestamp_delta in prop_oneof![-100..300i64, any::<i64>()],
            offset_delta in prop_oneof![0..300i32, any::<i32>()],
            key in proptest::option::of(0..20usize),
            value in proptest::option::of(0..200usize),
            headers in prop_oneof![4 => Just(0), 1 => any::<i32>()],
            behind in 0..10usize,
            cut in 0..300usize,
            flips in proptest::collection::vec((0..40usize, any::<u8>()), 0..3),
        ) {
            let mut bytes = record(timestamp_delta, offset_delta, key, value, headers);
            bytes.extend(std::iter::repeat_n(7, behind));
            if cut < 40 {
                bytes.truncate(bytes.len().saturating_sub(cut));
            }
            for (at, byte) in flips {
                if let Some(there) = bytes.get_mut(at) {
                    *there = byte;
                }
            }
            if let Some(quick) = read(&bytes) {
                prop_assert_eq!(Some(fields(quick)), whole(&bytes).unwrap().map(fields));
            }
        }
    }
}
