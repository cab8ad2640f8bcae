//! Owns: the grammar of RE2J: what it accepts, what it refuses and with which words, and the translation to what the `regex` crate reads.
//! Never does: match. Kafka: com.google.re2j.Parser.
//!
//! The translation says only what decides whether a whole text matches: captures become plain groups, greediness goes, classes are spelt out.
//! It keeps RE2J's oddities: a repetition applies to whatever was parsed last, even with a change of flags in between, and a `{` that begins
//! no repetition is itself, but no repetition may follow it.

use std::collections::HashSet;

use super::class::Class;
use super::unicode;

/// How deep groups and repetitions may be nested. RE2J has no limit but its stack; the `regex` crate recurses too.
pub(super) const NESTING_MAX: u32 = 40;

/// The longest expression, in bytes. RE2J has no limit.
const LENGTH_MAX: usize = 1 << 20;

/// The most RE2J repeats by `{n,m}`.
const REPEAT_MAX: u32 = 1000;

const CODE_POINT_MAX: u32 = 0x10ffff;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("regexp/syntax: internal error")]
    UnexpectedParen,
    #[error("invalid character class range")]
    CharRange,
    #[error("invalid escape sequence")]
    Escape,
    #[error("invalid named capture")]
    NamedCapture,
    #[error("duplicate capture group name")]
    DuplicateNamedCapture,
    #[error("invalid or unsupported Perl syntax")]
    PerlSyntax,
    #[error("invalid nested repetition operator")]
    RepeatOperator,
    #[error("invalid repeat count")]
    RepeatCount,
    #[error("missing argument to repetition operator")]
    RepeatArgument,
    #[error("missing closing ]")]
    Bracket,
    #[error("missing closing )")]
    Paren,
    #[error("trailing backslash at end of expression")]
    TrailingBackslash,
    #[error("expression nests too deeply")]
    TooDeep,
    #[error("expression too large")]
    TooLarge,
}

#[derive(Clone, Copy, Default)]
struct Flags {
    fold_case: bool,
    dot_matches_newline: bool,
    multi_line: bool,
}

/// Something that stands for itself and can be repeated.
struct Part {
    text: String,
    depth: u32,
}

/// A group that is not closed yet, or the whole.
#[derive(Default)]
struct Group {
    /// To go back to where it ends.
    flags: Flags,
    /// The alternatives before this one, each with its `|`.
    before: String,
    /// What this alternative consists of so far.
    parts: Vec<Part>,
    /// The depth of the deepest part.
    depth: u32,
}

struct Parser<'a> {
    rest: &'a str,
    flags: Flags,
    open: Vec<Group>,
    /// The innermost.
    group: Group,
    names: HashSet<&'a str>,
}

/// The expression for the `regex` crate, matching whole texts only.
pub(super) fn translate(pattern: &str) -> Result<String, Error> {
    if pattern.len() > LENGTH_MAX {
        return Err(Error::TooLarge);
    }
    let mut parser = Parser { rest: pattern, flags: Flags::default(), open: Vec::new(), group: Group::default(), names: HashSet::new() };
    // Whether what was read last was a repetition.
    let mut repeated = false;
    while let Some(next) = parser.peek() {
        repeated = parser.step(next, repeated)?;
    }
    if !parser.open.is_empty() {
        return Err(Error::Paren);
    }
    Ok(format!(r"\A{}\z", parser.group.close().text))
}

impl Group {
    fn close(self) -> Part {
        let mut text = String::from("(?:");
        text.push_str(&self.before);
        self.parts.iter().for_each(|part| text.push_str(&part.text));
        text.push(')');
        Part { text, depth: self.depth + 1 }
    }
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn pop(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn skip(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn push(&mut self, text: &str) {
        self.group.parts.push(Part { text: text.to_owned(), depth: 0 });
    }

    fn push_class(&mut self, class: Class) {
        let mut text = String::new();
        class.write(&mut text);
        self.group.parts.push(Part { text, depth: 0 });
    }

    fn push_literal(&mut self, code_point: u32) {
        self.push_class(Class::range(code_point, code_point, self.flags.fold_case));
    }

    /// Reads one element, which begins with `next`; whether it was a repetition.
    fn step(&mut self, next: char, repeated: bool) -> Result<bool, Error> {
        match next {
            '(' if self.rest.starts_with("(?") => self.perl_group()?,
            '(' => {
                self.pop();
                self.open_group()?;
            }
            ')' => {
                self.pop();
                self.close_group()?;
            }
            '|' => {
                self.pop();
                let parts = std::mem::take(&mut self.group.parts);
                parts.iter().for_each(|part| self.group.before.push_str(&part.text));
                self.group.before.push('|');
            }
            '[' => {
                let class = self.class()?;
                self.push_class(class);
            }
            '\\' => self.escape()?,
            '*' | '+' | '?' => {
                self.pop();
                self.repeat(&next.to_string(), repeated)?;
                return Ok(true);
            }
            '{' => {
                let start = self.rest;
                match self.repeat_count()? {
                    Some(count) => self.repeat(&count, repeated)?,
                    None => {
                        self.rest = start;
                        self.pop();
                        self.push_literal('{' as u32);
                    }
                }
                return Ok(true);
            }
            _ => {
                self.pop();
                match next {
                    '^' => self.push(if self.flags.multi_line { "(?m:^)" } else { r"\A" }),
                    '$' => self.push(if self.flags.multi_line { "(?m:$)" } else { r"\z" }),
                    '.' if self.flags.dot_matches_newline => self.push_class(Class::ALL),
                    '.' => self.push_class(Class::range('\n' as u32, '\n' as u32, false).negated()),
                    literal => self.push_literal(literal as u32),
                }
            }
        }
        Ok(false)
    }

    fn open_group(&mut self) -> Result<(), Error> {
        if self.open.len() >= NESTING_MAX as usize {
            return Err(Error::TooDeep);
        }
        let inner = Group { flags: self.flags, ..Group::default() };
        self.open.push(std::mem::replace(&mut self.group, inner));
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), Error> {
        let outer = self.open.pop().ok_or(Error::UnexpectedParen)?;
        let inner = std::mem::replace(&mut self.group, outer);
        self.flags = inner.flags;
        let part = inner.close();
        self.deepen(part.depth)?;
        self.group.parts.push(part);
        Ok(())
    }

    /// `(?P<name>`, `(?<name>`, `(?flags)` or `(?flags:`.
    fn perl_group(&mut self) -> Result<(), Error> {
        if self.skip("(?P<") || self.skip("(?<") {
            let (name, rest) = self.rest.split_once('>').ok_or(Error::NamedCapture)?;
            if name.is_empty() || !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
                return Err(Error::NamedCapture);
            }
            self.rest = rest;
            if !self.names.insert(name) {
                return Err(Error::DuplicateNamedCapture);
            }
            return self.open_group();
        }

        self.skip("(?");
        let mut flags = self.flags;
        let mut value = true;
        let mut any = false;
        while let Some(next) = self.pop() {
            match next {
                'i' => flags.fold_case = value,
                'm' => flags.multi_line = value,
                's' => flags.dot_matches_newline = value,
                'U' => {}
                '-' if value => {
                    value = false;
                    any = false;
                    continue;
                }
                ':' | ')' if value || any => {
                    if next == ':' {
                        self.open_group()?;
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => break,
            }
            any = true;
        }
        Err(Error::PerlSyntax)
    }

    fn repeat(&mut self, operator: &str, repeated: bool) -> Result<(), Error> {
        // Lazy or not, the same texts match.
        self.skip("?");
        if repeated {
            return Err(Error::RepeatOperator);
        }
        let part = self.group.parts.last_mut().ok_or(Error::RepeatArgument)?;
        part.text = format!("(?:{}{operator})", part.text);
        part.depth += 1;
        let depth = part.depth;
        self.deepen(depth)
    }

    /// The innermost group has a part of this depth.
    fn deepen(&mut self, depth: u32) -> Result<(), Error> {
        self.group.depth = self.group.depth.max(depth);
        if depth > NESTING_MAX { Err(Error::TooDeep) } else { Ok(()) }
    }

    /// `{n}`, `{n,}` or `{n,m}`, spelt the same for the `regex` crate; None when it is none of these.
    fn repeat_count(&mut self) -> Result<Option<String>, Error> {
        self.skip("{");
        let Some(min) = self.number() else { return Ok(None) };
        let max = if !self.skip(",") {
            Some(min)
        } else if self.peek() == Some('}') {
            None
        } else {
            let Some(max) = self.number() else { return Ok(None) };
            Some(max)
        };
        if !self.skip("}") {
            return Ok(None);
        }
        if min > REPEAT_MAX || max.is_some_and(|max| max > REPEAT_MAX || max < min) {
            return Err(Error::RepeatCount);
        }
        Ok(Some(match max {
            Some(max) => format!("{{{min},{max}}}"),
            None => format!("{{{min},}}"),
        }))
    }

    /// A number without leading zeros; one that is too long becomes the largest.
    fn number(&mut self) -> Option<u32> {
        let end = self.rest.find(|next: char| !next.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
            return None;
        }
        Some(digits.parse().unwrap_or(u32::MAX))
    }

    /// What begins with a backslash, outside of a class.
    fn escape(&mut self) -> Result<(), Error> {
        if self.skip(r"\A") {
            self.push(r"\A");
        } else if self.skip(r"\z") {
            self.push(r"\z");
        } else if self.skip(r"\b") {
            self.push(r"(?:\b)");
        } else if self.skip(r"\B") {
            self.push(r"(?:\B)");
        } else if self.skip(r"\Q") {
            let (literal, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
            self.rest = rest;
            literal.chars().for_each(|next| self.push_literal(next as u32));
        } else if let Some(class) = self.class_escape()? {
            self.push_class(class);
        } else {
            let code_point = self.character_escape()?;
            self.push_literal(code_point);
        }
        Ok(())
    }

    /// `\d`, `\pL`, `\P{Latin}` and such; nothing is read when it is none of these.
    fn class_escape(&mut self) -> Result<Option<Class>, Error> {
        let mut chars = self.rest.chars();
        if chars.next() != Some('\\') {
            return Ok(None);
        }
        let Some(letter) = chars.next() else { return Ok(None) };
        if let Some(class) = Class::perl(letter) {
            self.rest = chars.as_str();
            return Ok(Some(class));
        }
        if !matches!(letter, 'p' | 'P') {
            return Ok(None);
        }
        let rest = chars.as_str();
        let (name, rest) = match rest.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or(Error::CharRange)?,
            None => rest.split_at(rest.chars().next().ok_or(Error::CharRange)?.len_utf8()),
        };
        let (name, caret) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
        let class = Class(unicode::class(name, self.flags.fold_case).ok_or(Error::CharRange)?);
        self.rest = rest;
        Ok(Some(if caret != (letter == 'P') { class.negated() } else { class }))
    }

    /// The code point that an escape stands for, which may be one that no text can have.
    fn character_escape(&mut self) -> Result<u32, Error> {
        self.skip("\\");
        let next = self.pop().ok_or(Error::TrailingBackslash)?;
        let octal_digit = |next: Option<char>| next.and_then(|next| next.to_digit(8));
        match next {
            // A single digit would refer back to a capture.
            '1'..='7' if octal_digit(self.peek()).is_none() => Err(Error::Escape),
            '0'..='7' => {
                let mut value = octal_digit(Some(next)).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = octal_digit(self.peek()) else { break };
                    value = value * 8 + digit;
                    self.pop();
                }
                Ok(value)
            }
            'x' => self.hexadecimal().ok_or(Error::Escape),
            'a' => Ok(0x07),
            'f' => Ok(0x0c),
            'n' => Ok(0x0a),
            'r' => Ok(0x0d),
            't' => Ok(0x09),
            'v' => Ok(0x0b),
            other if other.is_ascii_alphanumeric() => Err(Error::Escape),
            other => Ok(other as u32),
        }
    }

    /// Two digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Option<u32> {
        if !self.skip("{") {
            let high = self.pop()?.to_digit(16)?;
            let low = self.pop()?.to_digit(16)?;
            return Some(high * 16 + low);
        }
        let mut value = None;
        loop {
            match self.pop()? {
                '}' => return value,
                digit => value = Some(value.unwrap_or(0) * 16 + digit.to_digit(16)?).filter(|value| *value <= CODE_POINT_MAX),
            }
            value?;
        }
    }

    /// `[..]`. There is no intersection, and no class within a class but `[:alpha:]` and such.
    fn class(&mut self) -> Result<Class, Error> {
        self.skip("[");
        let negated = self.skip("^");
        let mut class = Class::default();
        let mut first = true;
        while first || self.peek() != Some(']') {
            first = false;
            class = class.union(self.class_item()?);
        }
        self.skip("]");
        Ok(if negated { class.negated() } else { class })
    }

    fn class_item(&mut self) -> Result<Class, Error> {
        if let Some((name, rest)) = self.rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) {
            self.rest = rest;
            return Class::posix(name, self.flags.fold_case).ok_or(Error::CharRange);
        }
        if let Some(class) = self.class_escape()? {
            return Ok(class);
        }
        let low = self.class_character()?;
        let mut high = low;
        if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
            self.pop();
            high = self.class_character()?;
            if high < low {
                return Err(Error::CharRange);
            }
        }
        Ok(Class::range(low, high, self.flags.fold_case))
    }

    fn class_character(&mut self) -> Result<u32, Error> {
        match self.peek().ok_or(Error::Bracket)? {
            '\\' => self.character_escape(),
            next => {
                self.pop();
                Ok(next as u32)
            }
        }
    }
}
