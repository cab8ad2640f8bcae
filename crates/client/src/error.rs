//! Owns: the one error type of the client crate. Used by: all of it and its users.
//! Broker errors carry Kafka's code and the message the broker sent (or Kafka's own text for the code).

use wire::ErrorCode;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The broker answered with an error; `message` is its own text, else Kafka's text for the code.
    #[error("{message}")]
    Broker { code: ErrorCode, message: String },
    /// Java's `TimeoutException`.
    #[error("{0}")]
    Timeout(String),
    /// The connection went away before the answer came (`DisconnectException`).
    #[error("{0}")]
    Disconnected(String),
    /// Neither side's version ranges overlap (`UnsupportedVersionException`).
    #[error("{0}")]
    UnsupportedVersion(String),
    /// What the broker sent cannot be understood.
    #[error("invalid response from {node}: {reason}")]
    InvalidResponse { node: String, reason: String },
    /// `ConfigException`.
    #[error("{0}")]
    Config(String),
    /// An argument or the state of the client does not allow the call (`IllegalStateException`, `IllegalArgumentException`).
    #[error("{0}")]
    IllegalState(String),
    /// `NoOffsetForPartitionException`: no committed position and auto.offset.reset is none.
    #[error("Undefined offset with no reset policy for partitions: [{0}]")]
    NoOffsetForPartition(String),
    /// `OffsetOutOfRangeException` with auto.offset.reset none.
    #[error("Fetch position {offset} is out of range for partition {partition}, with no reset policy configured")]
    OffsetOutOfRange { partition: String, offset: i64 },
    /// `LogTruncationException`: records that were read are not in the new leader's log, and auto.offset.reset is none.
    #[error("Truncated partitions detected with divergent offsets {{{partition}={divergent}}}")]
    LogTruncation { partition: String, divergent: i64 },
    /// A batch that fails its checksum or cannot be decompressed (`CorruptRecordException`).
    #[error("{0}")]
    CorruptRecord(String),
    /// A value and bytes do not fit each other (`SerializationException`).
    #[error("{0}")]
    Serialization(String),
    /// The call was interrupted by `Wakeup::wake`.
    #[error("interrupted by wakeup")]
    Wakeup,
    /// The client was closed.
    #[error("{0}")]
    Closed(String),
}

impl Error {
    pub fn broker(code: ErrorCode, message: Option<String>) -> Self {
        let message = message.filter(|text| !text.is_empty()).unwrap_or_else(|| code.message().to_owned());
        Error::Broker { code, message }
    }

    pub(crate) fn from_code(code: i16, message: Option<String>) -> Self {
        Self::broker(ErrorCode::from_code(code), message)
    }

    /// `Ok` for code 0, else the broker error.
    pub(crate) fn check(code: i16, message: Option<String>) -> Result<()> {
        if code == 0 { Ok(()) } else { Err(Self::from_code(code, message)) }
    }

    /// The protocol error code, when the broker (or a local check with a protocol meaning) gave one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Error::Broker { code, .. } => Some(*code),
            Error::UnsupportedVersion(_) => Some(ErrorCode::UnsupportedVersion),
            Error::CorruptRecord(_) => Some(ErrorCode::CorruptMessage),
            _ => None,
        }
    }

    /// Java's `RetriableException`: the same call may succeed later.
    pub fn is_retriable(&self) -> bool {
        match self {
            Error::Broker { code, .. } => code.is_retriable(),
            Error::Disconnected(_) | Error::Timeout(_) | Error::CorruptRecord(_) => true,
            _ => false,
        }
    }

    pub fn is_timeout(&self) -> bool {
        matches!(self, Error::Timeout(_)) || self.code() == Some(ErrorCode::RequestTimedOut)
    }

    /// Simple name of the exception that Java throws for this, for tools that print it.
    pub fn java_exception(&self) -> &'static str {
        match self {
            Error::Broker { .. } => "ApiException",
            Error::Timeout(_) => "TimeoutException",
            Error::Disconnected(_) => "DisconnectException",
            Error::UnsupportedVersion(_) => "UnsupportedVersionException",
            Error::InvalidResponse { .. } => "SchemaException",
            Error::Config(_) => "ConfigException",
            Error::IllegalState(_) => "IllegalStateException",
            Error::NoOffsetForPartition(_) => "NoOffsetForPartitionException",
            Error::OffsetOutOfRange { .. } => "OffsetOutOfRangeException",
            Error::LogTruncation { .. } => "LogTruncationException",
            Error::CorruptRecord(_) => "CorruptRecordException",
            Error::Serialization(_) => "SerializationException",
            Error::Wakeup => "WakeupException",
            Error::Closed(_) => "IllegalStateException",
        }
    }
}
