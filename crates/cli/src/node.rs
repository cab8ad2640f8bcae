//! Owns: the command line of `gregor start`; that of `gregor server` is in `tool/server_start.rs`. The node itself is crate `server`; these return when it stops.

use server::{HttpListen, StartOptions};

use crate::failure::Failure;
use crate::out::say;

const START_USAGE: &str = "usage: gregor start [--data DIR] [--listen HOST:PORT] [--http HOST:PORT|off]";

/// The value of `--name value` or `--name=value`, taken off the front of `words`.
fn take_value<'a>(words: &mut &'a [String], name: &str, usage: &str) -> Result<Option<&'a str>, Failure> {
    let Some((first, rest)) = words.split_first() else { return Ok(None) };
    let Some(after) = first.strip_prefix(name) else { return Ok(None) };
    if let Some(value) = after.strip_prefix('=') {
        *words = rest;
        return Ok(Some(value));
    }
    if !after.is_empty() {
        return Ok(None);
    }
    match rest.split_first() {
        Some((value, rest)) => {
            *words = rest;
            Ok(Some(value))
        }
        None => Err(Failure::new(format!("{name} needs a value\n{usage}"))),
    }
}

pub fn start(mut words: &[String]) -> Result<(), Failure> {
    let mut options = StartOptions::default();
    while !words.is_empty() {
        if let Some(value) = take_value(&mut words, "--data", START_USAGE)? {
            options.data = value.into();
        } else if let Some(value) = take_value(&mut words, "--listen", START_USAGE)? {
            options.listen = value.to_owned();
        } else if let Some(value) = take_value(&mut words, "--http", START_USAGE)? {
            options.http = HttpListen::parse(value);
        } else if words[0] == "--help" || words[0] == "-h" {
            say!("{START_USAGE}");
            return Ok(());
        } else {
            return Err(Failure::new(format!("gregor start: '{}' is not understood\n{START_USAGE}", words[0])));
        }
    }
    server::start(options).map_err(|error| Failure::new(error.to_string()))
}
