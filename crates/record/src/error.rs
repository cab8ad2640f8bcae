//! What can be wrong with bytes that claim to be records, with the code Kafka answers.

/// Each variant is one of Kafka's exceptions; `code` is what goes on the wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// CORRUPT_MESSAGE: sizes or checksums disagree with the bytes. Clients retry it.
    #[error("{0}")]
    Corrupt(String),
    /// INVALID_RECORD: the structure breaks a rule. Clients do not retry it.
    #[error("{0}")]
    Invalid(String),
    #[error("unsupported compression type id {0}")]
    UnsupportedCompression(u8),
    /// The compressed bytes do not decode; Kafka answers UNKNOWN_SERVER_ERROR.
    #[error("failed to decompress record stream: {0}")]
    Decompress(String),
    /// More decompressed bytes than the caller allows.
    #[error("record batch expands to more than the {0} bytes allowed when decompressed; send smaller batches")]
    Expands(usize),
    #[error("{0}")]
    UnsupportedForMessageFormat(String),
}

impl RecordError {
    /// The Kafka error code.
    pub fn code(&self) -> i16 {
        match self {
            RecordError::Corrupt(_) => 2,
            RecordError::Invalid(_) | RecordError::Expands(_) => 87,
            RecordError::UnsupportedCompression(_) => 76,
            RecordError::Decompress(_) => -1,
            RecordError::UnsupportedForMessageFormat(_) => 43,
        }
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        RecordError::Invalid(text.into())
    }
}
