//! `kafka-configs`: shows and changes the configs of topics, brokers, groups and more, and the quotas of users, clients and
//! addresses. Kafka counterpart: ConfigCommand.

mod quotas;
mod resources;
mod users;

use std::collections::BTreeMap;
use std::net::ToSocketAddrs;

use client::Admin;

use crate::failure::Failure;
use crate::options::{Options, Parser};
use crate::out::{complain, say};
use crate::{properties, session};

/// Entity types as `--entity-type` takes them.
const TYPES: [&str; 8] = ["topics", "clients", "users", "brokers", "ips", "client-metrics", "groups", "broker-loggers"];
/// The option that names one entity of a type.
const FLAGS: [(&str, &str); 8] = [
    ("topic", "topics"),
    ("client", "clients"),
    ("user", "users"),
    ("broker", "brokers"),
    ("broker-logger", "broker-loggers"),
    ("ip", "ips"),
    ("client-metrics", "client-metrics"),
    ("group", "groups"),
];
/// The option that means the default of a type.
const DEFAULT_FLAGS: [(&str, &str); 4] =
    [("client-defaults", "clients"), ("user-defaults", "users"), ("broker-defaults", "brokers"), ("ip-defaults", "ips")];

fn parser() -> Parser {
    let about = "This tool helps to manipulate and describe entity config for a topic, client, user, broker, ip, client-metrics or group";
    Parser::documented(about, include_str!("../../help/kafka-configs.txt"))
}

/// An entity: its type and name; an empty name is the default of the type.
struct Entities {
    types: Vec<String>,
    names: Vec<String>,
}

impl Entities {
    fn of(options: &Options) -> Result<Self, Failure> {
        let mut types: Vec<String> = options.values("entity-type").into_iter().map(str::to_owned).collect();
        let mut given = options.values("entity-name").into_iter();
        let mut names = Vec::new();
        for option in options.in_order(&["entity-name", "entity-default"]) {
            names.push(if option == "entity-name" { given.next().unwrap_or_default().to_owned() } else { String::new() });
        }
        for (flag, kind) in FLAGS {
            if options.has(flag) {
                types.push(kind.to_owned());
                names.push(options.value(flag)?.unwrap_or_default().to_owned());
            }
        }
        for (flag, kind) in DEFAULT_FLAGS {
            if options.has(flag) {
                types.push(kind.to_owned());
                names.push(String::new());
            }
        }
        Ok(Entities { types, names })
    }

    fn first_type(&self) -> &str {
        self.types.first().map_or("", String::as_str)
    }

    fn has(&self, kind: &str) -> bool {
        self.types.iter().any(|t| t == kind)
    }
}

/// `topics` -> `topic`
fn singular(kind: &str) -> &str {
    &kind[..kind.len().saturating_sub(1)]
}

pub fn run(args: &[String]) -> Result<(), Failure> {
    let options = parser().parse(args)?;
    let entities = check(&options)?;
    let failed = |why: &str| {
        complain!("Error while executing config command with args '{}'", args.join(" "));
        Failure::new(why)
    };
    if let Some(file) = options.value("command-config")?.filter(|file| !std::path::Path::new(file).exists()) {
        return Err(failed(&format!("java.nio.file.NoSuchFileException: {file}")));
    }
    let mut config = session::config(&options)?;
    if let Some(addresses) = options.value("bootstrap-controller")? {
        config.remove("bootstrap.servers");
        config.set("bootstrap.controllers", addresses);
    }
    if options.has("alter") && entities.types.len() != entities.names.len() {
        return Err(Failure::new("An entity name must be specified for every entity type"));
    }
    let done = session::block_on(async {
        let admin = session::admin(config)?;
        if options.has("alter") { alter(&admin, &options, &entities).await } else { describe(&admin, &options, &entities).await }
    });
    match done {
        // What a broker refuses comes behind the whole command line.
        Err(Failure::Refused(text)) => Err(failed(&text)),
        other => other,
    }
}

fn check(options: &Options) -> Result<Entities, Failure> {
    let bad = |text: String| Err(Failure::new(text));
    if ["alter", "describe"].iter().filter(|action| options.has(action)).count() != 1 {
        return Err(options.usage("Command must include exactly one action: --describe, --alter"));
    }
    options.check_invalid("describe", &["alter", "add-config", "delete-config"])?;
    let entities = Entities::of(options)?;
    let mut seen: Vec<&String> = Vec::new();
    let twice: Vec<&str> = entities
        .types
        .iter()
        .filter(|kind| {
            let again = seen.contains(kind);
            seen.push(kind);
            again
        })
        .map(String::as_str)
        .collect();
    if !twice.is_empty() {
        return bad(format!("Duplicate entity type(s) specified: {}", twice.join(",")));
    }
    if !options.has("bootstrap-server") && !options.has("bootstrap-controller") {
        return bad("Either --bootstrap-server or --bootstrap-controller must be specified.".into());
    }
    if let Some(kind) = entities.types.iter().find(|kind| !TYPES.contains(&kind.as_str())) {
        return bad(format!(
            "Invalid entity type {kind}, the entity type must be one of {} with a --bootstrap-server or --bootstrap-controller argument",
            TYPES.join(", ")
        ));
    }
    if entities.types.is_empty() {
        return bad("At least one entity type must be specified".into());
    }
    if entities.types.len() > 1 && !(entities.types.len() == 2 && entities.has("users") && entities.has("clients")) {
        return bad("Only 'users' and 'clients' entity types may be specified together".into());
    }
    let by_type = ["entity-name", "entity-type", "entity-default"].iter().any(|name| options.has(name));
    if by_type && FLAGS.iter().chain(&DEFAULT_FLAGS).any(|(flag, _)| options.has(flag)) {
        return bad("--entity-{type,name,default} should not be used in conjunction with specific entity flags".into());
    }
    if options.has("bootstrap-server") && options.has("bootstrap-controller") {
        return bad("Only one of --bootstrap-server or --bootstrap-controller can be specified".into());
    }
    check_names(options, &entities)?;
    if options.has("alter") {
        check_alter(options, &entities)?
    }
    Ok(entities)
}

fn check_names(options: &Options, entities: &Entities) -> Result<(), Failure> {
    let bad = |text: String| Err(Failure::new(text));
    let has_name = entities.names.iter().any(|name| !name.is_empty());
    if (entities.has("brokers") || entities.has("broker-loggers"))
        && let Some(id) = entities.names.iter().find(|name| !name.is_empty() && name.parse::<i32>().is_err())
    {
        return bad(format!("The entity name for {} must be a valid integer broker id, but it is: {id}", entities.first_type()));
    }
    if entities.has("ips")
        && let Some(host) = entities.names.iter().find(|name| !name.is_empty() && (name.as_str(), 0).to_socket_addrs().is_err())
    {
        let kind = entities.first_type();
        return bad(format!("The entity name for {kind} must be a valid IP or resolvable host, but it is: {host}"));
    }
    if options.has("describe") {
        let with_default = ["users", "clients", "brokers", "ips"].iter().any(|kind| entities.has(kind));
        if !with_default && options.has("entity-default") {
            return bad(format!("--entity-default must not be specified with --describe of {}", entities.types.join(",")));
        }
        if entities.has("broker-loggers") && !has_name {
            return bad(format!("An entity name must be specified with --describe of {}", entities.types.join(",")));
        }
    }
    Ok(())
}

fn check_alter(options: &Options, entities: &Entities) -> Result<(), Failure> {
    let bad = |text: String| Err(Failure::new(text));
    let with_default = ["users", "clients", "brokers", "ips"].iter().any(|kind| entities.has(kind));
    if with_default && entities.names.is_empty() {
        return bad("An entity-name or default entity must be specified with --alter of users, clients, brokers or ips".into());
    }
    if !with_default && !entities.names.iter().any(|name| !name.is_empty()) {
        return bad(format!("An entity name must be specified with --alter of {}", entities.types.join(",")));
    }
    if options.has("add-config") && options.has("add-config-file") {
        return bad("Only one of --add-config or --add-config-file must be specified".into());
    }
    if !["add-config", "add-config-file", "delete-config"].iter().any(|name| options.has(name)) {
        return bad("At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter".into());
    }
    Ok(())
}

async fn describe(admin: &Admin, options: &Options, entities: &Entities) -> Result<(), Failure> {
    match entities.first_type() {
        "users" | "clients" => {
            quotas::describe(admin, entities).await?;
            quotas::describe_credentials(admin, entities).await
        }
        "ips" => quotas::describe(admin, entities).await,
        // Controllers know nothing of what topics there are.
        "topics" if options.has("bootstrap-controller") && (!options.has("all") || entities.names.is_empty()) => {
            let text = "This Admin API is not yet supported when communicating directly with the controller quorum.";
            let class = "org.apache.kafka.common.errors.UnsupportedEndpointTypeException";
            Err(Failure::Refused(format!("java.util.concurrent.ExecutionException: {class}: {text}")))
        }
        kind => resources::describe(admin, kind, entities.names.first().map(String::as_str), options.has("all")).await,
    }
}

/// What an alteration adds and what it takes away.
struct Changes {
    add: BTreeMap<String, String>,
    delete: Vec<String>,
}

async fn alter(admin: &Admin, options: &Options, entities: &Entities) -> Result<(), Failure> {
    let mut add = match options.value("add-config-file")? {
        Some(file) if !std::path::Path::new(file).exists() => {
            return Err(Failure::Refused(format!("java.nio.file.NoSuchFileException: {file}")));
        }
        Some(file) => properties::load(file)?,
        None => BTreeMap::new(),
    };
    if let Some(text) = options.value("add-config")? {
        add.extend(parse_added(text)?);
    }
    let allowed = |key: &str| key.chars().all(|c| c.is_ascii_alphanumeric() || "$._-".contains(c));
    if let Some(key) = add.keys().find(|key| !allowed(key)) {
        return Err(Failure::new(format!("Invalid character found for config key: {key}")));
    }
    let delete = options.values("delete-config").iter().flat_map(|list| list.split(',')).map(|key| key.trim().to_owned()).collect();
    let changes = Changes { add, delete };
    let (kind, name) = (entities.first_type(), entities.names.first().map_or("", String::as_str));
    match kind {
        "users" | "clients" => users::alter(admin, entities, &changes).await?,
        "ips" => quotas::alter_ips(admin, entities, &changes).await?,
        _ => resources::alter(admin, kind, name, &changes).await?,
    }
    if name.is_empty() {
        say!("Completed updating default config for {kind} in the cluster.");
    } else {
        say!("Completed updating config for {} {name}.", singular(kind));
    }
    Ok(())
}

/// `k1=v1,k2=[a,b]`: commas and equals signs in square brackets separate nothing.
fn parse_added(text: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut pairs = Vec::new();
    for word in split_outside(text, ',') {
        let pieces = split_outside(&word, '=');
        let [key, value] = &pieces[..] else {
            return Err(Failure::new(
                "requirement failed: Invalid entity config: all configs to be added must be in the format \"key=val\" or  \
                 \"key=[val1,val2]\" to group values which contain commas.",
            ));
        };
        pairs.push((key.trim().to_owned(), value.replace(['[', ']'], "").trim().to_owned()));
    }
    Ok(pairs)
}

fn split_outside(text: &str, separator: char) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut inside = false;
    for letter in text.chars() {
        match letter {
            '[' => inside = true,
            ']' => inside = false,
            _ => {}
        }
        if letter == separator && !inside {
            pieces.push(String::new());
        } else if let Some(piece) = pieces.last_mut() {
            piece.push(letter);
        }
    }
    if separator == ',' {
        pieces.pop_if(|last| last.is_empty());
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_configs() {
        let parse = |text: &str| parse_added(text).ok();
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(parse("a=1, b=[x,y],c="), Some(vec![pair("a", "1"), pair("b", "x,y"), pair("c", "")]));
        assert_eq!(parse("SCRAM-SHA-256=[iterations=8192,password=p]"), Some(vec![pair("SCRAM-SHA-256", "iterations=8192,password=p")]));
        assert_eq!(parse("a"), None);
        assert_eq!(parse("a=b=c"), None);
    }
}
