//! What `gregor start` can be told, and what can go wrong before the node runs.

use std::path::PathBuf;

/// Where metrics and health are served: `--http HOST:PORT|off`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpListen {
    Off,
    On(String),
}

impl HttpListen {
    pub const DEFAULT: &'static str = "localhost:9644";

    /// Reads `HOST:PORT` or `off`.
    pub fn parse(text: &str) -> Self {
        match text {
            "off" | "" => HttpListen::Off,
            address => HttpListen::On(address.to_owned()),
        }
    }
}

#[derive(Clone, Debug)]
pub struct StartOptions {
    /// `--data DIR`
    pub data: PathBuf,
    /// `--listen HOST:PORT`
    pub listen: String,
    /// `--http HOST:PORT|off`
    pub http: HttpListen,
}

impl Default for StartOptions {
    fn default() -> Self {
        Self { data: "./gregor-data".into(), listen: "localhost:9092".into(), http: HttpListen::parse(HttpListen::DEFAULT) }
    }
}

/// Each text names the problem and the fix; `cli` prints it to stderr and exits with 1.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    Disk(String),
    #[error("{0}")]
    Listen(String),
    #[error("{0}")]
    Metadata(String),
}
