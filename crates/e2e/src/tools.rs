//! The command-line tools, ours and Apache's, under the same names and flags.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::{self, Finished, Running};
use crate::repo;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tools {
    Gregor,
    Apache,
}

impl Tools {
    /// `tool` by its Kafka name, e.g. `kafka-topics`.
    pub fn command(self, tool: &str, args: &[&str]) -> Command {
        let mut command = match self {
            Tools::Gregor if !repo::self_check() => Command::new(repo::gregor()),
            _ => Command::new(repo::apache_launcher()),
        };
        command.arg(tool).args(args);
        command
    }

    pub fn run(self, tool: &str, args: &[&str]) -> Finished {
        self.run_with_input(tool, args, "")
    }

    pub fn run_with_input(self, tool: &str, args: &[&str], input: &str) -> Finished {
        process::run(&mut self.command(tool, args), input, Duration::from_secs(120))
    }

    pub fn spawn(self, tool: &str, args: &[&str], out: &Path) -> Running {
        Running::spawn(&mut self.command(tool, args), out, &out.with_extension("err"))
    }
}
