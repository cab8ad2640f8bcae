//! A schema as data, and its canonical text: parsing what `Display` prints gives the same model back.
//!
//! One line a message, then one line a field, nested fields indented by two more spaces:
//! ```text
//! request 1 FetchRequest 4-18 flexible 12+ listeners broker,controller
//!   ClusterId string 12+ null 12+ default null tag 0 ignorable
//!   Topics []FetchTopic 0+
//!     Topic string 0-12 ignorable
//! ```
//! A struct that several fields share stands after the fields as `struct Name VERSIONS`.

use std::fmt;

/// A closed range of versions; `max` is `i16::MAX` where it is open ("3+").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub min: i16,
    pub max: i16,
}

impl Versions {
    pub const NONE: Versions = Versions { min: 1, max: 0 };
    pub const ALL: Versions = Versions { min: 0, max: i16::MAX };

    pub fn is_none(self) -> bool {
        self.min > self.max
    }

    pub fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// Whether every version of `other` is one of these.
    pub fn covers(self, other: Versions) -> bool {
        other.is_none() || (self.min <= other.min && other.max <= self.max)
    }

    pub fn intersect(self, other: Versions) -> Versions {
        Versions { min: self.min.max(other.min), max: self.max.min(other.max) }
    }

    pub fn parse(text: &str) -> Option<Versions> {
        if text == "none" {
            return Some(Versions::NONE);
        }
        if let Some(min) = text.strip_suffix('+') {
            return Some(Versions { min: min.parse().ok()?, max: i16::MAX });
        }
        match text.split_once('-') {
            Some((min, max)) => Some(Versions { min: min.parse().ok()?, max: max.parse().ok()? }),
            None => text.parse().ok().map(|v| Versions { min: v, max: v }),
        }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            _ if self.is_none() => f.write_str("none"),
            (min, i16::MAX) => write!(f, "{min}+"),
            (min, max) if min == max => write!(f, "{min}"),
            (min, max) => write!(f, "{min}-{max}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Records,
}

impl Scalar {
    const NAMES: [(&'static str, Scalar); 12] = [
        ("bool", Scalar::Bool),
        ("int8", Scalar::Int8),
        ("int16", Scalar::Int16),
        ("uint16", Scalar::Uint16),
        ("int32", Scalar::Int32),
        ("uint32", Scalar::Uint32),
        ("int64", Scalar::Int64),
        ("float64", Scalar::Float64),
        ("uuid", Scalar::Uuid),
        ("string", Scalar::String),
        ("bytes", Scalar::Bytes),
        ("records", Scalar::Records),
    ];

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, s)| *s == self).map_or("", |(n, _)| n)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Scalar(Scalar),
    Struct(String),
    Array(Box<Type>),
}

impl Type {
    pub fn parse(text: &str) -> Type {
        if let Some(element) = text.strip_prefix("[]") {
            return Type::Array(Box::new(Type::parse(element)));
        }
        match Scalar::NAMES.iter().find(|(n, _)| *n == text) {
            Some((_, scalar)) => Type::Scalar(*scalar),
            None => Type::Struct(text.to_owned()),
        }
    }

    /// The struct that this is, or is an array of.
    pub fn struct_name(&self) -> Option<&str> {
        match self {
            Type::Scalar(_) => None,
            Type::Struct(name) => Some(name),
            Type::Array(element) => element.struct_name(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Scalar(s) => f.write_str(s.name()),
            Type::Struct(name) => f.write_str(name),
            Type::Array(element) => write!(f, "[]{element}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub ty: Type,
    pub versions: Versions,
    /// Versions in which the value may be null.
    pub nullable: Versions,
    /// Kafka's default where it is not the type's own: `null`, a number, `true`, or a word.
    pub default: Option<String>,
    pub tag: Option<u32>,
    /// A value is dropped silently in versions that lack the field, instead of being refused.
    pub ignorable: bool,
    /// Overrides the message's flexible versions for this field (only the client id of the request header).
    pub never_flexible: bool,
    /// Fields of the struct that is defined here.
    pub fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Struct {
    pub name: String,
    pub versions: Versions,
    pub fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    Response,
    Header,
    /// A record of a metadata log.
    Metadata,
    CoordinatorKey,
    CoordinatorValue,
    Data,
}

impl Kind {
    pub const NAMES: [(&'static str, Kind); 7] = [
        ("request", Kind::Request),
        ("response", Kind::Response),
        ("header", Kind::Header),
        ("metadata", Kind::Metadata),
        ("coordinator-key", Kind::CoordinatorKey),
        ("coordinator-value", Kind::CoordinatorValue),
        ("data", Kind::Data),
    ];

    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, k)| *k == self).map_or("", |(n, _)| n)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: Kind,
    pub api_key: Option<i16>,
    pub name: String,
    /// Empty for APIs that were retired.
    pub versions: Versions,
    pub flexible: Versions,
    /// Which kinds of listener serve a request.
    pub listeners: Vec<String>,
    /// The newest version is not advertised yet.
    pub latest_unstable: bool,
    pub fields: Vec<Field>,
    pub structs: Vec<Struct>,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.name())?;
        if let Some(key) = self.api_key {
            write!(f, " {key}")?;
        }
        write!(f, " {} {}", self.name, self.versions)?;
        if !self.flexible.is_none() {
            write!(f, " flexible {}", self.flexible)?;
        }
        if !self.listeners.is_empty() {
            write!(f, " listeners {}", self.listeners.join(","))?;
        }
        if self.latest_unstable {
            write!(f, " unstable")?;
        }
        writeln!(f)?;
        write_fields(f, &self.fields, 1)?;
        for s in &self.structs {
            writeln!(f, "  struct {} {}", s.name, s.versions)?;
            write_fields(f, &s.fields, 2)?;
        }
        Ok(())
    }
}

fn write_fields(f: &mut fmt::Formatter<'_>, fields: &[Field], depth: usize) -> fmt::Result {
    for field in fields {
        write!(f, "{:indent$}{} {} {}", "", field.name, field.ty, field.versions, indent = depth * 2)?;
        if !field.nullable.is_none() {
            write!(f, " null {}", field.nullable)?;
        }
        if let Some(default) = &field.default {
            write!(f, " default {default}")?;
        }
        if let Some(tag) = field.tag {
            write!(f, " tag {tag}")?;
        }
        if field.ignorable {
            write!(f, " ignorable")?;
        }
        if field.never_flexible {
            write!(f, " never-flexible")?;
        }
        writeln!(f)?;
        write_fields(f, &field.fields, depth + 1)?;
    }
    Ok(())
}
