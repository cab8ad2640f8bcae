//! What can go wrong with a log, and the Kafka error codes for it.

use record::{RecordError, RecordErrorDetail, ValidationError};
use std::io;
use std::path::{Path, PathBuf};

/// Opening, flushing, truncating: errors of the disk, or files that contradict each other.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{}: {problem}", path.display())]
    Corrupt { path: PathBuf, problem: String },
    /// Bytes of a segment that are no batch.
    #[error("{}: damaged at position {position}, where offset {offset} or a later one should be; records behind it can be read by their offsets", path.display())]
    Damaged { path: PathBuf, position: u64, offset: i64 },
    #[error("{0}")]
    OutOfRange(String),
    /// The log is, or may be, in a log directory that has failed.
    #[error("{0}")]
    Offline(String),
}

impl LogError {
    /// The path is only copied when there is an error.
    pub fn io<P: AsRef<Path>>(action: &'static str, path: P) -> impl FnOnce(io::Error) -> LogError {
        move |source| LogError::Io { action, path: path.as_ref().to_owned(), source }
    }

    pub fn corrupt(path: impl Into<PathBuf>, problem: impl Into<String>) -> LogError {
        LogError::Corrupt { path: path.into(), problem: problem.into() }
    }

    /// Whether a limit of this process was in the way (open files), which says nothing about the log.
    pub fn is_process_limit(&self) -> bool {
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        matches!(self, LogError::Io { source, .. } if matches!(source.raw_os_error(), Some(ENFILE | EMFILE)))
    }

    /// The Kafka error code: KAFKA_STORAGE_ERROR, CORRUPT_MESSAGE, or OFFSET_OUT_OF_RANGE.
    pub fn code(&self) -> i16 {
        match self {
            LogError::Io { .. } | LogError::Corrupt { .. } | LogError::Offline(_) => 56,
            LogError::OutOfRange(_) => 1,
            LogError::Damaged { .. } => 2,
        }
    }
}

/// A refused append. Nothing was written, except possibly for `Log` errors of kind Io.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    Invalid(#[from] ValidationError),
    /// Producer epoch, sequence and transaction rules.
    #[error("{message}")]
    Producer { code: i16, message: String },
    /// RECORD_LIST_TOO_LARGE
    #[error("{0}")]
    BatchTooLarge(String),
    /// Offsets of a replicated or raft batch do not continue the log.
    #[error("{0}")]
    UnexpectedOffset(String),
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<RecordError> for AppendError {
    fn from(error: RecordError) -> Self {
        AppendError::Invalid(error.into())
    }
}

impl AppendError {
    /// The Kafka error code.
    pub fn code(&self) -> i16 {
        match self {
            AppendError::Invalid(e) => e.code,
            AppendError::Producer { code, .. } => *code,
            AppendError::BatchTooLarge(_) => 18,
            AppendError::UnexpectedOffset(_) => -1,
            AppendError::Log(e) => e.code(),
        }
    }

    /// The records to blame, for Produce responses from v8 on.
    pub fn record_errors(&self) -> &[RecordErrorDetail] {
        match self {
            AppendError::Invalid(e) => &e.record_errors,
            _ => &[],
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// OFFSET_OUT_OF_RANGE
    #[error("offset {offset} is not between log start {log_start} and log end {log_end}")]
    OffsetOutOfRange { offset: i64, log_start: i64, log_end: i64 },
    #[error(transparent)]
    Log(#[from] LogError),
}

impl ReadError {
    /// The Kafka error code.
    pub fn code(&self) -> i16 {
        match self {
            ReadError::OffsetOutOfRange { .. } => 1,
            ReadError::Log(e) => e.code(),
        }
    }
}
