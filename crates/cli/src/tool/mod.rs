//! Owns: the list of tools. One file a tool, named as Kafka's script; each reads its flags, does its work and returns.

use crate::failure::Failure;

pub struct Tool {
    /// Without the `kafka-` that the link carries.
    pub name: &'static str,
    pub about: &'static str,
    pub run: fn(&[String]) -> Result<(), Failure>,
}

mod broker_api_versions;
mod cluster;
mod configs;
mod console_consumer;
mod console_producer;
mod consumer_groups;
mod consumer_perf;
mod delete_records;
mod dump_log;
mod e2e_latency;
mod events;
mod features;
mod get_offsets;
mod groups;
mod leader_election;
mod log_dirs;
mod metadata_quorum;
mod producer_perf;
mod reassign_partitions;
mod replica_verification;
mod server_start;
mod server_stop;
mod storage;
mod streams_reset;
mod topics;
mod transactions;
mod verifiable_consumer;
mod verifiable_producer;

pub const TOOLS: &[Tool] = &[
    Tool { name: "topics", about: "create, list, describe, alter and delete topics", run: topics::run },
    Tool { name: "console-producer", about: "send the lines of standard input", run: console_producer::run },
    Tool { name: "console-consumer", about: "print the records of topics", run: console_consumer::run },
    Tool { name: "consumer-groups", about: "list and describe consumer groups, move or delete their offsets", run: consumer_groups::run },
    Tool { name: "configs", about: "show and change configs and quotas", run: configs::run },
    Tool { name: "get-offsets", about: "print offsets of partitions", run: get_offsets::run },
    Tool { name: "groups", about: "list groups of every type", run: groups::run },
    Tool { name: "delete-records", about: "delete records before an offset", run: delete_records::run },
    Tool { name: "cluster", about: "the id of a cluster, its brokers and controllers", run: cluster::run },
    Tool { name: "leader-election", about: "elect preferred or unclean leaders", run: leader_election::run },
    Tool { name: "reassign-partitions", about: "move partitions between brokers and log directories", run: reassign_partitions::run },
    Tool { name: "replica-verification", about: "compare what the replicas of topics hold", run: replica_verification::run },
    Tool { name: "log-dirs", about: "what the log directories of brokers hold", run: log_dirs::run },
    Tool { name: "features", about: "show and change the feature levels of a cluster", run: features::run },
    Tool { name: "metadata-quorum", about: "show and change the quorum of controllers", run: metadata_quorum::run },
    Tool { name: "broker-api-versions", about: "what requests brokers understand", run: broker_api_versions::run },
    Tool { name: "producer-perf-test", about: "measure how fast records can be produced", run: producer_perf::run },
    Tool { name: "consumer-perf-test", about: "measure how fast records can be consumed", run: consumer_perf::run },
    Tool { name: "e2e-latency", about: "measure how long a record takes from producer to consumer", run: e2e_latency::run },
    Tool { name: "verifiable-producer", about: "send numbers, print what became of each as JSON", run: verifiable_producer::run },
    Tool { name: "verifiable-consumer", about: "read as a member of a group, print events as JSON", run: verifiable_consumer::run },
    Tool {
        name: "streams-application-reset",
        about: "move the offsets of a Kafka Streams application, delete its internal topics",
        run: streams_reset::run,
    },
    Tool { name: "transactions", about: "list and describe transactions, find and abort those that hang", run: transactions::run },
    Tool { name: "dump-log", about: "print log segments, indexes and snapshots", run: dump_log::run },
    Tool { name: "server-start", about: "a node from a server.properties; -daemon puts it in the background", run: server_start::run },
    Tool {
        name: "server-stop",
        about: "stop the nodes of this machine, or those of --process-role=ROLE or --node-id=ID",
        run: server_stop::run,
    },
    Tool { name: "storage", about: "format data directories, or look at them", run: storage::run },
];

/// By `topics` or `kafka-topics`.
pub fn find(name: &str) -> Option<&'static Tool> {
    let name = name.strip_suffix(".sh").unwrap_or(name);
    let name = name.strip_prefix("kafka-").unwrap_or(name);
    TOOLS.iter().find(|tool| tool.name == name)
}
