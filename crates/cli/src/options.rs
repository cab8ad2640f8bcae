//! Owns: reading a command line the way Kafka's tools do (joptsimple without abbreviations), and printing their help.
//! Used by: every tool. Never does: read files, print anything but help.
//! Facts kept: `-topic x` is `--topic x`; `--name=value`; an option takes the next word even when that starts with a dash;
//! words that belong to no option are collected; `--` ends the options; types are checked when a value is asked for.

use std::collections::{BTreeMap, BTreeSet};

use crate::failure::Failure;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Required,
    Optional,
}

struct Opt {
    name: &'static str,
    takes: Takes,
    /// Whether a value is a number, which may begin with a minus.
    number: bool,
    /// A number of 32 bits, not of 64.
    short: bool,
    default: Option<String>,
    required: bool,
    /// The option may only be there together with one of these.
    available_if: &'static [&'static str],
}

impl Opt {
    /// joptsimple converts a value when it is asked for.
    fn check(&self, text: &str) -> Result<(), Failure> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let readable = !self.number || if self.short { digits.parse::<i32>().is_ok() } else { digits.parse::<i64>().is_ok() };
        if readable { Ok(()) } else { Err(Failure::Options(format!("Cannot parse argument '{text}' of option {}", self.name))) }
    }
}

/// The options of one tool.
pub struct Parser {
    about: String,
    opts: Vec<Opt>,
    help: &'static str,
}

/// Whether a help line begins an option; a star marks those that have to be there.
fn is_option(line: &str) -> bool {
    line.starts_with('-') || line.starts_with("* -")
}

/// The part of a help line that is in the column of options, `width` letters wide.
fn left(line: &'static str, width: usize) -> &'static str {
    line.get(..width).unwrap_or(line).trim_end()
}

impl Parser {
    /// The options that a help text of joptsimple's lists: `--name`, `--name <Type: what>` or `--name [Type: what]` in the left column.
    pub fn documented(about: impl Into<String>, help: &'static str) -> Self {
        let width = help.find("Description").unwrap_or(0).saturating_sub(2);
        let mut parser = Parser { about: about.into(), opts: Vec::new(), help };
        let mut lines = help.lines().skip(2).peekable();
        while let Some(first) = lines.next() {
            if !is_option(first) {
                continue;
            }
            let required = first.starts_with('*');
            let first = left(first, width).trim_start_matches("* ");
            let name = first.split(' ').next().unwrap_or(first).trim_start_matches('-');
            let mut value = first.split_once(' ').map_or(String::new(), |(_, value)| value.to_owned());
            while let Some(more) = lines.next_if(|line| !is_option(line)) {
                value.push_str(left(more, width));
            }
            let takes = match value.trim().chars().next() {
                None => Takes::Nothing,
                Some('[') => Takes::Optional,
                Some(_) => Takes::Required,
            };
            let is = |kind: &str| value.trim().trim_start_matches(['<', '[']).starts_with(kind);
            let (number, short) = (is("Integer") || is("Long"), is("Integer"));
            parser.opts.push(Opt { name, takes, number, short, default: None, required, available_if: &[] });
        }
        parser
    }

    /// The value of an option when it is absent.
    pub fn default_of(mut self, name: &str, value: impl Into<String>) -> Self {
        if let Some(index) = self.find(name) {
            self.opts[index].default = Some(value.into());
        }
        self
    }

    /// The option makes sense only together with one of these.
    pub fn only_with(mut self, name: &str, names: &'static [&'static str]) -> Self {
        if let Some(index) = self.find(name) {
            self.opts[index].available_if = names;
        }
        self
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.opts.iter().position(|opt| opt.name == name)
    }

    /// Parses, and answers `--help`, `--version` and an empty command line: each of these ends the tool.
    pub fn parse(self, args: &[String]) -> Result<Options, Failure> {
        let options = self.parse_quietly(args)?;
        if args.is_empty() || options.has("help") {
            return Err(options.usage(options.parser.about.clone()));
        }
        if options.has("version") {
            crate::out::say!("{}", crate::KAFKA_VERSION);
            return Err(Failure::Status(0));
        }
        Ok(options)
    }

    /// Parses and leaves help and version to the caller.
    pub fn parse_quietly(self, args: &[String]) -> Result<Options, Failure> {
        let mut options = Options { present: BTreeSet::new(), order: Vec::new(), values: BTreeMap::new(), free: Vec::new(), parser: self };
        let mut rest = args.iter().peekable();
        let mut ended = false;
        while let Some(word) = rest.next() {
            if ended || !word.starts_with('-') || word == "-" {
                options.free.push(word.clone());
                continue;
            }
            if word == "--" {
                ended = true;
                continue;
            }
            let body = word.strip_prefix("--").unwrap_or(&word[1..]);
            let (name, glued) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (body, None),
            };
            let Some(index) = options.parser.find(name) else {
                if word.starts_with("--") {
                    return Err(Failure::Options(format!("{name} is not a recognized option")));
                }
                options.cluster(body)?;
                continue;
            };
            let opt = &options.parser.opts[index];
            let value = match (opt.takes, glued) {
                (Takes::Nothing, _) => None,
                (_, Some(value)) => Some(value),
                (Takes::Required, None) => match rest.next() {
                    Some(value) => Some(value.clone()),
                    None => return Err(Failure::Options(format!("Option {} requires an argument", opt.name))),
                },
                (Takes::Optional, None) if opt.number => rest.next_if(|next| next.parse::<i64>().is_ok()).cloned(),
                (Takes::Optional, None) => rest.next_if(|next| !next.starts_with('-') || *next == "-").cloned(),
            };
            options.present.insert(index);
            options.order.push(index);
            if let Some(value) = value {
                options.values.entry(index).or_default().push(value);
            }
        }
        let unavailable: Vec<String> = (options.present.iter())
            .map(|i| &options.parser.opts[*i])
            .filter(|opt| !opt.available_if.is_empty() && !opt.available_if.iter().any(|name| options.has(name)))
            .map(|opt| opt.name.to_owned())
            .collect();
        if !unavailable.is_empty() && !options.has("help") && !options.has("version") {
            let list = unavailable.join(", ");
            return Err(Failure::Options(format!("Option(s) [{list}] are unavailable given other options on the command line")));
        }
        let missing: Vec<String> = (0..options.parser.opts.len())
            .filter(|i| options.parser.opts[*i].required && !options.present.contains(i))
            .map(|i| options.parser.opts[i].name.to_owned())
            .collect();
        if !missing.is_empty() && !args.is_empty() && !options.has("help") && !options.has("version") {
            return Err(Failure::Options(format!("Missing required option(s) [{}]", missing.join(", "))));
        }
        Ok(options)
    }
}

pub struct Options {
    parser: Parser,
    present: BTreeSet<usize>,
    /// Every option as it came.
    order: Vec<usize>,
    values: BTreeMap<usize, Vec<String>>,
    pub free: Vec<String>,
}

impl Options {
    /// `-abc` where no option is called `abc`: single letters, none of which takes a value in the middle.
    fn cluster(&mut self, body: &str) -> Result<(), Failure> {
        for letter in body.chars() {
            let Some(index) = self.parser.find(letter.encode_utf8(&mut [0; 4])) else {
                return Err(Failure::Options(format!("{letter} is not a recognized option")));
            };
            self.present.insert(index);
        }
        Ok(())
    }

    fn index(&self, name: &str) -> usize {
        self.parser.find(name).unwrap_or_else(|| panic!("the tool declares no option {name}"))
    }

    pub fn has(&self, name: &str) -> bool {
        self.present.contains(&self.index(name))
    }

    /// The value given, or the default; giving an option twice where one value is wanted is an error.
    pub fn value(&self, name: &str) -> Result<Option<&str>, Failure> {
        let index = self.index(name);
        match self.values.get(&index).map(Vec::as_slice) {
            Some([one]) => self.parser.opts[index].check(one).map(|()| Some(one.as_str())),
            Some([_, _, ..]) => {
                let names = self.parser.opts[index].name;
                Err(Failure::Options(format!("Found multiple arguments for option {names}, but you asked for only one")))
            }
            _ => Ok(self.parser.opts[index].default.as_deref()),
        }
    }

    /// Every value given, in order; the default when there is none.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let index = self.index(name);
        match self.values.get(&index) {
            Some(values) => values.iter().map(String::as_str).collect(),
            None => self.parser.opts[index].default.iter().map(String::as_str).collect(),
        }
    }

    /// Which of these options came, in the order in which they came.
    pub fn in_order(&self, names: &[&'static str]) -> Vec<&'static str> {
        let name_of = |index: &usize| names.iter().copied().find(|name| self.index(name) == *index);
        self.order.iter().filter_map(name_of).collect()
    }

    /// As `value`, converted; the error is joptsimple's.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        match self.value(name)? {
            None => Ok(None),
            Some(text) => match text.strip_prefix('+').unwrap_or(text).parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => {
                    let names = self.parser.opts[self.index(name)].name;
                    Err(Failure::Options(format!("Cannot parse argument '{text}' of option {names}")))
                }
            },
        }
    }

    /// Which options came, in the order in which they came.
    pub fn given(&self) -> Vec<&'static str> {
        self.order.iter().filter_map(|index| Some(self.parser.opts.get(*index)?.name)).collect()
    }

    /// The name as joptsimple prints an option in messages.
    fn shown(&self, name: &str) -> String {
        format!("[{}]", self.parser.opts[self.index(name)].name)
    }

    /// A message followed by the help of the tool; exit code 1.
    pub fn usage(&self, message: impl Into<String>) -> Failure {
        Failure::Usage { message: message.into(), help: self.parser.help.to_owned() }
    }

    pub fn check_required(&self, names: &[&str]) -> Result<(), Failure> {
        match names.iter().find(|name| !self.has(name)) {
            Some(name) => Err(self.usage(format!("Missing required argument \"{}\"", self.shown(name)))),
            None => Ok(()),
        }
    }

    /// When `used` is there, none of `invalid` may be.
    pub fn check_invalid(&self, used: &str, invalid: &[&str]) -> Result<(), Failure> {
        if !self.has(used) {
            return Ok(());
        }
        match invalid.iter().find(|name| self.has(name)) {
            Some(name) => Err(self.usage(format!("Option \"{}\" can't be used with option \"{}\"", self.shown(used), self.shown(name)))),
            None => Ok(()),
        }
    }

    pub fn check_one_of(&self, names: &[&str]) -> Result<(), Failure> {
        if names.iter().filter(|name| self.has(name)).count() == 1 {
            return Ok(());
        }
        let list: Vec<String> = names.iter().map(|name| self.shown(name)).collect();
        Err(self.usage(format!("Exactly one of the following arguments is required: {}", list.join(", "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = concat!(
        "Option                   Description\n",
        "------                   -----------\n",
        "--age [Integer: years]   An age.\n",
        "--help                   Usage.\n",
        "--list                   List.\n",
        "--partitions <Integer>   How many.\n",
        "-s                       Short.\n",
        "--state [String]         A state.\n",
        "--topic <String: topic>  The topic.\n",
        "--version                Version.\n",
    );

    #[test]
    fn options_from_a_help_text() {
        let help = concat!(
            "Option                     Description\n",
            "------                     -----------\n",
            "--list                     All.\n",
            "--partitions <Integer: #   The count of\n",
            "  of partitions>             --list.\n",
            "--some-long-name-or-other  Says nothing.\n",
            "--state [String]           One.\n",
        );
        let args: Vec<String> = ["--partitions", "3", "--state", "--list"].map(str::to_owned).to_vec();
        let options = Parser::documented("", help).default_of("state", "Any").parse_quietly(&args).unwrap();
        assert_eq!(options.number::<i32>("partitions").unwrap(), Some(3));
        assert!(options.has("list") && options.has("state"));
        assert_eq!(options.value("state").unwrap(), Some("Any"));
        assert_eq!(options.parser.help, help);
    }

    fn parser() -> Parser {
        Parser::documented("About.", HELP)
    }

    fn parse(args: &[&str]) -> Result<Options, Failure> {
        let args: Vec<String> = args.iter().map(|s| s.to_string()).collect();
        parser().parse(&args)
    }

    fn message(args: &[&str]) -> String {
        match parse(args) {
            Err(Failure::Options(message)) | Err(Failure::Usage { message, .. }) => message,
            _ => "no error".into(),
        }
    }

    #[test]
    fn one_or_two_dashes_glued_or_not() {
        for words in [&["-topic", "x"][..], &["--topic", "x"], &["--topic=x"], &["-topic=x"]] {
            assert_eq!(parse(words).unwrap().value("topic").unwrap(), Some("x"));
        }
        let options = parse(&["--topic", "--list", "free", "--", "--list"]).unwrap();
        assert_eq!(options.value("topic").unwrap(), Some("--list"));
        assert!(!options.has("list"));
        assert_eq!(options.free, ["free", "--list"]);
    }

    #[test]
    fn no_abbreviations_and_kafkas_errors() {
        assert_eq!(message(&["--top", "x"]), "top is not a recognized option");
        assert_eq!(message(&["-xyz"]), "x is not a recognized option");
        assert_eq!(message(&["--topic"]), "Option topic requires an argument");
        let options = parse(&["--partitions", "abc"]).unwrap();
        let Err(Failure::Options(text)) = options.number::<i32>("partitions") else { panic!("a number out of abc") };
        assert_eq!(text, "Cannot parse argument 'abc' of option partitions");
        assert!(parse(&["--topic", "a", "--topic", "b"]).unwrap().value("topic").is_err());
        assert_eq!(message(&["--help"]), "About.");
        assert_eq!(message(&[]), "About.");
    }

    #[test]
    fn optional_arguments_and_letters() {
        let options = parse(&["--state", "--list"]).unwrap();
        assert!(options.has("state") && options.has("list"));
        assert_eq!(options.value("state").unwrap(), None);
        assert_eq!(parse(&["--state", "Empty"]).unwrap().value("state").unwrap(), Some("Empty"));
        assert!(parse(&["-s"]).unwrap().has("s"));
        assert_eq!(parse(&["--age", "-1"]).unwrap().number::<i32>("age").unwrap(), Some(-1));
        assert_eq!(parse(&["--age", "x"]).unwrap().free, ["x"]);
    }

    #[test]
    fn checks_print_names_in_brackets() {
        let text = |r: Result<(), Failure>| match r {
            Err(Failure::Usage { message, .. }) => message,
            _ => String::new(),
        };
        let options = parse(&["--list", "--state"]).unwrap();
        assert_eq!(text(options.check_required(&["topic"])), "Missing required argument \"[topic]\"");
        assert_eq!(text(options.check_invalid("list", &["state"])), "Option \"[list]\" can't be used with option \"[state]\"");
        assert_eq!(text(options.check_one_of(&["topic", "s"])), "Exactly one of the following arguments is required: [topic], [s]");
    }

    #[test]
    fn what_has_to_be_there() {
        let help = concat!(
            "Option (* = required)  Description\n",
            "---------------------  -----------\n",
            "--all                  All.\n",
            "--help                 Usage.\n",
            "* --id <String>        Id.\n",
            "--version              Version.\n",
        );
        let parse = |word: &str| Parser::documented("", help).only_with("all", &["id"]).parse_quietly(&[word.to_owned()]);
        assert!(parse("--id=x").is_ok_and(|options| options.has("id")));
        let Err(Failure::Options(text)) = parse("x") else { panic!("no id was asked for") };
        assert_eq!(text, "Missing required option(s) [id]");
        let Err(Failure::Options(text)) = parse("--all") else { panic!("all goes with an id") };
        assert_eq!(text, "Option(s) [all] are unavailable given other options on the command line");
    }
}
