//! Why a configuration was refused. Which exception Kafka throws decides the error code a client sees, so that is what the variants keep.

/// The texts are Kafka's own: tools and tests match on them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// ConfigException: a value that does not parse or fails its validator.
    #[error("{0}")]
    Invalid(String),
    /// InvalidConfigurationException: an unknown name, or values that contradict each other.
    #[error("{0}")]
    Conflict(String),
    /// InvalidRequestException: the request itself makes no sense for this resource.
    #[error("{0}")]
    Request(String),
    /// InvalidTopicException.
    #[error("{0}")]
    Topic(String),
}

impl ConfigError {
    /// `Invalid value V for configuration K: WHY`, the form of every ConfigException that concerns one key.
    pub fn value(name: &str, value: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Self::Invalid(format!("Invalid value {value} for configuration {name}: {why}"))
    }

    /// The protocol's code: INVALID_CONFIG, INVALID_REQUEST or INVALID_TOPIC_EXCEPTION.
    pub fn error_code(&self) -> i16 {
        match self {
            Self::Invalid(_) | Self::Conflict(_) => 40,
            Self::Request(_) => 42,
            Self::Topic(_) => 17,
        }
    }
}
