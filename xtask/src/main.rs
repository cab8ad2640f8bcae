//! Automation of this repository; `cargo xtask` lists the commands.

mod bench;
mod peer;
mod schema;
mod test;

const USAGE: &str = "usage: cargo xtask COMMAND
  test [--skip-lints] [--skip-e2e]     all checks and tests, installing what they need; see README.md
  bench [--quick] [--runs N]           Apache Kafka and Gregor on the same work, one after the other; see docs/benchmarks.md
  peer ARGS...                         Apache Kafka 4.3.1 and its tools (peers/apache-kafka help)
  schema import|check JARS             the wire notation against the schemas inside Kafka's jars";

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.first().map(String::as_str) {
        Some("schema") => schema::main(&args[1..]),
        Some("test") => test::main(&args[1..]),
        Some("bench") => bench::main(&args[1..]),
        Some("peer") => peer::main(&args[1..]),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            std::process::ExitCode::FAILURE
        }
    }
}
