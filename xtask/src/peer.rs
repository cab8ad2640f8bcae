//! `cargo xtask peer ARGS`: Apache Kafka and its tools, by the launcher in peers/.

use std::process::Command;

pub fn main(args: &[String]) -> Result<(), String> {
    let launcher = e2e::repo::apache_launcher();
    match Command::new(&launcher).args(args).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} {}: {status}", launcher.display(), args.join(" "))),
        Err(e) => Err(format!("{}: {e}", launcher.display())),
    }
}
