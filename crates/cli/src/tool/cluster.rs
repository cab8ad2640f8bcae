//! `kafka-cluster`: the id of a cluster, its endpoints, and taking brokers out of it. Kafka counterpart: ClusterTool.

use client::{Admin, Config, Error, Node};
use wire::ErrorCode;
use wire::messages::{DescribeClusterRequest, UnregisterBrokerRequest};

use crate::argparse::{Arg, Command, Parsed, Program, Takes};
use crate::failure::Failure;
use crate::java::exception_text;
use crate::out::say;
use crate::{properties, session};

const SERVER: Arg = Arg { long: "--bootstrap-server", short: "-b", takes: Takes::One, required: false, help: "The brokers to connect to." };
const CONTROLLER: Arg =
    Arg { long: "--bootstrap-controller", short: "-C", takes: Takes::One, required: false, help: "The controllers to connect to." };
const CONFIG: Arg = Arg { long: "--config", short: "", takes: Takes::One, required: false, help: "(Deprecated) Use --command-config." };
const COMMAND_CONFIG: Arg =
    Arg { long: "--command-config", short: "-c", takes: Takes::One, required: false, help: "Property file with client configs." };
const CONNECTIONS: &[&str] = &["--bootstrap-server", "--bootstrap-controller"];

const PROGRAM: Program = Program {
    name: "kafka-cluster",
    about: "The Kafka cluster tool.",
    commands: &[
        Command {
            name: "cluster-id",
            usage: "usage: kafka-cluster cluster-id [-h] [--config CONFIG]
                     [--command-config COMMAND_CONFIG]
                     (--bootstrap-server BOOTSTRAP_SERVER |
                     --bootstrap-controller BOOTSTRAP_CONTROLLER)",
            help: "Print the id of a cluster.",
            args: &[SERVER, CONTROLLER, CONFIG, COMMAND_CONFIG],
            exclusive: CONNECTIONS,
        },
        Command {
            name: "unregister",
            usage: "usage: kafka-cluster unregister [-h] [--config CONFIG]
                     [--command-config COMMAND_CONFIG] --id ID
                     (--bootstrap-server BOOTSTRAP_SERVER |
                     --bootstrap-controller BOOTSTRAP_CONTROLLER)",
            help: "Take a broker that is gone out of the cluster.",
            args: &[
                SERVER,
                CONTROLLER,
                CONFIG,
                COMMAND_CONFIG,
                Arg { long: "--id", short: "-i", takes: Takes::One, required: true, help: "The id of the broker." },
            ],
            exclusive: CONNECTIONS,
        },
        Command {
            name: "list-endpoints",
            usage: "usage: kafka-cluster list-endpoints [-h] [--config CONFIG]
                     [--command-config COMMAND_CONFIG]
                     [--include-fenced-brokers]
                     (--bootstrap-server BOOTSTRAP_SERVER |
                     --bootstrap-controller BOOTSTRAP_CONTROLLER)",
            help: "List where brokers or controllers listen.",
            args: &[
                SERVER,
                CONTROLLER,
                CONFIG,
                COMMAND_CONFIG,
                Arg {
                    long: "--include-fenced-brokers",
                    short: "",
                    takes: Takes::Nothing,
                    required: false,
                    help: "List also brokers that are fenced.",
                },
            ],
            exclusive: CONNECTIONS,
        },
    ],
};

pub fn run(args: &[String]) -> Result<(), Failure> {
    let parsed = PROGRAM.parse(args)?;
    let command = PROGRAM.commands.iter().find(|command| command.name == parsed.command);
    let Some(servers) = parsed.value("bootstrap-server").or_else(|| parsed.value("bootstrap-controller")) else {
        return Err(PROGRAM.error(command, "one of the arguments --bootstrap-server/-b --bootstrap-controller/-C is required"));
    };
    if parsed.has("config") && parsed.has("command-config") {
        return Err(Failure::new("--config and --command-config cannot be specified together."));
    }
    if parsed.has("config") {
        say!("Option --config has been deprecated and will be removed in a future version. Use --command-config instead.");
    }
    let mut config = Config::new();
    if let Some(file) = parsed.value("command-config").or_else(|| parsed.value("config")) {
        config.extend(properties::load(file)?);
    }
    config.set("bootstrap.servers", servers);
    session::block_on(async {
        let admin = Admin::new(config)?;
        match parsed.command {
            "cluster-id" => cluster_id(&admin).await,
            "unregister" => unregister(&admin, &parsed).await,
            _ => list_endpoints(&admin, &parsed).await,
        }
    })
}

fn executed(error: Error) -> Failure {
    Failure::new(exception_text(&error))
}

async fn cluster_id(admin: &Admin) -> Result<(), Failure> {
    let cluster = admin.describe_cluster().await.map_err(executed)?;
    say!("Cluster ID: {}", cluster.cluster_id);
    Ok(())
}

async fn unregister(admin: &Admin, parsed: &Parsed) -> Result<(), Failure> {
    let text = parsed.value("id").unwrap_or_default();
    let id: i32 = text.parse().map_err(|_| Failure::new(format!("argument --id/-i: could not convert '{text}' to Integer")))?;
    let unsupported = || say!("The target cluster does not support the broker unregistration API.");
    match admin.controller(UnregisterBrokerRequest { broker_id: id, ..Default::default() }).await {
        Ok(response) => match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => say!("Broker {id} is no longer registered."),
            ErrorCode::UnsupportedVersion => unsupported(),
            code => return Err(executed(Error::broker(code, response.error_message))),
        },
        Err(error) if error.code() == Some(ErrorCode::UnsupportedVersion) => unsupported(),
        Err(error) => return Err(executed(error)),
    }
    Ok(())
}

async fn list_endpoints(admin: &Admin, parsed: &Parsed) -> Result<(), Failure> {
    let controllers = parsed.has("bootstrap-controller");
    if controllers && parsed.has("include-fenced-brokers") {
        return Err(Failure::new("The option --include-fenced-brokers is only supported with --bootstrap-server option"));
    }
    let nodes: Vec<(Node, bool)> = if controllers {
        let response = admin.any(DescribeClusterRequest { endpoint_type: 2, ..Default::default() }).await.map_err(executed)?;
        if response.error_code != 0 {
            return Err(executed(Error::broker(ErrorCode::from_code(response.error_code), response.error_message)));
        }
        let node = |b: wire::messages::describe_cluster_response::DescribeClusterBroker| {
            (Node { id: b.broker_id, host: b.host, port: b.port as u16, rack: b.rack }, false)
        };
        response.brokers.into_iter().map(node).collect()
    } else {
        admin.describe_cluster_with(parsed.has("include-fenced-brokers"), false).await.map_err(executed)?.nodes
    };
    let hosts = nodes.iter().map(|(node, _)| node.host.len()).max().unwrap_or(100);
    let racks = nodes.iter().filter_map(|(node, _)| node.rack.as_ref().map(String::len)).max().unwrap_or(10);
    let line = |id: &str, host: &str, port: &str, rack: &str, state: &str, kind: &str| {
        let state = if controllers { String::new() } else { format!("{state:10} ") };
        say!("{id:10} {host:hosts$} {port:10} {rack:racks$} {state}{kind:15}");
    };
    line("ID", "HOST", "PORT", "RACK", "STATE", "ENDPOINT_TYPE");
    for (node, fenced) in &nodes {
        let (state, kind) = (if *fenced { "fenced" } else { "unfenced" }, if controllers { "controller" } else { "broker" });
        line(&node.id.to_string(), &node.host, &node.port.to_string(), node.rack.as_deref().unwrap_or("null"), state, kind);
    }
    Ok(())
}
