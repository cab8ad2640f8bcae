//! Load for the benchmarks: many producers, members or connections in one process, cheap enough to leave the cores to the broker it drives.
//! Every subcommand works against any broker that speaks Kafka's protocol and prints its figures as one line of `name=number` pairs.
//! `cargo xtask bench` runs it against Apache Kafka and against Gregor.

mod batches;
mod connections;
mod figures;
mod jitter;
mod limit;
mod members;
mod mixed;
mod payload;
mod producers;
mod tail;
mod topics;

use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "usage: load COMMAND ARGUMENT...
  batches BOOTSTRAP TOPIC PARTITIONS CODEC letters|events|small BATCH_BYTES MEGABYTES
            compressed beforehand, sent by one connection
  payload letters|events|small RECORDS FILE
            writes records, one a line
  producers BOOTSTRAP TOPIC PRODUCERS WINDOW RECORD_BYTES SECONDS [keyed]
            each with a connection of its own; the next record is sent once no more than WINDOW are unanswered; keyed: to all partitions
  connections BOOTSTRAP TOPIC CONNECTIONS
            open, each after ApiVersions, Metadata and one Produce or Fetch, until standard input ends
  mixed BOOTSTRAP RECORDS_PER_SECOND SECONDS
            producers, transactions, groups, compaction, topics and connections that come and go
  members BOOTSTRAP GROUP TOPIC consumer|classic
            of one group, which do what standard input says: join N MS, leave N, roll MS, rest MS, commit MS, fill N, again
  jitter SECONDS BUSY_PERCENT
            no broker: how late threads are, one a core, that are due 10,000 times a second and compute for a share of the time
  limit DIRECTORY BATCH_BYTES MEGABYTES
            no broker: CPU for receiving, checksums and writing alone
  tail BOOTSTRAP RECORDS_PER_SECOND RECORD_BYTES SECONDS none|rolls,compaction,cold,cold-flat-out DIR
            latencies from when a record was due; DIR is where the broker has its log
  topics create BOOTSTRAP PREFIX TOPICS PARTITIONS
            PREFIX-0, PREFIX-1, ..., one after the other
  topics fill BOOTSTRAP PREFIX TOPICS PARTITIONS BATCHES BATCH_BYTES
            as many batches into each partition of these
  topics ask BOOTSTRAP TOPIC PREFIX ROUNDS
            about TOPIC, and for a new topic PREFIX-n of one partition, in every round";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = args.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let done = match command.as_str() {
        "batches" => batches::run(rest),
        "connections" => connections::run(rest),
        "jitter" => jitter::run(rest),
        "limit" => limit::run(rest),
        "members" => members::run(rest),
        "mixed" => mixed::run(rest),
        "payload" => payload::run(rest),
        "producers" => producers::run(rest),
        "tail" => tail::run(rest),
        "topics" => topics::run(rest),
        other => Err(format!("'{other}' is not known\n{USAGE}").into()),
    };
    match done {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load {command}: {error}");
            ExitCode::FAILURE
        }
    }
}
