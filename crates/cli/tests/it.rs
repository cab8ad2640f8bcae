//! The binary against what Apache Kafka 4.3.1's tools answered to the same command lines (`transcripts/*.txt`, one file a tool).
//!
//! A transcript is a list of `$ command line`, `exit CODE`, `out|` lines (all of stdout) and at most one `err|` line: the first line of
//! stderr that is no usage and no name of a Java exception. These command lines need no broker; those that do are in `tool_cases.txt`
//! and run by the end-to-end tests.

use std::path::Path;
use std::process::Command;

struct Case {
    line: String,
    exit: i32,
    out: String,
    err: Option<String>,
}

fn read(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if let Some(line) = line.strip_prefix("$ ") {
            cases.push(Case { line: line.to_owned(), exit: 0, out: String::new(), err: None });
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        if let Some(code) = line.strip_prefix("exit ") {
            case.exit = code.parse().expect("an exit code");
        } else if let Some(out) = line.strip_prefix("out|") {
            case.out.push_str(out);
            case.out.push('\n');
        } else if let Some(err) = line.strip_prefix("err|") {
            // Apache prints some paths in full.
            case.err = Some(err.replace("{CRATE}", env!("CARGO_MANIFEST_DIR")));
        }
    }
    cases
}

/// Runs a command line as the shell would, without a shell: words by spaces.
fn run(line: &str) -> (i32, String, Option<String>) {
    let output = Command::new(env!("CARGO_BIN_EXE_gregor"))
        .args(line.split(' '))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(std::process::Stdio::null())
        .output()
        .expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let err = text(output.stderr);
    let usage = |line: &&str| {
        ["usage: ", "       ", "------"].iter().any(|prefix| line.starts_with(prefix))
            || line.starts_with("Option ") && line.trim_end().ends_with("Description")
    };
    let first = err.lines().find(|line| !usage(line)).map(str::to_owned);
    (output.status.code().unwrap_or(-1), text(output.stdout), first)
}

/// argparse4j fills the lines of its errors with spaces.
fn squeeze(text: &Option<String>) -> Option<String> {
    text.as_ref().map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn tools_answer_as_apaches() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<_> = std::fs::read_dir(dir).expect("transcripts").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in files {
        for case in read(&std::fs::read_to_string(&file).expect("a transcript")) {
            count += 1;
            let (exit, out, err) = run(&case.line);
            let err_differs = match (squeeze(&case.err), squeeze(&err)) {
                // Long messages of argparse4j go on in a second line, which the transcript does not have.
                (Some(expected), Some(found)) => !found.starts_with(&expected),
                (expected, found) => expected != found,
            };
            if exit != case.exit || out != case.out || err_differs {
                wrong.push(format!(
                    "$ {}\nexpected: exit {}, {:?}\n{}found: exit {exit}, {err:?}\n{out}",
                    case.line, case.exit, case.err, case.out
                ));
            }
        }
    }
    assert!(count > 50, "only {count} command lines were found");
    assert!(wrong.is_empty(), "{} of {count} answers differ:\n\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn installed_links_are_tools() {
    let dir = std::env::temp_dir().join(format!("gregor-links-{}", std::process::id()));
    let gregor = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_gregor")).args(args).output().expect("the binary runs");
    let path = dir.to_string_lossy().into_owned();
    assert!(gregor(&["install-tools", &path]).status.success());
    // A second time replaces the links.
    assert!(gregor(&["install-tools", &path]).status.success());
    for name in ["kafka-storage", "kafka-storage.sh"] {
        let output = Command::new(dir.join(name)).arg("random-uuid").output().expect("the link runs");
        assert!(output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim().len(), 22);
    }
    std::fs::remove_dir_all(dir).expect("the directory goes");
}

#[test]
fn help_and_unknown_commands() {
    let gregor = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_gregor")).args(args).output().expect("the binary runs");
    let help = gregor(&["help"]);
    assert!(help.status.success());
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    for word in ["start", "server FILE", "topics", "console-consumer", "dump-log", "install-tools"] {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
    let unknown = gregor(&["frob"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("gregor help"));
}
