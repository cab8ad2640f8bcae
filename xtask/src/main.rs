//! Automation of this repository; `cargo xtask` lists the commands.

mod schema;

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.first().map(String::as_str) {
        Some("schema") => schema::main(&args[1..]),
        _ => Err("usage: cargo xtask schema import|check DIRECTORY-OF-JARS".into()),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            std::process::ExitCode::FAILURE
        }
    }
}
