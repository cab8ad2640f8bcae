//! Owns: the regular expressions by which members subscribe to topics: RE2's syntax as RE2J 1.8 has it, which is what Kafka compiles them with.
//! Used by: consumer groups. Never does: look up topics. Kafka: com.google.re2j.Pattern, Utils.throwIfRegularExpressionIsInvalid.
//!
//! An expression is checked and translated by `parser` and runs on the `regex` crate, in time linear in the text. Names of topics are ASCII, so
//! classes are sets of ASCII characters from the start: an expression that speaks of other characters is understood, and they match nothing.
//! Not as in Kafka: expressions that would take much memory are refused (`(a{1000}){1000}`), as are those nested very deeply.

mod class;
mod parser;
#[cfg(test)]
mod tests;
mod unicode;

use ::regex::bytes::{Regex, RegexBuilder};

/// What one compiled expression may take, in bytes.
const PROGRAM_SIZE_MAX: usize = 8 << 20;

#[derive(Clone, Debug)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// The error is the whole text that Kafka answers with INVALID_REGULAR_EXPRESSION.
    pub(crate) fn compile(pattern: &str) -> Result<Self, String> {
        build(pattern).map(Pattern).map_err(|error| format!("SubscribedTopicRegex `{pattern}` is not a valid regular expression: {error}."))
    }

    /// Whether the whole of `topic` matches.
    pub(crate) fn matches(&self, topic: &str) -> bool {
        topic.is_ascii() && self.0.is_match(topic.as_bytes())
    }
}

/// An expression for other names than those of topics, which may have characters beyond ASCII: those only match what matches any byte.
#[derive(Clone, Debug)]
pub struct Expression(Regex);

impl Expression {
    /// The error says why not, in RE2J's words.
    pub fn compile(pattern: &str) -> Result<Self, String> {
        build(pattern).map(Expression).map_err(|error| error.to_string())
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text.as_bytes())
    }
}

/// Whether members can subscribe by this expression; the error says why not, in RE2J's words.
pub fn check(pattern: &str) -> Result<(), String> {
    build(pattern).map(drop).map_err(|error| error.to_string())
}

fn build(pattern: &str) -> Result<Regex, parser::Error> {
    let translated = parser::translate(pattern)?;
    RegexBuilder::new(&translated)
        .unicode(false)
        .nest_limit(8 * parser::NESTING_MAX)
        .size_limit(PROGRAM_SIZE_MAX)
        .dfa_size_limit(PROGRAM_SIZE_MAX)
        .build()
        .map_err(|_| parser::Error::TooLarge)
}
