//! Kafka's 16-byte ids (`org.apache.kafka.common.Uuid`): printed as 22 characters of URL-safe base64 without padding.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

/// As one number: a hasher has less to do than with an array and its length.
impl std::hash::Hash for Uuid {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.0));
    }
}

#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a uuid: expected 22 characters of URL-safe base64")]
pub struct ParseUuidError(String);

impl Uuid {
    pub const ZERO: Uuid = Uuid([0; 16]);
    /// The topic id of `__cluster_metadata`.
    pub const METADATA_TOPIC: Uuid = Uuid::from_u128(1);

    pub const fn from_u128(value: u128) -> Self {
        Uuid(value.to_be_bytes())
    }

    pub const fn as_u128(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    pub const fn most_significant_bits(self) -> i64 {
        (self.as_u128() >> 64) as i64
    }

    pub const fn least_significant_bits(self) -> i64 {
        self.as_u128() as i64
    }

    pub fn is_zero(self) -> bool {
        self == Uuid::ZERO
    }

    /// A version 4 uuid as `Uuid.randomUuid`: never one of the 100 reserved values, never printed with a leading dash.
    pub fn random(rng: &mut fastrand::Rng) -> Self {
        loop {
            let mut bytes = rng.u128(..).to_be_bytes();
            bytes[6] = (bytes[6] & 0x0f) | 0x40;
            bytes[8] = (bytes[8] & 0x3f) | 0x80;
            let id = Uuid(bytes);
            if id.as_u128() >= 100 && !id.to_string().starts_with('-') {
                return id;
            }
        }
    }
}

impl std::fmt::Display for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = [0u8; 22];
        let len = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).expect("22 characters hold 16 bytes");
        f.write_str(std::str::from_utf8(&text[..len]).expect("base64 is ascii"))
    }
}

impl std::fmt::Debug for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Uuid {
    type Err = ParseUuidError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Java's decoder ignores the two padding bits of the 22nd character and accepts padding; so do we.
        let error = || ParseUuidError(text.to_owned());
        if text.len() > 24 {
            return Err(error());
        }
        let config = base64::engine::GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent);
        let engine = base64::engine::GeneralPurpose::new(&base64::alphabet::URL_SAFE, config);
        let bytes = engine.decode(text).map_err(|_| error())?;
        Ok(Uuid(bytes.try_into().map_err(|_| error())?))
    }
}

/// Standard base64 with padding, as JSON carries bytes.
pub fn base64_standard(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_java_does() {
        assert_eq!(Uuid::METADATA_TOPIC.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        let id: Uuid = "MkU3OEVBNTcwNTJENDM2Qk".parse().unwrap();
        assert_eq!(id.to_string(), "MkU3OEVBNTcwNTJENDM2Qg");
        assert!("short".parse::<Uuid>().is_err());
    }

    #[test]
    fn random_is_version_4() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..1000 {
            let id = Uuid::random(&mut rng);
            assert_eq!(id.0[6] >> 4, 4);
            assert!(!id.to_string().starts_with('-'));
            assert_eq!(id.to_string().parse::<Uuid>().unwrap(), id);
        }
    }
}
