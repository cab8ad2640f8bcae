//! `kafka-cluster`: the id of a cluster, its endpoints, and taking brokers out of it. Kafka counterpart: ClusterTool.

use client::{Admin, Error};
use wire::ErrorCode;
use wire::messages::UnregisterBrokerRequest;

use crate::argparse4j::{Level, Program};
use crate::failure::Failure;
use crate::java::exception_text;
use crate::out::say;
use crate::session;

const CONNECTIONS: Level = Level { exclusive: &["--bootstrap-server", "--bootstrap-controller"], one_required: true, ..Level::new("", "") };

const PROGRAM: Program = Program {
    name: "kafka-cluster",
    top: Level::new("", include_str!("../help/kafka-cluster.txt")),
    commands: &[
        Level { name: "cluster-id", help: include_str!("../help/kafka-cluster-cluster-id.txt"), ..CONNECTIONS },
        Level {
            name: "unregister",
            help: include_str!("../help/kafka-cluster-unregister.txt"),
            required: &["--id"],
            integers: &["--id"],
            ..CONNECTIONS
        },
        Level { name: "list-endpoints", help: include_str!("../help/kafka-cluster-list-endpoints.txt"), ..CONNECTIONS },
    ],
    from_file: false,
};

pub fn run(args: &[String]) -> Result<(), Failure> {
    // This tool ends with 1 even when it was asked for help.
    let parsed = PROGRAM.parse(args).map_err(|_| Failure::Status(1))?;
    if parsed.has("config") && parsed.has("command-config") {
        return Err(Failure::new("--config and --command-config cannot be specified together."));
    }
    if parsed.has("config") {
        say!("Option --config has been deprecated and will be removed in a future version. Use --command-config instead.");
    }
    let config = session::bootstrap_config(&parsed, if parsed.has("config") { "config" } else { "command-config" })?;
    let with_controllers = parsed.has("bootstrap-controller");
    if with_controllers && parsed.has("include-fenced-brokers") {
        return Err(Failure::new("The option --include-fenced-brokers is only supported with --bootstrap-server option"));
    }
    session::block_on(async {
        let admin = session::admin(config)?;
        match parsed.command {
            "cluster-id" => cluster_id(&admin).await,
            "unregister" => unregister(&admin, parsed.integer("id").unwrap_or(-1)).await,
            _ => list_endpoints(&admin, with_controllers, parsed.has("include-fenced-brokers")).await,
        }
    })
}

fn executed(error: Error) -> Failure {
    Failure::new(exception_text(&error))
}

async fn cluster_id(admin: &Admin) -> Result<(), Failure> {
    say!("Cluster ID: {}", admin.describe_cluster().await.map_err(executed)?.cluster_id);
    Ok(())
}

async fn unregister(admin: &Admin, id: i32) -> Result<(), Failure> {
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

async fn list_endpoints(admin: &Admin, controllers: bool, include_fenced: bool) -> Result<(), Failure> {
    let nodes = match admin.describe_cluster_with(include_fenced, false).await {
        Ok(cluster) => cluster.nodes,
        Err(error) if error.code() == Some(ErrorCode::UnsupportedVersion) => {
            say!("{error}");
            return Ok(());
        }
        Err(error) => return Err(executed(error)),
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
