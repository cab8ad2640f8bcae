//! `kafka-dump-log`: prints what is in log segments, indexes and snapshots, and says where they contradict each other.
//! Kafka counterpart: DumpLogSegments. The files are read as they lie there; nothing is repaired or locked.

mod control;
mod decode;
mod index;
mod log;
mod snapshot;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::args::java_split;
use crate::failure::Failure;
use crate::options::Parser;
use crate::out::complain;
use decode::Decoder;

/// What is printed at the end, on stderr.
#[derive(Default)]
struct Problems {
    index_mismatches: BTreeMap<PathBuf, BTreeMap<i64, i64>>,
    time_mismatches: BTreeMap<PathBuf, Vec<(i64, i64)>>,
    time_out_of_order: BTreeMap<PathBuf, Vec<(i64, i64)>>,
    time_offset_missing: BTreeMap<PathBuf, Vec<(i64, i64)>>,
    non_consecutive: BTreeMap<PathBuf, BTreeMap<i64, i64>>,
}

struct Settings {
    print_data: bool,
    deep: bool,
    verify_only: bool,
    sanity_only: bool,
    skip_metadata: bool,
    max_message_size: u64,
    max_bytes: u64,
    decoder: Decoder,
}

const DECODERS: [&str; 5] =
    ["offsets-decoder", "transaction-log-decoder", "cluster-metadata-decoder", "remote-log-metadata-decoder", "share-group-state-decoder"];

fn parser() -> Parser {
    Parser::documented(
        "This tool helps to parse a log file and dump its contents to the console, useful for debugging a seemingly corrupt log segment.",
        include_str!("../../help/kafka-dump-log.txt"),
    )
    .default_of("max-message-size", "5242880")
    .default_of("max-bytes", "2147483647")
    .default_of("value-decoder-class", decode::STRING_DECODER)
    .default_of("key-decoder-class", decode::STRING_DECODER)
}

pub fn run(args: &[String]) -> Result<(), Failure> {
    let options = parser().parse(args)?;
    options.check_required(&["files"])?;
    let print_data = ["print-data-log", "value-decoder-class", "key-decoder-class"].iter().chain(&DECODERS).any(|name| options.has(name));
    let size = |name: &str| -> Result<u64, Failure> { Ok(options.number::<i32>(name)?.unwrap_or(i32::MAX).max(0) as u64) };
    let settings = Settings {
        print_data,
        deep: print_data || options.has("deep-iteration"),
        verify_only: options.has("verify-index-only"),
        sanity_only: options.has("index-sanity-check"),
        skip_metadata: options.has("skip-record-metadata"),
        max_message_size: size("max-message-size")?,
        max_bytes: size("max-bytes")?,
        decoder: match DECODERS.iter().position(|name| options.has(name)) {
            Some(0) => Decoder::Offsets,
            Some(1) => Decoder::TransactionLog,
            Some(2) => Decoder::ClusterMetadata,
            Some(3) => Decoder::RemoteLogMetadata,
            Some(_) => Decoder::ShareGroupState,
            None => Decoder::classes(options.value("key-decoder-class")?, options.value("value-decoder-class")?),
        },
    };
    let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let mut problems = Problems::default();
    for name in java_split(options.value("files")?.unwrap_or_default(), ',') {
        let result = dump_file(Path::new(name), &settings, &mut problems, &mut out);
        // What was found before the problem is worth reading; a reader that went away is no problem.
        let _ = out.flush();
        match result {
            Err(Failure::Message(text)) if text.is_empty() => return Ok(()),
            other => other?,
        }
    }
    drop(out);
    report(&problems);
    Ok(())
}

fn dump_file(file: &Path, settings: &Settings, problems: &mut Problems, out: &mut impl Write) -> Result<(), Failure> {
    put(out, format_args!("Dumping {}\n", file.display()))?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match name.rfind('.').map(|dot| &name[dot..]) {
        Some(".log" | ".checkpoint") => {
            settings.decoder.check()?;
            log::dump(file, &name, settings, problems, out)
        }
        Some(".index") => index::dump_offsets(file, &name, settings, problems, out),
        Some(".timeindex") => index::dump_times(file, &name, settings, problems, out),
        Some(".snapshot") => snapshot::dump_producers(file, out),
        Some(".txnindex") => snapshot::dump_aborted(file, out),
        _ => {
            let _ = out.flush();
            complain!("Ignoring unknown file {}", file.display());
            Ok(())
        }
    }
}

/// Writes, or ends the tool quietly (an empty message) when nobody reads any more.
fn put(out: &mut impl Write, text: std::fmt::Arguments<'_>) -> Result<(), Failure> {
    out.write_fmt(text).map_err(|_| Failure::Message(String::new()))
}

/// As `File.getAbsolutePath`: nothing is resolved or cleaned up.
fn absolute(file: &Path) -> PathBuf {
    std::env::current_dir().map_or_else(
        |_| file.to_owned(),
        |dir| if file.is_absolute() { file.to_owned() } else { PathBuf::from(format!("{}/{}", dir.display(), file.display())) },
    )
}

/// What the JVM says of an exception that nobody caught.
fn uncaught(exception: impl std::fmt::Display) -> Failure {
    Failure::new(format!("Exception in thread \"main\" {exception}"))
}

/// The offset that a segment file is named after.
fn base_offset(name: &str) -> Result<i64, Failure> {
    let digits = name.split('.').next().unwrap_or_default();
    digits.parse().map_err(|_| uncaught(format!("java.lang.NumberFormatException: For input string: \"{digits}\"")))
}

fn cannot(file: &Path, error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::NotFound => uncaught(format!("java.nio.file.NoSuchFileException: {}", file.display())),
        _ => Failure::new(format!("{}: {error}", file.display())),
    }
}

fn report(problems: &Problems) {
    for (file, pairs) in &problems.index_mismatches {
        complain!("Mismatches in :{}", file.display());
        for (index, log) in pairs.iter().rev() {
            complain!("  Index offset: {index}, log offset: {log}");
        }
    }
    for (file, pairs) in &problems.time_mismatches {
        complain!("Found timestamp mismatch in :{}", file.display());
        for (index, log) in pairs {
            complain!("  Index timestamp: {index}, log timestamp: {log}");
        }
    }
    for (file, pairs) in &problems.time_out_of_order {
        complain!("Found out of order timestamp in :{}", file.display());
        for (index, previous) in pairs {
            complain!("  Index timestamp: {index}, Previously indexed timestamp: {previous}");
        }
    }
    for (file, pairs) in &problems.time_offset_missing {
        complain!("The following indexed offsets are not found in :{}", file.display());
        for (index, log) in pairs {
            complain!("Indexed offset: {index}, found log offset: {log}");
        }
    }
    for (file, pairs) in &problems.non_consecutive {
        complain!("Non-consecutive offsets in {}", file.display());
        for (first, second) in pairs {
            complain!("  {first} is followed by {second}");
        }
    }
}
