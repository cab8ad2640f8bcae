//! `cargo xtask schema import|check JARS`: the wire notation against the JSON schemas inside Kafka's jars.
//!
//! `import` rewrites `crates/wire/schema` from the jars of a new Kafka release; `check` prints every line that drifted.

use schema_gen::{Field, Kind, Message, Struct, Type, Versions};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The files of the notation, and the jar and folder their schemas come from.
const SOURCES: [(&str, &str, &str); 8] = [
    ("rpc", "kafka-clients", "common/message/"),
    ("metadata", "kafka-metadata", "common/metadata/"),
    ("group", "kafka-group-coordinator", "common/message/"),
    ("share", "kafka-share-coordinator", "common/message/"),
    ("transaction", "kafka-transaction-coordinator", "common/message/"),
    ("raft", "kafka-raft", "common/message/"),
    ("storage", "kafka-storage", "message/"),
    ("streams", "kafka-streams", "common/message/"),
];

pub fn main(args: &[String]) -> Result<(), String> {
    let [command, jars] = args else { return Err("usage: cargo xtask schema import|check DIRECTORY-OF-JARS".into()) };
    let mut drift = 0;
    for (file, jar, folder) in SOURCES {
        let text = notation(Path::new(jars), jar, folder)?;
        let path = PathBuf::from("crates/wire/schema").join(format!("{file}.schema"));
        match command.as_str() {
            "import" => std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?,
            "check" => drift += print_drift(&path, &text)?,
            other => return Err(format!("'{other}' is neither import nor check")),
        }
    }
    match drift {
        0 => {
            println!("schema: {command} of {} files done, no drift", SOURCES.len());
            Ok(())
        }
        n => Err(format!("{n} lines of the notation differ from the jars; run `cargo xtask schema import {jars}` and review the change")),
    }
}

fn print_drift(path: &Path, expected: &str) -> Result<usize, String> {
    let ours = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    // Lines are compared within their message, so that one added field does not shift all that follows.
    let (ours, theirs) = (by_message(&ours), by_message(expected));
    let mut drift = 0;
    let mut names: Vec<&str> = ours.keys().chain(theirs.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (a, b) = (ours.get(name).cloned().unwrap_or_default(), theirs.get(name).cloned().unwrap_or_default());
        for line in a.iter().filter(|l| !b.contains(l)) {
            println!("{}: {name}: only ours:  {line}", path.display());
            drift += 1;
        }
        for line in b.iter().filter(|l| !a.contains(l)) {
            println!("{}: {name}: only Kafka: {line}", path.display());
            drift += 1;
        }
        if a != b && drift == 0 {
            println!("{}: {name}: the order of the fields differs", path.display());
            drift += 1;
        }
    }
    Ok(drift)
}

fn by_message(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut out: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut name = "";
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        if !line.starts_with(' ') {
            name = line.split_whitespace().find(|w| w.starts_with(|c: char| c.is_ascii_uppercase())).unwrap_or(line);
        }
        out.entry(name).or_default().push(line);
    }
    out
}

/// The canonical notation of all schemas in one jar.
fn notation(jars: &Path, jar: &str, folder: &str) -> Result<String, String> {
    let path = find_jar(jars, jar)?;
    let file = std::fs::File::open(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut zip = zip::ZipArchive::new(file).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut names: Vec<String> = zip.file_names().filter(|n| n.starts_with(folder) && n.ends_with(".json")).map(str::to_owned).collect();
    names.sort();
    let mut messages = Vec::new();
    for name in names {
        let mut text = String::new();
        let mut entry = zip.by_name(&name).map_err(|e| format!("{name}: {e}"))?;
        entry.read_to_string(&mut text).map_err(|e| format!("{name}: {e}"))?;
        let json: Value = serde_json::from_str(&lenient(&text)).map_err(|e| format!("{name}: {e}"))?;
        messages.push(message(&json).ok_or_else(|| format!("{name}: not a message schema"))?);
    }
    // Requests and responses in the order of their keys, so that a pair stands together.
    messages.sort_by_key(|m| (m.api_key.unwrap_or(i16::MAX), m.name.clone()));
    let header = format!("# Facts from {jar} 4.3.1. Checked against the jar by `cargo xtask schema check`.\n");
    Ok(header + &messages.iter().map(Message::to_string).collect::<String>())
}

fn find_jar(jars: &Path, name: &str) -> Result<PathBuf, String> {
    let entries = std::fs::read_dir(jars).map_err(|e| format!("{}: {e}", jars.display()))?;
    let is_it = |file: &str| {
        file.strip_prefix(name).is_some_and(|rest| rest.starts_with("-4") && rest.ends_with(".jar") && !rest.contains("sources"))
    };
    entries
        .flatten()
        .map(|e| e.path())
        .find(|p| p.file_name().and_then(|f| f.to_str()).is_some_and(is_it))
        .ok_or_else(|| format!("{}: no {name}-4*.jar", jars.display()))
}

/// Kafka's JSON has comments and trailing commas.
fn lenient(text: &str) -> String {
    let mut out = String::new();
    let mut in_string = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => in_string = !in_string,
            '\\' if in_string => {
                out.push(c);
                out.extend(chars.next());
                continue;
            }
            '/' if !in_string && chars.peek() == Some(&'/') => {
                for skipped in chars.by_ref() {
                    if skipped == '\n' {
                        break;
                    }
                }
                out.push('\n');
                continue;
            }
            '/' if !in_string && chars.peek() == Some(&'*') => {
                let mut last = ' ';
                for skipped in chars.by_ref().skip(1) {
                    if (last, skipped) == ('*', '/') {
                        break;
                    }
                    last = skipped;
                }
                continue;
            }
            ']' | '}' if !in_string => {
                let kept = out.trim_end().len();
                if out[..kept].ends_with(',') {
                    out.truncate(kept - 1);
                }
            }
            _ => {}
        }
        out.push(c);
    }
    out
}

fn message(json: &Value) -> Option<Message> {
    let kind_name = json["type"].as_str().unwrap_or("data");
    let kind = Kind::NAMES.iter().find(|(n, _)| *n == kind_name)?.1;
    Some(Message {
        kind,
        api_key: json["apiKey"].as_i64().map(|k| k as i16),
        name: json["name"].as_str()?.to_owned(),
        versions: Versions::parse(json["validVersions"].as_str()?)?,
        flexible: versions_or(&json["flexibleVersions"], Versions::NONE)?,
        listeners: json["listeners"].as_array().into_iter().flatten().filter_map(|l| l.as_str().map(str::to_owned)).collect(),
        latest_unstable: json["latestVersionUnstable"].as_bool().unwrap_or(false),
        fields: fields(&json["fields"])?,
        structs: match &json["commonStructs"] {
            Value::Array(structs) => structs.iter().map(common_struct).collect::<Option<_>>()?,
            _ => Vec::new(),
        },
    })
}

fn common_struct(json: &Value) -> Option<Struct> {
    Some(Struct {
        name: json["name"].as_str()?.to_owned(),
        versions: versions_or(&json["versions"], Versions::ALL)?,
        fields: fields(&json["fields"])?,
    })
}

fn versions_or(json: &Value, absent: Versions) -> Option<Versions> {
    match json.as_str() {
        Some(text) => Versions::parse(text),
        None => Some(absent),
    }
}

fn fields(json: &Value) -> Option<Vec<Field>> {
    json.as_array().into_iter().flatten().map(field).collect()
}

fn field(json: &Value) -> Option<Field> {
    let tagged = versions_or(&json["taggedVersions"], Versions::NONE)?;
    let default = match &json["default"] {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.to_ascii_lowercase()),
        Value::Null if json.get("default").is_some() => Some("null".to_owned()),
        Value::Null => None,
        other => Some(other.to_string()),
    };
    Some(Field {
        name: json["name"].as_str()?.to_owned(),
        ty: Type::parse(json["type"].as_str()?),
        versions: versions_or(&json["versions"], tagged)?,
        nullable: versions_or(&json["nullableVersions"], Versions::NONE)?,
        default,
        tag: json["tag"].as_u64().map(|t| t as u32),
        ignorable: json["ignorable"].as_bool().unwrap_or(false),
        never_flexible: json["flexibleVersions"].as_str() == Some("none"),
        fields: fields(&json["fields"])?,
    })
}
