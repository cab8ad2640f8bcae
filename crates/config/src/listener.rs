//! Listener addresses: `NAME://host:port`, and which security protocol a name stands for.
//! Counterpart: SocketServerConfigs.listenerListToEndPoints, AbstractKafkaConfig.effectiveListenerSecurityProtocolMap.

use std::collections::BTreeMap;

use crate::ConfigError;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "PLAINTEXT" => Self::Plaintext,
            "SSL" => Self::Ssl,
            "SASL_PLAINTEXT" => Self::SaslPlaintext,
            "SASL_SSL" => Self::SaslSsl,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    /// The id on the wire and in RegisterBrokerRecord.
    pub fn id(self) -> i16 {
        match self {
            Self::Plaintext => 0,
            Self::Ssl => 1,
            Self::SaslPlaintext => 2,
            Self::SaslSsl => 3,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Upper case, as Kafka normalises listener names.
    pub listener: String,
    pub protocol: SecurityProtocol,
    /// `None` is the wildcard address (an empty host in the file).
    pub host: Option<String>,
    /// 0 lets the kernel choose (tests).
    pub port: u16,
}

/// Listener name (upper case) to protocol.
pub type ProtocolMap = BTreeMap<String, SecurityProtocol>;

/// listener.security.protocol.map. When it is not set explicitly and nothing names SSL or SASL, controller listeners are PLAINTEXT.
pub fn protocol_map(text: &str, explicit: bool, controller_names: &[String], listeners: &[String]) -> Result<ProtocolMap, ConfigError> {
    let key = "listener.security.protocol.map";
    let mut map = ProtocolMap::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let Some((name, protocol)) = entry.rsplit_once(':') else {
            return Err(no_colon(key, entry));
        };
        let protocol = SecurityProtocol::from_name(protocol.trim())
            .ok_or_else(|| ConfigError::Invalid(format!("Invalid security protocol `{}` defined in {key}", protocol.trim())))?;
        map.insert(name.trim().to_ascii_uppercase(), protocol);
    }
    if !explicit {
        let secure = |name: &str| matches!(name, "SSL" | "SASL_SSL" | "SASL_PLAINTEXT");
        let mut is_secure = controller_names.iter().any(|name| secure(name));
        for entry in listeners {
            if is_secure {
                break;
            }
            let name = entry.split_once(':').map(|(name, _)| name.to_ascii_uppercase());
            is_secure = secure(&name.ok_or_else(|| ConfigError::Invalid(format!("Unable to parse a listener name from {entry}")))?);
        }
        if !is_secure {
            for name in controller_names.iter().filter(|name| *name != "PLAINTEXT") {
                map.insert(name.clone(), SecurityProtocol::Plaintext);
            }
        }
    }
    Ok(map)
}

/// In the words of Java's substring, which Kafka passes on.
pub(crate) fn no_colon(key: &str, entry: &str) -> ConfigError {
    let length = entry.encode_utf16().count();
    ConfigError::Invalid(format!("Error parsing configuration property '{key}': begin 0, end -1, length {length}"))
}

/// Parses `listeners` or `advertised.listeners` and checks that names (and, where asked, ports) are distinct.
pub fn parse_list(entries: &[String], map: &ProtocolMap, distinct_ports: bool) -> Result<Vec<Endpoint>, ConfigError> {
    let whole = || format!("[{}]", entries.join(", "));
    let wrap = |why: String| ConfigError::Invalid(format!("Error creating broker listeners from '{}': {why}", whole()));
    let endpoints = entries.iter().map(|entry| parse_entry(entry, map)).collect::<Result<Vec<_>, String>>().map_err(wrap)?;
    for (i, endpoint) in endpoints.iter().enumerate() {
        for other in endpoints.iter().skip(i + 1) {
            if endpoint.listener == other.listener {
                return Err(wrap(format!("Each listener must have a different name, listeners: {}", whole())));
            }
            if distinct_ports && endpoint.port != 0 && endpoint.port == other.port && !one_v4_other_v6(endpoint, other) {
                return Err(wrap(format!("Each listener must have a different port, listeners: {}", whole())));
            }
        }
    }
    Ok(endpoints)
}

fn parse_entry(entry: &str, map: &ProtocolMap) -> Result<Endpoint, String> {
    let broken = || format!("Unable to parse {entry} to a broker endpoint");
    let (name, address) = entry.split_once("://").ok_or_else(broken)?;
    let (host, port) = parse_address(address).ok_or_else(broken)?;
    let listener = name.to_ascii_uppercase();
    let protocol = *map.get(&listener).ok_or_else(|| format!("No security protocol defined for listener {listener}"))?;
    Ok(Endpoint { listener, protocol, host: (!host.is_empty()).then_some(host), port })
}

/// Two listeners may share a port if one binds an IPv4 and the other an IPv6 address.
fn one_v4_other_v6(a: &Endpoint, b: &Endpoint) -> bool {
    let ip = |e: &Endpoint| e.host.as_deref().and_then(|host| host.parse::<std::net::IpAddr>().ok());
    matches!((ip(a), ip(b)), (Some(a), Some(b)) if a.is_ipv4() != b.is_ipv4())
}

/// `host:port`, `[v6]:port`, `:port`. The port is what follows the last colon.
fn parse_address(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').unwrap_or(host);
    let host = host.strip_suffix(']').unwrap_or(host);
    let valid = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'%' | b'.' | b'_' | b':'));
    if valid { Some((host.to_owned(), port.parse().ok()?)) } else { None }
}

/// As above, for addresses to connect to: the host must be there.
pub(crate) fn parse_host_port(text: &str) -> Option<(String, u16)> {
    parse_address(text).filter(|(host, _)| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entries: &[&str]) -> Result<Vec<Endpoint>, String> {
        let map = protocol_map("PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT,SSL:SSL", true, &[], &[]).unwrap();
        parse_list(&entries.iter().map(|s| s.to_string()).collect::<Vec<_>>(), &map, true).map_err(|e| e.to_string())
    }

    #[test]
    fn addresses_in_every_form() {
        let got = parse(&["PLAINTEXT://:9092", "inside://[::1]:9093", "SSL://broker-1.example.org:9094"]).unwrap();
        let hosts: Vec<_> = got.iter().map(|e| (e.listener.as_str(), e.host.as_deref(), e.port)).collect();
        assert_eq!(hosts, [("PLAINTEXT", None, 9092), ("INSIDE", Some("::1"), 9093), ("SSL", Some("broker-1.example.org"), 9094)]);
    }

    #[test]
    fn refusals_say_which_list() {
        assert_eq!(
            parse(&["OTHER://:9092"]).unwrap_err(),
            "Error creating broker listeners from '[OTHER://:9092]': No security protocol defined for listener OTHER"
        );
        assert_eq!(
            parse(&["PLAINTEXT://a:1", "INSIDE://b:1"]).unwrap_err(),
            "Error creating broker listeners from '[PLAINTEXT://a:1, INSIDE://b:1]': \
             Each listener must have a different port, listeners: [PLAINTEXT://a:1, INSIDE://b:1]"
        );
        assert!(parse(&["PLAINTEXT://1.2.3.4:1", "INSIDE://[::1]:1"]).is_ok());
        assert!(parse(&["9092"]).unwrap_err().contains("Unable to parse 9092 to a broker endpoint"));
    }

    #[test]
    fn controller_listeners_default_to_plaintext() {
        let names = ["CONTROLLER".to_owned()];
        let map = protocol_map("PLAINTEXT:PLAINTEXT", false, &names, &["PLAINTEXT://:1".to_owned()]).unwrap();
        assert_eq!(map.get("CONTROLLER"), Some(&SecurityProtocol::Plaintext));
        let map = protocol_map("PLAINTEXT:PLAINTEXT", false, &names, &["SSL://:1".to_owned()]).unwrap();
        assert_eq!(map.get("CONTROLLER"), None);
    }
}
