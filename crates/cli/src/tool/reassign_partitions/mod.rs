//! `kafka-reassign-partitions`: moves partitions between brokers and between their log directories. Kafka counterpart:
//! ReassignPartitionsCommand. Plans are in `plan`, changes in `execute`, looking on in `verify`.

mod cluster;
mod execute;
mod generate;
mod plan;
mod throttle;
mod verify;

use client::Admin;

use crate::failure::Failure;
use crate::options::{Options, Parser};
use crate::out::say;
use crate::session;

const ACTIONS: [&str; 5] = ["generate", "execute", "verify", "cancel", "list"];

pub fn run(args: &[String]) -> Result<(), Failure> {
    let help = include_str!("../../help/kafka-reassign-partitions.txt");
    let mut parser = Parser::documented("This tool helps to move topic partitions between replicas.", help);
    for (name, value) in [("throttle", "-1"), ("replica-alter-log-dirs-throttle", "-1"), ("timeout", "10000")] {
        parser = parser.default_of(name, value);
    }
    let options = parser.parse(args)?;
    let action = check(&options)?;
    let result = start(&options, action);
    // Kafka says what went wrong on stdout here.
    match result {
        Err(Failure::Refused(text)) => {
            say!("{text}");
            Err(Failure::Status(1))
        }
        Err(Failure::Message(text) | Failure::Options(text)) => {
            say!("Error: {text}");
            Err(Failure::Status(1))
        }
        other => other,
    }
}

fn start(options: &Options, action: &str) -> Result<(), Failure> {
    let mut config = session::config(options)?;
    if let Some(addresses) = options.value("bootstrap-controller")? {
        config.remove("bootstrap.servers");
        config.set("bootstrap.controllers", addresses);
    }
    if config.get("client.id").is_none() {
        config.set("client.id", "reassign-partitions-tool");
    }
    let admin = session::admin(config)?;
    session::block_on(act(&admin, options, action))
}

async fn act(admin: &Admin, options: &Options, action: &str) -> Result<(), Failure> {
    let text = |option: &str| -> Result<String, Failure> {
        let file = options.value(option)?.unwrap_or_default();
        std::fs::read_to_string(file).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::new(format!("Unable to read file {file}")),
            _ => Failure::new(format!("{file}: {error}")),
        })
    };
    let keep_throttles = options.has("preserve-throttles");
    match action {
        "verify" => verify::run(admin, &plan::parse(&text("reassignment-json-file")?)?, keep_throttles).await,
        "generate" => {
            let topics = text("topics-to-move-json-file")?;
            let brokers = options.value("broker-list")?.unwrap_or_default();
            generate::run(admin, &topics, brokers, !options.has("disable-rack-aware")).await
        }
        "execute" => {
            let wishes = execute::Wishes {
                additional: options.has("additional"),
                throttle: options.number("throttle")?.unwrap_or(-1),
                log_dirs_throttle: options.number("replica-alter-log-dirs-throttle")?.unwrap_or(-1),
                timeout_ms: options.number("timeout")?.unwrap_or(10_000),
                keep_replication_factor: options.has("disallow-replication-factor-change"),
            };
            let plan = plan::parse(&text("reassignment-json-file")?)?;
            plan.check()?;
            execute::run(admin, &plan, &wishes).await
        }
        "cancel" => {
            let timeout_ms = options.number("timeout")?.unwrap_or(10_000);
            execute::cancel(admin, &plan::parse(&text("reassignment-json-file")?)?, keep_throttles, timeout_ms).await
        }
        _ => verify::list(admin).await,
    }
}

/// What may and must be there together with an action: `ReassignPartitionsCommand.validateAndParseArgs`.
fn check(options: &Options) -> Result<&'static str, Failure> {
    let found: Vec<&'static str> = ACTIONS.into_iter().filter(|action| options.has(action)).collect();
    let [action] = found[..] else {
        let all: Vec<String> = ACTIONS.iter().map(|action| format!("--{action}")).collect();
        return Err(options.usage(format!("Command must include exactly one action: {}", all.join(", "))));
    };
    let (server, controller) = (options.has("bootstrap-server"), options.has("bootstrap-controller"));
    if server && controller {
        return Err(options.usage("Please don't specify both --bootstrap-server and --bootstrap-controller"));
    }
    if !server && !controller {
        return Err(options.usage("Please specify either --bootstrap-server or --bootstrap-controller"));
    }
    let (required, permitted): (&[&str], &[&str]) = match action {
        "verify" => (&["reassignment-json-file"], &["bootstrap-server", "preserve-throttles"]),
        "generate" => (&["topics-to-move-json-file", "broker-list"], &["bootstrap-server", "disable-rack-aware"]),
        "execute" => (
            &["reassignment-json-file"],
            &[
                "additional",
                "bootstrap-server",
                "throttle",
                "replica-alter-log-dirs-throttle",
                "timeout",
                "disallow-replication-factor-change",
            ],
        ),
        "cancel" => (&["reassignment-json-file"], &["bootstrap-server", "bootstrap-controller", "preserve-throttles", "timeout"]),
        _ => (&[], &["bootstrap-server", "bootstrap-controller"]),
    };
    options.check_required(required)?;
    let allowed = |name: &str| name == action || name == "command-config" || required.contains(&name) || permitted.contains(&name);
    match options.given().into_iter().find(|name| !allowed(name)) {
        Some(name) => Err(options.usage(format!("Option \"[{name}]\" can't be used with action \"[{action}]\""))),
        None => Ok(action),
    }
}
