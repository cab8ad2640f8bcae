//! Owns: command lines of the argparse4j kind as `kafka-storage`, `kafka-features` and their like have them: options before and after a
//! subcommand, abbreviations, exclusive groups, `@file`. What a level takes is read from its help text, which is Kafka's own.
//! Used by: tools that Kafka builds on argparse4j with subcommands. Never does: print anything but help and usage errors.
//! Kafka counterpart: net.sourceforge.argparse4j, ArgumentParserImpl.

mod text;

use std::collections::BTreeMap;

use crate::failure::Failure;
use crate::out::{complain, say, say_part};

/// The options of the program itself, or of a subcommand.
pub struct Level {
    /// The subcommand; empty for the program itself.
    pub name: &'static str,
    /// What `--help` prints. The usage is what comes before the first empty line.
    pub help: &'static str,
    pub required: &'static [&'static str],
    /// Options of which only one may be there.
    pub exclusive: &'static [&'static str],
    /// Whether one of the exclusive options has to be there.
    pub one_required: bool,
    /// Options that take a number of 32 bits, of 64, of 16.
    pub integers: &'static [&'static str],
    pub longs: &'static [&'static str],
    pub shorts: &'static [&'static str],
}

impl Level {
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Level { name, help, required: &[], exclusive: &[], one_required: false, integers: &[], longs: &[], shorts: &[] }
    }
}

pub struct Program {
    pub name: &'static str,
    pub top: Level,
    pub commands: &'static [Level],
    /// Whether `@file` stands for the lines of a file.
    pub from_file: bool,
}

/// An option as its line in the help tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Flags<'a> {
    names: Vec<&'a str>,
    takes_value: bool,
    /// Takes every word up to the next option.
    takes_many: bool,
}

impl Flags<'_> {
    fn textual(&self) -> String {
        self.names.join("/")
    }

    /// The long name without dashes.
    fn key(&self) -> String {
        let long = self.names.iter().find(|name| name.starts_with("--"));
        long.or(self.names.first()).map_or(String::new(), |name| name.trim_start_matches('-').to_owned())
    }
}

/// Options stand two blanks in from the left; their help begins in column 25, or on the next line behind a title of more than 21 letters.
fn flags(help: &str) -> Vec<Flags<'_>> {
    help.lines().filter_map(option).collect()
}

fn option(line: &str) -> Option<Flags<'_>> {
    let rest = line.strip_prefix("  ").filter(|rest| rest.starts_with('-'))?;
    let title = rest.split("  ").next().unwrap_or(rest);
    let mut found = Flags { names: Vec::new(), takes_value: false, takes_many: false };
    for part in title.split(", ") {
        let (name, value) = part.split_once(' ').unwrap_or((part, ""));
        found.names.push(name);
        found.takes_value |= !value.is_empty();
        found.takes_many |= value.ends_with(" ...]");
    }
    Some(found)
}

/// What was found: the subcommand, and values by long name without dashes; a flag has an empty list.
#[derive(Default)]
pub struct Parsed {
    pub command: &'static str,
    values: BTreeMap<String, Vec<String>>,
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

    /// An option declared as a number.
    pub fn integer(&self, name: &str) -> Option<i32> {
        self.number(name)
    }

    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.value(name)?.parse().ok()
    }
}

/// Why parsing ended early.
pub enum Stop {
    /// Help was asked for, and is printed.
    Help,
    /// So was the version.
    Version,
    Error(UsageError),
}

pub struct UsageError {
    pub message: String,
    program: &'static str,
    usage: &'static str,
    /// Names that the user may have meant.
    candidates: Vec<String>,
}

impl UsageError {
    /// `ArgumentParser.handleError`: the usage and the message on stderr; exit code 1.
    pub fn report(&self) -> Failure {
        complain!("{}", self.usage);
        complain!("{}", text::wrap(&format!("{}: error: {}", self.program, self.message), text::WIDTH));
        if !self.candidates.is_empty() {
            complain!("\nDid you mean:");
            self.candidates.iter().for_each(|candidate| complain!("\t{candidate}"));
        }
        Failure::Status(1)
    }
}

/// What Java finds wrong with the value of an option that takes a number.
fn not_a_number(level: &Level, option: &Flags<'_>, value: &str) -> Option<String> {
    let among = |names: &[&str]| names.iter().any(|name| option.names.contains(name));
    let input = |radix: &str| format!("For input string: \"{value}\"{radix}");
    let (kind, why) = if among(level.integers) && value.parse::<i32>().is_err() {
        ("Integer", input(if value.parse::<i64>().is_ok() { " under radix 10" } else { "" }))
    } else if among(level.longs) && value.parse::<i64>().is_err() {
        ("Long", input(""))
    } else if among(level.shorts) && value.parse::<i16>().is_err() {
        let too_large = value.parse::<i32>().is_ok();
        ("Short", if too_large { format!("Value out of range. Value:\"{value}\" Radix:10") } else { input("") })
    } else {
        return None;
    };
    Some(format!("could not convert '{value}' to {kind} ({why})"))
}

/// The state of one parse.
struct Words {
    words: Vec<String>,
    next: usize,
    /// `--` was there: nothing after it is an option.
    separated: bool,
    /// The first thing missing at an outer level; what is wrong further in is told before it.
    deferred: Option<UsageError>,
}

impl Program {
    /// As `parse_or_stop`; help ends the tool with code 0, an error as argparse4j's own handler ends it.
    pub fn parse(&self, words: &[String]) -> Result<Parsed, Failure> {
        self.parse_or_stop(words).map_err(|stop| match stop {
            Stop::Help | Stop::Version => Failure::Status(0),
            Stop::Error(error) => error.report(),
        })
    }

    /// For the tools that print their help, and end well, when nothing is given; asked for by name it ends them with code 1.
    pub fn parse_given(&self, words: &[String]) -> Result<Parsed, Failure> {
        if words.is_empty() {
            say_part!("{}", self.top.help);
            return Err(Failure::Status(0));
        }
        self.parse_or_stop(words).map_err(|stop| match stop {
            Stop::Help => Failure::Status(1),
            Stop::Version => Failure::Status(0),
            Stop::Error(error) => error.report(),
        })
    }

    pub fn parse_or_stop(&self, words: &[String]) -> Result<Parsed, Stop> {
        let mut parsed = Parsed::default();
        let mut state = Words { words: words.to_vec(), next: 0, separated: false, deferred: None };
        self.level(&self.top, &mut state, &mut parsed)?;
        match state.deferred {
            Some(error) => Err(Stop::Error(error)),
            None => Ok(parsed),
        }
    }

    /// An error that the tool itself finds in what was parsed.
    pub fn refuse(&self, message: impl Into<String>) -> Failure {
        self.error(&self.top, message.into()).report()
    }

    fn error(&self, level: &Level, message: String) -> UsageError {
        let usage = level.help.split("\n\n").next().unwrap_or_default().trim_end();
        UsageError { message, program: self.name, usage, candidates: Vec::new() }
    }

    fn level(&self, level: &Level, state: &mut Words, parsed: &mut Parsed) -> Result<(), Stop> {
        let known = flags(level.help);
        let mut found: Vec<String> = Vec::new();
        let mut exclusive: Option<Flags<'_>> = None;
        let fail = |message: String| Stop::Error(self.error(level, message));
        while self.expand(level, state)? {
            let Some(word) = state.words.get(state.next).cloned() else { break };
            if word == "--" && !state.separated {
                state.separated = true;
                state.next += 1;
                continue;
            }
            if !state.at_flag() {
                if level.name.is_empty() && !state.separated && !self.commands.is_empty() {
                    self.check_complete(level, &known, &found, exclusive.is_some(), state);
                    return self.command(&word, state, parsed);
                }
                return Err(fail(format!("unrecognized arguments: '{}'", state.words[state.next..].join(" "))));
            }
            let (flag, glued) = match word.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            state.next += 1;
            for (option, glued) in self.resolve(level, &known, &word, flag, glued)? {
                if level.exclusive.iter().any(|name| option.names.contains(name)) {
                    match &exclusive {
                        Some(other) if *other != option => {
                            return Err(fail(format!("argument {}: not allowed with argument {}", option.textual(), other.textual())));
                        }
                        _ => exclusive = Some(option.clone()),
                    }
                }
                if option.key() == "help" {
                    say_part!("{}", level.help);
                    return Err(Stop::Help);
                }
                if option.key() == "version" && !option.takes_value {
                    say!("{}", crate::KAFKA_VERSION);
                    return Err(Stop::Version);
                }
                let value = self.value(level, &option, glued, state)?;
                let slot = parsed.values.entry(option.key()).or_default();
                slot.extend(value);
                while option.takes_many && !state.at_flag() && self.expand(level, state)? {
                    slot.extend(state.words.get(state.next).cloned());
                    state.next += 1;
                }
                found.push(option.key());
            }
        }
        if level.name.is_empty() && !self.commands.is_empty() {
            return Err(fail("too few arguments".to_owned()));
        }
        self.check_complete(level, &known, &found, exclusive.is_some(), state);
        Ok(())
    }

    /// Puts the lines of a file in place of `@file`; whether a word is left.
    fn expand(&self, level: &Level, state: &mut Words) -> Result<bool, Stop> {
        while let Some(word) = state.words.get(state.next) {
            let Some(file) = word.strip_prefix('@').filter(|file| self.from_file && !file.is_empty()) else { return Ok(true) };
            let Ok(text) = std::fs::read_to_string(file) else {
                return Err(Stop::Error(self.error(level, format!("Could not read arguments from file '{file}'"))));
            };
            state.words.splice(state.next..=state.next, text.lines().map(str::to_owned));
        }
        Ok(false)
    }

    fn command(&self, word: &str, state: &mut Words, parsed: &mut Parsed) -> Result<(), Stop> {
        let exact = self.commands.iter().find(|command| command.name == word);
        let matching: Vec<&Level> = self.commands.iter().filter(|command| !word.is_empty() && command.name.starts_with(word)).collect();
        let command = match (exact, &matching[..]) {
            (Some(command), _) => command,
            (None, [command]) => *command,
            (None, []) => {
                let choices: Vec<String> = self.commands.iter().map(|command| format!("'{}'", command.name)).collect();
                let mut error = self.error(&self.top, format!("invalid choice: '{word}' (choose from {})", choices.join(", ")));
                let names = self.commands.iter().map(|command| (command.name.to_owned(), command.name));
                error.candidates = text::candidates(word, names);
                return Err(Stop::Error(error));
            }
            _ => {
                let mut names: Vec<&str> = matching.iter().map(|command| command.name).collect();
                names.sort_unstable();
                let message = format!("ambiguous command: {word} could match {}", names.join(", "));
                return Err(Stop::Error(self.error(&self.top, message)));
            }
        };
        state.next += 1;
        parsed.command = command.name;
        self.level(command, state, parsed)
    }

    /// The options that a word names: one, or several in the manner of `-abc`; the last one may have its value within the word.
    fn resolve<'a>(
        &self,
        level: &Level,
        known: &[Flags<'a>],
        word: &str,
        flag: &str,
        glued: Option<String>,
    ) -> Result<Vec<(Flags<'a>, Option<String>)>, Stop> {
        let by_name = |name: &str| known.iter().find(|option| option.names.contains(&name)).cloned();
        if let Some(option) = by_name(flag) {
            return Ok(vec![(option, glued)]);
        }
        let mut matching: Vec<&str> =
            known.iter().flat_map(|option| &option.names).filter(|name| name.starts_with(flag)).copied().collect();
        if let [name] = matching[..] {
            return Ok(by_name(name).map(|option| (option, glued)).into_iter().collect());
        }
        if !matching.is_empty() {
            matching.sort_unstable();
            let message = format!("ambiguous option: {flag} could match {}", matching.join(", "));
            return Err(Stop::Error(self.error(level, message)));
        }
        let mut found = Vec::new();
        let letters = word.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
        let mut complete = letters.is_some();
        for (at, letter) in letters.unwrap_or_default().char_indices() {
            let Some(option) = by_name(&format!("-{letter}")) else {
                complete = false;
                break;
            };
            let takes_value = option.takes_value;
            let rest = letters.and_then(|letters| letters.get(at + letter.len_utf8()..)).filter(|rest| !rest.is_empty());
            found.push((option, rest.filter(|_| takes_value).map(str::to_owned)));
            if takes_value {
                break;
            }
        }
        if complete {
            return Ok(found);
        }
        let mut error = self.error(level, format!("unrecognized arguments: '{word}'"));
        let body = word.trim_start_matches('-');
        if body.len() >= 2 {
            let names = known.iter().flat_map(|option| &option.names);
            let names = names.map(|name| ((*name).to_owned(), name.trim_start_matches('-'))).filter(|(_, body)| body.len() > 1);
            error.candidates = text::candidates(body, names);
        }
        Err(Stop::Error(error))
    }

    fn value(&self, level: &Level, option: &Flags<'_>, glued: Option<String>, state: &mut Words) -> Result<Option<String>, Stop> {
        let fail = |text: String| Stop::Error(self.error(level, format!("argument {}: {text}", option.textual())));
        if !option.takes_value {
            return match glued {
                Some(value) => Err(fail(format!("ignore implicit argument '{value}'"))),
                None => Ok(None),
            };
        }
        let mut value = glued;
        if value.is_none() && self.expand(level, state)? && !state.at_flag() {
            value = state.words.get(state.next).cloned();
            state.next += 1;
        }
        let wanted = if option.takes_many { "expected 1 argument(s)" } else { "expected one argument" };
        let Some(value) = value else { return Err(fail(wanted.to_owned())) };
        if let Some(problem) = not_a_number(level, option, &value) {
            return Err(fail(problem));
        }
        Ok(Some(value))
    }

    /// Of several missing options the last one is named.
    fn check_complete(&self, level: &Level, known: &[Flags<'_>], found: &[String], any_exclusive: bool, state: &mut Words) {
        if state.deferred.is_some() {
            return;
        }
        let of = |names: &[&str]| -> Vec<Flags<'_>> {
            known.iter().filter(|option| names.iter().any(|name| option.names.contains(name))).cloned().collect()
        };
        let missing = of(level.required).into_iter().rfind(|option| !found.contains(&option.key()));
        if let Some(option) = missing {
            state.deferred = Some(self.error(level, format!("argument {} is required", option.textual())));
        } else if level.one_required && !any_exclusive {
            let names: Vec<String> = of(level.exclusive).iter().map(Flags::textual).collect();
            state.deferred = Some(self.error(level, format!("one of the arguments {} is required", names.join(" "))));
        }
    }
}

impl Words {
    /// Whether the next word is an option; negative numbers are none.
    fn at_flag(&self) -> bool {
        let Some(word) = self.words.get(self.next).filter(|_| !self.separated) else { return false };
        let is_number = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
        match word.strip_prefix('-') {
            Some(rest) => word == "--" || (!rest.is_empty() && !word.trim_start_matches('-').is_empty() && !is_number(rest)),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: &str = "usage: tool [-h]\n\noptional arguments:\n  -h, --help             show\n  --server SERVER        where\n";
    const SUB: &str = "usage: tool do [-h]\n\noptional arguments:\n  -h, --help             show\n  --config CONFIG, -c CONFIG\n                         a file\n  --id ID, -i ID         a number\n  --quick, -q            now\n  --quiet                hush\n";

    const PROGRAM: Program = Program {
        name: "tool",
        top: Level::new("", TOP),
        commands: &[
            Level { required: &["--config"], exclusive: &["--quick", "--quiet"], integers: &["--id"], ..Level::new("do", SUB) },
            Level::new("doubt", SUB),
            Level::new("other", SUB),
        ],
        from_file: false,
    };

    fn parse(line: &str) -> Result<Parsed, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        PROGRAM.parse_or_stop(&words).map_err(|stop| match stop {
            Stop::Help | Stop::Version => "help".to_owned(),
            Stop::Error(error) => error.message,
        })
    }

    #[test]
    fn options_are_read_from_the_help() {
        let found = flags(SUB);
        assert_eq!(found[1], Flags { names: vec!["--config", "-c"], takes_value: true, takes_many: false });
        assert_eq!(found[3], Flags { names: vec!["--quick", "-q"], takes_value: false, takes_many: false });
        assert_eq!((found[2].textual(), found[2].key()), ("--id/-i".to_owned(), "id".to_owned()));
    }

    #[test]
    fn values_in_every_spelling() {
        for line in ["do --config f", "do --config=f", "do -c f", "do -cf", "do --conf f", "--server x do -qcf", "do -c=f"] {
            assert_eq!(parse(line).ok().and_then(|parsed| parsed.value("config").map(str::to_owned)), Some("f".to_owned()), "{line}");
        }
        assert_eq!(parse("oth -i -5").ok().and_then(|parsed| parsed.integer("id")), Some(-5));
    }

    #[test]
    fn errors_as_argparse4j_words_them() {
        for (line, message) in [
            ("", "too few arguments"),
            ("--server x", "too few arguments"),
            ("nope", "invalid choice: 'nope' (choose from 'do', 'doubt', 'other')"),
            ("dou --zzz", "unrecognized arguments: '--zzz'"),
            ("do", "argument --config/-c is required"),
            ("do -c", "argument --config/-c: expected one argument"),
            ("do -c f -i x", "argument --id/-i: could not convert 'x' to Integer (For input string: \"x\")"),
            ("do --qui", "ambiguous option: --qui could match --quick, --quiet"),
            ("do --quick --quiet -c f", "argument --quiet: not allowed with argument --quick/-q"),
            ("do --quick=1", "argument --quick/-q: ignore implicit argument '1'"),
            ("do -c f rest more", "unrecognized arguments: 'rest more'"),
            ("do --help", "help"),
        ] {
            assert_eq!(parse(line).err().as_deref(), Some(message), "{line}");
        }
    }
}
