//! Why a partition refused, as a Produce, Fetch or ListOffsets response says it.

use storage::{AppendError, LogError, ReadError, RecordErrorDetail};
use wire::ErrorCode;

#[derive(Clone, Debug)]
pub struct PartitionError {
    pub code: ErrorCode,
    /// For the response; `None` where Kafka sends none.
    pub message: Option<String>,
    /// The records to blame, for Produce.
    pub record_errors: Vec<RecordErrorDetail>,
    /// The log start at the time, where the response carries it.
    pub log_start_offset: i64,
}

impl PartitionError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        PartitionError { message: Some(message.into()), ..Self::from(code) }
    }
}

impl From<ErrorCode> for PartitionError {
    fn from(code: ErrorCode) -> Self {
        PartitionError { code, message: None, record_errors: Vec::new(), log_start_offset: -1 }
    }
}

impl From<AppendError> for PartitionError {
    fn from(error: AppendError) -> Self {
        PartitionError {
            code: ErrorCode::from_code(error.code()),
            message: Some(error.to_string()),
            record_errors: error.record_errors().to_vec(),
            log_start_offset: -1,
        }
    }
}

impl From<ReadError> for PartitionError {
    fn from(error: ReadError) -> Self {
        PartitionError::new(ErrorCode::from_code(error.code()), error.to_string())
    }
}

impl From<LogError> for PartitionError {
    fn from(error: LogError) -> Self {
        PartitionError::new(ErrorCode::from_code(error.code()), error.to_string())
    }
}
