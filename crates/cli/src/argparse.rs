//! Owns: command lines of the argparse4j kind (subcommands, short and long options, usage errors): `kafka-storage` and its like.
//! Used by: tools that Kafka builds on argparse4j; the others use `options`.

use std::collections::BTreeMap;

use crate::failure::Failure;
use crate::out::{complain, say};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    Nothing,
    One,
    /// At least one word, up to the next option.
    Many,
}

/// One option of a command.
pub struct Arg {
    pub long: &'static str,
    /// Empty if there is none.
    pub short: &'static str,
    pub takes: Takes,
    pub required: bool,
    pub help: &'static str,
}

pub struct Command {
    pub name: &'static str,
    /// The usage lines as argparse4j lays them out.
    pub usage: &'static str,
    pub help: &'static str,
    pub args: &'static [Arg],
    /// Options of which only one may be there.
    pub exclusive: &'static [&'static str],
}

pub struct Program {
    pub name: &'static str,
    pub about: &'static str,
    pub commands: &'static [Command],
}

impl Arg {
    fn shown(&self) -> String {
        if self.short.is_empty() { self.long.to_owned() } else { format!("{}/{}", self.long, self.short) }
    }

    fn key(&self) -> &'static str {
        self.long.trim_start_matches('-')
    }
}

/// What was found: the subcommand and its values by long name without dashes; a flag has an empty list.
pub struct Parsed {
    pub command: &'static str,
    values: BTreeMap<&'static str, Vec<String>>,
}

impl Parsed {
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The last value given.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.last().map(String::as_str)
    }

    pub fn values(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }
}

impl Program {
    /// A usage error goes to stderr with exit code 1; help to stdout with exit code 0.
    pub fn parse(&self, words: &[String]) -> Result<Parsed, Failure> {
        let Some((first, rest)) = words.split_first() else {
            return Err(self.error(None, "too few arguments"));
        };
        if first == "-h" || first == "--help" {
            self.help();
            return Err(Failure::Status(0));
        }
        if first.starts_with('-') {
            return Err(self.error(None, &format!("unrecognized arguments: '{first}'")));
        }
        let Some(command) = self.commands.iter().find(|command| command.name == first) else {
            let choices: Vec<String> = self.commands.iter().map(|command| format!("'{}'", command.name)).collect();
            return Err(self.error(None, &format!("invalid choice: '{first}'  (choose from {})", choices.join(", "))));
        };
        self.parse_command(command, rest)
    }

    /// For a program without subcommands.
    pub fn parse_only(name: &'static str, command: &'static Command, words: &[String]) -> Result<Parsed, Failure> {
        Program { name, about: command.help, commands: &[] }.parse_command(command, words)
    }

    fn parse_command(&self, command: &'static Command, words: &[String]) -> Result<Parsed, Failure> {
        let mut values: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        let mut rest = words.iter().peekable();
        let is_value = |word: &&String| !word.starts_with('-') || word.len() == 1 || word[1..].parse::<f64>().is_ok();
        while let Some(word) = rest.next() {
            if word == "-h" || word == "--help" {
                command_help(command);
                return Err(Failure::Status(0));
            }
            let (arg, glued) = self.find(command, word)?;
            self.check_exclusive(command, arg, &values)?;
            let slot = values.entry(arg.key()).or_default();
            if arg.takes == Takes::Nothing {
                continue;
            }
            match glued.or_else(|| rest.next_if(is_value).cloned()) {
                Some(value) => slot.push(value),
                None => {
                    let wanted = if arg.takes == Takes::Many { "at least one argument" } else { "one argument" };
                    return Err(self.error(Some(command), &format!("argument {}: expected {wanted}", arg.shown())));
                }
            }
            if arg.takes == Takes::Many {
                while let Some(value) = rest.next_if(is_value) {
                    slot.push(value.clone());
                }
            }
        }
        match command.args.iter().rev().find(|arg| arg.required && !values.contains_key(arg.key())) {
            Some(arg) => Err(self.error(Some(command), &format!("argument {} is required", arg.shown()))),
            None => Ok(Parsed { command: command.name, values }),
        }
    }

    fn check_exclusive(&self, command: &Command, arg: &Arg, found: &BTreeMap<&'static str, Vec<String>>) -> Result<(), Failure> {
        if !command.exclusive.contains(&arg.long) {
            return Ok(());
        }
        let other = |other: &&Arg| other.long != arg.long && command.exclusive.contains(&other.long) && found.contains_key(other.key());
        match command.args.iter().find(other) {
            Some(other) => {
                let text = format!("argument {}: not allowed with argument {}", arg.shown(), other.shown());
                Err(self.error(Some(command), &text))
            }
            None => Ok(()),
        }
    }

    /// `--name`, `--name=value`, a unique beginning of a long name, `-n`, `-nvalue`.
    fn find(&self, command: &'static Command, word: &str) -> Result<(&'static Arg, Option<String>), Failure> {
        let (name, glued) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (word, None),
        };
        if let Some(arg) = command.args.iter().find(|arg| arg.long == name || (!arg.short.is_empty() && arg.short == name)) {
            return Ok((arg, glued));
        }
        if name.starts_with("--") {
            let matching: Vec<&Arg> = command.args.iter().filter(|arg| arg.long.starts_with(name)).collect();
            return match matching[..] {
                [arg] => Ok((arg, glued)),
                [] => Err(self.error(Some(command), &format!("unrecognized arguments: '{word}'"))),
                _ => {
                    let names: Vec<&str> = matching.iter().map(|arg| arg.long).collect();
                    Err(self.error(Some(command), &format!("ambiguous option: {name} could match {}", names.join(", "))))
                }
            };
        }
        let short = command
            .args
            .iter()
            .find(|arg| arg.takes != Takes::Nothing && !arg.short.is_empty() && word.len() > 2 && word.starts_with(arg.short));
        match short {
            Some(arg) => Ok((arg, Some(word[arg.short.len()..].to_owned()))),
            None => Err(self.error(Some(command), &format!("unrecognized arguments: '{word}'"))),
        }
    }

    fn usage(&self) -> String {
        let names: Vec<&str> = self.commands.iter().map(|command| command.name).collect();
        let indent = " ".repeat("usage:  ".len() + self.name.len());
        format!("usage: {} [-h]\n{indent}{{{}}}\n{indent}...", self.name, names.join(","))
    }

    /// The usage and what is wrong, on stderr.
    pub fn error(&self, command: Option<&Command>, text: &str) -> Failure {
        complain!("{}", command.map_or_else(|| self.usage(), |command| command.usage.to_owned()));
        complain!("{}: error: {text}", self.name);
        Failure::Status(1)
    }

    fn help(&self) {
        say!("{}\n\n{}\n\npositional arguments:", self.usage(), self.about);
        for command in self.commands {
            say!("  {:<22} {}", command.name, command.help);
        }
        say!("\noptional arguments:\n  -h, --help             show this help message and exit");
    }
}

fn command_help(command: &Command) {
    say!("{}\n\noptional arguments:\n  -h, --help             show this help message and exit", command.usage);
    for arg in command.args {
        let metavar = arg.long.trim_start_matches('-').replace('-', "_").to_uppercase();
        let metavar = if arg.takes == Takes::Nothing { String::new() } else { format!(" {metavar}") };
        let short = if arg.short.is_empty() { String::new() } else { format!(", {}{metavar}", arg.short) };
        say!("  {}{metavar}{short}\n                         {}", arg.long, arg.help);
    }
}
