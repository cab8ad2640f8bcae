//! `kafka-server-start`: a node from a server.properties, in the foreground or as a daemon. Kafka counterparts: bin/kafka-server-start.sh,
//! bin/kafka-run-class.sh and kafka.Kafka. The variables that set up a JVM (KAFKA_HEAP_OPTS and the like) mean nothing here.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::args::key_values;
use crate::failure::Failure;
use crate::options::Parser;
use crate::out::say;

pub fn run(words: &[String]) -> Result<(), Failure> {
    let (daemon, words) = match words.split_first() {
        None => {
            say!("USAGE: kafka-server-start [-daemon] server.properties [--override property=value]*");
            return Err(Failure::Status(1));
        }
        Some((first, rest)) if first == "-daemon" => (true, rest),
        Some(_) => (false, words),
    };
    if daemon {
        return start_daemon(words);
    }
    let parser = Parser::documented("", include_str!("../help/kafka-server-start.txt"));
    if words.is_empty() || words.iter().any(|word| word == "--help") {
        let usage = "USAGE: java [options] kafka.Kafka server.properties [--override property=value]*";
        return Err(parser.parse_quietly(&[])?.usage(usage));
    }
    if words.iter().any(|word| word == "--version") {
        say!("{}", crate::KAFKA_VERSION);
        return Ok(());
    }
    let Some((file, rest)) = words.split_first() else { return Ok(()) };
    let options = parser.parse_quietly(rest)?;
    if !options.free.is_empty() {
        return Err(options.usage(format!("Found non argument parameters: {}", options.free.join(","))));
    }
    let overrides = key_values(&options.values("override"));
    server::run_properties(Path::new(file), &overrides).map_err(|error| Failure::new(error.to_string()))
}

/// Starts this program again, apart from the terminal; what it says goes to LOG_DIR/kafkaServer.out.
fn start_daemon(words: &[String]) -> Result<(), Failure> {
    let dir = std::env::var("LOG_DIR").ok().filter(|dir| !dir.is_empty()).unwrap_or_else(|| "logs".to_owned());
    let name = std::env::var("DAEMON_NAME").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "kafkaServer".to_owned());
    let path = Path::new(&dir).join(format!("{name}.out"));
    let describe = |error: std::io::Error| Failure::new(format!("{}: {error}", path.display()));
    std::fs::create_dir_all(&dir).map_err(describe)?;
    let out = std::fs::File::create(&path).map_err(describe)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("server-start").args(words).process_group(0);
    command.stdin(Stdio::null()).stderr(out.try_clone().map_err(describe)?).stdout(out);
    command.spawn()?;
    Ok(())
}
