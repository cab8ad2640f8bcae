//! The one binary: `gregor`. Owns: choosing what to run by argv[0] (`kafka-topics`, `kafka-topics.sh`) or by the first word
//! (`gregor topics`, `gregor kafka-topics`), and the exit code. Everything a tool does is in `tool/`; the node itself is `server`.
//! Kafka counterpart: bin/*.sh and `kafka-run-class`.

mod argparse4j;
mod args;
mod coordinator_record;
mod failure;
mod java;
mod json;
mod metadata_record;
mod node;
mod options;
mod out;
mod properties;
mod session;
mod table;
mod time;
mod tool;

use std::process::ExitCode;

use failure::Failure;
use out::{complain, say};

/// The version of Apache Kafka whose tools these are: what `kafka-topics --version` prints.
pub const KAFKA_VERSION: &str = "4.3.1";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let (program, rest) = match words.split_first() {
        Some((program, rest)) => (args::program_name(program), rest),
        None => ("gregor", &[][..]),
    };
    let result = match tool::find(program) {
        Some(tool) => (tool.run)(rest),
        None => gregor(rest),
    };
    let code = match result {
        Ok(()) => 0,
        Err(failure) => failure.report(),
    };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn gregor(words: &[String]) -> Result<(), Failure> {
    let Some((first, rest)) = words.split_first() else {
        return help();
    };
    // The short name of the way to run a node.
    let first = if first == "server" { "server-start" } else { first.as_str() };
    match first {
        "start" => node::start(rest),
        "install-tools" => install_tools(rest),
        "version" | "--version" | "-V" => {
            say!("gregor {} (compatible with Apache Kafka {KAFKA_VERSION})", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        "help" | "--help" | "-h" => match rest.first().map(|name| (name, tool::find(name))) {
            Some((_, Some(tool))) => (tool.run)(&["--help".to_owned()]),
            Some((name, None)) if !["start", "server", "install-tools"].contains(&name.as_str()) => Err(unknown(name)),
            _ => help(),
        },
        name => match tool::find(name) {
            Some(tool) => (tool.run)(rest),
            None => Err(unknown(name)),
        },
    }
}

fn unknown(name: &str) -> Failure {
    Failure::new(format!("gregor: there is no command '{name}'; `gregor help` lists them all"))
}

fn help() -> Result<(), Failure> {
    say!("Gregor is a streaming platform that speaks Apache Kafka's protocol and keeps Apache Kafka's files.");
    say!();
    say!("Run a node:");
    say!("  gregor start [--data DIR] [--listen HOST:PORT] [--http HOST:PORT|off]");
    say!("                             a broker and controller without any configuration (./gregor-data, localhost:9092)");
    say!("  gregor server FILE [--override KEY=VALUE]...");
    say!("                             the same from a Kafka server.properties");
    say!();
    say!("Work with a cluster or its files (each also as kafka-NAME, with Kafka's own flags; `gregor NAME --help`):");
    for tool in tool::TOOLS {
        say!("  {:<26} {}", tool.name, tool.about);
    }
    say!();
    say!("Other:");
    say!("  gregor install-tools DIR   put links named kafka-topics, kafka-topics.sh, ... into DIR");
    say!("  gregor version             the version of this program");
    say!();
    say!("A first try, in two terminals:");
    say!("  gregor start");
    say!("  gregor topics --create --topic MyTopic --bootstrap-server localhost:9092");
    say!("  gregor console-producer --topic MyTopic --bootstrap-server localhost:9092");
    say!("  gregor console-consumer --topic MyTopic --from-beginning --bootstrap-server localhost:9092");
    Ok(())
}

/// Links `kafka-TOOL` and `kafka-TOOL.sh` in a directory to this program; links of an earlier install are replaced, files are not.
fn install_tools(words: &[String]) -> Result<(), Failure> {
    let [dir] = words else {
        return Err(Failure::new("usage: gregor install-tools DIR"));
    };
    let dir = std::path::Path::new(dir);
    let program = std::env::current_exe()?;
    let describe = |what: &std::path::Path, error: std::io::Error| Failure::new(format!("{}: {error}", what.display()));
    std::fs::create_dir_all(dir).map_err(|error| describe(dir, error))?;
    let names = tool::TOOLS.iter().map(|tool| tool.name);
    let mut linked = 0;
    for name in names.flat_map(|name| [format!("kafka-{name}"), format!("kafka-{name}.sh")]) {
        let link = dir.join(name);
        match std::fs::symlink_metadata(&link) {
            Ok(found) if found.file_type().is_symlink() => std::fs::remove_file(&link).map_err(|error| describe(&link, error))?,
            Ok(_) => {
                complain!("{} is there already and is no link; left as it is", link.display());
                continue;
            }
            Err(_) => {}
        }
        std::os::unix::fs::symlink(&program, &link).map_err(|error| describe(&link, error))?;
        linked += 1;
    }
    say!("{linked} links to {} in {}", program.display(), dir.display());
    Ok(())
}
