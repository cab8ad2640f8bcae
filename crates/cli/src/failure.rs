//! Owns: how a tool ends when it does not end well. Tools return a `Failure`; only `main` prints it and exits.

#[derive(Debug)]
pub enum Failure {
    /// The command line could not be read. Exit code 1.
    Options(String),
    /// The command line does not make sense; the help follows the message. Exit code 1.
    Usage { message: String, help: String },
    /// What went wrong, for stderr. Exit code 1.
    Message(String),
    /// A broker's refusal, for tools that print it differently. Exit code 1.
    Refused(String),
    /// Everything is said already.
    Status(i32),
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Failure::Message(message.into())
    }

    /// Prints what there is to say, and gives the exit code.
    pub fn report(self) -> i32 {
        match self {
            Failure::Options(message) | Failure::Message(message) | Failure::Refused(message) => {
                crate::out::complain!("{message}");
                1
            }
            Failure::Usage { message, help } => {
                crate::out::complain!("{message}");
                crate::out::complain!("{}", help.strip_suffix('\n').unwrap_or(&help));
                1
            }
            Failure::Status(code) => code,
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Message(error.to_string())
    }
}
