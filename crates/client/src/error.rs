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
    /// What a transactional producer answers after an error: `cause` is that error (`KafkaException`).
    #[error("{message}: {cause}")]
    Transaction { message: String, cause: Box<Error> },
    /// The record was still waiting when its transaction was aborted (`TransactionAbortedException`).
    #[error("Failing batch since transaction was aborted")]
    TransactionAborted,
    /// The call was interrupted by `Wakeup::wake`.
    #[error("interrupted by wakeup")]
    Wakeup,
    /// The client was closed.
    #[error("{0}")]
    Closed(String),
}

/// Kinds of errors by what helps against them (KIP-1050).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The same call may succeed later; the client itself has tried for as long as it may.
    Retriable,
    /// The transaction has to be aborted; then the producer goes on.
    Abortable,
    /// This producer or this membership is over; a new one can take its place.
    ApplicationRecoverable,
    /// Nothing helps until a setting or a permission changes.
    InvalidConfiguration,
    /// In a transaction: abort it.
    Other,
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
            Error::Transaction { cause, .. } => cause.code(),
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

    /// What the application can do about it.
    pub fn class(&self) -> ErrorClass {
        use ErrorCode::*;
        if let Error::Transaction { cause, .. } = self {
            return cause.class();
        }
        match self.code() {
            Some(TransactionAbortable) => ErrorClass::Abortable,
            Some(
                ProducerFenced | InvalidProducerEpoch | InvalidProducerIdMapping | FencedInstanceId | IllegalGeneration | UnknownMemberId,
            ) => ErrorClass::ApplicationRecoverable,
            Some(
                SaslAuthenticationFailed
                | TopicAuthorizationFailed
                | GroupAuthorizationFailed
                | ClusterAuthorizationFailed
                | TransactionalIdAuthorizationFailed
                | DelegationTokenAuthorizationFailed
                | InvalidReplicationFactor
                | InvalidRequiredAcks
                | InvalidTopicException
                | RecordListTooLarge
                | UnsupportedForMessageFormat
                | UnsupportedVersion,
            ) => ErrorClass::InvalidConfiguration,
            _ if self.is_retriable() => ErrorClass::Retriable,
            _ => ErrorClass::Other,
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
            Error::Transaction { .. } => "KafkaException",
            Error::TransactionAborted => "TransactionAbortedException",
            Error::Wakeup => "WakeupException",
            Error::Closed(_) => "IllegalStateException",
        }
    }
}
