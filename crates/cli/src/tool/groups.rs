//! `kafka-groups`: lists groups of every type. Kafka counterpart: GroupsCommand.

use client::Admin;
use client::admin::{GroupListing, ListGroupsOptions};

use crate::failure::Failure;
use crate::java::{hash_map_order, string_hash};
use crate::options::{Options, Parser};
use crate::out::say;
use crate::session;

fn parser() -> Parser {
    Parser::documented("This tool helps to list groups of all types.", include_str!("../help/kafka-groups.txt"))
}

pub fn run(args: &[String]) -> Result<(), Failure> {
    let options = match parser().parse(args) {
        Err(Failure::Options(message)) => return Err(parser().parse_quietly(&[])?.usage(message)),
        other => other?,
    };
    check(&options)?;
    let types = ["consumer", "classic", "share", "streams"];
    if options.value("group-type")?.is_some_and(|kind| !types.contains(&kind.to_lowercase().as_str())) {
        return Err(Failure::new("--group-type must be a valid group type."));
    }
    let config = session::config(&options)?;
    let listed = session::block_on(async {
        let admin = Admin::new(config)?;
        let (groups, mut errors) = admin.list_groups(ListGroupsOptions::default()).await?;
        match errors.pop() {
            Some(error) => Err(error.into()),
            None => Ok(groups),
        }
    });
    match listed {
        Ok(groups) => print(&options, groups),
        Err(Failure::Message(text)) => {
            say!("Error while executing groups command : {text}");
            Err(Failure::Status(1))
        }
        Err(other) => Err(other),
    }
}

fn check(options: &Options) -> Result<(), Failure> {
    if !options.has("list") {
        return Err(options.usage("Command must include exactly one action: --list."));
    }
    let filters = ["consumer", "share", "streams"];
    for filter in filters {
        let others: Vec<&str> = filters.into_iter().filter(|other| *other != filter).chain(["group-type", "protocol"]).collect();
        options.check_invalid(filter, &others)?;
    }
    Ok(())
}

fn print(options: &Options, groups: Vec<GroupListing>) -> Result<(), Failure> {
    let (wanted_type, wanted_protocol) = (options.value("group-type")?, options.value("protocol")?);
    let is = |group: &GroupListing, kind: &str| group.group_type.eq_ignore_ascii_case(kind);
    let pass = |group: &GroupListing| {
        let protocol = wanted_protocol.is_none_or(|protocol| group.protocol_type == protocol);
        match wanted_type {
            Some(kind) => is(group, kind) && protocol,
            None if wanted_protocol.is_some() => protocol,
            None if options.has("consumer") => matches!(group.protocol_type.as_str(), "consumer" | "") || is(group, "consumer"),
            None if options.has("share") => is(group, "share"),
            None if options.has("streams") => is(group, "streams"),
            None => true,
        }
    };
    let groups: Vec<GroupListing> = groups.into_iter().filter(pass).collect();
    let groups = hash_map_order(groups, 16, |group| string_hash(&group.group_id));
    let width = groups.iter().map(|group| group.group_id.len().max(group.protocol_type.len())).max().unwrap_or(0).max(20);
    say!("{:width$} {:width$} {:width$}", "GROUP", "TYPE", "PROTOCOL");
    for group in groups {
        say!("{:width$} {:width$} {:width$} ", group.group_id, super::consumer_groups::capitalized(&group.group_type), group.protocol_type);
    }
    Ok(())
}
