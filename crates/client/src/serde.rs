//! Owns: values as bytes and back, byte for byte as Kafka's 13 built-in serializers do it. Used by: applications, the console tools.
//! Kafka: `org.apache.kafka.common.serialization`: Boolean, ByteArray, ByteBuffer, Bytes, Double, Float, Integer, List, Long, Short, String,
//! UUID, Void. Java's null is `None`.
//!
//! ```
//! use client::serde::Serde;
//!
//! let bytes = 42i64.to_bytes().unwrap();
//! assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 42]);
//! assert_eq!(i64::from_bytes(Some(&bytes)).unwrap(), 42);
//! assert_eq!(Option::<i64>::from_bytes(None).unwrap(), None);
//! ```

use crate::error::{Error, Result};
use base::Uuid;
use bytes::Bytes;

/// A value with a form in bytes.
pub trait Serde: Sized {
    /// The number of bytes of every value, for types where lists make use of it.
    const CONSTANT_SIZE: Option<usize> = None;

    /// `None` is Kafka's null.
    fn to_bytes(&self) -> Option<Vec<u8>>;

    fn from_bytes(bytes: Option<&[u8]>) -> Result<Self>;
}

fn wrong(text: impl Into<String>) -> Error {
    Error::Serialization(text.into())
}

fn present<'a>(bytes: Option<&'a [u8]>, name: &str) -> Result<&'a [u8]> {
    bytes.ok_or_else(|| wrong(format!("null where a value of {name} is expected; read an Option")))
}

impl<T: Serde> Serde for Option<T> {
    const CONSTANT_SIZE: Option<usize> = T::CONSTANT_SIZE;

    fn to_bytes(&self) -> Option<Vec<u8>> {
        self.as_ref().and_then(T::to_bytes)
    }

    fn from_bytes(bytes: Option<&[u8]>) -> Result<Self> {
        bytes.map(|bytes| T::from_bytes(Some(bytes))).transpose()
    }
}

macro_rules! number {
    ($type:ty, $size:literal, $text:literal) => {
        impl Serde for $type {
            const CONSTANT_SIZE: Option<usize> = Some($size);

            fn to_bytes(&self) -> Option<Vec<u8>> {
                Some(self.to_be_bytes().to_vec())
            }

            fn from_bytes(bytes: Option<&[u8]>) -> Result<Self> {
                let bytes = present(bytes, stringify!($type))?;
                bytes.try_into().map(<$type>::from_be_bytes).map_err(|_| wrong($text))
            }
        }
    };
}

number!(i16, 2, "Size of data received by ShortDeserializer is not 2");
number!(i32, 4, "Size of data received by IntegerDeserializer is not 4");
number!(i64, 8, "Size of data received by LongDeserializer is not 8");
number!(f32, 4, "Size of data received by Deserializer is not 4");
number!(f64, 8, "Size of data received by Deserializer is not 8");

impl Serde for bool {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        Some(vec![u8::from(*self)])
    }

    fn from_bytes(bytes: Option<&[u8]>) -> Result<Self> {
        match present(bytes, "bool")? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(wrong(format!("Unexpected byte received by BooleanDeserializer: {}", *other as i8))),
            _ => Err(wrong("Size of data received by BooleanDeserializer is not 1")),
        }
    }
}

impl Serde for Vec<u8> {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        Some(self.clone())
    }

    fn from_bytes(bytes: Option<&[u8]>) -> Result<Self> {
        present(bytes, "bytes").map(<[u8]>::to_vec)
    }
}

impl Serde for Bytes {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        Some(self.to_vec())
    }

    fn from_bytes(bytes: Option<&[u8]>) -> Result<Self> {
        present(bytes, "bytes").map(Bytes::copy_from_slice)
    }
}

/// UTF-8. What is not UTF-8 is read with replacement characters, as Java reads it.
impl Serde for String {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        Some(self.as_bytes().to_vec())
    }

    fn from_bytes(bytes: Option<&[u8]>) -> Result<Self> {
        present(bytes, "text").map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }
}

/// Always null.
impl Serde for () {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        None
    }

    fn from_bytes(bytes: Option<&[u8]>) -> Result<Self> {
        match bytes {
            None => Ok(()),
            Some(_) => Err(wrong("Data should be null for a VoidDeserializer.")),
        }
    }
}

/// The text of `java.util.UUID`, not that of Kafka's own ids.
impl Serde for Uuid {
    const CONSTANT_SIZE: Option<usize> = Some(36);

    fn to_bytes(&self) -> Option<Vec<u8>> {
        let value = self.as_u128();
        let part = |shift: u32, digits: usize| format!("{:0digits$x}", (value >> shift) & ((1u128 << (digits * 4)) - 1));
        Some([part(96, 8), part(80, 4), part(64, 4), part(48, 4), part(0, 12)].join("-").into_bytes())
    }

    fn from_bytes(bytes: Option<&[u8]>) -> Result<Self> {
        let bad = || wrong("Error parsing data into UUID");
        let text = std::str::from_utf8(present(bytes, "uuid")?).map_err(|_| bad())?;
        let parts: Vec<&str> = text.split('-').collect();
        if parts.len() != 5 {
            return Err(bad());
        }
        let mut value = 0u128;
        for (part, digits) in parts.iter().zip([8usize, 4, 4, 4, 12]) {
            let hex = !part.is_empty() && part.len() <= digits && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            let number = hex.then(|| u128::from_str_radix(part, 16).ok()).flatten().ok_or_else(bad)?;
            value = (value << (digits * 4)) | number;
        }
        Ok(Uuid::from_u128(value))
    }
}

/// A list whose entries may be null. Entries of constant size are written without their sizes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List<T>(pub Vec<Option<T>>);

const CONSTANT: u8 = 0;
const VARIABLE: u8 = 1;

impl<T: Serde> Serde for List<T> {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        let constant = T::CONSTANT_SIZE.is_some();
        let mut out = vec![if constant { CONSTANT } else { VARIABLE }];
        let put = |out: &mut Vec<u8>, number: usize| out.extend_from_slice(&(number as i32).to_be_bytes());
        let entries: Vec<Option<Vec<u8>>> = self.0.iter().map(Serde::to_bytes).collect();
        if constant {
            let nulls: Vec<usize> = (0..entries.len()).filter(|index| entries[*index].is_none()).collect();
            put(&mut out, nulls.len());
            for index in nulls {
                put(&mut out, index);
            }
        }
        put(&mut out, entries.len());
        for entry in entries {
            match entry {
                Some(bytes) => {
                    if !constant {
                        put(&mut out, bytes.len());
                    }
                    out.extend_from_slice(&bytes);
                }
                None if constant => {}
                None => out.extend_from_slice(&(-1i32).to_be_bytes()),
            }
        }
        Some(out)
    }

    fn from_bytes(bytes: Option<&[u8]>) -> Result<Self> {
        let all = present(bytes, "a list")?;
        let (strategy, mut rest) = all.split_first().ok_or_else(|| wrong("Unable to deserialize into a List"))?;
        let constant = match (*strategy, T::CONSTANT_SIZE) {
            (VARIABLE, _) => None,
            (CONSTANT, Some(size)) => Some(size),
            (CONSTANT, None) => {
                return Err(wrong(
                    "Data is encoded as constant size entries, but configured inner deserializer is not a known fixed-size deserializer.",
                ));
            }
            _ => return Err(wrong("Invalid serialization strategy flag value")),
        };
        let mut nulls = Vec::new();
        if constant.is_some() {
            let count = int(&mut rest)?;
            if count < 0 {
                return Err(wrong("Corrupted byte[]. The number of null list entries cannot be negative."));
            }
            if count as usize > all.len() / 4 {
                return Err(wrong("Corrupted byte[]. The number of null list entries cannot be larger than overall number of elements."));
            }
            for _ in 0..count {
                nulls.push(int(&mut rest)?);
            }
        }
        let size = int(&mut rest)?;
        if size < 0 {
            return Err(wrong("Corrupted byte[]. The number of list entries cannot be negative."));
        }
        if size as usize > all.len() {
            return Err(wrong("Corrupted byte[]. The number of list entries cannot be larger than overall number of bytes."));
        }
        let mut entries = Vec::with_capacity(size as usize);
        for index in 0..size {
            let length = match constant {
                Some(_) if nulls.contains(&index) => -1,
                Some(size) => size as i32,
                None => int(&mut rest)?,
            };
            match usize::try_from(length) {
                Err(_) if length == -1 => entries.push(None),
                Err(_) => return Err(wrong("Corrupted byte[]. A list entry cannot have negative size.")),
                Ok(length) if length > all.len() => {
                    return Err(wrong("Corrupted byte[]. A list entry cannot be larger than the overall number of bytes."));
                }
                Ok(length) => {
                    let (entry, left) = rest.split_at_checked(length).ok_or_else(|| wrong("End of the stream was reached prematurely"))?;
                    rest = left;
                    entries.push(Some(T::from_bytes(Some(entry))?));
                }
            }
        }
        Ok(List(entries))
    }
}

fn int(rest: &mut &[u8]) -> Result<i32> {
    let (number, left) = rest.split_first_chunk::<4>().ok_or_else(|| wrong("Unable to deserialize into a List"))?;
    *rest = left;
    Ok(i32::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Serde + PartialEq + std::fmt::Debug>(value: T, bytes: &[u8]) {
        assert_eq!(value.to_bytes().as_deref(), Some(bytes));
        assert_eq!(T::from_bytes(Some(bytes)).unwrap(), value);
    }

    #[test]
    fn bytes_are_javas() {
        check(-2i16, &[0xff, 0xfe]);
        check(1i32, &[0, 0, 0, 1]);
        check(258i64, &[0, 0, 0, 0, 0, 0, 1, 2]);
        check(1.5f32, &[0x3f, 0xc0, 0, 0]);
        check(-2.0f64, &[0xc0, 0, 0, 0, 0, 0, 0, 0]);
        check(true, &[1]);
        check("ä".to_owned(), &[0xc3, 0xa4]);
        check(vec![1u8, 2], &[1, 2]);
        check(Bytes::from_static(b"x"), b"x");
        check(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef), b"01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(().to_bytes(), None);
        assert_eq!(Option::<i32>::None.to_bytes(), None);
    }

    #[test]
    fn lists_are_javas() {
        check(List(vec![Some(7i32), None]), &[0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 7]);
        check(List(vec![Some("a".to_owned()), None]), &[1, 0, 0, 0, 2, 0, 0, 0, 1, b'a', 255, 255, 255, 255]);
    }

    #[test]
    fn odd_bytes_are_errors() {
        assert_eq!(i32::from_bytes(Some(&[1])).unwrap_err().to_string(), "Size of data received by IntegerDeserializer is not 4");
        assert!(bool::from_bytes(Some(&[7])).is_err());
        assert!(Uuid::from_bytes(Some(b"not-a-uuid-at-all")).is_err());
        for bad in
            [&[][..], &[0], &[9, 0, 0, 0, 0], &[1, 0x7f, 0xff, 0xff, 0xff], &[1, 0, 0, 0, 1, 0, 0, 0, 3, 1], &[0, 0xff, 0xff, 0xff, 0xff]]
        {
            assert!(List::<i32>::from_bytes(Some(bad)).is_err(), "{bad:?}");
        }
    }
}
